//! Restores images that this stack deleted or archived, from the journal: as long as ECR has their layers, or from the archive.
//!
//! What is restored is in the journal before. A tag is looked up right before it is put, and is not put where it names an image:
//! ECR has no conditional write, so that a push of the same tag in these milliseconds is moved back where tags can be moved.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::aws::ecr::{BATCH, DescribedImages, EcrProtect};
use crate::aws::{AwsError, Failure};
use crate::domain::enforcement::actor::Actor;
use crate::domain::enforcement::image_restore::{
    ActingPolicy, Candidates, Journaled, NotRestorable, NotRestored, RequestedTags, RestoreAction,
    RestoreOutcome, RestorePlan, RestoreRequest, RestoreStep, RestoreWarning, effects,
};
use crate::domain::enforcement::journal::{self, RestoreLine};
use crate::domain::enforcement::policy_set::{self, Apply, PolicySet};
use crate::domain::image::deletion::{self, Deleted, Refused};
use crate::domain::image::{Image, ImageStatus, Relations, RepositoryImages};
use crate::domain::lifecycle::LifecyclePolicy;
use crate::domain::repository::{Existing, Name};
use crate::domain::text::instant::Instant;
use crate::domain::usage::replication::destinations;
use crate::workflows::enforcement::inventory::assign;
use crate::workflows::enforcement::repository_snapshot::INDEXES;
use crate::workflows::enforcement::{RunContext, RunError, read_journal, write_journal};

/// Days of the journal in which images are looked for if a request names neither a time nor a run.
pub const DEFAULT_DAYS: u64 = 90;
/// Maximum number of commands that are printed for each replica.
const MAX_COMMANDS: usize = 20;

/// The report of a request to restore images of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreReport {
    /// The repository.
    pub repository_name: String,
    /// Whether nothing was changed: then it says what would be.
    pub dry_run: bool,
    /// The restored images.
    pub images: Vec<RestoredImage>,
    /// The images and tags that were not restored, and why.
    pub failures: Vec<RestoreFailure>,
    /// What to know before the next run.
    pub warnings: Vec<String>,
    /// Where the repository is replicated to, and how to copy from there what did not come back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<ReplicaCopy>,
    /// The object of the journal that says who restored what; absent if nothing was to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal: Option<String>,
}

/// An image that was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoredImage {
    /// Its digest.
    pub image_digest: String,
    /// The tags by which the request names it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requested_tags: Vec<String>,
    /// The tags that were put on it. An image out of the archive has those that it had there as well.
    pub image_tags: Vec<String>,
    /// The outcome.
    pub outcome: RestoreOutcome,
    /// When the journal says that it was to be deleted or archived; absent for an image that is unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed_at: Option<Instant>,
    /// The run, or the request, that deleted or archived it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed_by_run_id: Option<String>,
}

/// An image, or a tag, that was not restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreFailure {
    /// Which, and why.
    #[serde(flatten)]
    pub refused: Refused,
    /// The tags by which the request names the image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requested_tags: Vec<String>,
}

/// A registry that the repository is replicated to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaCopy {
    /// The account.
    pub registry_id: String,
    /// The Region.
    pub region: String,
    /// Commands that copy each image from there, if that registry has it.
    pub commands: Vec<String>,
}

/// Why nothing was restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// There is no bucket with a journal.
    #[error(
        "the function knows no bucket with a journal, and nothing was changed; set its environment variable BUCKET, as template.yaml does"
    )]
    NoBucket,
    /// The journal has nothing of the run.
    #[error(
        "the journal has nothing that {0} deleted or archived, and nothing was changed; `ecr-steward runs list` has the runs"
    )]
    NoSuchRun(String),
    /// Something could not be read or written.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Restores images for one request.
#[derive(Debug, Clone)]
pub struct ImageRestorer<'a> {
    /// The clients for reading.
    pub clients: RunContext<'a>,
    /// The registry for writing; `None` for a dry run, which cannot change anything.
    pub ecr: Option<&'a EcrProtect>,
    /// The name of the request in the journal: `api-…`, or `restore-…` for a terminal.
    pub run_id: String,
    /// The actor of the request.
    pub by: Actor,
}

/// The outcome of the steps so far.
#[derive(Default)]
struct Done {
    images: Vec<RestoredImage>,
    failures: Vec<NotRestored>,
    /// The images that are not there, so that what needs them cannot come back.
    failed: BTreeSet<String>,
    /// The images that are there again, by their digests.
    restored: BTreeMap<String, RestoreStep>,
    /// Why no more is tried.
    stopped: Option<String>,
    /// The tags by which the request names images.
    requested_tags: RequestedTags,
}

impl Done {
    fn requested_tags_of(&self, digest: &str) -> Vec<String> {
        self.requested_tags.get(digest).into_iter().flatten().cloned().collect()
    }

    /// A failure as the report has it. One that is about a tag names that one.
    fn failure(&self, failure: &NotRestored) -> RestoreFailure {
        let Deleted { image_digest, image_tag } = &failure.image_id;
        let of_image = image_digest.as_ref().filter(|_| image_tag.is_none());
        let requested_tags = of_image.map(|digest| self.requested_tags_of(digest)).unwrap_or_default();
        RestoreFailure { refused: Refused::from(failure), requested_tags }
    }

    /// Notes an image that is there. One that was to get tags and got none is as it was, which its failures say.
    fn note_restored(&mut self, step: RestoreStep, image_tags: Vec<String>) {
        if matches!(step.action, RestoreAction::Tag { .. }) && image_tags.is_empty() {
            return;
        }
        self.images.push(RestoredImage {
            image_digest: step.digest().to_owned(),
            requested_tags: self.requested_tags_of(step.digest()),
            image_tags,
            outcome: step.action.outcome(),
            removed_at: Some(step.journaled.line.at),
            removed_by_run_id: Some(step.journaled.line.run_id.clone()),
        });
        self.restored.insert(step.digest().to_owned(), step);
    }
}

impl ImageRestorer<'_> {
    /// Restores images of one repository, or says what would be restored.
    ///
    /// # Errors
    ///
    /// If nothing was changed: the journal, the repository or the registry cannot be read, or the restoration cannot be written down.
    /// What fails afterwards is in the report.
    pub async fn restore(&self, request: &RestoreRequest) -> Result<RestoreReport, RestoreError> {
        let RestoreRequest { repository_name: name, selection } = request;
        if !self.clients.has_bucket() {
            return Err(RestoreError::NoBucket);
        }
        let since = match &selection.run_id {
            Some(run_id) => match read_journal::run(&self.clients, run_id).await? {
                Some((day, repositories)) if repositories.contains(name.as_str()) => day,
                _ => return Err(RestoreError::NoSuchRun(format!("{run_id} in {name}"))),
            },
            None => selection.since.unwrap_or_else(|| days_before(self.clients.now(), DEFAULT_DAYS)),
        };
        let keys = read_journal::keys(&self.clients, since, |key| {
            journal::is_removals(key) && journal::repository_of(key) == Some(name.as_str())
        });
        self.restore_from(request, keys.await?).await
    }

    /// The repositories of which a run deleted or archived images, and for each the keys of the journal since that run began: what
    /// belongs to an image may have been deleted later.
    ///
    /// # Errors
    ///
    /// If there is no such run, or the journal cannot be listed.
    pub async fn repositories_of_run(
        &self,
        run_id: &str,
    ) -> Result<BTreeMap<String, Vec<String>>, RestoreError> {
        if !self.clients.has_bucket() {
            return Err(RestoreError::NoBucket);
        }
        let Some((since, repositories)) = read_journal::run(&self.clients, run_id).await? else {
            return Err(RestoreError::NoSuchRun(run_id.to_owned()));
        };
        let is_of_run =
            |key: &str| journal::repository_of(key).is_some_and(|name| repositories.contains(name));
        let keys =
            read_journal::keys(&self.clients, since, |key| journal::is_removals(key) && is_of_run(key))
                .await?;
        let mut of_repositories: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for key in keys {
            let Some(name) = journal::repository_of(&key) else { continue };
            of_repositories.entry(name.to_owned()).or_default().push(key);
        }
        Ok(of_repositories)
    }

    /// Restores images of one repository from objects of the journal that are listed already.
    ///
    /// # Errors
    ///
    /// As [`restore`](Self::restore).
    pub async fn restore_from(
        &self,
        request: &RestoreRequest,
        keys: Vec<String>,
    ) -> Result<RestoreReport, RestoreError> {
        let RestoreRequest { repository_name: name, selection } = request;
        let repository = self.repository(name).await?;
        let (mut journal, unreadable) = read_journal::removals(&self.clients, keys).await?;
        journal.retain(|one| self.is_own(one, name, repository.as_ref()));
        let candidates = Candidates::select(&journal, selection);
        let mut warnings: Vec<RestoreWarning> =
            unreadable.into_iter().map(RestoreWarning::JournalUnreadable).collect();
        let mut done = Done::default();
        let mut key = None;
        match &repository {
            None => {
                let (failures, requested_tags) = failures_without_repository(candidates);
                (done.failures, done.requested_tags) = (failures, requested_tags);
            }
            Some(repository) => {
                let described = self.clients.call(self.clients.ecr.images(name)).await?;
                let missing = self.missing_layers(name, &candidates, &described, &mut warnings).await?;
                let RestorePlan { steps, unchanged, failures, requested_tags } =
                    candidates.plan(&described.images, &missing);
                (done.failures, done.requested_tags) = (failures, requested_tags);
                for image_digest in unchanged {
                    done.images.push(RestoredImage {
                        requested_tags: done.requested_tags_of(&image_digest),
                        image_digest,
                        image_tags: Vec::new(),
                        outcome: RestoreOutcome::Unchanged,
                        removed_at: None,
                        removed_by_run_id: None,
                    });
                }
                key = self.write_down(repository, name, &steps).await?;
                self.execute(name, steps, &mut done).await?;
                warnings.extend(self.effects(repository, name, described, &done.restored).await);
            }
        }
        let replicas = self.replicas(name, repository.as_ref(), &done.failures, &mut warnings).await;
        let failures = done.failures.iter().map(|failure| done.failure(failure)).collect();
        Ok(RestoreReport {
            repository_name: name.to_string(),
            dry_run: self.ecr.is_none(),
            images: done.images,
            failures,
            warnings: warnings.iter().map(ToString::to_string).collect(),
            replicas,
            journal: key,
        })
    }

    async fn repository(&self, name: &Name) -> Result<Option<Existing>, RunError> {
        let found = self.clients.ecr.repositories_named(std::slice::from_ref(name));
        match self.clients.call(found).await {
            Ok(repositories) => Ok(repositories.into_iter().next()),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a line is about an image of this registry. Buckets may have been copied.
    fn is_own(&self, one: &Journaled, name: &Name, repository: Option<&Existing>) -> bool {
        let line = &one.line;
        line.repository_name == name.as_str()
            && (line.region.is_empty() || line.region == self.clients.region)
            && repository.is_none_or(|repository| repository.registry_id == line.registry_id)
    }

    /// The layers that ECR says it does not have. Where it cannot be asked, nothing is known to be missing: putting the image back
    /// tells.
    async fn missing_layers(
        &self,
        name: &Name,
        candidates: &Candidates,
        described: &DescribedImages,
        warnings: &mut Vec<RestoreWarning>,
    ) -> Result<BTreeSet<String>, RunError> {
        let layers: Vec<String> = candidates.layers(&described.images).into_iter().collect();
        let mut missing = BTreeSet::new();
        for batch in layers.chunks(BATCH) {
            match self.clients.call(self.clients.ecr.missing_layers(name, batch)).await {
                Ok(layers) => missing.extend(layers),
                Err(error @ RunError::Time(_)) => return Err(error),
                Err(error) => {
                    warnings.push(RestoreWarning::LayersUnknown(error.to_string()));
                    break;
                }
            }
        }
        Ok(missing)
    }

    /// Writes the restoration into the journal; none in a dry run, and where nothing is to be done.
    async fn write_down(
        &self,
        repository: &Existing,
        name: &Name,
        steps: &[RestoreStep],
    ) -> Result<Option<String>, RunError> {
        let nothing = BTreeSet::new();
        let possible: Vec<&RestoreStep> =
            steps.iter().filter(|step| step.blocked_by(&nothing).is_none()).collect();
        if self.ecr.is_none() || possible.is_empty() {
            return Ok(None);
        }
        let at = self.clients.now();
        let lines: Vec<RestoreLine> = possible
            .into_iter()
            .map(|step| RestoreLine {
                run_id: self.run_id.clone(),
                at,
                registry_id: repository.registry_id.clone(),
                region: self.clients.region.to_owned(),
                by: self.by.clone(),
                repository_name: name.to_string(),
                image_digest: step.digest().to_owned(),
                image_tags: step.action.tags().to_vec(),
                removed_by_run_id: step.journaled.line.run_id.clone(),
                restored_from: step.journaled.key.clone(),
            })
            .collect();
        let folder = journal::folder(at, &self.run_id);
        write_journal::write_restores(&self.clients, &folder, name.as_str(), &lines).await.map(Some)
    }

    /// Executes the steps in their order. A step that fails does not stop those that do not need it.
    async fn execute(&self, name: &Name, steps: Vec<RestoreStep>, done: &mut Done) -> Result<(), RunError> {
        for step in steps {
            let image_id = Deleted { image_digest: Some(step.digest().to_owned()), image_tag: None };
            if let Some(why) = &done.stopped {
                let reason = NotRestorable::NotAttempted(why.clone());
                done.failures.push(NotRestored { image_id, reason });
                continue;
            }
            let restored = match (step.blocked_by(&done.failed), self.ecr) {
                (Some(reason), _) => Err(Stop::Image(reason)),
                (None, Some(ecr)) => self.bring_back(ecr, name, &step).await,
                (None, None) => match step.expected_refusal() {
                    Some(reason) => Err(Stop::Image(reason)),
                    None => Ok(()),
                },
            };
            match restored {
                Ok(()) => {
                    let image_tags = match self.ecr {
                        Some(ecr) => self.put_tags(ecr, name, &step, done).await,
                        None => step.action.tags().to_vec(),
                    };
                    done.note_restored(step, image_tags);
                }
                Err(Stop::Image(reason)) => {
                    if matches!(step.action, RestoreAction::Put { .. }) {
                        done.failed.insert(step.digest().to_owned());
                    }
                    tracing::warn!(repository = %name, digest = step.digest(), %reason, "an image was not restored");
                    done.failures.push(NotRestored { image_id, reason });
                }
                // Nothing was changed: the caller learns who has to permit what.
                Err(Stop::All(error)) if done.restored.is_empty() && !is_in_doubt(&error) => {
                    return Err(error);
                }
                Err(Stop::All(error)) => {
                    done.failed.insert(step.digest().to_owned());
                    done.stopped = Some(stopped_by(&error));
                    done.failures.push(NotRestored { image_id, reason: failed_by(&error) });
                }
            }
        }
        Ok(())
    }

    /// Has ECR have the image, without regard to tags.
    async fn bring_back(&self, ecr: &EcrProtect, name: &Name, step: &RestoreStep) -> Result<(), Stop> {
        let line = &step.journaled.line;
        let (digest, media_type) = (step.digest(), line.image_manifest_media_type.as_deref());
        match (&step.action, &line.image_manifest) {
            (RestoreAction::Activate { .. }, _) => self.activate(ecr, name, digest).await,
            (RestoreAction::Put { .. }, Some(manifest)) => {
                let put = ecr.put_back_image(name, manifest, media_type, digest, None);
                self.clients.call(put).await.map(drop).map_err(|error| Stop::of(error, step))
            }
            // The plan has none without a manifest.
            (RestoreAction::Put { .. }, None) => Err(Stop::Image(NotRestorable::NoManifest)),
            (RestoreAction::Tag { .. }, _) => Ok(()),
        }
    }

    /// Puts the tags of an image that is there; returns those that it has now. A tag that was not put is a failure of its own.
    async fn put_tags(
        &self,
        ecr: &EcrProtect,
        name: &Name,
        step: &RestoreStep,
        done: &mut Done,
    ) -> Vec<String> {
        let line = &step.journaled.line;
        let Some(manifest) = &line.image_manifest else { return Vec::new() };
        let mut put = Vec::new();
        for tag in step.action.tags() {
            let problem = match &done.stopped {
                Some(why) => Some(NotRestorable::NotAttempted(why.clone())),
                None => match self.put_tag(ecr, name, step, manifest, tag).await {
                    Ok(problem) => problem,
                    Err(error) => {
                        if !is_of_one_image(&error) {
                            done.stopped = Some(stopped_by(&error));
                        }
                        Some(failed_by(&error))
                    }
                },
            };
            match problem {
                None => put.push(tag.clone()),
                Some(reason) => {
                    let image_id = Deleted {
                        image_digest: Some(step.digest().to_owned()),
                        image_tag: Some(tag.clone()),
                    };
                    tracing::warn!(repository = %name, digest = step.digest(), tag, %reason, "a tag was not restored");
                    done.failures.push(NotRestored { image_id, reason });
                }
            }
        }
        put
    }

    /// Puts one tag where it names no image; returns why it was left where it is.
    async fn put_tag(
        &self,
        ecr: &EcrProtect,
        name: &Name,
        step: &RestoreStep,
        manifest: &str,
        tag: &str,
    ) -> Result<Option<NotRestorable>, RunError> {
        let (digest, media_type) = (step.digest(), step.journaled.line.image_manifest_media_type.as_deref());
        // Looked up again: the plan may be some time old.
        match self.clients.call(self.clients.ecr.holder_of(name, tag)).await? {
            Some(holder) if holder == digest => return Ok(None),
            Some(by) => return Ok(Some(NotRestorable::TagTaken { by })),
            None => {}
        }
        let tagged = ecr.put_back_image(name, manifest, media_type, digest, Some(tag));
        match self.clients.call(tagged).await {
            Ok(_) => Ok(None),
            Err(RunError::Aws(AwsError { failure: Failure::AlreadyExists, message, .. })) => {
                Ok(Some(NotRestorable::TagImmutable(message)))
            }
            Err(error) => Err(error),
        }
    }

    async fn activate(&self, ecr: &EcrProtect, name: &Name, digest: &str) -> Result<(), Stop> {
        let Err(error) = self.clients.call(ecr.restore(name, digest)).await else { return Ok(()) };
        if matches!(error, RunError::Time(_)) {
            return Err(Stop::All(error));
        }
        // After a lost answer the call is made again, of an image that is on its way by then.
        match self.clients.call(self.clients.ecr.image_status(name, digest)).await {
            Ok(Some(status)) if status != ImageStatus::Archived => Ok(()),
            _ => Err(Stop::of_call(error)),
        }
    }

    /// What the policy of the repository does next. Whatever cannot be found out is said.
    async fn effects(
        &self,
        repository: &Existing,
        name: &Name,
        described: DescribedImages,
        restored: &BTreeMap<String, RestoreStep>,
    ) -> Vec<RestoreWarning> {
        if restored.is_empty() {
            return Vec::new();
        }
        match self.find_effects(repository, name, described, restored).await {
            Ok(warnings) => warnings,
            Err(problem) => vec![RestoreWarning::PolicyUnknown(problem)],
        }
    }

    async fn find_effects(
        &self,
        repository: &Existing,
        name: &Name,
        described: DescribedImages,
        restored: &BTreeMap<String, RestoreStep>,
    ) -> Result<Vec<RestoreWarning>, String> {
        let clients = &self.clients;
        let text = |error: RunError| error.to_string();
        let found = clients.call(clients.s3.get(clients.bucket, policy_set::KEY)).await.map_err(text)?;
        let policy_set = match found {
            None => PolicySet::default(),
            Some(object) => PolicySet::parse(&object.text).map_err(|findings| {
                let first = findings.first().map(ToString::to_string).unwrap_or_default();
                format!("{} is not valid: {first}", policy_set::KEY)
            })?,
        };
        let entry = assign(clients, &policy_set, name.as_str(), &repository.arn).await.map_err(text)?;
        // Under `protect` the policy is somebody else's.
        let entry = entry.filter(|entry| entry.apply != Apply::Protect);
        // Under `attach` it is the entry's. Beside any other entry, ECR enforces a policy of the repository's own as well.
        let attached = match entry {
            Some(entry) if entry.apply == Apply::Attach => None,
            _ => clients.call(clients.ecr.lifecycle_policy(name.as_str())).await.map_err(text)?,
        };
        let attached = attached.as_deref().map(LifecyclePolicy::parse).transpose().map_err(|findings| {
            let first = findings.first().map(ToString::to_string).unwrap_or_default();
            format!("the attached lifecycle policy cannot be read: {first}")
        })?;
        let of_file = entry.map(ActingPolicy::Entry);
        let policies: Vec<ActingPolicy<'_>> =
            of_file.into_iter().chain(attached.as_ref().map(ActingPolicy::Attached)).collect();
        if policies.is_empty() {
            return Ok(Vec::new());
        }
        let key = format!("{INDEXES}{name}.json");
        let cached = clients.call(clients.s3.get(clients.bucket, &key)).await.map_err(text)?;
        // What is not cached is an index that nobody has read: it is the same before and after.
        let known: BTreeMap<String, Vec<String>> =
            cached.and_then(|object| serde_json::from_str(&object.text).ok()).unwrap_or_default();
        let mut relations = Relations::default();
        for (index, children) in known {
            relations.index(&index, children);
        }
        for (referrer, subject) in &described.subjects {
            relations.refer(referrer, subject);
        }
        for (digest, step) in restored {
            let Some(manifest) = &step.journaled.line.image_manifest else { continue };
            if let Ok(children) = deletion::children(manifest) {
                relations.index(digest, children);
            }
            if let Some(subject) = deletion::subject(manifest) {
                relations.refer(digest, &subject);
            }
        }
        let now = clients.now();
        let mut after: BTreeMap<String, Image> =
            described.images.iter().map(|image| (image.digest.to_string(), image.clone())).collect();
        for (digest, step) in restored {
            let image = step.image_after(after.get(digest), now);
            after.insert(digest.clone(), image);
        }
        let before = RepositoryImages::new(described.images, &relations);
        let after = RepositoryImages::new(after.into_values().collect(), &relations);
        let restored = restored.keys().cloned().collect();
        Ok(policies.into_iter().flat_map(|policy| effects(policy, &before, &after, &restored, now)).collect())
    }

    /// Where what did not come back may be, and how to copy it from there.
    async fn replicas(
        &self,
        name: &Name,
        repository: Option<&Existing>,
        failures: &[NotRestored],
        warnings: &mut Vec<RestoreWarning>,
    ) -> Vec<ReplicaCopy> {
        // With a tag, the image is there.
        let healed = failures.iter().filter(|failure| failure.reason.is_healed_by_replica());
        let lost: BTreeSet<String> = healed
            .filter_map(|failure| match (&failure.image_id.image_digest, &failure.image_id.image_tag) {
                (Some(digest), None) => Some(format!("@{digest}")),
                (None, Some(tag)) => Some(format!(":{tag}")),
                _ => None,
            })
            .collect();
        if lost.is_empty() {
            return Vec::new();
        }
        let registry = match self.clients.call(self.clients.registry.describe()).await {
            Ok(registry) => registry,
            Err(error) => {
                warnings.push(RestoreWarning::ReplicasUnknown(error.to_string()));
                return Vec::new();
            }
        };
        let host = |account: &str, region: &str| match repository {
            // The partition's own suffix.
            Some(own) => {
                let (host, _) = own.uri.split_once('/').unwrap_or((&own.uri, ""));
                host.replacen(&own.registry_id, account, 1).replacen(self.clients.region, region, 1)
            }
            None => format!("{account}.dkr.ecr.{region}.amazonaws.com"),
        };
        let own = host(&registry.registry_id, self.clients.region);
        let replicas = destinations(&registry, name.as_str()).into_iter();
        replicas
            .map(|replica| {
                let from = host(&replica.registry_id, &replica.region);
                let commands = lost.iter().take(MAX_COMMANDS).map(|image| {
                    format!("skopeo copy --all --preserve-digests docker://{from}/{name}{image} docker://{own}/{name}{image}")
                });
                ReplicaCopy {
                    commands: commands.collect(),
                    registry_id: replica.registry_id,
                    region: replica.region,
                }
            })
            .collect()
    }
}

/// Why a step was not executed.
enum Stop {
    /// This image cannot come back.
    Image(NotRestorable),
    /// Nothing else would.
    All(RunError),
}

impl Stop {
    fn of(error: RunError, step: &RestoreStep) -> Self {
        match &error {
            RunError::Aws(refused) if refused.is_layers_not_found() => Self::Image(
                step.expected_refusal()
                    .unwrap_or_else(|| NotRestorable::UnnamedLayersGone(refused.message.clone())),
            ),
            // All that the plan knew of were there a moment ago.
            RunError::Aws(refused) if refused.is_referenced_images_not_found() => {
                Self::Image(NotRestorable::UnnamedChildrenGone(refused.message.clone()))
            }
            _ => Self::of_call(error),
        }
    }

    fn of_call(error: RunError) -> Self {
        match is_of_one_image(&error) {
            true => Self::Image(failed_by(&error)),
            false => Self::All(error),
        }
    }
}

/// Whether a failed call says nothing of other images.
const fn is_of_one_image(error: &RunError) -> bool {
    match error {
        RunError::Aws(refused) => !matches!(refused.failure, Failure::Denied | Failure::Credentials),
        _ => false,
    }
}

/// Whether a failed call may have had its effect.
const fn is_in_doubt(error: &RunError) -> bool {
    match error {
        RunError::Time(_) => true,
        RunError::Aws(error) => error.outcome_unknown(),
        _ => false,
    }
}

fn failed_by(error: &RunError) -> NotRestorable {
    match is_in_doubt(error) {
        true => NotRestorable::OutcomeUnknown(error.to_string()),
        false => NotRestorable::CallFailed(error.to_string()),
    }
}

fn stopped_by(error: &RunError) -> String {
    format!("an earlier call failed: {error}")
}

/// All images as failures, since their repository is gone.
fn failures_without_repository(candidates: Candidates) -> (Vec<NotRestored>, RequestedTags) {
    let RestorePlan { steps, mut failures, requested_tags, .. } = candidates.plan(&[], &BTreeSet::new());
    failures.extend(steps.into_iter().map(|step| NotRestored {
        image_id: Deleted { image_digest: Some(step.digest().to_owned()), image_tag: None },
        reason: NotRestorable::RepositoryGone,
    }));
    (failures, requested_tags)
}

fn days_before(now: Instant, days: u64) -> Instant {
    Instant::from_micros(now.micros_days_before(days)).unwrap_or(Instant::EPOCH)
}
