//! Deadlines: a Lambda function that is cut off answers nobody.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// The end of the time for work, and the end of the time for a rollback after that.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    work: Instant,
    order: Instant,
}

/// The time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time is up")]
pub struct TimeIsUp;

impl Deadline {
    /// Splits what is left of an invocation: the answer keeps `answer` for itself, and a fifth of the rest, three
    /// seconds at most, is for putting things in order.
    #[must_use]
    pub fn within(left: Duration, answer: Duration) -> Self {
        let left = left.saturating_sub(answer);
        let order = Instant::now() + left;
        let reserve = (left / 5).min(Duration::from_secs(3));
        Self { work: order.checked_sub(reserve).unwrap_or(order), order }
    }

    /// The same deadline with less time for work, or half of what is left, to reserve time for what follows.
    #[must_use]
    pub fn keeping(self, time: Duration) -> Self {
        let left = self.work.saturating_duration_since(Instant::now());
        let work = self.work.checked_sub(time.min(left / 2)).unwrap_or(self.work);
        Self { work, ..self }
    }

    /// Does work until the time for it is over.
    ///
    /// # Errors
    ///
    /// If the time is over. The work is dropped where it is.
    pub async fn work<T>(&self, work: impl Future<Output = T>) -> Result<T, TimeIsUp> {
        timeout_at(self.work, work).await.map_err(|_| TimeIsUp)
    }

    /// Whether this much time is left for work.
    #[must_use]
    pub fn has(&self, time: Duration) -> bool {
        Instant::now().checked_add(time).is_some_and(|end| end <= self.work)
    }

    /// Rolls back until the time for rollbacks is over.
    ///
    /// # Errors
    ///
    /// When it is.
    pub async fn order<T>(&self, work: impl Future<Output = T>) -> Result<T, TimeIsUp> {
        timeout_at(self.order, work).await.map_err(|_| TimeIsUp)
    }
}
