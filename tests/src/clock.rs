//! The clock of AWS in memory: this machine's, unless the thread has one of its own.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

thread_local! {
    static PRESENT: Cell<Option<i64>> = const { Cell::new(None) };
}

/// The present, in microseconds since 1970.
///
/// # Panics
///
/// When this machine's clock is before 1970.
#[must_use]
pub fn micros() -> i64 {
    PRESENT.get().unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        i64::try_from(since.as_micros()).unwrap()
    })
}

/// Sets this thread's clock, in microseconds since 1970; `None` for this machine's clock.
pub fn set(micros: Option<i64>) {
    PRESENT.set(micros);
}
