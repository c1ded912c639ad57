//! Random policies and repositories, small enough in alphabet, numbers and times that rules really meet the images:
//! tags match, ages tie, and limits fall exactly on an image.

use std::collections::{BTreeSet, HashSet};
use std::ops::RangeInclusive;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::string::string_regex;
use shared::domain::image::{Image, ImageStatus, ManifestKind, Relations};
use shared::domain::text::instant::Instant;

use crate::document::{Change, Doc};

/// The most rules that most generated policies have.
const FEW_RULES: usize = 8;
/// The most rules that a policy can have.
const MAX_RULES: usize = 50;
/// Microseconds in a day.
const DAY: i64 = 86_400_000_000;

/// The present in all tests.
///
/// # Panics
///
/// Never: the time is a constant.
#[must_use]
pub fn now() -> Instant {
    Instant::parse("2026-11-23T00:00:00Z").expect("a time")
}

/// The selection of a rule, before the rules of one policy are made compatible.
#[derive(Debug, Clone, PartialEq)]
enum Tags {
    Untagged,
    Any,
    Prefixes(Vec<String>),
    Patterns(Vec<String>),
}

impl Tags {
    /// The key that distinguishes the rules of one storage class.
    fn key(&self) -> (u8, BTreeSet<String>) {
        match self {
            Self::Untagged => (0, BTreeSet::new()),
            Self::Any => (1, BTreeSet::new()),
            Self::Prefixes(entries) => (2, entries.iter().cloned().collect()),
            Self::Patterns(entries) => (3, entries.iter().cloned().collect()),
        }
    }
}

#[derive(Debug, Clone)]
struct Rule {
    tags: Tags,
    count_type: &'static str,
    count_number: u64,
    /// Whether to archive where the count type allows both.
    archives: bool,
    description: Option<String>,
    /// Whether to write optional fields, or the other of two spellings.
    is_verbose: bool,
}

impl Rule {
    fn is_in_archive(&self) -> bool {
        self.count_type == "sinceImageTransitioned"
    }

    fn archives(&self) -> bool {
        match self.count_type {
            "sinceImagePulled" => true,
            "sinceImageTransitioned" => false,
            _ => self.archives,
        }
    }

    /// The tag list under its name.
    fn list(&self) -> Option<(&'static str, Doc)> {
        match &self.tags {
            Tags::Untagged | Tags::Any => None,
            Tags::Prefixes(entries) => Some(("tagPrefixList", Doc::texts(entries.clone()))),
            Tags::Patterns(entries) => Some(("tagPatternList", Doc::texts(entries.clone()))),
        }
    }

    fn tag_status(&self) -> Doc {
        Doc::text(match self.tags {
            Tags::Untagged => "untagged",
            Tags::Any => "any",
            Tags::Prefixes(_) | Tags::Patterns(_) => "tagged",
        })
    }

    /// The rule in ECR's document.
    fn document(&self, priority: u64) -> Doc {
        let mut rule = vec![("rulePriority", Doc::number(priority))];
        if let Some(text) = &self.description {
            rule.push(("description", Doc::text(text.as_str())));
        }
        let mut selection = vec![("tagStatus", self.tag_status())];
        selection.extend(self.list());
        if self.is_in_archive() {
            selection.push(("storageClass", Doc::text("archive")));
        } else if self.is_verbose {
            selection.push(("storageClass", Doc::text("standard")));
        }
        selection.push(("countType", Doc::text(self.count_type)));
        if self.count_type != "imageCountMoreThan" {
            selection.push(("countUnit", Doc::text("days")));
        }
        selection.push(("countNumber", Doc::number(self.count_number)));
        rule.push(("selection", Doc::object(selection)));
        let action = if self.archives() {
            vec![("type", Doc::text("transition")), ("targetStorageClass", Doc::text("archive"))]
        } else {
            vec![("type", Doc::text("expire"))]
        };
        rule.push(("action", Doc::object(action)));
        Doc::object(rule)
    }

    /// The rule in the simple model.
    fn simple(&self) -> Doc {
        let mut rule = Vec::new();
        if let Some(text) = &self.description {
            rule.push(("description", Doc::text(text.as_str())));
        }
        if self.is_verbose {
            rule.push(("tagStatus", self.tag_status()));
            rule.extend(self.list());
        } else {
            let selection = match self.list() {
                Some(list) => Doc::object([list]),
                None => self.tag_status(),
            };
            rule.push(("selection", selection));
        }
        let limit = match self.count_type {
            "imageCountMoreThan" => "maximumNumberOfImages",
            "sinceImagePushed" => "maximumAgeLimit",
            "sinceImagePulled" => "maximumDaysSincePull",
            _ => "maximumDaysInArchive",
        };
        rule.push((limit, Doc::number(self.count_number)));
        if self.archives() {
            rule.push(("action", Doc::text("archive")));
        } else if self.is_verbose {
            rule.push(("action", Doc::text("expire")));
        }
        Doc::object(rule)
    }
}

/// Strings of these letters, with a length of this range.
fn letters(alphabet: &str, length: RangeInclusive<usize>) -> impl Strategy<Value = String> + use<> {
    let alphabet: Vec<char> = alphabet.chars().collect();
    vec(select(alphabet), length).prop_map(String::from_iter)
}

/// Strings that match a regular expression, which is read once and not, as that of a `&str`, for every string.
fn text(regex: &str) -> impl Strategy<Value = String> + use<> {
    string_regex(regex).expect("a regular expression")
}

/// Text that means something else to a careless reader or writer of JSON or YAML, and any other text.
fn wild_text() -> impl Strategy<Value = String> {
    const WILD: [&str; 24] = [
        "1",
        "1.0",
        "0x1f",
        "1e3",
        "true",
        "no",
        "null",
        "~",
        "- a",
        "a: b",
        "a #b",
        "#",
        "*",
        "&a",
        "!a",
        "%a",
        "|",
        ">",
        "'",
        "\"",
        "\\",
        " a ",
        "a\nb\n",
        "2026-11-23",
    ];
    prop_oneof![
        2 => letters("abcxyz ", 1..=12),
        2 => select(&WILD[..]).prop_map(str::to_owned),
        1 => text("\\PC{1,12}"),
        1 => text("(?s).{1,6}"),
    ]
}

fn prefix() -> impl Strategy<Value = String> {
    prop_oneof![2 => letters("ab", 1..=2), 1 => letters("abc1-", 1..=2)]
}

/// A pattern with up to four stars.
fn pattern() -> impl Strategy<Value = String> {
    let pieces = vec(prop_oneof![2 => letters("abc1-", 0..=1), 1 => letters("ab", 0..=2)], 1..=5);
    prop_oneof![
        1 => Just("*".to_owned()),
        6 => pieces.prop_map(|pieces| {
            let pattern = pieces.join("*");
            if pattern.is_empty() { "*".to_owned() } else { pattern }
        }),
    ]
}

/// The limit of rules: a count type and a count number.
fn limit() -> impl Strategy<Value = (&'static str, u64)> {
    prop_oneof![
        3 => (Just("imageCountMoreThan"), prop_oneof![4 => 1..=4_u64, 1 => 5..=40_u64]),
        2 => (Just("sinceImagePushed"), 1..=6_u64),
        1 => (Just("sinceImagePulled"), 1..=6_u64),
        2 => (Just("sinceImageTransitioned"), 90..=95_u64),
    ]
}

/// Up to `most` rules that go together; with `wild` texts for how they are written, without for what they match.
fn rules(most: usize, wild: bool) -> impl Strategy<Value = Vec<Rule>> {
    let (prefix, pattern, description) = if wild {
        let wild_pattern = wild_text().prop_filter("stars", |text| text.matches('*').count() <= 4);
        (
            prop_oneof![prefix(), wild_text()].boxed(),
            prop_oneof![pattern(), wild_pattern].boxed(),
            option::of(prop_oneof![4 => wild_text(), 1 => Just(String::new())]).boxed(),
        )
    } else {
        (prefix().boxed(), pattern().boxed(), Just(None).boxed())
    };
    let tags = prop_oneof![
        2 => Just(Tags::Untagged),
        2 => Just(Tags::Any),
        4 => vec(prefix, 1..=3).prop_map(Tags::Prefixes),
        4 => vec(pattern, 1..=3).prop_map(Tags::Patterns),
    ];
    let rule = (tags, limit(), any::<bool>(), description, any::<bool>()).prop_map(
        |(tags, (count_type, count_number), archives, description, is_verbose)| Rule {
            tags,
            count_type,
            count_number,
            archives,
            description,
            is_verbose,
        },
    );
    vec(rule, 1..=most).prop_map(|mut rules| {
        let mut seen = HashSet::new();
        rules.retain(|rule| seen.insert((rule.is_in_archive(), rule.tags.key())));
        rules
    })
}

/// A valid policy document whose rules match the images of [`repository`].
pub fn policy() -> impl Strategy<Value = Doc> {
    document(FEW_RULES, false)
}

/// A valid policy document with texts of all kinds.
pub fn wild_policy() -> impl Strategy<Value = Doc> {
    document(FEW_RULES, true)
}

/// Like [`policy`], with up to the 50 rules that a policy can have.
pub fn crowded_policy() -> impl Strategy<Value = Doc> {
    document(MAX_RULES, false)
}

fn document(most: usize, wild: bool) -> impl Strategy<Value = Doc> {
    let rules = rules(most, wild);
    // Numbers with gaps between them: priorities are unique and need not be consecutive.
    let step = prop_oneof![
        8 => Just(1),
        3 => 1..=9_u64,
        1 => 1..=u64::MAX / MAX_RULES as u64,
    ];
    let priorities = prop_oneof![vec(step, most), Just(vec![1; most])].prop_map(|steps| {
        let priority = |last: &mut u64, step| {
            *last += step;
            Some(*last)
        };
        steps.into_iter().scan(0, priority).collect::<Vec<u64>>()
    });
    (rules, priorities, any::<Index>()).prop_map(|(mut rules, priorities, first)| {
        // An `any` rule has the highest number of its storage class, not of the policy.
        for class in [false, true] {
            let of_class = |rule: &Rule| rule.is_in_archive() == class;
            let any = rules.iter().position(|rule| of_class(rule) && rule.tags == Tags::Any);
            if let (Some(any), Some(last)) = (any, rules.iter().rposition(of_class)) {
                rules.swap(any, last);
            }
        }
        let mut documents: Vec<Doc> =
            rules.iter().zip(priorities).map(|(rule, priority)| rule.document(priority)).collect();
        // Rules need not be written in the order of their priorities.
        let first = first.index(documents.len());
        documents.rotate_left(first);
        Doc::object([("rules", Doc::List(documents))])
    })
}

/// The text of a valid policy in the simple model, in JSON or YAML.
pub fn simple_policy() -> impl Strategy<Value = String> {
    let rules = prop_oneof![
        8 => rules(FEW_RULES, true).prop_map(Some),
        1 => Just(None),
    ];
    let skip = prop_oneof![4 => Just(None), 2 => Just(Some(false)), 1 => Just(Some(true))];
    (rules, skip, any::<bool>(), any::<bool>()).prop_map(|(rules, skip, is_wrapped, is_yaml)| {
        let mut fields = Vec::new();
        if let Some(skip) = skip {
            fields.push(("skip", Doc::Bool(skip)));
        }
        if let Some(rules) = rules {
            fields.push(("rules", Doc::List(rules.iter().map(Rule::simple).collect())));
        }
        let mut policy = Doc::object(fields);
        if is_wrapped {
            policy = Doc::object([("lifecyclePolicy", policy)]);
        }
        if is_yaml { policy.to_yaml() } else { policy.to_string() }
    })
}

/// Documents that may or may not be valid: valid ones with a slip that people make and up to three changes anywhere.
pub fn mutated_policy() -> impl Strategy<Value = Doc> {
    let slips = vec((any::<Index>(), slip()), 0..=1);
    let changes = prop_oneof![1 => Just(Vec::new()), 2 => vec((any::<Index>(), change()), 1..=3)];
    let policy = prop_oneof![policy(), wild_policy()];
    (policy, slips, changes).prop_map(|(mut policy, slips, changes)| {
        for (rule, (part, field, value)) in slips {
            let rules = policy.get_mut("rules").expect("rules").items_mut();
            let rule = rule.index(rules.len());
            let fields = match part {
                Some(part) => rules[rule].get_mut(part).expect("a part of a rule").fields_mut(),
                None => rules[rule].fields_mut(),
            };
            match fields.iter_mut().find(|(name, _)| name == field) {
                Some((_, old)) => *old = value,
                None => fields.push((field.to_owned(), value)),
            }
        }
        for (at, change) in changes {
            if !policy.is_empty() {
                policy.change(at.index(policy.len()), &change);
            }
        }
        policy
    })
}

/// A value that belongs to the field, if perhaps not to the rest of the rule: the part of the rule that the field is
/// in, its name and the value.
fn slip() -> impl Strategy<Value = (Option<&'static str>, &'static str, Doc)> {
    let selection = |field, values: &[&str]| {
        let values: Vec<Doc> = values.iter().map(|value| Doc::text(*value)).collect();
        select(values).prop_map(move |value| (Some("selection"), field, value))
    };
    prop_oneof![
        (1..=3_u64).prop_map(|priority| (None, "rulePriority", Doc::number(priority))),
        select(&[0, 1, 89, 90][..]).prop_map(|count| (Some("selection"), "countNumber", Doc::number(count))),
        selection(
            "countType",
            &["imageCountMoreThan", "sinceImagePushed", "sinceImagePulled", "sinceImageTransitioned"]
        ),
        selection("countUnit", &["days"]),
        selection("tagStatus", &["tagged", "untagged", "any"]),
        selection("storageClass", &["standard", "archive"]),
        select(&["a", "****", "*****", "a*b*c*d*e*f", ""][..]).prop_flat_map(|entry| {
            select(&["tagPrefixList", "tagPatternList"][..])
                .prop_map(move |list| (Some("selection"), list, Doc::texts([entry])))
        }),
        select(&["expire", "transition"][..]).prop_map(|kind| (Some("action"), "type", Doc::text(kind))),
        Just((Some("action"), "targetStorageClass", Doc::text("archive"))),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    const KEYS: [&str; 16] = [
        "rules",
        "rulePriority",
        "description",
        "selection",
        "action",
        "tagStatus",
        "tagPrefixList",
        "tagPatternList",
        "storageClass",
        "countType",
        "countUnit",
        "countNumber",
        "type",
        "targetStorageClass",
        "TagStatus",
        "a/b~c",
    ];
    const WORDS: [&str; 18] = [
        "tagged",
        "untagged",
        "any",
        "standard",
        "archive",
        "imageCountMoreThan",
        "sinceImagePushed",
        "sinceImagePulled",
        "sinceImageTransitioned",
        "days",
        "expire",
        "transition",
        "Expire",
        "hours",
        "",
        "*",
        "*****",
        "a",
    ];
    const NUMBERS: [&str; 14] = [
        "0",
        "1",
        "2",
        "7.0",
        "90e0",
        "89",
        "90",
        "1.5",
        "-1",
        "-0",
        "1e30",
        "9007199254740993",
        "18446744073709551615",
        "18446744073709551616",
    ];
    let key = || select(&KEYS[..]).prop_map(str::to_owned);
    let word = || select(&WORDS[..]).prop_map(str::to_owned);
    let value = || {
        prop_oneof![
            1 => Just(Doc::Null),
            1 => any::<bool>().prop_map(Doc::Bool),
            4 => select(&NUMBERS[..]).prop_map(|number| Doc::Number(number.to_owned())),
            6 => word().prop_map(Doc::Text),
            2 => vec(prop_oneof![4 => word().prop_map(Doc::Text), 1 => Just(Doc::Null)], 0..=2).prop_map(Doc::List),
            1 => Just(Doc::object([("type", Doc::text("transition")), ("targetStorageClass", Doc::text("archive"))])),
            1 => Just(Doc::Object(Vec::new())),
        ]
    };
    prop_oneof![
        3 => Just(Change::Remove),
        2 => Just(Change::Duplicate),
        6 => value().prop_map(Change::Replace),
        2 => key().prop_map(Change::Rename),
        3 => (key(), value()).prop_map(|(key, value)| Change::Add(key, value)),
    ]
}

/// The images of one repository, how they relate, and which of them are in use.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Every image once, in no particular order.
    pub images: Vec<Image>,
    /// Image indexes with their children, artifacts with their subjects; some of images that are not there.
    pub relations: Relations,
    /// Digests of images that nothing may happen to.
    pub in_use: BTreeSet<String>,
}

/// A random number as many small ones. A strategy for each of them would take nearly all the time of a test.
///
/// Zero, to which a failing case is reduced, rolls zeros only; so what is usual comes first in every choice.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        let rolled = self.0 % sides;
        self.0 /= sides;
        rolled
    }

    /// True with a probability of `times` in twenty.
    fn happens(&mut self, times: u64) -> bool {
        self.roll(20) >= 20 - times
    }

    /// Microseconds before the present: `days` to `days + span - 1` whole days, sometimes a microsecond off.
    fn ago(&mut self, days: i64, span: u64) -> i64 {
        let days = days + self.roll(span) as i64;
        let off = match self.roll(8) {
            6 => 1,
            7 => -1,
            _ => 0,
        };
        days * DAY + off
    }

    fn tag(&mut self) -> Box<str> {
        let alphabet: &[char] = if self.roll(3) < 2 { &['a', 'b'] } else { &['a', 'b', 'c', '1', '-'] };
        (0..=self.roll(4))
            .map(|_| alphabet[self.roll(alphabet.len() as u64) as usize])
            .collect::<String>()
            .into()
    }
}

/// The digest of the image at a place: the digests of some differ in their first characters, of others in their last,
/// and the order of digests is not the order of places.
fn digest(place: usize) -> String {
    let scrambled = (place as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    if place.is_multiple_of(2) {
        format!("sha256:{scrambled:016x}{:048x}", 0)
    } else {
        format!("sha256:{scrambled:064x}")
    }
}

/// The random numbers that one image is made from: its tags, its fields, its relations.
type Rolls = (u64, u64, u64);

/// A repository of up to 200 images.
pub fn repository() -> impl Strategy<Value = Repository> {
    let rolls = || any::<Rolls>();
    let rolls = prop_oneof![
        6 => vec(rolls(), 0..=12),
        3 => vec(rolls(), 13..=50),
        1 => vec(rolls(), 51..=200),
    ];
    (rolls, any::<u64>()).prop_map(|(rolls, elsewhere)| {
        let count = rolls.len();
        // Two more than there are: relations to images that are not there.
        let somewhere = |dice: &mut Dice| digest(dice.roll(count as u64 + 2) as usize);
        let somewheres =
            |dice: &mut Dice| -> Vec<String> { (0..dice.roll(5)).map(|_| somewhere(dice)).collect() };
        let mut repository = Repository {
            images: Vec::with_capacity(count),
            relations: Relations::default(),
            in_use: BTreeSet::new(),
        };
        for (place, (tags, fields, relations)) in rolls.into_iter().enumerate() {
            let (mut tags, mut fields, mut relations) = (Dice(tags), Dice(fields), Dice(relations));
            let digest_here = digest(place);
            let kind = match relations.roll(18) {
                0..14 => ManifestKind::Manifest,
                14 => ManifestKind::Index,
                _ => {
                    repository.relations.index(&digest_here, somewheres(&mut relations));
                    ManifestKind::Index
                }
            };
            match relations.roll(20) {
                0..15 => {}
                // A subject further ahead: no circles.
                15..19 => {
                    let distance = 1 + relations.roll(6) as usize;
                    if let Some(subject) = place.checked_sub(distance) {
                        repository.relations.refer(&digest_here, &digest(subject));
                    }
                }
                _ => {
                    let subject = somewhere(&mut relations);
                    repository.relations.refer(&digest_here, &subject);
                }
            }
            if relations.happens(2) {
                repository.in_use.insert(digest_here.clone());
            }
            let mut names: Vec<Box<str>> = (0..tags.roll(5)).map(|_| tags.tag()).collect();
            // Tags that say what the image is about, alone or beside others.
            let (about, is_alone) = match relations.roll(20) {
                0..16 => (0, false),
                16..18 => (1, true),
                18 => (2, true),
                _ => (1, false),
            };
            if is_alone {
                names.clear();
            }
            for suffix in [".sig", ""].into_iter().take(about) {
                let subject = somewhere(&mut relations);
                names.push(format!("{}{suffix}", subject.replace(':', "-")).into());
            }
            let now = now();
            let time = |ago: i64| Instant::from_micros(now.micros() - ago).expect("a time of this century");
            repository.images.push(Image {
                digest: digest_here.into(),
                tags: names.into(),
                status: match fields.roll(20) {
                    0..14 => ImageStatus::Active,
                    14..18 => ImageStatus::Archived,
                    18 => ImageStatus::Activating,
                    _ => ImageStatus::Unknown,
                },
                pushed_at: time(fields.ago(-1, 9)),
                last_pulled_at: fields.happens(10).then(|| time(fields.ago(0, 9))),
                last_archived_at: fields.happens(12).then(|| time(fields.ago(88, 10))),
                last_activated_at: fields.happens(3).then(|| time(fields.ago(0, 8))),
                size_in_bytes: 1 + fields.roll(9),
                kind,
            });
        }
        // An image index that is gone holds nothing.
        let held = somewheres(&mut Dice(elsewhere));
        repository.relations.index(&digest(count), held);
        repository
    })
}
