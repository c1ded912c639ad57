//! Amazon EventBridge: reads the tasks that rules start.

use serde_json::{Value, json};

use super::json_api::{JsonApi, List, Protocol};
use super::named_revisions;
use super::usage_sources::Look;
use crate::domain::usage::events::{SOURCE, revision};
use crate::domain::usage::source::Reading;

/// Reads the targets of all rules that start tasks in a cluster, on all event buses. Rules are found by their target, which takes
/// fewer calls than reading all of them.
pub(super) async fn read(look: Look<'_>) -> Reading {
    let protocol = Protocol::Json { version: "1.1", target: "AWSEvents" };
    let events = JsonApi::new(look.connection, &SOURCE, "events", "EVENTBRIDGE", protocol);
    let mut reading = Reading::default();
    if look.ecs_clusters.is_empty() {
        // A rule starts tasks in a cluster. What of ECS could not be read is a gap of its own.
        return reading;
    }
    let list = |operation, member, is_always_present, request| List {
        operation,
        route: "",
        member,
        token: "NextToken",
        is_always_present,
        may_be_gone: !is_always_present,
        request,
    };
    // Every account has the default event bus. The others, and rules, may be deleted meanwhile.
    let buses = list("ListEventBuses", "EventBuses", true, json!({ "Limit": 100 }));
    let buses = events.all(buses, &mut reading).await;
    let mut rules: Vec<(Value, Value)> = Vec::new();
    for bus in buses.iter().map(|bus| &bus["Name"]) {
        for cluster in look.ecs_clusters {
            let request = json!({ "TargetArn": cluster, "EventBusName": bus, "Limit": 100 });
            let names = events.all(list("ListRuleNamesByTarget", "RuleNames", false, request), &mut reading);
            for rule in names.await {
                let rule = (bus.clone(), rule);
                if !rules.contains(&rule) {
                    rules.push(rule);
                }
            }
        }
    }
    let mut named = Vec::new();
    for (bus, rule) in rules {
        let used_by = match (bus.as_str(), rule.as_str()) {
            (Some("default"), Some(rule)) => format!("rule/{rule}"),
            (Some(bus), Some(rule)) => format!("rule/{bus}/{rule}"),
            _ => "a rule without a name".to_owned(),
        };
        let request = json!({ "Rule": rule, "EventBusName": bus, "Limit": 100 });
        let targets = events.all(list("ListTargetsByRule", "Targets", false, request), &mut reading).await;
        for target in &targets {
            named.extend(reading.understood(revision(target, &used_by)).flatten());
        }
    }
    named_revisions::add(look, &SOURCE, named, &mut reading).await;
    reading
}
