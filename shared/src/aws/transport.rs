//! The transport of requests to AWS: connector, clock, credentials, Region, endpoint. A function takes them from its environment.
//! A simulation passes its own, and then nothing here opens a socket or reads a clock.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[cfg(feature = "signed")]
use aws_sdk_ecr::config::ProvideCredentials;
use aws_sdk_ecr::config::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::TimeSource;
use aws_smithy_http_client::Connector;
use aws_smithy_runtime_api::client::http::{HttpConnectorSettings, SharedHttpConnector};

use super::endpoint::Place;
use super::rate_limit::REQUESTS_PER_SECOND;
use super::reachability::Hosts;
use super::{TLS, is_on, trust, variable};
use crate::domain::text::instant::Instant;

/// Access keys that requests are signed with.
#[derive(Clone)]
pub struct AccessKeys {
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: String,
    /// `AWS_SESSION_TOKEN`; temporary credentials have one.
    pub session_token: Option<String>,
}

impl fmt::Debug for AccessKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKeys").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// A clock.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Instant + Send + Sync>);

impl Clock {
    /// The clock of this machine.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Instant::now))
    }

    /// A clock that the caller moves.
    #[must_use]
    pub fn of(present: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        Self(Arc::new(present))
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Instant {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        let micros = u64::try_from(Self::now(self).micros()).unwrap_or_default();
        UNIX_EPOCH + Duration::from_micros(micros)
    }
}

/// The source of the credentials that sign requests.
#[derive(Debug, Clone)]
enum Keys {
    /// The environment, which is read anew for each request.
    Environment,
    /// Fixed keys.
    Fixed(AccessKeys),
    /// A credentials provider, which refreshes them before they expire.
    Provider(SharedCredentialsProvider),
}

/// Gives the endpoint that is configured for a service.
type FindsEndpoint = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Finds the endpoint that is configured for a service, by the name of the service in `AWS_ENDPOINT_URL_…`.
#[derive(Clone)]
pub struct ConfiguredEndpoints(Arc<FindsEndpoint>);

impl ConfiguredEndpoints {
    /// Endpoints as this function finds them.
    pub fn new(find: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(find))
    }
}

impl fmt::Debug for ConfiguredEndpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConfiguredEndpoints")
    }
}

/// The transport of requests to AWS.
#[derive(Debug, Clone)]
pub struct Transport {
    pub(super) region: String,
    pub(super) clock: Clock,
    keys: Keys,
    /// The endpoint of every service, instead of those in the environment.
    endpoint: Option<String>,
    /// Where a person's files and environment have the endpoints of services; `None` in functions, which have the environment alone.
    configured: Option<ConfiguredEndpoints>,
    /// Counts attempts at hosts that never answered; `None` in functions, which have a deadline.
    hosts: Option<Hosts>,
    use_fips: bool,
    use_dual_stack: bool,
    /// Made for the first request, which a cold start need not wait for.
    connector: Arc<OnceLock<SharedHttpConnector>>,
    /// Whether requests are sent over the network.
    is_network: bool,
    /// Initial rate of each operation of ECR, in calls a second.
    requests_per_second: f64,
}

impl Transport {
    /// The transport of a Lambda function or a command: region, credentials and endpoints are in the environment, under the
    /// names that every AWS SDK knows.
    #[must_use]
    pub fn from_env() -> Self {
        let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")).unwrap_or_default();
        Self {
            region,
            clock: Clock::system(),
            keys: Keys::Environment,
            endpoint: None,
            configured: None,
            hosts: None,
            use_fips: is_on("AWS_USE_FIPS_ENDPOINT"),
            use_dual_stack: is_on("AWS_USE_DUALSTACK_ENDPOINT"),
            connector: Arc::new(OnceLock::new()),
            is_network: true,
            requests_per_second: requests_per_second(),
        }
    }

    /// The transport of a terminal: the user's credentials, and giving up on hosts that do not answer two attempts. The endpoint
    /// replaces those of all services; without one, those of the environment count.
    #[must_use]
    pub fn of_terminal(region: &str, endpoint: Option<&str>, credentials: SharedCredentialsProvider) -> Self {
        Self {
            region: region.to_owned(),
            keys: Keys::Provider(credentials),
            endpoint: endpoint.map(|url| url.trim_end_matches('/').to_owned()),
            hosts: Some(Hosts::default()),
            ..Self::from_env()
        }
    }

    /// The same transport with the endpoints of services as a person has them configured, in the environment and in files.
    #[must_use]
    pub fn with_endpoints(self, configured: ConfiguredEndpoints) -> Self {
        Self { configured: Some(configured), ..self }
    }

    /// A transport over the given connector and clock: no sockets, no environment.
    #[must_use]
    pub fn over(
        connector: SharedHttpConnector,
        clock: Clock,
        keys: AccessKeys,
        region: &str,
        endpoint: &str,
    ) -> Self {
        Self {
            region: region.to_owned(),
            clock,
            keys: Keys::Fixed(keys),
            endpoint: Some(endpoint.trim_end_matches('/').to_owned()),
            configured: None,
            hosts: None,
            use_fips: false,
            use_dual_stack: false,
            connector: Arc::new(OnceLock::from(connector)),
            is_network: false,
            requests_per_second: REQUESTS_PER_SECOND,
        }
    }

    /// The same transport to AWS's own endpoints of these kinds.
    #[cfg(test)]
    pub(super) fn at_aws(self, use_fips: bool, use_dual_stack: bool) -> Self {
        Self { endpoint: None, use_fips, use_dual_stack, ..self }
    }

    /// The same transport as a terminal's: without a deadline, and so with a timeout of its own for each call.
    #[cfg(test)]
    pub(super) fn at_a_terminal(self) -> Self {
        Self { hosts: Some(Hosts::default()), ..self }
    }

    /// The Region's partition and the kind of its endpoints.
    pub(super) fn place(&self) -> Place<'_> {
        let Self { region, use_fips, use_dual_stack, .. } = self;
        Place { region, use_fips: *use_fips, use_dual_stack: *use_dual_stack }
    }

    /// Whether requests are sent over the network, by the connector of this machine.
    pub(super) const fn is_network(&self) -> bool {
        self.is_network
    }

    /// Calls a second of each operation of ECR to begin with.
    pub(super) const fn requests_per_second(&self) -> f64 {
        self.requests_per_second
    }

    /// The retry partition: clients of one partition share their throttling. `None` is the process's.
    pub(super) fn retry_partition(&self) -> Option<String> {
        // The SDK keeps what it learnt for as long as the process lives; one simulated world must not know of another.
        static WORLDS: AtomicU64 = AtomicU64::new(0);
        (!self.is_network).then(|| format!("world-{}", WORLDS.fetch_add(1, Ordering::Relaxed)))
    }

    /// The endpoint of a service that is not AWS's own, by the name of the service in `AWS_ENDPOINT_URL_…`.
    pub(super) fn endpoint(&self, service: &str) -> Option<String> {
        let configured = || match &self.configured {
            Some(configured) => (configured.0)(service),
            None => variable(&format!("AWS_ENDPOINT_URL_{service}")).or_else(|| variable("AWS_ENDPOINT_URL")),
        };
        self.endpoint.clone().or_else(configured)
    }

    /// The fixed keys, or those of the environment.
    pub(super) fn fixed_keys(&self) -> AccessKeys {
        match &self.keys {
            Keys::Fixed(keys) => keys.clone(),
            Keys::Environment | Keys::Provider(_) => AccessKeys {
                access_key_id: variable("AWS_ACCESS_KEY_ID").unwrap_or_default(),
                secret_access_key: variable("AWS_SECRET_ACCESS_KEY").unwrap_or_default(),
                session_token: variable("AWS_SESSION_TOKEN"),
            },
        }
    }

    /// The user's credentials provider, if credentials do not come from the environment.
    pub(super) const fn credentials(&self) -> Option<&SharedCredentialsProvider> {
        match &self.keys {
            Keys::Provider(provider) => Some(provider),
            Keys::Environment | Keys::Fixed(_) => None,
        }
    }

    /// The keys to sign the next request with.
    ///
    /// # Errors
    ///
    /// When a person's credentials expired and cannot be refreshed.
    #[cfg(feature = "signed")]
    pub(super) async fn keys(&self) -> Result<AccessKeys, String> {
        let Keys::Provider(provider) = &self.keys else { return Ok(self.fixed_keys()) };
        let found =
            provider.provide_credentials().await.map_err(|error| super::reachability::cause_of(&error))?;
        Ok(AccessKeys {
            access_key_id: found.access_key_id().to_owned(),
            secret_access_key: found.secret_access_key().to_owned(),
            session_token: found.session_token().map(str::to_owned),
        })
    }

    /// The counter of attempts at hosts that never answered.
    pub(super) const fn hosts(&self) -> Option<&Hosts> {
        self.hosts.as_ref()
    }

    /// Timeout of a call with all its attempts; `None` in functions, where the deadline comes first.
    pub(super) const fn operation_timeout(&self) -> Option<Duration> {
        if self.hosts.is_some() { Some(super::OPERATION) } else { None }
    }

    /// Whether no more requests are sent to the host of a URL.
    #[cfg(feature = "signed")]
    pub(super) fn has_given_up(&self, url: &str) -> bool {
        self.hosts.as_ref().is_some_and(|hosts| hosts.given_up(url).is_some())
    }

    /// The connector for requests without a client of the SDK.
    pub(crate) fn connector(&self) -> &SharedHttpConnector {
        self.connector.get_or_init(|| {
            let settings = HttpConnectorSettings::builder()
                .connect_timeout(Duration::from_secs(2))
                .read_timeout(Duration::from_secs(5))
                .build();
            let connector = Connector::builder()
                .connector_settings(settings)
                .sleep_impl(TokioSleep::new())
                .tls_provider(TLS)
                .tls_context(trust::context(&self.region))
                .build();
            let connector = SharedHttpConnector::new(connector);
            match &self.hosts {
                Some(hosts) => hosts.counting(connector),
                None => connector,
            }
        })
    }
}

/// The rate of the environment (`ECR_REQUESTS_PER_SECOND`).
fn requests_per_second() -> f64 {
    let Some(text) = variable("ECR_REQUESTS_PER_SECOND") else { return REQUESTS_PER_SECOND };
    text.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate > 0.0).unwrap_or_else(|| {
        tracing::warn!(
            text,
            "ECR_REQUESTS_PER_SECOND is not a number above 0: calls begin at {REQUESTS_PER_SECOND} a second"
        );
        REQUESTS_PER_SECOND
    })
}
