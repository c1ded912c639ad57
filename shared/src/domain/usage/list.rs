//! One list of references in use, as a cluster or another account reports it: a JSON array, or the second form
//! ([`super::usage_list`]), read entry by entry, each reference once. What can be read counts although other entries cannot.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::domain::image::reference::ImageReference;
use crate::domain::text::plain_words;
use crate::domain::text::syntax::without_mark;
use crate::domain::usage::listed::{EXPECTED, Listed};
use crate::domain::usage::usage_list::{ListHead, Members};
use crate::domain::usage::usage_snapshot::MAX_USERS;
use crate::domain::usage::{UsedImage, kubernetes};

/// Maximum number of different references of a list.
pub const MAX_REFERENCES: usize = 50_000;

/// What a list says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListContent {
    /// The references that could be read, each once, in alphabetical order.
    pub used: Vec<UsedImage>,
    /// Why the list is not known to name everything that it was to name; `None` for a list that could be read completely.
    pub problem: Option<String>,
    /// What the list says of itself; `None` for an array, which does not.
    pub head: Option<ListHead>,
}

/// Reads a list. Entries that are not understood, and digests that stand alone, are a problem: more may be in use than the
/// list names.
#[must_use]
pub fn parse(text: &str) -> ListContent {
    // Some editors and shells write a byte order mark.
    let text = without_mark(text);
    let mut collected = Collected::default();
    let mut head = None;
    let members = if text.trim_start().starts_with('{') { Members::parse(text).ok() } else { None };
    let problem = if let Some(members) = members.filter(Members::is_list) {
        let (found, problems) = members.head();
        head = found;
        let unread = members.images().find_map(|images| {
            let mut deserializer = serde_json::Deserializer::from_str(images.get());
            let read = de::Deserializer::deserialize_seq(&mut deserializer, Entries(&mut collected));
            read.err().map(|error| format!("`images`: {}", plain_words::shape(&error.to_string())))
        });
        let first = problems.into_iter().next();
        first.or(unread).or_else(|| collected.problem())
    } else if text.trim_start().starts_with('{') {
        match serde_json::from_str(text) {
            Err(error) => Some(unreadable(text, &error)),
            Ok(value) => match kubernetes::images(&value) {
                None => {
                    Some(format!("not a list of images in use: an object where a list is needed; {EXPECTED}"))
                }
                Some(Err(problem)) => Some(problem),
                Some(Ok(images)) => {
                    for (uri, user) in images {
                        let at = collected.entries;
                        collected.entries += 1;
                        collected.take_reference(at, &uri, vec![user]);
                    }
                    collected.problem()
                }
            },
        }
    } else {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let read = de::Deserializer::deserialize_seq(&mut deserializer, Entries(&mut collected));
        match read.and_then(|()| deserializer.end()) {
            Err(error) => Some(unreadable(text, &error)),
            Ok(()) => collected.problem(),
        }
    };
    let used =
        collected.used.into_iter().map(|(_, (reference, users))| UsedImage { reference, used_by: users });
    ListContent { used: used.collect(), problem, head }
}

fn unreadable(text: &str, error: &serde_json::Error) -> String {
    let (line, column, problem) = plain_words::json(text, error);
    format!("not a list of images in use: line {line}, column {column}: {problem}; {EXPECTED}")
}

#[derive(Default)]
struct Collected {
    /// References by how they are spelled, and who uses them.
    used: BTreeMap<String, (ImageReference, Vec<String>)>,
    entries: u64,
    unreadable: u64,
    /// The first entry that could not be read: where it is, and why.
    first_unreadable: Option<String>,
    bare_digests: u64,
    /// Whether there are more references than are kept.
    is_too_long: bool,
}

impl Collected {
    fn take(&mut self, entry: &RawValue) {
        let at = self.entries;
        self.entries += 1;
        let (uri, users) = match serde_json::from_str::<Listed>(entry.get()) {
            Ok(listed) => listed.into_parts(),
            Err(error) => return self.refuse(at, &plain_words::shape(&error.to_string())),
        };
        self.take_reference(at, &uri, users);
    }

    fn take_reference(&mut self, at: u64, uri: &str, users: Vec<String>) {
        match ImageReference::parse_exact(uri) {
            Err(error) => self.refuse(at, &error),
            Ok(reference) => {
                if reference.is_bare_digest() {
                    self.bare_digests += 1;
                }
                let name = reference.to_string();
                if self.used.len() >= MAX_REFERENCES && !self.used.contains_key(&name) {
                    self.is_too_long = true;
                    return;
                }
                let (_, known) = self.used.entry(name).or_insert_with(|| (reference, Vec::new()));
                for user in users {
                    if known.len() < MAX_USERS && !known.contains(&user) {
                        known.push(user);
                    }
                }
            }
        }
    }

    fn refuse(&mut self, at: u64, problem: &dyn fmt::Display) {
        self.unreadable += 1;
        self.first_unreadable.get_or_insert_with(|| format!("/{at}: {problem}"));
    }

    fn problem(&self) -> Option<String> {
        let Self { entries, unreadable, bare_digests, .. } = self;
        if self.is_too_long {
            return Some(format!(
                "it names more than {MAX_REFERENCES} images, and the others were not read; have it name those of this \
                 registry, or write several lists"
            ));
        }
        if let Some(first) = &self.first_unreadable {
            return Some(format!(
                "{unreadable} of its {entries} entries cannot be read ({first}); correct what writes the list"
            ));
        }
        (*bare_digests > 0).then(|| {
            format!(
                "{bare_digests} of its {entries} entries are digests without a repository, which may be the ids of \
                 something else than images; write repository@sha256:…"
            )
        })
    }
}

struct Entries<'a>(&'a mut Collected);

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(entry) = entries.next_element::<&'de RawValue>()? {
            self.0.take(entry);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(content: &ListContent) -> Vec<String> {
        content.used.iter().map(|used| used.reference.to_string()).collect()
    }

    #[test]
    fn what_can_be_read_counts_although_other_entries_cannot() {
        let content = parse(r#"["app:1", "not a reference", {"imageUri": "app:2", "usedBy": ["web"]}, 7]"#);
        assert_eq!(names(&content), ["app:1", "app:2"]);
        let problem = content.problem.unwrap();
        assert!(problem.starts_with("2 of its 4 entries cannot be read (/1: `not a reference`"), "{problem}");
        // Also what stands before the place where the text is broken.
        let content = parse(r#"["app:1", "#);
        assert_eq!(names(&content), ["app:1"]);
        assert!(content.problem.unwrap().starts_with("not a list of images in use"));
    }

    #[test]
    fn a_byte_order_mark_is_no_problem() {
        assert_eq!(parse("\u{feff}[\"app:1\"]\n").problem, None);
        assert_eq!(parse("[]").problem, None);
        assert!(parse("{}").problem.is_some());
        assert!(parse("[] []").problem.is_some());
    }

    #[test]
    fn what_kubectl_prints_is_a_list() {
        let pods = r#"{"apiVersion": "v1", "kind": "List", "items": [{"kind": "Pod", "metadata": {"name": "p"},
            "spec": {"containers": [{"image": "app:3"}]}}]}"#;
        let content = parse(pods);
        assert_eq!((names(&content), content.problem), (vec!["app:3".to_owned()], None));
    }

    #[test]
    fn a_digest_alone_counts_and_is_a_problem() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let content = parse(&format!("[\"{digest}\"]"));
        assert_eq!(names(&content), [digest]);
        assert!(content.problem.unwrap().contains("without a repository"));
        assert!(parse(r#"["sha256:abc"]"#).used.is_empty(), "it names nothing");
    }

    #[test]
    fn a_reference_that_is_there_a_million_times_is_kept_once() {
        let text = format!("[{}\"a\"]", "\"a\",".repeat(1_000_000));
        let content = parse(&text);
        assert_eq!((content.used.len(), content.problem), (1, None));
    }
}
