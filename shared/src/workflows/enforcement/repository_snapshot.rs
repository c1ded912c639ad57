//! Reads a repository with as few calls as possible, and plans what its policy removes.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use super::{RunContext, RunError};
use crate::aws::ecr::{BATCH, Manifest, Manifests};
use crate::domain::enforcement::action::{Action, Removal};
use crate::domain::enforcement::outcome::{
    Amount, Attached, ImageOutcome, ImageResult, Outcome, PolicyChange, ReportedBlocker, Status,
};
use crate::domain::enforcement::plan::{Blocker, Plan, plan};
use crate::domain::enforcement::policy_set::{Apply, Entry};
use crate::domain::enforcement::protection_record::Mode;
use crate::domain::enforcement::storage::Measured;
use crate::domain::image::deletion::{self, ImageId, Refused};
use crate::domain::image::listing::RepositoryName;
use crate::domain::image::{Image, ImageIndex, Relations, RepositoryImages};
use crate::domain::lifecycle::document::Action as RuleAction;
use crate::domain::lifecycle::evaluate::Verdict;
use crate::domain::lifecycle::explain::Explainer;
use crate::domain::lifecycle::lint::lint;
use crate::domain::preview::model::ActionTaken;
use crate::domain::repository::Name;
use crate::domain::text::instant::Instant;
use crate::domain::usage::{UnreadableSource, Usage, UsedImages};
use crate::workflows::protection_records::RecordProblem;

/// The prefix of the keys of the cache of image indexes, which are immutable. The name of the repository follows.
pub const INDEXES: &str = "cache/indexes/";

/// A repository, as it was read.
#[derive(Debug, Clone)]
pub struct RepositorySnapshot {
    /// Its name.
    pub name: Name,
    /// Its ARN; empty where nothing is changed.
    pub arn: String,
    /// The account whose registry it is in.
    pub registry_id: String,
    /// Its images.
    pub images: RepositoryImages,
    /// Whether the children of all its image indexes are cached, so that they can be read for an archived index.
    pub children_are_cached: bool,
    /// The gaps of those who may pull from it.
    pub pull_gaps: Vec<UnreadableSource>,
    /// The time right before it was read: what was pushed later may not be among the images.
    pub read_at: Instant,
    /// The pulls that reading it may have been.
    pub own_pulls: OwnPulls,
}

/// When this program read manifests of images, which ECR counts as pulls of whoever is not excluded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnPulls(HashMap<Box<str>, Instant>);

impl OwnPulls {
    /// Adds the images whose manifests were just read.
    pub(crate) fn add<'d>(&mut self, clients: &RunContext<'_>, digests: impl Iterator<Item = &'d str>) {
        if !clients.is_pull_excluded {
            let now = clients.now();
            self.0.extend(digests.map(|digest| (digest.into(), now)));
        }
    }

    /// Adds those of a later look.
    pub(crate) fn extend(&mut self, later: &Self) {
        self.0.extend(later.0.iter().map(|(digest, at)| (digest.clone(), *at)));
    }

    /// The time until which all pulls of an image are known, or were this program's own.
    #[must_use]
    pub fn last_known_pull(&self, image: &Image) -> Option<Instant> {
        image.last_pulled_at.max(self.0.get(&image.digest).copied())
    }
}

/// A repository and its plan.
#[derive(Debug, Clone)]
pub struct RepositoryPlan<'a> {
    /// The repository as it was read.
    pub snapshot: RepositorySnapshot,
    /// Its policy.
    pub entry: Cow<'a, Entry>,
    /// The name of its policy in the policies file; empty where none is for it.
    pub assigned: String,
    /// The protected policy that ECR itself enforces in it, if there is one.
    pub native: Option<Native>,
    /// Whether an unprotected lifecycle policy is checked.
    pub checks_native_policy: bool,
    /// Whether ECR created it on a push, by the stack's creation template.
    pub is_created_on_push: bool,
    /// Whether it is unknown if it asks for protection by its resource tag.
    pub is_protection_unknown: bool,
    /// Its images in use.
    pub used: UsedImages,
    /// The plan.
    pub plan: Plan,
    /// The time of the plan.
    pub now: Instant,
    /// What its images take; `None` if layers are not looked at.
    pub measured: Option<Measured>,
    /// Maximum number of planned and kept images that its outcome describes. Others are added up.
    pub room: usize,
}

/// A policy that ECR itself enforces in a repository, and from which images in use are protected.
#[derive(Debug, Clone)]
pub struct Native {
    /// Whose policy it is.
    pub mode: Mode,
    /// The policy without its protection rule, with its `keep` and its limits. Somebody else's policy is the attached one.
    pub entry: Entry,
    /// Why the policy has to be suspended whatever the plan is; `None` if it may act.
    pub withdrawn: Option<Withdrawal>,
}

/// Why a policy that ECR enforces has to be suspended, whatever expires by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// The reason.
    pub reason: WithdrawalReason,
    /// Whether the policies file intends it. Otherwise it needs attention.
    pub is_intended: bool,
    /// Whether the policies file no longer has the policy. Otherwise its record is kept, and the next run that uses the file and
    /// knows all use attaches it.
    pub is_final: bool,
}

/// The reason for which a policy that ECR enforces is suspended, whatever expires by it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WithdrawalReason {
    /// The record of the policy is unreadable.
    #[error(
        "the record of its protection cannot be read ({problem}); delete {key}, and ask for its policy once more or let a run attach \
         it"
    )]
    Record {
        /// The problem with it.
        problem: RecordProblem,
        /// Its key in the bucket.
        key: String,
    },
    /// The record is readable, the policy in it is not.
    #[error("the policy in the record of its protection cannot be read; ask for the policy once more")]
    RecordedPolicy,
    /// The policies file no longer has ECR enforce a policy.
    #[error("policies.yaml does not say `apply: attach` for this repository any more")]
    NotAttachedAnyMore,
    /// The policies file overrides the policy that the repository was created with.
    #[error(
        "policies.yaml says `apply: {}` for this repository, which goes before the policy that it was made with",
        .0.name()
    )]
    Overridden(Apply),
    /// The repository cannot be planned safely.
    #[error(transparent)]
    Blocked(#[from] Blocker),
    /// A reason that was given elsewhere.
    #[error("{0}")]
    Given(String),
}

/// Why an image is kept that a rule selects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Rule {priority} would take it, but the policy keeps it: {kept}.")]
struct KeptByPolicy {
    /// The priority of the rule.
    priority: u64,
    /// What keeps the image.
    kept: String,
}

type Children = BTreeMap<String, Vec<String>>;

impl RepositorySnapshot {
    /// Reads a repository.
    ///
    /// # Errors
    ///
    /// When a call fails or time is up.
    pub async fn read(
        clients: &RunContext<'_>,
        name: Name,
        registry_id: &str,
        arn: &str,
    ) -> Result<Self, RunError> {
        let read_at = clients.now();
        let described = clients.call(clients.ecr.images(&name)).await?;
        let mut relations = Relations::default();
        for (referrer, subject) in &described.subjects {
            relations.refer(referrer, subject);
        }
        let indexes: Vec<&str> = described
            .images
            .iter()
            .filter(|image| image.kind.is_index())
            .map(|image| &*image.digest)
            .collect();
        let mut children_are_cached = true;
        let mut own_pulls = OwnPulls::default();
        let untagged: HashSet<&str> = described
            .images
            .iter()
            .filter(|image| image.tags.is_empty())
            .map(|image| &*image.digest)
            .collect();
        if !indexes.is_empty() || !untagged.is_empty() {
            let (children, are_cached) =
                children(clients, &name, &indexes, &untagged, &mut own_pulls).await?;
            children_are_cached = are_cached;
            for (index, children) in children {
                relations.index(&index, children);
            }
        }
        let images = RepositoryImages::new(described.images, &relations);
        let (arn, registry_id) = (arn.to_owned(), registry_id.to_owned());
        let pull_gaps = Vec::new();
        Ok(Self { name, arn, registry_id, images, children_are_cached, pull_gaps, read_at, own_pulls })
    }

    /// The images of the repository that are in use.
    #[must_use]
    pub fn used(&self, usage: &Usage) -> UsedImages {
        usage.of_repository(&self.full_name(), &self.images)
    }

    /// All its images.
    #[must_use]
    pub fn amount(&self) -> Amount {
        let mut amount = Amount::default();
        for image in self.images.images() {
            amount.add(image);
        }
        amount
    }

    /// Its name, with its registry.
    #[must_use]
    pub fn full_name(&self) -> RepositoryName {
        RepositoryName {
            repository_name: Some(self.name.as_str().to_owned()),
            registry_id: Some(self.registry_id.clone()),
        }
    }

    /// Plans what a policy removes.
    #[must_use]
    pub fn plan<'a>(self, entry: Cow<'a, Entry>, usage: &Usage, now: Instant) -> RepositoryPlan<'a> {
        let (used, plan) = self.decide(&entry, usage, now);
        let assigned = entry.name.clone();
        RepositoryPlan {
            snapshot: self,
            entry,
            assigned,
            native: None,
            checks_native_policy: false,
            is_created_on_push: false,
            is_protection_unknown: false,
            used,
            plan,
            now,
            measured: None,
            room: usize::MAX,
        }
    }

    /// The images of the repository that are in use, and what a policy removes.
    #[must_use]
    pub fn decide(&self, entry: &Entry, usage: &Usage, now: Instant) -> (UsedImages, Plan) {
        let used = self.used(usage);
        let mut plan = plan(entry, &self.images, &used, now);
        if !(plan.deletions.is_empty() && plan.archivals.is_empty()) || entry.apply.is_by_ecr() {
            let gaps = usage.gaps_of(self.name.as_str()).chain(&self.pull_gaps);
            plan.blockers.extend(gaps.map(|gap| Blocker::Usage(gap.to_string())));
        }
        (used, plan)
    }
}

/// The children of image indexes, and of deleted ones while some of their `untagged` children exist: from the cache in the
/// bucket, or from ECR. Also whether they are in the cache now.
async fn children(
    clients: &RunContext<'_>,
    name: &Name,
    indexes: &[&str],
    untagged: &HashSet<&str>,
    own_pulls: &mut OwnPulls,
) -> Result<(Children, bool), RunError> {
    let key = format!("{INDEXES}{name}.json");
    let read = match clients.has_bucket() {
        true => clients.call(clients.s3.get(clients.bucket, &key)).await?,
        false => None,
    };
    // What cannot be read is read again from ECR, and written anew.
    let mut known: Children =
        read.and_then(|object| serde_json::from_str(&object.text).ok()).unwrap_or_default();
    let before = known.len();
    let there: HashSet<&str> = indexes.iter().copied().collect();
    known.retain(|index, children| {
        there.contains(index.as_str()) || children.iter().any(|child| untagged.contains(child.as_str()))
    });
    let forgotten = before - known.len();
    let unknown: Vec<ImageId> = indexes
        .iter()
        .filter(|index| !known.contains_key(**index))
        .map(|index| ImageId::Digest((*index).to_owned()))
        .collect();
    for batch in unknown.chunks(BATCH) {
        let Manifests { found, failures } = clients.call(clients.ecr.manifests(name, batch)).await?;
        for Refused { image_id, failure_code, failure_reason } in failures {
            let digest = image_id.image_digest;
            tracing::warn!(repository = %name, digest, failure_code, failure_reason, "ECR does not give an image index");
        }
        own_pulls.add(clients, found.iter().map(|manifest| manifest.digest.as_str()));
        for Manifest { digest, text, .. } in found {
            match deletion::children(&text) {
                Ok(children) => {
                    known.insert(digest, children);
                }
                // It stays unread, and is an obstacle.
                Err(error) => {
                    tracing::warn!(repository = %name, digest, %error, "could not read an image index");
                }
            }
        }
    }
    let is_new = !unknown.is_empty() || forgotten > known.len();
    if is_new && !clients.writes_caches {
        return Ok((known, clients.has_bucket() && unknown.is_empty()));
    }
    if is_new && clients.has_bucket() {
        let text = serde_json::to_string(&known).unwrap_or_default();
        let written = clients.call(clients.s3.write(clients.bucket, &key, &text, "application/json")).await;
        if let Err(error) = written {
            // The next run asks ECR again.
            tracing::warn!(key, %error, "could not write down the children of image indexes");
            return Ok((known, false));
        }
    }
    Ok((known, clients.has_bucket()))
}

/// Forgets what is remembered of a repository's image indexes: they are read anew.
pub(crate) async fn forget_children(clients: &RunContext<'_>, name: &Name) -> Result<(), RunError> {
    let key = format!("{INDEXES}{name}.json");
    clients.call(clients.s3.write(clients.bucket, &key, "{}", "application/json")).await
}

impl RepositoryPlan<'_> {
    /// The outcome of the repository before anything is done.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let Self { snapshot, entry, plan, .. } = self;
        let images = &snapshot.images;
        if entry.name.is_empty() {
            // Only its own lifecycle policy is looked at: nothing of it counts.
            return Outcome {
                repository_name: snapshot.name.as_str().to_owned(),
                status: Status::Unmatched,
                ..Outcome::default()
            };
        }
        let mut outcome = Outcome {
            repository_name: snapshot.name.as_str().to_owned(),
            policy: Some(entry.name.clone()),
            apply: Some(entry.apply),
            blockers: plan.blockers.iter().map(ReportedBlocker::from).collect(),
            unread_pullers: snapshot
                .pull_gaps
                .iter()
                .filter(|gap| plan.blockers.contains(&Blocker::Usage(gap.to_string())))
                .cloned()
                .collect(),
            findings: lint(&entry.policy, images, &plan.evaluation),
            ..Outcome::default()
        };
        if !outcome.blockers.is_empty() {
            outcome.status = Status::Blocked;
        }
        outcome.images = snapshot.amount();
        outcome.counted_images = images.pullable();
        outcome.expiring = self.amount(&plan.deletions);
        outcome.transitioning = self.amount(&plan.archivals);
        outcome.expiring_by_ecr = self.amount(&plan.by_ecr);
        if self.has_removals() && entry.apply == Apply::Delete {
            let removed = plan.deletions.iter().chain(&plan.archivals).copied();
            let removed: Vec<ImageIndex> = removed.filter(|place| !plan.by_ecr.contains(place)).collect();
            outcome.counted_removals = plan.counted(images, &removed);
        }
        for (place, verdict) in (0..).zip(plan.evaluation.verdicts()) {
            if !matches!(verdict, Verdict::HeldByUse { .. }) {
                continue;
            }
            let Some(image) = images.images().get(place as usize) else { continue };
            let (amount, result) = match self.used.reason(place) {
                Some(_) => (&mut outcome.protected_by_use, ImageResult::InUse),
                None => (&mut outcome.protected_by_keep, ImageResult::Kept),
            };
            amount.add(image);
            if result == ImageResult::Kept && outcome.results.len() >= self.room {
                outcome.count_kept();
            } else {
                outcome.results.extend(self.image_outcome(place, result, None));
            }
        }
        outcome
    }

    /// The plan's actions on images, in order.
    #[must_use]
    pub fn removals(&self) -> Vec<Action> {
        let images = &self.snapshot.images;
        let counted = self.plan.all_counted(images);
        let removal = |place: ImageIndex, step: usize| {
            let image = images.images().get(place as usize)?;
            let (priority, _) = self.rule(place)?;
            Some(Removal {
                image_digest: image.digest.to_string(),
                image_tags: image.tags.iter().map(ToString::to_string).collect(),
                applied_rule_priority: priority,
                reason: self.reason(place),
                is_counted: counted.contains(&place),
                step,
            })
        };
        let mut actions = Vec::new();
        // What ECR takes itself is left to it.
        let is_ours = |place: &ImageIndex| !self.plan.by_ecr.contains(place);
        for (step, places) in self.plan.steps(images).into_iter().enumerate() {
            let places = places.into_iter().filter(is_ours);
            actions.extend(places.filter_map(|place| removal(place, step)).map(Action::Delete));
        }
        let archivals = self.plan.archivals.iter().copied().filter(is_ours);
        let archivals = archivals.filter_map(|place| removal(place, 0));
        actions.extend(archivals.map(Action::Archive));
        actions
    }

    /// Adds the planned images to an outcome, if they are not removed.
    pub fn record_plan(&self, outcome: &mut Outcome) {
        self.record_images(outcome, |_| true);
    }

    /// Adds the images that ECR expires itself.
    pub fn record_expected_by_ecr(&self, outcome: &mut Outcome) {
        self.record_images(outcome, |place| self.plan.by_ecr.contains(&place));
    }

    fn record_images(&self, outcome: &mut Outcome, is_listed: impl Fn(ImageIndex) -> bool) {
        let all = self.plan.deletions.iter().chain(&self.plan.archivals).copied();
        for place in all.filter(|&place| is_listed(place)) {
            if outcome.is_full() {
                outcome.results_not_shown += 1;
                continue;
            }
            if outcome.results.len() >= self.room {
                let image = self.snapshot.images.images().get(place as usize);
                if let (Some(image), Some((priority, action))) = (image, self.rule(place)) {
                    outcome.count_planned(image, action, priority);
                }
                continue;
            }
            let by_ecr = self.plan.by_ecr.contains(&place);
            let detail = by_ecr.then(|| when_ecr_acts(outcome).to_owned());
            if let Some(image) = self.image_outcome(place, ImageResult::Planned, detail) {
                outcome.record(image);
            }
        }
    }

    /// These images, added up.
    pub(super) fn amount<'p>(&self, places: impl IntoIterator<Item = &'p ImageIndex>) -> Amount {
        let mut amount = Amount::default();
        for image in places.into_iter().filter_map(|place| self.snapshot.images.images().get(*place as usize))
        {
            amount.add(image);
        }
        amount
    }

    /// The result of one image.
    #[must_use]
    pub fn image_outcome(
        &self,
        place: ImageIndex,
        result: ImageResult,
        detail: Option<String>,
    ) -> Option<ImageOutcome> {
        let image = self.snapshot.images.images().get(place as usize)?;
        let (priority, action) = self.rule(place)?;
        Some(ImageOutcome {
            image_digest: image.digest.to_string(),
            image_tags: image.tags.iter().map(ToString::to_string).collect(),
            image_pushed_at: image.pushed_at,
            image_size_in_bytes: image.size_in_bytes,
            action,
            applied_rule_priority: priority,
            reason: self.reason(place),
            outcome: result,
            detail,
        })
    }

    /// The rule that selects an image.
    #[must_use]
    pub fn rule(&self, place: ImageIndex) -> Option<(u64, ActionTaken)> {
        let verdict = self.plan.evaluation.verdicts().get(place as usize)?;
        let rule = match *verdict {
            Verdict::HeldByUse { rule } => usize::from(rule),
            verdict => verdict.acting_rule()?,
        };
        let rule = self.entry.policy.rules().get(rule)?;
        Some((rule.priority, ActionTaken::from(rule.action)))
    }

    /// Why the image is removed or kept, in a sentence.
    #[must_use]
    pub fn reason(&self, place: ImageIndex) -> String {
        let explainer = Explainer {
            policy: Some(&self.entry.policy),
            images: &self.snapshot.images,
            evaluation: &self.plan.evaluation,
            now: self.now,
        };
        match (self.used.reason(place), self.plan.kept.get(&place)) {
            (None, Some(kept)) => {
                let (priority, _) = self.rule(place).unwrap_or((0, ActionTaken::from(RuleAction::Expire)));
                KeptByPolicy { priority, kept: kept.to_string() }.to_string()
            }
            (used, _) => explainer.reason(place, used),
        }
    }

    /// Whether ECR itself enforces a policy in the repository that is not to be suspended anyway.
    #[must_use]
    pub fn is_enforced_by_ecr(&self) -> bool {
        self.native.as_ref().is_some_and(|native| native.withdrawn.is_none())
    }

    /// Whether the plan removes anything from the repository.
    #[must_use]
    pub fn has_removals(&self) -> bool {
        let removed = self.plan.deletions.iter().chain(&self.plan.archivals);
        self.entry.apply != Apply::Preview
            && self.plan.blockers.is_empty()
            && removed.into_iter().any(|place| !self.plan.by_ecr.contains(place))
    }
}

/// When ECR itself acts. (Amazon ECR: within 24 hours of an image meeting the criteria.)
fn when_ecr_acts(outcome: &Outcome) -> &'static str {
    let attached = outcome.attachment.as_ref();
    let is_suspended = attached.is_some_and(Attached::is_suspended);
    match attached.map(|attached| attached.lifecycle_policy) {
        _ if is_suspended => "ECR does it, but not while the policy is suspended",
        Some(PolicyChange::ToBeAttached) => {
            "ECR does it within a day once a run that enforces attaches the policy"
        }
        Some(PolicyChange::Attached) => "ECR does it within a day of the policy being attached",
        _ => "ECR does it itself, within a day of when the rule takes it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::enforcement::policy_set::PolicySet;
    use crate::domain::enforcement::run::Run;
    use crate::domain::image::{ImageStatus, ManifestKind};
    use crate::report::run::{Builder, RunReport};

    fn image(digest: &str, kind: ManifestKind, tags: &[&str]) -> Image {
        Image {
            digest: digest.into(),
            tags: tags.iter().map(|tag| (*tag).into()).collect(),
            pushed_at: Instant::parse("2026-10-01T00:00:00Z").unwrap(),
            last_pulled_at: None,
            last_archived_at: None,
            last_activated_at: None,
            size_in_bytes: 1,
            status: ImageStatus::Active,
            kind,
        }
    }

    #[test]
    fn a_plan_is_a_list_of_actions_in_an_order_that_ecr_accepts() {
        let policy_set = "policies: [{ name: all, repositories: ['*'], apply: delete, limits: { images: 9, percent: 100, remaining: 1 },
            rules: [{ selection: { tagPrefixList: [old] }, maximumDaysSincePull: 1, action: archive },
                    { selection: any, maximumAgeLimit: 14 }] }]";
        let policy_set = PolicySet::parse(policy_set).unwrap();
        let mut relations = Relations::default();
        relations.index("sha256:1d", ["sha256:a1"]);
        relations.refer("sha256:51", "sha256:1d");
        let images = vec![
            image("sha256:51", ManifestKind::Manifest, &[]),
            image("sha256:a1", ManifestKind::Manifest, &[]),
            image("sha256:1d", ManifestKind::Index, &["v1"]),
            image("sha256:0a", ManifestKind::Manifest, &["old-1"]),
        ];
        let snapshot = RepositorySnapshot {
            name: Name::parse("app").unwrap(),
            arn: String::new(),
            registry_id: "123456789012".to_owned(),
            images: RepositoryImages::new(images, &relations),
            children_are_cached: true,
            pull_gaps: Vec::new(),
            own_pulls: OwnPulls::default(),
            read_at: Instant::parse("2026-11-26T00:00:00Z").unwrap(),
        };
        let now = Instant::parse("2026-11-26T00:00:00Z").unwrap();
        let planned = snapshot.plan(Cow::Borrowed(&policy_set.entries()[0]), &Usage::default(), now);
        let actions = planned.removals();
        let described: Vec<(String, bool, usize)> = actions
            .iter()
            .map(|action| match action {
                Action::Delete(removal) => (format!("delete {}", removal.image_digest), removal),
                Action::Archive(removal) => (format!("archive {}", removal.image_digest), removal),
                other => panic!("{other}"),
            })
            .map(|(described, removal)| (described, removal.is_counted, removal.step))
            .collect();
        let expected = [
            ("delete sha256:1d", true, 0),
            ("delete sha256:51", false, 1),
            ("delete sha256:a1", false, 2),
            ("archive sha256:0a", true, 0),
        ];
        assert_eq!(
            described,
            expected.map(|(described, counted, step)| (described.to_owned(), counted, step))
        );
    }

    fn dry_run(started_at: Instant) -> Run {
        Run {
            policies_file_problem: None,
            run_id: "terminal".to_owned(),
            started_at,
            started_by: None,
            dry_run: true,
            protect_only: false,
            dry_run_reason: None,
            attempt: String::new(),
            policies_file_version: None,
            policies_file_hash: None,
        }
    }

    #[test]
    fn images_without_room_in_the_report_are_counted_in_everything_that_it_adds_up() {
        let policy_set = "policies: [{ name: all, repositories: ['*'], apply: delete, limits: { images: 99, percent: 100, remaining: 1 },
            keep: { tags: [kept] },
            rules: [{ selection: { tagPrefixList: [old] }, maximumDaysSincePull: 1, action: archive },
                    { selection: untagged, maximumAgeLimit: 14 }, { selection: any, maximumAgeLimit: 30 }] }]";
        let policy_set = PolicySet::parse(policy_set).unwrap();
        let now = Instant::parse("2026-11-26T00:00:00Z").unwrap();
        let mut images: Vec<Image> = ["kept", "v1", "v2", "", "", "old-1"]
            .iter()
            .zip(0..)
            .map(|(tag, number)| {
                let tags: &[&str] = if tag.is_empty() { &[] } else { &[tag] };
                image(&format!("sha256:{number:02}"), ManifestKind::Manifest, tags)
            })
            .collect();
        let young = image("sha256:99", ManifestKind::Manifest, &["v3"]);
        images.push(Image { pushed_at: now, ..young });
        let reported = |room: usize| {
            let snapshot = RepositorySnapshot {
                name: Name::parse("app").unwrap(),
                arn: String::new(),
                registry_id: "123456789012".to_owned(),
                images: RepositoryImages::new(images.clone(), &Relations::default()),
                children_are_cached: true,
                pull_gaps: Vec::new(),
                own_pulls: OwnPulls::default(),
                read_at: now,
            };
            let mut planned = snapshot.plan(Cow::Borrowed(&policy_set.entries()[0]), &Usage::default(), now);
            planned.room = room;
            let mut outcome = planned.outcome();
            planned.record_plan(&mut outcome);
            assert_eq!(outcome.blockers, []);
            let mut builder = Builder::new(dry_run(now), now);
            builder.take(outcome.clone());
            (outcome, builder.finish())
        };
        let (whole, report) = reported(usize::MAX);
        assert_eq!((whole.results.len(), whole.results_not_shown), (6, 0));
        let rules: Vec<(&str, u64)> =
            report.rules.iter().map(|part| (part.name.as_str(), part.images.image_total_count)).collect();
        assert_eq!(rules, [("all: rule 2", 2), ("all: rule 3", 2)]);
        for room in [0, 1, 3, 6] {
            let (part, same) = reported(room);
            assert_eq!(part.results, whole.results[..room]);
            assert_eq!(part.results_not_shown, 6 - room as u64);
            let totals = |report: &RunReport| (report.rules.clone(), report.totals.clone());
            assert_eq!(totals(&same), totals(&report), "{room}");
            assert_eq!(same.repositories.len(), 1, "{room}");
        }
    }
}
