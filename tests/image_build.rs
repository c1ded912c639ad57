//! The function image-build as a real process: events of S3, CodeCommit and the HTTP API in, builds started in a CodeBuild in
//! memory.

use std::time::Duration;

use serde_json::{Value, json};
use shared::domain::enforcement::in_use_protection::is_protected;
use shared::domain::lifecycle::LifecyclePolicy;
use tests::binaries::workspace;
use tests::cloud::{self, BUCKET};
use tests::ecr_stub::{EcrStub, Fault};
use tests::runtime_api::{Answer, Function};
use tests::template;

const PLENTY: Duration = Duration::from_secs(60);

struct Site {
    aws: EcrStub,
    function: Function,
}

fn function(aws: &EcrStub, time: Duration) -> Function {
    cloud::function(aws, "image-build", time)
}

impl Site {
    fn new() -> Self {
        Self::within(PLENTY)
    }

    fn within(time: Duration) -> Self {
        let aws = EcrStub::start();
        Self { function: function(&aws, time), aws }
    }

    fn send(&self, event: &Value) -> Value {
        self.function.invoke(event.to_string()).response()
    }

    fn builds(&self) -> usize {
        self.aws.cloud(|cloud| cloud.builds.len())
    }

    fn variable(&self, build: usize, name: &str) -> String {
        self.aws.cloud(|cloud| cloud.variable(build, name)).unwrap_or_default()
    }

    fn put_builds_file(&self, text: &str) {
        self.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/builds.yaml"), text));
    }

    fn call(&self, method: &str, path: &str, body: &str) -> (u64, Value) {
        let answer = self.send(&json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "headers": {},
            "requestContext": { "accountId": "1", "apiId": "a", "domainName": "d", "domainPrefix": "d", "requestId": "r",
                "routeKey": "$default", "stage": "$default", "time": "t", "timeEpoch": 0,
                "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "1.1.1.1", "userAgent": "u" } },
            "body": body, "isBase64Encoded": false,
        }));
        (
            answer["statusCode"].as_u64().unwrap(),
            serde_json::from_str(answer["body"].as_str().unwrap()).unwrap(),
        )
    }
}

fn now() -> String {
    shared::domain::text::instant::Instant::now().to_string()
}

fn uploaded(key: &str, version: &str, time: &str) -> Value {
    json!({
        "version": "0", "id": "1", "source": "aws.s3", "detail-type": "Object Created", "account": "123456789012",
        "time": time, "region": "eu-west-1", "resources": [],
        "detail": { "version": "0", "bucket": { "name": BUCKET }, "reason": "PutObject",
            "object": { "key": key, "size": 5, "etag": "e", "version-id": version, "sequencer": "0A" } },
    })
}

fn pushed(repository: &str, branch: &str, commit: &str) -> Value {
    json!({
        "version": "0", "id": "1", "source": "aws.codecommit", "detail-type": "CodeCommit Repository State Change",
        "time": now(), "detail": { "event": "referenceUpdated", "repositoryName": repository, "referenceType": "branch",
            "referenceName": branch, "commitId": commit, "oldCommitId": "0".repeat(40) },
    })
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[test]
fn an_upload_starts_one_build_of_exactly_that_version() {
    let site = Site::new();
    let event = uploaded("sources/team/app/v1.zip", "v1", &now());
    let answer = site.send(&event);
    let image = &answer["images"][0];
    assert_eq!((&image["repositoryName"], &image["status"]), (&json!("team/app"), &json!("BUILDING")));
    assert_eq!(site.builds(), 1);
    let build = site.aws.cloud(|cloud| cloud.builds[0].clone());
    assert_eq!(build["projectName"], "steward-amd64");
    assert_eq!(build["sourceVersion"], "v1");
    let location = format!("{BUCKET}/sources/team/app/v1.zip");
    assert_eq!(build["source"], json!({ "type": "S3", "location": location }));
    assert_eq!(site.variable(0, "REPOSITORY"), "team/app");
    assert_eq!(site.variable(0, "REGISTRY"), "123456789012.dkr.ecr.eu-west-1.amazonaws.com");
    assert_eq!(image["imageTag"], site.variable(0, "IMAGE_TAG"));
    let call = site.aws.calls().into_iter().find(|call| call.operation == "StartBuild").unwrap();
    assert_eq!(call.request["idempotencyToken"].as_str().unwrap().len(), 64);
    assert!(call.request["buildspecOverride"].as_str().unwrap().contains("docker_alone buildx build"));
    // Again, and as S3's own notification.
    site.send(&event);
    let time = event["time"].clone();
    site.send(
        &json!({ "Records": [{ "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "eventTime": time,
        "s3": { "bucket": { "name": BUCKET },
            "object": { "key": "sources/team/app/v1.zip", "versionId": "v1", "sequencer": "0A" } } }] }),
    );
    assert_eq!(site.builds(), 1);
    // Another version is another build.
    site.send(&uploaded("sources/team/app/v1.zip", "v2", &now()));
    assert_eq!(site.builds(), 2);
    assert_ne!(site.variable(0, "IMAGE_TAG"), site.variable(1, "IMAGE_TAG"));
}

#[test]
fn a_new_source_takes_three_calls() {
    let site = Site::new();
    site.send(&uploaded("sources/app/v1.zip", "v1", &now()));
    site.aws.forget_calls();
    site.send(&uploaded("sources/app/v1.zip", "v2", &now()));
    let calls: Vec<String> = site.aws.calls().into_iter().map(|call| call.operation).collect();
    assert_eq!(calls, ["GetObject", "DescribeImages", "StartBuild"]);
}

#[test]
fn twenty_events_at_once_start_each_build_once() {
    let site = Site::new();
    let time = now();
    std::thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| {
                let function = function(&site.aws, PLENTY);
                for number in 0..4 {
                    let key = format!("sources/app-{}/v1.zip", number % 2);
                    function.invoke(uploaded(&key, "v1", &time).to_string()).response();
                }
            });
        }
    });
    assert_eq!(site.builds(), 2);
    let repositories = site.aws.snapshot();
    assert_eq!(repositories.keys().collect::<Vec<_>>(), ["app-0", "app-1"]);
}

#[test]
fn an_event_that_comes_again_much_later_starts_nothing_while_the_build_runs() {
    let site = Site::new();
    let event = uploaded("sources/app/v1.zip", "v1", "2026-11-23T10:00:00Z");
    site.send(&event);
    site.aws.cloud(tests::cloud::Cloud::forget_tokens);
    site.send(&event);
    assert_eq!(site.builds(), 1);
}

#[test]
fn what_is_built_already_is_not_built_again_but_gets_its_tags() {
    let site = Site::new();
    let event = uploaded("sources/app/v1.zip", "v1", &now());
    site.send(&event);
    let tag = site.variable(0, "IMAGE_TAG");
    let digest =
        site.aws.with(|registry| registry.repositories.get_mut("app").unwrap().push("image", &[&tag]));
    site.aws.cloud(tests::cloud::Cloud::forget_tokens);
    let answer = site.send(&event);
    assert_eq!(answer["images"][0]["status"], "BUILT");
    assert_eq!(answer["images"][0]["imageDigest"], digest);
    assert_eq!(site.builds(), 1);
    // By an invocation, which takes a permission; not on a bus that many may write to.
    let (function, payload) = site.aws.cloud(|cloud| cloud.invoked[0].clone());
    assert_eq!(function, "steward-ImagePublishedFunction");
    assert_eq!(payload["alreadyBuilt"]["imageTags"], json!(["latest"]));
    assert!(site.aws.cloud(|cloud| cloud.events.is_empty()));
}

#[test]
fn a_push_is_built_by_commit_and_tagged_by_branch() {
    let site = Site::new();
    // The same event twice, its time too.
    let event = pushed("web", "main", COMMIT);
    site.send(&event);
    site.send(&event);
    let build = site.aws.cloud(|cloud| cloud.builds[0].clone());
    let location = "https://git-codecommit.eu-west-1.amazonaws.com/v1/repos/web";
    assert_eq!(build["source"], json!({ "type": "CODECOMMIT", "location": location }));
    assert_eq!(build["sourceVersion"], COMMIT);
    let context: Value = serde_json::from_str(&site.variable(0, "TICKET")).unwrap();
    assert_eq!(context["imageTags"], json!(["latest", "main"]));
    site.send(&pushed("web", "feature/x", &"f".repeat(40)));
    let context: Value = serde_json::from_str(&site.variable(1, "TICKET")).unwrap();
    assert_eq!((&context["imageTags"], &context["isReleased"]), (&json!(["feature-x"]), &json!(false)));
    assert_eq!(site.builds(), 2);
}

#[test]
fn a_source_that_comes_while_the_account_builds_as_much_as_it_may_waits_and_is_built() {
    const LIMIT: Fault =
        Fault::Error("AccountLimitExceededException", "Cannot have more than 5 active builds");
    let site = Site::new();
    site.aws.fault("StartBuild", LIMIT, 1);
    let event = uploaded("sources/app/v1.zip", "v1", &now());
    let answer = site.send(&event);
    let reason = answer["ignored"][0]["reason"].as_str().unwrap();
    assert!(
        reason.contains("more than 5 active builds") && reason.contains("again in 10 minutes"),
        "{reason}"
    );
    let (queue, message) = site.aws.cloud(|cloud| cloud.messages[0].clone());
    assert!(queue.ends_with("/waiting"), "{queue}");
    assert_eq!(serde_json::from_str::<Value>(&message).unwrap(), event);
    // Nobody is told that it failed: it did not.
    assert!(site.aws.cloud(|cloud| cloud.events.is_empty()));
    let again = json!({ "Records": [{ "messageId": "1", "eventSource": "aws:sqs", "body": message }] });
    // While it is still so, the message stays in its queue.
    site.aws.fault("StartBuild", LIMIT, 1);
    let (kind, _) = site.function.invoke(again.to_string()).error();
    assert_eq!((kind.as_str(), site.aws.cloud(|cloud| cloud.messages.len())), ("NotStarted", 1));
    let answer = site.send(&again);
    assert_eq!(answer["images"][0]["repositoryName"], "app");
    assert_eq!(site.builds(), 1);
    // Who asks is told at once.
    site.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/uploads/a.zip"), "zip"));
    site.aws.fault("StartBuild", LIMIT, 1);
    let body = r#"{"repositoryName": "app", "source": {"s3": {"key": "uploads/a.zip"}}}"#;
    assert_eq!(site.call("POST", "/builds", body).0, 409);
    assert_eq!(site.aws.cloud(|cloud| cloud.messages.len()), 1);
}

#[test]
fn a_source_of_the_future_is_not_built() {
    let site = Site::new();
    let answer = site.send(&uploaded("sources/app/v1.zip", "v1", "2999-01-01T00:00:00Z"));
    let reason = answer["ignored"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("which is in the future"), "{reason}");
    assert_eq!(site.builds(), 0);
}

#[test]
fn a_branch_or_tag_moves_no_tag_that_is_not_for_it() {
    let site = Site::new();
    let in_use = format!("ecr-steward-in-use-{}", "0".repeat(64));
    let signature = format!("sha256-{}.sig", "0".repeat(64));
    for (index, name) in ["latest", &in_use, &signature, "src-x", "buildcache-amd64"].into_iter().enumerate()
    {
        site.send(&pushed("web", name, &format!("{index}").repeat(40)));
        let context: Value = serde_json::from_str(&site.variable(index, "TICKET")).unwrap();
        assert_eq!(context["imageTags"], json!([]), "{name}");
        assert_eq!(context["imageTagsNotMoved"][0]["imageTag"], name);
    }
    // Nor by request.
    for name in [&in_use, &signature] {
        let commit = json!({ "repositoryName": "web", "commitId": COMMIT, "branch": "main" });
        let body =
            json!({ "repositoryName": "web", "source": { "codeCommit": commit }, "imageTags": [name] });
        let (status, problem) = site.call("POST", "/builds", &body.to_string());
        assert_eq!(status, 400, "{problem}");
        assert!(
            problem.to_string().contains("/imageTags/0") && problem.to_string().contains("are reserved"),
            "{problem}"
        );
    }
}

#[test]
fn what_is_nothing_to_build_is_acknowledged_with_a_reason() {
    let site = Site::new();
    let mut deleted = pushed("web", "old", COMMIT);
    deleted["detail"]["event"] = "referenceDeleted".into();
    let mut elsewhere = uploaded("sources/app/v1.zip", "v1", &now());
    elsewhere["detail"]["bucket"]["name"] = "other".into();
    let mut unversioned = uploaded("sources/app/v1.zip", "v1", &now());
    unversioned["detail"]["object"].as_object_mut().unwrap().remove("version-id");
    for (event, reason) in [
        (deleted, "`old` was deleted"),
        (uploaded("other/v1.zip", "v1", &now()), "is not named sources/<repository>/<anything>.zip"),
        (uploaded("sources/app/v1.txt", "v1", &now()), "is no zip archive"),
        (elsewhere, "is not the stack's bucket"),
        (unversioned, "turn its versioning on"),
    ] {
        let answer = site.send(&event);
        let reported = answer["ignored"][0]["reason"].as_str().unwrap();
        assert!(reported.contains(reason), "{reported}");
    }
    assert_eq!(site.builds(), 0);
    assert!(site.aws.snapshot().is_empty());
}

#[test]
fn the_repository_of_a_first_build_is_made_with_the_defaults() {
    let site = Site::new();
    site.send(&uploaded("sources/team/app/v1.zip", "v1", &now()));
    let made = site.aws.snapshot()["team/app"].clone();
    assert_eq!(made.described["imageTagMutability"], "MUTABLE_WITH_EXCLUSION");
    assert_eq!(made.described["imageTagMutabilityExclusionFilters"][0]["filter"], "src-*");
    assert_eq!(made.described["imageTagMutabilityExclusionFilters"][1]["filter"], "ecr-steward-*");
    let policy = made.lifecycle_policy.unwrap();
    assert!(is_protected(&LifecyclePolicy::parse(&policy).unwrap()), "{policy}");
    let record =
        site.aws.cloud(|cloud| cloud.object_text(&format!("{BUCKET}/state/protection/team/app.json")));
    assert!(
        record.unwrap().contains(r#""mode":"provisioned""#),
        "it is remembered, so that runs protect what is in use"
    );
    assert!(policy.contains("buildcache-*") && policy.contains("remove untagged images"), "{policy}");
    let tags: Vec<(&str, &str)> =
        made.tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(tags, [("ecr-steward:built-from", "s3")]);
}

#[test]
fn builds_yaml_names_the_role_of_a_build_and_nobody_else_does() {
    const ROLE: &str = "arn:aws:iam::123456789012:role/ecr-steward/builds/team/payments";
    let site = Site::new();
    let roles = || {
        let calls = site.aws.calls().into_iter().filter(|call| call.operation == "StartBuild");
        calls.map(|call| call.request["serviceRoleOverride"].clone()).collect::<Vec<_>>()
    };
    site.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/uploads/a.zip"), "zip"));
    site.put_builds_file("builds:\n  - repositoryName: payments\n    serviceRole: team/payments\n");
    site.send(&uploaded("sources/payments/v1.zip", "v1", &now()));
    site.send(&uploaded("sources/other/v1.zip", "v1", &now()));
    assert_eq!(roles(), [json!(ROLE), Value::Null]);
    // Also where the build is asked for: the stack's own role may not push there.
    let ask = |more: &str| {
        let body = format!(
            r#"{{"repositoryName": "payments", "source": {{"s3": {{"key": "uploads/a.zip"}}}}{more}}}"#
        );
        site.call("POST", "/builds", &body)
    };
    assert_eq!(ask("").0, 202);
    assert_eq!(roles()[2], ROLE);
    let (status, problem) = ask(r#", "serviceRole": "team/admin""#);
    assert_eq!(status, 400, "{problem}");
    for role in ["/x", "../x", "a//b", "arn:aws:iam::1:role/x", "a b", "''"] {
        site.put_builds_file(&format!("builds:\n  - repositoryName: payments\n    serviceRole: {role}\n"));
        let answer = site.send(&uploaded("sources/payments/v2.zip", "v1", &now()));
        let reason = answer["ignored"][0]["reason"].as_str().unwrap();
        assert!(reason.contains("/builds/0/serviceRole"), "{role}: {reason}");
    }
    // IAM lets the functions pass such roles and no others, and to CodeBuild only.
    for function in ["ImageBuildFunction", "ImageResourceFunction"] {
        let lines = template::block(function);
        let at = lines.iter().position(|line| line.trim() == "Action: iam:PassRole").unwrap();
        assert!(lines[at + 1].ends_with(":role/ecr-steward/builds/*\""), "{}", lines[at + 1]);
        assert_eq!(lines[at + 4].trim(), "iam:PassedToService: codebuild.amazonaws.com");
    }
}

#[test]
fn a_build_reads_sources_and_nothing_else_of_the_bucket() {
    for resource in ["BuildRole", "ImageBuildFunction", "ImageResourceFunction"] {
        let keys = template::keys(resource, "s3:GetObjectVersion");
        let sources: Vec<&String> = keys.iter().filter(|key| *key != "builds.yaml").collect();
        assert_eq!(sources, ["sources/*", "uploads/*"], "{resource}");
    }
}

#[test]
fn a_codecommit_repository_is_built_only_where_its_own_builds_made_a_repository_or_builds_yaml_says_so() {
    let site = Site::new();
    // Somebody else's, by API, CloudFormation or an upload.
    site.aws.with(|registry| registry.repositories.insert("payments".to_owned(), Default::default()));
    site.send(&uploaded("sources/uploaded/v1.zip", "v1", &now()));
    assert_eq!(site.builds(), 1);
    for name in ["payments", "uploaded"] {
        let answer = site.send(&pushed(name, "main", COMMIT));
        let reason = answer["ignored"][0]["reason"].as_str().unwrap();
        assert!(reason.contains(&format!("the repository {name} was not made by a build")), "{reason}");
        assert!(reason.contains("builds.yaml"), "{reason}");
    }
    assert_eq!(site.builds(), 1);
    let (kind, detail) = site.aws.cloud(|cloud| cloud.events[0].clone());
    assert_eq!((kind.as_str(), &detail["repositoryName"]), ("Image Build Failed", &json!("payments")));
    // Its own: the first push makes it, the second one finds it.
    site.send(&pushed("web", "main", COMMIT));
    site.send(&pushed("web", "main", &"f".repeat(40)));
    assert_eq!(site.builds(), 3);
    site.put_builds_file("builds:\n  - repositoryName: payments\n");
    site.send(&pushed("payments", "main", COMMIT));
    assert_eq!(site.builds(), 4);
}

#[test]
fn builds_yaml_says_how() {
    let site = Site::new();
    site.put_builds_file(
        "builds:
  - repositoryName: shop/web
    source: { codeCommit: { repositoryName: shop, branches: [main] } }
    context: services/web
    target: runtime
    buildArgs: { VERSION: '\"; touch pwned', EMPTY: '' }
    secrets: { npm: 'steward/npm:token' }
    platforms: [linux/amd64, linux/arm64]
    imageTags: ['{branch}-{shortCommit}']
    cache: false
    computeType: BUILD_GENERAL1_LARGE
",
    );
    site.send(&pushed("shop", "main", COMMIT));
    assert_eq!(site.builds(), 2);
    let projects: Vec<Value> =
        site.aws.cloud(|cloud| cloud.builds.iter().map(|build| build["projectName"].clone()).collect());
    assert_eq!(projects, ["steward-amd64", "steward-arm64"]);
    for (name, value) in [
        ("CONTEXT", "services/web"),
        ("DOCKERFILE", "services/web/Dockerfile"),
        ("TARGET", "runtime"),
        ("BUILD_ARGS", "EMPTY=BUILD_ARG_0 VERSION=BUILD_ARG_1"),
        ("BUILD_ARG_1", "\"; touch pwned"),
        ("BUILD_SECRETS", "npm=BUILD_SECRET_0"),
        ("BUILD_SECRET_0", "steward/npm:token"),
        ("CACHE_TAG", ""),
        ("CACHE_FROM", ""),
        ("PLATFORM", "linux/arm64"),
    ] {
        assert_eq!(site.variable(1, name), value, "{name}");
    }
    let call = site.aws.calls().into_iter().find(|call| call.operation == "StartBuild").unwrap().request;
    assert_eq!(call["computeTypeOverride"], "BUILD_GENERAL1_LARGE");
    let variables = call["environmentVariablesOverride"].as_array().unwrap();
    let secrets: Vec<&Value> = variables
        .iter()
        .filter(|variable| variable["type"] == "SECRETS_MANAGER")
        .map(|v| &v["name"])
        .collect();
    assert_eq!(secrets, ["BUILD_SECRET_0"]);
    let context: Value = serde_json::from_str(&site.variable(0, "TICKET")).unwrap();
    assert_eq!(context["imageTags"], json!(["main-0123456"]));
    let other = site.send(&pushed("shop", "feature", COMMIT));
    assert_eq!(other["ignored"][0]["reason"], "no build of builds.yaml takes the branch `feature`");
}

#[test]
fn a_bad_builds_yaml_builds_nothing_and_is_reported() {
    let site = Site::new();
    site.put_builds_file("builds:\n  - repositoryName: Shop\n    contxt: a\n");
    let answer = site.send(&pushed("shop", "main", COMMIT));
    let reason = answer["ignored"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("s3://stack-sources/builds.yaml is not valid"), "{reason}");
    assert!(
        reason.contains("did you mean `context`?") && reason.contains("/builds/0/repositoryName"),
        "{reason}"
    );
    let (kind, detail) = site.aws.cloud(|cloud| cloud.events[0].clone());
    assert_eq!((kind.as_str(), &detail["buildStatus"]), ("Image Build Failed", &json!("NOT_STARTED")));
    assert_eq!(detail["reason"], reason);
    let (subject, mail) = site.aws.cloud(|cloud| cloud.published[0].clone());
    assert_eq!(subject, "steward: no image for a source");
    assert!(mail.contains(reason) && mail.contains("codecommit://shop@"), "{mail}");
    assert_eq!(site.builds(), 0);
}

#[test]
fn a_build_can_be_asked_for_over_http() {
    let site = Site::new();
    site.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/uploads/a b.zip"), "zip"));
    let body = r#"{"repositoryName": "app", "source": {"s3": {"key": "uploads/a b.zip"}}}"#;
    let (status, answer) = site.call("POST", "/builds", body);
    assert_eq!((status, &answer["status"]), (202, &json!("BUILDING")), "{answer}");
    assert_eq!(answer["source"]["s3"]["versionId"], "v1");
    let id = answer["builds"][0]["buildId"].as_str().unwrap().to_owned();
    let (status, build) = site.call("GET", &format!("/builds/{id}"), "");
    assert_eq!((status, &build["buildStatus"]), (200, &json!("IN_PROGRESS")), "{build}");
    assert_eq!(build["repositoryName"], "app");
    // While it runs, asking again is asking for the same build.
    site.aws.cloud(tests::cloud::Cloud::forget_tokens);
    assert_eq!(site.call("POST", "/builds", body).1["builds"][0]["buildId"], id);
    // Once it failed, asking again means another.
    site.aws.cloud(|cloud| cloud.end(&id, "FAILED", None));
    let (_, build) = site.call("GET", &format!("/builds/{id}"), "");
    assert_eq!(build["reason"], "the phase BUILD failed: exit status 1");
    let (_, again) = site.call("POST", "/builds", body);
    assert_ne!(again["builds"][0]["buildId"], id);
    // Also when CodeBuild still knows the order.
    let id = again["builds"][0]["buildId"].as_str().unwrap().to_owned();
    site.aws.cloud(|cloud| cloud.end(&id, "STOPPED", None));
    let (_, third) = site.call("POST", "/builds", body);
    assert_ne!(third["builds"][0]["buildId"], id);
    assert_eq!(third["builds"][0]["buildStatus"], "IN_PROGRESS");
    let tag = answer["imageTag"].as_str().unwrap().to_owned();
    let digest =
        site.aws.with(|registry| registry.repositories.get_mut("app").unwrap().push("image", &[&tag]));
    let (status, answer) = site.call("POST", "/builds", body);
    assert_eq!((status, &answer["status"]), (200, &json!("BUILT")));
    assert_eq!(answer["imageDigest"], digest);
}

#[test]
fn a_build_for_machines_that_the_stack_does_not_have_is_refused_with_what_to_do() {
    let aws = EcrStub::start();
    // As the template sets it where AWS CodeBuild has no ARM machines.
    let function = cloud::function_with(&aws, "image-build", PLENTY, &[("PROJECT_ARM64", "")]);
    let site = Site { aws, function };
    site.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/uploads/app.zip"), "zip"));
    let body = |platforms: Value| {
        json!({ "repositoryName": "app", "source": { "s3": { "key": "uploads/app.zip" } }, "platforms": platforms })
            .to_string()
    };
    let (status, problem) = site.call("POST", "/builds", &body(json!(["linux/amd64", "linux/arm64"])));
    let detail = problem["detail"].as_str().unwrap();
    assert_eq!(status, 400, "{problem}");
    for part in ["app cannot be built", "linux/arm64", "`platforms`", "Builds"] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    // Of a source that arrives, those who wait are told.
    site.put_builds_file(
        "builds:
  - repositoryName: app
    source: { codeCommit: { repositoryName: shop, branches: [main] } }
    platforms: [linux/arm64]
",
    );
    site.send(&pushed("shop", "main", COMMIT));
    let reported = site.aws.cloud(|cloud| cloud.events.clone());
    assert_eq!((reported.len(), reported[0].0.as_str()), (1, "Image Build Failed"), "{reported:?}");
    assert!(reported[0].1["reason"].as_str().unwrap().contains("linux/arm64"), "{reported:?}");
    // Half of an image is none: nothing was built, and no repository was made for it.
    assert_eq!(site.builds(), 0);
    assert!(site.aws.with(|registry| registry.repositories.is_empty()));
    let (status, _) = site.call("POST", "/builds", &body(json!(["linux/amd64"])));
    assert_eq!((status, site.builds()), (202, 1));
}

#[test]
fn what_is_needed_for_builds_alone_is_not_deployed_where_there_are_none() {
    let text = std::fs::read_to_string(workspace().join("template.yaml")).unwrap();
    let (_, resources) = text.split_once("\nResources:\n").unwrap();
    let mut named: Vec<(String, String)> = Vec::new();
    for line in resources.lines() {
        match line.strip_prefix("  ").and_then(|line| line.strip_suffix(':')) {
            Some(name) if !name.starts_with(' ') => named.push((name.to_owned(), String::new())),
            _ => {
                if let Some((_, block)) = named.last_mut() {
                    *block += &format!("{line}\n");
                }
            }
        }
    }
    let is_of_builds =
        |block: &str| block.lines().any(|line| line.starts_with("    Condition: ") && line.contains("Build"));
    let of_builds: Vec<&str> =
        named.iter().filter(|(_, block)| is_of_builds(block)).map(|(name, _)| name.as_str()).collect();
    for name in
        ["BuildOnAmd64", "BuildRole", "ImageBuildFunction", "UndeliveredEvents", "ImageResourceFunctionArn"]
    {
        assert!(of_builds.contains(&name), "{name}: {of_builds:?}");
    }
    for (name, block) in &named {
        let mentions = |other: &&&str| {
            [format!("!Ref {other}"), format!("!GetAtt {other}."), format!("${{{other}")]
                .iter()
                .any(|mention| block.contains(mention))
        };
        let other = of_builds.iter().find(mentions);
        assert!(other.is_none() || is_of_builds(block), "{name} mentions {other:?}, which may not be there");
    }
}

#[test]
fn events_that_eventbridge_cannot_deliver_are_kept_and_reported() {
    for (function, events) in
        [("ImageBuildFunction", ["Uploaded", "Pushed"].as_slice()), ("ImagePublishedFunction", &["Ended"])]
    {
        let block = template::block(function).join("\n");
        let kept = block.matches("Arn: !GetAtt UndeliveredEvents.Arn").count();
        // One more is what the function itself could not serve.
        assert_eq!(kept, events.len() + 1, "{block}");
        let policy = template::block("UndeliveredEventsPolicy").join("\n");
        for event in events {
            assert!(policy.contains(&format!("!GetAtt {function}{event}.Arn")), "{policy}");
        }
    }
    assert!(template::block("PoliciesUploadedRule").join("\n").contains("UndeliveredPolicies.Arn"));
    assert!(template::block("UndeliveredPoliciesPolicy").join("\n").contains("PoliciesUploadedRule.Arn"));
    assert!(template::block("UndeliveredPoliciesAlarm").join("\n").contains("!Ref LifecycleReports"));
}

#[test]
fn bad_requests_are_problems_and_start_nothing() {
    let site = Site::new();
    let missing = r#"{"repositoryName": "app", "source": {"s3": {"key": "uploads/none.zip"}}}"#;
    for (method, path, body, status, part) in [
        ("POST", "/builds", "", 400, "has no body"),
        ("POST", "/builds", "{}", 400, "`repositoryName` is missing"),
        (
            "POST",
            "/builds",
            missing,
            400,
            "there is no object s3://stack-sources/uploads/none.zip; upload it first",
        ),
        ("PUT", "/builds", "{}", 405, "write POST"),
        ("PUT", "/builds/app", "{}", 405, "write GET or POST"),
        ("POST", "/builds/x:1", "{}", 400, "`x:1` is no name for a repository"),
        ("POST", "/builds/other", missing, 400, "another name than the path has"),
        ("GET", "/builds/steward-amd64:1", "", 404, "there is no build"),
        ("GET", "/builds/x", "", 400, "is no id of a build"),
        ("GET", "/builds/$(x)", "", 404, "write the path without escapes"),
        ("GET", "/other", "", 404, "there are /builds"),
    ] {
        let (got, problem) = site.call(method, path, body);
        assert_eq!(got, status, "{problem}");
        assert!(problem.to_string().contains(part), "{problem}");
    }
    site.aws.cloud(|cloud| {
        cloud.upload(&format!("{BUCKET}/uploads/a.zip"), "zip");
        cloud.is_unversioned = true;
    });
    let (status, problem) = site.call(
        "POST",
        "/builds",
        r#"{"repositoryName": "app", "source": {"s3": {"key": "uploads/a.zip"}}}"#,
    );
    assert_eq!((status, problem["title"].as_str()), (400, Some("The source cannot be built")), "{problem}");
    assert_eq!(site.builds(), 0);
    assert!(site.aws.snapshot().is_empty());
}

#[test]
fn nobody_chooses_what_builds_by_an_argument() {
    let site = Site::new();
    site.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/uploads/a.zip"), "zip"));
    for name in [
        "BUILDKIT_SYNTAX",
        "buildkit_syntax",
        "BUILDKIT_SBOM_SCAN_CONTEXT",
        "HTTP_PROXY",
        "https_proxy",
        "Ftp_Proxy",
        "NO_PROXY",
        "all_proxy",
    ] {
        let body = json!({ "repositoryName": "app", "source": { "s3": { "key": "uploads/a.zip" } },
            "buildArgs": { name: "evil/frontend" } });
        let (status, problem) = site.call("POST", "/builds", &body.to_string());
        assert_eq!(status, 400, "{name}: {problem}");
        let text = problem.to_string();
        assert!(text.contains(&format!("/buildArgs/{name}")) && text.contains("is for BuildKit"), "{text}");
        site.put_builds_file(&format!(
            "builds:\n  - repositoryName: app\n    source: {{ s3: {{ key: 'sources/app/*' }} }}\n    buildArgs: {{ {name}: x }}\n"
        ));
        let answer = site.send(&uploaded("sources/app/v1.zip", "v1", &now()));
        let reason = answer["ignored"][0]["reason"].as_str().unwrap();
        assert!(reason.contains(&format!("/builds/0/buildArgs/{name}")), "{reason}");
    }
    assert_eq!(site.builds(), 0);
}

#[test]
fn only_sources_are_built_and_nothing_else_of_a_bucket() {
    let aws = EcrStub::start();
    let other = [("OTHER_SOURCES", "arn:aws:s3:::artifacts/team-a/*")];
    let function = cloud::function_with(&aws, "image-build", PLENTY, &other);
    let site = Site { aws, function };
    let keys = [
        "journal/2026/a.zip",
        "runs/a.zip",
        "a.zip",
        "policies.yaml",
        "sources/../journal/a.zip",
        "sourcesX/a.zip",
    ];
    for key in keys {
        site.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/{key}"), "secret"));
        for bucket in [None, Some(BUCKET)] {
            let mut source = json!({ "s3": { "key": key } });
            if let Some(bucket) = bucket {
                source["s3"]["bucket"] = bucket.into();
            }
            let body = json!({ "repositoryName": "app", "source": source }).to_string();
            site.put_builds_file("builds: []\n");
            let (status, problem) = site.call("POST", "/builds", &body);
            assert_eq!(status, 400, "{key}: {problem}");
            assert!(problem.to_string().contains("sources/"), "{problem}");
        }
        site.put_builds_file(&format!(
            "builds:\n  - repositoryName: app\n    source: {{ s3: {{ key: '{key}' }} }}\n"
        ));
        let answer = site.send(&uploaded(key, "v1", &now()));
        let reason = answer["ignored"][0]["reason"].as_str().unwrap();
        assert!(
            reason.contains("/builds/0/source/s3/key") || reason.contains("is no zip archive"),
            "{reason}"
        );
    }
    site.put_builds_file("builds: []\n");
    for (bucket, key, status) in [
        ("artifacts", "team-a/a.zip", 202),
        ("artifacts", "team-b/a.zip", 400),
        ("others", "team-a/a.zip", 400),
    ] {
        site.aws.cloud(|cloud| cloud.upload(&format!("{bucket}/{key}"), "zip"));
        let source = json!({ "s3": { "bucket": bucket, "key": key } });
        let body = json!({ "repositoryName": "app", "source": source }).to_string();
        let (got, answer) = site.call("POST", "/builds", &body);
        assert_eq!(got, status, "{bucket}/{key}: {answer}");
    }
    assert_eq!(site.builds(), 1);
}

#[test]
fn who_asks_for_a_build_gets_only_the_secrets_that_builds_yaml_names_for_it() {
    let site = Site::new();
    site.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/uploads/a.zip"), "zip"));
    let ask = |repository: &str, secret: &str| {
        let body = json!({ "repositoryName": repository, "source": { "s3": { "key": "uploads/a.zip" } },
            "secrets": { "npm": secret } });
        site.call("POST", "/builds", &body.to_string())
    };
    let (status, problem) = ask("app", "steward/npm:token");
    assert_eq!(status, 400, "{problem}");
    assert!(problem.to_string().contains("/secrets/npm"), "{problem}");
    assert!(problem.to_string().contains("no build of app in builds.yaml has the secret"), "{problem}");
    site.put_builds_file(
        "builds:
  - repositoryName: app
    source: { s3: { key: 'uploads/app-*.zip' } }
    secrets: { token: 'steward/npm:token' }
",
    );
    assert_eq!(ask("app", "steward/npm:token").0, 202);
    for (repository, secret) in
        [("other", "steward/npm:token"), ("app", "steward/npm:admin"), ("app", "steward/prod")]
    {
        assert_eq!(ask(repository, secret).0, 400, "{repository} {secret}");
    }
    assert_eq!(site.builds(), 1);
    // A file that cannot be read grants nothing.
    site.put_builds_file("builds: {}\n");
    assert!(ask("app", "steward/npm:token").0 >= 400);
    assert_eq!(site.builds(), 1);
}

#[test]
fn a_direct_invocation_is_a_request() {
    let site = Site::new();
    let commit = json!({ "repositoryName": "web", "commitId": COMMIT, "branch": "main" });
    let request = json!({ "repositoryName": "app", "source": { "codeCommit": commit }, "profile": "lambda" });
    let answer = site.send(&request);
    assert_eq!(answer["images"][0]["repositoryName"], "app");
    assert_eq!(site.variable(0, "ATTESTATIONS"), "false");
    let error = site.function.invoke(r#"{"repositoryName": "app"}"#).error();
    assert_eq!(error.0, "InvalidRequest");
    let error = site.function.invoke(r#"{"Records": [{"eventSource": "aws:sqs"}]}"#).error();
    assert_eq!(error.0, "InvalidEvent");
    let error = site.function.invoke("{}").error();
    assert!(error.1.contains("this is no event that starts a build"), "{error:?}");
}

#[test]
fn errors_of_aws_are_retried_or_reported_in_time() {
    let site = Site::new();
    for operation in ["GetObject", "DescribeImages", "StartBuild"] {
        site.aws.fault(operation, Fault::Unavailable, 1);
    }
    site.aws.fault("StartBuild", Fault::Throttled, 1);
    site.send(&uploaded("sources/app/v1.zip", "v1", &now()));
    assert_eq!(site.builds(), 1);
    let site = Site::within(Duration::from_secs(4));
    site.aws.fault_from("StartBuild", Fault::Hang, 0);
    let event = uploaded("sources/app/v1.zip", "v2", &now());
    let Answer::Error(error) = site.function.invoke(event.to_string()) else { panic!() };
    assert_eq!(error["errorType"], "OutOfTime");
    assert!(error["errorMessage"].as_str().unwrap().contains("StartBuild"), "{error}");
    site.aws.heal();
    site.aws.fault("StartBuild", Fault::Denied, 1);
    let Answer::Error(error) = site.function.invoke(event.to_string()) else { panic!() };
    assert!(error["errorMessage"].as_str().unwrap().contains("not allowed"), "{error}");
}

#[test]
fn the_role_allows_what_is_called_and_nothing_else() {
    let site = Site::new();
    site.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/uploads/a.zip"), "zip"));
    let request = r#"{"repositoryName": "app", "source": {"s3": {"key": "uploads/a.zip"}}}"#;
    // Half-made, so that it is taken back.
    site.aws.fault("PutLifecyclePolicy", Fault::Denied, 1);
    site.call("POST", "/builds", request);
    // Made by a call whose answer was lost: images may be in it by now.
    site.aws.fault("CreateRepository", Fault::AfterEffect(Box::new(Fault::Cut)), 1);
    site.call("POST", "/builds", request);
    let tag = site.variable(0, "IMAGE_TAG");
    site.aws.with(|registry| registry.repositories.get_mut("app").unwrap().push("image", &[&tag]));
    site.call("POST", "/builds", request);
    site.call("GET", "/builds/steward-amd64:00000000", "");
    site.aws.fault("StartBuild", Fault::Error("AccountLimitExceededException", "too many"), 1);
    site.send(&uploaded("sources/app/v2.zip", "v1", &now()));
    site.put_builds_file("no");
    site.send(&uploaded("sources/app/v1.zip", "v1", &now()));
    let called: std::collections::BTreeSet<String> = site
        .aws
        .calls()
        .into_iter()
        .map(|call| match call.operation.as_str() {
            "HeadObject" | "GetObject" => "s3:GetObject".to_owned(),
            "PutObject" => "s3:PutObject".to_owned(),
            "DeleteObject" => "s3:DeleteObject".to_owned(),
            "PutEvents" => "events:PutEvents".to_owned(),
            "Publish" => "sns:Publish".to_owned(),
            "SendMessage" => "sqs:SendMessage".to_owned(),
            "Invoke" => "lambda:InvokeFunction".to_owned(),
            build if build.contains("Build") => format!("codebuild:{build}"),
            other => format!("ecr:{other}"),
        })
        .collect();
    let mut allowed = template::actions("ImageBuildFunction");
    // Versions by their ids are another action; listing tells what is missing from what is forbidden; the tag that marks
    // what is half-made goes with TagResource, which CreateRepository takes too.
    // A role is passed with StartBuild; Lambda itself takes messages out of the queue.
    let implied = ["s3:GetObjectVersion", "s3:ListBucket", "ecr:TagResource", "iam:PassRole"];
    let by_lambda = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"];
    for implied in implied.into_iter().chain(by_lambda) {
        assert!(allowed.remove(implied), "{implied}");
    }
    assert_eq!(called, allowed);
    assert!(workspace().join("infra/buildspec.yml").is_file());
}

#[test]
fn the_sample_events_start_builds_of_what_they_name() {
    for (name, repository, source) in [
        ("s3", "shop/web", json!({ "type": "S3", "location": "stack-sources/sources/shop/web/web.zip" })),
        (
            "s3-notification",
            "shop/web",
            json!({ "type": "S3", "location": "stack-sources/sources/shop/web/web site.zip" }),
        ),
        ("codecommit", "shop", json!("3e59830123456789012345678901234567890123")),
        ("codecommit-trigger", "shop", json!("5c4ef1049f1d27deadbeeff313e0730018be182b")),
    ] {
        let site = Site::new();
        let file = workspace().join(format!("tests/events/image-build-{name}.json"));
        let event: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let answer = site.send(&event);
        assert_eq!(answer["images"][0]["repositoryName"], repository, "{name}: {answer}");
        let build = site.aws.cloud(|cloud| cloud.builds[0].clone());
        assert!(build["source"] == source || build["sourceVersion"] == source, "{name}: {build}");
    }
}
