//! From the simple model to ECR's document, and back where the document says nothing that the simple model cannot.

use super::document::{LifecyclePolicy, Rule, TagSelection};
use super::finding::Finding;
use super::rules::{SimplePolicy, SimpleRule};

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
        let in_order = self
            .rules
            .iter()
            .filter(|rule| !is_any(rule))
            .chain(self.rules.iter().filter(is_any));
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
            return Err(NotSimple::AnyBeforeOthers {
                pointer: any.pointer.clone(),
                later: later.priority,
            });
        }
        Ok(SimplePolicy {
            skip: false,
            rules: self.rules().iter().map(SimpleRule::from).collect(),
        })
    }
}
