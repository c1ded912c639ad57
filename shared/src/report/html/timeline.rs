//! A chart of push times, with the result of the images in each bar.

use jiff::tz::Offset;
use maud::{Markup, html};

use super::{ImageResult, swatch, text};
use crate::domain::preview::model::PreviewReport;
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity::{count, grouped};

/// Maximum number of bars; more are too thin to distinguish on a small screen.
const MOST_BINS: i64 = 60;
/// Minimum number of bars; with fewer, the bars are too wide, so that empty ones are added around them.
const FEWEST_BINS: i64 = 15;
/// Labels on the axis of time; most of them are hidden on a small screen.
const MOST_LABELS: i64 = 8;
/// Pixels from the axis up to the highest bar, and from the upper edge to there.
const HEIGHT: u64 = 160;
const ABOVE: u64 = 24;
/// Pixels of the whole chart.
const FULL_HEIGHT: u64 = ABOVE + HEIGHT + 28;
/// A bar of fewer pixels could be missed beside a high one.
const LOWEST: f64 = 2.0;

const MICROS_PER_HOUR: i64 = 3_600_000_000;
const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;

/// The time that one bar covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Hours(i64),
    Days(i64),
    /// Seven days times this, from a Monday.
    Weeks(i64),
    Months(i64),
    Years(i64),
}

impl Step {
    /// From fine to coarse. The last one has any two times in at most [`MOST_BINS`] bins.
    const ALL: [Self; 16] = [
        Self::Hours(1),
        Self::Hours(3),
        Self::Hours(6),
        Self::Days(1),
        Self::Days(2),
        Self::Weeks(1),
        Self::Weeks(2),
        Self::Months(1),
        Self::Months(3),
        Self::Years(1),
        Self::Years(2),
        Self::Years(5),
        Self::Years(10),
        Self::Years(20),
        Self::Years(100),
        Self::Years(500),
    ];

    /// The finest step that has everything from `first` to `last` in few enough bins.
    fn fitting(first: Instant, last: Instant) -> Self {
        Self::ALL
            .into_iter()
            .find(|step| step.bin_of(last) - step.bin_of(first) < MOST_BINS)
            .unwrap_or(Self::Years(500))
    }

    /// The bin that a time is in, counted from any fixed time.
    fn bin_of(self, at: Instant) -> i64 {
        match self {
            Self::Hours(hours) => at.micros().div_euclid(MICROS_PER_HOUR * hours),
            Self::Days(days) => at.micros().div_euclid(MICROS_PER_DAY * days),
            // The epoch was a Thursday.
            Self::Weeks(weeks) => (at.micros().div_euclid(MICROS_PER_DAY) + 3).div_euclid(7 * weeks),
            Self::Months(months) => month_of(at).div_euclid(months),
            Self::Years(years) => month_of(at).div_euclid(12 * years),
        }
    }

    /// The start of a bin, as the axis writes it.
    fn label(self, bin: i64) -> String {
        let at = |micros: Option<i64>| micros.and_then(Instant::from_micros);
        match self {
            // Beside the hour the year has no room, and sixty bars of hours are not about years.
            Self::Hours(hours) => at(bin.checked_mul(MICROS_PER_HOUR * hours)).map(|at| {
                let minute = text::minute(at);
                minute.split_once('-').map_or_else(|| minute.clone(), |(_, short)| short.to_owned())
            }),
            Self::Days(days) => at(bin.checked_mul(MICROS_PER_DAY * days)).map(text::day),
            Self::Weeks(weeks) => at((bin * 7 * weeks - 3).checked_mul(MICROS_PER_DAY)).map(text::day),
            Self::Months(months) => {
                let month = bin * months;
                Some(format!("{:04}-{:02}", month.div_euclid(12), month.rem_euclid(12) + 1))
            }
            Self::Years(years) => Some(format!("{:04}", bin * years)),
        }
        // Before the beginning or past the end of the calendar, where no image is.
        .unwrap_or_default()
    }

    /// The time of a bin, as a tooltip writes it.
    fn span(self, bin: i64) -> String {
        let from = self.label(bin);
        match self {
            Self::Days(1) | Self::Months(1) | Self::Years(1) => from,
            Self::Hours(hours) => {
                let day = Self::Days(1).label((bin * hours).div_euclid(24));
                let hour = (bin * hours).rem_euclid(24);
                format!("{day} {hour:02}:00 to {:02}:00", hour + hours)
            }
            // The last day, month or year in it, since both ends are in it.
            Self::Days(days) => format!("{from} to {}", Self::Days(1).label((bin + 1) * days - 1)),
            Self::Weeks(weeks) => format!("{from} to {}", Self::Days(1).label((bin + 1) * 7 * weeks - 4)),
            Self::Months(months) => format!("{from} to {}", Self::Months(1).label((bin + 1) * months - 1)),
            Self::Years(years) => format!("{from} to {}", Self::Years(1).label((bin + 1) * years - 1)),
        }
    }

    fn name(self) -> String {
        let (number, unit) = match self {
            Self::Hours(number) => (number, "hour"),
            Self::Days(number) => (number, "day"),
            Self::Weeks(number) => (number, "week"),
            Self::Months(number) => (number, "month"),
            Self::Years(number) => (number, "year"),
        };
        count(number.unsigned_abs(), unit)
    }
}

/// Months since the beginning of the year 0.
fn month_of(at: Instant) -> i64 {
    let date = Offset::UTC.to_datetime(at.timestamp()).date();
    i64::from(date.year()) * 12 + i64::from(date.month()) - 1
}

/// The images of one bar, by result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Bin {
    expire: u64,
    archive: u64,
    stay: u64,
}

impl Bin {
    const fn total(self) -> u64 {
        self.expire + self.archive + self.stay
    }

    /// From the axis upwards.
    const fn parts(self) -> [(ImageResult, u64); 3] {
        [
            (ImageResult::Stays, self.stay),
            (ImageResult::Archived, self.archive),
            (ImageResult::Expires, self.expire),
        ]
    }
}

struct Timeline {
    step: Step,
    /// The bin of the first bar.
    first: i64,
    bins: Vec<Bin>,
    /// The bar during which the policy is evaluated, where that is in the chart.
    now: Option<usize>,
}

impl Timeline {
    /// `None` if there are no images.
    fn of(report: &PreviewReport) -> Option<Self> {
        let pushes = report
            .preview_results
            .iter()
            .map(|image| {
                (
                    image.image_pushed_at,
                    if image.expires() { ImageResult::Expires } else { ImageResult::Archived },
                )
            })
            .chain(report.kept.iter().map(|image| (image.image_pushed_at, ImageResult::Stays)));
        let (oldest, youngest) = pushes.clone().fold(None, |range, (at, _)| match range {
            None => Some((at, at)),
            Some((oldest, youngest)) => Some((at.min(oldest), at.max(youngest))),
        })?;
        let (from, to) = with_now(oldest, youngest, report.evaluated_at);
        let step = Step::fitting(from, to);
        let (mut first, mut last) = (step.bin_of(from), step.bin_of(to));
        let missing = (FEWEST_BINS - (last - first + 1)).max(0);
        first -= missing / 2;
        last += missing - missing / 2;
        let place = |at| usize::try_from(step.bin_of(at) - first).ok();

        let mut bins = vec![Bin::default(); usize::try_from(last - first + 1).unwrap_or_default()];
        for (at, result) in pushes {
            if let Some(bin) = place(at).and_then(|place| bins.get_mut(place)) {
                match result {
                    ImageResult::Expires => bin.expire += 1,
                    ImageResult::Archived => bin.archive += 1,
                    ImageResult::Stays => bin.stay += 1,
                }
            }
        }
        let now = place(report.evaluated_at).filter(|place| *place < bins.len());
        Some(Self { step, first, bins, now })
    }

    fn span(&self, place: usize) -> String {
        self.step.span(self.first + i64::try_from(place).unwrap_or_default())
    }

    /// The chart in words.
    fn description(&self) -> String {
        let used = |bin: &&Bin| bin.total() > 0;
        let first = self.bins.iter().position(|bin| bin.total() > 0).unwrap_or_default();
        let last = self.bins.iter().rposition(|bin| bin.total() > 0).unwrap_or_default();
        // Of several bars of the same height, the first.
        let highest =
            (0..self.bins.len()).rev().max_by_key(|place| self.bins[*place].total()).unwrap_or_default();
        let all: u64 = self.bins.iter().map(|bin| bin.total()).sum();
        format!(
            "{}, pushed from {} to {}, in {}. Most, {}: {}.",
            count(all, "image"),
            self.span(first),
            self.span(last),
            count(self.bins.iter().filter(used).count() as u64, "bar"),
            self.span(highest),
            words(self.bins.get(highest).copied().unwrap_or_default()),
        )
    }
}

/// The range of the pushes, extended to the time of the evaluation if that is near, which shows how old the youngest image is.
/// Otherwise it would leave little room for the images.
fn with_now(oldest: Instant, youngest: Instant, now: Instant) -> (Instant, Instant) {
    let room = (youngest.micros() - oldest.micros()) / 4;
    if now > youngest && now.micros() - youngest.micros() <= room {
        (oldest, now)
    } else if now < oldest && oldest.micros() - now.micros() <= room {
        (now, youngest)
    } else {
        (oldest, youngest)
    }
}

fn words(bin: Bin) -> String {
    let mut words = count(bin.total(), "image");
    let parts = [(bin.expire, "expire"), (bin.archive, "archived"), (bin.stay, "stay")];
    for ((number, word), separator) in
        parts.into_iter().filter(|(number, _)| *number > 0).zip([" (", ", ", ", "])
    {
        words.push_str(separator);
        words.push_str(&format!("{} {word}", grouped(number)));
    }
    if bin.total() > 0 {
        words.push(')');
    }
    words
}

/// The distance between the lines across the chart: 1, 2 or 5 times a power of ten, so that there are at most five.
fn spacing(highest: u64) -> u64 {
    let mut magnitude = 1_u64;
    loop {
        for factor in [1, 2, 5] {
            let spacing = magnitude.saturating_mul(factor);
            if highest.div_ceil(spacing) <= 5 {
                return spacing;
            }
        }
        magnitude = magnitude.saturating_mul(10);
    }
}

/// Patterns of the bars, once for all charts of a page.
pub(super) fn patterns() -> Markup {
    html! {
        svg.patterns width="0" height="0" aria-hidden="true" focusable="false" {
            defs {
                pattern id="pattern-expire" width="5" height="5" patternUnits="userSpaceOnUse"
                    patternTransform="rotate(45)" {
                    rect.expire width="5" height="5" {}
                    rect.stroke width="1.6" height="5" {}
                }
                pattern id="pattern-archive" width="5" height="5" patternUnits="userSpaceOnUse" {
                    rect.archive width="5" height="5" {}
                    circle.stroke cx="2.5" cy="2.5" r="1.1" {}
                }
            }
        }
    }
}

/// The chart with its heading and legend.
pub(super) fn chart(report: &PreviewReport, number: usize) -> Markup {
    let Some(timeline) = Timeline::of(report) else {
        return html! {};
    };
    let bins = timeline.bins.len() as u64;
    let highest = timeline.bins.iter().map(|bin| bin.total()).max().unwrap_or_default();
    let spacing = spacing(highest);
    let top = highest.div_ceil(spacing) * spacing;
    let archives = report.summary.transitioning_image_total_count() > 0;
    let stride = (i64::try_from(bins).unwrap_or_default() + MOST_LABELS - 1) / MOST_LABELS;
    let axis = ABOVE + HEIGHT;
    html! {
        h3 { "Pushes" }
        figure {
            figcaption {
                ul.legend {
                    @for result in [ImageResult::Expires, ImageResult::Archived, ImageResult::Stays] {
                        @if result != ImageResult::Archived || archives { li { (swatch(result)) (result.heading()) } }
                    }
                }
                span.muted { "Images by the time of their push; one bar is " (timeline.step.name()) "." }
            }
            svg.timeline width="100%" height=(FULL_HEIGHT) role="img"
                aria-labelledby={ "r" (number) "-chart r" (number) "-chart-text" } {
                title id={ "r" (number) "-chart" } { "Images by the time of their push, and what becomes of them" }
                desc id={ "r" (number) "-chart-text" } { (timeline.description()) }
                @for line in 0..=(top / spacing) {
                    @let y = height(line * spacing, top).mul_add(-1.0, pixels(axis));
                    line.grid.axis[line == 0] x1="0" x2="100%" y1=(y) y2=(y) {}
                    text.count x="-8" y=(y) dy="0.32em" { (grouped(line * spacing)) }
                }
                @for (bin, place) in timeline.bins.iter().zip(0_u64..) {
                    @if bin.total() > 0 { (bar(*bin, place, &timeline, top)) }
                }
                @for (place, label) in (0..).zip((0..timeline.bins.len()).step_by(usize::try_from(stride).unwrap_or(1))) {
                    @let x = text::length(label as u64, bins);
                    @let name = timeline.step.label(timeline.first + i64::try_from(label).unwrap_or_default());
                    line.tick x1=(x) x2=(x) y1=(axis) y2=(axis + 5) {}
                    // Small screens have room for every third label, and no screen for one that begins at the end.
                    @let percent = label as u64 * 100 / bins;
                    @if percent < 90 {
                        text.minor[place % 3 != 0 || percent > 80] x=(x) y=(axis + 20) { (name) }
                    }
                }
                @if let Some(now) = timeline.now {
                    @let x = text::length(now as u64 * 2 + 1, bins * 2);
                    line.now x1=(x) x2=(x) y1="16" y2=(axis) {}
                    text.now.left[now as u64 * 2 < bins] x=(x) y="11" { "evaluated" }
                }
            }
        }
    }
}

fn bar(bin: Bin, place: u64, timeline: &Timeline, top: u64) -> Markup {
    let slots = timeline.bins.len() as u64 * 10;
    let mut upper = pixels(ABOVE + HEIGHT);
    let mut parts = Vec::new();
    for (result, images) in bin.parts() {
        if images > 0 {
            let height = height(images, top).max(LOWEST);
            upper -= height;
            parts.push((result, upper, height));
        }
    }
    html! {
        g.bar {
            title { (timeline.span(usize::try_from(place).unwrap_or_default())) ": " (words(bin)) }
            // The whole height answers to the pointer.
            rect.hit x=(text::length(place * 10, slots)) width=(text::length(10, slots)) y=(ABOVE) height=(HEIGHT) {}
            @for (result, y, height) in parts {
                rect class=(result.class()) x=(text::length(place * 10 + 1, slots)) width=(text::length(8, slots))
                    y={ (format_args!("{y:.2}")) } height={ (format_args!("{height:.2}")) }
                    fill=[pattern(result)] {}
            }
        }
    }
}

/// The fill pattern. Kept images have a solid fill, from the stylesheet.
const fn pattern(result: ImageResult) -> Option<&'static str> {
    match result {
        ImageResult::Expires => Some("url(#pattern-expire)"),
        ImageResult::Archived => Some("url(#pattern-archive)"),
        ImageResult::Stays => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few hundred pixels")]
fn pixels(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "a fraction of a pixel is not seen")]
fn height(images: u64, top: u64) -> f64 {
    images as f64 / top.max(1) as f64 * pixels(HEIGHT)
}

#[cfg(test)]
mod tests;
