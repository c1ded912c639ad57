//! Errors of calls to AWS.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use aws_sdk_ecr::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

/// A call that failed, after the retries that made sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {failure}{}", if .message.is_empty() { String::new() } else { format!(": {message}") })]
pub struct AwsError {
    /// The operation, as AWS names it.
    pub operation: Cow<'static, str>,
    /// The kind of failure.
    pub failure: Failure,
    /// AWS's message.
    pub message: String,
    /// Whether an attempt was in flight when the time was over.
    pub in_flight: bool,
}

impl AwsError {
    /// Whether the repository lacks layers of an image that was to be stored.
    pub(crate) fn is_layers_not_found(&self) -> bool {
        self.message.starts_with("LayersNotFoundException")
    }

    /// Whether the repository lacks images that an index lists.
    pub(crate) fn is_referenced_images_not_found(&self) -> bool {
        self.message.starts_with("ReferencedImagesNotFoundException")
    }

    /// Whether the service does not know the operation, which is then not available in this Region or partition.
    pub(crate) fn is_unknown_operation(&self) -> bool {
        self.message.starts_with("UnknownOperationException")
    }
}

/// The kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The subject of the call does not exist.
    NotFound,
    /// The thing to create exists already.
    AlreadyExists,
    /// The repository has images.
    NotEmpty,
    /// A quota of the account.
    LimitExceeded,
    /// The KMS key does not exist, is disabled, or may not be used.
    Kms,
    /// AWS refuses a value as invalid.
    Invalid,
    /// The role of the function lacks a permission.
    Denied,
    /// AWS does not take the credentials: they have expired, are not known, or were used by a wrong clock.
    Credentials,
    /// AWS throttles calls.
    Throttled,
    /// AWS failed internally.
    Unavailable,
    /// There was no answer in time; whether the call had an effect is not known.
    TimedOut,
    /// There is no connection.
    Unreachable,
    /// Something that this version does not know.
    Unexpected,
}

impl Failure {
    pub(crate) fn of_code(code: &str) -> Self {
        match code {
            "RepositoryNotFoundException"
            | "ImageNotFoundException"
            | "LifecyclePolicyNotFoundException"
            | "RepositoryPolicyNotFoundException"
            | "RegistryPolicyNotFoundException"
            | "SigningConfigurationNotFoundException"
            | "ResourceNotFoundException"
            | "ClusterNotFoundException"
            | "ServiceNotFoundException"
            | "DaemonNotFoundException"
            | "NotFoundException"
            | "StateMachineDoesNotExist"
            | "ParameterNotFound" => Self::NotFound,
            "RepositoryAlreadyExistsException"
            | "ImageAlreadyExistsException"
            | "ImageTagAlreadyExistsException" => Self::AlreadyExists,
            "RepositoryNotEmptyException" => Self::NotEmpty,
            "LimitExceededException"
            | "TooManyTagsException"
            | "AccountLimitExceededException"
            | "ParameterLimitExceeded" => Self::LimitExceeded,
            "KmsException" | "KmsAccessDeniedException" | "KmsInvalidStateException" => Self::Kms,
            "InvalidParameterException"
            | "InvalidTagParameterException"
            | "ValidationException"
            | "ValidationError"
            | "InvalidInputException" => Self::Invalid,
            "AccessDeniedException" | "AccessDenied" | "OptInRequired" => Self::Denied,
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidAccessKeyId"
            | "ExpiredTokenException"
            | "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "RequestTimeTooSkewed"
            | "RequestExpired" => Self::Credentials,
            "ThrottlingException"
            | "ThrottledException"
            | "Throttling"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "KmsThrottlingException"
            | "TooManyUpdates" => Self::Throttled,
            "ServerException" | "InternalFailure" | "InternalServerError" | "ServiceUnavailable" => {
                Self::Unavailable
            }
            _ => Self::Unexpected,
        }
    }

    /// The kind of failure of S3, from the status, and from the code where one status has several kinds.
    pub(super) fn of_s3(status: u16, code: Option<&str>) -> Self {
        match (status, code.unwrap_or_default()) {
            (_, "NoSuchBucket") | (404, _) => Self::NotFound,
            (_, "SlowDown") | (429 | 503, _) => Self::Throttled,
            // A connection on which nothing came for a while.
            (_, "RequestTimeout") | (500.., _) => Self::Unavailable,
            // Expired or foreign credentials have the status 400.
            (_, code) if Self::of_code(code) == Self::Credentials => Self::Credentials,
            (401 | 403, _) => Self::Denied,
            (301 | 307 | 400, _) => Self::Invalid,
            _ => Self::Unexpected,
        }
    }

    /// Whether another attempt may succeed.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Throttled | Self::Unavailable | Self::TimedOut | Self::Unreachable)
    }

    /// Whether a failed call of this kind may have had its effect.
    pub(crate) const fn outcome_unknown(self) -> bool {
        matches!(self, Self::Unavailable | Self::TimedOut | Self::Unreachable | Self::Unexpected)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "not found",
            Self::AlreadyExists => "it exists already",
            Self::NotEmpty => "the repository has images",
            Self::LimitExceeded => "a quota of the account is reached",
            Self::Kms => "the KMS key cannot be used",
            Self::Invalid => "AWS refuses a value",
            Self::Denied => "the role that calls is not allowed to do this",
            Self::Credentials => "AWS does not take the credentials",
            Self::Throttled => "AWS throttles the calls of this account",
            Self::Unavailable => "AWS could not answer",
            Self::TimedOut => "AWS did not answer in time",
            Self::Unreachable => "AWS cannot be reached",
            Self::Unexpected => "an error that is not expected here",
        })
    }
}

impl AwsError {
    /// Whether the call may have had its effect although it failed.
    #[must_use]
    pub const fn outcome_unknown(&self) -> bool {
        self.in_flight || self.failure.outcome_unknown()
    }

    /// The error of an answer that does not have the documented form.
    pub(crate) fn unexpected_response(operation: &'static str, problem: &str) -> Self {
        Self {
            operation: operation.into(),
            failure: Failure::Unexpected,
            message: problem.to_owned(),
            in_flight: false,
        }
    }

    /// Names the failure of an operation.
    pub(crate) fn new<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let (failure, message) = match error {
            SdkError::ServiceError(service) => {
                let status = service.raw().status().as_u16();
                let error = service.err();
                match (error.code(), status) {
                    (Some(code), _) if Failure::of_code(code) != Failure::Unexpected => {
                        (Failure::of_code(code), error.message().unwrap_or_default().to_owned())
                    }
                    // AWS answers in JSON or XML with the name of the error, and never sends elsewhere but S3.
                    (None, 200..400 | 404 | 405 | 501) => {
                        let message = format!(
                            "the answer (HTTP status {status}) is none of AWS; it is often the page of a proxy, of a network that one \
                             has to sign in to, or of another host than the one that was meant by --endpoint-url or AWS_ENDPOINT_URL"
                        );
                        (Failure::Unexpected, message)
                    }
                    (code, _) => {
                        let code = code.map_or_else(|| format!("HTTP status {status}"), str::to_owned);
                        let message =
                            error.message().map_or_else(|| code.clone(), |text| format!("{code}: {text}"));
                        let failure = match status {
                            429 => Failure::Throttled,
                            500.. => Failure::Unavailable,
                            _ => Failure::Unexpected,
                        };
                        (failure, message)
                    }
                }
            }
            SdkError::TimeoutError(_) => (Failure::TimedOut, String::new()),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => (Failure::TimedOut, String::new()),
            SdkError::DispatchFailure(failure) => {
                let cause = failure.as_connector_error().map(|error| super::reachability::cause_of(error));
                (Failure::Unreachable, cause.unwrap_or_default())
            }
            SdkError::ResponseError(response) => (
                Failure::Unavailable,
                format!("the answer is unreadable (HTTP status {})", response.raw().status()),
            ),
            other => (Failure::Unexpected, DisplayErrorContext(other).to_string()),
        };
        Self { operation: operation.into(), failure, message, in_flight: false }
    }
}
