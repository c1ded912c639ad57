//! What needs attention: each cause once, with its advice and the repositories that it is about.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::{repositories, text};
use crate::domain::text::quantity::{count, grouped};
use crate::report::attention::{Concern, Kind, concerns};
use crate::report::code_pages;
use crate::report::run::RunReport;

/// Sources, keys and batches that are shown; the others are counted.
const SHOWN: usize = 10;
/// Different messages of a kind that are shown.
const MESSAGES: usize = 4;
/// Repositories that a message names.
const NAMED: usize = 3;

/// The repositories of a message, by their places in the report.
type Places = Vec<usize>;

/// All concerns: by kind, the worst first, and of a kind by message, the most frequent first.
pub(super) struct Causes {
    kinds: Vec<(Kind, Vec<(String, Places)>)>,
}

impl Causes {
    pub(super) fn of(report: &RunReport) -> Self {
        let mut kinds: BTreeMap<usize, (Kind, BTreeMap<String, Places>)> = BTreeMap::new();
        for (outcome, place) in report.repositories.iter().zip(0..) {
            for concern in concerns(outcome) {
                let (rank, kind) = (concern.rank(), concern.kind());
                let Concern { message, .. } = concern;
                let (_, messages) = kinds.entry(rank).or_insert_with(|| (kind, BTreeMap::new()));
                messages.entry(message).or_default().push(place);
            }
        }
        let kinds = kinds.into_values().map(|(kind, messages)| {
            let mut messages: Vec<(String, Places)> = messages.into_iter().collect();
            messages.sort_by_key(|(_, places)| (std::cmp::Reverse(places.len()), places.first().copied()));
            (kind, messages)
        });
        Self { kinds: kinds.collect() }
    }

    /// The repositories of each kind, which the page's script shows on request.
    pub(super) fn places(&self) -> Vec<Places> {
        let all = |messages: &[(String, Places)]| {
            let mut places: Places = messages.iter().flat_map(|(_, places)| places.iter().copied()).collect();
            places.sort_unstable();
            places.dedup();
            places
        };
        self.kinds.iter().map(|(_, messages)| all(messages)).collect()
    }
}

/// The section, or a line that says that nothing needs attention.
pub(super) fn section(report: &RunReport, causes: &Causes) -> Markup {
    let is_well = report.gaps.is_empty()
        && report.unfinished_batches.is_empty()
        && report.unreported_journal.is_empty()
        && causes.kinds.is_empty();
    let mut gaps: Vec<(&str, Vec<usize>)> = Vec::new();
    for (gap, place) in report.gaps.iter().zip(0..) {
        match gaps.iter_mut().find(|(problem, _)| *problem == gap.problem) {
            Some((_, places)) => places.push(place),
            None => gaps.push((&gap.problem, vec![place])),
        }
    }
    html! {
        @if is_well && report.error.is_none() {
            p.well { strong { "Nothing needs attention." } }
        } @else if !is_well {
            section aria-labelledby="attention" {
            h2 #attention { "Needs attention" }
            ul.findings {
                @if !gaps.is_empty() {
                    li {
                        p {
                            strong { (if report.gaps.len() == 1 { "A usage source could not be read" } else { "Usage sources could not be read" }) }
                            ": " (grouped(report.gaps.len() as u64))
                        }
                        ul {
                            @for (problem, places) in gaps.iter().take(SHOWN) {
                                li {
                                    strong { (problem) }
                                    ul {
                                        @for gap in places.iter().take(SHOWN).filter_map(|place| report.gaps.get(*place)) {
                                            li {
                                                (gap.source) ", for "
                                                @if gap.repositories.is_empty() { "all repositories" } @else { (gap.repositories.join(", ")) }
                                                "; to ignore it: " code { (gap.ignore_entry(report.ended_at)) }
                                            }
                                        }
                                        @let more = places.len().saturating_sub(SHOWN);
                                        @if more > 0 { li { "and " (grouped(more as u64)) " more; the report as JSON has all" } }
                                    }
                                }
                            }
                            @if gaps.len() > SHOWN { li { "and " (grouped((gaps.len() - SHOWN) as u64)) " more problems" } }
                        }
                        p.muted {
                            "Repair the source. Until then nothing is deleted from the repositories that it may use images of. If it does not \
                             matter, add the entry to " code { "ignore" } " below " code { "usage" } " in the policies file."
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
                @for ((kind, messages), place) in causes.kinds.iter().zip(0_usize..) { (cause(report, *kind, messages, place)) }
            }
            @if let Some(hint) = code_pages::hint(report.codes()) { p.muted { (hint) } }
            }
        }
    }
}

fn cause(report: &RunReport, kind: Kind, messages: &[(String, Places)], place: usize) -> Markup {
    let concerned: usize = messages.iter().map(|(_, places)| places.len()).sum();
    let named = |places: &Places| {
        let names = places.iter().take(NAMED).filter_map(|place| report.repositories.get(*place));
        names.map(|outcome| outcome.repository_name.as_str()).collect::<Vec<_>>().join(", ")
    };
    html! {
        // The script makes a button of it that shows the repositories.
        li data-cause=(place) {
            p { strong { (kind.what) } ": " (repositories(concerned as u64)) ", " (text::code(kind.code)) }
            ul {
                @for (message, places) in messages.iter().take(MESSAGES) {
                    li {
                        strong { (named(places)) }
                        @let more = places.len().saturating_sub(NAMED);
                        @if more > 0 { " and " (grouped(more as u64)) " more" }
                        ": " (text::prose(message))
                    }
                }
                @let more = messages.len().saturating_sub(MESSAGES);
                @if more > 0 { li { "and " (repositories(messages.iter().skip(MESSAGES).map(|(_, places)| places.len() as u64).sum())) } }
            }
            p.muted { (kind.advice) }
        }
    }
}

fn keys(what: &str, number: &str, advice: &str, keys: &[String]) -> Markup {
    let more = keys.len().saturating_sub(SHOWN);
    html! {
        @if !keys.is_empty() {
            li {
                p { strong { (what) } ": " (number) }
                ul {
                    @for key in keys.iter().take(SHOWN) { li { code.key { (key) } } }
                    @if more > 0 { li { "and " (grouped(more as u64)) " more; the report as JSON has all" } }
                }
                p.muted { (advice) }
            }
        }
    }
}
