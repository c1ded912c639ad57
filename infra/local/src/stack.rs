//! The stack: deployed with the AWS SAM CLI, called with the AWS CLI, as a user would.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::emulator::Emulator;
use crate::registry::Proxy;
use crate::tools::{self, AWS, SAM};
use crate::{LocalError, Project, functions, run, say};

const NAME: &str = "ecr-steward";
/// An account that may report what it uses, on the same local AWS.
pub const REPORTER: &str = "210987654321";

/// The deployed stack.
#[derive(Debug, Clone)]
pub struct Stack {
    emulator: Emulator,
    aws: std::path::PathBuf,
    /// The stack's outputs, by their keys in `template.yaml`.
    pub outputs: BTreeMap<String, String>,
}

impl Stack {
    /// Builds the functions and deploys the template; deploying what is deployed already changes nothing.
    ///
    /// # Errors
    ///
    /// When a tool cannot be installed, or fails.
    pub fn up(project: &Project, emulator: &Emulator) -> Result<Self, LocalError> {
        let programs = tools::install(project, SAM)?;
        let aws = tools::install(project, AWS)?.join("aws");
        let sam = |arguments: &[&str]| -> Result<(), LocalError> {
            let mut command = Command::new(programs.join("sam"));
            command
                .args(arguments)
                .current_dir(project.root())
                .env("PATH", tools::path_with(&programs))
                .env("SAM_CLI_TELEMETRY", "0")
                // It would look every five seconds whether the stack is there.
                .env("SAM_CLI_POLL_DELAY", "0.5");
            run(emulator.lead(&mut command)).map(drop)
        };
        say("building the functions (minutes the first time)");
        let template = functions::lay_out(project)?;
        let template = template.to_string_lossy();
        say("deploying the stack");
        let deploy = [
            "deploy",
            "--template-file",
            &template,
            "--stack-name",
            NAME,
            "--resolve-s3",
            "--no-confirm-changeset",
            "--no-fail-on-empty-changeset",
            "--parameter-overrides",
            functions::architecture(),
            // CloudFormation, too, is on this machine.
            "AllowLoopbackResponseUrl=true",
            "Enforce=true",
            // The emulator knows no Region in conditions, by which the template has its default.
            "Builds=both",
            &format!("ReporterAccounts={REPORTER}"),
        ];
        sam(&deploy)?;
        let mut stack = Self { emulator: emulator.clone(), aws, outputs: BTreeMap::new() };
        stack.outputs = stack.describe(NAME)?.map(|described| described.outputs).unwrap_or_default();
        Ok(stack)
    }

    /// Calls the AWS CLI on the local AWS; what it prints is JSON, or nothing.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub fn aws(&self, arguments: &[&str]) -> Result<Value, LocalError> {
        self.aws_with(arguments, &[])
    }

    /// The same as another account: the emulator takes an access key of twelve digits for one.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub fn aws_as(&self, account: &str, arguments: &[&str]) -> Result<Value, LocalError> {
        self.aws_with(arguments, &[("AWS_ACCESS_KEY_ID", account)])
    }

    fn aws_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Value, LocalError> {
        let mut command = Command::new(&self.aws);
        let command = self.emulator.lead(command.args(arguments)).envs(environment.iter().copied());
        let output = run(command)?;
        if output.stdout.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&output.stdout).map_err(|error| LocalError::Unexpected {
            program: format!("aws {}", arguments.join(" ")),
            problem: error.to_string(),
        })
    }

    /// The endpoint of every AWS service.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.emulator.endpoint()
    }

    /// Sets the environment for using this AWS on a command.
    pub fn lead<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        self.emulator.lead(command)
    }

    /// A proxy that sends requests for the registry's host, which is one of AWS, to the emulator.
    ///
    /// # Errors
    ///
    /// If there is no free port.
    pub fn registry_proxy(&self) -> Result<Proxy, LocalError> {
        Proxy::start(self.emulator.port)
    }

    /// Calls the AWS CLI for a list, which is at this place of what it prints.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub fn aws_lists(&self, arguments: &[&str], pointer: &str) -> Result<Vec<Value>, LocalError> {
        let answer = self.aws(arguments)?;
        Ok(answer.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default())
    }

    /// Runs the AWS CLI where it has to fail, and returns its output.
    ///
    /// # Errors
    ///
    /// If it does not fail.
    pub fn aws_fails(&self, arguments: &[&str]) -> Result<String, LocalError> {
        match self.aws(arguments) {
            Err(LocalError::Failed { output, .. }) => Ok(output),
            Err(error) => Err(error),
            Ok(answer) => Err(LocalError::Unexpected {
                program: format!("aws {}", arguments.join(" ")),
                problem: format!("it should fail, and answers {answer}"),
            }),
        }
    }

    /// An output of the stack.
    ///
    /// # Errors
    ///
    /// When the stack has none of that name.
    pub fn output(&self, name: &str) -> Result<&str, LocalError> {
        self.outputs.get(name).map(String::as_str).ok_or_else(|| LocalError::Unexpected {
            program: "the deployed stack".to_owned(),
            problem: format!("it has no output {name}"),
        })
    }

    /// Sends a signed request to the stack's HTTP API, as a person would with curl.
    ///
    /// # Errors
    ///
    /// When there is no answer, or none in JSON.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, LocalError> {
        let endpoint = self.output("ApiEndpoint")?;
        // The name of the API is one that only the emulator knows.
        let host = endpoint.trim_start_matches("http://");
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--show-error", "--request", method])
            .args(["--aws-sigv4", "aws:amz:eu-west-1:execute-api", "--user", "test:test"])
            .args(["--header", &format!("Host: {host}"), "--write-out", "\n%{http_code}"]);
        if let Some(body) = body {
            command.args(["--header", "Content-Type: application/json", "--data-binary", &body.to_string()]);
        }
        command.arg(format!("{}{path}", self.emulator.endpoint()));
        let output = run(&mut command)?;
        let unexpected = |problem: String| LocalError::Unexpected {
            program: format!("curl --request {method} {path}"),
            problem,
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let (body, status) =
            text.rsplit_once('\n').ok_or_else(|| unexpected(format!("no status in {text}")))?;
        let body = match body {
            "" => Value::Null,
            body => serde_json::from_str(body).map_err(|error| unexpected(format!("{error}: {body}")))?,
        };
        let status = status.parse().map_err(|_| unexpected(format!("the status is {status}")))?;
        Ok(Answer { status, body })
    }

    /// Calls Amazon SQS, whose endpoint the AWS CLI does not take from the environment.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub fn sqs(&self, arguments: &[&str]) -> Result<Value, LocalError> {
        let endpoint = self.emulator.endpoint();
        self.aws(&[&["sqs", "--endpoint-url", &endpoint], arguments].concat())
    }

    /// Pushes the image in an OCI layout to a URI of ECR, after logging in.
    ///
    /// # Errors
    ///
    /// If the push fails.
    pub fn push(&self, layout: &Path, uri: &str, run_folder: &Path) -> Result<(), LocalError> {
        let (layout, to) = (format!("oci:{}", layout.display()), format!("docker://{uri}"));
        self.copy(
            &["--preserve-digests", "--dest-tls-verify=false"],
            "--dest-creds",
            [&layout, &to],
            run_folder,
        )
    }

    /// Pulls an image by a URI, after logging in, into a folder, and gives its configuration.
    ///
    /// # Errors
    ///
    /// When the pull fails.
    pub fn pull(&self, uri: &str, folder: &Path, run_folder: &Path) -> Result<Value, LocalError> {
        let (from, to) = (format!("docker://{uri}"), format!("dir:{}", folder.display()));
        self.copy(&["--src-tls-verify=false"], "--src-creds", [&from, &to], run_folder)?;
        let read = |name: &str| -> Result<Value, LocalError> {
            let file = folder.join(name);
            let text = std::fs::read(&file).map_err(LocalError::io(file.display().to_string()))?;
            serde_json::from_slice(&text).map_err(|error| LocalError::Unexpected {
                program: file.display().to_string(),
                problem: error.to_string(),
            })
        };
        let manifest = read("manifest.json")?;
        let config = manifest.pointer("/config/digest").and_then(Value::as_str).unwrap_or_default();
        read(config.trim_start_matches("sha256:"))
    }

    /// Pulls an image index with the images of all platforms by a URI, after logging in, into a folder.
    ///
    /// # Errors
    ///
    /// When the pull fails.
    pub fn pull_all(&self, uri: &str, folder: &Path, run_folder: &Path) -> Result<(), LocalError> {
        let (from, to) = (format!("docker://{uri}"), format!("dir:{}", folder.display()));
        let options = ["--all", "--preserve-digests", "--src-tls-verify=false"];
        self.copy(&options, "--src-creds", [&from, &to], run_folder)
    }

    /// Copies an image with the credentials of a login.
    fn copy(
        &self,
        options: &[&str],
        credentials: &str,
        from_to: [&str; 2],
        run_folder: &Path,
    ) -> Result<(), LocalError> {
        let login = ["ecr", "get-login-password"];
        let password = run(self.emulator.lead(Command::new(&self.aws).args(login)))?;
        let password = String::from_utf8_lossy(&password.stdout).trim().to_owned();
        let policy = run_folder.join("containers-policy.json");
        std::fs::write(&policy, r#"{"default": [{"type": "insecureAcceptAnything"}]}"#)
            .map_err(LocalError::io(policy.display().to_string()))?;
        // The URI names a host of AWS; here the emulator answers for it, without TLS.
        let proxy = Proxy::start(self.emulator.port)?;
        run(Command::new("skopeo")
            .arg("--policy")
            .arg(&policy)
            .args(["copy", "--quiet"])
            .args(options)
            .args([credentials, &format!("AWS:{password}")])
            .args(from_to)
            .env("HTTP_PROXY", proxy.url()))
        .map(drop)
    }

    /// Deploys a template of `infra/examples` as a stack of its own, and returns its final status.
    ///
    /// # Errors
    ///
    /// If CloudFormation refuses it at once.
    pub fn deploy(
        &self,
        template: &Path,
        name: &str,
        parameters: &[(&str, &str)],
    ) -> Result<String, LocalError> {
        let operation = if self.describe(name)?.is_some() { "update-stack" } else { "create-stack" };
        let body = format!("file://{}", template.display());
        let parameters: Vec<Value> = parameters
            .iter()
            .map(|(key, value)| json!({ "ParameterKey": key, "ParameterValue": value }))
            .collect();
        let parameters = Value::from(parameters).to_string();
        let arguments = ["--stack-name", name, "--template-body", &body, "--parameters", &parameters];
        let roles = ["--capabilities", "CAPABILITY_IAM"];
        let arguments = [&["cloudformation", operation][..], &arguments, &roles].concat();
        self.aws(&arguments)?;
        Ok(self.settled(name)?.map(|stack| stack.status).unwrap_or_default())
    }

    /// Deletes a stack, if it exists, and returns its final status; `None` if it is deleted.
    ///
    /// # Errors
    ///
    /// If CloudFormation refuses it at once.
    pub fn delete(&self, name: &str) -> Result<Option<String>, LocalError> {
        if self.describe(name)?.is_none() {
            return Ok(None);
        }
        self.aws(&["cloudformation", "delete-stack", "--stack-name", name])?;
        Ok(self.settled(name)?.map(|stack| stack.status))
    }

    /// Deletes this stack, and returns its final status; `None` if it is deleted.
    ///
    /// # Errors
    ///
    /// If CloudFormation refuses it at once.
    pub fn delete_itself(&self) -> Result<Option<String>, LocalError> {
        self.delete(NAME)
    }

    /// Waits until nothing is done to a stack any more. The waiters of the AWS CLI look only twice a minute.
    fn settled(&self, name: &str) -> Result<Option<Described>, LocalError> {
        let started = Instant::now();
        loop {
            let described = self.describe(name)?;
            let is_busy = described.as_ref().is_some_and(|stack| stack.status.ends_with("_IN_PROGRESS"));
            if !is_busy || started.elapsed() > PATIENCE {
                return Ok(described);
            }
            sleep(Duration::from_millis(300));
        }
    }

    /// A stack; `None` if there is none of that name.
    ///
    /// # Errors
    ///
    /// If CloudFormation cannot be asked.
    pub fn describe(&self, name: &str) -> Result<Option<Described>, LocalError> {
        let arguments = ["cloudformation", "describe-stacks", "--stack-name", name, "--output", "json"];
        let answer = match self.aws(&arguments) {
            Err(LocalError::Failed { output, .. }) if output.contains("does not exist") => return Ok(None),
            answer => answer?,
        };
        let status =
            answer.pointer("/Stacks/0/StackStatus").and_then(Value::as_str).unwrap_or_default().to_owned();
        if status == "DELETE_COMPLETE" {
            return Ok(None);
        }
        Ok(Some(Described { status, outputs: outputs(&answer)? }))
    }

    /// Invokes a function with an event from a file, and waits for its answer.
    ///
    /// # Errors
    ///
    /// When it fails, or the function does.
    pub fn invoke(&self, function_arn: &str, event: &Path, answer: &Path) -> Result<Value, LocalError> {
        let payload = format!("fileb://{}", event.display());
        let file = answer.to_string_lossy();
        let invocation = ["lambda", "invoke", "--function-name", function_arn, "--payload", &payload, &file];
        let outcome = self.aws(&invocation)?;
        let text = std::fs::read_to_string(answer).map_err(LocalError::io(file.clone()))?;
        let unexpected = |problem: String| LocalError::Unexpected {
            program: format!("aws lambda invoke {function_arn}"),
            problem,
        };
        if let Some(error) = outcome["FunctionError"].as_str() {
            return Err(unexpected(format!("{error}: {text}")));
        }
        serde_json::from_str(&text).map_err(|error| unexpected(error.to_string()))
    }
}

/// Timeout of CloudFormation for a small stack, which takes seconds.
const PATIENCE: Duration = Duration::from_secs(180);

/// A stack as CloudFormation describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// `CREATE_COMPLETE`, `UPDATE_ROLLBACK_COMPLETE` ….
    pub status: String,
    /// Its outputs.
    pub outputs: BTreeMap<String, String>,
}

/// An answer of the HTTP API.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body; null for none.
    pub body: Value,
}

fn outputs(answer: &Value) -> Result<BTreeMap<String, String>, LocalError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Output {
        output_key: String,
        output_value: String,
    }
    let outputs = answer.pointer("/Stacks/0/Outputs").cloned().unwrap_or(Value::Array(Vec::new()));
    let outputs: Vec<Output> = serde_json::from_value(outputs).map_err(|error| LocalError::Unexpected {
        program: "aws cloudformation describe-stacks".to_owned(),
        problem: error.to_string(),
    })?;
    Ok(outputs.into_iter().map(|output| (output.output_key, output.output_value)).collect())
}
