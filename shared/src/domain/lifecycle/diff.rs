//! The differences between two policies, rule by rule. Equal policies have none.

use std::collections::BTreeSet;
use std::fmt;

use super::document::{LifecyclePolicy, Rule, TagList, TagSelection};

/// One difference between two policies. Rules are the same rule when they select the same images, whatever their priorities.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Rules that both have, under other priorities.
    Order {
        /// The priorities in the first policy and in the second one, ascending by the first.
        priorities: Vec<(u64, u64)>,
        /// Whether another rule is applied before another one, and not only numbers are other ones.
        is_reordered: bool,
    },
}

/// The changes that lead from one policy to the other, in ascending priority. What is said of the order comes last.
#[must_use]
pub fn diff<'a>(from: &'a LifecyclePolicy, to: &'a LifecyclePolicy) -> Vec<Change<'a>> {
    let mut removed: Vec<&Rule> = from.rules().iter().collect();
    let mut added: Vec<&Rule> = to.rules().iter().collect();
    let mut pairs: Vec<(&Rule, &Rule)> = Vec::new();
    // The more two rules have in common, the earlier they are found to be the same.
    let is_same: [fn(&Rule, &Rule) -> bool; 5] = [
        |from, to| is_alike(from, to) && from.tags == to.tags && from.description == to.description,
        |from, to| is_alike(from, to) && selected(from) == selected(to),
        |from, to| selected(from) == selected(to) && from.action == to.action,
        |from, to| selected(from) == selected(to),
        // Another selection in its place.
        |from, to| is_alike(from, to) && from.priority == to.priority,
    ];
    for is_same in is_same {
        removed.retain(|from| match added.iter().position(|to| is_same(from, to)) {
            Some(at) => {
                pairs.push((from, added.remove(at)));
                false
            }
            None => true,
        });
    }
    pairs.sort_by_key(|(from, _)| from.priority);
    let priorities: Vec<(u64, u64)> = pairs.iter().map(|(from, to)| (from.priority, to.priority)).collect();
    let is_reordered = !priorities.is_sorted_by_key(|(_, to)| *to);
    let moved: Vec<(u64, u64)> = priorities.into_iter().filter(|(from, to)| from != to).collect();

    let differ = |from: &Rule, to: &Rule| {
        !is_alike(from, to) || from.tags != to.tags || from.description != to.description
    };
    let changed = pairs
        .into_iter()
        .filter(|(from, to)| differ(from, to))
        .map(|(from, to)| Change::Changed { from, to });
    let mut changes: Vec<Change<'a>> = removed
        .into_iter()
        .map(Change::Removed)
        .chain(added.into_iter().map(Change::Added))
        .chain(changed)
        .collect();
    changes.sort_by_key(|change| match change {
        Change::Added(rule) | Change::Removed(rule) | Change::Changed { from: rule, .. } => rule.priority,
        Change::Order { .. } => u64::MAX,
    });
    if !moved.is_empty() {
        changes.push(Change::Order { priorities: moved, is_reordered });
    }
    changes
}

/// Whether two rules do the same with the images that they select.
fn is_alike(from: &Rule, to: &Rule) -> bool {
    (from.limit, from.action) == (to.limit, to.action)
}

/// What a rule selects, without how it is spelled: the prefix `ci-` is the pattern `ci-*`.
fn selected(rule: &Rule) -> (u8, BTreeSet<String>) {
    match &rule.tags {
        TagSelection::Any => (0, BTreeSet::new()),
        TagSelection::Untagged => (1, BTreeSet::new()),
        // A `*` in a prefix stands for itself, which no pattern can say.
        TagSelection::Tagged(TagList::Prefixes(prefixes))
            if prefixes.iter().any(|prefix| prefix.contains('*')) =>
        {
            (2, prefixes.iter().cloned().collect())
        }
        TagSelection::Tagged(TagList::Prefixes(prefixes)) => {
            (3, prefixes.iter().map(|prefix| format!("{prefix}*")).collect())
        }
        TagSelection::Tagged(TagList::Patterns(patterns)) => (3, patterns.iter().cloned().collect()),
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
                if from.tags != to.tags && selected(from) == selected(to) && is_alike(from, to) {
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
            Self::Order { priorities, is_reordered } => {
                let shown: Vec<String> =
                    priorities.iter().map(|(from, to)| format!("rule {from} is rule {to}")).collect();
                let what = if *is_reordered { "order" } else { "numbers, in the same order" };
                write!(f, "changed {what}: {}", shown.join(", "))
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
    fn rules_that_change_places_are_reported_once() {
        let one = "- {selection: {tagPrefixList: [ci-]}, maximumNumberOfImages: 3}";
        let two = "- {selection: {tagPrefixList: [pr-]}, maximumAgeLimit: 3}";
        let three = "- {selection: untagged, maximumAgeLimit: 1}";
        assert_eq!(
            changes(&format!("{one}\n{two}"), &format!("{two}\n{one}")),
            ["changed order: rule 1 is rule 2, rule 2 is rule 1"]
        );
        // What comes before them has them count on, and nothing else.
        assert_eq!(
            changes(&format!("{one}\n{two}"), &format!("{three}\n{one}\n{two}")),
            [
                "added rule 1: expire untagged images pushed more than 1 day ago",
                "changed numbers, in the same order: rule 1 is rule 2, rule 2 is rule 3",
            ]
        );
        let five = one.replace('3', "5");
        assert_eq!(
            changes(&format!("{one}\n{two}"), &format!("{two}\n{five}")),
            [
                "changed rule 1: expire images tagged ci-* beyond the youngest 3 → rule 2: expire images tagged ci-* beyond the \
                 youngest 5",
                "changed order: rule 1 is rule 2, rule 2 is rule 1",
            ]
        );
        // Of another selection in the same place it is told what it was.
        let other = one.replace("ci-", "build-");
        assert_eq!(
            changes(one, &other),
            [
                "changed rule 1: expire images tagged ci-* beyond the youngest 3 → rule 1: expire images tagged build-* beyond \
                 the youngest 3"
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
