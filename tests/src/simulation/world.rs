//! AWS, what is really in use, and the story of it all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tests::clock;
use tests::cloud::BUCKET;
use tests::ecr_stub::{EcrStub, Repository};
use tests::http::{Request, Response};
use tokio::sync::Notify;

use super::engine::{self, children};
use super::events::Events;
use super::file::{File, TIDY};
use super::judge::{Invocation, Judge};
use super::product;
use super::protection::{Attached, RECORDS};
use super::step::Step;
use super::wire::{CallOutcome, latency};

/// When the world begins: the 1st of March 2027, in microseconds since 1970.
const BEGINNING: i64 = 1_803_859_200_000_000;
pub(super) const MINUTE: i64 = 60_000_000;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;
pub(super) const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

thread_local! {
    static STARTED: std::cell::Cell<Option<tokio::time::Instant>> = const { std::cell::Cell::new(None) };
}

/// The present of this thread's world, in microseconds since 1970: it advances as the time of Tokio does, which is paused.
pub(super) fn wall_clock() -> i64 {
    let now = tokio::time::Instant::now();
    let started = STARTED.get().unwrap_or(now);
    BEGINNING + i64::try_from((now - started).as_micros()).expect("no world is that old")
}

/// The repositories of the world. `pro/app` has a policy of somebody else's, and `prv/app` one that it was made with.
pub(super) const REPOSITORIES: [&str; 7] =
    ["del/app", "del/bpp", "att/app", "att/bpp", "free/app", "pro/app", "prv/app"];
/// The resource tag with which somebody asks for protection tags.
pub(super) const PROTECT_TAG: &str = "ecr-steward:protect";
/// The names of the lists of what clusters of Amazon EKS run.
pub(super) const LISTS: [&str; 2] = ["usage/blue.json", "usage/green.json"];

/// An image in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) repository: String,
    pub(super) digest: String,
    pub(super) by: By,
    pub(super) who: String,
    /// Since when, without a break.
    pub(super) since: i64,
}

/// What uses an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum By {
    /// A task runs it.
    Task,
    /// A service starts its next task with it, by the digest that its revision pinned.
    Pin,
    /// A service may be rolled back to it.
    Rollback,
    Function,
    /// A pod runs it, in the cluster of this number.
    Pod(usize),
}

/// A digest that something runs or would run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pinned {
    pub(super) repository: String,
    /// The tag in the task definition.
    pub(super) tag: String,
    pub(super) digest: String,
    pub(super) since: i64,
}

/// A service of Amazon ECS.
#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) current: Pinned,
    pub(super) previous: Option<Pinned>,
    /// How many tasks run, since when.
    pub(super) tasks: usize,
    pub(super) running_since: i64,
}

/// How somebody writes the list of what a cluster runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Habit {
    /// Not at all, and there is none.
    Absent,
    Hourly,
    /// There is one, and nobody writes it any more.
    Stopped,
    /// Whoever writes it sees nothing.
    Blind,
    /// Somebody has deleted it.
    Lost,
}

/// The state of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    /// It is written, and is true.
    True,
    /// It is written by somebody who sees nothing.
    Blind,
    /// It is deleted.
    Gone,
}

/// What really runs.
#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) services: BTreeMap<String, Service>,
    /// Tasks that belong to no service.
    pub(super) tasks: Vec<Pinned>,
    pub(super) functions: BTreeMap<String, Pinned>,
    /// The pods of each cluster of Amazon EKS.
    pub(super) pods: [Vec<Pinned>; 2],
    /// Families and image references of task definitions, in the order in which they were registered.
    pub(super) definitions: Vec<(String, String)>,
    /// What was deployed to which service, the oldest first: each is a service revision, which never changes.
    pub(super) deployments: Vec<(String, Pinned)>,
}

impl Truth {
    pub(super) fn uses(&self) -> Vec<Use> {
        let mut uses = Vec::new();
        let mut add = |pinned: &Pinned, by, who: &str, since| {
            let Pinned { repository, digest, .. } = pinned.clone();
            uses.push(Use { repository, digest, by, who: who.to_owned(), since });
        };
        for (name, service) in &self.services {
            if service.tasks > 0 {
                add(&service.current, By::Task, name, service.running_since);
            }
            add(&service.current, By::Pin, name, service.current.since);
            if let Some(previous) = &service.previous {
                add(previous, By::Rollback, name, previous.since);
            }
        }
        for task in &self.tasks {
            add(task, By::Task, "a task", task.since);
        }
        for (name, function) in &self.functions {
            add(function, By::Function, name, function.since);
        }
        for (cluster, pods) in self.pods.iter().enumerate() {
            for pod in pods {
                add(pod, By::Pod(cluster), "a pod", pod.since);
            }
        }
        uses
    }
}

/// How many may act at the same time.
pub(super) const ACTORS: usize = 3;

/// What happens in the middle of a run.
#[derive(Debug, Clone)]
pub(super) struct Interlude {
    /// After some calls whose label contains this text.
    pub(super) label: String,
    pub(super) nth: usize,
    pub(super) step: Step,
}

/// How unreliable the world is at the moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Weather {
    /// The number of calls of 1,000 that fail.
    pub(super) rate: u16,
    /// Calls that go wrong so: a text in their labels, and how many.
    pub(super) planned: Vec<(String, CallOutcome, usize)>,
    /// The function is killed at a call whose label contains this, after this number of them; and whether with its effect.
    pub(super) kill: Option<(String, usize, bool)>,
}

pub(super) struct World {
    pub(super) aws: EcrStub,
    pub(super) truth: Truth,
    /// How each list is written, and since when.
    pub(super) habits: [(Habit, i64); 2],
    /// What became of each list, and when.
    pub(super) lists: [Vec<(i64, Listing)>; 2],
    pub(super) file: File,
    /// When the file was last changed.
    pub(super) file_since: i64,
    pub(super) is_enforcing: bool,
    /// When that was last changed.
    pub(super) enforce_since: i64,
    pub(super) judge: Judge,
    pub(super) rng: fastrand::Rng,
    pub(super) weather: Weather,
    pub(super) interludes: Vec<Interlude>,
    /// The invocation of whoever acts at the moment, and those of the others.
    pub(super) invocation: Option<Invocation>,
    parked: [Option<Invocation>; ACTORS],
    actor: usize,
    pub(super) killed: [Arc<Notify>; ACTORS],
    pub(super) runs: usize,
    pub(super) pushes: usize,
    pub(super) calls: usize,
    /// Whether ECR ranks artifacts about other images like those, which AWS does not say.
    pub(super) is_ranked: bool,
    pub(super) is_printed: bool,
    /// The events of Amazon ECR; `None` if every run looks at everything.
    pub(super) events: Option<Events>,
    pub(super) story: Vec<String>,
    trace: DefaultHasher,
    now: i64,
}

impl World {
    /// An empty world, whose time begins now.
    pub(super) fn new(seed: u64, leaves_out: bool) -> Self {
        STARTED.set(Some(tokio::time::Instant::now()));
        fastrand::seed(seed);
        let aws = EcrStub::in_memory();
        aws.only_count();
        clock::set(Some(BEGINNING));
        let mut world = Self {
            aws,
            truth: Truth::default(),
            habits: [(Habit::Absent, BEGINNING); 2],
            lists: Default::default(),
            file: File::usual(),
            file_since: BEGINNING,
            is_enforcing: true,
            enforce_since: BEGINNING,
            judge: Judge::default(),
            rng: fastrand::Rng::with_seed(seed),
            weather: Weather::default(),
            interludes: Vec::new(),
            invocation: None,
            parked: Default::default(),
            actor: 0,
            killed: Default::default(),
            runs: 0,
            pushes: 0,
            calls: 0,
            is_ranked: seed.is_multiple_of(2),
            is_printed: false,
            events: leaves_out.then(|| Events::new(seed)),
            story: Vec::new(),
            trace: DefaultHasher::new(),
            now: BEGINNING,
        };
        for name in REPOSITORIES {
            let repository = tests::site::repository(name);
            world.aws.with(|registry| registry.repositories.insert(name.to_owned(), repository));
        }
        world.write_file();
        world.furnish(seed);
        let made = Attached {
            text: engine::guarded(engine::DEFAULT),
            policy: None,
            at: BEGINNING,
            by: String::new(),
        };
        world.judge.attached.insert("prv/app".to_owned(), made);
        world.judge.protection.claimed.insert("prv/app".to_owned(), BEGINNING);
        world
    }

    /// What is there besides: somebody else's policies, and a repository that this project made.
    fn furnish(&self, seed: u64) {
        let (guarded, made) = (engine::guarded(TIDY), engine::guarded(engine::DEFAULT));
        self.aws.with(|registry| {
            let mut of = |name: &str, policy: &str| {
                let repository =
                    registry.repositories.get_mut(name).expect("it is a repository of the world");
                repository.lifecycle_policy = Some(policy.to_owned());
            };
            of("pro/app", &guarded);
            of("prv/app", &made);
            let mut describe = |name: &str, field: &str, value: Value| {
                registry.repositories.get_mut(name).expect("it is a repository of the world").described
                    [field] = value;
            };
            describe("prv/app", "imageTagMutability", "MUTABLE_WITH_EXCLUSION".into());
            let filters = json!([{ "filterType": "WILDCARD", "filter": "ecr-steward-*" }]);
            describe("prv/app", "imageTagMutabilityExclusionFilters", filters);
            if seed.is_multiple_of(3) {
                describe("att/bpp", "imageTagMutability", "IMMUTABLE".into());
            }
            if seed.is_multiple_of(4) {
                let free =
                    registry.repositories.get_mut("free/app").expect("it is a repository of the world");
                free.lifecycle_policy = Some(guarded);
                free.tags.insert(PROTECT_TAG.to_owned(), "true".to_owned());
            }
        });
        // As the request leaves it that makes the repository.
        let record = json!({ "registryId": "123456789012", "repositoryName": "prv/app", "mode": "provisioned",
            "refreshedAt": product::time(self.now), "refreshedBy": "arn:aws:sts::123456789012:assumed-role/people",
            "lifecyclePolicyText": engine::bare(engine::DEFAULT) });
        self.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/{RECORDS}prv/app.json"), &record.to_string()));
    }

    /// Whether the switch has to look.
    pub(super) fn has_old_tags(&self) -> bool {
        let of = |name: &&str| {
            let text =
                self.aws.cloud(|cloud| cloud.object_text(&format!("{BUCKET}/{RECORDS}{name}.json")))?;
            let record: Value = serde_json::from_str(&text).ok()?;
            (record["suspended"].is_null() && record["mode"] != "protect")
                .then(|| product::micros(record["refreshedAt"].as_str()?))?
        };
        REPOSITORIES.iter().filter_map(of).any(|at| self.now - at > 47 * HOUR)
    }

    /// Whoever acts from now on.
    pub(super) fn act_as(&mut self, actor: usize) {
        if actor != self.actor {
            self.parked[self.actor] = self.invocation.take();
            self.invocation = self.parked[actor].take();
            self.actor = actor;
        }
    }

    pub(super) fn look_at_the_clock(&mut self) {
        self.now = wall_clock();
        clock::set(Some(self.now));
        self.deliver();
    }

    pub(super) const fn now(&self) -> i64 {
        self.now
    }

    /// A line of the story.
    pub(super) fn say(&mut self, line: &str) {
        let since = self.now - BEGINNING;
        let (day, hour, minute) = (since / DAY, since / HOUR % 24, since / MINUTE % 60);
        let seconds = since % MINUTE / 100_000;
        (self.now, line).hash(&mut self.trace);
        let line = format!("day {day} {hour:02}:{minute:02}:{:02}.{} {line}", seconds / 10, seconds % 10);
        if self.is_printed {
            println!("{line}");
        }
        self.story.push(line);
    }

    /// What tells this course of events from any other.
    pub(super) fn trace(&self) -> u64 {
        self.trace.finish()
    }

    pub(super) fn write_file(&mut self) {
        let text = self.file.text();
        self.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), &text));
        self.file_since = self.now;
    }

    /// Has what is known of ECS and Lambda say what really runs.
    fn project(&self) {
        let truth = &self.truth;
        self.aws.cloud(|cloud| {
            cloud.ecs.stop_all();
            let mut arns: BTreeMap<(&str, &str), String> = BTreeMap::new();
            for (family, image) in &truth.definitions {
                arns.insert((family, image), cloud.ecs.register(family, &[image]));
            }
            let arn = |family: &str, pinned: &Pinned| {
                let image = format!("{HOST}/{}:{}", pinned.repository, pinned.tag);
                arns.get(&(family, image.as_str()))
                    .expect("every deployment registers what it deploys")
                    .clone()
            };
            for (name, pinned) in &truth.deployments {
                cloud.ecs.deploy("prod", name, &arn(name, pinned), Some(&pinned.digest));
            }
            for (name, service) in &truth.services {
                let definition = arn(name, &service.current);
                for _ in 0..service.tasks {
                    cloud.ecs.run_service_task("prod", name, &definition, Some(&service.current.digest));
                }
            }
            for task in &truth.tasks {
                cloud.ecs.run_task("prod", &arn("job", task), Some(&task.digest));
            }
            cloud.functions.remove_all();
            for (name, function) in &truth.functions {
                let Pinned { repository, tag, digest, .. } = function;
                let resolved = format!("{HOST}/{repository}@{digest}");
                cloud.functions.add(name, "$LATEST", &format!("{HOST}/{repository}:{tag}"), &resolved);
            }
        });
    }

    /// A call arrives: how it ends, and how long it takes.
    pub(super) fn receive(&mut self, request: &Request) -> (CallOutcome, Duration) {
        self.calls += 1;
        let label = label(request);
        let mut outcome = CallOutcome::Well;
        if let Some((text, after, has_effect)) = &mut self.weather.kill
            && label.contains(text.as_str())
        {
            if *after == 0 {
                outcome = CallOutcome::Dies { has_effect: *has_effect };
                self.weather.kill = None;
            } else {
                *after -= 1;
            }
        }
        let planned = self
            .weather
            .planned
            .iter_mut()
            .find(|(text, _, left)| *left > 0 && label.contains(text.as_str()));
        if let Some((_, planned, left)) = planned {
            *left -= 1;
            outcome = *planned;
        } else if self.weather.rate > 0
            && self.rng.u16(..1000) < self.weather.rate
            && outcome == CallOutcome::Well
        {
            let has_effect = self.rng.bool();
            // S3 and Lambda tell by statuses what others tell by names.
            let is_json = request.header("x-amz-target").is_some();
            outcome = match self.rng.u8(..8) {
                0..=2 if is_json => CallOutcome::Refused(400, "ThrottlingException"),
                0..=2 => CallOutcome::Refused(503, "SlowDown"),
                3 => CallOutcome::Refused(500, "ServerException"),
                4 if is_json => CallOutcome::Refused(400, "AccessDeniedException"),
                4 => CallOutcome::Refused(403, "AccessDeniedException"),
                5 | 6 => CallOutcome::Lost { has_effect },
                _ => CallOutcome::Silent { has_effect },
            };
        }
        if outcome != CallOutcome::Well {
            self.note_fault(&EcrStub::operation(request));
        }
        // For whoever wants to know more than the story tells.
        if self.is_printed && std::env::var("SIMULATION_CALLS").is_ok() {
            println!("    {label}: {outcome:?}");
        }
        (self.now, &label, outcome == CallOutcome::Well).hash(&mut self.trace);
        let latency = latency(&mut self.rng);
        (outcome, latency)
    }

    fn note_fault(&mut self, operation: &str) {
        let Some(invocation) = &mut self.invocation else { return };
        invocation.faulted.insert(operation.to_owned());
        if let Some(run) = self.judge.runs.get_mut(&invocation.run) {
            run.is_fair = false;
            run.faulted.insert(operation.to_owned());
        }
    }

    /// A call has its effect. `is_answered`: whether the answer arrives.
    pub(super) fn serve(&mut self, request: &Request, is_answered: bool) -> Response {
        let operation = EcrStub::operation(request);
        let is_of_ecs =
            request.header("x-amz-target").is_some_and(|target| target.contains("ContainerService"));
        if is_of_ecs || request.target.contains("/functions/") {
            self.project();
        }
        let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let before = self.before(&operation, &asked);
        let response = self.aws.answer(request).expect("no faults are planned in the stub");
        request.body.hash(&mut self.trace);
        // Who asked has seen nothing yet when the answer of a call that only reads is lost.
        let is_read = ["Describe", "Get", "List"].iter().any(|verb| operation.starts_with(verb));
        if is_answered || !is_read {
            self.look_after(&operation, request, &asked, &response, before);
        }
        self.announce();
        let label = label(request);
        self.play_interludes(&label);
        response
    }

    fn play_interludes(&mut self, label: &str) {
        let mut due = Vec::new();
        self.interludes.retain_mut(|interlude| {
            let is_meant = label.contains(interlude.label.as_str());
            if is_meant && interlude.nth == 0 {
                due.push(interlude.step.clone());
                return false;
            }
            interlude.nth -= usize::from(is_meant);
            true
        });
        for step in due {
            step.perform(self);
        }
    }

    /// Something happens between two parts of a run.
    pub(super) fn pause(&mut self, label: &str) {
        self.play_interludes(label);
    }

    pub(super) fn kill(&mut self) {
        self.killed[self.actor].notify_one();
    }

    pub(super) fn repository(&self, name: &str) -> Repository {
        self.aws.with(|registry| registry.repositories[name].clone())
    }

    /// What a tag means.
    pub(super) fn resolve(&self, repository: &str, tag: &str) -> Option<String> {
        self.aws.with(|registry| {
            let images = &registry.repositories.get(repository)?.images;
            let image = images.iter().find(|image| image.tags.contains(tag) && !image.archived)?;
            Some(image.digest.clone())
        })
    }

    /// Somebody pulls an image; ECR records a pull once in a day.
    pub(super) fn pull(&mut self, repository: &str, digest: &str) {
        #[expect(clippy::cast_precision_loss, reason = "a time of this century")]
        let now = self.now as f64 / 1e6;
        self.aws.with(|registry| {
            let images = registry.repositories.get_mut(repository).map(|repository| &mut repository.images);
            if let Some(image) = images.into_iter().flatten().find(|image| image.digest == digest)
                && image.last_pulled_at.is_none_or(|last| now - last >= 86_400.0)
            {
                image.last_pulled_at = Some(now);
            }
        });
    }

    pub(super) fn write_list(&mut self, cluster: usize) {
        let pods: Vec<String> = match self.habits[cluster].0 {
            Habit::Absent | Habit::Stopped | Habit::Lost => return,
            Habit::Blind => {
                self.lists[cluster].push((self.now, Listing::Blind));
                Vec::new()
            }
            Habit::Hourly => {
                self.lists[cluster].push((self.now, Listing::True));
                let pods = self.truth.pods[cluster].iter();
                let pods = pods.map(|pod| format!("{HOST}/{}@{}", pod.repository, pod.digest));
                pods.collect::<BTreeSet<_>>().into_iter().collect()
            }
        };
        self.aws
            .cloud(|cloud| cloud.upload(&format!("{BUCKET}/{}", LISTS[cluster]), &json!(pods).to_string()));
    }
}

/// What a call is, in a few words.
pub(super) fn label(request: &Request) -> String {
    let operation = EcrStub::operation(request);
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let mut label = operation;
    if !path.trim_matches('/').is_empty() {
        let _ = write!(label, " {}", path.trim_matches('/'));
    }
    if !query.is_empty() {
        let _ = write!(label, "?{query}");
    }
    let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    if let Some(name) = asked["repositoryName"].as_str() {
        let _ = write!(label, " {name}");
    }
    label
}

/// Everything that belongs together with some images of a repository: what lists them, their subject, and then all that
/// those list and all that is about those.
pub(super) fn closure(repository: &Repository, digests: &BTreeSet<String>) -> BTreeSet<String> {
    let relations: Vec<(&str, Vec<String>, Option<String>)> = repository
        .images
        .iter()
        .map(|image| {
            let by_tag = image.tags.iter().find_map(|tag| subject_of_tag(tag));
            (image.digest.as_str(), children(image), image.subject.clone().or(by_tag))
        })
        .collect();
    // A subject that somebody deleted joins nothing: what else is about it serves nobody.
    let is_there = |subject: &String| relations.iter().any(|(digest, ..)| digest == subject);
    let mut all: BTreeSet<String> = digests.clone();
    let mut open: VecDeque<String> = digests.iter().cloned().collect();
    while let Some(digest) = open.pop_front() {
        for (other, listed, subject) in &relations {
            let is_up = listed.contains(&digest);
            if is_up && all.insert((*other).to_owned()) {
                open.push_back((*other).to_owned());
            }
            if *other == digest
                && let Some(subject) = subject
                && is_there(subject)
                && all.insert(subject.clone())
            {
                open.push_back(subject.clone());
            }
        }
    }
    let mut open: VecDeque<String> = all.iter().cloned().collect();
    while let Some(digest) = open.pop_front() {
        for (other, listed, subject) in &relations {
            let mut down: Vec<&String> = Vec::new();
            if *other == digest {
                down.extend(listed);
            }
            let other = (*other).to_owned();
            if subject.as_ref() == Some(&digest) {
                down.push(&other);
            }
            for digest in down {
                if all.insert(digest.clone()) {
                    open.push_back(digest.clone());
                }
            }
        }
    }
    all
}

/// What an image with such a tag is about, as cosign and OCI's fallback have it.
pub(super) fn subject_of_tag(tag: &str) -> Option<String> {
    let rest = tag.strip_prefix("sha256-")?;
    let hex = rest.split('.').next()?;
    (hex.len() == 64).then(|| format!("sha256:{hex}"))
}

/// A digest, as the story tells it.
pub(super) fn short(digest: &str) -> &str {
    digest.get(..15).unwrap_or(digest)
}
