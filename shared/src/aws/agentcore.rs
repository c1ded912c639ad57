//! Amazon Bedrock AgentCore: reads the images of agent runtimes and harnesses.

use serde_json::{Value, json};

use super::json_api::{JsonApi, List, Protocol};
use super::usage_sources::Look;
use crate::aws::sigv4::encoded;
use crate::domain::usage::agentcore::{Kind, SOURCE, add_version, versions};
use crate::domain::usage::source::Reading;

/// Reads the versions of all runtimes and harnesses that an endpoint leads to.
pub(super) async fn read(look: Look<'_>) -> Reading {
    let agentcore = JsonApi::new(
        look.connection,
        &SOURCE,
        "bedrock-agentcore",
        "BEDROCK_AGENTCORE_CONTROL",
        Protocol::RestInQuery,
    );
    let mut reading = Reading::default();
    for kind in [Kind::Runtime, Kind::Harness] {
        read_kind(&agentcore, kind, &mut reading).await;
    }
    reading
}

fn list<'a>(operation: &'static str, route: &'a str, member: &'static str, may_be_gone: bool) -> List<'a> {
    let request = json!({ "maxResults": 100 });
    List { operation, route, member, token: "nextToken", is_always_present: true, may_be_gone, request }
}

async fn read_kind(agentcore: &JsonApi, kind: Kind, reading: &mut Reading) {
    let (route, member) = match kind {
        Kind::Runtime => ("POST /runtimes/", "agentRuntimes"),
        Kind::Harness => ("GET /harnesses", "harnesses"),
    };
    let path = |id: &Value| encoded(id.as_str().unwrap_or_default());
    let mut found = Vec::new();
    for summary in agentcore.all(list(kind.list(), route, member, false), reading).await {
        let path = path(&summary[kind.id()]);
        let endpoints = match kind {
            Kind::Runtime => {
                let route = format!("POST /runtimes/{path}/runtime-endpoints/");
                let list = list("ListAgentRuntimeEndpoints", &route, "runtimeEndpoints", true);
                agentcore.all(list, reading).await
            }
            Kind::Harness => {
                let route = format!("GET /harnesses/{path}/endpoints");
                agentcore.all(list("ListHarnessEndpoints", &route, "endpoints", true), reading).await
            }
        };
        let of_version =
            |version| json!({ "id": summary[kind.id()], "arn": summary[kind.arn()], "version": version });
        let versions = reading.understood(versions(kind, &summary, &endpoints));
        found.extend(versions.into_iter().flatten().map(of_version));
    }
    let request = |found: &Value| {
        let path = path(&found["id"]);
        match kind {
            Kind::Runtime => (format!("GET /runtimes/{path}/"), json!({ "version": found["version"] })),
            Kind::Harness => {
                (format!("GET /harnesses/{path}"), json!({ "harnessVersion": found["version"] }))
            }
        }
    };
    let mut take = |found: &Value, answer: Value, reading: &mut Reading| {
        let arn = found["arn"].as_str().unwrap_or("a runtime of AgentCore without an ARN");
        let added = add_version(kind, &answer, arn, reading);
        reading.understood(added);
    };
    agentcore.for_each(kind.operation(), found, &request, reading, &mut take).await;
}
