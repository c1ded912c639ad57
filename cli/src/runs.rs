//! `ecr-steward runs` and `ecr-steward history`: past runs, and the history of one image.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use clap::{Args, Subcommand};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use shared::aws::Failure as AwsFailure;
use shared::aws::s3::Listed;
use shared::domain::enforcement::image_history::{HistoryEntry, Presence};
use shared::domain::enforcement::journal::{self, Line, RestoreLine};
use shared::domain::enforcement::run::RUNS;
use shared::domain::preview::model::ActionKind;
use shared::domain::text::instant::Instant;
use shared::domain::text::printable::on_one_line;
use shared::domain::text::quantity::{bytes, grouped};
use shared::domain::usage::usage_snapshot::CLOCK_SECONDS;
use shared::report::run::{RunReport, RunStatus};
use shared::report::table::layout::{Cell, Column, Layout, Paint};
use shared::workflows::enforcement::restore_policy::JOURNAL_DAYS;
use shared::workflows::enforcement::summarize::LATEST;
use shared::workflows::enforcement::{RunContext, read_journal, write_journal};

use crate::account::{self, Aws, Bucket};
use crate::enforce::Rows;
use crate::explain::Called;
use crate::preview::Format;
use crate::{Failure, Outcome, enforce, output, progress};

/// Reports and objects of the journal that are read at the same time.
const READ_CONCURRENCY: usize = 8;

/// List the runs of the stack and of terminals, and show what one did
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward runs list
  ecr-steward runs show                    # the last one over the registry
  ecr-steward runs show terminal-1795651920123456-812 --output html > report.html")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(List),
    Show(Show),
}

/// List runs, the last one first
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward runs list
  ecr-steward runs list --last 100 --stack ecr-steward")]
struct List {
    #[command(flatten)]
    bucket: Bucket,

    /// How many.
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    last: u32,
}

/// Show the report of a run
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward runs show
  ecr-steward runs show terminal-1795651920123456-812 --output html > report.html")]
struct Show {
    /// The run, as `runs list` has it; without it the last one over the registry.
    #[arg(value_name = "RUN_ID")]
    run: Option<String>,

    #[command(flatten)]
    bucket: Bucket,

    #[command(flatten)]
    rows: Rows,

    /// How to print.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// Say who deleted or archived an image, when and why, and how to get it back
///
/// Reads the journal in the stack's bucket, which is kept for 400 days, and is written before anything is deleted: what came of it
/// is in the report of the run, and ECR is asked whether it has the image. By tag: every image that had it.
///
/// Exit code: 0, or 1 if the journal has nothing of the image.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward history shop/web:ci-1207
  ecr-steward history shop/web@sha256:9fdfcb80a9a3… --days 400
  ecr-steward history shop/web:v2 --output json | jq --raw-output '.[0].imageManifest'")]
pub(crate) struct History {
    /// The image: REPOSITORY:TAG or REPOSITORY@sha256:….
    #[arg(value_name = "IMAGE")]
    image: String,

    #[command(flatten)]
    bucket: Bucket,

    /// How many days back.
    #[arg(long, value_name = "NUMBER", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=i64::from(JOURNAL_DAYS)))]
    days: u32,

    /// How to print; JSON has the lines of the journal, with manifests, and what came of each.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: output::Format,
}

pub(crate) fn run(arguments: &Arguments, aws: &Aws) -> Result<Outcome, Failure> {
    match &arguments.command {
        Command::List(arguments) => list(arguments, aws),
        Command::Show(arguments) => show(arguments, aws),
    }
}

fn list(arguments: &List, aws: &Aws) -> Result<Outcome, Failure> {
    let runs = account::work(aws, &arguments.bucket.needed(), async |clients, _| {
        progress::phase("listing runs");
        let listed = clients.s3.list(clients.bucket, RUNS).await?;
        let reports = listed.into_iter().filter(|object| object.key.ends_with("/report.json")).collect();
        last_runs(&clients, reports, arguments.last as usize).await
    })?;
    if runs.is_empty() {
        output::note("There is no run yet");
        return Ok(Outcome::Success);
    }
    let numbers = |amount: fn(&PastRun) -> u64| {
        runs.iter().map(|run| grouped(amount(run)).len()).max().unwrap_or_default()
    };
    let texts = |text: fn(&PastRun) -> &str| {
        runs.iter().map(|run| text(run).chars().count()).max().unwrap_or_default()
    };
    let layout = Layout::new(
        &[
            Column::fixed("RUN", texts(|run| &run.id)),
            Column::fixed("STARTED", 19),
            Column::fixed("STATUS", 8),
            Column::number("PLANNED", numbers(|run| run.planned)),
            Column::number("DELETED", numbers(|run| run.deleted)),
            Column::number("FAILED", numbers(|run| run.failed)),
            Column::number("BLOCKED", numbers(|run| run.blocked)),
            Column::text("BY", 12, texts(|run| &run.by)),
        ],
        output::line_style(),
    );
    let mut text = String::new();
    layout.header(&mut text);
    for run in &runs {
        let (status, paint) = run.status;
        layout.row(
            &mut text,
            &[
                Cell::new(&*run.id),
                Cell::new(run.started()),
                Cell::new(status).paint(paint),
                Cell::new(grouped(run.planned)),
                Cell::new(grouped(run.deleted)),
                Cell::new(grouped(run.failed)),
                Cell::new(grouped(run.blocked)),
                Cell::new(&*run.by),
            ],
        );
    }
    let mut out = output::tables();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(Outcome::Success)
}

/// A line of the list of runs.
#[derive(Debug)]
struct PastRun {
    started_at: Instant,
    id: String,
    status: (&'static str, Paint),
    planned: u64,
    deleted: u64,
    failed: u64,
    blocked: u64,
    by: String,
}

impl PastRun {
    fn of(report: RunReport) -> Self {
        let totals = &report.totals;
        let by = report.run.started_by.as_deref().unwrap_or("-");
        Self {
            started_at: report.run.started_at,
            status: match (report.status, report.run.dry_run) {
                (RunStatus::Failed, _) => ("failed", Paint::Red),
                (RunStatus::Attention, _) => ("problems", Paint::Yellow),
                (RunStatus::Succeeded, true) => ("dry run", Paint::Plain),
                (RunStatus::Succeeded, false) => ("done", Paint::Green),
            },
            planned: totals.expiring.image_total_count,
            deleted: totals.deleted.image_total_count,
            failed: totals.failed.image_total_count,
            blocked: totals.blocked.image_total_count,
            by: by.rsplit_once(":execution:").map_or(by, |_| "the stack").to_owned(),
            id: report.run.run_id,
        }
    }

    /// When it started, to the second and in UTC.
    fn started(&self) -> String {
        let started = self.started_at.to_string();
        started.split('.').next().unwrap_or(&started).trim_end_matches('Z').replace('T', " ")
    }
}

/// The runs that started last, the last one first. When an object was written says only when its run had started at the latest: a
/// long run ends after a short one that started later, and objects of a bucket that was copied are all of one day. So reports are
/// read, the last written first, until those that are left cannot have started later.
async fn last_runs(
    clients: &RunContext<'_>,
    mut reports: Vec<Listed>,
    last: usize,
) -> Result<Vec<PastRun>, Failure> {
    // Whatever has no time may be of any run.
    reports.sort_by_key(|object| std::cmp::Reverse(object.modified_at.map_or(i64::MAX, Instant::micros)));
    let mut runs: Vec<PastRun> = Vec::new();
    for some in reports.chunks(READ_CONCURRENCY) {
        let written = some.first().and_then(|object| object.modified_at);
        let of_last = runs.get(last.saturating_sub(1)).map(|run| run.started_at);
        if let (Some(written), Some(started)) = (written, of_last)
            && written.micros().saturating_add(CLOCK_SECONDS * 1_000_000) < started.micros()
        {
            break;
        }
        let reading = stream::iter(some).map(async |object| report(clients, &object.key).await);
        let read: Vec<Option<RunReport>> = reading.buffered(READ_CONCURRENCY).try_collect().await?;
        runs.extend(read.into_iter().flatten().map(PastRun::of));
        runs.sort_by_key(|run| std::cmp::Reverse(run.started_at));
        runs.truncate(last);
    }
    Ok(runs)
}

/// A report; `None` if it no longer exists.
async fn report(clients: &RunContext<'_>, key: &str) -> Result<Option<RunReport>, Failure> {
    let Some(object) = clients.s3.get(clients.bucket, key).await? else { return Ok(None) };
    let report = serde_json::from_str(&object.text);
    report.map(Some).map_err(|error| Failure::Policy {
        file: format!("s3://{}/{key}", clients.bucket),
        problem: format!("is no report of a run: {error}"),
    })
}

fn show(arguments: &Show, aws: &Aws) -> Result<Outcome, Failure> {
    let mut shown = account::work(aws, &arguments.bucket.needed(), async |clients, _| {
        progress::phase("reading the report");
        let key = match &arguments.run {
            Some(run) => format!("{RUNS}{run}/report.json"),
            None => format!("{LATEST}.json"),
        };
        let missing = || Failure::Policy {
            file: format!("s3://{}/{key}", clients.bucket),
            problem: "there is no such report; `ecr-steward runs list` has those that there are".to_owned(),
        };
        report(&clients, &key).await?.ok_or_else(missing)
    })?;
    enforce::print(arguments.output, arguments.rows, &mut shown)?;
    Ok(Outcome::Success)
}

/// `ecr-steward history`.
pub(crate) fn history(arguments: &History, aws: &Aws) -> Result<Outcome, Failure> {
    let called = Called::parse(&arguments.image)?;
    let entries = account::work(aws, &arguments.bucket.needed(), async |clients, _| {
        progress::phase("reading the journal");
        let clients = &clients;
        let now = Instant::now();
        let since = Instant::from_micros(now.micros_days_before(u64::from(arguments.days)));
        let is_of_image = |key: &str| journal::repository_of(key) == Some(called.repository.as_str());
        let keys = read_journal::keys(clients, since.unwrap_or(Instant::EPOCH), is_of_image).await?;
        let (restores, keys): (Vec<String>, Vec<String>) =
            keys.into_iter().partition(|key| journal::is_restores(key));
        let removals = keys.into_iter().filter(|key| journal::is_removals(key));
        let reading = stream::iter(removals).map(async |key| {
            let (lines, problems) = write_journal::read_what_is_there(clients, &key).await?;
            for (number, problem) in problems {
                output::note(&format!(
                    "ecr-steward: warning: s3://{}/{key}: line {number} of the journal is left out: {problem}",
                    clients.bucket
                ));
            }
            Ok::<_, Failure>(lines)
        });
        let lines: Vec<Vec<Line>> = reading.buffered(READ_CONCURRENCY).try_collect().await?;
        let mut lines: Vec<Line> = lines
            .concat()
            .into_iter()
            .filter(|line| line.repository_name == called.repository.as_str())
            .filter(|line| called.is(&line.image_digest, &line.image_tags))
            .filter(|line| {
                let named = called.registry.as_ref();
                named.is_none_or(|(account, region)| *account == line.registry_id && *region == line.region)
            })
            .collect();
        let restores = read_journal::restores(clients, restores).await?;
        lines.sort_by_key(|line| std::cmp::Reverse(line.at));
        entries(clients, &called, lines, &restores).await
    })?;
    match arguments.output {
        output::Format::Json => output::value(&entries)?,
        output::Format::Text => print(&called, &entries)?,
    }
    if entries.is_empty() {
        output::note(&format!(
            "The journal of the last {} days has no image {} of {}",
            arguments.days,
            called.short(),
            called.repository
        ));
        return Ok(Outcome::Different);
    }
    Ok(Outcome::Success)
}

/// What came of the intentions of the journal, from the reports of the runs and from ECR. What cannot be read is not known, which
/// the entry then says.
async fn entries(
    clients: &RunContext<'_>,
    called: &Called,
    lines: Vec<Line>,
    restores: &[RestoreLine],
) -> Result<Vec<HistoryEntry>, Failure> {
    progress::phase("looking for what came of it");
    let runs: BTreeSet<String> = lines.iter().map(|line| line.run_id.clone()).collect();
    let reading = stream::iter(runs).map(async |run| {
        let read = report(clients, &format!("{RUNS}{run}/report.json")).await;
        (run, read.ok().flatten())
    });
    let reports: BTreeMap<String, Option<RunReport>> = reading.buffered(READ_CONCURRENCY).collect().await;
    let digests: BTreeSet<String> = lines
        .iter()
        .filter(|line| line.region == clients.region)
        .map(|line| line.image_digest.clone())
        .collect();
    // Of another account it is not known from here what its registry has.
    let own = clients.ecr.repositories_named(std::slice::from_ref(&called.repository)).await;
    let own = match own {
        Ok(repositories) => repositories.into_iter().next().map(|repository| Some(repository.registry_id)),
        // Without its repository there is no image.
        Err(error) if error.failure == AwsFailure::NotFound => Some(None),
        Err(_) => None,
    };
    let asking = stream::iter(digests).map(async |digest| {
        let status = clients.ecr.image_status(&called.repository, &digest).await;
        (digest, status.ok().map(Presence::of))
    });
    let present: BTreeMap<String, Option<Presence>> = asking.buffered(READ_CONCURRENCY).collect().await;
    // The last removal comes first: what was restored before it was restored after an earlier one.
    let mut removed_again: BTreeMap<String, Instant> = BTreeMap::new();
    let entries = lines.into_iter().map(|line| {
        let until = removed_again.insert(line.image_digest.clone(), line.at);
        let report = reports.get(&line.run_id).and_then(Option::as_ref);
        let result = report.and_then(|report| {
            let of_repository =
                report.repositories.iter().filter(|outcome| outcome.repository_name == line.repository_name);
            of_repository
                .flat_map(|outcome| &outcome.results)
                .find(|result| result.image_digest == line.image_digest)
        });
        let is_own = own
            .as_ref()
            .is_some_and(|registry| registry.as_ref().is_none_or(|registry| *registry == line.registry_id));
        let present = present.get(&line.image_digest).copied().flatten().filter(|_| is_own);
        HistoryEntry::new(line, result, present).with_restorations(restores, until)
    });
    Ok(entries.collect())
}

fn print(called: &Called, entries: &[HistoryEntry]) -> Result<(), Failure> {
    let mut out = output::text();
    let mut print = |lead: &str, words: &str| output::paragraph(&mut out, lead, &on_one_line(words), 4);
    for entry in entries {
        let line = &entry.line;
        let done = entry.headline();
        let tags =
            if line.image_tags.is_empty() { "untagged".to_owned() } else { line.image_tags.join(", ") };
        print(&format!("{} ", line.image_digest), &format!("{done} on {} by {}", line.at, line.by))?;
        if let Some(sequel) = entry.sequel() {
            print("  ", &sequel)?;
        }
        let size = bytes(line.image_size_in_bytes);
        print("  ", &format!("{tags}, {size}, pushed {}", line.image_pushed_at))?;
        match (&line.policy, line.applied_rule_priority) {
            (Some(policy), Some(rule)) => {
                let version = line
                    .policies_file_version
                    .as_ref()
                    .map(|version| format!(", version {version}"))
                    .unwrap_or_default();
                print("  ", &format!("by rule {rule} of {policy} in policies.yaml{version}"))?;
            }
            _ => print("  ", "by hand")?,
        }
        print("  ", &line.reason)?;
        print("  ", &format!("in the run {}", line.run_id))?;
        match line.usage_read_at {
            Some(at) => print("  ", &format!("by what was in use at {at}"))?,
            None => print("  ", "without a look at what was in use")?,
        }
        for restored in &entry.restored {
            print("  ", &format!("restored on {} by {} ({})", restored.at, restored.by, restored.run_id))?;
        }
    }
    if let Some(HistoryEntry { line, .. }) = entries.first().filter(|entry| !entry.is_there()) {
        let (name, digest) = (&called.repository, &line.image_digest);
        let command = format!("ecr-steward images restore {name}@{digest} --apply");
        let way = match (line.action.kind, &line.image_manifest) {
            (ActionKind::Expire, None) => {
                "It cannot come back: ECR did not give its manifest when it was deleted; build it once more"
            }
            (ActionKind::Transition, _) => "To get it back out of the archive:",
            (ActionKind::Expire, Some(_)) => "To get it back, as long as ECR has its layers:",
        };
        // A command stands on a line of its own, to be copied.
        let is_lost = line.action.kind == ActionKind::Expire && line.image_manifest.is_none();
        output::paragraph(&mut out, "", way, 0)?;
        if !is_lost {
            writeln!(out, "  {command}")?;
        }
    }
    out.flush()?;
    Ok(())
}
