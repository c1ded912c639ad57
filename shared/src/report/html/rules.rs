//! The effect of each rule, in images and bytes; and what is kept.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::{ImageResult, bar, text};
use crate::domain::lifecycle::document::{Action, LifecyclePolicy};
use crate::domain::preview::model::PreviewReport;
use crate::domain::text::quantity::{bytes, grouped};

struct Line<'a> {
    name: String,
    description: Option<&'a str>,
    result: ImageResult,
    images: u64,
    size: u64,
}

/// The rules in ascending priority, also those that act on nothing. `policy` is absent where the report's policy is
/// none that this version reads; then the rules are those that the results name.
fn lines<'a>(report: &PreviewReport, policy: Option<&'a LifecyclePolicy>) -> Vec<Line<'a>> {
    let mut lines: BTreeMap<u64, Line<'a>> = BTreeMap::new();
    for rule in policy.map(LifecyclePolicy::rules).unwrap_or_default() {
        let line = Line {
            name: rule.to_string(),
            description: rule.description.as_deref(),
            result: match rule.action {
                Action::Expire => ImageResult::Expires,
                Action::Transition => ImageResult::Archived,
            },
            images: 0,
            size: 0,
        };
        lines.insert(rule.priority, line);
    }
    for result in &report.preview_results {
        let priority = result.applied_rule_priority;
        let line = lines.entry(priority).or_insert_with(|| Line {
            name: format!("rule {priority}"),
            description: None,
            result: if result.expires() { ImageResult::Expires } else { ImageResult::Archived },
            images: 0,
            size: 0,
        });
        line.images += 1;
        line.size = line.size.saturating_add(result.image_size_in_bytes);
    }
    let mut lines: Vec<Line<'a>> = lines.into_values().collect();
    lines.push(Line {
        name: "Kept".to_owned(),
        description: None,
        result: ImageResult::Stays,
        images: report.summary.kept_image_total_count,
        size: report.summary.kept_image_size_in_bytes,
    });
    lines
}

/// The table with its heading.
pub(super) fn table(report: &PreviewReport, policy: Option<&LifecyclePolicy>, number: usize) -> Markup {
    let lines = lines(report, policy);
    let total = lines.iter().fold(0_u64, |total, line| total.saturating_add(line.size));
    html! {
        h3 id={ "r" (number) "-rules" } { "Size by rule" }
        table.figures.rules aria-labelledby={ "r" (number) "-rules" } {
            thead {
                tr {
                    th scope="col" { "Rule" }
                    th.number scope="col" { "Images" }
                    th.number scope="col" { "Size" }
                    th.number scope="col" { "Share" }
                }
            }
            tbody {
                @for line in &lines {
                    tr.none[line.images == 0] {
                        th scope="row" {
                            span.rule { (line.name) }
                            @if let Some(description) = line.description {
                                span.muted.description { (description) }
                            }
                            span.bar aria-hidden="true" {
                                @if line.size > 0 {
                                    (bar(line.result.class(), line.size, total))
                                }
                            }
                        }
                        td.number { (grouped(line.images)) }
                        td.number { (bytes(line.size)) }
                        td.number { (text::percent(line.size, total)) }
                    }
                }
            }
        }
    }
}
