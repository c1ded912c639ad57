//! Amazon SQS, as far as somebody receives: messages that are received are invisible until they are deleted, or five minutes have
//! passed. And what Amazon EventBridge puts into a queue when images change.

use serde_json::{Value, json};

use crate::clock;

/// Microseconds for which a received message is invisible.
const INVISIBLE: i64 = 300_000_000;

/// Queues.
#[derive(Debug, Default)]
pub struct Queues {
    /// What is in them, the oldest first.
    messages: Vec<Message>,
    /// Messages so far.
    sent: usize,
}

#[derive(Debug)]
struct Message {
    queue: String,
    id: usize,
    body: String,
    /// Until when nobody receives it, in microseconds.
    invisible_until: i64,
}

impl Queues {
    /// Puts a message into a queue.
    pub fn send(&mut self, queue: &str, body: &str) {
        self.sent += 1;
        let (queue, body) = (queue.to_owned(), body.to_owned());
        self.messages.push(Message { queue, id: self.sent, body, invisible_until: i64::MIN });
    }

    /// Puts the event into a queue that Amazon ECR sends when images of a repository change: `PUSH`, `DELETE`.
    pub fn send_event(&mut self, queue: &str, repository: &str, action: &str, micros: i64) {
        let at = shared::domain::text::instant::Instant::from_micros(micros - micros.rem_euclid(1_000_000));
        let event = json!({
            "version": "0", "id": format!("event-{}", self.sent), "detail-type": "ECR Image Action", "source": "aws.ecr",
            "account": "123456789012", "time": at.unwrap().to_string(), "region": "eu-west-1", "resources": [],
            "detail": { "result": "SUCCESS", "repository-name": repository, "image-digest": "sha256:7f5b",
                "action-type": action, "image-tag": "latest" }
        });
        self.send(queue, &event.to_string());
    }

    /// The number of messages, received ones among them.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn receive(&mut self, asked: &Value) -> Value {
        let most = asked["MaxNumberOfMessages"].as_u64().unwrap_or(1);
        assert!((1..=10).contains(&most), "{asked}");
        let most = usize::try_from(most).unwrap();
        let now = clock::micros();
        let of_queue = self.messages.iter_mut().filter(|message| asked["QueueUrl"] == message.queue.as_str());
        let received: Vec<Value> = of_queue
            .filter(|message| message.invisible_until <= now)
            .take(most)
            .map(|message| {
                message.invisible_until = now + INVISIBLE;
                json!({ "MessageId": message.id.to_string(), "ReceiptHandle": format!("handle-{}", message.id),
                    "MD5OfBody": "0", "Body": message.body })
            })
            .collect();
        // Without messages there is no list.
        if received.is_empty() { json!({}) } else { json!({ "Messages": received }) }
    }

    pub(super) fn delete(&mut self, asked: &Value) -> Value {
        let entries = asked["Entries"].as_array().cloned().unwrap_or_default();
        assert!((1..=10).contains(&entries.len()), "{asked}");
        let is_deleted = |message: &Message| {
            let handle = format!("handle-{}", message.id);
            asked["QueueUrl"] == message.queue.as_str()
                && entries.iter().any(|entry| entry["ReceiptHandle"] == handle.as_str())
        };
        self.messages.retain(|message| !is_deleted(message));
        let ids: Vec<Value> = entries.iter().map(|entry| json!({ "Id": entry["Id"] })).collect();
        json!({ "Successful": ids, "Failed": [] })
    }
}
