//! Amazon ECR in memory, behind its own protocol (AWS JSON 1.1) on a loopback port: exact where the emulator is not, and
//! with faults on demand. It shares no code with what it tests.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::aws_model;
use crate::clock;
use crate::cloud::{self, Cloud};
use crate::http::{self, Request, Response};

/// The account that the stub is.
pub const ACCOUNT: &str = "123456789012";
/// A KMS key that exists from the start.
pub const KEY: &str = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555";
/// The key that AWS manages for ECR.
pub const MANAGED_KEY: &str = "arn:aws:kms:eu-west-1:123456789012:key/00000000-aaaa-bbbb-cccc-dddddddddddd";

/// The operations that the stub knows.
pub const OPERATIONS: [&str; 20] = {
    let mut names = [""; 20];
    let mut index = 0;
    while index < names.len() {
        names[index] = MEMBERS[index].0;
        index += 1;
    }
    names
};

/// The operations and the members of their requests.
const MEMBERS: [(&str, &[&str]); 20] = [
    (
        "CreateRepository",
        &[
            "repositoryName",
            "tags",
            "imageTagMutability",
            "imageTagMutabilityExclusionFilters",
            "imageScanningConfiguration",
            "encryptionConfiguration",
        ],
    ),
    ("DescribeRepositories", &["registryId", "repositoryNames", "maxResults", "nextToken"]),
    ("DeleteRepository", &["repositoryName", "force"]),
    (
        "PutImageTagMutability",
        &["repositoryName", "imageTagMutability", "imageTagMutabilityExclusionFilters"],
    ),
    ("PutImageScanningConfiguration", &["repositoryName", "imageScanningConfiguration"]),
    ("TagResource", &["resourceArn", "tags"]),
    ("UntagResource", &["resourceArn", "tagKeys"]),
    ("ListTagsForResource", &["resourceArn"]),
    ("PutLifecyclePolicy", &["repositoryName", "lifecyclePolicyText"]),
    ("GetLifecyclePolicy", &["registryId", "repositoryName"]),
    ("DeleteLifecyclePolicy", &["repositoryName"]),
    ("SetRepositoryPolicy", &["repositoryName", "policyText"]),
    ("GetRepositoryPolicy", &["registryId", "repositoryName"]),
    ("DeleteRepositoryPolicy", &["repositoryName"]),
    ("ListImages", &["registryId", "repositoryName", "filter", "maxResults", "nextToken"]),
    ("DescribeImages", &["registryId", "repositoryName", "imageIds", "filter", "maxResults", "nextToken"]),
    ("BatchGetImage", &["registryId", "repositoryName", "imageIds", "acceptedMediaTypes"]),
    ("BatchDeleteImage", &["repositoryName", "imageIds"]),
    ("UpdateImageStorageClass", &["repositoryName", "imageId", "targetStorageClass"]),
    ("PutImage", &["repositoryName", "imageManifest", "imageManifestMediaType", "imageTag", "imageDigest"]),
];

/// Maximum number of tags of an image.
const MAX_TAGS: usize = 1000;
/// The status of a response that is to be cut off; ECR has none such.
const CUT: u16 = 299;

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
    is_counting: AtomicBool,
    takes_any_request: AtomicBool,
    violations: Mutex<Vec<String>>,
    counts: Mutex<BTreeMap<String, usize>>,
}

/// A bucket of tokens for each operation, as AWS counts calls.
#[derive(Debug)]
struct Limit {
    per_second: f64,
    burst: f64,
    /// The content of the rate limit's buckets, and the times of their last refill.
    left: BTreeMap<String, (f64, Instant)>,
    throttled: usize,
}

impl Limit {
    fn takes_one_more(&mut self, operation: &str) -> bool {
        let now = Instant::now();
        let (left, at) = self.left.entry(operation.to_owned()).or_insert((self.burst, now));
        let earned = now.duration_since(*at).as_secs_f64() * self.per_second;
        (*left, *at) = ((*left + earned).min(self.burst), now);
        let has_one = *left >= 1.0;
        if has_one {
            *left -= 1.0;
        } else {
            self.throttled += 1;
        }
        has_one
    }
}

/// Repositories that are generated when they are requested.
#[derive(Debug, Clone, Copy, Default)]
struct Fleet {
    repositories: usize,
    images: usize,
}

impl Fleet {
    fn name(number: usize) -> String {
        format!("fleet/{number:05}")
    }

    fn described(number: usize) -> Value {
        let name = Self::name(number);
        json!({ "repositoryArn": arn(&name), "registryId": ACCOUNT, "repositoryName": name,
            "repositoryUri": format!("{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/{name}"), "createdAt": 1.0,
            "imageTagMutability": "MUTABLE" })
    }

    /// A repository by its name: of a hundred images eight are two releases for two platforms with their signatures, ten are
    /// untagged, and the others are builds.
    fn repository(self, name: &str) -> Option<Repository> {
        let number: usize = name.strip_prefix("fleet/")?.parse().ok()?;
        if number >= self.repositories || Self::name(number) != name {
            return None;
        }
        let mut repository = Repository { described: Self::described(number), ..Repository::default() };
        let day = |image: usize| (self.images - image) as f64 + 0.5;
        let mut image = 0;
        for release in 0..self.images / 50 {
            let children = ["amd64", "arm64"]
                .map(|platform| repository.push(&format!("{name} release {release} {platform}"), &[]));
            let tag = format!("v{release}");
            let index = repository.push_index(&children.each_ref().map(String::as_str), &[&tag]);
            let signature = repository.push_referrer(&format!("{name} signature {release}"), &index);
            for digest in children.iter().chain([&index, &signature]) {
                repository.age(digest, day(image));
                image += 1;
            }
        }
        while image < self.images {
            let tag = format!("ci-{image:04}");
            let tags: &[&str] = if image % 10 == 9 { &[] } else { &[&tag] };
            let digest = repository.push(&format!("{name} {image}"), tags);
            repository.age(&digest, day(image));
            image += 1;
        }
        Some(repository)
    }
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

/// A fault of a call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// `ThrottlingException`.
    Throttled,
    /// `ServerException`.
    ServerError,
    /// A 503 with a page instead of JSON, as a load balancer answers.
    Unavailable,
    /// `AccessDeniedException`.
    Denied,
    /// An error of this type and message.
    Error(&'static str, &'static str),
    /// No answer, ever.
    Hang,
    /// Half of the answer, then the end of the connection.
    Cut,
    /// The answer, so much later.
    Slow(Duration),
    /// The call has its effect, and this is the answer.
    AfterEffect(Box<Fault>),
    /// The call succeeds, and then the world is changed by this function.
    Then(fn(&mut Registry, &mut Cloud)),
    /// `BatchDeleteImage` and `BatchGetImage` fail for images whose digest or tag contains this text, with `KmsError`.
    ForImages(&'static str),
    /// The answer leaves out images whose digest contains this text.
    Silent(&'static str),
}

#[derive(Debug)]
struct PlannedFault {
    operation: &'static str,
    fault: Fault,
    /// The number of calls that succeed before.
    after: usize,
    /// The number of calls that fail; `None` for all.
    left: Option<usize>,
    /// A text that the path of the call has to contain; empty for every path.
    path: &'static str,
}

/// The registry: look into it and change it with [`EcrStub::with`].
#[derive(Debug)]
pub struct Registry {
    /// Repositories by name.
    pub repositories: BTreeMap<String, Repository>,
    /// The KMS keys that exist.
    pub keys: BTreeSet<String>,
    /// The account's quota of repositories.
    pub quota: usize,
    /// Whether reading a manifest does not count as a pull, since the reader is registered as excluded.
    pub is_pull_excluded: bool,
    /// The access key and the Region that the last request was signed with.
    pub signed_by: Option<String>,
}

impl Default for Registry {
    fn default() -> Self {
        let keys = [KEY, MANAGED_KEY].map(str::to_owned).into();
        Self { repositories: BTreeMap::new(), keys, quota: 100_000, is_pull_excluded: true, signed_by: None }
    }
}

/// A repository.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Repository {
    /// The answer of `DescribeRepositories`.
    pub described: Value,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its lifecycle policy.
    pub lifecycle_policy: Option<String>,
    /// Its repository policy.
    pub policy: Option<String>,
    /// Its images.
    pub images: Vec<Image>,
}

/// An image.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// Its digest.
    pub digest: String,
    /// Its manifest.
    pub manifest: String,
    /// Its media type.
    pub media_type: &'static str,
    /// Its tags.
    pub tags: BTreeSet<String>,
    /// The push time, in seconds since 1970.
    pub pushed_at: f64,
    /// Whether it is archived, so that lists omit it by default.
    pub archived: bool,
    /// The time of the last pull.
    pub last_pulled_at: Option<f64>,
    /// The time of the last archival.
    pub last_archived_at: Option<f64>,
    /// The digest of its subject.
    pub subject: Option<String>,
    /// Its size in bytes.
    pub size: u64,
}

impl Repository {
    /// Adds an image; the same content is the same digest.
    pub fn push(&mut self, content: &str, tags: &[&str]) -> String {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "digest": digest(content), "size": 1, "mediaType": "application/vnd.oci.image.config.v1+json" },
            "layers": [],
        });
        self.add(manifest.to_string(), "application/vnd.oci.image.manifest.v1+json", tags)
    }

    /// Adds an index of images.
    pub fn push_index(&mut self, children: &[&str], tags: &[&str]) -> String {
        const INDEX: &str = "application/vnd.oci.image.index.v1+json";
        let entries: Vec<Value> = children
            .iter()
            .map(|child| json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": child, "size": 1 }))
            .collect();
        let manifest = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
        self.add(manifest.to_string(), INDEX, tags)
    }

    /// Adds an image index whose manifest has its children twice: first none, then these.
    pub fn push_index_with_a_key_twice(&mut self, children: &[&str], tags: &[&str]) -> String {
        const INDEX: &str = "application/vnd.oci.image.index.v1+json";
        let entries: Vec<Value> =
            children.iter().map(|child| json!({ "digest": child, "size": 1 })).collect();
        let entries = Value::Array(entries);
        let manifest =
            format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[],"manifests":{entries}}}"#);
        self.add(manifest, INDEX, tags)
    }

    /// Adds an artifact about another image, as a signature.
    pub fn push_referrer(&mut self, content: &str, subject: &str) -> String {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.dev.cosign.artifact.sig.v1+json",
            "config": { "digest": digest(content), "size": 1, "mediaType": "application/vnd.oci.empty.v1+json" },
            "layers": [], "subject": { "digest": subject, "size": 1,
                "mediaType": "application/vnd.oci.image.manifest.v1+json" },
        });
        let digest = self.add(manifest.to_string(), "application/vnd.oci.image.manifest.v1+json", &[]);
        self.image_mut(&digest).subject = Some(subject.to_owned());
        digest
    }

    /// An image, to be changed.
    ///
    /// # Panics
    ///
    /// When there is none of this digest.
    pub fn image_mut(&mut self, digest: &str) -> &mut Image {
        self.images.iter_mut().find(|image| image.digest == digest).unwrap()
    }

    /// Makes an image `days` days old.
    pub fn age(&mut self, digest: &str, days: f64) {
        self.image_mut(digest).pushed_at = now() - days * 86_400.0;
    }

    fn add(&mut self, manifest: String, media_type: &'static str, tags: &[&str]) -> String {
        let digest = digest(&manifest);
        for image in self.images.iter_mut().filter(|image| !image.tags.is_empty()) {
            for tag in tags {
                image.tags.remove(*tag);
            }
        }
        let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
        if let Some(known) = self.images.iter().position(|image| image.digest == digest) {
            self.images.remove(known);
        }
        self.images.push(Image {
            digest: digest.clone(),
            manifest,
            media_type,
            size: manifest_size(&digest),
            tags,
            pushed_at: now(),
            archived: false,
            last_pulled_at: None,
            last_archived_at: None,
            subject: None,
        });
        digest
    }
}

/// Sizes that differ from image to image, the same for the same image.
fn manifest_size(digest: &str) -> u64 {
    10_000_000 + u64::from_str_radix(&digest[7..13], 16).unwrap_or_default()
}

fn digest(content: &str) -> String {
    let hex: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
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

    /// Makes all calls of an operation go wrong whose paths have this in them, as the keys of objects.
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
        *lock(&self.state.fleet) = Fleet { repositories, images };
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

type Answered = Result<Value, (&'static str, String)>;

impl State {
    fn answer(&self, request: &Request) -> Option<Response> {
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
        let is_ecr = MEMBERS.iter().any(|(name, _)| *name == operation);
        let is_throttled =
            is_ecr && lock(&self.limit).as_mut().is_some_and(|limit| !limit.takes_one_more(&operation));
        let fault = if is_throttled { Some(Fault::Throttled) } else { self.due(&operation, &request.target) };
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

/// Carries an answer over a connection.
fn carry(response: Option<Response>, stream: &mut TcpStream) -> std::io::Result<()> {
    match response {
        None => {
            // Until the client has had enough.
            std::thread::sleep(Duration::from_secs(60));
            Err(std::io::ErrorKind::TimedOut.into())
        }
        // A response that is cut off says how long it would have been.
        Some(response) if response.status == CUT => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", response.body.len());
            let half = response.body.get(..response.body.len() / 2).unwrap_or_default();
            stream.write_all(&[head.as_bytes(), half].concat())?;
            Err(std::io::ErrorKind::ConnectionAborted.into())
        }
        Some(response) => response.write(stream),
    }
}

fn respond(answered: Answered) -> Response {
    let (status, body) = match answered {
        Ok(body) => (200, body),
        Err((kind, message)) => {
            let status = if kind == "ServerException" { 500 } else { 400 };
            (status, json!({ "__type": kind, "message": message }))
        }
    };
    let headers = vec![
        ("Content-Type".to_owned(), "application/x-amz-json-1.1".to_owned()),
        ("x-amzn-RequestId".to_owned(), "stub".to_owned()),
    ];
    Response { status, headers, body: body.to_string().into_bytes() }
}

/// The statuses of errors in REST APIs, where others have codes.
fn in_rest(operation: &str, fault: &Fault, mut answer: Response) -> Response {
    match fault {
        Fault::Throttled | Fault::Denied | Fault::ServerError if operation.contains("Object") => {
            let (status, code) = match fault {
                Fault::Throttled => (503, "SlowDown"),
                Fault::Denied => (403, "AccessDenied"),
                _ => (500, "InternalError"),
            };
            // An answer to HEAD has no content.
            let body = format!("<Error><Code>{code}</Code><Message>{code} of the stub</Message></Error>");
            let body = if operation == "HeadObject" { Vec::new() } else { body.into_bytes() };
            let headers = vec![("Content-Type".to_owned(), "application/xml".to_owned())];
            answer = Response { status, headers, body };
        }
        Fault::Throttled => {
            answer.status = 503;
            answer.headers.push(("x-amzn-ErrorType".to_owned(), "TooManyRequestsException".to_owned()));
        }
        Fault::Denied => {
            answer.status = 403;
            answer.headers.push(("x-amzn-ErrorType".to_owned(), "AccessDeniedException".to_owned()));
        }
        _ => {}
    }
    answer
}

/// The answer with a fault; `None` for no answer.
fn faulty(fault: &Fault, answer: Response) -> Option<Response> {
    match fault {
        Fault::Throttled => Some(respond(Err(("ThrottlingException", "Rate exceeded".to_owned())))),
        Fault::ServerError => Some(respond(Err(("ServerException", "Service failure".to_owned())))),
        Fault::Denied => Some(respond(Err((
            "AccessDeniedException",
            "User: arn:aws:sts::123456789012:assumed-role/stub is not authorized".to_owned(),
        )))),
        Fault::Error(kind, message) => Some(respond(Err((kind, (*message).to_owned())))),
        Fault::Unavailable => Some(Response {
            status: 503,
            headers: vec![("Content-Type".to_owned(), "text/html".to_owned())],
            body: b"<html>Service Unavailable</html>".to_vec(),
        }),
        Fault::Cut => Some(Response { status: CUT, ..answer }),
        Fault::Hang => None,
        Fault::Slow(pause) => {
            std::thread::sleep(*pause);
            Some(answer)
        }
        Fault::AfterEffect(fault) => faulty(fault, answer),
        Fault::ForImages(_) | Fault::Silent(_) | Fault::Then(_) => Some(answer),
    }
}

/// An answer without its images whose digest contains a text.
fn without(mut answer: Value, text: &str) -> Value {
    if let Some(images) = answer["images"].as_array_mut() {
        images.retain(|image| !image["imageId"]["imageDigest"].to_string().contains(text));
    }
    answer
}

impl Registry {
    /// The same with generated repositories; changed ones are stored.
    fn act_with(&mut self, fleet: Fleet, operation: &str, asked: &Value, failing: Option<&str>) -> Answered {
        if operation == "DescribeRepositories" && asked["repositoryNames"].is_null() {
            let size = asked["maxResults"].as_u64().unwrap_or(100) as usize;
            let start: usize = asked["nextToken"].as_str().map_or(0, |token| token.parse().unwrap());
            let end = fleet.repositories.min(start + size);
            let all: Vec<Value> = (start..end).map(Fleet::described).collect();
            let mut answer = json!({ "repositories": all });
            if end < fleet.repositories {
                answer["nextToken"] = end.to_string().into();
            }
            return Ok(answer);
        }
        let name = asked["repositoryName"].as_str().unwrap_or_default().to_owned();
        let is_kept = self.repositories.contains_key(&name);
        if !is_kept && let Some(made) = fleet.repository(&name) {
            self.repositories.insert(name.clone(), made);
        }
        let answer = self.act(operation, asked, failing);
        let changes = ["BatchDeleteImage", "PutImage", "PutLifecyclePolicy", "UpdateImageStorageClass"];
        if !is_kept && !changes.contains(&operation) {
            self.repositories.remove(&name);
        }
        answer
    }

    /// `GetResources` of the Resource Groups Tagging API, for repositories with one of the values of a tag.
    fn tagged_resources(&self, asked: &Value) -> Answered {
        assert_eq!(asked["ResourceTypeFilters"], json!(["ecr:repository"]));
        let filters = asked["TagFilters"].as_array().unwrap();
        let is_asked_for = |repository: &Repository| {
            filters.iter().all(|filter| {
                let value = repository.tags.get(filter["Key"].as_str().unwrap());
                let values = filter["Values"].as_array().unwrap();
                value.is_some_and(|value| values.iter().any(|wanted| wanted == value))
            })
        };
        let names: Vec<&String> = self.repositories.keys().collect();
        // Ten at a time, of which none may be asked for, so that there are other pages, and empty ones.
        let start: usize = match asked["PaginationToken"].as_str().unwrap_or_default() {
            "" => 0,
            token => token.parse().unwrap(),
        };
        let end = names.len().min(start + 10);
        let page = names[start..end].iter().filter(|name| is_asked_for(&self.repositories[**name]));
        let list: Vec<Value> = page
            .map(|name| {
                let tags = self.repositories[*name].tags.iter();
                let tags: Vec<Value> =
                    tags.map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
                json!({ "ResourceARN": arn(name), "Tags": tags })
            })
            .collect();
        let token = if end < names.len() { end.to_string() } else { String::new() };
        Ok(json!({ "ResourceTagMappingList": list, "PaginationToken": token }))
    }

    /// The members of each operation, and what it does.
    fn act(&mut self, operation: &str, asked: &Value, failing: Option<&str>) -> Answered {
        let Some((_, known)) = MEMBERS.iter().find(|(name, _)| *name == operation) else {
            return Err(("UnknownOperationException", format!("{operation} is not known")));
        };
        let fields = asked.as_object().cloned().unwrap_or_default();
        if let Some(field) = fields.keys().find(|field| !known.contains(&field.as_str())) {
            return Err(("SerializationException", format!("{operation} has no member {field}")));
        }
        match operation {
            "CreateRepository" => self.create(&fields),
            "DescribeRepositories" => self.describe(&fields),
            "DeleteRepository" => self.delete(&fields),
            _ => self.of_repository(operation, &fields, failing),
        }
    }

    fn create(&mut self, fields: &Map<String, Value>) -> Answered {
        let name = text(fields, "repositoryName");
        if !is_name(&name) {
            let message = format!(
                "Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must satisfy regular expression \
                 '(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*'': {name}"
            );
            return Err(("InvalidParameterException", message));
        }
        if self.repositories.contains_key(&name) {
            let message = format!(
                "The repository with name '{name}' already exists in the registry with id '{ACCOUNT}'"
            );
            return Err(("RepositoryAlreadyExistsException", message));
        }
        if self.repositories.len() >= self.quota {
            let message = format!(
                "The maximum number of repositories has been reached for the registry with id '{ACCOUNT}'"
            );
            return Err(("LimitExceededException", message));
        }
        let mut encryption =
            fields.get("encryptionConfiguration").cloned().unwrap_or(json!({"encryptionType": "AES256"}));
        if encryption["encryptionType"] != "AES256" {
            let asked = encryption["kmsKey"].as_str().unwrap_or(MANAGED_KEY).to_owned();
            let key = self.keys.iter().find(|key| **key == asked || key.ends_with(&format!("/{asked}")));
            let Some(key) = key else {
                let message =
                    format!("The key '{asked}' does not exist or is not enabled (NotFoundException)");
                return Err(("KmsException", message));
            };
            encryption["kmsKey"] = key.clone().into();
        }
        let mut described = json!({
            "repositoryArn": arn(&name), "registryId": ACCOUNT, "repositoryName": name,
            "repositoryUri": format!("{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/{name}"),
            "createdAt": now(),
            "imageTagMutability": fields.get("imageTagMutability").cloned().unwrap_or("MUTABLE".into()),
            "imageScanningConfiguration":
                fields.get("imageScanningConfiguration").cloned().unwrap_or(json!({ "scanOnPush": false })),
            "encryptionConfiguration": encryption,
        });
        if let Some(filters) = fields.get("imageTagMutabilityExclusionFilters") {
            described["imageTagMutabilityExclusionFilters"] = filters.clone();
        }
        let tags = tags(fields);
        if tags.len() > 50 {
            return Err((
                "TooManyTagsException",
                "The list of tags on the repository is over the limit.".to_owned(),
            ));
        }
        let answer = json!({ "repository": described });
        self.repositories.insert(name, Repository { described, tags, ..Repository::default() });
        Ok(answer)
    }

    fn describe(&self, fields: &Map<String, Value>) -> Answered {
        if let Some(names) = fields.get("repositoryNames").and_then(Value::as_array) {
            let repositories: Result<Vec<&Value>, _> = names
                .iter()
                .map(|name| {
                    let name = name.as_str().unwrap_or_default();
                    self.repositories
                        .get(name)
                        .map(|repository| &repository.described)
                        .ok_or_else(|| missing(name))
                })
                .collect();
            return Ok(json!({ "repositories": repositories? }));
        }
        let all: Vec<&Value> = self.repositories.values().map(|repository| &repository.described).collect();
        page(fields, "repositories", &all)
    }

    fn delete(&mut self, fields: &Map<String, Value>) -> Answered {
        let name = text(fields, "repositoryName");
        let repository = self.repositories.get(&name).ok_or_else(|| missing(&name))?;
        if !repository.images.is_empty() && fields.get("force") != Some(&Value::Bool(true)) {
            let message = format!(
                "The repository with name '{name}' in registry with id '{ACCOUNT}' cannot be deleted because it still \
                 contains images"
            );
            return Err(("RepositoryNotEmptyException", message));
        }
        let described = repository.described.clone();
        self.repositories.remove(&name);
        Ok(json!({ "repository": described }))
    }

    fn of_repository(
        &mut self,
        operation: &str,
        fields: &Map<String, Value>,
        failing: Option<&str>,
    ) -> Answered {
        let name = match fields.get("resourceArn").and_then(Value::as_str) {
            Some(arn) => arn.split_once(":repository/").map(|(_, name)| name.to_owned()).unwrap_or_default(),
            None => text(fields, "repositoryName"),
        };
        let repository = self.repositories.get_mut(&name).ok_or_else(|| missing(&name))?;
        let named = json!({ "registryId": ACCOUNT, "repositoryName": name });
        let with = |key: &str, value: Value| {
            let mut answer = named.clone();
            answer[key] = value;
            Ok(answer)
        };
        match operation {
            "TagResource" => {
                repository.tags.extend(tags(fields));
                Ok(json!({}))
            }
            "UntagResource" => {
                for key in fields.get("tagKeys").and_then(Value::as_array).into_iter().flatten() {
                    repository.tags.remove(key.as_str().unwrap_or_default());
                }
                Ok(json!({}))
            }
            "ListTagsForResource" => {
                let tags: Vec<Value> = repository
                    .tags
                    .iter()
                    .map(|(key, value)| json!({ "Key": key, "Value": value }))
                    .collect();
                Ok(json!({ "tags": tags }))
            }
            "PutImageTagMutability" => {
                let described = &mut repository.described;
                described["imageTagMutability"] = fields["imageTagMutability"].clone();
                match fields.get("imageTagMutabilityExclusionFilters") {
                    Some(filters) => described["imageTagMutabilityExclusionFilters"] = filters.clone(),
                    None => {
                        described
                            .as_object_mut()
                            .map(|fields| fields.remove("imageTagMutabilityExclusionFilters"));
                    }
                }
                with("imageTagMutability", fields["imageTagMutability"].clone())
            }
            "PutImageScanningConfiguration" => {
                let scanning = fields["imageScanningConfiguration"].clone();
                repository.described["imageScanningConfiguration"] = scanning.clone();
                with("imageScanningConfiguration", scanning)
            }
            "PutLifecyclePolicy" => {
                let policy = text(fields, "lifecyclePolicyText");
                repository.lifecycle_policy = Some(policy.clone());
                with("lifecyclePolicyText", policy.into())
            }
            "GetLifecyclePolicy" => {
                with("lifecyclePolicyText", there(repository.lifecycle_policy.clone(), &name, &LIFECYCLE)?)
            }
            "DeleteLifecyclePolicy" => {
                with("lifecyclePolicyText", there(repository.lifecycle_policy.take(), &name, &LIFECYCLE)?)
            }
            "SetRepositoryPolicy" => {
                let policy = text(fields, "policyText");
                if policy.contains("999999999999") {
                    let message = "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Principal not found'";
                    return Err(("InvalidParameterException", message.to_owned()));
                }
                // ECR gives a policy back indented.
                let parsed: Value = serde_json::from_str(&policy)
                    .map_err(|_| ("InvalidParameterException", "PolicyText is not JSON".to_owned()))?;
                let policy = serde_json::to_string_pretty(&parsed).unwrap();
                repository.policy = Some(policy.clone());
                with("policyText", policy.into())
            }
            "GetRepositoryPolicy" => with("policyText", there(repository.policy.clone(), &name, &POLICY)?),
            "DeleteRepositoryPolicy" => with("policyText", there(repository.policy.take(), &name, &POLICY)?),
            "ListImages" => {
                let has_all = fields.get("filter").is_some_and(|filter| filter["imageStatus"] == "ANY");
                let ids: Vec<Value> = repository
                    .images
                    .iter()
                    .filter(|image| has_all || !image.archived)
                    .flat_map(|image| {
                        let digest = &image.digest;
                        let tagged = image
                            .tags
                            .iter()
                            .map(move |tag| json!({ "imageDigest": digest, "imageTag": tag }));
                        let untagged = image.tags.is_empty().then(|| json!({ "imageDigest": digest }));
                        tagged.chain(untagged)
                    })
                    .collect();
                page(fields, "imageIds", &ids.iter().collect::<Vec<_>>())
            }
            "DescribeImages" => repository.describe_images(&name, fields),
            "BatchGetImage" => {
                let ids = ids(fields)?;
                if !self.is_pull_excluded {
                    for id in &ids {
                        if let Some(index) = repository.find(id) {
                            repository.images[index].last_pulled_at = Some(now());
                        }
                    }
                }
                repository.get_images(&name, &ids, failing)
            }
            "UpdateImageStorageClass" => {
                let id = fields.get("imageId").cloned().unwrap_or_default();
                let index = repository.find(&id).ok_or_else(|| no_image(&id, &name))?;
                let image = &mut repository.images[index];
                image.archived = fields.get("targetStorageClass") == Some(&"ARCHIVE".into());
                image.last_archived_at = image.archived.then(now);
                let status = if image.archived { "ARCHIVED" } else { "ACTIVATING" };
                let mut answer = named;
                answer["imageId"] = json!({ "imageDigest": image.digest });
                answer["imageStatus"] = status.into();
                Ok(answer)
            }
            "PutImage" => repository.put_image(&name, fields),
            _ => repository.delete_images(&ids(fields)?, failing),
        }
    }
}

impl Repository {
    fn describe_images(&self, name: &str, fields: &Map<String, Value>) -> Answered {
        let filter = fields.get("filter").cloned().unwrap_or_default();
        let status = filter["imageStatus"].as_str().unwrap_or("ACTIVE");
        let tags = filter["tagStatus"].as_str().unwrap_or("ANY");
        let is_shown = |image: &&Image| {
            let is_in = match status {
                "ANY" => true,
                "ARCHIVED" => image.archived,
                _ => !image.archived,
            };
            let is_tagged = match tags {
                "TAGGED" => !image.tags.is_empty(),
                "UNTAGGED" => image.tags.is_empty(),
                _ => true,
            };
            is_in && is_tagged
        };
        if fields.contains_key("imageIds") {
            if fields.contains_key("maxResults") || fields.contains_key("nextToken") {
                let message = "maxResults and nextToken cannot be used with imageIds".to_owned();
                return Err(("InvalidParameterException", message));
            }
            let found: Result<Vec<Value>, _> = ids(fields)?
                .iter()
                .map(|id| {
                    let image = self.find(id).map(|index| &self.images[index]).filter(&is_shown);
                    image.map(|image| image.detail(name)).ok_or_else(|| no_image(id, name))
                })
                .collect();
            return Ok(json!({ "imageDetails": found? }));
        }
        let shown: Vec<&Image> = self.images.iter().filter(is_shown).collect();
        page_of(fields, "imageDetails", &shown, |image| image.detail(name))
    }

    fn put_image(&mut self, name: &str, fields: &Map<String, Value>) -> Answered {
        let manifest = text(fields, "imageManifest");
        // An image without a tag is named by its digest alone.
        let tag = fields.get("imageTag").and_then(Value::as_str).map(str::to_owned);
        let read: Value = serde_json::from_str(&manifest).unwrap_or_default();
        if read["mediaType"].is_null() && !fields.contains_key("imageManifestMediaType") {
            let message =
                "Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Invalid JSON syntax'";
            return Err(("InvalidParameterException", message.to_owned()));
        }
        let digest = digest(&manifest);
        let children = read["manifests"].as_array().cloned().unwrap_or_default();
        if let Some(missing) = children
            .iter()
            .find(|child| self.images.iter().all(|image| Some(&*image.digest) != child["digest"].as_str()))
        {
            return Err(("ReferencedImagesNotFoundException", format!("{} is not there", missing["digest"])));
        }
        if tag.is_none()
            && let Some(known) = self.images.iter().find(|image| image.digest == digest)
        {
            return Err(("ImageAlreadyExistsException", format!("{} is there", known.digest)));
        }
        let holder = tag.as_ref().and_then(|tag| {
            self.images.iter().find(|image| image.tags.contains(tag)).map(|holder| (holder, tag))
        });
        if let Some((holder, tag)) = holder {
            if holder.digest == digest {
                return Err(("ImageAlreadyExistsException", format!("{digest} has the tag {tag}")));
            }
            if self.keeps(tag) {
                let message = format!(
                    "The image tag '{tag}' already exists in the '{name}' repository and cannot be overwritten because the tag \
                     is immutable."
                );
                return Err(("ImageTagAlreadyExistsException", message));
            }
        }
        let media_type = match (read["mediaType"].as_str(), children.is_empty()) {
            (Some("application/vnd.docker.distribution.manifest.v2+json"), _) => {
                "application/vnd.docker.distribution.manifest.v2+json"
            }
            (_, true) => "application/vnd.oci.image.manifest.v1+json",
            (_, false) => "application/vnd.oci.image.index.v1+json",
        };
        let asked = fields.get("imageDigest").and_then(Value::as_str);
        if asked.is_some_and(|asked| asked != digest) {
            return Err(("ImageDigestDoesNotMatchException", format!("the digest of the image is {digest}")));
        }
        let known = self.images.iter().find(|image| image.digest == digest);
        if known.is_some_and(|image| image.tags.len() >= MAX_TAGS) && tag.is_some() {
            return Err(("LimitExceededException", format!("an image has {MAX_TAGS} tags at most")));
        }
        if let Some(tag) = &tag {
            for image in &mut self.images {
                image.tags.remove(tag);
            }
        }
        match self.images.iter_mut().find(|image| image.digest == digest) {
            Some(image) => image.tags.extend(tag.clone()),
            None => {
                let tags: Vec<&str> = tag.as_deref().into_iter().collect();
                self.add(manifest.clone(), media_type, &tags);
                self.image_mut(&digest).subject = read["subject"]["digest"].as_str().map(str::to_owned);
            }
        }
        let image_id = json!({ "imageDigest": digest, "imageTag": tag });
        Ok(json!({ "image": { "registryId": ACCOUNT, "repositoryName": name, "imageId": image_id,
            "imageManifest": manifest, "imageManifestMediaType": media_type } }))
    }

    /// Whether a tag cannot be moved.
    pub fn keeps(&self, tag: &str) -> bool {
        let mutability = self.described["imageTagMutability"].as_str().unwrap_or("MUTABLE");
        let filters =
            self.described["imageTagMutabilityExclusionFilters"].as_array().cloned().unwrap_or_default();
        // The filters of the tests end with their one asterisk.
        let is_excluded = filters.iter().any(|filter| {
            let filter = filter["filter"].as_str().unwrap_or_default();
            filter.strip_suffix('*').map_or(filter == tag, |prefix| tag.starts_with(prefix))
        });
        mutability.starts_with("IMMUTABLE") != is_excluded
    }
}

impl Image {
    fn detail(&self, repository: &str) -> Value {
        let mut detail = json!({
            "registryId": ACCOUNT, "repositoryName": repository, "imageDigest": self.digest,
            "imageSizeInBytes": self.size, "imagePushedAt": self.pushed_at,
            "imageManifestMediaType": self.media_type, "imageStatus": if self.archived { "ARCHIVED" } else { "ACTIVE" },
        });
        if !self.tags.is_empty() {
            detail["imageTags"] = json!(self.tags);
        }
        let times =
            [("lastRecordedPullTime", self.last_pulled_at), ("lastArchivedAt", self.last_archived_at)];
        for (field, time) in times {
            if let Some(time) = time {
                detail[field] = time.into();
            }
        }
        if let Some(subject) = &self.subject {
            detail["subjectManifestDigest"] = subject.clone().into();
        }
        detail
    }
}

impl Repository {
    fn find(&self, id: &Value) -> Option<usize> {
        self.images.iter().position(|image| match (id["imageDigest"].as_str(), id["imageTag"].as_str()) {
            (Some(digest), tag) => image.digest == digest && tag.is_none_or(|tag| image.tags.contains(tag)),
            (None, Some(tag)) => image.tags.contains(tag),
            (None, None) => false,
        })
    }

    fn get_images(&self, name: &str, ids: &[Value], failing: Option<&str>) -> Answered {
        let (mut images, mut failures) = (Vec::new(), Vec::new());
        for id in ids {
            if failing.is_some_and(|text| id.to_string().contains(text)) {
                failures.push(failure(id, "KmsError", "the key is disabled"));
                continue;
            }
            let Some(image) = self.find(id).and_then(|index| self.images.get(index)) else {
                failures.push(failure(id, "ImageNotFound", "Requested image not found"));
                continue;
            };
            if image.archived {
                failures.push(failure(id, "ImageInaccessible", "Requested image is in the archive"));
                continue;
            }
            let mut image_id = json!({ "imageDigest": image.digest });
            if let Some(tag) = id["imageTag"].as_str() {
                image_id["imageTag"] = tag.into();
            }
            images.push(json!({
                "registryId": ACCOUNT, "repositoryName": name, "imageId": image_id,
                "imageManifest": image.manifest, "imageManifestMediaType": image.media_type,
            }));
        }
        Ok(json!({ "images": images, "failures": failures }))
    }

    fn delete_images(&mut self, ids: &[Value], failing: Option<&str>) -> Answered {
        let (mut deleted, mut failures) = (Vec::new(), Vec::new());
        for id in ids {
            if id["imageDigest"].is_null() && id["imageTag"].is_null() {
                failures.push(failure(
                    id,
                    "MissingDigestAndTag",
                    "Invalid request parameters: both tag and digest cannot be null",
                ));
                continue;
            }
            if failing.is_some_and(|text| id.to_string().contains(text)) {
                failures.push(failure(id, "KmsError", "the key is disabled"));
                continue;
            }
            let Some(index) = self.find(id) else {
                failures.push(failure(id, "ImageNotFound", "Requested image not found"));
                continue;
            };
            let digest = self.images[index].digest.clone();
            let is_deleted = id["imageDigest"].is_string() || self.images[index].tags.len() == 1;
            let parent = self.images.iter().find(|image| {
                image.digest != digest
                    && image.media_type.contains("index")
                    && image.manifest.contains(&digest)
            });
            if let Some(parent) = parent.filter(|_| is_deleted) {
                let reason = format!("Requested image referenced by image index: [{}]", parent.digest);
                failures.push(failure(id, "ImageReferencedByManifestList", &reason));
                continue;
            }
            match id["imageTag"].as_str() {
                Some(tag) if id["imageDigest"].is_null() => {
                    self.images[index].tags.remove(tag);
                    deleted.push(json!({ "imageDigest": digest, "imageTag": tag }));
                }
                _ => {
                    let tags = &self.images[index].tags;
                    deleted.extend(tags.iter().map(|tag| json!({ "imageDigest": digest, "imageTag": tag })));
                    if tags.is_empty() {
                        deleted.push(json!({ "imageDigest": digest }));
                    }
                }
            }
            if is_deleted {
                self.images.remove(index);
            }
        }
        Ok(json!({ "imageIds": deleted, "failures": failures }))
    }
}

const LIFECYCLE: (&str, &str) = ("LifecyclePolicyNotFoundException", "Lifecycle");
const POLICY: (&str, &str) = ("RepositoryPolicyNotFoundException", "Repository");

/// A policy that has to be there.
fn there(policy: Option<String>, name: &str, kind: &(&'static str, &str)) -> Answered {
    policy.map(Value::from).ok_or_else(|| {
        let message = format!(
            "{} policy does not exist for the repository with name '{name}' in the registry with id '{ACCOUNT}'",
            kind.1
        );
        (kind.0, message)
    })
}

fn failure(id: &Value, code: &str, reason: &str) -> Value {
    json!({ "imageId": id, "failureCode": code, "failureReason": reason })
}

fn ids(fields: &Map<String, Value>) -> Result<Vec<Value>, (&'static str, String)> {
    let ids = fields.get("imageIds").and_then(Value::as_array).cloned().unwrap_or_default();
    if ids.is_empty() || ids.len() > 100 {
        let message = "Invalid parameter at 'imageIds' failed to satisfy constraint: 'Member must have length less than or \
                       equal to 100'";
        return Err(("InvalidParameterException", message.to_owned()));
    }
    Ok(ids)
}

fn no_image(id: &Value, repository: &str) -> (&'static str, String) {
    let message = format!(
        "The image with imageId {id} does not exist within the repository with name '{repository}' in the registry with \
         id '{ACCOUNT}'"
    );
    ("ImageNotFoundException", message)
}

fn page(fields: &Map<String, Value>, key: &str, all: &[&Value]) -> Answered {
    page_of(fields, key, all, |value| (*value).clone())
}

/// A page of a list: 100 by default, 1000 at most, and a token where there is more.
fn page_of<T>(fields: &Map<String, Value>, key: &str, all: &[T], shown: impl Fn(&T) -> Value) -> Answered {
    let size = fields.get("maxResults").and_then(Value::as_u64).unwrap_or(100);
    if !(1..=1000).contains(&size) {
        return Err(("InvalidParameterException", "Invalid parameter at 'maxResults'".to_owned()));
    }
    let start = match fields.get("nextToken").and_then(Value::as_str) {
        None => 0,
        Some(token) => token
            .strip_prefix("page-")
            .and_then(|start| start.parse::<usize>().ok())
            .filter(|start| *start < all.len())
            .ok_or(("InvalidParameterException", "Invalid parameter at 'nextToken'".to_owned()))?,
    };
    let end = all.len().min(start + usize::try_from(size).unwrap());
    let shown: Vec<Value> = all[start..end].iter().map(shown).collect();
    let mut answer = json!({ key: shown });
    if end < all.len() {
        answer["nextToken"] = format!("page-{end}").into();
    }
    Ok(answer)
}

fn tags(fields: &Map<String, Value>) -> BTreeMap<String, String> {
    let tags = fields.get("tags").and_then(Value::as_array).into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    tags.map(|tag| (text(&tag["Key"]), text(&tag["Value"]))).collect()
}

fn text(fields: &Map<String, Value>, key: &str) -> String {
    fields.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn arn(name: &str) -> String {
    format!("arn:aws:ecr:eu-west-1:{ACCOUNT}:repository/{name}")
}

fn missing(name: &str) -> (&'static str, String) {
    let message =
        format!("The repository with name '{name}' does not exist in the registry with id '{ACCOUNT}'");
    ("RepositoryNotFoundException", message)
}

fn is_name(name: &str) -> bool {
    (2..=256).contains(&name.len())
        && name.split('/').all(|part| {
            let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            part.starts_with(is_word)
                && part.ends_with(is_word)
                && part.chars().all(|c| is_word(c) || matches!(c, '.' | '_' | '-'))
        })
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_request_that_aws_would_not_take_is_refused_and_fails_the_test() {
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
