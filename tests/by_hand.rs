//! Images deleted by hand, over the HTTP API and with a stack: what is in use stays, limits hold, and it is written down first. The
//! real functions, on AWS in memory.

use std::sync::mpsc::Receiver;
use std::time::Duration;

use serde_json::{Value, json};
use shared::aws::usage_sources::asked_for;
use shared::domain::enforcement::journal::is_removals;
use shared::domain::text::instant::Instant;
use tests::cloud::{self, BUCKET, Cloud};
use tests::ecr_stub::{EcrStub, Fault, Registry, Repository};
use tests::gateway::{self, Answer};
use tests::runtime_api::Function;
use tests::template;

const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
const STACK: &str = "arn:aws:cloudformation:eu-west-1:123456789012:stack/shop/0a1b2c3d";
/// A timeout that is never reached.
const PLENTY: Duration = Duration::from_secs(29);
/// A timeout that is reached only where calls hang.
const LITTLE: Duration = Duration::from_secs(4);
const POLICIES: &str = "policies.yaml";

/// The functions that delete by hand, on one AWS.
struct Hand {
    aws: EcrStub,
    api: Function,
    stacks: Function,
    url: String,
    answers: Receiver<Value>,
}

/// A release of the repository `app` for two platforms with its signatures, and builds.
struct App {
    index: String,
    child: String,
    signature: String,
    /// Signed by a tag.
    tag_signature: String,
    /// With the tags `one` and `two`.
    two: String,
    /// With the tag `build`.
    build: String,
}

impl Hand {
    fn start() -> Self {
        Self::within(PLENTY)
    }

    fn within(time: Duration) -> Self {
        let aws = EcrStub::start();
        let function = |name: &str| cloud::function(&aws, name, time);
        let (api, stacks) = (function("repository-api"), function("repository-resource"));
        let (url, answers) = cloud::callback_server();
        Self { aws, api, stacks, url, answers }
    }

    /// The repository `app`, made by the stack, with images in it.
    fn with_app(self) -> (Self, App) {
        let answer = self.stack("Create", &json!({ "RepositoryName": "app" }));
        assert_eq!(answer["Status"], "SUCCESS", "{answer}");
        let app = self.aws.with(|registry| fill(registry.repositories.get_mut("app").unwrap()));
        self.aws.forget_calls();
        (self, app)
    }

    fn ask(&self, method: &str, target: &str, body: &Value) -> Answer {
        gateway::ask(&self.api, method, target, body)
    }

    /// Asks for images of `app` to be deleted.
    fn delete(&self, ids: &Value) -> Answer {
        self.delete_with("", ids)
    }

    fn delete_with(&self, query: &str, ids: &Value) -> Answer {
        let body = json!({ "repositoryName": "app", "imageIds": ids });
        self.ask("POST", &format!("/images/delete{query}"), &body)
    }

    /// Asks for `app` to be deleted with its images.
    fn force(&self) -> Answer {
        self.ask("DELETE", "/repositories/app?force=true", &Value::Null)
    }

    /// The answer that CloudFormation gets about the resource `Web`, whose repository is `app`.
    fn stack(&self, request: &str, properties: &Value) -> Value {
        let mut event = json!({
            "RequestType": request, "ResponseURL": self.url, "StackId": STACK, "RequestId": "request",
            "ResourceType": "Custom::EcrRepository", "LogicalResourceId": "Web", "ResourceProperties": properties,
        });
        if request != "Create" {
            event["PhysicalResourceId"] = "app".into();
        }
        self.cloud(|cloud| cloud.stacks.sends(&event));
        self.stacks.invoke(event.to_string()).response();
        let answer = self.answers.recv_timeout(Duration::from_secs(1)).expect("there should be an answer");
        self.cloud(|cloud| cloud.stacks.is_answered(&event, &answer));
        answer
    }

    fn delete_stack(&self, empty_on_delete: &str) -> Value {
        self.stack("Delete", &json!({ "RepositoryName": "app", "EmptyOnDelete": empty_on_delete }))
    }

    fn cloud<T>(&self, change: impl FnOnce(&mut Cloud) -> T) -> T {
        self.aws.cloud(change)
    }

    fn upload(&self, key: &str, content: &str) {
        self.cloud(|cloud| cloud.upload(&format!("{BUCKET}/{key}"), content));
    }

    /// Runs a task with an image of `app`, and the digest that it pulled.
    fn run_task(&self, image: &str, digest: Option<&str>) {
        let image = format!("{HOST}/{image}");
        self.cloud(|cloud| {
            let definition = cloud.ecs.register("web", &[&image]);
            cloud.ecs.run_task("blue", &definition, digest);
        });
    }

    /// The lines of the journal.
    fn journal(&self) -> Vec<Value> {
        self.cloud(|cloud| {
            let mut keys = cloud.keys(BUCKET, "journal/");
            keys.retain(|key| is_removals(key));
            let texts = keys.iter().filter_map(|key| cloud.object_text(&format!("{BUCKET}/{key}")));
            texts
                .flat_map(|text| {
                    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>()
                })
                .collect()
        })
    }

    /// The number of images deleted today, by the counter of the registry's limit.
    fn taken(&self) -> u64 {
        self.cloud(|cloud| {
            let keys = cloud.keys(BUCKET, "state/taken/");
            let text = keys.first().and_then(|key| cloud.object_text(&format!("{BUCKET}/{key}")));
            let taken: Value =
                text.map_or(json!({ "images": 0 }), |text| serde_json::from_str(&text).unwrap());
            taken["images"].as_u64().unwrap()
        })
    }

    fn count(&self) -> Option<usize> {
        self.aws.with(|registry| registry.repositories.get("app").map(|app| app.images.len()))
    }

    /// Asserts that a request is refused with this problem and changes nothing, neither in the registry nor in the bucket.
    #[track_caller]
    fn refused(&self, answer: &Answer, status: u16, kind: &str, before: &[Value]) -> String {
        let detail = answer.problem(status, kind);
        assert_eq!(self.aws.count("BatchDeleteImage") + self.aws.count("DeleteRepository"), 0, "{detail}");
        assert_eq!(self.journal(), before, "{detail}");
        detail
    }
}

/// What deletions are asserted by.
trait Deleted {
    fn deleted(&self, images: usize);
}

impl Deleted for Answer {
    #[track_caller]
    fn deleted(&self, images: usize) {
        assert_eq!(self.status, 200, "{}", self.body);
        assert_eq!(self.body["failures"], json!([]));
        assert_eq!(self.body["imageIds"].as_array().unwrap().len(), images, "{}", self.body);
    }
}

fn fill(app: &mut Repository) -> App {
    let child = app.push("amd64", &[]);
    let index = app.push_index(&[&child], &["v1"]);
    let signature = app.push_referrer("signature", &index);
    let tag = format!("{}.sig", index.replace(':', "-"));
    let tag_signature = app.push("signature by tag", &[&tag]);
    let two = app.push("two", &["one", "two"]);
    let build = app.push("build", &["build"]);
    // Older than every list.
    for digest in [&child, &index, &signature, &tag_signature, &two, &build] {
        app.age(digest, 30.0);
    }
    App { index, child, signature, tag_signature, two, build }
}

fn by_digest(digest: &str) -> Value {
    json!([{ "imageDigest": digest }])
}

fn by_tag(tag: &str) -> Value {
    json!([{ "imageTag": tag }])
}

#[test]
fn an_image_that_a_task_runs_is_not_deleted_by_tag_or_digest() {
    let (hand, app) = Hand::start().with_app();
    hand.run_task("app:build", Some(&app.build));
    for ids in [by_digest(&app.build), by_tag("build")] {
        let answer = hand.delete(&ids);
        let detail = hand.refused(&answer, 409, "images-in-use", &[]);
        assert!(detail.contains("task/blue/") && detail.contains("?inUse=true"), "{detail}");
        assert_eq!(answer.body["findings"][0]["code"], "image-in-use");
    }
    // Nothing of a request is deleted if one of its images is in use.
    let ids = json!([{ "imageDigest": app.two }, { "imageDigest": app.build }]);
    hand.refused(&hand.delete(&ids), 409, "images-in-use", &[]);
    hand.delete(&by_digest(&app.two)).deleted(2);
}

#[test]
fn an_image_that_runs_by_its_digest_is_not_deleted_when_its_tag_has_moved() {
    let (hand, app) = Hand::start().with_app();
    hand.run_task("app:build", Some(&app.build));
    let newer =
        hand.aws.with(|registry| registry.repositories.get_mut("app").unwrap().push("newer", &["build"]));
    hand.refused(&hand.delete(&by_digest(&app.build)), 409, "images-in-use", &[]);
    // The next task starts from the tag.
    hand.refused(&hand.delete(&by_digest(&newer)), 409, "images-in-use", &[]);
}

#[test]
fn what_belongs_to_an_image_in_use_is_not_deleted() {
    let (hand, app) = Hand::start().with_app();
    hand.run_task("app:v1", Some(&app.index));
    for digest in [&app.index, &app.child, &app.signature, &app.tag_signature] {
        hand.refused(&hand.delete(&by_digest(digest)), 409, "images-in-use", &[]);
    }
    hand.cloud(|cloud| cloud.ecs.stop_all());
    hand.run_task(&format!("app@{}", app.child), Some(&app.child));
    let detail = hand.refused(&hand.delete(&by_digest(&app.index)), 409, "images-in-use", &[]);
    assert!(detail.contains(&format!("its child {} is in use", app.child)), "{detail}");
}

#[test]
fn a_tag_by_which_something_runs_is_kept_and_another_one_of_the_image_may_be_deleted() {
    let (hand, app) = Hand::start().with_app();
    hand.run_task("app:one", Some(&app.two));
    let detail = hand.refused(&hand.delete(&by_tag("one")), 409, "images-in-use", &[]);
    assert!(detail.contains("in use by its tag one"), "{detail}");
    hand.delete(&by_tag("two")).deleted(1);
    // Without the other tag, this one is the last.
    hand.delete(&by_tag("one")).problem(409, "images-in-use");
    let journal = hand.journal();
    assert_eq!((journal.len(), &journal[0]["imageTags"]), (1, &json!(["two"])));
    assert!(journal[0]["reason"].as_str().unwrap().contains("the image keeps others"), "{journal:?}");
    assert_eq!(hand.taken(), 0, "no image went");
}

/// What a run that began `hours` ago read once, as it remembers it for deletions by hand: nothing is in use.
fn last_run(hours: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "hours of some days")]
    let micros = tests::clock::micros() - (hours * 3_600_000_000.0) as i64;
    let read_at = Instant::from_micros(micros).unwrap().to_string();
    let read = |name: &str| (name.to_owned(), json!({ "readAt": read_at, "isInRegion": true }));
    let sources: serde_json::Map<String, Value> =
        asked_for(false).map(|(source, _)| read(source.name)).collect();
    json!({ "inUse": [], "gaps": [], "ignored": [], "unknownImages": [], "listTimes": [], "reporters": [],
        "replicas": [], "once": { "sources": sources } })
}

/// Runs are switched off, or fail: what has come since, none of them has seen.
#[test]
fn what_came_into_use_since_a_run_that_is_long_ago_is_not_deleted() {
    for (hours, is_kept) in [(40.0, true), (24.0 * 60.0, true), (-2.0, true), (20.0, false)] {
        let (hand, app) = Hand::start().with_app();
        hand.upload("state/usage.json", &last_run(hours).to_string());
        let image = format!("{HOST}/app:build");
        hand.cloud(|cloud| {
            cloud.sources.batch.register("nightly", 1, &image);
            cloud.ecs.register("web", &[&image]);
        });
        let answer = hand.delete(&by_digest(&app.build));
        if is_kept {
            let detail = hand.refused(&answer, 409, "images-in-use", &[]);
            assert!(detail.contains("app:build"), "{hours}: {detail}");
        } else {
            // Of a day what is read once a run is not seen.
            answer.deleted(1);
        }
    }
}

#[test]
fn what_the_last_run_knew_counts_and_is_not_asked_again() {
    let (hand, app) = Hand::start().with_app();
    let definition = hand.cloud(|cloud| cloud.ecs.register("web", &[&format!("{HOST}/app:build")]));
    let mut usage = last_run(0.0);
    usage["once"]["activeDefinitions"] = json!([definition]);
    usage["once"]["eksClusters"] = json!(["old"]);
    usage["once"]["sources"]["batch"]["used"] =
        json!([{ "imageUri": format!("{HOST}/app:job"), "usedBy": ["job/1"] }]);
    hand.upload("state/usage.json", &usage.to_string());
    hand.aws.forget_calls();
    let detail = hand.refused(&hand.delete(&by_tag("build")), 409, "images-in-use", &[]);
    assert!(detail.contains("task-definition/web:1"), "{detail}");
    assert_eq!((hand.aws.count("ListTaskDefinitions"), hand.aws.count("ListTasks")), (0, 0));
    assert_eq!(hand.aws.count("batch:DescribeJobDefinitions"), 0);
    // The cached use has a cluster whose list is missing.
    let detail = hand.refused(&hand.delete(&by_digest(&app.two)), 409, "usage-unknown", &[]);
    assert!(detail.contains("eks/old"), "{detail}");
    // A run that did not read use leaves no cache: everything is read.
    usage["once"] = json!({});
    hand.upload("state/usage.json", &usage.to_string());
    let detail = hand.refused(&hand.delete(&by_tag("build")), 409, "images-in-use", &[]);
    assert!(detail.contains("task-definition/web:1"), "{detail}");
    assert_eq!(hand.aws.count("batch:DescribeJobDefinitions"), 1);
    hand.upload("state/usage.json", "{}");
    let detail = hand.refused(&hand.delete(&by_tag("build")), 503, "state-unreadable", &[]);
    assert!(detail.contains("state/usage.json") && detail.contains("the next completed run"), "{detail}");
}

#[test]
fn a_source_that_cannot_be_read_blocks_and_its_pasted_entry_unblocks() {
    let (hand, app) = Hand::start().with_app();
    hand.aws.fault_from("ListFunctions", Fault::Denied, 0);
    let answer = hand.delete(&by_tag("build"));
    let detail = hand.refused(&answer, 409, "usage-unknown", &[]);
    assert_eq!(answer.body["findings"][0]["code"], "usage-unknown");
    let (_, entry) = detail.split_once("add {").unwrap();
    let (entry, _) = entry.split_once('}').unwrap();
    let entry = entry.replace('…', "no functions of images here");
    hand.upload(POLICIES, &format!("policies: []\nusage: {{ ignore: [{{{entry}}}] }}\n"));
    hand.delete(&by_digest(&app.build)).deleted(1);
}

#[test]
fn an_account_that_may_pull_and_reports_nothing_blocks_until_its_source_is_ignored() {
    let (hand, _) = Hand::start().with_app();
    let spec = json!({ "pullAccess": { "accountIds": ["111111111111"] } });
    assert_eq!(hand.ask("PUT", "/repositories/app", &spec).status, 200);
    let detail = hand.refused(&hand.delete(&by_tag("build")), 409, "usage-unknown", &[]);
    assert!(detail.contains("{ source: account/111111111111, reason: "), "{detail}");
    let ignored = "{ source: account/111111111111, reason: nothing runs there }";
    hand.upload(POLICIES, &format!("policies: []\nusage: {{ ignore: [{ignored}] }}\n"));
    hand.delete(&by_tag("build")).deleted(1);
}

#[test]
fn a_gap_about_other_repositories_does_not_block() {
    let (hand, _) = Hand::start().with_app();
    hand.upload(
        POLICIES,
        "policies: []\nusage: { lists: [{ key: usage/shop.json, repositories: ['shop/*'] }] }\n",
    );
    hand.delete(&by_tag("build")).deleted(1);
}

#[test]
fn a_list_that_is_missing_blocks_and_one_that_names_the_image_keeps_it() {
    let (hand, _) = Hand::start().with_app();
    hand.upload(POLICIES, "policies: []\nusage: { lists: [{ key: usage/eks.json }] }\n");
    let detail = hand.refused(&hand.delete(&by_tag("build")), 409, "usage-unknown", &[]);
    assert!(detail.contains("usage/eks.json"), "{detail}");
    hand.upload("usage/eks.json", &json!([format!("{HOST}/app:build")]).to_string());
    hand.refused(&hand.delete(&by_tag("build")), 409, "images-in-use", &[]);
    hand.upload("usage/eks.json", "[]");
    hand.delete(&by_tag("build")).deleted(1);
}

#[test]
fn looking_that_takes_too_long_changes_nothing() {
    let (hand, _) = Hand::within(LITTLE).with_app();
    hand.aws.fault_from("ListClusters", Fault::Throttled, 0);
    let answer = hand.delete(&by_tag("build"));
    let detail = hand.refused(&answer, 503, "usage-not-read", &[]);
    assert!(detail.contains("nothing was changed"), "{detail}");
    assert_eq!(answer.headers["retry-after"], "30");
    hand.refused(&hand.force(), 503, "usage-not-read", &[]);
    // With `inUse=true` no usage source is read.
    hand.delete_with("?inUse=true", &by_tag("build")).deleted(1);
}

#[test]
fn a_look_that_leaves_no_time_for_deleting_changes_nothing() {
    let (hand, _) = Hand::within(LITTLE).with_app();
    hand.aws.fault("ListClusters", Fault::Slow(Duration::from_secs(2)), 1);
    hand.refused(&hand.delete(&by_tag("build")), 503, "usage-not-read", &[]);
    hand.delete(&by_tag("build")).deleted(1);
}

#[test]
fn what_is_in_use_is_deleted_when_somebody_says_that_they_know_and_is_written_down_and_counted() {
    let (hand, app) = Hand::start().with_app();
    hand.run_task("app:build", Some(&app.build));
    hand.aws.forget_calls();
    hand.delete_with("?inUse=true", &by_digest(&app.build)).deleted(1);
    assert_eq!(hand.aws.count("ListClusters"), 0);
    let journal = hand.journal();
    assert_eq!((journal.len(), hand.taken()), (1, 1));
    assert!(journal[0]["reason"].as_str().unwrap().contains("Use was not looked at"), "{journal:?}");
    assert_eq!(journal[0]["usageReadAt"], Value::Null);
}

#[test]
fn what_is_deleted_is_written_down_before_with_who_asked_for_it() {
    let (hand, app) = Hand::start().with_app();
    hand.upload(POLICIES, "policies: []\n");
    hand.aws.forget_calls();
    hand.delete(&by_digest(&app.two)).deleted(2);
    let operations: Vec<String> = hand.aws.operations();
    let at = |name: &str| operations.iter().position(|operation| operation == name).unwrap();
    assert!(at("PutObject") < at("BatchDeleteImage"), "{operations:?}");
    let journal = hand.journal();
    let line = &journal[0];
    assert_eq!(journal.len(), 1);
    assert_eq!(line["by"], json!({ "principal": gateway::CALLER }));
    assert!(line["runId"].as_str().unwrap().starts_with("api-request-"), "{line}");
    assert_eq!(line["imageDigest"], *app.two);
    assert_eq!(line["imageTags"], json!(["one", "two"]));
    assert_eq!((&line["repositoryName"], &line["region"]), (&json!("app"), &json!("eu-west-1")));
    assert!(line["imageManifest"].as_str().unwrap().contains("schemaVersion"), "{line}");
    assert_eq!(line["policiesFileVersion"], "v1");
    assert!(line["usageReadAt"].is_string(), "{line}");
}

#[test]
fn what_cannot_be_written_down_is_not_deleted() {
    let (hand, app) = Hand::within(LITTLE).with_app();
    hand.aws.fault_from("PutObject", Fault::Denied, 0);
    for answer in [hand.delete(&by_digest(&app.build)), hand.force()] {
        hand.refused(&answer, 500, "not-permitted", &[]);
    }
    let answer = hand.delete_stack("true");
    assert_eq!(answer["Status"], "FAILED", "{answer}");
    assert_eq!(hand.count(), Some(6));
}

#[test]
fn a_function_without_a_bucket_deletes_no_images() {
    let aws = EcrStub::start();
    let url = aws.url();
    let environment = [("AWS_ENDPOINT_URL", url.as_str()), ("BUCKET", "")];
    let api = Function::start_with(tests::binaries::binary("repository-api"), &environment, PLENTY);
    let hand = Hand { api, aws, ..Hand::start() };
    let none = json!({ "repositoryName": "app", "lifecyclePolicy": { "skip": true } });
    assert_eq!(hand.ask("POST", "/repositories", &none).status, 201);
    hand.aws.with(|registry| fill(registry.repositories.get_mut("app").unwrap()));
    for answer in
        [hand.delete(&by_tag("build")), hand.force(), hand.delete_with("?inUse=true", &by_tag("build"))]
    {
        let detail = hand.refused(&answer, 503, "no-bucket", &[]);
        assert!(detail.contains("BUCKET"), "{detail}");
    }
}

#[test]
fn all_that_is_named_fits_into_the_limit_of_the_day_or_nothing_is_deleted() {
    let (hand, _) = Hand::start().with_app();
    hand.upload("state/registry.json", r#"{"images":1000}"#);
    hand.upload(POLICIES, "policies: []\nlimits: { images: 2 }\n");
    let more = hand.aws.with(|registry| {
        let app = registry.repositories.get_mut("app").unwrap();
        ["a", "b"].map(|content| json!({ "imageDigest": app.push(content, &[]) }))
    });
    let three = json!([more[0], more[1], { "imageTag": "build" }]);
    let detail = hand.refused(&hand.delete(&three), 409, "limit-registry", &[]);
    assert!(detail.contains("3 images would be deleted") && detail.contains("of the 2"), "{detail}");
    assert_eq!(hand.taken(), 0, "what does not go takes no room");
    // An image index with what belongs to it is one image.
    hand.delete(&json!([{ "imageTag": "v1" }, more[0]])).deleted(2);
    assert_eq!(hand.taken(), 2);
    hand.delete(&by_tag("build")).problem(409, "limit-registry");
    // `inUse=true` does not exceed the limit.
    hand.delete_with("?inUse=true", &by_tag("build")).problem(409, "limit-registry");
    hand.force().problem(409, "limit-registry");
    let answer = hand.delete_stack("inUse");
    assert!(answer["Reason"].as_str().unwrap().contains("may be deleted in the registry today"), "{answer}");
    // The way out that the message gives.
    hand.upload(POLICIES, "policies: []\nlimits: { images: 3 }\n");
    hand.delete(&by_tag("build")).deleted(1);
}

#[test]
fn a_policies_file_that_is_not_valid_stops_deletion_by_hand() {
    let (hand, _) = Hand::start().with_app();
    hand.upload(POLICIES, "policies: 5\n");
    let answer = hand.delete(&by_tag("build"));
    let detail = hand.refused(&answer, 503, "state-unreadable", &[]);
    assert!(detail.contains("/policies") && detail.contains("ecr-steward check"), "{detail}");
    hand.upload(POLICIES, "policies: []\n");
    hand.delete(&by_tag("build")).deleted(1);
}

#[test]
fn a_repository_is_deleted_by_force_with_all_its_images_written_down_and_not_while_one_is_in_use() {
    let (hand, app) = Hand::start().with_app();
    hand.run_task("app:build", Some(&app.build));
    let answer = hand.force();
    let detail = hand.refused(&answer, 409, "images-in-use", &[]);
    assert!(detail.contains(&app.build) && detail.contains("task/blue/"), "{detail}");
    hand.cloud(|cloud| cloud.ecs.stop_all());
    assert_eq!(hand.force().status, 204);
    assert_eq!(hand.count(), None);
    let journal = hand.journal();
    assert_eq!(journal.len(), 6);
    assert!(journal.iter().all(|line| line["by"]["principal"] == gateway::CALLER));
    assert!(journal.iter().all(|line| line["imageManifest"].is_string()));
    assert_eq!(hand.taken(), 3, "children and signatures are no images of their own");
    hand.force().problem(404, "repository-not-found");
}

#[test]
fn a_repository_in_use_is_deleted_by_force_when_somebody_says_that_they_know() {
    let (hand, app) = Hand::start().with_app();
    hand.run_task("app:build", Some(&app.build));
    let answer = hand.ask("DELETE", "/repositories/app?force=true&inUse=true", &Value::Null);
    assert_eq!(answer.status, 204, "{}", answer.body);
    assert_eq!(hand.journal().len(), 6);
}

#[test]
fn an_empty_repository_is_deleted_without_a_look() {
    let hand = Hand::start();
    assert_eq!(hand.ask("POST", "/repositories", &json!({ "repositoryName": "app" })).status, 201);
    hand.aws.forget_calls();
    assert_eq!(hand.force().status, 204);
    assert_eq!(hand.aws.operations(), ["DescribeImages", "DeleteRepository"]);
}

/// Somebody pushes an image to `app`.
fn push(registry: &mut Registry, _: &mut Cloud) {
    registry.repositories.get_mut("app").unwrap().push("pushed meanwhile", &["latest"]);
}

/// Somebody tags an image of `app` once more.
fn tag(registry: &mut Registry, _: &mut Cloud) {
    registry.repositories.get_mut("app").unwrap().push("build", &["build", "prod"]);
}

#[test]
fn images_that_were_pushed_meanwhile_keep_the_repository() {
    let (hand, _) = Hand::start().with_app();
    hand.aws.fault("ListTaskDefinitions", Fault::Then(push), 1);
    let detail = hand.force().problem(409, "changed-meanwhile");
    assert!(detail.contains("was pushed") && detail.contains("try again"), "{detail}");
    assert_eq!((hand.count(), hand.taken() > 0), (Some(7), true));
    assert_eq!(hand.force().status, 204);
}

#[test]
fn a_repository_that_is_filled_meanwhile_stays() {
    let hand = Hand::start();
    assert_eq!(hand.ask("POST", "/repositories", &json!({ "repositoryName": "app" })).status, 201);
    hand.aws.fault("DescribeImages", Fault::Then(push), 1);
    hand.force().problem(409, "changed-meanwhile");
    assert_eq!(hand.count(), Some(1));
}

#[test]
fn an_image_that_was_tagged_meanwhile_stays() {
    let (hand, app) = Hand::start().with_app();
    hand.aws.fault("ListTaskDefinitions", Fault::Then(tag), 1);
    let detail = hand.delete(&by_digest(&app.build)).problem(409, "changed-meanwhile");
    assert!(detail.contains("the tags of"), "{detail}");
    assert_eq!(hand.count(), Some(6));
}

#[test]
fn a_tag_that_moves_while_earlier_images_are_deleted_takes_no_other_image_along() {
    let (hand, _) = Hand::start().with_app();
    let named: Vec<String> = (0..250).map(|number| format!("t-{number:03}")).collect();
    hand.aws.with(|registry| {
        let app = registry.repositories.get_mut("app").unwrap();
        for tag in &named {
            let digest = app.push(tag, &[tag]);
            app.age(&digest, 30.0);
        }
    });
    hand.upload("state/registry.json", r#"{"images":1000000}"#);
    // Somebody pushes another image by the last tag while the first hundred are deleted.
    hand.aws.fault(
        "BatchDeleteImage",
        Fault::Then(|registry, _| {
            registry.repositories.get_mut("app").unwrap().push("the next release", &["t-249"]);
        }),
        1,
    );
    let ids: Value = named.iter().map(|tag| json!({ "imageTag": tag })).collect();
    let answer = hand.delete(&ids);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let failures = answer.body["failures"].as_array().unwrap();
    let named_last: Vec<&Value> = failures.iter().map(|failure| &failure["imageId"]["imageTag"]).collect();
    assert!(named_last.contains(&&json!("t-249")), "{}", answer.body);
    let reason = failures[0]["failureReason"].as_str().unwrap();
    assert!(reason.contains("the tags of sha256:") && reason.contains("ask again"), "{reason}");
    let is_there = |tag: &str| {
        hand.aws.with(|registry| {
            let images = &registry.repositories["app"].images;
            images.iter().any(|image| image.tags.contains(tag))
        })
    };
    assert!(is_there("t-249"), "what was pushed meanwhile stays");
    assert!(!is_there("t-000") && !is_there("t-150"), "the others are deleted: {}", answer.body);
}

#[test]
fn a_tag_whose_image_is_gone_and_that_names_another_one_by_now_stays() {
    let (hand, _) = Hand::start().with_app();
    hand.aws.fault(
        "ListTaskDefinitions",
        Fault::Then(|registry, _| {
            let app = registry.repositories.get_mut("app").unwrap();
            app.images.retain(|image| !image.tags.contains("build"));
            app.push("the next build", &["build"]);
        }),
        1,
    );
    let detail = hand.delete(&by_tag("build")).problem(409, "changed-meanwhile");
    assert!(detail.contains("the tags of"), "{detail}");
    assert_eq!(hand.count(), Some(6));
}

#[test]
fn a_repository_with_too_many_images_for_the_time_stays() {
    let (hand, _) = Hand::within(LITTLE).with_app();
    // The call that reads the children of image indexes succeeds; later ones are throttled.
    hand.aws.fault_from("BatchGetImage", Fault::Throttled, 1);
    let detail = hand.force().problem(503, "too-many-images");
    assert!(detail.contains("delete them by policy or in batches first"), "{detail}");
    assert_eq!((hand.count(), hand.taken()), (Some(6), 0));
    let (hand, _) = Hand::start().with_app();
    hand.aws.with(|registry| {
        let app = registry.repositories.get_mut("app").unwrap();
        (0..5000).for_each(|number| _ = app.push(&number.to_string(), &[]));
    });
    hand.refused(&hand.force(), 503, "too-many-images", &[]);
}

#[test]
fn a_deletion_that_ecr_does_not_answer_is_reported_as_it_came_out() {
    let (hand, _) = Hand::within(LITTLE).with_app();
    hand.aws.fault_from("DeleteRepository", Fault::AfterEffect(Box::new(Fault::ServerError)), 0);
    assert_eq!(hand.force().status, 204);
    assert_eq!((hand.count(), hand.journal().len()), (None, 6));
}

#[test]
fn a_stack_deletes_images_with_it_only_when_asked_to_and_not_in_use() {
    let (hand, app) = Hand::start().with_app();
    hand.run_task("app:build", Some(&app.build));
    let reason = |answer: &Value| {
        assert_eq!(answer["Status"], "FAILED", "{answer}");
        assert_eq!(answer["PhysicalResourceId"], "app");
        answer["Reason"].as_str().unwrap().to_owned()
    };
    let output_text = reason(&hand.delete_stack("false"));
    assert!(output_text.contains("app has 6 images"), "{output_text}");
    let output_text = reason(&hand.delete_stack("true"));
    assert!(
        output_text.contains("the repository app is still there") && output_text.contains("task/blue/"),
        "{output_text}"
    );
    assert!(output_text.contains("set EmptyOnDelete to inUse"), "{output_text}");
    assert_eq!((hand.count(), hand.journal()), (Some(6), Vec::new()));
    let answer = hand.delete_stack("inUse");
    assert_eq!(answer["Status"], "SUCCESS", "{answer}");
    assert_eq!(hand.count(), None);
    let journal = hand.journal();
    assert_eq!(journal.len(), 6);
    assert_eq!(journal[0]["by"], json!({ "principal": STACK }));
    assert!(journal[0]["runId"].as_str().unwrap().starts_with("stack-request-"), "{}", journal[0]);
}

#[test]
fn the_roles_name_the_keys_that_are_read_and_written() {
    let (hand, app) = Hand::start().with_app();
    let check = |function: &str| {
        for call in hand.aws.calls() {
            let action = match call.operation.as_str() {
                "GetObject" => "s3:GetObject",
                "PutObject" => "s3:PutObject",
                "DeleteObject" => "s3:DeleteObject",
                _ => continue,
            };
            let key =
                call.request["key"].as_str().unwrap().strip_prefix(&format!("{BUCKET}/")).unwrap().to_owned();
            let mut allowed = template::keys(function, action);
            allowed.extend(template::keys("ReadUsagePolicy", action));
            assert!(
                allowed.iter().any(|pattern| template::is_match(pattern, &key)),
                "{function}: {action} {key}"
            );
        }
        assert!(hand.aws.count("PutObject") > 0, "it was written down");
        hand.aws.forget_calls();
    };
    hand.delete(&by_digest(&app.build)).deleted(1);
    check("RepositoryApiFunction");
    // A policy is remembered before it is put, and forgotten when it is gone.
    assert_eq!(hand.ask("POST", "/repositories", &json!({ "repositoryName": "other" })).status, 201);
    assert_eq!(hand.ask("DELETE", "/repositories/other", &Value::Null).status, 204);
    assert_eq!(hand.aws.count("DeleteObject"), 1);
    check("RepositoryApiFunction");
    assert_eq!(hand.delete_stack("true")["Status"], "SUCCESS");
    check("RepositoryResourceFunction");
    for function in ["RepositoryApiFunction", "RepositoryResourceFunction"] {
        let role = template::role(function);
        for action in ["eks:ListClusters", "ecr:DescribeRegistry", "ecs:DescribeServiceRevisions"] {
            assert!(role.contains(action), "{function}: {action}");
        }
    }
}

#[test]
fn a_stack_deletes_unused_images_with_it_once_however_often_it_is_asked() {
    let (hand, _) = Hand::start().with_app();
    for _ in 0..2 {
        let answer = hand.delete_stack("true");
        assert_eq!(answer["Status"], "SUCCESS", "{answer}");
    }
    assert_eq!((hand.count(), hand.journal().len(), hand.taken()), (None, 6, 3));
}

#[test]
fn a_stack_learns_what_is_not_known_and_what_there_was_no_time_for() {
    let (hand, _) = Hand::start().with_app();
    hand.aws.fault_from("ListFunctions", Fault::Denied, 0);
    let answer = hand.delete_stack("true");
    let reason = answer["Reason"].as_str().unwrap();
    assert!(reason.contains("not known completely") && reason.contains("{ source: "), "{reason}");
    assert_eq!((answer["Status"].as_str(), hand.count()), (Some("FAILED"), Some(6)));
    let (hand, _) = Hand::within(LITTLE).with_app();
    hand.aws.fault_from("ListClusters", Fault::Hang, 0);
    let answer = hand.delete_stack("true");
    let reason = answer["Reason"].as_str().unwrap();
    assert!(reason.contains("no time to find out what is in use"), "{reason}");
    assert_eq!((answer["Status"].as_str(), hand.count()), (Some("FAILED"), Some(6)));
    let declared = hand.stack("Update", &json!({ "RepositoryName": "app", "EmptyOnDelete": "inUse" }));
    assert_eq!(declared["Status"], "SUCCESS", "{declared}");
}
