//! The AWS account that commands read and change: whose credentials, which region, which repositories.
//!
//! Credentials in the environment are taken as they are. Otherwise the AWS CLI is asked, which knows profiles, single sign-on,
//! roles and instances, and this program starts once more with what it says.

use std::io::{self, IsTerminal, Write};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use shared::aws::Connection;
use shared::domain::enforcement::actor::Actor;
use shared::domain::repository::{Existing, Name};
use shared::workflows::enforcement::{AwsClients, RunContext};

use crate::Failure;

/// For so long a command may work.
const PATIENCE: Duration = Duration::from_secs(12 * 3600);
/// Set when the AWS CLI was asked, so that it is asked once.
const ASKED: &str = "ECR_STEWARD_ASKED_AWS_CLI";

/// Why there is no account to work on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountError {
    #[error(
        "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or install the AWS CLI (version 2) \
         and sign in ({0})"
    )]
    Credentials(String),
    #[error("there is no region: set AWS_REGION, or `aws configure set region`")]
    Region,
    #[error("this program could not be started once more with credentials: {0}")]
    Again(io::Error),
    #[error("no runtime: {0}")]
    Runtime(io::Error),
    #[error("--repository {name}: {problem}")]
    Name { name: String, problem: String },
    #[error("there is no repository {0} in this registry")]
    Missing(String),
}

/// Which repositories.
#[derive(Debug, Args)]
#[group(required = false, multiple = false)]
pub(crate) struct Which {
    /// A repository of the account; may be given more than once.
    #[arg(long, value_name = "NAME")]
    pub(crate) repository: Vec<String>,

    /// All repositories of the account.
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Exported {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

/// Does work in the account, on one thread.
pub(crate) fn work<T>(
    bucket: Option<&str>,
    work: impl AsyncFnOnce(RunContext<'_>, &Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    credentials()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(AccountError::Runtime)?;
    runtime.block_on(async {
        let hands = AwsClients::new(Connection::from_env(), bucket.unwrap_or_default().to_owned());
        work(hands.clients(PATIENCE), hands.connection()).await
    })
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Sees to it that credentials and region are in the environment; if they are not, does not come back.
fn credentials() -> Result<(), AccountError> {
    let has_region = is_set("AWS_REGION") || is_set("AWS_DEFAULT_REGION");
    let has_keys = is_set("AWS_ACCESS_KEY_ID") && is_set("AWS_SECRET_ACCESS_KEY");
    if has_keys && has_region {
        return Ok(());
    }
    if is_set(ASKED) {
        return Err(if has_keys {
            AccountError::Region
        } else {
            AccountError::Credentials("the AWS CLI gave none".to_owned())
        });
    }
    let program = std::env::current_exe().map_err(AccountError::Again)?;
    let mut again = Command::new(program);
    again.args(std::env::args_os().skip(1)).env(ASKED, "1");
    if !has_keys {
        let exported = aws(&["configure", "export-credentials", "--format", "process"])?;
        let exported: Exported = serde_json::from_str(&exported).map_err(|error| {
            AccountError::Credentials(format!("the AWS CLI says what is unreadable: {error}"))
        })?;
        again.env("AWS_ACCESS_KEY_ID", exported.access_key_id);
        again.env("AWS_SECRET_ACCESS_KEY", exported.secret_access_key);
        if let Some(token) = exported.session_token {
            again.env("AWS_SESSION_TOKEN", token);
        }
    }
    if !has_region {
        let region = aws(&["configure", "get", "region"]).map_err(|_| AccountError::Region)?;
        again.env("AWS_REGION", region.trim());
    }
    let status: ExitStatus = again.status().map_err(AccountError::Again)?;
    // It has said everything.
    std::process::exit(status.code().unwrap_or(2));
}

fn aws(arguments: &[&str]) -> Result<String, AccountError> {
    let said = |problem: String| AccountError::Credentials(problem);
    let output =
        Command::new("aws").args(arguments).output().map_err(|error| said(format!("aws: {error}")))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let line = errors.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("aws failed").to_owned();
        return Err(said(line));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Who sits at this terminal, as far as the system says.
pub(crate) fn actor() -> Actor {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let of_kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = of_kernel().or_else(|| variable("HOSTNAME")).or_else(|| variable("COMPUTERNAME"));
    Actor {
        user: variable("USER").or_else(|| variable("USERNAME")),
        host: host.map(|host| host.trim().to_owned()).filter(|host| !host.is_empty()),
        ..Actor::default()
    }
}

/// The repositories that are named, or all of them.
pub(crate) async fn repositories(clients: &RunContext<'_>, which: &Which) -> Result<Vec<Existing>, Failure> {
    if !which.all {
        let mut found = Vec::new();
        for text in &which.repository {
            let name = Name::parse(text)
                .map_err(|error| AccountError::Name { name: text.clone(), problem: error.to_string() })?;
            match clients.ecr.repositories_named(&[name]).await {
                Ok(repositories) => found.extend(repositories),
                Err(error) if error.failure == shared::aws::Failure::NotFound => {
                    return Err(AccountError::Missing(text.clone()).into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        return Ok(found);
    }
    let mut all = Vec::new();
    let mut token = None;
    loop {
        let page = clients.ecr.repositories(None, token.as_deref()).await?;
        all.extend(page.repositories);
        match page.next_token {
            Some(next) => token = Some(next),
            None => return Ok(all),
        }
    }
}

/// How far long work is, on standard error if that is a terminal.
pub(crate) struct Progress {
    what: &'static str,
    total: usize,
    done: usize,
    is_shown: bool,
}

impl Progress {
    pub(crate) fn new(what: &'static str, total: usize) -> Self {
        Self { what, total, done: 0, is_shown: io::stderr().is_terminal() && total > 1 }
    }

    /// So many more are done.
    pub(crate) fn step(&mut self, done: usize) {
        self.done += done;
        if self.is_shown {
            // What cannot be shown is no reason to stop.
            let _ = write!(io::stderr(), "\r{} of {} {}", self.done, self.total, self.what);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
