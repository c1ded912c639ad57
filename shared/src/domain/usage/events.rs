//! Rules of Amazon EventBridge: the revisions of task definitions that their targets start, even if nothing runs them now.

use serde_json::Value;

use super::ecs::NamedRevision;
use super::source::{ImageNotNamed, UsageSource, When};

/// The rules of Amazon EventBridge.
pub const SOURCE: UsageSource = UsageSource {
    name: "events",
    title: "EventBridge rules",
    service: None,
    actions: &[
        "ecs:DescribeTaskDefinition",
        "events:ListEventBuses",
        "events:ListRuleNamesByTarget",
        "events:ListTargetsByRule",
    ],
    blocks: true,
    when: When::OnceARun,
    calls: "1 for each 100 event buses, 1 for each event bus and ECS cluster, 1 for each rule that starts tasks, and 1 for \
            each revision that is not known",
};

/// The revision that a target in the answer of `ListTargetsByRule` starts; none for a family, and for what starts no tasks.
///
/// # Errors
///
/// If a cluster is the target, and it is not said which task definition is started there.
pub fn revision(target: &Value, used_by: &str) -> Result<Option<NamedRevision>, ImageNotNamed> {
    match target["EcsParameters"]["TaskDefinitionArn"].as_str() {
        Some(named) => Ok(NamedRevision::of(named, used_by)),
        None if target["Arn"].as_str().is_some_and(|arn| arn.contains(":ecs:")) => {
            Err(ImageNotNamed { operation: "ListTargetsByRule", user: used_by.to_owned() })
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_target_that_starts_tasks_names_their_revision() {
        let arn = "arn:aws:ecs:r:1:task-definition/nightly:3";
        let target = json!({ "Id": "1", "Arn": "arn:aws:ecs:r:1:cluster/prod",
            "EcsParameters": { "TaskDefinitionArn": arn } });
        assert_eq!(revision(&target, "rule").unwrap().unwrap().name, arn);
        assert!(revision(&json!({ "Id": "1", "Arn": target["Arn"] }), "rule").is_err());
        // The last revision of a family is in use anyway.
        let family =
            json!({ "EcsParameters": { "TaskDefinitionArn": "arn:aws:ecs:r:1:task-definition/nightly" } });
        assert_eq!(revision(&family, "rule"), Ok(None));
        assert_eq!(revision(&json!({ "Id": "1", "Arn": "arn:aws:lambda:r:1:function:f" }), "rule"), Ok(None));
    }
}
