//! The table of policies that ECR enforces: until when each is protected, and what expires by it.

use std::collections::HashMap;

use maud::{Markup, html};

use super::{UNFOLDED, noun, repositories, text};
use crate::domain::enforcement::outcome::{Attached, Outcome};
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity::{bytes, count, grouped};
use crate::report::run::{ProtectedRepository, RunReport, whose};

/// The columns, and whether they are numbers.
const COLUMNS: [(&str, bool); 8] = [
    ("Repository", false),
    ("Policy", false),
    ("State", false),
    ("Protected until", false),
    ("Refreshed", false),
    ("Taken by ECR", true),
    ("Tags added", true),
    ("Suspended", false),
];

/// The section; nothing where ECR enforces no policy.
pub(super) fn section(report: &RunReport) -> Markup {
    let number = report.protection.len() as u64 + report.protection_not_shown;
    let places: HashMap<&str, usize> = report
        .repositories
        .iter()
        .zip(0..)
        .map(|(outcome, place)| (&*outcome.repository_name, place))
        .collect();
    html! {
        @if number > 0 {
            h3 #protection { "Policies that ECR enforces " span.badge { (grouped(number)) } }
            p.note {
                "ECR applies these lifecycle policies itself, within a day of when a rule takes an image. Their first rule is the \
                 protection rule: no image with a protection tag expires. If the tags are not refreshed for "
                (report.protection_hours) (noun(u64::from(report.protection_hours), " hour", " hours"))
                ", the policy is suspended, and ECR takes nothing until they are; a policy that is somebody else's is never \
                 written, and needs attention instead."
            }
            @if report.protection_not_shown > 0 {
                p.notice { (repositories(report.protection_not_shown)) " not shown." }
            }
            details.protection open[report.protection.len() <= UNFOLDED] {
                summary { (repositories(report.protection.len() as u64)) }
                div.scroll tabindex="0" role="region" aria-labelledby="protection" {
                    table {
                        caption { "Those that need attention first, then those that are suspended." }
                        thead {
                            tr {
                                @for (name, is_number) in COLUMNS { th.number[is_number] scope="col" { (name) } }
                            }
                        }
                        tbody {
                            @for repository in &report.protection {
                                (row(repository, places.get(&*repository.repository_name), report.ended_at))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn row(repository: &ProtectedRepository, place: Option<&usize>, now: Instant) -> Markup {
    let ProtectedRepository { repository_name, policy, attached, protected_until, .. } = repository;
    let amount = repository.expiring_by_ecr;
    html! {
        tr {
            th scope="row" {
                @match place {
                    Some(place) => a href={ "#r" (place) } { (repository_name) },
                    None => (repository_name),
                }
            }
            td { (policy.as_deref().unwrap_or_default()) " " small { (whose(attached.mode)) } }
            td {
                @if repository.needs_attention { strong { (repository.state()) } } @else { (repository.state()) }
            }
            td {
                @match protected_until {
                    Some(until) if repository.is_stale(now) => {
                        strong { (time(*until)) } " " small { "over" }
                    }
                    Some(until) => (time(*until)),
                    None => small { "not yet" },
                }
            }
            td {
                @match attached.refreshed_at { Some(at) => (time(at)), None => small { "never" } }
            }
            td data-sort=(if attached.is_suspended() { 0 } else { amount.image_total_count }) {
                @if attached.is_suspended() && !amount.is_zero() {
                    "0 " small { (grouped(amount.image_total_count)) " if it acted" }
                } @else {
                    (grouped(amount.image_total_count))
                    @if !amount.is_zero() { " " small { (bytes(amount.image_size_in_bytes)) } }
                }
            }
            td data-sort=(attached.tags_added) { (grouped(attached.tags_added)) }
            td { (suspended(attached)) }
        }
    }
}

fn time(at: Instant) -> Markup {
    text::time(at, &text::minute(at))
}

/// Since when a policy is suspended, and why.
fn suspended(attached: &Attached) -> Markup {
    html! {
        @if attached.is_suspended() {
            @if let Some(at) = attached.suspended_at { "since " (time(at)) ": " }
            @match &attached.suspended_because {
                Some(because) => (text::prose(because)),
                None => small { "see what needs attention" },
            }
        }
    }
}

/// The folded details of a repository's protection.
pub(super) fn facts(outcome: &Outcome, protection_hours: u32) -> Markup {
    let Some(attached) = &outcome.attachment else { return html! {} };
    let amount = outcome.expiring_by_ecr;
    html! {
        h4 { "Protection from ECR's own engine" }
        dl.facts {
            div { dt { "Policy" } dd { (whose(attached.mode)) } }
            div {
                dt { "Protected until" }
                dd {
                    @match attached.protected_until(protection_hours) { Some(until) => (time(until)), None => "not yet" }
                }
            }
            @if let Some(at) = attached.refreshed_at { div { dt { "Refreshed" } dd { (time(at)) } } }
            @if attached.tags_added > 0 {
                div { dt { "Images newly protected" } dd { (count(attached.tags_added, "tag")) " added" } }
            }
            div {
                dt { "Taken by ECR" }
                dd {
                    @if attached.is_suspended() {
                        "nothing as long as the policy is suspended"
                    } @else if amount.is_zero() {
                        "nothing"
                    } @else {
                        (super::both(amount)) ", within a day"
                    }
                }
            }
            @if attached.is_suspended() { div { dt { "Suspended" } dd { (suspended(attached)) } } }
        }
    }
}
