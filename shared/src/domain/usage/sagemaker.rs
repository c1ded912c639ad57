//! What Amazon SageMaker AI uses: the images of models, and the digests that endpoints were deployed with. A model may be deployed
//! at any time; an endpoint starts more instances by the digest that its tag meant when it was deployed.

use serde_json::Value;

use super::source::{ImageNotNamed, UsageSource, When};
use crate::domain::image::reference::ImageReference;

/// Amazon SageMaker AI.
pub const SOURCE: UsageSource = UsageSource {
    name: "sagemaker",
    title: "Amazon SageMaker AI",
    service: Some("sagemaker"),
    actions: &[
        "sagemaker:DescribeEndpoint",
        "sagemaker:DescribeModel",
        "sagemaker:DescribeModelPackage",
        "sagemaker:ListEndpoints",
        "sagemaker:ListModels",
    ],
    blocks: true,
    when: When::OnceARun,
    calls: "1 for each 100 models, 1 for each 100 endpoints, 1 for each endpoint, and 1 or 2 for each model that is not known",
};

/// A unique key of a model in the answer of `ListModels`; its name may be reused after the model is deleted. What earlier versions
/// remembered of a model lacks the images of additional specifications.
#[must_use]
pub fn key(summary: &Value) -> String {
    format!(
        "{} {} all specifications",
        summary["ModelArn"].as_str().unwrap_or_default(),
        summary["CreationTime"]
    )
}

/// A model in the answer of `DescribeModel`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    /// The images of its containers.
    pub images: Vec<String>,
    /// The packages of this account whose images its other containers have.
    pub packages: Vec<String>,
}

/// The images of a model, from the answer of `DescribeModel`, and the packages that have the others.
///
/// # Errors
///
/// If a container has neither an image nor a package, and if there is no container.
pub fn model(described: &Value) -> Result<Model, ImageNotNamed> {
    let arn = described["ModelArn"].as_str().unwrap_or_default();
    let account = |arn: &str| arn.split(':').nth(4).map(str::to_owned);
    let mut model = Model::default();
    let several = described["Containers"].as_array().into_iter().flatten();
    let containers = [&described["PrimaryContainer"]].into_iter().filter(|one| !one.is_null()).chain(several);
    let not_named = || ImageNotNamed { operation: "DescribeModel", user: arn.to_owned() };
    let containers: Vec<&Value> = containers.collect();
    if containers.is_empty() {
        return Err(not_named());
    }
    for container in containers {
        match (container["Image"].as_str(), container["ModelPackageName"].as_str()) {
            (Some(image), _) => model.images.push(image.to_owned()),
            // The images of packages of others, as those of AWS Marketplace, are in the registries of others.
            (None, Some(package)) if account(package) == account(arn) => {
                model.packages.push(package.to_owned());
            }
            (None, Some(_)) => {}
            (None, None) => return Err(not_named()),
        }
    }
    Ok(model)
}

/// The images of a model package, from the answer of `DescribeModelPackage`: of its specification and of the additional ones, of
/// which a model may name one. A package also knows the digest that its tag meant when it was registered.
///
/// # Errors
///
/// If it names none.
pub fn package_images(described: &Value, package: &str) -> Result<Vec<String>, ImageNotNamed> {
    let additional = described["AdditionalInferenceSpecifications"].as_array().into_iter().flatten();
    let specifications = [&described["InferenceSpecification"]].into_iter().chain(additional);
    let containers = specifications.flat_map(|one| one["Containers"].as_array().into_iter().flatten());
    let mut images = Vec::new();
    for container in containers {
        images.extend(container["Image"].as_str().map(str::to_owned));
        images.extend(ImageReference::recorded_digest(container["ImageDigest"].as_str()));
    }
    match images.is_empty() {
        true => Err(ImageNotNamed { operation: "DescribeModelPackage", user: package.to_owned() }),
        false => Ok(images),
    }
}

/// The images that an endpoint was deployed with, from the answer of `DescribeEndpoint`: those of its variants, of shadow
/// variants and of what is being deployed, by tag and by digest.
#[must_use]
pub fn deployed_images(described: &Value) -> Vec<String> {
    let pending = &described["PendingDeploymentSummary"];
    let variants = [described, pending].into_iter().flat_map(|deployment| {
        ["ProductionVariants", "ShadowProductionVariants"].map(|kind| deployment[kind].as_array())
    });
    let images = variants
        .flatten()
        .flatten()
        .flat_map(|variant| variant["DeployedImages"].as_array().into_iter().flatten())
        .flat_map(|image| [&image["ResolvedImage"], &image["SpecifiedImage"]]);
    let mut images: Vec<String> = images.filter_map(|image| image.as_str().map(str::to_owned)).collect();
    images.sort();
    images.dedup();
    images
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_model_has_the_images_of_its_containers_and_of_its_packages() {
        let arn = "arn:aws:sagemaker:r:1:model/m";
        let answer = json!({ "ModelArn": arn, "PrimaryContainer": { "Image": "a:1" } });
        assert_eq!(model(&answer).unwrap().images, ["a:1"]);
        let (ours, theirs) =
            ["arn:aws:sagemaker:r:1:model-package/p/1", "arn:aws:sagemaker:r:2:model-package/q"].into();
        let answer = json!({ "ModelArn": arn, "Containers": [{ "Image": "b:1" }, { "ModelPackageName": ours },
            { "ModelPackageName": theirs }] });
        let expected = Model { images: vec!["b:1".to_owned()], packages: vec![ours.to_owned()] };
        assert_eq!(model(&answer), Ok(expected));
        assert!(model(&json!({ "ModelArn": arn, "Containers": [{}] })).is_err());
        assert!(model(&json!({ "ModelArn": arn })).is_err());
        let digest = format!("sha256:{}", "a".repeat(64));
        let package = json!({
            "InferenceSpecification": { "Containers": [{ "Image": "c:1", "ImageDigest": digest }] },
            "AdditionalInferenceSpecifications": [{ "Name": "gpu", "Containers": [{ "Image": "d:1" }] }] });
        assert_eq!(package_images(&package, ours).unwrap(), ["c:1", &digest, "d:1"]);
        assert!(package_images(&json!({}), ours).is_err());
        let summary = |time: f64| json!({ "ModelArn": arn, "CreationTime": time });
        assert_ne!(key(&summary(1.5)), key(&summary(2.5)), "a name may be given again");
    }

    #[test]
    fn an_endpoint_uses_the_digests_that_it_was_deployed_with() {
        let image =
            |name: &str| json!({ "SpecifiedImage": "app:prod", "ResolvedImage": format!("app@{name}") });
        let answer = json!({ "ProductionVariants": [{ "DeployedImages": [image("a")] }],
            "ShadowProductionVariants": [{ "DeployedImages": [image("b")] }],
            "PendingDeploymentSummary": { "ProductionVariants": [{ "DeployedImages": [image("c")] }] } });
        assert_eq!(deployed_images(&answer), ["app:prod", "app@a", "app@b", "app@c"]);
        assert_eq!(deployed_images(&json!({ "EndpointStatus": "Creating" })), [""; 0]);
    }
}
