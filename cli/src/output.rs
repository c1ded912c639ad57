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

fn out(notation: Notation) -> BufWriter<Printer<Pipe>> {
    BufWriter::new(Printer::new(Pipe, notation))
}
