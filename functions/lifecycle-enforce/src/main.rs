//! Lambda function: one batch of a run, whose policies are enforced: attached for ECR to apply, or applied image by image.
//!
//! What it does is [`shared::run::work`]'s; this file only carries the batch there and back what remains of it.

#![recursion_limit = "256"]

use std::time::SystemTime;

use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use shared::aws::Connection;
use shared::environment::{is_on, set};
use shared::repository::{NotAnArn, Registry};
use shared::run::work::{Caller, Power, work};
use shared::run::{Hands, Stop, Task};

/// Why a batch was not worked on.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Batch(#[from] Stop),
    #[error(transparent)]
    Arn(#[from] NotAnArn),
}

impl From<Failure> for Diagnostic {
    fn from(failure: Failure) -> Self {
        let error_type = match &failure {
            Failure::Batch(stop) => stop.kind(),
            Failure::Arn(_) => "Internal",
        };
        Self { error_type: error_type.to_owned(), error_message: failure.to_string() }
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
        let registry = Registry::of_arn(&context.invoked_function_arn)?;
        let power = Power::Enforce { ecr, is_on: is_on("ENFORCE") };
        let caller = Caller { account_id: &registry.account_id, power };
        let worked = work(hands.clients(left), caller, &task).await;
        let worked = worked
            .inspect_err(|error| tracing::error!(%error, key = task.key, "did not work on the batch"))?;
        Ok::<_, Failure>(worked)
    }))
    .await
}
