//! What the last attempt of a call ran into. When time runs out while a call waits for its next attempt, this is why.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_ecr::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ecr::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::FinalizerInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use serde::Deserialize;

use super::error::{AwsError, Failure};

/// Notes the trouble of each attempt; a good one clears it.
#[derive(Debug, Clone, Default)]
pub struct Trouble {
    last: Arc<Mutex<Option<AwsError>>>,
}

impl Trouble {
    /// Forgets what was before.
    pub fn forget(&self) {
        self.set(None);
    }

    /// Why a call was not done when time was up.
    #[must_use]
    pub fn explain(&self) -> AwsError {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        last.unwrap_or(AwsError {
            operation: Cow::Borrowed("the call to AWS"),
            failure: Failure::TimedOut,
            message: String::new(),
        })
    }

    fn set(&self, trouble: Option<AwsError>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

#[derive(Deserialize)]
struct ErrorBody<'a> {
    #[serde(borrow, rename = "__type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default, alias = "Message")]
    message: Cow<'a, str>,
}

#[dyn_dispatch_hint]
impl Intercept for Trouble {
    fn name(&self) -> &'static str {
        "Trouble"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(Err(error)) = context.output_or_error() else {
            self.forget();
            return Ok(());
        };
        let operation = config.load::<Metadata>().map(|metadata| metadata.name().to_owned());
        let body = context.response().and_then(|response| response.body().bytes());
        let told = body.and_then(|body| serde_json::from_slice::<ErrorBody<'_>>(body).ok());
        let (failure, message) = match (told, context.response()) {
            (Some(body), _) => {
                let code = body.kind.rsplit('#').next().unwrap_or_default();
                (Failure::of_code(code), body.message.into_owned())
            }
            (None, Some(response)) => (Failure::Unavailable, format!("HTTP status {}", response.status())),
            (None, None) if error.is_timeout_error() => (Failure::TimedOut, String::new()),
            (None, None) => (Failure::Unreachable, String::new()),
        };
        let operation = operation.map_or(Cow::Borrowed("a call"), Cow::Owned);
        tracing::debug!(%operation, %failure, message, "an attempt failed");
        self.set(Some(AwsError { operation, failure, message }));
        Ok(())
    }
}
