//! `ecr-steward diff`: whether two policies are the same, and what differs.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use shared::domain::lifecycle::{LifecyclePolicy, diff};

use crate::compile::read_policy;
use crate::input::{self, InputError};
use crate::{Failure, Outcome, output};

/// Print what differs between two policies, rule by rule
///
/// Rules are the same rule when they select the same images. What became of each is a line, and rules that are applied in another
/// order, or under other priorities, are one line together. The order of rules in the text of ECR's document, the order of prefixes,
/// the spelling of numbers and the language of the files do not matter: a simple policy, whose rules have priorities in their order,
/// is compared as the document that it stands for. Useful against what is attached to a repository, as `aws ecr
/// get-lifecycle-policy --query lifecyclePolicyText --output text` prints it.
///
/// Exit code: 0 if the policies are the same, 1 if they differ, 2 if a file cannot be used.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward diff old.yaml new.yaml
  aws ecr get-lifecycle-policy --repository-name shop/web --output text \\
    --query lifecyclePolicyText | ecr-steward diff - policy.yaml")]
pub(crate) struct Arguments {
    /// The policy to start from; `-` is standard input.
    #[arg(value_name = "FROM")]
    from: PathBuf,

    /// The policy to arrive at; `-` is standard input.
    #[arg(value_name = "TO")]
    to: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    if input::is_standard_input(&arguments.from) && input::is_standard_input(&arguments.to) {
        return Err(InputError::StandardInputTwice.into());
    }
    let (from, to) = (read_policy(&arguments.from)?, read_policy(&arguments.to)?);
    let changes = changes(from.policy(), to.policy());
    if changes.is_empty() {
        return Ok(Outcome::Success);
    }
    let mut out = output::text();
    for change in changes {
        writeln!(out, "{change}")?;
    }
    out.flush()?;
    Ok(Outcome::Different)
}

/// The changes from one policy, or none, to another, or none: a line for each.
pub(crate) fn changes(from: Option<&LifecyclePolicy>, to: Option<&LifecyclePolicy>) -> Vec<String> {
    match (from, to) {
        (None, None) => Vec::new(),
        (Some(_), None) => vec!["removed the policy".to_owned()],
        (None, Some(policy)) => policy.rules().iter().map(|rule| format!("added {rule}")).collect(),
        (Some(from), Some(to)) => diff(from, to).iter().map(ToString::to_string).collect(),
    }
}
