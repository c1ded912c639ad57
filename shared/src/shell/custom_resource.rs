//! Answering CloudFormation in time: what a function that is a custom resource does around its work.

use std::time::Duration;

use crate::aws::Deadline;
use crate::aws::response_url::{Callback, CallbackError};
use crate::domain::cloudformation::repository::marker;
use crate::domain::cloudformation::{Answer, Event, ForeignUrl, ResponseUrl};
use crate::domain::repository::{NotAnArn, Registry};
use crate::shell::environment::is_on;

/// Time reserved for sending the answer to CloudFormation, including a second attempt.
const ANSWER: Duration = Duration::from_secs(10);

/// Time reserved for returning to Lambda.
const RETURN: Duration = Duration::from_millis(300);

/// Why CloudFormation gets no answer; Lambda delivers the event again then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unanswered {
    /// The event is none.
    #[error("the event is not one of CloudFormation's custom resources: {0}")]
    Event(#[from] serde_json::Error),
    /// The answer may not go there.
    #[error(transparent)]
    Url(#[from] ForeignUrl),
    /// The function does not know its account.
    #[error(transparent)]
    Arn(#[from] NotAnArn),
    /// The answer is refused.
    #[error(transparent)]
    Callback(#[from] CallbackError),
    /// There was no time.
    #[error("CloudFormation could not be answered in time")]
    OutOfTime,
}

impl Unanswered {
    /// A name for the kind of error, as Lambda's `errorType`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Event(_) => "InvalidEvent",
            Self::Url(_) => "ForeignResponseUrl",
            Self::Arn(_) => "Internal",
            Self::Callback(_) | Self::OutOfTime => "NotAnswered",
        }
    }
}

#[cfg(feature = "function")]
impl crate::shell::function::FunctionError for Unanswered {
    fn error_type(&self) -> &'static str {
        self.kind()
    }
}

/// Sends answers to CloudFormation.
#[derive(Debug, Default)]
pub struct Responder {
    callback: Callback,
    allow_loopback: bool,
}

impl Responder {
    /// The responder of a Lambda function. Its environment says whether an emulator's CloudFormation waits on this machine.
    #[must_use]
    pub fn of_function() -> Self {
        let allow_loopback = is_on("ALLOW_LOOPBACK_RESPONSE_URL");
        Self { callback: Callback::default(), allow_loopback }
    }

    /// Parses a request, has `work` find the answer, and sends it, all before `deadline`. An answer of `None` is sent later by
    /// another function.
    ///
    /// # Errors
    ///
    /// If CloudFormation gets no answer, which is then in the log.
    pub async fn serve(
        &self,
        payload: &str,
        function_arn: &str,
        deadline: std::time::SystemTime,
        work: impl AsyncFnOnce(&Event, &Registry, Deadline) -> Option<Answer>,
    ) -> Result<(), Unanswered> {
        let served: Result<(), Unanswered> = async {
            let time_left = || deadline.duration_since(std::time::SystemTime::now()).unwrap_or_default();
            let event: Event = serde_json::from_str(payload)?;
            let url = ResponseUrl::parse(&event.response_url, self.allow_loopback)?;
            let registry = Registry::of_arn(function_arn)?;
            let left = time_left();
            // Of a short time half is for answering.
            let reserve = ANSWER.min(left / 2);
            let work = work(&event, &registry, Deadline::within(left, reserve));
            let answer = match tokio::time::timeout(left.saturating_sub(reserve / 2), work).await {
                Ok(Some(answer)) => answer,
                Ok(None) => return Ok(()),
                Err(_) => out_of_time(&event),
            };
            match tokio::time::timeout(time_left().saturating_sub(RETURN), self.callback.send(&url, &answer))
                .await
            {
                Ok(sent) => Ok(sent?),
                Err(_) => Err(Unanswered::OutOfTime),
            }
        }
        .await;
        served.inspect_err(|error| tracing::error!(%error, "did not answer CloudFormation"))
    }
}

/// The answer of a request that is not done in time.
fn out_of_time(event: &Event) -> Answer {
    let reason = "the time of the function is up before the request is done; try again, and if it happens again look \
                  into the function's log";
    let physical_id = event.physical_resource_id.clone().unwrap_or_else(|| marker(event));
    Answer::failed(event, physical_id, reason.to_owned())
}
