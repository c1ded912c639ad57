//! Amazon SageMaker AI: models and endpoints.

use serde_json::{Value, json};

use super::Answered;
use super::sources::{Source, list};

/// Models and endpoints.
#[derive(Debug, Default)]
pub struct Models {
    /// Models as `DescribeModel` answers them.
    pub models: Vec<Value>,
    /// Endpoints as `DescribeEndpoint` answers them.
    pub endpoints: Vec<Value>,
    /// Packages of models by their ARNs, as `DescribeModelPackage` answers them.
    pub packages: Vec<(String, Value)>,
}

fn arn(rest: &str) -> String {
    format!("arn:aws:sagemaker:eu-west-1:123456789012:{rest}")
}

impl Models {
    /// Creates a model of one container.
    pub fn create(&mut self, name: &str, container: &Value) {
        self.models.push(json!({ "ModelName": name, "ModelArn": arn(&format!("model/{name}")),
            "CreationTime": 1_790_000_000.5, "PrimaryContainer": container }));
    }

    /// Creates a package of one image, and gives its ARN.
    pub fn package(&mut self, name: &str, image: &str) -> String {
        let arn = arn(&format!("model-package/{name}/1"));
        let package = json!({ "InferenceSpecification": { "Containers": [{ "Image": image }] } });
        self.packages.push((arn.clone(), package));
        arn
    }

    /// Deploys an endpoint, which turns the tag of an image into a digest.
    pub fn deploy(&mut self, name: &str, image: &str, resolved: &str) {
        let images = json!([{ "SpecifiedImage": image, "ResolvedImage": resolved }]);
        self.endpoints.push(json!({ "EndpointName": name, "EndpointArn": arn(&format!("endpoint/{name}")),
            "EndpointStatus": "InService", "ProductionVariants": [{ "VariantName": "a", "DeployedImages": images }] }));
    }
}

impl Source for Models {
    fn act(&self, operation: &str, asked: &Value) -> Option<Answered> {
        let find = |all: &[Value], name: &str| {
            let found = all.iter().find(|one| one[name] == asked[name]).cloned();
            found.ok_or(("ValidationException", format!("Could not find {name} \"{}\".", asked[name])))
        };
        let picked = |all: &[Value], names: &[&str]| -> Vec<Value> {
            let pick =
                |one: &Value| names.iter().map(|name| ((*name).to_owned(), one[*name].clone())).collect();
            all.iter().map(|one| Value::Object(pick(one))).collect()
        };
        Some(match operation {
            "ListModels" => {
                let all = picked(&self.models, &["ModelName", "ModelArn", "CreationTime"]);
                Ok(list("Models", &all, "NextToken", 100))
            }
            "ListEndpoints" => {
                let all = picked(&self.endpoints, &["EndpointName", "EndpointArn", "EndpointStatus"]);
                Ok(list("Endpoints", &all, "NextToken", 100))
            }
            "DescribeModel" => find(&self.models, "ModelName"),
            "DescribeEndpoint" => find(&self.endpoints, "EndpointName"),
            "DescribeModelPackage" => {
                let found = self.packages.iter().find(|(arn, _)| asked["ModelPackageName"] == **arn);
                let found = found.map(|(_, package)| package.clone());
                found.ok_or(("ValidationException", "Could not find the package.".to_owned()))
            }
            _ => return None,
        })
    }
}
