//! Limits the rate of calls to ECR below the rate at which ECR throttles, for each operation by itself, as ECR counts them.
//!
//! The SDK's adaptive retries have no limit until the first call is throttled, and are then slow for seconds. Here the rate
//! begins at a configured value, falls to [`LOWERED`] of itself when ECR throttles, returns quickly to just below where that was,
//! and grows slowly from there.

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

/// Initial rate of each operation, in calls a second. AWS does not publish its limits for most operations; measured limits begin
/// there.
pub(super) const REQUESTS_PER_SECOND: f64 = 20.0;
/// The rate is never lower, in calls a second.
const LOWEST: f64 = 1.0;
/// The rate is never higher, in calls a second.
const HIGHEST: f64 = 10_000.0;
/// Throttling within this time after a reduction is caused by calls at the rate before.
const ONE_EVENT: Duration = Duration::from_millis(500);
/// Size of the bucket, in seconds of the rate. Less than ECR's burst at the same rate, since clocks and networks are not exact.
const BURST: f64 = 0.95;
/// The part of the rate that is left when ECR throttles.
const LOWERED: f64 = 0.6;
/// The part of the rate at which ECR throttled that is aimed for afterwards.
const BELOW: f64 = 0.95;
/// Growth of the rate up to [`BELOW`], as a part of it for each second.
const BACK: f64 = 0.4;
/// Growth of the rate in a second in which it limits calls, before the first throttling and after it.
const UNTRIED: f64 = 0.05;
const TRIED: f64 = 0.005;

/// The rate of one operation. Times are relative to a fixed moment in the past.
#[derive(Debug, Clone, PartialEq)]
struct Rate {
    per_second: f64,
    /// Calls that may be made at once; negative where they are promised to those who wait.
    tokens: f64,
    counted_at: Duration,
    /// The rate to come back to, and when ECR throttled last.
    throttled: Option<(f64, Duration)>,
    grown_at: Duration,
}

impl Rate {
    fn new(per_second: f64, now: Duration) -> Self {
        let per_second = per_second.clamp(LOWEST, HIGHEST);
        Self { per_second, tokens: per_second * BURST, counted_at: now, throttled: None, grown_at: now }
    }

    fn refill(&mut self, now: Duration) {
        let seconds = now.saturating_sub(self.counted_at).as_secs_f64();
        self.tokens = (self.tokens + seconds * self.per_second).min(self.per_second * BURST);
        self.counted_at = now;
    }

    /// Reserves a call, which may be made after the returned time.
    fn reserve(&mut self, now: Duration) -> Duration {
        self.refill(now);
        self.tokens -= 1.0;
        Duration::from_secs_f64((-self.tokens / self.per_second).max(0.0))
    }

    /// ECR throttled a call.
    fn lower(&mut self, now: Duration) {
        self.refill(now);
        if self.throttled.is_some_and(|(_, at)| now < at + ONE_EVENT) {
            return;
        }
        self.throttled = Some(((self.per_second * BELOW).max(LOWEST), now));
        self.per_second = (self.per_second * LOWERED).max(LOWEST);
        // What ECR has left over is none.
        self.tokens = self.tokens.min(0.0);
        self.grown_at = now;
    }

    /// ECR answered a call.
    fn raise(&mut self, now: Duration) {
        self.refill(now);
        let seconds = now.saturating_sub(self.grown_at).as_secs_f64().min(1.0);
        self.grown_at = now;
        // Calls below the rate say nothing about ECR's limit.
        if self.tokens > self.per_second / 2.0 {
            return;
        }
        self.per_second = match self.throttled {
            Some((aim, _)) if self.per_second < aim => (self.per_second + aim * BACK * seconds).min(aim),
            Some(_) => self.per_second * (1.0 + TRIED * seconds),
            None => self.per_second * (1.0 + UNTRIED * seconds),
        };
        self.per_second = self.per_second.min(HIGHEST);
    }
}

/// The rates of all operations over one connection. Its clones share them.
#[derive(Debug, Clone)]
pub(super) struct RateLimiter {
    /// `None` for calls that must not wait.
    rates: Option<Arc<Mutex<Rates>>>,
}

#[derive(Debug)]
struct Rates {
    first: f64,
    began: Instant,
    by_operation: HashMap<String, Rate>,
}

impl Rates {
    fn of(&mut self, operation: &str) -> (&mut Rate, Duration) {
        let now = self.began.elapsed();
        let rate = self.by_operation.entry(operation.to_owned());
        (rate.or_insert_with(|| Rate::new(self.first, now)), now)
    }
}

impl RateLimiter {
    /// A limiter whose operations begin at this rate, in calls a second.
    pub(super) fn new(per_second: f64) -> Self {
        let rates = Rates { first: per_second, began: Instant::now(), by_operation: HashMap::new() };
        Self { rates: Some(Arc::new(Mutex::new(rates))) }
    }

    /// No limit: for the few calls that put things in order when there is hardly any time left.
    pub(super) const fn unlimited() -> Self {
        Self { rates: None }
    }

    /// Waits until a call of this operation may be made.
    pub(super) async fn wait(&self, operation: &str) {
        let wait = self.with(operation, Rate::reserve);
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            tokio::time::sleep(wait).await;
        }
    }

    fn with<T>(&self, operation: &str, change: impl FnOnce(&mut Rate, Duration) -> T) -> Option<T> {
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
                self.with(&operation, Rate::raise);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A limit as ECR has one: a bucket that is refilled, and full in the beginning.
    struct Limit {
        per_second: f64,
        left: f64,
        at: Duration,
    }

    impl Limit {
        fn takes(&mut self, now: Duration) -> bool {
            let earned = (now - self.at).as_secs_f64() * self.per_second;
            (self.left, self.at) = ((self.left + earned).min(self.per_second), now);
            let is_taken = self.left >= 1.0;
            self.left -= f64::from(u8::from(is_taken));
            is_taken
        }
    }

    /// The cost of calls that some workers make one after another: the throttled part, and the time relative to the minimum.
    fn cost(first: f64, limit: f64, workers: usize, calls: u32, latency: Duration) -> (f64, f64) {
        let mut ecr = Limit { per_second: limit, left: limit, at: Duration::ZERO };
        let mut rate = Rate::new(first, Duration::ZERO);
        // When each worker makes its next attempt, the next number of attempts, and whether it has a place already.
        let mut next: Vec<(Duration, u32, bool)> = vec![(Duration::ZERO, 0, false); workers];
        let (mut done, mut throttled, mut end) = (0, 0, Duration::ZERO);
        while done < calls {
            let (now, attempts, is_reserved) = *next.iter().min().unwrap();
            let worker = next.iter().position(|one| *one == (now, attempts, is_reserved)).unwrap();
            if !is_reserved {
                let wait = rate.reserve(now);
                next[worker] = (now + wait, 0, true);
                continue;
            }
            let answered = now + latency;
            end = end.max(answered);
            if ecr.takes(now) {
                rate.raise(now);
                done += 1;
                next[worker] = (answered, 0, false);
            } else {
                throttled += 1;
                rate.lower(now);
                rate.reserve(now);
                // As the SDK: twice as long after each attempt, without its dice.
                let backoff = Duration::from_millis(100) * 2_u32.pow(attempts.min(5));
                next[worker] = (answered + backoff, attempts + 1, true);
            }
        }
        let least = (f64::from(calls) - limit).max(0.0) / limit;
        let least = least.max(f64::from(calls) * latency.as_secs_f64() / workers as f64);
        (f64::from(throttled) / f64::from(calls + throttled), end.as_secs_f64() / least)
    }

    #[test]
    fn at_its_configured_limit_little_is_throttled_and_hardly_any_time_is_lost() {
        for workers in [1, 2, 4, 8] {
            for calls in [51, 101, 401, 2_002] {
                for limit in [20.0, 100.0] {
                    let (throttled, time) = cost(limit, limit, workers, calls, Duration::from_millis(5));
                    let what =
                        format!("{workers} workers, {calls} calls at {limit}/s: {throttled:.3}, {time:.2}");
                    assert!(throttled <= 0.03 && time <= 1.15, "{what}");
                }
            }
        }
    }

    #[test]
    fn a_limit_that_is_lower_than_the_configured_one_is_found() {
        for limit in [5.0, 10.0, 15.0] {
            let (throttled, time) = cost(20.0, limit, 8, 1_000, Duration::from_millis(50));
            assert!(throttled <= 0.07 && time <= 1.25, "{limit}: {throttled:.3} {time:.2}");
        }
    }

    #[test]
    fn a_limit_that_is_higher_than_the_configured_one_is_used_in_the_end() {
        let (throttled, time) = cost(20.0, 100.0, 16, 5_000, Duration::from_millis(50));
        assert!(throttled <= 0.01 && time <= 1.4, "{throttled:.3} {time:.2}");
    }

    #[test]
    fn calls_that_nothing_holds_back_do_not_raise_the_rate() {
        let mut rate = Rate::new(20.0, Duration::ZERO);
        for second in 0..1_000 {
            let now = Duration::from_secs(second);
            assert_eq!(rate.reserve(now), Duration::ZERO);
            rate.raise(now);
        }
        assert!((rate.per_second - 20.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_rate_never_ends_below_one_call_a_second() {
        let mut rate = Rate::new(20.0, Duration::ZERO);
        for second in 0..100 {
            rate.lower(Duration::from_secs(second));
        }
        let waits = [(); 3].map(|()| rate.reserve(Duration::from_secs(200)));
        assert!(waits[0] < waits[1] && waits[2] < Duration::from_secs(3), "{waits:?}");
    }
}
