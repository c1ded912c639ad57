//! Reserves room for images to be removed, in the one counter of the day that all runs and terminals share: so that a bad policy stops,
//! however many repositories it is for.

use std::time::Duration;

use crate::aws::s3::{Object, Precondition};
use crate::domain::enforcement::daily_removals::{DailyRemovals, REGISTRY_KEY, RegistryCount};
use crate::domain::enforcement::plan::Blocker;
use crate::domain::enforcement::policy_set::RegistryLimits;
use crate::workflows::enforcement::object_problem::ObjectProblem;
use crate::workflows::enforcement::{RunContext, RunError};

/// Maximum number of attempts of a conditional write that conflicts with other writers.
const MAX_CAS_ATTEMPTS: u32 = 30;

/// The result of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserved {
    /// The number of images that may be removed.
    pub granted: u64,
    /// The daily limit.
    pub limit: u64,
    /// The number of images that were removed in the day before this.
    pub before: u64,
}

/// Whether a reservation may be granted in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// As much as the limit allows.
    Some,
    /// All that is wanted, or nothing.
    AllOrNothing,
}

/// Reserves up to `wanted` images of the registry's daily limit. What is granted counts as removed, even if it is not used.
///
/// # Errors
///
/// If the counter cannot be read or written, or is invalid: then nothing may be removed.
pub async fn reserve(
    clients: &RunContext<'_>,
    limits: RegistryLimits,
    wanted: u64,
) -> Result<Reserved, RunError> {
    reserve_part(clients, limits, wanted, Part::Some).await
}

/// Reserves all of `wanted` images of the registry's daily limit, or none of them. What is granted counts as removed, even if it
/// is not used.
///
/// # Errors
///
/// As [`reserve`].
pub async fn reserve_all(
    clients: &RunContext<'_>,
    limits: RegistryLimits,
    wanted: u64,
) -> Result<Reserved, RunError> {
    reserve_part(clients, limits, wanted, Part::AllOrNothing).await
}

/// What a reservation of `wanted` images would be granted now, without reserving anything.
///
/// # Errors
///
/// If the counter cannot be read, or is invalid.
pub async fn room(
    clients: &RunContext<'_>,
    limits: RegistryLimits,
    wanted: u64,
) -> Result<Reserved, RunError> {
    let total = last_count(clients).await?.map(|count| count.images);
    let (before, _) = removals(clients, &DailyRemovals::key(clients.now())).await?;
    let (granted, limit) = (before.room(wanted, limits, total), limits.images_a_day(total));
    Ok(Reserved { granted, limit, before: before.images })
}

/// What the limits of the registry leave for another day of `planned` images that a dry run would remove, in a sentence; `None` if
/// they leave nothing.
pub async fn over_limit(clients: &RunContext<'_>, limits: RegistryLimits, planned: u64) -> Option<String> {
    if planned == 0 || !clients.has_bucket() {
        return None;
    }
    match room(clients, limits, planned).await {
        Ok(Reserved { granted, .. }) if granted >= planned => None,
        Ok(Reserved { before, limit, .. }) => {
            Some(format!("{}.", Blocker::Registry { planned, before, limit }))
        }
        // Whoever enforces removes nothing without it.
        Err(error) => Some(format!("What may be deleted in the registry today is not known: {error}.")),
    }
}

async fn reserve_part(
    clients: &RunContext<'_>,
    limits: RegistryLimits,
    wanted: u64,
    part: Part,
) -> Result<Reserved, RunError> {
    let key = DailyRemovals::key(clients.now());
    let total = last_count(clients).await?.map(|count| count.images);
    let limit = limits.images_a_day(total);
    for _ in 0..MAX_CAS_ATTEMPTS {
        let (before, found) = removals(clients, &key).await?;
        let granted = match before.room(wanted, limits, total) {
            room if part == Part::AllOrNothing && room < wanted => 0,
            room => room,
        };
        let reserved = Reserved { granted, limit, before: before.images };
        if granted == 0 {
            return Ok(reserved);
        }
        let after = DailyRemovals { images: before.images.saturating_add(granted) };
        let text = serde_json::to_string(&after).map_err(|error| clients.invalid_object(&key, error))?;
        let only =
            found.as_ref().map_or(Precondition::IfNoneMatch, |object| Precondition::IfMatch(&object.etag));
        if clients.call(clients.s3.put(clients.bucket, &key, &text, only)).await? {
            return Ok(reserved);
        }
        tokio::time::sleep(Duration::from_millis(u64::from(fastrand::u32(20..200)))).await;
    }
    Err(clients.invalid_object(&key, ObjectProblem::CounterContended))
}

/// The counter under a key, and the object that it is read from; zero if there is none.
async fn removals(clients: &RunContext<'_>, key: &str) -> Result<(DailyRemovals, Option<Object>), RunError> {
    let found = clients.call(clients.s3.get(clients.bucket, key)).await?;
    let removals = match &found {
        None => DailyRemovals::default(),
        Some(object) => serde_json::from_str(&object.text)
            .map_err(|error| clients.invalid_object(key, ObjectProblem::NotCounter(error.to_string())))?,
    };
    Ok((removals, found))
}

/// What the last completed run counted; none if none completed.
pub(super) async fn last_count(clients: &RunContext<'_>) -> Result<Option<RegistryCount>, RunError> {
    let Some(object) = clients.call(clients.s3.get(clients.bucket, REGISTRY_KEY)).await? else {
        return Ok(None);
    };
    let count = serde_json::from_str(&object.text).map_err(|error| {
        clients.invalid_object(REGISTRY_KEY, ObjectProblem::NotCounted(error.to_string()))
    })?;
    Ok(Some(count))
}
