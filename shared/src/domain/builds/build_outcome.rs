//! The result of a build, from CodeBuild's description of it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Platform;
use crate::domain::builds::build_context::{BuildContext, PLATFORM, VARIABLE};
use crate::domain::image::reference::is_sha256;
use crate::domain::text::instant::Instant;

/// The variable that a build exports the digest of its image in.
const DIGEST: &str = "IMAGE_DIGEST";

/// `buildStatus`: the status of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// It is waiting or running.
    InProgress,
    /// All its phases did what they should.
    Succeeded,
    /// A phase did not.
    Failed,
    /// CodeBuild failed internally.
    Fault,
    /// It exceeded a timeout of the project, running or waiting.
    TimedOut,
    /// It was stopped.
    Stopped,
}

impl Status {
    /// Every status, by its name.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("IN_PROGRESS", Self::InProgress),
        ("SUCCEEDED", Self::Succeeded),
        ("FAILED", Self::Failed),
        ("FAULT", Self::Fault),
        ("TIMED_OUT", Self::TimedOut),
        ("STOPPED", Self::Stopped),
    ];

    /// The name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(_, status)| *status == self).map_or("", |(name, _)| name)
    }
}

/// A build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// `project:uuid`.
    pub id: String,
    /// Its ARN.
    pub arn: String,
    /// The status.
    pub status: Status,
    /// The kind of its source, where it is, and the version, as CodeBuild fetched it.
    pub source: (String, String, String),
    /// The phase that it is in, in CodeBuild's words.
    pub phase: String,
    /// The start time.
    pub started_at: Option<Instant>,
    /// The end time.
    pub ended_at: Option<Instant>,
    /// The failed phase and CodeBuild's message about it.
    pub failure: Option<String>,
    /// Whether it never ran, since its time in the queue was over.
    pub never_ran: bool,
    /// Its environment, secrets left out.
    pub environment: BTreeMap<String, String>,
    /// The variables that it exports.
    pub exported: BTreeMap<String, String>,
    /// The group and stream of its log.
    pub log: Option<(String, String)>,
    /// The URL of its log in the console.
    pub log_link: Option<String>,
}

/// The result of a build that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildOutcome {
    /// An image was pushed for a platform.
    Pushed {
        /// The build's context.
        context: BuildContext,
        /// Which platform.
        platform: Platform,
        /// The image's digest, from the push.
        digest: String,
    },
    /// The build made no image.
    Failed {
        /// The build's context.
        context: BuildContext,
        /// The final status.
        status: Status,
        /// Why.
        reason: String,
    },
    /// The build has not ended.
    InProgress,
    /// This stack did not start the build: it has no context, or an unreadable one.
    Foreign(ContextError),
}

/// Why a build has no readable context: this stack did not start it, or not as it starts builds now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// The variable of the context is not set.
    #[error("it has no build context: this stack did not start it")]
    Missing,
    /// The variable of the context has an invalid value; the parser's message.
    #[error("its build context is unreadable: {0}")]
    Unreadable(String),
    /// The variable of the platform is not set, or to an unknown platform.
    #[error("it does not say its platform")]
    NoPlatform,
    /// The context is of an image for other platforms.
    #[error("its build context does not have its platform")]
    OtherPlatform,
}

impl Build {
    /// The context and platform of the build.
    ///
    /// # Errors
    ///
    /// Why they cannot be read.
    pub fn context(&self) -> Result<(BuildContext, Platform), ContextError> {
        let text = self.environment.get(VARIABLE).ok_or(ContextError::Missing)?;
        let context: BuildContext =
            serde_json::from_str(text).map_err(|error| ContextError::Unreadable(error.to_string()))?;
        let platform = self.environment.get(PLATFORM);
        let platform =
            Platform::NAMES.into_iter().find(|(name, _)| Some(*name) == platform.map(String::as_str));
        let (_, platform) = platform.ok_or(ContextError::NoPlatform)?;
        if !context.platforms.contains(&platform) {
            return Err(ContextError::OtherPlatform);
        }
        Ok((context, platform))
    }

    /// The result of the build.
    #[must_use]
    pub fn ended(&self) -> BuildOutcome {
        let (context, platform) = match self.context() {
            Ok(context) => context,
            Err(error) => return BuildOutcome::Foreign(error),
        };
        let status = self.status;
        let reason = match status {
            Status::InProgress => return BuildOutcome::InProgress,
            Status::Succeeded => match self.exported.get(DIGEST) {
                Some(digest) if is_sha256(digest) => {
                    return BuildOutcome::Pushed { context, platform, digest: digest.clone() };
                }
                Some(_) => "it reports a digest that is none".to_owned(),
                None => "it reports success, but no digest of an image".to_owned(),
            },
            Status::Failed => self.failure.clone().unwrap_or_else(|| "a phase failed".to_owned()),
            Status::Fault => {
                let detail = self.failure.as_deref().map_or(String::new(), |failure| format!(" ({failure})"));
                format!("CodeBuild had trouble of its own{detail}; start the build again")
            }
            Status::TimedOut if self.never_ran => {
                "it waited in the queue longer than a build may, since the account builds as \
                much as it may: start the build again, or have CodeBuild's quota of concurrent builds raised"
                    .to_owned()
            }
            Status::TimedOut => {
                "it took longer than a build may: the stack's parameter BuildTimeoutInMinutes, or what the \
                ServiceTimeout of the resource leaves for it; give it more time, or a larger computeType"
                    .to_owned()
            }
            Status::Stopped => "it was stopped; start the build again".to_owned(),
        };
        BuildOutcome::Failed { context, status, reason }
    }
}

/// Maximum number of lines from a failed build's log.
const MAX_LINES: usize = 12;
/// Maximum length of such a line, in characters.
const MAX_LINE: usize = 200;

/// The last output of the build itself, from the end of its log: without CodeBuild's lines about phases, and without the failed
/// command, which CodeBuild repeats.
#[must_use]
pub fn last_words(log: &[String]) -> Vec<String> {
    let lines: Vec<&str> = log.iter().flat_map(|event| event.lines()).map(str::trim_end).collect();
    let is_end = |line: &&str| {
        line.starts_with("[Container]") && line.contains("Phase complete:") && line.contains("FAILED")
    };
    let end = lines.iter().position(is_end).unwrap_or(lines.len());
    let mut words: Vec<String> = lines
        .iter()
        .take(end)
        .rev()
        .filter(|line| !line.is_empty() && !line.starts_with("[Container]"))
        .take(MAX_LINES)
        .map(|line| line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_LINE).collect())
        .collect();
    words.reverse();
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_build_is_reported_with_its_own_output_and_not_with_what_codebuild_says_around_it() {
        let log = "[Container] 2026/11/23 10:00:00 Entering phase BUILD
[Container] 2026/11/23 10:00:00 Running command set -euo pipefail
#9 [3/3] RUN make
#9 0.312 \u{1b}[31mmain.c:7: error: expected ';'
#9 ERROR: process \"/bin/sh -c make\" did not complete successfully: exit code: 2

[Container] 2026/11/23 10:01:00 Command did not exit successfully set -euo pipefail
[Container] 2026/11/23 10:01:00 Phase complete: BUILD State: FAILED_WITH_ABORT
[Container] 2026/11/23 10:01:00 Phase context status code: COMMAND_EXECUTION_ERROR Message: Error while executing command: set -euo pipefail
cd /
docker_alone() (
. Reason: exit status 1";
        let log: Vec<String> = log.lines().map(|line| format!("{line}\n")).collect();
        assert_eq!(
            last_words(&log),
            [
                "#9 [3/3] RUN make",
                "#9 0.312  [31mmain.c:7: error: expected ';'",
                "#9 ERROR: process \"/bin/sh -c make\" did not complete successfully: exit code: 2",
            ]
        );
        let long: Vec<String> = (0..1000).map(|number| format!("{number} {}", "x".repeat(1000))).collect();
        let words = last_words(&long);
        assert_eq!((words.len(), words[11].chars().count()), (MAX_LINES, MAX_LINE));
        assert!(words[11].starts_with("999 "), "{words:?}");
        assert_eq!(last_words(&[]), [""; 0]);
    }
}
