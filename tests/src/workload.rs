//! Repositories and policies of a given size, for benchmarks: always the same ones.

use std::fmt::Write as _;

use shared::domain::image::{Image, ImageStatus, ManifestKind};
use shared::domain::lifecycle::LifecyclePolicy;
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
