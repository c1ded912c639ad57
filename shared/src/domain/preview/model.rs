//! The answer of a preview: ECR's `GetLifecyclePolicyPreview` for what is acted on, with the same field names, and
//! beside it what ECR does not say: sizes, reasons, what is kept and why, findings.

use serde::{Deserialize, Serialize};

use crate::domain::lifecycle::document::{Action, StorageClass};
use crate::domain::text::finding::Finding;
use crate::domain::text::instant::Instant;

/// The version of the form of previews and of reports of runs. Before it had a number, some members had other names, which are read as
/// well.
pub const FORMAT_VERSION: u32 = 2;

/// The version of what has no number.
pub(crate) const fn first_version() -> u32 {
    1
}

/// The effect of a policy on one repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PreviewReport {
    /// The version of this form: [`FORMAT_VERSION`].
    #[serde(default = "first_version")]
    pub format_version: u32,
    /// The account whose registry the repository is in, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_id: Option<String>,
    /// The repository, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository_name: Option<String>,
    /// The evaluated policy as ECR's document; absent for a policy with `skip: true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle_policy_text: Option<String>,
    /// The time for which the policy was evaluated.
    pub evaluated_at: Instant,
    /// Always [`Status::Complete`]: an evaluation that fails gives no report.
    pub status: Status,
    /// Images that are acted on, in ascending rule priority, then oldest first.
    pub preview_results: Vec<PreviewResult>,
    /// Totals.
    pub summary: Summary,
    /// The images that are kept, oldest first.
    pub kept: Vec<KeptImage>,
    /// Findings about the policy and these images.
    pub findings: Vec<Finding>,
}

/// The state of a preview, in ECR's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// The evaluation is complete.
    Complete,
}

/// An image that a rule acts on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PreviewResult {
    /// The image's digest.
    pub image_digest: String,
    /// The image's tags; all of them go with it.
    pub image_tags: Vec<String>,
    /// The push time.
    pub image_pushed_at: Instant,
    /// Its compressed size in bytes.
    pub image_size_in_bytes: u64,
    /// The action on the image.
    pub action: ActionTaken,
    /// `rulePriority` of the rule that acts; for an artifact about another image, the rule that acts on that one.
    pub applied_rule_priority: u64,
    /// The storage class of the image now.
    pub storage_class: StorageClass,
    /// Why the rule acts, in a sentence.
    pub reason: String,
    /// The pass in which the rule acts, from 1; absent from the evaluation of a single pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<u16>,
}

/// `action` of a preview's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ActionTaken {
    /// EXPIRE or TRANSITION.
    #[serde(rename = "type")]
    pub kind: ActionKind,
    /// The storage class that a transition moves the image to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_storage_class: Option<StorageClass>,
}

/// The action on an image, in ECR's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum ActionKind {
    /// The image is deleted.
    Expire,
    /// The image moves to another storage class.
    Transition,
}

impl From<Action> for ActionTaken {
    fn from(action: Action) -> Self {
        match action {
            Action::Expire => Self { kind: ActionKind::Expire, target_storage_class: None },
            Action::Transition => {
                Self { kind: ActionKind::Transition, target_storage_class: Some(StorageClass::Archive) }
            }
        }
    }
}

/// An image that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct KeptImage {
    /// The image's digest.
    pub image_digest: String,
    /// The image's tags.
    pub image_tags: Vec<String>,
    /// The push time.
    pub image_pushed_at: Instant,
    /// Its compressed size in bytes.
    pub image_size_in_bytes: u64,
    /// What keeps it: `rule 1`, `index sha256:…`, `subject sha256:…`, `in use`, `restoring`, `unknownStatus`, `archived`, `no
    /// rule`.
    #[serde(alias = "heldBy")]
    pub kept_by: String,
    /// Why it is kept, in a sentence.
    pub reason: String,
    /// The time at which a rule by age will expire it if nothing changes; null if none will.
    pub expires_at: Option<Instant>,
    /// The time at which a rule by age will archive it if nothing changes; absent if none will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transitions_at: Option<Instant>,
}

/// Totals of a preview. Layers are shared between images, so sizes overstate what is freed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Images that expire.
    pub expiring_image_total_count: u64,
    /// The sum of their sizes in bytes.
    pub expiring_image_size_in_bytes: u64,
    /// Images that move, for each target.
    pub transitioning_image_total_counts: Vec<TransitioningCount>,
    /// The sum of the sizes of images that move, in bytes.
    pub transitioning_image_size_in_bytes: u64,
    /// The number of images that are kept as they are.
    pub kept_image_total_count: u64,
    /// The sum of their sizes in bytes.
    pub kept_image_size_in_bytes: u64,
}

/// The number of images that move to a storage class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TransitioningCount {
    /// The storage class they move to.
    pub target_storage_class: StorageClass,
    /// The number.
    pub image_total_count: u64,
}

impl Summary {
    /// The number of images that move to another storage class.
    #[must_use]
    pub fn transitioning_image_total_count(&self) -> u64 {
        self.transitioning_image_total_counts.iter().map(|count| count.image_total_count).sum()
    }
}

impl PreviewReport {
    /// The repository's name, or words that say that it is not known.
    #[must_use]
    pub fn title(&self) -> &str {
        title(self.repository_name.as_deref())
    }
}

/// The name of a repository, or words that say that it is not known.
pub(super) fn title(name: Option<&str>) -> &str {
    name.unwrap_or("(repository not named)")
}
