//! What a survey of a registry without a policies file shows, as facts with labels: for the page, the mail and the terminal.

use super::*;
use crate::domain::enforcement::survey::PULL_DAYS;
use crate::domain::text::quantity::grouped;

/// What the registry has, the most telling first.
pub(in crate::report) fn facts(report: &RunReport) -> Vec<(&'static str, String)> {
    let Some(survey) = &report.survey else { return Vec::new() };
    let all = report.totals.images;
    let part = |amount: Amount| {
        let images = count(amount.image_total_count, "image");
        let size = bytes(amount.image_size_in_bytes);
        let whole = all.image_size_in_bytes.max(1);
        let percent = u128::from(amount.image_size_in_bytes) * 100 / u128::from(whole);
        format!("{images}, {size} at most: {percent}% of all bytes")
    };
    let of = |number: u64| format!("{} of {}", grouped(number), repositories(survey.repositories));
    vec![
        ("No lifecycle policy", of(survey.without_lifecycle_policy)),
        ("Untagged", part(survey.untagged)),
        (
            "Never pulled",
            format!(
                "{} (pushed more than {PULL_DAYS} days ago, and not known to be in use)",
                part(survey.never_pulled)
            ),
        ),
        ("What suggest would free", format!("about {}, without what is in use", part(survey.suggested))),
        ("In use by tag alone", count(survey.tags_in_use, "tag")),
    ]
}

/// What to do next.
pub(in crate::report) const NEXT: &str = "`ecr-steward suggest --all` writes a policies file for these repositories; nothing is deleted by it before it says `apply: \
                                          delete`.";
