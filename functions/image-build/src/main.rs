//! Lambda function: starts builds: for uploads to the stack's bucket, pushes to CodeCommit, `POST /builds`, and direct
//! invocations.
//!
//! What it does is [`shared::workflows::start_build`]'s; this file only carries events there and answers back.

// The SDK's futures are nested deeper than the compiler follows by default.
#![recursion_limit = "256"]

use std::time::Duration;

use lambda_runtime::LambdaEvent;
use serde::Deserialize;
use serde_json::value::RawValue;
use shared::aws::codebuild::CodeBuild;
use shared::aws::deadline::TimeIsUp;
use shared::aws::ecr::EcrWrite;
use shared::aws::eventbridge::EventBridge;
use shared::aws::lambda::Lambda;
use shared::aws::s3::S3;
use shared::aws::sns::Sns;
use shared::aws::sqs::Sqs;
use shared::aws::{AwsError, Connection, Deadline};
use shared::domain::repository::{NotAnArn, Registry};
use shared::domain::text::instant::Instant;
use shared::handlers::http::{Problem, Response, builds, gateway};
use shared::shell::environment::set;
use shared::shell::function::{self, FunctionError, time_left};
use shared::workflows::announce::EventPublisher;
use shared::workflows::start_build::{BuildStarter, Dispatcher, EventError, Stack};

/// Time of an invocation reserved for its answer.
const ANSWER: Duration = Duration::from_millis(500);

/// Why an event failed. Lambda retries asynchronous invocations.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Event(#[from] EventError),
    #[error("the request of the gateway is unreadable: {0}")]
    Gateway(#[from] serde_json::Error),
    #[error(transparent)]
    Arn(#[from] NotAnArn),
    #[error("the time of the function is up: {0}")]
    Time(AwsError),
}

impl FunctionError for Failure {
    fn error_type(&self) -> &'static str {
        match self {
            Failure::Event(EventError::Event(_)) | Failure::Gateway(_) => "InvalidEvent",
            Failure::Event(EventError::Request(_)) => "InvalidRequest",
            Failure::Event(EventError::Start(_)) => "NotStarted",
            Failure::Arn(_) => "Internal",
            Failure::Time(_) => "OutOfTime",
        }
    }
}

/// The clients.
struct Clients {
    connection: Connection,
    ecr: EcrWrite,
    codebuild: CodeBuild,
    events: EventBridge,
    functions: Lambda,
    sns: Sns,
    sqs: Sqs,
    s3: S3,
}

/// The destinations of events that do not start a build.
struct Destinations {
    /// The topic of failed builds.
    topic: String,
    /// The queue of events that wait until the account may build more.
    waiting_queue: String,
}

/// Only a request through the gateway has this.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Gateway<'a> {
    #[serde(borrow)]
    request_context: Option<&'a RawValue>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::shell::log::as_json();
    let stack = &shared::shell::environment::build_stack()?;
    let destinations = &Destinations { topic: set("TOPIC")?, waiting_queue: set("WAITING_QUEUE")? };
    let connection = Connection::from_env();
    let clients = &Clients {
        ecr: connection.ecr_write(),
        codebuild: connection.codebuild(),
        events: connection.events(),
        functions: connection.functions(),
        sns: connection.sns(),
        sqs: connection.sqs(),
        s3: connection.s3(),
        connection,
    };
    function::run(move |event: LambdaEvent<Box<RawValue>>| async move {
        let handled = handle(&event, stack, destinations, clients).await;
        handled.inspect_err(|error| tracing::error!(%error, "did not serve the event"))
    })
    .await
}

async fn handle(
    event: &LambdaEvent<Box<RawValue>>,
    stack: &Stack,
    destinations: &Destinations,
    clients: &Clients,
) -> Result<serde_json::Value, Failure> {
    let LambdaEvent { payload, context } = event;
    let registry = Registry::of_arn(&context.invoked_function_arn)?;
    clients.connection.retry_observer().reset();
    let deadline = Deadline::within(time_left(context), ANSWER);
    let starter = BuildStarter {
        stack,
        registry: &registry,
        ecr: &clients.ecr,
        codebuild: &clients.codebuild,
        functions: &clients.functions,
        s3: &clients.s3,
        deadline,
        request_id: &context.request_id,
    };
    let out_of_time = |TimeIsUp| clients.connection.retry_observer().timeout_cause();
    let is_gateway = serde_json::from_str::<Gateway<'_>>(payload.get());
    if is_gateway.is_ok_and(|gateway| gateway.request_context.is_some()) {
        let response = deadline.order(answer(payload.get(), &starter)).await;
        let response = response.unwrap_or_else(|up| Problem::from(out_of_time(up)).into());
        return Ok(serde_json::to_value(gateway::answer(response))?);
    }
    let announcer = EventPublisher { events: &clients.events, sns: &clients.sns, topic: &destinations.topic };
    let dispatcher =
        Dispatcher { starter, announcer, sqs: &clients.sqs, waiting_queue: &destinations.waiting_queue };
    let served = deadline.order(dispatcher.serve(payload.get(), Instant::now())).await;
    let summary = served.map_err(|up| Failure::Time(out_of_time(up)))??;
    Ok(serde_json::to_value(summary)?)
}

async fn answer(event: &str, starter: &BuildStarter<'_>) -> Response {
    let received = match gateway::Received::read(event) {
        Ok(received) => received,
        Err(problem) => return gateway::refused(problem),
    };
    match builds::route(received.request()) {
        Ok(call) => builds::serve(call, starter, Instant::now()).await,
        Err(problem) => gateway::refused(problem),
    }
}
