//! Evaluates a policy on the images of a repository at a point in time.
//!
//! ECR evaluates every rule against all images as if no other rule existed: a rule *identifies* the images that match its
//! selection and *marks* some of them. An image is then acted on by the first rule that identifies it, if that rule marks it, and
//! otherwise by none. Children of an existing image index, and referrers of an existing subject, are neither identified nor
//! ranked; nor is an image that is being restored or whose status is unknown. (ECR user guide, "Lifecycle policies", "How
//! lifecycle policies work".)
//!
//! Older images expire before younger ones. Of images of the same age the one whose digest sorts first expires first.

use std::cmp::Reverse;
use std::collections::HashSet;

use super::document::{Action, LifecyclePolicy, Limit};
use super::matching::{Matcher, RuleSet};
use crate::domain::image::{Image, ImageIndex, ImageStatus, RepositoryImages};
use crate::domain::text::instant::Instant;

/// The number of passes of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Passes {
    /// One pass: what ECR's own preview shows.
    #[default]
    One,
    /// Repeats until nothing changes: each pass removes what the pass before selected. The result is everything that the policy
    /// removes at this time. The children of an image index that one pass removes are evaluated by the next.
    UntilStable,
}

/// How rules treat referrers (signatures, SBOMs, attestations). ECR documents the first of the two, and users report the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Referrers {
    /// No rule identifies or ranks referrers. They are deleted with their subject.
    #[default]
    Follow,
    /// Rules identify and rank them as any other image; and they go with their subject, too.
    Ranked,
}

/// The result for one image, and what decided it. `rule` is the index in [`LifecyclePolicy::rules`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The rule acts on the image.
    Marked {
        /// The first rule that identifies the image.
        rule: u8,
        /// The pass in which it acts, from 1.
        pass: u16,
        /// The image's rank among those the rule counts, the youngest being 1; 0 for a limit by age.
        rank: u32,
    },
    /// The image is a referrer, and is deleted or archived together with its subject.
    Follows {
        /// The rule that acts on the subject.
        rule: u8,
        /// The pass in which it acts, from 1.
        pass: u16,
        /// Its subject.
        subject: ImageIndex,
    },
    /// The first rule that identifies the image leaves it alone.
    HeldByRule {
        /// The index of that rule.
        rule: u8,
        /// The image's rank among those the rule counts, the youngest being 1; 0 for a limit by age.
        rank: u32,
    },
    /// An image index in the repository references the image.
    HeldByIndex {
        /// The image index; of several the one whose digest sorts first.
        index: ImageIndex,
    },
    /// The image is a referrer whose subject is kept (or archived, where this one is already).
    HeldBySubject {
        /// Its subject.
        subject: ImageIndex,
    },
    /// A rule would act on the image, but it is in use.
    HeldByUse {
        /// The rule that would act.
        rule: u8,
    },
    /// The image is on its way back from the archive: no rule acts on it or counts it.
    Restoring,
    /// The image is in a status that this program does not know: no rule acts on it or counts it.
    UnknownStatus,
    /// No rule identifies the image.
    NotIdentified,
}

impl Verdict {
    /// The rule that acts on the image, if one does.
    #[must_use]
    pub const fn acting_rule(self) -> Option<usize> {
        match self {
            Self::Marked { rule, .. } | Self::Follows { rule, .. } => Some(rule as usize),
            _ => None,
        }
    }

    /// The pass in which the image is acted on, if it is.
    #[must_use]
    pub const fn pass(self) -> Option<u16> {
        match self {
            Self::Marked { pass, .. } | Self::Follows { pass, .. } => Some(pass),
            _ => None,
        }
    }
}

/// The outcome for every image of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evaluation {
    verdicts: Vec<Verdict>,
    passes: u16,
}

impl Evaluation {
    /// The verdict for each image, in the order of [`RepositoryImages::images`].
    #[must_use]
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// The union of two evaluations of a policy on the same images. If both act on an image, the verdict that expires it counts,
    /// otherwise that of `self`.
    #[must_use]
    pub fn union(mut self, other: Self, policy: &LifecyclePolicy) -> Self {
        let loss = |verdict: Verdict| match verdict.acting_rule().and_then(|rule| policy.rules().get(rule)) {
            None => 0,
            Some(rule) if rule.action == Action::Transition => 1,
            Some(_) => 2,
        };
        for (verdict, other) in self.verdicts.iter_mut().zip(other.verdicts) {
            if loss(other) > loss(*verdict) {
                *verdict = other;
            }
        }
        self.passes = self.passes.max(other.passes);
        self
    }

    /// This evaluation, overlaid with the verdicts of `other` for the images that `other` acts on. The policy of `other` has
    /// `offset` more rules at its beginning.
    #[must_use]
    pub fn overlaid_with(mut self, other: &Self, offset: usize) -> Self {
        for (verdict, other) in self.verdicts.iter_mut().zip(&other.verdicts) {
            let place = |rule: u8| u8::try_from(usize::from(rule).saturating_sub(offset)).unwrap_or(rule);
            match *other {
                Verdict::Marked { rule, pass, rank } => {
                    *verdict = Verdict::Marked { rule: place(rule), pass, rank };
                }
                Verdict::Follows { rule, pass, subject } => {
                    *verdict = Verdict::Follows { rule: place(rule), pass, subject };
                }
                _ => {}
            }
        }
        self.passes = self.passes.max(other.passes);
        self
    }

    /// The number of passes in which something was acted on.
    #[must_use]
    pub const fn passes(&self) -> u16 {
        self.passes
    }
}

/// Evaluates a policy against the images of a repository at `now`, [referrers](Referrers) going where their subjects go.
///
/// Without a policy nothing is acted on. Images in `in_use` are never acted on, though they take their place in every
/// count, as they do for ECR, which does not know of use.
#[must_use]
pub fn evaluate(
    policy: Option<&LifecyclePolicy>,
    images: &RepositoryImages,
    in_use: &HashSet<ImageIndex>,
    now: Instant,
    passes: Passes,
) -> Evaluation {
    evaluate_with(policy, images, in_use, now, passes, Referrers::Follow)
}

/// [Evaluates](evaluate) a policy one way or the other.
#[must_use]
pub fn evaluate_with(
    policy: Option<&LifecyclePolicy>,
    images: &RepositoryImages,
    in_use: &HashSet<ImageIndex>,
    now: Instant,
    passes: Passes,
    referrers: Referrers,
) -> Evaluation {
    let Some(policy) = policy else {
        let verdicts = images.images().iter().map(unidentified).collect();
        return Evaluation { verdicts, passes: 0 };
    };
    let mut run = Run::new(policy, images, in_use, now, referrers);
    let mut pass = 0;
    loop {
        let acted = run.pass(pass + 1);
        if !acted {
            break;
        }
        pass += 1;
        // The number of a pass has no meaning to anybody beyond this.
        if passes == Passes::One || pass == u16::MAX {
            break;
        }
    }
    Evaluation { verdicts: run.verdicts, passes: pass }
}

const fn unidentified(image: &Image) -> Verdict {
    match image.status {
        ImageStatus::Activating => Verdict::Restoring,
        ImageStatus::Unknown => Verdict::UnknownStatus,
        ImageStatus::Active | ImageStatus::Archived => Verdict::NotIdentified,
    }
}

/// The role of an image in a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Identified and ranked by the rules.
    Candidate,
    /// Referenced by this image index.
    Child(ImageIndex),
    /// About this image.
    Referrer(ImageIndex),
    /// An earlier pass removed it.
    Gone,
    /// Archived in an earlier pass: there, and nothing more will happen to it now.
    Archived,
}

/// One rule as the inner loop needs it.
#[derive(Clone, Copy)]
struct Test {
    limit: Limit,
    /// For a limit by age: images older than this are marked, in microseconds since the Unix epoch.
    cutoff: i64,
    action: Action,
}

impl Test {
    /// Whether a rule that counts images marks one of this rank.
    fn marks_by_rank(&self, rank: u32) -> bool {
        matches!(self.limit, Limit::ImageCountMoreThan(keep) if u64::from(rank) > keep)
    }

    /// Whether a rule by age marks an image.
    fn marks_by_age(&self, image: &Image) -> bool {
        let since = match self.limit {
            Limit::ImageCountMoreThan(_) => None,
            Limit::SinceImagePushed(_) => Some(image.age_time()),
            Limit::SinceImagePulled(_) => Some(image.pull_time()),
            // Without a recorded time nothing says that the limit has passed.
            Limit::SinceImageTransitioned(_) => image.last_archived_at,
        };
        since.is_some_and(|since| since.micros() < self.cutoff)
    }
}

struct Run<'a> {
    matcher: Matcher<'a>,
    images: &'a RepositoryImages,
    in_use: &'a HashSet<ImageIndex>,
    referrers: Referrers,
    tests: Vec<Test>,
    /// The rules that count images.
    counting: RuleSet,
    /// The rules that identify each image; known from the first pass on.
    rules: Vec<RuleSet>,
    /// The images that some counting rule identifies, youngest first.
    order: Vec<(i64, ImageIndex)>,
    /// The part of each image; empty while every image is a candidate.
    parts: Vec<Part>,
    verdicts: Vec<Verdict>,
}

impl<'a> Run<'a> {
    fn new(
        policy: &'a LifecyclePolicy,
        images: &'a RepositoryImages,
        in_use: &'a HashSet<ImageIndex>,
        now: Instant,
        referrers: Referrers,
    ) -> Self {
        let mut counting = 0;
        let mut tests = Vec::with_capacity(policy.rules().len());
        for (place, rule) in policy.rules().iter().enumerate() {
            let cutoff = match rule.limit {
                Limit::ImageCountMoreThan(_) => {
                    counting |= 1 << place;
                    i64::MIN
                }
                Limit::SinceImagePushed(days)
                | Limit::SinceImagePulled(days)
                | Limit::SinceImageTransitioned(days) => now.micros_days_before(days),
            };
            tests.push(Test { limit: rule.limit, cutoff, action: rule.action });
        }
        let count = images.images().len();
        let related = !(images.parents().is_empty() && images.subjects().is_empty());
        Self {
            matcher: Matcher::new(policy),
            images,
            in_use,
            referrers,
            tests,
            counting,
            rules: Vec::with_capacity(count),
            order: Vec::with_capacity(if counting == 0 { 0 } else { count }),
            parts: if related { vec![Part::Candidate; count] } else { Vec::new() },
            verdicts: vec![Verdict::NotIdentified; count],
        }
    }

    /// Evaluates once; returns whether anything was acted on.
    fn pass(&mut self, pass: u16) -> bool {
        if pass > 1 {
            self.take_away(pass - 1);
        }
        self.relate();
        let mut acted = self.decide_by_age(pass);
        if pass == 1 {
            sort_youngest_first(&mut self.order, self.images.images());
        }
        acted |= self.decide_by_rank(pass);
        match self.referrers {
            Referrers::Follow => self.follow(pass),
            Referrers::Ranked => self.go_along(pass),
        }
        acted
    }

    /// The rules that identify an image, found out in the first pass.
    fn rules_for(&mut self, place: usize, image: &Image) -> RuleSet {
        if let Some(known) = self.rules.get(place) {
            return *known;
        }
        let rules = match image.status {
            ImageStatus::Activating | ImageStatus::Unknown => 0,
            ImageStatus::Active | ImageStatus::Archived => self.matcher.rules_for(image),
        };
        self.rules.push(rules);
        if rules & self.counting != 0 {
            self.order.push((image.age_time().micros(), place as ImageIndex));
        }
        rules
    }

    fn part(&self, place: usize) -> Part {
        self.parts.get(place).copied().unwrap_or(Part::Candidate)
    }

    /// Decides about everything but the images that are first identified by a counting rule; in the order in which the
    /// images are in memory.
    fn decide_by_age(&mut self, pass: u16) -> bool {
        let mut acted = false;
        for (place, image) in self.images.images().iter().enumerate() {
            // For every image: what is no candidate now may be one in a later pass.
            let rules = self.rules_for(place, image);
            match self.part(place) {
                Part::Candidate => {}
                Part::Child(index) => {
                    self.verdicts[place] = Verdict::HeldByIndex { index };
                    continue;
                }
                Part::Referrer(_) | Part::Gone | Part::Archived => continue,
            }
            let first = rules.trailing_zeros();
            let Some(test) = self.tests.get(first as usize) else {
                self.verdicts[place] = unidentified(image);
                continue;
            };
            if self.counting & (1 << first) == 0 {
                let verdict = self.verdict(place, first, test.marks_by_age(image), 0, pass);
                acted |= verdict.pass().is_some();
                self.verdicts[place] = verdict;
            }
        }
        acted
    }

    /// Counts, youngest first, and decides about the images that are first identified by a counting rule.
    fn decide_by_rank(&mut self, pass: u16) -> bool {
        let mut acted = false;
        let mut counts = [0_u32; RuleSet::BITS as usize];
        for at in 0..self.order.len() {
            let place = self.order[at].1 as usize;
            if self.part(place) != Part::Candidate {
                continue;
            }
            let rules = self.rules[place];
            let mut counted = rules & self.counting;
            while counted != 0 {
                counts[counted.trailing_zeros() as usize] += 1;
                counted &= counted - 1;
            }
            let first = rules.trailing_zeros();
            if self.counting & (1 << first) != 0 {
                let rank = counts[first as usize];
                let verdict =
                    self.verdict(place, first, self.tests[first as usize].marks_by_rank(rank), rank, pass);
                acted |= verdict.pass().is_some();
                self.verdicts[place] = verdict;
            }
        }
        acted
    }

    /// The verdict of an image, from the result of the first rule that identifies it.
    fn verdict(&self, place: usize, rule: u32, marked: bool, rank: u32, pass: u16) -> Verdict {
        // At most 50 rules.
        let rule = rule as u8;
        if !marked {
            Verdict::HeldByRule { rule, rank }
        } else if self.in_use.contains(&(place as ImageIndex)) {
            Verdict::HeldByUse { rule }
        } else {
            Verdict::Marked { rule, pass, rank }
        }
    }

    /// Removes what the pass selected from the repository.
    fn take_away(&mut self, pass: u16) {
        if self.parts.is_empty() {
            self.parts = vec![Part::Candidate; self.verdicts.len()];
        }
        for (part, verdict) in self.parts.iter_mut().zip(&self.verdicts) {
            if verdict.pass() == Some(pass)
                && let Some(test) = verdict.acting_rule().and_then(|rule| self.tests.get(rule))
            {
                *part = match test.action {
                    Action::Expire => Part::Gone,
                    Action::Transition => Part::Archived,
                };
            }
        }
    }

    /// Sets what each image is, given which are still there.
    fn relate(&mut self) {
        if self.parts.is_empty() {
            return;
        }
        for part in &mut self.parts {
            if matches!(part, Part::Child(_) | Part::Referrer(_)) {
                *part = Part::Candidate;
            }
        }
        let about = match self.referrers {
            Referrers::Follow => self.images.subjects(),
            Referrers::Ranked => &[],
        };
        for &(referrer, subject) in about {
            if self.parts[referrer as usize] == Part::Candidate && self.parts[subject as usize] != Part::Gone
            {
                self.parts[referrer as usize] = Part::Referrer(subject);
            }
        }
        // An image index in the repository holds a child whatever else the child is.
        let all = self.images.images();
        for &(child, index) in self.images.parents() {
            if self.parts[index as usize] == Part::Gone {
                continue;
            }
            let part = &mut self.parts[child as usize];
            match *part {
                Part::Candidate | Part::Referrer(_) => *part = Part::Child(index),
                Part::Child(other) if digest(all, index) < digest(all, other) => *part = Part::Child(index),
                Part::Child(_) | Part::Gone | Part::Archived => {}
            }
        }
    }

    /// Gives every referrer the verdict that follows from its subject's, which may be a referrer itself.
    fn follow(&mut self, pass: u16) {
        let all = self.images.images();
        let mut settled = HashSet::new();
        let mut chain = Vec::new();
        for &(referrer, _) in self.images.subjects() {
            let mut at = referrer;
            // `insert` fails on what is settled already, and on closing a circle: then nothing in it is acted on.
            while let Part::Referrer(subject) = self.parts[at as usize]
                && settled.insert(at)
            {
                if self.parts[subject as usize] == Part::Archived {
                    // Decided in the pass that archived the subject.
                    break;
                }
                self.verdicts[at as usize] = Verdict::HeldBySubject { subject };
                chain.push((at, subject));
                at = subject;
            }
            while let Some((at, subject)) = chain.pop() {
                let (Verdict::Marked { rule, pass: when, .. } | Verdict::Follows { rule, pass: when, .. }) =
                    self.verdicts[subject as usize]
                else {
                    continue;
                };
                if when != pass {
                    continue;
                }
                let image = &all[at as usize];
                let archives =
                    self.tests.get(usize::from(rule)).is_some_and(|test| test.action == Action::Transition);
                self.verdicts[at as usize] = match image.status {
                    ImageStatus::Activating | ImageStatus::Unknown => unidentified(image),
                    ImageStatus::Archived if archives => Verdict::HeldBySubject { subject },
                    _ if self.in_use.contains(&at) => Verdict::HeldByUse { rule },
                    _ => Verdict::Follows { rule, pass, subject },
                };
            }
        }
    }
}

impl Run<'_> {
    /// Removes ranked referrers together with their subject: those that no rule acts on, and those that would be archived while
    /// their subject expires.
    fn go_along(&mut self, pass: u16) {
        let action = |tests: &[Test], verdict: Verdict| {
            let acts = verdict.pass() == Some(pass);
            verdict.acting_rule().filter(|_| acts).and_then(|rule| tests.get(rule)).map(|test| test.action)
        };
        // Each verdict changes twice at most, whatever circles there are.
        let mut changed = true;
        while changed {
            changed = false;
            for &(referrer, subject) in self.images.subjects() {
                let (at, image) = (referrer as usize, &self.images.images()[referrer as usize]);
                if !matches!(self.parts.get(at), Some(Part::Candidate)) {
                    continue;
                }
                let leader = self.verdicts[subject as usize];
                let Some(wanted) = action(&self.tests, leader) else { continue };
                let own = action(&self.tests, self.verdicts[at]);
                let (true, Some(rule)) =
                    (own.is_none_or(|own| own != Action::Expire && own != wanted), leader.acting_rule())
                else {
                    continue;
                };
                // At most 50 rules.
                let rule = rule as u8;
                let verdict = match image.status {
                    ImageStatus::Activating | ImageStatus::Unknown => continue,
                    ImageStatus::Archived if wanted == Action::Transition => continue,
                    _ if self.in_use.contains(&referrer) => Verdict::HeldByUse { rule },
                    _ => Verdict::Follows { rule, pass, subject },
                };
                if self.verdicts[at] != verdict {
                    self.verdicts[at] = verdict;
                    changed = true;
                }
            }
        }
    }
}

/// Sorts images youngest first. Of images of the same age the one whose digest sorts last comes first.
fn sort_youngest_first(order: &mut [(i64, ImageIndex)], images: &[Image]) {
    // Comparing numbers alone is what the sort is fastest at; images of the same age are few.
    order.sort_unstable_by_key(|(time, _)| Reverse(*time));
    for same_age in order.chunk_by_mut(|left, right| left.0 == right.0) {
        if same_age.len() > 1 {
            same_age.sort_unstable_by(|left, right| digest(images, right.1).cmp(digest(images, left.1)));
        }
    }
}

fn digest(images: &[Image], place: ImageIndex) -> &str {
    images.get(place as usize).map_or("", |image| &image.digest)
}
