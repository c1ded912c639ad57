//! Restores a lifecycle policy that another one replaced, from the journal. First the attached policy is read and explained, so
//! that a dry run reports the same as the execution. Nothing else of the repository is changed.

use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::aws::ecr::EcrWrite;
use crate::domain::enforcement::actor::Actor;
use crate::domain::enforcement::in_use_protection::is_protected;
use crate::domain::enforcement::journal::{self, PolicyLine};
use crate::domain::enforcement::protection_record::{Mode, ProtectionRecord};
use crate::domain::lifecycle::LifecyclePolicy;
use crate::domain::repository::{Existing, Name};
use crate::domain::text::finding::Finding;
use crate::domain::text::instant::Instant;
use crate::workflows::enforcement::object_problem::ObjectProblem;
use crate::workflows::enforcement::write_journal;
use crate::workflows::enforcement::{RunContext, RunError};
use crate::workflows::protection_records::{ProtectionRecords, RecordProblem};

/// Days for which the bucket keeps the journal.
pub const JOURNAL_DAYS: u32 = 400;
/// Days of the journal that are listed at the same time.
const DAYS_AT_ONCE: usize = 8;
const DAY_MICROS: i64 = 86_400_000_000;
/// The prefix of the journal's objects of restored policies. Those are found by their name only, so that restoring is idempotent.
const RESTORE: &str = "policy-restore-";

/// A policy that can be put back, and what there is to know before that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restoration {
    /// The repository.
    pub repository: Name,
    /// The object of the journal that has the policy.
    pub key: String,
    /// The policy, and when, by whom and why it was replaced.
    pub replaced: PolicyLine,
    /// The attached policy as ECR returned it, if any.
    pub attached: Option<String>,
    /// Warnings for whoever restores it.
    pub warnings: Vec<Warning>,
}

/// A warning for whoever restores a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// ECR enforces the policy without protection.
    #[error(
        "the policy has no protection rule: behind it ECR deletes and archives by the policy alone, also images in use; put the \
         protection rule first, which `ecr-steward protection-rule` prints"
    )]
    Unprotected,
    /// The policy is not one that this program knows.
    #[error(
        "the policy is not one that this program can read ({0}); it would be put back as ECR gave it, and whether ECR would delete \
         images in use is not known"
    )]
    Unreadable(UnreadablePolicy),
    /// A run replaces it again.
    #[error(
        "policies.yaml says `apply: attach` for the repository: the next run that enforces attaches the policy of the file again. To \
         keep this one, put the protection rule first in it and write `apply: protect` without `rules` in policies.yaml; do so \
         before that run"
    )]
    AttachedAgain,
    /// The policy is not the one that the repository was created with.
    #[error(
        "the repository was made by ecr-steward with a policy of its own, which this one would replace; change the policy where the \
         repository is described, by `PUT /repositories` or in its stack"
    )]
    Provisioned,
    /// The policy that belongs attached must not act at this time.
    #[error("since {at} no policy may act on the repository ({reason}), and this one would")]
    Suspended {
        /// Since when.
        at: Instant,
        /// Why.
        reason: String,
    },
    /// The record is unreadable, so that it is unknown what runs will do.
    #[error(
        "s3://{bucket}/{key} cannot be read ({problem}): whether a run attaches another policy again is not known"
    )]
    UnreadableRecord {
        /// The bucket.
        bucket: String,
        /// The key of the repository's record.
        key: String,
        /// The problem.
        problem: RecordProblem,
    },
}

impl Restoration {
    /// Whether the policy is attached already, so that there is nothing to do.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        let Some(attached) = &self.attached else { return false };
        *attached == self.replaced.lifecycle_policy_text
            || match (LifecyclePolicy::parse(attached), self.policy()) {
                (Ok(attached), Ok(policy)) => attached == policy,
                _ => false,
            }
    }

    /// The policy that would be put back.
    ///
    /// # Errors
    ///
    /// Why this program cannot read it.
    pub fn policy(&self) -> Result<LifecyclePolicy, UnreadablePolicy> {
        read(&self.replaced.lifecycle_policy_text)
    }

    /// The policy that is attached now; none if nothing is.
    ///
    /// # Errors
    ///
    /// Why this program cannot read it.
    pub fn attached_policy(&self) -> Result<Option<LifecyclePolicy>, UnreadablePolicy> {
        self.attached.as_deref().map(read).transpose()
    }
}

/// Why this program cannot read a policy of ECR: the first thing that it finds wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.as_ref().map_or_else(|| "it is not valid".to_owned(), ToString::to_string))]
pub struct UnreadablePolicy(Option<Finding>);

/// Why the journal has a policy that was replaced by an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("put back by `ecr-steward policy restore` from {key}")]
struct PutBack<'a> {
    key: &'a str,
}

fn read(text: &str) -> Result<LifecyclePolicy, UnreadablePolicy> {
    LifecyclePolicy::parse(text).map_err(|findings| UnreadablePolicy(findings.into_iter().next()))
}

/// Finds the policy of a repository that was replaced last, in the whole journal or by one run; none if there is none. In the whole
/// journal a policy that this stack had attached itself is only found where no other one is.
///
/// # Errors
///
/// When the journal, the repository's record or the attached policy cannot be read.
pub async fn plan(
    clients: &RunContext<'_>,
    repository: &Name,
    run_id: Option<&str>,
) -> Result<Option<Restoration>, RunError> {
    let Some((key, replaced)) = find_replaced_policy(clients, repository, run_id).await? else {
        return Ok(None);
    };
    let attached = clients.call(clients.ecr.lifecycle_policy(repository.as_str())).await?;
    let mut restoration =
        Restoration { repository: repository.clone(), key, replaced, attached, warnings: Vec::new() };
    restoration.warnings.extend(match restoration.policy() {
        Ok(policy) if is_protected(&policy) => None,
        Ok(_) => Some(Warning::Unprotected),
        Err(problem) => Some(Warning::Unreadable(problem)),
    });
    let records = ProtectionRecords { s3: clients.s3, bucket: clients.bucket };
    if let Some(found) = clients.call(records.find(repository.as_str())).await? {
        match found.record {
            Ok(record) => restoration.warnings.extend(warnings_of(record)),
            Err(problem) => restoration.warnings.push(Warning::UnreadableRecord {
                bucket: clients.bucket.to_owned(),
                key: ProtectionRecord::key(repository.as_str()),
                problem,
            }),
        }
    }
    Ok(Some(restoration))
}

/// The warnings that follow from the record of a repository.
fn warnings_of(record: ProtectionRecord) -> Vec<Warning> {
    let of_mode = match record.mode {
        Mode::Attach => Some(Warning::AttachedAgain),
        Mode::Provisioned => Some(Warning::Provisioned),
        Mode::Protect => None,
    };
    let suspension =
        record.suspended.map(|suspended| Warning::Suspended { at: suspended.at, reason: suspended.reason });
    of_mode.into_iter().chain(suspension).collect()
}

/// Attaches the policy, after what it replaces is in the journal; gives the key of that, if something was attached.
///
/// # Errors
///
/// When what is attached cannot be written down, and then nothing is changed; and what ECR answers.
pub async fn execute(
    clients: &RunContext<'_>,
    ecr: &EcrWrite,
    repository: &Existing,
    restoration: &Restoration,
    by: Actor,
) -> Result<Option<String>, RunError> {
    let at = clients.now();
    let text = &restoration.replaced.lifecycle_policy_text;
    let mut written = None;
    if let Some(attached) = &restoration.attached {
        // Two terminals at the same moment are different ones.
        let run_id = format!("{RESTORE}{}-{}", at.micros(), std::process::id());
        let line = PolicyLine {
            at,
            registry_id: repository.registry_id.clone(),
            region: clients.region.to_owned(),
            by,
            repository_name: restoration.repository.to_string(),
            lifecycle_policy_text: attached.clone(),
            replaced_by: text.clone(),
            was_attached_by_stack: false,
            reason: PutBack { key: &restoration.key }.to_string(),
            run_id,
        };
        let folder = journal::folder(at, &line.run_id);
        written = Some(write_journal::write_policy(clients, &folder, &line).await?);
    }
    clients.call(ecr.put_lifecycle_policy(&restoration.repository, text)).await?;
    Ok(written)
}

/// The newest replaced policy of a repository, and its key: what this stack had not attached comes first, unless a run is named.
async fn find_replaced_policy(
    clients: &RunContext<'_>,
    repository: &Name,
    run_id: Option<&str>,
) -> Result<Option<(String, PolicyLine)>, RunError> {
    let now = clients.now();
    let days = (0..=i64::from(JOURNAL_DAYS))
        .filter_map(|days| Instant::from_micros(now.micros().checked_sub(days * DAY_MICROS)?));
    let mut days =
        stream::iter(days).map(|day| keys_of_day(clients, day, repository, run_id)).buffered(DAYS_AT_ONCE);
    let mut newest: Option<(String, PolicyLine)> = None;
    // The newest policy of somebody else, and whether another day was read since it was found.
    let mut of_others: Option<(String, PolicyLine)> = None;
    let mut is_last = false;
    while let Some(keys) = days.try_next().await? {
        for key in keys {
            let Some(line) = write_journal::read_policy(clients, &key).await? else { continue };
            if line.repository_name != repository.as_str() {
                let problem = ObjectProblem::OtherRepository(line.repository_name);
                return Err(clients.invalid_object(&key, problem));
            }
            let is_newer = |other: &Option<(String, PolicyLine)>| {
                other.as_ref().is_none_or(|(_, other)| other.at < line.at)
            };
            let counts = run_id.is_some() || !line.was_attached_by_stack;
            if counts && is_newer(&of_others) {
                of_others = Some((key.clone(), line.clone()));
            }
            if is_newer(&newest) {
                newest = Some((key, line));
            }
        }
        // A run is under the day on which it began, and may have replaced a policy after one that began on the next day.
        if is_last {
            break;
        }
        is_last = of_others.is_some();
    }
    Ok(of_others.or(newest))
}

/// The keys of the policies of a repository that were replaced by what began on a day.
async fn keys_of_day(
    clients: &RunContext<'_>,
    day: Instant,
    repository: &Name,
    run_id: Option<&str>,
) -> Result<Vec<String>, RunError> {
    let prefix = match run_id {
        Some(run_id) => format!("{}{repository}/", journal::folder(day, run_id)),
        None => journal::day(day),
    };
    let listed = clients.call(clients.s3.list(clients.bucket, &prefix)).await?;
    let keys = listed.into_iter().map(|object| object.key);
    let of_repository = keys.filter(|key| journal::repository_of_policy(key) == Some(repository.as_str()));
    let is_wanted = |key: &String| {
        let run = journal::run_of(key).unwrap_or_default();
        run_id.map_or(!run.starts_with(RESTORE), |run_id| run == run_id)
    };
    Ok(of_repository.filter(is_wanted).collect())
}
