//! Amazon EventBridge Pipes: pipes and their targets.

use serde_json::{Value, json};

use super::Answered;
use super::sources::{Source, list};

/// Pipes.
#[derive(Debug, Default)]
pub struct Pipes {
    /// The answers of `DescribePipe`.
    pub pipes: Vec<Value>,
}

impl Pipes {
    /// Adds a pipe to a cluster, in which it starts tasks.
    pub fn start_tasks(&mut self, name: &str, cluster: &str, definition: &str) {
        self.pipes.push(
            json!({ "Arn": format!("arn:aws:pipes:eu-west-1:123456789012:pipe/{name}"), "Name": name,
            "Target": format!("arn:aws:ecs:eu-west-1:123456789012:cluster/{cluster}"),
            "TargetParameters": { "EcsTaskParameters": { "TaskDefinitionArn": definition } } }),
        );
    }
}

impl Source for Pipes {
    fn route(&self, method: &str, path: &str) -> Option<&'static str> {
        match (method, path.strip_prefix("/v1/pipes")?) {
            ("GET", "") => Some("ListPipes"),
            ("GET", _) => Some("DescribePipe"),
            _ => None,
        }
    }

    fn act(&self, operation: &str, asked: &Value) -> Option<Answered> {
        match operation {
            "ListPipes" => {
                let summary =
                    |one: &Value| json!({ "Arn": one["Arn"], "Name": one["Name"], "Target": one["Target"] });
                let all: Vec<Value> = self.pipes.iter().map(summary).collect();
                Some(Ok(list("Pipes", &all, "NextToken", 100)))
            }
            "DescribePipe" => {
                let found = self.pipes.iter().find(|one| one["Name"] == asked["Name"]).cloned();
                Some(found.ok_or(("NotFoundException", "Pipe does not exist.".to_owned())))
            }
            _ => None,
        }
    }
}
