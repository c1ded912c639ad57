//! The number of images that were removed from the registry in a day. All runs and terminals share it, and add to it before they
//! remove anything.

use serde::{Deserialize, Serialize};

use crate::domain::enforcement::policy_set::RegistryLimits;
use crate::domain::text::instant::Instant;

/// Key prefix of the counters; the day follows.
pub const DAILY_REMOVALS: &str = "state/taken/";
/// The key of what the last completed run counted.
pub const REGISTRY_KEY: &str = "state/registry.json";

/// The number of images that were removed in one day, in UTC: deleted and archived together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DailyRemovals {
    /// Images that were removed, or that the limit was reserved for. Unused reservations are not returned.
    pub images: u64,
}

/// The counts of the last completed run in the whole registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryCount {
    /// Images that can be pulled by themselves: no children, no referrers, nothing archived.
    pub images: u64,
    /// The beginning of that run; `None` in what older versions wrote.
    #[serde(default)]
    pub started_at: Option<Instant>,
}

/// The day of a time, in UTC: `2026-11-26`.
#[must_use]
pub fn day(at: Instant) -> String {
    let time = at.to_string();
    time.split('T').next().unwrap_or_default().to_owned()
}

impl DailyRemovals {
    /// The key of the counter of the day of `now`.
    #[must_use]
    pub fn key(now: Instant) -> String {
        format!("{DAILY_REMOVALS}{}.json", day(now))
    }

    /// How many of `wanted` more images the limit allows.
    #[must_use]
    pub fn room(self, wanted: u64, limits: RegistryLimits, total: Option<u64>) -> u64 {
        limits.images_a_day(total).saturating_sub(self.images).min(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_before_leaves_less_room() {
        let limits = RegistryLimits { images: 200, percent: 100 };
        let removed = |images| DailyRemovals { images };
        assert_eq!(removed(0).room(50, limits, Some(1000)), 50);
        assert_eq!(removed(180).room(50, limits, Some(1000)), 20);
        assert_eq!(removed(200).room(50, limits, Some(1000)), 0);
        assert_eq!(removed(900).room(50, limits, Some(1000)), 0);
    }

    #[test]
    fn a_day_is_one_of_utc() {
        let now = Instant::parse("2026-11-26T23:59:59+00:00").unwrap();
        assert_eq!(DailyRemovals::key(now), "state/taken/2026-11-26.json");
    }
}
