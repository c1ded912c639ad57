//! The stack: built and deployed with the AWS SAM CLI, called with the AWS CLI, as a user would.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use crate::emulator::Emulator;
use crate::tools::{self, AWS, SAM};
use crate::{LocalError, Project, run, say};

const NAME: &str = "ecr-steward";

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
                .envs(emulator.environment());
            run(&mut command).map(drop)
        };
        let build = project.root().join("target/local/build");
        let build_folder = build.to_string_lossy();
        let built_template = build.join("template.yaml");
        let built_template = built_template.to_string_lossy();
        // The functions run as processes of this machine.
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
        let architecture = format!("Architecture={architecture}");
        // CloudFormation, too, is on this machine.
        let parameters = ["--parameter-overrides", &architecture, "AllowLoopbackResponseUrl=true"];
        say("building the functions (minutes the first time)");
        sam(&[&["build", "--no-cached", "--build-dir", &build_folder][..], &parameters].concat())?;
        say("deploying the stack");
        let deploy = [
            "deploy",
            "--template-file",
            &built_template,
            "--stack-name",
            NAME,
            "--resolve-s3",
            "--no-confirm-changeset",
            "--no-fail-on-empty-changeset",
        ];
        sam(&[&deploy[..], &parameters].concat())?;
        let mut stack = Self { emulator: emulator.clone(), aws, outputs: BTreeMap::new() };
        stack.outputs = stack.read_outputs()?;
        Ok(stack)
    }

    fn read_outputs(&self) -> Result<BTreeMap<String, String>, LocalError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Output {
            output_key: String,
            output_value: String,
        }
        let answer =
            self.aws(&["cloudformation", "describe-stacks", "--stack-name", NAME, "--output", "json"])?;
        let outputs = answer.pointer("/Stacks/0/Outputs").cloned().unwrap_or_default();
        let outputs: Vec<Output> =
            serde_json::from_value(outputs).map_err(|error| LocalError::Unexpected {
                program: "aws cloudformation describe-stacks".to_owned(),
                problem: error.to_string(),
            })?;
        Ok(outputs.into_iter().map(|output| (output.output_key, output.output_value)).collect())
    }

    /// Calls the AWS CLI on the local AWS; what it prints is JSON, or nothing.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub fn aws(&self, arguments: &[&str]) -> Result<Value, LocalError> {
        let output = run(Command::new(&self.aws).args(arguments).envs(self.emulator.environment()))?;
        if output.stdout.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&output.stdout).map_err(|error| LocalError::Unexpected {
            program: format!("aws {}", arguments.join(" ")),
            problem: error.to_string(),
        })
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
