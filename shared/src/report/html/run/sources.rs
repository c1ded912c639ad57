//! Which usage sources were read, when, and whether completely.

use super::table::{Cell, Column, Table};
use crate::domain::text::instant::Instant;
use crate::domain::usage::source::{SourceStatus, SourceSummary};
use crate::report::run::RunReport;

const COLUMNS: [Column; 7] = [
    Column("Source", false),
    Column("Account", false),
    Column("Region", false),
    Column("Read", false),
    Column("When", false),
    Column("Age", true),
    Column("Images named", true),
];

/// The table; none where nothing had to be read.
pub(super) fn table(report: &RunReport) -> Option<Table> {
    let rows: Vec<_> = report.usage_sources.iter().map(|source| row(source, report.run.started_at)).collect();
    (!rows.is_empty()).then(|| Table {
        title: "What is in use, and where it was read",
        number: rows.len() as u64,
        note: "As it was when the run began; the age is that of what is known, at that time. ECS, Lambda and lists are read again before \
               anything is deleted. A source that is incomplete blocks deletion, unless the policies file ignores it."
            .to_owned(),
        columns: &COLUMNS,
        rows,
    })
}

fn row(summary: &SourceSummary, started_at: Instant) -> Vec<Cell> {
    let SourceSummary { source: name, title, status, read_at, images_in_use, list, account, region } =
        summary;
    let seconds = ((started_at.micros() - read_at.micros()) / 1_000_000).max(0);
    vec![
        Cell::from(title.as_str()).with_small(list.as_ref().unwrap_or(name)),
        Cell::from(account.as_deref().unwrap_or("this account")),
        Cell::from(region.as_deref().unwrap_or(if list.is_some() { "not told" } else { "this Region" })),
        Cell::from(status.text()).strong(*status == SourceStatus::Incomplete),
        Cell::time(*read_at),
        Cell::from(age(seconds).as_str()).sorted(seconds),
        Cell::number(*images_in_use),
    ]
}

/// A duration in its largest unit, from seconds.
fn age(seconds: i64) -> String {
    match seconds {
        ..60 => "0 min".to_owned(),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}
