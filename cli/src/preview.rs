//! `ecr-steward preview`: what a policy would do, with images from a file or from the account.

use std::collections::HashSet;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use futures_util::{StreamExt as _, stream};
use shared::domain::image::ImageIndex;
use shared::domain::image::listing::{ListedRepository, Listing};
use shared::domain::lifecycle::{Passes, PolicySource};
use shared::domain::preview::model::PreviewReport;
use shared::domain::preview::request::Live;
use shared::domain::preview::{Preview, Question, previews};
use shared::domain::repository::{Existing, Name};
use shared::domain::text::instant::{Instant, InvalidTime};
use shared::domain::text::quantity::{bytes, count, grouped};
use shared::domain::usage::Usage;
use shared::report::table::summary;
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
  ecr-steward preview --repository shop/web --show all --sort size
  ecr-steward preview --all --summary --sort size
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

    #[command(flatten)]
    rows: Rows,

    /// How to print; JSON is ECR's GetLifecyclePolicyPreview answer with reasons, an array if there are several
    /// repositories.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// What tables of previews show.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Rows {
    /// Which images have a row in the table; those that expire or are archived unless given. JSON has all.
    #[arg(long, value_enum, value_name = "IMAGES", conflicts_with = "summary")]
    show: Option<Show>,

    /// What comes first in the table: of images, or with --summary of repositories.
    #[arg(long, value_enum, value_name = "ORDER")]
    sort: Option<Order>,

    /// A table of the repositories, with a row for each and their sum, instead of one of images for each.
    #[arg(long)]
    summary: bool,
}

/// Images that have a row.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Show {
    /// Those that expire or are archived.
    Expires,
    /// Those that are kept, with what keeps them.
    Kept,
    /// Both.
    All,
}

/// What comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    /// Images by the rule that acts, then the oldest, as ECR does.
    Rule,
    /// The largest images; the repositories with the most bytes that expire.
    Size,
    /// The oldest images.
    Age,
    /// Images by their first tag.
    Tag,
    /// Repositories by name.
    Repository,
    /// The repositories with the most images that expire.
    Images,
}

/// The rows of tables, once it is known that they can be as they are asked for.
#[derive(Debug, Clone, Copy, Default)]
struct Shown {
    view: table::View,
    summary: Option<summary::Order>,
    by_name: bool,
}

impl Rows {
    fn checked(self, format: Format) -> Result<Shown, PreviewError> {
        let Self { show, sort, summary } = self;
        if !matches!(format, Format::Table) {
            let options = [("--show", show.is_some()), ("--sort", sort.is_some()), ("--summary", summary)];
            if let Some((option, _)) = options.into_iter().find(|(_, is_given)| *is_given) {
                return Err(PreviewError::OfTables { option });
            }
        }
        let summary = match (summary, sort) {
            (false, Some(Order::Images)) => return Err(PreviewError::OfSummary),
            (false, _) => None,
            (true, None) => Some(summary::Order::AsRead),
            (true, Some(Order::Repository)) => Some(summary::Order::Repository),
            (true, Some(Order::Size)) => Some(summary::Order::Size),
            (true, Some(Order::Images)) => Some(summary::Order::Images),
            (true, Some(Order::Rule | Order::Age | Order::Tag)) => return Err(PreviewError::OfImages),
        };
        let view = table::View {
            show: match show {
                None | Some(Show::Expires) => table::Show::Expires,
                Some(Show::Kept) => table::Show::Kept,
                Some(Show::All) => table::Show::All,
            },
            order: match sort {
                Some(Order::Size) => table::Order::Size,
                Some(Order::Age) => table::Order::Age,
                Some(Order::Tag) => table::Order::Tag,
                None | Some(Order::Rule | Order::Repository | Order::Images) => table::Order::Rule,
            },
            names_account: false,
        };
        Ok(Shown { view, summary, by_name: sort == Some(Order::Repository) })
    }
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
    #[error("{option} is for tables; --output json, ndjson and html have everything")]
    OfTables { option: &'static str },
    #[error("--sort images is for repositories: add --summary")]
    OfSummary,
    #[error("--summary has a row for each repository: --sort repository, size or images")]
    OfImages,
}

/// How to print a report.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum Format {
    /// A table for a terminal.
    #[default]
    Table,
    /// JSON for programs.
    Json,
    /// JSON, one object in a line for each repository.
    Ndjson,
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
    let shown = arguments.rows.checked(arguments.output)?;
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
            let listing = input::read_listing(path)?;
            let question = Question {
                policy: source.as_ref().and_then(PolicySource::policy),
                usage: &usage,
                now: arguments.now.unwrap_or_else(Instant::now),
                passes,
            };
            let before = against.as_ref().map(|before| Question { policy: before.policy(), ..question });
            print(arguments.output, shown, question, &listing, |preview, repository| {
                if let Some(before) = before {
                    newly.take(preview, &Preview::new(before, repository));
                }
            })?;
        }
        None => {
            skipped =
                account::work_signed_in(aws, &arguments.bucket.if_named(), async |clients, session| {
                    live(
                        (&clients, aws, session),
                        (arguments, shown),
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
    let outcome = if newly.count > arguments.allow { Outcome::Different } else { Outcome::Success };
    Ok(skipped.outcome(outcome))
}

/// The images that expire by a policy and did not expire by another one.
#[derive(Debug, Default)]
struct Newly {
    count: usize,
    /// The first of them.
    images: Vec<String>,
    bytes: u64,
}

/// Number of images that expire newly and are named.
const SHOWN: usize = 20;

impl Newly {
    fn take(&mut self, preview: &Preview<'_>, before: &Preview<'_>) {
        // Both are of the same images.
        let went: HashSet<ImageIndex> = before.acted().iter().copied().collect();
        for &place in preview.acted().iter().filter(|place| !went.contains(place)) {
            let Some(image) = preview.images().get(place as usize) else { continue };
            self.bytes = self.bytes.saturating_add(image.size_in_bytes);
            self.count += 1;
            if self.images.len() < SHOWN {
                let name = match &*image.tags {
                    [] => image.digest.to_string(),
                    tags => tags.join(", "),
                };
                self.images.push(format!("{}: {name}: {}", preview.title(), preview.reason(place)));
            }
        }
    }

    fn warn(&self) {
        let images = count(self.count as u64, "image");
        output::note(&format!(
            "{images} ({}) would expire that the policy of --against keeps",
            bytes(self.bytes)
        ));
        for line in &self.images {
            output::note(&format!("  {line}"));
        }
        if self.count > self.images.len() {
            output::note(&format!("  and {} more", self.count - self.images.len()));
        }
    }
}

/// Prints the previews of a listing on standard output; `each` is given every one.
fn print(
    format: Format,
    mut shown: Shown,
    question: Question<'_>,
    listing: &Listing,
    mut each: impl FnMut(&Preview<'_>, &ListedRepository),
) -> io::Result<()> {
    let empty = ListedRepository::default();
    let registries: HashSet<Option<&str>> =
        listing.repositories.iter().map(|repository| repository.name.registry_id.as_deref()).collect();
    shown.view.names_account = registries.len() > 1;
    let previews = previews(question, listing, &empty);
    let mut printed = Printed::new(format, shown, previews.len());
    for (preview, repository) in previews.zip(listing.repositories.iter().chain([&empty])) {
        each(&preview, repository);
        printed.print(&preview)?;
    }
    printed.finish()
}

/// Prints the previews of a listing on standard output as they are.
pub(crate) fn print_all(format: Format, question: Question<'_>, listing: &Listing) -> io::Result<()> {
    print(format, Shown::default(), question, listing, |_, _| {})
}

/// Previews repositories of the account, several at a time, and prints each as soon as those before it are.
async fn live(
    (clients, aws, session): (&RunContext<'_>, &Aws, &Session),
    (arguments, shown): (&Arguments, Shown),
    (policy, against): (Option<PolicySource>, Option<PolicySource>),
    usage: Usage,
    passes: Passes,
    newly: &mut Newly,
) -> Result<Skipped, Failure> {
    let mut repositories = account::repositories(clients, &arguments.which).await?;
    if shown.by_name {
        repositories.sort_by(|left, right| left.name.cmp(&right.name));
    }
    let (own, sources) = in_use::observe(clients).await?;
    let usage = Usage::merged([usage, arguments.elsewhere.add_to(own, aws, session, &sources).await?]);
    if let Some(account) = clients.ecr.registry_id() {
        output::note(&format!(
            "ecr-steward: warning: what runs in the account {account} is not known from here; lists in a bucket (--bucket) tell it"
        ));
    }
    let progress = Progress::new("repositories", repositories.len());
    let mut printed = Printed::new(arguments.output, shown, repositories.len());
    let mut skipped = Skipped::new(repositories.len());
    let (policy, usage) = (&policy, &usage);
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
        let read = ReadRepository::read(clients, &repository.registry_id, &request).await?;
        Ok::<_, Failure>((read, request))
    };
    let mut reading = stream::iter(&repositories)
        .map(async |repository| (repository, read(repository).await))
        .buffered(READ_CONCURRENCY);
    while let Some((repository, read)) = reading.next().await {
        progress.step(1);
        let Some((read, request)) = skipped.unless_failed(&repository.name, read)? else { continue };
        let preview = read.preview(&request, usage, Instant::now());
        if let Some(against) = &against {
            let request = Live { policy: Some(against.clone()), ..request.clone() };
            newly.take(&preview, &read.preview(&request, usage, preview.evaluated_at()));
        }
        progress::suspended(|| printed.print(&preview))?;
    }
    printed.finish()?;
    Ok(skipped)
}

/// Previews on their way to standard output: each is printed when it is there, and its images one after another, so that little of
/// them is in memory. A page needs all of them.
struct Printed {
    format: Format,
    shown: Shown,
    /// The number of all previews.
    total: usize,
    done: usize,
    /// The totals of each.
    rows: Vec<summary::Row>,
    /// The reports of a page.
    kept: Vec<PreviewReport>,
    /// The codes of the findings of a table.
    codes: Vec<&'static str>,
}

impl Printed {
    const fn new(format: Format, shown: Shown, total: usize) -> Self {
        Self { format, shown, total, done: 0, rows: Vec::new(), kept: Vec::new(), codes: Vec::new() }
    }

    fn print(&mut self, preview: &Preview<'_>) -> io::Result<()> {
        let is_first = self.done == 0;
        self.done += 1;
        match self.format {
            Format::Table => {
                self.codes.extend(preview.findings().iter().map(|finding| finding.code.as_str()));
                self.rows.push(summary::Row::of(preview, self.shown.view.names_account));
                if self.shown.summary.is_some() {
                    return Ok(());
                }
                let mut out = output::tables();
                if !is_first {
                    out.write_all(b"\n")?;
                }
                table::write(&mut out, preview, self.shown.view, style())?;
                out.flush()
            }
            Format::Json => {
                let mut out = output::json();
                if self.total != 1 {
                    out.write_all(if is_first { b"[\n" } else { b",\n" })?;
                }
                serde_json::to_writer_pretty(&mut out, preview)?;
                out.flush()
            }
            Format::Ndjson => {
                let mut out = output::json();
                serde_json::to_writer(&mut out, preview)?;
                out.write_all(b"\n")?;
                out.flush()
            }
            Format::Html => {
                self.kept.push(preview.report());
                Ok(())
            }
        }
    }

    fn finish(self) -> io::Result<()> {
        match self.format {
            Format::Table => {
                let mut out = output::tables();
                match self.shown.summary {
                    Some(order) => out.write_all(summary::render(self.rows, order, style()).as_bytes())?,
                    None if self.rows.len() > 1 => {
                        let total = summary::total(&self.rows);
                        let words = format!(
                            "In {}: {} expire, at most {}; {} kept. --summary has a row for each.",
                            total.repository,
                            grouped(total.expiring),
                            bytes(total.expiring_bytes),
                            grouped(total.kept)
                        );
                        writeln!(out)?;
                        out.write_all(output::wrapped("", &words, style().columns(), 2).as_bytes())?;
                    }
                    None => {}
                }
                out.flush()?;
                output::explain_codes(self.codes);
                Ok(())
            }
            Format::Json => {
                let mut out = output::json();
                out.write_all(match (self.total, self.done) {
                    (1, _) => b"\n",
                    (_, 0) => b"[]\n",
                    _ => b"\n]\n",
                })?;
                out.flush()
            }
            Format::Ndjson => Ok(()),
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
        None => {
            // Some shells export 0 where they know no terminal.
            let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
            columns.filter(|columns| *columns > 0).unwrap_or(80)
        }
    }
}
