//! The documented examples of lifecycle policies, each with the result that ECR's documentation states.

use std::collections::{BTreeMap, HashSet};
use std::process::Command;

use serde::Deserialize;
use shared::domain::image::{Image, ImageStatus, ManifestKind, Relations, RepositoryImages};
use shared::domain::lifecycle::{LifecyclePolicy, Passes, PolicySource, evaluate};
use shared::domain::text::instant::Instant;
use tests::binaries::{binary, fixture};

#[derive(Deserialize)]
struct Examples {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    case: String,
    simple_rules: Option<serde_json::Value>,
    /// The document that the simple rules compile to, where the example states it.
    policy: Option<serde_json::Value>,
    images: Vec<ExampleImage>,
    /// Name of an image to the priority of the rule that expires it.
    expired: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExampleImage {
    name: String,
    image_tags: Vec<Box<str>>,
    pushed_days_ago: i64,
}

const DAY: i64 = 86_400_000_000;
const NOW: &str = "2026-11-23T00:00:00Z";

/// The digest of an image of this name. Names sort as their digests do.
fn digest(name: &str) -> String {
    let hex: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex:0<64}")
}

fn examples() -> Vec<Case> {
    let text = std::fs::read_to_string(fixture("lifecycle-examples.json")).unwrap();
    let examples: Examples = serde_json::from_str(&text).unwrap();
    assert!(!examples.cases.is_empty());
    examples.cases
}

/// Rule priority for each image that expires, by name.
fn expired(policy: &LifecyclePolicy, case: &Case) -> BTreeMap<String, u64> {
    let now = Instant::parse(NOW).unwrap();
    let images = case
        .images
        .iter()
        .map(|image| Image {
            digest: format!("sha256:{}", image.name).into(),
            tags: image.image_tags.clone().into(),
            // A second more, so that "older than N days" is not a tie.
            pushed_at: Instant::from_micros(now.micros() - image.pushed_days_ago * DAY - 1_000_000).unwrap(),
            last_pulled_at: None,
            last_archived_at: None,
            last_activated_at: None,
            size_in_bytes: 1,
            status: ImageStatus::Active,
            kind: ManifestKind::Manifest,
        })
        .collect();
    let images = RepositoryImages::new(images, &Relations::default());
    let evaluation = evaluate(Some(policy), &images, &HashSet::new(), now, Passes::One);
    case.images
        .iter()
        .zip(evaluation.verdicts())
        .filter_map(|(image, verdict)| {
            let rule = &policy.rules()[verdict.acting_rule()?];
            Some((image.name.clone(), rule.priority))
        })
        .collect()
}

#[test]
fn every_example_expires_what_the_documentation_says() {
    for case in examples() {
        // No rules given means no policy given, which means the default policy.
        let simple = match &case.simple_rules {
            Some(rules) => serde_json::json!({ "lifecyclePolicy": { "rules": rules } }),
            None => serde_json::json!({ "lifecyclePolicy": {} }),
        };
        let source = PolicySource::parse(&simple.to_string()).unwrap();
        assert!(matches!(source, PolicySource::Simple(..)), "{}", case.case);
        let compiled = source.policy().unwrap();
        assert_eq!(expired(compiled, &case), case.expired, "{}", case.case);

        let read_again = LifecyclePolicy::parse(&compiled.to_json()).unwrap();
        assert_eq!(expired(&read_again, &case), case.expired, "{}, as a document", case.case);
    }
}

#[test]
fn every_example_comes_out_the_same_on_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let steward = |arguments: &[&std::ffi::OsStr]| {
        let output = Command::new(binary("ecr-steward")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let now = Instant::parse(NOW).unwrap();
    for case in examples() {
        let simple = match &case.simple_rules {
            Some(rules) => serde_json::json!({ "rules": rules }),
            None => serde_json::json!({}),
        };
        let simple = file("simple.json", &simple.to_string());
        let document = file("policy.json", &steward(&["compile".as_ref(), simple.as_os_str()]));
        let details: Vec<_> = case
            .images
            .iter()
            .map(|image| {
                serde_json::json!({
                    "imageDigest": digest(&image.name),
                    "imageTags": image.image_tags,
                    "imagePushedAt": now.micros() / 1_000_000 - image.pushed_days_ago * DAY / 1_000_000 - 1,
                })
            })
            .collect();
        let images = file("images.json", &serde_json::json!({ "imageDetails": details }).to_string());
        let report = steward(&[
            "preview".as_ref(),
            "--policy".as_ref(),
            document.as_os_str(),
            "--images".as_ref(),
            images.as_os_str(),
            "--now".as_ref(),
            NOW.as_ref(),
            "--output=json".as_ref(),
        ]);
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        let expired: BTreeMap<String, u64> = report["previewResults"]
            .as_array()
            .unwrap()
            .iter()
            .map(|result| {
                let image = case.images.iter().find(|image| result["imageDigest"] == digest(&image.name));
                let name = image.unwrap().name.clone();
                (name, result["appliedRulePriority"].as_u64().unwrap())
            })
            .collect();
        assert_eq!(expired, case.expired, "{}", case.case);
    }
}

#[test]
fn the_simple_rules_of_an_example_compile_to_its_document() {
    let mut stated = 0;
    for case in examples() {
        let (Some(rules), Some(document)) = (&case.simple_rules, &case.policy) else {
            continue;
        };
        stated += 1;
        let simple = PolicySource::parse(&serde_json::json!({ "rules": rules }).to_string()).unwrap();
        let document = LifecyclePolicy::parse(&document.to_string()).unwrap();
        assert_eq!(simple.policy(), Some(&document), "{}", case.case);
    }
    assert!(stated > 0);
}

#[test]
fn the_example_of_a_policies_file_is_one() {
    let path = tests::binaries::workspace().join("infra/examples/policies-file/policies.yaml");
    let policies_file =
        shared::domain::enforcement::policy_set::PolicySet::parse(&std::fs::read_to_string(path).unwrap())
            .unwrap();
    let names: Vec<&str> = policies_file.entries().iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["payments", "production", "base images", "the rest"]);
    assert_eq!(policies_file.usage().lists[0].maximum_age_in_hours, 6);
}
