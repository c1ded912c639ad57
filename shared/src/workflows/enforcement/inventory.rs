//! Finds all repositories of a registry, the policy of each, and the images in use, and writes batches of repositories. At most
//! one page of repositories is in memory.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::{RunContext, RunError, check_clock};
use crate::aws::AwsError;
use crate::aws::pages::Pages;
use crate::aws::resource_tags::TaggedBy;
use crate::domain::enforcement::batch::{
    Assignment, Batch, Batcher, Listed, Protection, Sizes, checks_native_policy, most_workers, only_reads,
    workers,
};
use crate::domain::enforcement::enforcement_switch::{DryRunReason, Request, preview_key};
use crate::domain::enforcement::outcome::{Outcome, Status};
use crate::domain::enforcement::outcome_file;
use crate::domain::enforcement::policy_set::{self, Apply, Match, PolicySet, Sources};
use crate::domain::enforcement::run::Run;
use crate::domain::enforcement::run::message_of_cause;
use crate::domain::enforcement::unchanged::{Candidate, reference_hashes};
use crate::domain::text::finding::{Finding, in_a_sentence};
use crate::domain::text::instant::Instant;
use crate::domain::usage::UnreadableSource;
use crate::domain::usage::list_memory;
use crate::domain::usage::usage_snapshot::{ReadOnce, UsageSnapshot};
use crate::workflows::enforcement::look_records::{Decision, Unchanged};
use crate::workflows::enforcement::object_problem::ObjectProblem;
use crate::workflows::enforcement::read_changes::Queue;
use crate::workflows::enforcement::read_layers::{CostSettings, CostShares};
use crate::workflows::enforcement::read_usage;
use crate::workflows::enforcement::registry_limit::last_count;
use crate::workflows::protection_records::ProtectionRecords;

/// Calls at the same time.
const READ_CONCURRENCY: usize = 4;
/// Minimum time left for starting another page.
const LEAST: Duration = Duration::from_secs(15);
/// The key of how many images repositories had that have many.
pub const SIZES_KEY: &str = "cache/sizes.json";
/// The key of the last valid policies file. Its rules about use apply while the present file is invalid.
pub const LAST_VALID_KEY: &str = "state/policies.yaml";
/// Maximum length of what is wrong with a policies file, in characters: it is in the input of every task.
const MAX_PROBLEM_CHARACTERS: usize = 2000;

/// The progress of an inventory: the input of the next invocation as long as there is a token, and then of the following steps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// The number of repositories.
    pub repositories: u64,
    /// The number of repositories without a policy.
    pub unmatched: u64,
    /// The number of unreadable repositories, whose policy is unknown.
    pub unreadable: u64,
    /// The number of repositories that are not looked at again, since nothing has changed there.
    #[serde(skip_serializing_if = "is_zero")]
    pub unchanged: u64,
    /// Whether the run reads which repositories changed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reads_changes: bool,
    /// Why all repositories are looked at, although the stack looks only at those that may have changed; none if it is otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_changes: Option<String>,
    /// The number of batches.
    pub batches: usize,
    /// The number of them that are worked on at the same time.
    pub workers: u32,
    /// Whether there is a policies file.
    #[serde(alias = "hasBook")]
    pub has_policies_file: bool,
    /// Why it is not known which repositories ask for protection by their resource tag; none if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread_tags: Option<String>,
    /// Why the resource tag by which costs are added up is not known; none if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread_cost_tags: Option<String>,
    /// The calls to read layers that are left for repositories that no run knows; none where layers are not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spare_layer_reads: Option<u32>,
    /// The invocations that took the inventory, one after the other. Objects of others, which were killed, do not count.
    pub attempts: Vec<String>,
    /// The token for the next invocation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The invocation that takes an inventory.
#[derive(Debug, Clone, Copy)]
pub struct Invocation<'a> {
    /// Lambda's unique id of the request.
    pub request_id: &'a str,
    /// The account of the function, whose registry it is.
    pub account_id: &'a str,
    /// The name of the function's stack.
    pub stack: &'a str,
    /// Whether the stack's parameter `Enforce` is `true` now.
    pub is_on: bool,
    /// Maximum number of batches at the same time, by the stack's parameter.
    pub max_concurrency: u32,
    /// What is read for costs.
    pub costs: CostSettings<'a>,
    /// The queue with the events of Amazon ECR; `None` if every run looks at everything.
    pub queue: Option<Queue<'a>>,
}

/// Why there is no inventory.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// A call failed, or time is up.
    #[error(transparent)]
    RunError(#[from] RunError),
    /// The policies file is not valid; nothing is done by it.
    #[error("{}: {}", policy_set::KEY, in_a_sentence(.0))]
    PolicySet(Vec<Finding>),
}

/// What the inventory could not find out. The run continues without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Unknown {
    /// The tags that decide about a repository's policy cannot be read.
    #[error("which policy is for it is not known: {0}")]
    Policy(AwsError),
    /// No policies file was valid yet, so that the lists that it declares are unknown.
    #[error(
        "the policies file is not valid, and no run has read one that was: which lists it declares is not known"
    )]
    DeclaredLists,
}

/// Takes the inventory of a run, or continues it. Returns the run with what was decided: whether it is a dry run, the version of
/// its policies file, and the attempt that its batches belong to.
///
/// An invocation writes below its own id only, and the list of batches last. So nothing counts of an invocation that was killed,
/// even if it continues beside its successor.
///
/// # Errors
///
/// If the policies file is invalid or a call fails; then there is no run.
pub async fn take(
    clients: &RunContext<'_>,
    run: &Run,
    progress: Progress,
    invocation: Invocation<'_>,
) -> Result<(Run, Progress), InventoryError> {
    let now = clients.now();
    let before = run;
    let mut run = Run { attempt: invocation.request_id.to_owned(), ..before.clone() };
    let mut progress = progress;
    let mut batches: Vec<Listed> = Vec::new();
    let is_first = progress.next_token.is_none();
    let (policy_set, worklist, references) = if is_first {
        let Beginning { policy_set, has_policies_file, worklist, references } =
            begin(clients, &mut run, invocation, now).await?;
        progress = Progress { has_policies_file, ..Progress::default() };
        (policy_set, worklist, references)
    } else {
        let (policies_file_key, usage_key) = (before.policies_file_key(), before.usage_key());
        let list_key = before.batch_list_key();
        let (text, usage, list) = tokio::try_join!(
            clients.object(&policies_file_key, now),
            clients.object(&usage_key, now),
            clients.object(&list_key, now)
        )?;
        batches = read_list(clients, &list_key, &list)?;
        keep(clients, &run, &text, &usage).await?;
        let policy_set = PolicySet::parse(&text);
        let policy_set = if run.policies_file_problem.is_some() {
            let policy_set = policy_set.map_err(|findings| {
                clients.invalid_object(&policies_file_key, ObjectProblem::PoliciesFile(findings))
            })?;
            policy_set.without_policies()
        } else {
            policy_set.map_err(InventoryError::PolicySet)?
        };
        let worklist = Worklist::read(clients, &run, &policy_set, invocation, now).await?;
        let references = match invocation.queue {
            Some(_) => UsageSnapshot::parse(&usage)
                .map(|usage| reference_hashes(&usage.usage))
                .map_err(|error| clients.invalid_object(&usage_key, error))?,
            None => HashSet::new(),
        };
        (policy_set, worklist, references)
    };
    // A part of the registry, and a registry without policies, are looked at as they are.
    let mut unchanged = match invocation.queue {
        Some(queue) if !worklist.only_protects && !worklist.surveys => {
            let before = (is_first, progress.unknown_changes.take());
            Some(Unchanged::begin(clients, &run, queue, references, before).await)
        }
        _ => None,
    };
    progress.reads_changes = unchanged.is_some();
    progress.unknown_changes = unchanged.as_ref().and_then(Unchanged::problem).cloned();
    let sizes = clients.call(clients.s3.get(clients.bucket, SIZES_KEY)).await?;
    // Without them batches are of uneven size, no more.
    let sizes: Sizes = sizes.and_then(|object| serde_json::from_str(&object.text).ok()).unwrap_or_default();
    let spare = progress.spare_layer_reads;
    let mut shares = CostShares::read(clients, &run, invocation.account_id, invocation.costs, spare).await;
    progress.unread_cost_tags.clone_from(&shares.problem);
    let mut batcher = Batcher::new(&run, invocation.account_id, &sizes, progress.batches);
    let mut page_number = progress.repositories;
    let mut pages = Pages::new("DescribeRepositories").after(progress.next_token.take());
    if let Err(problem) = &worklist.tagged {
        progress.unread_tags = Some(problem.clone());
    }
    loop {
        let page = clients.call(clients.ecr.repositories(None, pages.token())).await?;
        let first = progress.repositories;
        progress.repositories += page.repositories.len() as u64;
        if let Some(unchanged) = &mut unchanged {
            unchanged.read_around(clients, first, page.repositories.len() as u64).await;
        }
        let mut outcomes: Vec<Outcome> = Vec::new();
        let assigned: Vec<_> = stream::iter(page.repositories.iter())
            .map(|repository| assign(clients, &policy_set, &repository.name, &repository.arn))
            .buffered(READ_CONCURRENCY)
            .collect()
            .await;
        for ((place, repository), entry) in (first..).zip(&page.repositories).zip(assigned) {
            let outcome = match entry {
                Ok(entry) if worklist.takes(&repository.name, entry) => {
                    let (layer_reads, cost_tag) = shares.of(&repository.name);
                    let decision = unchanged.as_ref().zip(entry).map(|(unchanged, entry)| {
                        let candidate = Candidate {
                            repository_name: &repository.name,
                            created_at: repository.created_at,
                            policy: &entry.name,
                            apply: entry.apply,
                            is_protected: worklist.may_be_protected(&repository.name),
                            checks_native_policy: worklist
                                .checks_native_policy(&repository.name, Some(entry)),
                            layer_reads,
                        };
                        unchanged.decide(&candidate, place)
                    });
                    let look = match decision {
                        Some(Decision::LeaveOut(outcome)) => {
                            progress.unchanged += 1;
                            outcomes.push(Outcome { cost_tag, ..*outcome });
                            continue;
                        }
                        Some(Decision::Look(request)) => Some(request),
                        None => None,
                    };
                    let assignment = Assignment {
                        repository_name: repository.name.clone(),
                        repository_arn: repository.arn.clone(),
                        policy: entry.map(|entry| entry.name.clone()).unwrap_or_default(),
                        protection: worklist.protection(&repository.name),
                        unassigned: None,
                        checks_native_policy: worklist.checks_native_policy(&repository.name, entry),
                        layer_reads,
                        cost_tag,
                        look,
                    };
                    let apply = entry.map_or(Apply::Preview, |entry| entry.apply);
                    batcher.push(assignment, apply);
                    progress.unmatched += u64::from(entry.is_none());
                    continue;
                }
                // What is not protected is not in a run that only protects.
                Ok(_) if worklist.only_protects => continue,
                Ok(_) => {
                    progress.unmatched += 1;
                    Outcome {
                        repository_name: repository.name.clone(),
                        status: Status::Unmatched,
                        ..Outcome::default()
                    }
                }
                // What AWS says of one repository is no reason to leave all others alone.
                Err(RunError::Aws(error)) => {
                    progress.unreadable += 1;
                    tracing::warn!(repository = repository.name, %error, "could not read a repository");
                    let problem = Unknown::Policy(error).to_string();
                    let protection = worklist.protection(&repository.name);
                    if protection.is_some() {
                        // What ECR enforces there must not go on by itself.
                        let assignment = Assignment {
                            repository_name: repository.name.clone(),
                            repository_arn: repository.arn.clone(),
                            policy: String::new(),
                            protection,
                            unassigned: Some(problem),
                            checks_native_policy: false,
                            layer_reads: None,
                            cost_tag: None,
                            look: None,
                        };
                        batcher.push(assignment, Apply::Preview);
                        continue;
                    }
                    Outcome {
                        repository_name: repository.name.clone(),
                        status: Status::Failed,
                        error: Some(problem),
                        ..Outcome::default()
                    }
                }
                Err(error) => return Err(error.into()),
            };
            outcomes.push(outcome);
        }
        let goes_on = pages.follow(page.next_token).map_err(RunError::Aws)?;
        let is_over = !goes_on || !clients.deadline.has(LEAST);
        let full = match (goes_on, is_over) {
            (false, _) => {
                let is_reading = only_reads(&batches) && batcher.only_reads();
                batcher.finish(most_workers(
                    invocation.max_concurrency,
                    clients.connection.requests_per_second(),
                    is_reading,
                ))
            }
            // The next invocation goes on, and is the one that evens them out.
            (true, true) => batcher.finish(1),
            (true, false) => batcher.full(),
        };
        write(clients, &full).await?;
        batches.extend(full.into_iter().map(|(key, _)| Listed { key, workers: 1 }));
        if !outcomes.is_empty() {
            let folder = run.outcomes_of_inventory(&run.attempt);
            let key = format!("{folder}{page_number:06}{}", outcome_file::EXTENSION);
            let content =
                outcome_file::write(outcomes).map_err(|error| clients.invalid_object(&key, error))?;
            let written = clients.s3.upload(clients.bucket, &key, content, outcome_file::CONTENT_TYPE);
            clients.call(written).await?;
        }
        page_number = progress.repositories;
        if is_over {
            break;
        }
    }
    progress.batches = batcher.filled();
    progress.spare_layer_reads = shares.spare();
    progress.next_token = pages.token().map(str::to_owned);
    progress.attempts.push(run.attempt.clone());
    let workers = workers(invocation.max_concurrency, clients.connection.requests_per_second(), &batches);
    batches.iter_mut().for_each(|batch| batch.workers = workers);
    progress.workers = workers;
    let list_key = run.batch_list_key();
    let list = serde_json::to_string(&batches).map_err(|error| clients.invalid_object(&list_key, error))?;
    clients.call(clients.s3.write(clients.bucket, &list_key, &list, "application/json")).await?;
    tracing::info!(
        run = run.run_id,
        repositories = progress.repositories,
        unmatched = progress.unmatched,
        unchanged = progress.unchanged,
        unreadable = progress.unreadable,
        batches = progress.batches,
        is_complete = progress.next_token.is_none(),
        dry_run_reason = ?run.dry_run_reason,
        "took the inventory"
    );
    Ok((run, progress))
}

/// The repositories that a run processes, in addition to those of the policies file.
#[derive(Debug)]
struct Worklist {
    /// The repositories that the stack has a record of: it attached their policies.
    recorded: BTreeSet<String>,
    /// The repositories that ask for protection by their resource tag, or why they could not be read.
    tagged: Result<BTreeMap<String, TaggedBy>, String>,
    /// Whether only protected repositories are processed.
    only_protects: bool,
    /// Whether lifecycle policies that are not this stack's are checked.
    checks_native_policies: bool,
    /// Whether all repositories are looked at, and each of those policies is checked.
    surveys: bool,
    /// The beginning of the last completed run; `None` if none completed, or that is of no interest.
    last_run: Option<Instant>,
    /// The present.
    now: Instant,
}

impl Worklist {
    async fn read(
        clients: &RunContext<'_>,
        run: &Run,
        policy_set: &PolicySet,
        invocation: Invocation<'_>,
        now: Instant,
    ) -> Result<Self, RunError> {
        let records = ProtectionRecords { s3: clients.s3, bucket: clients.bucket };
        let recorded = clients.call(records.names()).await?.into_iter().collect();
        let Invocation { account_id, stack, .. } = invocation;
        let tagged = clients.call(clients.resource_tags.protected_repositories(account_id, stack)).await;
        let tagged = match tagged {
            Ok(tagged) => Ok(tagged),
            // What the file and the records say has to be protected has to be all the same.
            Err(RunError::Aws(error)) => {
                tracing::error!(%error, "could not read which repositories ask for protection by a tag");
                Err(error.to_string())
            }
            Err(error) => return Err(error),
        };
        let only_protects = run.protect_only || run.policies_file_problem.is_some();
        let surveys = run.surveys();
        let checks_native_policies = surveys || (!only_protects && !policy_set.entries().is_empty());
        let last_run = match checks_native_policies && !surveys {
            true => last_run(clients).await?,
            false => None,
        };
        Ok(Self { recorded, tagged, only_protects, checks_native_policies, surveys, last_run, now })
    }

    /// Whether any repository is looked at for another reason than the policies file.
    fn has_repositories(&self) -> bool {
        self.surveys
            || !self.recorded.is_empty()
            || self.tagged.as_ref().is_ok_and(|tagged| !tagged.is_empty())
    }

    fn protection(&self, repository: &str) -> Option<Protection> {
        let recorded = self.recorded.contains(repository);
        match &self.tagged {
            Ok(tagged) => match tagged.get(repository) {
                Some(TaggedBy::Owner) => Some(Protection::Tagged),
                Some(TaggedBy::Template) => Some(Protection::CreatedOnPush),
                None => recorded.then_some(Protection::Recorded),
            },
            Err(_) => recorded.then_some(Protection::Unknown),
        }
    }

    /// Whether a repository is protected, or may be since resource tags could not be read.
    fn may_be_protected(&self, repository: &str) -> bool {
        self.tagged.is_err() || self.protection(repository).is_some()
    }

    fn checks_native_policy(&self, repository: &str, entry: Option<&policy_set::Entry>) -> bool {
        let is_by_ecr = entry.is_some_and(|entry| entry.apply.is_by_ecr());
        self.checks_native_policies
            && !is_by_ecr
            && self.protection(repository).is_none()
            && (self.surveys || checks_native_policy(repository, self.now, self.last_run))
    }

    /// Whether the run processes a repository.
    fn takes(&self, repository: &str, entry: Option<&policy_set::Entry>) -> bool {
        let is_protected =
            entry.is_some_and(|entry| entry.apply.is_by_ecr()) || self.protection(repository).is_some();
        is_protected
            || (!self.only_protects && entry.is_some())
            || self.surveys
            || self.checks_native_policy(repository, entry)
    }
}

/// The beginning of the last completed run. Where what it wrote cannot be understood, it is long ago: then everything is checked, and
/// the object is written anew.
async fn last_run(clients: &RunContext<'_>) -> Result<Option<Instant>, RunError> {
    match last_count(clients).await {
        Ok(count) => Ok(count.and_then(|count| count.started_at)),
        Err(error @ RunError::Object { .. }) => {
            tracing::warn!(%error, "the time of the last run is not known: each lifecycle policy is checked");
            Ok(Instant::from_micros(0))
        }
        Err(error) => Err(error),
    }
}

/// Reads the list of a run's batches.
pub(super) fn read_list(clients: &RunContext<'_>, key: &str, text: &str) -> Result<Vec<Listed>, RunError> {
    serde_json::from_str(text).map_err(|error| clients.invalid_object(key, error))
}

/// Stores the input of the whole run: the policies file and the images in use.
async fn keep(clients: &RunContext<'_>, run: &Run, policy_set: &str, usage: &str) -> Result<(), RunError> {
    let (policies_file_key, usage_key) = (run.policies_file_key(), run.usage_key());
    clients
        .call(clients.s3.write(clients.bucket, &policies_file_key, policy_set, "application/yaml"))
        .await?;
    clients.call(clients.s3.write(clients.bucket, &usage_key, usage, "application/json")).await
}

/// What a run begins with.
struct Beginning {
    policy_set: PolicySet,
    has_policies_file: bool,
    worklist: Worklist,
    /// The hashes of the references in use, for a run that does not look at everything.
    references: HashSet<u64>,
}

/// Reads the policies file and what is in use, keeps both with the run, and decides whether it is a dry run.
async fn begin(
    clients: &RunContext<'_>,
    run: &mut Run,
    invocation: Invocation<'_>,
    now: Instant,
) -> Result<Beginning, InventoryError> {
    let mut gaps = Vec::new();
    let (policy_set, text, has_policies_file) = if let Some(problem) = &run.policies_file_problem {
        let problem = message_of_cause(problem).unwrap_or_else(|| problem.clone());
        run.policies_file_problem = Some(problem.chars().take(MAX_PROBLEM_CHARACTERS).collect());
        let (policy_set, text, gap) = last_valid(clients, now).await?;
        gaps.extend(gap);
        (policy_set, text, true)
    } else {
        let found = clients.call(clients.s3.get(clients.bucket, policy_set::KEY)).await?;
        let has_policies_file = found.is_some();
        let (policy_set, text) = match found {
            None => no_file(),
            Some(object) => {
                check_clock(object.answered_at, now)?;
                run.policies_file_version = object.version;
                let policy_set = PolicySet::parse(&object.text).map_err(InventoryError::PolicySet)?;
                let (text, kind) = (object.text, "application/yaml");
                clients.call(clients.s3.write(clients.bucket, LAST_VALID_KEY, &text, kind)).await?;
                (policy_set, text)
            }
        };
        run.policies_file_hash = has_policies_file.then(|| policy_set.hash().to_owned());
        (policy_set, text, has_policies_file)
    };
    let is_previewed = match &run.policies_file_hash {
        Some(hash) if !run.dry_run && !run.protect_only => is_previewed(clients, hash).await?,
        _ => false,
    };
    let request = Request {
        is_dry_run: run.dry_run,
        protects_only: run.protect_only,
        is_on: invocation.is_on,
        policy_set: has_policies_file.then_some(&policy_set),
        is_previewed,
    };
    run.dry_run_reason = match run.policies_file_problem {
        Some(_) => Some(DryRunReason::InvalidPoliciesFile),
        None => request.dry_run_reason(),
    };
    run.dry_run = run.dry_run_reason.is_some();
    let sources: &Sources = policy_set.usage();
    let before = read_usage::Before { gaps, ..read_usage::before(clients).await? };
    // Without any policy, use is not read.
    let is_by_file = policy_set.entries().iter().any(|entry| !run.protect_only || entry.apply.is_by_ecr());
    let worklist = match is_by_file {
        true => None,
        false => Some(Worklist::read(clients, run, &policy_set, invocation, now).await?),
    };
    let is_asked = worklist.as_ref().is_none_or(Worklist::has_repositories);
    let observation = if !is_asked {
        let memory = read_usage::remember_lists(clients, sources, before.memory.clone(), now).await?;
        if memory != before.memory {
            write_json(clients, list_memory::KEY, &memory).await?;
        }
        UsageSnapshot::default()
    } else {
        let observation = read_usage::observe(clients, sources, before.clone(), now).await?;
        let ReadOnce { known, memory, .. } = &observation.once;
        if *known != before.known {
            write_json(clients, read_usage::KNOWN_KEY, known).await?;
        }
        if *memory != before.memory {
            write_json(clients, list_memory::KEY, memory).await?;
        }
        observation
    };
    let usage = observation.to_json().map_err(|error| clients.invalid_object(&run.usage_key(), error))?;
    keep(clients, run, &text, &usage).await?;
    let references = match invocation.queue {
        Some(_) => reference_hashes(&observation.usage),
        None => HashSet::new(),
    };
    let worklist = match worklist {
        Some(worklist) => worklist,
        None => Worklist::read(clients, run, &policy_set, invocation, now).await?,
    };
    Ok(Beginning { policy_set, has_policies_file, worklist, references })
}

fn no_file() -> (PolicySet, String) {
    (PolicySet::default(), "policies: []\n".to_owned())
}

/// The rules about use of the last valid policies file, its text, and a gap if there is none.
async fn last_valid(
    clients: &RunContext<'_>,
    now: Instant,
) -> Result<(PolicySet, String, Option<UnreadableSource>), InventoryError> {
    let found = clients.call(clients.s3.get(clients.bucket, LAST_VALID_KEY)).await?;
    if let Some(object) = found {
        check_clock(object.answered_at, now)?;
        let policy_set = PolicySet::parse(&object.text);
        let policy_set = policy_set.map_err(|findings| {
            clients.invalid_object(LAST_VALID_KEY, ObjectProblem::PoliciesFile(findings))
        })?;
        return Ok((policy_set.without_policies(), object.text, None));
    }
    let (policy_set, text) = no_file();
    let gap = UnreadableSource {
        source: policy_set::KEY.to_owned(),
        repositories: Vec::new(),
        problem: Unknown::DeclaredLists.to_string(),
    };
    Ok((policy_set, text, Some(gap)))
}

async fn write_json(clients: &RunContext<'_>, key: &str, value: &impl Serialize) -> Result<(), RunError> {
    let text = serde_json::to_string(value).map_err(|error| clients.invalid_object(key, error))?;
    clients.call(clients.s3.write(clients.bucket, key, &text, "application/json")).await
}

/// Whether a completed run previewed the policies file with this hash.
pub(super) async fn is_previewed(clients: &RunContext<'_>, hash: &str) -> Result<bool, RunError> {
    let key = preview_key(hash);
    Ok(clients.call(clients.s3.get(clients.bucket, &key)).await?.is_some())
}

/// The policy of a repository. Its tags are read only if they decide.
///
/// # Errors
///
/// If they cannot be read.
pub async fn assign<'a>(
    clients: &RunContext<'_>,
    policy_set: &'a PolicySet,
    repository: &str,
    arn: &str,
) -> Result<Option<&'a policy_set::Entry>, RunError> {
    match policy_set.entry_for(repository, None) {
        Match::Entry(entry) => Ok(Some(entry)),
        Match::None => Ok(None),
        Match::TagsNeeded => {
            let tags = match clients.call(clients.ecr.tags(arn)).await {
                Ok(tags) => tags,
                // Deleted since it was listed.
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => return Err(error),
            };
            match policy_set.entry_for(repository, Some(&tags)) {
                Match::Entry(entry) => Ok(Some(entry)),
                Match::None | Match::TagsNeeded => Ok(None),
            }
        }
    }
}

async fn write(clients: &RunContext<'_>, batches: &[(String, Batch)]) -> Result<(), RunError> {
    let writing = stream::iter(batches).map(|(key, batch)| async move {
        let text = serde_json::to_string(batch).unwrap_or_default();
        clients.call(clients.s3.write(clients.bucket, key, &text, "application/json")).await
    });
    writing.buffer_unordered(READ_CONCURRENCY).try_collect().await
}
