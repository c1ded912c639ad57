//! Lambda function: the CloudFormation resource `Custom::EcrRepository`.
//!
//! What it does is [`shared::custom_resource`]'s; this file only carries the request there and the answer to
//! CloudFormation, in time.

#![recursion_limit = "256"]

use std::time::{Duration, SystemTime};

use lambda_runtime::{Context, Diagnostic, LambdaEvent, service_fn};
use serde_json::value::RawValue;
use shared::aws::ecr::Ecr;
use shared::aws::{Connection, Deadline};
use shared::custom_resource::callback::{Callback, CallbackError};
use shared::custom_resource::{Answer, Event, ForeignUrl, ResponseUrl, serve};
use shared::provision::Provisioner;
use shared::repository::{NotAnArn, Registry};

/// What is kept of an invocation's time to get the answer to CloudFormation, a second attempt included.
const ANSWER: Duration = Duration::from_secs(10);

/// What is kept to let Lambda know.
const RETURN: Duration = Duration::from_millis(300);

/// Why CloudFormation gets no answer; Lambda delivers the event again then.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the event is not one of CloudFormation's custom resources: {0}")]
    Event(#[from] serde_json::Error),
    #[error(transparent)]
    Url(#[from] ForeignUrl),
    #[error(transparent)]
    Arn(#[from] NotAnArn),
    #[error(transparent)]
    Callback(#[from] CallbackError),
    #[error("CloudFormation could not be answered in time")]
    OutOfTime,
}

impl From<Failure> for Diagnostic {
    fn from(failure: Failure) -> Self {
        let error_type = match &failure {
            Failure::Event(_) => "InvalidEvent",
            Failure::Url(_) => "ForeignResponseUrl",
            Failure::Arn(_) => "Internal",
            Failure::Callback(_) | Failure::OutOfTime => "NotAnswered",
        };
        Self { error_type: error_type.to_owned(), error_message: failure.to_string() }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::log::as_json();
    let ecr = Connection::of_function().ecr();
    let (ecr, callback) = (&ecr, &Callback::default());
    // An emulator's CloudFormation waits on this machine.
    let allow_loopback = std::env::var("ALLOW_LOOPBACK_RESPONSE_URL").is_ok_and(|value| value == "true");
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Box<RawValue>>| async move {
        let handled = handle(&event, ecr, callback, allow_loopback).await;
        handled.inspect_err(|error| tracing::error!(%error, "did not answer CloudFormation"))
    }))
    .await
}

async fn handle(
    event: &LambdaEvent<Box<RawValue>>,
    ecr: &Ecr,
    callback: &Callback,
    allow_loopback: bool,
) -> Result<(), Failure> {
    let LambdaEvent { payload, context } = event;
    let event: Event = serde_json::from_str(payload.get())?;
    let url = ResponseUrl::parse(&event.response_url, allow_loopback)?;
    let registry = Registry::of_arn(&context.invoked_function_arn)?;
    let answer = answer(&event, ecr, &registry, context).await;
    let sent = tokio::time::timeout(time_left(context).saturating_sub(RETURN), callback.send(&url, &answer));
    match sent.await {
        Ok(sent) => Ok(sent?),
        Err(_) => Err(Failure::OutOfTime),
    }
}

async fn answer(event: &Event, ecr: &Ecr, registry: &Registry, context: &Context) -> Answer {
    ecr.trouble().forget();
    let left = time_left(context);
    // Of a short time half is for answering.
    let reserve = ANSWER.min(left / 2);
    let deadline = Deadline::within(left, reserve);
    let provisioner = Provisioner { ecr, registry, deadline, request_id: &context.request_id };
    let served = tokio::time::timeout(left.saturating_sub(reserve / 2), serve::serve(event, &provisioner));
    served.await.unwrap_or_else(|_| serve::out_of_time(event))
}

fn time_left(context: &Context) -> Duration {
    context.deadline().duration_since(SystemTime::now()).unwrap_or_default()
}
