//! `ecr-steward`: the domain of ecr-steward from a terminal.
//!
//! Exit codes: 0 for success, 1 for a policy that is invalid or differs, 2 for arguments or files that cannot be used.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

mod account;
mod api;
mod build;
mod check;
mod compile;
mod complete;
mod confirm;
mod credentials;
mod demo;
mod diff;
mod doctor;
mod elsewhere;
mod enforce;
mod explain;
mod explain_code;
mod images;
mod in_use;
mod init;
mod input;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod list_address;
mod login;
mod output;
mod pack;
mod pager;
mod policy;
mod preview;
mod progress;
mod protection_rule;
mod repository;
mod runs;
mod schema;
mod skipped;
mod snapshot;

/// See what every lifecycle rule of Amazon ECR deletes and why, and enforce it: no image that is known to be in use is deleted
///
/// Nothing is changed without --apply, and nothing of a whole registry without being asked once more.
#[derive(Debug, Parser)]
#[command(name = "ecr-steward", version, propagate_version = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,

    /// Print to the terminal also what is longer than its screen, instead of through $ECR_STEWARD_PAGER, $PAGER or less.
    #[arg(long, global = true, hide_short_help = true)]
    no_pager: bool,

    #[command(flatten)]
    aws: account::Aws,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Check(check::Arguments),
    Compile(compile::Arguments),
    Diff(diff::Arguments),
    Doctor(doctor::Arguments),
    Preview(preview::Arguments),
    Snapshot(snapshot::Arguments),
    InUse(in_use::Arguments),
    Enforce(enforce::Arguments),
    Explain(explain::Arguments),
    ExplainCode(explain_code::Arguments),
    Runs(runs::Arguments),
    History(runs::History),
    Init(init::Init),
    Suggest(init::Suggest),
    Repository(repository::Arguments),
    Images(images::Arguments),
    Build(build::Arguments),
    Login(login::Arguments),
    ProtectionRule(protection_rule::Arguments),
    Policy(policy::Arguments),
    Schema(schema::Arguments),
    /// Print the script that has a shell complete commands, options and values
    #[command(after_help = "Examples:
  source <(ecr-steward completions bash)             # in ~/.bashrc
  source <(ecr-steward completions zsh)              # in ~/.zshrc, after compinit
  ecr-steward completions fish | source              # in ~/.config/fish/config.fish")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write manual pages into a directory
    #[command(after_help = "Examples:
  ecr-steward man ~/.local/share/man/man1 && man ecr-steward-preview")]
    Man {
        /// The directory; it is made if it is not there.
        #[arg(value_name = "DIRECTORY")]
        directory: std::path::PathBuf,
    },
}

impl Command {
    /// Whether the command shows something to be read, and asks nothing.
    const fn is_a_view(&self) -> bool {
        match self {
            Self::Check(_)
            | Self::Diff(_)
            | Self::Doctor(_)
            | Self::Preview(_)
            | Self::Snapshot(_)
            | Self::InUse(_)
            | Self::Explain(_)
            | Self::Runs(_)
            | Self::History(_)
            // Its question comes before its report.
            | Self::Enforce(_)
            | Self::Schema(_) => true,
            Self::Images(images) => images.is_a_view(),
            _ => false,
        }
    }
}

/// The commands, by what they are for.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Start here", &["demo", "init", "suggest", "preview", "explain", "doctor"]),
    ("Policies", &["check", "compile", "diff", "enforce", "policy", "protection-rule", "schema"]),
    ("Images and repositories", &["build", "repository", "images", "login", "snapshot", "in-use"]),
    ("What was done", &["runs", "history"]),
    ("This program", &["explain-code", "completions", "man", "help"]),
];

/// The program's arguments, with the commands in groups.
fn command() -> clap::Command {
    let command = Arguments::command();
    let mut list = String::new();
    let width = usize::from(preview::terminal_width()).clamp(60, 100);
    for (group, names) in GROUPS {
        list += &format!("\n{group}\n");
        for name in names {
            let found = command.get_subcommands().find(|command| command.get_name() == *name);
            let about = match found.and_then(clap::Command::get_about) {
                Some(about) => about.to_string(),
                None => "Print this message or the help of a command".to_owned(),
            };
            list += &output::wrapped(&format!("  {name:16} "), &about, width, 19);
        }
    }
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\nCommands:\n{list}\nOptions:\n{{options}}\n"
    ))
}

/// How a command ended, unless it failed.
enum Outcome {
    Success,
    /// The examined file is invalid; the findings are on standard output.
    Invalid,
    /// The compared things differ; the differences are on standard output.
    Different,
    /// Some files cannot be used, which is on standard error; the others were examined.
    Unusable,
}

/// Why a command could not do its work; one line for standard error.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Input(#[from] input::InputError),
    /// A policy that cannot be used for anything but `check`.
    #[error("{file}: {problem}")]
    Policy { file: String, problem: String },
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
    #[error(transparent)]
    Account(#[from] account::AccountError),
    #[error(transparent)]
    Address(#[from] list_address::AddressError),
    #[error(transparent)]
    Api(#[from] api::Problem),
    #[error(transparent)]
    Build(#[from] build::BuildError),
    #[cfg(feature = "kubernetes")]
    #[error(transparent)]
    Cluster(#[from] kubernetes::ClusterError),
    #[error(transparent)]
    Confirm(#[from] confirm::ConfirmError),
    #[error(transparent)]
    Code(#[from] explain_code::UnknownCode),
    #[error(transparent)]
    Image(#[from] explain::ImageError),
    #[error(transparent)]
    Init(#[from] init::InitError),
    #[error(transparent)]
    Login(#[from] login::LoginError),
    #[error(transparent)]
    Pack(#[from] pack::PackError),
    #[error(transparent)]
    Plan(#[from] enforce::PlanFileError),
    #[error(transparent)]
    Preview(#[from] preview::PreviewError),
    #[error(transparent)]
    Repository(#[from] repository::RepositoryError),
    #[error("{0}")]
    Restore(shared::workflows::enforcement::restore_images::RestoreError),
    #[error(transparent)]
    Run(#[from] shared::workflows::enforcement::RunError),
    #[error(transparent)]
    Live(#[from] shared::workflows::live_preview::LiveError),
}

impl From<shared::workflows::enforcement::restore_images::RestoreError> for Failure {
    fn from(error: shared::workflows::enforcement::restore_images::RestoreError) -> Self {
        use shared::workflows::enforcement::restore_images::RestoreError;
        match error {
            // A refusal of AWS is explained.
            RestoreError::Run(error) => Self::Run(error),
            error => Self::Restore(error),
        }
    }
}

impl From<shared::aws::AwsError> for Failure {
    fn from(error: shared::aws::AwsError) -> Self {
        Self::Run(error.into())
    }
}

fn main() -> ExitCode {
    match complete::answer() {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(error) => return failed(&io::Error::other(error.to_string()).into()),
    }
    let parsed = command().try_get_matches().and_then(|found| Arguments::from_arg_matches(&found));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        // An error repeats the argument. The others are help and version.
        Err(error) if error.use_stderr() => {
            let _ = write!(output::error(), "{}", error.render());
            return ExitCode::from(2);
        }
        Err(help) => {
            return match print_help(&help) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(&error.into()),
            };
        }
    };
    let aws = &arguments.aws;
    if !matches!(arguments.command, Command::InUse(_) | Command::Preview(_))
        && let Err(several) = aws.one_profile()
    {
        return failed(&several.into());
    }
    if !arguments.no_pager && arguments.command.is_a_view() {
        pager::begin();
    }
    let outcome = match arguments.command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Compile(arguments) => compile::run(&arguments),
        Command::Diff(arguments) => diff::run(&arguments),
        Command::Preview(arguments) => preview::run(&arguments, aws),
        Command::Doctor(arguments) => doctor::run(&arguments, aws),
        Command::Snapshot(arguments) => snapshot::run(&arguments, aws),
        Command::InUse(arguments) => in_use::run(&arguments, aws),
        Command::Enforce(arguments) => enforce::run(&arguments, aws),
        Command::Explain(arguments) => explain::run(&arguments, aws),
        Command::ExplainCode(arguments) => explain_code::run(&arguments),
        Command::Runs(arguments) => runs::run(&arguments, aws),
        Command::History(arguments) => runs::history(&arguments, aws),
        Command::Init(arguments) => init::init(&arguments),
        Command::Suggest(arguments) => init::run(&arguments, aws),
        Command::Repository(arguments) => repository::run(&arguments, aws),
        Command::Images(arguments) => images::run(&arguments, aws),
        Command::Build(arguments) => build::run(&arguments, aws),
        Command::Login(arguments) => login::run(&arguments, aws),
        Command::ProtectionRule(arguments) => protection_rule::run(&arguments),
        Command::Policy(arguments) => policy::run(&arguments, aws),
        Command::Man { directory } => complete::manual(&directory)
            .map(|pages| output::note(&format!("Wrote {pages} pages to {}", directory.display())))
            .map(|()| Outcome::Success)
            .map_err(|error| Failure::Policy {
                file: directory.display().to_string(),
                problem: error.to_string(),
            }),
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Completions { shell } => {
            complete::print(shell).map(|()| Outcome::Success).map_err(Failure::from)
        }
    };
    let shown = pager::end();
    match outcome.and_then(|outcome| shown.map(|()| outcome).map_err(Failure::from)) {
        Ok(Outcome::Success) => ExitCode::SUCCESS,
        Ok(Outcome::Invalid | Outcome::Different) => ExitCode::from(1),
        Ok(Outcome::Unusable) => ExitCode::from(2),
        Err(failure) => failed(&failure),
    }
}

fn failed(failure: &Failure) -> ExitCode {
    let _ = writeln!(output::error(), "ecr-steward: {failure}");
    ExitCode::from(2)
}

/// Prints help or the version, with colours on a terminal.
fn print_help(help: &clap::Error) -> io::Result<()> {
    let text = help.render();
    let is_plain = anstream::AutoStream::choice(&io::stdout()) == anstream::ColorChoice::Never;
    let text = if is_plain { text.to_string() } else { text.ansi().to_string() };
    let mut out = output::tables();
    out.write_all(text.as_bytes())?;
    out.flush()
}
