//! The function image-resource as a real process: CloudFormation asks for an image, and is answered when it is there.

use std::sync::mpsc::Receiver;
use std::time::Duration;

use serde_json::{Value, json};
use tests::cloud::{self, BUCKET, callback_server};
use tests::ecr_stub::{EcrStub, Repository};
use tests::runtime_api::Function;
use tests::template;

struct Site {
    aws: EcrStub,
    resource: Function,
    published: Function,
    answers: Receiver<Value>,
    url: String,
}

impl Site {
    fn new() -> Self {
        let aws = EcrStub::start();
        aws.with(|registry| registry.repositories.insert("app".to_owned(), Repository::default()));
        aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/uploads/app.zip"), "zip"));
        let start = |name: &str| cloud::function(&aws, name, Duration::from_secs(60));
        let (resource, published) = (start("image-resource"), start("image-published"));
        let (url, answers) = callback_server();
        Self { resource, published, aws, answers, url }
    }

    fn event(&self, request: &str, id: &str, physical: Option<&str>, properties: &Value) -> Value {
        let mut properties = properties.clone();
        properties["ServiceToken"] = "arn:aws:lambda:eu-west-1:123456789012:function:image".into();
        json!({
            "RequestType": request, "ResponseURL": self.url, "StackId": "arn:aws:cloudformation:r:1:stack/shop/0",
            "RequestId": id, "ResourceType": "Custom::EcrImage", "LogicalResourceId": "Web",
            "PhysicalResourceId": physical, "ResourceProperties": properties,
        })
    }

    fn send(&self, event: &Value) {
        self.resource.invoke(event.to_string()).response();
    }

    fn answer(&self) -> Value {
        self.answers.recv_timeout(Duration::from_secs(5)).expect("there should be an answer")
    }

    fn is_silent(&self) -> bool {
        self.answers.try_recv().is_err()
    }

    /// The build of this index ends, with an image or without.
    fn end(&self, build: usize, is_good: bool) -> String {
        let (id, tag) = self.aws.cloud(|cloud| {
            let id = cloud.builds[build]["id"].as_str().unwrap().to_owned();
            (id, cloud.variable(build, "IMAGE_TAG").unwrap())
        });
        let digest = if is_good {
            self.aws.with(|registry| registry.repositories.get_mut("app").unwrap().push(&tag, &[&tag]))
        } else {
            String::new()
        };
        let status = if is_good { "SUCCEEDED" } else { "FAILED" };
        self.aws.cloud(|cloud| cloud.end(&id, status, is_good.then_some(&digest)));
        let event = json!({ "detail-type": "CodeBuild Build State Change",
            "detail": { "build-status": status, "build-id": format!("arn:aws:codebuild:r:1:build/{id}") } });
        self.published.invoke(event.to_string()).response();
        digest
    }

    fn builds(&self) -> usize {
        self.aws.cloud(|cloud| cloud.builds.len())
    }
}

fn properties() -> Value {
    json!({ "RepositoryName": "app", "Source": { "S3": { "Key": "uploads/app.zip" } } })
}

#[test]
fn cloudformation_waits_for_the_build_and_nobody_else_does() {
    let site = Site::new();
    let event = site.event("Create", "one", None, &properties());
    site.send(&event);
    assert!(site.is_silent(), "there is no image yet");
    // The same event again starts nothing, and asks for nothing more.
    site.send(&event);
    assert_eq!(site.builds(), 1);
    let parameters = site.aws.cloud(|cloud| cloud.parameters.clone());
    let (kind, value) = parameters.values().next().unwrap();
    assert_eq!((parameters.len(), kind.as_str()), (1, "SecureString"));
    assert!(value.contains(&site.url));
    let build = site.aws.cloud(|cloud| cloud.builds[0].to_string());
    assert!(!build.contains("Signature"), "the response URL is in the build: {build}");
    let digest = site.end(0, true);
    let answer = site.answer();
    let uri = format!("123456789012.dkr.ecr.eu-west-1.amazonaws.com/app@{digest}");
    assert_eq!((&answer["Status"], &answer["PhysicalResourceId"]), (&json!("SUCCESS"), &json!(uri)));
    assert_eq!(answer["Data"]["ImageUri"], uri);
    assert_eq!(answer["Data"]["ImageDigest"], digest);
    assert_eq!(answer["RequestId"], "one");
    assert!(site.is_silent());
    let left = site.aws.cloud(|cloud| cloud.parameters.keys().any(|name| name.contains("waiting")));
    assert!(!left, "nobody waits any more");
}

#[test]
fn a_build_that_cloudformation_waits_for_ends_before_cloudformation_gives_up() {
    let aws = EcrStub::start();
    aws.with(|registry| registry.repositories.insert("app".to_owned(), Repository::default()));
    let minutes = [("BUILD_TIMEOUT_IN_MINUTES", "20")];
    let short = cloud::function_with(&aws, "image-resource", Duration::from_secs(60), &minutes);
    let site = Site::new();
    for (timeout, queued, build) in [
        (json!(null), 9, 46),
        (json!("3600"), 9, 46),
        (json!(3600), 9, 46),
        (json!("900"), 5, 5),
        (json!("1800"), 5, 20),
    ] {
        let mut wanted = properties();
        wanted["BuildArgs"] = json!({ "N": timeout.to_string() });
        if !timeout.is_null() {
            wanted["ServiceTimeout"] = timeout.clone();
        }
        site.send(&site.event("Create", &timeout.to_string(), None, &wanted));
        let started =
            site.aws.calls().into_iter().rfind(|call| call.operation == "StartBuild").unwrap().request;
        assert_eq!(started["queuedTimeoutInMinutesOverride"], queued, "{timeout}");
        assert_eq!(started["timeoutInMinutesOverride"], build, "{timeout}");
        // With time to start, and to tell.
        let seconds = timeout.as_str().map_or(3600, |text| text.parse::<i64>().unwrap());
        assert!((queued + build) * 60 <= seconds - 300, "{timeout}");
    }
    let builds = site.builds();
    for timeout in ["899", "60", "0", "-1", "soon"] {
        let mut wanted = properties();
        wanted["ServiceTimeout"] = timeout.into();
        site.send(&site.event("Create", timeout, None, &wanted));
        let answer = site.answer();
        assert!(
            answer["Reason"].as_str().unwrap().contains("/ServiceTimeout: number-out-of-range"),
            "{answer}"
        );
    }
    assert_eq!(site.builds(), builds);
    // A stack whose builds are shorter keeps them so.
    aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/uploads/app.zip"), "zip"));
    short.invoke(site.event("Create", "short", None, &properties()).to_string()).response();
    let started = aws.calls().into_iter().rfind(|call| call.operation == "StartBuild").unwrap().request;
    assert_eq!(started["timeoutInMinutesOverride"], 20);
}

#[test]
fn an_image_that_is_there_is_answered_at_once_and_the_uri_changes_with_the_image_only() {
    let site = Site::new();
    site.send(&site.event("Create", "one", None, &properties()));
    site.end(0, true);
    let first = site.answer()["PhysicalResourceId"].as_str().unwrap().to_owned();
    let mut same = properties();
    same["Cache"] = "false".into();
    site.send(&site.event("Update", "two", Some(&first), &same));
    assert_eq!(site.answer()["PhysicalResourceId"], first);
    assert_eq!(site.builds(), 1);
    site.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/uploads/app.zip"), "another"));
    site.send(&site.event("Update", "three", Some(&first), &same));
    assert_eq!(site.builds(), 2);
    site.end(1, true);
    assert_ne!(site.answer()["PhysicalResourceId"], first);
    // The way back of a rollback: the old version by its id.
    let mut old = properties();
    old["Source"]["S3"]["VersionId"] = "v1".into();
    site.send(&site.event("Update", "four", Some("x"), &old));
    assert_eq!(site.answer()["PhysicalResourceId"], first);
    assert_eq!(site.builds(), 2);
}

#[test]
fn a_build_that_fails_fails_the_resource_and_the_next_request_tries_again() {
    let site = Site::new();
    site.send(&site.event("Create", "one", None, &properties()));
    site.end(0, false);
    let answer = site.answer();
    assert_eq!(answer["Status"], "FAILED");
    let reason = answer["Reason"].as_str().unwrap();
    assert!(reason.contains("the phase BUILD failed") && reason.contains("Its log: https://"), "{reason}");
    assert_eq!(answer["PhysicalResourceId"], "NotCreated:Web");
    // Within the five minutes in which CodeBuild would give the failed build again.
    site.send(&site.event("Create", "two", None, &properties()));
    assert_eq!(site.builds(), 2);
    site.end(1, true);
    assert_eq!(site.answer()["Status"], "SUCCESS");
}

#[test]
fn deleting_leaves_every_image_and_asks_nobody() {
    let site = Site::new();
    site.send(&site.event("Create", "one", None, &properties()));
    site.end(0, true);
    let uri = site.answer()["PhysicalResourceId"].as_str().unwrap().to_owned();
    let before = site.aws.snapshot();
    site.aws.forget_calls();
    for physical in [uri.as_str(), "NotCreated:Web"] {
        site.send(&site.event("Delete", "two", Some(physical), &json!({ "RepositoryName": [] })));
        let answer = site.answer();
        assert_eq!((&answer["Status"], &answer["PhysicalResourceId"]), (&json!("SUCCESS"), &json!(physical)));
    }
    assert_eq!(site.aws.snapshot(), before);
    assert!(site.aws.calls().is_empty());
}

#[test]
fn what_cannot_be_built_is_reported_at_once() {
    let site = Site::new();
    for (properties, part) in [
        (json!({}), "/: missing-field: `RepositoryName` is missing"),
        (json!({ "RepositoryName": "app" }), "`Source` is missing"),
        (
            json!({ "RepositoryName": "app", "Source": { "S3": { "Key": "uploads/none.zip" } } }),
            "there is no object s3://stack-sources/uploads/none.zip",
        ),
        (
            json!({ "RepositoryName": "app", "Source": { "CodeCommit": { "RepositoryName": "web", "CommitId": "main" } } }),
            "is not the full id of a commit",
        ),
        (
            json!({ "RepositoryName": "app", "Source": { "S3": { "Key": "journal/a.zip" } } }),
            "/Source/S3/Key: invalid-path: `journal/a.zip` is not below `sources/` or `uploads/`",
        ),
        (
            json!({ "RepositoryName": "app", "Source": { "S3": { "Key": "uploads/app.zip" } },
                "BuildArgs": { "BUILDKIT_SYNTAX": "evil/frontend" } }),
            "/BuildArgs/BUILDKIT_SYNTAX: unknown-value: `BUILDKIT_SYNTAX` is for BuildKit",
        ),
        (
            json!({ "RepositoryName": "app", "Source": { "S3": { "Key": "uploads/app.zip" } },
                "Secrets": { "npm": "steward/npm" } }),
            "/Secrets/npm: secret-not-named: no build of app in builds.yaml has the secret `steward/npm`",
        ),
    ] {
        site.send(&site.event("Create", "one", None, &properties));
        let answer = site.answer();
        assert_eq!(answer["Status"], "FAILED");
        assert!(answer["Reason"].as_str().unwrap().contains(part), "{answer}");
    }
    assert_eq!(site.builds(), 0);
    assert!(site.aws.cloud(|cloud| cloud.parameters.is_empty()));
}

#[test]
fn the_role_allows_what_image_build_may_and_to_put_requests_aside() {
    let mut allowed = template::actions("ImageResourceFunction");
    for own in ["ssm:DeleteParameters", "ssm:PutParameter"] {
        assert!(allowed.remove(own), "{own}");
    }
    let mut others = template::actions("ImageBuildFunction");
    // CloudFormation is who is told.
    for telling in ["events:PutEvents", "sns:Publish"] {
        assert!(others.remove(telling), "{telling}");
    }
    others.retain(|action| !action.starts_with("sqs:"));
    assert_eq!(allowed, others);
}

#[test]
fn the_sample_request_builds_for_both_processors() {
    let site = Site::new();
    let file = tests::binaries::workspace().join("tests/events/image-resource.json");
    let mut event: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let source = &event["ResourceProperties"]["Source"]["S3"];
    let path = format!("{BUCKET}/{}", source["Key"].as_str().unwrap());
    let version = source["VersionId"].as_str().unwrap().to_owned();
    site.aws.cloud(|cloud| {
        cloud.objects.insert(path.clone(), vec![("zip".to_owned(), version.clone())]);
    });
    event["ResponseURL"] = site.url.as_str().into();
    site.send(&event);
    assert!(site.is_silent());
    let builds = site.aws.cloud(|cloud| cloud.builds.clone());
    let projects: Vec<&Value> = builds.iter().map(|build| &build["projectName"]).collect();
    assert_eq!(projects, ["steward-amd64", "steward-arm64"]);
    assert!(builds.iter().all(|build| build["sourceVersion"] == *version));
}
