//! What Amazon ECS uses: the images of tasks that run or are about to, of what services deploy, and of the last revisions
//! of task definitions, which the next task may be of.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::UsedImage;
use crate::reference::ImageReference;

/// A task, as `DescribeTasks` tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningTask {
    /// Its ARN.
    pub task_arn: String,
    /// The ARN of what it is made after.
    pub task_definition_arn: String,
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
    /// What was pulled.
    pub image_digest: Option<String>,
}

/// A service, as `DescribeServices` tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningService {
    /// Its ARN.
    pub service_arn: String,
    /// The task definition of its next tasks.
    pub task_definition: Option<String>,
    /// What it deploys, and what it did before that still runs.
    #[serde(default)]
    pub deployments: Vec<Deployment>,
    /// The same for services that others deploy.
    #[serde(default)]
    pub task_sets: Vec<Deployment>,
}

/// A deployment of a service, or a task set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    /// The ARN of its task definition.
    pub task_definition: Option<String>,
}

/// A task definition, as `DescribeTaskDefinition` tells of it.
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
}

impl RunningTask {
    /// What the task uses: the image by the name that it has in the task definition, and by what was pulled.
    pub fn images(&self) -> impl Iterator<Item = UsedImage> + '_ {
        self.containers.iter().filter_map(|container| {
            // Names that are none are those of other kinds of containers; what runs of them ECS could not have pulled.
            let named: ImageReference = container.image.as_deref()?.parse().ok()?;
            let digest = container.image_digest.clone().or(named.digest.clone());
            let reference = ImageReference { digest, ..named };
            Some(UsedImage { reference, used_by: vec![self.task_arn.clone()] })
        })
    }
}

/// The last revisions of each family, so many of each, of the ARNs of task definitions.
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

    #[test]
    fn a_task_uses_what_it_pulled_and_what_its_name_means_now() {
        let task: RunningTask = serde_json::from_str(
            r#"{"taskArn": "arn:task", "taskDefinitionArn": "arn:td", "lastStatus": "RUNNING", "containers": [
                {"name": "web", "image": "1.dkr.ecr.r.amazonaws.com/web:v1", "imageDigest": "sha256:aa"},
                {"name": "log", "image": "1.dkr.ecr.r.amazonaws.com/log@sha256:bb"}, {"name": "agent"}]}"#,
        )
        .unwrap();
        let images: Vec<String> = task.images().map(|used| used.reference.to_string()).collect();
        assert_eq!(
            images,
            ["1.dkr.ecr.r.amazonaws.com/web:v1@sha256:aa", "1.dkr.ecr.r.amazonaws.com/log@sha256:bb"]
        );
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
}
