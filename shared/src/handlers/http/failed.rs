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
            Failure::Invalid => (Kind::Refused, "correct what ECR names"),
            Failure::Kms => (
                Kind::KmsKey,
                "write the ARN or id of an enabled symmetric key of this region that the function's role may use",
            ),
            Failure::NotFound => (Kind::RepositoryNotFound, "it may have been deleted meanwhile"),
            Failure::AlreadyExists | Failure::NotEmpty => {
                (Kind::RepositoryExists, "something else changes it at the same time; try again")
            }
            Failure::LimitExceeded => (Kind::LimitExceeded, "ask for a higher quota in Service Quotas"),
            Failure::Denied | Failure::Credentials => {
                (Kind::NotPermitted, "whoever runs the stack has to allow it to the function's role")
            }
            Failure::Throttled => (Kind::Throttled, "try again later"),
            Failure::TimedOut => (Kind::AwsTimedOut, "try again"),
            Failure::Unavailable | Failure::Unreachable | Failure::Unexpected => {
                (Kind::AwsUnavailable, "try again")
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
        const IN_USE: &str = "if you know that it may go all the same, add `?inUse=true`";
        let message = error.to_string();
        match error {
            DeletionError::Aws(error) => error.into(),
            DeletionError::NoBucket => Self::new(Kind::NoBucket, message),
            DeletionError::NoTimeToLook(_) => {
                let detail = format!("{message}; try again, or {IN_USE}");
                Self::new(Kind::UsageNotRead, detail).with_header("retry-after", "30")
            }
            DeletionError::TooMany { .. } => Self::new(Kind::TooManyImages, message),
            DeletionError::Changed(_) => Self::new(Kind::ChangedMeanwhile, message),
            DeletionError::PoliciesFile(findings) => {
                let detail = format!("{message}; correct it (`ecr-steward check policies.yaml`)");
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
                        (Kind::ImagesInUse, "take them out of use first; ", findings.collect())
                    }
                    Refusal::UsageUnknown(gaps) => {
                        let findings = gaps.iter().take(MAX_FINDINGS);
                        let findings =
                            findings.map(|(gap, entry)| finding(Code::UsageUnknown, unknown(gap, entry)));
                        (Kind::UsageUnknown, "", findings.collect())
                    }
                    Refusal::UnreadIndexes(indexes) => {
                        let findings = indexes.into_iter().take(MAX_FINDINGS);
                        (
                            Kind::UsageUnknown,
                            "",
                            findings.map(|index| finding(Code::RelationsUnknown, index)).collect(),
                        )
                    }
                    Refusal::RegistryLimit { .. } => return Self::new(Kind::RegistryLimit, message),
                };
                Self::new(kind, format!("{message}; {advice}{IN_USE}")).with_findings(findings)
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
                Self::new(Kind::StateUnreadable, format!("{message}; nothing was changed"))
            }
        }
    }
}
