//! What came of a build, told: to programs by an event, to people by a mail.

use crate::aws::AwsError;
use crate::aws::eventbridge::EventBridge;
use crate::aws::sns::Sns;
use crate::domain::builds::outbound_event::OutboundEvent;

/// Who tells.
#[derive(Debug, Clone, Copy)]
pub struct EventPublisher<'a> {
    /// Amazon EventBridge.
    pub events: &'a EventBridge,
    /// Amazon SNS.
    pub sns: &'a Sns,
    /// The topic of failed builds.
    pub topic: &'a str,
}

impl EventPublisher<'_> {
    /// Tells everybody: better twice than never.
    ///
    /// # Errors
    ///
    /// When programs or people could not be told.
    pub async fn announce(&self, announcement: &OutboundEvent) -> Result<(), AwsError> {
        self.events.announce(announcement).await?;
        let OutboundEvent::Failed(failed) = announcement else { return Ok(()) };
        let (subject, text) = failed.mail();
        self.sns.publish(self.topic, &subject, &text).await
    }
}
