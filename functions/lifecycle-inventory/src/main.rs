//! Lambda function: begins a run: what is in use, which repositories there are, which policy is for each, in which batches.
//!
//! What it does is [`shared::workflows::enforcement::inventory`]'s; this file only carries events there and answers back.

// The SDK's futures are nested deeper than the compiler follows by default.
#![recursion_limit = "256"]

use lambda_runtime::LambdaEvent;
use serde::{Deserialize, Serialize};
use shared::aws::Connection;
use shared::aws::sqs::Sqs;
use shared::domain::enforcement::run::Run;
use shared::domain::repository::{NotAnArn, Registry};
use shared::shell::environment::{is_on, optional, set};
use shared::shell::function::{self, FunctionError, time_left};
use shared::workflows::enforcement::AwsClients;
use shared::workflows::enforcement::inventory::{InventoryError, Invocation, Progress, take};
use shared::workflows::enforcement::read_changes::Queue;
use shared::workflows::enforcement::read_layers::CostSettings;

/// The input from the state machine, at first and as long as there is more to list.
#[derive(Debug, Deserialize)]
struct Event {
    run: Run,
    #[serde(default)]
    inventory: Progress,
}

/// The output, with which the state machine continues.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    run: Run,
    is_complete: bool,
    inventory: Progress,
    bucket: &'static str,
    batches_key: String,
    results_prefix: String,
    max_concurrency: u32,
    tolerated_failure_percentage: f64,
}

/// The settings of the stack's parameters.
#[derive(Debug)]
struct Settings {
    bucket: &'static str,
    stack: String,
    max_concurrency: u32,
    tolerated_failure_percentage: f64,
    /// The calls of a run that read manifests to know layers.
    layer_reads: u32,
    /// The key of the resource tag by which costs are added up; empty for none.
    cost_tag: String,
    /// The queue with the events of Amazon ECR, and its address; none if every run looks at everything.
    queue: Option<(Sqs, String)>,
}

/// Why there is no run.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    #[error(transparent)]
    Arn(#[from] NotAnArn),
}

impl FunctionError for Failure {
    fn error_type(&self) -> &'static str {
        match self {
            Failure::Inventory(InventoryError::PolicySet(_)) => "InvalidPoliciesFile",
            Failure::Inventory(InventoryError::RunError(error)) => error.kind(),
            Failure::Arn(_) => "Internal",
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::shell::log::as_json();
    let bucket = set("BUCKET")?;
    let connection = Connection::from_env();
    let settings = &Settings {
        // Leaked once: answers borrow it for as long as the process lives.
        bucket: bucket.clone().leak(),
        stack: set("STACK_NAME")?,
        max_concurrency: set("MAX_CONCURRENCY")?.parse()?,
        tolerated_failure_percentage: set("TOLERATED_FAILURE_PERCENTAGE")?.parse()?,
        layer_reads: optional("LAYER_READS").map_or(Ok(0), |calls| calls.parse())?,
        cost_tag: optional("COST_TAG").unwrap_or_default(),
        queue: optional("QUEUE_URL").map(|url| (connection.sqs(), url)),
    };
    let clients = &AwsClients::new(connection, bucket);
    function::run(move |event: LambdaEvent<Event>| async move {
        let LambdaEvent { payload: Event { run, inventory }, context } = event;
        let left = time_left(&context);
        let registry = Registry::of_arn(&context.invoked_function_arn)?;
        let invocation = Invocation {
            request_id: &context.request_id,
            account_id: &registry.account_id,
            stack: &settings.stack,
            is_on: is_on("ENFORCE"),
            max_concurrency: settings.max_concurrency,
            costs: CostSettings { layer_reads: settings.layer_reads, tag: &settings.cost_tag },
            queue: settings.queue.as_ref().map(|(sqs, url)| Queue { sqs, url }),
        };
        let taken = take(&clients.clients(left), &run, inventory, invocation).await;
        let (run, inventory) = taken
            .inspect_err(|error| tracing::error!(%error, run = run.run_id, "did not take the inventory"))?;
        Ok::<_, Failure>(Answer {
            is_complete: inventory.next_token.is_none(),
            bucket: settings.bucket,
            batches_key: run.batch_list_key(),
            results_prefix: run.key("results"),
            max_concurrency: inventory.workers,
            tolerated_failure_percentage: settings.tolerated_failure_percentage,
            run,
            inventory,
        })
    })
    .await
}
