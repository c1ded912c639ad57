//! AWS App Runner: reads the images of services.

use serde_json::{Value, json};

use super::json_api::{JsonApi, List, Protocol};
use super::usage_sources::Look;
use crate::domain::usage::apprunner::{SOURCE, add_service, deployed_at, image, is_there, names_by_tag};
use crate::domain::usage::source::Reading;

/// Reads all services.
pub(super) async fn read(look: Look<'_>) -> Reading {
    let protocol = Protocol::Json { version: "1.0", target: "AppRunner" };
    let apprunner = JsonApi::new(look.connection, &SOURCE, "apprunner", "APPRUNNER", protocol);
    let mut reading = Reading::default();
    let list = |operation, member, is_always_present, request| List {
        operation,
        route: "",
        member,
        token: "NextToken",
        is_always_present,
        may_be_gone: false,
        request,
    };
    let services = list("ListServices", "ServiceSummaryList", true, json!({ "MaxResults": 20 }));
    let mut services = apprunner.all(services, &mut reading).await;
    services.retain(is_there);
    let request = |service: &Value| (String::new(), json!({ "ServiceArn": service["ServiceArn"] }));
    let mut images = Vec::new();
    let mut take = |service: &Value, answer: Value, reading: &mut Reading| {
        let arn = service["ServiceArn"].as_str().unwrap_or("a service without an ARN").to_owned();
        let image = reading.understood(image(&answer, &arn)).flatten();
        images.extend(image.map(|image| (image, arn)));
    };
    apprunner.for_each("DescribeService", services, &request, &mut reading, &mut take).await;
    for (image, arn) in images {
        let mut operations = Vec::new();
        let problems = reading.problems.len();
        if names_by_tag(&image) {
            let request = json!({ "ServiceArn": arn, "MaxResults": 20 });
            let list =
                List { may_be_gone: true, ..list("ListOperations", "OperationSummaryList", false, request) };
            operations = apprunner.all(list, &mut reading).await;
        }
        // Without all operations the last one is unknown.
        let is_known = reading.problems.len() == problems;
        let deployed_at = if is_known { deployed_at(&operations) } else { None };
        add_service(&image, &arn, deployed_at, &mut reading);
    }
    reading
}
