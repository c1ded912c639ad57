//! Whether a run may delete, archive and attach: decided when it begins, and checked again by each invocation.
//!
//! A run enforces only if it was asked to, the stack's parameter `Enforce` is `true`, and its policies file was previewed by a
//! completed run or approves itself. Everything else is a dry run, and says why.

use serde::{Deserialize, Serialize};

use crate::domain::enforcement::plan::Blocker;
use crate::domain::enforcement::policy_set::{KEY, PolicySet};
use crate::domain::text::instant::Instant;
use crate::domain::usage::usage_snapshot::CLOCK_SECONDS;

/// Key prefix of the objects that say which policies files were previewed; one for each hash, written by the report of a
/// completed run.
pub const PREVIEWED: &str = "state/previewed/";
/// Seconds after which a run enforces nothing any more: the timeout of the state machine. Use, policies and assignments that
/// are older than this say little of the present.
pub const MAX_RUN_AGE_SECONDS: i64 = 86_400;

/// The key of the object that says that a policies file with this hash was previewed.
#[must_use]
pub fn preview_key(hash: &str) -> String {
    format!("{PREVIEWED}{hash}.json")
}

/// Why a run deletes, archives and attaches nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum DryRunReason {
    /// The run was requested as a dry run.
    Requested,
    /// The run is one of those between the runs over the whole registry, which only refresh protection tags.
    ProtectOnly,
    /// The stack's parameter `Enforce` is not `true`.
    EnforceOff,
    /// There is no policies file.
    NoPoliciesFile,
    /// No completed run previewed the policies file, and it does not approve itself.
    NotPreviewed,
    /// The policies file is not valid: what is protected for another reason still is.
    InvalidPoliciesFile,
}

impl DryRunReason {
    /// Whether the run protects nevertheless: it adds protection tags and suspends policies. A requested dry run changes nothing
    /// at all.
    #[must_use]
    pub const fn protects(self) -> bool {
        !matches!(self, Self::Requested)
    }

    /// The reason as a sentence without its end, with the way out. `hash` is that of the policies file.
    #[must_use]
    pub fn explain(self, hash: Option<&str>) -> String {
        match self {
            Self::Requested => "a dry run was asked for".to_owned(),
            Self::ProtectOnly => "the run only protects; those over the whole registry enforce policies".to_owned(),
            Self::EnforceOff => {
                "the stack's parameter Enforce is not true; deploy it with Enforce=true to have policies enforced".to_owned()
            }
            Self::InvalidPoliciesFile => format!("{KEY} is not valid; correct it"),
            Self::NoPoliciesFile => format!("there is no {KEY} in the stack's bucket"),
            Self::NotPreviewed => {
                let hash = hash.unwrap_or_default();
                format!(
                    "no completed run had previewed this {KEY} before; the next run enforces it if this one completes, or \
                     add approve: \"{hash}\" to the file to enforce it at once"
                )
            }
        }
    }
}

/// The facts that decide, at the beginning of a run, whether it enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// Whether the run was requested as a dry run.
    pub is_dry_run: bool,
    /// Whether the run was requested to protect images in use, and nothing else.
    pub protects_only: bool,
    /// Whether the stack's parameter `Enforce` is `true` now.
    pub is_on: bool,
    /// The policies file; `None` if there is none.
    pub policy_set: Option<&'a PolicySet>,
    /// Whether a completed run previewed this version of the file.
    pub is_previewed: bool,
}

impl Request<'_> {
    /// Why the run is a dry run; `None` if it enforces.
    #[must_use]
    pub fn dry_run_reason(&self) -> Option<DryRunReason> {
        let Self { is_dry_run, protects_only, is_on, policy_set, is_previewed } = *self;
        match policy_set {
            _ if is_dry_run => Some(DryRunReason::Requested),
            _ if protects_only => Some(DryRunReason::ProtectOnly),
            None => Some(DryRunReason::NoPoliciesFile),
            Some(_) if !is_on => Some(DryRunReason::EnforceOff),
            Some(policy_set) if !(is_previewed || policy_set.is_approved()) => {
                Some(DryRunReason::NotPreviewed)
            }
            Some(_) => None,
        }
    }
}

/// The facts that decide whether an invocation of an enforcing run may still enforce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invocation<'a> {
    /// Whether the stack's parameter `Enforce` is `true` now.
    pub is_on: bool,
    /// The hash of the run's policies file.
    pub run_hash: &'a str,
    /// The policies file in the bucket now; `None` if there is none, or it is not valid.
    pub policy_set: Option<&'a PolicySet>,
    /// Whether a completed run previewed the file in the bucket.
    pub is_previewed: bool,
    /// The start of the run, from its task.
    pub started_at: Instant,
    /// The time at which its list of batches was written, from S3.
    pub listed_at: Option<Instant>,
    /// The present.
    pub now: Instant,
}

impl Invocation<'_> {
    /// Why the invocation must not delete, archive or attach; empty if it may.
    #[must_use]
    pub fn blockers(&self) -> Vec<Blocker> {
        let Self { is_on, run_hash, policy_set, is_previewed, started_at, listed_at, now } = *self;
        let mut blockers = Vec::new();
        if !is_on {
            blockers.push(Blocker::EnforceOff);
        }
        match policy_set {
            Some(policy_set) if policy_set.hash() == run_hash => {
                if !(is_previewed || policy_set.is_approved()) {
                    blockers.push(Blocker::PoliciesFileNotPreviewed);
                }
            }
            _ => blockers.push(Blocker::PoliciesFileChanged),
        }
        // A run of the future would never become old.
        let is_odd = |at: &Instant| {
            let age = (now.micros() - at.micros()) / 1_000_000;
            !(-CLOCK_SECONDS..=MAX_RUN_AGE_SECONDS).contains(&age)
        };
        let times = [Some(started_at), listed_at];
        if let Some(started_at) = times.into_iter().flatten().find(is_odd) {
            blockers.push(Blocker::RunTooOld { started_at });
        }
        blockers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy_set(more: &str) -> PolicySet {
        let text = format!(
            "policies: [{{ name: a, repositories: ['*'], rules: [{{ selection: untagged, maximumAgeLimit: 1 }}] }}]\n{more}"
        );
        PolicySet::parse(&text).unwrap()
    }

    fn at(time: &str) -> Instant {
        Instant::parse(time).unwrap()
    }

    #[test]
    fn a_run_enforces_only_if_asked_to_switched_on_and_previewed_or_approved() {
        let new = policy_set("");
        let approved = policy_set(&format!("approve: \"{}\"\n", new.hash()));
        assert!(approved.is_approved());
        let request = Request {
            is_dry_run: false,
            protects_only: false,
            is_on: true,
            policy_set: Some(&new),
            is_previewed: true,
        };
        for (request, reason) in [
            (request, None),
            (Request { is_dry_run: true, ..request }, Some(DryRunReason::Requested)),
            (Request { is_on: false, ..request }, Some(DryRunReason::EnforceOff)),
            (Request { policy_set: None, ..request }, Some(DryRunReason::NoPoliciesFile)),
            (Request { is_previewed: false, ..request }, Some(DryRunReason::NotPreviewed)),
            (Request { is_previewed: false, policy_set: Some(&approved), ..request }, None),
            (
                Request { is_on: false, policy_set: Some(&approved), ..request },
                Some(DryRunReason::EnforceOff),
            ),
        ] {
            assert_eq!(request.dry_run_reason(), reason, "{request:?}");
        }
        assert!(!DryRunReason::Requested.protects() && DryRunReason::EnforceOff.protects());
        let reason = DryRunReason::NotPreviewed.explain(Some(new.hash()));
        assert!(reason.contains(&format!("approve: \"{}\"", new.hash())), "{reason}");
    }

    #[test]
    fn a_run_that_only_protects_enforces_nothing_and_protects_whatever_the_switch_and_the_file_say() {
        let policy_set = policy_set("");
        let request = Request {
            is_dry_run: false,
            protects_only: true,
            is_on: true,
            policy_set: Some(&policy_set),
            is_previewed: true,
        };
        for request in [
            request,
            Request { is_on: false, ..request },
            Request { policy_set: None, ..request },
            Request { is_previewed: false, ..request },
        ] {
            assert_eq!(request.dry_run_reason(), Some(DryRunReason::ProtectOnly), "{request:?}");
        }
        let requested = Request { is_dry_run: true, ..request };
        assert_eq!(
            requested.dry_run_reason(),
            Some(DryRunReason::Requested),
            "a dry run changes nothing at all"
        );
        assert!(DryRunReason::ProtectOnly.protects());
        let name = serde_json::to_string(&DryRunReason::ProtectOnly).unwrap();
        assert_eq!(name, "\"protect-only\"");
    }

    #[test]
    fn an_invocation_uses_the_switch_and_the_file_as_they_are_now_and_not_those_of_the_run() {
        let (same, other) = (policy_set(""), policy_set("limits: { images: 7 }\n"));
        let now = at("2026-11-23T12:00:00Z");
        let good = Invocation {
            is_on: true,
            run_hash: same.hash(),
            policy_set: Some(&same),
            is_previewed: true,
            started_at: at("2026-11-22T12:00:00Z"),
            listed_at: Some(at("2026-11-22T12:01:00Z")),
            now,
        };
        for (invocation, codes) in [
            (good, vec![]),
            (Invocation { is_on: false, ..good }, vec!["enforce-off"]),
            (Invocation { policy_set: Some(&other), ..good }, vec!["policies-file-changed"]),
            (Invocation { policy_set: None, ..good }, vec!["policies-file-changed"]),
            (Invocation { is_previewed: false, ..good }, vec!["policies-file-not-previewed"]),
            (Invocation { started_at: at("2026-11-22T11:59:59Z"), ..good }, vec!["run-too-old"]),
            (Invocation { started_at: at("2026-11-23T12:05:00Z"), ..good }, vec![]),
            (Invocation { listed_at: Some(at("2026-11-22T11:00:00Z")), ..good }, vec!["run-too-old"]),
            (Invocation { started_at: at("2999-01-01T00:00:00Z"), ..good }, vec!["run-too-old"]),
            (
                Invocation { is_on: false, policy_set: None, started_at: at("2026-11-01T00:00:00Z"), ..good },
                vec!["enforce-off", "policies-file-changed", "run-too-old"],
            ),
        ] {
            let found: Vec<&str> = invocation.blockers().iter().map(Blocker::code).collect();
            assert_eq!(found, codes, "{invocation:?}");
        }
    }
}
