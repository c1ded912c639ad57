//! Fakes of AWS services besides ECR, in memory behind the same port: AWS CodeBuild, Amazon EventBridge, the Parameter Store,
//! Amazon S3, Amazon ECS, Amazon EKS, AWS Lambda, Amazon SNS, AWS CloudFormation; and Amazon ECR's description of a registry.
//! They share no code with the tested programs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::{Value, json};

use crate::binaries::binary;
use crate::clock;
use crate::ecr_stub::EcrStub;
use crate::http::{self, Request, Response};
use crate::runtime_api::Function;

mod agentcore;
mod app_runner;
mod batch;
mod ecs;
mod emr_serverless;
mod event_rules;
mod functions;
mod inspector;
mod models;
mod pipes;
mod projects;
mod queues;
mod schedules;
pub(crate) mod sources;
mod stacks;
mod state_machines;

pub use ecs::Ecs;
pub use functions::Lambda;
pub use queues::Queues;
pub use sources::Sources;
pub use stacks::Stacks;

/// The operations in JSON that are known here, besides those of ECS.
const OPERATIONS: [&str; 17] = [
    "GetAuthorizationToken",
    "DescribeRegistry",
    "GetRegistryPolicy",
    "GetSigningConfiguration",
    "ListPullTimeUpdateExclusions",
    "StartBuild",
    "BatchGetBuilds",
    "ListBuildsForProject",
    "PutEvents",
    "GetLogEvents",
    "SendMessage",
    "ReceiveMessage",
    "DeleteMessageBatch",
    "PutParameter",
    "GetParameters",
    "GetParametersByPath",
    "DeleteParameters",
];

/// Whether a JSON operation is implemented.
pub(crate) fn is_known(operation: &str) -> bool {
    OPERATIONS.contains(&operation) || ecs::OPERATIONS.contains(&operation) || operation.contains(':')
}

/// The REST operations, by the names of the SDKs.
pub const REST: [&str; 14] = [
    "GetCallerIdentity",
    "GetObject",
    "PutObject",
    "DeleteObject",
    "HeadObject",
    "ListObjectsV2",
    "ListFunctions",
    "GetFunction",
    "Invoke",
    "Publish",
    "DescribeStackResource",
    "DescribeStacks",
    "GetTemplate",
    EKS_CLUSTERS,
];

/// The name of Amazon EKS's `ListClusters` here, since Amazon ECS has one, too.
pub const EKS_CLUSTERS: &str = "eks:ListClusters";

/// The operation of the Resource Groups Tagging API; the tags are those of the repositories.
pub const TAGGED_RESOURCES: &str = "GetResources";

/// The operation of a request that does not name it.
pub(crate) fn operation(request: &Request) -> &'static str {
    let target = request.target.as_str();
    match request.method.as_str() {
        "GET" if target.starts_with("/clusters?") => EKS_CLUSTERS,
        _ if target.starts_with("/2015-03-31/functions/?") => "ListFunctions",
        "POST" if target.starts_with("/2015-03-31/functions/") => "Invoke",
        _ if target.starts_with("/2015-03-31/functions/") => "GetFunction",
        "HEAD" => "HeadObject",
        "PUT" => "PutObject",
        "DELETE" => "DeleteObject",
        "POST" if request.body.starts_with(b"Action=DescribeStackResource&") => "DescribeStackResource",
        "POST" if request.body.starts_with(b"Action=DescribeStacks&") => "DescribeStacks",
        "POST" if request.body.starts_with(b"Action=GetCallerIdentity&") => "GetCallerIdentity",
        "POST" if request.body.starts_with(b"Action=GetTemplate&") => "GetTemplate",
        "POST" => "Publish",
        _ if target.contains("list-type=2") => "ListObjectsV2",
        _ => "GetObject",
    }
}

/// The parsed input of a REST request.
pub(crate) fn parsed_request(operation: &str, request: &Request) -> Value {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let mut parsed_request = json!({ "key": decoded(path.trim_start_matches('/')), "query": query });
    if operation == "PutObject" {
        parsed_request["body"] = String::from_utf8_lossy(&request.body).into_owned().into();
    }
    parsed_request
}

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
    /// Uploaded objects that are not text, by `bucket/key`.
    pub archives: BTreeMap<String, Vec<u8>>,
    /// The SHA-256 of objects that were uploaded with it, by `bucket/key`, in Base64.
    sha256: BTreeMap<String, String>,
    /// The number of deleted versions of each object, so that version ids are unique.
    deleted: BTreeMap<String, usize>,
    /// The times at which objects were written, in seconds since 1970.
    pub written: BTreeMap<String, i64>,
    /// Whether buckets have no versions.
    pub is_unversioned: bool,
    /// The largest page of a list of objects; 1000 unless set.
    pub list_page: usize,
    /// The offset of S3's clock, in seconds.
    pub clock_offset: i64,
    /// Amazon ECS.
    pub ecs: Ecs,
    /// The names of the clusters of Amazon EKS.
    pub eks_clusters: Vec<String>,
    /// The rules of replication, as `DescribeRegistry` answers them.
    pub replication: Vec<Value>,
    /// The rules of managed signing, as `GetSigningConfiguration` answers them.
    pub signing: Vec<Value>,
    /// Whose pulls ECR does not record.
    pub pull_time_exclusions: Vec<String>,
    /// The policy of the registry of Amazon ECR.
    pub registry_policy: Option<String>,
    /// AWS Lambda.
    pub functions: Lambda,
    /// Other usage sources.
    pub sources: Sources,
    /// The services that AWS lacks in this Region, by the names that Systems Manager's public parameters have for them.
    pub lacking: Vec<String>,
    /// CloudFormation's stacks.
    pub stacks: Stacks,
    /// Messages in queues: the queue and the message.
    pub messages: Vec<(String, String)>,
    /// Queues from which somebody receives.
    pub queues: Queues,
    /// The logs of builds, by their streams.
    pub logs: BTreeMap<String, String>,
    /// Functions that were invoked and not waited for, with their payloads.
    pub invoked: Vec<(String, Value)>,
    /// Mails that were sent: subject and message.
    pub published: Vec<(String, String)>,
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
        let stream = id.rsplit(':').next().unwrap_or_default();
        build["logs"] = json!({ "deepLink": format!("https://console.aws.amazon.com/logs/{id}"),
            "groupName": "/aws/codebuild/steward", "streamName": stream });
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
        let before = self.deleted.get(path).copied().unwrap_or_default();
        let versions = self.objects.entry(path.to_owned()).or_default();
        let version = format!("v{}", before + versions.len() + 1);
        versions.push((content.to_owned(), version.clone()));
        self.sha256.remove(path);
        self.written.insert(path.to_owned(), seconds());
        version
    }

    /// Deletes an object with all its versions.
    pub fn delete(&mut self, path: &str) {
        let versions = self.objects.remove(path).unwrap_or_default();
        *self.deleted.entry(path.to_owned()).or_default() += versions.len();
    }

    /// The present content of an object.
    pub fn object_text(&self, path: &str) -> Option<String> {
        self.objects.get(path)?.last().map(|(content, _)| content.clone())
    }

    /// The bytes of an object with this content: those of an archive are beside it.
    fn bytes(&self, path: &str, content: &str) -> Vec<u8> {
        match self.archives.get(path) {
            Some(archive) if content == ARCHIVE => archive.clone(),
            _ => content.as_bytes().to_vec(),
        }
    }

    /// The present content of an object that may be no text.
    pub fn object_bytes(&self, path: &str) -> Option<Vec<u8>> {
        self.objects.get(path)?.last().map(|(content, _)| self.bytes(path, content))
    }

    /// The keys of a bucket below a prefix.
    pub fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let prefix = format!("{bucket}/{prefix}");
        let paths = self.objects.keys().filter(|path| path.starts_with(&prefix));
        paths.map(|path| path[bucket.len() + 1..].to_owned()).collect()
    }

    /// Makes an object `hours` old.
    pub fn age(&mut self, path: &str, hours: f64) {
        #[expect(clippy::cast_possible_truncation, reason = "seconds")]
        self.written.insert(path.to_owned(), seconds() - (hours * 3600.0) as i64);
    }

    /// Executes a REST operation.
    pub(crate) fn rest(&mut self, operation: &str, request: &Request) -> Response {
        match operation {
            "Invoke" => {
                assert_eq!(request.header("x-amz-invocation-type"), Some("Event"));
                let name = request
                    .target
                    .trim_start_matches("/2015-03-31/functions/")
                    .trim_end_matches("/invocations");
                self.invoked.push((decoded(name), serde_json::from_slice(&request.body).unwrap()));
                Response { status: 202, ..Response::default() }
            }
            "GetCallerIdentity" => {
                // As on the local AWS, an access key of twelve digits is an account.
                let key = request.header("authorization").and_then(|header| header.split_once("Credential="));
                let key = key.and_then(|(_, scope)| scope.split('/').next()).filter(|key| key.len() == 12);
                let (arn, account) = match key {
                    Some(account) => {
                        (format!("arn:aws:sts::{account}:assumed-role/function/session"), account)
                    }
                    None => (CALLER.to_owned(), "123456789012"),
                };
                let body = format!(
                    "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>{arn}</Arn>\
                    <UserId>AIDA</UserId><Account>{account}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
                );
                Response { status: 200, body: body.into_bytes(), ..Response::default() }
            }
            "DescribeStackResource" | "DescribeStacks" | "GetTemplate" => {
                self.stacks.answer(operation, request)
            }
            "ListFunctions" | "GetFunction" => self.functions.answer(request),
            EKS_CLUSTERS => {
                // One at a time, so that there is a second page.
                let query = request.target.split_once('?').map_or("", |(_, query)| query);
                let token = query.split('&').find_map(|pair| pair.strip_prefix("nextToken="));
                let start: usize = token.map_or(0, |token| token.parse().unwrap());
                let page: Vec<&String> = self.eks_clusters.iter().skip(start).take(1).collect();
                let mut answer = json!({ "clusters": page, "nextToken": null });
                if start + 1 < self.eks_clusters.len() {
                    answer["nextToken"] = (start + 1).to_string().into();
                }
                Response { status: 200, body: answer.to_string().into_bytes(), ..Response::default() }
            }
            "Publish" => {
                let body = String::from_utf8_lossy(&request.body).into_owned();
                let field = |name: &str| {
                    let mut fields = body.split('&').filter_map(|field| field.split_once('='));
                    fields.find(|(key, _)| *key == name).map(|(_, value)| decoded(value)).unwrap_or_default()
                };
                assert_eq!(field("Action"), "Publish");
                self.published.push((field("Subject"), field("Message")));
                let body = b"<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>";
                Response { status: 200, body: body.to_vec(), ..Response::default() }
            }
            _ => {
                let mut answer = match operation {
                    "ListObjectsV2" => self.list(request),
                    _ => self.object(request),
                };
                answer.headers.push(("Date".to_owned(), http_date(seconds() + self.clock_offset)));
                answer
            }
        }
    }

    fn list(&self, request: &Request) -> Response {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| decoded(value))
        };
        let bucket = path.trim_matches('/');
        let keys = self.keys(bucket, &value("prefix").unwrap_or_default());
        let size = if self.list_page == 0 { 1000 } else { self.list_page };
        let start: usize = value("continuation-token").map_or(0, |token| token.parse().unwrap());
        let end = keys.len().min(start + size);
        let mut xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult>".to_owned();
        for key in &keys[start..end] {
            let written = self.written.get(&format!("{bucket}/{key}")).copied().unwrap_or_else(seconds);
            let escaped = key.replace('&', "&amp;").replace('<', "&lt;");
            xml +=
                &format!("<Contents><Key>{escaped}</Key><LastModified>{}</LastModified>", iso_date(written));
            let size = self.object_bytes(&format!("{bucket}/{key}")).unwrap_or_default().len();
            xml += &format!("<ETag>&quot;x&quot;</ETag><Size>{size}</Size></Contents>");
        }
        if end < keys.len() {
            xml += &format!(
                "<IsTruncated>true</IsTruncated><NextContinuationToken>{end}</NextContinuationToken>"
            );
        }
        xml += "</ListBucketResult>";
        Response { status: 200, body: xml.into_bytes(), ..Response::default() }
    }

    /// Executes a JSON operation.
    pub(crate) fn act(&mut self, operation: &str, asked: &Value) -> Answered {
        if let Some(answered) = self.sources.act(operation, asked) {
            return answered;
        }
        match operation {
            _ if ecs::OPERATIONS.contains(&operation) => self.ecs.act(operation, asked),
            // AWS:secret
            "GetAuthorizationToken" => {
                Ok(json!({ "authorizationData": [{ "authorizationToken": "QVdTOnNlY3JldA==",
                "expiresAt": 4_000_000_000_u64, "proxyEndpoint": "https://123456789012.dkr.ecr.eu-west-1.amazonaws.com" }] }))
            }
            "DescribeRegistry" => Ok(json!({ "registryId": "123456789012",
                "replicationConfiguration": { "rules": self.replication } })),
            "GetSigningConfiguration" if self.signing.is_empty() => Err((
                "SigningConfigurationNotFoundException",
                "There is no signing configuration in the registry with id '123456789012'".to_owned(),
            )),
            "GetSigningConfiguration" => Ok(json!({ "registryId": "123456789012",
                "signingConfiguration": { "rules": self.signing } })),
            "ListPullTimeUpdateExclusions" => {
                // One in a page.
                let start: usize = asked["nextToken"].as_str().map_or(0, |token| token.parse().unwrap());
                let page: Vec<&String> = self.pull_time_exclusions.iter().skip(start).take(1).collect();
                let mut answer = json!({ "pullTimeUpdateExclusions": page });
                if start + 1 < self.pull_time_exclusions.len() {
                    answer["nextToken"] = json!((start + 1).to_string());
                }
                Ok(answer)
            }
            "GetRegistryPolicy" => match &self.registry_policy {
                Some(policy) => Ok(json!({ "registryId": "123456789012", "policyText": policy })),
                None => Err((
                    "RegistryPolicyNotFoundException",
                    "Registry policy does not exist in the registry with id '123456789012'".to_owned(),
                )),
            },
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
            "SendMessage" => {
                let text = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
                assert!(asked["DelaySeconds"].as_u64().is_some_and(|delay| delay <= 900));
                self.messages.push((text("QueueUrl"), text("MessageBody")));
                Ok(json!({ "MessageId": "1", "MD5OfMessageBody": "0" }))
            }
            "ReceiveMessage" => Ok(self.queues.receive(asked)),
            "DeleteMessageBatch" => Ok(self.queues.delete(asked)),
            "GetLogEvents" => {
                let stream = asked["logStreamName"].as_str().unwrap();
                let lines = self.logs.get(stream).cloned().unwrap_or_default();
                let events =
                    lines.lines().map(|line| json!({ "timestamp": 1, "message": format!("{line}\n") }));
                Ok(json!({ "events": events.collect::<Vec<_>>() }))
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
                if text("Name").matches('/').count() > 15 {
                    let message = "A hierarchy can have a maximum of 15 levels.".to_owned();
                    return Err(("HierarchyLevelLimitExceededException", message));
                }
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
            // Of Systems Manager's own: which services there are, and in which Region.
            "GetParameters" => {
                let names = asked["Names"].as_array().cloned().unwrap_or_default();
                assert!(names.len() <= 10, "{names:?}");
                let is_lacking = |name: &Value| {
                    let name = name.as_str().unwrap();
                    let (place, service) = name.rsplit_once('/').unwrap();
                    place == "/aws/service/global-infrastructure/regions/eu-west-1/services"
                        && self.lacking.iter().any(|lacking| lacking == service)
                };
                let (lacking, there): (Vec<Value>, Vec<Value>) = names.into_iter().partition(is_lacking);
                let there: Vec<Value> =
                    there.iter().map(|name| json!({ "Name": name, "Value": "1" })).collect();
                Ok(json!({ "Parameters": there, "InvalidParameters": lacking }))
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
        let seconds = seconds();
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

    /// Executes an operation of S3.
    pub(crate) fn object(&mut self, request: &Request) -> Response {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let path = decoded(path.trim_start_matches('/'));
        let respond = |status: u16, headers: &[(&str, &str)], body: &str| Response {
            status,
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            body: body.as_bytes().to_vec(),
        };
        if path.starts_with(&format!("{NO_BUCKET}/")) {
            let parsed_request = "<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message></Error>";
            return respond(404, &[], parsed_request);
        }
        // All buckets here are of one account.
        if request.header("x-amz-expected-bucket-owner").is_some_and(|owner| owner != "123456789012") {
            return respond(
                403,
                &[],
                "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>",
            );
        }
        let version = query.split('&').find_map(|pair| pair.strip_prefix("versionId=")).map(decoded);
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
                // What is written is the body as it is, with its checksum beside it.
                assert_eq!(request.header("content-encoding"), None);
                let sha256 = request.header("x-amz-checksum-sha256").map(str::to_owned);
                assert!(sha256.is_some() || request.header("x-amz-checksum-crc32").is_some());
                if let Some(sha256) = &sha256 {
                    let digest = <sha2::Sha256 as sha2::Digest>::digest(&request.body);
                    assert_eq!(*sha256, aws_smithy_types::base64::encode(digest));
                }
                let version = match String::from_utf8(request.body.clone()) {
                    Ok(content) => self.upload(&path, &content),
                    Err(_) => {
                        self.archives.insert(path.clone(), request.body.clone());
                        self.upload(&path, ARCHIVE)
                    }
                };
                self.sha256.extend(sha256.map(|sha256| (path.clone(), sha256)));
                respond(200, &[("ETag", &format!("\"{version}\""))], "")
            }
            ("DELETE", None) => respond(204, &[], ""),
            ("DELETE", Some((_, version))) => {
                let is_stale =
                    request.header("if-match").is_some_and(|etag| etag != format!("\"{version}\""));
                if is_stale {
                    return respond(412, &[], "<Error><Code>PreconditionFailed</Code></Error>");
                }
                self.delete(&path);
                respond(204, &[], "")
            }
            (_, None) => respond(404, &[], "<Error><Code>NoSuchKey</Code></Error>"),
            (method, Some((content, version))) => {
                let etag = format!("\"{version}\"");
                let written = http_date(self.written.get(&path).copied().unwrap_or_else(seconds));
                let mut headers = vec![("ETag", etag.as_str()), ("Last-Modified", &written)];
                if !self.is_unversioned {
                    headers.push(("x-amz-version-id", version));
                }
                let asks_for_checksums = request.header("x-amz-checksum-mode") == Some("ENABLED");
                if let Some(sha256) =
                    self.sha256.get(&path).filter(|_| asks_for_checksums && method == "HEAD")
                {
                    headers.push(("x-amz-checksum-sha256", sha256));
                }
                let mut response = respond(200, &headers, "");
                if method != "HEAD" {
                    response.body = self.bytes(&path, content);
                }
                response
            }
        }
    }
}

fn seconds() -> i64 {
    clock::micros().div_euclid(1_000_000)
}

fn iso_date(seconds: i64) -> String {
    shared::domain::text::instant::Instant::from_micros(seconds * 1_000_000).unwrap().to_string()
}

/// A time as HTTP has it.
fn http_date(seconds: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let iso = iso_date(seconds);
    let weekday = DAYS[usize::try_from(seconds.div_euclid(86_400).rem_euclid(7)).unwrap()];
    let month = MONTHS[iso[5..7].parse::<usize>().unwrap() - 1];
    format!("{weekday}, {} {month} {} {} GMT", &iso[8..10], &iso[..4], &iso[11..19])
}

/// The caller, as AWS STS reports it.
pub const CALLER: &str = "arn:aws:iam::123456789012:user/ana";
/// What stands for the content of an object that is no text.
const ARCHIVE: &str = "an archive";
/// A bucket that does not exist; all others do.
pub const NO_BUCKET: &str = "no-such-bucket";

/// The stack's bucket, in what [`function`] starts.
pub const BUCKET: &str = "stack-sources";

/// A function of the stack `steward`, on this AWS.
pub fn function(aws: &EcrStub, name: &str, time: Duration) -> Function {
    function_with(aws, name, time, &[])
}

/// The same with additional environment variables.
pub fn function_with(aws: &EcrStub, name: &str, time: Duration, more: &[(&str, &str)]) -> Function {
    start(aws, binary(name), time, more)
}

/// The same for a binary that was built in another way.
pub fn function_at(aws: &EcrStub, binary: &Path, time: Duration, more: &[(&str, &str)]) -> Function {
    start(aws, binary, time, more)
}

fn start(aws: &EcrStub, binary: &Path, time: Duration, more: &[(&str, &str)]) -> Function {
    let url = aws.url();
    let environment = [
        ("AWS_ENDPOINT_URL", url.as_str()),
        ("STACK_NAME", "steward"),
        ("BUCKET", BUCKET),
        ("PROJECT_AMD64", "steward-amd64"),
        ("PROJECT_ARM64", "steward-arm64"),
        ("PUBLISHED_FUNCTION", "steward-ImagePublishedFunction"),
        ("WAITING_QUEUE", "https://sqs.eu-west-1.amazonaws.com/123456789012/waiting"),
        ("TOPIC", "arn:aws:sns:eu-west-1:123456789012:reports"),
        ("ENFORCE", "true"),
        ("MAX_CONCURRENCY", "4"),
        // This AWS throttles only who asks it to.
        ("ECR_REQUESTS_PER_SECOND", "40000"),
        ("PROTECTION_HOURS", "48"),
        ("TOLERATED_FAILURE_PERCENTAGE", "10"),
        ("ALLOW_LOOPBACK_RESPONSE_URL", "true"),
    ];
    Function::start_with(binary, &[&environment[..], more].concat(), time)
}

/// A server for answers to CloudFormation: a response URL, and the answers that were put to it.
pub fn callback_server() -> (String, Receiver<Value>) {
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
