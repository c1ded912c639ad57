//! Amazon ECS, as far as it tells what runs.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Connection;
use super::error::{AwsError, Failure};
use crate::aws::sigv4::Service;
use crate::domain::usage::ecs::{
    Asked, PastDeployment, PinnedImage, Revision, RunningService, RunningTask, TaskDefinition, latest,
};

/// What requests name the API by.
const TARGET: &str = "AmazonEC2ContainerServiceV20141113";
/// Maximum number of tasks that ECS describes in one call.
const TASKS: usize = 100;
/// Maximum number of services that ECS describes in one call.
const SERVICES: usize = 10;
/// Maximum number of clusters that ECS describes in one call.
const CLUSTERS: usize = 100;
/// Maximum number of revisions of services or daemons that ECS describes in one call.
pub const REVISIONS: usize = 20;

/// Amazon ECS in one region.
#[derive(Debug)]
pub struct Ecs {
    service: Service,
}

#[derive(Deserialize)]
struct ClusterStatus {
    #[serde(rename = "clusterArn")]
    arn: String,
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DaemonSummary {
    daemon_arn: String,
}

#[derive(Deserialize)]
struct DaemonTaskDefinitionSummary {
    arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Daemon {
    #[serde(default)]
    current_revisions: Vec<DaemonRevisionSummary>,
}

#[derive(Deserialize)]
struct DaemonRevisionSummary {
    arn: String,
}

#[derive(Deserialize)]
struct Untold {
    arn: Option<String>,
    reason: Option<String>,
}

impl Ecs {
    pub(super) fn new(connection: &Connection) -> Self {
        Self { service: Service::new("ecs", "ECS", connection) }
    }

    /// The ARNs of all clusters, of which some may be deleted: ECS lists those for a while.
    ///
    /// # Errors
    ///
    /// What ECS answers.
    pub async fn clusters(&self) -> Result<Vec<String>, AwsError> {
        self.listed("ListClusters", "clusterArns", json!({})).await
    }

    /// Those of some clusters that are not deleted.
    ///
    /// # Errors
    ///
    /// What ECS answers, also about one cluster.
    pub async fn not_deleted(&self, clusters: &[String]) -> Result<Vec<String>, AwsError> {
        const OPERATION: &str = "DescribeClusters";
        let mut active = Vec::with_capacity(clusters.len());
        for batch in clusters.chunks(CLUSTERS) {
            let request = json!({ "clusters": batch });
            let found: Vec<ClusterStatus> = self.told(OPERATION, "clusters", &request).await?;
            active
                .extend(found.into_iter().filter(|found| found.status != "INACTIVE").map(|found| found.arn));
        }
        Ok(active)
    }

    /// The tasks of a cluster that run or are about to; none of a cluster that is deleted.
    ///
    /// # Errors
    ///
    /// What ECS answers, also about one task.
    pub async fn tasks(&self, cluster: &str) -> Result<Vec<RunningTask>, AwsError> {
        let all = async {
            let arns = self.listed("ListTasks", "taskArns", json!({ "cluster": cluster })).await?;
            self.described("DescribeTasks", "tasks", cluster, &arns, TASKS).await
        };
        unless_deleted(all.await)
    }

    /// The services of a cluster; none of a cluster that is deleted.
    ///
    /// # Errors
    ///
    /// What ECS answers, also about one service.
    pub async fn services(&self, cluster: &str) -> Result<Vec<RunningService>, AwsError> {
        let all = async {
            let arns = self.listed("ListServices", "serviceArns", json!({ "cluster": cluster })).await?;
            self.described("DescribeServices", "services", cluster, &arns, SERVICES).await
        };
        unless_deleted(all.await)
    }

    /// The history of a service's deployments, as far as ECS keeps it; none of a service that is deleted.
    ///
    /// # Errors
    ///
    /// What ECS answers.
    pub async fn deployments(&self, cluster: &str, service: &str) -> Result<Vec<PastDeployment>, AwsError> {
        let request = json!({ "cluster": cluster, "service": service });
        unless_deleted(self.listed("ListServiceDeployments", "serviceDeployments", request).await)
    }

    /// What at most 20 service revisions have pinned, by their ARNs. Those of which ECS cannot tell are not among it.
    ///
    /// # Errors
    ///
    /// What ECS answers.
    pub async fn service_revisions(
        &self,
        arns: &[String],
    ) -> Result<Vec<(String, Vec<PinnedImage>)>, AwsError> {
        let request = json!({ "serviceRevisionArns": arns });
        let found: Vec<Revision> =
            self.told("DescribeServiceRevisions", "serviceRevisions", &request).await?;
        Ok(found.into_iter().map(|revision| (revision.arn, revision.container_images)).collect())
    }

    /// The ARNs of the last active revisions of each family of task definitions, so many of each.
    ///
    /// # Errors
    ///
    /// What ECS answers.
    pub async fn latest_task_definitions(&self, revisions: u64) -> Result<Vec<String>, AwsError> {
        let active = json!({ "status": "ACTIVE" });
        let arns = self.listed("ListTaskDefinitions", "taskDefinitionArns", active).await?;
        Ok(latest(arns, revisions))
    }

    /// The images of a task definition, which never change.
    ///
    /// # Errors
    ///
    /// What ECS answers.
    pub async fn task_definition(&self, arn: &str) -> Result<Asked<Vec<String>>, AwsError> {
        self.definition("DescribeTaskDefinition", "taskDefinition", arn).await
    }

    /// The ARNs of the last active revisions of each family of daemon task definitions, so many of each; none where ECS has
    /// no managed daemons.
    ///
    /// # Errors
    ///
    /// What ECS answers.
    pub async fn latest_daemon_definitions(&self, revisions: u64) -> Result<Vec<String>, AwsError> {
        let active = json!({ "status": "ACTIVE" });
        let listed = self.listed("ListDaemonTaskDefinitions", "daemonTaskDefinitions", active).await;
        let found: Vec<DaemonTaskDefinitionSummary> = unless_unknown(listed)?;
        Ok(latest(found.into_iter().map(|found| found.arn).collect(), revisions))
    }

    /// The images of a daemon task definition, which never change.
    ///
    /// # Errors
    ///
    /// What ECS answers.
    pub async fn daemon_definition(&self, arn: &str) -> Result<Asked<Vec<String>>, AwsError> {
        self.definition("DescribeDaemonTaskDefinition", "daemonTaskDefinition", arn).await
    }

    /// The ARNs of the daemons of a cluster; none where ECS has no managed daemons.
    ///
    /// # Errors
    ///
    /// What ECS answers.
    pub async fn daemons(&self, cluster: &str) -> Result<Vec<String>, AwsError> {
        let request = json!({ "clusterArn": cluster });
        let listed = self.listed("ListDaemons", "daemonSummariesList", request).await;
        let found: Vec<DaemonSummary> = unless_deleted(unless_unknown(listed))?;
        Ok(found.into_iter().map(|found| found.daemon_arn).collect())
    }

    /// The revisions of a daemon that run now; none of a daemon that is deleted.
    ///
    /// # Errors
    ///
    /// What ECS answers, also about one revision; and when it does not tell of one that the daemon runs.
    pub async fn daemon_revisions(&self, daemon: &str) -> Result<Vec<Revision>, AwsError> {
        const OPERATION: &str = "DescribeDaemon";
        let request = json!({ "daemonArn": daemon });
        let answer: Result<Value, AwsError> = self.service.call(OPERATION, TARGET, &request).await;
        let daemon: Daemon = match answer {
            Ok(mut answer) => read(OPERATION, answer["daemon"].take())?,
            Err(error) if error.failure == Failure::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let arns: Vec<String> = daemon.current_revisions.into_iter().map(|revision| revision.arn).collect();
        let mut all = Vec::with_capacity(arns.len());
        for batch in arns.chunks(REVISIONS) {
            const OPERATION: &str = "DescribeDaemonRevisions";
            let request = json!({ "daemonRevisionArns": batch });
            let told: Vec<Revision> = self.told(OPERATION, "daemonRevisions", &request).await?;
            let is_told =
                |arn: &&String| told.iter().any(|one| one.arn == **arn && !one.container_images.is_empty());
            if let Some(untold) = batch.iter().find(|arn| !is_told(arn)) {
                let problem =
                    format!("ECS does not tell of the images of {untold}, which runs; update the daemon");
                return Err(AwsError::unexpected_response(OPERATION, &problem));
            }
            all.extend(told);
        }
        Ok(all)
    }

    async fn definition(
        &self,
        operation: &'static str,
        member: &str,
        arn: &str,
    ) -> Result<Asked<Vec<String>>, AwsError> {
        let answer: Result<Value, AwsError> =
            self.service.call(operation, TARGET, &json!({ member: arn })).await;
        match answer {
            Ok(mut answer) => {
                let definition: TaskDefinition = read(operation, answer[member].take())?;
                let images = definition.images();
                if images.is_empty() {
                    return Err(AwsError::unexpected_response(
                        operation,
                        &format!("{arn} has no containers"),
                    ));
                }
                Ok(Asked::Known(images))
            }
            // It is deleted for good, or not there.
            Err(error) if error.failure == Failure::NotFound => Ok(Asked::Indescribable),
            Err(error) if error.message.contains("Unable to describe") => Ok(Asked::Indescribable),
            Err(error) => Err(error),
        }
    }

    /// All pages of a list.
    async fn listed<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        member: &str,
        mut request: Value,
    ) -> Result<Vec<T>, AwsError> {
        request["maxResults"] = 100.into();
        let mut all = Vec::new();
        loop {
            let mut answer: Value = self.service.call(operation, TARGET, &request).await?;
            let page: Vec<T> = read(operation, answer[member].take())?;
            all.extend(page);
            match answer["nextToken"].take() {
                Value::Null => return Ok(all),
                token => request["nextToken"] = token,
            }
        }
    }

    /// What the ARNs name. What ended meanwhile is left out; that something cannot be told is an error.
    async fn described<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        member: &str,
        cluster: &str,
        arns: &[String],
        size: usize,
    ) -> Result<Vec<T>, AwsError> {
        let mut all = Vec::with_capacity(arns.len());
        for batch in arns.chunks(size) {
            let request = json!({ "cluster": cluster, member: batch });
            all.extend(self.told(operation, member, &request).await?);
        }
        Ok(all)
    }

    /// What a call tells of what it was asked about. What is not there any more is left out; that ECS does not tell of
    /// something for another reason is an error.
    async fn told<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        member: &str,
        request: &Value,
    ) -> Result<Vec<T>, AwsError> {
        let mut answer: Value = self.service.call(operation, TARGET, request).await?;
        let untold: Option<Vec<Untold>> = read(operation, answer["failures"].take())?;
        for Untold { arn, reason } in untold.into_iter().flatten() {
            if reason.as_deref() != Some("MISSING") {
                let (arn, reason) = (arn.unwrap_or_default(), reason.unwrap_or_default());
                return Err(AwsError::unexpected_response(
                    operation,
                    &format!("ECS does not tell of {arn}: {reason}"),
                ));
            }
        }
        read(operation, answer[member].take())
    }
}

/// Nothing, where what was asked about is deleted.
fn unless_deleted<T>(answer: Result<Vec<T>, AwsError>) -> Result<Vec<T>, AwsError> {
    match answer {
        Err(error) if error.failure == Failure::NotFound => Ok(Vec::new()),
        // What ECS says of a cluster that it still lists. Whatever else it says may name one that is called so.
        Err(error)
            if error.failure == Failure::Invalid
                && (error.message.contains("cluster was inactive")
                    || error.message.contains("cluster is inactive")) =>
        {
            Ok(Vec::new())
        }
        // And of a service.
        Err(error) if error.message.starts_with("ServiceNotActive") => Ok(Vec::new()),
        answer => answer,
    }
}

/// Nothing, where ECS does not know what it was asked to do: there is none of what it would tell of.
fn unless_unknown<T>(answer: Result<Vec<T>, AwsError>) -> Result<Vec<T>, AwsError> {
    match answer {
        Err(error) if error.is_unknown_operation() => Ok(Vec::new()),
        Err(error) if error.message.starts_with("UnsupportedFeatureException") => Ok(Vec::new()),
        answer => answer,
    }
}

fn read<T: DeserializeOwned>(operation: &'static str, value: Value) -> Result<T, AwsError> {
    serde_json::from_value(value).map_err(|error| {
        AwsError::unexpected_response(operation, &format!("the answer is unreadable: {error}"))
    })
}
