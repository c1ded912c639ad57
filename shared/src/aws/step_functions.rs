//! AWS Step Functions: reads the tasks and images that state machines name.

use serde_json::{Value, json};

use super::json_api::{JsonApi, List, Protocol};
use super::named_revisions;
use super::usage_sources::Look;
use crate::domain::usage::source::Reading;
use crate::domain::usage::states::{SOURCE, named};

/// Reads the definitions of all state machines.
pub(super) async fn read(look: Look<'_>) -> Reading {
    let protocol = Protocol::Json { version: "1.0", target: "AWSStepFunctions" };
    let states = JsonApi::new(look.connection, &SOURCE, "states", "SFN", protocol);
    let mut reading = Reading::default();
    let list = List {
        operation: "ListStateMachines",
        route: "",
        member: "stateMachines",
        token: "nextToken",
        is_always_present: true,
        may_be_gone: false,
        request: json!({ "maxResults": 1000 }),
    };
    let machines = states.all(list, &mut reading).await;
    let request = |machine: &Value| (String::new(), json!({ "stateMachineArn": machine["stateMachineArn"] }));
    let mut revisions = Vec::new();
    let mut take = |summary: &Value, machine: Value, reading: &mut Reading| {
        let arn = summary["stateMachineArn"].as_str().unwrap_or("a state machine without an ARN");
        match named(machine["definition"].as_str().unwrap_or_default(), arn) {
            Ok(found) => {
                reading.add(&found.images, arn);
                revisions.extend(found.revisions);
            }
            Err(error) => reading
                .problems
                .push(format!("DescribeStateMachine: the definition of {arn} is not readable: {error}")),
        }
    };
    states.for_each("DescribeStateMachine", machines, &request, &mut reading, &mut take).await;
    named_revisions::add(look, &SOURCE, revisions, &mut reading).await;
    reading
}
