//! Limits the rate of calls to ECR below the rate at which ECR throttles, for each operation by itself, as ECR counts them.
//!
//! The SDK's adaptive retries have no limit until the first call is throttled, and are then slow for seconds. How the rate changes
//! here, [`CallRate`] decides.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_ecr::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ecr::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::FinalizerInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use tokio::time::Instant;

use super::error::Failure;
use super::retry_observer::{LastAttempt, operation};
use crate::domain::call_rate::CallRate;

/// Initial rate of each operation, in calls a second. AWS does not publish its limits for most operations; measured limits begin
/// there.
pub(super) const REQUESTS_PER_SECOND: f64 = 20.0;

/// The rates of all operations over one connection. Its clones share them.
#[derive(Debug, Clone)]
pub(super) struct RateLimiter {
    /// `None` for calls that must not wait.
    rates: Option<Arc<Mutex<Rates>>>,
}

#[derive(Debug)]
struct Rates {
    /// The rate that is shared with others, in calls a second.
    whole: f64,
    /// How many share it.
    workers: u32,
    began: Instant,
    by_operation: HashMap<String, CallRate>,
}

impl Rates {
    fn of(&mut self, operation: &str) -> (&mut CallRate, Duration) {
        let now = self.began.elapsed();
        let rate = self.by_operation.entry(operation.to_owned());
        (rate.or_insert_with(|| CallRate::new(self.whole, self.workers, now)), now)
    }
}

impl RateLimiter {
    /// A limiter whose operations begin at this rate, in calls a second.
    pub(super) fn new(per_second: f64) -> Self {
        let rates =
            Rates { whole: per_second, workers: 1, began: Instant::now(), by_operation: HashMap::new() };
        Self { rates: Some(Arc::new(Mutex::new(rates))) }
    }

    /// No limit: for the few calls that put things in order when there is hardly any time left.
    pub(super) const fn unlimited() -> Self {
        Self { rates: None }
    }

    /// Shares the rate of each operation with other processes: this many work at the same time, this one included.
    pub(super) fn share(&self, workers: u32) {
        let Some(rates) = &self.rates else { return };
        let mut rates = rates.lock().unwrap_or_else(PoisonError::into_inner);
        if rates.workers == workers {
            return;
        }
        rates.workers = workers;
        let (whole, now) = (rates.whole, rates.began.elapsed());
        rates.by_operation.values_mut().for_each(|rate| rate.share(whole, workers, now));
    }

    /// Waits until a call of this operation may be made.
    pub(super) async fn wait(&self, operation: &str) {
        let wait = self.with(operation, CallRate::reserve);
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            tokio::time::sleep(wait).await;
        }
    }

    fn with<T>(&self, operation: &str, change: impl FnOnce(&mut CallRate, Duration) -> T) -> Option<T> {
        let rates = self.rates.as_ref()?;
        let mut rates = rates.lock().unwrap_or_else(PoisonError::into_inner);
        let (rate, now) = rates.of(operation);
        Some(change(rate, now))
    }
}

#[dyn_dispatch_hint]
impl Intercept for RateLimiter {
    fn name(&self) -> &'static str {
        "RateLimiter"
    }

    fn read_after_attempt(
        &self,
        _: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = operation(config);
        // The retry observer, which comes before, has parsed the answer.
        let Some(LastAttempt(error)) = config.load::<LastAttempt>() else {
            return Err("the rate limiter needs a retry observer before it".into());
        };
        match error {
            Some(error) if error.failure == Failure::Throttled => {
                self.with(&operation, |rate, now| {
                    rate.lower(now);
                    // The next attempt is a call, too.
                    rate.reserve(now);
                });
            }
            // Nothing is known of a call without an answer.
            Some(_) => {}
            None => {
                self.with(&operation, CallRate::raise);
            }
        }
        Ok(())
    }
}
