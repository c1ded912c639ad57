//! The table of all images: first those that are removed, in the report's order, then those that are kept.

use std::collections::BTreeMap;
use std::fmt;

use maud::{Markup, html};

use super::{ImageResult, swatch, text};
use crate::domain::preview::model::{KeptImage, PreviewReport, PreviewResult};
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity::{age, bytes, count, grouped};

/// Rows of one table. With more, browsers take seconds to show, sort and filter it.
pub(super) const MOST_ROWS: usize = 5_000;
/// Tags of one image that are shown at once; ECR allows a thousand.
const TAGS_SHOWN: usize = 8;
/// Milliseconds since the Unix epoch after all times, for sorting images that never expire.
const NEVER: i64 = 1 << 53;

/// A removed image, or a kept one.
#[derive(Clone, Copy)]
enum Row<'a> {
    Goes(&'a PreviewResult),
    Stays(&'a KeptImage),
}

/// An option of the filter: a result and its cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group<'a> {
    ActedOn(u64),
    HeldByRule(u64),
    HeldBy(&'a str),
}

impl fmt::Display for Group<'_> {
    /// The script compares the beginning of this with the choice, word by word.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ActedOn(priority) => write!(f, "goes rule {priority}"),
            Self::HeldByRule(priority) => write!(f, "stays rule {priority}"),
            Self::HeldBy(holder) => write!(f, "stays {holder}"),
        }
    }
}

impl Group<'_> {
    fn label(&self) -> String {
        match self {
            Self::ActedOn(priority) | Self::HeldByRule(priority) => format!("rule {priority}"),
            Self::HeldBy("index") => "an image index".to_owned(),
            Self::HeldBy("subject") => "their subject".to_owned(),
            Self::HeldBy(holder) => (*holder).to_owned(),
        }
    }
}

impl<'a> Row<'a> {
    fn digest(self) -> &'a str {
        match self {
            Self::Goes(image) => &image.image_digest,
            Self::Stays(image) => &image.image_digest,
        }
    }

    fn tags(self) -> &'a [String] {
        match self {
            Self::Goes(image) => &image.image_tags,
            Self::Stays(image) => &image.image_tags,
        }
    }

    fn pushed_at(self) -> Instant {
        match self {
            Self::Goes(image) => image.image_pushed_at,
            Self::Stays(image) => image.image_pushed_at,
        }
    }

    fn size(self) -> u64 {
        match self {
            Self::Goes(image) => image.image_size_in_bytes,
            Self::Stays(image) => image.image_size_in_bytes,
        }
    }

    fn reason(self) -> &'a str {
        match self {
            Self::Goes(image) => &image.reason,
            Self::Stays(image) => &image.reason,
        }
    }

    fn result(self) -> ImageResult {
        match self {
            Self::Goes(image) if image.expires() => ImageResult::Expires,
            Self::Goes(_) => ImageResult::Archived,
            Self::Stays(_) => ImageResult::Stays,
        }
    }

    /// The time at which a kept image will be removed if nothing changes, and the word for the action.
    fn due(self) -> Option<(&'static str, Instant)> {
        match self {
            Self::Goes(_) => None,
            Self::Stays(image) => image
                .expires_at
                .map(|at| ("expires", at))
                .or_else(|| image.transitions_at.map(|at| ("is archived", at))),
        }
    }

    fn group(self) -> Group<'a> {
        match self {
            Self::Goes(image) => Group::ActedOn(image.applied_rule_priority),
            Self::Stays(image) => match image.held_by.split_once(' ') {
                Some(("rule", priority)) => {
                    priority.parse().map_or(Group::HeldBy(&image.held_by), Group::HeldByRule)
                }
                Some((kind @ ("index" | "subject"), _)) => Group::HeldBy(kind),
                _ => Group::HeldBy(&image.held_by),
            },
        }
    }

    /// The sort order: removed images before kept ones, and of those the ones that are removed soonest first.
    fn order(self) -> i64 {
        match self.result() {
            ImageResult::Expires => -NEVER,
            ImageResult::Archived => 1 - NEVER,
            ImageResult::Stays => self.due().map_or(NEVER, |(_, at)| at.micros() / 1000),
        }
    }
}

/// The table with its heading and controls.
pub(super) fn table(report: &PreviewReport, number: usize) -> Markup {
    let all = report.preview_results.len() + report.kept.len();
    let left_out = all.saturating_sub(MOST_ROWS);
    let rows: Vec<Row<'_>> = report
        .preview_results
        .iter()
        .map(Row::Goes)
        .chain(report.kept.iter().map(Row::Stays))
        .take(MOST_ROWS)
        .collect();
    html! {
        h3 id={ "r" (number) "-images" } { "Images " span.badge { (grouped(all as u64)) } }
        @if rows.is_empty() {
            p.muted { "There are no images." }
        } @else {
            @if left_out > 0 {
                p.notice {
                    strong { (count(left_out as u64, "image")) " left out." }
                    " The table has the first " (grouped(MOST_ROWS as u64)) " of " (grouped(all as u64))
                    ", those acted on first; the JSON output has all of them."
                }
            }
            div.images {
                (controls(&rows, number))
                table.list aria-labelledby={ "r" (number) "-images" } {
                    thead {
                        tr {
                            @for (name, class) in [
                                ("Digest", ""), ("Tags", ""), ("Pushed", ""), ("Size", "number"),
                                ("What happens", ""), ("Rule or holder", ""), ("Reason", ""),
                            ] {
                                th scope="col" class=[(!class.is_empty()).then_some(class)] { (name) }
                            }
                        }
                    }
                    tbody { @for row in &rows { (line(*row, report.evaluated_at)) } }
                }
                p.nothing.muted hidden { "No image matches the filter." }
            }
        }
    }
}

/// Shown by the script, without which they would do nothing.
fn controls(rows: &[Row<'_>], number: usize) -> Markup {
    let mut groups: BTreeMap<Group<'_>, u64> = BTreeMap::new();
    for row in rows {
        *groups.entry(row.group()).or_default() += 1;
    }
    let acted_on = |group: &Group<'_>| matches!(group, Group::ActedOn(_));
    let options = |goes: bool| {
        html! {
            @for (group, images) in groups.iter().filter(|(group, _)| acted_on(group) == goes) {
                option value=(group) { (group.label()) " (" (grouped(*images)) ")" }
            }
        }
    };
    html! {
        div.controls hidden {
            div {
                label for={ "r" (number) "-filter" } { "Filter" }
                input id={ "r" (number) "-filter" } type="search" autocomplete="off" spellcheck="false"
                    placeholder="Digest, tag or reason";
            }
            div {
                label for={ "r" (number) "-show" } { "Show" }
                select id={ "r" (number) "-show" } {
                    option value="" { "all images" }
                    option value="goes" { "expiring or archived" }
                    option value="stays" { "kept" }
                    @if groups.keys().any(acted_on) {
                        optgroup label="Acted on by" { (options(true)) }
                    }
                    @if !groups.keys().all(acted_on) {
                        optgroup label="Kept by" { (options(false)) }
                    }
                }
            }
            p.shown.muted role="status" {}
        }
    }
}

fn line(row: Row<'_>, now: Instant) -> Markup {
    let (result, pushed) = (row.result(), row.pushed_at());
    let tags = row.tags();
    html! {
        tr data-group=(row.group()) {
            td.id { (text::digest(row.digest())) }
            td.tags {
                @if tags.is_empty() { span.muted { "untagged" } }
                @for tag in tags.iter().take(TAGS_SHOWN) { span.tag { (tag) } " " }
                @if tags.len() > TAGS_SHOWN {
                    details {
                        summary { (tags.len() - TAGS_SHOWN) " more" }
                        @for tag in tags.iter().skip(TAGS_SHOWN) { span.tag { (tag) } " " }
                    }
                }
            }
            td.pushed data-sort=(pushed.micros() / 1000) {
                (text::time(pushed, &text::day(pushed))) " "
                span.muted { (text::distance(now, pushed)) }
            }
            td.number.size data-sort=(row.size()) title={ (grouped(row.size())) " bytes" } { (bytes(row.size())) }
            td.what data-sort=(row.order()) {
                span."fate" { (swatch(result)) (result.word()) }
                @if let Some((verb, at)) = row.due() {
                    " " span.muted { (verb) " " (text::time(at, &text::day(at))) ", " span.far { "in " (age(at, now)) } }
                }
            }
            td.by {
                @match row {
                    Row::Goes(image) => {
                        "rule " (image.applied_rule_priority)
                        @if let Some(pass) = image.pass { ", " span.muted { "pass " (pass) } }
                    }
                    Row::Stays(image) => { (text::prose(&image.held_by)) }
                }
            }
            td.reason { (text::prose(row.reason())) }
        }
    }
}
