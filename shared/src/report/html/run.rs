//! The page of a run: what was deleted and why, what was not and why, what needs attention, and where it is journaled.
//!
//! | module | contains |
//! | --- | --- |
//! | `attention` | what needs attention, and the advice |
//! | `protection` | the policies that ECR enforces, and until when each is protected |
//! | `outcomes` | the repositories, each with its images |
//! | `sources` | the usage sources that were read |
//! | `links` | the consoles of AWS |
//! | `table` | tables, with and without scripts |

use std::io;

use maud::{Markup, html};
use serde::Serialize;

use super::island::{self, Words};
use super::{Page, RUN_SCRIPT, bar, text, to_text};
use crate::domain::enforcement::journal;
use crate::domain::enforcement::outcome::{Amount, SHOWN, Status};
use crate::domain::image::layers::LayerBytes;
use crate::domain::text::quantity::{bytes, count, dollars, grouped};
use crate::report::attention::KINDS;
use crate::report::run::{
    EarlierRun, LARGEST, NEXT, Part, RunReport, RunStatus, Totals, cost_facts, dry_run_notice, facts, money,
    other_notices, size, tags_notice,
};

mod attention;
mod links;
mod outcomes;
mod protection;
mod sources;
mod table;

use attention::Causes;
use outcomes::Results;
use table::{Cell, Column, Table};

/// Parts of an amount that are shown; the others are one.
const PARTS_SHOWN: usize = 8;

/// Writes the report of a run as one page, image by image. The same report gives the same page.
///
/// # Errors
///
/// Those of the writer.
pub fn write(report: &RunReport, out: &mut impl io::Write) -> io::Result<()> {
    let title = report.title();
    let causes = Causes::of(report);
    let tables = tables(report);
    let main = html! {
        (headline(report))
        (picture(report))
        (attention::section(report, &causes))
        (parts(report))
        (trend(report))
        @for sentence in outcomes::left_out(report) { (sentence) }
        noscript {
            @for table in outcomes::table(report).iter().chain(&tables) { (table.markup()) }
            (outcomes::images(report))
        }
        div #view {}
    };
    let island = |out: &mut _| {
        let (sentences, results) = (Words::default(), Results::default());
        let island = Island {
            started: report.run.started_at.micros() / 1000,
            tables: &tables,
            causes: causes.places(),
            repositories: outcomes::repositories_of(report, &sentences, &results),
            results: &results,
            sentences: &sentences,
        };
        island::write(&island, out)
    };
    Page { title: &title, script: RUN_SCRIPT }.write(&main, &footer(report), island, out)
}

/// The same page as a text.
#[must_use]
pub fn render(report: &RunReport) -> String {
    to_text(|out| write(report, out))
}

/// The data of the page. What refers to the last two comes before them.
#[derive(Serialize)]
struct Island<'a, R: Serialize> {
    /// The beginning of the run, in milliseconds.
    started: i64,
    tables: &'a [Table],
    /// For each cause the repositories that it is about.
    causes: Vec<Vec<usize>>,
    repositories: R,
    results: &'a Results,
    sentences: &'a Words,
}

/// All tables but those of repositories and images.
fn tables(report: &RunReport) -> Vec<Table> {
    let tables = [
        policies(report),
        protection::table(report),
        largest(report),
        costs(report),
        unmatched(report),
        sources::table(report),
    ];
    tables.into_iter().flatten().collect()
}

const fn word(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Succeeded => "Succeeded",
        RunStatus::Attention => "Needs attention",
        RunStatus::Failed => "Failed",
    }
}

/// The class of a status.
const fn class(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Succeeded => "well",
        RunStatus::Attention => "attention",
        RunStatus::Failed => "failed",
    }
}

/// The word for a repository's status.
const fn ending(status: Status) -> &'static str {
    match status {
        Status::Previewed => "Previewed",
        Status::Done => "Done",
        Status::Unfinished => "Not finished",
        Status::Blocked => "Blocked",
        Status::Partial => "Partly done",
        Status::Failed => "Failed",
        Status::RepositoryDeleted => "Gone",
        Status::Unmatched => "No policy",
    }
}

fn repositories(number: u64) -> String {
    text::plural(number, "repository", "repositories")
}

const fn noun(number: u64, one: &'static str, many: &'static str) -> &'static str {
    if number == 1 { one } else { many }
}

/// `3 images, 1.2 GB`.
fn both(amount: Amount) -> String {
    format!("{}, {}", count(amount.image_total_count, "image"), bytes(amount.image_size_in_bytes))
}

/// What the run did, in a sentence.
fn lead(report: &RunReport) -> Markup {
    let totals = &report.totals;
    let is_dry = report.run.dry_run;
    let (gone, did) = match is_dry {
        true => (totals.to_be_deleted, "would be deleted"),
        false => (totals.deleted, "deleted"),
    };
    html! {
        p.lead {
            @if report.run.protect_only {
                strong { (count(totals.tags_added, "protection tag")) } " added in "
                (repositories(totals.protected_repositories)) "."
            } @else if !report.has_policies_file {
                strong { (both(totals.images)) } " in " (repositories(totals.repositories)) ", none of them under a policy."
            } @else {
                @if gone.is_zero() && !is_dry { strong { "Nothing was deleted" } } @else { strong { (both(gone)) } " " (did) }
                " of " (both(totals.images)) " in " (repositories(totals.repositories))
                @if !totals.protected_by_use.is_zero() {
                    "; " strong { (both(totals.protected_by_use)) } " would expire and "
                    (noun(totals.protected_by_use.image_total_count, "is", "are")) " in use"
                }
                @if totals.needing_attention > 0 {
                    "; " strong { (repositories(totals.needing_attention)) }
                    (noun(totals.needing_attention, " needs", " need")) " attention"
                }
                "."
            }
        }
    }
}

fn headline(report: &RunReport) -> Markup {
    let (run, totals) = (&report.run, &report.totals);
    let links = links::links(report);
    html! {
        h1 { (report.title()) " " span class={ "badge state " (class(report.status)) } { (word(report.status)) } }
        @if report.error.is_none() { (lead(report)) }
        dl.facts {
            div { dt { "Run" } dd { (run.run_id) } }
            div { dt { "Took" } dd { (text::duration(run.started_at, report.ended_at)) } }
            div {
                dt { "Dry run" }
                dd {
                    @if run.protect_only { "protect-only run, nothing was deleted" }
                    @else if run.only_protects() { "yes, nothing was deleted" }
                    @else if run.dry_run { "yes, nothing was changed" }
                    @else { "no" }
                }
            }
            @if let Some(by) = &run.started_by { div { dt { "Started by" } dd { (by) } } }
            div {
                dt { "Policies file" }
                dd {
                    @match (&run.policies_file_version, report.has_policies_file) {
                        (Some(version), _) => { "version " code { (version) } }
                        (None, true) => "version not known",
                        // The run failed before it looked.
                        (None, false) if report.error.is_some() => "not read",
                        (None, false) => "none",
                    }
                }
            }
            @for (label, fact) in cost_facts(report) { div { dt { (label) } dd { (fact) } } }
            @if totals.protected_repositories > 0 {
                div {
                    dt { "Enforced by ECR" }
                    dd { (repositories(totals.protected_repositories)) ", " (grouped(totals.suspended_policies)) " suspended" }
                }
            }
            @if !totals.expiring_by_ecr.is_zero() { div { dt { "Expired by ECR" } dd { (both(totals.expiring_by_ecr)) ", within a day" } } }
            @if totals.tags_added > 0 && !run.protect_only {
                div { dt { "Images newly protected" } dd { (count(totals.tags_added, "tag")) } }
            }
            @if !totals.put_back.is_zero() { div { dt { "Put back" } dd { (both(totals.put_back)) } } }
            @if totals.native_policies_at_risk > 0 {
                div { dt { "Own policies at risk" } dd { (repositories(totals.native_policies_at_risk)) } }
            }
            @if totals.drifted > 0 { div { dt { "Not as the policies file says" } dd { (repositories(totals.drifted)) } } }
            @if !totals.statuses.is_empty() {
                div {
                    dt { "Repositories" }
                    dd {
                        @for ((status, number), place) in totals.statuses.iter().zip(0..) {
                            @if place > 0 { ", " }
                            (grouped(*number)) " " (ending(*status).to_lowercase())
                        }
                    }
                }
            }
            @if !links.is_empty() {
                div {
                    dt { "In AWS" }
                    dd {
                        @for (link, place) in links.iter().zip(0..) {
                            @if place > 0 { ", " }
                            a href=(link.address) rel="noreferrer" { (link.text) }
                        }
                    }
                }
            }
        }
        @if let Some(error) = &report.error {
            p.notice.bad { strong { "The run failed." } " " (error) }
        }
        @for notice in dry_run_notice(report).iter().chain(&tags_notice(report)).chain(&other_notices(report)) {
            p.notice { (text::prose(notice)) }
        }
        @if let Some(unchanged) = &report.unchanged {
            p.notice { (unchanged.sentence()) "." }
        }
        @if !report.has_policies_file && report.error.is_none() {
            p.notice {
                strong { "There is no policies file." }
                " No repository has a policy, and nothing is done. Put a " code { "policies.yaml" }
                " into the stack's bucket; the next run follows it. "
                @if report.survey.is_some() { (text::prose(NEXT)) }
            }
            @if report.survey.is_some() {
                section aria-labelledby="survey" {
                    h2 #survey { "What the registry has" }
                    dl.facts.survey {
                        @for (label, fact) in facts(report) { div { dt { (label) } dd { (fact) } } }
                    }
                }
            }
        }
    }
}

/// All images by result: classes, words and amounts, which add up to all of them.
fn shares(totals: &Totals) -> Vec<(&'static str, &'static str, Amount)> {
    let all = totals.images;
    let is_dry = !totals.to_be_deleted.is_zero();
    let gone = if is_dry { totals.to_be_deleted } else { totals.deleted };
    let moved = if totals.archived.is_zero() { totals.transitioning } else { totals.archived };
    // What ECR itself takes, and what this run did not come to.
    let later = [gone, totals.blocked, totals.failed].into_iter().fold(totals.expiring, Amount::less);
    let others = [
        gone,
        moved,
        later,
        totals.protected_by_use,
        totals.protected_by_keep,
        totals.blocked,
        totals.failed,
    ];
    let kept = others.into_iter().fold(all, Amount::less);
    let parts = [
        ("expire", if is_dry { "To be deleted" } else { "Deleted" }, gone),
        ("later", "Expired, and not deleted by this run", later),
        ("archive", if totals.archived.is_zero() { "To be archived" } else { "Archived" }, moved),
        ("held", "Protected (in use)", totals.protected_by_use),
        ("keep", "Protected (kept)", totals.protected_by_keep),
        ("blocked", "Blocked by limits or unknown use", totals.blocked),
        ("failed", "Failed", totals.failed),
        ("stay", "Kept: no rule selects them", kept),
    ];
    parts.into_iter().filter(|(_, _, amount)| !amount.is_zero()).collect()
}

/// A bar with the bytes of all repositories that have a policy, by result, with the figures below it.
fn picture(report: &RunReport) -> Markup {
    let totals = &report.totals;
    let all = totals.images;
    if report.run.protect_only || all.image_size_in_bytes == 0 {
        return html! {};
    }
    let parts = shares(totals);
    let described: Vec<String> = parts
        .iter()
        .map(|(_, label, amount)| format!("{label}: {}", bytes(amount.image_size_in_bytes)))
        .collect();
    html! {
        figure.registry {
            figcaption { (both(all)) " in " (repositories(totals.repositories)) }
            div.whole role="img" aria-label=(described.join(", ")) {
                @for (class, _, amount) in &parts {
                    @if amount.image_size_in_bytes > 0 { (bar(class, amount.image_size_in_bytes, all.image_size_in_bytes)) }
                }
            }
            ul.legend {
                @for (class, label, amount) in &parts {
                    li {
                        span class={ "swatch fill " (class) } aria-hidden="true" {}
                        (label) " " span.muted { (both(*amount)) }
                    }
                }
            }
        }
    }
}

/// What the amounts of the picture consist of: rules, users, blockers.
fn parts(report: &RunReport) -> Markup {
    let totals = &report.totals;
    let (what, gone) = match report.run.dry_run {
        true => ("To be deleted by rule", totals.to_be_deleted),
        false => ("Deleted by rule", totals.deleted),
    };
    let blockers = report.blocked_by.iter().map(|part| {
        let kind = KINDS.iter().find(|kind| kind.code == part.name);
        Part {
            name: kind.map_or_else(|| part.name.clone(), |kind| kind.what.to_owned()),
            images: part.images,
        }
    });
    let blockers: Vec<Part> = blockers.collect();
    let lists = [
        (what, "expire", report.rules.as_slice(), gone),
        ("Protected by whom", "held", &report.users, totals.protected_by_use),
        ("Blocked by what", "blocked", &blockers, totals.blocked),
    ];
    html! {
        @if !report.run.protect_only && lists.iter().any(|(_, _, _, total)| !total.is_zero()) {
            div.parts {
                @for (title, class, parts, total) in lists { @if !total.is_zero() { (part_list(title, class, parts, total)) } }
            }
        }
    }
}

/// The largest parts of an amount, and the rest as one.
fn part_list(title: &str, class: &str, parts: &[Part], total: Amount) -> Markup {
    let shown = parts.get(..parts.len().min(PARTS_SHOWN)).unwrap_or_default();
    let rest = shown.iter().fold(total, |rest, part| rest.less(part.images));
    let line = |name: &str, images: Amount| {
        html! {
            li {
                span.name { (name) }
                span.bar aria-hidden="true" { (bar(class, images.image_size_in_bytes, total.image_size_in_bytes)) }
                span.muted { (both(images)) }
            }
        }
    };
    html! {
        section {
            h2 { (title) }
            p.muted { (both(total)) }
            ol {
                @for part in shown { (line(&part.name, part.images)) }
                @if !rest.is_zero() && !shown.is_empty() { (line("others, and what the report does not list", rest)) }
            }
        }
    }
}

/// The runs before, with this one as the last.
fn trend(report: &RunReport) -> Markup {
    let run = &report.run;
    let this = EarlierRun {
        run_id: run.run_id.clone(),
        started_at: run.started_at,
        status: report.status,
        dry_run: run.dry_run,
        images: report.totals.images,
        expiring: report.totals.expiring,
        deleted: report.totals.deleted,
        needing_attention: report.totals.needing_attention,
    };
    let runs: Vec<&EarlierRun> = std::iter::once(&this).chain(&report.earlier_runs).collect();
    let most = runs.iter().map(|run| run.images.image_size_in_bytes).max().unwrap_or_default();
    html! {
        @if !report.earlier_runs.is_empty() {
            section aria-labelledby="trend" {
                h2 #trend { "The last runs" }
                div.grid { div.scroll tabindex="0" role="group" aria-labelledby="trend" {
                    table.figures.trend {
                        thead {
                            tr {
                                th scope="col" { "Run" }
                                th scope="col" { "Status" }
                                @for name in ["Images", "Size", "Expired", "Deleted", "Need attention"] {
                                    th.number scope="col" { (name) }
                                }
                            }
                        }
                        tbody {
                            @for (run, place) in runs.iter().zip(0..) {
                                tr {
                                    th scope="row" title=(run.run_id) {
                                        (text::minute(run.started_at)) @if place == 0 { ", this one" }
                                        span.bar aria-hidden="true" { (bar("stay", run.images.image_size_in_bytes, most)) }
                                    }
                                    td data-name="Status" { (word(run.status)) @if run.dry_run { " " small { "dry run" } } }
                                    td.number data-name="Images" { (grouped(run.images.image_total_count)) }
                                    td.number data-name="Size" { (bytes(run.images.image_size_in_bytes)) }
                                    td.number data-name="Expired" { (bytes(run.expiring.image_size_in_bytes)) }
                                    td.number data-name="Deleted" { (bytes(run.deleted.image_size_in_bytes)) }
                                    td.number data-name="Need attention" { (grouped(run.needing_attention)) }
                                }
                            }
                        }
                    }
                } }
            }
        }
    }
}

/// What each policy does. Amounts are counts with the sizes beside them.
fn policies(report: &RunReport) -> Option<Table> {
    const COLUMNS: [Column; 11] = [
        Column("Policy", false),
        Column("Repositories", true),
        Column("Images", true),
        Column("Size", true),
        Column("Expired", true),
        Column("Deleted", true),
        Column("In use", true),
        Column("Kept", true),
        Column("Blocked", true),
        Column("Failed", true),
        Column("Saving a month", true),
    ];
    let rows = report.policies.iter().map(|(name, totals)| {
        let amounts = [
            totals.expiring,
            totals.deleted,
            totals.protected_by_use,
            totals.protected_by_keep,
            totals.blocked,
            totals.failed,
        ];
        #[expect(clippy::cast_possible_truncation, reason = "cents to sort by")]
        let cents = (totals.estimated_monthly_saving * 100.0) as i64;
        let mut row = vec![
            Cell::from(if name.is_empty() { "not known" } else { name.as_str() }),
            Cell::number(totals.repositories),
            Cell::number(totals.images.image_total_count),
            Cell::size(totals.images.image_size_in_bytes),
        ];
        row.extend(amounts.map(Cell::amount));
        row.push(Cell::from(money(totals.monthly_saving()).as_str()).sorted(cents));
        row
    });
    (!report.policies.is_empty() && !report.run.protect_only).then(|| Table {
        title: "Policies",
        number: report.policies.len() as u64,
        note: "What each policy does in the repositories that it is for, in images and in the sum of their sizes.".to_owned(),
        columns: &COLUMNS,
        rows: rows.collect(),
    })
}

/// The largest repositories: where there is something to win.
fn largest(report: &RunReport) -> Option<Table> {
    const COLUMNS: [Column; 7] = [
        Column("Repository", false),
        Column("Images", true),
        Column("Size", true),
        Column("Stored", true),
        Column("Expired", true),
        Column("Frees", true),
        Column("In use", true),
    ];
    let rows = report.largest.iter().map(|one| {
        vec![
            Cell::from(one.repository_name.as_str()),
            Cell::number(one.images.image_total_count),
            Cell::size(one.images.image_size_in_bytes),
            layers(one.storage.total()),
            Cell::size(one.expiring.image_size_in_bytes),
            layers(one.storage.expiring),
            Cell::size(one.protected_by_use.image_size_in_bytes),
        ]
    });
    (report.largest.len() > 1 && !report.run.protect_only).then(|| Table {
        title: "Largest repositories",
        number: report.largest.len() as u64,
        note: format!(
            "Those with the most bytes, at most {LARGEST}. Sizes are sums over images; what is stored, and what deletion frees, \
             counts each layer once where layers are known."
        ),
        columns: &COLUMNS,
        rows: rows.collect(),
    })
}

/// Bytes of layers, as a cell that sorts by them.
fn layers(bytes: LayerBytes) -> Cell {
    Cell::from(size(bytes).as_str()).sorted(i64::try_from(bytes.bytes).unwrap_or(i64::MAX))
}

/// What repositories cost by their cost tag.
fn costs(report: &RunReport) -> Option<Table> {
    const COLUMNS: [Column; 5] = [
        Column("Value", false),
        Column("Repositories", true),
        Column("Stored", true),
        Column("Frees", true),
        Column("Cost a month", true),
    ];
    let tag = report.cost_tag.as_ref()?;
    let rows = report.costs_by_tag.iter().map(|row| {
        #[expect(clippy::cast_possible_truncation, reason = "cents to sort by")]
        let cents = (row.monthly_cost.usd * 100.0) as i64;
        vec![
            Cell::from(row.name()),
            Cell::number(row.repositories),
            layers(row.storage.total()),
            layers(row.storage.expiring),
            Cell::from(money(row.monthly_cost).as_str()).sorted(cents),
        ]
    });
    let problem =
        report.unread_cost_tags.as_ref().map(|problem| format!(" Their tags could not be read: {problem}."));
    let is_shown = !report.costs_by_tag.is_empty() || problem.is_some();
    (is_shown && !report.run.protect_only).then(|| Table {
        title: "Costs by tag",
        number: report.costs_by_tag.len() as u64,
        note: format!("By the value of the resource tag {tag}.{}", problem.unwrap_or_default()),
        columns: &COLUMNS,
        rows: rows.collect(),
    })
}

fn unmatched(report: &RunReport) -> Option<Table> {
    const COLUMNS: [Column; 1] = [Column("Repository", false)];
    let all = report.totals.count(Status::Unmatched);
    let more = match all.saturating_sub(report.unmatched.len() as u64) {
        0 => String::new(),
        more => format!(" {} more are not listed.", grouped(more)),
    };
    (all > 0 && !report.run.protect_only).then(|| Table {
        title: "Repositories that no policy is for",
        number: all,
        note: format!(
            "Nothing is deleted from them. A policy with `repositories: ['*']` as the last of the policies file is for all that is \
             left.{more}"
        ),
        columns: &COLUMNS,
        rows: report.unmatched.iter().map(|name| vec![Cell::from(name.as_str())]).collect(),
    })
}

fn footer(report: &RunReport) -> Markup {
    let run = &report.run;
    html! {
        footer.page {
            h2 { "Reading this" }
            p {
                "Images share layers, and a shared layer is counted in each of them: sizes are sums that overstate what is \
                 stored and what is freed. Where it says stored, frees or freed each layer of a repository is counted once, as ECR \
                 bills it; \"at most\" says that not all layers are known. Costs are " (dollars(report.prices.standard))
                " for a gigabyte a month, and " (dollars(report.prices.archive)) " in the archive beyond 150 TB."
            }
            @if report.has_policies_file {
            p {
                "The policies that decided are in the run's copy of the policies file, " code { (report.place.address(&run.policies_file_key())) } ". \
                 What came of each repository is below " code { (report.place.address(&run.outcomes_prefix())) }
                ", with the first " (grouped(SHOWN as u64)) " images or so of each."
                @if let Some(written) = report.written {
                    " The run wrote " (bytes(written.outcomes)) " there, and " (bytes(written.journal)) " into the journal."
                }
            }
            }
            @if run.protect_only {
                p { "A run that only protects deletes nothing; what is deleted is in the reports of the runs over the registry." }
            } @else if run.dry_run {
                p { "A dry run deletes nothing, and writes no journal." }
            } @else {
                p {
                    "Before an image is deleted it is written down in the journal, a line of JSON for each: its digest, tags \
                     and manifest, the policy, the rule and the reason, and the version of the policies file. All of this run:"
                }
                pre tabindex="0" {
                    code { "aws s3 cp --recursive '" (report.place.address(&journal::prefix(run))) "' journal/" }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
