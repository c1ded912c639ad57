//! Remembers the last retryable error of a call, so that a timeout can report its cause.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_sdk_ecr::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ecr::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use serde::Deserialize;

use super::error::{AwsError, Failure};
use super::xml::element;

/// The number of calls of this process that AWS throttled.
static THROTTLED: AtomicU64 = AtomicU64::new(0);

/// The number of calls of this process that AWS throttled, for whoever waits and wants to know why.
#[must_use]
pub fn throttled_calls() -> u64 {
    THROTTLED.load(Ordering::Relaxed)
}

/// Remembers the error of the last attempt; an attempt that succeeds clears it.
#[derive(Debug, Clone, Default)]
pub struct RetryObserver {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<AwsError>,
    /// The operations that wait for an answer.
    attempts: Vec<String>,
}

impl RetryObserver {
    /// Forgets what was before: another request begins.
    pub fn reset(&self) {
        *self.state() = State::default();
    }

    /// The cause of a timeout: the last retryable error of the call. Ends its attempts.
    #[must_use]
    pub fn timeout_cause(&self) -> AwsError {
        let mut state = self.state();
        let attempts = std::mem::take(&mut state.attempts);
        let in_flight = !attempts.is_empty();
        match (&state.last, attempts.last()) {
            (Some(last), _) => AwsError { in_flight, ..last.clone() },
            (None, Some(operation)) => AwsError {
                operation: Cow::Owned(operation.clone()),
                failure: Failure::TimedOut,
                message: String::new(),
                in_flight,
            },
            // The SDK delayed the call, which it does after throttling.
            (None, None) => AwsError {
                operation: Cow::Borrowed("a call to AWS"),
                failure: Failure::Throttled,
                message: "it was held back, since calls before it were throttled".to_owned(),
                in_flight,
            },
        }
    }

    /// An attempt begins, of a call that no SDK makes.
    #[cfg(feature = "signed")]
    pub(super) fn begin(&self, operation: &str) {
        self.state().attempts.push(operation.to_owned());
    }

    /// An attempt ends, with a retryable error or none.
    pub(super) fn end(&self, operation: &str, error: Option<AwsError>) {
        if error.as_ref().is_some_and(|error| error.failure == Failure::Throttled) {
            THROTTLED.fetch_add(1, Ordering::Relaxed);
        }
        let mut state = self.state();
        if let Some(index) = state.attempts.iter().position(|attempt| attempt == operation) {
            state.attempts.swap_remove(index);
        }
        state.last = error;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The retryable error of the last attempt of a call, for interceptors that come after [`RetryObserver`]; `None` if the service
/// answered.
#[derive(Debug)]
pub(super) struct LastAttempt(pub(super) Option<AwsError>);

impl Storable for LastAttempt {
    type Storer = StoreReplace<Self>;
}

pub(super) fn operation(config: &ConfigBag) -> String {
    config.load::<Metadata>().map(|metadata| metadata.name().to_owned()).unwrap_or_default()
}

#[derive(Deserialize)]
struct ErrorBody<'a> {
    #[serde(borrow, rename = "__type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default, alias = "Message")]
    message: Cow<'a, str>,
}

#[dyn_dispatch_hint]
impl Intercept for RetryObserver {
    fn name(&self) -> &'static str {
        "RetryObserver"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.state().attempts.push(operation(config));
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = operation(config);
        let is_of_s3 = config.load::<Metadata>().is_some_and(|metadata| metadata.service() == "S3");
        let error = retryable_error(context, operation.clone(), is_of_s3);
        config.interceptor_state().store_put(LastAttempt(error.clone()));
        self.end(&operation, error);
        Ok(())
    }
}

/// The error of an attempt that is worth another one; `None` if the service answered, even with a refusal.
fn retryable_error(
    context: &FinalizerInterceptorContextRef<'_>,
    operation: String,
    is_of_s3: bool,
) -> Option<AwsError> {
    let Some(Err(error)) = context.output_or_error() else { return None };
    let body = context.response().and_then(|response| response.body().bytes());
    let parsed = body.and_then(|body| serde_json::from_slice::<ErrorBody<'_>>(body).ok());
    let (failure, message) = match (parsed, context.response()) {
        (Some(body), _) => {
            let code = body.kind.rsplit('#').next().unwrap_or_default();
            (Failure::of_code(code), body.message.into_owned())
        }
        // S3 answers in XML, or with a status alone. A missing object, or a failed precondition, is an answer.
        (None, Some(response)) if is_of_s3 => {
            let text = String::from_utf8_lossy(body.unwrap_or_default());
            let status = response.status().as_u16();
            let code = element(&text, "Code");
            let failure = Failure::of_s3(status, code.as_deref());
            if !matches!(failure, Failure::Throttled | Failure::Unavailable) {
                return None;
            }
            (failure, element(&text, "Message").unwrap_or_else(|| format!("HTTP status {status}")))
        }
        (None, Some(response)) => (Failure::Unavailable, format!("HTTP status {}", response.status())),
        (None, None) if error.is_timeout_error() => (Failure::TimedOut, String::new()),
        (None, None) => (Failure::Unreachable, String::new()),
    };
    tracing::debug!(operation, %failure, message, "an attempt failed");
    let is_transient = failure == Failure::Throttled || failure.outcome_unknown();
    is_transient.then_some(AwsError { operation: Cow::Owned(operation), failure, message, in_flight: false })
}
