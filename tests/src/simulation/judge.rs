//! Looks at everything that is deleted or archived, and reports which promise is broken and why.
//!
//! It knows what really is in use, when each look was taken, and what the policies file said. It shares no code with what it judges,
//! but for reading policies.

use std::collections::{BTreeMap, BTreeSet};

use super::file::File;
use super::protection::{Attached, Protection};
use super::world::World;

mod acts;
mod calls;
mod limits;
mod rules;
mod runs;
mod usage;

pub(super) use acts::Act;
pub(super) use calls::shortened;
pub(super) use limits::{is_part, past_a_limit};
pub(super) use runs::{Invocation, Judged};

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// Its kind, as the table of what is known to be broken has it.
    pub(super) id: &'static str,
    pub(super) what: String,
}

/// What is known of all that happened.
#[derive(Debug, Default)]
pub(super) struct Judge {
    pub(super) violations: Vec<Violation>,
    /// Images that were deleted in the window between the last look and their deletion.
    pub(super) late: BTreeMap<(String, String), Late>,
    pub(super) acts: Vec<Act>,
    journal: BTreeSet<(String, String)>,
    days: BTreeMap<i64, u64>,
    pub(super) runs: BTreeMap<String, Judged>,
    /// The runs that are at work.
    pub(super) running: BTreeSet<String>,
    /// When somebody else attached a policy last.
    pub(super) foreign: BTreeMap<String, i64>,
    /// The lists that a run has seen.
    pub(super) known: BTreeSet<usize>,
    /// When each list was remembered last as one that names something.
    pub(super) remembered: BTreeMap<usize, i64>,
    /// The policies of ours that are attached.
    pub(super) attached: BTreeMap<String, Attached>,
    pub(super) protection: Protection,
    /// When the last scheduled run began.
    last_run: Option<i64>,
    /// The files of completed runs.
    pub(super) previewed: Vec<File>,
    /// When images were deleted or archived.
    gone: BTreeMap<(String, String), i64>,
    /// Images in use that were deleted, for which a reason is reported.
    accused: BTreeSet<(String, String)>,
    /// Images that were part of another once.
    pub(super) parts: BTreeSet<String>,
    /// How many images this project deleted or archived.
    pub(super) taken: u64,
}

impl Judge {
    /// Whether an image was deleted in the window between the last look and its deletion; and if so, whether it has to come back.
    pub(super) fn is_owed(&self, image: &(String, String)) -> Option<bool> {
        self.late.get(image).map(|late| late.is_owed)
    }

    /// Whether an image was deleted by this project or by ECR, at this time or later.
    pub(super) fn went_since(&self, image: &(String, String), since: i64) -> bool {
        self.gone.get(image).is_some_and(|at| *at >= since)
    }

    /// Whether a reason is reported why an image in use was deleted.
    pub(super) fn is_accused(&self, image: &(String, String)) -> bool {
        self.accused.contains(image)
    }
}

/// An image that came into use too late to be seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Late {
    /// For how long the window was open, in microseconds.
    pub(super) window: i64,
    /// Whether this project deleted it, which has to put it back.
    pub(super) is_owed: bool,
    /// Whether a run began within the last hour or so.
    pub(super) is_hourly: bool,
}

impl Late {
    /// Who deleted it.
    pub(super) const fn kind(&self) -> &'static str {
        match (self.is_owed, self.is_hourly) {
            (true, _) => "this project took",
            (false, true) => "ECR took after a run within the hour",
            (false, false) => "ECR took after a run longer ago",
        }
    }
}

/// How an image is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// This project deletes or archives it, by its digest.
    Taken,
    /// ECR deletes it, by an attached policy.
    Engine,
    /// ECR would delete it.
    Imagined,
}

/// The verdict on something in use that is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A promise is broken, of this kind.
    Broken(&'static str),
    /// Its use began after the look, or too lately for any promise.
    Late,
    /// Nobody could know: it is as README says.
    Excused,
}

impl World {
    pub(super) fn break_promise(&mut self, id: &'static str, what: &str) {
        self.say(&format!("  !! {id}: {what}"));
        self.judge.violations.push(Violation { id, what: what.to_owned() });
    }
}
