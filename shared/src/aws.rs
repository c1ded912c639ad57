//! AWS: the only place that calls it. Pages are followed, batches filled, throttling waited for, failures named.
//!
//! | module | holds |
//! | --- | --- |
//! | [`error`] | what can go wrong with a call, in the terms of this project |
//! | [`deadline`] | stopping in time, with time left to put things in order |
//! | [`trouble`] | what the last attempt ran into, for when time runs out between two |
//! | [`ecr`] | Amazon ECR |

use std::time::Duration;

use aws_config::environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider};
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

pub mod deadline;
pub mod ecr;
pub mod error;
pub mod trouble;

pub use deadline::Deadline;
pub use error::{AwsError, Failure};

/// How long one attempt of a call may take. ECR answers in well under a second, a page of 1,000 images in two.
const ATTEMPT: Duration = Duration::from_secs(8);

/// TLS by rustls with ring.
pub(crate) const TLS: Provider = Provider::Rustls(CryptoMode::Ring);

/// How AWS is reached: region, credentials, endpoints, retries.
#[derive(Debug, Clone)]
pub struct Connection {
    config: SdkConfig,
}

impl Connection {
    /// The connection of a Lambda function: region and credentials are in its environment.
    ///
    /// `AWS_ENDPOINT_URL` and its forms for one service are respected.
    pub async fn of_function() -> Self {
        let http = aws_smithy_http_client::Builder::new().tls_provider(TLS).build_https();
        let config = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .credentials_provider(EnvironmentVariableCredentialsProvider::new())
            .region(EnvironmentVariableRegionProvider::new())
            .retry_config(retries())
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(2))
                    .operation_attempt_timeout(ATTEMPT)
                    .build(),
            )
            .load()
            .await;
        Self { config }
    }

    /// Amazon ECR over this connection.
    #[must_use]
    pub fn ecr(&self) -> ecr::Ecr {
        ecr::Ecr::new(&self.config)
    }
}

/// Adaptive: the rate is lowered when AWS throttles. The number of attempts is no limit, the deadline is.
fn retries() -> RetryConfig {
    RetryConfig::adaptive()
        .with_max_attempts(50)
        .with_initial_backoff(Duration::from_millis(200))
        .with_max_backoff(Duration::from_secs(4))
}
