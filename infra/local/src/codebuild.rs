//! One build of AWS CodeBuild, run on this machine: the source fetched, the phases of the buildspec in bash, the variables
//! that it exports. `docker` is buildah here, and the registry the emulator's.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::emulator::Emulator;
use crate::registry::Proxy;
use crate::tools::{self, AWS};
use crate::{LocalError, Project, run};

/// The docker commands that builds use.
const DOCKER: &str = include_str!("../docker.sh");

/// A build to run, as the emulator passes it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// `project:uuid`.
    pub build_id: String,
    /// The buildspec.
    pub buildspec: String,
    /// `S3`, `CODECOMMIT` or `NO_SOURCE`.
    pub source_type: String,
    /// The location of the source.
    pub source_location: String,
    /// The version or commit.
    pub source_version: String,
    /// The environment.
    pub environment_variables: Vec<Variable>,
}

/// A variable of a build's environment.
#[derive(Debug, Clone, Deserialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value, or where the Secrets Manager has it.
    pub value: String,
    /// `PLAINTEXT` or `SECRETS_MANAGER`.
    #[serde(default, rename = "type")]
    pub kind: String,
}

impl Variable {
    /// A variable with a value.
    #[must_use]
    pub fn plain(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), value: value.to_owned(), kind: "PLAINTEXT".to_owned() }
    }
}

/// The result of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ran {
    /// The phases that began.
    pub phases: Vec<Phase>,
    /// The variables that the build exports.
    pub exported: BTreeMap<String, String>,
}

/// A phase of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Phase {
    /// `BUILD` and so on.
    pub name: String,
    /// Whether it succeeded.
    pub succeeded: bool,
    /// Why not, in CodeBuild's words.
    pub message: String,
}

impl Ran {
    /// Whether all phases succeeded.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.phases.iter().all(|phase| phase.succeeded)
    }
}

#[derive(Deserialize)]
struct Buildspec {
    #[serde(default)]
    env: Env,
    phases: BTreeMap<String, Commands>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Env {
    #[serde(default)]
    exported_variables: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Commands {
    #[serde(default)]
    commands: Vec<String>,
    on_failure: Option<String>,
}

/// The environment that builds run in.
#[derive(Debug, Clone)]
pub struct Builder {
    project: Project,
    emulator: Emulator,
}

impl Builder {
    /// Builds on the emulator of a project.
    #[must_use]
    pub fn new(project: &Project, emulator: &Emulator) -> Self {
        Self { project: project.clone(), emulator: emulator.clone() }
    }

    /// The folder with CodeCommit's repositories: Git repositories by name.
    #[must_use]
    pub fn repositories(project: &Project) -> PathBuf {
        project.run().join("codecommit")
    }

    /// Runs a build in `folder`, which is created, and writes its output to `log`.
    ///
    /// # Errors
    ///
    /// If it cannot be started. The failure of a phase is in the result.
    pub fn run(&self, job: &Job, folder: &Path, log: &mut impl Write) -> Result<Ran, LocalError> {
        let io = |what: &Path| LocalError::io(what.display().to_string());
        let unexpected = |problem: String| LocalError::Unexpected { program: job.build_id.clone(), problem };
        let source = folder.join("src");
        let programs = folder.join("bin");
        fs::create_dir_all(&programs).map_err(io(&programs))?;
        let docker = programs.join("docker");
        fs::write(&docker, DOCKER).map_err(io(&docker))?;
        fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).map_err(io(&docker))?;
        let aws = tools::install(&self.project, AWS)?;
        let buildspec: Buildspec =
            serde_saphyr::from_str(&job.buildspec).map_err(|error| unexpected(error.to_string()))?;
        let mut ran = Ran { phases: Vec::new(), exported: BTreeMap::new() };
        if let Err(error) = self.fetch(job, &source, &aws) {
            let message = error.to_string();
            let _ = writeln!(log, "{message}");
            ran.phases.push(Phase { name: "DOWNLOAD_SOURCE".to_owned(), succeeded: false, message });
            return Ok(ran);
        }
        ran.phases.push(Phase {
            name: "DOWNLOAD_SOURCE".to_owned(),
            succeeded: true,
            message: String::new(),
        });
        let environment = self.environment(job, folder, &programs, &aws)?;
        let state = folder.join("environment");
        let mut go_on = true;
        for name in ["install", "pre_build", "build", "post_build"] {
            let Some(phase) = buildspec.phases.get(name) else { continue };
            // CodeBuild runs post_build after a build that failed, unless that says ABORT.
            let is_after_failure = !ran.succeeded() && name == "post_build" && go_on;
            if !ran.succeeded() && !is_after_failure {
                continue;
            }
            let failed = phase.commands.iter().find_map(|command| {
                let status = self.command(command, &source, &environment, &state, log);
                match status {
                    Ok(0) => None,
                    Ok(status) => Some(format!(
                        "Error while executing command: {command}. Reason: exit status {status}"
                    )),
                    Err(error) => Some(error.to_string()),
                }
            });
            go_on = failed.is_none() || phase.on_failure.as_deref() != Some("ABORT");
            ran.phases.push(Phase {
                name: name.to_uppercase(),
                succeeded: failed.is_none(),
                message: failed.unwrap_or_default(),
            });
        }
        let exports = "for name in \"$@\"; do printf '%s\\0%s\\0' \"$name\" \"${!name-}\"; done";
        let script = format!(". \"$STATE\" 2>/dev/null; {exports}");
        let output = Command::new("bash")
            .args(["-c", &script, "bash"])
            .args(&buildspec.env.exported_variables)
            .env("STATE", &state)
            .stdin(Stdio::null())
            .output()
            .map_err(LocalError::io("bash"))?;
        let mut parts = output.stdout.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part));
        while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            if !value.is_empty() {
                ran.exported.insert(name.into_owned(), value.into_owned());
            }
        }
        Ok(ran)
    }

    /// Runs a command where the ones before it left off: what they exported is there.
    fn command(
        &self,
        command: &str,
        source: &Path,
        environment: &[(String, String)],
        state: &Path,
        log: &mut impl Write,
    ) -> Result<i32, LocalError> {
        let script = format!(
            "exec 2>&1\n[ ! -f \"$STATE\" ] || . \"$STATE\"\n{command}\nstatus=$?\nexport -p >\"$STATE\"\nexit $status"
        );
        let mut child = Command::new("bash")
            .args(["-c", &script])
            .current_dir(source)
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env("STATE", state)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(LocalError::io("bash"))?;
        if let Some(output) = child.stdout.take() {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let _ = writeln!(log, "{}", String::from_utf8_lossy(&line));
            }
        }
        let status = child.wait().map_err(LocalError::io("bash"))?;
        Ok(status.code().unwrap_or(-1))
    }

    fn environment(
        &self,
        job: &Job,
        folder: &Path,
        programs: &Path,
        aws: &Path,
    ) -> Result<Vec<(String, String)>, LocalError> {
        // The registry's name is one of AWS; the emulator answers for it.
        let proxy = Proxy::start(self.emulator.port)?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut environment: Vec<(String, String)> =
            self.emulator.environment().map(|(name, value)| (name.to_owned(), value)).into();
        environment.extend([
            ("PATH".to_owned(), format!("{}:{}:{path}", text(programs), text(aws))),
            ("HOME".to_owned(), text(folder)),
            ("HTTP_PROXY".to_owned(), proxy.url()),
            ("http_proxy".to_owned(), proxy.url()),
            ("NO_PROXY".to_owned(), "127.0.0.1,localhost".to_owned()),
            ("no_proxy".to_owned(), "127.0.0.1,localhost".to_owned()),
            ("CODEBUILD_BUILD_ID".to_owned(), job.build_id.clone()),
            ("CODEBUILD_SRC_DIR".to_owned(), text(&folder.join("src"))),
        ]);
        for variable in &job.environment_variables {
            let value = match variable.kind.as_str() {
                "SECRETS_MANAGER" => self.secret(&variable.value, aws)?,
                _ => variable.value.clone(),
            };
            environment.push((variable.name.clone(), value));
        }
        Ok(environment)
    }

    /// Resolves `secret-id:json-key:version-stage:version-id`, which CodeBuild accepts without its last parts as well.
    fn secret(&self, reference: &str, aws: &Path) -> Result<String, LocalError> {
        let (id, key) = reference.split_once(':').map_or((reference, None), |(id, key)| (id, Some(key)));
        let mut command = Command::new(aws.join("aws"));
        command.args(["secretsmanager", "get-secret-value", "--secret-id", id]).args([
            "--query",
            "SecretString",
            "--output",
            "text",
        ]);
        let output = run(self.emulator.lead(&mut command))?;
        let secret = String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned();
        let Some(key) = key else { return Ok(secret) };
        let secret: Value = serde_json::from_str(&secret).unwrap_or_default();
        let value = secret[key].as_str().map(str::to_owned);
        value.ok_or_else(|| LocalError::Unexpected {
            program: format!("the secret {id}"),
            problem: format!("it has no {key}"),
        })
    }

    /// Fetches the source, pinned as it is.
    fn fetch(&self, job: &Job, folder: &Path, aws: &Path) -> Result<(), LocalError> {
        fs::create_dir_all(folder).map_err(LocalError::io(folder.display().to_string()))?;
        let unexpected = |problem: &str| LocalError::Unexpected {
            program: format!("the source {}", job.source_location),
            problem: problem.to_owned(),
        };
        match job.source_type.as_str() {
            "NO_SOURCE" => Ok(()),
            "S3" => {
                let (bucket, key) =
                    job.source_location.split_once('/').ok_or_else(|| unexpected("it is no bucket/key"))?;
                let archive = folder.with_extension("zip");
                let mut command = Command::new(aws.join("aws"));
                command
                    .args(["s3api", "get-object", "--bucket", bucket, "--key", key])
                    .args(["--version-id", &job.source_version])
                    .arg(&archive);
                run(self.emulator.lead(&mut command))?;
                // Python's own command forgets which files are programs.
                let unpack = "import sys, zipfile, os\n\
                    archive = zipfile.ZipFile(sys.argv[1])\n\
                    for entry in archive.infolist():\n    \
                    path = archive.extract(entry, sys.argv[2])\n    \
                    mode = entry.external_attr >> 16 & 0o777\n    \
                    mode and not entry.is_dir() and os.chmod(path, mode)\n";
                run(Command::new("python3").args(["-c", unpack]).arg(&archive).arg(folder)).map(drop)
            }
            "CODECOMMIT" => {
                let name = job.source_location.rsplit('/').next().unwrap_or_default();
                run(Command::new("git")
                    .args(["clone", "--quiet"])
                    .arg(Self::repositories(&self.project).join(name))
                    .arg(folder))?;
                run(Command::new("git")
                    .args(["checkout", "--quiet", "--detach", &job.source_version])
                    .current_dir(folder))
                .map(drop)
            }
            other => Err(unexpected(&format!("{other} is not known here"))),
        }
    }
}
