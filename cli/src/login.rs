//! `ecr-steward login`: signs docker, podman or helm in to the registry.

use std::io::{self, Write};
use std::process::{Command, Stdio};

use clap::{Args, ValueEnum};

use crate::account::{self, Aws};
use crate::{Failure, Outcome, output, progress};

/// Sign docker, podman or helm in to the registry, for twelve hours
///
/// The password is passed on the program's standard input, never in its arguments, which others can read. Without a name the first of
/// them that is installed is signed in.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward login
  ecr-steward login podman
  ecr-steward login helm --region eu-west-1 --profile ops
  ecr-steward login --registry-id 210987654321")]
pub(crate) struct Arguments {
    /// Who is signed in; may be several.
    #[arg(value_enum, value_name = "PROGRAM")]
    programs: Vec<Program>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Program {
    Docker,
    Podman,
    Helm,
}

/// Why nobody is signed in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    #[error("neither docker nor podman nor helm is installed; the password is for one of them")]
    NothingInstalled,
    #[error("{name} could not be started: {error}")]
    NotStarted { name: &'static str, error: io::Error },
    #[error("{name} did not sign in to {host} ({status}); what it said is above")]
    Failed { name: &'static str, host: String, status: std::process::ExitStatus },
}

impl Program {
    const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Helm => "helm",
        }
    }

    fn is_installed(self) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(self.name()).is_file())
    }

    /// Passes the password to the program's standard input, and waits.
    fn sign_in(self, host: &str, password: &str) -> Result<(), LoginError> {
        let name = self.name();
        let mut command = Command::new(name);
        if self == Self::Helm {
            command.arg("registry");
        }
        command.args(["login", "--username", "AWS", "--password-stdin", host]);
        let not_started = |error| LoginError::NotStarted { name, error };
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().map_err(not_started)?;
        if let Some(mut input) = child.stdin.take() {
            match input.write_all(password.as_bytes()) {
                // It ends without reading: its status says more.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                written => written.map_err(not_started)?,
            }
        }
        let status = child.wait().map_err(not_started)?;
        if status.success() {
            Ok(())
        } else {
            Err(LoginError::Failed { name, host: host.to_owned(), status })
        }
    }
}

pub(crate) fn run(arguments: &Arguments, aws: &Aws) -> Result<Outcome, Failure> {
    let mut programs = arguments.programs.clone();
    if programs.is_empty() {
        let all = [Program::Docker, Program::Podman, Program::Helm];
        programs.extend(all.into_iter().find(|program| program.is_installed()));
    }
    if programs.is_empty() {
        return Err(LoginError::NothingInstalled.into());
    }
    let given = account::connected(aws, async |connection| {
        progress::phase("asking for a password");
        Ok(connection.ecr_read().password().await?)
    })?;
    // A password is for every registry that the caller may use.
    let host = match (&aws.registry_id, given.host.split_once(".dkr.")) {
        (Some(account), Some((_, rest))) => format!("{account}.dkr.{rest}"),
        _ => given.host.clone(),
    };
    for program in programs {
        program.sign_in(&host, &given.password)?;
        let until = given.expires_at.map(|at| format!(", until {at}")).unwrap_or_default();
        output::note(&format!("{} is signed in to {host}{until}", program.name()));
    }
    Ok(Outcome::Success)
}
