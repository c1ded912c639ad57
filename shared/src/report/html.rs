//! Reports as one self-contained page: it fetches nothing, is readable without scripts, and prints. Previews are here, and runs
//! in [`run`].
//!
//! | module | contains |
//! | --- | --- |
//! | [`run`] | the page of a run |
//! | `timeline` | a chart of push times |
//! | `rules` | the effect of each rule, in images and bytes |
//! | `images` | the table of all images |
//! | `text` | digests, times and counts as the page writes them |
//!
//! All text from outside (names, tags, descriptions, messages) is escaped by `maud`; only the stylesheet and the script beside
//! this file are inserted as they are.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use crate::domain::lifecycle::document::LifecyclePolicy;
use crate::domain::preview::model::PreviewReport;
use crate::domain::text::finding::Finding;
use crate::domain::text::quantity::{bytes, count, grouped};
use crate::report::code_pages;

mod images;
mod rules;
pub mod run;
mod text;
mod timeline;

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

/// The content security policy of the page: nothing is loaded or sent. Only the page's own style and script are allowed, in case
/// that text from outside gets into the page unescaped.
static CONTENT_SECURITY_POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    format!(
        "default-src 'none'; style-src {}; script-src {}; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

/// The result of an image, which the page shows by word, colour and pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ImageResult {
    Expires,
    Archived,
    Stays,
}

impl ImageResult {
    /// The class that gives it colour and pattern.
    const fn class(self) -> &'static str {
        match self {
            Self::Expires => "expire",
            Self::Archived => "archive",
            Self::Stays => "stay",
        }
    }

    /// The word for one image.
    const fn word(self) -> &'static str {
        match self {
            Self::Expires => "expire",
            Self::Archived => "archive",
            Self::Stays => "kept",
        }
    }

    /// The heading for several images.
    const fn heading(self) -> &'static str {
        match self {
            Self::Expires => "Expire",
            Self::Archived => "Go to the archive",
            Self::Stays => "Keep",
        }
    }
}

/// Renders reports as one page, in the given order. The same reports give the same page.
#[must_use]
pub fn render(reports: &[PreviewReport]) -> String {
    let title = match reports {
        [report] => format!("{} – lifecycle policy preview", report.title()),
        reports => format!(
            "Lifecycle policy preview of {}",
            text::plural(reports.len() as u64, "repository", "repositories")
        ),
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head(&title))
            body {
                header.page {
                    h1 { "Lifecycle policy preview" }
                    p { "What the policy would do; nothing has been changed. Times are UTC." }
                }
                main {
                    @if reports.is_empty() {
                        p.notice { "There is no repository to report on." }
                    }
                    @if reports.len() > 1 { (overview(reports)) }
                    @for (report, number) in reports.iter().zip(1..) { (repository(report, number)) }
                }
                p #announcement role="status" {}
                // Shared by all charts; not `display: none`, which would disable the patterns in it.
                @if !reports.is_empty() { (timeline::patterns()) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// The bar of a share, whose width is an attribute: a style would be one that the page's policy does not follow.
fn bar(class: &str, part: u64, whole: u64) -> Markup {
    html! { svg class={ "fill " (class) } width=(text::length(part, whole)) {} }
}

/// The head of every page.
fn head(title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta http-equiv="Content-Security-Policy" content=(*CONTENT_SECURITY_POLICY);
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            meta name="referrer" content="no-referrer";
            title { (title) }
            style { (PreEscaped(STYLE)) }
        }
    }
}

/// One line for each repository, with links to the sections.
fn overview(reports: &[PreviewReport]) -> Markup {
    let archives = reports.iter().any(|report| report.summary.transitioning_image_total_count() > 0);
    let results = [ImageResult::Expires, ImageResult::Archived, ImageResult::Stays]
        .into_iter()
        .filter(|result| *result != ImageResult::Archived || archives);
    html! {
        section.overview aria-labelledby="overview" {
            h2 #overview { (text::plural(reports.len() as u64, "repository", "repositories")) }
            div.scroll tabindex="0" role="region" aria-labelledby="overview" {
                table.figures {
                    thead {
                        tr {
                            th rowspan="2" scope="col" { "Repository" }
                            @for result in results.clone() {
                                th.group colspan="2" scope="colgroup" { (swatch(result)) (result.heading()) }
                            }
                            th.number rowspan="2" scope="col" { "Findings" }
                        }
                        tr {
                            @for _ in results {
                                th.number scope="col" { "Images" }
                                th.number scope="col" { "Size" }
                            }
                        }
                    }
                    tbody {
                        @for (report, number) in reports.iter().zip(1_usize..) {
                            @let summary = &report.summary;
                            tr {
                                th scope="row" {
                                    a href={ "#r" (number) } { (report.title()) }
                                    @if report.lifecycle_policy_text.is_none() {
                                        " " span.muted { "no policy" }
                                    }
                                }
                                td.number { (grouped(summary.expiring_image_total_count)) }
                                td.number { (bytes(summary.expiring_image_size_in_bytes)) }
                                @if archives {
                                    td.number { (grouped(summary.transitioning_image_total_count())) }
                                    td.number { (bytes(summary.transitioning_image_size_in_bytes)) }
                                }
                                td.number { (grouped(summary.kept_image_total_count)) }
                                td.number { (bytes(summary.kept_image_size_in_bytes)) }
                                td.number { (report.findings.len()) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// One repository. `number` makes its identifiers different from those of the others.
fn repository(report: &PreviewReport, number: usize) -> Markup {
    let policy = report.lifecycle_policy_text.as_deref().map(LifecyclePolicy::parse);
    let policy = policy.as_ref().and_then(|parsed| parsed.as_ref().ok());
    html! {
        section.repository id={ "r" (number) } aria-labelledby={ "r" (number) "-name" } {
            header {
                h2 id={ "r" (number) "-name" } { (report.title()) }
                p.muted {
                    "Evaluated for " (text::time(report.evaluated_at, &text::minute(report.evaluated_at)))
                    @if let Some(registry) = &report.registry_id { " · registry " (registry) }
                    @if let Some(policy) = policy { " · " (count(policy.rules().len() as u64, "rule")) }
                }
            }
            @if report.lifecycle_policy_text.is_none() {
                p.notice { strong { "No lifecycle policy." } " Nothing expires; every image is kept." }
            }
            (tiles(report))
            (timeline::chart(report, number))
            @if report.lifecycle_policy_text.is_some() { (rules::table(report, policy, number)) }
            @if !report.findings.is_empty() { (findings(&report.findings, number)) }
            (images::table(report, number))
            @if let Some(given) = &report.lifecycle_policy_text {
                h3 { "Policy" }
                details {
                    summary { "The policy that was evaluated, as ECR takes it" }
                    pre tabindex="0" {
                        code { (policy.map_or_else(|| given.clone(), LifecyclePolicy::to_json_pretty)) }
                    }
                }
            }
        }
    }
}

fn tiles(report: &PreviewReport) -> Markup {
    let summary = &report.summary;
    let archived = summary.transitioning_image_total_count();
    let tiles = [
        (ImageResult::Expires, summary.expiring_image_total_count, summary.expiring_image_size_in_bytes),
        (ImageResult::Archived, archived, summary.transitioning_image_size_in_bytes),
        (ImageResult::Stays, summary.kept_image_total_count, summary.kept_image_size_in_bytes),
    ];
    let images = tiles.iter().map(|(_, images, _)| images).sum();
    html! {
        ul.tiles {
            @for (result, number, size) in tiles {
                @if result != ImageResult::Archived || number > 0 {
                    li {
                        span.label { (swatch(result)) (result.heading()) }
                        span.figure { (grouped(number)) span.unit { @if number == 1 { " image" } @else { " images" } } }
                        span.muted {
                            (bytes(size))
                            @if images > 0 { " · " (text::percent(number, images)) " of images" }
                        }
                    }
                }
            }
        }
        @if images > 0 {
            p.note {
                "Images share layers, and a shared layer is counted in each of them: the sizes are sums that overstate \
                 what is freed."
            }
        }
    }
}

/// A sample of colour and pattern, always with its meaning beside it.
fn swatch(result: ImageResult) -> Markup {
    html! { span class={ "swatch fill " (result.class()) } aria-hidden="true" {} }
}

fn findings(findings: &[Finding], number: usize) -> Markup {
    html! {
        h3 id={ "r" (number) "-findings" } { "Findings " span.badge { (findings.len()) } }
        ul.findings aria-labelledby={ "r" (number) "-findings" } {
            @for finding in findings {
                li {
                    p {
                        (text::code(finding.code.as_str()))
                        @if !finding.pointer.is_empty() { " at " code { (finding.pointer) } }
                    }
                    p { (text::prose(&finding.message)) }
                }
            }
        }
        @if let Some(hint) = code_pages::hint(findings.iter().map(|finding| finding.code.as_str())) {
            p.muted { (hint) }
        }
    }
}

#[cfg(test)]
mod tests;
