//! `ecr-steward check`: validates policies, `policies.yaml` and `builds.yaml`.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;
use shared::domain::builds::build_config::{self, BuildConfig};
use shared::domain::enforcement::in_use_protection::{conflicts, protected};
use shared::domain::enforcement::policy_set::{self, Apply, PolicySet};
use shared::domain::lifecycle::{Finding, PolicySource};
use shared::domain::text::quantity::count;

use crate::input::{self, MAX_POLICY_BYTES};
use crate::{Failure, Outcome, output};

/// Validate lifecycle policies, policies.yaml and builds.yaml, and print every finding
///
/// Examines each policy as ECR would, and policies.yaml and builds.yaml as the stack does, and prints everything that is wrong
/// as FILE: /json/pointer: code: message (the pointer / is the document as a whole).
///
/// Prints the hash of a valid policies.yaml, too. The stack previews a new file before it enforces it; with its own hash in
/// the field `approve` the file is enforced without a preview. Comments, the order of fields and `approve` do not change the hash.
///
/// Exit code: 0 if every file is valid, 1 if one is not, 2 if a file cannot be read.
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
    /// One line for each finding.
    #[default]
    Text,
    /// A JSON array of findings with `file`, `code`, `pointer` and `message`.
    Json,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let mut found: Vec<(String, Finding)> = Vec::new();
    let mut unusable = Vec::new();
    for path in &arguments.files {
        let file = input::name(path);
        let text = match input::read(path, MAX_POLICY_BYTES) {
            Ok(text) => text,
            Err(error) => {
                unusable.push(error);
                continue;
            }
        };
        let is_named = |key: &str| path.file_name().is_some_and(|name| name == key);
        let checked = if is_named(policy_set::KEY) || PolicySet::is_meant(&text) {
            check_policies(&text)
        } else if is_named(build_config::KEY) || BuildConfig::is_meant(&text) {
            BuildConfig::parse(&text).map(|book| count(book.len() as u64, "build"))
        } else {
            PolicySource::parse(&text).map(|source| describe(&source))
        };
        match checked {
            Ok(what) => {
                let _ = writeln!(output::error(), "{file}: valid: {what}");
            }
            Err(findings) => found.extend(findings.into_iter().map(|finding| (file.clone(), finding))),
        }
    }
    match arguments.output {
        Format::Text => {
            let mut out = output::text();
            for (file, finding) in &found {
                writeln!(out, "{file}: {finding}")?;
            }
            out.flush()?;
        }
        Format::Json => {
            let findings: Vec<_> = found
                .iter()
                .map(
                    |(
                        file,
                        Finding {
                            code,
                            pointer,
                            message,
                        },
                    )| {
                        json!({ "file": file, "code": code, "pointer": pointer, "message": message })
                    },
                )
                .collect();
            let mut out = output::json();
            writeln!(out, "{:#}", json!(findings))?;
            out.flush()?;
        }
    }
    for error in &unusable {
        let _ = writeln!(output::error(), "ecr-steward: {error}");
    }
    Ok(match (unusable.is_empty(), found.is_empty()) {
        (false, _) => Outcome::Unusable,
        (true, false) => Outcome::Invalid,
        (true, true) => Outcome::Success,
    })
}

/// A policies file; what ECR enforces has to fit into ECR behind the protection rule, and must not count protection tags.
fn check_policies(text: &str) -> Result<String, Vec<Finding>> {
    let book = PolicySet::parse(text)?;
    let attached = (0..).zip(book.entries()).filter(|(_, entry)| entry.apply == Apply::Attach);
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
    let policies = count(book.entries().len() as u64, "policy").replace("policys", "policies");
    let hash = book.hash();
    let approval = if book.is_approved() {
        "the file approves itself: it is enforced without a preview before".to_owned()
    } else {
        format!("a run previews it before one enforces it, unless the file says approve: \"{hash}\"")
    };
    Ok(format!("{policies}, hash {hash}; {approval}"))
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
