//! Problems, as RFC 9457 has them: what kind, what happened, what to do.

use serde::Serialize;

use super::Response;
use crate::domain::text::finding::Finding;
use crate::domain::text::printable::{Notation, printable};

/// Maximum number of findings about a request: a body can have more mistakes than an answer has room for.
const MAX_FINDINGS_OF_REQUEST: usize = 100;
/// Maximum length of a pointer into a request, in characters: a body can have longer names of fields.
const MAX_POINTER_CHARACTERS: usize = 500;
/// Maximum number of findings about what is in AWS: an answer is 5 MB at most.
#[cfg(feature = "lifecycle")]
pub(super) const MAX_FINDINGS: usize = 1000;

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The kind of problem.
    pub kind: Kind,
    /// The problem in this case, and what to do.
    pub detail: String,
    /// Everything that is wrong with the body, or each image or usage source that blocks the request.
    pub findings: Vec<Finding>,
    headers: Vec<(&'static str, String)>,
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $variant:ident = $status:literal $name:literal $title:literal,)+) => {
        /// The kinds of problems: each has a name, which is stable, a status and a title.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Kind {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Kind {
            /// Every kind there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name that ends the problem's `type`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The HTTP status.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }

            /// The title.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }
        }
    };
}

kinds! {
    /// The request is invalid.
    InvalidRequest = 400 "invalid-request" "The request is not valid",
    /// AWS refuses a value as invalid.
    Refused = 400 "refused" "AWS refuses the request",
    /// The KMS key does not exist, is disabled, or may not be used.
    KmsKey = 400 "kms-key-unusable" "The KMS key cannot be used",
    /// There is no such source, or it cannot be pinned.
    SourceUnusable = 400 "source-unusable" "The source cannot be built",
    /// There is nothing at the path.
    NoSuchPath = 404 "no-such-path" "There is nothing at this path",
    /// There is no repository of this name.
    RepositoryNotFound = 404 "repository-not-found" "There is no such repository",
    /// The journal has nothing of this run.
    RunNotFound = 404 "run-not-found" "The journal has nothing of this run",
    /// There is no build of this id.
    BuildNotFound = 404 "build-not-found" "There is no such build",
    /// The path is for other methods.
    MethodNotAllowed = 405 "method-not-allowed" "The method is not allowed here",
    /// A repository of this name exists, and differs from the request.
    RepositoryExists = 409 "repository-exists" "The repository exists, and is not as asked for",
    /// The encryption of a repository cannot be changed.
    EncryptionFixed = 409 "encryption-fixed" "The encryption of a repository cannot be changed",
    /// The repository has images.
    RepositoryNotEmpty = 409 "repository-not-empty" "The repository has images",
    /// A quota of the account.
    LimitExceeded = 409 "limit-exceeded" "A quota of the account is reached",
    /// Images that were to be deleted are in use, or belong to one that is.
    ImagesInUse = 409 "images-in-use" "Images are in use",
    /// Images that were to be deleted may be in use.
    UsageUnknown = 409 "usage-unknown" "What is in use is not known completely",
    /// The request exceeds the registry's daily limit.
    RegistryLimit = 409 "limit-registry" "The limit of the registry for a day is reached",
    /// The repository was changed concurrently.
    ChangedMeanwhile = 409 "changed-meanwhile" "The repository was changed at the same time",
    /// The answer is larger than Lambda carries.
    AnswerTooLarge = 413 "answer-too-large" "The answer is too large",
    /// Something is wrong with the function.
    Internal = 500 "internal" "The function failed",
    /// The role of the function lacks a permission.
    NotPermitted = 500 "not-permitted" "The function is not allowed to do this",
    /// AWS failed internally.
    AwsUnavailable = 502 "aws-unavailable" "AWS could not answer",
    /// AWS throttles calls.
    Throttled = 503 "throttled" "AWS throttles the calls of this account",
    /// There was no time to read use.
    UsageNotRead = 503 "usage-not-read" "There was no time to find out what is in use",
    /// More images than can be written down and deleted in the time of a request.
    TooManyImages = 503 "too-many-images" "There are too many images to delete at once",
    /// Something in the stack's bucket is not what it has to be.
    StateUnreadable = 503 "state-unreadable" "Something in the stack's bucket cannot be read",
    /// The function has no bucket for the journal.
    NoBucket = 503 "no-bucket" "The function knows no bucket",
    /// AWS did not answer in time.
    AwsTimedOut = 504 "aws-timed-out" "AWS did not answer in time",
}

impl Problem {
    /// A problem.
    #[must_use]
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), findings: Vec::new(), headers: Vec::new() }
    }

    /// A request with these findings, of which the first ones are named.
    #[must_use]
    pub fn invalid(mut findings: Vec<Finding>) -> Self {
        let more = findings.len().saturating_sub(MAX_FINDINGS_OF_REQUEST);
        findings.truncate(MAX_FINDINGS_OF_REQUEST);
        for Finding { pointer, .. } in &mut findings {
            if let Some((end, _)) = pointer.char_indices().nth(MAX_POINTER_CHARACTERS) {
                pointer.truncate(end);
                pointer.push('…');
            }
        }
        let mut detail = findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        if more > 0 {
            detail += &format!("; and {more} more");
        }
        Self { kind: Kind::InvalidRequest, detail, findings, headers: Vec::new() }
    }

    #[cfg(feature = "lifecycle")]
    pub(super) fn with_findings(self, findings: Vec<Finding>) -> Self {
        Self { findings, ..self }
    }

    pub(super) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Self {
        #[derive(Serialize)]
        struct Body<'a> {
            #[serde(rename = "type")]
            kind: String,
            title: &'a str,
            status: u16,
            detail: &'a str,
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            findings: &'a [Finding],
        }
        let Problem { kind, detail, findings, mut headers } = problem;
        let body = Body {
            kind: format!("urn:ecr-steward:problem:{}", kind.name()),
            title: kind.title(),
            status: kind.status(),
            detail: &detail,
            findings: &findings,
        };
        headers.push(("content-type", "application/problem+json".to_owned()));
        // Strings and a number: serialization has nothing to fail on.
        let body = serde_json::to_string(&body).unwrap_or_default();
        // It is read in a terminal more often than not.
        let body = printable(&body, Notation::Json).into_owned();
        Self { status: kind.status(), headers, body }
    }
}
