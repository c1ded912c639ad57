//! Executes the actions on one repository. Right before each batch of images, use and the repository are read again, and the plan
//! is made again. Then the registry's limit is reserved, the journal is written, and only then the images are deleted or
//! archived. It is safe to stop anywhere: the next run plans again.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant as MonotonicInstant;

use super::put_back::Removed;
use super::registry_limit::{self, Reserved};
use crate::aws::ecr::{BATCH, EcrProtect, EcrWrite, Manifest, Manifests, NOT_FOUND};
use crate::aws::{AwsError, Failure};
use crate::domain::enforcement::action::{Action, Removal, batches};
use crate::domain::enforcement::actor::Actor;
use crate::domain::enforcement::journal::{self, Line};
use crate::domain::enforcement::not_removed::NotRemoved;
use crate::domain::enforcement::outcome::{ImageResult, Outcome, PolicyChange, ReportedBlocker};
use crate::domain::enforcement::plan::Blocker;
use crate::domain::enforcement::saved_plan::PlannedAction;
use crate::domain::image::deletion::{self, ImageId};
use crate::domain::image::{Image, ImageIndex, ImageStatus};
use crate::domain::lifecycle::LifecyclePolicy;
use crate::domain::lifecycle::document::StorageClass;
use crate::domain::preview::model::ActionTaken;
use crate::domain::text::instant::Instant;
use crate::domain::usage::{Usage, UsedImages};
use crate::workflows::enforcement::process_batch::BatchProcessor;
use crate::workflows::enforcement::repository_snapshot::{
    OwnPulls, RepositoryPlan, RepositorySnapshot, forget_children,
};
use crate::workflows::enforcement::write_journal;
use crate::workflows::enforcement::{RunError, WriteClient};

/// Minimum time left for starting a batch of images: five calls, reading use, and recording what was done.
const MIN_TIME_LEFT: Duration = Duration::from_secs(10);
/// Maximum number of images in a repository that one call reads. A larger repository is read again before a batch only if it was
/// last read longer ago than [`MAX_AGE`], or if something of it has disappeared. Otherwise only the images of the batch are read
/// again, and the newest of those that are kept, which the counts of rules depend on.
const SMALL: usize = 1000;
/// See [`SMALL`].
const MAX_AGE: Duration = Duration::from_secs(60);
/// Maximum time between a look at use and the call that removes images by it, and of that call. Where AWS throttles, what comes
/// between the two takes longer, or the call itself: then use is read once more.
const MAX_USE_AGE: Duration = Duration::from_secs(20);

/// Executes the actions of one repository.
pub struct Executor<'w, 'a, W: WriteClient> {
    processor: &'w BatchProcessor<'a, W>,
    /// The repository when the actions were decided.
    planned: &'w RepositoryPlan<'w>,
    outcome: &'w mut Outcome,
    /// The repository when it was last read, and when that was.
    current: (RepositorySnapshot, MonotonicInstant),
    /// Images that were planned and are kept. What belongs to them is kept, too.
    stayed: HashSet<ImageIndex>,
    /// The pulls that reading it was, since the actions were decided and before.
    own_pulls: OwnPulls,
    places: HashMap<&'w str, ImageIndex>,
    /// Whether the policy that protection tags are for has rules about archived images.
    looks_into_archive: bool,
    /// With this policies are attached where the run itself may not.
    lifts: Option<W>,
    /// Whether nothing more is removed here.
    is_blocked: bool,
    /// Whether the repository was deleted meanwhile.
    is_gone: bool,
    /// Whether the cached children of image indexes were compared with the indexes.
    indexes_are_checked: bool,
    started: MonotonicInstant,
}

/// The facts that a batch depends on, read right before it.
struct Look {
    usage_read_at: Instant,
    /// When use had been read.
    looked_at: MonotonicInstant,
    /// The images that are still to be removed.
    going: Vec<ImageIndex>,
}

/// What is decided of the images of a repository by what is in use now.
struct Decision {
    used: UsedImages,
    /// The digests of the images that are planned to be removed.
    taken: HashSet<Box<str>>,
    /// The places of images in the repository as it was last read.
    places: HashMap<Box<str>, ImageIndex>,
}

impl Decision {
    /// Why an image is in use.
    fn reason(&self, digest: &str) -> Option<&str> {
        self.places.get(digest).and_then(|&place| self.used.reason(place))
    }
}

/// Why a step is refused before AWS is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum NotDone {
    #[error("a preview changes nothing")]
    Preview,
    #[error("this run takes nothing away")]
    NothingIsRemoved,
    #[error("an image cannot be described")]
    ImageUnknown,
    #[error("the children of an image index could not be written down, and cannot be read from the archive")]
    ChildrenUnknown,
}

/// An image was deleted whose manifest is not in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ECR did not give its manifest: it cannot be put back")]
struct DeletedWithoutManifest;

/// Why an image in use cannot get its protection tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{digest} is in use and cannot be protected: {code}: {reason}")]
struct Unprotectable<'a> {
    /// The digest of the image.
    digest: &'a str,
    /// ECR's code.
    code: &'a str,
    /// ECR's reason.
    reason: &'a str,
}

impl<'w, 'a, W: WriteClient> Executor<'w, 'a, W> {
    /// The execution for a repository that was read at `read_at` or later. Use is read after this.
    pub(crate) fn new(
        processor: &'w BatchProcessor<'a, W>,
        planned: &'w RepositoryPlan<'w>,
        outcome: &'w mut Outcome,
        read_at: MonotonicInstant,
    ) -> Self {
        let current = (planned.snapshot.clone(), read_at);
        let started = MonotonicInstant::now();
        let places = planned.snapshot.images.images().iter().map(|image| &*image.digest).zip(0..).collect();
        let stayed = HashSet::new();
        let looks_into_archive = looks_into_archive(&planned.entry.policy);
        Self {
            processor,
            planned,
            outcome,
            current,
            stayed,
            own_pulls: planned.snapshot.own_pulls.clone(),
            places,
            looks_into_archive,
            lifts: None,
            is_blocked: false,
            is_gone: false,
            indexes_are_checked: false,
            started,
        }
    }

    /// Protection tags are for this policy, besides that of the plan.
    pub(crate) fn protects(&mut self, policy: &LifecyclePolicy) {
        self.looks_into_archive |= looks_into_archive(policy);
    }

    /// Policies are attached with this, also where the run itself may not attach any.
    pub(crate) fn puts_policies_with(&mut self, ecr: Option<W>) {
        self.lifts = ecr;
    }

    /// Executes actions in their order. The outcome has what was done, however it ends.
    ///
    /// # Errors
    ///
    /// When time is up, or something fails of which it is not known what to do about it.
    pub async fn execute(&mut self, actions: &[Action]) -> Result<(), RunError> {
        W::execute(self, actions).await
    }

    pub(crate) async fn execute_each(&mut self, actions: &[Action]) -> Result<(), RunError> {
        let mut untagged = None;
        for batch in batches(actions, BATCH) {
            match batch {
                [Action::Delete(_) | Action::Archive(_), ..] => self.remove(batch).await?,
                // One image without its tag is no reason to leave the others without theirs.
                [Action::PutTag { .. }, ..] => match self.put_tags(batch).await {
                    Err(error @ RunError::Time(_)) => return Err(error),
                    Err(error) => untagged = untagged.or(Some(error)),
                    Ok(()) => {}
                },
                [Action::PutPolicy(policy)] => self.put_policy(policy, PolicyChange::Attached).await?,
                [Action::Suspend(nothing)] => {
                    let name = &self.planned.snapshot.name;
                    let ecr = self.protect()?;
                    self.processor.clients.call(ecr.suspend_lifecycle_policy(name, nothing)).await?;
                    self.note_policy(PolicyChange::Suspended);
                }
                // What is put back is not of a plan: the look that finds it puts it back.
                _ => {}
            }
        }
        untagged.map_or(Ok(()), Err)
    }

    /// Whether planned images are kept because something is uncertain.
    pub(crate) const fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Whether the repository was deleted while the actions were executed.
    pub(crate) const fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Whether an image is archived, so that ECR does not return its manifest, and no rule of the policy is about archived
    /// images.
    fn is_safe_in_the_archive(&self, digest: Option<&str>) -> bool {
        let image = digest.and_then(|digest| self.place(digest)).and_then(|place| self.image(place));
        image.is_some_and(|image| image.status == ImageStatus::Archived) && !self.looks_into_archive
    }

    fn protect(&self) -> Result<&'w EcrProtect, RunError> {
        self.processor.access.protect().ok_or_else(|| {
            RunError::Aws(AwsError::unexpected_response("PutImage", &NotDone::Preview.to_string()))
        })
    }

    fn write(&self) -> Result<&'w EcrWrite, RunError> {
        self.processor.access.write().ok_or_else(|| {
            let problem = NotDone::NothingIsRemoved.to_string();
            RunError::Aws(AwsError::unexpected_response("BatchDeleteImage", &problem))
        })
    }

    /// Deletes or archives images, all of one step and kind.
    async fn remove(&mut self, batch: &[Action]) -> Result<(), RunError> {
        let removals: Vec<(&Removal, ImageIndex)> = batch
            .iter()
            .filter_map(|action| match action {
                Action::Delete(removal) | Action::Archive(removal) => {
                    Some((removal, self.place(&removal.image_digest)?))
                }
                _ => None,
            })
            .collect();
        let is_archival = matches!(batch, [Action::Archive(_), ..]);
        if self.is_blocked {
            for &(_, place) in &removals {
                self.stay(place, &NotRemoved::RepositoryBlocked);
            }
            return Ok(());
        }
        let mut wanted = Vec::with_capacity(removals.len());
        for (removal, place) in removals {
            if !self.is_approved(place, is_archival) {
                continue;
            }
            if !self.stays_with_another(place) {
                wanted.push((removal, place));
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        // ECR refuses to delete what an index lists, and archives it.
        if is_archival && !self.indexes_are_as_remembered(&wanted).await? {
            return Ok(());
        }
        let Some(look) = self.look(&wanted, is_archival).await? else { return Ok(()) };
        let (going, manifests) = self.manifests(look.going).await?;
        let going = self.reserve(going, &wanted).await?;
        if going.is_empty() {
            return Ok(());
        }
        self.write_down(&going, &wanted, &manifests, is_archival, look.usage_read_at).await?;
        let look = Look { going, ..look };
        if is_archival { self.archive(look).await } else { self.delete(look, &manifests).await }
    }

    /// Decides again, by what is in use now and the repository as it was last read; or why nothing is removed.
    fn decide(&self, usage: &Usage, is_archival: bool) -> Result<Decision, Vec<Blocker>> {
        let snapshot = &self.current.0;
        let (used, plan) = snapshot.decide(&self.planned.entry, usage, self.processor.clients.now());
        if !plan.blockers.is_empty() {
            return Err(plan.blockers);
        }
        let images = snapshot.images.images();
        let taken = if is_archival { &plan.archivals } else { &plan.deletions };
        let taken = taken.iter().filter_map(|&place| images.get(place as usize));
        let taken = taken.map(|image| image.digest.clone()).collect();
        let places = images.iter().map(|image| image.digest.clone()).zip(0..).collect();
        Ok(Decision { used, taken, places })
    }

    /// Reads use once more if it was read longer ago than [`MAX_USE_AGE`]. Images that came into use meanwhile are kept.
    async fn look_again_if_old(&mut self, look: Look, is_archival: bool) -> Result<Look, RunError> {
        if look.looked_at.elapsed() <= MAX_USE_AGE || look.going.is_empty() {
            return Ok(look);
        }
        let (observation, usage_read_at) = self.processor.look(MonotonicInstant::now()).await?;
        let looked_at = MonotonicInstant::now();
        let decision = match self.decide(&observation.usage, is_archival) {
            Ok(decision) => decision,
            Err(blockers) => {
                self.note_blockers(&blockers);
                for place in look.going {
                    let why = blockers.first().cloned().map_or(NotRemoved::NotTaken, NotRemoved::Blocked);
                    self.stay(place, &why);
                }
                return Ok(Look { usage_read_at, looked_at, going: Vec::new() });
            }
        };
        let mut going = Vec::with_capacity(look.going.len());
        for place in look.going {
            let Some(image) = self.image(place) else { continue };
            let stays = match decision.reason(&image.digest) {
                Some(reason) => Some(NotRemoved::InUse(reason.to_owned())),
                None => (!decision.taken.contains(&image.digest)).then_some(NotRemoved::NotTaken),
            };
            match stays {
                Some(stays) => self.stay(place, &stays),
                None => going.push(place),
            }
        }
        Ok(Look { usage_read_at, looked_at, going })
    }

    /// Reads everything that a batch depends on, and decides again which images are removed.
    async fn look(
        &mut self,
        wanted: &[(&Removal, ImageIndex)],
        is_archival: bool,
    ) -> Result<Option<Look>, RunError> {
        let processor = self.processor;
        if !processor.clients.deadline.has(MIN_TIME_LEFT) {
            return Err(RunError::Time(processor.clients.ecr.retry_observer().timeout_cause()));
        }
        let (observation, usage_read_at) = processor.look(self.started).await?;
        let looked_at = MonotonicInstant::now();
        let described = self.read_again(wanted).await?;
        let Some(described) = described else {
            self.is_gone = true;
            for &(_, place) in wanted {
                self.stay(place, &NotRemoved::RepositoryGone);
            }
            return Ok(None);
        };
        let decision = match self.decide(&observation.usage, is_archival) {
            Ok(decision) => decision,
            Err(blockers) => {
                self.block(&blockers, wanted);
                return Ok(None);
            }
        };
        let mut going = Vec::with_capacity(wanted.len());
        let mut staying = Vec::new();
        for &(removal, place) in wanted {
            let digest = removal.image_digest.as_str();
            let Some(before) = self.image(place) else { continue };
            let changed = match described.get(digest) {
                None => Some(NotRemoved::NotDescribed),
                Some(now) if sorted(&now.tags) != sorted(&before.tags) => Some(NotRemoved::TagsChanged),
                Some(now) if now.last_pulled_at > self.own_pulls.last_known_pull(before) => {
                    Some(NotRemoved::Pulled)
                }
                Some(now) if now.pushed_at != before.pushed_at => Some(NotRemoved::PushedAgain),
                Some(now) if now.status != before.status => Some(NotRemoved::StatusChanged),
                Some(_) => None,
            };
            let stays = match (changed, decision.reason(digest)) {
                (_, Some(reason)) => Some(NotRemoved::InUse(reason.to_owned())),
                (Some(changed), None) => Some(changed),
                (None, None) if decision.taken.contains(digest) => None,
                (None, None) => Some(NotRemoved::NotTaken),
            };
            match stays {
                Some(stays) => staying.push((place, stays)),
                None => going.push(place),
            }
        }
        for (place, why) in staying {
            self.stay(place, &why);
        }
        Ok(Some(Look { usage_read_at, looked_at, going }))
    }

    /// Reads the repository again: all of it where that is one call or something of it has disappeared, else the images of the
    /// batch. `None` if the repository is deleted.
    async fn read_again(
        &mut self,
        wanted: &[(&Removal, ImageIndex)],
    ) -> Result<Option<HashMap<String, Image>>, RunError> {
        let processor = self.processor;
        let by_digest =
            |images: &[Image]| images.iter().map(|image| (image.digest.to_string(), image.clone())).collect();
        let is_small = self.current.0.images.images().len() <= SMALL;
        if !is_small && self.current.1.elapsed() < MAX_AGE {
            let ids: Vec<ImageId> =
                wanted.iter().map(|(removal, _)| ImageId::Digest(removal.image_digest.clone())).collect();
            let (name, ecr) = (&self.planned.snapshot.name, processor.clients.ecr);
            let newest = self.newest_that_stay();
            let described = async {
                let described = ecr.images_by_digest(name, &ids).await?;
                if !newest.is_empty() {
                    ecr.images_by_digest(name, &newest).await?;
                }
                Ok(described)
            };
            match processor.clients.call(described).await {
                Ok(described) => return Ok(Some(by_digest(&described))),
                // Something has disappeared: the counts of the rules may be others.
                Err(RunError::Aws(error)) if error.failure == Failure::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let read_at = MonotonicInstant::now();
        let snapshot = &self.planned.snapshot;
        let RepositorySnapshot { name, registry_id, arn, .. } = snapshot;
        match RepositorySnapshot::read(&processor.clients, name.clone(), registry_id, arn).await {
            Ok(read) => {
                self.own_pulls.extend(&read.own_pulls);
                let pull_gaps = snapshot.pull_gaps.clone();
                self.current = (RepositorySnapshot { pull_gaps, ..read }, read_at);
            }
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        }
        Ok(Some(by_digest(self.current.0.images.images())))
    }

    /// The newest images that the plan leaves, as many as one call describes.
    fn newest_that_stay(&self) -> Vec<ImageId> {
        let plan = &self.planned.plan;
        let planned = plan.deletions.iter().chain(&plan.archivals).filter_map(|&place| self.image(place));
        let going: HashSet<&str> = planned.map(|image| &*image.digest).collect();
        let all = self.current.0.images.images().iter();
        let mut staying: Vec<&Image> = all.filter(|image| !going.contains(&*image.digest)).collect();
        staying.sort_unstable_by_key(|image| std::cmp::Reverse(image.age_time()));
        staying.truncate(BATCH);
        staying.into_iter().map(|image| ImageId::Digest(image.digest.to_string())).collect()
    }

    /// Reserves the registry's limit for the batch. Images beyond the limit are kept.
    async fn reserve(
        &mut self,
        going: Vec<ImageIndex>,
        wanted: &[(&Removal, ImageIndex)],
    ) -> Result<Vec<ImageIndex>, RunError> {
        let counted: HashSet<ImageIndex> =
            wanted.iter().filter(|(removal, _)| removal.is_counted).map(|&(_, place)| place).collect();
        let planned = going.iter().filter(|place| counted.contains(place)).count() as u64;
        if planned == 0 {
            return Ok(going);
        }
        let Reserved { granted, limit, before } =
            registry_limit::reserve(&self.processor.clients, self.processor.policy_set.limits(), planned)
                .await?;
        if granted >= planned {
            return Ok(going);
        }
        let blocker = Blocker::Registry { planned, before, limit };
        self.note_blockers(std::slice::from_ref(&blocker));
        let why = NotRemoved::Blocked(blocker);
        let mut left = granted;
        let mut fits = Vec::new();
        for place in going {
            if counted.contains(&place) {
                if left == 0 {
                    self.stay(place, &why);
                    continue;
                }
                left -= 1;
            }
            fits.push(place);
        }
        Ok(fits)
    }

    /// Reads the manifests of the batch. An image index whose children differ from those of the plan is kept.
    async fn manifests(
        &mut self,
        going: Vec<ImageIndex>,
    ) -> Result<(Vec<ImageIndex>, HashMap<String, Manifest>), RunError> {
        if going.is_empty() {
            return Ok((going, HashMap::new()));
        }
        let (processor, snapshot) = (self.processor, &self.planned.snapshot);
        let ids: Vec<ImageId> = going.iter().filter_map(|&place| self.id(place)).collect();
        let Manifests { found, failures } =
            processor.clients.call(processor.clients.ecr.manifests(&snapshot.name, &ids)).await?;
        for failure in failures.iter().filter(|failure| failure.failure_code != NOT_FOUND) {
            tracing::warn!(
                repository = %snapshot.name,
                digest = failure.image_id.image_digest,
                code = failure.failure_code,
                reason = failure.failure_reason,
                "ECR does not give a manifest; the image could not be put back"
            );
        }
        let manifests: HashMap<String, Manifest> =
            found.into_iter().map(|manifest| (manifest.digest.clone(), manifest)).collect();
        let mut certain = Vec::with_capacity(going.len());
        for place in going {
            if self.image(place).is_some_and(|image| self.is_as_remembered(place, image, &manifests)) {
                certain.push(place);
                continue;
            }
            forget_children(&processor.clients, &snapshot.name).await?;
            self.stay(place, &NotRemoved::ChildrenChanged);
        }
        Ok((certain, manifests))
    }

    /// Whether all readable image indexes have their cached children; checked once. If not, nothing is removed.
    async fn indexes_are_as_remembered(
        &mut self,
        wanted: &[(&Removal, ImageIndex)],
    ) -> Result<bool, RunError> {
        if self.indexes_are_checked {
            return Ok(true);
        }
        let (processor, snapshot) = (self.processor, &self.planned.snapshot);
        let is_readable = |image: &Image| image.kind.is_index() && image.status == ImageStatus::Active;
        let indexes: Vec<ImageIndex> = (0..)
            .zip(snapshot.images.images())
            .filter(|(_, image)| is_readable(image))
            .map(|(place, _)| place)
            .collect();
        for batch in indexes.chunks(BATCH) {
            let ids: Vec<ImageId> = batch.iter().filter_map(|&place| self.id(place)).collect();
            let found =
                processor.clients.call(processor.clients.ecr.manifests(&snapshot.name, &ids)).await?.found;
            self.own_pulls.add(&processor.clients, found.iter().map(|manifest| manifest.digest.as_str()));
            let manifests: HashMap<String, Manifest> =
                found.into_iter().map(|manifest| (manifest.digest.clone(), manifest)).collect();
            let is_other = |place: &&ImageIndex| {
                !self.image(**place).is_some_and(|image| self.is_as_remembered(**place, image, &manifests))
            };
            if let Some(other) = batch.iter().find(is_other).and_then(|&place| self.image(place)) {
                forget_children(&processor.clients, &snapshot.name).await?;
                self.is_blocked = true;
                let why = NotRemoved::OtherChildrenChanged(other.digest.to_string());
                for &(_, place) in wanted {
                    self.stay(place, &why);
                }
                return Ok(false);
            }
        }
        self.indexes_are_checked = true;
        Ok(true)
    }

    /// Whether an image index lists exactly those images of the repository that the plan was made with.
    fn is_as_remembered(
        &self,
        place: ImageIndex,
        image: &Image,
        manifests: &HashMap<String, Manifest>,
    ) -> bool {
        let Some(manifest) = manifests.get(&*image.digest) else { return true };
        if !image.kind.is_index() {
            return true;
        }
        let Ok(listed) = deletion::children(&manifest.text) else { return false };
        let listed: HashSet<ImageIndex> = listed.iter().filter_map(|digest| self.place(digest)).collect();
        let parents = self.planned.snapshot.images.parents();
        let known: HashSet<ImageIndex> =
            parents.iter().filter(|(_, index)| *index == place).map(|(child, _)| *child).collect();
        listed == known
    }

    /// Writes the journal for the batch. Images that are not journaled are not removed.
    async fn write_down(
        &mut self,
        going: &[ImageIndex],
        wanted: &[(&Removal, ImageIndex)],
        manifests: &HashMap<String, Manifest>,
        is_archival: bool,
        usage_read_at: Instant,
    ) -> Result<(), RunError> {
        let (processor, snapshot) = (self.processor, &self.planned.snapshot);
        let removals: HashMap<ImageIndex, &Removal> =
            wanted.iter().map(|&(removal, place)| (place, removal)).collect();
        let mut lines = Vec::with_capacity(going.len());
        for &place in going {
            let (Some(image), Some(removal)) = (self.image(place), removals.get(&place)) else {
                return Err(RunError::Aws(AwsError::unexpected_response(
                    "PutObject",
                    &NotDone::ImageUnknown.to_string(),
                )));
            };
            let manifest = manifests.get(&*image.digest);
            lines.push(Line {
                run_id: processor.run.run_id.clone(),
                at: processor.clients.now(),
                registry_id: snapshot.registry_id.clone(),
                region: processor.clients.region.to_owned(),
                by: Actor::of_run(processor.run.started_by.as_deref()),
                repository_name: snapshot.name.as_str().to_owned(),
                image_digest: image.digest.to_string(),
                image_tags: image.tags.iter().map(ToString::to_string).collect(),
                image_pushed_at: image.pushed_at,
                image_size_in_bytes: image.size_in_bytes,
                image_manifest: manifest.map(|manifest| manifest.text.clone()),
                image_manifest_media_type: manifest.and_then(|manifest| manifest.media_type.clone()),
                action: ActionTaken::from(if is_archival {
                    crate::domain::lifecycle::document::Action::Transition
                } else {
                    crate::domain::lifecycle::document::Action::Expire
                }),
                policy: Some(self.planned.entry.name.clone()),
                policies_file_version: processor.run.policies_file_version.clone(),
                applied_rule_priority: Some(removal.applied_rule_priority),
                reason: removal.reason.clone(),
                usage_read_at: Some(usage_read_at),
            });
        }
        if is_archival && !self.current.0.children_are_cached && self.has_index(going) {
            let problem = NotDone::ChildrenUnknown.to_string();
            return Err(RunError::Aws(AwsError::unexpected_response("PutObject", &problem)));
        }
        let keys = write_journal::write(
            &processor.clients,
            &journal::prefix(processor.run),
            snapshot.name.as_str(),
            &lines,
        )
        .await?;
        for key in keys {
            self.outcome.add_journal_key(key);
        }
        processor.has_changed.set(true);
        // From here on it may be gone.
        let removed = lines.into_iter().map(|line| Removed { repository: snapshot.name.clone(), line });
        processor.note_removed(removed);
        Ok(())
    }

    async fn delete(
        &mut self,
        mut look: Look,
        manifests: &HashMap<String, Manifest>,
    ) -> Result<(), RunError> {
        let name = &self.planned.snapshot.name;
        let answer = loop {
            look = self.look_again_if_old(look, false).await?;
            if look.going.is_empty() {
                return Ok(());
            }
            let ids: Vec<ImageId> = look.going.iter().filter_map(|&place| self.id(place)).collect();
            let call = self.processor.clients.call(self.write()?.delete_images(name, &ids));
            // A call without an answer is made again, whether or not it had its effect; but not by what was known long ago.
            if let Ok(answer) = tokio::time::timeout(MAX_USE_AGE, call).await {
                break answer;
            }
            if !self.processor.clients.deadline.has(MIN_TIME_LEFT) {
                let cause = self.processor.clients.ecr.retry_observer().timeout_cause();
                break Err(RunError::Time(cause));
            }
        };
        let going = look.going;
        let (deleted, refused) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let why = match error.is_repository_gone() {
                    true => NotRemoved::RepositoryGone,
                    false => NotRemoved::OutcomeUnknown(error.to_string()),
                };
                for &place in &going {
                    self.stay(place, &why);
                }
                return Err(error);
            }
        };
        let deleted: HashSet<&str> = deleted.iter().filter_map(|id| id.image_digest.as_deref()).collect();
        let refused: HashMap<&str, (&str, &str)> = refused
            .iter()
            .filter_map(|refused| {
                let digest = refused.image_id.image_digest.as_deref()?;
                Some((digest, (&*refused.failure_code, &*refused.failure_reason)))
            })
            .collect();
        for &place in &going {
            let Some(digest) = self.image(place).map(|image| image.digest.clone()) else { continue };
            match refused.get(&*digest) {
                // Somebody else was quicker.
                Some((NOT_FOUND, _)) => {}
                Some(("ImageReferencedByManifestList", reason)) => {
                    self.stay(place, &NotRemoved::Listed((*reason).to_owned()));
                }
                Some((code, reason)) => {
                    let (code, reason) = ((*code).to_owned(), (*reason).to_owned());
                    self.stay(place, &NotRemoved::Refused { code, reason });
                }
                None if deleted.contains(&*digest) => {
                    let detail =
                        (!manifests.contains_key(&*digest)).then(|| DeletedWithoutManifest.to_string());
                    self.went(place, ImageResult::Deleted, detail);
                }
                None => self.stay(place, &NotRemoved::NotAnswered),
            }
        }
        Ok(())
    }

    async fn archive(&mut self, mut look: Look) -> Result<(), RunError> {
        let name = &self.planned.snapshot.name;
        // One after the other, the first of them last in the list.
        look.going.reverse();
        loop {
            look = self.look_again_if_old(look, true).await?;
            let Some(place) = look.going.pop() else { break };
            let Some(digest) = self.image(place).map(|image| image.digest.clone()) else { continue };
            match self.processor.clients.call(self.write()?.archive(name, &digest)).await {
                Ok(()) => self.went(place, ImageResult::Archived, None),
                Err(error @ RunError::Time(_)) => {
                    self.stay(place, &NotRemoved::OutcomeUnknown(error.to_string()));
                    return Err(error);
                }
                Err(error) => self.stay(place, &NotRemoved::CallFailed(error.to_string())),
            }
        }
        Ok(())
    }

    async fn put_policy(&mut self, policy: &LifecyclePolicy, change: PolicyChange) -> Result<(), RunError> {
        let name = &self.planned.snapshot.name;
        let ecr = match &self.lifts {
            Some(client) => client.ecr(),
            None => self.write()?,
        };
        self.processor.clients.call(ecr.put_lifecycle_policy(name, &policy.to_json())).await?;
        self.note_policy(change);
        Ok(())
    }

    fn note_policy(&mut self, change: PolicyChange) {
        self.processor.has_changed.set(true);
        if let Some(attached) = &mut self.outcome.attachment {
            attached.lifecycle_policy = change;
        }
    }

    async fn put_tags(&mut self, batch: &[Action]) -> Result<(), RunError> {
        let name = &self.planned.snapshot.name;
        let clients = &self.processor.clients;
        let mut wanted: Vec<(&str, &str)> = batch
            .iter()
            .filter_map(|action| match action {
                Action::PutTag { image_digest, tag } => Some((image_digest.as_str(), tag.as_str())),
                _ => None,
            })
            .collect();
        wanted.sort_unstable();
        let mut ids: Vec<ImageId> =
            wanted.iter().map(|(digest, _)| ImageId::Digest((*digest).to_owned())).collect();
        ids.dedup();
        let Manifests { found, failures } = clients.call(clients.ecr.manifests(name, &ids)).await?;
        let manifests: HashMap<&str, &Manifest> =
            found.iter().map(|manifest| (&*manifest.digest, manifest)).collect();
        let failures: HashMap<&str, (&str, &str)> = failures
            .iter()
            .filter_map(|refused| {
                let digest = refused.image_id.image_digest.as_deref()?;
                Some((digest, (&*refused.failure_code, &*refused.failure_reason)))
            })
            .collect();
        let mut first = None;
        for (digest, tag) in wanted {
            let Some(manifest) = manifests.get(digest) else {
                let (code, reason) = match failures.get(digest) {
                    // Deleted meanwhile.
                    Some((NOT_FOUND, _)) => continue,
                    Some(&failure) => failure,
                    None => ("no answer", "ECR says nothing of it"),
                };
                // No rule of the policy looks there.
                if !self.is_safe_in_the_archive(Some(digest)) {
                    let problem = Unprotectable { digest, code, reason }.to_string();
                    first = first
                        .or(Some(RunError::Aws(AwsError::unexpected_response("BatchGetImage", &problem))));
                }
                continue;
            };
            match clients.call(self.protect()?.put_protection_tag(name, manifest, tag)).await {
                Ok(()) => {}
                Err(error @ RunError::Time(_)) => return Err(error),
                Err(error) => {
                    tracing::warn!(repository = %name, digest, tag, error = %error, "could not protect an image");
                    first = first.or(Some(error));
                    continue;
                }
            }
            self.processor.has_changed.set(true);
            if let Some(attached) = &mut self.outcome.attachment {
                attached.tags_added += 1;
            }
        }
        first.map_or(Ok(()), Err)
    }

    fn image(&self, place: ImageIndex) -> Option<&'w Image> {
        self.planned.snapshot.images.images().get(place as usize)
    }

    fn place(&self, digest: &str) -> Option<ImageIndex> {
        self.places.get(digest).copied()
    }

    fn id(&self, place: ImageIndex) -> Option<ImageId> {
        self.image(place).map(|image| ImageId::Digest(image.digest.to_string()))
    }

    fn has_index(&self, places: &[ImageIndex]) -> bool {
        places.iter().any(|&place| self.image(place).is_some_and(|image| image.kind.is_index()))
    }

    /// Stops removing images here for these reasons, each of which is reported once.
    fn note_blockers(&mut self, blockers: &[Blocker]) {
        self.is_blocked = true;
        for held in blockers.iter().map(ReportedBlocker::from) {
            if !self.outcome.blockers.contains(&held) {
                self.outcome.blockers.push(held);
            }
        }
    }

    /// Stops removing images here because something is uncertain.
    fn block(&mut self, blockers: &[Blocker], wanted: &[(&Removal, ImageIndex)]) {
        self.note_blockers(blockers);
        let Some(why) = blockers.first().cloned().map(NotRemoved::Blocked) else { return };
        for &(_, place) in wanted {
            self.stay(place, &why);
        }
    }

    /// Whether an image index that lists the image, or its subject, was kept.
    fn stays_with_another(&mut self, place: ImageIndex) -> bool {
        let mut holders = self.planned.snapshot.images.holders_of(place);
        let holder = holders.find(|holder| self.stayed.contains(holder));
        let Some(holder) = holder.and_then(|holder| self.image(holder)) else { return false };
        self.stay(place, &NotRemoved::HolderKept(holder.digest.to_string()));
        true
    }

    /// Whether a saved plan, if there is one, has this action on the image as it is now. Otherwise the image is kept.
    fn is_approved(&mut self, place: ImageIndex, is_archival: bool) -> bool {
        let (Some(approval), Some(image)) = (self.processor.approval, self.image(place)) else { return true };
        let action = if is_archival { PlannedAction::Archive } else { PlannedAction::Delete };
        let allowed = approval.allows(self.planned.snapshot.name.as_str(), image, action);
        let Err(deviation) = allowed else { return true };
        self.stay(place, &NotRemoved::NotApproved(deviation));
        false
    }

    /// Reports why a planned image was not removed.
    fn stay(&mut self, place: ImageIndex, reason: &NotRemoved) {
        let (result, why) = (reason.result(), reason.to_string());
        if let (Some(approval), Some(image)) = (self.processor.approval, self.image(place)) {
            approval.stays(self.planned.snapshot.name.as_str(), &image.digest, &why);
        }
        self.stayed.insert(place);
        if let Some(image) = self.planned.image_outcome(place, result, Some(why)) {
            self.outcome.record(image);
        }
        match (result, self.image(place)) {
            (ImageResult::InUse, Some(image)) => self.outcome.protected_by_use.add(image),
            (ImageResult::Failed, Some(image)) => self.outcome.failed.add(image),
            _ => {}
        }
    }

    fn went(&mut self, place: ImageIndex, result: ImageResult, detail: Option<String>) {
        let Some(image) = self.image(place) else { return };
        if let Some(approval) = self.processor.approval {
            approval.went(self.planned.snapshot.name.as_str(), &image.digest);
        }
        self.processor.note_done(place, result);
        match result {
            ImageResult::Archived => self.outcome.archived.add(image),
            _ => self.outcome.deleted.add(image),
        }
        if let Some(image) = self.planned.image_outcome(place, result, detail) {
            self.outcome.record(image);
        }
    }
}

fn looks_into_archive(policy: &LifecyclePolicy) -> bool {
    policy.rules().iter().any(|rule| rule.limit.storage_class() == StorageClass::Archive)
}

fn sorted(tags: &[Box<str>]) -> Vec<&str> {
    let mut tags: Vec<&str> = tags.iter().map(|tag| &**tag).collect();
    tags.sort_unstable();
    tags
}
