//! Problems for failures at AWS.

#[cfg(feature = "lifecycle")]
use super::problem::MAX_FINDINGS;
use super::{Kind, Problem};
use crate::aws::{AwsError, Failure};
#[cfg(feature = "lifecycle")]
use crate::domain::enforcement::by_hand::{Refusal, unknown};
#[cfg(feature = "lifecycle")]
use crate::domain::text::finding::{Code, Finding};
#[cfg(feature = "lifecycle")]
use crate::workflows::delete_images::DeletionError;
#[cfg(feature = "lifecycle")]
use crate::workflows::enforcement::RunError;
#[cfg(feature = "lifecycle")]
use crate::workflows::enforcement::restore_images::RestoreError;
use crate::workflows::provision::{Cause, ProvisionError};

/// What the caller can do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Advice {
    #[error("correct what ECR names")]
    CorrectIt,
    #[error(
        "write the ARN or id of an enabled symmetric key of this region that the function's role may use"
    )]
    NameAnotherKey,
    #[error("it may have been deleted meanwhile")]
    Deleted,
    #[error("something else changes it at the same time; try again")]
    Contended,
    #[error("ask for a higher quota in Service Quotas")]
    RaiseQuota,
    #[error("whoever runs the stack has to allow it to the function's role")]
    AllowIt,
    #[error("try again later")]
    TryLater,
    #[error("try again")]
    TryAgain,
    #[cfg(feature = "lifecycle")]
    #[error("if you know that it may go all the same, add `?inUse=true`")]
    DeleteAllTheSame,
    #[cfg(feature = "lifecycle")]
    #[error("try again, or {}", Self::DeleteAllTheSame)]
    TryAgainOrDelete,
    #[cfg(feature = "lifecycle")]
    #[error("take them out of use first; {}", Self::DeleteAllTheSame)]
    EndUse,
    #[cfg(feature = "lifecycle")]
    #[error("correct it (`ecr-steward check policies.yaml`)")]
    CheckPoliciesFile,
    #[cfg(feature = "lifecycle")]
    #[error("nothing was changed")]
    NothingChanged,
}

impl From<AwsError> for Problem {
    fn from(error: AwsError) -> Self {
        ProvisionError::from(error).into()
    }
}

impl From<ProvisionError> for Problem {
    fn from(error: ProvisionError) -> Self {
        let failure = match &error.cause {
            Cause::Aws(failed) => failed.failure,
            Cause::NoBucket => return Self::new(Kind::NoBucket, error.to_string()),
            Cause::Record { .. } => return Self::new(Kind::StateUnreadable, error.to_string()),
            Cause::Contended(_) => return Self::new(Kind::ChangedMeanwhile, error.to_string()),
        };
        let (kind, advice) = match failure {
            Failure::Invalid => (Kind::Refused, Advice::CorrectIt),
            Failure::Kms => (Kind::KmsKey, Advice::NameAnotherKey),
            Failure::NotFound => (Kind::RepositoryNotFound, Advice::Deleted),
            Failure::AlreadyExists | Failure::NotEmpty => (Kind::RepositoryExists, Advice::Contended),
            Failure::LimitExceeded => (Kind::LimitExceeded, Advice::RaiseQuota),
            Failure::Denied | Failure::Credentials => (Kind::NotPermitted, Advice::AllowIt),
            Failure::Throttled => (Kind::Throttled, Advice::TryLater),
            Failure::TimedOut => (Kind::AwsTimedOut, Advice::TryAgain),
            Failure::Unavailable | Failure::Unreachable | Failure::Unexpected => {
                (Kind::AwsUnavailable, Advice::TryAgain)
            }
        };
        let problem = Self::new(kind, format!("{error}; {advice}"));
        match kind {
            Kind::Throttled => problem.with_header("retry-after", "30"),
            _ => problem,
        }
    }
}

#[cfg(feature = "lifecycle")]
impl From<DeletionError> for Problem {
    fn from(error: DeletionError) -> Self {
        let message = error.to_string();
        match error {
            DeletionError::Aws(error) => error.into(),
            DeletionError::NoBucket => Self::new(Kind::NoBucket, message),
            DeletionError::NoTimeToLook(_) => {
                let detail = format!("{message}; {}", Advice::TryAgainOrDelete);
                Self::new(Kind::UsageNotRead, detail).with_header("retry-after", "30")
            }
            DeletionError::TooMany { .. } => Self::new(Kind::TooManyImages, message),
            DeletionError::Changed(_) => Self::new(Kind::ChangedMeanwhile, message),
            DeletionError::PoliciesFile(findings) => {
                let detail = format!("{message}; {}", Advice::CheckPoliciesFile);
                Self::new(Kind::StateUnreadable, detail).with_findings(findings)
            }
            DeletionError::State(RunError::Clock { .. }) => Self::new(Kind::Internal, message),
            DeletionError::State(_) => Self::new(Kind::StateUnreadable, message),
            DeletionError::Refused(refusal) => {
                let finding = |code, message| Finding::new(code, "", message);
                let (kind, advice, findings): (_, _, Vec<Finding>) = match refusal {
                    Refusal::InUse(images) => {
                        let findings = images.iter().take(MAX_FINDINGS);
                        let findings = findings.map(|image| finding(Code::ImageInUse, image.to_string()));
                        (Kind::ImagesInUse, Advice::EndUse, findings.collect())
                    }
                    Refusal::UsageUnknown(gaps) => {
                        let findings = gaps.iter().take(MAX_FINDINGS);
                        let findings =
                            findings.map(|(gap, entry)| finding(Code::UsageUnknown, unknown(gap, entry)));
                        (Kind::UsageUnknown, Advice::DeleteAllTheSame, findings.collect())
                    }
                    Refusal::UnreadIndexes(indexes) => {
                        let findings = indexes.into_iter().take(MAX_FINDINGS);
                        (
                            Kind::UsageUnknown,
                            Advice::DeleteAllTheSame,
                            findings.map(|index| finding(Code::RelationsUnknown, index)).collect(),
                        )
                    }
                    Refusal::RegistryLimit { .. } => return Self::new(Kind::RegistryLimit, message),
                };
                Self::new(kind, format!("{message}; {advice}")).with_findings(findings)
            }
        }
    }
}

#[cfg(feature = "lifecycle")]
impl From<RestoreError> for Problem {
    fn from(error: RestoreError) -> Self {
        let message = error.to_string();
        match error {
            RestoreError::NoBucket => Self::new(Kind::NoBucket, message),
            RestoreError::NoSuchRun(_) => Self::new(Kind::RunNotFound, message),
            RestoreError::Run(RunError::Aws(error) | RunError::Time(error)) => error.into(),
            RestoreError::Run(RunError::Clock { .. }) => Self::new(Kind::Internal, message),
            RestoreError::Run(RunError::Object { .. } | RunError::Refused { .. }) => {
                Self::new(Kind::StateUnreadable, format!("{message}; {}", Advice::NothingChanged))
            }
        }
    }
}
