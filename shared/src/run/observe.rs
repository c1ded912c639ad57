//! Finds what is in use: asks ECS and Lambda, and reads the lists in the stack's bucket. A source that cannot be read
//! completely is a gap, never an absence of use.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::{Clients, Stop, check_clock};
use crate::aws::AwsError;
use crate::aws::deadline::TimeIsUp;
use crate::instant::Instant;
use crate::policy_book::{LISTS, Sources};
use crate::usage::functions::used;
use crate::usage::observation::{FoundList, Known, Observation, of_lists};
use crate::usage::{Usage, UsedImage};

/// Calls to one service at the same time.
const AT_ONCE: usize = 4;
/// The key of what is known of task definitions and functions, which never change.
pub const KNOWN_KEY: &str = "cache/usage.json";

/// Finds what is in use at `now`; what `known` has is not asked for again.
///
/// # Errors
///
/// When time is up before all sources have answered, and when a clock is wrong. That a source cannot be read is no error but
/// a gap.
pub async fn observe(
    clients: &Clients<'_>,
    sources: &Sources,
    known: &Known,
    now: Instant,
) -> Result<Observation, Stop> {
    let all = async {
        tokio::join!(of_ecs(clients, sources, known), of_lambda(clients, known), lists(clients, now))
    };
    let (ecs, lambda, lists) =
        clients.deadline.work(all).await.map_err(|TimeIsUp| Stop::Time(clients.ecr.trouble().explain()))?;
    let mut known = Known::default();
    let mut parts = Vec::new();
    match ecs {
        Ok((used, task_definitions)) => {
            parts.push(Usage { used, gaps: Vec::new() });
            known.task_definitions = task_definitions;
        }
        Err(error) => parts.push(Usage::unread("Amazon ECS", error.to_string())),
    }
    match lambda {
        Ok((used, functions)) => {
            parts.push(Usage { used, gaps: Vec::new() });
            known.functions = functions;
        }
        Err(error) => parts.push(Usage::unread("AWS Lambda", error.to_string())),
    }
    match lists {
        Ok(found) => parts.push(of_lists(sources, &found, now)),
        Err(Stop::Aws(error)) => {
            parts.push(Usage::unread(format!("s3://{}/{LISTS}", clients.bucket), error.to_string()));
        }
        Err(stop) => return Err(stop),
    }
    let usage = Usage::merged(parts);
    for gap in &usage.gaps {
        tracing::warn!(source = gap.source, problem = gap.problem, "what is in use is not known completely");
    }
    Ok(Observation { usage, known })
}

/// What runs before have found out of what never changes.
///
/// # Errors
///
/// When the bucket cannot be read.
pub async fn known(clients: &Clients<'_>) -> Result<Known, Stop> {
    let known = clients.call(clients.s3.get(clients.bucket, KNOWN_KEY)).await?;
    Ok(known.and_then(|object| serde_json::from_str(&object.text).ok()).unwrap_or_default())
}

type Images = BTreeMap<String, Vec<String>>;

async fn of_ecs(
    clients: &Clients<'_>,
    sources: &Sources,
    known: &Known,
) -> Result<(Vec<UsedImage>, Images), AwsError> {
    let ecs = clients.ecs;
    let (clusters, latest) =
        tokio::try_join!(ecs.clusters(), ecs.latest_task_definitions(sources.task_definition_revisions))?;
    let of_clusters: Vec<_> = stream::iter(&clusters)
        .map(|cluster| async move { tokio::try_join!(ecs.tasks(cluster), ecs.services(cluster)) })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let mut images = Vec::new();
    // Task definitions and who needs them.
    let mut needed: BTreeMap<String, String> =
        latest.into_iter().map(|definition| (definition.clone(), definition)).collect();
    for (tasks, services) in of_clusters {
        for task in &tasks {
            images.extend(task.images());
            needed.insert(task.task_definition_arn.clone(), task.task_arn.clone());
        }
        for service in &services {
            for definition in service.task_definitions() {
                needed.insert(definition.to_owned(), service.service_arn.clone());
            }
        }
    }
    let unknown: Vec<&String> =
        needed.keys().filter(|definition| !known.task_definitions.contains_key(*definition)).collect();
    let asked: Vec<(String, Vec<String>)> = stream::iter(unknown)
        .map(|definition| async move {
            let found = ecs.task_definition(definition).await?;
            let images = found.map(crate::usage::ecs::TaskDefinition::images).unwrap_or_default();
            Ok::<_, AwsError>((definition.clone(), images))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let asked: Images = asked.into_iter().collect();
    let mut definitions = Images::new();
    for (definition, by) in needed {
        let found = asked.get(&definition).or_else(|| known.task_definitions.get(&definition));
        let found = found.cloned().unwrap_or_default();
        images.extend(used(&found, &by));
        definitions.insert(definition, found);
    }
    Ok((images, definitions))
}

async fn of_lambda(clients: &Clients<'_>, known: &Known) -> Result<(Vec<UsedImage>, Images), AwsError> {
    let functions = clients.functions;
    let versions = functions.image_versions().await?;
    let found: Vec<(String, String, Option<Vec<String>>)> = stream::iter(&versions)
        .map(|version| async move {
            let key = version.key();
            let images = match known.functions.get(&key) {
                Some(images) => Some(images.clone()),
                // Deleted meanwhile it is none.
                None => functions.code(version).await?.map(crate::usage::functions::FunctionCode::images),
            };
            Ok::<_, AwsError>((key, version.function_arn.clone(), images))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let mut images = Vec::new();
    let mut codes = Images::new();
    for (key, arn, found) in found {
        let Some(found) = found else { continue };
        if found.is_empty() {
            return Err(AwsError::odd(
                "GetFunction",
                &format!("{arn} is an image, and it is not said which"),
            ));
        }
        images.extend(used(&found, &arn));
        codes.insert(key, found);
    }
    Ok((images, codes))
}

async fn lists(clients: &Clients<'_>, now: Instant) -> Result<Vec<FoundList>, Stop> {
    let Clients { s3, bucket, .. } = *clients;
    if !clients.has_bucket() {
        return Ok(Vec::new());
    }
    let listed = s3.list(bucket, LISTS).await?;
    let lists: Vec<FoundList> = stream::iter(listed.into_iter().filter(|list| list.key.ends_with(".json")))
        .map(|list| async move {
            let key = list.key;
            let found = match s3.get(bucket, &key).await {
                Ok(Some(object)) => {
                    check_clock(object.answered_at, now)?;
                    FoundList { modified_at: object.modified_at, content: Ok(object.text), key }
                }
                // Deleted since it was listed: whether it has to be there the book knows.
                Ok(None) => return Ok(None),
                Err(error) => FoundList { key, modified_at: None, content: Err(error.to_string()) },
            };
            Ok::<_, Stop>(Some(found))
        })
        .buffered(AT_ONCE)
        .try_filter_map(|list| async move { Ok(list) })
        .try_collect()
        .await?;
    Ok(lists)
}
