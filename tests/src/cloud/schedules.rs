//! Amazon EventBridge Scheduler: schedules and their targets.

use serde_json::{Value, json};

use super::Answered;
use super::sources::{Source, list};

/// Schedules.
#[derive(Debug, Default)]
pub struct Schedules {
    /// The answers of `GetSchedule`.
    pub schedules: Vec<Value>,
}

impl Schedules {
    /// Adds a schedule with a target.
    pub fn add(&mut self, group: &str, name: &str, target: &Value) {
        let arn = format!("arn:aws:scheduler:eu-west-1:123456789012:schedule/{group}/{name}");
        self.schedules.push(json!({ "Arn": arn, "GroupName": group, "Name": name, "Target": target }));
    }

    /// Adds a schedule that starts tasks in a cluster.
    pub fn start_tasks(&mut self, group: &str, name: &str, cluster: &str, definition: &str) {
        let cluster = format!("arn:aws:ecs:eu-west-1:123456789012:cluster/{cluster}");
        self.add(
            group,
            name,
            &json!({ "Arn": cluster, "EcsParameters": { "TaskDefinitionArn": definition } }),
        );
    }
}

impl Source for Schedules {
    fn route(&self, method: &str, path: &str) -> Option<&'static str> {
        match (method, path.strip_prefix("/schedules")?) {
            ("GET", "") => Some("ListSchedules"),
            ("GET", _) => Some("GetSchedule"),
            _ => None,
        }
    }

    fn act(&self, operation: &str, asked: &Value) -> Option<Answered> {
        match operation {
            "ListSchedules" => {
                let summary = |one: &Value| {
                    json!({ "Arn": one["Arn"], "GroupName": one["GroupName"], "Name": one["Name"],
                    "Target": { "Arn": one["Target"]["Arn"] } })
                };
                let all: Vec<Value> = self.schedules.iter().map(summary).collect();
                Some(Ok(list("Schedules", &all, "NextToken", 100)))
            }
            "GetSchedule" => {
                let is_meant =
                    |one: &&Value| one["Name"] == asked["Name"] && one["GroupName"] == asked["groupName"];
                let found = self.schedules.iter().find(is_meant).cloned();
                Some(found.ok_or(("ResourceNotFoundException", "Schedule does not exist.".to_owned())))
            }
            _ => None,
        }
    }
}
