//! Amazon ECS, as far as it tells what runs.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Connection;
use super::error::{AwsError, Failure};
use super::signed::Service;
use crate::usage::ecs::{RunningService, RunningTask, TaskDefinition, latest};

/// What requests name the API by.
const TARGET: &str = "AmazonEC2ContainerServiceV20141113";
/// The most tasks that ECS describes in one call.
const TASKS: usize = 100;
/// The most services that ECS describes in one call.
const SERVICES: usize = 10;

/// Amazon ECS in one region.
#[derive(Debug)]
pub struct Ecs {
    service: Service,
}

impl Ecs {
    pub(super) fn new(connection: &Connection) -> Self {
        Self { service: Service::new("ecs", "ECS", connection) }
    }

    /// The ARNs of all clusters.
    ///
    /// # Errors
    ///
    /// What ECS answers.
    pub async fn clusters(&self) -> Result<Vec<String>, AwsError> {
        self.arns("ListClusters", "clusterArns", json!({})).await
    }

    /// The tasks of a cluster that run or are about to.
    ///
    /// # Errors
    ///
    /// What ECS answers, also about one task.
    pub async fn tasks(&self, cluster: &str) -> Result<Vec<RunningTask>, AwsError> {
        let arns = self.arns("ListTasks", "taskArns", json!({ "cluster": cluster })).await?;
        self.described("DescribeTasks", "tasks", cluster, &arns, TASKS).await
    }

    /// The services of a cluster.
    ///
    /// # Errors
    ///
    /// What ECS answers, also about one service.
    pub async fn services(&self, cluster: &str) -> Result<Vec<RunningService>, AwsError> {
        let arns = self.arns("ListServices", "serviceArns", json!({ "cluster": cluster })).await?;
        self.described("DescribeServices", "services", cluster, &arns, SERVICES).await
    }

    /// The ARNs of the last active revisions of each family of task definitions, so many of each.
    ///
    /// # Errors
    ///
    /// What ECS answers.
    pub async fn latest_task_definitions(&self, revisions: u64) -> Result<Vec<String>, AwsError> {
        let active = json!({ "status": "ACTIVE" });
        let arns = self.arns("ListTaskDefinitions", "taskDefinitionArns", active).await?;
        Ok(latest(arns, revisions))
    }

    /// A task definition, which never changes; `None` when there is none any more.
    ///
    /// # Errors
    ///
    /// What ECS answers.
    pub async fn task_definition(&self, arn: &str) -> Result<Option<TaskDefinition>, AwsError> {
        const OPERATION: &str = "DescribeTaskDefinition";
        let answer: Result<Value, AwsError> =
            self.service.call(OPERATION, TARGET, &json!({ "taskDefinition": arn })).await;
        match answer {
            Ok(mut answer) => read(OPERATION, answer["taskDefinition"].take()).map(Some),
            // It is deleted for good.
            Err(error) if error.failure == Failure::NotFound => Ok(None),
            Err(error) if error.message.contains("Unable to describe task definition") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All pages of a list.
    async fn arns(
        &self,
        operation: &'static str,
        member: &str,
        mut request: Value,
    ) -> Result<Vec<String>, AwsError> {
        request["maxResults"] = 100.into();
        let mut all = Vec::new();
        loop {
            let mut answer: Value = self.service.call(operation, TARGET, &request).await?;
            let page: Vec<String> = read(operation, answer[member].take())?;
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
            let mut answer: Value = self.service.call(operation, TARGET, &request).await?;
            let untold = answer["failures"].as_array().into_iter().flatten();
            if let Some(untold) = untold.into_iter().find(|failure| failure["reason"] != "MISSING") {
                return Err(AwsError::odd(operation, &format!("ECS does not tell of {untold}")));
            }
            let page: Vec<T> = read(operation, answer[member].take())?;
            all.extend(page);
        }
        Ok(all)
    }
}

fn read<T: DeserializeOwned>(operation: &'static str, value: Value) -> Result<T, AwsError> {
    serde_json::from_value(value)
        .map_err(|error| AwsError::odd(operation, &format!("the answer is unreadable: {error}")))
}
