//! The simple rule model, Pulumi Crosswalk's `awsx.ecr` with the same fields, spellings and defaults, read from YAML
//! or JSON.
//!
//! Beyond awsx: `tagPatternList`, `maximumDaysSincePull`, `maximumDaysInArchive` and `action`. One deviation: awsx
//! takes the first limit it finds in a rule that has two; here two limits are an error.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::document::{Action, Limit, Rule, StorageClass, TagList, TagSelection};
use super::validate;
use crate::domain::text::finding::{Code, Finding, join_pointer, quoted};
use crate::domain::text::printable::{Notation, is_control, printable};
use crate::domain::text::reader::{Field, Fields, Reader, alternatives};
use crate::domain::text::syntax::Node;

/// `lifecyclePolicy` as awsx has it.
///
/// Its [`Default`] is the policy of a repository for which none is given: keep at most one untagged image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimplePolicy {
    pub(super) skip: bool,
    pub(super) rules: Vec<SimpleRule>,
}

/// One rule of the simple model.
#[derive(Debug, Clone)]
pub struct SimpleRule {
    /// A text for people.
    pub description: Option<String>,
    /// `selection`, or `tagStatus` with its list.
    pub tags: TagSelection,
    /// The one limit: `maximumNumberOfImages`, `maximumAgeLimit`, `maximumDaysSincePull` or `maximumDaysInArchive`.
    pub limit: Limit,
    /// `action`: `expire` unless given.
    pub action: Action,
    /// JSON pointer of the rule in the text it was read from; not part of the rule itself.
    pub pointer: String,
}

impl PartialEq for SimpleRule {
    fn eq(&self, other: &Self) -> bool {
        let Self { description, tags, limit, action, pointer: _ } = self;
        *description == other.description
            && *tags == other.tags
            && *limit == other.limit
            && *action == other.action
    }
}

impl Eq for SimpleRule {}

impl Default for SimplePolicy {
    fn default() -> Self {
        Self {
            skip: false,
            rules: vec![SimpleRule {
                description: Some("remove untagged images".to_owned()),
                tags: TagSelection::Untagged,
                limit: Limit::ImageCountMoreThan(1),
                action: Action::Expire,
                pointer: String::new(),
            }],
        }
    }
}

/// A name of the simple model, and its limit.
type NamedLimit = (&'static str, fn(u64) -> Limit);

/// The four limits and their names in the simple model.
const LIMITS: [NamedLimit; 4] = [
    ("maximumNumberOfImages", Limit::ImageCountMoreThan),
    ("maximumAgeLimit", Limit::SinceImagePushed),
    ("maximumDaysSincePull", Limit::SinceImagePulled),
    ("maximumDaysInArchive", Limit::SinceImageTransitioned),
];

/// The name of a limit in the simple model.
const fn limit_name(limit: Limit) -> &'static str {
    match limit {
        Limit::ImageCountMoreThan(_) => LIMITS[0].0,
        Limit::SinceImagePushed(_) => LIMITS[1].0,
        Limit::SinceImagePulled(_) => LIMITS[2].0,
        Limit::SinceImageTransitioned(_) => LIMITS[3].0,
    }
}

const RULE_FIELDS: [&str; 10] = [
    "description",
    "selection",
    "tagStatus",
    "tagPrefixList",
    "tagPatternList",
    LIMITS[0].0,
    LIMITS[1].0,
    LIMITS[2].0,
    LIMITS[3].0,
    "action",
];

impl SimplePolicy {
    /// Whether the repository is to have no lifecycle policy; then the rules are unused.
    #[must_use]
    pub const fn is_skip(&self) -> bool {
        self.skip
    }

    /// The rules as they were written.
    #[must_use]
    pub fn rules(&self) -> &[SimpleRule] {
        &self.rules
    }

    /// Serializes the policy as YAML. If it contains control characters, all strings are in double quotes, as in JSON, so that
    /// those can be escaped.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        // Strings, numbers and lists only: serialization has nothing to fail on.
        let yaml = serde_saphyr::to_string(self).unwrap_or_default();
        if !yaml.contains(is_control) {
            return yaml;
        }
        let json = serde_json::to_string_pretty(self).unwrap_or_default();
        format!("{}\n", printable(&json, Notation::Json))
    }

    /// Reads `{ skip, rules }`, alone or as the value of `lifecyclePolicy`.
    pub(super) fn read(node: &Node) -> Result<Self, Vec<Finding>> {
        let mut reader = Reader::default();
        if !reader.expect_policy_object(node) {
            return Err(reader.into_findings());
        }
        let policy = policy(node, &mut reader);
        match (reader.findings.is_empty(), policy) {
            (true, Some(policy)) => Ok(policy),
            _ => Err(reader.into_findings()),
        }
    }
}

fn policy(node: &Node, reader: &mut Reader) -> Option<SimplePolicy> {
    let (node, pointer) = match node {
        Node::Object(entries) if entries.iter().any(|(key, _)| key == "lifecyclePolicy") => {
            let root = reader.fields(node, "", &["lifecyclePolicy"])?;
            (reader.field(&root, "lifecyclePolicy").value()?, "/lifecyclePolicy")
        }
        _ => (node, ""),
    };
    let fields = reader.fields(node, pointer, &["skip", "rules"])?;
    let skip = reader.boolean(&fields, "skip");
    let rules = reader.list(&fields, "rules");
    let skip = match skip {
        Field::Missing => false,
        Field::Invalid => return None,
        Field::Value(skip) => skip,
    };
    let nodes = match rules {
        Field::Missing if skip => {
            return Some(SimplePolicy { skip, rules: Vec::new() });
        }
        Field::Missing => return Some(SimplePolicy::default()),
        Field::Invalid => return None,
        Field::Value(nodes) => nodes,
    };
    if nodes.is_empty() && !skip {
        reader.report(
            Code::EmptyList,
            fields.at("rules"),
            "`rules` is empty; leave it out for the default policy, or write `skip: true` for none",
        );
    }
    validate::rule_count(nodes.len(), &fields.at("rules"), reader);
    let mut rules = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        rules.extend(rule(node, join_pointer(&fields.at("rules"), &index.to_string()), reader));
    }
    // A broken rule is out of the comparison: it has findings of its own.
    let facts: Vec<_> = rules
        .iter()
        .map(|rule| validate::RuleFacts {
            priority_pointer: rule.pointer.clone(),
            status_pointer: rule.pointer.clone(),
            list_pointer: rule.pointer.clone(),
            name: format!("the rule at {}", rule.pointer),
            // The order of the rules is theirs in the text, and `any` is moved last: nothing to get wrong.
            priority: None,
            storage_class: Some(rule.limit.storage_class()),
            tags: Some(rule.tags.clone()),
        })
        .collect();
    validate::against_each_other(&facts, reader);
    Some(SimplePolicy { skip, rules })
}

fn rule(node: &Node, pointer: String, reader: &mut Reader) -> Option<SimpleRule> {
    let fields = reader.fields(node, &pointer, &RULE_FIELDS)?;
    let description = reader.text(&fields, "description");
    let tags = selection(&fields, reader);
    let limit = limit(&fields, reader);
    let action =
        reader.one_of(&fields, "action", &[("expire", Action::Expire), ("archive", Action::Transition)]);
    let action = match action {
        Field::Missing => Field::Value(Action::Expire),
        action => action,
    };
    let mut fits = true;
    match (limit, action) {
        (Field::Value(Limit::SinceImagePulled(_)), Field::Value(Action::Expire)) => {
            fits = false;
            reader.report(
                Code::ActionConflict,
                pointer.clone(),
                "`maximumDaysSincePull` archives and never expires; add `action: archive`, or limit by \
                 `maximumAgeLimit`",
            );
        }
        (Field::Value(Limit::SinceImageTransitioned(_)), Field::Value(Action::Transition)) => {
            fits = false;
            reader.report(
                Code::ActionConflict,
                fields.at("action"),
                "`maximumDaysInArchive` is about images that are archived already; remove `action`",
            );
        }
        _ => {}
    }
    if let Field::Value(Limit::SinceImageTransitioned(days)) = limit {
        validate::days_in_archive(days, &fields.at("maximumDaysInArchive"), reader);
    }
    Some(SimpleRule {
        description: description.optional()?,
        tags: tags.value()?,
        limit: limit.value()?,
        action: action.value().filter(|_| fits)?,
        pointer,
    })
}

fn limit(fields: &Fields<'_>, reader: &mut Reader) -> Field<Limit> {
    let mut found = Field::Missing;
    let mut names = Vec::new();
    for (name, limit) in LIMITS {
        let number = reader.positive_integer(fields, name);
        if number.is_present() {
            names.push(format!("`{name}`"));
            found = number.map(limit);
        }
    }
    match names.len() {
        0 if LIMITS.iter().any(|(name, _)| fields.is_null(name)) => Field::Invalid,
        0 => {
            let known: Vec<String> = LIMITS.iter().map(|(name, _)| format!("`{name}`")).collect();
            reader.report(
                Code::LimitMissing,
                fields.pointer.clone(),
                format!("the rule has no limit; add {}", alternatives(&known)),
            );
            Field::Invalid
        }
        1 => found,
        _ => {
            reader.report(
                Code::LimitConflict,
                fields.pointer.clone(),
                format!("the rule has {} limits, {}; keep one", names.len(), names.join(" and ")),
            );
            Field::Invalid
        }
    }
}

/// `selection: …`, or `tagStatus: …` with the list beside it.
fn selection(fields: &Fields<'_>, reader: &mut Reader) -> Field<TagSelection> {
    let beside = ["tagStatus", "tagPrefixList", "tagPatternList"].into_iter().find(|name| fields.has(name));
    match (fields.has("selection"), beside) {
        (true, None) => match reader.field(fields, "selection") {
            Field::Value(node) => selection_value(node, &fields.at("selection"), reader),
            Field::Missing | Field::Invalid => Field::Invalid,
        },
        (false, Some(_)) => validate::tag_status_and_list(fields, reader),
        (true, Some(name)) => {
            reader.report(
                Code::SelectionConflict,
                fields.pointer.clone(),
                format!("both `selection` and `{name}`; write the selection one way"),
            );
            Field::Invalid
        }
        (false, None) if fields.is_null("selection") || fields.is_null("tagStatus") => {
            reader.field(fields, "selection");
            reader.field(fields, "tagStatus");
            Field::Invalid
        }
        (false, None) => {
            reader.report(
                Code::SelectionMissing,
                fields.pointer.clone(),
                "the rule does not say which images it is about; add `selection: untagged`, `selection: any` or \
                 `selection: { tagPrefixList: [...] }`",
            );
            Field::Invalid
        }
    }
}

fn selection_value(node: &Node, pointer: &str, reader: &mut Reader) -> Field<TagSelection> {
    match node {
        Node::Text(text) => match text.as_str() {
            "untagged" => Field::Value(TagSelection::Untagged),
            "any" => Field::Value(TagSelection::Any),
            other => {
                let hint =
                    if other == "tagged" { " (for every tagged image: tagPatternList: [\"*\"])" } else { "" };
                reader.report(
                    Code::UnknownValue,
                    pointer,
                    format!(
                        "`selection` is {}; write `untagged`, `any` or a `tagPrefixList` or `tagPatternList`{hint}",
                        quoted(other)
                    ),
                );
                Field::Invalid
            }
        },
        Node::Object(_) => {
            let Some(fields) = reader.fields(node, pointer, &["tagPrefixList", "tagPatternList"]) else {
                return Field::Invalid;
            };
            let list: Field<TagList> = validate::tag_list(&fields, reader);
            if !list.is_present() {
                reader.report(
                    Code::TagListMissing,
                    pointer,
                    "the selection names no tags; add `tagPrefixList` or `tagPatternList`",
                );
                return Field::Invalid;
            }
            list.map(TagSelection::Tagged)
        }
        other => {
            reader.wrong_type(other, pointer, "`untagged`, `any` or an object with a tag list");
            Field::Invalid
        }
    }
}

impl From<&Rule> for SimpleRule {
    fn from(rule: &Rule) -> Self {
        Self {
            description: rule.description.clone(),
            tags: rule.tags.clone(),
            limit: rule.limit,
            action: rule.action,
            pointer: rule.pointer.clone(),
        }
    }
}

impl Serialize for SimplePolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut policy = serializer.serialize_map(None)?;
        if self.skip {
            policy.serialize_entry("skip", &true)?;
        }
        if !self.rules.is_empty() {
            policy.serialize_entry("rules", &self.rules)?;
        }
        policy.end()
    }
}

impl Serialize for SimpleRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rule = serializer.serialize_map(None)?;
        if let Some(description) = &self.description {
            rule.serialize_entry("description", description)?;
        }
        match &self.tags {
            TagSelection::Untagged => rule.serialize_entry("selection", "untagged")?,
            TagSelection::Any => rule.serialize_entry("selection", "any")?,
            TagSelection::Tagged(list) => {
                rule.serialize_entry(
                    "selection",
                    &std::collections::BTreeMap::from([(list.field(), list.entries())]),
                )?;
            }
        }
        rule.serialize_entry(limit_name(self.limit), &self.limit.count_number())?;
        if self.action == Action::Transition {
            rule.serialize_entry("action", StorageClass::Archive.as_str())?;
        }
        rule.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lifecycle::PolicySource;

    #[test]
    fn a_policy_in_yaml_means_the_same_whatever_a_terminal_must_not_obey() {
        for text in
            ["a\u{202e}b", "\u{200f}", "line\n\u{2066}line\n", "a\u{9b}b", "a\u{2028}b", "a\u{1b}b", "ü # x"]
        {
            let rule =
                serde_json::json!({ "description": text, "selection": "untagged", "maximumAgeLimit": 9 });
            let json = serde_json::json!({ "rules": [rule] }).to_string();
            let PolicySource::Simple(simple, _) = PolicySource::parse(&json).unwrap() else {
                panic!("{json}")
            };
            let yaml = simple.to_yaml();
            assert!(!yaml.contains(is_control), "{yaml:?}");
            // As it is printed.
            let printed = printable(&yaml, Notation::Json);
            let PolicySource::Simple(read, _) = PolicySource::parse(&printed).unwrap() else {
                panic!("{yaml}")
            };
            assert_eq!(read, simple, "{yaml}");
        }
    }
}
