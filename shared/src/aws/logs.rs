//! Amazon CloudWatch Logs, as far as a failed build's log is read.

use serde::Deserialize;
use serde_json::json;

use super::Connection;
use super::error::AwsError;
use crate::aws::sigv4::Service;

/// Number of lines that are read from the end of a log: CodeBuild repeats a failed command there, which is a whole buildspec.
const MAX_EVENTS: u32 = 500;

/// Logs in Amazon CloudWatch Logs.
#[derive(Debug)]
pub struct Logs {
    service: Service,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    events: Vec<Event>,
    #[serde(default)]
    next_forward_token: Option<String>,
}

/// A position in a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Position {
    token: Option<String>,
    /// The number of lines read, for answers without a token, which start again from the beginning.
    lines: usize,
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

    /// The last lines of a log, in order.
    ///
    /// # Errors
    ///
    /// Any error of CloudWatch Logs.
    pub async fn end(&self, group: &str, stream: &str) -> Result<Vec<String>, AwsError> {
        let asked = json!({ "logGroupName": group, "logStreamName": stream, "limit": MAX_EVENTS, "startFromHead": false });
        let page: Page = self.service.call("GetLogEvents", "Logs_20140328", &asked).await?;
        Ok(page.events.into_iter().map(|event| event.message).collect())
    }

    /// The lines of a log after a position, and the new position. Without new lines the position does not change.
    ///
    /// # Errors
    ///
    /// Any error of CloudWatch Logs; [`super::error::Failure::NotFound`] as long as nothing was written.
    pub async fn after(
        &self,
        group: &str,
        stream: &str,
        position: Position,
    ) -> Result<(Vec<String>, Position), AwsError> {
        let mut asked = json!({ "logGroupName": group, "logStreamName": stream, "startFromHead": true });
        if let Some(token) = &position.token {
            asked["nextToken"] = json!(token);
        }
        let page: Page = self.service.call("GetLogEvents", "Logs_20140328", &asked).await?;
        let seen = if position.token.is_none() { position.lines } else { 0 };
        let new: Vec<String> = page.events.into_iter().skip(seen).map(|event| event.message).collect();
        let lines = position.lines + new.len();
        Ok((new, Position { token: page.next_forward_token.or(position.token), lines }))
    }
}
