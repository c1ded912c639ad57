//! Judges whether an image is deleted that is in use, and which promise that breaks.

use std::collections::BTreeSet;

use tests::ecr_stub::Repository;

use super::{How, Late, Verdict};
use crate::simulation::world::{By, DAY, Listing, MINUTE, Use, World, closure, short, subject_of_tag};

impl World {
    /// Judges whether one of the images that are deleted is in use.
    pub(in crate::simulation) fn judge_use(
        &mut self,
        name: &str,
        before: &Repository,
        all: &BTreeSet<String>,
        how: How,
    ) {
        let now = self.now();
        if how != How::Imagined {
            self.judge.gone.extend(all.iter().map(|digest| ((name.to_owned(), digest.clone()), now)));
        }
        let mut reported = BTreeSet::new();
        for mut one in self.truth.uses().into_iter().filter(|one| one.repository == name) {
            // What is deleted already was judged then.
            if !before.images.iter().any(|image| image.digest == one.digest && !image.archived) {
                continue;
            }
            let needed = closure(before, &BTreeSet::from([one.digest.clone()]));
            let Some(missing) = all.iter().find(|digest| needed.contains(*digest)) else { continue };
            // It belongs to what is in use since it was pushed.
            let pushed =
                before.images.iter().find(|image| image.digest == *missing).map(|image| image.pushed_at);
            #[expect(clippy::cast_possible_truncation, reason = "a time of this century")]
            let pushed = pushed.map_or(0, |at| (at * 1e6) as i64);
            one.since = one.since.max(pushed);
            let verdict = match how {
                How::Engine | How::Imagined => self.verdict_on_engine(before, &one, missing),
                How::Taken => self.verdict_on_run(before, &one, missing),
            };
            match verdict {
                Verdict::Late | Verdict::Excused if how == How::Imagined => continue,
                Verdict::Late => {
                    self.say(&format!("  {}@{} came into use too late to be seen", name, short(missing)));
                    for digest in needed.intersection(all) {
                        let image = (name.to_owned(), digest.clone());
                        let is_hourly = self.judge.last_run.is_some_and(|began| now - began < 65 * MINUTE);
                        let since = if how == How::Taken { one.since } else { self.since(before, &one) };
                        let late = Late { window: now - since, is_owed: how == How::Taken, is_hourly };
                        self.judge.late.insert(image, late);
                    }
                    continue;
                }
                Verdict::Broken(_) if how == How::Imagined => {}
                Verdict::Broken(_) | Verdict::Excused => {
                    let accused = needed.intersection(all).map(|digest| (name.to_owned(), digest.clone()));
                    self.judge.accused.extend(accused);
                }
            }
            if let Verdict::Broken(id) = verdict
                && reported.insert(id)
            {
                let what = format!(
                    "{name}@{} goes, and {} needs it ({:?} of {}, since {} minutes)",
                    short(missing),
                    one.who,
                    one.by,
                    short(&one.digest),
                    (now - one.since) / 60_000_000,
                );
                self.break_promise(id, &what);
            }
        }
    }

    /// The verdict on something in use that a run deleted.
    fn verdict_on_run(&self, before: &Repository, one: &Use, missing: &str) -> Verdict {
        let Some(invocation) = &self.invocation else { return Verdict::Excused };
        let look = invocation.look(one.by);
        if one.since < look {
            return self.cause(before, one, missing, look).map_or(Verdict::Excused, Verdict::Broken);
        }
        // A look is for one repository, so that it is taken after the last effect in another.
        let elsewhere = invocation.effects.iter().rev().find(|(other, _)| *other != one.repository);
        let right = elsewhere.map_or(look, |(_, at)| *at);
        if one.since <= right { Verdict::Broken("B10") } else { Verdict::Late }
    }

    /// The kind of promise that is broken where something is deleted that was in use at a look.
    pub(in crate::simulation) fn cause(
        &self,
        before: &Repository,
        one: &Use,
        missing: &str,
        look: i64,
    ) -> Option<&'static str> {
        let id = match one.by {
            By::Pin | By::Rollback => return Some("B1"),
            By::Task => "in-use-task",
            By::Function => "in-use-function",
            By::Pod(cluster) => match self.cause_of_list(before, one, cluster, look)? {
                "in-use-pod" => "in-use-pod",
                id => return Some(id),
            },
        };
        if missing == one.digest {
            return Some(id);
        }
        let image = before.images.iter().find(|image| image.digest == missing)?;
        if image.tags.iter().any(|tag| subject_of_tag(tag).is_some()) {
            return Some("B7");
        }
        let is_subject = before.images.iter().any(|other| other.subject.as_deref() == Some(missing));
        Some(if is_subject { "B8" } else { "closure" })
    }

    /// The same for what a list has to report; `None` where nobody promises that it does.
    fn cause_of_list(
        &self,
        before: &Repository,
        one: &Use,
        cluster: usize,
        look: i64,
    ) -> Option<&'static str> {
        // What was there at the look, by its last change before.
        let seen: Vec<(i64, Listing)> =
            self.lists[cluster].iter().take_while(|(at, _)| *at <= look).copied().collect();
        let written = match seen.last() {
            // Of a list that no run ever saw nobody can tell that it is lost.
            None | Some((_, Listing::Gone)) => return self.judge.known.contains(&cluster).then_some("B9"),
            Some((_, Listing::Blind)) => {
                let blind = seen.iter().rev().take_while(|(_, listing)| *listing == Listing::Blind);
                let blind_since = blind.last().map_or(look, |(at, _)| *at);
                // After a day what a list says is true; and of one that named nothing before nobody can tell that it shrank.
                let is_remembered = self.judge.remembered.get(&cluster).is_some_and(|at| look - at < 6 * DAY);
                if one.since < seen.last().map_or(look, |(at, _)| *at) {
                    return (look - blind_since < DAY && is_remembered).then_some("B9");
                }
                seen.last().map_or(look, |(at, _)| *at)
            }
            Some((at, Listing::True)) => *at,
        };
        if one.since < written {
            return Some("in-use-pod");
        }
        // A list that is older than a day tells nothing.
        if look - written > DAY {
            return Some("B9");
        }
        let image = before.images.iter().find(|image| image.digest == one.digest)?;
        #[expect(clippy::cast_possible_truncation, reason = "a time of this century")]
        let pulled = image.last_pulled_at.map(|at| (at * 1e6) as i64);
        // A cached image starts without a pull, which README says.
        pulled.is_some_and(|pulled| pulled > written - DAY).then_some("B4")
    }
}
