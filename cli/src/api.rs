//! The deployed stack's HTTP API: repositories are made, and images built and deleted, by the functions that do it for everybody
//! else, with the same checks, limits and journal.

use serde_json::Value;
use shared::aws::Connection;
use shared::aws::http_api::{HttpAnswer, HttpApi};

use crate::account::{output, outputs};
use crate::{Failure, progress};

/// Why the API refused a request.
#[derive(Debug, thiserror::Error)]
#[error("{title}: {detail}{}", .findings.iter().map(|finding| format!("\n  {finding}")).collect::<String>())]
pub(crate) struct Problem {
    pub(crate) status: u16,
    title: String,
    detail: String,
    findings: Vec<String>,
}

/// What the API calls a parameter of the query is an option at a terminal, and a request is a command.
const OPTIONS: [(&str, &str); 3] = [
    ("`?inUse=true`", "`--in-use`"),
    ("`?force=true`", "`--force`"),
    ("POST /repositories creates one", "`ecr-steward repository create` creates one"),
];

/// The advice on a repository that exists otherwise, as a command.
fn with_command(detail: String) -> String {
    let advice = detail.split_once("PUT /repositories/").and_then(|(before, rest)| {
        let (name, after) = rest.split_once(" makes it as asked for, as far as it can be changed")?;
        Some(format!("{before}`ecr-steward repository update {name}` changes what its options name{after}"))
    });
    advice.unwrap_or(detail)
}

impl Problem {
    fn of(answer: &HttpAnswer) -> Self {
        let text = |name: &str| answer.body[name].as_str().unwrap_or_default().to_owned();
        let findings: Vec<String> = answer.body["findings"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|finding| {
                let part = |name: &str| finding[name].as_str().unwrap_or_default();
                match part("pointer") {
                    "" => part("message").to_owned(),
                    pointer => format!("{pointer}: {}", part("message")),
                }
            })
            .collect();
        let detail = match text("detail") {
            detail if detail.is_empty() => format!("HTTP status {}", answer.status),
            // Everything that is wrong is said below.
            _ if findings.len() > 1 && answer.status == 400 => format!("{} problems", findings.len()),
            detail => with_command(
                OPTIONS.iter().fold(detail, |detail, (query, option)| detail.replace(query, option)),
            ),
        };
        let repeats = matches!(findings.as_slice(), [finding] if detail.contains(finding.as_str()) || detail.contains(
            finding.split_once(": ").map_or(finding.as_str(), |(_, message)| message)));
        let title = match text("title") {
            title if title.is_empty() => "the stack's API".to_owned(),
            title => title,
        };
        Self { status: answer.status, title, detail, findings: if repeats { Vec::new() } else { findings } }
    }
}

/// The API of a stack.
#[derive(Debug)]
pub(crate) struct Api {
    http: HttpApi,
    /// The stack's bucket, as its outputs have it.
    pub(crate) bucket: String,
}

impl Api {
    /// Finds the API of a stack by the stack's name.
    pub(crate) async fn of(connection: &Connection, stack: &str) -> Result<Self, Failure> {
        let outputs = outputs(connection, stack).await?;
        let endpoint = output(&outputs, stack, "ApiEndpoint")?;
        let bucket = output(&outputs, stack, "SourceBucketName")?;
        progress::phase("asking the stack");
        Ok(Self { http: connection.http_api(&endpoint), bucket })
    }

    /// Sends a request, and returns a successful answer.
    pub(crate) async fn ask(
        &self,
        operation: &'static str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<HttpAnswer, Failure> {
        let (method, _) = operation.split_once(' ').unwrap_or((operation, ""));
        let answer = self.http.request(operation, method, path, body).await?;
        if answer.status < 300 { Ok(answer) } else { Err(Problem::of(&answer).into()) }
    }
}
