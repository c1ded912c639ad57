//! `ecr-steward explain-code`: prints what the documentation says about a code.

use std::fmt::Write as _;
use std::io::Write as _;

use clap::Args;
use pulldown_cmark::{Event, Parser, Tag, TagEnd};
use shared::report::code_pages::COMMAND;

use crate::{Failure, Outcome, complete, output, preview};

/// The page of all codes.
const PAGE: &str = include_str!("../../docs/errors.md");
/// The width of text in columns, at most: longer lines are hard to read.
const MAX_WIDTH: usize = 100;
/// Maximum number of codes that are suggested for an unknown one.
const SUGGESTIONS: usize = 3;

/// Explain the code of a warning, an error or a problem: why it is there, an example, and what to do
///
/// Knows every code that this program, reports, mails, CloudFormation and the HTTP API print, and needs no account and no network.
/// Without a code it lists all of them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward explain-code limit-percent
  ecr-steward explain-code urn:ecr-steward:problem:images-in-use
  ecr-steward explain-code                           # all codes")]
pub(crate) struct Arguments {
    /// The code, or the `type` of a problem of the HTTP API.
    #[arg(value_name = "CODE", add = complete::code())]
    codes: Vec<String>,
}

/// Why a code is not explained.
#[derive(Debug, thiserror::Error)]
#[error("there is no code `{code}`; {}", instead(.near))]
pub(crate) struct UnknownCode {
    code: String,
    /// Codes that are spelled alike, the nearest first.
    near: Vec<&'static str>,
}

/// What to write instead of an unknown code.
fn instead(near: &[&str]) -> String {
    let all = format!("`{COMMAND}` lists all");
    match near {
        [] => all,
        near => {
            let near: Vec<String> = near.iter().map(|code| format!("`{code}`")).collect();
            format!("did you mean {}? {all}", near.join(" or "))
        }
    }
}

/// The section of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Section {
    /// The heading of the chapter.
    pub(crate) chapter: &'static str,
    /// The code.
    pub(crate) code: &'static str,
    /// The text below the heading, in Markdown.
    pub(crate) text: &'static str,
}

impl Section {
    /// The first sentence.
    pub(crate) fn summary(self) -> String {
        let paragraph: String = Parser::new(self.text)
            .take_while(|event| !matches!(event, Event::End(TagEnd::Paragraph)))
            .map(|event| word(&event))
            .collect();
        let sentence = paragraph.split_once(". ").map_or(paragraph.as_str(), |(first, _)| first);
        sentence.trim_end_matches('.').to_owned()
    }

    /// The section as text for a terminal of this width.
    pub(crate) fn rendered(self, width: usize) -> String {
        rendered(self.text, width)
    }
}

/// The sections of all codes, in the order of the page.
pub(crate) fn sections() -> Vec<Section> {
    let mut sections = Vec::new();
    for (chapter, rest) in PAGE.split("\n## ").skip(1).filter_map(|chapter| chapter.split_once('\n')) {
        for (heading, text) in rest.split("\n### ").skip(1).filter_map(|section| section.split_once('\n')) {
            let code = heading.trim_matches('`');
            sections.push(Section { chapter, code, text: text.trim() });
        }
    }
    sections
}

/// The section of a code; `None` if there is none.
pub(crate) fn section(code: &str) -> Option<Section> {
    sections().into_iter().find(|section| section.code == code)
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let width = usize::from(preview::terminal_width()).clamp(40, MAX_WIDTH);
    let mut text = String::new();
    if arguments.codes.is_empty() {
        text = list(width);
    }
    for (place, code) in arguments.codes.iter().enumerate() {
        let section = find(code)?;
        if place > 0 {
            text.push('\n');
        }
        let _ = writeln!(text, "{}\n", section.code);
        text += &section.rendered(width);
    }
    let mut out = output::text();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(Outcome::Success)
}

/// The section of a code as people have it before them: in any case, or as the end of a problem's `type`.
fn find(written: &str) -> Result<Section, UnknownCode> {
    let code = written.trim().rsplit(':').next().unwrap_or_default().to_ascii_lowercase();
    let code = code.replace('_', "-");
    let sections = sections();
    if let Some(section) = sections.iter().find(|section| section.code == code) {
        return Ok(*section);
    }
    let mut near: Vec<(f64, &'static str)> = sections
        .iter()
        .map(|section| {
            let is_part = code.len() > 2 && (section.code.contains(&code) || code.contains(section.code));
            let likeness = if is_part { 1.0 } else { strsim::jaro_winkler(section.code, &code) };
            (likeness, section.code)
        })
        .filter(|(likeness, _)| *likeness > 0.8)
        .collect();
    near.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let near = near.into_iter().take(SUGGESTIONS).map(|(_, code)| code).collect();
    Err(UnknownCode { code: written.to_owned(), near })
}

/// All codes by their chapters, each with its first sentence.
fn list(width: usize) -> String {
    let sections = sections();
    let longest = sections.iter().map(|section| section.code.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (place, chapter) in sections.chunk_by(|one, other| one.chapter == other.chapter).enumerate() {
        if place > 0 {
            text.push('\n');
        }
        let title = chapter.first().map_or("", |section| section.chapter);
        let _ = writeln!(text, "{title}");
        for section in chapter {
            let lead = format!("  {:longest$}  ", section.code);
            text += &output::wrapped(&lead, &section.summary(), width, longest + 4);
        }
    }
    text
}

/// Markdown as text for a terminal: paragraphs are wrapped, examples are indented, and links are their words.
fn rendered(markdown: &str, width: usize) -> String {
    let mut blocks: Vec<String> = Vec::new();
    let mut words = String::new();
    let mut is_example = false;
    for event in Parser::new(markdown) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => is_example = true,
            Event::End(TagEnd::CodeBlock) => {
                blocks.push(std::mem::take(&mut words));
                is_example = false;
            }
            Event::Text(text) if is_example => {
                for line in text.lines() {
                    let _ = writeln!(words, "    {line}");
                }
            }
            Event::Start(Tag::Item) => words.push_str("- "),
            Event::End(TagEnd::Paragraph | TagEnd::Item) if !words.is_empty() => {
                blocks.push(output::wrapped("", &std::mem::take(&mut words), width, 0));
            }
            event => words.push_str(&word(&event)),
        }
    }
    blocks.join("\n")
}

/// The words of a paragraph's part.
fn word(event: &Event<'_>) -> String {
    match event {
        Event::Text(text) => text.to_string(),
        Event::Code(code) => format!("`{code}`"),
        Event::SoftBreak | Event::HardBreak => " ".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_printed_as_text_with_its_example_as_it_stands() {
        let section = "Why it *is*\nso, see [the page](page.md#there).\n\n```yaml\nrules: [{ selection: any }]\n```\n\n**Do**: `this`.";
        let text = "Why it is so,\nsee the page.\n\n    rules: [{ selection: any }]\n\nDo: `this`.\n";
        assert_eq!(rendered(section, 14), text);
    }

    #[test]
    fn a_code_is_found_as_people_have_it_before_them_and_a_misspelt_one_has_a_suggestion() {
        for written in ["limit-percent", " LIMIT_PERCENT", "urn:ecr-steward:problem:limit-percent"] {
            assert_eq!(find(written).unwrap().code, "limit-percent");
        }
        let near = |written: &str| find(written).unwrap_err().near;
        assert_eq!(near("limit-percnt")[0], "limit-percent");
        assert!(near("registry").contains(&"limit-registry"));
        assert!(near("xyz").is_empty());
        let unknown = find("xyz").unwrap_err().to_string();
        assert_eq!(unknown, "there is no code `xyz`; `ecr-steward explain-code` lists all");
    }
}
