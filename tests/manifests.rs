//! The manifests of the usage reporter for Kubernetes: valid, and with no more permissions than it uses. What validates them comes from
//! PyPI, so that this takes the feature `pypi`.

use std::path::Path;

use local::{Project, lint};
use serde_json::Value;
use tests::binaries::workspace;

const FILE: &str = "infra/usage-reporter/kubernetes/usage-report.yaml";

fn objects() -> Vec<Value> {
    let text = std::fs::read_to_string(workspace().join(FILE)).unwrap();
    text.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect()
}

fn object(kind: &str) -> Value {
    objects().into_iter().find(|object| object["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

#[test]
fn the_manifests_are_valid_and_an_invalid_one_is_found() {
    let project = Project::here();
    lint::manifests(&project, &lint::MANIFESTS.map(Path::new)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong.yaml");
    let text = std::fs::read_to_string(workspace().join(FILE)).unwrap();
    std::fs::write(&wrong, text.replace("concurrencyPolicy", "concurrencyRule")).unwrap();
    let error = lint::manifests(&project, &[&wrong]).unwrap_err().to_string();
    assert!(error.contains("concurrencyRule"), "{error}");
}

#[test]
fn the_reporter_may_only_list_what_it_reads_and_never_a_secret() {
    let role = object("ClusterRole");
    for rule in role["rules"].as_array().unwrap() {
        assert_eq!(rule["verbs"], serde_json::json!(["list"]), "{rule}");
        let groups: Vec<&str> =
            rule["apiGroups"].as_array().unwrap().iter().map(|group| group.as_str().unwrap()).collect();
        let resources: Vec<&str> =
            rule["resources"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        assert!(!groups.contains(&"*"), "it would give Secrets: {rule}");
        let of_kubernetes = groups.iter().any(|group| ["", "apps", "batch"].contains(group));
        assert!(!of_kubernetes || !resources.contains(&"*") && !resources.contains(&"secrets"), "{rule}");
    }
    // What the program insists on.
    for (group, resources) in [
        ("", &["pods", "podtemplates", "replicationcontrollers"][..]),
        ("apps", &["controllerrevisions", "daemonsets", "deployments", "replicasets", "statefulsets"]),
        ("batch", &["cronjobs", "jobs"]),
    ] {
        let rule =
            role["rules"].as_array().unwrap().iter().find(|rule| rule["apiGroups"][0] == group).unwrap();
        assert_eq!(rule["resources"], serde_json::json!(resources));
    }
}

#[test]
fn the_reporter_runs_without_privileges_one_at_a_time() {
    let job = object("CronJob");
    assert_eq!(job["spec"]["concurrencyPolicy"], "Forbid");
    let pod = &job["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    let container = &pod["containers"][0];
    let context = &container["securityContext"];
    assert_eq!(
        (&context["allowPrivilegeEscalation"], &context["readOnlyRootFilesystem"]),
        (&Value::Bool(false), &Value::Bool(true))
    );
    assert_eq!(context["capabilities"]["drop"][0], "ALL");
    assert!(container["resources"]["limits"]["memory"].is_string());
}
