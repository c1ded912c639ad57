//! Builds from their source to the published image: the functions image-build, image-resource and image-published as real
//! processes, with a CodeBuild in memory, and every event in the order that the test says.

use std::cell::Cell;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use serde_json::{Value, json};
use shared::domain::text::instant::Instant;
use tests::cloud::{self, BUCKET, callback_server};
use tests::ecr_stub::{EcrStub, Fault, Repository};
use tests::runtime_api::Function;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

struct Stack {
    aws: EcrStub,
    build: Function,
    resource: Function,
    published: Function,
    answers: Receiver<Value>,
    url: String,
    /// The number of handovers that image-published has received.
    delivered: Cell<usize>,
}

impl Stack {
    fn new() -> Self {
        let aws = EcrStub::start();
        let start = |name: &str| cloud::function(&aws, name, Duration::from_secs(60));
        let (build, resource, published) =
            (start("image-build"), start("image-resource"), start("image-published"));
        let (url, answers) = callback_server();
        Self { aws, build, resource, published, answers, url, delivered: Cell::new(0) }
    }

    /// An event, or a direct invocation, for image-build.
    fn send(&self, event: &Value) -> Value {
        self.build.invoke(event.to_string()).response()
    }

    /// Puts an object, and gives its version.
    fn put(&self, key: &str, content: &str) -> String {
        self.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/{key}"), content))
    }

    /// A request by HTTP or from a terminal.
    fn post(&self, body: &Value) -> Value {
        let answer = self.send(&json!({
            "version": "2.0", "routeKey": "$default", "rawPath": "/builds", "rawQueryString": "", "headers": {},
            "requestContext": { "accountId": "1", "apiId": "a", "domainName": "d", "domainPrefix": "d", "requestId": "r",
                "routeKey": "$default", "stage": "$default", "time": "t", "timeEpoch": 0,
                "http": { "method": "POST", "path": "/builds", "protocol": "HTTP/1.1", "sourceIp": "1.1.1.1", "userAgent": "u" } },
            "body": body.to_string(), "isBase64Encoded": false,
        }));
        serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
    }

    /// A request of CloudFormation.
    fn request(&self, kind: &str, id: &str, physical: Option<&str>, properties: &Value) {
        let event = json!({
            "RequestType": kind, "ResponseURL": self.url, "StackId": "arn:aws:cloudformation:r:1:stack/shop/0",
            "RequestId": id, "ResourceType": "Custom::EcrImage", "LogicalResourceId": "Web",
            "PhysicalResourceId": physical, "ResourceProperties": properties,
        });
        self.resource.invoke(event.to_string()).response();
    }

    fn answer(&self) -> Value {
        self.answers.recv_timeout(Duration::from_secs(5)).expect("CloudFormation should be answered")
    }

    fn builds(&self) -> usize {
        self.aws.cloud(|cloud| cloud.builds.len())
    }

    fn variable(&self, build: usize, name: &str) -> String {
        self.aws.cloud(|cloud| cloud.variable(build, name)).unwrap_or_default()
    }

    /// The handovers since the last time reach image-published.
    fn hand_over(&self) -> Vec<Value> {
        let all = self.aws.cloud(|cloud| cloud.invoked.clone());
        let new = all.iter().skip(self.delivered.replace(all.len()));
        new.map(|(_, payload)| self.published.invoke(payload.to_string()).response()).collect()
    }

    /// A build does what the buildspec does: the image that is there, or one of this content. Nobody hears of it yet.
    fn run(&self, build: usize, content: &str) -> String {
        let (repository, tag) = (self.variable(build, "REPOSITORY"), self.variable(build, "IMAGE_TAG"));
        self.aws.with(|registry| {
            let repository = registry.repositories.get_mut(&repository).unwrap();
            let there = repository.images.iter().find(|image| image.tags.contains(&tag));
            there.map(|image| image.digest.clone()).unwrap_or_else(|| repository.push(content, &[&tag]))
        })
    }

    /// CodeBuild's build has this status.
    fn end(&self, build: usize, status: &str, digest: Option<&str>) -> Value {
        let id = self.aws.cloud(|cloud| cloud.builds[build]["id"].as_str().unwrap().to_owned());
        self.aws.cloud(|cloud| cloud.end(&id, status, digest));
        ended(&id, status)
    }

    /// A build ends well, and image-published hears of it.
    fn finish(&self, build: usize, content: &str) -> (String, Value) {
        let digest = self.run(build, content);
        let event = self.end(build, "SUCCEEDED", Some(&digest));
        (digest, self.published.invoke(event.to_string()).response())
    }

    /// The digest of the image that has a tag.
    fn tagged(&self, repository: &str, tag: &str) -> Option<String> {
        self.aws.with(|registry| {
            let images = &registry.repositories.get(repository)?.images;
            images.iter().find(|image| image.tags.contains(tag)).map(|image| image.digest.clone())
        })
    }

    fn parameter(&self, repository: &str) -> Option<String> {
        let name = format!("/steward/images/{repository}");
        self.aws.cloud(|cloud| cloud.parameters.get(&name).map(|(_, value)| value.clone()))
    }

    fn put_builds_file(&self, text: &str) {
        self.put("builds.yaml", text);
    }

    fn repository(&self, name: &str, described: Value) {
        let repository = Repository { described, ..Repository::default() };
        self.aws.with(|registry| registry.repositories.insert(name.to_owned(), repository));
    }
}

/// CodeBuild's event about a build that ended.
fn ended(id: &str, status: &str) -> Value {
    json!({ "detail-type": "CodeBuild Build State Change",
        "detail": { "build-status": status, "build-id": format!("arn:aws:codebuild:r:1:build/{id}") } })
}

fn now() -> Instant {
    Instant::now()
}

fn seconds_ago(seconds: i64) -> String {
    Instant::from_micros(now().micros() - seconds * 1_000_000).unwrap().to_string()
}

fn uploaded(key: &str, version: &str, time: &str) -> Value {
    json!({
        "version": "0", "id": "1", "source": "aws.s3", "detail-type": "Object Created", "time": time,
        "detail": { "version": "0", "bucket": { "name": BUCKET }, "reason": "PutObject",
            "object": { "key": key, "size": 5, "etag": "e", "version-id": version, "sequencer": "0A" } },
    })
}

fn pushed(repository: &str, kind: &str, name: &str, commit: &str, time: &str) -> Value {
    json!({
        "source": "aws.codecommit", "detail-type": "CodeCommit Repository State Change", "time": time,
        "detail": { "event": "referenceUpdated", "repositoryName": repository, "referenceType": kind,
            "referenceName": name, "commitId": commit, "oldCommitId": "0".repeat(40) },
    })
}

fn request(key: &str, more: Value) -> Value {
    let mut request = json!({ "repositoryName": "app", "source": { "s3": { "key": key } } });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

#[test]
fn a_tag_that_is_named_later_moves_to_the_image_that_is_there() {
    let stack = Stack::new();
    stack.put("uploads/a.zip", "a");
    stack.post(&request("uploads/a.zip", json!({ "imageTags": [] })));
    let (digest, _) = stack.finish(0, "a");
    // As `ecr-steward build ./app --repository app` and then the same with `--tag stable`.
    let answer = stack.post(&request("uploads/a.zip", json!({ "imageTags": ["stable"] })));
    assert_eq!(answer["status"], "BUILT", "{answer}");
    stack.hand_over();
    assert_eq!(stack.tagged("app", "stable"), Some(digest.clone()));
    // And in a template.
    let properties = json!({ "RepositoryName": "app", "Source": { "S3": { "Key": "uploads/a.zip" } } });
    stack.request("Create", "one", None, &properties);
    let mut properties = properties;
    properties["ImageTags"] = json!(["production"]);
    stack.request("Update", "two", Some("x"), &properties);
    stack.hand_over();
    assert_eq!(stack.tagged("app", "production"), Some(digest));
    assert_eq!(stack.builds(), 1);
}

#[test]
fn a_commit_that_is_pushed_as_a_branch_and_as_a_tag_at_once_gets_both_tags() {
    // As `git push origin main v1.0`: two events of the same second, before or after the image is there.
    for is_built_between in [false, true] {
        let stack = Stack::new();
        let time = now().to_string();
        stack.send(&pushed("web", "branch", "main", COMMIT, &time));
        if is_built_between {
            stack.finish(0, "web");
        }
        stack.send(&pushed("web", "tag", "v1.0", COMMIT, &time));
        stack.hand_over();
        if !is_built_between {
            for build in 0..stack.builds() {
                stack.finish(build, "web");
            }
        }
        for tag in ["main", "v1.0", "latest"] {
            assert!(stack.tagged("web", tag).is_some(), "{tag}, built between: {is_built_between}");
        }
    }
}

#[test]
fn a_tag_that_is_named_while_the_image_is_being_built_moves_to_it() {
    let stack = Stack::new();
    stack.put("uploads/a.zip", "a");
    stack.post(&request("uploads/a.zip", json!({ "imageTags": [] })));
    stack.aws.cloud(tests::cloud::Cloud::forget_tokens);
    stack.post(&request("uploads/a.zip", json!({ "imageTags": ["stable"] })));
    // And a branch whose event comes late, when CodeBuild has forgotten the token.
    stack.send(&pushed("web", "branch", "main", COMMIT, &seconds_ago(600)));
    stack.aws.cloud(tests::cloud::Cloud::forget_tokens);
    stack.send(&pushed("web", "branch", "other", COMMIT, &seconds_ago(600)));
    for build in 0..stack.builds() {
        stack.finish(build, &stack.variable(build, "REPOSITORY"));
    }
    stack.hand_over();
    assert!(stack.tagged("app", "stable").is_some());
    assert!(stack.tagged("web", "main").is_some() && stack.tagged("web", "other").is_some());
}

#[test]
fn what_is_being_built_with_these_tags_already_is_not_built_twice() {
    let stack = Stack::new();
    let version = stack.put("sources/app/a.zip", "a");
    stack.send(&uploaded("sources/app/a.zip", &version, &seconds_ago(600)));
    stack.aws.cloud(tests::cloud::Cloud::forget_tokens);
    // An upload that a template names, too, and one that is asked for.
    let properties = json!({ "RepositoryName": "app", "Source": { "S3": { "Key": "sources/app/a.zip" } } });
    stack.request("Create", "one", None, &properties);
    stack.post(&request("sources/app/a.zip", json!({})));
    stack.post(&request("sources/app/a.zip", json!({ "imageTags": ["latest"] })));
    assert_eq!(stack.builds(), 1);
    let (digest, _) = stack.finish(0, "a");
    assert_eq!(stack.answer()["Data"]["ImageDigest"], digest);
}

#[test]
fn asking_for_an_older_source_again_moves_its_tags_back() {
    let stack = Stack::new();
    let latest = json!({ "imageTags": ["latest"] });
    stack.put("uploads/old.zip", "old");
    stack.aws.cloud(|cloud| cloud.age(&format!("{BUCKET}/uploads/old.zip"), 2.0));
    stack.post(&request("uploads/old.zip", latest.clone()));
    let (old, _) = stack.finish(0, "old");
    stack.put("uploads/new.zip", "new");
    stack.aws.cloud(|cloud| cloud.age(&format!("{BUCKET}/uploads/new.zip"), 1.0));
    std::thread::sleep(Duration::from_millis(1100));
    stack.post(&request("uploads/new.zip", latest.clone()));
    let (new, _) = stack.finish(1, "new");
    assert_eq!(stack.tagged("app", "latest"), Some(new));
    // Somebody takes back a change, and builds the directory as it was before.
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(stack.post(&request("uploads/old.zip", latest))["status"], "BUILT");
    stack.hand_over();
    assert_eq!(stack.tagged("app", "latest"), Some(old.clone()));
    assert!(stack.parameter("app").unwrap().ends_with(&old));
}

#[test]
fn a_branch_does_not_get_the_tag_of_another_one_by_a_name_that_is_cleaned() {
    let stack = Stack::new();
    let commit = |number: usize| format!("{number}").repeat(40);
    let build = |kind: &str, name: &str, number: usize| {
        stack.send(&pushed("web", kind, name, &commit(number), &seconds_ago(100 - number as i64)));
        let (digest, answer) = stack.finish(stack.builds() - 1, name);
        (digest, answer)
    };
    let (main, _) = build("branch", "main", 1);
    let (release, _) = build("tag", "v1.0", 2);
    // Git allows all of these names, and who may push only them is not who may push main.
    for (kind, name, number) in [("branch", "-main", 3), ("tag", "-v1.0", 4)] {
        let (digest, answer) = build(kind, name, number);
        assert_ne!(stack.tagged("web", "main"), Some(digest.clone()), "{name}");
        assert_ne!(stack.tagged("web", "v1.0"), Some(digest), "{name}");
        let reason = answer["imageTagsNotMoved"][0]["reason"].as_str().unwrap();
        let why = if kind == "branch" { "this source is not released" } else { "has it by its own name" };
        assert!(reason.contains(why), "{reason}");
    }
    assert_eq!(stack.tagged("web", "main"), Some(main));
    assert_eq!(stack.tagged("web", "v1.0"), Some(release));
    // A branch is its own successor, by a name that is cleaned, too.
    build("branch", "feature/x", 5);
    let (second, _) = build("branch", "feature/x", 6);
    assert_eq!(stack.tagged("web", "feature-x"), Some(second));
    // Whose name it is comes first.
    let (own, _) = build("branch", "feature-x", 7);
    assert_eq!(stack.tagged("web", "feature-x"), Some(own));
}

#[test]
fn a_branch_does_not_get_the_tag_of_a_release_by_having_its_name() {
    let stack = Stack::new();
    stack.put_builds_file(
        "builds:\n  - repositoryName: app\n    source: { codeCommit: { repositoryName: app } }\n",
    );
    stack.put("uploads/a.zip", "a");
    stack.post(&request("uploads/a.zip", json!({ "imageTags": ["production"] })));
    let (release, _) = stack.finish(0, "a");
    std::thread::sleep(Duration::from_millis(1100));
    stack.send(&pushed("app", "branch", "production", COMMIT, &now().to_string()));
    let (_, answer) = stack.finish(1, "branch");
    assert_eq!(stack.tagged("app", "production"), Some(release), "{answer}");
    assert!(answer["imageTagsNotMoved"][0]["reason"].as_str().unwrap().contains("release"), "{answer}");
}

#[test]
fn two_builds_of_one_source_are_no_failure_where_tags_can_be_moved() {
    let stack = Stack::new();
    // As `POST /repositories` makes them, and as most are.
    stack.repository("app", json!({ "imageTagMutability": "MUTABLE" }));
    stack.put_builds_file(
        "builds:\n  - repositoryName: app\n    source: { codeCommit: { repositoryName: app } }\n",
    );
    let time = now().to_string();
    stack.send(&pushed("app", "branch", "main", COMMIT, &time));
    stack.send(&pushed("app", "tag", "v1.0", COMMIT, &time));
    assert_eq!(stack.builds(), 2);
    // Both find no image, and push one: what BuildKit makes has times in it.
    let tag = stack.variable(0, "IMAGE_TAG");
    let push = |content: &str| {
        stack.aws.with(|registry| registry.repositories.get_mut("app").unwrap().push(content, &[&tag]))
    };
    let digests = [push("one"), push("two")];
    for (build, digest) in digests.iter().enumerate() {
        let event = stack.end(build, "SUCCEEDED", Some(digest));
        let answer = stack.published.invoke(event.to_string()).response();
        assert_eq!(answer["outcome"], "PUBLISHED", "{answer}");
    }
    for tag in ["main", "latest", "v1.0"] {
        assert!(digests.contains(&stack.tagged("app", tag).unwrap()), "{tag}");
    }
    assert!(stack.aws.cloud(|cloud| cloud.published.is_empty()), "nobody is mailed");
}

#[test]
fn a_source_whose_image_is_in_the_archive_is_refused_with_the_way_out() {
    let stack = Stack::new();
    let version = stack.put("sources/app/a.zip", "a");
    let event = uploaded("sources/app/a.zip", &version, &now().to_string());
    stack.send(&event);
    let (digest, _) = stack.finish(0, "a");
    stack.aws.with(|registry| {
        registry.repositories.get_mut("app").unwrap().image_mut(&digest).archived = true;
    });
    stack.aws.cloud(tests::cloud::Cloud::forget_tokens);
    let answer = stack.send(&event);
    let reason = answer["ignored"][0]["reason"].as_str().unwrap_or_else(|| panic!("{answer}"));
    assert!(reason.contains("archive") && reason.contains("ecr-steward images restore app:src-"), "{reason}");
    assert_eq!(stack.builds(), 1, "a build could not push under a tag that does not move");
    let (kind, detail) = stack.aws.cloud(|cloud| cloud.events.last().cloned().unwrap());
    assert_eq!((kind.as_str(), &detail["reason"]), ("Image Build Failed", &json!(reason)));
    let problem = stack.post(&request("sources/app/a.zip", json!({})));
    assert!(problem["detail"].as_str().unwrap().contains("images restore"), "{problem}");
    let properties = json!({ "RepositoryName": "app", "Source": { "S3": { "Key": "sources/app/a.zip" } } });
    stack.request("Create", "one", None, &properties);
    let answer = stack.answer();
    assert!(answer["Reason"].as_str().unwrap().contains("images restore"), "{answer}");
}

#[test]
fn an_event_that_codebuild_does_not_confirm_yet_is_tried_again_and_nothing_is_lost() {
    let stack = Stack::new();
    let version = stack.put("sources/app/a.zip", "a");
    stack.send(&uploaded("sources/app/a.zip", &version, &now().to_string()));
    let digest = stack.run(0, "a");
    let id = stack.aws.cloud(|cloud| cloud.builds[0]["id"].as_str().unwrap().to_owned());
    // What CodeBuild answers is older than its event.
    let (kind, message) = stack.published.invoke(ended(&id, "SUCCEEDED").to_string()).error();
    assert_eq!(kind, "NotPublished");
    assert!(message.contains(&id) && message.contains("tried again"), "{message}");
    // Also where it does not know the build at all.
    let builds = stack.aws.cloud(|cloud| std::mem::take(&mut cloud.builds));
    let (kind, _) = stack.published.invoke(ended(&id, "SUCCEEDED").to_string()).error();
    assert_eq!(kind, "NotPublished");
    stack.aws.cloud(|cloud| cloud.builds = builds);
    let event = stack.end(0, "SUCCEEDED", Some(&digest));
    assert_eq!(stack.published.invoke(event.to_string()).response()["outcome"], "PUBLISHED");
    assert_eq!(stack.tagged("app", "latest"), Some(digest));
}

#[test]
fn an_image_that_is_there_is_a_success_whatever_fails_after_it() {
    let stack = Stack::new();
    let version = stack.put("uploads/a.zip", "a");
    stack.post(&request("uploads/a.zip", json!({})));
    let (digest, _) = stack.finish(0, "a");
    let properties = json!({ "RepositoryName": "app", "Source": { "S3": { "Key": "uploads/a.zip", "VersionId": version } } });
    // That nobody waits any more cannot be written down.
    stack.aws.fault("DeleteParameters", Fault::Denied, 1);
    stack.request("Create", "one", None, &properties);
    let answer = stack.answer();
    assert_eq!((&answer["Status"], &answer["Data"]["ImageDigest"]), (&json!("SUCCESS"), &json!(digest)));
    // The next build of it answers that request once more, which does no harm, and forgets it.
    stack.hand_over();
    assert_eq!(stack.answer()["Status"], "SUCCESS");
    let left = stack.aws.cloud(|cloud| cloud.parameters.keys().any(|name| name.contains("waiting")));
    assert!(!left);
}

#[test]
fn cloudformation_is_answered_although_a_tag_or_the_parameter_cannot_be_moved() {
    const DISABLED: Fault = Fault::Error("KmsException", "The key of the repository is disabled");
    for (operation, fault) in
        [("PutParameter", Fault::Denied), ("PutImage", Fault::Denied), ("PutImage", DISABLED)]
    {
        let stack = Stack::new();
        stack.put("uploads/a.zip", "a");
        let properties = json!({ "RepositoryName": "app", "Source": { "S3": { "Key": "uploads/a.zip" } },
            "ImageTags": ["latest"] });
        stack.request("Create", "one", None, &properties);
        stack.aws.fault_from(operation, fault, 0);
        let digest = stack.run(0, "a");
        let event = stack.end(0, "SUCCEEDED", Some(&digest));
        // It is tried again, and reported when that does not help.
        assert_eq!(stack.published.invoke(event.to_string()).error().0, "NotPublished", "{operation}");
        let answer = stack.answer();
        assert_eq!(answer["Data"]["ImageDigest"], digest, "{operation}");
        stack.aws.heal();
        assert_eq!(stack.published.invoke(event.to_string()).response()["outcome"], "PUBLISHED");
        assert_eq!(stack.tagged("app", "latest"), Some(digest), "{operation}");
    }
}

#[test]
fn an_image_of_a_repository_with_many_parts_is_published_without_a_parameter() {
    let stack = Stack::new();
    // The name of a parameter has 15 parts at most, that of a repository as many as fit into 256 characters.
    let name = vec!["a1"; 14].join("/");
    let key = format!("sources/{name}/a.zip");
    let version = stack.put(&key, "a");
    stack.send(&uploaded(&key, &version, &now().to_string()));
    let (digest, answer) = stack.finish(0, "a");
    assert_eq!(
        (&answer["outcome"], &answer["parameterName"]),
        (&json!("PUBLISHED"), &Value::Null),
        "{answer}"
    );
    assert_eq!(stack.tagged(&name, "latest"), Some(digest));
}

#[test]
fn an_upload_that_names_no_repository_is_reported_to_people() {
    let stack = Stack::new();
    for (key, part) in [
        ("sources/Shop/Web/web.zip", "`Shop/Web` is no name for a repository"),
        ("sources/web.zip", "is not named sources/<repository>/<anything>.zip"),
    ] {
        let version = stack.put(key, "a");
        let answer = stack.send(&uploaded(key, &version, &now().to_string()));
        assert!(answer["ignored"][0]["reason"].as_str().unwrap().contains(part), "{answer}");
        let (_, mail) = stack.aws.cloud(|cloud| cloud.published.pop()).expect("a mail");
        assert!(mail.contains(part) && mail.contains(key), "{mail}");
    }
    // What is uploaded to be asked for is nobody's mistake, nor is a repository of CodeCommit that is not for this.
    let version = stack.put("uploads/web.zip", "a");
    stack.send(&uploaded("uploads/web.zip", &version, &now().to_string()));
    stack.send(&pushed("My_Repository-", "branch", "main", COMMIT, &now().to_string()));
    assert!(stack.aws.cloud(|cloud| cloud.published.is_empty()));
}

#[test]
fn very_many_findings_are_reported_in_a_text_that_events_and_mails_can_carry() {
    let stack = Stack::new();
    let entries = "  - repositoryName: Shop\n    contxt: a\n".repeat(3000);
    stack.put_builds_file(&format!("builds:\n{entries}"));
    let version = stack.put("sources/app/a.zip", "a");
    let answer = stack.send(&uploaded("sources/app/a.zip", &version, &now().to_string()));
    let reason = answer["ignored"][0]["reason"].as_str().unwrap();
    // Amazon EventBridge and Amazon SNS take 256 KB.
    assert!(reason.len() < 20_000, "{}", reason.len());
    assert!(reason.contains("/builds/0/contxt") && reason.contains(" more"), "{reason}");
}

#[test]
fn an_image_that_is_deleted_before_its_tags_move_is_reported() {
    let stack = Stack::new();
    let version = stack.put("sources/app/a.zip", "a");
    let event = uploaded("sources/app/a.zip", &version, &now().to_string());
    stack.send(&event);
    stack.finish(0, "a");
    stack.aws.cloud(tests::cloud::Cloud::forget_tokens);
    assert_eq!(stack.send(&event)["images"][0]["status"], "BUILT");
    // A run of a policy deletes it meanwhile.
    stack.aws.with(|registry| registry.repositories.get_mut("app").unwrap().images.clear());
    let outcome = stack.hand_over().remove(0);
    assert_eq!(outcome["outcome"], "FAILED", "{outcome}");
    let (kind, detail) = stack.aws.cloud(|cloud| cloud.events.last().cloned().unwrap());
    let reason = detail["reason"].as_str().unwrap();
    assert!(kind == "Image Build Failed" && reason.contains("deleted"), "{kind}: {reason}");
}

#[test]
fn a_build_that_takes_too_long_says_which_limit_it_was_and_what_to_change() {
    for (phase, part) in [("QUEUED", "wait"), ("BUILD", "BuildTimeoutInMinutes")] {
        let stack = Stack::new();
        let version = stack.put("sources/app/a.zip", "a");
        stack.send(&uploaded("sources/app/a.zip", &version, &now().to_string()));
        let event = stack.end(0, "TIMED_OUT", None);
        stack.aws.cloud(|cloud| {
            cloud.builds[0]["phases"] = json!([{ "phaseType": phase, "phaseStatus": "TIMED_OUT" }]);
        });
        let answer = stack.published.invoke(event.to_string()).response();
        let reason = answer["reason"].as_str().unwrap();
        assert!(reason.contains(part), "{phase}: {reason}");
    }
}

#[test]
fn a_request_that_could_not_mean_what_it_names_is_refused_with_the_place_and_the_way_out() {
    let stack = Stack::new();
    stack.put("uploads/a.zip", "a");
    let commit = |repository: &str, branch: Option<&str>| {
        let mut commit = json!({ "repositoryName": repository, "commitId": COMMIT });
        if let Some(branch) = branch {
            commit["branch"] = branch.into();
        }
        json!({ "codeCommit": commit })
    };
    let object = json!({ "s3": { "key": "uploads/a.zip" } });
    let many: Vec<String> = (0..51).map(|number| format!("t{number}")).collect();
    for (source, more, pointer, part) in [
        (commit("../../other", None), json!({}), "/source/codeCommit/repositoryName", "write its name alone"),
        (commit("web?x=", None), json!({}), "/source/codeCommit/repositoryName", "write its name alone"),
        (commit("web", Some("refs/heads/main")), json!({}), "/source/codeCommit/branch", "write `main`"),
        (commit("web", Some("a\nb")), json!({}), "/source/codeCommit/branch", "no name in Git has"),
        (commit("web", None), json!({ "imageTags": ["{branch}"] }), "/imageTags/0", "add its `branch`"),
        (
            commit("web", Some("x")),
            json!({ "imageTags": ["x", "{tag}"] }),
            "/imageTags/1",
            "`{tag}` makes no tag",
        ),
        (
            object.clone(),
            json!({ "imageTags": ["latest", "{shortCommit}"] }),
            "/imageTags/1",
            "Write {version}, {date}",
        ),
        (
            object.clone(),
            json!({ "defaultBranch": "origin/trunk" }),
            "/defaultBranch",
            "write the name alone",
        ),
        (object.clone(), json!({ "defaultBranch": "release/*" }), "/defaultBranch", "the whole name of one"),
        (object, json!({ "imageTags": many }), "/imageTags", "50 is the most"),
    ] {
        let mut body = json!({ "repositoryName": "app", "source": source });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let problem = stack.post(&body);
        assert_eq!(problem["findings"][0]["pointer"], pointer, "{body}: {problem}");
        assert!(problem["findings"][0]["message"].as_str().unwrap().contains(part), "{body}: {problem}");
    }
    assert_eq!(stack.builds(), 0);
}

#[test]
fn a_tag_that_is_only_for_releases_is_listed_with_the_reason_where_a_branch_names_it() {
    let stack = Stack::new();
    let commit = json!({ "repositoryName": "web", "commitId": COMMIT, "branch": "feature" });
    stack.post(
        &json!({ "repositoryName": "app", "source": { "codeCommit": commit }, "imageTags": ["candidate"] }),
    );
    let (_, answer) = stack.finish(0, "a");
    assert_eq!(answer["imageTagsNotMoved"][0]["imageTag"], "candidate", "{answer}");
    assert!(answer["imageTagsNotMoved"][0]["reason"].as_str().unwrap().contains("released"), "{answer}");
}

#[test]
fn a_stack_is_rolled_back_to_an_image_whose_source_is_deleted() {
    let stack = Stack::new();
    let version = stack.put("uploads/a.zip", "old");
    let properties = |version: &str| json!({ "RepositoryName": "app", "Source": { "S3": { "Key": "uploads/a.zip", "VersionId": version } } });
    stack.request("Create", "one", None, &properties(&version));
    let (digest, _) = stack.finish(0, "old");
    let uri = stack.answer()["PhysicalResourceId"].as_str().unwrap().to_owned();
    // 90 days after another version replaced it, the bucket deletes it; and the update to another one fails.
    stack.put("uploads/a.zip", "new");
    stack.aws.cloud(|cloud| {
        cloud.objects.get_mut(&format!("{BUCKET}/uploads/a.zip")).unwrap().retain(|(_, id)| *id != version);
    });
    stack.request("Update", "back", Some(&uri), &properties(&version));
    let answer = stack.answer();
    assert_eq!((&answer["Status"], &answer["Data"]["ImageDigest"]), (&json!("SUCCESS"), &json!(digest)));
    assert_eq!(answer["PhysicalResourceId"], uri);
    // Without the image there is nothing to go back to, and no repository is made for it.
    for (repository, version) in [("app", "v9"), ("other", "v1")] {
        let mut properties = properties(version);
        properties["RepositoryName"] = repository.into();
        stack.request("Update", "none", Some(&uri), &properties);
        let answer = stack.answer();
        assert_eq!(answer["Status"], "FAILED");
        assert!(
            answer["Reason"].as_str().unwrap().contains(&format!("with the version `{version}`")),
            "{answer}"
        );
    }
    assert_eq!(stack.builds(), 1);
    assert!(!stack.aws.snapshot().contains_key("other"));
}

#[test]
fn a_stack_moves_the_parameter_of_a_repository_only_if_it_names_tags() {
    let stack = Stack::new();
    stack.put("uploads/release.zip", "release");
    stack.post(&request("uploads/release.zip", json!({})));
    let (release, _) = stack.finish(0, "release");
    let parameter = || stack.parameter("app").unwrap();
    assert!(parameter().ends_with(&release));
    // A stack for a try-out, by the same repository.
    let commit = json!({ "CodeCommit": { "RepositoryName": "web", "CommitId": COMMIT } });
    let mut properties = json!({ "RepositoryName": "app", "Source": commit });
    stack.request("Create", "one", None, &properties);
    let (other, _) = stack.finish(1, "try");
    assert_eq!(stack.answer()["Data"]["ImageDigest"], other);
    assert!(parameter().ends_with(&release), "{}", parameter());
    assert_eq!(stack.tagged("app", "latest"), Some(release));
    std::thread::sleep(Duration::from_millis(1100));
    properties["ImageTags"] = json!(["latest"]);
    stack.request("Update", "two", Some("x"), &properties);
    stack.hand_over();
    assert!(parameter().ends_with(&other));
    assert_eq!(stack.tagged("app", "latest"), Some(other));
}

#[test]
fn a_repository_that_somebody_else_makes_meanwhile_is_not_built_into_by_its_name() {
    let stack = Stack::new();
    // After it was looked for, and before it is made.
    stack.aws.fault(
        "DescribeImages",
        Fault::Then(|registry, _| {
            let described = json!({ "repositoryName": "payments", "registryId": "123456789012", "createdAt": 1.0,
                "repositoryArn": "arn:aws:ecr:eu-west-1:123456789012:repository/payments" });
            let repository = Repository { described, ..Repository::default() };
            registry.repositories.insert("payments".to_owned(), repository);
        }),
        1,
    );
    let answer = stack.send(&pushed("payments", "branch", "main", COMMIT, &now().to_string()));
    let reason = answer["ignored"][0]["reason"].as_str().unwrap_or_else(|| panic!("{answer}"));
    assert!(reason.contains("was not made by a build of the CodeCommit repository"), "{reason}");
    assert_eq!(stack.builds(), 0);
}

#[test]
fn a_stack_that_is_deleted_while_its_image_is_built_is_answered_and_leaves_nothing() {
    let stack = Stack::new();
    stack.put("uploads/a.zip", "a");
    let properties = json!({ "RepositoryName": "app", "Source": { "S3": { "Key": "uploads/a.zip" } } });
    stack.request("Create", "one", None, &properties);
    stack.request("Delete", "two", Some("shop-Web-1"), &properties);
    let answer = stack.answer();
    assert_eq!((&answer["Status"], &answer["RequestId"]), (&json!("SUCCESS"), &json!("two")));
    let (digest, answer) = stack.finish(0, "a");
    assert_eq!(answer["outcome"], "PUBLISHED");
    // The first request is answered, too: nobody listens, and nothing waits any more.
    assert_eq!(stack.answer()["RequestId"], "one");
    assert!(!stack.aws.cloud(|cloud| cloud.parameters.keys().any(|name| name.contains("waiting"))));
    assert_eq!(stack.tagged("app", &stack.variable(0, "IMAGE_TAG")), Some(digest));
}

#[test]
fn a_platform_that_fails_leaves_no_half_of_an_image_and_the_next_request_completes_it() {
    let stack = Stack::new();
    stack.put("uploads/a.zip", "a");
    let both = json!({ "platforms": ["linux/amd64", "linux/arm64"] });
    stack.post(&request("uploads/a.zip", both.clone()));
    let (_, answer) = stack.finish(0, "amd64");
    assert_eq!(answer["outcome"], "WAITING");
    let event = stack.end(1, "FAILED", None);
    assert_eq!(stack.published.invoke(event.to_string()).response()["outcome"], "FAILED");
    assert_eq!((stack.tagged("app", "latest"), stack.parameter("app")), (None, None));
    // The events come late and again.
    let event = ended("steward-amd64:00000000", "SUCCEEDED");
    assert_eq!(stack.published.invoke(event.to_string()).response()["outcome"], "WAITING");
    stack.post(&request("uploads/a.zip", both));
    assert_eq!(stack.builds(), 4);
    stack.finish(3, "arm64");
    let (_, answer) = stack.finish(2, "amd64");
    assert!(["PUBLISHED", "KNOWN"].contains(&answer["outcome"].as_str().unwrap()), "{answer}");
    let index = stack.tagged("app", "latest").unwrap();
    assert!(stack.parameter("app").unwrap().ends_with(&index));
}

#[test]
fn a_directory_from_a_terminal_is_built_by_its_request_and_by_no_pattern_of_builds_yaml() {
    let stack = Stack::new();
    stack.put_builds_file("builds:\n  - repositoryName: batch\n    source: { s3: { key: 'uploads/*' } }\n");
    let key = "uploads/ecr-steward-build/shop/web/0a.zip";
    let version = stack.put(key, "web");
    let answer = stack.send(&uploaded(key, &version, &now().to_string()));
    let reason = answer["ignored"][0]["reason"].as_str().unwrap_or_else(|| panic!("{answer}"));
    assert!(reason.contains("by the request of the terminal"), "{reason}");
    assert_eq!(stack.builds(), 0);
    // What is uploaded by hand is what the pattern is for.
    let version = stack.put("uploads/batch-1.zip", "batch");
    let answer = stack.send(&uploaded("uploads/batch-1.zip", &version, &now().to_string()));
    assert_eq!(answer["images"][0]["repositoryName"], "batch");
}

#[test]
fn one_stack_that_cannot_be_answered_keeps_no_other_one_waiting() {
    let stack = Stack::new();
    stack.put("uploads/a.zip", "a");
    let properties = json!({ "RepositoryName": "app", "Source": { "S3": { "Key": "uploads/a.zip" } } });
    // It takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_url = format!("http://{}/answer", silent.local_addr().unwrap());
    for number in 0..6 {
        stack.request("Create", &format!("request-{number}"), None, &properties);
    }
    let names: Vec<String> = stack.aws.cloud(|cloud| cloud.parameters.keys().cloned().collect());
    stack.aws.cloud(|cloud| {
        let first = cloud.parameters.get_mut(&names[0]).unwrap();
        first.1 = first.1.replace(&stack.url, &silent_url);
    });
    let digest = stack.run(0, "a");
    let event = stack.end(0, "SUCCEEDED", Some(&digest));
    assert_eq!(stack.published.invoke(event.to_string()).error().0, "NotPublished");
    for _ in 0..5 {
        assert_eq!(stack.answer()["Status"], "SUCCESS");
    }
    let left: Vec<String> = stack.aws.cloud(|cloud| cloud.parameters.keys().cloned().collect());
    assert!(left.contains(&names[0]) && names[1..].iter().all(|name| !left.contains(name)), "{left:?}");
}

#[test]
fn names_from_outside_become_valid_requests_to_aws_or_a_reason() {
    let stack = Stack::new();
    let long = "a".repeat(1000);
    let keys = [
        "sources/app/a\nb.zip".to_owned(),
        "sources/app/a%2F..%2Fb.zip".to_owned(),
        "sources/app/ü ✓ \u{202e}zip.zip".to_owned(),
        format!("sources/app/{}.zip", "k".repeat(1000)),
        "sources/app/../../journal/a.zip".to_owned(),
        "sources//a.zip".to_owned(),
        "sources/app//a.zip".to_owned(),
        "sources/caf\u{e9}/a.zip".to_owned(),
        format!("sources/{long}/a.zip"),
        "sources/app/.zip".to_owned(),
    ];
    let mut not_built = 0;
    for key in &keys {
        let version = stack.put(key, "a");
        let answer = stack.send(&uploaded(key, &version, &now().to_string()));
        if let Some(image) = answer["images"].get(0) {
            assert_eq!(image["repositoryName"], "app", "{key}");
            stack.finish(stack.builds() - 1, key);
        } else {
            assert!(!answer["ignored"][0]["reason"].as_str().unwrap().contains('\n'), "{answer}");
            not_built += 1;
        }
    }
    assert_eq!((stack.builds(), not_built), (5, 5));
    let branches = [
        "ä",
        "a\nb",
        "-",
        "{branch}",
        "$(x)",
        "%",
        "....",
        "a/../b",
        "\u{202e}nim",
        "HEAD",
        &long,
        "@",
        "x.lock",
    ];
    for (index, branch) in branches.into_iter().enumerate() {
        let commit = format!("{index:040x}");
        stack.send(&pushed("web", "branch", branch, &commit, &now().to_string()));
        let (_, answer) = stack.finish(stack.builds() - 1, branch);
        assert_eq!(answer["outcome"], "PUBLISHED", "{branch}: {answer}");
        for tag in answer["imageTags"].as_array().unwrap() {
            let tag = tag.as_str().unwrap();
            let is_inner = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
            assert!(tag.len() <= 128 && tag.chars().all(is_inner) && !tag.starts_with(['.', '-']), "{tag}");
        }
    }
    assert_eq!(stack.aws.snapshot().keys().collect::<Vec<_>>(), ["app", "web"]);
}

#[test]
fn events_that_were_not_delivered_are_served_from_the_queue_that_they_are_moved_to() {
    let stack = Stack::new();
    let version = stack.put("sources/app/a.zip", "a");
    let moved = |event: &Value| json!({ "Records": [{ "messageId": "1", "eventSource": "aws:sqs", "body": event.to_string() }] });
    stack.send(&moved(&uploaded("sources/app/a.zip", &version, &now().to_string())));
    let digest = stack.run(0, "a");
    let event = stack.end(0, "SUCCEEDED", Some(&digest));
    // An event for image-published; the queue has one consumer.
    stack.send(&moved(&event));
    let outcome = stack.hand_over().remove(0);
    assert_eq!(outcome["outcome"], "PUBLISHED", "{outcome}");
    assert_eq!(stack.tagged("app", "latest"), Some(digest));
}

#[test]
fn requests_and_ends_that_come_twice_at_once_have_one_result() {
    let stack = Stack::new();
    stack.put("uploads/a.zip", "a");
    let aws = &stack.aws;
    // Another instance of a function gets the same event, or one of the same second.
    let at_once = |function: &Function, name: &str, events: [&Value; 2]| {
        std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                let another = cloud::function(aws, name, Duration::from_secs(60));
                another.invoke(events[1].to_string()).response();
            });
            function.invoke(events[0].to_string()).response();
            second.join().unwrap();
        });
    };
    let event = json!({
        "RequestType": "Create", "ResponseURL": stack.url, "StackId": "arn:aws:cloudformation:r:1:stack/shop/0",
        "RequestId": "one", "ResourceType": "Custom::EcrImage", "LogicalResourceId": "Web",
        "ResourceProperties": { "RepositoryName": "app", "Source": { "S3": { "Key": "uploads/a.zip" } },
            "Platforms": ["linux/amd64", "linux/arm64"], "ImageTags": ["latest"] },
    });
    at_once(&stack.resource, "image-resource", [&event, &event]);
    assert_eq!(stack.builds(), 2, "one for each platform");
    // Both platforms end in the same second.
    let events: Vec<Value> = ["amd64", "arm64"]
        .into_iter()
        .enumerate()
        .map(|(build, content)| {
            let digest = stack.run(build, content);
            stack.end(build, "SUCCEEDED", Some(&digest))
        })
        .collect();
    at_once(&stack.published, "image-published", [&events[0], &events[1]]);
    let index = stack.tagged("app", "latest").unwrap();
    assert_eq!(
        stack.tagged("app", &stack.variable(0, "IMAGE_TAG").replace("-amd64", "")),
        Some(index.clone())
    );
    let answer = stack.answer();
    assert_eq!((&answer["Status"], &answer["Data"]["ImageDigest"]), (&json!("SUCCESS"), &json!(index)));
    assert_eq!(stack.aws.snapshot()["app"].images.len(), 3);
}

#[test]
fn throttled_calls_delay_an_image_and_lose_nothing() {
    let stack = Stack::new();
    let version = stack.put("sources/app/a.zip", "a");
    for operation in [
        "CreateRepository",
        "PutLifecyclePolicy",
        "StartBuild",
        "BatchGetBuilds",
        "BatchGetImage",
        "PutImage",
        "PutParameter",
        "PutEvents",
    ] {
        stack.aws.fault(operation, Fault::Throttled, 1);
    }
    stack.send(&uploaded("sources/app/a.zip", &version, &now().to_string()));
    let (digest, answer) = stack.finish(0, "a");
    assert_eq!(answer["outcome"], "PUBLISHED", "{answer}");
    assert_eq!(stack.tagged("app", "latest"), Some(digest));
    assert_eq!(stack.builds(), 1);
}
