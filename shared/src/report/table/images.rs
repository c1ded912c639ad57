//! The images of a repository as a table, a line or more for each.

use std::io;

use super::layout::{Cell, Column, Layout, Paint};
use super::{SIZE, Style, age_width, wrap_behind};
use crate::domain::image::{Image, ImageStatus};
use crate::domain::lifecycle::explain::short_digest;
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity::{age, bytes, count};

/// Writes a table, each row as it is made.
///
/// # Errors
///
/// When it cannot be written.
pub fn write(
    out: &mut impl io::Write,
    repository: &str,
    images: &[Image],
    now: Instant,
    style: Style,
) -> io::Result<()> {
    let size = images.iter().map(|image| image.size_in_bytes).fold(0, u64::saturating_add);
    let mut text = String::new();
    let totals = format!(": {}, {}", count(images.len() as u64, "image"), bytes(size));
    wrap_behind(&mut text, repository, &totals, style);
    if images.is_empty() {
        return out.write_all(text.as_bytes());
    }
    let length = |image: &Image| image.tags.iter().map(|tag| tag.chars().count() + 2).sum::<usize>();
    let longest = images.iter().map(length).max().unwrap_or_default();
    let width = age_width(images.iter(), now);
    let layout = Layout::new(
        &[
            Column::fixed("DIGEST", 12),
            Column::number("PUSHED", width),
            // `never`, or later than the push.
            Column::number("PULLED", width),
            Column::number("SIZE", SIZE),
            Column::fixed("STATUS", 9),
            Column::text("TAGS", 14, longest.saturating_sub(2)),
        ],
        style,
    );
    layout.header(&mut text);
    for image in images {
        let status = match image.status {
            ImageStatus::Active => "active",
            ImageStatus::Archived => "archived",
            ImageStatus::Activating => "restoring",
            ImageStatus::Unknown => "unknown",
        };
        let tags = image.tags.join(", ");
        layout.row(
            &mut text,
            &[
                Cell::new(short_digest(&image.digest)),
                Cell::new(age(now, image.pushed_at)),
                Cell::new(image.last_pulled_at.map_or_else(|| "never".to_owned(), |at| age(now, at))),
                Cell::new(bytes(image.size_in_bytes)),
                Cell::new(status),
                if tags.is_empty() { Cell::new("-").paint(Paint::Grey) } else { Cell::new(tags) },
            ],
        );
        out.write_all(text.as_bytes())?;
        text.clear();
    }
    out.write_all(text.as_bytes())
}
