//! Has CloudFormation confirm that it sent a request: anybody who may invoke the function can send it any event.

use std::time::Duration;

use crate::aws::AwsError;
use crate::aws::cloudformation::CloudFormation;
use crate::aws::deadline::TimeIsUp;
use crate::domain::cloudformation::Event;
use crate::domain::cloudformation::confirmation::{
    Confirmation, Unconfirmed, by_resource, by_stack, check_stack,
};
use crate::workflows::provision::Provisioner;

/// Pauses before CloudFormation is asked again about a resource that it does not confirm. It records a resource's status before
/// it sends a request, so that a retry only covers a delayed read.
const PAUSES: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// Why a request is not confirmed. Nothing may be done for it.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmationError {
    /// CloudFormation did not send it.
    #[error(transparent)]
    Unconfirmed(#[from] Unconfirmed),
    /// The call to CloudFormation failed.
    #[error(transparent)]
    NotAsked(#[from] AwsError),
}

/// Asks CloudFormation about requests.
#[derive(Debug, Clone, Copy)]
pub struct RequestConfirmer<'a> {
    /// The client.
    pub cloudformation: &'a CloudFormation,
}

impl RequestConfirmer<'_> {
    /// Has CloudFormation confirm that it sent a request, and is working on that resource now.
    ///
    /// # Errors
    ///
    /// If it does not, or cannot be asked before the deadline of `provisioner`.
    pub async fn confirm(
        &self,
        event: &Event,
        provisioner: &Provisioner<'_>,
    ) -> Result<(), ConfirmationError> {
        check_stack(event, provisioner.registry).map_err(ConfirmationError::Unconfirmed)?;
        let mut pauses = PAUSES.iter();
        loop {
            let asked = provisioner.deadline.work(self.ask(event)).await;
            let asked =
                asked.unwrap_or_else(|TimeIsUp| Err(provisioner.ecr.retry_observer().timeout_cause()));
            let answer = asked.map_err(ConfirmationError::NotAsked)?;
            let Err(unconfirmed) = answer else { return Ok(()) };
            let Some(pause) = pauses.next() else { return Err(ConfirmationError::Unconfirmed(unconfirmed)) };
            tokio::time::sleep(*pause).await;
        }
    }

    async fn ask(&self, event: &Event) -> Result<Result<(), Unconfirmed>, AwsError> {
        let Event { stack_id, logical_resource_id, .. } = event;
        let resource = self.cloudformation.resource(stack_id, logical_resource_id).await?;
        Ok(match by_resource(event, resource.as_ref()) {
            Confirmation::Confirmed => Ok(()),
            Confirmation::Contradicted(unconfirmed) => Err(unconfirmed),
            Confirmation::AskStack => {
                by_stack(event, self.cloudformation.stack_status(stack_id).await?.as_deref())
            }
        })
    }
}
