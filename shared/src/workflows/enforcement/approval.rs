//! A saved plan that a terminal makes or executes: what of it is done, and of what it is done less, and why.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::domain::enforcement::policy_set::Apply;
use crate::domain::enforcement::saved_plan::{
    Deviation, PlannedAction, PlannedImage, PlannedRepository, SavedPlan,
};
use crate::domain::image::Image;
use crate::workflows::enforcement::repository_snapshot::RepositoryPlan;

/// A plan that a terminal saves or executes.
#[derive(Debug)]
pub enum Approval<'a> {
    /// Saves what would be done, by repository: several are previewed at the same time.
    Save(RefCell<BTreeMap<String, PlannedRepository>>),
    /// Does what was saved, or less.
    Execute {
        /// The saved plan.
        plan: &'a SavedPlan,
        /// Why images of it are still there, by repository and digest.
        undone: RefCell<BTreeMap<(String, String), String>>,
    },
}

/// An image of a saved plan that is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undone {
    /// The repository.
    pub repository_name: String,
    /// The image.
    pub image: PlannedImage,
    /// Why.
    pub reason: String,
}

/// Why an action of a saved plan was not executed, as far as the repository's present plan says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum NotExecuted {
    /// The run ended before, or the repository was not among those that it was asked to process.
    #[error("the repository was not worked on")]
    NotProcessed,
    /// No policy is assigned any more.
    #[error("no policy of the policies file is for the repository any more")]
    Unassigned,
    /// Another policy is assigned by now.
    #[error("the policy {now} is for the repository now, and not {planned} any more")]
    Reassigned {
        /// The name of the policy now.
        now: String,
        /// The name of the policy in the plan.
        planned: String,
    },
    /// This policy does not delete any more.
    #[error("the policy {0} does not say `apply: delete`")]
    NotDeleting(String),
    /// The image was deleted.
    #[error("it is not there any more")]
    Gone,
    /// The image is in use, for this reason.
    #[error("it is in use: {0}")]
    InUse(String),
    /// The image has changed.
    #[error(transparent)]
    Deviation(#[from] Deviation),
    /// The policy keeps the image, for this reason.
    #[error("the policy keeps it: {0}")]
    Kept(String),
    /// No rule applies to the image any more.
    #[error("the policy does not take it any more: the repository has changed")]
    NotTaken,
    /// The repository's plan is blocked.
    #[error("blocked: {0}")]
    Blocked(String),
    /// The run ended before.
    #[error("it was not come to")]
    NotReached,
}

impl<'a> Approval<'a> {
    /// An approval that saves a plan, which is empty at first.
    #[must_use]
    pub const fn save() -> Self {
        Self::Save(RefCell::new(BTreeMap::new()))
    }

    /// An approval that executes a plan, of which nothing is done yet.
    #[must_use]
    pub fn execute(plan: &'a SavedPlan) -> Self {
        let images = plan.repositories.iter().flat_map(|repository| {
            let name = &repository.repository_name;
            repository.images.iter().map(move |image| {
                let reason = NotExecuted::NotProcessed.to_string();
                ((name.clone(), image.image_digest.clone()), reason)
            })
        });
        Self::Execute { plan, undone: RefCell::new(images.collect()) }
    }

    /// The saved plan, by the names of its repositories.
    #[must_use]
    pub fn saved(self) -> Vec<PlannedRepository> {
        match self {
            Self::Save(repositories) => repositories.into_inner().into_values().collect(),
            Self::Execute { .. } => Vec::new(),
        }
    }

    /// The planned actions that were not executed, and why, in the order of the plan.
    #[must_use]
    pub fn undone(&self) -> Vec<Undone> {
        let Self::Execute { plan, undone } = self else { return Vec::new() };
        let undone = undone.borrow();
        let images = plan.repositories.iter().flat_map(|repository| {
            repository.images.iter().map(move |image| (repository.repository_name.clone(), image))
        });
        images
            .filter_map(|(repository_name, image)| {
                let reason = undone.get(&(repository_name.clone(), image.image_digest.clone()))?;
                Some(Undone { repository_name, image: image.clone(), reason: reason.clone() })
            })
            .collect()
    }

    /// Whether a repository may be processed at all. Otherwise the reason is reported for each of its images.
    pub fn may_work_on(&self, repository: &str, policy: Option<(&str, Apply)>) -> bool {
        let Self::Execute { plan, .. } = self else { return true };
        let Some(planned) = plan.of(repository) else { return false };
        let problem = match policy {
            None => NotExecuted::Unassigned,
            Some((now, _)) if now != planned.policy => {
                NotExecuted::Reassigned { now: now.to_owned(), planned: planned.policy.clone() }
            }
            Some((name, apply)) if apply != Apply::Delete => NotExecuted::NotDeleting(name.to_owned()),
            Some(_) => return true,
        };
        self.tell_all(planned, &problem.to_string());
        false
    }

    /// Reports for all images of a repository why they still exist.
    pub fn tell_repository(&self, repository: &str, why: &str) {
        if let Self::Execute { plan, .. } = self
            && let Some(planned) = plan.of(repository)
        {
            self.tell_all(planned, why);
        }
    }

    fn tell_all(&self, planned: &PlannedRepository, why: &str) {
        for image in &planned.images {
            self.stays(&planned.repository_name, &image.image_digest, why);
        }
    }

    /// Saves a plan that was made just now, or compares it with the saved one.
    pub(crate) fn take(&self, planned: &RepositoryPlan<'_>) {
        let name = planned.snapshot.name.as_str();
        let images = planned.snapshot.images.images();
        match self {
            Self::Save(saved) => {
                let is_executable = planned.entry.apply == Apply::Delete
                    && planned.native.is_none()
                    && planned.plan.blockers.is_empty()
                    && planned.has_removals();
                if !is_executable {
                    return;
                }
                let of = |action| {
                    move |place: &u32| {
                        let image = images.get(*place as usize)?;
                        let saved = PlannedImage::of(image, action, planned.reason(*place));
                        // That its manifest was read for this plan is no reason to keep it later.
                        let last_recorded_pull_time = planned.snapshot.own_pulls.last_known_pull(image);
                        Some(PlannedImage { last_recorded_pull_time, ..saved })
                    }
                };
                let deletions = planned.plan.deletions.iter().filter_map(of(PlannedAction::Delete));
                let archivals = planned.plan.archivals.iter().filter_map(of(PlannedAction::Archive));
                let planned = PlannedRepository {
                    repository_name: name.to_owned(),
                    policy: planned.entry.name.clone(),
                    images: deletions.chain(archivals).collect(),
                };
                saved.borrow_mut().insert(name.to_owned(), planned);
            }
            Self::Execute { plan, .. } => {
                let Some(saved) = plan.of(name) else { return };
                let places: BTreeMap<&str, u32> =
                    images.iter().map(|image| &*image.digest).zip(0..).collect();
                for image in &saved.images {
                    let place = places.get(image.image_digest.as_str()).copied();
                    let reason = why_not_executed(planned, image, place).to_string();
                    self.stays(name, &image.image_digest, &reason);
                }
            }
        }
    }

    /// Whether an action on an image is approved. Otherwise the reason is reported.
    pub(crate) fn allows(
        &self,
        repository: &str,
        image: &Image,
        action: PlannedAction,
    ) -> Result<(), Deviation> {
        match self {
            Self::Save(_) => Err(Deviation::NotPlanned),
            Self::Execute { plan, .. } => {
                plan.of(repository).ok_or(Deviation::NotPlanned)?.allows(image, action)
            }
        }
    }

    /// Reports that an image still exists, and why.
    pub(crate) fn stays(&self, repository: &str, digest: &str, why: &str) {
        if let Self::Execute { undone, .. } = self
            && let Some(reason) = undone.borrow_mut().get_mut(&(repository.to_owned(), digest.to_owned()))
        {
            why.clone_into(reason);
        }
    }

    /// Records that an action of the plan was executed.
    pub(crate) fn went(&self, repository: &str, digest: &str) {
        if let Self::Execute { undone, .. } = self {
            undone.borrow_mut().remove(&(repository.to_owned(), digest.to_owned()));
        }
    }
}

/// Why the present plan keeps an image of a saved plan. For an image that would be deleted it is the reason that blocks all of
/// them.
fn why_not_executed(planned: &RepositoryPlan<'_>, saved: &PlannedImage, place: Option<u32>) -> NotExecuted {
    let image = place.and_then(|place| Some((place, planned.snapshot.images.images().get(place as usize)?)));
    let Some((place, image)) = image else { return NotExecuted::Gone };
    if let Some(reason) = planned.used.reason(place) {
        return NotExecuted::InUse(reason.to_owned());
    }
    if let Err(deviation) = saved.compare(image) {
        return deviation.into();
    }
    if let Some(reason) = planned.plan.kept.get(&place) {
        return NotExecuted::Kept(reason.to_string());
    }
    let takes = match saved.action {
        PlannedAction::Delete => &planned.plan.deletions,
        PlannedAction::Archive => &planned.plan.archivals,
    };
    if !takes.contains(&place) {
        return NotExecuted::NotTaken;
    }
    match planned.plan.blockers.first() {
        Some(blocker) => NotExecuted::Blocked(blocker.to_string()),
        None => NotExecuted::NotReached,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_executes_a_saved_plan_reads_why_less_of_it_was_done() {
        let reassigned = NotExecuted::Reassigned { now: "new".to_owned(), planned: "old".to_owned() };
        assert_eq!(reassigned.to_string(), "the policy new is for the repository now, and not old any more");
        assert_eq!(
            NotExecuted::NotDeleting("old".to_owned()).to_string(),
            "the policy old does not say `apply: delete`"
        );
        assert_eq!(NotExecuted::from(Deviation::NotPlanned).to_string(), "the saved plan does not name it");
        assert_eq!(NotExecuted::NotReached.to_string(), "it was not come to");
    }
}
