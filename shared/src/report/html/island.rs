//! The data island of a page: everything that it shows, as compact JSON that its script reads. It is written row by row, so that
//! a page of a hundred thousand images needs no memory for them.
//!
//! Sentences are the most of an image, and few of them differ in more than numbers: an image has the place of the sentence among
//! all, and the numbers.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};
use serde_json::ser::Formatter;

use crate::domain::text::printable::is_control;

/// Stands for a number in a sentence. (Reasons are single lines; one that has such a character is written as it is.)
const NUMBER: char = '\u{1}';
/// Stands for a digest.
const DIGEST: char = '\u{2}';
/// Stands for the time at which the image is due.
const DUE: char = '\u{3}';
/// Digits that JavaScript reads as the same number.
const EXACT_DIGITS: usize = 15;
/// Hexadecimal digits of a digest of SHA-256.
const HEX_DIGITS: usize = 64;
/// The algorithm of almost all digests, which islands leave out.
const SHA256: &str = "sha256:";

/// Writes a value as JSON that nothing can end or open a tag in.
pub(super) fn write(value: &impl Serialize, out: &mut impl io::Write) -> io::Result<()> {
    out.write_all(br#"<script type="application/json" id="data">"#)?;
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut *out, WithoutMarkup))?;
    out.write_all(b"</script>")
}

/// JSON whose strings have no character that means something to HTML, to JavaScript or to a terminal, which a page may be printed
/// on: what is escaped there in the way of text would not be JSON any more.
struct WithoutMarkup;

impl Formatter for WithoutMarkup {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_escaped) {
            let (before, after) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            let mut characters = after.chars();
            if let Some(character) = characters.next() {
                write!(writer, "\\u{:04x}", u32::from(character))?;
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

const fn is_escaped(character: char) -> bool {
    matches!(character, '<' | '>' | '&') || is_control(character)
}

/// A sequence that is written as it is made, once.
pub(super) struct Streamed<I>(Cell<Option<I>>);

impl<I> Streamed<I> {
    pub(super) const fn new(items: I) -> Self {
        Self(Cell::new(Some(items)))
    }
}

impl<I: Iterator<Item: Serialize>> Serialize for Streamed<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.take().into_iter().flatten())
    }
}

/// Words that are written once, after everything that has their places.
#[derive(Debug, Default)]
pub(super) struct Words {
    places: RefCell<HashMap<String, usize>>,
}

impl Words {
    /// The place of a text.
    pub(super) fn place(&self, text: &str) -> usize {
        let mut places = self.places.borrow_mut();
        if let Some(place) = places.get(text) {
            return *place;
        }
        let place = places.len();
        places.insert(text.to_owned(), place);
        place
    }
}

impl Serialize for Words {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let places = self.places.borrow();
        let mut words: Vec<(&String, &usize)> = places.iter().collect();
        words.sort_unstable_by_key(|(_, place)| **place);
        serializer.collect_seq(words.into_iter().map(|(text, _)| text))
    }
}

/// A sentence as an island has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sentence {
    /// Its text.
    Whole(String),
    /// The place of its template, and its parts in their order.
    Parts(usize, Vec<Part>),
}

/// A part of a sentence that differs from image to image.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Part {
    /// A number, or the place of the image with a digest.
    Number(u64),
    /// A number that JavaScript would write otherwise, or a digest that no image has.
    Text(String),
}

impl Serialize for Sentence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Whole(text) => serializer.serialize_str(text),
            Self::Parts(template, parts) => {
                let mut items = serializer.serialize_seq(Some(1 + parts.len()))?;
                items.serialize_element(template)?;
                for part in parts {
                    items.serialize_element(part)?;
                }
                items.end()
            }
        }
    }
}

/// Splits a sentence into parts that many images share. `due` is the time in it that the image has beside it; `place_of` gives the
/// place of an image.
pub(super) fn sentence(
    text: &str,
    due: Option<&str>,
    place_of: impl Fn(&str) -> Option<usize>,
    templates: &Words,
) -> Sentence {
    if text.contains([NUMBER, DIGEST, DUE]) {
        return Sentence::Whole(text.to_owned());
    }
    let (mut template, mut parts) = (String::with_capacity(text.len()), Vec::new());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if let Some(after) = due.and_then(|due| rest.strip_prefix(due)) {
            template.push(DUE);
            rest = after;
        } else if let Some((digest, after)) = digest_of(rest) {
            template.push(DIGEST);
            let place = place_of(digest);
            parts.push(
                place.map_or_else(|| Part::Text(digest.to_owned()), |place| Part::Number(place as u64)),
            );
            rest = after;
        } else if character.is_ascii_digit() {
            let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
            let (digits, after) = rest.split_at(end);
            template.push(NUMBER);
            let is_exact = digits.len() <= EXACT_DIGITS && (digits == "0" || !digits.starts_with('0'));
            let number = digits.parse().ok().filter(|_| is_exact);
            parts.push(number.map_or_else(|| Part::Text(digits.to_owned()), Part::Number));
            rest = after;
        } else {
            template.push(character);
            rest = rest.get(character.len_utf8()..).unwrap_or_default();
        }
    }
    Sentence::Parts(templates.place(&template), parts)
}

/// The digest that a text begins with, and what follows.
fn digest_of(text: &str) -> Option<(&str, &str)> {
    let hex = text.strip_prefix(SHA256)?.as_bytes().get(..HEX_DIGITS)?;
    hex.iter().all(u8::is_ascii_hexdigit).then(|| text.split_at_checked(SHA256.len() + HEX_DIGITS)).flatten()
}

/// A digest without its algorithm, where that is the usual one.
pub(super) fn digest(digest: &str) -> &str {
    // Whatever has a colon is whole for the script.
    digest.strip_prefix(SHA256).filter(|rest| !rest.contains(':')).unwrap_or(digest)
}

/// Tags: one as a string, several as a list.
pub(super) struct Tags<'a>(pub(super) &'a [String]);

impl Serialize for Tags<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            [tag] => serializer.serialize_str(tag),
            tags => tags.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sentence that the script makes again.
    fn again(sentence: &Sentence, due: &str, digests: &[&str], templates: &Words) -> String {
        let Sentence::Parts(template, parts) = sentence else { panic!("{sentence:?} is whole") };
        let places = templates.places.borrow();
        let (template, _) = places.iter().find(|(_, place)| *place == template).unwrap();
        let mut parts = parts.iter();
        let mut text = String::new();
        for character in template.chars() {
            match character {
                DUE => text.push_str(due),
                NUMBER | DIGEST => match (character, parts.next().unwrap()) {
                    (DIGEST, Part::Number(place)) => text.push_str(digests[usize::try_from(*place).unwrap()]),
                    (_, Part::Number(number)) => text.push_str(&number.to_string()),
                    (_, Part::Text(part)) => text.push_str(part),
                },
                _ => text.push(character),
            }
        }
        text
    }

    #[test]
    fn sentences_are_what_they_were_when_they_are_put_together() {
        let known = format!("sha256:{}", "0123456789abcdef".repeat(4));
        let unknown = format!("sha256:{}", "f".repeat(64));
        let due = "2026-11-24T09:48:45.325Z";
        let templates = Words::default();
        for text in [
            String::new(),
            "Rank 5 by age; rule 2 keeps the 3 youngest images.".to_owned(),
            format!("Pushed 19 days ago, this one after {due}."),
            format!("About {known} (v007), which stays; {unknown}. 18446744073709551616 é 0 00"),
            "sha256:abc".to_owned(),
        ] {
            let place_of = |digest: &str| (digest == known).then_some(0);
            let sentence = sentence(&text, Some(due), place_of, &templates);
            assert_eq!(again(&sentence, due, &[&known], &templates), text);
        }
        assert_eq!(
            sentence("a\u{1}1", None, |_| None, &templates),
            Sentence::Whole("a\u{1}1".to_owned()),
            "what would be read otherwise is left as it is"
        );
    }

    #[test]
    fn sentences_that_differ_in_numbers_have_one_template() {
        let templates = Words::default();
        let parts = |text| sentence(text, None, |_| None, &templates);
        assert_eq!(parts("Rank 5 by age."), Sentence::Parts(0, vec![Part::Number(5)]));
        assert_eq!(parts("Rank 17 by age."), Sentence::Parts(0, vec![Part::Number(17)]));
        assert_eq!(serde_json::to_string(&templates).unwrap(), r#"["Rank \u0001 by age."]"#);
    }

    #[test]
    fn nothing_ends_an_island() {
        let hostile = "</script><!--<script>&amp;\u{2028}\u{2029}\u{202e}\u{9b}\"\\";
        let mut out = Vec::new();
        write(&[hostile], &mut out).unwrap();
        let page = String::from_utf8(out).unwrap();
        let json = page.strip_prefix(r#"<script type="application/json" id="data">"#).unwrap();
        let json = json.strip_suffix("</script>").unwrap();
        assert!(!json.contains(is_escaped), "{json}");
        assert_eq!(serde_json::from_str::<Vec<String>>(json).unwrap(), [hostile]);
    }
}
