//! Digests, times and counts as the page writes them.

use jiff::civil::DateTime;
use jiff::tz::Offset;
use maud::{Markup, html};

use crate::domain::lifecycle::explain::short_digest;
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity::grouped;
use crate::report::code_pages;

/// From this length on, what follows an algorithm's name is a digest and not a word with a colon in it.
const DIGEST_CHARACTERS: usize = 32;

/// A code, with a link to its section of the documentation if the project is published somewhere.
pub(super) fn code(code: &str) -> Markup {
    linked(code_pages::page(code_pages::REPOSITORY, code), &html! { code.code { (code) } })
}

fn linked(page: Option<String>, code: &Markup) -> Markup {
    html! {
        @if let Some(page) = page {
            a href=(page) { (code) }
        } @else {
            (code)
        }
    }
}

/// A table of images, as it is there without scripts: what every such table says of an image, and three columns of its own.
pub(super) fn images(columns: [&str; 3], rows: impl Iterator<Item = Markup>) -> Markup {
    html! {
        table.figures {
            thead {
                tr {
                    @for name in ["Digest", "Repository", "Tags", "Pushed", "Size"].into_iter().chain(columns) {
                        th scope="col" { (name) }
                    }
                }
            }
            tbody {
                @for row in rows { (row) }
            }
        }
    }
}

/// A count with a noun whose plural is irregular.
pub(super) fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

/// A share in whole percent. What is there never shows as 0 %, what is missing never as 100 %.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0 %".to_owned();
    }
    let percent = (u128::from(part) * 200 + u128::from(whole)) / (u128::from(whole) * 2);
    match percent {
        0 => "< 1 %".to_owned(),
        100.. if part < whole => "> 99 %".to_owned(),
        percent => format!("{percent} %"),
    }
}

/// A share as a length in SVG: `12.345%`.
pub(super) fn length(part: u64, whole: u64) -> String {
    let thousandths = u128::from(part.min(whole)) * 100_000 / u128::from(whole.max(1));
    format!("{}.{:03}%", thousandths / 1000, thousandths % 1000)
}

fn civil(at: Instant) -> DateTime {
    Offset::UTC.to_datetime(at.timestamp())
}

/// The day: `2026-11-23`.
pub(super) fn day(at: Instant) -> String {
    civil(at).date().to_string()
}

/// The day and the minute: `2026-11-23 14:05`.
pub(super) fn minute(at: Instant) -> String {
    let at = civil(at);
    format!("{} {:02}:{:02}", at.date(), at.hour(), at.minute())
}

/// A time, readable for machines, and to the microsecond on demand.
pub(super) fn time(at: Instant, shown: &str) -> Markup {
    html! { time datetime=(at) title=(at) { (shown) } }
}

/// From one time to another: `42 s`, `12 min 5 s`, `1 h 3 min`.
pub(super) fn duration(from: Instant, to: Instant) -> String {
    let seconds = (to.micros() - from.micros()).max(0) / 1_000_000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// A digest in its short form. All of it is there and gets selected, copied and found; the stylesheet hides the rest.
pub(super) fn digest(digest: &str) -> Markup {
    let short = short_digest(digest);
    let start = digest.split_once(':').map_or(0, |(algorithm, _)| algorithm.len() + 1);
    html! {
        code.digest title=(digest) {
            i { (digest.get(..start).unwrap_or_default()) }
            (short)
            i { (digest.get(start + short.len()..).unwrap_or_default()) }
        }
    }
}

/// A sentence with the digests in it in their short form.
pub(super) fn prose(text: &str) -> Markup {
    html! {
        @for word in text.split_inclusive(' ') {
            @match split_digest(word) {
                Some((head, tail)) => { (digest(head)) (tail) }
                None => { (word) }
            }
        }
    }
}

/// Splits a word into the digest that it begins with, and the punctuation after it.
fn split_digest(word: &str) -> Option<(&str, &str)> {
    let (algorithm, rest) = word.split_once(':')?;
    let hex = rest.find(|character: char| !character.is_ascii_hexdigit()).unwrap_or(rest.len());
    let is_digest = hex >= DIGEST_CHARACTERS
        && !algorithm.is_empty()
        && algorithm.chars().all(|character| character.is_ascii_alphanumeric());
    is_digest.then(|| word.split_at_checked(algorithm.len() + 1 + hex)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_a_link_where_the_project_is_published() {
        let page = code_pages::page("https://git.example/steward", "limit-percent");
        let link = format!(
            "<a href=\"https://git.example/steward/blob/v{}/docs/errors.md#limit-percent\"><code class=\"code\">limit-percent</code></a>",
            env!("CARGO_PKG_VERSION")
        );
        let code = html! { code.code { "limit-percent" } };
        assert_eq!(linked(page, &code).into_string(), link);
        assert_eq!(linked(None, &code).into_string(), "<code class=\"code\">limit-percent</code>");
    }

    #[test]
    fn shares_do_not_round_to_nothing_or_everything() {
        for (part, whole, expected) in [
            (0, 0, "0 %"),
            (0, 7, "0 %"),
            (1, 1000, "< 1 %"),
            (1, 3, "33 %"),
            (999, 1000, "> 99 %"),
            (7, 7, "100 %"),
            (u64::MAX, u64::MAX, "100 %"),
        ] {
            assert_eq!(percent(part, whole), expected, "{part} of {whole}");
        }
    }

    #[test]
    fn lengths_are_inside_of_the_whole() {
        assert_eq!(length(0, 0), "0.000%");
        assert_eq!(length(1, 3), "33.333%");
        assert_eq!(length(9, 3), "100.000%");
    }

    #[test]
    fn a_digest_is_there_whole_and_shown_short() {
        let markup = digest("sha256:0123456789abcdef").into_string();
        assert_eq!(
            markup,
            r#"<code class="digest" title="sha256:0123456789abcdef"><i>sha256:</i>0123456789ab<i>cdef</i></code>"#
        );
    }

    #[test]
    fn sentences_keep_their_words_and_shorten_their_digests() {
        let hex = "0123456789abcdef".repeat(4);
        let markup = prose(&format!("About sha256:{hex}, not a:bc <b>")).into_string();
        assert!(markup.starts_with("About <code class=\"digest\" title=\"sha256:"), "{markup}");
        assert!(markup.ends_with("</code>, not a:bc &lt;b&gt;"), "{markup}");
        assert_eq!(markup.matches("<code").count(), 1);
    }

    #[test]
    fn durations_have_two_units_at_most() {
        let from = Instant::parse("2026-11-23T00:00:00Z").unwrap();
        for (to, expected) in [
            ("2026-11-23T00:00:42.9Z", "42 s"),
            ("2026-11-23T00:12:05Z", "12 min 5 s"),
            ("2026-11-23T01:03:59Z", "1 h 3 min"),
            ("2026-11-25T00:00:00Z", "48 h 0 min"),
            ("2026-11-22T00:00:00Z", "0 s"),
        ] {
            assert_eq!(duration(from, Instant::parse(to).unwrap()), expected);
        }
    }
}
