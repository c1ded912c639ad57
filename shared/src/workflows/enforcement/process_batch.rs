//! Works on one batch: previews its repositories, or enforces their policies, until all is done or time is up.
//!
//! Repositories are read and planned some at a time; then, if there is something to do, what is in use is looked at once
//! more, and only then it is done.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::ready;
use futures_util::stream::{self, StreamExt};
use tokio::time::Instant as MonotonicInstant;

use super::{Access, RunContext, RunError, check_clock, inventory};
use crate::aws::AwsError;
use crate::aws::ecr::{EcrProtect, EcrWrite};
use crate::aws::resource_tags::PROTECT_KEY;
use crate::domain::enforcement::action::Action;
use crate::domain::enforcement::batch::{Assignment, Batch, Kind, Protection};
use crate::domain::enforcement::enforcement_switch::Invocation;
use crate::domain::enforcement::in_use_protection::{
    TakesNothing, is_protected, takes_nothing, without_protection,
};
use crate::domain::enforcement::journal;
use crate::domain::enforcement::outcome::{Outcome, PutBack, ReportedBlocker, Status};
use crate::domain::enforcement::plan::{Blocker, taken_in_use};
use crate::domain::enforcement::policy_set::{self, Apply, Entry, Keep, Limits, PolicySet, ResourceTags};
use crate::domain::enforcement::protection_record::{Mode, ProtectionRecord};
use crate::domain::enforcement::run::{LAST, Run, Task};
use crate::domain::enforcement::suspension::Cause;
use crate::domain::lifecycle::LifecyclePolicy;
use crate::domain::repository::Name;
use crate::domain::repository::protection::of_created_on_push;
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity::count;
use crate::domain::usage::usage_snapshot::{ReadOnce, UsageSnapshot};
use crate::domain::usage::{UnreadableSource, ignore, replication};
use crate::workflows::enforcement::approval::Approval;
use crate::workflows::enforcement::put_back::{self, Removed, in_use_again};
use crate::workflows::enforcement::read_usage;
use crate::workflows::enforcement::repository_snapshot::{
    Native, RepositoryPlan, RepositorySnapshot, Withdrawal,
};
use crate::workflows::enforcement::write_journal;
use crate::workflows::protection_records::Found;

/// Repositories that are read at the same time.
const READ_CONCURRENCY: usize = 4;
/// Repositories that are planned before any of them is changed.
const CHUNK: usize = 25;
/// Images that are held in memory before any of their repositories is changed; a repository may have more.
const MAX_IMAGES_IN_MEMORY: usize = 50_000;
/// A look at what is in use is older than this before a batch of images goes: another one is taken.
const USAGE_MAX_AGE: Duration = Duration::from_secs(15);
/// With less time than this no new repository is begun: one call, and writing down what was done.
const MIN_TIME_LEFT: Duration = Duration::from_secs(5);

/// One invocation for one batch.
#[derive(Debug)]
pub struct BatchProcessor<'a> {
    pub(crate) clients: RunContext<'a>,
    pub(crate) run: &'a Run,
    pub(crate) book: &'a PolicySet,
    pub(crate) access: Access<'a>,
    /// Whether the stack's parameter `Enforce` is `true` now; a terminal is its own switch.
    pub(crate) is_on: bool,
    /// With this the policy that a repository was made with comes back when everything is certain again, also in a run that enforces
    /// no policies file. `None` if nothing comes back.
    pub(crate) lifts: Option<&'a EcrWrite>,
    /// What was in use when the run began, or was read for this invocation.
    initial_usage: UsageSnapshot,
    current: RefCell<Option<Look>>,
    /// Whether something was changed, so that another invocation begins further on.
    pub(crate) has_changed: Cell<bool>,
    /// What was deleted or archived, or may have been, in the order in which it was.
    removed: RefCell<Vec<Removed>>,
    /// Of how much of that a later look has told whether it is in use after all.
    looked_at: Cell<usize>,
    put_back: RefCell<Vec<PutBack>>,
    /// A plan that is saved, or one that was and is executed; none in a run of the stack.
    pub(crate) approval: Option<&'a Approval<'a>>,
}

/// A look at what is in use.
#[derive(Debug, Clone)]
struct Look {
    observation: Rc<UsageSnapshot>,
    taken_at: MonotonicInstant,
    now: Instant,
}

/// The function that works on a batch.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// The account of the function, by its own ARN. A batch of another registry is refused.
    pub account_id: &'a str,
    /// What it may do.
    pub power: Power<'a>,
}

/// What a function may do with a batch.
#[derive(Debug, Clone, Copy)]
pub enum Power<'a> {
    /// Tell what would be done.
    Preview,
    /// Do it.
    Enforce {
        /// With this.
        ecr: &'a EcrWrite,
        /// Whether the stack's parameter `Enforce` is `true` now. If not, it still protects.
        is_on: bool,
    },
}

/// The outcome of a repository that could not be planned, and why not; none if it is gone.
type Unplanned = (Outcome, Option<RunError>);

/// What reports call the policy that a repository was made with.
const PROVISIONED: &str = "provisioned";

/// What a batch needs besides itself.
#[derive(Debug)]
struct Loaded {
    batch: Batch,
    book: PolicySet,
    observation: UsageSnapshot,
    /// Why nothing may be deleted, archived or attached by this invocation, although the run enforces.
    blocked: Vec<ReportedBlocker>,
}

/// Works on a batch, and says how far it came.
///
/// # Errors
///
/// When the batch cannot be worked on at all: it is none of the run's, or not for this function; and when a clock is wrong. What
/// goes wrong with one repository is in its outcome.
pub async fn work(clients: RunContext<'_>, caller: Caller<'_>, task: &Task) -> Result<Task, RunError> {
    let run = &task.run;
    check_task(task, caller.power)?;
    let loaded = load(&clients, caller, task).await?;
    let access = match caller.power {
        Power::Preview => Access::Read,
        Power::Enforce { ecr, .. } if run.dry_run || !loaded.blocked.is_empty() => Access::Protect(ecr),
        Power::Enforce { ecr, .. } => Access::Write(ecr),
    };
    let mut worker = BatchProcessor::new(clients, access, run, &loaded.book, loaded.observation);
    if let Power::Enforce { ecr, is_on } = caller.power {
        worker.is_on = is_on;
        // What a run that may not enforce any more knows is too old to go by.
        let is_young = run.is_young(clients.now());
        // By a file that is not valid nobody knows whether it goes before what a repository was made with.
        let has_file = run.policies_file_problem.is_none();
        worker.lifts = (is_on && is_young && has_file && loaded.blocked.is_empty()).then_some(ecr);
    }
    let todo = loaded.batch.repositories.get(task.done..).unwrap_or_default();
    if !matches!(access, Access::Read) {
        worker.recall(todo).await?;
    }
    let (mut outcomes, mut done) = worker.all(&loaded.batch.registry_id, todo).await?;
    // Neither done nor begun: nothing would come of another try.
    if done == 0
        && !worker.has_changed.get()
        && let Some(stuck) = todo.first()
    {
        outcomes.retain(|outcome| outcome.repository_name != stuck.repository_name);
        let retry_observer = clients.ecr.retry_observer().timeout_cause();
        let problem = format!("a whole invocation was not enough for it: {retry_observer}");
        outcomes.push(Outcome::failed(&stuck.repository_name, &stuck.policy, problem));
        done = 1;
    }
    for outcome in &mut outcomes {
        outcome.block(&loaded.blocked);
    }
    let done = task.done + done;
    let is_complete = done >= loaded.batch.repositories.len();
    write(&clients, task, done, is_complete, &outcomes).await?;
    Ok(Task { run: run.clone(), key: task.key.clone(), done, is_complete })
}

/// Refuses a task that is not for this function, by what it says of itself.
fn check_task(task: &Task, power: Power<'_>) -> Result<(), RunError> {
    let Task { run, key, .. } = task;
    let refused = |problem: &str| Err(RunError::Refused { key: key.clone(), problem: problem.to_owned() });
    if run.attempt.is_empty() {
        return refused("the run has no inventory; start the state machine, which takes one");
    }
    let kind = match power {
        Power::Preview => Kind::Preview,
        Power::Enforce { .. } if run.dry_run && !run.only_protects() => {
            return refused(
                "the run is a dry run, of which nothing is enforced; lifecycle-preview works on its batches",
            );
        }
        Power::Enforce { .. } => Kind::Enforce,
    };
    // Which attempt wrote it, the list of batches knows.
    let of_kind = |rest: &str| rest.split('/').nth(1) == Some(kind.name());
    if !key.strip_prefix(&run.batches_prefix()).is_some_and(of_kind) {
        return refused("it is no batch of this run that this function works on");
    }
    Ok(())
}

async fn load(clients: &RunContext<'_>, caller: Caller<'_>, task: &Task) -> Result<Loaded, RunError> {
    let now = clients.now();
    let run = &task.run;
    let refused = |problem: String| RunError::Refused { key: task.key.clone(), problem };
    let list_key = run.batch_list_key();
    let list = clients.whole_object(&list_key, now).await?;
    if !inventory::read_list(clients, &list_key, &list.text)?.iter().any(|listed| listed.key == task.key) {
        return Err(refused(format!("it is not in the list of the run's batches, {list_key}")));
    }
    let (book_key, usage_key) = (run.book_key(), run.usage_key());
    let (batch, book, usage) = tokio::try_join!(
        clients.object(&task.key, now),
        clients.object(&book_key, now),
        clients.object(&usage_key, now)
    )?;
    let batch: Batch =
        serde_json::from_str(&batch).map_err(|error| clients.invalid_object(&task.key, error.to_string()))?;
    if task.done > batch.repositories.len() {
        let all = batch.repositories.len();
        return Err(refused(format!("{} of its repositories are done, and it has {all}", task.done)));
    }
    if batch.registry_id != caller.account_id {
        let problem = format!(
            "the batch is of the registry \"{}\", and this function of the account {}",
            batch.registry_id, caller.account_id
        );
        return Err(refused(problem));
    }
    let book = PolicySet::parse(&book).map_err(|findings| {
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        clients.invalid_object(&book_key, findings.join("; "))
    })?;
    let book = if run.policies_file_problem.is_some() { book.without_policies() } else { book };
    let run_hash = run.book_hash.as_deref().unwrap_or_default();
    // A run without a policies file goes by one without policies.
    let is_of_run = if has_file(run) { book.hash() == run_hash } else { book.entries().is_empty() };
    if !is_of_run {
        return Err(clients
            .invalid_object(&book_key, format!("its hash is {}, and the run's is {run_hash}", book.hash())));
    }
    let observation = UsageSnapshot::parse(&usage)
        .map_err(|error| clients.invalid_object(&usage_key, error.to_string()))?;
    let blocked = match caller.power {
        Power::Enforce { is_on, .. } if !run.dry_run => {
            blocked(clients, is_on, run, list.modified_at).await?
        }
        Power::Enforce { .. } | Power::Preview => Vec::new(),
    };
    Ok(Loaded { batch, book, observation, blocked })
}

const fn has_file(run: &Run) -> bool {
    run.book_hash.is_some()
}

/// Why an invocation of an enforcing run may not enforce any more, by what the stack says in this moment.
async fn blocked(
    clients: &RunContext<'_>,
    is_on: bool,
    run: &Run,
    listed_at: Option<Instant>,
) -> Result<Vec<ReportedBlocker>, RunError> {
    let now = clients.now();
    let (run_hash, started_at) = (run.book_hash.as_deref().unwrap_or_default(), run.started_at);
    let found = clients.call(clients.s3.get(clients.bucket, policy_set::KEY)).await?;
    let book = match &found {
        None => None,
        Some(object) => {
            check_clock(object.answered_at, now)?;
            // One that is not valid is another one.
            PolicySet::parse(&object.text).ok()
        }
    };
    let is_approved = book.as_ref().is_some_and(PolicySet::is_approved);
    let is_previewed = is_approved || inventory::is_previewed(clients, run_hash).await?;
    let invocation =
        Invocation { is_on, run_hash, book: book.as_ref(), is_previewed, started_at, listed_at, now };
    let obstacles = invocation.obstacles();
    for obstacle in &obstacles {
        tracing::warn!(code = obstacle.code(), %obstacle, "nothing is enforced");
    }
    Ok(obstacles.iter().map(ReportedBlocker::from).collect())
}

/// Writes down what came of repositories, in the time that is kept for that.
async fn write(
    clients: &RunContext<'_>,
    task: &Task,
    done: usize,
    is_complete: bool,
    outcomes: &[Outcome],
) -> Result<(), RunError> {
    let batch = task.run.outcomes_of(&task.key);
    // Another try for the same repositories has another name: what either did is told.
    let moment = clients.now().micros();
    let last = if is_complete { LAST } else { "" };
    let key = format!("{batch}{:05}-{done:05}-{moment}{last}.jsonl", task.done);
    let mut text = String::new();
    for outcome in outcomes {
        text += &serde_json::to_string(outcome).unwrap_or_default();
        text.push('\n');
    }
    let written = clients.s3.write(clients.bucket, &key, &text, "application/jsonl");
    match clients.deadline.order(written).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(RunError::Time(clients.ecr.retry_observer().timeout_cause())),
    }
}

impl<'a> BatchProcessor<'a> {
    /// One that goes by what was in use at first, until it is about to change something.
    #[must_use]
    pub const fn new(
        clients: RunContext<'a>,
        access: Access<'a>,
        run: &'a Run,
        book: &'a PolicySet,
        initial_usage: UsageSnapshot,
    ) -> Self {
        Self {
            clients,
            access,
            is_on: true,
            lifts: match access {
                Access::Write(ecr) => Some(ecr),
                Access::Protect(_) | Access::Read => None,
            },
            run,
            book,
            initial_usage,
            current: RefCell::new(None),
            has_changed: Cell::new(false),
            removed: RefCell::new(Vec::new()),
            looked_at: Cell::new(0),
            put_back: RefCell::new(Vec::new()),
            approval: None,
        }
    }

    /// The same, with a plan that is saved, or that is executed: that or less.
    #[must_use]
    pub const fn with_approval(mut self, approval: Option<&'a Approval<'a>>) -> Self {
        self.approval = approval;
        self
    }

    /// Works on repositories in their order; says what came of them, and how many are done.
    ///
    /// # Errors
    ///
    /// When a clock is wrong.
    pub async fn all(
        &self,
        registry_id: &str,
        repositories: &[Assignment],
    ) -> Result<(Vec<Outcome>, usize), RunError> {
        let mut outcomes = Vec::new();
        let done = self.each(registry_id, repositories, &mut outcomes).await;
        // What was taken last came into use meanwhile, or it did not.
        self.look_once_more().await?;
        // Where nobody has looked another invocation begins.
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

    async fn each(
        &self,
        registry_id: &str,
        repositories: &[Assignment],
        outcomes: &mut Vec<Outcome>,
    ) -> Result<usize, RunError> {
        let mut done = 0;
        while let Some(rest) = repositories.get(done..).filter(|rest| !rest.is_empty()) {
            let read_at = MonotonicInstant::now();
            let (planned, is_time_up) = self.plan_some(registry_id, rest).await;
            for planned in planned {
                let outcome = match (planned, repositories.get(done)) {
                    (Err((mut outcome, Some(stop))), Some(assignment)) => {
                        self.suspend_unread(registry_id, assignment, &stop, &mut outcome).await;
                        outcome
                    }
                    (Err((outcome, _)), _) => outcome,
                    (Ok(planned), _) => self.one(planned, read_at).await?,
                };
                tell(&outcome);
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

    /// Reads and plans some repositories, in their order; and whether time was up before that.
    async fn plan_some(
        &self,
        registry_id: &str,
        repositories: &[Assignment],
    ) -> (Vec<Result<RepositoryPlan<'a>, Unplanned>>, bool) {
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
            let Assignment { repository_name, policy, .. } = assignment;
            match planned {
                Ok(planned) => {
                    images.set(images.get() + planned.surveyed.images.images().len());
                    all.push(Ok(planned));
                }
                Err(RunError::Time(_)) => return (all, true),
                Err(stop) if stop.is_not_found() => {
                    let gone = Outcome::failed(repository_name, policy, stop.to_string());
                    all.push(Err((Outcome { status: Status::RepositoryDeleted, ..gone }, None)));
                }
                Err(stop) => {
                    all.push(Err((Outcome::failed(repository_name, policy, stop.to_string()), Some(stop))));
                }
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
        let invalid_object = |problem: String| self.clients.invalid_object(&self.run.book_key(), problem);
        let entry = match policy.as_str() {
            "" => None,
            policy => Some(
                self.book
                    .entry(policy)
                    .ok_or_else(|| invalid_object(format!("it has no policy {policy} any more")))?,
            ),
        };
        let name = Name::parse(repository_name)
            .map_err(|error| invalid_object(format!("{repository_name}: {error}")))?;
        if let Some(problem) = &assignment.unassigned
            && assignment.protection.is_some_and(|protection| protection != Protection::Tagged)
        {
            return Err(RunError::Aws(AwsError::unexpected_response("ListTagsForResource", problem)));
        }
        let native = self.native(registry_id, assignment, entry).await?;
        let surveyed =
            RepositorySnapshot::read(&self.clients, name, registry_id, &assignment.repository_arn).await?;
        let by_ecr = native.as_ref().filter(|native| native.withdrawn.is_none()).map(|native| &native.entry);
        let decides = match (entry, by_ecr) {
            (Some(entry), None) => Cow::Borrowed(entry),
            // With `apply: protect` the rules are those of the attached policy.
            (Some(entry), Some(_)) if entry.apply != Apply::Protect => Cow::Borrowed(entry),
            (_, Some(by_ecr)) => Cow::Owned(by_ecr.clone()),
            (None, None) => Cow::Owned(nothing_assigned()?),
        };
        let mut planned = surveyed.plan(decides, &self.initial_usage.usage, self.clients.now());
        planned.assigned.clone_from(policy);
        planned.native = native;
        planned.checks_native_policy = assignment.checks_native_policy;
        planned.is_created_on_push = assignment.protection == Some(Protection::CreatedOnPush);
        planned.is_untold = assignment.protection == Some(Protection::Untold);
        self.ask_who_pulls(&mut planned).await?;
        Ok(planned)
    }

    /// How ECR enforces a policy in a repository, by the policies file, by what the stack remembers, and by its resource tag.
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
        // Where it is not known who asks for protection nobody has ended it.
        let file_problem = self.run.policies_file_problem.as_ref();
        let is_untold = protection == Some(Protection::Untold) || file_problem.is_some();
        let known = found.as_ref().and_then(|found| found.record.as_ref().ok());
        let asked_before = is_untold && known.is_some_and(|record| record.mode == Mode::Protect);
        let may_be_of_others =
            is_protect || is_untold || protection.is_some_and(Protection::may_be_of_others);
        let (found, is_of_others) = match found {
            Some(found) if may_be_of_others && self.is_of_others(name, &found).await? => (None, true),
            found => (found, false),
        };
        let asks_for_protection = is_protect
            || asked_before
            || (is_untold && is_of_others)
            || matches!(protection, Some(Protection::Tagged | Protection::CreatedOnPush));
        if found.is_none() && protection == Some(Protection::CreatedOnPush) {
            let text = self.clients.call(self.clients.ecr.lifecycle_policy(name)).await?;
            if let Some(policy) = text.as_deref().and_then(of_created_on_push) {
                return made_with(entry, policy);
            }
        }
        match found.map(|found| found.record) {
            Some(Err(problem)) => {
                let reason = format!(
                    "the record of its protection cannot be read ({problem}); delete {}, and ask for its policy once more or let \
                     a run attach it",
                    ProtectionRecord::key(name)
                );
                return withdrawn(Mode::Attach, &reason, false);
            }
            // The file that was valid attached it, and one that is valid again may do so.
            Some(Ok(record)) if record.mode == Mode::Attach && file_problem.is_some() => {
                let cause = Cause::InvalidPoliciesFile { problem: file_problem.cloned().unwrap_or_default() };
                let mut native = withdrawn(Mode::Attach, &cause.reason(&record), false)?;
                if let Some(withdrawal) = native.as_mut().and_then(|native| native.withdrawn.as_mut()) {
                    withdrawal.is_final = false;
                }
                return Ok(native);
            }
            Some(Ok(record)) if record.mode == Mode::Attach => {
                let reason = "policies.yaml does not say `apply: attach` for this repository any more";
                return withdrawn(Mode::Attach, reason, true);
            }
            Some(Ok(record)) if record.mode == Mode::Provisioned => {
                let policy = record.lifecycle_policy_text.as_deref().map(LifecyclePolicy::parse);
                let Some(Ok(policy)) = policy else {
                    let reason = "the policy in the record of its protection cannot be read; ask for the policy once more";
                    return withdrawn(Mode::Provisioned, reason, false);
                };
                return made_with(entry, policy);
            }
            Some(Ok(_)) | None => {}
        }
        if !asks_for_protection {
            // It was protected once, and nobody asks for it any more: nobody has to be told that it is not.
            if let (false, Some(records)) = (matches!(self.access, Access::Read), self.records()) {
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

    /// Whether the policy that a repository has is somebody else's, and not the one that the stack remembers to have attached there.
    async fn is_of_others(&self, name: &str, found: &Found) -> Result<bool, RunError> {
        let Ok(record) = &found.record else { return Ok(true) };
        let text = self.clients.call(self.clients.ecr.lifecycle_policy(name)).await?;
        let attached = text.as_deref().and_then(|text| LifecyclePolicy::parse(text).ok());
        let Some(attached) = attached else { return Ok(true) };
        // One with the same rules, whose protection rule somebody else wrote, is theirs.
        let is_remembered = takes_nothing(&attached) || record.is_attached(&attached);
        Ok(!(is_protected(&attached) && is_remembered))
    }

    /// Suspends the policy that this stack attached to a repository that cannot be read, so that nobody knows what it takes.
    async fn suspend_unread(
        &self,
        registry_id: &str,
        assignment: &Assignment,
        why: &RunError,
        outcome: &mut Outcome,
    ) {
        let Assignment { repository_name, policy, protection, .. } = assignment;
        let apply = self.book.entry(policy).map(|entry| entry.apply);
        let is_of_others = apply == Some(Apply::Protect) || *protection == Some(Protection::Tagged);
        let Ok(name) = Name::parse(repository_name) else { return };
        let mode = match (apply, protection, self.records()) {
            _ if is_of_others => Mode::Protect,
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

    /// Whose policy a repository has that ECR made on a push and of which there is no record; `None` if it cannot be read. Then the
    /// dead man's switch finds the repository, which has no record.
    async fn mode_of_created(&self, name: &str) -> Option<Mode> {
        match self.clients.call(self.clients.ecr.lifecycle_policy(name)).await {
            Ok(Some(text)) if of_created_on_push(&text).is_some() => Some(Mode::Provisioned),
            Ok(_) => Some(Mode::Protect),
            Err(stop) => {
                tracing::error!(repository = name, error = %stop, "whose policy it is could not be read");
                None
            }
        }
    }

    /// Adds what is not known of those who may pull from a repository, where something would go.
    async fn ask_who_pulls(&self, planned: &mut RepositoryPlan<'_>) -> Result<(), RunError> {
        let goes = !(planned.plan.deletions.is_empty() && planned.plan.archivals.is_empty());
        let is_protected = planned.native.as_ref().is_some_and(|native| native.withdrawn.is_none());
        // Nobody is to execute the plan of a preview.
        let is_taken_from = goes && planned.entry.apply == Apply::Delete;
        if !is_protected && !is_taken_from {
            return Ok(());
        }
        let RepositorySnapshot { name, registry_id, .. } = &planned.surveyed;
        let (sources, initial_usage) = (self.book.usage(), &self.initial_usage);
        let now = self.clients.now();
        let asked = read_usage::unread_pullers(&self.clients, sources, initial_usage, name, registry_id, now);
        let (gaps, _) = asked.await?;
        planned.surveyed.pull_gaps = gaps;
        if goes || planned.entry.apply.is_by_ecr() {
            let gaps = planned.surveyed.pull_gaps.iter().map(|gap| Blocker::Usage(gap.to_string()));
            planned.plan.obstacles.extend(gaps);
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
            let obstacle = match self.reassigned(&planned).await {
                Ok(obstacle) => obstacle,
                Err(stop) => {
                    match planned.native.clone() {
                        Some(native) if native.mode == Mode::Protect => {
                            // Its images are in use whatever the file says of it.
                            let done = self.protect(&planned, &native, &mut outcome, read_at).await;
                            return ended(done.and(Err(stop)), outcome);
                        }
                        Some(native) => {
                            let RepositorySnapshot { name, registry_id, .. } = &planned.surveyed;
                            self.suspend_unrefreshed(name, registry_id, native.mode, &stop, &mut outcome)
                                .await;
                        }
                        None => {}
                    }
                    return ended(Err(stop), outcome);
                }
            };
            if let Some(obstacle) = obstacle {
                planned.record_plan(&mut outcome);
                outcome.obstacles.push(ReportedBlocker::from(&obstacle));
                outcome.status = Status::Blocked;
                // What ECR enforces by a policy that is not for the repository any more must not go on.
                let Some(native) = planned.native.take() else { return Ok(outcome) };
                let native = match native.mode {
                    // Its images are in use whatever the file says of it.
                    Mode::Protect => native,
                    Mode::Attach | Mode::Provisioned => {
                        let withdrawal =
                            Withdrawal { reason: obstacle.to_string(), is_intended: false, is_final: true };
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
            let repository = planned.surveyed.name.as_str();
            let once = &self.initial_usage.once;
            outcome.replicated_tags = self.not_ignored(replication::tag_gaps(&once.registry, repository));
            outcome.signed_tags = self.not_ignored(once.signing.tag_gaps(repository));
        }
        if planned.checks_native_policy {
            match self.native_takes(&planned).await {
                Ok(told) => outcome.native_policy = told,
                Err(stop) => return ended(Err(stop), outcome),
            }
        }
        let is_held = outcome.status == Status::Blocked;
        if !(may_write && !is_held && planned.has_removals()) {
            planned.record_plan(&mut outcome);
            outcome.status = match planned.entry.apply {
                _ if outcome.status == Status::Unmatched => Status::Unmatched,
                // What would hold a plan that nobody is to execute needs nobody's attention.
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

    /// Takes what was protected once, by the policy that ECR enforces in a repository of which the policies file only previews
    /// another one: ECR itself never takes it.
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
        let mut own = planned.surveyed.plan(Cow::Owned(native.entry.clone()), &self.initial_usage.usage, now);
        own.assigned = planned.assigned;
        own.native = Some(native);
        own.is_created_on_push = planned.is_created_on_push;
        // What stands in the way of it was told when its protection was refreshed.
        if !own.plan.obstacles.is_empty() || own.removals().is_empty() {
            return Ok(outcome);
        }
        // What would hold the plan of a preview holds nothing of this one.
        let of_preview = std::mem::take(&mut outcome.obstacles);
        let done = self.delete(&own, &mut outcome, read_at).await;
        outcome.obstacles.extend(of_preview);
        ended(done, outcome)
    }

    /// What a lifecycle policy of the repository's own would take of what is in use, as a sentence.
    async fn native_takes(&self, planned: &RepositoryPlan<'_>) -> Result<Option<String>, RunError> {
        let name = planned.surveyed.name.as_str();
        let text = self.clients.call(self.clients.ecr.lifecycle_policy(name)).await?;
        let policy = text.as_deref().map(LifecyclePolicy::parse);
        let Some(Ok(policy)) = policy else { return Ok(None) };
        let images = &planned.surveyed.images;
        let taken = taken_in_use(&policy, images, &planned.used, planned.now);
        let Some(&first) = taken.first() else { return Ok(None) };
        let reason = planned.used.reason(first).unwrap_or("in use");
        let digest =
            images.images().get(first as usize).map(|image| image.digest.to_string()).unwrap_or_default();
        let number = count(taken.len() as u64, "image");
        Ok(Some(format!(
            "its own lifecycle policy, by which ECR acts, would expire {number} in use, such as {digest} ({reason})"
        )))
    }

    /// What protection tags of a repository mean elsewhere, which nobody has said does not matter: a sentence for each.
    fn not_ignored(&self, gaps: Vec<UnreadableSource>) -> Vec<String> {
        let (now, ignored) = (self.clients.now(), &self.book.usage().ignore);
        let (gaps, _) = ignore::split(gaps, ignored, now);
        gaps.iter().map(|gap| format!("{}; {}", gap.problem, gap.ignore_entry(now))).collect()
    }

    /// What was in use when the run began, or at the beginning of the command.
    pub(super) const fn initial_usage(&self) -> &UsageSnapshot {
        &self.initial_usage
    }

    /// What is in use now: read after `after`, and a moment ago. Whatever this invocation took away before and is in use now is put
    /// back. Also when it was read.
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
        let observation = Rc::new(read_usage::refresh(&self.clients, self.book.usage(), once, now).await?);
        *self.current.borrow_mut() = Some(Look { observation: Rc::clone(&observation), taken_at, now });
        self.put_back(&observation).await?;
        Ok((observation, now))
    }

    /// Remembers what an invocation before this one wrote down of these repositories: it may have been killed after it took an
    /// image away and before it looked whether that came into use.
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

    /// Notes what is about to be taken away.
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

    /// Whether something of the repository was taken away since the last look.
    fn is_unlooked(&self, repository: &str) -> bool {
        let removed = self.removed.borrow();
        removed.iter().skip(self.looked_at.get()).any(|image| image.repository.as_str() == repository)
    }

    /// Looks at what is in use if something was taken away since the last look.
    async fn look_once_more(&self) -> Result<(), RunError> {
        if self.removed.borrow().len() == self.looked_at.get() {
            return Ok(());
        }
        match self.look(MonotonicInstant::now()).await {
            Ok(_) => Ok(()),
            Err(stop @ RunError::Clock { .. }) => Err(stop),
            Err(stop) => {
                tracing::warn!(%stop, "could not look at what is in use once more after images went");
                Ok(())
            }
        }
    }

    /// Puts back what was taken away and is in use.
    async fn put_back(&self, observation: &UsageSnapshot) -> Result<(), RunError> {
        // It takes nothing: also what may not delete any more puts back what was deleted before.
        let ecr: &EcrProtect = match self.access {
            Access::Read => return Ok(()),
            Access::Protect(ecr) => ecr,
            Access::Write(ecr) => ecr,
        };
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

    /// Why the repository is not under this policy any more, if it is not: its name and its tags as they are now decide.
    async fn reassigned(&self, planned: &RepositoryPlan<'_>) -> Result<Option<Blocker>, RunError> {
        let (name, was) = (planned.surveyed.name.as_str(), planned.assigned.as_str());
        let now = inventory::assign(&self.clients, self.book, name, &planned.surveyed.arn).await?;
        let now = now.map_or("", |entry| entry.name.as_str());
        if now == was {
            return Ok(None);
        }
        let told = |policy: &str| match policy {
            "" => "under no policy".to_owned(),
            policy => format!("under the policy {policy}"),
        };
        let (was, is) = (told(was), told(now));
        let problem = format!("the repository was {was} when the run began, and is {is} now");
        Ok(Some(Blocker::Reassigned(problem)))
    }
}

/// The outcome, with how it ended.
fn ended(done: Result<(), RunError>, mut outcome: Outcome) -> Result<Outcome, RunError> {
    match done {
        Ok(()) => {}
        Err(RunError::Time(_)) => outcome.status = Status::Unfinished,
        Err(stop @ RunError::Clock { .. }) => return Err(stop),
        Err(stop) => {
            outcome.status = Status::Failed;
            outcome.error = Some(stop.to_string());
        }
    }
    Ok(outcome)
}

/// How ECR enforces the policy that a repository was made with, unless the policies file goes before it.
fn made_with(entry: Option<&Entry>, policy: LifecyclePolicy) -> Result<Option<Native>, RunError> {
    let mode = Mode::Provisioned;
    if let Some(apply @ (Apply::Delete | Apply::Protect)) = entry.map(|entry| entry.apply) {
        let apply = apply.name();
        let reason = format!(
            "policies.yaml says `apply: {apply}` for this repository, which goes before the policy that it was made with"
        );
        return withdrawn(mode, &reason, true);
    }
    let entry = by_itself(PROVISIONED, Apply::Attach, policy);
    Ok(Some(Native { mode, entry, withdrawn: None }))
}

/// How ECR enforces a policy that may not act any more.
fn withdrawn(mode: Mode, reason: &str, is_intended: bool) -> Result<Option<Native>, RunError> {
    let entry = by_itself(PROVISIONED, Apply::Attach, nothing()?);
    let withdrawal = Withdrawal { reason: reason.to_owned(), is_intended, is_final: true };
    Ok(Some(Native { mode, entry, withdrawn: Some(withdrawal) }))
}

/// The policy of a repository that the policies file has none for: it takes nothing.
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

fn tell(outcome: &Outcome) {
    let Outcome { repository_name, status, deleted, expiring, .. } = outcome;
    let error = outcome.error.as_deref().unwrap_or_default();
    tracing::info!(
        repository = repository_name,
        policy = outcome.policy.as_deref().unwrap_or_default(),
        ?status,
        expiring = expiring.image_total_count,
        deleted = deleted.image_total_count,
        held_by_use = outcome.held_by_use.image_total_count,
        error,
        "worked on a repository"
    );
}
