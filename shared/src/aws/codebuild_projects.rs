//! AWS CodeBuild: reads the images of projects.

use serde_json::{Value, json};

use super::json_api::{JsonApi, List, Protocol};
use super::usage_sources::Look;
use crate::domain::usage::codebuild::{SOURCE, add_project};
use crate::domain::usage::source::Reading;

/// Maximum number of projects that CodeBuild describes in one call.
const PROJECTS: usize = 100;

/// Reads the environments of all projects.
pub(super) async fn read(look: Look<'_>) -> Reading {
    let protocol = Protocol::Json { version: "1.1", target: "CodeBuild_20161006" };
    let codebuild = JsonApi::new(look.connection, &SOURCE, "codebuild", "CODEBUILD", protocol);
    let mut reading = Reading::default();
    let list = List {
        operation: "ListProjects",
        route: "",
        member: "projects",
        token: "nextToken",
        is_always_present: false,
        may_be_gone: false,
        request: json!({}),
    };
    let names = codebuild.all(list, &mut reading).await;
    let batches: Vec<Value> = names.chunks(PROJECTS).map(|names| names.to_vec().into()).collect();
    let request = |names: &Value| (String::new(), json!({ "names": names }));
    let mut take = |names: &Value, answer: Value, reading: &mut Reading| {
        let found = answer["projects"].as_array().map(Vec::as_slice).unwrap_or_default();
        // Of those that are not found CodeBuild says so: they are deleted meanwhile.
        let gone = answer["projectsNotFound"].as_array().map(Vec::as_slice).unwrap_or_default();
        for name in names.as_array().into_iter().flatten() {
            match found.iter().find(|project| project["name"] == *name) {
                Some(project) => add_project(project, reading),
                None if gone.contains(name) => {}
                None => reading.problems.push(format!("BatchGetProjects: CodeBuild does not tell of {name}")),
            }
        }
    };
    codebuild.for_each("BatchGetProjects", batches, &request, &mut reading, &mut take).await;
    reading
}
