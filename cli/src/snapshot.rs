//! `ecr-steward snapshot`: a repository as a file that `preview` reads.

use std::io::{self, Write};

use clap::Args;
use shared::domain::image::listing::{RepositoryName, snapshot};
use shared::domain::repository::{Existing, Name};
use shared::workflows::enforcement::RunContext;
use shared::workflows::enforcement::repository_snapshot::RepositorySnapshot;

use crate::account::{self, Aws, Place, Which};
use crate::progress::{self, Progress};
use crate::skipped::Skipped;
use crate::{Failure, Outcome, output};

/// Print the images of repositories, with what image indexes reference, as a file that `preview --images` reads
///
/// Reads by as few calls as there can be: pages of a thousand images, and the manifests of image indexes only. ECR records
/// reading a manifest as a pull, unless your role is registered with `aws ecr register-pull-time-update-exclusion`.
///
/// Exit code: 0, 2 if a repository could not be read; the others are printed, where more than one is named.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward snapshot --repository shop/web > images.json
  ecr-steward snapshot --repository 'shop/*' > images.json
  ecr-steward preview --policy policy.yaml --images images.json")]
pub(crate) struct Arguments {
    #[command(flatten)]
    which: Which,
}

pub(crate) fn run(arguments: &Arguments, aws: &Aws) -> Result<Outcome, Failure> {
    account::work(aws, &Place::Nowhere, async |clients, _| {
        let repositories = account::repositories(&clients, &arguments.which).await?;
        let progress = Progress::new("repositories", repositories.len());
        let mut out = output::json();
        let mut skipped = Skipped::new(repositories.len());
        for repository in repositories {
            let read = read(&clients, &repository).await;
            progress.step(1);
            let Some(read) = skipped.unless_failed(&repository.name, read)? else { continue };
            let name = RepositoryName {
                repository_name: Some(repository.name),
                registry_id: Some(repository.registry_id),
            };
            progress::suspended(|| -> io::Result<()> {
                serde_json::to_writer_pretty(&mut out, &snapshot(&name, &read.images))
                    .map_err(io::Error::from)?;
                out.write_all(b"\n")
            })?;
        }
        out.flush()?;
        Ok(skipped.outcome(Outcome::Success))
    })
}

/// Reads a repository with what its image indexes reference.
pub(crate) async fn read(
    clients: &RunContext<'_>,
    repository: &Existing,
) -> Result<RepositorySnapshot, Failure> {
    let name = Name::parse(&repository.name).map_err(|error| account::AccountError::Name {
        name: repository.name.clone(),
        problem: error.to_string(),
    })?;
    Ok(RepositorySnapshot::read(clients, name, &repository.registry_id, &repository.arn).await?)
}
