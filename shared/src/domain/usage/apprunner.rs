//! AWS App Runner: the images of services, including paused ones.
//!
//! App Runner does not report the digest that a service runs. If a service names its image by a tag, every image that was in the
//! repository when the service was last deployed may be the one.

use serde::Deserialize;
use serde_json::Value;

use super::source::{ImageNotNamed, Reading, UsageSource, When};
use crate::domain::image::reference::ImageReference;
use crate::domain::text::instant::Instant;

/// AWS App Runner.
pub const SOURCE: UsageSource = UsageSource {
    name: "apprunner",
    title: "AWS App Runner",
    service: Some("apprunner"),
    actions: &["apprunner:DescribeService", "apprunner:ListOperations", "apprunner:ListServices"],
    blocks: true,
    when: When::OnceARun,
    calls: "1 for each 20 services, 1 for each service, and 1 for each 20 operations of one that names its image by a tag",
};

/// The operations on a service that deploy nothing.
const DEPLOY_NOTHING: [&str; 2] = ["PAUSE_SERVICE", "DELETE_SERVICE"];

/// The statuses of operations by which the image is another one when they end, or may be.
const MAY_DEPLOY: [&str; 2] = ["SUCCEEDED", "ROLLBACK_FAILED"];
/// The statuses of operations that have ended and left the image as it was.
const LEAVE_AS_IT_WAS: [&str; 2] = ["FAILED", "ROLLBACK_SUCCEEDED"];

/// Whether a service in the answer of `ListServices` exists. Deleted services are listed for an hour.
#[must_use]
pub fn is_there(summary: &Value) -> bool {
    summary["Status"] != "DELETED"
}

/// The image of a service, from the answer of `DescribeService`; `None` for a service of source code, or of Amazon ECR Public.
///
/// # Errors
///
/// If the source of the service's code is not understood.
pub fn image(answer: &Value, arn: &str) -> Result<Option<String>, ImageNotNamed> {
    let source = &answer["Service"]["SourceConfiguration"];
    let repository = &source["ImageRepository"];
    if repository.is_null() && !source["CodeRepository"].is_null() {
        return Ok(None);
    }
    if repository["ImageRepositoryType"] == "ECR_PUBLIC" {
        return Ok(None);
    }
    match repository["ImageIdentifier"].as_str() {
        Some(image) => Ok(Some(image.to_owned())),
        None => Err(ImageNotNamed { operation: "DescribeService", user: arn.to_owned() }),
    }
}

/// The time of a service's last deployment, from its operations in `ListOperations`; `None` if they do not contain it, and while a
/// deployment is under way, of which it is not known when it pulls.
#[must_use]
pub fn deployed_at(operations: &[Value]) -> Option<Instant> {
    let text = |operation: &Value, name: &str| operation[name].as_str().unwrap_or_default().to_owned();
    let deployed = operations.iter().filter(|operation| {
        let (kind, status) = (text(operation, "Type"), text(operation, "Status"));
        !DEPLOY_NOTHING.contains(&kind.as_str()) && !LEAVE_AS_IT_WAS.contains(&status.as_str())
    });
    if deployed.clone().any(|operation| !MAY_DEPLOY.contains(&text(operation, "Status").as_str())) {
        return None;
    }
    // Where one has no time that is understood, no time is: then all images may be the one.
    let times: Option<Vec<Instant>> =
        deployed.map(|operation| Instant::deserialize(&operation["EndedAt"]).ok()).collect();
    times?.into_iter().max()
}

/// Whether a service names its image by tag, so that its digest is unknown.
#[must_use]
pub fn names_by_tag(image: &str) -> bool {
    ImageReference::parse_exact(image).is_ok_and(|reference| reference.digest.is_none())
}

/// Adds what a service uses that was last deployed at a time.
pub fn add_service(image: &str, arn: &str, deployed_at: Option<Instant>, reading: &mut Reading) {
    reading.add_resolved_at(image, arn, deployed_at);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_names_an_image_of_ecr_or_none() {
        let parsed = |source: Value| image(&json!({ "Service": { "SourceConfiguration": source } }), "arn");
        let ecr = json!({ "ImageRepository": { "ImageIdentifier": "app:1", "ImageRepositoryType": "ECR" } });
        assert_eq!(parsed(ecr), Ok(Some("app:1".to_owned())));
        let public = json!({ "ImageRepository":
            { "ImageIdentifier": "public.ecr.aws/a/b:1", "ImageRepositoryType": "ECR_PUBLIC" } });
        assert_eq!(parsed(public), Ok(None));
        assert_eq!(parsed(json!({ "CodeRepository": { "RepositoryUrl": "u" } })), Ok(None));
        assert!(parsed(json!({})).is_err());
    }

    #[test]
    fn a_service_runs_what_was_there_when_it_was_last_deployed() {
        let operation = |kind: &str, status: &str, ended_at: f64| json!({ "Type": kind, "Status": status, "EndedAt": ended_at });
        let operations = [
            operation("CREATE_SERVICE", "SUCCEEDED", 1_700_000_000.0),
            operation("START_DEPLOYMENT", "SUCCEEDED", 1_790_000_000.5),
            operation("START_DEPLOYMENT", "ROLLBACK_SUCCEEDED", 1_795_000_000.0),
            operation("PAUSE_SERVICE", "SUCCEEDED", 1_796_000_000.0),
        ];
        assert_eq!(deployed_at(&operations), Instant::from_micros(1_790_000_000_500_000));
        assert_eq!(deployed_at(&[]), None);
        let without_end =
            [&operations[..], &[json!({ "Type": "UPDATE_SERVICE", "Status": "SUCCEEDED" })]].concat();
        assert_eq!(deployed_at(&without_end), None, "a deployment whose end is not told may be the last");
        let under_way =
            [&operations[..], &[operation("START_DEPLOYMENT", "IN_PROGRESS", 1_700_000_001.0)]].concat();
        assert_eq!(deployed_at(&under_way), None, "what it pulls is not known before it ends");
        let failed =
            [&operations[..], &[operation("UPDATE_SERVICE", "ROLLBACK_FAILED", 1_797_000_000.0)]].concat();
        assert_eq!(
            deployed_at(&failed),
            Instant::from_micros(1_797_000_000_000_000),
            "of which image it runs since then nobody knows"
        );
        let mut reading = Reading::default();
        add_service("app:prod", "arn", deployed_at(&operations), &mut reading);
        add_service(&format!("app@sha256:{}", "a".repeat(64)), "other", None, &mut reading);
        assert_eq!((reading.used.len(), reading.unknown.len()), (2, 1));
        assert!(names_by_tag("app:prod") && !names_by_tag(&format!("app@sha256:{}", "a".repeat(64))));
    }
}
