//! Amazon EventBridge.

use serde::Deserialize;
use serde_json::json;

use super::Connection;
use super::error::{AwsError, Failure};
use crate::aws::sigv4::Service;
use crate::domain::builds::outbound_event::{OutboundEvent, SOURCE};

/// The account's default event bus.
#[derive(Debug)]
pub struct EventBridge {
    service: Service,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Put {
    #[serde(default)]
    failed_entry_count: u32,
    #[serde(default)]
    entries: Vec<Entry>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Entry {
    error_code: String,
    error_message: String,
}

impl EventBridge {
    pub(super) fn new(connection: &Connection) -> Self {
        Self { service: Service::new("events", "EVENTBRIDGE", connection) }
    }

    /// Puts an event on the bus.
    ///
    /// # Errors
    ///
    /// Any error of EventBridge, also about the one event.
    pub async fn announce(&self, announcement: &OutboundEvent) -> Result<(), AwsError> {
        const OPERATION: &str = "PutEvents";
        let detail = serde_json::to_string(announcement)
            .map_err(|error| AwsError::unexpected_response(OPERATION, &error.to_string()))?;
        let entry = json!({ "Source": SOURCE, "DetailType": announcement.detail_type(), "Detail": detail });
        let put: Put = self.service.call(OPERATION, "AWSEvents", &json!({ "Entries": [entry] })).await?;
        if put.failed_entry_count == 0 {
            return Ok(());
        }
        let Entry { error_code, error_message } = put.entries.into_iter().next().unwrap_or_default();
        let failure = Failure::of_code(&error_code);
        Err(AwsError {
            failure,
            ..AwsError::unexpected_response(OPERATION, &format!("{error_code}: {error_message}"))
        })
    }
}
