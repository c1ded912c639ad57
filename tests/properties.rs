//! What holds for every policy and every repository, tried on random ones.

use std::collections::{BTreeMap, HashSet};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use shared::domain::enforcement::in_use_protection::{conflicts, protected, tagging};
use shared::domain::enforcement::plan::plan;
use shared::domain::enforcement::policy_set::{Apply, Entry, Keep, Limits};
use shared::domain::enforcement::unchanged::{PlannedRepository, reference_hash};
use shared::domain::image::layers::{Layers, Location};
use shared::domain::image::listing::RepositoryName;
use shared::domain::image::{Image, ImageIndex, ImageStatus, ManifestKind, RepositoryImages};
use shared::domain::lifecycle::evaluate::Verdict;
use shared::domain::lifecycle::{
    Action, Evaluation, LifecyclePolicy, Limit, Passes, PolicySource, Referrers, TagList, TagSelection,
    evaluate, evaluate_with, validate,
};
use shared::domain::text::instant::Instant;
use shared::domain::usage::{Usage, UsedImage, UsedImages};
use tests::document::Doc;
use tests::reference::{self, Acted};
use tests::strategy::{self, Repository, now};

/// The number of cases per property, multiplied as `PROPTEST_CASES` is more than proptest's usual 256. Nothing
/// is written next to the sources when one fails.
fn cases(cases: u32) -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: cases.saturating_mul(usual.cases.div_ceil(256)),
        failure_persistence: None,
        ..usual
    }
}

fn parse(document: &Doc) -> LifecyclePolicy {
    LifecyclePolicy::parse(&document.to_string())
        .unwrap_or_else(|findings| panic!("{document}\n{findings:?}"))
}

/// What the real evaluator says of a repository.
struct Outcome {
    images: RepositoryImages,
    evaluation: Evaluation,
}

impl Outcome {
    fn of(policy: &LifecyclePolicy, repository: &Repository, passes: Passes) -> Self {
        Self::of_listing(policy, repository.images.clone(), repository, passes)
    }

    /// The same with artifacts about others ranked, or not.
    fn with(policy: &LifecyclePolicy, repository: &Repository, passes: Passes, referrers: Referrers) -> Self {
        let Self { images, .. } = Self::of(policy, repository, passes);
        let in_use = in_use(repository, &images);
        let evaluation = evaluate_with(Some(policy), &images, &in_use, now(), passes, referrers);
        Self { images, evaluation }
    }

    /// The images as listed, in the rest of the repository.
    fn of_listing(
        policy: &LifecyclePolicy,
        listed: Vec<Image>,
        repository: &Repository,
        passes: Passes,
    ) -> Self {
        let images = RepositoryImages::new(listed, &repository.relations);
        let in_use = in_use(repository, &images);
        let evaluation = evaluate(Some(policy), &images, &in_use, now(), passes);
        assert_eq!(evaluation.verdicts().len(), images.images().len());
        Self { images, evaluation }
    }

    fn verdicts(&self) -> impl Iterator<Item = (&Image, Verdict)> {
        self.images.images().iter().zip(self.evaluation.verdicts().iter().copied())
    }

    fn digest(&self, place: ImageIndex) -> &str {
        &self.images.images()[place as usize].digest
    }

    /// In the words of the reference.
    fn acted(&self, policy: &LifecyclePolicy) -> BTreeMap<String, Acted> {
        self.verdicts()
            .filter_map(|(image, verdict)| {
                let rule = &policy.rules()[verdict.acting_rule()?];
                let acted = Acted {
                    priority: rule.priority,
                    action: rule.action,
                    pass: verdict.pass()?,
                    follows: match verdict {
                        Verdict::Follows { subject, .. } => Some(self.digest(subject).to_owned()),
                        _ => None,
                    },
                };
                Some((image.digest.to_string(), acted))
            })
            .collect()
    }

    /// Every verdict by digest, with the digests that it names in place of places.
    fn explained_verdicts(&self) -> BTreeMap<String, (Verdict, Option<String>)> {
        self.verdicts()
            .map(|(image, verdict)| {
                let (verdict, named) = match verdict {
                    Verdict::Follows { rule, pass, subject } => {
                        (Verdict::Follows { rule, pass, subject: 0 }, Some(subject))
                    }
                    Verdict::HeldByIndex { index } => (Verdict::HeldByIndex { index: 0 }, Some(index)),
                    Verdict::HeldBySubject { subject } => {
                        (Verdict::HeldBySubject { subject: 0 }, Some(subject))
                    }
                    verdict => (verdict, None),
                };
                (image.digest.to_string(), (verdict, named.map(|place| self.digest(place).to_owned())))
            })
            .collect()
    }
}

fn in_use(repository: &Repository, images: &RepositoryImages) -> HashSet<ImageIndex> {
    (0..)
        .zip(images.images())
        .filter(|(_, image)| repository.in_use.contains(&*image.digest))
        .map(|(place, _)| place)
        .collect()
}

fn by_the_reference(
    policy: &LifecyclePolicy,
    repository: &Repository,
    until_stable: bool,
    ranked: bool,
) -> BTreeMap<String, Acted> {
    let in_use: HashSet<&str> = repository.in_use.iter().map(String::as_str).collect();
    let Repository { images, relations, .. } = repository;
    reference::evaluate(policy, images, relations, &in_use, now(), until_stable, ranked)
}

fn assert_does_what_the_reference_does(
    policy: &LifecyclePolicy,
    repository: &Repository,
) -> Result<(), TestCaseError> {
    for (passes, referrers) in PASSES.into_iter().flat_map(|passes| WAYS.map(|referrers| (passes, referrers)))
    {
        let outcome = Outcome::with(policy, repository, passes, referrers);
        let ranked = referrers == Referrers::Ranked;
        let expected = by_the_reference(policy, repository, passes == Passes::UntilStable, ranked);
        let last_pass = expected.values().map(|acted| acted.pass).max().unwrap_or(0);
        prop_assert_eq!(outcome.acted(policy), expected);
        prop_assert_eq!(outcome.evaluation.passes(), last_pass);
    }
    Ok(())
}

const PASSES: [Passes; 2] = [Passes::One, Passes::UntilStable];
const WAYS: [Referrers; 2] = [Referrers::Follow, Referrers::Ranked];

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn the_evaluator_does_what_the_reference_does(
        document in strategy::policy(),
        repository in strategy::repository(),
    ) {
        assert_does_what_the_reference_does(&parse(&document), &repository)?;
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn a_policy_has_1_to_50_rules_and_at_most_30_720_characters(
        count in prop_oneof![Just(0), Just(1), 49..=52_usize],
        length in 30_715..=30_725_usize,
        padding in select(&["a", "é", "\n"][..]),
    ) {
        let rules = (1..=count).map(|number| {
            Doc::object([
                ("rulePriority", Doc::number(number as u64)),
                ("description", Doc::text("")),
                (
                    "selection",
                    Doc::object([
                        ("tagStatus", Doc::text("tagged")),
                        ("tagPrefixList", Doc::texts([number.to_string()])),
                        ("countType", Doc::text("imageCountMoreThan")),
                        ("countNumber", Doc::number(1)),
                    ]),
                ),
                ("action", Doc::object([("type", Doc::text("expire"))])),
            ])
        });
        let mut document = Doc::object([("rules", Doc::List(rules.collect()))]);
        let missing = length - document.to_string().chars().count();
        if let Some(first) = document.get_mut("rules").unwrap().items_mut().first_mut() {
            // A line break takes two characters, as all of the text that ECR gets.
            let width = if padding == "\n" { 2 } else { 1 };
            *first.get_mut("description").unwrap() = Doc::text(padding.repeat(missing.div_ceil(width)));
        }
        let text = document.to_string();
        let findings = validate(&text);
        let is_good = (1..=50).contains(&count) && text.chars().count() <= 30_720;
        prop_assert_eq!(findings.is_empty(), is_good, "{:?}", findings);
        prop_assert_eq!(reference::accepts(&document), is_good);
        if let Ok(policy) = LifecyclePolicy::parse(&text) {
            assert_is_stable(&policy)?;
        }
    }

    #[test]
    fn the_evaluator_does_what_the_reference_does_with_many_rules(
        document in strategy::crowded_policy(),
        repository in strategy::repository(),
    ) {
        assert_does_what_the_reference_does(&parse(&document), &repository)?;
    }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn only_the_first_rule_that_identifies_an_image_acts_on_it(
        document in strategy::policy(),
        repository in strategy::repository(),
    ) {
        let policy = parse(&document);
        for passes in PASSES {
            let outcome = Outcome::of(&policy, &repository, passes);
            for (image, verdict) in outcome.verdicts() {
                match verdict {
                    Verdict::Marked { rule, .. } | Verdict::HeldByRule { rule, .. } => {
                        let first = policy.rules().iter().position(|rule| reference::identifies(rule, image));
                        prop_assert_eq!(first, Some(usize::from(rule)), "{:?}", image);
                    }
                    Verdict::Follows { rule, pass, subject } => {
                        // By the rule that acts on its subject, in the same pass, and so by one only.
                        let leader = outcome.evaluation.verdicts()[subject as usize];
                        prop_assert_eq!(leader.acting_rule(), Some(usize::from(rule)));
                        prop_assert_eq!(leader.pass(), Some(pass));
                        prop_assert_eq!(
                            repository.relations.subject_of(&image.digest),
                            Some(outcome.digest(subject))
                        );
                    }
                    Verdict::NotIdentified => {
                        prop_assert!(!policy.rules().iter().any(|rule| reference::identifies(rule, image)));
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn a_rank_is_one_more_than_the_younger_images_that_the_rule_counts(
        document in strategy::policy(),
        repository in strategy::repository(),
    ) {
        let policy = parse(&document);
        let outcome = Outcome::of(&policy, &repository, Passes::One);
        // Children of image indexes, and artifacts about others, are not counted.
        let is_counted = |image: &Image| {
            let is_other = |digest: &str| digest != &*image.digest;
            let is_child = repository.images.iter().any(|index| {
                is_other(&index.digest)
                    && repository
                        .relations
                        .children_of(&index.digest)
                        .is_some_and(|children| children.contains(&image.digest))
            });
            let subject = repository.relations.subject_of(&image.digest).filter(|subject| is_other(subject));
            let has_subject =
                subject.is_some_and(|subject| repository.images.iter().any(|image| &*image.digest == subject));
            !is_child && !has_subject
        };
        let counted: Vec<&Image> = repository.images.iter().filter(|image| is_counted(image)).collect();
        for (image, verdict) in outcome.verdicts() {
            if let Verdict::Marked { rule, rank, .. } | Verdict::HeldByRule { rule, rank } = verdict {
                let rule = &policy.rules()[usize::from(rule)];
                let expected = match rule.limit {
                    Limit::ImageCountMoreThan(_) => {
                        1 + counted
                            .iter()
                            .filter(|other| reference::identifies(rule, other))
                            .filter(|other| reference::is_younger(other, image))
                            .count()
                    }
                    _ => 0,
                };
                prop_assert_eq!(rank as usize, expected, "{:?}", image);
            }
        }
    }

    #[test]
    fn a_rule_of_lower_priority_changes_nothing_that_earlier_rules_do(
        document in strategy::policy(),
        repository in strategy::repository(),
    ) {
        let policy = parse(&document);
        let whole = Outcome::of(&policy, &repository, Passes::One).acted(&policy);
        for last in policy.rules() {
            let mut document = document.clone();
            document.get_mut("rules").unwrap().items_mut().retain(|rule| {
                let Some(Doc::Number(priority)) = rule.get("rulePriority") else { return false };
                priority.parse::<u64>().unwrap() <= last.priority
            });
            let part = parse(&document);
            let mut expected = whole.clone();
            expected.retain(|_, acted| acted.priority <= last.priority);
            prop_assert_eq!(Outcome::of(&part, &repository, Passes::One).acted(&part), expected);
        }
    }

    #[test]
    fn the_order_of_the_images_does_not_matter(
        document in strategy::policy(),
        (repository, listed) in strategy::repository().prop_flat_map(|repository| {
            let mut listed = repository.images.clone();
            // Pages that overlap list an image again, perhaps with other tags.
            for again in repository.images.iter().step_by(5) {
                let mut again = again.clone();
                again.tags = again.tags.iter().skip(1).cloned().collect();
                listed.push(again);
            }
            (Just(repository), Just(listed).prop_shuffle())
        }),
    ) {
        let policy = parse(&document);
        for passes in PASSES {
            let outcome = Outcome::of(&policy, &repository, passes);
            let shuffled = Outcome::of_listing(&policy, listed.clone(), &repository, passes);
            prop_assert_eq!(outcome.explained_verdicts(), shuffled.explained_verdicts());
        }
    }

    #[test]
    fn an_image_in_use_is_never_acted_on(
        document in strategy::policy(),
        mut repository in strategy::repository(),
        also_in_use in vec(any::<Index>(), 0..=8),
    ) {
        let policy = parse(&document);
        // Of those that would go, so that there is something to hold back.
        let mut free = repository.clone();
        free.in_use.clear();
        let would_go = Outcome::of(&policy, &free, Passes::UntilStable).acted(&policy);
        if !would_go.is_empty() {
            let would_go: Vec<&String> = would_go.keys().collect();
            repository
                .in_use
                .extend(also_in_use.iter().map(|at| (*at.get(&would_go)).clone()));
        }
        for passes in PASSES {
            let acted = Outcome::of(&policy, &repository, passes).acted(&policy);
            for digest in &repository.in_use {
                prop_assert!(!acted.contains_key(digest), "{}", digest);
            }
        }
        // And it holds back nothing but itself and the artifacts about it, since it still counts.
        let held_back = |digest: &str| {
            let chain = std::iter::successors(Some(digest), |digest| repository.relations.subject_of(digest));
            // Circles are never acted on; the bound only ends them.
            chain.take(repository.images.len() + 1).any(|digest| repository.in_use.contains(digest))
        };
        let mut without_use = Outcome::of(&policy, &free, Passes::One).acted(&policy);
        without_use.retain(|digest, _| !held_back(digest));
        let mut with_use = Outcome::of(&policy, &repository, Passes::One).acted(&policy);
        with_use.retain(|digest, _| !held_back(digest));
        prop_assert_eq!(with_use, without_use);
    }

    #[test]
    fn an_image_that_is_being_restored_is_never_acted_on(
        document in strategy::policy(),
        repository in strategy::repository(),
    ) {
        let policy = parse(&document);
        let outcome = Outcome::of(&policy, &repository, Passes::UntilStable);
        for (image, verdict) in outcome.verdicts() {
            if matches!(image.status, ImageStatus::Activating | ImageStatus::Unknown) {
                prop_assert_eq!(verdict.acting_rule(), None, "{:?}", image);
            }
        }
    }

    #[test]
    fn an_image_that_is_being_restored_changes_nothing_for_others(
        document in strategy::policy(),
        repository in strategy::repository(),
    ) {
        let policy = parse(&document);
        // One that lists others, or that others are about, holds them.
        let mut holders: HashSet<String> = HashSet::new();
        let all = RepositoryImages::new(repository.images.clone(), &repository.relations);
        for (_, holder) in all.parents().iter().chain(all.subjects()) {
            holders.insert(all.images()[*holder as usize].digest.to_string());
        }
        let mut without = repository.clone();
        without.images.retain(|image| {
            !matches!(image.status, ImageStatus::Activating | ImageStatus::Unknown)
                || holders.contains(&*image.digest)
        });
        for passes in PASSES {
            prop_assert_eq!(
                Outcome::of(&policy, &repository, passes).acted(&policy),
                Outcome::of(&policy, &without, passes).acted(&policy)
            );
        }
    }

    #[test]
    fn a_policy_does_nothing_more_to_what_it_leaves(
        document in strategy::policy(),
        repository in strategy::repository(),
    ) {
        let policy = parse(&document);
        let acted = Outcome::of(&policy, &repository, Passes::UntilStable).acted(&policy);
        // Only where nothing is archived: an archived image is another one afterwards.
        prop_assume!(acted.values().all(|acted| acted.action == Action::Expire));
        let mut left = repository;
        left.images.retain(|image| !acted.contains_key(&*image.digest));
        let again = Outcome::of(&policy, &left, Passes::One).acted(&policy);
        prop_assert_eq!(again, BTreeMap::new());
    }

    #[test]
    fn compiling_the_simple_model_and_decompiling_are_inverses(text in strategy::simple_policy()) {
        let source = PolicySource::parse(&text);
        let Ok(PolicySource::Simple(simple, compiled)) = source else {
            return Err(TestCaseError::fail(format!("{text}\n{source:?}")));
        };
        prop_assert_eq!(simple.is_skip(), compiled.is_none());
        let yaml = simple.to_yaml();
        let again = PolicySource::parse(&yaml);
        prop_assert_eq!(again, Ok(PolicySource::Simple(simple.clone(), compiled.clone())), "{}", yaml);
        let Some(policy) = compiled else { return Ok(()) };
        prop_assert_eq!(policy.rules().len(), simple.rules().len());
        let json = policy.to_json();
        let read = LifecyclePolicy::parse(&json);
        prop_assert_eq!(read.as_ref(), Ok(&policy), "{}", json);
        prop_assert_eq!(read.unwrap().to_json(), json);
        let back = policy.decompile().unwrap();
        let yaml = back.to_yaml();
        prop_assert_eq!(back.compile(), Ok(Some(policy.clone())));
        let again = PolicySource::parse(&yaml);
        prop_assert_eq!(again.as_ref().map(PolicySource::policy), Ok(Some(&policy)), "{}", yaml);
    }

    #[test]
    fn a_document_decompiles_to_what_compiles_to_it_or_not_at_all(document in strategy::wild_policy()) {
        let policy = parse(&document);
        let is_numbered = policy.rules().iter().zip(1..).all(|(rule, number)| rule.priority == number);
        let any_is_last = policy
            .rules()
            .is_sorted_by_key(|rule| rule.tags == TagSelection::Any);
        match policy.decompile() {
            Ok(simple) => {
                prop_assert!(is_numbered && any_is_last);
                prop_assert_eq!(simple.compile(), Ok(Some(policy)));
            }
            Err(_) => prop_assert!(!is_numbered || !any_is_last),
        }
    }
}

/// What follows from a policy being valid.
fn assert_is_stable(policy: &LifecyclePolicy) -> Result<(), TestCaseError> {
    for text in [policy.to_json(), policy.to_json_pretty()] {
        prop_assert_eq!(validate(&text), [], "{}", text);
        let read = LifecyclePolicy::parse(&text);
        prop_assert_eq!(read.as_ref(), Ok(policy), "{}", text);
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(2_500))]

    #[test]
    fn validation_accepts_exactly_what_parses(document in strategy::mutated_policy()) {
        let text = document.to_string();
        let findings = validate(&text);
        let parsed = LifecyclePolicy::parse(&text);
        prop_assert_eq!(findings.is_empty(), parsed.is_ok());
        prop_assert_eq!(parsed.is_ok(), reference::accepts(&document), "{}\n{:?}", text, findings);
        if let Ok(policy) = parsed {
            assert_is_stable(&policy)?;
        }
        for finding in findings {
            prop_assert!(document.has(&finding.pointer), "{}\n{}", text, finding);
            prop_assert!(!finding.message.is_empty() && !finding.to_string().contains('\n'), "{}", finding);
        }
    }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn validation_accepts_whatever_compiles(text in strategy::simple_policy()) {
        if let Some(policy) = PolicySource::parse(&text).unwrap().policy() {
            assert_is_stable(policy)?;
        }
    }

    #[test]
    fn a_text_that_is_no_json_has_one_finding(document in strategy::wild_policy(), cut in any::<Index>()) {
        let whole = document.to_string();
        let text: String = whole.chars().take(cut.index(whole.chars().count())).collect();
        prop_assert_eq!(validate(&text).len(), 1);
        prop_assert!(LifecyclePolicy::parse(&text).is_err());
    }

    #[test]
    fn order_and_spelling_do_not_make_another_policy(
        document in strategy::wild_policy(),
        moves in vec(any::<Index>(), 32),
    ) {
        let policy = parse(&document);
        let mut moves = moves.iter().cycle();
        let mut other = document.clone();
        let rules = other.get_mut("rules").unwrap().items_mut();
        shuffle(rules, &mut moves);
        for rule in rules {
            shuffle(rule.fields_mut(), &mut moves);
            respell(rule.get_mut("rulePriority").unwrap(), moves.next().unwrap());
            let selection = rule.get_mut("selection").unwrap();
            shuffle(selection.fields_mut(), &mut moves);
            respell(selection.get_mut("countNumber").unwrap(), moves.next().unwrap());
            for list in ["tagPrefixList", "tagPatternList"] {
                if let Some(list) = selection.get_mut(list) {
                    let entries = list.items_mut();
                    // A set: an entry written twice is there once.
                    entries.push(moves.next().unwrap().get(entries).clone());
                    shuffle(entries, &mut moves);
                }
            }
            // The default may be written or left out.
            let fields = selection.fields_mut();
            let standard = ("storageClass".to_owned(), Doc::text("standard"));
            if let Some(at) = fields.iter().position(|field| *field == standard) {
                fields.remove(at);
            } else if !fields.iter().any(|(key, _)| key == "storageClass") {
                fields.push(standard);
            }
        }
        prop_assert_eq!(parse(&other), policy, "{}\n{}", other, document);
    }

    #[test]
    fn a_change_to_any_field_makes_another_policy(document in strategy::wild_policy(), at in any::<Index>()) {
        let policy = parse(&document);
        let at = at.index(policy.rules().len());

        // In the document, where it stays valid.
        let changed = |change: &dyn Fn(&mut Doc)| {
            let mut other = document.clone();
            change(&mut other.get_mut("rules").unwrap().items_mut()[at]);
            parse(&other)
        };
        let count_up = |rule: &mut Doc| {
            let count = rule.get_mut("selection").unwrap().get_mut("countNumber").unwrap();
            let Doc::Number(number) = &*count else { panic!("{count}") };
            *count = Doc::number(number.parse::<u64>().unwrap() + 1);
        };
        prop_assert_ne!(&changed(&count_up), &policy);
        let describe = |rule: &mut Doc| match rule.get_mut("description") {
            Some(Doc::Text(text)) => text.push(' '),
            _ => rule.fields_mut().push(("description".to_owned(), Doc::text(""))),
        };
        prop_assert_ne!(&changed(&describe), &policy);
        let is_tagged = document.get("rules").unwrap().items()[at]
            .get("selection")
            .unwrap()
            .get("tagStatus")
            == Some(&Doc::text("tagged"));
        if is_tagged {
            let lengthen = |rule: &mut Doc| {
                let selection = rule.get_mut("selection").unwrap();
                for list in ["tagPrefixList", "tagPatternList"] {
                    if let Some(list) = selection.get_mut(list) {
                        list.items_mut().push(Doc::text("an entry that no rule has"));
                    }
                }
            };
            prop_assert_ne!(&changed(&lengthen), &policy);
        }
        if policy.rules().len() > 1 {
            let mut fewer = document.clone();
            fewer.get_mut("rules").unwrap().items_mut().remove(at);
            prop_assert_ne!(&parse(&fewer), &policy);
        }

        // In the rule itself, valid or not.
        let rule = &policy.rules()[at];
        let mut other = rule.clone();
        other.priority ^= 1;
        prop_assert_ne!(&other, rule);
        for tags in [
            TagSelection::Untagged,
            TagSelection::Any,
            TagSelection::Tagged(TagList::Prefixes(vec!["another".to_owned()])),
            TagSelection::Tagged(TagList::Patterns(vec!["another".to_owned()])),
        ] {
            if tags != rule.tags {
                let mut other = rule.clone();
                other.tags = tags;
                prop_assert_ne!(&other, rule);
            }
        }
        if let TagSelection::Tagged(list) = &rule.tags {
            let entries = list.entries().to_vec();
            let mut other = rule.clone();
            other.tags = TagSelection::Tagged(match list {
                TagList::Prefixes(_) => TagList::Patterns(entries),
                TagList::Patterns(_) => TagList::Prefixes(entries),
            });
            prop_assert_ne!(&other, rule);
        }
        let number = rule.limit.count_number();
        for limit in [
            Limit::ImageCountMoreThan,
            Limit::SinceImagePushed,
            Limit::SinceImagePulled,
            Limit::SinceImageTransitioned,
        ] {
            let mut other = rule.clone();
            other.limit = limit(number);
            prop_assert_eq!(other == *rule, rule.limit.count_type() == limit(number).count_type());
        }
        let mut other = rule.clone();
        other.action = match rule.action {
            Action::Expire => Action::Transition,
            Action::Transition => Action::Expire,
        };
        prop_assert_ne!(&other, rule);
    }
}

/// Brings the items into another order.
fn shuffle<'a, T>(items: &mut [T], moves: &mut impl Iterator<Item = &'a Index>) {
    for last in (1..items.len()).rev() {
        items.swap(last, moves.next().unwrap().index(last + 1));
    }
}

/// Spells a whole number in another way, where there is an exact one.
fn respell(number: &mut Doc, how: &Index) {
    let Doc::Number(spelling) = number else { panic!("{number}") };
    // Only a whole number of up to 2^53 is the same as a double.
    if spelling.len() <= 15 {
        *spelling = match how.index(5) {
            0 => format!("{spelling}.0"),
            1 => format!("{spelling}0e-1"),
            2 => format!("{spelling}E+0"),
            3 => format!("0.{spelling}e{}", spelling.len()),
            _ => return,
        };
    }
}

#[test]
fn the_random_repositories_are_about_something() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let cases = (strategy::policy(), strategy::repository());
    let mut acted = 0;
    let mut later_passes = 0;
    let mut follows = 0;
    let mut archived = 0;
    for _ in 0..200 {
        let (document, repository) = cases.new_tree(&mut runner).unwrap().current();
        let policy = parse(&document);
        for happened in by_the_reference(&policy, &repository, true, false).values() {
            acted += 1;
            later_passes += usize::from(happened.pass > 1);
            follows += usize::from(happened.follows.is_some());
            archived += usize::from(happened.action == Action::Transition);
        }
    }
    let seen = [acted, later_passes, follows, archived];
    assert!(seen.iter().all(|count| *count > 20), "{seen:?}");
}

/// References to the images in use.
fn used(repository: &Repository, images: &RepositoryImages) -> UsedImages {
    let used = repository
        .in_use
        .iter()
        .map(|digest| UsedImage { reference: format!("app@{digest}").parse().unwrap(), used_by: Vec::new() });
    Usage::of(used.collect()).of_repository(&RepositoryName::default(), images)
}

/// The images, and everything that one of them lists, also through lists of lists.
fn with_children(
    images: &RepositoryImages,
    held: impl IntoIterator<Item = ImageIndex>,
) -> HashSet<ImageIndex> {
    let mut all: HashSet<ImageIndex> = held.into_iter().collect();
    loop {
        let before = all.len();
        for &(child, index) in images.parents() {
            if all.contains(&index) {
                all.insert(child);
            }
        }
        if all.len() == before {
            return all;
        }
    }
}

/// How the images of a repository belong together, worked out from what is listed, image by image.
struct Family<'a> {
    repository: &'a Repository,
    images: &'a RepositoryImages,
}

impl Family<'_> {
    fn digest(&self, place: ImageIndex) -> &str {
        &self.images.images()[place as usize].digest
    }

    fn places(&self) -> impl Iterator<Item = ImageIndex> + use<'_> {
        (0..).zip(self.images.images()).map(|(place, _)| place)
    }

    fn lists(&self, index: ImageIndex, child: ImageIndex) -> bool {
        let children = self.repository.relations.children_of(self.digest(index)).unwrap_or_default();
        index != child && children.iter().any(|digest| **digest == *self.digest(child))
    }

    fn has_subject(&self, referrer: ImageIndex, subject: ImageIndex) -> bool {
        referrer != subject
            && self.repository.relations.subject_of(self.digest(referrer)) == Some(self.digest(subject))
    }

    fn tag_names(&self, tag: &str, subject: ImageIndex) -> bool {
        let name = self.digest(subject).replace(':', "-");
        tag.strip_prefix(&name).is_some_and(|suffix| suffix.is_empty() || suffix.starts_with('.'))
    }

    fn is_tied(&self, referrer: ImageIndex, subject: ImageIndex) -> bool {
        let tags = &self.images.images()[referrer as usize].tags;
        referrer != subject
            && tags.iter().any(|tag| self.tag_names(tag, subject))
            && !self.lists(referrer, subject)
    }

    fn is_about(&self, referrer: ImageIndex, subject: ImageIndex) -> bool {
        self.has_subject(referrer, subject) || self.is_tied(referrer, subject)
    }

    /// What an image index that is gone has left behind: untagged, and no index lists it any more.
    fn is_orphan(&self, place: ImageIndex) -> bool {
        let is_here = |digest: &str| self.places().any(|other| self.digest(other) == digest);
        let was_listed = self.repository.relations.indexes().any(|(index, children)| {
            !is_here(index) && children.iter().any(|child| **child == *self.digest(place))
        });
        was_listed
            && self.images.images()[place as usize].tags.is_empty()
            && !self.places().any(|other| self.lists(other, place))
    }

    /// Whether limits count the image.
    fn stands(&self, place: ImageIndex) -> bool {
        !self.is_part(place) && !self.is_orphan(place)
    }

    fn is_part(&self, place: ImageIndex) -> bool {
        let tags = &self.images.images()[place as usize].tags;
        let names_another =
            |tag: &str| self.places().any(|other| self.is_tied(place, other) && self.tag_names(tag, other));
        self.places().any(|other| self.lists(other, place) || self.has_subject(place, other))
            || (!tags.is_empty() && tags.iter().all(|tag| names_another(tag)))
    }

    /// Adds whatever is reached from a member by `next`, again and again.
    fn grow(&self, members: &mut HashSet<ImageIndex>, next: impl Fn(ImageIndex, ImageIndex) -> bool) {
        let mut open: Vec<ImageIndex> = members.iter().copied().collect();
        while let Some(from) = open.pop() {
            open.extend(self.places().filter(|to| next(from, *to)).filter(|to| members.insert(*to)));
        }
    }

    fn closure(&self, held: &HashSet<ImageIndex>) -> HashSet<ImageIndex> {
        let mut members = held.clone();
        self.grow(&mut members, |from, to| self.lists(to, from) || self.is_about(from, to));
        self.grow(&mut members, |from, to| self.lists(from, to) || self.is_about(to, from));
        self.grow(&mut members, |from, to| self.is_about(from, to));
        members
    }

    fn active(&self, place: ImageIndex) -> bool {
        self.images.images()[place as usize].status == ImageStatus::Active
    }
}

fn entry(policy: &Doc, apply: Apply, keep: Keep, limits: Limits) -> Entry {
    Entry {
        name: "random".to_owned(),
        repositories: vec!["*".to_owned()],
        tags: BTreeMap::new(),
        policy: parse(policy),
        apply,
        keep,
        limits,
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn what_belongs_to_kept_images_is_kept(
        repository in strategy::repository(),
        held in vec(any::<Index>(), 0..=3),
    ) {
        let images = RepositoryImages::new(repository.images.clone(), &repository.relations);
        let family = Family { repository: &repository, images: &images };
        let held: HashSet<ImageIndex> = held
            .iter()
            .filter(|_| !images.images().is_empty())
            .map(|at| at.index(images.images().len()) as ImageIndex)
            .collect();
        let reasons = held.iter().map(|place| (*place, "named".to_owned())).collect();
        let closure = images.closure(reasons, "is held");
        let members: HashSet<ImageIndex> = closure.keys().copied().collect();
        prop_assert_eq!(&members, &family.closure(&held));
        for (place, reason) in &closure {
            // Each is named itself, or says by which other one it is held.
            let by_another = members.iter().any(|other| {
                other != place && reason.ends_with(&format!(" {} is held", family.digest(*other)))
            });
            prop_assert_eq!(held.contains(place), reason == "named");
            prop_assert!(held.contains(place) || by_another, "{}", reason);
        }
        for place in family.places() {
            prop_assert_eq!(images.is_part(place), family.is_part(place), "{:?}", images.images()[place as usize]);
        }
    }

    #[test]
    fn what_need_not_be_looked_at_again_has_no_plan_until_it_is_due(
        policy in strategy::policy(),
        repository in strategy::repository(),
        newest in 0_u64..4,
        pulled_within_days in proptest::option::of(1_u64..9),
        uses in vec(any::<Index>(), 0..6),
        (later_uses, pulls) in (vec(any::<Index>(), 0..3), vec(any::<Index>(), 0..3)),
        hours in 0_i64..24 * 40,
    ) {
        let keep = Keep { tags: Vec::new(), newest, pulled_within_days };
        let entry = entry(&policy, Apply::Delete, keep, Limits { images: 1000, percent: 100, remaining: 0 });
        let name = RepositoryName { repository_name: Some("app".to_owned()), registry_id: None };
        let count = repository.images.len();
        let of = |all: &[Index]| -> Vec<UsedImage> {
            let digests = all.iter().filter(|_| count > 0).map(|at| &repository.images[at.index(count)].digest);
            let references = digests.map(|digest| format!("app@{digest}").parse().unwrap());
            references.map(|reference| UsedImage { reference, used_by: Vec::new() }).collect()
        };
        let plan_of = |images: &RepositoryImages, usage: &Usage, at| {
            let used = usage.of_repository(&name, images);
            let plan = plan(&entry, images, &used, at);
            (used, plan)
        };
        let images = RepositoryImages::new(repository.images.clone(), &repository.relations);
        let usage = Usage::of(of(&uses));
        let (used, planned) = plan_of(&images, &usage, now());
        let found = PlannedRepository {
            entry: &entry, images: &images, used: &used, usage: &usage, plan: &planned, read_at: now(), now: now(),
        };
        let Some(look) = found.look(7) else { return Ok(()) };
        prop_assert!(planned.deletions.is_empty() && planned.archivals.is_empty());
        let later = Instant::from_micros(now().micros() + hours * 3_600_000_000).unwrap();
        if look.due_at.is_some_and(|due| due < later) {
            return Ok(());
        }
        // Only what kept images is in use as before; there are other uses, and pulls.
        let mut still = of(&uses);
        still.retain(|used| look.references.contains(&reference_hash(&used.reference)));
        still.extend(of(&later_uses));
        let mut after = repository.images.clone();
        for at in pulls.iter().filter(|_| count > 0) {
            after[at.index(count)].last_pulled_at = Some(later);
        }
        let after = RepositoryImages::new(after, &repository.relations);
        let (_, plan) = plan_of(&after, &Usage::of(still), later);
        prop_assert_eq!((plan.deletions.len(), plan.archivals.len()), (0, 0), "{:?} at {}", look, later);
    }

    #[test]
    fn a_plan_stays_within_its_limits_and_leaves_what_is_in_use_whole(
        policy in strategy::policy(),
        repository in strategy::repository(),
        apply in select(&[Apply::Delete, Apply::Attach, Apply::Preview][..]),
        newest in 0_u64..4,
        (most, percent, remaining) in (1_u64..12, 10_u64..=100, 1_u64..4),
    ) {
        let keep = Keep { tags: Vec::new(), newest, pulled_within_days: None };
        let entry = entry(&policy, apply, keep, Limits { images: most, percent, remaining });
        let images = RepositoryImages::new(repository.images.clone(), &repository.relations);
        let family = Family { repository: &repository, images: &images };
        let used = used(&repository, &images);
        let plan = plan(&entry, &images, &used, now());
        let planned: HashSet<ImageIndex> = plan.deletions.iter().chain(&plan.archivals).copied().collect();
        prop_assert_eq!(planned.len(), plan.deletions.len() + plan.archivals.len());
        let untouchable = family.closure(&plan.held);
        prop_assert!(family.closure(used.named()).is_subset(&untouchable));
        prop_assert!(planned.is_disjoint(&untouchable));

        // The newest images that can be pulled stay, as many as the policy keeps.
        let standing: Vec<ImageIndex> =
            family.places().filter(|place| family.active(*place) && family.stands(*place)).collect();
        let going = standing.iter().filter(|place| planned.contains(place)).count() as u64;
        let total = standing.len() as u64;
        prop_assert!(total - going >= newest.min(total));

        if plan.blockers.is_empty() && !planned.is_empty() {
            prop_assert!(going * 100 <= percent * total, "{going} of {total}, {percent} percent");
            prop_assert!(going == 0 || total - going >= remaining);
            let archived = family
                .places()
                .filter(|place| planned.contains(place) && !family.active(*place) && family.stands(*place))
                .count() as u64;
            prop_assert!(going + archived <= most, "{} and {} of {}", going, archived, most);
            let all: Vec<ImageIndex> = planned.iter().copied().collect();
            prop_assert!(plan.counted(&images, &all) <= most);
            for image in images.images() {
                prop_assert!(image.pushed_at.micros() <= now().micros() + 3_600_000_000);
            }
            for index in images.unread_indexes() {
                prop_assert!(images.images()[*index as usize].status == ImageStatus::Archived);
            }
        }

        let steps = plan.steps(&images);
        prop_assert_eq!(&steps.concat(), &plan.deletions);
        if apply != Apply::Delete {
            return Ok(());
        }
        let at = |place: ImageIndex| steps.iter().position(|step| step.contains(&place));
        for place in plan.deletions.iter().copied() {
            for other in family.places().filter(|other| family.lists(*other, place)) {
                prop_assert!(at(other) < at(place) && at(other).is_some());
            }
        }
        // A signature stays as long as what it is about.
        let view = images.with_tag_referrers();
        for &(referrer, subject) in view.subjects() {
            if plan.evaluation.passes() == 1 && planned.contains(&referrer) {
                prop_assert!(planned.contains(&subject));
            }
        }
    }

    #[test]
    fn an_attached_policy_is_planned_for_whatever_ecr_does_with_referrers(
        policy in strategy::policy(),
        repository in strategy::repository(),
    ) {
        let entry = entry(&policy, Apply::Attach, Keep::default(), Limits::default());
        let images = RepositoryImages::new(repository.images.clone(), &repository.relations);
        let used = used(&repository, &images);
        let plan = plan(&entry, &images, &used, now());
        let planned: HashSet<ImageIndex> = plan.deletions.iter().chain(&plan.archivals).copied().collect();
        let Ok(attached) = protected(&entry.policy) else {
            prop_assert!(plan.by_ecr.is_empty() && !plan.blockers.is_empty());
            return Ok(());
        };
        let tagged = images.with_tags(&plan.tagging.additions);
        let mut expected = HashSet::new();
        let mut expiring = HashSet::new();
        for way in WAYS {
            // ECR knows nothing of use.
            let none = HashSet::new();
            let evaluation = evaluate_with(Some(&attached), &tagged, &none, now(), Passes::UntilStable, way);
            for (place, verdict) in (0..).zip(evaluation.verdicts()) {
                if let Some(rule) = verdict.acting_rule() {
                    expected.insert(place);
                    if attached.rules()[rule].action == Action::Expire {
                        expiring.insert(place);
                    }
                }
            }
        }
        prop_assert!(used.images().is_disjoint(&planned));
        prop_assert_eq!(&plan.by_ecr, &expected);
        prop_assert_eq!(planned, expected);
        prop_assert_eq!(plan.deletions.iter().copied().collect::<HashSet<_>>(), expiring);
    }

    #[test]
    fn no_plan_deletes_what_is_in_use_or_kept_or_any_part_of_it(
        policy in strategy::policy(),
        repository in strategy::repository(),
        newest in 0_u64..4,
        pulled_within_days in proptest::option::of(1_u64..60),
    ) {
        let keep = Keep { tags: vec!["*1*".to_owned()], newest, pulled_within_days };
        let entry = entry(&policy, Apply::Delete, keep, Limits::default());
        let images = RepositoryImages::new(repository.images.clone(), &repository.relations);
        let used = used(&repository, &images);
        let plan = plan(&entry, &images, &used, now());
        let held = with_children(&images, used.images().into_iter().chain(plan.kept.keys().copied()));
        for place in plan.deletions.iter().chain(&plan.archivals) {
            prop_assert!(!held.contains(place), "{}", images.images()[*place as usize].digest);
        }
        // Nothing that stays has lost a part, and lists go before what they list.
        let at = |place: &ImageIndex| plan.deletions.iter().position(|other| other == place);
        for (child, index) in images.parents() {
            if let Some(child) = at(child) {
                prop_assert!(at(index).is_some_and(|index| index < child));
            }
        }
    }

    #[test]
    fn what_is_freed_is_what_was_stored_before_without_what_is_stored_after(
        repository in vec((any::<u16>(), 0_u8..10, 0_u8..3), 0..30),
        sizes in vec(1_u64..1_000_000, 16),
        knows_all in any::<bool>(),
    ) {
        let size = |layers: &HashSet<usize>| layers.iter().map(|layer| sizes[*layer]).sum::<u64>();
        let of_bits = |bits: u16| (0..16).filter(|layer| bits & (1 << layer) != 0).collect::<HashSet<usize>>();
        let mut layers = Layers::default();
        let mut images = Vec::new();
        for (number, (bits, known, _)) in repository.iter().enumerate() {
            let digest = format!("sha256:{number:064x}");
            let of_image = of_bits(*bits);
            if knows_all || *known > 0 {
                let blobs: Vec<String> = of_image
                    .iter()
                    .map(|layer| format!(r#"{{"digest":"sha256:layer{layer}","size":{}}}"#, sizes[*layer]))
                    .collect();
                layers.learn(&digest, &format!(r#"{{"layers":[{}]}}"#, blobs.join(","))).unwrap();
            }
            images.push(Image {
                digest: digest.into(),
                tags: Box::default(),
                pushed_at: now(),
                last_pulled_at: None,
                last_archived_at: None,
                last_activated_at: None,
                size_in_bytes: size(&of_image),
                status: ImageStatus::Active,
                kind: ManifestKind::Manifest,
            });
        }
        let layers = Layers::parse(&layers.to_json().unwrap()).unwrap();
        let goes = |at: usize| repository[at].2 == 0;
        let before = layers.stored(&images, |_, _| Location::Standard).total();
        let after = layers
            .stored(&images, |at, _| if goes(at) { Location::Gone } else { Location::Standard })
            .total();
        let freed = before.without(after);
        let union = |is_in: &dyn Fn(usize) -> bool| {
            let of_images = repository.iter().enumerate().filter(|(at, _)| is_in(*at));
            size(&of_images.flat_map(|(_, (bits, ..))| of_bits(*bits)).collect())
        };
        let truly_before = union(&|_| true);
        let truly_freed = truly_before - union(&|at| !goes(at));
        prop_assert!(before.bytes >= truly_before && freed.bytes >= truly_freed);
        if !before.is_upper_bound {
            prop_assert_eq!(before.bytes, truly_before);
        }
        if !freed.is_upper_bound {
            prop_assert_eq!(freed.bytes, truly_freed);
        }
        prop_assert!(!knows_all || !(before.is_upper_bound || freed.is_upper_bound));
    }

    #[test]
    fn behind_the_protection_rule_ecr_expires_nothing_that_is_in_use(
        policy in strategy::policy(),
        repository in strategy::repository(),
    ) {
        let policy = parse(&policy);
        let Ok(attached) = protected(&policy) else {
            prop_assert!(policy.rules().len() > 48 || !conflicts(&policy).is_empty());
            return Ok(());
        };
        let images = RepositoryImages::new(repository.images.clone(), &repository.relations);
        let in_use = used(&repository, &images).named().clone();
        let found = tagging(&images, &in_use);
        prop_assert!(found.taken.is_empty());
        let tagged = images.with_tags(&found.additions).into_owned();
        let family = Family { repository: &repository, images: &images };
        for way in WAYS {
            let none = HashSet::new();
            let evaluation = evaluate_with(Some(&attached), &tagged, &none, now(), Passes::UntilStable, way);
            for place in with_children(&tagged, in_use.iter().copied()).union(&family.closure(&in_use)) {
                let verdict = evaluation.verdicts()[*place as usize];
                prop_assert!(verdict.acting_rule().is_none(), "{}", tagged.images()[*place as usize].digest);
            }
        }
        prop_assert!(tagging(&tagged, &in_use).additions.is_empty());
    }
}
