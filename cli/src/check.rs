//! `ecr-steward check`: validates policies, `policies.yaml` and `builds.yaml`.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use shared::domain::builds::build_config::{self, BuildConfig};
use shared::domain::enforcement::in_use_protection::{conflicts, protected};
use shared::domain::enforcement::policy_set::{self, Apply, PolicySet};
use shared::domain::lifecycle::lint::lint_alone;
use shared::domain::lifecycle::{Code, Finding, PolicySource};
use shared::domain::text::instant::Instant;
use shared::domain::text::locate::{Place, Places};
use shared::domain::text::quantity::count;
use shared::domain::text::recognize::excerpt;
use shared::report::code_pages;

use crate::input::{self, InputError, MAX_POLICY_BYTES};
use crate::{Failure, Outcome, explain_code, output};

/// Validate lifecycle policies, policies.yaml and builds.yaml, and print every finding
///
/// Examines each policy as ECR would, and policies.yaml and builds.yaml as the stack does, and prints everything that is wrong
/// as FILE:LINE:COLUMN: /json/pointer: code: message (the pointer / is the document as a whole), with the line of the file. Warns
/// of what is valid and can never act: prefixes and patterns that no tag matches, rules and entries that others come before, sources
/// that were ignored until a day that is over; and of policies that may leave almost nothing of a repository while their limits are as
/// good as switched off, which changes no exit code.
///
/// Prints the hash of a valid policies.yaml, too. The stack previews a new file before it enforces it; with its own hash in
/// the field `approve` the file is enforced without a preview. Comments, the order of fields and `approve` do not change the hash.
///
/// With --output github the lines are marked in a pull request; code scanning reads --output sarif.
///
/// Exit code: 0 if nothing was found, or only what may be meant (leaves-almost-nothing), 1 if something else was, 2 if a file cannot be
/// read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward check policies.yaml builds.yaml
  aws ecr get-lifecycle-policy --repository-name shop/web --output text \\
    --query lifecyclePolicyText | ecr-steward check -")]
pub(crate) struct Arguments {
    /// Policies: ECR's JSON document, or the simple model in YAML or JSON; and files with a list `policies` or
    /// `builds`. `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// How to print findings.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Format {
    /// One line for each finding, and the line of the file that it is about.
    #[default]
    Text,
    /// A JSON array of findings with `file`, `line`, `column`, `code`, `level`, `pointer` and `message`.
    Json,
    /// Workflow commands of GitHub Actions, which mark the lines in a pull request.
    Github,
    /// A SARIF 2.1.0 log, which code scanning reads.
    Sarif,
}

/// A finding, and where it is.
struct Found {
    file: String,
    place: Option<Place>,
    finding: Finding,
    /// The line of the file, with a mark below.
    excerpt: Option<String>,
}

impl Found {
    const fn level(&self) -> &'static str {
        if self.finding.code.is_warning() { "warning" } else { "error" }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let mut found: Vec<Found> = Vec::new();
    let mut unusable = Vec::new();
    let now = Instant::now();
    for path in &arguments.files {
        let file = input::name(path);
        let text = match input::read(path, MAX_POLICY_BYTES) {
            Ok(text) => text,
            Err(error) => {
                unusable.push((file, error));
                continue;
            }
        };
        let is_named = |key: &str| path.file_name().is_some_and(|name| name == key);
        let checked = if is_named(policy_set::KEY) || PolicySet::is_meant(&text) {
            check_policies(&text, now)
        } else if is_named(build_config::KEY) || BuildConfig::is_meant(&text) {
            BuildConfig::parse(&text).map(|policy_set| (count(policy_set.len() as u64, "build"), Vec::new()))
        } else {
            PolicySource::parse(&text).map(|source| {
                let warnings = source.policy().map(lint_alone).unwrap_or_default();
                (describe(&source), warnings)
            })
        };
        let findings = match checked {
            Ok((what, warnings)) => {
                let _ = writeln!(output::error(), "{file}: valid: {what}");
                warnings
            }
            Err(findings) => findings,
        };
        found.extend(located(&file, &text, findings));
    }
    match arguments.output {
        Format::Text => {
            let mut out = output::text();
            write_text(&mut out, &found)?;
            out.flush()?;
        }
        Format::Json => {
            let mut out = output::json();
            writeln!(out, "{:#}", findings_json(&found))?;
            out.flush()?;
        }
        Format::Github => print_github(&found, &unusable)?,
        Format::Sarif => {
            let mut out = output::json();
            writeln!(out, "{:#}", sarif(&found))?;
            out.flush()?;
        }
    }
    for (_, error) in &unusable {
        let _ = writeln!(output::error(), "ecr-steward: {error}");
    }
    if matches!(arguments.output, Format::Text | Format::Github) {
        output::explain_codes(found.iter().map(|found| found.finding.code.as_str()));
    }
    let is_well = found.iter().all(|found| found.finding.code.is_advice());
    Ok(match (unusable.is_empty(), is_well) {
        (false, _) => Outcome::Unusable,
        (true, false) => Outcome::Invalid,
        (true, true) => Outcome::Success,
    })
}

/// Findings with their places in the text of a file.
fn located(file: &str, text: &str, findings: Vec<Finding>) -> Vec<Found> {
    let places = if findings.is_empty() { None } else { Some(Places::of(text)) };
    let findings = findings.into_iter().map(|finding| {
        let place = places.as_ref().and_then(|places| places.of_finding(&finding));
        let excerpt = place.map(|place| excerpt(text, place.line, place.column));
        Found { file: file.to_owned(), place, finding: finding.without_place(), excerpt }
    });
    findings.collect()
}

/// What this command prints of the findings of a file.
pub(crate) fn lines(file: &str, text: &str, findings: Vec<Finding>) -> String {
    let mut lines = Vec::new();
    // Nothing fails to be written to memory.
    let written = write_text(&mut lines, &located(file, text, findings));
    debug_assert!(written.is_ok(), "{written:?}");
    String::from_utf8_lossy(&lines).trim_end().to_owned()
}

fn write_text(out: &mut impl Write, found: &[Found]) -> io::Result<()> {
    for Found { file, place, finding, excerpt } in found {
        match place {
            Some(Place { line, column }) => writeln!(out, "{file}:{line}:{column}: {finding}")?,
            None => writeln!(out, "{file}: {finding}")?,
        }
        if let Some(excerpt) = excerpt {
            writeln!(out, "{excerpt}")?;
        }
    }
    Ok(())
}

fn findings_json(found: &[Found]) -> Value {
    let findings = found.iter().map(|found| {
        let Finding { code, pointer, message } = &found.finding;
        let mut value =
            json!({ "file": found.file, "code": code, "level": found.level(), "pointer": pointer, "message": message });
        if let Some(Place { line, column }) = found.place {
            value["line"] = line.into();
            value["column"] = column.into();
        }
        value
    });
    findings.collect()
}

/// A text as the data of a workflow command.
fn of_command(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A text as a property of a workflow command.
fn of_property(text: &str) -> String {
    of_command(text).replace(':', "%3A").replace(',', "%2C")
}

fn print_github(found: &[Found], unusable: &[(String, InputError)]) -> io::Result<()> {
    let mut out = output::text();
    for found in found {
        let place =
            found.place.map_or(String::new(), |Place { line, column }| format!(",line={line},col={column}"));
        let Finding { code, pointer, message } = &found.finding;
        let at = if pointer.is_empty() { String::new() } else { format!("{pointer}: ") };
        let (level, file, text) =
            (found.level(), of_property(&found.file), of_command(&format!("{at}{message}")));
        writeln!(out, "::{level} file={file}{place},title={code}::{text}")?;
    }
    for (file, error) in unusable {
        writeln!(out, "::error file={}::{}", of_property(file), of_command(&error.to_string()))?;
    }
    out.flush()
}

/// A code as a rule of SARIF, with what the documentation says about it.
fn sarif_rule(code: Code) -> Value {
    let mut rule = json!({ "id": code });
    if let Some(section) = explain_code::section(code.as_str()) {
        rule["shortDescription"] = json!({ "text": section.summary() });
        rule["help"] = json!({ "text": section.rendered(usize::MAX), "markdown": section.text });
    }
    if let Some(page) = code_pages::page(code_pages::REPOSITORY, code.as_str()) {
        rule["helpUri"] = page.into();
    }
    rule
}

/// The findings as a SARIF log (OASIS, version 2.1.0).
fn sarif(found: &[Found]) -> Value {
    let codes: BTreeSet<Code> = found.iter().map(|found| found.finding.code).collect();
    let rules: Vec<Value> = codes.iter().map(|code| sarif_rule(*code)).collect();
    let results: Vec<Value> = found
        .iter()
        .map(|found| {
            let Finding { code, pointer, message } = &found.finding;
            let mut location = json!({ "artifactLocation": { "uri": found.file.replace('\\', "/") } });
            if let Some(Place { line, column }) = found.place {
                location["region"] = json!({ "startLine": line, "startColumn": column });
            }
            json!({
                "ruleId": code,
                "level": found.level(),
                "message": { "text": message },
                "locations": [{
                    "physicalLocation": location,
                    "logicalLocations": [{ "fullyQualifiedName": if pointer.is_empty() { "/" } else { pointer } }],
                }],
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "ecr-steward", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

/// A policies file; what ECR enforces has to fit into ECR behind the protection rule, and must not count protection tags.
fn check_policies(text: &str, now: Instant) -> Result<(String, Vec<Finding>), Vec<Finding>> {
    let policy_set = PolicySet::parse(text)?;
    let attached = (0..).zip(policy_set.entries()).filter(|(_, entry)| entry.apply == Apply::Attach);
    let findings: Vec<Finding> = attached
        .flat_map(|(index, entry)| {
            let mut findings = conflicts(&entry.policy);
            if findings.is_empty() {
                findings.extend(protected(&entry.policy).err());
            }
            findings.into_iter().map(move |finding| Finding {
                pointer: format!("/policies/{index}{}", finding.pointer),
                ..finding
            })
        })
        .collect();
    if !findings.is_empty() {
        return Err(findings);
    }
    let policies = count(policy_set.entries().len() as u64, "policy").replace("policys", "policies");
    let hash = policy_set.hash();
    let approval = if policy_set.is_approved() {
        "the file approves itself: it is enforced without a preview before".to_owned()
    } else {
        format!("a run previews it before one enforces it, unless the file says approve: \"{hash}\"")
    };
    let entries = (0..).zip(policy_set.entries());
    let mut warnings: Vec<Finding> = entries
        .filter(|(_, entry)| entry.apply != Apply::Protect)
        .flat_map(|(index, entry)| {
            lint_alone(&entry.policy).into_iter().map(move |finding| Finding {
                pointer: format!("/policies/{index}{}", finding.pointer),
                ..finding
            })
        })
        .collect();
    warnings.extend(policy_set.leaving_almost_nothing());
    warnings.extend(policy_set.unreachable());
    warnings.extend(policy_set.unapproved());
    warnings.extend(policy_set.expired_ignores(now));
    Ok((format!("{policies}, hash {hash}; {approval}"), warnings))
}

fn describe(source: &PolicySource) -> String {
    let language = match source {
        PolicySource::Document(_) => "ECR policy document",
        PolicySource::Simple(..) => "simple policy",
    };
    match source.policy() {
        None => format!("{language}, skip: true, so no lifecycle policy"),
        Some(policy) => {
            let rules = count(policy.rules().len() as u64, "rule");
            format!("{language} of {rules}")
        }
    }
}
