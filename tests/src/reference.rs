//! An evaluator of lifecycle policies that is as plain as the rules are written, to compare the real one with; and as
//! plainly, which documents are policies at all.
//!
//! The evaluator is quadratic, allocates freely and shares nothing with the real one but the types of its input: the
//! times an image is aged by, storage classes, tag matching and ranks are all worked out here again.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use shared::domain::image::{Image, ImageStatus, Relations};
use shared::domain::lifecycle::{Action, LifecyclePolicy, Limit, Rule, StorageClass, TagList, TagSelection};
use shared::domain::text::instant::Instant;

use crate::document::Doc;

/// Microseconds in the only unit that policies count in.
const DAY: i128 = 86_400 * 1_000_000;

/// The action on an image that is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acted {
    /// `rulePriority` of the rule that acts on it.
    pub priority: u64,
    /// The action of that rule.
    pub action: Action,
    /// The pass in which it happens, the first being 1.
    pub pass: u16,
    /// The digest of its subject, if it is removed only together with that.
    pub follows: Option<String>,
}

/// The actions of the policy, by digest. Kept images are not in the map.
///
/// Every image is listed once. Images `in_use` count, and nothing happens to them. Referrers are `ranked` like other images, or
/// only follow their subject.
#[must_use]
pub fn evaluate(
    policy: &LifecyclePolicy,
    images: &[Image],
    relations: &Relations,
    in_use: &HashSet<&str>,
    now: Instant,
    until_stable: bool,
    ranked: bool,
) -> BTreeMap<String, Acted> {
    let mut acted: BTreeMap<String, Acted> = BTreeMap::new();
    for pass in 1.. {
        let is_expired =
            |image: &&Image| acted.get(&*image.digest).is_some_and(|acted| acted.action == Action::Expire);
        let present: Vec<&Image> = images.iter().filter(|image| !is_expired(image)).collect();
        // What is still here after something was done to it was archived.
        let archived =
            present.iter().map(|image| &*image.digest).filter(|digest| acted.contains_key(*digest)).collect();
        let found = Pass::new(policy, &present, &archived, relations, in_use, now, ranked).evaluate(pass);
        let is_last = found.is_empty() || !until_stable;
        acted.extend(found);
        if is_last {
            break;
        }
    }
    acted
}

/// Whether the image satisfies the rule's selection: its tags and its storage class.
#[must_use]
pub fn identifies(rule: &Rule, image: &Image) -> bool {
    // An image between two classes, or with an unknown status, is in neither.
    let sees = match rule.limit.storage_class() {
        StorageClass::Standard => image.status == ImageStatus::Active,
        StorageClass::Archive => image.status == ImageStatus::Archived,
    };
    sees && match &rule.tags {
        TagSelection::Any => true,
        TagSelection::Untagged => image.tags.is_empty(),
        TagSelection::Tagged(TagList::Prefixes(prefixes)) => {
            prefixes.iter().all(|prefix| image.tags.iter().any(|tag| tag.starts_with(prefix.as_str())))
        }
        TagSelection::Tagged(TagList::Patterns(patterns)) => {
            patterns.iter().all(|pattern| image.tags.iter().any(|tag| matches_pattern(pattern, tag)))
        }
    }
}

/// Whether `pattern` matches the whole `tag`, where every `*` matches some run of characters.
#[must_use]
pub fn matches_pattern(pattern: &str, tag: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else {
        return pattern == tag;
    };
    let Some(rest) = tag.strip_prefix(before) else {
        return false;
    };
    // Every length that this `*` can have.
    (0..=rest.len()).filter_map(|length| rest.get(length..)).any(|rest| matches_pattern(after, rest))
}

/// Whether `one` expires after `other`: it is younger, or of the same age with a greater digest.
#[must_use]
pub fn is_younger(one: &Image, other: &Image) -> bool {
    match age_time(one).cmp(&age_time(other)) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => one.digest > other.digest,
        std::cmp::Ordering::Less => false,
    }
}

fn age_time(image: &Image) -> Instant {
    match image.last_activated_at {
        Some(restored) => restored,
        None => image.pushed_at,
    }
}

fn pull_time(image: &Image) -> Instant {
    match (image.last_pulled_at, image.last_activated_at) {
        (None, _) => age_time(image),
        (Some(pulled), Some(restored)) if pulled < restored => restored,
        (Some(pulled), _) => pulled,
    }
}

fn is_older(time: Instant, days: u64, now: Instant) -> bool {
    i128::from(now.micros()) - i128::from(time.micros()) > i128::from(days) * DAY
}

/// The state of one pass.
struct Pass<'a> {
    policy: &'a LifecyclePolicy,
    /// The images that are in the repository when the pass begins.
    present: &'a [&'a Image],
    /// Digests of the images that earlier passes archived.
    archived: &'a HashSet<&'a str>,
    relations: &'a Relations,
    in_use: &'a HashSet<&'a str>,
    now: Instant,
    /// Whether rules treat referrers as ordinary images.
    ranked: bool,
    /// Digests that an image index in the repository references.
    held: BTreeSet<&'a str>,
    /// The images that each rule identifies.
    identified: Vec<Vec<&'a Image>>,
}

impl<'a> Pass<'a> {
    fn new(
        policy: &'a LifecyclePolicy,
        present: &'a [&'a Image],
        archived: &'a HashSet<&'a str>,
        relations: &'a Relations,
        in_use: &'a HashSet<&'a str>,
        now: Instant,
        ranked: bool,
    ) -> Self {
        let mut pass = Self {
            policy,
            present,
            archived,
            relations,
            in_use,
            now,
            ranked,
            held: BTreeSet::new(),
            identified: Vec::new(),
        };
        for index in present {
            for child in relations.children_of(&index.digest).unwrap_or_default() {
                if *child != index.digest {
                    pass.held.insert(child);
                }
            }
        }
        let ordinary: Vec<&Image> = present
            .iter()
            .copied()
            .filter(|image| {
                !pass.held.contains(&*image.digest)
                    && (ranked || pass.subject(image).is_none())
                    && !archived.contains(&*image.digest)
            })
            .collect();
        for rule in policy.rules() {
            pass.identified.push(ordinary.iter().copied().filter(|image| identifies(rule, image)).collect());
        }
        pass
    }

    fn evaluate(&self, pass: u16) -> BTreeMap<String, Acted> {
        let mut acted = BTreeMap::new();
        for image in self.present {
            if let Some((rule, follows)) = self.acting_rule(image, &[]) {
                let happens = Acted {
                    priority: rule.priority,
                    action: rule.action,
                    pass,
                    follows: follows.map(|subject| subject.digest.to_string()),
                };
                acted.insert(image.digest.to_string(), happens);
            }
        }
        acted
    }

    /// The subject of the image, if it is another one in the repository.
    fn subject(&self, image: &Image) -> Option<&'a Image> {
        let subject = self.relations.subject_of(&image.digest)?;
        self.present.iter().copied().find(|other| &*other.digest == subject && other.digest != image.digest)
    }

    /// The rule that acts on the image, and the subject by way of which it does; `referrers` are the images on the way here.
    fn acting_rule(&self, image: &'a Image, referrers: &[&str]) -> Option<(&'a Rule, Option<&'a Image>)> {
        let digest = &*image.digest;
        let stays = self.in_use.contains(digest)
            || self.held.contains(digest)
            || self.archived.contains(digest)
            || matches!(image.status, ImageStatus::Activating | ImageStatus::Unknown)
            // A circle has no subject that a rule could act on.
            || referrers.contains(&digest);
        if stays {
            return None;
        }
        let own = || self.own_rule(image).map(|rule| (rule, None));
        let Some(subject) = self.subject(image) else {
            return own();
        };
        let by_itself = own().filter(|_| self.ranked);
        if by_itself.is_some_and(|(rule, _)| rule.action == Action::Expire) {
            return by_itself;
        }
        let Some((rule, _)) = self.acting_rule(subject, &[referrers, &[digest]].concat()) else {
            return by_itself;
        };
        let is_there_already = rule.action == Action::Transition && image.status == ImageStatus::Archived;
        match by_itself {
            // It would be archived; now it is, or it is deleted.
            Some(_) if rule.action == Action::Transition => by_itself,
            _ => (!is_there_already).then_some((rule, Some(subject))),
        }
    }

    /// The first rule that identifies the image, if it marks it too.
    fn own_rule(&self, image: &Image) -> Option<&'a Rule> {
        let (rule, identified) = self
            .policy
            .rules()
            .iter()
            .zip(&self.identified)
            .filter(|(_, identified)| identified.iter().any(|other| other.digest == image.digest))
            .min_by_key(|(rule, _)| rule.priority)?;
        let is_marked = match rule.limit {
            Limit::ImageCountMoreThan(count) => {
                let younger = identified.iter().filter(|other| is_younger(other, image)).count();
                let rank = 1 + younger as u64;
                rank > count
            }
            Limit::SinceImagePushed(days) => is_older(age_time(image), days, self.now),
            Limit::SinceImagePulled(days) => is_older(pull_time(image), days, self.now),
            Limit::SinceImageTransitioned(days) => {
                image.last_archived_at.is_some_and(|archived| is_older(archived, days, self.now))
            }
        };
        is_marked.then_some(rule)
    }
}

/// Whether ECR accepts the document as a policy.
#[must_use]
pub fn accepts(document: &Doc) -> bool {
    let accepts = || {
        let [rules] = fields(document, ["rules"])?;
        let rules: Vec<Facts<'_>> = match rules? {
            Doc::List(rules) => rules.iter().map(accepted_rule).collect::<Option<_>>()?,
            _ => return None,
        };
        let pairs = || {
            rules
                .iter()
                .enumerate()
                .flat_map(|(at, one)| rules[at + 1..].iter().map(move |other| (one, other)))
        };
        let priorities_differ = pairs().all(|(one, other)| one.priority != other.priority);
        let selections_differ = pairs().all(|(one, other)| {
            (one.class, one.status, &one.lists) != (other.class, other.status, &other.lists)
        });
        let any_is_last = rules
            .iter()
            .filter(|any| any.status == "any")
            .all(|any| rules.iter().all(|rule| rule.class != any.class || rule.priority <= any.priority));
        let fits =
            (1..=50).contains(&rules.len()) && (100..=30_720).contains(&document.to_string().chars().count());
        Some(priorities_differ && selections_differ && any_is_last && fits)
    };
    accepts() == Some(true)
}

/// The facts by which the rules of one policy are compared.
struct Facts<'a> {
    priority: u64,
    class: &'a str,
    status: &'a str,
    /// The set of prefixes and the set of patterns.
    lists: [Option<BTreeSet<&'a str>>; 2],
}

/// The facts of a rule that is valid by itself.
fn accepted_rule(rule: &Doc) -> Option<Facts<'_>> {
    let [priority, description, selection, action] =
        fields(rule, ["rulePriority", "description", "selection", "action"])?;
    let priority = positive(priority?)?;
    description.map_or(Some(""), word)?;
    let [status, prefixes, patterns, class, count_type, unit, number] = fields(
        selection?,
        [
            "tagStatus",
            "tagPrefixList",
            "tagPatternList",
            "storageClass",
            "countType",
            "countUnit",
            "countNumber",
        ],
    )?;
    let status = word(status?)?;
    let prefixes = prefixes.map(entries);
    let patterns = patterns.map(entries);
    let tags_fit = match (status, &prefixes, &patterns) {
        ("tagged", Some(Some(_)), None) => true,
        ("tagged", None, Some(Some(patterns))) => {
            patterns.iter().all(|pattern| pattern.matches('*').count() <= 4)
        }
        ("untagged" | "any", None, None) => true,
        _ => false,
    };
    let class = class.map_or(Some("standard"), word)?;
    let unit = unit.map(|unit| word(unit).unwrap_or_default());
    let number = positive(number?)?;
    let [kind, target] = fields(action?, ["type", "targetStorageClass"])?;
    let action = match (word(kind?)?, target) {
        ("expire", None) => Action::Expire,
        ("transition", Some(target)) if word(target) == Some("archive") => Action::Transition,
        _ => return None,
    };
    let limit_fits = match (word(count_type?)?, class, unit, action) {
        ("imageCountMoreThan", "standard", None, _) => true,
        ("sinceImagePushed", "standard", Some("days"), _) => true,
        ("sinceImagePulled", "standard", Some("days"), Action::Transition) => true,
        ("sinceImageTransitioned", "archive", Some("days"), Action::Expire) => number >= 90,
        _ => false,
    };
    (tags_fit && limit_fits).then_some(Facts {
        priority,
        class,
        status,
        lists: [prefixes.flatten(), patterns.flatten()],
    })
}

/// The values of an object that has no fields but these, each at most once, and no nulls.
fn fields<'a, const N: usize>(object: &'a Doc, names: [&str; N]) -> Option<[Option<&'a Doc>; N]> {
    let Doc::Object(fields) = object else { return None };
    let mut values = [None; N];
    for (key, value) in fields {
        let place = names.iter().position(|name| name == key)?;
        if *value == Doc::Null || values[place].replace(value).is_some() {
            return None;
        }
    }
    Some(values)
}

fn word(value: &Doc) -> Option<&str> {
    match value {
        Doc::Text(text) => Some(text),
        _ => None,
    }
}

/// A whole number of at least one, in any exact notation.
fn positive(value: &Doc) -> Option<u64> {
    /// Up to here every whole number is a double.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let Doc::Number(spelling) = value else { return None };
    let number = spelling.parse().ok().or_else(|| {
        let number: f64 = spelling.parse().ok()?;
        let is_exact = number.fract() == 0.0 && (0.0..=EXACT).contains(&number);
        is_exact.then(|| format!("{number:.0}").parse().ok())?
    })?;
    (number >= 1).then_some(number)
}

/// The set of a list's entries, when it is not empty and neither are they.
fn entries(list: &Doc) -> Option<BTreeSet<&str>> {
    let Doc::List(items) = list else { return None };
    let entries: BTreeSet<&str> = items.iter().map(word).collect::<Option<_>>()?;
    (!entries.is_empty() && !entries.contains("")).then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::matches_pattern;

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        for (pattern, tag) in [("*", ""), ("a*", "a"), ("a*c", "abcc"), ("*b*b*", "abéb"), ("a", "a")] {
            assert!(matches_pattern(pattern, tag), "{pattern} {tag}");
        }
        for (pattern, tag) in [("a", "ab"), ("a*", "ba"), ("*a", "ab"), ("*b*b*", "abc"), ("", "a")] {
            assert!(!matches_pattern(pattern, tag), "{pattern} {tag}");
        }
    }
}
