//! Makes one report of the outcomes of all repositories of a run. Outcomes are read batch by batch; only what the report shows is
//! in memory.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt};

use super::inventory::{Progress, SIZES_KEY, read_list};
use super::look_records::LookWriter;
use super::object_problem::ObjectProblem;
use super::read_layers::STORAGE_KEY;
use super::{RunContext, RunError, registry_limit};
use crate::aws::s3;
use crate::domain::enforcement::batch::Sizes;
use crate::domain::enforcement::daily_removals::REGISTRY_KEY;
use crate::domain::enforcement::enforcement_switch::preview_key;
use crate::domain::enforcement::journal;
use crate::domain::enforcement::outcome::{Outcome, Status};
use crate::domain::enforcement::outcome_file;
use crate::domain::enforcement::policy_set::PolicySet;
use crate::domain::enforcement::run::{INVENTORY, Run, message_of_cause};
use crate::domain::enforcement::storage::{KnownStorage, Unread};
use crate::domain::text::instant::Instant;
use crate::domain::usage::usage_snapshot::UsageSnapshot;
use crate::report::attention::Notice;
use crate::report::run::{Builder, EarlierRun, NAMES, RunReport, WrittenBytes, earlier_runs};

/// Objects that are read at the same time.
const READ_CONCURRENCY: usize = 8;
/// The key of the use at the beginning of the last completed run, for deletions by hand.
pub const USAGE_KEY: &str = "state/usage.json";
/// The key of the last notice about runs that only protect.
pub const NOTICE_KEY: &str = "state/told.json";
/// Key prefix of the report of the last run.
pub const LATEST: &str = "reports/latest";
/// Key prefix of the report of the last run that only protects. It has its own, since people look for the last run over the registry.
pub const LATEST_PROTECTION: &str = "reports/latest-protection";
/// Repositories with more images than this are remembered for the next run's batches.
const MANY: u64 = 1000;

/// The policies file of a run is not valid. The name is that of the state machine's error.
#[derive(Debug, thiserror::Error)]
#[error("InvalidPoliciesFile: {problem}")]
struct InvalidPoliciesFile {
    problem: String,
}

/// A run whose policies file is not valid, and that failed.
#[derive(Debug, thiserror::Error)]
#[error("{file}; and without the file: {error}")]
struct FailedWithoutFile {
    file: InvalidPoliciesFile,
    error: String,
}

/// Makes the report of a run. `error` is why there was none, if something failed before any repository was worked on.
///
/// # Errors
///
/// When the outcomes cannot be read.
pub async fn summarize(
    clients: &RunContext<'_>,
    run: &Run,
    progress: &Progress,
    error: Option<String>,
    now: Instant,
) -> Result<RunReport, RunError> {
    let mut builder = Builder::new(run.clone(), now);
    // The run went on without the file, to protect what is protected for another reason.
    let problem = run.policies_file_problem.as_ref();
    let problem = problem.map(|problem| InvalidPoliciesFile {
        problem: message_of_cause(problem).unwrap_or_else(|| problem.clone()),
    });
    let error = match (error, problem) {
        (Some(error), Some(file)) => Some(FailedWithoutFile { file, error }.to_string()),
        (error, problem) => error.or_else(|| problem.map(|problem| problem.to_string())),
    };
    let list_key = run.batch_list_key();
    let found = match run.attempt.as_str() {
        "" => None,
        _ => clients.call(clients.s3.get(clients.bucket, &list_key)).await?,
    };
    let has_list = found.is_some();
    let batches = match found {
        Some(list) => read_list(clients, &list_key, &list.text)?,
        None if error.is_none() => {
            return Err(clients.invalid_object(&list_key, ObjectProblem::NoBatchList));
        }
        // It failed before there was one.
        None => Vec::new(),
    };
    let list = async |prefix: String| clients.call(clients.s3.list(clients.bucket, &prefix)).await;
    let (outcomes, written) = tokio::try_join!(list(run.outcomes_prefix()), list(journal::prefix(run)))?;
    let bytes = |objects: &[s3::Listed]| objects.iter().map(|object| object.bytes).sum::<Option<u64>>();
    let written_bytes = bytes(&outcomes).zip(bytes(&written));
    // What other attempts at the inventory led to is not of this run.
    let of_inventory = progress.attempts.iter().map(|attempt| run.outcomes_of_inventory(attempt));
    let own: BTreeSet<String> =
        batches.iter().map(|batch| run.outcomes_of(&batch.key)).chain(of_inventory).collect();
    let mut of_batches: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for outcome in &outcomes {
        let folder = outcome.key.rsplit_once('/').map_or("", |(folder, _)| folder);
        if own.contains(&format!("{folder}/")) {
            // A page of the inventory has repositories that no other has.
            let is_page = folder.ends_with(INVENTORY);
            let one = if is_page { outcome.key.as_str() } else { folder };
            of_batches.entry(one).or_default().push(&outcome.key);
        }
    }
    let report = builder.report_mut();
    report.has_policies_file = progress.has_policies_file;
    report.place.region = clients.region.to_owned();
    report.place.bucket = clients.bucket.to_owned();
    report.written = written_bytes.map(|(outcomes, journal)| WrittenBytes { outcomes, journal });
    report.unread_tags.clone_from(&progress.unread_tags);
    report.unread_cost_tags.clone_from(&progress.unread_cost_tags);
    report.unknown_changes.clone_from(&progress.unknown_changes);
    report.unfinished_batches = batches
        .iter()
        .filter(|batch| {
            let folder = run.outcomes_of(&batch.key);
            let of_batch = of_batches.get(folder.trim_end_matches('/'));
            !of_batch.is_some_and(|keys| keys.iter().any(|key| outcome_file::is_last(key)))
        })
        .map(|batch| batch.key.clone())
        .collect();
    report.error = error;
    let mut reported: BTreeSet<String> = BTreeSet::new();
    let mut sizes = Sizes::new();
    let mut known = KnownStorage::new();
    let mut looks = LookWriter::new(clients, run);
    let mut wanted_today = 0_u64;
    for (one, keys) in &of_batches {
        looks.begin(one.rsplit_once('/').map_or("", |(place, _)| place)).await;
        let mut objects = stream::iter(keys)
            .map(|key| async move { (key, clients.call(clients.s3.get_bytes(clients.bucket, key)).await) })
            .buffered(READ_CONCURRENCY);
        let mut of_batch: BTreeMap<String, Outcome> = BTreeMap::new();
        while let Some((key, content)) = objects.next().await {
            let content = content?.ok_or_else(|| clients.invalid_object(key, ObjectProblem::Missing))?;
            let outcomes =
                outcome_file::read(key, &content).map_err(|error| clients.invalid_object(key, error))?;
            for mut outcome in outcomes {
                reported.extend(outcome.journal.iter().cloned());
                // What another invocation did before in the same repository.
                if let Some(before) = of_batch.remove(&outcome.repository_name) {
                    outcome.follow(before);
                }
                of_batch.insert(outcome.repository_name.clone(), outcome);
            }
        }
        for mut outcome in of_batch.into_values() {
            looks.add(&outcome);
            outcome.look = None;
            if outcome.images.image_total_count > MANY && outcome.status != Status::Unmatched {
                sizes.insert(outcome.repository_name.clone(), outcome.images.image_total_count);
            }
            if let Some(storage) = &outcome.storage {
                let unread = Unread(outcome.images.image_size_in_bytes, storage.unread_images);
                known.insert(outcome.repository_name.clone(), unread);
            }
            let counted = std::mem::take(&mut outcome.counted_removals);
            if outcome.status == Status::Previewed {
                wanted_today = wanted_today.saturating_add(counted);
            }
            builder.take(outcome);
        }
        looks.end().await;
    }
    let report = builder.report_mut();
    // What ECR takes behind a policy, and what policy it was, no outcome has to tell.
    let removals = written.into_iter().map(|object| object.key).filter(|key| journal::is_removals(key));
    let unreported = removals.filter(|key| !reported.contains(key));
    report.unreported_journal = unreported.take(NAMES).collect();
    let usage_key = run.usage_key();
    if let Some(usage) = clients.call(clients.s3.get(clients.bucket, &usage_key)).await? {
        let observation =
            UsageSnapshot::parse(&usage.text).map_err(|error| clients.invalid_object(&usage_key, error))?;
        report.gaps = observation.usage.gaps;
        report.usage_sources = observation.usage.sources;
    }
    let policies_file_key = run.policies_file_key();
    let policy_set = match has_list {
        true => clients.call(clients.s3.get(clients.bucket, &policies_file_key)).await?,
        false => None,
    };
    let policy_set = policy_set.and_then(|object| PolicySet::parse(&object.text).ok());
    if let Some(policy_set) = &policy_set {
        report.ignored =
            policy_set.usage().ignore.iter().filter(|ignored| ignored.holds(now)).cloned().collect();
    }
    let decided_the_run =
        |policy_set: &PolicySet| run.policies_file_hash.as_deref() == Some(policy_set.hash());
    // Only a run that came to its end has shown all that its policies file does, and not if it could look at no repository.
    let unchanged = report.unchanged.as_ref().map_or(0, |unchanged| unchanged.repositories);
    let matched = report.totals.repositories - report.totals.count(Status::Unmatched) - unchanged;
    let has_looked = matched == 0 || report.totals.count(Status::Failed) < matched;
    // A run that only protects has seen a part of the registry, and shows nothing of what its policies file does.
    report.is_preview = report.error.is_none()
        && !run.protect_only
        && has_looked
        && report.unfinished_batches.is_empty()
        && policy_set.as_ref().is_some_and(decided_the_run);
    // Where an event is missing, others may be, whatever else went wrong.
    let is_trusted = report.unannounced_pushes.is_empty();
    if (report.is_preview || !is_trusted) && progress.reads_changes {
        looks.finish(is_trusted).await;
    }
    if !run.protect_only {
        report.earlier_runs = runs_before(clients, run).await;
    }
    if report.error.is_none() && !run.protect_only {
        let text = serde_json::to_string(&sizes).unwrap_or_default();
        clients.call(clients.s3.write(clients.bucket, SIZES_KEY, &text, "application/json")).await?;
        remember_storage(clients, &known).await;
    }
    // What this run would have removed, if it were not a dry one.
    if let Some(policy_set) = policy_set.filter(|_| run.dry_run && !run.protect_only) {
        let over_limit = registry_limit::over_limit(clients, policy_set.limits(), wanted_today).await;
        builder.report_mut().limit_notices.extend(over_limit);
    }
    Ok(builder.finish())
}

/// Stores how large repositories are, and of how many of their images layers are not known, by which the next run shares out what it
/// reads. Without it each repository gets one call.
async fn remember_storage(clients: &RunContext<'_>, known: &KnownStorage) {
    if known.is_empty() {
        return;
    }
    let text = serde_json::to_string(known).unwrap_or_default();
    let written = clients.s3.write(clients.bucket, STORAGE_KEY, &text, "application/json");
    if let Err(error) = clients.call(written).await {
        tracing::warn!(key = STORAGE_KEY, %error, "could not remember how large repositories are");
    }
}

/// The runs before this one, from the report of the last one. Without them a report is complete in all else.
async fn runs_before(clients: &RunContext<'_>, run: &Run) -> Vec<EarlierRun> {
    let key = format!("{LATEST}.json");
    let before = match clients.call(clients.s3.get(clients.bucket, &key)).await {
        Ok(None) => return Vec::new(),
        Ok(Some(last)) => earlier_runs(&last.text, run).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    before.unwrap_or_else(|problem| {
        tracing::warn!(key, problem, "what runs did before is not known, and not reported");
        Vec::new()
    })
}

/// Writes the report, as JSON and as a page, with the run and as that of the last one; gives the page's address.
///
/// # Errors
///
/// When S3 does not take it.
pub async fn write(clients: &RunContext<'_>, report: &RunReport, page: &str) -> Result<String, RunError> {
    let json = serde_json::to_string(report)
        .map_err(|error| clients.invalid_object(&report.run.key("report.json"), error))?;
    let key = report.run.key("report.html");
    let latest = if report.run.protect_only { LATEST_PROTECTION } else { LATEST };
    for (key, text, content_type) in [
        (report.run.key("report.json"), json.as_str(), "application/json"),
        (key.clone(), page, "text/html; charset=utf-8"),
        (format!("{latest}.json"), &json, "application/json"),
        (format!("{latest}.html"), page, "text/html; charset=utf-8"),
    ] {
        clients.call(clients.s3.write(clients.bucket, &key, text, content_type)).await?;
    }
    if report.is_preview {
        record(clients, report).await?;
    }
    Ok(format!("s3://{}/{key}", clients.bucket))
}

/// The notice of what needs attention; `None` if a notice with the same concerns was sent less than a day ago, for a run that
/// only protects.
///
/// # Errors
///
/// If S3 cannot be asked.
pub async fn news(
    clients: &RunContext<'_>,
    report: &RunReport,
    now: Instant,
) -> Result<Option<Notice>, RunError> {
    let notice = Notice { at: now, concerns: report.lasting_concerns() };
    if !report.run.protect_only {
        return Ok(Some(notice));
    }
    let before = clients.call(clients.s3.get(clients.bucket, NOTICE_KEY)).await?;
    // An unreadable notice counts as none.
    let before: Option<Notice> = before.and_then(|object| serde_json::from_str(&object.text).ok());
    Ok(Notice::is_news(before.as_ref(), &notice.concerns, now).then_some(notice))
}

/// Stores the last notice about runs that only protect.
///
/// # Errors
///
/// If S3 refuses; then the notice is repeated.
pub async fn remember_notice(
    clients: &RunContext<'_>,
    report: &RunReport,
    notice: &Notice,
) -> Result<(), RunError> {
    if !report.run.protect_only {
        return Ok(());
    }
    let text = serde_json::to_string(notice).map_err(|error| clients.invalid_object(NOTICE_KEY, error))?;
    clients.call(clients.s3.write(clients.bucket, NOTICE_KEY, &text, "application/json")).await
}

/// Stores what later runs need: that this policies file was previewed, and the number of images in the registry.
async fn record(clients: &RunContext<'_>, report: &RunReport) -> Result<(), RunError> {
    let run = &report.run;
    let latest = serde_json::json!({ "runId": run.run_id, "endedAt": report.ended_at });
    let mut counted = latest.clone();
    counted["images"] = report.totals.counted_images.into();
    counted["startedAt"] = run.started_at.to_string().into();
    let mut objects = vec![(REGISTRY_KEY.to_owned(), counted.to_string())];
    let usage = clients.call(clients.s3.get(clients.bucket, &run.usage_key())).await?;
    objects.extend(usage.map(|usage| (USAGE_KEY.to_owned(), usage.text)));
    // Last: a file counts as previewed when everything else is there.
    objects.extend(run.policies_file_hash.as_deref().map(|hash| (preview_key(hash), latest.to_string())));
    for (key, text) in objects {
        clients.call(clients.s3.write(clients.bucket, &key, &text, "application/json")).await?;
    }
    Ok(())
}
