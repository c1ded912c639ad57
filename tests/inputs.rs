//! Files as people have them, each in `fixtures/inputs`: what a file is and what to do is said in words, or it is read as what it
//! plainly means. A file whose name begins with `read-` is read; with `warning-`, it is read and something is odd about it;
//! every other one is refused. One more of a kind is one more file there, and what is said about it is in `snapshots`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tests::binaries::{binary, fixture};

const NOW: &str = "2026-11-23";

fn steward(arguments: &[&str]) -> Output {
    Command::new(binary("ecr-steward"))
        .args(arguments)
        .current_dir(fixture("inputs"))
        .env_remove("COLUMNS")
        .env_remove("CLICOLOR_FORCE")
        .output()
        .unwrap()
}

/// The files of a kind, by name.
fn files(kind: &str) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(fixture(&format!("inputs/{kind}")))
        .unwrap()
        .map(|entry| format!("{kind}/{}", entry.unwrap().file_name().into_string().unwrap()))
        .collect();
    names.sort();
    assert!(names.len() > 25, "{kind}");
    names
}

fn is_read(file: &str) -> bool {
    file.contains("/read-")
}

fn is_odd(file: &str) -> bool {
    file.contains("/warning-")
}

/// Words that only those know who read the source of a library.
const LIBRARY_WORDS: [&str; 15] = [
    "expected value",
    "expected ident",
    "EOF",
    "trailing characters",
    "invalid type",
    "missing field",
    "unknown field",
    "untagged enum",
    "sequence",
    "mapping",
    "scalar",
    "from_str",
    "serde",
    "key must be",
    "deserialize",
];

/// What was said about a file; nobody needs to know a library for it.
fn output_text(file: &str, output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8(text).unwrap();
    let lower = text.to_lowercase();
    for word in LIBRARY_WORDS {
        assert!(!lower.contains(&word.to_lowercase()), "{file}: {word}: {text}");
    }
    text
}

#[test]
fn check_reads_policies_as_people_have_them_and_says_what_other_files_are() {
    let mut summary = String::new();
    for file in files("policies") {
        let output = steward(&["check", &file]);
        let text = output_text(&file, &output);
        let code = output.status.code().unwrap();
        match (is_read(&file), is_odd(&file)) {
            (true, _) => assert_eq!(code, 0, "{text}"),
            (_, true) => {
                assert_eq!(code, 1, "{text}");
                assert!(text.contains(": valid: "), "{text}");
            }
            _ => {
                assert!(code == 1 || code == 2, "{text}");
                assert!(!text.contains(": valid: "), "{text}");
                summary.push_str(&text);
                continue;
            }
        }
        summary.push_str(&text);
    }
    // The line that says what explains the codes is the same for all.
    let is_hint = |line: &&str| line.starts_with("Why, and what to do: ");
    let summary: String = summary.split_inclusive('\n').filter(|line| !is_hint(line)).collect();
    insta::assert_snapshot!("inputs_policies", summary);
}

#[test]
fn preview_reads_listings_as_people_have_them_and_says_what_other_files_are() {
    let folder = tempfile::tempdir().unwrap();
    let policy = policy(folder.path());
    let mut summary = String::new();
    for file in files("images") {
        let arguments = ["preview", "--now", NOW, "--policy", &policy, "--images", &file, "--output", "json"];
        let output = steward(&arguments);
        if !output.status.success() {
            assert!(!is_read(&file) && !is_odd(&file), "{file}: {}", output_text(&file, &output));
            assert!(output.stdout.is_empty());
            summary.push_str(&output_text(&file, &output));
            continue;
        }
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let reports = match report {
            Value::Array(reports) => reports,
            report => vec![report],
        };
        for report in reports {
            let of = |list: &str, field: &str| -> Vec<String> {
                let texts = report[list].as_array().into_iter().flatten();
                texts.map(|entry| entry[field].to_string().replace('"', "")).collect()
            };
            writeln!(
                summary,
                "{file}: {}: expires {:?}, keeps {:?} by {:?}, {:?}",
                report["repositoryName"].as_str().unwrap_or("?"),
                of("previewResults", "imageTags"),
                of("kept", "imageTags"),
                of("kept", "keptBy"),
                of("findings", "code"),
            )
            .unwrap();
        }
    }
    insta::assert_snapshot!("inputs_images", summary);
}

/// A policy by which an image expires after a month.
fn policy(folder: &Path) -> String {
    let file = folder.join("policy.yaml");
    std::fs::write(&file, "rules: [{ selection: any, maximumAgeLimit: 30 }]\n").unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn preview_reads_what_is_in_use_as_people_have_it_and_says_what_other_files_are() {
    let folder = tempfile::tempdir().unwrap();
    let policy = policy(folder.path());
    let mut summary = String::new();
    for file in files("in-use") {
        let images = "images/read-byte-order-mark.json";
        let output = steward(&[
            "preview", "--now", NOW, "--policy", &policy, "--images", images, "--in-use", &file, "--output",
            "json",
        ]);
        if !output.status.success() {
            assert!(!is_read(&file), "{}", output_text(&file, &output));
            summary.push_str(&output_text(&file, &output));
            continue;
        }
        assert!(is_read(&file), "{file} is read");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let expiring = report["previewResults"].as_array().unwrap().len();
        let protects = !file.contains("no-pods");
        assert_eq!(expiring == 0, protects, "{file}: 1.0 is in use\n{report:#}");
    }
    insta::assert_snapshot!("inputs_in_use", summary);
}

#[test]
fn a_bucket_list_is_read_as_a_file_is() {
    for file in files("in-use").into_iter().filter(|file| is_read(file) && !file.contains("utf-16")) {
        let text = std::fs::read_to_string(fixture(&format!("inputs/{file}"))).unwrap();
        let content = shared::domain::usage::list::parse(&text);
        // A digest alone counts, and may be the id of something else.
        let is_alone = file.contains("alone") || file.contains("of-jq");
        assert!(is_alone || content.problem.is_none(), "{file}: {:?}", content.problem);
    }
}

#[test]
fn the_list_of_a_cluster_names_what_a_rollback_a_suspended_job_and_an_image_volume_use() {
    // As kubectl prints it.
    let text = std::fs::read_to_string(fixture("inputs/cluster.json")).unwrap();
    let content = shared::domain::usage::list::parse(&text);
    assert_eq!(content.problem, None);
    let mut by_tag = BTreeMap::new();
    for used in &content.used {
        by_tag.insert(used.reference.tag.clone().unwrap_or_default(), used.used_by.clone());
    }
    for (tag, user) in [
        ("1.1", "Deployment/shop/web"),
        ("1.0", "ReplicaSet/shop/web-5d4"),
        ("0.9", "Job/shop/migrate"),
        ("0.8", "CronJob/shop/report"),
        ("0.7", "ControllerRevision/shop/db-1"),
        ("setup", "Pod/shop/web-1"),
        ("debug", "Pod/shop/web-1"),
        ("model", "Pod/shop/web-1"),
    ] {
        let users = by_tag.get(tag).unwrap_or_else(|| panic!("{tag}: {by_tag:?}"));
        assert!(users.contains(&user.to_owned()), "{tag}: {users:?}");
    }
}

#[test]
fn signatures_under_tags_and_fallback_indexes_stay_with_the_image_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let digest = |c: char| format!("sha256:{}", c.to_string().repeat(64));
    let image = |c: char, tags: &[&str]| {
        serde_json::json!({ "repositoryName": "app", "imageDigest": digest(c), "imageTags": tags,
            "imagePushedAt": "2026-01-01T00:00:00Z", "imageManifestMediaType": "application/vnd.oci.image.manifest.v1+json" })
    };
    let a = "a".repeat(64);
    let (signature, attestation, fallback) =
        (format!("sha256-{a}.sig"), format!("sha256-{a}.att"), format!("sha256-{a}"));
    let images = serde_json::json!({ "imageDetails": [
        image('a', &["1.0"]), image('b', &[&signature]), image('c', &[&attestation]), image('d', &[&fallback]), image('e', &["0.9"]),
    ] });
    let file = |name: &str, text: String| -> String {
        let path: PathBuf = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let images = file("images.json", images.to_string());
    let in_use = file("in-use.json", "[\"app:1.0\"]".to_owned());
    let policy = policy(folder.path());
    let output = steward(&[
        "preview", "--now", NOW, "--policy", &policy, "--images", &images, "--in-use", &in_use, "--output",
        "json",
    ]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let going: Vec<&str> = report["previewResults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["imageTags"][0].as_str().unwrap())
        .collect();
    assert_eq!(going, ["0.9"]);
}

#[test]
fn findings_are_printed_for_editors_for_pull_requests_and_for_code_scanning() {
    let files =
        ["policies/terraform-nulls.json", "policies/warning-prefix-with-a-star.yaml", "policies/gzip.json"];
    let github = steward(&[&["check", "--output", "github"][..], &files].concat());
    assert_eq!(github.status.code(), Some(2));
    insta::assert_snapshot!("inputs_github", String::from_utf8(github.stdout).unwrap());

    let sarif = steward(&[&["check", "--output", "sarif"][..], &files].concat());
    let log: Value = serde_json::from_slice(&sarif.stdout).unwrap();
    let run = &log["runs"][0];
    assert_eq!((&log["version"], &run["tool"]["driver"]["name"]), (&"2.1.0".into(), &"ecr-steward".into()));
    let first = &run["results"][0];
    assert_eq!(first["ruleId"], "null-value");
    assert_eq!(first["level"], "error");
    let place = &first["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "policies/terraform-nulls.json");
    assert_eq!(place["region"]["startLine"], 5);
    let levels: Vec<&str> =
        run["results"].as_array().unwrap().iter().map(|result| result["level"].as_str().unwrap()).collect();
    assert_eq!(levels.last(), Some(&"warning"));
    let rules: Vec<&str> = run["tool"]["driver"]["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["id"].as_str().unwrap())
        .collect();
    assert!(rules.contains(&"list-never-matches"), "{rules:?}");

    let json = steward(&[&["check", "--output", "json"][..], &files].concat());
    let findings: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&findings[0]["line"], &findings[0]["level"]), (&5.into(), &"error".into()));
}

#[test]
fn files_are_named_as_the_aws_cli_names_them() {
    let path = fixture("inputs/policies/read-tabs.json");
    let output = steward(&["check", &format!("file://{}", path.display())]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let output = steward(&["check", "s3://bucket/policy.json"]);
    assert_eq!(output.status.code(), Some(2));
    let output_text = String::from_utf8(output.stderr).unwrap();
    assert!(output_text.contains("an object in Amazon S3; copy it first"), "{output_text}");
}

#[test]
fn requests_and_files_of_the_bucket_may_begin_with_a_byte_order_mark() {
    use shared::domain::builds::build_config::{BuildConfig, BuildRequest};
    use shared::domain::enforcement::policy_set::PolicySet;
    use shared::domain::image::deletion::DeletionRequest;
    use shared::domain::lifecycle::PolicySource;
    use shared::domain::preview::request;
    use shared::domain::repository::read;
    use shared::domain::text::instant::Instant;
    let marked = |text: &str| format!("\u{feff}{text}");
    read::body(&marked(r#"{"repositoryName": "team/app"}"#)).unwrap();
    let image = r#"{"repositoryName": "team/app", "imageIds": [{"imageTag": "1.0"}]}"#;
    DeletionRequest::parse(&marked(image)).unwrap();
    BuildRequest::parse(&marked(
        r#"{"repositoryName": "team/app", "source": {"s3": {"key": "sources/app/a.zip"}}}"#,
    ))
    .unwrap();
    request::read(
        &marked(r#"{"repositoryName": "team/app"}"#),
        None,
        Instant::EPOCH,
        PolicySource::parse_json,
    )
    .unwrap();
    PolicySet::parse(&marked("policies: []\n")).unwrap();
    BuildConfig::parse(&marked("builds: []\n")).unwrap();
}
