//! Tables in lines of text. The widths of columns follow from the width of the terminal and from what is known of their contents, so
//! that a row is written when it is there, and a table of any length needs no memory.

use std::borrow::Cow;

use super::{NARROWEST, Style};
use crate::domain::text::printable::on_one_line;

/// How a cell is emphasized on a terminal with colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Bold,
    Red,
    Green,
    Yellow,
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
pub(super) struct Cell<'a> {
    text: Cow<'a, str>,
    paint: Paint,
}

impl<'a> Cell<'a> {
    pub(super) fn new(text: impl Into<Cow<'a, str>>) -> Self {
        Self { text: text.into(), paint: Paint::Plain }
    }

    pub(super) fn paint(self, paint: Paint) -> Self {
        Self { paint, ..self }
    }
}

/// A column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    name: &'static str,
    is_right: bool,
    least: usize,
    most: usize,
}

impl Column {
    /// A column whose contents have at most this number of characters, and are never broken into lines.
    pub(super) const fn fixed(name: &'static str, width: usize) -> Self {
        let width = if width < name.len() { name.len() } else { width };
        Self { name, is_right: false, least: width, most: width }
    }

    /// The same for numbers.
    pub(super) const fn number(name: &'static str, width: usize) -> Self {
        Self { is_right: true, ..Self::fixed(name, width) }
    }

    /// A column whose contents have at most `most` characters, as far as that is known, and are broken into lines if there is no room.
    pub(super) const fn text(name: &'static str, least: usize, most: usize) -> Self {
        let column = Self::fixed(name, most);
        Self { least: if least < column.most { least } else { column.most }, ..column }
    }
}

/// The columns of a table with their widths.
#[derive(Debug)]
pub(super) struct Layout {
    columns: Vec<(Column, usize)>,
    gap: usize,
    /// The last column has a line of its own, below the others.
    is_last_below: bool,
    style: Style,
}

/// Characters by which what is below a row is indented.
const INDENT: usize = 4;

impl Layout {
    pub(super) fn new(columns: &[Column], style: Style) -> Self {
        let width = usize::from(style.width.max(NARROWEST));
        let needs = |columns: &[Column], gap: usize| {
            columns.iter().map(|column| column.least).sum::<usize>() + gap * columns.len().saturating_sub(1)
        };
        let all_but_last = columns.get(..columns.len().saturating_sub(1)).unwrap_or_default();
        // Where there is no room beside the others, sentences are below them.
        let ways = [(2, false), (1, false), (2, true), (1, true)];
        let fits = |&(gap, is_last_below): &(usize, bool)| {
            needs(if is_last_below { all_but_last } else { columns }, gap) <= width
        };
        let (gap, is_last_below) = ways.into_iter().find(fits).unwrap_or((1, true));
        let beside = if is_last_below { all_but_last } else { columns };
        let mut widths: Vec<usize> = beside.iter().map(|column| column.most).collect();
        let room = width.saturating_sub(gap * beside.len().saturating_sub(1));
        let mut excess = widths.iter().sum::<usize>().saturating_sub(room);
        // The widest gives first, down to the width of the next one.
        while excess > 0 {
            let shrinkable = widths.iter_mut().zip(beside).filter(|(width, column)| **width > column.least);
            let Some((widest, _)) = shrinkable.max_by_key(|(width, _)| **width) else { break };
            *widest -= 1;
            excess -= 1;
        }
        // A column that is below the others has the whole line.
        let below = is_last_below.then(|| width.saturating_sub(INDENT));
        let columns = columns.iter().copied().zip(widths.into_iter().chain(below)).collect();
        Self { columns, gap, is_last_below, style }
    }

    /// Writes the names of the columns.
    pub(super) fn header(&self, out: &mut String) {
        let names: Vec<Cell<'_>> =
            self.columns.iter().map(|(column, _)| Cell::new(column.name).paint(Paint::Bold)).collect();
        // What is below its row needs no name.
        let shown = if self.is_last_below { names.len().saturating_sub(1) } else { names.len() };
        self.row(out, names.get(..shown).unwrap_or_default());
    }

    /// Writes a row, in as many lines as its longest cell takes.
    pub(super) fn row(&self, out: &mut String, cells: &[Cell<'_>]) {
        let shown: Vec<Cow<'_, str>> = cells.iter().map(|cell| on_one_line(&cell.text)).collect();
        let count_beside = self.columns.len() - usize::from(self.is_last_below);
        let mut beside: Vec<(&Column, usize, Paint, Vec<&str>)> = Vec::with_capacity(cells.len());
        let mut below = None;
        for (at, (((column, width), cell), text)) in self.columns.iter().zip(cells).zip(&shown).enumerate() {
            let entry = (column, *width, cell.paint, broken(text, *width));
            if at < count_beside { beside.push(entry) } else { below = Some(entry) }
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
        if let Some((_, _, paint, lines)) = below {
            for line in lines.into_iter().filter(|line| !line.is_empty()) {
                out.extend(std::iter::repeat_n(' ', INDENT));
                self.painted(out, line, paint);
                out.push('\n');
            }
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
        for width in 60..=200 {
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
