//! Amazon Inspector: reads the images that it has seen in use.

use serde_json::{Value, json};

use super::json_api::{JsonApi, List, Protocol};
use super::usage_sources::Look;
use crate::domain::usage::inspector::{SOURCE, add_image};
use crate::domain::usage::source::Reading;

/// Reads the images that at least one task or pod uses.
pub(super) async fn read(look: Look<'_>) -> Reading {
    let inspector = JsonApi::new(look.connection, &SOURCE, "inspector2", "INSPECTOR2", Protocol::Rest);
    let mut reading = Reading::default();
    let list = List {
        operation: "ListCoverage",
        route: "POST /coverage/list",
        member: "coveredResources",
        token: "nextToken",
        is_always_present: false,
        may_be_gone: false,
        request: json!({ "maxResults": 200, "filterCriteria": {
            "resourceType": [{ "comparison": "EQUALS", "value": "AWS_ECR_CONTAINER_IMAGE" }],
            "ecrImageInUseCount": [{ "lowerInclusive": 1 }],
        } }),
    };
    let mut take = |resource: Value, reading: &mut Reading| add_image(&resource, reading);
    inspector.for_all(list, &mut reading, &mut take).await;
    reading
}
