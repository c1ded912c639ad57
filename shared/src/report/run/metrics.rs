//! The metrics of a run.

use super::*;
use crate::report::embedded_metrics::{self, Unit};

/// The report's numbers as a line of CloudWatch's embedded metric format: written to a function's log it is metrics.
#[must_use]
pub fn metrics(report: &RunReport, stack: &str) -> String {
    let totals = &report.totals;
    let seconds = (report.ended_at.micros() - report.run.started_at.micros()) / 1_000_000;
    // What an alarm waits for: a run over the registry that came to its end, and protected what is to be protected.
    let is_whole = report.error.is_none() && report.unfinished_batches.is_empty();
    let is_over_registry = !report.run.protect_only;
    let has_protected = is_whole && is_over_registry && (!report.run.dry_run || report.run.only_protects());
    let values = [
        ("Repositories", Unit::Count, totals.repositories),
        ("RepositoriesUnmatched", Unit::Count, totals.count(Status::Unmatched)),
        ("RepositoriesNeedingAttention", Unit::Count, totals.needing_attention),
        ("RepositoriesDrifted", Unit::Count, totals.drifted),
        ("ProtectedRepositories", Unit::Count, totals.protected_repositories),
        ("SuspendedPolicies", Unit::Count, totals.suspended_policies),
        ("NativePoliciesAtRisk", Unit::Count, totals.native_policies_at_risk),
        ("Images", Unit::Count, totals.images.image_total_count),
        ("ImageBytes", Unit::Bytes, totals.images.image_size_in_bytes),
        ("ImagesExpiring", Unit::Count, totals.expiring.image_total_count),
        ("ImagesDeleted", Unit::Count, totals.deleted.image_total_count),
        ("ImageBytesDeleted", Unit::Bytes, totals.deleted.image_size_in_bytes),
        ("ImagesProtectedByUse", Unit::Count, totals.protected_by_use.image_total_count),
        ("ImagesBlocked", Unit::Count, totals.blocked.image_total_count),
        ("ImagesFailed", Unit::Count, totals.failed.image_total_count),
        ("UnreadableUsageSources", Unit::Count, report.gaps.len() as u64),
        ("RunsCompleted", Unit::Count, u64::from(has_protected)),
        ("RunsFailed", Unit::Count, u64::from(report.status == RunStatus::Failed)),
        ("RunSeconds", Unit::Seconds, u64::try_from(seconds).unwrap_or_default()),
    ];
    embedded_metrics::line(stack, report.ended_at, &values, &[("runId", &report.run.run_id)])
}
