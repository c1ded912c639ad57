//! Load tests: rate limits as AWS has them, and registries of any size that are generated when they are requested.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::{Request, Response};
use crate::workload::Numbers;

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
    /// The time from which ages are counted, so that an image is as old whenever it is asked for.
    pub(super) at: f64,
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
        // No call is of another time than the one before.
        let since = super::now() - self.at;
        repository.images.iter_mut().for_each(|image| image.pushed_at = (image.pushed_at - since).round());
        Some(repository)
    }
}

/// A registry of any size that is only listed: its pages are written when they are asked for, at little cost, and nothing of it is in
/// memory. What else is asked about a repository is answered as for one without images.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Listing {
    pub(super) repositories: usize,
    pub(super) images: usize,
    /// How long each answer takes.
    pub(super) pause: Duration,
}

impl Listing {
    /// The name of the operation, if it lists repositories or the images of one.
    pub(super) fn operation(request: &Request) -> Option<&'static str> {
        let target = request.header("x-amz-target")?;
        let lists = ["DescribeRepositories", "DescribeImages"];
        lists.into_iter().find(|operation| target.ends_with(&format!(".{operation}")))
    }

    /// A page; `None` for what is not listed here, such as repositories by name.
    pub(super) fn page(self, operation: &str, request: &Request) -> Option<Response> {
        let asked: Value = serde_json::from_slice(&request.body).ok()?;
        if !asked["repositoryNames"].is_null() || !asked["imageIds"].is_null() {
            return None;
        }
        let size = asked["maxResults"].as_u64().unwrap_or(100) as usize;
        let start: usize = asked["nextToken"].as_str().map_or(0, |token| token.parse().unwrap());
        let (all, list) = match operation {
            "DescribeRepositories" => (self.repositories, "repositories"),
            _ => (self.images, "imageDetails"),
        };
        let end = all.min(start + size);
        let mut body = format!("{{\"{list}\":[");
        for number in start..end {
            if number > start {
                body.push(',');
            }
            match operation {
                "DescribeRepositories" => body += &Fleet::described(number).to_string(),
                _ => describe_image(&mut body, asked["repositoryName"].as_str()?, number),
            }
        }
        body.push(']');
        if end < all {
            let _ = write!(body, ",\"nextToken\":\"{end}\"");
        }
        body.push('}');
        let kind = ("Content-Type".to_owned(), "application/x-amz-json-1.1".to_owned());
        Some(Response { status: 200, headers: vec![kind], body: body.into_bytes() })
    }
}

/// Writes an image as `DescribeImages` does: of any age up to two years, a fifth untagged, the others with the number of a build.
fn describe_image(body: &mut String, repository: &str, number: usize) {
    let seed =
        repository.bytes().fold(number as u64, |seed, byte| seed.wrapping_mul(131).wrapping_add(byte.into()));
    let mut numbers = Numbers::new(seed);
    let mut digest = String::with_capacity(64);
    for _ in 0..4 {
        let _ = write!(digest, "{:016x}", numbers.next());
    }
    let tags =
        if numbers.below(5) == 0 { String::new() } else { format!("\"imageTags\":[\"build-{number}\"],") };
    let pushed_at = super::now() as u64 - numbers.below(2 * 365 * 86_400);
    let _ = write!(
        body,
        "{{\"registryId\":\"{ACCOUNT}\",\"repositoryName\":\"{repository}\",\"imageDigest\":\"sha256:{digest}\",{tags}\
         \"imageSizeInBytes\":{},\"imagePushedAt\":{pushed_at}.0,\"lastRecordedPullTime\":{pushed_at}.25,\"imageStatus\":\"ACTIVE\",\
         \"imageManifestMediaType\":\"application/vnd.oci.image.manifest.v1+json\",\
         \"artifactMediaType\":\"application/vnd.oci.image.config.v1+json\"}}",
        50_000_000 + numbers.below(1 << 27)
    );
}
