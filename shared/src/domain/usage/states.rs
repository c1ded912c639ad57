//! What AWS Step Functions uses: the revisions of task definitions that state machines start, though nothing runs them now, and the
//! images that their definitions name themselves, as for training jobs of Amazon SageMaker AI.
//!
//! What a definition computes while it runs is not known before. Published versions are not read.

use serde_json::Value;

use super::ecs::NamedRevision;
use super::source::{UsageSource, When};
use crate::domain::image::reference::ImageReference;

/// AWS Step Functions.
pub const SOURCE: UsageSource = UsageSource {
    name: "states",
    title: "AWS Step Functions",
    service: None,
    actions: &["ecs:DescribeTaskDefinition", "states:DescribeStateMachine", "states:ListStateMachines"],
    blocks: true,
    when: When::OnceARun,
    calls: "1 for each 1,000 state machines, 1 for each state machine, and 1 for each revision that is not known",
};

/// What a state machine names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// Revisions of task definitions.
    pub revisions: Vec<NamedRevision>,
    /// Images of Amazon ECR.
    pub images: Vec<String>,
}

/// What the definition of a state machine names, or the input of an operation of AWS.
///
/// # Errors
///
/// When it is not JSON, which Step Functions does not let happen.
pub fn named(definition: &str, used_by: &str) -> Result<Named, serde_json::Error> {
    let mut named = Named::default();
    collect(&serde_json::from_str(definition)?, used_by, &mut named);
    Ok(named)
}

fn collect(value: &Value, used_by: &str, named: &mut Named) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name.eq_ignore_ascii_case("TaskDefinition") => {
                        named.revisions.extend(NamedRevision::of(text, used_by));
                    }
                    member => collect(member, used_by, named),
                }
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| collect(element, used_by, named)),
        Value::String(text) => {
            let reference = ImageReference::parse_exact(text);
            if reference.is_ok_and(|reference| reference.registry_id().is_some()) {
                named.images.push(text.clone());
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_machine_names_revisions_and_images_and_not_what_it_computes() {
        let definition = r#"{"StartAt": "A", "States": {
            "A": {"Type": "Task", "Resource": "arn:aws:states:::ecs:runTask.sync",
                "Parameters": {"TaskDefinition": "arn:aws:ecs:r:1:task-definition/a:3"}, "Next": "B"},
            "B": {"Type": "Parallel", "Branches": [{"StartAt": "C", "States": {"C": {"Type": "Task",
                "Arguments": {"TaskDefinition": "b:7", "Other": "{% $x %}"}}}}], "Next": "D"},
            "D": {"Type": "Task", "Parameters": {"TaskDefinition.$": "$.definition", "TaskDefinition": "{% $d %}"}},
            "E": {"Type": "Task", "Parameters": {"AlgorithmSpecification":
                {"TrainingImage": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/train:1"}, "Comment": "a:1"}}}}"#;
        let named = named(definition, "machine").unwrap();
        let revisions: Vec<&str> = named.revisions.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(revisions, ["arn:aws:ecs:r:1:task-definition/a:3", "b:7"]);
        assert_eq!(named.images, ["123456789012.dkr.ecr.eu-west-1.amazonaws.com/train:1"]);
        assert!(super::named("{", "machine").is_err());
    }
}
