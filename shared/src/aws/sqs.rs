//! Amazon SQS: keeps events for a later attempt, and for a run that reads them.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Connection;
use super::error::AwsError;
use crate::aws::sigv4::{Service, Unsigned, refused};

/// Maximum number of messages of one call.
pub const BATCH: usize = 10;

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

/// A message of a queue, which is not received again for the time that the queue says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Message {
    /// Its content.
    pub body: String,
    /// The handle by which it is deleted.
    pub receipt_handle: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Received {
    // Without messages there is no list.
    #[serde(default)]
    messages: Option<Vec<Message>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Deleted {
    #[serde(default)]
    failed: Vec<NotDeleted>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NotDeleted {
    code: String,
    #[serde(default)]
    message: String,
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
        let body = json!({ "QueueUrl": queue_url, "MessageBody": message, "DelaySeconds": delay_seconds });
        let sent: Sent = self.call("SendMessage", "AmazonSQS.SendMessage", &body).await?;
        tracing::info!(message = sent.message_id, "put an event aside");
        Ok(())
    }

    /// Receives up to [`BATCH`] messages. With none it waits for one, up to a number of seconds; with at least one second it asks all
    /// servers of the queue.
    ///
    /// # Errors
    ///
    /// Any error of SQS.
    pub async fn receive(&self, queue_url: &str, wait_seconds: u8) -> Result<Vec<Message>, AwsError> {
        let body = json!({
            "QueueUrl": queue_url,
            "MaxNumberOfMessages": BATCH,
            "WaitTimeSeconds": wait_seconds,
        });
        let received: Received = self.call("ReceiveMessage", "AmazonSQS.ReceiveMessage", &body).await?;
        Ok(received.messages.unwrap_or_default())
    }

    /// Deletes up to [`BATCH`] messages.
    ///
    /// # Errors
    ///
    /// Any error of SQS; also if one of them could not be deleted. Those are received again later.
    pub async fn delete(&self, queue_url: &str, messages: &[Message]) -> Result<(), AwsError> {
        const OPERATION: &str = "DeleteMessageBatch";
        let entries: Vec<Value> = messages
            .iter()
            .enumerate()
            .map(|(at, message)| json!({ "Id": at.to_string(), "ReceiptHandle": message.receipt_handle }))
            .collect();
        let body = json!({ "QueueUrl": queue_url, "Entries": entries });
        let deleted: Deleted = self.call(OPERATION, "AmazonSQS.DeleteMessageBatch", &body).await?;
        match deleted.failed.first() {
            None => Ok(()),
            Some(NotDeleted { code, message }) => Err(AwsError::unexpected_response(
                OPERATION,
                &format!("a message was not deleted: {code}: {message}"),
            )),
        }
    }

    async fn call<T: for<'de> Deserialize<'de>>(
        &self,
        operation: &'static str,
        target: &str,
        body: &Value,
    ) -> Result<T, AwsError> {
        let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", target)];
        let body = body.to_string();
        let request = Unsigned { operation, method: "POST", path: "/", headers: &headers, body: &body };
        let answered = self.service.send(request, |answered| refused(operation, answered)).await?;
        serde_json::from_slice(&answered.body).map_err(|error| {
            AwsError::unexpected_response(operation, &format!("the answer is unreadable: {error}"))
        })
    }
}
