//! Findings on a policy against what is really in a repository. None changes the result.

use super::document::{Action, LifecyclePolicy, Limit, Rule, TagList, TagSelection};
use super::evaluate::{Evaluation, Verdict};
use super::explain::short_digest;
use super::matching::{Matchable, Matcher, Pattern, RuleSet};
use crate::domain::image::{Image, RepositoryImages};
use crate::domain::text::finding::{Code, Finding};
use crate::domain::text::quantity::count;

/// The effect of one rule in a repository.
#[derive(Debug, Clone, Default)]
struct Met<'a> {
    /// Images that the rule identifies.
    identified: usize,
    /// The number of those that no earlier rule identifies.
    first: usize,
    /// The earlier rules that identify the others first.
    taken_by: RuleSet,
    /// Images that satisfy some entry of the rule's list without satisfying them all.
    partly: usize,
    /// Images that the rule expires with tags that match no entry of its list, and one of them.
    other_tags: usize,
    example: Option<(&'a Image, &'a str)>,
    /// For a rule that counts images: the oldest one that it keeps, and the youngest one that it marks.
    last_kept: Option<&'a Image>,
    first_taken: Option<&'a Image>,
}

/// Findings on a policy, given its evaluation on the images of one repository.
#[must_use]
pub fn lint(policy: &LifecyclePolicy, images: &RepositoryImages, evaluation: &Evaluation) -> Vec<Finding> {
    let matcher = Matcher::new(policy);
    let rules = policy.rules();
    let lists: Vec<Option<Matchable<'_>>> = rules
        .iter()
        .map(|rule| match &rule.tags {
            TagSelection::Tagged(list) => Some(Matchable::new(list)),
            TagSelection::Untagged | TagSelection::Any => None,
        })
        .collect();
    let mut met: Vec<Met<'_>> = vec![Met::default(); rules.len()];
    let (mut candidates, mut tagged, mut expiring, mut tagged_expiring) =
        (0_usize, 0_usize, 0_usize, 0_usize);
    for (image, verdict) in images.images().iter().zip(evaluation.verdicts()) {
        // Children and referrers go where others go; rules do not see them.
        let acting = match *verdict {
            Verdict::HeldByIndex { .. } | Verdict::HeldBySubject { .. } | Verdict::Follows { .. } => continue,
            Verdict::Marked { rule, .. } | Verdict::HeldByUse { rule } => Some(usize::from(rule)),
            Verdict::HeldByRule { .. } | Verdict::NotIdentified => None,
            // It stands on its own, and rules do not see it.
            Verdict::Restoring | Verdict::UnknownStatus => {
                candidates += 1;
                tagged += usize::from(!image.tags.is_empty());
                continue;
            }
        };
        if let Verdict::Marked { rule, rank, .. } | Verdict::HeldByRule { rule, rank } = *verdict
            && let Some(Limit::ImageCountMoreThan(keep)) = rules.get(usize::from(rule)).map(|rule| rule.limit)
        {
            let met = &mut met[usize::from(rule)];
            if u64::from(rank) == keep {
                met.last_kept = Some(image);
            } else if u64::from(rank) == keep.saturating_add(1) {
                met.first_taken = Some(image);
            }
        }
        let identifying = matcher.rules_for(image);
        let mut left = identifying;
        while left != 0 {
            let met = &mut met[left.trailing_zeros() as usize];
            met.identified += 1;
            if left == identifying {
                met.first += 1;
            } else {
                met.taken_by |= identifying & identifying.wrapping_neg();
            }
            left &= left - 1;
        }
        for (place, list) in lists.iter().enumerate() {
            if identifying & (1 << place) == 0
                && let Some(list) = list
                && image.tags.iter().any(|tag| list.has_entry_for(tag))
            {
                met[place].partly += 1;
            }
        }
        let expires = acting
            .and_then(|rule| Some((rule, rules.get(rule)?)))
            .filter(|(_, rule)| rule.action == Action::Expire);
        candidates += 1;
        tagged += usize::from(!image.tags.is_empty());
        if let Some((place, _)) = expires {
            expiring += 1;
            tagged_expiring += usize::from(!image.tags.is_empty());
            if matches!(verdict, Verdict::Marked { .. })
                && let Some(Some(list)) = lists.get(place)
                && let Some(other) = image.tags.iter().filter(|tag| !list.has_entry_for(tag)).min()
            {
                let met = &mut met[place];
                met.other_tags += 1;
                // The order of the listing must not show.
                if met.example.is_none_or(|(known, _)| image.digest < known.digest) {
                    met.example = Some((image, other));
                }
            }
        }
    }
    if candidates == 0 {
        return Vec::new();
    }

    let mut findings = Vec::new();
    if expiring == candidates {
        findings.push(Finding::new(
            Code::EverythingExpires,
            "",
            format!("the policy expires every image that stands on its own, {}", of_images(candidates)),
        ));
    } else if tagged > 0 && tagged_expiring == tagged {
        findings.push(Finding::new(
            Code::EveryTaggedImageExpires,
            "",
            format!("the policy expires every tagged image, {}", of_images(tagged)),
        ));
    }
    for (place, (rule, met)) in rules.iter().zip(&met).enumerate() {
        let earlier = rules.get(..place).unwrap_or_default();
        let never = never_matching(rule);
        if !never.is_empty() {
            findings.extend(never);
        } else if let Some(covering) = earlier.iter().find(|other| covers(other, rule)) {
            findings.push(unreachable(rule, covering));
        } else if met.identified == 0 {
            findings.push(matches_nothing(rule, met));
        } else if met.first == 0 {
            let by: Vec<String> = rules
                .iter()
                .enumerate()
                .filter(|(place, _)| met.taken_by & (1 << place) != 0)
                .map(|(_, rule)| rule.priority.to_string())
                .collect();
            findings.push(Finding::new(
                Code::RuleNeverActs,
                &*rule.pointer,
                format!(
                    "rule {} never acts here: {} it matches {} identified by rule {} first",
                    rule.priority,
                    if met.identified == 1 {
                        "the image".to_owned()
                    } else {
                        format!("all {} images", met.identified)
                    },
                    if met.identified == 1 { "is" } else { "are" },
                    crate::domain::text::reader::alternatives(&by),
                ),
            ));
        }
        if let Some((image, tag)) = met.example {
            findings.push(Finding::new(
                Code::OtherTagsExpire,
                &*rule.pointer,
                format!(
                    "rule {} expires {} with tags that it does not name, for example `{tag}` on {}: an image expires with \
                     all its tags",
                    rule.priority,
                    of_images(met.other_tags),
                    short_digest(&image.digest),
                ),
            ));
        }
        if let (Some(kept), Some(taken)) = (met.last_kept, met.first_taken)
            && kept.age_time() == taken.age_time()
        {
            findings.push(Finding::new(
                Code::TieDecidedByDigest,
                &*rule.pointer,
                format!(
                    "rule {} keeps {} and takes {}, which are of the same age: ECR does not say which of them goes, and \
                     here the digest that sorts first does",
                    rule.priority,
                    short_digest(&kept.digest),
                    short_digest(&taken.digest),
                ),
            ));
        }
    }
    findings
}

/// Warnings about a policy that hold in every repository: prefixes and patterns that no tag can match, and rules that can never
/// act because of earlier ones. ECR accepts such a policy, which then does less than it seems to.
#[must_use]
pub fn lint_alone(policy: &LifecyclePolicy) -> Vec<Finding> {
    let rules = policy.rules();
    let mut findings = Vec::new();
    for (place, rule) in rules.iter().enumerate() {
        let never = never_matching(rule);
        if never.is_empty()
            && let Some(covering) =
                rules.get(..place).unwrap_or_default().iter().find(|other| covers(other, rule))
        {
            findings.push(unreachable(rule, covering));
        }
        findings.extend(never);
    }
    findings
}

fn unreachable(rule: &Rule, covering: &Rule) -> Finding {
    Finding::new(
        Code::RuleUnreachable,
        &*rule.pointer,
        format!(
            "rule {} never acts, in any repository: rule {} comes first and identifies every image that this one does; give \
             the narrower rule the lower priority number",
            rule.priority, covering.priority
        ),
    )
}

/// The entries of a rule's list that no tag can match.
fn never_matching(rule: &Rule) -> Vec<Finding> {
    let TagSelection::Tagged(list) = &rule.tags else { return Vec::new() };
    let is_pattern = matches!(list, TagList::Patterns(_));
    let never = list.entries().iter().filter_map(|entry| Some((entry, why_no_tag(entry, is_pattern)?)));
    never
        .map(|(entry, why)| {
            let name = crate::domain::text::finding::quoted(entry);
            let message = format!("rule {} is for tags that cannot be: {name} {why}", rule.priority);
            Finding::new(Code::ListNeverMatches, &*rule.pointer, message)
        })
        .collect()
}

/// Why no tag begins with an entry, or matches it as a pattern. Tags have 1 to 128 letters, digits, `_`, `.` and `-`, and begin
/// with none of the last two (OCI distribution specification).
pub(crate) fn why_no_tag(entry: &str, is_pattern: bool) -> Option<String> {
    const MAX_TAG: usize = 128;
    let is_of_tags = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let is_known = |c: char| is_of_tags(c) || (is_pattern && c == '*');
    if let Some(character) = entry.chars().find(|c| !is_known(*c)) {
        return Some(match character {
            '*' => {
                "has a `*`, which stands for itself in a prefix and is in no tag; leave it out, or write a \
                    `tagPatternList`"
                    .to_owned()
            }
            '^' | '$' | '\\' | '[' | ']' | '(' | ')' | '+' | '?' | '|' | '{' | '}' => format!(
                "has `{character}`, which is in no tag: this is no regular expression; `*` in a `tagPatternList` stands for anything"
            ),
            '/' | ':' | '@' => {
                format!(
                    "has `{character}`, which is in no tag; write the tag alone, without repository and digest"
                )
            }
            character => {
                format!(
                    "has {}, which is in no tag",
                    crate::domain::text::finding::quoted(&character.to_string())
                )
            }
        });
    }
    if entry.starts_with(['.', '-']) {
        return Some("begins with a character that no tag begins with".to_owned());
    }
    let literal = entry.chars().filter(|c| *c != '*').count();
    (literal > MAX_TAG).then(|| format!("has {literal} characters, and a tag has at most {MAX_TAG}"))
}

fn matches_nothing(rule: &Rule, met: &Met<'_>) -> Finding {
    if let (TagSelection::Tagged(list), true) = (&rule.tags, met.partly > 0) {
        let entries: Vec<String> = list.entries().iter().map(|entry| format!("`{entry}`")).collect();
        return Finding::new(
            Code::ListMeansAll,
            &*rule.pointer,
            format!(
                "rule {} wants a tag for each of {} on one image, and no image here has them all; {} {} some of them: \
                 write a rule for each if any one is enough",
                rule.priority,
                entries.join(", "),
                of_images(met.partly),
                if met.partly == 1 { "has" } else { "have" },
            ),
        );
    }
    let what = match &rule.tags {
        TagSelection::Untagged => "there is no such untagged image",
        TagSelection::Any => "there is no such image",
        TagSelection::Tagged(_) => "no image has such tags",
    };
    Finding::new(
        Code::RuleMatchesNothing,
        &*rule.pointer,
        format!(
            "rule {} matches nothing here: {what} in the {} storage class",
            rule.priority,
            rule.limit.storage_class().as_str()
        ),
    )
}

fn of_images(number: usize) -> String {
    count(number as u64, "image")
}

/// Whether every image that `narrow` identifies, in any repository, is identified by `wide`.
fn covers(wide: &Rule, narrow: &Rule) -> bool {
    if wide.limit.storage_class() != narrow.limit.storage_class() {
        return false;
    }
    match (&wide.tags, &narrow.tags) {
        (TagSelection::Any, _) => true,
        (TagSelection::Tagged(wide), TagSelection::Tagged(narrow)) => {
            // A `*` of a prefix stands for itself: such a list matches nothing, and hides nothing.
            let has_star = |list: &TagList| matches!(list, TagList::Prefixes(all) if all.iter().any(|entry| entry.contains('*')));
            if has_star(wide) || has_star(narrow) {
                return false;
            }
            let narrow: Vec<String> = patterns(narrow).collect();
            // A `*` of the narrow pattern can only be matched by a `*` of the wide one, which takes any run.
            patterns(wide).all(|wide| narrow.iter().any(|narrow| Pattern::new(&wide).matches(narrow)))
        }
        _ => false,
    }
}

fn patterns(list: &TagList) -> impl Iterator<Item = String> + '_ {
    let star = if matches!(list, TagList::Prefixes(_)) { "*" } else { "" };
    list.entries().iter().map(move |entry| format!("{entry}{star}"))
}
