//! The rate of calls of one operation, below the rate at which ECR throttles it: the arithmetic, without a clock.
//!
//! The rate begins at a configured value, which is ECR's limit or a part of it, falls when ECR throttles,
//! returns quickly to just below where the limit is, and grows slowly from there.

use std::time::Duration;

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
/// The same where ECR throttles at about the configured rate: its limit is known, and only its bucket has to fill again.
const LOWERED_AT_LIMIT: f64 = 0.7;
/// The part of ECR's limit that is aimed for afterwards.
const BELOW: f64 = 0.95;
/// If ECR throttles a rate between these parts of the configured one, it throttles at about the configured rate.
const AT_LIMIT: std::ops::RangeInclusive<f64> = 0.75..=1.25;
/// Growth of the rate up to [`BELOW`], as a part of it for each second.
const BACK: f64 = 0.4;
/// Growth of the rate in a second in which it limits calls, before the first throttling and after it. The former is divided by the
/// number of functions: one that is throttled less than another one must not take its place. It also comes later by the square of that
/// number, since the registry's limit is tried by all of them at once.
const UNTRIED: f64 = 0.06;
const TRIED: f64 = 0.005;
/// Seconds until an untried rate grows by [`UNTRIED`]. A run that is shorter stays at what is configured.
const PATIENCE: f64 = 15.0;

/// The rate of one operation. Times are relative to a fixed moment in the past.
#[derive(Debug, Clone, PartialEq)]
pub struct CallRate {
    /// What it begins at, in calls a second.
    configured: f64,
    /// How many functions share the rate, this one included.
    functions: f64,
    per_second: f64,
    /// Calls that may be made at once; negative where they are promised to those who wait.
    tokens: f64,
    counted_at: Duration,
    /// When the last call is made that waits.
    promised_at: Duration,
    /// The rate to come back to, and when ECR throttled last.
    throttled: Option<(f64, Duration)>,
    grown_at: Duration,
    began_at: Duration,
}

impl CallRate {
    /// A rate that begins at this many calls a second with a full bucket, or at its share if several functions work side by side.
    #[must_use]
    pub fn new(per_second: f64, functions: u32, now: Duration) -> Self {
        let (configured, functions) = share(per_second, functions);
        Self {
            configured,
            functions,
            per_second: configured,
            tokens: configured * BURST,
            counted_at: now,
            promised_at: now,
            throttled: None,
            grown_at: now,
            began_at: now,
        }
    }

    /// Shares the same rate among more or fewer functions. What is known of ECR's limit is known of the same part of it.
    pub fn share(&mut self, per_second: f64, functions: u32, now: Duration) {
        self.refill(now);
        let (configured, functions) = share(per_second, functions);
        let ratio = configured / self.configured;
        let in_bounds = |rate: f64| (rate * ratio).clamp(LOWEST, HIGHEST);
        self.per_second = in_bounds(self.per_second);
        self.throttled = self.throttled.map(|(aim, at)| (in_bounds(aim), at));
        self.tokens = self.tokens.min(self.per_second * BURST);
        (self.configured, self.functions) = (configured, functions);
    }

    fn refill(&mut self, now: Duration) {
        let seconds = now.saturating_sub(self.counted_at).as_secs_f64();
        self.tokens = (self.tokens + seconds * self.per_second).min(self.per_second * BURST);
        self.counted_at = self.counted_at.max(now);
    }

    /// Reserves a call, which may be made after the returned time.
    pub fn reserve(&mut self, now: Duration) -> Duration {
        self.refill(now);
        self.tokens -= 1.0;
        let mut at = now + Duration::from_secs_f64((-self.tokens / self.per_second).max(0.0));
        // A rate that has grown does not overtake calls that were promised before.
        if self.promised_at > now {
            at = at.max(self.promised_at + Duration::from_secs_f64(1.0 / self.per_second));
        }
        self.promised_at = self.promised_at.max(at);
        at.saturating_sub(now)
    }

    /// ECR throttled a call.
    pub fn lower(&mut self, now: Duration) {
        self.refill(now);
        if self.throttled.is_some_and(|(_, at)| now < at + ONE_EVENT) {
            return;
        }
        let (limit, left) = match AT_LIMIT.contains(&(self.per_second / self.configured)) {
            true => (self.per_second.min(self.configured), LOWERED_AT_LIMIT),
            false => (self.per_second, LOWERED),
        };
        self.throttled = Some(((limit * BELOW).max(LOWEST), now));
        self.per_second = (limit * left).max(LOWEST);
        // What ECR has left over is none.
        self.tokens = self.tokens.min(0.0);
        self.grown_at = now;
    }

    /// ECR answered a call.
    pub fn raise(&mut self, now: Duration) {
        self.refill(now);
        let seconds = now.saturating_sub(self.grown_at).as_secs_f64().min(1.0);
        self.grown_at = now;
        // Calls below the rate say nothing about ECR's limit.
        if self.tokens > self.per_second / 2.0 {
            return;
        }
        let seconds_tried = now.saturating_sub(self.began_at).as_secs_f64();
        let patience = PATIENCE * self.functions * self.functions;
        let untried = UNTRIED / self.functions * (seconds_tried / patience).min(1.0);
        self.per_second = match self.throttled {
            Some((aim, _)) if self.per_second < aim => (self.per_second + aim * BACK * seconds).min(aim),
            Some(_) => self.per_second * (1.0 + TRIED * seconds),
            None => self.per_second * (1.0 + untried * seconds),
        };
        self.per_second = self.per_second.min(HIGHEST);
    }
}

/// The share of one of several functions, and their number.
fn share(per_second: f64, functions: u32) -> (f64, f64) {
    let functions = f64::from(functions.max(1));
    ((per_second / functions).clamp(LOWEST, HIGHEST), functions)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A limit as ECR has one: a bucket that is refilled, and full in the beginning.
    struct Limit {
        per_second: f64,
        left: f64,
        at: Duration,
    }

    impl Limit {
        fn takes(&mut self, now: Duration) -> bool {
            let earned = now.saturating_sub(self.at).as_secs_f64() * self.per_second;
            (self.left, self.at) = ((self.left + earned).min(self.per_second), now.max(self.at));
            let is_taken = self.left >= 1.0;
            self.left -= f64::from(u8::from(is_taken));
            is_taken
        }
    }

    /// Calls that functions make side by side, each with its share of the configured rate and a part of the calls.
    #[derive(Debug, Clone, Copy)]
    struct Calls {
        configured: f64,
        limit: f64,
        functions: usize,
        /// Calls that each function makes at the same time.
        tasks: usize,
        calls: usize,
        latency: Duration,
    }

    /// When a task makes its next attempt, the number of attempts, and whether it has a place already.
    type Next = (Duration, u32, bool);

    impl Calls {
        /// The throttled part of all calls, and the time relative to the minimum.
        fn cost(self) -> (f64, f64) {
            let Self { configured, limit, functions, tasks, calls, latency } = self;
            let mut ecr = Limit { per_second: limit, left: limit, at: Duration::ZERO };
            let rate = CallRate::new(configured, functions as u32, Duration::ZERO);
            let mut rates = vec![rate; functions];
            let mut left: Vec<usize> =
                (0..functions).map(|n| calls * (n + 1) / functions - calls * n / functions).collect();
            let mut next: Vec<Option<Next>> = vec![Some((Duration::ZERO, 0, false)); functions * tasks];
            let (mut throttled, mut end) = (0_u32, Duration::ZERO);
            // The fractional parts of multiples of the golden ratio are as dice, and the same in each test.
            let mut throws = 0_u32;
            let mut dice = || {
                throws += 1;
                (f64::from(throws) * 0.618_033_988_749_895).fract()
            };
            while let Some((now, task)) =
                next.iter().enumerate().filter_map(|(task, next)| Some((next.as_ref()?.0, task))).min()
            {
                let function = task / tasks;
                let (_, attempts, is_reserved) = next[task].unwrap();
                if !is_reserved {
                    next[task] = (left[function] > 0).then(|| (now + rates[function].reserve(now), 0, true));
                    left[function] = left[function].saturating_sub(1);
                    continue;
                }
                let answered = now + latency.mul_f64(0.5 + dice());
                end = end.max(answered);
                if ecr.takes(now) {
                    rates[function].raise(now);
                    next[task] = Some((answered, 0, false));
                } else {
                    throttled += 1;
                    rates[function].lower(now);
                    rates[function].reserve(now);
                    // As the SDK: up to twice as long after each attempt.
                    let backoff = (Duration::from_millis(200) * 2_u32.pow(attempts.min(4))).mul_f64(dice());
                    next[task] = Some((answered + backoff, attempts + 1, true));
                }
            }
            let calls = calls as f64;
            let least = (calls - limit).max(0.0) / limit;
            let least = least.max(calls * latency.as_secs_f64() / (functions * tasks) as f64);
            (f64::from(throttled) / (calls + f64::from(throttled)), end.as_secs_f64() / least)
        }
    }

    #[test]
    fn at_its_configured_limit_little_is_throttled_and_hardly_any_time_is_lost() {
        let latency = Duration::from_millis(5);
        for tasks in [1, 2, 4, 8] {
            for calls in [51, 101, 401, 2_002] {
                for limit in [20.0, 100.0] {
                    let all = Calls { configured: limit, limit, functions: 1, tasks, calls, latency };
                    let (throttled, time) = all.cost();
                    assert!(throttled <= 0.03 && time <= 1.15, "{all:?}: {throttled:.3}, {time:.2}");
                }
            }
        }
    }

    #[test]
    fn two_functions_with_half_of_the_rate_each_are_throttled_as_little_and_lose_as_little_time() {
        for latency in [5, 30, 100].map(Duration::from_millis) {
            for calls in [51, 101, 250, 400, 500, 2_000] {
                let all = Calls { configured: 20.0, limit: 20.0, functions: 2, tasks: 4, calls, latency };
                let (throttled, time) = all.cost();
                assert!(throttled <= 0.03 && time <= 1.15, "{all:?}: {throttled:.3}, {time:.2}");
            }
        }
    }

    #[test]
    fn a_limit_that_is_lower_than_the_configured_one_is_found() {
        for limit in [5.0, 10.0, 15.0] {
            let latency = Duration::from_millis(50);
            let all = Calls { configured: 20.0, limit, functions: 1, tasks: 8, calls: 1_000, latency };
            let (throttled, time) = all.cost();
            assert!(throttled <= 0.07 && time <= 1.25, "{limit}: {throttled:.3} {time:.2}");
        }
    }

    #[test]
    fn a_limit_that_is_higher_than_the_configured_one_is_used_in_the_end() {
        let latency = Duration::from_millis(50);
        let all = Calls { configured: 20.0, limit: 100.0, functions: 1, tasks: 16, calls: 5_000, latency };
        let (throttled, time) = all.cost();
        assert!(throttled <= 0.01 && time <= 1.4, "{throttled:.3} {time:.2}");
    }

    #[test]
    fn calls_that_nothing_holds_back_do_not_raise_the_rate() {
        let mut rate = CallRate::new(20.0, 1, Duration::ZERO);
        for second in 0..1_000 {
            let now = Duration::from_secs(second);
            assert_eq!(rate.reserve(now), Duration::ZERO);
            rate.raise(now);
        }
        assert!((rate.per_second - 20.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_rate_never_ends_below_one_call_a_second() {
        let mut rate = CallRate::new(20.0, 1, Duration::ZERO);
        for second in 0..100 {
            rate.lower(Duration::from_secs(second));
        }
        let waits = [(); 3].map(|()| rate.reserve(Duration::from_secs(200)));
        assert!(waits[0] < waits[1] && waits[2] < Duration::from_secs(3), "{waits:?}");
    }

    #[test]
    fn another_share_keeps_what_is_known_of_the_limit_and_adds_no_burst() {
        let mut rate = CallRate::new(20.0, 1, Duration::ZERO);
        rate.lower(Duration::from_secs(1));
        let (aim, _) = rate.throttled.unwrap();
        rate.share(20.0, 2, Duration::from_secs(1));
        assert_eq!(rate.throttled.unwrap().0, aim / 2.0);
        rate.share(20.0, 1, Duration::from_secs(1));
        assert_eq!(rate.throttled.unwrap().0, aim);
        assert!(rate.tokens <= 0.0, "{rate:?}");
        let mut full = CallRate::new(20.0, 1, Duration::ZERO);
        full.share(20.0, 2, Duration::ZERO);
        let at_once = (0..20).filter(|_| full.reserve(Duration::ZERO).is_zero()).count();
        assert_eq!(at_once, 9);
    }

    /// What happens to a rate.
    #[derive(Debug, Clone, Copy)]
    enum Happens {
        Call,
        Answer,
        Throttling,
    }

    fn happening() -> impl Strategy<Value = (u64, Happens)> {
        let what = prop_oneof![
            8 => Just(Happens::Call),
            4 => Just(Happens::Answer),
            1 => Just(Happens::Throttling),
        ];
        (0_u64..120, what)
    }

    proptest! {
        #[test]
        fn no_second_has_more_calls_than_the_highest_rate_and_one_burst(
            configured in 1.0_f64..200.0,
            happenings in proptest::collection::vec(happening(), 1..600),
        ) {
            let mut rate = CallRate::new(configured, 1, Duration::ZERO);
            let mut now = Duration::ZERO;
            let mut highest = rate.per_second;
            let mut calls = Vec::new();
            for (milliseconds, happens) in happenings {
                now += Duration::from_millis(milliseconds);
                match happens {
                    Happens::Call => calls.push(now + rate.reserve(now)),
                    Happens::Answer => rate.raise(now),
                    Happens::Throttling => rate.lower(now),
                }
                highest = highest.max(rate.per_second);
            }
            calls.sort();
            let most = highest * (1.0 + BURST) + 1.0;
            for (first, call) in calls.iter().enumerate() {
                let in_second = calls[first..].iter().take_while(|other| **other < *call + Duration::from_secs(1));
                let count = in_second.count();
                prop_assert!(count as f64 <= most, "{count} calls from {call:?} on, at {highest} a second");
            }
        }

        #[test]
        fn whatever_the_limit_is_few_calls_are_throttled_where_it_is_configured(
            limit in 20.0_f64..150.0,
            functions in 1_usize..3,
            tasks in 2_usize..9,
            seconds in 20_usize..100,
            latency in 1_u64..20,
        ) {
            let calls = (limit * seconds as f64) as usize;
            let latency = Duration::from_millis(latency);
            let all = Calls { configured: limit, limit, functions, tasks, calls, latency };
            let (throttled, time) = all.cost();
            // Finding the limit takes a few calls, and once more where two functions find it.
            let few = 2.0 * functions as f64 / calls as f64;
            prop_assert!(throttled <= 0.03 + few, "{throttled:.3}");
            // Of two functions one may have bad luck for long, and is late.
            prop_assert!(functions > 1 || time <= 1.15, "{time:.2}");
        }
    }
}
