//! Looks at everything that goes, and says which promise is broken and why: it knows what really is in use, when each look was
//! taken, and what the policies file said. It shares no code with what it judges, but for reading policies.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use shared::domain::enforcement::outcome_file;
use shared::domain::lifecycle::LifecyclePolicy;
use tests::cloud::BUCKET;
use tests::ecr_stub::{Image, Repository};
use tests::http::{Request, Response};

use super::engine::{self, children};
use super::file::{Apply, File, Policy};
use super::product;
use super::protection::{Attached, Protection, RECORDS, takings};
use super::world::{
    By, DAY, LISTS, Listing, MINUTE, PROTECT_TAG, Use, World, closure, short, subject_of_tag,
};

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
    pub(super) at: i64,
    deed: Deed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// The repository's tag `hold: legal` is set to this.
    Hold(bool),
    /// Images were deleted by hand.
    Deleted,
    /// A tag was moved to another image, or taken off.
    TagMoved,
    /// The repository asks for protection tags from now on, or no longer.
    Asked,
}

impl Act {
    pub(super) fn hold(repository: &str, at: i64, is_held: bool) -> Self {
        Self { repository: repository.to_owned(), at, deed: Deed::Hold(is_held) }
    }

    pub(super) fn is_hold_of(&self, repository: &str) -> bool {
        self.repository == repository && matches!(self.deed, Deed::Hold(_))
    }

    pub(super) fn deleted(repository: &str, at: i64) -> Self {
        Self { repository: repository.to_owned(), at, deed: Deed::Deleted }
    }

    pub(super) fn asked(repository: &str, at: i64) -> Self {
        Self { repository: repository.to_owned(), at, deed: Deed::Asked }
    }

    pub(super) fn is_asking_of(&self, repository: &str) -> bool {
        self.repository == repository && self.deed == Deed::Asked
    }

    pub(super) fn tag_moved(repository: &str, at: i64) -> Self {
        Self { repository: repository.to_owned(), at, deed: Deed::TagMoved }
    }
}

/// One invocation of a function of a run.
#[derive(Debug, Clone)]
pub(super) struct Invocation {
    pub(super) run: String,
    pub(super) is_inventory: bool,
    pub(super) key: Option<String>,
    pub(super) began: i64,
    /// Whether `Enforce` was on when it began.
    pub(super) is_on: bool,
    /// What tells it from any other.
    pub(super) id: String,
    /// The file in the bucket when it began.
    pub(super) file: File,
    /// When each source of use was looked at last, from its beginning.
    pub(super) looks: BTreeMap<&'static str, i64>,
    /// When each repository was read as a whole, and what was there.
    pub(super) surveys: BTreeMap<String, (i64, Repository)>,
    /// What was there when it was read first.
    pub(super) first: BTreeMap<String, (i64, Repository)>,
    /// When the tags were read that decide about the policy of each repository.
    assigned: BTreeMap<String, i64>,
    /// When images of a repository were looked at once more.
    described: BTreeMap<String, i64>,
    /// What was done in each repository, in their order.
    effects: Vec<(String, i64)>,
    /// Policies that were attached, or suspended.
    pub(super) attachings: Vec<(String, i64)>,
    /// What went from a repository, and how many of it to the archive.
    pub(super) gone: BTreeMap<String, (BTreeSet<String>, u64)>,
    /// Operations of which a call went wrong.
    pub(super) faulted: BTreeSet<String>,
    /// When the lifecycle policy of each repository was read.
    pub(super) policies: BTreeMap<String, i64>,
    /// The repositories of which it wrote that tags were refreshed.
    pub(super) refreshed: BTreeSet<String>,
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
            attachings: Vec::new(),
            gone: BTreeMap::new(),
            faulted: BTreeSet::new(),
            policies: BTreeMap::new(),
            refreshed: BTreeSet::new(),
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
pub(super) struct Judged {
    /// Whether somebody asked for a dry run.
    pub(super) is_dry: bool,
    pub(super) protects_only: bool,
    pub(super) began: i64,
    /// Whether nothing went wrong with any call.
    pub(super) is_fair: bool,
    /// Operations of which a call went wrong.
    pub(super) faulted: BTreeSet<String>,
    /// Whether no other run was at work meanwhile.
    pub(super) is_alone: bool,
    /// The repositories that asked for protection tags when it began.
    pub(super) asking: BTreeSet<String>,
    /// The file that its inventory read.
    pub(super) file: Option<File>,
    /// Which attempt of the inventory is at work, and which was complete.
    attempt: usize,
    /// The attempts that wrote each batch.
    writers: BTreeMap<String, usize>,
}

/// What is known of all that happened.
#[derive(Debug, Default)]
pub(super) struct Judge {
    pub(super) violations: Vec<Violation>,
    /// Images that went in the window between the last look and their end.
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
    /// When images went.
    gone: BTreeMap<(String, String), i64>,
    /// Images in use that went, of which it was said why.
    accused: BTreeSet<(String, String)>,
    /// Images that were part of another once.
    pub(super) parts: BTreeSet<String>,
    /// How many images this project took.
    pub(super) taken: u64,
}

/// An image that came into use too late to be seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Late {
    /// For how long the window was open, in microseconds.
    pub(super) window: i64,
    /// Whether this project took it, which has to put it back.
    pub(super) is_owed: bool,
    /// Whether a run began within the last hour or so.
    pub(super) is_hourly: bool,
}

impl Late {
    /// Who took it.
    pub(super) const fn kind(&self) -> &'static str {
        match (self.is_owed, self.is_hourly) {
            (true, _) => "this project took",
            (false, true) => "ECR took after a run within the hour",
            (false, false) => "ECR took after a run longer ago",
        }
    }
}

/// How something went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// An image was deleted or archived by its digest, by this project.
    Taken,
    /// ECR took it, by an attached policy.
    Engine,
    /// ECR would take it.
    Imagined,
}

/// What is to be said of something in use that goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A promise is broken, of this kind.
    Broken(&'static str),
    /// Its use began after the look, or so lately that nobody promises anything.
    Late,
    /// Nobody could know: it is as README says.
    Excused,
}

/// By what images of a repository go.
struct Basis {
    rules: LifecyclePolicy,
    /// Whose limits hold.
    policy: Policy,
    /// Whether ECR takes what was never protected.
    is_by_ecr: bool,
}

type Before = Option<(String, Repository)>;

impl World {
    pub(super) fn break_promise(&mut self, id: &'static str, what: &str) {
        self.say(&format!("  !! {id}: {what}"));
        self.judge.violations.push(Violation { id, what: what.to_owned() });
    }

    pub(super) fn begin_run(&mut self, run: &str, is_dry: bool, protects_only: bool) {
        let began = self.now();
        let judged = Judged {
            is_dry,
            protects_only,
            began,
            is_fair: true,
            faulted: BTreeSet::new(),
            is_alone: self.judge.running.is_empty(),
            asking: self.asking(),
            file: None,
            attempt: 0,
            writers: BTreeMap::new(),
        };
        for other in &self.judge.running {
            if let Some(other) = self.judge.runs.get_mut(other) {
                other.is_alone = false;
            }
        }
        self.judge.running.insert(run.to_owned());
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
        let changes = ["BatchDeleteImage", "UpdateImageStorageClass", "PutImage", "PutLifecyclePolicy"];
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
        mut before: Before,
    ) {
        let now = self.now();
        if response.status >= 300 {
            // There is none: that is known, too.
            if let (Some(invocation), "GetLifecyclePolicy") = (&mut self.invocation, operation) {
                let name = asked["repositoryName"].as_str().unwrap_or_default();
                invocation.policies.insert(name.to_owned(), now);
            }
            return;
        }
        let name = asked["repositoryName"].as_str().unwrap_or_default().to_owned();
        let Some(mut invocation) = self.invocation.take() else { return };
        let is_first_page = asked["nextToken"].is_null() && !request.target.contains("Marker=");
        match operation {
            // Without clusters there is nothing to list in them.
            "ListClusters" if is_first_page => {
                invocation.looks.insert("tasks", now);
                invocation.looks.insert("services", now);
            }
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
                invocation.first.entry(name.clone()).or_insert_with(|| (now, repository.clone()));
                invocation.surveys.insert(name.clone(), (now, repository));
            }
            "GetLifecyclePolicy" => {
                invocation.policies.insert(name.clone(), now);
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
            "PutObject" => self.note(&mut invocation, request),
            "PutLifecyclePolicy" => {
                if let Some((_, before)) = &before {
                    self.note_policy(&mut invocation, &name, asked, before);
                }
                before = None;
            }
            "PutImage" => {
                if let Some((_, before)) = &before {
                    self.note_tag(&invocation, &name, asked, before);
                }
            }
            "DeleteLifecyclePolicy" => {
                self.break_promise("attach", &format!("{name}: this project removes a lifecycle policy"));
            }
            "BatchDeleteImage" if asked.to_string().contains("imageTag") => {
                self.break_promise("A4", &format!("{name}: this project takes a tag off"));
            }
            _ => {}
        }
        self.invocation = Some(invocation);
        if let Some((name, before)) = before {
            self.judge_effect(&name, &before);
        }
    }

    /// Looks at an object that was written.
    fn note(&mut self, invocation: &mut Invocation, request: &Request) {
        let key = request.target.trim_start_matches('/').trim_start_matches(BUCKET).trim_start_matches('/');
        let text = String::from_utf8_lossy(&request.body);
        let lines = || text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let word = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let file_name = key.rsplit('/').next().unwrap_or_default();
        if key.starts_with("journal/") && file_name.starts_with("policy-") {
            lines().for_each(|line| self.note_replaced(&line));
        } else if key.starts_with("journal/") && file_name.starts_with("plan-") {
            for line in lines() {
                let (name, digest) = (word(&line, "repositoryName"), word(&line, "imageDigest"));
                self.say(&format!("{}: ECR is to take {name}@{}", invocation.run, short(&digest)));
                if self.judge.plan(name.clone(), digest.clone()) {
                    self.count(invocation, &name, &self.repository(&name), &BTreeSet::from([digest]));
                }
            }
        } else if key.starts_with("journal/") {
            for line in lines() {
                self.judge.journal.insert((word(&line, "repositoryName"), word(&line, "imageDigest")));
            }
        } else if key == "state/lists.json" {
            for (cluster, list) in LISTS.iter().enumerate() {
                let listed = self.aws.cloud(|cloud| cloud.object_text(&format!("{BUCKET}/{list}")));
                if listed.is_some() {
                    self.judge.known.insert(cluster);
                }
                if listed.is_some_and(|listed| listed.len() > "[]".len()) {
                    self.judge.remembered.insert(cluster, self.now());
                }
            }
        } else if let Some(name) = key.strip_prefix(RECORDS).and_then(|key| key.strip_suffix(".json")) {
            self.note_record(invocation, name, &text);
        } else if key.contains("/batches/") {
            if let Some(run) = self.judge.runs.get_mut(&invocation.run) {
                run.writers.insert(key.to_owned(), run.attempt);
            }
        } else if key.contains("/outcomes/") && !key.contains("/unmatched/") {
            for outcome in outcome_file::read(key, &request.body).unwrap() {
                let line = serde_json::to_value(outcome).unwrap();
                let status = word(&line, "status");
                self.judge_outcome(invocation, &line);
                self.judge_left_out(invocation, key, &line);
                if std::env::var("SIMULATION_IMAGES").is_ok() {
                    for image in line["results"].as_array().into_iter().flatten() {
                        self.say(&format!("  {image}"));
                    }
                }
                let detail =
                    line["blockers"][0]["message"].as_str().or(line["error"].as_str()).unwrap_or_default();
                self.say(&format!(
                    "{}: {} is {status} {detail}",
                    invocation.run,
                    word(&line, "repositoryName")
                ));
            }
        }
    }

    pub(super) fn is_held(&self, name: &str) -> bool {
        self.aws.with(|registry| registry.repositories[name].tags.contains_key("hold"))
    }

    /// Whether a repository was held before some time.
    fn was_held(&self, name: &str, at: i64) -> bool {
        let acts = self.judge.acts.iter().filter(|act| act.repository == name && act.at < at);
        let mut holds = acts.filter_map(|act| match act.deed {
            Deed::Hold(is_held) => Some(is_held),
            Deed::Deleted | Deed::TagMoved | Deed::Asked => None,
        });
        holds.next_back().unwrap_or(false)
    }

    /// Whether a repository was held when the tags were read that decide about its policy: nobody can read them and attach in one
    /// call. They have to be read for this repository alone, after all that was done in others.
    pub(super) fn was_held_for(&self, invocation: &Invocation, name: &str) -> bool {
        let done = invocation.effects.iter().chain(&invocation.attachings);
        let elsewhere = done.filter(|(other, _)| other != name).map(|(_, at)| *at).max();
        match invocation.assigned.get(name) {
            Some(&at) if elsewhere.is_none_or(|done| done <= at) => self.was_held(name, at),
            _ => self.is_held(name),
        }
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

    fn judge_effect(&mut self, name: &str, before: &Repository) {
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
            self.judge_rules(name, before, &all, &archived);
            self.judge_use(name, before, &all, How::Taken);
        }
        if let Some(invocation) = &mut self.invocation {
            invocation.effects.push((name.to_owned(), now));
        }
    }

    /// Whether what goes may go, by the file, the limits, the switch and the journal.
    fn judge_rules(
        &mut self,
        name: &str,
        before: &Repository,
        all: &BTreeSet<String>,
        archived: &BTreeSet<String>,
    ) {
        let now = self.now();
        let Some(invocation) = self.invocation.clone() else { return };
        let Some(run) = self.judge.runs.get(&invocation.run).cloned() else { return };
        let Some(file) = run.file.clone() else { return };
        if run.is_dry || run.protects_only {
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
        let read_at = invocation.surveys.get(name).map_or(invocation.began, |(at, _)| *at);
        // What decides is read once, before the first effect.
        let assigned_at = invocation.assigned.get(name).copied().unwrap_or(read_at);
        let assigned = file.policy_of(name, self.was_held(name, assigned_at));
        let Some(basis) = self.basis(name, assigned, &run, before) else {
            let is_stale = run.writers.get(&key).is_some_and(|attempt| *attempt < run.attempt);
            if !is_stale {
                self.break_promise("C6", &format!("{name}: nothing is to be deleted there"));
            }
            return;
        };
        let policy = &basis.policy;
        // What the policy takes of what there is: the plan may not rest on what is not there any more.
        let by_policy = takings(&basis.rules, before, now);
        // What is about something goes with that.
        let follows = |digest: &str| {
            let image = before.images.iter().find(|image| image.digest == digest);
            let by_tag = |image: &Image| image.tags.iter().find_map(|tag| subject_of_tag(tag));
            let subject = image.and_then(|image| image.subject.clone().or_else(|| by_tag(image)));
            subject.is_some_and(|subject| {
                by_policy.contains(&subject) || !before.images.iter().any(|image| image.digest == subject)
            })
        };
        let is_too_much = |digest: &&String| !by_policy.contains(*digest) && !follows(digest);
        // What never was protected ECR takes itself.
        if basis.is_by_ecr
            && let Some(digest) = all.iter().find(|digest| !self.was_protected(name, before, digest))
        {
            let what =
                format!("{name}@{} goes by this project, though nothing of it was protected", short(digest));
            self.break_promise("own-path", &what);
        }
        let too_much: Vec<&String> = all.iter().filter(is_too_much).collect();
        if let Some(digest) = too_much.first() {
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
        for digest in all {
            if !self.judge.journal.contains(&(name.to_owned(), digest.clone())) {
                let id = if archived.contains(digest) { "C2" } else { "journal" };
                self.break_promise(id, &format!("{name}@{} is not in the journal", short(digest)));
                break;
            }
        }
        self.judge_limits(name, policy, all, archived.len() as u64);
        self.count(&invocation, name, before, all);
    }

    /// Images of a repository go, or are to go by ECR: the whole registry has a limit for a day.
    fn count(&mut self, invocation: &Invocation, name: &str, before: &Repository, all: &BTreeSet<String>) {
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

    /// By what images of a repository may go, if any may.
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

    /// The repositories that ask for protection tags by a tag of their own.
    fn asking(&self) -> BTreeSet<String> {
        let asks =
            |repository: &Repository| repository.tags.get(PROTECT_TAG).is_some_and(|value| value == "true");
        self.aws.with(|registry| {
            registry.repositories.iter().filter(|(_, one)| asks(one)).map(|(name, _)| name.clone()).collect()
        })
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

    fn judge_limits(&mut self, name: &str, policy: &Policy, all: &BTreeSet<String>, archived: u64) {
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

    /// Whether what goes is in use.
    pub(super) fn judge_use(&mut self, name: &str, before: &Repository, all: &BTreeSet<String>, how: How) {
        let now = self.now();
        if how != How::Imagined {
            self.judge.gone.extend(all.iter().map(|digest| ((name.to_owned(), digest.clone()), now)));
        }
        let mut reported = BTreeSet::new();
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
    pub(super) fn cause(
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

    /// The same for what a list has to tell; `None` where nobody promises that it does.
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

impl Judge {
    /// Whether an image went in the window between the last look and its end; and if so, whether it has to come back.
    pub(super) fn is_owed(&self, image: &(String, String)) -> Option<bool> {
        self.late.get(image).map(|late| late.is_owed)
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
pub(super) fn past_a_limit(policy: &Policy, total: u64, gone: u64) -> Option<String> {
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

pub(super) fn shortened(tag: &str) -> String {
    match tag.rsplit_once('-') {
        Some((prefix, hex)) if hex.len() == 64 => format!("{prefix}-{}…", &hex[..8]),
        _ => tag.to_owned(),
    }
}
