//! The outcome of one repository in a run, as a line of JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::enforcement::journal::Line;
use crate::domain::enforcement::plan::Blocker;
use crate::domain::enforcement::policy_set::Apply;
use crate::domain::enforcement::protection_record::{Mode, protected_until};
use crate::domain::enforcement::storage::Storage;
use crate::domain::enforcement::survey::Survey;
use crate::domain::enforcement::unchanged::Look;
use crate::domain::image::Image;
use crate::domain::preview::model::{ActionKind, ActionTaken};
use crate::domain::text::finding::Finding;
use crate::domain::text::instant::Instant;
use crate::domain::usage::UnreadableSource;

/// Maximum number of images that an outcome lists. Counts include all images.
pub const SHOWN: usize = 1000;

/// The outcome of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Outcome {
    /// The repository.
    pub repository_name: String,
    /// The name of its policy in the policies file; none for a repository that none matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Who enforces the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apply: Option<Apply>,
    /// The status of the repository in this run.
    pub status: Status,
    /// Why nothing is known or done, if something failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why the plan is not executed.
    #[serde(alias = "obstacles", skip_serializing_if = "Vec::is_empty")]
    pub blockers: Vec<ReportedBlocker>,
    /// The accounts and services that may pull and report no use, where they are among the blockers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unread_pullers: Vec<UnreadableSource>,
    /// All images.
    pub images: Amount,
    /// The number of images that count for limits in percent of the registry: those that can be pulled by themselves.
    pub counted_images: u64,
    /// What the policy expires, without what is in use or kept.
    pub expiring: Amount,
    /// What the policy archives, without what is in use or kept.
    pub transitioning: Amount,
    /// What ECR itself deletes or archives behind the protection rule, a part of what the policy expires. Zero while the policy
    /// is suspended.
    #[serde(skip_serializing_if = "is_none")]
    pub expiring_by_ecr: Amount,
    /// What was deleted.
    pub deleted: Amount,
    /// What was archived.
    pub archived: Amount,
    /// What the rules select, and is kept since it is in use.
    #[serde(alias = "heldByUse")]
    pub protected_by_use: Amount,
    /// What the rules select, and `keep` of the policy keeps.
    #[serde(alias = "heldByKeep")]
    pub protected_by_keep: Amount,
    /// What could not be deleted or archived.
    pub failed: Amount,
    /// What came into use after it was deleted or archived, and was restored.
    #[serde(skip_serializing_if = "is_none")]
    pub put_back: Amount,
    /// The protection of the policy that ECR enforces here; absent if ECR enforces no policy that this stack protects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attachment: Option<Attached>,
    /// A sentence about images in use that the repository's own, unprotected lifecycle policy would expire. It is checked once a
    /// week.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native_policy: Option<String>,
    /// What the repository has, as long as there is no policies file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub survey: Option<Survey>,
    /// The bytes that the images take, each layer counted once; absent if the run did not look at layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// The value of the repository's resource tag by which costs are added up; absent if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_tag: Option<String>,
    /// A sentence for each registry that protection tags are replicated to, with the consequences there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replicated_tags: Vec<String>,
    /// A sentence about managed signing of protection tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signed_tags: Vec<String>,
    /// The differences between the repository and the policies file, before the run changed anything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<String>,
    /// Findings about the policy and these images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// The keys of the journal's objects about these images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub journal: Vec<String>,
    /// The results of images that the rules select.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<ImageOutcome>,
    /// The number of results beyond those listed.
    #[serde(skip_serializing_if = "is_zero")]
    pub results_not_shown: u64,
    /// The time of the look that found this, if the run did not look again since nothing has changed; absent if it looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looked_at: Option<Instant>,
    /// When an image was pushed here of which Amazon ECR sent no event; absent if no such push was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unannounced_push: Option<Instant>,
    /// What the next run needs in order not to look again. It is no part of reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(skip))]
    pub look: Option<Look>,
    /// The number of images that the plan deletes or archives, as far as they count for the limits of the registry; 0 for a plan that
    /// is not to be executed. It is no part of reports.
    #[serde(skip_serializing_if = "is_zero")]
    #[cfg_attr(feature = "schema", schemars(skip))]
    pub counted_removals: u64,
    /// The results that a report has no room for, and that were added up without being described. They are among
    /// `results_not_shown`, and no part of any file.
    #[serde(skip)]
    #[cfg_attr(feature = "schema", schemars(skip))]
    pub undescribed: Undescribed,
}

/// Results that were added up without being described.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undescribed {
    /// Their number.
    pub results: usize,
    /// The planned images that expire, by `rulePriority` of their rule.
    pub expiring: BTreeMap<u64, Amount>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

const fn is_none(amount: &Amount) -> bool {
    amount.is_zero()
}

/// The status of a repository in a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Nothing was to be changed.
    #[default]
    Previewed,
    /// The repository is as the policy wants it.
    Done,
    /// Time was up; another invocation continues.
    #[serde(alias = "REMAINING")]
    Unfinished,
    /// An obstacle keeps the plan from being executed.
    #[serde(alias = "HELD")]
    Blocked,
    /// Some of it could not be done.
    Partial,
    /// The repository could not be read, or no action was possible.
    Failed,
    /// The repository was deleted during the run.
    #[serde(alias = "GONE")]
    RepositoryDeleted,
    /// No policy of the policies file is for it.
    Unmatched,
}

/// Images, and their sizes added up. Layers are shared between images, so that sizes overstate what is freed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Amount {
    /// The number of images.
    pub image_total_count: u64,
    /// Bytes.
    pub image_size_in_bytes: u64,
}

impl Amount {
    /// One more image.
    pub const fn add(&mut self, image: &Image) {
        self.image_total_count += 1;
        self.image_size_in_bytes = self.image_size_in_bytes.saturating_add(image.size_in_bytes);
    }

    /// Adds an amount.
    pub const fn extend(&mut self, other: Self) {
        self.image_total_count += other.image_total_count;
        self.image_size_in_bytes = self.image_size_in_bytes.saturating_add(other.image_size_in_bytes);
    }

    /// Subtracts an amount.
    pub const fn remove(&mut self, other: Self) {
        self.image_total_count = self.image_total_count.saturating_sub(other.image_total_count);
        self.image_size_in_bytes = self.image_size_in_bytes.saturating_sub(other.image_size_in_bytes);
    }

    /// The amount without another.
    #[must_use]
    pub const fn less(mut self, other: Self) -> Self {
        self.remove(other);
        self
    }

    /// Whether the amount is zero.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.image_total_count == 0
    }
}

/// Why a plan is not executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReportedBlocker {
    /// The kind of the reason.
    pub code: String,
    /// A sentence.
    pub message: String,
}

impl From<&Blocker> for ReportedBlocker {
    fn from(blocker: &Blocker) -> Self {
        Self { code: blocker.code().to_owned(), message: blocker.to_string() }
    }
}

/// The protection of a policy that ECR enforces, and the changes to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Attached {
    /// The change of the policy.
    pub lifecycle_policy: PolicyChange,
    /// Whose policy it is; none in what an earlier version wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// The number of images that got a protection tag.
    pub tags_added: u64,
    /// The time at which the use was read for which the protection tags are complete; absent before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refreshed_at: Option<Instant>,
    /// The time since which the policy is suspended; absent if it is not, or the time is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended_at: Option<Instant>,
    /// Why the policy is suspended; absent if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended_because: Option<String>,
    /// Whether the suspension is intended: the policies file no longer has ECR enforce the policy, or the stack's parameter
    /// `Enforce` is off.
    #[serde(skip_serializing_if = "is_false")]
    pub suspension_is_intended: bool,
}

impl Attached {
    /// The time until which ECR may rely on the protection tags, if they may be this number of hours old; `None` if they were
    /// never complete.
    #[must_use]
    pub fn protected_until(&self, protection_hours: u32) -> Option<Instant> {
        self.refreshed_at.map(|refreshed_at| protected_until(refreshed_at, protection_hours))
    }

    /// Whether the policy is suspended, or would be without a dry run.
    #[must_use]
    pub const fn is_suspended(&self) -> bool {
        self.suspended_because.is_some()
            || matches!(self.lifecycle_policy, PolicyChange::Suspended | PolicyChange::ToBeSuspended)
    }

    /// Whether the policy is suspended unintentionally.
    #[must_use]
    pub const fn is_suspended_unintentionally(&self) -> bool {
        self.is_suspended() && !self.suspension_is_intended
    }

    /// Whether the run changed the policy or the protection tags, or would without a dry run.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.tags_added > 0 || self.lifecycle_policy != PolicyChange::Unchanged
    }
}

/// The change of an attached policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PolicyChange {
    /// No change.
    #[default]
    Unchanged,
    /// It was attached.
    Attached,
    /// It would be attached without a dry run.
    ToBeAttached,
    /// It was suspended.
    Suspended,
    /// It would be suspended without a dry run.
    ToBeSuspended,
}

/// The result of an image that the rules select.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ImageOutcome {
    /// The image's digest.
    pub image_digest: String,
    /// The image's tags.
    pub image_tags: Vec<String>,
    /// The push time.
    pub image_pushed_at: Instant,
    /// Its compressed size in bytes.
    pub image_size_in_bytes: u64,
    /// The action of the rule.
    pub action: ActionTaken,
    /// `rulePriority` of the rule that selects it.
    pub applied_rule_priority: u64,
    /// Why the rule selects it, or why it is kept.
    pub reason: String,
    /// The result.
    pub outcome: ImageResult,
    /// Why it is not as planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The result of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ImageResult {
    /// It would be deleted or archived, or will be in another run.
    Planned,
    /// It is deleted.
    Deleted,
    /// It is archived.
    Archived,
    /// It is in use.
    InUse,
    /// The policy's `keep` keeps it.
    Kept,
    /// Something happened to it since the plan was made.
    #[serde(alias = "HELD_BACK")]
    Blocked,
    /// It could not be deleted or archived.
    Failed,
    /// The outcome is unknown: AWS did not answer.
    Unknown,
    /// It came into use after it was deleted or archived, and was restored.
    PutBack,
}

/// The result of restoring an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutBack {
    /// Its repository.
    pub repository_name: String,
    /// Its line of the journal.
    pub line: Line,
    /// Whether it had been archived rather than deleted.
    pub was_archived: bool,
    /// The user of the image.
    pub reason: String,
    /// Why it is not back; none, and it is.
    pub problem: Option<String>,
}

impl Outcome {
    /// Adds the key of an object of the journal, once: an attempt that is repeated writes the same object.
    pub fn add_journal_key(&mut self, key: String) {
        if !self.journal.contains(&key) {
            self.journal.push(key);
        }
    }

    /// The outcome of a repository that could not be read.
    #[must_use]
    pub fn failed(repository_name: &str, policy: &str, error: String) -> Self {
        Self {
            repository_name: repository_name.to_owned(),
            policy: Some(policy.to_owned()),
            status: Status::Failed,
            error: Some(error),
            ..Self::default()
        }
    }

    /// Whether no more results are listed.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.results.len() + self.undescribed.results >= SHOWN
    }

    /// Adds the result of an image, up to the maximum number.
    pub fn record(&mut self, image: ImageOutcome) {
        if self.is_full() {
            self.results_not_shown += 1;
        } else {
            self.results.push(image);
        }
    }

    /// Counts an image that the policy's `keep` keeps, and that the report has no room for.
    pub const fn count_kept(&mut self) {
        self.undescribed.results += 1;
        self.results_not_shown += 1;
    }

    /// Counts a planned image that the report has no room for.
    pub fn count_planned(&mut self, image: &Image, action: ActionTaken, priority: u64) {
        self.undescribed.results += 1;
        self.results_not_shown += 1;
        if action.kind == ActionKind::Expire {
            self.undescribed.expiring.entry(priority).or_default().add(image);
        }
    }

    /// Records that an image was restored, or could not be.
    #[cfg(feature = "lifecycle")]
    pub fn take_in(&mut self, put_back: &PutBack) {
        let line = &put_back.line;
        let listed = self.results.iter_mut().find(|image| {
            image.image_digest == line.image_digest
                && matches!(
                    image.outcome,
                    ImageResult::Deleted | ImageResult::Archived | ImageResult::Unknown
                )
        });
        let one = Amount { image_total_count: 1, image_size_in_bytes: line.image_size_in_bytes };
        let (result, detail) = match &put_back.problem {
            None => (
                ImageResult::PutBack,
                format!("it came into use after it was deleted, and is back: {}", put_back.reason),
            ),
            Some(problem) => (
                ImageResult::Failed,
                format!(
                    "it came into use after it was deleted ({}), and could not be put back: {problem}",
                    put_back.reason
                ),
            ),
        };
        if let Some(listed) = listed {
            if listed.outcome != ImageResult::Unknown {
                let gone = if put_back.was_archived { &mut self.archived } else { &mut self.deleted };
                gone.remove(one);
            }
            listed.outcome = result;
            listed.detail = Some(detail);
        } else {
            // Another invocation took it.
            self.record(ImageOutcome {
                image_digest: line.image_digest.clone(),
                image_tags: line.image_tags.clone(),
                image_pushed_at: line.image_pushed_at,
                image_size_in_bytes: line.image_size_in_bytes,
                action: line.action,
                applied_rule_priority: line.applied_rule_priority.unwrap_or_default(),
                reason: line.reason.clone(),
                outcome: result,
                detail: Some(detail),
            });
        }
        match &put_back.problem {
            None => {
                self.put_back.extend(one);
                if let Some(storage) = &mut self.storage {
                    storage.put_back();
                }
            }
            Some(_) => {
                self.failed.extend(one);
                if self.status == Status::Done {
                    self.status = Status::Partial;
                }
            }
        }
    }

    /// Records that the invocation was not allowed to enforce the policy, if there was something to enforce.
    pub fn block(&mut self, reasons: &[ReportedBlocker]) {
        let has_effects = match self.apply {
            Some(Apply::Attach | Apply::Protect) => true,
            Some(Apply::Delete) => !(self.expiring.is_zero() && self.transitioning.is_zero()),
            Some(Apply::Preview) | None => false,
        };
        if reasons.is_empty() || !has_effects {
            return;
        }
        // These come before the blockers of the plan, which it would not help to resolve.
        self.blockers.splice(0..0, reasons.iter().cloned());
        if matches!(self.status, Status::Previewed | Status::Done) {
            self.status = Status::Blocked;
        }
    }

    /// Adds the outcome of an earlier invocation in the same repository.
    pub fn follow(&mut self, mut before: Self) {
        // An image that it deleted, and that this one restored or could not restore, is listed once.
        let listed = self
            .results
            .iter()
            .filter(|image| matches!(image.outcome, ImageResult::PutBack | ImageResult::Failed));
        let listed: Vec<&str> = listed.map(|image| image.image_digest.as_str()).collect();
        let (again, results): (Vec<ImageOutcome>, Vec<ImageOutcome>) =
            before.results.into_iter().partition(|image| listed.contains(&image.image_digest.as_str()));
        before.results = results;
        if let (false, Some(storage)) = (again.is_empty(), &mut before.storage) {
            storage.put_back();
        }
        for image in again {
            let one = Amount { image_total_count: 1, image_size_in_bytes: image.image_size_in_bytes };
            match image.outcome {
                ImageResult::Deleted => before.deleted.remove(one),
                ImageResult::Archived => before.archived.remove(one),
                _ => {}
            }
        }
        // What is gone is not in the plan of who came after.
        self.images.extend(before.deleted);
        self.expiring.extend(before.deleted);
        self.transitioning.extend(before.archived);
        self.deleted.extend(before.deleted);
        self.archived.extend(before.archived);
        self.put_back.extend(before.put_back);
        self.storage = match (self.storage.take(), before.storage.take()) {
            (Some(mut storage), Some(before)) => {
                storage.follow(before);
                Some(storage)
            }
            // Of one invocation alone it would be half of it.
            _ => None,
        };
        self.cost_tag = self.cost_tag.take().or(before.cost_tag.take());
        if let (Some(attached), Some(before)) = (&mut self.attachment, before.attachment) {
            attached.tags_added += before.tags_added;
            if attached.lifecycle_policy == PolicyChange::Unchanged {
                attached.lifecycle_policy = before.lifecycle_policy;
            }
        }
        if self.drift.is_empty() {
            self.drift = before.drift;
        }
        self.journal.extend(before.journal);
        // What several invocations worked on is looked at once more.
        self.look = None;
        self.unannounced_push = self.unannounced_push.max(before.unannounced_push);
        self.results_not_shown += before.results_not_shown;
        for image in before.results {
            if matches!(
                image.outcome,
                ImageResult::Deleted | ImageResult::Archived | ImageResult::Unknown | ImageResult::PutBack
            ) {
                self.record(image);
            }
        }
    }

    /// Whether the outcome needs somebody's attention.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        matches!(self.status, Status::Blocked | Status::Partial | Status::Failed | Status::Unfinished)
            || self.native_policy.is_some()
            || !self.replicated_tags.is_empty()
            || !self.signed_tags.is_empty()
            || self.attachment.as_ref().is_some_and(Attached::is_suspended_unintentionally)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(image_total_count: u64) -> Amount {
        Amount { image_total_count, image_size_in_bytes: image_total_count * 10 }
    }

    #[test]
    fn what_several_invocations_did_is_one_outcome() {
        let before = Outcome {
            status: Status::Unfinished,
            images: amount(100),
            expiring: amount(30),
            deleted: amount(20),
            journal: vec!["a".to_owned()],
            ..Outcome::default()
        };
        let mut after = Outcome {
            status: Status::Done,
            images: amount(80),
            expiring: amount(10),
            deleted: amount(10),
            journal: vec!["b".to_owned()],
            ..Outcome::default()
        };
        after.follow(before);
        assert_eq!(after.status, Status::Done);
        assert_eq!((after.images, after.expiring, after.deleted), (amount(100), amount(30), amount(30)));
        assert_eq!(after.journal, ["b", "a"]);
    }
}
