//! What a registry has as long as no policies file says what to do with it: what a file could free, and what ECR's own lifecycle
//! policies would take of what is in use. Nothing is decided by it.

use std::collections::{BTreeMap, HashMap, HashSet};

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
    /// Images without a tag that no image index lists, and that are no referrers (signatures, SBOMs, attestations).
    pub untagged: Amount,
    /// Images that were pushed more than 30 days ago, that are not known to be in use, and of which ECR has recorded no
    /// pull. A pull of an image index counts for what it lists, a pull of an image for its referrers.
    pub never_pulled: Amount,
    /// About what the policies that `ecr-steward suggest` writes would expire, without what is in use.
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
        let pulled = pulled(images);
        let before = now.micros_days_before(PULL_DAYS);
        let is_old = |image: &Image| image.pushed_at.micros() <= before;
        for (place, image) in (0..).zip(images.images()) {
            if image.tags.is_empty() && !images.is_part(place) {
                survey.untagged.add(image);
            }
            if is_old(image) && !pulled.contains(&place) && used.reason(place).is_none() {
                survey.never_pulled.add(image);
            }
        }
        survey
    }
}

/// The images of which ECR has recorded a pull, with what belongs to them: what an index of them lists, and their referrers.
fn pulled(images: &RepositoryImages) -> HashSet<ImageIndex> {
    let mut pulled: HashSet<ImageIndex> = (0..)
        .zip(images.images())
        .filter(|(_, image)| image.last_pulled_at.is_some())
        .map(|(place, _)| place)
        .collect();
    let mut parts: HashMap<ImageIndex, Vec<ImageIndex>> = HashMap::new();
    for &(part, whole) in images.parents().iter().chain(images.subjects()) {
        parts.entry(whole).or_default().push(part);
    }
    let mut open: Vec<ImageIndex> = pulled.iter().copied().collect();
    while let Some(whole) = open.pop() {
        for &part in parts.get(&whole).into_iter().flatten() {
            if pulled.insert(part) {
                open.push(part);
            }
        }
    }
    pulled
}

/// What the policy that is suggested for a repository by itself would expire. The policy of its folder, which has the most frequent
/// tags of all repositories of it, may take more or less.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::listing::RepositoryName;
    use crate::domain::image::{ImageStatus, ManifestKind, Relations};
    use crate::domain::usage::Usage;

    #[test]
    fn what_runs_is_not_never_pulled_and_a_signature_is_not_untagged() {
        let now = Instant::parse("2026-11-26T00:00:00Z").unwrap();
        let image = |letter: char, tag: Option<&str>, is_pulled: bool| Image {
            digest: format!("sha256:{}", letter.to_string().repeat(64)).as_str().into(),
            tags: tag.into_iter().map(Into::into).collect(),
            pushed_at: Instant::parse("2026-01-01T00:00:00Z").unwrap(),
            last_pulled_at: is_pulled.then_some(now),
            last_archived_at: None,
            last_activated_at: None,
            size_in_bytes: 1,
            status: ImageStatus::Active,
            kind: ManifestKind::Unknown,
        };
        let digest = |letter: char| format!("sha256:{}", letter.to_string().repeat(64));
        let listed = vec![
            image('a', Some("pulled"), true),
            // An index within an index, and the image that it lists.
            image('b', None, false),
            image('c', None, false),
            // A signature of that image.
            image('d', None, false),
            image('e', Some("runs"), false),
            image('f', None, false),
        ];
        let mut relations = Relations::default();
        relations.index(&digest('a'), [digest('b')]);
        relations.index(&digest('b'), [digest('c')]);
        relations.refer(&digest('d'), &digest('c'));
        let images = RepositoryImages::new(listed, &relations);
        let usage = Usage::parse_recorded(r#"["app:runs"]"#).unwrap();
        let used = usage.of_repository(&RepositoryName::default(), &images);
        let survey = Survey::of("app", &images, &used, 0, false, now);
        assert_eq!(survey.untagged.image_total_count, 1, "{survey:?}");
        assert_eq!(survey.never_pulled.image_total_count, 1, "{survey:?}");
        let survey = Survey::of("app", &images, &UsedImages::default(), 0, false, now);
        assert_eq!(survey.never_pulled.image_total_count, 2, "{survey:?}");
    }
}
