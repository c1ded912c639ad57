//! Amazon ECR in memory, behind its own protocol (AWS JSON 1.1) on a loopback port: exact where the emulator is not, and
//! with faults on demand. It shares no code with what it tests.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::aws_model;
use crate::clock;
use crate::cloud::{self, Cloud};
use crate::http::{self, Request, Response};

mod faults;
mod load;
mod operations;
mod registry;

pub use faults::Fault;
pub use operations::OPERATIONS;
pub use registry::{Image, Registry, Repository};

use faults::{PlannedFault, carry, faulty, in_rest, respond, without};
use load::{Fleet, Limit, Listing};

/// The account that the stub is.
pub const ACCOUNT: &str = "123456789012";
/// A KMS key that exists from the start.
pub const KEY: &str = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555";
/// The key that AWS manages for ECR.
pub const MANAGED_KEY: &str = "arn:aws:kms:eu-west-1:123456789012:key/00000000-aaaa-bbbb-cccc-dddddddddddd";

/// A running stub. A request that AWS would not take by its own models is answered with a 400, and fails the test when the stub is
/// dropped.
#[derive(Debug, Clone)]
pub struct EcrStub {
    /// Empty for one that listens nowhere.
    address: String,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    registry: Mutex<Registry>,
    cloud: Mutex<Cloud>,
    calls: Mutex<Vec<Call>>,
    faults: Mutex<Vec<PlannedFault>>,
    limit: Mutex<Option<Limit>>,
    fleet: Mutex<Fleet>,
    listing: Mutex<Listing>,
    is_counting: AtomicBool,
    takes_any_request: AtomicBool,
    violations: Mutex<Vec<String>>,
    counts: Mutex<BTreeMap<String, usize>>,
}

/// One call that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The operation.
    pub operation: String,
    /// The input of the call.
    pub request: Value,
    /// The status of the answer; 0 for none.
    pub status: u16,
}

#[expect(clippy::cast_precision_loss, reason = "a time of this century has 51 bits of microseconds")]
fn now() -> f64 {
    clock::micros() as f64 / 1e6
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EcrStub {
    /// Starts a stub with an empty registry.
    pub fn start() -> Self {
        let state = Arc::new(State::default());
        let served = Arc::clone(&state);
        let address = http::serve(move |request, stream| carry(served.answer(&request), stream));
        Self { address, state }
    }

    /// A stub with an empty registry and no port: [`Self::answer`] takes its requests.
    pub fn in_memory() -> Self {
        Self { address: String::new(), state: Arc::default() }
    }

    /// The answer to a request, as the network would carry it; `None` for none, ever.
    ///
    /// # Panics
    ///
    /// When AWS would not take the request by its own models.
    pub fn answer(&self, request: &Request) -> Option<Response> {
        let answer = self.state.answer(request);
        self.assert_valid();
        answer
    }

    /// Accepts requests that AWS's models forbid, for tests of the stub's own refusals.
    pub fn take_any_request(&self) {
        self.state.takes_any_request.store(true, Ordering::Relaxed);
    }

    /// Asserts that AWS's models allow all requests so far. Dropping the stub does so, too.
    ///
    /// # Panics
    ///
    /// If they do not, with all violations.
    pub fn assert_valid(&self) {
        let violations = lock(&self.state.violations);
        assert!(violations.is_empty(), "AWS would not take this:\n{}", violations.join("\n"));
    }

    /// The operation that a request asks for.
    pub fn operation(request: &Request) -> String {
        if let Some(operation) = cloud::sources::operation(request) {
            return operation;
        }
        match request.header("x-amz-target") {
            Some(target) => target.rsplit('.').next().unwrap_or_default().to_owned(),
            None => cloud::operation(request).to_owned(),
        }
    }

    /// The endpoint, for `AWS_ENDPOINT_URL_ECR`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Looks into the registry, or changes it.
    pub fn with<T>(&self, look: impl FnOnce(&mut Registry) -> T) -> T {
        look(&mut lock(&self.state.registry))
    }

    /// Looks into the services besides ECR, or changes them.
    pub fn cloud<T>(&self, look: impl FnOnce(&mut Cloud) -> T) -> T {
        look(&mut lock(&self.state.cloud))
    }

    /// A copy of everything that is in the registry.
    pub fn snapshot(&self) -> BTreeMap<String, Repository> {
        self.with(|registry| registry.repositories.clone())
    }

    /// Makes `times` calls of an operation go wrong; `*` is any operation.
    pub fn fault(&self, operation: &'static str, fault: Fault, times: usize) {
        let planned = PlannedFault { operation, fault, after: 0, left: Some(times), path: "" };
        lock(&self.state.faults).push(planned);
    }

    /// Makes all calls of an operation fail after `after` successful ones.
    pub fn fault_from(&self, operation: &'static str, fault: Fault, after: usize) {
        lock(&self.state.faults).push(PlannedFault { operation, fault, after, left: None, path: "" });
    }

    /// Makes all calls of an operation go wrong whose paths have this in them, as the keys of objects, or of ECR's the requests, as the
    /// names of repositories.
    pub fn fault_at(&self, operation: &'static str, path: &'static str, fault: Fault) {
        lock(&self.state.faults).push(PlannedFault { operation, fault, after: 0, left: None, path });
    }

    /// Removes all faults.
    pub fn heal(&self) {
        lock(&self.state.faults).clear();
    }

    /// The calls since the last time they were forgotten.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.state.calls).clone()
    }

    /// The names of the operations that were called and answered well.
    pub fn operations(&self) -> Vec<String> {
        self.calls().into_iter().filter(|call| call.status == 200).map(|call| call.operation).collect()
    }

    /// The number of calls of an operation.
    pub fn count(&self, operation: &str) -> usize {
        lock(&self.state.calls).iter().filter(|call| call.operation == operation).count()
    }

    /// Throttles each operation of ECR to this rate and burst.
    pub fn limit(&self, per_second: f64, burst: f64) {
        *lock(&self.state.limit) = Some(Limit { per_second, burst, left: BTreeMap::new(), throttled: 0 });
    }

    /// The number of throttled calls.
    pub fn throttled(&self) -> usize {
        lock(&self.state.limit).as_ref().map_or(0, |limit| limit.throttled)
    }

    /// Generates a registry of `repositories` repositories with `images` images each, named `fleet/00000` and so on, when they
    /// are requested. Only changed repositories are stored.
    pub fn generate(&self, repositories: usize, images: usize) {
        *lock(&self.state.fleet) = Fleet { repositories, images, at: now() };
    }

    /// Lists `repositories` repositories with `images` images each, at so little cost that benchmarks may serve very many of them.
    /// Each page takes as long as `pause`. There are no images to look at otherwise.
    pub fn list(&self, repositories: usize, images: usize, pause: Duration) {
        *lock(&self.state.fleet) = Fleet { repositories, images: 0, at: now() };
        *lock(&self.state.listing) = Listing { repositories, images, pause };
    }

    /// Throttles nothing any more.
    pub fn unlimited(&self) {
        *lock(&self.state.limit) = None;
    }

    /// Forgets how often operations were called.
    pub fn forget_counts(&self) {
        lock(&self.state.counts).clear();
    }

    /// Does not write calls down but counts them, for very many of them.
    pub fn only_count(&self) {
        self.state.is_counting.store(true, Ordering::Relaxed);
    }

    /// The number of calls of each operation, since counting began.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        lock(&self.state.counts).clone()
    }

    /// Forgets the calls.
    pub fn forget_calls(&self) {
        lock(&self.state.calls).clear();
    }
}

impl Drop for EcrStub {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.assert_valid();
        }
    }
}

/// The result of an operation, or the type and message of its error.
type Answered = Result<Value, (&'static str, String)>;

impl State {
    /// A page of a registry that is only listed.
    fn listed(&self, request: &Request) -> Option<Response> {
        let listing = *lock(&self.listing);
        let operation = Listing::operation(request).filter(|_| listing.repositories > 0)?;
        let is_allowed = lock(&self.limit).as_mut().is_none_or(|limit| limit.takes_one_more(operation));
        let page = match is_allowed {
            true => listing.page(operation, request)?,
            false => faulty(&Fault::Throttled, Response::default())?,
        };
        *lock(&self.counts).entry(operation.to_owned()).or_default() += 1;
        std::thread::sleep(listing.pause);
        Some(page)
    }

    fn answer(&self, request: &Request) -> Option<Response> {
        if let Some(page) = self.listed(request) {
            return Some(page);
        }
        if !self.takes_any_request.load(Ordering::Relaxed) {
            let violations = aws_model::violations(request);
            if !violations.is_empty() {
                let messages: Vec<String> = violations.iter().map(ToString::to_string).collect();
                let answer = respond(Err(("ValidationException", messages.join("; "))));
                lock(&self.violations).extend(messages);
                return Some(answer);
            }
        }
        let credential = request.header("authorization").and_then(|value| value.split_once("Credential="));
        if let Some((_, credential)) = credential {
            let mut parts = credential.split('/');
            let signed_by = (parts.next().unwrap_or_default(), parts.nth(1).unwrap_or_default());
            lock(&self.registry).signed_by = Some(format!("{}/{}", signed_by.0, signed_by.1));
        }
        let operation = EcrStub::operation(request);
        // One of several services that each tell what they use.
        let is_of_source = operation.contains(':') && operation != cloud::EKS_CLUSTERS;
        let asked: Value = match is_of_source {
            true => cloud::sources::asked(request),
            false => serde_json::from_slice(&request.body).unwrap_or_default(),
        };
        let is_ecr = OPERATIONS.contains(&&*operation);
        let is_throttled =
            is_ecr && lock(&self.limit).as_mut().is_some_and(|limit| !limit.takes_one_more(&operation));
        let asked_about = match is_ecr {
            true => String::from_utf8_lossy(&request.body),
            false => Cow::Borrowed(request.target.as_str()),
        };
        let fault = if is_throttled { Some(Fault::Throttled) } else { self.due(&operation, &asked_about) };
        let is_rest = cloud::REST.contains(&&*operation);
        let effect = || match is_rest {
            true => lock(&self.cloud).rest(&operation, request),
            false => respond(self.act(&operation, &asked, None)),
        };
        let asked_for = || match is_rest {
            true => cloud::parsed_request(&operation, request),
            false => asked.clone(),
        };
        let response = match fault {
            None => Some(effect()),
            Some(Fault::ForImages(text)) => Some(respond(self.act(&operation, &asked, Some(text)))),
            Some(Fault::Silent(text)) => {
                let answer = self.act(&operation, &asked, None);
                Some(respond(answer.map(|answer| without(answer, text))))
            }
            Some(Fault::Slow(pause)) => {
                std::thread::sleep(pause);
                Some(effect())
            }
            Some(Fault::Then(change)) => {
                let answer = effect();
                change(&mut lock(&self.registry), &mut lock(&self.cloud));
                Some(answer)
            }
            Some(Fault::AfterEffect(fault)) => {
                let answer = effect();
                faulty(&fault, answer)
            }
            Some(Fault::Cut) => Some(effect()).and_then(|answer| faulty(&Fault::Cut, answer)),
            Some(fault) if is_rest => {
                faulty(&fault, Response::default()).map(|answer| in_rest(&operation, &fault, answer))
            }
            Some(fault) => faulty(&fault, Response::default()),
        };
        let response = match is_of_source && request.header("x-amz-target").is_none() {
            true => response.map(cloud::sources::in_rest),
            false => response,
        };
        let status = response.as_ref().map_or(0, |response| response.status);
        if self.is_counting.load(Ordering::Relaxed) {
            *lock(&self.counts).entry(operation).or_default() += 1;
        } else {
            lock(&self.calls).push(Call { request: asked_for(), operation, status });
        }
        response
    }

    fn due(&self, operation: &str, path: &str) -> Option<Fault> {
        let mut faults = lock(&self.faults);
        for planned in faults.iter_mut() {
            if planned.operation != "*" && planned.operation != operation || !path.contains(planned.path) {
                continue;
            }
            if planned.after > 0 {
                planned.after -= 1;
                continue;
            }
            match &mut planned.left {
                Some(0) => continue,
                Some(left) => *left -= 1,
                None => {}
            }
            return Some(planned.fault.clone());
        }
        None
    }

    fn act(&self, operation: &str, asked: &Value, failing: Option<&str>) -> Answered {
        if cloud::is_known(operation) {
            return lock(&self.cloud).act(operation, asked);
        }
        let fleet = *lock(&self.fleet);
        let mut registry = lock(&self.registry);
        if operation == cloud::TAGGED_RESOURCES {
            return registry.tagged_resources(asked);
        }
        if fleet.repositories > 0 {
            return registry.act_with(fleet, operation, asked, failing);
        }
        registry.act(operation, asked, failing)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_request_that_aws_would_not_accept_is_refused_and_fails_the_test() {
        let stub = EcrStub::in_memory();
        let target = "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories";
        let request = Request {
            method: "POST".to_owned(),
            target: "/".to_owned(),
            headers: vec![("x-amz-target".to_owned(), target.to_owned())],
            body: b"{}".to_vec(),
        };
        let served = stub.state.answer(&request).unwrap();
        assert_eq!(served.status, 400);
        assert!(String::from_utf8(served.body).unwrap().contains("it has no signature"));
        assert_eq!(stub.calls(), [], "it has no effect");
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(stub.clone())));
        let messages = dropped.unwrap_err().downcast::<String>().unwrap();
        assert!(messages.contains("AWS would not take this"), "{messages}");
        lock(&stub.state.violations).clear();
    }
}
