//! AWS: the only place that calls it. Pages are followed, batches filled, throttling waited for, failures named.
//!
//! | module | holds |
//! | --- | --- |
//! | [`error`] | what can go wrong with a call, in the terms of this project |
//! | [`deadline`] | stopping in time, with time left to put things in order |
//! | [`trouble`] | what the last attempt ran into, for when time runs out between two |
//! | `trust` | whose certificates count |
//! | [`ecr`] | Amazon ECR |
//! | `s3` | Amazon S3, with the feature `signed` |
//! | `codebuild`, `events`, `ssm` | what building images calls besides, with the feature `builds` |
//! | `ecs`, `functions`, `sns` | what previewing and enforcing calls besides, with the feature `lifecycle` |

use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ecr::config::{SharedAsyncSleep, SharedCredentialsProvider};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::HttpConnectorSettings;

#[cfg(feature = "builds")]
pub mod codebuild;
pub mod deadline;
pub mod ecr;
#[cfg(feature = "lifecycle")]
pub mod ecs;
pub mod error;
#[cfg(feature = "builds")]
pub mod events;
#[cfg(feature = "lifecycle")]
pub mod functions;
#[cfg(feature = "signed")]
pub mod s3;
#[cfg(feature = "signed")]
mod signed;
#[cfg(feature = "lifecycle")]
pub mod sns;
#[cfg(feature = "builds")]
pub mod ssm;
pub mod trouble;
mod trust;

pub use deadline::Deadline;
pub use error::{AwsError, Failure};

/// How long one attempt of a call may take. ECR answers in well under a second, a page of 1,000 images in two.
const ATTEMPT: Duration = Duration::from_secs(8);

/// So many attempts are made of a call, which take minutes. In a function the deadline is there before.
const ATTEMPTS: u32 = 50;

/// TLS by rustls with ring.
const TLS: Provider = Provider::Rustls(CryptoMode::Ring);

/// How AWS is reached: region, credentials, endpoints, retries.
#[derive(Debug, Clone)]
pub struct Connection {
    config: SdkConfig,
    trouble: trouble::Trouble,
}

impl Connection {
    /// The connection of a Lambda function: region, credentials and endpoints are in its environment, under the names
    /// that every AWS SDK knows. Nothing else is looked at, which is what makes this quick.
    #[must_use]
    pub fn of_function() -> Self {
        let is_on = |name: &str| variable(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(2))
            .operation_attempt_timeout(ATTEMPT)
            .build();
        let credentials = EnvironmentVariableCredentialsProvider::new();
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(TLS)
            .tls_context(trust::context())
            .build_https();
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .retry_config(retries())
            .timeout_config(timeouts)
            .use_fips(is_on("AWS_USE_FIPS_ENDPOINT"))
            .use_dual_stack(is_on("AWS_USE_DUALSTACK_ENDPOINT"));
        config.set_region(variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")).map(Region::new));
        Self { config: config.build(), trouble: trouble::Trouble::default() }
    }

    /// What the calls over this connection run into.
    #[must_use]
    pub const fn trouble(&self) -> &trouble::Trouble {
        &self.trouble
    }

    /// Amazon ECR over this connection.
    #[must_use]
    pub fn ecr(&self) -> ecr::Ecr {
        ecr::Ecr::new(&self.config, self.trouble.clone(), retries_at_once(), endpoint("ECR"))
    }

    /// AWS CodeBuild over this connection.
    #[cfg(feature = "builds")]
    #[must_use]
    pub fn codebuild(&self) -> codebuild::CodeBuild {
        codebuild::CodeBuild::new(&self.config, self.trouble.clone(), endpoint("CODEBUILD"))
    }

    /// Amazon EventBridge over this connection.
    #[cfg(feature = "builds")]
    #[must_use]
    pub fn events(&self) -> events::Events {
        events::Events::new(self.trouble.clone())
    }

    /// The Parameter Store over this connection.
    #[cfg(feature = "builds")]
    #[must_use]
    pub fn parameters(&self) -> ssm::Parameters {
        ssm::Parameters::new(self.trouble.clone())
    }

    /// Amazon S3.
    #[cfg(feature = "signed")]
    #[must_use]
    pub fn s3(&self) -> s3::S3 {
        s3::S3::new(self.trouble.clone())
    }
}

#[cfg(feature = "lifecycle")]
impl Connection {
    /// Amazon ECS over this connection.
    #[must_use]
    pub fn ecs(&self) -> ecs::Ecs {
        ecs::Ecs::new(self.trouble.clone())
    }

    /// AWS Lambda over this connection.
    #[must_use]
    pub fn functions(&self) -> functions::Functions {
        functions::Functions::new(self.trouble.clone())
    }

    /// Amazon SNS over this connection.
    #[must_use]
    pub fn sns(&self) -> sns::Sns {
        sns::Sns::new(self.trouble.clone())
    }
}

/// What sends requests that no client of the SDK makes.
pub(crate) fn connector() -> Connector {
    let settings = HttpConnectorSettings::builder()
        .connect_timeout(Duration::from_secs(2))
        .read_timeout(Duration::from_secs(5))
        .build();
    Connector::builder()
        .connector_settings(settings)
        .sleep_impl(TokioSleep::new())
        .tls_provider(TLS)
        .tls_context(trust::context())
        .build()
}

/// An endpoint that the environment sets for one service, or for all.
fn endpoint(service: &str) -> Option<String> {
    variable(&format!("AWS_ENDPOINT_URL_{service}")).or_else(|| variable("AWS_ENDPOINT_URL"))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Adaptive: the rate is lowered when AWS throttles.
fn retries() -> RetryConfig {
    patient(RetryConfig::adaptive())
}

/// For putting things in order at the end of an invocation: few calls, which must not wait behind a lowered rate.
fn retries_at_once() -> RetryConfig {
    patient(RetryConfig::standard())
}

fn patient(retries: RetryConfig) -> RetryConfig {
    retries
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(Duration::from_millis(200))
        .with_max_backoff(Duration::from_secs(4))
}
