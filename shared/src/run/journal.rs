//! What is written down before images are taken away: one line of JSON for each, with everything that it takes to know what
//! went, why, and who decided so, and to put it back.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Run;
#[cfg(feature = "lifecycle")]
use super::{Clients, Stop};
#[cfg(feature = "lifecycle")]
use crate::aws::s3::Only;
use crate::domain::enforcement::actor::Actor;
use crate::instant::Instant;
use crate::report::model::ActionTaken;

/// The keys of the journal begin so.
pub const PREFIX: &str = "journal/";
/// Maximum number of attempts to write an object that must not be there yet.
#[cfg(feature = "lifecycle")]
const MAX_ATTEMPTS: u32 = 3;

/// One image that is about to be deleted or archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// The run, or the request that named the image.
    pub run_id: String,
    /// When this is written.
    pub at: Instant,
    /// The registry: the account.
    pub registry_id: String,
    /// The Region.
    #[serde(default)]
    pub region: String,
    /// Who decided so.
    #[serde(default)]
    pub by: Actor,
    /// The repository.
    pub repository_name: String,
    /// The image's digest.
    pub image_digest: String,
    /// Its tags, which go with it.
    pub image_tags: Vec<String>,
    /// When it was pushed.
    pub image_pushed_at: Instant,
    /// Its size in bytes.
    pub image_size_in_bytes: u64,
    /// Its manifest, as it was pushed; null if ECR did not give it.
    pub image_manifest: Option<String>,
    /// The media type of the manifest.
    #[serde(default)]
    pub image_manifest_media_type: Option<String>,
    /// What is about to happen.
    pub action: ActionTaken,
    /// The policy in the policies file; none for an image that somebody named.
    pub policy: Option<String>,
    /// The version of the policies file.
    pub book_version: Option<String>,
    /// The rule that takes it.
    pub applied_rule_priority: Option<u64>,
    /// Why it goes.
    pub reason: String,
    /// When the use was read that this rests on.
    #[serde(default)]
    pub usage_read_at: Option<Instant>,
}

/// Lines as an object: its key, and its content. The same images, as they are, have the same key in the same run, so that writing
/// them down is idempotent.
///
/// # Errors
///
/// When a line cannot be written, which no content of it should bring about.
pub fn entry(folder: &str, repository: &str, lines: &[Line]) -> Result<(String, String), serde_json::Error> {
    let mut content = String::new();
    let mut digest = Sha256::new();
    for line in lines {
        digest.update(&line.image_digest);
        digest.update(line.image_tags.join(" "));
        digest.update(format!("{:?}\n", line.action.kind));
        content += &serde_json::to_string(line)?;
        content.push('\n');
    }
    let name: String = digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Ok((format!("{folder}{repository}/{name}.jsonl"), content))
}

/// The keys of what a run wrote down begin so.
#[must_use]
pub fn prefix(run: &Run) -> String {
    folder(run.started_at, &run.run_id)
}

/// The keys of what was written down begin so, by when it began and what it is called.
#[must_use]
pub fn folder(at: Instant, id: &str) -> String {
    let day = at.to_string();
    let day = day.split('T').next().unwrap_or_default().replace('-', "/");
    format!("{PREFIX}{day}/{id}/")
}

/// Writes lines down, before what they say is done; gives the key. Nothing that is there is overwritten.
///
/// # Errors
///
/// When they cannot be written: then nothing of it may be done.
#[cfg(feature = "lifecycle")]
pub async fn write(
    clients: &Clients<'_>,
    folder: &str,
    repository: &str,
    lines: &[Line],
) -> Result<String, Stop> {
    let (key, content) =
        entry(folder, repository, lines).map_err(|error| clients.odd(folder, error.to_string()))?;
    for _ in 0..MAX_ATTEMPTS {
        if clients.call(clients.s3.put(clients.bucket, &key, &content, Only::IfAbsent)).await? {
            return Ok(key);
        }
        // The same was written down by an attempt before this one, or somebody writes at this moment.
        if clients.call(clients.s3.get(clients.bucket, &key)).await?.is_some() {
            return Ok(key);
        }
    }
    Err(clients.odd(&key, "it could not be written down, and nothing is deleted that is not".to_owned()))
}

/// What was written down under a key.
///
/// # Errors
///
/// When it cannot be read, or is no journal.
#[cfg(feature = "lifecycle")]
pub async fn read(clients: &Clients<'_>, key: &str) -> Result<Vec<Line>, Stop> {
    let Some(object) = clients.call(clients.s3.get(clients.bucket, key)).await? else {
        return Ok(Vec::new());
    };
    let lines = object.text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().map_err(|error| clients.odd(key, error.to_string()))
}
