//! Gives up on hosts that never answer, at a terminal: a person waits, and a mistyped Region is no outage.
//!
//! The SDK retries calls to any host for minutes. That is right for a function, whose deadline comes first. At a terminal a host
//! that never answered gets two attempts. After its first answer every call has as many attempts as in functions, so that a
//! command of hours survives a bad minute of the network. Throttling is an answer.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;

/// Attempts at a host that never answered.
const MAX_ATTEMPTS: u32 = 2;

/// The state of the hosts that requests were sent to.
#[derive(Debug, Clone, Default)]
pub(super) struct Hosts(Arc<Mutex<BTreeMap<String, State>>>);

#[derive(Debug, Clone, Default)]
struct State {
    has_answered: bool,
    failures: u32,
    cause: String,
}

/// Why a request is not sent, or not again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host}: {cause}")]
pub(super) struct Unreachable {
    host: String,
    cause: String,
}

impl Hosts {
    /// Why no more requests are sent to the host of a URL; `None` as long as they are.
    pub(super) fn given_up(&self, url: &str) -> Option<Unreachable> {
        let host = host_of(url);
        let states = self.states();
        let state = states.get(host)?;
        let is_given_up = !state.has_answered && state.failures >= MAX_ATTEMPTS;
        is_given_up.then(|| Unreachable { host: host.to_owned(), cause: state.cause.clone() })
    }

    /// A connector whose requests are counted here.
    pub(super) fn counting(&self, inner: SharedHttpConnector) -> SharedHttpConnector {
        SharedHttpConnector::new(Counting { inner, hosts: self.clone() })
    }

    fn answered(&self, url: &str) {
        let mut states = self.states();
        let state = states.entry(host_of(url).to_owned()).or_default();
        state.has_answered = true;
    }

    fn failed(&self, url: &str, cause: String) {
        let mut states = self.states();
        let state = states.entry(host_of(url).to_owned()).or_default();
        state.failures = state.failures.saturating_add(1);
        state.cause = cause;
    }

    fn states(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Counting {
    inner: SharedHttpConnector,
    hosts: Hosts,
}

/// An attempt in flight. One that is dropped without an answer timed out.
struct Attempt {
    hosts: Hosts,
    url: String,
    is_over: bool,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.is_over {
            self.hosts.failed(&self.url, "there was no answer in time".to_owned());
        }
    }
}

impl HttpConnector for Counting {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let url = request.uri().to_owned();
        if let Some(unreachable) = self.hosts.given_up(&url) {
            return HttpConnectorFuture::ready(Err(ConnectorError::user(unreachable.into())));
        }
        let answer = self.inner.call(request);
        let mut attempt = Attempt { hosts: self.hosts.clone(), url, is_over: false };
        HttpConnectorFuture::new(async move {
            let answered = answer.await;
            attempt.is_over = true;
            match answered {
                Ok(answer) => {
                    attempt.hosts.answered(&attempt.url);
                    Ok(answer)
                }
                Err(error) => {
                    attempt.hosts.failed(&attempt.url, cause_of(&error));
                    // An error of the user's is not tried again.
                    Err(match attempt.hosts.given_up(&attempt.url) {
                        Some(unreachable) => ConnectorError::user(unreachable.into()),
                        None => error,
                    })
                }
            }
        })
    }
}

/// The host of a URL, with its port if it has one.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or(rest)
}

/// The root cause of an error, in the words of the operating system.
pub(super) fn cause_of(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        if let Some(unreachable) = cause.downcast_ref::<Unreachable>() {
            return unreachable.to_string();
        }
        cause = source;
    }
    match cause.to_string() {
        text if text.is_empty() => "the connection failed".to_owned(),
        text => text,
    }
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
    use aws_smithy_types::body::SdkBody;

    use super::*;

    #[derive(Debug)]
    struct Flaky(Mutex<Vec<bool>>);

    impl HttpConnector for Flaky {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            let is_well = self.0.lock().unwrap().pop().unwrap();
            HttpConnectorFuture::ready(if is_well {
                Ok(HttpResponse::new(503.try_into().unwrap(), SdkBody::empty()))
            } else {
                Err(ConnectorError::io("Connection refused".into()))
            })
        }
    }

    async fn outcomes(mut plan: Vec<bool>) -> Vec<String> {
        plan.reverse();
        let calls = plan.len();
        let connector = Hosts::default().counting(SharedHttpConnector::new(Flaky(Mutex::new(plan))));
        let mut outcomes = Vec::new();
        for _ in 0..calls {
            let mut request = HttpRequest::new(SdkBody::empty());
            request.set_uri("https://ecr.eu-wset-1.amazonaws.com/a?b").unwrap();
            outcomes.push(match connector.call(request).await {
                Ok(_) => "answered".to_owned(),
                Err(error) if error.is_user() => format!("given up: {}", cause_of(&error)),
                Err(error) => cause_of(&error),
            });
        }
        outcomes
    }

    #[tokio::test]
    async fn a_host_that_never_answered_is_given_up_at_the_second_attempt() {
        let given_up = "given up: ecr.eu-wset-1.amazonaws.com: Connection refused";
        assert_eq!(outcomes(vec![false, false, true]).await, ["Connection refused", given_up, given_up]);
    }

    #[tokio::test]
    async fn a_host_that_answered_once_is_never_given_up() {
        let refused = "Connection refused";
        let outcomes = outcomes(vec![false, true, false, false, false, true]).await;
        assert_eq!(outcomes, [refused, "answered", refused, refused, refused, "answered"]);
    }
}
