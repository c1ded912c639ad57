//! Processes one batch: previews its repositories, or enforces their policies, until all are done or time is up.
//!
//! Repositories are read and planned in chunks. If a chunk has something to do, use is read again before its actions are
//! executed.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::ready;
use futures_util::stream::{self, StreamExt};
use tokio::time::Instant as MonotonicInstant;

use super::{Access, PreviewOnly, ProtectOnly, RunContext, RunError, WriteClient, check_clock, inventory};
use crate::aws::AwsError;
use crate::aws::resource_tags::PROTECT_KEY;
use crate::domain::enforcement::action::Action;
use crate::domain::enforcement::batch::{Assignment, Batch, Kind, Protection};
use crate::domain::enforcement::enforcement_switch::Invocation;
use crate::domain::enforcement::in_use_protection::{
    TakesNothing, is_protected, takes_nothing, without_protection,
};
use crate::domain::enforcement::journal;
use crate::domain::enforcement::outcome::{ImageResult, Outcome, PutBack, ReportedBlocker, Status};
use crate::domain::enforcement::outcome_file;
use crate::domain::enforcement::plan::{Blocker, Reassignment, taken_in_use};
use crate::domain::enforcement::policy_set::{self, Apply, Entry, Keep, Limits, PolicySet, ResourceTags};
use crate::domain::enforcement::protection_record::{Mode, ProtectionRecord};
use crate::domain::enforcement::run::{LAST, Run, Task};
use crate::domain::enforcement::storage::Measured;
use crate::domain::enforcement::survey::Survey;
use crate::domain::enforcement::suspension::Cause;
use crate::domain::enforcement::unchanged::{
    Look as SettledLook, LookRequest, PlannedRepository, is_settled,
};
use crate::domain::image::ImageIndex;
use crate::domain::image::layers::Layers;
use crate::domain::lifecycle::LifecyclePolicy;
use crate::domain::repository::Name;
use crate::domain::repository::protection::of_created_on_push;
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity::count;
use crate::domain::usage::usage_snapshot::{ReadOnce, UsageSnapshot};
use crate::domain::usage::{UnreadableSource, ignore, replication};
use crate::workflows::enforcement::approval::Approval;
use crate::workflows::enforcement::delete::drift;
use crate::workflows::enforcement::object_problem::ObjectProblem;
use crate::workflows::enforcement::put_back::{self, Removed, in_use_again};
use crate::workflows::enforcement::read_layers;
use crate::workflows::enforcement::read_usage;
use crate::workflows::enforcement::repository_snapshot::{
    Native, RepositoryPlan, RepositorySnapshot, Withdrawal, WithdrawalReason,
};
use crate::workflows::enforcement::write_journal;
use crate::workflows::protection_records::Found;

/// Repositories that are read at the same time in a function.
const READ_CONCURRENCY: usize = 4;
/// Repositories that are planned before any of them is changed.
const CHUNK: usize = 25;
/// Maximum number of images in memory before any of their repositories is changed. A single repository may have more.
const MAX_IMAGES_IN_MEMORY: usize = 50_000;
/// Maximum age of the use that a batch of images depends on. Older use is read again.
const USAGE_MAX_AGE: Duration = Duration::from_secs(15);
/// Minimum time left for starting a repository: one call, and recording what was done.
const MIN_TIME_LEFT: Duration = Duration::from_secs(5);

/// One invocation for one batch.
#[derive(Debug)]
pub struct BatchProcessor<'a, W: WriteClient> {
    pub(crate) clients: RunContext<'a>,
    pub(crate) run: &'a Run,
    pub(crate) policy_set: &'a PolicySet,
    pub(crate) access: Access<W>,
    /// Whether the stack's parameter `Enforce` is `true` now; a terminal is its own switch.
    pub(crate) is_on: bool,
    /// With this the policy that a repository was made with comes back when everything is certain again, also in a run that enforces
    /// no policies file. `None` if nothing comes back.
    pub(crate) lifts: Option<W>,
    /// Use at the beginning of the run, or of this invocation.
    initial_usage: UsageSnapshot,
    current: RefCell<Option<Look>>,
    /// Whether something was changed, so that the next invocation starts further on.
    pub(crate) has_changed: Cell<bool>,
    /// Images that were deleted or archived, or may have been, in that order.
    removed: RefCell<Vec<Removed>>,
    /// The number of them whose use was read again afterwards.
    looked_at: Cell<usize>,
    put_back: RefCell<Vec<PutBack>>,
    /// What was done to images of the repository that is worked on, by their place in its plan.
    done: RefCell<HashMap<ImageIndex, ImageResult>>,
    /// Whether layers could not be read somewhere: it is not tried again, so that no time is lost.
    has_layer_problem: Cell<bool>,
    /// A plan that is saved, or one that was and is executed; none in a run of the stack.
    pub(crate) approval: Option<&'a Approval<'a>>,
    /// The number of images that the report still has room for; `None` where outcomes are written down first.
    room: Option<&'a Cell<usize>>,
}

/// Use as read at a time.
#[derive(Debug, Clone)]
struct Look {
    observation: Rc<UsageSnapshot>,
    taken_at: MonotonicInstant,
    now: Instant,
}

/// The function that works on a batch.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a, W: WriteClient> {
    /// The account of the function, by its own ARN. A batch of another registry is refused.
    pub account_id: &'a str,
    /// What the function may do.
    pub access: CallerAccess<W>,
}

/// What a function may do with a batch.
#[derive(Debug, Clone, Copy)]
pub enum CallerAccess<W: WriteClient> {
    /// Report what would be done.
    Preview(W::Reading),
    /// Do it.
    Enforce {
        /// With this.
        ecr: W,
        /// Whether the stack's parameter `Enforce` is `true` now. If not, it still protects.
        is_on: bool,
    },
}

/// The outcome of a repository that could not be planned, and the error; no error if it is deleted.
type Unplanned = (Outcome, Option<RunError>);

/// The name, in reports, of the policy that a repository was created with.
const PROVISIONED: &str = "provisioned";

/// The objects that a batch needs.
#[derive(Debug)]
struct Loaded {
    batch: Batch,
    policy_set: PolicySet,
    observation: UsageSnapshot,
    /// Why nothing may be deleted, archived or attached by this invocation, although the run enforces.
    blocked: Vec<ReportedBlocker>,
}

/// Processes a batch, and returns its progress.
///
/// # Errors
///
/// If the batch cannot be processed at all: it does not belong to the run, or not to this function; also if a clock is wrong. The
/// failure of one repository is in its outcome.
pub async fn work<W: WriteClient>(
    clients: RunContext<'_>,
    caller: Caller<'_, W>,
    task: &Task,
) -> Result<Task, RunError> {
    let run = &task.run;
    check_task(task, &caller.access)?;
    let loaded = load(&clients, caller, task).await?;
    let access = match caller.access {
        CallerAccess::Preview(reading) => Access::Read(reading),
        CallerAccess::Enforce { ecr, .. } if run.dry_run || !loaded.blocked.is_empty() => {
            Access::Protect(ProtectOnly::of(ecr))
        }
        CallerAccess::Enforce { ecr, .. } => Access::Write(ecr),
    };
    let mut processor = BatchProcessor::new(clients, access, run, &loaded.policy_set, loaded.observation);
    if let CallerAccess::Enforce { ecr, is_on } = caller.access {
        processor.is_on = is_on;
        // What a run that may not enforce any more knows is too old to go by.
        let is_young = run.is_young(clients.now());
        // Without a valid file it is unknown whether it overrides the policy that a repository was created with.
        let has_file = run.policies_file_problem.is_none();
        processor.lifts = (is_on && is_young && has_file && loaded.blocked.is_empty()).then_some(ecr);
    }
    let todo = loaded.batch.repositories.get(task.done..).unwrap_or_default();
    if !matches!(access, Access::Read(_)) {
        processor.recall(todo).await?;
    }
    let (mut outcomes, mut done) = processor.all(&loaded.batch.registry_id, todo).await?;
    // Neither done nor begun: nothing would come of another try.
    if done == 0
        && !processor.has_changed.get()
        && let Some(stuck) = todo.first()
    {
        outcomes.retain(|outcome| outcome.repository_name != stuck.repository_name);
        let problem = NeverFinished(clients.ecr.retry_observer().timeout_cause());
        outcomes.push(Outcome::failed(&stuck.repository_name, &stuck.policy, problem.to_string()));
        done = 1;
    }
    for outcome in &mut outcomes {
        outcome.block(&loaded.blocked);
    }
    let done = task.done + done;
    let is_complete = done >= loaded.batch.repositories.len();
    write(&clients, task, done, is_complete, outcomes).await?;
    Ok(Task { run: run.clone(), key: task.key.clone(), done, is_complete })
}

/// Why a repository is given up: the time of an invocation that did nothing else was up. The last retryable error follows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a whole invocation was not enough for it: {0}")]
struct NeverFinished(AwsError);

/// A usage source that was not read, and the entry of the policies file by which it would be ignored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {ignore_entry}")]
struct NotRead {
    problem: String,
    ignore_entry: String,
}

/// A repository's own lifecycle policy selects images in use. ECR acts by it at any moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "its own lifecycle policy, by which ECR acts, would expire {} in use, such as {example} ({reason})",
    count(*.images, "image")
)]
struct ExpiresInUse {
    /// The number of images in use that would expire.
    images: u64,
    /// The digest of one of them.
    example: String,
    /// Why that one counts as in use.
    reason: String,
}

/// Why a task is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskProblem {
    /// The task comes before the run's inventory.
    #[error("the run has no inventory; start the state machine, which takes one")]
    NoInventory,
    /// The function that enforces is asked to process a dry run.
    #[error("the run is a dry run, of which nothing is enforced; lifecycle-preview works on its batches")]
    DryRun,
    /// The batch is of another run, or for another function.
    #[error("it is no batch of this run that this function works on")]
    OtherBatch,
    /// The inventory did not write the batch.
    #[error("it is not in the list of the run's batches, {list_key}")]
    NotListed {
        /// The key of the list.
        list_key: String,
    },
    /// The task counts more processed repositories than the batch has.
    #[error("{done} of its repositories are done, and it has {repositories}")]
    TooManyDone {
        /// The number of processed repositories, according to the task.
        done: usize,
        /// The number of repositories in the batch.
        repositories: usize,
    },
    /// The batch is of another account's registry.
    #[error("the batch is of the registry \"{registry_id}\", and this function of the account {account_id}")]
    OtherRegistry {
        /// The registry of the batch.
        registry_id: String,
        /// The account of the function.
        account_id: String,
    },
}

/// Refuses a task that is not for this function.
fn check_task<W: WriteClient>(task: &Task, access: &CallerAccess<W>) -> Result<(), RunError> {
    let Task { run, key, .. } = task;
    let refused = |problem| Err(RunError::Refused { key: key.clone(), problem });
    if run.attempt.is_empty() {
        return refused(TaskProblem::NoInventory);
    }
    let kind = match access {
        CallerAccess::Preview(_) => Kind::Preview,
        CallerAccess::Enforce { .. } if run.dry_run && !run.only_protects() => {
            return refused(TaskProblem::DryRun);
        }
        CallerAccess::Enforce { .. } => Kind::Enforce,
    };
    // Which attempt wrote it, the list of batches knows.
    let of_kind = |rest: &str| rest.split('/').nth(1) == Some(kind.name());
    if !key.strip_prefix(&run.batches_prefix()).is_some_and(of_kind) {
        return refused(TaskProblem::OtherBatch);
    }
    Ok(())
}

async fn load<W: WriteClient>(
    clients: &RunContext<'_>,
    caller: Caller<'_, W>,
    task: &Task,
) -> Result<Loaded, RunError> {
    let now = clients.now();
    let run = &task.run;
    let refused = |problem| RunError::Refused { key: task.key.clone(), problem };
    let list_key = run.batch_list_key();
    let list = clients.whole_object(&list_key, now).await?;
    let listed = inventory::read_list(clients, &list_key, &list.text)?;
    let Some(listed) = listed.into_iter().find(|listed| listed.key == task.key) else {
        return Err(refused(TaskProblem::NotListed { list_key }));
    };
    clients.ecr.share_rate(listed.workers);
    let (policies_file_key, usage_key) = (run.policies_file_key(), run.usage_key());
    let (batch, policy_set, usage) = tokio::try_join!(
        clients.object(&task.key, now),
        clients.object(&policies_file_key, now),
        clients.object(&usage_key, now)
    )?;
    let batch: Batch =
        serde_json::from_str(&batch).map_err(|error| clients.invalid_object(&task.key, error))?;
    if task.done > batch.repositories.len() {
        let repositories = batch.repositories.len();
        return Err(refused(TaskProblem::TooManyDone { done: task.done, repositories }));
    }
    if batch.registry_id != caller.account_id {
        let account_id = caller.account_id.to_owned();
        return Err(refused(TaskProblem::OtherRegistry { registry_id: batch.registry_id, account_id }));
    }
    let policy_set = PolicySet::parse(&policy_set).map_err(|findings| {
        clients.invalid_object(&policies_file_key, ObjectProblem::PoliciesFile(findings))
    })?;
    let policy_set =
        if run.policies_file_problem.is_some() { policy_set.without_policies() } else { policy_set };
    let run_hash = run.policies_file_hash.as_deref().unwrap_or_default();
    // A run without a policies file uses an empty one.
    let is_of_run =
        if has_file(run) { policy_set.hash() == run_hash } else { policy_set.entries().is_empty() };
    if !is_of_run {
        return Err(clients.invalid_object(
            &policies_file_key,
            ObjectProblem::OtherPoliciesFile {
                hash: policy_set.hash().to_owned(),
                run_hash: run_hash.to_owned(),
            },
        ));
    }
    let observation =
        UsageSnapshot::parse(&usage).map_err(|error| clients.invalid_object(&usage_key, error))?;
    let blocked = match caller.access {
        CallerAccess::Enforce { is_on, .. } if !run.dry_run => {
            blocked(clients, is_on, run, list.modified_at).await?
        }
        CallerAccess::Enforce { .. } | CallerAccess::Preview(_) => Vec::new(),
    };
    Ok(Loaded { batch, policy_set, observation, blocked })
}

const fn has_file(run: &Run) -> bool {
    run.policies_file_hash.is_some()
}

/// Why an invocation of an enforcing run may no longer enforce, from the present state of the stack.
async fn blocked(
    clients: &RunContext<'_>,
    is_on: bool,
    run: &Run,
    listed_at: Option<Instant>,
) -> Result<Vec<ReportedBlocker>, RunError> {
    let now = clients.now();
    let (run_hash, started_at) = (run.policies_file_hash.as_deref().unwrap_or_default(), run.started_at);
    let found = clients.call(clients.s3.get(clients.bucket, policy_set::KEY)).await?;
    let policy_set = match &found {
        None => None,
        Some(object) => {
            check_clock(object.answered_at, now)?;
            // One that is not valid is another one.
            PolicySet::parse(&object.text).ok()
        }
    };
    let is_approved = policy_set.as_ref().is_some_and(PolicySet::is_approved);
    let is_previewed = is_approved || inventory::is_previewed(clients, run_hash).await?;
    let invocation = Invocation {
        is_on,
        run_hash,
        policy_set: policy_set.as_ref(),
        is_previewed,
        started_at,
        listed_at,
        now,
    };
    let blockers = invocation.blockers();
    for blocker in &blockers {
        tracing::warn!(code = blocker.code(), %blocker, "nothing is enforced");
    }
    Ok(blockers.iter().map(ReportedBlocker::from).collect())
}

/// Writes the outcomes of repositories, in the time that is reserved for that.
async fn write(
    clients: &RunContext<'_>,
    task: &Task,
    done: usize,
    is_complete: bool,
    outcomes: Vec<Outcome>,
) -> Result<(), RunError> {
    let batch = task.run.outcomes_of(&task.key);
    // Another attempt for the same repositories has another key: both outcomes are reported.
    let written_at = clients.now().micros();
    let last = if is_complete { LAST } else { "" };
    let extension = outcome_file::EXTENSION;
    let key = format!("{batch}{:05}-{done:05}-{written_at}{last}{extension}", task.done);
    let content = outcome_file::write(outcomes).map_err(|error| clients.invalid_object(&key, error))?;
    let written = clients.s3.upload(clients.bucket, &key, content, outcome_file::CONTENT_TYPE);
    match clients.deadline.order(written).await {
        Ok(written) => Ok(written.map(drop)?),
        Err(_) => Err(RunError::Time(clients.ecr.retry_observer().timeout_cause())),
    }
}

impl<'a, W: WriteClient> BatchProcessor<'a, W> {
    /// A processor that uses the initial use until it is about to change something.
    #[must_use]
    pub fn new(
        clients: RunContext<'a>,
        access: Access<W>,
        run: &'a Run,
        policy_set: &'a PolicySet,
        initial_usage: UsageSnapshot,
    ) -> Self {
        Self {
            clients,
            access,
            is_on: true,
            lifts: match access {
                Access::Write(ecr) => Some(ecr),
                Access::Protect(_) | Access::Read(_) => None,
            },
            run,
            policy_set,
            initial_usage,
            current: RefCell::new(None),
            has_changed: Cell::new(false),
            removed: RefCell::new(Vec::new()),
            looked_at: Cell::new(0),
            put_back: RefCell::new(Vec::new()),
            done: RefCell::new(HashMap::new()),
            has_layer_problem: Cell::new(false),
            approval: None,
            room: None,
        }
    }

    /// The same processor with a plan to save, or one to execute.
    #[must_use]
    pub const fn with_approval(mut self, approval: Option<&'a Approval<'a>>) -> Self {
        self.approval = approval;
        self
    }

    /// The same processor for a report that lists this number of images more, which whoever builds the report lowers. Those of later
    /// previews are added up, and not described one by one.
    #[must_use]
    pub const fn with_room(mut self, room: &'a Cell<usize>) -> Self {
        self.room = Some(room);
        self
    }

    /// Processes repositories in their order. Returns their outcomes, and how many are done.
    ///
    /// # Errors
    ///
    /// If a clock is wrong.
    pub async fn all(
        &self,
        registry_id: &str,
        repositories: &[Assignment],
    ) -> Result<(Vec<Outcome>, usize), RunError> {
        let mut outcomes = Vec::new();
        let done = W::process_each(self, registry_id, repositories, &mut outcomes).await;
        // Images that were removed last are checked for use once more.
        self.look_once_more().await?;
        // Another invocation starts where use has not been read again.
        let looked = repositories.iter().position(|assignment| self.is_unlooked(&assignment.repository_name));
        let done = done.map(|done| looked.map_or(done, |looked| looked.min(done)));
        for put_back in self.put_back.take() {
            let outcome =
                outcomes.iter_mut().find(|outcome| outcome.repository_name == put_back.repository_name);
            if let Some(outcome) = outcome {
                outcome.take_in(&put_back);
            }
        }
        Ok((outcomes, done?))
    }

    /// Processes repositories chunk by chunk: those of a chunk are planned before any of them is changed.
    pub(super) async fn enforce_each(
        &self,
        registry_id: &str,
        repositories: &[Assignment],
        outcomes: &mut Vec<Outcome>,
    ) -> Result<usize, RunError> {
        let mut done = 0;
        while let Some(rest) = repositories.get(done..).filter(|rest| !rest.is_empty()) {
            let read_at = MonotonicInstant::now();
            let (planned, is_time_up) = self.plan_some(registry_id, rest).await;
            for (assignment, planned) in planned {
                let outcome = self.process(registry_id, assignment, planned, read_at).await?;
                let is_remaining = outcome.status == Status::Unfinished;
                outcomes.push(outcome);
                if is_remaining {
                    return Ok(done);
                }
                done += 1;
            }
            if is_time_up {
                break;
            }
        }
        Ok(done)
    }

    /// Does what is planned for one repository, or reports why there is no plan.
    async fn process(
        &self,
        registry_id: &str,
        assignment: &Assignment,
        planned: Result<RepositoryPlan<'a>, Unplanned>,
        read_at: MonotonicInstant,
    ) -> Result<Outcome, RunError> {
        let mut outcome = match planned {
            Err((mut outcome, Some(error))) => {
                self.suspend_unread(registry_id, assignment, &error, &mut outcome).await;
                outcome
            }
            Err((outcome, None)) => outcome,
            Ok(mut planned) => {
                let measured = planned.measured.take();
                let look = assignment.look.and_then(|request| self.look_of(&planned, request));
                let quiet = assignment.look.and_then(|request| request.quiet);
                let unannounced_push =
                    quiet.and_then(|quiet| quiet.unannounced_push(&planned.snapshot.images));
                self.done.take();
                // Large, and two of it side by side would be on the stack of whoever polls.
                let outcome = Box::pin(self.one(planned, read_at)).await?;
                let storage = measured.map(|measured| measured.after(&self.done.take()));
                let outcome = Outcome { storage, unannounced_push, ..outcome };
                let look = look.filter(|_| is_settled(&outcome));
                Outcome { look, ..outcome }
            }
        };
        outcome.cost_tag.clone_from(&assignment.cost_tag);
        log_outcome(&outcome);
        Ok(outcome)
    }

    /// Reads and plans some repositories, in their order; and whether time was up before that.
    async fn plan_some<'r>(
        &self,
        registry_id: &str,
        repositories: &'r [Assignment],
    ) -> (Vec<(&'r Assignment, Result<RepositoryPlan<'a>, Unplanned>)>, bool) {
        let mut all = Vec::new();
        // What is being read is read to its end: to read it again would cost calls.
        let images = Cell::new(0);
        let has_capacity =
            |_: &_| ready(images.get() < MAX_IMAGES_IN_MEMORY && self.clients.deadline.has(MIN_TIME_LEFT));
        let reading = stream::iter(repositories.iter().take(CHUNK))
            .take_while(has_capacity)
            .map(|assignment| async move { (assignment, self.plan_one(registry_id, assignment).await) });
        let mut reading = std::pin::pin!(reading.buffered(READ_CONCURRENCY));
        while let Some((assignment, planned)) = reading.next().await {
            match planned {
                Ok(planned) => {
                    images.set(images.get() + planned.snapshot.images.images().len());
                    all.push((assignment, Ok(planned)));
                }
                Err(RunError::Time(_)) => return (all, true),
                Err(error) => all.push((assignment, Err(unplanned(assignment, error)))),
            }
        }
        let is_time_up = !self.clients.deadline.has(MIN_TIME_LEFT);
        (all, is_time_up)
    }

    async fn plan_one(
        &self,
        registry_id: &str,
        assignment: &Assignment,
    ) -> Result<RepositoryPlan<'a>, RunError> {
        let Assignment { repository_name, policy, .. } = assignment;
        let invalid_object =
            |problem: ObjectProblem| self.clients.invalid_object(&self.run.policies_file_key(), problem);
        let entry = match policy.as_str() {
            "" => None,
            policy => Some(
                self.policy_set
                    .entry(policy)
                    .ok_or_else(|| invalid_object(ObjectProblem::PolicyGone(policy.to_owned())))?,
            ),
        };
        let name = Name::parse(repository_name).map_err(|error| {
            let (repository_name, problem) = (repository_name.clone(), error.to_string());
            invalid_object(ObjectProblem::RepositoryName { repository_name, problem })
        })?;
        if let Some(problem) = &assignment.unassigned
            && assignment.protection.is_some_and(|protection| protection != Protection::Tagged)
        {
            return Err(RunError::Aws(AwsError::unexpected_response("ListTagsForResource", problem)));
        }
        let native = self.native(registry_id, assignment, entry).await?;
        let snapshot =
            RepositorySnapshot::read(&self.clients, name, registry_id, &assignment.repository_arn).await?;
        let by_ecr = native.as_ref().filter(|native| native.withdrawn.is_none()).map(|native| &native.entry);
        let decides = match (entry, by_ecr) {
            (Some(entry), None) => Cow::Borrowed(entry),
            // With `apply: protect` the rules are those of the attached policy.
            (Some(entry), Some(_)) if entry.apply != Apply::Protect => Cow::Borrowed(entry),
            (_, Some(by_ecr)) => Cow::Owned(by_ecr.clone()),
            (None, None) => Cow::Owned(nothing_assigned()?),
        };
        let mut planned = snapshot.plan(decides, &self.initial_usage.usage, self.clients.now());
        planned.room = self.room.map_or(usize::MAX, Cell::get);
        planned.assigned.clone_from(policy);
        planned.native = native;
        planned.checks_native_policy = assignment.checks_native_policy;
        planned.is_created_on_push = assignment.protection == Some(Protection::CreatedOnPush);
        planned.is_protection_unknown = assignment.protection == Some(Protection::Unknown);
        self.ask_who_pulls(&mut planned).await?;
        planned.measured = self.measure(&planned, assignment.layer_reads).await;
        Ok(planned)
    }

    /// The look at a repository, if the next run need not look at it as long as nothing changes.
    fn look_of(&self, planned: &RepositoryPlan<'_>, request: LookRequest) -> Option<SettledLook> {
        let RepositoryPlan { snapshot, entry, used, plan, now, .. } = planned;
        if planned.native.is_some() {
            return None;
        }
        let (images, read_at, usage) = (&snapshot.images, snapshot.read_at, &self.initial_usage.usage);
        PlannedRepository { entry, images, used, usage, plan, read_at, now: *now }.look(request.shard)
    }

    /// Measures what the images of a repository take, and what its plan frees; `None` if layers are not looked at.
    async fn measure(&self, planned: &RepositoryPlan<'_>, calls: Option<u32>) -> Option<Measured> {
        let RepositoryPlan { snapshot: RepositorySnapshot { name, images, .. }, plan, .. } = planned;
        // Nothing of a repository counts that no policy is for, once there is a policies file.
        let calls = calls.filter(|_| !planned.entry.name.is_empty() || self.run.surveys())?;
        let (layers, problem) = if self.has_layer_problem.get() {
            let problem = "layers of another repository could not be read, and it was not tried again";
            (Layers::default(), Some(problem.to_owned()))
        } else {
            // On the heap: it is seldom, and would be a part of the state of all that waits for it.
            Box::pin(read_layers::read(&self.clients, name, images, calls)).await
        };
        if problem.is_some() {
            self.has_layer_problem.set(true);
        }
        Some(Measured::new(layers, images.clone(), &plan.deletions, &plan.archivals, problem))
    }

    /// Records what was done to an image.
    pub(crate) fn note_done(&self, place: ImageIndex, result: ImageResult) {
        self.done.borrow_mut().insert(place, result);
    }

    /// How ECR enforces a policy in a repository, from the policies file, the record of the stack, and the resource tag.
    async fn native(
        &self,
        registry_id: &str,
        assignment: &Assignment,
        entry: Option<&Entry>,
    ) -> Result<Option<Native>, RunError> {
        if let Some(entry) = entry.filter(|entry| entry.apply == Apply::Attach) {
            return Ok(Some(Native { mode: Mode::Attach, entry: entry.clone(), withdrawn: None }));
        }
        let name = &assignment.repository_name;
        let protection = assignment.protection;
        let is_protect = entry.is_some_and(|entry| entry.apply == Apply::Protect);
        if !is_protect && protection.is_none() {
            return Ok(None);
        }
        let found = match self.records() {
            Some(records) => self.clients.call(records.find(name)).await?,
            None => None,
        };
        let found = found.map(|found| found.of_registry(registry_id));
        // If it is unknown who asks for protection, nobody has ended it.
        let file_problem = self.run.policies_file_problem.as_ref();
        let is_protection_unknown = protection == Some(Protection::Unknown) || file_problem.is_some();
        let known = found.as_ref().and_then(|found| found.record.as_ref().ok());
        let asked_before = is_protection_unknown && known.is_some_and(|record| record.mode == Mode::Protect);
        let may_be_of_others =
            is_protect || is_protection_unknown || protection.is_some_and(Protection::may_be_of_others);
        let (found, is_of_others) = match found {
            Some(found) if may_be_of_others && self.is_of_others(name, &found).await? => (None, true),
            found => (found, false),
        };
        let asks_for_protection = is_protect
            || asked_before
            || (is_protection_unknown && is_of_others)
            || matches!(protection, Some(Protection::Tagged | Protection::CreatedOnPush));
        if found.is_none() && protection == Some(Protection::CreatedOnPush) {
            let text = self.clients.call(self.clients.ecr.lifecycle_policy(name)).await?;
            if let Some(policy) = text.as_deref().and_then(of_created_on_push) {
                return made_with(entry, policy);
            }
        }
        match found.map(|found| found.record) {
            Some(Err(problem)) => {
                let reason = WithdrawalReason::Record { problem, key: ProtectionRecord::key(name) };
                return withdrawn(Mode::Attach, reason, false);
            }
            // The file that was valid attached it, and one that is valid again may do so.
            Some(Ok(record)) if record.mode == Mode::Attach && file_problem.is_some() => {
                let cause = Cause::InvalidPoliciesFile { problem: file_problem.cloned().unwrap_or_default() };
                let mut native =
                    withdrawn(Mode::Attach, WithdrawalReason::Given(cause.reason(&record)), false)?;
                if let Some(withdrawal) = native.as_mut().and_then(|native| native.withdrawn.as_mut()) {
                    withdrawal.is_final = false;
                }
                return Ok(native);
            }
            Some(Ok(record)) if record.mode == Mode::Attach => {
                return withdrawn(Mode::Attach, WithdrawalReason::NotAttachedAnyMore, true);
            }
            Some(Ok(record)) if record.mode == Mode::Provisioned => {
                let policy = record.lifecycle_policy_text.as_deref().map(LifecyclePolicy::parse);
                let Some(Ok(policy)) = policy else {
                    return withdrawn(Mode::Provisioned, WithdrawalReason::RecordedPolicy, false);
                };
                return made_with(entry, policy);
            }
            Some(Ok(_)) | None => {}
        }
        if !asks_for_protection {
            // It was protected once, and nobody asks for it any more. That it is unprotected is not reported.
            if let (false, Some(records)) = (matches!(self.access, Access::Read(_)), self.records()) {
                self.clients.call(records.forget(name)).await?;
            }
            return Ok(None);
        }
        let text = self.clients.call(self.clients.ecr.lifecycle_policy(name)).await?;
        let attached = text.as_deref().and_then(|text| LifecyclePolicy::parse(text).ok());
        let policy = match attached.as_ref().and_then(without_protection) {
            Some(policy) => policy,
            None => nothing()?,
        };
        let entry = match entry.filter(|_| is_protect) {
            Some(entry) => Entry { policy, ..entry.clone() },
            None => by_itself(PROTECT_KEY, Apply::Protect, policy),
        };
        Ok(Some(Native { mode: Mode::Protect, entry, withdrawn: None }))
    }

    /// Whether the repository's policy is somebody else's, and not the one that this stack attached according to its record.
    async fn is_of_others(&self, name: &str, found: &Found) -> Result<bool, RunError> {
        let Ok(record) = &found.record else { return Ok(true) };
        let text = self.clients.call(self.clients.ecr.lifecycle_policy(name)).await?;
        let attached = text.as_deref().and_then(|text| LifecyclePolicy::parse(text).ok());
        let Some(attached) = attached else { return Ok(true) };
        // A policy with the same rules, whose protection rule somebody else wrote, is somebody else's.
        let is_remembered = takes_nothing(&attached) || record.is_attached(&attached);
        Ok(!(is_protected(&attached) && is_remembered))
    }

    /// Suspends the policy that this stack attached to an unreadable repository, since it is unknown what would expire.
    async fn suspend_unread(
        &self,
        registry_id: &str,
        assignment: &Assignment,
        why: &RunError,
        outcome: &mut Outcome,
    ) {
        let Assignment { repository_name, policy, protection, .. } = assignment;
        let apply = self.policy_set.entry(policy).map(|entry| entry.apply);
        let is_of_others = apply == Some(Apply::Protect) || *protection == Some(Protection::Tagged);
        let Ok(name) = Name::parse(repository_name) else { return };
        let mode = match (apply, protection, self.records()) {
            _ if is_of_others => match self.mode_of_last_attached(registry_id, repository_name).await {
                Ok(mode) => mode,
                // Whether this stack may write the policy is not known.
                Err(error) => {
                    tracing::error!(repository = repository_name, error = %error, "whose policy it is could not be read");
                    outcome.blockers.push(ReportedBlocker::from(&Blocker::NotSuspended(error.to_string())));
                    return;
                }
            },
            (Some(Apply::Attach), _, _) => Mode::Attach,
            (_, Some(protection), Some(records)) => {
                match self.clients.call(records.find(repository_name)).await {
                    Ok(Some(Found { record: Ok(record), .. })) => record.mode,
                    Ok(None) if *protection == Protection::CreatedOnPush => {
                        let Some(mode) = self.mode_of_created(repository_name).await else { return };
                        mode
                    }
                    Ok(None) => return,
                    Ok(Some(Found { record: Err(_), .. })) | Err(_) => Mode::Attach,
                }
            }
            _ => return,
        };
        self.suspend_unrefreshed(&name, registry_id, mode, why, outcome).await;
    }

    /// Whose policy ECR enforces in a repository that asks for protection now: this stack's, if it attached the policy before that and
    /// nobody replaced it.
    async fn mode_of_last_attached(&self, registry_id: &str, name: &str) -> Result<Mode, RunError> {
        let Some(records) = self.records() else { return Ok(Mode::Protect) };
        let found = self.clients.call(records.find(name)).await?.map(|found| found.of_registry(registry_id));
        match found {
            Some(found) if !self.is_of_others(name, &found).await? => {
                Ok(found.record.map_or(Mode::Attach, |record| record.mode))
            }
            _ => Ok(Mode::Protect),
        }
    }

    /// Whose policy a repository has that ECR made on a push and of which there is no record; `None` if it cannot be read. Then the
    /// dead man's switch finds the repository, which has no record.
    async fn mode_of_created(&self, name: &str) -> Option<Mode> {
        match self.clients.call(self.clients.ecr.lifecycle_policy(name)).await {
            Ok(Some(text)) if of_created_on_push(&text).is_some() => Some(Mode::Provisioned),
            Ok(_) => Some(Mode::Protect),
            Err(error) => {
                tracing::error!(repository = name, error = %error, "whose policy it is could not be read");
                None
            }
        }
    }

    /// Adds the gaps of those who may pull from a repository, if something would be removed from it.
    async fn ask_who_pulls(&self, planned: &mut RepositoryPlan<'_>) -> Result<(), RunError> {
        let has_removals = !(planned.plan.deletions.is_empty() && planned.plan.archivals.is_empty());
        let is_protected = planned.native.as_ref().is_some_and(|native| native.withdrawn.is_none());
        // Nobody is to execute the plan of a preview.
        let is_taken_from = has_removals && planned.entry.apply == Apply::Delete;
        if !is_protected && !is_taken_from {
            return Ok(());
        }
        let RepositorySnapshot { name, registry_id, .. } = &planned.snapshot;
        let (sources, initial_usage) = (self.policy_set.usage(), &self.initial_usage);
        let now = self.clients.now();
        let asked = read_usage::unread_pullers(&self.clients, sources, initial_usage, name, registry_id, now);
        let (gaps, _) = asked.await?;
        planned.snapshot.pull_gaps = gaps;
        if has_removals || planned.entry.apply.is_by_ecr() {
            let gaps = planned.snapshot.pull_gaps.iter().map(|gap| Blocker::Usage(gap.to_string()));
            planned.plan.blockers.extend(gaps);
        }
        Ok(())
    }

    /// Does what is planned for one repository. `read_at` is when the first of those that are planned together was read.
    async fn one(
        &self,
        mut planned: RepositoryPlan<'_>,
        read_at: MonotonicInstant,
    ) -> Result<Outcome, RunError> {
        if let Some(approval) = self.approval {
            approval.take(&planned);
        }
        let mut outcome = planned.outcome();
        let may_write = matches!(self.access, Access::Write(_));
        // What the inventory found may be otherwise by now.
        if may_write && (planned.native.is_some() || planned.has_removals()) {
            let blocker = match self.reassigned(&planned).await {
                Ok(blocker) => blocker,
                Err(error) => {
                    match planned.native.clone() {
                        Some(native) if native.mode == Mode::Protect => {
                            // Its images are in use whatever the file says of it.
                            let done = self.protect(&planned, &native, &mut outcome, read_at).await;
                            return ended(done.and(Err(error)), outcome);
                        }
                        Some(native) => {
                            let RepositorySnapshot { name, registry_id, .. } = &planned.snapshot;
                            self.suspend_unrefreshed(name, registry_id, native.mode, &error, &mut outcome)
                                .await;
                        }
                        None => {}
                    }
                    return ended(Err(error), outcome);
                }
            };
            if let Some(blocker) = blocker {
                planned.record_plan(&mut outcome);
                outcome.blockers.push(ReportedBlocker::from(&blocker));
                outcome.status = Status::Blocked;
                // What ECR enforces by a policy that is not for the repository any more must not go on.
                let Some(native) = planned.native.take() else { return Ok(outcome) };
                let native = match native.mode {
                    // Its images are in use whatever the file says of it.
                    Mode::Protect => native,
                    Mode::Attach | Mode::Provisioned => {
                        // What a repository was made with is for it whatever its tags say: only this run does not go on with it.
                        let is_final = native.mode == Mode::Attach;
                        let withdrawal = Withdrawal { reason: blocker.into(), is_intended: false, is_final };
                        Native { withdrawn: Some(withdrawal), ..native }
                    }
                };
                let done = self.protect(&planned, &native, &mut outcome, read_at).await;
                outcome.status = Status::Blocked;
                return ended(done, outcome);
            }
        }
        if let Some(native) = planned.native.clone() {
            let done = self.protect(&planned, &native, &mut outcome, read_at).await;
            if done.is_err() {
                planned.record_plan(&mut outcome);
                return ended(done, outcome);
            }
        }
        if planned.native.as_ref().is_some_and(|native| native.withdrawn.is_none()) {
            let repository = planned.snapshot.name.as_str();
            let once = &self.initial_usage.once;
            outcome.replicated_tags = self.not_ignored(replication::tag_gaps(&once.registry, repository));
            outcome.signed_tags = self.not_ignored(once.signing.tag_gaps(repository));
        }
        let mut has_lifecycle_policy = planned.native.is_some();
        if planned.checks_native_policy {
            match self.check_native_policy(&planned, &mut outcome).await {
                Ok(is_there) => has_lifecycle_policy |= is_there,
                Err(error) => return ended(Err(error), outcome),
            }
        }
        if self.run.surveys() {
            outcome.survey = Some(self.survey(&planned, has_lifecycle_policy));
            outcome.images = planned.snapshot.amount();
        }
        let is_held = outcome.status == Status::Blocked;
        if !(may_write && !is_held && planned.has_removals()) {
            planned.record_plan(&mut outcome);
            outcome.status = match planned.entry.apply {
                _ if outcome.status == Status::Unmatched => Status::Unmatched,
                // Blockers of a plan that is not to be executed need nobody's attention.
                Apply::Preview if !planned.is_enforced_by_ecr() => Status::Previewed,
                _ if is_held => Status::Blocked,
                _ if may_write => Status::Done,
                _ => Status::Previewed,
            };
            if may_write && !is_held && planned.entry.apply == Apply::Preview {
                return self.take_once_protected(planned, outcome, read_at).await;
            }
            return Ok(outcome);
        }
        planned.record_expected_by_ecr(&mut outcome);
        let done = self.delete(&planned, &mut outcome, read_at).await;
        ended(done, outcome)
    }

    /// Removes images that were protected once, by the policy that ECR enforces in a repository for which the policies file only
    /// previews another one. ECR itself never removes them.
    async fn take_once_protected(
        &self,
        planned: RepositoryPlan<'_>,
        mut outcome: Outcome,
        read_at: MonotonicInstant,
    ) -> Result<Outcome, RunError> {
        let Some(native) = planned.native.clone().filter(|native| native.withdrawn.is_none()) else {
            return Ok(outcome);
        };
        let now = self.clients.now();
        let mut own = planned.snapshot.plan(Cow::Owned(native.entry.clone()), &self.initial_usage.usage, now);
        own.assigned = planned.assigned;
        own.native = Some(native);
        own.is_created_on_push = planned.is_created_on_push;
        // Its blockers were reported when its protection was refreshed.
        if !own.plan.blockers.is_empty() || own.removals().is_empty() {
            return Ok(outcome);
        }
        // What would hold the plan of a preview holds nothing of this one.
        let of_preview = std::mem::take(&mut outcome.blockers);
        let done = self.delete(&own, &mut outcome, read_at).await;
        outcome.blockers.extend(of_preview);
        ended(done, outcome)
    }

    /// Reports the lifecycle policy that ECR itself enforces in a repository and that is not protected: it acts beside the policy of
    /// the policies file, and what of the images in use it would take. Returns whether there is one, in a run that surveys.
    async fn check_native_policy(
        &self,
        planned: &RepositoryPlan<'_>,
        outcome: &mut Outcome,
    ) -> Result<bool, RunError> {
        let name = planned.snapshot.name.as_str();
        let acts_beside =
            planned.native.is_none() && planned.entry.apply == Apply::Delete && planned.has_removals();
        // Where nothing is in use it takes nothing of that.
        if !acts_beside && planned.used.is_empty() && !self.run.surveys() {
            return Ok(false);
        }
        let Some(text) = self.clients.call(self.clients.ecr.lifecycle_policy(name)).await? else {
            return Ok(false);
        };
        if acts_beside {
            outcome.drift.push(drift(&text).to_owned());
        }
        let Ok(policy) = LifecyclePolicy::parse(&text) else { return Ok(true) };
        let images = &planned.snapshot.images;
        let taken = taken_in_use(&policy, images, &planned.used, planned.now);
        let Some(&first) = taken.first() else { return Ok(true) };
        let reason = planned.used.reason(first).unwrap_or("in use").to_owned();
        let example =
            images.images().get(first as usize).map(|image| image.digest.to_string()).unwrap_or_default();
        let expires = ExpiresInUse { images: taken.len() as u64, example, reason };
        outcome.native_policy = Some(expires.to_string());
        Ok(true)
    }

    /// What the repository has, as long as there is no policies file.
    fn survey(&self, planned: &RepositoryPlan<'_>, has_lifecycle_policy: bool) -> Survey {
        let RepositorySnapshot { name, images, .. } = &planned.snapshot;
        let tags_in_use = self.initial_usage.usage.tags_in_use(&planned.snapshot.full_name());
        Survey::of(name.as_str(), images, &planned.used, tags_in_use, has_lifecycle_policy, planned.now)
    }

    /// The consequences of a repository's protection tags elsewhere, without ignored gaps: a sentence for each.
    fn not_ignored(&self, gaps: Vec<UnreadableSource>) -> Vec<String> {
        let (now, ignored) = (self.clients.now(), &self.policy_set.usage().ignore);
        let (gaps, _) = ignore::split(gaps, ignored, now);
        let unreadable = |gap: &UnreadableSource| NotRead {
            problem: gap.problem.to_string(),
            ignore_entry: gap.ignore_entry(now),
        };
        gaps.iter().map(|gap| unreadable(gap).to_string()).collect()
    }

    /// Use at the beginning of the run, or of the command.
    pub(super) const fn initial_usage(&self) -> &UsageSnapshot {
        &self.initial_usage
    }

    /// Use as it is now: read after `after`, and recently. Restores images that this invocation removed and that are in use now.
    /// Also returns when use was read.
    pub(crate) async fn look(
        &self,
        after: MonotonicInstant,
    ) -> Result<(Rc<UsageSnapshot>, Instant), RunError> {
        let last = self.current.borrow().clone();
        if let Some(look) = &last
            && look.taken_at >= after
            && look.taken_at.elapsed() < USAGE_MAX_AGE
        {
            return Ok((Rc::clone(&look.observation), look.now));
        }
        let once: &ReadOnce = last.as_ref().map_or(&self.initial_usage.once, |look| &look.observation.once);
        let (taken_at, now) = (MonotonicInstant::now(), self.clients.now());
        let observation =
            Rc::new(read_usage::refresh(&self.clients, self.policy_set.usage(), once, now).await?);
        *self.current.borrow_mut() = Some(Look { observation: Rc::clone(&observation), taken_at, now });
        W::put_back(self, &observation).await?;
        Ok((observation, now))
    }

    /// Reads what earlier invocations journaled for these repositories. One may have been killed after it removed an image and
    /// before it checked whether that came into use.
    async fn recall(&self, repositories: &[Assignment]) -> Result<(), RunError> {
        let prefix = journal::prefix(self.run);
        let written = self.clients.call(self.clients.s3.list(self.clients.bucket, &prefix)).await?;
        for object in written.iter().filter(|object| journal::is_removals(&object.key)) {
            let repository = object.key.strip_prefix(&prefix).and_then(|rest| rest.rsplit_once('/'));
            let Some((repository, _)) = repository else { continue };
            if !repositories.iter().any(|assignment| assignment.repository_name == repository) {
                continue;
            }
            let Ok(repository) = Name::parse(repository) else { continue };
            let lines = write_journal::read(&self.clients, &object.key).await?;
            let removed = lines.into_iter().map(|line| Removed { repository: repository.clone(), line });
            self.removed.borrow_mut().extend(removed);
        }
        Ok(())
    }

    /// Records images that are about to be removed.
    pub(crate) fn note_removed(&self, images: impl Iterator<Item = Removed>) {
        let mut removed = self.removed.borrow_mut();
        for image in images {
            removed.retain(|other| {
                other.line.image_digest != image.line.image_digest || other.repository != image.repository
            });
            removed.push(image);
        }
        // A recalled image may have stood further up.
        self.looked_at.set(self.looked_at.get().min(removed.len().saturating_sub(1)));
    }

    /// Whether an image of the repository was removed since use was last read.
    fn is_unlooked(&self, repository: &str) -> bool {
        let removed = self.removed.borrow();
        removed.iter().skip(self.looked_at.get()).any(|image| image.repository.as_str() == repository)
    }

    /// Reads use again if something was removed since it was last read.
    async fn look_once_more(&self) -> Result<(), RunError> {
        if self.removed.borrow().len() == self.looked_at.get() {
            return Ok(());
        }
        match self.look(MonotonicInstant::now()).await {
            Ok(_) => Ok(()),
            Err(error @ RunError::Clock { .. }) => Err(error),
            Err(error) => {
                tracing::warn!(%error, "could not look at what is in use once more after images went");
                Ok(())
            }
        }
    }

    /// Restores images that were removed and are in use.
    pub(crate) async fn put_back(&self, observation: &UsageSnapshot) -> Result<(), RunError> {
        // It takes nothing: also what may not delete any more puts back what was deleted before.
        let Some(ecr) = self.access.protect() else { return Ok(()) };
        let removed = self.removed.borrow().clone();
        let mut is_back = BTreeSet::new();
        for (at, action) in in_use_again(&removed, &observation.usage) {
            let (Some(image), Action::PutBack { reason, .. }) = (removed.get(at), &action) else { continue };
            tracing::warn!(repository = %image.repository, %action, "an image came into use after it went");
            if let Some(done) = put_back::execute(&self.clients, ecr, image, reason).await? {
                self.has_changed.set(true);
                self.put_back.borrow_mut().push(done);
            }
            is_back.insert(at);
        }
        let mut at = 0;
        self.removed.borrow_mut().retain(|_| {
            at += 1;
            !is_back.contains(&(at - 1))
        });
        self.looked_at.set(self.removed.borrow().len());
        Ok(())
    }

    /// Why the policy of the repository has changed meanwhile, if it has: its present name and tags decide.
    async fn reassigned(&self, planned: &RepositoryPlan<'_>) -> Result<Option<Blocker>, RunError> {
        let (name, was) = (planned.snapshot.name.as_str(), planned.assigned.as_str());
        let now = inventory::assign(&self.clients, self.policy_set, name, &planned.snapshot.arn).await?;
        let now = now.map_or("", |entry| entry.name.as_str());
        if now == was {
            return Ok(None);
        }
        let (was, is) = (was.to_owned(), now.to_owned());
        Ok(Some(Blocker::Reassigned(Reassignment::Policy { was, is })))
    }
}

impl BatchProcessor<'_, PreviewOnly> {
    /// Previews one repository: what would be done is in its outcome. Several may be previewed at the same time, since nothing is
    /// changed.
    ///
    /// # Errors
    ///
    /// If time is up or a clock is wrong. The failure of the repository is in its outcome.
    pub async fn preview(&self, registry_id: &str, assignment: &Assignment) -> Result<Outcome, RunError> {
        let read_at = MonotonicInstant::now();
        let planned = match Box::pin(self.plan_one(registry_id, assignment)).await {
            Ok(planned) => Ok(planned),
            Err(error @ RunError::Time(_)) => return Err(error),
            Err(error) => Err(unplanned(assignment, error)),
        };
        self.process(registry_id, assignment, planned, read_at).await
    }

    /// Previews repositories in their order: no repository waits for another one, and only those that are being read are in memory.
    pub(super) async fn preview_each(
        &self,
        registry_id: &str,
        repositories: &[Assignment],
        outcomes: &mut Vec<Outcome>,
    ) -> Result<usize, RunError> {
        let mut done = 0;
        let previewing = stream::iter(repositories)
            .take_while(|_| ready(self.clients.deadline.has(MIN_TIME_LEFT)))
            .map(|assignment| self.preview(registry_id, assignment));
        let mut previewing = std::pin::pin!(previewing.buffered(READ_CONCURRENCY));
        while let Some(outcome) = previewing.next().await {
            let outcome = match outcome {
                Err(RunError::Time(_)) => break,
                outcome => outcome?,
            };
            let is_remaining = outcome.status == Status::Unfinished;
            outcomes.push(outcome);
            if is_remaining {
                break;
            }
            done += 1;
        }
        Ok(done)
    }
}

/// The outcome of a repository that could not be planned; without the error if it is deleted.
fn unplanned(assignment: &Assignment, error: RunError) -> Unplanned {
    let Assignment { repository_name, policy, .. } = assignment;
    let outcome = Outcome::failed(repository_name, policy, error.to_string());
    match error.is_repository_gone() {
        true => (Outcome { status: Status::RepositoryDeleted, ..outcome }, None),
        false => (outcome, Some(error)),
    }
}

/// The outcome, with how it ended.
fn ended(done: Result<(), RunError>, mut outcome: Outcome) -> Result<Outcome, RunError> {
    match done {
        Ok(()) => {}
        Err(RunError::Time(_)) => outcome.status = Status::Unfinished,
        Err(error @ RunError::Clock { .. }) => return Err(error),
        Err(error) => {
            let is_gone = error.is_repository_gone();
            outcome.status = if is_gone { Status::RepositoryDeleted } else { Status::Failed };
            outcome.error = Some(error.to_string());
        }
    }
    Ok(outcome)
}

/// How ECR enforces the policy that a repository was created with, unless the policies file overrides it.
fn made_with(entry: Option<&Entry>, policy: LifecyclePolicy) -> Result<Option<Native>, RunError> {
    let mode = Mode::Provisioned;
    if let Some(apply @ (Apply::Delete | Apply::Protect)) = entry.map(|entry| entry.apply) {
        return withdrawn(mode, WithdrawalReason::Overridden(apply), true);
    }
    let entry = by_itself(PROVISIONED, Apply::Attach, policy);
    Ok(Some(Native { mode, entry, withdrawn: None }))
}

/// How ECR enforces a policy that has to be suspended.
fn withdrawn(mode: Mode, reason: WithdrawalReason, is_intended: bool) -> Result<Option<Native>, RunError> {
    let entry = by_itself(PROVISIONED, Apply::Attach, nothing()?);
    let withdrawal = Withdrawal { reason, is_intended, is_final: true };
    Ok(Some(Native { mode, entry, withdrawn: Some(withdrawal) }))
}

/// The entry of a repository that has none in the policies file; nothing expires by it.
fn nothing_assigned() -> Result<Entry, RunError> {
    Ok(by_itself("", Apply::Preview, nothing()?))
}

fn nothing() -> Result<LifecyclePolicy, RunError> {
    let nothing = TakesNothing::new();
    let nothing =
        nothing.map_err(|finding| AwsError::unexpected_response("GetLifecyclePolicy", &finding.message))?;
    Ok(nothing.policy().clone())
}

/// A policy that is not of the policies file, with the usual limits.
fn by_itself(name: &str, apply: Apply, policy: LifecyclePolicy) -> Entry {
    Entry {
        name: name.to_owned(),
        repositories: Vec::new(),
        tags: ResourceTags::new(),
        policy,
        apply,
        keep: Keep::default(),
        limits: Limits::default(),
    }
}

fn log_outcome(outcome: &Outcome) {
    let Outcome { repository_name, status, deleted, expiring, .. } = outcome;
    let error = outcome.error.as_deref().unwrap_or_default();
    tracing::info!(
        repository = repository_name,
        policy = outcome.policy.as_deref().unwrap_or_default(),
        ?status,
        expiring = expiring.image_total_count,
        deleted = deleted.image_total_count,
        protected_by_use = outcome.protected_by_use.image_total_count,
        error,
        "worked on a repository"
    );
}

#[cfg(test)]
mod tests {
    use super::TaskProblem;

    #[test]
    fn a_refused_task_says_what_is_wrong_with_it() {
        let other = TaskProblem::OtherRegistry {
            registry_id: "210987654321".to_owned(),
            account_id: "123456789012".to_owned(),
        };
        assert_eq!(
            other.to_string(),
            "the batch is of the registry \"210987654321\", and this function of the account 123456789012"
        );
        let done = TaskProblem::TooManyDone { done: 3, repositories: 2 };
        assert_eq!(done.to_string(), "3 of its repositories are done, and it has 2");
    }
}
