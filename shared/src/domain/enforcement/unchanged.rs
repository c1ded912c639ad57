//! Which repositories a run over the registry need not look at again, since it would find what an earlier run found.
//!
//! A repository that is not looked at gets nothing deleted, so that the question is never whether an image may be lost; it is whether
//! something would be done there that is left undone. A repository is left out only if all of this holds. In doubt it is looked at.
//!
//! | rule | why |
//! | --- | --- |
//! | an earlier look found nothing to do: no rule selected an image that was not in use or kept, nothing blocked or failed | what would be done has to be done, and what needs attention has to be looked at |
//! | the policies file is the same by its hash, and the policy by its name | other rules select other images |
//! | no event says that the repository was changed since five minutes before the look; and it is no newer repository of that name | other images, other tags |
//! | all events since the look are known | a change may be among the missing ones |
//! | no rule by age selects an image, and `keep` lets go of none, before a run of this day may end | time passes |
//! | every reference that kept an image is in use now | an image may have gone out of use |
//! | the look is younger than seven days when a run of this day may end | events are sent on a best effort basis |
//! | ECR enforces no policy there, no record and no resource tag asks for protection, and whether one does is known | protection tags are added, and policies suspended, by looking |
//! | it is not its day of the check of its own lifecycle policy | that is once in seven days, too |
//! | no layers are left to be read there | costs |
//!
//! Why these are enough: rules select by tags, ages and ranks by age. While the images are the same and no limit by age has passed,
//! they select the same images. Use, `keep` and a pull only take images out of what is selected, so that more of them changes
//! nothing where nothing is to be done; what they kept has to be kept still. Unreadable usage sources only block.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::enforcement::changes::{Changes, KEPT_DAYS, MARGIN_MICROS};
use crate::domain::enforcement::enforcement_switch::MAX_RUN_AGE_SECONDS;
use crate::domain::enforcement::outcome::{Outcome, Status};
use crate::domain::enforcement::plan::Plan;
use crate::domain::enforcement::policy_set::{Apply, Entry};
use crate::domain::image::reference::ImageReference;
use crate::domain::image::{ImageIndex, ImageStatus, RepositoryImages};
use crate::domain::lifecycle::evaluate::Verdict;
use crate::domain::lifecycle::explain::Explainer;
use crate::domain::text::instant::Instant;
use crate::domain::usage::{Usage, UsedImages};

/// Days after which a look does not count any more.
pub const MAX_LOOK_AGE_DAYS: u64 = 7;
/// Maximum size of an outcome that is used again, in bytes: an object has a thousand of them.
pub const MAX_OUTCOME_BYTES: usize = 4096;
/// Maximum number of references that keep the images of a repository that is not looked at.
const MAX_REFERENCES: usize = 100;
/// Repositories of one object with looks.
pub const SHARD: u64 = 1000;
/// Microseconds after a push for which its event may be late.
const EVENT_DELAY_MICROS: i64 = 3_600_000_000;

/// A look at a repository that found nothing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Look {
    /// The time right before its images were read.
    pub at: Instant,
    /// The first time at which a rule by age selects an image, or `keep` lets go of one; `None` if the passing of time does neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Instant>,
    /// The references in use that keep images which rules select, by their [hashes](reference_hash).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<u64>,
    /// The number of the object for this look: the place of the repository in the list of all, in thousands.
    pub shard: u64,
}

/// What is asked of a look at a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LookRequest {
    /// The number of the object for the look.
    pub shard: u64,
    /// A time without any event; `None` if there were some, or that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<QuietTime>,
}

/// A time in which a repository had no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietTime {
    /// Its beginning: that of the look before.
    pub from: Instant,
    /// Its end.
    pub until: Instant,
}

impl QuietTime {
    /// The time since a look without any event, as a run knows it now. Later events may be late; those of an older look may be
    /// forgotten.
    #[must_use]
    pub fn since(looked_at: Instant, now: Instant) -> Option<Self> {
        if looked_at.micros() < now.micros_days_before(KEPT_DAYS) {
            return None;
        }
        let from = Instant::from_micros(looked_at.micros().checked_add(MARGIN_MICROS)?)?;
        let until = Instant::from_micros(now.micros().checked_sub(EVENT_DELAY_MICROS)?)?;
        (from < until).then_some(Self { from, until })
    }

    /// When an image was pushed in this time, of which there should have been an event.
    #[must_use]
    pub fn unannounced_push(&self, images: &RepositoryImages) -> Option<Instant> {
        let pushed = images.images().iter().map(|image| image.pushed_at);
        pushed.filter(|at| (self.from..self.until).contains(at)).max()
    }
}

/// A reference in use, in eight bytes.
#[must_use]
pub fn reference_hash(reference: &ImageReference) -> u64 {
    let digest = Sha256::digest(reference.to_string());
    digest.iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// The hashes of all references in use.
#[must_use]
pub fn reference_hashes(usage: &Usage) -> HashSet<u64> {
    usage.used().iter().map(|used| reference_hash(&used.reference)).collect()
}

/// A repository as a look finds it.
#[derive(Debug, Clone, Copy)]
pub struct PlannedRepository<'a> {
    /// Its policy.
    pub entry: &'a Entry,
    /// Its images.
    pub images: &'a RepositoryImages,
    /// Those of them in use.
    pub used: &'a UsedImages,
    /// All use.
    pub usage: &'a Usage,
    /// Its plan.
    pub plan: &'a Plan,
    /// The time right before its images were read.
    pub read_at: Instant,
    /// The time of the plan.
    pub now: Instant,
}

impl PlannedRepository<'_> {
    /// The look, if the repository need not be looked at again as long as nothing changes; `None` if it has to be.
    #[must_use]
    pub fn look(&self, shard: u64) -> Option<Look> {
        let Self { entry, images, plan, read_at, now, .. } = *self;
        let has_plan = !(plan.deletions.is_empty() && plan.archivals.is_empty() && plan.blockers.is_empty());
        // What is not read completely, is on its way back, or is of the future, changes by itself.
        let latest = now.micros().saturating_add(MARGIN_MICROS);
        let is_settled = images.images().iter().all(|image| {
            matches!(image.status, ImageStatus::Active | ImageStatus::Archived)
                && image.pushed_at.micros() <= latest
        });
        if has_plan || entry.apply.is_by_ecr() || !is_settled || !images.unread_indexes().is_empty() {
            return None;
        }
        let references = self.references()?;
        Some(Look { at: read_at, due_at: self.due_at(), references, shard })
    }

    /// The images that a rule selects and that are kept: since they are in use, or for another reason.
    fn selected(&self, is_in_use: bool) -> impl Iterator<Item = ImageIndex> + '_ {
        let verdicts = (0..).zip(self.plan.evaluation.verdicts());
        let selected = verdicts.filter(|(_, verdict)| matches!(verdict, Verdict::HeldByUse { .. }));
        selected.map(|(place, _)| place).filter(move |&place| self.used.reason(place).is_some() == is_in_use)
    }

    /// The references by which selected images are in use. `None` if one of these is in use for another reason, which may end
    /// without a change of any reference.
    fn references(&self) -> Option<Vec<u64>> {
        let selected: Vec<ImageIndex> = self.selected(true).collect();
        if selected.is_empty() {
            return Some(Vec::new());
        }
        // A reference to a replica counts here only as long as there is the replica.
        if !self.usage.replicas.is_empty() {
            return None;
        }
        let referenced = self.used.referenced();
        let reasons: HashMap<ImageIndex, String> =
            referenced.iter().map(|(place, _)| (*place, String::new())).collect();
        let kept = self.images.closure(reasons, "is");
        if !selected.iter().all(|place| kept.contains_key(place)) {
            return None;
        }
        let references: Option<BTreeSet<u64>> = referenced
            .iter()
            .map(|(_, at)| Some(reference_hash(&self.usage.used().get(*at)?.reference)))
            .collect();
        references.filter(|all| all.len() <= MAX_REFERENCES).map(|all| all.into_iter().collect())
    }

    /// When time alone changes the plan first.
    fn due_at(&self) -> Option<Instant> {
        let Self { entry, images, plan, now, .. } = *self;
        let explainer = Explainer { policy: Some(&entry.policy), images, evaluation: &plan.evaluation, now };
        let places = (0..).zip(images.images());
        let by_rules = places.filter_map(|(place, _)| Some(explainer.due(place)?.at)).min();
        let Some(days) = entry.keep.pulled_within_days else { return by_rules };
        if self.selected(false).next().is_none() {
            return by_rules;
        }
        // Which pull keeps which image does not matter: the first that ends is early enough.
        let pulled = images.images().iter().filter_map(|image| image.last_pulled_at?.plus_days(days));
        pulled.filter(|until| *until >= now).chain(by_rules).min()
    }
}

/// The name of a policy, and what a run finds out about a repository without looking at its images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Its name.
    pub repository_name: &'a str,
    /// When it was created; `None` if ECR does not say.
    pub created_at: Option<Instant>,
    /// The name of its policy.
    pub policy: &'a str,
    /// Who enforces the policy.
    pub apply: Apply,
    /// Whether a record or a resource tag asks for protection, or it is not known whether one does.
    pub is_protected: bool,
    /// Whether its own lifecycle policy is checked today.
    pub checks_native_policy: bool,
    /// The calls to read layers there; `None` if layers are not looked at.
    pub layer_reads: Option<u32>,
}

/// What a run knows when it decides what to look at.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The hash of its policies file.
    pub policies_file_hash: &'a str,
    /// The changes of repositories.
    pub changes: &'a Changes,
    /// The hashes of all references in use.
    pub references: &'a HashSet<u64>,
    /// The present.
    pub now: Instant,
}

/// Why a repository is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LookReason {
    /// It is protected, or ECR enforces its policy.
    Protected,
    /// Its own lifecycle policy is checked today.
    NativePolicy,
    /// The look was by another policies file or policy.
    OtherPolicy,
    /// Not all changes since the look are known.
    UnknownChanges,
    /// It was changed since the look.
    Changed,
    /// It was created after the look.
    Created,
    /// The look is too old, or of the future.
    TooOld,
    /// A rule or `keep` acts by time.
    Due,
    /// Something that kept an image is not in use any more.
    UseEnded,
    /// There are layers to read.
    Layers,
    /// The look found something to do or to attend to.
    Unsettled,
}

impl Known<'_> {
    /// Whether a repository need not be looked at, by an earlier look and its outcome, under the policies file with this hash.
    ///
    /// # Errors
    ///
    /// The reason to look.
    pub fn leaves_out(
        &self,
        candidate: &Candidate<'_>,
        (look, outcome, policies_file_hash): (&Look, &Outcome, &str),
    ) -> Result<(), LookReason> {
        let Self { changes, references, now, .. } = *self;
        let name = candidate.repository_name;
        let end_of_run = now.micros().saturating_add(MAX_RUN_AGE_SECONDS * 1_000_000);
        // The next run may come a week after this one.
        let is_due = |at: Instant| at.micros() <= end_of_run;
        let is_old = look.at.plus_days(MAX_LOOK_AGE_DAYS).is_none_or(is_due)
            || look.at.micros() > now.micros().saturating_add(MARGIN_MICROS);
        let is_created_since = |at: Instant| at.micros() > look.at.micros().saturating_sub(MARGIN_MICROS);
        let is_same_policy = policies_file_hash == self.policies_file_hash
            && outcome.policy.as_deref() == Some(candidate.policy)
            && outcome.apply == Some(candidate.apply)
            && outcome.repository_name == name;
        let has_layers_to_read = candidate.layer_reads.is_some_and(|calls| match &outcome.storage {
            Some(storage) => storage.problem.is_some() || (storage.unread_images > 0 && calls > 0),
            None => true,
        });
        let reasons = [
            (candidate.is_protected || candidate.apply.is_by_ecr(), LookReason::Protected),
            (candidate.checks_native_policy, LookReason::NativePolicy),
            (!is_same_policy, LookReason::OtherPolicy),
            (!changes.counts(look.at), LookReason::UnknownChanges),
            (changes.is_changed_since(name, look.at), LookReason::Changed),
            (candidate.created_at.is_some_and(is_created_since), LookReason::Created),
            (is_old, LookReason::TooOld),
            (look.due_at.is_some_and(is_due), LookReason::Due),
            (!look.references.iter().all(|hash| references.contains(hash)), LookReason::UseEnded),
            (has_layers_to_read, LookReason::Layers),
            (!is_settled(outcome), LookReason::Unsettled),
        ];
        reasons.into_iter().find(|(applies, _)| *applies).map_or(Ok(()), |(_, reason)| Err(reason))
    }
}

/// Whether an outcome is one in which nothing was done, is to be done, or needs attention.
#[must_use]
pub fn is_settled(outcome: &Outcome) -> bool {
    let Outcome {
        status, error, blockers, expiring, transitioning, deleted, archived, failed, put_back, ..
    } = outcome;
    let amounts = [expiring, transitioning, deleted, archived, failed, put_back];
    matches!(status, Status::Previewed | Status::Done)
        && error.is_none()
        && blockers.is_empty()
        && amounts.into_iter().all(|amount| amount.is_zero())
        && outcome.attachment.is_none()
        && outcome.survey.is_none()
        && outcome.drift.is_empty()
        && outcome.journal.is_empty()
        && outcome.results_not_shown == 0
        && outcome.unannounced_push.is_none()
        && !outcome.needs_attention()
}

/// The outcome of a repository that is not looked at again: what the look found. `is_enforcing` is whether a run that looks at it
/// would enforce its policy.
#[must_use]
pub fn used_again(outcome: Outcome, look: Look, candidate: &Candidate<'_>, is_enforcing: bool) -> Outcome {
    let status = match candidate.apply {
        Apply::Delete if is_enforcing => Status::Done,
        _ => Status::Previewed,
    };
    let storage = outcome.storage.filter(|_| candidate.layer_reads.is_some());
    Outcome { status, storage, looked_at: Some(look.at), look: Some(look), ..outcome }
}

#[cfg(test)]
mod tests;
