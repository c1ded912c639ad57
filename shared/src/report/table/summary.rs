//! Previews of several repositories as one table: a row for each, and their sum.

use std::cmp::Reverse;

use super::layout::{Cell, Column, Layout, Paint};
use super::{SIZE, Style};
use crate::domain::preview::Preview;
use crate::domain::text::quantity::{bytes, count_of, grouped};

/// The totals of one preview.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row {
    /// The repository, with its account where several registries are previewed.
    pub repository: String,
    /// All images.
    pub images: u64,
    /// Images that expire.
    pub expiring: u64,
    /// Bytes of the images that expire.
    pub expiring_bytes: u64,
    /// Images that are archived.
    pub archived: u64,
    /// Images that are kept.
    pub kept: u64,
    /// Findings about the policy and the images.
    pub findings: u64,
}

/// The order of repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// As they were previewed.
    #[default]
    AsRead,
    /// By name.
    Repository,
    /// The most bytes that expire first.
    Size,
    /// The most images that expire first.
    Images,
}

impl Row {
    /// The totals of a preview.
    #[must_use]
    pub fn of(preview: &Preview<'_>, names_account: bool) -> Self {
        let summary = preview.summary();
        Self {
            repository: match preview.registry_id().filter(|_| names_account) {
                Some(account) => format!("{} of {account}", preview.title()),
                None => preview.title().to_owned(),
            },
            images: preview.images().len() as u64,
            expiring: summary.expiring_image_total_count,
            expiring_bytes: summary.expiring_image_size_in_bytes,
            archived: summary.transitioning_image_total_count(),
            kept: summary.kept_image_total_count,
            findings: preview.findings().len() as u64,
        }
    }
}

/// The sum of all rows.
#[must_use]
pub fn total(rows: &[Row]) -> Row {
    let mut total =
        Row { repository: count_of(rows.len() as u64, "repository", "repositories"), ..Row::default() };
    for row in rows {
        total.images += row.images;
        total.expiring += row.expiring;
        total.expiring_bytes = total.expiring_bytes.saturating_add(row.expiring_bytes);
        total.archived += row.archived;
        total.kept += row.kept;
        total.findings += row.findings;
    }
    total
}

/// Renders the table. Every line ends with a line break.
#[must_use]
pub fn render(mut rows: Vec<Row>, order: Order, style: Style) -> String {
    match order {
        Order::AsRead => {}
        Order::Repository => rows.sort_by(|left, right| left.repository.cmp(&right.repository)),
        Order::Size => rows.sort_by_key(|row| Reverse(row.expiring_bytes)),
        Order::Images => rows.sort_by_key(|row| Reverse(row.expiring)),
    }
    let total = total(&rows);
    // The sums are the widest numbers.
    let width = |number: u64| grouped(number).len();
    let longest = rows.iter().chain([&total]).map(|row| row.repository.chars().count()).max();
    let layout = Layout::new(
        &[
            Column::text("REPOSITORY", 18, longest.unwrap_or_default()),
            Column::number("IMAGES", width(total.images)),
            Column::number("EXPIRE", width(total.expiring)),
            Column::number("SIZE", SIZE),
            Column::number("ARCHIVE", width(total.archived)),
            Column::number("KEPT", width(total.kept)),
            Column::number("FINDINGS", width(total.findings)),
        ],
        style,
    );
    let mut out = String::new();
    layout.header(&mut out);
    let last = rows.len();
    for (at, row) in rows.into_iter().chain([total]).enumerate() {
        let paint = if at == last { Paint::Bold } else { Paint::Plain };
        let number = |number: u64| Cell::new(grouped(number)).paint(paint);
        layout.row(
            &mut out,
            &[
                Cell::new(row.repository).paint(paint),
                number(row.images),
                number(row.expiring),
                Cell::new(bytes(row.expiring_bytes)).paint(paint),
                number(row.archived),
                number(row.kept),
                number(row.findings),
            ],
        );
    }
    out
}
