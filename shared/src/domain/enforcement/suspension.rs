//! When attached lifecycle policies are suspended although no run refreshes them: protection is stale, the policies file is
//! invalid, or the stack is deleted. Decides only; `workflows::enforcement::suspend` acts.

use super::protection_record::{Mode, ProtectionRecord};
use crate::domain::enforcement::policy_set;
use crate::domain::text::instant::Instant;

/// Maximum length of a problem in a reason, in characters: a policies file can have thousands of findings, and a reason is in
/// the record of each repository.
const MAX_PROBLEM_CHARACTERS: usize = 500;

/// Why policies are suspended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Protection was not refreshed for a number of hours.
    StaleProtection {
        /// Maximum age of protection, in hours.
        maximum_age_in_hours: u32,
    },
    /// The policies file is invalid, so that it is unknown which policies it attaches.
    InvalidPoliciesFile {
        /// Why it is invalid.
        problem: String,
    },
    /// The stack is deleted: nothing refreshes protection any more.
    StackDeleted {
        /// The ARN of the stack.
        stack_id: String,
    },
}

/// What has to be done in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// Nothing: its policy remains attached.
    Nothing,
    /// People have to be told: the policy is somebody else's, and cannot be suspended.
    Tell,
    /// Its policy is suspended.
    Suspend,
}

impl Cause {
    /// What has to be done in the repository of this record.
    #[must_use]
    pub fn demand(&self, record: &ProtectionRecord, now: Instant) -> Demand {
        match (self, record.mode) {
            // It is suspended, and any policy that came after that is somebody else's.
            _ if record.withdrawn => Demand::Nothing,
            (Self::StaleProtection { maximum_age_in_hours }, mode) => {
                match (record.is_stale(now, *maximum_age_in_hours), mode) {
                    (false, _) => Demand::Nothing,
                    (true, Mode::Protect) => Demand::Tell,
                    (true, Mode::Attach | Mode::Provisioned) => Demand::Suspend,
                }
            }
            // The file says nothing of what a repository was made with.
            (Self::InvalidPoliciesFile { .. }, Mode::Attach)
            | (Self::StackDeleted { .. }, Mode::Attach | Mode::Provisioned) => Demand::Suspend,
            (Self::InvalidPoliciesFile { .. }, Mode::Provisioned | Mode::Protect)
            | (Self::StackDeleted { .. }, Mode::Protect) => Demand::Nothing,
        }
    }

    /// Why the policy of the repository with this record is suspended, in a sentence.
    #[must_use]
    pub fn reason(&self, record: &ProtectionRecord) -> String {
        match self {
            Self::StaleProtection { maximum_age_in_hours } => format!(
                "the protection tags were right last at {}, and may be {maximum_age_in_hours} hours old at most; with Enforce=true the \
                 next run that is certain of what is in use attaches the policy again",
                record.refreshed_at
            ),
            Self::InvalidPoliciesFile { problem } => {
                format!("{} is not valid: {}", policy_set::KEY, shortened(problem))
            }
            Self::StackDeleted { stack_id } => {
                format!("the stack {stack_id} is deleted, and without it nothing protects what is in use")
            }
        }
    }
}

/// Why the policy of a repository is suspended whose record cannot be read, in a sentence.
#[must_use]
pub fn unreadable(problem: &str) -> String {
    format!(
        "its record could not be read ({}), so that it was not known whether what is in use is protected",
        shortened(problem)
    )
}

fn shortened(problem: &str) -> String {
    match problem.char_indices().nth(MAX_PROBLEM_CHARACTERS) {
        None => problem.to_owned(),
        Some((end, _)) => format!("{}…", problem.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Instant {
        Instant::parse(time).unwrap()
    }

    fn record(mode: Mode, refreshed_at: &str) -> ProtectionRecord {
        ProtectionRecord::new("123456789012", "app", mode, at(refreshed_at), "run")
    }

    #[test]
    fn what_is_suspended_depends_on_why_and_on_whose_policy_it_is() {
        let stale = Cause::StaleProtection { maximum_age_in_hours: 48 };
        let file = Cause::InvalidPoliciesFile { problem: "/: no".to_owned() };
        let deleted = Cause::StackDeleted { stack_id: "arn".to_owned() };
        let now = at("2026-11-23T03:00:00Z");
        let (fresh, old) = ("2026-11-21T03:00:00Z", "2026-11-21T02:59:59Z");
        for (mode, refreshed_at, demands) in [
            (Mode::Attach, fresh, [Demand::Nothing, Demand::Suspend, Demand::Suspend]),
            (Mode::Provisioned, fresh, [Demand::Nothing, Demand::Nothing, Demand::Suspend]),
            (Mode::Protect, fresh, [Demand::Nothing, Demand::Nothing, Demand::Nothing]),
            (Mode::Attach, old, [Demand::Suspend, Demand::Suspend, Demand::Suspend]),
            (Mode::Provisioned, old, [Demand::Suspend, Demand::Nothing, Demand::Suspend]),
            (Mode::Protect, old, [Demand::Tell, Demand::Nothing, Demand::Nothing]),
        ] {
            let record = record(mode, refreshed_at);
            let found = [&stale, &file, &deleted].map(|cause| cause.demand(&record, now));
            assert_eq!(found, demands, "{record:?}");
        }
    }

    #[test]
    fn a_reason_says_since_when_and_what_to_do_and_stays_short() {
        let record = record(Mode::Attach, "2026-11-21T03:00:00Z");
        let reason = Cause::StaleProtection { maximum_age_in_hours: 48 }.reason(&record);
        assert!(reason.contains("2026-11-21T03:00:00Z") && reason.contains("48 hours"), "{reason}");
        let problem = "ü".repeat(5000);
        let reason = Cause::InvalidPoliciesFile { problem: problem.clone() }.reason(&record);
        assert!(reason.starts_with("policies.yaml is not valid: ü") && reason.ends_with('…'), "{reason}");
        assert!(reason.chars().count() < 600 && unreadable(&problem).chars().count() < 700);
    }
}
