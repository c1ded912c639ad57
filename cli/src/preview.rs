//! `ecr-steward preview`: what a policy would do, with images from a file or from the account.

use std::collections::HashSet;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use futures_util::{StreamExt as _, stream};
use shared::domain::image::listing::Listing;
use shared::domain::lifecycle::{Passes, PolicySource};
use shared::domain::preview::model::PreviewReport;
use shared::domain::preview::request::Live;
use shared::domain::preview::{Question, preview_all};
use shared::domain::repository::{Existing, Name};
use shared::domain::text::instant::{Instant, InvalidTime};
use shared::domain::text::quantity::{bytes, count};
use shared::domain::usage::Usage;
use shared::report::{html, table};
use shared::workflows::enforcement::RunContext;
use shared::workflows::live_preview::ReadRepository;

use crate::account::{self, AccountError, Aws, Bucket, Which};
use crate::compile::read_policy;
use crate::credentials::Session;
use crate::elsewhere::Elsewhere;
use crate::input::{self, InputError};
use crate::progress::{self, Progress};
use crate::skipped::Skipped;
use crate::{Failure, Outcome, in_use, output};

/// Number of repositories that are read at the same time.
const READ_CONCURRENCY: usize = 8;

/// Show what a policy would do with the images of a repository, and why
///
/// Evaluates the policy as ECR does, on images that were listed before (--images), and then nothing is read from AWS; or on
/// repositories of the account (--repository, --all), with what is in use there. Nothing is changed.
///
/// Get the images with `ecr-steward snapshot`, or with `aws ecr describe-images --repository-name NAME --filter imageStatus=ANY`. For image indexes
/// (multi-platform images, images with attestations), append what `aws ecr batch-get-image` prints for them, so that
/// it is known which images they reference.
///
/// Exit code: 0, 1 if more images expire than --allow permits, 2 if a repository could not be previewed; the others are, where more
/// than one is named.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward preview --policy policy.yaml --images images.json
  ecr-steward preview --repository shop/web
  ecr-steward preview --all --policy policy.yaml --output html > preview.html
  ecr-steward preview --policy new.yaml --against old.yaml --allow 10 --images images.json
  ecr-steward preview --repository 'shop/*' --now 2027-01-01
  ecr-steward preview --all --profile registry --profile shop")]
pub(crate) struct Arguments {
    /// The policy: ECR's JSON document, or the simple model in YAML or JSON; `-` is standard input. Repositories of the account
    /// have their own without it.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// The images: what `aws ecr describe-images` prints, any number of pages and repositories; `-` is standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["repository", "all"])]
    images: Option<PathBuf>,

    #[command(flatten)]
    which: Which,

    #[command(flatten)]
    bucket: Bucket,

    #[command(flatten)]
    elsewhere: Elsewhere,

    /// The time to evaluate for, like 2026-11-23T00:00:00Z, or the beginning of a day (UTC), like 2026-11-23; the present
    /// unless given.
    #[arg(long, value_name = "TIME", value_parser = time)]
    now: Option<Instant>,

    /// Images that must stay: a JSON array of image references; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    in_use: Option<PathBuf>,

    /// Go on evaluating until nothing changes: also what ECR takes in later passes, once image indexes are gone.
    #[arg(long)]
    all_passes: bool,

    /// A policy to compare with, such as the one before a change. Images that expire only by the new policy are listed, and with more
    /// of them than --allow the exit code is 1. `-` is standard input.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,

    /// How many images may expire that did not expire by the policy of --against.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, requires = "against")]
    allow: usize,

    /// How to print; JSON is ECR's GetLifecyclePolicyPreview answer with reasons, an array if there are several
    /// repositories.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// Why there is nothing to preview.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PreviewError {
    #[error(
        "name what to preview: --repository NAME or --all for repositories of the account (with their own policies, or --policy \
         FILE), or --policy FILE with --images FILE for images that were listed before"
    )]
    Nothing,
    #[error(
        "name the images, too: --images FILE of a listing, or --repository NAME or --all for those of the account"
    )]
    NoImages,
    #[error("name the policy, too: --policy FILE")]
    NoPolicy,
}

/// How to print a report.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum Format {
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
    Instant::parse_argument(text, Instant::now())
}

pub(crate) fn run(arguments: &Arguments, aws: &Aws) -> Result<Outcome, Failure> {
    let paths =
        [&arguments.policy, &arguments.images, &arguments.in_use, &arguments.against].map(Option::as_ref);
    if paths.into_iter().flatten().filter(|path| input::is_standard_input(path)).count() > 1 {
        return Err(InputError::StandardInputTwice.into());
    }
    match (&arguments.policy, &arguments.images) {
        (None, Some(_)) => return Err(PreviewError::NoPolicy.into()),
        (Some(_), None) if arguments.which.is_empty() => return Err(PreviewError::NoImages.into()),
        (None, None) if arguments.which.is_empty() => return Err(PreviewError::Nothing.into()),
        _ => {}
    }
    let source = arguments.policy.as_ref().map(|path| read_policy(path)).transpose()?;
    let against = arguments.against.as_ref().map(|path| read_policy(path)).transpose()?;
    let mut newly = Newly::default();
    let usage = match &arguments.in_use {
        None => Usage::default(),
        Some(path) => {
            let text = input::read(path, u64::MAX)?;
            Usage::parse(&text)
                .map_err(|error| input::at_its_place(&input::name(path), &text, &error.to_string()))?
        }
    };
    let passes = if arguments.all_passes { Passes::UntilStable } else { Passes::One };
    let mut skipped = Skipped::new(0);
    match &arguments.images {
        Some(path) => {
            let text = input::read(path, u64::MAX)?;
            let listing = Listing::parse(&text)
                .map_err(|error| input::at_its_place(&input::name(path), &text, &error.to_string()))?;
            let question = Question {
                policy: source.as_ref().and_then(PolicySource::policy),
                usage: &usage,
                now: arguments.now.unwrap_or_else(Instant::now),
                passes,
            };
            let reports = preview_all(question, &listing);
            if let Some(before) = &against {
                let before = preview_all(Question { policy: before.policy(), ..question }, &listing);
                reports.iter().zip(&before).for_each(|(report, before)| newly.take(report, before));
            }
            print(arguments.output, reports)?;
        }
        None => {
            skipped =
                account::work_signed_in(aws, &arguments.bucket.if_named(), async |clients, session| {
                    live(
                        (&clients, aws, session),
                        arguments,
                        (source, against.clone()),
                        usage,
                        passes,
                        &mut newly,
                    )
                    .await
                })?;
        }
    }
    if against.is_some() {
        newly.warn();
    }
    let outcome = if newly.images.len() > arguments.allow { Outcome::Different } else { Outcome::Success };
    Ok(skipped.outcome(outcome))
}

/// The images that expire by a policy and did not expire by another one.
#[derive(Debug, Default)]
struct Newly {
    images: Vec<String>,
    bytes: u64,
}

impl Newly {
    fn take(&mut self, report: &PreviewReport, before: &PreviewReport) {
        let went: HashSet<&str> =
            before.preview_results.iter().map(|result| result.image_digest.as_str()).collect();
        for result in
            report.preview_results.iter().filter(|result| !went.contains(result.image_digest.as_str()))
        {
            self.bytes = self.bytes.saturating_add(result.image_size_in_bytes);
            let name = match result.image_tags.as_slice() {
                [] => result.image_digest.clone(),
                tags => tags.join(", "),
            };
            self.images.push(format!("{}: {name}: {}", report.title(), result.reason));
        }
    }

    fn warn(&self) {
        const SHOWN: usize = 20;
        let images = count(self.images.len() as u64, "image");
        output::note(&format!(
            "{images} ({}) would expire that the policy of --against keeps",
            bytes(self.bytes)
        ));
        for line in self.images.iter().take(SHOWN) {
            output::note(&format!("  {line}"));
        }
        if self.images.len() > SHOWN {
            output::note(&format!("  and {} more", self.images.len() - SHOWN));
        }
    }
}

/// Prints reports on standard output.
pub(crate) fn print(format: Format, reports: Vec<PreviewReport>) -> io::Result<()> {
    let mut printed = Printed::new(format, reports.len());
    for report in reports {
        printed.print(report)?;
    }
    printed.finish()
}

/// Previews repositories of the account, several at a time, and prints each as soon as those before it are.
async fn live(
    (clients, aws, session): (&RunContext<'_>, &Aws, &Session),
    arguments: &Arguments,
    (policy, against): (Option<PolicySource>, Option<PolicySource>),
    usage: Usage,
    passes: Passes,
    newly: &mut Newly,
) -> Result<Skipped, Failure> {
    let repositories = account::repositories(clients, &arguments.which).await?;
    let (own, sources) = in_use::observe(clients).await?;
    let usage = Usage::merged([usage, arguments.elsewhere.add_to(own, aws, session, &sources).await?]);
    if let Some(account) = clients.ecr.registry_id() {
        output::note(&format!(
            "ecr-steward: warning: what runs in the account {account} is not known from here; lists in a bucket (--bucket) tell it"
        ));
    }
    let progress = Progress::new("repositories", repositories.len());
    let mut printed = Printed::new(arguments.output, repositories.len());
    let mut skipped = Skipped::new(repositories.len());
    let (policy, against, usage) = (&policy, &against, &usage);
    let read = async |repository: &Existing| {
        let repository_name = Name::parse(&repository.name).map_err(|error| AccountError::Name {
            name: repository.name.clone(),
            problem: error.to_string(),
        })?;
        let request = Live {
            repository_name,
            policy: policy.clone(),
            // All use is gathered already.
            usage: Usage::default(),
            evaluated_at: arguments.now,
            passes,
        };
        let repository = ReadRepository::read(clients, &repository.registry_id, &request).await?;
        let report = repository.preview(&request, usage, Instant::now());
        let Some(against) = against else { return Ok::<_, Failure>((report, None)) };
        let request = Live { policy: Some(against.clone()), ..request };
        let before = repository.preview(&request, usage, report.evaluated_at);
        Ok((report, Some(before)))
    };
    let mut reports = stream::iter(&repositories)
        .map(async |repository| (repository, read(repository).await))
        .buffered(READ_CONCURRENCY);
    while let Some((repository, report)) = reports.next().await {
        progress.step(1);
        let Some((report, before)) = skipped.unless_failed(&repository.name, report)? else { continue };
        if let Some(before) = before {
            newly.take(&report, &before);
        }
        progress::suspended(|| printed.print(report))?;
    }
    printed.finish()?;
    Ok(skipped)
}

/// Reports on their way to standard output: each is printed when it is there, so that not all of them are in memory. A page needs
/// all of them.
struct Printed {
    format: Format,
    /// The number of all images.
    total: usize,
    done: usize,
    /// The reports of a page.
    kept: Vec<PreviewReport>,
}

impl Printed {
    const fn new(format: Format, total: usize) -> Self {
        Self { format, total, done: 0, kept: Vec::new() }
    }

    fn print(&mut self, report: PreviewReport) -> io::Result<()> {
        let is_first = self.done == 0;
        self.done += 1;
        match self.format {
            Format::Table => {
                let mut out = output::tables();
                if !is_first {
                    out.write_all(b"\n")?;
                }
                out.write_all(table::render(&report, style()).as_bytes())?;
                out.flush()
            }
            Format::Json => {
                let mut out = output::json();
                if self.total == 1 {
                    serde_json::to_writer_pretty(&mut out, &report)?;
                } else {
                    out.write_all(if is_first { b"[\n" } else { b",\n" })?;
                    serde_json::to_writer_pretty(&mut out, &report)?;
                }
                out.flush()
            }
            Format::Html => {
                self.kept.push(report);
                Ok(())
            }
        }
    }

    fn finish(self) -> io::Result<()> {
        match self.format {
            Format::Table => Ok(()),
            Format::Json => {
                let mut out = output::json();
                out.write_all(match (self.total, self.done) {
                    (1, _) => b"\n",
                    (_, 0) => b"[]\n",
                    _ => b"\n]\n",
                })?;
                out.flush()
            }
            Format::Html => {
                let mut out = output::text();
                html::write(&self.kept, &mut out)?;
                out.flush()
            }
        }
    }
}

/// The style of tables on standard output.
pub(crate) fn style() -> table::Style {
    table::Style {
        width: terminal_width(),
        color: anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never,
    }
}

/// The width of the terminal; of what is no terminal, `COLUMNS` or 80 characters.
pub(crate) fn terminal_width() -> u16 {
    let terminal = io::stdout().is_terminal().then(terminal_size::terminal_size).flatten();
    match terminal {
        Some((terminal_size::Width(width), _)) => width,
        None => std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(80),
    }
}
