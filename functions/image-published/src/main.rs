//! Lambda function: publishes the image of a build that ended.
//!
//! What it does is [`shared::workflows::publish_image`]'s; this file only carries events there and answers back.

// The SDK's futures are nested deeper than the compiler follows by default.
#![recursion_limit = "256"]

use std::time::Duration;

use lambda_runtime::LambdaEvent;
use serde_json::value::RawValue;
use shared::aws::codebuild::CodeBuild;
use shared::aws::ecr::EcrWrite;
use shared::aws::eventbridge::EventBridge;
use shared::aws::logs::Logs;
use shared::aws::response_url::Callback;
use shared::aws::s3::S3;
use shared::aws::sns::Sns;
use shared::aws::ssm::Parameters;
use shared::aws::{AwsError, Connection};
use shared::domain::repository::{NotAnArn, Registry};
use shared::domain::text::instant::Instant;
use shared::shell::environment::{Unset, is_on, set};
use shared::shell::function::{self, FunctionError, time_left};
use shared::workflows::announce::EventPublisher;
use shared::workflows::publish_image::{Outcome, PublishError, Publisher};

/// Time of an invocation reserved for its answer.
const ANSWER: Duration = Duration::from_millis(500);

/// Why an event is not served; Lambda delivers it again.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Arn(#[from] NotAnArn),
    #[error("the time of the function is up: {0}")]
    Time(AwsError),
}

impl FunctionError for Failure {
    fn error_type(&self) -> &'static str {
        match self {
            Failure::Publish(PublishError::Event(_)) => "InvalidEvent",
            Failure::Publish(PublishError::BuildContext(..)) => "InvalidBuildContext",
            Failure::Publish(_) => "NotPublished",
            Failure::Arn(_) => "Internal",
            Failure::Time(_) => "OutOfTime",
        }
    }
}

/// The clients, which are kept between events.
struct Function {
    stack_name: String,
    bucket: String,
    topic: String,
    allow_loopback: bool,
    connection: Connection,
    ecr: EcrWrite,
    codebuild: CodeBuild,
    events: EventBridge,
    sns: Sns,
    logs: Logs,
    s3: S3,
    parameters: Parameters,
    callback: Callback,
}

impl Function {
    fn new() -> Result<Self, Unset> {
        let connection = Connection::from_env();
        Ok(Self {
            stack_name: set("STACK_NAME")?,
            bucket: set("BUCKET")?,
            topic: set("TOPIC")?,
            // An emulator's CloudFormation waits on this machine.
            allow_loopback: is_on("ALLOW_LOOPBACK_RESPONSE_URL"),
            ecr: connection.ecr_write(),
            codebuild: connection.codebuild(),
            events: connection.events(),
            sns: connection.sns(),
            logs: connection.logs(),
            s3: connection.s3(),
            parameters: connection.parameters(),
            callback: Callback::default(),
            connection,
        })
    }

    async fn handle(&self, event: &LambdaEvent<Box<RawValue>>) -> Result<Outcome, Failure> {
        let LambdaEvent { payload, context } = event;
        let registry = Registry::of_arn(&context.invoked_function_arn)?;
        self.connection.retry_observer().reset();
        let publisher = Publisher {
            stack_name: &self.stack_name,
            bucket: &self.bucket,
            registry: &registry,
            ecr: &self.ecr,
            codebuild: &self.codebuild,
            logs: &self.logs,
            announcer: EventPublisher { events: &self.events, sns: &self.sns, topic: &self.topic },
            s3: &self.s3,
            parameters: &self.parameters,
            callback: &self.callback,
            allow_loopback: self.allow_loopback,
        };
        let left = time_left(context).saturating_sub(ANSWER);
        match tokio::time::timeout(left, publisher.serve(payload.get(), Instant::now())).await {
            Ok(served) => Ok(served?),
            Err(_) => Err(Failure::Time(self.connection.retry_observer().timeout_cause())),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::shell::log::as_json();
    let function = &Function::new()?;
    function::run(move |event: LambdaEvent<Box<RawValue>>| async move {
        let handled = function.handle(&event).await;
        handled.inspect_err(|error| tracing::error!(%error, "did not serve the event"))
    })
    .await
}
