//! References in use as a list that somebody wrote: a JSON array of image references.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::list::{self, ListContent};
use super::usage_list::ListHead;
use super::{Usage, UsedImage, kubernetes};
use crate::domain::image::reference::{ImageReference, InvalidReference};
use crate::domain::text::plain_words;
use crate::domain::text::recognize::{self, Recognized, Wanted};
use crate::domain::text::syntax::{self, without_mark};

/// Why a list of references in use cannot be used. It is used whole or not at all: a reference that is not
/// understood could be the one that matters.
#[derive(Debug, thiserror::Error)]
pub enum InvalidUsage {
    /// The text is not the JSON that is expected.
    #[error("line {line}, column {column}: not a list of images in use: {problem}; {EXPECTED}")]
    Json {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong there.
        problem: String,
    },
    /// The text is something else.
    #[error("{0}")]
    Other(Recognized),
    /// The whole is not a list, or not all of one.
    #[error("not a list of images in use: {0}")]
    Shape(String),
    /// An entry is not what entries are.
    #[error("{pointer}: {found} is no entry of a list of images in use; {EXPECTED}")]
    Entry {
        /// The JSON pointer of the entry.
        pointer: String,
        /// What stands there.
        found: String,
    },
    /// An entry is not an image reference.
    #[error("{pointer}: {source}")]
    Reference {
        /// The JSON pointer of the entry.
        pointer: String,
        /// What is wrong with it.
        source: InvalidReference,
    },
}

/// What a list of images in use is.
pub(crate) const EXPECTED: &str =
    "write a JSON array of image references, or of {\"imageUri\": \"…\", \"usedBy\": [\"…\"]}";

#[derive(Deserialize)]
#[serde(untagged, expecting = "an image reference, or an object with `imageUri`")]
pub(crate) enum Listed {
    Uri(String),
    Used(Used),
}

impl Listed {
    /// The reference, and who uses it.
    pub(crate) fn into_parts(self) -> (String, Vec<String>) {
        match self {
            Self::Uri(uri) => (uri, Vec::new()),
            Self::Used(Used { image_uri, used_by }) => (image_uri, used_by),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Used {
    image_uri: String,
    #[serde(default)]
    used_by: Vec<String>,
}

impl Serialize for UsedImage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Used { image_uri: self.reference.to_string(), used_by: self.used_by.clone() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for UsedImage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Used { image_uri, used_by } = Used::deserialize(deserializer)?;
        let reference = image_uri.parse().map_err(serde::de::Error::custom)?;
        Ok(Self { reference, used_by })
    }
}

impl Usage {
    /// Reads a JSON array of image references, each a string or `{"imageUri", "usedBy": […]}`. Several lists may stand in one
    /// array, as `jq -s` makes it; and a list may be what `kubectl get … --output json` prints, or one of the second form
    /// ([`super::usage_list`]).
    ///
    /// # Errors
    ///
    /// When any entry is not understood, or has a digest that is cut off: it names nothing for certain. When a list says that it is
    /// not complete.
    pub fn parse(json: &str) -> Result<Self, InvalidUsage> {
        let json = without_mark(json);
        let mut used = Vec::new();
        match serde_json::from_str::<Vec<&RawValue>>(json) {
            Ok(entries) => take_all(&entries, "", ImageReference::parse_exact, &mut used)?,
            Err(error) => match serde_json::from_str::<Value>(json) {
                Ok(value) if value.get("formatVersion").is_some() => return Self::of_list(json),
                Ok(value) => match kubernetes::images(&value) {
                    Some(images) => take_cluster(images, "", &mut used)?,
                    None => return Err(not_a_list(json, &value)),
                },
                Err(_) => return Err(unreadable(json, &error)),
            },
        }
        Ok(Self::of(used))
    }

    /// Reads a list of the second form, which has to be complete by its own account.
    fn of_list(json: &str) -> Result<Self, InvalidUsage> {
        let ListContent { used, problem, head } = list::parse(json);
        let unread = |head: &ListHead| head.unread().first().map(|gap| format!("it is not complete: {gap}"));
        let of_head = || head.as_ref().and_then(|head| head.problem(None).or_else(|| unread(head)));
        if let Some(problem) = problem.or_else(of_head) {
            return Err(InvalidUsage::Shape(problem));
        }
        let unknown_images = head.map(|head| head.unknown_images).unwrap_or_default();
        Ok(Self { unknown_images, ..Self::of(used) })
    }

    /// Reads a list that this project wrote itself, of what services tell: a digest that is cut off there is theirs.
    pub(crate) fn parse_recorded(json: &str) -> Result<Self, InvalidUsage> {
        let entries: Vec<&RawValue> = serde_json::from_str(json).map_err(|error| unreadable(json, &error))?;
        let mut used = Vec::with_capacity(entries.len());
        take_all(&entries, "", str::parse, &mut used)?;
        Ok(Self::of(used))
    }
}

type Parse = fn(&str) -> Result<ImageReference, InvalidReference>;

/// Takes entries, and those of lists among them.
fn take_all(
    entries: &[&RawValue],
    at: &str,
    parse: Parse,
    used: &mut Vec<UsedImage>,
) -> Result<(), InvalidUsage> {
    for (index, entry) in entries.iter().enumerate() {
        let pointer = format!("{at}/{index}");
        if at.is_empty()
            && let Ok(inner) = serde_json::from_str::<Vec<&RawValue>>(entry.get())
        {
            take_all(&inner, &pointer, parse, used)?;
            continue;
        }
        let Ok(listed) = serde_json::from_str::<Listed>(entry.get()) else {
            let value = serde_json::from_str::<Value>(entry.get()).unwrap_or(Value::Null);
            if let Some(images) = kubernetes::images(&value) {
                take_cluster(images, &pointer, used)?;
                continue;
            }
            return Err(match recognized(entry.get()) {
                Some(other) => InvalidUsage::Other(other),
                None => InvalidUsage::Entry { pointer, found: short(entry.get()) },
            });
        };
        let (uri, used_by) = listed.into_parts();
        let reference = parse(&uri).map_err(|source| InvalidUsage::Reference { pointer, source })?;
        used.push(UsedImage { reference, used_by });
    }
    Ok(())
}

/// The references that a cluster's objects name, each once with those that name it.
fn take_cluster(
    images: Result<Vec<(String, String)>, String>,
    pointer: &str,
    used: &mut Vec<UsedImage>,
) -> Result<(), InvalidUsage> {
    let mut places: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
    for (uri, user) in images.map_err(InvalidUsage::Shape)? {
        let reference = ImageReference::parse_exact(&uri).map_err(|source| {
            let pointer = format!("{pointer}/{user}");
            InvalidUsage::Reference { pointer, source }
        })?;
        let place = *places.entry(uri).or_insert(used.len());
        match used.get_mut(place) {
            Some(known) if !known.used_by.contains(&user) => known.used_by.push(user),
            Some(_) => {}
            None => used.push(UsedImage { reference, used_by: vec![user] }),
        }
    }
    Ok(())
}

/// What a JSON text is instead of a list of images in use.
fn recognized(json: &str) -> Option<Recognized> {
    recognize::node(&syntax::parse_json(json).ok()?, Wanted::InUse)
}

fn not_a_list(json: &str, value: &Value) -> InvalidUsage {
    match recognized(json) {
        Some(other) => InvalidUsage::Other(other),
        None => InvalidUsage::Shape(format!(
            "{} where a list is needed; {EXPECTED}",
            match value {
                Value::Object(_) => "an object",
                Value::String(_) => "a string",
                Value::Null => "null",
                _ => "a number or a boolean",
            }
        )),
    }
}

pub(crate) fn unreadable(json: &str, error: &serde_json::Error) -> InvalidUsage {
    if let Some(other) = recognize::text(json, Wanted::InUse) {
        return InvalidUsage::Other(other);
    }
    let (line, column, problem) = plain_words::json(json, error);
    let several = serde_json::Deserializer::from_str(json).into_iter::<Value>().all(|value| value.is_ok());
    let problem = if several {
        "several JSON values stand one after another; gather them into one list with jq -s".to_owned()
    } else {
        problem
    };
    InvalidUsage::Json { line, column, problem }
}

/// The beginning of an entry, for a message.
fn short(entry: &str) -> String {
    crate::domain::text::finding::quoted(&entry.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_objects_may_be_mixed() {
        let usage = Usage::parse(r#"["app:1", {"imageUri": "app:2", "usedBy": ["web", "job"]}]"#).unwrap();
        let shown: Vec<String> = usage.used().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["app:1", "app:2 by web and 1 more"]);
    }

    #[test]
    fn lists_in_a_list_and_what_kubectl_prints_are_read() {
        let pods = r#"{"apiVersion": "v1", "kind": "List", "items": [{"kind": "Pod", "metadata": {"name": "p"},
            "spec": {"containers": [{"image": "app:3"}, {"image": "app:3"}]}}]}"#;
        let shown = |json: &str| -> Vec<String> {
            Usage::parse(json).unwrap().used().iter().map(ToString::to_string).collect()
        };
        assert_eq!(shown(pods), ["app:3 by Pod/p"]);
        assert_eq!(
            shown(&format!("\u{feff}[[\"app:1\"], [\"app:2\"], {pods}]")),
            ["app:1", "app:2", "app:3 by Pod/p"]
        );
        assert!(shown(r#"{"apiVersion": "v1", "kind": "List", "items": []}"#).is_empty());
    }

    #[test]
    fn a_list_that_says_that_it_is_not_complete_is_unusable() {
        let list = |more: &str| {
            format!(
                r#"{{"formatVersion": 2, "writtenAt": "2026-11-26T16:00:00Z", "images": ["app:1"],
                "writtenBy": {{"account": "210987654321", "region": "eu-west-1", "program": "x"}},
                "sources": [{{"source": "ecs", "status": "COMPLETE", "readAt": "2026-11-26T16:00:00Z"}}]{more}}}"#
            )
        };
        assert_eq!(Usage::parse(&list("")).unwrap().used().len(), 1);
        let unknown = list(r#", "unknownImages": [{"reference": "app:2", "usedBy": "task/1"}]"#);
        assert_eq!(Usage::parse(&unknown).unwrap().unknown_images.len(), 1);
        let gap = list(r#", "gaps": [{"source": "ecs", "problem": "denied"}]"#);
        let error = Usage::parse(&gap).unwrap_err().to_string();
        assert_eq!(error, "not a list of images in use: it is not complete: ecs: denied");
        assert!(Usage::parse(&list(r#", "pods": []"#)).is_err());
    }

    #[test]
    fn one_entry_that_is_not_understood_makes_the_list_unusable() {
        for (json, expected) in [
            (r#"["app:1", "not a reference"]"#, "/1: `not a reference` is not an image reference"),
            (
                r#"[{"imageURI": "app:1"}]"#,
                "/0: `{\"imageURI\": \"app:1\"}` is no entry of a list of images in use",
            ),
            ("{}", "not a list of images in use: an object where a list is needed"),
            (
                r#"["app@sha256:8ed3f6ad685b"]"#,
                "/0: `app@sha256:8ed3f6ad685b` is not an image reference: its digest is cut off",
            ),
            (r#"["app:1"] ["app:2"]"#, "line 1, column 11: not a list of images in use: several JSON values"),
            ("\"app:1\"\n\"app:2\"\n", "line 1, column 7: not a list of images in use: several JSON values"),
            ("app:1\napp:2\n", "this is a list of image references without JSON around it"),
            (r#"{"imageDetails": []}"#, "this is an image listing"),
            (r#"{"tasks": []}"#, "this is what the AWS CLI prints of ECS or Lambda"),
        ] {
            let error = Usage::parse(json).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
