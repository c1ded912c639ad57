//! The report of a run as a table for a terminal: a row for each repository, what needs attention, totals.

use std::fmt::Write as _;

use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, presets,
};

use super::{NARROWEST, Style, bold, cell, wrap};
use crate::domain::enforcement::outcome::{Amount, Outcome, PolicyChange, Status};
use crate::domain::text::instant::Instant;
use crate::domain::text::printable::on_one_line;
use crate::domain::text::quantity::{bytes, count, grouped};
use crate::report::run::{NEXT, RunReport, facts, whose};

/// Renders a report. Every line ends with a line break.
#[must_use]
pub fn render(report: &RunReport, style: Style) -> String {
    let mut out = String::new();
    let width = usize::from(style.width.max(NARROWEST));
    let title = if report.run.protect_only {
        "Protect-only run"
    } else if report.run.dry_run {
        "Dry run: nothing was changed"
    } else {
        "Policies enforced"
    };
    let by = report.run.started_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let by = on_one_line(&by);
    let _ = writeln!(out, "{} at {}{by}\n", bold(title, style), report.run.started_at);
    for notice in &report.notices {
        wrap(&mut out, notice, width, style);
        out.push('\n');
    }
    if report.repositories.is_empty() {
        out.push_str("There is nothing to do in any repository.\n");
    } else {
        write(&mut out, &table(report, style));
    }
    if !report.protection.is_empty() {
        let _ = writeln!(out, "\n{}\n", bold("Policies that ECR enforces", style));
        write(&mut out, &protection(report, style));
    }
    if report.survey.is_some() {
        let _ = writeln!(out, "\n{}\n", bold("What the registry has", style));
        for (label, fact) in facts(report) {
            wrap(&mut out, &format!("{label}: {fact}"), width, style);
        }
        wrap(&mut out, NEXT, width, style);
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
            wrap(&mut out, &line, width, style);
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
        wrap(&mut out, &summary, width, style);
    }
    if report.run.protect_only {
        return out;
    }
    wrap(&mut out, &summary(report), width, style);
    if report.run.dry_run {
        let is_doing = has_work(report);
        wrap(&mut out, if is_doing { APPLY } else { NOTHING }, width, style);
    }
    out
}

/// The advice that ends a dry run.
const APPLY: &str = "Add --apply to do it.";
/// There is none.
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
    // What would block a plan that is only previewed blocks nothing.
    let mut blocked = Amount::default();
    for outcome in report.repositories.iter().filter(|outcome| outcome.status == Status::Blocked) {
        blocked.extend(outcome.expiring);
        blocked.extend(outcome.transitioning);
    }
    part(blocked, &format!("blocked{}", blocked_by(report)));
    part(totals.failed, "failed");
    part(totals.put_back, "put back");
    part(totals.only_previewed, "expire under policies that only preview (apply: preview)");
    parts.push(format!("{} protected (in use)", grouped(totals.protected_by_use.image_total_count)));
    let unmatched = totals.count(Status::Unmatched);
    if unmatched > 0 {
        parts.push(format!("{unmatched} of {} repositories under no policy", totals.repositories));
    }
    format!("{}.", parts.join(" · "))
}

/// The kinds of all blockers, each once.
fn blocked_by(report: &RunReport) -> String {
    let mut codes: Vec<&str> = Vec::new();
    let blocked = report.repositories.iter().filter(|outcome| outcome.status == Status::Blocked);
    for blocker in blocked.flat_map(|outcome| &outcome.blockers) {
        if !codes.contains(&blocker.code.as_str()) {
            codes.push(&blocker.code);
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

fn write(out: &mut String, table: &Table) {
    for line in table.lines() {
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

fn empty(header: &[&str], style: Style) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(style.width.max(NARROWEST));
    if style.color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(header.iter().map(|name| cell(name).add_attribute(Attribute::Bold)));
    table
}

/// The policies that ECR enforces, and until when each is protected.
fn protection(report: &RunReport, style: Style) -> Table {
    let header =
        ["REPOSITORY", "POLICY", "STATE", "PROTECTED UNTIL", "REFRESHED", "EXPIRED BY ECR", "TAGS ADDED"];
    let mut table = empty(&header, style);
    let time = |at: Option<Instant>| cell(&at.map_or_else(|| "-".to_owned(), |at| at.to_string()));
    for repository in &report.protection {
        let attached = &repository.attached;
        let state = match attached.suspended_at {
            Some(at) if attached.lifecycle_policy == PolicyChange::Unchanged => {
                format!("{} since {at}", repository.state())
            }
            _ => repository.state().to_owned(),
        };
        let state = cell(&state);
        let taken = match attached.is_suspended() {
            true => 0,
            false => repository.expiring_by_ecr.image_total_count,
        };
        table.add_row([
            cell(&repository.repository_name),
            cell(whose(attached.mode)),
            if repository.needs_attention { state.fg(Color::Yellow) } else { state },
            time(repository.protected_until),
            time(attached.refreshed_at),
            cell(&grouped(taken)),
            cell(&grouped(attached.tags_added)),
        ]);
    }
    for (column, name) in table.column_iter_mut().zip(header) {
        column.set_padding((0, 2));
        if matches!(name, "EXPIRED BY ECR" | "TAGS ADDED") {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn table(report: &RunReport, style: Style) -> Table {
    let header = ["REPOSITORY", "POLICY", "IMAGES", "EXPIRED", "DELETED", "IN USE", "STATUS"];
    let mut table = empty(&header, style);
    for outcome in &report.repositories {
        table.add_row(row(outcome));
    }
    for (column, name) in table.column_iter_mut().zip(header) {
        column.set_padding((0, 2));
        if matches!(name, "IMAGES" | "EXPIRED" | "DELETED" | "IN USE") {
            column.set_cell_alignment(CellAlignment::Right);
        }
        if !matches!(name, "REPOSITORY" | "POLICY" | "STATUS") {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table
}

fn row(outcome: &Outcome) -> Vec<Cell> {
    let number = |amount: Amount| cell(&grouped(amount.image_total_count));
    let (word, color) = match outcome.status {
        Status::Previewed => ("previewed", None),
        Status::Done => ("done", Some(Color::Green)),
        Status::Unfinished => ("not finished", Some(Color::Yellow)),
        Status::Blocked => ("blocked", Some(Color::Yellow)),
        Status::Partial => ("in part", Some(Color::Red)),
        Status::Failed => ("failed", Some(Color::Red)),
        Status::RepositoryDeleted => ("repository deleted", None),
        Status::Unmatched => ("no policy", None),
    };
    let change = outcome.attachment.as_ref().map(|attached| match attached.lifecycle_policy {
        PolicyChange::Unchanged if attached.is_suspended() => "policy suspended",
        PolicyChange::Unchanged => "policy as it was",
        PolicyChange::Attached => "policy attached",
        PolicyChange::ToBeAttached => "policy to be attached",
        PolicyChange::Suspended => "policy suspended",
        PolicyChange::ToBeSuspended => "policy to be suspended",
    });
    let status = change.map_or_else(|| word.to_owned(), |change| format!("{word}, {change}"));
    let status = cell(&status);
    vec![
        cell(&outcome.repository_name),
        cell(outcome.policy.as_deref().unwrap_or("-")),
        number(outcome.images),
        number(outcome.expiring),
        number(outcome.deleted),
        number(outcome.protected_by_use),
        color.map_or_else(|| status.clone(), |color| status.clone().fg(color)),
    ]
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
        let text = render(&builder.finish(), style);
        assert_eq!(text.matches("there is no such list").count(), 1, "one cause is told once: {text}");
        let (_, end) = text.split_once("\n0 of").unwrap();
        assert_eq!(
            end,
            " 700 images will be deleted (0 B) · 378 blocked by usage-unknown · 0\n  protected (in use).\nThere is nothing that --apply would do.\n"
        );
        let mut builder = Builder::new(run.clone(), run.started_at);
        builder.take(held("a"));
        let free = Outcome { status: Status::Previewed, blockers: Vec::new(), ..held("b") };
        builder.take(Outcome { apply: Some(Apply::Preview), ..free.clone() });
        builder.take(free);
        let text = render(&builder.finish(), style);
        assert!(
            text.contains("54 of 300 images will be deleted (54 B) · 54 blocked by usage-unknown · 54"),
            "{text}"
        );
        assert!(text.ends_with("Add --apply to do it.\n"), "{text}");
    }

    #[test]
    fn what_ecr_enforces_is_shown_with_what_needs_attention_and_what_to_do_about_it() {
        let style = Style { width: 160, color: false };
        insta::assert_snapshot!(render(&protection(protect_only()), style));
    }
}
