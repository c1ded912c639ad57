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
    /// Whether this run checks the effect of the repository's own lifecycle policy: a seventh of the registry each day.
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

/// Whether a repository's own lifecycle policy is checked on the day of `now`: each is checked once in seven days.
#[must_use]
pub fn checks_native_policy(repository_name: &str, now: Instant) -> bool {
    const DAYS: u64 = 7;
    let day = now.micros().div_euclid(86_400_000_000).unsigned_abs();
    let hash =
        repository_name.bytes().fold(0_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    hash % DAYS == day % DAYS
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
}

/// The number of images in each repository when it was last read. Only repositories with more than one page of images are listed.
pub type Sizes = BTreeMap<String, u64>;

/// Fills batches.
#[derive(Debug)]
pub struct Batcher<'a> {
    run: &'a Run,
    sizes: &'a Sizes,
    open: BTreeMap<Kind, (Batch, u64)>,
    filled: usize,
}

impl<'a> Batcher<'a> {
    /// Batches of a run, after a number of batches that were filled before.
    #[must_use]
    pub const fn new(run: &'a Run, sizes: &'a Sizes, filled: usize) -> Self {
        Self { run, sizes, open: BTreeMap::new(), filled }
    }

    /// The number of filled batches.
    #[must_use]
    pub const fn filled(&self) -> usize {
        self.filled
    }

    /// Puts a repository into a batch; gives the batch with its key when that is full.
    pub fn push(
        &mut self,
        registry_id: &str,
        assignment: Assignment,
        apply: Apply,
    ) -> Option<(String, Batch)> {
        // What ECR enforces by itself has to be protected, or suspended, also where this run takes nothing.
        let is_protected = apply.is_by_ecr() || assignment.protection.is_some();
        let kind = match apply {
            _ if is_protected && self.run.only_protects() => Kind::Enforce,
            _ if self.run.dry_run => Kind::Preview,
            Apply::Preview if !is_protected => Kind::Preview,
            Apply::Preview | Apply::Attach | Apply::Protect | Apply::Delete => Kind::Enforce,
        };
        let images = self.sizes.get(&assignment.repository_name).copied().unwrap_or_default();
        let (batch, calls) = self.open.entry(kind).or_default();
        registry_id.clone_into(&mut batch.registry_id);
        batch.repositories.push(assignment);
        *calls += images.div_ceil(PAGE).max(1);
        if *calls < CALLS {
            return None;
        }
        let (batch, _) = self.open.remove(&kind)?;
        Some((self.next_key(kind), batch))
    }

    /// The batches that are not full.
    pub fn finish(&mut self) -> Vec<(String, Batch)> {
        let open = std::mem::take(&mut self.open);
        open.into_iter().map(|(kind, (batch, _))| (self.next_key(kind), batch)).collect()
    }

    fn next_key(&mut self, kind: Kind) -> String {
        self.filled += 1;
        self.run.batch_key(kind, self.filled)
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn batches_hold_about_the_same_work() {
        let (run, sizes) = (run(false), Sizes::from([("app/001".to_owned(), 60_000)]));
        let mut batcher = Batcher::new(&run, &sizes, 0);
        let mut full = Vec::new();
        for number in 0..250 {
            full.extend(batcher.push("1", assignment(number), Apply::Delete));
        }
        full.extend(batcher.finish());
        let counts: Vec<usize> = full.iter().map(|(_, batch)| batch.repositories.len()).collect();
        assert_eq!(counts, [41, 100, 100, 9]);
        let keys: Vec<&str> = full.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(
            keys[..2],
            ["runs/r/batches/a/enforce/000001.json", "runs/r/batches/a/enforce/000002.json"]
        );
        let all: Vec<&Assignment> = full.iter().flat_map(|(_, batch)| &batch.repositories).collect();
        assert_eq!(all.len(), 250);
        assert_eq!(batcher.filled(), 4);
    }

    #[test]
    fn a_dry_run_that_nobody_asked_for_still_protects_what_ecr_enforces() {
        let sizes = Sizes::new();
        let run = Run { dry_run_reason: Some(DryRunReason::EnforceOff), ..run(true) };
        let mut batcher = Batcher::new(&run, &sizes, 0);
        batcher.push("1", assignment(1), Apply::Delete);
        batcher.push("1", assignment(2), Apply::Attach);
        let batches = batcher.finish();
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
            let mut batcher = Batcher::new(&run, &sizes, 0);
            batcher.push("1", assignment(0), Apply::Preview);
            batcher.push("1", assignment(1), Apply::Delete);
            batcher.push("1", assignment(2), Apply::Attach);
            let keys: Vec<String> = batcher.finish().into_iter().map(|(key, _)| key).collect();
            assert_eq!(keys, expected);
        }
    }
}
