//! Read-only calls to JSON APIs, of lists and descriptions. Pagination is followed. What was read before a failure counts, and a
//! failure makes the reading of the usage source incomplete.

use futures_util::stream::{self, StreamExt};
use serde_json::Value;

use super::Connection;
use super::error::{AwsError, Failure};
use super::pages::Pages;
use crate::aws::sigv4::{Service, Unsigned, encoded, refused};
use crate::domain::text::quantity::count;
use crate::domain::usage::source::{Reading, UsageSource};

/// Calls to one service at the same time.
const READ_CONCURRENCY: usize = 4;
/// Maximum number of pages of one list: a run has to end.
pub(super) const MAX_PAGES: usize = 500;
/// Maximum number of things of one source that are described in one reading.
pub(super) const MAX_DESCRIPTIONS: usize = 3000;

/// An API, as far as one usage source is read from it.
#[derive(Debug)]
pub(super) struct JsonApi {
    service: Service,
    protocol: Protocol,
    source: &'static UsageSource,
}

/// The protocol of an API.
#[derive(Debug, Clone, Copy)]
pub(super) enum Protocol {
    /// AWS JSON of a version, with what requests name the API by.
    Json { version: &'static str, target: &'static str },
    /// REST: methods and paths.
    Rest,
    /// REST whose requests are a query for each method: POST without a body.
    RestInQuery,
}

/// A list in pages. The token of the next page has one name in requests and answers.
#[derive(Debug)]
pub(super) struct List<'a> {
    pub(super) operation: &'static str,
    /// The method and the path of a REST API: `GET /schedules`.
    pub(super) route: &'a str,
    /// The name of the list in the answer.
    pub(super) member: &'static str,
    /// The name of the token in the answer.
    pub(super) token: &'static str,
    /// Whether AWS's model requires the list in every answer. Otherwise an empty one may be left out.
    pub(super) is_always_present: bool,
    /// Whether its subject may be deleted meanwhile.
    pub(super) may_be_gone: bool,
    pub(super) request: Value,
}

impl JsonApi {
    /// An API by the name that requests are signed for, and that of its variable for an endpoint.
    pub(super) fn new(
        connection: &Connection,
        source: &'static UsageSource,
        name: &'static str,
        variables: &str,
        protocol: Protocol,
    ) -> Self {
        Self { service: Service::new(name, variables, connection), protocol, source }
    }

    /// Makes a call.
    pub(super) async fn ask(
        &self,
        operation: &'static str,
        route: &str,
        request: &Value,
    ) -> Result<Value, AwsError> {
        let (method, path) = route.split_once(' ').unwrap_or(("POST", "/"));
        let (target, content_type, mut path) = match self.protocol {
            Protocol::Json { version, target } => {
                (format!("{target}.{operation}"), format!("application/x-amz-json-{version}"), "/".to_owned())
            }
            Protocol::Rest | Protocol::RestInQuery => {
                (String::new(), "application/json".to_owned(), path.to_owned())
            }
        };
        let mut headers = vec![("content-type", content_type.as_str())];
        let mut body = String::new();
        match (self.protocol, method) {
            (Protocol::Rest, "GET") | (Protocol::RestInQuery, _) => {
                headers.clear();
                path += &query(request);
            }
            (Protocol::Rest, _) => body = request.to_string(),
            (Protocol::Json { .. }, _) => {
                headers.push(("x-amz-target", &target));
                body = request.to_string();
            }
        }
        let unsigned = Unsigned { operation, method, path: &path, headers: &headers, body: &body };
        let answered = self.service.send(unsigned, |answered| refused(operation, answered)).await?;
        serde_json::from_slice(&answered.body).map_err(|error| {
            AwsError::unexpected_response(operation, &format!("the answer is unreadable: {error}"))
        })
    }

    /// All pages of a list. When one fails those before it count, and the reading is incomplete.
    pub(super) async fn all(&self, list: List<'_>, reading: &mut Reading) -> Vec<Value> {
        let mut all = Vec::new();
        self.for_all(list, reading, &mut |element, _| all.push(element)).await;
        all
    }

    /// Reads element by element, so that no more than a page is in memory.
    pub(super) async fn for_all(
        &self,
        mut list: List<'_>,
        reading: &mut Reading,
        take: &mut (dyn FnMut(Value, &mut Reading) + Send),
    ) {
        let operation = list.operation;
        // As AWS's SDKs, which take an empty token for the end.
        let mut pages = Pages::ending_empty(operation);
        for _ in 0..MAX_PAGES {
            let mut answer = match self.ask(operation, list.route, &list.request).await {
                Ok(answer) => answer,
                Err(error) if list.may_be_gone && is_gone(&error) => return,
                Err(error) => {
                    reading.problems.push(self.explained(&error));
                    return;
                }
            };
            match answer[list.member].take() {
                Value::Array(page) => page.into_iter().for_each(|element| take(element, reading)),
                Value::Null if !list.is_always_present && answer.is_object() => {}
                _ => {
                    let problem = format!("the answer has no list `{}`", list.member);
                    let error = AwsError::unexpected_response(operation, &problem);
                    reading.problems.push(self.explained(&error));
                    return;
                }
            }
            let next = match answer[list.token].take() {
                Value::Null => return,
                Value::String(next) => Ok(next),
                _ => Err(AwsError::unexpected_response(operation, "the token of the next page is no text")),
            };
            match next.and_then(|next| pages.follow(Some(next))) {
                Ok(true) => list.request[list.token] = pages.token().into(),
                Ok(false) => return,
                Err(error) => {
                    reading.problems.push(self.explained(&error));
                    return;
                }
            }
        }
        let number = count(MAX_PAGES as u64, "page");
        reading.problems.push(format!(
            "{operation}: there are more than {number}, and the others were not read; delete what is not needed, or ignore the \
             source"
        ));
    }

    /// Describes things by one call each, which `call` returns: the route and the request. Whatever is deleted meanwhile is left
    /// out; anything that cannot be described makes the reading incomplete. Answers are processed as they arrive, so that few are
    /// in memory.
    ///
    /// The function is not generic: otherwise it would be compiled once for each reader.
    pub(super) async fn for_each(
        &self,
        operation: &'static str,
        mut things: Vec<Value>,
        call: &(dyn Fn(&Value) -> (String, Value) + Sync),
        reading: &mut Reading,
        take: &mut (dyn FnMut(&Value, Value, &mut Reading) + Send),
    ) {
        if things.len() > MAX_DESCRIPTIONS {
            let (all, most) = (things.len(), MAX_DESCRIPTIONS);
            reading.problems.push(format!(
                "{operation}: {all} things would have to be described, and a run describes {most}; what never changes is \
                 remembered, and the next runs go on; otherwise delete what is not needed, or ignore the source"
            ));
            things.truncate(most);
        }
        let mut describing = stream::iter(things)
            .map(|thing| async move {
                let (route, request) = call(&thing);
                (thing, self.ask(operation, &route, &request).await)
            })
            .buffered(READ_CONCURRENCY);
        while let Some((thing, answer)) = describing.next().await {
            match answer {
                Ok(answer) => take(&thing, answer, reading),
                Err(error) if is_gone(&error) => {}
                Err(error) => reading.problems.push(self.explained(&error)),
            }
        }
    }

    /// The failure, and what to do about it.
    pub(super) fn explained(&self, error: &AwsError) -> String {
        explained(self.source, error)
    }
}

/// The failure of reading a source, and what to do about it.
pub(super) fn explained(source: &UsageSource, error: &AwsError) -> String {
    match (error.failure, source.action(&error.operation)) {
        (Failure::Denied, Some(action)) => format!("{error}; allow {action}"),
        (Failure::Kms, _) => format!("{error}; allow kms:Decrypt with this key"),
        _ => error.to_string(),
    }
}

/// Whether the subject of a call does not exist.
fn is_gone(error: &AwsError) -> bool {
    // SageMaker reports that with the code for invalid values.
    let is_not_found = error.failure == Failure::Invalid && error.message.starts_with("Could not find");
    error.failure == Failure::NotFound || is_not_found
}

/// The members of a request as a query, with a list's elements one after another.
fn query(request: &Value) -> String {
    let members = request.as_object().into_iter().flatten();
    let pair = |name: &str, value: &Value| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{name}={}", encoded(&value))
    };
    let pairs: Vec<String> = members
        .flat_map(|(name, value)| match value {
            Value::Array(values) => values.iter().map(|value| pair(name, value)).collect(),
            one => vec![pair(name, one)],
        })
        .collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}
