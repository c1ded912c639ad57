//! What Amazon EventBridge Scheduler uses: the revisions of task definitions that schedules start, though nothing runs them now.

use serde_json::Value;

use super::ecs::NamedRevision;
use super::source::{ImageNotNamed, UsageSource, When};
use super::states::{self, Named};

/// Amazon EventBridge Scheduler.
pub const SOURCE: UsageSource = UsageSource {
    name: "scheduler",
    title: "EventBridge Scheduler",
    service: Some("scheduler"),
    actions: &["ecs:DescribeTaskDefinition", "scheduler:GetSchedule", "scheduler:ListSchedules"],
    blocks: true,
    when: When::OnceARun,
    calls: "1 for each 100 schedules, 1 for each that starts tasks or calls an operation of AWS, and 1 for each revision that is not \
            known",
};

/// Whether a schedule in the answer of `ListSchedules` may name images: its target is a cluster of Amazon ECS, which starts tasks, or
/// any operation of AWS.
#[must_use]
pub fn may_name_images(summary: &Value) -> bool {
    summary["Target"]["Arn"].as_str().is_none_or(|arn| arn.contains(":ecs:") || arn.contains(":aws-sdk:"))
}

/// What the answer of `GetSchedule` does not say of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotNamed {
    /// Which task definition it starts.
    #[error(transparent)]
    TaskDefinition(#[from] ImageNotNamed),
    /// What it passes to an operation that may start tasks, or names Amazon ECR.
    #[error(
        "GetSchedule: the input of {0} is no JSON, and it may name an image; correct it, or delete the schedule"
    )]
    Input(String),
}

/// What a schedule in the answer of `GetSchedule` names: the revision of a task definition that it starts, or what is in the input of
/// an operation.
///
/// # Errors
///
/// If it is not known what it starts.
pub fn named(schedule: &Value, used_by: &str) -> Result<Named, NotNamed> {
    let target = &schedule["Target"];
    if let Some(named) = target["EcsParameters"]["TaskDefinitionArn"].as_str() {
        let revisions = NamedRevision::of(named, used_by).into_iter().collect();
        return Ok(Named { revisions, images: Vec::new() });
    }
    let not_named = || ImageNotNamed { operation: "GetSchedule", user: used_by.to_owned() };
    let arn = target["Arn"].as_str().ok_or_else(not_named)?;
    if !arn.contains(":aws-sdk:") {
        return Err(not_named().into());
    }
    // Of an operation the input is what is asked of AWS; it may have anything in it.
    let input = target["Input"].as_str().unwrap_or("{}");
    match states::named(input, used_by) {
        Ok(named) => Ok(named),
        Err(_) if arn.contains(":ecs:") || input.contains(".dkr.ecr") || input.contains(".dkr-ecr") => {
            Err(NotNamed::Input(used_by.to_owned()))
        }
        Err(_) => Ok(Named::default()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn revisions(target: &Value) -> Vec<String> {
        let named = named(&json!({ "Target": target }), "s").unwrap();
        named.revisions.into_iter().map(|named| named.name).collect()
    }

    #[test]
    fn a_schedule_names_a_revision_by_its_target_or_by_the_input_of_an_operation() {
        let target = json!({ "Arn": "arn:aws:ecs:r:1:cluster/prod", "EcsParameters":
            { "TaskDefinitionArn": "arn:aws:ecs:r:1:task-definition/a:3" } });
        assert_eq!(revisions(&target), ["arn:aws:ecs:r:1:task-definition/a:3"]);
        let arn = "arn:aws:scheduler:::aws-sdk:ecs:runTask";
        for input in [r#"{"Cluster": "prod", "TaskDefinition": "a:4"}"#, r#"{"taskDefinition": "a:4"}"#] {
            assert_eq!(revisions(&json!({ "Arn": arn, "Input": input })), ["a:4"]);
        }
        let is_asked_for = |arn: &str| may_name_images(&json!({ "Target": { "Arn": arn } }));
        assert!(
            is_asked_for(arn) && is_asked_for("arn:aws:scheduler:::aws-sdk:sagemaker:createProcessingJob")
        );
        assert!(!is_asked_for("arn:aws:sqs:r:1:q"));
    }

    #[test]
    fn the_images_that_a_schedule_passes_to_an_operation_are_in_use_and_what_cannot_be_read_is_not_known() {
        let image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/train:1";
        let target = |operation: &str, input: &str| json!({ "Target": { "Arn": format!("arn:aws:scheduler:::aws-sdk:{operation}"), "Input": input } });
        let input = json!({ "AppSpecification": { "ImageUri": image } }).to_string();
        assert_eq!(named(&target("sagemaker:createProcessingJob", &input), "s").unwrap().images, [image]);
        assert_eq!(named(&target("sqs:sendMessage", "hello"), "s"), Ok(Named::default()));
        for unread in
            [target("ecs:runTask", "{"), target("sns:publish", image), json!({ "Target": {} }), json!({})]
        {
            assert!(named(&unread, "s").is_err(), "{unread}");
        }
    }
}
