//! What is remembered of a repository whose lifecycle policy ECR enforces: when its protection tags were right last, what belongs
//! attached, and whether and why it is suspended. From these records the stack suspends what is not refreshed any more.

use serde::{Deserialize, Serialize};

use crate::domain::enforcement::daily_removals::day;
use crate::domain::enforcement::in_use_protection::protected;
use crate::domain::lifecycle::LifecyclePolicy;
use crate::domain::text::instant::Instant;
use crate::domain::usage::usage_snapshot::CLOCK_SECONDS;

/// Key prefix of the records; the repository's name and `.json` follow.
pub const RECORDS: &str = "state/protection/";
/// Hours for which protection tags hold where nothing else is said: the default of the stack's parameter `ProtectionHours`.
pub const PROTECTION_HOURS: u32 = 48;

/// Whose policy it is that ECR enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// Who refreshed them: a run, or the request that created the repository.
    pub refreshed_by: String,
    /// The policy to attach, without the protection rule; absent for one that is somebody else's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle_policy_text: Option<String>,
    /// The suspension of the policy, if it is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Suspension>,
    /// The digests of the images that ECR expires behind the attached policy, which the journal contains and the limit counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expiring: Vec<String>,
    /// The images last counted for the registry's daily limit. They outlive a suspension, so that a policy that is attached again
    /// on the same day does not count them twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<Counted>,
    /// The policy that the repository was created with, without the protection rule, while the policies file attaches another
    /// one. It is attached again when the file no longer attaches one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioned_policy_text: Option<String>,
    /// Whether the policies file no longer attaches its policy, which is suspended until somebody deletes it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub withdrawn: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Images that were counted in the limit of the registry for a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counted {
    /// The day, in UTC: `2026-11-26`.
    pub day: String,
    /// The digests of the images.
    pub image_digests: Vec<String>,
}

impl Counted {
    /// The count after more images are added at a time. Counts of other days are dropped.
    #[must_use]
    pub fn with(before: Option<Self>, at: Instant, more: impl IntoIterator<Item = String>) -> Option<Self> {
        let day = day(at);
        let mut image_digests = match before {
            Some(before) if before.day == day => before.image_digests,
            Some(_) | None => Vec::new(),
        };
        image_digests.extend(more);
        image_digests.sort_unstable();
        image_digests.dedup();
        (!image_digests.is_empty()).then_some(Self { day, image_digests })
    }
}

/// The suspension of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Suspension {
    /// Since when.
    pub at: Instant,
    /// Why, in a sentence.
    pub reason: String,
}

/// The time until which ECR may rely on protection tags that were complete at a time, if they may be this number of hours old.
#[must_use]
pub fn protected_until(refreshed_at: Instant, maximum_age_in_hours: u32) -> Instant {
    let micros = i64::from(maximum_age_in_hours) * 3_600_000_000;
    Instant::from_micros(refreshed_at.micros().saturating_add(micros)).unwrap_or(refreshed_at)
}

impl ProtectionRecord {
    /// A record of protection tags that were right at a time, and of a policy that acts.
    #[must_use]
    pub fn new(
        registry_id: &str,
        repository_name: &str,
        mode: Mode,
        refreshed_at: Instant,
        refreshed_by: &str,
    ) -> Self {
        Self {
            registry_id: registry_id.to_owned(),
            repository_name: repository_name.to_owned(),
            mode,
            refreshed_at,
            refreshed_by: refreshed_by.to_owned(),
            lifecycle_policy_text: None,
            suspended: None,
            expiring: Vec::new(),
            counted: None,
            provisioned_policy_text: None,
            withdrawn: false,
        }
    }

    /// A record of protection tags that were never complete, as far as is known: they are stale from the start. `why` takes the
    /// place of `refreshed_by`.
    #[must_use]
    pub fn never_refreshed(registry_id: &str, repository_name: &str, mode: Mode, why: &str) -> Self {
        Self::new(registry_id, repository_name, mode, Instant::EPOCH, &format!("nobody: {why}"))
    }

    /// The time at which the protection tags were complete; `None` if they never were, as far as is known.
    #[must_use]
    pub fn known_refresh(&self) -> Option<Instant> {
        (self.refreshed_at > Instant::EPOCH).then_some(self.refreshed_at)
    }

    /// The record with its policy suspended. Images that ECR would expire no longer count, except those counted today.
    #[must_use]
    pub fn suspended(&self, suspension: Suspension) -> Self {
        Self { suspended: Some(suspension), expiring: Vec::new(), ..self.clone() }
    }

    /// The record of the policy that the repository was created with, for when the policies file no longer attaches another one;
    /// `None` if it was created with none. The policy is suspended; the next run that knows all use attaches it.
    #[must_use]
    pub fn back_to_provisioned(&self, suspension: Suspension) -> Option<Self> {
        let text = self.provisioned_policy_text.clone()?;
        Some(Self {
            mode: Mode::Provisioned,
            lifecycle_policy_text: Some(text),
            provisioned_policy_text: None,
            withdrawn: false,
            ..self.suspended(suspension)
        })
    }

    /// Whether an image was counted for the registry's limit on the day of `now`.
    #[must_use]
    pub fn is_counted_today(&self, image_digest: &str, now: Instant) -> bool {
        let counted = self.counted.as_ref().filter(|counted| counted.day == day(now));
        counted.is_some_and(|counted| counted.image_digests.iter().any(|digest| digest == image_digest))
    }

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

    /// Whether a policy is that of this record behind the protection rule, exactly. One that merely has the same rules is
    /// somebody else's.
    #[must_use]
    pub fn is_attached(&self, policy: &LifecyclePolicy) -> bool {
        let recorded = self.lifecycle_policy_text.as_deref().map(LifecyclePolicy::parse);
        recorded.is_some_and(|recorded| {
            recorded.is_ok_and(|recorded| protected(&recorded).is_ok_and(|attached| attached == *policy))
        })
    }

    /// The time until which ECR may rely on the protection tags, if they may be this number of hours old.
    #[must_use]
    pub fn protected_until(&self, maximum_age_in_hours: u32) -> Instant {
        protected_until(self.refreshed_at, maximum_age_in_hours)
    }

    /// Whether the protection tags are too old, or of the future, in which case they would never become old.
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
        ProtectionRecord::new("123456789012", "team/app", Mode::Attach, at(refreshed_at), "run")
    }

    #[test]
    fn tags_that_never_were_right_are_stale_from_the_start() {
        let record = ProtectionRecord::never_refreshed("123456789012", "team/app", Mode::Protect, "why");
        assert!(record.is_stale(at("2026-11-20T03:00:00Z"), 10_000));
        assert_eq!((record.known_refresh(), record.refreshed_by.as_str()), (None, "nobody: why"));
        let now = at("2026-11-20T03:00:00Z");
        let refreshed = ProtectionRecord::new("123456789012", "team/app", Mode::Protect, now, "run");
        assert_eq!(refreshed.known_refresh(), Some(at("2026-11-20T03:00:00Z")));
    }

    #[test]
    fn what_was_counted_on_a_day_is_counted_for_that_day() {
        let (morning, evening, tomorrow) =
            (at("2026-11-20T03:00:00Z"), at("2026-11-20T23:59:59Z"), at("2026-11-21T00:00:00Z"));
        let digests = |digests: &[&str]| digests.iter().map(|&digest| digest.to_owned()).collect::<Vec<_>>();
        let counted = Counted::with(None, morning, digests(&["b"]));
        let counted = Counted::with(counted, evening, digests(&["a", "b"])).unwrap();
        assert_eq!(
            (counted.day.as_str(), counted.image_digests.clone()),
            ("2026-11-20", digests(&["a", "b"]))
        );
        let suspension = Suspension { at: evening, reason: "why".to_owned() };
        let record = ProtectionRecord { counted: Some(counted.clone()), ..record("2026-11-20T03:00:00Z") };
        let record = record.suspended(suspension);
        assert!(record.is_counted_today("a", evening) && !record.is_counted_today("c", evening));
        assert!(!record.is_counted_today("a", tomorrow), "another day has its own limit");
        let next = Counted::with(Some(counted), tomorrow, digests(&["c"])).unwrap();
        assert_eq!((next.day.as_str(), next.image_digests), ("2026-11-21", digests(&["c"])));
    }

    #[test]
    fn the_policy_that_a_repository_was_made_with_comes_back_suspended() {
        let suspension = Suspension { at: at("2026-11-20T04:00:00Z"), reason: "why".to_owned() };
        let file = ProtectionRecord {
            lifecycle_policy_text: Some("of the file".to_owned()),
            provisioned_policy_text: Some("made with".to_owned()),
            expiring: vec!["a".to_owned()],
            ..record("2026-11-20T03:00:00Z")
        };
        let back = file.back_to_provisioned(suspension.clone()).unwrap();
        assert_eq!(
            (back.mode, back.lifecycle_policy_text.as_deref()),
            (Mode::Provisioned, Some("made with"))
        );
        assert_eq!((back.suspended.as_ref(), back.expiring.len()), (Some(&suspension), 0));
        assert_eq!(record("2026-11-20T03:00:00Z").back_to_provisioned(suspension), None);
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
