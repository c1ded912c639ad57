//! The repository `storefront/web` of a shop: its images, what is in use of them, and a policy. Programs show a preview of it where
//! nobody has given them anything yet.

use crate::domain::image::listing::{InvalidListing, Listing};
use crate::domain::lifecycle::{Passes, PolicySource};
use crate::domain::preview::Question;
use crate::domain::text::finding::Finding;
use crate::domain::text::instant::{Instant, InvalidTime};
use crate::domain::usage::Usage;
use crate::domain::usage::listed::InvalidUsage;

const IMAGES: &str = include_str!("../../../../tests/fixtures/storefront/images.json");
const IN_USE: &str = include_str!("../../../../tests/fixtures/storefront/in-use.json");
const POLICY: &str = include_str!("../../../../tests/fixtures/storefront/policy.yaml");
/// The day on which the images were listed.
const LISTED: &str = "2026-11-23T00:00:00Z";

/// What a preview of the repository is made of.
#[derive(Debug)]
pub struct Example {
    /// The images of the repository.
    pub listing: Listing,
    usage: Usage,
    policy: PolicySource,
    now: Instant,
}

/// A file of the example that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InvalidExample {
    /// The images.
    #[error("tests/fixtures/storefront/images.json: {0}")]
    Listing(#[from] InvalidListing),
    /// What is in use.
    #[error("tests/fixtures/storefront/in-use.json: {0}")]
    Usage(#[from] InvalidUsage),
    /// The policy.
    #[error("tests/fixtures/storefront/policy.yaml: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Policy(Vec<Finding>),
    /// The day of the listing.
    #[error(transparent)]
    Time(#[from] InvalidTime),
}

impl Example {
    /// Reads the example, which is in the program.
    ///
    /// # Errors
    ///
    /// When a file of it was changed into something else before the program was built.
    pub fn read() -> Result<Self, InvalidExample> {
        Ok(Self {
            listing: Listing::parse(IMAGES)?,
            usage: Usage::parse(IN_USE)?,
            policy: PolicySource::parse(POLICY).map_err(InvalidExample::Policy)?,
            now: Instant::parse(LISTED)?,
        })
    }

    /// What is asked of a preview: the policy at the day on which the images were listed.
    #[must_use]
    pub fn question(&self) -> Question<'_> {
        Question { policy: self.policy.policy(), usage: &self.usage, now: self.now, passes: Passes::One }
    }
}
