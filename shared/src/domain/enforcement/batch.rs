//! Repositories in batches: each for one function, and of about the same work.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::enforcement::policy_set::Apply;
use crate::domain::enforcement::run::Run;
use crate::domain::enforcement::unchanged::LookRequest;
use crate::domain::text::instant::Instant;

/// Images on a page of ECR's lists, which are what work is counted in: calls.
const PAGE: u64 = 1000;
/// Approximate number of calls for one batch.
const CALLS: u64 = 100;
/// Maximum number of images that a repository counts with: a hundred times what ECR lets it have. Whatever is remembered beyond that
/// is not true.
const MAX_IMAGES: u64 = 10_000_000;
/// Calls of an operation that one worker makes in a second, at least, where it only reads: a few at a time, of a third of a second each.
const READS_PER_SECOND: f64 = 10.0;
/// A part of the keys of batches that are only previewed.
const PREVIEWS: &str = "/preview/";

/// What a batch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nothing is changed.
    Preview,
    /// Policies are enforced.
    Enforce,
}

impl Kind {
    /// The name in the keys of batches.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Preview => "preview",
            Self::Enforce => "enforce",
        }
    }
}

/// A repository and the policy that it is under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// The repository.
    pub repository_name: String,
    /// Its ARN.
    pub repository_arn: String,
    /// The name of the policy in the policies file; empty where none is for it.
    #[serde(default)]
    pub policy: String,
    /// Why the repository is protected, as known at the time of the inventory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<Protection>,
    /// Why it is not known which policy of the policies file is for it; `None` if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unassigned: Option<String>,
    /// Whether this run checks the effect of the repository's own lifecycle policy: a seventh of the registry for each day.
    #[serde(default, skip_serializing_if = "crate::domain::enforcement::run::is_false")]
    pub checks_native_policy: bool,
    /// The calls by which manifests are read to know layers; absent if layers are not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_reads: Option<u32>,
    /// The value of the resource tag by which costs are added up; absent if the repository has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_tag: Option<String>,
    /// What is asked of this look at the repository; absent where every run looks at everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look: Option<LookRequest>,
}

/// Whether a repository's own lifecycle policy is checked by a run at `now`. Each repository has its day of seven. A run checks
/// those of its day, and of the days since the beginning of the last completed run: on a weekly schedule all. Days are in UTC.
#[must_use]
pub fn checks_native_policy(repository_name: &str, now: Instant, last_run: Option<Instant>) -> bool {
    const DAYS: u64 = 7;
    let day = |at: Instant| at.micros().div_euclid(86_400_000_000).unsigned_abs();
    let hash =
        repository_name.bytes().fold(0_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let days_ago = (day(now) % DAYS + DAYS - hash % DAYS) % DAYS;
    days_ago < last_run.map_or(1, |last| day(now).saturating_sub(day(last)).max(1))
}

/// Why a repository is protected, apart from the policies file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Protection {
    /// The stack has a record of it: it attached the policy.
    Recorded,
    /// It has the resource tag `ecr-steward:protect`.
    Tagged,
    /// ECR made it on a push, by the stack's creation template: it bears the resource tag with the value for those.
    CreatedOnPush,
    /// The stack has a record of it, and whether it has the resource tag could not be read.
    #[serde(alias = "untold")]
    Unknown,
}

impl Protection {
    /// Whether the attached policy may be one of the repository's owner, who asks for protection.
    #[must_use]
    pub const fn may_be_of_others(self) -> bool {
        matches!(self, Self::Tagged | Self::CreatedOnPush | Self::Unknown)
    }
}

/// The repositories of one batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Batch {
    /// The registry: the account.
    pub registry_id: String,
    /// The repositories, in the order in which they are worked on.
    pub repositories: Vec<Assignment>,
}

/// A batch, in the list of those of a run: what the state machine's map reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The key of the batch.
    pub key: String,
    /// The number of batches that the run works on at the same time. They share the rate of calls to ECR.
    #[serde(default = "one")]
    pub workers: u32,
}

const fn one() -> u32 {
    1
}

/// How many batches a run works on at the same time: no more than [`most_workers`], and than there are.
#[must_use]
pub fn workers(max_concurrency: u32, requests_per_second: f64, batches: &[Listed]) -> u32 {
    let most = most_workers(max_concurrency, requests_per_second, only_reads(batches));
    most.min(u32::try_from(batches.len()).unwrap_or(u32::MAX)).max(1)
}

/// How many batches a run may work on at the same time, at least one: no more than the stack allows, and than the rate of calls to ECR
/// has a call a second for, which each makes at least. Where images are only read, no more than the rate keeps busy: whoever deletes
/// waits for each answer, so that more of them are faster.
#[must_use]
pub fn most_workers(max_concurrency: u32, requests_per_second: f64, is_reading: bool) -> u32 {
    let most = if is_reading { (requests_per_second / READS_PER_SECOND).ceil() } else { requests_per_second };
    // Clamped, a number of calls fits; what is none is 0.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let most = most.clamp(0.0, 1e6) as u32;
    max_concurrency.min(most).max(1)
}

/// Whether all batches are only previewed.
#[must_use]
pub fn only_reads(batches: &[Listed]) -> bool {
    batches.iter().all(|batch| batch.key.contains(PREVIEWS))
}

/// The number of images in each repository when it was last read. Only repositories with more than one page of images are listed.
pub type Sizes = BTreeMap<String, u64>;

/// A repository that is not in a batch yet, and its number of calls.
type Waiting = (Assignment, u64);

/// Fills batches.
#[derive(Debug)]
pub struct Batcher<'a> {
    run: &'a Run,
    sizes: &'a Sizes,
    registry_id: &'a str,
    waiting: BTreeMap<Kind, Vec<Waiting>>,
    filled: usize,
}

impl<'a> Batcher<'a> {
    /// Batches of a run over a registry, after a number of batches that were filled before.
    #[must_use]
    pub const fn new(run: &'a Run, registry_id: &'a str, sizes: &'a Sizes, filled: usize) -> Self {
        Self { run, sizes, registry_id, waiting: BTreeMap::new(), filled }
    }

    /// The number of filled batches.
    #[must_use]
    pub const fn filled(&self) -> usize {
        self.filled
    }

    /// Whether all repositories that are not in a batch yet are only previewed.
    #[must_use]
    pub fn only_reads(&self) -> bool {
        self.waiting.keys().all(|kind| *kind == Kind::Preview)
    }

    /// Puts a repository into a batch.
    pub fn push(&mut self, assignment: Assignment, apply: Apply) {
        // What ECR enforces by itself has to be protected, or suspended, also where this run takes nothing.
        let is_protected = apply.is_by_ecr() || assignment.protection.is_some();
        let kind = match apply {
            _ if is_protected && self.run.only_protects() => Kind::Enforce,
            _ if self.run.dry_run => Kind::Preview,
            Apply::Preview if !is_protected => Kind::Preview,
            Apply::Preview | Apply::Attach | Apply::Protect | Apply::Delete => Kind::Enforce,
        };
        let images = self.sizes.get(&assignment.repository_name).map_or(0, |&images| images.min(MAX_IMAGES));
        self.waiting.entry(kind).or_default().push((assignment, images.div_ceil(PAGE).max(1)));
    }

    /// The batches that are full, with their keys.
    pub fn full(&mut self) -> Vec<(String, Batch)> {
        let mut batches = Vec::new();
        for kind in [Kind::Preview, Kind::Enforce] {
            let waiting = self.waiting.remove(&kind).unwrap_or_default();
            let mut rest = Vec::new();
            let mut calls = 0;
            for one in waiting {
                calls += one.1;
                rest.push(one);
                if calls >= CALLS {
                    batches.push(self.batch(kind, std::mem::take(&mut rest)));
                    calls = 0;
                }
            }
            if !rest.is_empty() {
                self.waiting.insert(kind, rest);
            }
        }
        batches
    }

    /// All batches that are left, with their keys. They have about the same number of calls each, and their number fits the workers,
    /// so that none of them is left alone in the end with a part of the rate of calls.
    pub fn finish(&mut self, workers: u32) -> Vec<(String, Batch)> {
        let waiting = std::mem::take(&mut self.waiting);
        let calls = |all: &[Waiting]| all.iter().map(|(_, calls)| calls).sum::<u64>();
        let mut parts: Vec<(Kind, Vec<Waiting>, u64)> = waiting
            .into_iter()
            .map(|(kind, all)| {
                let parts = calls(&all).div_ceil(CALLS);
                (kind, all, parts)
            })
            .collect();
        let workers = u64::from(workers.max(1));
        let total = self.filled as u64 + parts.iter().map(|(_, _, parts)| parts).sum::<u64>();
        if total > workers
            && let Some((_, _, largest)) = parts.iter_mut().max_by_key(|(_, all, _)| calls(all))
        {
            *largest += total.next_multiple_of(workers) - total;
        }
        let mut batches = Vec::new();
        for (kind, all, parts) in parts {
            let (all_calls, mut done, mut ends) = (calls(&all), 0, 1);
            let mut part = Vec::new();
            for one in all {
                done += one.1;
                part.push(one);
                // One repository may have the calls of several parts.
                if done * parts >= all_calls * ends {
                    batches.push(self.batch(kind, std::mem::take(&mut part)));
                    ends = done * parts / all_calls + 1;
                }
            }
        }
        batches
    }

    fn batch(&mut self, kind: Kind, repositories: Vec<Waiting>) -> (String, Batch) {
        self.filled += 1;
        let repositories = repositories.into_iter().map(|(assignment, _)| assignment).collect();
        let batch = Batch { registry_id: self.registry_id.to_owned(), repositories };
        (self.run.batch_key(kind, self.filled), batch)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::domain::enforcement::enforcement_switch::DryRunReason;

    fn run(dry_run: bool) -> Run {
        let started_at = Instant::parse("2026-11-23T00:00:00Z").unwrap();
        Run {
            run_id: "r".to_owned(),
            started_at,
            started_by: None,
            dry_run,
            protect_only: false,
            dry_run_reason: dry_run.then_some(DryRunReason::Requested),
            attempt: "a".to_owned(),
            policies_file_version: None,
            policies_file_hash: None,
            policies_file_problem: None,
        }
    }

    fn assignment(number: usize) -> Assignment {
        let repository_name = format!("app/{number:03}");
        let repository_arn = format!("arn:aws:ecr:eu-west-1:123456789012:repository/{repository_name}");
        Assignment {
            repository_name,
            repository_arn,
            policy: "all".to_owned(),
            protection: None,
            unassigned: None,
            checks_native_policy: false,
            layer_reads: None,
            cost_tag: None,
            look: None,
        }
    }

    /// Whoever may write to the bucket may write anything there.
    #[test]
    fn sizes_that_no_repository_has_lose_no_repository() {
        let absurd: Sizes =
            (0..30).map(|number| (assignment(number).repository_name, u64::MAX - number as u64)).collect();
        for workers in [1, 4, u32::MAX] {
            assert_eq!(counts(30, &absurd, workers).iter().sum::<usize>(), 30);
        }
    }

    /// The number of repositories in each batch of `repositories`, on pages of a thousand, which are pushed to be deleted from.
    fn counts(repositories: usize, sizes: &Sizes, workers: u32) -> Vec<usize> {
        let run = run(false);
        let mut batcher = Batcher::new(&run, "1", sizes, 0);
        let mut batches = Vec::new();
        for number in 0..repositories {
            if number > 0 && number % 1000 == 0 {
                batches.extend(batcher.full());
            }
            batcher.push(assignment(number), Apply::Delete);
        }
        batches.extend(batcher.finish(workers));
        assert_eq!(batcher.filled(), batches.len());
        let keys: Vec<&str> = batches.iter().map(|(key, _)| key.as_str()).collect();
        let numbers = (1..=batches.len()).map(|n| format!("runs/r/batches/a/enforce/{n:06}.json"));
        assert_eq!(keys, numbers.collect::<Vec<_>>());
        let names = batches.iter().flat_map(|(_, batch)| &batch.repositories).cloned();
        assert!(names.eq((0..repositories).map(assignment)), "each once, in their order");
        batches.iter().map(|(_, batch)| batch.repositories.len()).collect()
    }

    #[test]
    fn a_run_checks_the_repositories_of_all_days_since_the_last_one() {
        let at = |text: &str| Instant::parse(text).unwrap();
        let names: Vec<String> = (0..70).map(|number| format!("app/{number}")).collect();
        let checked = |now: &str, last: Option<&str>| -> HashSet<&str> {
            let is_checked = |name: &&str| checks_native_policy(name, at(now), last.map(at));
            names.iter().map(String::as_str).filter(is_checked).collect()
        };
        let of_day = |day: u32| checked(&format!("2026-11-{day:02}T04:00:00Z"), None);
        assert_eq!(checked("2026-11-23T04:00:00Z", Some("2026-11-22T23:59:59Z")), of_day(23));
        assert_eq!(checked("2026-11-23T04:00:00Z", Some("2026-11-23T03:00:00Z")), of_day(23), "twice a day");
        assert_eq!(
            checked("2026-11-23T04:00:00Z", Some("2026-11-25T03:00:00Z")),
            of_day(23),
            "clocks differ"
        );
        let since_friday = checked("2026-11-23T04:00:00Z", Some("2026-11-20T04:00:00Z"));
        assert_eq!(since_friday, (21..=23).flat_map(of_day).collect());
        for last in ["2026-11-16T05:00:00Z", "2025-11-16T05:00:00Z", "1970-01-01T00:00:00Z"] {
            assert_eq!(checked("2026-11-23T04:00:00Z", Some(last)).len(), names.len(), "{last}");
        }
    }

    #[test]
    fn batches_hold_about_the_same_work() {
        let sizes = Sizes::from([("app/001".to_owned(), 60_000)]);
        // 309 calls.
        assert_eq!(counts(250, &sizes, 2), [19, 77, 77, 77]);
        // One repository of more calls than a batch has.
        let sizes = Sizes::from([("app/001".to_owned(), 300_000)]);
        assert_eq!(counts(40, &sizes, 2), [2, 38]);
        assert_eq!(counts(0, &sizes, 2), [0; 0]);
    }

    #[test]
    fn no_batch_is_left_alone_at_the_end_of_a_run() {
        let none = Sizes::new();
        assert_eq!(counts(1, &none, 2), [1]);
        assert_eq!(counts(100, &none, 2), [100], "alone it has the whole rate");
        assert_eq!(counts(101, &none, 2), [51, 50]);
        assert_eq!(counts(201, &none, 2), [51, 50, 50, 50]);
        assert_eq!(counts(201, &none, 4), [67, 67, 67]);
        assert_eq!(counts(500, &none, 1), [100; 5]);
        // What is written of the first page cannot be divided any more.
        assert_eq!(counts(1050, &none, 2), [vec![100; 10], vec![25, 25]].concat());
        for repositories in 0..2300 {
            let counts = counts(repositories, &none, 3);
            // Of two repositories on the last page there are no three batches.
            let is_even = counts.len() <= 3 || counts.len().is_multiple_of(3) || repositories % 1000 < 3;
            assert!(is_even, "{repositories}: {counts:?}");
        }
    }

    #[test]
    fn a_run_works_on_no_more_batches_at_a_time_than_its_rate_keeps_busy() {
        let listed = |kind: Kind, count: usize| {
            (0..count).map(|n| Listed { key: run(false).batch_key(kind, n), workers: 1 }).collect::<Vec<_>>()
        };
        let previews = listed(Kind::Preview, 50);
        assert_eq!(workers(2, 20.0, &previews), 2);
        assert_eq!(workers(8, 20.0, &previews), 2);
        assert_eq!(workers(8, 5.0, &previews), 1);
        assert_eq!(workers(8, 100.0, &previews), 8);
        assert_eq!(workers(20, 100.0, &previews), 10);
        assert_eq!(workers(8, 20.0, &previews[..1]), 1);
        assert_eq!(workers(8, 20.0, &[]), 1);
        // One that deletes waits for more than its rate.
        assert_eq!(workers(8, 20.0, &listed(Kind::Enforce, 50)), 8);
        // Each makes a call a second, at least: together no more than are configured.
        assert_eq!(workers(100, 20.0, &listed(Kind::Enforce, 200)), 20);
        assert_eq!(workers(100, 1.0, &listed(Kind::Enforce, 200)), 1);
        assert_eq!(workers(100, 7.5, &listed(Kind::Enforce, 200)), 7);
        for rate in [f64::NAN, f64::NEG_INFINITY, -1.0, 0.0, 0.1] {
            assert_eq!(workers(100, rate, &listed(Kind::Enforce, 200)), 1, "{rate}");
            assert_eq!(workers(100, rate, &previews), 1, "{rate}");
        }
        assert_eq!(workers(u32::MAX, f64::INFINITY, &listed(Kind::Enforce, 200)), 200);
        assert_eq!(workers(0, 20.0, &previews), 1);
        assert_eq!(workers(8, 20.0, &[previews, listed(Kind::Enforce, 1)].concat()), 8);
    }

    #[test]
    fn a_dry_run_that_nobody_asked_for_still_protects_what_ecr_enforces() {
        let sizes = Sizes::new();
        let run = Run { dry_run_reason: Some(DryRunReason::EnforceOff), ..run(true) };
        let mut batcher = Batcher::new(&run, "1", &sizes, 0);
        batcher.push(assignment(1), Apply::Delete);
        batcher.push(assignment(2), Apply::Attach);
        let batches = batcher.finish(4);
        assert_eq!(batches.len(), 2);
        assert_eq!(batches[1].0, "runs/r/batches/a/enforce/000002.json");
        assert_eq!(batches[1].1.repositories, [assignment(2)]);
    }

    #[test]
    fn what_is_only_previewed_is_apart_and_in_a_dry_run_it_is_everything() {
        let sizes = Sizes::new();
        for (dry_run, expected) in [
            (false, vec!["runs/r/batches/a/preview/000001.json", "runs/r/batches/a/enforce/000002.json"]),
            (true, vec!["runs/r/batches/a/preview/000001.json"]),
        ] {
            let run = run(dry_run);
            let mut batcher = Batcher::new(&run, "1", &sizes, 0);
            batcher.push(assignment(0), Apply::Preview);
            batcher.push(assignment(1), Apply::Delete);
            batcher.push(assignment(2), Apply::Attach);
            let keys: Vec<String> = batcher.finish(4).into_iter().map(|(key, _)| key).collect();
            assert_eq!(keys, expected);
        }
    }
}
