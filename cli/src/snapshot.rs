//! `ecr-steward snapshot`: a repository as a file that `preview` reads.

use std::io::{self, Write};

use clap::Args;
use shared::domain::image::listing::{RepositoryName, snapshot};
use shared::domain::repository::Name;
use shared::workflows::enforcement::repository_snapshot::RepositorySnapshot;

use crate::account::{self, Which};
use crate::{Failure, Outcome, output};

/// Print the images of repositories, with what image indexes reference, as a file that `preview --images` reads
///
/// Reads by as few calls as there can be: pages of a thousand images, and the manifests of image indexes only. ECR records
/// reading a manifest as a pull, unless your role is registered with `aws ecr register-pull-time-update-exclusion`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    which: Which,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    account::work(None, async |clients, _| {
        let repositories = account::repositories(&clients, &arguments.which).await?;
        if repositories.is_empty() {
            return Err(nothing_named());
        }
        let mut progress = account::Progress::new("repositories", repositories.len());
        let mut out = output::json();
        for repository in repositories {
            let name = Name::parse(&repository.name).map_err(|error| account::AccountError::Name {
                name: repository.name.clone(),
                problem: error.to_string(),
            })?;
            let surveyed =
                RepositorySnapshot::read(&clients, name, &repository.registry_id, &repository.arn).await?;
            let name = RepositoryName {
                repository_name: Some(repository.name),
                registry_id: Some(repository.registry_id),
            };
            serde_json::to_writer_pretty(&mut out, &snapshot(&name, &surveyed.images))
                .map_err(io::Error::from)?;
            out.write_all(b"\n")?;
            progress.step(1);
        }
        out.flush()?;
        Ok(Outcome::Success)
    })
}

/// There is nothing to do.
pub(crate) fn nothing_named() -> Failure {
    let problem =
        "no repository is named, or the registry has none; add --repository NAME or --all".to_owned();
    Failure::Policy { file: "arguments".to_owned(), problem }
}
