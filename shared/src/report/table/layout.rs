//! Tables in lines of text. The widths of columns follow from the width of the terminal and from what is known of their contents, so
//! that a row is written when it is there, and a table of any length needs no memory.

use std::borrow::Cow;

use super::Style;
use crate::domain::text::printable::on_one_line;

/// How a cell is emphasized on a terminal with colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Not at all.
    Plain,
    /// In bold.
    Bold,
    /// In red.
    Red,
    /// In green.
    Green,
    /// In yellow.
    Yellow,
    /// In grey.
    Grey,
}

impl Paint {
    /// The number that ANSI gives it.
    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Bold => Some("1"),
            Self::Red => Some("31"),
            Self::Green => Some("32"),
            Self::Yellow => Some("33"),
            Self::Grey => Some("90"),
        }
    }
}

/// A cell. Control characters of its text are escaped.
#[derive(Debug)]
pub struct Cell<'a> {
    text: Cow<'a, str>,
    paint: Paint,
}

impl<'a> Cell<'a> {
    /// A cell without emphasis.
    #[must_use]
    pub fn new(text: impl Into<Cow<'a, str>>) -> Self {
        Self { text: text.into(), paint: Paint::Plain }
    }

    /// The same, emphasized.
    #[must_use]
    pub fn paint(self, paint: Paint) -> Self {
        Self { paint, ..self }
    }
}

/// A column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    name: &'static str,
    is_right: bool,
    least: usize,
    most: usize,
}

impl Column {
    /// A column whose contents have at most this number of characters, and are never broken into lines.
    #[must_use]
    pub const fn fixed(name: &'static str, width: usize) -> Self {
        let width = if width < name.len() { name.len() } else { width };
        Self { name, is_right: false, least: width, most: width }
    }

    /// The same for numbers.
    #[must_use]
    pub const fn number(name: &'static str, width: usize) -> Self {
        Self { is_right: true, ..Self::fixed(name, width) }
    }

    /// A column whose contents have at most `most` characters, as far as that is known, and are broken into lines if there is no room.
    #[must_use]
    pub const fn text(name: &'static str, least: usize, most: usize) -> Self {
        let column = Self::fixed(name, most);
        Self { least: if least < column.most { least } else { column.most }, ..column }
    }
}

/// The columns of a table with their widths.
#[derive(Debug)]
pub struct Layout {
    columns: Vec<(Column, usize)>,
    gap: usize,
    /// Columns from this one on are below the others, in a paragraph of their own.
    beside: usize,
    /// Characters in a line.
    width: usize,
    style: Style,
}

/// Characters by which what is below a row is indented.
const INDENT: usize = 4;
/// Between two of the columns that are below a row.
const SEPARATOR: &str = " · ";

impl Layout {
    /// The widths of columns in lines of this style. Where not all have room, the last ones are below the others.
    #[must_use]
    pub fn new(columns: &[Column], style: Style) -> Self {
        let width = style.columns();
        let needs = |columns: &[Column], gap: usize| {
            columns.iter().map(|column| column.least).sum::<usize>() + gap * columns.len().saturating_sub(1)
        };
        // One column is always beside none.
        let ways = (1..=columns.len()).rev().flat_map(|beside| [(2, beside), (1, beside)]);
        let fits = |&(gap, beside): &(usize, usize)| {
            columns.get(..beside).is_some_and(|columns| needs(columns, gap) <= width)
        };
        let (gap, beside) = ways.into_iter().find(fits).unwrap_or((1, 1));
        let shown = columns.get(..beside).unwrap_or(columns);
        let mut widths: Vec<usize> = shown.iter().map(|column| column.most).collect();
        let room = width.saturating_sub(gap * shown.len().saturating_sub(1));
        let mut excess = widths.iter().sum::<usize>().saturating_sub(room);
        // The widest gives first, down to the width of the next one.
        while excess > 0 {
            let shrinkable = widths.iter_mut().zip(shown).filter(|(width, column)| **width > column.least);
            let Some((widest, _)) = shrinkable.max_by_key(|(width, _)| **width) else { break };
            *widest -= 1;
            excess -= 1;
        }
        // A single column may need more than there is.
        widths.iter_mut().for_each(|width| *width = (*width).min(room.max(1)));
        // What is below the others has the whole line.
        let below = std::iter::repeat(width.saturating_sub(INDENT));
        let columns = columns.iter().copied().zip(widths.into_iter().chain(below)).collect();
        Self { columns, gap, beside, width, style }
    }

    /// Writes the names of the columns.
    pub fn header(&self, out: &mut String) {
        // What is below its row has its name there.
        let shown = self.columns.iter().take(self.beside);
        let names: Vec<Cell<'_>> =
            shown.map(|(column, _)| Cell::new(column.name).paint(Paint::Bold)).collect();
        self.row(out, &names);
    }

    /// Writes a row, in as many lines as its longest cell takes.
    pub fn row(&self, out: &mut String, cells: &[Cell<'_>]) {
        let shown: Vec<Cow<'_, str>> = cells.iter().map(|cell| on_one_line(&cell.text)).collect();
        let mut beside: Vec<(&Column, usize, Paint, Vec<&str>)> = Vec::with_capacity(cells.len());
        for (((column, width), cell), text) in self.columns.iter().zip(cells).zip(&shown).take(self.beside) {
            beside.push((column, *width, cell.paint, broken(text, *width)));
        }
        let height = beside.iter().map(|(.., lines)| lines.len()).max().unwrap_or_default();
        for line in 0..height {
            // Spaces are written with what follows them, so that no line ends with any.
            let mut pending = 0;
            for (column, width, paint, lines) in &beside {
                let text = lines.get(line).copied().unwrap_or_default();
                let length = text.chars().count();
                let rest = width.saturating_sub(length);
                let (before, after) = if column.is_right { (rest, 0) } else { (0, rest) };
                pending += before;
                if !text.is_empty() {
                    out.extend(std::iter::repeat_n(' ', pending));
                    self.painted(out, text, *paint);
                    pending = 0;
                } else {
                    pending += length;
                }
                pending += after + self.gap;
            }
            out.push('\n');
        }
        let cells = self.columns.iter().zip(cells).zip(&shown).skip(self.beside);
        self.below(
            out,
            cells.map(|(((column, _), cell), text)| (column.name, cell.paint, &**text)).collect(),
        );
    }

    /// Writes what has no room beside the others: one value alone, or several with the names of their columns.
    fn below(&self, out: &mut String, values: Vec<(&str, Paint, &str)>) {
        let width = self.width.saturating_sub(INDENT);
        let indent = |out: &mut String| out.extend(std::iter::repeat_n(' ', INDENT));
        if let [(_, paint, text)] = values[..] {
            for line in broken(text, width).into_iter().filter(|line| !line.is_empty()) {
                indent(out);
                self.painted(out, line, paint);
                out.push('\n');
            }
            return;
        }
        let mut used = 0;
        for (name, paint, text) in values.into_iter().filter(|(.., text)| !text.is_empty()) {
            let length = name.chars().count() + 1 + text.chars().count();
            let separator = SEPARATOR.chars().count();
            if used > 0 && used + separator + length > width {
                out.push('\n');
                used = 0;
            }
            if used > 0 {
                out.push_str(SEPARATOR);
                used += separator;
            } else {
                indent(out);
            }
            if length <= width {
                self.painted(out, name, Paint::Bold);
                out.push(' ');
                self.painted(out, text, paint);
                used += length;
                continue;
            }
            let named = format!("{name} {text}");
            let lines = broken(&named, width);
            for (at, line) in lines.iter().enumerate() {
                if at > 0 {
                    out.push('\n');
                    indent(out);
                }
                self.painted(out, line, paint);
                used = line.chars().count();
            }
        }
        if used > 0 {
            out.push('\n');
        }
    }

    fn painted(&self, out: &mut String, text: &str, paint: Paint) {
        match paint.code().filter(|_| self.style.color) {
            Some(code) => {
                for part in ["\u{1b}[", code, "m", text, "\u{1b}[0m"] {
                    out.push_str(part);
                }
            }
            None => out.push_str(text),
        }
    }
}

/// A text in lines of at most `width` characters: broken between words, within a word behind a separator of names, or where the
/// line ends.
fn broken(text: &str, width: usize) -> Vec<&str> {
    let mut lines = Vec::with_capacity(1);
    let mut rest = text;
    // There are no more characters than bytes.
    if text.len() <= width {
        lines.push(text);
        return lines;
    }
    // The line ends before this character, if there is one.
    while let Some((end, _)) = rest.char_indices().nth(width.max(1)) {
        let (line, next) = rest.split_at(end);
        let space = if next.starts_with(' ') { Some(end) } else { line.rfind(' ') };
        let at = match space.filter(|&space| space > 0) {
            Some(space) => space,
            None => line.rfind(['/', '-', '_', '.', ',', ':', '@']).map_or(end, |separator| separator + 1),
        };
        let (line, next) = rest.split_at(at);
        lines.push(line.trim_end());
        rest = next.trim_start();
    }
    lines.push(rest);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(width: u16, columns: &[Column], cells: &[&str]) -> String {
        let layout = Layout::new(columns, Style { width, color: false });
        let mut out = String::new();
        layout.header(&mut out);
        layout.row(&mut out, &cells.iter().map(|text| Cell::new(*text)).collect::<Vec<_>>());
        out
    }

    #[test]
    fn a_sentence_has_its_own_line_where_there_is_no_room_beside_the_others() {
        let columns = [
            Column::fixed("DIGEST", 12),
            Column::text("TAGS", 14, 40),
            Column::number("SIZE", 8),
            Column::text("REASON", 16, 60),
        ];
        let cells = [
            "9fdfcb80a9a3",
            "release-2026-11-23-with-a-long-name,latest",
            "1.2 GB",
            "pushed more than 14 days ago",
        ];
        assert_eq!(
            table(120, &columns, &cells),
            "DIGEST        TAGS                                          SIZE  REASON\n\
             9fdfcb80a9a3  release-2026-11-23-with-a-long-name,        1.2 GB  pushed more than 14 days ago\n              latest\n"
        );
        let narrow =
            [Column::fixed("DIGEST", 40), Column::text("TAGS", 14, 40), Column::text("REASON", 16, 60)];
        assert_eq!(
            table(60, &narrow, &["9fdfcb80a9a3", "v1", "pushed more than 14 days ago"]),
            "DIGEST                                    TAGS\n\
             9fdfcb80a9a3                              v1\n    pushed more than 14 days ago\n"
        );
    }

    #[test]
    fn no_line_is_longer_than_the_terminal_is_wide_and_nothing_is_lost() {
        let columns = [
            Column::fixed("DIGEST", 12),
            Column::text("TAGS", 14, 300),
            Column::number("AGE", 7),
            Column::number("SIZE", 8),
            Column::fixed("ACTION", 7),
            Column::number("RULE", 4),
            Column::text("REASON", 16, 200),
        ];
        let tags = (0..30).map(|number| format!("ci-{number}-b4f8d58")).collect::<Vec<_>>().join(", ");
        let long = "x".repeat(200);
        for width in 20..=200 {
            for reason in ["rank 136, keeps 10", &long, ""] {
                let cells = ["9fdfcb80a9a3", &tags, "1204 d", "999 MB", "expire", "10", reason];
                let text = table(width, &columns, &cells);
                for line in text.lines() {
                    assert!(
                        line.chars().count() <= usize::from(width) && line.trim_end() == line,
                        "{width}: {line:?}"
                    );
                }
                let letters = |text: &str| text.chars().filter(|c| *c == 'x' || *c == ',').count();
                assert_eq!(letters(&text), letters(&tags) + letters("expire") + letters(reason));
            }
        }
    }
}
