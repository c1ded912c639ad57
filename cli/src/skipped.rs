//! Repositories that could not be read, where others were: one that is denied, gone or not understood is no reason to say nothing of
//! all others.

use shared::aws::{AwsError, Failure as AwsFailure};
use shared::workflows::enforcement::RunError;
use shared::workflows::live_preview::LiveError;

use crate::account::AccountError;
use crate::{Failure, Outcome, output};

/// What a command that reads several repositories leaves out.
#[derive(Debug)]
pub(crate) struct Skipped {
    /// The number of all repositories.
    of: usize,
    missing: usize,
}

impl Skipped {
    /// Nothing is left out of so many repositories.
    pub(crate) const fn new(repositories: usize) -> Self {
        Self { of: repositories, missing: 0 }
    }

    /// What was read of a repository; `None` if that failed, which is then said on standard error.
    ///
    /// # Errors
    ///
    /// A failure that is not of this repository alone, or when there is no other one.
    pub(crate) fn unless_failed<T>(
        &mut self,
        repository: &str,
        read: Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(failure) if self.of > 1 && is_of_one(&failure) => {
                self.missing += 1;
                output::note(&format!("ecr-steward: {repository} is left out: {failure}"));
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// How the command ends: not well, if something is missing.
    pub(crate) fn outcome(&self, otherwise: Outcome) -> Outcome {
        if self.missing == 0 {
            return otherwise;
        }
        let is = if self.missing == 1 { "is" } else { "are" };
        output::note(&format!("ecr-steward: {} of {} repositories {is} left out", self.missing, self.of));
        Outcome::Unusable
    }
}

/// Whether a failure is of one repository, and others can be read. Without a connection, credentials or quota none can.
fn is_of_one(failure: &Failure) -> bool {
    let is_of_call = |error: &AwsError| {
        matches!(
            error.failure,
            AwsFailure::NotFound
                | AwsFailure::Denied
                | AwsFailure::Kms
                | AwsFailure::Invalid
                | AwsFailure::Unexpected
        )
    };
    match failure {
        Failure::Policy { .. }
        | Failure::Account(AccountError::Name { .. })
        | Failure::Live(LiveError::Policy { .. }) => true,
        Failure::Run(RunError::Aws(error)) | Failure::Live(LiveError::RunError(RunError::Aws(error))) => {
            is_of_call(error)
        }
        _ => false,
    }
}
