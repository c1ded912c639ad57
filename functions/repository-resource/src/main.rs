//! Lambda function: the CloudFormation resource `Custom::EcrRepository`.
//!
//! What it does is [`shared::domain::cloudformation`]'s; this file only carries the request there.

// The SDK's futures are nested deeper than the compiler follows by default.
#![recursion_limit = "256"]

use std::time::Duration;

use lambda_runtime::LambdaEvent;
use serde_json::value::RawValue;
use shared::aws::Connection;
use shared::domain::enforcement::actor::Actor;
use shared::domain::repository::permissions::Permissions;
use shared::handlers::cloudformation::repository::{self, Server};
use shared::shell::custom_resource::Responder;
use shared::shell::environment::set;
use shared::shell::function;
use shared::workflows::confirm_request::RequestConfirmer;
use shared::workflows::delete_images::ByHand;
use shared::workflows::enforcement::{AwsClients, RunContext};
use shared::workflows::protection_records::ProtectionRecords;
use shared::workflows::provision::{Provisioner, Requester};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::shell::log::as_json();
    let connection = Connection::from_env();
    let ecr = &connection.ecr_write();
    // Without a bucket nothing can be journaled, so that no images are deleted and no lifecycle policy is attached; everything
    // else works.
    let bucket = set("BUCKET").unwrap_or_else(|error| {
        tracing::error!(%error, "images cannot be deleted, and lifecycle policies not be attached");
        String::new()
    });
    // What is not set, or not valid, allows nothing.
    let parameter = |name| std::env::var(name).unwrap_or_default();
    let permissions = Permissions::parse(&parameter("ADOPT_PREFIXES"), &parameter("SHARE_WITH"));
    let permissions = &permissions.unwrap_or_else(|error| {
        tracing::error!(%error, "no repository is adopted, and none shared");
        Permissions::default()
    });
    let cloudformation = &connection.cloudformation();
    let confirmer = RequestConfirmer { cloudformation };
    let clients = &AwsClients::with_ecr(connection, (***ecr).clone(), bucket);
    let responder = &Responder::of_function();
    function::run(move |event: LambdaEvent<Box<RawValue>>| async move {
        let LambdaEvent { payload, context } = event;
        let request_id = &context.request_id;
        let served = responder.serve(
            payload.get(),
            &context.invoked_function_arn,
            context.deadline(),
            async |event, registry, deadline| {
                let by_hand = ByHand {
                    // The deadline is the responder's: it reserves time for the answer.
                    clients: RunContext { deadline, ..clients.clients(Duration::ZERO) },
                    ecr,
                    registry_id: &registry.account_id,
                    run_id: format!("stack-{request_id}"),
                    by: Actor::principal(&*event.stack_id),
                };
                let records = ProtectionRecords::in_bucket(by_hand.clients.s3, by_hand.clients.bucket);
                let requester = Some(Requester { run_id: by_hand.run_id.clone(), by: by_hand.by.clone() });
                let provisioner = Provisioner { ecr, registry, records, deadline, request_id, requester };
                Some(repository::serve(event, &Server { provisioner, by_hand, confirmer, permissions }).await)
            },
        );
        served.await
    })
    .await
}
