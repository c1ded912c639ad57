//! Requests to services whose SDK client would be a quarter of a function for the two or three calls that are made: signed
//! by the SDK's signer, sent by its HTTP client, and tried again until they are answered.

use std::sync::OnceLock;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use serde::Deserialize;

use super::endpoint::NoEndpoint;
use super::error::{AwsError, Failure};
use super::xml::element;
use super::{AccessKeys, Connection, Transport};
use crate::aws::retry_observer::RetryObserver;

/// Maximum size of an answer, in bytes.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// One service, as it is reached.
#[derive(Debug)]
pub(super) struct Service {
    /// The name that requests are signed for, and that its host begins with.
    name: &'static str,
    retry_observer: RetryObserver,
    transport: Transport,
    pub(super) region: String,
    /// The endpoint without a slash at the end, or why it is unknown.
    endpoint: OnceLock<Result<String, NoEndpoint>>,
}

/// A request before it is signed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unsigned<'a> {
    pub(super) operation: &'static str,
    pub(super) method: &'a str,
    /// The path and the query.
    pub(super) path: &'a str,
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a str,
}

/// An answer.
#[derive(Debug, Default)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answered {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Service {
    /// A service by the name that requests are signed for, and that of its variable for an endpoint.
    pub(super) fn new(name: &'static str, variables: &str, connection: &Connection) -> Self {
        let (transport, retry_observer) = (connection.transport.clone(), connection.retry_observer.clone());
        let region = transport.region.clone();
        let given = transport.endpoint(variables).map(|url| url.trim_end_matches('/').to_owned());
        let endpoint = given.map_or_else(OnceLock::new, |given| OnceLock::from(Ok(given)));
        Self { name, retry_observer, transport, region, endpoint }
    }

    /// A service at a given endpoint.
    pub(super) fn at(name: &'static str, endpoint: &str, connection: &Connection) -> Self {
        let (transport, retry_observer) = (connection.transport.clone(), connection.retry_observer.clone());
        let region = transport.region.clone();
        let endpoint = OnceLock::from(Ok(endpoint.trim_end_matches('/').to_owned()));
        Self { name, retry_observer, transport, region, endpoint }
    }

    /// The endpoint of the service, without a slash at its end.
    fn endpoint(&self, operation: &'static str) -> Result<&str, AwsError> {
        let found = self.endpoint.get_or_init(|| self.transport.place().endpoint(self.name));
        found.as_deref().map_err(|problem| AwsError {
            failure: Failure::Invalid,
            ..AwsError::unexpected_response(operation, &problem.to_string())
        })
    }

    /// Sends a request until it is answered; the caller bounds the time. `refusal` recognizes answers that are errors.
    pub(super) async fn send(
        &self,
        request: Unsigned<'_>,
        refusal: impl Fn(&Answered) -> Option<AwsError>,
    ) -> Result<Answered, AwsError> {
        let operation = request.operation;
        let mut pause = Duration::from_millis(200);
        let mut attempts = 0;
        let started_at = tokio::time::Instant::now();
        loop {
            attempts += 1;
            self.retry_observer.begin(operation);
            let error = match self.attempt(request).await {
                Ok(answered) => match refusal(&answered) {
                    None => {
                        self.retry_observer.end(operation, None);
                        return Ok(answered);
                    }
                    Some(error) => error,
                },
                Err(error) => error,
            };
            let is_transient = error.failure.is_transient();
            self.retry_observer.end(operation, is_transient.then(|| error.clone()));
            let has_given_up = error.failure != Failure::Throttled
                && self.endpoint(operation).is_ok_and(|endpoint| self.transport.has_given_up(endpoint));
            let is_late =
                self.transport.operation_timeout().is_some_and(|timeout| started_at.elapsed() >= timeout);
            if !is_transient || has_given_up || is_late || attempts >= super::ATTEMPTS {
                return Err(error);
            }
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(Duration::from_secs(4));
        }
    }

    /// A call in AWS's JSON protocol, `service.operation` as its target.
    pub(super) async fn call<T: for<'a> Deserialize<'a>>(
        &self,
        operation: &'static str,
        target: &str,
        body: &serde_json::Value,
    ) -> Result<T, AwsError> {
        let target = format!("{target}.{operation}");
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", &target)];
        let body = body.to_string();
        let request = Unsigned { operation, method: "POST", path: "/", headers: &headers, body: &body };
        let answered = self.send(request, |answered| refused(operation, answered)).await?;
        serde_json::from_slice(&answered.body).map_err(|error| {
            AwsError::unexpected_response(operation, &format!("the answer is unreadable: {error}"))
        })
    }

    /// A call in AWS's query protocol, which is answered in XML.
    pub(super) async fn query(
        &self,
        operation: &'static str,
        fields: &[(&str, &str)],
    ) -> Result<Answered, AwsError> {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let body: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let body = body.join("&");
        let request = Unsigned { operation, method: "POST", path: "/", headers: &headers, body: &body };
        self.send(request, |answered| refused_in_xml(operation, answered)).await
    }

    async fn attempt(&self, unsigned: Unsigned<'_>) -> Result<Answered, AwsError> {
        let Unsigned { operation, method, path, headers, body } = unsigned;
        let uri = &format!("{}{path}", self.endpoint(operation)?);
        let unsendable = |problem: &dyn std::fmt::Display| AwsError {
            failure: Failure::Invalid,
            ..AwsError::unexpected_response(operation, &problem.to_string())
        };
        let mut request = HttpRequest::new(SdkBody::empty());
        request.set_method(method).map_err(|error| unsendable(&error))?;
        request.set_uri(uri.as_str()).map_err(|error| unsendable(&error))?;
        for (name, value) in headers {
            request.headers_mut().insert((*name).to_owned(), (*value).to_owned());
        }
        let keys = self.transport.keys().await.map_err(|problem| AwsError {
            failure: Failure::Credentials,
            ..AwsError::unexpected_response(
                operation,
                &format!("there are no credentials any more: {problem}"),
            )
        })?;
        let AccessKeys { access_key_id, secret_access_key, session_token } = keys;
        let credentials =
            Credentials::new(access_key_id, secret_access_key, session_token, None, "transport");
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let identity = credentials.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(self.name)
            .time(TimeSource::now(&self.transport.clock))
            .settings(settings)
            .build()
            .map_err(|error| unsendable(&error))?;
        let signable =
            SignableRequest::new(method, uri, headers.iter().copied(), SignableBody::Bytes(body.as_bytes()))
                .map_err(|error| unsendable(&error))?;
        let (instructions, _) =
            sign(signable, &parameters.into()).map_err(|error| unsendable(&error))?.into_parts();
        for (name, value) in instructions.headers() {
            request.headers_mut().insert(name.to_owned(), value.to_owned());
        }
        if method != "GET" && method != "HEAD" {
            request.headers_mut().insert("content-length", body.len().to_string());
            *request.body_mut() = SdkBody::from(body);
        }
        let lost = |problem: String| AwsError {
            failure: Failure::Unreachable,
            ..AwsError::unexpected_response(operation, &problem)
        };
        let call = async {
            let answer = self
                .transport
                .connector()
                .call(request)
                .await
                .map_err(|error| lost(super::reachability::cause_of(&error)))?;
            let status = answer.status().as_u16();
            let headers =
                answer.headers().iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let mut rest = ByteStream::new(answer.into_body());
            let mut body = Vec::new();
            while let Some(part) = rest.next().await {
                body.extend_from_slice(&part.map_err(|error| lost(error.to_string()))?);
                if body.len() > MAX_BYTES {
                    let problem = format!("the answer has more than {MAX_BYTES} bytes");
                    return Err(AwsError {
                        failure: Failure::Invalid,
                        ..AwsError::unexpected_response(operation, &problem)
                    });
                }
            }
            Ok(Answered { status, headers, body })
        };
        let answered = tokio::time::timeout(super::ATTEMPT, call).await;
        answered.map_err(|_| AwsError {
            failure: Failure::TimedOut,
            ..AwsError::unexpected_response(operation, "")
        })?
    }
}

/// Half of a pause to all of it, so that those who were turned away together do not come back together.
fn jittered(pause: Duration) -> Duration {
    pause / 2 + pause * fastrand::u32(..1024) / 2048
}

/// The error in an answer in JSON; `None` if it is a result.
pub(super) fn refused(operation: &'static str, answered: &Answered) -> Option<AwsError> {
    if answered.status < 300 {
        return None;
    }
    let body = serde_json::from_slice::<serde_json::Value>(&answered.body).unwrap_or_default();
    let text = |names: [&str; 2]| names.iter().find_map(|name| body[*name].as_str()).unwrap_or_default();
    // Services that are called by methods and paths have the kind of an error in a header.
    let of_header =
        || answered.header("x-amzn-errortype").unwrap_or_default().split(':').next().unwrap_or_default();
    let code =
        text(["__type", "code"]).rsplit('#').next().filter(|code| !code.is_empty()).unwrap_or_else(of_header);
    let (failure, message) = match (Failure::of_code(code), answered.status) {
        (Failure::Unexpected, 403) => (Failure::Denied, text(["message", "Message"])),
        (Failure::Unexpected, 429) => (Failure::Throttled, ""),
        (Failure::Unexpected, 500..) => (Failure::Unavailable, ""),
        (failure, _) => (failure, text(["message", "Message"])),
    };
    let message = match (code, message) {
        ("", "") => format!("HTTP status {}", answered.status),
        (code, "") => code.to_owned(),
        (_, message) if failure != Failure::Unexpected => message.to_owned(),
        (code, message) => format!("{code}: {message}"),
    };
    Some(AwsError { failure, ..AwsError::unexpected_response(operation, &message) })
}

/// Why an answer in XML is none.
fn refused_in_xml(operation: &'static str, answered: &Answered) -> Option<AwsError> {
    if answered.status < 300 {
        return None;
    }
    let body = String::from_utf8_lossy(&answered.body);
    let code = element(&body, "Code").unwrap_or_default();
    let failure = match (Failure::of_code(&code), answered.status) {
        (Failure::Unexpected, 403) => Failure::Denied,
        (Failure::Unexpected, 404) => Failure::NotFound,
        (Failure::Unexpected, 429) => Failure::Throttled,
        (Failure::Unexpected, 500..) => Failure::Unavailable,
        (failure, _) => failure,
    };
    let message =
        element(&body, "Message").unwrap_or_else(|| format!("HTTP status {} {code}", answered.status));
    Some(AwsError { failure, ..AwsError::unexpected_response(operation, &message) })
}

/// Percent-encodes a text for a path or a query of a URL.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte.into()),
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_in_urls_are_encoded_as_they_are_signed() {
        assert_eq!(encoded("a b+ü&?#'/="), "a%20b%2B%C3%BC%26%3F%23%27%2F%3D");
    }
}
