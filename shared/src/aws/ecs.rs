//! Amazon ECS: reads what runs.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Connection;
use super::error::{AwsError, Failure};
use super::pages::Pages;
use crate::aws::sigv4::Service;
use crate::domain::usage::ecs::{
    Asked, PastDeployment, PinnedImage, Revision, RunningService, RunningTask, TaskDefinition, latest,
};

/// The prefix of `X-Amz-Target`.
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

/// What an answer describes, and of how many others it says that they are missing.
struct Described<T> {
    found: Vec<T>,
    missing: usize,
}

#[derive(Deserialize)]
struct DescribeFailure {
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
    /// Any error of ECS.
    pub async fn clusters(&self) -> Result<Vec<String>, AwsError> {
        self.listed("ListClusters", "clusterArns", json!({})).await
    }

    /// The clusters that are not deleted.
    ///
    /// # Errors
    ///
    /// Any error of ECS, also about one cluster.
    pub async fn not_deleted(&self, clusters: &[String]) -> Result<Vec<String>, AwsError> {
        const OPERATION: &str = "DescribeClusters";
        let mut active = Vec::with_capacity(clusters.len());
        for batch in distinct(clusters).chunks(CLUSTERS) {
            let request = json!({ "clusters": batch });
            let described: Described<ClusterStatus> = self.describe(OPERATION, "clusters", &request).await?;
            let found = described.all_of(OPERATION, batch.len())?;
            active
                .extend(found.into_iter().filter(|found| found.status != "INACTIVE").map(|found| found.arn));
        }
        Ok(active)
    }

    /// The tasks of a cluster that run or are starting; none for a deleted cluster.
    ///
    /// # Errors
    ///
    /// Any error of ECS, also about one task.
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
    /// Any error of ECS, also about one service.
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
    /// Any error of ECS.
    pub async fn deployments(&self, cluster: &str, service: &str) -> Result<Vec<PastDeployment>, AwsError> {
        let request = json!({ "cluster": cluster, "service": service });
        unless_deleted(self.listed("ListServiceDeployments", "serviceDeployments", request).await)
    }

    /// The pinned images of at most 20 service revisions, by ARN. Revisions that ECS cannot describe are missing.
    ///
    /// # Errors
    ///
    /// Any error of ECS.
    pub async fn service_revisions(
        &self,
        arns: &[String],
    ) -> Result<Vec<(String, Vec<PinnedImage>)>, AwsError> {
        let request = json!({ "serviceRevisionArns": arns });
        let described: Described<Revision> =
            self.describe("DescribeServiceRevisions", "serviceRevisions", &request).await?;
        Ok(described.found.into_iter().map(|revision| (revision.arn, revision.container_images)).collect())
    }

    /// The ARNs of the last active revisions of each family of task definitions.
    ///
    /// # Errors
    ///
    /// Any error of ECS.
    pub async fn latest_task_definitions(&self, revisions: u64) -> Result<Vec<String>, AwsError> {
        let active = json!({ "status": "ACTIVE" });
        let arns = self.listed("ListTaskDefinitions", "taskDefinitionArns", active).await?;
        Ok(latest(arns, revisions))
    }

    /// The images of a task definition, which never change.
    ///
    /// # Errors
    ///
    /// Any error of ECS.
    pub async fn task_definition(&self, arn: &str) -> Result<Asked<Vec<String>>, AwsError> {
        self.definition("DescribeTaskDefinition", "taskDefinition", arn).await
    }

    /// The ARNs of the last active revisions of each family of daemon task definitions; none where ECS has no managed daemons.
    ///
    /// # Errors
    ///
    /// Any error of ECS.
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
    /// Any error of ECS.
    pub async fn daemon_definition(&self, arn: &str) -> Result<Asked<Vec<String>>, AwsError> {
        self.definition("DescribeDaemonTaskDefinition", "daemonTaskDefinition", arn).await
    }

    /// The ARNs of the daemons of a cluster; none where ECS has no managed daemons.
    ///
    /// # Errors
    ///
    /// Any error of ECS.
    pub async fn daemons(&self, cluster: &str) -> Result<Vec<String>, AwsError> {
        let request = json!({ "clusterArn": cluster });
        let listed = self.listed("ListDaemons", "daemonSummariesList", request).await;
        let found: Vec<DaemonSummary> = unless_deleted(unless_unknown(listed))?;
        Ok(found.into_iter().map(|found| found.daemon_arn).collect())
    }

    /// The revisions of a daemon that run now; none for a deleted daemon.
    ///
    /// # Errors
    ///
    /// Any error of ECS, also about one revision; and if it does not describe one that the daemon runs.
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
            let Described { found: described, .. } =
                self.describe::<Revision>(OPERATION, "daemonRevisions", &request).await?;
            let is_reported = |arn: &&String| {
                described.iter().any(|one| one.arn == **arn && !one.container_images.is_empty())
            };
            if let Some(failures) = batch.iter().find(|arn| !is_reported(arn)) {
                let problem =
                    format!("ECS does not tell of the images of {failures}, which runs; update the daemon");
                return Err(AwsError::unexpected_response(OPERATION, &problem));
            }
            all.extend(described);
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
        let mut pages = Pages::new(operation);
        loop {
            let mut answer: Value = self.service.call(operation, TARGET, &request).await?;
            let page: Vec<T> = read(operation, answer[member].take())?;
            all.extend(page);
            pages.follow(read(operation, answer["nextToken"].take())?)?;
            let Some(token) = pages.token() else { return Ok(all) };
            request["nextToken"] = token.into();
        }
    }

    /// Describes what the ARNs name. Whatever ended meanwhile is left out; anything else that cannot be described is an error, and
    /// so is an answer that leaves something out without a word.
    async fn described<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        member: &str,
        cluster: &str,
        arns: &[String],
        size: usize,
    ) -> Result<Vec<T>, AwsError> {
        let mut all = Vec::with_capacity(arns.len());
        for batch in distinct(arns).chunks(size) {
            let request = json!({ "cluster": cluster, member: batch });
            let described = self.describe(operation, member, &request).await?;
            all.extend(described.all_of(operation, batch.len())?);
        }
        Ok(all)
    }

    /// Describes what a request names. Whatever no longer exists is left out; a failure for another reason is an error.
    async fn describe<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        member: &str,
        request: &Value,
    ) -> Result<Described<T>, AwsError> {
        let mut answer: Value = self.service.call(operation, TARGET, request).await?;
        let failures: Option<Vec<DescribeFailure>> = read(operation, answer["failures"].take())?;
        let failures = failures.unwrap_or_default();
        let missing = failures.len();
        for DescribeFailure { arn, reason } in failures {
            if reason.as_deref() != Some("MISSING") {
                let (arn, reason) = (arn.unwrap_or_default(), reason.unwrap_or_default());
                return Err(AwsError::unexpected_response(
                    operation,
                    &format!("ECS does not tell of {arn}: {reason}"),
                ));
            }
        }
        Ok(Described { found: read(operation, answer[member].take())?, missing })
    }
}

impl<T> Described<T> {
    /// What was described, if the answer says of everything what became of it.
    fn all_of(self, operation: &'static str, asked: usize) -> Result<Vec<T>, AwsError> {
        let Self { found, missing } = self;
        let answered = found.len() + missing;
        if answered < asked {
            let problem = format!(
                "ECS tells of {answered} of {asked} that it was asked for, and nothing of the others"
            );
            return Err(AwsError::unexpected_response(operation, &problem));
        }
        Ok(found)
    }
}

/// Each ARN once: something may be on two pages of a list.
fn distinct(arns: &[String]) -> Vec<&String> {
    arns.iter().collect::<BTreeSet<_>>().into_iter().collect()
}

/// An empty answer if what the request names is deleted.
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

/// An empty answer if ECS does not know the operation.
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
