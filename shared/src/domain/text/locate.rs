//! Finds the line and column of the value that a JSON pointer names, for messages that an editor can jump to.

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

use crate::domain::text::finding::{Code, Finding};

/// A place in a text, from 1 and in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// The places of all values of a text.
#[derive(Debug)]
pub struct Places(Option<Located>);

/// A value with its place.
type Located = Spanned<Value>;

#[derive(Debug)]
enum Value {
    Scalar,
    Number,
    List(Vec<Located>),
    Object(Vec<(Spanned<String>, Located)>),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;

        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = Value;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Scalar)
            }

            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Scalar)
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
                deserializer.deserialize_any(self)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
                Ok(Value::Scalar)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
                Ok(Value::Number)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
                Ok(Value::Number)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
                Ok(Value::Number)
            }

            fn visit_str<E>(self, _: &str) -> Result<Value, E> {
                Ok(Value::Scalar)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Value::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
                let mut object = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    object.push(entry);
                }
                Ok(Value::Object(object))
            }
        }

        deserializer.deserialize_any(ValueVisitor)
    }
}

/// The places of all numbers of a text in YAML; none of a text that is not.
pub(crate) fn numbers(text: &str) -> Vec<Place> {
    let places = Places::of(text);
    let (mut found, mut left) = (Vec::new(), Vec::from_iter(places.0.as_ref()));
    while let Some(located) = left.pop() {
        match &located.value {
            Value::Scalar => {}
            Value::Number => found.extend(place_of(located)),
            Value::List(items) => left.extend(items),
            Value::Object(entries) => left.extend(entries.iter().map(|(_, value)| value)),
        }
    }
    found.sort_unstable();
    found
}

impl Places {
    /// The places of a text in YAML or JSON. Empty for a text that is neither.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let options = serde_saphyr::options! {
            duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
            with_snippet: false,
        };
        Self(serde_saphyr::from_str_with_options(text, options).ok())
    }

    /// The place of a finding: the one that its message begins with for what is not JSON or YAML at all; otherwise the value
    /// that the pointer names, or the nearest one around it.
    #[must_use]
    pub fn of_finding(&self, finding: &Finding) -> Option<Place> {
        // Of a document in a string the message counts from the string's beginning.
        if finding.pointer.is_empty()
            && let Some((place, _)) = split_place(&finding.message)
        {
            return Some(place);
        }
        let is_about_name = matches!(finding.code, Code::UnknownField | Code::DuplicateKey);
        let mut at = self.0.as_ref()?;
        let mut place = None;
        for token in finding.pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            let (key, next) = match &at.value {
                Value::Object(entries) => {
                    // Of a key that is there twice the last one is the one that is wrong.
                    let Some((key, value)) = entries.iter().rev().find(|(key, _)| key.value == token) else {
                        break;
                    };
                    (place_of(key), value)
                }
                Value::List(items) => {
                    let Some(item) = token.parse().ok().and_then(|index: usize| items.get(index)) else {
                        break;
                    };
                    (None, item)
                }
                Value::Scalar | Value::Number => break,
            };
            place = if is_about_name && key.is_some() { key } else { place_of(next).or(key) };
            at = next;
        }
        place.or_else(|| (!finding.pointer.is_empty()).then(|| place_of(at)).flatten())
    }
}

fn place_of<T>(value: &Spanned<T>) -> Option<Place> {
    let line = usize::try_from(value.referenced.line()).ok()?;
    let column = usize::try_from(value.referenced.column()).ok()?;
    (line > 0).then_some(Place { line, column: column.max(1) })
}

/// The place that a message begins with, as "line 2, column 13: …", and the rest of it.
#[must_use]
pub fn split_place(message: &str) -> Option<(Place, &str)> {
    let (line, rest) = message.strip_prefix("line ")?.split_once(", column ")?;
    let (column, rest) = rest.split_once(": ")?;
    Some((Place { line: line.parse().ok()?, column: column.parse().ok()? }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, pointer: &str, code: Code) -> Option<(usize, usize)> {
        let place = Places::of(text).of_finding(&Finding::new(code, pointer, "x"))?;
        Some((place.line, place.column))
    }

    #[test]
    fn a_pointer_has_a_line_and_a_column_in_both_languages() {
        let yaml = "rules:\n  - selection: untaged\n    maximumAgeLimit: 7\n  - {a: 1, a: 2}\n";
        assert_eq!(at(yaml, "/rules/0/selection", Code::UnknownValue), Some((2, 16)));
        assert_eq!(at(yaml, "/rules/0/maximumAgeLimit", Code::UnknownField), Some((3, 5)));
        assert_eq!(at(yaml, "/rules/1/a", Code::DuplicateKey), Some((4, 12)));
        assert_eq!(at(yaml, "/rules/0/missing", Code::MissingField).map(|place| place.0), Some(2));
        let json = "{\n  \"rules\": [\n\t{\"a/b\": [1, \"x\"]}]}";
        assert_eq!(at(json, "/rules/0/a~1b/1", Code::WrongType), Some((3, 14)));
        assert_eq!(at(json, "", Code::WrongType), None, "the whole has no place");
        assert_eq!(at("{{{", "/a", Code::WrongType), None);
    }

    #[test]
    fn a_syntax_error_has_the_place_of_its_message() {
        let finding = Finding::new(Code::Syntax, "", "line 3, column 14: not JSON: x");
        assert_eq!(Places::of("{").of_finding(&finding), Some(Place { line: 3, column: 14 }));
        assert_eq!(split_place("line 3, column 14: not JSON").unwrap().1, "not JSON");
    }
}
