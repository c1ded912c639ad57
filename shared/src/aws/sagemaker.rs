//! Amazon SageMaker AI, as far as it tells which images models have and endpoints run.

use serde_json::{Value, json};

use super::json_api::{JsonApi, List, Protocol};
use super::usage_sources::Look;
use crate::domain::usage::sagemaker::{SOURCE, deployed_images, key, model, package_images};
use crate::domain::usage::source::Reading;

/// Reads all models and all endpoints.
pub(super) async fn read(look: Look<'_>) -> Reading {
    let protocol = Protocol::Json { version: "1.1", target: "SageMaker" };
    let sagemaker = JsonApi::new(look.connection, &SOURCE, "sagemaker", "SAGEMAKER", protocol);
    let mut reading = Reading::default();
    let list = |operation, member| List {
        operation,
        route: "",
        member,
        token: "NextToken",
        is_always_told: true,
        request: json!({ "MaxResults": 100 }),
    };
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let mut unknown = Vec::new();
    for summary in sagemaker.all(list("ListModels", "Models"), &mut reading).await {
        let key = key(&summary);
        match look.known(&SOURCE, &key) {
            Some(images) => reading.add_known(key, images, &text(&summary, "ModelArn")),
            None => unknown.push(summary),
        }
    }
    let request = |summary: &Value| (String::new(), json!({ "ModelName": summary["ModelName"] }));
    for (summary, described) in sagemaker.each("DescribeModel", unknown, request, &mut reading).await {
        match model(&described) {
            Ok(model) => {
                let mut images = model.images;
                let problems = reading.problems.len();
                let request = |package: &String| (String::new(), json!({ "ModelPackageName": package }));
                let packages = sagemaker.each("DescribeModelPackage", model.packages, request, &mut reading);
                images.extend(packages.await.iter().flat_map(|(_, described)| package_images(described)));
                let arn = text(&summary, "ModelArn");
                if reading.problems.len() == problems {
                    reading.add_known(key(&summary), images, &arn);
                } else {
                    reading.add(&images, &arn);
                }
            }
            Err(problem) => reading.problems.push(problem),
        }
    }
    let endpoints = sagemaker.all(list("ListEndpoints", "Endpoints"), &mut reading).await;
    let request = |summary: &Value| (String::new(), json!({ "EndpointName": summary["EndpointName"] }));
    for (summary, described) in sagemaker.each("DescribeEndpoint", endpoints, request, &mut reading).await {
        reading.add(&deployed_images(&described), &text(&summary, "EndpointArn"));
    }
    reading
}
