//! What carries requests from the project's code into the world: no sockets, and as unreliable as the world wants it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use tests::ecr_stub::EcrStub;
use tests::http::{Request, Response};

use super::world::World;

/// A world that the project's code and the test look at in turns.
#[derive(Clone)]
pub(super) struct Shared {
    world: Arc<Mutex<World>>,
    /// Who looks.
    pub(super) actor: usize,
}

impl Shared {
    pub(super) fn new(world: World) -> Self {
        Self { world: Arc::new(Mutex::new(world)), actor: 0 }
    }

    /// The same world for somebody else who acts at the same time.
    pub(super) fn for_actor(&self, actor: usize) -> Self {
        Self { world: Arc::clone(&self.world), actor }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.look_at_the_clock();
        world.act_as(self.actor);
        world
    }
}

/// How a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallOutcome {
    Well,
    /// AWS refuses it, so.
    Refused(u16, &'static str),
    /// The connection breaks, before its effect or after.
    Lost {
        has_effect: bool,
    },
    /// It is never answered.
    Silent {
        has_effect: bool,
    },
    /// The function that makes it is killed.
    Dies {
        has_effect: bool,
    },
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl HttpConnector for Shared {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let wire = self.clone();
        HttpConnectorFuture::new(async move { wire.carry(&Request::from(&request)).await })
    }
}

impl Shared {
    async fn carry(&self, request: &Request) -> Result<HttpResponse, ConnectorError> {
        let (outcome, latency) = self.lock().receive(request);
        tokio::time::sleep(latency).await;
        let answer = {
            let mut world = self.lock();
            match outcome {
                CallOutcome::Well => Ok(Some(world.serve(request, true))),
                CallOutcome::Refused(status, code) if is_of_s3(request) => {
                    Ok(Some(refused_in_xml(status, code)))
                }
                CallOutcome::Refused(status, code) => Ok(Some(refused(status, code))),
                CallOutcome::Lost { has_effect }
                | CallOutcome::Silent { has_effect }
                | CallOutcome::Dies { has_effect } => {
                    if has_effect {
                        world.serve(request, false);
                    }
                    match outcome {
                        CallOutcome::Lost { .. } => Err(ConnectorError::io("the connection broke".into())),
                        CallOutcome::Silent { .. } => Ok(None),
                        _ => {
                            world.kill();
                            Ok(None)
                        }
                    }
                }
            }
        };
        match answer? {
            Some(answer) => written(answer),
            None => std::future::pending().await,
        }
    }
}

/// How long a call takes: mostly some milliseconds, sometimes seconds.
pub(super) fn latency(rng: &mut fastrand::Rng) -> Duration {
    let millis = if rng.u8(..64) == 0 { rng.u64(1000..6000) } else { rng.u64(5..120) };
    Duration::from_millis(millis)
}

fn written(response: Response) -> Result<HttpResponse, ConnectorError> {
    let status = response.status.try_into().map_err(|_| ConnectorError::user("no status".into()))?;
    let mut answer = HttpResponse::new(status, SdkBody::from(response.body));
    for (name, value) in response.headers {
        answer.headers_mut().insert(name.to_ascii_lowercase(), value);
    }
    Ok(answer)
}

fn refused(status: u16, code: &str) -> Response {
    let body = format!(r#"{{"__type":"{code}","message":"refused by the simulation"}}"#);
    let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amzn-errortype", code)];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Response { status, headers, body: body.into_bytes() }
}

/// Whether a request is one to S3, by the name of its operation.
fn is_of_s3(request: &Request) -> bool {
    EcrStub::operation(request).contains("Object")
}

/// The same as S3 tells it.
fn refused_in_xml(status: u16, code: &str) -> Response {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>refused by the simulation</Message></Error>"
    );
    let headers = vec![("content-type".to_owned(), "application/xml".to_owned())];
    Response { status, headers, body: body.into_bytes() }
}
