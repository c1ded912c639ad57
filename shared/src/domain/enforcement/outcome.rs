//! What came of one repository in a run, as a line of JSON.

use serde::{Deserialize, Serialize};

use crate::domain::enforcement::journal::Line;
use crate::domain::enforcement::plan::Blocker;
use crate::domain::enforcement::policy_set::Apply;
use crate::domain::enforcement::protection_record::{Mode, protected_until};
use crate::domain::image::Image;
use crate::domain::preview::model::ActionTaken;
use crate::domain::text::finding::Finding;
use crate::domain::text::instant::Instant;

/// Of so many images of a repository an outcome tells singly; counts are of all.
pub const SHOWN: usize = 1000;

/// What came of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Outcome {
    /// The repository.
    pub repository_name: String,
    /// The name of its policy in the policies file; none for a repository that none matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Who applies the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apply: Option<Apply>,
    /// How it ended.
    pub status: Status,
    /// Why nothing is known or done, if something failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why the plan is not executed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub obstacles: Vec<ReportedBlocker>,
    /// All images.
    pub images: Amount,
    /// How many of the images count for limits in percent of the registry: those that can be pulled by themselves.
    pub counted_images: u64,
    /// What the policy takes, less what is in use and kept.
    pub expiring: Amount,
    /// What the policy moves to the archive, less what is in use and kept.
    pub transitioning: Amount,
    /// What ECR itself deletes or archives behind the protection rule, a part of what the policy takes. Nothing of it as long as
    /// the policy is suspended.
    #[serde(skip_serializing_if = "is_none")]
    pub expiring_by_ecr: Amount,
    /// What was deleted.
    pub deleted: Amount,
    /// What was moved to the archive.
    pub archived: Amount,
    /// What the rules would take, and its use keeps.
    pub held_by_use: Amount,
    /// What the rules would take, and the policy keeps all the same.
    pub held_by_keep: Amount,
    /// What was to be deleted, and was not.
    pub failed: Amount,
    /// What came into use after it was deleted or archived, and was put back.
    #[serde(skip_serializing_if = "is_none")]
    pub put_back: Amount,
    /// How the policy that ECR enforces here is protected; `None` where ECR enforces none of this stack's concern.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attachment: Option<Attached>,
    /// What is in use and its own lifecycle policy, which is not protected, would have ECR delete: a sentence. It is looked at once
    /// a week.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native_policy: Option<String>,
    /// Where protection tags are replicated to, and what that means there: a sentence for each registry.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replicated_tags: Vec<String>,
    /// What managed signing makes of protection tags: a sentence.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signed_tags: Vec<String>,
    /// How the repository differs from what the policies file says, before the run changed anything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<String>,
    /// What is worth knowing about the policy, given these images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Where it was written down what was to be deleted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub journal: Vec<String>,
    /// What became of images that the rules take.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<ImageOutcome>,
    /// Of how many more it is not told.
    #[serde(skip_serializing_if = "is_zero")]
    pub results_not_shown: u64,
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

/// How it ended with a repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Nothing was to be changed.
    #[default]
    Previewed,
    /// It is as the policy wants it.
    Done,
    /// Time was up; another invocation goes on.
    #[serde(rename = "REMAINING")]
    Unfinished,
    /// An obstacle keeps the plan from being executed.
    #[serde(rename = "HELD")]
    Blocked,
    /// Some of it could not be done.
    Partial,
    /// It could not be looked at, or nothing could be done.
    Failed,
    /// It was deleted meanwhile.
    #[serde(rename = "GONE")]
    RepositoryDeleted,
    /// No policy of the policies file is for it.
    Unmatched,
}

/// Images, and their sizes added up. Layers are shared between images, so that sizes overstate what is freed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Amount {
    /// How many.
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

    /// As many more.
    pub const fn extend(&mut self, other: Self) {
        self.image_total_count += other.image_total_count;
        self.image_size_in_bytes = self.image_size_in_bytes.saturating_add(other.image_size_in_bytes);
    }

    /// So many fewer.
    pub const fn remove(&mut self, other: Self) {
        self.image_total_count = self.image_total_count.saturating_sub(other.image_total_count);
        self.image_size_in_bytes = self.image_size_in_bytes.saturating_sub(other.image_size_in_bytes);
    }

    /// What is left without so many.
    #[must_use]
    pub const fn less(mut self, other: Self) -> Self {
        self.remove(other);
        self
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.image_total_count == 0
    }
}

/// Why a plan is not executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReportedBlocker {
    /// What kind of reason it is.
    pub code: String,
    /// A sentence.
    pub message: String,
}

impl From<&Blocker> for ReportedBlocker {
    fn from(obstacle: &Blocker) -> Self {
        Self { code: obstacle.code().to_owned(), message: obstacle.to_string() }
    }
}

/// How a policy that ECR enforces is protected, and what was done for that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Attached {
    /// What became of the policy.
    pub lifecycle_policy: PolicyChange,
    /// Whose policy it is; none in what an earlier version wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// How many images got a protection tag.
    pub tags_added: u64,
    /// When the use was read for which the protection tags are right; none before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refreshed_at: Option<Instant>,
    /// Since when a policy that takes nothing is attached in place of the policy; `None` if the policy acts, or nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended_at: Option<Instant>,
    /// Why a policy that takes nothing is attached in place of the policy; none if the policy acts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended_because: Option<String>,
    /// Whether the policy is suspended since somebody wants it so: the policies file does not have ECR enforce it any more, or the
    /// stack's parameter `Enforce` is off.
    #[serde(skip_serializing_if = "is_false")]
    pub suspension_is_intended: bool,
}

impl Attached {
    /// Until when ECR may go by the protection tags, if they may be so many hours old; `None` if they never were right.
    #[must_use]
    pub fn protected_until(&self, protection_hours: u32) -> Option<Instant> {
        self.refreshed_at.map(|refreshed_at| protected_until(refreshed_at, protection_hours))
    }

    /// Whether a policy that takes nothing is in place of the policy, or would be if this were no dry run.
    #[must_use]
    pub const fn is_suspended(&self) -> bool {
        self.suspended_because.is_some()
            || matches!(self.lifecycle_policy, PolicyChange::Suspended | PolicyChange::ToBeSuspended)
    }

    /// Whether the policy is suspended, and nobody wants that.
    #[must_use]
    pub const fn is_suspended_unintentionally(&self) -> bool {
        self.is_suspended() && !self.suspension_is_intended
    }

    /// Whether the run changed the policy or the protection tags, or would.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.tags_added > 0 || self.lifecycle_policy != PolicyChange::Unchanged
    }
}

/// What became of an attached policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PolicyChange {
    /// It is as it was.
    #[default]
    Unchanged,
    /// It was attached.
    Attached,
    /// It would be attached, if this were no dry run.
    ToBeAttached,
    /// One that takes nothing was attached in its place.
    Suspended,
    /// One that takes nothing would be attached in its place.
    ToBeSuspended,
}

/// What became of an image that the rules take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ImageOutcome {
    /// The image's digest.
    pub image_digest: String,
    /// The image's tags.
    pub image_tags: Vec<String>,
    /// When it was pushed.
    pub image_pushed_at: Instant,
    /// Its compressed size in bytes.
    pub image_size_in_bytes: u64,
    /// What the rule does.
    pub action: ActionTaken,
    /// `rulePriority` of the rule that takes it.
    pub applied_rule_priority: u64,
    /// Why the rule takes it, or what holds it.
    pub reason: String,
    /// What became of it.
    pub outcome: ImageResult,
    /// Why it is not as planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What became of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ImageResult {
    /// It would go, or will in another run.
    Planned,
    /// It is deleted.
    Deleted,
    /// It is in the archive.
    Archived,
    /// It is in use.
    InUse,
    /// The policy keeps it all the same.
    Kept,
    /// Something happened to it since the plan was made.
    HeldBack,
    /// It could not be deleted or archived.
    Failed,
    /// Whether it is deleted is not known: AWS did not answer.
    Unknown,
    /// It came into use after it was deleted or archived, and was put back.
    PutBack,
}

/// What came of putting an image back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutBack {
    /// Its repository.
    pub repository_name: String,
    /// What was written down of it.
    pub line: Line,
    /// Whether it had been archived rather than deleted.
    pub was_archived: bool,
    /// Who uses it.
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

    /// Of a repository that could not be looked at.
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

    /// Tells what became of an image, unless it is one too many.
    pub fn tell(&mut self, image: ImageOutcome) {
        if self.results.len() < SHOWN {
            self.results.push(image);
        } else {
            self.results_not_shown += 1;
        }
    }

    /// Takes in that an image was put back, or could not be.
    #[cfg(feature = "lifecycle")]
    pub fn take_in(&mut self, put_back: &PutBack) {
        let line = &put_back.line;
        let told = self.results.iter_mut().find(|image| {
            image.image_digest == line.image_digest
                && matches!(
                    image.outcome,
                    ImageResult::Deleted | ImageResult::Archived | ImageResult::Unknown
                )
        });
        let one = Amount { image_total_count: 1, image_size_in_bytes: line.image_size_in_bytes };
        let (fate, detail) = match &put_back.problem {
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
        if let Some(told) = told {
            if told.outcome != ImageResult::Unknown {
                let gone = if put_back.was_archived { &mut self.archived } else { &mut self.deleted };
                gone.remove(one);
            }
            told.outcome = fate;
            told.detail = Some(detail);
        } else {
            // Another invocation took it.
            self.tell(ImageOutcome {
                image_digest: line.image_digest.clone(),
                image_tags: line.image_tags.clone(),
                image_pushed_at: line.image_pushed_at,
                image_size_in_bytes: line.image_size_in_bytes,
                action: line.action,
                applied_rule_priority: line.applied_rule_priority.unwrap_or_default(),
                reason: line.reason.clone(),
                outcome: fate,
                detail: Some(detail),
            });
        }
        match &put_back.problem {
            None => self.put_back.extend(one),
            Some(_) => {
                self.failed.extend(one);
                if self.status == Status::Done {
                    self.status = Status::Partial;
                }
            }
        }
    }

    /// Says that the invocation was not allowed to enforce the policy, if there was something to enforce.
    pub fn block(&mut self, reasons: &[ReportedBlocker]) {
        let has_effects = match self.apply {
            Some(Apply::Attach | Apply::Protect) => true,
            Some(Apply::Delete) => !(self.expiring.is_zero() && self.transitioning.is_zero()),
            Some(Apply::Preview) | None => false,
        };
        if reasons.is_empty() || !has_effects {
            return;
        }
        // Before what the plan itself is held by: that would be of no use to change.
        self.obstacles.splice(0..0, reasons.iter().cloned());
        if matches!(self.status, Status::Previewed | Status::Done) {
            self.status = Status::Blocked;
        }
    }

    /// Takes in what another invocation did before this one in the same repository.
    pub fn follow(&mut self, mut before: Self) {
        // What it took and this one put back, or could not, is told once.
        let told = self
            .results
            .iter()
            .filter(|image| matches!(image.outcome, ImageResult::PutBack | ImageResult::Failed));
        let told: Vec<&str> = told.map(|image| image.image_digest.as_str()).collect();
        let (again, results): (Vec<ImageOutcome>, Vec<ImageOutcome>) =
            before.results.into_iter().partition(|image| told.contains(&image.image_digest.as_str()));
        before.results = results;
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
        self.results_not_shown += before.results_not_shown;
        for image in before.results {
            if matches!(
                image.outcome,
                ImageResult::Deleted | ImageResult::Archived | ImageResult::Unknown | ImageResult::PutBack
            ) {
                self.tell(image);
            }
        }
    }

    /// Whether somebody should look at it.
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
