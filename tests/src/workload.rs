//! Repositories and policies of a given size, for benchmarks: always the same ones.

use std::collections::HashSet;
use std::fmt::Write as _;

use shared::domain::enforcement::outcome::{ImageOutcome, ImageResult, Outcome};
use shared::domain::enforcement::policy_set::Apply;
use shared::domain::image::{Image, ImageStatus, ManifestKind, Relations, RepositoryImages};
use shared::domain::lifecycle::explain::Explainer;
use shared::domain::lifecycle::{LifecyclePolicy, Passes, evaluate};
use shared::domain::preview::model::{ActionKind, ActionTaken};
use shared::domain::text::instant::Instant;

/// The time at which workloads are evaluated.
pub const NOW: &str = "2026-11-23T00:00:00Z";

/// A small generator of numbers that look random and are the same on every machine (splitmix64).
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    /// A sequence of its own for each seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Images of a busy repository in the order ECR lists them, which is none: a fifth untagged, most with one tag, some
/// with two, pushed at any second of two years.
#[must_use]
pub fn images(count: usize) -> Vec<Image> {
    let mut numbers = Numbers::new(count as u64);
    let now = Instant::parse(NOW).unwrap().micros();
    (0..count)
        .map(|_| {
            let mut digest = String::with_capacity(71);
            digest.push_str("sha256:");
            for _ in 0..4 {
                let _ = write!(digest, "{:016x}", numbers.next());
            }
            let tags = match numbers.below(10) {
                0 | 1 => 0,
                2 => 2,
                _ => 1,
            };
            let age = i64::try_from(numbers.below(2 * 365 * 86_400)).unwrap();
            let pushed_at = Instant::from_micros(now - age * 1_000_000).unwrap();
            Image {
                digest: digest.into(),
                tags: (0..tags).map(|_| tag(&mut numbers).into()).collect(),
                pushed_at,
                last_pulled_at: (numbers.below(2) == 0).then_some(pushed_at),
                last_archived_at: None,
                last_activated_at: None,
                size_in_bytes: 50_000_000 + numbers.below(200_000_000),
                status: ImageStatus::Active,
                kind: ManifestKind::Manifest,
            }
        })
        .collect()
}

const STREAMS: [&str; 12] =
    ["ci", "main", "v1", "v2", "rc", "prod", "staging", "dev", "nightly", "feature", "hotfix", "pr"];

fn tag(numbers: &mut Numbers) -> String {
    let stream = STREAMS[usize::try_from(numbers.below(12)).unwrap()];
    format!("{stream}-{}-{:07x}", numbers.below(64), numbers.below(1 << 28))
}

/// A policy of `count` rules (1 to 50): an `any` rule last, an `untagged` rule if there is room, and otherwise rules
/// about tags, every fifth of them with a pattern, counting and ageing in turns.
///
/// # Panics
///
/// When `count` is not a number of rules that ECR accepts.
#[must_use]
pub fn policy(count: usize) -> LifecyclePolicy {
    let rules: Vec<String> = (1..=count)
        .map(|priority| {
            let tags = if priority == count {
                r#""tagStatus": "any""#.to_owned()
            } else if priority == 1 {
                r#""tagStatus": "untagged""#.to_owned()
            } else if priority % 5 == 0 {
                format!(r#""tagStatus": "tagged", "tagPatternList": ["{}-*-{:x}*"]"#, STREAMS[priority % 12], priority % 16)
            } else {
                format!(r#""tagStatus": "tagged", "tagPrefixList": ["{}-{}"]"#, STREAMS[priority % 12], priority)
            };
            let limit = if priority % 2 == 0 {
                r#""countType": "imageCountMoreThan", "countNumber": 100"#
            } else {
                r#""countType": "sinceImagePushed", "countUnit": "days", "countNumber": 90"#
            };
            format!(r#"{{"rulePriority": {priority}, "selection": {{{tags}, {limit}}}, "action": {{"type": "expire"}}}}"#)
        })
        .collect();
    LifecyclePolicy::parse(&format!(r#"{{"rules": [{}]}}"#, rules.join(", "))).unwrap()
}

/// One page of `DescribeImages` with `count` images, as the AWS CLI (version 2) prints it.
#[must_use]
pub fn page(count: usize) -> String {
    let details: Vec<serde_json::Value> = images(count)
        .into_iter()
        .map(|image| {
            let mut detail = serde_json::json!({
                "registryId": "123456789012",
                "repositoryName": "team/app",
                "imageDigest": &*image.digest,
                "imageSizeInBytes": image.size_in_bytes,
                "imagePushedAt": image.pushed_at.to_string().replace('Z', "+00:00"),
                "imageManifestMediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "artifactMediaType": "application/vnd.docker.container.image.v1+json",
                "imageStatus": "ACTIVE",
            });
            if !image.tags.is_empty() {
                let tags: Vec<&str> = image.tags.iter().map(AsRef::as_ref).collect();
                detail["imageTags"] = tags.into();
            }
            if let Some(pulled) = image.last_pulled_at {
                detail["lastRecordedPullTime"] = pulled.to_string().replace('Z', "+00:00").into();
            }
            detail
        })
        .collect();
    serde_json::to_string_pretty(&serde_json::json!({ "imageDetails": details })).unwrap()
}

/// What differs between the images of a repository, in [`outcomes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builds {
    /// Each image has one tag with the number of its build, and is at most two megabytes larger than the smallest.
    Numbered,
    /// Images are tagged and as large as those of [`images`].
    Random,
}

/// Days within which images of [`outcomes`] were pushed.
const PUSHED_WITHIN: u64 = 196;
/// Images that are older expire.
const KEPT_DAYS: u64 = 90;
/// Images of each repository of [`outcomes`].
const IMAGES: u64 = 100;
/// Bytes by which images of numbered builds differ at most.
const BUILDS_DIFFER: u64 = 1 << 21;

/// The outcomes of a batch of a hundred repositories: of a hundred images of each about 54 are planned to be deleted. Digests are
/// distinct and random, times are any second of half a year.
#[must_use]
pub fn outcomes(builds: Builds) -> Vec<Outcome> {
    let now = Instant::parse(NOW).unwrap();
    let policy = LifecyclePolicy::parse(&format!(
        r#"{{"rules": [{{"rulePriority": 1, "selection": {{"tagStatus": "any", "countType": "sinceImagePushed",
        "countUnit": "days", "countNumber": {KEPT_DAYS}}}, "action": {{"type": "expire"}}}}]}}"#
    ))
    .unwrap();
    let mut numbers = Numbers::new(7);
    (0..100).map(|repository| outcome(repository, builds, &policy, now, &mut numbers)).collect()
}

fn outcome(
    repository: usize,
    builds: Builds,
    policy: &LifecyclePolicy,
    now: Instant,
    numbers: &mut Numbers,
) -> Outcome {
    let least = 50_000_000 + numbers.below(200_000_000);
    let mut ages: Vec<u64> = (0..IMAGES).map(|_| numbers.below(PUSHED_WITHIN * 86_400)).collect();
    // As a plan has them: the oldest first.
    ages.sort_unstable_by(|one, two| two.cmp(one));
    let images = (1000..).zip(ages).map(|(build, age)| {
        let digest: String = (0..4).map(|_| format!("{:016x}", numbers.next())).collect();
        let tags = match builds {
            Builds::Numbered => vec![format!("build-{build}")],
            Builds::Random => {
                let count = match numbers.below(10) {
                    0 | 1 => 0,
                    2 => 2,
                    _ => 1,
                };
                (0..count).map(|_| tag(numbers)).collect()
            }
        };
        Image {
            digest: format!("sha256:{digest}").into(),
            tags: tags.into_iter().map(Into::into).collect(),
            pushed_at: Instant::from_micros(now.micros() - i64::try_from(age).unwrap() * 1_000_000).unwrap(),
            last_pulled_at: None,
            last_archived_at: None,
            last_activated_at: None,
            size_in_bytes: match builds {
                Builds::Numbered => least + numbers.below(BUILDS_DIFFER),
                Builds::Random => 50_000_000 + numbers.below(200_000_000),
            },
            status: ImageStatus::Active,
            kind: ManifestKind::Manifest,
        }
    });
    let images = RepositoryImages::new(images.collect(), &Relations::default());
    let evaluation = evaluate(Some(policy), &images, &HashSet::new(), now, Passes::One);
    let explainer = Explainer { policy: Some(policy), images: &images, evaluation: &evaluation, now };
    let mut outcome = Outcome {
        repository_name: format!("fleet/{repository:05}"),
        policy: Some("all".to_owned()),
        apply: Some(Apply::Preview),
        counted_images: IMAGES,
        ..Outcome::default()
    };
    for ((place, image), verdict) in (0..).zip(images.images()).zip(evaluation.verdicts()) {
        outcome.images.add(image);
        if verdict.acting_rule().is_some() {
            outcome.expiring.add(image);
            outcome.record(ImageOutcome {
                image_digest: image.digest.to_string(),
                image_tags: image.tags.iter().map(ToString::to_string).collect(),
                image_pushed_at: image.pushed_at,
                image_size_in_bytes: image.size_in_bytes,
                action: ActionTaken { kind: ActionKind::Expire, target_storage_class: None },
                applied_rule_priority: 1,
                reason: explainer.reason(place, None),
                outcome: ImageResult::Planned,
                detail: None,
            });
        }
    }
    outcome
}

/// The bytes that a planned image of [`outcomes`] takes at least, whoever writes it: what is random about it. Its time is known to be
/// that of one of some in a row.
#[must_use]
pub fn least_bytes(builds: Builds, planned: u32) -> f64 {
    let seconds = ((PUSHED_WITHIN - KEPT_DAYS) * 86_400) as f64;
    let order: f64 = (1..=planned).map(|number| f64::from(number).log2()).sum::<f64>() / f64::from(planned);
    let entropy = |parts: &[f64]| -> f64 { parts.iter().map(|part| -part * part.log2()).sum() };
    let tag = (STREAMS.len() as f64).log2() + 6.0 + 28.0;
    let (size, tags) = match builds {
        Builds::Numbered => ((BUILDS_DIFFER as f64).log2(), 0.0),
        Builds::Random => (200_000_000_f64.log2(), entropy(&[0.2, 0.7, 0.1]) + 0.9 * tag),
    };
    (256.0 + seconds.log2() - order + size + tags) / 8.0
}
