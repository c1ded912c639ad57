//! AWS Batch: reads the images of job definitions.

use serde_json::{Value, json};

use super::json_api::{JsonApi, List, Protocol};
use super::usage_sources::Look;
use crate::domain::usage::batch::{SOURCE, add_job_definition};
use crate::domain::usage::source::Reading;

/// Reads all revisions of all active job definitions.
pub(super) async fn read(look: Look<'_>) -> Reading {
    let batch = JsonApi::new(look.connection, &SOURCE, "batch", "BATCH", Protocol::Rest);
    let mut reading = Reading::default();
    let list = List {
        operation: "DescribeJobDefinitions",
        route: "POST /v1/describejobdefinitions",
        member: "jobDefinitions",
        token: "nextToken",
        is_always_present: false,
        may_be_gone: false,
        request: json!({ "status": "ACTIVE", "maxResults": 100 }),
    };
    let mut take = |definition: Value, reading: &mut Reading| add_job_definition(&definition, reading);
    batch.for_all(list, &mut reading, &mut take).await;
    reading
}
