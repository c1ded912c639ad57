//! Names of repositories: ECR's rules, and generated names.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::domain::text::finding::{Code, Finding, quoted};
use crate::domain::text::quantity::count;

/// Maximum length of a repository's name, in characters.
pub const MAX_CHARACTERS: usize = 256;
/// Minimum length of a repository's name, in characters.
pub const MIN_CHARACTERS: usize = 2;

/// A repository's name: lower-case letters and digits, in words joined by `.`, `_`, `__` or dashes, in parts joined by
/// slashes. The rule is ECR's, from the API reference of `CreateRepository`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// Why a text is not the name of a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Too short or too long.
    #[error("it has {}; write {MIN_CHARACTERS} to {MAX_CHARACTERS}", count(*.0 as u64, "character"))]
    Length(usize),
    /// A character that no name has.
    #[error("it has {}; write lower-case letters, digits, `-`, `_`, `.` and `/` only", quoted(&.0.to_string()))]
    Character(char),
    /// A slash at the beginning or the end, or two in a row.
    #[error("it has an empty part; remove the slash that begins it, ends it or is doubled")]
    EmptyPart,
    /// A part begins or ends with a separator.
    #[error("{} begins or ends with a separator; begin and end each part with a letter or digit", quoted(.0))]
    PartEdge(String),
    /// The host of a registry before the name, as in a URI. ECR takes that for a part of the name.
    #[error("it begins with the host of a registry; write {}", quoted(.0))]
    Host(String),
    /// Separators that do not go together.
    #[error("{} has `{}` in it; separate words by `.`, `_`, `__` or dashes", quoted(.0), .1)]
    Separator(String, String),
}

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// What ECR would refuse.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let characters = text.chars().count();
        if !(MIN_CHARACTERS..=MAX_CHARACTERS).contains(&characters) {
            return Err(InvalidName::Length(characters));
        }
        if let Some(character) = text
            .chars()
            .find(|&c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.' | '/')))
        {
            return Err(InvalidName::Character(character));
        }
        for part in text.split('/') {
            let bytes = part.as_bytes();
            match (bytes.first(), bytes.last()) {
                (Some(&first), Some(&last)) if is_word(first) && is_word(last) => {}
                (None, _) | (_, None) => return Err(InvalidName::EmptyPart),
                _ => return Err(InvalidName::PartEdge(part.to_owned())),
            }
            let separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
            for separator in separators.filter(|separator| !separator.is_empty()) {
                let is_known =
                    matches!(separator, "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-');
                if !is_known {
                    return Err(InvalidName::Separator(part.to_owned(), separator.to_owned()));
                }
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// Checks the name of a repository that is to be made: one that begins with the host of a registry is somebody's mistake.
    ///
    /// # Errors
    ///
    /// The finding at `pointer` that says what to write.
    pub fn check_new(&self, pointer: impl Into<String>) -> Result<(), Finding> {
        let Some(meant) = Self::meant(&self.0) else { return Ok(()) };
        let problem = InvalidName::Host(meant.0);
        let message = format!("{} is no name for a repository: {problem}", quoted(&self.0));
        Err(Finding::new(Code::InvalidName, pointer, message))
    }

    /// The name that a text probably means which has more than a name: the host of a registry before it, a tag or a digest behind it,
    /// or the ARN of the repository. `None` for a text that is a name alone, or something else.
    #[must_use]
    pub fn meant(text: &str) -> Option<Self> {
        let rest = match text.strip_prefix("arn:") {
            Some(arn) => arn.split_once(":repository/")?.1,
            None => text,
        };
        let rest = rest.split_once('@').map_or(rest, |(name, _)| name);
        let rest = match rest.split_once('/') {
            Some((host, name))
                if host.contains(".dkr.ecr") || host.contains(".dkr-ecr") || host.contains(':') =>
            {
                name
            }
            _ => rest,
        };
        let rest = rest.split_once(':').map_or(rest, |(name, _)| name);
        if rest == text { None } else { Self::parse(rest).ok() }
    }

    /// Why a pattern, in which `*` stands for any characters, can match no name; `None` if some name matches.
    #[must_use]
    pub(crate) fn why_never_matched(pattern: &str) -> Option<String> {
        let is_host =
            |part: &str| part.contains(".dkr.ecr") || part.contains(".dkr-ecr") || part.contains(':');
        if pattern.split_once('/').is_some_and(|(first, _)| is_host(first)) {
            return Some("write the name alone, without the host of the registry".to_owned());
        }
        if !pattern.contains('*') {
            return match Self::parse(pattern) {
                // A name of one character is reported when a repository is to have it.
                Ok(_) | Err(InvalidName::Length(1)) => None,
                Err(problem) => Some(problem.to_string()),
            };
        }
        if can_match(pattern) {
            return None;
        }
        Some(if pattern.starts_with('/') {
            "no name begins with a slash".to_owned()
        } else if pattern.contains("//") {
            "no name has two slashes side by side".to_owned()
        } else if pattern.contains(".*") {
            "no name has a `.` there; `*` alone stands for anything, this is no regular expression".to_owned()
        } else {
            "names have letters or digits at the beginning and end of each part, and single separators between"
                .to_owned()
        })
    }

    /// Parses a name at `pointer` of a document.
    ///
    /// # Errors
    ///
    /// The finding that says why ECR would refuse the name.
    pub fn parse_at(text: &str, pointer: impl Into<String>) -> Result<Self, Finding> {
        Self::parse(text).map_err(|problem| {
            let message = format!("{} is no name for a repository: {problem}", quoted(text));
            Finding::new(Code::InvalidName, pointer, message)
        })
    }

    /// Generates a name from `words`, in any spelling, and a hash of `seed`. The same input gives the same name.
    #[must_use]
    pub fn generate(words: &[&str], seed: &[&str]) -> Self {
        // Room for the suffix, and for reading the name in a console.
        const READABLE: usize = 100;
        let mut name = String::new();
        for word in words {
            let mut after_word = false;
            if !name.is_empty() {
                name.push('-');
            }
            for character in word.chars() {
                if character.is_ascii_alphanumeric() {
                    name.push(character.to_ascii_lowercase());
                    after_word = true;
                } else if after_word {
                    name.push('-');
                    after_word = false;
                }
            }
        }
        name.truncate(READABLE);
        let readable = name.trim_matches('-').replace("--", "-");
        let suffix = suffix(seed);
        Self(if readable.is_empty() { suffix } else { format!("{readable}-{suffix}") })
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Eight letters and digits that depend on every byte of the seed.
fn suffix(seed: &[&str]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    // FNV-1a, 64 bits: not secret, and stable across releases, which names must be.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in seed {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    // The low bits of FNV mix best after folding the high ones in.
    hash ^= hash >> 32;
    (0..8)
        .map(|position| {
            let index = usize::try_from((hash >> (position * 5)) & 31).unwrap_or_default();
            char::from(ALPHABET.get(index).copied().unwrap_or(b'a'))
        })
        .collect()
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A state of the automaton that reads names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    PartStart,
    Word,
    /// After a `.` or the second `_`, which a word follows.
    Separator,
    Underscore,
    Dash,
}

impl At {
    const ALL: [Self; 5] = [Self::PartStart, Self::Word, Self::Separator, Self::Underscore, Self::Dash];

    /// The state after one more character; `None` if no name continues like this.
    const fn after(self, character: char) -> Option<Self> {
        match (self, character) {
            (_, 'a'..='z' | '0'..='9') => Some(Self::Word),
            (Self::Word, '/') => Some(Self::PartStart),
            (Self::Word, '.') | (Self::Underscore, '_') => Some(Self::Separator),
            (Self::Word, '_') => Some(Self::Underscore),
            (Self::Word | Self::Dash, '-') => Some(Self::Dash),
            _ => None,
        }
    }
}

/// Whether some name matches a pattern. Runs the automaton of names along the pattern; at a `*` every state is reachable.
fn can_match(pattern: &str) -> bool {
    let mut places = vec![At::PartStart];
    for character in pattern.chars() {
        places = match character {
            '*' if !places.is_empty() => At::ALL.to_vec(),
            character => places.into_iter().filter_map(|at| at.after(character)).collect(),
        };
    }
    places.contains(&At::Word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_ecr_accepts() {
        for name in ["ab", "a1", "team/app", "a.b_c__d-e---f/g", "0/1", &"a".repeat(256)] {
            assert_eq!(Name::parse(name).unwrap().as_str(), name);
        }
        for (name, problem) in [
            ("a", "it has 1 character; write 2 to 256"),
            ("", "it has 0 characters; write 2 to 256"),
            (&"a".repeat(257), "it has 257 characters; write 2 to 256"),
            ("App", "it has `A`; write lower-case letters, digits, `-`, `_`, `.` and `/` only"),
            ("a\nb", "it has `\\n`; write lower-case letters, digits, `-`, `_`, `.` and `/` only"),
            ("a//b", "it has an empty part; remove the slash that begins it, ends it or is doubled"),
            ("/a", "it has an empty part; remove the slash that begins it, ends it or is doubled"),
            ("a/", "it has an empty part; remove the slash that begins it, ends it or is doubled"),
            ("a/-b", "`-b` begins or ends with a separator; begin and end each part with a letter or digit"),
            ("a/b.", "`b.` begins or ends with a separator; begin and end each part with a letter or digit"),
            ("a..b", "`a..b` has `..` in it; separate words by `.`, `_`, `__` or dashes"),
            ("a___b", "`a___b` has `___` in it; separate words by `.`, `_`, `__` or dashes"),
            ("a-_b", "`a-_b` has `-_` in it; separate words by `.`, `_`, `__` or dashes"),
        ] {
            assert_eq!(Name::parse(name).unwrap_err().to_string(), problem, "{name}");
        }
    }

    #[test]
    fn generated_names_are_valid_stable_and_distinguished_by_their_seed() {
        let name = Name::generate(&["My_Stack", "WebRepository"], &["arn:aws:…", "WebRepository"]);
        assert_eq!(name.as_str(), "my-stack-webrepository-miyuozwj");
        assert_eq!(name, Name::generate(&["My_Stack", "WebRepository"], &["arn:aws:…", "WebRepository"]));
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..1000 {
            let name = Name::generate(&["stack", "Repository"], &[&format!("stack/{number}"), "Repository"]);
            assert!(Name::parse(name.as_str()).is_ok(), "{name}");
            assert!(seen.insert(name));
        }
        for invalid_object in ["", "---", "Ünïcode", "a--b", &"long-".repeat(100), "-x-", "x_"] {
            let name = Name::generate(&[invalid_object, invalid_object], &[invalid_object]);
            assert!(Name::parse(name.as_str()).is_ok(), "{invalid_object}: {name}");
            assert!(name.as_str().len() <= 120);
        }
    }

    #[test]
    fn a_pattern_that_no_name_can_match_is_reported_with_the_reason() {
        for pattern in ["*", "prod/*", "*/release", "a*b", "a.*", "app", "x", "a__*", "a--*"] {
            assert_eq!(Name::why_never_matched(pattern), None, "{pattern}");
        }
        for text in [
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop/web",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop/web:ci-1",
            "arn:aws:ecr:eu-west-1:123456789012:repository/shop/web",
            "localhost:4510/shop/web",
            "shop/web:ci-1",
            "shop/web@sha256:aa",
        ] {
            assert_eq!(Name::meant(text).unwrap().as_str(), "shop/web", "{text}");
        }
        for text in ["shop/web", "Shop", "arn:aws:s3:::bucket", "a b:c"] {
            assert_eq!(Name::meant(text), None, "{text}");
        }
        for (pattern, expected) in [
            ("/prod/*", "no name begins with a slash"),
            ("prod//*", "two slashes"),
            ("prod/.*", "`*` alone stands for anything"),
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com:443/*", "without the host"),
            ("a..*", "no name has a `.` there"),
            ("*/", "names have letters or digits"),
            ("a.-*", "names have letters or digits"),
            ("app/", "an empty part"),
        ] {
            let why = Name::why_never_matched(pattern).unwrap_or_default();
            assert!(why.contains(expected), "{pattern}: {why}");
        }
    }
}
