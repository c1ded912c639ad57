//! Amazon SageMaker AI: reads the images of models and endpoints.

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
        is_always_present: true,
        may_be_gone: false,
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
    let mut models = Vec::new();
    let mut take = |summary: &Value, described: Value, reading: &mut Reading| {
        let model = reading.understood(model(&described));
        models.extend(model.map(|model| (key(summary), text(summary, "ModelArn"), model)));
    };
    sagemaker.for_each("DescribeModel", unknown, &request, &mut reading, &mut take).await;
    for (key, arn, model) in models {
        let mut images = model.images;
        let problems = reading.problems.len();
        let request = |package: &Value| (String::new(), json!({ "ModelPackageName": package }));
        let packages = model.packages.into_iter().map(Value::from).collect();
        let mut take = |package: &Value, described: Value, reading: &mut Reading| {
            let found = package_images(&described, package.as_str().unwrap_or_default());
            images.extend(reading.understood(found).into_iter().flatten());
        };
        sagemaker.for_each("DescribeModelPackage", packages, &request, &mut reading, &mut take).await;
        if reading.problems.len() == problems {
            reading.add_known(key, images, &arn);
        } else {
            reading.add(&images, &arn);
        }
    }
    let endpoints = sagemaker.all(list("ListEndpoints", "Endpoints"), &mut reading).await;
    let request = |summary: &Value| (String::new(), json!({ "EndpointName": summary["EndpointName"] }));
    let mut take = |summary: &Value, described: Value, reading: &mut Reading| {
        reading.add(&deployed_images(&described), &text(summary, "EndpointArn"));
    };
    sagemaker.for_each("DescribeEndpoint", endpoints, &request, &mut reading, &mut take).await;
    reading
}
