//! ECR's own lifecycle engine: it executes the policy of a repository, and does not know use. It uses the plain evaluator of
//! [`crate::reference`], which shares no code with the tested one.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;
use shared::domain::image::{Image, ImageStatus, ManifestKind, Relations};
use shared::domain::lifecycle::LifecyclePolicy;
use shared::domain::text::instant::Instant;

use crate::ecr_stub::{self, EcrStub};
use crate::reference::evaluate;

/// The digests of the images that ECR would expire in a repository now, with ranked or with following referrers; empty without an
/// attached policy.
///
/// # Panics
///
/// If there is no such repository, or its policy is invalid.
pub fn takes(aws: &EcrStub, repository: &str) -> BTreeSet<String> {
    let (policy, images) = aws.with(|registry| {
        let repository = &registry.repositories[repository];
        (repository.lifecycle_policy.clone(), repository.images.clone())
    });
    let Some(policy) = policy else { return BTreeSet::new() };
    let policy = LifecyclePolicy::parse(&policy).unwrap();
    let mut relations = Relations::default();
    for image in &images {
        if image.media_type.contains("index") {
            let manifest: Value = serde_json::from_str(&image.manifest).unwrap();
            let children = manifest["manifests"].as_array().unwrap().iter();
            let children = children.map(|child| child["digest"].as_str().unwrap().to_owned());
            relations.index(&image.digest, children.collect::<Vec<_>>());
        }
        if let Some(subject) = &image.subject {
            relations.refer(&image.digest, subject);
        }
    }
    let images: Vec<Image> = images.iter().map(described).collect();
    let none = HashSet::new();
    let both = [false, true].map(|ranked| {
        evaluate(&policy, &images, &relations, &none, Instant::now(), true, ranked)
            .into_keys()
            .collect::<BTreeSet<_>>()
    });
    both.into_iter().flatten().collect()
}

/// Expires images as ECR would, and returns their digests.
pub fn act(aws: &EcrStub, repository: &str) -> BTreeSet<String> {
    let taken = takes(aws, repository);
    aws.with(|registry| {
        let images: &mut Vec<ecr_stub::Image> =
            &mut registry.repositories.get_mut(repository).unwrap().images;
        images.retain(|image| !taken.contains(&image.digest));
    });
    taken
}

#[expect(clippy::cast_possible_truncation, reason = "microseconds of this century")]
fn described(image: &ecr_stub::Image) -> Image {
    let at = |seconds: f64| Instant::from_micros((seconds * 1e6) as i64).unwrap();
    Image {
        digest: image.digest.as_str().into(),
        tags: image.tags.iter().map(|tag| tag.as_str().into()).collect(),
        pushed_at: at(image.pushed_at),
        last_pulled_at: image.last_pulled_at.map(at),
        last_archived_at: image.last_archived_at.map(at),
        last_activated_at: None,
        size_in_bytes: image.size,
        status: if image.archived { ImageStatus::Archived } else { ImageStatus::Active },
        kind: ManifestKind::of_media_type(image.media_type),
    }
}
