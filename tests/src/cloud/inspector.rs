//! Amazon Inspector: covered images.

use serde_json::{Value, json};

use super::Answered;
use super::sources::{Source, list};

/// Images: their repositories, their digests, and by how many tasks and pods they are used.
#[derive(Debug, Default)]
pub struct Inspector {
    /// The covered images.
    pub images: Vec<(String, String, u64)>,
}

impl Source for Inspector {
    fn route(&self, method: &str, path: &str) -> Option<&'static str> {
        ((method, path) == ("POST", "/coverage/list")).then_some("ListCoverage")
    }

    fn act(&self, operation: &str, asked: &Value) -> Option<Answered> {
        if operation != "ListCoverage" {
            return None;
        }
        let least = asked["filterCriteria"]["ecrImageInUseCount"][0]["lowerInclusive"].as_u64().unwrap();
        let used = self.images.iter().filter(|(_, _, number)| *number >= least);
        let used = used.map(|(repository, digest, number)| {
            let id = format!("arn:aws:ecr:eu-west-1:123456789012:repository/{repository}/{digest}");
            json!({ "resourceType": "AWS_ECR_CONTAINER_IMAGE", "resourceId": id, "accountId": "123456789012",
                "scanType": "PACKAGE", "resourceMetadata": { "ecrImage": { "inUseCount": number } } })
        });
        Some(Ok(list("coveredResources", &used.collect::<Vec<_>>(), "nextToken", 200)))
    }
}
