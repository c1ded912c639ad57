//! The project's code, as the simulation calls it: whatever changes in its interfaces changes here and nowhere else.

use std::time::Duration;

use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use serde_json::json;
use shared::aws::ecr::EcrWrite;
use shared::aws::sqs::Sqs;
use shared::aws::{AccessKeys, Clock, Connection};
use shared::domain::enforcement::policy_set::PolicySet;
use shared::domain::enforcement::run::{Run, Task};
use shared::domain::enforcement::suspension::Cause;
use shared::domain::lifecycle::{LifecyclePolicy, PolicySource};
use shared::domain::repository::Registry;
use shared::domain::text::instant::Instant;
use shared::workflows::enforcement::inventory::{self, InventoryError, Invocation, Progress};
use shared::workflows::enforcement::process_batch::{Caller, CallerAccess, work};
use shared::workflows::enforcement::read_changes::Queue;
use shared::workflows::enforcement::read_layers::CostSettings;
use shared::workflows::enforcement::suspend::{Stack, suspend};
use shared::workflows::enforcement::{AwsClients, PreviewOnly, Reading, RunError, summarize};
use tests::cloud::BUCKET;

use super::wire::Shared;
use super::world::wall_clock;

const ACCOUNT: &str = "123456789012";
const STACK: &str = "steward";
/// Longer than anything takes; Lambda's longest.
const FUNCTION: Duration = Duration::from_secs(900);

/// A function that has started, and is warm from then on.
pub(super) struct Product {
    aws: AwsClients,
    ecr: EcrWrite,
    sqs: Sqs,
}

/// What the state machine hands on.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) run: Run,
    pub(super) progress: Progress,
}

impl Taken {
    pub(super) const fn is_complete(&self) -> bool {
        self.progress.next_token.is_none()
    }

    /// Where the list of the batches is, which the state machine's map reads.
    pub(super) fn batches_key(&self) -> String {
        self.run.batch_list_key()
    }
}

/// Why a function failed.
#[derive(Debug, Clone)]
pub(super) struct Failed {
    /// Whether the state machine has it tried again.
    pub(super) is_retried: bool,
    /// Whether the policies file is not valid.
    pub(super) is_invalid_file: bool,
    pub(super) message: String,
}

impl Failed {
    pub(super) fn killed() -> Self {
        Self { is_retried: true, is_invalid_file: false, message: "killed".to_owned() }
    }
}

impl From<RunError> for Failed {
    fn from(error: RunError) -> Self {
        let is_retried = matches!(error.kind(), "OutOfTime" | "AwsFailed");
        Self { is_retried, is_invalid_file: false, message: error.to_string() }
    }
}

impl From<InventoryError> for Failed {
    fn from(error: InventoryError) -> Self {
        match error {
            InventoryError::RunError(error) => error.into(),
            InventoryError::PolicySet(_) => {
                Self { is_retried: false, is_invalid_file: true, message: error.to_string() }
            }
        }
    }
}

impl Product {
    /// A cold start.
    pub(super) fn start(wire: &Shared) -> Self {
        let keys = AccessKeys {
            access_key_id: "AKIASIMULATION".to_owned(),
            secret_access_key: "secret".to_owned(),
            session_token: None,
        };
        let clock = Clock::of(|| Instant::from_micros(wall_clock()).expect("a time of this century"));
        let connector = SharedHttpConnector::new(wire.clone());
        let transport =
            shared::aws::Transport::over(connector, clock, keys, "eu-west-1", "http://aws.simulated");
        let connection = Connection::over(transport);
        let (ecr, sqs) = (connection.ecr_write(), connection.sqs());
        Self { aws: AwsClients::new(connection, BUCKET.to_owned()), ecr, sqs }
    }

    /// `is_on` is the parameter `Enforce` of the function, and `queue` the address of the queue with the events of Amazon ECR.
    pub(super) async fn take_inventory(
        &self,
        state: &Taken,
        request_id: &str,
        is_on: bool,
        queue: Option<&str>,
    ) -> Result<Taken, Failed> {
        let clients = self.aws.clients(FUNCTION);
        // Layers are read in every run: what fails there must not change what a run does.
        let costs = CostSettings { layer_reads: 20, tag: "team" };
        let queue = queue.map(|url| Queue { sqs: &self.sqs, url });
        let invocation = Invocation {
            request_id,
            account_id: ACCOUNT,
            stack: STACK,
            is_on,
            max_concurrency: 2,
            costs,
            queue,
        };
        let (run, progress) =
            inventory::take(&clients, &state.run, state.progress.clone(), invocation).await?;
        Ok(Taken { run, progress })
    }

    pub(super) async fn work(&self, task: &Task, is_on: bool) -> Result<Task, Failed> {
        let is_preview = task.key.contains("/preview/");
        let (clients, account_id) = (self.aws.clients(FUNCTION), ACCOUNT);
        if is_preview {
            let access = CallerAccess::<PreviewOnly>::Preview(Reading);
            return Ok(work(clients, Caller { account_id, access }, task).await?);
        }
        let access = CallerAccess::Enforce { ecr: &self.ecr, is_on };
        Ok(work(clients, Caller { account_id, access }, task).await?)
    }

    /// The dead man's switch.
    pub(super) async fn suspend_stale(&self) -> Result<(), Failed> {
        self.suspend(&Cause::StaleProtection { maximum_age_in_hours: 48 }).await
    }

    /// What the state machine does with a file that is not valid.
    pub(super) async fn suspend_attached(&self, problem: &str) -> Result<(), Failed> {
        self.suspend(&Cause::InvalidPoliciesFile { problem: problem.to_owned() }).await
    }

    async fn suspend(&self, cause: &Cause) -> Result<(), Failed> {
        let registry = Registry {
            partition: "aws".to_owned(),
            region: "eu-west-1".to_owned(),
            account_id: ACCOUNT.to_owned(),
        };
        let stack = Stack { name: STACK, registry: &registry };
        let summary = suspend(&self.aws.clients(FUNCTION), &self.ecr, stack, cause).await?;
        let failed = summary.failures.iter().next();
        match failed {
            None if summary.is_complete => Ok(()),
            _ => Err(Failed { is_retried: true, is_invalid_file: false, message: format!("{failed:?}") }),
        }
    }

    pub(super) async fn report(&self, taken: &Taken, error: Option<String>) -> Result<String, Failed> {
        let clients = self.aws.clients(FUNCTION);
        let now = clients.now();
        let report = summarize::summarize(&clients, &taken.run, &taken.progress, error, now).await?;
        summarize::write(&clients, &report, "").await?;
        Ok(report.headline())
    }
}

/// The input of a run, as the state machine makes it.
pub(super) fn begin(run_id: &str, now: i64, is_dry: bool, protects_only: bool) -> Taken {
    let run = json!({ "runId": run_id, "startedAt": time(now), "dryRun": is_dry, "protectOnly": protects_only,
        "startedBy": format!("arn:aws:states:eu-west-1:{ACCOUNT}:execution:steward-lifecycle:{run_id}") });
    Taken { run: serde_json::from_value(run).expect("a run"), progress: Progress::default() }
}

pub(super) fn task(taken: &Taken, key: &str) -> Task {
    Task { run: taken.run.clone(), key: key.to_owned(), done: 0, is_complete: false }
}

/// A time, as documents have it.
pub(super) fn time(micros: i64) -> String {
    Instant::from_micros(micros).expect("a time of this century").to_string()
}

/// A time in a document, in microseconds since 1970.
pub(super) fn micros(time: &str) -> Option<i64> {
    Some(Instant::parse(time).ok()?.micros())
}

/// A policy in the simple model.
pub(super) fn policy(text: &str) -> Option<LifecyclePolicy> {
    PolicySource::parse(text).ok()?.policy().cloned()
}

/// A policy as ECR has it.
pub(super) fn attached(text: &str) -> Option<LifecyclePolicy> {
    LifecyclePolicy::parse(text).ok()
}

/// Whether a tag is one that this project puts on to protect an image.
pub(super) fn is_own(tag: &str) -> bool {
    tag.starts_with("ecr-steward-")
}

/// The hash by which a policies file is previewed and approved.
pub(super) fn hash(file: &str) -> Option<String> {
    Some(PolicySet::parse(file).ok()?.hash().to_owned())
}
