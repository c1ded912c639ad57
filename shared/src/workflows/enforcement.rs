//! Enforcing lifecycle policies over a registry.
//!
//! | module | does |
//! | --- | --- |
//! | [`inventory`] | finds the repositories and the policy of each |
//! | [`read_usage`] | finds which images are in use |
//! | [`report_usage`] | reports it to the registry of another account |
//! | [`read_changes`] | reads which repositories changed |
//! | `look_records` | looks at repositories from run to run: which need not be looked at again |
//! | [`read_layers`] | reads the layers of images, for what they take and cost |
//! | [`repository_snapshot`] | reads repositories, and plans |
//! | [`process_batch`] | previews or enforces a batch of repositories |
//! | [`protect`] | keeps ECR's own engine from images in use, and attaches or suspends policies |
//! | [`delete`] | deletes and archives the planned images of one repository |
//! | [`execute`] | executes actions: checks, writes the journal, acts, reports |
//! | [`write_journal`] | writes the journal, and reads it |
//! | [`put_back`] | restores images that came into use after they were deleted |
//! | [`object_problem`] | what can be wrong with an object in the bucket |
//! | [`registry_limit`] | reserves the limit of the registry, which bounds the damage of a bad policy |
//! | [`read_journal`] | finds what the journal has of repositories and runs |
//! | [`restore_images`] | restores images that were deleted or archived, from the journal |
//! | [`restore_policy`] | restores a lifecycle policy that another one replaced |
//! | [`approval`] | saves a plan, and executes a saved one |
//! | [`suspend`] | suspends attached policies that no run refreshes any more |
//! | [`summarize`] | makes one report of the outcomes of all repositories |

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use crate::aws::deadline::TimeIsUp;
use crate::aws::ecr::{EcrProtect, EcrRead, EcrWrite};
use crate::aws::ecs::Ecs;
use crate::aws::eks::Eks;
use crate::aws::lambda::Lambda;
use crate::aws::registry::Registry;
use crate::aws::resource_tags::ResourceTags;
use crate::aws::s3::{Object, S3};
use crate::aws::{AwsError, Clock, Connection, Deadline, Failure};
use crate::domain::enforcement::action::Action;
use crate::domain::enforcement::batch::Assignment;
use crate::domain::enforcement::outcome::Outcome;
use crate::domain::text::instant::Instant;
use crate::domain::usage::usage_snapshot::{CLOCK_SECONDS, UsageSnapshot};
use crate::workflows::enforcement::execute::Executor;
use crate::workflows::enforcement::object_problem::ObjectProblem;
use crate::workflows::enforcement::process_batch::BatchProcessor;

pub mod approval;
pub mod delete;
pub mod execute;
pub mod inventory;
mod look_records;
pub mod object_problem;
pub mod process_batch;
pub mod protect;
pub mod put_back;
pub mod read_changes;
pub mod read_journal;
pub mod read_layers;
pub mod read_usage;
pub mod registry_limit;
pub mod report_usage;
pub mod repository_snapshot;
pub mod restore_images;
pub mod restore_policy;
pub mod summarize;
pub mod suspend;
pub mod write_journal;

/// The clients of a run's function, created once and kept between invocations.
#[derive(Debug)]
pub struct AwsClients {
    connection: Connection,
    ecr: EcrRead,
    ecs: Ecs,
    eks: Eks,
    functions: Lambda,
    registry: Registry,
    resource_tags: ResourceTags,
    s3: S3,
    bucket: String,
}

impl AwsClients {
    /// Over a connection, with this bucket of the stack's.
    #[must_use]
    pub fn new(connection: Connection, bucket: String) -> Self {
        let ecr = connection.ecr_read();
        Self::with_ecr(connection, ecr, bucket)
    }

    /// The same with an existing client of ECR, which takes time to create.
    #[must_use]
    pub fn with_ecr(connection: Connection, ecr: EcrRead, bucket: String) -> Self {
        let (registry, s3) = (connection.registry(), connection.s3());
        let (ecs, eks, functions) = (connection.ecs(), connection.eks(), connection.functions());
        let resource_tags = connection.resource_tags();
        Self { connection, ecr, ecs, eks, functions, registry, resource_tags, s3, bucket }
    }

    /// The connection.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The context of one invocation, which has this much time left. A part of it is reserved for recording what was done.
    #[must_use]
    pub fn clients(&self, left: Duration) -> RunContext<'_> {
        const ANSWER: Duration = Duration::from_millis(500);
        self.connection.retry_observer().reset();
        let Self { ecr, ecs, eks, functions, registry, resource_tags, s3, bucket, connection } = self;
        RunContext {
            connection,
            ecr,
            ecs,
            eks,
            functions,
            registry,
            resource_tags,
            s3,
            bucket,
            region: connection.region(),
            clock: connection.clock(),
            deadline: Deadline::within(left, ANSWER),
            writes_caches: true,
            is_pull_excluded: true,
        }
    }
}

/// The clients, the deadline and the bucket of a part of a run.
#[derive(Debug, Clone, Copy)]
pub struct RunContext<'a> {
    /// The connection to AWS.
    pub connection: &'a Connection,
    /// The registry.
    pub ecr: &'a EcrRead,
    /// Amazon ECS.
    pub ecs: &'a Ecs,
    /// Which Kubernetes clusters there are.
    pub eks: &'a Eks,
    /// AWS Lambda.
    pub functions: &'a Lambda,
    /// The registry's replication rules.
    pub registry: &'a Registry,
    /// Which repositories ask for protection by a resource tag.
    pub resource_tags: &'a ResourceTags,
    /// Amazon S3, for the objects of runs.
    pub s3: &'a S3,
    /// The stack's bucket; empty for none, where nothing is kept and no lists are read.
    pub bucket: &'a str,
    /// The Region.
    pub region: &'a str,
    /// The clock by which ages are counted.
    pub clock: &'a Clock,
    /// The deadline.
    pub deadline: Deadline,
    /// Whether what was read of image indexes is remembered in the bucket. Not by a command that only looks: it may look into
    /// another registry, and what it forgets of archived indexes cannot be read again.
    pub writes_caches: bool,
    /// Whether ECR does not count as a pull that a manifest is read. The stack registers the roles of its functions for that; of
    /// whoever is at a terminal it is not known.
    pub is_pull_excluded: bool,
}

/// The client by which a part of a run may change the registry: [`EcrWrite`], or [`PreviewOnly`] where nothing ever does.
pub trait WriteClient: Copy + fmt::Debug {
    /// Stands for a client in a preview: [`Reading`], or nothing that exists where the client writes.
    type Reading: Copy + fmt::Debug;

    /// The client.
    fn ecr(&self) -> &EcrWrite;

    /// Processes repositories in their order: previews them, or executes their plans. Adds their outcomes, and returns how many are
    /// done.
    ///
    /// # Errors
    ///
    /// If a clock is wrong.
    fn process_each(
        processor: &BatchProcessor<'_, Self>,
        registry_id: &str,
        repositories: &[Assignment],
        outcomes: &mut Vec<Outcome>,
    ) -> impl Future<Output = Result<usize, RunError>>;

    /// Executes actions in their order.
    ///
    /// # Errors
    ///
    /// See [`Executor::execute`].
    fn execute(
        executor: &mut Executor<'_, '_, Self>,
        actions: &[Action],
    ) -> impl Future<Output = Result<(), RunError>>;

    /// Restores images that were removed and are in use.
    ///
    /// # Errors
    ///
    /// When time is up. The failure of one image is in the report.
    fn put_back(
        processor: &BatchProcessor<'_, Self>,
        usage: &UsageSnapshot,
    ) -> impl Future<Output = Result<(), RunError>>;
}

impl WriteClient for &EcrWrite {
    type Reading = Infallible;

    fn ecr(&self) -> &EcrWrite {
        self
    }

    async fn process_each(
        processor: &BatchProcessor<'_, Self>,
        registry_id: &str,
        repositories: &[Assignment],
        outcomes: &mut Vec<Outcome>,
    ) -> Result<usize, RunError> {
        processor.enforce_each(registry_id, repositories, outcomes).await
    }

    async fn execute(executor: &mut Executor<'_, '_, Self>, actions: &[Action]) -> Result<(), RunError> {
        executor.execute_each(actions).await
    }

    async fn put_back(processor: &BatchProcessor<'_, Self>, usage: &UsageSnapshot) -> Result<(), RunError> {
        processor.put_back(usage).await
    }
}

/// The client of a function that only previews. It has no value, and the code that deletes, archives, tags and attaches is not
/// part of such a function.
#[derive(Debug, Clone, Copy)]
pub enum PreviewOnly {}

/// What a preview has in place of a client that writes.
#[derive(Debug, Clone, Copy)]
pub struct Reading;

impl WriteClient for PreviewOnly {
    type Reading = Reading;

    fn ecr(&self) -> &EcrWrite {
        match *self {}
    }

    async fn process_each(
        processor: &BatchProcessor<'_, Self>,
        registry_id: &str,
        repositories: &[Assignment],
        outcomes: &mut Vec<Outcome>,
    ) -> Result<usize, RunError> {
        Box::pin(processor.preview_each(registry_id, repositories, outcomes)).await
    }

    async fn execute(_: &mut Executor<'_, '_, Self>, _: &[Action]) -> Result<(), RunError> {
        Err(RunError::Aws(AwsError::unexpected_response("PutImage", "a preview changes nothing")))
    }

    async fn put_back(_: &BatchProcessor<'_, Self>, _: &UsageSnapshot) -> Result<(), RunError> {
        Ok(())
    }
}

/// What a part of a run may change in the registry. With a client that writes there is no preview, and without one nothing else.
#[derive(Debug, Clone, Copy)]
pub enum Access<W: WriteClient> {
    /// Nothing: a preview.
    Read(W::Reading),
    /// Tags may be added and policies suspended; nothing is deleted.
    Protect(ProtectOnly<W>),
    /// Everything that policies ask for.
    Write(W),
}

/// A client of which only that part may be used that protects.
#[derive(Debug, Clone, Copy)]
pub struct ProtectOnly<W>(W);

impl<W: WriteClient> ProtectOnly<W> {
    /// The protecting part of a client.
    pub const fn of(client: W) -> Self {
        Self(client)
    }

    /// The client.
    pub fn ecr(&self) -> &EcrProtect {
        self.0.ecr()
    }
}

impl<W: WriteClient> Access<W> {
    /// The client that adds tags and suspends policies; `None` in a preview.
    pub(crate) fn protect(&self) -> Option<&EcrProtect> {
        match self {
            Self::Read(_) => None,
            Self::Protect(client) => Some(client.ecr()),
            Self::Write(client) => Some(client.ecr()),
        }
    }

    /// The client that does everything that policies ask for; `None` where the run may not.
    pub(crate) fn write(&self) -> Option<&EcrWrite> {
        match self {
            Self::Read(_) | Self::Protect(_) => None,
            Self::Write(client) => Some(client.ecr()),
        }
    }
}

/// Why a part of a run stops before it is done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// Time is up; another invocation continues.
    #[error("the time of the function is up: {0}")]
    Time(AwsError),
    /// A call failed.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// Something in the bucket is not what it has to be.
    #[error("s3://{bucket}/{key}: {problem}")]
    Object {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// The problem, and what to do.
        problem: ObjectProblem,
    },
    /// The task is refused, since no run of this stack sends it to this function.
    #[error("{key}: {problem}")]
    Refused {
        /// The key of the batch.
        key: String,
        /// The problem with the task.
        problem: process_batch::TaskProblem,
    },
    /// The clock of this function or that of AWS is wrong, and all decisions depend on ages.
    #[error("it is {here} here and {there} at AWS: a clock is wrong, and nothing is done by its time")]
    Clock {
        /// The time here.
        here: Instant,
        /// The time there.
        there: Instant,
    },
}

impl RunContext<'_> {
    /// The present.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Makes a call until time is up.
    pub(crate) async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, AwsError>>,
    ) -> Result<T, RunError> {
        match self.deadline.work(call).await {
            Ok(answer) => Ok(answer?),
            Err(TimeIsUp) => Err(RunError::Time(self.ecr.retry_observer().timeout_cause())),
        }
    }

    /// Whether there is a bucket.
    pub(crate) const fn has_bucket(&self) -> bool {
        !self.bucket.is_empty()
    }

    /// The text of an object that has to exist, after comparing the clock with that of S3.
    pub(crate) async fn object(&self, key: &str, now: Instant) -> Result<String, RunError> {
        Ok(self.whole_object(key, now).await?.text)
    }

    /// An object that has to exist, after comparing the clock with that of S3.
    pub(crate) async fn whole_object(&self, key: &str, now: Instant) -> Result<Object, RunError> {
        let Some(object) = self.call(self.s3.get(self.bucket, key)).await? else {
            return Err(self.invalid_object(key, ObjectProblem::Missing));
        };
        check_clock(object.answered_at, now)?;
        Ok(object)
    }

    /// The error of an object in the bucket.
    pub(crate) fn invalid_object(&self, key: &str, problem: impl Into<ObjectProblem>) -> RunError {
        RunError::Object { bucket: self.bucket.to_owned(), key: key.to_owned(), problem: problem.into() }
    }
}

/// Compares the clock with that of AWS.
///
/// # Errors
///
/// When they differ by more than [`crate::domain::usage::usage_snapshot::CLOCK_SECONDS`].
pub fn check_clock(there: Option<Instant>, here: Instant) -> Result<(), RunError> {
    let Some(there) = there else { return Ok(()) };
    let seconds = (here.micros() - there.micros()) / 1_000_000;
    if seconds.abs() > CLOCK_SECONDS {
        return Err(RunError::Clock { here, there });
    }
    Ok(())
}

impl RunError {
    /// A name for the kind of failure, as Lambda's `errorType`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Time(_) => "OutOfTime",
            Self::Aws(AwsError { failure: Failure::NotFound, .. }) => "NotFound",
            Self::Aws(_) => "AwsFailed",
            Self::Object { .. } => "InvalidObject",
            Self::Refused { .. } => "Refused",
            Self::Clock { .. } => "WrongClock",
        }
    }

    /// Whether the error is that the repository does not exist any more: what a call about a whole repository does not find.
    #[must_use]
    pub fn is_repository_gone(&self) -> bool {
        const ABOUT_A_REPOSITORY: [&str; 10] = [
            "BatchDeleteImage",
            "BatchGetImage",
            "DeleteLifecyclePolicy",
            "DescribeImages",
            "DescribeRepositories",
            "GetLifecyclePolicy",
            "GetRepositoryPolicy",
            "ListTagsForResource",
            "PutImage",
            "PutLifecyclePolicy",
        ];
        let is_about_one = |error: &AwsError| ABOUT_A_REPOSITORY.contains(&&*error.operation);
        self.is_not_found() && matches!(self, Self::Aws(error) if is_about_one(error))
    }

    /// Whether the error is that something does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Aws(error) if error.failure == Failure::NotFound)
    }
}
