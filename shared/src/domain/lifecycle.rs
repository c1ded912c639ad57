//! Lifecycle policies: parsing, validating, evaluating and explaining them.
//!
//! | module | contains |
//! | --- | --- |
//! | [`document`] | ECR's policy document: typed, valid by construction, its JSON |
//! | [`rules`] | the simple rule model of awsx |
//! | [`compile`] | the simple model to the document and back |
//! | [`source`] | a policy text of either language |
//! | [`mod@validate`] | everything that ECR demands of a document |
//! | [`mod@evaluate`] | which rule acts on which image |
//! | [`explain`] | the reason for every image, in a sentence |
//! | [`lint`] | warnings about a policy and the contents of a repository |
//! | [`mod@diff`] | the differences between two policies |
//!
//! Everything here is pure: values and the time in, values out.

pub mod compile;
pub mod diff;
pub mod document;
pub mod evaluate;
pub mod explain;
pub mod lint;
mod matching;
pub mod rules;
pub mod source;
pub mod validate;

pub use crate::domain::text::finding::{Code, Finding};
pub use diff::diff;
pub use document::{Action, LifecyclePolicy, Limit, Rule, StorageClass, TagList, TagSelection};
pub use evaluate::{Evaluation, Passes, Referrers, evaluate, evaluate_with};
pub use rules::SimplePolicy;
pub use source::PolicySource;
pub use validate::validate;

/// Whether a text matches a pattern in which `*` stands for any run of characters.
pub fn matches_wildcard(pattern: &str, text: &str) -> bool {
    matching::Pattern::new(pattern).matches(text)
}
