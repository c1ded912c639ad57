//! `ecr-steward protection-rule`: the rule that keeps ECR's own engine from images in use, for policies of other tools.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use clap::{Args, ValueEnum};
use serde::Serialize;
use shared::domain::enforcement::in_use_protection::protection_rules;
use shared::domain::lifecycle::LifecyclePolicy;
use shared::domain::lifecycle::document::{Action, Limit, Rule, StorageClass, TagSelection};

use crate::{Failure, Outcome, output};

/// Print the rule to put first in a lifecycle policy that is not ecr-steward's, so that ECR keeps what is in use
///
/// For a policy of Terraform, CloudFormation, Pulumi or your own. The rule identifies images with a protection tag
/// (ecr-steward-in-use-…) and marks none of them, so that no rule behind it acts on them. Give it the lowest priority number of
/// the policy.
///
/// The rule alone protects nothing: ecr-steward has to put the tags. Write `apply: protect` for the repository in policies.yaml, or
/// give it the resource tag `ecr-steward:protect` with the value `true`. Wait for a run before the policy gets the rules that
/// delete: from then on every run tags what is in use. The policy itself is never written.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward protection-rule
  ecr-steward protection-rule --output hcl --archive")]
pub(crate) struct Arguments {
    /// How to print the rule.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,

    /// Add the second rule, for a policy with rules about archived images (`sinceImageTransitioned`).
    #[arg(long)]
    archive: bool,
}

/// Where the rule is pasted.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Format {
    /// ECR's policy document, in JSON.
    #[default]
    Json,
    /// Terraform: `jsonencode` for aws_ecr_lifecycle_policy, and blocks of the data source aws_ecr_lifecycle_policy_document.
    Hcl,
    /// CloudFormation: the property LifecyclePolicy of AWS::ECR::Repository; and the simple model.
    Yaml,
}

#[derive(Serialize)]
struct Document<'a> {
    rules: &'a [Rule],
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let rules = protection_rules(arguments.archive);
    let text = match arguments.output {
        Format::Json => format!("{}\n", json(&rules)?),
        Format::Hcl => hcl(&rules),
        Format::Yaml => yaml(&rules)?,
    };
    let mut out = output::tables();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(Outcome::Success)
}

fn json(rules: &[Rule]) -> Result<String, Failure> {
    Ok(serde_json::to_string_pretty(&Document { rules }).map_err(io::Error::from)?)
}

/// The number for the first rule of the policy's owner.
fn next(rules: &[Rule]) -> u64 {
    rules.last().map_or(1, |rule| rule.priority + 1)
}

/// A field of `selection`: its name in ECR's document and in Terraform's data source, and its value in HCL.
type Field = (&'static str, &'static str, String);

fn selection(rule: &Rule) -> Vec<Field> {
    let (status, list) = match &rule.tags {
        TagSelection::Tagged(list) => ("tagged", Some(list)),
        TagSelection::Untagged => ("untagged", None),
        TagSelection::Any => ("any", None),
    };
    let mut fields = vec![("tagStatus", "tag_status", quoted(status))];
    if let Some(list) = list {
        let snake = if list.field() == "tagPrefixList" { "tag_prefix_list" } else { "tag_pattern_list" };
        let entries: Vec<String> = list.entries().iter().map(|entry| quoted(entry)).collect();
        fields.push((list.field(), snake, format!("[{}]", entries.join(", "))));
    }
    if rule.limit.storage_class() == StorageClass::Archive {
        fields.push(("storageClass", "storage_class", quoted(rule.limit.storage_class().as_str())));
    }
    fields.push(("countType", "count_type", quoted(rule.limit.count_type())));
    if !matches!(rule.limit, Limit::ImageCountMoreThan(_)) {
        fields.push(("countUnit", "count_unit", quoted("days")));
    }
    fields.push(("countNumber", "count_number", rule.limit.count_number().to_string()));
    fields
}

const fn action(rule: &Rule) -> &'static str {
    match rule.action {
        Action::Expire => "expire",
        Action::Transition => "transition",
    }
}

/// A text of letters, digits and punctuation in quotation marks, for HCL.
fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// Lines `name = value`, as `terraform fmt` aligns them.
fn assignments(indentation: &str, fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    fields.iter().map(|(name, value)| format!("{indentation}{name:width$} = {value}\n")).collect()
}

fn hcl(rules: &[Rule]) -> String {
    let mut text = String::from(
        "# In a resource aws_ecr_lifecycle_policy: the protection rule is the first one.\npolicy = jsonencode({\n  rules = [\n",
    );
    for rule in rules {
        let description = quoted(rule.description.as_deref().unwrap_or_default());
        let head = [("rulePriority", rule.priority.to_string()), ("description", description)];
        let fields: Vec<_> = selection(rule).into_iter().map(|(name, _, value)| (name, value)).collect();
        let (head, fields) = (assignments("      ", &head), assignments("        ", &fields));
        let action = quoted(action(rule));
        // What cannot fail: it is written into a text.
        let _ = write!(
            text,
            "    {{\n{head}      selection = {{\n{fields}      }}\n      action = {{\n        type = {action}\n      }}\n    }},\n"
        );
    }
    let _ = write!(
        text,
        "    # Your own rules, with rulePriority = {} and up.\n  ]\n}})\n\n# Or in a data source aws_ecr_lifecycle_policy_document:\n#\n",
        next(rules)
    );
    // It knows no storage classes.
    let (known, unknown): (Vec<&Rule>, Vec<&Rule>) =
        rules.iter().partition(|rule| rule.limit.storage_class() == StorageClass::Standard);
    for rule in known {
        let description = quoted(rule.description.as_deref().unwrap_or_default());
        let head = [("priority", rule.priority.to_string()), ("description", description)];
        let fields: Vec<_> = selection(rule).into_iter().map(|(_, name, value)| (name, value)).collect();
        let (head, fields) = (assignments("#   ", &head), assignments("#     ", &fields));
        let action = quoted(action(rule));
        let _ = write!(
            text,
            "# rule {{\n{head}#   selection {{\n{fields}#   }}\n#   action {{\n#     type = {action}\n#   }}\n# }}\n"
        );
    }
    if !unknown.is_empty() {
        text +=
            "#\n# The data source knows no rules about archived images; with such rules use jsonencode.\n";
    }
    text
}

fn yaml(rules: &[Rule]) -> Result<String, Failure> {
    let unusable = |problem: String| Failure::Policy { file: "the protection rule".to_owned(), problem };
    let document = json(rules)?;
    let policy = LifecyclePolicy::parse(&document).map_err(|findings| {
        unusable(findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })?;
    let simple = policy.decompile().map_err(|error| unusable(error.to_string()))?.to_yaml();
    let simple: String = simple.lines().map(|line| format!("# {line}\n")).collect();
    Ok(format!(
        "# In the properties of an AWS::ECR::Repository: the protection rule is the first one. Your own rules follow in the list,\n\
         # with rulePriority {} and up.\nLifecyclePolicy:\n  LifecyclePolicyText: |\n    {}\n\n\
         # Or in the simple model, where rules have the order of the list, for `ecr-steward compile`:\n#\n{simple}",
        next(rules),
        document.replace('\n', "\n    ")
    ))
}
