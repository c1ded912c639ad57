//! Lambda function: reports what its account uses in its Region, as a list in the bucket of another account's registry.
//!
//! What it does is [`shared::workflows::enforcement::report_usage`]'s; this file only reads the environment and answers.

// The SDK's futures are nested deeper than the compiler follows by default.
#![recursion_limit = "256"]

use lambda_runtime::LambdaEvent;
use serde::de::IgnoredAny;
use shared::aws::Connection;
use shared::domain::enforcement::policy_set::{Sources, Stacks};
use shared::domain::repository::{NotAnArn, Registry};
use shared::shell::environment::{is_on, set};
use shared::shell::function::{self, FunctionError, time_left};
use shared::workflows::enforcement::report_usage::{Destination, Place, report_usage};
use shared::workflows::enforcement::{AwsClients, RunError};

/// What writes the list, and its version.
const PROGRAM: &str = concat!("usage-report ", env!("CARGO_PKG_VERSION"));

/// Why no list was written.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no list was written, and the last one gets older: {0}")]
    RunError(#[from] RunError),
    #[error(transparent)]
    Arn(#[from] NotAnArn),
}

impl FunctionError for Failure {
    fn error_type(&self) -> &'static str {
        match self {
            Failure::RunError(error) => error.kind(),
            Failure::Arn(_) => "Internal",
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::shell::log::as_json();
    let destination = &Destination {
        bucket: set("BUCKET")?,
        owner: Some(set("REGISTRY_ACCOUNT")?),
        region: set("REGISTRY_REGION")?,
    };
    let sources = &Sources {
        task_definition_revisions: set("TASK_DEFINITION_REVISIONS")?.parse()?,
        stacks: if is_on("READ_STACKS") { Stacks::Everywhere } else { Stacks::Unread },
        ..Sources::default()
    };
    // Nothing is read from a bucket: what the registry's has in it is not this account's to know.
    let clients = &AwsClients::new(Connection::from_env(), String::new());
    function::run(move |event: LambdaEvent<IgnoredAny>| async move {
        let LambdaEvent { context, .. } = event;
        let Registry { account_id: account, region, .. } = Registry::of_arn(&context.invoked_function_arn)?;
        let place = Place { account, region, program: PROGRAM.to_owned() };
        let left = time_left(&context);
        let reported = report_usage(clients, sources, destination, place, left).await;
        Ok::<_, Failure>(
            reported.inspect_err(|error| tracing::error!(%error, "did not report what is in use"))?,
        )
    })
    .await
}
