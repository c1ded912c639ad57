//! Lambda function: suspends attached policies that may not act any more: once an hour those with stale protection, all of the
//! policies file's when that is invalid, and all when the stack is deleted.
//!
//! [`shared::workflows::enforcement::suspend`] does the work; this file only distinguishes the three kinds of events.

// The SDK's futures are nested deeper than the compiler follows by default.
#![recursion_limit = "256"]

use std::io::Write as _;
use std::time::Duration;

use lambda_runtime::{Context, LambdaEvent};
use serde::Deserialize;
use serde_json::value::RawValue;
use shared::aws::Connection;
use shared::aws::ecr::EcrProtect;
use shared::domain::cloudformation::{Answer, Event as ResourceEvent, RequestType};
use shared::domain::enforcement::run::{Run, message_of_cause};
use shared::domain::enforcement::suspension::Cause;
use shared::domain::repository::{NotAnArn, Registry};
use shared::domain::text::quantity::count;
use shared::shell::custom_resource::{Responder, Unanswered};
use shared::shell::environment::set;
use shared::shell::function::{self, FunctionError, time_left};
use shared::workflows::enforcement::suspend::{self, Summary, metrics};
use shared::workflows::enforcement::{AwsClients, RunContext, RunError};

/// The fields that distinguish the kinds of events. Anything else is an event of the schedule.
#[derive(Deserialize)]
struct Shape<'a> {
    /// Only a request of CloudFormation has this.
    #[serde(borrow, rename = "RequestType")]
    request_type: Option<&'a RawValue>,
    /// Only the state machine's input has this.
    #[serde(borrow)]
    reason: Option<&'a RawValue>,
}

/// The state machine's input when the policies file is invalid.
#[derive(Deserialize)]
struct InvalidFile {
    run: Run,
    /// The cause of the inventory's error, as Step Functions reports it.
    reason: String,
}

/// Why not everything is suspended that has to be.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    RunError(#[from] RunError),
    #[error("time was up before all repositories were looked at; another invocation goes on")]
    OutOfTime,
    #[error("{}", failed(.0))]
    Repositories(Summary),
    #[error(transparent)]
    Arn(#[from] NotAnArn),
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    #[error("the event cannot be read, or the answer written: {0}")]
    Json(#[from] serde_json::Error),
}

fn failed(summary: &Summary) -> String {
    let first = summary.failures.iter().next().map(|(name, problem)| format!("{name}: {problem}"));
    let policies = count(summary.failed, "policy").replace("policys", "policies");
    format!(
        "{policies} could not be suspended, and may go on acting; the first: {}",
        first.unwrap_or_default()
    )
}

impl FunctionError for Failure {
    fn error_type(&self) -> &'static str {
        match self {
            Failure::RunError(error) => error.kind(),
            Failure::OutOfTime => "OutOfTime",
            Failure::Repositories(_) => "AwsFailed",
            Failure::Arn(_) | Failure::Json(_) => "Internal",
            Failure::Unanswered(unanswered) => unanswered.kind(),
        }
    }
}

/// The parts of the stack that this function needs.
struct Stack {
    name: String,
    maximum_age_in_hours: u32,
    ecr: EcrProtect,
    clients: AwsClients,
    responder: Responder,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::shell::log::as_json();
    let connection = Connection::from_env();
    let ecr = connection.ecr_protect();
    let clients = AwsClients::with_ecr(connection, (*ecr).clone(), set("BUCKET")?);
    let stack = &Stack {
        name: set("STACK_NAME")?,
        maximum_age_in_hours: set("PROTECTION_HOURS")?.parse()?,
        ecr,
        clients,
        responder: Responder::of_function(),
    };
    function::run(move |event: LambdaEvent<Box<RawValue>>| async move {
        let LambdaEvent { payload, context } = event;
        let served = serve(&payload, &context, stack).await;
        served.inspect_err(|error| tracing::error!(%error, "did not suspend everything that has to be"))
    })
    .await
}

async fn serve(payload: &RawValue, context: &Context, stack: &Stack) -> Result<Option<Summary>, Failure> {
    let (is_request, is_of_run) = serde_json::from_str::<Shape<'_>>(payload.get())
        .map_or((false, false), |fields| (fields.request_type.is_some(), fields.reason.is_some()));
    if is_request {
        serve_request(payload, context, stack).await?;
        return Ok(None);
    }
    let cause = if is_of_run {
        let InvalidFile { run, reason } = serde_json::from_str(payload.get())?;
        let problem = message_of_cause(&reason).unwrap_or(reason);
        tracing::warn!(run = run.run_id, problem, "the policies file is not valid");
        Cause::InvalidPoliciesFile { problem }
    } else {
        Cause::StaleProtection { maximum_age_in_hours: stack.maximum_age_in_hours }
    };
    let registry = Registry::of_arn(&context.invoked_function_arn)?;
    let left = time_left(context);
    run(stack, &stack.clients.clients(left), &registry, &cause).await.map(Some)
}

/// Suspends policies for a cause, and writes metrics.
async fn run(
    stack: &Stack,
    clients: &RunContext<'_>,
    registry: &Registry,
    cause: &Cause,
) -> Result<Summary, Failure> {
    let of_stack = suspend::Stack { name: &stack.name, registry };
    let summary = suspend::suspend(clients, &stack.ecr, of_stack, cause).await?;
    let mut out = std::io::stdout().lock();
    // A log that is not there is no reason not to go on.
    let _ = writeln!(out, "{}", metrics(&summary, cause, &stack.name, clients.now()));
    match summary {
        summary if !summary.is_complete => Err(Failure::OutOfTime),
        summary if summary.failed > 0 => Err(Failure::Repositories(summary)),
        summary => Ok(summary),
    }
}

/// Serves CloudFormation: when the resource is deleted, which is before the stack is, all policies of the stack are suspended.
async fn serve_request(payload: &RawValue, context: &Context, stack: &Stack) -> Result<(), Failure> {
    let mut out_of_time = None;
    let served = stack.responder.serve(
        payload.get(),
        &context.invoked_function_arn,
        context.deadline(),
        async |event, registry, deadline| {
            if event.request_type != RequestType::Delete {
                return Some(Answer::success(event, physical_id(event), [].into()));
            }
            // The deadline is the responder's: it reserves time for the answer.
            let clients = RunContext { deadline, ..stack.clients.clients(Duration::ZERO) };
            let cause = Cause::StackDeleted { stack_id: event.stack_id.clone() };
            match run(stack, &clients, registry, &cause).await {
                Ok(_) => Some(Answer::success(event, physical_id(event), [].into())),
                // Lambda retries the request, and CloudFormation waits.
                Err(failure @ (Failure::OutOfTime | Failure::RunError(RunError::Time(_)))) => {
                    out_of_time = Some(failure);
                    None
                }
                Err(failure) => {
                    tracing::error!(error = %failure, stack = event.stack_id, "did not suspend everything");
                    let reason = format!(
                        "{failure}; delete the stack again, or retain this resource: then ECR goes on deleting by these \
                         policies, and nothing protects what is in use"
                    );
                    Some(Answer::failed(event, physical_id(event), reason))
                }
            }
        },
    );
    served.await?;
    out_of_time.map_or(Ok(()), Err)
}

/// The constant physical id. Another one would mean that the resource was replaced, and CloudFormation would delete the previous
/// one.
fn physical_id(event: &ResourceEvent) -> String {
    event.physical_resource_id.clone().unwrap_or_else(|| "suspend-on-delete".to_owned())
}
