//! Deletions by hand, over the HTTP API or with a stack: which images of a repository are deleted, and what forbids it.
//!
//! Pure: nothing here reads or changes anything.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use crate::domain::enforcement::in_use_protection::protection_tag;
use crate::domain::enforcement::plan::counted;
use crate::domain::image::deletion::ImageId;
use crate::domain::image::{ImageIndex, RepositoryImages, subject_of_tag};
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity::{count, count_of};
use crate::domain::usage::{UnreadableSource, UsedImages};

/// Maximum number of images or sources that a message names. CloudFormation accepts 4,096 bytes.
const MAX_NAMED: usize = 5;

/// Whether use is read before images are deleted by hand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UseCheck {
    /// Use is read, and images in use are kept.
    #[default]
    Look,
    /// The request overrides the check (`inUse`), and use is not read.
    Known,
}

/// The use of one repository, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepositoryUse {
    /// The images in use, with what belongs to them.
    pub images: UsedImages,
    /// The tags by which something runs, and what.
    pub tags: BTreeMap<String, String>,
    /// Unreadable usage sources that may use images of the repository.
    pub gaps: Vec<UnreadableSource>,
}

/// The images and tags of a repository that are deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Images that are deleted with all their tags.
    pub going: BTreeSet<ImageIndex>,
    /// Tags that are removed from images that have others.
    pub untagged: BTreeSet<(ImageIndex, String)>,
    /// Named images that do not exist.
    pub missing: Vec<ImageId>,
}

impl Selection {
    /// The whole repository.
    #[must_use]
    pub fn all(images: &RepositoryImages) -> Self {
        let going = (0..).zip(images.images()).map(|(place, _)| place).collect();
        Self { going, ..Self::default() }
    }

    /// The selection of the named images. An image is deleted by its digest, or with its last tag.
    #[must_use]
    pub fn named(images: &RepositoryImages, ids: &[ImageId]) -> Self {
        let mut by_digest = HashMap::new();
        let mut by_tag = HashMap::new();
        for (place, image) in (0..).zip(images.images()) {
            by_digest.insert(&*image.digest, place);
            by_tag.extend(image.tags.iter().map(|tag| (&**tag, place)));
        }
        let mut selection = Self::default();
        let mut tags: BTreeMap<ImageIndex, BTreeSet<&str>> = BTreeMap::new();
        for id in ids {
            match id {
                ImageId::Digest(digest) => match by_digest.get(digest.as_str()) {
                    Some(&place) => _ = selection.going.insert(place),
                    None => selection.missing.push(id.clone()),
                },
                ImageId::Tag(tag) => match by_tag.get(tag.as_str()) {
                    Some(&place) => _ = tags.entry(place).or_default().insert(tag),
                    None => selection.missing.push(id.clone()),
                },
            }
        }
        for (place, tags) in tags {
            let Some(image) = images.images().get(place as usize) else { continue };
            if image.tags.iter().all(|tag| tags.contains(&**tag)) {
                selection.going.insert(place);
            } else if !selection.going.contains(&place) {
                selection.untagged.extend(tags.into_iter().map(|tag| (place, tag.to_owned())));
            }
        }
        selection
    }

    /// Whether nothing is deleted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.going.is_empty() && self.untagged.is_empty()
    }

    /// The images that are touched.
    #[must_use]
    pub fn touched(&self) -> BTreeSet<ImageIndex> {
        self.going.iter().copied().chain(self.untagged.iter().map(|(place, _)| *place)).collect()
    }

    /// The number of these images that count for the registry's limit: the independent ones.
    #[must_use]
    pub fn counted(&self, images: &RepositoryImages) -> u64 {
        let going: HashSet<ImageIndex> = self.going.iter().copied().collect();
        counted(images, |place| going.contains(&place), going.iter().copied()).count() as u64
    }

    /// Checks whether a selection may be deleted, from its use.
    pub fn check(
        &self,
        images: &RepositoryImages,
        used: &RepositoryUse,
        now: Instant,
    ) -> Result<(), Refusal> {
        let in_use = self.in_use(images, used);
        if !in_use.is_empty() {
            return Err(Refusal::InUse(in_use));
        }
        if !used.gaps.is_empty() {
            let gaps = used.gaps.iter().map(|gap| (gap.clone(), gap.ignore_entry(now))).collect();
            return Err(Refusal::UsageUnknown(gaps));
        }
        // What of it is unread may list, or belong to, what is used.
        if !images.unread_indexes().is_empty() && !used.images.images().is_empty() {
            let unread = images.unread_indexes().iter().filter_map(|&place| image_name(images, place));
            return Err(Refusal::UnreadIndexes(unread.collect()));
        }
        Ok(())
    }

    fn in_use(&self, images: &RepositoryImages, used: &RepositoryUse) -> Vec<ImageInUse> {
        let reason_of = |place| {
            let reason = used.images.reason(place)?;
            let is_named = used.images.named().contains(&place);
            Some(if is_named { format!("in use: {reason}") } else { format!("{reason} in use") })
        };
        let going = self.going.iter().filter_map(|&place| Some((place, reason_of(place)?)));
        let untagged = self.untagged.iter().filter_map(|(place, tag)| {
            let reason = match used.tags.get(tag) {
                Some(user) => format!("in use by its tag {tag}: {user}"),
                // The tag ties the image to what it is about.
                None if subject_of_tag(tag).is_some() => reason_of(*place)?,
                // Without its protection tag ECR may take the image.
                None if is_own_protection_tag(images, *place, tag) => reason_of(*place)?,
                None => return None,
            };
            Some((*place, reason))
        });
        going
            .chain(untagged)
            .filter_map(|(place, reason)| Some(ImageInUse { image: image_name(images, place)?, reason }))
            .collect()
    }
}

/// Whether a tag protects the image that has it, and was not put there for another one.
fn is_own_protection_tag(images: &RepositoryImages, place: ImageIndex, tag: &str) -> bool {
    let image = images.images().get(place as usize);
    // There are spare ones, which end with a number.
    image.is_some_and(|image| tag.starts_with(&protection_tag(image)))
}

/// An image that is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInUse {
    /// Its digest, and its tags.
    pub image: String,
    /// The user.
    pub reason: String,
}

impl fmt::Display for ImageInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.image, self.reason)
    }
}

/// Why nothing of what was named is deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Some of it is in use.
    #[error("{} in use, and nothing was changed: {}", are(.0.len(), "image"), listed(.0))]
    InUse(Vec<ImageInUse>),
    /// Some of it may be in use: sources that could not be read, each with the entry of `usage.ignore` that ignores it.
    #[error(
        "what is in use is not known completely, and nothing was changed: {}",
        listed(.0.iter().map(|(gap, entry)| unknown(gap, entry)).collect::<Vec<_>>().as_slice())
    )]
    UsageUnknown(Vec<(UnreadableSource, String)>),
    /// Some of it may belong to what is in use: image indexes whose manifests could not be read.
    #[error(
        "the manifests of {} could not be read, so that it is not known what belongs to the images in use, and nothing was changed: {}",
        count_of(.0.len() as u64, "image index", "image indexes"),
        listed(.0)
    )]
    UnreadIndexes(Vec<String>),
    /// The deletion exceeds the registry's daily limit.
    #[error(
        "{} would be deleted, and of the {limit} that may be deleted in the registry today {before} were; nothing was changed. Delete fewer, or go \
         on tomorrow (UTC); `limits` at the top of policies.yaml and the images that the last completed run counted set the limit",
        count(*.planned, "image")
    )]
    RegistryLimit {
        /// The number of images that would be deleted.
        planned: u64,
        /// The number of images that were removed today.
        before: u64,
        /// The limit.
        limit: u64,
    },
}

/// A gap as a message has it, with what to do about it.
#[must_use]
pub fn unknown(gap: &UnreadableSource, entry: &str) -> String {
    format!(
        "{gap}; see to it, or if the source does not matter add {entry} to `usage.ignore` in policies.yaml"
    )
}

fn image_name(images: &RepositoryImages, place: ImageIndex) -> Option<String> {
    let image = images.images().get(place as usize)?;
    Some(match &*image.tags {
        [] => image.digest.to_string(),
        tags => format!("{} ({})", image.digest, tags.join(", ")),
    })
}

fn are(number: usize, noun: &str) -> String {
    format!("{} {}", count(number as u64, noun), if number == 1 { "is" } else { "are" })
}

fn listed<T: fmt::Display>(all: &[T]) -> String {
    let named: Vec<String> = all.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    let more = match all.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!("{}{more}", named.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::listing::RepositoryName;
    use crate::domain::image::{Image, ImageStatus, ManifestKind, Relations};
    use crate::domain::usage::Usage;

    fn now() -> Instant {
        Instant::parse("2026-11-26T00:00:00Z").unwrap()
    }

    fn digest(letter: char) -> String {
        format!("sha256:{}", letter.to_string().repeat(64))
    }

    fn image(letter: char, tags: &[&str]) -> Image {
        Image {
            digest: digest(letter).into_boxed_str(),
            tags: tags.iter().map(|&tag| tag.into()).collect(),
            pushed_at: now(),
            last_pulled_at: None,
            last_archived_at: None,
            last_activated_at: None,
            size_in_bytes: 1,
            status: ImageStatus::Active,
            kind: ManifestKind::Manifest,
        }
    }

    /// An index `a` of `b`, with a signature `c` by tag; an image `d` with two tags; an image `e` without one.
    fn repository() -> RepositoryImages {
        let signature = format!("sha256-{}.sig", "a".repeat(64));
        let mut relations = Relations::default();
        relations.index(&digest('a'), [digest('b')]);
        let index = Image { kind: ManifestKind::Index, ..image('a', &["v1"]) };
        let rest = [image('b', &[]), image('c', &[&signature]), image('d', &["one", "two"]), image('e', &[])];
        RepositoryImages::new(std::iter::once(index).chain(rest).collect(), &relations)
    }

    fn tag(text: &str) -> ImageId {
        ImageId::Tag(text.to_owned())
    }

    fn used(list: &str) -> RepositoryUse {
        let usage = Usage::parse(list).unwrap();
        let name = RepositoryName { repository_name: Some("app".to_owned()), registry_id: None };
        let tags =
            usage.used().iter().filter_map(|used| Some((used.reference.tag.clone()?, used.to_string())));
        RepositoryUse {
            images: usage.of_repository(&name, &repository()),
            tags: tags.collect(),
            gaps: Vec::new(),
        }
    }

    #[test]
    fn the_protection_tag_of_what_is_in_use_is_kept_and_one_that_is_for_another_image_may_be_deleted() {
        let own = protection_tag(&image('d', &[]));
        let spare = format!("{own}-2");
        let foreign = protection_tag(&image('e', &[]));
        let images = [image('d', &["one", &own, &spare, &foreign]), image('e', &[])];
        let images = RepositoryImages::new(images.to_vec(), &Relations::default());
        let usage = Usage::parse(&format!(r#"["app@{}"]"#, digest('d'))).unwrap();
        let name = RepositoryName { repository_name: Some("app".to_owned()), registry_id: None };
        let used = RepositoryUse { images: usage.of_repository(&name, &images), ..RepositoryUse::default() };
        let check =
            |name: &str, used| Selection::named(&images, &[tag(name)]).check(&images, used, now()).is_ok();
        let checked = [&own, &spare, &foreign].map(|tag| check(tag, &used));
        assert_eq!(checked, [false, false, true]);
        assert!(check(&own, &RepositoryUse::default()), "nothing runs it");
    }

    #[track_caller]
    fn refused(ids: &[ImageId], list: &str) -> String {
        let images = repository();
        let refusal = Selection::named(&images, ids).check(&images, &used(list), now()).unwrap_err();
        refusal.to_string()
    }

    #[test]
    fn an_image_is_deleted_by_tag_only_with_its_last_tag() {
        let images = repository();
        let selection = Selection::named(&images, &[tag("one"), tag("none")]);
        assert!(selection.going.is_empty());
        assert_eq!(selection.untagged, [(3, "one".to_owned())].into());
        assert_eq!(selection.missing, [tag("none")]);
        let selection = Selection::named(&images, &[tag("one"), tag("two")]);
        assert_eq!((selection.going, selection.untagged.len()), ([3].into(), 0));
        let selection = Selection::named(&images, &[tag("one"), ImageId::Digest(digest('d'))]);
        assert_eq!((selection.going, selection.untagged.len()), ([3].into(), 0));
    }

    #[test]
    fn what_belongs_to_an_image_in_use_is_in_use() {
        let list = r#"[{"imageUri": "app:v1", "usedBy": ["task/1"]}]"#;
        for letter in ['a', 'b', 'c'] {
            let refusal = refused(&[ImageId::Digest(digest(letter))], list);
            assert!(refusal.starts_with("1 image is in use, and nothing was changed: sha256:"), "{refusal}");
        }
        let child = refused(&[ImageId::Digest(digest('b'))], list);
        assert!(child.ends_with(&format!(": its image index {} is in use", digest('a'))), "{child}");
        let images = repository();
        let free = Selection::named(&images, &[ImageId::Digest(digest('e'))]);
        assert_eq!(free.check(&images, &used(list), now()), Ok(()));
    }

    #[test]
    fn a_tag_in_use_is_kept_and_another_tag_of_the_same_image_may_be_deleted() {
        let list = r#"[{"imageUri": "app:one", "usedBy": ["service/1"]}]"#;
        let refusal = refused(&[tag("one")], list);
        assert!(refusal.contains("in use by its tag one: app:one by service/1"), "{refusal}");
        let images = repository();
        assert_eq!(Selection::named(&images, &[tag("two")]).check(&images, &used(list), now()), Ok(()));
    }

    #[test]
    fn a_gap_names_the_entry_that_ignores_it() {
        let images = repository();
        let gap = |source: &str| UnreadableSource {
            source: source.to_owned(),
            repositories: Vec::new(),
            problem: "no list".into(),
        };
        let unknown =
            RepositoryUse { gaps: vec![gap("eks/old"), gap("Amazon ECS")], ..RepositoryUse::default() };
        let refusal =
            Selection::named(&images, &[tag("v1")]).check(&images, &unknown, now()).unwrap_err().to_string();
        assert!(
            refusal.contains("eks/old: no list; see to it, or if the source does not matter add { source: eks/old, reason: \"…\", until: 2027-02-24 }"),
            "{refusal}"
        );
        assert!(refusal.contains("{ source: \"Amazon ECS\", "), "{refusal}");
    }

    #[test]
    fn an_unread_index_blocks_where_something_is_in_use() {
        let index = Image { kind: ManifestKind::Index, ..image('f', &[]) };
        let images =
            RepositoryImages::new(vec![index, image('d', &["one"]), image('e', &[])], &Relations::default());
        let selection = Selection::named(&images, &[ImageId::Digest(digest('e'))]);
        let usage = Usage::parse(r#"["app:one"]"#).unwrap();
        let used = RepositoryUse {
            images: usage.of_repository(&RepositoryName::default(), &images),
            ..RepositoryUse::default()
        };
        assert_eq!(selection.check(&images, &used, now()), Err(Refusal::UnreadIndexes(vec![digest('f')])));
        assert_eq!(selection.check(&images, &RepositoryUse::default(), now()), Ok(()));
    }

    #[test]
    fn parts_are_deleted_with_their_image_and_are_not_counted() {
        let images = repository();
        assert_eq!(Selection::all(&images).counted(&images), 3);
        assert_eq!(Selection::named(&images, &[ImageId::Digest(digest('b'))]).counted(&images), 1);
        assert_eq!(Selection::named(&images, &[tag("one")]).counted(&images), 0);
    }

    #[test]
    fn a_message_names_some_and_counts_the_others() {
        let image = |number: u32| ImageInUse { image: number.to_string(), reason: "in use: x".to_owned() };
        let refusal = Refusal::InUse((0..7).map(image).collect()).to_string();
        assert!(refusal.starts_with("7 images are in use") && refusal.ends_with("; and 2 more"), "{refusal}");
    }
}
