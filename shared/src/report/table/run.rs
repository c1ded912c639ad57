//! The report of a run as a table for a terminal: a row for each repository, what needs attention, totals.

use std::cmp::Reverse;
use std::fmt::Write as _;

use super::layout::{Cell, Column, Layout, Paint};
use super::{Style, bold, wrap, wrap_behind};
use crate::domain::enforcement::outcome::{Amount, Outcome, PolicyChange, Status};
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity::{bytes, count, grouped};
use crate::report::run::{
    NEXT, RunReport, RunStatus, UnchangedRepositories, cost_facts, cost_lines, facts, whose,
};

/// Which repositories of a run have a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Show {
    /// All.
    #[default]
    All,
    /// Those whose policy expires or archives something.
    Expires,
    /// Those that need attention.
    Attention,
}

/// The order of repositories in the table of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Those that need attention first, as the report has them.
    #[default]
    Attention,
    /// By name.
    Repository,
    /// The most bytes that expire first.
    Size,
    /// The most images that expire first.
    Images,
}

/// What the table of a run shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct View {
    /// Which repositories.
    pub show: Show,
    /// In which order.
    pub order: Order,
}

/// Renders a report. Every line ends with a line break.
#[must_use]
pub fn render(report: &RunReport, view: View, style: Style) -> String {
    let mut out = String::new();
    let title = if report.status == RunStatus::Failed {
        "The run failed"
    } else if report.run.protect_only {
        "Protect-only run"
    } else if report.run.dry_run {
        "Dry run: nothing was changed"
    } else {
        "Policies enforced"
    };
    let by = report.run.started_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    wrap_behind(&mut out, title, &format!(" at {}{by}", report.run.started_at), style);
    out.push('\n');
    for text in report.error.iter().chain(&report.notices) {
        wrap(&mut out, text, style);
        out.push('\n');
    }
    if report.status == RunStatus::Failed && report.repositories.is_empty() {
        // Zeros would say that there is nothing to do, which nobody knows.
        return out;
    }
    if report.repositories.is_empty() {
        out.push_str("There is nothing to do in any repository.\n");
    } else {
        table(&mut out, report, view, style);
    }
    if !report.protection.is_empty() {
        let _ = writeln!(out, "\n{}\n", bold("Policies that ECR enforces", style));
        protection(&mut out, report, style);
    }
    if report.survey.is_some() {
        let _ = writeln!(out, "\n{}\n", bold("What the registry has", style));
        for (label, fact) in facts(report) {
            wrap(&mut out, &format!("{label}: {fact}"), style);
        }
        wrap(&mut out, NEXT, style);
    }
    let totals = &report.totals;
    let mut lines = Vec::new();
    let concerns = report.concerns();
    for group in concerns.chunk_by(|(_, one), (_, other)| one.rank() == other.rank()) {
        // One cause in many repositories is reported once.
        let mut causes: Vec<(&str, Vec<&str>)> = Vec::new();
        for (name, concern) in group {
            match causes.iter_mut().find(|(message, _)| *message == concern.message) {
                Some((_, names)) => names.push(name),
                None => causes.push((&concern.message, vec![name])),
            }
        }
        lines.extend(causes.iter().map(|(message, names)| format!("{}: {message}.", listed(names))));
        lines.extend(group.first().map(|(_, concern)| concern.kind().advice.to_owned()));
    }
    for outcome in &report.repositories {
        let name = &outcome.repository_name;
        let before = if report.run.dry_run { "" } else { "before this run, " };
        lines.extend(outcome.drift.iter().map(|drift| format!("{name}: {before}{drift}.")));
    }
    if !lines.is_empty() {
        out.push('\n');
        for line in lines {
            wrap(&mut out, &line, style);
        }
    }
    out.push('\n');
    if totals.protected_repositories > 0 {
        let repositories =
            count(totals.protected_repositories, "repository").replace("repositorys", "repositories");
        let summary = format!(
            "ECR enforces policies in {repositories}, {} of them suspended; {} expire there; {} added.",
            grouped(totals.suspended_policies),
            count(totals.expiring_by_ecr.image_total_count, "image"),
            count(totals.tags_added, "protection tag"),
        );
        wrap(&mut out, &summary, style);
    }
    if report.run.protect_only {
        return out;
    }
    let costs = cost_facts(report).into_iter().map(|(label, fact)| format!("{label}: {fact}."));
    for line in costs.chain(cost_lines(report)) {
        wrap(&mut out, &line, style);
    }
    wrap(&mut out, &summary(report), style);
    if report.run.dry_run && report.place.stack_name.is_empty() {
        advice(&mut out, report, style);
    }
    out
}

/// The end of a dry run from a terminal. What is not one, `runs show` prints, which has none of these options.
fn advice(out: &mut String, report: &RunReport, style: Style) {
    if report
        .repositories
        .iter()
        .any(|outcome| !outcome.expiring.is_zero() || !outcome.transitioning.is_zero())
    {
        wrap(out, IMAGES, style);
    }
    let what = match (has_work(report), report.place.bucket.is_empty()) {
        (false, _) => NOTHING,
        (true, false) => APPLY,
        (true, true) => APPLY_WITH_BUCKET,
    };
    wrap(out, what, style);
}

/// How to see the images that the rows count.
const IMAGES: &str = "Each image with its reason: --output html, or json.";
/// How to do what a dry run says.
const APPLY: &str = "Add --apply to do it.";
/// The same where no bucket is named for the journal.
const APPLY_WITH_BUCKET: &str = "Add --apply to do it. It writes a journal into the stack's bucket first: deploy the stack, or name a bucket with --bucket.";
/// The end of a dry run that has no work.
const NOTHING: &str = "There is nothing that --apply would do.";

/// Whether the run would change something without being a dry run.
fn has_work(report: &RunReport) -> bool {
    let totals = &report.totals;
    let changes = report.repositories.iter().filter_map(|outcome| outcome.attachment.as_ref());
    !totals.to_be_deleted.is_zero()
        || !totals.to_be_archived.is_zero()
        || changes.into_iter().any(crate::domain::enforcement::outcome::Attached::has_changed)
}

/// The results of the images, in one line.
fn summary(report: &RunReport) -> String {
    let totals = &report.totals;
    let (word, deleted, archived) = match report.run.dry_run {
        true => ("will be deleted", totals.to_be_deleted, totals.to_be_archived),
        false => ("deleted", totals.deleted, totals.archived),
    };
    let mut parts = vec![format!(
        "{} of {} {word} ({})",
        grouped(deleted.image_total_count),
        count(totals.images.image_total_count, "image"),
        bytes(deleted.image_size_in_bytes)
    )];
    let mut part = |amount: Amount, what: &str| {
        if !amount.is_zero() {
            parts.push(format!("{} {what}", grouped(amount.image_total_count)));
        }
    };
    part(archived, if report.run.dry_run { "will be archived" } else { "archived" });
    part(totals.not_removed, &format!("blocked{}", blocked_by(report)));
    part(totals.failed, "failed");
    part(totals.put_back, "put back");
    part(totals.only_previewed, "expire under policies that only preview (apply: preview)");
    parts.push(format!("{} protected (in use)", grouped(totals.protected_by_use.image_total_count)));
    let unmatched = totals.count(Status::Unmatched);
    if unmatched > 0 {
        parts.push(format!("{unmatched} of {} repositories under no policy", totals.repositories));
    }
    parts.extend(report.unchanged.as_ref().map(UnchangedRepositories::in_short));
    format!("{}.", parts.join(" · "))
}

/// The kinds of all blockers, each once: of the repositories that the report lists, and the first one of each of the others.
fn blocked_by(report: &RunReport) -> String {
    let mut codes: Vec<&str> = Vec::new();
    let listed = report.repositories.iter().filter(|outcome| outcome.status == Status::Blocked);
    let listed = listed.flat_map(|outcome| &outcome.blockers).map(|blocker| blocker.code.as_str());
    let others = report.blocked_by.iter().filter(|_| report.repositories_not_shown > 0);
    for code in listed.chain(others.map(|part| part.name.as_str())) {
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    if codes.is_empty() { String::new() } else { format!(" by {}", codes.join(", ")) }
}

/// Repositories that share a cause: their names, or the first of them.
fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    match names.len() {
        0..=SHOWN => names.join(", "),
        all => {
            let (shown, _) = names.split_at(SHOWN);
            format!("{all} repositories ({}, …)", shown.join(", "))
        }
    }
}

/// The longest of some texts, in characters.
fn longest(texts: impl Iterator<Item = usize>) -> usize {
    texts.max().unwrap_or_default()
}

/// The policies that ECR enforces, and until when each is protected.
fn protection(out: &mut String, report: &RunReport, style: Style) {
    let time = |at: Option<Instant>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    let rows: Vec<(&str, String, Paint, [String; 5])> = report
        .protection
        .iter()
        .map(|repository| {
            let attached = &repository.attached;
            let state = match attached.suspended_at {
                Some(at) if attached.lifecycle_policy == PolicyChange::Unchanged => {
                    format!("{} since {at}", repository.state())
                }
                _ => repository.state().to_owned(),
            };
            let taken = match attached.is_suspended() {
                true => 0,
                false => repository.expiring_by_ecr.image_total_count,
            };
            let paint = if repository.needs_attention { Paint::Yellow } else { Paint::Plain };
            let others = [
                whose(attached.mode).to_owned(),
                time(repository.protected_until),
                time(attached.refreshed_at),
                grouped(taken),
                grouped(attached.tags_added),
            ];
            (repository.repository_name.as_str(), state, paint, others)
        })
        .collect();
    let widest =
        |at: usize| longest(rows.iter().filter_map(|row| row.3.get(at)).map(|text| text.chars().count()));
    let layout = Layout::new(
        &[
            Column::text("REPOSITORY", 12, longest(rows.iter().map(|row| row.0.chars().count()))),
            Column::text("POLICY", 8, widest(0)),
            Column::text("STATE", 10, longest(rows.iter().map(|row| row.1.chars().count()))),
            Column::text("PROTECTED UNTIL", 10, widest(1)),
            Column::text("REFRESHED", 10, widest(2)),
            Column::number("EXPIRED BY ECR", widest(3)),
            Column::number("TAGS ADDED", widest(4)),
        ],
        style,
    );
    layout.header(out);
    for (name, state, paint, [policy, until, refreshed, expired, tags]) in rows {
        layout.row(
            out,
            &[
                Cell::new(name),
                Cell::new(policy),
                Cell::new(state).paint(paint),
                Cell::new(until),
                Cell::new(refreshed),
                Cell::new(expired),
                Cell::new(tags),
            ],
        );
    }
}

fn table(out: &mut String, report: &RunReport, view: View, style: Style) {
    let is_shown = |outcome: &&Outcome| match view.show {
        Show::All => true,
        Show::Expires => !outcome.expiring.is_zero() || !outcome.transitioning.is_zero(),
        Show::Attention => outcome.needs_attention(),
    };
    let mut shown: Vec<&Outcome> = report.repositories.iter().filter(is_shown).collect();
    match view.order {
        Order::Attention => {}
        Order::Repository => shown.sort_by(|left, right| left.repository_name.cmp(&right.repository_name)),
        Order::Size => shown.sort_by_key(|outcome| Reverse(outcome.expiring.image_size_in_bytes)),
        Order::Images => shown.sort_by_key(|outcome| Reverse(outcome.expiring.image_total_count)),
    }
    if shown.is_empty() {
        out.push_str(match view.show {
            Show::Attention => "No repository needs attention.\n",
            _ => "Nothing expires in any repository.\n",
        });
        return;
    }
    let widest = |text: fn(&Outcome) -> usize| longest(shown.iter().map(|outcome| text(outcome)));
    let number = |amount: fn(&Outcome) -> Amount| {
        longest(shown.iter().map(|outcome| grouped(amount(outcome).image_total_count).len()))
    };
    let layout = Layout::new(
        &[
            Column::text("REPOSITORY", 18, widest(|outcome| outcome.repository_name.chars().count())),
            Column::text("POLICY", 8, widest(|outcome| policy(outcome).chars().count())),
            Column::number("IMAGES", number(|outcome| outcome.images)),
            Column::number("EXPIRED", number(|outcome| outcome.expiring)),
            Column::number("DELETED", number(|outcome| outcome.deleted)),
            Column::number("IN USE", number(|outcome| outcome.protected_by_use)),
            Column::text("STATUS", 9, widest(|outcome| status(outcome).0.chars().count())),
        ],
        style,
    );
    layout.header(out);
    for outcome in shown {
        let number = |amount: Amount| Cell::new(grouped(amount.image_total_count));
        let (status, paint) = status(outcome);
        layout.row(
            out,
            &[
                Cell::new(outcome.repository_name.as_str()),
                Cell::new(policy(outcome)),
                number(outcome.images),
                number(outcome.expiring),
                number(outcome.deleted),
                number(outcome.protected_by_use),
                Cell::new(status).paint(paint),
            ],
        );
    }
}

fn policy(outcome: &Outcome) -> &str {
    outcome.policy.as_deref().unwrap_or("-")
}

/// How a run left a repository, in a few words.
fn status(outcome: &Outcome) -> (String, Paint) {
    let (word, paint) = match outcome.status {
        Status::Previewed => ("previewed", Paint::Plain),
        Status::Done => ("done", Paint::Green),
        Status::Unfinished => ("not finished", Paint::Yellow),
        Status::Blocked => ("blocked", Paint::Yellow),
        Status::Partial => ("in part", Paint::Red),
        Status::Failed => ("failed", Paint::Red),
        Status::RepositoryDeleted => ("repository deleted", Paint::Plain),
        Status::Unmatched => ("no policy", Paint::Plain),
    };
    let change = outcome.attachment.as_ref().map(|attached| match attached.lifecycle_policy {
        PolicyChange::Unchanged if attached.is_suspended() => "policy suspended",
        PolicyChange::Unchanged => "policy as it was",
        PolicyChange::Attached => "policy attached",
        PolicyChange::ToBeAttached => "policy to be attached",
        PolicyChange::Suspended => "policy suspended",
        PolicyChange::ToBeSuspended => "policy to be suspended",
    });
    (change.map_or_else(|| word.to_owned(), |change| format!("{word}, {change}")), paint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::enforcement::outcome::ReportedBlocker;
    use crate::domain::enforcement::policy_set::Apply;
    use crate::report::run::Builder;
    use crate::report::run::tests::{protect_only, protection};

    #[test]
    fn a_dry_run_of_which_nothing_would_be_done_does_not_ask_for_apply() {
        let held = |name: &str| Outcome {
            repository_name: name.to_owned(),
            policy: Some("all".to_owned()),
            apply: Some(Apply::Delete),
            status: Status::Blocked,
            images: Amount { image_total_count: 100, image_size_in_bytes: 100 },
            expiring: Amount { image_total_count: 54, image_size_in_bytes: 54 },
            blockers: vec![ReportedBlocker {
                code: "usage-unknown".to_owned(),
                message: "what is in use is not known completely: usage/eks.json: there is no such list"
                    .to_owned(),
            }],
            ..Outcome::default()
        };
        let mut run = protect_only();
        (run.protect_only, run.dry_run) = (false, true);
        let mut builder = Builder::new(run.clone(), run.started_at);
        (0..7).for_each(|number| builder.take(held(&format!("fleet/{number}"))));
        let style = Style { width: 80, color: false };
        let text = render(&builder.finish(), View::default(), style);
        assert_eq!(text.matches("there is no such list").count(), 1, "one cause is told once: {text}");
        let (_, end) = text.split_once("\n0 of").unwrap();
        assert_eq!(
            end,
            " 700 images will be deleted (0 B) · 378 blocked by usage-unknown · 0\n  protected (in use).\nEach image with its reason: --output html, or json.\nThere is nothing that --apply would do.\n"
        );
        let mut builder = Builder::new(run.clone(), run.started_at);
        builder.take(held("a"));
        let free = Outcome { status: Status::Previewed, blockers: Vec::new(), ..held("b") };
        builder.take(Outcome { apply: Some(Apply::Preview), ..free.clone() });
        builder.take(free);
        let text = render(&builder.finish(), View::default(), style);
        assert!(
            text.contains("54 of 300 images will be deleted (54 B) · 54 blocked by usage-unknown · 54"),
            "{text}"
        );
        assert!(text.contains("\nAdd --apply to do it. It writes a journal"), "{text}");
    }

    #[test]
    fn what_is_blocked_is_counted_in_all_repositories_also_in_those_without_a_row() {
        let mut run = protect_only();
        (run.protect_only, run.dry_run) = (false, true);
        let blocked = |number: u64, code: &str| Outcome {
            repository_name: format!("fleet/{number:05}"),
            policy: Some("all".to_owned()),
            apply: Some(Apply::Delete),
            status: Status::Blocked,
            expiring: Amount { image_total_count: 2, image_size_in_bytes: 2 + number },
            transitioning: Amount { image_total_count: 1, image_size_in_bytes: 1 },
            blockers: vec![ReportedBlocker { code: code.to_owned(), message: "for a reason".to_owned() }],
            ..Outcome::default()
        };
        let mut builder = Builder::new(run.clone(), run.started_at);
        (0..2500).for_each(|number| builder.take(blocked(number, "usage-unknown")));
        builder.take(blocked(9999, "limit-images"));
        // Of what was done before something blocked the rest, that part is not blocked.
        let deleted = Amount { image_total_count: 2, image_size_in_bytes: 2 };
        builder.take(Outcome { deleted, ..blocked(10_000, "limit-registry") });
        let report = builder.finish();
        assert!(report.repositories_not_shown > 0);
        let text = render(&report, View::default(), Style { width: 1000, color: false });
        let (_, summary) = text.rsplit_once("\n0 of").unwrap();
        assert!(summary.contains(" · 7,504 blocked by "), "{summary}");
        for code in ["usage-unknown", "limit-images", "limit-registry"] {
            assert!(summary.contains(code), "{code}: {summary}");
        }
    }

    #[test]
    fn a_failed_run_says_why_and_not_that_there_is_nothing_to_do() {
        let mut run = protect_only();
        (run.protect_only, run.dry_run) = (false, true);
        let report = Builder::new(run.clone(), run.started_at).finish();
        let error = Some("InvalidPoliciesFile: policies.yaml: /: syntax: not YAML".to_owned());
        let failed = RunReport { status: RunStatus::Failed, error, ..report };
        let text = render(&failed, View::default(), Style { width: 100, color: false });
        assert!(text.starts_with("The run failed at "), "{text}");
        assert!(text.contains("\nInvalidPoliciesFile: policies.yaml: /: syntax: not YAML\n"), "{text}");
        assert!(!text.contains("nothing") && !text.contains("0 of 0"), "{text}");
    }

    #[test]
    fn a_dry_run_of_the_stack_ends_without_options_that_whoever_reads_it_has_not() {
        let mut run = protect_only();
        (run.protect_only, run.dry_run) = (false, true);
        let outcome = Outcome {
            repository_name: "shop/web".to_owned(),
            policy: Some("all".to_owned()),
            apply: Some(Apply::Delete),
            status: Status::Previewed,
            images: Amount { image_total_count: 10, image_size_in_bytes: 10 },
            expiring: Amount { image_total_count: 5, image_size_in_bytes: 5 },
            results_not_shown: 5,
            ..Outcome::default()
        };
        let style = Style { width: 100, color: false };
        let mut builder = Builder::new(run.clone(), run.started_at);
        builder.take(outcome);
        let mut report = builder.finish();
        report.place.bucket = "stack-sources".to_owned();
        let by_hand = render(&report, View::default(), style);
        let end = "Each image with its reason: --output html, or json.\nAdd --apply to do it.\n";
        assert!(by_hand.ends_with(end), "{by_hand}");
        report.place.stack_name = "ecr-steward".to_owned();
        assert_eq!(render(&report, View::default(), style) + end, by_hand);
    }

    #[test]
    fn what_ecr_enforces_is_shown_with_what_needs_attention_and_what_to_do_about_it() {
        let style = Style { width: 160, color: false };
        insta::assert_snapshot!(render(&protection(protect_only()), View::default(), style));
    }
}
