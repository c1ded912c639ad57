//! The least that a Lambda function can be: the floor that `benches/cold_start.rs` compares functions with.

use lambda_runtime::{Error, LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(|event: LambdaEvent<String>| async move { Ok::<_, Error>(event.payload) }))
        .await
}
