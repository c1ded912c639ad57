//! Amazon CloudWatch Logs, as far as a failed build's log is read.

use serde::Deserialize;
use serde_json::json;

use super::Connection;
use super::error::AwsError;
use crate::aws::sigv4::Service;

/// How many lines of a log's end are read: CodeBuild repeats a failed command there, which is a whole buildspec.
const MAX_EVENTS: u32 = 500;

/// Logs in Amazon CloudWatch Logs.
#[derive(Debug)]
pub struct Logs {
    service: Service,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    message: String,
}

impl Logs {
    pub(super) fn new(connection: &Connection) -> Self {
        Self { service: Service::new("logs", "CLOUDWATCH_LOGS", connection) }
    }

    /// The end of a log, line by line, the last one last.
    ///
    /// # Errors
    ///
    /// What CloudWatch Logs answers.
    pub async fn end(&self, group: &str, stream: &str) -> Result<Vec<String>, AwsError> {
        let asked = json!({ "logGroupName": group, "logStreamName": stream, "limit": MAX_EVENTS, "startFromHead": false });
        let page: Page = self.service.call("GetLogEvents", "Logs_20140328", &asked).await?;
        Ok(page.events.into_iter().map(|event| event.message).collect())
    }
}
