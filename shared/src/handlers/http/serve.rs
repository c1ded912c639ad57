//! Executes a request, and answers it.

use serde::Serialize;

use super::{Call, Problem, Rejection, Response};
use crate::domain::image::deletion::{Deleted, Refused};
use crate::domain::repository::describe::Shown;
use crate::domain::repository::read::SettingsPart;
use crate::domain::repository::{
    Description, Existing, Name, PolicyStatus, Settings, Tags, difference_besides_policy,
};
use crate::domain::text::finding::{Code, Finding};
use crate::workflows::delete_images::ByHand;
use crate::workflows::provision::{Changed, Compared, Completion, Creation, Provisioner, Removal};

/// Serves a request.
pub async fn serve(call: Call, provisioner: &Provisioner<'_>, by_hand: &ByHand<'_>) -> Response {
    answer(call, provisioner, by_hand).await.unwrap_or_else(|problem| {
        tracing::warn!(kind = problem.kind.name(), detail = problem.detail, "did not do as asked");
        problem.into()
    })
}

async fn answer(
    call: Call,
    provisioner: &Provisioner<'_>,
    by_hand: &ByHand<'_>,
) -> Result<Response, Problem> {
    match call {
        Call::CreateRepository(name, settings) => {
            check_policy(provisioner, &settings)?;
            create(provisioner, &name, &settings).await
        }
        Call::ListRepositories { max_results, next_token } => {
            list(provisioner, max_results, next_token.as_deref()).await
        }
        Call::GetRepository(name) => {
            let repository = existing(provisioner, &name).await?;
            let status = provisioner.status(&repository).await?;
            Ok(Response::json(
                200,
                &Description::new(&repository, provisioner.registry, status.as_ref(), None),
            ))
        }
        Call::UpdateRepository(name, settings) => {
            check_policy(provisioner, &settings)?;
            update(provisioner, &name, &settings).await
        }
        Call::ChangeRepository(name, part) => change(provisioner, &name, &part).await,
        Call::DeleteRepository { name, force, check } => {
            let removal = if force {
                let removal = by_hand.delete_repository(&name, check).await?;
                if matches!(removal, Removal::Deleted | Removal::Missing) {
                    provisioner.forget(name.as_str()).await;
                }
                removal
            } else {
                let was_there = provisioner.exists(&name).await?;
                match provisioner.delete(name.as_str()).await? {
                    // The answer to a call before it was lost.
                    Removal::Missing if was_there => Removal::Deleted,
                    removal => removal,
                }
            };
            match removal {
                Removal::Deleted => Ok(Response::empty(204)),
                Removal::Missing => Err(missing(&name)),
                Removal::NotEmpty(images) => {
                    Err(Rejection::RepositoryNotEmpty { name: &name, images: images as u64 }.into())
                }
            }
        }
        Call::DeleteImages(request, check) => {
            #[derive(Serialize)]
            #[serde(rename_all = "camelCase")]
            struct Answer<'a> {
                repository_name: &'a Name,
                image_ids: &'a [Deleted],
                failures: &'a [Refused],
            }
            let outcome = by_hand.delete_images(&request, check).await.map_err(|error| match error {
                error if error.is_not_found() => missing(&request.repository_name),
                error => error.into(),
            })?;
            let repository_name = &request.repository_name;
            let answer = Answer { repository_name, image_ids: &outcome.deleted, failures: &outcome.refused };
            Ok(Response::json(200, &answer))
        }
        Call::RestoreImages { request, dry_run } => {
            let report = by_hand.restorer(dry_run).restore(&request).await?;
            Ok(Response::json(200, &report))
        }
    }
}

/// Refuses more accounts than a repository policy has room for.
fn check_policy(provisioner: &Provisioner<'_>, settings: &Settings) -> Result<(), Problem> {
    settings.policy.check_length(provisioner.registry).map_err(|error| {
        let finding =
            Finding::new(Code::InvalidRepositoryPolicy, "/pullAccess/accountIds", error.to_string());
        Problem::invalid(vec![finding])
    })
}

async fn create(
    provisioner: &Provisioner<'_>,
    name: &Name,
    settings: &Settings,
) -> Result<Response, Problem> {
    let (status, repository, policy) = match provisioner.create(name, settings, &Tags::new()).await? {
        Creation::Created(Changed { repository, status, .. }) => (201, repository, status),
        Creation::Exists(repository) => {
            let Compared { difference, asked } = provisioner.compare(&repository, settings).await?;
            if !difference.is_empty() {
                let difference = difference.to_string();
                return Err(Rejection::RepositoryExists { name, difference }.into());
            }
            let policy = PolicyStatus::of(&repository, asked.record());
            (200, repository, policy)
        }
    };
    let description = Description::new(&repository, provisioner.registry, policy.as_ref(), None);
    let mut response = Response::json(status, &description);
    if status == 201 {
        response.headers.push(("location", format!("/repositories/{name}")));
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
    let page = provisioner.list(max_results, next_token).await?;
    let repositories = page.repositories.iter().map(Shown::brief).collect();
    Ok(Response::json(200, &Answer { repositories, next_token: page.next_token.as_deref() }))
}

async fn update(
    provisioner: &Provisioner<'_>,
    name: &Name,
    settings: &Settings,
) -> Result<Response, Problem> {
    let repository = existing(provisioner, name).await?;
    let Compared { difference, asked } = provisioner.compare(&repository, settings).await?;
    if difference.encryption.is_some() {
        return Err(Rejection::EncryptionFixed { difference: difference.to_string() }.into());
    }
    let changed =
        provisioner.change(repository, difference.changes, Some(asked), Completion::Complete).await?;
    Ok(changed_response(provisioner, &changed))
}

/// Changes what the request names. A lifecycle policy that it does not name is neither read nor written.
async fn change(
    provisioner: &Provisioner<'_>,
    name: &Name,
    part: &SettingsPart,
) -> Result<Response, Problem> {
    let repository = existing(provisioner, name).await?;
    let settings = part.over(&repository);
    check_policy(provisioner, &settings)?;
    let (difference, asked) = if part.names_lifecycle_policy() {
        let Compared { difference, asked } = provisioner.compare(&repository, &settings).await?;
        (difference, Some(asked))
    } else {
        (difference_besides_policy(&repository, &settings, provisioner.registry), None)
    };
    if difference.encryption.is_some() {
        return Err(Rejection::EncryptionFixed { difference: difference.to_string() }.into());
    }
    let has_policy_status = asked.is_some();
    let mut changed = provisioner.change(repository, difference.changes, asked, Completion::AsBefore).await?;
    if !has_policy_status {
        changed.status = provisioner.status(&changed.repository).await?;
    }
    Ok(changed_response(provisioner, &changed))
}

fn changed_response(provisioner: &Provisioner<'_>, changed: &Changed) -> Response {
    let Changed { repository, changes, status } = changed;
    let description =
        Description::new(repository, provisioner.registry, status.as_ref(), Some(changes.as_slice()));
    Response::json(200, &description)
}

async fn existing(provisioner: &Provisioner<'_>, name: &Name) -> Result<Existing, Problem> {
    provisioner.find(name).await?.ok_or_else(|| missing(name))
}

fn missing(name: &Name) -> Problem {
    Rejection::NoRepository(name).into()
}
