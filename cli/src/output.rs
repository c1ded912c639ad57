//! Standard output and standard error. Characters that would control a terminal are escaped.
//!
//! The reader of a pipe may close it early. Further output is then dropped, and the command ends with its usual exit code:
//! `enforce | head` still tells whether something needs attention.

use std::io::{self, BufWriter, StderrLock, Write};

use clap::ValueEnum;
use shared::domain::text::printable::{Notation, Printer};

use crate::pager;

/// The format of a command's output that is not a table.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// JSON for programs.
    Json,
}

/// Standard output or a pager, either of which may have been closed by its reader.
#[derive(Debug)]
pub(crate) struct Pipe;

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match pager::write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match pager::flush() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            flushed => flushed,
        }
    }
}

/// Standard output for text: a document that is not JSON, or lines.
pub(crate) fn text() -> BufWriter<Printer<Pipe>> {
    out(Notation::Text)
}

/// Standard output for JSON, whose values remain exact.
pub(crate) fn json() -> BufWriter<Printer<Pipe>> {
    out(Notation::Json)
}

/// Standard output for tables and help: what is in them is escaped already, and the colours are theirs.
pub(crate) fn tables() -> BufWriter<Pipe> {
    BufWriter::new(Pipe)
}

/// Standard error.
pub(crate) fn error() -> Printer<StderrLock<'static>> {
    Printer::new(io::stderr().lock(), Notation::Text)
}

/// Prints one line of text.
pub(crate) fn line(line: &str) -> io::Result<()> {
    let mut out = text();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Prints a value as JSON.
pub(crate) fn value(value: &impl serde::Serialize) -> io::Result<()> {
    let mut out = json();
    serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Prints a note on standard error. If that fails, the command continues.
pub(crate) fn note(text: &str) {
    let Some(text) = pager::defer(text.to_owned()) else { return };
    crate::progress::interrupted(|| {
        let _ = writeln!(error(), "{text}");
    });
}

/// A paragraph behind `lead`, in lines of at most `width` characters, the later ones behind `indentation` spaces. A longer word has a
/// line of its own. Ends with a line break.
pub(crate) fn wrapped(lead: &str, text: &str, width: usize, indentation: usize) -> String {
    let mut lines = lead.to_owned();
    let mut used = lead.chars().count();
    for (place, word) in text.split(' ').filter(|word| !word.is_empty()).enumerate() {
        let length = word.chars().count();
        if place > 0 && used + 1 + length > width {
            lines.push('\n');
            lines.extend(std::iter::repeat_n(' ', indentation));
            used = indentation;
        } else if place > 0 {
            lines.push(' ');
            used += 1;
        }
        lines.push_str(word);
        used += length;
    }
    lines.push('\n');
    lines
}

/// Prints the command that explains these codes on standard error, after a report for people.
pub(crate) fn explain_codes<'a>(codes: impl IntoIterator<Item = &'a str>) {
    if let Some(hint) = shared::report::code_pages::hint(codes) {
        note(&hint);
    }
}

fn out(notation: Notation) -> BufWriter<Printer<Pipe>> {
    BufWriter::new(Printer::new(Pipe, notation))
}
