//! What a usage source is: what it is called, what of it counts as use, which permissions reading it takes, when it is read and in
//! how many calls; and what one reading of it gives.
//!
//! [`super::SOURCES`] has all of them. What reads one is in `aws/`, in the file of its service.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::{Deserialize, Serialize};

use super::{UnknownImage, UnreadableSource, UsedImage, references, unreadable_list};
use crate::domain::image::reference::ImageReference;
use crate::domain::text::instant::Instant;

/// A service of AWS, or of this stack, that says which images are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageSource {
    /// The name by which reports and `usage.ignore` of the policies file call it. A failure that is about a part of it has a longer
    /// one that begins so: `ecs/<cluster>/<service>`.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// The service's name in the public parameters of AWS Systems Manager. Only services that some Regions lack need it.
    pub service: Option<&'static str>,
    /// The IAM actions that reading it takes.
    pub actions: &'static [&'static str],
    /// Whether it blocks deletion when it could not be read completely. A second opinion does not.
    pub blocks: bool,
    /// When it is read.
    pub when: When,
    /// How many calls reading it once takes.
    pub calls: &'static str,
}

/// When a source is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Once a run: it changes seldom, or would cost most calls.
    OnceARun,
    /// Once a run, and again right before something is deleted or archived.
    BeforeEachDeletion,
}

/// What one reading of a source gives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// The images in use.
    pub used: Vec<UsedImage>,
    /// What runs although it is not known which image it is.
    pub unknown: Vec<UnknownImage>,
    /// What could not be read, and what to do about it. None, and the reading is complete.
    pub problems: Vec<String>,
    /// The images of what never changes, by what names it: the next reading need not ask for them.
    pub known: BTreeMap<String, Vec<String>>,
}

/// An answer of AWS names no image where it has to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: the answer does not say which image {user} uses")]
pub struct ImageNotNamed {
    /// The operation.
    pub operation: &'static str,
    /// What uses the image, with its ARN.
    pub user: String,
}

/// How a source was read, for the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SourceSummary {
    /// The source.
    pub source: String,
    /// Its name for people.
    pub title: String,
    /// Whether it was read completely.
    pub status: SourceStatus,
    /// When it was read.
    pub read_at: Instant,
    /// How many references to images it names.
    pub images_in_use: u64,
    /// The key of the list that reports it; none for what was read here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    /// The account whose use it is; none for this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The Region, where a list says so; none for this one, and for a list that does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

/// Whether a source was read completely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SourceStatus {
    /// All that it says is known.
    Complete,
    /// Something of it is not known; it is among the gaps.
    Incomplete,
    /// AWS does not have the service in this Region.
    NotInRegion,
}

impl SourceStatus {
    /// The status, for people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Incomplete => "incomplete",
            Self::NotInRegion => "not in this Region",
        }
    }
}

impl UsageSource {
    /// Whether a gap is about this source or a part of it.
    #[must_use]
    pub fn is_of(&self, gap: &UnreadableSource) -> bool {
        gap.source.strip_prefix(self.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The IAM action that an operation of AWS takes, as far as reading this source takes it.
    #[must_use]
    pub fn action(&self, operation: &str) -> Option<&'static str> {
        let is_of_operation = |action: &&&str| action.split(':').nth(1) == Some(operation);
        self.actions.iter().find(is_of_operation).copied()
    }

    /// How it was read at a time, with these gaps of all sources.
    #[must_use]
    pub fn summary(&self, references: usize, gaps: &[UnreadableSource], read_at: Instant) -> SourceSummary {
        let is_incomplete = gaps.iter().any(|gap| self.is_of(gap));
        SourceSummary {
            source: self.name.to_owned(),
            title: self.title.to_owned(),
            status: if is_incomplete { SourceStatus::Incomplete } else { SourceStatus::Complete },
            read_at,
            images_in_use: references as u64,
            list: None,
            account: None,
            region: None,
        }
    }
}

impl Reading {
    /// Adds images that something uses. A text that is no image reference makes the reading incomplete.
    pub fn add(&mut self, images: &[String], used_by: &str) {
        let (used, problems) = references(images, used_by);
        self.used.extend(used);
        self.problems.extend(problems);
    }

    /// Adds an image whose tag something resolved, at a time, without reporting the digest. Every image that was in the repository
    /// then may be the one; all that are there, if the time is unknown. The images of ECR Public are not in the registry.
    pub fn add_resolved_at(&mut self, image: &str, used_by: &str, resolved_at: Option<Instant>) {
        self.add(&[image.to_owned()], used_by);
        if let Ok(reference) = ImageReference::parse_exact(image)
            && reference.digest.is_none()
            && reference.registry.as_deref() != Some("public.ecr.aws")
        {
            self.unknown.push(UnknownImage {
                reference,
                started_at: resolved_at,
                used_by: used_by.to_owned(),
            });
        }
    }

    /// What was understood of an answer. What was not makes the reading incomplete.
    pub fn understood<T, E: Display>(&mut self, read: Result<T, E>) -> Option<T> {
        read.map_err(|problem| self.problems.push(problem.to_string())).ok()
    }

    /// Adds the images of something that never changes, and remembers them under its name.
    pub fn add_known(&mut self, name: String, images: Vec<String>, used_by: &str) {
        self.add(&images, used_by);
        // Where nothing is named there is nothing to rely on next time.
        if !images.is_empty() {
            self.known.insert(name, images);
        }
    }

    /// The gap of a source, unless it was read completely.
    #[must_use]
    pub fn gap(&self, source: &UsageSource) -> Option<UnreadableSource> {
        let mut problems = self.problems.clone();
        problems.sort();
        problems.dedup();
        unreadable_list(source.name, &problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: UsageSource = UsageSource {
        name: "ship",
        title: "Ships",
        service: None,
        actions: &["harbour:ListShips"],
        blocks: true,
        when: When::OnceARun,
        calls: "1",
    };

    #[test]
    fn a_gap_is_of_the_source_that_its_name_begins_with() {
        let gap = |source: &str| UnreadableSource {
            source: source.to_owned(),
            repositories: Vec::new(),
            problem: String::new(),
        };
        assert!(SOURCE.is_of(&gap("ship")) && SOURCE.is_of(&gap("ship/one")));
        assert!(!SOURCE.is_of(&gap("shipyard")) && !SOURCE.is_of(&gap("shi")));
        assert_eq!(SOURCE.action("ListShips"), Some("harbour:ListShips"));
        assert_eq!(SOURCE.action("SinkShip"), None);
    }

    #[test]
    fn what_names_no_image_is_not_remembered_and_what_is_no_reference_is_a_gap() {
        let mut reading = Reading::default();
        reading.add_known("empty".to_owned(), Vec::new(), "x");
        reading.add_known("full".to_owned(), vec!["a:1".to_owned()], "x");
        assert_eq!(reading.known.keys().collect::<Vec<_>>(), ["full"]);
        assert_eq!(reading.gap(&SOURCE), None);
        reading.add(&["a b".to_owned()], "x");
        let gap = reading.gap(&SOURCE).unwrap();
        assert_eq!(gap.source, "ship");
        assert!(gap.problem.contains("`a b` is not an image reference"), "{gap}");
    }
}
