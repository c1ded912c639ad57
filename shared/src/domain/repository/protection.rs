//! Plans the lifecycle policy of a requested repository: attached behind the protection rule, or suspended.
//!
//! ECR may enforce a policy only where the protection tags are complete: in a repository without images, or in one whose
//! [record](ProtectionRecord) says so. Elsewhere the policy is suspended at first, and with `Enforce=true` the next run attaches
//! it if everything about use is known. A suspended policy remains suspended, and one that the policies file governs is not
//! changed.

use std::fmt;

use super::{Change, Existing};
use crate::domain::enforcement::in_use_protection::{
    TakesNothing, conflicts, is_protected, protected, protection_rule_count, takes_nothing,
    without_protection,
};
use crate::domain::enforcement::protection_record::{Mode, ProtectionRecord, Suspension};
use crate::domain::lifecycle::{LifecyclePolicy, SimplePolicy};
use crate::domain::text::finding::{Code, Finding};
use crate::domain::text::instant::Instant;

/// A lifecycle policy that can be attached behind the protection rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectedPolicy {
    policy: LifecyclePolicy,
    document: LifecyclePolicy,
    suspended: TakesNothing,
}

impl ProtectedPolicy {
    /// The policy behind the protection rule. One that begins with the protection rule already, as ECR shows it, is the same.
    ///
    /// # Errors
    ///
    /// Every rule that conflicts with protection tags; too many rules; a policy in which there is nothing but protection rules,
    /// which is what a suspended one looks like.
    pub fn new(policy: &LifecyclePolicy) -> Result<Self, Vec<Finding>> {
        let Some(bare) = without_protection(policy) else {
            let message = "this policy takes nothing: it is what is attached while a policy is suspended; write the rules that are \
                           wanted, or `skip: true` for no policy";
            return Err(vec![Finding::new(Code::SuspendedPolicy, "/rules", message)]);
        };
        let conflicting = conflicts(&bare);
        if !conflicting.is_empty() {
            return Err(conflicting);
        }
        let one = |finding| vec![finding];
        let document = protected(&bare).map_err(one)?;
        Ok(Self { policy: bare, document, suspended: TakesNothing::new().map_err(one)? })
    }

    /// The policy without the protection rule, its rules numbered from 1.
    #[must_use]
    pub const fn policy(&self) -> &LifecyclePolicy {
        &self.policy
    }

    /// The policy as ECR gets it.
    #[must_use]
    pub const fn document(&self) -> &LifecyclePolicy {
        &self.document
    }

    /// The policy that is attached while this one is suspended.
    #[must_use]
    pub const fn suspended(&self) -> &TakesNothing {
        &self.suspended
    }

    /// Whether this policy is attached, with every protection rule that it needs.
    fn is_attached_as(&self, text: &str) -> bool {
        LifecyclePolicy::parse(text).is_ok_and(|attached| {
            is_protected(&attached)
                && protection_rule_count(&attached) >= protection_rule_count(&self.document)
                && without_protection(&attached).as_ref() == Some(&self.policy)
        })
    }

    fn is_recorded_as(&self, text: Option<&str>) -> bool {
        let recorded = text.and_then(|text| LifecyclePolicy::parse(text).ok());
        recorded.is_some_and(|recorded| without_protection(&recorded).as_ref() == Some(&self.policy))
    }
}

/// The state of protection of a repository, besides what ECR returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// Its record in the bucket.
    pub record: Option<ProtectionRecord>,
    /// Whether the repository was created just now. A record under its name is then one of a deleted repository, unless the
    /// policies file governs it.
    pub is_new: bool,
    /// Whether it has images. That matters only without a record.
    pub has_images: bool,
    /// The present.
    pub now: Instant,
    /// The request that asks.
    pub request_id: String,
}

/// The plan for a repository's lifecycle policy. The record is written first, then the policy changes, and last a record is
/// deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyPlan {
    /// The change in ECR.
    pub change: Option<Change>,
    /// The change of the record.
    pub record: RecordChange,
    /// Whether the requested policy differs from the existing one, attached or suspended.
    pub is_different: bool,
    /// The status of the policy after all that.
    pub status: Option<PolicyStatus>,
}

impl PolicyPlan {
    /// The policy is not asked for: it stays, and nothing is known of its status.
    pub const AS_IT_IS: Self =
        Self { change: None, record: RecordChange::Keep, is_different: false, status: None };
}

/// The change of a repository's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordChange {
    /// No change.
    Keep,
    /// The record is written before the policy changes.
    Write(Box<ProtectionRecord>),
    /// The record is deleted after the policy.
    Forget,
}

/// The status of a lifecycle policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyStatus {
    /// ECR enforces it, behind the protection rule.
    Active,
    /// ECR enforces it, and it does not begin with the protection rule: it expires images in use, too.
    Unprotected,
    /// A policy by which nothing expires is attached instead.
    Suspended {
        /// Since when and why, if that is known.
        since: Option<Suspension>,
        /// Whether it is a policy of the policies file.
        is_of_policies_file: bool,
    },
    /// The policies file decides which policy is attached, whatever the request says.
    PoliciesFile,
}

/// The reason for a suspension: images existed before the policy, and their use has not been read.
const NOT_LOOKED_AT: &str =
    "the repository had images before it had this policy, and those in use have no protection tags yet";
/// The reason for a suspension without a record.
const NO_RECORD: &str = "a policy that takes nothing was attached, and there was no record of why";

/// Plans the change to the requested policy, as far as that is safe.
#[must_use]
pub fn plan_policy(existing: &Existing, wanted: Option<&ProtectedPolicy>, known: &Protection) -> PolicyPlan {
    let attached = existing.lifecycle_policy_text.as_deref();
    let record = known.record.as_ref();
    let change = |to: Option<String>| {
        Some(Change::LifecyclePolicy { from: existing.lifecycle_policy_text.clone(), to })
    };
    // What is left of a policy that the file attaches no more makes room for whatever is asked for.
    if record.is_some_and(|record| record.mode == Mode::Attach && !record.withdrawn) {
        let status = match record.and_then(|record| record.suspended.clone()) {
            None => PolicyStatus::PoliciesFile,
            since => PolicyStatus::Suspended { since, is_of_policies_file: true },
        };
        return PolicyPlan {
            change: None,
            record: RecordChange::Keep,
            is_different: false,
            status: Some(status),
        };
    }
    let has_record = record.is_some();
    let record = record.filter(|_| !known.is_new);
    let Some(wanted) = wanted else {
        return PolicyPlan {
            change: attached.and_then(|_| change(None)),
            record: if has_record { RecordChange::Forget } else { RecordChange::Keep },
            is_different: attached.is_some(),
            status: None,
        };
    };
    let takes_nothing = attached.is_some_and(is_suspended);
    let suspend = |reason: &str| Suspension { at: known.now, reason: reason.to_owned() };
    let suspended = record
        .and_then(|record| record.suspended.clone())
        .or_else(|| takes_nothing.then(|| suspend(NO_RECORD)))
        .or_else(|| (record.is_none() && known.has_images).then(|| suspend(NOT_LOOKED_AT)));
    let recorded = record.and_then(|record| record.lifecycle_policy_text.as_deref());
    let is_different = if takes_nothing {
        !wanted.is_recorded_as(recorded)
    } else {
        !attached.is_some_and(|text| wanted.is_attached_as(text))
    };
    let is_there = match &suspended {
        Some(_) => takes_nothing,
        None => attached.is_some_and(|text| wanted.is_attached_as(text)),
    };
    let to = match &suspended {
        Some(_) => wanted.suspended.to_json(),
        None => wanted.document.to_json(),
    };
    // Who asks for a policy has refreshed no tags: what was known of them stays.
    let mut written = record.cloned().unwrap_or_else(|| {
        ProtectionRecord::new(
            &existing.registry_id,
            &existing.name,
            Mode::Provisioned,
            known.now,
            &known.request_id,
        )
    });
    written.mode = Mode::Provisioned;
    written.withdrawn = false;
    written.suspended.clone_from(&suspended);
    if !wanted.is_recorded_as(recorded) {
        written.lifecycle_policy_text = Some(wanted.policy.to_json());
    }
    PolicyPlan {
        change: if is_there { None } else { change(Some(to)) },
        record: if record == Some(&written) {
            RecordChange::Keep
        } else {
            RecordChange::Write(Box::new(written))
        },
        is_different,
        status: Some(match suspended {
            Some(_) => PolicyStatus::Suspended { since: suspended, is_of_policies_file: false },
            None => PolicyStatus::Active,
        }),
    }
}

/// The policy of repositories that ECR makes on a push, by the stack's creation template: the default one. It is always there;
/// `None` would mean that a repository has none of this stack's policy.
#[must_use]
pub fn created_on_push() -> Option<ProtectedPolicy> {
    let policy = SimplePolicy::default().compile().ok()??;
    ProtectedPolicy::new(&policy).ok()
}

/// The policy of [`created_on_push`], without the protection rule, if the text is that policy to the letter.
#[must_use]
pub fn of_created_on_push(text: &str) -> Option<LifecyclePolicy> {
    let made_with = created_on_push()?;
    let is_it = LifecyclePolicy::parse(text).is_ok_and(|attached| attached == made_with.document);
    is_it.then_some(made_with.policy)
}

/// Whether the text is that of a suspended policy.
#[must_use]
pub fn is_suspended(text: &str) -> bool {
    LifecyclePolicy::parse(text).is_ok_and(|policy| takes_nothing(&policy))
}

/// Whether the text is that of a policy that begins with the protection rule.
#[must_use]
pub fn begins_with_protection(text: &str) -> bool {
    LifecyclePolicy::parse(text).is_ok_and(|policy| is_protected(&policy))
}

impl PolicyStatus {
    /// The status of the attached policy. The record matters only for a suspended one.
    #[must_use]
    pub fn of(existing: &Existing, record: Option<&ProtectionRecord>) -> Option<Self> {
        let text = existing.lifecycle_policy_text.as_deref()?;
        Some(if is_suspended(text) {
            Self::Suspended {
                since: record.and_then(|record| record.suspended.clone()),
                is_of_policies_file: record.is_some_and(|record| record.mode == Mode::Attach),
            }
        } else if begins_with_protection(text) {
            Self::Active
        } else {
            Self::Unprotected
        })
    }

    /// The status, in capitals as ECR has its own.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Unprotected => "UNPROTECTED",
            Self::Suspended { .. } => "SUSPENDED",
            Self::PoliciesFile => "POLICIES_FILE",
        }
    }

    /// The reason for the status, in a sentence; `None` if there is nothing to explain.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Active => None,
            Self::Unprotected => Some(
                "the policy does not begin with the protection rule, so that ECR takes images in use, too; ask for the policy that is \
                 wanted, and it is attached behind that rule"
                    .to_owned(),
            ),
            Self::PoliciesFile => Some(
                "policies.yaml attaches the policy of this repository, and a policy that is asked for here is not; change \
                 policies.yaml"
                    .to_owned(),
            ),
            suspended @ Self::Suspended { .. } => Some(suspended.to_string()),
        }
    }
}

impl fmt::Display for PolicyStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Suspended { since, is_of_policies_file } = self else { return f.write_str(self.as_str()) };
        match since {
            Some(Suspension { at, reason }) => write!(f, "the policy is suspended since {at}: {reason}")?,
            None => f.write_str("the policy is suspended, and no record says why")?,
        }
        let whose = if *is_of_policies_file {
            "the one that policies.yaml has for this repository"
        } else {
            "the one that was asked for last"
        };
        write!(f, "; with Enforce=true the next run that finds nothing uncertain attaches {whose}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lifecycle::PolicySource;
    use crate::domain::repository::{Encryption, TagMutability, Tags};

    fn at(time: &str) -> Instant {
        Instant::parse(time).unwrap()
    }

    fn policy(rules: &str) -> ProtectedPolicy {
        let source = PolicySource::parse(&format!("rules: [{rules}]")).unwrap();
        ProtectedPolicy::new(source.policy().unwrap()).unwrap()
    }

    fn existing(text: Option<String>) -> Existing {
        Existing {
            name: "app".to_owned(),
            arn: "arn:aws:ecr:eu-west-1:123456789012:repository/app".to_owned(),
            registry_id: "123456789012".to_owned(),
            uri: "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app".to_owned(),
            created_at: None,
            tag_mutability: TagMutability::default(),
            scan_on_push: false,
            encryption: Encryption::default(),
            tags: Tags::new(),
            lifecycle_policy_text: text,
            policy_text: None,
        }
    }

    fn known(record: Option<ProtectionRecord>) -> Protection {
        let now = at("2026-11-23T00:00:00Z");
        Protection { record, is_new: false, has_images: false, now, request_id: "request".to_owned() }
    }

    fn written(plan: &PolicyPlan) -> ProtectionRecord {
        match &plan.record {
            RecordChange::Write(record) => (**record).clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_policy_is_the_same_with_and_without_the_protection_rule_and_however_its_rules_are_numbered() {
        let wanted =
            policy("{selection: untagged, maximumAgeLimit: 1}, {selection: any, maximumAgeLimit: 9}");
        assert_eq!(ProtectedPolicy::new(wanted.document()).as_ref(), Ok(&wanted));
        let renumbered = wanted.document().to_json().replace(r#""rulePriority":3"#, r#""rulePriority":30"#);
        let plan = plan_policy(&existing(Some(renumbered)), Some(&wanted), &known(None));
        assert_eq!((plan.change.as_ref(), plan.is_different), (None, false));
        assert_eq!(policy_of(&written(&plan)), *wanted.policy());
    }

    fn policy_of(record: &ProtectionRecord) -> LifecyclePolicy {
        LifecyclePolicy::parse(record.lifecycle_policy_text.as_deref().unwrap()).unwrap()
    }

    #[test]
    fn a_repository_that_a_push_made_is_known_by_its_policy_to_the_letter() {
        let made_with = created_on_push().unwrap();
        let text = made_with.document().to_json();
        assert_eq!(of_created_on_push(&text).as_ref(), Some(made_with.policy()));
        assert_eq!(of_created_on_push(&text.replace(r#""countNumber":1}"#, r#""countNumber":2}"#)), None);
        assert_eq!(of_created_on_push(&made_with.policy().to_json()), None, "it has no protection rule");
        assert_eq!(of_created_on_push("{"), None);
    }

    #[test]
    fn a_policy_that_looks_into_the_archive_needs_both_protection_rules() {
        let wanted = policy("{selection: any, maximumDaysInArchive: 90}");
        let mut rules = wanted.document().rules().to_vec();
        rules.remove(1);
        let half = LifecyclePolicy::from_valid(rules).unwrap();
        assert!(is_protected(&half));
        let plan = plan_policy(&existing(Some(half.to_json())), Some(&wanted), &known(None));
        assert!(plan.is_different && plan.change.is_some());
    }

    #[test]
    fn what_was_suspended_under_another_policy_says_so_and_why() {
        let before = policy("{selection: any, maximumAgeLimit: 9}");
        let suspended =
            Suspension { at: at("2026-11-20T03:00:00Z"), reason: "the list of prod is late".to_owned() };
        let first = written(&plan_policy(&existing(None), Some(&before), &known(None)));
        let record = ProtectionRecord { suspended: Some(suspended.clone()), ..first };
        let nothing = existing(Some(before.suspended().to_json()));
        let wanted = policy("{selection: any, maximumAgeLimit: 5}");
        let plan = plan_policy(&nothing, Some(&wanted), &known(Some(record.clone())));
        assert!(plan.change.is_none() && plan.is_different);
        let now = written(&plan);
        assert_eq!((policy_of(&now), now.suspended.as_ref()), (wanted.policy().clone(), Some(&suspended)));
        let status = plan.status.unwrap();
        assert_eq!(status.as_str(), "SUSPENDED");
        assert_eq!(
            status.reason().unwrap(),
            "the policy is suspended since 2026-11-20T03:00:00Z: the list of prod is late; with Enforce=true the next run \
             that finds nothing uncertain attaches the one that was asked for last"
        );
        assert_eq!(PolicyStatus::of(&nothing, Some(&record)), Some(status));
        let attach = ProtectionRecord { mode: Mode::Attach, ..record };
        let status = plan_policy(&nothing, Some(&wanted), &known(Some(attach))).status.unwrap();
        assert!(status.reason().unwrap().contains("policies.yaml has for this repository"), "{status}");
    }
}
