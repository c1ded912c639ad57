//! The function image-published as a real process: builds that end, in every order and as often as events come.

use std::time::Duration;

use serde_json::{Value, json};
use tests::cloud::{self, BUCKET, callback_server};
use tests::ecr_stub::{EcrStub, Fault, Repository};
use tests::runtime_api::{Answer, Function};
use tests::template;

const PLENTY: Duration = Duration::from_secs(60);
const URI: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app";

struct Site {
    aws: EcrStub,
    function: Function,
}

fn function(aws: &EcrStub) -> Function {
    cloud::function(aws, "image-published", PLENTY)
}

fn source(number: u32) -> Value {
    json!({ "s3": { "bucket": "b", "key": "k", "versionId": format!("v{number}") } })
}

/// The tag of the `number`th source.
fn tag(number: u32) -> String {
    let source = serde_json::from_value(source(number)).unwrap();
    shared::domain::builds::build_context::content_tag("app", &source, "definition")
}

/// What a build is started for: the `number`th source of the branch main.
fn context(number: u32) -> Value {
    json!({
        "repositoryName": "app", "imageTag": tag(number), "definition": "definition", "platforms": ["linux/amd64"],
        "imageTags": ["latest", "main"], "isReleased": true,
        "source": source(number),
        "arrival": { "at": format!("2026-11-23T10:00:{number:02}Z") },
    })
}

impl Site {
    fn new() -> Self {
        let aws = EcrStub::start();
        aws.with(|registry| registry.repositories.insert("app".to_owned(), Repository::default()));
        Self { function: function(&aws), aws }
    }

    /// A build that is under way.
    fn start(&self, context: &Value, platform: &str) -> String {
        self.aws.cloud(|cloud| {
            let id = format!("steward-amd64:{:08}", cloud.builds.len());
            cloud.builds.push(json!({
                "id": id, "arn": format!("arn:aws:codebuild:eu-west-1:123456789012:build/{id}"),
                "projectName": "steward-amd64", "buildStatus": "IN_PROGRESS",
                "source": { "type": "S3", "location": "b/k" },
                "sourceVersion": context.pointer("/source/s3/versionId"),
                "environment": { "type": "LINUX_CONTAINER", "image": "i", "computeType": "BUILD_GENERAL1_SMALL",
                    "environmentVariables": [
                        { "name": "TICKET", "value": context.to_string(), "type": "PLAINTEXT" },
                        { "name": "PLATFORM", "value": platform, "type": "PLAINTEXT" } ] },
            }));
            id
        })
    }

    fn push(&self, content: &str, tag: &str) -> String {
        self.aws.with(|registry| registry.repositories.get_mut("app").unwrap().push(content, &[tag]))
    }

    /// A build that pushed its image and ended well.
    fn built(&self, number: u32) -> (String, String) {
        let id = self.start(&context(number), "linux/amd64");
        let digest = self.push(&format!("image {number}"), &tag(number));
        self.aws.cloud(|cloud| cloud.end(&id, "SUCCEEDED", Some(&digest)));
        (id, digest)
    }

    fn finish(&self, id: &str) -> Value {
        finish(&self.function, id, "SUCCEEDED")
    }

    /// The digest that a tag has.
    fn tagged(&self, tag: &str) -> Option<String> {
        self.aws.with(|registry| {
            let images = &registry.repositories["app"].images;
            images.iter().find(|image| image.tags.contains(tag)).map(|image| image.digest.clone())
        })
    }

    fn parameter(&self) -> Option<String> {
        self.aws.cloud(|cloud| cloud.parameters.get("/steward/images/app").map(|(_, value)| value.clone()))
    }

    fn events(&self) -> Vec<(String, Value)> {
        self.aws.cloud(|cloud| cloud.events.clone())
    }

    /// CloudFormation waits for the image of a build context.
    fn wait(&self, tag: &str, request: &str, url: &str) {
        let event = json!({ "RequestType": "Create", "ResponseURL": url, "StackId": "arn:stack", "RequestId": request,
            "LogicalResourceId": "Web", "PhysicalResourceId": null });
        self.aws.cloud(|cloud| {
            let context = json!({ "repositoryName": "app", "imageTag": tag, "definition": "", "platforms": [], "imageTags": [],
                "isReleased": false, "source": source(1), "arrival": { "at": "2026-11-23T10:00:00Z" } });
            let waiting = shared::domain::cloudformation::image::waiting("steward", &serde_json::from_value(context).unwrap());
            let name = format!("{waiting}/{request}");
            cloud.parameters.insert(name, ("SecureString".to_owned(), event.to_string()))
        });
    }
}

/// CodeBuild says that a build ended.
fn finish(function: &Function, id: &str, status: &str) -> Value {
    function.invoke(ended(id, status).to_string()).response()
}

/// The event of a build that ended.
fn ended(id: &str, status: &str) -> Value {
    json!({
        "version": "0", "id": "1", "source": "aws.codebuild", "detail-type": "CodeBuild Build State Change",
        "time": "2026-11-23T11:00:00Z", "resources": [],
        "detail": { "build-status": status, "project-name": "steward-amd64", "current-phase": "COMPLETED", "version": "1",
            "build-id": format!("arn:aws:codebuild:eu-west-1:123456789012:build/{id}"), "additional-information": {} },
    })
}

#[test]
fn an_image_is_published_once_however_often_its_build_ends() {
    let site = Site::new();
    let (id, digest) = site.built(1);
    let answer = site.finish(&id);
    assert_eq!(answer["outcome"], "PUBLISHED", "{answer}");
    for tag in ["latest", "main", &*tag(1)] {
        assert_eq!(site.tagged(tag).as_deref(), Some(&*digest), "{tag}");
    }
    assert_eq!(site.parameter().unwrap(), format!("{URI}@{digest}"));
    let (kind, detail) = site.events()[0].clone();
    assert_eq!(kind, "Image Published");
    assert_eq!(detail["imageUri"], format!("{URI}@{digest}"));
    assert_eq!(detail["imageTags"], json!(["latest", "main"]));
    assert_eq!(detail["parameterName"], "/steward/images/app");
    assert_eq!(detail["buildId"], id);
    let before = site.aws.snapshot();
    site.aws.forget_calls();
    assert_eq!(site.finish(&id), json!({ "outcome": "KNOWN" }));
    assert_eq!(site.aws.snapshot(), before);
    assert_eq!(site.events().len(), 1);
    let calls: Vec<String> = site.aws.calls().into_iter().map(|call| call.operation).collect();
    assert_eq!(calls, ["BatchGetBuilds", "BatchGetImage", "GetObject", "GetParametersByPath"]);
}

#[test]
fn what_follows_a_build_takes_few_calls() {
    let site = Site::new();
    let (id, _) = site.built(1);
    site.finish(&id);
    let calls: Vec<String> = site.aws.calls().into_iter().map(|call| call.operation).collect();
    let expected = [
        "BatchGetBuilds",
        "BatchGetImage",
        "GetObject", // known?
        "GetObject", // the owners of tags
        "PutObject",
        "PutImage",
        "PutImage",
        "PutParameter",
        "GetObject", // the owners of tags again
        "GetParametersByPath",
        "PutEvents",
        "PutObject",
    ];
    assert_eq!(calls, expected);
}

#[test]
fn an_older_source_never_takes_the_place_of_a_newer_one() {
    let site = Site::new();
    let (old, old_digest) = site.built(1);
    let (new, new_digest) = site.built(2);
    assert_eq!(site.finish(&new)["outcome"], "PUBLISHED");
    let answer = site.finish(&old);
    assert_eq!(answer["imageTags"], json!([]), "{answer}");
    assert_eq!(
        answer["imageTagsNotMoved"][0],
        json!({ "imageTag": "latest", "reason": "a newer source has it" })
    );
    assert_eq!(answer["parameterName"], Value::Null);
    assert_eq!(site.tagged("latest").unwrap(), new_digest);
    assert_eq!(site.parameter().unwrap(), format!("{URI}@{new_digest}"));
    // It is there all the same, for those who ask for it by digest or by its own tag.
    assert_eq!(site.tagged(&tag(1)).unwrap(), old_digest);
    let (newest, newest_digest) = site.built(3);
    site.finish(&newest);
    assert_eq!(site.tagged("main").unwrap(), newest_digest);
    assert_eq!(site.aws.snapshot()["app"].images.len(), 3);
}

#[test]
fn what_a_branch_may_not_have_stays_and_is_reported() {
    let site = Site::new();
    let (released, digest) = site.built(1);
    site.finish(&released);
    let mut branch = context(2);
    branch["imageTags"] = json!(["x"]);
    branch["imageTagsNotMoved"] = json!([{ "imageTag": "latest", "reason": "it is for what is released" }]);
    branch["isReleased"] = json!(false);
    branch["reference"] = json!({ "branch": "latest" });
    let id = site.start(&branch, "linux/amd64");
    let other = site.push("image 2", branch["imageTag"].as_str().unwrap());
    site.aws.cloud(|cloud| cloud.end(&id, "SUCCEEDED", Some(&other)));
    let answer = site.finish(&id);
    assert_eq!(answer["imageTags"], json!(["x"]));
    assert_eq!(answer["imageTagsNotMoved"], branch["imageTagsNotMoved"]);
    assert_eq!(site.tagged("latest").unwrap(), digest);
    assert_eq!(site.events()[1].1["imageTagsNotMoved"], branch["imageTagsNotMoved"]);
}

#[test]
fn builds_that_end_together_leave_the_newest_in_place() {
    for (first, second) in [(1, 2), (2, 1)] {
        let site = Site::new();
        let (one, _) = site.built(first);
        let (two, _) = site.built(second);
        // The first one to move a tag takes long over it, so that the other one overtakes it.
        site.aws.fault("PutImage", Fault::Slow(Duration::from_secs(1)), 1);
        let other = function(&site.aws);
        let overtaking = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(400));
            finish(&other, &two, "SUCCEEDED")
        });
        site.finish(&one);
        overtaking.join().unwrap();
        let newest = site.tagged(&tag(2)).unwrap();
        for tag in ["latest", "main"] {
            assert_eq!(site.tagged(tag).as_ref(), Some(&newest), "{first} before {second}: {tag}");
        }
        assert_eq!(site.parameter().unwrap(), format!("{URI}@{newest}"));
        let calls = site.aws.calls();
        let put = calls.iter().rfind(|call| call.operation == "PutParameter").unwrap();
        let description = put.request["Description"].as_str().unwrap();
        assert!(!description.contains("versionId=v1"), "it has the image of v2: {description}");
    }
}

#[test]
fn every_other_end_is_reported_with_its_reason_and_log() {
    for (status, reason) in [
        ("FAILED", "the phase BUILD failed: exit status 1"),
        ("FAULT", "CodeBuild had trouble of its own; start the build again"),
        (
            "TIMED_OUT",
            "it took longer than a build may: the stack's parameter BuildTimeoutInMinutes, or what the ServiceTimeout of the \
             resource leaves for it; give it more time, or a larger computeType",
        ),
        ("STOPPED", "it was stopped; start the build again"),
    ] {
        let site = Site::new();
        let (url, answers) = callback_server();
        let id = site.start(&context(1), "linux/amd64");
        site.wait(&tag(1), "request", &url);
        site.aws.cloud(|cloud| cloud.end(&id, status, None));
        let answer = finish(&site.function, &id, status);
        assert_eq!((&answer["outcome"], &answer["buildStatus"]), (&json!("FAILED"), &json!(status)));
        let (kind, detail) = site.events()[0].clone();
        assert_eq!((kind.as_str(), detail["reason"].as_str()), ("Image Build Failed", Some(reason)));
        assert_eq!(detail["logLink"], format!("https://console.aws.amazon.com/logs/{id}"));
        let answer = answers.recv_timeout(Duration::from_secs(5)).unwrap();
        assert_eq!(
            (&answer["Status"], &answer["PhysicalResourceId"]),
            (&json!("FAILED"), &json!("NotCreated:Web"))
        );
        let answer = answer["Reason"].as_str().unwrap();
        assert!(answer.contains(reason) && answer.contains("https://console.aws.amazon.com"), "{answer}");
        assert_eq!(finish(&site.function, &id, status), json!({ "outcome": "KNOWN" }));
        assert_eq!(site.events().len(), 1);
        assert!(answers.try_recv().is_err());
        assert_eq!((site.tagged("latest"), site.parameter()), (None, None));
        let (subject, mail) = site.aws.cloud(|cloud| cloud.published[0].clone());
        assert_eq!(subject, "steward: no image for app");
        assert!(mail.contains(reason) && mail.contains(&format!("/logs/{id}")), "{mail}");
    }
}

#[test]
fn a_build_that_fails_is_reported_with_the_last_lines_of_its_log() {
    let site = Site::new();
    let (url, answers) = callback_server();
    let id = site.start(&context(1), "linux/amd64");
    site.wait(&tag(1), "request", &url);
    let stream = id.rsplit(':').next().unwrap().to_owned();
    let log = "[Container] Running command set -e\n#7 RUN make\n#7 main.c:7: error: expected ';'\n\
        [Container] Phase complete: BUILD State: FAILED_WITH_ABORT\n[Container] Phase context status code: x\nset -e\n";
    site.aws.cloud(|cloud| {
        cloud.logs.insert(stream, log.to_owned());
        cloud.end(&id, "FAILED", None);
    });
    finish(&site.function, &id, "FAILED");
    let reason = site.events()[0].1["reason"].as_str().unwrap().to_owned();
    assert_eq!(
        reason,
        "the phase BUILD failed: exit status 1. Its log ends:\n#7 RUN make\n#7 main.c:7: error: expected ';'"
    );
    let (_, mail) = site.aws.cloud(|cloud| cloud.published[0].clone());
    assert!(mail.contains("#7 main.c:7: error: expected ';'\nSource: "), "{mail}");
    let answer = answers.recv_timeout(Duration::from_secs(5)).unwrap();
    let answer = answer["Reason"].as_str().unwrap();
    assert!(answer.contains("Its log: https://") && answer.ends_with("error: expected ';'"), "{answer}");
    // A log that cannot be read keeps nobody waiting.
    let site = Site::new();
    let id = site.start(&context(1), "linux/amd64");
    site.aws.cloud(|cloud| cloud.end(&id, "FAILED", None));
    site.aws.fault("GetLogEvents", Fault::Denied, 1);
    assert_eq!(finish(&site.function, &id, "FAILED")["reason"], "the phase BUILD failed: exit status 1");
}

#[test]
fn an_event_of_anybody_moves_nothing_and_answers_nobody() {
    let site = Site::new();
    let (url, answers) = callback_server();
    let (id, digest) = site.built(1);
    site.finish(&id);
    let other = site.push("image 2", &tag(2));
    site.wait(&tag(2), "request", &url);
    let before = (site.aws.snapshot(), site.parameter());
    // As anybody may put it on the account's bus.
    let forged = json!({ "source": "ecr-steward", "detail-type": "Image Already Built",
        "detail": { "stackName": "steward", "ticket": context(2), "alreadyBuilt": context(2) } });
    assert_eq!(site.function.invoke(forged.to_string()).error().0, "InvalidEvent");
    // And what even one who may invoke the function does not get.
    let in_use = format!("ecr-steward-in-use-{}", "0".repeat(64));
    for (field, value, reason) in [
        ("imageTag", json!(tag(1)), "is not the tag of"),
        ("imageTag", json!("latest"), "is not the tag of"),
        ("repositoryName", json!("other"), "is not the tag of"),
        ("source", source(3), "is not the tag of"),
        ("arrival", json!({ "at": "2999-01-01T00:00:00Z" }), "is in the future"),
        ("imageTags", json!([in_use]), "is reserved"),
    ] {
        let mut context = context(2);
        context[field] = value;
        let (kind, message) = site.function.invoke(json!({ "alreadyBuilt": context }).to_string()).error();
        assert_eq!(kind, "InvalidBuildContext", "{field}: {message}");
        assert!(message.contains(reason), "{message}");
    }
    assert_eq!((site.aws.snapshot(), site.parameter()), before);
    assert!(answers.try_recv().is_err());
    assert_eq!(site.tagged("latest").unwrap(), digest);
    // The build context as it is.
    let answer = site.function.invoke(json!({ "alreadyBuilt": context(2) }).to_string()).response();
    assert_eq!(
        (&answer["outcome"], &answer["imageDigest"]),
        (&json!("PUBLISHED"), &json!(other)),
        "{answer}"
    );
    answers.recv_timeout(Duration::from_secs(5)).unwrap();
}

#[test]
fn a_build_that_was_given_the_context_of_another_publishes_nothing() {
    let site = Site::new();
    for (field, value) in [
        ("sourceVersion", json!("v2")),
        ("source", json!({ "type": "S3", "location": "b/other" })),
        ("source", json!({ "type": "CODECOMMIT", "location": "b/k" })),
    ] {
        let (id, _) = site.built(1);
        site.aws.cloud(|cloud| cloud.builds.last_mut().unwrap()[field] = value);
        let (kind, message) = site.function.invoke(ended(&id, "SUCCEEDED").to_string()).error();
        assert_eq!(kind, "InvalidBuildContext", "{message}");
        assert!(message.contains("its build context is for s3://b/k?versionId=v1"), "{message}");
    }
    assert_eq!((site.tagged("latest"), site.parameter()), (None, None));
    assert!(site.events().is_empty());
    // An object may be told by its ARN.
    let (id, _) = site.built(1);
    site.aws
        .cloud(|cloud| cloud.builds.last_mut().unwrap()["source"]["location"] = "arn:aws:s3:::b/k".into());
    assert_eq!(site.finish(&id)["outcome"], "PUBLISHED");
}

#[test]
fn success_without_an_image_is_a_failure() {
    let site = Site::new();
    let missing = format!("sha256:{}", "0".repeat(64));
    for (digest, part) in [
        (Some(missing.as_str()), "which is not in app as src-"),
        (Some("$(touch pwned)"), "reports a digest that is none"),
        (None, "but no digest of an image"),
    ] {
        let id = site.start(&context(1), "linux/amd64");
        site.aws.cloud(|cloud| cloud.end(&id, "SUCCEEDED", digest));
        let answer = site.finish(&id);
        assert_eq!(answer["outcome"], "FAILED");
        assert!(answer["reason"].as_str().unwrap().contains(part), "{answer}");
    }
    // Another image under the tag is not the one that was built.
    site.push("somebody else's", &tag(1));
    let id = site.start(&context(1), "linux/amd64");
    site.aws.cloud(|cloud| cloud.end(&id, "SUCCEEDED", Some(&missing)));
    assert_eq!(site.finish(&id)["outcome"], "FAILED");
    assert_eq!(site.tagged("latest"), None);
}

#[test]
fn nothing_follows_from_builds_that_run_or_are_not_ours() {
    let site = Site::new();
    let running = site.start(&context(1), "linux/amd64");
    assert_eq!(finish(&site.function, &running, "IN_PROGRESS")["outcome"], "IGNORED");
    let foreign = site.start(&json!("?"), "linux/amd64");
    site.aws.cloud(|cloud| cloud.end(&foreign, "SUCCEEDED", None));
    assert_eq!(site.finish(&foreign)["outcome"], "IGNORED");
    let (kind, _) = site.function.invoke(r#"{"detail-type": "Other", "detail": {}}"#).error();
    assert_eq!(kind, "InvalidEvent");
    assert!(site.events().is_empty());
}

#[test]
fn images_of_several_platforms_are_joined_when_the_last_one_is_there() {
    let site = Site::new();
    let mut both = context(1);
    both["platforms"] = json!(["linux/amd64", "linux/arm64"]);
    let amd64 = site.start(&both, "linux/amd64");
    let digest = site.push("amd64", &format!("{}-amd64", tag(1)));
    site.aws.cloud(|cloud| cloud.end(&amd64, "SUCCEEDED", Some(&digest)));
    assert_eq!(site.finish(&amd64), json!({ "outcome": "WAITING" }));
    assert_eq!(site.tagged("latest"), None);
    let arm64 = site.start(&both, "linux/arm64");
    let other = site.push("arm64", &format!("{}-arm64", tag(1)));
    site.aws.cloud(|cloud| cloud.end(&arm64, "SUCCEEDED", Some(&other)));
    let answer = site.finish(&arm64);
    assert_eq!(answer["outcome"], "PUBLISHED", "{answer}");
    let index = site.tagged("latest").unwrap();
    assert_eq!(site.tagged(&tag(1)).unwrap(), index);
    let manifest = site.aws.with(|registry| {
        let images = &registry.repositories["app"].images;
        images.iter().find(|image| image.digest == index).unwrap().manifest.clone()
    });
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let children: Vec<&Value> =
        manifest["manifests"].as_array().unwrap().iter().map(|entry| &entry["digest"]).collect();
    assert_eq!(children, [&json!(digest), &json!(other)]);
    // The other event comes late, and again.
    assert_eq!(site.finish(&amd64), json!({ "outcome": "KNOWN" }));
    assert_eq!(site.events().len(), 1);
}

#[test]
fn an_immutable_repository_keeps_its_tags_and_the_image_is_published_all_the_same() {
    let site = Site::new();
    let (first, _) = site.built(1);
    site.finish(&first);
    site.aws.with(|registry| {
        registry.repositories.get_mut("app").unwrap().described = json!({
            "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
            "imageTagMutabilityExclusionFilters": [{ "filterType": "WILDCARD", "filter": "latest" }],
        });
    });
    let (second, digest) = site.built(2);
    let answer = site.finish(&second);
    assert_eq!(answer["outcome"], "PUBLISHED");
    assert_eq!(answer["imageTags"], json!(["latest"]));
    let reason = answer["imageTagsNotMoved"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("tags of app are immutable"), "{reason}");
    assert_eq!(site.parameter().unwrap(), format!("{URI}@{digest}"));
}

#[test]
fn cloudformation_is_answered_by_whoever_ends_the_build() {
    let site = Site::new();
    let (url, answers) = callback_server();
    // More than a page of parameters.
    for number in 0..12 {
        site.wait(&tag(1), &format!("request-{number:02}"), &url);
    }
    site.wait(&tag(2), "another", &url);
    let (id, digest) = site.built(1);
    site.finish(&id);
    let mut requests = Vec::new();
    for _ in 0..12 {
        let answer = answers.recv_timeout(Duration::from_secs(5)).unwrap();
        assert_eq!(answer["Status"], "SUCCESS");
        assert_eq!(answer["PhysicalResourceId"], format!("{URI}@{digest}"));
        assert_eq!(answer["Data"]["ImageUri"], format!("{URI}@{digest}"));
        assert_eq!(answer["Data"]["ImageTag"], tag(1));
        requests.push(answer["RequestId"].as_str().unwrap().to_owned());
    }
    requests.sort();
    requests.dedup();
    assert_eq!(requests.len(), 12);
    assert!(answers.try_recv().is_err());
    let left = site.aws.cloud(|cloud| {
        cloud.parameters.keys().filter(|name| name.contains("waiting")).cloned().collect::<Vec<_>>()
    });
    assert!(left.len() == 1 && left[0].ends_with(&format!("/{}/another", tag(2))), "{left:?}");
    // One who began to wait when the image was there already.
    site.wait(&tag(1), "late", &url);
    assert_eq!(site.finish(&id)["outcome"], "KNOWN");
    assert_eq!(answers.recv_timeout(Duration::from_secs(5)).unwrap()["Status"], "SUCCESS");
}

#[test]
fn going_back_to_a_commit_that_is_built_moves_the_tags_back() {
    let site = Site::new();
    let (one, first) = site.built(1);
    let (two, second) = site.built(2);
    site.finish(&one);
    site.finish(&two);
    assert_eq!(site.tagged("latest").unwrap(), second);
    let mut back = context(1);
    back["arrival"]["at"] = "2026-11-23T12:00:00Z".into();
    let event = json!({ "alreadyBuilt": back });
    for expected in ["PUBLISHED", "KNOWN"] {
        let answer = site.function.invoke(event.to_string()).response();
        assert_eq!(answer["outcome"], expected, "{answer}");
    }
    assert_eq!(site.tagged("latest").unwrap(), first);
    assert_eq!(site.parameter().unwrap(), format!("{URI}@{first}"));
    // The image that was deployed meanwhile is still there.
    assert_eq!(site.tagged(&tag(2)).unwrap(), second);
}

#[test]
fn errors_of_aws_lose_nothing() {
    for operation in ["BatchGetBuilds", "BatchGetImage", "PutObject", "PutImage", "PutParameter", "PutEvents"]
    {
        let site = Site::new();
        let (id, digest) = site.built(1);
        site.aws.fault(operation, Fault::Denied, 1);
        let event = json!({ "detail-type": "CodeBuild Build State Change",
            "detail": { "build-status": "SUCCEEDED", "build-id": format!("arn:aws:codebuild:r:1:build/{id}") } });
        // S3's denials are in XML.
        if operation == "PutObject" {
            site.aws.heal();
            site.aws.fault("PutObject", Fault::Unavailable, 2);
        } else {
            let Answer::Error(error) = site.function.invoke(event.to_string()) else { panic!("{operation}") };
            assert_eq!(error["errorType"], "NotPublished", "{error}");
        }
        let answer = site.function.invoke(event.to_string()).response();
        assert_eq!(answer["outcome"], "PUBLISHED", "{operation}: {answer}");
        assert_eq!(site.tagged("latest").unwrap(), digest);
        assert_eq!(site.parameter().unwrap(), format!("{URI}@{digest}"));
        assert_eq!(site.events().len(), 1);
    }
}

#[test]
fn owners_of_tags_that_cannot_be_read_are_left_alone() {
    let site = Site::new();
    site.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/ledgers/app.json"), "not json"));
    let (id, _) = site.built(1);
    let event = json!({ "detail-type": "CodeBuild Build State Change",
        "detail": { "build-status": "SUCCEEDED", "build-id": format!("arn:aws:codebuild:r:1:build/{id}") } });
    let (_, message) = site.function.invoke(event.to_string()).error();
    assert!(message.contains("restore an earlier version"), "{message}");
    assert_eq!(site.tagged("latest"), None);
}

#[test]
fn the_role_allows_what_is_called_and_no_deletion() {
    let site = Site::new();
    let (url, answers) = callback_server();
    site.wait(&tag(1), "request", &url);
    let (id, _) = site.built(1);
    site.finish(&id);
    answers.recv_timeout(Duration::from_secs(5)).unwrap();
    let failed = site.start(&context(2), "linux/amd64");
    site.aws.cloud(|cloud| cloud.end(&failed, "FAILED", None));
    site.finish(&failed);
    let called: std::collections::BTreeSet<String> = site
        .aws
        .calls()
        .into_iter()
        .map(|call| match call.operation.as_str() {
            "GetObject" | "PutObject" => format!("s3:{}", call.operation),
            "PutEvents" => "events:PutEvents".to_owned(),
            "GetLogEvents" => "logs:GetLogEvents".to_owned(),
            "Publish" => "sns:Publish".to_owned(),
            parameter if parameter.contains("Parameter") => format!("ssm:{parameter}"),
            build if build.contains("Build") => format!("codebuild:{build}"),
            other => format!("ecr:{other}"),
        })
        .collect();
    let mut allowed = template::actions("ImagePublishedFunction");
    assert!(allowed.remove("s3:ListBucket"), "it tells what is missing from what is forbidden");
    assert_eq!(called, allowed);
    for role in ["ImagePublishedFunction", "ImageResourceFunction", "BuildRole"] {
        let deletes: Vec<String> =
            template::actions(role).into_iter().filter(|action| action.contains("DeleteImage")).collect();
        assert!(deletes.is_empty(), "{role}: {deletes:?}");
    }
}

#[test]
fn the_sample_event_publishes_the_image_of_its_build() {
    let site = Site::new();
    let (id, digest) = site.built(1);
    let file = tests::binaries::workspace().join("tests/events/image-published.json");
    let event: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let named = event["detail"]["build-id"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    site.aws.cloud(|cloud| {
        let build = cloud.builds.iter_mut().find(|build| build["id"] == id).unwrap();
        build["id"] = named.into();
    });
    let answer = site.function.invoke(event.to_string()).response();
    assert_eq!((&answer["outcome"], &answer["imageDigest"]), (&json!("PUBLISHED"), &json!(digest)));
}

/// Python's own validator holds the events to the schemas, and to name every field.
#[cfg(feature = "pypi")]
#[test]
fn events_are_as_their_schemas_say() {
    use std::process::Command;
    const VALIDATE: &str = r#"
import json, sys
from jsonschema import Draft4Validator

def strict(schema):
    if isinstance(schema, dict):
        if "properties" in schema:
            schema["additionalProperties"] = False
        for value in schema.values():
            strict(value)

schemas = {}
for name in sys.argv[2:]:
    schema = json.load(open(name))
    Draft4Validator.check_schema(schema)
    strict(schema)
    schemas[schema["title"]] = Draft4Validator(schema)
for event in json.load(open(sys.argv[1])):
    schemas[event["detail-type"]].validate(event)
"#;
    let site = Site::new();
    let (old, _) = site.built(1);
    let (new, _) = site.built(2);
    site.finish(&new);
    let answer = site.finish(&old);
    assert!(!answer["imageTagsNotMoved"].as_array().unwrap().is_empty(), "{answer}");
    for status in ["FAILED", "FAULT", "TIMED_OUT", "STOPPED", "SUCCEEDED"] {
        let id = site.start(&context(3), "linux/amd64");
        site.aws.cloud(|cloud| cloud.end(&id, status, None));
        finish(&site.function, &id, status);
    }
    // Somebody asks for an image that was there before there were tickets.
    let digest = site.push("image 4", &tag(4));
    let handover = json!({ "alreadyBuilt": context(4) });
    let answer = site.function.invoke(handover.to_string()).response();
    assert_eq!(answer["imageDigest"], digest, "{answer}");
    let events: Vec<Value> = site
        .events()
        .into_iter()
        .map(|(kind, detail)| json!({ "source": "ecr-steward", "detail-type": kind, "detail": detail }))
        .collect();
    let count = |name: &str| events.iter().filter(|event| event["detail-type"] == name).count();
    assert_eq!((count("Image Published"), count("Image Build Failed")), (3, 5), "{events:?}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.json");
    std::fs::write(&file, Value::from(events).to_string()).unwrap();
    // cfn-lint brings the validator.
    let programs = local::tools::install(&local::Project::here(), local::tools::SAM).unwrap();
    let schemas = ["image-published", "image-build-failed"]
        .map(|name| tests::binaries::workspace().join(format!("infra/events/{name}.schema.json")));
    let output = Command::new(programs.join("python"))
        .args(["-c", VALIDATE])
        .arg(file)
        .args(schemas)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
