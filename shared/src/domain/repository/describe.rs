//! A repository as the API answers it: ECR's own fields, the policies and tags, and what to type next.

use serde::{Serialize, Serializer};

use super::{Change, Encryption, ExclusionFilters, Existing, PolicyStatus, Registry, Tags};
use crate::domain::text::instant::Instant;

/// A repository and what to do with it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Description<'a> {
    /// The repository.
    pub repository: Shown<'a>,
    /// The command lines that push a first image.
    pub commands: Commands,
    /// The changes of an update; absent in other answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<&'a [Change]>,
}

/// The fields of ECR's `Repository`, and settings that ECR returns by other operations.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown<'a> {
    repository_name: &'a str,
    repository_arn: &'a str,
    registry_id: &'a str,
    repository_uri: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<Instant>,
    image_tag_mutability: &'static str,
    #[serde(skip_serializing_if = "is_empty")]
    image_tag_mutability_exclusion_filters: ExclusionFilters<'a>,
    image_scanning_configuration: Scanning,
    encryption_configuration: &'a Encryption,
    #[serde(flatten)]
    details: Option<Details<'a>>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Details<'a> {
    tags: TagList<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lifecycle_policy_text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lifecycle_policy_status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lifecycle_policy_status_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repository_policy_text: Option<&'a str>,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct Scanning {
    scan_on_push: bool,
}

/// Tags as ECR's API writes them.
#[derive(Debug, Clone, Copy)]
pub(super) struct TagList<'a>(pub(super) &'a Tags);

impl Serialize for TagList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Tag<'a> {
            key: &'a str,
            value: &'a str,
        }
        serializer.collect_seq(self.0.iter().map(|(key, value)| Tag { key, value }))
    }
}

/// Command lines for a terminal with Docker and the AWS CLI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Commands {
    /// Logs in to the registry for twelve hours.
    pub login: String,
    /// Gives a local image the repository's name.
    pub tag: String,
    /// Pushes it.
    pub push: String,
    /// Pulls it.
    pub pull: String,
}

impl Commands {
    /// The commands for a repository with this URI.
    #[must_use]
    pub fn new(uri: &str, registry: &Registry) -> Self {
        let host = uri.split('/').next().unwrap_or(uri);
        let region = &registry.region;
        Self {
            login: format!(
                "aws ecr get-login-password --region {region} | docker login --username AWS --password-stdin {host}"
            ),
            tag: format!("docker tag IMAGE:TAG {uri}:TAG"),
            push: format!("docker push {uri}:TAG"),
            pull: format!("docker pull {uri}:TAG"),
        }
    }
}

impl<'a> Shown<'a> {
    /// The repository with its tags, policies and the status of its lifecycle policy.
    #[must_use]
    pub fn new(repository: &'a Existing, status: Option<&PolicyStatus>) -> Self {
        let details = Details {
            tags: TagList(&repository.tags),
            lifecycle_policy_text: repository.lifecycle_policy_text.as_deref(),
            lifecycle_policy_status: status.map(PolicyStatus::as_str),
            lifecycle_policy_status_reason: status.and_then(PolicyStatus::reason),
            repository_policy_text: repository.policy_text.as_deref(),
        };
        Self { details: Some(details), ..Self::brief(repository) }
    }

    /// The repository without what needs a call for each repository, for lists.
    #[must_use]
    pub fn brief(repository: &'a Existing) -> Self {
        Self {
            repository_name: &repository.name,
            repository_arn: &repository.arn,
            registry_id: &repository.registry_id,
            repository_uri: &repository.uri,
            created_at: repository.created_at,
            image_tag_mutability: repository.tag_mutability.as_str(),
            image_tag_mutability_exclusion_filters: ExclusionFilters(&repository.tag_mutability.exclusions),
            image_scanning_configuration: Scanning { scan_on_push: repository.scan_on_push },
            encryption_configuration: &repository.encryption,
            details: None,
        }
    }
}

impl<'a> Description<'a> {
    /// Describes a repository.
    #[must_use]
    pub fn new(
        repository: &'a Existing,
        registry: &Registry,
        status: Option<&PolicyStatus>,
        changes: Option<&'a [Change]>,
    ) -> Self {
        Self {
            repository: Shown::new(repository, status),
            commands: Commands::new(&repository.uri, registry),
            changes,
        }
    }
}

fn is_empty(filters: &ExclusionFilters<'_>) -> bool {
    filters.0.is_empty()
}
