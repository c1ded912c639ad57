//! Runs that look only at repositories which may have changed, beside runs that look at everything: the same is deleted, and the
//! totals are the same. By the workflows of the functions over AWS in memory, with time in the test's hands; and once by the
//! functions themselves.

// A run within a history: one future holds the others.
#![recursion_limit = "256"]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use serde_json::{Value, json};
use shared::aws::ecr::EcrWrite;
use shared::aws::sqs::Sqs;
use shared::aws::{AccessKeys, Clock, Connection, Transport};
use shared::domain::enforcement::outcome_file;
use shared::domain::enforcement::run::{Run, Task};
use shared::domain::text::instant::Instant;
use shared::workflows::enforcement::inventory::{self, Invocation, Progress};
use shared::workflows::enforcement::process_batch::{Caller, CallerAccess, work};
use shared::workflows::enforcement::read_changes::Queue;
use shared::workflows::enforcement::read_layers::CostSettings;
use shared::workflows::enforcement::{AwsClients, PreviewOnly, Reading, summarize};
use tests::clock;
use tests::cloud::{self, BUCKET, Cloud};
use tests::ecr_stub::{EcrStub, Fault, Registry, Repository};
use tests::http::Request;
use tests::site::{HOST, repository};
use tests::steward::{PLENTY, Steward, approved};

const ACCOUNT: &str = "123456789012";
const QUEUE: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/changes";
/// The 1st of March 2027, in microseconds since 1970.
const BEGINNING: i64 = 1_803_859_200_000_000;
const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const CHANGED: &str = "state/changed.json";

/// AWS without sockets.
#[derive(Clone)]
struct Wire(std::sync::Arc<EcrStub>);

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let response = self.0.answer(&Request::from(&request)).unwrap();
        let mut answer = HttpResponse::new(response.status.try_into().unwrap(), SdkBody::from(response.body));
        for (name, value) in response.headers {
            answer.headers_mut().insert(name.to_ascii_lowercase(), value);
        }
        HttpConnectorFuture::new(async move {
            // No two calls are made at one time.
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(answer)
        })
    }
}

/// A registry, and a stack that runs over it.
struct World {
    aws: std::sync::Arc<EcrStub>,
    clients: AwsClients,
    ecr: EcrWrite,
    /// The queue's client, if unchanged repositories are left out.
    sqs: Option<Sqs>,
    runs: usize,
    /// What the state machine says why the next run failed.
    error: Option<String>,
}

/// The digests and tags of each repository.
type Images = BTreeMap<String, BTreeSet<(String, Vec<String>, bool)>>;

impl World {
    fn new(leaves_out: bool) -> Self {
        let aws = std::sync::Arc::new(EcrStub::in_memory());
        aws.only_count();
        let keys = AccessKeys {
            access_key_id: "AKIATEST".to_owned(),
            secret_access_key: "secret".to_owned(),
            session_token: None,
        };
        let clock = Clock::of(|| Instant::from_micros(clock::micros()).unwrap());
        let connector = SharedHttpConnector::new(Wire(std::sync::Arc::clone(&aws)));
        let connection =
            Connection::over(Transport::over(connector, clock, keys, "eu-west-1", "http://aws.test"));
        let (ecr, sqs) = (connection.ecr_write(), leaves_out.then(|| connection.sqs()));
        Self { aws, clients: AwsClients::new(connection, BUCKET.to_owned()), ecr, sqs, runs: 0, error: None }
    }

    /// A whole run, and its report.
    async fn run(&mut self, more: Value) -> Value {
        let taken = self.take(more).await;
        self.summarize(&taken).await.unwrap()
    }

    /// A run without its report.
    async fn take(&mut self, more: Value) -> (Run, Progress) {
        self.runs += 1;
        let now = Instant::from_micros(clock::micros()).unwrap();
        let mut run =
            json!({ "runId": format!("r{}", self.runs), "startedAt": now.to_string(), "dryRun": false });
        run.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        let mut run: Run = serde_json::from_value(run).unwrap();
        let mut progress = Progress::default();
        let queue = self.sqs.as_ref().map(|sqs| Queue { sqs, url: QUEUE });
        for attempt in 0.. {
            let request_id = format!("{}-{attempt}", run.run_id);
            let invocation = Invocation {
                request_id: &request_id,
                account_id: ACCOUNT,
                stack: "steward",
                is_on: true,
                max_concurrency: 2,
                costs: CostSettings { layer_reads: 20, tag: "team" },
                queue,
            };
            let clients = self.clients.clients(PLENTY);
            (run, progress) = Box::pin(inventory::take(&clients, &run, progress, invocation)).await.unwrap();
            if progress.next_token.is_none() {
                break;
            }
        }
        for key in self.batches(&run) {
            let mut task = Task { run: run.clone(), key, done: 0, is_complete: false };
            while !task.is_complete {
                let (clients, account_id) = (self.clients.clients(PLENTY), ACCOUNT);
                let done = if task.key.contains("/preview/") {
                    let access = CallerAccess::<PreviewOnly>::Preview(Reading);
                    Box::pin(work(clients, Caller { account_id, access }, &task)).await
                } else {
                    let access = CallerAccess::Enforce { ecr: &self.ecr, is_on: true };
                    Box::pin(work(clients, Caller { account_id, access }, &task)).await
                };
                task = done.unwrap();
            }
        }
        (run, progress)
    }

    async fn summarize(&mut self, (run, progress): &(Run, Progress)) -> Result<Value, String> {
        let clients = self.clients.clients(PLENTY);
        let (now, error) = (clients.now(), self.error.take());
        let report = summarize::summarize(&clients, run, progress, error, now).await;
        let report = report.map_err(|error| error.to_string())?;
        summarize::write(&clients, &report, "").await.unwrap();
        Ok(serde_json::to_value(report).unwrap())
    }

    fn batches(&self, run: &Run) -> Vec<String> {
        let text = self.object(&run.batch_list_key()).unwrap();
        let list: Value = serde_json::from_str(&text).unwrap();
        list.as_array().unwrap().iter().map(|batch| batch["key"].as_str().unwrap().to_owned()).collect()
    }

    fn object(&self, key: &str) -> Option<String> {
        self.aws.cloud(|cloud| cloud.object_text(&format!("{BUCKET}/{key}")))
    }

    fn upload(&self, key: &str, text: &str) {
        self.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/{key}"), text));
    }

    /// Looks at images so far.
    fn looks(&self) -> usize {
        self.aws.counts().get("DescribeImages").copied().unwrap_or_default()
    }

    /// A run, and how many looks at repositories it took.
    async fn looks_of_run(&mut self) -> (Value, usize) {
        let before = self.looks();
        let report = self.run(json!({})).await;
        (report, self.looks() - before)
    }

    fn images(&self) -> Images {
        self.aws.with(|registry| {
            let of = |repository: &Repository| {
                let images = repository.images.iter();
                images
                    .map(|image| (image.digest.clone(), image.tags.iter().cloned().collect(), image.archived))
                    .collect()
            };
            registry.repositories.iter().map(|(name, repository)| (name.clone(), of(repository))).collect()
        })
    }

    /// The outcome of each repository in the last run, to be shown when a test fails.
    fn outcomes(&self) -> String {
        let prefix = format!("runs/r{}/outcomes/", self.runs);
        let keys = self.aws.cloud(|cloud| cloud.keys(BUCKET, &prefix));
        let mut lines: Vec<String> = Vec::new();
        for key in keys {
            let content = self.aws.cloud(|cloud| cloud.object_bytes(&format!("{BUCKET}/{key}"))).unwrap();
            let outcomes = outcome_file::read(&key, &content).unwrap();
            lines.extend(outcomes.iter().map(|outcome| serde_json::to_string(outcome).unwrap()));
        }
        lines.sort_unstable();
        lines.join("\n")
    }

    /// Sends an event for each repository that is otherwise than before.
    fn announce(&self, before: &Images) {
        for (name, images) in self.images() {
            if before.get(&name) != Some(&images) {
                self.event(&name, clock::micros());
            }
        }
    }

    fn event(&self, repository: &str, at: i64) {
        self.aws.cloud(|cloud| cloud.queues.send_event(QUEUE, repository, "PUSH", at));
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Repository)) {
        self.aws.with(|registry| change(registry.repositories.get_mut(name).unwrap()));
    }
}

/// A runtime of this thread, whose waits take no time.
fn in_test_time(test: impl Future<Output = ()>) {
    clock::set(Some(BEGINNING));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(test);
    clock::set(None);
}

fn pass(micros: i64) {
    clock::set(Some(clock::micros() + micros));
}

const LIMITS: &str = "limits: { images: 10000, percent: 100, remaining: 1 }";

/// A policies file by which images of this age in days are deleted.
fn by_age(days: u32, more: &str) -> String {
    approved(&format!(
        "policies: [{{ name: all, repositories: ['*'], rules: [{{ selection: any, maximumAgeLimit: {days} }}],
          apply: delete, {LIMITS}{more} }}]
limits: {{ images: 100000, percent: 100 }}"
    ))
}

/// Repositories with three young images each, under a policy by age.
fn quiet(number: usize) -> World {
    let world = World::new(true);
    world.upload("policies.yaml", &by_age(14, ""));
    for number in 0..number {
        let name = format!("app/{number}");
        let mut repository = repository(&name);
        for image in 0..3 {
            repository.push(&format!("{name} {image}"), &[&format!("v{image}")]);
        }
        world.aws.with(|registry| registry.repositories.insert(name, repository));
    }
    world
}

/// Repositories whose own policy is checked today are looked at.
fn checked_today(number: usize) -> usize {
    let now = Instant::from_micros(clock::micros()).unwrap();
    let is_checked = |number: &usize| {
        shared::domain::enforcement::batch::checks_native_policy(&format!("app/{number}"), now, None)
    };
    (0..number).filter(is_checked).count()
}

#[test]
fn only_repositories_that_may_have_changed_are_looked_at() {
    in_test_time(async {
        let mut world = quiet(20);
        let (first, looks) = world.looks_of_run().await;
        assert_eq!(looks, 20);
        assert_eq!(first.get("unchanged"), None, "{first:#}");
        pass(DAY);
        let before = world.images();
        world.change("app/3", |repository| {
            repository.push("another", &["another"]);
        });
        world.announce(&before);
        pass(HOUR);
        let changed_one = usize::from(!shared::domain::enforcement::batch::checks_native_policy(
            "app/3",
            Instant::from_micros(clock::micros()).unwrap(),
            None,
        ));
        let (second, looks) = world.looks_of_run().await;
        assert_eq!(looks, checked_today(20) + changed_one, "{second:#}");
        assert_eq!(second["status"], "SUCCEEDED", "{second:#}");
        assert_eq!(second["unchanged"]["repositories"], 20 - looks, "{second:#}");
        assert_eq!(second["unchanged"]["oldestLookAt"], first["startedAt"], "{second:#}");
        assert_eq!(second["totals"]["repositories"], 20, "{second:#}");
        assert_eq!(second["totals"]["images"]["imageTotalCount"], 61, "{second:#}");
        assert_eq!(second["isPreview"], true, "{second:#}");
        // The look is not renewed.
        pass(DAY);
        let (third, _) = world.looks_of_run().await;
        assert_eq!(third["unchanged"]["oldestLookAt"], first["startedAt"], "{third:#}");
        assert!(world.aws.cloud(|cloud| cloud.queues.is_empty()));
    });
}

#[test]
fn everything_is_looked_at_when_changes_are_not_known() {
    let in_queue = |world: &World, text: &str| world.aws.cloud(|cloud| cloud.queues.send(QUEUE, text));
    type Happening<'a> = &'a dyn Fn(&World);
    let cases: [(&str, &str, Happening<'_>); 6] = [
        ("a message that is no event", "1 message", &|world| in_queue(world, "pushed app/3")),
        ("an event of another service", "1 message", &|world| {
            in_queue(
                world,
                &json!({ "source": "aws.s3", "detail-type": "Object Created", "time": "2027-03-01T00:00:00Z",
                "detail": {} })
                .to_string(),
            );
        }),
        ("a queue that is refused", "ReceiveMessage", &|world| {
            world.aws.fault("ReceiveMessage", Fault::Denied, 1);
        }),
        ("changes that cannot be read", "could not be read", &|world| world.upload(CHANGED, "{")),
        ("a run that was killed", "ended while", &|world| {
            let text = world.object(CHANGED).unwrap();
            world.upload(CHANGED, &text.replacen('{', r#"{"isBeingRead":true,"#, 1));
        }),
        ("changes that cannot be written", "PutObject", &|world| {
            world.aws.fault_at("PutObject", CHANGED, Fault::Denied);
        }),
    ];
    for (what, part, happens) in cases {
        in_test_time(async {
            let mut world = quiet(10);
            world.run(json!({})).await;
            pass(DAY);
            happens(&world);
            let (report, looks) = world.looks_of_run().await;
            assert_eq!(looks, 10, "{what}");
            let problem = report["unknownChanges"].as_str().unwrap_or_else(|| panic!("{what}: {report:#}"));
            assert!(problem.contains(part), "{what}: {problem}");
            assert!(report["notices"].to_string().contains("not known which ones changed"), "{report:#}");
            assert_eq!(report["status"], "SUCCEEDED", "{what}: the run is as good as any");
        });
    }
}

#[test]
fn a_message_that_is_no_event_is_paid_for_once() {
    in_test_time(async {
        let mut world = quiet(10);
        world.run(json!({})).await;
        pass(DAY);
        world.aws.cloud(|cloud| cloud.queues.send(QUEUE, "nonsense"));
        world.run(json!({})).await;
        pass(DAY);
        let (report, looks) = world.looks_of_run().await;
        assert_eq!(looks, checked_today(10), "{report:#}");
    });
}

#[test]
fn a_message_is_deleted_only_after_it_is_written_down() {
    in_test_time(async {
        let mut world = quiet(10);
        world.run(json!({})).await;
        pass(DAY);
        world.event("app/3", clock::micros());
        world.aws.fault_at("PutObject", CHANGED, Fault::Denied);
        world.run(json!({})).await;
        assert_eq!(world.aws.cloud(|cloud| cloud.queues.len()), 1);
    });
}

#[test]
fn another_policies_file_has_everything_looked_at() {
    in_test_time(async {
        let mut world = quiet(10);
        world.run(json!({})).await;
        pass(DAY);
        world.upload("policies.yaml", &by_age(13, ""));
        let (report, looks) = world.looks_of_run().await;
        assert_eq!(looks, 10, "{report:#}");
        assert_eq!(report["isPreview"], true, "{report:#}");
        // And back again: what the last run wrote is of the other file.
        pass(HOUR);
        world.upload("policies.yaml", &by_age(14, ""));
        let (_, looks) = world.looks_of_run().await;
        assert_eq!(looks, 10);
    });
}

#[test]
fn a_repository_is_looked_at_before_a_rule_selects_its_images() {
    in_test_time(async {
        let mut world = quiet(4);
        world.run(json!({})).await;
        for _ in 0..13 {
            pass(DAY);
            let before = world.images();
            if clock::micros() == BEGINNING + 9 * DAY {
                // A plan leaves an image.
                for number in 0..4 {
                    world.change(&format!("app/{number}"), |repository| {
                        repository.push("young", &["young"]);
                    });
                }
            }
            world.announce(&before);
            world.run(json!({})).await;
        }
        assert_eq!(world.images()["app/0"].len(), 4);
        pass(DAY + MINUTE);
        let report = world.run(json!({})).await;
        assert_eq!(report["totals"]["deleted"]["imageTotalCount"], 12, "{report:#}");
    });
}

#[test]
fn what_is_protected_is_looked_at_in_every_run() {
    in_test_time(async {
        let mut world = quiet(7);
        let file = format!(
            "policies:
- {{ name: by-ecr, repositories: [app/0], rules: [{{ selection: any, maximumAgeLimit: 14 }}], apply: attach, {LIMITS} }}
- {{ name: theirs, repositories: [app/1], apply: protect, {LIMITS} }}
- {{ name: all, repositories: ['*'], rules: [{{ selection: any, maximumAgeLimit: 14 }}], apply: delete, {LIMITS} }}
limits: {{ images: 100000, percent: 100 }}"
        );
        world.upload("policies.yaml", &approved(&file));
        world.change("app/2", |repository| {
            repository.tags.insert("ecr-steward:protect".to_owned(), "true".to_owned());
        });
        world.run(json!({})).await;
        for _ in 0..8 {
            pass(DAY);
            let before = world.images();
            let report = world.run(json!({})).await;
            world.announce(&before);
            let protection = report["protection"].as_array().unwrap();
            let refreshed: BTreeSet<&str> = protection
                .iter()
                .filter(|one| one["refreshedAt"].as_str() >= report["startedAt"].as_str())
                .map(|one| one["repositoryName"].as_str().unwrap())
                .collect();
            assert_eq!(refreshed, BTreeSet::from(["app/0", "app/1", "app/2"]), "{report:#}");
        }
        // Which ask for protection by their tags is not known: each may.
        pass(DAY);
        world.aws.fault("GetResources", Fault::Denied, 1);
        let (_, looks) = world.looks_of_run().await;
        assert_eq!(looks, 7);
    });
}

#[test]
fn runs_over_a_part_of_the_registry_leave_the_events_to_others() {
    in_test_time(async {
        let mut world = quiet(5);
        world.run(json!({})).await;
        pass(DAY);
        world.event("app/3", clock::micros());
        world.run(json!({ "protectOnly": true })).await;
        assert_eq!(world.aws.cloud(|cloud| cloud.queues.len()), 1);
    });
}

#[test]
fn an_event_that_comes_late_has_its_effect_in_the_next_run() {
    in_test_time(async {
        let mut world = quiet(5);
        world.run(json!({})).await;
        pass(DAY);
        world.change("app/3", |repository| {
            let digest = repository.push("old", &["old"]);
            repository.age(&digest, 30.0);
        });
        let pushed_at = clock::micros();
        pass(HOUR);
        world.run(json!({})).await;
        world.event("app/3", pushed_at);
        pass(DAY);
        world.run(json!({})).await;
        assert_eq!(world.images()["app/3"].len(), 3);
    });
}

/// A day after nine repositories were looked at, an image is pushed to app/4, and no event comes of it.
async fn with_a_lost_event() -> World {
    let mut world = quiet(9);
    world.run(json!({})).await;
    pass(DAY);
    world.change("app/4", |repository| {
        repository.push("silently", &["silently"]);
    });
    world
}

#[test]
fn a_lost_event_is_found_within_a_week_and_then_everything_is_looked_at() {
    in_test_time(async {
        let mut world = with_a_lost_event().await;
        let mut found = Vec::new();
        for _ in 0..8 {
            pass(DAY);
            let (report, looks) = world.looks_of_run().await;
            found.push((report["unannouncedPushes"].clone(), report["status"].clone(), looks));
        }
        let at = found.iter().position(|(pushes, ..)| !pushes.is_null()).unwrap();
        assert_eq!(found[at].0, json!(["app/4"]), "{found:?}");
        assert_eq!(found[at].1, "ATTENTION", "{found:?}");
        assert!(at <= 7, "{found:?}");
        let next = found.get(at + 1).map_or(9, |(.., looks)| *looks);
        assert_eq!(next, 9, "{found:?}");
        assert_eq!(found.iter().filter(|(pushes, ..)| !pushes.is_null()).count(), 1, "{found:?}");
    });
}

#[test]
fn a_lost_event_is_found_in_time_by_weekly_runs() {
    in_test_time(async {
        let mut world = quiet(9);
        world.run(json!({})).await;
        for name in ["app/3", "app/4"] {
            world.change(name, |repository| {
                let digest = repository.push("silently", &["silently"]);
                repository.age(&digest, 30.0);
            });
        }
        pass(7 * DAY);
        let report = world.run(json!({})).await;
        assert_eq!(report.get("unchanged"), None, "{report:#}");
        assert_eq!(report["totals"]["deleted"]["imageTotalCount"], 2, "{report:#}");
    });
}

#[test]
fn a_run_that_starts_late_still_reports_a_lost_event() {
    in_test_time(async {
        let mut world = with_a_lost_event().await;
        pass(6 * DAY + 12 * HOUR);
        let (report, _) = world.looks_of_run().await;
        assert_eq!(report["unannouncedPushes"], json!(["app/4"]), "{report:#}");
    });
}

#[test]
fn after_a_failed_run_that_found_a_lost_event_everything_is_looked_at() {
    in_test_time(async {
        let mut world = with_a_lost_event().await;
        // Until the day on which it is looked at.
        loop {
            pass(DAY);
            let now = Instant::from_micros(clock::micros()).unwrap();
            if shared::domain::enforcement::batch::checks_native_policy("app/4", now, None) {
                break;
            }
            world.run(json!({})).await;
        }
        world.error = Some("States.Timeout".to_owned());
        let found = world.run(json!({})).await;
        assert_eq!(found["unannouncedPushes"], json!(["app/4"]), "{found:#}");
        pass(HOUR);
        let (report, looks) = world.looks_of_run().await;
        assert_eq!(looks, 9, "{found:#}\n{report:#}");
    });
}

/// Eight minutes pass.
fn eight_minutes_pass(_: &mut Registry, _: &mut Cloud) {
    pass(8 * MINUTE);
}

#[test]
fn what_happens_while_a_run_reads_the_queue_is_not_mistaken_for_older() {
    in_test_time(async {
        let mut world = quiet(9);
        world.run(json!({})).await;
        pass(DAY);
        // Another run may look at the repository before this push, and after this run began to read.
        let pushed_at = clock::micros() + 7 * MINUTE;
        world.event("app/3", pushed_at);
        world.aws.fault("ReceiveMessage", Fault::Then(eight_minutes_pass), 1);
        world.run(json!({})).await;
        let text = world.object(CHANGED).unwrap();
        let changes: Value = serde_json::from_str(&text).unwrap();
        let at = Instant::from_micros(pushed_at).unwrap().to_string();
        assert_eq!(changes["repositories"]["app/3"], at.as_str(), "{text}");
        // The same of a change that nobody can read.
        pass(DAY);
        world.aws.cloud(|cloud| cloud.queues.send(QUEUE, "nonsense"));
        let received_at = clock::micros() + 8 * MINUTE;
        world.aws.fault("ReceiveMessage", Fault::Then(eight_minutes_pass), 1);
        world.run(json!({})).await;
        let text = world.object(CHANGED).unwrap();
        let changes: Value = serde_json::from_str(&text).unwrap();
        let at = Instant::from_micros(received_at).unwrap().to_string();
        assert_eq!(changes["knownFrom"], at.as_str(), "{text}");
    });
}

#[test]
fn looks_of_another_version_do_not_count() {
    in_test_time(async {
        let mut world = quiet(9);
        world.run(json!({})).await;
        let key = "state/looks/000000-0.jsonl";
        let text = world.object(key).unwrap();
        let (head, lines) = text.split_once('\n').unwrap();
        for version in [None, Some("0.0.0")] {
            let mut head: Value = serde_json::from_str(head).unwrap();
            match version {
                Some(version) => head["version"] = version.into(),
                None => drop(head.as_object_mut().unwrap().remove("version")),
            }
            world.upload(key, &format!("{head}\n{lines}"));
            pass(DAY);
            let (report, looks) = world.looks_of_run().await;
            assert_eq!(looks, 9, "{version:?}: {report:#}");
        }
    });
}

/// The outcomes of a batch are deleted.
fn outcomes_disappear(_: &mut Registry, cloud: &mut Cloud) {
    for key in cloud.keys(BUCKET, "runs/r1/outcomes/") {
        cloud.objects.remove(&format!("{BUCKET}/{key}"));
    }
}

#[test]
fn a_report_is_never_made_of_a_part_of_the_outcomes() {
    in_test_time(async {
        let mut world = quiet(3);
        let run = world.take(json!({})).await;
        let keys = world.aws.cloud(|cloud| cloud.keys(BUCKET, "runs/r1/outcomes/"));
        assert_eq!(keys.len(), 1, "{keys:?}");
        // After they were listed, and before they are read.
        world.aws.fault("ListObjectsV2", Fault::Then(outcomes_disappear), 2);
        let error = world.summarize(&run).await.unwrap_err();
        assert!(error.contains("there is no such object"), "{error}");
        world.aws.heal();
        world.upload(&keys[0], "");
        let error = world.summarize(&run).await.unwrap_err();
        assert!(error.contains("damaged"), "{error}");
    });
}

#[test]
fn each_own_policy_is_checked_however_seldom_runs_are() {
    in_test_time(async {
        let mut world = World::new(false);
        world.upload("policies.yaml", &by_age(14, "").replace("['*']", "[other]"));
        for number in 0..20 {
            let name = format!("own/{number}");
            let mut own = repository(&name);
            own.push(&format!("{name} old"), &["old"]);
            pass(MINUTE);
            own.push(&format!("{name} new"), &["new"]);
            own.lifecycle_policy = Some(
                r#"{"rules": [{"rulePriority": 1, "selection": {"tagStatus": "any",
                    "countType": "imageCountMoreThan", "countNumber": 1}, "action": {"type": "expire"}}]}"#
                    .to_owned(),
            );
            world.aws.with(|registry| registry.repositories.insert(name.clone(), own));
            world.aws.cloud(|cloud| {
                let image = format!("{HOST}/{name}:old");
                let definition = cloud.ecs.register(&format!("family-{number}"), &[&image]);
                cloud.ecs.run_task("cluster", &definition, None);
            });
        }
        let at_risk = |report: &Value| -> BTreeSet<String> {
            let listed = report["repositories"].as_array().unwrap().iter();
            listed
                .filter(|one| one["nativePolicy"].is_string())
                .map(|one| one["repositoryName"].as_str().unwrap().to_owned())
                .collect()
        };
        let first = at_risk(&world.run(json!({})).await);
        assert!((1..20).contains(&first.len()), "those of one day: {first:?} {}", world.outcomes());
        pass(7 * DAY);
        let weekly = at_risk(&world.run(json!({})).await);
        assert_eq!(weekly.len(), 20, "a week later all: {weekly:?}");
        // What was not completed has checked nothing.
        pass(2 * DAY);
        world.error = Some("States.Timeout".to_owned());
        world.run(json!({})).await;
        let mut found = BTreeSet::new();
        for days in [1, 2, 2] {
            pass(days * DAY);
            let some = at_risk(&world.run(json!({})).await);
            assert!(found.is_disjoint(&some), "each once in seven days: {some:?}");
            found.extend(some);
        }
        assert_eq!(found.len(), 20, "in the seven days since the weekly run: {found:?}");
        // A record that cannot be read is no reason to check less.
        world.upload("state/registry.json", "{");
        assert_eq!(at_risk(&world.run(json!({})).await).len(), 20);
    });
}

/// What happens to both registries.
fn happen(worlds: &[&World], rng: &mut fastrand::Rng) {
    let name = format!("app/{}", rng.usize(..3));
    let seed = rng.u64(..);
    let act = |registry: &mut Registry, cloud: &mut Cloud| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let repository = registry.repositories.get_mut(&name).unwrap();
        let images = repository.images.len();
        let one = |rng: &mut fastrand::Rng| if images == 0 { None } else { Some(rng.usize(..images)) };
        match rng.u8(..12) {
            0..=2 => {
                let tag = format!("v{}", rng.u8(..6));
                let tags: &[&str] = if rng.bool() { &[] } else { &[&tag] };
                repository.push(&format!("{name} {seed}"), tags);
            }
            3 => {
                let children = ["amd64", "arm64"].map(|of| repository.push(&format!("{of} {seed}"), &[]));
                let index = repository.push_index(&children.each_ref().map(String::as_str), &["multi"]);
                repository.push_referrer(&format!("signature {seed}"), &index);
            }
            4 => {
                if let Some(at) = one(&mut rng) {
                    repository.images.remove(at);
                }
            }
            5 => {
                if let Some(at) = one(&mut rng) {
                    for image in &mut repository.images {
                        image.tags.remove("moving");
                    }
                    repository.images[at].tags.insert("moving".to_owned());
                }
            }
            6 => {
                if let Some(at) = one(&mut rng) {
                    repository.images[at].archived = true;
                    repository.images[at].last_archived_at = Some(clock::micros() as f64 / 1e6);
                }
            }
            7 | 8 => {
                if let Some(at) = one(&mut rng) {
                    repository.images[at].last_pulled_at = Some(clock::micros() as f64 / 1e6);
                }
            }
            9 | 10 => {
                if let Some(at) = one(&mut rng) {
                    let digest = repository.images[at].digest.clone();
                    let image = format!("{HOST}/{name}@{digest}");
                    let definition = cloud.ecs.register(&format!("family-{seed}"), &[&image]);
                    let cluster = format!("cluster-{}", rng.u8(..3));
                    cloud.ecs.run_task(&cluster, &definition, Some(&digest));
                    cloud.ecs.deregister(&definition);
                }
            }
            _ => cloud.ecs.stop_tasks(&format!("cluster-{}", rng.u8(..3))),
        }
    };
    for world in worlds {
        let before = world.images();
        world.aws.with(|registry| world.aws.cloud(|cloud| act(registry, cloud)));
        world.announce(&before);
    }
}

fn some_file(rng: &mut fastrand::Rng) -> String {
    match rng.u8(..6) {
        0 => by_age(5, ""),
        1 => by_age(9, ", keep: { newest: 2 }"),
        2 => by_age(4, ", keep: { pulledWithinDays: 3 }"),
        3 => approved(&format!(
            "policies: [{{ name: all, repositories: ['*'], rules: [{{ selection: any, maximumNumberOfImages: 6 }}],
              apply: delete, {LIMITS} }}]"
        )),
        4 => approved(&format!(
            "policies: [{{ name: all, repositories: ['*'], apply: delete, {LIMITS}, rules: [
              {{ selection: untagged, maximumAgeLimit: 3 }},
              {{ selection: any, maximumDaysSincePull: 6, action: archive }}] }}]"
        )),
        _ => by_age(6, "").replace("apply: delete", "apply: preview"),
    }
}

/// What is selected and stays, whether since it is in use or since the policy keeps it: what is kept may have come into use meanwhile.
fn comparable(report: &Value) -> Value {
    let mut totals = report["totals"].clone();
    let all = totals.as_object_mut().unwrap();
    let (used, kept) = (all.remove("protectedByUse").unwrap(), all.remove("protectedByKeep").unwrap());
    let sum = |field: &str| used[field].as_u64().unwrap() + kept[field].as_u64().unwrap();
    all.insert("kept".to_owned(), json!([sum("imageTotalCount"), sum("imageSizeInBytes")]));
    totals
}

#[test]
fn a_run_that_leaves_out_what_has_not_changed_does_what_a_run_over_everything_does() {
    let seeds = std::env::var("UNCHANGED_SEEDS").map_or(10, |seeds| seeds.parse().unwrap());
    let from = std::env::var("UNCHANGED_FROM").map_or(0, |from| from.parse().unwrap());
    let (mut all, mut some, mut deleted) = (0, 0, 0);
    for seed in from..from + seeds {
        in_test_time(async {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut full, mut lean) = (World::new(false), World::new(true));
            for world in [&full, &lean] {
                for number in 0..3 {
                    let name = format!("app/{number}");
                    let repository = repository(&name);
                    world.aws.with(|registry| registry.repositories.insert(name, repository));
                }
            }
            let mut file = some_file(&mut rng);
            for step in 0..24 {
                for _ in 0..rng.usize(..5) {
                    pass(rng.i64(0..2 * HOUR));
                    if rng.u8(..3) > 0 {
                        happen(&[&full, &lean], &mut rng);
                    }
                }
                if rng.u8(..8) == 0 {
                    file = some_file(&mut rng);
                }
                for world in [&full, &lean] {
                    world.upload("policies.yaml", &file);
                }
                match rng.u8(..12) {
                    0 => lean.aws.cloud(|cloud| cloud.queues.send(QUEUE, "nonsense")),
                    1 => lean.aws.fault("ReceiveMessage", Fault::Denied, 1),
                    // What comes twice.
                    2 | 3 => lean.event("app/1", clock::micros() - rng.i64(0..3 * DAY)),
                    _ => {}
                }
                let hours = [1, 20, 24, 24, 24, 30, 24 * 4, 24 * 9][rng.usize(..8)];
                pass(hours * HOUR);
                let more = json!({ "dryRun": rng.u8(..6) == 0 });
                let before = lean.images();
                let (looks, everything) = (lean.looks(), full.looks());
                let reports = (full.run(more.clone()).await, lean.run(more).await);
                some += lean.looks() - looks;
                all += full.looks() - everything;
                assert_eq!(full.images(), lean.images(), "seed {seed}, step {step}: {:#}", reports.1);
                assert_eq!(
                    comparable(&reports.0),
                    comparable(&reports.1),
                    "seed {seed}, step {step}:\n{}\n{}",
                    full.outcomes(),
                    lean.outcomes()
                );
                assert_eq!(reports.0["isPreview"], reports.1["isPreview"], "seed {seed}, step {step}");
                assert_eq!(reports.1.get("unannouncedPushes"), None, "seed {seed}, step {step}");
                deleted += reports.1["totals"]["deleted"]["imageTotalCount"].as_u64().unwrap();
                lean.announce(&before);
            }
        });
    }
    println!("{some} of {all} looks, {deleted} images deleted");
    // Otherwise the two would be compared in vain.
    assert!(some * 10 < all * 9, "{some} of {all} looks");
    assert!(deleted > 5 * seeds, "{deleted}");
}

#[test]
fn the_functions_leave_out_what_has_not_changed() {
    let aws = EcrStub::start();
    aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), &by_age(14, "")));
    for number in 0..6 {
        let name = format!("app/{number}");
        let mut repository = repository(&name);
        repository.push(&name, &["v1"]);
        aws.with(|registry| registry.repositories.insert(name, repository));
    }
    let steward = Steward::of(aws, |aws, name| {
        cloud::function_with(aws, name, Duration::from_secs(120), &[("QUEUE_URL", QUEUE)])
    });
    steward.run("first", false);
    steward.aws.forget_calls();
    let report = steward.run("second", false);
    let looks = steward.aws.count("DescribeImages");
    assert_eq!(report["unchanged"]["repositories"], 6 - looks, "{report:#}");
    assert!(looks < 6, "{report:#}");
    let page =
        steward.aws.cloud(|cloud| cloud.object_text(&format!("{BUCKET}/reports/latest.html"))).unwrap();
    assert!(page.contains("not looked at again"), "{page}");
    let mail = steward.aws.cloud(|cloud| cloud.published.last().cloned()).unwrap();
    assert!(mail.1.contains("not looked at again"), "{}", mail.1);
}
