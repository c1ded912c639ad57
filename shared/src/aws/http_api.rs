//! The stack's own HTTP API behind Amazon API Gateway, from a terminal: requests are signed for `execute-api`.

use super::Connection;
use super::error::{AwsError, Failure};
use crate::aws::sigv4::{Answered, Service, Unsigned, encoded};

/// An HTTP API.
#[derive(Debug)]
pub struct HttpApi {
    service: Service,
    /// The host that requests are for, where they are sent to another address.
    host: Option<String>,
}

/// An answer of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body, in JSON; null where there is none.
    pub body: serde_json::Value,
}

impl HttpApi {
    pub(super) fn new(connection: &Connection, endpoint: &str) -> Self {
        let (endpoint, host) = resolved(endpoint);
        Self { service: Service::at("execute-api", &endpoint, connection), host }
    }

    /// Sends a request, with or without a body, and returns the answer whatever its status.
    ///
    /// # Errors
    ///
    /// If there is no answer, it is not JSON, or IAM denies the request.
    pub async fn request(
        &self,
        operation: &'static str,
        method: &str,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<HttpAnswer, AwsError> {
        let text = body.map(ToString::to_string).unwrap_or_default();
        let mut headers = Vec::new();
        headers.extend(body.map(|_| ("content-type", "application/json")));
        headers.extend(self.host.as_deref().map(|host| ("host", host)));
        let request = Unsigned { operation, method, path, headers: &headers, body: &text };
        let answered = self.service.send(request, |answered| refused(operation, answered)).await?;
        let body = if answered.body.is_empty() {
            serde_json::Value::Null
        } else {
            serde_json::from_slice(&answered.body).map_err(|error| {
                AwsError::unexpected_response(operation, &format!("the answer is unreadable: {error}"))
            })?
        };
        Ok(HttpAnswer { status: answered.status, body })
    }
}

/// The address that requests to an endpoint are sent to, and its host if that is another one. Names below `localhost` are those
/// of this machine (RFC 6761), which not every resolver knows; emulators have their APIs there.
fn resolved(endpoint: &str) -> (String, Option<String>) {
    let host = endpoint.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    let name = host.map(|host| host.rsplit_once(':').unwrap_or((host, "80")));
    match (host, name) {
        (Some(host), Some((name, port))) if name.ends_with(".localhost") => {
            (format!("http://127.0.0.1:{port}"), Some(host.to_owned()))
        }
        _ => (endpoint.to_owned(), None),
    }
}

/// Refusals of the gateway itself, and answers that are worth another attempt. The functions answer with problems of their own.
fn refused(operation: &'static str, answered: &Answered) -> Option<AwsError> {
    let is_ours = answered.header("content-type").is_some_and(|kind| kind.starts_with("application/problem"));
    let failure = match answered.status {
        429 => Failure::Throttled,
        401 | 403 if !is_ours => Failure::Denied,
        500.. if !is_ours => Failure::Unavailable,
        _ => return None,
    };
    let body = serde_json::from_slice::<serde_json::Value>(&answered.body).unwrap_or_default();
    let message = ["message", "Message", "detail"].iter().find_map(|name| body[*name].as_str());
    let message = message.map_or_else(|| format!("HTTP status {}", answered.status), str::to_owned);
    Some(AwsError { failure, ..AwsError::unexpected_response(operation, &message) })
}

/// Percent-encodes a value of a query.
#[must_use]
pub fn escaped(text: &str) -> String {
    encoded(text)
}

/// A path of the API with escaped parts; a repository's slashes remain.
#[must_use]
pub fn path(parts: &[&str]) -> String {
    parts.iter().map(|part| format!("/{}", encoded(part).replace("%2F", "/"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emulators_api_is_on_this_machine() {
        let local = resolved("http://a1.execute-api.localhost:4566/");
        assert_eq!(
            local,
            ("http://127.0.0.1:4566".to_owned(), Some("a1.execute-api.localhost:4566".to_owned()))
        );
        let aws = "https://a1.execute-api.eu-west-1.amazonaws.com";
        assert_eq!(resolved(aws), (aws.to_owned(), None));
    }

    #[test]
    fn a_repository_keeps_its_slashes_in_a_path() {
        assert_eq!(path(&["repositories", "team/app"]), "/repositories/team/app");
        assert_eq!(path(&["builds", "web:1?x"]), "/builds/web%3A1%3Fx");
    }
}
