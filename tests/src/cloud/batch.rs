//! AWS Batch: the images of job definitions.

use serde_json::{Value, json};

use super::Answered;
use super::sources::{Source, list};

/// Job definitions.
#[derive(Debug, Default)]
pub struct Batch {
    /// The answers of `DescribeJobDefinitions`.
    pub job_definitions: Vec<Value>,
}

impl Batch {
    /// Registers a job definition of one container.
    pub fn register(&mut self, name: &str, revision: usize, image: &str) -> String {
        let arn = format!("arn:aws:batch:eu-west-1:123456789012:job-definition/{name}:{revision}");
        self.job_definitions
            .push(json!({ "jobDefinitionArn": arn, "jobDefinitionName": name, "revision": revision,
            "status": "ACTIVE", "type": "container", "containerProperties": { "image": image } }));
        arn
    }
}

impl Source for Batch {
    fn route(&self, method: &str, path: &str) -> Option<&'static str> {
        ((method, path) == ("POST", "/v1/describejobdefinitions")).then_some("DescribeJobDefinitions")
    }

    fn act(&self, operation: &str, asked: &Value) -> Option<Answered> {
        if operation != "DescribeJobDefinitions" {
            return None;
        }
        let wanted = self.job_definitions.iter().filter(|definition| definition["status"] == asked["status"]);
        Some(Ok(list("jobDefinitions", &wanted.cloned().collect::<Vec<_>>(), "nextToken", 100)))
    }
}
