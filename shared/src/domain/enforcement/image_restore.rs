//! Restoring images from the journal: which images, in which order, with which tags, and what cannot come back and why.
//!
//! Pure: nothing here reads or changes anything. A tag is only put where it names no image now. What the repository has already is
//! left as it is, so that a restoration may be repeated.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::domain::enforcement::journal::Line;
use crate::domain::enforcement::plan::{plan, taken_by_ecr};
use crate::domain::enforcement::policy_set::Entry;
use crate::domain::image::deletion::{self, Deleted, ImageId, Refused};
use crate::domain::image::reference::is_exact_digest;
use crate::domain::image::{Image, ImageIndex, ImageStatus, ManifestKind, RepositoryImages, subject_of_tag};
use crate::domain::lifecycle::LifecyclePolicy;
use crate::domain::preview::model::ActionKind;
use crate::domain::repository::Name;
use crate::domain::text::finding::{Code, Finding, quoted};
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity::{count, count_of};
use crate::domain::text::reader::{Field, Reader};
use crate::domain::text::syntax;
use crate::domain::usage::UsedImages;

/// Maximum number of layers that a message names. The others are counted.
const MAX_NAMED: usize = 5;

/// A line of the journal, and the object that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journaled {
    /// The key of the object.
    pub key: String,
    /// The line.
    pub line: Line,
}

/// Which images of a repository are restored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// These images; if empty, all that the other fields allow. A tag names the image that lost it last.
    pub image_ids: Vec<ImageId>,
    /// Only what this run, or this request, deleted or archived.
    pub run_id: Option<String>,
    /// Only what was deleted or archived at this time or later.
    pub since: Option<Instant>,
}

/// A request to restore images of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreRequest {
    /// The repository.
    pub repository_name: Name,
    /// The images.
    pub selection: Selection,
}

impl RestoreRequest {
    /// Reads a request, `{"repositoryName": …, "imageIds": […], "runId": …, "since": …}`, of which at least one of the last three is
    /// needed. The path of the request may name the repository.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn parse_for(repository_of_path: Option<Name>, text: &str) -> Result<Self, Vec<Finding>> {
        Reader::parse_body(repository_of_path, text, Self::read)
    }

    fn read(node: &syntax::Node, reader: &mut Reader) -> Option<Self> {
        let fields = reader.fields(node, "", &["repositoryName", "imageIds", "runId", "since"])?;
        let repository_name = reader.repository(&fields, "repositoryName", "the name of a repository");
        let image_ids = match reader.list(&fields, "imageIds") {
            Field::Value(items) => deletion::image_ids(items, reader)?,
            Field::Missing => Vec::new(),
            Field::Invalid => return None,
        };
        let run_id = reader.text(&fields, "runId").optional()?;
        if let Some(run_id) = &run_id
            && !is_run_id(run_id)
        {
            let message = format!("{} is no name of a run; `ecr-steward runs list` has them", quoted(run_id));
            reader.report(Code::UnknownValue, fields.at("runId"), message);
        }
        let since = reader.text(&fields, "since").optional()?.map(|text| Instant::parse(&text));
        let since = since
            .transpose()
            .map_err(|error| reader.report(Code::UnknownValue, fields.at("since"), error.to_string()))
            .ok()?;
        if image_ids.is_empty() && run_id.is_none() && since.is_none() {
            let message = "it does not say what to restore; add `imageIds`, `runId` or `since`";
            reader.report(Code::MissingField, "", message);
            return None;
        }
        let selection = Selection { image_ids, run_id, since };
        Some(Self { repository_name: repository_name?, selection })
    }
}

/// Whether a text can be the name of a run, which is a part of keys.
#[must_use]
pub fn is_run_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 256
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

impl Selection {
    /// Whether a line is of the run and the time that are asked for.
    #[must_use]
    pub fn covers(&self, line: &Line) -> bool {
        self.run_id.as_ref().is_none_or(|run_id| *run_id == line.run_id)
            && self.since.is_none_or(|since| line.at >= since)
    }
}

/// An image that is to be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    journaled: Journaled,
    tags: BTreeSet<String>,
    /// Whether the request names it. The others only belong to one that it names.
    is_named: bool,
}

/// The images that are to be restored, with everything that belongs to them: the children of image indexes, and referrers
/// (signatures, SBOMs, attestations).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Candidates {
    images: BTreeMap<String, Candidate>,
    not_journaled: Vec<ImageId>,
    requested_tags: RequestedTags,
}

/// The tags by which a request names images, by the images' digests.
pub type RequestedTags = BTreeMap<String, BTreeSet<String>>;

impl Candidates {
    /// Selects the images from the journal's lines of one repository, in any order.
    #[must_use]
    pub fn select(journal: &[Journaled], selection: &Selection) -> Self {
        let lines = Lines::new(journal);
        let covered: Vec<&Journaled> = journal.iter().filter(|one| selection.covers(&one.line)).collect();
        let newest_covered = newest_of(covered.iter().copied());
        let mut candidates = Self::default();
        if selection.image_ids.is_empty() {
            for one in newest_covered.values() {
                candidates.add(lines.with_manifest(one), true, None);
            }
        }
        for id in &selection.image_ids {
            let found = match id {
                ImageId::Digest(digest) => newest_covered.get(digest.as_str()).map(|one| (*one, None)),
                ImageId::Tag(tag) => {
                    let with_tag = covered.iter().filter(|one| one.line.image_tags.contains(tag));
                    let last = with_tag.max_by_key(|one| order_of(one));
                    let image = last.and_then(|one| newest_covered.get(one.line.image_digest.as_str()));
                    image.map(|one| (*one, Some(tag.as_str())))
                }
            };
            match found {
                Some((one, tag)) => {
                    if let Some(tag) = tag {
                        let digest = one.line.image_digest.clone();
                        candidates.requested_tags.entry(digest).or_default().insert(tag.to_owned());
                    }
                    candidates.add(lines.with_manifest(one), true, tag);
                }
                None => candidates.not_journaled.push(id.clone()),
            }
        }
        candidates.close(&lines);
        candidates
    }

    fn add(&mut self, one: Journaled, is_named: bool, tag: Option<&str>) {
        let digest = one.line.image_digest.clone();
        let candidate = self.images.entry(digest).or_insert_with(|| Candidate {
            tags: one.line.image_tags.iter().cloned().collect(),
            journaled: one,
            is_named: false,
        });
        candidate.is_named |= is_named;
        candidate.tags.extend(tag.map(str::to_owned));
    }

    /// Adds the children and referrers of what was selected, and theirs.
    fn close(&mut self, lines: &Lines<'_>) {
        let newest: Vec<&Journaled> = lines.newest().collect();
        let mut about: HashMap<String, Vec<&Journaled>> = HashMap::new();
        for one in newest {
            for subject in subjects_of(&one.line) {
                about.entry(subject).or_default().push(one);
            }
        }
        let mut open: Vec<String> = self.images.keys().cloned().collect();
        while let Some(digest) = open.pop() {
            let children = self.images.get(&digest).map(|one| children_of(&one.journaled.line));
            let children = children.unwrap_or_default().into_iter();
            let children = children.filter_map(|child| lines.newest_of(&child));
            let referrers = about.get(&digest).into_iter().flatten().copied();
            for one in children.chain(referrers) {
                if !self.images.contains_key(&one.line.image_digest) {
                    open.push(one.line.image_digest.clone());
                    self.add(lines.with_manifest(one), false, None);
                }
            }
        }
    }

    /// Whether there is nothing to restore.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// The blobs that ECR still has to have: the configurations and layers of the images that the repository does not have now.
    #[must_use]
    pub fn layers(&self, present: &[Image]) -> BTreeSet<String> {
        let present: BTreeSet<&str> = present.iter().map(|image| &*image.digest).collect();
        let absent = self.images.iter().filter(|(digest, _)| !present.contains(digest.as_str()));
        let manifests = absent.filter_map(|(_, one)| one.journaled.line.image_manifest.as_ref());
        // Anything else is no digest that ECR would take.
        manifests.flat_map(|text| deletion::layers(text)).filter(|digest| is_exact_digest(digest)).collect()
    }

    /// Plans the restoration, from the images that the repository has now and the layers that ECR does not have any more.
    #[must_use]
    pub fn plan(self, present: &[Image], missing_layers: &BTreeSet<String>) -> RestorePlan {
        let there: HashMap<&str, &Image> = present.iter().map(|image| (&*image.digest, image)).collect();
        let mut named_by: BTreeMap<String, String> = BTreeMap::new();
        for image in present {
            named_by.extend(image.tags.iter().map(|tag| (tag.to_string(), image.digest.to_string())));
        }
        let mut plan = RestorePlan { requested_tags: self.requested_tags.clone(), ..RestorePlan::default() };
        for id in &self.not_journaled {
            let digest = match id {
                ImageId::Digest(digest) => Some(digest),
                ImageId::Tag(tag) => named_by.get(tag),
            };
            let image = digest.and_then(|digest| there.get(digest.as_str()));
            if let (ImageId::Tag(tag), Some(image)) = (id, image) {
                plan.requested_tags.entry(image.digest.to_string()).or_default().insert(tag.clone());
            }
            let reason = match image.map(|image| image.status) {
                None => NotRestorable::NotInJournal,
                Some(ImageStatus::Archived) => NotRestorable::ArchivedByOthers,
                // Nothing is lost of it.
                Some(_) => {
                    plan.unchanged.extend(image.map(|image| image.digest.to_string()));
                    continue;
                }
            };
            plan.failures.push(NotRestored { image_id: Deleted::from(id), reason });
        }
        // Of several images that had a tag, the one that lost it last gets it.
        let mut by_time: Vec<&Candidate> = self.images.values().collect();
        by_time.sort_by_key(|one| std::cmp::Reverse(order_of(&one.journaled)));
        let mut tags: HashMap<&str, Vec<String>> = HashMap::new();
        for candidate in by_time {
            let digest = candidate.journaled.line.image_digest.as_str();
            let own = tags.entry(digest).or_default();
            for tag in &candidate.tags {
                match named_by.get(tag) {
                    Some(holder) if holder == digest => {}
                    Some(holder) => plan.failures.push(NotRestored {
                        image_id: Deleted {
                            image_digest: Some(digest.to_owned()),
                            image_tag: Some(tag.clone()),
                        },
                        reason: NotRestorable::TagTaken { by: holder.clone() },
                    }),
                    None => {
                        named_by.insert(tag.clone(), digest.to_owned());
                        own.push(tag.clone());
                    }
                }
            }
        }
        for digest in in_order(&self.images) {
            let Some(candidate) = self.images.get(&digest) else { continue };
            let tags = tags.remove(digest.as_str()).unwrap_or_default();
            let line = &candidate.journaled.line;
            let children = children_of(line);
            let action = match there.get(digest.as_str()).map(|image| image.status) {
                Some(ImageStatus::Archived) => RestoreAction::Activate { tags },
                Some(_) if tags.is_empty() => {
                    if candidate.is_named {
                        plan.unchanged.push(digest);
                    }
                    continue;
                }
                Some(_) => RestoreAction::Tag { tags },
                None => RestoreAction::Put { tags },
            };
            let is_put = matches!(action, RestoreAction::Put { .. });
            let unrestorable = match &line.image_manifest {
                None if is_put => Some(NotRestorable::NoManifest),
                None if !action.tags().is_empty() => Some(NotRestorable::NoManifest),
                Some(manifest) if !is_digest_of(&digest, manifest) => Some(NotRestorable::OtherManifest),
                _ => None,
            };
            let missing = children
                .iter()
                .find(|child| !there.contains_key(child.as_str()) && !self.images.contains_key(*child));
            let unrestorable = unrestorable.or_else(|| {
                let missing = missing.filter(|_| is_put)?;
                Some(NotRestorable::ChildNotInJournal(missing.clone()))
            });
            let layers = line.image_manifest.as_deref().map(deletion::layers).unwrap_or_default();
            let missing_layers = match is_put {
                true => layers.into_iter().filter(|layer| missing_layers.contains(layer)).collect(),
                false => Vec::new(),
            };
            plan.steps.push(RestoreStep {
                needs: children
                    .into_iter()
                    .filter(|child| is_put && self.images.contains_key(child))
                    .collect(),
                subject: subjects_of(line).into_iter().find(|subject| self.images.contains_key(subject)),
                journaled: candidate.journaled.clone(),
                action,
                unrestorable,
                missing_layers,
            });
        }
        plan
    }
}

/// The lines of the journal by their images, the newest line of each first.
struct Lines<'a>(HashMap<&'a str, Vec<&'a Journaled>>);

impl<'a> Lines<'a> {
    fn new(journal: &'a [Journaled]) -> Self {
        let mut lines: HashMap<&str, Vec<&Journaled>> = HashMap::new();
        for one in journal {
            lines.entry(one.line.image_digest.as_str()).or_default().push(one);
        }
        for of_image in lines.values_mut() {
            of_image.sort_by_key(|one| std::cmp::Reverse(order_of(one)));
        }
        Self(lines)
    }

    fn newest(&self) -> impl Iterator<Item = &'a Journaled> {
        self.0.values().filter_map(|lines| lines.first().copied())
    }

    fn newest_of(&self, digest: &str) -> Option<&'a Journaled> {
        self.0.get(digest)?.first().copied()
    }

    /// A line, with the manifest of another one about the same image if its own is missing or is not the image's: an image may have
    /// been deleted and restored before.
    fn with_manifest(&self, one: &Journaled) -> Journaled {
        let mut whole = one.clone();
        if has_manifest(&one.line) {
            return whole;
        }
        let others = self.0.get(one.line.image_digest.as_str());
        if let Some(other) = others.into_iter().flatten().find(|other| has_manifest(&other.line)) {
            whole.key.clone_from(&other.key);
            whole.line.image_manifest.clone_from(&other.line.image_manifest);
            whole.line.image_manifest_media_type.clone_from(&other.line.image_manifest_media_type);
        }
        whole
    }
}

/// Whether a line has the manifest of its image.
fn has_manifest(line: &Line) -> bool {
    line.image_manifest.as_ref().is_some_and(|manifest| is_digest_of(&line.image_digest, manifest))
}

/// The newest line of each image.
fn newest_of<'a>(journal: impl Iterator<Item = &'a Journaled>) -> HashMap<&'a str, &'a Journaled> {
    let mut newest: HashMap<&str, &Journaled> = HashMap::new();
    for one in journal {
        let known = newest.entry(one.line.image_digest.as_str()).or_insert(one);
        if order_of(known) < order_of(one) {
            *known = one;
        }
    }
    newest
}

/// The order of lines in time; by their objects where they were written at the same time.
fn order_of(one: &Journaled) -> (Instant, &str) {
    (one.line.at, one.key.as_str())
}

/// The children of an image index; none of anything else.
fn children_of(line: &Line) -> Vec<String> {
    line.image_manifest.as_deref().and_then(|text| deletion::children(text).ok()).unwrap_or_default()
}

/// What an artifact is about: its `subject`, and what its tags name.
fn subjects_of(line: &Line) -> Vec<String> {
    let of_manifest = line.image_manifest.as_deref().and_then(deletion::subject);
    let of_tags = line.image_tags.iter().filter_map(|tag| subject_of_tag(tag));
    of_manifest.into_iter().chain(of_tags.map(|hex| format!("sha256:{hex}"))).collect()
}

/// Whether a manifest is the one of a digest. ECR refuses any other, too.
fn is_digest_of(digest: &str, manifest: &str) -> bool {
    let hex: String = Sha256::digest(manifest).iter().map(|byte| format!("{byte:02x}")).collect();
    digest.strip_prefix("sha256:") == Some(&*hex)
}

/// The images in the order in which ECR accepts them: children before their indexes, subjects before their referrers. A tag says
/// whatever somebody pushed, so that tags can name images in a circle; manifests cannot, since a digest depends on what it names.
/// What is in such a circle is in the order of manifests alone.
fn in_order(images: &BTreeMap<String, Candidate>) -> Vec<String> {
    let by_all = |line: &Line| children_of(line).into_iter().chain(subjects_of(line)).collect();
    let by_manifests = |line: &Line| {
        let subject = line.image_manifest.as_deref().and_then(deletion::subject);
        children_of(line).into_iter().chain(subject).collect()
    };
    let mut ordered = Vec::with_capacity(images.len());
    order(images, by_all, &mut ordered);
    if ordered.len() < images.len() {
        order(images, by_manifests, &mut ordered);
    }
    let known: BTreeSet<&String> = ordered.iter().collect();
    // Lines that cannot be true: their manifests are not those of their digests.
    let others: Vec<String> = images.keys().filter(|digest| !known.contains(digest)).cloned().collect();
    ordered.extend(others);
    ordered
}

/// Adds the images that are not ordered yet, each after those that it comes after; without those that are in a circle, or after one.
fn order(
    images: &BTreeMap<String, Candidate>,
    after: impl Fn(&Line) -> Vec<String>,
    ordered: &mut Vec<String>,
) {
    let known: BTreeSet<String> = ordered.iter().cloned().collect();
    let mut waiting: BTreeMap<&str, usize> = BTreeMap::new();
    let mut followers: HashMap<String, Vec<&str>> = HashMap::new();
    for (digest, one) in images.iter().filter(|(digest, _)| !known.contains(*digest)) {
        let mut before: BTreeSet<String> = after(&one.journaled.line).into_iter().collect();
        before.retain(|other| images.contains_key(other) && !known.contains(other));
        waiting.insert(digest, before.len());
        for other in before {
            followers.entry(other).or_default().push(digest);
        }
    }
    let mut ready: BTreeSet<&str> =
        waiting.iter().filter(|(_, others)| **others == 0).map(|(digest, _)| *digest).collect();
    while !ready.is_empty() {
        let mut next = BTreeSet::new();
        for digest in ready {
            ordered.push(digest.to_owned());
            for follower in followers.remove(digest).unwrap_or_default() {
                if let Some(others) = waiting.get_mut(follower) {
                    *others = others.saturating_sub(1);
                    if *others == 0 {
                        next.insert(follower);
                    }
                }
            }
        }
        ready = next;
    }
}

/// What is done to restore the images of a repository, and what cannot be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestorePlan {
    /// The steps, in this order.
    pub steps: Vec<RestoreStep>,
    /// The digests of named images that the repository has as they were.
    pub unchanged: Vec<String>,
    /// What is not restored, as far as it is known before anything is done.
    pub failures: Vec<NotRestored>,
    /// The tags by which the request names images.
    pub requested_tags: RequestedTags,
}

/// One image to restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreStep {
    /// Its line of the journal.
    pub journaled: Journaled,
    /// What is done.
    pub action: RestoreAction,
    /// The children that the plan restores before it. ECR refuses an index without them.
    pub needs: Vec<String>,
    /// The image that it is about, if the plan restores that, too.
    pub subject: Option<String>,
    /// Why it cannot come back whatever ECR has.
    pub unrestorable: Option<NotRestorable>,
    /// Its layers that ECR says it does not have any more.
    pub missing_layers: Vec<String>,
}

/// What is done to an image to restore it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreAction {
    /// The repository does not have the image: its manifest is put back, and then these tags.
    Put {
        /// The tags.
        tags: Vec<String>,
    },
    /// The image is restored from the archive. It keeps its tags there; these are those that it lost.
    Activate {
        /// The tags.
        tags: Vec<String>,
    },
    /// The repository has the image without these tags.
    Tag {
        /// The tags.
        tags: Vec<String>,
    },
}

impl RestoreAction {
    /// The tags that the image gets.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        match self {
            Self::Put { tags } | Self::Activate { tags } | Self::Tag { tags } => tags,
        }
    }

    /// The outcome for the image when the action succeeds.
    #[must_use]
    pub const fn outcome(&self) -> RestoreOutcome {
        match self {
            Self::Put { .. } => RestoreOutcome::Restored,
            Self::Activate { .. } => RestoreOutcome::Activating,
            Self::Tag { .. } => RestoreOutcome::Tagged,
        }
    }
}

impl RestoreStep {
    /// The image's digest.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.journaled.line.image_digest
    }

    /// Why the image cannot come back, as far as that follows from the journal and from what did not come back before it.
    #[must_use]
    pub fn blocked_by(&self, failed: &BTreeSet<String>) -> Option<NotRestorable> {
        let child = self.needs.iter().find(|child| failed.contains(*child));
        let subject = self.subject.as_ref().filter(|subject| failed.contains(*subject));
        self.unrestorable.clone().or_else(|| match (child, subject) {
            (Some(child), _) => Some(NotRestorable::ChildNotRestored(child.clone())),
            (None, Some(subject)) => Some(NotRestorable::SubjectNotRestored(subject.clone())),
            (None, None) => None,
        })
    }

    /// Why ECR is expected to refuse the image, by what it says of the layers.
    #[must_use]
    pub fn expected_refusal(&self) -> Option<NotRestorable> {
        let layers = &self.missing_layers;
        (!layers.is_empty()).then(|| NotRestorable::LayersGone(layers.clone()))
    }

    /// The image as the repository has it after the step, pushed or activated at this time.
    #[must_use]
    pub fn image_after(&self, before: Option<&Image>, now: Instant) -> Image {
        let line = &self.journaled.line;
        let added = self.action.tags().iter().map(|tag| tag.as_str().into());
        match (before, &self.action) {
            (Some(image), action) => {
                let mut image = image.clone();
                image.tags = image.tags.iter().cloned().chain(added).collect();
                if matches!(action, RestoreAction::Activate { .. }) {
                    image.status = ImageStatus::Active;
                    image.last_activated_at = Some(now);
                }
                image
            }
            (None, _) => Image {
                digest: line.image_digest.as_str().into(),
                tags: added.collect(),
                pushed_at: now,
                last_pulled_at: None,
                last_archived_at: None,
                last_activated_at: None,
                size_in_bytes: line.image_size_in_bytes,
                status: ImageStatus::Active,
                kind: line
                    .image_manifest_media_type
                    .as_deref()
                    .map_or(ManifestKind::Unknown, ManifestKind::of_media_type),
            },
        }
    }
}

impl fmt::Display for RestoreStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = self.digest();
        let tags = self.action.tags().join(", ");
        match &self.action {
            RestoreAction::Put { tags: none } if none.is_empty() => write!(f, "put back {digest}"),
            RestoreAction::Put { .. } => write!(f, "put back {digest} ({tags})"),
            RestoreAction::Activate { tags: none } if none.is_empty() => {
                write!(f, "restore {digest} from the archive")
            }
            RestoreAction::Activate { .. } => write!(f, "restore {digest} from the archive ({tags})"),
            RestoreAction::Tag { .. } => write!(f, "tag {digest} again ({tags})"),
        }?;
        let line = &self.journaled.line;
        let done = if line.action.kind == ActionKind::Expire { "deleted" } else { "archived" };
        write!(f, ": {done} {} by {}", line.at, line.run_id)
    }
}

/// The outcome for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RestoreOutcome {
    /// The repository has it again.
    Restored,
    /// It is on its way out of the archive, which takes ECR up to 20 minutes.
    Activating,
    /// The repository had it, and it has its tags again.
    Tagged,
    /// The repository had it as it was.
    Unchanged,
}

/// An image, or a tag, that is not restored, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotRestored {
    /// The image; with a tag, that tag of it.
    pub image_id: Deleted,
    /// Why.
    pub reason: NotRestorable,
}

impl From<&NotRestored> for Refused {
    fn from(failure: &NotRestored) -> Self {
        Self {
            image_id: failure.image_id.clone(),
            failure_code: failure.reason.code().to_owned(),
            failure_reason: failure.reason.to_string(),
        }
    }
}

/// Why an image, or a tag, cannot come back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRestorable {
    /// No line of the journal is about it.
    #[error(
        "the journal has no such image, deleted or archived by this stack in the time that is asked for; ECR's own lifecycle policy and \
         others do not write there: CloudTrail has PolicyExecutionEvent and BatchDeleteImage"
    )]
    NotInJournal,
    /// No line of the journal is about an image that is in the archive.
    #[error(
        "it is in the archive, and the journal does not say that this stack put it there; `aws ecr update-image-storage-class \
         --target-storage-class STANDARD` takes it out"
    )]
    ArchivedByOthers,
    /// The line has no manifest.
    #[error(
        "ECR did not give its manifest when it was deleted, so that the journal does not have it; build it again"
    )]
    NoManifest,
    /// The line has the manifest of another image.
    #[error("the manifest in the journal is not the one of this digest, and is not used; build it again")]
    OtherManifest,
    /// A child of the image index is neither there nor in the journal.
    #[error("its child {0} is neither in the repository nor in the journal; look further back with `since`")]
    ChildNotInJournal(String),
    /// A child of the image index could not be restored.
    #[error("its child {0} does not come back, and ECR takes no index without its children")]
    ChildNotRestored(String),
    /// ECR lacks children of the image index, and only ECR knows which.
    #[error(
        "ECR does not have all of its children: {0}; ask again, which restores what was deleted meanwhile"
    )]
    UnnamedChildrenGone(String),
    /// What the referrer is about could not be restored.
    #[error("{0}, which it is about, does not come back")]
    SubjectNotRestored(String),
    /// ECR has deleted layers.
    #[error("ECR does not have {} any more: {}; build it again, or copy it from a replica", count(.0.len() as u64, "layer"), listed(.0))]
    LayersGone(Vec<String>),
    /// ECR has deleted layers, and does not say which.
    #[error("ECR does not have all of its layers any more: {0}; build it again, or copy it from a replica")]
    UnnamedLayersGone(String),
    /// The tag names another image now.
    #[error("the tag names {by} now, and is left there")]
    TagTaken {
        /// The image that has the tag.
        by: String,
    },
    /// ECR does not move the tag.
    #[error("the tag names another image by now, and ECR does not move it: {0}")]
    TagImmutable(String),
    /// The repository does not exist.
    #[error(
        "there is no repository of this name any more, and its layers went with it; create it and build the image again, or copy it from \
         a replica"
    )]
    RepositoryGone,
    /// The call failed.
    #[error("{0}")]
    CallFailed(String),
    /// It is not known whether the call had its effect.
    #[error("whether it was restored is not known: {0}; ask again, which changes nothing of what is there")]
    OutcomeUnknown(String),
    /// The image was not tried.
    #[error("it was not tried: {0}; the same request goes on with it")]
    NotAttempted(String),
}

impl NotRestorable {
    /// All codes.
    pub const CODES: [&'static str; 11] = [
        "NotInJournal",
        "ManifestNotInJournal",
        "ImageDigestDoesNotMatch",
        "ReferencedImagesNotFound",
        "SubjectNotRestored",
        "LayersNotFound",
        "ImageTagAlreadyExists",
        "RepositoryNotFound",
        "CallFailed",
        "OutcomeUnknown",
        "NotAttempted",
    ];

    /// The code of the failure, in the terms of ECR where it has one.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotInJournal | Self::ArchivedByOthers => "NotInJournal",
            Self::NoManifest => "ManifestNotInJournal",
            Self::OtherManifest => "ImageDigestDoesNotMatch",
            Self::ChildNotInJournal(_) | Self::ChildNotRestored(_) | Self::UnnamedChildrenGone(_) => {
                "ReferencedImagesNotFound"
            }
            Self::SubjectNotRestored(_) => "SubjectNotRestored",
            Self::LayersGone(_) | Self::UnnamedLayersGone(_) => "LayersNotFound",
            Self::TagTaken { .. } | Self::TagImmutable(_) => "ImageTagAlreadyExists",
            Self::RepositoryGone => "RepositoryNotFound",
            Self::CallFailed(_) => "CallFailed",
            Self::OutcomeUnknown(_) => "OutcomeUnknown",
            Self::NotAttempted(_) => "NotAttempted",
        }
    }

    /// Whether a replica can have what is missing here.
    #[must_use]
    pub const fn is_healed_by_replica(&self) -> bool {
        matches!(
            self,
            Self::NotInJournal
                | Self::NoManifest
                | Self::OtherManifest
                | Self::ChildNotInJournal(_)
                | Self::ChildNotRestored(_)
                | Self::UnnamedChildrenGone(_)
                | Self::LayersGone(_)
                | Self::UnnamedLayersGone(_)
                | Self::RepositoryGone
        )
    }
}

/// What somebody who restores images has to know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreWarning {
    /// The policy expires restored images again.
    #[error(
        "{policy} expires {} of these again as soon as it acts: {}; keep them before that, by `keep` of the policy in policies.yaml or by a \
         list of images in use",
        count(.images.len() as u64, "image"),
        listed(.images)
    )]
    ExpiresAgain {
        /// The policy, and where it is.
        policy: String,
        /// The images.
        images: Vec<String>,
    },
    /// Restored images count as new ones, so that others expire.
    #[error(
        "restored images are the newest of the repository: by {policy} {} instead, unless in use: {}",
        count_of(.images.len() as u64, "other image expires", "other images expire"),
        listed(.images)
    )]
    OthersExpire {
        /// The policy, and where it is.
        policy: String,
        /// The images.
        images: Vec<String>,
    },
    /// The effect of the policy is unknown.
    #[error("what the policy of the repository does with these images is not known: {0}")]
    PolicyUnknown(String),
    /// A part of the journal cannot be read.
    #[error(
        "{0}; what it says is left out: an image of it does not come back, and a tag that such an image lost last may be put on the one \
         that had it before"
    )]
    JournalUnreadable(String),
    /// It was not possible to ask for layers.
    #[error("whether ECR has the layers is not known before it is tried: {0}")]
    LayersUnknown(String),
    /// It was not possible to ask for replicas.
    #[error("whether the repository is replicated is not known: {0}")]
    ReplicasUnknown(String),
}

fn listed(names: &[String]) -> String {
    let named = names.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_NAMED) {
        0 => named,
        more => format!("{named}, and {more} more"),
    }
}

/// The policy by which images of a repository expire.
#[derive(Debug, Clone, Copy)]
pub enum ActingPolicy<'a> {
    /// One of the policies file.
    Entry(&'a Entry),
    /// The lifecycle policy that is attached to the repository, and that ECR enforces.
    Attached(&'a LifecyclePolicy),
}

impl ActingPolicy<'_> {
    /// The images that the policy deletes or archives where nothing is in use.
    fn expiring(&self, images: &RepositoryImages, now: Instant) -> BTreeSet<ImageIndex> {
        match self {
            Self::Entry(entry) => {
                let plan = plan(entry, images, &UsedImages::default(), now);
                plan.deletions.into_iter().chain(plan.archivals).collect()
            }
            Self::Attached(policy) => taken_by_ecr(policy, images, now).into_iter().collect(),
        }
    }

    fn named(&self) -> String {
        match self {
            Self::Entry(entry) => format!("the policy `{}` of policies.yaml", entry.name),
            Self::Attached(_) => "the lifecycle policy of the repository, which ECR enforces,".to_owned(),
        }
    }
}

/// The effect of a policy on a repository once images are restored: whether they expire again, and which images expire in their
/// place. Use is not looked at, so that less may go.
#[must_use]
pub fn effects(
    policy: ActingPolicy<'_>,
    before: &RepositoryImages,
    after: &RepositoryImages,
    restored: &BTreeSet<String>,
    now: Instant,
) -> Vec<RestoreWarning> {
    let expiring = |images: &RepositoryImages| -> BTreeMap<String, String> {
        let places = policy.expiring(images, now).into_iter();
        let images = places.filter_map(|place| images.images().get(place as usize));
        images.map(|image| (image.digest.to_string(), called(image))).collect()
    };
    let (expiring_before, expiring_after) = (expiring(before), expiring(after));
    let again: Vec<String> = expiring_after
        .iter()
        .filter(|(digest, _)| restored.contains(*digest))
        .map(|(_, name)| name.clone())
        .collect();
    let instead: Vec<String> = expiring_after
        .iter()
        .filter(|(digest, _)| !restored.contains(*digest) && !expiring_before.contains_key(*digest))
        .map(|(_, name)| name.clone())
        .collect();
    let mut warnings = Vec::new();
    if !again.is_empty() {
        warnings.push(RestoreWarning::ExpiresAgain { policy: policy.named(), images: again });
    }
    if !instead.is_empty() {
        warnings.push(RestoreWarning::OthersExpire { policy: policy.named(), images: instead });
    }
    warnings
}

fn called(image: &Image) -> String {
    match &*image.tags {
        [] => image.digest.to_string(),
        tags => format!("{} ({})", image.digest, tags.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::Relations;

    fn at(hour: u32) -> Instant {
        Instant::parse(&format!("2026-11-26T{hour:02}:00:00Z")).unwrap()
    }

    fn digest_of(manifest: &str) -> String {
        let hex: String = Sha256::digest(manifest).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    }

    fn image(name: &str) -> String {
        serde_json::json!({ "config": { "digest": digest_of(name) }, "layers": [] }).to_string()
    }

    fn index(children: &[&str]) -> String {
        let entries: Vec<_> =
            children.iter().map(|child| serde_json::json!({ "digest": digest_of(child) })).collect();
        serde_json::json!({ "manifests": entries }).to_string()
    }

    fn removed(run_id: &str, hour: u32, manifest: &str, tags: &[&str]) -> Journaled {
        let line = Line {
            run_id: run_id.to_owned(),
            at: at(hour),
            image_tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            image_manifest: Some(manifest.to_owned()),
            ..Line::example(digest_of(manifest), at(0))
        };
        Journaled { key: format!("journal/{run_id}"), line }
    }

    fn present(manifest: &str, tags: &[&str]) -> Image {
        let step = RestoreStep {
            journaled: removed("r", 1, manifest, &[]),
            action: RestoreAction::Put { tags: tags.iter().map(|&tag| tag.to_owned()).collect() },
            needs: Vec::new(),
            subject: None,
            unrestorable: None,
            missing_layers: Vec::new(),
        };
        step.image_after(None, at(0))
    }

    fn by_tag(tag: &str) -> Selection {
        Selection { image_ids: vec![ImageId::Tag(tag.to_owned())], ..Selection::default() }
    }

    fn planned(journal: &[Journaled], selection: &Selection, there: &[Image]) -> RestorePlan {
        Candidates::select(journal, selection).plan(there, &BTreeSet::new())
    }

    #[test]
    fn a_tag_names_the_image_that_lost_it_last() {
        let (old, new) = (image("old"), image("new"));
        let journal = [removed("r1", 1, &old, &["latest", "v1"]), removed("r2", 2, &new, &["latest"])];
        let plan = planned(&journal, &by_tag("latest"), &[]);
        assert_eq!(plan.steps.iter().map(RestoreStep::digest).collect::<Vec<_>>(), [digest_of(&new)]);
        // Both of them: the tag is put once, on the newer one.
        let all = Selection { since: Some(at(0)), ..Selection::default() };
        let plan = planned(&journal, &all, &[]);
        let tags: BTreeMap<&str, &[String]> =
            plan.steps.iter().map(|step| (step.digest(), step.action.tags())).collect();
        assert_eq!(tags[&*digest_of(&old)], ["v1"]);
        assert_eq!(tags[&*digest_of(&new)], ["latest"]);
        assert_eq!(plan.failures[0].reason, NotRestorable::TagTaken { by: digest_of(&new) });
    }

    #[test]
    fn what_a_run_took_comes_back_as_the_run_took_it() {
        let (one, two) = (image("one"), image("two"));
        let journal = [
            removed("first", 1, &one, &["v1"]),
            removed("second", 2, &one, &["v2"]),
            removed("second", 2, &two, &[]),
        ];
        let of_run = |run_id: &str| Selection { run_id: Some(run_id.to_owned()), ..Selection::default() };
        let plan = planned(&journal, &of_run("first"), &[]);
        assert_eq!(plan.steps.len(), 1);
        assert_eq!(plan.steps[0].action, RestoreAction::Put { tags: vec!["v1".to_owned()] });
        assert_eq!(planned(&journal, &of_run("second"), &[]).steps.len(), 2);
        let since = Selection { since: Some(at(2)), ..by_tag("v1") };
        assert_eq!(planned(&journal, &since, &[]).failures[0].reason, NotRestorable::NotInJournal);
    }

    #[test]
    fn children_come_before_their_index_and_what_is_there_is_left_alone() {
        let (amd64, arm64) = (image("amd64"), image("arm64"));
        let both = index(&[&amd64, &arm64]);
        let signature = serde_json::json!({ "subject": { "digest": digest_of(&both) } }).to_string();
        let journal = [
            removed("r", 1, &signature, &[]),
            removed("r", 1, &both, &["v1"]),
            removed("r", 1, &amd64, &[]),
            removed("r", 1, &arm64, &[]),
        ];
        let plan = planned(&journal, &by_tag("v1"), &[]);
        let order: Vec<String> = plan.steps.iter().map(|step| step.digest().to_owned()).collect();
        assert_eq!(order[2..], [digest_of(&both), digest_of(&signature)]);
        let plan = planned(&journal, &by_tag("v1"), &[present(&amd64, &[]), present(&both, &["v1"])]);
        assert_eq!(plan.unchanged, [digest_of(&both)]);
        let order: Vec<String> = plan.steps.iter().map(|step| step.digest().to_owned()).collect();
        assert_eq!(order, [digest_of(&arm64), digest_of(&signature)]);
        // What failed keeps back what needs it, and nothing else.
        let plan = planned(&journal, &by_tag("v1"), &[]);
        let failed = [digest_of(&arm64)].into();
        let blocked: Vec<bool> = plan.steps.iter().map(|step| step.blocked_by(&failed).is_some()).collect();
        assert_eq!(blocked, [false, false, true, false]);
    }

    #[test]
    fn tags_that_name_images_in_a_circle_do_not_keep_an_index_from_its_children() {
        let (amd64, arm64) = (image("amd64"), image("arm64"));
        let both = index(&[&amd64, &arm64]);
        // Whoever may push may give a child such a tag.
        let about_index = format!("sha256-{}", &digest_of(&both)["sha256:".len()..]);
        let mut journal = vec![
            removed("r", 1, &both, &["v1"]),
            removed("r", 1, &amd64, &[&about_index]),
            removed("r", 1, &arm64, &[&about_index]),
        ];
        let place = |plan: &RestorePlan, manifest: &str| {
            plan.steps.iter().position(|step| step.digest() == digest_of(manifest)).unwrap()
        };
        let plan = planned(&journal, &by_tag("v1"), &[]);
        assert!(place(&plan, &both) > place(&plan, &amd64) && place(&plan, &both) > place(&plan, &arm64));
        // A circle of many is ordered as quickly as anything else.
        let circle: Vec<String> = (0..4000).map(|number| image(&number.to_string())).collect();
        for (place, manifest) in circle.iter().enumerate() {
            let next = digest_of(&circle[(place + 1) % circle.len()]).replace(':', "-");
            journal.push(removed("r", 1, manifest, &[&next]));
        }
        let all = Selection { since: Some(at(0)), ..Selection::default() };
        let started = std::time::Instant::now();
        assert_eq!(planned(&journal, &all, &[]).steps.len(), journal.len());
        assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    }

    #[test]
    fn a_manifest_is_found_where_another_line_of_the_image_has_it() {
        let one = image("one");
        let without = Journaled {
            line: Line { image_manifest: None, ..removed("r2", 2, &one, &["v2"]).line },
            key: "journal/r2".to_owned(),
        };
        let damaged = Journaled {
            line: Line { image_manifest: Some("{}".to_owned()), ..removed("r3", 3, &one, &["v3"]).line },
            key: "journal/r3".to_owned(),
        };
        let journal = [removed("r1", 1, &one, &["v1"]), without, damaged];
        for (tag, run_id) in [("v3", "r3"), ("v2", "r2")] {
            let of_run = Selection { run_id: Some(run_id.to_owned()), ..by_tag(tag) };
            let step = planned(&journal, &of_run, &[]).steps.remove(0);
            assert_eq!(
                (&step.unrestorable, step.journaled.line.image_manifest.as_ref()),
                (&None, Some(&one))
            );
            assert_eq!((&*step.journaled.key, step.action.tags()), ("journal/r1", &[tag.to_owned()][..]));
        }
    }

    #[test]
    fn what_is_there_is_not_missing_because_the_journal_does_not_have_it() {
        let (here, archived) = (image("here"), image("archived"));
        let there =
            [present(&here, &["v1"]), Image { status: ImageStatus::Archived, ..present(&archived, &["v2"]) }];
        let ids =
            [ImageId::Tag("v1".to_owned()), ImageId::Tag("v2".to_owned()), ImageId::Tag("v3".to_owned())];
        let plan = planned(&[], &Selection { image_ids: ids.to_vec(), ..Selection::default() }, &there);
        assert_eq!(plan.unchanged, [digest_of(&here)]);
        let [first, second] = &plan.failures[..] else { panic!("{plan:?}") };
        let reasons = [&first.reason, &second.reason];
        assert_eq!(reasons, [&NotRestorable::ArchivedByOthers, &NotRestorable::NotInJournal]);
        // To copy it from a replica would move its tag.
        assert_eq!(reasons.map(NotRestorable::is_healed_by_replica), [false, true]);
    }

    #[test]
    fn lines_that_cannot_be_true_end_nevertheless() {
        let mut journal = [removed("r", 1, "{}", &[]), removed("r", 1, "[]", &[])];
        let other = journal[1].line.image_digest.clone();
        let list = |digest: &str| Some(format!(r#"{{"manifests": [{{"digest": "{digest}"}}]}}"#));
        journal[1].line.image_manifest = list(&journal[0].line.image_digest);
        journal[0].line.image_manifest = list(&other);
        let plan = planned(&journal, &Selection { since: Some(at(0)), ..Selection::default() }, &[]);
        assert_eq!(plan.steps.len(), 2);
        assert!(plan.steps.iter().all(|step| step.unrestorable == Some(NotRestorable::OtherManifest)));
    }

    #[test]
    fn an_archived_image_keeps_its_tags_and_is_only_restored_from_the_archive() {
        let one = image("one");
        let archived = Image { status: ImageStatus::Archived, ..present(&one, &["v1"]) };
        let plan = planned(&[removed("r", 1, &one, &["v1"])], &by_tag("v1"), &[archived]);
        assert_eq!(plan.steps[0].action, RestoreAction::Activate { tags: Vec::new() });
    }

    #[test]
    fn restored_images_are_the_newest_so_that_a_count_expires_others() {
        let policy = LifecyclePolicy::parse(
            r#"{"rules":[{"rulePriority":1,"selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":1},
                "action":{"type":"expire"}}]}"#,
        );
        let policy = policy.unwrap();
        let (kept, back) = (present(&image("kept"), &["v2"]), image("back"));
        let step = planned(&[removed("r", 1, &back, &["v1"])], &by_tag("v1"), &[]).steps.remove(0);
        let before = RepositoryImages::new(vec![kept.clone()], &Relations::default());
        let after = RepositoryImages::new(vec![kept, step.image_after(None, at(2))], &Relations::default());
        let restored = [digest_of(&back)].into();
        let warnings = effects(ActingPolicy::Attached(&policy), &before, &after, &restored, at(3));
        let [RestoreWarning::OthersExpire { images, .. }] = &warnings[..] else { panic!("{warnings:?}") };
        assert!(images[0].ends_with(" (v2)"), "{images:?}");
    }
}
