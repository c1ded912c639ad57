//! Parses events of S3 and CodeCommit, from EventBridge or as their own notifications, as source updates.

use serde::Deserialize;

use super::{GitReference, Source, SourceOrder};
use crate::domain::text::finding::quoted;
use crate::domain::text::instant::Instant;

/// A new version of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceUpdate {
    /// The source, pinned.
    pub source: Source,
    /// The branch or tag that was pushed.
    pub reference: Option<GitReference>,
    /// The position of the source among others.
    pub arrival: SourceOrder,
}

/// The content of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParsedEvent {
    /// A source was updated.
    Update(SourceUpdate),
    /// Nothing is built, for this reason.
    Skip(SkipReason),
    /// A build ended: what follows is another function's work. Such an event comes here from the queue of undelivered events.
    BuildEnded,
}

/// Why an event is valid and starts no build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SkipReason {
    /// S3 sends a test event when notifications are set up.
    #[error("it is the test event of S3")]
    TestEvent,
    /// The object has no version id.
    #[error(
        "{} has no version: the bucket {} keeps none, so that the source cannot be pinned; turn its versioning on",
        quoted(.key),
        quoted(.bucket)
    )]
    NotVersioned {
        /// The bucket.
        bucket: String,
        /// The key of the object.
        key: String,
    },
    /// The event of this name is not about a new source.
    #[error("{} brings no source", quoted(.0))]
    OtherEvent(String),
    /// The reference, or its kind, is unknown.
    #[error("{} is neither a branch nor a tag", quoted(.0))]
    UnknownReference(String),
    /// The branch or tag was deleted.
    #[error("{} was deleted, which leaves nothing to build", quoted(.0))]
    Deleted(String),
}

/// Why an event is not understood.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEvent {
    /// It is not an event that starts builds.
    #[error(
        "this is no event that starts a build: it is neither EventBridge's `Object Created` or `CodeCommit Repository State \
         Change`, nor a notification of S3 or a trigger of CodeCommit, nor a request with `repositoryName` and `source`"
    )]
    Unknown,
    /// It is such an event, and a field is missing or invalid.
    #[error("the event is not as {0} sends it: {1}")]
    Shape(&'static str, String),
    /// It is an event of another service.
    #[error("there are records of {} in the event, which start no builds here", quoted(.0))]
    Foreign(String),
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, rename = "detail-type")]
    detail_type: Option<std::borrow::Cow<'a, str>>,
    #[serde(default)]
    time: Option<String>,
    #[serde(borrow, default)]
    detail: Option<&'a serde_json::value::RawValue>,
    #[serde(default, rename = "Records")]
    records: Option<Vec<Record>>,
    /// S3's test event, which it sends when notifications are set up.
    #[serde(default, rename = "Event")]
    test: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Created {
    bucket: BucketRef,
    object: CreatedObject,
}

#[derive(Deserialize)]
struct BucketRef {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct CreatedObject {
    key: String,
    version_id: Option<String>,
    sequencer: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StateChange {
    event: String,
    repository_name: String,
    reference_type: Option<String>,
    reference_name: Option<String>,
    commit_id: Option<String>,
    old_commit_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    event_source: Option<String>,
    #[serde(default)]
    event_name: String,
    event_time: Option<String>,
    s3: Option<RecordS3>,
    #[serde(rename = "eventSourceARN")]
    event_source_arn: Option<String>,
    codecommit: Option<RecordCodeCommit>,
}

#[derive(Deserialize)]
struct RecordS3 {
    bucket: BucketRef,
    object: RecordObject,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordObject {
    key: String,
    version_id: Option<String>,
    sequencer: Option<String>,
}

#[derive(Deserialize)]
struct RecordCodeCommit {
    references: Vec<RecordReference>,
}

#[derive(Deserialize)]
struct RecordReference {
    commit: Option<String>,
    #[serde(rename = "ref")]
    name: String,
    #[serde(default)]
    deleted: bool,
}

/// Events that were wrapped in another event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwrapped {
    /// The events.
    pub events: Vec<String>,
    /// Whether a queue delivered them. An event that fails remains in the queue, and is delivered again.
    pub has_waited: bool,
}

/// The events in an event of a queue or a topic, also those of a topic in a queue; `None` for other events. The stack's own queue
/// has events for which no build could be started; another queue may be between S3 and the function.
#[must_use]
pub fn unwrap(event: &str) -> Option<Unwrapped> {
    #[derive(Deserialize)]
    struct Batch {
        #[serde(rename = "Records")]
        records: Vec<Message>,
    }
    #[derive(Deserialize)]
    struct Message {
        // SQS and SNS do not agree.
        #[serde(alias = "EventSource", rename = "eventSource")]
        event_source: String,
        body: Option<String>,
        #[serde(rename = "Sns")]
        sns: Option<Notification>,
    }
    let batch: Batch = serde_json::from_str(event).ok()?;
    let are_of = |source: &str| batch.records.iter().all(|message| message.event_source == source);
    let has_waited = are_of("aws:sqs");
    if batch.records.is_empty() || !(has_waited || are_of("aws:sns")) {
        return None;
    }
    let texts = batch.records.into_iter().map(|message| message.body.or_else(|| Some(message.sns?.message)));
    let events = texts.collect::<Option<Vec<String>>>()?.into_iter().map(of_topic).collect();
    Some(Unwrapped { events, has_waited })
}

/// A topic's message with its envelope.
#[derive(Deserialize)]
struct Notification {
    #[serde(rename = "Type")]
    kind: Option<String>,
    #[serde(rename = "Message")]
    message: String,
}

/// The event that a topic has put into a queue; any other text as it is.
fn of_topic(text: String) -> String {
    match serde_json::from_str::<Notification>(&text) {
        Ok(notification) if notification.kind.as_deref() == Some("Notification") => notification.message,
        _ => text,
    }
}

/// The content of an event, one entry for each source in it. `None` if it is not an event of S3 or CodeCommit at all.
///
/// # Errors
///
/// If it is one that does not have the form that S3 and CodeCommit send.
pub fn read(event: &str) -> Result<Option<Vec<ParsedEvent>>, InvalidEvent> {
    let Ok(envelope) = serde_json::from_str::<Envelope<'_>>(event) else { return Ok(None) };
    if let Some(records) = envelope.records {
        let parsed = records.into_iter().map(parse_record).collect::<Result<Vec<_>, _>>()?;
        return Ok(Some(parsed.into_iter().flatten().collect()));
    }
    if envelope.test.as_deref() == Some("s3:TestEvent") {
        return Ok(Some(vec![ParsedEvent::Skip(SkipReason::TestEvent)]));
    }
    let detail = envelope.detail.map_or("null", serde_json::value::RawValue::get);
    let parsed = match envelope.detail_type.as_deref() {
        Some("Object Created") => {
            const BY: &str = "EventBridge for S3";
            let created: Created = parse_detail(detail, BY)?;
            let at = time(envelope.time.as_deref(), BY)?;
            let CreatedObject { key, version_id, sequencer } = created.object;
            object(created.bucket.name, key, version_id, sequencer, at)
        }
        Some("CodeCommit Repository State Change") => {
            const BY: &str = "EventBridge for CodeCommit";
            let change: StateChange = parse_detail(detail, BY)?;
            let at = time(envelope.time.as_deref(), BY)?;
            parse_state_change(change, at)?
        }
        Some("CodeBuild Build State Change") => ParsedEvent::BuildEnded,
        Some(_) => return Err(InvalidEvent::Unknown),
        None => return Ok(None),
    };
    Ok(Some(vec![parsed]))
}

fn parse_detail<'a, T: Deserialize<'a>>(detail: &'a str, by: &'static str) -> Result<T, InvalidEvent> {
    serde_json::from_str(detail).map_err(|error| InvalidEvent::Shape(by, error.to_string()))
}

/// The time of an event; CodeCommit writes offsets without a colon.
fn time(text: Option<&str>, by: &'static str) -> Result<Instant, InvalidEvent> {
    let Some(text) = text else { return Err(InvalidEvent::Shape(by, "it has no time".to_owned())) };
    let spelled = match text.get(text.len().saturating_sub(5)..).map(str::as_bytes) {
        Some([b'+' | b'-', rest @ ..]) if rest.iter().all(u8::is_ascii_digit) => {
            let (start, minutes) = text.split_at(text.len() - 2);
            format!("{start}:{minutes}")
        }
        _ => text.to_owned(),
    };
    Instant::parse(&spelled).map_err(|error| InvalidEvent::Shape(by, error.to_string()))
}

fn object(
    bucket: String,
    key: String,
    version_id: Option<String>,
    sequencer: Option<String>,
    at: Instant,
) -> ParsedEvent {
    match version_id.filter(|version| !version.is_empty() && version != "null") {
        Some(version_id) => ParsedEvent::Update(SourceUpdate {
            source: Source::S3 { bucket, key, version_id },
            reference: None,
            arrival: SourceOrder { sequencer, ..SourceOrder::at(at) },
        }),
        None => ParsedEvent::Skip(SkipReason::NotVersioned { bucket, key }),
    }
}

fn parse_state_change(change: StateChange, at: Instant) -> Result<ParsedEvent, InvalidEvent> {
    const BY: &str = "EventBridge for CodeCommit";
    let missing = |field: &str| InvalidEvent::Shape(BY, format!("missing field `{field}`"));
    let name = change.reference_name.unwrap_or_default();
    match change.event.as_str() {
        "referenceCreated" | "referenceUpdated" => {}
        "referenceDeleted" => return Ok(ParsedEvent::Skip(SkipReason::Deleted(name))),
        other => return Ok(ParsedEvent::Skip(SkipReason::OtherEvent(other.to_owned()))),
    }
    let commit_id = change.commit_id.ok_or_else(|| missing("commitId"))?;
    let reference = match change.reference_type.as_deref() {
        Some("branch") => GitReference::Branch(name),
        Some("tag") => GitReference::Tag(name),
        other => {
            let other = other.unwrap_or_default().to_owned();
            return Ok(ParsedEvent::Skip(SkipReason::UnknownReference(other)));
        }
    };
    Ok(ParsedEvent::Update(SourceUpdate {
        source: Source::CodeCommit { repository_name: change.repository_name, commit_id },
        reference: Some(reference),
        arrival: SourceOrder { replaces: change.old_commit_id, ..SourceOrder::at(at) },
    }))
}

fn parse_record(record: Record) -> Result<Vec<ParsedEvent>, InvalidEvent> {
    match (record.event_source.as_deref(), record.s3, record.codecommit) {
        (Some("aws:s3"), Some(s3), _) => {
            const BY: &str = "S3";
            if !record.event_name.starts_with("ObjectCreated:") {
                return Ok(vec![ParsedEvent::Skip(SkipReason::OtherEvent(record.event_name))]);
            }
            let key = decode_form_urlencoded(&s3.object.key)
                .ok_or_else(|| InvalidEvent::Shape(BY, "the key is not encoded as S3 does".to_owned()))?;
            let at = time(record.event_time.as_deref(), BY)?;
            Ok(vec![object(s3.bucket.name, key, s3.object.version_id, s3.object.sequencer, at)])
        }
        (Some("aws:codecommit"), _, Some(codecommit)) => {
            const BY: &str = "CodeCommit";
            let arn = record.event_source_arn.unwrap_or_default();
            let name = arn.rsplit(':').next().unwrap_or_default().to_owned();
            let at = time(record.event_time.as_deref(), BY)?;
            Ok(codecommit.references.into_iter().map(|reference| pushed(&name, reference, at)).collect())
        }
        (source, _, _) => Err(InvalidEvent::Foreign(source.unwrap_or_default().to_owned())),
    }
}

fn pushed(repository_name: &str, pushed: RecordReference, at: Instant) -> ParsedEvent {
    let reference = match pushed.name.strip_prefix("refs/").and_then(|name| name.split_once('/')) {
        Some(("heads", name)) => GitReference::Branch(name.to_owned()),
        Some(("tags", name)) => GitReference::Tag(name.to_owned()),
        _ => return ParsedEvent::Skip(SkipReason::UnknownReference(pushed.name)),
    };
    match pushed.commit {
        Some(commit_id) if !pushed.deleted => ParsedEvent::Update(SourceUpdate {
            source: Source::CodeCommit { repository_name: repository_name.to_owned(), commit_id },
            reference: Some(reference),
            arrival: SourceOrder::at(at),
        }),
        _ => ParsedEvent::Skip(SkipReason::Deleted(pushed.name)),
    }
}

/// A key as S3's notifications encode it: like a form, with `+` for a space.
fn decode_form_urlencoded(key: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                rest = rest.get(2..)?;
                u8::from_str_radix(digits, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(event: &serde_json::Value) -> ParsedEvent {
        let mut parsed = read(&event.to_string()).unwrap().unwrap();
        assert_eq!(parsed.len(), 1, "{parsed:?}");
        parsed.remove(0)
    }

    fn arrived(event: &serde_json::Value) -> SourceUpdate {
        match only(event) {
            ParsedEvent::Update(arrived) => arrived,
            other => panic!("{other:?}"),
        }
    }

    fn nothing(event: &serde_json::Value) -> String {
        match only(event) {
            ParsedEvent::Skip(reason) => reason.to_string(),
            other => panic!("{other:?}"),
        }
    }

    fn created(key: &str, version: Option<&str>) -> serde_json::Value {
        serde_json::json!({
            "version": "0", "id": "1", "source": "aws.s3", "detail-type": "Object Created",
            "time": "2026-11-23T10:00:00Z",
            "detail": { "bucket": { "name": "b" }, "reason": "PutObject",
                "object": { "key": key, "size": 5, "etag": "e", "version-id": version, "sequencer": "0A" } },
        })
    }

    fn change(event: &str, kind: &str) -> serde_json::Value {
        serde_json::json!({
            "source": "aws.codecommit", "detail-type": "CodeCommit Repository State Change",
            "time": "2026-11-23T10:00:00Z",
            "detail": { "event": event, "repositoryName": "web", "referenceType": kind, "referenceName": "main",
                "commitId": "c2", "oldCommitId": "c1" },
        })
    }

    #[test]
    fn both_ways_of_s3_say_the_same() {
        let bridge = arrived(&created("sources/team/app/a b+ü.zip", Some("v1")));
        let notification = arrived(&serde_json::json!({ "Records": [{
            "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "eventTime": "2026-11-23T10:00:00.000Z",
            "s3": { "bucket": { "name": "b" },
                "object": { "key": "sources/team/app/a+b%2B%C3%BC.zip", "versionId": "v1", "sequencer": "0A" } },
        }] }));
        assert_eq!(bridge, notification);
        assert_eq!(bridge.source.to_string(), "s3://b/sources/team/app/a b+ü.zip?versionId=v1");
    }

    #[test]
    fn both_ways_of_codecommit_say_the_same_but_for_what_came_before() {
        let bridge = arrived(&change("referenceUpdated", "branch"));
        let trigger = arrived(&serde_json::json!({ "Records": [{
            "eventSource": "aws:codecommit", "eventTime": "2026-11-23T11:00:00.000+0100",
            "eventSourceARN": "arn:aws:codecommit:eu-west-1:123456789012:web",
            "codecommit": { "references": [{ "commit": "c2", "ref": "refs/heads/main" }] },
        }] }));
        assert_eq!((&bridge.source, &bridge.reference), (&trigger.source, &trigger.reference));
        assert_eq!(bridge.arrival.at, trigger.arrival.at);
        assert_eq!(bridge.arrival.replaces.as_deref(), Some("c1"));
    }

    #[test]
    fn what_brings_no_source_says_why() {
        let deleted = nothing(&change("referenceDeleted", "branch"));
        assert_eq!(deleted, "`main` was deleted, which leaves nothing to build");
        assert!(nothing(&created("k", None)).contains("turn its versioning on"));
        assert!(nothing(&created("k", Some("null"))).contains("turn its versioning on"));
        let removed = serde_json::json!({ "Records": [{
            "eventSource": "aws:s3", "eventName": "ObjectRemoved:Delete",
            "s3": { "bucket": { "name": "b" }, "object": { "key": "k" } },
        }] });
        assert!(nothing(&removed).contains("brings no source"));
        let test = serde_json::json!({ "Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b" });
        assert!(nothing(&test).contains("test event"));
    }

    #[test]
    fn what_a_topic_or_a_queue_delivers_is_what_came_to_it() {
        let inner = created("sources/app/a.zip", Some("v1")).to_string();
        let envelope = serde_json::json!({ "Type": "Notification", "MessageId": "1", "TopicArn": "t", "Message": inner });
        let queue =
            serde_json::json!({ "Records": [{ "eventSource": "aws:sqs", "messageId": "1", "body": inner }] });
        let topic = serde_json::json!({ "Records": [{ "EventSource": "aws:sns", "Sns": envelope }] });
        let both =
            serde_json::json!({ "Records": [{ "eventSource": "aws:sqs", "body": envelope.to_string() }] });
        for (event, has_waited) in [(queue, true), (topic, false), (both, true)] {
            let unwrapped = unwrap(&event.to_string()).unwrap();
            assert_eq!(unwrapped, Unwrapped { events: vec![inner.clone()], has_waited }, "{event}");
        }
        for other in [created("k", None), serde_json::json!({ "Records": [] }), envelope] {
            assert_eq!(unwrap(&other.to_string()), None, "{other}");
        }
    }

    #[test]
    fn other_events_are_distinguished_from_requests() {
        let foreign = serde_json::json!({ "Records": [{ "eventSource": "aws:sqs" }] });
        assert!(
            matches!(read(&foreign.to_string()), Err(InvalidEvent::Foreign(source)) if source == "aws:sqs")
        );
        let other = serde_json::json!({ "source": "aws.ec2", "detail-type": "EC2 Something", "detail": {} });
        assert!(matches!(read(&other.to_string()), Err(InvalidEvent::Unknown)));
        let broken = serde_json::json!({ "detail-type": "Object Created", "time": "2026-11-23T10:00:00Z" });
        assert!(matches!(read(&broken.to_string()), Err(InvalidEvent::Shape(..))));
        assert!(read(r#"{"repositoryName": "app"}"#).unwrap().is_none());
    }
}
