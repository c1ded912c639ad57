//! `ecr-steward doctor`, on AWS in memory.

use std::process::{Command, Output};

use serde_json::{Value, json};
use tests::cloud::{BUCKET, EKS_CLUSTERS};
use tests::ecr_stub::{EcrStub, Fault};
use tests::terminal;

const POLICIES: &str =
    "policies: [{ name: all, repositories: ['*'], rules: [{ selection: any, maximumAgeLimit: 14 }] }]";

/// An account with a stack, in which all is well.
fn account() -> EcrStub {
    terminal::account(POLICIES, |name, repository| {
        repository.push(name, &["latest"]);
    })
}

fn command(aws: &EcrStub, arguments: &[&str]) -> Command {
    let mut command = terminal::signed_in(aws);
    command.arg("doctor").args(arguments);
    command
}

fn run(aws: &EcrStub) -> Output {
    command(aws, &["--output", "json"]).output().unwrap()
}

/// What is to be done, as `AREA found => toDo`; the exit code says whether there is something.
#[track_caller]
fn to_do(aws: &EcrStub) -> Vec<String> {
    let output = run(aws);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let text = |check: &Value, name: &str| check[name].as_str().unwrap().to_owned();
    let checks = report["checks"].as_array().unwrap();
    let to_do: Vec<String> = checks
        .iter()
        .filter(|check| check["status"] == "TO_DO")
        .map(|check| format!("{} {} => {}", text(check, "area"), text(check, "found"), text(check, "toDo")))
        .collect();
    assert_eq!(report["isWell"], to_do.is_empty());
    assert_eq!(output.status.code(), Some(i32::from(!to_do.is_empty())), "{output:?}");
    to_do
}

#[track_caller]
fn only(aws: &EcrStub, parts: &[&str]) {
    let to_do = to_do(aws);
    assert_eq!(to_do.len(), 1, "{to_do:#?}");
    for part in parts {
        assert!(to_do[0].contains(part), "{part}: {to_do:#?}");
    }
}

#[test]
fn where_all_is_well_nothing_is_to_do_and_nothing_was_changed_or_pulled() {
    let aws = account();
    assert_eq!(to_do(&aws), [""; 0]);
    let output = command(&aws, &[]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    for part in [
        "ok     credentials       arn:aws:",
        "ok     Region            eu-west-1 (from AWS_REGION)",
        "ok     permissions       6 actions",
        "ok     policies file     policies.yaml is valid: 1 policy, written",
        "ok     source of use     Amazon ECS: complete",
        "ok     EKS cluster       there is none",
        "ok     who pulls         of 2 repositories",
        "ok     replication       no deletion is replicated",
        "ok     pull times        no policy",
        "All is well.",
    ] {
        assert!(printed.contains(part), "{part}:\n{printed}");
    }
    let changing = ["Put", "Delete", "Create", "Tag", "Untag", "Register", "BatchDelete", "Update"];
    let operations = aws.operations();
    assert!(
        !operations.iter().any(|name| changing.iter().any(|verb| name.starts_with(verb))),
        "{operations:?}"
    );
}

#[test]
fn a_permission_that_is_missing_is_named() {
    for (operation, action) in [
        ("DescribeImages", "ecr:DescribeImages"),
        ("BatchGetImage", "ecr:BatchGetImage"),
        ("GetLifecyclePolicy", "ecr:GetLifecyclePolicy"),
        ("ListTagsForResource", "ecr:ListTagsForResource"),
    ] {
        let aws = account();
        aws.fault_from(operation, Fault::Denied, 0);
        only(&aws, &["PERMISSION ", &format!("allow {action} on all repositories")]);
    }
    let aws = account();
    aws.fault_from(EKS_CLUSTERS, Fault::Denied, 0);
    only(&aws, &["CLUSTER Amazon EKS: ", "eks:ListClusters"]);
    let aws = account();
    aws.fault_from("batch:DescribeJobDefinitions", Fault::Denied, 0);
    only(&aws, &["SOURCE AWS Batch: ", "allow batch:DescribeJobDefinitions", "{ source: batch, reason:"]);
}

#[test]
fn a_policies_file_that_is_missing_or_invalid_is_reported() {
    let aws = account();
    aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), "policies: [{ name: all }]"));
    only(&aws, &["POLICIES policies.yaml is invalid", "ecr-steward check"]);
    aws.cloud(|cloud| cloud.delete(&format!("{BUCKET}/policies.yaml")));
    only(&aws, &["POLICIES there is no policies.yaml", "ecr-steward init"]);
}

#[test]
fn a_stack_that_is_not_there_is_reported_and_what_can_be_looked_at_is() {
    let aws = account();
    let output = command(&aws, &["--stack", "other", "--output", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = report.to_string();
    assert!(
        text.contains("there is no stack other in eu-west-1") && text.contains("Amazon ECS: complete"),
        "{text}"
    );
}

#[test]
fn a_cluster_an_account_and_a_registry_that_do_not_report_are_named_until_they_do() {
    let aws = account();
    aws.cloud(|cloud| {
        cloud.eks_clusters = vec!["shop".to_owned()];
        cloud.replication =
            vec![json!({ "destinations": [{ "region": "us-east-1", "registryId": "123456789012" }],
            "deleteReplication": { "enabled": true } })];
    });
    let policy = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow",
        "Principal": { "AWS": "arn:aws:iam::210987654321:root" }, "Action": "ecr:BatchGetImage" }] });
    aws.with(|registry| {
        for repository in registry.repositories.values_mut() {
            repository.policy = Some(policy.to_string());
        }
    });
    let found = to_do(&aws);
    for (area, part) in [
        ("CLUSTER ", "infra/usage-reporter/kubernetes"),
        ("PULLERS ", "the account 210987654321 may pull from team/app"),
        ("PULLERS ", "(and 1 repository more)"),
        ("REPLICATION ", "us-east-1"),
    ] {
        assert!(
            found.iter().any(|line| line.starts_with(area) && line.contains(part)),
            "{area}{part}: {found:#?}"
        );
    }
    assert_eq!(found.len(), 3, "{found:#?}");
    aws.cloud(|cloud| {
        for key in
            ["usage/eks/shop.json", "usage/210987654321/all.json", "usage/123456789012/us-east-1/all.json"]
        {
            cloud.upload(&format!("{BUCKET}/{key}"), "[]");
        }
    });
    assert_eq!(to_do(&aws), [""; 0]);
    aws.cloud(|cloud| cloud.age(&format!("{BUCKET}/usage/eks/shop.json"), 30.0));
    let old = to_do(&aws);
    assert!(
        old.iter().any(|line| line.starts_with("LIST usage/eks/shop.json: it was written at")),
        "{old:#?}"
    );
}

#[test]
fn what_is_ignored_is_reported_with_its_reason_and_is_nothing_to_do() {
    let aws = account();
    aws.cloud(|cloud| {
        cloud.eks_clusters = vec!["old".to_owned()];
        let policies =
            format!("{POLICIES}\nusage: {{ ignore: [{{ source: eks/old, reason: no nodes any more }}] }}\n");
        cloud.upload(&format!("{BUCKET}/policies.yaml"), &policies);
    });
    assert_eq!(to_do(&aws), [""; 0]);
    let printed = String::from_utf8(command(&aws, &[]).output().unwrap().stdout).unwrap();
    assert!(printed.contains("eks/old: ignored, since no nodes any more"), "{printed}");
}

#[test]
fn reading_that_would_count_as_pulls_for_a_policy_that_uses_pull_times_is_reported() {
    let aws = account();
    let policies = POLICIES.replace("rules:", "keep: { pulledWithinDays: 30 }, rules:");
    aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), &policies));
    only(&aws, &["PULL_TIMES all goes by pulls", "aws ecr register-pull-time-update-exclusion"]);
    let caller = {
        let output = run(&aws);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["checks"][0]["found"].as_str().unwrap().split(' ').next().unwrap().to_owned()
    };
    let role = caller.replace(":sts:", ":iam:").replace(":assumed-role/", ":role/");
    let role = role
        .rsplit_once('/')
        .filter(|_| caller.contains("assumed-role"))
        .map_or(role.clone(), |(role, _)| role.to_owned());
    aws.cloud(|cloud| {
        cloud.pull_time_exclusions = vec!["arn:aws:iam::123456789012:role/other".to_owned(), role]
    });
    assert_eq!(to_do(&aws), [""; 0]);
}

#[test]
fn credentials_that_are_missing_or_refused_are_the_one_thing_to_do() {
    let aws = account();
    let mut without = command(&aws, &["--output", "json"]);
    without.env_remove("AWS_ACCESS_KEY_ID");
    let output = without.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["checks"].as_array().unwrap().len(), 1);
    assert!(report["checks"][0]["toDo"].as_str().unwrap().contains("aws sso login"), "{report}");
    aws.fault_from("GetCallerIdentity", Fault::Denied, 0);
    only(&aws, &["CREDENTIALS ", "AWS does not take these credentials"]);
}
