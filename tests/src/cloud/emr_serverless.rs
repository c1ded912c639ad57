//! Amazon EMR Serverless: applications, job runs and sessions.

use serde_json::{Value, json};

use super::Answered;
use super::sources::{Source, list, path};

/// Applications, with what runs in them.
#[derive(Debug, Default)]
pub struct EmrServerless {
    /// Applications as `GetApplication` answers them.
    pub applications: Vec<Value>,
    /// Job runs as `GetJobRun` answers them.
    pub job_runs: Vec<Value>,
    /// Sessions as `ListSessions` answers them.
    pub sessions: Vec<Value>,
}

/// IDs have lower-case letters and digits.
fn id(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).collect()
}

fn arn(rest: &str) -> String {
    format!("arn:aws:emr-serverless:eu-west-1:123456789012:/applications/{rest}")
}

fn configuration(image: &str, digest: Option<&str>) -> Value {
    digest.map_or_else(
        || json!({ "imageUri": image }),
        |digest| json!({ "imageUri": image, "resolvedImageDigest": digest }),
    )
}

impl EmrServerless {
    /// Creates an application of an image; with the digest that it was resolved to when it was started.
    pub fn create(&mut self, name: &str, image: &str, digest: Option<&str>) {
        let state = if digest.is_some() { "STARTED" } else { "CREATED" };
        self.applications.push(json!({ "applicationId": id(name), "arn": arn(&id(name)), "state": state,
            "imageConfiguration": configuration(image, digest) }));
    }

    /// Submits a job to an application, which runs an image; with the digest that is reported of it.
    pub fn run_job(&mut self, application: &str, name: &str, state: &str, image: &str, digest: Option<&str>) {
        let updated_at = crate::clock::micros() / 1_000_000;
        self.job_runs.push(json!({ "applicationId": id(application), "jobRunId": id(name), "state": state,
            "arn": arn(&format!("{}/jobruns/{}", id(application), id(name))), "updatedAt": updated_at,
            "imageConfiguration": configuration(image, digest) }));
    }

    /// Starts an interactive session of an application.
    pub fn start_session(&mut self, application: &str, name: &str) {
        let updated_at = crate::clock::micros() / 1_000_000;
        let found = self.applications.iter_mut().find(|one| one["applicationId"] == id(application));
        found.unwrap()["interactiveConfiguration"] = json!({ "sessionEnabled": true });
        self.sessions.push(json!({ "applicationId": id(application), "sessionId": id(name), "state": "IDLE",
            "arn": arn(&format!("{}/sessions/{}", id(application), id(name))), "updatedAt": updated_at }));
    }
}

impl Source for EmrServerless {
    fn route(&self, method: &str, path: &str) -> Option<&'static str> {
        let parts: Vec<&str> = path.split('/').collect();
        Some(match (method, &parts[1..]) {
            ("GET", ["applications"]) => "ListApplications",
            ("GET", ["applications", _]) => "GetApplication",
            ("GET", ["applications", _, "jobruns"]) => "ListJobRuns",
            ("GET", ["applications", _, "jobruns", _]) => "GetJobRun",
            ("GET", ["applications", _, "sessions"]) => "ListSessions",
            _ => return None,
        })
    }

    fn act(&self, operation: &str, asked: &Value) -> Option<Answered> {
        let path = path(asked);
        let of_application = |one: &&Value| path.get(1).is_some_and(|id| one["applicationId"] == **id);
        let gone = || ("ResourceNotFoundException", "The application does not exist.".to_owned());
        // Of a parameter that is given more than once all values.
        let is_asked_for = |one: &&Value| {
            let states = asked["states"].as_array().into_iter().flatten();
            let states: Vec<&Value> = states.collect();
            states.is_empty() || states.contains(&&one["state"])
        };
        let summary = |one: &Value, id: &str| json!({ "id": one[id], "applicationId": one["applicationId"], "arn": one["arn"], "state": one["state"] });
        Some(match operation {
            "ListApplications" => {
                let all: Vec<Value> =
                    self.applications.iter().map(|one| summary(one, "applicationId")).collect();
                Ok(list("applications", &all, "nextToken", 50))
            }
            "GetApplication" => {
                let found = self.applications.iter().find(of_application);
                found.map(|one| json!({ "application": one })).ok_or_else(gone)
            }
            "ListJobRuns" => {
                let all = self.job_runs.iter().filter(of_application).filter(is_asked_for);
                let all: Vec<Value> = all.map(|one| summary(one, "jobRunId")).collect();
                Ok(list("jobRuns", &all, "nextToken", 50))
            }
            "GetJobRun" => {
                let is_it = |one: &&Value| path.get(3).is_some_and(|id| one["jobRunId"] == **id);
                let found = self.job_runs.iter().filter(of_application).find(is_it);
                found.map(|one| json!({ "jobRun": one })).ok_or_else(gone)
            }
            "ListSessions" => {
                let all = self.sessions.iter().filter(of_application).filter(is_asked_for);
                Ok(list("sessions", &all.cloned().collect::<Vec<_>>(), "nextToken", 50))
            }
            _ => return None,
        })
    }
}
