//! Progress of long commands, on standard error, and only if that is a terminal that moves its cursor.

use std::sync::OnceLock;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::pager;

/// The one bar of the process. Without a terminal it draws nothing.
fn bar() -> &'static ProgressBar {
    static BAR: OnceLock<ProgressBar> = OnceLock::new();
    BAR.get_or_init(|| {
        let bar = ProgressBar::with_draw_target(None, target());
        // It moves by itself, so that who waits for a slow answer sees that something waits.
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    })
}

/// Where the bar is drawn. A terminal that obeys no escapes would print them.
fn target() -> ProgressDrawTarget {
    match std::env::var("TERM").as_deref() {
        Ok("dumb") => ProgressDrawTarget::hidden(),
        _ => ProgressDrawTarget::stderr(),
    }
}

/// Draws nothing from now on: a pager has the screen.
pub(crate) fn hide() {
    bar().set_draw_target(ProgressDrawTarget::hidden());
}

/// Draws again.
pub(crate) fn show() {
    bar().set_draw_target(target());
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// Shows the present phase, whose length is unknown.
pub(crate) fn phase(what: impl Into<String>) {
    let bar = bar();
    bar.set_style(style("{spinner} {msg} ({elapsed})"));
    bar.set_message(what.into());
}

/// The progress of counted work. The display is removed when it is dropped.
pub(crate) struct Progress;

impl Progress {
    /// Progress of `total` pieces of work.
    pub(crate) fn new(what: &'static str, total: usize) -> Self {
        let bar = bar();
        bar.set_style(style("{spinner} {pos} of {len} {msg} {bar:24} {elapsed}, {eta} left"));
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
    if pager::is_between() { write() } else { bar().suspend(write) }
}

/// Writes to standard error without the bar in its way.
pub(crate) fn interrupted<T>(write: impl FnOnce() -> T) -> T {
    bar().suspend(write)
}

/// Removes the display.
pub(crate) fn clear() {
    bar().finish_and_clear();
}
