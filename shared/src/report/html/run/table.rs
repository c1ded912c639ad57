//! Tables of a run's page: the script shows some rows at a time, and without scripts the first are there.

use maud::{Markup, html};
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use super::text;
use crate::domain::enforcement::outcome::Amount;
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity::{bytes, grouped};

/// Rows that are there without scripts.
pub(super) const ROWS_WITHOUT_SCRIPTS: usize = 500;

/// A cell: a text, maybe with a number to sort by, and with a smaller text after it.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    text: String,
    sort: Option<i64>,
    small: String,
    is_strong: bool,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned(), ..Self::default() }
    }
}

impl Cell {
    pub(super) fn number(number: u64) -> Self {
        Self { text: grouped(number), sort: i64::try_from(number).ok(), ..Self::default() }
    }

    pub(super) fn size(size: u64) -> Self {
        Self { text: bytes(size), sort: i64::try_from(size).ok(), ..Self::default() }
    }

    /// A number of images with the sum of their sizes.
    pub(super) fn amount(amount: Amount) -> Self {
        let size = if amount.is_zero() { String::new() } else { bytes(amount.image_size_in_bytes) };
        Self { small: size, ..Self::number(amount.image_total_count) }
    }

    pub(super) fn time(at: Instant) -> Self {
        Self { text: text::minute(at), sort: Some(at.micros() / 1000), ..Self::default() }
    }

    /// The same with another value to sort by.
    pub(super) fn sorted(self, sort: i64) -> Self {
        Self { sort: Some(sort), ..self }
    }

    pub(super) fn with_small(self, small: impl Into<String>) -> Self {
        Self { small: small.into(), ..self }
    }

    pub(super) fn strong(self, is_strong: bool) -> Self {
        Self { is_strong, ..self }
    }

    fn markup(&self) -> Markup {
        html! {
            @if self.is_strong { strong { (self.text) } } @else { (text::prose(&self.text)) }
            @if !self.small.is_empty() { " " small { (self.small) } }
        }
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { text, sort, small, is_strong } = self;
        if sort.is_none() && small.is_empty() && !is_strong {
            return serializer.serialize_str(text);
        }
        let mut items = serializer.serialize_seq(None)?;
        items.serialize_element(text)?;
        items.serialize_element(sort)?;
        if !small.is_empty() || *is_strong {
            items.serialize_element(small)?;
        }
        if *is_strong {
            items.serialize_element(&1)?;
        }
        items.end()
    }
}

/// The name of a column, and whether it is numbers.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Column(pub(super) &'static str, pub(super) bool);

/// A table with its heading.
#[derive(Debug, Serialize)]
pub(super) struct Table {
    pub(super) title: &'static str,
    /// The number of rows there are, also beyond those that the report lists.
    pub(super) number: u64,
    /// A sentence or two before it.
    pub(super) note: String,
    pub(super) columns: &'static [Column],
    pub(super) rows: Vec<Vec<Cell>>,
}

impl Table {
    /// The first rows of the table, as they are without scripts.
    pub(super) fn markup(&self) -> Markup {
        html! {
            h2 { (self.title) " " span.badge { (grouped(self.number)) } }
            @if !self.note.is_empty() { p.note { (self.note) } }
            @if self.rows.len() > ROWS_WITHOUT_SCRIPTS {
                p.notice { "The first " (grouped(ROWS_WITHOUT_SCRIPTS as u64)) " of " (grouped(self.rows.len() as u64)) "." }
            }
            table.figures {
                thead {
                    tr { @for Column(name, is_number) in self.columns { th.number[*is_number] scope="col" { (name) } } }
                }
                tbody {
                    @for row in self.rows.iter().take(ROWS_WITHOUT_SCRIPTS) {
                        tr {
                            @for (cell, Column(_, is_number)) in row.iter().zip(self.columns) {
                                td.number[*is_number] { (cell.markup()) }
                            }
                        }
                    }
                }
            }
        }
    }
}
