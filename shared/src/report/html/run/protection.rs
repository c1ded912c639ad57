//! The table of policies that ECR enforces: until when each is protected, and what expires by it.

use super::table::{Cell, Column, Table};
use super::{noun, repositories, text};
use crate::domain::enforcement::outcome::{Attached, Outcome};
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity::{bytes, count, grouped};
use crate::report::run::{ProtectedRepository, RunReport, whose};

const COLUMNS: [Column; 8] = [
    Column("Repository", false),
    Column("Policy", false),
    Column("State", false),
    Column("Protected until", false),
    Column("Refreshed", false),
    Column("Expired by ECR", true),
    Column("Tags added", true),
    Column("Suspended", false),
];

/// The table; none where ECR enforces no policy.
pub(super) fn table(report: &RunReport) -> Option<Table> {
    let number = report.protection.len() as u64 + report.protection_not_shown;
    let hours = report.protection_hours;
    let unit = noun(u64::from(hours), "hour", "hours");
    let missing = match report.protection_not_shown {
        0 => String::new(),
        more => format!(" {} not shown.", repositories(more)),
    };
    let note = format!(
        "ECR applies these lifecycle policies itself, within a day of when a rule takes an image. Their first rule is the protection \
         rule: no image with a protection tag expires. If the tags are not refreshed for {hours} {unit}, the policy is suspended, and \
         ECR takes nothing until they are; a policy that is somebody else's is never written, and needs attention instead. Those that \
         need attention are first, then those that are suspended.{missing}"
    );
    let rows = report.protection.iter().map(|repository| row(repository, report.ended_at)).collect();
    (number > 0).then_some(Table {
        title: "Policies that ECR enforces",
        number,
        note,
        columns: &COLUMNS,
        rows,
    })
}

fn row(repository: &ProtectedRepository, now: Instant) -> Vec<Cell> {
    let ProtectedRepository { repository_name, policy, attached, protected_until, .. } = repository;
    let amount = repository.expiring_by_ecr;
    let by_ecr = if attached.is_suspended() && !amount.is_zero() {
        Cell::number(0).with_small(format!("{} if it acted", grouped(amount.image_total_count)))
    } else {
        let size = if amount.is_zero() { String::new() } else { bytes(amount.image_size_in_bytes) };
        Cell::number(amount.image_total_count).with_small(size)
    };
    let is_stale = repository.is_stale(now);
    let until = protected_until.map_or_else(
        || Cell::default().with_small("not yet"),
        |until| Cell::time(until).strong(is_stale).with_small(if is_stale { "over" } else { "" }),
    );
    vec![
        Cell::from(repository_name.as_str()),
        Cell::from(policy.as_deref().unwrap_or_default()).with_small(whose(attached.mode)),
        Cell::from(repository.state()).strong(repository.needs_attention),
        until,
        attached.refreshed_at.map_or_else(|| Cell::default().with_small("never"), Cell::time),
        by_ecr,
        Cell::number(attached.tags_added),
        Cell::from(suspended(attached).as_str()),
    ]
}

/// Since when a policy is suspended, and why.
fn suspended(attached: &Attached) -> String {
    if !attached.is_suspended() {
        return String::new();
    }
    let since = attached.suspended_at.map(|at| format!("since {}: ", text::minute(at))).unwrap_or_default();
    let because = attached.suspended_because.as_deref().unwrap_or("see what needs attention");
    format!("{since}{because}")
}

/// The details of a repository's protection, a sentence each.
pub(super) fn facts(outcome: &Outcome, protection_hours: u32) -> Option<Vec<String>> {
    let attached = outcome.attachment.as_ref()?;
    let amount = outcome.expiring_by_ecr;
    let until = attached.protected_until(protection_hours);
    let until = until.map_or_else(|| "not yet".to_owned(), text::minute);
    let mut facts = vec![format!("Policy: {}", whose(attached.mode)), format!("Protected until: {until}")];
    facts.extend(attached.refreshed_at.map(|at| format!("Refreshed: {}", text::minute(at))));
    if attached.tags_added > 0 {
        facts.push(format!("Images newly protected: {} added", count(attached.tags_added, "tag")));
    }
    let by_ecr = if attached.is_suspended() {
        "nothing as long as the policy is suspended".to_owned()
    } else if amount.is_zero() {
        "nothing".to_owned()
    } else {
        format!("{}, within a day", super::both(amount))
    };
    facts.push(format!("Expired by ECR: {by_ecr}"));
    if attached.is_suspended() {
        facts.push(format!("Suspended {}", suspended(attached)));
    }
    Some(facts)
}
