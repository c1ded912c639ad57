//! JSON and YAML texts as trees that keep what a policy reader must see: the order of keys, duplicate keys, nulls
//! and how numbers are meant. Knows nothing of policies.

use std::fmt;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::text::finding::{Code, Finding, quoted};
use crate::domain::text::{locate, plain_words};

/// A value as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    /// A whole number of zero or more, however spelled: `7`, `7.0` and `70e-1` are the same.
    Whole(u64),
    /// Any other number: negative, with a fraction, or too large to be exact.
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    /// The type of the value with its article, for messages.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Whole(_) | Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    fn from_f64(value: f64) -> Self {
        // Doubles are exact whole numbers up to 2^53.
        if value.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&value) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked just above"
            )]
            return Self::Whole(value as u64);
        }
        Self::Number(value)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NodeVisitor;

        impl<'de> Visitor<'de> for NodeVisitor {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }

            fn visit_none<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
                deserializer.deserialize_any(self)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Bool(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
                Ok(Node::Whole(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "a negative number is out of every range anyway"
                )]
                Ok(u64::try_from(value).map_or(Node::Number(value as f64), Node::Whole))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
                Ok(Node::from_f64(value))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
                Ok(Node::Text(value.to_owned()))
            }

            fn visit_string<E>(self, value: String) -> Result<Node, E> {
                Ok(Node::Text(value))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Node::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
                let mut object = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    object.push(entry);
                }
                Ok(Node::Object(object))
            }
        }

        deserializer.deserialize_any(NodeVisitor)
    }
}

impl Serialize for Node {
    /// The value as it was written, its duplicate keys included.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Whole(number) => serializer.serialize_u64(*number),
            Self::Number(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Object(entries) => {
                let mut object = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    object.serialize_entry(key, value)?;
                }
                object.end()
            }
        }
    }
}

/// A text without the byte order mark that some editors and shells write in front of it.
pub(crate) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Reads a text as JSON.
pub(crate) fn parse_json(text: &str) -> Result<Node, Finding> {
    let text = without_mark(text);
    serde_json::from_str(text).map_err(|error| {
        let (line, column, cause) = plain_words::json(text, &error);
        Finding::new(Code::Syntax, "", format!("line {line}, column {column}: not JSON: {cause}"))
    })
}

/// Parses a file of this project: an object with some of these fields, in YAML or JSON. JSON with a mistake, such as a comment,
/// is often valid YAML of another meaning; such a text is reported as invalid JSON.
pub(crate) fn parse_file(text: &str, known: &[&str]) -> Result<(Node, Language), Finding> {
    let json_error = match parse_json(text) {
        Ok(node) => return Ok((node, Language::Json)),
        Err(finding) => finding,
    };
    if !without_mark(text).trim_start().starts_with(['{', '[']) {
        return parse_yaml(text).map(|node| (node, Language::Yaml));
    }
    // In braces it is JSON with a mistake, unless it says in YAML's flow style what belongs here.
    match parse_yaml(text) {
        Ok(node) if is_meant_as_yaml(&node, known) => Ok((node, Language::Yaml)),
        _ => Err(json_error),
    }
}

fn is_meant_as_yaml(node: &Node, known: &[&str]) -> bool {
    matches!(node, Node::Object(fields) if fields.iter().any(|(key, _)| known.contains(&key.as_str())))
        && !has_comment(node)
}

/// Whether there is a key that other languages read as a comment.
fn has_comment(node: &Node) -> bool {
    match node {
        Node::Object(fields) => fields
            .iter()
            .any(|(key, value)| key.starts_with("//") || key.starts_with("/*") || has_comment(value)),
        Node::List(items) => items.iter().any(has_comment),
        Node::Text(text) => text.starts_with("//") || text.starts_with("/*"),
        _ => false,
    }
}

/// The language of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Json,
    Yaml,
}

/// Reads a text as YAML 1.2 (of which JSON is nearly a subset). Aliases are expanded within tight limits.
pub(crate) fn parse_yaml(text: &str) -> Result<Node, Finding> {
    use serde_saphyr::MessageFormatter as _;
    let text = without_mark(text);
    let options = serde_saphyr::options! {
        // Both values are kept here, so that the finding can say where.
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        strict_booleans: true,
        // What CloudFormation's `!Ref` and `!Sub` stand for is known to CloudFormation only.
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    let node = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let at = error
            .location()
            .and_then(|at| Some((usize::try_from(at.line()).ok()?, usize::try_from(at.column()).ok()?)));
        let place = at.map(|(line, column)| format!("line {line}, column {column}: "));
        // Not the error's `Display`, which brings what draws the text around it.
        let message = serde_saphyr::DefaultMessageFormatter.format_message(&error);
        let cause = plain_words::yaml(text, at, message.lines().next().unwrap_or("unreadable"));
        let place = place.unwrap_or_default();
        Finding::new(Code::Syntax, "", format!("{place}not YAML: {cause}"))
    })?;
    match ambiguous_number(text) {
        Some(finding) => Err(finding),
        None => Ok(node),
    }
}

/// A number that YAML 1.1 and 1.2 read differently: `010` is 8 to PyYAML and to Go's readers, and 10 here.
fn ambiguous_number(text: &str) -> Option<Finding> {
    let is_of_number = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'_' | b'x' | b'X' | b'o' | b'b');
    // Hardly any text has such a thing, and only then it is read once more.
    let may_have = text.as_bytes().windows(2).any(|pair| {
        matches!(pair, [b'0', next] if is_of_number(next))
            || matches!(pair, [digit, b'_'] if digit.is_ascii_digit())
    });
    if !may_have {
        return None;
    }
    locate::numbers(text).into_iter().find_map(|place| {
        let line = plain_words::line_of(text, place.line);
        let rest = line.chars().skip(place.column.saturating_sub(1));
        let number: String =
            rest.take_while(|&c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-')).collect();
        let digits = number.trim_start_matches(['+', '-']);
        let has_zero_in_front =
            digits.starts_with('0') && digits.chars().nth(1).is_some_and(|next| next != '.' && next != 'e');
        (has_zero_in_front || digits.contains('_')).then(|| {
            let message = format!(
                "line {}, column {}: {} is one number to some readers of YAML and another one to others; write its decimal digits \
                 alone, without zeros in front",
                place.line,
                place.column,
                quoted(&number)
            );
            Finding::new(Code::Syntax, "", message)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_whole_number_are_one_number() {
        for text in ["30", "30.0", "3e1", "300e-1"] {
            assert_eq!(parse_json(text).unwrap(), Node::Whole(30), "{text}");
        }
        assert_eq!(parse_yaml("30.0").unwrap(), Node::Whole(30));
        assert_eq!(parse_json("30.5").unwrap(), Node::Number(30.5));
        assert_eq!(parse_json("-1").unwrap(), Node::Number(-1.0));
    }

    #[test]
    fn duplicate_keys_are_kept_in_both_languages() {
        let twice = Node::Object(vec![("a".into(), Node::Whole(1)), ("a".into(), Node::Whole(2))]);
        assert_eq!(parse_json(r#"{"a": 1, "a": 2}"#).unwrap(), twice);
        assert_eq!(parse_yaml("a: 1\na: 2").unwrap(), twice);
    }

    #[test]
    fn an_error_names_the_place_once() {
        let finding = parse_json("{\n  \"rules\": [,]}").unwrap_err();
        assert_eq!(finding.message, "line 2, column 13: not JSON: `,` where a value is needed");
        let finding = parse_yaml("a: [1,2").unwrap_err();
        assert_eq!(
            finding.message,
            "line 1, column 4: not YAML: `[` is never closed, or a comma is missing in it"
        );
    }

    #[test]
    fn a_tag_that_stands_for_another_value_is_refused() {
        for (text, tag) in [
            ("a: !Ref Name", "!Ref"),
            ("a: !If delete", "!If"),
            ("a: [!Sub \"${Name}\"]", "!Sub"),
            ("a:\n  - !Ref 3", "!Ref"),
            ("!Join { a: 1 }", "!Join"),
            ("!GetAtt a: 1", "!GetAtt"),
            ("a: !!python/object x", "python/object"),
        ] {
            let message = parse_yaml(text).unwrap_err().message;
            assert!(message.contains(tag) && message.contains("write the value"), "{text}: {message}");
        }
        assert_eq!(parse_yaml("!!str 3").unwrap(), Node::Text("3".to_owned()));
    }

    #[test]
    fn a_number_that_readers_of_yaml_disagree_about_is_refused() {
        for number in ["010", "0o10", "0x10", "1_000", "+07", "-010", "0b1"] {
            let text = format!("a:\n  - b: {number} # x\n");
            match parse_yaml(&text) {
                Err(finding) => {
                    let place = format!("line 2, column 8: `{number}` is one number");
                    assert!(finding.message.starts_with(&place), "{}", finding.message);
                }
                // What is no number here is a text, which is refused where a number is needed.
                Ok(node) => assert!(format!("{node:?}").contains("Text"), "{number}: {node:?}"),
            }
        }
        for text in [
            "a: 10",
            "a: 0",
            "a: 0.5",
            "a: 100",
            "a: '010'",
            "a: x_010",
            "a: 2027-01-01",
            "a: 1e3",
            "a: ci-010",
        ] {
            assert!(parse_yaml(text).is_ok(), "{text}");
        }
        assert!(parse_yaml("a: 010").is_err() && parse_yaml("a: 1_000").is_err());
    }

    #[test]
    fn nesting_is_bounded() {
        assert!(parse_json(&"[".repeat(100_000)).is_err());
        assert!(parse_yaml(&"- ".repeat(100_000)).is_err());
        assert!(parse_yaml(&"[".repeat(100_000)).is_err());
    }
}
