//! The mail about a run: when it is sent, its subject and its text.

use super::costs::{cost_facts, cost_lines};
use super::*;
use crate::report::attention::USAGE_UNKNOWN;
use crate::report::code_pages;

impl RunReport {
    /// Whether people are notified of the run although they did not ask. For a run that only protects they are notified of new
    /// concerns only: there are many in a day.
    #[must_use]
    pub fn is_worth_a_message(&self) -> bool {
        !self.run.protect_only || self.status != RunStatus::Succeeded
    }

    /// Sets the hours for which protection tags are valid, and so until when each repository is protected.
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
            format!("{} would be deleted{why}", count(totals.to_be_deleted.image_total_count, "image"))
        } else {
            format!("{} deleted", count(totals.deleted.image_total_count, "image"))
        };
        match self.status {
            RunStatus::Succeeded => format!("ECR: {did}"),
            RunStatus::Attention => format!("ECR: {did}, and something needs attention"),
            RunStatus::Failed => "ECR: the lifecycle run failed".to_owned(),
        }
    }

    /// The report in a few lines, for the mail of every run. `address` is that of the whole report.
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
        if !self.has_policies_file && self.error.is_none() {
            lines.push(
                "There is no policies.yaml in the stack's bucket, so that no repository has a policy."
                    .to_owned(),
            );
            if self.survey.is_some() {
                lines.push(NEXT.to_owned());
            }
        }
        for notice in self.notices.iter().take(NOTICES) {
            lines.extend([String::new(), notice.clone()]);
        }
        let more = self.notices.len().saturating_sub(NOTICES);
        if more > 0 {
            lines.extend([String::new(), format!("And {more} more like these: see the report.")]);
        }
        lines.push(String::new());
        let mut row = |label: &str, value: String| lines.push(format!("{label:<26}{value}"));
        if !self.run.protect_only {
            let unmatched = totals.count(Status::Unmatched);
            let number = crate::domain::text::quantity::grouped(totals.repositories);
            row("Repositories", format!("{number}, {unmatched} of them under no policy"));
            if let Some(unchanged) = &self.unchanged {
                row("Unchanged", unchanged.in_short());
            }
            row("Images", amount(totals.images));
            for (label, fact) in facts(self) {
                row(label, fact);
            }
            match self.run.dry_run {
                true => row("Would be deleted", amount(totals.to_be_deleted)),
                false => row("Deleted", amount(totals.deleted)),
            }
            if !totals.archived.is_zero() {
                row("Archived", amount(totals.archived));
            }
            row("Expired by the policies", amount(totals.expiring));
            for (label, fact) in cost_facts(self) {
                row(label, fact);
            }
        }
        if totals.protected_repositories > 0 {
            let suspended = totals.suspended_policies;
            let number = repositories(totals.protected_repositories);
            row("Enforced by ECR itself", format!("in {number}, suspended in {suspended} of them"));
        }
        if !totals.expiring_by_ecr.is_zero() {
            row("Expiring by ECR itself", amount(totals.expiring_by_ecr));
        }
        if totals.tags_added > 0 {
            row("Images newly protected", count(totals.tags_added, "protection tag"));
        }
        if !self.run.protect_only {
            row("Protected (in use)", amount(totals.protected_by_use));
        }
        for (label, held) in [
            ("Protected (kept)", totals.protected_by_keep),
            ("Put back", totals.put_back),
            ("Blocked by limits", totals.blocked),
            ("Failed", totals.failed),
        ] {
            if !held.is_zero() && !self.run.protect_only {
                row(label, amount(held));
            }
        }
        if totals.drifted > 0 {
            row("Not as the file says", repositories(totals.drifted));
        }
        if totals.native_policies_at_risk > 0 {
            row("Own policies at risk", repositories(totals.native_policies_at_risk));
        }
        let costs = cost_lines(self);
        if !costs.is_empty() && !self.run.protect_only {
            lines.push(String::new());
            lines.extend(costs);
        }
        lines.extend(self.problems());
        lines.push(String::new());
        lines.push(format!("All of it: {address}"));
        lines.join("\n")
    }
}

impl RunReport {
    /// What needs attention, by kind, with the advice, for a mail.
    fn problems(&self) -> Vec<String> {
        const SHOWN: usize = 12;
        let interrupted = self.unreported_journal.iter().map(|key| format!("cut off while deleting: {key}"));
        let unfinished = self.unfinished_batches.iter().map(|batch| format!("not finished: {batch}"));
        let whole: Vec<String> = unfinished.chain(interrupted).collect();
        let all = self.concerns();
        let number = whole.len() + all.len();
        if number == 0 {
            return Vec::new();
        }
        let mut lines = vec![String::new(), "Needs attention:".to_owned()];
        lines.extend(whole.iter().take(SHOWN).map(|problem| format!("- {problem}")));
        let shown = all.get(..all.len().min(SHOWN.saturating_sub(whole.len()))).unwrap_or_default();
        for group in shown.chunk_by(|(_, one), (_, other)| one.rank() == other.rank()) {
            lines.extend(group.iter().map(|(name, concern)| format!("- {name}: {}", concern.message)));
            lines.extend(group.first().map(|(_, concern)| format!("  {}", concern.kind().advice)));
        }
        let more = number.saturating_sub(SHOWN);
        if more > 0 {
            lines.push(format!("- and {more} more"));
        }
        lines.extend(code_pages::hint(self.codes()));
        lines
    }

    /// The codes of what needs attention, the worst first; each may be there more than once.
    pub fn codes(&self) -> impl Iterator<Item = &'static str> {
        let unread = (!self.gaps.is_empty()).then_some(USAGE_UNKNOWN);
        self.concerns().into_iter().map(|(_, concern)| concern.kind().code).chain(unread)
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
        let pushes = (!self.unannounced_pushes.is_empty()).then(|| "pushes without an event".to_owned());
        let error = self.error.iter().map(|error| match &self.run.policies_file_problem {
            Some(problem) => format!("policies file: {problem}"),
            None => format!("error {}", error.split(':').next().unwrap_or_default()),
        });
        let unfinished = (!self.unfinished_batches.is_empty()).then(|| "unfinished batches".to_owned());
        let interrupted = (!self.unreported_journal.is_empty()).then(|| "cut off while deleting".to_owned());
        let whole = gaps.chain(tags).chain(pushes).chain(error).chain(unfinished).chain(interrupted);
        let mut concerns: Vec<String> = of_repositories.chain(whole).collect();
        concerns.sort_unstable();
        concerns.dedup();
        concerns
    }

    /// The concerns about single repositories, the worst first.
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

/// Why a run is a dry run that was not requested, in a few words.
const fn why_in_short(reason: DryRunReason) -> Option<&'static str> {
    match reason {
        DryRunReason::Requested | DryRunReason::ProtectOnly => None,
        DryRunReason::EnforceOff => Some("Enforce is off"),
        DryRunReason::NoPoliciesFile => Some("there is no policies.yaml"),
        DryRunReason::InvalidPoliciesFile => Some("policies.yaml is not valid"),
        DryRunReason::NotPreviewed => Some("policies.yaml is new"),
    }
}
