//! Lambda function: one batch of a run, whose policies are enforced: attached for ECR to apply, or applied image by image.
//!
//! What it does is [`shared::workflows::enforcement::process_batch`]'s; this file only carries the batch there and back what remains of it.

// The SDK's futures are nested deeper than the compiler follows by default.
#![recursion_limit = "256"]

use lambda_runtime::LambdaEvent;
use shared::aws::Connection;
use shared::domain::enforcement::run::Task;
use shared::domain::repository::{NotAnArn, Registry};
use shared::shell::environment::{is_on, set};
use shared::shell::function::{self, FunctionError, time_left};
use shared::workflows::enforcement::process_batch::{Caller, CallerAccess, work};
use shared::workflows::enforcement::{AwsClients, RunError};

/// Why a batch was not worked on.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Batch(#[from] RunError),
    #[error(transparent)]
    Arn(#[from] NotAnArn),
}

impl FunctionError for Failure {
    fn error_type(&self) -> &'static str {
        match self {
            Failure::Batch(error) => error.kind(),
            Failure::Arn(_) => "Internal",
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::shell::log::as_json();
    let connection = Connection::from_env();
    let ecr = &connection.ecr_write();
    // One client: what reads and what writes have one rate of calls.
    let clients = &AwsClients::with_ecr(connection, (***ecr).clone(), set("BUCKET")?);
    function::run(move |event: LambdaEvent<Task>| async move {
        let LambdaEvent { payload: task, context } = event;
        let left = time_left(&context);
        let registry = Registry::of_arn(&context.invoked_function_arn)?;
        let access = CallerAccess::Enforce { ecr, is_on: is_on("ENFORCE") };
        let caller = Caller { account_id: &registry.account_id, access };
        let worked = work(clients.clients(left), caller, &task).await;
        let worked = worked
            .inspect_err(|error| tracing::error!(%error, key = task.key, "did not work on the batch"))?;
        Ok::<_, Failure>(worked)
    })
    .await
}
