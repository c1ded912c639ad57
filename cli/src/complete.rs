//! Completions: the shell asks the program, which knows its commands, options and values, and looks into the account for the names of
//! repositories.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::time::Duration;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};

use crate::account::{Aws, REGIONS};
use crate::credentials::{profiles, sign_in};
use crate::explain_code::{Section, sections};
use crate::output;

/// Set by the scripts when a shell asks.
const VARIABLE: &str = "COMPLETE";
/// Timeout for names from the account, for which a shell waits.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Answers a shell that asks; gives whether one did.
///
/// # Errors
///
/// When the shell is none that is known, or the answer cannot be written.
pub(crate) fn answer() -> Result<bool, clap::Error> {
    let folder = std::env::current_dir().ok();
    CompleteEnv::with_factory(crate::Arguments::command)
        .var(VARIABLE)
        .try_complete(std::env::args_os(), folder.as_deref())
}

/// Prints the script that has a shell ask.
pub(crate) fn print(shell: Shell) -> io::Result<()> {
    let name = shell.to_string();
    let shells = Shells::builtins();
    let completer =
        shells.completer(&name).ok_or_else(|| io::Error::other(format!("{name} is not known")))?;
    let mut script = Vec::new();
    completer.write_registration(VARIABLE, "ecr-steward", "ecr-steward", "ecr-steward", &mut script)?;
    let mut out = output::tables();
    out.write_all(&script)?;
    out.flush()
}

/// Writes manual pages into a directory: one for the program, and one for each command.
pub(crate) fn manual(directory: &std::path::Path) -> io::Result<usize> {
    std::fs::create_dir_all(directory)?;
    let mut command = crate::Arguments::command().disable_help_subcommand(true);
    command.build();
    let mut all = vec![("ecr-steward".to_owned(), command)];
    let mut written = 0;
    while let Some((name, command)) = all.pop() {
        for sub in command.get_subcommands() {
            all.push((format!("{name}-{}", sub.get_name()), sub.clone()));
        }
        let mut page = Vec::new();
        // The name of a page is that of the command with all that stands before it.
        let titled: &'static str = name.clone().leak();
        clap_mangen::Man::new(command.name(titled)).render(&mut page)?;
        std::fs::write(directory.join(format!("{name}.1")), page)?;
        written += 1;
    }
    Ok(written)
}

fn beginning_with<'a>(current: &OsStr, names: impl IntoIterator<Item = &'a str>) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    names.into_iter().filter(|name| name.starts_with(current)).map(CompletionCandidate::new).collect()
}

/// Names of Regions.
pub(crate) fn region() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| beginning_with(current, REGIONS))
}

/// Codes of warnings, errors and problems, each with its first sentence.
pub(crate) fn code() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let Some(current) = current.to_str() else { return Vec::new() };
        let sections = sections().into_iter().filter(|section| section.code.starts_with(current));
        let candidate =
            |section: Section| CompletionCandidate::new(section.code).help(Some(section.summary().into()));
        sections.map(candidate).collect()
    })
}

/// Names of the AWS CLI's profiles.
pub(crate) fn profile() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let found = block_on(async { profiles(&Aws::default()).await.ok() });
        let found = found.flatten().map(|profiles| profiles.known).unwrap_or_default();
        beginning_with(current, found.iter().map(String::as_str))
    })
}

/// Names of repositories of the account.
pub(crate) fn repository() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let names = block_on(async { tokio::time::timeout(TIMEOUT, repositories()).await.ok().flatten() });
        let names = names.flatten().unwrap_or_default();
        beginning_with(current, names.iter().map(String::as_str))
    })
}

/// The names of the first repositories; `None` if nobody is signed in.
async fn repositories() -> Option<Vec<String>> {
    let words: Vec<String> = std::env::args().collect();
    let value = |option: &str| {
        let next = words.iter().position(|word| word == option).and_then(|at| words.get(at + 1)).cloned();
        next.or_else(|| {
            words.iter().find_map(|word| word.strip_prefix(option)?.strip_prefix('=').map(str::to_owned))
        })
    };
    let aws = Aws {
        region: value("--region"),
        profile: value("--profile").into_iter().collect(),
        endpoint_url: value("--endpoint-url"),
        registry_id: value("--registry-id"),
    };
    let session = sign_in(&aws).await.ok()?;
    let page = session.connection.ecr_read().repositories(None, None).await.ok()?;
    Some(page.repositories.into_iter().map(|repository| repository.name).collect())
}

fn block_on<T>(work: impl Future<Output = T>) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    Some(runtime.block_on(work))
}
