//! Lambda function: one batch of a run, whose policies are enforced: attached for ECR to apply, or applied image by image.
//!
//! What it does is [`shared::run::work`]'s; this file only carries the batch there and back what remains of it.

#![recursion_limit = "256"]

use std::time::SystemTime;

use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use shared::aws::Connection;
use shared::environment::set;
use shared::run::work::work;
use shared::run::{Access, Hands, Stop, Task};

/// Why a batch was not worked on.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Failure(#[from] Stop);

impl From<Failure> for Diagnostic {
    fn from(failure: Failure) -> Self {
        Self { error_type: failure.0.kind().to_owned(), error_message: failure.to_string() }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::log::as_json();
    let connection = Connection::from_env();
    let ecr = &connection.ecr_write();
    let hands = &Hands::new(connection, set("BUCKET")?);
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Task>| async move {
        let LambdaEvent { payload: task, context } = event;
        let left = context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
        let worked = work(hands.clients(left), Access::Write(ecr), &task).await;
        worked
            .inspect_err(|error| tracing::error!(%error, key = task.key, "did not work on the batch"))
            .map_err(Failure)
    }))
    .await
}
