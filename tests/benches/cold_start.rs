//! How long a function takes from its start to asking for its first event, as a ratio to the least function there is,
//! and how large it is: `cargo bench -p tests --bench cold_start`. Fails if a function is larger than its goal.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const FUNCTIONS: [&str; 1] = ["lifecycle-preview"];
const STARTS: usize = 60;
const MAX_BYTES: u64 = 6_000_000;

fn main() -> ExitCode {
    let binaries = build();
    let mut times: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    // In turns, so that whatever else the machine does hits all of them alike.
    for _ in 0..STARTS {
        for name in ["hello"].into_iter().chain(FUNCTIONS) {
            times.entry(name).or_default().push(start(&binaries[name]));
        }
    }
    let median = |name: &str| {
        let mut sorted = times[name].clone();
        sorted.sort_unstable();
        sorted[sorted.len() / 2].as_secs_f64() * 1e3
    };
    let floor = median("hello");
    let mut outcome = ExitCode::SUCCESS;
    println!("{:<24}{:>12}{:>16}{:>10}", "function", "bytes", "to first next", "ratio");
    for name in ["hello"].into_iter().chain(FUNCTIONS) {
        let bytes = binaries[name].metadata().unwrap().len();
        let milliseconds = median(name);
        println!("{name:<24}{bytes:>12}{milliseconds:>13.2} ms{:>10.2}", milliseconds / floor);
        if bytes > MAX_BYTES {
            println!("  MISSED: at most {MAX_BYTES} bytes");
            outcome = ExitCode::FAILURE;
        }
    }
    outcome
}

/// Builds the functions as they are deployed.
fn build() -> BTreeMap<&'static str, PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--release", "--bin", "hello"]).current_dir(&workspace);
    for name in FUNCTIONS {
        command.args(["--bin", name]);
    }
    assert!(command.status().unwrap().success());
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    ["hello"].into_iter().chain(FUNCTIONS).map(|name| (name, target.join("release").join(name))).collect()
}

/// The time from starting a function to its first request for an event.
fn start(binary: &Path) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let started = Instant::now();
    let mut process = Command::new(binary)
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", listener.local_addr().unwrap().to_string())
        .env("AWS_LAMBDA_FUNCTION_NAME", "cold-start")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
        .env("AWS_LAMBDA_LOG_GROUP_NAME", "group")
        .env("AWS_LAMBDA_LOG_STREAM_NAME", "stream")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (stream, _) = listener.accept().unwrap();
    let mut request = String::new();
    BufReader::new(stream).read_line(&mut request).unwrap();
    let time = started.elapsed();
    assert!(request.contains("/invocation/next"), "{request}");
    process.kill().unwrap();
    process.wait().unwrap();
    time
}
