//! Fakes of usage sources: each is one file here and one line in [`Sources::of`]. The names that requests are signed for tell
//! them apart, since several have operations of one name.

use serde_json::{Map, Value, json};

use super::agentcore::AgentCore;
use super::app_runner::AppRunner;
use super::batch::Batch;
use super::emr_serverless::EmrServerless;
use super::event_rules::EventRules;
use super::inspector::Inspector;
use super::models::Models;
use super::pipes::Pipes;
use super::projects::Projects;
use super::schedules::Schedules;
use super::state_machines::StateMachines;
use super::{Answered, decoded};
use crate::http::{Request, Response};

/// A fake service.
pub(super) trait Source {
    /// Executes an operation, or `None` if the service does not implement it.
    fn act(&self, operation: &str, asked: &Value) -> Option<Answered>;

    /// The operation of a method and a path, for REST services.
    fn route(&self, _method: &str, _path: &str) -> Option<&'static str> {
        None
    }
}

/// The services.
#[derive(Debug, Default)]
pub struct Sources {
    /// AWS Batch.
    pub batch: Batch,
    /// The rules of Amazon EventBridge.
    pub rules: EventRules,
    /// Amazon EventBridge Scheduler.
    pub schedules: Schedules,
    /// Amazon EventBridge Pipes.
    pub pipes: Pipes,
    /// AWS Step Functions.
    pub machines: StateMachines,
    /// The projects of AWS CodeBuild.
    pub projects: Projects,
    /// AWS App Runner.
    pub app_runner: AppRunner,
    /// Amazon SageMaker AI.
    pub models: Models,
    /// Amazon Bedrock AgentCore.
    pub agentcore: AgentCore,
    /// Amazon EMR Serverless.
    pub emr_serverless: EmrServerless,
    /// Amazon Inspector.
    pub inspector: Inspector,
    /// The largest page of all lists; none unless set.
    pub page: usize,
}

impl Sources {
    fn of(&self, signed_for: &str) -> Option<&dyn Source> {
        Some(match signed_for {
            "batch" => &self.batch,
            "events" => &self.rules,
            "scheduler" => &self.schedules,
            "pipes" => &self.pipes,
            "states" => &self.machines,
            "codebuild" => &self.projects,
            "apprunner" => &self.app_runner,
            "sagemaker" => &self.models,
            "bedrock-agentcore" => &self.agentcore,
            "emr-serverless" => &self.emr_serverless,
            "inspector2" => &self.inspector,
            _ => return None,
        })
    }

    /// Executes an operation, if it is one of these services.
    pub(crate) fn act(&self, operation: &str, asked: &Value) -> Option<Answered> {
        let (service, operation) = operation.split_once(':')?;
        let answered = self.of(service)?.act(operation, asked)?;
        Some(answered.map(|answer| self.paged(operation, answer, asked)))
    }

    /// The requested page of a list. A fake returns the whole list, with the name of the token in `pages`.
    fn paged(&self, operation: &str, mut answer: Value, asked: &Value) -> Value {
        let Value::String(pages) = answer["pages"].take() else {
            if let Some(members) = answer.as_object_mut() {
                members.remove("pages");
            }
            return answer;
        };
        let (token, most) = pages.split_once(' ').unwrap();
        let most: usize = most.parse().unwrap();
        let size = if self.page == 0 { most } else { most.min(self.page) };
        let start: usize = asked[token].as_str().map_or(0, |token| token.parse().unwrap());
        let members = answer.as_object_mut().unwrap();
        members.remove("pages");
        let list = members.values_mut().next().unwrap().as_array_mut().unwrap();
        assert!(start <= list.len(), "{operation}: there is no page {start}");
        let end = list.len().min(start + size);
        let is_last = end == list.len();
        *list = list[start..end].to_vec();
        if !is_last {
            members.insert(token.to_owned(), end.to_string().into());
        }
        answer
    }
}

/// A list that is answered in pages, of a size at most; requests and answers call the token so.
pub(super) fn list(member: &str, all: &[Value], token: &str, most: usize) -> Value {
    json!({ member: all, "pages": format!("{token} {most}") })
}

/// The operation of a request to one of these services: `batch:DescribeJobDefinitions`.
pub(crate) fn operation(request: &Request) -> Option<String> {
    let service = service(request)?;
    let sources = Sources::default();
    let source = sources.of(service)?;
    let name = match request.header("x-amz-target") {
        Some(target) => target.rsplit('.').next()?,
        None => source.route(&request.method, request.target.split('?').next()?)?,
    };
    // Of services that do more, the other operations are called by their names alone.
    let is_here = !matches!(service, "codebuild" | "events")
        || name.starts_with("List") && name != "ListBuildsForProject";
    (is_here || name == "BatchGetProjects").then(|| format!("{service}:{name}"))
}

/// The name that a request is signed for.
fn service(request: &Request) -> Option<&str> {
    let (_, scope) = request.header("authorization")?.split_once("Credential=")?;
    scope.split('/').nth(3)
}

/// The parts of the path of a REST request, decoded.
pub(super) fn path(asked: &Value) -> Vec<String> {
    let parts = asked["Path"].as_str().unwrap_or_default().split('/');
    parts.filter(|part| !part.is_empty()).map(decoded).collect()
}

/// The parsed input of a REST request: its query, the last part of its path as `Name`, and all of it as `Path`. A parameter of the
/// query that is given more than once is a list.
pub(crate) fn asked(request: &Request) -> Value {
    if !request.body.is_empty() {
        return serde_json::from_slice(&request.body).unwrap();
    }
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut asked: Map<String, Value> = Map::new();
    for (name, value) in pairs {
        let value = Value::from(decoded(value));
        match asked.get_mut(name) {
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = json!([first, value]),
            None => drop(asked.insert(name.to_owned(), value)),
        }
    }
    asked.insert("Path".to_owned(), path.into());
    asked.insert("Name".to_owned(), decoded(path.rsplit('/').next().unwrap_or_default()).into());
    asked.into()
}

/// An answer in the form of REST services: the kind of an error is in a header and in the status.
pub(crate) fn in_rest(mut answer: Response) -> Response {
    let mut body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let Some(kind) = body["__type"].as_str().map(str::to_owned) else { return answer };
    answer.status = match kind.as_str() {
        "ThrottlingException" => 429,
        "AccessDeniedException" => 403,
        "ResourceNotFoundException" | "NotFoundException" => 404,
        _ => answer.status,
    };
    answer.headers.push(("x-amzn-ErrorType".to_owned(), format!("{kind}:http://internal.amazon.com/")));
    body.as_object_mut().unwrap().remove("__type");
    answer.body = body.to_string().into_bytes();
    answer
}
