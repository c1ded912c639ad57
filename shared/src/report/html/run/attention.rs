//! What needs attention, by kind, with the advice for each.

use maud::{Markup, html};

use super::{repositories, text};
use crate::domain::enforcement::outcome::Outcome;
use crate::domain::text::quantity::{count, grouped};
use crate::report::attention::{Concern, Kind, concerns};
use crate::report::code_pages;
use crate::report::run::RunReport;

/// Maximum number of problems of a kind that are shown unfolded.
const UNFOLDED: usize = 20;

/// A problem of one repository.
struct Problem<'a> {
    concern: Concern,
    /// The repository's place in the report.
    place: usize,
    repository: &'a str,
}

fn problems(outcome: &Outcome, place: usize) -> impl Iterator<Item = Problem<'_>> {
    let repository = outcome.repository_name.as_str();
    concerns(outcome).into_iter().map(move |concern| Problem { concern, place, repository })
}

/// The section, or a line that says that nothing needs attention.
pub(super) fn section(report: &RunReport) -> Markup {
    let mut problems: Vec<Problem<'_>> =
        report.repositories.iter().zip(0..).flat_map(|(outcome, place)| problems(outcome, place)).collect();
    problems.sort_by_key(|problem| problem.concern.rank());
    let is_well = report.gaps.is_empty()
        && report.unfinished_batches.is_empty()
        && report.unreported_journal.is_empty()
        && problems.is_empty();
    html! {
        @if is_well && report.error.is_none() {
            p.well { strong { "Nothing needs attention." } }
        } @else if !is_well {
            h3 { "Needs attention" }
            ul.findings {
                @for gap in &report.gaps {
                    li {
                        p {
                            strong { "A usage source could not be read" } ": " (gap.source) ", for "
                            @if gap.repositories.is_empty() {
                                "all repositories"
                            } @else {
                                @for (pattern, place) in gap.repositories.iter().zip(0..) {
                                    @if place > 0 { ", " }
                                    code { (pattern) }
                                }
                            }
                        }
                        p { (gap.problem) }
                        p.muted {
                            "Mend the source. Until then nothing is deleted from the repositories that it may use images of. If it does not \
                             matter, add to " code { "ignore" } " below " code { "usage" } " in the policies file: "
                            code { (gap.ignore_entry(report.ended_at)) }
                        }
                    }
                }
                (keys(
                    "A function was cut off while it deleted",
                    &count(report.unreported_journal.len() as u64, "object"),
                    "These objects of the journal say what was about to be deleted. The next run finds out whether it was deleted.",
                    &report.unreported_journal,
                ))
                (keys(
                    "Batches are not finished",
                    &text::plural(report.unfinished_batches.len() as u64, "batch", "batches"),
                    "Their function failed or was cut off; its log says why. The next run works on their repositories again.",
                    &report.unfinished_batches,
                ))
                @for group in problems.chunk_by(|one, other| one.concern.rank() == other.concern.rank()) {
                    (self::group(group))
                }
            }
            @if let Some(hint) = code_pages::hint(report.codes()) {
                p.muted { (hint) }
            }
        }
    }
}

fn group(problems: &[Problem<'_>]) -> Markup {
    let Some(Kind { code, what, advice }) = problems.first().map(|problem| problem.concern.kind()) else {
        return html! {};
    };
    let lines: Vec<Markup> = problems
        .iter()
        .map(|problem| {
            html! {
                a href={ "#r" (problem.place) } { (problem.repository) } ": " (text::prose(&problem.concern.message))
            }
        })
        .collect();
    html! {
        li {
            p { strong { (what) } ": " (repositories(problems.len() as u64)) ", " (text::code(code)) }
            p.muted { (advice) }
            (folded(&lines))
        }
    }
}

fn keys(what: &str, number: &str, advice: &str, keys: &[String]) -> Markup {
    let lines: Vec<Markup> = keys.iter().map(|key| html! { code.key { (key) } }).collect();
    html! {
        @if !keys.is_empty() {
            li {
                p { strong { (what) } ": " (number) }
                p.muted { (advice) }
                (folded(&lines))
            }
        }
    }
}

fn folded(lines: &[Markup]) -> Markup {
    let (shown, more) = lines.split_at(lines.len().min(UNFOLDED));
    html! {
        ul { @for line in shown { li { (line) } } }
        @if !more.is_empty() {
            details {
                summary { (grouped(more.len() as u64)) " more" }
                ul { @for line in more { li { (line) } } }
            }
        }
    }
}
