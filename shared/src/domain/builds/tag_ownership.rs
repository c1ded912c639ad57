//! The newest source of each moving tag, and of the repository's parameter. A build that ends late finds a newer source here, and
//! does not replace it.
//!
//! The ownership of a repository's tags is one JSON object in the stack's bucket, written by conditional writes (`If-Match`)
//! before the tags are moved. Whoever moved tags reads the object again afterwards, and if it changed, moves the tags to what it
//! says then. So the last function to move a tag moves it to the newest source.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{GitReference, SourceOrder};
use crate::domain::builds::build_context::{BuildContext, is_future};
use crate::domain::text::instant::Instant;

/// A place for an image: a moving tag, or the repository's parameter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PublishTarget {
    /// A tag of the repository.
    Tag(String),
    /// The parameter that has the repository's released image.
    Parameter,
}

/// The owners of a repository's moving tags and of its parameter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TagOwnership {
    /// The owner of each moving tag.
    #[serde(default)]
    tags: BTreeMap<String, Owner>,
    /// The owner of the parameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parameter: Option<Owner>,
}

/// The source that owns a tag or the parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// The image.
    pub image_digest: String,
    /// The pinned version of the source.
    pub version: String,
    /// The position of the source among others.
    pub arrival: SourceOrder,
    /// The branch or tag of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<GitReference>,
    /// Whether the source is one that is released.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_released: bool,
}

/// The tags that a new image gets, and those that it does not get.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claim {
    /// The targets that it gets.
    pub taken: Vec<PublishTarget>,
    /// The targets that another source keeps, and why.
    pub kept: Vec<(PublishTarget, &'static str)>,
}

/// Why an older source does not get a place.
pub const NEWER: &str = "a newer source has it";
/// Why what is not released does not get the tag of what is.
const RELEASED: &str = "what is released has it, and this source is not released";
/// Why a branch does not get the tag of another one. Characters that no tag has are replaced, so that several names become one tag.
const OTHER_NAME: &str = "another branch or git tag has it by its own name, or had it first; name it otherwise, or write other imageTags";
/// Why a branch does not get the tag of a git tag, nor the other way round.
const OTHER_KIND: &str = "it was made from a branch and this is a git tag of that name, or the other way round; only one of both can have it";

/// Days after which an entry expires that nothing renews. A build lasts eight hours at most, and an event is delivered for a day
/// at most.
const KEPT_DAYS: u64 = 400;
/// The same for a tag that has the version of its source in it. No other source can have it, so that it only has to outlast the
/// events and builds of that one; each source adds one, and all of them are read and written with every image.
const KEPT_DAYS_OF_VERSIONS: u64 = 30;
/// Length of the shortest version in a tag: that of `{shortCommit}`, in characters.
const SHORT_VERSION: usize = 7;

/// The key of a repository's object in the stack's bucket.
#[must_use]
pub fn key(repository: &str) -> String {
    format!("ledgers/{repository}.json")
}

impl TagOwnership {
    fn entry(&self, place: &PublishTarget) -> Option<&Owner> {
        match place {
            PublishTarget::Tag(tag) => self.tags.get(tag),
            PublishTarget::Parameter => self.parameter.as_ref(),
        }
    }

    /// The digest of a target's owner.
    #[must_use]
    pub fn digest(&self, place: &PublishTarget) -> Option<&str> {
        self.entry(place).map(|entry| entry.image_digest.as_str())
    }

    /// Assigns an image to all targets whose owner is not newer.
    pub fn claim(&mut self, context: &BuildContext, digest: &str, now: Instant) -> Claim {
        let own = Owner {
            image_digest: digest.to_owned(),
            version: context.source.version().to_owned(),
            arrival: context.arrival.clone(),
            reference: context.reference.clone(),
            is_released: context.is_released,
        };
        let places = context.image_tags.iter().cloned().map(PublishTarget::Tag);
        let mut claim = Claim::default();
        for place in places.chain(context.is_released.then_some(PublishTarget::Parameter)) {
            let kept = match (&place, self.entry(&place)) {
                (_, None) => None,
                (PublishTarget::Tag(_), Some(entry)) if entry.is_of_another_kind_than(&own) => {
                    Some(OTHER_KIND)
                }
                (PublishTarget::Tag(_), Some(entry)) if entry.is_released_unlike(&own) => Some(RELEASED),
                (PublishTarget::Tag(tag), Some(entry)) if entry.is_of_another_name_than(&own, tag) => {
                    Some(OTHER_NAME)
                }
                // What says that it came in the future would stay for ever.
                (_, Some(entry)) => {
                    (!is_future(&entry.arrival, now) && entry.is_newer_than(&own)).then_some(NEWER)
                }
            };
            if let Some(reason) = kept {
                claim.kept.push((place, reason));
                continue;
            }
            match &place {
                PublishTarget::Tag(tag) => drop(self.tags.insert(tag.clone(), own.clone())),
                PublishTarget::Parameter => self.parameter = Some(own.clone()),
            }
            claim.taken.push(place);
        }
        self.tags.retain(|tag, entry| {
            let has_version = entry.version.get(..SHORT_VERSION).is_some_and(|version| tag.contains(version));
            let days = if has_version { KEPT_DAYS_OF_VERSIONS } else { KEPT_DAYS };
            entry.arrival.at.plus_days(days).is_none_or(|end| end > now)
        });
        claim
    }
}

impl Owner {
    /// Whether one is from a branch and the other from a git tag, and both are different images: whoever may push branches cannot
    /// move a release's tag.
    fn is_of_another_kind_than(&self, other: &Self) -> bool {
        use GitReference::{Branch, Tag};
        let pair = (&self.reference, &other.reference);
        self.image_digest != other.image_digest
            && matches!(pair, (Some(Branch(_)), Some(Tag(_))) | (Some(Tag(_)), Some(Branch(_))))
    }

    /// Whether this one is released, and the other is another image that is not. A branch that is released no longer keeps its own tag.
    fn is_released_unlike(&self, other: &Self) -> bool {
        self.is_released
            && !other.is_released
            && self.image_digest != other.image_digest
            && self.reference != other.reference
    }

    /// Whether both are from branches, or both from git tags, and the other does not have the tag by its own name. What is released
    /// may have any tag that its definition names.
    fn is_of_another_name_than(&self, other: &Self, tag: &str) -> bool {
        use GitReference::{Branch, Tag};
        let name = match &other.reference {
            Some(Branch(name) | Tag(name)) => name,
            None => return false,
        };
        self.reference.is_some()
            && self.reference != other.reference
            && self.image_digest != other.image_digest
            && !other.is_released
            && !tag.contains(name.as_str())
    }

    /// Whether this source is newer than the other. If their order is unknown, the later claim counts.
    fn is_newer_than(&self, other: &Self) -> bool {
        if self.arrival.at != other.arrival.at {
            return self.arrival.at > other.arrival.at;
        }
        if let (Some(one), Some(two)) = (&self.arrival.sequencer, &other.arrival.sequencer) {
            let number = |text: &str| {
                let digits = text.trim_start_matches('0').to_ascii_uppercase();
                (digits.len(), digits)
            };
            return number(one) > number(two);
        }
        self.arrival.replaces.as_ref() == Some(&other.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::builds::Source;

    fn context(version: &str, at: &str, sequencer: Option<&str>, replaces: Option<&str>) -> BuildContext {
        BuildContext {
            repository_name: "app".to_owned(),
            image_tag: format!("src-{version}"),
            definition: String::new(),
            platforms: Vec::new(),
            image_tags: vec!["latest".to_owned(), "main".to_owned()],
            image_tags_not_moved: Vec::new(),
            is_released: true,
            source: Source::S3 {
                bucket: "b".to_owned(),
                key: "k".to_owned(),
                version_id: version.to_owned(),
            },
            reference: None,
            arrival: SourceOrder {
                at: Instant::parse(&format!("2026-11-23T{at}Z")).unwrap(),
                sequencer: sequencer.map(str::to_owned),
                replaces: replaces.map(str::to_owned),
            },
        }
    }

    fn now() -> Instant {
        Instant::parse("2026-11-23T12:00:00Z").unwrap()
    }

    fn latest(contexts: &[&BuildContext]) -> String {
        let mut ownership = TagOwnership::default();
        for context in contexts {
            ownership.claim(context, context.source.version(), now());
        }
        for place in [PublishTarget::Tag("main".to_owned()), PublishTarget::Parameter] {
            assert_eq!(ownership.digest(&place), ownership.digest(&PublishTarget::Tag("latest".to_owned())));
        }
        ownership.digest(&PublishTarget::Parameter).unwrap().to_owned()
    }

    #[test]
    fn the_newest_source_stays_in_whatever_order_builds_end() {
        let pairs = [
            (context("old", "10:00:00", None, None), context("new", "10:00:01", None, None)),
            // Of uploads within a second S3's own order decides.
            (context("old", "10:00:00", Some("00FF"), None), context("new", "10:00:00", Some("0100"), None)),
            (context("old", "10:00:00", Some("FF"), None), context("new", "10:00:00", Some("000100"), None)),
            // Of pushes within a second what the push replaced.
            (context("old", "10:00:00", None, None), context("new", "10:00:00", None, Some("old"))),
        ];
        for (old, new) in &pairs {
            assert_eq!(latest(&[old, new]), "new", "{new:?}");
            assert_eq!(latest(&[new, old]), "new", "{new:?}");
            assert_eq!(latest(&[old, new, old, new, old]), "new", "{new:?}");
        }
    }

    #[test]
    fn going_back_to_an_old_commit_is_going_forward() {
        let one = context("one", "10:00:00", None, None);
        let two = context("two", "11:00:00", None, Some("one"));
        let back = context("one", "11:30:00", None, Some("two"));
        assert_eq!(latest(&[&one, &two, &back]), "one");
        // An event of the first push that comes again changes nothing.
        let mut ownership = TagOwnership::default();
        for context in [&one, &two, &back] {
            ownership.claim(context, context.source.version(), now());
        }
        let again = ownership.claim(&one, "sha256:other", now());
        assert_eq!((again.taken.len(), again.kept.len()), (0, 3));
    }

    #[test]
    fn a_source_of_the_future_keeps_nothing() {
        let mut future = context("future", "10:00:00", None, None);
        future.arrival.at = Instant::parse("2999-01-01T00:00:00Z").unwrap();
        assert_eq!(latest(&[&future, &context("one", "10:00:00", None, None)]), "one");
    }

    #[test]
    fn branches_do_not_meet() {
        let main = context("new", "11:00:00", None, None);
        let mut feature = context("old", "10:00:00", None, None);
        (feature.image_tags, feature.is_released) = (vec!["feature".to_owned()], false);
        let mut ownership = TagOwnership::default();
        ownership.claim(&main, "main", now());
        let claim = ownership.claim(&feature, "feature", now());
        assert_eq!(claim.taken, [PublishTarget::Tag("feature".to_owned())]);
        assert_eq!(ownership.digest(&PublishTarget::Parameter), Some("main"));
    }

    #[test]
    fn tags_of_versions_do_not_pile_up() {
        let mut ownership = TagOwnership::default();
        for number in 0..1000 {
            let mut context = context(&format!("{number:040}"), "10:00:00", None, None);
            let version = format!("{number:040}");
            context.image_tags =
                vec!["main".to_owned(), format!("main-{}", &version[..SHORT_VERSION]), version];
            context.arrival.at = Instant::parse("2026-01-01T00:00:00Z").unwrap().plus_days(number).unwrap();
            ownership.claim(&context, "d", context.arrival.at);
        }
        assert!(ownership.tags.len() < 3 * KEPT_DAYS_OF_VERSIONS as usize, "{}", ownership.tags.len());
        assert!(ownership.digest(&PublishTarget::Tag("main".to_owned())).is_some());
    }

    #[test]
    fn a_branch_never_takes_the_tag_of_a_release_by_having_its_name() {
        let pushed = |version: &str, at: &str, reference: GitReference| BuildContext {
            image_tags: vec!["v1.0".to_owned()],
            is_released: false,
            reference: Some(reference),
            ..context(version, at, None, None)
        };
        let release = pushed("release", "11:00:00", GitReference::Tag("v1.0".to_owned()));
        let branch = pushed("branch", "11:00:00", GitReference::Branch("v1.0".to_owned()));
        let place = PublishTarget::Tag("v1.0".to_owned());
        for (first, second) in [(&release, &branch), (&branch, &release)] {
            let mut ownership = TagOwnership::default();
            ownership.claim(first, first.source.version(), now());
            let claim = ownership.claim(second, second.source.version(), now());
            assert_eq!((claim.taken.len(), claim.kept), (0, vec![(place.clone(), OTHER_KIND)]));
            assert_eq!(ownership.digest(&place), Some(first.source.version()));
            // One image may be both: a commit that is the head of a branch and a release.
            assert_eq!(
                ownership.claim(second, first.source.version(), now()).taken,
                std::slice::from_ref(&place)
            );
        }
    }

    #[test]
    fn ownership_forgets_branches_that_nobody_builds_any_more() {
        let mut ownership = TagOwnership::default();
        ownership.claim(&context("old", "10:00:00", None, None), "d", now());
        let mut other = context("new", "10:00:00", None, None);
        (other.image_tags, other.is_released) = (vec!["x".to_owned()], false);
        ownership.claim(&other, "e", now().plus_days(399).unwrap());
        assert!(ownership.digest(&PublishTarget::Tag("main".to_owned())).is_some());
        other.arrival.at = now().plus_days(401).unwrap();
        ownership.claim(&other, "e", other.arrival.at);
        assert_eq!(ownership.digest(&PublishTarget::Tag("main".to_owned())), None);
        assert_eq!(ownership.digest(&PublishTarget::Tag("x".to_owned())), Some("e"));
        // What is deployed is not forgotten.
        assert_eq!(ownership.digest(&PublishTarget::Parameter), Some("d"));
    }
}
