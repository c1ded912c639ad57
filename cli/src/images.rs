//! `ecr-steward images`: the images of repositories, listed, deleted by hand, and restored.

use std::cmp::Reverse;
use std::io::{self, Write};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use shared::aws::http_api::path;
use shared::domain::image::Image;
use shared::domain::repository::{Existing, Name};
use shared::domain::text::instant::Instant;
use shared::domain::text::quantity::count;
use shared::report::table;
use shared::workflows::enforcement::RunContext;

use crate::account::{self, AccountError, Aws, Place, Stack, Which};
use crate::api::Api;
use crate::confirm::confirm;
use crate::explain::Called;
use crate::progress::{self, Progress};
use crate::repository::name;
use crate::skipped::Skipped;
use crate::{Failure, Outcome, complete, output, preview};

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
  ecr-steward images list shop/web --output json | jq --raw-output '.[].imageDigest'
  ecr-steward images list '*' --output ndjson | jq --raw-output 'select(.lastRecordedPullTime == null).imageDigest'")]
struct List {
    /// Repositories; `*` stands for any characters.
    #[arg(value_name = "REPOSITORY", required = true, add = complete::repository())]
    repositories: Vec<String>,

    /// What comes first; without it the newest in a table, and in JSON as ECR lists them.
    #[arg(long, value_enum, value_name = "ORDER")]
    sort: Option<Order>,

    /// How to print; JSON has the fields of ECR's DescribeImages.
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
    #[arg(value_name = "REPOSITORY", value_parser = repository, add = complete::repository())]
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
    /// The oldest.
    Age,
    /// The largest.
    Size,
    /// Those that nothing has pulled for longest; never pulled is longest.
    Pulled,
    /// By the first tag; untagged images come last.
    Tag,
    /// Repositories by name, and the newest images of each.
    Repository,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Format {
    /// A table for a terminal.
    #[default]
    Table,
    /// JSON for programs, one array.
    Json,
    /// JSON, one object in a line for each image, as they come.
    Ndjson,
}

impl Arguments {
    /// Whether it only shows something.
    pub(crate) const fn is_a_view(&self) -> bool {
        matches!(self.command, Command::List(_))
    }
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
        let mut repositories = account::repositories(&clients, &which).await?;
        if arguments.sort == Some(Order::Repository) {
            repositories.sort_by(|left, right| left.name.cmp(&right.name));
        }
        let progress = Progress::new("repositories", repositories.len());
        let mut skipped = Skipped::new(repositories.len());
        let mut lines = Lines::new(arguments.output);
        for repository in &repositories {
            progress.step(1);
            let read = match arguments.output {
                Format::Table => table(&clients, repository, arguments.sort.unwrap_or_default()).await,
                Format::Json | Format::Ndjson => json(&clients, repository, arguments.sort, &mut lines).await,
            };
            lines.flush()?;
            skipped.unless_failed(&repository.name, read)?;
        }
        drop(progress);
        lines.finish()?;
        Ok(skipped.outcome(Outcome::Success))
    })
}

/// Prints the images of a repository as a table.
async fn table(clients: &RunContext<'_>, repository: &Existing, order: Order) -> Result<(), Failure> {
    let mut images = clients.ecr.images(&parsed(repository)?).await?.images;
    match order {
        Order::Pushed | Order::Repository => images.sort_by_key(|image| Reverse(image.pushed_at)),
        Order::Age => images.sort_by_key(|image| image.pushed_at),
        Order::Size => images.sort_by_key(|image| Reverse(image.size_in_bytes)),
        Order::Pulled => images.sort_by_key(|image| image.last_pulled_at),
        Order::Tag => images.sort_by(|left, right| {
            let key = |image: &Image| (image.tags.is_empty(), image.tags.first().cloned());
            key(left).cmp(&key(right))
        }),
    }
    progress::suspended(|| {
        let mut out = output::tables();
        table::images::write(&mut out, &repository.name, &images, Instant::now(), preview::style())?;
        out.flush()
    })?;
    Ok(())
}

/// Prints the images of a repository as ECR describes them: page by page, unless they are to be sorted.
async fn json(
    clients: &RunContext<'_>,
    repository: &Existing,
    order: Option<Order>,
    lines: &mut Lines,
) -> Result<(), Failure> {
    let name = parsed(repository)?;
    let Some(order) = order.filter(|order| *order != Order::Repository) else {
        return clients.ecr.image_details(&name, |image| Ok::<_, Failure>(lines.write(&image)?)).await;
    };
    let mut images: Vec<Value> = Vec::new();
    clients
        .ecr
        .image_details(&name, |image| {
            images.push(image);
            Ok::<_, Failure>(())
        })
        .await?;
    // Times are all written in the same way, in UTC.
    let text = |image: &Value, field: &str| image[field].as_str().map(str::to_owned);
    match order {
        Order::Pushed | Order::Repository => {
            images.sort_by_cached_key(|image| Reverse(text(image, "imagePushedAt")));
        }
        Order::Age => images.sort_by_cached_key(|image| text(image, "imagePushedAt")),
        Order::Size => images.sort_by_key(|image| Reverse(image["imageSizeInBytes"].as_u64())),
        Order::Pulled => images.sort_by_cached_key(|image| text(image, "lastRecordedPullTime")),
        Order::Tag => images.sort_by_cached_key(|image| {
            let tag = image["imageTags"][0].as_str().map(str::to_owned);
            (tag.is_none(), tag)
        }),
    }
    images.iter().try_for_each(|image| lines.write(image))?;
    Ok(())
}

/// Images on their way to standard output, as one array or a line each.
struct Lines {
    out: Box<dyn Write>,
    format: Format,
    written: u64,
}

impl Lines {
    fn new(format: Format) -> Self {
        Self { out: Box::new(output::json()), format, written: 0 }
    }

    fn write(&mut self, image: &Value) -> io::Result<()> {
        let Self { out, format, written } = self;
        progress::suspended(|| match format {
            Format::Table => Ok(()),
            Format::Json => {
                out.write_all(if *written == 0 { b"[\n" } else { b",\n" })?;
                Ok(serde_json::to_writer_pretty(out, image)?)
            }
            Format::Ndjson => {
                serde_json::to_writer(&mut *out, image)?;
                out.write_all(b"\n")
            }
        })?;
        *written += 1;
        Ok(())
    }

    /// Hands on what was written of a repository.
    fn flush(&mut self) -> io::Result<()> {
        progress::suspended(|| self.out.flush())
    }

    fn finish(mut self) -> io::Result<()> {
        if matches!(self.format, Format::Json) {
            self.out.write_all(if self.written == 0 { b"[]\n" } else { b"\n]\n" })?;
        }
        self.out.flush()
    }
}

fn parsed(repository: &Existing) -> Result<Name, AccountError> {
    Name::parse(&repository.name)
        .map_err(|error| AccountError::Name { name: repository.name.clone(), problem: error.to_string() })
}

/// The repository of what is deleted. Other commands call an image by both in one.
fn repository(text: &str) -> Result<Name, String> {
    match Called::parse(text) {
        Ok(Called { repository, tag, digest, .. }) if text.contains([':', '@']) => {
            let image = digest.or(tag).unwrap_or_default();
            Err(format!("write the repository and the image apart: {repository} {image}"))
        }
        _ => name(text),
    }
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
