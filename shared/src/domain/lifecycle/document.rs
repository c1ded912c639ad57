//! ECR's lifecycle policy document: a validated, typed policy, read from and written as ECR's own JSON.
//!
//! The constraints are those of the ECR user guide, "Lifecycle policy properties". A [`LifecyclePolicy`] exists only
//! if ECR would accept it.

use std::collections::BTreeSet;
use std::fmt;

use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};

use super::validate;
use crate::domain::text::finding::{Code, Finding};
use crate::domain::text::quantity;
use crate::domain::text::reader::Reader;
use crate::domain::text::syntax::{self, Node};

/// The longest policy text ECR accepts, in characters.
pub const MAX_POLICY_CHARACTERS: usize = 30_720;
/// The shortest policy text ECR accepts, in characters.
pub const MIN_POLICY_CHARACTERS: usize = 100;
/// The most rules one policy can have.
pub const MAX_RULES: usize = 50;

/// A valid lifecycle policy: 1 to 50 rules in ascending priority.
///
/// Two policies are equal when ECR would do the same with both and shows the same descriptions: the order of rules
/// and of prefixes, repeated prefixes, the spelling of numbers and an explicit default storage class do not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecyclePolicy {
    rules: Vec<Rule>,
}

/// One rule of a policy.
#[derive(Debug, Clone)]
pub struct Rule {
    /// `rulePriority`: the rule with the lowest number is applied first.
    pub priority: u64,
    /// A text for people.
    pub description: Option<String>,
    /// Which images the rule identifies, by tag.
    pub tags: TagSelection,
    /// Which of the identified images the rule marks.
    pub limit: Limit,
    /// What happens to the marked images.
    pub action: Action,
    /// JSON pointer of the rule in the document it was read from; not part of the rule itself.
    pub pointer: String,
}

/// `selection.tagStatus`, with the tag list of `tagged`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TagSelection {
    /// Images with tags that satisfy every entry of a list (one tag may satisfy several).
    Tagged(TagList),
    /// Images without any tag.
    Untagged,
    /// Every image.
    Any,
}

/// `tagPrefixList` or `tagPatternList`: never empty, no entry empty. Equal as sets.
#[derive(Debug, Clone)]
pub enum TagList {
    /// Each entry is the beginning of a tag.
    Prefixes(Vec<String>),
    /// Tags, in which `*` stands for any run of characters, also an empty one.
    Patterns(Vec<String>),
}

/// `countType` with `countNumber` (and `countUnit`, which is always days).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// `imageCountMoreThan`: all images but this number of the youngest.
    ImageCountMoreThan(u64),
    /// `sinceImagePushed`: images that were pushed more than this number of days ago.
    SinceImagePushed(u64),
    /// `sinceImagePulled`: images that were last pulled more than this number of days ago.
    SinceImagePulled(u64),
    /// `sinceImageTransitioned`: images that were archived more than this number of days ago.
    SinceImageTransitioned(u64),
}

/// `action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The image is deleted.
    Expire,
    /// The image moves to the `archive` storage class, the only target there is.
    Transition,
}

/// The storage class of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum StorageClass {
    /// Can be pulled.
    Standard,
    /// Has to be restored before it can be pulled.
    Archive,
}

impl StorageClass {
    /// The class as policies spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Archive => "archive",
        }
    }
}

impl Limit {
    /// The storage class of the images a rule with this limit sees: archived images are selected by
    /// `sinceImageTransitioned` and by nothing else.
    #[must_use]
    pub const fn storage_class(self) -> StorageClass {
        match self {
            Self::SinceImageTransitioned(_) => StorageClass::Archive,
            Self::ImageCountMoreThan(_) | Self::SinceImagePushed(_) | Self::SinceImagePulled(_) => {
                StorageClass::Standard
            }
        }
    }

    /// `countType` as policies spell it.
    #[must_use]
    pub const fn count_type(self) -> &'static str {
        match self {
            Self::ImageCountMoreThan(_) => "imageCountMoreThan",
            Self::SinceImagePushed(_) => "sinceImagePushed",
            Self::SinceImagePulled(_) => "sinceImagePulled",
            Self::SinceImageTransitioned(_) => "sinceImageTransitioned",
        }
    }

    /// `countNumber`: images for `imageCountMoreThan`, days otherwise.
    #[must_use]
    pub const fn count_number(self) -> u64 {
        match self {
            Self::ImageCountMoreThan(number)
            | Self::SinceImagePushed(number)
            | Self::SinceImagePulled(number)
            | Self::SinceImageTransitioned(number) => number,
        }
    }
}

impl TagList {
    /// The prefixes or patterns, in the order they were written.
    #[must_use]
    pub fn entries(&self) -> &[String] {
        match self {
            Self::Prefixes(entries) | Self::Patterns(entries) => entries,
        }
    }

    /// `tagPrefixList` or `tagPatternList`.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Prefixes(_) => "tagPrefixList",
            Self::Patterns(_) => "tagPatternList",
        }
    }

    pub(super) fn set(&self) -> BTreeSet<&str> {
        self.entries().iter().map(String::as_str).collect()
    }
}

impl PartialEq for TagList {
    fn eq(&self, other: &Self) -> bool {
        self.field() == other.field() && self.set() == other.set()
    }
}

impl Eq for TagList {}

impl std::hash::Hash for TagList {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.field().hash(state);
        self.set().hash(state);
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        // Every field of a rule counts; where it was written is not one of them.
        let Self { priority, description, tags, limit, action, pointer: _ } = self;
        *priority == other.priority
            && *description == other.description
            && *tags == other.tags
            && *limit == other.limit
            && *action == other.action
    }
}

impl Eq for Rule {}

impl fmt::Display for Rule {
    /// Writes what the rule does, as a sentence without its end: "rule 2: keep the 5 youngest images tagged prod*".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.action {
            Action::Expire => "expire",
            Action::Transition => "archive",
        };
        write!(f, "rule {}: {verb} ", self.priority)?;
        match &self.tags {
            TagSelection::Untagged => f.write_str("untagged images")?,
            TagSelection::Any => f.write_str("images")?,
            TagSelection::Tagged(list) => {
                let shown: Vec<String> = match list {
                    // A `*` in a prefix stands for itself.
                    TagList::Prefixes(prefixes) => prefixes
                        .iter()
                        .map(|prefix| match prefix.contains('*') {
                            true => format!("with the prefix `{prefix}`"),
                            false => format!("{prefix}*"),
                        })
                        .collect(),
                    TagList::Patterns(patterns) => patterns.clone(),
                };
                write!(f, "images tagged {}", shown.join(" and "))?;
            }
        }
        let days = |number| quantity::count(number, "day");
        match self.limit {
            Limit::ImageCountMoreThan(count) => write!(f, " beyond the youngest {count}"),
            Limit::SinceImagePushed(number) => write!(f, " pushed more than {} ago", days(number)),
            Limit::SinceImagePulled(number) => write!(f, " not pulled for more than {}", days(number)),
            Limit::SinceImageTransitioned(number) => write!(f, " archived more than {} ago", days(number)),
        }
    }
}

impl LifecyclePolicy {
    /// Reads ECR's policy document from JSON text.
    ///
    /// # Errors
    ///
    /// Everything that ECR would refuse, each with its place and what to change.
    pub fn parse(text: &str) -> Result<Self, Vec<Finding>> {
        let node = syntax::parse_json(text).map_err(|finding| vec![finding])?;
        Self::read(&node, text)
    }

    /// Reads the document from a tree; `text` is what the tree was read from.
    pub(super) fn read(node: &Node, text: &str) -> Result<Self, Vec<Finding>> {
        let mut reader = Reader::default();
        if !reader.expect_policy_object(node) {
            return Err(reader.into_findings());
        }
        let characters = text.chars().count();
        if characters > MAX_POLICY_CHARACTERS {
            reader.report(Code::PolicyTooLong, "", too_long(characters));
        } else if characters < MIN_POLICY_CHARACTERS {
            reader.report(
                Code::PolicyTooShort,
                "",
                format!(
                    "the policy has {characters} characters; ECR accepts {MIN_POLICY_CHARACTERS} or more, which one \
                     complete rule has"
                ),
            );
        }
        let rules = validate::document(node, &mut reader);
        match (reader.findings.is_empty(), rules) {
            (true, Some(rules)) => Self::from_valid(rules).map_err(|finding| vec![finding]),
            _ => Err(reader.into_findings()),
        }
    }

    /// A policy of rules that were validated already; only the length of its text remains to be checked.
    pub(crate) fn from_valid(mut rules: Vec<Rule>) -> Result<Self, Finding> {
        rules.sort_by_key(|rule| rule.priority);
        let policy = Self { rules };
        let characters = policy.to_json().chars().count();
        if characters > MAX_POLICY_CHARACTERS {
            return Err(Finding::new(Code::PolicyTooLong, "", too_long(characters)));
        }
        Ok(policy)
    }

    /// The rules in ascending priority: the order in which they are applied.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The document as compact JSON, as it is given to `PutLifecyclePolicy`.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings and numbers only: serialization has nothing to fail on.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The document as indented JSON for people, or compact JSON where indentation would exceed ECR's limit.
    #[must_use]
    pub fn to_json_pretty(&self) -> String {
        let pretty = serde_json::to_string_pretty(self).unwrap_or_default();
        if pretty.chars().count() <= MAX_POLICY_CHARACTERS { pretty } else { self.to_json() }
    }
}

fn too_long(characters: usize) -> String {
    format!(
        "the policy has {} characters; ECR accepts at most {}: shorten descriptions, merge rules or remove white space",
        quantity::grouped(characters as u64),
        quantity::grouped(MAX_POLICY_CHARACTERS as u64),
    )
}

impl Serialize for LifecyclePolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_struct("LifecyclePolicy", 1)?;
        document.serialize_field("rules", &self.rules)?;
        document.end()
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rule = serializer.serialize_map(None)?;
        rule.serialize_entry("rulePriority", &self.priority)?;
        if let Some(description) = &self.description {
            rule.serialize_entry("description", description)?;
        }
        rule.serialize_entry("selection", &SelectionJson(self))?;
        rule.serialize_entry("action", &self.action)?;
        rule.end()
    }
}

/// The `selection` object of a rule.
struct SelectionJson<'a>(&'a Rule);

impl Serialize for SelectionJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rule = self.0;
        let mut selection = serializer.serialize_map(None)?;
        let (status, list) = match &rule.tags {
            TagSelection::Tagged(list) => ("tagged", Some(list)),
            TagSelection::Untagged => ("untagged", None),
            TagSelection::Any => ("any", None),
        };
        selection.serialize_entry("tagStatus", status)?;
        if let Some(list) = list {
            selection.serialize_entry(list.field(), list.entries())?;
        }
        // `standard` is the default; writing it would only make the text longer.
        if rule.limit.storage_class() == StorageClass::Archive {
            selection.serialize_entry("storageClass", StorageClass::Archive.as_str())?;
        }
        selection.serialize_entry("countType", rule.limit.count_type())?;
        if !matches!(rule.limit, Limit::ImageCountMoreThan(_)) {
            selection.serialize_entry("countUnit", "days")?;
        }
        selection.serialize_entry("countNumber", &rule.limit.count_number())?;
        selection.end()
    }
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut action = serializer.serialize_map(None)?;
        match self {
            Self::Expire => action.serialize_entry("type", "expire")?,
            Self::Transition => {
                action.serialize_entry("type", "transition")?;
                action.serialize_entry("targetStorageClass", StorageClass::Archive.as_str())?;
            }
        }
        action.end()
    }
}
