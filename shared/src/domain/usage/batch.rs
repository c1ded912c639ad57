//! AWS Batch: the images of all revisions of active job definitions. A job may be submitted by any of them at any time.

use serde_json::Value;

use super::source::{Reading, UsageSource, When};

/// AWS Batch.
pub const SOURCE: UsageSource = UsageSource {
    name: "batch",
    title: "AWS Batch",
    service: Some("batch"),
    actions: &["batch:DescribeJobDefinitions"],
    blocks: true,
    when: When::OnceARun,
    calls: "1 for each 100 job definitions",
};

/// The members of a job definition whose names users choose: what is called `image` there is no image.
const CHOSEN_BY_USERS: [&str; 6] = ["parameters", "tags", "options", "labels", "annotations", "environment"];

/// Adds the images of a job definition in the answer of `DescribeJobDefinitions`: that of its container, or those of the
/// containers of its nodes, its tasks (Amazon ECS) or its pods (Amazon EKS).
pub fn add_job_definition(definition: &Value, reading: &mut Reading) {
    let arn = definition["jobDefinitionArn"].as_str().unwrap_or("a job definition without an ARN");
    let mut images = Vec::new();
    collect(definition, &mut images);
    if images.is_empty() {
        reading
            .problems
            .push(format!("DescribeJobDefinitions: {arn} names no image; deregister it if it is not needed"));
    }
    reading.add(&images, arn);
}

/// Every image that is named, however deep: Batch has three ways to nest containers, and more may come.
fn collect(value: &Value, images: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(image) if name == "image" => images.push(image.clone()),
                    _ if CHOSEN_BY_USERS.contains(&name.as_str()) => {}
                    member => collect(member, images),
                }
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| collect(element, images)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn used(definition: &Value) -> Vec<String> {
        let mut reading = Reading::default();
        add_job_definition(definition, &mut reading);
        assert_eq!(reading.problems, [""; 0]);
        reading.used.iter().map(|used| used.reference.to_string()).collect()
    }

    #[test]
    fn a_job_definition_uses_the_images_of_its_container_its_nodes_its_tasks_and_its_pods() {
        let container = json!({ "jobDefinitionArn": "a:1", "type": "container", "parameters": { "image": "a b" },
            "tags": { "image": "no image" }, "containerProperties": { "image": "job:1", "logConfiguration":
                { "logDriver": "awslogs", "options": { "image": "not this" } } } });
        assert_eq!(used(&container), ["job:1"]);
        let nodes = json!({ "nodeProperties": { "mainNode": 0, "nodeRangeProperties": [
            { "container": { "image": "main:1" } },
            { "ecsProperties": { "taskProperties": [{ "containers": [{ "image": "a:1" }, { "image": "b:1" }] }] } },
        ] } });
        assert_eq!(used(&nodes), ["main:1", "a:1", "b:1"]);
        let pods = json!({ "eksProperties": { "podProperties": { "containers": [{ "image": "c:1" }],
            "initContainers": [{ "image": "d:1" }], "metadata": { "labels": { "image": "not this" } } } } });
        assert_eq!(used(&pods), ["c:1", "d:1"]);
    }

    #[test]
    fn a_job_definition_without_an_image_is_not_understood() {
        let mut reading = Reading::default();
        add_job_definition(&json!({ "jobDefinitionArn": "a:1" }), &mut reading);
        assert!(reading.problems[0].contains("a:1 names no image"), "{:?}", reading.problems);
    }
}
