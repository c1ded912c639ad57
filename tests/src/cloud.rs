//! What building images calls besides ECR, in memory behind the same port: AWS CodeBuild, Amazon EventBridge, the Parameter
//! Store, Amazon S3. It shares no code with what it tests.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::binaries::binary;
use crate::ecr_stub::EcrStub;
use crate::http::{self, Request, Response};
use crate::runtime_api::Function;

/// The operations that are known here, S3's by the names of the SDKs.
pub const OPERATIONS: [&str; 10] = [
    "StartBuild",
    "BatchGetBuilds",
    "ListBuildsForProject",
    "PutEvents",
    "PutParameter",
    "GetParametersByPath",
    "DeleteParameters",
    "GetObject",
    "PutObject",
    "HeadObject",
];

/// The services: look into them and change them with [`crate::ecr_stub::EcrStub::cloud`].
#[derive(Debug, Default)]
pub struct Cloud {
    /// Builds, the oldest first, as `BatchGetBuilds` answers them.
    pub builds: Vec<Value>,
    /// The build of each idempotency token, and what was ordered by it.
    tokens: BTreeMap<String, (String, Value)>,
    /// Parameters by name: type and value.
    pub parameters: BTreeMap<String, (String, String)>,
    /// Events that were put: detail type and detail.
    pub events: Vec<(String, Value)>,
    /// Objects by `bucket/key`, the newest version last: content and version.
    pub objects: BTreeMap<String, Vec<(String, String)>>,
    /// Whether buckets keep no versions.
    pub is_unversioned: bool,
}

type Answered = Result<Value, (&'static str, String)>;

impl Cloud {
    /// Forgets all tokens, as CodeBuild does after five minutes.
    pub fn forget_tokens(&mut self) {
        self.tokens.clear();
    }

    /// A build ends.
    ///
    /// # Panics
    ///
    /// When there is no build of this id.
    pub fn end(&mut self, id: &str, status: &str, digest: Option<&str>) {
        let build = self.builds.iter_mut().find(|build| build["id"] == id).unwrap();
        build["buildStatus"] = status.into();
        build["currentPhase"] = "COMPLETED".into();
        build["logs"] = json!({ "deepLink": format!("https://console.aws.amazon.com/logs/{id}") });
        if status == "FAILED" {
            build["phases"] = json!([{ "phaseType": "BUILD", "phaseStatus": "FAILED",
                "contexts": [{ "statusCode": "COMMAND_EXECUTION_ERROR",
                    "message": "Error while executing command: set -e\nfalse\n. Reason: exit status 1" }] }]);
        }
        if let Some(digest) = digest {
            build["exportedEnvironmentVariables"] = json!([{ "name": "IMAGE_DIGEST", "value": digest }]);
        }
    }

    /// A variable of a build.
    pub fn variable(&self, build: usize, name: &str) -> Option<String> {
        let variables = self.builds[build].pointer("/environment/environmentVariables")?.as_array()?;
        let variable = variables.iter().find(|variable| variable["name"] == name)?;
        variable["value"].as_str().map(str::to_owned)
    }

    /// Puts an object, and gives its version.
    pub fn upload(&mut self, path: &str, content: &str) -> String {
        let versions = self.objects.entry(path.to_owned()).or_default();
        let version = format!("v{}", versions.len() + 1);
        versions.push((content.to_owned(), version.clone()));
        version
    }

    /// Does what is asked in JSON.
    pub(crate) fn act(&mut self, operation: &str, asked: &Value) -> Answered {
        match operation {
            "StartBuild" => self.start(asked),
            "BatchGetBuilds" => {
                let ids = asked["ids"].as_array().cloned().unwrap_or_default();
                let (found, missing): (Vec<Value>, Vec<Value>) =
                    ids.into_iter().partition(|id| self.builds.iter().any(|build| build["id"] == *id));
                let builds: Vec<&Value> =
                    self.builds.iter().filter(|build| found.contains(&build["id"])).collect();
                Ok(json!({ "builds": builds, "buildsNotFound": missing }))
            }
            "ListBuildsForProject" => {
                let of_project = self.builds.iter().filter(|b| b["projectName"] == asked["projectName"]);
                let ids: Vec<&Value> = of_project.rev().map(|build| &build["id"]).take(100).collect();
                Ok(json!({ "ids": ids }))
            }
            "PutEvents" => {
                for entry in asked["Entries"].as_array().unwrap() {
                    assert_eq!(entry["Source"], "ecr-steward");
                    let detail = serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
                    self.events.push((entry["DetailType"].as_str().unwrap().to_owned(), detail));
                }
                Ok(json!({ "FailedEntryCount": 0, "Entries": [{ "EventId": "1" }] }))
            }
            "PutParameter" => {
                let text = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
                if self.parameters.contains_key(&text("Name")) && asked["Overwrite"] != true {
                    return Err(("ParameterAlreadyExists", text("Name")));
                }
                self.parameters.insert(text("Name"), (text("Type"), text("Value")));
                Ok(json!({ "Version": 1, "Tier": "Standard" }))
            }
            "GetParametersByPath" => {
                let path = format!("{}/", asked["Path"].as_str().unwrap_or_default());
                let below = self
                    .parameters
                    .iter()
                    .filter(|(name, _)| name.strip_prefix(&path).is_some_and(|rest| !rest.contains('/')));
                let below = below.map(|(name, (kind, value))| {
                    let is_readable = kind != "SecureString" || asked["WithDecryption"] == true;
                    json!({ "Name": name, "Type": kind, "Value": if is_readable { value } else { "encrypted" } })
                });
                // Ten at a time, as Systems Manager does.
                let all: Vec<Value> = below.collect();
                let from: usize = asked["NextToken"].as_str().unwrap_or("0").parse().unwrap();
                let page: Vec<&Value> = all.iter().skip(from).take(10).collect();
                let mut answer = json!({ "Parameters": page });
                if all.len() > from + 10 {
                    answer["NextToken"] = (from + 10).to_string().into();
                }
                Ok(answer)
            }
            "DeleteParameters" => {
                let names = asked["Names"].as_array().cloned().unwrap_or_default();
                if names.len() > 10 {
                    return Err(("ValidationException", "at most 10 names".to_owned()));
                }
                for name in &names {
                    self.parameters.remove(name.as_str().unwrap());
                }
                Ok(json!({ "DeletedParameters": names, "InvalidParameters": [] }))
            }
            other => Err(("UnknownOperationException", other.to_owned())),
        }
    }

    fn start(&mut self, asked: &Value) -> Answered {
        let token = asked["idempotencyToken"].as_str().unwrap_or_default().to_owned();
        if let Some((id, order)) = self.tokens.get(&token) {
            if order != asked {
                return Err(("InvalidInputException", "the token was used for other parameters".to_owned()));
            }
            let build = self.builds.iter().find(|build| build["id"] == **id).unwrap();
            return Ok(json!({ "build": build }));
        }
        let project = asked["projectName"].as_str().unwrap_or_default();
        let id = format!("{project}:{:08}", self.builds.len());
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let build = json!({
            "id": id, "arn": format!("arn:aws:codebuild:eu-west-1:123456789012:build/{id}"),
            "projectName": project, "buildStatus": "IN_PROGRESS", "currentPhase": "SUBMITTED", "startTime": seconds,
            "sourceVersion": asked["sourceVersion"],
            "source": { "type": asked["sourceTypeOverride"], "location": asked["sourceLocationOverride"] },
            "environment": { "type": "LINUX_CONTAINER", "image": "i", "computeType": "BUILD_GENERAL1_SMALL",
                "environmentVariables": asked["environmentVariablesOverride"] },
        });
        self.builds.push(build.clone());
        self.tokens.insert(token, (id, asked.clone()));
        Ok(json!({ "build": build }))
    }

    /// Does what is asked of S3.
    pub(crate) fn object(&mut self, request: &Request) -> Response {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let path = decoded(path.trim_start_matches('/'));
        let respond = |status: u16, headers: &[(&str, &str)], body: &str| Response {
            status,
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            body: body.as_bytes().to_vec(),
        };
        let version = query.strip_prefix("versionId=").map(decoded);
        let versions = self.objects.get(&path);
        let found = match &version {
            Some(version) => versions.and_then(|all| all.iter().find(|(_, id)| id == version)),
            None => versions.and_then(|all| all.last()),
        };
        match (request.method.as_str(), found) {
            ("PUT", found) => {
                let is_stale = match (request.header("if-none-match"), request.header("if-match")) {
                    (Some("*"), _) => found.is_some(),
                    (_, Some(etag)) => found.is_none_or(|(_, version)| etag != format!("\"{version}\"")),
                    _ => false,
                };
                if is_stale {
                    return respond(412, &[], "<Error><Code>PreconditionFailed</Code></Error>");
                }
                let content = String::from_utf8(request.body.clone()).unwrap();
                let version = self.upload(&path, &content);
                respond(200, &[("ETag", &format!("\"{version}\""))], "")
            }
            (_, None) => respond(404, &[], "<Error><Code>NoSuchKey</Code></Error>"),
            (method, Some((content, version))) => {
                let etag = format!("\"{version}\"");
                let mut headers =
                    vec![("ETag", etag.as_str()), ("Last-Modified", "Mon, 23 Nov 2026 10:00:00 GMT")];
                if !self.is_unversioned {
                    headers.push(("x-amz-version-id", version));
                }
                respond(200, &headers, if method == "HEAD" { "" } else { content })
            }
        }
    }
}

/// The stack's bucket, in what [`function`] starts.
pub const BUCKET: &str = "stack-sources";

/// A function of the stack `steward` that builds images or what comes of it, on this AWS.
pub fn function(aws: &EcrStub, name: &str, time: Duration) -> Function {
    let url = aws.url();
    let environment = [
        ("AWS_ENDPOINT_URL", url.as_str()),
        ("STACK_NAME", "steward"),
        ("BUCKET", BUCKET),
        ("PROJECT_AMD64", "steward-amd64"),
        ("PROJECT_ARM64", "steward-arm64"),
        ("ALLOW_LOOPBACK_RESPONSE_URL", "true"),
    ];
    Function::start_with(binary(name), &environment, time)
}

/// Where CloudFormation takes answers: a response URL, and the answers put to it.
pub fn desk() -> (String, Receiver<Value>) {
    let (sender, answers) = mpsc::channel();
    let sender = Mutex::new(sender);
    let address = http::serve(move |request: Request, stream| {
        // Whoever waited may be gone.
        let _ = sender.lock().unwrap().send(serde_json::from_slice(&request.body).unwrap());
        Response { status: 200, ..Response::default() }.write(stream)
    });
    (format!("http://{address}/answer?X-Amz-Signature=secret"), answers)
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let digits = std::str::from_utf8(&after[..2]).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap()
}
