//! AWS Step Functions: state machines.

use serde_json::{Value, json};

use super::Answered;
use super::sources::{Source, list};

/// State machines.
#[derive(Debug, Default)]
pub struct StateMachines {
    /// ARNs and definitions.
    machines: Vec<(String, String)>,
}

impl StateMachines {
    /// Adds a state machine.
    pub fn add(&mut self, name: &str, definition: &Value) {
        let arn = format!("arn:aws:states:eu-west-1:123456789012:stateMachine:{name}");
        self.machines.push((arn, definition.to_string()));
    }

    /// Adds a state machine that starts a task.
    pub fn start_tasks(&mut self, name: &str, definition: &str) {
        self.add(name, &json!({ "StartAt": "Run", "States": { "Run": { "Type": "Task", "End": true,
            "Resource": "arn:aws:states:::ecs:runTask.sync", "Parameters": { "TaskDefinition": definition } } } }));
    }
}

impl Source for StateMachines {
    fn act(&self, operation: &str, asked: &Value) -> Option<Answered> {
        match operation {
            "ListStateMachines" => {
                let all: Vec<Value> =
                    self.machines.iter().map(|(arn, _)| json!({ "stateMachineArn": arn })).collect();
                Some(Ok(list("stateMachines", &all, "nextToken", 1000)))
            }
            "DescribeStateMachine" => {
                let found = self.machines.iter().find(|(arn, _)| asked["stateMachineArn"] == **arn);
                let found = found
                    .map(|(arn, definition)| json!({ "stateMachineArn": arn, "definition": definition }));
                Some(found.ok_or(("StateMachineDoesNotExist", "State Machine Does Not Exist".to_owned())))
            }
            _ => None,
        }
    }
}
