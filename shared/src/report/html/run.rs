//! The page of a run: whether something needs attention, and what was deleted, by which rule, and where it is journaled.
//!
//! | module | contains |
//! | --- | --- |
//! | `attention` | what needs attention, and the advice |
//! | `protection` | the policies that ECR enforces, and until when each is protected |
//! | `outcomes` | the table of repositories, each with its images |

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{SCRIPT, bar, head, text};
use crate::domain::enforcement::journal;
use crate::domain::enforcement::outcome::{Amount, SHOWN, Status};
use crate::domain::text::quantity::{bytes, count, grouped};
use crate::report::run::{
    NEXT, RunReport, RunStatus, Totals, dry_run_notice, facts, other_notices, tags_notice,
};

mod attention;
mod outcomes;
mod protection;
mod sources;

/// Maximum number of names that are shown unfolded.
const UNFOLDED: usize = 50;

/// Renders the report of a run as one page. The same report gives the same page.
#[must_use]
pub fn render(report: &RunReport) -> String {
    let title = report.title();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head(&title))
            body {
                header.page {
                    h1 { "Lifecycle run" }
                    p {
                        @if report.run.protect_only {
                            "Protection of images in use from ECR's own lifecycle engine; nothing was deleted. Times are UTC."
                        } @else if report.run.only_protects() {
                            "What the policies would do; nothing was deleted. Times are UTC."
                        } @else if report.run.dry_run {
                            "What the policies would do; nothing has been changed. Times are UTC."
                        } @else {
                            "What the policies did in the registry. Times are UTC."
                        }
                    }
                }
                main {
                    section.repository aria-labelledby="run" {
                        (headline(report))
                        (attention::section(report))
                        (picture(report))
                        (tiles(report))
                        (largest(report))
                        @if !report.policies.is_empty() && !report.run.protect_only { (policies(report)) }
                        (protection::section(report))
                        @if report.totals.repositories > 0 { (outcomes::section(report)) }
                        (unmatched(report))
                        (sources::section(report))
                    }
                }
                (footer(report))
                p #announcement role="status" {}
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

const fn word(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Succeeded => "Succeeded",
        RunStatus::Attention => "Needs attention",
        RunStatus::Failed => "Failed",
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

fn headline(report: &RunReport) -> Markup {
    let run = &report.run;
    let class = match report.status {
        RunStatus::Succeeded => "well",
        RunStatus::Attention => "attention",
        RunStatus::Failed => "failed",
    };
    html! {
        header {
            h2 #run { (report.title()) " " span class={ "badge state " (class) } { (word(report.status)) } }
            dl.facts {
                div { dt { "Run" } dd { (run.run_id) } }
                div { dt { "Started" } dd { (text::time(run.started_at, &text::minute(run.started_at))) } }
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
                @if let Some(by) = &run.started_by {
                    div { dt { "Started by" } dd { (by) } }
                }
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
            }
        }
        @if let Some(error) = &report.error {
            p.notice.bad { strong { "The run failed." } " " (error) }
        }
        @for notice in dry_run_notice(report).iter().chain(&tags_notice(report)).chain(&other_notices(report)) {
            p.notice { (text::prose(notice)) }
        }
        @if !report.has_policies_file && report.error.is_none() {
            p.notice {
                strong { "There is no policies file." }
                " No repository has a policy, and nothing is done. Put a " code { "policies.yaml" }
                " into the stack's bucket; the next run follows it. "
                @if report.survey.is_some() { (text::prose(NEXT)) }
            }
            @if report.survey.is_some() {
                h2 { "What the registry has" }
                dl.facts {
                    @for (label, fact) in facts(report) {
                        div { dt { (label) } dd { (fact) } }
                    }
                }
            }
        }
    }
}

/// A bar with the bytes of all repositories that have a policy, by result, with the figures below it.
fn picture(report: &RunReport) -> Markup {
    let totals = &report.totals;
    let all = totals.images;
    if report.run.protect_only || all.image_size_in_bytes == 0 {
        return html! {};
    }
    let is_done = !totals.deleted.is_zero();
    let gone = if is_done { totals.deleted } else { totals.expiring.less(totals.blocked) };
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
        ("expire", if is_done { "Deleted" } else { "To be deleted" }, gone),
        ("later", "Expired, and not deleted by this run", later),
        ("archive", if totals.archived.is_zero() { "To be archived" } else { "Archived" }, moved),
        ("held", "Protected (in use)", totals.protected_by_use),
        ("keep", "Protected (kept)", totals.protected_by_keep),
        ("blocked", "Blocked by limits or unknown use", totals.blocked),
        ("failed", "Failed", totals.failed),
        ("stay", "Kept: no rule selects them", kept),
    ];
    let parts: Vec<_> = parts.into_iter().filter(|(_, _, amount)| !amount.is_zero()).collect();
    let described: Vec<String> = parts
        .iter()
        .map(|(_, label, amount)| format!("{label}: {}", bytes(amount.image_size_in_bytes)))
        .collect();
    html! {
        figure.registry {
            figcaption { (both(all)) " in " (repositories(totals.repositories)) }
            span.bar.whole role="img" aria-label=(described.join(", ")) {
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

/// The largest repositories: where there is something to win.
fn largest(report: &RunReport) -> Markup {
    html! {
        @if report.largest.len() > 1 && !report.run.protect_only {
            h3 #largest { "Largest repositories" }
            div.scroll tabindex="0" role="region" aria-labelledby="largest" {
                table.figures {
                    thead {
                        tr {
                            th scope="col" { "Repository" }
                            @for name in ["Images", "Size", "Expired", "In use"] { th.number scope="col" { (name) } }
                        }
                    }
                    tbody {
                        @for one in &report.largest {
                            tr {
                                th scope="row" { (one.repository_name) }
                                td.number { (grouped(one.images.image_total_count)) }
                                td.number { (bytes(one.images.image_size_in_bytes)) }
                                td.number { (bytes(one.expiring.image_size_in_bytes)) }
                                td.number { (bytes(one.protected_by_use.image_size_in_bytes)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn tiles(report: &RunReport) -> Markup {
    let totals = &report.totals;
    let (taken, saving) = match (report.run.dry_run, totals.deleted.is_zero()) {
        (true, _) => ("Would be deleted", "at most, by what would be deleted"),
        (false, true) => ("Expired by the policies", "at most, by what expires"),
        (false, false) => ("Expired by the policies", "at most, by what was deleted"),
    };
    let moves = (!totals.transitioning.is_zero())
        .then(|| format!("and to the archive {}", both(totals.transitioning)));
    let under_none = format!("{} under no policy", grouped(totals.count(Status::Unmatched)));
    let tags = totals.tags_added;
    let by_ecr = html! {
        @if totals.protected_repositories > 0 {
            (tile(
                "Enforced by ECR itself",
                &grouped(totals.protected_repositories),
                noun(totals.protected_repositories, " repository", " repositories"),
                &format!("{} suspended", grouped(totals.suspended_policies)),
            ))
            @if !totals.expiring_by_ecr.is_zero() {
                (amount_tile("Taken by ECR itself", totals.expiring_by_ecr, Some("within a day")))
            }
        }
        @if tags > 0 {
            (tile("Images newly protected", &grouped(tags), noun(tags, " tag", " tags"), "added for ECR's own engine"))
        }
        @if totals.native_policies_at_risk > 0 {
            (tile(
                "Own policies at risk",
                &grouped(totals.native_policies_at_risk),
                noun(totals.native_policies_at_risk, " repository", " repositories"),
                "a repository is looked at once a week",
            ))
        }
    };
    if report.run.protect_only {
        return html! { ul.tiles { (by_ecr) } };
    }
    html! {
        ul.tiles {
            (tile("Repositories", &grouped(totals.repositories), "", &under_none))
            (amount_tile("Images", totals.images, Some(&format!(
                "at most {} a month; images share layers",
                text::dollars(totals.estimated_monthly_cost)
            ))))
            (amount_tile("Deleted", totals.deleted, None))
            (amount_tile(taken, totals.expiring, moves.as_deref()))
            @if !totals.put_back.is_zero() { (amount_tile("Put back", totals.put_back, None)) }
            @if totals.drifted > 0 {
                (tile(
                    "Not as the policies file says",
                    &grouped(totals.drifted),
                    noun(totals.drifted, " repository", " repositories"),
                    "",
                ))
            }
            (by_ecr)
            (tile("Saving", &text::dollars(totals.estimated_monthly_saving), " a month", saving))
        }
        @if totals.repositories > 0 {
            p.note {
                "How it ended: "
                @for ((status, number), place) in totals.statuses.iter().zip(0..) {
                    @if place > 0 { ", " }
                    (grouped(*number)) " " (ending(*status).to_lowercase())
                }
                "."
            }
        }
    }
}

const fn noun(number: u64, one: &'static str, many: &'static str) -> &'static str {
    if number == 1 { one } else { many }
}

fn amount_tile(label: &str, amount: Amount, more: Option<&str>) -> Markup {
    let size = bytes(amount.image_size_in_bytes);
    let note = more.map_or_else(|| size.clone(), |more| format!("{size}, {more}"));
    let number = amount.image_total_count;
    tile(label, &grouped(number), noun(number, " image", " images"), &note)
}

fn tile(label: &str, figure: &str, unit: &str, note: &str) -> Markup {
    html! {
        li {
            span.label { (label) }
            span.figure { (figure) @if !unit.is_empty() { span.unit { (unit) } } }
            @if !note.is_empty() { span.muted { (note) } }
        }
    }
}

/// `3 images, 1.2 GB`.
fn both(amount: Amount) -> String {
    format!("{}, {}", count(amount.image_total_count, "image"), bytes(amount.image_size_in_bytes))
}

/// The parts of a policy's bytes that its bar shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shares {
    gone: u64,
    held: u64,
    stays: u64,
}

impl Shares {
    const LEGEND: [(&'static str, &'static str); 3] =
        [("expire", "Deleted, or would be"), ("held", "Blocked or protected"), ("stay", "Kept")];

    /// Computes the parts. Images that a limit blocks also expire by the policy, and are counted once.
    fn of(totals: &Totals) -> Self {
        let size = |amount: Amount| amount.image_size_in_bytes;
        let all = size(totals.images);
        let gone = if totals.deleted.is_zero() {
            size(totals.expiring).saturating_sub(size(totals.blocked))
        } else {
            size(totals.deleted)
        };
        let held = size(totals.protected_by_use)
            .saturating_add(size(totals.protected_by_keep))
            .saturating_add(size(totals.blocked))
            .saturating_add(size(totals.failed));
        Self { gone, held, stays: all.saturating_sub(gone).saturating_sub(held) }
    }

    fn bar(self) -> Markup {
        let Self { gone, held, stays } = self;
        let all = gone.saturating_add(held).saturating_add(stays);
        html! {
            @if all > 0 {
                span.bar.shares role="img" aria-label={
                    (bytes(gone)) " deleted or to be deleted, " (bytes(held)) " blocked or protected, " (bytes(stays)) " kept"
                } {
                    @for ((class, _), size) in Self::LEGEND.into_iter().zip([gone, held, stays]) {
                        @if size > 0 {
                            (bar(class, size, all))
                        }
                    }
                }
            }
        }
    }
}

/// The table of policies. Amounts are counts with the sizes below them.
fn policies(report: &RunReport) -> Markup {
    let cell = |amount: Amount| {
        html! {
            td.number.amount {
                (grouped(amount.image_total_count))
                @if !amount.is_zero() { " " span.muted { (bytes(amount.image_size_in_bytes)) } }
            }
        }
    };
    html! {
        h3 #policies { "Policies " span.badge { (report.policies.len()) } }
        ul.legend {
            @for (class, label) in Shares::LEGEND {
                li { span class={ "swatch fill " (class) } aria-hidden="true" {} (label) }
            }
        }
        div.scroll tabindex="0" role="region" aria-labelledby="policies" {
            table.policies {
                caption {
                    "What each policy meets in the repositories that it is for, in images and in the sum of their sizes."
                }
                thead {
                    tr {
                        th scope="col" { "Policy" }
                        @for name in [
                            "Repositories", "Images", "Size", "Expired", "Deleted", "In use", "Kept", "Blocked", "Failed",
                            "Saving a month",
                        ] {
                            th.number scope="col" { (name) }
                        }
                    }
                }
                tbody {
                    @for (name, totals) in &report.policies {
                        tr {
                            th scope="row" {
                                @if name.is_empty() { "not known" } @else { (name) }
                                (Shares::of(totals).bar())
                            }
                            td.number { (grouped(totals.repositories)) }
                            td.number { (grouped(totals.images.image_total_count)) }
                            td.number { (bytes(totals.images.image_size_in_bytes)) }
                            @for amount in [
                                totals.expiring, totals.deleted, totals.protected_by_use, totals.protected_by_keep,
                                totals.blocked, totals.failed,
                            ] {
                                (cell(amount))
                            }
                            td.number { (text::dollars(totals.estimated_monthly_saving)) }
                        }
                    }
                }
            }
        }
    }
}

fn unmatched(report: &RunReport) -> Markup {
    let all = report.totals.count(Status::Unmatched);
    let more = all.saturating_sub(report.unmatched.len() as u64);
    html! {
        @if all > 0 && !report.run.protect_only {
            h3 { "Repositories that no policy is for " span.badge { (grouped(all)) } }
            p.note {
                "Nothing is deleted from them. A policy with " code { "repositories: ['*']" }
                " as the last of the policies file is for all that is left."
            }
            details.names open[report.unmatched.len() <= UNFOLDED] {
                summary { (repositories(report.unmatched.len() as u64)) }
                ul { @for name in &report.unmatched { li { (name) } } }
                @if more > 0 { p.muted { "And " (grouped(more)) " more." } }
            }
        }
    }
}

fn footer(report: &RunReport) -> Markup {
    let run = &report.run;
    html! {
        footer.page {
            h3 { "Reading this" }
            p {
                "Images share layers, and a shared layer is counted in each of them: sizes are sums that overstate what is \
                 stored and what is freed, and so do the costs."
            }
            @if report.has_policies_file {
            p {
                "The policies that decided are in the run's copy of the policies file, " code { (report.place.address(&run.policies_file_key())) } ". \
                 What came of each repository is below " code { (report.place.address(&run.outcomes_prefix())) }
                ", with the first " (grouped(SHOWN as u64)) " images or so of each."
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
