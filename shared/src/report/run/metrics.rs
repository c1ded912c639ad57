//! The metrics of a run.

use super::*;

/// The report's numbers as a line of CloudWatch's embedded metric format: written to a function's log it is metrics.
#[must_use]
pub fn metrics(report: &RunReport, stack: &str) -> String {
    const NAMESPACE: &str = "ecr-steward";
    let totals = &report.totals;
    let seconds = (report.ended_at.micros() - report.run.started_at.micros()) / 1_000_000;
    // What an alarm waits for: a run over the registry that came to its end, and protected what is to be protected.
    let is_whole = report.error.is_none() && report.unfinished_batches.is_empty();
    let is_over_registry = !report.run.protect_only;
    let has_protected = is_whole && is_over_registry && (!report.run.dry_run || report.run.only_protects());
    let values: [(&str, &str, u64); 19] = [
        ("Repositories", "Count", totals.repositories),
        ("RepositoriesUnmatched", "Count", totals.count(Status::Unmatched)),
        ("RepositoriesNeedingAttention", "Count", totals.needing_attention),
        ("RepositoriesDrifted", "Count", totals.drifted),
        ("ProtectedRepositories", "Count", totals.protected_repositories),
        ("SuspendedPolicies", "Count", totals.suspended_policies),
        ("NativePoliciesAtRisk", "Count", totals.native_policies_at_risk),
        ("Images", "Count", totals.images.image_total_count),
        ("ImageBytes", "Bytes", totals.images.image_size_in_bytes),
        ("ImagesExpiring", "Count", totals.expiring.image_total_count),
        ("ImagesDeleted", "Count", totals.deleted.image_total_count),
        ("ImageBytesDeleted", "Bytes", totals.deleted.image_size_in_bytes),
        ("ImagesProtectedByUse", "Count", totals.protected_by_use.image_total_count),
        ("ImagesBlocked", "Count", totals.blocked.image_total_count),
        ("ImagesFailed", "Count", totals.failed.image_total_count),
        ("UnreadableUsageSources", "Count", report.gaps.len() as u64),
        ("RunsCompleted", "Count", u64::from(has_protected)),
        ("RunsFailed", "Count", u64::from(report.status == RunStatus::Failed)),
        ("RunSeconds", "Seconds", u64::try_from(seconds).unwrap_or_default()),
    ];
    let definitions: Vec<serde_json::Value> =
        values.iter().map(|(name, unit, _)| serde_json::json!({ "Name": name, "Unit": unit })).collect();
    let mut line = serde_json::json!({
        "_aws": {
            "Timestamp": report.ended_at.micros() / 1000,
            "CloudWatchMetrics": [
                { "Namespace": NAMESPACE, "Dimensions": [["StackName"]], "Metrics": definitions },
            ],
        },
        "StackName": stack,
        "runId": report.run.run_id,
    });
    for (name, _, value) in values {
        line[name] = value.into();
    }
    line.to_string()
}
