//! The images of revisions of task definitions that something starts by name.

use std::collections::BTreeSet;

use futures_util::stream::{self, StreamExt};

use super::json_api::{MAX_DESCRIPTIONS, explained};
use super::usage_sources::Look;
use crate::domain::usage::ecs::{Asked, NamedRevision};
use crate::domain::usage::source::{Reading, UsageSource};

/// Calls to ECS at the same time.
const READ_CONCURRENCY: usize = 4;

/// Adds the images of named revisions. One that is deregistered still counts, as long as Amazon ECS can describe it; by one that it
/// cannot describe it starts nothing.
pub(super) async fn add(
    look: Look<'_>,
    source: &UsageSource,
    named: Vec<NamedRevision>,
    reading: &mut Reading,
) {
    let mut unknown: Vec<NamedRevision> = Vec::new();
    let mut names = BTreeSet::new();
    for one in named {
        match look.known(source, &one.name) {
            Some(images) => reading.add_known(one.name, images, &one.used_by),
            None if names.insert(one.name.clone()) => unknown.push(one),
            None => {}
        }
    }
    if unknown.len() > MAX_DESCRIPTIONS {
        reading.problems.push(format!(
            "DescribeTaskDefinition: {} revisions would have to be described, and a run describes {MAX_DESCRIPTIONS}; they are \
             remembered, and the next runs go on",
            unknown.len()
        ));
        unknown.truncate(MAX_DESCRIPTIONS);
    }
    let ecs = look.connection.ecs();
    let mut describing = stream::iter(unknown)
        .map(|one| {
            let ecs = &ecs;
            async move {
                let asked = ecs.task_definition(&one.name).await;
                (one, asked)
            }
        })
        .buffered(READ_CONCURRENCY);
    while let Some((one, asked)) = describing.next().await {
        match asked {
            Ok(Asked::Known(images)) => reading.add_known(one.name, images, &one.used_by),
            Ok(Asked::Indescribable) => {
                tracing::info!(
                    revision = one.name,
                    by = one.used_by,
                    "names a task definition that is not there"
                );
            }
            Ok(Asked::Failed(problem)) => reading.problems.push(problem),
            Err(error) => reading.problems.push(explained(source, &error)),
        }
    }
}
