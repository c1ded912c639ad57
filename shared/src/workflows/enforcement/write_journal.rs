//! Writes the journal and reads it. Nothing is deleted, attached or replaced before it is journaled.

use crate::aws::s3::Precondition;
use crate::domain::enforcement::journal::{
    Line, PolicyLine, RestoreLine, entry, plan_entry, policy_entry, readable_parts, restore_entry,
};
use crate::domain::text::plain_words;
use crate::workflows::enforcement::object_problem::{Journaled, ObjectProblem};
use crate::workflows::enforcement::{RunContext, RunError};

/// Maximum number of attempts to write an object that must not be there yet.
const MAX_ATTEMPTS: u32 = 3;

/// Journals images before they are deleted or archived; gives the keys. Nothing that exists is overwritten. Several objects are written
/// where one would be too large to be read again.
///
/// # Errors
///
/// When they cannot be written: then nothing of it may be done.
pub async fn write(
    clients: &RunContext<'_>,
    folder: &str,
    repository: &str,
    lines: &[Line],
) -> Result<Vec<String>, RunError> {
    let mut keys = Vec::new();
    for part in readable_parts(lines) {
        let written = entry(folder, repository, part);
        keys.push(write_entry(clients, folder, written, Journaled::Removals).await?);
    }
    Ok(keys)
}

/// Journals images that ECR is going to expire behind an attached policy, before that policy may act on them; returns the key.
/// Existing objects are never overwritten.
///
/// # Errors
///
/// If it cannot be written: then no policy may be attached by which they expire.
pub async fn write_plan(
    clients: &RunContext<'_>,
    folder: &str,
    repository: &str,
    lines: &[Line],
) -> Result<String, RunError> {
    let written = plan_entry(folder, repository, lines);
    write_entry(clients, folder, written, Journaled::Expirations).await
}

/// Journals a policy before another one replaces it; gives the key. Nothing that exists is overwritten.
///
/// # Errors
///
/// When it cannot be written: then it may not be replaced.
pub async fn write_policy(
    clients: &RunContext<'_>,
    folder: &str,
    line: &PolicyLine,
) -> Result<String, RunError> {
    write_entry(clients, folder, policy_entry(folder, line), Journaled::ReplacedPolicy).await
}

/// Journals images before they are restored; gives the key. Nothing that exists is overwritten.
///
/// # Errors
///
/// When they cannot be written: then nothing may be restored.
pub async fn write_restores(
    clients: &RunContext<'_>,
    folder: &str,
    repository: &str,
    lines: &[RestoreLine],
) -> Result<String, RunError> {
    let written = restore_entry(folder, repository, lines);
    write_entry(clients, folder, written, Journaled::Restores).await
}

/// Writes an object of the journal, unless it exists.
async fn write_entry(
    clients: &RunContext<'_>,
    folder: &str,
    written: Result<(String, String), serde_json::Error>,
    journaled: Journaled,
) -> Result<String, RunError> {
    let (key, content) = written.map_err(|error| clients.invalid_object(folder, error))?;
    for _ in 0..MAX_ATTEMPTS {
        if clients.call(clients.s3.put(clients.bucket, &key, &content, Precondition::IfNoneMatch)).await? {
            return Ok(key);
        }
        // An earlier attempt journaled the same, or a concurrent one does.
        if clients.call(clients.s3.get(clients.bucket, &key)).await?.is_some() {
            return Ok(key);
        }
    }
    Err(clients.invalid_object(&key, ObjectProblem::NotJournaled(journaled)))
}

/// The journal's lines under a key.
///
/// # Errors
///
/// If they cannot be read or parsed.
pub async fn read(clients: &RunContext<'_>, key: &str) -> Result<Vec<Line>, RunError> {
    let Some(object) = clients.call(clients.s3.get(clients.bucket, key)).await? else {
        return Ok(Vec::new());
    };
    let lines = object.text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().map_err(|error| clients.invalid_object(key, error))
}

/// The lines of an object of the journal that can be read, and for each other one its number and what is wrong with it. An object
/// that was cut off says what it can.
///
/// # Errors
///
/// If the object cannot be read.
pub async fn read_what_is_there(
    clients: &RunContext<'_>,
    key: &str,
) -> Result<(Vec<Line>, Vec<(usize, String)>), RunError> {
    let Some(object) = clients.call(clients.s3.get(clients.bucket, key)).await? else {
        return Ok((Vec::new(), Vec::new()));
    };
    let (mut lines, mut problems) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(object.text.lines()) {
        match serde_json::from_str(line) {
            Ok(line) => lines.push(line),
            Err(error) => problems.push((number, plain_words::json(line, &error).2)),
        }
    }
    Ok((lines, problems))
}

/// The images that were journaled under a key before they were restored.
///
/// # Errors
///
/// If they cannot be read or parsed.
pub async fn read_restores(clients: &RunContext<'_>, key: &str) -> Result<Vec<RestoreLine>, RunError> {
    let Some(object) = clients.call(clients.s3.get(clients.bucket, key)).await? else {
        return Ok(Vec::new());
    };
    let lines = object.text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().map_err(|error| clients.invalid_object(key, error))
}

/// The replaced policy that was journaled under a key; `None` when there is no such object.
///
/// # Errors
///
/// When it cannot be read, or is no replaced policy.
pub async fn read_policy(clients: &RunContext<'_>, key: &str) -> Result<Option<PolicyLine>, RunError> {
    let Some(object) = clients.call(clients.s3.get(clients.bucket, key)).await? else {
        return Ok(None);
    };
    let line = serde_json::from_str(&object.text);
    line.map(Some)
        .map_err(|error| clients.invalid_object(key, ObjectProblem::NotReplacedPolicy(error.to_string())))
}
