//! Looks at everything that goes, and says which promise is broken and why: it knows what really is in use, when each look was
//! taken, and what the policies file said. It shares no code with what it judges, but for reading policies.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use shared::lifecycle::LifecyclePolicy;
use shared::run::journal;
use tests::cloud::BUCKET;
use tests::ecr_stub::{Image, Repository};
use tests::http::{Request, Response};
use tests::reference::Acted;

use super::engine::{self, children};
use super::file::{Apply, File, Policy};
use super::product;
use super::world::{By, DAY, HOUR, LISTS, Use, World, closure, short, subject_of_tag};

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// Its kind, as the table of what is known to be broken has it.
    pub(super) id: &'static str,
    pub(super) what: String,
}

/// Something that people did and that excuses or accuses what comes after.
#[derive(Debug, Clone)]
pub(super) struct Act {
    repository: String,
    at: i64,
    /// Whether it is the tag `hold: legal`, and on; otherwise images were deleted by hand.
    hold: Option<bool>,
}

impl Act {
    pub(super) fn hold(repository: &str, at: i64, is_held: bool) -> Self {
        Self { repository: repository.to_owned(), at, hold: Some(is_held) }
    }

    pub(super) fn deleted(repository: &str, at: i64) -> Self {
        Self { repository: repository.to_owned(), at, hold: None }
    }
}

/// One invocation of a function of a run.
#[derive(Debug, Clone)]
pub(super) struct Invocation {
    pub(super) run: String,
    pub(super) is_inventory: bool,
    pub(super) key: Option<String>,
    began: i64,
    /// Whether `Enforce` was on when it began.
    pub(super) is_on: bool,
    /// What tells it from any other.
    pub(super) id: String,
    /// The file in the bucket when it began.
    file: File,
    /// When each source of use was looked at last, from its beginning.
    looks: BTreeMap<&'static str, i64>,
    /// When each repository was read as a whole, and what was there.
    surveys: BTreeMap<String, (i64, Repository)>,
    /// What was there when it was read first.
    first: BTreeMap<String, Repository>,
    /// When the tags were read that decide about the policy of each repository.
    assigned: BTreeMap<String, i64>,
    /// When images of a repository were looked at once more.
    described: BTreeMap<String, i64>,
    /// What was done in each repository, in their order.
    effects: Vec<(String, i64)>,
    /// What went from a repository, and how many of it to the archive.
    gone: BTreeMap<String, (BTreeSet<String>, u64)>,
}

impl Invocation {
    pub(super) fn new(world: &World, run: &str, is_inventory: bool, key: Option<&str>) -> Self {
        Self {
            run: run.to_owned(),
            is_inventory,
            key: key.map(str::to_owned),
            began: world.now(),
            is_on: world.is_enforcing,
            id: format!("request-{}", world.calls),
            file: world.file.clone(),
            looks: BTreeMap::new(),
            surveys: BTreeMap::new(),
            first: BTreeMap::new(),
            assigned: BTreeMap::new(),
            described: BTreeMap::new(),
            effects: Vec::new(),
            gone: BTreeMap::new(),
        }
    }

    fn look(&self, by: By) -> i64 {
        let source = match by {
            By::Task => "tasks",
            By::Pin | By::Rollback => "services",
            By::Function => "functions",
            By::Pod(_) => "lists",
        };
        self.looks.get(source).copied().unwrap_or(self.began)
    }
}

/// A run, as far as it is judged.
#[derive(Debug, Clone)]
struct Judged {
    /// Whether somebody asked for a dry run.
    is_dry: bool,
    /// The file that its inventory read.
    file: Option<File>,
    /// Which attempt of the inventory is at work, and which was complete.
    attempt: usize,
    /// The attempts that wrote each batch.
    writers: BTreeMap<String, usize>,
}

/// The last time that the protection of a repository was refreshed.
#[derive(Debug, Clone)]
struct Refresh {
    looks: BTreeMap<&'static str, i64>,
    began: i64,
    status: String,
}

/// What is known of all that happened.
#[derive(Debug, Default)]
pub(super) struct Judge {
    pub(super) violations: Vec<Violation>,
    /// Images that went in the window between the last look and their end, and for how long it was open, in microseconds.
    /// And whether this project took them, which has to put them back.
    pub(super) late: BTreeMap<(String, String), (i64, bool)>,
    pub(super) acts: Vec<Act>,
    journal: BTreeSet<(String, String)>,
    days: BTreeMap<i64, u64>,
    runs: BTreeMap<String, Judged>,
    refreshed: BTreeMap<String, Refresh>,
    /// The policies behind what is attached.
    attached: BTreeMap<String, Policy>,
    /// When the last scheduled run began.
    last_run: Option<i64>,
    /// The files of completed runs.
    previewed: Vec<File>,
    /// When images went.
    gone: BTreeMap<(String, String), i64>,
    /// Images in use that went, of which it was said why.
    accused: BTreeSet<(String, String)>,
    /// Images that were part of another once.
    parts: BTreeSet<String>,
    /// How many images this project took.
    pub(super) taken: u64,
}

/// How something went.
#[derive(Debug, Clone, Copy)]
enum How {
    /// An image was deleted or archived by its digest, by this project.
    Taken,
    /// It lost its last tag, by this project.
    TagRemoved,
    /// ECR took it, by an attached policy.
    Engine,
}

/// What is to be said of something in use that goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// A promise is broken, of this kind.
    Broken(&'static str),
    /// Its use began after the look, or so lately that nobody promises anything.
    Late,
    /// Nobody could know: it is as README says.
    Excused,
}

type Before = Option<(String, Repository)>;

impl World {
    pub(super) fn break_promise(&mut self, id: &'static str, what: &str) {
        self.say(&format!("  !! {id}: {what}"));
        self.judge.violations.push(Violation { id, what: what.to_owned() });
    }

    pub(super) fn begin_run(&mut self, run: &str, is_dry: bool) {
        let began = self.now();
        let judged = Judged { is_dry, file: None, attempt: 0, writers: BTreeMap::new() };
        self.judge.runs.insert(run.to_owned(), judged);
        // A dry run that somebody asks for protects nothing.
        if !is_dry {
            self.judge.last_run = Some(began);
        }
    }

    pub(super) fn begin_attempt(&mut self, run: &str) {
        if let Some(run) = self.judge.runs.get_mut(run) {
            run.attempt += 1;
        }
    }

    /// A run has its report.
    pub(super) fn complete_run(&mut self, run: &str) {
        let file = self.judge.runs.get(run).and_then(|run| run.file.clone());
        self.judge.previewed.extend(file);
    }

    /// What there is before a call that may take something.
    pub(super) fn before(&self, operation: &str, asked: &Value) -> Before {
        let changes = ["BatchDeleteImage", "UpdateImageStorageClass", "PutImage"];
        let name = asked["repositoryName"].as_str()?;
        changes.contains(&operation).then(|| (name.to_owned(), self.repository(name)))
    }

    /// Looks at a call that had its effect.
    pub(super) fn look_after(
        &mut self,
        operation: &str,
        request: &Request,
        asked: &Value,
        response: &Response,
        before: Before,
    ) {
        let now = self.now();
        if response.status >= 300 {
            return;
        }
        let name = asked["repositoryName"].as_str().unwrap_or_default().to_owned();
        let Some(mut invocation) = self.invocation.take() else { return };
        let is_first_page = asked["nextToken"].is_null() && !request.target.contains("Marker=");
        match operation {
            "ListTasks" if is_first_page => drop(invocation.looks.insert("tasks", now)),
            "ListServices" if is_first_page => drop(invocation.looks.insert("services", now)),
            "ListFunctions" if is_first_page => drop(invocation.looks.insert("functions", now)),
            "ListObjectsV2" if request.target.contains("prefix=usage") => {
                invocation.looks.insert("lists", now);
            }
            "DescribeImages" if asked["imageIds"].is_null() && is_first_page => {
                let repository = self.repository(&name);
                let parts = repository.images.iter().filter(|image| is_part(&repository, image));
                self.judge.parts.extend(parts.map(|image| image.digest.clone()));
                invocation.first.entry(name.clone()).or_insert_with(|| repository.clone());
                invocation.surveys.insert(name.clone(), (now, repository));
            }
            "ListTagsForResource" => {
                let arn = asked["resourceArn"].as_str().unwrap_or_default();
                let name = arn.split_once(":repository/").map_or("", |(_, name)| name);
                invocation.assigned.insert(name.to_owned(), now);
            }
            "DescribeImages" if !asked["imageIds"].is_null() => {
                invocation.described.insert(name.clone(), now);
            }
            "GetObject" if invocation.is_inventory && request.target.ends_with("/policies.yaml") => {
                let is_original = request.target.matches('/').count() == 2;
                if let Some(run) = self.judge.runs.get_mut(&invocation.run)
                    && is_original
                {
                    run.file = Some(self.file.clone());
                }
            }
            "PutObject" => self.note(&invocation, request),
            "PutLifecyclePolicy" => {
                let run = self.judge.runs.get(&invocation.run);
                let file = run.and_then(|run| run.file.as_ref());
                let policy = file.and_then(|file| file.policy_of(&name, self.is_held(&name))).cloned();
                match policy {
                    Some(policy) => drop(self.judge.attached.insert(name.clone(), policy)),
                    None => drop(self.judge.attached.remove(&name)),
                }
                let text = asked["lifecyclePolicyText"].as_str().unwrap_or_default();
                let rules = product::attached(text).map_or(0, |policy| policy.rules().len());
                self.say(&format!("{}: attaches a policy of {rules} rules to {name}", invocation.run));
            }
            _ => {}
        }
        self.invocation = Some(invocation);
        if let Some((name, before)) = before {
            let is_by_tag = operation == "BatchDeleteImage" && asked.to_string().contains("imageTag");
            let how = if is_by_tag { How::TagRemoved } else { How::Taken };
            self.judge_effect(&name, &before, how);
        }
    }

    /// Looks at an object that was written.
    fn note(&mut self, invocation: &Invocation, request: &Request) {
        let key = request.target.trim_start_matches('/').trim_start_matches(BUCKET).trim_start_matches('/');
        let text = String::from_utf8_lossy(&request.body);
        let lines = || text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let word = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
        if key.starts_with(journal::PREFIX) {
            // What ECR is going to take is not written down as taken.
            if !journal::is_removals(key) {
                return;
            }
            for line in lines() {
                self.judge.journal.insert((word(&line, "repositoryName"), word(&line, "imageDigest")));
            }
        } else if key.contains("/batches/") {
            if let Some(run) = self.judge.runs.get_mut(&invocation.run) {
                run.writers.insert(key.to_owned(), run.attempt);
            }
        } else if key.contains("/outcomes/") && !key.contains("/unmatched/") {
            for line in lines() {
                let status = word(&line, "status");
                // A dry run that was asked for protects nothing.
                let is_dry = self.judge.runs.get(&invocation.run).is_some_and(|run| run.is_dry);
                if line["apply"] == "attach" && line["attachment"].is_object() && !is_dry {
                    let refresh = Refresh {
                        looks: invocation.looks.clone(),
                        began: invocation.began,
                        status: status.clone(),
                    };
                    self.judge.refreshed.insert(word(&line, "repositoryName"), refresh);
                }
                let detail =
                    line["obstacles"][0]["message"].as_str().or(line["error"].as_str()).unwrap_or_default();
                self.say(&format!(
                    "{}: {} is {status} {detail}",
                    invocation.run,
                    word(&line, "repositoryName")
                ));
            }
        }
    }

    fn is_held(&self, name: &str) -> bool {
        self.aws.with(|registry| registry.repositories[name].tags.contains_key("hold"))
    }

    /// Whether a repository was held before some time.
    fn was_held(&self, name: &str, at: i64) -> bool {
        let acts = self.judge.acts.iter().filter(|act| act.repository == name && act.at < at);
        acts.filter_map(|act| act.hold).next_back().unwrap_or(false)
    }

    /// What went from a repository, and what of it to the archive.
    fn difference(&self, name: &str, before: &Repository) -> (BTreeSet<String>, BTreeSet<String>) {
        let after = self.repository(name);
        let find = |digest: &str| after.images.iter().find(|image| image.digest == digest);
        let gone = before.images.iter().filter(|image| find(&image.digest).is_none());
        let archived = before
            .images
            .iter()
            .filter(|image| !image.archived && find(&image.digest).is_some_and(|image| image.archived));
        (gone.map(|i| i.digest.clone()).collect(), archived.map(|i| i.digest.clone()).collect())
    }

    fn judge_effect(&mut self, name: &str, before: &Repository, how: How) {
        let (gone, archived) = self.difference(name, before);
        let all: BTreeSet<String> = gone.union(&archived).cloned().collect();
        let now = self.now();
        let run = self.invocation.as_ref().map(|invocation| invocation.run.clone()).unwrap_or_default();
        for digest in &all {
            let image = before.images.iter().find(|image| image.digest == *digest);
            let tags = image.map_or_else(String::new, |image| {
                let tags: Vec<String> = image.tags.iter().map(|tag| shortened(tag)).collect();
                if tags.is_empty() { "untagged".to_owned() } else { tags.join(", ") }
            });
            let what = if archived.contains(digest) { "archived" } else { "deleted" };
            self.say(&format!("{run}: {what} {name}@{} ({tags})", short(digest)));
        }
        self.judge.taken += all.len() as u64;
        if !all.is_empty() {
            self.judge_rules(name, before, &all, &archived, how);
            self.judge_use(name, before, &all, how);
        }
        if let Some(invocation) = &mut self.invocation {
            invocation.effects.push((name.to_owned(), now));
        }
    }

    /// ECR acted on a policy that is attached.
    pub(super) fn judge_engine(
        &mut self,
        name: &str,
        before: &Repository,
        policy: &LifecyclePolicy,
        acted: &BTreeMap<String, Acted>,
    ) {
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
        let Some(wanted) = self.judge.attached.get(name).cloned() else { return };
        let by_file =
            engine::taken_at_all(&wanted.lifecycle_policy(), before, self.now(), |tag| !product::is_own(tag));
        for (digest, acted) in acted.iter().filter(|(digest, _)| !by_file.contains_key(*digest)) {
            let image = before.images.iter().find(|image| image.digest == *digest);
            let rule = policy.rules().iter().find(|rule| rule.priority == acted.priority);
            let is_own_rule = rule.is_some_and(|rule| format!("{:?}", rule.tags).contains("ecr-steward-"));
            let hex = digest.trim_start_matches("sha256:");
            let is_forged = image.is_some_and(|image| {
                image.tags.iter().any(|tag| product::is_own(tag) && !tag.ends_with(hex))
            });
            let (id, why) = match (is_own_rule, is_forged) {
                (true, true) => ("A9", "somebody who may only push gave it a tag of ours"),
                (true, false) => ("A1", "a rule of our own took it"),
                (false, _) => ("A6", "tags of ours changed what the rules take"),
            };
            let what = format!("{name}@{}: no rule of the file takes it; {why}", short(digest));
            self.break_promise(id, &what);
        }
        let all: BTreeSet<String> = acted.keys().cloned().collect();
        self.judge_use(name, before, &all, How::Engine);
    }

    /// Whether what goes may go, by the file, the limits, the switch and the journal.
    fn judge_rules(
        &mut self,
        name: &str,
        before: &Repository,
        all: &BTreeSet<String>,
        archived: &BTreeSet<String>,
        how: How,
    ) {
        let now = self.now();
        let Some(invocation) = self.invocation.clone() else { return };
        let Some(run) = self.judge.runs.get(&invocation.run).cloned() else { return };
        let Some(file) = run.file.clone() else { return };
        if let How::TagRemoved = how {
            for digest in all {
                let had = invocation.surveys.get(name).and_then(|(_, then)| {
                    then.images.iter().find(|image| image.digest == *digest).map(|image| image.tags.len())
                });
                let has =
                    before.images.iter().find(|image| image.digest == *digest).map(|image| image.tags.len());
                let (id, why) = match had > has {
                    true => ("A5", "it lost its other tag after the look"),
                    false => ("A4", "its last tag was taken off"),
                };
                let what = format!("{name}@{} went with a tag of ours, by no rule: {why}", short(digest));
                self.break_promise(id, &what);
            }
            return;
        }
        if run.is_dry {
            self.break_promise("C8", &format!("{name}: images go in a dry run"));
        }
        if !invocation.is_on {
            self.break_promise("C8", &format!("{name}: images go though Enforce is off"));
        }
        if file.is_broken {
            self.break_promise("invalid", &format!("{name}: images go by a file that is not valid"));
        }
        if !file.is_approved && !self.judge.previewed.iter().any(|other| other.is_same(&file)) {
            self.break_promise(
                "C4b",
                &format!("{name}: images go by a file that no completed run previewed"),
            );
        }
        let key = invocation.key.clone().unwrap_or_default();
        if run.writers.get(&key).is_some_and(|attempt| *attempt < run.attempt) {
            self.break_promise(
                "C7",
                &format!("{name}: images go by {key}, of an inventory that was given up"),
            );
        }
        if !invocation.file.is_same(&file) {
            self.break_promise("C5", &format!("{name}: images go by a file that was changed before"));
        }
        let surveyed_at = invocation.surveys.get(name).map_or(invocation.began, |(at, _)| *at);
        // What decides is read once, before the first effect.
        let assigned_at = invocation.assigned.get(name).copied().unwrap_or(surveyed_at);
        let assigned = file.policy_of(name, self.was_held(name, assigned_at));
        let Some(policy) = assigned.filter(|policy| policy.apply == Apply::Delete) else {
            let is_stale = run.writers.get(&key).is_some_and(|attempt| *attempt < run.attempt);
            if !is_stale {
                self.break_promise("C6", &format!("{name}: no policy with `apply: delete` is for it"));
            }
            return;
        };
        // What the policy takes of what there is: the plan may not rest on what is not there any more.
        let rules = policy.lifecycle_policy();
        let mut by_policy = engine::taken_at_all(&rules, before, now, |tag| !product::is_own(tag));
        by_policy.extend(engine::taken_at_all(&rules, before, now, |_| true));
        // What is about something goes with that.
        let survey = invocation.first.get(name).unwrap_or(before);
        let follows = |digest: &str| {
            let image = before.images.iter().find(|image| image.digest == digest);
            let by_tag = |image: &Image| image.tags.iter().find_map(|tag| subject_of_tag(tag));
            let subject = image.and_then(|image| image.subject.clone().or_else(|| by_tag(image)));
            subject.is_some_and(|subject| {
                by_policy.contains_key(&subject) || !before.images.iter().any(|image| image.digest == subject)
            })
        };
        let is_too_much = |digest: &&String| !by_policy.contains_key(*digest) && !follows(digest);
        let too_much: Vec<&String> = all.iter().filter(is_too_much).collect();
        if let Some(digest) = too_much.first() {
            let seen = invocation.described.get(name).copied().unwrap_or(surveyed_at);
            let is_by_hand =
                |act: &&Act| act.repository == name && act.hold.is_none() && act.at >= surveyed_at;
            let by_hand = self.judge.acts.iter().filter(is_by_hand).map(|act| act.at).min();
            match by_hand {
                Some(at) if at <= seen => {
                    let what = format!(
                        "{name}@{} goes, though the policy takes it no more: newer ones were deleted by hand",
                        short(digest)
                    );
                    self.break_promise("B14", &what);
                }
                Some(_) => {}
                None => {
                    let what = format!("{name}@{} goes, and the policy does not take it", short(digest));
                    self.break_promise("not-by-policy", &what);
                }
            }
        }
        for digest in all {
            if !self.judge.journal.contains(&(name.to_owned(), digest.clone())) {
                let id = if archived.contains(digest) { "C2" } else { "journal" };
                self.break_promise(id, &format!("{name}@{} is not in the journal", short(digest)));
                break;
            }
        }
        self.judge_limits(name, policy, all, archived.len() as u64);
        // The whole registry, in a day.
        let day = now.div_euclid(DAY);
        let parts = &self.judge.parts;
        let is_counted = |image: &&Image| {
            all.contains(&image.digest) && !is_part(survey, image) && !parts.contains(&image.digest)
        };
        let counted = before.images.iter().filter(is_counted).count() as u64;
        let taken = self.judge.days.entry(day).or_default();
        let was = *taken;
        *taken += counted;
        // A small registry may lose a hundred.
        let limit = file.limits.0.min(100);
        if *taken > limit && was <= limit {
            let what = format!("{taken} images of the registry went in a day, and its limit is {limit}");
            self.break_promise("C4", &what);
        }
    }

    fn judge_limits(&mut self, name: &str, policy: &Policy, all: &BTreeSet<String>, archived: u64) {
        let Some(mut invocation) = self.invocation.take() else { return };
        let (gone, to_archive) = invocation.gone.entry(name.to_owned()).or_default();
        gone.extend(all.iter().cloned());
        *to_archive += archived;
        let id = if *to_archive > 0 { "C2" } else { "C1" };
        let survey = invocation.first.get(name);
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

    /// Whether what goes is in use.
    fn judge_use(&mut self, name: &str, before: &Repository, all: &BTreeSet<String>, how: How) {
        let now = self.now();
        self.judge.gone.extend(all.iter().map(|digest| ((name.to_owned(), digest.clone()), now)));
        let mut said = BTreeSet::new();
        for mut one in self.truth.uses().into_iter().filter(|one| one.repository == name) {
            // What is gone already was judged when it went.
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
                How::Engine => self.verdict_on_engine(before, &one, missing),
                How::Taken | How::TagRemoved => self.verdict_on_run(before, &one, missing),
            };
            match verdict {
                Verdict::Late => {
                    self.say(&format!("  {}@{} came into use too late to be seen", name, short(missing)));
                    for digest in needed.intersection(all) {
                        let image = (name.to_owned(), digest.clone());
                        let is_owed = !matches!(how, How::Engine);
                        self.judge.late.insert(image, (now - one.since, is_owed));
                    }
                    continue;
                }
                Verdict::Broken(_) | Verdict::Excused => {
                    let accused = needed.intersection(all).map(|digest| (name.to_owned(), digest.clone()));
                    self.judge.accused.extend(accused);
                }
            }
            if let Verdict::Broken(id) = verdict
                && said.insert(id)
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

    /// Why something in use goes that a run took.
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

    /// The rule of the world that was not known where something goes that was in use at a look.
    fn cause(&self, before: &Repository, one: &Use, missing: &str, look: i64) -> Option<&'static str> {
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

    /// The same for what a list has to tell; `None` where nobody promises that it does.
    fn cause_of_list(
        &self,
        before: &Repository,
        one: &Use,
        cluster: usize,
        look: i64,
    ) -> Option<&'static str> {
        let key = format!("{BUCKET}/{}", LISTS[cluster]);
        let written = self.aws.cloud(|cloud| {
            let seconds = cloud.objects.contains_key(&key).then(|| cloud.written.get(&key).copied())??;
            Some(seconds * 1_000_000)
        });
        let Some(written) = written else { return Some("B9") };
        if let Some(blind_since) = self.blind_since[cluster]
            && one.since < written
        {
            // After a day what a list says is true.
            return (look - blind_since < DAY).then_some("B9");
        }
        if one.since < written {
            return Some("in-use-pod");
        }
        let image = before.images.iter().find(|image| image.digest == one.digest)?;
        #[expect(clippy::cast_possible_truncation, reason = "a time of this century")]
        let pulled = image.last_pulled_at.map(|at| (at * 1e6) as i64);
        // A cached image starts without a pull, which README says.
        pulled.is_some_and(|pulled| pulled > written - DAY).then_some("B4")
    }

    /// Why something in use goes that ECR took.
    fn verdict_on_engine(&self, before: &Repository, one: &Use, missing: &str) -> Verdict {
        let refresh = self.judge.refreshed.get(&one.repository);
        let source = match one.by {
            By::Task => "tasks",
            By::Pin | By::Rollback => "services",
            By::Function => "functions",
            By::Pod(_) => "lists",
        };
        if let Some(refresh) = refresh {
            let look = refresh.looks.get(source).copied().unwrap_or(refresh.began);
            if one.since < look {
                // A run that may not enforce yet protects all the same, and then says what it would do.
                if !["DONE", "PREVIEWED"].contains(&refresh.status.as_str()) {
                    return Verdict::Broken("A2");
                }
                let Some(id) = self.cause(before, one, missing, look) else { return Verdict::Excused };
                let is_protected = before.images.iter().any(|image| {
                    image.digest == missing && image.tags.iter().any(|tag| product::is_own(tag))
                });
                let is_missed = id.starts_with("in-use") && !is_protected;
                return Verdict::Broken(if is_missed { "A3" } else { id });
            }
        }
        let now = self.now();
        // A run has begun since, and did nothing about it.
        if self.judge.last_run.is_some_and(|began| one.since < began && began < now - HOUR)
            || now - one.since > 2 * DAY
        {
            return Verdict::Broken("A8");
        }
        if now - one.since > HOUR { Verdict::Broken("A7") } else { Verdict::Late }
    }
}

impl Judge {
    /// Whether an image went in the window between the last look and its end; and if so, whether it has to come back.
    pub(super) fn is_owed(&self, image: &(String, String)) -> Option<bool> {
        self.late.get(image).map(|(_, is_owed)| *is_owed)
    }

    /// Whether an image went by this project or by ECR, at this time or later.
    pub(super) fn went_since(&self, image: &(String, String), since: i64) -> bool {
        self.gone.get(image).is_some_and(|at| *at >= since)
    }

    /// Whether it was said why an image in use went.
    pub(super) fn is_accused(&self, image: &(String, String)) -> bool {
        self.accused.contains(image)
    }
}

/// Which limit of a policy is broken, of so many images that can be pulled.
fn past_a_limit(policy: &Policy, total: u64, gone: u64) -> Option<String> {
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

/// Whether an image is no whole of its own: a child, or about another.
pub(super) fn is_part(repository: &Repository, image: &Image) -> bool {
    let is_there = |digest: &str| repository.images.iter().any(|other| other.digest == digest);
    // With a name of its own it is an image besides.
    let is_about = |tag: &String| subject_of_tag(tag).is_some_and(|subject| is_there(&subject));
    let mut names = image.tags.iter().filter(|tag| !product::is_own(tag)).peekable();
    image.subject.as_deref().is_some_and(is_there)
        || (names.peek().is_some() && names.all(is_about))
        || repository.images.iter().any(|other| children(other).contains(&image.digest))
}

fn shortened(tag: &str) -> String {
    match tag.rsplit_once('-') {
        Some((prefix, hex)) if hex.len() == 64 => format!("{prefix}-{}…", &hex[..8]),
        _ => tag.to_owned(),
    }
}
