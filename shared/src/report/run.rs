//! The report of a run, as JSON: for the registry, for each policy, and for the repositories with something to report.

mod builder;
mod costs;
mod message;
mod metrics;
mod notices;
mod parts;
mod survey;
#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::attention::{Concern, concerns};
use crate::domain::enforcement::enforcement_switch::DryRunReason;
use crate::domain::enforcement::outcome::{Amount, Attached, ImageResult, Outcome, PolicyChange, Status};
use crate::domain::enforcement::policy_set::{Apply, IgnoredSource};
use crate::domain::enforcement::protection_record::{Mode, PROTECTION_HOURS};
use crate::domain::enforcement::run::Run;
use crate::domain::enforcement::storage::{Prices, StorageBytes};
use crate::domain::enforcement::survey::Survey;
use crate::domain::preview::model::{FORMAT_VERSION, first_version};
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity::{bytes, count};
use crate::domain::usage::UnreadableSource;
use crate::domain::usage::source::SourceSummary;

pub use builder::Builder;
#[cfg(any(feature = "html", feature = "table"))]
pub(super) use costs::cost_facts;
#[cfg(feature = "table")]
pub(super) use costs::cost_lines;
pub use costs::{COST_TAGS, TagCost};
#[cfg(feature = "html")]
pub(super) use costs::{money, size, storage_sentence};
pub use metrics::metrics;
#[cfg(feature = "html")]
pub(super) use notices::{dry_run_notice, other_notices, tags_notice};
pub use parts::{PARTS, Part};
pub(super) use survey::{NEXT, facts};

/// Maximum number of repositories that a report lists. Counts include all.
pub const REPOSITORIES: usize = 2000;
/// Maximum number of images that a report lists, in all repositories.
pub const IMAGES: usize = 10_000;
/// Maximum number of names of repositories without a policy, and of objects in the bucket.
pub const NAMES: usize = 1000;

/// The report of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RunReport {
    /// The version of this form: [`FORMAT_VERSION`].
    #[serde(default = "first_version")]
    pub format_version: u32,
    /// The registry and the stack of the run.
    #[serde(flatten)]
    pub place: Place,
    /// The run.
    #[serde(flatten)]
    pub run: Run,
    /// The time of the report.
    pub ended_at: Instant,
    /// The status of the run.
    pub status: RunStatus,
    /// Why there is no more to report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether there is a policies file in the bucket.
    #[serde(alias = "hasBook")]
    pub has_policies_file: bool,
    /// Whether the run previews everything that its policies file does, so that the next one may enforce the file.
    #[serde(default)]
    pub is_preview: bool,
    /// What people should know first: why nothing was removed, what is unknown, what is ignored, what a limit of the registry
    /// blocks. One or two sentences each.
    #[serde(default)]
    pub notices: Vec<String>,
    /// Those of them that are about limits of the registry: what they block, and of a dry run what they leave for another day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limit_notices: Vec<String>,
    /// Hours for which protection tags hold: a policy whose protection is older is suspended.
    #[serde(default = "default_protection_hours")]
    pub protection_hours: u32,
    /// Over all repositories.
    pub totals: Totals,
    /// The repositories that the run did not look at again, since nothing has changed there; absent if it looked at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unchanged: Option<UnchangedRepositories>,
    /// Why the run looked at all repositories, although the stack looks only at those that may have changed; none if it is otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_changes: Option<String>,
    /// Repositories with an image of whose push Amazon ECR sent no event; the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unannounced_pushes: Vec<String>,
    /// The prices by which costs are counted.
    #[serde(default)]
    pub prices: Prices,
    /// The key of the resource tag by which costs are added up; absent for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_tag: Option<String>,
    /// What repositories cost by the value of that tag, the largest first, those without it last; at most [`COST_TAGS`] values. Empty
    /// if no repository has the tag.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub costs_by_tag: Vec<TagCost>,
    /// Why it is not known which repositories have that tag; none if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread_cost_tags: Option<String>,
    /// The first reason for which layers could not be read, with the repository; none if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_problem: Option<String>,
    /// What the registry has, as long as there is no policies file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub survey: Option<Survey>,
    /// The totals of each policy of the policies file that some repository has.
    pub policies: BTreeMap<String, Totals>,
    /// Unreadable usage sources.
    pub gaps: Vec<UnreadableSource>,
    /// How each usage source was read when the run began, and how many references to images it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usage_sources: Vec<SourceSummary>,
    /// Why it is not known which repositories ask for protection by their resource tag; none if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread_tags: Option<String>,
    /// For each of these the entry of `usage.ignore` that ignores it for 90 days.
    #[serde(default)]
    pub ignore_entries: Vec<String>,
    /// The usage sources that the policies file ignores.
    #[serde(default)]
    pub ignored: Vec<IgnoredSource>,
    /// Batches that were not worked on to their end.
    pub unfinished_batches: Vec<String>,
    /// Objects of the journal that no outcome mentions, since a function was cut off. The next run sees whether their images were
    /// deleted.
    #[serde(alias = "untoldJournal")]
    pub unreported_journal: Vec<String>,
    /// The bytes that the run wrote into the stack's bucket; absent if a list of S3 did not have them, and where the run wrote none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<WrittenBytes>,
    /// The repositories whose lifecycle policy ECR enforces and this stack protects: first those that need attention, then those
    /// with a suspended policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protection: Vec<ProtectedRepository>,
    /// The number of those repositories beyond the listed ones.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub protection_not_shown: u64,
    /// Repositories with something to report, those that need attention first.
    pub repositories: Vec<Outcome>,
    /// The number of such repositories beyond the listed ones.
    pub repositories_not_shown: u64,
    /// Repositories that no policy is for; the first of them.
    pub unmatched: Vec<String>,
    /// The repositories with the most bytes, the largest first; at most [`LARGEST`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub largest: Vec<LargeRepository>,
    /// What was deleted by each rule, or would be; the most bytes first, at most [`PARTS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Part>,
    /// What is protected by each user of images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<Part>,
    /// What each kind of blocker blocks, by its code; of several blockers of a repository the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_by: Vec<Part>,
    /// The runs over the registry before this one, the last first; at most [`EARLIER_RUNS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_runs: Vec<EarlierRun>,
}

/// The bytes of a run's objects, as they are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct WrittenBytes {
    /// The outcomes of repositories, compressed.
    pub outcomes: u64,
    /// The journal: what is known of images before they are deleted, archived or left to ECR.
    pub journal: u64,
}

/// Repositories that a run did not look at again, since nothing has changed there. What an earlier look found counts in the totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct UnchangedRepositories {
    /// Their number.
    pub repositories: u64,
    /// The time of the oldest of these looks.
    pub oldest_look_at: Instant,
}

impl UnchangedRepositories {
    /// One more, with the time of its look.
    fn add(all: &mut Option<Self>, looked_at: Instant) {
        let all = all.get_or_insert(Self { repositories: 0, oldest_look_at: looked_at });
        all.repositories += 1;
        all.oldest_look_at = all.oldest_look_at.min(looked_at);
    }

    /// Their number and since when, in a few words.
    #[must_use]
    pub fn in_short(&self) -> String {
        let number = repositories(self.repositories);
        format!("{number} not looked at again, some since {}", day_and_minute(self.oldest_look_at))
    }

    /// A sentence without its end.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { repositories: number, oldest_look_at } = self;
        let (were, them) = if *number == 1 { ("was", "it") } else { ("were", "them") };
        format!(
            "{} {were} not looked at again, since nothing has changed there; what the totals have of {them} is as it was found since {}",
            repositories(*number),
            day_and_minute(*oldest_look_at)
        )
    }
}

/// Number of earlier runs that a report lists.
pub const EARLIER_RUNS: usize = 10;

/// A run before, in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct EarlierRun {
    /// The id of the run.
    pub run_id: String,
    /// The time at which it began.
    pub started_at: Instant,
    /// Its status.
    pub status: RunStatus,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// All images.
    pub images: Amount,
    /// What policies expired, without what was in use or kept.
    pub expiring: Amount,
    /// What was deleted.
    pub deleted: Amount,
    /// The number of repositories that needed attention.
    pub needing_attention: u64,
}

/// What a report says of its run, for the reports after it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LastReport {
    run_id: String,
    started_at: Instant,
    status: RunStatus,
    dry_run: bool,
    totals: Totals,
    #[serde(default)]
    earlier_runs: Vec<EarlierRun>,
}

/// The runs before a run, from the report of the last one.
///
/// # Errors
///
/// If the text is not a report.
pub fn earlier_runs(last_report: &str, run: &Run) -> Result<Vec<EarlierRun>, serde_json::Error> {
    let LastReport { run_id, started_at, status, dry_run, totals, earlier_runs } =
        serde_json::from_str(last_report)?;
    let last = EarlierRun {
        run_id,
        started_at,
        status,
        dry_run,
        images: totals.images,
        expiring: totals.expiring,
        deleted: totals.deleted,
        needing_attention: totals.needing_attention,
    };
    // The report of this run may have been written before, by an attempt that failed later.
    let others = std::iter::once(last).chain(earlier_runs).filter(|one| one.run_id != run.run_id);
    Ok(others.take(EARLIER_RUNS).collect())
}

/// Number of the largest repositories that a report lists.
pub const LARGEST: usize = 10;

/// One of the largest repositories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LargeRepository {
    /// The repository.
    pub repository_name: String,
    /// All its images.
    pub images: Amount,
    /// What its policy expires, without what is in use or kept.
    pub expiring: Amount,
    /// What its policy would expire, and is kept since it is in use.
    #[serde(alias = "heldByUse")]
    pub protected_by_use: Amount,
    /// Its bytes, as far as its layers are known.
    #[serde(default)]
    pub storage: StorageBytes,
}

/// The registry and the stack of a run. Reports of earlier versions lack it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The name of the stack; none for a run from a terminal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stack_name: String,
    /// The AWS account whose registry it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub registry_id: String,
    /// The Region.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// The stack's bucket, where the run's files are.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bucket: String,
}

impl Place {
    /// The address of an object of the run; in commands of reports that do not say which bucket it is, people fill it in.
    #[must_use]
    pub fn address(&self, key: &str) -> String {
        let bucket = if self.bucket.is_empty() { "<bucket>" } else { &self.bucket };
        format!("s3://{bucket}/{key}")
    }
}

impl RunReport {
    /// A line that says where the run was, what it did, and when it began.
    #[must_use]
    pub fn title(&self) -> String {
        let Place { stack_name, registry_id, region, bucket: _ } = &self.place;
        let did = match self.status {
            RunStatus::Failed => "failed",
            _ if self.run.protect_only => "protected",
            _ if self.run.dry_run || self.run.only_protects() => "previewed",
            RunStatus::Succeeded | RunStatus::Attention => "enforced",
        };
        let when = day_and_minute(self.run.started_at);
        let parts = [stack_name.as_str(), registry_id, region];
        let parts = parts.into_iter().filter(|part| !part.is_empty()).map(str::to_owned);
        parts.chain([format!("{did} {when}")]).collect::<Vec<_>>().join(" · ")
    }
}

/// `26 Nov 2026 03:00`.
fn day_and_minute(at: Instant) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = at.to_string();
    let parts = (text.get(..4), text.get(5..7), text.get(8..10), text.get(11..16));
    let (Some(year), Some(month), Some(day), Some(minute)) = parts else { return text };
    let month = month.parse::<usize>().ok().and_then(|month| MONTHS.get(month.checked_sub(1)?));
    match month {
        Some(month) => format!("{} {month} {year} {minute}", day.trim_start_matches('0')),
        None => text,
    }
}

const fn default_protection_hours() -> u32 {
    PROTECTION_HOURS
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

const fn is_none(amount: &Amount) -> bool {
    amount.is_zero()
}

/// The protection of a repository whose lifecycle policy ECR enforces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ProtectedRepository {
    /// The repository.
    pub repository_name: String,
    /// The name of its policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Whose policy it is, when its protection was refreshed, and whether it is suspended.
    #[serde(flatten)]
    pub attached: Attached,
    /// The time until which ECR may rely on the protection tags; absent if they were never complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected_until: Option<Instant>,
    /// What ECR itself deletes or archives behind the protection rule, unless the policy is suspended.
    pub expiring_by_ecr: Amount,
    /// Whether the repository needs attention.
    pub needs_attention: bool,
}

impl ProtectedRepository {
    /// The state of the policy, in a few words.
    #[must_use]
    pub const fn state(&self) -> &'static str {
        let Attached { lifecycle_policy, suspension_is_intended, .. } = self.attached;
        match lifecycle_policy {
            PolicyChange::Attached => "attached now",
            PolicyChange::ToBeAttached => "to be attached",
            PolicyChange::Suspended => "suspended now",
            PolicyChange::ToBeSuspended => "to be suspended",
            PolicyChange::Unchanged if suspension_is_intended => "suspended as wanted",
            PolicyChange::Unchanged if self.attached.is_suspended() => "suspended",
            PolicyChange::Unchanged if self.attached.refreshed_at.is_none() => "not protected yet",
            PolicyChange::Unchanged if self.needs_attention => "not refreshed",
            PolicyChange::Unchanged => "protected",
        }
    }

    /// Whether the protection tags are stale while the policy acts.
    #[must_use]
    pub fn is_stale(&self, now: Instant) -> bool {
        !self.attached.is_suspended() && self.protected_until.is_some_and(|until| until < now)
    }
}

/// Whose policy it is that ECR enforces, for people.
#[must_use]
pub const fn whose(mode: Option<Mode>) -> &'static str {
    match mode {
        Some(Mode::Attach) => "the policies file's",
        Some(Mode::Provisioned) => "made with the repository",
        Some(Mode::Protect) => "somebody else's",
        None => "not known",
    }
}

/// The status of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum RunStatus {
    /// Everything was read and done.
    Succeeded,
    /// Something was blocked, failed, or is unfinished.
    Attention,
    /// There was no run.
    Failed,
}

/// The sum of some repositories. Sizes in amounts are upper bounds: layers shared between images are counted once per image. `storage`
/// has layers counted once.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Totals {
    /// The number of repositories.
    pub repositories: u64,
    /// The number of repositories with each status.
    pub statuses: BTreeMap<Status, u64>,
    /// All images.
    pub images: Amount,
    /// The number of images that count for limits in percent of the registry.
    pub counted_images: u64,
    /// What policies expire, without what is in use or kept.
    pub expiring: Amount,
    /// What policies archive.
    pub transitioning: Amount,
    /// What ECR itself deletes or archives behind protection rules that are not suspended: a part of what policies expire.
    pub expiring_by_ecr: Amount,
    /// What was deleted.
    pub deleted: Amount,
    /// What was archived.
    pub archived: Amount,
    /// What a run that enforces deletes: by policies with `apply: delete`, and that nothing blocks. Of a dry run only.
    #[serde(skip_serializing_if = "is_none")]
    pub to_be_deleted: Amount,
    /// What it archives. Of a dry run only.
    #[serde(skip_serializing_if = "is_none")]
    pub to_be_archived: Amount,
    /// What policies select that are only previewed (`apply: preview`).
    #[serde(skip_serializing_if = "is_none")]
    pub only_previewed: Amount,
    /// What the rules select, and is kept since it is in use.
    #[serde(alias = "heldByUse")]
    pub protected_by_use: Amount,
    /// What the rules select, and `keep` of policies keeps.
    #[serde(alias = "heldByKeep")]
    pub protected_by_keep: Amount,
    /// What came into use after it was deleted or archived, and was restored.
    pub put_back: Amount,
    /// What is not removed since a plan exceeds a limit, or something is unknown.
    #[serde(alias = "heldByObstacles")]
    pub blocked: Amount,
    /// What is neither deleted nor archived where something blocks the plan of a repository; nothing of what is only previewed.
    pub not_removed: Amount,
    /// What could not be deleted or archived.
    pub failed: Amount,
    /// Protection tags that were added.
    pub tags_added: u64,
    /// Repositories whose lifecycle policy ECR enforces and this stack protects.
    pub protected_repositories: u64,
    /// The number of suspended policies among them, intended or not.
    pub suspended_policies: u64,
    /// Repositories whose own lifecycle policy would delete images in use. A repository is checked once a week.
    pub native_policies_at_risk: u64,
    /// The number of repositories that need attention.
    pub needing_attention: u64,
    /// Repositories that differ from the policies file.
    pub drifted: u64,
    /// The bytes, each layer counted once for each repository where its layers are known.
    pub storage: StorageBytes,
    /// The number of repositories some of whose bytes are upper bounds.
    pub upper_bounds: u64,
    /// The number of images whose layers are not known, and that count with their sizes, where layers were looked at.
    pub unread_images: u64,
    /// The monthly cost of all images, in US dollars.
    pub estimated_monthly_cost: f64,
    /// Whether the cost may be less, since layers may be counted more than once.
    pub cost_is_upper_bound: bool,
    /// The monthly saving, in US dollars, by what was deleted, or would be.
    pub estimated_monthly_saving: f64,
    /// Whether the saving may be less.
    pub saving_is_upper_bound: bool,
    /// Upper bound of the monthly saving, in US dollars, by what policies archive: nothing up to 150 terabytes.
    pub estimated_monthly_archive_saving: f64,
}

impl Totals {
    /// One more repository.
    pub fn add(&mut self, outcome: &Outcome) {
        self.repositories += 1;
        *self.statuses.entry(outcome.status).or_default() += 1;
        self.images.extend(outcome.images);
        self.counted_images += outcome.counted_images;
        self.expiring.extend(outcome.expiring);
        self.transitioning.extend(outcome.transitioning);
        self.deleted.extend(outcome.deleted);
        self.archived.extend(outcome.archived);
        self.protected_by_use.extend(outcome.protected_by_use);
        self.protected_by_keep.extend(outcome.protected_by_keep);
        self.put_back.extend(outcome.put_back);
        self.failed.extend(outcome.failed);
        let is_blocked = !outcome.blockers.is_empty();
        if is_blocked {
            self.blocked.extend(outcome.expiring);
        }
        if outcome.status == Status::Blocked {
            let mut planned = outcome.expiring;
            planned.extend(outcome.transitioning);
            self.not_removed.extend(planned.less(outcome.deleted).less(outcome.archived));
        }
        match outcome.apply {
            Some(Apply::Delete) if outcome.status == Status::Previewed && !is_blocked => {
                self.to_be_deleted.extend(outcome.expiring);
                self.to_be_archived.extend(outcome.transitioning);
            }
            Some(Apply::Preview) => {
                self.only_previewed.extend(outcome.expiring);
                self.only_previewed.extend(outcome.transitioning);
            }
            _ => {}
        }
        if let Some(attached) = &outcome.attachment {
            self.tags_added += attached.tags_added;
            self.protected_repositories += 1;
            if attached.is_suspended() {
                self.suspended_policies += 1;
            } else {
                self.expiring_by_ecr.extend(outcome.expiring_by_ecr);
            }
        }
        self.native_policies_at_risk += u64::from(outcome.native_policy.is_some());
        self.needing_attention += u64::from(outcome.needs_attention());
        self.drifted += u64::from(!outcome.drift.is_empty());
        let storage = costs::storage_of(outcome);
        self.storage.extend(storage);
        self.upper_bounds += u64::from(storage.total().is_upper_bound);
        self.unread_images += outcome.storage.as_ref().map_or(0, |storage| storage.unread_images);
    }

    /// The number of repositories with this status.
    #[must_use]
    pub fn count(&self, status: Status) -> u64 {
        self.statuses.get(&status).copied().unwrap_or_default()
    }
}

impl Outcome {
    /// Whether there is anything to report about the repository.
    #[must_use]
    pub fn has_something_to_tell(&self) -> bool {
        let attached = self.attachment.as_ref();
        self.needs_attention()
            || attached.is_some_and(|attached| attached.has_changed() || attached.is_suspended())
            || !(self.drift.is_empty() && self.findings.is_empty() && self.results.is_empty())
            || self.results_not_shown > 0
            || self.status == Status::RepositoryDeleted
    }
}

/// `1 repository`.
fn repositories(number: u64) -> String {
    count(number, "repository").replace("repositorys", "repositories")
}
