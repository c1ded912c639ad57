//! `ecr-steward enforce`: `policies.yaml` applied from a terminal, by the same code as in the stack.

use std::cell::Cell;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use shared::aws::ecr::EcrWrite;
use shared::aws::{Connection, Failure as AwsFailure};
use shared::domain::enforcement::batch::Assignment;
use shared::domain::enforcement::enforcement_switch::DryRunReason;
use shared::domain::enforcement::outcome::{Outcome as RepositoryOutcome, ReportedBlocker, Status};
use shared::domain::enforcement::plan::Blocker;
use shared::domain::enforcement::policy_set::{KEY, PolicySet};
use shared::domain::enforcement::run::Run;
use shared::domain::enforcement::saved_plan::{
    FORMAT_VERSION, PlanError, PlannedRepository, SavedPlan, usage_fingerprint,
};
use shared::domain::lifecycle::{PolicySource, matches_wildcard};
use shared::domain::repository::{Existing, Name};
use shared::domain::text::instant::Instant;
use shared::domain::text::quantity::count;
use shared::report::run::{Builder, Place, RunReport};
use shared::report::{html, table};
use shared::workflows::enforcement::approval::{Approval, Undone};
use shared::workflows::enforcement::inventory::assign;
use shared::workflows::enforcement::process_batch::BatchProcessor;
use shared::workflows::enforcement::registry_limit;
use shared::workflows::enforcement::{
    Access, PreviewOnly, Reading, RunContext, RunError, check_clock, read_usage,
};

use crate::account::{self, Aws, Bucket, Which};
use crate::confirm::confirm;
use crate::input::{self, MAX_POLICY_BYTES};
use crate::preview::Format;
use crate::progress::{self, Progress};
use crate::{Failure, Outcome, in_use, output, preview};

/// Repositories that are changed with the same look at the policies file.
const CHUNK: usize = 25;
/// Repositories that are read at the same time where nothing is changed.
const READ_CONCURRENCY: usize = 8;

/// Apply policies.yaml to repositories: a dry run, unless --apply is given
///
/// Does what a run of the stack does, with the same protection. Images in use are kept. A source of use that cannot be read
/// blocks deletion in its repositories, and the report prints the entry of policies.yaml that ignores it. Plans past a limit are
/// not executed; the limits of the registry are shared with the stack's runs. Every image is in the journal in the stack's bucket,
/// with who you are and where, before it is deleted or archived. What comes into use meanwhile is put back.
///
/// --save-plan keeps what a dry run shows, image by image, for 24 hours. --plan FILE --apply looks at everything anew, does of
/// that plan what still holds, and nothing else, and says of each image that is kept why.
///
/// --apply is a switch of its own: it asks neither for the stack's parameter Enforce nor for a preview of the file. A dry run from
/// here does not count as a preview. A file from disk (--policies) needs no bucket and no stack as long as it is a dry run.
///
/// Exit code: 0, 1 if something needs attention or less was done than planned, 2 if nothing could be done.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward enforce --policies policies.yaml --all        # before anything is deployed
  ecr-steward enforce --all --save-plan plan.json           # what would be done, for review
  ecr-steward enforce --plan plan.json --apply --yes        # that or less, unasked
  ecr-steward enforce --all --show expires --sort size      # where most expires
  ecr-steward enforce --repository 'shop/*' --apply
  ecr-steward enforce --all --apply --yes --output html > report.html")]
pub(crate) struct Arguments {
    #[command(flatten)]
    bucket: Bucket,

    /// Another policies file than the bucket's policies.yaml; `-` is standard input.
    #[arg(long = "policies", alias = "book", value_name = "FILE")]
    policies_file: Option<PathBuf>,

    #[command(flatten)]
    which: Which,

    /// Delete, archive and attach as the policies say.
    #[arg(long)]
    apply: bool,

    /// Save what would be deleted and archived, to be executed with --plan within 24 hours.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["apply", "plan"], value_parser = plan_file)]
    save_plan: Option<PathBuf>,

    /// Do what was saved, or less of it, and nothing else.
    #[arg(long, value_name = "FILE", requires = "apply", conflicts_with_all = ["all", "repository"])]
    plan: Option<PathBuf>,

    /// Do not ask before --apply --all, --apply --repository '*', or --apply --plan.
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    rows: Rows,

    /// How to print what was done.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// What the table of a run shows.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Rows {
    /// Which repositories have a row in the table.
    #[arg(long, value_enum, default_value_t, value_name = "REPOSITORIES")]
    show: Show,

    /// What comes first in the table.
    #[arg(long, value_enum, default_value_t, value_name = "ORDER")]
    sort: Order,
}

/// Repositories that have a row.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Show {
    /// All.
    #[default]
    All,
    /// Those in which something expires or is archived.
    Expires,
    /// Those that need attention.
    Attention,
}

/// What comes first.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Order {
    /// What needs attention.
    #[default]
    Attention,
    /// By name.
    Repository,
    /// The most bytes that expire.
    Size,
    /// The most images that expire.
    Images,
}

impl Rows {
    const fn view(self) -> table::run::View {
        table::run::View {
            show: match self.show {
                Show::All => table::run::Show::All,
                Show::Expires => table::run::Show::Expires,
                Show::Attention => table::run::Show::Attention,
            },
            order: match self.sort {
                Order::Attention => table::run::Order::Attention,
                Order::Repository => table::run::Order::Repository,
                Order::Size => table::run::Order::Size,
                Order::Images => table::run::Order::Images,
            },
        }
    }
}

/// Prints the report of a run.
pub(crate) fn print(format: Format, rows: Rows, report: &mut RunReport) -> io::Result<()> {
    match format {
        Format::Table => {
            let mut out = output::tables();
            out.write_all(table::run::render(report, rows.view(), preview::style()).as_bytes())?;
            out.flush()
        }
        Format::Json => output::value(report),
        Format::Ndjson => {
            let mut out = output::json();
            let repositories = std::mem::take(&mut report.repositories);
            for repository in &repositories {
                serde_json::to_writer(&mut out, repository)?;
                out.write_all(b"\n")?;
            }
            serde_json::to_writer(&mut out, report)?;
            out.write_all(b"\n")?;
            report.repositories = repositories;
            out.flush()
        }
        Format::Html => {
            let mut out = output::text();
            html::run::write(report, &mut out)?;
            out.flush()
        }
    }
}

/// Why a plan is not saved or executed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanFileError {
    #[error("{file}: {problem}")]
    Plan { file: String, problem: PlanError },
    #[error("{file}: the plan could not be saved: {error}")]
    Unwritten { file: String, error: io::Error },
}

pub(crate) fn run(arguments: &Arguments, aws: &Aws) -> Result<Outcome, Failure> {
    let given = match &arguments.policies_file {
        None => None,
        Some(path) => Some((input::name(path), input::read(path, MAX_POLICY_BYTES)?)),
    };
    let plan = match &arguments.plan {
        None => None,
        Some(path) => {
            let (file, text) = (input::name(path), input::read(path, u64::MAX)?);
            let plan = SavedPlan::parse(&text, Instant::now());
            Some(plan.map_err(|problem| PlanFileError::Plan { file, problem })?)
        }
    };
    aws.own_registry()?;
    // A file from disk can be looked at before anything is deployed: a dry run writes nothing down.
    let place = match (&arguments.policies_file, arguments.apply) {
        (Some(_), false) => arguments.bucket.if_named(),
        _ => arguments.bucket.needed(),
    };
    let approval = match (&plan, &arguments.save_plan) {
        (Some(plan), _) => Some(Approval::execute(plan)),
        (None, Some(_)) => Some(Approval::save()),
        (None, None) => None,
    };
    let done = account::work(aws, &place, async |clients, connection| {
        let clients = RunContext { writes_caches: arguments.apply, ..clients };
        Enforcement { clients, connection, arguments, plan: plan.as_ref() }
            .run(given.as_ref(), approval.as_ref())
            .await
    })?;
    let Done { mut report, registry_id, region, hash, usage, fits_today } = done;
    print(arguments.output, arguments.rows, &mut report)?;
    if matches!(arguments.output, Format::Table) {
        output::explain_codes(report.codes());
    }
    let undone = approval.as_ref().map(Approval::undone).unwrap_or_default();
    if let Some(plan) = &plan {
        tell_less(plan, &undone, plan.usage_fingerprint != usage);
    }
    if let (Some(path), Some(approval)) = (&arguments.save_plan, approval) {
        save(path, approval.saved(), &report, (&registry_id, &region), hash, usage)?;
    }
    let is_well =
        report.totals.needing_attention == 0 && report.gaps.is_empty() && undone.is_empty() && fits_today;
    Ok(if is_well { Outcome::Success } else { Outcome::Different })
}

/// Prints which parts of a plan were not executed, each cause once.
fn tell_less(plan: &SavedPlan, undone: &[Undone], usage_has_changed: bool) {
    const SHOWN: usize = 20;
    let all = plan.len() as u64;
    if all == 0 {
        output::note("The plan has no image: there was nothing to do");
        return;
    }
    output::note(&format!(
        "{} of the {} of the plan are done",
        all - undone.len() as u64,
        count(all, "image")
    ));
    if undone.is_empty() {
        return;
    }
    if usage_has_changed {
        output::note("What is in use has changed since the plan was saved");
    }
    for Undone { repository_name, image, reason } in undone.iter().take(SHOWN) {
        let name = match image.image_tags.as_slice() {
            [] => image.image_digest.clone(),
            tags => tags.join(", "),
        };
        output::note(&format!("  {repository_name}: {name} is kept: {reason}"));
    }
    if undone.len() > SHOWN {
        output::note(&format!("  and {} more", undone.len() - SHOWN));
    }
}

/// The file of a plan. Standard output has the report.
fn plan_file(text: &str) -> Result<PathBuf, String> {
    match text {
        "-" => Err("standard output has the report; name a file".to_owned()),
        "" => Err("name a file".to_owned()),
        file => Ok(PathBuf::from(file)),
    }
}

/// Writes a plan down.
fn save(
    path: &Path,
    repositories: Vec<PlannedRepository>,
    report: &RunReport,
    (registry_id, region): (&str, &str),
    policies_file_hash: String,
    usage_fingerprint: String,
) -> Result<(), Failure> {
    let saved_at = report.run.started_at;
    let plan = SavedPlan {
        format_version: FORMAT_VERSION,
        saved_at,
        expires_at: SavedPlan::expiry(saved_at),
        saved_by: report.run.started_by.clone().unwrap_or_default(),
        registry_id: registry_id.to_owned(),
        region: region.to_owned(),
        policies_file_hash,
        usage_fingerprint,
        repositories,
    };
    let file = input::name(path);
    let text = serde_json::to_string_pretty(&plan).map_err(io::Error::from)?;
    std::fs::write(path, text + "\n")
        .map_err(|error| PlanFileError::Unwritten { file: file.clone(), error })?;
    if plan.is_empty() {
        output::note(&format!("Saved {file}: by it nothing is deleted or archived"));
        return Ok(());
    }
    let images = count(plan.len() as u64, "image");
    output::note(&format!(
        "Saved {file}: {images} of {} repositories, until {}. `ecr-steward enforce --plan {file} --apply` does that or less.",
        plan.repositories.len(),
        plan.expires_at
    ));
    Ok(())
}

/// The result of the command, and the input of its report.
struct Done {
    report: RunReport,
    registry_id: String,
    region: String,
    hash: String,
    usage: String,
    /// Whether the limits of the registry let all of a dry run happen today.
    fits_today: bool,
}

/// One enforcement from a terminal.
struct Enforcement<'a> {
    clients: RunContext<'a>,
    connection: &'a Connection,
    arguments: &'a Arguments,
    plan: Option<&'a SavedPlan>,
}

impl Enforcement<'_> {
    async fn run(
        &self,
        given: Option<&(String, String)>,
        approval: Option<&Approval<'_>>,
    ) -> Result<Done, Failure> {
        let Self { clients, connection, arguments, plan } = self;
        let started_at = Instant::now();
        let (file, text, policies_file_version) = match given {
            Some((file, text)) => (file.as_str(), text.clone(), None),
            None => {
                let object = clients.s3.get(clients.bucket, KEY).await?.ok_or_else(|| Failure::Policy {
                    file: format!("s3://{}/{KEY}", clients.bucket),
                    problem:
                        "there is no such object; put the policies file there, or name one with --policies"
                            .to_owned(),
                })?;
                check_clock(object.answered_at, started_at)?;
                (KEY, object.text, object.version)
            }
        };
        let policy_set = parse(file, &text, given.is_some())?;
        let of_plan = |problem| PlanFileError::Plan {
            file: arguments.plan.as_deref().map(input::name).unwrap_or_default(),
            problem,
        };
        if let Some(plan) = plan {
            plan.check_policies_file(policy_set.hash()).map_err(of_plan)?;
        }
        let repositories = self.repositories(approval).await?;
        if let (Some(plan), Some(first)) = (plan, repositories.first()) {
            plan.check_registry(&first.registry_id, clients.region).map_err(of_plan)?;
        }
        let planned = plan.map_or(0, |plan| plan.len() as u64);
        if arguments.apply && (arguments.which.is_of_any_name() || planned > 0) {
            let account = repositories.first().map(|first| first.registry_id.as_str()).unwrap_or_default();
            let number =
                count(repositories.len() as u64, "repository").replace("repositorys", "repositories");
            let of_what = match planned {
                0 => format!("The policies will be enforced in all {number}"),
                images => {
                    let images = count(images, "image");
                    format!("The plan will be executed: {images} will be deleted or archived in {number}")
                }
            };
            let what = format!(
                "{of_what} of {account} in {}; `ecr-steward images restore` brings back only what ECR still has the layers of",
                clients.region
            );
            confirm(&what, "enforce", arguments.yes)?;
        }
        if arguments.which.all {
            warn_of_no_match(&policy_set, &repositories);
        }
        let mut actor = account::actor();
        if arguments.apply {
            // Without permission to ask AWS for the caller, the user and host are recorded.
            actor.principal = connection.sts().caller().await.ok().map(|caller| caller.arn);
        }
        // Terminals at the same moment are different runs.
        let run_id = format!("terminal-{}-{}", started_at.micros(), std::process::id());
        let dry_run = !arguments.apply;
        let run = Run {
            policies_file_problem: None,
            run_id,
            started_at,
            started_by: Some(actor.to_string()),
            dry_run,
            protect_only: false,
            dry_run_reason: dry_run.then_some(DryRunReason::Requested),
            attempt: String::new(),
            policies_file_version,
            policies_file_hash: Some(policy_set.hash().to_owned()),
        };
        progress::phase("reading what is in use");
        let before = read_usage::before(clients).await?;
        let observation = read_usage::observe(clients, policy_set.usage(), before, Instant::now()).await?;
        let (gaps, usage) = (observation.usage.gaps.clone(), usage_fingerprint(&observation.usage));
        let usage_sources = observation.usage.sources.clone();
        let mut builder = Builder::new(run.clone(), started_at);
        // A table of a dry run describes no image; what was done is kept with its images.
        let describes = arguments.apply || !matches!(arguments.output, Format::Table);
        let room = Cell::new(if describes { builder.room() } else { 0 });
        // Only what the report shows stays in memory.
        let mut wanted_today = 0;
        let mut take = |mut outcome: RepositoryOutcome| {
            let counted = std::mem::take(&mut outcome.counted_removals);
            if outcome.status == Status::Previewed {
                wanted_today += counted;
            }
            builder.take(outcome);
            room.set(room.get().min(builder.room()));
        };
        if arguments.apply {
            let ecr = connection.ecr_write();
            let access = Access::Write(&ecr);
            let processor = BatchProcessor::new(*clients, access, &run, &policy_set, observation)
                .with_approval(approval)
                .with_room(&room);
            self.work(&processor, &policy_set, &repositories, given.is_some(), approval, &mut take).await?;
        } else {
            // A dry run holds nothing that could change something.
            let access = Access::<PreviewOnly>::Read(Reading);
            let processor = BatchProcessor::new(*clients, access, &run, &policy_set, observation)
                .with_approval(approval)
                .with_room(&room);
            self.preview(&processor, &policy_set, &repositories, &mut take).await?;
        }
        let report = builder.report_mut();
        report.ended_at = Instant::now();
        let registry_id = repositories.first().map(|first| first.registry_id.clone()).unwrap_or_default();
        report.place = Place {
            stack_name: String::new(),
            registry_id: registry_id.clone(),
            region: clients.region.to_owned(),
            bucket: clients.bucket.to_owned(),
        };
        report.gaps = gaps;
        report.usage_sources = usage_sources;
        report.ignored =
            policy_set.usage().ignore.iter().filter(|ignored| ignored.holds(started_at)).cloned().collect();
        let over_limit = match arguments.apply {
            true => None,
            false => registry_limit::over_limit(clients, policy_set.limits(), wanted_today).await,
        };
        let fits_today = over_limit.is_none();
        builder.report_mut().limit_notices.extend(over_limit);
        let report = builder.finish();
        if arguments.apply {
            self.keep(&report).await;
        }
        Ok(Done {
            report,
            registry_id,
            region: clients.region.to_owned(),
            hash: policy_set.hash().to_owned(),
            usage,
            fits_today,
        })
    }

    /// The repositories that are named, or those of the plan that are still there.
    async fn repositories(&self, approval: Option<&Approval<'_>>) -> Result<Vec<Existing>, Failure> {
        let Self { clients, arguments, plan, .. } = self;
        let Some(plan) = plan else { return account::repositories(clients, &arguments.which).await };
        progress::phase("looking for the repositories of the plan");
        let mut found = Vec::with_capacity(plan.repositories.len());
        for planned in &plan.repositories {
            let text = &planned.repository_name;
            let name = Name::parse(text).map_err(|error| account::AccountError::Name {
                name: text.clone(),
                problem: error.to_string(),
            })?;
            match clients.ecr.repositories_named(&[name]).await {
                Ok(repositories) => found.extend(repositories),
                Err(error) if error.failure == AwsFailure::NotFound => {
                    if let Some(approval) = approval {
                        approval.tell_repository(text, "the repository is not there any more");
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    /// Previews the repositories, several at a time; `take` is given the outcomes in their order.
    async fn preview(
        &self,
        processor: &BatchProcessor<'_, PreviewOnly>,
        policy_set: &PolicySet,
        repositories: &[Existing],
        take: &mut impl FnMut(RepositoryOutcome),
    ) -> Result<(), Failure> {
        let progress = Progress::new("repositories", repositories.len());
        let preview = async |repository| match self.assign(policy_set, repository).await? {
            Ok(assignment) => match processor.preview(&repository.registry_id, &assignment).await {
                Err(RunError::Time(_)) => Ok(unfinished(&assignment)),
                outcome => Ok::<_, Failure>(outcome?),
            },
            Err(outcome) => Ok(*outcome),
        };
        let mut previewing = stream::iter(repositories).map(preview).buffered(READ_CONCURRENCY);
        while let Some(outcome) = previewing.next().await {
            take(outcome?);
            progress.step(1);
        }
        Ok(())
    }

    /// Processes the repositories in chunks, since use is read once for all of them.
    async fn work(
        &self,
        processor: &BatchProcessor<'_, &EcrWrite>,
        policy_set: &PolicySet,
        repositories: &[Existing],
        is_given: bool,
        approval: Option<&Approval<'_>>,
        take: &mut impl FnMut(RepositoryOutcome),
    ) -> Result<(), Failure> {
        let Self { clients, .. } = self;
        let progress = Progress::new("repositories", repositories.len());
        for some in repositories.chunks(CHUNK) {
            // It may take hours, and whoever changes the bucket's file means from now on.
            if !is_given && !is_current(clients, policy_set).await? {
                let changed = Blocker::PoliciesFileChanged;
                for repository in some {
                    if let Some(approval) = approval {
                        approval.tell_repository(&repository.name, &changed.to_string());
                    }
                    take(RepositoryOutcome {
                        repository_name: repository.name.clone(),
                        status: Status::Blocked,
                        blockers: vec![ReportedBlocker::from(&changed)],
                        ..RepositoryOutcome::default()
                    });
                }
                progress.step(some.len());
                continue;
            }
            let assigned: Vec<Result<Assignment, Box<RepositoryOutcome>>> = stream::iter(some)
                .map(|repository| self.assign(policy_set, repository))
                .buffered(READ_CONCURRENCY)
                .try_collect()
                .await?;
            let mut assignments = Vec::with_capacity(some.len());
            for (repository, assigned) in some.iter().zip(assigned) {
                if let Some(approval) = approval {
                    let policy = match &assigned {
                        Ok(assignment) => {
                            let entry = policy_set.entry(&assignment.policy);
                            entry.map(|entry| (entry.name.as_str(), entry.apply))
                        }
                        Err(_) => None,
                    };
                    let problem = assigned.as_ref().err().and_then(|outcome| outcome.error.as_deref());
                    match problem {
                        Some(problem) => approval.tell_repository(&repository.name, problem),
                        None if !approval.may_work_on(&repository.name, policy) => continue,
                        None => {}
                    }
                }
                match assigned {
                    Ok(assignment) => assignments.push(assignment),
                    Err(outcome) => take(*outcome),
                }
            }
            let registry_id =
                some.first().map(|repository| repository.registry_id.as_str()).unwrap_or_default();
            let (outcomes, _) = processor.all(registry_id, &assignments).await?;
            let left = all_unfinished(&assignments, &outcomes);
            outcomes.into_iter().chain(left).for_each(&mut *take);
            progress.step(some.len());
        }
        Ok(())
    }

    /// The policy of a repository; or its outcome, if none is for it or AWS does not say.
    async fn assign(
        &self,
        policy_set: &PolicySet,
        repository: &Existing,
    ) -> Result<Result<Assignment, Box<RepositoryOutcome>>, Failure> {
        let outcome = |status, error| {
            Box::new(RepositoryOutcome {
                repository_name: repository.name.clone(),
                status,
                error,
                ..RepositoryOutcome::default()
            })
        };
        match assign(&self.clients, policy_set, &repository.name, &repository.arn).await {
            Ok(Some(entry)) => Ok(Ok(Assignment {
                repository_name: repository.name.clone(),
                repository_arn: repository.arn.clone(),
                policy: entry.name.clone(),
                protection: None,
                unassigned: None,
                checks_native_policy: !entry.apply.is_by_ecr(),
                // Whoever is at a terminal is not excluded from pull times, and reading a manifest is a pull.
                layer_reads: None,
                cost_tag: None,
                look: None,
            })),
            Ok(None) => Ok(Err(outcome(Status::Unmatched, None))),
            // What AWS says of one repository is no reason to leave all others alone.
            Err(RunError::Aws(error)) => {
                let problem = format!("which policy is for it is not known: {error}");
                Ok(Err(outcome(Status::Failed, Some(problem))))
            }
            Err(RunError::Time(error)) => Ok(Err(outcome(Status::Unfinished, Some(error.to_string())))),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps the report where those of the stack's runs are, so that others find what was done from here.
    async fn keep(&self, report: &RunReport) {
        let Self { clients, .. } = self;
        let json = serde_json::to_string(report).map_err(|error| error.to_string());
        let html = html::run::render(report);
        let write = async |name: &str, text: &str, kind: &str| {
            let written = clients.s3.write(clients.bucket, &report.run.key(name), text, kind).await;
            written.map_err(|error| error.to_string())
        };
        let kept = async {
            write("report.json", &json?, "application/json").await?;
            write("report.html", &html, "text/html; charset=utf-8").await
        };
        // All is done, and in the journal.
        if let Err(problem) = kept.await {
            output::note(&format!(
                "ecr-steward: warning: the report could not be kept in the bucket: {problem}"
            ));
        }
    }
}

/// The outcome of a repository that was not come to before time was up.
fn unfinished(assignment: &Assignment) -> RepositoryOutcome {
    RepositoryOutcome {
        status: Status::Unfinished,
        ..RepositoryOutcome::failed(
            &assignment.repository_name,
            &assignment.policy,
            "time was up before it was finished; run the command again".to_owned(),
        )
    }
}

/// The outcomes of the repositories that have none, since time was up.
fn all_unfinished(assignments: &[Assignment], outcomes: &[RepositoryOutcome]) -> Vec<RepositoryOutcome> {
    let has_outcome = |assignment: &&Assignment| {
        outcomes.iter().any(|outcome| outcome.repository_name == assignment.repository_name)
    };
    assignments.iter().filter(|assignment| !has_outcome(assignment)).map(unfinished).collect()
}

/// Warns of names and patterns of the policies file that no repository of the registry has, which are often misspelled.
fn warn_of_no_match(policy_set: &PolicySet, repositories: &[Existing]) {
    for entry in policy_set.entries() {
        let unmatched = entry.repositories.iter().filter(|pattern| {
            !repositories.iter().any(|repository| matches_wildcard(pattern, &repository.name))
        });
        for pattern in unmatched {
            let names = repositories.iter().map(|repository| repository.name.as_str());
            let meant = account::like(pattern, names).filter(|_| !pattern.contains('*'));
            let meant = meant.map_or_else(String::new, |name| format!("; did you mean {name}?"));
            output::note(&format!(
                "ecr-steward: warning: {}: no repository of the registry is named like {pattern}{meant}",
                entry.name
            ));
        }
    }
}

/// The policies file; one that is something else is called by what it is.
pub(crate) fn parse(file: &str, text: &str, is_given: bool) -> Result<PolicySet, Failure> {
    PolicySet::parse(text).map_err(|findings| match PolicySource::parse(text) {
        // An empty file and the like would be one, too.
        Ok(_) if is_given && !PolicySet::is_meant(text) => Failure::Policy {
            file: file.to_owned(),
            problem: "is a lifecycle policy, not a policies file: write it as an entry of `policies`, with a `name` and \
                      `repositories`, or look at it with `preview --policy`"
                .to_owned(),
        },
        _ => in_use::invalid_policies_file(file, text, findings),
    })
}

/// Whether the bucket's policies file still is this one.
async fn is_current(clients: &RunContext<'_>, policy_set: &PolicySet) -> Result<bool, Failure> {
    let Some(object) = clients.s3.get(clients.bucket, KEY).await? else { return Ok(false) };
    // One that is not valid is another one.
    Ok(PolicySet::parse(&object.text).is_ok_and(|now| now.hash() == policy_set.hash()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_that_there_was_no_time_for_is_unfinished_and_needs_attention() {
        let assignment = |name: &str| Assignment {
            repository_name: name.to_owned(),
            repository_arn: String::new(),
            policy: "all".to_owned(),
            protection: None,
            unassigned: None,
            checks_native_policy: false,
            layer_reads: None,
            cost_tag: None,
            look: None,
        };
        let assignments = ["app", "web", "worker"].map(assignment);
        let done = RepositoryOutcome {
            repository_name: "app".to_owned(),
            status: Status::Done,
            ..RepositoryOutcome::default()
        };
        let left = all_unfinished(&assignments, &[done]);
        let names: Vec<&str> = left.iter().map(|outcome| outcome.repository_name.as_str()).collect();
        assert_eq!(names, ["web", "worker"]);
        assert!(left.iter().all(RepositoryOutcome::needs_attention), "{left:?}");
    }
}
