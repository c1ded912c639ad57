//! Which rules identify an image, as a set of bits: bit *n* is the *n*th rule in order of priority.
//!
//! A list is satisfied if for every entry there is a tag that starts with it (or matches it). [`Matcher`] finds that
//! out in one look-up per tag however many rules there are. Every rule about tagged images is filed under the literal beginning of one of its entries. The filed texts are
//! sorted, so those that a tag starts with are the ancestors of the last one not greater than the tag.

use super::document::{LifecyclePolicy, StorageClass, TagList, TagSelection};
use crate::domain::image::{Image, ImageStatus};

/// A set of rules by their place in the order of priority; a policy has at most 50.
pub(super) type RuleSet = u64;

/// A tag list, prepared for matching many images.
pub(super) struct Matchable<'a> {
    entries: Vec<Pattern<'a>>,
}

/// One entry of a list between its wildcards: what a tag starts with, what follows in this order, what it ends with.
pub(super) struct Pattern<'a> {
    head: &'a str,
    /// `None` for an entry without a wildcard, which is the whole tag.
    rest: Option<(Vec<&'a str>, &'a str)>,
}

impl<'a> Matchable<'a> {
    pub(super) fn new(list: &'a TagList) -> Self {
        let pattern: fn(&'a str) -> Pattern<'a> = match list {
            TagList::Prefixes(_) => Pattern::of_prefix,
            TagList::Patterns(_) => Pattern::new,
        };
        Self { entries: list.entries().iter().map(|entry| pattern(entry)).collect() }
    }

    /// Whether every entry is matched by some tag.
    fn is_satisfied_by(&self, tags: &[Box<str>]) -> bool {
        self.entries.iter().all(|entry| tags.iter().any(|tag| entry.matches(tag)))
    }

    /// Whether the tag matches some entry.
    pub(super) fn has_entry_for(&self, tag: &str) -> bool {
        self.entries.iter().any(|entry| entry.matches(tag))
    }
}

impl<'a> Pattern<'a> {
    /// The pattern of every tag that starts with `prefix`.
    const fn of_prefix(prefix: &'a str) -> Self {
        Self { head: prefix, rest: Some((Vec::new(), "")) }
    }

    /// Parses a pattern in which `*` stands for any run of characters, also an empty one.
    pub(super) fn new(pattern: &'a str) -> Self {
        let Some((head, rest)) = pattern.split_once('*') else {
            return Self { head: pattern, rest: None };
        };
        let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
        Self { head, rest: Some((middle.split('*').filter(|part| !part.is_empty()).collect(), tail)) }
    }

    /// Whether the whole tag matches.
    pub(super) fn matches(&self, tag: &str) -> bool {
        let Some((middle, tail)) = &self.rest else {
            return tag == self.head;
        };
        let Some(tag) = tag.strip_prefix(self.head) else {
            return false;
        };
        let mut tag = tag.as_bytes();
        for part in middle {
            // Taking the first occurrence leaves the most for what follows. Tags are short: looking at every place
            // beats preparing a search.
            let Some(at) = tag.windows(part.len()).position(|window| window == part.as_bytes()) else {
                return false;
            };
            tag = tag.get(at + part.len()..).unwrap_or_default();
        }
        tag.ends_with(tail.as_bytes())
    }
}

/// The rules filed under one text.
#[derive(Debug, Clone, Copy, Default)]
struct Filed {
    /// Rules that identify every image with a tag of this beginning.
    sure: RuleSet,
    /// Rules that may identify such an image; to be checked.
    check: RuleSet,
}

impl Filed {
    fn add(&mut self, other: Self) {
        self.sure |= other.sure;
        self.check |= other.check;
    }
}

struct Entry<'a> {
    text: &'a str,
    /// The rules at this text and at all its prefixes.
    filed: Filed,
    /// The longest other text that this one starts with.
    ancestor: Option<u16>,
}

/// Finds the rules that identify an image.
pub(super) struct Matcher<'a> {
    untagged: RuleSet,
    any: RuleSet,
    /// Rules about archived images. All others are about active ones.
    archive: RuleSet,
    /// The rules at the empty text, which apply to every tagged image.
    always: Filed,
    entries: Vec<Entry<'a>>,
    /// For each first byte the range of entries that start with it.
    ranges: Box<[(u16, u16); 256]>,
    /// The lists of the rules that may have to be checked, by the rules' places.
    lists: Vec<Option<Matchable<'a>>>,
}

impl<'a> Matcher<'a> {
    pub(super) fn new(policy: &'a LifecyclePolicy) -> Self {
        let mut matcher = Self {
            untagged: 0,
            any: 0,
            archive: 0,
            always: Filed::default(),
            entries: Vec::new(),
            ranges: Box::new([(0, 0); 256]),
            lists: Vec::with_capacity(policy.rules().len()),
        };
        let mut filed: Vec<(&str, Filed)> = Vec::new();
        for (place, rule) in policy.rules().iter().enumerate() {
            let bit: RuleSet = 1 << place;
            if rule.limit.storage_class() == StorageClass::Archive {
                matcher.archive |= bit;
            }
            matcher.lists.push(None);
            match &rule.tags {
                TagSelection::Untagged => matcher.untagged |= bit,
                TagSelection::Any => matcher.any |= bit,
                TagSelection::Tagged(list) => {
                    let (text, rules) = file(list, bit);
                    if let Some(last) = matcher.lists.last_mut().filter(|_| rules.check != 0) {
                        *last = Some(Matchable::new(list));
                    }
                    filed.push((text, rules));
                }
            }
        }
        filed.sort_unstable_by_key(|(text, _)| *text);
        for (text, rules) in filed {
            if text.is_empty() {
                matcher.always.add(rules);
            } else if let Some(last) = matcher.entries.last_mut().filter(|last| last.text == text) {
                last.filed.add(rules);
            } else {
                matcher.enter(text, rules);
            }
        }
        matcher
    }

    /// Adds a text greater than all before it.
    fn enter(&mut self, text: &'a str, mut filed: Filed) {
        let place = u16::try_from(self.entries.len()).unwrap_or(u16::MAX);
        let mut ancestor = place.checked_sub(1);
        while let Some(entry) = ancestor.and_then(|at| self.entries.get(usize::from(at))) {
            if text.starts_with(entry.text) {
                filed.add(entry.filed);
                break;
            }
            ancestor = entry.ancestor;
        }
        let first_byte = text.as_bytes().first().copied().unwrap_or_default();
        if let Some(range) = self.ranges.get_mut(usize::from(first_byte)) {
            *range = (if range.1 == 0 { place } else { range.0 }, place + 1);
        }
        self.entries.push(Entry { text, filed, ancestor });
    }

    /// The rules that identify the image.
    pub(super) fn rules_for(&self, image: &Image) -> RuleSet {
        let class = if image.status == ImageStatus::Archived { self.archive } else { !self.archive };
        if image.tags.is_empty() {
            return (self.untagged | self.any) & class;
        }
        let mut filed = self.always;
        for tag in &image.tags {
            filed.add(self.under(tag));
        }
        let mut rules = (self.any | filed.sure) & class;
        let mut check = filed.check & class & !rules;
        while check != 0 {
            let place = check.trailing_zeros();
            if let Some(Some(list)) = self.lists.get(place as usize)
                && list.is_satisfied_by(&image.tags)
            {
                rules |= 1 << place;
            }
            check &= check - 1;
        }
        rules
    }

    /// The rules at all prefixes of the tag.
    fn under(&self, tag: &str) -> Filed {
        if self.entries.is_empty() {
            return Filed::default();
        }
        let Some(first) = tag.as_bytes().first() else {
            return Filed::default();
        };
        let (from, to) = self.ranges[usize::from(*first)];
        let Some(candidates) = self.entries.get(usize::from(from)..usize::from(to)) else {
            return Filed::default();
        };
        let not_greater = candidates.partition_point(|entry| entry.text <= tag);
        let mut entry = not_greater.checked_sub(1).and_then(|at| candidates.get(at));
        while let Some(candidate) = entry {
            if tag.starts_with(candidate.text) {
                return candidate.filed;
            }
            entry = candidate.ancestor.and_then(|at| self.entries.get(usize::from(at)));
        }
        Filed::default()
    }
}

/// Indexes a rule by the longest literal prefix among its entries.
fn file(list: &TagList, bit: RuleSet) -> (&str, Filed) {
    let head = |entry: &'_ String| match list {
        TagList::Prefixes(_) => entry.len(),
        TagList::Patterns(_) => entry.find('*').unwrap_or(entry.len()),
    };
    let entries = list.entries();
    let Some(entry) = entries.iter().max_by_key(|entry| head(entry)) else {
        return ("", Filed::default());
    };
    let text = entry.get(..head(entry)).unwrap_or_default();
    let alone = entries.iter().all(|other| other == entry);
    let is_prefix = match list {
        TagList::Prefixes(_) => true,
        TagList::Patterns(_) => entry.len() == text.len() + 1,
    };
    let filed =
        if alone && is_prefix { Filed { sure: bit, check: 0 } } else { Filed { sure: 0, check: bit } };
    (text, filed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        for (pattern, tag, expected) in [
            ("*", "", true),
            ("*", "anything", true),
            ("v1", "v1", true),
            ("v1", "v10", false),
            ("v*", "v", true),
            ("*-rc", "v1-rc", true),
            ("*-rc", "v1-rc2", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "a-c-b-c", true),
            ("a*b*c", "acb", false),
            ("*a*b*", "xxbxxaxxb", true),
            ("*a*b*", "ba", false),
            ("**", "x", true),
            ("a**b", "ab", true),
            ("*aab", "aaab", true),
            ("*ä*", "grün-ä", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(tag), expected, "{pattern} against {tag}");
        }
    }
}
