//! The API as an API Gateway HTTP API carries it, and a function URL: payload format 2.0.

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use aws_lambda_events::encodings::Body;
use aws_lambda_events::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Problem, Rejection, Request, Response};
use crate::domain::text::plain_words;

/// A request with its parts decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    body: Vec<u8>,
    caller: Option<String>,
}

/// The fields of an event that tell which gateway sent it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Carried {
    request_context: Option<CarriedBy>,
    http_method: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct CarriedBy {
    elb: Option<IgnoredAny>,
}

impl Received {
    /// Decodes a request.
    ///
    /// # Errors
    ///
    /// If another gateway sent it, or the body is not encoded as it says.
    pub fn read(event: &str) -> Result<Self, Problem> {
        let carried = serde_json::from_str::<Carried>(event).ok();
        let other = carried.and_then(|carried| {
            let by_elb = carried.request_context.and_then(|context| context.elb);
            match (by_elb, carried.http_method) {
                (Some(_), _) => Some("an Application Load Balancer"),
                (None, Some(_)) => Some("a REST API of API Gateway (payload format 1.0)"),
                (None, None) => None,
            }
        });
        if let Some(other) = other {
            return Err(Rejection::OtherGateway(other).into());
        }
        let event = serde_json::from_str(event)
            .map_err(|error| Rejection::NoRequest(plain_words::shape(&error.to_string())))?;
        Self::new(event)
    }

    fn new(event: ApiGatewayV2httpRequest) -> Result<Self, Problem> {
        let query = event.query_string_parameters.iter();
        let query = query.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let body = event.body.unwrap_or_default();
        let body = match event.is_base64_encoded {
            true => STANDARD.decode(&body).map_err(|error| Rejection::NotBase64(error.to_string()))?,
            false => body.into_bytes(),
        };
        let method = event.request_context.http.method.to_string();
        let path = event.raw_path.unwrap_or_default();
        let caller = event.request_context.authorizer.and_then(|authorizer| authorizer.iam?.user_arn);
        tracing::info!(method, path, caller, "asked");
        Ok(Self { method, path, query, body, caller })
    }

    /// The ARN of the principal that signed the request; `None` without IAM authorization.
    #[must_use]
    pub fn caller(&self) -> Option<&str> {
        self.caller.as_deref()
    }

    /// The request, as the API reads it.
    #[must_use]
    pub fn request(&self) -> Request<'_> {
        Request { method: &self.method, path: &self.path, query: &self.query, body: &self.body }
    }
}

/// A response, for the gateway.
#[must_use]
pub fn answer(response: Response) -> ApiGatewayV2httpResponse {
    let headers: HeaderMap = response
        .headers
        .into_iter()
        .filter_map(|(name, value)| {
            Some((HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?))
        })
        .collect();
    let mut answer = ApiGatewayV2httpResponse::default();
    answer.status_code = i64::from(response.status);
    answer.headers = headers;
    answer.body = (!response.body.is_empty()).then_some(Body::Text(response.body));
    answer
}

/// Logs a refused request.
pub fn refused(problem: Problem) -> Response {
    tracing::warn!(kind = problem.kind.name(), detail = problem.detail, "refused a request");
    problem.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::http::Kind;

    #[test]
    fn a_request_in_another_event_format_is_answered_with_the_format() {
        let rest = r#"{"httpMethod": "GET", "path": "/repositories", "requestContext": {"stage": "prod"}}"#;
        let balancer =
            r#"{"httpMethod": "GET", "path": "/", "requestContext": {"elb": {"targetGroupArn": "arn"}}}"#;
        for (event, expected) in [
            (rest, "a REST API of API Gateway"),
            (balancer, "an Application Load Balancer"),
            ("{}", "is no request"),
        ] {
            let problem = Received::read(event).unwrap_err();
            assert_eq!(problem.kind, Kind::InvalidRequest);
            assert!(problem.detail.contains(expected), "{}", problem.detail);
        }
    }

    #[test]
    fn a_function_url_is_served_like_an_http_api() {
        let event = r#"{"version": "2.0", "rawPath": "/repositories/app", "rawQueryString": "", "headers": {},
            "requestContext": {"accountId": "anonymous", "apiId": "x", "domainName": "x.lambda-url.eu-west-1.on.aws",
                "http": {"method": "GET", "path": "/repositories/app", "protocol": "HTTP/1.1", "sourceIp": "1.2.3.4", "userAgent": "x"},
                "requestId": "1", "routeKey": "$default", "stage": "$default", "time": "x", "timeEpoch": 1},
            "isBase64Encoded": false}"#;
        let received = Received::read(event).unwrap();
        let request = received.request();
        assert_eq!((request.method, request.path), ("GET", "/repositories/app"));
    }
}
