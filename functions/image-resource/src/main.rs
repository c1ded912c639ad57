//! Lambda function: the CloudFormation resource `Custom::EcrImage`.
//!
//! What it does is [`shared::custom_resource`]'s; this file only carries the request there.

#![recursion_limit = "256"]

use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde_json::value::RawValue;
use shared::aws::Connection;
use shared::custom_resource::answering::Desk;
use shared::custom_resource::serve_image;
use shared::instant::Instant;
use shared::start::{Stack, Starter};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::log::as_json();
    let stack = &Stack::of_environment()?;
    let connection = &Connection::from_env();
    let (ecr, codebuild) = (&connection.ecr_write(), &connection.codebuild());
    let (functions, s3, parameters) = (&connection.functions(), &connection.s3(), &connection.parameters());
    let desk = &Desk::of_function();
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Box<RawValue>>| async move {
        let LambdaEvent { payload, context } = event;
        let request_id = &context.request_id;
        let served = desk.serve(
            payload.get(),
            &context.invoked_function_arn,
            context.deadline(),
            async |event, registry, deadline| {
                connection.trouble().forget();
                let starter =
                    Starter { stack, registry, ecr, codebuild, functions, s3, deadline, request_id };
                serve_image::serve(event, &starter, parameters, Instant::now()).await
            },
        );
        served.await.map_err(|error| Diagnostic {
            error_type: error.kind().to_owned(),
            error_message: error.to_string(),
        })
    }))
    .await
}
