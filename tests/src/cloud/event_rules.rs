//! Amazon EventBridge: rules and their targets.

use serde_json::{Value, json};

use super::Answered;
use super::sources::{Source, list};

/// Rules.
#[derive(Debug, Default)]
pub struct EventRules {
    /// Event bus, name and targets of each.
    pub rules: Vec<(String, String, Vec<Value>)>,
}

impl EventRules {
    /// Adds a rule that starts tasks in a cluster.
    pub fn start_tasks(&mut self, bus: &str, rule: &str, cluster: &str, definition: &str) {
        let cluster = format!("arn:aws:ecs:eu-west-1:123456789012:cluster/{cluster}");
        let target =
            json!({ "Id": "1", "Arn": cluster, "EcsParameters": { "TaskDefinitionArn": definition } });
        let other = json!({ "Id": "2", "Arn": "arn:aws:sqs:eu-west-1:123456789012:queue" });
        self.rules.push((bus.to_owned(), rule.to_owned(), vec![other, target]));
    }
}

impl Source for EventRules {
    fn act(&self, operation: &str, asked: &Value) -> Option<Answered> {
        let of_bus = self.rules.iter().filter(|(bus, ..)| asked["EventBusName"] == **bus);
        Some(Ok(match operation {
            "ListEventBuses" => {
                let mut names: Vec<&str> = self.rules.iter().map(|(bus, ..)| bus.as_str()).collect();
                names.push("default");
                names.sort_unstable();
                names.dedup();
                let buses: Vec<Value> = names.iter().map(|name| json!({ "Name": name })).collect();
                list("EventBuses", &buses, "NextToken", 100)
            }
            "ListRuleNamesByTarget" => {
                let is_meant =
                    |targets: &Vec<Value>| targets.iter().any(|target| target["Arn"] == asked["TargetArn"]);
                let names = of_bus
                    .filter(|(_, _, targets)| is_meant(targets))
                    .map(|(_, name, _)| name.as_str().into());
                list("RuleNames", &names.collect::<Vec<_>>(), "NextToken", 100)
            }
            "ListTargetsByRule" => {
                let targets =
                    of_bus.filter(|(_, name, _)| asked["Rule"] == **name).flat_map(|(_, _, targets)| targets);
                list("Targets", &targets.cloned().collect::<Vec<_>>(), "NextToken", 100)
            }
            _ => return None,
        }))
    }
}
