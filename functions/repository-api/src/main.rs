//! Lambda function: the HTTP API for repositories and images, behind an API Gateway HTTP API (payload 2.0).
//!
//! The API is [`shared::api`]'s; this file only carries requests and responses.

#![recursion_limit = "256"]

use std::time::{Duration, SystemTime};

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use lambda_runtime::{Context, LambdaEvent, service_fn};
use shared::api::{self, Kind, Problem, Response, gateway};
use shared::aws::ecr::EcrWrite;
use shared::aws::{Connection, Deadline};
use shared::provision::Provisioner;
use shared::repository::Registry;

/// What is kept of an invocation's time to answer in.
const ANSWER: Duration = Duration::from_millis(500);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::log::as_json();
    let ecr = Connection::from_env().ecr_write();
    let ecr = &ecr;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<ApiGatewayV2httpRequest>| async move {
        Ok::<_, lambda_runtime::Error>(gateway::answer(answer(event, ecr).await))
    }))
    .await
}

async fn answer(event: LambdaEvent<ApiGatewayV2httpRequest>, ecr: &EcrWrite) -> Response {
    let LambdaEvent { payload, context } = event;
    let received = match gateway::Received::new(payload) {
        Ok(received) => received,
        Err(problem) => return gateway::refused(problem),
    };
    let call = match api::route(received.request()) {
        Ok(call) => call,
        Err(problem) => return gateway::refused(problem),
    };
    let registry = match Registry::of_arn(&context.invoked_function_arn) {
        Ok(registry) => registry,
        Err(error) => return Problem::new(Kind::Internal, error.to_string()).into(),
    };
    ecr.trouble().forget();
    let provisioner = Provisioner {
        ecr,
        registry: &registry,
        deadline: Deadline::within(time_left(&context), ANSWER),
        request_id: &context.request_id,
    };
    api::serve::serve(call, &provisioner).await
}

fn time_left(context: &Context) -> Duration {
    context.deadline().duration_since(SystemTime::now()).unwrap_or_default()
}
