//! Reads which repositories changed from the queue of Amazon ECR's events, and keeps it in the bucket.
//!
//! Messages are deleted only after what they say is in the bucket. Whatever goes wrong makes changes unknown, so that the run looks
//! at everything, and never makes the run fail.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::time::Duration;

use super::{RunContext, RunError};
use crate::aws::s3::{Object, Precondition};
use crate::aws::sqs::{self, Message, Sqs};
use crate::domain::enforcement::changes::{CHANGED_KEY, ChangeEvent, Changes};
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity::count;

/// Calls to the queue at the same time.
const READ_CONCURRENCY: usize = 4;
/// Seconds that a call waits for a message, so that an answer without one is of all servers of the queue.
const WAIT_SECONDS: u8 = 1;
/// Messages whose content is written at once: their handles are in memory.
const CHUNK: usize = 2000;
/// Minimum time left for reading on: the repositories are still to be listed.
const MIN_TIME_LEFT: Duration = Duration::from_secs(60);
/// Maximum number of attempts of a conditional write.
const MAX_CAS_ATTEMPTS: usize = 5;

/// The queue with the events of Amazon ECR.
#[derive(Debug, Clone, Copy)]
pub struct Queue<'a> {
    /// Amazon SQS.
    pub sqs: &'a Sqs,
    /// The address of the queue.
    pub url: &'a str,
}

/// What is known of changes.
#[derive(Debug)]
pub(super) struct KnownChanges {
    /// The changes.
    pub(super) changes: Changes,
    /// Why some may be missing; none if all are known.
    pub(super) problem: Option<String>,
}

/// Why changes are not known.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error(transparent)]
    Failed(#[from] RunError),
    #[error("another run reads the events at the same time")]
    OtherRun,
    #[error("a run before this one ended while it read the events")]
    Interrupted,
    #[error("there was not enough time to read all events, and the next run goes on")]
    NoTime,
    #[error("{} in the queue could not be read as events of Amazon ECR", count(*.0, "message"))]
    Malformed(u64),
    #[error("{CHANGED_KEY} could not be read, and is written anew")]
    Unreadable,
}

/// Reads all events of the queue, and gives the changes of the last days.
pub(super) async fn read(clients: &RunContext<'_>, queue: Queue<'_>, now: Instant) -> KnownChanges {
    let mut reader = Reader {
        clients,
        queue,
        now,
        changes: Changes::of_new_queue(queue.url.to_owned(), now),
        written: String::new(),
        has_conflict: false,
        malformed: 0,
    };
    let read = reader.read().await;
    let Reader { changes, has_conflict, malformed, .. } = reader;
    let unknown = match read {
        Err(unknown) => Some(unknown),
        Ok(()) if malformed > 0 => Some(Unknown::Malformed(malformed)),
        Ok(()) if has_conflict => Some(Unknown::OtherRun),
        Ok(()) => None,
    };
    let problem = unknown.map(|unknown| unknown.to_string());
    if let Some(problem) = &problem {
        tracing::warn!(queue = queue.url, problem, "which repositories changed is not known");
    }
    KnownChanges { changes, problem }
}

/// The changes that an earlier invocation of the same inventory read.
pub(super) async fn read_again(clients: &RunContext<'_>, queue: Queue<'_>, now: Instant) -> KnownChanges {
    let found = clients.call(clients.s3.get(clients.bucket, CHANGED_KEY)).await;
    let text = found.as_ref().ok().and_then(Option::as_ref).map(|object| object.text.as_str());
    let changes = Changes::before(text, queue.url, now);
    KnownChanges { changes, problem: found.err().map(|error| error.to_string()) }
}

struct Reader<'a, 'c> {
    clients: &'a RunContext<'c>,
    queue: Queue<'a>,
    now: Instant,
    changes: Changes,
    /// What this run wrote last.
    written: String,
    /// Whether somebody else wrote meanwhile, who may have read messages that are not written yet.
    has_conflict: bool,
    malformed: u64,
}

impl Reader<'_, '_> {
    async fn read(&mut self) -> Result<(), Unknown> {
        let found = self.object().await?;
        let text = found.as_ref().map(|object| object.text.as_str());
        self.changes = Changes::before(text, self.queue.url, self.now);
        let is_unreadable = text.is_some_and(|text| serde_json::from_str::<Changes>(text).is_err());
        let was_interrupted = self.changes.is_being_read;
        self.changes.is_being_read = true;
        if !self.put(found.as_ref()).await? {
            return Err(Unknown::OtherRun);
        }
        self.receive_all().await?;
        if is_unreadable {
            return Err(Unknown::Unreadable);
        }
        if was_interrupted { Err(Unknown::Interrupted) } else { Ok(()) }
    }

    async fn receive_all(&mut self) -> Result<(), Unknown> {
        let mut received = Vec::new();
        loop {
            let before = received.len();
            self.receive(&mut received).await?;
            let is_empty = received.len() == before;
            let has_time = self.clients.deadline.has(MIN_TIME_LEFT);
            if !is_empty && has_time && received.len() < CHUNK {
                continue;
            }
            self.changes.is_being_read = !is_empty && has_time;
            self.changes.drop_old(self.clients.now());
            self.write().await?;
            self.delete(&received).await;
            received.clear();
            match (is_empty, has_time) {
                (true, _) => return Ok(()),
                (false, true) => {}
                (false, false) => return Err(Unknown::NoTime),
            }
        }
    }

    /// Receives some messages, and adds what they say to the changes.
    async fn receive(&mut self, received: &mut Vec<Message>) -> Result<(), RunError> {
        let Queue { sqs, url } = self.queue;
        let clients = self.clients;
        let mut receiving = stream::iter(0..READ_CONCURRENCY)
            .map(|_| clients.call(sqs.receive(url, WAIT_SECONDS)))
            .buffer_unordered(READ_CONCURRENCY);
        while let Some(messages) = receiving.try_next().await? {
            // What a message says happened before it was received. That may be long after the first one.
            let now = clients.now();
            for mut message in messages {
                match ChangeEvent::parse(&std::mem::take(&mut message.body)) {
                    Ok(event) => self.changes.add(event, now),
                    Err(error) => {
                        tracing::warn!(queue = url, %error, "a message is no event of Amazon ECR");
                        self.malformed += 1;
                        self.changes.forget(now);
                    }
                }
                received.push(message);
            }
        }
        Ok(())
    }

    /// Deletes messages whose content is written. What is not deleted is read again, which changes nothing.
    async fn delete(&self, received: &[Message]) {
        let Queue { sqs, url } = self.queue;
        let deleted = stream::iter(received.chunks(sqs::BATCH))
            .map(|messages| self.clients.call(sqs.delete(url, messages)))
            .buffer_unordered(READ_CONCURRENCY)
            .try_for_each(|()| std::future::ready(Ok(())));
        if let Err(error) = deleted.await {
            tracing::warn!(queue = url, %error, "could not delete messages that were read");
        }
    }

    async fn object(&self) -> Result<Option<Object>, RunError> {
        self.clients.call(self.clients.s3.get(self.clients.bucket, CHANGED_KEY)).await
    }

    /// Writes the changes, with those that others wrote meanwhile.
    async fn write(&mut self) -> Result<(), Unknown> {
        for _ in 0..MAX_CAS_ATTEMPTS {
            let found = self.object().await?;
            let text = found.as_ref().map(|object| object.text.as_str());
            if text != Some(self.written.as_str()) {
                self.has_conflict = true;
                self.changes.merge(Changes::before(text, self.queue.url, self.now));
            }
            if self.put(found.as_ref()).await? {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(u64::from(fastrand::u32(20..200)))).await;
        }
        Err(Unknown::OtherRun)
    }

    /// Writes the changes over an object, if it is still there as it was read; `false` if it is not.
    async fn put(&mut self, found: Option<&Object>) -> Result<bool, RunError> {
        let Self { clients, .. } = self;
        let text = serde_json::to_string(&self.changes)
            .map_err(|error| clients.invalid_object(CHANGED_KEY, error))?;
        let only = found.map_or(Precondition::IfNoneMatch, |object| Precondition::IfMatch(&object.etag));
        let is_written = clients.call(clients.s3.put(clients.bucket, CHANGED_KEY, &text, only)).await?;
        if is_written {
            self.written = text;
        }
        Ok(is_written)
    }
}
