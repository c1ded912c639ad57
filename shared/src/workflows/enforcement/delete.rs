//! Deletes and archives the planned images of a repository.

use tokio::time::Instant as MonotonicInstant;

use super::{RunError, WriteClient};
use crate::domain::enforcement::in_use_protection::is_protected;
use crate::domain::enforcement::outcome::{Outcome, Status};
use crate::domain::lifecycle::PolicySource;
use crate::workflows::enforcement::execute::Executor;
use crate::workflows::enforcement::process_batch::BatchProcessor;
use crate::workflows::enforcement::repository_snapshot::RepositoryPlan;

impl<W: WriteClient> BatchProcessor<'_, W> {
    /// Executes a plan. The outcome has what was done, however it ends.
    pub(super) async fn delete(
        &self,
        planned: &RepositoryPlan<'_>,
        outcome: &mut Outcome,
        read_at: MonotonicInstant,
    ) -> Result<(), RunError> {
        let name = planned.snapshot.name.as_str();
        // A protected policy is reported elsewhere, and one that was checked is reported already.
        if planned.native.is_none() && !planned.checks_native_policy {
            let attached = self.clients.call(self.clients.ecr.lifecycle_policy(name)).await?;
            outcome.drift.extend(attached.map(|text| drift(&text).to_owned()));
        }
        let mut executor = Executor::new(self, planned, outcome, read_at);
        executor.execute(&planned.removals()).await?;
        let (is_blocked, is_gone) = (executor.is_blocked(), executor.is_gone());
        outcome.status = if is_gone {
            Status::RepositoryDeleted
        } else if !outcome.failed.is_zero() {
            Status::Partial
        } else if is_blocked || !outcome.blockers.is_empty() {
            Status::Blocked
        } else {
            Status::Done
        };
        Ok(())
    }
}

/// How a repository with a lifecycle policy of ECR's differs from the policies file.
pub(super) fn drift(native: &str) -> &'static str {
    if PolicySource::parse(native).is_ok_and(|source| source.policy().is_some_and(is_protected)) {
        "ECR still applies the policy that was attached when the policies file said `apply: attach`; delete it"
    } else {
        "the repository has a lifecycle policy of its own, which ECR applies beside that of the policies file and which knows \
         nothing of use; delete it, or write `apply: attach`"
    }
}
