//! Building images: the builds for an event, the input of a build, and the consequences of its end. Everything here is pure;
//! `workflows::start_build` and `workflows::publish_image` act on it.
//!
//! | module | contains |
//! | --- | --- |
//! | [`event`] | events of S3 and CodeCommit as source updates |
//! | [`build_definition`] | how an image is built, read from JSON and YAML |
//! | [`build_config`] | `builds.yaml`: the build definition for each source |
//! | [`tags`] | image tags from templates |
//! | [`build_context`] | what a build carries from its start to its end |
//! | [`repository_defaults`] | settings of a repository that is created for its first build |
//! | [`start_build_input`] | the parameters of CodeBuild's `StartBuild` |
//! | [`build_outcome`] | the result of a build, from CodeBuild's description |
//! | [`tag_ownership`] | which source owns which tag, so that an older one never replaces a newer one |
//! | [`index`] | joins the images of several platforms in an image index |
//! | [`outbound_event`] | the events that the stack publishes |
//! | [`handover`] | a build context that one function of the stack passes to another |

pub mod build_config;
pub mod build_context;
pub mod build_definition;
pub mod build_outcome;
pub mod event;
pub mod handover;
pub mod index;
pub mod outbound_event;
pub mod repository_defaults;
pub mod start_build_input;
pub mod tag_ownership;
pub mod tags;

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::text::instant::Instant;

/// The prefix in the stack's bucket whose uploads are built without a definition: `sources/<repository>/<name>.zip`.
pub const SOURCES: &str = "sources/";

/// The folder in the stack's bucket for sources that are built by request, or by an entry of `builds.yaml`.
pub const UPLOADS: &str = "uploads/";

/// The folder below [`UPLOADS`] that `ecr-steward build` sends directories to. A request follows each of them, so that no event about
/// one starts a build, whatever `builds.yaml` names.
pub const DIRECTORIES: &str = "uploads/ecr-steward-build/";

/// Whether a key of the stack's bucket is that of a source. Other objects (the journal, reports, caches) are never built.
#[must_use]
pub fn is_source_key(key: &str) -> bool {
    [SOURCES, UPLOADS].iter().any(|folder| key.starts_with(folder))
        && !key.split('/').any(|part| part == "..")
}

/// The tag of a repository that a build has made: which line of sources it is for.
pub const BUILT_FROM: &str = "ecr-steward:built-from";

/// A source that can only ever be the same files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// A version of an object, a zip archive.
    #[serde(rename_all = "camelCase")]
    S3 {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// The version.
        version_id: String,
    },
    /// A commit.
    #[serde(rename_all = "camelCase")]
    CodeCommit {
        /// The name of the CodeCommit repository.
        repository_name: String,
        /// The full id of the commit.
        commit_id: String,
    },
}

impl Source {
    /// The pinned version: the version of the object, or the commit.
    #[must_use]
    pub fn version(&self) -> &str {
        match self {
            Self::S3 { version_id, .. } => version_id,
            Self::CodeCommit { commit_id, .. } => commit_id,
        }
    }
}

impl Source {
    /// The origin without the version: the value of [`BUILT_FROM`].
    #[must_use]
    pub fn origin(&self) -> String {
        match self {
            Self::S3 { .. } => "s3".to_owned(),
            Self::CodeCommit { repository_name, .. } => format!("codecommit://{repository_name}"),
        }
    }
}

impl fmt::Display for Source {
    /// `s3://bucket/key?versionId=…`, `codecommit://repository@commit`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, key, version_id } => write!(f, "s3://{bucket}/{key}?versionId={version_id}"),
            Self::CodeCommit { repository_name, commit_id } => {
                write!(f, "codecommit://{repository_name}@{commit_id}")
            }
        }
    }
}

/// The branch or tag that a commit was pushed as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GitReference {
    /// The branch of this name.
    Branch(String),
    /// The tag of this name.
    Tag(String),
}

/// The position of a source among others of the same origin, so that a slow build of an older source does not replace a newer
/// one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceOrder {
    /// The time of the upload or the push.
    pub at: Instant,
    /// S3's order among events of one key: hexadecimal, the longer or else the greater one is the later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequencer: Option<String>,
    /// The version that this one replaced, if the push says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
}

impl SourceOrder {
    /// A source of which only the time is known.
    #[must_use]
    pub const fn at(at: Instant) -> Self {
        Self { at, sequencer: None, replaces: None }
    }
}

/// A processor to build for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Platform {
    /// `linux/amd64`.
    #[serde(rename = "linux/amd64")]
    Amd64,
    /// `linux/arm64`.
    #[serde(rename = "linux/arm64")]
    Arm64,
}

impl Platform {
    /// Every platform there is, with its name.
    pub const NAMES: [(&'static str, Self); 2] = [("linux/amd64", Self::Amd64), ("linux/arm64", Self::Arm64)];

    /// The name, as Docker has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "linux/amd64",
            Self::Arm64 => "linux/arm64",
        }
    }

    /// The processor alone, for tags.
    #[must_use]
    pub const fn processor(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

/// The first `digits` hexadecimal digits of the SHA-256 of the parts, which are separated unambiguously.
pub(crate) fn fingerprint(parts: &[&str], digits: usize) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    hex.truncate(digits);
    hex
}
