//! `ecr-steward preview`: what a policy would do, offline.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use shared::image::listing::Listing;
use shared::instant::{Instant, InvalidTime};
use shared::lifecycle::Passes;
use shared::preview::{Question, preview_all};
use shared::report::model::PreviewReport;
use shared::report::{html, table};
use shared::usage::Usage;

use crate::compile::read_policy;
use crate::input::{self, InputError};
use crate::{Failure, Outcome};

/// Show what a policy would do with the images of a repository, and why
///
/// Evaluates the policy as ECR does, on images that were listed before. Nothing is read from AWS, nothing is changed.
///
/// Get the images with `aws ecr describe-images --repository-name NAME --filter imageStatus=ANY`. For manifest lists
/// (multi-platform images, images with attestations), append what `aws ecr batch-get-image` prints for them, so that
/// it is known which images they reference.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The policy: ECR's JSON document, or the simple model in YAML or JSON; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,

    /// The images: what `aws ecr describe-images` prints, any number of pages and repositories; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    images: PathBuf,

    /// The time to evaluate for, like 2026-11-23T00:00:00Z, or the beginning of a day (UTC), like 2026-11-23; the present
    /// unless given.
    #[arg(long, value_name = "TIME", value_parser = time)]
    now: Option<Instant>,

    /// Images that must stay: a JSON array of image references; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    in_use: Option<PathBuf>,

    /// Go on evaluating until nothing changes: also what ECR takes in later passes, once manifest lists are gone.
    #[arg(long)]
    all_passes: bool,

    /// How to print; JSON is ECR's GetLifecyclePolicyPreview answer with reasons, an array if there are several
    /// repositories.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Format {
    /// A table for a terminal.
    #[default]
    Table,
    /// JSON for programs.
    Json,
    /// A self-contained page for a browser.
    Html,
}

/// Reads a time, or a day as its beginning in UTC.
fn time(text: &str) -> Result<Instant, InvalidTime> {
    Instant::parse(text).or_else(|error| Instant::parse(&format!("{text}T00:00:00Z")).map_err(|_| error))
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let paths = [Some(&arguments.policy), Some(&arguments.images), arguments.in_use.as_ref()];
    if paths.into_iter().flatten().filter(|path| input::is_standard_input(path)).count() > 1 {
        return Err(InputError::StandardInputTwice.into());
    }
    let source = read_policy(&arguments.policy)?;
    let content = |path: &PathBuf, problem: String| InputError::Content { file: input::name(path), problem };
    let usage = match &arguments.in_use {
        None => Usage::default(),
        Some(path) => {
            Usage::parse(&input::read(path, u64::MAX)?).map_err(|error| content(path, error.to_string()))?
        }
    };
    let listing = Listing::parse(&input::read(&arguments.images, u64::MAX)?)
        .map_err(|error| content(&arguments.images, error.to_string()))?;
    let question = Question {
        policy: source.policy(),
        usage: &usage,
        now: arguments.now.unwrap_or_else(Instant::now),
        passes: if arguments.all_passes { Passes::UntilStable } else { Passes::One },
    };
    let reports = preview_all(question, &listing);
    match arguments.output {
        Format::Table => print_tables(&reports)?,
        Format::Json => {
            let mut out = io::BufWriter::new(io::stdout().lock());
            match reports.as_slice() {
                [report] => serde_json::to_writer_pretty(&mut out, report),
                reports => serde_json::to_writer_pretty(&mut out, reports),
            }
            .map_err(io::Error::from)?;
            out.write_all(b"\n")?;
            out.flush()?;
        }
        Format::Html => io::stdout().lock().write_all(html::render(&reports).as_bytes())?,
    }
    Ok(Outcome::Success)
}

fn print_tables(reports: &[PreviewReport]) -> io::Result<()> {
    let style = table::Style {
        width: terminal_width(),
        color: anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never,
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    for (index, report) in reports.iter().enumerate() {
        if index > 0 {
            out.write_all(b"\n")?;
        }
        out.write_all(table::render(report, style).as_bytes())?;
    }
    out.flush()
}

/// The width of the terminal; of what is no terminal, `COLUMNS` or 80 characters.
fn terminal_width() -> u16 {
    let terminal = io::stdout().is_terminal().then(terminal_size::terminal_size).flatten();
    match terminal {
        Some((terminal_size::Width(width), _)) => width,
        None => std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(80),
    }
}
