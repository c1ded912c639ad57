//! Amazon ECS: the images of tasks that run or are starting, the pinned images of services' revisions that may start next or on a
//! rollback, and the last revisions of task definitions, which the next task may be of.
//!
//! ECS resolves the tags of a service to digests when it is deployed, once for each *service revision*, and starts every later
//! task by those digests, even if the tags have moved since.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::source::{UsageSource, When};
use super::{UnknownImage, UnreadableSource, UsedImage, references, unreadable_list};
use crate::domain::image::reference::ImageReference;
use crate::domain::text::instant::Instant;

/// Amazon ECS.
pub const SOURCE: UsageSource = UsageSource {
    name: "ecs",
    title: "Amazon ECS",
    service: None,
    actions: &[
        "ecs:DescribeClusters",
        "ecs:DescribeDaemon",
        "ecs:DescribeDaemonRevisions",
        "ecs:DescribeDaemonTaskDefinition",
        "ecs:DescribeServiceRevisions",
        "ecs:DescribeServices",
        "ecs:DescribeTaskDefinition",
        "ecs:DescribeTasks",
        "ecs:ListClusters",
        "ecs:ListDaemonTaskDefinitions",
        "ecs:ListDaemons",
        "ecs:ListServiceDeployments",
        "ecs:ListServices",
        "ecs:ListTaskDefinitions",
        "ecs:ListTasks",
    ],
    blocks: true,
    when: When::BeforeEachDeletion,
    calls: "4 for each cluster with up to 10 services and 100 tasks, and more for more; once a run also 1 for each service, 1 for \
            each 100 revisions of task definitions, and 1 for each that is not known",
};

/// A task in the answer of `DescribeTasks`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningTask {
    /// Its ARN.
    pub task_arn: String,
    /// The ARN of what it is made after.
    pub task_definition_arn: String,
    /// The group: `service:<name>` for the task of a service.
    #[serde(default)]
    pub group: Option<String>,
    /// The last known status, such as `RUNNING`.
    #[serde(default)]
    pub last_status: Option<String>,
    /// The time at which all its containers had been pulled and it was running.
    #[serde(default)]
    pub started_at: Option<Instant>,
    /// Its containers.
    #[serde(default)]
    pub containers: Vec<Container>,
}

/// A container of a task.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// The image, as the task definition has it.
    pub image: Option<String>,
    /// The pulled digest; absent while it is pulled, and with old agents.
    pub image_digest: Option<String>,
    /// The last known status.
    #[serde(default)]
    pub last_status: Option<String>,
}

/// A service in the answer of `DescribeServices`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningService {
    /// Its ARN.
    pub service_arn: String,
    /// The task definition of its next tasks.
    pub task_definition: Option<String>,
    /// Its deployments, including earlier ones that still have tasks.
    #[serde(default)]
    pub deployments: Vec<Deployment>,
    /// The same for services with an external deployment controller.
    #[serde(default)]
    pub task_sets: Vec<Deployment>,
    /// The running revisions and those being deployed, which have pinned digests.
    #[serde(default)]
    pub current_service_revisions: Vec<RevisionSummary>,
    /// The deployment controller.
    #[serde(default)]
    pub deployment_controller: Option<DeploymentController>,
}

/// A deployment of a service, or a task set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    /// The ARN of its task definition.
    pub task_definition: Option<String>,
}

/// A service revision, as a service names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RevisionSummary {
    /// Its ARN.
    pub arn: String,
}

/// The deployment controller of a service.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DeploymentController {
    /// `ECS`, `CODE_DEPLOY` or `EXTERNAL`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
}

/// A deployment in the history of a service, from `ListServiceDeployments`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastDeployment {
    /// The revision that was deployed.
    pub target_service_revision_arn: Option<String>,
    /// The status, such as `SUCCESSFUL`.
    #[serde(default)]
    pub status: Option<String>,
    /// The time of the request.
    #[serde(default)]
    pub created_at: Option<Instant>,
}

/// A container's image in the answer of `DescribeServiceRevisions` or `DescribeDaemonRevisions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PinnedImage {
    /// The image, as the task definition has it.
    #[serde(default)]
    pub image: Option<String>,
    /// The digest by which tasks are started; absent if ECS has not resolved the tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
}

/// A service revision or a daemon revision.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// Its ARN.
    #[serde(alias = "serviceRevisionArn", alias = "daemonRevisionArn")]
    pub arn: String,
    /// The pinned images.
    #[serde(default)]
    pub container_images: Vec<PinnedImage>,
    /// The daemon task definition, of a daemon's.
    #[serde(default)]
    pub daemon_task_definition_arn: Option<String>,
}

/// A task definition in the answer of `DescribeTaskDefinition` or `DescribeDaemonTaskDefinition`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskDefinition {
    /// Its containers.
    #[serde(default)]
    pub container_definitions: Vec<ContainerDefinition>,
}

/// A container of a task definition.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ContainerDefinition {
    /// The image.
    pub image: String,
}

/// A revision of a task definition that something starts by its name, whether or not tasks run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedRevision {
    /// The ARN, or the family and the number: `nightly:3`.
    pub name: String,
    /// What names it.
    pub used_by: String,
}

impl NamedRevision {
    /// The revision that a text names; `None` for a family alone, whose last active revisions are in use anyway, and for a text
    /// that is not known before it is computed.
    #[must_use]
    pub fn of(text: &str, used_by: &str) -> Option<Self> {
        let name = text.rsplit('/').next().unwrap_or(text);
        let (family, number) = name.split_once(':')?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let is_revision = !family.is_empty()
            && family.chars().all(is_name)
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit());
        is_revision.then(|| Self { name: text.to_owned(), used_by: used_by.to_owned() })
    }
}

/// The answer about something immutable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked<T> {
    /// Its description.
    Known(T),
    /// ECS says that it cannot describe it.
    Indescribable,
    /// The call failed, for this reason.
    Failed(String),
}

/// A cluster, and what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Its ARN.
    pub arn: String,
    /// Its tasks.
    pub tasks: Vec<RunningTask>,
    /// Its services.
    pub services: Vec<RunningService>,
}

/// All facts about ECS that decide what is in use.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The clusters that are active.
    pub clusters: &'a [Cluster],
    /// The ARNs of the last active revisions of task definitions.
    pub active_definitions: &'a [String],
    /// The images of task definitions, by their ARNs; all that are needed are there.
    pub definitions: &'a BTreeMap<String, Asked<Vec<String>>>,
    /// The pinned images of service revisions, by ARN. All that are needed are present.
    pub revisions: &'a BTreeMap<String, Asked<Vec<PinnedImage>>>,
    /// The revisions that services may roll back to, by the ARNs of the services.
    pub earlier_revisions: &'a BTreeMap<String, Vec<String>>,
}

/// The images that ECS uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EcsUse {
    /// References.
    pub used: Vec<UsedImage>,
    /// Running containers whose image is unknown.
    pub unknown: Vec<UnknownImage>,
    /// What is unknown.
    pub gaps: Vec<UnreadableSource>,
}

impl TaskDefinition {
    /// The images of its containers.
    #[must_use]
    pub fn images(self) -> Vec<String> {
        self.container_definitions.into_iter().map(|container| container.image).collect()
    }
}

impl RunningService {
    /// The task definitions that it needs.
    pub fn task_definitions(&self) -> impl Iterator<Item = &str> {
        let deployed = self.deployments.iter().chain(&self.task_sets);
        let deployed = deployed.filter_map(|deployment| deployment.task_definition.as_deref());
        self.task_definition.as_deref().into_iter().chain(deployed)
    }

    /// Whether ECS deploys the service, so that there is a history of deployments.
    #[must_use]
    pub fn has_deployments(&self) -> bool {
        let kind = self.deployment_controller.as_ref().and_then(|controller| controller.kind.as_deref());
        kind.is_none_or(|kind| kind == "ECS")
    }

    /// Its name, the last part of its ARN.
    #[must_use]
    pub fn name(&self) -> &str {
        self.service_arn.rsplit('/').next().unwrap_or(&self.service_arn)
    }

    /// The source of gaps about this service alone.
    fn source(&self, cluster: &Cluster) -> String {
        let name = cluster.arn.rsplit('/').next().unwrap_or(&cluster.arn);
        format!("{}/{name}/{}", SOURCE.name, self.name())
    }
}

impl Container {
    /// The pulled digest, if known.
    fn pulled(&self) -> Option<String> {
        ImageReference::recorded_digest(self.image_digest.as_deref())
    }
}

impl RunningTask {
    /// The images of the task: by their names in the task definition, and by their pulled digests.
    pub fn images(&self) -> impl Iterator<Item = UsedImage> + '_ {
        self.containers.iter().filter_map(|container| {
            let named = container.image.as_deref().and_then(|image| ImageReference::parse_exact(image).ok());
            // What was pulled is known, whatever it was called.
            let reference = match (named, container.pulled()) {
                (Some(named), digest @ Some(_)) => ImageReference { digest, ..named },
                (Some(named), None) => named,
                (None, Some(digest)) => ImageReference::bare_digest(&digest),
                (None, None) => return None,
            };
            Some(UsedImage { reference, used_by: vec![self.task_arn.clone()] })
        })
    }

    /// Why image names cannot be parsed for containers whose pulled digest is unknown.
    fn problems(&self) -> impl Iterator<Item = String> + '_ {
        let unresolved = self.containers.iter().filter(|container| container.pulled().is_none());
        unresolved.filter_map(|container| {
            let error = ImageReference::parse_exact(container.image.as_deref()?).err()?;
            Some(format!("{}: {error}", self.task_arn))
        })
    }

    /// Running containers whose pulled digest is unknown: the tag may have moved since.
    fn unknown(&self) -> impl Iterator<Item = UnknownImage> + '_ {
        let runs = |status: &Option<String>| status.as_deref() == Some("RUNNING");
        let unknown = self.containers.iter().filter(move |container| {
            let is_running = match &container.last_status {
                Some(_) => runs(&container.last_status),
                None => runs(&self.last_status),
            };
            is_running && container.pulled().is_none()
        });
        unknown.filter_map(|container| {
            let reference = ImageReference::parse_exact(container.image.as_deref()?).ok()?;
            reference.digest.is_none().then(|| UnknownImage {
                reference,
                started_at: self.started_at,
                used_by: self.task_arn.clone(),
            })
        })
    }
}

impl PinnedImage {
    /// The reference by which tasks are started, or why it cannot be read; `None` for what is no image.
    #[must_use]
    pub fn reference(&self) -> Option<Result<ImageReference, String>> {
        let named = self.image.as_deref().map(ImageReference::parse_exact);
        match (named, ImageReference::recorded_digest(self.image_digest.as_deref())) {
            (None, None) => None,
            (Some(Ok(named)), digest @ Some(_)) => Some(Ok(ImageReference { digest, ..named })),
            (_, Some(digest)) => Some(Ok(ImageReference::bare_digest(&digest))),
            (Some(named), None) => Some(named.map_err(|error| error.to_string())),
        }
    }
}

/// Whether the description of a revision is final, so that it can be cached: it has images, and each has a digest.
#[must_use]
pub fn is_final(images: &[PinnedImage]) -> bool {
    !images.is_empty()
        && images.iter().all(|image| {
            image.reference().is_some_and(|reference| reference.is_ok_and(|read| read.digest.is_some()))
        })
}

/// The revisions of a service's history that it may roll back to: everything since the last successful deployment before its
/// present revisions.
#[must_use]
pub fn earlier_revisions(mut history: Vec<PastDeployment>, current: &[RevisionSummary]) -> Vec<String> {
    history.sort_by_key(|deployment| std::cmp::Reverse(deployment.created_at));
    let mut earlier = Vec::new();
    for deployment in history {
        let Some(arn) = deployment.target_service_revision_arn else { continue };
        let is_current = current.iter().any(|revision| revision.arn == arn);
        let was_good = deployment.status.as_deref() == Some("SUCCESSFUL");
        if !is_current && !earlier.contains(&arn) {
            earlier.push(arn);
        }
        if was_good && !is_current {
            break;
        }
    }
    earlier
}

/// The services whose revisions to roll back to are not known, each with its cluster. They are new since those were read, or
/// could not be listed then: nothing of them would be in use but what they run now.
#[must_use]
pub fn without_history<'a>(
    clusters: &'a [Cluster],
    earlier: &BTreeMap<String, Vec<String>>,
) -> Vec<(&'a Cluster, &'a RunningService)> {
    let services = clusters.iter().flat_map(|cluster| cluster.services.iter().map(move |one| (cluster, one)));
    services.filter(|(_, service)| !earlier.contains_key(&service.service_arn)).collect()
}

/// The task definitions that something needs, and the revisions.
#[must_use]
pub fn needed(
    clusters: &[Cluster],
    earlier: &BTreeMap<String, Vec<String>>,
) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut definitions = BTreeSet::new();
    let mut revisions = BTreeSet::new();
    for cluster in clusters {
        definitions.extend(cluster.tasks.iter().map(|task| task.task_definition_arn.clone()));
        for service in &cluster.services {
            definitions.extend(service.task_definitions().map(str::to_owned));
            revisions.extend(service.current_service_revisions.iter().map(|revision| revision.arn.clone()));
            revisions.extend(earlier.get(&service.service_arn).into_iter().flatten().cloned());
        }
    }
    // Daemons' tasks are made after what another call describes.
    definitions.retain(|definition| !definition.contains(":daemon-task-definition/"));
    (definitions, revisions)
}

/// The task definitions whose images are known only from their own description: those of services whose revisions are not all
/// known. Otherwise the revisions name all images, as the containers of tasks do.
#[must_use]
pub fn known_from_nothing_else(
    clusters: &[Cluster],
    revisions: &BTreeMap<String, Asked<Vec<PinnedImage>>>,
) -> BTreeSet<String> {
    let is_reported = |revision: &RevisionSummary| matches!(revisions.get(&revision.arn), Some(Asked::Known(images)) if !images.is_empty());
    let services = clusters.iter().flat_map(|cluster| &cluster.services);
    let unresolved = services.filter(|service| {
        let current = &service.current_service_revisions;
        current.is_empty() || !service.task_sets.is_empty() || !current.iter().all(is_reported)
    });
    unresolved.flat_map(RunningService::task_definitions).map(str::to_owned).collect()
}

/// Decides what ECS uses.
#[must_use]
pub fn decide(facts: Facts<'_>) -> EcsUse {
    let mut deciding = Deciding { facts, all: EcsUse::default(), problems: Vec::new() };
    for cluster in facts.clusters {
        for task in &cluster.tasks {
            deciding.all.used.extend(task.images());
            deciding.all.unknown.extend(task.unknown());
            deciding.problems.extend(task.problems());
            deciding.definition(&task.task_definition_arn, &task.task_arn, None);
        }
        for service in &cluster.services {
            deciding.service(cluster, service);
        }
    }
    for definition in facts.active_definitions {
        deciding.definition(definition, definition, None);
    }
    let Deciding { mut all, mut problems, .. } = deciding;
    problems.sort();
    problems.dedup();
    all.gaps.extend(unreadable_list(SOURCE.name, &problems));
    all
}

struct Deciding<'a> {
    facts: Facts<'a>,
    all: EcsUse,
    /// What is unknown of ECS as a whole.
    problems: Vec<String>,
}

impl Deciding<'_> {
    /// Adds the images of a task definition. If ECS cannot describe it, that is a gap of the service that needs it, if there is
    /// one.
    fn definition(&mut self, arn: &str, used_by: &str, service: Option<&str>) {
        match self.facts.definitions.get(arn) {
            Some(Asked::Known(images)) => {
                let (used, problems) = references(images, used_by);
                self.all.used.extend(used);
                self.problems.extend(problems);
            }
            Some(Asked::Failed(problem)) => self.problems.push(problem.clone()),
            Some(Asked::Indescribable) | None => {
                // The tasks of daemons are known from their containers.
                if arn.contains(":daemon-task-definition/") {
                    return;
                }
                let problem = format!(
                    "Amazon ECS cannot describe the task definition {arn}, which is needed; register and deploy another \
                     revision"
                );
                match service {
                    Some(source) => {
                        let gap =
                            UnreadableSource { source: source.to_owned(), repositories: Vec::new(), problem };
                        if !self.all.gaps.contains(&gap) {
                            self.all.gaps.push(gap);
                        }
                    }
                    None => self.problems.push(problem),
                }
            }
        }
    }

    fn service(&mut self, cluster: &Cluster, service: &RunningService) {
        let source = service.source(cluster);
        for definition in service.task_definitions() {
            self.definition(definition, &service.service_arn, Some(&source));
        }
        let current = &service.current_service_revisions;
        let mut is_pinned_unknown = current.is_empty();
        for revision in current {
            is_pinned_unknown |= !self.revision(&revision.arn, &service.service_arn);
        }
        for revision in self.facts.earlier_revisions.get(&service.service_arn).into_iter().flatten() {
            // One that ECS cannot tell of cannot be gone back to.
            self.revision(revision, &service.service_arn);
        }
        if is_pinned_unknown {
            let repositories = self.unseen(cluster, service);
            if !repositories.is_empty() {
                // What others deploy ECS does not deploy once more.
                let what_to_do = match service.has_deployments() {
                    true => "deploy it once more (aws ecs update-service --force-new-deployment)",
                    false => "start one of them, or name its images by digest",
                };
                let problem = format!(
                    "Amazon ECS does not tell by which digests it starts the tasks of {}, and none of them runs; {what_to_do}",
                    service.service_arn
                );
                self.all.gaps.push(UnreadableSource {
                    source,
                    repositories: repositories.into_iter().collect(),
                    problem,
                });
            }
        }
    }

    /// Adds the pinned images of a revision; `false` if ECS cannot describe it.
    fn revision(&mut self, arn: &str, used_by: &str) -> bool {
        match self.facts.revisions.get(arn) {
            Some(Asked::Known(images)) => {
                for reference in images.iter().filter_map(PinnedImage::reference) {
                    match reference {
                        Ok(reference) => {
                            self.all.used.push(UsedImage { reference, used_by: vec![used_by.to_owned()] });
                        }
                        Err(problem) => self.problems.push(format!("{arn}: {problem}")),
                    }
                }
                // A revision without any image pins nothing that is known.
                !images.is_empty()
            }
            Some(Asked::Failed(problem)) => {
                self.problems.push(problem.clone());
                true
            }
            Some(Asked::Indescribable) | None => false,
        }
    }

    /// The repositories that a service names by tag, if none of its tasks reports a digest. While a service has several revisions,
    /// or task sets, its tasks do not count, since it is not reported of which a task is.
    fn unseen(&self, cluster: &Cluster, service: &RunningService) -> BTreeSet<String> {
        let group = format!("service:{}", service.name());
        let is_one = service.current_service_revisions.len() <= 1 && service.task_sets.len() <= 1;
        let tasks = cluster.tasks.iter().filter(|task| is_one && task.group.as_deref() == Some(&group));
        let seen: BTreeSet<&str> = tasks
            .flat_map(|task| &task.containers)
            .filter(|container| container.pulled().is_some())
            .filter_map(|container| container.image.as_deref())
            .collect();
        let definitions = service.task_definitions().filter_map(|arn| self.facts.definitions.get(arn));
        let images = definitions.filter_map(|asked| match asked {
            Asked::Known(images) => Some(images),
            Asked::Indescribable | Asked::Failed(_) => None,
        });
        images
            .flatten()
            .filter(|image| !seen.contains(image.as_str()))
            .filter_map(|image| ImageReference::parse_exact(image).ok())
            .filter(|reference| reference.digest.is_none())
            .map(|reference| reference.repository)
            .collect()
    }
}

/// The ARNs of the last `revisions` revisions of each family.
#[must_use]
pub fn latest(arns: Vec<String>, revisions: u64) -> Vec<String> {
    let mut families: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
    for arn in arns {
        let (family, revision) = arn.rsplit_once(':').unwrap_or((&arn, ""));
        let revision = revision.parse().unwrap_or(u64::MAX);
        families.entry(family.to_owned()).or_default().push((revision, arn));
    }
    let keep = usize::try_from(revisions).unwrap_or(usize::MAX);
    let mut latest = Vec::new();
    for mut family in families.into_values() {
        family.sort_unstable_by(|one, two| two.cmp(one));
        latest.extend(family.into_iter().take(keep).map(|(_, arn)| arn));
    }
    latest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_revisions_are_the_highest_and_not_the_last_of_the_alphabet() {
        let arn =
            |family: &str, revision: u32| format!("arn:aws:ecs:r:1:task-definition/{family}:{revision}");
        let arns = [("web", 9), ("web", 10), ("web", 11), ("job", 1)].map(|(f, r)| arn(f, r));
        assert_eq!(latest(arns.to_vec(), 2), [arn("job", 1), arn("web", 11), arn("web", 10)]);
        assert_eq!(latest(arns.to_vec(), 0), Vec::<String>::new());
    }

    fn digest(letter: char) -> String {
        format!("sha256:{}", letter.to_string().repeat(64))
    }

    #[test]
    fn a_task_uses_what_it_pulled_and_what_its_name_means_now() {
        let (a, b) = (digest('a'), digest('b'));
        let task: RunningTask = serde_json::from_value(serde_json::json!({
            "taskArn": "arn:task", "taskDefinitionArn": "arn:td", "lastStatus": "RUNNING", "containers": [
                {"name": "web", "image": "1.dkr.ecr.r.amazonaws.com/web:v1", "imageDigest": a},
                {"name": "log", "image": format!("1.dkr.ecr.r.amazonaws.com/log@{b}")}, {"name": "agent"}]
        }))
        .unwrap();
        let images: Vec<String> = task.images().map(|used| used.reference.to_string()).collect();
        assert_eq!(
            images,
            [format!("1.dkr.ecr.r.amazonaws.com/web:v1@{a}"), format!("1.dkr.ecr.r.amazonaws.com/log@{b}")]
        );
        assert_eq!(task.unknown().count() + task.problems().count(), 0);
    }

    #[test]
    fn a_service_needs_what_it_deploys_and_what_it_did_before() {
        let service: RunningService = serde_json::from_str(
            r#"{"serviceArn": "arn:s", "taskDefinition": "td:3",
                "deployments": [{"taskDefinition": "td:3"}, {"taskDefinition": "td:2"}], "taskSets": [{"taskDefinition": "td:1"}]}"#,
        )
        .unwrap();
        assert_eq!(service.task_definitions().collect::<Vec<_>>(), ["td:3", "td:3", "td:2", "td:1"]);
    }

    const CLUSTER: &str = "arn:aws:ecs:r:1:cluster/prod";

    fn service(value: &serde_json::Value) -> RunningService {
        let mut all =
            serde_json::json!({ "serviceArn": "arn:aws:ecs:r:1:service/prod/web", "taskDefinition": "td:1" });
        for (key, value) in value.as_object().unwrap() {
            all[key] = value.clone();
        }
        serde_json::from_value(all).unwrap()
    }

    fn task(status: &str, container: &serde_json::Value) -> RunningTask {
        serde_json::from_value(serde_json::json!({
            "taskArn": "arn:task", "taskDefinitionArn": "td:1", "lastStatus": status, "group": "service:web",
            "startedAt": 1_790_000_000.5, "containers": [container]
        }))
        .unwrap()
    }

    struct World {
        cluster: Cluster,
        definitions: BTreeMap<String, Asked<Vec<String>>>,
        revisions: BTreeMap<String, Asked<Vec<PinnedImage>>>,
        earlier: BTreeMap<String, Vec<String>>,
    }

    /// A service that deploys `app:latest` by one revision, which has a digest pinned.
    fn world() -> World {
        let service = service(&serde_json::json!({ "currentServiceRevisions": [{ "arn": "revision:2" }] }));
        let pinned = PinnedImage { image: Some("app:latest".to_owned()), image_digest: Some(digest('a')) };
        World {
            cluster: Cluster { arn: CLUSTER.to_owned(), tasks: vec![], services: vec![service] },
            definitions: BTreeMap::from([("td:1".to_owned(), Asked::Known(vec!["app:latest".to_owned()]))]),
            revisions: BTreeMap::from([("revision:2".to_owned(), Asked::Known(vec![pinned]))]),
            earlier: BTreeMap::new(),
        }
    }

    impl World {
        fn decide(&self) -> EcsUse {
            decide(Facts {
                clusters: std::slice::from_ref(&self.cluster),
                active_definitions: &[],
                definitions: &self.definitions,
                revisions: &self.revisions,
                earlier_revisions: &self.earlier,
            })
        }

        fn names(&self) -> BTreeSet<String> {
            self.decide().used.iter().map(|used| used.reference.to_string()).collect()
        }
    }

    #[test]
    fn a_service_without_tasks_uses_the_digest_that_is_pinned() {
        let world = world();
        assert_eq!(
            world.names(),
            BTreeSet::from(["app:latest".to_owned(), format!("app:latest@{}", digest('a'))])
        );
        assert_eq!(world.decide().gaps, []);
    }

    #[test]
    fn where_ecs_cannot_tell_what_is_pinned_the_tasks_of_the_service_do_or_it_is_a_gap() {
        for make in [
            |world: &mut World| {
                world.revisions = BTreeMap::from([("revision:2".to_owned(), Asked::Indescribable)]);
            },
            |world: &mut World| world.cluster.services[0].current_service_revisions.clear(),
            |world: &mut World| {
                world.revisions = BTreeMap::from([("revision:2".to_owned(), Asked::Known(vec![]))]);
            },
        ] {
            let mut world = world();
            make(&mut world);
            let gaps = world.decide().gaps;
            assert_eq!(
                (gaps[0].source.as_str(), &*gaps[0].repositories),
                ("ecs/prod/web", &["app".to_owned()][..])
            );
            let container = serde_json::json!({ "image": "app:latest", "imageDigest": digest('b') });
            world.cluster.tasks = vec![task("RUNNING", &container)];
            assert_eq!(world.decide().gaps, []);
            assert!(world.names().contains(&format!("app:latest@{}", digest('b'))));
            // An image that is named by digest needs no task.
            world.cluster.tasks.clear();
            let named = Asked::Known(vec![format!("app@{}", digest('c'))]);
            world.definitions.insert("td:1".to_owned(), named);
            assert_eq!(world.decide().gaps, []);
        }
    }

    #[test]
    fn the_history_of_a_service_that_nobody_knew_of_is_asked_for() {
        let World { cluster, mut earlier, .. } = world();
        let clusters = [cluster];
        let unknown = without_history(&clusters, &earlier);
        assert_eq!(unknown, [(&clusters[0], &clusters[0].services[0])]);
        // None to go back to is a history, too.
        earlier.insert(clusters[0].services[0].service_arn.clone(), Vec::new());
        assert_eq!(without_history(&clusters, &earlier), []);
    }

    #[test]
    fn a_service_may_go_back_to_what_it_deployed_before() {
        let past = |revision: &str, status: &str, seconds: i64| PastDeployment {
            target_service_revision_arn: Some(revision.to_owned()),
            status: Some(status.to_owned()),
            created_at: Instant::from_micros(seconds * 1_000_000),
        };
        let current = [RevisionSummary { arn: "5".to_owned() }];
        let history = vec![
            past("2", "SUCCESSFUL", 2),
            past("5", "SUCCESSFUL", 5),
            past("3", "SUCCESSFUL", 3),
            past("4", "STOPPED", 4),
            past("6", "IN_PROGRESS", 6),
        ];
        assert_eq!(earlier_revisions(history, &current), ["6", "4", "3"]);
        let mut world = world();
        world.earlier.insert(world.cluster.services[0].service_arn.clone(), vec!["revision:1".to_owned()]);
        let pinned = PinnedImage { image: Some("app:latest".to_owned()), image_digest: Some(digest('e')) };
        world.revisions.insert("revision:1".to_owned(), Asked::Known(vec![pinned]));
        assert!(world.names().contains(&format!("app:latest@{}", digest('e'))));
        world.revisions.insert("revision:1".to_owned(), Asked::Indescribable);
        assert_eq!(world.decide().gaps, [], "what ECS does not know any more it cannot go back to");
    }

    #[test]
    fn a_definition_that_is_needed_and_cannot_be_described_is_a_gap_of_who_needs_it() {
        let mut world = world();
        world.definitions.insert("td:1".to_owned(), Asked::Indescribable);
        let gaps = world.decide().gaps;
        assert_eq!(gaps.len(), 1);
        assert_eq!((gaps[0].source.as_str(), gaps[0].repositories.len()), ("ecs/prod/web", 0));
        world.cluster.services.clear();
        world.cluster.tasks = vec![task("RUNNING", &serde_json::json!({ "imageDigest": digest('a') }))];
        assert_eq!(world.decide().gaps[0].source, "ecs");
    }

    #[test]
    fn images_that_cannot_be_read_as_references_are_a_gap() {
        let mut world = world();
        world
            .definitions
            .insert("td:1".to_owned(), Asked::Known(vec!["app:latest".to_owned(), "a b".to_owned()]));
        let gaps = world.decide().gaps;
        assert_eq!(gaps.len(), 1);
        assert!(gaps[0].problem.contains("`a b` is not an image reference"), "{}", gaps[0]);
        assert!(world.names().contains("app:latest"), "the others count");
        let mut other = self::world();
        other.cluster.tasks = vec![task("RUNNING", &serde_json::json!({ "image": "app@sha256:12" }))];
        assert_eq!(other.decide().gaps[0].source, "ecs");
        // What was pulled is known.
        let container = serde_json::json!({ "image": "a b", "imageDigest": digest('d') });
        other.cluster.tasks = vec![task("RUNNING", &container)];
        assert_eq!(other.decide().gaps, []);
        assert!(other.names().contains(&digest('d')));
    }

    #[test]
    fn a_task_that_runs_a_tag_without_a_digest_runs_an_unknown_image() {
        let mut world = world();
        let container = serde_json::json!({ "image": "app:latest" });
        world.cluster.tasks = vec![task("RUNNING", &container)];
        let unknown = world.decide().unknown;
        assert_eq!(unknown[0].started_at, Instant::from_micros(1_790_000_000_500_000));
        // What it pulls when it starts is what the tag means then.
        world.cluster.tasks = vec![task("PENDING", &container)];
        assert_eq!(world.decide().unknown, []);
    }

    #[test]
    fn a_name_with_a_number_is_a_revision_and_a_family_alone_is_none() {
        for text in ["arn:aws:ecs:r:1:task-definition/web:3", "web-a_1:12"] {
            assert_eq!(NamedRevision::of(text, "rule").map(|named| named.name).as_deref(), Some(text));
        }
        for text in [
            "arn:aws:ecs:r:1:task-definition/web",
            "web",
            "",
            "web:",
            ":3",
            "{% $a:3 %}",
            "$.a:b",
            "web:latest",
        ] {
            assert_eq!(NamedRevision::of(text, "rule"), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_pinned_yet_is_asked_for_again() {
        let pinned = |image: &str, image_digest: Option<String>| PinnedImage {
            image: Some(image.to_owned()),
            image_digest,
        };
        assert!(is_final(&[pinned("app:1", Some(digest('a'))), pinned(&format!("x@{}", digest('b')), None)]));
        assert!(!is_final(&[pinned("app:1", None)]) && !is_final(&[]));
    }
}
