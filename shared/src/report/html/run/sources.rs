//! Which usage sources were read, when, and whether completely.

use maud::{Markup, html};

use super::text;
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity::grouped;
use crate::domain::usage::source::{SourceStatus, SourceSummary};
use crate::report::run::RunReport;

/// The columns, and whether their cells are numbers.
const COLUMNS: [(&str, bool); 7] = [
    ("Source", false),
    ("Account", false),
    ("Region", false),
    ("Read", false),
    ("When", false),
    ("Age", true),
    ("Images named", true),
];

/// The section; nothing where nothing had to be read.
pub(super) fn section(report: &RunReport) -> Markup {
    html! {
        @if !report.usage_sources.is_empty() {
            h3 #sources { "What is in use, and where it was read" }
            p.note {
                "As it was when the run began; the age is that of what is known, at that time. ECS, Lambda and lists are read again \
                 before anything is deleted. A source that is incomplete blocks deletion, unless the policies file ignores it."
            }
            div.scroll tabindex="0" role="region" aria-labelledby="sources" {
                table {
                    thead {
                        tr { @for (name, is_number) in COLUMNS { th.number[is_number] scope="col" { (name) } } }
                    }
                    tbody { @for source in &report.usage_sources { (row(source, report.run.started_at)) } }
                }
            }
        }
    }
}

fn row(summary: &SourceSummary, started_at: Instant) -> Markup {
    let SourceSummary { source: name, title, status, read_at, images_in_use, list, account, region } =
        summary;
    let seconds = ((started_at.micros() - read_at.micros()) / 1_000_000).max(0);
    html! {
        tr {
            th scope="row" { (title) " " small { (list.as_ref().unwrap_or(name)) } }
            td { (account.as_deref().unwrap_or("this account")) }
            td { (region.as_deref().unwrap_or(if list.is_some() { "not told" } else { "this Region" })) }
            td { @if *status == SourceStatus::Incomplete { strong { (status.text()) } } @else { (status.text()) } }
            td { (text::time(*read_at, &text::minute(*read_at))) }
            td data-sort=(seconds) { (age(seconds)) }
            td data-sort=(images_in_use) { (grouped(*images_in_use)) }
        }
    }
}

/// A duration in its largest unit, from seconds.
fn age(seconds: i64) -> String {
    match seconds {
        ..60 => "0 min".to_owned(),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}
