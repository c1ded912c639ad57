//! Makes one report of what came of all repositories of a run. Outcomes are read batch by batch; what is held in memory is
//! what the report shows.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt};

use super::batch::Sizes;
use super::inventory::{Progress, SIZES_KEY};
use super::outcome::{Outcome, Status};
use super::{Clients, LAST, Run, Stop, journal};
use crate::instant::Instant;
use crate::report::run::{Builder, NAMES, RunReport};
use crate::usage::observation::Observation;

/// Objects that are read at the same time.
const AT_ONCE: usize = 8;
/// The keys of the report of the last run begin so.
pub const LATEST: &str = "reports/latest";
/// Repositories with more images than this are remembered for the next run's batches.
const MANY: u64 = 1000;

/// Makes the report of a run. `error` is why there was none, if something failed before any repository was worked on.
///
/// # Errors
///
/// When the outcomes cannot be read.
pub async fn summarize(
    clients: &Clients<'_>,
    run: &Run,
    progress: &Progress,
    error: Option<String>,
    now: Instant,
) -> Result<RunReport, Stop> {
    let mut builder = Builder::new(run.clone(), now);
    let list = async |prefix: String| clients.call(clients.s3.list(clients.bucket, &prefix)).await;
    let (batches, outcomes, written) = tokio::try_join!(
        list(run.batches_prefix()),
        list(run.outcomes_prefix()),
        list(journal::prefix(run))
    )?;
    let mut of_batches: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for outcome in &outcomes {
        let folder = outcome.key.rsplit_once('/').map_or("", |(folder, _)| folder);
        of_batches.entry(folder).or_default().push(&outcome.key);
    }
    let complete = format!("{LAST}.jsonl");
    let report = builder.report_mut();
    report.has_book = progress.has_book;
    report.unfinished_batches = batches
        .iter()
        .filter(|batch| {
            let folder = run.outcomes_of(&batch.key);
            let of_batch = of_batches.get(folder.trim_end_matches('/'));
            !of_batch.is_some_and(|keys| keys.iter().any(|key| key.ends_with(&complete)))
        })
        .map(|batch| batch.key.clone())
        .collect();
    report.error = error;
    let mut told: BTreeSet<String> = BTreeSet::new();
    let mut sizes = Sizes::new();
    for keys in of_batches.values() {
        let mut texts = stream::iter(keys)
            .map(|key| async move { (key, clients.call(clients.s3.get(clients.bucket, key)).await) })
            .buffered(AT_ONCE);
        let mut of_batch: BTreeMap<String, Outcome> = BTreeMap::new();
        while let Some((key, text)) = texts.next().await {
            let text = text?.map(|object| object.text).unwrap_or_default();
            for line in text.lines() {
                let mut outcome: Outcome =
                    serde_json::from_str(line).map_err(|error| clients.odd(key, error.to_string()))?;
                told.extend(outcome.journal.iter().cloned());
                // What another invocation did before in the same repository.
                if let Some(before) = of_batch.remove(&outcome.repository_name) {
                    outcome.follow(before);
                }
                of_batch.insert(outcome.repository_name.clone(), outcome);
            }
        }
        for outcome in of_batch.into_values() {
            if outcome.images.image_total_count > MANY && outcome.status != Status::Unmatched {
                sizes.insert(outcome.repository_name.clone(), outcome.images.image_total_count);
            }
            builder.take(outcome);
        }
    }
    let report = builder.report_mut();
    let untold = written.into_iter().map(|object| object.key).filter(|key| !told.contains(key));
    report.untold_journal = untold.take(NAMES).collect();
    let usage_key = run.usage_key();
    if let Some(usage) = clients.call(clients.s3.get(clients.bucket, &usage_key)).await? {
        let observation =
            Observation::parse(&usage.text).map_err(|error| clients.odd(&usage_key, error.to_string()))?;
        report.gaps = observation.usage.gaps;
    }
    if report.error.is_none() {
        let text = serde_json::to_string(&sizes).unwrap_or_default();
        clients.call(clients.s3.write(clients.bucket, SIZES_KEY, &text, "application/json")).await?;
    }
    Ok(builder.finish())
}

/// Writes the report, as JSON and as a page, with the run and as that of the last one; gives the page's address.
///
/// # Errors
///
/// When S3 does not take it.
pub async fn write(clients: &Clients<'_>, report: &RunReport, page: &str) -> Result<String, Stop> {
    let json = serde_json::to_string(report)
        .map_err(|error| clients.odd(&report.run.key("report.json"), error.to_string()))?;
    let key = report.run.key("report.html");
    for (key, text, content_type) in [
        (report.run.key("report.json"), json.as_str(), "application/json"),
        (key.clone(), page, "text/html; charset=utf-8"),
        (format!("{LATEST}.json"), &json, "application/json"),
        (format!("{LATEST}.html"), page, "text/html; charset=utf-8"),
    ] {
        clients.call(clients.s3.write(clients.bucket, &key, text, content_type)).await?;
    }
    Ok(format!("s3://{}/{key}", clients.bucket))
}
