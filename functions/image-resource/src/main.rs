//! Lambda function: the CloudFormation resource `Custom::EcrImage`.
//!
//! What it does is [`shared::domain::cloudformation`]'s; this file only carries the request there.

// The SDK's futures are nested deeper than the compiler follows by default.
#![recursion_limit = "256"]

use lambda_runtime::LambdaEvent;
use serde_json::value::RawValue;
use shared::aws::Connection;
use shared::domain::text::instant::Instant;
use shared::shell::custom_resource::Responder;
use shared::shell::function;
use shared::workflows::build_for_stack;
use shared::workflows::start_build::BuildStarter;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::shell::log::as_json();
    let stack = &shared::shell::environment::build_stack()?;
    let connection = &Connection::from_env();
    let (ecr, codebuild) = (&connection.ecr_write(), &connection.codebuild());
    let (functions, s3, parameters) = (&connection.functions(), &connection.s3(), &connection.parameters());
    let responder = &Responder::of_function();
    function::run(move |event: LambdaEvent<Box<RawValue>>| async move {
        let LambdaEvent { payload, context } = event;
        let request_id = &context.request_id;
        let served = responder.serve(
            payload.get(),
            &context.invoked_function_arn,
            context.deadline(),
            async |event, registry, deadline| {
                connection.retry_observer().reset();
                let starter =
                    BuildStarter { stack, registry, ecr, codebuild, functions, s3, deadline, request_id };
                build_for_stack::serve(event, &starter, parameters, Instant::now()).await
            },
        );
        served.await
    })
    .await
}
