//! Tags from templates: `{branch}`, `release-{shortCommit}`.

use serde::{Deserialize, Serialize};

use super::{GitReference, Source, SourceOrder};
use crate::domain::text::finding::quoted;

/// Prefix of content tags, which say what an image was built from. They never move, and no template makes one.
pub const CONTENT_PREFIX: &str = "src-";
/// Prefix of the tags of build caches.
pub const CACHE_PREFIX: &str = "buildcache-";
/// Reserved prefixes of tags: for sources, caches, the protection of images in use, and artifacts about the image of a digest
/// (signatures, attestations, and referrers in registries without an API for them).
pub const RESERVED_PREFIXES: [&str; 4] = [CONTENT_PREFIX, CACHE_PREFIX, "ecr-steward-", "sha256-"];
/// The longest tag, in characters.
const MAX_CHARACTERS: usize = 128;

/// A template of a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Commit,
    ShortCommit,
    Branch,
    Tag,
    Version,
    Date,
}

const VALUES: [(&str, Value); 6] = [
    ("commit", Value::Commit),
    ("shortCommit", Value::ShortCommit),
    ("branch", Value::Branch),
    ("tag", Value::Tag),
    ("version", Value::Version),
    ("date", Value::Date),
];

/// Why a text is no template of a tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// An unknown placeholder in braces.
    #[error(
        "{} stands for nothing; there are {{commit}}, {{shortCommit}}, {{branch}}, {{tag}}, {{version}} and {{date}}",
        quoted(.0)
    )]
    Unknown(String),
    /// A brace without its other one.
    #[error("it has a brace without its other one")]
    Brace,
    /// A character that no tag has, or has at this place.
    #[error("it has {}; a tag is letters, digits, `_`, `.` and `-`, and begins with none of the last two", quoted(&.0.to_string()))]
    Character(char),
    /// The template is empty or too long.
    #[error("it has {0} characters; write 1 to {MAX_CHARACTERS}")]
    Length(usize),
    /// Tags that begin so are not for builds to move.
    #[error("tags that begin with {} are reserved", quoted(.0))]
    Reserved(&'static str),
}

/// A tag that is not moved to the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotMoved {
    /// The tag.
    pub image_tag: String,
    /// Why.
    pub reason: String,
}

/// The prefix for which a tag is reserved, if it is.
#[must_use]
pub fn reserved_prefix(tag: &str) -> Option<&'static str> {
    RESERVED_PREFIXES.into_iter().find(|prefix| tag.starts_with(prefix))
}

const fn is_tag_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-')
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// When it can make no tag.
    pub fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        let length = text.chars().count();
        if !(1..=MAX_CHARACTERS).contains(&length) {
            return Err(InvalidTemplate::Length(length));
        }
        if let Some(prefix) = reserved_prefix(text) {
            return Err(InvalidTemplate::Reserved(prefix));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (literal, after) = rest.split_once('{').map_or((rest, None), |(l, after)| (l, Some(after)));
            if literal.contains('}') {
                return Err(InvalidTemplate::Brace);
            }
            if let Some(wrong) = literal.chars().find(|&c| !is_tag_character(c)) {
                return Err(InvalidTemplate::Character(wrong));
            }
            if parts.is_empty()
                && let Some(first @ ('.' | '-')) = literal.chars().next()
            {
                return Err(InvalidTemplate::Character(first));
            }
            if !literal.is_empty() {
                parts.push(Part::Text(literal.to_owned()));
            }
            let Some(after) = after else { break };
            let Some((name, after)) = after.split_once('}') else { return Err(InvalidTemplate::Brace) };
            let value = VALUES.into_iter().find(|(known, _)| *known == name);
            let Some((_, value)) = value else {
                return Err(InvalidTemplate::Unknown(format!("{{{name}}}")));
            };
            parts.push(Part::Value(value));
            rest = after;
        }
        Ok(Self { parts })
    }

    /// The names of the values that it asks for.
    pub fn values(&self) -> impl Iterator<Item = &'static str> {
        let of_part = |part: &Part| match part {
            Part::Text(_) => None,
            Part::Value(value) => VALUES.iter().find(|(_, known)| known == value).map(|(name, _)| *name),
        };
        self.parts.iter().filter_map(of_part)
    }

    /// Whether the template gives every source the same tag, as `latest` does. Only what is released gets such a tag.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_) | Part::Value(Value::Date)))
    }

    /// The tag of a source; `None` where the source lacks what the template asks for. It may be a reserved one, by the name of a
    /// branch.
    #[must_use]
    pub fn render(
        &self,
        source: &Source,
        reference: Option<&GitReference>,
        arrival: &SourceOrder,
    ) -> Option<String> {
        let commit = match source {
            Source::CodeCommit { commit_id, .. } => Some(commit_id.as_str()),
            Source::S3 { .. } => None,
        };
        let mut tag = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => tag.push_str(text),
                Part::Value(Value::Commit) => tag.push_str(commit?),
                Part::Value(Value::ShortCommit) => tag.push_str(commit?.get(..7)?),
                Part::Value(Value::Version) => tag.push_str(source.version()),
                Part::Value(Value::Branch) => match reference {
                    Some(GitReference::Branch(name)) => tag.push_str(name),
                    _ => return None,
                },
                Part::Value(Value::Tag) => match reference {
                    Some(GitReference::Tag(name)) => tag.push_str(name),
                    _ => return None,
                },
                Part::Value(Value::Date) => {
                    tag.push_str(&arrival.at.to_string().split('T').next()?.replace('-', ""));
                }
            }
        }
        clean(&tag)
    }
}

/// The nearest text that is a tag: `feature/x` is `feature-x`.
fn clean(text: &str) -> Option<String> {
    let tag: String = text.chars().map(|c| if is_tag_character(c) { c } else { '-' }).collect();
    let tag = tag.trim_start_matches(['.', '-']);
    let tag = tag.get(..MAX_CHARACTERS.min(tag.len())).unwrap_or_default();
    (!tag.is_empty()).then(|| tag.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::text::instant::Instant;

    fn rendered(template: &str, reference: Option<&GitReference>) -> Option<String> {
        let source = Source::CodeCommit {
            repository_name: "web".to_owned(),
            commit_id: "0123456789abcdef0123456789abcdef01234567".to_owned(),
        };
        let arrival = SourceOrder::at(Instant::parse("2026-11-23T10:00:00Z").unwrap());
        Template::parse(template).unwrap().render(&source, reference, &arrival)
    }

    #[test]
    fn templates_are_filled_with_what_the_source_has() {
        let branch = GitReference::Branch("feature/Ünicode x".to_owned());
        let branch = || Some(&branch);
        let tag = GitReference::Tag("v1.2".to_owned());
        let tag = || Some(&tag);
        assert_eq!(rendered("{branch}", branch()).unwrap(), "feature--nicode-x");
        assert_eq!(rendered("{branch}-{shortCommit}", branch()).unwrap(), "feature--nicode-x-0123456");
        assert_eq!(rendered("{tag}", tag()).unwrap(), "v1.2");
        assert_eq!(rendered("nightly-{date}", tag()).unwrap(), "nightly-20261123");
        assert_eq!(rendered("{version}", None), rendered("{commit}", None));
        assert_eq!(rendered("{tag}", branch()), None);
        assert_eq!(rendered("{branch}", tag()), None);
        assert_eq!(rendered("latest", None).unwrap(), "latest");
    }

    #[test]
    fn a_branch_without_a_character_of_a_tag_makes_none() {
        let of = |name: &str| rendered("{branch}", Some(&GitReference::Branch(name.to_owned())));
        for name in ["--", "…", "./"] {
            assert_eq!(of(name), None, "{name}");
        }
        assert_eq!(of(&"a".repeat(300)).unwrap().len(), 128);
        assert_eq!(of("$(touch pwned)\n--flag").unwrap(), "touch-pwned----flag");
    }

    #[test]
    fn an_invalid_template_is_refused_with_the_reason() {
        for (text, problem) in [
            (
                "{brnch}",
                "`{brnch}` stands for nothing; there are {commit}, {shortCommit}, {branch}, {tag}, {version} and {date}",
            ),
            ("a{", "it has a brace without its other one"),
            ("a}", "it has a brace without its other one"),
            (
                "a b",
                "it has ` `; a tag is letters, digits, `_`, `.` and `-`, and begins with none of the last two",
            ),
            (
                "-a",
                "it has `-`; a tag is letters, digits, `_`, `.` and `-`, and begins with none of the last two",
            ),
            ("", "it has 0 characters; write 1 to 128"),
            ("src-1", "tags that begin with `src-` are reserved"),
            ("ecr-steward-in-use-{commit}", "tags that begin with `ecr-steward-` are reserved"),
            ("sha256-{commit}.sig", "tags that begin with `sha256-` are reserved"),
        ] {
            assert_eq!(Template::parse(text).unwrap_err().to_string(), problem, "{text}");
        }
    }

    #[test]
    fn a_tag_is_fixed_when_no_source_has_a_part_in_it() {
        for (text, fixed) in [("latest", true), ("{date}", true), ("{branch}", false), ("v-{commit}", false)]
        {
            assert_eq!(Template::parse(text).unwrap().is_fixed(), fixed, "{text}");
        }
    }
}
