//! Amazon EventBridge Pipes: reads the tasks that pipes start.

use serde_json::{Value, json};

use super::json_api::{JsonApi, List, Protocol};
use super::named_revisions;
use super::usage_sources::Look;
use crate::aws::sigv4::encoded;
use crate::domain::usage::pipes::{SOURCE, revision, starts_tasks};
use crate::domain::usage::source::Reading;

/// Reads the targets of all pipes that start tasks, whether they run or not.
pub(super) async fn read(look: Look<'_>) -> Reading {
    let pipes = JsonApi::new(look.connection, &SOURCE, "pipes", "PIPES", Protocol::Rest);
    let mut reading = Reading::default();
    let list = List {
        operation: "ListPipes",
        route: "GET /v1/pipes",
        member: "Pipes",
        token: "NextToken",
        is_always_present: false,
        may_be_gone: false,
        request: json!({ "Limit": 100 }),
    };
    let mut found = pipes.all(list, &mut reading).await;
    found.retain(starts_tasks);
    let request = |pipe: &Value| {
        (format!("GET /v1/pipes/{}", encoded(pipe["Name"].as_str().unwrap_or_default())), json!({}))
    };
    let mut named = Vec::new();
    let mut take = |summary: &Value, answer: Value, reading: &mut Reading| {
        let arn = summary["Arn"].as_str().unwrap_or("a pipe without an ARN");
        named.extend(reading.understood(revision(&answer, arn)).flatten());
    };
    pipes.for_each("DescribePipe", found, &request, &mut reading, &mut take).await;
    named_revisions::add(look, &SOURCE, named, &mut reading).await;
    reading
}
