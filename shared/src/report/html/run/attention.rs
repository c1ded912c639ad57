//! What somebody should look at, and what to do about it: by kind, since what to do is the same for all of a kind.

use maud::{Markup, html};

use super::{both, repositories, text};
use crate::quantity::{count, grouped};
use crate::report::run::RunReport;
use crate::run::outcome::{Fate, Outcome, Status};

/// So many of a kind are shown at once; the rest is folded.
const UNFOLDED: usize = 20;

/// The kinds, the worst first: what it is, and what to do. Codes of obstacles among them.
const KINDS: [(&str, &str, &str); 16] = [
    (
        "failed",
        "Could not be worked on",
        "See what AWS answered; the next run tries again. What is missing may be a permission.",
    ),
    (
        "partial",
        "Images could not be deleted",
        "See what ECR answered for each image in the table below; the next run tries again.",
    ),
    ("remaining", "Not finished", "The time of the function was up. The next run goes on with what is left."),
    (
        "usage-unknown",
        "What is in use is not known",
        "Mend the source that is named: a permission, an address, a list. Until then nothing goes from these repositories.",
    ),
    (
        "enforce-off",
        "The switch was turned off",
        "The parameter Enforce was not true any more when it would have been done. With Enforce=true the next run does it.",
    ),
    (
        "policies-file-changed",
        "The policies file was changed",
        "It is another one than when the run began. The next run goes by what is there now.",
    ),
    (
        "policies-file-not-previewed",
        "The policies file was not previewed",
        "The next run previews it, and the one after that enforces it.",
    ),
    (
        "run-too-old",
        "The run is too old",
        "What was decided more than a day ago is not done any more. Start another run.",
    ),
    (
        "limit-registry",
        "More images would go from the registry in a day than its limit allows",
        "The next days go on. If all of it is meant to go sooner, raise the limits at the top of the policies file.",
    ),
    (
        "reassigned",
        "Another policy is for the repository now",
        "Its tags were changed since the run began. The next run goes by what they are now.",
    ),
    (
        "limit-images",
        "More images would go than the limit allows",
        "If this is meant, raise the limit images of the policy in the book. If not, correct the rule.",
    ),
    (
        "limit-percent",
        "More of the repository would go than the limit allows",
        "If this is meant, raise the limit percent of the policy in the book. If not, correct the rule.",
    ),
    (
        "limit-remaining",
        "Fewer images would be left than the limit allows",
        "If this is meant, lower the limit remaining of the policy in the book. If not, correct the rule.",
    ),
    (
        "unread-manifest-lists",
        "Manifest lists could not be read",
        "Look whether ECR gives these manifests (ecr:BatchGetImage); the next run reads them again. Until then nothing goes, \
         since images that they list could be taken for others.",
    ),
    (
        "clock",
        "A clock is wrong",
        "Images were pushed after the present. Find the clock that is wrong; as long as it is, rules by age decide wrongly.",
    ),
    ("other", "Held back", "See what is said of each of them."),
];

/// Something to look at in one repository.
struct Trouble<'a> {
    /// Its place among the kinds.
    kind: usize,
    /// The repository's place in the report.
    place: usize,
    repository: &'a str,
    message: String,
}

fn kind(code: &str) -> usize {
    KINDS.iter().position(|(known, ..)| *known == code).unwrap_or(KINDS.len() - 1)
}

fn troubles(outcome: &Outcome, place: usize) -> Vec<Trouble<'_>> {
    let repository = outcome.repository_name.as_str();
    let trouble = |code: &str, message: String| Trouble { kind: kind(code), place, repository, message };
    let mut troubles = Vec::new();
    if let Some(error) = &outcome.error {
        troubles.push(trouble("failed", error.clone()));
    }
    if !outcome.failed.is_zero() || outcome.status == Status::Partial {
        let said = outcome.results.iter().find(|image| image.outcome == Fate::Failed);
        let said = said.and_then(|image| image.detail.as_deref());
        let said = said.map(|detail| format!(": {detail}")).unwrap_or_default();
        troubles.push(trouble("partial", format!("{}{said}", both(outcome.failed))));
    }
    if outcome.status == Status::Remaining {
        troubles.push(trouble(
            "remaining",
            format!("{} deleted so far", count(outcome.deleted.image_total_count, "image")),
        ));
    }
    troubles.extend(outcome.obstacles.iter().map(|held| trouble(&held.code, held.message.clone())));
    if troubles.is_empty() {
        troubles.push(trouble("other", super::ending(outcome.status).to_owned()));
    }
    troubles
}

/// The section, or a line that says that there is nothing.
pub(super) fn section(report: &RunReport) -> Markup {
    let mut troubles: Vec<Trouble<'_>> = report
        .repositories
        .iter()
        .zip(0..)
        .filter(|(outcome, _)| outcome.needs_attention())
        .flat_map(|(outcome, place)| troubles(outcome, place))
        .collect();
    troubles.sort_by_key(|trouble| trouble.kind);
    let is_well = report.gaps.is_empty()
        && report.unfinished_batches.is_empty()
        && report.untold_journal.is_empty()
        && troubles.is_empty();
    html! {
        @if is_well && report.error.is_none() {
            p.well { strong { "Nothing needs attention." } }
        } @else if !is_well {
            h3 { "Needs attention" }
            ul.findings {
                @for gap in &report.gaps {
                    li {
                        p {
                            strong { "What uses images is not known completely" } ": " (gap.source) ", for "
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
                            "Mend the source. Until then nothing goes from the repositories that it may use images of. If it does not \
                             matter, add to " code { "ignore" } " below " code { "usage" } " in the policies file: "
                            code { (gap.ignore_entry(report.ended_at)) }
                        }
                    }
                }
                (keys(
                    "A function was cut off while it deleted",
                    &count(report.untold_journal.len() as u64, "object"),
                    "These objects of the journal say what was about to be deleted. Whether it is gone, the next run sees.",
                    &report.untold_journal,
                ))
                (keys(
                    "Batches are not finished",
                    &text::plural(report.unfinished_batches.len() as u64, "batch", "batches"),
                    "Their function failed or was cut off; its log says why. The next run works on their repositories again.",
                    &report.unfinished_batches,
                ))
                @for group in troubles.chunk_by(|one, other| one.kind == other.kind) {
                    (self::group(group))
                }
            }
        }
    }
}

fn group(troubles: &[Trouble<'_>]) -> Markup {
    let first = troubles.first().and_then(|trouble| KINDS.get(trouble.kind));
    let Some((_, what, advice)) = first else { return html! {} };
    let lines: Vec<Markup> = troubles
        .iter()
        .map(|trouble| {
            html! {
                a href={ "#r" (trouble.place) } { (trouble.repository) } ": " (text::prose(&trouble.message))
            }
        })
        .collect();
    html! {
        li {
            p { strong { (what) } ": " (repositories(troubles.len() as u64)) }
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
