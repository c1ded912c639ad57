//! The notices of a report: what people should know first, in sentences.

use super::*;
use crate::domain::enforcement::protect_tag::PROTECT_KEY;

/// The code of the blocker that is a limit of the whole registry.
pub(super) const REGISTRY_LIMIT: &str = "limit-registry";

/// What people should know first.
pub(super) fn notices(report: &RunReport) -> Vec<String> {
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

/// What follows if it is unknown which repositories ask for protection by their resource tag.
pub(in crate::report) fn tags_notice(report: &RunReport) -> Option<String> {
    let problem = report.unread_tags.as_ref()?;
    Some(format!(
        "Which repositories ask for protection by the resource tag {PROTECT_KEY} could not be read: {problem}. Those that were \
         protected before are, and those of the policies file; in any other one with that tag ECR goes by its lifecycle policy, and \
         what is in use there has no protection tags. Allow the function lifecycle-inventory the action tag:GetResources."
    ))
}

/// Why the run is a dry run, if that was not requested.
pub(in crate::report) fn dry_run_notice(report: &RunReport) -> Option<String> {
    let reason = report.run.dry_run_reason.filter(|reason| *reason != DryRunReason::Requested)?;
    let reason = reason.explain(report.run.policies_file_hash.as_deref());
    report.error.is_none().then(|| format!("Nothing was deleted, archived or attached: {reason}."))
}

/// What is ignored, and what limits of the registry block.
pub(in crate::report) fn other_notices(report: &RunReport) -> Vec<String> {
    let mut notices = Vec::new();
    notices.extend(report.unannounced_pushes.first().map(|first| {
        let number = repositories(report.unannounced_pushes.len() as u64);
        format!(
            "In {number}, such as {first}, an image was pushed of which Amazon ECR sent no event, so that other changes may be unknown, \
             too. The next run looks at every repository. If this comes back, see whether the rule and the queue for these events are \
             as the stack made them, or set SkipUnchanged to false."
        )
    }));
    notices.extend(report.unknown_changes.as_ref().map(|problem| {
        format!("Every repository was looked at, since it is not known which ones changed: {problem}.")
    }));
    for IgnoredSource { source, reason, until } in &report.ignored {
        let until = until.map_or_else(|| "for good".to_owned(), |until| format!("until {until}"));
        notices.push(format!("The policies file ignores {source} {until}: {reason}."));
    }
    notices.extend(report.limit_notices.iter().cloned());
    notices
}

/// What limits of the registry block, added up over all repositories.
#[derive(Debug, Default)]
pub(super) struct BlockedByRegistry {
    repositories: u64,
    images: u64,
    /// The first of the repositories, and what its blocker says.
    first: Option<(String, String)>,
}

impl BlockedByRegistry {
    /// One more repository.
    pub(super) fn take(&mut self, outcome: &Outcome) {
        let Some(held) = outcome.blockers.iter().find(|held| held.code == REGISTRY_LIMIT) else { return };
        let count = |amount: Amount| amount.image_total_count;
        let planned = count(outcome.expiring) + count(outcome.transitioning);
        self.repositories += 1;
        self.images += planned.saturating_sub(count(outcome.deleted) + count(outcome.archived));
        self.first.get_or_insert_with(|| (outcome.repository_name.clone(), held.message.clone()));
    }

    /// A sentence or two; `None` if they block nothing.
    pub(super) fn notice(&self) -> Option<String> {
        let (repository, message) = self.first.as_ref()?;
        let (images, repositories) = (count(self.images, "image"), repositories(self.repositories));
        Some(format!(
            "A limit of the registry blocks {images} in {repositories}. In {repository}: {message}."
        ))
    }
}
