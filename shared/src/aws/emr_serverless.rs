//! Amazon EMR Serverless: reads the images of applications, unfinished job runs and sessions.

use serde_json::{Value, json};

use super::json_api::{JsonApi, List, Protocol};
use super::usage_sources::Look;
use crate::aws::sigv4::encoded;
use crate::domain::usage::emr_serverless::{
    SOURCE, UNFINISHED_JOB_RUNS, UNFINISHED_SESSIONS, add_application, add_job_run, add_session, id,
    is_there, may_have_sessions,
};
use crate::domain::usage::source::Reading;

/// A list in pages; what is in an application may be gone with it.
fn list<'a>(operation: &'static str, route: &'a str, member: &'static str, request: Value) -> List<'a> {
    let may_be_gone = operation != "ListApplications";
    List { operation, route, member, token: "nextToken", is_always_present: true, may_be_gone, request }
}

/// Reads all applications that are not terminated.
pub(super) async fn read(look: Look<'_>) -> Reading {
    let emr = JsonApi::new(look.connection, &SOURCE, "emr-serverless", "EMR_SERVERLESS", Protocol::Rest);
    let mut reading = Reading::default();
    let of_application = |id: &Value| format!("/applications/{}", encoded(id.as_str().unwrap_or_default()));
    let arn = |value: &Value| value["arn"].as_str().unwrap_or("something without an ARN").to_owned();
    let applications =
        list("ListApplications", "GET /applications", "applications", json!({ "maxResults": 50 }));
    let mut applications = emr.all(applications, &mut reading).await;
    applications.retain(is_there);
    applications.retain(|summary| reading.understood(id("ListApplications", summary)).is_some());
    let request = |summary: &Value| (format!("GET {}", of_application(&summary["id"])), json!({}));
    let mut with_sessions = Vec::new();
    let mut take = |summary: &Value, answer: Value, reading: &mut Reading| {
        let added = add_application(&answer, &arn(summary), reading);
        reading.understood(added);
        if may_have_sessions(&answer) {
            with_sessions.push((summary["id"].clone(), answer));
        }
    };
    emr.for_each("GetApplication", applications.clone(), &request, &mut reading, &mut take).await;
    for (id, application) in with_sessions {
        let route = format!("GET {}/sessions", of_application(&id));
        let request = json!({ "maxResults": 50, "states": UNFINISHED_SESSIONS });
        let sessions = list("ListSessions", &route, "sessions", request);
        let mut take = |session: Value, reading: &mut Reading| {
            let added = add_session(&application, &session, reading);
            reading.understood(added);
        };
        emr.for_all(sessions, &mut reading, &mut take).await;
    }
    let mut job_runs = Vec::new();
    for application in applications {
        let route = format!("GET {}/jobruns", of_application(&application["id"]));
        let request = json!({ "maxResults": 50, "states": UNFINISHED_JOB_RUNS });
        let unfinished = emr.all(list("ListJobRuns", &route, "jobRuns", request), &mut reading).await;
        let of_application =
            |run: Value| json!({ "applicationId": application["id"], "id": run["id"], "arn": run["arn"] });
        job_runs.extend(unfinished.into_iter().map(of_application));
    }
    job_runs.retain(|summary| reading.understood(id("ListJobRuns", summary)).is_some());
    let request = |summary: &Value| {
        let id = encoded(summary["id"].as_str().unwrap_or_default());
        (format!("GET {}/jobruns/{id}", of_application(&summary["applicationId"])), json!({}))
    };
    let mut take = |summary: &Value, answer: Value, reading: &mut Reading| {
        let added = add_job_run(&answer, &arn(summary), reading);
        reading.understood(added);
    };
    emr.for_each("GetJobRun", job_runs, &request, &mut reading, &mut take).await;
    reading
}
