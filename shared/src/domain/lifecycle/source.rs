//! A policy text in either language: ECR's document, or the simple model. Its content tells which of the two it is.

use super::document::LifecyclePolicy;
use super::rules::SimplePolicy;
use crate::domain::text::finding::{Code, Finding, join_pointer};
use crate::domain::text::recognize::{self, Wanted};
use crate::domain::text::syntax::{self, Language, Node};

/// A policy that was read and is valid, with the language it was written in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicySource {
    /// ECR's document.
    Document(LifecyclePolicy),
    /// The simple model, and what it compiles to; `None` for `skip: true`.
    Simple(SimplePolicy, Option<LifecyclePolicy>),
}

impl PolicySource {
    /// Parses a policy: ECR's document in JSON, or the simple model in YAML or JSON. Either may be wrapped: in the answer of
    /// `GetLifecyclePolicy`, in the properties of CloudFormation, or as a string that contains the document.
    ///
    /// # Errors
    ///
    /// All mistakes, in the terms of the language that the text resembles most; or what the text is instead of a policy.
    pub fn parse(text: &str) -> Result<Self, Vec<Finding>> {
        Self::parse_wrapped(text, MAX_WRAPPINGS)
    }

    fn parse_wrapped(text: &str, wrappings: u32) -> Result<Self, Vec<Finding>> {
        let text = syntax::without_mark(text);
        let (node, language) = match syntax::parse_file(text, &SIMPLE_FIELDS) {
            Ok(parsed) => parsed,
            Err(finding) => {
                let other = recognize::text(text, Wanted::Policy);
                return Err(vec![other.map_or(finding, |other| other.finding())]);
            }
        };
        // In braces ECR's document is JSON with a mistake, which YAML may take for something else.
        let is_json_with_a_mistake = language == Language::Yaml
            && text.trim_start().starts_with(['{', '['])
            && (matches!(resembles(&node, false), Model::Document) || !begins_with_name(text));
        if is_json_with_a_mistake && Self::read(&node, false, text).is_err() {
            return Err(syntax::parse_json(text).err().into_iter().collect());
        }
        if wrappings > 0 {
            match unwrap(&node) {
                Some(Wrapped::Text { pointer, text }) => {
                    return Self::parse_wrapped(text, wrappings - 1).map_err(|mut findings| {
                        for finding in &mut findings {
                            finding.pointer.insert_str(0, &pointer);
                        }
                        findings
                    });
                }
                Some(Wrapped::Node(inner)) => return Self::read(&inner, language == Language::Json, text),
                None => {}
            }
        }
        let other = match &node {
            Node::Text(scalar) if language == Language::Yaml => recognize::text(text, Wanted::Policy)
                .or_else(|| recognize::text(scalar, Wanted::Policy))
                .or_else(|| recognize::node(&node, Wanted::Policy)),
            node => recognize::node(node, Wanted::Policy)
                .or_else(|| has_no_rules(node).then(|| recognize::text(text, Wanted::Policy)).flatten()),
        };
        if let Some(other) = other {
            return Err(vec![other.finding()]);
        }
        Self::read(&node, language == Language::Json, text)
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
            (Model::Document, true) => LifecyclePolicy::read(node, text).map(Self::Document),
            (Model::Document, false) => {
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
            (Model::Simple, _) => {
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

    /// The document that ECR would get; `None` for a policy with `skip: true`.
    #[must_use]
    pub const fn policy(&self) -> Option<&LifecyclePolicy> {
        match self {
            Self::Document(policy) => Some(policy),
            Self::Simple(_, compiled) => compiled.as_ref(),
        }
    }
}

enum Model {
    Document,
    Simple,
}

/// The fields that the simple model has at its top.
const SIMPLE_FIELDS: [&str; 4] = ["skip", "rules", "lifecyclePolicy", CLASSIC];

/// The name of `lifecyclePolicy` in awsx before version 1.
const CLASSIC: &str = "lifeCyclePolicyArgs";

/// Maximum depth of wrappings of a policy. An answer of AWS as a string in a file has two.
const MAX_WRAPPINGS: u32 = 3;

/// A policy within something else.
enum Wrapped<'a> {
    /// A text and its JSON pointer.
    Text {
        pointer: String,
        text: &'a str,
    },
    Node(Node),
}

/// Unwraps a policy from what AWS, its SDKs, CloudFormation and awsx put around it.
fn unwrap(node: &Node) -> Option<Wrapped<'_>> {
    let fields = match node {
        Node::Text(text) if text.trim_start().starts_with(['{', '"']) => {
            return Some(Wrapped::Text { pointer: String::new(), text });
        }
        Node::Object(fields) if !fields.iter().any(|(key, _)| key == "rules") => fields,
        _ => return None,
    };
    let find = |names: &[&str]| fields.iter().find(|(key, _)| names.contains(&key.as_str()));
    if let Some((key, value)) = find(&["lifecyclePolicyText", "LifecyclePolicyText"]) {
        return inside(&join_pointer("", key), value);
    }
    if let Some((key, Node::Object(inner))) = find(&["LifecyclePolicy"])
        && let Some((text_key, value)) = inner.iter().find(|(key, _)| key == "LifecyclePolicyText")
    {
        return inside(&join_pointer(&join_pointer("", key), text_key), value);
    }
    if let Some((key, Node::Text(text))) = find(&["lifecyclePolicy"])
        && text.trim_start().starts_with('{')
    {
        return Some(Wrapped::Text { pointer: join_pointer("", key), text });
    }
    if let Some((_, policy)) = find(&[CLASSIC])
        && fields.len() == 1
    {
        return Some(Wrapped::Node(Node::Object(vec![("lifecyclePolicy".to_owned(), policy.clone())])));
    }
    None
}

fn inside<'a>(pointer: &str, value: &'a Node) -> Option<Wrapped<'a>> {
    match value {
        Node::Text(text) => Some(Wrapped::Text { pointer: pointer.to_owned(), text }),
        Node::Object(_) => Some(Wrapped::Node(value.clone())),
        _ => None,
    }
}

/// Whether a text in braces begins with an unquoted name, as YAML has them.
fn begins_with_name(text: &str) -> bool {
    text.trim_start().trim_start_matches(['{', '[']).trim_start().starts_with(char::is_alphanumeric)
}

/// Whether the value has no field of a policy.
fn has_no_rules(node: &Node) -> bool {
    match node {
        Node::Object(fields) => {
            !fields.iter().any(|(key, _)| SIMPLE_FIELDS.contains(&key.as_str())) && !fields.is_empty()
        }
        _ => true,
    }
}

/// Counts the words that only one of the two languages has.
fn resembles(node: &Node, is_json: bool) -> Model {
    let Node::Object(entries) = node else {
        return if is_json { Model::Document } else { Model::Simple };
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
        std::cmp::Ordering::Greater => Model::Document,
        std::cmp::Ordering::Less => Model::Simple,
        std::cmp::Ordering::Equal if is_json && !entries.is_empty() => Model::Document,
        std::cmp::Ordering::Equal => Model::Simple,
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
    fn the_two_languages_are_distinguished_by_their_content() {
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
