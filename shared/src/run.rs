//! One run over a registry: its parts, what they hand to each other, and where it is kept in the stack's bucket.
//!
//! ```text
//! inventory → batches of repositories → each previewed or enforced → one report
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | [`batch`] | repositories in batches of about the same work |
//! | [`outcome`] | what came of a repository |
//! | [`journal`] | what is written down before an image is deleted |
//!
//! With the feature `lifecycle` there is what acts:
//!
//! | module | does |
//! | --- | --- |
//! | `inventory` | finds the repositories and the policy of each |
//! | `observe` | finds what is in use |
//! | `survey` | reads repositories, and plans |
//! | `work` | previews or enforces a batch |
//! | `protect` | keeps ECR's own engine from what is in use, and attaches or suspends policies |
//! | `delete` | deletes and archives what a plan takes from one repository |
//! | `summarize` | makes one report of what came of all |

#[cfg(feature = "lifecycle")]
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[cfg(feature = "lifecycle")]
use crate::aws::deadline::TimeIsUp;
#[cfg(feature = "lifecycle")]
use crate::aws::ecr::{EcrProtect, EcrRead, EcrWrite};
#[cfg(feature = "lifecycle")]
use crate::aws::s3::{Object, S3};
#[cfg(feature = "lifecycle")]
use crate::aws::{
    AwsError, Clock, Connection, Deadline, Failure, ecs::Ecs, eks::Eks, functions::Functions,
    registry::Registry, resource_tags::ResourceTags,
};
use crate::domain::enforcement::enforcement_switch::{DryRunReason, MAX_RUN_AGE_SECONDS};
use crate::instant::Instant;
use crate::usage::observation::CLOCK_SECONDS;

pub mod batch;
#[cfg(feature = "lifecycle")]
pub mod delete;
#[cfg(feature = "lifecycle")]
pub mod inventory;
pub mod journal;
#[cfg(feature = "lifecycle")]
pub mod observe;
pub mod outcome;
#[cfg(feature = "lifecycle")]
pub mod protect;
#[cfg(feature = "lifecycle")]
pub mod summarize;
#[cfg(feature = "lifecycle")]
pub mod survey;
#[cfg(feature = "lifecycle")]
pub mod work;

/// The keys of everything that runs keep begin so.
pub const RUNS: &str = "runs/";

/// With this, before `.jsonl`, ends the key of the outcomes with which a batch is complete.
pub const LAST: &str = "-last";

/// A run, as its parts hand it on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// What names it and no other: the name of the state machine's execution.
    pub run_id: String,
    /// When it began.
    pub started_at: Instant,
    /// Who started it: the ARN of the state machine's execution, by which CloudTrail has the caller, or a user of a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_by: Option<String>,
    /// Whether nothing is deleted, archived or attached.
    pub dry_run: bool,
    /// Whether the run was asked to protect images in use in protected repositories, and nothing else.
    #[serde(default, skip_serializing_if = "is_false")]
    pub protect_only: bool,
    /// Why; `None` for a run that enforces, and before that is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run_reason: Option<DryRunReason>,
    /// The invocation that took the inventory, or the last part of it: what it wrote is the run's, and what another invocation
    /// wrote, which was killed, is not. Empty before there is an inventory.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub attempt: String,
    /// The version of the policy book that it goes by; none before the book was read, and in a bucket without versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub book_version: Option<String>,
    /// The hash of the policy book that it goes by; none before the book was read, and where there is no book.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub book_hash: Option<String>,
    /// Why the policies file is not valid, as the function said it that read the file, or as Step Functions hands that on. Such a run
    /// goes by no file: it only protects what is protected for another reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies_file_problem: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// One batch for a function: in the state machine the input of a task and, as long as work remains, its output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// The run.
    pub run: Run,
    /// The key of the batch.
    pub key: String,
    /// How many of its repositories are done.
    #[serde(default)]
    pub done: usize,
    /// Whether all are.
    #[serde(default)]
    pub is_complete: bool,
}

/// What a function that failed said, by the cause that Step Functions hands on.
#[must_use]
pub fn said_by(cause: &str) -> Option<String> {
    /// A function's error.
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Cause {
        error_message: String,
    }

    serde_json::from_str::<Cause>(cause).ok().map(|cause| cause.error_message)
}

impl Run {
    /// Whether the run protects images although it is a dry run.
    #[must_use]
    pub fn only_protects(&self) -> bool {
        self.dry_run && self.dry_run_reason.is_some_and(DryRunReason::protects)
    }

    /// Whether the run began so lately that what it knows says something of the present.
    #[must_use]
    pub fn is_young(&self, now: Instant) -> bool {
        let age = (now.micros() - self.started_at.micros()) / 1_000_000;
        (-CLOCK_SECONDS..=MAX_RUN_AGE_SECONDS).contains(&age)
    }

    /// The key of something that the run keeps.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("{RUNS}{}/{name}", self.run_id)
    }

    /// The key of something that belongs to the run's inventory.
    fn inventory_key(&self, name: &str) -> String {
        match self.attempt.as_str() {
            "" => self.key(name),
            attempt => format!("{}{attempt}/{name}", self.batches_prefix()),
        }
    }

    /// The key of the run's copy of the policy book.
    #[must_use]
    pub fn book_key(&self) -> String {
        self.inventory_key("policies.yaml")
    }

    /// The key of what was in use when the run began.
    #[must_use]
    pub fn usage_key(&self) -> String {
        self.inventory_key("usage.json")
    }

    /// The keys of outcomes begin so.
    #[must_use]
    pub fn outcomes_prefix(&self) -> String {
        self.key("outcomes/")
    }

    /// The keys of the outcomes of a batch begin so.
    #[must_use]
    pub fn outcomes_of(&self, batch: &str) -> String {
        let batch = batch.strip_prefix(&self.batches_prefix()).unwrap_or(batch);
        format!("{}{}/", self.outcomes_prefix(), batch.strip_suffix(".json").unwrap_or(batch))
    }

    /// The keys of outcomes that an attempt at the inventory found by itself begin so: of repositories that are in no batch.
    #[must_use]
    pub fn outcomes_of_inventory(&self, attempt: &str) -> String {
        format!("{}{attempt}/inventory/", self.outcomes_prefix())
    }

    /// The keys of batches begin so, whichever attempt wrote them.
    #[must_use]
    pub fn batches_prefix(&self) -> String {
        self.key("batches/")
    }

    /// The key of a batch.
    #[must_use]
    pub fn batch_key(&self, kind: batch::Kind, number: usize) -> String {
        self.inventory_key(&format!("{}/{number:06}.json", kind.name()))
    }

    /// The key of the list of the run's batches, which is written when all of them are.
    #[must_use]
    pub fn batch_list_key(&self) -> String {
        format!("{}{}.json", self.batches_prefix(), self.attempt)
    }
}

/// What the functions of a run call, made once and kept between invocations.
#[cfg(feature = "lifecycle")]
#[derive(Debug)]
pub struct Hands {
    connection: Connection,
    ecr: EcrRead,
    ecs: Ecs,
    eks: Eks,
    functions: Functions,
    registry: Registry,
    resource_tags: ResourceTags,
    s3: S3,
    bucket: String,
}

#[cfg(feature = "lifecycle")]
impl Hands {
    /// Over a connection, with this bucket of the stack's.
    #[must_use]
    pub fn new(connection: Connection, bucket: String) -> Self {
        let ecr = connection.ecr_read();
        Self::with_ecr(connection, ecr, bucket)
    }

    /// The same with a client of ECR that is there already: another one would take as long to make.
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

    /// For one invocation, which has so much time left. What is kept of it is for writing down what was done.
    #[must_use]
    pub fn clients(&self, left: Duration) -> Clients<'_> {
        const ANSWER: Duration = Duration::from_millis(500);
        self.connection.trouble().forget();
        let Self { ecr, ecs, eks, functions, registry, resource_tags, s3, bucket, connection } = self;
        Clients {
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
        }
    }
}

/// What a part of a run calls, and until when.
#[cfg(feature = "lifecycle")]
#[derive(Debug, Clone, Copy)]
pub struct Clients<'a> {
    /// The registry.
    pub ecr: &'a EcrRead,
    /// What runs in containers.
    pub ecs: &'a Ecs,
    /// Which Kubernetes clusters there are.
    pub eks: &'a Eks,
    /// What runs in AWS Lambda.
    pub functions: &'a Functions,
    /// Where the registry replicates to.
    pub registry: &'a Registry,
    /// Which repositories ask for protection by a resource tag.
    pub resource_tags: &'a ResourceTags,
    /// Where runs are kept.
    pub s3: &'a S3,
    /// The stack's bucket; empty for none, where nothing is kept and no lists are read.
    pub bucket: &'a str,
    /// The Region.
    pub region: &'a str,
    /// The clock by which ages are counted.
    pub clock: &'a Clock,
    /// When to stop.
    pub deadline: Deadline,
}

/// What a part of a run may change in the registry.
#[cfg(feature = "lifecycle")]
#[derive(Debug, Clone, Copy)]
pub enum Access<'a> {
    /// Nothing: a preview.
    Read,
    /// It may add tags and suspend policies; nothing is taken away.
    Protect(&'a EcrProtect),
    /// It may do what policies say.
    Write(&'a EcrWrite),
}

/// Why a part of a run stops before it is done.
#[cfg(feature = "lifecycle")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// Time is up; another invocation goes on.
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
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A task is refused that no run of this stack hands to this function.
    #[error("{key}: {problem}")]
    Refused {
        /// The key of the batch.
        key: String,
        /// What is wrong with the task.
        problem: String,
    },
    /// The clock of this function or that of AWS is wrong, and everything here goes by age.
    #[error("it is {here} here and {there} at AWS: a clock is wrong, and nothing is done by its time")]
    Clock {
        /// The time here.
        here: Instant,
        /// The time there.
        there: Instant,
    },
}

#[cfg(feature = "lifecycle")]
impl Clients<'_> {
    /// The present.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Makes a call until time is up.
    pub(crate) async fn call<T>(&self, call: impl Future<Output = Result<T, AwsError>>) -> Result<T, Stop> {
        match self.deadline.work(call).await {
            Ok(answer) => Ok(answer?),
            Err(TimeIsUp) => Err(Stop::Time(self.ecr.trouble().explain())),
        }
    }

    /// Whether there is a bucket.
    pub(crate) const fn has_bucket(&self) -> bool {
        !self.bucket.is_empty()
    }

    /// The text of an object that has to be there, after a look at the clock: S3 says what time it is.
    pub(crate) async fn object(&self, key: &str, now: Instant) -> Result<String, Stop> {
        Ok(self.whole_object(key, now).await?.text)
    }

    /// An object that has to be there, after a look at the clock.
    pub(crate) async fn whole_object(&self, key: &str, now: Instant) -> Result<Object, Stop> {
        let Some(object) = self.call(self.s3.get(self.bucket, key)).await? else {
            let problem = "there is no such object; the run that it is of may be forgotten".to_owned();
            return Err(self.odd(key, problem));
        };
        check_clock(object.answered_at, now)?;
        Ok(object)
    }

    pub(crate) fn odd(&self, key: &str, problem: String) -> Stop {
        Stop::Object { bucket: self.bucket.to_owned(), key: key.to_owned(), problem }
    }
}

/// Compares the clock with that of AWS.
#[cfg(feature = "lifecycle")]
///
/// # Errors
///
/// When they differ by more than [`crate::usage::observation::CLOCK_SECONDS`].
pub fn check_clock(there: Option<Instant>, here: Instant) -> Result<(), Stop> {
    let Some(there) = there else { return Ok(()) };
    let seconds = (here.micros() - there.micros()) / 1_000_000;
    if seconds.abs() > CLOCK_SECONDS {
        return Err(Stop::Clock { here, there });
    }
    Ok(())
}

#[cfg(feature = "lifecycle")]
impl Stop {
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

    /// Whether the call found that something is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Aws(error) if error.failure == Failure::NotFound)
    }
}
