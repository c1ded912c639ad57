//! Which usage sources were read, when, and whether completely.

use maud::{Markup, html};

use super::text;
use crate::domain::text::quantity::grouped;
use crate::domain::usage::source::{SourceStatus, SourceSummary};
use crate::report::run::RunReport;

/// The columns, and whether their cells are numbers.
const COLUMNS: [(&str, bool); 4] =
    [("Source", false), ("Read", false), ("When", false), ("Images named", true)];

/// The section; nothing where nothing had to be read.
pub(super) fn section(report: &RunReport) -> Markup {
    html! {
        @if !report.usage_sources.is_empty() {
            h3 #sources { "What is in use, and where it was read" }
            p.note {
                "As it was when the run began. ECS, Lambda and lists are read again before anything is deleted. A source that is \
                 incomplete blocks deletion, unless the policies file ignores it."
            }
            div.scroll tabindex="0" role="region" aria-labelledby="sources" {
                table {
                    thead {
                        tr { @for (name, is_number) in COLUMNS { th.number[is_number] scope="col" { (name) } } }
                    }
                    tbody { @for source in &report.usage_sources { (row(source)) } }
                }
            }
        }
    }
}

fn row(source: &SourceSummary) -> Markup {
    let SourceSummary { source: name, title, status, read_at, images_in_use } = source;
    html! {
        tr {
            th scope="row" { (title) " " small { (name) } }
            td { @if *status == SourceStatus::Incomplete { strong { (status.text()) } } @else { (status.text()) } }
            td { (text::time(*read_at, &text::minute(*read_at))) }
            td data-sort=(images_in_use) { (grouped(*images_in_use)) }
        }
    }
}
