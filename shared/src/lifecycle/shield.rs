//! The shield: how a policy that ECR itself applies is kept from what is in use, of which ECR knows nothing.
//!
//! Every image in use gets a tag of its own ([`IN_USE`] and its digest: no two images want the same tag,
//! so that this works where tags are immutable, too). The first rule of an attached policy identifies the images with
//! such a tag and marks none of them, so that no later rule acts on them.
//!
//! When the use ends the tag is taken off. ECR deletes an image with its last tag, so that one which has no other gets a
//! tag of [`RELEASED`] first, and the second rule takes what has that.

use std::collections::HashSet;

use super::document::{Action, LifecyclePolicy, Limit, MAX_RULES, Rule, StorageClass, TagList, TagSelection};
use crate::finding::{Code, Finding};
use crate::image::{Image, ImageIndex, RepositoryImages};

/// Tags of images in use begin so.
pub const IN_USE: &str = "ecr-steward-in-use-";
/// Tags of images begin so that had no other when their use ended.
pub const RELEASED: &str = "ecr-steward-released-";

/// So many images with a tag of the shield are kept: more than a repository can have.
const ALL: u64 = 1_000_000;
/// In so many days nothing archived is old.
const EVER: u64 = 36_500;
/// After so many days since its push an image goes whose use has ended.
const RELEASED_DAYS: u64 = 1;

/// The policy behind the shield, as it is attached.
///
/// # Errors
///
/// When ECR's limits leave no room for the shield's rules: two, and a third for a policy that looks into the archive.
pub fn shielded(policy: &LifecyclePolicy) -> Result<LifecyclePolicy, Finding> {
    let mut own = vec![
        in_use_rule(),
        rule(2, "images whose use has ended", RELEASED, Limit::SinceImagePushed(RELEASED_DAYS)),
    ];
    // Something may still run what was archived; rules see the images of one storage class only.
    if policy.rules().iter().any(|rule| rule.limit.storage_class() == StorageClass::Archive) {
        own.push(rule(3, "archived images in use, which stay", IN_USE, Limit::SinceImageTransitioned(EVER)));
    }
    let most = MAX_RULES - own.len();
    if policy.rules().len() > most {
        let message = format!(
            "the policy has {} rules, and an attached one can have {most}: {} of ECR's {MAX_RULES} keep it from what is in \
             use; merge rules",
            policy.rules().len(),
            own.len(),
        );
        return Err(Finding::new(Code::TooManyRules, "/rules", message));
    }
    let first = own.len() as u64 + 1;
    let rules = (first..).zip(policy.rules()).map(|(priority, rule)| Rule { priority, ..rule.clone() });
    LifecyclePolicy::from_valid(own.into_iter().chain(rules).collect())
}

/// A lifecycle policy that takes nothing, by construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakesNothing(LifecyclePolicy);

impl TakesNothing {
    /// The protection rule alone.
    ///
    /// # Errors
    ///
    /// When that rule were not valid; it is.
    pub fn new() -> Result<Self, Finding> {
        LifecyclePolicy::from_valid(vec![in_use_rule()]).map(Self)
    }

    /// The policy.
    #[must_use]
    pub const fn policy(&self) -> &LifecyclePolicy {
        &self.0
    }

    /// As ECR's document.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.0.to_json()
    }
}

/// What becomes of the lifecycle policy that a repository has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attachment {
    /// It stays as it is.
    Unchanged,
    /// This one is attached in its place.
    Attach(LifecyclePolicy),
    /// It would act although what is in use is not known, or although it would take too much: this one, which takes
    /// nothing, is attached in its place until it may act again.
    Suspend(TakesNothing),
}

/// What becomes of the policy that a repository has, `wanted` being the one behind the shield, and `may_act` whether it may.
/// A policy that somebody else attached is replaced, but not suspended: nothing of it is this project's.
///
/// # Errors
///
/// When there is no policy that takes nothing; there is.
pub fn attachment(
    current: Option<&str>,
    wanted: &LifecyclePolicy,
    may_act: bool,
) -> Result<Attachment, Finding> {
    // What cannot be read is another one.
    let current = current.and_then(|text| LifecyclePolicy::parse(text).ok());
    if may_act {
        return Ok(match current {
            Some(current) if current == *wanted => Attachment::Unchanged,
            _ => Attachment::Attach(wanted.clone()),
        });
    }
    let nothing = TakesNothing::new()?;
    Ok(match current {
        Some(current) if is_shielded(&current) && current != nothing.0 => Attachment::Suspend(nothing),
        _ => Attachment::Unchanged,
    })
}

/// Whether a policy is one behind the shield.
#[must_use]
pub fn is_shielded(policy: &LifecyclePolicy) -> bool {
    policy.rules().first().is_some_and(|rule| *rule == in_use_rule())
}

fn in_use_rule() -> Rule {
    rule(1, "images in use, which stay", IN_USE, Limit::ImageCountMoreThan(ALL))
}

fn rule(priority: u64, description: &str, prefix: &str, limit: Limit) -> Rule {
    Rule {
        priority,
        description: Some(description.to_owned()),
        tags: TagSelection::Tagged(TagList::Prefixes(vec![prefix.to_owned()])),
        limit,
        action: Action::Expire,
        pointer: String::new(),
    }
}

/// One change to the tags of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagChange {
    /// The image gets a tag.
    Add {
        /// The image.
        image: ImageIndex,
        /// The tag.
        tag: String,
    },
    /// A tag is taken off an image that has another.
    Remove {
        /// The image.
        image: ImageIndex,
        /// The tag.
        tag: String,
    },
}

/// What has to change so that exactly the images in use, and what belongs to them, have a tag of the shield, in an order in
/// which no image is ever without a tag that it needs. `in_use` are the images that are in use or kept themselves.
#[must_use]
pub fn changes(images: &RepositoryImages, in_use: &HashSet<ImageIndex>) -> Vec<TagChange> {
    let in_use = protected(images, in_use);
    let mut additions = Vec::new();
    let mut removals = Vec::new();
    for (place, image) in (0..).zip(images.images()) {
        let with = |prefix: &'static str| image.tags.iter().filter(move |tag| tag.starts_with(prefix));
        let remove = |tag: &str| TagChange::Remove { image: place, tag: tag.to_owned() };
        let add = |tag: &str| TagChange::Add { image: place, tag: tag.to_owned() };
        if in_use.contains(&place) {
            let wanted = tag(IN_USE, image);
            if with(IN_USE).all(|tag| **tag != *wanted) {
                additions.push(add(&wanted));
            }
            let other = with(IN_USE).filter(|tag| ***tag != *wanted);
            removals.extend(other.chain(with(RELEASED)).map(|tag| remove(tag)));
        } else if with(IN_USE).next().is_some() {
            if image.tags.iter().all(|tag| tag.starts_with(IN_USE)) {
                additions.push(add(&tag(RELEASED, image)));
            }
            removals.extend(with(IN_USE).map(|tag| remove(tag)));
        }
        // Somebody gave it a name again.
        let is_own = |tag: &str| tag.starts_with(IN_USE) || tag.starts_with(RELEASED);
        if !in_use.contains(&place) && image.tags.iter().any(|tag| !is_own(tag)) {
            removals.extend(with(RELEASED).map(|tag| remove(tag)));
        }
    }
    additions.extend(removals);
    additions
}

/// The images in use and those that belong to them, as far as each needs a tag of its own: ECR does not act on what an index
/// lists that is there, but it may act on artifacts about an image that is there.
fn protected(images: &RepositoryImages, in_use: &HashSet<ImageIndex>) -> HashSet<ImageIndex> {
    let held = in_use.iter().map(|place| (*place, String::new())).collect();
    let all = images.closure(held, "");
    let is_listed = |place: ImageIndex| images.lists_of(place).any(|index| all.contains_key(&index));
    all.keys().copied().filter(|place| in_use.contains(place) || !is_listed(*place)).collect()
}

/// A tag that only this image wants.
fn tag(prefix: &str, image: &Image) -> String {
    let hex = image.digest.rsplit(':').next().unwrap_or_default();
    format!("{prefix}{hex}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::image::{ImageStatus, ManifestKind, Relations};
    use crate::instant::Instant;
    use crate::lifecycle::{Passes, PolicySource, evaluate};

    const DAY: i64 = 86_400_000_000;

    fn now() -> Instant {
        Instant::parse("2026-11-23T00:00:00Z").unwrap()
    }

    fn image(number: u8, tags: &[&str], days: i64) -> Image {
        Image {
            digest: format!("sha256:{}", format!("{number:02x}").repeat(32)).into(),
            tags: tags.iter().map(|tag| (*tag).into()).collect(),
            pushed_at: Instant::from_micros(now().micros() - days * DAY).unwrap(),
            last_pulled_at: None,
            last_archived_at: None,
            last_activated_at: None,
            size_in_bytes: 1,
            status: ImageStatus::Active,
            kind: ManifestKind::Manifest,
        }
    }

    fn policy(rules: &str) -> LifecyclePolicy {
        PolicySource::parse(&format!("rules: [{rules}]")).unwrap().policy().unwrap().clone()
    }

    /// The tags as they are after the changes; a tag that is taken off last takes its image along.
    fn changed(images: &[Image], changes: &[TagChange]) -> Vec<Image> {
        let mut images = images.to_vec();
        let mut gone = BTreeSet::new();
        for change in changes {
            let (place, tags): (ImageIndex, Vec<Box<str>>) = match change {
                TagChange::Add { image, tag } => {
                    let before = images[*image as usize].tags.iter().cloned();
                    (*image, before.chain([tag.as_str().into()]).collect())
                }
                TagChange::Remove { image, tag } => {
                    let before = images[*image as usize].tags.iter().cloned();
                    (*image, before.filter(|other| **other != **tag).collect())
                }
            };
            if tags.is_empty() {
                gone.insert(place);
            }
            images[place as usize].tags = tags.into();
        }
        assert!(gone.is_empty(), "{gone:?} lost their last tag");
        images
    }

    fn packed(images: &[Image]) -> RepositoryImages {
        RepositoryImages::new(images.to_vec(), &Relations::default())
    }

    /// What ECR takes, which does not know of use.
    fn taken(policy: &LifecyclePolicy, images: &[Image]) -> Vec<usize> {
        let packed = packed(images);
        let evaluation = evaluate(Some(policy), &packed, &HashSet::new(), now(), Passes::UntilStable);
        let verdicts = evaluation.verdicts().iter().enumerate();
        verdicts.filter(|(_, verdict)| verdict.acting_rule().is_some()).map(|(place, _)| place).collect()
    }

    #[test]
    fn ecr_spares_what_is_in_use_and_takes_the_rest() {
        let policy = shielded(&policy(
            "{selection: untagged, maximumAgeLimit: 1}, {selection: {tagPrefixList: [v]}, maximumNumberOfImages: 1}, \
             {selection: any, maximumAgeLimit: 30}",
        ))
        .unwrap();
        let images = [
            image(1, &[], 9),
            image(2, &[], 9),
            image(3, &["v1"], 9),
            image(4, &["v2"], 8),
            image(5, &["v3"], 7),
            image(6, &["x"], 40),
        ];
        let after = changed(&images, &changes(&packed(&images), &HashSet::from([0, 2])));
        assert_eq!(taken(&policy, &after), [1, 3, 5]);
    }

    #[test]
    fn a_use_that_ends_leaves_no_image_behind_and_no_tag() {
        let policy = shielded(&policy("{selection: untagged, maximumAgeLimit: 1}")).unwrap();
        let images = [image(1, &[], 9), image(2, &["v1"], 9)];
        let used = changed(&images, &changes(&packed(&images), &HashSet::from([0, 1])));
        assert_eq!(taken(&policy, &used), Vec::<usize>::new());
        let after = changed(&used, &changes(&packed(&used), &HashSet::new()));
        assert_eq!(after[1].tags, images[1].tags);
        assert_eq!(taken(&policy, &after), [0], "{after:?}");
        // And back in use it stays again, whatever was to become of it.
        let again = changed(&after, &changes(&packed(&after), &HashSet::from([0])));
        assert_eq!(taken(&policy, &again), Vec::<usize>::new());
        assert!(again[0].tags.iter().all(|tag| tag.starts_with(IN_USE)), "{again:?}");
    }

    #[test]
    fn what_gets_a_name_again_after_its_use_is_an_image_like_any_other() {
        let policy = shielded(&policy("{selection: untagged, maximumAgeLimit: 1}")).unwrap();
        let released = format!("{RELEASED}0101");
        let images = [image(1, &[&released, "v2"], 9)];
        let after = changed(&images, &changes(&packed(&images), &HashSet::new()));
        assert_eq!(after[0].tags.iter().map(|tag| &**tag).collect::<Vec<_>>(), ["v2"]);
        assert_eq!(taken(&policy, &after), Vec::<usize>::new());
    }

    #[test]
    fn done_twice_it_changes_nothing() {
        let images = [image(1, &[], 9), image(2, &["v1"], 9), image(3, &[], 2)];
        let used = HashSet::from([0, 1]);
        let after = changed(&images, &changes(&packed(&images), &used));
        assert_eq!(changes(&packed(&after), &used), []);
    }

    #[test]
    fn no_two_images_want_one_tag() {
        let images: Vec<Image> = (0..40).map(|number| image(number, &[], 9)).collect();
        let all: HashSet<ImageIndex> = (0..40).collect();
        let tags: BTreeSet<String> = changes(&packed(&images), &all)
            .into_iter()
            .map(|change| match change {
                TagChange::Add { tag, .. } | TagChange::Remove { tag, .. } => tag,
            })
            .collect();
        assert_eq!(tags.len(), 40);
        assert!(tags.iter().all(|tag| tag.len() <= 128));
    }

    #[test]
    fn what_may_not_act_is_suspended_if_it_is_ours_and_comes_back() {
        let simple = policy("{selection: untagged, maximumAgeLimit: 1}");
        let wanted = shielded(&simple).unwrap();
        let text = wanted.to_json();
        assert_eq!(attachment(None, &wanted, true).unwrap(), Attachment::Attach(wanted.clone()));
        assert_eq!(attachment(Some(&text), &wanted, true).unwrap(), Attachment::Unchanged);
        assert_eq!(attachment(None, &wanted, false).unwrap(), Attachment::Unchanged);
        let foreign = simple.to_json();
        assert_eq!(attachment(Some(&foreign), &wanted, false).unwrap(), Attachment::Unchanged);
        assert_eq!(attachment(Some(&foreign), &wanted, true).unwrap(), Attachment::Attach(wanted.clone()));
        assert_eq!(attachment(Some("{"), &wanted, true).unwrap(), Attachment::Attach(wanted.clone()));
        let Attachment::Suspend(suspended) = attachment(Some(&text), &wanted, false).unwrap() else {
            panic!("it is not suspended")
        };
        assert!(is_shielded(suspended.policy()));
        let images = [image(1, &[], 9), image(2, &["ecr-steward-in-use-2"], 9), image(3, &["v1"], 900)];
        assert_eq!(taken(suspended.policy(), &images), Vec::<usize>::new());
        let suspended = suspended.to_json();
        assert_eq!(attachment(Some(&suspended), &wanted, false).unwrap(), Attachment::Unchanged);
        assert_eq!(attachment(Some(&suspended), &wanted, true).unwrap(), Attachment::Attach(wanted));
    }

    #[test]
    fn the_shield_counts_against_ecrs_rules() {
        let rules = |count: usize| {
            let rules: Vec<String> = (0..count)
                .map(|n| format!("{{selection: {{tagPrefixList: [p{n}-]}}, maximumAgeLimit: 1}}"))
                .collect();
            policy(&rules.join(", "))
        };
        assert_eq!(shielded(&rules(48)).unwrap().rules().len(), 50);
        let archive = "{selection: any, maximumDaysInArchive: 90}";
        assert_eq!(shielded(&policy(archive)).unwrap().rules().len(), 4);
        let finding = shielded(&rules(49)).unwrap_err();
        assert_eq!((finding.code, finding.pointer.as_str()), (Code::TooManyRules, "/rules"));
        let text = shielded(&rules(1)).unwrap().to_json();
        assert!(LifecyclePolicy::parse(&text).is_ok(), "{text}");
    }

    #[test]
    fn a_signature_by_tag_of_what_is_in_use_gets_a_tag_and_a_child_of_an_index_does_not_need_one() {
        let simple = policy("{selection: any, maximumAgeLimit: 1}");
        let policy = shielded(&simple).unwrap();
        let tag = image(1, &[], 9).digest.replace(':', "-");
        let images = [
            Image { kind: ManifestKind::Index, ..image(1, &["v1"], 9) },
            image(2, &[], 9),
            image(3, &[&format!("{tag}.sig")], 9),
            image(4, &["x"], 9),
        ];
        let mut relations = Relations::default();
        relations.index(&images[0].digest, [&*images[1].digest]);
        let pack = |images: &[Image]| RepositoryImages::new(images.to_vec(), &relations);
        let tags_of = |in_use: &[ImageIndex]| {
            let mut tagged: Vec<ImageIndex> = changes(&pack(&images), &in_use.iter().copied().collect())
                .into_iter()
                .map(|change| match change {
                    TagChange::Add { image, .. } | TagChange::Remove { image, .. } => image,
                })
                .collect();
            tagged.sort_unstable();
            tagged
        };
        assert_eq!(tags_of(&[0]), [0, 2]);
        assert_eq!(tags_of(&[1]), [0, 1, 2], "a child that is used itself stays without its index");
        let after = pack(&changed(&images, &changes(&pack(&images), &HashSet::from([0]))));
        let evaluation = evaluate(Some(&policy), &after, &HashSet::new(), now(), Passes::UntilStable);
        let taken = evaluation.verdicts().iter().map(|verdict| verdict.acting_rule().is_some());
        assert_eq!(taken.collect::<Vec<_>>(), [false, false, false, true]);
    }
}
