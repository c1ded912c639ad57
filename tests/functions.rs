//! The Lambda functions as real processes behind a Lambda Runtime API.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tests::binaries::{binary, fixture, workspace};
use tests::cloud;
use tests::ecr_stub::{EcrStub, Fault, OPERATIONS, Repository};
use tests::runtime_api::Function;
use tests::template;

const NOW: &str = "2026-11-23T00:00:00Z";

/// What the command line prints for the same input.
fn command_line(policy: &str, images: &str, more: &[&str]) -> Value {
    let output = Command::new(binary("ecr-steward"))
        .args(["preview", "--output", "json", "--now", NOW, "--policy"])
        .arg(fixture(policy))
        .arg("--images")
        .arg(fixture(images))
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The JSON values that a file holds one after another, as one object.
fn merged(images: &str) -> serde_json::Map<String, Value> {
    let text = fs::read_to_string(fixture(images)).unwrap();
    let mut request = serde_json::Map::new();
    for value in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
        for (key, value) in value.unwrap().as_object().unwrap() {
            match (request.get_mut(key).and_then(Value::as_array_mut), value) {
                (Some(list), Value::Array(more)) => list.extend(more.iter().cloned()),
                _ => {
                    request.insert(key.clone(), value.clone());
                }
            }
        }
    }
    request.remove("failures");
    request.remove("nextToken");
    request
}

fn request(policy: &str, images: &str) -> serde_json::Map<String, Value> {
    let mut request = merged(images);
    request.insert("lifecyclePolicyText".into(), fs::read_to_string(fixture(policy)).unwrap().into());
    request.insert("evaluatedAt".into(), NOW.into());
    request
}

#[test]
fn lifecycle_preview_answers_what_the_command_line_prints() {
    let function = Function::start(binary("lifecycle-preview"));
    let (policy, images) = ("storefront/policy.yaml", "storefront/images.json");
    let mut request = request(policy, images);
    let answer = function.invoke(Value::from(request.clone()).to_string()).response();
    assert!(!answer["previewResults"].as_array().unwrap().is_empty());
    assert_eq!(answer, command_line(policy, images, &[]));

    // The same process answers again, now with every option.
    let in_use = fixture("storefront/in-use.json");
    request.insert("inUse".into(), serde_json::from_str(&fs::read_to_string(&in_use).unwrap()).unwrap());
    request.insert("allPasses".into(), true.into());
    let answer = function.invoke(Value::from(request).to_string()).response();
    let options = ["--all-passes", "--in-use", in_use.to_str().unwrap()];
    assert_eq!(answer, command_line(policy, images, &options));
}

#[test]
fn lifecycle_preview_answers_for_several_repositories_at_once() {
    let function = Function::start(binary("lifecycle-preview"));
    let (policy, images) = ("storefront/policy.yaml", "listings/two-repositories.json");
    let answer = function.invoke(Value::from(request(policy, images)).to_string()).response();
    assert_eq!(answer.as_array().unwrap().len(), 2);
    assert_eq!(answer, command_line(policy, images, &[]));
}

#[test]
fn lifecycle_preview_accepts_a_policy_as_an_object_and_names_an_empty_repository() {
    let function = Function::start(binary("lifecycle-preview"));
    let request = json!({
        "repositoryName": "team/app", "registryId": "123456789012", "lifecyclePolicy": {}, "imageDetails": [],
        "evaluatedAt": NOW,
    });
    let answer = function.invoke(request.to_string()).response();
    assert_eq!(answer["repositoryName"], "team/app");
    assert_eq!(answer["summary"]["expiringImageTotalCount"], 0);
    assert!(answer["lifecyclePolicyText"].as_str().unwrap().contains("remove untagged images"));
}

#[test]
fn lifecycle_preview_answers_the_sample_event() {
    let function = Function::start(binary("lifecycle-preview"));
    let event = fs::read_to_string(workspace().join("tests/events/lifecycle-preview.json")).unwrap();
    let answer = function.invoke(event).response();
    let results = answer["previewResults"].as_array().unwrap();
    assert_eq!(results.len(), 1);
    assert_eq!(results[0]["reason"], "Pushed 52 days ago; rule 2 expires images older than 14 days.");
    let kept_by: Vec<&str> =
        answer["kept"].as_array().unwrap().iter().map(|image| image["keptBy"].as_str().unwrap()).collect();
    assert_eq!(kept_by, ["no rule", "in use", "rule 1"]);
}

#[test]
fn lifecycle_preview_refuses_bad_requests_and_says_everything_that_is_wrong() {
    let function = Function::start(binary("lifecycle-preview"));
    for (request, kind, message) in [
        (json!({}), "InvalidRequest", "exactly one of `lifecyclePolicyText`"),
        (json!({"lifecyclePolicy": {}}), "InvalidRequest", "no `imageDetails`"),
        (json!({"lifecyclePolicies": {}}), "InvalidRequest", "`lifecyclePolicies` is not a field here"),
        (
            json!({"lifecyclePolicy": {}, "imageDetails": [{"imageDigest": format!("sha256:{}", "1".repeat(64))}]}),
            "InvalidRequest",
            "/imageDetails/0: `imagePushedAt` is missing",
        ),
        (
            json!({"lifecyclePolicy": {}, "imageDetails": [], "inUse": ["a b"]}),
            "InvalidRequest",
            "inUse: /0: `a b` is not an image reference",
        ),
        (
            json!({"lifecyclePolicy": {"rules": [{"selection": "any"}, {"maximumAgeLimit": 1}]}, "imageDetails": []}),
            "InvalidLifecyclePolicy",
            "/rules/0: limit-missing: ",
        ),
        (
            json!({"lifecyclePolicy": {"rules": [{"selection": "any"}, {"maximumAgeLimit": 1}]}, "imageDetails": []}),
            "InvalidLifecyclePolicy",
            "/rules/1: selection-missing: ",
        ),
    ] {
        let (error_type, error_message) = function.invoke(request.to_string()).error();
        assert_eq!(error_type, kind, "{request}");
        assert!(error_message.contains(message), "{request}: {error_message}");
    }
    // It is none the worse for it.
    let good = json!({"lifecyclePolicy": {}, "imageDetails": [], "evaluatedAt": NOW});
    assert_eq!(function.invoke(good.to_string()).response()["status"], "COMPLETE");
}

/// A request through the gateway.
fn ask(function: &Function, method: &str, body: &Value) -> (u64, Value) {
    let request = tests::http::Request {
        method: method.to_owned(),
        target: "/previews".to_owned(),
        body: body.to_string().into_bytes(),
        ..Default::default()
    };
    let answer = function.invoke(tests::gateway::event(&request).to_string()).response();
    let body = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    (answer["statusCode"].as_u64().unwrap(), body)
}

#[test]
fn a_preview_over_http_is_that_of_a_direct_invocation() {
    let function = Function::start(binary("lifecycle-preview"));
    let event = fs::read_to_string(workspace().join("tests/events/lifecycle-preview.json")).unwrap();
    let expected = function.invoke(event.clone()).response();
    assert_eq!(ask(&function, "POST", &serde_json::from_str(&event).unwrap()), (200, expected));
    let rules = json!({ "rules": [{}] });
    for (field, policy) in
        [("lifecyclePolicy", rules.clone()), ("lifecyclePolicyText", rules.to_string().into())]
    {
        let (status, problem) = ask(&function, "POST", &json!({ field: policy, "imageDetails": [] }));
        assert_eq!((status, &problem["type"]), (400, &json!("urn:ecr-steward:problem:invalid-request")));
        let findings = problem["findings"].as_array().unwrap().iter();
        let place = format!("/{field}/rules/0");
        let is_there = |finding: &Value| finding["pointer"].as_str().unwrap().starts_with(&place);
        assert!(findings.len() > 1 && findings.clone().all(is_there), "places in the request: {problem:#}");
    }
    assert_eq!(ask(&function, "GET", &json!({})).0, 405);
}

#[test]
fn a_repository_is_previewed_as_it_is_with_its_own_policy_and_what_is_in_use() {
    let aws = EcrStub::start();
    let [old, used] = aws.with(|registry| {
        let mut app = Repository::default();
        let digests = ["old", "used"].map(|tag| {
            let digest = app.push(tag, &[tag]);
            app.age(&digest, 30.0);
            digest
        });
        app.lifecycle_policy = Some(
            r#"{"rules":[{"rulePriority":1,"selection":{"tagStatus":"any","countType":
            "sinceImagePushed","countUnit":"days","countNumber":14},"action":{"type":"expire"}}]}"#
                .to_owned(),
        );
        registry.repositories.insert("app".to_owned(), app);
        digests
    });
    aws.cloud(|cloud| {
        let definition =
            cloud.ecs.register("web", &["123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:used"]);
        cloud.ecs.run_task("prod", &definition, None);
    });
    let function = cloud::function(&aws, "lifecycle-preview", Duration::from_secs(60));
    let request = json!({ "repositoryName": "app" });
    let (status, report) = ask(&function, "POST", &request);
    assert_eq!(status, 200, "{report:#}");
    // ECR knows nothing of use, and that is said first.
    let going: Vec<&Value> =
        report["previewResults"].as_array().unwrap().iter().map(|image| &image["imageDigest"]).collect();
    assert_eq!(going.len(), 2, "{report:#}");
    assert_eq!(report["findings"][0]["code"], "in-use-expires", "{report:#}");
    assert!(report["findings"][0]["message"].as_str().unwrap().contains(&used), "{report:#}");
    // A policy that this stack would enforce keeps what is in use.
    let rules = json!({ "rules": [{ "selection": "any", "maximumAgeLimit": 14 }] });
    let (status, report) =
        ask(&function, "POST", &json!({ "repositoryName": "app", "lifecyclePolicy": rules }));
    assert_eq!(status, 200, "{report:#}");
    assert_eq!(report["previewResults"][0]["imageDigest"], old);
    assert_eq!(report["kept"][0]["imageDigest"], used);
    assert_eq!(report["kept"][0]["keptBy"], "in use");
    // With another policy, and by a direct invocation.
    let request = json!({ "repositoryName": "app", "lifecyclePolicy": { "skip": true } });
    let answer = function.invoke(request.to_string()).response();
    assert_eq!(answer["previewResults"], json!([]));
    // What cannot be known is said.
    aws.fault_from("ListTasks", Fault::Denied, 0);
    let (_, report) = ask(&function, "POST", &json!({ "repositoryName": "app" }));
    let findings: Vec<&Value> = report["findings"].as_array().unwrap().iter().map(|f| &f["code"]).collect();
    assert!(findings.contains(&&json!("usage-unknown")), "{report:#}");
    aws.heal();
    // What counts as use, and what does not matter, is as the policies file says; who may pull and reports nothing is unknown.
    let request = json!({ "repositoryName": "app" });
    let unknown = |function: &Function| -> Vec<String> {
        let (_, report) = ask(function, "POST", &request);
        let findings = report["findings"].as_array().unwrap().iter();
        let unknown = findings.filter(|finding| finding["code"] == "usage-unknown");
        unknown.map(|finding| finding["message"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(unknown(&function), [""; 0]);
    aws.with(|registry| {
        let partner = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "ecr:BatchGetImage",
            "Principal": { "AWS": "arn:aws:iam::111111111111:root" } }] });
        registry.repositories.get_mut("app").unwrap().policy = Some(partner.to_string());
    });
    assert!(unknown(&function)[0].contains("111111111111"), "{:?}", unknown(&function));
    let file =
        |text: &str| aws.cloud(|cloud| cloud.upload(&format!("{}/policies.yaml", cloud::BUCKET), text));
    file("policies: []\nusage: { ignore: [{ source: account/111111111111, reason: nothing runs there }] }\n");
    assert_eq!(unknown(&function), [""; 0]);
    file("policies: []\nusage: { lists: [{ key: usage/shop.json }] }\n");
    assert!(unknown(&function).iter().any(|finding| finding.contains("usage/shop.json")));
    file("policies: {}\n");
    assert!(unknown(&function).iter().any(|finding| finding.contains("policies.yaml is not valid")));
    file("policies: []\n");
    // What it read is within its role.
    let mut keys = template::keys("LifecyclePreviewFunction", "s3:GetObject");
    keys.extend(template::keys("ReadUsagePolicy", "s3:GetObject"));
    let mut actions = template::actions("LifecyclePreviewFunction");
    actions.extend(template::actions("ReadUsagePolicy"));
    for call in aws.calls() {
        if call.operation == "GetObject" {
            let key = call.request["key"].as_str().unwrap().replace(&format!("{}/", cloud::BUCKET), "");
            assert!(keys.iter().any(|pattern| template::is_match(pattern, &key)), "{key}");
        } else if OPERATIONS.contains(&call.operation.as_str()) {
            assert!(actions.contains(&format!("ecr:{}", call.operation)), "{}", call.operation);
        }
    }
    let (status, problem) = ask(&function, "POST", &json!({ "repositoryName": "missing" }));
    assert_eq!((status, &problem["type"]), (404, &json!("urn:ecr-steward:problem:repository-not-found")));
    assert_eq!(ask(&function, "POST", &json!({ "repositoryName": "Not a name" })).0, 400);
}
