//! A plan that is saved, reviewed and executed later: its actions or fewer, and nothing else.
//!
//! It names every image with its tags and its last pull. When it is executed, everything is decided again, from the policies file
//! and the use at that time. Of the resulting actions only those are executed that the plan contains, for unchanged images. So a
//! plan permits nothing by itself: an edited plan removes no image that the policies file would not remove.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::builds::fingerprint;
use crate::domain::image::Image;
use crate::domain::text::instant::Instant;
use crate::domain::text::plain_words;
use crate::domain::usage::Usage;

/// The version of the format.
pub const FORMAT_VERSION: u32 = 1;
/// Maximum age of a plan, in hours; the same as for the decisions of a run.
pub const HOURS: i64 = 24;

/// A plan in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SavedPlan {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The time of saving.
    pub saved_at: Instant,
    /// Until when it may be executed.
    pub expires_at: Instant,
    /// Who saved it.
    pub saved_by: String,
    /// The account of the registry.
    pub registry_id: String,
    /// The Region of the registry.
    pub region: String,
    /// The hash of the policies file that decided.
    pub policies_file_hash: String,
    /// A fingerprint of what was in use.
    pub usage_fingerprint: String,
    /// The planned actions by repository.
    pub repositories: Vec<PlannedRepository>,
}

/// The planned actions in a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlannedRepository {
    /// The repository.
    pub repository_name: String,
    /// Its policy in the policies file.
    pub policy: String,
    /// The images, in the order of their deletion.
    pub images: Vec<PlannedImage>,
}

/// A planned action on an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlannedImage {
    /// The image's digest.
    pub image_digest: String,
    /// Its tags, sorted.
    pub image_tags: Vec<String>,
    /// The last recorded pull, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_recorded_pull_time: Option<Instant>,
    /// Its compressed size in bytes.
    pub image_size_in_bytes: u64,
    /// The action.
    pub action: PlannedAction,
    /// Why, in a sentence.
    pub reason: String,
}

/// An action on an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum PlannedAction {
    /// The image is deleted.
    Delete,
    /// The image is archived.
    Archive,
}

/// Why a plan cannot be executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The text is not a plan.
    #[error("is no plan that `enforce --save-plan` saved: {0}")]
    Unreadable(String),
    /// Another version wrote it.
    #[error(
        "is of the format version {0}, and this program reads {FORMAT_VERSION}; save it once more with this program"
    )]
    Version(u32),
    /// A repository is in it twice, which no saved plan has.
    #[error("has the repository {0} twice: it was edited; save another plan")]
    Twice(String),
    /// The plan is too old.
    #[error("was for execution until {expires_at}, {HOURS} hours after it was saved; save another one")]
    Expired {
        /// The end of its validity.
        expires_at: Instant,
    },
    /// The plan is of the future.
    #[error("was saved at {saved_at}, and it is {now} here: a clock is wrong")]
    OfTheFuture {
        /// The time of saving.
        saved_at: Instant,
        /// The present.
        now: Instant,
    },
    /// The plan is for another registry.
    #[error("is about the registry {planned}, and this is {here}; sign in there, or save another one")]
    Elsewhere {
        /// The account and Region of the plan.
        planned: String,
        /// The account and Region of the caller.
        here: String,
    },
    /// Another policies file decides now.
    #[error(
        "the policies file was changed since the plan was saved (hash {planned}, now {now}), and nothing was done; save another plan"
    )]
    PoliciesFileChanged {
        /// The hash of the file that decided.
        planned: String,
        /// The hash of the file that is there now.
        now: String,
    },
}

/// Why an action on an image is not executed by a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Deviation {
    /// The plan does not name it.
    #[error("the saved plan does not name it")]
    NotPlanned,
    /// A tag was moved, added or removed.
    #[error("its tags have changed since the plan was saved, from {before} to {now}")]
    Tags {
        /// The tags in the plan.
        before: String,
        /// The tags now.
        now: String,
    },
    /// The image was pulled.
    #[error("it was pulled at {0}, after the plan was saved")]
    Pulled(Instant),
    /// Something else would become of it.
    #[error("the saved plan has something else become of it")]
    Action,
}

impl SavedPlan {
    /// Reads a plan that may be executed at `now` in the registry of an account and Region.
    ///
    /// # Errors
    ///
    /// When it is none, of another version, too old, or about another registry.
    pub fn parse(text: &str, now: Instant) -> Result<Self, PlanError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            format_version: u32,
        }
        let unreadable = |error: &serde_json::Error| {
            let (line, column, problem) = plain_words::json(text, error);
            PlanError::Unreadable(format!("line {line}, column {column}: {problem}"))
        };
        let Version { format_version } = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
        if format_version != FORMAT_VERSION {
            return Err(PlanError::Version(format_version));
        }
        let plan: Self = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
        let mut names = BTreeSet::new();
        if let Some(twice) = plan.repositories.iter().find(|planned| !names.insert(&planned.repository_name))
        {
            return Err(PlanError::Twice(twice.repository_name.clone()));
        }
        let Self { saved_at, expires_at, .. } = plan;
        if saved_at > now {
            return Err(PlanError::OfTheFuture { saved_at, now });
        }
        // What the file says of its end may only shorten it.
        let expires_at = expires_at.min(Self::expiry(saved_at));
        if expires_at <= now { Err(PlanError::Expired { expires_at }) } else { Ok(plan) }
    }

    /// The end of a plan's validity.
    #[must_use]
    pub fn expiry(saved_at: Instant) -> Instant {
        Instant::from_micros(saved_at.micros() + HOURS * 3_600_000_000).unwrap_or(saved_at)
    }

    /// Checks that the plan is for this registry.
    ///
    /// # Errors
    ///
    /// If it is for another one.
    pub fn check_registry(&self, registry_id: &str, region: &str) -> Result<(), PlanError> {
        if self.registry_id == registry_id && self.region == region {
            return Ok(());
        }
        let name = |account: &str, region: &str| format!("of {account} in {region}");
        Err(PlanError::Elsewhere {
            planned: name(&self.registry_id, &self.region),
            here: name(registry_id, region),
        })
    }

    /// Refuses to execute the plan by another policies file than the one that decided.
    ///
    /// # Errors
    ///
    /// When it is another one.
    pub fn check_policies_file(&self, hash: &str) -> Result<(), PlanError> {
        if self.policies_file_hash == hash {
            return Ok(());
        }
        Err(PlanError::PoliciesFileChanged { planned: self.policies_file_hash.clone(), now: hash.to_owned() })
    }

    /// The planned actions in a repository.
    #[must_use]
    pub fn of(&self, repository: &str) -> Option<&PlannedRepository> {
        self.repositories.iter().find(|planned| planned.repository_name == repository)
    }

    /// The number of images in the plan.
    #[must_use]
    pub fn len(&self) -> usize {
        self.repositories.iter().map(|repository| repository.images.len()).sum()
    }

    /// Whether the plan is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl PlannedRepository {
    /// Checks that the plan contains an action on an image, and that the image is unchanged.
    ///
    /// # Errors
    ///
    /// If it does not, or the image was changed.
    pub fn allows(&self, image: &Image, action: PlannedAction) -> Result<(), Deviation> {
        let planned = self.images.iter().find(|planned| *planned.image_digest == *image.digest);
        let planned = planned.ok_or(Deviation::NotPlanned)?;
        planned.compare(image)?;
        if planned.action == action { Ok(()) } else { Err(Deviation::Action) }
    }
}

impl PlannedImage {
    /// An image as it is now.
    #[must_use]
    pub fn of(image: &Image, action: PlannedAction, reason: String) -> Self {
        Self {
            image_digest: image.digest.to_string(),
            image_tags: sorted(image),
            last_recorded_pull_time: image.last_pulled_at,
            image_size_in_bytes: image.size_in_bytes,
            action,
            reason,
        }
    }

    /// Checks that the image is unchanged.
    ///
    /// # Errors
    ///
    /// The difference.
    pub fn compare(&self, image: &Image) -> Result<(), Deviation> {
        let now = sorted(image);
        if self.image_tags != now {
            let text = |tags: &[String]| if tags.is_empty() { "none".to_owned() } else { tags.join(", ") };
            return Err(Deviation::Tags { before: text(&self.image_tags), now: text(&now) });
        }
        match image.last_pulled_at {
            Some(pulled) if self.last_recorded_pull_time.is_none_or(|before| pulled > before) => {
                Err(Deviation::Pulled(pulled))
            }
            _ => Ok(()),
        }
    }
}

fn sorted(image: &Image) -> Vec<String> {
    let mut tags: Vec<String> = image.tags.iter().map(ToString::to_string).collect();
    tags.sort();
    tags
}

/// A fingerprint of everything in use, independent of its order.
#[must_use]
pub fn usage_fingerprint(usage: &Usage) -> String {
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for used in usage.used() {
        let written = serde_json::to_value(used).unwrap_or_default();
        let uri = written["imageUri"].as_str().unwrap_or_default().to_owned();
        users.entry(uri).or_default().push(written["usedBy"].to_string());
    }
    let parts: Vec<String> = users
        .into_iter()
        .map(|(uri, mut users)| {
            users.sort();
            format!("{uri} {}", users.join(" "))
        })
        .collect();
    fingerprint(&parts.iter().map(String::as_str).collect::<Vec<_>>(), 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Instant {
        Instant::parse(time).unwrap()
    }

    fn plan() -> SavedPlan {
        let saved_at = at("2026-11-26T12:00:00Z");
        SavedPlan {
            format_version: FORMAT_VERSION,
            saved_at,
            expires_at: SavedPlan::expiry(saved_at),
            saved_by: "ana at laptop".to_owned(),
            registry_id: "123456789012".to_owned(),
            region: "eu-west-1".to_owned(),
            policies_file_hash: "a".to_owned(),
            usage_fingerprint: "b".to_owned(),
            repositories: Vec::new(),
        }
    }

    #[test]
    fn a_plan_is_executed_within_a_day_in_its_own_registry_by_its_own_file() {
        let plan = plan();
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(SavedPlan::parse(&text, at("2026-11-27T11:59:59Z")), Ok(plan.clone()));
        let expired = SavedPlan::parse(&text, at("2026-11-27T12:00:00Z"));
        assert!(matches!(expired, Err(PlanError::Expired { .. })), "{expired:?}");
        let later = text.replace("2026-11-27T12:00:00Z", "2036-11-27T12:00:00Z");
        assert_ne!(later, text);
        let edited = SavedPlan::parse(&later, at("2026-11-27T12:00:00Z"));
        assert!(matches!(edited, Err(PlanError::Expired { .. })), "its end cannot be put off: {edited:?}");
        let early = SavedPlan::parse(&text, at("2026-11-26T11:59:59Z"));
        assert!(matches!(early, Err(PlanError::OfTheFuture { .. })), "{early:?}");
        assert_eq!(plan.check_registry("123456789012", "eu-west-1"), Ok(()));
        assert!(plan.check_registry("123456789012", "eu-west-2").is_err());
        assert!(plan.check_registry("210987654321", "eu-west-1").is_err());
        assert!(plan.check_policies_file("a").is_ok() && plan.check_policies_file("b").is_err());
    }

    #[test]
    fn what_is_no_plan_is_refused_as_such() {
        let now = at("2026-11-26T12:00:00Z");
        let refusal = |text: &str| SavedPlan::parse(text, now).unwrap_err().to_string();
        assert!(refusal("{}").starts_with("is no plan that `enforce --save-plan` saved: line 1, column "));
        assert!(refusal("{\"formatVersion\": 2}").starts_with("is of the format version 2"));
        let more = serde_json::to_string(&plan()).unwrap().replacen('{', "{\"force\": true, ", 1);
        assert!(refusal(&more).contains("`force` is not a field here"), "{}", refusal(&more));
    }
}
