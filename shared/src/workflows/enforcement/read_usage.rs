//! Finds the images in use: asks ECS, Lambda, EKS and ECR, and reads the lists in the stack's bucket. A source that cannot be
//! read completely is a gap, never an absence of use, and what was read of it counts.
//!
//! Some of it is read once in a run: the last active task definitions, the revisions that services may roll back to, daemons, EKS
//! clusters, replication, and the sources that are read as a whole (`aws/usage_sources.rs`). The rest is read again before
//! anything is removed: tasks, services, functions, lists.

use std::collections::BTreeMap;

use futures_util::future::try_join;
use futures_util::stream::{self, StreamExt};

use super::object_problem::ObjectProblem;
use super::{RunContext, RunError, check_clock};
use crate::aws::deadline::TimeIsUp;
use crate::aws::ecs::REVISIONS;
use crate::aws::usage_sources::{Look, asked_for};
use crate::aws::{AwsError, Failure};
use crate::domain::enforcement::policy_set::{LISTS, Sources};
use crate::domain::repository::Name;
use crate::domain::text::instant::Instant;
use crate::domain::usage::ecs::{self, Asked, Cluster, EcsUse, Facts, PinnedImage, RevisionSummary};
use crate::domain::usage::ignore::IgnoredSourceReason;
use crate::domain::usage::list_memory::{self, ListMemory};
use crate::domain::usage::replication::RegistryDescription;
use crate::domain::usage::reports::{self, Expected, FoundList, LISTING, Place, Reports, key_problem};
use crate::domain::usage::signing::ManagedSigning;
use crate::domain::usage::source::{Reading, SourceStatus, SourceSummary, UsageSource};
use crate::domain::usage::usage_list::{ListHead, MAX_LIST_BYTES, SourceReport, UsageList, Writer};
use crate::domain::usage::usage_snapshot::{Known, ReadOnce, ReadSource, UsageSnapshot};
use crate::domain::usage::{SOURCES, UnreadableSource, Usage, UsedImage, references, unreadable_list};
use crate::domain::usage::{eks, ignore, lambda, pull_access, replication, stacks};

/// Calls to one service at the same time.
const READ_CONCURRENCY: usize = 4;
/// The key of what is known of task definitions, service revisions and functions, which never change.
pub const KNOWN_KEY: &str = "cache/usage.json";
/// The source of the gap that it is not known who may pull.
const ANYBODY: &str = "account/*";
/// Maximum size of all lists together, in bytes.
const MAX_LISTS_BYTES: usize = 16 * 1024 * 1024;
/// Maximum number of objects where lists are.
const MAX_LISTS: usize = 1000;

/// The results of earlier runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Before {
    /// What never changes.
    pub known: Known,
    /// Which lists there were.
    pub memory: ListMemory,
    /// Gaps that are known from the start.
    pub gaps: Vec<UnreadableSource>,
}

/// Why it is unknown what is in use, as far as no call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum UsageProblem {
    /// The run began without reading the source.
    #[error("it was not read when the run began; the next run reads it")]
    NotReadAtStart,
    /// A command line names no bucket.
    #[error("no bucket is named, so that no lists are read; name the stack's with --bucket")]
    NoBucket,
    /// The repository policy cannot be read.
    #[error("who may pull is not known: {0}")]
    Pullers(AwsError),
    /// A policy that says who may pull cannot be understood.
    #[error("the policy of the {of} is unreadable: {problem}")]
    Policy {
        /// Whose policy it is.
        of: PolicyOf,
        /// The problem with it.
        problem: String,
    },
    /// ECS lists the daemon task definition with this ARN as active, and does not describe it.
    #[error(
        "Amazon ECS cannot describe the daemon task definition {0}, which it lists as active; register another revision, or delete it"
    )]
    DaemonDefinition(String),
    /// The image of a daemon cannot be understood.
    #[error("{daemon}: {problem}")]
    DaemonImage {
        /// The ARN of the daemon.
        daemon: String,
        /// The problem with its image.
        problem: String,
    },
    /// Lambda does not name the image of the function with this ARN.
    #[error("GetFunction: {0} is an image, and it is not said which")]
    FunctionWithoutImage(String),
    /// The bucket has this number of objects where lists are.
    #[error(
        "there are {0} objects below {LISTS}, and {MAX_LISTS} are read at most; delete those that tell of nothing"
    )]
    TooManyLists(usize),
    /// A list is larger than [`MAX_LIST_BYTES`].
    #[error("it has more than 4 MB and was not read; have it name each image once")]
    ListTooLarge,
    /// With this list, all are larger than [`MAX_LISTS_BYTES`].
    #[error(
        "all lists together have more than 16 MB, and this one was not taken in; have them name each image once"
    )]
    ListsTooLarge,
}

/// Whose policy says who may pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum PolicyOf {
    /// The repository's.
    #[error("repository")]
    Repository,
    /// The registry's.
    #[error("registry")]
    Registry,
}

/// The trusted answers about services and tasks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Also what runs before wrote down.
    Cache,
    /// Only what this process asked itself.
    WhatWasAsked,
}

/// What was read again.
struct Anew {
    /// The clusters of ECS that could be read, as far as they could.
    clusters: Vec<Cluster>,
    /// Whether all clusters are among them.
    clusters_are_listed: bool,
    /// What of ECS could not be read.
    ecs_problems: Vec<String>,
    /// The use of Lambda.
    lambda: Usage,
    /// The images of versions of functions.
    functions: BTreeMap<String, Vec<String>>,
    /// The lists that there are, or why they could not be listed; `None` where they are somebody else's to read.
    lists: Option<Result<Vec<FoundList>, String>>,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// All that a registry has to know: what its account and Region use, lists, who else may pull, where deletions go.
    Registry,
    /// What an account uses in a Region, for the registry of another.
    Account,
}

/// Reads what runs before have left behind.
///
/// # Errors
///
/// When the bucket cannot be read, and when what lists there were cannot: then a list that is missing would not be missed.
pub async fn before(clients: &RunContext<'_>) -> Result<Before, RunError> {
    if !clients.has_bucket() {
        return Ok(Before::default());
    }
    let (s3, bucket) = (clients.s3, clients.bucket);
    let reading = try_join(s3.get(bucket, KNOWN_KEY), s3.get(bucket, list_memory::KEY));
    let (known, memory) = clients.call(reading).await?;
    let memory = match memory {
        None => ListMemory::default(),
        Some(object) => serde_json::from_str(&object.text).map_err(|error| {
            clients.invalid_object(list_memory::KEY, ObjectProblem::ListMemory(error.to_string()))
        })?,
    };
    let known = known.map(|object| Known::parse(&object.text)).unwrap_or_default();
    Ok(Before { known, memory, gaps: Vec::new() })
}

/// Finds what is in use at `now`, for the first time in a run; what is known from runs before is not asked for again.
///
/// # Errors
///
/// When time is up before all sources have answered, and when a clock is wrong. That a source cannot be read is no error but
/// a gap.
pub async fn observe(
    clients: &RunContext<'_>,
    sources: &Sources,
    before: Before,
    now: Instant,
) -> Result<UsageSnapshot, RunError> {
    look(clients, sources, before, now, Scope::Registry).await
}

/// Reads what this account uses in this Region, as the list that another registry has of it. What could not be read is in the list:
/// a list is written whatever happens, so that nobody takes silence for absence.
///
/// # Errors
///
/// When time is up before all sources have answered.
pub async fn report(
    clients: &RunContext<'_>,
    sources: &Sources,
    writer: Writer,
    now: Instant,
) -> Result<UsageList, RunError> {
    let UsageSnapshot { usage, once } =
        look(clients, sources, Before::default(), now, Scope::Account).await?;
    let eks = eks::SOURCE.summary(0, &usage.gaps, now);
    let read = usage.sources.iter().filter(|summary| summary.source != reports::SOURCE.name).chain([&eks]);
    let head = ListHead {
        eks_clusters: once.eks_clusters,
        sources: read
            .map(|summary| SourceReport {
                source: summary.source.clone(),
                status: summary.status,
                read_at: summary.read_at,
                images_in_use: summary.images_in_use,
            })
            .collect(),
        gaps: usage.gaps.clone(),
        unknown_images: usage.unknown_images.clone(),
        ..ListHead::new(now, writer)
    };
    Ok(UsageList { head, images: usage.used().to_vec() })
}

async fn look(
    clients: &RunContext<'_>,
    sources: &Sources,
    before: Before,
    now: Instant,
    scope: Scope,
) -> Result<UsageSnapshot, RunError> {
    let looking = async {
        let (anew, mut once) = tokio::join!(
            read_anew(clients, &before.known, now, scope),
            read_once(clients, sources, before.clone(), scope)
        );
        let anew = anew?;
        // What services have now is what they go back to when something is deployed while the run is under way.
        let (daemons, (), whole) = tokio::join!(
            daemons(clients, sources.task_definition_revisions, &anew.clusters),
            earlier_revisions(clients, &anew.clusters, &mut once),
            whole_sources(clients, sources, &before.known, &anew.clusters)
        );
        let (used, problems) = daemons;
        once.daemons = used;
        once.gaps.extend(unreadable_list(ecs::SOURCE.name, &problems));
        // Of clusters that a later look finds nobody would know their daemons and what rules start in them.
        if !anew.clusters_are_listed {
            once.gaps.extend(unreadable_list(ecs::SOURCE.name, &anew.ecs_problems));
        }
        add_whole_sources(sources, whole, &mut once, now);
        decide(clients, sources, once, anew, now, Trust::Cache).await
    };
    within_time(clients, looking).await
}

/// Remembers which lists there are, where nothing else has to be known: one that is missing when a policy is for something has to
/// be missed then.
///
/// # Errors
///
/// When time is up, and when a clock is wrong.
pub async fn remember_lists(
    clients: &RunContext<'_>,
    sources: &Sources,
    memory: ListMemory,
    now: Instant,
) -> Result<ListMemory, RunError> {
    let found = within_time(clients, lists(clients, now)).await?;
    let once = ReadOnce { memory, ..ReadOnce::default() };
    Ok(read_lists(sources, &once, found, clients.region, now).memory)
}

/// Reads use at `now`, right before images are removed: tasks, services, functions and lists are read again, and what tasks and
/// services need is not read from a cache.
///
/// # Errors
///
/// As [`observe`].
pub async fn refresh(
    clients: &RunContext<'_>,
    sources: &Sources,
    once: &ReadOnce,
    now: Instant,
) -> Result<UsageSnapshot, RunError> {
    let looking = async {
        let anew = read_anew(clients, &once.known, now, Scope::Registry).await?;
        let mut read = once.clone();
        earlier_revisions(clients, &anew.clusters, &mut read).await;
        let mut observation = decide(clients, sources, read, anew, now, Trust::WhatWasAsked).await?;
        let unread = unread_sources(sources, once).map(|source| UnreadableSource {
            source: source.name.to_owned(),
            repositories: about(&source, sources),
            problem: UsageProblem::NotReadAtStart.to_string(),
        });
        observation.usage.gaps.extend(unread);
        if !clients.has_bucket() {
            observation.usage.gaps.push(UnreadableSource {
                source: LISTING.to_owned(),
                repositories: Vec::new(),
                problem: UsageProblem::NoBucket.to_string(),
            });
        }
        Ok(observation)
    };
    within_time(clients, looking).await
}

/// The gaps of those who may pull from a repository, for a repository from which images would be removed; and the ignored ones.
///
/// # Errors
///
/// If time is up. An unreadable repository policy is a gap.
pub async fn unread_pullers(
    clients: &RunContext<'_>,
    sources: &Sources,
    observation: &UsageSnapshot,
    name: &Name,
    registry_id: &str,
    now: Instant,
) -> Result<(Vec<UnreadableSource>, Vec<IgnoredSourceReason>), RunError> {
    let UsageSnapshot { usage, once } = observation;
    let unread = |problem: UsageProblem| UnreadableSource {
        source: ANYBODY.to_owned(),
        repositories: vec![name.as_str().to_owned()],
        problem: problem.to_string(),
    };
    let mut gaps = Vec::new();
    let of_repository = match clients.call(clients.ecr.repository_policy(name.as_str())).await {
        Ok(policy) => policy,
        // Without the repository nothing of it goes.
        Err(error) if error.is_not_found() => None,
        Err(RunError::Aws(error)) => {
            gaps.push(unread(UsageProblem::Pullers(error)));
            None
        }
        Err(error) => return Err(error),
    };
    let policies = [(PolicyOf::Repository, &of_repository), (PolicyOf::Registry, &once.registry_policy)];
    for (of, policy) in policies.into_iter().filter_map(|(of, policy)| Some((of, policy.as_deref()?))) {
        let gaps_of_policy = match pull_access::parse(policy, registry_id, name.as_str()) {
            Ok(pullers) => pullers.gaps(name.as_str(), registry_id, sources, &usage.reporters),
            Err(error) => vec![unread(UsageProblem::Policy { of, problem: error.to_string() })],
        };
        for gap in gaps_of_policy {
            if !gaps.contains(&gap) {
                gaps.push(gap);
            }
        }
    }
    Ok(ignore::split(gaps, &sources.ignore, now))
}

async fn within_time<T>(
    clients: &RunContext<'_>,
    looking: impl Future<Output = Result<T, RunError>>,
) -> Result<T, RunError> {
    match clients.deadline.work(looking).await {
        Ok(found) => found,
        Err(TimeIsUp) => Err(RunError::Time(clients.ecr.retry_observer().timeout_cause())),
    }
}

/// Reads what is read once a run, but for the history of services.
async fn read_once(clients: &RunContext<'_>, sources: &Sources, before: Before, scope: Scope) -> ReadOnce {
    let Before { known, memory, gaps: before_gaps } = before;
    let RunContext { ecs, eks, registry, .. } = *clients;
    let revisions = sources.task_definition_revisions;
    let of_registry = async {
        match scope {
            Scope::Registry => tokio::join!(registry.describe(), registry.policy(), registry.signing()),
            Scope::Account => (Ok(RegistryDescription::default()), Ok(None), ManagedSigning::default()),
        }
    };
    let (active, eks_clusters, (registry, registry_policy, signing)) =
        tokio::join!(ecs.latest_task_definitions(revisions), eks.clusters(), of_registry);
    let mut once = ReadOnce { memory, known, signing, gaps: before_gaps, ..ReadOnce::default() };
    let gap = |source: &str, error: &AwsError| UnreadableSource {
        source: source.to_owned(),
        repositories: Vec::new(),
        problem: error.to_string(),
    };
    match active {
        Ok(active) => once.active_definitions = active,
        Err(error) => once.gaps.push(gap(ecs::SOURCE.name, &error)),
    }
    match eks_clusters {
        Ok(clusters) => once.eks_clusters = clusters,
        Err(error) => once.gaps.push(gap(eks::SOURCE.name, &error)),
    }
    match registry {
        Ok(registry) => once.registry = registry,
        Err(error) => once.gaps.push(gap(replication::SOURCE.name, &error)),
    }
    match registry_policy {
        Ok(policy) => once.registry_policy = policy,
        Err(error) => once.gaps.push(gap(ANYBODY, &error)),
    }
    once
}

/// The images that managed daemons start on new instances, and gaps.
async fn daemons(
    clients: &RunContext<'_>,
    revisions: u64,
    clusters: &[Cluster],
) -> (Vec<UsedImage>, Vec<String>) {
    let ecs = clients.ecs;
    let mut used = Vec::new();
    let mut problems = Vec::new();
    let definitions = ecs.latest_daemon_definitions(revisions).await;
    let definitions = definitions.unwrap_or_else(|error| {
        problems.push(error.to_string());
        Vec::new()
    });
    let mut images = stream::iter(&definitions)
        .map(|definition| async move { (definition, ecs.daemon_definition(definition).await) })
        .buffer_unordered(READ_CONCURRENCY);
    while let Some((definition, found)) = images.next().await {
        match found {
            Ok(Asked::Known(images)) => {
                let (some, unreadable) = references(&images, definition);
                used.extend(some);
                problems.extend(unreadable);
            }
            Ok(Asked::Indescribable) => {
                problems.push(UsageProblem::DaemonDefinition(definition.clone()).to_string());
            }
            Ok(Asked::Failed(problem)) => problems.push(problem),
            Err(error) => problems.push(error.to_string()),
        }
    }
    let listed: Vec<Result<Vec<String>, AwsError>> = stream::iter(clusters)
        .map(|cluster| ecs.daemons(&cluster.arn))
        .buffered(READ_CONCURRENCY)
        .collect()
        .await;
    let mut daemons = Vec::new();
    for found in listed {
        match found {
            Ok(found) => daemons.extend(found),
            Err(error) => problems.push(error.to_string()),
        }
    }
    for daemon in &daemons {
        match ecs.daemon_revisions(daemon).await {
            Err(error) => problems.push(error.to_string()),
            Ok(revisions) => {
                for reference in revisions.iter().flat_map(|revision| &revision.container_images) {
                    match reference.reference() {
                        Some(Ok(reference)) => {
                            used.push(UsedImage { reference, used_by: vec![daemon.clone()] });
                        }
                        Some(Err(problem)) => problems
                            .push(UsageProblem::DaemonImage { daemon: daemon.clone(), problem }.to_string()),
                        None => {}
                    }
                }
            }
        }
    }
    (used, problems)
}

/// The use of sources that are read as a whole.
async fn whole_sources(
    clients: &RunContext<'_>,
    sources: &Sources,
    known: &Known,
    clusters: &[Cluster],
) -> Vec<(UsageSource, Option<Reading>)> {
    let ecs_clusters: Vec<String> = clusters.iter().map(|cluster| cluster.arn.clone()).collect();
    let look = Look {
        connection: clients.connection,
        ecs_clusters: &ecs_clusters,
        known: &known.sources,
        reads_stacks: sources.stacks.are_read(),
    };
    look.read_all().await
}

/// The sources that are read as a whole, once a run, and were not: by a run of an older version, or one that had no reason to look
/// at use.
pub fn unread_sources(sources: &Sources, once: &ReadOnce) -> impl Iterator<Item = UsageSource> {
    let wanted = asked_for(sources.stacks.are_read()).map(|(source, _)| *source);
    wanted.filter(|source| !once.sources.contains_key(source.name))
}

/// The repositories that a source may name images of, as patterns; without any, all of them.
fn about(source: &UsageSource, sources: &Sources) -> Vec<String> {
    if *source == stacks::SOURCE { sources.stacks.repositories() } else { Vec::new() }
}

/// Adds what the sources say that are read as a whole, to what is read once a run.
fn add_whole_sources(
    sources: &Sources,
    whole: Vec<(UsageSource, Option<Reading>)>,
    once: &mut ReadOnce,
    now: Instant,
) {
    for (source, reading) in whole {
        let is_in_region = reading.is_some();
        let mut reading = reading.unwrap_or_default();
        let is_complete = reading.problems.is_empty();
        if source == stacks::SOURCE {
            reading.used.retain(|used| sources.stacks.count(&used.reference));
        }
        if source.blocks {
            let gap = reading.gap(&source);
            once.gaps
                .extend(gap.map(|gap| UnreadableSource { repositories: about(&source, sources), ..gap }));
        } else if let Some(gap) = reading.gap(&source) {
            tracing::info!(source = gap.source, problem = gap.problem, "a second opinion is not there");
        }
        let known = once.known.sources.entry(source.name.to_owned()).or_default();
        // What could not be read now is asked less of next time.
        if reading.problems.is_empty() {
            known.clear();
        }
        known.extend(reading.known);
        let (used, unknown) = (reading.used, reading.unknown);
        let read = ReadSource { used, unknown, read_at: now, is_in_region, is_complete };
        once.sources.insert(source.name.to_owned(), read);
    }
    once.known.sources.retain(|_, known| !known.is_empty());
}

/// How each source was read, with the numbers of references of those that are read in parts.
fn summaries(
    once: &ReadOnce,
    gaps: &[UnreadableSource],
    parts: &[(&str, usize)],
    now: Instant,
) -> Vec<SourceSummary> {
    let gaps = SOURCES.iter().filter_map(|source| {
        if let Some((_, number)) = parts.iter().find(|(name, _)| *name == source.name) {
            return Some(source.summary(*number, gaps, now));
        }
        let read = once.sources.get(source.name)?;
        let mut summary = source.summary(read.used.len(), gaps, read.read_at);
        summary.status = match (read.is_in_region, read.is_complete) {
            (false, _) => SourceStatus::NotInRegion,
            (true, true) => SourceStatus::Complete,
            (true, false) => SourceStatus::Incomplete,
        };
        Some(summary)
    });
    gaps.collect()
}

/// Adds the revisions that services may roll back to, for services of which they are not known yet.
async fn earlier_revisions(clients: &RunContext<'_>, clusters: &[Cluster], once: &mut ReadOnce) {
    let services = ecs::without_history(clusters, &once.earlier_revisions);
    let mut histories = stream::iter(services)
        .map(|(cluster, service)| async move {
            let current = &service.current_service_revisions;
            let history = match service.has_deployments() {
                true => clients.ecs.deployments(&cluster.arn, &service.service_arn).await,
                false => Ok(Vec::new()),
            };
            (service, history.map(|history| ecs::earlier_revisions(history, current)))
        })
        .buffer_unordered(READ_CONCURRENCY);
    let mut problems = Vec::new();
    while let Some((service, history)) = histories.next().await {
        let current = service.current_service_revisions.iter();
        let mut revisions: Vec<String> = current.map(|RevisionSummary { arn }| arn.clone()).collect();
        match history {
            Ok(earlier) => revisions.extend(earlier),
            Err(error) => problems.push(error.to_string()),
        }
        once.earlier_revisions.insert(service.service_arn.clone(), revisions);
    }
    once.gaps.extend(unreadable_list(ecs::SOURCE.name, &problems));
}

async fn read_anew(
    clients: &RunContext<'_>,
    known: &Known,
    now: Instant,
    scope: Scope,
) -> Result<Anew, RunError> {
    let lists = async {
        match scope {
            Scope::Registry => lists(clients, now).await.map(Some),
            Scope::Account => Ok(None),
        }
    };
    let (clusters, (lambda, functions), lists) =
        tokio::join!(clusters(clients), of_lambda(clients, known), lists);
    let clusters_are_listed = clusters.is_ok();
    let (clusters, ecs_problems) = clusters.unwrap_or_else(|error| (Vec::new(), vec![error.to_string()]));
    Ok(Anew { clusters, clusters_are_listed, ecs_problems, lambda, functions, lists: lists? })
}

/// The clusters of ECS with their tasks and services, and what of them could not be read; an error if they could not be listed.
async fn clusters(clients: &RunContext<'_>) -> Result<(Vec<Cluster>, Vec<String>), AwsError> {
    let ecs = clients.ecs;
    let mut problems = Vec::new();
    let arns = ecs.clusters().await?;
    // Which of them are deleted; where that cannot be asked, all are read.
    let arns = match ecs.not_deleted(&arns).await {
        Ok(active) => active,
        Err(error) => {
            problems.push(error.to_string());
            arns
        }
    };
    let mut reading = stream::iter(arns)
        .map(|arn| async move {
            let (tasks, services) = tokio::join!(ecs.tasks(&arn), ecs.services(&arn));
            (arn, tasks, services)
        })
        .buffered(READ_CONCURRENCY);
    let mut clusters = Vec::new();
    while let Some((arn, tasks, services)) = reading.next().await {
        let mut cluster = Cluster { arn, ..Cluster::default() };
        match tasks {
            Ok(tasks) => cluster.tasks = tasks,
            Err(error) => problems.push(error.to_string()),
        }
        match services {
            Ok(services) => cluster.services = services,
            Err(error) => problems.push(error.to_string()),
        }
        clusters.push(cluster);
    }
    Ok((clusters, problems))
}

/// The use of Lambda, and the images of all versions of functions.
async fn of_lambda(clients: &RunContext<'_>, known: &Known) -> (Usage, BTreeMap<String, Vec<String>>) {
    let functions = clients.functions;
    let versions = match functions.image_versions().await {
        Ok(versions) => versions,
        Err(error) => return (Usage::unread(lambda::SOURCE.name, error.to_string()), BTreeMap::new()),
    };
    let mut used = Vec::new();
    let mut problems = Vec::new();
    let mut images = BTreeMap::new();
    let mut reading = stream::iter(&versions)
        .map(|version| async move {
            let found = match known.functions.get(&version.key()) {
                Some(images) => Ok(Some(images.clone())),
                None => {
                    let code = functions.code(version).await;
                    code.map(|code| code.map(lambda::FunctionCode::images))
                }
            };
            (version, found)
        })
        .buffer_unordered(READ_CONCURRENCY);
    while let Some((version, found)) = reading.next().await {
        let arn = &version.function_arn;
        if let Some(reference) = version.digest() {
            used.push(UsedImage { reference, used_by: vec![arn.clone()] });
        }
        match found {
            Ok(Some(found)) if found.is_empty() => {
                problems.push(UsageProblem::FunctionWithoutImage(arn.clone()).to_string());
            }
            Ok(Some(found)) => {
                let (some, unreadable) = references(&found, arn);
                used.extend(some);
                problems.extend(unreadable);
                images.insert(version.key(), found);
            }
            // Deleted meanwhile it is none.
            Ok(None) => {}
            Err(error) => problems.push(error.to_string()),
        }
    }
    let mut usage = Usage::of(used);
    problems.sort();
    usage.gaps.extend(unreadable_list(lambda::SOURCE.name, &problems));
    (usage, images)
}

/// The lists that there are, or why they could not be listed.
async fn lists(clients: &RunContext<'_>, now: Instant) -> Result<Result<Vec<FoundList>, String>, RunError> {
    let RunContext { s3, bucket, .. } = *clients;
    if !clients.has_bucket() {
        return Ok(Ok(Vec::new()));
    }
    let listed = match s3.list(bucket, LISTS).await {
        Ok(listed) => listed,
        Err(error) => return Ok(Err(error.to_string())),
    };
    if listed.len() > MAX_LISTS {
        return Ok(Err(UsageProblem::TooManyLists(listed.len()).to_string()));
    }
    let mut reading = stream::iter(listed)
        .map(|list| async move {
            let key = list.key;
            if let Some(problem) = key_problem(&key) {
                let content = Err(problem.to_owned());
                return Ok(Some(FoundList { key, modified_at: list.modified_at, content }));
            }
            if !key.ends_with(".json") {
                return Ok(None);
            }
            match s3.get_up_to(MAX_LIST_BYTES, bucket, &key).await {
                Ok(Some(object)) => {
                    check_clock(object.answered_at, now)?;
                    Ok(Some(FoundList { modified_at: object.modified_at, content: Ok(object.text), key }))
                }
                // Deleted since it was listed: whether it has to be there is known by others.
                Ok(None) => Ok(None),
                Err(error) => {
                    let is_too_large =
                        error.failure == Failure::Invalid && error.message.contains("more than");
                    let content = Err(if is_too_large {
                        UsageProblem::ListTooLarge.to_string()
                    } else {
                        error.to_string()
                    });
                    Ok(Some(FoundList { key, modified_at: list.modified_at, content }))
                }
            }
        })
        .buffered(READ_CONCURRENCY);
    let mut found = Vec::new();
    let mut bytes = 0;
    while let Some(list) = reading.next().await {
        let list: Result<Option<FoundList>, RunError> = list;
        let Some(mut list) = list? else { continue };
        bytes += list.content.as_ref().map_or(0, String::len);
        if bytes > MAX_LISTS_BYTES && list.content.is_ok() {
            list.content = Err(UsageProblem::ListsTooLarge.to_string());
        }
        found.push(list);
    }
    Ok(Ok(found))
}

/// Asks what is still missing, and puts everything together.
async fn decide(
    clients: &RunContext<'_>,
    sources: &Sources,
    mut once: ReadOnce,
    anew: Anew,
    now: Instant,
    trust: Trust,
) -> Result<UsageSnapshot, RunError> {
    let Anew { clusters, clusters_are_listed: _, ecs_problems, lambda: of_lambda, functions, lists } = anew;
    let (needed, revisions) = ecs::needed(&clusters, &once.earlier_revisions);
    let mut pinned: BTreeMap<String, Asked<Vec<PinnedImage>>> = BTreeMap::new();
    let mut unknown = Vec::new();
    for arn in revisions {
        let known = once.asked.service_revisions.get(&arn);
        let of_cache = || (trust == Trust::Cache).then(|| once.known.service_revisions.get(&arn)).flatten();
        let known = known.or_else(of_cache);
        match known {
            Some(images) => {
                pinned.insert(arn, Asked::Known(images.clone()));
            }
            None => unknown.push(arn),
        }
    }
    let asked: Vec<Vec<(String, Asked<Vec<PinnedImage>>)>> = stream::iter(unknown.chunks(REVISIONS))
        .map(|batch| service_revisions(clients, batch))
        .buffered(READ_CONCURRENCY)
        .collect()
        .await;
    for (arn, asked) in asked.into_iter().flatten() {
        if let Asked::Known(images) = &asked
            && ecs::is_final(images)
        {
            once.asked.service_revisions.insert(arn.clone(), images.clone());
        }
        pinned.insert(arn, asked);
    }
    let unresolved = ecs::known_from_nothing_else(&clusters, &pinned);
    let is_known = |arn: &String| {
        once.asked.task_definitions.get(arn).or_else(|| {
            let is_trusted = trust == Trust::Cache || !unresolved.contains(arn);
            is_trusted.then(|| once.known.task_definitions.get(arn)).flatten()
        })
    };
    let mut definitions: BTreeMap<String, Asked<Vec<String>>> = BTreeMap::new();
    let mut unknown = Vec::new();
    let others = once.active_definitions.iter().filter(|arn| !needed.contains(*arn));
    for arn in needed.iter().chain(others) {
        match is_known(arn) {
            Some(images) => {
                definitions.insert(arn.clone(), Asked::Known(images.clone()));
            }
            None => unknown.push(arn.clone()),
        }
    }
    let mut asking = stream::iter(unknown)
        .map(|arn| async move {
            let asked = clients.ecs.task_definition(&arn).await;
            (arn, asked.unwrap_or_else(|error| Asked::Failed(error.to_string())))
        })
        .buffer_unordered(READ_CONCURRENCY);
    while let Some((arn, asked)) = asking.next().await {
        if let Asked::Known(images) = &asked {
            once.asked.task_definitions.insert(arn.clone(), images.clone());
        }
        definitions.insert(arn, asked);
    }
    once.known = remembered(&once, &definitions, &pinned, functions);
    let facts = Facts {
        clusters: &clusters,
        active_definitions: &once.active_definitions,
        definitions: &definitions,
        revisions: &pinned,
        earlier_revisions: &once.earlier_revisions,
    };
    let EcsUse { mut used, unknown, mut gaps } = ecs::decide(facts);
    used.extend(once.daemons.iter().cloned());
    gaps.extend(unreadable_list(ecs::SOURCE.name, &ecs_problems));
    let mut of_ecs = Usage::of(used);
    of_ecs.unknown_images = unknown;
    of_ecs.gaps = one_for_ecs(gaps.into_iter().chain(once.gaps.iter().cloned()).collect());
    let reports =
        lists.map(|lists| read_lists(sources, &once, lists, clients.region, now)).unwrap_or_default();
    if trust == Trust::Cache {
        once.memory = reports.memory.clone();
    }
    let of_lists = Usage::of_reports(reports);
    let of_whole = once.sources.values();
    let mut of_whole = Usage::of(of_whole.flat_map(|source| source.used.iter().cloned()).collect());
    of_whole.unknown_images =
        once.sources.values().flat_map(|source| source.unknown.iter().cloned()).collect();
    let parts = [
        (ecs::SOURCE.name, of_ecs.used().len()),
        (lambda::SOURCE.name, of_lambda.used().len()),
        (reports::SOURCE.name, of_lists.used().len()),
    ];
    let mut usage = Usage::merged([of_ecs, of_lambda, of_whole, of_lists]);
    usage.replicas = replication::replicas(&once.registry);
    let replication = replication::gaps(&usage.replicas, &once.registry.registry_id, &usage.reporters);
    usage.gaps.extend(replication);
    let of_lists = std::mem::take(&mut usage.sources);
    usage.sources = summaries(&once, &usage.gaps, &parts, now);
    usage.sources.extend(of_lists);
    let usage = usage.ignoring(sources, now);
    for gap in &usage.gaps {
        tracing::warn!(source = gap.source, problem = gap.problem, "what is in use is not known completely");
    }
    Ok(UsageSnapshot { usage, once })
}

/// The pinned images of at most 20 revisions. If ECS refuses the call because of one of them, each is asked for alone.
async fn service_revisions(
    clients: &RunContext<'_>,
    arns: &[String],
) -> Vec<(String, Asked<Vec<PinnedImage>>)> {
    let is_about_one = |error: &AwsError| {
        matches!(error.failure, Failure::Invalid | Failure::NotFound)
            || error.message.starts_with("ClientException")
    };
    let together = clients.ecs.service_revisions(arns).await;
    if let Err(error) = &together
        && is_about_one(error)
        && arns.len() > 1
    {
        let mut all = Vec::with_capacity(arns.len());
        for arn in arns {
            let alone = clients.ecs.service_revisions(std::slice::from_ref(arn)).await;
            all.extend(asked(std::slice::from_ref(arn), alone, is_about_one));
        }
        return all;
    }
    asked(arns, together, is_about_one)
}

fn asked(
    arns: &[String],
    answer: Result<Vec<(String, Vec<PinnedImage>)>, AwsError>,
    is_about_one: impl Fn(&AwsError) -> bool,
) -> Vec<(String, Asked<Vec<PinnedImage>>)> {
    let all = |what: Asked<Vec<PinnedImage>>| arns.iter().map(|arn| (arn.clone(), what.clone())).collect();
    match answer {
        Ok(found) => {
            let mut found: BTreeMap<String, Vec<PinnedImage>> = found.into_iter().collect();
            let answer = |arn: &String| found.remove(arn).map_or(Asked::Indescribable, Asked::Known);
            let mut answer = answer;
            arns.iter().map(|arn| (arn.clone(), answer(arn))).collect()
        }
        Err(error) if is_about_one(&error) => all(Asked::Indescribable),
        Err(error) => all(Asked::Failed(error.to_string())),
    }
}

/// The part of what never changes that is still needed.
fn remembered(
    once: &ReadOnce,
    definitions: &BTreeMap<String, Asked<Vec<String>>>,
    pinned: &BTreeMap<String, Asked<Vec<PinnedImage>>>,
    functions: BTreeMap<String, Vec<String>>,
) -> Known {
    let task_definitions = definitions.iter().filter_map(|(arn, asked)| match asked {
        Asked::Known(images) if !images.is_empty() => Some((arn.clone(), images.clone())),
        _ => None,
    });
    let service_revisions = pinned.iter().filter_map(|(arn, asked)| match asked {
        Asked::Known(images) if ecs::is_final(images) => Some((arn.clone(), images.clone())),
        _ => None,
    });
    let now = Known {
        task_definitions: task_definitions.collect(),
        service_revisions: service_revisions.collect(),
        functions,
        sources: once.known.sources.clone(),
    };
    // What could not be read now is asked less of next time.
    if once.gaps.is_empty() {
        return now;
    }
    let mut known = once.known.clone();
    known.extend(now);
    known
}

/// Gaps of ECS as a whole as one.
fn one_for_ecs(gaps: Vec<UnreadableSource>) -> Vec<UnreadableSource> {
    let (ecs, mut others): (Vec<UnreadableSource>, Vec<UnreadableSource>) =
        gaps.into_iter().partition(|gap| gap.source == ecs::SOURCE.name);
    let mut problems: Vec<String> = ecs.into_iter().map(|gap| gap.problem).collect();
    problems.sort();
    problems.dedup();
    let of_ecs = unreadable_list(ecs::SOURCE.name, &problems);
    others.extend(of_ecs);
    others
}

fn read_lists(
    sources: &Sources,
    once: &ReadOnce,
    lists: Result<Vec<FoundList>, String>,
    region: &str,
    now: Instant,
) -> Reports {
    let own = Place { account: &once.registry.registry_id, region };
    let expected = Expected { sources, memory: &once.memory, eks_clusters: &once.eks_clusters, own, now };
    match lists {
        Ok(found) => reports::read(expected, &found),
        Err(problem) => {
            let gap = UnreadableSource { source: LISTING.to_owned(), repositories: Vec::new(), problem };
            // Which lists are missing is told only to those who do not mind that none could be looked for.
            let is_ignored = ignore::entry_for(&sources.ignore, LISTING, now).is_some();
            let mut unread = if is_ignored { reports::read(expected, &[]) } else { Reports::default() };
            unread.memory = once.memory.clone();
            unread.gaps.push(gap);
            unread
        }
    }
}
