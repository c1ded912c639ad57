//! The report of a run as a page.

use maud::{DOCTYPE, html};

use crate::report::run::RunReport;

/// Renders the report as one page that needs nothing else.
#[must_use]
pub fn render(report: &RunReport) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { (report.headline()) } }
            body { h1 { (report.headline()) } pre { (report.message(&report.run.key("report.json"))) } }
        }
    }
    .into_string()
}
