//! Which repositories changed, from the events that Amazon ECR sends, and from when on that is known.
//!
//! Events are sent on a best effort basis, may come twice, and in any order. What cannot be read as an event makes everything
//! before it unknown: looks at repositories from before count for nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::text::instant::Instant;

/// The key of the object with the changes.
pub const CHANGED_KEY: &str = "state/changed.json";
/// The source of the events.
const SOURCE: &str = "aws.ecr";
/// The events after which a repository may have other images or tags. (Amazon ECR user guide, "Amazon ECR events and EventBridge".)
pub const DETAIL_TYPES: [&str; 4] =
    ["ECR Image Action", "ECR Referrer Action", "ECR Replication Action", "ECR Pull Through Cache Action"];
/// Microseconds by which the times of events and of looks may differ, and after a change may not be listed yet.
pub const MARGIN_MICROS: i64 = 300 * 1_000_000;
/// Days for which changes are kept: longer than a look counts.
pub const KEPT_DAYS: u64 = 8;

/// A change of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeEvent {
    /// The repository.
    pub repository_name: String,
    /// When it was changed.
    pub at: Instant,
}

/// Why a message is no event about the images of a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEvent {
    /// It is no JSON, or lacks a field.
    #[error("it is not as EventBridge sends events: {0}")]
    Malformed(String),
    /// It is another event.
    #[error("it is a \"{detail_type}\" of \"{source_name}\", and no event about images")]
    Foreign {
        /// Its source.
        source_name: String,
        /// What it is.
        detail_type: String,
    },
    /// It names no repository.
    #[error("it names no repository")]
    NoRepository,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Event {
    source: String,
    detail_type: String,
    time: Instant,
    #[serde(default)]
    resources: Vec<String>,
    detail: Detail,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Detail {
    #[serde(default)]
    repository_name: Option<String>,
}

impl ChangeEvent {
    /// Reads a message that a rule of EventBridge sent.
    ///
    /// # Errors
    ///
    /// If it is anything else than an event about the images of a repository.
    pub fn parse(message: &str) -> Result<Self, InvalidEvent> {
        let event: Event =
            serde_json::from_str(message).map_err(|error| InvalidEvent::Malformed(error.to_string()))?;
        let Event { source, detail_type, time, resources, detail } = event;
        if source != SOURCE || !DETAIL_TYPES.contains(&detail_type.as_str()) {
            return Err(InvalidEvent::Foreign { source_name: source, detail_type });
        }
        // Events of pull-through caches have the ARN alone.
        let by_arn = || resources.iter().find_map(|arn| arn.split_once(":repository/")).map(|(_, name)| name);
        let name = detail.repository_name.as_deref().or_else(by_arn).filter(|name| !name.is_empty());
        let repository_name = name.ok_or(InvalidEvent::NoRepository)?.to_owned();
        Ok(Self { repository_name, at: time })
    }
}

/// The changes of the last days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Changes {
    /// The address of the queue that they were read from. Another queue does not have the events before it was made.
    pub queue: String,
    /// Looks from before this time do not count, since a change after them may not be known.
    pub known_from: Instant,
    /// Whether a run reads the queue. What it has read and not yet written is not seen by others for some minutes.
    #[serde(default, skip_serializing_if = "crate::domain::enforcement::run::is_false")]
    pub is_being_read: bool,
    /// When each repository was changed last.
    pub repositories: BTreeMap<String, Instant>,
}

impl Changes {
    /// No changes, of a queue that nobody has read.
    #[must_use]
    pub const fn of_new_queue(queue: String, now: Instant) -> Self {
        Self { queue, known_from: now, is_being_read: false, repositories: BTreeMap::new() }
    }

    /// The changes so far, for a run that reads this queue: those of the object in the bucket, or none.
    #[must_use]
    pub fn before(text: Option<&str>, queue: &str, now: Instant) -> Self {
        let known = text.and_then(|text| serde_json::from_str::<Self>(text).ok());
        // A time of the future would never let a look count.
        let is_usable = |known: &Self| known.queue == queue && known.known_from.micros() <= latest(now);
        known.filter(is_usable).unwrap_or_else(|| Self::of_new_queue(queue.to_owned(), now))
    }

    /// Adds a change. One of the future is one of the present, so that it does not count for good.
    pub fn add(&mut self, event: ChangeEvent, now: Instant) {
        let at = event.at.min(now);
        let known = self.repositories.entry(event.repository_name).or_insert(at);
        *known = at.max(*known);
    }

    /// Forgets everything from before: a change may be missing.
    pub const fn forget(&mut self, now: Instant) {
        self.known_from = now;
    }

    /// Adds what another run wrote meanwhile.
    pub fn merge(&mut self, other: Self) {
        let Self { queue: _, known_from, is_being_read: _, repositories } = other;
        self.known_from = self.known_from.max(known_from);
        for (repository_name, at) in repositories {
            let known = self.repositories.entry(repository_name).or_insert(at);
            *known = at.max(*known);
        }
    }

    /// Drops changes from before everything that may count.
    pub fn drop_old(&mut self, now: Instant) {
        let oldest = now.micros_days_before(KEPT_DAYS);
        self.repositories.retain(|_, at| at.micros() >= oldest);
    }

    /// Whether a look that began then counts: every change after it is known.
    #[must_use]
    pub fn counts(&self, looked_at: Instant) -> bool {
        looked_at >= self.known_from
    }

    /// Whether a repository was changed after a look at it that began then, or so shortly before that the look may have missed it.
    #[must_use]
    pub fn is_changed_since(&self, repository_name: &str, looked_at: Instant) -> bool {
        let changed_at = self.repositories.get(repository_name);
        changed_at.is_some_and(|at| at.micros() > looked_at.micros().saturating_sub(MARGIN_MICROS))
    }
}

/// The latest time that a clock may show now, in microseconds.
const fn latest(now: Instant) -> i64 {
    now.micros().saturating_add(MARGIN_MICROS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Instant {
        Instant::parse(time).unwrap()
    }

    fn event(name: &str, time: &str) -> String {
        format!(
            r#"{{"version":"0","id":"13cde686","detail-type":"ECR Image Action","source":"aws.ecr","account":"123456789012",
            "time":"{time}","region":"eu-west-1","resources":[],"detail":{{"result":"SUCCESS","repository-name":"{name}",
            "image-digest":"sha256:7f","action-type":"PUSH","image-tag":"latest"}}}}"#
        )
    }

    #[test]
    fn events_are_read_as_ecr_sends_them() {
        let read = ChangeEvent::parse(&event("team/app", "2026-11-16T01:54:34Z")).unwrap();
        assert_eq!(read, ChangeEvent { repository_name: "team/app".into(), at: at("2026-11-16T01:54:34Z") });
        // By the user guide: no name, but an ARN.
        let cached = r#"{"version":"0","id":"85","detail-type":"ECR Pull Through Cache Action","source":"aws.ecr",
            "account":"123456789012","time":"2026-11-16T01:54:34Z","region":"us-west-2",
            "resources":["arn:aws:ecr:us-west-2:123456789012:repository/docker-hub/alpine"],
            "detail":{"rule-version":"1","sync-status":"SUCCESS","ecr-repository-prefix":"docker-hub"}}"#;
        assert_eq!(ChangeEvent::parse(cached).unwrap().repository_name, "docker-hub/alpine");
    }

    #[test]
    fn anything_else_is_no_event() {
        let good = event("app", "2026-11-16T01:54:34Z");
        for (what, message) in [
            ("no JSON", "pushed app".to_owned()),
            ("no time", good.replace("\"time\"", "\"when\"")),
            ("no valid time", good.replace("2026-11-16T01", "yesterday")),
            ("no repository", good.replace("repository-name", "name")),
            ("an empty name", good.replace("\"app\"", "\"\"")),
            ("another source", good.replace("aws.ecr", "aws.s3")),
            ("another type", good.replace("Image Action", "Image Scan")),
            ("a list", format!("[{good}]")),
        ] {
            assert!(ChangeEvent::parse(&message).is_err(), "{what}");
        }
    }

    #[test]
    fn the_order_and_the_number_of_events_do_not_matter() {
        let now = at("2026-11-16T03:00:00Z");
        let events = ["2026-11-16T01:00:00Z", "2026-11-16T02:00:00Z", "2026-11-16T02:00:00Z"];
        let of = |times: &[&str]| {
            let mut changes = Changes::of_new_queue("q".into(), now);
            for time in times {
                changes.add(ChangeEvent { repository_name: "app".into(), at: at(time) }, now);
            }
            changes
        };
        let reversed: Vec<&str> = events.iter().rev().copied().collect();
        assert_eq!(of(&events), of(&reversed));
        let mut merged = of(&events[..1]);
        merged.merge(of(&events[1..]));
        assert_eq!(merged, of(&events));
        // Five minutes are for clocks.
        assert!(merged.is_changed_since("app", at("2026-11-16T02:04:59Z")));
        assert!(!merged.is_changed_since("app", at("2026-11-16T02:05:00Z")));
        assert!(!merged.is_changed_since("other", at("2026-11-16T00:00:00Z")));
    }

    #[test]
    fn what_is_not_known_to_be_complete_begins_anew() {
        let (then, now) = (at("2026-11-15T03:00:00Z"), at("2026-11-16T03:00:00Z"));
        let written = serde_json::to_string(&Changes::of_new_queue("q".into(), then)).unwrap();
        assert!(Changes::before(Some(&written), "q", now).counts(then));
        for (what, text, queue) in [
            ("none", None, "q"),
            ("nonsense", Some("{}"), "q"),
            ("of another queue", Some(written.as_str()), "other"),
            ("of the future", Some(written.replace("2026", "2036").as_str()), "q"),
        ] {
            let changes = Changes::before(text, queue, now);
            assert!(!changes.counts(then) && changes.counts(now), "{what}");
        }
    }

    #[test]
    fn an_event_of_the_future_does_not_count_for_good() {
        let now = at("2026-11-16T03:00:00Z");
        let mut changes = Changes::of_new_queue("q".into(), now);
        changes.add(ChangeEvent { repository_name: "app".into(), at: at("2036-11-16T03:00:00Z") }, now);
        assert!(changes.is_changed_since("app", now));
        assert!(!changes.is_changed_since("app", at("2026-11-16T03:06:00Z")));
        changes.drop_old(at("2026-11-25T03:00:01Z"));
        assert!(changes.repositories.is_empty());
    }
}
