//! In-use protection: keeps a policy that ECR itself enforces from images in use, which ECR does not know.
//!
//! Every image in use gets a *protection tag* of its own ([`IN_USE`] and its digest: no two images share a tag, so that this
//! works with immutable tags, too). The first rule of the policy, the *protection rule*, identifies the images with such a tag
//! and marks none of them, so that no later rule acts on them (ECR user guide, "How lifecycle policies work").
//!
//! A protection tag is never removed: an image that ever had one is deleted only by this stack itself, with limits and journal.
//! Plans of this project ignore protection tags: an image with no other tag is untagged for them.

use std::collections::{HashMap, HashSet};

use crate::domain::image::{Image, ImageIndex, RepositoryImages};
use crate::domain::lifecycle::document::{
    Action, LifecyclePolicy, Limit, MAX_RULES, Rule, StorageClass, TagList, TagSelection,
};
use crate::domain::lifecycle::matches_wildcard;
use crate::domain::text::finding::{Code, Finding};

/// Prefix of protection tags; the hexadecimal digits of the image's digest follow.
pub const IN_USE: &str = "ecr-steward-in-use-";
/// Prefix of tags that earlier versions put on images whose use had ended. An image that has one counts as protected once.
pub const RELEASED: &str = "ecr-steward-released-";
/// The prefix of all tags that this project adds to images by itself.
pub const OWN_TAGS: &str = "ecr-steward-";
/// The filter of `imageTagMutabilityExclusionFilters` that matches the protection tags.
pub const OWN_TAGS_PATTERN: &str = "ecr-steward-*";

/// Number of images with a protection tag that the rule keeps: more than a repository can have.
const ALL: u64 = 1_000_000;
/// Number of days after which no archived image expires in practice.
const EVER: u64 = 36_500;

/// Whether a tag is a protection tag, or one that an earlier version used instead.
#[must_use]
pub fn is_protection_tag(tag: &str) -> bool {
    tag.starts_with(IN_USE) || tag.starts_with(RELEASED)
}

/// Whether an image was ever protected, so that only this stack itself deletes it.
#[must_use]
pub fn was_protected(image: &Image) -> bool {
    image.tags.iter().any(|tag| is_protection_tag(tag))
}

/// The rules that come first in a policy that ECR enforces: the protection rule, and for a policy that looks into the archive
/// its counterpart there.
#[must_use]
pub fn protection_rules(looks_into_archive: bool) -> Vec<Rule> {
    let mut rules = vec![protection_rule()];
    // Something may still run what was archived; rules see the images of one storage class only.
    if looks_into_archive {
        rules.push(rule(2, ARCHIVED, Limit::SinceImageTransitioned(EVER)));
    }
    rules
}

/// The policy behind the protection rule, as it is attached.
///
/// # Errors
///
/// When a rule [conflicts] with protection tags, or ECR's limits leave no room for the protection rule, and a second
/// one for a policy that looks into the archive.
pub fn protected(policy: &LifecyclePolicy) -> Result<LifecyclePolicy, Finding> {
    if let Some(conflict) = conflicts(policy).into_iter().next() {
        return Err(conflict);
    }
    let looks_into_archive =
        policy.rules().iter().any(|rule| rule.limit.storage_class() == StorageClass::Archive);
    let own = protection_rules(looks_into_archive);
    let most = MAX_RULES - own.len();
    if policy.rules().len() > most {
        let message = format!(
            "the policy has {} rules, and an attached one can have {most}: {} of ECR's {MAX_RULES} {} it from what is in \
             use; merge rules",
            policy.rules().len(),
            own.len(),
            if own.len() == 1 { "keeps" } else { "keep" },
        );
        return Err(Finding::new(Code::TooManyRules, "/rules", message));
    }
    let first = own.len() as u64 + 1;
    let rules = (first..).zip(policy.rules()).map(|(priority, rule)| Rule { priority, ..rule.clone() });
    LifecyclePolicy::from_valid(own.into_iter().chain(rules).collect())
}

/// The policy without the protection rules that it begins with, its other rules numbered from 1; `None` if nothing else is in
/// it. A policy without a protection rule comes back with its priorities renumbered.
#[must_use]
pub fn without_protection(policy: &LifecyclePolicy) -> Option<LifecyclePolicy> {
    let rules = policy.rules().iter().filter(|rule| !is_protection_rule(rule));
    let rules: Vec<Rule> =
        (1..).zip(rules).map(|(priority, rule)| Rule { priority, ..rule.clone() }).collect();
    if rules.is_empty() { None } else { LifecyclePolicy::from_valid(rules).ok() }
}

/// The number of protection rules at the beginning of a policy.
#[must_use]
pub fn protection_rule_count(policy: &LifecyclePolicy) -> usize {
    policy.rules().iter().take_while(|rule| is_protection_rule(rule)).count()
}

/// Whether the first rule of a policy is the protection rule, whatever its description, and whatever its number beyond the images
/// that a repository can have.
#[must_use]
pub fn is_protected(policy: &LifecyclePolicy) -> bool {
    policy.rules().first().is_some_and(is_active_protection_rule)
}

/// Whether nothing expires by a policy: it has only protection rules.
#[must_use]
pub fn takes_nothing(policy: &LifecyclePolicy) -> bool {
    policy.rules().iter().all(is_protection_rule)
}

fn is_protection_rule(rule: &Rule) -> bool {
    is_active_protection_rule(rule)
        || (selects_protected(rule) && rule.limit == Limit::SinceImageTransitioned(EVER))
}

fn is_active_protection_rule(rule: &Rule) -> bool {
    // ECR holds 100,000 images in a repository at most.
    selects_protected(rule) && matches!(rule.limit, Limit::ImageCountMoreThan(count) if count >= ALL)
}

fn selects_protected(rule: &Rule) -> bool {
    match &rule.tags {
        TagSelection::Tagged(TagList::Prefixes(prefixes)) => *prefixes == [IN_USE],
        TagSelection::Tagged(TagList::Patterns(patterns)) => {
            matches!(patterns.as_slice(), [one] if one.trim_end_matches('*') == IN_USE && one.ends_with('*'))
        }
        TagSelection::Untagged | TagSelection::Any => false,
    }
}

/// Why rules cannot be enforced by ECR beside protection tags: they count images by a tag that every protection tag matches, or
/// they select protection tags. Such a rule would select other images than the policy says. Each finding says what to write
/// instead.
#[must_use]
pub fn conflicts(policy: &LifecyclePolicy) -> Vec<Finding> {
    let sample = format!("{IN_USE}{}", "0".repeat(64));
    let is_about_protection = |list: &str| list.starts_with(IN_USE) || list.starts_with(RELEASED);
    let mut found = Vec::new();
    for rule in policy.rules().iter().filter(|rule| !is_protection_rule(rule)) {
        let TagSelection::Tagged(list) = &rule.tags else { continue };
        let matches = match list {
            TagList::Prefixes(prefixes) => prefixes
                .iter()
                .find(|prefix| sample.starts_with(prefix.as_str()) || is_about_protection(prefix)),
            TagList::Patterns(patterns) => {
                // ECR matches an image when each pattern matches one of its tags.
                patterns
                    .iter()
                    .find(|pattern| matches_wildcard(pattern, &sample) || is_about_protection(pattern))
            }
        };
        let Some(matching) = matches else { continue };
        let message = if is_about_protection(matching) {
            format!(
                "{matching:?} is about protection tags, which no rule but the protection rule may be; leave it out"
            )
        } else if matches!(rule.limit, Limit::ImageCountMoreThan(_)) {
            format!(
                "{matching:?} matches protection tags ({IN_USE}…), so that images in use would count and push others out; name the \
                 tags that your builds make instead, as tagPatternList: [\"v*\"], or write `selection: any`, or a limit by age \
                 (maximumAgeLimit), or `apply: delete`"
            )
        } else {
            continue;
        };
        found.push(Finding::new(Code::ProtectionTagsMatch, format!("{}/selection", rule.pointer), message));
    }
    found
}

/// A lifecycle policy by which nothing expires, by construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakesNothing(LifecyclePolicy);

impl TakesNothing {
    /// The protection rule alone.
    ///
    /// # Errors
    ///
    /// When that rule were not valid; it is.
    pub fn new() -> Result<Self, Finding> {
        LifecyclePolicy::from_valid(vec![protection_rule()]).map(Self)
    }

    /// The policy.
    #[must_use]
    pub const fn policy(&self) -> &LifecyclePolicy {
        &self.0
    }

    /// The policy as ECR's document.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.0.to_json()
    }
}

/// The description of the protection rule.
const IN_USE_STAYS: &str = "images in use, which stay";
/// The description of the protection rule for the archive.
const ARCHIVED: &str = "archived images in use, which stay";

fn protection_rule() -> Rule {
    rule(1, IN_USE_STAYS, Limit::ImageCountMoreThan(ALL))
}

fn rule(priority: u64, description: &str, limit: Limit) -> Rule {
    Rule {
        priority,
        description: Some(description.to_owned()),
        tags: TagSelection::Tagged(TagList::Prefixes(vec![IN_USE.to_owned()])),
        limit,
        action: Action::Expire,
        pointer: String::new(),
    }
}

/// The protection tags to add, so that every image in use, and what belongs to it, has one of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tagging {
    /// Tags to add, by image.
    pub additions: Vec<(ImageIndex, String)>,
    /// Protection tags that another image already has. The image gets a spare protection tag. ECR must not enforce the policy
    /// meanwhile, since this is an attack or a mistake.
    pub taken: Vec<TakenTag>,
}

/// A wanted protection tag that another image has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenTag {
    /// The tag.
    pub tag: String,
    /// The image in use that it is for.
    pub wanted_by: ImageIndex,
    /// The image that has it.
    pub held_by: ImageIndex,
}

/// The protection tags to add; `held` are the images that are in use or kept by the policy.
#[must_use]
pub fn tagging(images: &RepositoryImages, held: &HashSet<ImageIndex>) -> Tagging {
    let protected = images_to_protect(images, held);
    let holders: HashMap<&str, ImageIndex> = (0..)
        .zip(images.images())
        .flat_map(|(place, image)| image.tags.iter().map(move |tag| (&**tag, place)))
        .filter(|(tag, _)| tag.starts_with(IN_USE))
        .collect();
    let mut tagging = Tagging::default();
    for (place, image) in (0..).zip(images.images()) {
        if !protected.contains(&place) {
            continue;
        }
        let wanted = protection_tag(image);
        match holders.get(wanted.as_str()) {
            Some(&holder) if holder == place => continue,
            Some(&held_by) => {
                tagging.taken.push(TakenTag { tag: wanted.clone(), wanted_by: place, held_by });
                // A later look finds the spare one.
                let spares = (2..).map(|number: u32| format!("{wanted}-{number}"));
                let spare = spares
                    .take(1000)
                    .find(|tag| holders.get(tag.as_str()).is_none_or(|&holder| holder == place));
                if let Some(spare) = spare
                    && !holders.contains_key(spare.as_str())
                {
                    tagging.additions.push((place, spare));
                }
            }
            None => tagging.additions.push((place, wanted)),
        }
    }
    tagging
}

/// The images in use and those that belong to them, as far as each needs a tag of its own. ECR does not act on the children of an
/// existing index, but it may act on referrers of an existing image.
fn images_to_protect(images: &RepositoryImages, held: &HashSet<ImageIndex>) -> HashSet<ImageIndex> {
    let named = held.iter().map(|place| (*place, String::new())).collect();
    let all = images.closure(named, "");
    let is_listed = |place: ImageIndex| images.lists_of(place).any(|index| all.contains_key(&index));
    all.keys().copied().filter(|place| held.contains(place) || !is_listed(*place)).collect()
}

/// The protection tag of an image, which no other image wants.
#[must_use]
pub fn protection_tag(image: &Image) -> String {
    let hex = image.digest.rsplit(':').next().unwrap_or_default();
    format!("{IN_USE}{hex}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::image::{ImageStatus, ManifestKind, Relations};
    use crate::domain::lifecycle::{Passes, PolicySource, evaluate};
    use crate::domain::text::instant::Instant;

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

    fn packed(images: &[Image]) -> RepositoryImages {
        RepositoryImages::new(images.to_vec(), &Relations::default())
    }

    fn tagged(images: &[Image], tagging: &Tagging) -> Vec<Image> {
        let mut images = images.to_vec();
        for (place, tag) in &tagging.additions {
            let image = &mut images[*place as usize];
            image.tags = image.tags.iter().cloned().chain([tag.as_str().into()]).collect();
        }
        images
    }

    /// The images that ECR would expire, which does not know their use.
    fn taken(policy: &LifecyclePolicy, images: &[Image]) -> Vec<usize> {
        let packed = packed(images);
        let evaluation = evaluate(Some(policy), &packed, &HashSet::new(), now(), Passes::UntilStable);
        let verdicts = evaluation.verdicts().iter().enumerate();
        verdicts.filter(|(_, verdict)| verdict.acting_rule().is_some()).map(|(place, _)| place).collect()
    }

    #[test]
    fn ecr_spares_what_is_in_use_and_expires_the_rest() {
        let policy = protected(&policy(
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
        let after = tagged(&images, &tagging(&packed(&images), &HashSet::from([0, 2])));
        assert_eq!(taken(&policy, &after), [1, 3, 5]);
    }

    #[test]
    fn a_use_that_ends_changes_no_tag_and_ecr_leaves_the_image_alone_for_good() {
        let policy = protected(&policy("{selection: untagged, maximumAgeLimit: 1}")).unwrap();
        let images = [image(1, &[], 9), image(2, &["v1"], 9)];
        let used = tagged(&images, &tagging(&packed(&images), &HashSet::from([0, 1])));
        assert_eq!(tagging(&packed(&used), &HashSet::new()), Tagging::default());
        assert_eq!(taken(&policy, &used), Vec::<usize>::new());
        assert!(was_protected(&used[0]) && !was_protected(&images[0]));
    }

    #[test]
    fn done_twice_it_changes_nothing() {
        let images = [image(1, &[], 9), image(2, &["v1"], 9), image(3, &[], 2)];
        let used = HashSet::from([0, 1]);
        let after = tagged(&images, &tagging(&packed(&images), &used));
        assert_eq!(tagging(&packed(&after), &used), Tagging::default());
    }

    #[test]
    fn no_two_images_want_one_tag() {
        let images: Vec<Image> = (0..40).map(|number| image(number, &[], 9)).collect();
        let all: HashSet<ImageIndex> = (0..40).collect();
        let tags: BTreeSet<String> =
            tagging(&packed(&images), &all).additions.into_iter().map(|(_, tag)| tag).collect();
        assert_eq!(tags.len(), 40);
        assert!(tags.iter().all(|tag| tag.len() <= 128 && is_protection_tag(tag)));
    }

    #[test]
    fn a_wanted_tag_that_another_image_has_is_reported_and_a_spare_one_protects_meanwhile() {
        let victim = image(1, &[], 9);
        let wanted = protection_tag(&victim);
        let images = [victim, image(2, &[&wanted], 1)];
        let found = tagging(&packed(&images), &HashSet::from([0]));
        assert_eq!(found.taken, [TakenTag { tag: wanted.clone(), wanted_by: 0, held_by: 1 }]);
        assert_eq!(found.additions, [(0, format!("{wanted}-2"))]);
        let after = tagged(&images, &found);
        let again = tagging(&packed(&after), &HashSet::from([0]));
        assert_eq!((again.taken.len(), again.additions.len()), (1, 0), "it is told as long as it is so");
        let everything = protected(&policy("{selection: any, maximumAgeLimit: 1}")).unwrap();
        assert_eq!(taken(&everything, &after), Vec::<usize>::new());
        let spare_taken = [image(1, &[], 9), image(2, &[&wanted], 1), image(3, &[&format!("{wanted}-2")], 1)];
        let found = tagging(&packed(&spare_taken), &HashSet::from([0]));
        assert_eq!(found.additions, [(0, format!("{wanted}-3"))]);
    }

    #[test]
    fn the_protection_rule_is_known_and_comes_off_again() {
        let simple =
            policy("{selection: untagged, maximumAgeLimit: 1}, {selection: any, maximumDaysInArchive: 90}");
        let wanted = protected(&simple).unwrap();
        assert_eq!((wanted.rules().len(), protection_rule_count(&wanted)), (4, 2));
        assert!(is_protected(&wanted) && !is_protected(&simple) && !takes_nothing(&wanted));
        assert_eq!(without_protection(&wanted).as_ref(), Some(&simple));
        assert_eq!(without_protection(&simple).as_ref(), Some(&simple));
        let nothing = TakesNothing::new().unwrap();
        assert!(is_protected(nothing.policy()) && takes_nothing(nothing.policy()));
        assert_eq!(without_protection(nothing.policy()), None);
        let images = [image(1, &[], 9), image(2, &["ecr-steward-in-use-2"], 9), image(3, &["v1"], 900)];
        assert_eq!(taken(nothing.policy(), &images), Vec::<usize>::new());
        // As Terraform may write it, with a description of its own.
        let document = |count: u64, prefix: &str| {
            let text = format!(
                r#"{{"rules": [{{"rulePriority": 10, "selection": {{"tagStatus": "tagged", "tagPrefixList": ["{prefix}"],
                "countType": "imageCountMoreThan", "countNumber": {count}}}, "action": {{"type": "expire"}}}}]}}"#
            );
            LifecyclePolicy::parse(&text).unwrap()
        };
        assert!(is_protected(&document(1_000_000, IN_USE)));
        assert!(!is_protected(&document(100, IN_USE)) && !is_protected(&document(1_000_000, "v")));
    }

    #[test]
    fn a_rule_that_would_count_protection_tags_is_refused_with_what_to_write_instead() {
        for rules in [
            "{selection: {tagPatternList: ['*']}, maximumNumberOfImages: 8}",
            "{selection: {tagPrefixList: [ecr-]}, maximumNumberOfImages: 8}",
            "{selection: {tagPatternList: ['ecr-steward-in-use-*']}, maximumAgeLimit: 8}",
        ] {
            let finding = protected(&policy(rules)).unwrap_err();
            assert_eq!(
                (finding.code, finding.pointer.as_str()),
                (Code::ProtectionTagsMatch, "/rules/0/selection"),
                "{rules}"
            );
        }
        let count =
            protected(&policy("{selection: {tagPatternList: ['*']}, maximumNumberOfImages: 8}")).unwrap_err();
        for way in ["tagPatternList: [\"v*\"]", "selection: any", "maximumAgeLimit", "apply: delete"] {
            assert!(count.message.contains(way), "{count}");
        }
        for rules in [
            "{selection: {tagPatternList: ['*']}, maximumAgeLimit: 8}",
            "{selection: {tagPatternList: ['v*']}, maximumNumberOfImages: 8}",
            "{selection: any, maximumNumberOfImages: 8}",
        ] {
            assert!(protected(&policy(rules)).is_ok(), "{rules}");
        }
    }

    #[test]
    fn the_protection_rule_counts_against_ecrs_rules() {
        let rules = |count: usize| {
            let rules: Vec<String> = (0..count)
                .map(|n| format!("{{selection: {{tagPrefixList: [p{n}-]}}, maximumAgeLimit: 1}}"))
                .collect();
            policy(&rules.join(", "))
        };
        assert_eq!(protected(&rules(49)).unwrap().rules().len(), 50);
        let archive = "{selection: any, maximumDaysInArchive: 90}";
        assert_eq!(protected(&policy(archive)).unwrap().rules().len(), 3);
        let finding = protected(&rules(50)).unwrap_err();
        assert_eq!((finding.code, finding.pointer.as_str()), (Code::TooManyRules, "/rules"));
        let text = protected(&rules(1)).unwrap().to_json();
        assert!(LifecyclePolicy::parse(&text).is_ok(), "{text}");
    }

    #[test]
    fn a_signature_by_tag_of_what_is_in_use_gets_a_tag_and_a_child_of_an_index_does_not_need_one() {
        let policy = protected(&policy("{selection: any, maximumAgeLimit: 1}")).unwrap();
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
            let found = tagging(&pack(&images), &in_use.iter().copied().collect());
            let mut tagged: Vec<ImageIndex> = found.additions.into_iter().map(|(place, _)| place).collect();
            tagged.sort_unstable();
            tagged
        };
        assert_eq!(tags_of(&[0]), [0, 2]);
        assert_eq!(tags_of(&[1]), [0, 1, 2], "a child that is used itself stays without its index");
        let after = pack(&tagged(&images, &tagging(&pack(&images), &HashSet::from([0]))));
        let evaluation = evaluate(Some(&policy), &after, &HashSet::new(), now(), Passes::UntilStable);
        let taken = evaluation.verdicts().iter().map(|verdict| verdict.acting_rule().is_some());
        assert_eq!(taken.collect::<Vec<_>>(), [false, false, false, true]);
    }
}
