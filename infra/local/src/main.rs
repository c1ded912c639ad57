//! `cargo local up|demo|down`: the stack on a local AWS, without an account, Docker or anything installed by hand but
//! Rust and Python.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use local::codebuild::{Builder, Job};
use local::emulator::Emulator;
use local::stack::Stack;
use local::story::{Extent, Part};
use local::tools;
use local::{LocalError, Project, functions, lint, say, story};

/// The stack of this checkout on a local AWS.
#[derive(Debug, Parser)]
#[command(name = "cargo local", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the local AWS and deploy the stack; deploy again what has changed.
    Up,
    /// Show a preview, start, deploy, play what the stack can do and check every step, and stop.
    Demo {
        /// Play everything that the stack can do, not only what fits into a few minutes.
        #[arg(long)]
        all: bool,
        /// Play one part of it alone, and all of that.
        #[arg(long, conflicts_with = "all")]
        part: Option<Part>,
        /// Leave the local AWS running.
        #[arg(long)]
        keep: bool,
    },
    /// Lint the templates.
    Lint,
    /// Build the largest function as a deployment to AWS does, and see that it is not too large.
    Release {
        /// Build all of them.
        #[arg(long)]
        all: bool,
    },
    /// Build benchmarks as the functions are built for AWS, and run them, one after another.
    Bench {
        /// Programs in tests/benches: counts, sweep, cold_start or peers.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Run the short form of those that have one: peers.
        #[arg(long)]
        short: bool,
    },
    /// Run a build that the emulator passes on.
    #[command(hide = true)]
    Build,
    /// Stop the local AWS and forget everything in it.
    Down {
        /// Remove the installed tools too.
        #[arg(long)]
        tools: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), LocalError> {
    let project = match command {
        Command::Up | Command::Demo { all: false, part: None, .. } => Project::here().for_short_demo(),
        _ => Project::here(),
    };
    match command {
        Command::Up => up(&project).map(drop),
        Command::Demo { all, part, keep } => {
            let started = Instant::now();
            let extent = if all { Extent::All } else { Extent::Short };
            let begun_before = Emulator::running(&project).is_some();
            let played = prepare(&project).and_then(|()| up(&project)).and_then(|stack| {
                match part {
                    Some(part) => story::play_part(&project, &stack, part, begun_before)?,
                    None => story::play(&project, &stack, extent, begun_before)?,
                }
                if keep || !all { Ok(()) } else { story::delete(&stack) }
            });
            if !keep {
                Emulator::down(&project)?;
                say("stopped");
            }
            if played.is_ok() {
                say(&format!("the story ended after {} s", started.elapsed().as_secs()));
            }
            played
        }
        Command::Lint => lint::lint(&project),
        Command::Release { all: true } => functions::release_all(&project),
        Command::Release { all: false } => functions::release(&project),
        Command::Bench { names, short } => functions::bench(&project, &names, short),
        Command::Build => build(&project),
        Command::Down { tools } => {
            Emulator::down(&project)?;
            if tools {
                tools::uninstall(&project)?;
            }
            say("stopped; nothing is left");
            Ok(())
        }
    }
}

/// Shows a first result, and then installs what the rest needs, builds the functions and starts the local AWS, side by side.
fn prepare(project: &Project) -> Result<(), LocalError> {
    story::first(project)?;
    say("the rest is being prepared");
    std::thread::scope(|scope| {
        let building = scope.spawn(|| functions::lay_out(project).map(drop));
        let ready = tools::debian(&tools::BUILD)
            .and_then(|()| tools::debian(&["curl"]))
            .and_then(|()| tools::install(project, tools::EMULATOR).map(drop))
            .and_then(|()| Emulator::up(project).map(drop))
            .and_then(|()| tools::install(project, tools::SAM).map(drop))
            .and_then(|()| tools::install(project, tools::AWS).map(drop));
        installed(building.join())?;
        ready
    })
}

/// The result of a thread.
fn installed(joined: std::thread::Result<Result<(), LocalError>>) -> Result<(), LocalError> {
    joined.unwrap_or_else(|_| {
        Err(LocalError::Unexpected { program: "a thread".to_owned(), problem: "it panicked".to_owned() })
    })
}

/// Reads a build from standard input, and writes its output and its result to standard output.
fn build(project: &Project) -> Result<(), LocalError> {
    let unexpected = |problem: String| LocalError::Unexpected { program: "the emulator".to_owned(), problem };
    let job: Job =
        serde_json::from_reader(std::io::stdin().lock()).map_err(|error| unexpected(error.to_string()))?;
    let emulator = Emulator::running(project).ok_or_else(|| unexpected("it is not running".to_owned()))?;
    let folder = project.run().join("builds").join(job.build_id.replace(':', "/"));
    let mut out = std::io::stdout().lock();
    let ran = Builder::new(project, &emulator).run(&job, &folder, &mut out)?;
    let line = serde_json::to_string(&ran).unwrap_or_default();
    writeln!(out, "{line}").map_err(|source| LocalError::Io { what: "standard output".to_owned(), source })
}

fn up(project: &Project) -> Result<Stack, LocalError> {
    tools::debian(&tools::BUILD)?;
    let emulator = Emulator::up(project)?;
    let stack = Stack::up(project, &emulator)?;
    let mut out = anstream::stdout();
    let mut print = || -> std::io::Result<()> {
        for (name, value) in emulator.environment() {
            writeln!(out, "export {name}={value}")?;
        }
        for (key, value) in &stack.outputs {
            writeln!(out, "# {key}: {value}")?;
        }
        Ok(())
    };
    print().map_err(|source| LocalError::Io { what: "standard output".to_owned(), source })?;
    Ok(stack)
}
