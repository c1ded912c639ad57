//! The parts of the page of a preview: what it is about, what is read without scripts, and its data island.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io;

use maud::{Markup, html};
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use super::island::{self, Sentence, Streamed, Tags, Words, sentence};
use super::{ImageResult, findings, text};
use crate::domain::lifecycle::document::{Action, LifecyclePolicy};
use crate::domain::preview::model::{KeptImage, PreviewReport, PreviewResult};
use crate::domain::text::finding::Finding;
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity::{bytes, count, grouped};
use crate::report::code_pages;

/// Images that are there without scripts.
pub(super) const ROWS_WITHOUT_SCRIPTS: usize = 500;
/// Findings that are shown at once; the others are folded.
const FINDINGS_SHOWN: usize = 5;
/// Findings that are folded; more are only counted.
const MOST_FINDINGS: usize = 10;
/// Repositories that a finding names.
const REPOSITORIES_NAMED: usize = 10;

/// A removed image, or a kept one.
#[derive(Clone, Copy)]
enum Row<'a> {
    Goes(&'a PreviewResult),
    Stays(&'a KeptImage),
}

impl<'a> Row<'a> {
    fn digest(self) -> &'a str {
        match self {
            Self::Goes(image) => &image.image_digest,
            Self::Stays(image) => &image.image_digest,
        }
    }

    fn tags(self) -> &'a [String] {
        match self {
            Self::Goes(image) => &image.image_tags,
            Self::Stays(image) => &image.image_tags,
        }
    }

    const fn pushed_at(self) -> Instant {
        match self {
            Self::Goes(image) => image.image_pushed_at,
            Self::Stays(image) => image.image_pushed_at,
        }
    }

    const fn size(self) -> u64 {
        match self {
            Self::Goes(image) => image.image_size_in_bytes,
            Self::Stays(image) => image.image_size_in_bytes,
        }
    }

    fn reason(self) -> &'a str {
        match self {
            Self::Goes(image) => &image.reason,
            Self::Stays(image) => &image.reason,
        }
    }

    fn result(self) -> ImageResult {
        match self {
            Self::Goes(image) if image.expires() => ImageResult::Expires,
            Self::Goes(_) => ImageResult::Archived,
            Self::Stays(_) => ImageResult::Stays,
        }
    }

    /// When a kept image is deleted if nothing changes, and whether it is archived instead.
    fn due(self) -> Option<(Instant, bool)> {
        match self {
            Self::Goes(_) => None,
            Self::Stays(image) => {
                image.expires_at.map(|at| (at, false)).or_else(|| image.transitions_at.map(|at| (at, true)))
            }
        }
    }

    /// What acts on it or keeps it, without which image that is.
    fn by(self) -> String {
        match self {
            Self::Goes(image) => format!("rule {}", image.applied_rule_priority),
            Self::Stays(image) => match image.kept_by.split_once(' ') {
                Some((kind @ ("index" | "subject"), _)) => kind.to_owned(),
                _ => image.kept_by.clone(),
            },
        }
    }

    const fn pass(self) -> Option<u16> {
        match self {
            Self::Goes(image) => image.pass,
            Self::Stays(_) => None,
        }
    }
}

/// All images of a report: first those that are removed, in the report's order, then those that are kept.
fn rows(report: &PreviewReport) -> impl Iterator<Item = Row<'_>> {
    report.preview_results.iter().map(Row::Goes).chain(report.kept.iter().map(Row::Stays))
}

/// The totals of some images.
#[derive(Debug, Clone, Copy, Default)]
struct Total {
    images: u64,
    size: u64,
}

impl Total {
    const fn add(&mut self, images: u64, size: u64) {
        self.images += images;
        self.size = self.size.saturating_add(size);
    }
}

/// The totals of all reports, by result.
fn totals(reports: &[PreviewReport]) -> [(ImageResult, Total); 3] {
    let mut totals = [ImageResult::Expires, ImageResult::Archived, ImageResult::Stays]
        .map(|result| (result, Total::default()));
    for PreviewReport { summary, .. } in reports {
        for (result, total) in &mut totals {
            let (images, size) = match result {
                ImageResult::Expires => {
                    (summary.expiring_image_total_count, summary.expiring_image_size_in_bytes)
                }
                ImageResult::Archived => {
                    (summary.transitioning_image_total_count(), summary.transitioning_image_size_in_bytes)
                }
                ImageResult::Stays => (summary.kept_image_total_count, summary.kept_image_size_in_bytes),
            };
            total.add(images, size);
        }
    }
    totals
}

/// What the page is about, and its result in a sentence.
pub(super) fn headline(reports: &[PreviewReport]) -> Markup {
    let totals = totals(reports);
    let [(_, expire), (_, archive), (_, stay)] = totals;
    let mut all = Total::default();
    totals.iter().for_each(|(_, total)| all.add(total.images, total.size));
    let without_policy = reports.iter().filter(|report| report.lifecycle_policy_text.is_none()).count();
    html! {
        h1 {
            @match reports {
                [report] => (report.title()),
                reports => (text::plural(reports.len() as u64, "repository", "repositories")),
            }
        }
        @if let [first, ..] = reports {
            p.lead {
                strong { (grouped(expire.images)) } " of " (count(all.images, "image"))
                (if expire.images == 1 { " expires" } else { " expire" })
                @if archive.images > 0 {
                    ", " strong { (grouped(archive.images)) }
                    (if archive.images == 1 { " moves" } else { " move" }) " to the archive"
                }
                ", " strong { (grouped(stay.images)) } (if stay.images == 1 { " is" } else { " are" }) " kept: "
                strong { (bytes(expire.size)) } " of " (bytes(all.size)) " would be deleted."
            }
            p.note {
                "A preview of the lifecycle policy, evaluated for "
                (text::time(first.evaluated_at, &text::minute(first.evaluated_at))) " UTC"
                @if let ([_], Some(registry)) = (reports, &first.registry_id) { ", registry " (registry) }
                "; nothing has been changed. Images share layers, and a shared layer is counted in each of them: sizes are sums \
                 that overstate what is freed."
            }
        }
        @match (reports, without_policy) {
            ([], _) => { p.notice { "There is no repository to report on." } },
            (_, 0) => {},
            ([_], _) => { p.notice { strong { "No lifecycle policy." } " Nothing expires; every image is kept." } },
            (_, number) => {
                p.notice {
                    strong { (text::plural(number as u64, "repository has", "repositories have")) " no lifecycle policy." }
                    " Nothing expires there."
                }
            },
        }
    }
}

/// The findings about one place of policies, with the repositories that they are about.
struct Found<'a> {
    first: &'a Finding,
    /// Whether others say it in other words, with other numbers.
    differs: bool,
    repositories: Vec<&'a str>,
}

/// Each finding once, with the repositories that it is about.
pub(super) fn all_findings(reports: &[PreviewReport]) -> Markup {
    let mut found: BTreeMap<(&str, &str, Option<&str>), Found<'_>> = BTreeMap::new();
    for report in reports {
        for finding in &report.findings {
            // One repository may have several of a kind at the same place.
            let message = (reports.len() == 1).then_some(finding.message.as_str());
            let key = (finding.code.as_str(), finding.pointer.as_str(), message);
            let new = || Found { first: finding, differs: false, repositories: Vec::new() };
            let found = found.entry(key).or_insert_with(new);
            found.differs |= found.first.message != finding.message;
            if found.repositories.last() != Some(&report.title()) {
                found.repositories.push(report.title());
            }
        }
    }
    let mut found: Vec<Found<'_>> = found.into_values().collect();
    found.sort_by_key(|found| std::cmp::Reverse(found.repositories.len()));
    let line = |Found { first, differs, repositories }: &Found<'_>| {
        html! {
            li {
                (findings(first))
                @if reports.len() > 1 {
                    p.muted {
                        @if *differs { "This is of the first repository; with other numbers " }
                        (if *differs { "in " } else { "In " })
                        (repositories.iter().take(REPOSITORIES_NAMED).copied().collect::<Vec<_>>().join(", "))
                        @let more = repositories.len().saturating_sub(REPOSITORIES_NAMED);
                        @if more > 0 { " and " (grouped(more as u64)) " more" }
                    }
                }
            }
        }
    };
    let (shown, folded) = found.split_at(found.len().min(FINDINGS_SHOWN));
    html! {
        @if !found.is_empty() {
            section aria-labelledby="findings" {
                h2 #findings { "Findings " span.badge { (grouped(found.len() as u64)) } }
                ul.findings { @for one in shown { (line(one)) } }
                @if let Some(hint) = code_pages::hint(found.iter().map(|found| found.first.code.as_str())) {
                    p.note { (hint) }
                }
                @if !folded.is_empty() {
                    details.findings {
                        summary { (grouped(folded.len() as u64)) " more" }
                        ul.findings { @for one in folded.iter().take(MOST_FINDINGS) { (line(one)) } }
                        @if folded.len() > MOST_FINDINGS {
                            p.muted { "And " (grouped((folded.len() - MOST_FINDINGS) as u64)) " more; the JSON output has all of them." }
                        }
                    }
                }
            }
        }
    }
}

/// A rule in words, by which the same rule of several policies is one.
type RuleKey = (u64, String, Option<String>);

/// What is there without scripts: the totals, what each rule does, and the first images.
pub(super) fn without_scripts(reports: &[PreviewReport]) -> Markup {
    let images: usize = reports.iter().map(|report| report.preview_results.len() + report.kept.len()).sum();
    let totals = totals(reports);
    let whole = totals.iter().fold(0_u64, |whole, (_, total)| whole.saturating_add(total.size));
    let rules = rules(reports);
    let line = |name: &str, description: Option<&str>, total: Total| {
        html! {
            tr {
                th scope="row" {
                    (name)
                    @if let Some(description) = description { span.muted.description { (description) } }
                }
                td.number { (grouped(total.images)) }
                td.number { (bytes(total.size)) }
                td.number { (text::percent(total.size, whole)) }
            }
        }
    };
    let head = |first: &str| {
        html! {
            thead {
                tr {
                    th scope="col" { (first) }
                    @for name in ["Images", "Size", "Share"] { th.number scope="col" { (name) } }
                }
            }
        }
    };
    html! {
        noscript {
            @if images > 0 {
                h2 { "Totals" }
                table.figures {
                    (head("What happens"))
                    tbody {
                        @for (result, total) in totals {
                            @if result != ImageResult::Archived || total.images > 0 { (line(result.heading(), None, total)) }
                        }
                    }
                }
                @if !rules.is_empty() {
                    h2 { "Rules" }
                    table.figures {
                        (head("Rule"))
                        tbody {
                            @for ((_, name, description), total) in &rules { (line(name, description.as_deref(), *total)) }
                        }
                    }
                }
                h2 { "Images " span.badge { (grouped(images as u64)) } }
                @if images > ROWS_WITHOUT_SCRIPTS {
                    p.notice {
                        "The first " (grouped(ROWS_WITHOUT_SCRIPTS as u64)) " of " (grouped(images as u64))
                        ". In a browser that runs the script of this page, and in the JSON output, are all of them."
                    }
                }
                @let all = reports.iter().flat_map(|report| rows(report).map(move |row| (report, row)));
                (text::images(["What happens", "By", "Reason"], all.take(ROWS_WITHOUT_SCRIPTS).map(|(report, row)| html! {
                    tr {
                        td { (text::digest(row.digest())) }
                        td { (report.title()) }
                        td { (row.tags().join(", ")) }
                        td { (text::minute(row.pushed_at())) }
                        td { (bytes(row.size())) }
                        td {
                            (row.result().word())
                            @if let Some((at, moves)) = row.due() {
                                (if moves { ", archived " } else { ", expires " }) (text::day(at))
                            }
                        }
                        td { (row.by()) }
                        td { (text::prose(row.reason())) }
                    }
                })))
            }
        }
    }
}

/// What each rule acts on, also rules that act on nothing.
fn rules(reports: &[PreviewReport]) -> BTreeMap<RuleKey, Total> {
    let mut totals: BTreeMap<RuleKey, Total> = BTreeMap::new();
    for report in reports {
        let mut of_priority: BTreeMap<u64, Total> = BTreeMap::new();
        for image in &report.preview_results {
            of_priority.entry(image.applied_rule_priority).or_default().add(1, image.image_size_in_bytes);
        }
        for Rule(priority, name, description, _) in rules_of(report) {
            let total = of_priority.remove(&priority).unwrap_or_default();
            totals.entry((priority, name, description)).or_default().add(total.images, total.size);
        }
    }
    totals
}

/// The priority, the words, the description and the result of a rule.
#[derive(Debug, Serialize)]
struct Rule(u64, String, Option<String>, ImageResult);

/// The rules of a report's policy. Where that is none that this version reads, those that its results name.
fn rules_of(report: &PreviewReport) -> Vec<Rule> {
    let Some(text) = &report.lifecycle_policy_text else { return Vec::new() };
    let policy = LifecyclePolicy::parse(text);
    let mut rules: BTreeMap<u64, Rule> = BTreeMap::new();
    for rule in policy.as_ref().map(LifecyclePolicy::rules).unwrap_or_default() {
        let result = match rule.action {
            Action::Expire => ImageResult::Expires,
            Action::Transition => ImageResult::Archived,
        };
        rules.insert(rule.priority, Rule(rule.priority, rule.to_string(), rule.description.clone(), result));
    }
    for image in report.preview_results.iter().map(Row::Goes) {
        if let Row::Goes(PreviewResult { applied_rule_priority: priority, .. }) = image {
            let unknown = || Rule(*priority, format!("rule {priority}"), None, image.result());
            rules.entry(*priority).or_insert_with(unknown);
        }
    }
    rules.into_values().collect()
}

/// A policy of the island.
#[derive(Debug, Serialize)]
struct Policy {
    text: String,
    rules: Vec<Rule>,
}

/// The island: repositories with their images, and then what these have the places of.
#[derive(Serialize)]
#[serde(bound = "")]
struct Island<'a, I: Iterator<Item: Serialize>> {
    repositories: Streamed<I>,
    policies: Vec<Policy>,
    groups: &'a Groups,
    sentences: &'a Words,
}

/// Results with what acts or keeps, each once.
#[derive(Debug, Default)]
struct Groups(RefCell<Vec<(ImageResult, String)>>);

impl Groups {
    fn place(&self, row: Row<'_>) -> usize {
        let (result, by) = (row.result(), row.by());
        let mut groups = self.0.borrow_mut();
        let known = groups.iter().position(|group| group.0 == result && group.1 == by);
        known.unwrap_or_else(|| {
            groups.push((result, by));
            groups.len() - 1
        })
    }
}

impl Serialize for Groups {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.borrow().serialize(serializer)
    }
}

/// A repository of the island: its name, the time in milliseconds, the place of its policy, and its images.
#[derive(Serialize)]
#[serde(bound = "")]
struct Repository<'a, I: Iterator<Item: Serialize>>(&'a str, i64, Option<usize>, Streamed<I>);

/// An image of the island. Times are in seconds from that of the evaluation.
struct Line<'a> {
    row: Row<'a>,
    now: Instant,
    group: usize,
    reason: Sentence,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { row, now, group, reason } = self;
        let seconds = |at: Instant| at.micros().saturating_sub(now.micros()).div_euclid(1_000_000);
        let mut items = serializer.serialize_seq(None)?;
        items.serialize_element(island::digest(row.digest()))?;
        items.serialize_element(&Tags(row.tags()))?;
        items.serialize_element(&seconds(row.pushed_at()))?;
        items.serialize_element(&row.size())?;
        items.serialize_element(group)?;
        items.serialize_element(reason)?;
        match row.due() {
            Some((at, true)) => items.serialize_element(&[seconds(at)])?,
            Some((at, false)) => items.serialize_element(&seconds(at))?,
            None if row.pass().is_some() => items.serialize_element(&())?,
            None => {}
        }
        if let Some(pass) = row.pass() {
            items.serialize_element(&pass)?;
        }
        items.end()
    }
}

/// Writes the island.
pub(super) fn island(reports: &[PreviewReport], out: &mut impl io::Write) -> io::Result<()> {
    let (groups, sentences) = (Groups::default(), Words::default());
    let mut policies: Vec<Policy> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut of_reports = Vec::with_capacity(reports.len());
    for report in reports {
        let place = report.lifecycle_policy_text.as_deref().map(|text| {
            *places.entry(text).or_insert_with(|| {
                let parsed = LifecyclePolicy::parse(text);
                let pretty = parsed.as_ref().map(LifecyclePolicy::to_json_pretty);
                policies.push(Policy { text: pretty.unwrap_or_else(|_| text.to_owned()), rules: Vec::new() });
                policies.len() - 1
            })
        });
        // A policy that this version does not read has the rules that the results name, which differ.
        if let Some(policy) = place.and_then(|place| policies.get_mut(place)) {
            for rule in rules_of(report) {
                if !policy.rules.iter().any(|known| known.0 == rule.0) {
                    policy.rules.push(rule);
                }
            }
        }
        of_reports.push(place);
    }
    let repositories = reports.iter().zip(of_reports).map(|(report, policy)| {
        let digests: HashMap<&str, usize> = rows(report).map(Row::digest).zip(0..).collect();
        let (groups, sentences) = (&groups, &sentences);
        let lines = rows(report).map(move |row| {
            let due = row.due().map(|(at, _)| at.to_string());
            let place_of = |digest: &str| digests.get(digest).copied();
            let reason = sentence(row.reason(), due.as_deref(), place_of, sentences);
            Line { row, now: report.evaluated_at, group: groups.place(row), reason }
        });
        let now = report.evaluated_at.micros() / 1000;
        Repository(report.title(), now, policy, Streamed::new(lines))
    });
    let island = Island {
        repositories: Streamed::new(repositories),
        policies,
        groups: &groups,
        sentences: &sentences,
    };
    island::write(&island, out)
}
