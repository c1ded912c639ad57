//! Validates a policy document: everything that ECR demands of each rule and of the rules together.
//!
//! Source: the ECR user guide, "Lifecycle policy properties". Nothing here reads images.

use super::document::{Action, LifecyclePolicy, Limit, MAX_RULES, Rule, StorageClass, TagList, TagSelection};
use crate::domain::text::finding::{Code, Finding, quoted};
use crate::domain::text::reader::{Field, Fields, Reader};
use crate::domain::text::syntax::Node;

/// Days for which ECR bills an archived image at least; `sinceImageTransitioned` cannot be less.
pub(super) const MIN_DAYS_IN_ARCHIVE: u64 = 90;
/// The most `*` in one tag pattern.
const MAX_WILDCARDS: usize = 4;

/// Every reason for which ECR would refuse `text` as a policy document; empty when it would not.
#[must_use]
pub fn validate(text: &str) -> Vec<Finding> {
    LifecyclePolicy::parse(text).err().unwrap_or_default()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TagStatus {
    Tagged,
    Untagged,
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CountType {
    ImageCountMoreThan,
    SinceImagePushed,
    SinceImagePulled,
    SinceImageTransitioned,
}

impl CountType {
    fn limit(self, number: u64) -> Limit {
        match self {
            Self::ImageCountMoreThan => Limit::ImageCountMoreThan(number),
            Self::SinceImagePushed => Limit::SinceImagePushed(number),
            Self::SinceImagePulled => Limit::SinceImagePulled(number),
            Self::SinceImageTransitioned => Limit::SinceImageTransitioned(number),
        }
    }
}

/// The facts about a rule that comparing it with other rules needs, as far as they are valid.
pub(super) struct RuleFacts {
    /// The pointer for findings about the rule's priority.
    pub(super) priority_pointer: String,
    /// The pointer for findings about the rule's tag status.
    pub(super) status_pointer: String,
    /// The pointer for findings about the rule's tag list.
    pub(super) list_pointer: String,
    /// The name of the rule in messages: "rule 3", "the rule with priority 10".
    pub(super) name: String,
    /// `None` when the order of the rules is given by something else, or unknown.
    pub(super) priority: Option<u64>,
    pub(super) storage_class: Option<StorageClass>,
    pub(super) tags: Option<TagSelection>,
}

/// Reads a whole document. The rules are complete only if there was no finding.
pub(super) fn document(node: &Node, reader: &mut Reader) -> Option<Vec<Rule>> {
    let fields = reader.fields(node, "", &["rules"])?;
    let field = reader.list(&fields, "rules");
    reader.require(&field, &fields, "rules", "the list of rules");
    let nodes = field.value()?;
    if nodes.is_empty() {
        reader.report(Code::EmptyList, "/rules", "`rules` is empty; a policy has at least one rule");
    }
    rule_count(nodes.len(), "/rules", reader);
    let mut rules = Vec::with_capacity(nodes.len());
    let mut facts = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        let pointer = format!("/rules/{index}");
        if let Some((rule, known)) = rule(node, pointer, reader) {
            rules.extend(rule);
            facts.push(known);
        }
    }
    against_each_other(&facts, reader);
    Some(rules)
}

/// A finding if there are more rules than ECR accepts.
pub(super) fn rule_count(count: usize, pointer: &str, reader: &mut Reader) {
    if count > MAX_RULES {
        reader.report(
            Code::TooManyRules,
            pointer,
            format!("{count} rules; ECR accepts at most {MAX_RULES}: merge or remove {}", count - MAX_RULES),
        );
    }
}

fn rule(node: &Node, pointer: String, reader: &mut Reader) -> Option<(Option<Rule>, RuleFacts)> {
    let fields = reader.fields(node, &pointer, &["rulePriority", "description", "selection", "action"])?;
    let priority = reader.positive_integer(&fields, "rulePriority");
    reader.require(&priority, &fields, "rulePriority", "a number; the rule with the lowest is applied first");
    let description = reader.text(&fields, "description");
    let selection = reader.field(&fields, "selection");
    reader.require(&selection, &fields, "selection", "which images the rule is about");
    let action_node = reader.field(&fields, "action");
    reader.require(&action_node, &fields, "action", "`{\"type\": \"expire\"}`");

    let action =
        action_node.value().map_or(Field::Invalid, |node| action(node, &fields.at("action"), reader));
    let Selection { tags, storage_class, limit } = selection.value().map_or_else(Selection::broken, |node| {
        selection_fields(node, &fields.at("selection"), action, reader)
    });

    let facts = RuleFacts {
        priority_pointer: fields.at("rulePriority"),
        status_pointer: format!("{pointer}/selection/tagStatus"),
        list_pointer: match &tags {
            Field::Value(TagSelection::Tagged(list)) => format!("{pointer}/selection/{}", list.field()),
            _ => format!("{pointer}/selection"),
        },
        name: match priority {
            Field::Value(priority) => format!("the rule with priority {priority}"),
            _ => format!("the rule at {pointer}"),
        },
        priority: priority.value(),
        storage_class,
        tags: tags.clone().value(),
    };
    let rule = (|| {
        Some(Rule {
            priority: priority.value()?,
            description: description.optional()?,
            tags: tags.value()?,
            limit: limit.value()?,
            action: action.value()?,
            pointer,
        })
    })();
    Some((rule, facts))
}

fn action(node: &Node, pointer: &str, reader: &mut Reader) -> Field<Action> {
    let Some(fields) = reader.fields(node, pointer, &["type", "targetStorageClass"]) else {
        return Field::Invalid;
    };
    let kind =
        reader.one_of(&fields, "type", &[("expire", Action::Expire), ("transition", Action::Transition)]);
    reader.require(&kind, &fields, "type", "`expire` or `transition`");
    let target = reader.one_of(&fields, "targetStorageClass", &[("archive", ())]);
    match kind {
        Field::Value(Action::Expire) if target.is_present() => {
            reader.report(
                Code::TargetUnexpected,
                fields.at("targetStorageClass"),
                "`targetStorageClass` goes with `transition` only; remove it, or make the type `transition`",
            );
            Field::Invalid
        }
        Field::Value(Action::Transition) if !target.is_present() && !fields.is_null("targetStorageClass") => {
            reader.report(
                Code::TargetMissing,
                pointer,
                "`transition` needs a target; add `\"targetStorageClass\": \"archive\"`",
            );
            Field::Value(Action::Transition)
        }
        Field::Value(kind) => Field::Value(kind),
        Field::Missing | Field::Invalid => Field::Invalid,
    }
}

struct Selection {
    tags: Field<TagSelection>,
    storage_class: Option<StorageClass>,
    limit: Field<Limit>,
}

impl Selection {
    fn broken() -> Self {
        Self { tags: Field::Invalid, storage_class: None, limit: Field::Invalid }
    }
}

fn selection_fields(node: &Node, pointer: &str, action: Field<Action>, reader: &mut Reader) -> Selection {
    const FIELDS: [&str; 7] = [
        "tagStatus",
        "tagPrefixList",
        "tagPatternList",
        "storageClass",
        "countType",
        "countUnit",
        "countNumber",
    ];
    let Some(fields) = reader.fields(node, pointer, &FIELDS) else {
        return Selection::broken();
    };
    let tags = tag_status_and_list(&fields, reader);

    let storage_class = reader.one_of(
        &fields,
        "storageClass",
        &[("standard", StorageClass::Standard), ("archive", StorageClass::Archive)],
    );
    let count_type = reader.one_of(
        &fields,
        "countType",
        &[
            ("imageCountMoreThan", CountType::ImageCountMoreThan),
            ("sinceImagePushed", CountType::SinceImagePushed),
            ("sinceImagePulled", CountType::SinceImagePulled),
            ("sinceImageTransitioned", CountType::SinceImageTransitioned),
        ],
    );
    reader.require(
        &count_type,
        &fields,
        "countType",
        "for example `imageCountMoreThan` or `sinceImagePushed`",
    );
    let unit = reader.one_of(&fields, "countUnit", &[("days", ())]);
    let number = reader.positive_integer(&fields, "countNumber");
    reader.require(&number, &fields, "countNumber", "a whole number of 1 or more");

    let limit = match count_type {
        Field::Value(kind) => {
            count(&fields, kind, unit.is_present(), storage_class, action, reader);
            if let (CountType::SinceImageTransitioned, Field::Value(days)) = (kind, number) {
                days_in_archive(days, &fields.at("countNumber"), reader);
            }
            number.map(|number| kind.limit(number))
        }
        Field::Missing | Field::Invalid => Field::Invalid,
    };
    Selection {
        tags,
        storage_class: match storage_class {
            Field::Missing => Some(StorageClass::Standard),
            Field::Invalid => None,
            Field::Value(class) => Some(class),
        },
        limit,
    }
}

/// Checks what `countType` demands of the other fields.
fn count(
    fields: &Fields<'_>,
    kind: CountType,
    has_unit: bool,
    storage_class: Field<StorageClass>,
    action: Field<Action>,
    reader: &mut Reader,
) {
    match (kind, has_unit) {
        (CountType::ImageCountMoreThan, true) => reader.report(
            Code::CountUnitUnexpected,
            fields.at("countUnit"),
            "`imageCountMoreThan` counts images, not days; remove `countUnit`",
        ),
        (CountType::ImageCountMoreThan, false) | (_, true) => {}
        (_, false) if fields.is_null("countUnit") => {}
        (_, false) => reader.report(
            Code::CountUnitMissing,
            fields.pointer.clone(),
            "a limit by age needs its unit; add `\"countUnit\": \"days\"`",
        ),
    }
    let at_type = || fields.at("countType");
    if kind == CountType::SinceImagePulled && action == Field::Value(Action::Expire) {
        reader.report(
            Code::PulledNeedsTransition,
            at_type(),
            "`sinceImagePulled` goes with the action `transition` only; archive these images, or limit by \
             `sinceImagePushed`",
        );
    }
    if kind == CountType::SinceImageTransitioned {
        if action == Field::Value(Action::Transition) {
            reader.report(
                Code::TransitionedNeedsExpire,
                at_type(),
                "`sinceImageTransitioned` selects images that are archived already; make the action `expire`",
            );
        }
        if matches!(storage_class, Field::Missing | Field::Value(StorageClass::Standard)) {
            reader.report(
                Code::TransitionedNeedsArchive,
                at_type(),
                "`sinceImageTransitioned` is about archived images; add `\"storageClass\": \"archive\"`",
            );
        }
    } else if storage_class == Field::Value(StorageClass::Archive) {
        reader.report(
            Code::ArchiveNeedsTransitioned,
            fields.at("storageClass"),
            "archived images are selected by `sinceImageTransitioned` only; change `countType`, or remove \
             `storageClass`",
        );
    }
}

/// A finding when archived images would expire before they may.
pub(super) fn days_in_archive(days: u64, pointer: &str, reader: &mut Reader) {
    if days < MIN_DAYS_IN_ARCHIVE {
        reader.report(
            Code::ArchivedTooBriefly,
            pointer,
            format!("{days} days in the archive; ECR accepts {MIN_DAYS_IN_ARCHIVE} or more"),
        );
    }
}

/// `tagStatus` with the tag list of `tagged`, in either model's spelling.
pub(super) fn tag_status_and_list(fields: &Fields<'_>, reader: &mut Reader) -> Field<TagSelection> {
    let status = reader.one_of(
        fields,
        "tagStatus",
        &[("tagged", TagStatus::Tagged), ("untagged", TagStatus::Untagged), ("any", TagStatus::Any)],
    );
    reader.require(&status, fields, "tagStatus", "`tagged`, `untagged` or `any`");
    let list = tag_list(fields, reader);
    match status {
        Field::Value(TagStatus::Tagged) => {
            if !list.is_present() && (fields.is_null("tagPrefixList") || fields.is_null("tagPatternList")) {
                return Field::Invalid;
            }
            if !list.is_present() {
                reader.report(
                    Code::TagListMissing,
                    fields.pointer.clone(),
                    "`tagged` needs to know which tags; add `tagPrefixList` or `tagPatternList` (`[\"*\"]` for every \
                     tagged image)",
                );
                return Field::Invalid;
            }
            list.map(TagSelection::Tagged)
        }
        Field::Value(other) => {
            for name in ["tagPrefixList", "tagPatternList"] {
                if fields.has(name) {
                    reader.report(
                        Code::TagListUnexpected,
                        fields.at(name),
                        format!(
                            "`{name}` goes with `tagStatus: tagged` only; remove it, or change `tagStatus`"
                        ),
                    );
                }
            }
            Field::Value(if other == TagStatus::Any { TagSelection::Any } else { TagSelection::Untagged })
        }
        Field::Missing | Field::Invalid => Field::Invalid,
    }
}

/// `tagPrefixList` or `tagPatternList`, of which there is at most one.
pub(super) fn tag_list(fields: &Fields<'_>, reader: &mut Reader) -> Field<TagList> {
    let prefixes = reader.string_list(fields, "tagPrefixList");
    let patterns = reader.string_list(fields, "tagPatternList");
    if let Field::Value(patterns) = &patterns {
        for (index, pattern) in patterns.iter().enumerate() {
            let wildcards = pattern.bytes().filter(|byte| *byte == b'*').count();
            if wildcards > MAX_WILDCARDS {
                reader.report(
                    Code::TooManyWildcards,
                    format!("{}/{index}", fields.at("tagPatternList")),
                    format!(
                        "{} has {wildcards} `*`; ECR accepts at most {MAX_WILDCARDS} in one pattern",
                        quoted(pattern)
                    ),
                );
            }
        }
    }
    match (prefixes, patterns) {
        (Field::Missing, patterns) => patterns.map(TagList::Patterns),
        (prefixes, Field::Missing) => prefixes.map(TagList::Prefixes),
        _ => {
            reader.report(
                Code::TagListConflict,
                fields.pointer.clone(),
                "both `tagPrefixList` and `tagPatternList`; keep one (the prefix `v` is the pattern `v*`)",
            );
            Field::Invalid
        }
    }
}

/// Checks the rules of one policy against each other.
pub(super) fn against_each_other(rules: &[RuleFacts], reader: &mut Reader) {
    for (index, rule) in rules.iter().enumerate() {
        let earlier = rules.get(..index).unwrap_or_default();
        if rule.priority.is_some()
            && let Some(twin) = earlier.iter().find(|other| other.priority == rule.priority)
        {
            reader.report(
                Code::DuplicatePriority,
                rule.priority_pointer.clone(),
                format!("{} is there already; give each rule a `rulePriority` of its own", twin.name),
            );
        }
        let (Some(class), Some(tags)) = (rule.storage_class, &rule.tags) else {
            continue;
        };
        let same_class = |other: &&RuleFacts| other.storage_class == Some(class);
        if let Some(twin) = earlier.iter().filter(same_class).find(|other| other.tags.as_ref() == Some(tags))
        {
            let class = class.as_str();
            let (code, pointer, what) = match tags {
                TagSelection::Untagged => {
                    (Code::DuplicateUntaggedRule, &rule.status_pointer, "untagged images".to_owned())
                }
                TagSelection::Any => (Code::DuplicateAnyRule, &rule.status_pointer, "any image".to_owned()),
                TagSelection::Tagged(list) => {
                    (Code::DuplicateTagList, &rule.list_pointer, format!("the same `{}`", list.field()))
                }
            };
            reader.report(
                code,
                pointer.clone(),
                format!(
                    "{} of storage class `{class}` selects {what} too; ECR accepts one such rule: merge the two",
                    twin.name
                ),
            );
        }
        if *tags == TagSelection::Any
            && let Some(priority) = rule.priority
            && let Some(later) = rules
                .iter()
                .filter(same_class)
                .filter(|other| other.tags != Some(TagSelection::Any) && other.priority > Some(priority))
                .max_by_key(|other| other.priority)
        {
            reader.report(
                Code::AnyRuleNotLast,
                rule.priority_pointer.clone(),
                format!(
                    "a rule for `any` image has to come last in its storage class, and {} comes after it; give this one \
                     a higher `rulePriority`",
                    later.name
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::lifecycle::PolicySource;

    /// The findings of a document with this rule in the place of `RULE`.
    fn findings(rules: &str) -> Vec<Finding> {
        validate(&format!("{{\"rules\": [{rules}]}}{}", " ".repeat(100)))
    }

    const SELECTION: &str =
        r#""selection": {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 1}"#;
    const EXPIRE: &str = r#""action": {"type": "expire"}"#;
    const ARCHIVE: &str = r#""action": {"type": "transition", "targetStorageClass": "archive"}"#;

    fn selecting(selection: &str, action: &str) -> String {
        format!(r#"{{"rulePriority": 1, "selection": {{{selection}}}, {action}}}"#)
    }

    fn prioritized(priority: u32, selection: &str) -> String {
        format!(r#"{{"rulePriority": {priority}, "selection": {{{selection}}}, {EXPIRE}}}"#)
    }

    /// Every constraint of the document, broken on purpose.
    fn broken() -> Vec<(&'static str, Vec<Finding>)> {
        let count = r#""countType": "imageCountMoreThan", "countNumber": 1"#;
        let pushed = r#""countType": "sinceImagePushed", "countUnit": "days", "countNumber": 1"#;
        let pulled =
            r#""tagStatus": "any", "countType": "sinceImagePulled", "countUnit": "days", "countNumber": 9"#;
        let transitioned = |days: u32| {
            format!(
                r#""tagStatus": "any", "countType": "sinceImageTransitioned", "countUnit": "days", "countNumber": {days}"#
            )
        };
        let in_archive = |days| format!(r#""storageClass": "archive", {}"#, transitioned(days));
        vec![
            ("no rules", findings("")),
            ("rule of another type", findings("1")),
            ("nothing in a rule", findings("{}")),
            ("priority zero", findings(&format!(r#"{{"rulePriority": 0, {SELECTION}, {EXPIRE}}}"#))),
            (
                "priority with a fraction",
                findings(&format!(r#"{{"rulePriority": 1.5, {SELECTION}, {EXPIRE}}}"#)),
            ),
            ("priority too large", findings(&format!(r#"{{"rulePriority": 1e30, {SELECTION}, {EXPIRE}}}"#))),
            ("priority as text", findings(&format!(r#"{{"rulePriority": "1", {SELECTION}, {EXPIRE}}}"#))),
            (
                "description null",
                findings(&format!(r#"{{"rulePriority": 1, "description": null, {SELECTION}, {EXPIRE}}}"#)),
            ),
            (
                "description number",
                findings(&format!(r#"{{"rulePriority": 1, "description": 7, {SELECTION}, {EXPIRE}}}"#)),
            ),
            (
                "a key twice",
                findings(&format!(r#"{{"rulePriority": 1, "rulePriority": 2, {SELECTION}, {EXPIRE}}}"#)),
            ),
            (
                "a key misspelled",
                findings(&format!(r#"{{"rulePriorty": 1, "rulePriority": 1, {SELECTION}, {EXPIRE}}}"#)),
            ),
            ("tag status unknown", findings(&selecting(&format!(r#""tagStatus": "all", {count}"#), EXPIRE))),
            (
                "tagged without list",
                findings(&selecting(&format!(r#""tagStatus": "tagged", {count}"#), EXPIRE)),
            ),
            (
                "both lists",
                findings(&selecting(
                    &format!(
                        r#""tagStatus": "tagged", "tagPrefixList": ["a"], "tagPatternList": ["b"], {count}"#
                    ),
                    EXPIRE,
                )),
            ),
            (
                "list without tagged",
                findings(&selecting(
                    &format!(r#""tagStatus": "any", "tagPrefixList": ["a"], {count}"#),
                    EXPIRE,
                )),
            ),
            (
                "list empty",
                findings(&selecting(
                    &format!(r#""tagStatus": "tagged", "tagPrefixList": [], {count}"#),
                    EXPIRE,
                )),
            ),
            (
                "entries of a list",
                findings(&selecting(
                    &format!(r#""tagStatus": "tagged", "tagPrefixList": ["", null, 1, "ok"], {count}"#),
                    EXPIRE,
                )),
            ),
            (
                "five wildcards",
                findings(&selecting(
                    &format!(r#""tagStatus": "tagged", "tagPatternList": ["*1*2*3*4*"], {count}"#),
                    EXPIRE,
                )),
            ),
            (
                "count with unit",
                findings(&selecting(&format!(r#""tagStatus": "any", {count}, "countUnit": "days""#), EXPIRE)),
            ),
            (
                "age without unit",
                findings(&selecting(
                    r#""tagStatus": "any", "countType": "sinceImagePushed", "countNumber": 1"#,
                    EXPIRE,
                )),
            ),
            (
                "unit unknown",
                findings(&selecting(
                    r#""tagStatus": "any", "countType": "sinceImagePushed", "countUnit": "weeks", "countNumber": 1"#,
                    EXPIRE,
                )),
            ),
            ("pulled and expire", findings(&selecting(pulled, EXPIRE))),
            ("transitioned and transition", findings(&selecting(&in_archive(90), ARCHIVE))),
            ("transitioned without archive", findings(&selecting(&transitioned(90), EXPIRE))),
            ("89 days in the archive", findings(&selecting(&in_archive(89), EXPIRE))),
            (
                "archive and pushed",
                findings(&selecting(
                    &format!(r#""tagStatus": "any", "storageClass": "archive", {pushed}"#),
                    EXPIRE,
                )),
            ),
            (
                "transition without target",
                findings(&selecting(pulled, r#""action": {"type": "transition"}"#)),
            ),
            (
                "expire with target",
                findings(&selecting(
                    &format!(r#""tagStatus": "any", {count}"#),
                    r#""action": {"type": "expire", "targetStorageClass": "archive"}"#,
                )),
            ),
            (
                "same priority",
                findings(
                    &[
                        prioritized(1, &format!(r#""tagStatus": "untagged", {count}"#)),
                        prioritized(1, &format!(r#""tagStatus": "any", {count}"#)),
                    ]
                    .join(","),
                ),
            ),
            (
                "two untagged, two any",
                findings(
                    &[
                        prioritized(1, &format!(r#""tagStatus": "untagged", {count}"#)),
                        prioritized(2, &format!(r#""tagStatus": "untagged", {pushed}"#)),
                        prioritized(3, &format!(r#""tagStatus": "any", {count}"#)),
                        prioritized(4, &format!(r#""tagStatus": "any", {pushed}"#)),
                    ]
                    .join(","),
                ),
            ),
            (
                "same set of prefixes in another order",
                findings(
                    &[
                        prioritized(
                            1,
                            &format!(r#""tagStatus": "tagged", "tagPrefixList": ["a", "b"], {count}"#),
                        ),
                        prioritized(
                            2,
                            &format!(r#""tagStatus": "tagged", "tagPrefixList": ["b", "a", "b"], {pushed}"#),
                        ),
                    ]
                    .join(","),
                ),
            ),
            (
                "any before others",
                findings(
                    &[
                        prioritized(1, &format!(r#""tagStatus": "any", {count}"#)),
                        prioritized(2, &format!(r#""tagStatus": "untagged", {count}"#)),
                    ]
                    .join(","),
                ),
            ),
            (
                "51 rules",
                findings(
                    &(1..=51)
                        .map(|priority| {
                            prioritized(
                                priority,
                                &format!(
                                    r#""tagStatus": "tagged", "tagPrefixList": ["p{priority}"], {count}"#
                                ),
                            )
                        })
                        .collect::<Vec<_>>()
                        .join(","),
                ),
            ),
            ("too short", validate("{\"rules\": []}")),
            ("not JSON", validate("rules: []")),
            ("another document", validate(&format!("[]{}", " ".repeat(100)))),
        ]
    }

    #[test]
    fn every_broken_constraint_is_found_where_it_is() {
        let messages: Vec<String> = broken()
            .into_iter()
            .map(|(what, findings)| {
                let lines: Vec<String> = findings.iter().map(|finding| format!("  {finding}\n")).collect();
                assert!(!lines.is_empty(), "{what}");
                format!("{what}:\n{}", lines.concat())
            })
            .collect();
        insta::assert_snapshot!(messages.concat());
    }

    #[test]
    fn every_code_of_a_document_is_reached() {
        let found: BTreeSet<Code> =
            broken().into_iter().flat_map(|(_, findings)| findings).map(|finding| finding.code).collect();
        let document = Code::ALL.iter().copied().filter(|code| *code < Code::LimitMissing);
        // A text that is too long has a test of its own. Texts that are not a policy, and a document in YAML, are recognized
        // before validation.
        let missing: Vec<Code> = document
            .filter(|code| {
                !found.contains(code)
                    && !matches!(code, Code::PolicyTooLong | Code::NotJson | Code::WrongDocument)
            })
            .collect();
        assert_eq!(missing, []);
    }

    #[test]
    fn the_length_of_the_text_is_counted_in_characters() {
        let rule =
            prioritized(1, r#""tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1"#);
        let described = |characters: usize| {
            let text = format!(r#"{{"rules": [{}]}}"#, rule.replacen('{', r#"{"description": "@", "#, 1));
            let filler = "ü".repeat(characters + 1 - text.chars().count());
            text.replace('@', &filler)
        };
        assert_eq!(validate(&described(30_720)), []);
        let findings = validate(&described(30_721));
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].code, findings[0].pointer.as_str()), (Code::PolicyTooLong, ""));
    }

    #[test]
    fn one_any_rule_and_one_untagged_rule_are_accepted_in_each_storage_class() {
        let archive = |status: &str| {
            format!(
                r#""tagStatus": "{status}", "storageClass": "archive", "countType": "sinceImageTransitioned",
                   "countUnit": "days", "countNumber": 90"#
            )
        };
        let count = r#""countType": "imageCountMoreThan", "countNumber": 1"#;
        let rules = [
            prioritized(1, &archive("untagged")),
            prioritized(2, &archive("any")),
            prioritized(3, &format!(r#""tagStatus": "untagged", "storageClass": "standard", {count}"#)),
            prioritized(9, &format!(r#""tagStatus": "any", {count}"#)),
        ];
        assert_eq!(findings(&rules.join(",")), []);
    }

    #[test]
    fn the_simple_model_says_everything_that_is_wrong_with_it() {
        let messages: Vec<String> = [
            "rules:\n- {}",
            "rules:\n- selection: any",
            "rules:\n- maximumAgeLimit: 1",
            "rules:\n- selection: any\n  maximumAgeLimit: 1\n  maximumNumberOfImages: 1",
            "rules:\n- selection: any\n  tagStatus: any\n  maximumAgeLimit: 1",
            "rules:\n- selection: tagged\n  maximumAgeLimit: 1",
            "rules:\n- selection: {}\n  maximumAgeLimit: 1",
            "rules:\n- selection: {tagPrefixList: [1.0, v]}\n  maximumAgeLimit: 1",
            "rules:\n- selection: {tagPrefixList: v}\n  maximumAgeLimit: 1",
            "rules:\n- tagPrefixList: [v]\n  maximumAgeLimit: 1",
            "rules:\n- tagStatus: untagged\n  tagPrefixList: [v]\n  maximumAgeLimit: 1",
            "rules:\n- selection: any\n  maximumAgeLimit: 0",
            "rules:\n- selection: any\n  maximumAgeLimit: '30'",
            "rules:\n- selection: any\n  maxAgeLimit: 30",
            "rules:\n- selection: any\n  maximumDaysSincePull: 30",
            "rules:\n- selection: any\n  maximumDaysInArchive: 30\n  action: archive",
            "rules:\n- selection: any\n  maximumAgeLimit: 1\n- selection: any\n  maximumAgeLimit: 2",
            "rules:\n- selection: untagged\n  maximumAgeLimit: 1\n- tagStatus: untagged\n  maximumAgeLimit: 2",
            "rules: []",
            "skip: yes",
            "lifecyclePolicy:",
            "lifecyclePolicy:\n  rules:\n  - selection: any\n    maximumAgeLimit: 1\nrepository: x",
            "just text",
            "rules:\n- rulePriority: 1\n  selection: {tagStatus: any, countType: imageCountMoreThan, countNumber: 1}\n  action: {type: expire}",
        ]
        .into_iter()
        .map(|text| {
            let findings = PolicySource::parse(text).expect_err(text);
            let lines: Vec<String> = findings.iter().map(|finding| format!("  {finding}\n")).collect();
            format!("{text}\n{}\n", lines.concat())
        })
        .collect();
        insta::assert_snapshot!(messages.concat());
    }
}
