//! Looks at repositories from run to run: written by the report of a run, and read by the inventory of the next one, object by object
//! in the order in which Amazon ECR lists repositories.
//!
//! A record that cannot be read or is not found makes the run look, no more. Each says by which policies file and by which version of
//! this project it was made, so that it does not matter which run wrote it: another version may find something else.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::read_changes::{KnownChanges, Queue, read, read_again};
use super::{RunContext, RunError};
use crate::domain::enforcement::outcome::Outcome;
use crate::domain::enforcement::run::Run;
use crate::domain::enforcement::unchanged::{
    Candidate, Known, LookRequest, MAX_OUTCOME_BYTES, QuietTime, SHARD, is_settled, used_again,
};
use crate::domain::text::instant::Instant;

/// Key prefix of the looks.
const LOOKS: &str = "state/looks/";
/// The key of the list of the objects with looks.
const INDEX_KEY: &str = "state/looks/index.json";

/// The version of this project.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The objects that a completed run wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    /// The run.
    run_id: String,
    /// Their keys, by their numbers.
    shards: BTreeMap<u64, Vec<String>>,
}

/// The first line of an object with looks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    policies_file_hash: String,
    /// The version of this project that looked; empty in what the first versions wrote.
    #[serde(default)]
    version: String,
}

/// The name in a line.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    repository_name: String,
}

/// The looks of some objects.
#[derive(Debug, Default)]
struct Shard {
    policies_file_hash: String,
    /// The lines by the names of repositories: most are never parsed further.
    lines: HashMap<String, Box<str>>,
}

impl Shard {
    fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let mut lines = text.lines();
        let Head { policies_file_hash, version } = serde_json::from_str(lines.next().unwrap_or_default())?;
        if version != VERSION {
            return Ok(Self::default());
        }
        let named = |line: &str| {
            let Named { repository_name } = serde_json::from_str(line)?;
            Ok((repository_name, line.into()))
        };
        Ok(Self { policies_file_hash, lines: lines.map(named).collect::<Result<_, serde_json::Error>>()? })
    }
}

/// Decides in an inventory which repositories are not looked at again.
#[derive(Debug)]
pub(super) struct Unchanged {
    changes: KnownChanges,
    references: HashSet<u64>,
    policies_file_hash: String,
    index: Index,
    /// The objects around the page of repositories that is decided about.
    open: BTreeMap<u64, Vec<Shard>>,
    is_enforcing: bool,
    now: Instant,
}

/// What a run does with a repository.
#[derive(Debug)]
pub(super) enum Decision {
    /// It uses this outcome again.
    LeaveOut(Box<Outcome>),
    /// It looks.
    Look(LookRequest),
}

impl Unchanged {
    /// What is known at the beginning of an inventory, or of its next invocation. `references` are the hashes of those in use.
    pub(super) async fn begin(
        clients: &RunContext<'_>,
        run: &Run,
        queue: Queue<'_>,
        references: HashSet<u64>,
        (is_first, problem): (bool, Option<String>),
    ) -> Self {
        let now = clients.now();
        let mut changes = match is_first {
            true => read(clients, queue, now).await,
            false => read_again(clients, queue, now).await,
        };
        // What one invocation did not know the next one does not, either.
        changes.problem = problem.or(changes.problem);
        let policies_file_hash = run.policies_file_hash.clone().unwrap_or_default();
        let index = match changes.problem {
            Some(_) => Index::default(),
            None => index(clients).await,
        };
        let open = BTreeMap::new();
        Self { changes, references, policies_file_hash, index, open, is_enforcing: !run.dry_run, now }
    }

    /// Why the run looks at everything; none if it does not.
    pub(super) fn problem(&self) -> Option<&String> {
        self.changes.problem.as_ref()
    }

    /// Reads the looks that may be at repositories of these places in the list of all. Between two runs a repository moves by fewer
    /// places than an object has, or is looked at.
    pub(super) async fn read_around(&mut self, clients: &RunContext<'_>, first: u64, count: u64) {
        let last = (first + count) / SHARD + 1;
        let range = (first / SHARD).saturating_sub(1)..=last;
        self.open.retain(|number, _| range.contains(number));
        for number in range {
            if self.open.contains_key(&number) {
                continue;
            }
            let mut shards = Vec::new();
            for key in self.index.shards.get(&number).into_iter().flatten() {
                match shard(clients, key).await {
                    Ok(Some(shard)) => shards.push(shard),
                    Ok(None) => tracing::warn!(key, "looks at repositories are gone"),
                    Err(error) => tracing::warn!(key, %error, "looks at repositories could not be read"),
                }
            }
            self.open.insert(number, shards);
        }
    }

    /// Decides about a repository at this place in the list of all.
    pub(super) fn decide(&self, candidate: &Candidate<'_>, place: u64) -> Decision {
        let (changes, now) = (&self.changes.changes, self.now);
        let shard = place / SHARD;
        let known = Known {
            policies_file_hash: &self.policies_file_hash,
            changes,
            references: &self.references,
            now,
        };
        let Some((outcome, hash)) = self.last(candidate.repository_name) else {
            return Decision::Look(LookRequest { shard, quiet: None });
        };
        let Some(look) = outcome.look.clone() else {
            return Decision::Look(LookRequest { shard, quiet: None });
        };
        match known.leaves_out(candidate, (&look, &outcome, hash)) {
            Ok(()) => {
                let mut outcome = used_again(outcome, look, candidate, self.is_enforcing);
                if let Some(look) = &mut outcome.look {
                    look.shard = shard;
                }
                Decision::LeaveOut(Box::new(outcome))
            }
            Err(reason) => {
                tracing::debug!(repository = candidate.repository_name, ?reason, "looks again");
                let is_known = changes.counts(look.at)
                    && !changes.is_changed_since(candidate.repository_name, look.at)
                    && candidate.created_at.is_none_or(|at| at < look.at);
                let quiet = is_known.then(|| QuietTime::since(look.at, now)).flatten();
                Decision::Look(LookRequest { shard, quiet })
            }
        }
    }

    /// The last look at a repository, with its outcome, and the hash of its policies file.
    fn last(&self, name: &str) -> Option<(Outcome, &str)> {
        let all = self.open.values().flatten().filter_map(|shard| {
            let outcome: Outcome = serde_json::from_str(shard.lines.get(name)?).ok()?;
            Some((outcome, shard.policies_file_hash.as_str()))
        });
        all.max_by_key(|(outcome, _)| outcome.look.as_ref().map(|look| look.at))
    }
}

/// The list of objects with looks; empty if there is none.
async fn index(clients: &RunContext<'_>) -> Index {
    let read = match clients.call(clients.s3.get(clients.bucket, INDEX_KEY)).await {
        Ok(None) => return Index::default(),
        Ok(Some(object)) => serde_json::from_str(&object.text).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    read.unwrap_or_else(|problem| {
        tracing::warn!(key = INDEX_KEY, problem, "looks at repositories could not be read");
        Index::default()
    })
}

async fn shard(clients: &RunContext<'_>, key: &str) -> Result<Option<Shard>, RunError> {
    let Some(object) = clients.call(clients.s3.get(clients.bucket, key)).await? else { return Ok(None) };
    let shard = Shard::parse(&object.text).map_err(|error| clients.invalid_object(key, error))?;
    Ok(Some(shard))
}

/// Writes the looks of a run while its outcomes are read.
#[derive(Debug)]
pub(super) struct LookWriter<'a, 'c> {
    clients: &'a RunContext<'c>,
    head: Option<String>,
    index: Index,
    /// Lines that are not written yet, by the numbers of their objects.
    open: BTreeMap<u64, String>,
    /// Where the last outcomes are from. Those of one place come in the order of the list of repositories.
    place: String,
}

impl<'a, 'c> LookWriter<'a, 'c> {
    /// For the looks of a run.
    pub(super) fn new(clients: &'a RunContext<'c>, run: &Run) -> Self {
        // By a file that nobody knows, or by a part of the registry, nothing is left out.
        let hash = run.policies_file_hash.clone().filter(|_| !run.protect_only);
        let head = hash.map(|policies_file_hash| Head { policies_file_hash, version: VERSION.to_owned() });
        let head = head.and_then(|head| serde_json::to_string(&head).ok());
        let index = Index { run_id: run.run_id.clone(), shards: BTreeMap::new() };
        Self { clients, head, index, open: BTreeMap::new(), place: String::new() }
    }

    /// Adds an outcome, if the next run may use it again.
    pub(super) fn add(&mut self, outcome: &Outcome) {
        let Some(look) = outcome.look.as_ref().filter(|_| self.head.is_some() && is_settled(outcome)) else {
            return;
        };
        match serde_json::to_string(outcome) {
            Ok(line) if line.len() <= MAX_OUTCOME_BYTES => {
                let lines = self.open.entry(look.shard).or_default();
                lines.push('\n');
                lines.push_str(&line);
            }
            // Its repository is looked at again.
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(repository = outcome.repository_name, %error, "could not write down a look");
            }
        }
    }

    /// Prepares for the outcomes of a batch or a page, of which this is the place: those of one place come in the order of the list of
    /// repositories.
    pub(super) async fn begin(&mut self, place: &str) {
        if self.place != place {
            let all = std::mem::take(&mut self.open);
            self.write(all).await;
            place.clone_into(&mut self.place);
        }
    }

    /// Writes what is complete when all outcomes of a batch or a page were added.
    pub(super) async fn end(&mut self) {
        if let Some(last) = self.open.keys().next_back().copied() {
            let rest = self.open.split_off(&last);
            let complete = std::mem::replace(&mut self.open, rest);
            self.write(complete).await;
        }
    }

    /// Writes the list of the objects. With `is_trusted` false it is empty, and the next run looks at everything.
    pub(super) async fn finish(mut self, is_trusted: bool) {
        let all = std::mem::take(&mut self.open);
        self.write(all).await;
        if !is_trusted {
            self.index.shards.clear();
        }
        let text = match serde_json::to_string(&self.index) {
            Ok(text) => text,
            Err(error) => return tracing::warn!(%error, "could not write down the looks"),
        };
        let clients = self.clients;
        let written = clients.s3.write(clients.bucket, INDEX_KEY, &text, "application/json");
        if let Err(error) = clients.call(written).await {
            tracing::warn!(key = INDEX_KEY, %error, "could not write down the looks");
        }
    }

    async fn write(&mut self, shards: BTreeMap<u64, String>) {
        let (Some(head), clients) = (&self.head, self.clients) else { return };
        for (number, lines) in shards {
            let keys = self.index.shards.entry(number).or_default();
            let key = format!("{LOOKS}{number:06}-{}.jsonl", keys.len());
            let text = format!("{head}{lines}\n");
            let written = clients.s3.write(clients.bucket, &key, &text, "application/jsonl");
            match clients.call(written).await {
                Ok(()) => keys.push(key),
                Err(error) => tracing::warn!(key, %error, "could not write down looks"),
            }
        }
    }
}
