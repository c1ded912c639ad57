//! Lambda function: the HTTP API for repositories, images and previews, behind an API Gateway HTTP API (payload 2.0).
//!
//! The API is [`shared::api`]'s; this file only carries requests and responses.

#![recursion_limit = "256"]

use std::time::{Duration, SystemTime};

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use aws_lambda_events::encodings::Body;
use aws_lambda_events::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lambda_runtime::{Context, LambdaEvent, service_fn};
use shared::api::{self, Kind, Problem, Request, Response};
use shared::aws::ecr::Ecr;
use shared::aws::{Connection, Deadline};
use shared::instant::Instant;
use shared::provision::Provisioner;
use shared::repository::Registry;

/// What is kept of an invocation's time to answer in.
const ANSWER: Duration = Duration::from_millis(500);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::log::as_json();
    let ecr = Connection::of_function().ecr();
    let ecr = &ecr;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<ApiGatewayV2httpRequest>| async move {
        Ok::<_, lambda_runtime::Error>(to_gateway(answer(event, ecr).await))
    }))
    .await
}

async fn answer(event: LambdaEvent<ApiGatewayV2httpRequest>, ecr: &Ecr) -> Response {
    let LambdaEvent { payload, context } = event;
    let http = payload.request_context.http;
    let query: Vec<(String, String)> = payload
        .query_string_parameters
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let body = payload.body.unwrap_or_default();
    let body = match payload.is_base64_encoded {
        true => STANDARD.decode(&body),
        false => Ok(body.into_bytes()),
    };
    let body = match body {
        Ok(body) => body,
        Err(error) => {
            return Problem::new(Kind::InvalidRequest, format!("the body is not base64: {error}")).into();
        }
    };
    let path = payload.raw_path.unwrap_or_default();
    tracing::info!(method = %http.method, path, "asked");
    let request = Request { method: http.method.as_str(), path: &path, query: &query, body: &body };
    let call = match api::route(request) {
        Ok(call) => call,
        Err(problem) => {
            tracing::warn!(kind = problem.kind.name(), detail = problem.detail, "refused a request");
            return problem.into();
        }
    };
    let registry = match Registry::of_arn(&context.invoked_function_arn) {
        Ok(registry) => registry,
        Err(error) => return Problem::new(Kind::Internal, error.to_string()).into(),
    };
    ecr.trouble().forget();
    let provisioner = Provisioner {
        ecr,
        registry: &registry,
        deadline: Deadline::within(time_left(&context), ANSWER),
        request_id: &context.request_id,
    };
    api::serve::serve(call, &provisioner, Instant::now()).await
}

fn time_left(context: &Context) -> Duration {
    context.deadline().duration_since(SystemTime::now()).unwrap_or_default()
}

fn to_gateway(response: Response) -> ApiGatewayV2httpResponse {
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
