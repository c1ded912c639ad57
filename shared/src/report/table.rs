//! A preview as a table for a terminal: a row for each image, totals, findings.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use self::layout::{Cell, Column, Layout, Paint};
use crate::domain::image::{Image, ImageIndex};
use crate::domain::lifecycle::explain::short_digest;
use crate::domain::preview::Preview;
use crate::domain::preview::model::Summary;
use crate::domain::text::instant::Instant;
use crate::domain::text::printable::on_one_line;
use crate::domain::text::quantity::{age, bytes, count, grouped};

pub mod images;
pub mod layout;
pub mod run;
pub mod summary;

/// From this width on, a table has room for whole sentences with a digest in them.
const WIDE: u16 = 190;
/// Narrower lines are not made: words would be broken everywhere.
const NARROWEST: u16 = 20;
/// Characters of a size in a table: three digits, or two and a point, and a unit.
const SIZE: usize = 6;

/// The style of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Characters in a line.
    pub width: u16,
    /// Whether to use ANSI colours.
    pub color: bool,
}

impl Style {
    /// Characters that a line has at most.
    #[must_use]
    pub fn columns(self) -> usize {
        usize::from(self.width.max(NARROWEST))
    }
}

/// Which images of a preview have a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Show {
    /// Those that expire or are archived.
    #[default]
    Expires,
    /// Those that are kept.
    Kept,
    /// Both, and what is kept last.
    All,
}

/// The order of images in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// By the rule that acts, then the oldest first, as ECR's preview.
    #[default]
    Rule,
    /// The largest first.
    Size,
    /// The oldest first.
    Age,
    /// By the first tag; what has none comes last.
    Tag,
}

/// What a table shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct View {
    /// Which images.
    pub show: Show,
    /// In which order.
    pub order: Order,
    /// Whether the title has the account, where several registries are previewed.
    pub names_account: bool,
}

/// Renders one preview.
#[must_use]
pub fn render(preview: &Preview<'_>, view: View, style: Style) -> String {
    let mut out = Vec::new();
    // Nothing fails to be written to memory.
    let written = write(&mut out, preview, view, style);
    debug_assert!(written.is_ok(), "{written:?}");
    String::from_utf8_lossy(&out).into_owned()
}

/// Writes one preview, each row as it is made. Every line ends with a line break.
///
/// # Errors
///
/// When it cannot be written.
pub fn write(out: &mut impl io::Write, preview: &Preview<'_>, view: View, style: Style) -> io::Result<()> {
    let mut text = String::new();
    let account = preview.registry_id().filter(|_| view.names_account);
    let title = match account {
        Some(account) => format!("{} of {account}", preview.title()),
        None => preview.title().to_owned(),
    };
    wrap_behind(&mut text, &title, &format!(" at {}", preview.evaluated_at()), style);
    if preview.policy().is_none() {
        wrap_behind(&mut text, "", "No lifecycle policy: nothing is acted on.", style);
    }
    out.write_all(text.as_bytes())?;
    rows(out, preview, view, style)?;
    text.clear();
    text.push('\n');
    wrap(&mut text, &totals(preview.summary()), style);
    if let Some(kept_by) = kept_by(preview) {
        wrap(&mut text, &kept_by, style);
    }
    if preview.is_acting() {
        wrap(
            &mut text,
            "Sizes are upper bounds: layers that images share are counted once per image.",
            style,
        );
    }
    let findings = preview.findings();
    if !findings.is_empty() {
        let _ = writeln!(text, "\n{}", bold(&count(findings.len() as u64, "finding"), style));
        for finding in findings {
            wrap(&mut text, &finding.to_string(), style);
        }
    }
    out.write_all(text.as_bytes())
}

/// Writes the rows of the images that are to be shown.
fn rows(out: &mut impl io::Write, preview: &Preview<'_>, view: View, style: Style) -> io::Result<()> {
    let mut places: Vec<ImageIndex> = Vec::new();
    if view.show != Show::Kept {
        places.extend(preview.acted());
    }
    if view.show != Show::Expires {
        places.extend(preview.kept());
    }
    if places.is_empty() {
        return Ok(());
    }
    let images = preview.images();
    let image = |place: ImageIndex| images.get(place as usize);
    match view.order {
        Order::Rule => {}
        Order::Size => places.sort_by_key(|&place| Reverse(image(place).map(|image| image.size_in_bytes))),
        Order::Age => places.sort_by_key(|&place| image(place).map(Image::age_time)),
        Order::Tag => places.sort_by_key(|&place| {
            let tag = image(place).and_then(|image| image.tags.first());
            (tag.is_none(), tag)
        }),
    }
    let with_pass = preview.has_passes();
    let is_wide = style.width >= WIDE;
    let longest_tags = places
        .iter()
        .filter_map(|&place| image(place))
        .map(|image| image.tags.iter().map(|tag| tag.chars().count() + 2).sum::<usize>().saturating_sub(2))
        .max();
    let mut columns = vec![
        Column::fixed("DIGEST", 12),
        Column::text("TAGS", 14, longest_tags.unwrap_or_default()),
        Column::number(
            "AGE",
            age_width(places.iter().filter_map(|&place| image(place)), preview.evaluated_at()),
        ),
        Column::number("SIZE", SIZE),
        Column::fixed("ACTION", 7),
        Column::number("RULE", 4),
        // A short reason, or a sentence with a digest. What keeps an image takes more words.
        Column::text(
            "REASON",
            if view.show == Show::Expires { 17 } else { 25 },
            if is_wide { 200 } else { 40 },
        ),
    ];
    if with_pass {
        columns.insert(6, Column::number("PASS", 4));
    }
    let layout = Layout::new(&columns, style);
    let mut text = String::from("\n");
    layout.header(&mut text);
    for place in places {
        let Some(image) = image(place) else { continue };
        let acting = preview.acting(place);
        let (action, paint) = match acting {
            Some(acting) if acting.expires() => ("expire", Paint::Red),
            Some(_) => ("archive", Paint::Yellow),
            None => ("keep", Paint::Plain),
        };
        let tags = image.tags.join(", ");
        let mut cells = vec![
            Cell::new(short_digest(&image.digest)),
            if tags.is_empty() { Cell::new("-").paint(Paint::Grey) } else { Cell::new(tags) },
            Cell::new(age(preview.evaluated_at(), image.pushed_at)),
            Cell::new(bytes(image.size_in_bytes)),
            Cell::new(action).paint(paint),
            Cell::new(acting.map_or_else(|| "-".to_owned(), |acting| acting.priority.to_string())),
            Cell::new(if is_wide { preview.reason(place) } else { preview.short_reason(place) }),
        ];
        if with_pass {
            let pass = acting.map_or_else(|| "-".to_owned(), |acting| acting.pass.unwrap_or(1).to_string());
            cells.insert(6, Cell::new(pass));
        }
        layout.row(&mut text, &cells);
        out.write_all(text.as_bytes())?;
        text.clear();
    }
    Ok(())
}

/// Characters of the ages of images in a table: those of the oldest.
fn age_width<'a>(images: impl Iterator<Item = &'a Image>, now: Instant) -> usize {
    /// `23 h`, which an older image may be shorter than.
    const HOURS: usize = 4;
    let oldest = images.map(|image| image.pushed_at).min();
    oldest.map_or(HOURS, |oldest| age(now, oldest).len().max(HOURS))
}

/// What expires and what is kept, on a line that begins with a word in bold.
fn totals(summary: &Summary) -> String {
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

/// What keeps the images that are kept, most frequent first: `Why kept: 40 by rule 2, 3 in use.`
fn kept_by(preview: &Preview<'_>) -> Option<String> {
    let mut numbers: BTreeMap<String, u64> = BTreeMap::new();
    for &place in preview.kept() {
        let kept_by = preview.kept_by(place);
        let cause = match kept_by.split_once(' ') {
            Some(("index", _)) => "with their image index".to_owned(),
            Some(("subject", _)) => "with their subject".to_owned(),
            Some(("no", _)) => "since no rule selects them".to_owned(),
            Some(("rule", _)) => format!("by {kept_by}"),
            _ if kept_by == "unknownStatus" => "in a status that is not known".to_owned(),
            // "in use", "archived", "restoring"
            _ => kept_by,
        };
        *numbers.entry(cause).or_default() += 1;
    }
    let mut numbers: Vec<(String, u64)> = numbers.into_iter().collect();
    numbers.sort_by_key(|(_, number)| Reverse(*number));
    let shown: Vec<String> =
        numbers.iter().map(|(cause, number)| format!("{} {cause}", grouped(*number))).collect();
    (!shown.is_empty()).then(|| format!("Why kept: {}.", shown.join(", ")))
}

fn bold(text: &str, style: Style) -> String {
    let text = on_one_line(text);
    if style.color { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.into_owned() }
}

/// Writes a paragraph, whose part before the first `: ` is set in bold.
pub(super) fn wrap(out: &mut String, text: &str, style: Style) {
    let (lead, rest) = text.find(": ").map_or(("", text), |at| text.split_at(at + 1));
    wrap_behind(out, lead, rest, style);
}

/// Writes a paragraph, which begins with `lead` in bold, in lines of the style's width, the later ones indented. Only a word that is
/// longer than a line has a longer one, for itself: a digest, an address or a name that somebody copies.
pub(super) fn wrap_behind(out: &mut String, lead: &str, rest: &str, style: Style) {
    let (lead, rest) = (on_one_line(lead), on_one_line(rest));
    // Characters that are still to be set in bold.
    let mut strong = if style.color { lead.chars().count() } else { 0 };
    for line in lines("", &format!("{lead}{rest}"), style.columns(), INDENT) {
        let indentation = line.len() - line.trim_start_matches(' ').len();
        let (indentation, words) = line.split_at(indentation);
        let split = words.char_indices().nth(strong).map_or(words.len(), |(at, _)| at);
        let (bold, plain) = words.split_at(split);
        // The space at which the line is broken is one of them.
        strong = strong.saturating_sub(words.chars().count() + 1);
        out.push_str(indentation);
        match bold {
            "" => out.push_str(plain),
            bold => out.extend(["\u{1b}[1m", bold, "\u{1b}[0m", plain]),
        }
        out.push('\n');
    }
}

/// A paragraph behind `lead` in lines of at most `width` characters, all but the first behind `indentation` spaces. A longer word has
/// a line of its own, which nobody has to put together again: a digest, an address, a name.
#[must_use]
pub fn lines(lead: &str, text: &str, width: usize, indentation: usize) -> Vec<String> {
    let mut lines = Vec::with_capacity(1);
    let mut line = lead.to_owned();
    let mut used = lead.chars().count();
    // Whether the line has no word yet, so that no other line has more room for the next one.
    let mut is_empty = lead.trim_start().is_empty();
    for (place, word) in text.split(' ').filter(|word| !word.is_empty()).enumerate() {
        let length = word.chars().count();
        let space = usize::from(place > 0);
        if !is_empty && used + space + length > width {
            lines.push(line.trim_end().to_owned());
            line.clear();
            line.extend(std::iter::repeat_n(' ', indentation));
            used = indentation;
        } else if place > 0 {
            line.push(' ');
            used += 1;
        }
        is_empty = false;
        line.push_str(word);
        used += length;
    }
    lines.push(line);
    lines
}

/// Spaces before the later lines of a paragraph.
const INDENT: usize = 2;
