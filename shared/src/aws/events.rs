//! Amazon EventBridge.

use aws_config::SdkConfig;
use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;

use super::error::{AwsError, Failure};
use super::trouble::Trouble;
use crate::build::announcement::{Announcement, SOURCE};

/// The account's default event bus.
#[derive(Debug, Clone)]
pub struct Events {
    client: Client,
}

impl Events {
    pub(super) fn new(config: &SdkConfig, trouble: Trouble, endpoint: Option<String>) -> Self {
        let mut config = aws_sdk_eventbridge::config::Builder::from(config).interceptor(trouble);
        config.set_endpoint_url(endpoint);
        Self { client: Client::from_conf(config.build()) }
    }

    /// Puts an event on the bus.
    ///
    /// # Errors
    ///
    /// What EventBridge answers, also about the one event.
    pub async fn announce(&self, announcement: &Announcement) -> Result<(), AwsError> {
        let detail = serde_json::to_string(announcement)
            .map_err(|error| AwsError::odd("PutEvents", &error.to_string()))?;
        let entry = PutEventsRequestEntry::builder()
            .source(SOURCE)
            .detail_type(announcement.detail_type())
            .detail(detail)
            .build();
        let request = self.client.put_events().entries(entry);
        let answer = request.send().await.map_err(|error| AwsError::new("PutEvents", &error))?;
        if answer.failed_entry_count == 0 {
            return Ok(());
        }
        let refused = answer.entries.unwrap_or_default().into_iter().next();
        let (code, message) = refused
            .map(|entry| (entry.error_code.unwrap_or_default(), entry.error_message.unwrap_or_default()))
            .unwrap_or_default();
        Err(AwsError {
            operation: "PutEvents".into(),
            failure: Failure::of_code(&code),
            message: format!("{code}: {message}"),
            in_flight: false,
        })
    }
}
