//! Images in use: references from tasks, functions and clusters, and the images of a repository that they keep.
//!
//! | module | contains |
//! | --- | --- |
//! | [`source`] | the description of a usage source, and the result of reading it; [`SOURCES`] lists all of them |
//! | [`ecs`] | Amazon ECS |
//! | [`lambda`] | AWS Lambda |
//! | `kubernetes` | output of kubectl |
//! | [`eks`] | clusters of Amazon EKS |
//! | [`batch`], [`codebuild`], [`apprunner`], [`sagemaker`] | job definitions, projects, services and models |
//! | [`agentcore`], [`emr_serverless`] | agent runtimes, and applications with their job runs |
//! | [`inspector`] | images that Amazon Inspector has seen running, as a second opinion |
//! | [`stacks`] | templates and parameters of CloudFormation stacks |
//! | [`events`], [`scheduler`], [`pipes`], [`states`] | revisions of task definitions that are started by name |
//! | [`listed`] | lists that somebody wrote |
//! | [`usage_snapshot`] | all use at one time, with unreadable sources |
//! | [`ignore`] | sources that the policies file ignores |
//! | [`list`] | one list of references in use, parsed entry by entry |
//! | [`usage_list`] | the second form of a list: who wrote it, and which sources are complete |
//! | [`list_memory`] | the lists of earlier runs, so that one that disappears or shrinks is noticed |
//! | [`reports`] | the content of all lists, and the accounts and clusters that they report |
//! | [`pull_access`] | who may pull from a repository by its policy |
//! | [`replication`] | the registries that deletions are replicated to |
//! | [`signing`] | whether managed signing signs protection tags |

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::domain::image::listing::RepositoryName;
use crate::domain::image::reference::ImageReference;
use crate::domain::image::{ImageIndex, RepositoryImages};
use crate::domain::lifecycle::matches_wildcard;
use crate::domain::text::instant::Instant;
use crate::domain::usage::ignore::IgnoredSourceReason;
use crate::domain::usage::replication::Replica;
use crate::domain::usage::reports::{ListTime, Reporter, Reports};
use crate::domain::usage::source::SourceSummary;

pub mod agentcore;
pub mod apprunner;
pub mod batch;
pub mod codebuild;
pub mod ecs;
pub mod eks;
pub mod emr_serverless;
pub mod events;
pub mod ignore;
pub mod inspector;
pub mod kubernetes;
pub mod lambda;
pub mod list;
pub mod list_memory;
pub mod listed;
pub mod pipes;
pub mod pull_access;
pub mod replication;
pub mod reports;
pub mod sagemaker;
pub mod scheduler;
pub mod signing;
pub mod source;
pub mod stacks;
pub mod states;
pub mod usage_list;
pub mod usage_snapshot;

/// All usage sources, in the order of the report. `aws/usage_sources.rs` reads those that are read by one call after the other,
/// and `workflows/enforcement/read_usage.rs` the others.
pub const SOURCES: [source::UsageSource; 18] = [
    ecs::SOURCE,
    lambda::SOURCE,
    eks::SOURCE,
    batch::SOURCE,
    events::SOURCE,
    scheduler::SOURCE,
    pipes::SOURCE,
    states::SOURCE,
    codebuild::SOURCE,
    apprunner::SOURCE,
    sagemaker::SOURCE,
    agentcore::SOURCE,
    emr_serverless::SOURCE,
    stacks::SOURCE,
    inspector::SOURCE,
    reports::SOURCE,
    pull_access::SOURCE,
    replication::SOURCE,
];

/// One reference in use, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedImage {
    /// The referenced image.
    pub reference: ImageReference,
    /// The users of the image: ARNs, pod names, anything that the source reports.
    pub used_by: Vec<String>,
}

/// A container that runs an image which is not known: its tag is, and may have moved since it was pulled. Every image of
/// the repository that was there then may be the one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnknownImage {
    /// The reference by which the image was pulled.
    #[serde(with = "as_text")]
    pub reference: ImageReference,
    /// The start time of what runs it; `None` if that is unknown, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Instant>,
    /// What runs it.
    pub used_by: String,
}

/// A reference as the text that it is read from.
mod as_text {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::domain::image::reference::ImageReference;

    pub(super) fn serialize<S: Serializer>(
        reference: &ImageReference,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(reference)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<ImageReference, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// All images in use.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    used: Vec<UsedImage>,
    /// Unreadable usage sources. If there are none, use is known completely.
    pub gaps: Vec<UnreadableSource>,
    /// Unreadable sources that the policies file ignores.
    pub ignored: Vec<IgnoredSourceReason>,
    /// Running containers whose image is unknown.
    pub unknown_images: Vec<UnknownImage>,
    /// The times at which lists were written that tell recent use.
    pub list_times: Vec<ListTime>,
    /// The lists that report use.
    pub reporters: Vec<Reporter>,
    /// The registries to which deletions are replicated.
    pub replicas: Vec<Replica>,
    /// How each source was read.
    pub sources: Vec<SourceSummary>,
    /// Made when it is needed first; the references never change after that.
    index: OnceLock<Index>,
}

/// The places of references, so that those of one repository are found without looking at all others.
#[derive(Debug, Clone, Default)]
struct Index {
    by_digest: HashMap<Box<str>, Vec<usize>>,
    by_repository: HashMap<Box<str>, Vec<usize>>,
}

impl PartialEq for Usage {
    fn eq(&self, other: &Self) -> bool {
        let Self { used, gaps, ignored, unknown_images, list_times, reporters, replicas, sources, index: _ } =
            self;
        *used == other.used
            && *gaps == other.gaps
            && *ignored == other.ignored
            && *unknown_images == other.unknown_images
            && *list_times == other.list_times
            && *reporters == other.reporters
            && *replicas == other.replicas
            && *sources == other.sources
    }
}

impl Eq for Usage {}

/// A source of references that could not be read completely: more may be in use than is known.
///
/// The source is one of these, and what `usage.ignore` of the policies file names it by: `ecs`, `ecs/<cluster>/<service>`,
/// `lambda`, `eks`, `eks/<cluster>`, `batch`, `events`, `scheduler`, `pipes`, `states`, `codebuild`, `apprunner`, `sagemaker`, `bedrock-agentcore`,
/// `emr-serverless`, `stacks`,
/// `usage/<key>.json`, `usage/<key>.json/<source>` (what a list says of itself), `usage` (the listing of all of these),
/// `eks/<account>/<region>/<cluster>`, `account/<id>`, `account/<id>/<region>`, `account/*`, `organization/<id>`, `service/<principal>`, `replication`, `replication/<account>/<region>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct UnreadableSource {
    /// The source.
    pub source: String,
    /// Patterns of the repositories whose images it may use; empty for all repositories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
    /// Why it could not be read, and what to do.
    pub problem: String,
}

impl UnreadableSource {
    /// Whether it may use images of the repository.
    #[must_use]
    pub fn is_about(&self, repository: &str) -> bool {
        self.repositories.is_empty()
            || self.repositories.iter().any(|pattern| matches_wildcard(pattern, repository))
    }
}

impl std::fmt::Display for UnreadableSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.source, self.problem)
    }
}

/// The images of one repository that are in use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsedImages {
    reasons: HashMap<ImageIndex, String>,
    /// The images that are used themselves; the others belong to one of these.
    named: HashSet<ImageIndex>,
    /// The images that references name, and the first of these: its place in [`Usage::used`].
    referenced: Vec<(ImageIndex, usize)>,
    /// References to this repository that name no image in it.
    pub not_found: Vec<String>,
}

impl UsedImages {
    /// Whether no image is in use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.reasons.is_empty()
    }

    /// The images in use, which are kept.
    #[must_use]
    pub fn images(&self) -> HashSet<ImageIndex> {
        self.reasons.keys().copied().collect()
    }

    /// The images that are used themselves; the others belong to one of these.
    #[must_use]
    pub const fn named(&self) -> &HashSet<ImageIndex> {
        &self.named
    }

    /// The images that references name, and the first reference to each: its place in [`Usage::used`]. The other images that are used
    /// themselves may be in use although no reference names them.
    #[must_use]
    pub fn referenced(&self) -> &[(ImageIndex, usize)] {
        &self.referenced
    }

    /// The reason why an image is in use.
    #[must_use]
    pub fn reason(&self, image: ImageIndex) -> Option<&str> {
        self.reasons.get(&image).map(String::as_str)
    }
}

impl Usage {
    /// References in use, from a source that is read completely.
    #[must_use]
    pub fn of(used: Vec<UsedImage>) -> Self {
        Self { used, ..Self::default() }
    }

    /// The use that lists report.
    #[must_use]
    pub fn of_reports(reports: Reports) -> Self {
        let Reports {
            used,
            unknown: unknown_images,
            gaps,
            written: list_times,
            reporters,
            sources,
            memory: _,
        } = reports;
        Self { used, unknown_images, gaps, list_times, reporters, sources, ..Self::default() }
    }

    /// The references, in the order of their source.
    #[must_use]
    pub fn used(&self) -> &[UsedImage] {
        &self.used
    }

    /// Finds the images of a repository that are in use: by tag if the reference may name the repository, by digest under any
    /// name or host, and images that may run although no reference names them. Includes everything that belongs to them:
    /// [`RepositoryImages::closure`].
    #[must_use]
    pub fn of_repository(&self, name: &RepositoryName, images: &RepositoryImages) -> UsedImages {
        let mut found = UsedImages::default();
        let index = self.index.get_or_init(|| Index::of(&self.used));
        // The reason names the first reference to an image.
        let mut first: HashMap<ImageIndex, usize> = HashMap::new();
        let mut hold = |place: ImageIndex, reference: usize| {
            first.entry(place).and_modify(|known| *known = reference.min(*known)).or_insert(reference);
        };
        let relevant = self.relevant(index, name);
        if !index.by_digest.is_empty() {
            for (image, place) in images.images().iter().zip(0..) {
                for &reference in index.by_digest.get(&image.digest).into_iter().flatten() {
                    hold(place, reference);
                }
            }
        }
        if !relevant.is_empty() {
            let mut by_name: HashMap<&str, ImageIndex> = HashMap::new();
            for (image, place) in images.images().iter().zip(0..) {
                by_name.insert(&image.digest, place);
                for tag in &image.tags {
                    by_name.insert(tag, place);
                }
            }
            for (at, used) in relevant {
                // Of a tag with a digest both are kept: the digest runs, and the tag is what the next start may pull.
                let names = [used.reference.digest.as_deref(), used.reference.tag.as_deref()];
                let mut any = false;
                for place in names.into_iter().flatten().filter_map(|name| by_name.get(name)) {
                    any = true;
                    hold(*place, at);
                }
                if !any {
                    found.not_found.push(used.to_string());
                }
            }
        }
        found.reasons = first
            .iter()
            .filter_map(|(place, reference)| Some((*place, self.used.get(*reference)?.to_string())))
            .collect();
        found.referenced = first.into_iter().collect();
        found.referenced.sort_unstable();
        self.add_unknown(name, images, &mut found.reasons);
        found.named = found.reasons.keys().copied().collect();
        found.reasons = images.closure(found.reasons, "is");
        found
    }

    /// The number of tags of a repository by which something names an image without its digest.
    #[must_use]
    pub fn tags_in_use(&self, name: &RepositoryName) -> u64 {
        let index = self.index.get_or_init(|| Index::of(&self.used));
        let references = self.relevant(index, name).into_iter().map(|(_, used)| &used.reference);
        let by_tag = references.filter(|reference| reference.digest.is_none());
        by_tag.filter_map(|reference| reference.tag.as_deref()).collect::<HashSet<_>>().len() as u64
    }

    /// The references that may name images of a repository by its name, and their places.
    fn relevant(&self, index: &Index, name: &RepositoryName) -> Vec<(usize, &UsedImage)> {
        let Some(repository) = name.repository_name.as_deref() else {
            // Without a name it may be any.
            return self
                .used
                .iter()
                .enumerate()
                .filter(|(_, used)| self.may_name(&used.reference, name))
                .collect();
        };
        let places = index.by_repository.get(repository).into_iter().flatten();
        places
            .filter_map(|&place| Some((place, self.used.get(place)?)))
            .filter(|(_, used)| self.may_name(&used.reference, name))
            .collect()
    }

    /// Whether a reference may name an image of a repository, or of a replica from which images are deleted together with those
    /// here.
    fn may_name(&self, reference: &ImageReference, name: &RepositoryName) -> bool {
        let (repository, registry) = (name.repository_name.as_deref(), name.registry_id.as_deref());
        reference.may_name(repository, registry)
            || repository.is_some_and(|repository| {
                self.replicas.iter().any(|replica| replica.is_named_by(reference, repository))
            })
    }

    /// Adds what may be in use although it is not known to be.
    fn add_unknown(
        &self,
        name: &RepositoryName,
        images: &RepositoryImages,
        reasons: &mut HashMap<ImageIndex, String>,
    ) {
        let repository = name.repository_name.as_deref();
        let unknown: Vec<&UnknownImage> =
            self.unknown_images.iter().filter(|unknown| self.may_name(&unknown.reference, name)).collect();
        let times = self.list_times.iter().filter(|time| repository.is_none_or(|name| time.is_about(name)));
        let oldest = times.min_by_key(|time| time.written_at);
        if unknown.is_empty() && oldest.is_none() {
            return;
        }
        for (image, place) in images.images().iter().zip(0..) {
            let Entry::Vacant(entry) = reasons.entry(place) else { continue };
            let by_task = unknown
                .iter()
                .find(|unknown| unknown.started_at.is_none_or(|started_at| image.pushed_at <= started_at));
            if let Some(unknown) = by_task {
                entry.insert(format!(
                    "{} runs {}, and which image that was when it started is not known",
                    unknown.used_by, unknown.reference
                ));
            } else if let Some(time) = oldest
                && time.is_before(image.pushed_at, image.last_pulled_at)
            {
                let how = if image.pushed_at > time.written_at { "pushed" } else { "pulled" };
                entry.insert(format!(
                    "it was {how} about or after the time when {} was written, {}",
                    time.key, time.written_at
                ));
            }
        }
    }

    /// Unreadable usage sources that may use images of the repository.
    pub fn gaps_of<'a>(&'a self, repository: &'a str) -> impl Iterator<Item = &'a UnreadableSource> {
        self.gaps.iter().filter(move |gap| gap.is_about(repository))
    }
}

impl Index {
    fn of(used: &[UsedImage]) -> Self {
        let mut index = Self::default();
        for (at, used) in used.iter().enumerate() {
            let ImageReference { repository, digest, .. } = &used.reference;
            if let Some(digest) = digest {
                index.by_digest.entry(digest.as_str().into()).or_default().push(at);
            }
            if !used.reference.is_bare_digest() {
                index.by_repository.entry(repository.as_str().into()).or_default().push(at);
            }
        }
        index
    }
}

/// References by their texts, as one user has them: those that can be read, and why the others cannot.
#[must_use]
pub fn references(texts: &[String], used_by: &str) -> (Vec<UsedImage>, Vec<String>) {
    let mut used = Vec::new();
    let mut problems = Vec::new();
    for text in texts {
        match ImageReference::parse_exact(text) {
            Ok(reference) => used.push(UsedImage { reference, used_by: vec![used_by.to_owned()] }),
            Err(error) => problems.push(format!("{used_by}: {error}")),
        }
    }
    (used, problems)
}

/// One gap for all problems of a source of the same kind; none for none.
#[must_use]
pub fn unreadable_list(source: &str, problems: &[String]) -> Option<UnreadableSource> {
    let problem = match problems {
        [] => return None,
        [one] => one.clone(),
        [first, others @ ..] => format!("{first} (and {} more like this)", others.len()),
    };
    Some(UnreadableSource { source: source.to_owned(), repositories: Vec::new(), problem })
}

impl std::fmt::Display for UsedImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.reference)?;
        match self.used_by.as_slice() {
            [] => Ok(()),
            [one] => write!(f, " by {one}"),
            [first, others @ ..] => write!(f, " by {first} and {} more", others.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::{Image, ImageStatus, ManifestKind, Relations};

    fn hex(letter: char) -> String {
        format!("sha256:{}", letter.to_string().repeat(64))
    }

    fn at(time: &str) -> Instant {
        Instant::parse(time).unwrap()
    }

    fn image(letter: char, tags: &[&str], pushed_at: &str) -> Image {
        Image {
            digest: hex(letter).into(),
            tags: tags.iter().map(|tag| (*tag).into()).collect(),
            pushed_at: at(pushed_at),
            last_pulled_at: None,
            last_archived_at: None,
            last_activated_at: None,
            size_in_bytes: 1,
            status: ImageStatus::Active,
            kind: ManifestKind::Manifest,
        }
    }

    fn app() -> RepositoryName {
        RepositoryName {
            repository_name: Some("app".to_owned()),
            registry_id: Some("123456789012".to_owned()),
        }
    }

    fn images() -> RepositoryImages {
        let all = vec![
            image('a', &["v1"], "2026-11-01T00:00:00Z"),
            image('b', &["v2", "latest"], "2026-11-10T00:00:00Z"),
            image('c', &[], "2026-11-20T00:00:00Z"),
        ];
        RepositoryImages::new(all, &Relations::default())
    }

    fn held(usage: &Usage) -> Vec<ImageIndex> {
        let mut held: Vec<ImageIndex> = usage.of_repository(&app(), &images()).images().into_iter().collect();
        held.sort_unstable();
        held
    }

    #[test]
    fn a_digest_counts_whatever_name_or_host_it_was_seen_under() {
        for reference in [
            format!("registry.example.com/ecr/app:ci-0@{}", hex('c')),
            format!("999999999999.dkr.ecr.eu-west-1.amazonaws.com/other@{}", hex('c')),
            hex('c'),
            hex('c').to_uppercase().replace("SHA256", "sha256"),
        ] {
            let used = UsedImage { reference: reference.parse().unwrap(), used_by: vec!["x".to_owned()] };
            assert_eq!(held(&Usage::of(vec![used])), [2], "{reference}");
        }
        let used = UsedImage {
            reference: "999999999999.dkr.ecr.eu-west-1.amazonaws.com/app:v1".parse().unwrap(),
            used_by: vec![],
        };
        assert_eq!(held(&Usage::of(vec![used])), [0; 0], "a tag of another registry is another image");
    }

    #[test]
    fn a_tag_counts_in_whatever_form_its_registry_is_written() {
        for host in [
            "",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com:443/",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com./",
            "123456789012.DKR.ECR.EU-WEST-1.AMAZONAWS.COM/",
            "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com/",
            "123456789012.dkr-ecr.eu-west-1.on.aws/",
            "123456789012.dkr-ecr-fips.us-east-1.on.aws/",
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com/",
            "vpce-0a1b2c.dkr.ecr.eu-west-1.vpce.amazonaws.com/",
            "public.ecr.aws/",
            "proxy.example.com:5000/",
            "localhost/",
            "[::1]:5000/",
            "docker://123456789012.dkr.ecr.eu-west-1.amazonaws.com/",
            "docker-pullable://123456789012.dkr.ecr.eu-west-1.amazonaws.com/",
            "oci://123456789012.dkr.ecr.eu-west-1.amazonaws.com/",
            "https://123456789012.dkr.ecr.eu-west-1.amazonaws.com/",
        ] {
            for (name, expected) in [
                ("app:v1".to_owned(), 0),
                ("app".to_owned(), 1),
                (format!("app:gone@{}", hex('c')), 2),
                (format!("app@{}", hex('c').to_uppercase()), 2),
            ] {
                let text = format!("{host}{name}");
                let reference = ImageReference::parse_exact(&text).unwrap_or_else(|error| panic!("{error}"));
                let usage = Usage::of(vec![UsedImage { reference, used_by: vec![] }]);
                assert_eq!(held(&usage), [expected], "{text}");
            }
        }
        // What names no image for certain is refused, and not taken for a name.
        for text in [
            "sha512:12",
            "SHA512:ab",
            "sha384:latest",
            "app@sha256:",
            "app@sha256:12",
            "app@sha256:a@sha256:b",
        ] {
            assert!(ImageReference::parse_exact(text).is_err(), "{text}");
        }
        let other = format!("sha512:{}", "ab".repeat(64));
        assert!(ImageReference::parse_exact(&other).unwrap().is_bare_digest());
    }

    #[test]
    fn a_running_task_whose_digest_is_not_known_keeps_what_was_there_when_it_started() {
        let unknown = |started_at: Option<&str>| UnknownImage {
            reference: "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:latest".parse().unwrap(),
            started_at: started_at.map(at),
            used_by: "task/1".to_owned(),
        };
        let usage = |unknown| Usage { unknown_images: vec![unknown], ..Usage::default() };
        assert_eq!(held(&usage(unknown(Some("2026-11-15T00:00:00Z")))), [0, 1]);
        assert_eq!(held(&usage(unknown(None))), [0, 1, 2]);
    }

    #[test]
    fn what_was_pushed_since_the_oldest_list_was_written_is_in_use() {
        let time = |key: &str, written_at: &str| ListTime {
            key: key.to_owned(),
            repositories: vec![],
            written_at: at(written_at),
        };
        let mut usage = Usage {
            list_times: vec![
                time("usage/a.json", "2026-11-25T00:00:00Z"),
                time("usage/b.json", "2026-11-05T00:00:00Z"),
            ],
            ..Usage::default()
        };
        assert_eq!(held(&usage), [1, 2]);
        usage.list_times[1].repositories = vec!["other/*".to_owned()];
        assert_eq!(held(&usage), [0; 0], "only lists about the repository count");
    }

    #[test]
    fn ten_thousand_references_cost_little_for_each_of_two_thousand_repositories() {
        let used = |number: usize| UsedImage {
            reference: format!("repository/{number}@sha256:{number:064x}").parse().unwrap(),
            used_by: vec![],
        };
        let usage = Usage::of((0..10_000).map(used).collect());
        let images = images();
        let started = std::time::Instant::now();
        for number in 0..2000 {
            let name =
                RepositoryName { repository_name: Some(format!("repository/{number}")), registry_id: None };
            assert_eq!(usage.of_repository(&name, &images).not_found.len(), 1);
        }
        // To look at each of them for each repository takes twenty million comparisons, which are seconds in a debug build.
        assert!(started.elapsed().as_millis() < 500, "{:?}", started.elapsed());
    }
}
