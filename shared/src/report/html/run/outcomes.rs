//! The repositories of a run with something to report, and their images: as data for the page's script, and as tables without it.

use std::cell::RefCell;

use maud::{Markup, html};
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use super::super::island::{self, Sentence, Streamed, Tags, Words, sentence};
use super::table::{Cell, Column, ROWS_WITHOUT_SCRIPTS, Table};
use super::{ending, protection, repositories, text};
use crate::domain::enforcement::outcome::{
    Amount, Attached, ImageOutcome, ImageResult, Outcome, PolicyChange, SHOWN, Status,
};
use crate::domain::enforcement::policy_set::Apply;
use crate::domain::preview::model::ActionKind;
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity::{bytes, count, grouped};
use crate::report::run::{RunReport, storage_sentence};

const COLUMNS: [Column; 9] = [
    Column("Repository", false),
    Column("Policy", false),
    Column("Status", false),
    Column("Images", true),
    Column("Size", true),
    Column("Expired", true),
    Column("Deleted", true),
    Column("In use", true),
    Column("Blocked", true),
];

/// An option of the filter: its label, and whether it applies to an outcome.
type Choice = (&'static str, fn(&Outcome) -> bool);

const CHOICES: [Choice; 8] = [
    ("that need attention", Outcome::needs_attention),
    ("that images were deleted from", |outcome| !outcome.deleted.is_zero()),
    ("with images that expire", |outcome| !outcome.expiring.is_zero()),
    ("with protected images (in use)", |outcome| !outcome.protected_by_use.is_zero()),
    ("with blocked images", |outcome| !blocked(outcome).is_zero()),
    ("whose attached policy or tags changed", |outcome| {
        outcome.attachment.as_ref().is_some_and(Attached::has_changed)
    }),
    ("whose policy is suspended", |outcome| outcome.attachment.as_ref().is_some_and(Attached::is_suspended)),
    ("that are not as the policies file says", |outcome| !outcome.drift.is_empty()),
];

/// What is not deleted since something blocks it.
fn blocked(outcome: &Outcome) -> Amount {
    if outcome.blockers.is_empty() { Amount::default() } else { outcome.expiring }
}

/// What the report leaves out, as a sentence each.
pub(super) fn left_out(report: &RunReport) -> Vec<Markup> {
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
    let mut sentences = Vec::new();
    if !missing.is_empty() {
        sentences.push(html! {
            p.notice {
                strong { (missing.join(" and ")) (if is_one_missing { " is" } else { " are" }) " not shown." }
                " All repositories are in the outcomes of the run, below "
                code { (report.place.address(&report.run.outcomes_prefix())) } ", with the first " (grouped(SHOWN as u64))
                " images or so of each"
                @if !report.run.dry_run { "; every image that the run deleted is in the journal" } "."
            }
        });
    }
    if quiet > 0 {
        sentences.push(html! {
            p.note {
                (repositories(quiet)) " with a policy, where all is as it should be, "
                (if quiet == 1 { "is" } else { "are" }) " only counted."
            }
        });
    }
    sentences
}

fn cells(outcome: &Outcome) -> Vec<Cell> {
    let policy = outcome.policy.as_deref().unwrap_or_default();
    let apply = outcome.apply.map_or("", Apply::name);
    vec![
        Cell::from(outcome.repository_name.as_str()),
        Cell::from(policy).with_small(apply),
        Cell::from(ending(outcome.status)).strong(outcome.needs_attention()),
        Cell::number(outcome.images.image_total_count),
        Cell::size(outcome.images.image_size_in_bytes),
        Cell::amount(outcome.expiring),
        Cell::amount(outcome.deleted),
        Cell::amount(outcome.protected_by_use),
        Cell::amount(blocked(outcome)),
    ]
}

fn attachment(attached: &Attached) -> String {
    let policy = match attached.lifecycle_policy {
        PolicyChange::Unchanged if attached.is_suspended() => "suspended",
        PolicyChange::Unchanged => "unchanged",
        PolicyChange::Attached => "attached",
        PolicyChange::ToBeAttached => "to be attached",
        PolicyChange::Suspended => "suspended",
        PolicyChange::ToBeSuspended => "to be suspended",
    };
    match attached.tags_added {
        0 => policy.to_owned(),
        tags => format!("{policy}, {} added", count(tags, "tag")),
    }
}

/// What there is to tell of a repository: headings with a line or more each.
fn details(outcome: &Outcome, protection_hours: u32) -> Vec<(&'static str, Vec<String>)> {
    let one = |text: &Option<String>| text.iter().cloned().collect::<Vec<_>>();
    let blockers = outcome.blockers.iter().map(|held| format!("{}: {}", held.code, held.message));
    let findings = outcome.findings.iter().map(|finding| {
        let at = if finding.pointer.is_empty() { String::new() } else { format!(" at {}", finding.pointer) };
        format!("{}{at}: {}", finding.code, finding.message)
    });
    let amounts = [
        ("Moves to the archive", outcome.transitioning),
        ("Archived", outcome.archived),
        ("Protected (kept)", outcome.protected_by_keep),
        ("Put back", outcome.put_back),
        ("Failed", outcome.failed),
    ];
    let amounts = amounts
        .into_iter()
        .filter(|(_, amount)| !amount.is_zero())
        .map(|(label, amount)| format!("{label}: {}", super::both(amount)));
    let attached = outcome.attachment.as_ref().map(attachment);
    let others: Vec<String> = outcome.replicated_tags.iter().chain(&outcome.signed_tags).cloned().collect();
    let not_shown = match outcome.results_not_shown {
        0 => Vec::new(),
        more => vec![format!("{} not shown.", count(more, "more image"))],
    };
    let all = [
        ("Error", one(&outcome.error)),
        ("Its own lifecycle policy", one(&outcome.native_policy)),
        ("Attached policy", one(&attached)),
        (
            "Protection from ECR's own engine",
            protection::facts(outcome, protection_hours).unwrap_or_default(),
        ),
        ("Protection tags", others),
        ("Why the plan is not executed", blockers.collect()),
        ("How it differs from the policies file", outcome.drift.clone()),
        ("Findings", findings.collect()),
        ("Written down before anything was deleted", outcome.journal.clone()),
        ("Storage", storage_sentence(outcome).into_iter().collect()),
        ("Images", amounts.chain(not_shown).collect()),
    ];
    all.into_iter().filter(|(_, lines)| !lines.is_empty()).collect()
}

/// The table of the repositories, as it is without scripts.
pub(super) fn table(report: &RunReport) -> Option<Table> {
    let shown = report.repositories.len() as u64;
    (shown > 0).then(|| Table {
        title: "Repositories",
        number: shown,
        note: "Those that need attention first, then those from which most is deleted.".to_owned(),
        columns: &COLUMNS,
        rows: report.repositories.iter().take(ROWS_WITHOUT_SCRIPTS + 1).map(cells).collect(),
    })
}

/// The first images, as they are without scripts.
pub(super) fn images(report: &RunReport) -> Markup {
    let all = report
        .repositories
        .iter()
        .flat_map(|outcome| outcome.results.iter().map(move |image| (outcome, image)));
    let number = report.repositories.iter().map(|outcome| outcome.results.len() as u64).sum::<u64>();
    html! {
        @if number > 0 {
            h2 { "Images " span.badge { (grouped(number)) } }
            @if number > ROWS_WITHOUT_SCRIPTS as u64 {
                p.notice { "The first " (grouped(ROWS_WITHOUT_SCRIPTS as u64)) " of " (grouped(number)) "." }
            }
            (text::images(["Rule", "Outcome", "Reason"], all.take(ROWS_WITHOUT_SCRIPTS).map(|(outcome, image)| html! {
                tr {
                    td { (text::digest(&image.image_digest)) }
                    td { (outcome.repository_name) }
                    td { (image.image_tags.join(", ")) }
                    td { (text::minute(image.image_pushed_at)) }
                    td { (bytes(image.image_size_in_bytes)) }
                    td { (image.applied_rule_priority) }
                    td { (result(image).1) }
                    td {
                        (text::prose(&image.reason))
                        @if let Some(detail) = &image.detail { p { (text::prose(detail)) } }
                    }
                }
            })))
        }
    }
}

/// The class and the words of an image's result.
const fn result(image: &ImageOutcome) -> (&'static str, &'static str) {
    match image.outcome {
        ImageResult::Planned if matches!(image.action.kind, ActionKind::Transition) => {
            ("archive", "Planned, for the archive")
        }
        ImageResult::Planned => ("later", "Planned"),
        ImageResult::Deleted => ("expire", "Deleted"),
        ImageResult::Archived => ("archive", "Archived"),
        ImageResult::InUse => ("held", "In use"),
        ImageResult::Kept => ("keep", "Kept"),
        ImageResult::Blocked => ("blocked", "Blocked"),
        ImageResult::Failed => ("failed", "Failed"),
        ImageResult::Unknown => ("failed", "Unknown"),
        ImageResult::PutBack => ("keep", "Put back"),
    }
}

/// The part of the island about repositories.
#[derive(Serialize)]
#[serde(bound = "")]
pub(super) struct Repositories<I: Iterator<Item: Serialize>> {
    columns: &'static [Column],
    choices: Vec<&'static str>,
    rows: Streamed<I>,
}

/// A repository of the island: its cells, which choices apply to it, its details, and its images.
#[derive(Serialize)]
struct Repository<'a>(Vec<Cell>, Vec<usize>, Vec<(&'static str, Vec<String>)>, Images<'a>);

/// The images of a repository, written as they come.
struct Images<'a> {
    outcome: &'a Outcome,
    started_at: Instant,
    sentences: &'a Words,
    results: &'a Results,
}

/// Results by class and words, each once.
#[derive(Debug, Default)]
pub(super) struct Results(RefCell<Vec<(&'static str, &'static str)>>);

impl Results {
    fn place(&self, image: &ImageOutcome) -> usize {
        let (mut known, result) = (self.0.borrow_mut(), result(image));
        let place = known.iter().position(|one| *one == result);
        place.unwrap_or_else(|| {
            known.push(result);
            known.len() - 1
        })
    }
}

impl Serialize for Results {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.borrow().serialize(serializer)
    }
}

impl Serialize for Images<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.outcome.results.iter().map(|image| Image { of: self, image }))
    }
}

/// An image of the island. Its push is in seconds from the beginning of the run.
struct Image<'a> {
    of: &'a Images<'a>,
    image: &'a ImageOutcome,
}

impl Serialize for Image<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { of, image } = self;
        let words = |text: &str| -> Sentence { sentence(text, None, |_| None, of.sentences) };
        let since = image.image_pushed_at.micros().saturating_sub(of.started_at.micros());
        let mut items = serializer.serialize_seq(None)?;
        items.serialize_element(island::digest(&image.image_digest))?;
        items.serialize_element(&Tags(&image.image_tags))?;
        items.serialize_element(&since.div_euclid(1_000_000))?;
        items.serialize_element(&image.image_size_in_bytes)?;
        items.serialize_element(&image.applied_rule_priority)?;
        items.serialize_element(&of.results.place(image))?;
        items.serialize_element(&words(&image.reason))?;
        if let Some(detail) = &image.detail {
            items.serialize_element(&words(detail))?;
        }
        items.end()
    }
}

/// The repositories, as the island has them.
pub(super) fn repositories_of<'a>(
    report: &'a RunReport,
    sentences: &'a Words,
    results: &'a Results,
) -> Repositories<impl Iterator<Item: Serialize>> {
    let rows = report.repositories.iter().map(move |outcome| {
        let choices = CHOICES.iter().zip(0..).filter(|((_, applies), _)| applies(outcome));
        let images = Images { outcome, started_at: report.run.started_at, sentences, results };
        Repository(
            cells(outcome),
            choices.map(|(_, place)| place).collect(),
            details(outcome, report.protection_hours),
            images,
        )
    });
    Repositories {
        columns: &COLUMNS,
        choices: CHOICES.iter().map(|(label, _)| *label).collect(),
        rows: Streamed::new(rows),
    }
}
