//! Finds all repositories of a registry and the policy of each, and what is in use, and writes down batches of them.
//! Holds a page of repositories in memory and no more, however many there are.

use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::batch::{Assignment, Batch, Batcher, Sizes};
use super::outcome::{Outcome, Status};
use super::{Clients, Run, Stop, check_clock, observe};
use crate::domain::usage::list_memory;
use crate::instant::Instant;
use crate::policy_book::{self, Match, PolicyBook, Sources};
use crate::usage::observation::{Observation, ReadOnce};

/// Calls at the same time.
const AT_ONCE: usize = 4;
/// With less time than this no other page is begun.
const LEAST: Duration = Duration::from_secs(15);
/// The key of how many images repositories had that have many.
pub const SIZES_KEY: &str = "cache/sizes.json";

/// How far an inventory came: the input of another invocation, as long as there is a token, and then of what follows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// How many repositories there are.
    pub repositories: u64,
    /// How many of them no policy is for.
    pub unmatched: u64,
    /// How many batches there are.
    pub batches: usize,
    /// Whether there is a policy book.
    pub has_book: bool,
    /// Where the next invocation goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// Why there is no inventory.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// A call failed, or time is up.
    #[error(transparent)]
    Stop(#[from] Stop),
    /// The policy book is not valid; nothing is done by it.
    #[error("{}: {}", policy_book::KEY, .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Book(Vec<crate::finding::Finding>),
}

/// Makes the inventory of a run, or goes on with it; gives the run with the version of the book that it goes by.
///
/// # Errors
///
/// When the book is not valid or a call fails; then there is no run.
pub async fn take(
    clients: &Clients<'_>,
    run: &Run,
    progress: Progress,
) -> Result<(Run, Progress), InventoryError> {
    let now = clients.now();
    let mut run = run.clone();
    let mut progress = progress;
    let book = if progress.next_token.is_none() {
        let (book, has_book) = begin(clients, &mut run, now).await?;
        progress.has_book = has_book;
        book
    } else {
        let text = clients.object(&run.book_key(), now).await?;
        PolicyBook::parse(&text).map_err(InventoryError::Book)?
    };
    let sizes = clients.call(clients.s3.get(clients.bucket, SIZES_KEY)).await?;
    // Without them batches are of uneven size, no more.
    let sizes: Sizes = sizes.and_then(|object| serde_json::from_str(&object.text).ok()).unwrap_or_default();
    let mut batcher = Batcher::new(&run, &sizes, progress.batches);
    let mut page_number = progress.repositories;
    let mut token = progress.next_token.take();
    loop {
        let page = clients.call(clients.ecr.repositories(None, token.as_deref())).await?;
        progress.repositories += page.repositories.len() as u64;
        let mut full = Vec::new();
        let mut unmatched = String::new();
        let assigned = stream::iter(&page.repositories)
            .map(|repository| assign(clients, &book, &repository.name, &repository.arn))
            .buffered(AT_ONCE);
        let assigned: Vec<_> = assigned.try_collect().await?;
        for (repository, entry) in page.repositories.iter().zip(assigned) {
            if let Some(entry) = entry {
                let assignment = Assignment {
                    repository_name: repository.name.clone(),
                    repository_arn: repository.arn.clone(),
                    policy: entry.name.clone(),
                };
                full.extend(batcher.push(&repository.registry_id, assignment, entry.apply));
            } else {
                progress.unmatched += 1;
                let outcome = Outcome {
                    repository_name: repository.name.clone(),
                    status: Status::Unmatched,
                    ..Outcome::default()
                };
                unmatched += &serde_json::to_string(&outcome).unwrap_or_default();
                unmatched.push('\n');
            }
        }
        token = page.next_token;
        let is_over = token.is_none() || !clients.deadline.has(LEAST);
        if is_over {
            full.extend(batcher.finish());
        }
        write(clients, &full).await?;
        if !unmatched.is_empty() {
            let key = format!("{}unmatched/{page_number:06}.jsonl", run.outcomes_prefix());
            clients.call(clients.s3.write(clients.bucket, &key, &unmatched, "application/jsonl")).await?;
        }
        page_number = progress.repositories;
        if is_over {
            break;
        }
    }
    progress.batches = batcher.filled();
    progress.next_token = token;
    tracing::info!(
        run = run.run_id,
        repositories = progress.repositories,
        unmatched = progress.unmatched,
        batches = progress.batches,
        is_complete = progress.next_token.is_none(),
        "took the inventory"
    );
    Ok((run, progress))
}

/// Reads the book and what is in use, and keeps both with the run: all of it goes by the same.
async fn begin(
    clients: &Clients<'_>,
    run: &mut Run,
    now: Instant,
) -> Result<(PolicyBook, bool), InventoryError> {
    let found = clients.call(clients.s3.get(clients.bucket, policy_book::KEY)).await?;
    let has_book = found.is_some();
    let (book, text) = match found {
        None => (PolicyBook::default(), "policies: []\n".to_owned()),
        Some(object) => {
            check_clock(object.answered_at, now)?;
            run.book_version = object.version;
            (PolicyBook::parse(&object.text).map_err(InventoryError::Book)?, object.text)
        }
    };
    let sources: &Sources = book.usage();
    // Where no policy is for anything nobody asks what is in use.
    let observation = if book.entries().is_empty() {
        Observation::default()
    } else {
        let before = observe::before(clients).await?;
        let observation = observe::observe(clients, sources, before.clone(), now).await?;
        let ReadOnce { known, memory, .. } = &observation.once;
        if *known != before.known {
            write_json(clients, observe::KNOWN_KEY, known).await?;
        }
        if *memory != before.memory {
            write_json(clients, list_memory::KEY, memory).await?;
        }
        observation
    };
    let (book_key, usage_key) = (run.book_key(), run.usage_key());
    let usage = observation.to_json().map_err(|error| clients.odd(&usage_key, error.to_string()))?;
    clients.call(clients.s3.write(clients.bucket, &book_key, &text, "application/yaml")).await?;
    clients.call(clients.s3.write(clients.bucket, &usage_key, &usage, "application/json")).await?;
    Ok((book, has_book))
}

async fn write_json(clients: &Clients<'_>, key: &str, value: &impl Serialize) -> Result<(), Stop> {
    let text = serde_json::to_string(value).map_err(|error| clients.odd(key, error.to_string()))?;
    clients.call(clients.s3.write(clients.bucket, key, &text, "application/json")).await
}

/// The policy of a repository. Its tags are asked for only where they decide.
///
/// # Errors
///
/// When they cannot be read.
pub async fn assign<'a>(
    clients: &Clients<'_>,
    book: &'a PolicyBook,
    repository: &str,
    arn: &str,
) -> Result<Option<&'a policy_book::Entry>, Stop> {
    match book.entry_for(repository, None) {
        Match::Entry(entry) => Ok(Some(entry)),
        Match::None => Ok(None),
        Match::TagsNeeded => {
            let tags = match clients.call(clients.ecr.tags(arn)).await {
                Ok(tags) => tags,
                // Deleted since it was listed.
                Err(stop) if stop.is_not_found() => return Ok(None),
                Err(stop) => return Err(stop),
            };
            match book.entry_for(repository, Some(&tags)) {
                Match::Entry(entry) => Ok(Some(entry)),
                Match::None | Match::TagsNeeded => Ok(None),
            }
        }
    }
}

async fn write(clients: &Clients<'_>, batches: &[(String, Batch)]) -> Result<(), Stop> {
    let writing = stream::iter(batches).map(|(key, batch)| async move {
        let text = serde_json::to_string(batch).unwrap_or_default();
        clients.call(clients.s3.write(clients.bucket, key, &text, "application/json")).await
    });
    writing.buffer_unordered(AT_ONCE).try_collect().await
}
