//! Deletes images by hand, and repositories with their images: over the HTTP API, and with a stack.
//!
//! The steps are those of a run: use is read, the registry's daily limit is reserved, and the journal is written before anything
//! is deleted. If something cannot be read in time, nothing is deleted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::enforcement::registry_limit::{self, Reserved};
use crate::aws::ecr::{BATCH, DescribedImages, EcrProtect, EcrWrite, Manifest, NOT_FOUND};
use crate::aws::{AwsError, Failure};
use crate::domain::enforcement::actor::Actor;
use crate::domain::enforcement::by_hand::{Refusal, RepositoryUse, Selection, UseCheck};
use crate::domain::enforcement::journal::{self, Line};
use crate::domain::enforcement::policy_set::{self, PolicySet, Sources};
use crate::domain::image::deletion::{self, Deleted, DeletionRequest, ImageId, Refused};
use crate::domain::image::listing::RepositoryName;
use crate::domain::image::{Image, ImageIndex, Relations, RepositoryImages};
use crate::domain::lifecycle::document::Action as RuleAction;
use crate::domain::preview::model::ActionTaken;
use crate::domain::repository::Name;
use crate::domain::text::finding::Finding;
use crate::domain::text::instant::Instant;
use crate::domain::usage::Usage;
use crate::domain::usage::usage_snapshot::UsageSnapshot;
use crate::workflows::enforcement::object_problem::ObjectProblem;
use crate::workflows::enforcement::repository_snapshot::INDEXES;
use crate::workflows::enforcement::restore_images::ImageRestorer;
use crate::workflows::enforcement::summarize::USAGE_KEY;
use crate::workflows::enforcement::write_journal;
use crate::workflows::enforcement::{RunContext, RunError, check_clock, read_usage};
use crate::workflows::provision::Removal;

/// Time reserved for deleting once use is known.
const TIME_TO_ACT: Duration = Duration::from_secs(8);
/// Calls to one service at the same time.
const READ_CONCURRENCY: usize = 4;
/// Maximum number of images that are deleted with their repository. Policies and batches remove more, a day at a time.
const MAX_IMAGES_OF_REPOSITORY: usize = 5000;

/// The result of a request to delete images.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImagesDeleted {
    /// The deleted images and tags.
    pub deleted: Vec<Deleted>,
    /// The images that were not deleted, and why.
    pub refused: Vec<Refused>,
}

/// Deletes images for one request.
#[derive(Debug, Clone)]
pub struct ByHand<'a> {
    /// The clients for reading.
    pub clients: RunContext<'a>,
    /// The registry for writing.
    pub ecr: &'a EcrWrite,
    /// The account whose registry it is.
    pub registry_id: &'a str,
    /// The name of the request in the journal, the same if it is delivered twice: `api-…` or `stack-…`.
    pub run_id: String,
    /// The actor of the request.
    pub by: Actor,
}

/// Why something is not deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeletionError {
    /// There is no bucket for the journal.
    #[error(
        "the function knows no bucket to write down what it deletes, and nothing was changed; set its environment variable BUCKET, as \
         template.yaml does"
    )]
    NoBucket,
    /// The deletion is not allowed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There was no time to find out what is in use.
    #[error("there was no time to find out what is in use, and nothing was changed: {0}")]
    NoTimeToLook(AwsError),
    /// There are more images than can be written down in the time that there is.
    #[error(
        "the repository has too many images ({images}) to delete all at once, and nothing was deleted: delete them by policy or in \
         batches first"
    )]
    TooMany {
        /// The number of images.
        images: usize,
    },
    /// The repository was changed meanwhile.
    #[error("{0} since this request looked at the repository, and nothing was deleted; try again")]
    Changed(RepositoryChange),
    /// The policies file is invalid, which says what counts as use, and how much may be deleted.
    #[error(
        "{} is not valid, and it says what counts as use and how much may go; nothing was changed: {}",
        policy_set::KEY,
        .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    )]
    PoliciesFile(Vec<Finding>),
    /// Something in the bucket is not what it has to be, or a clock is wrong.
    #[error("{0}; nothing was deleted")]
    State(RunError),
    /// A call failed.
    #[error(transparent)]
    Aws(AwsError),
}

impl From<RunError> for DeletionError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Time(error) | RunError::Aws(error) => Self::Aws(error),
            error @ (RunError::Object { .. } | RunError::Clock { .. } | RunError::Refused { .. }) => {
                Self::State(error)
            }
        }
    }
}

/// How a repository changed between its check and its deletion.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RepositoryChange {
    /// An image was pushed; with its digest, if it is known.
    #[error("{}", match .0 { Some(digest) => format!("the image {digest} was pushed"), None => "an image was pushed".to_owned() })]
    Pushed(Option<String>),
    /// Tags of the image with this digest were added, moved or removed.
    #[error("the tags of {0} have changed")]
    Tags(String),
}

/// Why an image was not deleted, where ECR was not asked to.
#[derive(Debug, thiserror::Error)]
enum NotAttempted<'a> {
    /// The call for a batch before it failed.
    #[error("an earlier call failed: {0}")]
    EarlierFailed(&'a DeletionError),
    /// The journal could not be written.
    #[error("it could not be written down: {0}")]
    NotJournaled(&'a DeletionError),
    /// The call itself failed.
    #[error("{0}")]
    Failed(&'a DeletionError),
    /// The image, or one of its tags, is not what it was when use was read.
    #[error("{0} since this request looked at the repository; ask again")]
    Changed(RepositoryChange),
    /// The image does not exist.
    #[error("the repository has no such image")]
    Missing,
}

/// Why an image is deleted, for the journal.
#[derive(Debug, Clone, Copy)]
struct JournaledReason<'a> {
    /// The actor of the request.
    by: &'a Actor,
    /// Whether only some of the image's tags are removed.
    only_tags: bool,
    /// Whether it was checked that the image is not in use.
    is_use_read: bool,
}

impl fmt::Display for JournaledReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.only_tags {
            f.write_str("Only these tags are taken off; the image keeps others. ")?;
        }
        write!(f, "Asked for by {}.", self.by)?;
        if !self.is_use_read {
            f.write_str(" Use was not looked at: inUse.")?;
        }
        Ok(())
    }
}

/// A repository, and what is to go of it.
struct Looked {
    images: RepositoryImages,
    relations: Relations,
    selection: Selection,
    /// Manifests that were read.
    manifests: HashMap<String, Manifest>,
    policy_set: PolicySet,
    policies_file_version: Option<String>,
    /// The time at which use was read; `None` if the request overrides the check.
    usage_read_at: Option<Instant>,
    /// Whether the repository is deleted, too.
    is_whole: bool,
}

/// The images of a request.
#[derive(Clone, Copy)]
enum Named<'a> {
    Images(&'a [ImageId]),
    Repository,
}

impl<'a> ByHand<'a> {
    /// Restores images for the same request; without a client that could change anything if it is a dry run.
    #[must_use]
    pub fn restorer(&self, is_dry_run: bool) -> ImageRestorer<'a> {
        let Self { clients, ecr, run_id, by, .. } = self;
        let ecr: &'a EcrProtect = ecr;
        ImageRestorer {
            clients: *clients,
            ecr: (!is_dry_run).then_some(ecr),
            run_id: run_id.clone(),
            by: by.clone(),
        }
    }

    /// Deletes images and tags: indexes before their children, a hundred in a call, until time is up.
    ///
    /// # Errors
    ///
    /// If nothing was deleted: an image is or may be in use, the daily limit is reached, or AWS cannot be asked.
    pub async fn delete_images(
        &self,
        request: &DeletionRequest,
        check: UseCheck,
    ) -> Result<ImagesDeleted, DeletionError> {
        let DeletionRequest { repository_name: name, image_ids: ids } = request;
        let Some(looked) = self.look(name, Named::Images(ids), check).await? else {
            return Ok(ImagesDeleted { refused: missing(ids), ..ImagesDeleted::default() });
        };
        let there: Vec<ImageId> =
            ids.iter().filter(|id| !looked.selection.missing.contains(id)).cloned().collect();
        let images = looked.images.images();
        let places: HashMap<&str, ImageIndex> = (0..)
            .zip(images)
            .flat_map(|(at, image)| image.tags.iter().chain([&image.digest]).map(move |name| (&**name, at)))
            .collect();
        let place = |id: &ImageId| {
            let (ImageId::Digest(name) | ImageId::Tag(name)) = id;
            places.get(name.as_str()).copied()
        };
        let digests: BTreeMap<String, String> = there
            .iter()
            .filter_map(|id| match id {
                ImageId::Digest(_) => None,
                ImageId::Tag(tag) => Some((tag.clone(), images.get(place(id)? as usize)?.digest.to_string())),
            })
            .collect();
        let mut outcome = ImagesDeleted::default();
        let mut stopped: Option<DeletionError> = None;
        let mut is_begun = false;
        for batch in deletion::in_order(&there, &digests, &looked.children(), BATCH) {
            if let Some(error) = &stopped {
                let problem = NotAttempted::EarlierFailed(error);
                outcome.refused.extend(refused(&batch, "NotAttempted", &problem));
                continue;
            }
            let touched: BTreeSet<ImageIndex> = batch.iter().filter_map(place).collect();
            let prepared = async {
                self.write_down(name, &looked, &touched, &looked.manifests).await?;
                if !is_begun {
                    self.reserve(&looked).await?;
                    self.compare(name, &looked).await?;
                }
                Ok(())
            };
            if let Err(error) = prepared.await {
                if !is_begun {
                    return Err(error);
                }
                let problem = NotAttempted::NotJournaled(&error);
                outcome.refused.extend(refused(&batch, "NotAttempted", &problem));
                stopped = Some(error);
                continue;
            }
            if is_begun {
                // A tag may have moved while the batches before were deleted.
                let unattempted = match self.changed_of(name, &looked, &batch).await {
                    Ok(None) => None,
                    Ok(Some(change)) => Some(NotAttempted::Changed(change).to_string()),
                    Err(error) => {
                        let problem = NotAttempted::Failed(&error).to_string();
                        stopped = Some(error);
                        Some(problem)
                    }
                };
                if let Some(reason) = unattempted {
                    outcome.refused.extend(refused(&batch, "NotAttempted", &reason));
                    continue;
                }
            }
            match self.clients.call(self.ecr.delete_images(name, &batch)).await {
                Ok((deleted, refused)) => {
                    // All of the batch was there when it was looked at: what is not any more is gone by this request, whose first answer
                    // was lost, or by another one. Either way it is as asked for.
                    let (gone, refused): (Vec<_>, Vec<_>) =
                        refused.into_iter().partition(|refused| refused.failure_code == NOT_FOUND);
                    outcome.deleted.extend(deleted);
                    outcome.deleted.extend(gone.into_iter().map(|refused| looked.deleted(refused.image_id)));
                    outcome.refused.extend(refused);
                }
                Err(error) => {
                    let error = DeletionError::from(error);
                    let is_in_doubt = matches!(&error, DeletionError::Aws(error) if error.outcome_unknown());
                    if !is_begun && !is_in_doubt {
                        return Err(error);
                    }
                    let code = if is_in_doubt { "OutcomeUnknown" } else { "NotAttempted" };
                    outcome.refused.extend(refused(&batch, code, &NotAttempted::Failed(&error)));
                    stopped = Some(error);
                }
            }
            is_begun = true;
        }
        outcome.refused.extend(missing(&looked.selection.missing));
        Ok(outcome)
    }

    /// Deletes a repository with its images.
    ///
    /// # Errors
    ///
    /// If it was not deleted: an image is or may be in use, the daily limit is reached, there are too many images, or AWS cannot
    /// be asked.
    pub async fn delete_repository(&self, name: &Name, check: UseCheck) -> Result<Removal, DeletionError> {
        let looked = match self.look(name, Named::Repository, check).await {
            Ok(Some(looked)) => looked,
            // Without images nothing in use can be deleted; an image that is pushed now keeps the repository.
            Ok(None) => return self.delete_empty(name).await,
            Err(error) if error.is_not_found() => return Ok(Removal::Missing),
            Err(error) => return Err(error),
        };
        let images = looked.images.images().len();
        self.write_down_all(name, &looked).await.map_err(|error| match error {
            DeletionError::Aws(error) if !self.clients.deadline.has(Duration::ZERO) => {
                tracing::warn!(repository = %name, %error, "could not write down all images in time");
                DeletionError::TooMany { images }
            }
            error => error,
        })?;
        self.reserve(&looked).await?;
        self.compare(name, &looked).await?;
        match self.clients.call(self.ecr.delete(name.as_str(), true)).await {
            Ok(()) => Ok(Removal::Deleted),
            // It was there: the answer to a call before this one was lost.
            Err(error) if error.is_not_found() => Ok(Removal::Deleted),
            Err(error) => {
                let error = DeletionError::from(error);
                let is_in_doubt = matches!(&error, DeletionError::Aws(error) if error.outcome_unknown());
                if is_in_doubt && self.is_gone(name).await { Ok(Removal::Deleted) } else { Err(error) }
            }
        }
    }

    /// Whether the repository no longer exists, after a call that was not answered.
    async fn is_gone(&self, name: &Name) -> bool {
        let ecr = self.ecr.at_once();
        matches!(self.clients.deadline.order(ecr.repository(name)).await, Ok(Ok(None)))
    }

    async fn delete_empty(&self, name: &Name) -> Result<Removal, DeletionError> {
        match self.clients.call(self.ecr.delete(name.as_str(), false)).await {
            Ok(()) => Ok(Removal::Deleted),
            // It was there: the answer to a call before this one was lost.
            Err(error) if error.is_not_found() => Ok(Removal::Deleted),
            Err(RunError::Aws(error)) if error.failure == Failure::NotEmpty => {
                Err(DeletionError::Changed(RepositoryChange::Pushed(None)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads everything that a deletion depends on, and checks whether it is allowed; `None` if no named image exists.
    async fn look(
        &self,
        name: &Name,
        named: Named<'_>,
        check: UseCheck,
    ) -> Result<Option<Looked>, DeletionError> {
        let clients = RunContext { deadline: self.clients.deadline.keeping(TIME_TO_ACT), ..self.clients };
        // What a call that cannot be made means here: nothing is known.
        let looking = async {
            let described = clients.call(clients.ecr.images(name)).await?;
            let images = RepositoryImages::new(described.images.clone(), &Relations::default());
            let selection = match named {
                Named::Images(ids) => Selection::named(&images, ids),
                Named::Repository => Selection::all(&images),
            };
            if selection.is_empty() {
                return Ok(None);
            }
            if !clients.has_bucket() {
                return Err(DeletionError::NoBucket);
            }
            if matches!(named, Named::Repository) && images.images().len() > MAX_IMAGES_OF_REPOSITORY {
                return Err(DeletionError::TooMany { images: images.images().len() });
            }
            let wanted = match named {
                Named::Images(_) => selection.touched(),
                Named::Repository => BTreeSet::new(),
            };
            let reads_all_indexes = matches!(named, Named::Repository) || check == UseCheck::Look;
            let reading = relations(&clients, name, &described, &images, &wanted, reads_all_indexes);
            let ((relations, manifests), (policy_set, policies_file_version, usage)) =
                tokio::try_join!(reading, self.usage(&clients, name, check))?;
            // The same images, so that their places stay.
            let images = RepositoryImages::new(described.images, &relations);
            let usage_read_at = usage.as_ref().map(|(_, read_at)| *read_at);
            if let Some((usage, read_at)) = usage {
                selection.check(&images, &self.of_repository(&usage, name, &images), read_at)?;
            }
            let is_whole = matches!(named, Named::Repository);
            let looked = Looked {
                images,
                relations,
                selection,
                manifests,
                policy_set,
                policies_file_version,
                usage_read_at,
                is_whole,
            };
            let planned = looked.selection.counted(&looked.images);
            let Reserved { granted, limit, before } =
                registry_limit::room(&clients, looked.policy_set.limits(), planned).await?;
            if granted < planned {
                return Err(Refusal::RegistryLimit { planned, before, limit }.into());
            }
            Ok(Some(looked))
        };
        looking.await.map_err(|error| match error {
            // The time of this request is not up: it is kept for what could not be begun.
            DeletionError::Aws(error) if !clients.deadline.has(Duration::ZERO) => {
                DeletionError::NoTimeToLook(error)
            }
            error => error,
        })
    }

    /// Reads the policies file, and then use, unless the request overrides the check.
    async fn usage(
        &self,
        clients: &RunContext<'_>,
        name: &Name,
        check: UseCheck,
    ) -> Result<(PolicySet, Option<String>, Option<(Usage, Instant)>), DeletionError> {
        let now = clients.now();
        let found = clients.call(clients.s3.get(clients.bucket, policy_set::KEY)).await?;
        let (policy_set, version) = match found {
            None => (PolicySet::default(), None),
            Some(object) => {
                check_clock(object.answered_at, now)?;
                (PolicySet::parse(&object.text).map_err(DeletionError::PoliciesFile)?, object.version)
            }
        };
        let usage = match check {
            UseCheck::Known => None,
            UseCheck::Look => {
                Some((in_use(clients, policy_set.usage(), name, self.registry_id, now).await?, now))
            }
        };
        Ok((policy_set, version, usage))
    }

    fn of_repository(&self, usage: &Usage, name: &Name, images: &RepositoryImages) -> RepositoryUse {
        let repository = RepositoryName {
            repository_name: Some(name.as_str().to_owned()),
            registry_id: Some(self.registry_id.to_owned()),
        };
        let mine = usage
            .used()
            .iter()
            .filter(|used| used.reference.may_name(Some(name.as_str()), Some(self.registry_id)));
        let tags = mine.filter_map(|used| Some((used.reference.tag.clone()?, used.to_string()))).collect();
        let gaps = usage.gaps_of(name.as_str()).cloned().collect();
        RepositoryUse { images: usage.of_repository(&repository, images), tags, gaps }
    }

    /// Reserves the registry's daily limit for all images of the request.
    async fn reserve(&self, looked: &Looked) -> Result<(), DeletionError> {
        let planned = looked.selection.counted(&looked.images);
        if planned == 0 {
            return Ok(());
        }
        let Reserved { granted, limit, before } =
            registry_limit::reserve_all(&self.clients, looked.policy_set.limits(), planned).await?;
        if granted < planned {
            return Err(Refusal::RegistryLimit { planned, before, limit }.into());
        }
        Ok(())
    }

    /// Reads the repository again right before the deletion: the images have to be as they were when they were checked and
    /// journaled.
    async fn compare(&self, name: &Name, looked: &Looked) -> Result<(), DeletionError> {
        let now = self.clients.call(self.clients.ecr.images(name)).await?.images;
        looked.change(&now).map_or(Ok(()), |change| Err(DeletionError::Changed(change)))
    }

    /// How images of a later batch have changed since the repository was looked at.
    async fn changed_of(
        &self,
        name: &Name,
        looked: &Looked,
        batch: &[ImageId],
    ) -> Result<Option<RepositoryChange>, DeletionError> {
        let now = match self.clients.call(self.clients.ecr.images_by_digest(name, batch)).await {
            // One of them is gone, and ECR answers for none.
            Err(error) if error.is_not_found() => {
                self.clients.call(self.clients.ecr.images(name)).await?.images
            }
            images => images?,
        };
        Ok(looked.change(&now))
    }

    /// Writes all images of a repository down, a hundred at a time.
    async fn write_down_all(&self, name: &Name, looked: &Looked) -> Result<(), DeletionError> {
        let places: Vec<ImageIndex> = looked.selection.going.iter().copied().collect();
        stream::iter(places.chunks(BATCH).map(Ok))
            .try_for_each_concurrent(READ_CONCURRENCY, async |batch: &[ImageIndex]| {
                let ids: Vec<ImageId> = batch.iter().filter_map(|&place| looked.id(place)).collect();
                let manifests = manifests(&self.clients, name, &ids).await?;
                self.write_down(name, looked, &batch.iter().copied().collect(), &manifests).await
            })
            .await
    }

    /// Writes the journal for images that are about to be deleted. Images that are not journaled are not deleted.
    async fn write_down(
        &self,
        name: &Name,
        looked: &Looked,
        places: &BTreeSet<ImageIndex>,
        manifests: &HashMap<String, Manifest>,
    ) -> Result<(), DeletionError> {
        let at = self.clients.now();
        let mut lines = Vec::with_capacity(places.len());
        for &place in places {
            let Some(image) = looked.images.images().get(place as usize) else { continue };
            let untagged = looked.selection.untagged.iter().filter(|(of, _)| *of == place);
            let untagged: Vec<String> = untagged.map(|(_, tag)| tag.clone()).collect();
            let reason = JournaledReason {
                by: &self.by,
                only_tags: !untagged.is_empty(),
                is_use_read: looked.usage_read_at.is_some(),
            };
            let image_tags = match reason.only_tags {
                true => untagged,
                false => image.tags.iter().map(ToString::to_string).collect(),
            };
            let manifest = manifests.get(&*image.digest);
            lines.push(Line {
                run_id: self.run_id.clone(),
                at,
                registry_id: self.registry_id.to_owned(),
                region: self.clients.region.to_owned(),
                by: self.by.clone(),
                repository_name: name.as_str().to_owned(),
                image_digest: image.digest.to_string(),
                image_tags,
                image_pushed_at: image.pushed_at,
                image_size_in_bytes: image.size_in_bytes,
                image_manifest: manifest.map(|manifest| manifest.text.clone()),
                image_manifest_media_type: manifest.and_then(|manifest| manifest.media_type.clone()),
                action: ActionTaken::from(RuleAction::Expire),
                policy: None,
                policies_file_version: looked.policies_file_version.clone(),
                applied_rule_priority: None,
                reason: reason.to_string(),
                usage_read_at: looked.usage_read_at,
            });
        }
        let folder = journal::folder(at, &self.run_id);
        let keys = write_journal::write(&self.clients, &folder, name.as_str(), &lines).await?;
        tracing::info!(repository = %name, ?keys, images = lines.len(), "wrote down what is to be deleted");
        Ok(())
    }
}

impl DeletionError {
    /// Whether the repository does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Aws(error) if error.failure == Failure::NotFound)
    }
}

impl Looked {
    /// How images as they are now differ from what was checked and journaled: an image of a whole repository that is new, and tags of a
    /// touched image that were added, removed, or moved to another one.
    fn change(&self, now: &[Image]) -> Option<RepositoryChange> {
        let before: HashMap<&str, ImageIndex> =
            self.images.images().iter().map(|image| &*image.digest).zip(0..).collect();
        let touched = self.selection.touched();
        let holders: HashMap<&str, ImageIndex> = touched
            .iter()
            .flat_map(|&place| self.tags(place).into_iter().map(move |tag| (tag, place)))
            .collect();
        now.iter().find_map(|image| {
            let place = before.get(&*image.digest).copied();
            let has_moved = |tag: &str| holders.get(tag).is_some_and(|holder| Some(*holder) != place);
            match place {
                None if self.is_whole => Some(RepositoryChange::Pushed(Some(image.digest.to_string()))),
                Some(place) if touched.contains(&place) && self.tags(place) != sorted(image) => {
                    Some(RepositoryChange::Tags(image.digest.to_string()))
                }
                _ if image.tags.iter().any(|tag| has_moved(tag)) => {
                    Some(RepositoryChange::Tags(image.digest.to_string()))
                }
                _ => None,
            }
        })
    }

    fn tags(&self, place: ImageIndex) -> Vec<&str> {
        self.images.images().get(place as usize).map(sorted).unwrap_or_default()
    }

    fn id(&self, place: ImageIndex) -> Option<ImageId> {
        self.images.images().get(place as usize).map(|image| ImageId::Digest(image.digest.to_string()))
    }

    /// An image or a tag that is gone, as ECR names what it deleted: with the digest.
    fn deleted(&self, image_id: Deleted) -> Deleted {
        let tag = image_id.image_tag.as_deref();
        let holder =
            || self.images.images().iter().find(|image| image.tags.iter().any(|own| Some(&**own) == tag));
        let image_digest = image_id.image_digest.or_else(|| holder().map(|image| image.digest.to_string()));
        Deleted { image_digest, ..image_id }
    }

    /// The children of the indexes that are touched: they only order the calls.
    fn children(&self) -> BTreeMap<String, Vec<String>> {
        let touched = self.selection.touched();
        let touched = touched.iter().filter_map(|&place| self.images.images().get(place as usize));
        touched
            .filter_map(|image| {
                let children = self.relations.children_of(&image.digest)?;
                Some((image.digest.to_string(), children.iter().map(ToString::to_string).collect()))
            })
            .collect()
    }
}

/// The use of a repository, and what is unknown of it: what the last completed run read once, and what runs now. Without such a
/// run, after one that did not read use, and where the last one is too long ago, everything is read.
///
/// This is the one place of deletions by hand that knows how use is read.
async fn in_use(
    clients: &RunContext<'_>,
    sources: &Sources,
    name: &Name,
    registry_id: &str,
    now: Instant,
) -> Result<Usage, DeletionError> {
    let last = clients.call(clients.s3.get(clients.bucket, USAGE_KEY)).await?;
    let observation = match last {
        None => read_usage::observe(clients, sources, read_usage::before(clients).await?, now).await?,
        Some(object) => {
            let last = UsageSnapshot::parse(&object.text).map_err(|error| {
                let problem = ObjectProblem::LastUse(error.to_string());
                DeletionError::State(clients.invalid_object(USAGE_KEY, problem))
            })?;
            let is_whole = read_usage::unread_sources(sources, &last.once).next().is_none();
            if is_whole && last.once.is_recent(now) {
                read_usage::refresh(clients, sources, &last.once, now).await?
            } else {
                // A run that had no reason to look at use, or that is long ago, knows nothing that would not have to be asked now.
                read_usage::observe(clients, sources, read_usage::before(clients).await?, now).await?
            }
        }
    };
    let (gaps, _) =
        read_usage::unread_pullers(clients, sources, &observation, name, registry_id, now).await?;
    let mut usage = observation.usage;
    usage.gaps.extend(gaps);
    usage.gaps.retain(|gap| gap.is_about(name.as_str()));
    Ok(usage)
}

/// The relations of the images, and the manifests of `wanted` ones. The children of other indexes come from the cache of runs
/// where possible.
async fn relations(
    clients: &RunContext<'_>,
    name: &Name,
    described: &DescribedImages,
    images: &RepositoryImages,
    wanted: &BTreeSet<ImageIndex>,
    reads_all_indexes: bool,
) -> Result<(Relations, HashMap<String, Manifest>), DeletionError> {
    let mut relations = Relations::default();
    for (referrer, subject) in &described.subjects {
        relations.refer(referrer, subject);
    }
    let others: Vec<&Image> = (0..)
        .zip(images.images())
        .filter(|(place, image)| reads_all_indexes && image.kind.is_index() && !wanted.contains(place))
        .map(|(_, image)| image)
        .collect();
    let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
    if !others.is_empty() {
        let key = format!("{INDEXES}{name}.json");
        let cached = clients.call(clients.s3.get(clients.bucket, &key)).await?;
        // What cannot be read is read again from ECR.
        known = cached.and_then(|object| serde_json::from_str(&object.text).ok()).unwrap_or_default();
    }
    let wanted = wanted.iter().filter_map(|&place| images.images().get(place as usize));
    let unread = others.iter().copied().filter(|image| !known.contains_key(&*image.digest));
    let ids: Vec<ImageId> =
        wanted.chain(unread).map(|image| ImageId::Digest(image.digest.to_string())).collect();
    let manifests = manifests(clients, name, &ids).await?;
    let indexes = images.images().iter().filter(|image| image.kind.is_index());
    for index in indexes {
        let digest = &*index.digest;
        match (manifests.get(digest).map(|manifest| deletion::children(&manifest.text)), known.get(digest)) {
            (Some(Ok(children)), _) => relations.index(digest, children),
            (None, Some(children)) => relations.index(digest, children.iter().map(String::as_str)),
            // It stays unread, which blocks where something is in use.
            (Some(Err(error)), _) => {
                tracing::warn!(repository = %name, digest, %error, "could not read an image index");
            }
            (None, None) => {}
        }
    }
    Ok((relations, manifests))
}

/// Manifests by their images' digests, as far as ECR gives them.
async fn manifests(
    clients: &RunContext<'_>,
    name: &Name,
    ids: &[ImageId],
) -> Result<HashMap<String, Manifest>, DeletionError> {
    let batches: Vec<_> = stream::iter(ids.chunks(BATCH))
        .map(|batch| clients.call(clients.ecr.manifests(name, batch)))
        .buffered(READ_CONCURRENCY)
        .try_collect()
        .await?;
    let mut found = HashMap::new();
    for batch in batches {
        for failure in batch.failures.iter().filter(|failure| failure.failure_code != NOT_FOUND) {
            tracing::warn!(
                repository = %name,
                digest = failure.image_id.image_digest,
                code = failure.failure_code,
                reason = failure.failure_reason,
                "ECR does not give a manifest; the image could not be put back"
            );
        }
        found.extend(batch.found.into_iter().map(|manifest| (manifest.digest.clone(), manifest)));
    }
    Ok(found)
}

fn sorted(image: &Image) -> Vec<&str> {
    let mut tags: Vec<&str> = image.tags.iter().map(|tag| &**tag).collect();
    tags.sort_unstable();
    tags
}

fn missing(ids: &[ImageId]) -> Vec<Refused> {
    refused(ids, NOT_FOUND, &NotAttempted::Missing)
}

fn refused(ids: &[ImageId], code: &str, reason: &impl fmt::Display) -> Vec<Refused> {
    ids.iter()
        .map(|id| Refused {
            image_id: Deleted::from(id),
            failure_code: code.to_owned(),
            failure_reason: reason.to_string(),
        })
        .collect()
}
