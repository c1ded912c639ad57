//! `ecr-steward init` and `ecr-steward suggest`: a policies file to begin with.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use futures_util::stream::{self, StreamExt};
use shared::domain::enforcement::suggest::{Freed, families, policy_set, suggest, to_yaml};
use shared::domain::text::instant::Instant;
use shared::workflows::enforcement::inventory::assign;

use crate::account::{self, Aws, Bucket, Which};
use crate::progress::Progress;
use crate::skipped::Skipped;
use crate::{Failure, Outcome, in_use, output, snapshot};

/// Repositories that are read at the same time.
const READ_CONCURRENCY: usize = 8;

/// A policies file with all settings.
const TEMPLATE: &str = include_str!("policies.yaml");

/// Write a commented policies.yaml to begin with
///
/// Nothing is deleted by it until it says `apply: delete` or `attach`. A file that is there is left as it is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward init
  ecr-steward init - | less
  ecr-steward init && ecr-steward enforce --policies policies.yaml --all   # what it would do")]
pub(crate) struct Init {
    /// The file; `-` is standard output.
    #[arg(value_name = "FILE", default_value = "policies.yaml")]
    file: PathBuf,
}

/// Suggest a policies.yaml from the images that are there
///
/// Finds tags that are counted up (ci-1207, sha-9fdfcb8), and writes a rule for each kind, with what would expire by it now, and one for
/// untagged images. Conservative by construction: `apply: preview`; releases are left alone; the newest, whatever was pulled
/// lately, and whatever is in use is kept. Prints the file.
///
/// Exit code: 0, 2 if a repository could not be read; the file is made of the others, where more than one is named.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward suggest --all > policies.yaml
  ecr-steward suggest --repository 'shop/*'
  ecr-steward suggest --all > policies.yaml && ecr-steward enforce --policies policies.yaml --all")]
pub(crate) struct Suggest {
    #[command(flatten)]
    which: Which,

    #[command(flatten)]
    bucket: Bucket,
}

/// Why there is no file to begin with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    #[error(
        "{0}: is there already, and left as it is; name another file, or `-` to read what would be written"
    )]
    Exists(String),
    #[error("{file}: its folder is not there; make it first, or name another file")]
    NoFolder { file: String },
    #[error("{file}: {error}")]
    Unwritten { file: String, error: io::Error },
}

/// `ecr-steward init`.
pub(crate) fn init(arguments: &Init) -> Result<Outcome, Failure> {
    if arguments.file == Path::new("-") {
        let mut out = output::text();
        out.write_all(TEMPLATE.as_bytes())?;
        out.flush()?;
        return Ok(Outcome::Success);
    }
    let file = arguments.file.display().to_string();
    let written = OpenOptions::new().write(true).create_new(true).open(&arguments.file);
    written.and_then(|mut written| written.write_all(TEMPLATE.as_bytes())).map_err(|error| {
        match error.kind() {
            io::ErrorKind::AlreadyExists => InitError::Exists(file.clone()),
            io::ErrorKind::NotFound => InitError::NoFolder { file: file.clone() },
            _ => InitError::Unwritten { file: file.clone(), error },
        }
    })?;
    output::note(&format!(
        "Wrote {file}. What it would do: ecr-steward enforce --policies {file} --all. From your own images: ecr-steward suggest --all"
    ));
    Ok(Outcome::Success)
}

/// `ecr-steward suggest`.
pub(crate) fn run(arguments: &Suggest, aws: &Aws) -> Result<Outcome, Failure> {
    let (text, skipped) = account::work(aws, &arguments.bucket.if_named(), async |clients, _| {
        let repositories = account::repositories(&clients, &arguments.which).await?;
        let usage = in_use::usage(&clients).await?;
        let progress = Progress::new("repositories", repositories.len());
        let clients = &clients;
        let mut reading = stream::iter(&repositories)
            .map(async |repository| (repository, snapshot::read(clients, repository).await))
            .buffered(READ_CONCURRENCY);
        let mut skipped = Skipped::new(repositories.len());
        let mut snapshots = Vec::with_capacity(repositories.len());
        while let Some((repository, read)) = reading.next().await {
            progress.step(1);
            if let Some(read) = skipped.unless_failed(&repository.name, read)? {
                snapshots.push((repository, read));
            }
        }
        drop(progress);
        let found = snapshots.iter().map(|(_, read)| (read.name.as_str().to_owned(), families(&read.images)));
        let suggestions = suggest(&found.collect());
        let set = policy_set(&suggestions)
            .map_err(|findings| in_use::invalid_policies_file("the suggestion", "", findings))?;
        let mut freed: BTreeMap<(String, u64), Freed> = BTreeMap::new();
        let now = Instant::now();
        for (repository, read) in snapshots {
            let entry = assign(clients, &set, &repository.name, &repository.arn).await;
            let entry = skipped.unless_failed(&repository.name, entry.map_err(Failure::from))?;
            let Some(Some(entry)) = entry else { continue };
            let name = entry.name.clone();
            let plan = read.plan(std::borrow::Cow::Borrowed(entry), &usage, now);
            for &place in &plan.plan.deletions {
                let image = plan.snapshot.images.images().get(place as usize);
                let (Some(image), Some((rule, _))) = (image, plan.rule(place)) else { continue };
                let freed = freed.entry((name.clone(), rule)).or_default();
                freed.images += 1;
                freed.bytes = freed.bytes.saturating_add(image.size_in_bytes);
            }
        }
        Ok((to_yaml(&suggestions, Some(&freed)), skipped))
    })?;
    let mut out = output::text();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(skipped.outcome(Outcome::Success))
}
