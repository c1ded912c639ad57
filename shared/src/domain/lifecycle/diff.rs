//! The differences between two policies, rule by rule. Equal policies have none.

use std::cmp::Ordering;
use std::fmt;

use super::document::{LifecyclePolicy, Rule, TagList, TagSelection};

/// One difference between two policies; rules are the same rule when they have the same priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// Only the second policy has the rule.
    Added(&'a Rule),
    /// Only the first policy has the rule.
    Removed(&'a Rule),
    /// Both have it, differently.
    Changed {
        /// The rule of the first policy.
        from: &'a Rule,
        /// The rule of the second policy.
        to: &'a Rule,
    },
}

/// The changes that lead from one policy to the other, in ascending priority.
#[must_use]
pub fn diff<'a>(from: &'a LifecyclePolicy, to: &'a LifecyclePolicy) -> Vec<Change<'a>> {
    let mut changes = Vec::new();
    let (mut left, mut right) = (from.rules().iter().peekable(), to.rules().iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(from), Some(to)) => from.priority.cmp(&to.priority),
        };
        match order {
            Ordering::Less => changes.extend(left.next().map(Change::Removed)),
            Ordering::Greater => changes.extend(right.next().map(Change::Added)),
            Ordering::Equal => {
                if let (Some(from), Some(to)) = (left.next(), right.next())
                    && from != to
                {
                    changes.push(Change::Changed { from, to });
                }
            }
        }
    }
}

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(rule) => write!(f, "added {rule}"),
            Self::Removed(rule) => write!(f, "removed {rule}"),
            Self::Changed { from, to } => {
                write!(f, "changed {from}")?;
                // A prefix and a pattern read the same: `ci-` and `ci-*`.
                if from.tags != to.tags && from.to_string() == to.to_string() {
                    return write!(f, ", by {} instead of {}", list(&to.tags), list(&from.tags));
                }
                if (&from.tags, from.limit, from.action) != (&to.tags, to.limit, to.action) {
                    return write!(f, " → {to}");
                }
                match &to.description {
                    Some(description) => write!(f, ", described as {description:?}"),
                    None => f.write_str(", without its description"),
                }
            }
        }
    }
}

/// The tags of a rule as its document spells them.
fn list(tags: &TagSelection) -> String {
    match tags {
        TagSelection::Tagged(TagList::Prefixes(entries)) => format!("tagPrefixList {entries:?}"),
        TagSelection::Tagged(TagList::Patterns(entries)) => format!("tagPatternList {entries:?}"),
        TagSelection::Untagged => "untagged".to_owned(),
        TagSelection::Any => "any".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lifecycle::PolicySource;

    fn changes(from: &str, to: &str) -> Vec<String> {
        let read = |rules: &str| PolicySource::parse(&format!("rules:\n{rules}")).unwrap();
        let (from, to) = (read(from), read(to));
        diff(from.policy().unwrap(), to.policy().unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn policies_that_are_equal_have_no_difference() {
        let from = "- {selection: {tagPrefixList: [a, b]}, maximumAgeLimit: 30}";
        let to = "- {tagStatus: tagged, tagPrefixList: [b, a, b], maximumAgeLimit: 3e1}";
        assert_eq!(changes(from, to), Vec::<String>::new());
    }

    #[test]
    fn a_prefix_differs_from_a_pattern() {
        let from = "- {selection: {tagPrefixList: [ci-]}, maximumNumberOfImages: 3}";
        let to = "- {selection: {tagPatternList: ['ci-*']}, maximumNumberOfImages: 3}";
        assert_eq!(
            changes(from, to),
            [
                "changed rule 1: expire images tagged ci-* beyond the youngest 3, by tagPatternList [\"ci-*\"] instead of \
                 tagPrefixList [\"ci-\"]"
            ]
        );
    }

    #[test]
    fn each_difference_is_a_line() {
        let from = "
- {selection: untagged, maximumAgeLimit: 30, description: old}
- {selection: {tagPrefixList: [ci-]}, maximumNumberOfImages: 5}
- {selection: {tagPatternList: ['v*']}, maximumNumberOfImages: 5, description: releases}
- {selection: any, maximumAgeLimit: 1}";
        let to = "
- {selection: untagged, maximumAgeLimit: 30, description: new}
- {selection: {tagPrefixList: [ci-]}, maximumNumberOfImages: 6}
- {selection: {tagPatternList: ['v*']}, maximumNumberOfImages: 5}";
        let forth = changes(from, to);
        assert_eq!(
            forth,
            [
                "changed rule 1: expire untagged images pushed more than 30 days ago, described as \"new\"",
                "changed rule 2: expire images tagged ci-* beyond the youngest 5 → rule 2: expire images tagged ci-* \
                 beyond the youngest 6",
                "changed rule 3: expire images tagged v* beyond the youngest 5, without its description",
                "removed rule 4: expire images pushed more than 1 day ago",
            ]
        );
        assert_eq!(
            changes(to, from).last().unwrap(),
            "added rule 4: expire images pushed more than 1 day ago"
        );
        assert_eq!(forth.len(), changes(to, from).len());
    }
}
