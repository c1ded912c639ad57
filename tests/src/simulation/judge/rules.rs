//! Judges whether images may be deleted: by the policies file, the policy, the switch and the journal.

use std::collections::BTreeSet;

use serde_json::Value;
use shared::domain::lifecycle::LifecyclePolicy;
use tests::cloud::BUCKET;
use tests::ecr_stub::{Image, Repository};

use super::acts::{Act, Deed};
use super::{Invocation, Judged};
use crate::simulation::engine;
use crate::simulation::file::{Apply, File, Policy};
use crate::simulation::product;
use crate::simulation::protection::{RECORDS, takings};
use crate::simulation::world::{World, closure, short, subject_of_tag};

/// By which policy images of a repository are deleted.
struct Basis {
    rules: LifecyclePolicy,
    /// The policy with the limits.
    policy: Policy,
    /// Whether ECR itself expires what was never protected.
    is_by_ecr: bool,
}

impl World {
    /// Judges whether these images may be deleted, by the file, the limits, the switch and the journal.
    pub(super) fn judge_rules(
        &mut self,
        name: &str,
        before: &Repository,
        all: &BTreeSet<String>,
        archived: &BTreeSet<String>,
    ) {
        let Some(invocation) = self.invocation.clone() else { return };
        let Some(run) = self.judge.runs.get(&invocation.run).cloned() else { return };
        let Some(file) = run.file.clone() else { return };
        let key = invocation.key.clone().unwrap_or_default();
        let is_stale = run.writers.get(&key).is_some_and(|attempt| *attempt < run.attempt);
        self.judge_run(name, &invocation, &run, &file);
        if is_stale {
            self.break_promise(
                "C7",
                &format!("{name}: images go by {key}, of an inventory that was given up"),
            );
        }
        if !invocation.file.is_same(&file) {
            self.break_promise("C5", &format!("{name}: images go by a file that was changed before"));
        }
        // What decides is read once, before the first effect.
        let assigned_at = invocation.assigned.get(name).copied().unwrap_or_else(|| invocation.read_at(name));
        let assigned = file.policy_of(name, self.was_held(name, assigned_at));
        let Some(basis) = self.basis(name, assigned, &run, before) else {
            if !is_stale {
                self.break_promise("C6", &format!("{name}: nothing is to be deleted there"));
            }
            return;
        };
        self.judge_policy(name, before, all, &basis, &invocation);
        self.judge_journal(name, all, archived);
        self.judge_limits(name, &basis.policy, all, archived.len() as u64);
        self.count(&invocation, name, before, all);
    }

    /// Judges whether a run may delete at all: it is no dry run, deletion is enabled, and its file is valid and was previewed.
    fn judge_run(&mut self, name: &str, invocation: &Invocation, run: &Judged, file: &File) {
        if run.is_dry || run.protects_only {
            self.break_promise("C8", &format!("{name}: images go in a dry run"));
        }
        if !invocation.is_on {
            self.break_promise("C8", &format!("{name}: images go though Enforce is off"));
        }
        if file.is_broken {
            self.break_promise("invalid", &format!("{name}: images go by a file that is not valid"));
        }
        if !file.is_approved && !self.judge.previewed.iter().any(|other| other.is_same(file)) {
            self.break_promise(
                "C4b",
                &format!("{name}: images go by a file that no completed run previewed"),
            );
        }
    }

    /// Judges whether the policy of a repository expires these images, as they were right before.
    fn judge_policy(
        &mut self,
        name: &str,
        before: &Repository,
        all: &BTreeSet<String>,
        basis: &Basis,
        invocation: &Invocation,
    ) {
        // What the policy expires of what there is: the plan may not rest on what is not there any more.
        let by_policy = takings(&basis.rules, before, self.now());
        // A referrer is deleted with its subject.
        let follows = |digest: &str| {
            let image = before.images.iter().find(|image| image.digest == digest);
            let by_tag = |image: &Image| image.tags.iter().find_map(|tag| subject_of_tag(tag));
            let subject = image.and_then(|image| image.subject.clone().or_else(|| by_tag(image)));
            subject.is_some_and(|subject| {
                by_policy.contains(&subject) || !before.images.iter().any(|image| image.digest == subject)
            })
        };
        let is_too_much = |digest: &&String| !by_policy.contains(*digest) && !follows(digest);
        // What never was protected ECR expires itself.
        if basis.is_by_ecr
            && let Some(digest) = all.iter().find(|digest| !self.was_protected(name, before, digest))
        {
            let what =
                format!("{name}@{} goes by this project, though nothing of it was protected", short(digest));
            self.break_promise("own-path", &what);
        }
        let too_much: Vec<&String> = all.iter().filter(is_too_much).collect();
        if let Some(digest) = too_much.first() {
            let read_at = invocation.read_at(name);
            let seen = invocation.described.get(name).copied().unwrap_or(read_at);
            let acts = |deed| {
                let of = move |act: &&Act| act.repository == name && act.deed == deed && act.at >= read_at;
                self.judge.acts.iter().filter(of).map(|act| act.at)
            };
            let by_hand = acts(Deed::Deleted).min();
            // Between the last look at the repository and the deletion anybody may move a tag.
            let is_moved_since = acts(Deed::TagMoved).any(|at| at >= seen);
            match by_hand {
                Some(at) if at <= seen => {
                    let what = format!(
                        "{name}@{} goes, though the policy takes it no more: newer ones were deleted by hand",
                        short(digest)
                    );
                    self.break_promise("B14", &what);
                }
                Some(_) => {}
                None if is_moved_since => {}
                None => {
                    let what = format!("{name}@{} goes, and the policy does not take it", short(digest));
                    self.break_promise("not-by-policy", &what);
                }
            }
        }
    }

    /// Judges whether images are in the journal before they are deleted.
    fn judge_journal(&mut self, name: &str, all: &BTreeSet<String>, archived: &BTreeSet<String>) {
        for digest in all {
            if !self.judge.journal.contains(&(name.to_owned(), digest.clone())) {
                let id = if archived.contains(digest) { "C2" } else { "journal" };
                self.break_promise(id, &format!("{name}@{} is not in the journal", short(digest)));
                break;
            }
        }
    }

    /// By which policy images of a repository may be deleted, if any may.
    fn basis(
        &self,
        name: &str,
        assigned: Option<&Policy>,
        run: &Judged,
        before: &Repository,
    ) -> Option<Basis> {
        let attached = before.lifecycle_policy.as_deref();
        let somebody_s = |policy: Policy| {
            let text = attached.filter(|text| engine::is_guarded(text))?;
            let recorded = || product::attached(&self.recorded(name)?);
            let rules = if engine::takes_nothing(text) { recorded()? } else { engine::unguarded(text)? };
            Some(Basis { rules, policy, is_by_ecr: true })
        };
        let is_asked = run.asking.contains(name) || self.asking().contains(name);
        match assigned {
            Some(policy) if policy.apply == Apply::Delete => {
                Some(Basis { rules: policy.lifecycle_policy(), policy: policy.clone(), is_by_ecr: false })
            }
            Some(policy) if policy.apply == Apply::Attach => {
                Some(Basis { rules: policy.lifecycle_policy(), policy: policy.clone(), is_by_ecr: true })
            }
            Some(policy) if policy.apply == Apply::Protect => somebody_s(policy.clone()),
            _ if is_asked || self.recorded(name).is_some() => {
                somebody_s(Policy::new("none", "", Apply::Protect, ""))
            }
            _ => None,
        }
    }

    /// The policy in the record of a repository that was made with one.
    fn recorded(&self, name: &str) -> Option<String> {
        let key = format!("{BUCKET}/{RECORDS}{name}.json");
        let text = self.aws.cloud(|cloud| cloud.object_text(&key))?;
        let record: Value = serde_json::from_str(&text).ok()?;
        let policy = record["lifecyclePolicyText"].as_str()?.to_owned();
        (record["mode"] == "provisioned").then_some(policy)
    }

    /// Whether an image, or something that belongs together with it, has or had a protection tag.
    fn was_protected(&self, name: &str, before: &Repository, digest: &str) -> bool {
        let has = |image: &Image| {
            image.tags.iter().any(|tag| product::is_own(tag))
                || self.judge.protection.tagged.contains(&(name.to_owned(), image.digest.clone()))
        };
        let family = closure(before, &BTreeSet::from([digest.to_owned()]));
        // Of what belonged to something that is gone already only this is left.
        self.judge.parts.contains(digest)
            || before.images.iter().any(|image| family.contains(&image.digest) && has(image))
    }
}
