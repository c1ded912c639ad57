//! Finds what the journal has of repositories and runs. Its keys begin with the day on which a run began.

use std::collections::BTreeSet;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::aws::Failure;
use crate::domain::enforcement::image_restore::Journaled;
use crate::domain::enforcement::journal::{self, RestoreLine};
use crate::domain::text::instant::Instant;
use crate::workflows::enforcement::restore_policy::JOURNAL_DAYS;
use crate::workflows::enforcement::{RunContext, RunError, write_journal};

/// Days of the journal, and objects of it, that are read at the same time.
const READ_CONCURRENCY: usize = 8;
const DAY_MICROS: i64 = 86_400_000_000;

/// The present and as many days before it, the last one first.
fn days_back(now: Instant, days: u32) -> impl Iterator<Item = Instant> {
    (0..=i64::from(days))
        .filter_map(move |days| Instant::from_micros(now.micros().checked_sub(days * DAY_MICROS)?))
}

/// The days since a time, the last one first. A run is under the day on which it began, and writes for up to a day.
fn days_since(now: Instant, since: Instant) -> impl Iterator<Item = Instant> {
    let days = u32::try_from(now.days_since(since).max(0)).unwrap_or(JOURNAL_DAYS);
    days_back(now, days.saturating_add(2).min(JOURNAL_DAYS))
}

/// The keys of the journal since a time that are wanted.
///
/// # Errors
///
/// When they cannot be listed.
pub async fn keys(
    clients: &RunContext<'_>,
    since: Instant,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Vec<String>, RunError> {
    let is_wanted = &is_wanted;
    let listing = stream::iter(days_since(clients.now(), since)).map(async |day| {
        let listed = clients.call(clients.s3.list(clients.bucket, &journal::day(day))).await?;
        let keys = listed.into_iter().map(|object| object.key).filter(|key| is_wanted(key));
        Ok::<Vec<String>, RunError>(keys.collect())
    });
    Ok(listing.buffered(READ_CONCURRENCY).try_collect::<Vec<_>>().await?.concat())
}

/// The day on which a run began, and the repositories of which it deleted or archived images; none if the journal has nothing of it.
///
/// # Errors
///
/// When the journal cannot be listed.
pub async fn run(
    clients: &RunContext<'_>,
    run_id: &str,
) -> Result<Option<(Instant, BTreeSet<String>)>, RunError> {
    let listing = stream::iter(days_back(clients.now(), JOURNAL_DAYS)).map(async |day| {
        let folder = journal::folder(day, run_id);
        let listed = clients.call(clients.s3.list(clients.bucket, &folder)).await?;
        let removals = listed.into_iter().map(|object| object.key).filter(|key| journal::is_removals(key));
        let repositories = removals.filter_map(|key| Some(journal::repository_of(&key)?.to_owned()));
        Ok::<_, RunError>((day, repositories.collect::<BTreeSet<String>>()))
    });
    let mut listing = listing.buffered(READ_CONCURRENCY);
    while let Some((day, repositories)) = listing.try_next().await? {
        if !repositories.is_empty() {
            return Ok(Some((day, repositories)));
        }
    }
    Ok(None)
}

/// The images that objects of the journal say were about to be deleted or archived, and what of these objects cannot be read. One
/// damaged line does not hide the others.
///
/// # Errors
///
/// When S3 does not give one of them.
pub async fn removals(
    clients: &RunContext<'_>,
    keys: Vec<String>,
) -> Result<(Vec<Journaled>, Vec<String>), RunError> {
    let reading = stream::iter(keys).map(async |key| {
        let (lines, problems) = match write_journal::read_what_is_there(clients, &key).await {
            Ok((lines, problems)) => (lines, problems),
            // The object is too large, or no text: it will not be another time.
            Err(RunError::Aws(error)) if error.failure == Failure::Unexpected => {
                return Ok((Vec::new(), vec![error.to_string()]));
            }
            Err(error) => return Err(error),
        };
        let problems = problems.into_iter();
        let problems = problems
            .map(|(number, problem)| format!("s3://{}/{key}: line {number}: {problem}", clients.bucket));
        let journaled = lines.into_iter().map(|line| Journaled { key: key.clone(), line });
        Ok::<_, RunError>((journaled.collect::<Vec<_>>(), problems.collect::<Vec<_>>()))
    });
    let read: Vec<_> = reading.buffered(READ_CONCURRENCY).try_collect().await?;
    let (lines, problems): (Vec<_>, Vec<_>) = read.into_iter().unzip();
    Ok((lines.concat(), problems.concat()))
}

/// The images that objects of the journal say were about to be restored.
///
/// # Errors
///
/// When one of them cannot be read.
pub async fn restores(clients: &RunContext<'_>, keys: Vec<String>) -> Result<Vec<RestoreLine>, RunError> {
    let reading = stream::iter(keys).map(async |key| write_journal::read_restores(clients, &key).await);
    Ok(reading.buffered(READ_CONCURRENCY).try_collect::<Vec<_>>().await?.concat())
}
