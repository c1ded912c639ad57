//! The events that the stack publishes about builds; `infra/events` has their schemas. Everybody may read the bus that they are
//! on, and many may write to it, so that the stack never acts on one.

use serde::Serialize;

use super::Source;
use super::tags::NotMoved;
use crate::domain::builds::build_context::BuildContext;
use crate::domain::builds::build_outcome::Status;

/// The source of the stack's events.
pub const SOURCE: &str = "ecr-steward";

/// An event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum OutboundEvent {
    /// There is an image.
    Published(Published),
    /// There is none.
    Failed(Failed),
}

impl OutboundEvent {
    /// The event's `detail-type`.
    #[must_use]
    pub const fn detail_type(&self) -> &'static str {
        match self {
            Self::Published(_) => "Image Published",
            Self::Failed(_) => "Image Build Failed",
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
    /// The content tag, which never moves.
    pub image_tag: String,
    /// The tags that were moved to the image.
    pub image_tags: Vec<String>,
    /// The tags that were not, and why.
    pub image_tags_not_moved: Vec<NotMoved>,
    /// The parameter that points to the image now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter_name: Option<String>,
    /// The built source.
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
    /// The final status of the build, in CodeBuild's words; `NOT_STARTED` if it did not start.
    pub build_status: String,
    /// Why, and what to do.
    pub reason: String,
    /// The source.
    pub source: String,
    /// The build; empty if there was none.
    pub build_id: String,
    /// Its log, for a browser; empty if there is none.
    pub log_link: String,
}

impl Failed {
    /// The event about a source of which no build started.
    #[must_use]
    pub fn not_started(stack_name: &str, repository: &str, source: &Source, reason: &str) -> Self {
        Self {
            stack_name: stack_name.to_owned(),
            repository_name: repository.to_owned(),
            build_status: "NOT_STARTED".to_owned(),
            reason: reason.to_owned(),
            source: source.to_string(),
            build_id: String::new(),
            log_link: String::new(),
        }
    }

    /// The event about a build that failed.
    #[must_use]
    pub fn of_build(
        stack_name: &str,
        context: &BuildContext,
        status: Status,
        reason: &str,
        id: &str,
        log: &str,
    ) -> Self {
        Self {
            stack_name: stack_name.to_owned(),
            repository_name: context.repository_name.clone(),
            build_status: status.as_str().to_owned(),
            reason: reason.to_owned(),
            source: context.source.to_string(),
            build_id: id.to_owned(),
            log_link: log.to_owned(),
        }
    }

    /// A mail about it: subject and text. Reasons come from elsewhere, and may have anything in them.
    #[must_use]
    pub fn mail(&self) -> (String, String) {
        let name = match self.repository_name.as_str() {
            "" => "a source",
            name => name,
        };
        let line =
            |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
        let reason: String = self.reason.split('\n').map(|text| line(text) + "\n").collect();
        let mut text =
            format!("No image for {name} ({}): {reason}Source: {}\n", self.build_status, line(&self.source));
        if !self.log_link.is_empty() {
            text.push_str(&format!("Log: {}\n", line(&self.log_link)));
        }
        (format!("{}: no image for {name}", self.stack_name), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_is_text_whatever_is_in_it() {
        let failed = Failed {
            stack_name: "steward".to_owned(),
            repository_name: "app".to_owned(),
            build_status: "FAILED".to_owned(),
            reason: "it said \"no\"\n\u{1b}[31mand <more>\r\n{x}".to_owned(),
            source: "s3://b/a\nb.zip?versionId=v".to_owned(),
            build_id: "steward-amd64:1".to_owned(),
            log_link: "https://logs".to_owned(),
        };
        let (subject, text) = failed.mail();
        assert_eq!(subject, "steward: no image for app");
        assert_eq!(
            text,
            "No image for app (FAILED): it said \"no\"\n [31mand <more> \n{x}\nSource: s3://b/a b.zip?versionId=v\nLog: https://logs\n"
        );
    }
}
