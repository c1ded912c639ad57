//! Creates and changes repositories: executes the decisions of [`crate::domain::repository`] in ECR, one call after the other,
//! and rolls back the calls of a request that fails.

use std::fmt;

use crate::aws::deadline::TimeIsUp;
use crate::aws::ecr::{EcrWrite, RepositoryPage};
use crate::aws::{AwsError, Deadline, Failure};
use crate::domain::enforcement::actor::Actor;
use crate::domain::enforcement::journal::PolicyLine;
use crate::domain::enforcement::protection_record::ProtectionRecord;
use crate::domain::repository::protection::{
    RecordChange, begins_with_protection, is_suspended, plan_policy,
};
use crate::domain::repository::{
    Change, Difference, Existing, Name, PolicyStatus, ProtectedPolicy, Protection, Registry, Settings, Tags,
    difference, ownership,
};
use crate::domain::text::instant::Instant;
use crate::workflows::protection_records::{Found, ProtectionRecords, RecordProblem};

/// Maximum number of attempts to write a record that somebody else writes concurrently.
const MAX_RECORD_ATTEMPTS: usize = 5;

/// A registry to work on, for one request.
#[derive(Debug, Clone)]
pub struct Provisioner<'a> {
    /// ECR.
    pub ecr: &'a EcrWrite,
    /// The registry of the repositories.
    pub registry: &'a Registry,
    /// The records of the policies that ECR enforces. Without a bucket there are none, and no policy is attached.
    pub records: Option<ProtectionRecords<'a>>,
    /// The deadline.
    pub deadline: Deadline,
    /// The unique id of the request, which tags a repository until it is complete.
    pub request_id: &'a str,
    /// Who asks, for the journal of replaced policies. Without it none is written: for requests that only create repositories.
    pub requester: Option<Requester>,
}

/// Who asks for a change, as the journal has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requester {
    /// The name of the request in the journal: `api-…` or `stack-…`.
    pub run_id: String,
    /// The actor.
    pub by: Actor,
}

/// Why a lifecycle policy is replaced, for the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a request asked for another lifecycle policy, or for none")]
struct AskedForAnother;

/// The error of a failed request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}{left}")]
pub struct ProvisionError {
    /// The cause.
    pub cause: Cause,
    /// What could not be rolled back.
    pub left: Left,
}

/// The cause of a failed request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// A call failed.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// There is no bucket for the record, so that ECR could not be kept from images in use.
    #[error(
        "the function knows no bucket to remember lifecycle policies in, without which none is attached; set its environment \
         variable BUCKET, as template.yaml does, or ask for no policy (`skip: true`)"
    )]
    NoBucket,
    /// The record of the repository is unreadable.
    #[error(
        "{place} cannot be read: {problem}; correct it, or delete it if the repository's lifecycle policy is to be this stack's"
    )]
    Record {
        /// The object.
        place: String,
        /// The problem with it.
        problem: RecordProblem,
    },
    /// Others write the record all the time.
    #[error("{0} is written by something else again and again; try again")]
    Contended(String),
}

impl Cause {
    /// The kind of failure, of a call.
    #[must_use]
    pub const fn failure(&self) -> Option<Failure> {
        match self {
            Self::Aws(error) => Some(error.failure),
            Self::NoBucket | Self::Record { .. } | Self::Contended(_) => None,
        }
    }
}

/// What a failed request could not roll back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Left {
    /// Nothing: everything is as it was before.
    #[default]
    Nothing,
    /// A repository without its policies.
    Incomplete {
        /// Its name.
        name: String,
        /// Why it could not be deleted.
        because: NotRolledBack,
    },
    /// A change, or several.
    Changes {
        /// The fields.
        fields: Vec<&'static str>,
        /// Why they could not be changed back.
        because: NotRolledBack,
    },
}

/// A lifecycle policy by which ECR would delete images in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the policy does not begin with the protection rule, and was not put")]
struct NotProtected;

/// Why a change is not rolled back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRolledBack {
    /// A call failed.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The repository was created by another request, which may complete it.
    #[error("another request began it")]
    OfAnotherRequest,
    /// The lifecycle policy was suspended, by which less expires than before.
    #[error("the policy is suspended, and stays so")]
    Suspended,
    /// The lifecycle policy before is not safe: ECR would delete images in use by it.
    #[error("the policy before does not begin with the protection rule, and is not attached again")]
    Unprotected,
    /// A call failed, and the lifecycle policy was not rolled back for a reason of its own.
    #[error("{error}; {of_policy}")]
    Both {
        /// The failed call.
        error: AwsError,
        /// Why the lifecycle policy was not rolled back.
        of_policy: Box<Self>,
    },
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("; nothing was changed"),
            Self::Incomplete { name, because } => write!(
                f,
                "; the repository {name} was created, has not got its policies, and could not be deleted again \
                 ({because}): ask for it once more, or delete it"
            ),
            Self::Changes { fields, because } => write!(
                f,
                "; {} may be changed already and could not be changed back ({because}): ask for it once more",
                fields.join(", ")
            ),
        }
    }
}

impl From<Cause> for ProvisionError {
    fn from(cause: Cause) -> Self {
        Self { cause, left: Left::Nothing }
    }
}

impl From<AwsError> for ProvisionError {
    fn from(error: AwsError) -> Self {
        Cause::from(error).into()
    }
}

/// The result of a request to create a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Creation {
    /// It was created.
    Created(Changed),
    /// There is a complete repository of this name.
    Exists(Existing),
}

/// A repository that was made or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The repository as it is now.
    pub repository: Existing,
    /// The changes.
    pub changes: Vec<Change>,
    /// The status of its lifecycle policy.
    pub status: Option<PolicyStatus>,
}

/// Whether a repository whose creation was not completed is complete after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// The request names every setting, so that nothing is missing after it.
    Complete,
    /// The request names some settings: what was missing is missing still, and the next complete request finds it so.
    AsBefore,
}

/// An existing repository, compared with the requested one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared<'w> {
    /// In what it differs.
    pub difference: Difference,
    /// The requested lifecycle policy.
    pub asked: AskedPolicy<'w>,
}

/// The requested lifecycle policy, and the repository's protection when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedPolicy<'w> {
    /// The policy; `None` for none.
    wanted: Option<&'w ProtectedPolicy>,
    seen: Seen,
}

/// The state of a repository's protection.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    protection: Protection,
    /// The `ETag` of its record.
    etag: Option<String>,
}

/// A lifecycle policy that could not be settled.
struct Unsettled {
    cause: Cause,
    /// A change that may have been made.
    change: Option<Change>,
    /// A record that may have been written.
    wrote: Option<Wrote>,
}

impl<T: Into<Cause>> From<T> for Unsettled {
    fn from(cause: T) -> Self {
        Self { cause: cause.into(), change: None, wrote: None }
    }
}

/// A record that may be written.
#[derive(Clone)]
struct Wrote {
    record: Box<ProtectionRecord>,
    before: Option<ProtectionRecord>,
}

impl AskedPolicy<'_> {
    /// The record of the repository's protection.
    #[must_use]
    pub const fn record(&self) -> Option<&ProtectionRecord> {
        self.seen.protection.record.as_ref()
    }
}

/// The result of a request to delete a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It was deleted.
    Deleted,
    /// There is none of this name.
    Missing,
    /// It has this number of images, and was not deleted.
    NotEmpty(usize),
}

impl Provisioner<'_> {
    /// Does one call before the deadline, or returns why the time ran out.
    async fn work<T>(&self, call: impl Future<Output = Result<T, AwsError>>) -> Result<T, AwsError> {
        match self.deadline.work(call).await {
            Ok(result) => result,
            Err(TimeIsUp) => Err(self.ecr.retry_observer().timeout_cause()),
        }
    }

    async fn order<T>(&self, call: impl Future<Output = Result<T, AwsError>>) -> Result<T, AwsError> {
        match self.deadline.order(call).await {
            Ok(result) => result,
            Err(TimeIsUp) => Err(self.ecr.retry_observer().timeout_cause()),
        }
    }

    /// One page of the registry's repositories, at most `max_results` of them.
    ///
    /// # Errors
    ///
    /// When the call fails, or there is no time for it.
    pub async fn list(
        &self,
        max_results: Option<u16>,
        next_token: Option<&str>,
    ) -> Result<RepositoryPage, AwsError> {
        self.work(self.ecr.repositories(max_results, next_token)).await
    }

    /// A repository with its tags and policies.
    ///
    /// # Errors
    ///
    /// If ECR cannot be asked.
    pub async fn find(&self, name: &Name) -> Result<Option<Existing>, AwsError> {
        self.work(self.ecr.repository(name)).await
    }

    /// Whether there is a repository of this name.
    ///
    /// # Errors
    ///
    /// If ECR cannot be asked.
    pub async fn exists(&self, name: &Name) -> Result<bool, AwsError> {
        match self.work(self.ecr.repositories_named(std::slice::from_ref(name))).await {
            Ok(found) => Ok(!found.is_empty()),
            Err(error) if error.failure == Failure::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Compares an existing repository with the requested one.
    ///
    /// # Errors
    ///
    /// If AWS cannot be asked, or a record cannot be read.
    pub async fn compare<'w>(
        &self,
        existing: &Existing,
        settings: &'w Settings,
    ) -> Result<Compared<'w>, ProvisionError> {
        let asked = self.look_at_policy(existing, settings.lifecycle_policy.as_ref(), false).await?;
        let difference = difference(existing, settings, self.registry, &asked.seen.protection);
        Ok(Compared { difference, asked })
    }

    /// The status of the lifecycle policy of a repository.
    ///
    /// # Errors
    ///
    /// If S3 cannot be asked.
    pub async fn status(&self, existing: &Existing) -> Result<Option<PolicyStatus>, AwsError> {
        let mut record = None;
        if let Some(records) = &self.records
            && existing.lifecycle_policy_text.as_deref().is_some_and(is_suspended)
        {
            record = self.work(records.find(&existing.name)).await?.and_then(|found| {
                let unreadable = |problem: &RecordProblem| {
                    tracing::warn!(
                        repository = existing.name,
                        %problem,
                        "could not read why the policy is suspended"
                    );
                };
                found.record.inspect_err(unreadable).ok()
            });
        }
        Ok(PolicyStatus::of(existing, record.as_ref()))
    }

    /// Creates a repository, with `own` tags besides those of its settings. What a request like this one left
    /// unfinished is finished.
    ///
    /// # Errors
    ///
    /// When ECR refuses, or time runs out. What was created is deleted again then.
    pub async fn create(
        &self,
        name: &Name,
        settings: &Settings,
        own: &Tags,
    ) -> Result<Creation, ProvisionError> {
        let wanted = settings.lifecycle_policy.as_ref();
        if wanted.is_some() && self.records.is_none() {
            return Err(Cause::NoBucket.into());
        }
        let mut tags = settings.tags.clone();
        tags.extend(own.clone());
        let mut marked = tags.clone();
        marked.extend(ownership::incomplete(self.request_id));
        let created = self.work(self.ecr.create(name, settings, &marked)).await;
        let repository = match created {
            Ok(repository) => repository,
            Err(error) if error.failure == Failure::AlreadyExists => {
                // A page that was read before a deletion, or a lost answer to our own call.
                let existing = match self.find(name).await {
                    Ok(Some(existing)) => existing,
                    Ok(None) => return Err(error.into()),
                    Err(error) => return Err(self.undo_creation(name, error.into()).await),
                };
                let Some(begun_by) = ownership::incomplete_since(&existing) else {
                    return Ok(Creation::Exists(existing));
                };
                let is_ours = begun_by == self.request_id;
                let compared = match self.compare(&existing, settings).await {
                    Ok(compared) => compared,
                    Err(error) if is_ours => return Err(self.undo_creation(name, error.cause).await),
                    Err(error) => return Err(error),
                };
                let Compared { difference: Difference { encryption, changes, .. }, asked } = compared;
                let only_policies = encryption.is_none()
                    && changes.iter().all(|change| matches!(change, Change::Policy { .. }));
                // What another resource has begun is none of ours.
                if !only_policies || ownership::tags_of(&existing) != *own {
                    return Ok(Creation::Exists(existing));
                }
                return self.complete(name, existing, changes, asked, is_ours).await;
            }
            Err(error) if error.outcome_unknown() => {
                return Err(self.undo_creation(name, error.into()).await);
            }
            Err(error) => return Err(error.into()),
        };
        let asked = match self.look_at_policy(&repository, wanted, true).await {
            Ok(asked) => asked,
            Err(cause) => return Err(self.undo_creation(name, cause).await),
        };
        let changes = difference(&repository, settings, self.registry, &asked.seen.protection).changes;
        self.complete(name, repository, changes, asked, true).await
    }

    /// Completes a new repository, and removes the tag that marks it as incomplete.
    async fn complete(
        &self,
        name: &Name,
        mut repository: Existing,
        changes: Vec<Change>,
        asked: AskedPolicy<'_>,
        is_ours: bool,
    ) -> Result<Creation, ProvisionError> {
        let fail = async |cause: Cause| {
            if is_ours {
                return self.undo_creation(name, cause).await;
            }
            let because = NotRolledBack::OfAnotherRequest;
            ProvisionError { cause, left: Left::Incomplete { name: name.to_string(), because } }
        };
        for change in &changes {
            if let Err(error) = self.work(self.ecr.apply(&repository, change)).await {
                return Err(fail(error.into()).await);
            }
            change.apply_to(&mut repository);
        }
        let status = match self.settle_policy(&mut repository, asked).await {
            Ok((_, status)) => status,
            Err(unsettled) => return Err(fail(unsettled.cause).await),
        };
        let unmark = Change::Tags { from: ownership::mark_of(&repository), to: Tags::new() };
        if let Err(error) = self.work(self.ecr.apply(&repository, &unmark)).await {
            if error.outcome_unknown() {
                // Without the mark it is complete, whatever became of the answer.
                let ecr = self.ecr.at_once();
                if let Ok(Some(repository)) = self.order(ecr.repository(name)).await
                    && ownership::incomplete_since(&repository).is_none()
                {
                    return Ok(Creation::Created(Changed { repository, changes, status }));
                }
            }
            return Err(fail(error.into()).await);
        }
        unmark.apply_to(&mut repository);
        Ok(Creation::Created(Changed { repository, changes, status }))
    }

    /// Deletes what this request created, which is known by its mark, and what is remembered of it.
    async fn undo_creation(&self, name: &Name, cause: Cause) -> ProvisionError {
        let ecr = self.ecr.at_once();
        let undo = async {
            let Some(existing) = ecr.repository(name).await? else { return Ok(()) };
            if ownership::incomplete_since(&existing) != Some(self.request_id) {
                return Ok(());
            }
            match ecr.delete(name.as_str(), false).await {
                Err(error) if error.failure == Failure::NotFound => {}
                answer => answer?,
            }
            self.forget(name.as_str()).await;
            Ok(())
        };
        let left = match self.order(undo).await {
            Ok(()) => Left::Nothing,
            Err(error) => Left::Incomplete { name: name.to_string(), because: error.into() },
        };
        tracing::warn!(repository = %name, error = %cause, ?left, "could not create the repository");
        ProvisionError { cause, left }
    }

    /// Makes the changes, the requested lifecycle policy last, and rolls them back if one fails.
    ///
    /// # Errors
    ///
    /// If ECR refuses one, or time runs out.
    pub async fn change(
        &self,
        mut repository: Existing,
        changes: Vec<Change>,
        asked: Option<AskedPolicy<'_>>,
        completion: Completion,
    ) -> Result<Changed, ProvisionError> {
        let mark = ownership::mark_of(&repository);
        let unmark = (completion == Completion::Complete && !mark.is_empty())
            .then(|| Change::Tags { from: mark, to: Tags::new() });
        let all: Vec<&Change> = changes.iter().chain(&unmark).collect();
        for (index, change) in all.iter().enumerate() {
            if let Err(error) = self.work(self.ecr.apply(&repository, change)).await {
                let made = all.get(..index).unwrap_or_default();
                // Tags are two calls, of which one may have been done.
                let is_doubtful = error.outcome_unknown() || matches!(change, Change::Tags { .. });
                let doubtful = is_doubtful.then_some(*change);
                return Err(self
                    .undo_changes(&repository, made, doubtful, error.into(), Left::Nothing)
                    .await);
            }
            change.apply_to(&mut repository);
        }
        let settled = match asked {
            None => Ok((None, None)),
            Some(asked) => self.settle_policy(&mut repository, asked).await,
        };
        match settled {
            Ok((policy, status)) => {
                let changes = changes.into_iter().chain(policy).collect();
                Ok(Changed { repository, changes, status })
            }
            Err(Unsettled { cause, change, wrote }) => {
                let left = self.undo_policy(&repository.name, change.as_ref(), wrote).await;
                Err(self.undo_changes(&repository, &all, None, cause, left).await)
            }
        }
    }

    /// Reads the protection of a repository.
    async fn look_at_policy<'w>(
        &self,
        existing: &Existing,
        wanted: Option<&'w ProtectedPolicy>,
        is_new: bool,
    ) -> Result<AskedPolicy<'w>, Cause> {
        let found = match &self.records {
            None if wanted.is_some() => return Err(Cause::NoBucket),
            None => None,
            Some(records) => self.work(records.find(&existing.name)).await?,
        };
        let (record, etag) = match found {
            None => (None, None),
            Some(Found { record: Ok(record), etag }) => (Some(record), Some(etag)),
            Some(Found { record: Err(problem), .. }) => {
                return Err(Cause::Record { place: self.place(&existing.name), problem });
            }
        };
        let matters = wanted.is_some() && record.is_none() && !is_new;
        let has_images = matters && self.work(self.ecr.has_images(&existing.name)).await?;
        let protection = Protection {
            record,
            is_new,
            has_images,
            now: Instant::now(),
            request_id: self.request_id.to_owned(),
        };
        Ok(AskedPolicy { wanted, seen: Seen { protection, etag } })
    }

    /// The location of a repository's record, for messages.
    fn place(&self, repository_name: &str) -> String {
        let bucket = self.records.map_or("", |records| records.bucket);
        format!("s3://{bucket}/{}", ProtectionRecord::key(repository_name))
    }

    /// Sets the requested lifecycle policy: the record is written before the policy is put, and deleted after it is deleted. A
    /// policy that is suspended concurrently remains suspended.
    async fn settle_policy(
        &self,
        repository: &mut Existing,
        asked: AskedPolicy<'_>,
    ) -> Result<(Option<Change>, Option<PolicyStatus>), Unsettled> {
        let (wanted, is_new) = (asked.wanted, asked.seen.protection.is_new);
        let mut seen = Some(asked.seen);
        let (mut made, mut maybe_wrote) = (None, None::<Wrote>);
        for _ in 0..MAX_RECORD_ATTEMPTS {
            let Seen { protection, etag } = match seen.take() {
                Some(seen) => seen,
                None => self.look_at_policy(repository, wanted, is_new).await?.seen,
            };
            let mut plan = plan_policy(repository, wanted, &protection);
            // The answer to the write before may have been lost.
            let mut wrote =
                maybe_wrote.take().filter(|wrote| protection.record.as_ref() == Some(&*wrote.record));
            if let RecordChange::Write(record) = &plan.record {
                let records = self.records.as_ref().ok_or(Cause::NoBucket)?;
                wrote = Some(Wrote { record: record.clone(), before: protection.record.clone() });
                match self.work(records.replace(record, etag.as_deref())).await {
                    Ok(true) => {}
                    // Somebody else wrote it, or it was written and the answer was lost.
                    Ok(false) => {
                        maybe_wrote = wrote;
                        continue;
                    }
                    Err(error) => return Err(Unsettled { cause: error.into(), change: None, wrote }),
                }
            }
            if let Some(change) = &plan.change {
                let written = self.write_down(repository, change).await;
                written.map_err(|error| Unsettled {
                    cause: error.into(),
                    change: None,
                    wrote: wrote.clone(),
                })?;
                let fail = |error: AwsError| Unsettled {
                    cause: error.into(),
                    change: Some(change.clone()),
                    wrote: wrote.clone(),
                };
                self.work(self.put_policy(repository, change)).await.map_err(fail)?;
                // Whoever suspends writes the record first: after a look at the record nothing was overwritten.
                if let (Some(records), Some(wanted), Some(PolicyStatus::Active), false) =
                    (&self.records, wanted, &plan.status, is_new)
                {
                    let found = self.work(records.find(&repository.name)).await.map_err(fail)?;
                    if let Some(since) = found.and_then(|found| found.record.ok()).and_then(|r| r.suspended) {
                        let to = Some(wanted.suspended().to_json());
                        let suspend =
                            Change::LifecyclePolicy { from: repository.lifecycle_policy_text.clone(), to };
                        self.work(self.put_policy(repository, &suspend)).await.map_err(fail)?;
                        let since = Some(since);
                        plan.status = Some(PolicyStatus::Suspended { since, is_of_policies_file: false });
                        plan.change = Some(suspend);
                    }
                }
            }
            if plan.record == RecordChange::Forget
                && let (Some(records), Some(etag)) = (&self.records, &etag)
            {
                let fail = |cause: Cause| Unsettled { cause, change: plan.change.clone(), wrote: None };
                let forgotten = self.work(records.forget_if(&repository.name, etag)).await;
                if !forgotten.map_err(|error| fail(error.into()))? {
                    // What was written since says what is to be done.
                    if let Some(change) = &plan.change {
                        change.apply_to(repository);
                        made = Some(change.clone());
                    }
                    continue;
                }
            }
            if let Some(change) = &plan.change {
                change.apply_to(repository);
            }
            return Ok((plan.change.or(made), plan.status));
        }
        Err(Cause::Contended(self.place(&repository.name)).into())
    }

    /// Writes a lifecycle policy of somebody else's into the journal before it is replaced or deleted, so that it can be put back.
    async fn write_down(&self, repository: &Existing, change: &Change) -> Result<(), AwsError> {
        let (Some(records), Some(Requester { run_id, by })) = (&self.records, &self.requester) else {
            return Ok(());
        };
        let Change::LifecyclePolicy { from: Some(text), to } = change else { return Ok(()) };
        if begins_with_protection(text) || is_suspended(text) {
            return Ok(());
        }
        let line = PolicyLine {
            run_id: run_id.clone(),
            at: Instant::now(),
            registry_id: repository.registry_id.clone(),
            region: self.registry.region.clone(),
            by: by.clone(),
            repository_name: repository.name.clone(),
            lifecycle_policy_text: text.clone(),
            replaced_by: to.clone().unwrap_or_default(),
            reason: AskedForAnother.to_string(),
            was_attached_by_stack: false,
        };
        let key = self.work(records.write_down(&line)).await?;
        tracing::info!(repository = repository.name, key, "wrote down the lifecycle policy that is replaced");
        Ok(())
    }

    /// Changes the lifecycle policy. None is put that does not begin with the protection rule.
    async fn put_policy(&self, repository: &Existing, change: &Change) -> Result<(), AwsError> {
        if let Change::LifecyclePolicy { to: Some(text), .. } = change
            && !begins_with_protection(text)
        {
            let problem = NotProtected.to_string();
            return Err(AwsError::unexpected_response("PutLifecyclePolicy", &problem));
        }
        self.ecr.apply(repository, change).await
    }

    /// Rolls back a change of the lifecycle policy that may have been made, and the record that may have been written. A change
    /// by which less expires is not rolled back: a suspended policy is not attached again, and neither is one that does not begin
    /// with the protection rule.
    async fn undo_policy(&self, name: &str, change: Option<&Change>, wrote: Option<Wrote>) -> Left {
        let ecr = self.ecr.at_once();
        let undo = async {
            if let (Some(change @ Change::LifecyclePolicy { from, to }), Ok(parsed)) =
                (change, Name::parse(name))
            {
                let Some(now) = ecr.repository(&parsed).await? else { return Ok(None) };
                if now.lifecycle_policy_text != *from {
                    if to.as_deref().is_some_and(is_suspended) {
                        return Ok(Some(NotRolledBack::Suspended));
                    }
                    if from.as_deref().is_some_and(|from| !begins_with_protection(from)) {
                        return Ok(Some(NotRolledBack::Unprotected));
                    }
                    ecr.apply(&now, &change.reversed()).await?;
                }
            }
            if let (Some(wrote), Some(records)) = (wrote, &self.records)
                && let Some(Found { record: Ok(record), etag }) = records.find(name).await?
                && record == *wrote.record
            {
                let is_restored = match &wrote.before {
                    None => records.forget_if(name, &etag).await?,
                    Some(before) => records.replace(before, Some(&etag)).await?,
                };
                // Who wrote it since knows more.
                tracing::info!(repository = name, is_restored, "put the record of protection back");
            }
            Ok(None)
        };
        let because = match self.order(undo).await {
            Ok(None) => return Left::Nothing,
            Ok(Some(because)) => because,
            Err(error) => error.into(),
        };
        Left::Changes { fields: vec!["lifecyclePolicyText"], because }
    }

    /// Deletes the record of a deleted repository. If that fails, the next function that finds no repository for it deletes it.
    pub async fn forget(&self, repository_name: &str) {
        let Some(records) = &self.records else { return };
        if let Err(error) = self.order(records.forget(repository_name)).await {
            tracing::warn!(repository = repository_name, %error, "could not forget the repository's protection");
        }
    }

    /// Rolls back the changes that were made, and the one that may have been made. That one is read first, since its call failed.
    async fn undo_changes(
        &self,
        repository: &Existing,
        made: &[&Change],
        doubtful: Option<&Change>,
        cause: Cause,
        left_of_policy: Left,
    ) -> ProvisionError {
        let mut fields: Vec<&'static str> =
            doubtful.iter().chain(made).map(|change| change.field()).collect();
        let ecr = self.ecr.at_once();
        let undo = async {
            for change in made.iter().rev() {
                ecr.apply(repository, &change.reversed()).await?;
                fields.pop();
            }
            if let Some(change) = doubtful {
                let now = match Name::parse(&repository.name) {
                    Ok(name) => ecr.repository(&name).await?,
                    Err(_) => None,
                };
                let has_begun = now.is_some_and(|now| {
                    let mut before = now.clone();
                    change.reversed().apply_to(&mut before);
                    before != now
                });
                if has_begun {
                    ecr.apply(repository, &change.reversed()).await?;
                }
                fields.pop();
            }
            Ok(())
        };
        let undone = self.order(undo).await;
        let left = match (undone, left_of_policy) {
            (Ok(()), left) => left,
            (Err(error), Left::Changes { fields: policy, because }) => {
                fields.extend(policy);
                let because = NotRolledBack::Both { error, of_policy: Box::new(because) };
                Left::Changes { fields, because }
            }
            (Err(error), _) => Left::Changes { fields, because: error.into() },
        };
        tracing::warn!(repository = repository.name, error = %cause, ?left, "could not change the repository");
        ProvisionError { cause, left }
    }

    /// Deletes a repository without images. The answer to a call may be lost, and the call made again, of a repository that is gone by
    /// then: one that was there before is [deleted](Removal::Deleted) although it is [missing](Removal::Missing).
    ///
    /// # Errors
    ///
    /// When ECR refuses, or time runs out.
    pub async fn delete(&self, name: &str) -> Result<Removal, AwsError> {
        match self.work(self.ecr.delete(name, false)).await {
            Ok(()) => {
                self.forget(name).await;
                Ok(Removal::Deleted)
            }
            Err(error) if error.failure == Failure::NotFound => {
                self.forget(name).await;
                Ok(Removal::Missing)
            }
            Err(error) if error.failure == Failure::NotEmpty => {
                self.work(self.ecr.count_images(name)).await.map(Removal::NotEmpty)
            }
            Err(error) => Err(error),
        }
    }
}
