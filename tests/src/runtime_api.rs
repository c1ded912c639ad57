//! A Lambda Runtime API on a loopback port: starts a function's real binary, sends it events and receives its answers.
//!
//! Protocol: "Using the Lambda runtime API for custom runtimes" in the AWS Lambda developer guide.

use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::http::Request;

/// Timeout of a function's answer in tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// A function that is running and waiting for events.
pub struct Function {
    process: Child,
    events: Sender<String>,
    answers: Receiver<Answer>,
    /// The timeout of its answer.
    patience: Duration,
}

/// The answer of a function.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The body of its response.
    Response(Value),
    /// The body of its error: `errorType` and `errorMessage`.
    Error(Value),
}

impl Answer {
    /// The response.
    ///
    /// # Panics
    ///
    /// When the function answered with an error.
    pub fn response(self) -> Value {
        match self {
            Self::Response(value) => value,
            Self::Error(error) => panic!("the function failed: {error}"),
        }
    }

    /// The error's type and message.
    ///
    /// # Panics
    ///
    /// When the function answered with a response.
    pub fn error(self) -> (String, String) {
        match self {
            Self::Error(error) => {
                let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
                (text("errorType"), text("errorMessage"))
            }
            Self::Response(value) => panic!("the function answered: {value}"),
        }
    }
}

impl Function {
    /// Starts a binary as Lambda starts a `bootstrap`.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start(binary: &Path) -> Self {
        Self::start_with(binary, &[], PATIENCE)
    }

    /// Starts a binary with more in its environment, and so much time for each event.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start_with(binary: &Path, environment: &[(&str, &str)], time: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (events, pending) = mpsc::channel();
        let (answered, answers) = mpsc::channel();
        let arn = arn(environment);
        std::thread::spawn(move || serve(&listener, &arn, &pending, &answered, time));
        let process = Command::new(binary)
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "under-test")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/under-test")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "stream")
            .env("AWS_LAMBDA_LOG_LEVEL", "WARN")
            .env("AWS_REGION", "eu-west-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("BUCKET", crate::cloud::BUCKET)
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        Self { process, events, answers, patience: time.max(PATIENCE) }
    }

    /// The most memory that it ever had, in kilobytes.
    ///
    /// # Panics
    ///
    /// When it has ended.
    pub fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The processor time that it has had, to a hundredth of a second.
    ///
    /// # Panics
    ///
    /// When it has ended.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        // The name of the program, in brackets, may have spaces.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let ticks = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap());
        Duration::from_millis(ticks.sum::<u64>() * 10)
    }

    /// Sends the function an event, without waiting for the answer.
    ///
    /// # Panics
    ///
    /// If it has ended.
    pub fn hand(&self, event: impl Into<String>) {
        self.events.send(event.into()).unwrap();
    }

    /// Sends the function an event and waits for the answer.
    ///
    /// # Panics
    ///
    /// If it does not answer in its time, or within a minute if that is longer.
    pub fn invoke(&self, event: impl Into<String>) -> Answer {
        self.events.send(event.into()).unwrap();
        self.answers.recv_timeout(self.patience).unwrap()
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// No two requests have the same id, whichever function they are for.
static REQUESTS: AtomicU32 = AtomicU32::new(1);

fn serve(
    listener: &TcpListener,
    arn: &str,
    events: &Receiver<String>,
    answers: &Sender<Answer>,
    time: Duration,
) {
    let mut number = 0_u32;
    for stream in listener.incoming() {
        // One connection after the other: a runtime waits for its answer before it asks again.
        let _ = connection(stream.unwrap(), arn, events, answers, &mut number, time);
    }
}

/// The ARN of the function: as on the local AWS, an access key of twelve digits is an account.
fn arn(environment: &[(&str, &str)]) -> String {
    let mut keys =
        environment.iter().filter(|(name, _)| *name == "AWS_ACCESS_KEY_ID").map(|(_, value)| *value);
    let account = keys.next_back().filter(|key| key.len() == 12).unwrap_or("123456789012");
    format!("arn:aws:lambda:eu-west-1:{account}:function:under-test")
}

fn connection(
    stream: TcpStream,
    arn: &str,
    events: &Receiver<String>,
    answers: &Sender<Answer>,
    number: &mut u32,
    time: Duration,
) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = Request::read(&mut reader)? {
        if request.target == "/2018-06-01/runtime/invocation/next" {
            // The test is over when nobody is left to send an event.
            let Ok(event) = events.recv() else { return Ok(()) };
            *number = REQUESTS.fetch_add(1, Ordering::Relaxed);
            let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + time;
            write!(
                writer,
                "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: request-{number}\r\n\
                 Lambda-Runtime-Deadline-Ms: {}\r\nLambda-Runtime-Invoked-Function-Arn: \
                 {arn}\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{event}",
                deadline.as_millis(),
                event.len()
            )?;
        } else {
            let value = serde_json::from_slice(&request.body).unwrap();
            let answer =
                if request.target == format!("/2018-06-01/runtime/invocation/request-{number}/response") {
                    Answer::Response(value)
                } else {
                    Answer::Error(value)
                };
            // Nobody may be waiting any more.
            let _ = answers.send(answer);
            write!(writer, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")?;
        }
    }
    Ok(())
}
