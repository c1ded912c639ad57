//! AWS App Runner: the images of services.

use serde_json::{Value, json};

use super::Answered;
use super::sources::{Source, list};

/// Services.
#[derive(Debug, Default)]
pub struct AppRunner {
    /// The answers of `DescribeService`, with those of `ListOperations`.
    pub services: Vec<(Value, Vec<Value>)>,
}

impl AppRunner {
    /// Creates a service of an image, `days` days ago.
    pub fn create(&mut self, name: &str, image: &str, days: f64) {
        let arn = format!("arn:aws:apprunner:eu-west-1:123456789012:service/{name}/1");
        let service = json!({ "ServiceArn": arn, "ServiceName": name, "Status": "RUNNING", "SourceConfiguration":
            { "ImageRepository": { "ImageIdentifier": image, "ImageRepositoryType": "ECR" } } });
        self.services.push((service, Vec::new()));
        self.deploy(name, days);
    }

    /// Deploys a service, `days` days ago.
    pub fn deploy(&mut self, name: &str, days: f64) {
        #[expect(clippy::cast_precision_loss, reason = "a time of this century has 51 bits of microseconds")]
        let ended_at = crate::clock::micros() as f64 / 1e6 - days * 86_400.0;
        let service = self.services.iter_mut().find(|(service, _)| service["ServiceName"] == name);
        service
            .unwrap()
            .1
            .push(json!({ "Type": "START_DEPLOYMENT", "Status": "SUCCEEDED", "EndedAt": ended_at }));
    }
}

impl Source for AppRunner {
    fn act(&self, operation: &str, asked: &Value) -> Option<Answered> {
        let found = self.services.iter().find(|(service, _)| service["ServiceArn"] == asked["ServiceArn"]);
        let gone = || ("ResourceNotFoundException", "Service does not exist.".to_owned());
        Some(match operation {
            "ListServices" => {
                let summary = |(one, _): &(Value, Vec<Value>)| json!({ "ServiceArn": one["ServiceArn"], "Status": one["Status"] });
                let all: Vec<Value> = self.services.iter().map(summary).collect();
                Ok(list("ServiceSummaryList", &all, "NextToken", 20))
            }
            "DescribeService" => found.map(|(service, _)| json!({ "Service": service })).ok_or_else(gone),
            "ListOperations" => found
                .map(|(_, operations)| list("OperationSummaryList", operations, "NextToken", 20))
                .ok_or_else(gone),
            _ => return None,
        })
    }
}
