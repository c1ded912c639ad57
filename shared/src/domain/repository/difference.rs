//! The changes from an existing repository to the requested one, and the differences that cannot be changed.

use std::collections::BTreeSet;
use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::access::is_same_policy;
use super::protection::{PolicyPlan, Protection, begins_with_protection, plan_policy};
use super::{Encryption, Existing, MAX_TAGS, Registry, Settings, TagMutability, Tags, ownership};
use crate::domain::text::quantity;

/// All differences between an existing repository and the requested one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The existing and the requested encryption, if they differ. ECR cannot change it.
    pub encryption: Option<(Encryption, Encryption)>,
    /// The changes besides the lifecycle policy, in the order in which they are made.
    pub changes: Vec<Change>,
    /// The change of the lifecycle policy, which comes after all others.
    pub policy: PolicyPlan,
}

/// A reversible change of a repository: one call of ECR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The repository policy; `None` is no policy.
    Policy {
        /// The policy there is.
        from: Option<String>,
        /// The policy to set.
        to: Option<String>,
    },
    /// The lifecycle policy; `None` is no policy.
    LifecyclePolicy {
        /// The policy there is.
        from: Option<String>,
        /// The policy to put.
        to: Option<String>,
    },
    /// Which image tags may be moved.
    TagMutability {
        /// The setting there is.
        from: TagMutability,
        /// The setting to put.
        to: TagMutability,
    },
    /// Scanning of pushed images.
    ScanOnPush {
        /// The setting there is.
        from: bool,
        /// The setting to put.
        to: bool,
    },
    /// The repository's tags: those only that differ.
    Tags {
        /// The values there are.
        from: Tags,
        /// The values to set; a key that is only in `from` is to be removed.
        to: Tags,
    },
}

/// The difference between `existing` and `wanted`.
///
/// Tags that AWS or this stack reserves are ignored. Policies are compared by their meaning, not by their text, and lifecycle
/// policies without the protection rule.
#[must_use]
pub fn difference(
    existing: &Existing,
    wanted: &Settings,
    registry: &Registry,
    protection: &Protection,
) -> Difference {
    let policy = plan_policy(existing, wanted.lifecycle_policy.as_ref(), protection);
    Difference { policy, ..difference_besides_policy(existing, wanted, registry) }
}

/// The difference between `existing` and `wanted` besides the lifecycle policy, which stays as it is.
#[must_use]
pub fn difference_besides_policy(existing: &Existing, wanted: &Settings, registry: &Registry) -> Difference {
    let mut changes = Vec::new();
    // First what ECR is most likely to refuse: a policy can name a principal that does not exist.
    let policy = wanted.policy.text(registry, existing.policy_text.as_deref());
    let same_policy = match (&existing.policy_text, &policy) {
        (Some(from), Some(to)) => is_same_policy(from, to),
        (from, to) => from.is_none() && to.is_none(),
    };
    if !same_policy {
        changes.push(Change::Policy { from: existing.policy_text.clone(), to: policy });
    }
    if !existing.tag_mutability.is_same(&wanted.tag_mutability) {
        changes.push(Change::TagMutability {
            from: existing.tag_mutability.clone(),
            to: wanted.tag_mutability.clone(),
        });
    }
    if existing.scan_on_push != wanted.scan_on_push {
        changes.push(Change::ScanOnPush { from: existing.scan_on_push, to: wanted.scan_on_push });
    }
    changes.extend(tags(&existing.tags, &wanted.tags));
    let encryption = (!wanted.encryption.is_met_by(&existing.encryption))
        .then(|| (existing.encryption.clone(), wanted.encryption.clone()));
    Difference { encryption, changes, policy: PolicyPlan::AS_IT_IS }
}

/// The tags to set and to remove, if any.
fn tags(existing: &Tags, wanted: &Tags) -> Option<Change> {
    let differs = |key: &&String| existing.get(*key) != wanted.get(*key);
    let keys: BTreeSet<&String> = existing
        .keys()
        .filter(|key| !ownership::is_reserved(key))
        .chain(wanted.keys())
        .filter(differs)
        .collect();
    let pick = |tags: &Tags| -> Tags {
        tags.iter().filter(|(key, _)| keys.contains(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    (!keys.is_empty()).then(|| Change::Tags { from: pick(existing), to: pick(wanted) })
}

impl Difference {
    /// Whether the repository is as requested.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.encryption.is_none() && self.changes.is_empty() && !self.policy.is_different
    }
}

impl Change {
    /// The reverse of the change.
    #[must_use]
    pub fn reversed(&self) -> Self {
        match self.clone() {
            Self::Policy { from, to } => Self::Policy { from: to, to: from },
            Self::LifecyclePolicy { from, to } => Self::LifecyclePolicy { from: to, to: from },
            Self::TagMutability { from, to } => Self::TagMutability { from: to, to: from },
            Self::ScanOnPush { from, to } => Self::ScanOnPush { from: to, to: from },
            Self::Tags { from, to } => Self::Tags { from: to, to: from },
        }
    }

    /// Whether the tags that are set have room beside all tags that a repository has, of which some may be removed.
    #[must_use]
    pub fn fits_beside(&self, tags: &Tags) -> bool {
        let Self::Tags { to, .. } = self else { return true };
        // Those of AWS do not count.
        let is_counted = |key: &&String| !key.starts_with("aws:");
        let all: BTreeSet<&String> = tags.keys().chain(to.keys()).filter(is_counted).collect();
        all.len() <= MAX_TAGS
    }

    /// The field of a repository that changes, as ECR's API names it.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Policy { .. } => "repositoryPolicyText",
            Self::LifecyclePolicy { .. } => "lifecyclePolicyText",
            Self::TagMutability { .. } => "imageTagMutability",
            Self::ScanOnPush { .. } => "imageScanningConfiguration",
            Self::Tags { .. } => "tags",
        }
    }

    /// Writes the change into a repository.
    pub fn apply_to(&self, repository: &mut Existing) {
        match self {
            Self::Policy { to, .. } => repository.policy_text.clone_from(to),
            Self::LifecyclePolicy { to, .. } => repository.lifecycle_policy_text.clone_from(to),
            Self::TagMutability { to, .. } => repository.tag_mutability = to.clone(),
            Self::ScanOnPush { to, .. } => repository.scan_on_push = *to,
            Self::Tags { from, to } => {
                repository.tags.retain(|key, _| !from.contains_key(key));
                repository.tags.extend(to.clone());
            }
        }
    }
}

impl fmt::Display for Change {
    /// Writes the difference as a clause: "it has no lifecycle policy".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy =
            |f: &mut fmt::Formatter<'_>, what: &str, from: &Option<String>, to: &Option<String>| match (
                from, to,
            ) {
                (None, _) => write!(f, "it has no {what}"),
                (_, None) => write!(f, "it has a {what}"),
                _ => write!(f, "its {what} is another"),
            };
        match self {
            Self::Policy { from, to } => policy(f, "repository policy", from, to),
            Self::LifecyclePolicy { from: Some(from), to: Some(to) }
                if begins_with_protection(to) && !begins_with_protection(from) =>
            {
                f.write_str("its lifecycle policy does not begin with the protection rule, or is another")
            }
            Self::LifecyclePolicy { from, to } => policy(f, "lifecycle policy", from, to),
            Self::TagMutability { from, to } if from.as_str() == to.as_str() => {
                f.write_str("its imageTagMutabilityExclusionFilters are others")
            }
            Self::TagMutability { from, to } => {
                write!(f, "its imageTagMutability is {} and not {}", from.as_str(), to.as_str())
            }
            Self::ScanOnPush { from, to } => write!(f, "its scanOnPush is {from} and not {to}"),
            Self::Tags { from, to } => {
                let keys: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
                let shown: Vec<&str> = keys.iter().take(5).map(|key| key.as_str()).collect();
                let verb = if keys.len() == 1 { "differs" } else { "differ" };
                write!(f, "{} {verb}: {}", quantity::count(keys.len() as u64, "tag"), shown.join(", "))?;
                if keys.len() > shown.len() { f.write_str(", …") } else { Ok(()) }
            }
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut clauses = Vec::new();
        if let Some((from, to)) = &self.encryption {
            let name = |encryption: &Encryption| {
                let kind = encryption.encryption_type.as_str();
                encryption
                    .kms_key
                    .as_ref()
                    .map_or_else(|| kind.to_owned(), |key| format!("{kind} with {key}"))
            };
            clauses.push(format!("it is encrypted with {} and not with {}", name(from), name(to)));
        }
        clauses.extend(self.changes.iter().map(ToString::to_string));
        if self.policy.is_different {
            let suspended = || "its suspended lifecycle policy is another".to_owned();
            clauses.push(self.policy.change.as_ref().map_or_else(suspended, ToString::to_string));
        }
        f.write_str(&clauses.join("; "))
    }
}

impl Serialize for Change {
    /// `{"field", "from", "to"}` with the values as ECR's API has them.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Scanning {
            scan_on_push: bool,
        }
        let mut change = serializer.serialize_struct("Change", 3)?;
        change.serialize_field("field", self.field())?;
        match self {
            Self::Policy { from, to } | Self::LifecyclePolicy { from, to } => {
                change.serialize_field("from", from)?;
                change.serialize_field("to", to)?;
            }
            Self::TagMutability { from, to } => {
                change.serialize_field("from", from)?;
                change.serialize_field("to", to)?;
            }
            Self::ScanOnPush { from, to } => {
                change.serialize_field("from", &Scanning { scan_on_push: *from })?;
                change.serialize_field("to", &Scanning { scan_on_push: *to })?;
            }
            Self::Tags { from, to } => {
                change.serialize_field("from", &super::describe::TagList(from))?;
                change.serialize_field("to", &super::describe::TagList(to))?;
            }
        }
        change.end()
    }
}
