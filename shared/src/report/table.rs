//! A preview as a table for a terminal: a row for each image acted on, totals, findings.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, Width, presets,
};

use crate::domain::lifecycle::explain::short_digest;
use crate::domain::preview::model::{PreviewReport, PreviewResult};
use crate::domain::text::printable::on_one_line;
use crate::domain::text::quantity::{age, bytes, count};

pub mod run;

/// From this width on, a table has room for whole sentences with a digest in them.
const WIDE: u16 = 190;
/// Below this width columns would be too narrow for words.
const NARROWEST: u16 = 60;

/// The style of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Characters in a line.
    pub width: u16,
    /// Whether to use ANSI colours.
    pub color: bool,
}

/// Renders one report. Every line ends with a line break.
#[must_use]
pub fn render(report: &PreviewReport, style: Style) -> String {
    let mut out = String::new();
    let summary = &report.summary;
    let title = bold(report.title(), style);
    let _ = writeln!(out, "{title} at {}", report.evaluated_at);
    if report.lifecycle_policy_text.is_none() {
        out.push_str("No lifecycle policy: nothing is acted on.\n");
    }
    if !report.preview_results.is_empty() {
        out.push('\n');
        for line in results(report, style).lines() {
            let _ = writeln!(out, "{}", line.trim_end());
        }
    }
    out.push('\n');
    let width = usize::from(style.width.max(NARROWEST));
    wrap(&mut out, &totals(report), width, style);
    if let Some(held) = held(report) {
        wrap(&mut out, &held, width, style);
    }
    if summary.expiring_image_total_count + summary.transitioning_image_total_count() > 0 {
        wrap(
            &mut out,
            "Sizes are sums over images that share layers: less is freed than they say.",
            width,
            style,
        );
    }
    if !report.findings.is_empty() {
        let _ = writeln!(out, "\n{}", bold(&count(report.findings.len() as u64, "finding"), style));
        for finding in &report.findings {
            wrap(&mut out, &finding.to_string(), width, style);
        }
    }
    out
}

fn results(report: &PreviewReport, style: Style) -> Table {
    let width = style.width.max(NARROWEST);
    let with_pass = report.preview_results.iter().any(|result| result.pass.is_some());
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    if style.color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let mut header = vec!["DIGEST", "TAGS", "AGE", "SIZE", "ACTION", "RULE", "REASON"];
    if with_pass {
        header.insert(6, "PASS");
    }
    table.set_header(header.iter().map(|name| cell(name).add_attribute(Attribute::Bold)));
    for result in &report.preview_results {
        table.add_row(row(report, result, width, with_pass));
    }
    // Without a border the first column needs no space before it; with one column more, eighty characters are few.
    let gap = if with_pass && width < 100 { 1 } else { 2 };
    for (column, name) in table.column_iter_mut().zip(&header) {
        column.set_padding((0, gap));
        if matches!(*name, "AGE" | "SIZE" | "RULE" | "PASS") {
            column.set_cell_alignment(CellAlignment::Right);
        }
        match *name {
            "TAGS" => column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(14))),
            "REASON" => column.set_padding((0, 0)),
            _ => column.set_constraint(ColumnConstraint::ContentWidth),
        };
    }
    table
}

fn row(report: &PreviewReport, result: &PreviewResult, width: u16, with_pass: bool) -> Vec<Cell> {
    let (action, color) = if result.expires() { ("expire", Color::Red) } else { ("archive", Color::Yellow) };
    let tags = if result.image_tags.is_empty() {
        cell("-").fg(Color::DarkGrey)
    } else {
        cell(&result.image_tags.join(", "))
    };
    let reason =
        if width >= WIDE || result.short_reason.is_empty() { &result.reason } else { &result.short_reason };
    let mut cells = vec![
        cell(short_digest(&result.image_digest)),
        tags,
        cell(&age(report.evaluated_at, result.image_pushed_at)),
        cell(&bytes(result.image_size_in_bytes)),
        cell(action).fg(color),
        Cell::new(result.applied_rule_priority),
        cell(reason),
    ];
    if with_pass {
        cells.insert(6, Cell::new(result.pass.unwrap_or(1)));
    }
    cells
}

/// What expires and what is kept, on a line that begins with a word in bold.
fn totals(report: &PreviewReport) -> String {
    let summary = &report.summary;
    let images = |number, size| format!("{}, {}", count(number, "image"), bytes(size));
    let mut totals = format!(
        "Expire: {}",
        images(summary.expiring_image_total_count, summary.expiring_image_size_in_bytes)
    );
    if summary.transitioning_image_total_count() > 0 {
        let archived =
            images(summary.transitioning_image_total_count(), summary.transitioning_image_size_in_bytes);
        let _ = write!(totals, ". To the archive: {archived}");
    }
    let stays = images(summary.kept_image_total_count, summary.kept_image_size_in_bytes);
    let _ = write!(totals, ". Kept: {stays}.");
    totals
}

/// What keeps the images that are kept, most frequent first.
fn held(report: &PreviewReport) -> Option<String> {
    let mut holders: BTreeMap<&str, u64> = BTreeMap::new();
    for image in &report.kept {
        let holder = match image.held_by.split_once(' ') {
            Some(("index", _)) => "their image index",
            Some(("subject", _)) => "their subject",
            _ => image.held_by.as_str(),
        };
        *holders.entry(holder).or_default() += 1;
    }
    let mut holders: Vec<(&str, u64)> = holders.into_iter().collect();
    holders.sort_by_key(|(_, number)| Reverse(*number));
    let shown: Vec<String> = holders.iter().map(|(holder, number)| format!("{holder} {number}")).collect();
    (!shown.is_empty()).then(|| format!("Kept by: {}.", shown.join(", ")))
}

/// A cell; what is in it may come from outside.
fn cell(text: &str) -> Cell {
    Cell::new(on_one_line(text))
}

fn bold(text: &str, style: Style) -> String {
    let text = on_one_line(text);
    if style.color { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.into_owned() }
}

/// Writes a paragraph in lines of at most `width` characters, the later ones indented; a longer word has its own
/// line. The part before the first `: ` is set in bold.
fn wrap(out: &mut String, text: &str, width: usize, style: Style) {
    let text = on_one_line(text);
    let mut used = 0;
    let mut lines = String::new();
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            lines.push_str("\n ");
            used = 1;
        }
        if used > 0 {
            lines.push(' ');
            used += 1;
        }
        lines.push_str(word);
        used += length;
    }
    let (lead, rest) =
        lines.split_once(": ").map_or(("", lines.as_str()), |(lead, _)| lines.split_at(lead.len() + 1));
    // Its own line breaks are none of what comes from outside.
    let lead: Vec<String> = lead.split('\n').map(|line| bold(line, style)).collect();
    let _ = writeln!(out, "{}{rest}", if lead == [""] { String::new() } else { lead.join("\n") });
}
