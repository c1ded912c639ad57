//! Compiles the simple model to ECR's document, and back where the simple model can express the document.

use super::document::{LifecyclePolicy, Rule, TagSelection};
use super::rules::{SimplePolicy, SimpleRule};
use crate::domain::text::finding::Finding;

impl SimplePolicy {
    /// Compiles to ECR's document; `None` when the policy says `skip: true`.
    ///
    /// As in awsx, rules get the priorities 1, 2, 3 … in the order they are written, and an `any` rule comes behind
    /// the others whatever its place.
    ///
    /// # Errors
    ///
    /// When the document is longer than ECR accepts.
    pub fn compile(&self) -> Result<Option<LifecyclePolicy>, Finding> {
        if self.skip {
            return Ok(None);
        }
        let is_any = |rule: &&SimpleRule| rule.tags == TagSelection::Any;
        let in_order = self.rules.iter().filter(|rule| !is_any(rule)).chain(self.rules.iter().filter(is_any));
        let rules = (1..)
            .zip(in_order)
            .map(|(priority, rule)| Rule {
                priority,
                description: rule.description.clone(),
                tags: rule.tags.clone(),
                limit: rule.limit,
                action: rule.action,
                pointer: rule.pointer.clone(),
            })
            .collect();
        LifecyclePolicy::from_valid(rules).map(Some)
    }
}

/// Why a document is not the compilation of any simple policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSimple {
    /// The simple model numbers its rules itself.
    #[error(
        "{pointer}/rulePriority: the simple model numbers its rules 1, 2, 3 …, and here a rule has priority {priority} \
         where {expected} is expected; renumber the rules first"
    )]
    Priority {
        /// JSON pointer of the rule.
        pointer: String,
        /// The priority the rule has.
        priority: u64,
        /// The priority it would get.
        expected: u64,
    },
    /// The simple model puts `any` behind everything.
    #[error(
        "{pointer}: the simple model moves a rule for `any` image behind all others, and here one comes before the \
         rule with priority {later}; renumber the rules first"
    )]
    AnyBeforeOthers {
        /// JSON pointer of the `any` rule.
        pointer: String,
        /// The priority of a rule behind it.
        later: u64,
    },
}

impl LifecyclePolicy {
    /// The simple policy that compiles to this document.
    ///
    /// # Errors
    ///
    /// When there is none: the model has no way to say a rule's priority other than by its place.
    pub fn decompile(&self) -> Result<SimplePolicy, NotSimple> {
        for (rule, expected) in self.rules().iter().zip(1..) {
            if rule.priority != expected {
                return Err(NotSimple::Priority {
                    pointer: rule.pointer.clone(),
                    priority: rule.priority,
                    expected,
                });
            }
        }
        let is_any = |rule: &Rule| rule.tags == TagSelection::Any;
        if let Some(at) = self.rules().iter().position(is_any)
            && let Some(any) = self.rules().get(at)
            && let Some(later) = self.rules().iter().skip(at).find(|rule| !is_any(rule))
        {
            return Err(NotSimple::AnyBeforeOthers { pointer: any.pointer.clone(), later: later.priority });
        }
        Ok(SimplePolicy { skip: false, rules: self.rules().iter().map(SimpleRule::from).collect() })
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::lifecycle::{Action, Limit, PolicySource, SimplePolicy, TagSelection};

    fn compile(text: &str) -> PolicySource {
        PolicySource::parse(text).unwrap()
    }

    #[test]
    fn no_policy_means_the_default_policy() {
        let policy = SimplePolicy::default().compile().unwrap().unwrap();
        let [rule] = policy.rules() else { panic!("one rule") };
        assert_eq!(rule.description.as_deref(), Some("remove untagged images"));
        assert_eq!(rule.tags, TagSelection::Untagged);
        assert_eq!((rule.limit, rule.action), (Limit::ImageCountMoreThan(1), Action::Expire));
        assert_eq!(compile("{}").policy(), Some(&policy));
        assert_eq!(compile("skip: false").policy(), Some(&policy));
    }

    #[test]
    fn skip_means_no_policy_whatever_the_rules() {
        assert_eq!(compile("skip: true").policy(), None);
        assert_eq!(compile("skip: true\nrules:\n- selection: any\n  maximumAgeLimit: 1").policy(), None);
    }

    #[test]
    fn an_any_rule_comes_last_whatever_its_place() {
        let source = compile(
            "rules:
- {selection: any, maximumDaysInArchive: 365}
- {selection: any, maximumNumberOfImages: 100}
- {selection: untagged, maximumAgeLimit: 7}
- {selection: {tagPrefixList: [v]}, maximumNumberOfImages: 9}",
        );
        let rules = source.policy().unwrap().rules();
        let order: Vec<(u64, u64, &str)> = rules
            .iter()
            .map(|rule| (rule.priority, rule.limit.count_number(), rule.pointer.as_str()))
            .collect();
        assert_eq!(
            order,
            [(1, 7, "/rules/2"), (2, 9, "/rules/3"), (3, 365, "/rules/0"), (4, 100, "/rules/1")]
        );
    }

    #[test]
    fn both_spellings_of_a_selection_are_the_same() {
        for (older, newer) in [
            ("selection: any", "tagStatus: any"),
            ("selection: untagged", "tagStatus: untagged"),
            ("selection: {tagPrefixList: [a, b]}", "tagStatus: tagged\n  tagPrefixList: [b, a]"),
            ("selection: {tagPatternList: ['*-a']}", "tagStatus: tagged\n  tagPatternList: ['*-a']"),
        ] {
            let policy = |selection| compile(&format!("rules:\n- {selection}\n  maximumAgeLimit: 3\n"));
            assert_eq!(policy(older).policy(), policy(newer).policy(), "{older}");
        }
    }

    #[test]
    fn a_document_that_numbers_its_rules_otherwise_has_no_simple_form() {
        let document = |first: u64, second: u64| {
            let rule = |priority: u64, status: &str, rest: &str| {
                format!(
                    r#"{{"rulePriority": {priority}, "selection": {{"tagStatus": "{status}", {rest}, "countUnit": "days",
                        "countNumber": 90}}, "action": {{"type": "expire"}}}}"#
                )
            };
            let rules = [
                rule(first, "any", r#""countType": "sinceImagePushed""#),
                rule(
                    second,
                    "untagged",
                    r#""storageClass": "archive", "countType": "sinceImageTransitioned""#,
                ),
            ];
            compile(&format!(r#"{{"rules": [{}]}}"#, rules.join(",")))
        };
        let simple = |source: PolicySource| source.policy().unwrap().decompile();
        assert!(simple(document(2, 1)).is_ok());
        assert_eq!(
            simple(document(10, 1)).unwrap_err().to_string(),
            "/rules/0/rulePriority: the simple model numbers its rules 1, 2, 3 …, and here a rule has priority 10 where \
             2 is expected; renumber the rules first"
        );
        assert_eq!(
            simple(document(1, 2)).unwrap_err().to_string(),
            "/rules/0: the simple model moves a rule for `any` image behind all others, and here one comes before the \
             rule with priority 2; renumber the rules first"
        );
    }
}
