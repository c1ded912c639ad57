//! What a registry has as long as no policies file says what to do with it: what a file could free, and what ECR's own lifecycle
//! policies would take of what is in use. Nothing is decided by it.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::domain::enforcement::outcome::Amount;
use crate::domain::enforcement::plan::plan;
use crate::domain::enforcement::policy_set::Match;
use crate::domain::enforcement::suggest;
use crate::domain::image::{Image, ImageIndex, RepositoryImages};
use crate::domain::text::instant::Instant;
use crate::domain::usage::UsedImages;

/// Days after which an image without a recorded pull counts as never pulled. A younger one may be waiting for its first.
pub const PULL_DAYS: u64 = 30;

/// What a repository has, or all repositories of a registry together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Survey {
    /// The number of repositories that could be read.
    pub repositories: u64,
    /// The number of them without a lifecycle policy: nothing ever expires there.
    pub without_lifecycle_policy: u64,
    /// Images without a tag that no image index lists.
    pub untagged: Amount,
    /// Images that were pushed more than [`PULL_DAYS`] days ago, and of which ECR has recorded no pull. A pull of an image index
    /// counts for what it lists.
    pub never_pulled: Amount,
    /// What the policies that `ecr-steward suggest` writes would expire, without what is in use.
    pub suggested: Amount,
    /// Tags by which something in use names an image without its digest: what runs next is whatever has the tag then.
    pub tags_in_use: u64,
}

impl Survey {
    /// Adds what another has.
    pub const fn extend(&mut self, other: &Self) {
        self.repositories += other.repositories;
        self.without_lifecycle_policy += other.without_lifecycle_policy;
        self.untagged.extend(other.untagged);
        self.never_pulled.extend(other.never_pulled);
        self.suggested.extend(other.suggested);
        self.tags_in_use += other.tags_in_use;
    }

    /// Surveys a repository.
    #[must_use]
    pub fn of(
        repository: &str,
        images: &RepositoryImages,
        used: &UsedImages,
        tags_in_use: u64,
        has_lifecycle_policy: bool,
        now: Instant,
    ) -> Self {
        let mut survey = Self {
            repositories: 1,
            without_lifecycle_policy: u64::from(!has_lifecycle_policy),
            tags_in_use,
            suggested: suggested(repository, images, used, now),
            ..Self::default()
        };
        let listed: HashSet<ImageIndex> = images.parents().iter().map(|&(child, _)| child).collect();
        let pulled_indexes: HashSet<ImageIndex> = (0..)
            .zip(images.images())
            .filter(|(_, image)| image.last_pulled_at.is_some())
            .map(|(place, _)| place)
            .collect();
        let pulled_by_index: HashSet<ImageIndex> = images
            .parents()
            .iter()
            .filter(|(_, index)| pulled_indexes.contains(index))
            .map(|&(child, _)| child)
            .collect();
        let before = now.micros_days_before(PULL_DAYS);
        let is_old = |image: &Image| image.pushed_at.micros() <= before;
        for (place, image) in (0..).zip(images.images()) {
            if image.tags.is_empty() && !listed.contains(&place) {
                survey.untagged.add(image);
            }
            if image.last_pulled_at.is_none() && is_old(image) && !pulled_by_index.contains(&place) {
                survey.never_pulled.add(image);
            }
        }
        survey
    }
}

/// What the policy that is suggested for a repository by itself would expire. With the tags of other repositories of the folder
/// it may be more.
fn suggested(repository: &str, images: &RepositoryImages, used: &UsedImages, now: Instant) -> Amount {
    let families = BTreeMap::from([(repository.to_owned(), suggest::families(images))]);
    let mut amount = Amount::default();
    let Ok(policy_set) = suggest::policy_set(&suggest::suggest(&families)) else { return amount };
    if let Match::Entry(entry) = policy_set.entry_for(repository, None) {
        for &place in &plan(entry, images, used, now).deletions {
            if let Some(image) = images.images().get(place as usize) {
                amount.add(image);
            }
        }
    }
    amount
}
