//! Reads a listing from text that arrives in chunks: a file of any size needs little memory beside the images that are in it.
//!
//! Decides only where a text can be cut into parts: between two elements of a list of images, of manifests or of pages. Each part is
//! then completed to a text of its own, and is read as a whole listing is.

use std::fmt::Write as _;

use super::{Builder, InvalidListing, Listing, UnreadableJson};
use crate::domain::text::locate::Place;
use crate::domain::text::plain_words::line_of;
use crate::domain::text::recognize::excerpt_of_line;

/// Bytes of text that are read together: some hundred images, so that what a part needs beside them is little.
const PART_BYTES: usize = 256 * 1024;

/// Maximum number of bytes of an unfinished text that is no listing. More does not help to say what it is.
const MAX_BYTES_OF_OTHER_TEXT: usize = 4 * 1024 * 1024;

/// Maximum number of bytes of a page's own value, its token, that is repeated in each part of the page.
const MAX_REPEATED_BYTES: usize = 16 * 1024;

/// Maximum number of lists in lists of pages. No tool nests them more than once.
const MAX_NESTED_LISTS: usize = 4;

/// The fields of a page whose elements are read in parts, in the spellings of the AWS CLI and of AWS's SDKs.
const LISTS: [&str; 4] = ["imageDetails", "ImageDetails", "images", "Images"];

/// The fields of a page that say whether there are more.
const TOKENS: [&str; 2] = ["nextToken", "NextToken"];

/// Why a text that was read in chunks is not a listing of images.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct UnreadableListing {
    /// The problem, with its line and column in the whole text.
    pub problem: InvalidListing,
    /// The line of the text and a mark below its column, where the problem has them.
    pub excerpt: Option<String>,
}

/// Reads a listing from chunks of text.
pub struct ListingReader {
    builder: Builder,
    part_bytes: usize,
    /// Text that has not been read yet.
    pending: String,
    /// Where it begins in the whole text.
    start: Place,
    /// What it is part of.
    opening: Opening,
    scan: Scan,
    /// The number of JSON values that have begun.
    values: usize,
}

impl Default for ListingReader {
    fn default() -> Self {
        Self::with_parts_of(PART_BYTES)
    }
}

impl ListingReader {
    fn with_parts_of(part_bytes: usize) -> Self {
        Self {
            builder: Builder::default(),
            part_bytes,
            pending: String::new(),
            start: Place { line: 1, column: 1 },
            opening: Opening::default(),
            scan: Scan::default(),
            values: 0,
        }
    }

    /// Reads as much of the text as is complete with this chunk. A byte order mark is not text.
    ///
    /// # Errors
    ///
    /// At the first value that is not what AWS prints; nothing of the listing is used then.
    pub fn push(&mut self, mut chunk: &str) -> Result<(), UnreadableListing> {
        while !chunk.is_empty() {
            let (piece, rest) = chunk.split_at(chunk.floor_char_boundary(PART_BYTES));
            self.pending.push_str(piece);
            while let Some(cut) = self.scan.next_cut(&self.pending, self.part_bytes) {
                self.read(cut)?;
            }
            chunk = rest;
        }
        Ok(())
    }

    /// Reads what is left of the text.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push), and for a text without a listing.
    pub fn finish(mut self) -> Result<Listing, UnreadableListing> {
        let end = self.pending.len();
        self.read(Cut { end, next: end, closing: String::new(), opening: Opening::default() })?;
        self.builder
            .finish_listing(self.values)
            .map_err(|problem| UnreadableListing { problem, excerpt: None })
    }

    /// Reads the text before a cut.
    fn read(&mut self, cut: Cut) -> Result<(), UnreadableListing> {
        let body = self.pending.get(..cut.end).unwrap_or_default();
        let part = format!("{}{body}{}", self.opening.text, cut.closing);
        // A part of a value that has begun already.
        let continued = usize::from(!self.opening.text.is_empty());
        let before = self.values - continued;
        self.values = before;
        self.builder
            .take_values(&part, &mut self.values)
            .map_err(|problem| self.located(problem, self.values == before + 1))?;
        let passed = self.pending.get(..cut.next).unwrap_or_default();
        self.start = after(self.start, passed);
        self.pending.drain(..cut.next);
        self.opening = cut.opening;
        Ok(())
    }

    /// A problem of a part as one of the whole text.
    fn located(&self, problem: InvalidListing, in_first_value: bool) -> UnreadableListing {
        let InvalidListing::Unreadable(UnreadableJson { line, column, pointer, problem }) = problem else {
            return UnreadableListing { problem, excerpt: None };
        };
        let opened = if line == 1 { self.opening.text.chars().count() } else { 0 };
        let column_here = column.saturating_sub(opened).max(1);
        let source = line_of(&self.pending, line);
        let place = Place {
            line: self.start.line + line - 1,
            column: if line == 1 {
                (self.start.column + column).saturating_sub(1 + opened).max(1)
            } else {
                column
            },
        };
        let pointer = if in_first_value { self.opening.pointer_to(&pointer) } else { pointer };
        UnreadableListing {
            excerpt: Some(excerpt_of_line(source, place.line, column_here)),
            problem: UnreadableJson { line: place.line, column: place.column, pointer, problem }.into(),
        }
    }
}

/// The place that follows a text.
fn after(start: Place, text: &str) -> Place {
    match text.rsplit_once('\n') {
        None => Place { column: start.column + text.chars().count(), ..start },
        Some((lines, last)) => Place {
            line: start.line + 1 + lines.bytes().filter(|byte| *byte == b'\n').count(),
            column: 1 + last.chars().count(),
        },
    }
}

/// Where a text is cut.
struct Cut {
    /// The end of the part before it.
    end: usize,
    /// The beginning of the next part, after the comma.
    next: usize,
    /// The brackets that complete the part.
    closing: String,
    /// What the next part begins with.
    opening: Opening,
}

/// What a part of a value needs before it to be a value again: the brackets that are open, and the fields of the page that were read.
#[derive(Default)]
struct Opening {
    text: String,
    /// The JSON pointer to the first element of the part.
    path: Vec<Step>,
}

/// A step of a JSON pointer.
enum Step {
    Field(String),
    /// The number of elements that earlier parts have read.
    Elements(usize),
}

impl Opening {
    /// A JSON pointer of the part as one of the whole value.
    fn pointer_to(&self, pointer: &str) -> String {
        let mut whole = String::new();
        let mut segments = pointer.split('/').skip(1);
        let mut steps = self.path.iter();
        for segment in segments.by_ref() {
            whole.push('/');
            let is_last_step = match (steps.next(), segment.parse::<usize>()) {
                (Some(Step::Elements(passed)), Ok(index)) => {
                    // A push to a string cannot fail.
                    let _ = write!(whole, "{}", passed + index);
                    index != 0
                }
                (Some(Step::Field(name)), _) => {
                    whole.push_str(segment);
                    name != segment
                }
                _ => {
                    whole.push_str(segment);
                    true
                }
            };
            // What follows was not cut.
            if is_last_step {
                break;
            }
        }
        for segment in segments {
            whole.push('/');
            whole.push_str(segment);
        }
        whole
    }
}

/// Follows a JSON text byte by byte as far as its lists of pages and images. Brackets that do not match are left to the parser.
#[derive(Default)]
struct Scan {
    /// The number of bytes that were looked at.
    at: usize,
    /// What is open, from the outside.
    open: Vec<Container>,
    /// The number of brackets that are open inside of these.
    deeper: usize,
    /// The beginning of the string that is being read.
    string: Option<usize>,
    is_escaped: bool,
    /// The last byte that was no space, outside of strings.
    before: u8,
    /// A comma behind an element, when nothing has followed it.
    comma: Option<usize>,
    /// Whether the text is not one that can be cut.
    is_other: bool,
}

enum Container {
    List {
        /// The name of the field, for a list of a page.
        field: Option<String>,
        /// The number of elements before the present one.
        elements: usize,
    },
    Page {
        /// The fields that were read and mean something for every part.
        repeated: String,
        /// The name of the field whose value is being read.
        field: String,
        is_at_name: bool,
        /// Where the value begins.
        value: usize,
        /// Whether something is too long to be repeated.
        is_whole: bool,
    },
}

impl Scan {
    /// Looks on until the text can be cut into parts of this size.
    fn next_cut(&mut self, text: &str, part_bytes: usize) -> Option<Cut> {
        let bytes = text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            if self.is_other {
                break;
            }
            if let Some(begin) = self.string {
                self.in_string(text, begin);
                continue;
            }
            let at = self.at;
            self.at += 1;
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => continue,
                b',' => {
                    self.separate(text, at);
                    self.before = byte;
                    continue;
                }
                b'{' | b'[' => {
                    let cut = match self.comma {
                        Some(comma) if comma >= part_bytes => self.cut(comma),
                        _ => None,
                    };
                    self.open(byte);
                    self.comma = None;
                    self.before = byte;
                    if cut.is_some() {
                        return cut;
                    }
                }
                b'}' | b']' => {
                    self.close(byte);
                    if self.open.is_empty() && self.at >= part_bytes && !self.is_other {
                        let end = std::mem::take(&mut self.at);
                        return Some(Cut {
                            end,
                            next: end,
                            closing: String::new(),
                            opening: Opening::default(),
                        });
                    }
                }
                _ if self.open.is_empty() => self.is_other = true,
                b'"' => self.string = Some(at),
                b':' => {
                    if self.deeper == 0
                        && let Some(Container::Page { value, .. }) = self.open.last_mut()
                    {
                        *value = self.at;
                    }
                }
                _ => {}
            }
            self.comma = None;
            self.before = byte;
        }
        let is_enough = self.is_other && bytes.len() >= MAX_BYTES_OF_OTHER_TEXT;
        is_enough.then(|| Cut {
            end: bytes.len(),
            next: bytes.len(),
            closing: String::new(),
            opening: Opening::default(),
        })
    }

    /// Passes over characters of a string.
    fn in_string(&mut self, text: &str, begin: usize) {
        let rest = text.as_bytes().get(self.at..).unwrap_or_default();
        if std::mem::take(&mut self.is_escaped) {
            self.at += 1;
            return;
        }
        let Some(length) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) else {
            self.at += rest.len();
            return;
        };
        self.at += length + 1;
        if rest.get(length) == Some(&b'\\') {
            self.is_escaped = true;
            return;
        }
        self.string = None;
        if self.deeper == 0
            && let Some(Container::Page { field, is_at_name: is_at_name @ true, .. }) = self.open.last_mut()
        {
            *is_at_name = false;
            let name = text.get(begin + 1..self.at - 1).unwrap_or_default();
            field.clear();
            if LISTS.contains(&name) || TOKENS.contains(&name) {
                field.push_str(name);
            }
        }
    }

    /// Notes a comma.
    fn separate(&mut self, text: &str, at: usize) {
        self.comma = None;
        if self.deeper > 0 {
            return;
        }
        match self.open.last_mut() {
            None => self.is_other = true,
            Some(Container::List { elements, .. }) => {
                *elements += 1;
                // Two commas, and one without an element before it, are the parser's to refuse.
                match self.before {
                    b'}' | b']' => self.comma = Some(at),
                    _ => self.is_other = true,
                }
            }
            Some(Container::Page { repeated, field, is_at_name, value, is_whole }) => {
                *is_at_name = true;
                if field.is_empty() {
                    return;
                }
                let value = text.get(*value..at).unwrap_or_default().trim();
                if value.len() > MAX_REPEATED_BYTES || value.contains(['\n', '\r']) {
                    *is_whole = true;
                }
                // A push to a string cannot fail.
                let _ = write!(repeated, "\"{field}\":{value},");
                field.clear();
            }
        }
    }

    fn open(&mut self, bracket: u8) {
        let container = match (self.deeper, self.open.last(), bracket) {
            (0, None | Some(Container::List { field: None, .. }), b'{') => Some(Container::Page {
                repeated: String::new(),
                field: String::new(),
                is_at_name: true,
                value: 0,
                is_whole: false,
            }),
            (0, None | Some(Container::List { field: None, .. }), _)
                if self.open.len() < MAX_NESTED_LISTS =>
            {
                Some(Container::List { field: None, elements: 0 })
            }
            (0, Some(Container::Page { field, .. }), b'[') if LISTS.contains(&field.as_str()) => {
                Some(Container::List { field: Some(field.clone()), elements: 0 })
            }
            _ => None,
        };
        match container {
            Some(container) => self.open.push(container),
            None => self.deeper += 1,
        }
    }

    fn close(&mut self, bracket: u8) {
        if self.deeper > 0 {
            self.deeper -= 1;
            return;
        }
        match (self.open.pop(), bracket) {
            (Some(Container::Page { .. }), b'}') => {}
            (Some(Container::List { field: read, .. }), b']') => {
                if let (Some(read), Some(Container::Page { repeated, field, .. })) =
                    (read, self.open.last_mut())
                {
                    // So that the same field a second time is noticed.
                    let _ = write!(repeated, "\"{read}\":[],");
                    field.clear();
                }
            }
            _ => self.is_other = true,
        }
    }

    /// Cuts the text at a comma.
    fn cut(&mut self, comma: usize) -> Option<Cut> {
        if self.open.iter().any(|container| matches!(container, Container::Page { is_whole: true, .. })) {
            return None;
        }
        let mut opening = Opening::default();
        let mut closing = String::new();
        for container in &self.open {
            match container {
                Container::List { field, elements } => {
                    if let Some(field) = field {
                        let _ = write!(opening.text, "\"{field}\":");
                        opening.path.push(Step::Field(field.clone()));
                    }
                    opening.text.push('[');
                    opening.path.push(Step::Elements(*elements));
                    closing.insert(0, ']');
                }
                Container::Page { repeated, .. } => {
                    opening.text.push('{');
                    opening.text.push_str(repeated);
                    closing.insert(0, '}');
                }
            }
        }
        self.at -= comma + 1;
        Some(Cut { end: comma, next: comma + 1, closing, opening })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: usize) -> String {
        format!("sha256:{number:064x}")
    }

    fn image(number: usize, more: &str) -> String {
        format!(
            r#"{{"imageDigest": "{}", "imagePushedAt": {}{more}}}"#,
            digest(number),
            1_700_000_000 + number
        )
    }

    fn manifest(index: usize, child: usize) -> String {
        format!(
            r#"{{"imageId": {{"imageDigest": "{}"}}, "imageManifest": "{{\"manifests\": [{{\"digest\": \"{}\"}}]}}"}}"#,
            digest(index),
            digest(child)
        )
    }

    /// The listing, or the message, of a text that arrives in chunks of `chunk` characters and is read in parts of `part` bytes.
    fn streamed(text: &str, chunk: usize, part: usize) -> Result<Listing, String> {
        let mut reader = ListingReader::with_parts_of(part);
        let characters: Vec<char> = text.chars().collect();
        for piece in characters.chunks(chunk) {
            reader.push(&piece.iter().collect::<String>()).map_err(|error| error.to_string())?;
        }
        reader.finish().map_err(|error| error.to_string())
    }

    fn described(listing: &Listing) -> String {
        let repositories: Vec<_> = listing
            .repositories
            .iter()
            .map(|repository| {
                let images = &repository.images;
                (
                    &repository.name,
                    images.images(),
                    images.parents(),
                    images.subjects(),
                    images.unread_indexes(),
                )
            })
            .collect();
        format!("{} {repositories:#?}", listing.incomplete)
    }

    #[test]
    fn a_listing_that_arrives_in_chunks_is_the_same_as_one_that_is_there_at_once() {
        let strange = r#", "imageTags": ["a\"]},{", "b\\", "ä[", "\u005b"], "repositoryName": "x/y", "imageScanStatus": {"a": [{}]}"#;
        let index = r#", "imageManifestMediaType": "application/vnd.oci.image.index.v1+json""#;
        let (a, b, c, d) =
            (image(1, strange), image(2, index), image(3, ""), image(4, r#", "repositoryName": "b""#));
        let (m, n) = (manifest(2, 3), manifest(5, 1));
        let texts = [
            format!(r#"{{"imageDetails": [{a}, {b}, {c}, {d}]}}"#),
            format!("{{\"imageDetails\": [\n  {a},\n  {b}\n], \"nextToken\": \"t\"}}"),
            format!(r#"{{"nextToken": "t,]", "imageDetails": [{a}, {b}, {c}]}}"#),
            format!(r#"{{"NextToken": "", "ImageDetails": [{a}, {b}, {c}], "ResultMetadata": {{}}}}"#),
            format!(r#"{{"imageDetails": [{a}, {b}], "images": [{m}, {n}], "failures": []}}"#),
            format!(r#"{{"images": [{m}, {n}], "imageDetails": [{a}, {b}, {c}], "nextToken": null}}"#),
            format!(r#"{{"imageDetails": [{a}, {b}, {c}]}}{{"images": [{m}, {n}]}} [{d}]"#),
            format!(r#"[{a}, {b}, {c}, {d}]"#),
            format!(r#"[{{"imageDetails": [{a}, {b}], "nextToken": "t"}}, {{"imageDetails": [{c}, {d}]}}]"#),
            format!(r#"[{{"imageDetails": [{a}, {b}]}}, {{"nextToken": "t", "imageDetails": [{c}, {d}]}}]"#),
            format!(
                r#"[[{{"imageDetails": [{a}, {b}]}}, {{"imageDetails": [{c}]}}], [{{"images": [{m}, {n}]}}]]"#
            ),
            format!("{a}\n{b}\n{c}\n{d}\n"),
            r#"{"imageDetails": []}"#.to_owned(),
            "[]".to_owned(),
        ];
        for text in &texts {
            let whole = described(&Listing::parse(text).unwrap());
            for (chunk, part) in [(1, 1), (3, 1), (1000, 1), (7, 200), (1_000_000, PART_BYTES)] {
                let listing = streamed(text, chunk, part).unwrap_or_else(|error| panic!("{error}: {text}"));
                assert_eq!(described(&listing), whole, "{chunk} {part}: {text}");
            }
        }
    }

    #[test]
    fn an_error_of_a_text_in_chunks_has_its_line_column_and_pointer() {
        let (a, b) = (image(1, ""), image(2, r#", "imageTags": ["ä"]"#));
        let (late, bare) = (image(3, "").replace("17", "\"soon\", \"x\": 17"), r#"{"imageDigest": 1}"#);
        let (m, other) = (manifest(2, 3), r#"{"imageId": {}, "imageManifest": ""}"#);
        for text in [
            format!(r#"{{"imageDetails": [{a}, {b}, {late}, {a}]}}"#),
            format!("{{\n\"imageDetails\": [\n  {a},\n  {b},\n  {late},\n  {a}]}}"),
            format!("[{a}, {b}, {bare}]"),
            format!("[{{\"imageDetails\": [{a}, {b}]}},\n{{\"imageDetails\": [{b}, {bare}]}}]"),
            format!("{{\"imageDetails\": [{a}, {b}]}}\n{{\"imageDetails\": [{b}, {bare}]}}"),
            format!(r#"{{"imageDetails": [{a}, {b}], "images": [{m}, {m}, {other}]}}"#),
            format!(r#"{{"imageDetails": [{a}, {b}], "imageDetails": [{a}]}}"#),
            format!(r#"{{"imageDetails": [{a}, {b}], "images": [{m}, {m}], "imageDetails": [{a}]}}"#),
            format!(r#"{{"nextToken": "t", "imageDetails": [{a}, {b}], "nextToken": "u"}}"#),
            format!(r#"{{"imageDetails": [{a}, {b}, ]}}"#),
            format!(r#"{{"imageDetails": [{a}, {b} {a}]}}"#),
            format!(r#"{{"imageDetails": [{a}, {b},, {a}]}}"#),
            format!("{{\"imageDetails\": [{a}, {b},\n"),
            format!(r#"{{"imageDetails": [{a}, {b}"#),
            format!(r#"{{"imageDetails": [{a}, {b}}}]"#),
            format!("{a}, {b}"),
            format!("{a}\n{b}\n42"),
            format!("{a}\n{b}\n{{}}"),
            format!(r#"{{"images": [{m}, {m}]}}"#),
            format!("{a}\n]"),
            String::new(),
            "42".to_owned(),
            "{}".to_owned(),
            "{\"rules\": []}".to_owned(),
            "imageDetails:\n- imageDigest: x\n".to_owned(),
            "[[\"sha256:1\", \"v1\"], [\"sha256:2\", \"v2\"]]".to_owned(),
        ] {
            let whole = Listing::parse(&text).map(|_| ()).unwrap_err().to_string();
            for (chunk, part) in [(1, 1), (1000, 1), (1_000_000, PART_BYTES)] {
                let error = streamed(&text, chunk, part).map(|_| ()).unwrap_err();
                assert_eq!(error, whole, "{chunk} {part}: {text}");
            }
        }
    }

    #[test]
    fn the_line_of_an_error_is_shown_though_the_text_before_it_is_gone() {
        let mut reader = ListingReader::with_parts_of(1);
        let text =
            format!("{{\"imageDetails\": [{},\n   {}, {{\"imageDigest\": 1}}]}}", image(1, ""), image(2, ""));
        let error = reader.push(&text).and_then(|()| reader.finish().map(|_| ())).unwrap_err();
        let shown = error.excerpt.unwrap();
        let (line, mark) = shown.split_once('\n').unwrap();
        assert!(line.starts_with("  2 | ") && line.contains("{\"imageDigest\": 1}"), "{shown}");
        assert_eq!(line.chars().nth(mark.chars().count() - 1), Some('1'), "{shown}");
    }

    #[test]
    fn little_of_a_long_text_is_kept() {
        let mut reader = ListingReader::default();
        reader.push("{\"imageDetails\": [").unwrap();
        for number in 0..20_000 {
            if number > 0 {
                reader.push(",\n").unwrap();
            }
            reader.push(&image(number, r#", "imageTags": ["v1"]"#)).unwrap();
            assert!(reader.pending.len() < 2 * PART_BYTES);
        }
        reader.push("]}").unwrap();
        assert_eq!(reader.finish().unwrap().repositories[0].images.images().len(), 20_000);
    }
}
