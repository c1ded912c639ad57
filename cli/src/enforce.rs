//! `ecr-steward enforce`: `policies.yaml` applied from a terminal, by the same code as in the stack.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use shared::aws::Connection;
use shared::domain::enforcement::batch::Assignment;
use shared::domain::enforcement::enforcement_switch::DryRunReason;
use shared::domain::enforcement::outcome::{Outcome as RepositoryOutcome, ReportedBlocker, Status};
use shared::domain::enforcement::plan::Blocker;
use shared::domain::enforcement::policy_set::{KEY, PolicySet};
use shared::domain::enforcement::run::Run;
use shared::domain::lifecycle::PolicySource;
use shared::domain::text::instant::Instant;
use shared::report::run::{Builder, RunReport};
use shared::report::{html, table};
use shared::workflows::enforcement::inventory::assign;
use shared::workflows::enforcement::process_batch::BatchProcessor;
use shared::workflows::enforcement::{Access, RunContext, RunError, check_clock, read_usage};

use crate::account::{self, Aws, Bucket, Which};
use crate::input::{self, MAX_POLICY_BYTES};
use crate::preview::Format;
use crate::progress::{self, Progress};
use crate::{Failure, Outcome, in_use, output, preview};

/// Repositories that are worked on together.
const CHUNK: usize = 25;

/// Apply policies.yaml to repositories: a dry run, unless --apply is given
///
/// Does what a run of the stack does, with the same protection. Images in use are kept. A source of use that cannot be read
/// blocks deletion in its repositories, and the report prints the entry of policies.yaml that ignores it. Plans past a limit are
/// not executed; the limits of the registry are shared with the stack's runs. Every image is in the journal in the stack's bucket,
/// with your user and host, before it is deleted or archived. What comes into use meanwhile is put back.
///
/// --apply is a switch of its own: it asks neither for the stack's parameter Enforce nor for a preview of the file. A dry run from
/// here does not count as a preview.
///
/// Exit code: 0, 1 if something needs attention, 2 if nothing could be done.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    bucket: Bucket,

    /// Another policies file than the bucket's policies.yaml; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    book: Option<PathBuf>,

    #[command(flatten)]
    which: Which,

    /// Delete, archive and attach as the policies say.
    #[arg(long)]
    apply: bool,

    /// How to print what was done.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

pub(crate) fn run(arguments: &Arguments, aws: &Aws) -> Result<Outcome, Failure> {
    let given = match &arguments.book {
        None => None,
        Some(path) => Some((input::name(path), input::read(path, MAX_POLICY_BYTES)?)),
    };
    aws.own_registry()?;
    // A file from disk can be looked at before anything is deployed: a dry run writes nothing down.
    let place = match (&arguments.book, arguments.apply) {
        (Some(_), false) => arguments.bucket.if_named(),
        _ => arguments.bucket.needed(),
    };
    let report = account::work(aws, &place, async |clients, connection| {
        enforce(&clients, connection, arguments, given.as_ref()).await
    })?;
    match arguments.output {
        Format::Table => {
            let mut out = output::tables();
            out.write_all(table::run::render(&report, preview::style()).as_bytes())?;
            out.flush()?;
        }
        Format::Json => output::value(&report)?,
        Format::Html => {
            let mut out = output::text();
            out.write_all(html::run::render(&report).as_bytes())?;
            out.flush()?;
        }
    }
    let is_well = report.repositories.iter().all(|outcome| !outcome.needs_attention());
    Ok(if is_well && report.gaps.is_empty() { Outcome::Success } else { Outcome::Different })
}

async fn enforce(
    clients: &RunContext<'_>,
    connection: &Connection,
    arguments: &Arguments,
    given: Option<&(String, String)>,
) -> Result<RunReport, Failure> {
    let started_at = Instant::now();
    let (file, text, book_version) = match given {
        Some((file, text)) => (file.as_str(), text.clone(), None),
        None => {
            let object = clients.s3.get(clients.bucket, KEY).await?.ok_or_else(|| Failure::Policy {
                file: format!("s3://{}/{KEY}", clients.bucket),
                problem: "there is no such object; put the policies file there, or name one with --book"
                    .to_owned(),
            })?;
            check_clock(object.answered_at, started_at)?;
            (KEY, object.text, object.version)
        }
    };
    let book = PolicySet::parse(&text).map_err(|findings| match PolicySource::parse(&text) {
        // An empty file and the like would be one, too.
        Ok(_) if given.is_some() && !PolicySet::is_meant(&text) => Failure::Policy {
            file: file.to_owned(),
            problem: "is a lifecycle policy, not a policies file: write it as an entry of `policies`, with a `name` and \
                      `repositories`, or look at it with `preview --policy`"
                .to_owned(),
        },
        _ => in_use::invalid_book(file, &findings),
    })?;
    // Terminals at the same moment are different runs.
    let run_id = format!("terminal-{}-{}", started_at.micros(), std::process::id());
    let dry_run = !arguments.apply;
    let run = Run {
        policies_file_problem: None,
        run_id,
        started_at,
        started_by: Some(account::actor().to_string()),
        dry_run,
        protect_only: false,
        dry_run_reason: dry_run.then_some(DryRunReason::Requested),
        attempt: String::new(),
        book_version,
        book_hash: Some(book.hash().to_owned()),
    };
    let repositories = account::repositories(clients, &arguments.which).await?;
    progress::phase("reading what is in use");
    let before = read_usage::before(clients).await?;
    let observation = read_usage::observe(clients, book.usage(), before, Instant::now()).await?;
    let gaps = observation.usage.gaps.clone();
    // A dry run holds nothing that could change something.
    let ecr = arguments.apply.then(|| connection.ecr_write());
    let access = ecr.as_ref().map_or(Access::Read, Access::Write);
    let worker = BatchProcessor::new(*clients, access, &run, &book, observation);
    let mut outcomes = Vec::new();
    let progress = Progress::new("repositories", repositories.len());
    // So many at a time, since what is in use is looked at once for all of them.
    for some in repositories.chunks(CHUNK) {
        // It may take hours, and whoever changes the bucket's file means from now on.
        if arguments.apply && given.is_none() && !is_current(clients, &book).await? {
            outcomes.extend(some.iter().map(|repository| RepositoryOutcome {
                repository_name: repository.name.clone(),
                status: Status::Blocked,
                obstacles: vec![ReportedBlocker::from(&Blocker::PoliciesFileChanged)],
                ..RepositoryOutcome::default()
            }));
            progress.step(some.len());
            continue;
        }
        let mut assignments = Vec::with_capacity(some.len());
        for repository in some {
            let outcome = |status, error| RepositoryOutcome {
                repository_name: repository.name.clone(),
                status,
                error,
                ..RepositoryOutcome::default()
            };
            match assign(clients, &book, &repository.name, &repository.arn).await {
                Ok(Some(entry)) => assignments.push(Assignment {
                    repository_name: repository.name.clone(),
                    repository_arn: repository.arn.clone(),
                    policy: entry.name.clone(),
                    protection: None,
                    unassigned: None,
                    checks_native_policy: false,
                }),
                Ok(None) => outcomes.push(outcome(Status::Unmatched, None)),
                // What AWS says of one repository is no reason to leave all others alone.
                Err(RunError::Aws(error)) => {
                    let problem = format!("which policy is for it is not known: {error}");
                    outcomes.push(outcome(Status::Failed, Some(problem)));
                }
                Err(stop) => return Err(stop.into()),
            }
        }
        let registry_id = some.first().map(|repository| repository.registry_id.as_str()).unwrap_or_default();
        outcomes.extend(worker.all(registry_id, &assignments).await?.0);
        progress.step(some.len());
    }
    drop(progress);
    let mut builder = Builder::new(run, Instant::now());
    let report = builder.report_mut();
    report.gaps = gaps;
    report.ignored =
        book.usage().ignore.iter().filter(|ignored| ignored.holds(started_at)).cloned().collect();
    for outcome in outcomes {
        builder.take(outcome);
    }
    Ok(builder.finish())
}

/// Whether the bucket's policies file still is this one.
async fn is_current(clients: &RunContext<'_>, book: &PolicySet) -> Result<bool, Failure> {
    let Some(object) = clients.s3.get(clients.bucket, KEY).await? else { return Ok(false) };
    // One that is not valid is another one.
    Ok(PolicySet::parse(&object.text).is_ok_and(|now| now.hash() == book.hash()))
}
