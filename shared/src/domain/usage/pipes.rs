//! Amazon EventBridge Pipes: the revisions of task definitions that pipes start, even if nothing runs them now.

use serde_json::Value;

use super::ecs::NamedRevision;
use super::source::{ImageNotNamed, UsageSource, When};

/// Amazon EventBridge Pipes.
pub const SOURCE: UsageSource = UsageSource {
    name: "pipes",
    title: "EventBridge Pipes",
    service: Some("pipes"),
    actions: &["ecs:DescribeTaskDefinition", "pipes:DescribePipe", "pipes:ListPipes"],
    blocks: true,
    when: When::OnceARun,
    calls: "1 for each 100 pipes, 1 for each that starts tasks, and 1 for each revision that is not known",
};

/// Whether a pipe in the answer of `ListPipes` starts tasks of Amazon ECS.
#[must_use]
pub fn starts_tasks(summary: &Value) -> bool {
    summary["Target"].as_str().is_some_and(|arn| arn.contains(":ecs:"))
}

/// The revision that a pipe in the answer of `DescribePipe` starts; none for a family.
///
/// # Errors
///
/// If it does not say which task definition it starts.
pub fn revision(pipe: &Value, used_by: &str) -> Result<Option<NamedRevision>, ImageNotNamed> {
    match pipe["TargetParameters"]["EcsTaskParameters"]["TaskDefinitionArn"].as_str() {
        Some(named) => Ok(NamedRevision::of(named, used_by)),
        None => Err(ImageNotNamed { operation: "DescribePipe", user: used_by.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pipe_to_a_cluster_names_the_revision_that_it_starts() {
        assert!(starts_tasks(&json!({ "Target": "arn:aws:ecs:r:1:cluster/prod" })));
        assert!(!starts_tasks(&json!({ "Target": "arn:aws:states:r:1:stateMachine:m" })));
        let pipe = json!({ "TargetParameters": { "EcsTaskParameters":
            { "TaskDefinitionArn": "arn:aws:ecs:r:1:task-definition/a:3" } } });
        assert!(revision(&json!({ "TargetParameters": {} }), "pipe").is_err());
        assert_eq!(revision(&pipe, "pipe").unwrap().unwrap().name, "arn:aws:ecs:r:1:task-definition/a:3");
    }
}
