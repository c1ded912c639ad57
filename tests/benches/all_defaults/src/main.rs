//! A function as the guides begin it: every default of the AWS SDK, one call to ECR.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let config = aws_config::load_from_env().await;
    let client = &aws_sdk_ecr::Client::new(&config);
    lambda_runtime::run(service_fn(move |_: LambdaEvent<Value>| async move {
        let answer = client.describe_repositories().send().await?;
        Ok::<_, Error>(json!({ "repositories": answer.repositories().len() }))
    }))
    .await
}
