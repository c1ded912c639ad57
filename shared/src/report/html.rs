//! Reports as one self-contained page: it fetches nothing, is readable without scripts, and prints. Previews are here, and runs
//! in [`run`].
//!
//! | module | contains |
//! | --- | --- |
//! | [`run`] | the page of a run |
//! | `preview` | the parts of the page of a preview |
//! | `island` | the data of a page, as JSON |
//! | `text` | digests, times and counts as the page writes them |
//!
//! A page has its data as compact JSON, of which its script shows what is visible: so a hundred thousand images open as fast as a
//! hundred. Without scripts it has the totals, the rules and the first images.
//!
//! All text from outside (names, tags, descriptions, messages) is escaped by `maud`, or becomes text by the script; only the
//! stylesheet and the scripts beside this file are inserted as they are.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::domain::preview::model::PreviewReport;
use crate::domain::text::finding::Finding;

mod island;
mod preview;
pub mod run;
mod text;

const STYLE: &str = include_str!("html/page.css");
/// The script of a preview's page.
const PREVIEW_SCRIPT: &str = concat!(include_str!("html/common.js"), include_str!("html/preview.js"));
/// The script of a run's page.
const RUN_SCRIPT: &str = concat!(include_str!("html/common.js"), include_str!("html/run.js"));

/// The content security policy of a page: nothing is loaded or sent. Only the page's own style and script are allowed, in case
/// that text from outside gets into the page unescaped.
fn content_security_policy(script: &str) -> String {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    format!(
        "default-src 'none'; style-src {}; script-src {}; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(script)
    )
}

/// The result of an image, which the page shows by word, colour and pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum ImageResult {
    #[serde(rename = "expire")]
    Expires,
    #[serde(rename = "archive")]
    Archived,
    #[serde(rename = "stay")]
    Stays,
}

impl ImageResult {
    /// The word for one image.
    const fn word(self) -> &'static str {
        match self {
            Self::Expires => "expires",
            Self::Archived => "archived",
            Self::Stays => "kept",
        }
    }

    /// The heading for several images.
    const fn heading(self) -> &'static str {
        match self {
            Self::Expires => "Expire",
            Self::Archived => "Move to the archive",
            Self::Stays => "Kept",
        }
    }
}

/// Writes reports as one page, in the given order, image by image. The same reports give the same page.
///
/// # Errors
///
/// Those of the writer.
pub fn write(reports: &[PreviewReport], out: &mut impl io::Write) -> io::Result<()> {
    let title = match reports {
        [report] => format!("{} – lifecycle policy preview", report.title()),
        reports => format!(
            "Lifecycle policy preview of {}",
            text::plural(reports.len() as u64, "repository", "repositories")
        ),
    };
    let page = Page { title: &title, script: PREVIEW_SCRIPT };
    let main = html! {
        (preview::headline(reports))
        // The script's picture comes before what is only for careful readers.
        div #summary {}
        (preview::all_findings(reports))
        (preview::without_scripts(reports))
        div #view {}
    };
    page.write(&main, &html! {}, |out| preview::island(reports, out), out)
}

/// The same page as a text.
#[must_use]
pub fn render(reports: &[PreviewReport]) -> String {
    to_text(|out| write(reports, out))
}

/// What is written, as a text.
fn to_text(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
    let mut page = Vec::new();
    // Writing to memory does not fail; and pages are UTF-8.
    match write(&mut page) {
        Ok(()) => String::from_utf8(page).unwrap_or_else(|error| error.to_string()),
        Err(error) => error.to_string(),
    }
}

/// What pages have around their content.
#[derive(Clone, Copy)]
struct Page<'a> {
    title: &'a str,
    script: &'static str,
}

impl Page<'_> {
    /// Writes the page: the content, the data island, and the script that reads it.
    fn write<W: io::Write>(
        self,
        main: &Markup,
        footer: &Markup,
        island: impl FnOnce(&mut W) -> io::Result<()>,
        out: &mut W,
    ) -> io::Result<()> {
        let head = html! {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(content_security_policy(self.script));
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { (self.title) }
                style { (PreEscaped(STYLE)) }
            }
        };
        let body = html! {
            main { (main) }
            (footer)
            p #announcement role="status" {}
        };
        let start = html! { (DOCTYPE) };
        write!(out, "{}<html lang=\"en\">{}<body>{}", start.0, head.0, body.0)?;
        island(out)?;
        write!(out, "<script>{}</script></body></html>", self.script)
    }
}

/// The bar of a share, whose width is an attribute: a style would be one that the page's policy does not follow.
fn bar(class: &str, part: u64, whole: u64) -> Markup {
    html! { svg class={ "fill " (class) } width=(text::length(part, whole)) {} }
}

/// What a finding says.
fn findings(finding: &Finding) -> Markup {
    html! {
        p {
            (text::code(finding.code.as_str()))
            @if !finding.pointer.is_empty() { " at " code { (finding.pointer) } }
        }
        p { (text::prose(&finding.message)) }
    }
}

#[cfg(test)]
mod tests;
