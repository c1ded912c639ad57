//! Suspends policies that this stack attached and that may not act any more, although no run refreshes them. It changes nothing
//! else, and needs no policies file, no lists and no use: it works when everything else fails. The policies file and resource
//! tags are only read to find the owner of a policy without a record.
//!
//! Idempotent: suspended policies remain suspended. An invocation that is cut off has written the record of a repository before
//! its policy is replaced, and the next one continues with the rest.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt};
use serde::Serialize;
use tokio::sync::OnceCell;

use crate::aws::AwsError;
use crate::aws::ecr::EcrProtect;
use crate::aws::resource_tags::TaggedBy;
use crate::domain::enforcement::actor::Actor;
use crate::domain::enforcement::in_use_protection::{
    TakesNothing, is_protected, takes_nothing, without_protection,
};
use crate::domain::enforcement::journal::{self, PolicyLine};
use crate::domain::enforcement::policy_set::{self, Apply, PolicySet};
use crate::domain::enforcement::protection_record::{Mode, ProtectionRecord, Suspension};
use crate::domain::enforcement::suspension::{Cause, Demand, unreadable};
use crate::domain::lifecycle::LifecyclePolicy;
use crate::domain::repository::protection::of_created_on_push;
use crate::domain::repository::{Name, Registry};
use crate::domain::text::finding::Finding;
use crate::domain::text::instant::Instant;
use crate::report::embedded_metrics::{self, Unit};
use crate::workflows::enforcement::inventory::assign;
use crate::workflows::enforcement::object_problem::ObjectProblem;
use crate::workflows::enforcement::write_journal;
use crate::workflows::enforcement::{RunContext, RunError};
use crate::workflows::protection_records::{ProtectionRecords, RecordProblem};

/// Number of repositories that are processed concurrently; ECR throttles at a few calls a second.
const CONCURRENCY: usize = 8;
/// Maximum number of attempts to write a record that others write at the same time.
const MAX_CAS_ATTEMPTS: u32 = 5;
/// Maximum number of repositories whose failures are listed.
const MAX_FAILURES_LISTED: usize = 20;

/// The actor in the journal for suspensions without a run.
const SUSPENDING: &str = "suspended";

/// The result for all repositories.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The number of repositories with a record.
    pub records: u64,
    /// The number of repositories that got a record: ECR created them on a push, and no run has processed them.
    pub adopted: u64,
    /// In how many protection is stale, or cannot be known, and the policy was not suspended before.
    pub stale: u64,
    /// The number of policies that this invocation suspended.
    pub suspended: u64,
    /// The number of policies that were suspended before.
    pub already_suspended: u64,
    /// The number of deleted repositories, whose records are deleted, too.
    pub forgotten: u64,
    /// The number of repositories that failed.
    pub failed: u64,
    /// Why, for the first of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub failures: BTreeMap<String, String>,
    /// Whether all repositories were processed before time was up.
    pub is_complete: bool,
}

/// Why something cannot be suspended, besides failed calls for one repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum SuspendProblem {
    /// This program would not accept the policy that suspended policies are replaced with.
    #[error("the policy that takes nothing is not one: {0}")]
    EmptyPolicy(Finding),
    /// The resource tags of repositories cannot be read.
    #[error("which of them ECR made on a push is not known: {0}")]
    CreatedOnPush(RunError),
}

/// The result for one repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    /// Its policy may continue to act, or is not this stack's.
    Nothing,
    /// Its policy is somebody else's, or its owner is unknown; people have to be told.
    Unclear,
    /// Its record says that it is suspended. Such repositories are processed last.
    Later,
    /// Its policy was suspended.
    Suspended,
    /// Its policy was suspended before.
    AlreadySuspended,
    /// The repository is deleted.
    Forgotten,
    /// It got a record, and its policy may continue to act.
    Adopted,
}

/// The stack in whose name policies are suspended.
#[derive(Debug, Clone, Copy)]
pub struct Stack<'a> {
    /// Its name.
    pub name: &'a str,
    /// The registry of its account.
    pub registry: &'a Registry,
}

/// Suspends the policies of all repositories for which `cause` demands it. The failure of one repository is in the summary, and
/// affects no others.
///
/// # Errors
///
/// If the records cannot be listed.
pub async fn suspend(
    clients: &RunContext<'_>,
    ecr: &EcrProtect,
    stack: Stack<'_>,
    cause: &Cause,
) -> Result<Summary, RunError> {
    let nothing = TakesNothing::new().map_err(|finding| {
        RunError::Aws(AwsError::unexpected_response(
            "PutLifecyclePolicy",
            &SuspendProblem::EmptyPolicy(finding).to_string(),
        ))
    })?;
    let records = ProtectionRecords { s3: clients.s3, bucket: clients.bucket };
    let names = clients.call(records.names()).await?;
    let mut summary = Summary { records: names.len() as u64, is_complete: true, ..Summary::default() };
    let (registry_id, now) = (stack.registry.account_id.as_str(), clients.now());
    let (tagged, file) = (OnceCell::new(), OnceCell::new());
    let suspender =
        Suspender { clients, ecr, records, stack, registry_id, cause, nothing, now, tagged, file };
    let recorded: BTreeSet<String> = names.iter().cloned().collect();
    // What no record calls suspended comes first: however many repositories there are, each invocation has fewer of them to do.
    let later = suspender.work(names, Turn::First, &mut summary).await;
    suspender.work_on_unrecorded(&recorded, &mut summary).await;
    suspender.work(later, Turn::Last, &mut summary).await;
    tracing::info!(?cause, ?summary, "looked for policies to suspend");
    Ok(summary)
}

/// The pass in which a repository is processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// With all others that have a record.
    First,
    /// It has no record.
    Unrecorded,
    /// Its record says that it is suspended.
    Last,
}

struct Suspender<'a> {
    clients: &'a RunContext<'a>,
    ecr: &'a EcrProtect,
    records: ProtectionRecords<'a>,
    stack: Stack<'a>,
    registry_id: &'a str,
    cause: &'a Cause,
    nothing: TakesNothing,
    now: Instant,
    /// The repositories with a resource tag that asks for protection; they are read where that matters.
    tagged: OnceCell<BTreeMap<String, TaggedBy>>,
    /// The policies file, if it is there and valid; it is read where that matters.
    file: OnceCell<Option<PolicySet>>,
}

impl Suspender<'_> {
    /// Works on the repositories that ECR made on a push since the last run: no run has written a record of them.
    async fn work_on_unrecorded(&self, recorded: &BTreeSet<String>, summary: &mut Summary) {
        // What a repository was made with has nothing to do with the file.
        if !summary.is_complete || matches!(self.cause, Cause::InvalidPoliciesFile { .. }) {
            return;
        }
        match self.tagged().await {
            Ok(tagged) => {
                let made = tagged.iter().filter(|(_, by)| **by == TaggedBy::Template);
                let names = made.map(|(name, _)| name.clone()).filter(|name| !recorded.contains(name));
                self.work(names.collect(), Turn::Unrecorded, summary).await;
            }
            Err(RunError::Time(_)) => summary.is_complete = false,
            Err(error) => {
                tracing::error!(error = %error, "could not find the repositories that ECR made on a push");
                summary.failed += 1;
                let problem = SuspendProblem::CreatedOnPush(error);
                summary.failures.insert("all repositories without a record".to_owned(), problem.to_string());
            }
        }
    }

    async fn tagged(&self) -> Result<&BTreeMap<String, TaggedBy>, RunError> {
        let asking = || {
            let tags = self.clients.resource_tags;
            self.clients.call(tags.protected_repositories(self.registry_id, self.stack.name))
        };
        self.tagged.get_or_try_init(asking).await
    }

    async fn file(&self) -> Result<Option<&PolicySet>, RunError> {
        let reading = async || {
            let found = self.clients.call(self.clients.s3.get(self.clients.bucket, policy_set::KEY)).await?;
            Ok::<_, RunError>(found.and_then(|object| PolicySet::parse(&object.text).ok()))
        };
        Ok(self.file.get_or_try_init(reading).await?.as_ref())
    }

    /// Whether the policy of a repository with an unreadable record is known to be somebody else's, by its resource tag or by the
    /// policies file. Sources that cannot be read do not count.
    async fn is_of_others(&self, name: &str) -> Result<bool, RunError> {
        let unless_time_is_up = |error: RunError| match error {
            error @ RunError::Time(_) => Err(error),
            error => {
                tracing::warn!(repository = name, error = %error, "whose policy it is could not be read");
                Ok(false)
            }
        };
        match self.tagged().await {
            Ok(tagged) if tagged.get(name) == Some(&TaggedBy::Owner) => return Ok(true),
            Ok(_) => {}
            Err(error) => {
                unless_time_is_up(error)?;
            }
        }
        let assigned = async {
            let Some(file) = self.file().await? else { return Ok(false) };
            let arn = self.stack.registry.repository_arn(name);
            let entry = assign(self.clients, file, name, &arn).await?;
            Ok(entry.is_some_and(|entry| entry.apply == Apply::Protect))
        };
        assigned.await.or_else(unless_time_is_up)
    }

    /// The record of a repository that ECR made on a push, if it still has the policy that it was made with. Its tags were right
    /// when it was made: nothing was in it.
    async fn record_of_created(
        &self,
        name: &Name,
    ) -> Result<Option<(ProtectionRecord, LifecyclePolicy)>, RunError> {
        let text = self.clients.call(self.ecr.lifecycle_policy(name.as_str())).await?;
        let text = text.unwrap_or_default();
        let (Some(policy), Ok(attached)) = (of_created_on_push(&text), LifecyclePolicy::parse(&text)) else {
            return Ok(None);
        };
        let described = self.clients.call(self.ecr.repositories_named(std::slice::from_ref(name))).await?;
        let made_at = described.first().and_then(|repository| repository.created_at);
        let (id, mode, by) = (self.registry_id, Mode::Provisioned, "the push that made the repository");
        let record = match made_at {
            Some(made_at) => ProtectionRecord::new(id, name.as_str(), mode, made_at, by),
            None => ProtectionRecord::never_refreshed(
                id,
                name.as_str(),
                mode,
                "ECR does not tell when the repository was made",
            ),
        };
        Ok(Some((ProtectionRecord { lifecycle_policy_text: Some(policy.to_json()), ..record }, attached)))
    }

    /// Writes the record of a repository that ECR made on a push, and suspends its policy if that is demanded already.
    async fn adopt(&self, name: &Name) -> Result<Done, RunError> {
        let found = match self.record_of_created(name).await {
            // Deleted since it was listed.
            Err(error) if error.is_not_found() => return Ok(Done::Nothing),
            found => found?,
        };
        let Some((record, attached)) = found else { return Ok(Done::Nothing) };
        let demand = self.cause.demand(&record, self.now);
        let written = match demand {
            Demand::Suspend => self.suspended(name, &Ok(record), &attached),
            Demand::Nothing | Demand::Tell => record,
        };
        // A run that writes it at the same time knows more.
        if !self.clients.call(self.records.replace(&written, None)).await? {
            return Ok(Done::Nothing);
        }
        if demand != Demand::Suspend {
            return Ok(Done::Adopted);
        }
        match self.clients.call(self.ecr.suspend_lifecycle_policy(name, &self.nothing)).await {
            Err(error) if error.is_not_found() => Ok(Done::Nothing),
            suspended => suspended.map(|()| Done::Suspended),
        }
    }

    /// Processes repositories until all are done or time is up; returns those that are processed last.
    async fn work(&self, names: Vec<String>, turn: Turn, summary: &mut Summary) -> Vec<String> {
        let mut later = Vec::new();
        if !summary.is_complete {
            return later;
        }
        let mut working = stream::iter(names)
            .map(|name| async move {
                let done = self.work_on(&name, turn).await;
                (name, done)
            })
            .buffer_unordered(CONCURRENCY);
        while let Some((name, done)) = working.next().await {
            match done {
                Ok(Done::Nothing) => {}
                Ok(Done::Unclear) => {
                    summary.stale += 1;
                    tracing::warn!(
                        repository = name,
                        "protection is stale, and the policy cannot be suspended"
                    );
                }
                Ok(Done::Later) => later.push(name),
                Ok(Done::Suspended) => {
                    summary.stale += 1;
                    summary.suspended += 1;
                }
                Ok(Done::AlreadySuspended) => summary.already_suspended += 1,
                Ok(Done::Forgotten) => summary.forgotten += 1,
                Ok(Done::Adopted) => summary.adopted += 1,
                Err(RunError::Time(_)) => {
                    summary.is_complete = false;
                    break;
                }
                Err(error) => {
                    tracing::error!(repository = name, error = %error, "could not suspend the policy");
                    summary.stale += 1;
                    summary.failed += 1;
                    if summary.failures.len() < MAX_FAILURES_LISTED {
                        summary.failures.insert(name, error.to_string());
                    }
                }
            }
        }
        later
    }

    async fn work_on(&self, name: &str, turn: Turn) -> Result<Done, RunError> {
        let Ok(repository) = Name::parse(name) else {
            tracing::warn!(key = ProtectionRecord::key(name), "an object is not the record of a repository");
            return Ok(Done::Nothing);
        };
        if turn == Turn::Unrecorded {
            return self.adopt(&repository).await;
        }
        for _ in 0..MAX_CAS_ATTEMPTS {
            // Whoever refreshes protection, or suspends, or deletes the repository meanwhile writes the record as well: what was
            // decided by another record than the one that is replaced is decided again.
            let Some(found) = self.clients.call(self.records.find(name)).await? else {
                return Ok(Done::Nothing);
            };
            let demand = match &found.record {
                Ok(record) => self.cause.demand(record, self.now),
                Err(_) if self.is_of_others(name).await? => Demand::Tell,
                Err(_) => Demand::Suspend,
            };
            let is_suspended = found.record.as_ref().is_ok_and(|record| record.suspended.is_some());
            match demand {
                Demand::Nothing => return Ok(Done::Nothing),
                Demand::Suspend if turn == Turn::First && is_suspended => return Ok(Done::Later),
                Demand::Tell | Demand::Suspend => {}
            }
            let text = match self.clients.call(self.ecr.lifecycle_policy(name)).await {
                Err(error) if error.is_not_found() => {
                    // Another repository of that name may have been made since, whose record has to stay.
                    if self.clients.call(self.records.forget_if(name, &found.etag)).await? {
                        return Ok(Done::Forgotten);
                    }
                    continue;
                }
                text => text?,
            };
            // A policy that cannot be read is not one that this stack attached.
            let attached = text.as_deref().and_then(|text| LifecyclePolicy::parse(text).ok());
            if demand == Demand::Tell {
                // Where no policy acts nothing is in danger, however old the tags are.
                let acts = text.is_some() && !attached.as_ref().is_some_and(takes_nothing);
                return Ok(if acts || found.record.is_err() { Done::Unclear } else { Done::Nothing });
            }
            let Some(attached) = attached.filter(is_protected) else {
                return Ok(if found.record.is_ok() { Done::Nothing } else { Done::Unclear });
            };
            if takes_nothing(&attached) {
                return Ok(if found.record.is_ok() { Done::AlreadySuspended } else { Done::Unclear });
            }
            let record = self.suspended(&repository, &found.record, &attached);
            self.write_down(name, text.as_deref().unwrap_or_default(), &attached, &found.record).await?;
            if !self.clients.call(self.records.replace(&record, Some(&found.etag))).await? {
                continue;
            }
            match self.clients.call(self.ecr.suspend_lifecycle_policy(&repository, &self.nothing)).await {
                Ok(()) => return Ok(Done::Suspended),
                // Deleted between two calls.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Err(self.clients.invalid_object(&ProtectionRecord::key(name), ObjectProblem::RecordContended))
    }

    /// Journals a policy that is about to be suspended and is not that of the record: it may be somebody else's policy that
    /// begins with the protection rule.
    async fn write_down(
        &self,
        name: &str,
        text: &str,
        attached: &LifecyclePolicy,
        found: &Result<ProtectionRecord, RecordProblem>,
    ) -> Result<(), RunError> {
        if found.as_ref().is_ok_and(|record| record.is_attached(attached)) {
            return Ok(());
        }
        let line = PolicyLine {
            run_id: SUSPENDING.to_owned(),
            at: self.now,
            registry_id: self.registry_id.to_owned(),
            region: self.clients.region.to_owned(),
            by: Actor::default(),
            repository_name: name.to_owned(),
            lifecycle_policy_text: text.to_owned(),
            replaced_by: self.nothing.to_json(),
            was_attached_by_stack: false,
            reason: found
                .as_ref()
                .map_or_else(|problem| unreadable(&problem.to_string()), |record| self.cause.reason(record)),
        };
        write_journal::write_policy(self.clients, &journal::folder(self.now, SUSPENDING), &line).await?;
        Ok(())
    }

    /// The record of a repository whose policy is suspended now.
    fn suspended(
        &self,
        repository: &Name,
        found: &Result<ProtectionRecord, RecordProblem>,
        attached: &LifecyclePolicy,
    ) -> ProtectionRecord {
        let at = self.now;
        let of_attached = || without_protection(attached).map(|policy| policy.to_json());
        match found {
            Ok(record) => ProtectionRecord {
                lifecycle_policy_text: record.lifecycle_policy_text.clone().or_else(of_attached),
                ..record.suspended(Suspension { at, reason: self.cause.reason(record) })
            },
            // The policy is not lost, and no run attaches it again unless the policies file says so.
            Err(problem) => ProtectionRecord {
                lifecycle_policy_text: of_attached(),
                suspended: Some(Suspension { at, reason: unreadable(&problem.to_string()) }),
                ..ProtectionRecord::never_refreshed(
                    self.registry_id,
                    repository.as_str(),
                    Mode::Attach,
                    "the record before this one could not be read",
                )
            },
        }
    }
}

/// The summary's numbers as a line of CloudWatch's embedded metric format, which a function's log turns into metrics. The number
/// of stale records is only included if they were searched for.
#[must_use]
pub fn metrics(summary: &Summary, cause: &Cause, stack: &str, now: Instant) -> String {
    let mut values = vec![("Suspended", Unit::Count, summary.suspended)];
    if matches!(cause, Cause::StaleProtection { .. }) {
        values.push(("StaleProtection", Unit::Count, summary.stale));
    }
    embedded_metrics::line(stack, now, &values, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_stale_repositories_is_reported_by_the_run_that_looked_for_them() {
        let summary = Summary { stale: 3, suspended: 2, ..Summary::default() };
        let now = Instant::from_micros(1_000_000).unwrap();
        let line = |cause: &Cause| -> serde_json::Value {
            serde_json::from_str(&metrics(&summary, cause, "steward", now)).unwrap()
        };
        let stale = line(&Cause::StaleProtection { maximum_age_in_hours: 48 });
        assert_eq!((&stale["StaleProtection"], &stale["Suspended"]), (&3.into(), &2.into()));
        assert_eq!(stale["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap().len(), 2);
        let deleted = line(&Cause::StackDeleted { stack_id: "arn".to_owned() });
        assert!(deleted.get("StaleProtection").is_none(), "it would hide what is stale: {deleted}");
    }
}
