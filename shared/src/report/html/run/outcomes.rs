//! The table of repositories. Each has its details in a second, folded row: one body of the table for both, so that they are
//! sorted and filtered together. There may be ten thousand images: the markup is short, and stylesheets select cells by their
//! column.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::{ending, protection, repositories, text};
use crate::domain::enforcement::outcome::{
    Amount, Attached, ImageOutcome, ImageResult, Outcome, PolicyChange, SHOWN, Status,
};
use crate::domain::enforcement::policy_set::Apply;
use crate::domain::preview::model::ActionKind;
use crate::domain::text::quantity::{bytes, count, grouped};
use crate::report::run::RunReport;

/// The columns, and whether they are numbers.
const COLUMNS: [(&str, bool); 12] = [
    ("Repository", false),
    ("Policy", false),
    ("Apply", false),
    ("Status", false),
    ("Images", true),
    ("Size", true),
    ("Taken", true),
    ("Deleted", true),
    ("In use", true),
    ("Blocked", true),
    ("Attached policy", false),
    ("Drift", true),
];

/// An option of the filter: its word in the markup, its label, and whether it applies to an outcome.
type Choice = (&'static str, &'static str, fn(&Outcome) -> bool);

const CHOICES: [Choice; 8] = [
    ("attention", "that need attention", Outcome::needs_attention),
    ("deleted", "that images were deleted from", |outcome| !outcome.deleted.is_zero()),
    ("taken", "with images that expire", |outcome| !outcome.expiring.is_zero()),
    ("used", "with protected images (in use)", |outcome| !outcome.protected_by_use.is_zero()),
    ("held", "with blocked images", |outcome| held(outcome).image_total_count > 0),
    ("attached", "whose attached policy or tags changed", |outcome| {
        outcome.attachment.as_ref().is_some_and(Attached::has_changed)
    }),
    ("suspended", "whose policy is suspended", |outcome| {
        outcome.attachment.as_ref().is_some_and(Attached::is_suspended)
    }),
    ("drift", "that are not as the policies file says", |outcome| !outcome.drift.is_empty()),
];

/// The amount that the policy's `keep` and its limits exclude.
fn held(outcome: &Outcome) -> Amount {
    let mut held = outcome.protected_by_keep;
    if !outcome.blockers.is_empty() {
        held.extend(outcome.expiring);
    }
    held
}

/// The table with its heading and controls.
pub(super) fn section(report: &RunReport) -> Markup {
    let shown = report.repositories.len() as u64;
    let matched = report.totals.repositories.saturating_sub(report.totals.count(Status::Unmatched));
    let is_matched = |outcome: &&Outcome| outcome.status != Status::Unmatched;
    let shown_of_matched = report.repositories.iter().filter(is_matched).count() as u64;
    let quiet = matched.saturating_sub(shown_of_matched).saturating_sub(report.repositories_not_shown);
    let images = report.repositories.iter().map(|outcome| outcome.results_not_shown).sum::<u64>();
    let is_one_missing = report.repositories_not_shown + images == 1;
    let mut missing = Vec::new();
    if report.repositories_not_shown > 0 {
        missing.push(repositories(report.repositories_not_shown));
    }
    if images > 0 {
        missing.push(count(images, "image"));
    }
    let policies: BTreeMap<&str, usize> =
        report.policies.keys().zip(0..).map(|(name, place)| (name.as_str(), place)).collect();
    html! {
        h3 #repositories { "Repositories " span.badge { (grouped(shown)) } }
        @if !missing.is_empty() {
            p.notice {
                strong { (missing.join(" and ")) (if is_one_missing { " is" } else { " are" }) " not shown." }
                " All repositories are in the outcomes of the run, below "
                code { (report.place.address(&report.run.outcomes_prefix())) } ", with the first " (grouped(SHOWN as u64))
                " images or so of each"
                @if !report.run.dry_run { "; every image that the run deleted is in the journal" } "."
            }
        }
        @if quiet > 0 {
            p.note {
                (repositories(quiet)) " with a policy, where all is as it should be, "
                (if quiet == 1 { "is" } else { "are" }) " only counted."
            }
        }
        @if shown > 0 {
            div.outcomes {
                (controls(report, &policies))
                div.scroll tabindex="0" role="region" aria-labelledby="repositories" {
                    table.repositories {
                        caption {
                            "Those that need attention first, then those from which most is deleted. Below each is what there is to \
                             tell of it."
                        }
                        thead {
                            tr {
                                @for (name, is_number) in COLUMNS {
                                    th.number[is_number] scope="col" { (name) }
                                }
                            }
                        }
                        @for (outcome, place) in report.repositories.iter().zip(0..) {
                            (body(outcome, place, &policies, report.protection_hours))
                        }
                    }
                }
                p.nothing.muted hidden { "No repository matches the filter." }
            }
        }
    }
}

/// Shown by the script, without which they would do nothing.
fn controls(report: &RunReport, policies: &BTreeMap<&str, usize>) -> Markup {
    let number =
        |is_so: fn(&Outcome) -> bool| report.repositories.iter().filter(|outcome| is_so(outcome)).count();
    html! {
        div.controls hidden {
            div {
                label for="filter" { "Filter" }
                input #filter type="search" autocomplete="off" spellcheck="false"
                    placeholder="Repository, tag, digest or reason";
            }
            div {
                label for="show" { "Show" }
                select #show {
                    option value="" { "all repositories" }
                    @for (value, label, is_so) in CHOICES {
                        @let number = number(is_so);
                        @if number > 0 { option value=(value) { (label) " (" (grouped(number as u64)) ")" } }
                    }
                    @if policies.len() > 1 {
                        optgroup label="Policy" {
                            @for (name, place) in policies { option value={ "p" (place) } { (name) } }
                        }
                    }
                }
            }
            p.shown.muted role="status" {}
        }
    }
}

fn body(outcome: &Outcome, place: usize, policies: &BTreeMap<&str, usize>, protection_hours: u32) -> Markup {
    let policy = outcome.policy.as_deref().unwrap_or_default();
    let mut groups: Vec<String> = CHOICES
        .iter()
        .filter(|(_, _, is_so)| is_so(outcome))
        .map(|(value, ..)| (*value).to_owned())
        .collect();
    groups.extend(policies.get(policy).map(|place| format!("p{place}")));
    let cell = |amount: Amount| {
        html! {
            td data-sort=(amount.image_total_count) {
                (grouped(amount.image_total_count))
                @if !amount.is_zero() { " " small { (bytes(amount.image_size_in_bytes)) } }
            }
        }
    };
    html! {
        tbody id={ "r" (place) } data-group=(groups.join(" ")) {
            tr {
                th scope="row" { (outcome.repository_name) }
                td { (policy) }
                td { (apply(outcome.apply)) }
                td {
                    @if outcome.needs_attention() {
                        strong { (ending(outcome.status)) }
                    } @else {
                        (ending(outcome.status))
                    }
                }
                td data-sort=(outcome.images.image_total_count) { (grouped(outcome.images.image_total_count)) }
                td data-sort=(outcome.images.image_size_in_bytes) { (bytes(outcome.images.image_size_in_bytes)) }
                (cell(outcome.expiring))
                (cell(outcome.deleted))
                (cell(outcome.protected_by_use))
                (cell(held(outcome)))
                td { @if let Some(attached) = &outcome.attachment { (attachment(attached)) } }
                td data-sort=(outcome.drift.len()) { (outcome.drift.len()) }
            }
            (more(outcome, protection_hours))
        }
    }
}

fn apply(apply: Option<Apply>) -> &'static str {
    apply.map_or("", Apply::name)
}

fn attachment(attached: &Attached) -> Markup {
    let policy = match attached.lifecycle_policy {
        PolicyChange::Unchanged if attached.is_suspended() => "suspended",
        PolicyChange::Unchanged => "unchanged",
        PolicyChange::Attached => "attached",
        PolicyChange::ToBeAttached => "to be attached",
        PolicyChange::Suspended => "suspended",
        PolicyChange::ToBeSuspended => "to be suspended",
    };
    html! {
        (policy)
        @if attached.tags_added > 0 { ", " (count(attached.tags_added, "tag")) " added" }
    }
}

/// The folded details, with a summary line.
fn more(outcome: &Outcome, protection_hours: u32) -> Markup {
    let images = outcome.results.len() as u64 + outcome.results_not_shown;
    let parts = [
        (u64::from(outcome.error.is_some()), "error"),
        (u64::from(outcome.native_policy.is_some()), "own policy at risk"),
        (outcome.blockers.len() as u64, "obstacle"),
        (outcome.drift.len() as u64, "difference"),
        (outcome.findings.len() as u64, "finding"),
        (outcome.journal.len() as u64, "journal object"),
        (images, "image"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, noun)| count(number, noun))
        .chain(outcome.attachment.as_ref().map(|_| "protection".to_owned()))
        .collect();
    let amounts = [
        ("Moves to the archive", outcome.transitioning),
        ("Archived", outcome.archived),
        ("Failed", outcome.failed),
    ];
    html! {
        @if !parts.is_empty() {
            tr {
                td colspan=(COLUMNS.len()) {
                    details {
                        summary { (parts.join(", ")) }
                        div {
                            @if let Some(error) = &outcome.error {
                                h4 { "Error" }
                                p { (text::prose(error)) }
                            }
                            @if let Some(sentence) = &outcome.native_policy {
                                h4 { "Its own lifecycle policy" }
                                p { (text::prose(sentence)) }
                            }
                            (protection::facts(outcome, protection_hours))
                            @if !outcome.blockers.is_empty() {
                                h4 { "Why the plan is not executed" }
                                ul {
                                    @for held in &outcome.blockers {
                                        li { (text::code_in_text(&held.code)) ": " (text::prose(&held.message)) }
                                    }
                                }
                            }
                            @if !outcome.drift.is_empty() {
                                h4 { "How it differs from the policies file" }
                                ul { @for line in &outcome.drift { li { (line) } } }
                            }
                            @if !outcome.findings.is_empty() {
                                h4 { "Findings" }
                                ul {
                                    @for finding in &outcome.findings {
                                        li {
                                            (text::code_in_text(finding.code.as_str()))
                                            @if !finding.pointer.is_empty() { " at " code { (finding.pointer) } }
                                            ": " (text::prose(&finding.message))
                                        }
                                    }
                                }
                            }
                            @if !outcome.journal.is_empty() {
                                h4 { "Written down before anything was deleted" }
                                ul { @for key in &outcome.journal { li { code.key { (key) } } } }
                            }
                            @for (label, amount) in amounts {
                                @if !amount.is_zero() { p { (label) ": " (super::both(amount)) } }
                            }
                            (results(outcome))
                        }
                    }
                }
            }
        }
    }
}

fn results(outcome: &Outcome) -> Markup {
    html! {
        @if !outcome.results.is_empty() {
            div.scroll tabindex="0" role="region" aria-label={ "Images of " (outcome.repository_name) } {
                table.results {
                    caption { "Images that expire by a rule, and what was done with each" }
                    thead {
                        tr {
                            @for name in ["Digest", "Tags", "Pushed", "Size", "Rule", "Outcome", "Reason"] {
                                th scope="col" { (name) }
                            }
                        }
                    }
                    tbody { @for image in &outcome.results { (result(image)) } }
                }
            }
        }
        @if outcome.results_not_shown > 0 {
            p.note { (count(outcome.results_not_shown, "more image")) " not shown." }
        }
    }
}

fn result(image: &ImageOutcome) -> Markup {
    html! {
        tr {
            td { (text::digest(&image.image_digest)) }
            td {
                @if image.image_tags.is_empty() { small { "untagged" } }
                @for tag in &image.image_tags { span.tag { (tag) } " " }
            }
            td { (text::minute(image.image_pushed_at)) }
            td data-sort=(image.image_size_in_bytes) { (bytes(image.image_size_in_bytes)) }
            td { (image.applied_rule_priority) }
            td {
                @match image.outcome {
                    ImageResult::Planned if image.action.kind == ActionKind::Transition => "Planned, for the archive",
                    ImageResult::Planned => "Planned",
                    ImageResult::Deleted => "Deleted",
                    ImageResult::Archived => "Archived",
                    ImageResult::InUse => "In use",
                    ImageResult::Kept => "Kept",
                    ImageResult::HeldBack => strong { "Blocked" },
                    ImageResult::Failed => strong { "Failed" },
                    ImageResult::Unknown => strong { "Unknown" },
                    ImageResult::PutBack => strong { "Put back" },
                }
            }
            td {
                (text::prose(&image.reason))
                @if let Some(detail) = &image.detail { p { (text::prose(detail)) } }
            }
        }
    }
}
