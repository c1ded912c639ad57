//! What is in use at one moment: from all sources, each complete or with the reason why it is not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ecs::PinnedImage;
use super::listed::InvalidUsage;
use super::listed::unreadable;
use super::{UnknownImage, UnreadableSource, Usage, UsedImage};
use crate::domain::enforcement::policy_set::Sources;
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity::count;
use crate::domain::usage::ignore::{self, IgnoredSourceReason};
use crate::domain::usage::list_memory::ListMemory;
use crate::domain::usage::replication::{RegistryDescription, Replica};
use crate::domain::usage::reports::{ListTime, Reporter};
use crate::domain::usage::signing::ManagedSigning;
use crate::domain::usage::source::SourceSummary;

/// Maximum number of users that are listed for each image.
pub const MAX_USERS: usize = 10;
/// Maximum clock skew, in seconds.
pub const CLOCK_SECONDS: i64 = 300;
/// Maximum age, in hours, of what a run read once, for others than that run: nightly runs renew it, and one may take some hours.
pub const LAST_RUN_HOURS: i64 = 36;

/// What is in use, and what was asked to know it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageSnapshot {
    /// What is in use, and what could not be read.
    pub usage: Usage,
    /// What is not read again when use is looked at once more in the same run.
    pub once: ReadOnce,
}

/// What is read once a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReadOnce {
    /// The ARNs of the last active revisions of task definitions.
    pub active_definitions: Vec<String>,
    /// The service revisions that services may roll back to, by the ARNs of the services.
    pub earlier_revisions: BTreeMap<String, Vec<String>>,
    /// What managed daemons of ECS start on new instances.
    pub daemons: Vec<UsedImage>,
    /// The EKS clusters of the account and Region.
    pub eks_clusters: Vec<String>,
    /// The registry, and where it replicates to.
    pub registry: RegistryDescription,
    /// What its managed signing signs.
    pub signing: ManagedSigning,
    /// What the sources use that are read as a whole, by their names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, ReadSource>,
    /// Who may do what with all its repositories; `None` when nobody else may.
    pub registry_policy: Option<String>,
    /// What of all this could not be read.
    pub gaps: Vec<UnreadableSource>,
    /// The lists that there were before this run.
    pub memory: ListMemory,
    /// What never changes.
    pub known: Known,
    /// The part of it that this process asked AWS itself, and did not read from the bucket, which others may write. Before images
    /// are removed only this part counts for services and tasks.
    #[serde(skip)]
    pub asked: Known,
}

impl ReadOnce {
    /// Whether it is recent enough at `now` to be relied on outside of its run: all sources that it has were read in the last
    /// [`LAST_RUN_HOURS`], and none in the future. What started to use an image since then is unknown.
    #[must_use]
    pub fn is_recent(&self, now: Instant) -> bool {
        let oldest = now.micros().saturating_sub(LAST_RUN_HOURS * 3_600_000_000);
        let newest = now.micros().saturating_add(CLOCK_SECONDS * 1_000_000);
        self.sources.values().all(|source| (oldest..=newest).contains(&source.read_at.micros()))
    }
}

/// The use of a source that is read as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadSource {
    /// The images in use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used: Vec<UsedImage>,
    /// Running containers whose image is unknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<UnknownImage>,
    /// When it was read.
    pub read_at: Instant,
    /// Whether AWS has the service in this Region.
    pub is_in_region: bool,
    /// Whether it was read completely.
    #[serde(default)]
    pub is_complete: bool,
}

/// The images of what never changes: revisions of task definitions and services by ARN, versions of functions by ARN and code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Known {
    /// The images of revisions of task definitions.
    pub task_definitions: BTreeMap<String, Vec<String>>,
    /// The pinned images of service revisions.
    pub service_revisions: BTreeMap<String, Vec<PinnedImage>>,
    /// The images of versions of functions.
    pub functions: BTreeMap<String, Vec<String>>,
    /// The same of other sources, by their names and what names it there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

impl Known {
    /// Reads what runs before wrote. What is wrong with it costs calls and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        // It is a cache: what cannot be read is asked again.
        let mut known: Self = serde_json::from_str(text).unwrap_or_default();
        known.task_definitions.retain(|_, images| !images.is_empty());
        known.service_revisions.retain(|_, images| super::ecs::is_final(images));
        known.functions.retain(|_, images| !images.is_empty());
        for of_source in known.sources.values_mut() {
            of_source.retain(|_, images| !images.is_empty());
        }
        known
    }

    /// Adds other known images.
    pub fn extend(&mut self, other: Self) {
        self.task_definitions.extend(other.task_definitions);
        self.service_revisions.extend(other.service_revisions);
        self.functions.extend(other.functions);
        for (source, images) in other.sources {
            self.sources.entry(source).or_default().extend(images);
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    in_use: &'a [UsedImage],
    gaps: &'a [UnreadableSource],
    ignored: &'a [IgnoredSourceReason],
    unknown_images: &'a [UnknownImage],
    list_times: &'a [ListTime],
    reporters: &'a [Reporter],
    replicas: &'a [Replica],
    sources: &'a [SourceSummary],
    once: &'a ReadOnce,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read<'a> {
    #[serde(borrow)]
    in_use: &'a serde_json::value::RawValue,
    gaps: Vec<UnreadableSource>,
    ignored: Vec<IgnoredSourceReason>,
    unknown_images: Vec<UnknownImage>,
    list_times: Vec<ListTime>,
    reporters: Vec<Reporter>,
    replicas: Vec<Replica>,
    #[serde(default)]
    sources: Vec<SourceSummary>,
    once: ReadOnce,
}

impl UsageSnapshot {
    /// As JSON, for another function of the run.
    ///
    /// # Errors
    ///
    /// When it cannot be written, which does not happen with strings and lists of strings.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let Self { usage, once } = self;
        let Usage { gaps, ignored, unknown_images, list_times, reporters, replicas, sources, .. } = usage;
        let in_use = usage.used();
        let written =
            Written { in_use, gaps, ignored, unknown_images, list_times, reporters, replicas, sources, once };
        serde_json::to_string(&written)
    }

    /// Reads what [`Self::to_json`] wrote.
    ///
    /// # Errors
    ///
    /// When it is something else.
    pub fn parse(text: &str) -> Result<Self, InvalidUsage> {
        let read: Read<'_> = serde_json::from_str(text).map_err(|error| unreadable(text, &error))?;
        let Read { in_use, gaps, ignored, unknown_images, list_times, reporters, replicas, sources, once } =
            read;
        let usage = Usage::parse_recorded(in_use.get())?;
        let usage =
            Usage { gaps, ignored, unknown_images, list_times, reporters, replicas, sources, ..usage };
        Ok(Self { usage, once })
    }
}

impl Usage {
    /// Everything that several sources say, each reference once.
    #[must_use]
    pub fn merged(sources: impl IntoIterator<Item = Self>) -> Self {
        let mut used: BTreeMap<String, UsedImage> = BTreeMap::new();
        let mut more: BTreeMap<String, u64> = BTreeMap::new();
        let mut merged = Self::default();
        for source in sources {
            for gap in source.gaps {
                if !merged.gaps.contains(&gap) {
                    merged.gaps.push(gap);
                }
            }
            merged.ignored.extend(source.ignored);
            merged.unknown_images.extend(source.unknown_images);
            merged.list_times.extend(source.list_times);
            merged.reporters.extend(source.reporters);
            merged.replicas.extend(source.replicas);
            merged.sources.extend(source.sources);
            for image in source.used {
                let name = image.reference.to_string();
                let known = used
                    .entry(name.clone())
                    .or_insert_with(|| UsedImage { reference: image.reference.clone(), used_by: Vec::new() });
                for user in image.used_by {
                    if known.used_by.contains(&user) {
                        continue;
                    }
                    if known.used_by.len() < MAX_USERS {
                        known.used_by.push(user);
                    } else {
                        *more.entry(name.clone()).or_default() += 1;
                    }
                }
            }
        }
        for (name, number) in more {
            if let Some(image) = used.get_mut(&name) {
                image.used_by.push(format!("and {}", count(number, "other")));
            }
        }
        merged.used = used.into_values().collect();
        merged
    }

    /// Nothing but the reason why nothing is known.
    #[must_use]
    pub fn unread(source: impl Into<String>, problem: impl Into<String>) -> Self {
        let gap =
            UnreadableSource { source: source.into(), repositories: Vec::new(), problem: problem.into() };
        Self { gaps: vec![gap], ..Self::default() }
    }

    /// The same without the gaps whose sources the policies file ignores at `now`; these are kept apart.
    #[must_use]
    pub fn ignoring(mut self, sources: &Sources, now: Instant) -> Self {
        let (gaps, ignored) = ignore::split(self.gaps, &sources.ignore, now);
        self.gaps = gaps;
        self.ignored.extend(ignored);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let used = Usage::parse_recorded(r#"[{"imageUri": "a:1", "usedBy": ["x"]}, "b@sha256:aa"]"#).unwrap();
        let gap = UnreadableSource { source: "ecs".into(), repositories: vec![], problem: "denied".into() };
        let mut once = ReadOnce::default();
        once.known.task_definitions.insert("arn".into(), vec!["a:1".into()]);
        once.daemons = Usage::parse(r#"["d:1"]"#).unwrap().used().to_vec();
        let ignored = IgnoredSourceReason {
            gap: gap.clone(),
            reason: "old".into(),
            until: Some(jiff::civil::date(2027, 1, 1)),
        };
        let unknown_images = vec![UnknownImage {
            reference: "a:1".parse().unwrap(),
            started_at: Instant::from_micros(1),
            used_by: "task".into(),
        }];
        let list_times = vec![ListTime {
            key: "usage/a.json".into(),
            repositories: vec!["a/*".into()],
            written_at: Instant::from_micros(2).unwrap(),
        }];
        let reporters = vec![Reporter {
            key: "usage/a.json".into(),
            account: None,
            region: Some("eu-west-1".into()),
            cluster: None,
        }];
        let usage =
            Usage { gaps: vec![gap], ignored: vec![ignored], unknown_images, list_times, reporters, ..used };
        let observation = UsageSnapshot { usage, once };
        assert_eq!(UsageSnapshot::parse(&observation.to_json().unwrap()).unwrap(), observation);
    }

    #[test]
    fn many_users_of_an_image_are_counted() {
        let used =
            |number: u32| Usage::parse(&format!(r#"[{{"imageUri": "a:1", "usedBy": ["task/{number}"]}}]"#));
        let usage = Usage::merged((0..14).map(|number| used(number).unwrap()));
        assert_eq!(usage.used().len(), 1);
        assert_eq!(usage.used()[0].used_by.last().unwrap(), "and 4 others");
        assert_eq!(usage.used()[0].used_by.len(), 11);
    }

    #[test]
    fn a_cache_that_says_that_something_has_no_images_is_not_believed() {
        let known = Known::parse(
            r#"{"taskDefinitions": {"a": [], "b": ["x:1"]}, "functions": {"f": []},
            "serviceRevisions": {"r": [{"image": "x:1"}]}}"#,
        );
        assert_eq!(known.task_definitions.len(), 1);
        assert!(known.functions.is_empty() && known.service_revisions.is_empty());
        assert_eq!(Known::parse("nonsense"), Known::default());
    }
}
