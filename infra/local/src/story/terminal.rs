//! The part of the story at a terminal: `ecr-steward` asks the deployed stack for a repository, for an image of a directory, and for
//! what is there; a real client pulls the image after `ecr-steward login`.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::Step;
use crate::stack::Stack;
use crate::{LocalError, Project, functions, run, say};

/// The repository of this part.
const REPOSITORY: &str = "team/terminal";
/// Duration of a step of the Dockerfile, so that its line is printed before the build is over.
const WORK: Duration = Duration::from_secs(3);
/// Steps that say what they do, on nothing but a program.
const DOCKERFILE: &str = "FROM scratch\nCOPY busybox /bin/\nRUN [\"/bin/busybox\", \"echo\", \"compiling the application\"]\n\
     RUN [\"/bin/busybox\", \"sleep\", \"3\"]\nRUN [\"/bin/busybox\", \"echo\", \"compiled\"]\nCOPY index.html /srv/\n\
     ENTRYPOINT [\"/bin/busybox\"]\n";

/// Plays it.
pub(super) fn play(project: &Project, stack: &Stack) -> Result<(), LocalError> {
    let built = functions::build(project, &["ecr-steward"])?;
    let program = built.get("ecr-steward").cloned().unwrap_or_default();
    let terminal = Terminal { project, stack, program };
    terminal.repository()?;
    let uri = terminal.build()?;
    terminal.failure()?;
    terminal.images(&uri)?;
    terminal.pull(&uri)
}

/// Removes what a story that was broken off has left.
pub(super) fn clear(stack: &Stack) -> Result<(), LocalError> {
    stack.request("DELETE", &format!("/repositories/{REPOSITORY}?force=true&inUse=true"), None).map(drop)
}

struct Terminal<'a> {
    project: &'a Project,
    stack: &'a Stack,
    program: PathBuf,
}

impl Terminal<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        self.stack.lead(&mut command).args(arguments).stdin(Stdio::null());
        command
    }

    fn output(&self, arguments: &[&str]) -> Result<Output, LocalError> {
        let what = format!("ecr-steward {}", arguments.join(" "));
        self.command(arguments).output().map_err(LocalError::io(what))
    }

    /// The output of a command that has to succeed.
    fn prints(&self, arguments: &[&str]) -> Result<String, LocalError> {
        let output = run(&mut self.command(arguments))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// A directory with a Dockerfile, with a file in it that `.dockerignore` names.
    fn source(&self, name: &str, dockerfile: &str) -> Result<PathBuf, LocalError> {
        let folder = self.project.run().join("sources").join(name);
        let io = |file: &Path| LocalError::io(file.display().to_string());
        crate::tools::remove(&folder)?;
        fs::create_dir_all(&folder).map_err(io(&folder))?;
        let files = [
            ("Dockerfile", dockerfile),
            ("index.html", "terminal"),
            (".dockerignore", "secret\n"),
            ("secret", "s"),
        ];
        for (name, content) in files {
            let file = folder.join(name);
            fs::write(&file, content).map_err(io(&file))?;
        }
        let program = folder.join("busybox");
        fs::copy("/bin/busybox", &program).map_err(io(&program))?;
        Ok(folder)
    }

    fn repository(&self) -> Result<(), LocalError> {
        let step = Step::begin("at a terminal: ecr-steward repository create team/terminal");
        let uri = self.prints(&["repository", "create", REPOSITORY])?;
        let again = self.prints(&["repository", "create", REPOSITORY])?;
        step.check(uri.ends_with(&format!("/{REPOSITORY}")) && uri == again, || {
            format!("{uri}, and then {again}")
        })?;
        let names = self.prints(&["repository", "list"])?;
        step.check(names.lines().any(|name| name == REPOSITORY), || names)?;
        say(&format!("  {uri}"));
        Ok(())
    }

    fn build(&self) -> Result<String, LocalError> {
        let step = Step::begin(
            "ecr-steward build ./app --repository team/terminal: the log as it comes, then the image",
        );
        let folder = self.source("terminal", DOCKERFILE)?;
        let folder = folder.to_string_lossy();
        let arguments = ["build", &folder, "--repository", REPOSITORY, "--tag", "latest"];
        let io = || LocalError::io("ecr-steward build");
        let mut child =
            self.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(io())?;
        let mut seen = None;
        let mut lines = Vec::new();
        if let Some(answer) = child.stderr.take() {
            for line in BufReader::new(answer).lines() {
                let line = line.map_err(io())?;
                if line == "compiling the application" {
                    seen = Some(Instant::now());
                }
                say(&format!("  {line}"));
                lines.push(line);
            }
        }
        let mut uri = String::new();
        if let Some(mut printed) = child.stdout.take() {
            printed.read_to_string(&mut uri).map_err(io())?;
        }
        let status = child.wait().map_err(io())?;
        step.check(status.success(), || format!("{status}: {}", lines.join("\n")))?;
        // Half the time of a later step is enough to distinguish a line that is printed at once from one that is printed at the
        // end.
        let before = seen.map(|seen| seen.elapsed());
        step.check(before.is_some_and(|before| before > WORK / 2), || {
            format!("the first step's line should be seen long before the end, and was {before:?}: {lines:?}")
        })?;
        let uri = uri.trim().to_owned();
        step.check(uri.contains(&format!("/{REPOSITORY}@sha256:")), || uri.clone())?;
        let again = self.output(&arguments)?;
        let there = String::from_utf8_lossy(&again.stderr).contains("The image is there already");
        step.check(there && String::from_utf8_lossy(&again.stdout).trim() == uri, || {
            format!("the same directory should be the same image, without a build: {again:?}")
        })?;
        say(&format!("  {uri}"));
        Ok(uri)
    }

    fn failure(&self) -> Result<(), LocalError> {
        let step = Step::begin("a build that fails ends with its step, and exit code 1");
        let dockerfile = "FROM scratch\nCOPY busybox /bin/\nRUN [\"/bin/busybox\", \"false\"]\n";
        let folder = self.source("terminal-broken", dockerfile)?;
        let folder = folder.to_string_lossy();
        let output = self.output(&["build", &folder, "--repository", REPOSITORY])?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = errors
            .lines()
            .find(|line| line.starts_with("ecr-steward: the build for linux/"))
            .unwrap_or_default();
        step.check(output.status.code() == Some(1) && output.stdout.is_empty(), || format!("{output:?}"))?;
        step.check(line.contains("failed at") && line.contains("busybox"), || errors.clone())?;
        say(&format!("  {line}"));
        let missing = self.output(&["build", "/bin", "--repository", REPOSITORY])?;
        step.check(missing.status.code() == Some(2), || format!("{missing:?}"))
    }

    fn images(&self, uri: &str) -> Result<(), LocalError> {
        let step = Step::begin("ecr-steward images list team/terminal; ecr-steward explain");
        let table = self.prints(&["images", "list", REPOSITORY])?;
        step.check(table.contains("latest") && table.contains("src-"), || table.clone())?;
        for line in table.lines() {
            say(&format!("  {line}"));
        }
        let answer = self.prints(&["explain", uri])?;
        step.check(answer.contains("Policy: ") && answer.contains("Kept: "), || answer.clone())
    }

    fn pull(&self, uri: &str) -> Result<(), LocalError> {
        let step = Step::begin("ecr-steward login, and a real client pulls the image");
        let folder = self.project.run().join("terminal-login");
        let io = |file: &Path| LocalError::io(file.display().to_string());
        crate::tools::remove(&folder)?;
        fs::create_dir_all(&folder).map_err(io(&folder))?;
        // What docker does with a login: it asks the registry, and keeps what was right. skopeo asks and keeps it the same way.
        let docker = folder.join("docker");
        let script = "#!/bin/sh\nprintf '%s\\n' \"$*\" >\"$(dirname \"$0\")/arguments\"\n[ \"$1\" = login ] && shift\n\
                      exec skopeo login --tls-verify=false \"$@\"\n";
        fs::write(&docker, script).map_err(io(&docker))?;
        fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).map_err(io(&docker))?;
        let authentication = folder.join("auth.json");
        let proxy = self.stack.registry_proxy()?;
        let mut login = self.command(&["login", "docker"]);
        login.env("PATH", crate::tools::path_with(&folder)).env("REGISTRY_AUTH_FILE", &authentication);
        // For the client alone: the program itself asks the emulator.
        login.env("HTTP_PROXY", proxy.url());
        run(&mut login)?;
        let arguments = folder.join("arguments");
        let arguments = fs::read_to_string(&arguments).map_err(io(&arguments))?;
        step.check(arguments.starts_with("login --username AWS --password-stdin "), || arguments.clone())?;
        let pulled = folder.join("pulled");
        run(Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "--authfile"])
            .arg(&authentication)
            .arg(format!("docker://{uri}"))
            .arg(format!("dir:{}", pulled.display()))
            .env("HTTP_PROXY", proxy.url()))?;
        step.check(pulled.join("manifest.json").is_file(), || "nothing was pulled".to_owned())?;
        say(&format!("  {}", arguments.trim()));
        Ok(())
    }
}
