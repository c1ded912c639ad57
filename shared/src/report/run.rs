//! What came of a run, as JSON: for the registry, for each policy, and for the repositories that there is something to tell
//! of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::attention::{Concern, concerns};
use crate::domain::enforcement::enforcement_switch::DryRunReason;
use crate::domain::enforcement::outcome::{Amount, Attached, ImageResult, Outcome, PolicyChange, Status};
use crate::domain::enforcement::policy_set::{Apply, IgnoredSource};
use crate::domain::enforcement::protect_tag::PROTECT_KEY;
use crate::domain::enforcement::protection_record::{Mode, PROTECTION_HOURS};
use crate::domain::enforcement::run::Run;
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity::{bytes, count};
use crate::domain::usage::UnreadableSource;
use crate::domain::usage::source::SourceSummary;

/// Of so many repositories a report tells singly; counts are of all.
pub const REPOSITORIES: usize = 2000;
/// Of so many images, over all repositories.
pub const IMAGES: usize = 10_000;
/// So many names of repositories that no policy is for, and of objects in the bucket.
pub const NAMES: usize = 1000;
/// What ECR takes for a gigabyte (2³⁰ bytes) a month, in US dollars; the same in the standard class and in the archive, below
/// 150 terabytes. (Amazon ECR pricing.)
pub const USD_PER_GIGABYTE_MONTH: f64 = 0.10;

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RunReport {
    /// Where the run was.
    #[serde(flatten)]
    pub place: Place,
    /// The run.
    #[serde(flatten)]
    pub run: Run,
    /// When this was written.
    pub ended_at: Instant,
    /// How it ended.
    pub status: RunStatus,
    /// Why there is no more to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether there is a policies file in the bucket.
    pub has_book: bool,
    /// Whether the run shows all that its policies file does, so that the next one may enforce the file.
    #[serde(default)]
    pub is_preview: bool,
    /// What people should know before anything else: why nothing was taken, what is unknown, what is ignored, what a limit of
    /// the registry blocks. One sentence or two each.
    #[serde(default)]
    pub notices: Vec<String>,
    /// Hours for which protection tags hold: a policy whose protection is older is suspended.
    #[serde(default = "default_protection_hours")]
    pub protection_hours: u32,
    /// Over all repositories.
    pub totals: Totals,
    /// For each policy of the policies file that is for some repository.
    pub policies: BTreeMap<String, Totals>,
    /// What could not be read of what is in use.
    pub gaps: Vec<UnreadableSource>,
    /// How each usage source was read when the run began, and how many references to images it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usage_sources: Vec<SourceSummary>,
    /// Why it is not known which repositories ask for protection by their resource tag; none if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread_tags: Option<String>,
    /// For each of these the entry of `usage.ignore` that says for 90 days that it does not matter.
    #[serde(default)]
    pub ignore_entries: Vec<String>,
    /// The sources of use that the policies file says do not matter.
    #[serde(default)]
    pub ignored: Vec<IgnoredSource>,
    /// Batches that were not worked on to their end.
    pub unfinished_batches: Vec<String>,
    /// What was written down before images were deleted, and no outcome tells of: a function was cut off. Whether those images
    /// are gone, the next run sees.
    pub untold_journal: Vec<String>,
    /// The repositories whose lifecycle policy ECR enforces and this stack protects: those that somebody should look at first, then
    /// those whose policy is suspended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protection: Vec<ProtectedRepository>,
    /// Of how many more of them it is not told.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub protection_not_shown: u64,
    /// Repositories that there is something to tell of, those that somebody should look at first.
    pub repositories: Vec<Outcome>,
    /// Of how many more it is not told here.
    pub repositories_not_shown: u64,
    /// Repositories that no policy is for; the first of them.
    pub unmatched: Vec<String>,
    /// The repositories with the most bytes, the largest first; at most [`LARGEST`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub largest: Vec<LargeRepository>,
}

/// How many of the largest repositories a report tells of.
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
    /// What its policy selects, less what is in use and kept.
    pub expiring: Amount,
    /// What its policy would select, and its use keeps.
    pub held_by_use: Amount,
}

/// Where a run was: whose registry, and the stack that it is of. Reports of earlier versions do not say.
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
    /// What the run was, in a line: where, what it did, when it began.
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

/// How a repository is protected whose lifecycle policy ECR enforces.
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
    /// Until when ECR may go by the protection tags; `None` if they never were right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected_until: Option<Instant>,
    /// What ECR itself deletes or archives behind the protection rule, unless the policy is suspended.
    pub expiring_by_ecr: Amount,
    /// Whether somebody should look at the repository.
    pub needs_attention: bool,
}

impl ProtectedRepository {
    /// How it is with the policy, in a few words.
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

    /// Whether the protection tags are older than they may be at a time, while the policy acts.
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

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum RunStatus {
    /// All was looked at and done.
    Succeeded,
    /// Something was held back, failed, or is not finished.
    Attention,
    /// There was no run.
    Failed,
}

/// What came of some repositories, added up. Sizes are sums over images that share layers: less is freed than they say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Totals {
    /// How many repositories.
    pub repositories: u64,
    /// How many ended how.
    pub statuses: BTreeMap<Status, u64>,
    /// All images.
    pub images: Amount,
    /// How many images count for limits in percent of the registry.
    pub counted_images: u64,
    /// What policies take, less what is in use and kept.
    pub expiring: Amount,
    /// What policies move to the archive.
    pub transitioning: Amount,
    /// What ECR itself deletes or archives behind protection rules that are not suspended: a part of what policies take.
    pub expiring_by_ecr: Amount,
    /// What was deleted.
    pub deleted: Amount,
    /// What was moved to the archive.
    pub archived: Amount,
    /// What a run that is no dry run deletes: by policies that say so, and that nothing blocks. Of a dry run only.
    #[serde(skip_serializing_if = "is_none")]
    pub to_be_deleted: Amount,
    /// What it moves to the archive. Of a dry run only.
    #[serde(skip_serializing_if = "is_none")]
    pub to_be_archived: Amount,
    /// What policies take that are only previewed (`apply: preview`).
    #[serde(skip_serializing_if = "is_none")]
    pub only_previewed: Amount,
    /// What the rules would take, and its use keeps.
    pub held_by_use: Amount,
    /// What the rules would take, and policies keep all the same.
    pub held_by_keep: Amount,
    /// What came into use after it was deleted or archived, and was put back.
    pub put_back: Amount,
    /// What is not taken since a plan is past a limit, or something is not known.
    pub held_by_obstacles: Amount,
    /// What was to be deleted, and was not.
    pub failed: Amount,
    /// Protection tags that were added.
    pub tags_added: u64,
    /// Repositories whose lifecycle policy ECR enforces and this stack protects.
    pub protected_repositories: u64,
    /// Those of them whose policy is suspended, meant or not.
    pub suspended_policies: u64,
    /// Repositories whose own lifecycle policy would delete what is in use. A repository is looked at once a week.
    pub native_policies_at_risk: u64,
    /// Repositories that somebody should look at.
    pub needing_attention: u64,
    /// Repositories that differ from the policies file.
    pub drifted: u64,
    /// What storing all images costs a month at most, in US dollars: images share layers.
    pub estimated_monthly_cost: f64,
    /// What is saved a month at most, in US dollars, by what was deleted, or would be.
    pub estimated_monthly_saving: f64,
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
        self.held_by_use.extend(outcome.held_by_use);
        self.held_by_keep.extend(outcome.held_by_keep);
        self.put_back.extend(outcome.put_back);
        self.failed.extend(outcome.failed);
        let is_blocked = !outcome.obstacles.is_empty();
        if is_blocked {
            self.held_by_obstacles.extend(outcome.expiring);
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
        self.estimated_monthly_cost = monthly_cost(self.images);
        let gone = if self.deleted.is_zero() { self.expiring } else { self.deleted };
        self.estimated_monthly_saving = monthly_cost(gone);
    }

    /// How many repositories ended so.
    #[must_use]
    pub fn count(&self, status: Status) -> u64 {
        self.statuses.get(&status).copied().unwrap_or_default()
    }
}

/// What storing images costs a month at most, in US dollars.
#[must_use]
pub fn monthly_cost(amount: Amount) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "cents are shown")]
    let gigabytes = amount.image_size_in_bytes as f64 / 1_073_741_824.0;
    (gigabytes * USD_PER_GIGABYTE_MONTH * 100.0).round() / 100.0
}

/// Makes a report of outcomes as they come; holds no more than it shows.
#[derive(Debug)]
pub struct Builder {
    report: RunReport,
    images: usize,
    /// Who may pull and tells of no use.
    unread_pullers: Vec<UnreadableSource>,
}

impl Builder {
    /// A report of a run, without anything yet.
    #[must_use]
    pub fn new(run: Run, ended_at: Instant) -> Self {
        let report = RunReport {
            place: Place::default(),
            run,
            ended_at,
            status: RunStatus::Succeeded,
            error: None,
            has_book: true,
            is_preview: false,
            notices: Vec::new(),
            protection_hours: PROTECTION_HOURS,
            totals: Totals::default(),
            policies: BTreeMap::new(),
            gaps: Vec::new(),
            usage_sources: Vec::new(),
            unread_tags: None,
            ignore_entries: Vec::new(),
            ignored: Vec::new(),
            unfinished_batches: Vec::new(),
            untold_journal: Vec::new(),
            protection: Vec::new(),
            protection_not_shown: 0,
            repositories: Vec::new(),
            repositories_not_shown: 0,
            unmatched: Vec::new(),
            largest: Vec::new(),
        };
        Self { report, images: 0, unread_pullers: Vec::new() }
    }

    /// One more repository.
    pub fn take(&mut self, mut outcome: Outcome) {
        for gap in std::mem::take(&mut outcome.unread_pullers) {
            self.take_puller(gap);
        }
        let report = &mut self.report;
        report.totals.add(&outcome);
        report.protection.extend(protected(&outcome));
        if outcome.status != Status::Unmatched {
            report.policies.entry(outcome.policy.clone().unwrap_or_default()).or_default().add(&outcome);
        } else if report.unmatched.len() < NAMES {
            report.unmatched.push(outcome.repository_name.clone());
        }
        let size = outcome.images.image_size_in_bytes;
        let place = report.largest.partition_point(|one| one.images.image_size_in_bytes >= size);
        if place < LARGEST && size > 0 {
            report.largest.insert(
                place,
                LargeRepository {
                    repository_name: outcome.repository_name.clone(),
                    images: outcome.images,
                    expiring: outcome.expiring,
                    held_by_use: outcome.held_by_use,
                },
            );
            report.largest.truncate(LARGEST);
        }
        if report.run.protect_only {
            // What policies take, the runs over the registry tell.
            outcome.findings.clear();
            outcome.results.retain(|image| {
                !matches!(image.outcome, ImageResult::Planned | ImageResult::InUse | ImageResult::Kept)
            });
            outcome.results_not_shown = 0;
        }
        if !outcome.has_something_to_tell() {
            return;
        }
        if report.repositories.len() >= REPOSITORIES && !outcome.needs_attention() {
            report.repositories_not_shown += 1;
            return;
        }
        let room = IMAGES.saturating_sub(self.images);
        let cut = outcome.results.len().saturating_sub(room);
        outcome.results.truncate(room);
        outcome.results_not_shown += cut as u64;
        self.images += outcome.results.len();
        report.repositories.push(outcome);
    }

    /// Somebody who may pull and tells of no use: told once, with the first of the repositories.
    fn take_puller(&mut self, gap: UnreadableSource) {
        let pullers = &mut self.unread_pullers;
        match pullers.iter().position(|known| known.source == gap.source) {
            Some(place) => {
                let known =
                    pullers.get_mut(place).filter(|known| known.repositories.len() < REPOSITORIES_OF_GAP);
                known
                    .into_iter()
                    .for_each(|known| known.repositories.extend(gap.repositories.iter().cloned()));
            }
            None if pullers.len() < PULLERS => pullers.push(gap),
            None => {}
        }
    }

    /// What else there is to tell, to be changed.
    pub const fn report_mut(&mut self) -> &mut RunReport {
        &mut self.report
    }

    /// The report.
    #[must_use]
    pub fn finish(self) -> RunReport {
        let mut report = self.report;
        report.gaps.extend(self.unread_pullers);
        let rank = |outcome: &Outcome| {
            let gone = outcome.deleted.image_size_in_bytes.max(outcome.expiring.image_size_in_bytes);
            (!outcome.needs_attention(), std::cmp::Reverse(gone))
        };
        report.repositories.sort_by(|one, two| {
            rank(one).cmp(&rank(two)).then_with(|| one.repository_name.cmp(&two.repository_name))
        });
        let extra = report.repositories.len().saturating_sub(REPOSITORIES);
        report.repositories.truncate(REPOSITORIES);
        report.repositories_not_shown += extra as u64;
        // Whatever order they came in.
        report.largest.sort_by(|one, two| {
            let size = |one: &LargeRepository| std::cmp::Reverse(one.images.image_size_in_bytes);
            size(one).cmp(&size(two)).then_with(|| one.repository_name.cmp(&two.repository_name))
        });
        report.set_protection_hours(report.protection_hours);
        report.protection.sort_by(|one, two| {
            let rank = |one: &ProtectedRepository| (!one.needs_attention, !one.attached.is_suspended());
            rank(one).cmp(&rank(two)).then_with(|| one.repository_name.cmp(&two.repository_name))
        });
        report.protection_not_shown = report.protection.len().saturating_sub(REPOSITORIES) as u64;
        report.protection.truncate(REPOSITORIES);
        let is_well = report.gaps.is_empty()
            && report.unread_tags.is_none()
            && report.unfinished_batches.is_empty()
            && report.untold_journal.is_empty()
            && report.totals.needing_attention == 0;
        report.status = match (&report.error, is_well) {
            (Some(_), _) => RunStatus::Failed,
            (None, false) => RunStatus::Attention,
            (None, true) => RunStatus::Succeeded,
        };
        report.ignore_entries = report.gaps.iter().map(|gap| gap.ignore_entry(report.ended_at)).collect();
        report.notices = notices(&report);
        report
    }
}

/// How the repository of an outcome is protected; `None` if ECR enforces no policy there that this stack protects.
fn protected(outcome: &Outcome) -> Option<ProtectedRepository> {
    Some(ProtectedRepository {
        repository_name: outcome.repository_name.clone(),
        policy: outcome.policy.clone(),
        attached: outcome.attachment.clone()?,
        protected_until: None,
        expiring_by_ecr: outcome.expiring_by_ecr,
        needs_attention: outcome.needs_attention(),
    })
}

impl Outcome {
    /// Whether there is more to tell than that all is as it should be.
    #[must_use]
    pub fn has_something_to_tell(&self) -> bool {
        let attached = self.attachment.as_ref();
        self.needs_attention()
            || attached.is_some_and(|attached| attached.has_changed() || attached.is_suspended())
            || !(self.drift.is_empty() && self.findings.is_empty() && self.results.is_empty())
            || self.status == Status::RepositoryDeleted
    }
}

/// Maximum number of accounts, organizations and services of which a report says that they may pull and tell nothing. Each repository
/// says who blocks it all the same.
const PULLERS: usize = 50;
/// Maximum number of repositories that are named for each of these.
const REPOSITORIES_OF_GAP: usize = 10;
/// The code of the obstacle that is a limit of the whole registry.
const REGISTRY_LIMIT: &str = "limit-registry";

/// What people should know before anything else.
fn notices(report: &RunReport) -> Vec<String> {
    let gaps = report.gaps.iter().zip(&report.ignore_entries).map(|(gap, entry)| {
        let scope = match gap.repositories.as_slice() {
            [] => "all repositories".to_owned(),
            patterns => patterns.join(", "),
        };
        format!(
            "It is not known what uses images of {scope}: {gap}. Nothing is deleted there until this is mended. If it does not \
             matter, add to `ignore` below `usage` in the policies file: `{entry}`."
        )
    });
    let tags = tags_notice(report);
    dry_run_notice(report).into_iter().chain(tags).chain(gaps).chain(other_notices(report)).collect()
}

/// What it means that nobody knows which repositories ask for protection by their resource tag.
pub(super) fn tags_notice(report: &RunReport) -> Option<String> {
    let problem = report.unread_tags.as_ref()?;
    Some(format!(
        "Which repositories ask for protection by the resource tag {PROTECT_KEY} could not be read: {problem}. Those that were \
         protected before are, and those of the policies file; in any other one with that tag ECR goes by its lifecycle policy, and \
         what is in use there has no protection tags. Allow the function lifecycle-inventory the action tag:GetResources."
    ))
}

/// Why nothing was taken, if nobody asked for that.
pub(super) fn dry_run_notice(report: &RunReport) -> Option<String> {
    let reason = report.run.dry_run_reason.filter(|reason| *reason != DryRunReason::Requested)?;
    let reason = reason.explain(report.run.book_hash.as_deref());
    report.error.is_none().then(|| format!("Nothing was deleted, archived or attached: {reason}."))
}

/// What is ignored, and what limits of the registry block.
pub(super) fn other_notices(report: &RunReport) -> Vec<String> {
    let mut notices = Vec::new();
    for IgnoredSource { source, reason, until } in &report.ignored {
        let until = until.map_or_else(|| "for good".to_owned(), |until| format!("until {until}"));
        notices.push(format!("The policies file ignores {source} {until}: {reason}."));
    }
    let blocked = report.repositories.iter().filter_map(|outcome| {
        let held = outcome.obstacles.iter().find(|held| held.code == REGISTRY_LIMIT)?;
        Some((outcome, held))
    });
    let (mut repositories, mut images, mut first) = (0_u64, 0_u64, None);
    for (outcome, held) in blocked {
        let count = |amount: Amount| amount.image_total_count;
        let planned = count(outcome.expiring) + count(outcome.transitioning);
        repositories += 1;
        images += planned.saturating_sub(count(outcome.deleted) + count(outcome.archived));
        first = first.or(Some((&outcome.repository_name, &held.message)));
    }
    if let Some((repository, message)) = first {
        let images = count(images, "image");
        let repositories = self::repositories(repositories);
        notices.push(format!(
            "A limit of the registry blocks {images} in {repositories}. In {repository}: {message}."
        ));
    }
    notices
}

impl RunReport {
    /// Whether people are told of the run although they did not ask. Of one that only protects they are told when something needs
    /// attention that they were not told of lately: there are many in a day.
    #[must_use]
    pub fn is_worth_a_message(&self) -> bool {
        !self.run.protect_only || self.status != RunStatus::Succeeded
    }

    /// Says for how many hours protection tags hold, and so until when each repository is protected.
    pub fn set_protection_hours(&mut self, hours: u32) {
        self.protection_hours = hours;
        for repository in &mut self.protection {
            repository.protected_until = repository.attached.protected_until(hours);
        }
    }

    /// The report in one line, for the subject of a mail.
    #[must_use]
    pub fn headline(&self) -> String {
        let totals = &self.totals;
        let did = if self.run.protect_only {
            format!("protect-only run, {} added", count(totals.tags_added, "tag"))
        } else if self.run.dry_run {
            let why = self.run.dry_run_reason.and_then(why_in_short);
            let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
            format!("{} would be deleted{why}", count(totals.expiring.image_total_count, "image"))
        } else {
            format!("{} deleted", count(totals.deleted.image_total_count, "image"))
        };
        match self.status {
            RunStatus::Succeeded => format!("ECR: {did}"),
            RunStatus::Attention => format!("ECR: {did}, and something needs attention"),
            RunStatus::Failed => "ECR: the lifecycle run failed".to_owned(),
        }
    }

    /// The report in a few lines, for people who are told of every run. `address` is where all of it is.
    #[must_use]
    pub fn message(&self, address: &str) -> String {
        let totals = &self.totals;
        let amount = |amount: Amount| {
            format!("{} ({})", count(amount.image_total_count, "image"), bytes(amount.image_size_in_bytes))
        };
        const NOTICES: usize = 20;
        let kind = if self.run.protect_only { "Protect-only run" } else { "Run" };
        let mut lines = vec![format!("{kind} {} of {}", self.run.run_id, self.run.started_at)];
        lines.extend(self.run.started_by.as_ref().map(|by| format!("Started by {by}")));
        if self.run.dry_run && !self.run.only_protects() {
            lines.push("This was a dry run: nothing was changed.".to_owned());
        }
        if let Some(error) = &self.error {
            lines.push(format!("It failed: {error}"));
        }
        if !self.has_book && self.error.is_none() {
            lines.push(
                "There is no policies.yaml in the stack's bucket, so that no repository has a policy."
                    .to_owned(),
            );
        }
        for notice in self.notices.iter().take(NOTICES) {
            lines.extend([String::new(), notice.clone()]);
        }
        let more = self.notices.len().saturating_sub(NOTICES);
        if more > 0 {
            lines.extend([String::new(), format!("And {more} more like these: see the report.")]);
        }
        lines.push(String::new());
        let mut tell = |label: &str, told: String| lines.push(format!("{label:<26}{told}"));
        if !self.run.protect_only {
            let unmatched = totals.count(Status::Unmatched);
            let number = crate::domain::text::quantity::grouped(totals.repositories);
            tell("Repositories", format!("{number}, {unmatched} of them under no policy"));
            tell("Images", amount(totals.images));
            tell("Deleted", amount(totals.deleted));
            if !totals.archived.is_zero() {
                tell("Archived", amount(totals.archived));
            }
            tell("Expired by the policies", amount(totals.expiring));
        }
        if totals.protected_repositories > 0 {
            let suspended = totals.suspended_policies;
            let number = repositories(totals.protected_repositories);
            tell("Enforced by ECR itself", format!("in {number}, suspended in {suspended} of them"));
        }
        if !totals.expiring_by_ecr.is_zero() {
            tell("Taken by ECR itself", amount(totals.expiring_by_ecr));
        }
        if totals.tags_added > 0 {
            tell("Images newly protected", count(totals.tags_added, "protection tag"));
        }
        if !self.run.protect_only {
            tell("Protected (in use)", amount(totals.held_by_use));
        }
        for (label, held) in [
            ("Protected (kept)", totals.held_by_keep),
            ("Put back", totals.put_back),
            ("Blocked by limits", totals.held_by_obstacles),
            ("Failed", totals.failed),
        ] {
            if !held.is_zero() && !self.run.protect_only {
                tell(label, amount(held));
            }
        }
        if totals.drifted > 0 {
            tell("Not as the file says", repositories(totals.drifted));
        }
        if totals.native_policies_at_risk > 0 {
            tell("Own policies at risk", repositories(totals.native_policies_at_risk));
        }
        lines.extend(self.problems());
        lines.push(String::new());
        lines.push(format!("All of it: {address}"));
        lines.join("\n")
    }
}

impl RunReport {
    /// What needs attention, by kind, with what to do about it, for a mail.
    fn problems(&self) -> Vec<String> {
        const SHOWN: usize = 12;
        let untold = self.untold_journal.iter().map(|key| format!("cut off while deleting: {key}"));
        let unfinished = self.unfinished_batches.iter().map(|batch| format!("not finished: {batch}"));
        let whole: Vec<String> = unfinished.chain(untold).collect();
        let all = self.concerns();
        let number = whole.len() + all.len();
        if number == 0 {
            return Vec::new();
        }
        let mut lines = vec![String::new(), "Needs attention:".to_owned()];
        lines.extend(whole.iter().take(SHOWN).map(|trouble| format!("- {trouble}")));
        let shown = all.get(..all.len().min(SHOWN.saturating_sub(whole.len()))).unwrap_or_default();
        for group in shown.chunk_by(|(_, one), (_, other)| one.rank() == other.rank()) {
            lines.extend(group.iter().map(|(name, concern)| format!("- {name}: {}", concern.message)));
            lines.extend(group.first().map(|(_, concern)| format!("  {}", concern.kind().advice)));
        }
        let more = number.saturating_sub(SHOWN);
        if more > 0 {
            lines.push(format!("- and {more} more"));
        }
        lines
    }

    /// What needs attention, without what changes from run to run: times, numbers, ids of requests.
    #[must_use]
    pub fn lasting_concerns(&self) -> Vec<String> {
        let of_repositories = self.concerns().into_iter().map(|(name, concern)| {
            let code = concern.kind().code;
            format!("{name} {code}")
        });
        let gaps = self.gaps.iter().map(|gap| format!("gap {}", gap.source));
        let tags = self.unread_tags.iter().map(|_| "unread resource tags".to_owned());
        let error = self.error.iter().map(|error| match &self.run.policies_file_problem {
            Some(problem) => format!("policies file: {problem}"),
            None => format!("error {}", error.split(':').next().unwrap_or_default()),
        });
        let unfinished = (!self.unfinished_batches.is_empty()).then(|| "unfinished batches".to_owned());
        let untold = (!self.untold_journal.is_empty()).then(|| "cut off while deleting".to_owned());
        let whole = gaps.chain(tags).chain(error).chain(unfinished).chain(untold);
        let mut concerns: Vec<String> = of_repositories.chain(whole).collect();
        concerns.sort_unstable();
        concerns.dedup();
        concerns
    }

    /// What needs attention in single repositories, the worst first.
    #[must_use]
    pub fn concerns(&self) -> Vec<(&str, Concern)> {
        let mut all: Vec<(&str, Concern)> = self
            .repositories
            .iter()
            .flat_map(|outcome| {
                concerns(outcome).into_iter().map(|concern| (outcome.repository_name.as_str(), concern))
            })
            .collect();
        all.sort_by_key(|(_, concern)| concern.rank());
        all
    }
}

/// Why nobody asked for a dry run that is one, in a few words.
const fn why_in_short(reason: DryRunReason) -> Option<&'static str> {
    match reason {
        DryRunReason::Requested | DryRunReason::ProtectOnly => None,
        DryRunReason::EnforceOff => Some("Enforce is off"),
        DryRunReason::NoPoliciesFile => Some("there is no policies.yaml"),
        DryRunReason::InvalidPoliciesFile => Some("policies.yaml is not valid"),
        DryRunReason::NotPreviewed => Some("policies.yaml is new"),
    }
}

/// `1 repository`.
fn repositories(number: u64) -> String {
    count(number, "repository").replace("repositorys", "repositories")
}

/// The report's numbers as a line of CloudWatch's embedded metric format: written to a function's log it is metrics.
#[must_use]
pub fn metrics(report: &RunReport, stack: &str) -> String {
    const NAMESPACE: &str = "ecr-steward";
    let totals = &report.totals;
    let seconds = (report.ended_at.micros() - report.run.started_at.micros()) / 1_000_000;
    // What an alarm waits for: a run over the registry that came to its end, and protected what is to be protected.
    let is_whole = report.error.is_none() && report.unfinished_batches.is_empty();
    let is_over_registry = !report.run.protect_only;
    let has_protected = is_whole && is_over_registry && (!report.run.dry_run || report.run.only_protects());
    let values: [(&str, &str, u64); 19] = [
        ("Repositories", "Count", totals.repositories),
        ("RepositoriesUnmatched", "Count", totals.count(Status::Unmatched)),
        ("RepositoriesNeedingAttention", "Count", totals.needing_attention),
        ("RepositoriesDrifted", "Count", totals.drifted),
        ("ProtectedRepositories", "Count", totals.protected_repositories),
        ("SuspendedPolicies", "Count", totals.suspended_policies),
        ("NativePoliciesAtRisk", "Count", totals.native_policies_at_risk),
        ("Images", "Count", totals.images.image_total_count),
        ("ImageBytes", "Bytes", totals.images.image_size_in_bytes),
        ("ImagesExpiring", "Count", totals.expiring.image_total_count),
        ("ImagesDeleted", "Count", totals.deleted.image_total_count),
        ("ImageBytesDeleted", "Bytes", totals.deleted.image_size_in_bytes),
        ("ImagesHeldByUse", "Count", totals.held_by_use.image_total_count),
        ("ImagesHeldByObstacles", "Count", totals.held_by_obstacles.image_total_count),
        ("ImagesFailed", "Count", totals.failed.image_total_count),
        ("UsageGaps", "Count", report.gaps.len() as u64),
        ("RunsCompleted", "Count", u64::from(has_protected)),
        ("RunsFailed", "Count", u64::from(report.status == RunStatus::Failed)),
        ("RunSeconds", "Seconds", u64::try_from(seconds).unwrap_or_default()),
    ];
    let definitions: Vec<serde_json::Value> =
        values.iter().map(|(name, unit, _)| serde_json::json!({ "Name": name, "Unit": unit })).collect();
    let mut line = serde_json::json!({
        "_aws": {
            "Timestamp": report.ended_at.micros() / 1000,
            "CloudWatchMetrics": [
                { "Namespace": NAMESPACE, "Dimensions": [["StackName"]], "Metrics": definitions },
            ],
        },
        "StackName": stack,
        "runId": report.run.run_id,
    });
    for (name, _, value) in values {
        line[name] = value.into();
    }
    line.to_string()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::enforcement::outcome::ReportedBlocker;
    use crate::domain::enforcement::protection_record::Mode;

    fn amount(count: u64) -> Amount {
        Amount { image_total_count: count, image_size_in_bytes: count * 1_000_000_000 }
    }

    fn run() -> Run {
        let started_at = Instant::parse("2026-11-23T03:00:00Z").unwrap();
        Run {
            policies_file_problem: None,
            run_id: "nightly".to_owned(),
            started_at,
            started_by: Some("arn:aws:states:eu-west-1:123456789012:execution:steward:nightly".to_owned()),
            dry_run: false,
            protect_only: false,
            dry_run_reason: None,
            attempt: "a".to_owned(),
            book_version: Some("v7".to_owned()),
            book_hash: Some("0123456789abcdef".to_owned()),
        }
    }

    fn outcome(name: &str, status: Status) -> Outcome {
        Outcome {
            repository_name: name.to_owned(),
            policy: Some("all".to_owned()),
            status,
            images: amount(100),
            ..Outcome::default()
        }
    }

    fn report() -> RunReport {
        let mut builder = Builder::new(run(), Instant::parse("2026-11-23T03:00:42Z").unwrap());
        builder.take(Outcome {
            deleted: amount(30),
            expiring: amount(30),
            ..outcome("app/web", Status::Done)
        });
        let obstacle = ReportedBlocker {
            code: "limit-images".to_owned(),
            message: "90 would be deleted, and the limit `images` is 50".to_owned(),
        };
        let held = Outcome {
            obstacles: vec![obstacle],
            expiring: amount(90),
            ..outcome("app/api", Status::Blocked)
        };
        builder.take(Outcome { held_by_use: amount(2), drift: vec!["rule 3".to_owned()], ..held });
        builder.take(outcome("quiet", Status::Done));
        builder.take(Outcome::failed("broken", "all", "DescribeImages: AWS could not answer".to_owned()));
        builder.take(Outcome {
            images: Amount::default(),
            policy: None,
            ..outcome("nobody", Status::Unmatched)
        });
        let gap = UnreadableSource {
            source: "Amazon ECS".to_owned(),
            repositories: vec![],
            problem: "denied".to_owned(),
        };
        builder.report_mut().gaps.push(gap);
        builder.report_mut().ignored.push(IgnoredSource {
            source: "eks/old".to_owned(),
            reason: "no nodes any more".to_owned(),
            until: Some(jiff::civil::date(2027, 1, 1)),
        });
        builder.finish()
    }

    fn at(time: &str) -> Instant {
        Instant::parse(time).unwrap()
    }

    fn attached(mode: Mode, refreshed_at: Option<&str>) -> Attached {
        Attached { mode: Some(mode), refreshed_at: refreshed_at.map(at), ..Attached::default() }
    }

    fn suspended(mode: Mode, refreshed_at: &str, because: &str) -> Attached {
        Attached {
            suspended_at: Some(at("2026-11-21T03:00:09Z")),
            suspended_because: Some(because.to_owned()),
            ..attached(mode, Some(refreshed_at))
        }
    }

    /// Repositories whose policy ECR enforces, in every state, and two whose own policies are at risk.
    pub(in crate::report) fn protection(run: Run) -> RunReport {
        let status = if run.dry_run { Status::Previewed } else { Status::Done };
        let mut builder = Builder::new(run, at("2026-11-23T03:00:42Z"));
        let mut take = |name: &str, status: Status, attached: Attached, more: Outcome| {
            builder.take(Outcome {
                repository_name: name.to_owned(),
                policy: Some("all".to_owned()),
                images: amount(100),
                status,
                attachment: Some(attached),
                ..more
            });
        };
        let fresh = Some("2026-11-23T03:00:20Z");
        let by_ecr = Outcome { expiring: amount(6), expiring_by_ecr: amount(6), ..Outcome::default() };
        take("calm", status, attached(Mode::Attach, fresh), by_ecr.clone());
        let tagged = Attached { tags_added: 3, ..attached(Mode::Provisioned, fresh) };
        take("tagged", status, tagged, Outcome::default());
        let because = "more than `limits` allow would be deleted";
        let lasting = suspended(Mode::Attach, "2026-11-21T03:00:09Z", because);
        take("stopped", status, lasting, by_ecr);
        let because = "policies.yaml does not say `apply: attach` for this repository any more";
        let meant = suspended(Mode::Attach, "2026-11-20T03:00:09Z", because);
        let meant = Attached { suspension_is_intended: true, ..meant };
        let left = "the lifecycle policy that this stack attached is suspended; delete what is left of it";
        let drift = vec![left.to_owned()];
        take("withdrawn", status, meant, Outcome { drift, ..Outcome::default() });
        let gap = ReportedBlocker {
            code: "usage-unknown".to_owned(),
            message: "what is in use is not known completely: Amazon ECS: denied".to_owned(),
        };
        let now = Attached {
            lifecycle_policy: PolicyChange::Suspended,
            suspended_at: Some(at("2026-11-23T03:00:10Z")),
            suspended_because: Some(gap.message.clone()),
            ..attached(Mode::Attach, Some("2026-11-22T03:00:10Z"))
        };
        take("uncertain", Status::Blocked, now, Outcome { obstacles: vec![gap], ..Outcome::default() });
        let foreign = ReportedBlocker {
            code: "policy-not-protected".to_owned(),
            message: "the first rule of the attached lifecycle policy is not the protection rule".to_owned(),
        };
        let obstacles = vec![foreign];
        take(
            "terraform",
            Status::Blocked,
            attached(Mode::Protect, None),
            Outcome { obstacles, ..Outcome::default() },
        );
        let told = "its own lifecycle policy, by which ECR acts, would expire 3 images in use, such as sha256:5a (task web)";
        let native_policy = Some(told.to_owned());
        builder.take(Outcome { native_policy: native_policy.clone(), ..outcome("own", status) });
        builder.take(Outcome { native_policy, policy: None, ..outcome("own-without", Status::Unmatched) });
        builder.finish()
    }

    pub(in crate::report) fn protect_only() -> Run {
        let dry_run_reason = Some(DryRunReason::ProtectOnly);
        Run { dry_run: true, protect_only: true, dry_run_reason, ..run() }
    }

    #[test]
    fn what_ecr_enforces_says_until_when_it_is_protected_and_what_is_suspended_comes_first() {
        let mut report = protection(run());
        let told: Vec<(&str, &str)> =
            report.protection.iter().map(|one| (&*one.repository_name, one.state())).collect();
        assert_eq!(
            told,
            [
                ("stopped", "suspended"),
                ("uncertain", "suspended now"),
                ("terraform", "not protected yet"),
                ("withdrawn", "suspended as wanted"),
                ("calm", "protected"),
                ("tagged", "protected"),
            ]
        );
        let calm = report.protection[4].clone();
        assert_eq!(calm.protected_until, Some(at("2026-11-25T03:00:20Z")));
        assert!(!calm.is_stale(report.ended_at) && calm.is_stale(at("2026-11-25T03:00:21Z")));
        report.set_protection_hours(24);
        assert_eq!(report.protection[4].protected_until, Some(at("2026-11-24T03:00:20Z")));
        let json = serde_json::to_value(&report).unwrap();
        let first = &json["protection"][0];
        assert_eq!(json["protectionHours"], 24);
        assert_eq!(first["mode"], "attach");
        assert_eq!(first["suspendedAt"], "2026-11-21T03:00:09Z");
        assert_eq!(first["protectedUntil"], "2026-11-22T03:00:09Z");
        assert_eq!(first["expiringByEcr"]["imageTotalCount"], 6);
        assert_eq!(serde_json::from_value::<RunReport>(json).unwrap(), report);
        // Where all is as it should be, that line is all there is.
        let names: Vec<&str> = report.repositories.iter().map(|one| &*one.repository_name).collect();
        assert!(!names.contains(&"calm"), "{names:?}");
    }

    #[test]
    fn a_policy_that_is_suspended_needs_attention_unless_that_is_wanted() {
        let report = protection(run());
        let told: Vec<(&str, &str)> =
            report.concerns().into_iter().map(|(name, concern)| (name, concern.kind().code)).collect();
        assert_eq!(
            told,
            [
                ("terraform", "policy-not-protected"),
                ("own", "native-policy"),
                ("own-without", "native-policy"),
                // What suspended it is said once.
                ("uncertain", "usage-unknown"),
                ("stopped", "suspended"),
            ]
        );
        assert_eq!(report.status, RunStatus::Attention);
        assert_eq!(report.totals.needing_attention, 5);
        assert_eq!(report.totals.suspended_policies, 3);
        assert_eq!(report.totals.expiring_by_ecr, amount(6), "what is suspended takes nothing");
        assert_eq!(report.unmatched, ["own-without"]);
        let withdrawn = report.repositories.iter().find(|one| one.repository_name == "withdrawn").unwrap();
        assert!(!withdrawn.needs_attention() && withdrawn.drift.len() == 1);
    }

    #[test]
    fn a_policy_that_is_suspended_as_it_is_wanted_is_no_alarm() {
        let mut builder = Builder::new(run(), at("2026-11-23T03:00:42Z"));
        let meant =
            Attached { suspension_is_intended: true, ..suspended(Mode::Attach, "2026-11-20T03:00:09Z", "x") };
        builder.take(Outcome { attachment: Some(meant), ..outcome("app", Status::Done) });
        let report = builder.finish();
        assert_eq!(report.status, RunStatus::Succeeded);
        assert_eq!(report.repositories.len(), 1);
    }

    #[test]
    fn people_are_told_what_keeps_ecr_from_what_is_in_use() {
        let report = protection(run());
        let between = protection(protect_only());
        insta::assert_snapshot!(format!(
            "{}\n\n{}\n\n=====\n\n{}\n\n{}",
            report.headline(),
            report.message("s3://b/r"),
            between.headline(),
            between.message("s3://b/r")
        ));
        assert!(between.policies["all"].repositories > 0);
        assert!(between.repositories.iter().all(|one| one.results.is_empty()));
    }

    #[test]
    fn the_subject_of_a_mail_is_no_longer_than_mail_allows_and_says_why_nothing_is_enforced() {
        for (reason, said) in [
            (DryRunReason::EnforceOff, "(Enforce is off)"),
            (DryRunReason::NotPreviewed, "(policies.yaml is new)"),
            (DryRunReason::NoPoliciesFile, "(there is no policies.yaml)"),
            (DryRunReason::ProtectOnly, "protect-only run"),
        ] {
            let protect_only = reason == DryRunReason::ProtectOnly;
            let report =
                protection(Run { dry_run: true, protect_only, dry_run_reason: Some(reason), ..run() });
            let headline = report.headline();
            assert!(headline.contains(said) && headline.len() <= 100, "{headline}");
        }
    }

    #[test]
    fn what_needs_attention_is_first_and_what_is_quiet_is_only_counted() {
        let report = report();
        let names: Vec<&str> =
            report.repositories.iter().map(|outcome| outcome.repository_name.as_str()).collect();
        assert_eq!(names, ["app/api", "broken"]);
        assert_eq!(report.totals.repositories, 5);
        assert_eq!(report.unmatched, ["nobody"]);
        assert_eq!(report.status, RunStatus::Attention);
        assert_eq!(report.policies["all"].repositories, 4);
        assert_eq!(report.totals.held_by_obstacles, amount(90));
    }

    #[test]
    fn people_are_told_in_a_few_lines() {
        let report = report();
        insta::assert_snapshot!(format!(
            "{}\n\n{}",
            report.headline(),
            report.message("s3://bucket/report.html")
        ));
        let failed = RunReport { error: Some("policies.yaml: /: syntax: no".to_owned()), ..report };
        let failed = RunReport { status: RunStatus::Failed, ..failed };
        assert_eq!(failed.headline(), "ECR: the lifecycle run failed");
        assert!(failed.message("s3://b/r").contains("It failed: policies.yaml: /: syntax: no"));
    }

    #[test]
    fn an_account_that_may_pull_and_does_not_report_is_told_in_the_first_lines_with_its_repositories() {
        let mut builder = Builder::new(run(), Instant::parse("2026-11-23T03:00:42Z").unwrap());
        for number in 0..30 {
            let name = format!("app/{number}");
            let gap = UnreadableSource {
                source: "account/210987654321".to_owned(),
                repositories: vec![name.clone()],
                problem: "it may pull, and no list tells what it uses".to_owned(),
            };
            builder.take(Outcome { unread_pullers: vec![gap], ..outcome(&name, Status::Blocked) });
        }
        let report = builder.finish();
        assert_eq!((report.gaps.len(), report.gaps[0].repositories.len()), (1, REPOSITORIES_OF_GAP));
        let first = &report.notices[0];
        assert!(first.starts_with("It is not known what uses images of app/0, app/1, "), "{first}");
        assert!(
            first.contains("`{ source: account/210987654321, reason: \"…\", until: 2027-02-21 }`"),
            "{first}"
        );
        assert_eq!(report.status, RunStatus::Attention);
    }

    #[test]
    fn why_nothing_was_taken_is_said_before_anything_else() {
        let reason = Some(DryRunReason::NotPreviewed);
        let run = Run { dry_run: true, dry_run_reason: reason, ..run() };
        let mut builder = Builder::new(run, Instant::parse("2026-11-23T03:00:42Z").unwrap());
        let obstacle = ReportedBlocker {
            code: REGISTRY_LIMIT.to_owned(),
            message: "5,000 images went today, and the limit `images` is 5,000".to_owned(),
        };
        builder.take(Outcome {
            obstacles: vec![obstacle],
            expiring: amount(3),
            ..outcome("app", Status::Blocked)
        });
        let report = builder.finish();
        assert_eq!(report.notices.len(), 2);
        assert!(report.notices[0].contains("approve: \"0123456789abcdef\""), "{:?}", report.notices);
        assert_eq!(
            report.notices[1],
            "A limit of the registry blocks 3 images in 1 repository. In app: 5,000 images went today, and the limit \
             `images` is 5,000."
        );
        let message = report.message("s3://b/r");
        assert!(!message.contains("nothing was changed"), "it may have protected: {message}");
        let at = |part: &str| message.find(part).unwrap();
        assert!(at("Nothing was deleted") < at("Repositories"));
    }

    #[test]
    fn numbers_are_metrics() {
        let line: serde_json::Value = serde_json::from_str(&metrics(&report(), "steward")).unwrap();
        let names: Vec<&str> = line["_aws"]["CloudWatchMetrics"][0]["Metrics"]
            .as_array()
            .unwrap()
            .iter()
            .map(|metric| metric["Name"].as_str().unwrap())
            .collect();
        assert!(names.iter().all(|name| line[*name].is_u64()), "{line}");
        assert_eq!(line["ImagesDeleted"], 30);
        assert_eq!(line["RepositoriesNeedingAttention"], 2);
        assert_eq!(line["RunSeconds"], 42);
        let line: serde_json::Value = serde_json::from_str(&metrics(&protection(run()), "steward")).unwrap();
        assert_eq!(line["ProtectedRepositories"], 6);
        assert_eq!(line["SuspendedPolicies"], 3);
        assert_eq!(line["NativePoliciesAtRisk"], 2);
        assert_eq!(line["RepositoriesNeedingAttention"], 5);
        assert_eq!(line["StackName"], "steward");
    }

    #[test]
    fn a_run_that_only_protects_is_no_run_over_the_registry_and_is_told_of_when_something_needs_attention() {
        let run = Run {
            dry_run: true,
            protect_only: true,
            dry_run_reason: Some(DryRunReason::ProtectOnly),
            ..run()
        };
        let end = Instant::parse("2026-11-23T03:00:42Z").unwrap();
        let mut builder = Builder::new(run.clone(), end);
        builder.take(outcome("app", Status::Done));
        let quiet = builder.finish();
        let completed = |report: &RunReport| {
            let line: serde_json::Value = serde_json::from_str(&metrics(report, "steward")).unwrap();
            line["RunsCompleted"].as_u64()
        };
        assert_eq!(completed(&quiet), Some(0));
        assert!(!quiet.is_worth_a_message());
        assert_eq!(quiet.headline(), "ECR: protect-only run, 0 tags added");
        let over_registry = Run { protect_only: false, dry_run: false, dry_run_reason: None, ..run.clone() };
        let whole = Builder::new(over_registry, end).finish();
        assert_eq!(completed(&whole), Some(1));
        assert!(whole.is_worth_a_message());
        let mut builder = Builder::new(run, end);
        builder.take(outcome("app", Status::Blocked));
        let held = builder.finish();
        assert!(held.is_worth_a_message());
        assert!(held.headline().ends_with("and something needs attention"), "{}", held.headline());
    }

    #[test]
    fn a_gigabyte_month_costs_ten_cents() {
        let gigabytes = |number: u64| Amount { image_total_count: 1, image_size_in_bytes: number << 30 };
        assert!((monthly_cost(gigabytes(250)) - 25.0).abs() < 1e-9);
        assert!(monthly_cost(Amount::default()).abs() < 1e-9);
    }

    #[test]
    fn a_report_holds_no_more_than_it_shows() {
        let mut builder = Builder::new(run(), run().started_at);
        for number in 0..(REPOSITORIES + 50) {
            let name = format!("r{number:05}");
            builder.take(Outcome { drift: vec!["x".to_owned()], ..outcome(&name, Status::Done) });
        }
        builder.take(outcome("late", Status::Failed));
        let report = builder.finish();
        assert_eq!(report.repositories.len(), REPOSITORIES);
        assert_eq!(report.repositories[0].repository_name, "late");
        assert_eq!(report.repositories_not_shown, 51);
        assert_eq!(report.totals.repositories as usize, REPOSITORIES + 51);
    }
}
