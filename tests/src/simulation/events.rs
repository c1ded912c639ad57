//! The events of Amazon ECR, in worlds whose runs look only at what may have changed: most come within seconds, some after hours,
//! some twice, and some never. And which repositories a run may leave out.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;
use tests::cloud::BUCKET;
use tests::ecr_stub::Repository;

use super::end::kept;
use super::engine;
use super::file::Apply;
use super::judge::{Invocation, is_part};
use super::product;
use super::protection::RECORDS;
use super::world::{
    DAY, HOST, HOUR, LISTS, Listing, MINUTE, REPOSITORIES, World, closure, short, subject_of_tag,
};

/// What is drawn for events is drawn from a stream of its own, so that other worlds are as they were.
const STREAM: u64 = 0x5eed_0fe7_e475;

/// Whether the runs of this world look only at what may have changed.
pub(super) fn leaves_out(seed: u64) -> bool {
    fastrand::Rng::with_seed(seed ^ STREAM).bool()
}

/// A change of a repository, and its event.
#[derive(Debug, Clone)]
struct Change {
    repository: &'static str,
    at: i64,
    /// When the event is in the queue; `None` for one that is lost.
    comes_at: Option<i64>,
    has_come: bool,
    /// Whether it is the same event for the second time.
    is_copy: bool,
}

/// The changes that Amazon ECR reports.
#[derive(Debug)]
pub(super) struct Events {
    rng: fastrand::Rng,
    /// What each repository was like when it was seen last.
    seen: [u64; REPOSITORIES.len()],
    changes: Vec<Change>,
    /// The number of the queue: another one after it was made anew.
    queue: usize,
    /// Whether events may be lost.
    pub(super) are_lost: bool,
    /// The repositories that each inventory left out.
    left_out: BTreeMap<(String, String), String>,
    /// How many repositories were left out.
    pub(super) count: u64,
}

impl Events {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed ^ STREAM ^ 1),
            seen: [0; REPOSITORIES.len()],
            changes: Vec::new(),
            queue: 0,
            are_lost: true,
            left_out: BTreeMap::new(),
            count: 0,
        }
    }

    fn queue(&self) -> String {
        format!("https://sqs.eu-west-1.amazonaws.com/123456789012/changes-{}", self.queue)
    }
}

impl World {
    /// The queue with the events; `None` in a world whose runs look at everything.
    pub(super) fn queue(&self) -> Option<String> {
        self.events.as_ref().map(Events::queue)
    }

    /// Has an event sent for each repository with other images or tags than before.
    pub(super) fn announce(&mut self) {
        let now = self.now();
        let Some(mut events) = self.events.take() else { return };
        for (name, seen) in REPOSITORIES.into_iter().zip(&mut events.seen) {
            let is = self.aws.with(|registry| {
                let mut hasher = DefaultHasher::new();
                for image in registry.repositories.get(name).into_iter().flat_map(|one| &one.images) {
                    (&image.digest, &image.tags, image.archived).hash(&mut hasher);
                }
                hasher.finish()
            });
            if std::mem::replace(seen, is) == is {
                continue;
            }
            let rng = &mut events.rng;
            let seconds = |rng: &mut fastrand::Rng, most: i64| rng.i64(0..most) * 1_000_000;
            let comes_at = match rng.u8(..100) {
                0..=2 if events.are_lost => None,
                0..=59 => Some(now + seconds(rng, 3)),
                60..=84 => Some(now + seconds(rng, 300)),
                _ => Some(now + seconds(rng, 20 * 3600)),
            };
            let copy = (rng.u8(..16) == 0).then(|| now + seconds(rng, 40 * 3600));
            let change = Change { repository: name, at: now, comes_at, has_come: false, is_copy: false };
            events.changes.push(change.clone());
            if let (Some(copy), true) = (copy, comes_at.is_some()) {
                events.changes.push(Change { comes_at: Some(copy), is_copy: true, ..change });
            }
        }
        self.events = Some(events);
    }

    /// Puts the events into the queue whose time has come.
    pub(super) fn deliver(&mut self) {
        let now = self.now();
        let Some(events) = &mut self.events else { return };
        let queue = events.queue();
        let due = |change: &&mut Change| !change.has_come && change.comes_at.is_some_and(|at| at <= now);
        for change in events.changes.iter_mut().filter(due) {
            change.has_come = true;
            self.aws.cloud(|cloud| cloud.queues.send_event(&queue, change.repository, "PUSH", change.at));
        }
        events.changes.retain(|change| !change.is_copy || !change.has_come);
    }

    /// Somebody puts something into the queue that is no event.
    pub(super) fn send_nonsense(&mut self) {
        let Some(queue) = self.queue() else { return };
        self.aws.cloud(|cloud| cloud.queues.send(&queue, "nonsense"));
        self.say("somebody puts nonsense into the queue of events");
    }

    /// The queue is made anew: what was in it is lost, and runs know that.
    pub(super) fn renew_queue(&mut self) {
        let Some(events) = &mut self.events else { return };
        events.queue += 1;
        self.say("the queue of events is made anew");
    }

    /// Somebody deletes a repository in which nothing is in use, and makes another of that name, of which no event tells.
    pub(super) fn make_anew(&mut self, name: &'static str) {
        let now = self.now();
        let Some(mut events) = self.events.take() else { return };
        self.aws.with(|registry| {
            let repository = registry.repositories.get_mut(name).expect("it is a repository of the world");
            repository.images.clear();
            #[expect(clippy::cast_precision_loss, reason = "a time of this century")]
            let created_at = now as f64 / 1e6;
            repository.described["createdAt"] = created_at.into();
        });
        let at = REPOSITORIES.iter().position(|one| *one == name).expect("it is a repository of the world");
        events.seen[at] = DefaultHasher::new().finish();
        self.events = Some(events);
        self.judge.acts.push(super::judge::Act::deleted(name, now));
        self.say(&format!("{name} is deleted, and made anew"));
    }

    /// Whether a run cannot know yet of a change after a look.
    fn is_unknown_since(&self, name: &str, looked_at: i64, began: i64) -> bool {
        let is_unknown = |change: &Change| {
            change.repository == name
                && change.at > looked_at - MINUTE
                && change.comes_at.is_none_or(|at| at > began)
                && !change.is_copy
        };
        self.events.as_ref().is_some_and(|events| events.changes.iter().any(is_unknown))
    }

    /// Looks at the outcome of a repository that a run does not look at.
    pub(super) fn judge_left_out(&mut self, invocation: &Invocation, key: &str, line: &Value) {
        let Some(looked_at) = line["lookedAt"].as_str().and_then(product::micros) else { return };
        let name = line["repositoryName"].as_str().unwrap_or_default().to_owned();
        let Some(run) = self.judge.runs.get(&invocation.run).cloned() else { return };
        let minutes = (self.now() - looked_at) / MINUTE;
        self.say(&format!("{}: {name} is left out, by a look {minutes} minutes ago", invocation.run));
        if let Some(events) = &mut self.events {
            events.count += 1;
            // After an answer that was lost the same object is written again.
            let before = events.left_out.insert((invocation.id.clone(), name.clone()), key.to_owned());
            if before.is_some_and(|before| before != key) {
                self.break_promise("left-out-twice", &format!("{name} is left out twice by an inventory"));
            }
        } else {
            return self.break_promise("left-out", &format!("{name}: every run has to look at everything"));
        }
        if run.protects_only {
            self.break_promise("left-out-part", &format!("{name}: a run that only protects leaves it out"));
        }
        // The next run may come a week after this one.
        if run.began - looked_at > 6 * DAY {
            self.break_promise("left-out-old", &format!("{name}: the look is {minutes} minutes old"));
        }
        // Tags that were put on meanwhile may have been read, or not.
        if self
            .judge
            .acts
            .iter()
            .any(|act| (act.is_hold_of(&name) || act.is_asking_of(&name)) && act.at >= run.began)
        {
            return;
        }
        let Some(file) = run.file else { return };
        let policy = file.policy_of(&name, self.is_held(&name)).cloned();
        let Some(policy) = policy.filter(|policy| matches!(policy.apply, Apply::Delete | Apply::Preview))
        else {
            return self.break_promise(
                "left-out-unprotected",
                &format!("{name}: ECR enforces its policy, or none is for it"),
            );
        };
        let record = format!("{BUCKET}/{RECORDS}{name}.json");
        if run.asking.contains(&name) || self.aws.cloud(|cloud| cloud.object_text(&record)).is_some() {
            self.break_promise("left-out-unprotected", &format!("{name}: it has to be protected"));
        }
        if self.is_unknown_since(&name, looked_at, run.began) {
            return;
        }
        let repository = self.repository(&name);
        let images = repository.images.len() as u64;
        if line["images"]["imageTotalCount"] != images {
            let what = format!("{name}: it has {images} images, and the report says {}", line["images"]);
            self.break_promise("left-out-total", &what);
        }
        // By the end of a run that lasts for most of a day.
        let until = self.now() + 23 * HOUR;
        let mut kept = kept(self, &name, &repository);
        kept.extend(self.kept_by_lists(&name));
        let kept = closure(&repository, &kept);
        let rules = policy.lifecycle_policy();
        // What is about another image by its tag is an image of its own for ECR, and none for this project.
        let related = with_subjects_by_tag(&repository);
        let ways: Vec<_> = [&repository, &related]
            .into_iter()
            .flat_map(|repository| [(repository, false), (repository, true)])
            .flat_map(|(repository, is_ranked)| {
                [(repository, is_ranked, false), (repository, is_ranked, true)]
            })
            .map(|(repository, is_ranked, is_seen)| {
                let is_seen = |tag: &str| is_seen || !product::is_own(tag);
                engine::taken_but(&kept, &rules, repository, until, is_ranked, is_seen)
            })
            .collect();
        let Some((one, others)) = ways.split_first() else { return };
        let due: Vec<&str> = one
            .keys()
            .filter(|digest| {
                others.iter().all(|other| other.contains_key(*digest)) && !kept.contains(*digest)
            })
            .map(|digest| short(digest))
            .collect();
        if !due.is_empty() {
            let what = format!("{name}: the policy takes {}, and the run does not look", due.join(", "));
            self.break_promise("left-out-due", &what);
        }
    }

    /// What lists keep, of which it does not matter whether they are true.
    fn kept_by_lists(&self, name: &str) -> BTreeSet<String> {
        let mut kept = BTreeSet::new();
        let mut oldest: Option<i64> = None;
        for (cluster, list) in LISTS.iter().enumerate() {
            let text = self.aws.cloud(|cloud| cloud.object_text(&format!("{BUCKET}/{list}")));
            let Some(text) = text else { continue };
            let all: Vec<String> = serde_json::from_str(&text).unwrap_or_default();
            let prefix = format!("{HOST}/{name}@");
            kept.extend(all.iter().filter_map(|one| Some(one.strip_prefix(&prefix)?.to_owned())));
            let written = self.lists[cluster].iter().rev().find(|(_, listing)| *listing != Listing::Gone);
            if let Some((at, _)) = written
                && self.now() - at <= 2 * DAY + HOUR
            {
                oldest = Some(oldest.map_or(*at, |oldest| oldest.min(*at)));
            }
        }
        // What was pushed or pulled since a list was written may be in use.
        if let Some(oldest) = oldest {
            #[expect(clippy::cast_possible_truncation, reason = "a time of this century")]
            let is_since = |at: f64| (at * 1e6) as i64 > oldest - DAY - HOUR;
            let repository = self.repository(name);
            let young = repository
                .images
                .iter()
                .filter(|image| is_since(image.pushed_at) || image.last_pulled_at.is_some_and(is_since));
            kept.extend(young.map(|image| image.digest.clone()));
        }
        kept
    }

    /// Looks at the report of a run that came to its end.
    pub(super) fn judge_report(&mut self, id: &str) {
        let Some(run) = self.judge.runs.get(id).cloned() else { return };
        if self.events.is_none() || run.protects_only || run.file.is_none_or(|file| file.is_broken) {
            return;
        }
        let text = self.aws.cloud(|cloud| cloud.object_text(&format!("{BUCKET}/runs/{id}/report.json")));
        let report: Value = text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let repositories = &report["totals"]["repositories"];
        if *repositories != REPOSITORIES.len() {
            let what = format!("{id}: the report has {repositories} repositories");
            self.break_promise("left-out-total", &what);
        }
        let attempt = report["attempt"].as_str().unwrap_or_default().to_owned();
        let left_out = self
            .events
            .as_ref()
            .map_or(0, |events| events.left_out.keys().filter(|(request, _)| *request == attempt).count());
        let reported = report["unchanged"]["repositories"].as_u64().unwrap_or_default();
        if reported != left_out as u64 {
            let what = format!("{id}: {left_out} repositories were left out, and the report says {reported}");
            self.break_promise("left-out-total", &what);
        }
    }
}

/// A repository in which what is about another image by its tags has that as its subject.
fn with_subjects_by_tag(repository: &Repository) -> Repository {
    let mut related = repository.clone();
    for image in related.images.iter_mut().filter(|image| image.subject.is_none()) {
        if is_part(repository, image) {
            image.subject = image.tags.iter().find_map(|tag| subject_of_tag(tag));
        }
    }
    related
}
