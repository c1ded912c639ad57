//! The events that tell others what came of a build; `infra/events` has their schemas. And the one by which functions of
//! the stack hand a ticket on whose image exists already.

use serde::{Deserialize, Serialize};

use super::Source;
use super::ended::Status;
use super::tags::NotMoved;
use super::ticket::Ticket;

/// The source of the stack's events.
pub const SOURCE: &str = "ecr-steward";

/// An event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Announcement {
    /// There is an image.
    Published(Published),
    /// There is none.
    Failed(Failed),
    /// There has been one for long; it has to take the places of the ticket.
    Built(Built),
}

impl Announcement {
    /// The event's `detail-type`.
    #[must_use]
    pub const fn detail_type(&self) -> &'static str {
        match self {
            Self::Published(_) => "Image Published",
            Self::Failed(_) => "Image Build Failed",
            Self::Built(_) => "Image Already Built",
        }
    }
}

/// The detail of `Image Published`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// The stack.
    pub stack_name: String,
    /// The repository.
    pub repository_name: String,
    /// `repository-uri@sha256:…`.
    pub image_uri: String,
    /// The image's digest.
    pub image_digest: String,
    /// The tag that stands for the source, and never moves.
    pub image_tag: String,
    /// The tags that were moved to the image.
    pub image_tags: Vec<String>,
    /// The tags that were not, and why.
    pub image_tags_not_moved: Vec<NotMoved>,
    /// The parameter that points to the image now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter_name: Option<String>,
    /// What was built.
    pub source: Source,
    /// The build, unless the image was there before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
}

/// The detail of `Image Build Failed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    /// The stack.
    pub stack_name: String,
    /// The repository; empty if it is not even known.
    pub repository_name: String,
    /// How the build ended, in CodeBuild's words; `NOT_STARTED` if it did not begin.
    pub build_status: String,
    /// Why, and what to do.
    pub reason: String,
    /// What was to be built.
    pub source: String,
    /// The build; empty if there was none.
    pub build_id: String,
    /// Its log, for a browser; empty if there is none.
    pub log_link: String,
}

/// The detail of `Image Already Built`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Built {
    /// The stack.
    pub stack_name: String,
    /// What for.
    pub ticket: Ticket,
}

impl Failed {
    /// What a build that failed is told as.
    #[must_use]
    pub fn of_build(
        stack_name: &str,
        ticket: &Ticket,
        status: Status,
        reason: &str,
        id: &str,
        log: &str,
    ) -> Self {
        Self {
            stack_name: stack_name.to_owned(),
            repository_name: ticket.repository_name.clone(),
            build_status: status.as_str().to_owned(),
            reason: reason.to_owned(),
            source: ticket.source.to_string(),
            build_id: id.to_owned(),
            log_link: log.to_owned(),
        }
    }
}
