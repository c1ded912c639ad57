//! Amazon SQS: keeps events for a later attempt.

use serde::Deserialize;
use serde_json::json;

use super::Connection;
use super::error::AwsError;
use crate::aws::sigv4::{Service, Unsigned, refused};

/// Queues in Amazon SQS.
#[derive(Debug)]
pub struct Sqs {
    service: Service,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Sent {
    message_id: String,
}

impl Sqs {
    pub(super) fn new(connection: &Connection) -> Self {
        Self { service: Service::new("sqs", "SQS", connection) }
    }

    /// Sends a message that stays invisible in the queue for a number of seconds.
    ///
    /// # Errors
    ///
    /// Any error of SQS.
    pub async fn send(&self, queue_url: &str, message: &str, delay_seconds: u16) -> Result<(), AwsError> {
        const OPERATION: &str = "SendMessage";
        let headers =
            [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", "AmazonSQS.SendMessage")];
        let body = json!({ "QueueUrl": queue_url, "MessageBody": message, "DelaySeconds": delay_seconds })
            .to_string();
        let request =
            Unsigned { operation: OPERATION, method: "POST", path: "/", headers: &headers, body: &body };
        let answered = self.service.send(request, |answered| refused(OPERATION, answered)).await?;
        let sent: Result<Sent, _> = serde_json::from_slice(&answered.body);
        let sent = sent.map_err(|error| {
            AwsError::unexpected_response(OPERATION, &format!("the answer is unreadable: {error}"))
        })?;
        tracing::info!(message = sent.message_id, "put an event aside");
        Ok(())
    }
}
