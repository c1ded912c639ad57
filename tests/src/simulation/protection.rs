//! Judges what ECR's own engine does and would do by the policies that are attached, and what this project does so that the
//! engine leaves alone what is in use: protection tags, suspended policies, and records of both.
//!
//! What is promised:
//!
//! - The engine takes nothing whose use began before the last refresh: the look that the repository's record tells of.
//! - By a policy of ours it takes only what the policy of the file takes, whether protection tags are tags or not; never an
//!   image that this project gave a protection tag; and what it took at the time of the look is in the journal, and within
//!   the limits.
//! - After something uncertain (a gap, a failed call, an invalid file, `Enforce` off, a policy that is withdrawn, no run for
//!   two days) a policy of ours takes nothing, until a run that is certain puts it back.
//! - A policy of somebody else's is never replaced without being in the journal, and never where the file says `protect`.
//!
//! Use that began later is counted, by the length of its window. A policy of somebody else's that does not begin with the
//! protection rule is theirs to know.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use shared::domain::lifecycle::LifecyclePolicy;
use tests::cloud::BUCKET;
use tests::ecr_stub::Repository;
use tests::reference::Acted;

use super::engine;
use super::file::{Apply, Policy};
use super::judge::{How, Invocation, Judge, Judged, Verdict, is_part, past_a_limit, shortened};
use super::product;
use super::world::{By, HOUR, PROTECT_TAG, REPOSITORIES, Use, World, closure, short};

/// The keys of the records begin so.
pub(super) const RECORDS: &str = "state/protection/";
/// So old protection tags may be before the switch suspends.
const SWITCH: i64 = 48 * HOUR;
/// The repository that was made with a policy.
const PROVISIONED: &str = "prv/app";

/// A policy that this project attached, as long as it is the one that is attached.
#[derive(Debug, Clone)]
pub(super) struct Attached {
    pub(super) text: String,
    /// The policy of the file behind it; none for one that a repository was made with.
    pub(super) policy: Option<Policy>,
    /// Since when, and by which invocation.
    pub(super) at: i64,
    pub(super) by: String,
}

/// The last time that the protection tags of a repository were made right.
#[derive(Debug, Clone)]
struct Refresh {
    /// When the record says that use was read.
    at: i64,
    looks: BTreeMap<&'static str, i64>,
    began: i64,
}

/// What is known of protection.
#[derive(Debug, Default)]
pub(super) struct Protection {
    refreshed: BTreeMap<String, Refresh>,
    /// What records say that there are.
    pub(super) claimed: BTreeMap<String, i64>,
    /// When the last run began that went well from its beginning to its end, for each repository that it had to protect.
    seen: BTreeMap<String, i64>,
    /// When a policy was suspended last, and by which invocation.
    suspended: BTreeMap<String, (i64, String)>,
    /// The runs that put a policy back which somebody suspended after they looked at use: that has to be suspended again, or
    /// rest on another look.
    raced: BTreeMap<String, String>,
    /// The runs, each with a repository, that told that a policy could not be suspended, since calls for it failed.
    unsuspended: BTreeSet<(String, String)>,
    /// Images that this project gave a protection tag.
    pub(super) tagged: BTreeSet<(String, String)>,
    /// When somebody took the protection tag off an image.
    loosened: BTreeMap<(String, String), i64>,
    /// Images that are in the journal as what ECR takes.
    planned: BTreeSet<(String, String)>,
    /// Policies of somebody else's that are in the journal.
    replaced: BTreeSet<(String, String)>,
}

impl Judge {
    /// Somebody took the protection tag off an image.
    pub(super) fn loosen(&mut self, name: &str, digest: &str, at: i64) {
        let image = (name.to_owned(), digest.to_owned());
        self.protection.tagged.remove(&image);
        self.protection.loosened.insert(image, at);
    }

    /// A plan behind an attached policy is in the journal; whether it was not before.
    pub(super) fn plan(&mut self, name: String, digest: String) -> bool {
        self.protection.planned.insert((name, digest))
    }
}

impl World {
    /// Whether the repository is one that the present file, its tag or its record has protected.
    fn is_protected(&self, name: &str) -> bool {
        let tags = self.aws.with(|registry| registry.repositories[name].tags.clone());
        self.is_protected_unasked(name) || tags.get(PROTECT_TAG).is_some_and(|value| value == "true")
    }

    /// The same whether or not its tag asks for it.
    fn is_protected_unasked(&self, name: &str) -> bool {
        let policy = self.file.policy_of(name, self.is_held(name));
        let is_by_file = policy.is_some_and(|policy| matches!(policy.apply, Apply::Attach | Apply::Protect));
        is_by_file || name == PROVISIONED
    }

    /// Whether a run had to protect the repository from its beginning to its end. Who asks for it meanwhile may not be seen.
    fn had_to_protect(&self, run: &Judged, name: &str) -> bool {
        let is_asked_for = run.asking.contains(name)
            && !self.judge.acts.iter().any(|act| act.is_asking_of(name) && act.at >= run.began);
        self.is_protected_unasked(name) || is_asked_for
    }

    /// The policy that is attached, if it is one of ours that acts.
    fn acting(&self, name: &str) -> Option<&Attached> {
        self.judge.attached.get(name).filter(|attached| !engine::takes_nothing(&attached.text))
    }

    /// Whether it is the file's, and not one that the repository was made with.
    fn acts_for_the_file(&self, name: &str) -> bool {
        self.acting(name).is_some_and(|attached| attached.policy.is_some())
    }

    /// A call of ours that had its effect attached a policy.
    pub(super) fn note_policy(
        &mut self,
        invocation: &mut Invocation,
        name: &str,
        asked: &Value,
        before: &Repository,
    ) {
        let now = self.now();
        let text = asked["lifecyclePolicyText"].as_str().unwrap_or_default().to_owned();
        let is_suspension = engine::takes_nothing(&text);
        let was_ours = self.judge.attached.get(name).cloned();
        let run = self.judge.runs.get(&invocation.run).cloned();
        let file = run.as_ref().and_then(|run| run.file.clone());
        let is_held = self.was_held_for(invocation, name);
        let policy = file.as_ref().and_then(|file| file.policy_of(name, is_held)).cloned();
        invocation.attachings.push((name.to_owned(), now));
        let rules = product::attached(&text).map_or(0, |policy| policy.rules().len());
        let what = if is_suspension {
            "suspends the policy of".to_owned()
        } else {
            format!("attaches {rules} rules to")
        };
        self.say(&format!("{}: {what} {name}", invocation.run));
        // ECR replaces whatever is there: what somebody attaches between two calls goes unseen.
        let is_seen = invocation.policies.get(name) > self.judge.foreign.get(name);
        if was_ours.is_none()
            && is_seen
            && let Some(foreign) = &before.lifecycle_policy
        {
            if !self.judge.protection.replaced.contains(&(name.to_owned(), foreign.clone())) {
                self.break_promise(
                    "A11",
                    &format!("{name}: a policy of somebody else's is replaced, and not in the journal"),
                );
            }
            // Whoever may not read the tags does not know which policy is for it.
            let is_known = !run.as_ref().is_some_and(|run| run.faulted.contains("ListTagsForResource"))
                && !file.as_ref().is_some_and(|file| file.is_broken);
            if is_known && policy.as_ref().is_some_and(|policy| policy.apply == Apply::Protect) {
                self.break_promise(
                    "protect-writes",
                    &format!("{name}: the file says protect, and the policy is replaced"),
                );
            }
        }
        let is_by_file = policy.as_ref().is_some_and(|policy| policy.apply == Apply::Attach);
        if is_suspension {
            self.judge.protection.suspended.insert(name.to_owned(), (now, invocation.id.clone()));
            self.judge.protection.raced.remove(name);
        } else {
            self.judge_attaching(invocation, name, is_by_file);
        }
        let policy = match was_ours {
            Some(attached) if is_suspension => attached.policy,
            _ => policy.filter(|_| is_by_file),
        };
        let by = invocation.id.clone();
        self.judge.attached.insert(name.to_owned(), Attached { text, policy, at: now, by });
    }

    /// Whether a policy that acts may be attached.
    fn judge_attaching(&mut self, invocation: &Invocation, name: &str, is_by_file: bool) {
        let looked = invocation.looks.values().min().copied().unwrap_or(invocation.began);
        // A call that is under way arrives whatever others do meanwhile: ECR attaches without a condition.
        if let Some((at, by)) = self.judge.protection.suspended.get(name)
            && *by != invocation.id
            && *at > looked
        {
            self.judge.protection.raced.insert(name.to_owned(), invocation.run.clone());
        }
        let run = self.judge.runs.get(&invocation.run).cloned();
        let Some((run, file)) = run.and_then(|run| Some((run.clone(), run.file?))) else {
            return self.break_promise("attach", &format!("{name}: a policy is attached by no run"));
        };
        let mut broken = Vec::new();
        // The policy that a repository was made with does not wait for a policies file.
        let is_made = !is_by_file && name == PROVISIONED;
        if run.is_dry || (run.protects_only && !is_made) {
            broken.push(("C8", "by a run that does not enforce"));
        }
        if !invocation.is_on {
            broken.push(("C8", "though Enforce is off"));
        }
        if !is_made {
            if file.is_broken {
                broken.push(("invalid", "by a file that is not valid"));
            }
            if !file.is_approved && !self.judge.previewed.iter().any(|other| other.is_same(&file)) {
                broken.push(("C4b", "by a file that no completed run previewed"));
            }
            if !invocation.file.is_same(&file) {
                broken.push(("C5", "by a file that was changed before"));
            }
            if !is_by_file {
                broken.push(("A8", "where the file does not say so"));
            }
        }
        for (id, why) in broken {
            self.break_promise(id, &format!("{name}: a policy is attached {why}"));
        }
    }

    /// A call of ours that had its effect gave an image a tag.
    pub(super) fn note_tag(
        &mut self,
        invocation: &Invocation,
        name: &str,
        asked: &Value,
        before: &Repository,
    ) {
        let Some(tag) = asked["imageTag"].as_str().filter(|tag| tag.starts_with(engine::IN_USE)) else {
            return;
        };
        let holds = |image: &&tests::ecr_stub::Image| image.tags.contains(tag);
        let after = self.repository(name);
        let Some(holder) = after.images.iter().find(holds) else { return };
        let hex = holder.digest.trim_start_matches("sha256:").to_owned();
        let digest = holder.digest.clone();
        self.judge.protection.tagged.insert((name.to_owned(), digest.clone()));
        if !tag.contains(&hex) {
            self.break_promise(
                "wrong-tag",
                &format!("{name}@{}: it gets the protection tag of another", short(&digest)),
            );
        }
        let holder_as_read =
            invocation.surveys.get(name).and_then(|(_, then)| then.images.iter().find(holds));
        if let Some(loser) = before.images.iter().find(holds)
            && loser.digest != digest
            && holder_as_read.is_some_and(|seen| seen.digest == loser.digest)
        {
            let what = format!("{name}@{} loses a tag that {} gets", short(&loser.digest), short(&digest));
            self.break_promise("moves-tag", &what);
        }
    }

    /// A record of a repository whose policy ECR enforces was written.
    pub(super) fn note_record(&mut self, invocation: &mut Invocation, name: &str, text: &str) {
        let record: Value = serde_json::from_str(text).unwrap_or_default();
        let Some(at) = record["refreshedAt"].as_str().and_then(product::micros) else {
            return self
                .break_promise("record", &format!("{name}: its record does not say when it was refreshed"));
        };
        let reason = record["suspended"]["reason"].as_str().map(|reason| format!(", suspended: {reason}"));
        let mode = record["mode"].as_str().unwrap_or_default();
        self.say(&format!("{}: record of {name}: {mode}{}", invocation.run, reason.unwrap_or_default()));
        let claimed = self.judge.protection.claimed.insert(name.to_owned(), at);
        // While it is suspended nothing goes by the tags; and who never was certain says that they never were right.
        if claimed == Some(at) || record["suspended"].is_object() || at == 0 {
            return;
        }
        let looks = ["tasks", "services", "functions", "lists"];
        if let Some(source) =
            looks.into_iter().find(|source| invocation.looks.get(source).is_none_or(|look| *look < at))
        {
            let what = format!(
                "{name}: its record says that it was refreshed, and {source} were not looked at then"
            );
            self.break_promise("record", &what);
        }
        let suspended = self.judge.protection.suspended.get(name).map_or(i64::MIN, |(at, _)| *at);
        if invocation.looks.values().all(|look| *look > suspended) {
            self.judge.protection.raced.remove(name);
        }
        invocation.refreshed.insert(name.to_owned());
        let refresh = Refresh { at, looks: invocation.looks.clone(), began: invocation.began };
        self.judge.protection.refreshed.insert(name.to_owned(), refresh);
    }

    /// A policy that is to be replaced was written down.
    pub(super) fn note_replaced(&mut self, line: &Value) {
        let name = line["repositoryName"].as_str().unwrap_or_default().to_owned();
        let text = line["lifecyclePolicyText"].as_str().unwrap_or_default().to_owned();
        self.judge.protection.replaced.insert((name, text));
    }

    /// What a run says of a repository that ECR's engine works on: it has to be true.
    pub(super) fn judge_outcome(&mut self, invocation: &Invocation, line: &Value) {
        let name = line["repositoryName"].as_str().unwrap_or_default().to_owned();
        let status = line["status"].as_str().unwrap_or_default();
        let Some(run) = self.judge.runs.get(&invocation.run).cloned().filter(|run| !run.is_dry) else {
            return;
        };
        let blockers = line["blockers"].as_array().into_iter().flatten();
        let codes: Vec<&str> = blockers.filter_map(|blocker| blocker["code"].as_str()).collect();
        let writes = ["PutLifecyclePolicy", "GetLifecyclePolicy", "PutObject", "GetObject"];
        let is_cut_off = writes.iter().any(|call| invocation.faulted.contains(*call));
        if codes.contains(&"policy-not-suspended") && is_cut_off {
            let reported = (invocation.run.clone(), name.clone());
            self.judge.protection.unsuspended.insert(reported);
        }
        let Some(attached) = self.acting(&name).cloned() else { return };
        self.judge_race(&invocation.run, &name);
        // What another run attached meanwhile it did by a look of its own.
        if attached.at > invocation.began && attached.by != invocation.id {
            return;
        }
        // What somebody else's run did since is theirs.
        if self.judge.protection.refreshed.get(&name).is_some_and(|refresh| refresh.began > invocation.began)
        {
            return;
        }
        // A file that nobody has seen the effect of yet leaves what is attached as it is.
        let is_new = codes.iter().any(|code| code.starts_with("policies-file"));
        // What was certain at one look and is not at the next one is as fresh as the first.
        let is_fresh = invocation.refreshed.contains(&name);
        if status == "BLOCKED" && !is_new && !is_fresh {
            let what = format!("{name}: {} is in the way, and the attached policy goes on", codes.join(", "));
            self.break_promise("A8", &what);
        }
        // What fails after the refresh leaves tags that are right.
        if status == "FAILED" && !is_fresh && !is_cut_off {
            let error = line["error"].as_str().unwrap_or_default();
            self.break_promise(
                "A2",
                &format!("{name}: a call failed, and the attached policy goes on: {error}"),
            );
        }
        if status == "DONE" && !run.protects_only {
            self.judge_plan(invocation, &name, &attached);
            self.judge_holders(invocation, &name);
        }
    }

    /// Whether nobody has the protection tag that an image in use wants: then the policy may not act.
    fn judge_holders(&mut self, invocation: &Invocation, name: &str) {
        let Some((_, first)) = invocation.first.get(name) else { return };
        let Some(at) = self.judge.protection.refreshed.get(name).map(|refresh| refresh.at) else { return };
        let uses = self.truth.uses();
        let is_seen = |one: &&Use| one.repository == name && !matches!(one.by, By::Pod(_)) && one.since < at;
        let holder = uses.iter().filter(is_seen).find_map(|one| {
            let tag = format!("{}{}", engine::IN_USE, one.digest.trim_start_matches("sha256:"));
            let has_tag = |repository: &Repository| {
                let image = repository.images.iter().find(|image| image.tags.contains(&tag))?;
                let is_there = repository.images.iter().any(|image| image.digest == one.digest);
                (is_there && image.digest != one.digest).then(|| image.digest.clone())
            };
            has_tag(first).filter(|_| has_tag(&self.repository(name)).is_some())
        });
        if let Some(holder) = holder {
            let what =
                format!("{name}@{} has the tag of what is in use, and the policy goes on", short(&holder));
            self.break_promise("A9", &what);
        }
    }

    /// Whether what ECR takes of what was looked at is written down and within the limits.
    fn judge_plan(&mut self, invocation: &Invocation, name: &str, attached: &Attached) {
        let Some(behind) = product::attached(&attached.text) else { return };
        let Some((at, first)) = invocation.first.get(name).cloned() else { return };
        // Protection tags of now, on what was there then.
        let now = self.repository(name);
        let mut tagged = first.clone();
        // What is gone since takes no place in any count of ECR's. What an image index listed goes after it, as the plan said.
        let is_there = |digest: &String| now.images.iter().any(|image| image.digest == *digest);
        tagged.images.retain(|image| is_there(&image.digest) || !engine::children(image).is_empty());
        for image in &mut tagged.images {
            let own = now.images.iter().find(|other| other.digest == image.digest).into_iter();
            image.tags.extend(own.flat_map(|image| &image.tags).filter(|tag| product::is_own(tag)).cloned());
        }
        let ways = [false, true].map(|is_ranked| engine::taken(&behind, &tagged, at, is_ranked, |_| true));
        // What ECR takes in the one reading only may be planned or not; and what was deleted meanwhile ECR does not take.
        let taken = ways[0].keys().filter(|digest| ways[1].contains_key(*digest) && is_there(digest));
        let taken: BTreeSet<String> = taken.cloned().collect();
        let is_written =
            |digest: &&String| self.judge.protection.planned.contains(&(name.to_owned(), (*digest).clone()));
        // Nobody could plan for what somebody took the protection tag off after the look; the next run does.
        let is_loosened = |digest: &&String| {
            closure(&first, &BTreeSet::from([(*digest).clone()])).into_iter().any(|digest| {
                let loosened = self.judge.protection.loosened.get(&(name.to_owned(), digest));
                loosened.is_some_and(|loosened| *loosened >= at)
            })
        };
        if let Some(digest) = taken.iter().find(|digest| !is_written(digest) && !is_loosened(digest)) {
            let what = format!("{name}@{}: ECR takes it, and the journal does not say so", short(digest));
            self.break_promise("unplanned", &what);
        }
        let run = self.judge.runs.get(&invocation.run);
        let file = run.and_then(|run| run.file.as_ref());
        let Some(policy) = file.and_then(|file| file.policy_of(name, self.is_held(name))).cloned() else {
            return;
        };
        if policy.apply != Apply::Attach {
            return;
        }
        let gone = invocation.gone.get(name).map(|(gone, _)| gone.clone()).unwrap_or_default();
        let goes = |digest: &str| gone.contains(digest) || taken.contains(digest);
        let whole = first.images.iter().filter(|image| !image.archived && !is_part(&first, image));
        let (mut total, mut going) = (0, 0);
        for image in whole {
            total += 1;
            going += u64::from(goes(&image.digest) && !self.judge.parts.contains(&image.digest));
        }
        if let Some(broken) = past_a_limit(&policy, total, going) {
            self.break_promise("A-limit", &format!("{name}: ECR is about to take more than that: {broken}"));
        }
    }

    /// Judges whether a policy keeps acting that a run put back after somebody suspended it, who may know what the run does not.
    fn judge_race(&mut self, run: &str, name: &str) {
        if self.judge.protection.raced.get(name).is_none_or(|by| by != run) {
            return;
        }
        self.judge.protection.raced.remove(name);
        let is_reported = self.judge.protection.unsuspended.contains(&(run.to_owned(), name.to_owned()));
        if self.acting(name).is_some() && !is_reported {
            let what = format!("{name}: a policy is put back that was suspended after use was looked at");
            self.break_promise("lift-race", &what);
        }
    }

    /// A run has ended, well or not.
    pub(super) fn end_run(&mut self, id: &str, is_complete: bool) {
        self.judge.running.remove(id);
        for name in REPOSITORIES {
            self.judge_race(id, name);
        }
        let Some(run) = self.judge.runs.get(id).cloned().filter(|run| !run.is_dry) else { return };
        let file = run.file.clone().filter(|file| !file.is_broken);
        // What changed meanwhile may have been seen, or not.
        let is_same_file =
            file.as_ref().is_some_and(|file| file.is_same(&self.file)) && self.file_since < run.began;
        if !is_complete || !is_same_file {
            return self.judge_what_would_go();
        }
        for name in REPOSITORIES {
            if self.judge.acts.iter().any(|act| act.is_hold_of(name) && act.at >= run.began) {
                continue;
            }
            let policy = self.file.policy_of(name, self.is_held(name)).cloned();
            // Where it says protect, what is attached is somebody else's from now on.
            let is_attach =
                policy.is_some_and(|policy| matches!(policy.apply, Apply::Attach | Apply::Protect));
            // What may neither be read nor be written nobody can suspend: the run says so.
            let is_reported = self.judge.protection.unsuspended.contains(&(id.to_owned(), name.to_owned()));
            if self.acts_for_the_file(name) && !is_reported {
                if !is_attach {
                    self.break_promise(
                        "A8",
                        &format!("{name}: the attached policy goes on though the file says so no more"),
                    );
                }
                if !self.is_enforcing && self.enforce_since < run.began {
                    self.break_promise(
                        "A8",
                        &format!("{name}: the attached policy goes on though Enforce is off"),
                    );
                }
            }
            if run.is_fair && self.had_to_protect(&run, name) {
                self.judge.protection.seen.insert(name.to_owned(), run.began);
                if run.is_alone {
                    self.judge_freshness(name, run.began);
                }
            }
        }
        self.judge_what_would_go();
    }

    /// After a run that went well tags are as new as that, by the record.
    fn judge_freshness(&mut self, name: &str, began: i64) {
        if self.acting(name).is_none_or(|attached| attached.at > began) {
            return;
        }
        if self.judge.protection.refreshed.get(name).is_none_or(|refresh| refresh.at < began) {
            let what =
                format!("{name}: a run went well, and the record does not say that tags were refreshed");
            self.break_promise("not-refreshed", &what);
        }
    }

    /// The engine acts at any moment: also now, and until the switch.
    fn judge_what_would_go(&mut self) {
        for name in REPOSITORIES {
            let repository = self.repository(name);
            let Some(text) = &repository.lifecycle_policy else { continue };
            let Some(policy) = product::attached(text) else { continue };
            let later = self.now() + SWITCH;
            let acted = engine::taken(&policy, &repository, later, self.is_ranked, |_| true);
            let going: BTreeSet<String> = acted.into_keys().collect();
            self.judge_use(name, &repository, &going, How::Imagined);
        }
    }

    /// The switch was invoked, and that went well or not.
    pub(super) fn end_switch(&mut self, is_done: bool) {
        let Some(began) = self.invocation.as_ref().map(|invocation| invocation.began).filter(|_| is_done)
        else {
            return;
        };
        for name in REPOSITORIES {
            let key = format!("{BUCKET}/{RECORDS}{name}.json");
            let Some(text) = self.aws.cloud(|cloud| cloud.object_text(&key)) else { continue };
            let record: Value = serde_json::from_str(&text).unwrap_or_default();
            let at = record["refreshedAt"].as_str().and_then(product::micros).unwrap_or_default();
            if at + SWITCH < began && self.acting(name).is_some() {
                self.break_promise(
                    "switch",
                    &format!("{name}: its tags are old, and the attached policy goes on"),
                );
            }
        }
    }

    /// Everything that is the file's was to be suspended, since the file is not valid.
    pub(super) fn end_suspension(&mut self) {
        for name in REPOSITORIES {
            if self.acts_for_the_file(name) {
                self.break_promise(
                    "A8",
                    &format!("{name}: the attached policy goes on though the file is not valid"),
                );
            }
        }
    }

    /// ECR acted on a policy that is attached.
    pub(super) fn judge_engine(&mut self, name: &str, before: &Repository, acted: &BTreeMap<String, Acted>) {
        for (digest, acted) in acted {
            let image = before.images.iter().find(|image| image.digest == *digest);
            let tags: Vec<String> =
                image.into_iter().flat_map(|image| image.tags.iter().map(|tag| shortened(tag))).collect();
            self.say(&format!(
                "ECR takes {name}@{} ({}) by rule {}",
                short(digest),
                tags.join(", "),
                acted.priority
            ));
        }
        let all: BTreeSet<String> = acted.keys().cloned().collect();
        if let Some(attached) = self.judge.attached.get(name).cloned() {
            self.judge_rules_of_ecr(name, before, &attached, acted);
        }
        self.judge_use(name, before, &all, How::Engine);
        for digest in all {
            self.judge.protection.tagged.remove(&(name.to_owned(), digest));
        }
    }

    /// Whether the policy of the file takes it.
    fn judge_rules_of_ecr(
        &mut self,
        name: &str,
        before: &Repository,
        attached: &Attached,
        acted: &BTreeMap<String, Acted>,
    ) {
        let wanted = match &attached.policy {
            Some(policy) => Some(policy.lifecycle_policy()),
            None => engine::unguarded(&attached.text),
        };
        let by_file = wanted.map(|wanted| takings(&wanted, before, self.now())).unwrap_or_default();
        for (digest, acted) in acted {
            let image = before.images.iter().find(|image| image.digest == *digest);
            if acted.follows.is_none()
                && self.judge.protection.tagged.contains(&(name.to_owned(), digest.clone()))
            {
                let what = format!("{name}@{}: ECR takes what was protected once", short(digest));
                self.break_promise("protected-once", &what);
            }
            if by_file.contains(digest) {
                continue;
            }
            let hex = digest.trim_start_matches("sha256:");
            let is_forged = image
                .is_some_and(|image| image.tags.iter().any(|tag| product::is_own(tag) && !tag.contains(hex)));
            let (id, why) = match is_forged {
                true => ("A9", "somebody who may only push gave it a tag of ours"),
                false => ("A6", "a rule or a tag of ours has changed what goes"),
            };
            self.break_promise(id, &format!("{name}@{}: no rule of the file takes it; {why}", short(digest)));
        }
    }

    /// Since when an image is in use, and nobody has removed the protection tag from anything that belongs together with it.
    pub(super) fn since(&self, before: &Repository, one: &Use) -> i64 {
        // Who may push may move a tag; the next refresh puts another one. Without its subject an artifact goes, too.
        let family = closure(before, &BTreeSet::from([one.digest.clone()]));
        let loosened = family.into_iter().filter_map(|digest| {
            self.judge.protection.loosened.get(&(one.repository.clone(), digest)).copied()
        });
        loosened.fold(one.since, i64::max)
    }

    /// The verdict on something in use that ECR deleted, or would delete.
    pub(super) fn verdict_on_engine(&self, before: &Repository, one: &Use, missing: &str) -> Verdict {
        let name = &one.repository;
        let is_ours = self.judge.attached.contains_key(name);
        let is_guarded = before.lifecycle_policy.as_deref().is_some_and(engine::is_guarded);
        // What people attach without the protection rule is theirs to know.
        if !is_ours && !is_guarded {
            return Verdict::Excused;
        }
        let protection = &self.judge.protection;
        let since = self.since(before, one);
        let source = match one.by {
            By::Task => "tasks",
            By::Pin | By::Rollback => "services",
            By::Function => "functions",
            By::Pod(_) => "lists",
        };
        if let Some(refresh) = protection.refreshed.get(name) {
            let look = refresh.looks.get(source).copied().unwrap_or(refresh.began).min(refresh.at);
            if since < look {
                return match self.cause(before, one, missing, look) {
                    // Where the policy is somebody else's a gap only needs attention.
                    Some("B9") if !is_ours => Verdict::Excused,
                    Some(id) => Verdict::Broken(if id == "B9" { "gap" } else { "unprotected" }),
                    None => Verdict::Excused,
                };
            }
        }
        if protection.seen.get(name).is_some_and(|began| since < *began) && self.is_protected(name) {
            return match self.cause(before, one, missing, protection.seen[name]) {
                Some("B9") if !is_ours => Verdict::Excused,
                Some(_) => Verdict::Broken("window"),
                None => Verdict::Excused,
            };
        }
        // Nobody protects, or not for long, and nobody promises to.
        let is_refreshed =
            protection.refreshed.get(name).is_some_and(|refresh| self.now() - refresh.at < SWITCH + 2 * HOUR);
        let is_promised = is_ours || (self.is_protected(name) && is_refreshed);
        if !is_promised {
            return Verdict::Excused;
        }
        Verdict::Late
    }
}

/// What a policy takes, whether referrers are ranked or not, and protection tags are tags or not.
pub(super) fn takings(policy: &LifecyclePolicy, repository: &Repository, now: i64) -> BTreeSet<String> {
    let mut all = engine::taken_at_all(policy, repository, now, |tag| !product::is_own(tag));
    all.extend(engine::taken_at_all(policy, repository, now, |_| true));
    all.into_keys().collect()
}
