//! Standard output and standard error. Characters that would control a terminal are escaped.
//!
//! The reader of a pipe may close it early. Further output is then dropped, and the command ends with its usual exit code:
//! `enforce | head` still tells whether something needs attention.

use std::io::{self, BufWriter, IsTerminal, StderrLock, Write};

use clap::ValueEnum;
use shared::domain::text::printable::{Notation, Printer};
use shared::report::table;

use crate::{pager, preview};

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

/// Prints a sentence, in as many lines as it takes on a terminal.
pub(crate) fn sentence(words: &str) -> io::Result<()> {
    let mut out = text();
    paragraph(&mut out, "", words, 0)?;
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
    let mut lines = table::lines(lead, text, width, indentation).join("\n");
    lines.push('\n');
    lines
}

/// Writes a paragraph as [`wrapped`] makes it on a terminal, or where `COLUMNS` says how wide lines are. Elsewhere programs look for
/// lines, and a paragraph is one. Without a lead the first line is indented as well.
pub(crate) fn paragraph(out: &mut impl Write, lead: &str, text: &str, indentation: usize) -> io::Result<()> {
    let width = line_style().columns();
    // Most of a line is for words.
    let indentation = indentation.min(width / 3);
    let indented = " ".repeat(indentation);
    let mut lead = if lead.is_empty() { &indented } else { lead };
    for line in text.split('\n') {
        out.write_all(wrapped(lead, line, width, indentation).as_bytes())?;
        lead = &indented;
    }
    Ok(())
}

/// The style of what has a line for each thing: as wide as the terminal or as `COLUMNS` says; in a pipe or a file as wide as it is.
pub(crate) fn line_style() -> table::Style {
    let style = preview::style();
    let is_said = io::stdout().is_terminal() || std::env::var_os("COLUMNS").is_some();
    if is_said { style } else { table::Style { width: u16::MAX, ..style } }
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
