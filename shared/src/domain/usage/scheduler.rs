//! What Amazon EventBridge Scheduler uses: the revisions of task definitions that schedules start, though nothing runs them now.

use serde_json::Value;

use super::ecs::NamedRevision;
use super::source::{UsageSource, When};

/// Amazon EventBridge Scheduler.
pub const SOURCE: UsageSource = UsageSource {
    name: "scheduler",
    title: "EventBridge Scheduler",
    service: Some("scheduler"),
    actions: &["ecs:DescribeTaskDefinition", "scheduler:GetSchedule", "scheduler:ListSchedules"],
    blocks: true,
    when: When::OnceARun,
    calls: "1 for each 100 schedules, 1 for each that starts tasks, and 1 for each revision that is not known",
};

/// Whether a schedule in the answer of `ListSchedules` starts tasks of Amazon ECS: its target is a cluster, or an operation of
/// ECS.
#[must_use]
pub fn starts_tasks(summary: &Value) -> bool {
    summary["Target"]["Arn"].as_str().is_some_and(|arn| arn.contains(":ecs:"))
}

/// The revision that a schedule in the answer of `GetSchedule` starts.
#[must_use]
pub fn revision(schedule: &Value, used_by: &str) -> Option<NamedRevision> {
    let target = &schedule["Target"];
    if let Some(named) = target["EcsParameters"]["TaskDefinitionArn"].as_str() {
        return NamedRevision::of(named, used_by);
    }
    // Of an operation the input is what is asked of ECS; it may have anything in it.
    let input: Value = serde_json::from_str(target["Input"].as_str()?).ok()?;
    let named = input["TaskDefinition"].as_str().or(input["taskDefinition"].as_str())?;
    NamedRevision::of(named, used_by)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schedule_names_a_revision_by_its_target_or_by_the_input_of_an_operation() {
        let named = |target: Value| revision(&json!({ "Target": target }), "s").map(|named| named.name);
        let target = json!({ "Arn": "arn:aws:ecs:r:1:cluster/prod", "EcsParameters":
            { "TaskDefinitionArn": "arn:aws:ecs:r:1:task-definition/a:3" } });
        assert_eq!(named(target).as_deref(), Some("arn:aws:ecs:r:1:task-definition/a:3"));
        let operation = json!({ "Arn": "arn:aws:scheduler:::aws-sdk:ecs:runTask",
            "Input": r#"{"Cluster": "prod", "TaskDefinition": "a:4"}"# });
        assert!(starts_tasks(&json!({ "Target": { "Arn": operation["Arn"] } })));
        assert_eq!(named(operation).as_deref(), Some("a:4"));
        assert_eq!(named(json!({ "Arn": "arn:aws:sqs:r:1:q", "Input": "hello" })), None);
        assert!(!starts_tasks(&json!({ "Target": { "Arn": "arn:aws:sqs:r:1:q" } })));
    }
}
