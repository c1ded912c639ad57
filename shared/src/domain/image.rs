//! The images of one repository and how they relate, packed for evaluation.
//!
//! Knows nothing of policies, files or AWS. [`listing`] reads the images from what AWS prints.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::domain::enforcement::in_use_protection::OWN_TAGS;
use crate::domain::text::instant::Instant;

pub mod deletion;
pub mod layers;
pub mod listing;
pub mod name;
pub mod reference;

/// The media types of manifests and indexes that ECR stores, OCI's and Docker's.
pub const MANIFEST_TYPES: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// Maximum number of subjects followed from one artifact to the next. Longer chains do not occur.
const MAX_SUBJECT_DEPTH: u16 = 32;

/// The digest, without `sha256:`, of the subject that a referrer tag names: `sha256-<64 lowercase hexadecimal digits>`, alone
/// (the fallback tag of OCI's referrers, SOCI) or with a suffix such as `.sig`, `.att` or `.sbom` (cosign).
#[must_use]
pub fn subject_of_tag(tag: &str) -> Option<&str> {
    let (hex, suffix) = tag.strip_prefix("sha256-")?.split_at_checked(64)?;
    let is_hex = hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    (is_hex && (suffix.is_empty() || suffix.starts_with('.'))).then_some(hex)
}

/// `imageStatus`: whether an image is active, archived or between the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub enum ImageStatus {
    /// In the standard storage class.
    #[default]
    Active,
    /// In the archive.
    Archived,
    /// On its way back from the archive; no rule acts on it.
    Activating,
    /// A status this program does not know; no rule acts on it.
    Unknown,
}

impl ImageStatus {
    /// The status of this name; what ECR does not say is active.
    #[must_use]
    pub fn of_name(name: Option<&str>) -> Self {
        match name {
            None | Some("ACTIVE") => Self::Active,
            Some("ARCHIVED") => Self::Archived,
            Some("ACTIVATING") => Self::Activating,
            Some(_) => Self::Unknown,
        }
    }

    /// The name that ECR gives it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Archived => "ARCHIVED",
            Self::Activating => "ACTIVATING",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// The kind of manifest that a digest names, from `imageManifestMediaType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub enum ManifestKind {
    /// The media type is unknown.
    #[default]
    Unknown,
    /// A manifest of another media type, such as those of Docker before 2016.
    Other,
    /// A single image or another artifact.
    Manifest,
    /// The same with Docker's media type.
    DockerManifest,
    /// An image index (OCI image index), which references other manifests.
    Index,
    /// The same with Docker's media type, which calls it a manifest list.
    DockerIndex,
}

impl ManifestKind {
    /// The kind of manifest of a media type.
    #[must_use]
    pub fn of_media_type(media_type: &str) -> Self {
        let [manifest, index, docker_manifest, docker_index] = MANIFEST_TYPES;
        match media_type {
            _ if media_type == docker_manifest => Self::DockerManifest,
            _ if media_type == manifest => Self::Manifest,
            _ if media_type == index => Self::Index,
            _ if media_type == docker_index => Self::DockerIndex,
            _ => Self::Other,
        }
    }

    /// The media type, where the kind has one.
    #[must_use]
    pub const fn media_type(self) -> Option<&'static str> {
        let [manifest, index, docker_manifest, docker_index] = MANIFEST_TYPES;
        match self {
            Self::Unknown | Self::Other => None,
            Self::Manifest => Some(manifest),
            Self::DockerManifest => Some(docker_manifest),
            Self::Index => Some(index),
            Self::DockerIndex => Some(docker_index),
        }
    }

    /// Whether it is an image index, which references other manifests.
    #[must_use]
    pub const fn is_index(self) -> bool {
        matches!(self, Self::Index | Self::DockerIndex)
    }
}

/// One image, as `DescribeImages` returns it. The fields are ECR's `ImageDetail`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `imageDigest`.
    pub digest: Box<str>,
    /// `imageTags`; none for an untagged image.
    pub tags: Box<[Box<str>]>,
    /// `imagePushedAt`.
    pub pushed_at: Instant,
    /// `lastRecordedPullTime`; `None` for an image that was never pulled.
    pub last_pulled_at: Option<Instant>,
    /// `lastArchivedAt`; `None` for an image that was never archived.
    pub last_archived_at: Option<Instant>,
    /// `lastActivatedAt`; `None` for an image that was never restored from the archive.
    pub last_activated_at: Option<Instant>,
    /// `imageSizeInBytes`: the compressed size of the image's layers; zero if unknown. The size of an index does not include its
    /// children. Images share layers, so that sums are an upper bound of what deletion frees.
    pub size_in_bytes: u64,
    /// `imageStatus`.
    pub status: ImageStatus,
    /// The kind of `imageManifestMediaType`.
    pub kind: ManifestKind,
}

impl Image {
    /// The time by which ECR ages and ranks the image: when it was pushed, or last restored from the archive.
    #[must_use]
    pub fn age_time(&self) -> Instant {
        self.last_activated_at.unwrap_or(self.pushed_at)
    }

    /// The time that `sinceImagePulled` compares: the last recorded pull; without one the [age time](Self::age_time); for an
    /// image that was restored from the archive and not pulled since, the time of its restoration.
    #[must_use]
    pub fn pull_time(&self) -> Instant {
        match (self.last_pulled_at, self.last_activated_at) {
            (Some(pulled), Some(activated)) => pulled.max(activated),
            (Some(pulled), None) => pulled,
            (None, _) => self.age_time(),
        }
    }

    /// Merges another listing of the same digest. The result does not depend on the order of the two.
    fn merge(&mut self, other: Self) {
        let mut tags = std::mem::take(&mut self.tags).into_vec();
        tags.extend(other.tags);
        tags.sort_unstable();
        tags.dedup();
        self.tags = tags.into_boxed_slice();
        self.pushed_at = self.pushed_at.max(other.pushed_at);
        self.last_pulled_at = self.last_pulled_at.max(other.last_pulled_at);
        self.last_archived_at = self.last_archived_at.max(other.last_archived_at);
        self.last_activated_at = self.last_activated_at.max(other.last_activated_at);
        self.size_in_bytes = self.size_in_bytes.max(other.size_in_bytes);
        self.status = self.status.max(other.status);
        self.kind = self.kind.max(other.kind);
    }
}

/// Relations between images, by digest: the children of image indexes, and the subjects of referrers.
///
/// Digests may belong to images outside of the repository. Those are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relations {
    children: HashMap<Box<str>, Vec<Box<str>>>,
    subjects: HashMap<Box<str>, Box<str>>,
}

impl Relations {
    /// Records the children of an image index. Image indexes are immutable, so that the first record counts.
    pub fn index(&mut self, index: &str, children: impl IntoIterator<Item = impl Into<Box<str>>>) {
        self.children.entry(index.into()).or_insert_with(|| children.into_iter().map(Into::into).collect());
    }

    /// Records the subject of a referrer (a signature, an SBOM, an attestation): its `subjectManifestDigest`.
    pub fn refer(&mut self, referrer: &str, subject: &str) {
        self.subjects.entry(referrer.into()).or_insert_with(|| subject.into());
    }

    /// Adds other relations.
    pub fn extend(&mut self, other: Self) {
        for (index, children) in other.children {
            self.children.entry(index).or_insert(children);
        }
        for (referrer, subject) in other.subjects {
            self.subjects.entry(referrer).or_insert(subject);
        }
    }

    /// Whether there are no relations.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.children.is_empty() && self.subjects.is_empty()
    }

    /// The image indexes that were read, and what each references; in no order.
    pub fn indexes(&self) -> impl Iterator<Item = (&str, &[Box<str>])> {
        self.children.iter().map(|(index, children)| (&**index, children.as_slice()))
    }

    /// The digests that the image index references; `None` when its manifest was not read.
    #[must_use]
    pub fn children_of(&self, index: &str) -> Option<&[Box<str>]> {
        self.children.get(index).map(Vec::as_slice)
    }

    /// The digest of the referrer's subject.
    #[must_use]
    pub fn subject_of(&self, referrer: &str) -> Option<&str> {
        self.subjects.get(referrer).map(AsRef::as_ref)
    }
}

/// The place of an image in [`RepositoryImages::images`].
pub type ImageIndex = u32;

/// All images of one repository, each digest once, with the relations among them.
#[derive(Debug, Clone, Default)]
pub struct RepositoryImages {
    /// Shared between the views of one repository.
    images: Arc<Vec<Image>>,
    /// (child, image index) in ascending order.
    parents: Vec<(ImageIndex, ImageIndex)>,
    /// (referrer, subject) in ascending order.
    subjects: Vec<(ImageIndex, ImageIndex)>,
    /// (artifact, subject by a tag of the artifact) in ascending order.
    tag_subjects: Vec<(ImageIndex, ImageIndex)>,
    /// Image indexes whose children are not known.
    unread_indexes: Vec<ImageIndex>,
    /// Untagged images that were listed by image indexes, all of which are deleted, in ascending order.
    orphans: Vec<ImageIndex>,
    /// Images that were listed with different push times, in ascending order.
    push_times_differ: Vec<ImageIndex>,
}

impl RepositoryImages {
    /// Packs the images of a repository. An image listed more than once (pages that overlap because something was
    /// pushed meanwhile) becomes one image with all its tags.
    #[must_use]
    pub fn new(listed: Vec<Image>, relations: &Relations) -> Self {
        let (images, push_times_differ) = merge_duplicates(listed);
        let referrer_tags: Vec<(ImageIndex, String)> = (0..)
            .zip(&images)
            .flat_map(|(at, image)| image.tags.iter().map(move |tag| (at, tag)))
            .filter_map(|(at, tag)| Some((at, format!("sha256:{}", subject_of_tag(tag)?))))
            .collect();
        let places: HashMap<&str, ImageIndex> = if relations.is_empty() && referrer_tags.is_empty() {
            HashMap::new()
        } else {
            images.iter().map(|image| &*image.digest).zip(0..).collect()
        };
        let mut parents = Vec::new();
        let mut subjects = Vec::new();
        let mut unread_indexes = Vec::new();
        for (at, image) in (0..).zip(&images) {
            match relations.children_of(&image.digest) {
                Some(children) => parents.extend(
                    children
                        .iter()
                        .filter_map(|child| places.get(&**child).copied())
                        .filter(|child| *child != at)
                        .map(|child| (child, at)),
                ),
                None if image.kind.is_index() => unread_indexes.push(at),
                None => {}
            }
            if let Some(subject) = relations.subject_of(&image.digest)
                && let Some(&subject) = places.get(subject)
                && subject != at
            {
                subjects.push((at, subject));
            }
        }
        parents.sort_unstable();
        parents.dedup();
        let mut tag_subjects: Vec<(ImageIndex, ImageIndex)> = referrer_tags
            .iter()
            .filter_map(|(at, digest)| Some((*at, places.get(digest.as_str()).copied()?)))
            // An index that lists the image holds it already; each would wait for the other to go.
            .filter(|&(at, subject)| at != subject && parents.binary_search(&(subject, at)).is_err())
            .collect();
        tag_subjects.sort_unstable();
        tag_subjects.dedup();
        let mut orphans: Vec<ImageIndex> = relations
            .children
            .iter()
            .filter(|(index, _)| !places.contains_key(&***index))
            .flat_map(|(_, children)| children)
            .filter_map(|child| places.get(&**child).copied())
            .filter(|&child| !is_first(&parents, child))
            .filter(|&child| images.get(child as usize).is_some_and(|image| image.tags.is_empty()))
            .collect();
        orphans.sort_unstable();
        orphans.dedup();
        Self {
            images: Arc::new(images),
            parents,
            subjects,
            tag_subjects,
            unread_indexes,
            orphans,
            push_times_differ,
        }
    }

    /// The same images with subjects by tag: an artifact without an OCI subject, all of whose tags name the same image, counts as
    /// its referrer. ECR treats such artifacts as ordinary images. Plans of this project delete them together with their subject,
    /// and keep them as long as it exists.
    #[must_use]
    pub fn with_tag_referrers(&self) -> Self {
        let mut view = self.clone();
        let tied = self.tag_referrers().filter_map(|pairs| match pairs {
            [pair] => Some(*pair),
            _ => None,
        });
        view.subjects.extend(tied);
        view.subjects.sort_unstable();
        view
    }

    /// Artifacts that are tied by their tags to several images that are here, and to how many.
    pub fn referrers_of_several(&self) -> impl Iterator<Item = (ImageIndex, usize)> + '_ {
        self.tag_referrers().filter_map(|pairs| match pairs {
            [(referrer, _), _, ..] => Some((*referrer, pairs.len())),
            _ => None,
        })
    }

    /// The pairs of referrer and subject for artifacts that name their subject by tags alone.
    fn tag_referrers(&self) -> impl Iterator<Item = &[(ImageIndex, ImageIndex)]> + '_ {
        self.tag_subjects.chunk_by(|one, two| one.0 == two.0).filter(|pairs| {
            pairs.first().is_some_and(|&(at, _)| !is_first(&self.subjects, at) && self.is_tag_referrer(at))
        })
    }

    /// The same images in the same order, without the tags that `is_left_out` selects.
    #[must_use]
    pub fn without_tags(&self, is_left_out: impl Fn(&str) -> bool) -> Cow<'_, Self> {
        if !self.images.iter().any(|image| image.tags.iter().any(|tag| is_left_out(tag))) {
            return Cow::Borrowed(self);
        }
        let mut view = self.clone();
        for image in Arc::make_mut(&mut view.images) {
            if image.tags.iter().any(|tag| is_left_out(tag)) {
                image.tags = image.tags.iter().filter(|tag| !is_left_out(tag)).cloned().collect();
            }
        }
        Cow::Owned(view)
    }

    /// The same images in the same order, with additional tags.
    #[must_use]
    pub fn with_tags(&self, added: &[(ImageIndex, String)]) -> Cow<'_, Self> {
        if added.is_empty() {
            return Cow::Borrowed(self);
        }
        let mut view = self.clone();
        let images = Arc::make_mut(&mut view.images);
        for (place, tag) in added {
            if let Some(image) = images.get_mut(*place as usize) {
                image.tags = image.tags.iter().cloned().chain([tag.as_str().into()]).collect();
            }
        }
        Cow::Owned(view)
    }

    /// The images, in the order in which they were listed first.
    #[must_use]
    pub fn images(&self) -> &[Image] {
        self.images.as_slice()
    }

    /// (child, image index) for every reference from an image index to an image of this repository.
    #[must_use]
    pub fn parents(&self) -> &[(ImageIndex, ImageIndex)] {
        &self.parents
    }

    /// (referrer, subject) for every artifact whose subject is another image of this repository.
    #[must_use]
    pub fn subjects(&self) -> &[(ImageIndex, ImageIndex)] {
        &self.subjects
    }

    /// The image indexes that list an image.
    pub fn lists_of(&self, child: ImageIndex) -> impl Iterator<Item = ImageIndex> + '_ {
        seconds(&self.parents, child)
    }

    /// The images whose deletion also deletes this one: the image indexes that list it, and its subjects, by manifest or by tag.
    pub fn holders_of(&self, part: ImageIndex) -> impl Iterator<Item = ImageIndex> + '_ {
        self.lists_of(part).chain(self.subjects_of(part))
    }

    /// The subjects of a referrer, by manifest or by tag. One may occur twice.
    fn subjects_of(&self, referrer: ImageIndex) -> impl Iterator<Item = ImageIndex> + '_ {
        seconds(&self.subjects, referrer).chain(seconds(&self.tag_subjects, referrer))
    }

    /// Whether the image is a referrer of another image in the repository: by its manifest, or by all of its tags.
    #[must_use]
    pub fn is_referrer(&self, place: ImageIndex) -> bool {
        is_first(&self.subjects, place) || self.is_tag_referrer(place)
    }

    /// Whether the image is a part of another image in the repository: a child of an image index, or a referrer.
    #[must_use]
    pub fn is_part(&self, place: ImageIndex) -> bool {
        is_first(&self.parents, place) || self.is_referrer(place)
    }

    /// Whether the image is left over from an image index: it is untagged, and every index that listed it is deleted. Limits
    /// counted the index when that was deleted.
    #[must_use]
    pub fn is_orphan(&self, place: ImageIndex) -> bool {
        self.orphans.binary_search(&place).is_ok()
    }

    /// Whether the image is independent: no [part](Self::is_part) of another one, and no [orphan](Self::is_orphan).
    #[must_use]
    pub fn stands_alone(&self, place: ImageIndex) -> bool {
        !self.is_part(place) && !self.is_orphan(place)
    }

    /// Whether every tag of the image, apart from protection tags, names a subject in the repository.
    fn is_tag_referrer(&self, place: ImageIndex) -> bool {
        if !is_first(&self.tag_subjects, place) {
            return false;
        }
        let digest = |subject: ImageIndex| self.images.get(subject as usize).map(|image| &*image.digest);
        let is_about_another = |hex: &str| {
            let mut subjects = seconds(&self.tag_subjects, place).filter_map(digest);
            subjects.any(|digest| digest.strip_prefix("sha256:") == Some(hex))
        };
        let Some(image) = self.images.get(place as usize) else { return false };
        image
            .tags
            .iter()
            .filter(|tag| !tag.starts_with(OWN_TAGS))
            .all(|tag| subject_of_tag(tag).is_some_and(is_about_another))
    }

    /// The length of the chain of subjects: 0 for an ordinary image, 1 for its signature, 2 for the signature of that.
    #[must_use]
    pub fn referrer_depth(&self, place: ImageIndex) -> u16 {
        let mut at = place;
        let mut depth = 0;
        while depth < MAX_SUBJECT_DEPTH
            && self.is_referrer(at)
            && let Some(subject) = self.subjects_of(at).next()
        {
            at = subject;
            depth += 1;
        }
        depth
    }

    /// The number of images that can be pulled and are independent: active, and [alone](Self::stands_alone).
    #[must_use]
    pub fn pullable(&self) -> u64 {
        (0..)
            .zip(self.images())
            .filter(|(place, image)| is_active(image) && self.stands_alone(*place))
            .count() as u64
    }

    /// Adds everything that belongs to the given images, with the reason for each. First the image indexes that list them and
    /// their subjects, upwards to the end. Then the children and referrers of all those, downwards to the end. Last, the subjects
    /// of what was added, since a referrer is deleted with its subject.
    ///
    /// The reason of an added image is a sentence without its beginning: "its child sha256:… is kept", where `how` is "is kept".
    #[must_use]
    pub fn closure(&self, mut held: HashMap<ImageIndex, String>, how: &str) -> HashMap<ImageIndex, String> {
        let mut below: Vec<(ImageIndex, ImageIndex, &'static str)> = Vec::new();
        below.extend(self.parents.iter().map(|&(child, index)| (index, child, "image index")));
        let about = self.subjects.iter().chain(&self.tag_subjects);
        below.extend(about.map(|&(referrer, subject)| (subject, referrer, "subject")));
        if held.is_empty() || below.is_empty() {
            return held;
        }
        below.sort_unstable();
        let subjects = |place| self.subjects_of(place).map(|subject| (subject, "referrer"));
        let up = |place| self.lists_of(place).map(|index| (index, "child")).chain(subjects(place));
        let down = |place| {
            let from = below.partition_point(|(holder, ..)| *holder < place);
            let parts = below.iter().skip(from).take_while(move |(holder, ..)| *holder == place);
            parts.map(|(_, part, relation)| (*part, *relation))
        };
        self.spread(&mut held, how, up);
        self.spread(&mut held, how, down);
        self.spread(&mut held, how, subjects);
        held
    }

    /// Adds what `next` leads to from the given images, each with its relation to the image that it was reached from.
    fn spread<I: Iterator<Item = (ImageIndex, &'static str)>>(
        &self,
        held: &mut HashMap<ImageIndex, String>,
        how: &str,
        next: impl Fn(ImageIndex) -> I,
    ) {
        let mut open: Vec<ImageIndex> = held.keys().copied().collect();
        open.sort_unstable();
        let mut at = 0;
        while let Some(&from) = open.get(at) {
            at += 1;
            for (to, relation) in next(from) {
                if let Entry::Vacant(entry) = held.entry(to) {
                    let digest = self.images.get(from as usize).map_or("", |image| &image.digest);
                    entry.insert(format!("its {relation} {digest} {how}"));
                    open.push(to);
                }
            }
        }
    }

    /// Images that were listed with different push times, as listings of one repository from two Regions are. The later time
    /// counts, so that less expires.
    #[must_use]
    pub fn push_times_differ(&self) -> &[ImageIndex] {
        &self.push_times_differ
    }

    /// Image indexes whose children are unknown, because only `DescribeImages` was read. Their children are treated as ordinary
    /// images.
    #[must_use]
    pub fn unread_indexes(&self) -> &[ImageIndex] {
        &self.unread_indexes
    }
}

const fn is_active(image: &Image) -> bool {
    matches!(image.status, ImageStatus::Active)
}

/// Whether a pair has this first element. The pairs are in ascending order.
fn is_first(pairs: &[(ImageIndex, ImageIndex)], first: ImageIndex) -> bool {
    pairs.binary_search_by_key(&first, |pair| pair.0).is_ok()
}

/// The second elements of the pairs with this first element. The pairs are in ascending order.
fn seconds(pairs: &[(ImageIndex, ImageIndex)], first: ImageIndex) -> impl Iterator<Item = ImageIndex> + '_ {
    let from = pairs.partition_point(|(other, _)| *other < first);
    pairs.iter().skip(from).take_while(move |(other, _)| *other == first).map(|(_, second)| *second)
}

/// Whether two images may have the same digest: whether the first sixteen digits of two are the same. Comparing those in order takes
/// a fraction of remembering all digests.
fn may_repeat(listed: &[Image]) -> bool {
    let beginning = |image: &Image| {
        let digits = image.digest.strip_prefix("sha256:").unwrap_or(&image.digest).as_bytes();
        let mut beginning = [0; 16];
        beginning.iter_mut().zip(digits).for_each(|(byte, digit)| *byte = *digit);
        u128::from_be_bytes(beginning)
    };
    let mut beginnings: Vec<u128> = listed.iter().map(beginning).collect();
    beginnings.sort_unstable();
    beginnings.windows(2).any(|pair| matches!(pair, [one, two] if one == two))
}

/// Every digest once, in the order of first occurrence, and the places of those that have different push times.
fn merge_duplicates(listed: Vec<Image>) -> (Vec<Image>, Vec<ImageIndex>) {
    if !may_repeat(&listed) {
        return (listed, Vec::new());
    }
    let distinct: HashSet<&str> = listed.iter().map(|image| &*image.digest).collect();
    if distinct.len() == listed.len() {
        return (listed, Vec::new());
    }
    let mut differing = Vec::new();
    let mut images: Vec<Image> = Vec::with_capacity(distinct.len());
    let mut places: HashMap<Box<str>, usize> = HashMap::with_capacity(distinct.len());
    drop(distinct);
    for image in listed {
        match places.entry(image.digest.clone()) {
            Entry::Occupied(place) => {
                if let Some(known) = images.get_mut(*place.get()) {
                    if known.pushed_at != image.pushed_at {
                        differing.extend(ImageIndex::try_from(*place.get()));
                    }
                    known.merge(image);
                }
            }
            Entry::Vacant(place) => {
                place.insert(images.len());
                images.push(image);
            }
        }
    }
    differing.sort_unstable();
    differing.dedup();
    (images, differing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(digest: &str, tags: &[&str]) -> Image {
        Image {
            digest: digest.into(),
            tags: tags.iter().map(|tag| (*tag).into()).collect(),
            pushed_at: Instant::parse("2026-01-01T00:00:00Z").unwrap(),
            last_pulled_at: None,
            last_archived_at: None,
            last_activated_at: None,
            size_in_bytes: 1,
            status: ImageStatus::Active,
            kind: ManifestKind::Manifest,
        }
    }

    #[test]
    fn an_image_listed_twice_is_one_image_with_all_its_tags() {
        let forth = vec![image("sha256:a", &["x"]), image("sha256:b", &[]), image("sha256:a", &["y", "x"])];
        let mut back = forth.clone();
        back.reverse();
        for listed in [forth, back] {
            let images = RepositoryImages::new(listed, &Relations::default());
            assert_eq!(images.images().len(), 2);
            let a = images.images().iter().find(|image| &*image.digest == "sha256:a").unwrap();
            assert_eq!(a.tags.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["x", "y"]);
        }
    }

    #[test]
    fn relations_to_images_elsewhere_and_to_oneself_are_left_out() {
        let mut relations = Relations::default();
        relations.index("sha256:i", ["sha256:i", "sha256:a", "sha256:gone", "sha256:a"]);
        relations.refer("sha256:a", "sha256:a");
        relations.refer("sha256:i", "sha256:gone");
        let images = RepositoryImages::new(vec![image("sha256:a", &[]), image("sha256:i", &[])], &relations);
        assert_eq!(images.parents(), [(0, 1)]);
        assert_eq!(images.subjects(), []);
    }

    #[test]
    fn what_an_index_left_behind_stands_for_nothing_unless_it_has_a_name() {
        let mut relations = Relations::default();
        relations.index("sha256:gone", ["sha256:a", "sha256:b", "sha256:c"]);
        relations.index("sha256:here", ["sha256:c"]);
        let listed = vec![
            image("sha256:a", &[]),
            image("sha256:b", &["amd64"]),
            image("sha256:c", &[]),
            image("sha256:here", &["v1"]),
            image("sha256:d", &[]),
        ];
        let images = RepositoryImages::new(listed, &relations);
        let orphans: Vec<u32> = (0..5).filter(|&place| images.is_orphan(place)).collect();
        assert_eq!(orphans, [0]);
        assert_eq!(images.pullable(), 3, "the named one, the index, and the ordinary one");
    }

    #[test]
    fn a_restored_image_ages_from_its_restoration() {
        let restored = Instant::parse("2026-06-01T00:00:00Z").unwrap();
        let pulled = Instant::parse("2026-03-01T00:00:00Z").unwrap();
        let mut image = image("sha256:a", &[]);
        assert_eq!(image.pull_time(), image.pushed_at);
        image.last_pulled_at = Some(pulled);
        assert_eq!(image.pull_time(), pulled);
        image.last_activated_at = Some(restored);
        assert_eq!(image.age_time(), restored);
        assert_eq!(image.pull_time(), restored);
    }

    #[test]
    fn an_image_is_small() {
        // Beyond digest and tags; with the evaluator's 24 bytes an image stays under 80.
        let digest_and_tags = size_of::<Box<str>>() + size_of::<Box<[Box<str>]>>();
        assert_eq!(size_of::<Image>() - digest_and_tags, 48);
    }

    #[test]
    fn a_tag_that_begins_with_a_whole_digest_is_about_it() {
        let hex = "0123456789abcdef".repeat(4);
        for suffix in ["", ".sig", ".att", ".sbom", ".anything-else"] {
            assert_eq!(subject_of_tag(&format!("sha256-{hex}{suffix}")), Some(&*hex), "{suffix}");
        }
        let other = [
            format!("sha256-{hex}0"),
            format!("sha256-{}.sig", &hex[1..]),
            format!("sha256-{}.sig", hex.to_uppercase()),
            format!("sha512-{hex}.sig"),
            format!("x-sha256-{hex}"),
            format!("sha256:{hex}"),
            "sha256-".to_owned(),
            "sha256-é".repeat(20),
        ];
        for tag in other {
            assert_eq!(subject_of_tag(&tag), None, "{tag}");
        }
    }

    #[test]
    fn an_image_with_a_name_of_its_own_is_no_mere_signature() {
        let (subject, signature) =
            (format!("sha256:{}", "ab".repeat(32)), format!("sha256-{}.sig", "ab".repeat(32)));
        let missing = format!("sha256-{}.sig", "cd".repeat(32));
        let images = RepositoryImages::new(
            vec![
                image(&subject, &["v1"]),
                image("sha256:1", &[&signature]),
                image("sha256:2", &[&signature, "ecr-steward-in-use-2"]),
                image("sha256:3", &[&signature, "mine"]),
                image("sha256:4", &[&missing]),
                image("sha256:5", &[]),
            ],
            &Relations::default(),
        );
        let parts: Vec<ImageIndex> = (0..6).filter(|place| images.is_part(*place)).collect();
        assert_eq!(parts, [1, 2]);
        assert_eq!(images.pullable(), 4);
        assert_eq!(images.subjects(), []);
        assert_eq!(images.with_tag_referrers().subjects(), [(1, 0), (2, 0)]);
        // But it is about the image, and stays with it.
        let held = images.closure(HashMap::from([(0, "it runs".to_owned())]), "is kept");
        assert_eq!(held.len(), 4, "{held:?}");
        assert_eq!(held[&3], format!("its subject {subject} is kept"));
    }

    #[test]
    fn an_index_that_lists_what_its_tag_is_about_keeps_it_and_is_not_kept_by_it() {
        let (child, tag) = (format!("sha256:{}", "ab".repeat(32)), format!("sha256-{}", "ab".repeat(32)));
        let mut relations = Relations::default();
        relations.index("sha256:1", [&*child]);
        let images = RepositoryImages::new(vec![image(&child, &[]), image("sha256:1", &[&tag])], &relations);
        assert!(images.is_part(0) && !images.is_part(1));
        assert_eq!(images.with_tag_referrers().subjects(), []);
    }

    #[test]
    fn children_that_two_indexes_share_do_not_hold_the_other_index() {
        let mut relations = Relations::default();
        relations.index("sha256:1", ["sha256:a", "sha256:b"]);
        relations.index("sha256:2", ["sha256:b", "sha256:c"]);
        let listed = ["sha256:1", "sha256:2", "sha256:a", "sha256:b", "sha256:c"];
        let images = RepositoryImages::new(listed.iter().map(|name| image(name, &[])).collect(), &relations);
        let held = |place| {
            let mut held: Vec<ImageIndex> =
                images.closure(HashMap::from([(place, String::new())]), "is").into_keys().collect();
            held.sort_unstable();
            held
        };
        assert_eq!(held(0), [0, 2, 3]);
        assert_eq!(held(2), [0, 2, 3]);
        assert_eq!(held(3), [0, 1, 2, 3, 4], "it is used itself, and either index may be how");
    }

    #[test]
    fn the_subject_of_a_kept_part_is_kept_too_since_ecr_deletes_artifacts_with_their_subject() {
        let mut relations = Relations::default();
        relations.index("sha256:1", ["sha256:a"]);
        relations.refer("sha256:a", "sha256:s");
        relations.index("sha256:2", ["sha256:s", "sha256:b"]);
        let listed = ["sha256:1", "sha256:a", "sha256:s", "sha256:2", "sha256:b"];
        let images = RepositoryImages::new(listed.iter().map(|name| image(name, &[])).collect(), &relations);
        let held = images.closure(HashMap::from([(0, "it runs".to_owned())]), "is kept");
        let mut places: Vec<ImageIndex> = held.keys().copied().collect();
        places.sort_unstable();
        assert_eq!(places, [0, 1, 2]);
        assert_eq!(held[&2], "its referrer sha256:a is kept");
    }
}
