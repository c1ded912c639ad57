//! A policy as people hand it in: ECR's document or the simple model, told apart by what it says.

use super::document::LifecyclePolicy;
use super::rules::SimplePolicy;
use crate::domain::text::finding::{Code, Finding};
use crate::domain::text::syntax::{self, Node};

/// A policy that was read and is valid, with the language it was written in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicySource {
    /// ECR's document.
    Document(LifecyclePolicy),
    /// The simple model, and what it compiles to; `None` for `skip: true`.
    Simple(SimplePolicy, Option<LifecyclePolicy>),
}

impl PolicySource {
    /// Reads a policy: ECR's document in JSON, or the simple model in YAML or JSON.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, as found in the language that it resembles most.
    pub fn parse(text: &str) -> Result<Self, Vec<Finding>> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let (node, is_json) = match parse_either(text) {
            Ok(parsed) => parsed,
            Err(finding) => return Err(vec![finding]),
        };
        Self::read(&node, is_json, text)
    }

    /// Reads a policy in either model, in JSON only.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, as found in the language that it resembles most.
    pub fn parse_json(text: &str) -> Result<Self, Vec<Finding>> {
        let node = syntax::parse_json(text).map_err(|finding| vec![finding])?;
        Self::read(&node, true, text)
    }

    fn read(node: &Node, is_json: bool, text: &str) -> Result<Self, Vec<Finding>> {
        match (resembles(node, is_json), is_json) {
            (Language::Document, true) => LifecyclePolicy::read(node, text).map(Self::Document),
            (Language::Document, false) => {
                let mut findings = vec![Finding::new(
                    Code::NotJson,
                    "",
                    "this is ECR's policy document written as YAML, and ECR takes JSON only; write it as JSON, or use \
                     the simple model",
                )];
                findings.extend(LifecyclePolicy::read(node, text).err().unwrap_or_default());
                // The length of a YAML text says nothing about the JSON it would become.
                findings.retain(|f| !matches!(f.code, Code::PolicyTooLong | Code::PolicyTooShort));
                Err(findings)
            }
            (Language::Simple, _) => {
                let simple = SimplePolicy::read(node)?;
                let compiled = simple.compile().map_err(|finding| vec![finding])?;
                Ok(Self::Simple(simple, compiled))
            }
        }
    }

    /// The policy of rules in the simple model, which have to be there; pointers begin at `/rules`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub(crate) fn of_simple_rules(rules: &[Node]) -> Result<LifecyclePolicy, Vec<Finding>> {
        let none =
            || vec![Finding::new(Code::EmptyList, "/rules", "`rules` is empty; write at least one rule")];
        if rules.is_empty() {
            return Err(none());
        }
        let node = Node::Object(vec![("rules".to_owned(), Node::List(rules.to_vec()))]);
        let compiled = SimplePolicy::read(&node)?.compile().map_err(|finding| vec![finding])?;
        compiled.ok_or_else(none)
    }

    /// The document that ECR would get; `None` when the policy says that there is to be none.
    #[must_use]
    pub const fn policy(&self) -> Option<&LifecyclePolicy> {
        match self {
            Self::Document(policy) => Some(policy),
            Self::Simple(_, compiled) => compiled.as_ref(),
        }
    }
}

enum Language {
    Document,
    Simple,
}

fn parse_either(text: &str) -> Result<(Node, bool), Finding> {
    let json = syntax::parse_json(text);
    let json_error = match json {
        Ok(node) => return Ok((node, true)),
        Err(finding) => finding,
    };
    if !text.trim_start().starts_with(['{', '[']) {
        return syntax::parse_yaml(text).map(|node| (node, false));
    }
    // In braces it is JSON with a mistake, unless it is the simple model in YAML's flow style.
    match syntax::parse_yaml(text) {
        Ok(node) if matches!(resembles(&node, false), Language::Simple) => Ok((node, false)),
        _ => Err(json_error),
    }
}

/// Counts the words that only one of the two languages has.
fn resembles(node: &Node, is_json: bool) -> Language {
    let Node::Object(entries) = node else {
        return if is_json { Language::Document } else { Language::Simple };
    };
    let mut document = 0_usize;
    let mut simple = 0_usize;
    let mut rules: &[Node] = &[];
    for (key, value) in entries {
        match (key.as_str(), value) {
            ("lifecyclePolicy" | "skip", _) => simple += 1,
            ("rules", Node::List(items)) => rules = items,
            _ => {}
        }
    }
    for rule in rules {
        let Node::Object(entries) = rule else { continue };
        for (key, value) in entries {
            match (key.as_str(), value) {
                ("rulePriority", _) | ("action", Node::Object(_)) => document += 1,
                ("selection", Node::Object(fields)) => {
                    let has = |name: &str| fields.iter().any(|(key, _)| key == name);
                    document += usize::from(has("tagStatus") || has("countType") || has("countNumber"));
                }
                ("selection" | "action", Node::Text(_)) => simple += 1,
                (
                    "maximumNumberOfImages"
                    | "maximumAgeLimit"
                    | "maximumDaysSincePull"
                    | "maximumDaysInArchive"
                    | "tagStatus"
                    | "tagPrefixList"
                    | "tagPatternList",
                    _,
                ) => simple += 1,
                _ => {}
            }
        }
    }
    match document.cmp(&simple) {
        std::cmp::Ordering::Greater => Language::Document,
        std::cmp::Ordering::Less => Language::Simple,
        std::cmp::Ordering::Equal if is_json && !entries.is_empty() => Language::Document,
        std::cmp::Ordering::Equal => Language::Simple,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn language(text: &str) -> &'static str {
        match PolicySource::parse(text) {
            Ok(PolicySource::Document(_)) => "document",
            Ok(PolicySource::Simple(..)) => "simple",
            Err(findings) if findings.iter().any(|finding| finding.code == Code::Syntax) => "neither",
            Err(findings) => panic!("{text}: {findings:?}"),
        }
    }

    #[test]
    fn the_two_languages_are_told_apart_by_what_they_say() {
        let document = r#"{"rules": [{"rulePriority": 1, "selection": {"tagStatus": "any", "countType":
            "imageCountMoreThan", "countNumber": 1}, "action": {"type": "expire"}}]}"#;
        for (text, expected) in [
            (document, "document"),
            (&format!("\u{feff}{document}"), "document"),
            (r#"{"rules": [{"selection": "any", "maximumAgeLimit": 1}]}"#, "simple"),
            (r#"{"rules": [{"tagStatus": "any", "maximumAgeLimit": 1}]}"#, "simple"),
            ("{rules: [{selection: any, maximumAgeLimit: 1}]}", "simple"),
            ("rules:\n- selection: any\n  maximumAgeLimit: 1\n", "simple"),
            ("skip: true", "simple"),
            ("{}", "simple"),
            ("lifecyclePolicy: {}", "simple"),
            (&document.replace("]}", "],}"), "neither"),
            ("rules: [", "neither"),
        ] {
            assert_eq!(language(text), expected, "{text}");
        }
    }

    #[test]
    fn a_policy_on_anchors_and_merged_keys_is_read_as_yaml_means_it() {
        let text = "
rules:
- &base
  selection: {tagPrefixList: [ci-]}
  maximumAgeLimit: 30
- <<: *base
  selection: untagged
";
        let source = PolicySource::parse(text).unwrap();
        assert_eq!(source.policy().unwrap().rules().len(), 2);
    }
}
