//! Works on one batch: previews its repositories, or enforces their policies, until all is done or time is up.
//!
//! Repositories are read and planned some at a time; then, if there is something to do, what is in use is looked at once
//! more, and only then it is done.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::ready;
use futures_util::stream::{self, StreamExt};
use tokio::time::Instant as Moment;

use super::batch::{Assignment, Batch};
use super::outcome::{Outcome, Status};
use super::survey::{Planned, Surveyed};
use super::{Access, Clients, LAST, Run, Stop, Task, observe};
use crate::policy_book::{Apply, PolicyBook};
use crate::repository::Name;
use crate::usage::observation::{Observation, ReadOnce};

/// Repositories that are read at the same time.
const AT_ONCE: usize = 4;
/// Repositories that are planned before any of them is changed.
const CHUNK: usize = 25;
/// Images that are held in memory before any of their repositories is changed; a repository may have more.
const IMAGES: usize = 50_000;
/// After so long use is looked at once more before the next images go.
const FRESH: Duration = Duration::from_secs(60);
/// With less time than this no new repository is begun: one call, and writing down what was done.
const LEAST: Duration = Duration::from_secs(5);

/// One invocation for one batch.
#[derive(Debug)]
pub struct Worker<'a> {
    pub(super) clients: Clients<'a>,
    pub(super) run: &'a Run,
    pub(super) book: &'a PolicyBook,
    pub(super) access: Access<'a>,
    /// What was in use when the run began, or was read for this invocation.
    at_first: Observation,
    fresh: RefCell<Option<Fresh>>,
    /// Whether something was changed, so that another invocation begins further on.
    pub(super) has_changed: Cell<bool>,
}

#[derive(Debug, Clone)]
struct Fresh {
    observation: Rc<Observation>,
    read_at: Moment,
}

/// What a batch needs besides itself.
#[derive(Debug)]
struct Loaded {
    batch: Batch,
    book: PolicyBook,
    observation: Observation,
}

/// Works on a batch, and says how far it came.
///
/// # Errors
///
/// When the batch cannot be worked on at all, and when a clock is wrong. What goes wrong with one repository is in
/// its outcome.
pub async fn work(clients: Clients<'_>, access: Access<'_>, task: &Task) -> Result<Task, Stop> {
    let run = &task.run;
    let loaded = load(&clients, task).await?;
    let worker = Worker::new(clients, access, run, &loaded.book, loaded.observation);
    let todo = loaded.batch.repositories.get(task.done..).unwrap_or_default();
    let (mut outcomes, mut done) = worker.all(&loaded.batch.registry_id, todo).await?;
    // Neither done nor begun: nothing would come of another try.
    if done == 0
        && !worker.has_changed.get()
        && let Some(stuck) = todo.first()
    {
        outcomes.retain(|outcome| outcome.repository_name != stuck.repository_name);
        let trouble = clients.ecr.trouble().explain();
        let problem = format!("a whole invocation was not enough for it: {trouble}");
        outcomes.push(Outcome::failed(&stuck.repository_name, &stuck.policy, problem));
        done = 1;
    }
    let done = task.done + done;
    let is_complete = done >= loaded.batch.repositories.len();
    write(&clients, task, done, is_complete, &outcomes).await?;
    Ok(Task { run: run.clone(), key: task.key.clone(), done, is_complete })
}

async fn load(clients: &Clients<'_>, task: &Task) -> Result<Loaded, Stop> {
    let now = clients.now();
    let (book_key, usage_key) = (task.run.book_key(), task.run.usage_key());
    let (batch, book, usage) = tokio::try_join!(
        clients.object(&task.key, now),
        clients.object(&book_key, now),
        clients.object(&usage_key, now)
    )?;
    let batch = serde_json::from_str(&batch).map_err(|error| clients.odd(&task.key, error.to_string()))?;
    let book = PolicyBook::parse(&book).map_err(|findings| {
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        clients.odd(&book_key, findings.join("; "))
    })?;
    let observation =
        Observation::parse(&usage).map_err(|error| clients.odd(&usage_key, error.to_string()))?;
    Ok(Loaded { batch, book, observation })
}

/// Writes down what came of repositories, in the time that is kept for that.
async fn write(
    clients: &Clients<'_>,
    task: &Task,
    done: usize,
    is_complete: bool,
    outcomes: &[Outcome],
) -> Result<(), Stop> {
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
        Err(_) => Err(Stop::Time(clients.ecr.trouble().explain())),
    }
}

impl<'a> Worker<'a> {
    /// One that goes by what was in use at first, until it is about to change something.
    #[must_use]
    pub const fn new(
        clients: Clients<'a>,
        access: Access<'a>,
        run: &'a Run,
        book: &'a PolicyBook,
        at_first: Observation,
    ) -> Self {
        Self {
            clients,
            access,
            run,
            book,
            at_first,
            fresh: RefCell::new(None),
            has_changed: Cell::new(false),
        }
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
    ) -> Result<(Vec<Outcome>, usize), Stop> {
        let mut outcomes = Vec::new();
        let mut done = 0;
        while let Some(rest) = repositories.get(done..).filter(|rest| !rest.is_empty()) {
            let begun = Moment::now();
            let (planned, is_time_up) = self.plan_some(registry_id, rest).await;
            for planned in planned {
                let outcome = match planned {
                    Err(outcome) => outcome,
                    Ok(planned) => self.one(planned, begun).await?,
                };
                tell(&outcome);
                let is_remaining = outcome.status == Status::Remaining;
                outcomes.push(outcome);
                if is_remaining {
                    return Ok((outcomes, done));
                }
                done += 1;
            }
            if is_time_up {
                break;
            }
        }
        Ok((outcomes, done))
    }

    /// Reads and plans some repositories, in their order; and whether time was up before that.
    async fn plan_some(
        &self,
        registry_id: &str,
        repositories: &[Assignment],
    ) -> (Vec<Result<Planned<'a>, Outcome>>, bool) {
        let mut all = Vec::new();
        // What is being read is read to its end: to read it again would cost calls.
        let images = Cell::new(0);
        let is_more_welcome = |_: &_| ready(images.get() < IMAGES && self.clients.deadline.has(LEAST));
        let reading = stream::iter(repositories.iter().take(CHUNK))
            .take_while(is_more_welcome)
            .map(|assignment| async move { (assignment, self.plan_one(registry_id, assignment).await) });
        let mut reading = std::pin::pin!(reading.buffered(AT_ONCE));
        while let Some((assignment, planned)) = reading.next().await {
            let Assignment { repository_name, policy } = assignment;
            match planned {
                Ok(planned) => {
                    images.set(images.get() + planned.surveyed.images.images().len());
                    all.push(Ok(planned));
                }
                Err(Stop::Time(_)) => return (all, true),
                Err(stop) if stop.is_not_found() => {
                    let gone = Outcome::failed(repository_name, policy, stop.to_string());
                    all.push(Err(Outcome { status: Status::Gone, ..gone }));
                }
                Err(stop) => all.push(Err(Outcome::failed(repository_name, policy, stop.to_string()))),
            }
        }
        let is_time_up = !self.clients.deadline.has(LEAST);
        (all, is_time_up)
    }

    async fn plan_one(&self, registry_id: &str, assignment: &Assignment) -> Result<Planned<'a>, Stop> {
        let Assignment { repository_name, policy } = assignment;
        let odd = |problem: String| self.clients.odd(&self.run.book_key(), problem);
        let entry = self.book.entry(policy);
        let entry = entry.ok_or_else(|| odd(format!("it has no policy {policy} any more")))?;
        let name =
            Name::parse(repository_name).map_err(|error| odd(format!("{repository_name}: {error}")))?;
        let surveyed = Surveyed::read(&self.clients, name, registry_id).await?;
        Ok(surveyed.plan(entry, &self.at_first.usage, self.clients.now()))
    }

    /// Does what is planned for one repository. `begun` is when the first of those that are planned together was read.
    async fn one(&self, planned: Planned<'_>, begun: Moment) -> Result<Outcome, Stop> {
        let mut outcome = planned.outcome();
        let apply = planned.entry.apply;
        let is_dry = !matches!(self.access, Access::Write(_));
        if apply == Apply::Preview || (is_dry && apply == Apply::Delete) {
            planned.tell_plan(&mut outcome);
            // What would hold a plan that nobody is to execute needs nobody's attention.
            if apply == Apply::Preview {
                outcome.status = Status::Previewed;
            }
            return Ok(outcome);
        }
        let done = match (apply, self.access) {
            (Apply::Attach, _) => self.attach(&planned, &mut outcome, begun).await,
            (Apply::Delete | Apply::Preview, access) => {
                if let Access::Write(ecr) = access
                    && planned.has_effects()
                {
                    self.delete(ecr, &planned, &mut outcome, begun).await
                } else {
                    if outcome.status == Status::Held {
                        planned.tell_plan(&mut outcome);
                    } else {
                        outcome.status = Status::Done;
                    }
                    Ok(())
                }
            }
        };
        match done {
            Ok(()) => {}
            Err(Stop::Time(_)) => outcome.status = Status::Remaining,
            Err(stop @ Stop::Clock { .. }) => return Err(stop),
            Err(stop) => {
                outcome.status = Status::Failed;
                outcome.error = Some(stop.to_string());
            }
        }
        Ok(outcome)
    }

    /// What was in use when the run began, or at the beginning of the command.
    pub(super) const fn at_first(&self) -> &Observation {
        &self.at_first
    }

    /// What is in use now: read after `after`, and no longer ago than a minute.
    pub(super) async fn fresh(&self, after: Moment) -> Result<Rc<Observation>, Stop> {
        let once: ReadOnce = {
            let last = self.fresh.borrow();
            match &*last {
                Some(fresh) if fresh.read_at >= after && fresh.read_at.elapsed() < FRESH => {
                    return Ok(Rc::clone(&fresh.observation));
                }
                Some(fresh) => fresh.observation.once.clone(),
                None => self.at_first.once.clone(),
            }
        };
        let read_at = Moment::now();
        let observation =
            observe::refresh(&self.clients, self.book.usage(), &once, self.clients.now()).await?;
        let observation = Rc::new(observation);
        *self.fresh.borrow_mut() = Some(Fresh { observation: Rc::clone(&observation), read_at });
        Ok(observation)
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
