//! `Custom::EcrRepository`: executes requests of CloudFormation and answers them.

use crate::aws::AwsError;
use crate::domain::cloudformation::confirmation::Unconfirmed;
use crate::domain::cloudformation::repository::{
    Plan, Refusal, Removing, adoption, attributes, changes, check_adopted_policy, check_new, check_policy,
    marker, owner, plan, removing,
};
use crate::domain::cloudformation::{Answer, Event, RequestType};
use crate::domain::enforcement::by_hand::{Refusal as DeletionRefusal, UseCheck};
use crate::domain::repository::permissions::Permissions;
use crate::domain::repository::read::{EmptyOnDelete, Properties};
use crate::domain::repository::{Existing, Name, PolicyStatus};
use crate::domain::text::quantity;
use crate::workflows::confirm_request::{ConfirmationError, RequestConfirmer};
use crate::workflows::delete_images::{ByHand, DeletionError};
use crate::workflows::provision::{
    Changed, Compared, Completion, Creation, Left, ProvisionError, Provisioner, Removal,
};

/// The server of requests.
#[derive(Debug)]
pub struct Server<'a> {
    /// Makes and changes repositories.
    pub provisioner: Provisioner<'a>,
    /// Deletes repositories with their images.
    pub by_hand: ByHand<'a>,
    /// Has CloudFormation confirm that it sent the request.
    pub confirmer: RequestConfirmer<'a>,
    /// What templates may do.
    pub permissions: &'a Permissions,
}

/// Why a request is not done.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Unconfirmed(#[from] Unconfirmed),
    #[error(
        "AWS CloudFormation cannot be asked whether it sent this request, and nothing was changed: {0}; allow \
         cloudformation:DescribeStackResource and cloudformation:DescribeStacks to the role of the repository-resource function, as \
         template.yaml does, or try again"
    )]
    Confirmation(AwsError),
    #[error("{}; {}", .0, advice(.0))]
    Provision(#[from] ProvisionError),
    #[error(
        "the repository {name} has {}, and is still there; delete them, or set EmptyOnDelete to true, or keep the repository with \
         DeletionPolicy: Retain",
        quantity::count(*.images, "image")
    )]
    NotEmpty { name: Name, images: u64 },
    #[error("the repository {name} is still there: {error}; {}", advice_on_images(.error))]
    Images { name: Name, error: DeletionError },
}

/// Serves a request.
pub async fn serve(event: &Event, server: &Server<'_>) -> Answer {
    match server.act(event).await {
        Ok(answer) => {
            tracing::info!(
                stack = event.stack_id,
                resource = event.logical_resource_id,
                physical_id = answer.physical_resource_id,
                "did as CloudFormation asked"
            );
            answer
        }
        Err(failed) => {
            let reason = failed.to_string();
            tracing::warn!(
                stack = event.stack_id,
                resource = event.logical_resource_id,
                reason,
                "did not do as CloudFormation asked"
            );
            Answer::failed(event, physical_id_after(event, &failed), reason)
        }
    }
}

/// The physical id after a failure. A failed update leaves the resource as it was. A failed creation leaves nothing to delete,
/// unless it says so.
fn physical_id_after(event: &Event, failed: &Failed) -> String {
    match (&event.physical_resource_id, failed) {
        (Some(id), _) => id.clone(),
        (None, Failed::Provision(ProvisionError { left: Left::Incomplete { name, .. }, .. })) => name.clone(),
        (None, _) => marker(event),
    }
}

impl From<ConfirmationError> for Failed {
    fn from(error: ConfirmationError) -> Self {
        match error {
            ConfirmationError::Unconfirmed(unconfirmed) => Self::Unconfirmed(unconfirmed),
            ConfirmationError::NotAsked(error) => Self::Confirmation(error),
        }
    }
}

impl Server<'_> {
    async fn act(&self, event: &Event) -> Result<Answer, Failed> {
        match plan(event)? {
            Plan::Ensure { name, properties, old_key } => {
                let (repository, status) = self.ensure(event, &name, &properties, old_key.as_deref()).await?;
                Ok(Answer::success(event, name.to_string(), attributes(&repository, status.as_ref())))
            }
            Plan::Remove { name, empty_on_delete } => {
                self.remove(event, &name, empty_on_delete).await?;
                Ok(Answer::success(event, name.to_string(), [].into()))
            }
            Plan::Nothing => {
                let id = event.physical_resource_id.clone().unwrap_or_else(|| marker(event));
                Ok(Answer::success(event, id, [].into()))
            }
        }
    }

    async fn ensure(
        &self,
        event: &Event,
        name: &Name,
        properties: &Properties,
        old_key: Option<&str>,
    ) -> Result<(Existing, Option<PolicyStatus>), Failed> {
        self.confirmer.confirm(event, &self.provisioner).await?;
        let Self { provisioner, permissions, .. } = self;
        check_policy(properties, provisioner.registry)?;
        let owner = owner(event);
        let is_in_place = event.request_type == RequestType::Update
            && event.physical_resource_id.as_deref() == Some(name.as_str());
        // An update finds its repository nearly always, and a creation nearly never.
        let mut found =
            if is_in_place { provisioner.find(name).await.map_err(ProvisionError::from)? } else { None };
        if found.is_none() {
            check_new(properties, provisioner.registry, permissions)?;
            match provisioner.create(name, &properties.spec.settings, &owner.tags(false)).await? {
                Creation::Created(Changed { repository, status, .. }) => return Ok((repository, status)),
                Creation::Exists(repository) => found = Some(repository),
            }
        }
        let Some(existing) = found else { return Err(Refusal::Exists { name: name.clone() }.into()) };
        // Whose it is comes first: of what is another's nothing more is looked at.
        let adopted = adoption(&owner, &existing, name, properties.adopt_existing, permissions)?;
        if adopted.is_some() {
            check_adopted_policy(&existing, name, properties, provisioner.registry)?;
        }
        let Compared { difference, asked } =
            provisioner.compare(&existing, &properties.spec.settings).await?;
        let changes = changes(adopted, &existing, name, properties, old_key, difference, permissions)?;
        let Changed { repository, status, .. } =
            provisioner.change(existing, changes, Some(asked), Completion::Complete).await?;
        Ok((repository, status))
    }

    async fn remove(&self, event: &Event, name: &Name, empty_on_delete: EmptyOnDelete) -> Result<(), Failed> {
        let Self { provisioner, by_hand, .. } = self;
        let Some(existing) = provisioner.find(name).await.map_err(ProvisionError::from)? else {
            return Ok(());
        };
        let removing = removing(&owner(event), &existing);
        // What changes nothing need not be confirmed, so that a stack can be deleted whatever became of its repository.
        if removing != Removing::Leave {
            self.confirmer.confirm(event, &self.provisioner).await?;
        }
        match removing {
            Removing::Delete => {
                let by_hand = async |check| {
                    let removal = by_hand.delete_repository(name, check).await;
                    if matches!(removal, Ok(Removal::Deleted | Removal::Missing)) {
                        provisioner.forget(name.as_str()).await;
                    }
                    removal.map_err(|error| match error {
                        DeletionError::Aws(error) => Failed::Provision(error.into()),
                        error => Failed::Images { name: name.clone(), error },
                    })
                };
                let removal = match empty_on_delete {
                    EmptyOnDelete::No => {
                        provisioner.delete(name.as_str()).await.map_err(ProvisionError::from)?
                    }
                    EmptyOnDelete::Yes => by_hand(UseCheck::Look).await?,
                    EmptyOnDelete::InUse => by_hand(UseCheck::Known).await?,
                };
                match removal {
                    Removal::Deleted | Removal::Missing => Ok(()),
                    Removal::NotEmpty(images) => {
                        Err(Failed::NotEmpty { name: name.clone(), images: images as u64 })
                    }
                }
            }
            Removing::Release(change) => {
                provisioner.change(existing, vec![change], None, Completion::AsBefore).await?;
                tracing::info!(repository = %name, "left the adopted repository as it is");
                Ok(())
            }
            Removing::Leave => {
                tracing::warn!(repository = %name, "left a repository that this resource did not create");
                Ok(())
            }
        }
    }
}

fn advice_on_images(error: &DeletionError) -> &'static str {
    match error {
        DeletionError::Refused(DeletionRefusal::InUse(_)) => {
            "take them out of use first, or set EmptyOnDelete to inUse if you know that they may go, or keep the repository with \
             DeletionPolicy: Retain"
        }
        DeletionError::Refused(DeletionRefusal::UsageUnknown(_) | DeletionRefusal::UnreadIndexes(_))
        | DeletionError::NoTimeToLook(_) => {
            "set EmptyOnDelete to inUse if you know that they may go, or keep the repository with DeletionPolicy: Retain"
        }
        _ => "then delete the stack again, or keep the repository with DeletionPolicy: Retain",
    }
}

fn advice(error: &ProvisionError) -> &'static str {
    use crate::aws::Failure;
    match error.cause.failure() {
        Some(Failure::Invalid) => "correct what ECR names",
        Some(Failure::Kms) => {
            "give KmsKey the ARN or id of an enabled symmetric key of this region that the function's role may use"
        }
        Some(Failure::LimitExceeded) => "ask for a higher quota in Service Quotas",
        Some(Failure::Denied) => "allow it to the role of the repository-resource function",
        _ => "try again",
    }
}
