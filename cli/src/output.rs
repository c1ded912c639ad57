//! Standard output and standard error: whatever they are given, a terminal shows it and does not obey it.

use std::io::{self, BufWriter, StderrLock, StdoutLock};

use shared::domain::text::printable::{Notation, Printer};

/// Standard output for text: a document that is not JSON, or lines.
pub(crate) fn text() -> BufWriter<Printer<StdoutLock<'static>>> {
    out(Notation::Text)
}

/// Standard output for JSON, which stays as exact as it is.
pub(crate) fn json() -> BufWriter<Printer<StdoutLock<'static>>> {
    out(Notation::Json)
}

/// Standard output for tables: what is in them is escaped already, and the colours are theirs.
pub(crate) fn tables() -> BufWriter<StdoutLock<'static>> {
    BufWriter::new(io::stdout().lock())
}

/// Standard error.
pub(crate) fn error() -> Printer<StderrLock<'static>> {
    Printer::new(io::stderr().lock(), Notation::Text)
}

fn out(notation: Notation) -> BufWriter<Printer<StdoutLock<'static>>> {
    BufWriter::new(Printer::new(io::stdout().lock(), notation))
}
