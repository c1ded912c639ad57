//! The tree says what may touch what: `shared/src` has bands, and imports run downwards only.

use std::fs;
use std::path::{Path, PathBuf};

use tests::binaries::workspace;

/// A band, and the bands that it may import.
const BANDS: [(&str, &[&str]); 6] = [
    ("domain", &[]),
    ("aws", &["domain"]),
    ("report", &["domain"]),
    ("workflows", &["aws", "report", "domain"]),
    ("handlers", &["workflows", "domain"]),
    ("shell", &["handlers", "workflows", "aws", "report", "domain"]),
];

/// What handlers may name of `aws` to answer with: why a call failed, and how much time is left. None of it calls AWS.
const NAMES_OF_FAILURES: [&str; 3] = ["AwsError", "Failure", "Deadline"];

/// What reads a clock, the environment or AWS, or waits.
const NOT_PURE: [&str; 10] = [
    "aws_config",
    "aws_sdk_",
    "aws_smithy",
    "tokio",
    "reqwest",
    "async fn",
    ".await",
    "SystemTime",
    "Instant::now",
    "std::env",
];

/// Adds the source files below a folder to those found, but for what Cargo built there.
fn below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() && !entry.ends_with("target") {
            below(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
}

/// The source files below a folder of `shared/src`, and the module file of that folder.
fn files(band: &str) -> Vec<PathBuf> {
    let source = workspace().join("shared/src");
    let mut found = vec![source.join(band).with_extension("rs")];
    below(&source.join(band), &mut found);
    found.sort();
    found
}

/// What a file says outside its comments and unit tests.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    if file.file_name().is_some_and(|name| name == "tests.rs") {
        return String::new();
    }
    without_comments(text.split("#[cfg(test)]\n").next().unwrap())
}

/// Code without the lines that are comments.
fn without_comments(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The paths from the root of the crate that a text names, with each name of a list in braces.
fn paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(rest.len());
        let (path, after) = rest.split_at(end);
        match after.strip_prefix('{').filter(|_| path.ends_with("::")).and_then(|list| list.split_once('}')) {
            Some((list, _)) => {
                paths.extend(
                    list.split(',')
                        .map(str::trim)
                        .filter(|name| !name.is_empty())
                        .map(|name| format!("{path}{name}")),
                );
            }
            None => paths.push(path.to_owned()),
        }
    }
    paths
}

#[test]
fn imports_run_downwards() {
    let mut wrong = Vec::new();
    let mut looked_at = 0;
    for (band, below) in BANDS {
        for file in files(band) {
            for path in paths(&code(&file)) {
                looked_at += 1;
                let (root, rest) = path.split_once("::").unwrap_or((&path, ""));
                let is_name_of_failure =
                    band == "handlers" && root == "aws" && NAMES_OF_FAILURES.contains(&rest);
                if root != band && !below.contains(&root) && !is_name_of_failure {
                    wrong.push(format!("{} names crate::{path}", file.display()));
                }
            }
        }
    }
    assert!(looked_at > 500, "only {looked_at} paths were found");
    assert!(wrong.is_empty(), "a band imports only those below it:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_is_in_a_band() {
    let source = workspace().join("shared/src");
    let mut modules: Vec<String> = fs::read_dir(source)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    modules.sort();
    modules.dedup();
    let mut expected: Vec<&str> = BANDS.iter().map(|(band, _)| *band).chain(["lib"]).collect();
    expected.sort_unstable();
    assert_eq!(modules, expected);
}

#[test]
fn decisions_and_reports_know_no_aws_clock_or_environment() {
    let mut wrong = Vec::new();
    for file in files("domain").into_iter().chain(files("report")) {
        let code = code(&file);
        wrong.extend(
            NOT_PURE
                .iter()
                .filter(|word| code.contains(**word))
                .map(|word| format!("{}: {word}", file.display())),
        );
    }
    assert!(wrong.is_empty(), "what decides is given the time and what was read:\n{}", wrong.join("\n"));
}

/// Identifiers that say nothing to somebody who knows AWS, containers and Rust.
const TO_BE_LEARNED: [&str; 9] = ["Because", "Begun", "Said", "Slot", "begun", "odd", "said", "slot", "stop"];

/// Parts of identifiers that have a name in the field: the words between `_`, or those that begin with capitals, in lower case.
const PARTS_TO_BE_LEARNED: [&str; 18] = [
    "book",
    "desk",
    "fate",
    "fates",
    "hands",
    "moment",
    "obstacle",
    "obstacles",
    "recipe",
    "recipes",
    "surveyed",
    "ticket",
    "tickets",
    "told",
    "trouble",
    "untold",
    "wish",
    "wishes",
];

/// The parts of an identifier, in lower case.
fn parts(identifier: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut was_lower = false;
    for c in identifier.chars() {
        if c == '_' || (c.is_uppercase() && was_lower) {
            parts.push(String::new());
        }
        if c != '_' {
            parts.last_mut().unwrap().extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase();
    }
    parts
}

/// Code without what is in its strings.
fn without_strings(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(at) = rest.find('"') {
        let (before, after) = rest.split_at(at);
        // The literal of a quotation mark.
        if before.ends_with('\'') || before.ends_with("'\\") {
            kept.push_str(before);
            rest = &after[1..];
            continue;
        }
        kept.push_str(before);
        kept.push(' ');
        let marks = before.len() - before.trim_end_matches('#').len();
        let is_raw = before.trim_end_matches('#').ends_with('r')
            && !before
                .trim_end_matches('#')
                .trim_end_matches('r')
                .ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let body = &after[1..];
        let end = if is_raw {
            body.find(&format!("\"{}", "#".repeat(marks))).unwrap_or(body.len())
        } else {
            let mut is_escaped = false;
            let ends = |c: char| {
                let ends = c == '"' && !is_escaped;
                is_escaped = c == '\\' && !is_escaped;
                ends
            };
            body.find(ends).unwrap_or(body.len())
        };
        rest = body.get(end + 1..).unwrap_or_default();
    }
    kept + rest
}

/// The source files of what is deployed and of the command line.
fn programs() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["cli/src", "functions", "infra/local/src", "shared/src"] {
        below(&workspace().join(folder), &mut found);
    }
    found.sort();
    found
}

/// The source files of the end-to-end tests, the simulation, benchmarks and fuzz targets, but for this one, which lists words.
fn test_code() -> Vec<PathBuf> {
    let mut found = Vec::new();
    below(&workspace().join("tests"), &mut found);
    found.retain(|file| !file.ends_with("tests/house.rs"));
    found.sort();
    found
}

#[test]
fn no_identifier_has_to_be_learned_first() {
    let mut found = Vec::new();
    let mut looked_at = 0;
    for file in programs().into_iter().chain(test_code()) {
        let code = without_strings(&without_comments(&fs::read_to_string(&file).unwrap()));
        let words = code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
        for word in words {
            looked_at += 1;
            let has_part = || parts(word).iter().any(|part| PARTS_TO_BE_LEARNED.contains(&part.as_str()));
            if TO_BE_LEARNED.contains(&word) || has_part() {
                found.push(format!("{}: {word}", file.display()));
            }
        }
    }
    assert!(looked_at > 300_000, "only {looked_at} words were found");
    assert!(found.is_empty(), "these have a name in the field:\n{}", found.join("\n"));
}

/// Parts of names of tests that have a plainer word: expires, is deleted, is kept, is blocked, is reported.
const NOT_IN_NAMES_OF_TESTS: [&str; 7] = ["begun", "goes", "handed", "held", "said", "taken", "tells"];

#[test]
fn names_of_tests_are_plain() {
    let mut found = Vec::new();
    let mut looked_at = 0;
    for file in programs().into_iter().chain(test_code()) {
        let text = fs::read_to_string(&file).unwrap();
        let attributes = ["#[test]", "#[tokio::test"];
        for (at, _) in attributes.iter().flat_map(|attribute| text.match_indices(attribute)) {
            let Some((_, rest)) = text[at..].split_once("fn ") else { continue };
            let name = rest.split('(').next().unwrap();
            looked_at += 1;
            if parts(name).iter().any(|part| NOT_IN_NAMES_OF_TESTS.contains(&part.as_str())) {
                found.push(format!("{}: {name}", file.display()));
            }
        }
    }
    assert!(looked_at > 1300, "only {looked_at} tests were found");
    assert!(found.is_empty(), "say what is deleted, kept, blocked or reported:\n{}", found.join("\n"));
}

#[test]
fn strings_are_no_code() {
    let code = "let a = \"told \\\" told\"; r#\"told \" told\"#; let q = '\"'; b";
    let rest = without_strings(code);
    assert!(!rest.contains("told") && rest.contains("let q") && rest.ends_with(" b"), "{rest}");
    assert_eq!(parts("BookKey"), ["book", "key"]);
    assert_eq!(parts("TOLD_KEY"), ["told", "key"]);
}

/// Words that say nothing to a reader without this project's history.
const RIDDLES: [&str; 21] = [
    "are told",
    "book",
    "for so long",
    "goes",
    "handed",
    "hands over",
    "held",
    "is told",
    "ledger",
    "may go",
    "nobody knows",
    "recipe",
    "so long",
    "so many",
    "stand for",
    "taken",
    "tells of",
    "ticket",
    "what becomes of",
    "what came of",
    "would go",
];

#[test]
fn the_first_line_of_a_comment_is_plain() {
    let mut found = Vec::new();
    let mut looked_at = 0;
    // Comments of the command line are its help, which another test reads as it is printed.
    let is_help = |file: &&PathBuf| file.starts_with(workspace().join("cli"));
    for file in programs().iter().filter(|file| !is_help(file)).chain(&test_code()) {
        let text = fs::read_to_string(file).unwrap();
        let mut was_comment = false;
        for line in text.lines().map(str::trim_start) {
            let comment = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"));
            if let Some(comment) = comment.filter(|_| !was_comment) {
                looked_at += 1;
                // What is in backquotes are names.
                let prose: String =
                    comment.split('`').step_by(2).collect::<Vec<_>>().join(" ").to_lowercase();
                let is_letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
                let riddle = RIDDLES.iter().find(|riddle| {
                    prose.match_indices(**riddle).any(|(at, _)| {
                        !is_letter(prose[..at].chars().next_back())
                            && !is_letter(prose[at + riddle.len()..].chars().next())
                    })
                });
                if let Some(riddle) = riddle {
                    found.push(format!("{}: {riddle}: {line}", file.display()));
                }
            }
            was_comment = comment.is_some();
        }
    }
    assert!(looked_at > 6000, "only {looked_at} comments were found");
    assert!(found.is_empty(), "say it plainly:\n{}", found.join("\n"));
}

/// What people read of reports and help, without markup.
fn read_by_people() -> Vec<(PathBuf, String)> {
    let root = workspace();
    let mut files = vec![root.join("docs/command-line.md")];
    for folder in [
        "tests/snapshots",
        "shared/src/report/run/snapshots",
        "shared/src/report/table/snapshots",
        "shared/src/report/html/run/snapshots",
    ] {
        let entries = fs::read_dir(root.join(folder)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    let without_markup = |file: PathBuf| {
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split('<').map(|piece| piece.split_once('>').map_or(piece, |(_, text)| text));
        (file, text.collect::<Vec<_>>().join(" "))
    };
    files.into_iter().map(without_markup).collect()
}

#[test]
fn what_people_read_says_expires_deleted_protected_and_blocked() {
    for (file, text) in read_by_people() {
        let words = text.replace("goes on", "").replace("goes to", "");
        for word in
            ["goes", "would go", "taken", "held", "what they are about", "policy book", "manifest list"]
        {
            let is_there = words.match_indices(word).any(|(at, _)| {
                let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
                !is_letter(words[..at].chars().next_back())
                    && !is_letter(words[at + word.len()..].chars().next())
            });
            assert!(!is_there, "{} says {word:?}", file.display());
        }
    }
}
