//! Load tests: rate limits as AWS has them, and registries of any size that are generated when they are requested.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};

use super::ACCOUNT;
use super::operations::arn;
use super::registry::Repository;

/// A bucket of tokens for each operation, as AWS counts calls.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) per_second: f64,
    pub(super) burst: f64,
    /// The content of the rate limit's buckets, and the times of their last refill.
    pub(super) left: BTreeMap<String, (f64, Instant)>,
    pub(super) throttled: usize,
}

impl Limit {
    pub(super) fn takes_one_more(&mut self, operation: &str) -> bool {
        let now = Instant::now();
        let (left, at) = self.left.entry(operation.to_owned()).or_insert((self.burst, now));
        let earned = now.duration_since(*at).as_secs_f64() * self.per_second;
        (*left, *at) = ((*left + earned).min(self.burst), now);
        let has_one = *left >= 1.0;
        if has_one {
            *left -= 1.0;
        } else {
            self.throttled += 1;
        }
        has_one
    }
}

/// Repositories that are generated when they are requested.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fleet {
    pub(super) repositories: usize,
    pub(super) images: usize,
}

impl Fleet {
    fn name(number: usize) -> String {
        format!("fleet/{number:05}")
    }

    pub(super) fn described(number: usize) -> Value {
        let name = Self::name(number);
        json!({ "repositoryArn": arn(&name), "registryId": ACCOUNT, "repositoryName": name,
            "repositoryUri": format!("{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/{name}"), "createdAt": 1.0,
            "imageTagMutability": "MUTABLE" })
    }

    /// A repository by its name: of a hundred images eight are two releases for two platforms with their signatures, ten are
    /// untagged, and the others are builds.
    pub(super) fn repository(self, name: &str) -> Option<Repository> {
        let number: usize = name.strip_prefix("fleet/")?.parse().ok()?;
        if number >= self.repositories || Self::name(number) != name {
            return None;
        }
        let mut repository = Repository { described: Self::described(number), ..Repository::default() };
        let day = |image: usize| (self.images - image) as f64 + 0.5;
        let mut image = 0;
        for release in 0..self.images / 50 {
            let children = ["amd64", "arm64"]
                .map(|platform| repository.push(&format!("{name} release {release} {platform}"), &[]));
            let tag = format!("v{release}");
            let index = repository.push_index(&children.each_ref().map(String::as_str), &[&tag]);
            let signature = repository.push_referrer(&format!("{name} signature {release}"), &index);
            for digest in children.iter().chain([&index, &signature]) {
                repository.age(digest, day(image));
                image += 1;
            }
        }
        while image < self.images {
            let tag = format!("ci-{image:04}");
            let tags: &[&str] = if image % 10 == 9 { &[] } else { &[&tag] };
            let digest = repository.push(&format!("{name} {image}"), tags);
            repository.age(&digest, day(image));
            image += 1;
        }
        Some(repository)
    }
}
