//! Does what a request asks for, and answers it.

use serde::Serialize;

use super::{Call, Kind, Problem, Response};
use crate::aws::{AwsError, Failure};
use crate::image::deletion::{Deleted, Refused};
use crate::provision::{Creation, ProvisionError, Provisioner, Removal};
use crate::repository::describe::Shown;
use crate::repository::{Description, Existing, Name, Settings, Tags, difference};

/// Serves a request.
pub async fn serve(call: Call, provisioner: &Provisioner<'_>) -> Response {
    answer(call, provisioner).await.unwrap_or_else(|problem| {
        tracing::warn!(kind = problem.kind.name(), detail = problem.detail, "did not do as asked");
        problem.into()
    })
}

async fn answer(call: Call, provisioner: &Provisioner<'_>) -> Result<Response, Problem> {
    match call {
        Call::CreateRepository(name, settings) => create(provisioner, &name, &settings).await,
        Call::ListRepositories { max_results, next_token } => {
            list(provisioner, max_results, next_token.as_deref()).await
        }
        Call::GetRepository(name) => {
            let repository = existing(provisioner, &name).await?;
            Ok(Response::json(200, &Description::new(&repository, provisioner.registry, None)))
        }
        Call::UpdateRepository(name, settings) => update(provisioner, &name, &settings).await,
        Call::DeleteRepository { name, force } => match provisioner.delete(name.as_str(), force).await? {
            Removal::Deleted => Ok(Response::empty(204)),
            Removal::Missing => Err(missing(&name)),
            Removal::NotEmpty(images) => Err(Problem::new(
                Kind::RepositoryNotEmpty,
                format!(
                    "{name} has {}, and is still there; delete them first, or add `?force=true` to delete them with it",
                    crate::quantity::count(images as u64, "image")
                ),
            )),
        },
        Call::DeleteImages(request) => {
            #[derive(Serialize)]
            #[serde(rename_all = "camelCase")]
            struct Answer<'a> {
                repository_name: &'a Name,
                image_ids: &'a [Deleted],
                failures: &'a [Refused],
            }
            let outcome = provisioner.delete_images(&request).await.map_err(|error| match error.failure {
                Failure::NotFound => missing(&request.repository_name),
                _ => error.into(),
            })?;
            let repository_name = &request.repository_name;
            let answer = Answer { repository_name, image_ids: &outcome.deleted, failures: &outcome.refused };
            Ok(Response::json(200, &answer))
        }
    }
}

async fn create(
    provisioner: &Provisioner<'_>,
    name: &Name,
    settings: &Settings,
) -> Result<Response, Problem> {
    let (status, repository) = match provisioner.create(name, settings, &Tags::new()).await? {
        Creation::Created(repository) => (201, repository),
        Creation::Exists(repository) => {
            let difference = difference(&repository, settings, provisioner.registry);
            if !difference.is_empty() {
                let detail = format!(
                    "{name} exists already, and differs: {difference}; nothing was changed. PUT /repositories/{name} \
                     makes it as asked for, as far as it can be changed"
                );
                return Err(Problem::new(Kind::RepositoryExists, detail));
            }
            (200, repository)
        }
    };
    let mut response = Response::json(status, &Description::new(&repository, provisioner.registry, None));
    if status == 201 {
        // One segment of the path, as the description has it.
        response.headers.push(("location", format!("/repositories/{}", name.as_str().replace('/', "%2F"))));
    }
    Ok(response)
}

async fn list(
    provisioner: &Provisioner<'_>,
    max_results: Option<u16>,
    next_token: Option<&str>,
) -> Result<Response, Problem> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        repositories: Vec<Shown<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_token: Option<&'a str>,
    }
    let page = provisioner.ecr.repositories(max_results, next_token);
    let page = match provisioner.deadline.work(page).await {
        Ok(page) => page?,
        Err(_) => return Err(provisioner.ecr.trouble().explain().into()),
    };
    let repositories = page.repositories.iter().map(Shown::brief).collect();
    Ok(Response::json(200, &Answer { repositories, next_token: page.next_token.as_deref() }))
}

async fn update(
    provisioner: &Provisioner<'_>,
    name: &Name,
    settings: &Settings,
) -> Result<Response, Problem> {
    let repository = existing(provisioner, name).await?;
    let difference = difference(&repository, settings, provisioner.registry);
    if difference.encryption.is_some() {
        let detail = format!(
            "{difference}; ECR sets the encryption when a repository is created and never after. Nothing was changed; \
             leave encryptionConfiguration as it is, or create another repository and copy the images"
        );
        return Err(Problem::new(Kind::EncryptionFixed, detail));
    }
    let repository = provisioner.change(repository, &difference.changes).await?;
    let changes = Some(difference.changes.as_slice());
    Ok(Response::json(200, &Description::new(&repository, provisioner.registry, changes)))
}

async fn existing(provisioner: &Provisioner<'_>, name: &Name) -> Result<Existing, Problem> {
    provisioner.find(name).await?.ok_or_else(|| missing(name))
}

fn missing(name: &Name) -> Problem {
    let detail = format!("there is no repository {name} in this registry; POST /repositories creates one");
    Problem::new(Kind::RepositoryNotFound, detail)
}

impl From<AwsError> for Problem {
    fn from(error: AwsError) -> Self {
        ProvisionError::from(error).into()
    }
}

impl From<ProvisionError> for Problem {
    fn from(error: ProvisionError) -> Self {
        let (kind, advice) = match error.cause.failure {
            Failure::Invalid => (Kind::Refused, "correct what ECR names"),
            Failure::Kms => (
                Kind::KmsKey,
                "write the ARN or id of an enabled symmetric key of this region that the function's role may use",
            ),
            Failure::NotFound => (Kind::RepositoryNotFound, "it may have been deleted meanwhile"),
            Failure::AlreadyExists | Failure::NotEmpty => {
                (Kind::RepositoryExists, "something else changes it at the same time; try again")
            }
            Failure::LimitExceeded => (Kind::LimitExceeded, "ask for a higher quota in Service Quotas"),
            Failure::Denied => {
                (Kind::NotPermitted, "whoever runs the stack has to allow it to the function's role")
            }
            Failure::Throttled => (Kind::Throttled, "try again later"),
            Failure::TimedOut => (Kind::AwsTimedOut, "try again"),
            Failure::Unavailable | Failure::Unreachable | Failure::Unexpected => {
                (Kind::AwsUnavailable, "try again")
            }
        };
        let problem = Self::new(kind, format!("{error}; {advice}"));
        match kind {
            Kind::Throttled => problem.with_header("retry-after", "30"),
            _ => problem,
        }
    }
}
