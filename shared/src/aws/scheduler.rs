//! Amazon EventBridge Scheduler: reads the tasks that schedules start.

use serde_json::{Value, json};

use super::json_api::{JsonApi, List, Protocol};
use super::named_revisions;
use super::usage_sources::Look;
use crate::aws::sigv4::encoded;
use crate::domain::usage::scheduler::{SOURCE, may_name_images, named};
use crate::domain::usage::source::Reading;

/// Reads the targets of all schedules that start tasks or call an operation of AWS, of all groups and whether they are enabled or not.
pub(super) async fn read(look: Look<'_>) -> Reading {
    let scheduler = JsonApi::new(look.connection, &SOURCE, "scheduler", "SCHEDULER", Protocol::Rest);
    let mut reading = Reading::default();
    let list = List {
        operation: "ListSchedules",
        route: "GET /schedules",
        member: "Schedules",
        token: "NextToken",
        is_always_present: true,
        may_be_gone: false,
        request: json!({ "MaxResults": 100 }),
    };
    let mut schedules = scheduler.all(list, &mut reading).await;
    schedules.retain(may_name_images);
    let request = |schedule: &Value| {
        let name = encoded(schedule["Name"].as_str().unwrap_or_default());
        (format!("GET /schedules/{name}"), json!({ "groupName": schedule["GroupName"] }))
    };
    let mut revisions = Vec::new();
    let mut take = |summary: &Value, answer: Value, reading: &mut Reading| {
        let arn = summary["Arn"].as_str().unwrap_or("a schedule without an ARN");
        if let Some(found) = reading.understood(named(&answer, arn)) {
            reading.add(&found.images, arn);
            revisions.extend(found.revisions);
        }
    };
    scheduler.for_each("GetSchedule", schedules, &request, &mut reading, &mut take).await;
    named_revisions::add(look, &SOURCE, revisions, &mut reading).await;
    reading
}
