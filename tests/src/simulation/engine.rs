//! ECR's own engine: what a lifecycle policy takes from a repository, by the plain evaluator of the tests. It knows nothing of
//! use.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::{Value, json};
use shared::domain::image::{Image, ImageStatus, ManifestKind, Relations};
use shared::domain::lifecycle::{Action, LifecyclePolicy};
use shared::domain::text::instant::Instant;
use tests::ecr_stub::{self, Repository};
use tests::reference::{Acted, evaluate};

use super::product;

/// The default policy of repositories that this project makes.
pub(super) const DEFAULT: &str = "{selection: untagged, maximumNumberOfImages: 1}";
/// How the tags begin that the protection rule is about.
pub(super) const IN_USE: &str = "ecr-steward-in-use-";

/// A policy in the simple model as ECR has it.
pub(super) fn bare(rules: &str) -> String {
    product::policy(&format!("rules: [{rules}]")).expect("the world's rules are valid").to_json()
}

/// The same behind the protection rule, as somebody writes it who has read how.
pub(super) fn guarded(rules: &str) -> String {
    let mut policy: Value = serde_json::from_str(&bare(rules)).expect("a policy is JSON");
    let rules = policy["rules"].as_array_mut().expect("a policy has rules");
    for rule in rules.iter_mut() {
        rule["rulePriority"] = (rule["rulePriority"].as_u64().unwrap_or_default() * 10 + 90).into();
    }
    let guard = json!({ "rulePriority": 10, "description": "in use", "selection": { "tagStatus": "tagged",
        "tagPrefixList": [IN_USE], "countType": "imageCountMoreThan", "countNumber": 1_000_000 },
        "action": { "type": "expire" } });
    rules.insert(0, guard);
    policy.to_string()
}

/// Whether a rule, as ECR has it, is about protection tags alone and never acts.
fn is_guard(rule: &Value) -> bool {
    let selection = &rule["selection"];
    let is_about = selection["tagPrefixList"] == json!([IN_USE]);
    let number = selection["countNumber"].as_u64().unwrap_or_default();
    is_about
        && match selection["countType"].as_str() {
            Some("imageCountMoreThan") => number > 100_000,
            Some("sinceImageTransitioned") => number >= 36_500,
            _ => false,
        }
}

fn rules_of(text: &str) -> Vec<Value> {
    let policy: Value = serde_json::from_str(text).unwrap_or_default();
    let mut rules = policy["rules"].as_array().cloned().unwrap_or_default();
    rules.sort_by_key(|rule| rule["rulePriority"].as_u64());
    rules
}

/// Whether the first rule of a policy is the protection rule.
pub(super) fn is_guarded(text: &str) -> bool {
    rules_of(text).first().is_some_and(is_guard)
}

/// Whether a policy takes nothing.
pub(super) fn takes_nothing(text: &str) -> bool {
    rules_of(text).iter().all(is_guard)
}

/// What is left of a policy without the protection rule.
pub(super) fn unguarded(text: &str) -> Option<LifecyclePolicy> {
    let rules: Vec<Value> = rules_of(text).into_iter().filter(|rule| !is_guard(rule)).collect();
    product::attached(&json!({ "rules": rules }).to_string())
}

/// The digests in an image index.
pub(super) fn children(image: &ecr_stub::Image) -> Vec<String> {
    if !image.media_type.contains("index") {
        return Vec::new();
    }
    let read: Value = serde_json::from_str(&image.manifest).expect("the world's manifests are JSON");
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

/// Whether it is deleted, and does not only move to the archive.
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
