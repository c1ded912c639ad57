//! Builds the report of a run from the outcomes of its repositories.

use super::costs::{ByTag, storage_of};
use super::notices::BlockedByRegistry;
use super::parts::AllParts;
use super::*;

/// Maximum number of accounts, organizations and services that the first lines list as those that may pull and report nothing. Each
/// repository lists its own.
const MAX_PULLERS: usize = 50;
/// Maximum number of repositories listed for each of these.
const MAX_PULLER_REPOSITORIES: usize = 10;

/// Builds a report from outcomes as they come. Only what it shows is in memory.
#[derive(Debug)]
pub struct Builder {
    report: RunReport,
    images: usize,
    /// The accounts and services that may pull and report no use.
    unread_pullers: Vec<UnreadableSource>,
    /// What amounts consist of.
    parts: AllParts,
    /// What limits of the registry block.
    blocked_by_registry: BlockedByRegistry,
    /// What repositories cost by their tag.
    by_tag: ByTag,
}

impl Builder {
    /// A report of a run, without anything yet.
    #[must_use]
    pub fn new(run: Run, ended_at: Instant) -> Self {
        let report = RunReport {
            format_version: FORMAT_VERSION,
            place: Place::default(),
            run,
            ended_at,
            status: RunStatus::Succeeded,
            error: None,
            has_policies_file: true,
            is_preview: false,
            notices: Vec::new(),
            limit_notices: Vec::new(),
            protection_hours: PROTECTION_HOURS,
            totals: Totals::default(),
            unchanged: None,
            unknown_changes: None,
            unannounced_pushes: Vec::new(),
            prices: Prices::default(),
            cost_tag: None,
            costs_by_tag: Vec::new(),
            unread_cost_tags: None,
            storage_problem: None,
            survey: None,
            policies: BTreeMap::new(),
            gaps: Vec::new(),
            usage_sources: Vec::new(),
            unread_tags: None,
            ignore_entries: Vec::new(),
            ignored: Vec::new(),
            unfinished_batches: Vec::new(),
            unreported_journal: Vec::new(),
            written: None,
            protection: Vec::new(),
            protection_not_shown: 0,
            repositories: Vec::new(),
            repositories_not_shown: 0,
            unmatched: Vec::new(),
            largest: Vec::new(),
            rules: Vec::new(),
            users: Vec::new(),
            blocked_by: Vec::new(),
            earlier_runs: Vec::new(),
        };
        Self {
            report,
            images: 0,
            unread_pullers: Vec::new(),
            parts: AllParts::default(),
            blocked_by_registry: BlockedByRegistry::default(),
            by_tag: ByTag::default(),
        }
    }

    /// One more repository.
    pub fn take(&mut self, mut outcome: Outcome) {
        for gap in std::mem::take(&mut outcome.unread_pullers) {
            self.add_puller(gap);
        }
        let report = &mut self.report;
        report.totals.add(&outcome);
        if let Some(looked_at) = outcome.looked_at {
            UnchangedRepositories::add(&mut report.unchanged, looked_at);
        }
        if outcome.unannounced_push.is_some() && report.unannounced_pushes.len() < NAMES {
            report.unannounced_pushes.push(outcome.repository_name.clone());
        }
        self.parts.take(&outcome);
        self.blocked_by_registry.take(&outcome);
        self.by_tag.take(&outcome);
        let problem = outcome.storage.as_ref().and_then(|storage| storage.problem.as_ref());
        if let (Some(problem), None) = (problem, &report.storage_problem) {
            report.storage_problem = Some(format!("{}: {problem}", outcome.repository_name));
        }
        if let Some(survey) = outcome.survey.take() {
            report.survey.get_or_insert_default().extend(&survey);
        }
        report.protection.extend(protected(&outcome));
        if report.protection.len() >= 2 * REPOSITORIES {
            report.cut_protection();
        }
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
                    protected_by_use: outcome.protected_by_use,
                    storage: storage_of(&outcome),
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
        let room = self.room();
        let cut = outcome.results.len().saturating_sub(room);
        outcome.results.truncate(room);
        outcome.results_not_shown += cut as u64;
        self.images += outcome.results.len();
        let report = &mut self.report;
        report.repositories.push(outcome);
        // Those that need attention have no limit before.
        if report.repositories.len() >= 2 * REPOSITORIES {
            report.cut_repositories();
        }
    }

    /// The number of images that the report lists besides those that it has.
    #[must_use]
    pub const fn room(&self) -> usize {
        IMAGES.saturating_sub(self.images)
    }

    /// Adds an account or service that may pull and reports no use, once, with the first of the repositories.
    fn add_puller(&mut self, gap: UnreadableSource) {
        let pullers = &mut self.unread_pullers;
        match pullers.iter().position(|known| known.source == gap.source) {
            Some(index) => {
                let known = pullers.get_mut(index);
                if let Some(known) = known.filter(|known| known.repositories.len() < MAX_PULLER_REPOSITORIES)
                {
                    known.repositories.extend(gap.repositories);
                }
            }
            None if pullers.len() < MAX_PULLERS => pullers.push(gap),
            None => {}
        }
    }

    /// The report, to add everything else.
    pub const fn report_mut(&mut self) -> &mut RunReport {
        &mut self.report
    }

    /// The report.
    #[must_use]
    pub fn finish(self) -> RunReport {
        let mut report = self.report;
        report.gaps.extend(self.unread_pullers);
        let AllParts { deleted, planned, users, blockers } = self.parts;
        report.rules = if report.run.dry_run { planned } else { deleted }.largest();
        report.users = users.largest();
        report.blocked_by = blockers.largest();
        report.cut_repositories();
        // Whatever order they came in.
        report.largest.sort_by(|one, two| {
            let size = |one: &LargeRepository| std::cmp::Reverse(one.images.image_size_in_bytes);
            size(one).cmp(&size(two)).then_with(|| one.repository_name.cmp(&two.repository_name))
        });
        report.set_protection_hours(report.protection_hours);
        report.costs_by_tag = self.by_tag.rows();
        report.set_costs(report.prices, "");
        report.cut_protection();
        // Nothing rests on use as long as there is no policies file.
        let is_well = (report.gaps.is_empty() || report.survey.is_some())
            && report.unread_tags.is_none()
            && report.unannounced_pushes.is_empty()
            && report.unfinished_batches.is_empty()
            && report.unreported_journal.is_empty()
            && report.totals.needing_attention == 0;
        report.status = match (&report.error, is_well) {
            (Some(_), _) => RunStatus::Failed,
            (None, false) => RunStatus::Attention,
            (None, true) => RunStatus::Succeeded,
        };
        report.ignore_entries = report.gaps.iter().map(|gap| gap.ignore_entry(report.ended_at)).collect();
        report.limit_notices.splice(..0, self.blocked_by_registry.notice());
        report.notices = notices::notices(&report);
        report
    }
}

impl RunReport {
    /// Sorts the repositories, and leaves out those for which there is no room.
    fn cut_repositories(&mut self) {
        let rank = |outcome: &Outcome| {
            let gone = outcome.deleted.image_size_in_bytes.max(outcome.expiring.image_size_in_bytes);
            (!outcome.needs_attention(), std::cmp::Reverse(gone))
        };
        self.repositories.sort_by(|one, two| {
            rank(one).cmp(&rank(two)).then_with(|| one.repository_name.cmp(&two.repository_name))
        });
        self.repositories_not_shown += self.repositories.len().saturating_sub(REPOSITORIES) as u64;
        self.repositories.truncate(REPOSITORIES);
    }

    /// The same for those whose policies ECR enforces.
    fn cut_protection(&mut self) {
        self.protection.sort_by(|one, two| {
            let rank = |one: &ProtectedRepository| (!one.needs_attention, !one.attached.is_suspended());
            rank(one).cmp(&rank(two)).then_with(|| one.repository_name.cmp(&two.repository_name))
        });
        self.protection_not_shown += self.protection.len().saturating_sub(REPOSITORIES) as u64;
        self.protection.truncate(REPOSITORIES);
    }
}

/// The protection of an outcome's repository; `None` if ECR enforces no policy there that this stack protects.
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
