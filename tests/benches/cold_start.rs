//! What a cold start costs, as ratios to baselines of the same run: `cargo local bench cold_start`.
//!
//! - from a function's start to asking for its first event, to that of the least function there is;
//! - from its start to its first answer after one call to AWS behind TLS, to that of a function with every default of the AWS
//!   SDK, which this builds too (some minutes).
//!
//! The functions are those that are deployed: built by `cargo lambda`. Fails where one is larger than its goal, or slower to start.

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use local::Project;
use local::functions::{self, MAX_BYTES};
use tests::ecr_stub::EcrStub;
use tests::http::Request;
use tests::tls::{self, Front};

const FUNCTIONS: [&str; 11] = [
    "image-build",
    "image-published",
    "image-resource",
    "lifecycle-enforce",
    "lifecycle-inventory",
    "lifecycle-preview",
    "lifecycle-report",
    "lifecycle-suspend",
    "repository-api",
    "repository-resource",
    "usage-report",
];
/// Those that make one call to AWS for an event, what they are compared with, and what is in the answer.
const CALLERS: [(&str, &str, &str); 4] = [
    ("all-defaults", LIST, "repositories"),
    ("image-build", include_str!("../events/get-build.json"), "build-not-found"),
    ("image-published", include_str!("../events/image-published.json"), "does not know the build"),
    ("repository-api", LIST, "repositories"),
];
const LIST: &str = include_str!("../events/list-repositories.json");
const STARTS: usize = 60;
/// Maximum time from a start to asking for the first event, as a ratio to that of the least function.
const MAX_START: f64 = 2.0;

fn main() -> ExitCode {
    let binaries = build();
    let ecr = EcrStub::start();
    let front = tls::front(ecr.url().replace("http://", ""));
    let certificate = std::env::temp_dir().join(format!("cold-start-{}.pem", std::process::id()));
    std::fs::write(&certificate, &front.certificate).unwrap();
    let mut next: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    let mut answer: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    let all: Vec<&str> = ["hello", "all-defaults"].into_iter().chain(FUNCTIONS).collect();
    // In turns, so that whatever else the machine does hits all of them alike; and each after another one every time, since
    // a large program leaves little of the caches to the next.
    for round in 0..STARTS {
        let step = (1..).step_by(2).filter(|step| gcd(*step, all.len()) == 1).nth(round % 4).unwrap();
        for turn in 0..all.len() {
            let name = all[(round + turn * step) % all.len()];
            let call = CALLERS.iter().find(|(caller, ..)| *caller == name);
            let call =
                call.map(|(_, event, part)| Call { front: &front, certificate: &certificate, event, part });
            let times = start(&binaries[name], call);
            next.entry(name).or_default().push(times.0);
            if let Some(time) = times.1 {
                answer.entry(name).or_default().push(time);
            }
        }
    }
    std::fs::remove_file(&certificate).unwrap();
    let median = |times: &[Duration]| {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        sorted[sorted.len() / 2].as_secs_f64() * 1e3
    };
    let mut outcome = ExitCode::SUCCESS;
    let (floor, ceiling) = (median(&next["hello"]), median(&answer["all-defaults"]));
    println!(
        "{:<22}{:>10}{:>16}{:>10}{:>20}{:>16}",
        "function", "bytes", "to first next", "to hello", "to first answer", "to all-defaults"
    );
    for name in ["hello", "all-defaults"].into_iter().chain(FUNCTIONS) {
        let bytes = binaries[name].metadata().unwrap().len();
        let milliseconds = median(&next[name]);
        print!("{name:<22}{bytes:>10}{milliseconds:>13.2} ms{:>10.2}", milliseconds / floor);
        if let Some(times) = answer.get(name) {
            let first = median(times);
            print!("{first:>17.2} ms{:>16.3}", first / ceiling);
        }
        println!();
        if FUNCTIONS.contains(&name) && bytes > MAX_BYTES {
            println!("  MISSED: at most {MAX_BYTES} bytes");
            outcome = ExitCode::FAILURE;
        }
        if FUNCTIONS.contains(&name) && milliseconds / floor > MAX_START {
            println!("  MISSED: at most {MAX_START} times the least function");
            outcome = ExitCode::FAILURE;
        }
    }
    outcome
}

const fn gcd(one: usize, two: usize) -> usize {
    if two == 0 { one } else { gcd(two, one % two) }
}

/// Builds the functions as they are deployed.
fn build() -> BTreeMap<&'static str, PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let names: Vec<&str> = ["hello"].into_iter().chain(FUNCTIONS).collect();
    let built = functions::build_for_aws(&Project::here(), &names).unwrap();
    let mut binaries: BTreeMap<&str, PathBuf> =
        names.into_iter().map(|name| (name, built.join(name).join("bootstrap"))).collect();
    let defaults = target.join("all-defaults");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--target-dir"])
        .arg(&defaults)
        .current_dir(workspace.join("tests/benches/all_defaults"))
        .status();
    assert!(built.unwrap().success());
    binaries.insert("all-defaults", defaults.join("release/all-defaults"));
    binaries
}

/// An event that takes one call to AWS.
struct Call<'a> {
    front: &'a Front,
    certificate: &'a Path,
    event: &'a str,
    /// What the answer has in it.
    part: &'a str,
}

/// The time from starting a function to its first request for an event, and to its answer to one.
fn start(binary: &Path, call: Option<Call<'_>>) -> (Duration, Option<Duration>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = Command::new(binary);
    command
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", listener.local_addr().unwrap().to_string())
        .env("AWS_LAMBDA_FUNCTION_NAME", "cold-start")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
        .env("AWS_LAMBDA_LOG_GROUP_NAME", "group")
        .env("AWS_LAMBDA_LOG_STREAM_NAME", "stream")
        .env("AWS_LAMBDA_LOG_LEVEL", "WARN")
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("STACK_NAME", "stack")
        .env("BUCKET", "bucket")
        .env("PROJECT_AMD64", "amd64")
        .env("PROJECT_ARM64", "arm64")
        .env("PUBLISHED_FUNCTION", "stack-ImagePublishedFunction")
        .env("REGISTRY_ACCOUNT", "123456789012")
        .env("REGISTRY_REGION", "eu-west-1")
        .env("TASK_DEFINITION_REVISIONS", "5")
        .env("WAITING_QUEUE", "https://sqs.eu-west-1.amazonaws.com/123456789012/waiting")
        .env("TOPIC", "arn:aws:sns:eu-west-1:123456789012:reports")
        .env("MAX_CONCURRENCY", "4")
        .env("PROTECTION_HOURS", "48")
        .env("TOLERATED_FAILURE_PERCENTAGE", "10")
        .stdout(Stdio::null());
    if let Some(call) = &call {
        for service in ["ECR", "CODEBUILD"] {
            command.env(format!("AWS_ENDPOINT_URL_{service}"), &call.front.url);
        }
        command.env("SSL_CERT_FILE", call.certificate);
    }
    let started = Instant::now();
    let mut process = command.spawn().unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let request = Request::read(&mut reader).unwrap().unwrap();
    let next = started.elapsed();
    assert_eq!(request.target, "/2018-06-01/runtime/invocation/next");
    let answer = call.map(|Call { event, part, .. }| {
        let deadline = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() + 29_000;
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: request\r\nLambda-Runtime-Deadline-Ms: {deadline}\r\n\
             Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-west-1:123456789012:function:cold-start\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{event}",
            event.len()
        )
        .unwrap();
        let request = Request::read(&mut reader).unwrap().unwrap();
        let time = started.elapsed();
        let body = String::from_utf8_lossy(&request.body).into_owned();
        assert!(request.target.ends_with("/response") && body.contains(part), "{}: {body}", request.target);
        time
    });
    process.kill().unwrap();
    process.wait().unwrap();
    (next, answer)
}
