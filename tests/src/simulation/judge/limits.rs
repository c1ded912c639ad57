//! Judges whether more images are deleted than the limits of a policy and of the registry allow.

use std::collections::BTreeSet;

use tests::ecr_stub::{Image, Repository};

use super::Invocation;
use crate::simulation::engine::children;
use crate::simulation::file::Policy;
use crate::simulation::product;
use crate::simulation::world::{DAY, World, subject_of_tag};

impl World {
    pub(super) fn judge_limits(
        &mut self,
        name: &str,
        policy: &Policy,
        all: &BTreeSet<String>,
        archived: u64,
    ) {
        let Some(mut invocation) = self.invocation.take() else { return };
        let (gone, to_archive) = invocation.gone.entry(name.to_owned()).or_default();
        gone.extend(all.iter().cloned());
        *to_archive += archived;
        let id = if *to_archive > 0 { "C2" } else { "C1" };
        let survey = invocation.first.get(name).map(|(_, first)| first);
        // What was a part once, of what is gone, is an image of its own or none: either count will do.
        let broken = survey.and_then(|survey| {
            let is_whole = |image: &&Image| !image.archived && !is_part(survey, image);
            let whole: Vec<&Image> = survey.images.iter().filter(is_whole).collect();
            let is_gone =
                |image: &&&Image| gone.contains(&image.digest) && !self.judge.parts.contains(&image.digest);
            let gone = whole.iter().filter(is_gone).count() as u64;
            past_a_limit(policy, whole.len() as u64, gone)
        });
        self.invocation = Some(invocation);
        if let Some(broken) = broken {
            self.break_promise(id, &format!("{name}: {broken}"));
        }
    }

    /// Counts images that are deleted, or that ECR is to delete, against the limit of the registry for a day.
    pub(super) fn count(
        &mut self,
        invocation: &Invocation,
        name: &str,
        before: &Repository,
        all: &BTreeSet<String>,
    ) {
        let Some(file) = self.judge.runs.get(&invocation.run).and_then(|run| run.file.as_ref()) else {
            return;
        };
        let day = self.now().div_euclid(DAY);
        let survey = invocation.first.get(name).map_or(before, |(_, first)| first);
        let parts = &self.judge.parts;
        let is_counted = |image: &&Image| {
            all.contains(&image.digest) && !is_part(survey, image) && !parts.contains(&image.digest)
        };
        let counted = before.images.iter().filter(is_counted).count() as u64;
        // A small registry may lose a hundred.
        let limit = file.limits.0.min(100);
        let taken = self.judge.days.entry(day).or_default();
        let was = *taken;
        *taken += counted;
        let taken = *taken;
        if taken > limit && was <= limit {
            let what = format!("{taken} images of the registry went in a day, and its limit is {limit}");
            self.break_promise("C4", &what);
        }
    }
}

/// The limit of a policy that is broken, if one is; `total` is the number of images that can be pulled.
pub(in crate::simulation) fn past_a_limit(policy: &Policy, total: u64, gone: u64) -> Option<String> {
    let left = total.saturating_sub(gone);
    if gone > policy.images {
        Some(format!("{gone} images went, and the limit is {}", policy.images))
    } else if gone * 100 > policy.percent * total {
        Some(format!(
            "{gone} of {total} images that can be pulled went, and the limit is {} percent",
            policy.percent
        ))
    } else if gone > 0 && left < policy.remaining {
        Some(format!("{left} images that can be pulled are left, and the limit is {}", policy.remaining))
    } else {
        None
    }
}

/// Whether an image is only a part of another: a child of an index, or a referrer.
pub(in crate::simulation) fn is_part(repository: &Repository, image: &Image) -> bool {
    let is_there = |digest: &str| repository.images.iter().any(|other| other.digest == digest);
    // With a name of its own it is an image besides.
    let is_about = |tag: &String| subject_of_tag(tag).is_some_and(|subject| is_there(&subject));
    let mut names = image.tags.iter().filter(|tag| !product::is_own(tag)).peekable();
    image.subject.as_deref().is_some_and(is_there)
        || (names.peek().is_some() && names.all(is_about))
        || repository.images.iter().any(|other| children(other).contains(&image.digest))
}
