//! Escapes characters that would control a terminal.
//!
//! Names, tags, reasons and messages come from outside, and may contain any character. All text for a terminal, or for a log that
//! is read in one, passes through this module.

use std::borrow::Cow;
use std::io::{self, Write};

/// The notation of escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    /// Rust's notation, for people: `
    /// u{9b}`.
    Text,
    /// JSON's notation: `
    /// u009b`. In JSON such characters occur in strings only, so that the meaning of the document does not change.
    Json,
}

/// Whether a character controls a terminal: C0 without the line break and the tab, DEL, C1, the line and paragraph separators,
/// and Unicode's bidirectional formatting characters.
#[must_use]
pub const fn is_control(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' => true,
        '\u{61c}' | '\u{200e}' | '\u{200f}' => true,
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        _ => false,
    }
}

/// A text whose control characters are escapes.
#[must_use]
pub fn printable(text: &str, notation: Notation) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match (is_control(character), notation) {
            (false, _) => shown.push(character),
            (true, Notation::Text) => shown.extend(character.escape_default()),
            // None of them is beyond the first plane.
            (true, Notation::Json) => shown += &format!("\\u{:04x}", u32::from(character)),
        }
    }
    Cow::Owned(shown)
}

/// Escapes a part of a line: line breaks, too.
#[must_use]
pub fn on_one_line(text: &str) -> Cow<'_, str> {
    // Most of what is shown, and of a table hundreds of thousands of cells.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    match printable(text, Notation::Text) {
        shown if shown.contains(['\n', '\t']) => Cow::Owned(shown.replace('\n', "\\n").replace('\t', "\\t")),
        shown => shown,
    }
}

/// Writes text with its control characters as escapes, to where a terminal may be. What is no UTF-8 is replaced.
#[derive(Debug)]
pub struct Printer<W> {
    inner: W,
    notation: Notation,
    /// The beginning of a character whose end is not written yet.
    incomplete: Vec<u8>,
}

impl<W: Write> Printer<W> {
    /// Writes on to `inner`.
    pub const fn new(inner: W, notation: Notation) -> Self {
        Self { inner, notation, incomplete: Vec::new() }
    }
}

impl<W: Write> Write for Printer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let incomplete = std::mem::take(&mut self.incomplete);
        let whole = if incomplete.is_empty() {
            Cow::Borrowed(bytes)
        } else {
            Cow::Owned([&incomplete, bytes].concat())
        };
        for chunk in whole.utf8_chunks() {
            self.inner.write_all(printable(chunk.valid(), self.notation).as_bytes())?;
            let is_last = std::ptr::eq(chunk.invalid().as_ptr_range().end, whole.as_ptr_range().end);
            let may_go_on = is_last
                && std::str::from_utf8(chunk.invalid()).is_err_and(|error| error.error_len().is_none());
            match chunk.invalid() {
                [] => {}
                invalid if may_go_on => self.incomplete = invalid.to_vec(),
                _ => self.inner.write_all("\u{fffd}".as_bytes())?,
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_controls_a_terminal_is_shown_and_nothing_else_is_changed() {
        for (text, shown) in [
            ("v2\u{1b}]0;pwned\u{7}", r"v2\u{1b}]0;pwned\u{7}"),
            ("a\rb\u{8}c\u{7f}", r"a\rb\u{8}c\u{7f}"),
            ("\u{9b}31m\u{85}", r"\u{9b}31m\u{85}"),
            ("\u{202e}gpj.\u{2066}\u{200f}\u{61c}\u{2028}", r"\u{202e}gpj.\u{2066}\u{200f}\u{61c}\u{2028}"),
            ("zażółć\tgęślą\n日本 🦀 \\u{1b}", "zażółć\tgęślą\n日本 🦀 \\u{1b}"),
        ] {
            assert_eq!(printable(text, Notation::Text), shown);
        }
        assert_eq!(on_one_line("a\nb\t\u{1b}"), r"a\nb\t\u{1b}");
    }

    #[test]
    fn json_means_the_same_as_before() {
        let text = "\u{1b}[31m \u{7f}\u{9b}\u{202e}\n";
        let json = serde_json::to_string(&[text]).unwrap();
        let shown = printable(&json, Notation::Json);
        assert!(!shown.contains(is_control), "{shown:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&shown).unwrap(), [text]);
    }

    #[test]
    fn characters_may_come_in_pieces_and_bytes_may_be_none() {
        let text = "a\u{9b}31m日\u{202e}🦀";
        for size in 1..text.len() {
            let mut printer = Printer::new(Vec::new(), Notation::Text);
            text.as_bytes().chunks(size).for_each(|chunk| printer.write_all(chunk).unwrap());
            assert_eq!(String::from_utf8(printer.inner).unwrap(), r"a\u{9b}31m日\u{202e}🦀", "{size}");
        }
        let mut printer = Printer::new(Vec::new(), Notation::Text);
        printer.write_all(b"a\xff\x9bb").unwrap();
        assert_eq!(String::from_utf8(printer.inner).unwrap(), "a\u{fffd}\u{fffd}b");
    }
}
