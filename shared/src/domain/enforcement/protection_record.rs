//! What is remembered of a repository whose lifecycle policy ECR enforces: when its protection tags were right last, what belongs
//! attached, and whether and why it is suspended. From these records the stack suspends what is not refreshed any more.

use serde::{Deserialize, Serialize};

use crate::domain::enforcement::in_use_protection::protected;
use crate::instant::Instant;
use crate::lifecycle::LifecyclePolicy;
use crate::usage::observation::CLOCK_SECONDS;

/// The keys of the records begin so; the repository's name and `.json` follow.
pub const RECORDS: &str = "state/protection/";
/// Hours for which protection tags hold where nothing else is said: the default of the stack's parameter `ProtectionHours`.
pub const PROTECTION_HOURS: u32 = 48;

/// Whose policy it is that ECR enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The policies file's, by `apply: attach`.
    Attach,
    /// The one that the repository was made with, over the HTTP API or CloudFormation.
    Provisioned,
    /// Somebody else's (Terraform's, a person's), whose first rule is the protection rule. It is never written.
    Protect,
}

/// What is remembered of a repository whose lifecycle policy ECR enforces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProtectionRecord {
    /// The account of the registry.
    pub registry_id: String,
    /// The repository.
    pub repository_name: String,
    /// Whose policy it is.
    pub mode: Mode,
    /// The protection tags were right for the use that was read at this time.
    pub refreshed_at: Instant,
    /// Who refreshed them: a run, or the request that made the repository.
    pub refreshed_by: String,
    /// The policy that belongs attached, without the protection rule; `None` for one that is somebody else's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle_policy_text: Option<String>,
    /// Whether and why one that takes nothing is attached in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Suspension>,
    /// The digests of the images that ECR takes behind the attached policy, of which it is written down and counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expiring: Vec<String>,
}

/// That a policy is suspended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Suspension {
    /// Since when.
    pub at: Instant,
    /// Why, in a sentence.
    pub reason: String,
}

/// Until when ECR may go by protection tags that were right at a time, if they may be so many hours old.
#[must_use]
pub fn protected_until(refreshed_at: Instant, maximum_age_in_hours: u32) -> Instant {
    let micros = i64::from(maximum_age_in_hours) * 3_600_000_000;
    Instant::from_micros(refreshed_at.micros().saturating_add(micros)).unwrap_or(refreshed_at)
}

impl ProtectionRecord {
    /// The key of the record of a repository.
    #[must_use]
    pub fn key(repository_name: &str) -> String {
        format!("{RECORDS}{repository_name}.json")
    }

    /// The repository whose record has this key.
    #[must_use]
    pub fn repository_of(key: &str) -> Option<&str> {
        key.strip_prefix(RECORDS)?.strip_suffix(".json")
    }

    /// Whether a policy is the one of this record behind the protection rule, to the letter: what only has the same rules is somebody
    /// else's.
    #[must_use]
    pub fn is_attached(&self, policy: &LifecyclePolicy) -> bool {
        let recorded = self.lifecycle_policy_text.as_deref().map(LifecyclePolicy::parse);
        recorded.is_some_and(|recorded| {
            recorded.is_ok_and(|recorded| protected(&recorded).is_ok_and(|attached| attached == *policy))
        })
    }

    /// Until when ECR may go by the protection tags, if they may be so many hours old.
    #[must_use]
    pub fn protected_until(&self, maximum_age_in_hours: u32) -> Instant {
        protected_until(self.refreshed_at, maximum_age_in_hours)
    }

    /// Whether the protection tags are too old, or of the future, by which they would never become old.
    #[must_use]
    pub fn is_stale(&self, now: Instant, maximum_age_in_hours: u32) -> bool {
        let latest = now.micros().saturating_add(CLOCK_SECONDS * 1_000_000);
        now > self.protected_until(maximum_age_in_hours) || self.refreshed_at.micros() > latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Instant {
        Instant::parse(time).unwrap()
    }

    fn record(refreshed_at: &str) -> ProtectionRecord {
        ProtectionRecord {
            registry_id: "123456789012".to_owned(),
            repository_name: "team/app".to_owned(),
            mode: Mode::Attach,
            refreshed_at: at(refreshed_at),
            refreshed_by: "run".to_owned(),
            lifecycle_policy_text: None,
            suspended: None,
            expiring: Vec::new(),
        }
    }

    #[test]
    fn protection_holds_for_some_hours_and_what_is_of_the_future_does_not_hold() {
        let record = record("2026-11-20T03:00:00Z");
        assert_eq!(record.protected_until(48), at("2026-11-22T03:00:00Z"));
        assert!(!record.is_stale(at("2026-11-22T03:00:00Z"), 48));
        assert!(record.is_stale(at("2026-11-22T03:00:01Z"), 48));
        assert!(!record.is_stale(at("2026-11-20T02:59:00Z"), 48), "clocks differ a little");
        assert!(record.is_stale(at("2026-11-19T03:00:00Z"), 48));
    }

    #[test]
    fn a_record_is_found_by_the_name_of_its_repository() {
        let key = ProtectionRecord::key("team/app");
        assert_eq!(key, "state/protection/team/app.json");
        assert_eq!(ProtectionRecord::repository_of(&key), Some("team/app"));
        assert_eq!(ProtectionRecord::repository_of("state/registry.json"), None);
        let text = serde_json::to_string(&record("2026-11-20T03:00:00Z")).unwrap();
        assert_eq!(serde_json::from_str::<ProtectionRecord>(&text).unwrap(), record("2026-11-20T03:00:00Z"));
    }
}
