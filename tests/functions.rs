//! The Lambda functions as real processes behind a Lambda Runtime API.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use tests::binaries::{binary, fixture, workspace};
use tests::runtime_api::Function;

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
fn lifecycle_preview_takes_a_policy_as_an_object_and_names_an_empty_repository() {
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
    let held: Vec<&str> =
        answer["kept"].as_array().unwrap().iter().map(|image| image["heldBy"].as_str().unwrap()).collect();
    assert_eq!(held, ["no rule", "in use", "rule 1"]);
}

#[test]
fn lifecycle_preview_refuses_bad_requests_and_says_everything_that_is_wrong() {
    let function = Function::start(binary("lifecycle-preview"));
    for (request, kind, message) in [
        (json!({}), "InvalidRequest", "exactly one of `lifecyclePolicyText`"),
        (json!({"lifecyclePolicy": {}}), "InvalidRequest", "no `imageDetails`"),
        (json!({"lifecyclePolicies": {}}), "InvalidRequest", "unknown field `lifecyclePolicies`"),
        (
            json!({"lifecyclePolicy": {}, "imageDetails": [{"imageDigest": "sha256:1"}]}),
            "InvalidRequest",
            "/imageDetails/0: missing field `imagePushedAt`",
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
