//! Both sides against what describes them: the HTTP API against `infra/openapi.yaml`, for which Schemathesis makes good and
//! bad requests and looks into every answer; the ECR stub against ECR's own model, by the AWS SDK for Python; and what every
//! test checks requests against (`tests/src/aws_model.rs`) against the models that it was made of. All of it comes from PyPI, so
//! that this takes the feature `pypi`.

use std::process::Command;
use std::time::Duration;

use local::tools::{self, Tool};
use tests::binaries::workspace;
use tests::cloud::{self, BUCKET, Cloud};
use tests::ecr_stub::{EcrStub, Fault, OPERATIONS, Registry, Repository};
use tests::gateway;

const SCHEMATHESIS: Tool = Tool { name: "schemathesis", packages: &["schemathesis==4.32.5"] };

#[test]
fn the_functions_do_what_their_description_says() {
    let programs = tools::install(&local::Project::here(), SCHEMATHESIS).unwrap();
    let aws = EcrStub::start();
    // What the description has as an example.
    aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/uploads/app.zip"), "PK"));
    let fill: fn(&mut Registry, &mut Cloud) = |registry, _| {
        if let Some(repository) =
            registry.repositories.get_mut("team/app").filter(|app| app.images.is_empty())
        {
            let digest = repository.push("old", &["old"]);
            repository.age(&digest, 30.0);
        }
    };
    aws.fault_from("CreateRepository", Fault::Then(fill), 0);
    let function = |name: &str| cloud::function(&aws, name, Duration::from_secs(29));
    let functions = vec![
        ("/builds", function("image-build")),
        ("/previews", function("lifecycle-preview")),
        ("/", function("repository-api")),
    ];
    let address = gateway::serve(functions);
    // It leaves a folder where it works.
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(programs.join("schemathesis"))
        .arg("run")
        .arg(workspace().join("infra/openapi.yaml"))
        .args(["--url", &format!("http://{address}")])
        // What is valid in the end only the rules of policies say, and ECR: no schema has that. And the gateway answers
        // a request without a signature with 403, not 401.
        .args(["--checks", "all", "--exclude-checks", "positive_data_acceptance,missing_required_header"])
        // In place of a signature, which only the gateway looks at.
        .args(["--header", "Authorization: AWS4-HMAC-SHA256 test"])
        .args(["--max-examples", "30", "--seed", "23", "--no-color", "--request-timeout", "30"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let output_text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output_text}{}", String::from_utf8_lossy(&output.stderr));
    // What it sent got as far as AWS: repositories were made, changed and deleted, and a build was started.
    for operation in
        ["CreateRepository", "DescribeRepositories", "DeleteRepository", "BatchDeleteImage", "StartBuild"]
    {
        assert!(aws.count(operation) > 0, "{operation}: {output_text}");
    }
}

#[test]
fn the_stub_answers_as_the_model_of_ecr_has_it() {
    let programs = tools::install(&local::Project::here(), tools::AWS).unwrap();
    let ecr = EcrStub::start();
    // What is refused is driven too, and unsigned.
    ecr.take_any_request();
    ecr.with(|registry| {
        let mut full = Repository::default();
        let children = ["amd64", "arm64"].map(|platform| full.push(platform, &[]));
        let index = full.push_index(&children.each_ref().map(String::as_str), &["v1", "latest"]);
        full.push_referrer("signature", &index);
        for number in 0..103 {
            full.push(&number.to_string(), &[]);
        }
        full.collected.insert(format!("sha256:{}", "0".repeat(64)));
        registry.repositories.insert("full".to_owned(), full);
    });
    let output = Command::new(programs.join("python"))
        .arg(workspace().join("tests/ecr_stub.py"))
        .arg(ecr.url())
        .args(OPERATIONS)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn requests_are_checked_against_what_the_pinned_models_say() {
    let programs = tools::install(&local::Project::here(), tools::AWS).unwrap();
    let output = Command::new(programs.join("python"))
        .arg(workspace().join("tests/aws_models/extract.py"))
        .arg("--check")
        .output()
        .unwrap();
    let program = programs.join("python");
    let output_text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{output_text}\nwith {}", program.display());
}
