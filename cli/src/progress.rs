//! Progress of long commands, on standard error, and only if that is a terminal that moves its cursor.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use shared::aws::retry_observer::throttled_calls;

use crate::pager;

/// The one bar of the process, once there is something to show.
static BAR: OnceLock<ProgressBar> = OnceLock::new();
/// Whether nothing is drawn, since a pager has the screen.
static IS_HIDDEN: AtomicBool = AtomicBool::new(false);

/// The bar. Without a terminal it draws nothing.
fn bar() -> &'static ProgressBar {
    BAR.get_or_init(|| {
        let bar = ProgressBar::with_draw_target(None, target());
        // It moves by itself, so that who waits for a slow answer sees that something waits.
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    })
}

/// Where the bar is drawn. A terminal that obeys no escapes would print them.
fn target() -> ProgressDrawTarget {
    let is_dumb = std::env::var("TERM").is_ok_and(|terminal| terminal == "dumb");
    match is_dumb || IS_HIDDEN.load(Ordering::Relaxed) {
        true => ProgressDrawTarget::hidden(),
        false => ProgressDrawTarget::stderr(),
    }
}

/// Draws nothing from now on: a pager has the screen.
pub(crate) fn hide() {
    draw(false);
}

/// Draws again.
pub(crate) fn show() {
    draw(true);
}

fn draw(is_drawn: bool) {
    IS_HIDDEN.store(!is_drawn, Ordering::Relaxed);
    if let Some(bar) = BAR.get() {
        bar.set_draw_target(target());
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
    style.with_key("throttled", |_: &ProgressState, out: &mut dyn fmt::Write| {
        // What cannot be drawn is drawn at the next tick.
        let _ = if is_throttled() { out.write_str(", AWS throttles the calls") } else { Ok(()) };
    })
}

/// Whether AWS throttled a call a short time ago.
fn is_throttled() -> bool {
    /// Time for which a throttled call is told. The bar is drawn several times a second.
    const SHOWN: Duration = Duration::from_secs(5);
    static LAST: Mutex<(u64, Option<Instant>)> = Mutex::new((0, None));
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let calls = throttled_calls();
    if calls != last.0 {
        *last = (calls, Some(Instant::now()));
    }
    last.1.is_some_and(|at| at.elapsed() < SHOWN)
}

/// Shows the present phase, whose length is unknown.
pub(crate) fn phase(what: impl Into<String>) {
    let bar = bar();
    bar.set_style(style("{spinner} {msg} ({elapsed}){throttled}"));
    bar.set_message(what.into());
}

/// The progress of counted work. The display is removed when it is dropped.
pub(crate) struct Progress;

impl Progress {
    /// Progress of `total` pieces of work.
    pub(crate) fn new(what: &'static str, total: usize) -> Self {
        let bar = bar();
        bar.set_style(style("{spinner} {pos} of {len} {msg} {bar:24} {elapsed}, {eta} left{throttled}"));
        bar.set_message(what);
        bar.set_position(0);
        bar.set_length(total as u64);
        bar.reset_eta();
        Self
    }

    /// Advances the progress.
    pub(crate) fn step(&self, done: usize) {
        bar().inc(done as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        clear();
    }
}

/// Writes to standard output without the bar in its way. What a pager shows, or may show, is not.
pub(crate) fn suspended<T>(write: impl FnOnce() -> T) -> T {
    // A pager that is started has the bar hidden, for which the bar must not be waiting.
    if pager::is_between() { write() } else { interrupted(write) }
}

/// Writes to standard error without the bar in its way.
pub(crate) fn interrupted<T>(write: impl FnOnce() -> T) -> T {
    match BAR.get() {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Removes the display.
pub(crate) fn clear() {
    if let Some(bar) = BAR.get() {
        bar.finish_and_clear();
    }
}
