//! Plans what a policy of the policies file removes from a repository in one run, as a whole, before anything is removed.
//!
//! The rules decide first. Images in use, images that the policy keeps, and everything that belongs to them are excluded. The
//! same limits apply to deletions and archivals: both take an image from whoever pulls it. A plan that exceeds a limit, or whose
//! images are not all known, is not executed at all.

use std::collections::{HashMap, HashSet};

use crate::domain::enforcement::in_use_protection::{
    self, Tagging, is_protection_tag, protection_rule_count, tagging, was_protected,
};
use crate::domain::enforcement::policy_set::{Entry, Keep};
use crate::domain::image::{Image, ImageIndex, ImageStatus, RepositoryImages};
use crate::domain::lifecycle::document::{Action, LifecyclePolicy};
use crate::domain::lifecycle::evaluate::{Evaluation, Passes, Referrers, evaluate, evaluate_with};
use crate::domain::lifecycle::matches_wildcard;
use crate::domain::text::finding::Finding;
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity::{count, count_of};
use crate::domain::usage::UsedImages;
use crate::domain::usage::usage_snapshot::CLOCK_SECONDS;

/// The plan for a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The images to delete, in this order: image indexes before the images they list, subjects before their referrers.
    pub deletions: Vec<ImageIndex>,
    /// The images to archive, oldest first.
    pub archivals: Vec<ImageIndex>,
    /// The images that the policy keeps although its rules select them, and why.
    pub kept: HashMap<ImageIndex, String>,
    /// The images that are in use or kept by the policy. The other kept images only belong to one of these.
    pub held: HashSet<ImageIndex>,
    /// The planned images that ECR itself deletes or archives once a policy is attached. This stack removes the rest.
    pub by_ecr: HashSet<ImageIndex>,
    /// The protection tags that ECR has to see before the policy is attached.
    pub tagging: Tagging,
    /// Why the plan is not executed. If empty, it can be executed.
    pub blockers: Vec<Blocker>,
    /// The verdict for each image.
    pub evaluation: Evaluation,
}

/// What changed in a repository since the run began, so that the run's plan is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reassignment {
    /// Its name or tags assign another policy to it.
    #[error("the repository was {} when the run began, and is {} now", under(.was), under(.is))]
    Policy {
        /// The name of the policy when the run began; empty for none.
        was: String,
        /// The name of the policy now; empty for none.
        is: String,
    },
    /// Somebody replaced the attached lifecycle policy.
    #[error("the attached lifecycle policy was replaced during the run")]
    Replaced,
    /// Somebody asked for another lifecycle policy.
    #[error("another lifecycle policy was asked for during the run")]
    Requested,
    /// The lifecycle policy was suspended, for this reason.
    #[error("the lifecycle policy was suspended during the run: {0}")]
    Suspended(String),
    /// The record of the lifecycle policy was deleted or overwritten, so that the policy was suspended.
    #[error("the lifecycle policy was suspended during the run: its record is gone, or cannot be read")]
    Unrecorded,
}

/// Which policy a repository is under, to continue a sentence.
fn under(policy: &str) -> String {
    match policy {
        "" => "under no policy".to_owned(),
        policy => format!("under the policy {policy}"),
    }
}

/// Why a plan is not executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Blocker {
    /// More images than the policy allows to remove in a run.
    #[error("{planned} would be deleted, and the limit `images` is {limit}")]
    Images {
        /// The number of planned images.
        planned: u64,
        /// The limit.
        limit: u64,
    },
    /// A larger part of the repository than the policy allows to remove in a run.
    #[error(
        "{planned} of {total} images would be deleted, which is more than the limit `percent` of {limit}"
    )]
    Percent {
        /// The number of planned images.
        planned: u64,
        /// The number of all images.
        total: u64,
        /// The limit, in percent.
        limit: u64,
    },
    /// Fewer images would be left than the policy wants.
    #[error("{} would be left, and the limit `remaining` is {limit}", count(*.left, "image"))]
    Remaining {
        /// The number of images that would remain.
        left: u64,
        /// The limit.
        limit: u64,
    },
    /// The children of some image indexes are unknown, and could be mistaken for ordinary images.
    #[error(
        "the manifests of {} could not be read, so that what they reference is not known; the next run reads them again, and what \
         stays unreadable has to be deleted by hand",
        count_of(*.0, "image index", "image indexes")
    )]
    UnreadIndexes(u64),
    /// Images that were pushed after the present: the clock is wrong, and ages are.
    #[error("{} pushed after {now}, by which ages are counted: a clock is wrong", match .count { 1 => "1 image was".to_owned(), more => format!("{more} images were") })]
    Clock {
        /// The number of those indexes.
        count: u64,
        /// The present.
        now: Instant,
    },
    /// The plan exceeds the registry's daily limit.
    #[error(
        "{} would be deleted, and of the {limit} that may be deleted in the registry today {before} were; the rest is deleted on the next days, or set \
         `limits` at the top of policies.yaml",
        count(*.planned, "image")
    )]
    Registry {
        /// The number of planned images in this step.
        planned: u64,
        /// The number of images that were removed from the registry today.
        before: u64,
        /// The limit of the registry for a day.
        limit: u64,
    },
    /// The repository is under another policy, or under none, since the run began.
    #[error("{0}; the next run uses the tags as they are now")]
    Reassigned(Reassignment),
    /// An image in use wants a protection tag that another image has.
    #[error(
        "the protection tag {tag} of {wanted_by}, which is in use, is on {held_by}: somebody put it there; take it off with aws ecr \
         batch-delete-image --image-ids imageTag={tag}, but first give {held_by} another tag if it has to be kept"
    )]
    ProtectionTagTaken {
        /// The tag.
        tag: String,
        /// The digest of the image that it is for.
        wanted_by: String,
        /// The digest of the image that has it.
        held_by: String,
    },
    /// The policy cannot be enforced by ECR beside protection tags.
    #[error("{0}")]
    Unprotectable(Finding),
    /// ECR would delete or archive images that have to be kept.
    #[error(
        "by this policy ECR would delete or archive {} that is protected: its rules act on what the protection rule does not cover",
        count(*.0, "image")
    )]
    TakesProtected(u64),
    /// The attached policy is somebody else's, and its first rule is not the protection rule.
    #[error(
        "the first rule of the attached lifecycle policy is not the protection rule, so that ECR deletes what is in use: put what \
         `ecr-steward protection-rule` prints before its rules"
    )]
    Unprotected,
    /// The lifecycle policy that the repository was created with is no longer attached.
    #[error(
        "the lifecycle policy that the repository was made with is gone: somebody deleted it; ask for a policy once more, or for none"
    )]
    NotAttached,
    /// A policy that has to be suspended is not.
    #[error(
        "the lifecycle policy could not be suspended, and ECR goes on deleting by it: {0}; delete it, or see why"
    )]
    NotSuspended(String),
    /// More may be in use than is known.
    #[error("what is in use is not known completely: {0}")]
    Usage(String),
    /// The switch of the stack is off.
    #[error(
        "the stack's parameter Enforce is not true: deploy it with Enforce=true to have policies enforced"
    )]
    EnforceOff,
    /// The policies file was changed or deleted since the run began, or is not valid.
    #[error(
        "policies.yaml is not the version any more that this run began with: the next run uses what is there now"
    )]
    PoliciesFileChanged,
    /// No completed run previewed the policies file, and it does not approve itself.
    #[error(
        "no completed run has previewed this policies.yaml: the next run does, and the one after it enforces it"
    )]
    PoliciesFileNotPreviewed,
    /// The run began too long ago, or in the future.
    #[error("the run began at {started_at}, and a run enforces for a day at most: start another one")]
    RunTooOld {
        /// The start of the run.
        started_at: Instant,
    },
}

impl Blocker {
    /// The code of the blocker, for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Images { .. } => "limit-images",
            Self::Percent { .. } => "limit-percent",
            Self::Remaining { .. } => "limit-remaining",
            Self::UnreadIndexes(_) => "unread-manifest-lists",
            Self::Clock { .. } => "clock",
            Self::Registry { .. } => "limit-registry",
            Self::Reassigned(_) => "reassigned",
            Self::ProtectionTagTaken { .. } => "protection-tag-taken",
            Self::Unprotectable(_) => "policy-cannot-be-protected",
            Self::TakesProtected(_) => "policy-takes-protected",
            Self::Unprotected => "policy-not-protected",
            Self::NotAttached => "policy-not-attached",
            Self::NotSuspended(_) => "policy-not-suspended",
            Self::Usage(_) => "usage-unknown",
            Self::EnforceOff => "enforce-off",
            Self::PoliciesFileChanged => "policies-file-changed",
            Self::PoliciesFileNotPreviewed => "policies-file-not-previewed",
            Self::RunTooOld { .. } => "run-too-old",
        }
    }
}

impl Plan {
    /// The images to delete, in steps: all images of a step are deleted before those of the next.
    #[must_use]
    pub fn steps(&self, images: &RepositoryImages) -> Vec<Vec<ImageIndex>> {
        let mut steps: Vec<Vec<ImageIndex>> = Vec::new();
        let mut last = None;
        for &place in &self.deletions {
            let step = (pass(&self.evaluation, place), images.referrer_depth(place));
            if last != Some(step) {
                steps.push(Vec::new());
                last = Some(step);
            }
            if let Some(step) = steps.last_mut() {
                step.push(place);
            }
        }
        steps
    }

    /// The images of the plan that count for limits.
    #[must_use]
    pub fn all_counted(&self, images: &RepositoryImages) -> HashSet<ImageIndex> {
        let planned: HashSet<ImageIndex> = self.deletions.iter().chain(&self.archivals).copied().collect();
        counted(images, |place| planned.contains(&place), planned.iter().copied()).collect()
    }

    /// The number of these images, of those that the plan deletes or archives, that count for limits: independent images, and
    /// each part of another image that remains without it.
    #[must_use]
    pub fn counted(&self, images: &RepositoryImages, places: &[ImageIndex]) -> u64 {
        let planned: HashSet<ImageIndex> = self.deletions.iter().chain(&self.archivals).copied().collect();
        counted(images, |place| planned.contains(&place), places.iter().copied()).count() as u64
    }
}

/// Those of some planned images that count for limits.
pub(crate) fn counted<'a>(
    images: &'a RepositoryImages,
    is_planned: impl Fn(ImageIndex) -> bool + 'a,
    places: impl Iterator<Item = ImageIndex> + 'a,
) -> impl Iterator<Item = ImageIndex> + 'a {
    let goes_along = move |place| images.holders_of(place).any(&is_planned);
    let alone = move |place| !images.is_part(place) || !goes_along(place);
    places.filter(move |&place| !images.is_orphan(place) && alone(place))
}

fn pass(evaluation: &Evaluation, place: ImageIndex) -> Option<u16> {
    evaluation.verdicts().get(place as usize).and_then(|verdict| verdict.pass())
}

/// Plans one run. Protection tags are ignored: the policy applies to the other tags.
#[must_use]
pub fn plan(entry: &Entry, images: &RepositoryImages, used: &UsedImages, now: Instant) -> Plan {
    let bare = images.without_tags(is_protection_tag);
    let named = entry.keep.names(&bare, now);
    let mut held = used.named().clone();
    held.extend(named.keys());
    let mut kept = bare.closure(named, "is kept");
    let mut protected = used.images();
    protected.extend(kept.keys());
    for place in possible_children(&bare, ImageStatus::Archived) {
        kept.entry(place).or_insert_with(|| MAY_BE_LISTED.to_owned());
    }
    for (place, reason) in referrers_of_several(&bare) {
        kept.entry(place).or_insert(reason);
    }
    let mut untouchable = used.images();
    untouchable.extend(kept.keys());
    let ranked = bare.with_tag_referrers();
    let own = evaluate(Some(&entry.policy), &ranked, &untouchable, now, Passes::UntilStable);
    let mut plan = Plan {
        deletions: Vec::new(),
        archivals: Vec::new(),
        kept,
        held,
        by_ecr: HashSet::new(),
        tagging: Tagging::default(),
        blockers: Vec::new(),
        evaluation: own,
    };
    let going = if entry.apply.is_by_ecr() {
        plan.behind_protection(entry, images, &protected, now)
    } else {
        acting(&plan.evaluation).collect()
    };
    let action = |place: ImageIndex| {
        let rule = plan.evaluation.verdicts().get(place as usize)?.acting_rule()?;
        entry.policy.rules().get(rule).map(|rule| rule.action)
    };
    let mut deletions: Vec<ImageIndex> =
        going.iter().copied().filter(|&place| action(place) == Some(Action::Expire)).collect();
    let mut archivals: Vec<ImageIndex> =
        going.iter().copied().filter(|&place| action(place) == Some(Action::Transition)).collect();
    let age = |place: &ImageIndex| {
        let image = images.images().get(*place as usize);
        image.map(|image| (image.age_time(), &*image.digest))
    };
    // A child goes in a later pass than its last image index. Of one pass a subject goes before what is about it.
    deletions.sort_by_cached_key(|&place| {
        (pass(&plan.evaluation, place), images.referrer_depth(place), age(&place))
    });
    archivals.sort_by_cached_key(age);
    plan.blockers.extend(blockers(entry, (images, &bare), &deletions, &archivals, now));
    Plan { deletions, archivals, ..plan }
}

/// The images on which an evaluation acts.
fn acting(evaluation: &Evaluation) -> impl Iterator<Item = ImageIndex> + '_ {
    let verdicts = (0..).zip(evaluation.verdicts());
    verdicts.filter(|(_, verdict)| verdict.acting_rule().is_some()).map(|(place, _)| place)
}

impl Plan {
    /// The plan where ECR enforces the policy behind the protection rule: what ECR expires of the images with their future tags,
    /// and what was protected once and is removed by this stack.
    fn behind_protection(
        &mut self,
        entry: &Entry,
        images: &RepositoryImages,
        protected: &HashSet<ImageIndex>,
        now: Instant,
    ) -> HashSet<ImageIndex> {
        let digest = |place: ImageIndex| {
            images.images().get(place as usize).map(|image| image.digest.to_string()).unwrap_or_default()
        };
        self.tagging = tagging(images, &self.held);
        self.blockers.extend(self.tagging.taken.iter().map(|taken| Blocker::ProtectionTagTaken {
            tag: taken.tag.clone(),
            wanted_by: digest(taken.wanted_by),
            held_by: digest(taken.held_by),
        }));
        let mut going: HashSet<ImageIndex> = HashSet::new();
        let mut taken: Vec<ImageIndex> = acting(&self.evaluation).collect();
        taken.sort_by_cached_key(|&place| (pass(&self.evaluation, place), images.referrer_depth(place)));
        for place in taken {
            let is_ours = images.images().get(place as usize).is_some_and(was_protected);
            if is_ours || images.holders_of(place).any(|holder| going.contains(&holder)) {
                going.insert(place);
            }
        }
        match in_use_protection::protected(&entry.policy) {
            Err(finding) => self.blockers.push(Blocker::Unprotectable(finding)),
            Ok(policy) => {
                let tagged = images.with_tags(&self.tagging.additions);
                let evaluation = by_ecr(&policy, &tagged, now);
                self.by_ecr = acting(&evaluation).collect();
                let wrong = self.by_ecr.intersection(protected).count();
                if wrong > 0 {
                    self.blockers.push(Blocker::TakesProtected(wrong as u64));
                }
                let offset = protection_rule_count(&policy);
                let own = std::mem::take(&mut self.evaluation);
                self.evaluation = own.overlaid_with(&evaluation, offset);
                going.extend(&self.by_ecr);
                // What it may belong to counts for what this stack deletes; ECR does not know of it.
                self.kept.retain(|place, _| protected.contains(place) || !self.by_ecr.contains(place));
            }
        }
        going
    }
}

/// What ECR would delete or archive of the images in use, by a lifecycle policy that somebody attached.
#[must_use]
pub fn taken_in_use(
    policy: &LifecyclePolicy,
    images: &RepositoryImages,
    used: &UsedImages,
    now: Instant,
) -> Vec<ImageIndex> {
    let evaluation = by_ecr(policy, images, now);
    let used = used.images();
    acting(&evaluation).filter(|place| used.contains(place)).collect()
}

/// The images that ECR deletes or archives by an attached lifecycle policy, whatever is in use.
#[must_use]
pub fn taken_by_ecr(
    policy: &LifecyclePolicy,
    images: &RepositoryImages,
    now: Instant,
) -> HashSet<ImageIndex> {
    acting(&by_ecr(policy, images, now)).collect()
}

/// What ECR may expire by itself, with ranked referrers or with following ones, since ECR does not document which. Artifacts
/// whose subject is named by a tag are ordinary images for ECR.
fn by_ecr(policy: &LifecyclePolicy, images: &RepositoryImages, now: Instant) -> Evaluation {
    // ECR knows nothing of use.
    let none = HashSet::new();
    let way = |referrers| evaluate_with(Some(policy), images, &none, now, Passes::UntilStable, referrers);
    let follow = way(Referrers::Follow);
    if images.subjects().is_empty() {
        return follow;
    }
    follow.union(way(Referrers::Ranked), policy)
}

/// Why untagged archived images stay beside an archived image index that could not be read.
const MAY_BE_LISTED: &str = "an archived image index may list it, whose manifest ECR does not give; it is free when the index is \
                             restored or gone";

/// Untagged images of this status, where an archived image index could not be read that may list them: archived images cannot be
/// pulled, and ECR does not give their manifests.
fn possible_children(images: &RepositoryImages, status: ImageStatus) -> impl Iterator<Item = ImageIndex> {
    let is_archived = |place: ImageIndex| {
        let image = images.images().get(place as usize);
        image.is_some_and(|image| image.status == ImageStatus::Archived)
    };
    let unread: Vec<ImageIndex> =
        images.unread_indexes().iter().copied().filter(|index| is_archived(*index)).collect();
    let untagged = (0..).zip(images.images()).filter(move |(place, image)| {
        image.status == status && image.tags.is_empty() && unread.iter().any(|index| index != place)
    });
    untagged.map(|(place, _)| place)
}

/// Artifacts that name several images by their tags are kept until all of those but one are deleted.
fn referrers_of_several(images: &RepositoryImages) -> impl Iterator<Item = (ImageIndex, String)> + '_ {
    images
        .referrers_of_several()
        .map(|(place, subjects)| (place, format!("its tags are about {subjects} images that are here")))
}

/// The obstacles of a plan for images, which are given with their protection tags and without them.
fn blockers(
    entry: &Entry,
    (images, bare): (&RepositoryImages, &RepositoryImages),
    deletions: &[ImageIndex],
    archivals: &[ImageIndex],
    now: Instant,
) -> Vec<Blocker> {
    let mut blockers = Vec::new();
    // What ECR enforces goes on by itself, also with images of which nobody knows enough yet.
    if deletions.is_empty() && archivals.is_empty() && !entry.apply.is_by_ecr() {
        return blockers;
    }
    let all = || deletions.iter().chain(archivals).copied();
    let mut is_planned = vec![false; images.images().len()];
    for place in all() {
        if let Some(is_planned) = is_planned.get_mut(place as usize) {
            *is_planned = true;
        }
    }
    let is_planned = |place: ImageIndex| is_planned.get(place as usize).is_some_and(|planned| *planned);
    let limits = entry.limits;
    let is = |place: ImageIndex, status| {
        images.images().get(place as usize).is_some_and(|image| image.status == status)
    };
    let planned = counted(images, is_planned, all()).count() as u64;
    if planned > limits.images {
        blockers.push(Blocker::Images { planned, limit: limits.images });
    }
    // Of the images that can be pulled: what is in the archive is not left to anybody. What may belong to it only counts if it goes.
    let is_doubtful = |place: &ImageIndex| images.stands_alone(*place) && !is_planned(*place);
    let doubtful = possible_children(bare, ImageStatus::Active).filter(is_doubtful).count() as u64;
    let total = images.pullable().saturating_sub(doubtful);
    let is_pullable = |place: &ImageIndex| is(*place, ImageStatus::Active) && images.stands_alone(*place);
    let planned = all().filter(is_pullable).count() as u64;
    let left = total.saturating_sub(planned);
    if planned.saturating_mul(100) > limits.percent.saturating_mul(total) {
        blockers.push(Blocker::Percent { planned, total, limit: limits.percent });
    }
    if planned > 0 && left < limits.remaining {
        blockers.push(Blocker::Remaining { left, limit: limits.remaining });
    }
    let unread = images.unread_indexes().iter().filter(|index| !is(**index, ImageStatus::Archived)).count();
    if unread > 0 {
        blockers.push(Blocker::UnreadIndexes(unread as u64));
    }
    let latest = now.micros().saturating_add(CLOCK_SECONDS * 1_000_000);
    let count = images.images().iter().filter(|image| image.pushed_at.micros() > latest).count() as u64;
    if count > 0 {
        blockers.push(Blocker::Clock { count, now });
    }
    blockers
}

impl Keep {
    /// The images that are kept themselves, and why.
    fn names(&self, images: &RepositoryImages, now: Instant) -> HashMap<ImageIndex, String> {
        let mut named: HashMap<ImageIndex, String> = HashMap::new();
        let all = || (0..).zip(images.images());
        for (place, image) in all() {
            if let Some(reason) = self.reason(image, now) {
                named.insert(place, reason);
            }
        }
        if self.newest == 0 {
            return named;
        }
        let stands = |(place, image): &(ImageIndex, &Image)| {
            image.status == ImageStatus::Active && images.stands_alone(*place)
        };
        let mut whole: Vec<(ImageIndex, &Image)> = all().filter(stands).collect();
        whole.sort_by(|(_, one), (_, two)| {
            two.age_time().cmp(&one.age_time()).then_with(|| two.digest.cmp(&one.digest))
        });
        // What an archived image index may list takes no place from an image that is one for certain.
        let doubtful: HashSet<ImageIndex> = possible_children(images, ImageStatus::Active).collect();
        let mut places = self.newest;
        for (place, _) in whole {
            if places == 0 {
                break;
            }
            named.entry(place).or_insert_with(|| format!("it is among the newest {}", self.newest));
            places -= u64::from(!doubtful.contains(&place));
        }
        named
    }

    fn reason(&self, image: &Image, now: Instant) -> Option<String> {
        let tag =
            image.tags.iter().find(|tag| self.tags.iter().any(|pattern| matches_wildcard(pattern, tag)));
        if let Some(tag) = tag {
            return Some(format!("its tag {tag} is kept"));
        }
        let (within, pulled) = (self.pulled_within_days?, image.last_pulled_at?);
        // A pull in the future is a clock that is wrong, and no reason to delete.
        (pulled.micros() >= now.micros_days_before(within))
            .then(|| format!("it was pulled within {}", count(within, "day")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::enforcement::policy_set::PolicySet;
    use crate::domain::image::listing::RepositoryName;
    use crate::domain::image::{ImageStatus, ManifestKind, Relations};
    use crate::domain::lifecycle::evaluate::Verdict;
    use crate::domain::usage::Usage;

    const NOW: &str = "2026-11-23T00:00:00Z";
    const DAY: i64 = 86_400_000_000;

    fn now() -> Instant {
        Instant::parse(NOW).unwrap()
    }

    fn ago(days: i64) -> Instant {
        Instant::from_micros(now().micros() - days * DAY).unwrap()
    }

    fn image(digest: &str, tags: &[&str], days: i64) -> Image {
        Image {
            digest: digest.into(),
            tags: tags.iter().map(|tag| (*tag).into()).collect(),
            pushed_at: ago(days),
            last_pulled_at: None,
            last_archived_at: None,
            last_activated_at: None,
            size_in_bytes: 1,
            status: ImageStatus::Active,
            kind: ManifestKind::Manifest,
        }
    }

    /// A policy by which everything older than a day expires.
    fn entry(more: &str) -> Entry {
        let policy_set = format!(
            "policies:\n- {{ name: all, repositories: ['*'], rules: [{{ selection: any, maximumAgeLimit: 1 }}]{more} }}"
        );
        PolicySet::parse(&policy_set).unwrap().entries()[0].clone()
    }

    const UNLIMITED: &str = ", limits: { images: 10000, percent: 100, remaining: 1 }";

    fn used(references: &[&str], images: &RepositoryImages) -> UsedImages {
        let list = serde_json::to_string(references).unwrap();
        Usage::parse_recorded(&list).unwrap().of_repository(&RepositoryName::default(), images)
    }

    fn gone(plan: &Plan, images: &RepositoryImages) -> Vec<String> {
        plan.deletions.iter().map(|&place| images.images()[place as usize].digest.to_string()).collect()
    }

    /// A multi-platform image, its signature, and an image beside it.
    fn family() -> RepositoryImages {
        let mut relations = Relations::default();
        relations.index("sha256:1d", ["sha256:a1", "sha256:a2"]);
        relations.refer("sha256:51", "sha256:1d");
        let mut index = image("sha256:1d", &["v1"], 9);
        index.kind = ManifestKind::Index;
        let images = vec![
            image("sha256:a1", &[], 9),
            image("sha256:a2", &[], 9),
            image("sha256:51", &[], 8),
            index,
            image("sha256:00", &["other"], 20),
            image("sha256:ff", &["young"], 0),
        ];
        RepositoryImages::new(images, &relations)
    }

    /// Images that belong together in some way, by their numbers: image indexes with their children, referrers with their subjects,
    /// and artifacts with the image that their tag is about.
    struct Graph {
        what: &'static str,
        images: u8,
        indexes: &'static [(u8, &'static [u8])],
        subjects: &'static [(u8, u8)],
        tags: &'static [(u8, u8)],
    }

    const GRAPHS: [Graph; 8] = [
        Graph {
            what: "an index in an index in an index",
            images: 4,
            indexes: &[(3, &[2]), (2, &[1]), (1, &[0])],
            subjects: &[],
            tags: &[],
        },
        Graph {
            what: "a signature of a signature",
            images: 3,
            indexes: &[],
            subjects: &[(1, 0), (2, 1)],
            tags: &[],
        },
        Graph {
            what: "attestations as children, about their siblings",
            images: 3,
            indexes: &[(2, &[0, 1])],
            subjects: &[(1, 0)],
            tags: &[],
        },
        Graph {
            what: "a cosign tag of a child",
            images: 3,
            indexes: &[(1, &[0])],
            subjects: &[],
            tags: &[(2, 0)],
        },
        Graph {
            what: "a cosign tag of an index, signed by tag itself",
            images: 4,
            indexes: &[(1, &[0])],
            subjects: &[],
            tags: &[(2, 1), (3, 2)],
        },
        Graph {
            what: "an index of referrers with a subject",
            images: 4,
            indexes: &[(2, &[1])],
            subjects: &[(2, 0), (3, 2)],
            tags: &[],
        },
        Graph {
            what: "tags that are about each other",
            images: 2,
            indexes: &[],
            subjects: &[],
            tags: &[(0, 1), (1, 0)],
        },
        Graph {
            what: "an index that lists itself and what is not here",
            images: 2,
            indexes: &[(1, &[1, 0, 99])],
            subjects: &[(1, 77)],
            tags: &[],
        },
    ];

    impl Graph {
        fn images(&self) -> RepositoryImages {
            let mut relations = Relations::default();
            for (index, children) in self.indexes {
                relations.index(&digest(*index), children.iter().map(|child| digest(*child)));
            }
            for (referrer, subject) in self.subjects {
                relations.refer(&digest(*referrer), &digest(*subject));
            }
            let mut images: Vec<Image> =
                (0..self.images).map(|number| image(&digest(number), &[], 30)).collect();
            for (index, _) in self.indexes {
                images[usize::from(*index)].kind = ManifestKind::Index;
            }
            for (artifact, about) in self.tags {
                let tag = digest(*about).replace(':', "-") + ".sig";
                images[usize::from(*artifact)].tags = Box::new([tag.into()]);
            }
            images.push(image(&digest(200), &["unused"], 30));
            images.push(image(&digest(201), &["young"], 0));
            RepositoryImages::new(images, &relations)
        }
    }

    /// Whichever part of it runs: all of these graphs are connected.
    #[test]
    fn what_belongs_together_in_any_way_stays_whole_as_long_as_something_of_it_is_in_use() {
        for graph in GRAPHS {
            let images = graph.images();
            for part in 0..graph.images {
                let used = used(&[&format!("app@{}", digest(part))], &images);
                let plan = plan(&entry(UNLIMITED), &images, &used, now());
                assert_eq!(gone(&plan, &images), [digest(200)], "{}: {part} runs", graph.what);
                assert_eq!(plan.blockers, [], "{}", graph.what);
            }
            // And leaves whole in the end, each part after what holds it.
            let plan = plan(&entry(UNLIMITED), &images, &UsedImages::default(), now());
            assert!(gone(&plan, &images).contains(&digest(200)), "{}", graph.what);
        }
    }

    #[test]
    fn indexes_are_deleted_before_what_they_list_and_images_before_their_referrers() {
        let images = family();
        let plan = plan(&entry(UNLIMITED), &images, &UsedImages::default(), now());
        let gone = gone(&plan, &images);
        let at = |digest: &str| gone.iter().position(|other| other == digest).unwrap();
        assert_eq!(gone.len(), 5, "{gone:?}");
        assert!(at("sha256:1d") < at("sha256:a1") && at("sha256:1d") < at("sha256:a2"), "{gone:?}");
        assert!(at("sha256:1d") < at("sha256:51"), "{gone:?}");
        assert!(plan.blockers.is_empty());
    }

    #[test]
    fn whatever_of_a_family_runs_all_of_it_stays() {
        let images = family();
        for reference in ["r:v1", "r@sha256:1d", "r@sha256:a1", "r@sha256:a2"] {
            let plan = plan(&entry(UNLIMITED), &images, &used(&[reference], &images), now());
            assert_eq!(gone(&plan, &images), ["sha256:00"], "{reference}");
        }
    }

    #[test]
    fn what_the_policy_keeps_stays_with_its_reason() {
        let mut images = vec![
            image("sha256:01", &["v1.0", "x"], 30),
            image("sha256:02", &[], 20),
            image("sha256:03", &[], 19),
            image("sha256:04", &[], 10),
        ];
        images[1].last_pulled_at = Some(ago(7));
        images[2].last_pulled_at = Some(ago(8));
        let images = RepositoryImages::new(images, &Relations::default());
        let keep = format!("{UNLIMITED}, keep: {{ tags: ['v*'], newest: 1, pulledWithinDays: 7 }}");
        let plan = plan(&entry(&keep), &images, &UsedImages::default(), now());
        assert_eq!(gone(&plan, &images), ["sha256:03"]);
        let reason = |place: ImageIndex| plan.kept.get(&place).map(String::as_str);
        assert_eq!(reason(0), Some("its tag v1.0 is kept"));
        assert_eq!(reason(1), Some("it was pulled within 7 days"));
        assert_eq!(reason(3), Some("it is among the newest 1"));
        assert!(matches!(plan.evaluation.verdicts()[0], Verdict::HeldByUse { .. }));
    }

    #[test]
    fn a_kept_child_keeps_its_list_and_its_siblings() {
        let mut relations = Relations::default();
        relations.index("sha256:1d", ["sha256:a1", "sha256:a2"]);
        let listed = vec![
            image("sha256:1d", &[], 9),
            image("sha256:a1", &["amd64"], 9),
            image("sha256:a2", &[], 9),
            image("sha256:00", &[], 9),
        ];
        let images = RepositoryImages::new(listed, &relations);
        let keep = format!("{UNLIMITED}, keep: {{ tags: [amd64] }}");
        let plan = plan(&entry(&keep), &images, &UsedImages::default(), now());
        assert_eq!(gone(&plan, &images), ["sha256:00"]);
        assert_eq!(plan.kept[&0], "its child sha256:a1 is kept");
    }

    #[test]
    fn a_plan_past_a_limit_is_reported_and_not_trimmed() {
        let listed = (0..10).map(|n| image(&format!("sha256:{n:02}"), &[], if n < 8 { 9 } else { 0 }));
        let images = RepositoryImages::new(listed.collect(), &Relations::default());
        let blockers = |limits: &str| {
            let plan = plan(&entry(limits), &images, &UsedImages::default(), now());
            assert_eq!(plan.deletions.len(), 8);
            plan.blockers.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(blockers(", limits: { images: 8, percent: 80, remaining: 2 }").is_empty());
        assert_eq!(
            blockers(", limits: { images: 7, percent: 79, remaining: 3 }"),
            [
                "8 would be deleted, and the limit `images` is 7",
                "8 of 10 images would be deleted, which is more than the limit `percent` of 79",
                "2 images would be left, and the limit `remaining` is 3",
            ]
        );
        assert_eq!(blockers("").len(), 1, "half of a repository is the most unless said otherwise");
    }

    #[test]
    fn a_policy_never_empties_a_repository() {
        let images = RepositoryImages::new(vec![image("sha256:01", &[], 9)], &Relations::default());
        let plan = plan(&entry(UNLIMITED), &images, &UsedImages::default(), now());
        assert_eq!(plan.blockers, [Blocker::Remaining { left: 0, limit: 1 }]);
    }

    #[test]
    fn nothing_is_deleted_while_an_image_index_is_unread() {
        let mut index = image("sha256:1d", &["v1"], 0);
        index.kind = ManifestKind::Index;
        let listed = vec![index, image("sha256:a1", &[], 9), image("sha256:a2", &[], 0)];
        let images = RepositoryImages::new(listed, &Relations::default());
        let plan = plan(&entry(UNLIMITED), &images, &UsedImages::default(), now());
        assert_eq!(plan.blockers, [Blocker::UnreadIndexes(1)]);
    }

    #[test]
    fn a_clock_far_off_expires_nothing_that_was_pulled() {
        let mut pulled = image("sha256:01", &[], 9);
        pulled.last_pulled_at = Some(ago(-400));
        let images = RepositoryImages::new(vec![pulled, image("sha256:02", &[], 0)], &Relations::default());
        let keep = format!("{UNLIMITED}, keep: {{ pulledWithinDays: 1 }}");
        assert!(plan(&entry(&keep), &images, &UsedImages::default(), now()).deletions.is_empty());
    }

    fn digest(number: u8) -> String {
        format!("sha256:{}", format!("{number:02x}").repeat(32))
    }

    /// A referrer tag that names the image of this number.
    fn about(number: u8, suffix: &str) -> String {
        format!("{}{suffix}", digest(number).replace(':', "-"))
    }

    /// An old image with tags.
    fn old(number: u8, tags: &[&str]) -> Image {
        image(&digest(number), tags, 9)
    }

    fn archived(number: u8, tags: &[&str]) -> Image {
        Image { status: ImageStatus::Archived, last_archived_at: Some(ago(400)), ..old(number, tags) }
    }

    fn packed(images: Vec<Image>) -> RepositoryImages {
        RepositoryImages::new(images, &Relations::default())
    }

    fn entry_with(rules: &str, more: &str) -> Entry {
        let policy_set = format!("policies:\n- {{ name: all, repositories: ['*'], rules: [{rules}]{more} }}");
        PolicySet::parse(&policy_set).unwrap().entries()[0].clone()
    }

    const ARCHIVE: &str = "{ selection: any, maximumDaysSincePull: 1, action: archive }";
    const BOTH: &str = "{ selection: any, maximumAgeLimit: 1 }, { selection: any, maximumDaysInArchive: 90 }";

    fn plan_for(entry: &Entry, images: &RepositoryImages, used_now: &[&str]) -> Plan {
        plan(entry, images, &used(used_now, images), now())
    }

    fn codes(plan: &Plan) -> Vec<&'static str> {
        plan.blockers.iter().map(Blocker::code).collect()
    }

    #[test]
    fn a_signature_by_tag_of_an_image_in_use_stays() {
        let (signature, attestation, fallback) = (about(1, ".sig"), about(1, ".att"), about(1, ""));
        let images = packed(vec![
            old(1, &["v1"]),
            old(2, &[&signature]),
            old(3, &[&attestation]),
            old(4, &[&fallback]),
            old(5, &["v2"]),
        ]);
        for apply in ["delete", "attach"] {
            let entry = entry(&format!("{UNLIMITED}, apply: {apply}"));
            let plan = plan_for(&entry, &images, &["r:v1"]);
            assert_eq!(gone(&plan, &images), [digest(5)], "{apply}");
        }
    }

    #[test]
    fn a_signature_by_tag_is_deleted_with_its_image_after_it_and_not_before_it() {
        let (first, second) = (about(1, ".sig"), about(6, ".sig"));
        let images = packed(vec![
            old(2, &[&first]),
            old(1, &["v1"]),
            old(7, &[&second]),
            image(&digest(6), &["v6"], 0),
        ]);
        let plan = plan_for(&entry(UNLIMITED), &images, &[]);
        assert_eq!(
            plan.steps(&images),
            [vec![1], vec![0]],
            "of the young image nothing goes, its old signature neither"
        );
    }

    #[test]
    fn an_artifact_that_is_tied_to_two_images_is_kept_until_one_is_deleted() {
        let (first, second) = (about(1, ".sig"), about(6, ".sig"));
        let listed = vec![old(1, &["v1"]), old(2, &[&first, &second]), image(&digest(6), &["v6"], 0)];
        let images = packed(listed.clone());
        let plan = plan_for(&entry(UNLIMITED), &images, &[]);
        assert_eq!(plan.deletions, [0]);
        assert_eq!(plan.kept[&1], "its tags are about 2 images that are here");
        let one = packed(vec![listed[1].clone(), old(6, &["v6"]), image(&digest(8), &["v8"], 0)]);
        assert_eq!(plan_for(&entry(UNLIMITED), &one, &[]).kept.get(&0), None);
    }

    #[test]
    fn the_subject_of_an_artifact_in_use_stays() {
        let mut relations = Relations::default();
        relations.refer(&digest(2), &digest(1));
        relations.refer(&digest(3), &digest(1));
        let images =
            RepositoryImages::new(vec![old(1, &["v1"]), old(2, &[]), old(3, &[]), old(4, &[])], &relations);
        let artifact = format!("r@{}", digest(2));
        let plan = plan_for(&entry(UNLIMITED), &images, &[&artifact]);
        assert_eq!(gone(&plan, &images), [digest(4)]);
        let used = used(&[&artifact], &images);
        assert_eq!(used.reason(0), Some(&*format!("its referrer {} is", digest(2))));
        assert_eq!(used.reason(2), Some(&*format!("its subject {} is", digest(1))));
        assert_eq!(plan.held, HashSet::from([1]));
    }

    #[test]
    fn the_newest_are_images_that_can_be_pulled_and_no_signatures() {
        let tags: Vec<String> = (1..=4).map(|number| about(number, ".sig")).collect();
        let mut listed: Vec<Image> = (1..=4).map(|number| image(&digest(number), &["v"], 20)).collect();
        listed
            .extend((1..=4).map(|number| image(&digest(10 + number), &[&tags[usize::from(number) - 1]], 9)));
        listed.push(archived(30, &["x"]));
        // Two artifacts about the same image are not the two newest.
        listed.push(image(&digest(31), &[&about(4, ".att")], 8));
        let images = packed(listed);
        let plan = plan_for(&entry(&format!("{UNLIMITED}, keep: {{ newest: 2 }}")), &images, &[]);
        assert_eq!(gone(&plan, &images), [digest(1), digest(2), digest(11), digest(12)]);
    }

    #[test]
    fn archived_images_are_not_left_and_are_no_part_of_the_whole() {
        let mut listed: Vec<Image> = (0..10).map(|number| old(number, &["v"])).collect();
        listed.extend((10..22).map(|number| archived(number, &["x"])));
        let images = packed(listed);
        let plan = plan_for(&entry(""), &images, &[]);
        assert_eq!(
            plan.blockers,
            [
                Blocker::Percent { planned: 10, total: 10, limit: 50 },
                Blocker::Remaining { left: 0, limit: 1 }
            ]
        );
    }

    #[test]
    fn children_and_signatures_count_neither_as_deleted_nor_as_left() {
        let mut relations = Relations::default();
        let mut listed = Vec::new();
        for number in 1..=2 {
            let children = [digest(10 + number), digest(20 + number)];
            relations.index(&digest(number), children.clone());
            let days = if number == 1 { 9 } else { 0 };
            listed.push(Image { kind: ManifestKind::Index, ..image(&digest(number), &["v"], days) });
            listed.extend(children.iter().map(|child| image(child, &[], days)));
            listed.push(image(&digest(30 + number), &[&about(number, ".sig")], days));
        }
        let images = RepositoryImages::new(listed, &relations);
        assert_eq!(images.pullable(), 2);
        let plan = plan_for(&entry(", limits: { images: 1, percent: 50, remaining: 1 }"), &images, &[]);
        assert_eq!(plan.deletions.len(), 4);
        assert!(plan.blockers.is_empty(), "{:?}", plan.blockers);
        assert_eq!(plan.counted(&images, &plan.deletions), 1);
        let blockers = plan_for(&entry(", limits: { percent: 49 }"), &images, &[]).blockers;
        assert_eq!(blockers, [Blocker::Percent { planned: 1, total: 2, limit: 49 }]);
    }

    #[test]
    fn archiving_is_limited_as_deleting_is() {
        let listed = (0..11).map(|number| image(&digest(number), &["v"], if number < 9 { 9 } else { 0 }));
        let images = packed(listed.collect());
        let blockers = |more: &str| codes(&plan_for(&entry_with(ARCHIVE, more), &images, &[]));
        assert_eq!(blockers(""), ["limit-percent"]);
        assert_eq!(
            blockers(", limits: { images: 8, percent: 81, remaining: 3 }"),
            ["limit-images", "limit-percent", "limit-remaining"]
        );
        assert!(blockers(", limits: { images: 9, percent: 82, remaining: 2 }").is_empty());
    }

    #[test]
    fn a_clock_that_is_wrong_and_an_unread_index_stop_archiving_too() {
        let future = image(&digest(9), &["v"], -30);
        let index = Image { kind: ManifestKind::Index, ..image(&digest(8), &["v"], 0) };
        let images = packed(vec![old(1, &["v"]), old(2, &["v"]), future, index]);
        let plan = plan_for(&entry_with(ARCHIVE, UNLIMITED), &images, &[]);
        assert_eq!(plan.archivals.len(), 2);
        assert_eq!(codes(&plan), ["unread-manifest-lists", "clock"]);
    }

    #[test]
    fn archived_images_that_are_deleted_count_for_the_number_of_images() {
        let mut listed: Vec<Image> = (1..=5).map(|number| archived(number, &["x"])).collect();
        listed.push(image(&digest(9), &["v"], 0));
        let images = packed(listed);
        let blockers = |more: &str| plan_for(&entry_with(BOTH, more), &images, &[]).blockers;
        assert!(blockers(", limits: { images: 5, remaining: 1 }").is_empty());
        assert_eq!(blockers(", limits: { images: 4 }"), [Blocker::Images { planned: 5, limit: 4 }]);
    }

    #[test]
    fn an_archived_index_that_cannot_be_read_keeps_untagged_archived_images_and_nothing_else() {
        let index = Image { kind: ManifestKind::Index, ..archived(1, &["v1"]) };
        let images = packed(vec![
            index,
            archived(2, &[]),
            archived(3, &["x"]),
            old(4, &[]),
            image(&digest(5), &["v"], 0),
        ]);
        let plan = plan_for(&entry_with(BOTH, UNLIMITED), &images, &[]);
        assert_eq!(plan.deletions, [0, 2, 3]);
        assert!(plan.blockers.is_empty(), "{:?}", plan.blockers);
        assert!(plan.kept[&1].contains("restored or gone"), "{}", plan.kept[&1]);
        // Without the index nothing holds it.
        let images = packed(images.images()[1..].to_vec());
        assert_eq!(plan_for(&entry_with(BOTH, UNLIMITED), &images, &[]).deletions, [0, 1, 2]);
    }

    #[test]
    fn what_an_archived_index_may_list_is_not_left_to_anybody_and_takes_no_place_among_the_newest() {
        let index = Image { kind: ManifestKind::Index, ..archived(1, &["v1"]) };
        // Three that may be its children, one of which ran and has a protection tag and one of which is old, and a build.
        let listed = vec![
            index,
            image(&digest(2), &[], 0),
            image(&digest(3), &["ecr-steward-in-use-03"], 0),
            old(4, &[]),
            old(5, &["v"]),
        ];
        let images = packed(listed.clone());
        let tidy = "{ selection: untagged, maximumAgeLimit: 1 }";
        let blockers = |images: &RepositoryImages| plan_for(&entry_with(tidy, ""), images, &[]).blockers;
        assert!(blockers(&images).is_empty(), "one of two");
        // Without the other build it is the last one that can be pulled.
        let alone = packed(listed[..4].to_vec());
        assert_eq!(
            blockers(&alone),
            [Blocker::Percent { planned: 1, total: 1, limit: 50 }, Blocker::Remaining { left: 0, limit: 1 }]
        );
        // Where the index is known the same images are whole.
        let mut relations = Relations::default();
        relations.index(&digest(1), [digest(9)]);
        assert!(blockers(&RepositoryImages::new(listed[..4].to_vec(), &relations)).is_empty());
        let newest = entry(&format!("{UNLIMITED}, keep: {{ newest: 1 }}"));
        let plan = plan_for(&newest, &images, &[]);
        assert_eq!(
            plan.kept.get(&4).map(String::as_str),
            Some("it is among the newest 1"),
            "{:?}",
            plan.kept
        );
        assert_eq!(plan.deletions, [3]);
    }

    #[test]
    fn an_attached_policy_is_limited_by_what_ecr_expires_if_it_counts_signatures() {
        let mut relations = Relations::default();
        let mut listed = Vec::new();
        for number in 1..=4 {
            listed.push(image(&digest(number), &["v"], 20 - i64::from(number)));
            listed.push(image(&digest(10 + number), &[], 9));
            relations.refer(&digest(10 + number), &digest(number));
        }
        let images = RepositoryImages::new(listed, &relations);
        let rule = "{ selection: any, maximumNumberOfImages: 4 }";
        let plan = |apply: &str| plan_for(&entry_with(rule, &format!(", apply: {apply}")), &images, &[]);
        assert!(plan("delete").deletions.is_empty());
        let attached = plan("attach");
        assert_eq!(attached.deletions.len(), 8, "four images, and the signatures with them");
        assert_eq!(codes(&attached), ["limit-percent", "limit-remaining"]);
    }

    #[test]
    fn signatures_that_ecr_would_expire_from_images_that_stay_count_for_the_number_of_images() {
        let mut relations = Relations::default();
        let mut listed = Vec::new();
        for number in 1..=4 {
            listed.push(image(&digest(number), &["v"], 0));
            listed.push(image(&digest(10 + number), &[], 9));
            relations.refer(&digest(10 + number), &digest(number));
        }
        let images = RepositoryImages::new(listed, &relations);
        let rule = "{ selection: untagged, maximumAgeLimit: 1 }";
        let blockers = |limit: u64| {
            let more = format!(", apply: attach, limits: {{ images: {limit} }}");
            plan_for(&entry_with(rule, &more), &images, &[]).blockers
        };
        assert!(blockers(4).is_empty());
        assert_eq!(blockers(3), [Blocker::Images { planned: 4, limit: 3 }]);
    }

    #[test]
    fn what_was_protected_once_is_deleted_by_this_stack_and_the_rest_by_ecr() {
        let listed = vec![
            image("sha256:01", &["ci-1"], 9),
            image("sha256:02", &["ci-2", "ecr-steward-in-use-02"], 8),
            image("sha256:03", &["ecr-steward-in-use-03"], 7),
            image("sha256:04", &["ci-4"], 6),
            image("sha256:05", &[], 0),
        ];
        let images = RepositoryImages::new(listed, &Relations::default());
        let attach = format!(", apply: attach{UNLIMITED}");
        let plan = plan_for(&entry(&attach), &images, &["r:ci-4"]);
        assert_eq!(gone(&plan, &images), ["sha256:01", "sha256:02", "sha256:03"]);
        assert_eq!(plan.by_ecr, HashSet::from([0]));
        assert_eq!(plan.tagging.additions, [(3, "ecr-steward-in-use-04".to_owned())]);
        // A policy about untagged images sees the one that has a protection tag only, and so do its limits.
        let untagged = |limits: &str| {
            let more = format!(", apply: attach, limits: {{ images: {limits}, percent: 100, remaining: 1 }}");
            plan_for(&entry_with("{ selection: untagged, maximumAgeLimit: 1 }", &more), &images, &[])
        };
        let plan = untagged("1");
        assert_eq!((gone(&plan, &images), plan.by_ecr.len()), (vec!["sha256:03".to_owned()], 0));
        assert!(plan.blockers.is_empty());
    }

    #[test]
    fn limits_hold_for_what_ecr_and_this_stack_delete_together() {
        let listed = vec![
            image("sha256:01", &["a"], 9),
            image("sha256:02", &["ecr-steward-in-use-02"], 8),
            image("sha256:03", &["c"], 0),
        ];
        let images = RepositoryImages::new(listed, &Relations::default());
        let plan = |limit: u64| {
            let more = format!(", apply: attach, limits: {{ images: {limit}, percent: 100, remaining: 1 }}");
            plan_for(&entry(&more), &images, &[])
        };
        assert!(plan(2).blockers.is_empty());
        assert_eq!(plan(1).blockers, [Blocker::Images { planned: 2, limit: 1 }]);
    }

    #[test]
    fn what_belongs_to_what_was_protected_once_is_deleted_with_it() {
        let mut relations = Relations::default();
        relations.index("sha256:1d", ["sha256:a1"]);
        relations.refer("sha256:51", "sha256:1d");
        let mut index = image("sha256:1d", &["v1", "ecr-steward-in-use-1d"], 9);
        index.kind = ManifestKind::Index;
        let listed = vec![
            index,
            image("sha256:a1", &[], 9),
            image("sha256:51", &["ecr-steward-in-use-51"], 9),
            image("sha256:ff", &["young"], 0),
        ];
        let images = RepositoryImages::new(listed, &relations);
        let plan = plan_for(&entry(&format!(", apply: attach{UNLIMITED}")), &images, &[]);
        assert_eq!(gone(&plan, &images).len(), 3, "{plan:?}");
        assert!(plan.by_ecr.is_empty());
        let at = |digest: &str| gone(&plan, &images).iter().position(|other| other == digest).unwrap();
        assert!(at("sha256:1d") < at("sha256:a1") && at("sha256:1d") < at("sha256:51"));
    }

    #[test]
    fn a_policy_that_counts_protection_tags_or_whose_tags_others_have_may_not_act() {
        let listed = vec![
            image("sha256:01", &["ci-1"], 9),
            image("sha256:02", &["ecr-steward-in-use-01"], 0),
            image("sha256:03", &[], 0),
        ];
        let images = RepositoryImages::new(listed, &Relations::default());
        let attach = format!(", apply: attach{UNLIMITED}");
        assert_eq!(codes(&plan_for(&entry(&attach), &images, &["r:ci-1"])), ["protection-tag-taken"]);
        let counts = "{ selection: { tagPatternList: ['*'] }, maximumNumberOfImages: 1 }";
        let plan = plan_for(&entry_with(counts, &attach), &images, &[]);
        assert_eq!(codes(&plan), ["policy-cannot-be-protected"]);
        assert!(plan.by_ecr.is_empty());
    }

    #[test]
    fn a_policy_of_somebody_else_is_reported_with_the_images_in_use_that_it_expires() {
        let images = family();
        let policy = entry("").policy;
        let used = used(&["r:other"], &images);
        assert_eq!(taken_in_use(&policy, &images, &used, now()), [4]);
        assert!(taken_in_use(&policy, &images, &UsedImages::default(), now()).is_empty());
    }
}
