//! The shell of a Lambda function: how it starts, how much time an invocation has, and how failures are reported to Lambda.

use std::time::{Duration, SystemTime};

use lambda_runtime::{Context, Diagnostic, Error, LambdaEvent, service_fn};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A failure of a function. Lambda answers a failed invocation with `errorType`, for programs, and `errorMessage`, for people.
pub trait FunctionError: std::error::Error {
    /// The kind of the failure, as `errorType`. State machine, alarms and callers may depend on it, so that it is stable.
    fn error_type(&self) -> &'static str;
}

/// A function whose answers contain all failures never fails.
impl FunctionError for std::convert::Infallible {
    fn error_type(&self) -> &'static str {
        match *self {}
    }
}

/// Serves invocations one after another, until Lambda ends the process.
///
/// # Errors
///
/// When Lambda's runtime API cannot be reached.
pub async fn run<Event, Answer, Failure, Served>(
    handle: impl Fn(LambdaEvent<Event>) -> Served,
) -> Result<(), Error>
where
    Event: DeserializeOwned,
    Answer: Serialize,
    Failure: FunctionError,
    Served: Future<Output = Result<Answer, Failure>>,
{
    lambda_runtime::run(service_fn(|event| {
        let served = handle(event);
        async move {
            served.await.map_err(|failure| Diagnostic {
                error_type: failure.error_type().to_owned(),
                error_message: failure.to_string(),
            })
        }
    }))
    .await
}

/// The time until Lambda stops this invocation; zero when it is over.
#[must_use]
pub fn time_left(context: &Context) -> Duration {
    context.deadline().duration_since(SystemTime::now()).unwrap_or_default()
}
