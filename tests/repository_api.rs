//! The function repository-api as a real process, with ECR in memory.

use std::time::Duration;

use serde_json::{Value, json};
use tests::cloud::{self, BUCKET};
use tests::ecr_stub::{EcrStub, Fault, KEY, OPERATIONS, Repository};
use tests::gateway;
use tests::http::Request;
use tests::runtime_api::Function;

/// Time for an event: enough for every retry that helps.
const PLENTY: Duration = Duration::from_secs(29);
/// Time for an event that cannot be done anyway.
const LITTLE: Duration = Duration::from_millis(2500);

struct Api {
    ecr: EcrStub,
    function: Function,
}

struct Answer {
    status: u16,
    headers: Value,
    body: Value,
}

impl Api {
    fn start(time: Duration) -> Self {
        let ecr = EcrStub::start();
        // A registry in which a day's limit is no matter here.
        ecr.cloud(|cloud| cloud.upload(&format!("{BUCKET}/state/registry.json"), r#"{"images":1000000}"#));
        let function = cloud::function(&ecr, "repository-api", time);
        Self { ecr, function }
    }

    fn ask(&self, method: &str, target: &str, body: &Value) -> Answer {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request =
            Request { method: method.to_owned(), target: target.to_owned(), body, ..Request::default() };
        let answer = self.function.invoke(gateway::event(&request).to_string()).response();
        let body = match answer["body"].as_str() {
            None => Value::Null,
            Some(body) => serde_json::from_str(body).unwrap(),
        };
        Answer {
            status: u16::try_from(answer["statusCode"].as_u64().unwrap()).unwrap(),
            headers: answer["headers"].clone(),
            body,
        }
    }

    fn create(&self, wish: &Value) -> Answer {
        self.ask("POST", "/repositories", wish)
    }

    fn repository(&self, name: &str) -> Repository {
        self.ecr.with(|registry| registry.repositories[name].clone())
    }

    /// Makes a repository with images in it, and forgets the calls that it took.
    fn with_images(self, push: impl FnOnce(&mut Repository)) -> Self {
        assert_eq!(self.create(&json!({ "repositoryName": "app" })).status, 201);
        self.ecr.with(|registry| push(registry.repositories.get_mut("app").unwrap()));
        self.ecr.forget_calls();
        self
    }
}

impl Answer {
    /// Asserts that this is a problem of a kind; gives its detail.
    #[track_caller]
    fn problem(&self, status: u16, kind: &str) -> String {
        let detail = self.body["detail"].as_str().unwrap_or_default().to_owned();
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["type"], format!("urn:ecr-steward:problem:{kind}"), "{detail}");
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert!(!self.body["title"].as_str().unwrap().is_empty() && !detail.is_empty());
        detail
    }
}

#[test]
fn a_repository_takes_a_name_and_three_calls() {
    let api = Api::start(PLENTY);
    let created = api.create(&json!({ "repositoryName": "team/app" }));
    assert_eq!(created.status, 201, "{}", created.body);
    assert_eq!(created.headers["location"], "/repositories/team%2Fapp");
    assert_eq!(api.ecr.operations(), ["CreateRepository", "PutLifecyclePolicy", "UntagResource"]);
    let repository = &created.body["repository"];
    let uri = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app";
    assert_eq!(repository["repositoryUri"], uri);
    assert_eq!(created.body["commands"]["push"], format!("docker push {uri}:TAG"));
    let found = api.ask("GET", created.headers["location"].as_str().unwrap(), &Value::Null);
    assert_eq!(found.body, created.body);
    let made = api.repository("team/app");
    assert!(made.lifecycle_policy.unwrap().contains("remove untagged images"));
    assert!(made.tags.is_empty() && made.policy.is_none());
    assert_eq!(made.described["imageTagMutability"], "MUTABLE");
    assert_eq!(made.described["encryptionConfiguration"]["encryptionType"], "AES256");
}

#[test]
fn the_same_wish_again_is_the_same_repository_untouched() {
    let api = Api::start(PLENTY);
    let wish = json!({
        "repositoryName": "app", "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
        "imageTagMutabilityExclusionFilters": [{ "filterType": "WILDCARD", "filter": "latest" }],
        "imageScanningConfiguration": { "scanOnPush": true },
        "encryptionConfiguration": { "encryptionType": "KMS", "kmsKey": KEY },
        "tags": [{ "Key": "team", "Value": "shop" }],
        "lifecyclePolicy": { "rules": [{ "selection": "any", "maximumNumberOfImages": 30 }] },
        "pullAccess": { "accountIds": ["111111111111"], "lambda": true },
    });
    let created = api.create(&wish);
    assert_eq!(created.status, 201, "{}", created.body);
    let before = api.ecr.snapshot();
    assert_eq!(before["app"].tags.len(), 1);
    let again = api.create(&wish);
    assert_eq!(again.status, 200, "{}", again.body);
    let text = |answer: &Answer, field: &str| -> Value {
        serde_json::from_str(answer.body["repository"][field].as_str().unwrap()).unwrap()
    };
    assert_eq!(text(&again, "repositoryPolicyText"), text(&created, "repositoryPolicyText"));
    for field in ["repositoryUri", "tags", "lifecyclePolicyText", "imageTagMutabilityExclusionFilters"] {
        assert_eq!(again.body["repository"][field], created.body["repository"][field], "{field}");
    }
    assert_eq!(api.ecr.snapshot(), before);
}

#[test]
fn a_repository_that_exists_otherwise_is_told_and_left() {
    let api = Api::start(PLENTY);
    api.create(&json!({ "repositoryName": "app", "tags": [{ "Key": "a", "Value": "1" }] }));
    let before = api.ecr.snapshot();
    let other = json!({
        "repositoryName": "app", "imageTagMutability": "IMMUTABLE", "lifecyclePolicy": { "skip": true },
        "encryptionConfiguration": { "encryptionType": "KMS" },
    });
    let detail = api.create(&other).problem(409, "repository-exists");
    for part in ["encrypted with AES256", "lifecycle policy", "MUTABLE and not IMMUTABLE", "1 tag differ"] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    assert_eq!(api.ecr.snapshot(), before);
}

#[test]
fn an_update_changes_what_differs_and_says_so() {
    let api = Api::start(PLENTY);
    api.create(&json!({ "repositoryName": "app", "tags": [{ "Key": "a", "Value": "1" }, { "Key": "b", "Value": "2" }] }));
    api.ecr.forget_calls();
    let wish = json!({
        "imageScanningConfiguration": { "scanOnPush": true },
        "tags": [{ "Key": "b", "Value": "3" }, { "Key": "c", "Value": "4" }],
    });
    let updated = api.ask("PUT", "/repositories/app", &wish);
    assert_eq!(updated.status, 200, "{}", updated.body);
    let changes = updated.body["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 2);
    assert_eq!(
        changes[0],
        json!({
            "field": "imageScanningConfiguration", "from": { "scanOnPush": false }, "to": { "scanOnPush": true },
        })
    );
    assert_eq!(changes[1]["from"], json!([{ "Key": "a", "Value": "1" }, { "Key": "b", "Value": "2" }]));
    let mut operations = api.ecr.operations();
    operations.retain(|name| {
        !name.starts_with("Get") && !name.starts_with("List") && !name.starts_with("Describe")
    });
    assert_eq!(operations, ["PutImageScanningConfiguration", "TagResource", "UntagResource"]);
    let tags = api.repository("app").tags;
    assert_eq!(tags.into_iter().collect::<Vec<_>>(), [("b".into(), "3".into()), ("c".into(), "4".into())]);

    api.ecr.forget_calls();
    let again = api.ask("PUT", "/repositories/app", &wish);
    assert_eq!(again.body["changes"], json!([]));
    assert!(!api.ecr.operations().iter().any(|name| name.starts_with("Put") || name.starts_with("Tag")));
    let shown = api.ask("GET", "/repositories/app", &Value::Null);
    assert_eq!(shown.body["repository"], again.body["repository"]);
}

#[test]
fn policies_come_and_go() {
    let api = Api::start(PLENTY);
    api.create(&json!({ "repositoryName": "app", "pullAccess": { "organizationId": "o-abcdefghij" } }));
    assert!(api.repository("app").policy.unwrap().contains("aws:PrincipalOrgID"));
    let none = json!({ "lifecyclePolicy": { "skip": true } });
    assert_eq!(api.ask("PUT", "/repositories/app", &none).status, 200);
    let bare = api.repository("app");
    assert_eq!((bare.lifecycle_policy, bare.policy), (None, None));
    let literal = json!({ "repositoryPolicyText": { "Version": "2012-10-17", "Statement": [] } });
    assert_eq!(api.ask("PUT", "/repositories/app", &literal).status, 200);
    assert!(api.repository("app").lifecycle_policy.unwrap().contains("remove untagged images"));
    assert!(api.repository("app").policy.is_some());
}

#[test]
fn the_statement_that_lambda_wrote_itself_stays() {
    let api = Api::start(PLENTY);
    api.create(&json!({ "repositoryName": "app" }));
    let own = json!({ "Version": "2008-10-17", "Statement": [{
        "Sid": "LambdaECRImageRetrievalPolicy", "Effect": "Allow", "Principal": { "Service": "lambda.amazonaws.com" },
        "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
    }] });
    api.ecr.with(|registry| registry.repositories.get_mut("app").unwrap().policy = Some(own.to_string()));
    let wish = json!({ "pullAccess": { "accountIds": ["111111111111"] } });
    assert_eq!(api.ask("PUT", "/repositories/app", &wish).status, 200);
    let policy = api.repository("app").policy.unwrap();
    assert!(policy.contains("LambdaECRImageRetrievalPolicy") && policy.contains("111111111111"), "{policy}");
}

#[test]
fn what_ecr_refuses_leaves_nothing_behind() {
    let api = Api::start(PLENTY);
    api.create(&json!({ "repositoryName": "app", "tags": [{ "Key": "a", "Value": "1" }] }));
    let before = api.ecr.snapshot();
    let key = json!({ "encryptionType": "KMS", "kmsKey": "99999999-0000-0000-0000-000000000000" });
    let detail = api.create(&json!({ "repositoryName": "new", "encryptionConfiguration": key }));
    let detail = detail.problem(400, "kms-key-unusable");
    assert!(detail.contains("does not exist") && detail.contains("write the ARN or id"), "{detail}");

    // ECR looks at principals only when the policy is set, which is after the creation.
    let access = json!({ "accountIds": ["999999999999"] });
    let refused = api.create(&json!({ "repositoryName": "new", "pullAccess": access }));
    let detail = refused.problem(400, "refused");
    assert!(detail.contains("Principal not found") && detail.contains("nothing was changed"), "{detail}");
    api.ask(
        "PUT",
        "/repositories/app",
        &json!({ "pullAccess": access, "lifecyclePolicy": { "skip": true } }),
    )
    .problem(400, "refused");
    let encryption = json!({ "encryptionConfiguration": { "encryptionType": "KMS" } });
    let detail = api.ask("PUT", "/repositories/app", &encryption).problem(409, "encryption-fixed");
    assert!(detail.contains("encrypted with AES256 and not with KMS"), "{detail}");

    api.ecr.with(|registry| registry.quota = 1);
    api.create(&json!({ "repositoryName": "new" })).problem(409, "limit-exceeded");
    assert_eq!(api.ecr.snapshot(), before);
}

#[test]
fn what_is_not_there_is_not_found() {
    let api = Api::start(PLENTY);
    for (method, target, body) in [
        ("GET", "/repositories/app", Value::Null),
        ("PUT", "/repositories/app", json!({})),
        ("DELETE", "/repositories/app", Value::Null),
        ("POST", "/images/delete", json!({ "repositoryName": "app", "imageIds": [{ "imageTag": "a" }] })),
    ] {
        let detail = api.ask(method, target, &body).problem(404, "repository-not-found");
        assert!(detail.contains("there is no repository app"), "{method} {target}: {detail}");
    }
}

#[test]
fn bad_requests_make_no_call_at_all() {
    let api = Api::start(PLENTY);
    for (method, target, body) in [
        ("POST", "/repositories", json!({ "repositoryName": "App" })),
        ("POST", "/repositories", json!({ "repositoryName": "app", "imageTagMutabilty": "MUTABLE" })),
        (
            "POST",
            "/repositories",
            json!({ "repositoryName": "app", "lifecyclePolicy": { "rules": [{ "selection": "any" }, { "maximumAgeLimit": 0 }] } }),
        ),
        ("POST", "/repositories", Value::Null),
        ("PUT", "/repositories/app", json!([])),
        ("DELETE", "/repositories/app?force=1", Value::Null),
        ("POST", "/images/delete", json!({ "repositoryName": "app", "imageIds": [] })),
    ] {
        let answer = api.ask(method, target, &body);
        answer.problem(400, "invalid-request");
        if target == "/repositories" && body["lifecyclePolicy"].is_object() {
            assert_eq!(answer.body["findings"].as_array().unwrap().len(), 3, "each finding: {}", answer.body);
        }
    }
    assert!(api.ecr.calls().is_empty());
}

#[test]
fn passing_trouble_is_waited_out() {
    for fault in [Fault::Throttled, Fault::ServerError, Fault::Unavailable, Fault::Cut] {
        let api = Api::start(PLENTY);
        for operation in ["CreateRepository", "PutLifecyclePolicy", "UntagResource"] {
            api.ecr.fault(operation, fault.clone(), 2);
        }
        let created = api.create(&json!({ "repositoryName": "app" }));
        assert_eq!(created.status, 201, "{fault:?}: {}", created.body);
        let made = api.repository("app");
        assert!(made.tags.is_empty() && made.lifecycle_policy.is_some(), "{fault:?}");
    }
}

#[test]
fn a_lost_answer_to_the_creation_is_no_conflict() {
    let api = Api::start(PLENTY);
    api.ecr.fault("CreateRepository", Fault::AfterEffect(Box::new(Fault::Cut)), 1);
    let wish = json!({ "repositoryName": "app", "pullAccess": { "lambda": true } });
    let created = api.create(&wish);
    assert_eq!(created.status, 201, "{}", created.body);
    let made = api.repository("app");
    assert!(made.tags.is_empty() && made.lifecycle_policy.is_some() && made.policy.is_some());
}

#[test]
fn a_creation_that_was_killed_is_completed_by_the_next_request() {
    let api = Api::start(PLENTY);
    let wish = json!({ "repositoryName": "app", "tags": [{ "Key": "a", "Value": "1" }] });
    api.create(&wish);
    api.ecr.with(|registry| {
        let repository = registry.repositories.get_mut("app").unwrap();
        repository.lifecycle_policy = None;
        repository.tags.insert("ecr-steward:incomplete".to_owned(), "another-request".to_owned());
    });
    let completed = api.create(&wish);
    assert_eq!(completed.status, 201, "{}", completed.body);
    let made = api.repository("app");
    assert!(made.lifecycle_policy.is_some() && made.tags.len() == 1, "{made:?}");
}

/// Every call of every route goes wrong in one way, which has to be a problem in time and change nothing.
fn lasting(fault: &Fault, status: u16, kind: &str) {
    let api = Api::start(LITTLE);
    api.create(&json!({ "repositoryName": "app" }));
    let before = api.ecr.snapshot();
    for (operation, method, target, body) in [
        ("CreateRepository", "POST", "/repositories", json!({ "repositoryName": "new" })),
        ("PutLifecyclePolicy", "POST", "/repositories", json!({ "repositoryName": "new" })),
        ("DescribeRepositories", "GET", "/repositories/app", Value::Null),
        (
            "PutImageTagMutability",
            "PUT",
            "/repositories/app",
            json!({
                "imageTagMutability": "IMMUTABLE", "pullAccess": { "lambda": true }, "lifecyclePolicy": { "skip": true },
            }),
        ),
        ("DeleteRepository", "DELETE", "/repositories/app", Value::Null),
    ] {
        api.ecr.fault_from(operation, fault.clone(), 0);
        let answer = api.ask(method, target, &body);
        let detail = answer.problem(status, kind);
        assert!(detail.contains(operation) || detail.contains("held back"), "{operation}: {detail}");
        if kind == "throttled" {
            assert_eq!(answer.headers["retry-after"], "30");
        }
        api.ecr.heal();
        // What no answer came to may still have had its effect: ECR is asked, and it is taken back.
        assert_eq!(api.ecr.snapshot(), before, "{fault:?} {operation}: {detail}");
    }
}

#[test]
fn throttled_until_the_deadline_is_a_problem_and_changes_nothing() {
    lasting(&Fault::Throttled, 503, "throttled");
}

#[test]
fn errors_of_ecr_until_the_deadline_are_a_problem_and_change_nothing() {
    lasting(&Fault::ServerError, 502, "aws-unavailable");
}

#[test]
fn pages_instead_of_answers_are_a_problem_and_change_nothing() {
    lasting(&Fault::Unavailable, 502, "aws-unavailable");
}

#[test]
fn no_answer_is_a_problem_in_time_and_changes_nothing() {
    lasting(&Fault::Hang, 504, "aws-timed-out");
}

#[test]
fn a_missing_permission_is_a_problem_and_changes_nothing() {
    lasting(&Fault::Denied, 500, "not-permitted");
}

#[test]
fn effects_without_an_answer_are_taken_back() {
    let api = Api::start(LITTLE);
    api.create(&json!({ "repositoryName": "app" }));
    let before = api.ecr.snapshot();
    let wish = json!({ "repositoryName": "new", "tags": [{ "Key": "a", "Value": "1" }] });
    for operation in ["CreateRepository", "PutLifecyclePolicy"] {
        api.ecr.fault_from(operation, Fault::AfterEffect(Box::new(Fault::ServerError)), 0);
        api.create(&wish).problem(502, "aws-unavailable");
        api.ecr.heal();
        assert_eq!(api.ecr.snapshot(), before, "{operation}");
    }
    // Throttled first, so that this is what the problem tells; the attempt after it has its effect and no answer.
    api.ecr.fault("CreateRepository", Fault::Throttled, 1);
    api.ecr.fault_from("CreateRepository", Fault::AfterEffect(Box::new(Fault::Hang)), 0);
    let detail = api.create(&wish).problem(503, "throttled");
    api.ecr.heal();
    assert_eq!(api.ecr.snapshot(), before, "{detail}");
    // The last call: with its effect the repository is what was asked for.
    api.ecr.fault_from("UntagResource", Fault::AfterEffect(Box::new(Fault::ServerError)), 0);
    let created = api.create(&wish);
    assert_eq!(created.status, 201, "{}", created.body);
    assert_eq!(api.repository("new").tags.len(), 1);
    api.ecr.heal();
    let before = api.ecr.snapshot();
    api.ecr.fault_from("TagResource", Fault::AfterEffect(Box::new(Fault::Hang)), 0);
    let wish = json!({ "tags": [{ "Key": "a", "Value": "2" }], "imageTagMutability": "IMMUTABLE" });
    api.ask("PUT", "/repositories/app", &wish).problem(504, "aws-timed-out");
    assert_eq!(api.ecr.snapshot(), before);
}

#[test]
fn what_cannot_be_taken_back_is_said() {
    let api = Api::start(LITTLE);
    api.ecr.fault_from("PutLifecyclePolicy", Fault::Denied, 0);
    api.ecr.fault_from("DeleteRepository", Fault::Denied, 0);
    let detail = api.create(&json!({ "repositoryName": "app" })).problem(500, "not-permitted");
    assert!(
        detail.contains("could not be deleted again") && detail.contains("ask for it once more"),
        "{detail}"
    );
    api.ecr.heal();
    let completed = api.create(&json!({ "repositoryName": "app" }));
    assert_eq!(completed.status, 201, "{}", completed.body);
    assert!(api.repository("app").tags.is_empty());
}

#[test]
fn a_repository_with_images_is_deleted_only_by_force() {
    let api = Api::start(PLENTY).with_images(|app| {
        for number in 0..1200 {
            app.push(&number.to_string(), &[]);
        }
        app.push("tagged", &["a", "b"]);
        app.images[0].archived = true;
    });
    let before = api.ecr.snapshot();
    let detail = api.ask("DELETE", "/repositories/app", &Value::Null).problem(409, "repository-not-empty");
    assert!(detail.contains("1,201 images") || detail.contains("1201 images"), "{detail}");
    assert_eq!(api.ecr.snapshot(), before);
    assert_eq!(api.ask("DELETE", "/repositories/app?force=true", &Value::Null).status, 204);
    assert!(api.ecr.snapshot().is_empty());
}

#[test]
fn images_are_deleted_by_hundreds_and_indexes_before_their_children() {
    let mut ids = Vec::new();
    let api = Api::start(PLENTY).with_images(|app| {
        for number in 0..120 {
            let children = ["amd64", "arm64"].map(|platform| app.push(&format!("{platform}-{number}"), &[]));
            let index = app.push_index(&children.each_ref().map(String::as_str), &[&format!("v{number}")]);
            // The worst order there is.
            ids.extend(children.map(|digest| json!({ "imageDigest": digest })));
            ids.push(if number % 2 == 0 {
                json!({ "imageDigest": index })
            } else {
                json!({ "imageTag": format!("v{number}") })
            });
        }
        app.push("stays", &["stays"]);
    });
    let answer = api.ask("POST", "/images/delete", &json!({ "repositoryName": "app", "imageIds": ids }));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body["failures"], json!([]));
    assert_eq!(answer.body["imageIds"].as_array().unwrap().len(), 360);
    assert_eq!(api.repository("app").images.len(), 1);
    // 360 manifests to know what is an index; 120 indexes in two calls, 240 children in three.
    assert_eq!(api.ecr.count("BatchGetImage"), 4);
    assert_eq!(api.ecr.count("BatchDeleteImage"), 5);
}

#[test]
fn each_image_has_its_outcome() {
    let mut digests = Vec::new();
    let api = Api::start(PLENTY).with_images(|app| {
        let child = app.push("child", &[]);
        app.push_index(&[&child], &["index"]);
        digests = vec![child, app.push("broken", &["broken"]), app.push("two", &["one", "two"])];
    });
    api.ecr.fault_from("BatchDeleteImage", Fault::ForImages("broken"), 0);
    let missing = format!("sha256:{}", "0".repeat(64));
    let ids = json!([
        { "imageDigest": digests[0] }, { "imageTag": "broken" }, { "imageTag": "one" }, { "imageDigest": missing },
    ]);
    let answer = api.ask("POST", "/images/delete", &json!({ "repositoryName": "app", "imageIds": ids }));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["imageIds"], json!([{ "imageDigest": digests[2], "imageTag": "one" }]));
    let failures: Vec<(&Value, &Value)> = answer.body["failures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|failure| (&failure["imageId"], &failure["failureCode"]))
        .collect();
    assert_eq!(
        failures,
        [
            (&ids[0], &json!("ImageReferencedByManifestList")),
            (&ids[1], &json!("KmsError")),
            (&ids[3], &json!("ImageNotFound")),
        ]
    );
    assert!(
        api.repository("app").images.iter().any(|image| image.tags.contains("two")),
        "it has another tag"
    );
}

#[test]
fn images_that_were_not_got_to_are_told() {
    let mut ids = Vec::new();
    let api = Api::start(LITTLE).with_images(|app| {
        ids = (0..250).map(|number| json!({ "imageDigest": app.push(&number.to_string(), &[]) })).collect();
    });
    api.ecr.fault_from("BatchDeleteImage", Fault::Throttled, 1);
    let answer = api.ask("POST", "/images/delete", &json!({ "repositoryName": "app", "imageIds": ids }));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["imageIds"].as_array().unwrap().len(), 100);
    let failures = answer.body["failures"].as_array().unwrap();
    assert_eq!(failures.len(), 150);
    assert!(failures.iter().all(|failure| failure["failureCode"] == "NotAttempted"), "{}", failures[0]);
    assert!(failures[0]["failureReason"].as_str().unwrap().contains("throttles"), "{}", failures[0]);
    assert_eq!(api.repository("app").images.len(), 150);

    api.ecr.heal();
    api.ecr.fault_from("BatchDeleteImage", Fault::Hang, 0);
    let answer =
        api.ask("POST", "/images/delete", &json!({ "repositoryName": "app", "imageIds": ids[100..] }));
    let codes: Vec<&Value> =
        answer.body["failures"].as_array().unwrap().iter().map(|failure| &failure["failureCode"]).collect();
    assert_eq!(codes.iter().filter(|code| **code == "OutcomeUnknown").count(), 100, "{}", answer.body);
    assert_eq!(codes.iter().filter(|code| **code == "NotAttempted").count(), 50);
}

#[test]
fn repositories_are_listed_page_by_page() {
    let api = Api::start(PLENTY);
    for number in 0..5 {
        api.create(&json!({ "repositoryName": format!("team/app-{number}") }));
    }
    let mut names = Vec::new();
    let mut target = "/repositories?maxResults=2".to_owned();
    let mut pages = 0;
    loop {
        let page = api.ask("GET", &target, &Value::Null);
        assert_eq!(page.status, 200, "{}", page.body);
        pages += 1;
        let repositories = page.body["repositories"].as_array().unwrap();
        names.extend(repositories.iter().map(|r| r["repositoryName"].as_str().unwrap().to_owned()));
        match page.body["nextToken"].as_str() {
            Some(token) => target = format!("/repositories?maxResults=2&nextToken={token}"),
            None => break,
        }
    }
    assert_eq!(pages, 3);
    assert_eq!(names, (0..5).map(|number| format!("team/app-{number}")).collect::<Vec<_>>());
    api.ask("GET", "/repositories?nextToken=stale", &Value::Null).problem(400, "refused");
}

#[test]
fn the_role_allows_what_the_function_does_and_nothing_else() {
    let api = Api::start(PLENTY);
    let everything = json!({
        "repositoryName": "app", "pullAccess": { "lambda": true }, "imageTagMutability": "IMMUTABLE",
        "imageScanningConfiguration": { "scanOnPush": true }, "tags": [{ "Key": "a", "Value": "1" }],
    });
    let nothing = json!({ "lifecyclePolicy": { "skip": true } });
    assert_eq!(api.create(&json!({ "repositoryName": "app" })).status, 201);
    for wish in [&everything, &nothing, &everything] {
        assert_eq!(api.ask("PUT", "/repositories/app", wish).status, 200);
    }
    assert_eq!(api.ask("GET", "/repositories", &Value::Null).status, 200);
    let ids = api.ecr.with(|registry| {
        let app = registry.repositories.get_mut("app").unwrap();
        ["one", "two", "three"].map(|content| json!({ "imageDigest": app.push(content, &[]) }))
    });
    api.ask("DELETE", "/repositories/app", &Value::Null).problem(409, "repository-not-empty");
    let deleted = api.ask("POST", "/images/delete", &json!({ "repositoryName": "app", "imageIds": ids }));
    assert_eq!(deleted.body["failures"], json!([]));
    assert_eq!(api.ask("DELETE", "/repositories/app", &Value::Null).status, 204);
    let done: std::collections::BTreeSet<String> = api
        .ecr
        .calls()
        .into_iter()
        .map(|call| call.operation)
        .filter(|operation| OPERATIONS.contains(&operation.as_str()))
        .collect();
    assert_eq!(done, tests::template::ecr_actions("RepositoryApiFunction"));
}

#[test]
fn the_sample_event_creates_a_repository() {
    let api = Api::start(PLENTY);
    let event =
        std::fs::read_to_string(tests::binaries::workspace().join("tests/events/repository-api.json"))
            .unwrap();
    let answer = api.function.invoke(event).response();
    assert_eq!(answer["statusCode"], 201, "{answer}");
    assert!(api.repository("team/app").lifecycle_policy.is_some());
}
