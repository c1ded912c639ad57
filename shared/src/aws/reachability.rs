//! Gives up on hosts that never answer, at a terminal: a person waits, and a mistyped Region is no outage.
//!
//! The SDK retries calls to any host for minutes. That is right for a function, whose deadline comes first. At a terminal a host
//! that never answered gets two attempts. After its first answer every call has as many attempts as in functions, so that a
//! command of hours survives a bad minute of the network. Throttling is an answer. An answer that is never complete is none.

use std::collections::BTreeMap;
use std::error::Error;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use http_body::{Body, Frame, SizeHint};

/// Attempts at a host that never answered.
const MAX_ATTEMPTS: u32 = 2;

/// The state of the hosts that requests were sent to.
#[derive(Debug, Clone, Default)]
pub(super) struct Hosts(Arc<Mutex<BTreeMap<String, State>>>);

#[derive(Debug, Clone, Default)]
struct State {
    has_answered: bool,
    failures: u32,
    /// The number of the last failure among those of all hosts, from 1; 0 before the first.
    failed_as: u64,
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

    /// The host that failed last, and why; `None` when none has.
    pub(super) fn last_failure(&self) -> Option<Unreachable> {
        let states = self.states();
        let (host, state) = states.iter().max_by_key(|(_, state)| state.failed_as)?;
        (state.failures > 0).then(|| Unreachable { host: host.clone(), cause: state.cause.clone() })
    }

    fn answered(&self, url: &str) {
        let mut states = self.states();
        let state = states.entry(host_of(url).to_owned()).or_default();
        state.has_answered = true;
    }

    fn failed(&self, url: &str, cause: String) {
        let mut states = self.states();
        let failed_as = 1 + states.values().map(|state| state.failed_as).max().unwrap_or_default();
        let state = states.entry(host_of(url).to_owned()).or_default();
        state.failed_as = failed_as;
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

/// An attempt in flight. One that is dropped without a whole answer timed out.
struct Attempt {
    hosts: Hosts,
    url: String,
    has_begun: bool,
    is_over: bool,
}

impl Attempt {
    fn answered(&mut self) {
        if !self.is_over {
            self.is_over = true;
            self.hosts.answered(&self.url);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.is_over {
            let cause = if self.has_begun {
                "the answer came too slowly to be whole in time"
            } else {
                "there was no answer in time"
            };
            self.hosts.failed(&self.url, cause.to_owned());
        }
    }
}

/// The body of an answer, which is one when the body has been read to its end.
struct Counted {
    body: SdkBody,
    attempt: Attempt,
}

impl Body for Counted {
    type Data = <SdkBody as Body>::Data;
    type Error = <SdkBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        // What has a length ends with its last byte, behind which nobody reads.
        if frame.is_none() || self.body.is_end_stream() {
            self.attempt.answered();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&self.body)
    }
}

impl HttpConnector for Counting {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let url = request.uri().to_owned();
        if let Some(unreachable) = self.hosts.given_up(&url) {
            return HttpConnectorFuture::ready(Err(ConnectorError::user(unreachable.into())));
        }
        let answer = self.inner.call(request);
        let mut attempt = Attempt { hosts: self.hosts.clone(), url, has_begun: false, is_over: false };
        HttpConnectorFuture::new(async move {
            let answered = answer.await;
            match answered {
                Ok(mut answer) => {
                    attempt.has_begun = true;
                    let body = std::mem::replace(answer.body_mut(), SdkBody::taken());
                    *answer.body_mut() = if body.is_end_stream() {
                        attempt.answered();
                        body
                    } else {
                        SdkBody::from_body_1_x(Counted { body, attempt })
                    };
                    Ok(answer)
                }
                Err(error) => {
                    attempt.is_over = true;
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

    /// An answer whose body has a beginning and no end.
    #[derive(Debug)]
    struct Dripping;

    impl Body for Dripping {
        type Data = bytes::Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<bytes::Bytes>, Self::Error>>> {
            Poll::Ready(Some(Ok(Frame::data(bytes::Bytes::from_static(b"x")))))
        }
    }

    impl HttpConnector for Dripping {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            let answer = HttpResponse::new(200.try_into().unwrap(), SdkBody::from_body_1_x(Self));
            HttpConnectorFuture::ready(Ok(answer))
        }
    }

    #[tokio::test]
    async fn a_host_whose_answers_are_never_whole_is_given_up() {
        let hosts = Hosts::default();
        let connector = hosts.counting(SharedHttpConnector::new(Dripping));
        for _ in 0..MAX_ATTEMPTS {
            assert_eq!(hosts.given_up("https://slow.test/"), None);
            let mut request = HttpRequest::new(SdkBody::empty());
            request.set_uri("https://slow.test/a").unwrap();
            let mut answer = connector.call(request).await.unwrap();
            let mut body = std::mem::replace(answer.body_mut(), SdkBody::taken());
            let first = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
            assert!(first.is_some_and(|frame| frame.is_ok()));
        }
        let given_up = hosts.given_up("https://slow.test/").unwrap().to_string();
        assert_eq!(given_up, "slow.test: the answer came too slowly to be whole in time");
        assert_eq!(hosts.last_failure().unwrap().to_string(), given_up);
    }

    #[tokio::test]
    async fn a_host_that_answered_once_is_never_given_up() {
        let refused = "Connection refused";
        let outcomes = outcomes(vec![false, true, false, false, false, true]).await;
        assert_eq!(outcomes, [refused, "answered", refused, refused, refused, "answered"]);
    }
}
