//! What is in use: references from tasks, functions and clusters, and which images of a repository they keep.
//!
//! | module | holds |
//! | --- | --- |
//! | [`ecs`] | what Amazon ECS uses |
//! | [`functions`] | what AWS Lambda uses |
//! | [`listed`] | what somebody says is in use |
//! | [`observation`] | all of it at one moment, with what could not be read |

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::image::listing::RepositoryName;
use crate::image::{ImageIndex, RepositoryImages};
use crate::lifecycle::matches_wildcard;
use crate::reference::ImageReference;

pub mod ecs;
pub mod functions;
pub mod listed;
pub mod observation;

/// One reference in use, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedImage {
    /// What is referenced.
    pub reference: ImageReference,
    /// Who references it: ARNs, pod names, whatever the source knows.
    pub used_by: Vec<String>,
}

/// Every reference in use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// The references, in the order of their source.
    pub used: Vec<UsedImage>,
    /// What could not be read; none, and this is everything.
    pub gaps: Vec<Gap>,
}

/// A source of references that could not be read completely: more may be in use than is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// The source: `Amazon ECS`, `AWS Lambda`, or the address of a list.
    pub source: String,
    /// What the names of repositories match that it may use images of; without any, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
    /// Why it could not be read.
    pub problem: String,
}

impl Gap {
    /// Whether images of the repository may be in use unknown.
    #[must_use]
    pub fn is_about(&self, repository: &str) -> bool {
        self.repositories.is_empty()
            || self.repositories.iter().any(|pattern| matches_wildcard(pattern, repository))
    }
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.source, self.problem)
    }
}

/// The images of one repository that are in use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsedImages {
    reasons: HashMap<ImageIndex, String>,
    /// Of those, the images that are used themselves, and not only since they belong to one that is.
    named: HashSet<ImageIndex>,
    /// References to this repository that name no image in it.
    pub not_found: Vec<String>,
}

impl UsedImages {
    /// The images that must stay.
    #[must_use]
    pub fn images(&self) -> HashSet<ImageIndex> {
        self.reasons.keys().copied().collect()
    }

    /// Of those, the images that are used themselves: the others only belong to one that is.
    #[must_use]
    pub const fn named(&self) -> &HashSet<ImageIndex> {
        &self.named
    }

    /// How the image is used.
    #[must_use]
    pub fn reason(&self, image: ImageIndex) -> Option<&str> {
        self.reasons.get(&image).map(String::as_str)
    }
}

impl Usage {
    /// Finds the images of a repository that are in use, by tag or by digest, and everything that belongs
    /// to them: [`RepositoryImages::closure`].
    #[must_use]
    pub fn of_repository(&self, name: &RepositoryName, images: &RepositoryImages) -> UsedImages {
        let mut found = UsedImages::default();
        let (repository, registry) = (name.repository_name.as_deref(), name.registry_id.as_deref());
        let relevant: Vec<&UsedImage> =
            self.used.iter().filter(|used| used.reference.may_name(repository, registry)).collect();
        if relevant.is_empty() {
            return found;
        }
        let mut by_name: HashMap<&str, ImageIndex> = HashMap::new();
        for (image, place) in images.images().iter().zip(0..) {
            by_name.insert(&image.digest, place);
            for tag in &image.tags {
                by_name.insert(tag, place);
            }
        }
        for used in relevant {
            // Of a tag with a digest both are kept: the digest runs, and the tag is what the next start may pull.
            let names = [used.reference.digest.as_deref(), used.reference.tag.as_deref()];
            let mut any = false;
            for place in names.into_iter().flatten().filter_map(|name| by_name.get(name)) {
                any = true;
                found.reasons.entry(*place).or_insert_with(|| used.to_string());
            }
            if !any {
                found.not_found.push(used.to_string());
            }
        }
        found.named = found.reasons.keys().copied().collect();
        found.reasons = images.closure(found.reasons, "is");
        found
    }

    /// What could not be read although it may use images of the repository.
    pub fn gaps_of<'a>(&'a self, repository: &'a str) -> impl Iterator<Item = &'a Gap> {
        self.gaps.iter().filter(move |gap| gap.is_about(repository))
    }
}

impl std::fmt::Display for UsedImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.reference)?;
        match self.used_by.as_slice() {
            [] => Ok(()),
            [one] => write!(f, " by {one}"),
            [first, others @ ..] => write!(f, " by {first} and {} more", others.len()),
        }
    }
}
