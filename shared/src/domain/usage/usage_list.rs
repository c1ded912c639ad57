//! The second form of a list of images in use, `formatVersion: 2`: beside the images it says when and by whom it was written, which
//! sources were read completely, and which were not and why.
//!
//! Lists come from other accounts and clusters, and nothing in them is believed that would take protection away. What is not
//! understood makes the list incomplete. The images that can be read count all the same.

use std::fmt;

use serde::de::{self, DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::reports::is_account;
use super::source::SourceStatus;
use super::usage_snapshot::CLOCK_SECONDS;
use super::{SOURCES, UnknownImage, UnreadableSource, UsedImage};
use crate::domain::text::finding::quoted;
use crate::domain::text::instant::Instant;
use crate::domain::text::plain_words;

/// The version of this form.
pub const FORMAT_VERSION: u64 = 2;
/// Maximum size of a list, in bytes.
pub const MAX_LIST_BYTES: usize = 4 * 1024 * 1024;
/// Maximum number of sources, and of gaps, of a list.
const MAX_SOURCES: usize = 500;
/// Maximum number of EKS clusters of a list. AWS allows 100 for each Region of an account.
const MAX_CLUSTERS: usize = 1000;
/// Maximum number of running containers whose image is not known.
const MAX_UNKNOWN_IMAGES: usize = 10_000;
/// Maximum length of a problem, in characters.
const MAX_TEXT: usize = 2000;
/// Maximum length of a name, in characters.
const MAX_NAME: usize = 300;

/// A list of images in use.
///
/// ```json
/// {
///   "formatVersion": 2,
///   "writtenAt": "2026-11-26T16:00:00Z",
///   "writtenBy": {
///     "account": "210987654321",
///     "region": "eu-west-1",
///     "principal": "arn:aws:sts::210987654321:assumed-role/usage-report/usage-report",
///     "program": "usage-report 0.1.0"
///   },
///   "eksClusters": ["web"],
///   "sources": [
///     { "source": "ecs", "status": "COMPLETE", "readAt": "2026-11-26T16:00:00Z", "imagesInUse": 1 },
///     { "source": "batch", "status": "INCOMPLETE", "readAt": "2026-11-26T16:00:00Z", "imagesInUse": 0 }
///   ],
///   "gaps": [{ "source": "batch", "problem": "DescribeJobDefinitions: not permitted; allow batch:DescribeJobDefinitions" }],
///   "images": [{ "imageUri": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop/web:v1", "usedBy": ["arn:aws:ecs:…"] }]
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageList {
    /// What it says of itself.
    #[serde(flatten)]
    pub head: ListHead,
    /// The images in use.
    pub images: Vec<UsedImage>,
}

/// What a list says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListHead {
    /// The version of the form: [`FORMAT_VERSION`].
    pub format_version: u64,
    /// When its reading began. What is pushed later it cannot know.
    pub written_at: Instant,
    /// Who wrote it.
    pub written_by: Writer,
    /// The EKS cluster that it reports; `None` for a list of an account and Region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The EKS clusters that the account has in the Region. Each needs a list of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub eks_clusters: Vec<String>,
    /// What was read, and whether completely.
    pub sources: Vec<SourceReport>,
    /// What could not be read, and what to do. A source with a gap is not complete, whatever its status says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<UnreadableSource>,
    /// What runs although it is not known which image it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown_images: Vec<UnknownImage>,
}

/// Who wrote a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Writer {
    /// The account whose use the list tells: twelve digits. A list below `usage/<account>/` of another account is not believed.
    pub account: String,
    /// The Region whose use it tells.
    pub region: String,
    /// The ARN of the user or role session that read it, in the same account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// The program that wrote it, and its version.
    pub program: String,
}

/// A source in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceReport {
    /// The source: one of [`SOURCES`], or whatever else runs images.
    pub source: String,
    /// Whether it was read completely.
    pub status: SourceStatus,
    /// When it was read.
    pub read_at: Instant,
    /// How many references to images it names.
    #[serde(default)]
    pub images_in_use: u64,
}

impl UsageList {
    /// As JSON, with a line break at the end. A list that would be too large for its reader is shortened so that it says so: first
    /// who uses images is left out, then images, and the latter is a gap.
    ///
    /// # Errors
    ///
    /// When it cannot be written, which does not happen with strings and lists of strings.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        self.to_json_up_to(MAX_LIST_BYTES)
    }

    fn to_json_up_to(&self, max_bytes: usize) -> Result<String, serde_json::Error> {
        let written = |list: &Self| serde_json::to_string(list).map(|text| text + "\n");
        let whole = written(self)?;
        if whole.len() <= max_bytes {
            return Ok(whole);
        }
        let mut list = self.clone();
        list.images.iter_mut().for_each(|image| image.used_by.clear());
        let text = written(&list)?;
        if text.len() <= max_bytes {
            return Ok(text);
        }
        // Digests keep images whatever happens to tags, so that they are the last to be left out.
        list.images.sort_by_key(|image| image.reference.digest.is_none());
        let all = list.images.len();
        loop {
            let fewer = list.images.len() / 2;
            list.images.truncate(fewer);
            list.head.unknown_images.truncate(fewer);
            list.head.gaps.retain(|gap| gap.source != TOO_LARGE);
            list.head.gaps.push(UnreadableSource {
                source: TOO_LARGE.to_owned(),
                repositories: Vec::new(),
                problem: format!(
                    "{all} images are in use there, and a list of {max_bytes} bytes has room for {fewer} of them; deregister what \
                     is not needed any more"
                ),
            });
            let text = written(&list)?;
            if text.len() <= max_bytes || fewer == 0 {
                return Ok(text);
            }
        }
    }
}

/// The source of the gap of a list that has no room for everything.
const TOO_LARGE: &str = "list";

impl ListHead {
    /// What a list says of itself that a program writes now.
    #[must_use]
    pub const fn new(written_at: Instant, written_by: Writer) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            written_at,
            written_by,
            cluster: None,
            eks_clusters: Vec::new(),
            sources: Vec::new(),
            gaps: Vec::new(),
            unknown_images: Vec::new(),
        }
    }

    /// The earliest time of which the list tells: when its reading began, or the reading of a source.
    #[must_use]
    pub fn oldest_reading(&self) -> Instant {
        let read = self.sources.iter().map(|source| source.read_at);
        read.fold(self.written_at, Instant::min)
    }

    /// What the list does not know, by its own account: a gap for each source, with what was told about it.
    #[must_use]
    pub fn unread(&self) -> Vec<UnreadableSource> {
        let mut unread = self.gaps.clone();
        for report in &self.sources {
            let is_explained = unread.iter().any(|gap| is_part_of(&gap.source, &report.source));
            let is_opinion = SOURCES.iter().any(|known| known.name == report.source && !known.blocks);
            if report.status == SourceStatus::Incomplete && !is_explained && !is_opinion {
                unread.push(UnreadableSource {
                    source: report.source.clone(),
                    repositories: Vec::new(),
                    problem: "it was not read completely, and the list does not say why".to_owned(),
                });
            }
        }
        unread
    }

    /// What is wrong with what the list says of itself at `now`; `None` for nothing. Without a time, no time is wrong.
    #[must_use]
    pub fn problem(&self, now: Option<Instant>) -> Option<String> {
        let writer = &self.written_by;
        if !is_account(&writer.account) {
            return Some(format!(
                "`writtenBy.account` is {}, and no account has that number",
                quoted(&writer.account)
            ));
        }
        if let Some(principal) = &writer.principal
            && principal.split(':').nth(4) != Some(&writer.account)
        {
            return Some(format!(
                "`writtenBy` names the account {} and {}, which is not of that account",
                writer.account,
                quoted(principal)
            ));
        }
        if self.sources.is_empty() {
            return Some("it does not say in `sources` what was read".to_owned());
        }
        let times = self.sources.iter().map(|source| source.read_at).chain([self.written_at]);
        let newest = times.max().unwrap_or(self.written_at);
        let seconds = (newest.micros() - now.unwrap_or(newest).micros()) / 1_000_000;
        (seconds > CLOCK_SECONDS)
            .then(|| format!("it says that it was read at {newest}, which is in the future"))
    }
}

/// Whether a gap is about a source or a part of it.
fn is_part_of(gap: &str, source: &str) -> bool {
    gap.strip_prefix(source).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The members of an object, in their order, and each as often as it is there.
#[derive(Debug, Default)]
pub(super) struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Reads an object.
    pub(super) fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Whether it means to be a list of this form.
    pub(super) fn is_list(&self) -> bool {
        self.0.iter().any(|(name, _)| name == "formatVersion")
    }

    /// All its images, as they are written.
    pub(super) fn images(&self) -> impl Iterator<Item = &'a RawValue> {
        self.0.iter().filter(|(name, _)| name == "images").map(|(_, value)| *value)
    }

    /// What the list says of itself, unless that is unreadable, and everything that is wrong with it.
    pub(super) fn head(&self) -> (Option<ListHead>, Vec<String>) {
        let mut problems = Vec::new();
        for (index, (name, _)) in self.0.iter().enumerate() {
            if !MEMBERS.contains(&name.as_str()) {
                problems.push(format!(
                    "{} is no member of a list of images in use; update the stack, if a newer program writes the list, or leave \
                     it out",
                    quoted(name)
                ));
            } else if self.0.iter().take(index).any(|(earlier, _)| earlier == name) {
                problems.push(format!("{} is there more than once; keep one", quoted(name)));
            }
        }
        if self.images().next().is_none() {
            problems.push("it has no `images`; write an empty array if nothing is in use".to_owned());
        }
        let format_version: Option<u64> = self.required("formatVersion", &mut problems);
        if let Some(version) = format_version
            && version != FORMAT_VERSION
        {
            problems.push(format!(
                "its form has the version {version}, and {FORMAT_VERSION} is read; update the stack, or what writes the list"
            ));
        }
        let written_at = self.required("writtenAt", &mut problems);
        let written_by: Option<Writer> = self.required("writtenBy", &mut problems);
        let cluster = self.get("cluster", &mut problems);
        let eks_clusters = self.entries("eksClusters", MAX_CLUSTERS, &mut problems);
        let sources = self.entries("sources", MAX_SOURCES, &mut problems);
        let gaps = self.entries("gaps", MAX_SOURCES, &mut problems);
        let unknown_images = self.entries("unknownImages", MAX_UNKNOWN_IMAGES, &mut problems);
        let head = written_at.zip(written_by).map(|(written_at, written_by)| {
            let mut head = ListHead {
                cluster,
                eks_clusters,
                sources,
                gaps,
                unknown_images,
                ..ListHead::new(written_at, written_by)
            };
            head.shorten();
            head
        });
        (head, problems)
    }

    fn get<T: DeserializeOwned>(&self, name: &str, problems: &mut Vec<String>) -> Option<T> {
        let (_, value) = self.0.iter().find(|(member, _)| member == name)?;
        match serde_json::from_str(value.get()) {
            Ok(value) => Some(value),
            Err(error) => {
                problems.push(format!("`{name}`: {}", plain_words::shape(&without_place(&error))));
                None
            }
        }
    }

    fn required<T: DeserializeOwned>(&self, name: &str, problems: &mut Vec<String>) -> Option<T> {
        if !self.0.iter().any(|(member, _)| member == name) {
            problems.push(format!("it has no `{name}`"));
        }
        self.get(name, problems)
    }

    /// The entries of an array that can be read.
    fn entries<T: DeserializeOwned>(&self, name: &str, most: usize, problems: &mut Vec<String>) -> Vec<T> {
        let entries: Vec<Box<RawValue>> = self.get(name, problems).unwrap_or_default();
        if entries.len() > most {
            problems.push(format!("`{name}` has {} entries, and {most} are read", entries.len()));
        }
        let mut read = Vec::new();
        for (index, entry) in entries.iter().take(most).enumerate() {
            match serde_json::from_str(entry.get()) {
                Ok(entry) => read.push(entry),
                Err(error) => {
                    problems
                        .push(format!("`{name}/{index}`: {}", plain_words::shape(&without_place(&error))));
                }
            }
        }
        read
    }
}

/// The members of a list of this form.
const MEMBERS: [&str; 9] = [
    "formatVersion",
    "writtenAt",
    "writtenBy",
    "cluster",
    "eksClusters",
    "sources",
    "gaps",
    "unknownImages",
    "images",
];

/// What is wrong, without the place in a part of the text.
fn without_place(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let tail = format!(" at line {} column {}", error.line(), error.column());
    message.strip_suffix(&tail).unwrap_or(&message).to_owned()
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
                let mut members = Members::default();
                while let Some(field) = fields.next_entry::<String, &'de RawValue>()? {
                    members.0.push(field);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

impl ListHead {
    /// Cuts off texts that are longer than anybody reads. They are for people; what does not fit into a name is no name of ours.
    fn shorten(&mut self) {
        let cut = |text: &mut String, most: usize| {
            if let Some((at, _)) = text.char_indices().nth(most) {
                text.truncate(at);
                text.push('…');
            }
        };
        let writer = &mut self.written_by;
        let names = [&mut writer.account, &mut writer.region, &mut writer.program];
        let names = names.into_iter().chain(&mut writer.principal).chain(&mut self.cluster);
        names.chain(&mut self.eks_clusters).for_each(|name| cut(name, MAX_NAME));
        self.sources.iter_mut().for_each(|report| cut(&mut report.source, MAX_NAME));
        for gap in &mut self.gaps {
            cut(&mut gap.source, MAX_NAME);
            cut(&mut gap.problem, MAX_TEXT);
            // A gap about more repositories than anybody reads is about all.
            if gap.repositories.len() > MAX_SOURCES {
                gap.repositories.clear();
            }
        }
        self.unknown_images.iter_mut().for_each(|unknown| cut(&mut unknown.used_by, MAX_NAME));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::usage::list;

    fn now() -> Instant {
        Instant::parse("2026-11-26T16:00:00Z").unwrap()
    }

    fn writer() -> Writer {
        Writer {
            account: "210987654321".to_owned(),
            region: "eu-west-1".to_owned(),
            principal: Some("arn:aws:sts::210987654321:assumed-role/usage-report/x".to_owned()),
            program: "usage-report 0.1.0".to_owned(),
        }
    }

    fn written() -> UsageList {
        let report = |source: &str, status| SourceReport {
            source: source.to_owned(),
            status,
            read_at: now(),
            images_in_use: 1,
        };
        let head = ListHead {
            eks_clusters: vec!["web".to_owned()],
            sources: vec![report("ecs", SourceStatus::Complete), report("batch", SourceStatus::Incomplete)],
            gaps: vec![UnreadableSource {
                source: "batch".to_owned(),
                repositories: Vec::new(),
                problem: "denied".to_owned(),
            }],
            unknown_images: vec![UnknownImage {
                reference: "app:latest".parse().unwrap(),
                started_at: Some(now()),
                used_by: "task/1".to_owned(),
            }],
            ..ListHead::new(now(), writer())
        };
        let image = UsedImage { reference: "app:1".parse().unwrap(), used_by: vec!["web".to_owned()] };
        UsageList { head, images: vec![image] }
    }

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let list = written();
        let read = list::parse(&list.to_json().unwrap());
        assert_eq!((read.head, read.used, read.problem), (Some(list.head), list.images, None));
    }

    #[test]
    fn what_is_not_understood_makes_a_list_incomplete_and_its_images_count_all_the_same() {
        let text = written().to_json().unwrap();
        for (from, to, expected) in [
            ("{\"formatVersion\":2", "{\"pods\":[],\"formatVersion\":2", "`pods` is no member"),
            ("{\"formatVersion\":2", "{\"formatVersion\":3", "its form has the version 3"),
            (
                "{\"formatVersion\":2",
                "{\"formatVersion\":2,\"images\":[\"b:1\"]",
                "`images` is there more than once",
            ),
            ("\"account\":\"210987654321\",", "", "`writtenBy`: "),
            ("\"status\":\"COMPLETE\"", "\"status\":\"PERHAPS\"", "`sources/0`: "),
            ("\"startedAt\":", "\"startedOn\":", ""),
        ] {
            assert!(text.contains(from), "{from}");
            let read = list::parse(&text.replacen(from, to, 1));
            assert!(read.used.iter().any(|used| used.reference.to_string() == "app:1"), "{to}");
            let problem = read.problem.unwrap_or_default();
            assert!(problem.contains(expected), "{to}: {problem}");
        }
        let both = list::parse(&text.replacen(
            "{\"formatVersion\":2",
            "{\"formatVersion\":2,\"images\":[\"b:1\"]",
            1,
        ));
        assert_eq!(both.used.len(), 2, "no image of either array is lost");
        let none = list::parse(r#"{"formatVersion": 2}"#);
        assert!(none.problem.unwrap().contains("it has no `images`"));
    }

    #[test]
    fn what_a_list_says_of_itself_is_compared_with_what_can_be() {
        let head = written().head;
        assert_eq!(head.problem(Some(now())), None);
        let problem_of = |change: fn(&mut ListHead)| {
            let mut head = written().head;
            change(&mut head);
            head.problem(Some(now())).unwrap_or_default()
        };
        let later = |head: &mut ListHead| head.written_at = Instant::parse("2026-11-26T17:00:00Z").unwrap();
        assert!(problem_of(later).contains("which is in the future"));
        let read_later =
            |head: &mut ListHead| head.sources[0].read_at = Instant::parse("2026-11-27T16:00:00Z").unwrap();
        assert!(problem_of(read_later).contains("which is in the future"));
        assert!(problem_of(|head| head.sources.clear()).contains("what was read"));
        assert!(
            problem_of(|head| head.written_by.account = "x".to_owned())
                .contains("no account has that number")
        );
        let other = |head: &mut ListHead| head.written_by.account = "333333333333".to_owned();
        assert!(problem_of(other).contains("which is not of that account"));
    }

    #[test]
    fn a_source_that_is_incomplete_without_a_reason_is_a_gap_too() {
        let mut head = written().head;
        assert_eq!(head.unread().len(), 1);
        head.gaps.clear();
        assert!(head.unread()[0].problem.contains("does not say why"));
        head.sources[1].source = "inspector".to_owned();
        assert!(head.unread().is_empty(), "a second opinion blocks nothing");
    }

    #[test]
    fn a_list_that_is_too_large_says_so() {
        let mut list = written();
        list.images = (0..100)
            .map(|number| UsedImage {
                reference: format!("app:{number}").parse().unwrap(),
                used_by: vec!["somebody who uses it".to_owned()],
            })
            .collect();
        let without_users = list::parse(&list.to_json_up_to(6000).unwrap());
        assert_eq!((without_users.used.len(), without_users.head.unwrap().gaps.len()), (100, 1));
        let text = list.to_json_up_to(3500).unwrap();
        assert!(text.len() <= 3500);
        let fewer = list::parse(&text);
        assert!(!fewer.used.is_empty() && fewer.used.len() < 100, "{}", fewer.used.len());
        let gap = fewer.head.unwrap().gaps.pop().unwrap();
        assert!(gap.problem.starts_with("100 images are in use there"), "{gap}");
    }
}
