//! Calls to AWS; no other module calls it. Pagination, batches, throttling and retries are handled here, and failures get a type.
//!
//! | module | contains |
//! | --- | --- |
//! | [`error`] | the errors of calls |
//! | [`deadline`] | stopping in time, with time left for a rollback |
//! | [`retry_observer`] | the last retryable error of a call, for timeouts |
//! | [`transport`] | connector, clock, credentials, Region and endpoint |
//! | `endpoint` | the endpoints of services that are called without a client of the SDK |
//! | `trust` | the trusted root certificates |
//! | [`ecr`] | Amazon ECR |
//! | `s3` | Amazon S3, with the feature `signed` |
//! | `reachability` | giving up on hosts that never answer, at a terminal |
//! | `http_api`, `sts` | the stack's own HTTP API, and the caller's identity, with the feature `signed` |
//! | `codebuild`, `eventbridge`, `ssm` | other services for building images, with the feature `builds` |
//! | `cloudformation`, `ecs`, `eks`, `lambda`, `registry`, `resource_tags`, `sns` | other services for previewing and enforcing, with the feature `lifecycle` |
//! | [`usage_sources`] | the usage sources that are read as a whole: `agentcore`, `apprunner`, `batch`, `codebuild_projects`, `emr_serverless`, `event_rules`, `inspector`, `pipes`, `sagemaker`, `scheduler`, `stacks`, `step_functions`, by `json_api` |
//! | `region_services` | the services that a Region lacks |

use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ecr::config::{SharedAsyncSleep, SharedCredentialsProvider};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::{HttpClient, SharedHttpClient, http_client_fn};

#[cfg(feature = "lifecycle")]
mod agentcore;
#[cfg(feature = "lifecycle")]
mod apprunner;
#[cfg(feature = "lifecycle")]
mod batch;
#[cfg(feature = "lifecycle")]
pub mod cloudformation;
#[cfg(feature = "builds")]
pub mod codebuild;
#[cfg(feature = "lifecycle")]
mod codebuild_projects;
pub mod deadline;
pub mod ecr;
#[cfg(feature = "lifecycle")]
pub mod ecs;
#[cfg(feature = "lifecycle")]
pub mod eks;
#[cfg(feature = "lifecycle")]
mod emr_serverless;
mod endpoint;
pub mod error;
#[cfg(feature = "lifecycle")]
mod event_rules;
#[cfg(feature = "builds")]
pub mod eventbridge;
#[cfg(feature = "signed")]
pub mod http_api;
#[cfg(feature = "lifecycle")]
mod inspector;
#[cfg(feature = "lifecycle")]
mod json_api;
#[cfg(feature = "signed")]
pub mod lambda;
#[cfg(feature = "builds")]
pub mod logs;
#[cfg(feature = "lifecycle")]
mod named_revisions;
pub mod pages;
#[cfg(feature = "lifecycle")]
mod pipes;
mod rate_limit;
mod reachability;
#[cfg(feature = "lifecycle")]
mod region_services;
#[cfg(feature = "lifecycle")]
pub mod registry;
#[cfg(feature = "lifecycle")]
pub mod resource_tags;
pub mod response_url;
pub mod retry_observer;
#[cfg(feature = "signed")]
pub mod s3;
#[cfg(feature = "lifecycle")]
mod sagemaker;
#[cfg(feature = "lifecycle")]
mod scheduler;
#[cfg(feature = "signed")]
mod sigv4;
#[cfg(feature = "signed")]
pub mod sns;
#[cfg(feature = "signed")]
pub mod sqs;
#[cfg(feature = "builds")]
pub mod ssm;
#[cfg(feature = "lifecycle")]
mod stacks;
#[cfg(feature = "lifecycle")]
mod step_functions;
#[cfg(feature = "signed")]
pub mod sts;
#[cfg(test)]
#[cfg(all(feature = "builds", feature = "lifecycle"))]
mod tests;
pub mod transport;
mod trust;
#[cfg(feature = "lifecycle")]
pub mod usage_sources;
mod xml;

pub use deadline::Deadline;
pub use error::{AwsError, Failure};
pub use transport::{AccessKeys, Clock, ConfiguredEndpoints, Transport};

/// Timeout of one attempt of a call. ECR answers in well under a second, with a page of 1,000 images in two.
const ATTEMPT: Duration = Duration::from_secs(8);

/// Timeout of a call with all its attempts at a terminal. A minute in which nothing gets through is survived; a server that answers
/// every attempt a byte at a time is not.
const OPERATION: Duration = Duration::from_secs(180);

/// Maximum number of attempts of a call, which take minutes. In a function the deadline comes first.
const ATTEMPTS: u32 = 50;

/// TLS by rustls with ring.
const TLS: Provider = Provider::Rustls(CryptoMode::Ring);

/// A connection to AWS: Region, credentials, endpoints, retries.
#[derive(Debug, Clone)]
pub struct Connection {
    config: SdkConfig,
    transport: Transport,
    retry_observer: retry_observer::RetryObserver,
    /// The account of the registry that is read, if it is not the caller's own.
    registry_id: Option<String>,
}

impl Connection {
    /// The connection of a Lambda function or a command, from its environment alone. Looking nowhere else keeps the start fast.
    #[must_use]
    pub fn from_env() -> Self {
        Self::over(Transport::from_env())
    }

    /// A connection over a transport.
    #[must_use]
    pub fn over(transport: Transport) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(2))
            .operation_attempt_timeout(ATTEMPT);
        let timeouts = match transport.operation_timeout() {
            Some(timeout) => timeouts.operation_timeout(timeout),
            None => timeouts,
        }
        .build();
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
            .region(Some(transport.region.clone()).filter(|region| !region.is_empty()).map(Region::new))
            .use_fips(transport.place().use_fips)
            .use_dual_stack(transport.place().use_dual_stack)
            .retry_config(retries())
            .timeout_config(timeouts);
        let config = if transport.is_network() {
            let http = http_client(&transport.region);
            let credentials = transport.credentials().cloned().unwrap_or_else(|| {
                SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new())
            });
            let config = config.credentials_provider(credentials);
            match transport.hosts().cloned() {
                None => config.http_client(http),
                Some(hosts) => config.http_client(http_client_fn(move |settings, components| {
                    hosts.counting(http.http_connector(settings, components))
                })),
            }
        } else {
            let connector = transport.connector().clone();
            let AccessKeys { access_key_id, secret_access_key, session_token } = transport.fixed_keys();
            let keys = aws_sdk_ecr::config::Credentials::new(
                access_key_id,
                secret_access_key,
                session_token,
                None,
                "transport",
            );
            config
                .http_client(http_client_fn(move |_, _| connector.clone()))
                .credentials_provider(SharedCredentialsProvider::new(keys))
                .time_source(transport.clock.clone())
        };
        Self {
            config: config.build(),
            transport,
            retry_observer: retry_observer::RetryObserver::default(),
            registry_id: None,
        }
    }

    /// The same connection, reading another account's registry. Changes are still made in the caller's own.
    #[must_use]
    pub fn of_registry(mut self, registry_id: Option<String>) -> Self {
        self.registry_id = registry_id;
        self
    }

    /// The Region.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.transport.region
    }

    /// Calls of each operation of ECR in a second to begin with, of all functions that work at the same time together.
    #[must_use]
    pub const fn requests_per_second(&self) -> f64 {
        self.transport.requests_per_second()
    }

    /// The clock by which requests are signed and ages counted.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.transport.clock
    }

    /// At a terminal, the host that failed last and why, as `HOST: CAUSE`.
    #[must_use]
    pub fn last_unanswered(&self) -> Option<String> {
        self.transport.hosts()?.last_failure().map(|failure| failure.to_string())
    }

    /// The observer of retryable errors on this connection.
    #[must_use]
    pub const fn retry_observer(&self) -> &retry_observer::RetryObserver {
        &self.retry_observer
    }

    /// Amazon ECR for reading.
    #[must_use]
    pub fn ecr_read(&self) -> ecr::EcrRead {
        ecr::EcrRead::new(self)
    }

    /// Amazon ECR for reading and protecting: tags are added, policies suspended.
    #[must_use]
    pub fn ecr_protect(&self) -> ecr::EcrProtect {
        ecr::EcrProtect::new(self.ecr_read())
    }

    /// Amazon ECR over this connection, to be changed.
    #[must_use]
    pub fn ecr_write(&self) -> ecr::EcrWrite {
        ecr::EcrWrite::new(self.ecr_protect())
    }

    /// AWS CodeBuild over this connection.
    #[cfg(feature = "builds")]
    #[must_use]
    pub fn codebuild(&self) -> codebuild::CodeBuild {
        codebuild::CodeBuild::new(
            &self.config,
            self.retry_observer.clone(),
            self.transport.endpoint("CODEBUILD"),
        )
    }

    /// An HTTP API of Amazon API Gateway at an endpoint, with requests signed for it.
    #[cfg(feature = "signed")]
    #[must_use]
    pub fn http_api(&self, endpoint: &str) -> http_api::HttpApi {
        http_api::HttpApi::new(self, endpoint)
    }

    /// AWS STS over this connection.
    #[cfg(feature = "signed")]
    #[must_use]
    pub fn sts(&self) -> sts::Sts {
        sts::Sts::new(self)
    }

    /// Amazon EventBridge over this connection.
    #[cfg(feature = "builds")]
    #[must_use]
    pub fn events(&self) -> eventbridge::EventBridge {
        eventbridge::EventBridge::new(self)
    }

    /// The Parameter Store over this connection.
    #[cfg(feature = "builds")]
    #[must_use]
    pub fn parameters(&self) -> ssm::Parameters {
        ssm::Parameters::new(self)
    }

    /// Amazon SQS over this connection.
    #[cfg(feature = "signed")]
    #[must_use]
    pub fn sqs(&self) -> sqs::Sqs {
        sqs::Sqs::new(self)
    }

    /// Amazon CloudWatch Logs over this connection.
    #[cfg(feature = "builds")]
    #[must_use]
    pub fn logs(&self) -> logs::Logs {
        logs::Logs::new(self)
    }

    /// Amazon S3.
    #[cfg(feature = "signed")]
    #[must_use]
    pub fn s3(&self) -> s3::S3 {
        s3::S3::new(self)
    }

    /// Amazon S3, for buckets of another Region.
    #[cfg(feature = "signed")]
    #[must_use]
    pub fn s3_in(&self, region: &str) -> s3::S3 {
        s3::S3::of_region(self, region)
    }

    /// AWS Lambda over this connection.
    #[cfg(feature = "signed")]
    #[must_use]
    pub fn functions(&self) -> lambda::Lambda {
        lambda::Lambda::new(self)
    }

    /// Amazon SNS over this connection.
    #[cfg(feature = "signed")]
    #[must_use]
    pub fn sns(&self) -> sns::Sns {
        sns::Sns::new(self)
    }
}

#[cfg(feature = "lifecycle")]
impl Connection {
    /// AWS CloudFormation over this connection.
    #[must_use]
    pub fn cloudformation(&self) -> cloudformation::CloudFormation {
        cloudformation::CloudFormation::new(self)
    }

    /// Amazon ECS over this connection.
    #[must_use]
    pub fn ecs(&self) -> ecs::Ecs {
        ecs::Ecs::new(self)
    }

    /// Amazon EKS over this connection.
    #[must_use]
    pub fn eks(&self) -> eks::Eks {
        eks::Eks::new(self)
    }

    /// The settings of the registry over this connection.
    #[must_use]
    pub fn registry(&self) -> registry::Registry {
        registry::Registry::new(self)
    }

    /// The resource tags of repositories over this connection.
    #[must_use]
    pub fn resource_tags(&self) -> resource_tags::ResourceTags {
        resource_tags::ResourceTags::new(self)
    }
}

/// The HTTPS client of this project, for calls in a Region. Credential providers use it, too.
#[must_use]
pub fn http_client(region: &str) -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(TLS).tls_context(trust::context(region)).build_https()
}

/// Whether an environment variable is true, as the SDK reads it.
fn is_on(name: &str) -> bool {
    variable(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Adaptive: the rate is lowered when AWS throttles.
fn retries() -> RetryConfig {
    patient(RetryConfig::adaptive())
}

/// Retries without a rate limit: for calls to S3, and for the few calls of a rollback at the end of an invocation.
fn retries_at_once() -> RetryConfig {
    patient(RetryConfig::standard())
}

fn patient(retries: RetryConfig) -> RetryConfig {
    retries
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(Duration::from_millis(200))
        .with_max_backoff(Duration::from_secs(4))
}
