//! The repository of the fixtures: a web shop's image, as two years of builds and releases leave it behind.
//!
//! Everything is made up and always the same, and consistent like the real thing: digests are those of the manifests,
//! a tag names one image, children are pushed before their index, signatures after what they sign.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::domain::text::instant::Instant;

use crate::workload::Numbers;

const REGISTRY: &str = "123456789012";
/// The repository's name.
pub const REPOSITORY: &str = "storefront/web";
/// The time for which the fixtures are made.
pub const NOW: &str = "2026-11-23T00:00:00Z";

const DAY: i64 = 86_400;
const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const OCI_IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The AWS CLI's format of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Version 1: seconds since the epoch.
    Epoch,
    /// Version 2: ISO 8601.
    Iso,
}

/// One image of the repository.
#[derive(Debug, Clone)]
pub struct Pushed {
    manifest: String,
    media_type: &'static str,
    artifact_type: &'static str,
    size: u64,
    tags: Vec<String>,
    /// Seconds since the epoch.
    pushed: i64,
    pulled: Option<i64>,
    subject: Option<String>,
    status: &'static str,
    archived: Option<i64>,
    activated: Option<i64>,
}

/// `ImageDetail`, in the order in which the AWS CLI prints it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'a> {
    registry_id: &'a str,
    repository_name: &'a str,
    image_digest: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    image_tags: Vec<String>,
    image_size_in_bytes: u64,
    image_pushed_at: Value,
    image_manifest_media_type: &'a str,
    artifact_media_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_recorded_pull_time: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject_manifest_digest: Option<String>,
    image_status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_archived_at: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_activated_at: Option<Value>,
}

impl Pushed {
    /// The digest of the image's manifest.
    #[must_use]
    pub fn digest(&self) -> String {
        digest(&self.manifest)
    }

    /// The text of the image's manifest.
    #[must_use]
    pub fn manifest(&self) -> &str {
        &self.manifest
    }

    /// Whether the image is an image index.
    #[must_use]
    pub fn is_index(&self) -> bool {
        self.media_type == OCI_INDEX
    }

    fn detail(&self, repository: &'static str, times: Times) -> Detail<'static> {
        // Microseconds, as far from round as real ones, and the same in both spellings.
        let time = |seconds: i64| {
            let micros = seconds * 1_000_000 + seconds.rem_euclid(1_000) * 1_000;
            match times {
                Times::Epoch => json!(micros as f64 / 1e6),
                Times::Iso => {
                    let text = Instant::from_micros(micros).unwrap().to_string();
                    let (whole, fraction) = match text.trim_end_matches('Z').split_once('.') {
                        Some((whole, fraction)) => (whole.to_owned(), format!(".{fraction:0<6}")),
                        None => (text.trim_end_matches('Z').to_owned(), String::new()),
                    };
                    json!(format!("{whole}{fraction}+00:00"))
                }
            }
        };
        Detail {
            registry_id: REGISTRY,
            repository_name: repository,
            image_digest: self.digest(),
            image_tags: self.tags.clone(),
            image_size_in_bytes: self.size,
            image_pushed_at: time(self.pushed),
            image_manifest_media_type: self.media_type,
            artifact_media_type: self.artifact_type,
            last_recorded_pull_time: self.pulled.map(time),
            subject_manifest_digest: self.subject.clone(),
            image_status: self.status,
            last_archived_at: self.archived.map(time),
            last_activated_at: self.activated.map(time),
        }
    }
}

/// The digest of a manifest.
#[must_use]
pub fn digest(manifest: &str) -> String {
    Sha256::digest(manifest).iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Makes the images in the order of their pushes.
struct Story {
    numbers: Numbers,
    images: Vec<Pushed>,
    now: i64,
    builds: u32,
}

impl Story {
    /// The time `days` days before the end, at some hour of a working day.
    fn days_ago(&mut self, days: i64) -> i64 {
        self.now - days * DAY + 8 * 3600 + self.numbers.below(9 * 3600) as i64 - DAY
    }

    fn hex(&mut self, length: usize) -> String {
        format!("{:016x}{:016x}", self.numbers.next(), self.numbers.next())[..length].to_owned()
    }

    fn blob(&mut self, media_type: &str, size: u64) -> Value {
        let content = self.hex(32);
        json!({ "mediaType": media_type, "digest": digest(&content), "size": size })
    }

    fn push(
        &mut self,
        manifest: &Value,
        media_type: &'static str,
        artifact_type: &'static str,
        size: u64,
        at: i64,
    ) -> usize {
        self.images.push(Pushed {
            manifest: manifest.to_string(),
            media_type,
            artifact_type,
            size,
            tags: Vec::new(),
            pushed: at,
            pulled: None,
            subject: None,
            status: "ACTIVE",
            archived: None,
            activated: None,
        });
        self.images.len() - 1
    }

    fn tag(&mut self, image: usize, tag: impl Into<String>) {
        let tag = tag.into();
        for other in &mut self.images {
            other.tags.retain(|known| *known != tag);
        }
        self.images[image].tags.push(tag);
    }

    /// An image of one platform; it grows a little with time.
    fn image(&mut self, media_type: &'static str, at: i64) -> usize {
        let (config_type, layer_type) = match media_type {
            DOCKER_IMAGE => (
                "application/vnd.docker.container.image.v1+json",
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
            ),
            _ => ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"),
        };
        let months = 24 - (self.now - at) / (30 * DAY);
        let application = 41_000_000 + months as u64 * 1_350_000 + self.numbers.below(900_000);
        let sizes = [29_136_940, 48_331_204 + months as u64 * 210_000, application];
        let layers: Vec<Value> = sizes.iter().map(|size| self.blob(layer_type, *size)).collect();
        let config = self.blob(config_type, 7_200 + self.numbers.clone().below(900));
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers });
        self.push(&manifest, media_type, config_type, sizes.iter().sum(), at)
    }

    /// Two platforms and their attestations under one index, as `docker buildx build --push` leaves them.
    fn multi_platform(&mut self, at: i64) -> usize {
        let mut descriptors = Vec::new();
        let mut attested = Vec::new();
        for architecture in ["amd64", "arm64"] {
            let image = self.image(OCI_IMAGE, at);
            let child = &self.images[image];
            descriptors.push(json!({
                "mediaType": OCI_IMAGE, "digest": child.digest(), "size": child.manifest.len(),
                "platform": { "architecture": architecture, "os": "linux" },
            }));
            attested.push(child.digest());
        }
        for subject in attested {
            let layer = self.blob("application/vnd.in-toto+json", 21_000);
            let config = self.blob("application/vnd.oci.image.config.v1+json", 167);
            let manifest =
                json!({ "schemaVersion": 2, "mediaType": OCI_IMAGE, "config": config, "layers": [layer] });
            let attestation =
                self.push(&manifest, OCI_IMAGE, "application/vnd.oci.image.config.v1+json", 21_167, at + 1);
            let child = &self.images[attestation];
            descriptors.push(json!({
                "mediaType": OCI_IMAGE, "digest": child.digest(), "size": child.manifest.len(),
                "annotations": {
                    "vnd.docker.reference.digest": subject,
                    "vnd.docker.reference.type": "attestation-manifest",
                },
                "platform": { "architecture": "unknown", "os": "unknown" },
            }));
        }
        let manifest = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors });
        // ECR reports the size of the largest child.
        let size = self.images.iter().rev().take(4).map(|child| child.size).max().unwrap_or_default();
        self.push(&manifest, OCI_INDEX, OCI_INDEX, size, at + 2)
    }

    /// An artifact about another image (OCI 1.1: a manifest with a `subject`).
    fn refer(&mut self, subject: usize, artifact_type: &'static str, size: u64, at: i64) -> usize {
        let layer = self.blob(artifact_type, size);
        let (target, length) = (self.images[subject].digest(), self.images[subject].manifest.len());
        let media_type = self.images[subject].media_type;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_IMAGE, "artifactType": artifact_type,
            "config": { "mediaType": "application/vnd.oci.empty.v1+json", "size": 2,
                "digest": digest("{}") },
            "layers": [layer],
            "subject": { "mediaType": media_type, "digest": target, "size": length },
        });
        let image = self.push(&manifest, OCI_IMAGE, artifact_type, size + 2, at);
        self.images[image].subject = Some(target);
        image
    }

    fn build(&mut self, at: i64) -> usize {
        let image = self.image(DOCKER_IMAGE, at);
        self.builds += 1 + self.numbers.below(2) as u32;
        let commit = self.hex(7);
        self.tag(image, format!("ci-{}-{commit}", self.builds));
        image
    }
}

const SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
const SBOM: &str = "application/spdx+json";

/// All images of the repository, in the order of their pushes.
#[must_use]
pub fn images() -> Vec<Pushed> {
    let now = Instant::parse(NOW).unwrap().micros() / 1_000_000;
    let mut story = Story { numbers: Numbers::new(2026), images: Vec::new(), now, builds: 1_204 };

    // The first releases were of one platform. Most went to the archive; one is on its way back, one is back.
    for (minor, age, archived) in [
        (0, 620, Some(410)),
        (1, 585, Some(410)),
        (2, 550, Some(190)),
        (3, 520, Some(190)),
        (4, 495, Some(190)),
    ] {
        let at = story.days_ago(age);
        let image = story.image(DOCKER_IMAGE, at);
        story.tag(image, format!("v1.{minor}.0"));
        let archived = archived.map(|days| story.days_ago(days));
        let activated = story.days_ago(27);
        let image = &mut story.images[image];
        image.pulled = Some(at + 40 * DAY);
        image.archived = archived;
        image.status = match minor {
            3 => "ACTIVATING",
            4 => "ACTIVE",
            _ => "ARCHIVED",
        };
        image.activated = (minor == 4).then_some(activated);
    }

    // Since 2.0 a release is an index for two platforms, signed, and since 2.4 with a bill of materials.
    let mut age = 400;
    for minor in 0..8 {
        for patch in 0..=(minor % 3 + 1) {
            let at = story.days_ago(age);
            let index = story.multi_platform(at);
            story.tag(index, format!("v2.{minor}.{patch}"));
            story.tag(index, format!("v2.{minor}"));
            story.tag(index, "latest");
            story.refer(index, SIGNATURE, 4_180, at + 20);
            if minor >= 4 {
                let sbom = story.refer(index, SBOM, 318_400, at + 30);
                if minor >= 6 {
                    story.refer(sbom, SIGNATURE, 4_180, at + 40);
                }
            }
            // A release is pulled until shortly after the next one.
            story.images[index].pulled = Some((at + 33 * DAY).min(now - 3 * 3600));
            age -= 17 + story.numbers.below(3) as i64;
        }
    }
    let newest = story.images.iter().rposition(Pushed::is_index).unwrap();
    story.tag(newest, "stable");

    for candidate in 1..=6 {
        let at = story.days_ago(40 - 6 * candidate);
        let index = story.multi_platform(at);
        story.tag(index, format!("v3.0.0-rc.{candidate}"));
        story.refer(index, SIGNATURE, 4_180, at + 20);
    }

    // Builds: few that old, many of the last weeks. Some lost their tag to a build of the same commit.
    let mut ages: Vec<i64> = (0..28).map(|week| 60 + week * 9).rev().collect();
    ages.extend((2..56).rev().flat_map(|day| std::iter::repeat_n(day, if day % 7 < 2 { 1 } else { 3 })));
    let mut staging = None;
    for (number, age) in ages.into_iter().enumerate() {
        let at = story.days_ago(age) + number as i64 % 3 * 60;
        let image = story.build(at);
        if age < 40 {
            story.images[image].pulled = Some(at + 1_800);
        }
        if age == 33 && number % 11 != 4 && number % 11 != 7 {
            staging = Some(image);
        }
        match number % 11 {
            4 => story.images[image].tags.clear(),
            7 if age < 50 => {
                let branch = 180 + number;
                story.images[image].tags.clear();
                story.tag(image, format!("pr-{branch}"));
            }
            _ => {}
        }
        story.tag(image, "main");
    }
    if let Some(image) = staging {
        story.tag(image, "staging");
        story.images[image].pulled = Some(now - 2 * DAY);
    }

    // Pushes that were never tagged: a pipeline that failed after its push.
    for number in 0..21 {
        let at = story.days_ago(5 + number * 13);
        story.image(DOCKER_IMAGE, at);
    }
    story.images.sort_by_key(|image| image.pushed);
    story.images
}

/// The output of `aws ecr describe-images`, followed by that of `aws ecr batch-get-image` for the image indexes: the file
/// `storefront/images.json`.
#[must_use]
pub fn listing() -> String {
    let images = listed(images());
    let details: Vec<Detail<'_>> = images.iter().map(|image| image.detail(REPOSITORY, Times::Iso)).collect();
    let manifests: Vec<Value> = images
        .iter()
        .filter(|image| image.is_index())
        .map(|image| {
            json!({
                "registryId": REGISTRY,
                "repositoryName": REPOSITORY,
                "imageId": { "imageDigest": image.digest() },
                "imageManifest": image.manifest,
                "imageManifestMediaType": image.media_type,
            })
        })
        .collect();
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        image_details: Vec<Detail<'a>>,
    }
    print(&Answer { image_details: details }) + &print(&json!({ "images": manifests, "failures": [] }))
}

/// ECR lists images in no order that means anything; by digest is one.
fn listed(mut images: Vec<Pushed>) -> Vec<Pushed> {
    images.sort_by_key(Pushed::digest);
    images
}

/// A few images of each kind.
fn few() -> Vec<Pushed> {
    let images = images();
    let mut few: Vec<Pushed> =
        images.iter().filter(|image| image.status != "ACTIVE").take(2).cloned().collect();
    few.extend(images.iter().filter(|image| image.media_type == DOCKER_IMAGE).skip(5).step_by(19).cloned());
    listed(few)
}

/// A few images as AWS CLI version 1 prints them: the file `listings/cli-v1.json`.
#[must_use]
pub fn cli_v1() -> String {
    let details: Vec<Value> =
        few().iter().map(|image| json!(image.detail(REPOSITORY, Times::Epoch))).collect();
    print(&json!({ "imageDetails": details }))
}

/// The same images as a bare array: the file `listings/array.json`.
#[must_use]
pub fn array() -> String {
    let details: Vec<Value> = few().iter().map(|image| json!(image.detail(REPOSITORY, Times::Iso))).collect();
    print(&details)
}

/// The same images on three pages, one after another: the file `listings/pages.json`.
#[must_use]
pub fn pages() -> String {
    let few = few();
    let pages: Vec<&[Pushed]> = few.chunks(few.len().div_ceil(3)).collect();
    let mut text = String::new();
    for (number, page) in pages.iter().enumerate() {
        let details: Vec<Value> =
            page.iter().map(|image| json!(image.detail(REPOSITORY, Times::Iso))).collect();
        let mut answer = json!({ "imageDetails": details });
        if number + 1 < pages.len() {
            answer["nextToken"] = format!("page-{}", number + 2).into();
        }
        text += &print(&answer);
    }
    text
}

/// Two repositories in one file, their images mixed: the file `listings/two-repositories.json`.
#[must_use]
pub fn two_repositories() -> String {
    let repositories = [REPOSITORY, "storefront/worker"];
    let details: Vec<Value> = few()
        .iter()
        .zip(repositories.iter().cycle())
        .map(|(image, repository)| json!(image.detail(repository, Times::Iso)))
        .collect();
    print(&json!({ "imageDetails": details }))
}

/// Images that run: the file `storefront/in-use.json`. The policy would expire all of them but the newest release.
#[must_use]
pub fn in_use() -> String {
    let images = images();
    let host = format!("{REGISTRY}.dkr.ecr.eu-west-1.amazonaws.com/{REPOSITORY}");
    let tagged = |tag: &str| images.iter().find(|image| image.tags.iter().any(|known| known == tag)).unwrap();
    let forgotten = images.iter().find(|image| image.tags.iter().any(|tag| tag.starts_with("ci-"))).unwrap();
    let release: Value = serde_json::from_str(&tagged("v2.3.1").manifest).unwrap();
    let child = release["manifests"][0]["digest"].as_str().unwrap();
    print(&json!([
        { "imageUri": format!("{host}:stable"), "usedBy": ["arn:aws:ecs:eu-west-1:123456789012:service/shop/web"] },
        { "imageUri": format!("{host}:staging"), "usedBy": ["arn:aws:ecs:eu-west-1:123456789012:service/staging/web"] },
        {
            "imageUri": format!("{host}@{child}"),
            "usedBy": ["arn:aws:lambda:eu-west-1:123456789012:function:invoices:7", "deployment/backoffice/invoices"],
        },
        format!("{REPOSITORY}@{}", forgotten.digest()),
    ]))
}

/// JSON as the AWS CLI prints it.
fn print(value: &impl Serialize) -> String {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, formatter)).unwrap();
    text.push(b'\n');
    String::from_utf8(text).unwrap()
}

/// A file's name, and what makes its text.
pub type File = (&'static str, fn() -> String);

/// Each file of the fixtures, below `tests/fixtures`, and what makes it.
pub const FILES: [File; 6] = [
    ("storefront/images.json", listing),
    ("storefront/in-use.json", in_use),
    ("listings/cli-v1.json", cli_v1),
    ("listings/array.json", array),
    ("listings/pages.json", pages),
    ("listings/two-repositories.json", two_repositories),
];
