//! `ecr-steward compile`: from the simple model to ECR's document, and back.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use shared::domain::lifecycle::PolicySource;
use shared::domain::text::locate::{Place, Places};
use shared::domain::text::recognize::excerpt;

use crate::input::{self, InputError, MAX_POLICY_BYTES};
use crate::{Failure, Outcome, output};

/// Print the ECR policy document that a simple policy stands for
///
/// The document is ready for `aws ecr put-lifecycle-policy --lifecycle-policy-text file://…`. A policy that says `skip: true` stands for none, and nothing is printed. An ECR document is printed in order of
/// priority.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward compile policy.yaml > policy.json
  aws ecr put-lifecycle-policy --repository-name shop/web \\
    --lifecycle-policy-text file://policy.json
  ecr-steward compile --to simple policy.json")]
pub(crate) struct Arguments {
    /// The policy: the simple model in YAML or JSON, or ECR's document; `-` is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// What to print.
    #[arg(long, value_enum, default_value_t, value_name = "LANGUAGE")]
    to: Language,

    /// Print the document on one line.
    #[arg(long)]
    compact: bool,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Language {
    /// ECR's policy document, in JSON.
    #[default]
    Ecr,
    /// The simple model, in YAML.
    Simple,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let source = read_policy(&arguments.file)?;
    match (arguments.to, &source) {
        (Language::Simple, PolicySource::Simple(simple, _)) => print(&simple.to_yaml())?,
        (Language::Simple, PolicySource::Document(policy)) => {
            let simple = policy.decompile().map_err(|error| Failure::Policy {
                file: input::name(&arguments.file),
                problem: error.to_string(),
            })?;
            print(&simple.to_yaml())?;
        }
        (Language::Ecr, source) => match source.policy() {
            Some(policy) if arguments.compact => print(&format!("{}\n", policy.to_json()))?,
            Some(policy) => print(&format!("{}\n", policy.to_json_pretty()))?,
            None => {
                let file = input::name(&arguments.file);
                let _ =
                    writeln!(output::error(), "{file}: skip: true, so there is no lifecycle policy to print");
            }
        },
    }
    Ok(Outcome::Success)
}

/// Prints a document. YAML quotes what JSON escapes, and has the same escapes there.
fn print(document: &str) -> io::Result<()> {
    let mut out = output::json();
    out.write_all(document.as_bytes())?;
    out.flush()
}

/// Reads a policy that has to be valid.
pub(crate) fn read_policy(path: &std::path::Path) -> Result<PolicySource, Failure> {
    let file = input::name(path);
    let text = input::read(path, MAX_POLICY_BYTES)?;
    PolicySource::parse(&text).map_err(|findings| {
        if let Some(problem) = input::other_kind(&text) {
            return InputError::Content { file, problem }.into();
        }
        let Some((first, others)) = findings.split_first() else {
            return InputError::Content { file, problem: "not a valid policy".to_owned() }.into();
        };
        let more = match others.len() {
            0 => String::new(),
            more => format!(" (and {more} more; see `ecr-steward check {}`)", path.display()),
        };
        match Places::of(&text).of_finding(first) {
            None => InputError::Content { file, problem: format!("not a valid policy: {first}{more}") },
            Some(Place { line, column }) => InputError::Content {
                file: format!("{file}:{line}:{column}"),
                problem: format!(
                    "not a valid policy: {}{more}\n{}",
                    first.without_place(),
                    excerpt(&text, line, column)
                ),
            },
        }
        .into()
    })
}
