//! Amazon Bedrock AgentCore: agent runtimes and harnesses, with their versions and endpoints.

use serde_json::{Value, json};
use shared::domain::text::instant::Instant;

use super::Answered;
use super::sources::{Source, list, path};

/// An agent runtime or a harness.
#[derive(Debug)]
struct Runner {
    name: String,
    /// The images of its versions, the first of which has the number 1; none for source code, or for a harness's own.
    images: Vec<Option<String>>,
    /// The names of endpoints, and the versions that they lead to.
    endpoints: Vec<(String, usize)>,
    /// When it was changed.
    changed_at: String,
}

/// Agent runtimes and harnesses.
#[derive(Debug, Default)]
pub struct AgentCore {
    runtimes: Vec<Runner>,
    harnesses: Vec<Runner>,
}

/// An ID as AgentCore gives it: the name, and ten random characters.
fn id(name: &str) -> String {
    format!("{}-AbCdEfGhIj", name.replace('-', "_"))
}

fn arn(kind: &str, name: &str) -> String {
    format!("arn:aws:bedrock-agentcore:eu-west-1:123456789012:{kind}/{}", id(name))
}

fn container(image: &str) -> Value {
    json!({ "containerConfiguration": { "containerUri": image } })
}

impl AgentCore {
    /// Updates an agent runtime to an image, `days` days ago; creates it the first time. Its endpoint `DEFAULT` leads to the latest
    /// version.
    pub fn update_runtime(&mut self, name: &str, image: Option<&str>, days: f64) {
        update(&mut self.runtimes, name, image, days);
    }

    /// Updates a harness to an image, `days` days ago; creates it the first time.
    pub fn update_harness(&mut self, name: &str, image: Option<&str>, days: f64) {
        update(&mut self.harnesses, name, image, days);
    }

    /// Has an endpoint of a runtime lead to a version.
    pub fn point(&mut self, name: &str, endpoint: &str, version: usize) {
        let runtime = self.runtimes.iter_mut().find(|one| one.name == name).unwrap();
        runtime.endpoints.push((endpoint.to_owned(), version));
    }
}

fn update(all: &mut Vec<Runner>, name: &str, image: Option<&str>, days: f64) {
    if !all.iter().any(|one| one.name == name) {
        let runner = Runner {
            name: name.to_owned(),
            images: Vec::new(),
            endpoints: Vec::new(),
            changed_at: String::new(),
        };
        all.push(runner);
    }
    let runner = all.iter_mut().find(|one| one.name == name).unwrap();
    runner.images.push(image.map(str::to_owned));
    #[expect(clippy::cast_possible_truncation, reason = "days of a test")]
    let micros = (days * 86_400e6) as i64;
    runner.changed_at = Instant::from_micros(crate::clock::micros() - micros).unwrap().to_string();
    runner.endpoints.retain(|(name, _)| name != "DEFAULT");
    runner.endpoints.push(("DEFAULT".to_owned(), runner.images.len()));
}

impl Runner {
    /// The version that a request asks for, or the latest one.
    fn version(&self, asked: &Value) -> usize {
        asked.as_str().map_or(self.images.len(), |version| version.parse().unwrap())
    }
}

impl Source for AgentCore {
    fn route(&self, method: &str, path: &str) -> Option<&'static str> {
        let parts: Vec<&str> = path.split('/').collect();
        Some(match (method, &parts[1..]) {
            ("POST", ["runtimes", ""]) => "ListAgentRuntimes",
            ("POST", ["runtimes", _, "runtime-endpoints", ""]) => "ListAgentRuntimeEndpoints",
            ("GET", ["runtimes", _, ""]) => "GetAgentRuntime",
            ("GET", ["harnesses"]) => "ListHarnesses",
            ("GET", ["harnesses", _, "endpoints"]) => "ListHarnessEndpoints",
            ("GET", ["harnesses", _]) => "GetHarness",
            _ => return None,
        })
    }

    fn act(&self, operation: &str, asked: &Value) -> Option<Answered> {
        let kind = if operation.contains("Harness") { "harness" } else { "runtime" };
        let all = if kind == "harness" { &self.harnesses } else { &self.runtimes };
        let found = all.iter().find(|one| path(asked).get(1) == Some(&id(&one.name)));
        let gone = || ("ResourceNotFoundException", format!("The {kind} does not exist."));
        let endpoints = |one: &Runner| -> Vec<Value> {
            let endpoints = one.endpoints.iter();
            endpoints
                .map(|(name, version)| json!({ "name": name, "liveVersion": version.to_string() }))
                .collect()
        };
        Some(match operation {
            "ListAgentRuntimes" => {
                let summary = |one: &Runner| {
                    json!({ "agentRuntimeArn": arn(kind, &one.name), "agentRuntimeId": id(&one.name),
                        "agentRuntimeVersion": one.images.len().to_string(), "status": "READY" })
                };
                Ok(list("agentRuntimes", &all.iter().map(summary).collect::<Vec<_>>(), "nextToken", 100))
            }
            "ListHarnesses" => {
                let summary = |one: &Runner| {
                    json!({ "arn": arn(kind, &one.name), "harnessId": id(&one.name),
                        "harnessVersion": one.images.len().to_string(), "status": "READY" })
                };
                Ok(list("harnesses", &all.iter().map(summary).collect::<Vec<_>>(), "nextToken", 100))
            }
            "ListAgentRuntimeEndpoints" => {
                found.map(|one| list("runtimeEndpoints", &endpoints(one), "nextToken", 100)).ok_or_else(gone)
            }
            "ListHarnessEndpoints" => {
                found.map(|one| list("endpoints", &endpoints(one), "nextToken", 100)).ok_or_else(gone)
            }
            "GetAgentRuntime" => found
                .map(|one| {
                    let image = one.images[one.version(&asked["version"]) - 1].as_deref();
                    let artifact = image.map_or_else(
                        || json!({ "codeConfiguration": { "runtime": "PYTHON_3_13" } }),
                        container,
                    );
                    json!({ "agentRuntimeArtifact": artifact, "lastUpdatedAt": one.changed_at })
                })
                .ok_or_else(gone),
            "GetHarness" => found
                .map(|one| {
                    let image = one.images[one.version(&asked["harnessVersion"]) - 1].as_deref();
                    let mut harness = json!({ "updatedAt": one.changed_at });
                    if let Some(image) = image {
                        harness["environmentArtifact"] = container(image);
                    }
                    json!({ "harness": harness })
                })
                .ok_or_else(gone),
            _ => return None,
        })
    }
}
