//! Reads the layers of images, for what a repository takes and costs. What cannot be read makes figures upper bounds, and never
//! fails or delays what a run is for.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use tokio::time::timeout;

use super::{RunContext, RunError};
use crate::aws::ecr::{BATCH, Manifest, Manifests};
use crate::aws::s3::Precondition;
use crate::domain::enforcement::run::Run;
use crate::domain::enforcement::storage::{KnownStorage, ReadBudget};
use crate::domain::image::deletion::ImageId;
use crate::domain::image::layers::{Layers, UnknownLayers};
use crate::domain::image::{Image, RepositoryImages};
use crate::domain::repository::Name;

/// The prefix of the keys of layers that are known. The name of the repository follows.
pub const LAYERS: &str = "cache/layers/";
/// The key of what the last run over the registry knew of the storage of each repository.
pub const STORAGE_KEY: &str = "cache/storage.json";
/// Maximum time that a repository may take. Calls are repeated until they succeed, and nothing depends on these.
const MAX_TIME: Duration = Duration::from_secs(20);
/// Minimum time left of an invocation for reading layers: what it is for comes first.
const MIN_TIME_LEFT: Duration = Duration::from_secs(60);

/// What an invocation of the inventory may spend on costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CostSettings<'a> {
    /// The calls of a run that read manifests to know layers. With none layers are not looked at.
    pub layer_reads: u32,
    /// The key of the resource tag by which costs are added up; empty for none.
    pub tag: &'a str,
}

/// The share of each repository in what a run reads for costs.
#[derive(Debug)]
pub(super) struct CostShares {
    budget: Option<ReadBudget>,
    tags: BTreeMap<String, String>,
    /// Why the resource tags are not known; none if they are.
    pub(super) problem: Option<String>,
}

impl CostShares {
    /// Reads what the last run knew and the resource tags, for a run over the registry. `spare` is what an earlier invocation of the
    /// same inventory left.
    pub(super) async fn read(
        clients: &RunContext<'_>,
        run: &Run,
        account_id: &str,
        settings: CostSettings<'_>,
        spare: Option<u32>,
    ) -> Self {
        let mut shares = Self { budget: None, tags: BTreeMap::new(), problem: None };
        if run.protect_only || run.policies_file_problem.is_some() {
            return shares;
        }
        if settings.layer_reads > 0 {
            let known = known_storage(clients).await;
            shares.budget = Some(ReadBudget::new(settings.layer_reads, &known).with_spare(spare));
        }
        if !settings.tag.is_empty() {
            let read = clients.call(clients.resource_tags.values(account_id, settings.tag));
            match in_time(read).await {
                Ok(tags) => shares.tags = tags,
                Err(problem) => {
                    tracing::warn!(
                        tag = settings.tag,
                        problem,
                        "could not read by which tag costs are added up"
                    );
                    shares.problem = Some(problem);
                }
            }
        }
        shares
    }

    /// The calls for a repository, and the value of its tag.
    pub(super) fn of(&mut self, repository_name: &str) -> (Option<u32>, Option<String>) {
        let calls = self.budget.as_mut().map(|budget| budget.take(repository_name));
        (calls, self.tags.get(repository_name).cloned())
    }

    /// The calls that are left for repositories that no run knows.
    pub(super) fn spare(&self) -> Option<u32> {
        self.budget.as_ref().map(ReadBudget::spare)
    }
}

/// What the last run knew. Without it each repository gets one call.
async fn known_storage(clients: &RunContext<'_>) -> KnownStorage {
    let read = clients.call(clients.s3.get(clients.bucket, STORAGE_KEY));
    let known = match in_time(read).await {
        Ok(None) => return KnownStorage::new(),
        Ok(Some(object)) => serde_json::from_str(&object.text).map_err(|error| error.to_string()),
        Err(problem) => Err(problem),
    };
    known.unwrap_or_else(|problem| {
        tracing::warn!(key = STORAGE_KEY, problem, "how large repositories are is not known");
        KnownStorage::new()
    })
}

/// The layers of a repository's images: those that are remembered, and those of as many more as these calls read. Also why there
/// are not more, if something failed.
pub(super) async fn read(
    clients: &RunContext<'_>,
    name: &Name,
    images: &RepositoryImages,
    calls: u32,
) -> (Layers, Option<String>) {
    if !clients.deadline.has(MIN_TIME_LEFT) {
        return (Layers::default(), Some("there was no time left to read layers".to_owned()));
    }
    let mut layers = Layers::default();
    let result = in_time(read_into(&mut layers, clients, name, images.images(), calls)).await;
    let problem = result.err();
    if let Some(problem) = &problem {
        tracing::warn!(repository = %name, problem, "could not read all layers: sizes are upper bounds");
    }
    (layers, problem)
}

async fn read_into(
    layers: &mut Layers,
    clients: &RunContext<'_>,
    name: &Name,
    images: &[Image],
    calls: u32,
) -> Result<(), RunError> {
    let key = format!("{LAYERS}{name}.json");
    let found = clients.call(clients.s3.get(clients.bucket, &key)).await?;
    if let Some(object) = &found {
        match Layers::parse(&object.text) {
            Ok(known) => *layers = known,
            // They are read again, and written anew.
            Err(error) => tracing::warn!(key, %error, "could not use what is remembered of layers"),
        }
    }
    let there: HashSet<&str> = images.iter().map(|image| &*image.digest).collect();
    let forgotten = layers.retain(|digest| there.contains(digest));
    let unread = layers.unread(images);
    let mut learnt = 0;
    let mut result = Ok(());
    for batch in unread.chunks(BATCH).take(calls as usize) {
        let ids: Vec<ImageId> = batch.iter().map(|image| ImageId::Digest(image.digest.to_string())).collect();
        match clients.call(clients.ecr.manifests(name, &ids)).await {
            // What ECR does not give stays unread: it may be deleted or archived by now.
            Ok(Manifests { found, .. }) => learnt += learn(layers, name, &found),
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    if learnt > 0 || forgotten > layers.len() {
        let text = layers.to_json().map_err(|error| clients.invalid_object(&key, error))?;
        let etag = found.as_ref().map(|object| object.etag.as_str());
        let only = etag.map_or(Precondition::IfNoneMatch, Precondition::IfMatch);
        // What another invocation wrote meanwhile is as good.
        clients.call(clients.s3.put(clients.bucket, &key, &text, only)).await?;
    }
    result
}

/// Learns layers from manifests; gives the number of manifests of which something is remembered now.
fn learn(layers: &mut Layers, name: &Name, manifests: &[Manifest]) -> usize {
    let mut learnt = 0;
    for Manifest { digest, text, .. } in manifests {
        match layers.learn(digest, text) {
            Ok(()) => learnt += 1,
            Err(error @ (UnknownLayers::Malformed(_) | UnknownLayers::NoLayers)) => {
                learnt += 1;
                tracing::info!(repository = %name, digest, %error, "a manifest tells no layers");
            }
            Err(error @ UnknownLayers::TooMany) => {
                tracing::info!(repository = %name, digest, %error, "layers are not remembered");
            }
        }
    }
    learnt
}

/// Waits for a result for a limited time.
async fn in_time<T>(read: impl Future<Output = Result<T, RunError>>) -> Result<T, String> {
    match timeout(MAX_TIME, read).await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("AWS did not answer within {} seconds", MAX_TIME.as_secs())),
    }
}
