//! A run over a registry: the values that its parts exchange, and its keys in the stack's bucket.
//!
//! ```text
//! inventory → batches of repositories → each previewed or enforced → one report
//! ```

use serde::{Deserialize, Serialize};

use crate::domain::enforcement::batch::Kind;
use crate::domain::enforcement::enforcement_switch::{DryRunReason, MAX_RUN_AGE_SECONDS};
use crate::domain::text::instant::Instant;
use crate::domain::usage::usage_snapshot::CLOCK_SECONDS;

/// Key prefix of everything that runs keep.
pub const RUNS: &str = "runs/";

/// The last part of the keys, without the objects' names, of outcomes that an inventory found by itself.
pub const INVENTORY: &str = "/inventory";

/// With this, before its extension, ends the key of the outcomes with which a batch is complete.
pub const LAST: &str = "-last";

/// A run, as its parts pass it on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// The unique name of the run: that of the state machine's execution.
    pub run_id: String,
    /// The start of the run.
    pub started_at: Instant,
    /// The ARN of the state machine's execution, for which CloudTrail has the caller, or the user of a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_by: Option<String>,
    /// Whether the run is a dry run: nothing is deleted, archived or attached.
    pub dry_run: bool,
    /// Whether the run was requested to protect images in use in protected repositories, and nothing else.
    #[serde(default, skip_serializing_if = "is_false")]
    pub protect_only: bool,
    /// Why; `None` for a run that enforces, and before that is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run_reason: Option<DryRunReason>,
    /// The invocation that took the inventory, or its last part. Only objects of this invocation belong to the run, and not those
    /// of one that was killed. Empty before there is an inventory.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub attempt: String,
    /// The version of the run's policies file; absent before the file is read, and in a bucket without versions.
    #[serde(alias = "bookVersion", default, skip_serializing_if = "Option::is_none")]
    pub policies_file_version: Option<String>,
    /// The hash of the run's policies file; absent before the file is read, and without a policies file.
    #[serde(alias = "bookHash", default, skip_serializing_if = "Option::is_none")]
    pub policies_file_hash: Option<String>,
    /// Why the policies file is invalid, from the error of the function that read it. Such a run uses no policies file: it only
    /// protects repositories that are protected for another reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies_file_problem: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
pub(super) const fn is_false(value: &bool) -> bool {
    !*value
}

/// One batch for a function: in the state machine the input of a task and, as long as work remains, its output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// The run.
    pub run: Run,
    /// The key of the batch.
    pub key: String,
    /// The number of its repositories that are done.
    #[serde(default)]
    pub done: usize,
    /// Whether all are done.
    #[serde(default)]
    pub is_complete: bool,
}

/// The error message of a failed function, from the cause that Step Functions reports.
#[must_use]
pub fn message_of_cause(cause: &str) -> Option<String> {
    /// A function's error.
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Cause {
        error_message: String,
    }

    serde_json::from_str::<Cause>(cause).ok().map(|cause| cause.error_message)
}

impl Run {
    /// Whether the run protects images although it is a dry run.
    #[must_use]
    pub fn only_protects(&self) -> bool {
        self.dry_run && self.dry_run_reason.is_some_and(DryRunReason::protects)
    }

    /// Whether the run is recent enough for its data to be valid.
    #[must_use]
    pub fn is_young(&self, now: Instant) -> bool {
        let age = (now.micros() - self.started_at.micros()) / 1_000_000;
        (-CLOCK_SECONDS..=MAX_RUN_AGE_SECONDS).contains(&age)
    }

    /// The key of something that the run keeps.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("{RUNS}{}/{name}", self.run_id)
    }

    /// The key of something that belongs to the run's inventory.
    fn inventory_key(&self, name: &str) -> String {
        match self.attempt.as_str() {
            "" => self.key(name),
            attempt => format!("{}{attempt}/{name}", self.batches_prefix()),
        }
    }

    /// The key of the run's copy of the policies file.
    #[must_use]
    pub fn policies_file_key(&self) -> String {
        self.inventory_key("policies.yaml")
    }

    /// The key of what was in use when the run began.
    #[must_use]
    pub fn usage_key(&self) -> String {
        self.inventory_key("usage.json")
    }

    /// Whether the run surveys the registry, since there is no policies file yet.
    #[must_use]
    pub const fn surveys(&self) -> bool {
        self.policies_file_hash.is_none() && self.policies_file_problem.is_none() && !self.protect_only
    }

    /// Key prefix of outcomes.
    #[must_use]
    pub fn outcomes_prefix(&self) -> String {
        self.key("outcomes/")
    }

    /// Key prefix of the outcomes of a batch.
    #[must_use]
    pub fn outcomes_of(&self, batch: &str) -> String {
        let batch = batch.strip_prefix(&self.batches_prefix()).unwrap_or(batch);
        format!("{}{}/", self.outcomes_prefix(), batch.strip_suffix(".json").unwrap_or(batch))
    }

    /// Key prefix of outcomes that an attempt at the inventory found by itself: of repositories that are in no batch.
    #[must_use]
    pub fn outcomes_of_inventory(&self, attempt: &str) -> String {
        format!("{}{attempt}{INVENTORY}/", self.outcomes_prefix())
    }

    /// Key prefix of batches, whichever attempt wrote them.
    #[must_use]
    pub fn batches_prefix(&self) -> String {
        self.key("batches/")
    }

    /// The key of a batch.
    #[must_use]
    pub fn batch_key(&self, kind: Kind, number: usize) -> String {
        self.inventory_key(&format!("{}/{number:06}.json", kind.name()))
    }

    /// The key of the list of the run's batches, which is written when all of them are.
    #[must_use]
    pub fn batch_list_key(&self) -> String {
        format!("{}{}.json", self.batches_prefix(), self.attempt)
    }
}
