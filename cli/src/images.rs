//! `ecr-steward images`: the images of repositories, listed, deleted by hand, and restored.

use std::io::Write;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use shared::aws::http_api::path;
use shared::domain::image::listing::{RepositoryName, snapshot};
use shared::domain::image::{Image, ImageStatus};
use shared::domain::lifecycle::explain::short_digest;
use shared::domain::repository::{Existing, Name};
use shared::domain::text::instant::Instant;
use shared::domain::text::printable::on_one_line;
use shared::domain::text::quantity::{age, bytes, count};
use shared::workflows::enforcement::RunContext;

use crate::account::{self, Aws, Place, Stack, Which};
use crate::api::Api;
use crate::confirm::confirm;
use crate::progress::{self, Progress};
use crate::repository::name;
use crate::skipped::Skipped;
use crate::{Failure, Outcome, complete, output};

mod restore;

/// Maximum number of images in one request.
const BATCH: usize = 1000;

/// List, delete and restore the images of repositories
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward images list shop/web
  ecr-steward images delete shop/web ci-1207
  ecr-steward images restore shop/web:ci-1207")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(List),
    Delete(Delete),
    Restore(restore::Restore),
}

/// List images, the newest first
///
/// Without the children of image indexes, and with what is archived.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward images list shop/web
  ecr-steward images list 'shop/*' --sort size
  ecr-steward images list shop/web --output json | jq --raw-output '.[].imageDigest'")]
struct List {
    /// Repositories; `*` stands for any characters.
    #[arg(value_name = "REPOSITORY", required = true, add = complete::repository())]
    repositories: Vec<String>,

    /// What comes first.
    #[arg(long, value_enum, default_value_t, value_name = "ORDER")]
    sort: Order,

    /// How to print; JSON has the fields of DescribeImages.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// Delete images by tag or digest
///
/// By the deployed stack, as its HTTP API does it: what is in use is protected, with what belongs to it, and then nothing is deleted; every
/// image is in the journal before; the registry's limit of the day holds. A tag takes the image with its last tag.
///
/// Exit code: 0, 1 if some of them could not be deleted, 2 if nothing was.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward images delete shop/web ci-1207 ci-1208
  ecr-steward images delete shop/web sha256:9fdfcb80a9a3… --yes   # in a script")]
struct Delete {
    /// The repository.
    #[arg(value_name = "REPOSITORY", value_parser = name, add = complete::repository())]
    repository: Name,

    /// Tags, and digests as sha256:….
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,

    /// Delete also what is in use, or may be.
    #[arg(long)]
    in_use: bool,

    /// Do not ask.
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    stack: Stack,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Order {
    /// The newest.
    #[default]
    Pushed,
    /// The largest.
    Size,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Format {
    /// A table for a terminal.
    #[default]
    Table,
    /// JSON for programs.
    Json,
}

pub(crate) fn run(arguments: &Arguments, aws: &Aws) -> Result<Outcome, Failure> {
    match &arguments.command {
        Command::List(arguments) => list(arguments, aws),
        Command::Delete(arguments) => delete(arguments, aws),
        Command::Restore(arguments) => restore::run(arguments, aws),
    }
}

fn list(arguments: &List, aws: &Aws) -> Result<Outcome, Failure> {
    let which = Which { repository: arguments.repositories.clone(), all: false };
    account::work(aws, &Place::Nowhere, async |clients, _| {
        let repositories = account::repositories(&clients, &which).await?;
        let mut json = Vec::new();
        let mut out = output::tables();
        let progress = Progress::new("repositories", repositories.len());
        let mut skipped = Skipped::new(repositories.len());
        for repository in &repositories {
            progress.step(1);
            match arguments.output {
                Format::Json => {
                    let read = crate::snapshot::read(&clients, repository).await;
                    let Some(read) = skipped.unless_failed(&repository.name, read)? else { continue };
                    let of = RepositoryName {
                        repository_name: Some(repository.name.clone()),
                        registry_id: Some(repository.registry_id.clone()),
                    };
                    let taken = snapshot(&of, &read.images);
                    json.extend(taken["imageDetails"].as_array().cloned().unwrap_or_default());
                }
                Format::Table => {
                    let read = images(&clients, repository).await;
                    let Some(mut images) = skipped.unless_failed(&repository.name, read)? else { continue };
                    images.sort_by_key(|image| match arguments.sort {
                        Order::Pushed => std::cmp::Reverse(image.pushed_at.micros().unsigned_abs()),
                        Order::Size => std::cmp::Reverse(image.size_in_bytes),
                    });
                    progress::suspended(|| table(&mut out, &repository.name, &images))?;
                }
            }
        }
        drop(progress);
        if matches!(arguments.output, Format::Json) {
            output::value(&json)?;
        }
        out.flush()?;
        Ok(skipped.outcome(Outcome::Success))
    })
}

/// The images of a repository.
async fn images(clients: &RunContext<'_>, repository: &Existing) -> Result<Vec<Image>, Failure> {
    let name = Name::parse(&repository.name).map_err(|error| account::AccountError::Name {
        name: repository.name.clone(),
        problem: error.to_string(),
    })?;
    Ok(clients.ecr.images(&name).await?.images)
}

/// Writes a line for each image as it is made, so that memory does not grow with their number.
fn table(out: &mut impl Write, repository: &str, images: &[Image]) -> std::io::Result<()> {
    let now = Instant::now();
    let size = images.iter().map(|image| image.size_in_bytes).fold(0, u64::saturating_add);
    writeln!(out, "{}: {}, {}", on_one_line(repository), count(images.len() as u64, "image"), bytes(size))?;
    if images.is_empty() {
        return Ok(());
    }
    writeln!(out, "{:14}{:>9}{:>9}{:>9}  {:9}TAGS", "DIGEST", "PUSHED", "PULLED", "SIZE", "STATUS")?;
    for image in images {
        let pulled = image.last_pulled_at.map_or_else(|| "never".to_owned(), |at| age(now, at));
        let status = match image.status {
            ImageStatus::Active => "active",
            ImageStatus::Archived => "archived",
            _ => "other",
        };
        let tags: Vec<String> = image.tags.iter().map(|tag| on_one_line(tag).into_owned()).collect();
        let tags = if tags.is_empty() { "-".to_owned() } else { tags.join(", ") };
        writeln!(
            out,
            "{:14}{:>9}{pulled:>9}{:>9}  {status:9}{tags}",
            short_digest(&image.digest),
            age(now, image.pushed_at),
            bytes(image.size_in_bytes)
        )?;
    }
    Ok(())
}

fn delete(arguments: &Delete, aws: &Aws) -> Result<Outcome, Failure> {
    aws.own_registry()?;
    let ids: Vec<Value> = arguments
        .images
        .iter()
        .map(|image| match image.starts_with("sha256:") {
            true => json!({ "imageDigest": image }),
            false => json!({ "imageTag": image }),
        })
        .collect();
    let number = count(ids.len() as u64, "image");
    let what = format!(
        "{number} of {} will be deleted; `ecr-steward images restore` brings back only what ECR still has the layers of",
        arguments.repository
    );
    confirm(&what, "yes", arguments.yes)?;
    account::connected(aws, async |connection| {
        let api = Api::of(connection, &arguments.stack.stack).await?;
        let query = if arguments.in_use { "?inUse=true" } else { "" };
        let path = format!("{}{query}", path(&["deletions", arguments.repository.as_str()]));
        let mut is_well = true;
        let mut out = output::text();
        for batch in ids.chunks(BATCH) {
            let body = json!({ "imageIds": batch });
            let answer = api.ask("POST /deletions/{name}", &path, Some(&body)).await?.body;
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            for deleted in answer["imageIds"].as_array().into_iter().flatten() {
                let tag = deleted["imageTag"].as_str().map(|tag| format!("{tag} ")).unwrap_or_default();
                writeln!(out, "deleted {tag}{}", text(&deleted["imageDigest"]))?;
            }
            for failure in answer["failures"].as_array().into_iter().flatten() {
                is_well = false;
                let id = &failure["imageId"];
                let id =
                    if id["imageTag"].is_null() { text(&id["imageDigest"]) } else { text(&id["imageTag"]) };
                writeln!(out, "kept {id}: {}", text(&failure["failureReason"]))?;
            }
        }
        out.flush()?;
        Ok(if is_well { Outcome::Success } else { Outcome::Different })
    })
}
