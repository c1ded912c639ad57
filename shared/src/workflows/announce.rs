//! Announces the result of a build: an event for programs, a mail for people.

use crate::aws::AwsError;
use crate::aws::eventbridge::EventBridge;
use crate::aws::sns::Sns;
use crate::domain::builds::outbound_event::OutboundEvent;

/// The publisher of events and mails.
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
    /// Announces a result at least once.
    ///
    /// # Errors
    ///
    /// If the event or the mail could not be sent.
    pub async fn announce(&self, announcement: &OutboundEvent) -> Result<(), AwsError> {
        self.events.announce(announcement).await?;
        let OutboundEvent::Failed(failed) = announcement else { return Ok(()) };
        let (subject, text) = failed.mail();
        self.sns.publish(self.topic, &subject, &text).await
    }
}
