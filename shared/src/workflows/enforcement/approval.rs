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
    /// Saves what would be done.
    Save(RefCell<Vec<PlannedRepository>>),
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

impl<'a> Approval<'a> {
    /// An approval that saves a plan, which is empty at first.
    #[must_use]
    pub const fn save() -> Self {
        Self::Save(RefCell::new(Vec::new()))
    }

    /// An approval that executes a plan, of which nothing is done yet.
    #[must_use]
    pub fn execute(plan: &'a SavedPlan) -> Self {
        let images = plan.repositories.iter().flat_map(|repository| {
            let name = &repository.repository_name;
            repository.images.iter().map(move |image| {
                let reason = "the repository was not worked on".to_owned();
                ((name.clone(), image.image_digest.clone()), reason)
            })
        });
        Self::Execute { plan, undone: RefCell::new(images.collect()) }
    }

    /// The saved plan.
    #[must_use]
    pub fn saved(self) -> Vec<PlannedRepository> {
        match self {
            Self::Save(repositories) => repositories.into_inner(),
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
            None => "no policy of the policies file is for the repository any more".to_owned(),
            Some((name, _)) if name != planned.policy => {
                format!("the policy {name} is for the repository now, and not {} any more", planned.policy)
            }
            Some((name, apply)) if apply != Apply::Delete => {
                format!("the policy {name} does not say `apply: delete`")
            }
            Some(_) => return true,
        };
        self.tell_all(planned, &problem);
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
                        Some(PlannedImage::of(image, action, planned.reason(*place)))
                    }
                };
                let deletions = planned.plan.deletions.iter().filter_map(of(PlannedAction::Delete));
                let archivals = planned.plan.archivals.iter().filter_map(of(PlannedAction::Archive));
                saved.borrow_mut().push(PlannedRepository {
                    repository_name: name.to_owned(),
                    policy: planned.entry.name.clone(),
                    images: deletions.chain(archivals).collect(),
                });
            }
            Self::Execute { plan, .. } => {
                let Some(saved) = plan.of(name) else { return };
                let places: BTreeMap<&str, u32> =
                    images.iter().map(|image| &*image.digest).zip(0..).collect();
                for image in &saved.images {
                    let place = places.get(image.image_digest.as_str()).copied();
                    self.stays(name, &image.image_digest, &why(planned, image, place));
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

    /// An image is still there, for this reason.
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
fn why(planned: &RepositoryPlan<'_>, saved: &PlannedImage, place: Option<u32>) -> String {
    let image = place.and_then(|place| Some((place, planned.snapshot.images.images().get(place as usize)?)));
    let Some((place, image)) = image else { return "it is not there any more".to_owned() };
    if let Some(reason) = planned.used.reason(place) {
        return format!("it is in use: {reason}");
    }
    if let Err(deviation) = saved.compare(image) {
        return deviation.to_string();
    }
    if let Some(reason) = planned.plan.kept.get(&place) {
        return format!("the policy keeps it: {reason}");
    }
    let takes = match saved.action {
        PlannedAction::Delete => &planned.plan.deletions,
        PlannedAction::Archive => &planned.plan.archivals,
    };
    if !takes.contains(&place) {
        return "the policy does not take it any more: the repository has changed".to_owned();
    }
    match planned.plan.blockers.first() {
        Some(blocker) => format!("blocked: {blocker}"),
        None => "it was not come to".to_owned(),
    }
}
