//! The API as an API Gateway HTTP API carries it: payload format 2.0.

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use aws_lambda_events::encodings::Body;
use aws_lambda_events::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Kind, Problem, Request, Response};

/// A request, its parts taken out of their encodings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    body: Vec<u8>,
    caller: Option<String>,
}

impl Received {
    /// Takes a request apart.
    ///
    /// # Errors
    ///
    /// When the body is not what the gateway says.
    pub fn new(event: ApiGatewayV2httpRequest) -> Result<Self, Problem> {
        let query = event.query_string_parameters.iter();
        let query = query.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let body = event.body.unwrap_or_default();
        let body = match event.is_base64_encoded {
            true => STANDARD.decode(&body).map_err(|error| {
                Problem::new(Kind::InvalidRequest, format!("the body is not base64: {error}"))
            })?,
            false => body.into_bytes(),
        };
        let method = event.request_context.http.method.to_string();
        let path = event.raw_path.unwrap_or_default();
        let caller = event.request_context.authorizer.and_then(|authorizer| authorizer.iam?.user_arn);
        tracing::info!(method, path, caller, "asked");
        Ok(Self { method, path, query, body, caller })
    }

    /// The ARN of the principal that signed the request; `None` where no gateway with IAM authorization said so.
    #[must_use]
    pub fn caller(&self) -> Option<&str> {
        self.caller.as_deref()
    }

    /// The request, as the API looks at it.
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

/// Says in the log that a request is refused.
pub fn refused(problem: Problem) -> Response {
    tracing::warn!(kind = problem.kind.name(), detail = problem.detail, "refused a request");
    problem.into()
}
