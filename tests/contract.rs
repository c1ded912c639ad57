//! Both sides against what describes them: the HTTP API against `infra/openapi.yaml`, for which Schemathesis makes good and
//! bad requests and looks into every answer; and the ECR stub against ECR's own model, by the AWS SDK for Python. Both
//! come from PyPI, so that this runs only when asked for: `cargo test -p tests --test contract -- --ignored`. And what the
//! template says against what the code does.

use std::process::Command;
use std::time::Duration;

use local::tools::{self, Tool};
use serde_json::Value;
use shared::lifecycle::{LifecyclePolicy, PolicySource};
use tests::binaries::{binary, workspace};
use tests::ecr_stub::{EcrStub, OPERATIONS, Repository};
use tests::gateway;
use tests::runtime_api::Function;
use tests::template;

const SCHEMATHESIS: Tool = Tool { name: "schemathesis", packages: &["schemathesis==4.32.5"] };

#[test]
#[ignore = "installs Schemathesis from PyPI"]
fn the_function_does_what_its_description_says() {
    let programs = tools::install(&local::Project::here(), SCHEMATHESIS).unwrap();
    let ecr = EcrStub::start();
    let url = ecr.url();
    let environment = [("AWS_ENDPOINT_URL_ECR", url.as_str())];
    let function = Function::start_with(binary("repository-api"), &environment, Duration::from_secs(29));
    let address = gateway::serve(function);
    let output = Command::new(programs.join("schemathesis"))
        .args(["run", "infra/openapi.yaml", "--url", &format!("http://{address}")])
        // What is valid in the end only the rules of policies say, and ECR: no schema has that. And the gateway answers
        // a request without a signature with 403, not 401.
        .args(["--checks", "all", "--exclude-checks", "positive_data_acceptance,missing_required_header"])
        // In place of a signature, which only the gateway looks at.
        .args(["--header", "Authorization: AWS4-HMAC-SHA256 test"])
        .args(["--max-examples", "30", "--seed", "23", "--no-color", "--request-timeout", "30"])
        .current_dir(workspace())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    // What it sent got as far as ECR: repositories were made, changed and deleted.
    for operation in ["CreateRepository", "DescribeRepositories", "DeleteRepository", "BatchDeleteImage"] {
        assert!(ecr.count(operation) > 0, "{operation}: {said}");
    }
}

#[test]
#[ignore = "installs the AWS CLI from PyPI"]
fn the_stub_answers_as_the_model_of_ecr_has_it() {
    let programs = tools::install(&local::Project::here(), tools::AWS).unwrap();
    let ecr = EcrStub::start();
    ecr.with(|registry| {
        let mut full = Repository::default();
        let children = ["amd64", "arm64"].map(|platform| full.push(platform, &[]));
        full.push_index(&children.each_ref().map(String::as_str), &["v1", "latest"]);
        for number in 0..103 {
            full.push(&number.to_string(), &[]);
        }
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
fn the_description_and_the_template_have_the_same_routes() {
    let text = std::fs::read_to_string(workspace().join("infra/openapi.yaml")).unwrap();
    let description: Value = serde_saphyr::from_str(&text).unwrap();
    let mut described = std::collections::BTreeSet::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            // The gateway's way to say that the name has slashes.
            described.insert((method.to_uppercase(), path.replace("{name}", "{name+}")));
        }
    }
    assert_eq!(described, template::routes());
}

#[test]
fn the_description_has_every_kind_of_problem_with_its_status() {
    let text = std::fs::read_to_string(workspace().join("infra/openapi.yaml")).unwrap();
    let description: Value = serde_saphyr::from_str(&text).unwrap();
    let statuses: Vec<&String> = description["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|item| item.as_object().unwrap().values())
        .filter_map(|operation| operation["responses"].as_object())
        .flat_map(|responses| responses.keys())
        .collect();
    for kind in shared::api::Kind::ALL {
        let status = kind.status().to_string();
        // A wrong method or path is no operation of the description.
        let is_general = matches!(kind.status(), 405) || kind.name() == "no-such-path";
        assert!(is_general || statuses.contains(&&status), "{}", kind.name());
    }
}

#[test]
fn repositories_created_by_a_push_have_the_default_policy() {
    let block = template::block("CreateOnPushTemplate");
    let folded: Vec<&str> = block
        .iter()
        .map(|line| line.trim())
        .skip_while(|line| *line != "LifecyclePolicy: >-")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .collect();
    let policy = LifecyclePolicy::parse(&folded.join(" ")).unwrap();
    assert_eq!(Some(&policy), PolicySource::parse("{}").unwrap().policy());
}

#[test]
fn those_who_pull_are_allowed_a_pull_and_nothing_else() {
    let actions = template::ecr_actions("PullPolicy");
    let pull =
        ["BatchCheckLayerAvailability", "BatchGetImage", "GetAuthorizationToken", "GetDownloadUrlForLayer"];
    assert_eq!(actions.into_iter().collect::<Vec<_>>(), pull);
}
