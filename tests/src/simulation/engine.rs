//! ECR's own engine: what a lifecycle policy takes from a repository, by the plain evaluator of the tests. It knows nothing of
//! use.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use shared::image::{Image, ImageStatus, ManifestKind, Relations};
use shared::instant::Instant;
use shared::lifecycle::{Action, LifecyclePolicy};
use tests::ecr_stub::{self, Repository};
use tests::reference::{Acted, evaluate};

/// The digests in a manifest list.
pub(super) fn children(image: &ecr_stub::Image) -> Vec<String> {
    if !image.media_type.contains("index") {
        return Vec::new();
    }
    let read: serde_json::Value =
        serde_json::from_str(&image.manifest).expect("the world's manifests are JSON");
    let all = read["manifests"].as_array().into_iter().flatten();
    all.filter_map(|child| Some(child["digest"].as_str()?.to_owned())).collect()
}

/// What a policy takes from a repository now, by digest; only tags that `is_seen` count. Artifacts about other images are
/// `ranked` like those, or only follow them: AWS does not say.
pub(super) fn taken(
    policy: &LifecyclePolicy,
    repository: &Repository,
    now: i64,
    ranked: bool,
    is_seen: impl Fn(&str) -> bool,
) -> BTreeMap<String, Acted> {
    taken_but(&BTreeSet::new(), policy, repository, now, ranked, is_seen)
}

/// The same where some images stay.
pub(super) fn taken_but(
    staying: &BTreeSet<String>,
    policy: &LifecyclePolicy,
    repository: &Repository,
    now: i64,
    ranked: bool,
    is_seen: impl Fn(&str) -> bool,
) -> BTreeMap<String, Acted> {
    let mut relations = Relations::default();
    let mut images = Vec::with_capacity(repository.images.len());
    for image in &repository.images {
        let listed = children(image);
        if image.media_type.contains("index") {
            relations.index(&image.digest, listed.iter().map(String::as_str));
        }
        if let Some(subject) = &image.subject {
            relations.refer(&image.digest, subject);
        }
        images.push(seen(image, &is_seen));
    }
    let now = instant(now);
    let staying: HashSet<&str> = staying.iter().map(String::as_str).collect();
    evaluate(policy, &images, &relations, &staying, now, true, ranked)
}

/// Whether it goes, and does not only move to the archive.
pub(super) fn goes(acted: &Acted) -> bool {
    acted.action == Action::Expire
}

fn seen(image: &ecr_stub::Image, is_seen: &impl Fn(&str) -> bool) -> Image {
    let time = |seconds: f64| {
        #[expect(clippy::cast_possible_truncation, reason = "a time of this century")]
        instant((seconds * 1e6).round() as i64)
    };
    Image {
        digest: image.digest.as_str().into(),
        tags: image.tags.iter().filter(|tag| is_seen(tag)).map(|tag| tag.as_str().into()).collect(),
        pushed_at: time(image.pushed_at),
        last_pulled_at: image.last_pulled_at.map(time),
        last_archived_at: image.last_archived_at.map(time),
        last_activated_at: None,
        size_in_bytes: image.size,
        status: if image.archived { ImageStatus::Archived } else { ImageStatus::Active },
        kind: ManifestKind::of_media_type(image.media_type),
    }
}

fn instant(micros: i64) -> Instant {
    Instant::from_micros(micros).expect("a time of this century")
}

/// What a policy takes in either reading.
pub(super) fn taken_at_all(
    policy: &LifecyclePolicy,
    repository: &Repository,
    now: i64,
    is_seen: impl Fn(&str) -> bool + Copy,
) -> BTreeMap<String, Acted> {
    let mut all = taken(policy, repository, now, false, is_seen);
    all.extend(taken(policy, repository, now, true, is_seen));
    all
}
