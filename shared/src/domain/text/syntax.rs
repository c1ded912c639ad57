//! JSON and YAML texts as trees that keep what a policy reader must see: the order of keys, duplicate keys, nulls
//! and how numbers are meant. Knows nothing of policies.

use std::fmt;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::text::finding::{Code, Finding, quoted};
use crate::domain::text::locate::Place;
use crate::domain::text::{locate, plain_words};

/// A value as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    /// A whole number of zero or more, however spelled: `7`, `7.0` and `70e-1` are the same. It is the number that is written, to
    /// the last digit.
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

    /// Makes whole numbers of those that are whole although they are written with a point or an exponent; gives whether there
    /// was one. Which number is written does not follow from the value: hundreds of nines behind `1.` are 2 to floating point.
    fn settle(&mut self) -> bool {
        match self {
            Self::Number(value) => {
                let value = *value;
                // Doubles are exact whole numbers below 2^53.
                if value.fract() != 0.0 || !(0.0..9_007_199_254_740_992.0).contains(&value) {
                    return false;
                }
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "checked just above"
                )]
                let whole = value as u64;
                *self = Self::Whole(whole);
                true
            }
            Self::List(items) => settle_all(items.iter_mut()),
            Self::Object(entries) => settle_all(entries.iter_mut().map(|(_, value)| value)),
            Self::Null | Self::Bool(_) | Self::Whole(_) | Self::Text(_) => false,
        }
    }
}

/// Settles each of these, also behind the first one that had such a number.
fn settle_all<'a>(nodes: impl Iterator<Item = &'a mut Node>) -> bool {
    let mut found = false;
    for node in nodes {
        found |= node.settle();
    }
    found
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
                Ok(Node::Number(value))
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
    let mut node: Node = serde_json::from_str(text).map_err(|error| {
        let (line, column, cause) = plain_words::json(text, &error);
        Finding::new(Code::Syntax, "", format!("line {line}, column {column}: not JSON: {cause}"))
    })?;
    // Hardly any text has such a number, and only then it is read once more.
    let rounded = if node.settle() { rounded_in_json(text) } else { None };
    rounded.map_or(Ok(node), |(place, numeral)| Err(rounded_number(place, numeral)))
}

/// The first number of a text in JSON that floating point rounds to a whole one.
fn rounded_in_json(text: &str) -> Option<(Place, &str)> {
    let is_of_numeral = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at += 1;
                while let Some(&byte) = bytes.get(at)
                    && byte != b'"'
                {
                    at += if byte == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let length = bytes.iter().skip(at).take_while(|byte| is_of_numeral(**byte)).count();
                let numeral = text.get(at..at + length)?;
                if is_rounded(numeral) {
                    let before = text.get(..at)?;
                    let line = before.matches('\n').count() + 1;
                    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
                    return Some((Place { line, column }, numeral));
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    None
}

/// Whether a decimal numeral is no whole number and its floating point value is one.
fn is_rounded(numeral: &str) -> bool {
    let is_whole_value = numeral.parse::<f64>().is_ok_and(|value| value.fract() == 0.0);
    is_whole_value && !is_whole(numeral)
}

/// Whether a decimal numeral, such as `70e-1`, is a whole number.
fn is_whole(numeral: &str) -> bool {
    let (digits, exponent) = numeral.split_once(['e', 'E']).unwrap_or((numeral, "0"));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_zero = |digits: &str| digits.chars().all(|digit| !digit.is_ascii_digit() || digit == '0');
    if is_zero(whole) && is_zero(fraction) {
        return true;
    }
    // An exponent that is too large for this has more digits than the text has zeros to even it out.
    let Ok(exponent) = exponent.parse::<i64>() else { return !exponent.starts_with('-') };
    let significant = fraction.trim_end_matches('0');
    // The place of the last digit that is not zero, counted from the point: 1 is the first behind it, 0 and less are in front.
    let last = match significant.len() {
        0 => -i64::try_from(whole.len() - whole.trim_end_matches('0').len()).unwrap_or(i64::MAX),
        length => i64::try_from(length).unwrap_or(i64::MAX),
    };
    last.saturating_sub(exponent) <= 0
}

fn rounded_number(place: Place, numeral: &str) -> Finding {
    let message = format!(
        "line {}, column {}: {} is no whole number, though computers that round it take it for one; write the digits of the number \
         that is meant",
        place.line,
        place.column,
        quoted(numeral)
    );
    Finding::new(Code::Syntax, "", message)
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
    let mut node: Node = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
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
    // Hardly any text has such a thing, and only then it is read once more.
    if node.settle() {
        // Behind an alias is a number that has its own place.
        let is_wrong = |(_, numeral): &(Place, String)| {
            is_rounded(numeral) || !numeral.starts_with('*') && numeral.parse::<f64>().is_err()
        };
        if let Some((place, numeral)) = numerals(text).into_iter().find(is_wrong) {
            return Err(rounded_number(place, &numeral));
        }
    }
    match ambiguous_number(text) {
        Some(finding) => Err(finding),
        None => Ok(node),
    }
}

/// The numbers of a text in YAML as they are written, with their places.
fn numerals(text: &str) -> Vec<(Place, String)> {
    let written = |place: Place| {
        let line: Vec<char> = plain_words::line_of(text, place.line).chars().collect();
        let mut rest = line.get(place.column.saturating_sub(1)..).unwrap_or_default();
        // An anchor and a tag stand in front of what they are of.
        while rest.starts_with(&['&']) || rest.starts_with(&['!']) {
            let end = rest.iter().position(|c| c.is_whitespace()).unwrap_or(rest.len());
            let word = rest.iter().skip(end).take_while(|c| c.is_whitespace()).count();
            rest = rest.get(end + word..).unwrap_or_default();
        }
        let is_of_numeral = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-' | '*');
        (place, rest.iter().copied().take_while(is_of_numeral).collect())
    };
    locate::numbers(text).into_iter().map(written).collect()
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
    numerals(text).into_iter().find_map(|(place, number)| {
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
    fn a_number_is_the_one_that_is_written_to_its_last_digit() {
        let nines = format!("1.{}", "9".repeat(400));
        let tiny = format!("1.{}1", "0".repeat(400));
        let large = "4503599627370497.25";
        for numeral in [&nines, &tiny, "1e-400", "0.1e-400", "2.0000000000000000001", large, "-1e-999"] {
            for (text, place) in [
                (format!("{{\n \"a\\\" 1.5\": {numeral}}}"), "line 2, column 13: "),
                (format!("[{numeral}]"), "line 1, column 2: "),
            ] {
                let shown = quoted(numeral);
                for finding in [parse_json(&text).unwrap_err(), parse_yaml(&text).unwrap_err()] {
                    let expected = format!("{place}{shown} is no whole number, though");
                    assert!(finding.message.starts_with(&expected), "{text}: {}", finding.message);
                }
            }
            for text in [
                format!("a: 1\nb: [x, {numeral}]"),
                format!("a: &a {numeral}\nb: *a"),
                format!("a: &a\n  {numeral}\nb: *a"),
                format!("a: !!float {numeral}"),
            ] {
                assert!(parse_yaml(&text).is_err(), "{text}");
            }
            let quoted = format!("[\"{numeral}\", 3.0]");
            assert!(parse_json(&quoted).is_ok() && parse_yaml(&quoted).is_ok(), "no number: {quoted}");
        }
        let zeros = format!("20.{}", "0".repeat(400));
        let shifted = format!("2{}e-400", "0".repeat(401));
        for numeral in [&zeros, &shifted, "2.0e1", "0.2e2", "200e-1", "20"] {
            assert_eq!(parse_json(numeral).unwrap(), Node::Whole(20), "{numeral}");
            assert_eq!(parse_yaml(numeral).unwrap(), Node::Whole(20), "{numeral}");
        }
        assert_eq!(parse_json("0.0e-9").unwrap(), Node::Whole(0));
        assert!(parse_yaml("a: &a 30\nb: *a\nc: 3.0\nd: !!int 4").is_ok());
        // What is not whole to anybody is refused where a whole number is needed.
        assert_eq!(parse_json("1.5").unwrap(), Node::Number(1.5));
        for beyond in ["9007199254740993.0", "9007199254740992.0", "1e300"] {
            assert!(matches!(parse_json(beyond).unwrap(), Node::Number(_)), "{beyond}");
        }
        assert_eq!(parse_json("9007199254740993").unwrap(), Node::Whole(9_007_199_254_740_993));
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
