//! Images that this stack deleted or archived come back from the journal, by the HTTP API and at a terminal: with the same digests
//! and tags, or with what is missing. The real function and the real program, on AWS in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use shared::domain::enforcement::journal::{is_removals, is_restores};
use tests::binaries::binary;
use tests::cloud::{self, BUCKET};
use tests::ecr_stub::{EcrStub, Fault, Registry, Repository};
use tests::gateway::{self, Answer};
use tests::runtime_api::Function;
use tests::template;

const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
const POLICIES: &str = "policies.yaml";
/// A timeout that is never reached.
const PLENTY: Duration = Duration::from_secs(29);
/// A timeout that is reached only where calls hang.
const LITTLE: Duration = Duration::from_secs(5);

/// An AWS with a repository `app`: a release for two platforms with two signatures, and builds.
struct Site {
    aws: EcrStub,
    api: Function,
}

/// The images of `app`.
struct App {
    index: String,
    amd64: String,
    arm64: String,
    signature: String,
    tag_signature: String,
    /// With the tags `one` and `two`.
    two: String,
    build: String,
}

/// Digests and tags, which is all that a client sees of a repository.
type Seen = BTreeMap<String, BTreeSet<String>>;

impl Site {
    fn start() -> (Self, App) {
        let aws = EcrStub::start();
        let app = aws.with(|registry| {
            let described = json!({ "repositoryName": "app", "registryId": "123456789012",
                "repositoryArn": "arn:aws:ecr:eu-west-1:123456789012:repository/app",
                "repositoryUri": format!("{HOST}/app"), "createdAt": 1.0, "imageTagMutability": "MUTABLE" });
            let mut app = Repository { described, ..Repository::default() };
            let made = fill(&mut app);
            registry.repositories.insert("app".to_owned(), app);
            made
        });
        let api = cloud::function(&aws, "repository-api", PLENTY);
        (Self { aws, api }, app)
    }

    fn ask(&self, target: &str, body: &Value) -> Answer {
        gateway::ask(&self.api, "POST", target, body)
    }

    fn delete(&self, digests: &[&String]) {
        let ids: Vec<Value> = digests.iter().map(|digest| json!({ "imageDigest": digest })).collect();
        let answer = self.ask("/deletions/app", &json!({ "imageIds": ids }));
        assert_eq!((answer.status, &answer.body["failures"]), (200, &json!([])), "{}", answer.body);
    }

    fn delete_release(&self, app: &App) {
        self.delete(&[&app.index, &app.amd64, &app.arm64, &app.signature, &app.tag_signature]);
    }

    #[track_caller]
    fn restore(&self, body: &Value) -> Value {
        let answer = self.ask("/restorations/app", body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    #[track_caller]
    fn would_restore(&self, body: &Value) -> Value {
        let before = self.seen();
        self.aws.forget_calls();
        let answer = self.ask("/restorations/app?dryRun=true", body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        for operation in ["PutImage", "UpdateImageStorageClass", "PutObject"] {
            assert_eq!(self.aws.count(operation), 0, "{operation}");
        }
        assert_eq!((self.seen(), &answer.body["dryRun"]), (before, &json!(true)));
        answer.body
    }

    fn seen(&self) -> Seen {
        self.with_app(|app| {
            app.images
                .iter()
                .map(|image| (image.digest.clone(), image.tags.iter().cloned().collect()))
                .collect()
        })
    }

    fn with_app<T>(&self, look: impl FnOnce(&mut Repository) -> T) -> T {
        self.aws.with(|registry| look(registry.repositories.get_mut("app").unwrap()))
    }

    fn upload(&self, key: &str, content: &str) {
        self.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/{key}"), content));
    }

    /// The lines of the journal below the keys that are wanted.
    fn journal(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<Value> {
        self.aws.cloud(|cloud| {
            let keys = cloud.keys(BUCKET, "journal/").into_iter().filter(|key| is_wanted(key));
            let texts = keys.filter_map(|key| cloud.object_text(&format!("{BUCKET}/{key}")));
            texts
                .flat_map(|text| {
                    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>()
                })
                .collect()
        })
    }

    fn terminal(&self, arguments: &[&str]) -> Output {
        Command::new(binary("ecr-steward"))
            .args(arguments)
            .args(["--bucket", BUCKET])
            .env_clear()
            .env("AWS_ENDPOINT_URL", self.aws.url())
            .env("AWS_REGION", "eu-west-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("USER", "ana")
            .output()
            .unwrap()
    }
}

fn fill(app: &mut Repository) -> App {
    let (amd64, arm64) = (app.push("amd64", &[]), app.push("arm64", &[]));
    let index = app.push_index(&[&amd64, &arm64], &["v1", "latest"]);
    let signature = app.push_referrer("signature", &index);
    let tag = format!("{}.sig", index.replace(':', "-"));
    let tag_signature = app.push("signature by tag", &[&tag]);
    let two = app.push("two", &["one", "two"]);
    let build = app.push("build", &["build"]);
    for digest in [&amd64, &arm64, &index, &signature, &tag_signature, &two, &build] {
        app.age(digest, 30.0);
    }
    App { index, amd64, arm64, signature, tag_signature, two, build }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The failure about an image or a tag of one.
#[track_caller]
fn failure<'a>(report: &'a Value, digest: &str) -> (&'a str, &'a str) {
    let failures = report["failures"].as_array().unwrap();
    let failure = failures.iter().find(|failure| failure["imageId"]["imageDigest"] == digest);
    let failure = failure.unwrap_or_else(|| panic!("{digest}: {report:#}"));
    (failure["failureCode"].as_str().unwrap(), failure["failureReason"].as_str().unwrap())
}

#[test]
fn a_signed_release_for_two_platforms_comes_back_with_the_same_digests_and_tags() {
    let (site, app) = Site::start();
    let before = site.seen();
    site.delete_release(&app);
    assert_eq!(site.seen().len(), 2);
    let tag = json!({ "imageIds": [{ "imageTag": "v1" }] });
    let expected = site.would_restore(&tag);
    let report = site.restore(&tag);
    assert_eq!(site.seen(), before, "{report:#}");
    assert_eq!(report["failures"], json!([]));
    assert_eq!((&expected["images"], expected["journal"].is_null()), (&report["images"], true));
    // Children come before their index, and what is about it after it.
    let order: Vec<&str> =
        report["images"].as_array().unwrap().iter().map(|one| one["imageDigest"].as_str().unwrap()).collect();
    let at = |digest: &String| order.iter().position(|other| other == digest).unwrap();
    assert!(at(&app.amd64).max(at(&app.arm64)) < at(&app.index), "{order:?}");
    assert!(at(&app.index) < at(&app.signature).min(at(&app.tag_signature)), "{order:?}");
    let subject = site.with_app(|repository| repository.image_mut(&app.signature).subject.clone());
    assert_eq!(subject.as_ref(), Some(&app.index), "clients find it as a referrer");
}

#[test]
fn a_restoration_may_be_repeated_and_changes_nothing_then() {
    let (site, app) = Site::start();
    site.delete(&[&app.two]);
    let two = json!({ "imageIds": [{ "imageDigest": app.two }] });
    assert_eq!(site.restore(&two)["images"][0]["outcome"], "RESTORED");
    site.aws.forget_calls();
    let again = site.restore(&two);
    assert_eq!(again["images"][0]["outcome"], "UNCHANGED", "{again:#}");
    assert_eq!((site.aws.count("PutImage"), site.aws.count("PutObject")), (0, 0));
    // A tag that it lost meanwhile is put again.
    site.with_app(|repository| repository.image_mut(&app.two).tags.remove("one"));
    let tagged = site.restore(&two);
    assert_eq!(tagged["images"][0]["outcome"], "TAGGED", "{tagged:#}");
    assert_eq!(tagged["images"][0]["imageTags"], json!(["one"]));
}

#[test]
fn a_tag_that_names_another_image_by_now_stays_where_it_is() {
    let (site, app) = Site::start();
    site.delete(&[&app.two]);
    let newer = site.with_app(|repository| repository.push("newer", &["one"]));
    let report = site.restore(&json!({ "imageIds": [{ "imageTag": "two" }] }));
    assert_eq!(report["images"][0]["imageTags"], json!(["two"]), "{report:#}");
    let (code, reason) = failure(&report, &app.two);
    assert!(code == "ImageTagAlreadyExists" && reason.contains(&newer), "{reason}");
    assert_eq!(report["failures"][0]["imageId"]["imageTag"], "one");
    let seen = site.seen();
    assert!(seen[&newer].contains("one") && seen[&app.two] == ["two".to_owned()].into(), "{seen:?}");
}

#[test]
fn a_tag_that_is_pushed_while_an_image_is_restored_is_not_moved_back() {
    let push: fn(&mut Registry, &mut cloud::Cloud) = |registry, _| {
        registry.repositories.get_mut("app").unwrap().push("meanwhile", &["build"]);
    };
    for is_immutable in [false, true] {
        let (site, app) = Site::start();
        site.delete(&[&app.build]);
        if is_immutable {
            // After the look for the tag: what keeps it then is ECR's own refusal.
            site.with_app(|repository| repository.described["imageTagMutability"] = "IMMUTABLE".into());
        }
        // The manifest is put, and then the tag.
        site.aws.fault("PutImage", Fault::Then(push), 1);
        let report = site.restore(&json!({ "imageIds": [{ "imageDigest": app.build }] }));
        assert_eq!(failure(&report, &app.build).0, "ImageTagAlreadyExists", "{report:#}");
        let seen = site.seen();
        assert!(seen[&app.build].is_empty(), "{seen:?}");
        assert_eq!(seen.values().filter(|tags| tags.contains("build")).count(), 1, "{seen:?}");
    }
}

#[test]
fn a_tag_of_an_image_that_is_archived_meanwhile_is_not_moved_back_either() {
    let push: fn(&mut Registry, &mut cloud::Cloud) = |registry, _| {
        let repository = registry.repositories.get_mut("app").unwrap();
        let digest = repository.push("meanwhile", &["build"]);
        repository.image_mut(&digest).archived = true;
    };
    let (site, app) = Site::start();
    site.delete(&[&app.build]);
    site.aws.fault("PutImage", Fault::Then(push), 1);
    let report = site.restore(&json!({ "imageIds": [{ "imageDigest": app.build }] }));
    assert_eq!(failure(&report, &app.build).0, "ImageTagAlreadyExists", "{report:#}");
    assert!(site.seen()[&app.build].is_empty());
}

#[test]
fn what_ecr_refuses_to_move_is_reported_and_the_image_is_back_without_that_tag() {
    let (site, app) = Site::start();
    site.delete(&[&app.build]);
    let refusal = Fault::Error("ImageTagAlreadyExistsException", "The image tag 'build' already exists");
    // The first call puts the manifest.
    site.aws.fault_from("PutImage", refusal, 1);
    let report = site.restore(&json!({ "imageIds": [{ "imageTag": "build" }] }));
    let (code, reason) = failure(&report, &app.build);
    assert!(code == "ImageTagAlreadyExists" && reason.contains("'build' already exists"), "{reason}");
    assert_eq!(report["images"][0]["imageTags"], json!([]), "{report:#}");
    assert!(site.seen()[&app.build].is_empty());
}

#[test]
fn an_image_that_is_back_is_reported_as_restored_also_where_a_tag_of_it_is_not() {
    // Refused for these tags alone.
    let (site, app) = Site::start();
    site.delete(&[&app.two, &app.build]);
    site.aws.fault_from("PutImage", Fault::Error("InvalidParameterException", "no such tag"), 1);
    let by_digest = json!({ "imageIds": [{ "imageDigest": app.two }] });
    let report = site.restore(&by_digest);
    assert_eq!(report["images"][0]["outcome"], "RESTORED", "{report:#}");
    assert_eq!(report["images"][0]["imageTags"], json!([]), "{report:#}");
    for (failure, tag) in report["failures"].as_array().unwrap().iter().zip(["one", "two"]) {
        assert_eq!(failure["imageId"], json!({ "imageDigest": app.two, "imageTag": tag }));
        assert!(failure["failureReason"].as_str().unwrap().contains("no such tag"), "{failure}");
    }
    // Refused for everything: what was changed is in the answer, and not taken for nothing.
    let (site, app) = Site::start();
    site.delete(&[&app.two]);
    site.aws.fault_from("PutImage", Fault::Denied, 1);
    let report = site.restore(&by_digest);
    assert_eq!(
        (&report["images"][0]["outcome"], &report["images"][0]["imageTags"]),
        (&json!("RESTORED"), &json!([]))
    );
    let codes: Vec<&Value> =
        report["failures"].as_array().unwrap().iter().map(|one| &one["failureCode"]).collect();
    assert_eq!(codes, ["CallFailed", "NotAttempted"], "{report:#}");
    assert!(site.seen()[&app.two].is_empty());
    // An image that was there and got none of its tags has not got its tags again.
    let report = site.restore(&by_digest);
    assert_eq!(
        (&report["images"], &report["failures"][0]["imageId"]["imageTag"]),
        (&json!([]), &json!("one"))
    );
}

#[test]
fn where_the_first_call_is_not_answered_nobody_claims_that_nothing_was_restored() {
    let (mut site, app) = Site::start();
    site.delete(&[&app.two]);
    site.api = cloud::function(&site.aws, "repository-api", LITTLE);
    site.aws.fault_from("PutImage", Fault::Hang, 0);
    let report = site.restore(&json!({ "imageIds": [{ "imageDigest": app.two }] }));
    assert_eq!(failure(&report, &app.two).0, "OutcomeUnknown", "{report:#}");
    assert!(report["journal"].as_str().unwrap().contains("/restore-"), "{report:#}");
}

#[test]
fn a_damaged_line_of_the_journal_does_not_keep_other_images_from_coming_back() {
    let (site, app) = Site::start();
    site.delete(&[&app.two]);
    site.delete(&[&app.build]);
    let keys = site.aws.cloud(|cloud| cloud.keys(BUCKET, "journal/"));
    let path = |key: &String| format!("{BUCKET}/{key}");
    let text = |key: &String| site.aws.cloud(|cloud| cloud.object_text(&path(key))).unwrap();
    let key = keys.iter().find(|key| is_removals(key) && text(key).contains(&app.two)).unwrap();
    let whole = text(key);
    for damaged in [&whole[..whole.len() / 2], "\0", "[]\n{}", r#"{"action": {"type": "MOVE"}}"#] {
        site.aws.cloud(|cloud| cloud.upload(&path(key), damaged));
        let report = site.restore(&json!({ "imageIds": [{ "imageDigest": app.build }] }));
        assert_eq!(report["images"][0]["imageDigest"], app.build.as_str(), "{report:#}");
        let warnings = report["warnings"].to_string();
        assert!(warnings.contains(key) && warnings.contains("line 1"), "{warnings}");
    }
    let report = site.restore(&json!({ "imageIds": [{ "imageDigest": app.two }] }));
    assert_eq!(failure(&report, &app.two).0, "NotInJournal");
    // What is in good order is read from an object with a damaged line.
    site.aws.cloud(|cloud| cloud.upload(&path(key), &format!("{{\n{whole}")));
    let report = site.restore(&json!({ "imageIds": [{ "imageDigest": app.two }] }));
    assert_eq!(report["images"][0]["outcome"], "RESTORED", "{report:#}");
}

#[test]
fn a_policy_of_the_repository_beside_that_of_the_file_is_warned_of_as_well() {
    let (site, app) = Site::start();
    site.delete(&[&app.two]);
    let children = json!({ &app.index: [&app.amd64, &app.arm64] });
    site.upload("cache/indexes/app.json", &children.to_string());
    let rule = "rules: [{ selection: any, maximumAgeLimit: 900 }]";
    site.upload(
        POLICIES,
        &format!("policies: [{{ name: all, repositories: ['*'], apply: delete, {rule} }}]\n"),
    );
    let own = r#"{"rules":[{"rulePriority":1,"selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":1},"action":{"type":"expire"}}]}"#;
    site.with_app(|repository| repository.lifecycle_policy = Some(own.to_owned()));
    let report = site.would_restore(&json!({ "imageIds": [{ "imageDigest": app.two }] }));
    let warnings = report["warnings"].to_string();
    assert!(
        warnings.contains("which ECR enforces") && !warnings.contains("policies.yaml expires"),
        "{warnings}"
    );
}

#[test]
fn layers_that_ecr_has_deleted_are_named_with_what_cannot_come_back_without_them() {
    let (site, app) = Site::start();
    let manifest = site.with_app(|repository| repository.image_mut(&app.arm64).manifest.clone());
    site.delete_release(&app);
    site.with_app(|repository| repository.collect(&manifest));
    let gone = serde_json::from_str::<Value>(&manifest).unwrap()["config"]["digest"].clone();
    let replication = json!({ "destinations": [{ "region": "us-east-1", "registryId": "222222222222" }],
        "repositoryFilters": [{ "filter": "app", "filterType": "PREFIX_MATCH" }] });
    site.aws.cloud(|cloud| cloud.replication = vec![replication]);
    let release = json!({ "imageIds": [{ "imageTag": "v1" }] });
    for report in [site.would_restore(&release), site.restore(&release)] {
        let (code, reason) = failure(&report, &app.arm64);
        assert!(code == "LayersNotFound" && reason.contains(gone.as_str().unwrap()), "{reason}");
        let (code, reason) = failure(&report, &app.index);
        assert!(code == "ReferencedImagesNotFound" && reason.contains(&app.arm64), "{reason}");
        assert_eq!(failure(&report, &app.signature).0, "SubjectNotRestored");
        assert_eq!(report["images"].as_array().unwrap().len(), 1, "the other child: {report:#}");
        let replica = &report["replicas"][0];
        assert_eq!(replica["registryId"], "222222222222", "{report:#}");
        let copy = format!(
            "skopeo copy --all --preserve-digests docker://222222222222.dkr.ecr.us-east-1.amazonaws.com/app@{0} docker://{HOST}/app@{0}",
            app.index
        );
        assert!(replica["commands"].as_array().unwrap().contains(&json!(copy)), "{replica:#}");
    }
    assert_eq!(site.seen().len(), 3);
}

#[test]
fn where_layers_cannot_be_asked_for_it_is_tried_and_reported() {
    let (site, app) = Site::start();
    let manifest = site.with_app(|repository| repository.image_mut(&app.two).manifest.clone());
    site.delete(&[&app.two, &app.build]);
    site.with_app(|repository| repository.collect(&manifest));
    site.aws.fault_from("BatchCheckLayerAvailability", Fault::Denied, 0);
    let both = json!({ "imageIds": [{ "imageDigest": app.two }, { "imageDigest": app.build }] });
    let report = site.restore(&both);
    let (code, reason) = failure(&report, &app.two);
    assert!(code == "LayersNotFound" && reason.contains("do not exist"), "{reason}");
    assert_eq!(report["images"][0]["imageDigest"], app.build.as_str());
    assert!(report["warnings"].to_string().contains("BatchCheckLayerAvailability"), "{report:#}");
}

#[test]
fn a_child_that_another_request_deleted_later_comes_back_with_its_index() {
    let (site, app) = Site::start();
    let before = site.seen();
    site.delete(&[&app.index]);
    site.delete(&[&app.amd64]);
    let report = site.restore(&json!({ "imageIds": [{ "imageDigest": app.index }] }));
    assert_eq!((site.seen(), &report["failures"]), (before, &json!([])), "{report:#}");
    // One that nobody wrote down does not.
    site.delete(&[&app.index]);
    site.with_app(|repository| repository.images.retain(|image| image.digest != app.arm64));
    let report = site.restore(&json!({ "imageIds": [{ "imageDigest": app.index }] }));
    let (code, reason) = failure(&report, &app.index);
    assert!(code == "ReferencedImagesNotFound" && reason.contains(&app.arm64), "{reason}");
}

#[test]
fn an_archived_image_is_restored_from_the_archive() {
    let (site, app) = Site::start();
    // A run deletes by its line; the archive has the image all the same.
    site.delete(&[&app.build]);
    site.with_app(|repository| {
        let digest = repository.push("build", &["build"]);
        repository.image_mut(&digest).archived = true;
    });
    let report = site.restore(&json!({ "imageIds": [{ "imageDigest": app.build }] }));
    assert_eq!(report["images"][0]["outcome"], "ACTIVATING", "{report:#}");
    assert!(!site.with_app(|repository| repository.image_mut(&app.build).archived));
    assert_eq!(site.aws.count("PutImage"), 0);
}

#[test]
fn what_the_journal_does_not_have_is_reported_and_not_guessed() {
    let (site, app) = Site::start();
    let missing = format!("sha256:{}", "0".repeat(64));
    let report = site.restore(&json!({ "imageIds": [{ "imageDigest": missing }, { "imageTag": "v9" }] }));
    let codes: Vec<&Value> =
        report["failures"].as_array().unwrap().iter().map(|one| &one["failureCode"]).collect();
    assert_eq!(codes, ["NotInJournal", "NotInJournal"], "{report:#}");
    let answer = site.ask("/restorations/app", &json!({ "runId": "api-other" }));
    assert_eq!((answer.status, &answer.body["type"]), (404, &json!("urn:ecr-steward:problem:run-not-found")));
    // ECR gives no manifest of an archived image, so that the journal has none.
    site.with_app(|repository| repository.image_mut(&app.two).archived = true);
    site.delete(&[&app.two]);
    let report = site.restore(&json!({ "imageIds": [{ "imageDigest": app.two }] }));
    assert_eq!(failure(&report, &app.two).0, "ManifestNotInJournal");
}

#[test]
fn a_manifest_that_is_not_the_one_of_its_digest_is_not_used() {
    let (site, app) = Site::start();
    site.delete(&[&app.two]);
    let keys = site.aws.cloud(|cloud| cloud.keys(BUCKET, "journal/"));
    let path = format!("{BUCKET}/{}", keys.iter().find(|key| is_removals(key)).unwrap());
    let text = site.aws.cloud(|cloud| cloud.object_text(&path)).unwrap();
    let mut line: Value = serde_json::from_str(text.trim()).unwrap();
    line["imageManifest"] =
        line["imageManifest"].as_str().unwrap().replace("schemaVersion", "schemaVersion ").into();
    site.aws.cloud(|cloud| cloud.upload(&path, &line.to_string()));
    site.aws.forget_calls();
    let report = site.restore(&json!({ "imageIds": [{ "imageDigest": app.two }] }));
    assert_eq!(failure(&report, &app.two).0, "ImageDigestDoesNotMatch");
    assert_eq!(site.aws.count("PutImage"), 0);
}

#[test]
fn without_its_repository_nothing_comes_back_and_the_way_out_is_reported() {
    let (site, app) = Site::start();
    site.delete(&[&app.two]);
    site.aws.with(|registry| registry.repositories.remove("app"));
    let report = site.restore(&json!({ "imageIds": [{ "imageDigest": app.two }] }));
    let (code, reason) = failure(&report, &app.two);
    assert!(code == "RepositoryNotFound" && reason.contains("create it"), "{reason}");
}

#[test]
fn an_image_that_was_asked_for_by_its_tag_is_named_by_it_whatever_becomes_of_it() {
    let (site, app) = Site::start();
    let ids = json!({ "imageIds": [{ "imageTag": "one" }, { "imageTag": "two" }] });
    let tags = json!(["one", "two"]);
    let printed = |expected: &str| {
        let output = site.terminal(&["images", "restore", "app:two"]);
        let text = stdout(&output);
        assert!(text.contains(&format!("  two ({}){expected}", app.two)), "{text}");
    };
    // It is there.
    let report = site.restore(&ids);
    assert_eq!(
        (&report["images"][0]["outcome"], &report["images"][0]["requestedTags"]),
        (&json!("UNCHANGED"), &tags)
    );
    printed(" is there");
    // It would be put back, and is.
    site.delete(&[&app.two]);
    printed(", with one, would be put back");
    let report = site.restore(&ids);
    assert_eq!(
        (&report["images"][0]["outcome"], &report["images"][0]["requestedTags"]),
        (&json!("RESTORED"), &tags)
    );
    // It does not come back.
    site.delete(&[&app.two]);
    let manifest = site.journal(is_removals)[0]["imageManifest"].as_str().unwrap().to_owned();
    site.aws.with(|registry| registry.repositories.get_mut("app").unwrap().collect(&manifest));
    let report = site.restore(&ids);
    let failure = &report["failures"][0];
    assert_eq!(
        (&failure["failureCode"], &failure["requestedTags"]),
        (&json!("LayersNotFound"), &tags),
        "{report:#}"
    );
    printed(" does not come back: ECR does not have");
    // By its digest it is named by that, and a tag that was never there as one.
    let report = site.restore(&json!({ "imageIds": [{ "imageDigest": app.two }] }));
    assert_eq!(report["failures"][0]["requestedTags"], Value::Null);
    let text = stdout(&site.terminal(&["images", "restore", "app:nothing"]));
    assert!(text.contains("  the tag nothing does not come back"), "{text}");
    site.aws.with(|registry| registry.repositories.remove("app"));
    printed(" does not come back: there is no repository of this name any more");
}

#[test]
fn who_restored_what_is_in_the_journal_before_and_nothing_is_restored_that_is_not() {
    let (site, app) = Site::start();
    site.delete(&[&app.two]);
    let two = json!({ "imageIds": [{ "imageDigest": app.two }] });
    site.aws.fault_from("PutObject", Fault::Denied, 0);
    let answer = site.ask("/restorations/app", &two);
    assert_eq!((answer.status, site.aws.count("PutImage")), (500, 0), "{}", answer.body);
    site.aws.heal();
    let report = site.restore(&two);
    let lines = site.journal(is_restores);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    assert_eq!((&line["imageDigest"], &line["imageTags"]), (&json!(app.two), &json!(["one", "two"])));
    assert_eq!(line["by"]["principal"], gateway::CALLER);
    assert!(line["restoredFrom"].as_str().unwrap().starts_with("journal/"), "{line}");
    assert_eq!(line["removedByRunId"], site.journal(is_removals)[0]["runId"]);
    let operations = site.aws.operations();
    let at = |operation: &str| operations.iter().rposition(|other| other == operation).unwrap();
    assert!(at("PutObject") < at("PutImage"), "{operations:?}");
    // What it wrote and read is within its role.
    for (action, operation) in [("s3:PutObject", "PutObject"), ("s3:GetObject", "GetObject")] {
        let mut allowed = template::keys("RepositoryApiFunction", action);
        allowed.extend(template::keys("ReadUsagePolicy", action));
        for call in site.aws.calls().iter().filter(|call| call.operation == operation) {
            let key = call.request["key"].as_str().unwrap().replace(&format!("{BUCKET}/"), "");
            assert!(allowed.iter().any(|pattern| template::is_match(pattern, &key)), "{action} {key}");
        }
    }
    assert!(report["journal"].as_str().unwrap().contains("/restore-"), "{report:#}");
}

#[test]
fn where_time_is_up_the_rest_is_named_and_the_same_request_continues() {
    let (mut site, app) = Site::start();
    let before = site.seen();
    site.delete_release(&app);
    site.api = cloud::function(&site.aws, "repository-api", LITTLE);
    site.aws.fault_from("PutImage", Fault::Hang, 2);
    let release = json!({ "imageIds": [{ "imageTag": "v1" }] });
    let report = site.restore(&release);
    let codes: BTreeSet<&str> = report["failures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["failureCode"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["NotAttempted", "OutcomeUnknown"].into(), "{report:#}");
    site.aws.heal();
    site.api = cloud::function(&site.aws, "repository-api", PLENTY);
    let report = site.restore(&release);
    assert_eq!((site.seen(), &report["failures"]), (before, &json!([])), "{report:#}");
}

#[test]
fn what_the_policy_does_with_restored_images_next_is_reported() {
    let (site, app) = Site::start();
    site.delete(&[&app.build, &app.two]);
    // As runs remember them, so that children do not count.
    let children = json!({ &app.index: [&app.amd64, &app.arm64] });
    site.upload("cache/indexes/app.json", &children.to_string());
    let rule = "rules: [{ selection: any, maximumNumberOfImages: 1 }]";
    site.upload(
        POLICIES,
        &format!("policies: [{{ name: all, repositories: ['*'], apply: delete, {rule} }}]\n"),
    );
    let both = json!({ "imageIds": [{ "imageDigest": app.two }, { "imageDigest": app.build }] });
    for report in [site.would_restore(&both), site.restore(&both)] {
        let warnings = report["warnings"].to_string();
        assert!(
            warnings.contains("the policy `all` of policies.yaml expires 1 image of these again"),
            "{warnings}"
        );
        assert!(warnings.contains("`keep`"), "{warnings}");
        assert!(warnings.contains(" instead") && warnings.contains(&app.index), "{warnings}");
    }
    site.upload(POLICIES, "policies: [\n");
    site.with_app(|repository| repository.image_mut(&app.two).tags.clear());
    let report = site.restore(&both);
    assert!(report["warnings"].to_string().contains("policies.yaml is not valid"), "{report:#}");
}

#[test]
fn at_a_terminal_all_that_a_run_deleted_comes_back_and_history_says_who_did_it() {
    let (site, app) = Site::start();
    let before = site.seen();
    site.delete_release(&app);
    let run = site.journal(is_removals)[0]["runId"].as_str().unwrap().to_owned();
    let dry = site.terminal(&["images", "restore", "--run", &run]);
    assert_eq!(dry.status.code(), Some(0), "{}{}", stdout(&dry), stderr(&dry));
    assert!(stdout(&dry).contains("5 images would come back. Add --apply to do it."), "{}", stdout(&dry));
    assert_ne!(site.seen(), before);
    let applied = site.terminal(&["images", "restore", "--run", &run, "--apply"]);
    assert_eq!(applied.status.code(), Some(0), "{}{}", stdout(&applied), stderr(&applied));
    assert!(stdout(&applied).contains("Restored 5 images."), "{}", stdout(&applied));
    assert_eq!(site.seen(), before);
    let history = stdout(&site.terminal(&["history", "app:v1"]));
    assert!(history.contains("the repository has it now"), "{history}");
    assert!(history.contains("\n  restored on ") && history.contains(" by ana at "), "{history}");
    assert!(history.contains("\n  by what was in use at "), "{history}");
    let again = site.terminal(&["images", "restore", "app:v1", "--apply"]);
    assert!(
        stdout(&again).contains("is there") && stdout(&again).contains("Nothing to restore."),
        "{}",
        stdout(&again)
    );
}

#[test]
fn at_a_terminal_what_does_not_come_back_is_exit_code_1_and_a_wrong_name_2() {
    let (site, app) = Site::start();
    let manifest = site.with_app(|repository| repository.image_mut(&app.two).manifest.clone());
    site.delete(&[&app.two]);
    site.with_app(|repository| repository.collect(&manifest));
    let history = stdout(&site.terminal(&["history", "app:two"]));
    assert!(history.contains(&format!("ecr-steward images restore app@{} --apply", app.two)), "{history}");
    let lost = site.terminal(&["images", "restore", "app:two", "--apply"]);
    assert_eq!(lost.status.code(), Some(1), "{}", stdout(&lost));
    assert!(
        stdout(&lost).contains("does not come back: ECR does not have 1 layer any more"),
        "{}",
        stdout(&lost)
    );
    for (arguments, expected) in [
        (&["images", "restore", "app"][..], "names no image"),
        (&["images", "restore", "app", "--run", "a/b"], "no name of a run"),
        (&["images", "restore", "--run", "nobody"], "the journal has nothing that nobody deleted"),
        (
            &["images", "restore", "999999999999.dkr.ecr.eu-west-1.amazonaws.com/app:two"],
            "is of the registry",
        ),
        (&["images", "restore", "app", "--since", "yesterday"], "--since"),
    ] {
        let output = site.terminal(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stdout(&output));
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
    }
    site.aws.fault_from("PutObject", Fault::Denied, 0);
    let denied = site.terminal(&["images", "restore", "app", "--since", "2026-01-01", "--apply"]);
    assert!(stderr(&denied).contains("s3:PutObject"), "{}", stderr(&denied));
}

#[test]
fn every_code_of_what_does_not_come_back_is_described_for_people_and_for_programs() {
    use shared::domain::enforcement::image_restore::NotRestorable;
    let read = |path: &str| std::fs::read_to_string(tests::binaries::workspace().join(path)).unwrap();
    let description: Value = serde_saphyr::from_str(&read("infra/openapi.yaml")).unwrap();
    let report = &description["components"]["schemas"]["RestoreReport"]["properties"];
    let codes = &report["failures"]["items"]["properties"]["failureCode"]["enum"];
    assert_eq!(*codes, json!(NotRestorable::CODES));
    let errors = read("docs/errors.md");
    let (_, section) = errors.split_once("## What does not come back\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(rows.collect::<Vec<_>>(), NotRestorable::CODES);
}

/// The names before the types in a list of columns or of a struct's fields, which are in backticks.
fn names(list: &str, separator: &str) -> BTreeSet<String> {
    let named = list.split(separator).filter_map(|item| item.trim().strip_prefix('`'));
    named.map(|item| item.split_once('`').unwrap().0.to_owned()).collect()
}

/// The fields of JSON that a schema has, in lower case.
fn fields(schema: &Value) -> BTreeSet<String> {
    schema["properties"].as_object().unwrap().keys().map(|name| name.to_lowercase()).collect()
}

#[test]
fn the_table_of_athena_has_the_columns_and_the_days_of_the_journal_and_each_view_its_objects() {
    use regex::Regex;
    use shared::domain::enforcement::journal::{self, Line, PolicyLine, RestoreLine};
    use shared::domain::text::instant::Instant;
    use shared::report::schema::named;
    use shared::workflows::enforcement::restore_policy::JOURNAL_DAYS;

    let sql =
        std::fs::read_to_string(tests::binaries::workspace().join("infra/examples/athena.sql")).unwrap();
    let (_, table) = sql.split_once("ecr_steward_journal (").unwrap();
    let (columns, properties) = table.split_once("\n)\n").unwrap();
    let schemas = ["journal", "journal-policy", "journal-restore"].map(|name| named(name).unwrap().value());
    let mut all: BTreeSet<String> = schemas.iter().flat_map(fields).collect();
    // What earlier versions called the version of the policies file.
    all.insert("bookversion".to_owned());
    assert_eq!(names(columns, ",\n"), all);
    for (column, definition) in [("by", "Actor"), ("action", "ActionTaken")] {
        let (_, inside) = columns.split_once(&format!("`{column}` struct<")).unwrap();
        let inside = names(inside.split_once('>').unwrap().0, ",");
        assert_eq!(inside, fields(&schemas[0]["$defs"][definition]), "{column}");
    }
    let at = Instant::parse("2026-11-06T03:00:00Z").unwrap();
    assert_eq!(journal::day(at), "journal/2026/11/06/", "the format of the partitions");
    for part in [
        "'projection.day.format' = 'yyyy/MM/dd'",
        &format!("'projection.day.range' = 'NOW-{}DAYS,NOW'", JOURNAL_DAYS + 1),
        &format!("'storage.location.template' = 's3://BUCKET/{}${{day}}/'", journal::PREFIX),
    ] {
        assert!(properties.contains(part), "{part}");
    }

    let actor = json!({ "user": "ana" });
    let line: Line = serde_json::from_value(json!({ "runId": "r", "at": at, "registryId": "1", "region": "r", "by": actor,
        "repositoryName": "team/app", "imageDigest": "sha256:a", "imageTags": [], "imagePushedAt": at, "imageSizeInBytes": 1,
        "imageManifest": null, "action": { "type": "EXPIRE" }, "policy": null, "policiesFileVersion": null, "appliedRulePriority": null,
        "reason": "" }))
    .unwrap();
    let replaced: PolicyLine = serde_json::from_value(json!({ "runId": "r", "at": at, "registryId": "1", "region": "r",
        "by": actor, "repositoryName": "team/app", "lifecyclePolicyText": "", "replacedBy": "", "reason": "" }))
    .unwrap();
    let restored: RestoreLine = serde_json::from_value(json!({ "runId": "r", "at": at, "registryId": "1", "region": "r",
        "by": actor, "repositoryName": "team/app", "imageDigest": "sha256:a", "imageTags": [], "removedByRunId": "r",
        "restoredFrom": "k" }))
    .unwrap();
    let folder = journal::folder(at, "policy-r");
    let lines = std::slice::from_ref(&line);
    let keys = [
        journal::entry(&folder, "team/app", lines).unwrap().0,
        journal::restore_entry(&folder, "team/app", &[restored]).unwrap().0,
        journal::policy_entry(&folder, &replaced).unwrap().0,
        journal::plan_entry(&folder, "team/app", lines).unwrap().0,
    ];
    let patterns: Vec<Regex> = sql
        .match_indices("regexp_like(\"$path\", '")
        .map(|(at, start)| Regex::new(sql[at + start.len()..].split_once('\'').unwrap().0).unwrap())
        .collect();
    assert_eq!(patterns.len(), 3);
    for (number, pattern) in patterns.iter().enumerate() {
        let matched: Vec<usize> = (0..keys.len()).filter(|&key| pattern.is_match(&keys[key])).collect();
        assert_eq!(matched, [number], "{pattern}");
    }
}
