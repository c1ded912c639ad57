//! Lambda function: the HTTP API for repositories and images, behind an API Gateway HTTP API (payload 2.0).
//!
//! The API is [`shared::handlers::http`]'s; this file only carries requests and responses.

// The SDK's futures are nested deeper than the compiler follows by default.
#![recursion_limit = "256"]

use std::time::Duration;

use lambda_runtime::LambdaEvent;
use serde_json::value::RawValue;
use shared::aws::ecr::EcrWrite;
use shared::aws::{Connection, Deadline};
use shared::domain::enforcement::actor::Actor;
use shared::domain::repository::Registry;
use shared::handlers::http::{self, Kind, Problem, Response, gateway};
use shared::shell::environment::set;
use shared::shell::function::{self, time_left};
use shared::workflows::delete_images::ByHand;
use shared::workflows::enforcement::{AwsClients, RunContext};
use shared::workflows::protection_records::ProtectionRecords;
use shared::workflows::provision::{Provisioner, Requester};

/// Time of an invocation reserved for its answer.
const ANSWER: Duration = Duration::from_millis(500);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::shell::log::as_json();
    let connection = Connection::from_env();
    let ecr = &connection.ecr_write();
    // Without a bucket nothing can be journaled, so that nothing is deleted and no lifecycle policy is attached; everything else
    // works.
    let bucket = set("BUCKET").unwrap_or_else(|error| {
        tracing::error!(%error, "images cannot be deleted, and lifecycle policies not be attached");
        String::new()
    });
    let clients = &AwsClients::with_ecr(connection, (***ecr).clone(), bucket);
    function::run(move |event: LambdaEvent<Box<RawValue>>| async move {
        Ok::<_, std::convert::Infallible>(gateway::answer(answer(event, ecr, clients).await))
    })
    .await
}

async fn answer(event: LambdaEvent<Box<RawValue>>, ecr: &EcrWrite, clients: &AwsClients) -> Response {
    let LambdaEvent { payload, context } = event;
    let received = match gateway::Received::read(payload.get()) {
        Ok(received) => received,
        Err(problem) => return gateway::refused(problem),
    };
    let call = match http::route(received.request()) {
        Ok(call) => call,
        Err(problem) => return gateway::refused(problem),
    };
    let registry = match Registry::of_arn(&context.invoked_function_arn) {
        Ok(registry) => registry,
        Err(error) => return Problem::new(Kind::Internal, error.to_string()).into(),
    };
    let left = time_left(&context);
    let deadline = Deadline::within(left, ANSWER);
    let by_hand = ByHand {
        clients: RunContext { deadline, ..clients.clients(left) },
        ecr,
        registry_id: &registry.account_id,
        run_id: format!("api-{}", context.request_id),
        by: received.caller().map(Actor::principal).unwrap_or_default(),
    };
    let provisioner = Provisioner {
        ecr,
        registry: &registry,
        records: ProtectionRecords::in_bucket(by_hand.clients.s3, by_hand.clients.bucket),
        deadline,
        request_id: &context.request_id,
        requester: Some(Requester { run_id: by_hand.run_id.clone(), by: by_hand.by.clone() }),
    };
    http::serve::serve(call, &provisioner, &by_hand).await
}
