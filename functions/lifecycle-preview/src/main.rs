//! Lambda function: what lifecycle policies would do: for a batch of a run, for `POST /previews`, and for who invokes it.
//!
//! What it does is [`shared::workflows::enforcement::process_batch`]'s and [`shared::domain::preview`]'s; this file only carries it.

// The SDK's futures are nested deeper than the compiler follows by default.
#![recursion_limit = "256"]

use std::time::Duration;

use lambda_runtime::LambdaEvent;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use shared::aws::Connection;
use shared::domain::enforcement::run::Task;
use shared::domain::lifecycle::PolicySource;
use shared::domain::preview::model::PreviewReport;
use shared::domain::preview::request::{self, Asked, InvalidRequest};
use shared::domain::repository::{NotAnArn, Registry};
use shared::domain::text::instant::Instant;
use shared::handlers::http::{Kind, Problem, gateway, previews};
use shared::shell::environment::set;
use shared::shell::function::{self, FunctionError, time_left};
use shared::workflows::enforcement::process_batch::{Caller, CallerAccess, work};
use shared::workflows::enforcement::{AwsClients, PreviewOnly, Reading, RunContext, RunError};
use shared::workflows::live_preview::{self, LiveError};

/// Maximum size of the answer to a synchronous invocation in Lambda, in bytes.
const MAX_ANSWER_BYTES: usize = 6 * 1024 * 1024;

/// Timeout of the gateway, less the time on the network.
const GATEWAY: Duration = Duration::from_secs(28);

/// Why there is no answer; becomes `errorType` and `errorMessage`.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Request(#[from] InvalidRequest),
    #[error(transparent)]
    Live(#[from] LiveError),
    #[error(transparent)]
    Batch(#[from] RunError),
    #[error(transparent)]
    Arn(#[from] NotAnArn),
    #[error(
        "the answer has {0} bytes, and Lambda carries at most {MAX_ANSWER_BYTES}; preview fewer images at a time, or \
         use the command line"
    )]
    AnswerTooLarge(usize),
    #[error("the event cannot be read, or the answer written: {0}")]
    Json(#[from] serde_json::Error),
}

impl FunctionError for Failure {
    fn error_type(&self) -> &'static str {
        match self {
            Failure::Request(request) => request.kind(),
            Failure::Live(LiveError::RunError(error)) | Failure::Batch(error) => error.kind(),
            Failure::Live(LiveError::Policy { .. }) => "InvalidLifecyclePolicy",
            Failure::AnswerTooLarge(_) => "AnswerTooLarge",
            Failure::Arn(_) | Failure::Json(_) => "Internal",
        }
    }
}

/// The fields that distinguish the kinds of events.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape<'a> {
    /// Only a request through the gateway has this.
    #[serde(borrow)]
    request_context: Option<&'a RawValue>,
    /// Only a batch has this.
    #[serde(borrow)]
    run: Option<&'a RawValue>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::shell::log::as_json();
    let clients = &AwsClients::new(Connection::from_env(), set("BUCKET")?);
    function::run(move |event: LambdaEvent<Box<RawValue>>| async move {
        let answered = answer(&event, clients).await;
        answered.inspect_err(|error| tracing::warn!(%error, "did not answer"))
    })
    .await
}

async fn answer(event: &LambdaEvent<Box<RawValue>>, clients: &AwsClients) -> Result<Box<RawValue>, Failure> {
    let LambdaEvent { payload, context } = event;
    let left = time_left(context);
    let registry = Registry::of_arn(&context.invoked_function_arn)?;
    let fields = serde_json::from_str::<Shape<'_>>(payload.get());
    let (is_gateway, is_batch) =
        fields.map_or((false, false), |fields| (fields.request_context.is_some(), fields.run.is_some()));
    let clients = clients.clients(if is_gateway { left.min(GATEWAY) } else { left });
    if is_gateway {
        clients.ecr.share_rate(1);
        return Ok(to_raw_value(&gateway::answer(respond(payload.get(), &clients, &registry).await))?);
    }
    if is_batch {
        let task: Task = serde_json::from_str(payload.get())?;
        let access = CallerAccess::<PreviewOnly>::Preview(Reading);
        let caller = Caller { account_id: &registry.account_id, access };
        return Ok(to_raw_value(&work(clients, caller, &task).await?)?);
    }
    // It works for no run, which would share the rate.
    clients.ecr.share_rate(1);
    let reports = match request::read(payload.get(), None, Instant::now(), PolicySource::parse)? {
        Asked::Answered(reports) => reports,
        Asked::Live(request) => {
            vec![
                live_preview::look_and_answer(&clients, &registry.account_id, &request, Instant::now())
                    .await?,
            ]
        }
    };
    let answer = match reports.as_slice() {
        [report] => to_raw_value(report),
        reports => to_raw_value(reports),
    }?;
    if answer.get().len() > MAX_ANSWER_BYTES {
        return Err(Failure::AnswerTooLarge(answer.get().len()));
    }
    for PreviewReport { repository_name, summary, .. } in &reports {
        tracing::info!(
            repository = repository_name.as_deref().unwrap_or_default(),
            expiring = summary.expiring_image_total_count,
            transitioning = summary.transitioning_image_total_count(),
            kept = summary.kept_image_total_count,
            "previewed a repository"
        );
    }
    Ok(answer)
}

async fn respond(
    event: &str,
    clients: &RunContext<'_>,
    registry: &Registry,
) -> shared::handlers::http::Response {
    let received = match gateway::Received::read(event) {
        Ok(received) => received,
        Err(problem) => return gateway::refused(problem),
    };
    let now = Instant::now();
    let asked = match previews::route(received.request(), now) {
        Ok(asked) => asked,
        Err(problem) => return gateway::refused(problem),
    };
    let served = clients.deadline.order(previews::serve(asked, clients, &registry.account_id, now)).await;
    served.unwrap_or_else(|_| Problem::new(Kind::Throttled, "AWS did not answer in time; try again").into())
}
