//! The content of the registry, which tests look into and change.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{KEY, MANAGED_KEY, now};

/// The registry: look into it and change it with [`EcrStub::with`](crate::ecr_stub::EcrStub::with).
#[derive(Debug)]
pub struct Registry {
    /// Repositories by name.
    pub repositories: BTreeMap<String, Repository>,
    /// The KMS keys that exist.
    pub keys: BTreeSet<String>,
    /// The blobs of repositories that were deleted, by their names: another one of that name does not have them.
    pub deleted_blobs: BTreeMap<String, BTreeSet<String>>,
    /// The account's quota of repositories.
    pub quota: usize,
    /// Whether reading a manifest does not count as a pull, since the reader is registered as excluded.
    pub is_pull_excluded: bool,
    /// The access key and the Region that the last request was signed with.
    pub signed_by: Option<String>,
}

impl Default for Registry {
    fn default() -> Self {
        let keys = [KEY, MANAGED_KEY].map(str::to_owned).into();
        Self {
            repositories: BTreeMap::new(),
            deleted_blobs: BTreeMap::new(),
            keys,
            quota: 100_000,
            is_pull_excluded: true,
            signed_by: None,
        }
    }
}

/// A repository.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Repository {
    /// The answer of `DescribeRepositories`.
    pub described: Value,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its lifecycle policy.
    pub lifecycle_policy: Option<String>,
    /// Its repository policy.
    pub policy: Option<String>,
    /// Its images.
    pub images: Vec<Image>,
    /// The digests of blobs that ECR has garbage-collected.
    pub collected: BTreeSet<String>,
}

/// An image.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// Its digest.
    pub digest: String,
    /// Its manifest.
    pub manifest: String,
    /// Its media type.
    pub media_type: &'static str,
    /// Its tags.
    pub tags: BTreeSet<String>,
    /// The push time, in seconds since 1970.
    pub pushed_at: f64,
    /// Whether it is archived, so that lists omit it by default.
    pub archived: bool,
    /// The time of the last pull.
    pub last_pulled_at: Option<f64>,
    /// The time of the last archival.
    pub last_archived_at: Option<f64>,
    /// The digest of its subject.
    pub subject: Option<String>,
    /// Its size in bytes.
    pub size: u64,
}

impl Repository {
    /// Adds an image; the same content is the same digest.
    pub fn push(&mut self, content: &str, tags: &[&str]) -> String {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "digest": digest(content), "size": 1, "mediaType": "application/vnd.oci.image.config.v1+json" },
            "layers": [],
        });
        self.add(manifest.to_string(), "application/vnd.oci.image.manifest.v1+json", tags)
    }

    /// Adds an image of layers, each with its size; it is as large as they are together.
    pub fn push_layers(&mut self, layers: &[(&str, u64)], tags: &[&str]) -> String {
        let blobs: Vec<Value> = layers
            .iter()
            .map(|(content, size)| {
                json!({ "digest": digest(content), "size": size, "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip" })
            })
            .collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "digest": digest(&tags.join(" ")), "size": 1, "mediaType": "application/vnd.oci.image.config.v1+json" },
            "layers": blobs,
        });
        let digest = self.add(manifest.to_string(), "application/vnd.oci.image.manifest.v1+json", tags);
        self.image_mut(&digest).size = 1 + layers.iter().map(|(_, size)| size).sum::<u64>();
        digest
    }

    /// Adds an index of images.
    pub fn push_index(&mut self, children: &[&str], tags: &[&str]) -> String {
        const INDEX: &str = "application/vnd.oci.image.index.v1+json";
        let entries: Vec<Value> = children
            .iter()
            .map(|child| json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": child, "size": 1 }))
            .collect();
        let manifest = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
        self.add(manifest.to_string(), INDEX, tags)
    }

    /// Adds an image index whose manifest has its children twice: first none, then these.
    pub fn push_index_with_a_key_twice(&mut self, children: &[&str], tags: &[&str]) -> String {
        const INDEX: &str = "application/vnd.oci.image.index.v1+json";
        let entries: Vec<Value> =
            children.iter().map(|child| json!({ "digest": child, "size": 1 })).collect();
        let entries = Value::Array(entries);
        let manifest =
            format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[],"manifests":{entries}}}"#);
        self.add(manifest, INDEX, tags)
    }

    /// Adds an artifact about another image, as a signature.
    pub fn push_referrer(&mut self, content: &str, subject: &str) -> String {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.dev.cosign.artifact.sig.v1+json",
            "config": { "digest": digest(content), "size": 1, "mediaType": "application/vnd.oci.empty.v1+json" },
            "layers": [], "subject": { "digest": subject, "size": 1,
                "mediaType": "application/vnd.oci.image.manifest.v1+json" },
        });
        let digest = self.add(manifest.to_string(), "application/vnd.oci.image.manifest.v1+json", &[]);
        self.image_mut(&digest).subject = Some(subject.to_owned());
        digest
    }

    /// Has ECR delete the blobs of a manifest, as it may once nothing refers to them.
    pub fn collect(&mut self, manifest: &str) {
        self.collected.extend(blobs(manifest));
    }

    /// An image, to be changed.
    ///
    /// # Panics
    ///
    /// When there is none of this digest.
    pub fn image_mut(&mut self, digest: &str) -> &mut Image {
        self.images.iter_mut().find(|image| image.digest == digest).unwrap()
    }

    /// Makes an image `days` days old.
    pub fn age(&mut self, digest: &str, days: f64) {
        self.image_mut(digest).pushed_at = now() - days * 86_400.0;
    }

    pub(super) fn add(&mut self, manifest: String, media_type: &'static str, tags: &[&str]) -> String {
        let digest = digest(&manifest);
        for image in self.images.iter_mut().filter(|image| !image.tags.is_empty()) {
            for tag in tags {
                image.tags.remove(*tag);
            }
        }
        // Whoever pushes an image pushes what is missing of it.
        for blob in blobs(&manifest) {
            self.collected.remove(&blob);
        }
        let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
        if let Some(known) = self.images.iter().position(|image| image.digest == digest) {
            self.images.remove(known);
        }
        self.images.push(Image {
            digest: digest.clone(),
            manifest,
            media_type,
            size: manifest_size(&digest),
            tags,
            pushed_at: now(),
            archived: false,
            last_pulled_at: None,
            last_archived_at: None,
            subject: None,
        });
        digest
    }
}

/// The digests of the configuration and the layers of a manifest.
pub(super) fn blobs(manifest: &str) -> Vec<String> {
    let read: Value = serde_json::from_str(manifest).unwrap_or_default();
    let blobs = read["layers"].as_array().into_iter().flatten().chain([&read["config"]]);
    blobs.filter_map(|blob| blob["digest"].as_str()).map(str::to_owned).collect()
}

/// Sizes that differ from image to image, the same for the same image.
pub(super) fn manifest_size(digest: &str) -> u64 {
    10_000_000 + u64::from_str_radix(&digest[7..13], 16).unwrap_or_default()
}

pub(super) fn digest(content: &str) -> String {
    let hex: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
