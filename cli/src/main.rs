//! `ecr-steward`: the domain of ecr-steward from a terminal.
//!
//! Exit codes: 0 for success, 1 for a policy that is invalid or differs, 2 for arguments or files that cannot be used.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

mod account;
mod api;
mod build;
mod check;
mod compile;
mod confirm;
mod credentials;
mod diff;
mod enforce;
mod explain;
mod images;
mod in_use;
mod init;
mod input;
mod login;
mod output;
mod pack;
mod policy;
mod preview;
mod progress;
mod protection_rule;
mod repository;
mod runs;
mod snapshot;

/// Stewardship of Amazon ECR repositories: check lifecycle policies, see what they do before they do it, and enforce them
/// without ever deleting what is in use.
#[derive(Debug, Parser)]
#[command(name = "ecr-steward", version, propagate_version = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    aws: account::Aws,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Arguments),
    Compile(compile::Arguments),
    Diff(diff::Arguments),
    Preview(preview::Arguments),
    Snapshot(snapshot::Arguments),
    InUse(in_use::Arguments),
    Enforce(enforce::Arguments),
    Explain(explain::Arguments),
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
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// How a command ended, when it ended well enough to say so.
enum Outcome {
    Success,
    /// What was examined is invalid; it was said on standard output.
    Invalid,
    /// What was compared differs; it was said on standard output.
    Different,
    /// Some of the files cannot be used; it was said on standard error, and the others were examined.
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
    Api(#[from] api::Problem),
    #[error(transparent)]
    Build(#[from] build::BuildError),
    #[error(transparent)]
    Confirm(#[from] confirm::ConfirmError),
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
    Run(#[from] shared::workflows::enforcement::RunError),
    #[error(transparent)]
    Live(#[from] shared::workflows::live_preview::LiveError),
}

impl From<shared::aws::AwsError> for Failure {
    fn from(error: shared::aws::AwsError) -> Self {
        Self::Run(error.into())
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
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
    let outcome = match arguments.command {
        Command::Check(arguments) => check::run(&arguments),
        Command::Compile(arguments) => compile::run(&arguments),
        Command::Diff(arguments) => diff::run(&arguments),
        Command::Preview(arguments) => preview::run(&arguments, aws),
        Command::Snapshot(arguments) => snapshot::run(&arguments, aws),
        Command::InUse(arguments) => in_use::run(&arguments, aws),
        Command::Enforce(arguments) => enforce::run(&arguments, aws),
        Command::Explain(arguments) => explain::run(&arguments, aws),
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
        Command::Completions { shell } => {
            print_completions(shell).map(|()| Outcome::Success).map_err(Failure::from)
        }
    };
    match outcome {
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

/// Prints a completion script. The generator panics where it cannot write, and memory takes everything.
fn print_completions(shell: clap_complete::Shell) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "ecr-steward", &mut script);
    let mut out = output::tables();
    out.write_all(&script)?;
    out.flush()
}
