//! Remembers what people did by hand, which excuses or accuses what is deleted later.

use super::Invocation;
use crate::simulation::world::World;

/// Something that people did and that excuses or accuses what comes after.
#[derive(Debug, Clone)]
pub(in crate::simulation) struct Act {
    pub(super) repository: String,
    pub(in crate::simulation) at: i64,
    pub(super) deed: Deed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// The repository's tag `hold: legal` is set to this.
    Hold(bool),
    /// Images were deleted by hand.
    Deleted,
    /// A tag was moved to another image, or removed.
    TagMoved,
    /// The repository asks for protection tags from now on, or no longer.
    Asked,
}

impl Act {
    pub(in crate::simulation) fn hold(repository: &str, at: i64, is_held: bool) -> Self {
        Self { repository: repository.to_owned(), at, deed: Deed::Hold(is_held) }
    }

    pub(in crate::simulation) fn is_hold_of(&self, repository: &str) -> bool {
        self.repository == repository && matches!(self.deed, Deed::Hold(_))
    }

    pub(in crate::simulation) fn deleted(repository: &str, at: i64) -> Self {
        Self { repository: repository.to_owned(), at, deed: Deed::Deleted }
    }

    pub(in crate::simulation) fn asked(repository: &str, at: i64) -> Self {
        Self { repository: repository.to_owned(), at, deed: Deed::Asked }
    }

    pub(in crate::simulation) fn is_asking_of(&self, repository: &str) -> bool {
        self.repository == repository && self.deed == Deed::Asked
    }

    pub(in crate::simulation) fn tag_moved(repository: &str, at: i64) -> Self {
        Self { repository: repository.to_owned(), at, deed: Deed::TagMoved }
    }
}

impl World {
    pub(in crate::simulation) fn is_held(&self, name: &str) -> bool {
        self.aws.with(|registry| registry.repositories[name].tags.contains_key("hold"))
    }

    /// Whether a repository had the resource tag `hold` before some time.
    pub(super) fn was_held(&self, name: &str, at: i64) -> bool {
        let acts = self.judge.acts.iter().filter(|act| act.repository == name && act.at < at);
        let mut holds = acts.filter_map(|act| match act.deed {
            Deed::Hold(is_held) => Some(is_held),
            Deed::Deleted | Deed::TagMoved | Deed::Asked => None,
        });
        holds.next_back().unwrap_or(false)
    }

    /// Whether a repository had the tag `hold` when the tags were read that decide about its policy: nobody can read them and attach in one
    /// call. They have to be read for this repository alone, after all that was done in others.
    pub(in crate::simulation) fn was_held_for(&self, invocation: &Invocation, name: &str) -> bool {
        let done = invocation.effects.iter().chain(&invocation.attachings);
        let elsewhere = done.filter(|(other, _)| other != name).map(|(_, at)| *at).max();
        match invocation.assigned.get(name) {
            Some(&at) if elsewhere.is_none_or(|done| done <= at) => self.was_held(name, at),
            _ => self.is_held(name),
        }
    }
}
