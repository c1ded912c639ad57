//! `in-use` and `preview` with what other accounts and Regions use, by several profiles and by roles that are assumed. Two accounts, each
//! AWS in memory, behind one address: the key that signs says whose it is.

use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tests::binaries::binary;
use tests::ecr_stub::{EcrStub, Fault};
use tests::http::{Request, Response, serve};
use tests::site::{HOST, repository};

const ROLE: &str = "arn:aws:iam::210987654321:role/usage-reader";

struct Setup {
    registry: EcrStub,
    other: EcrStub,
    url: String,
    folder: TempDir,
}

/// A function of an image of the registry.
fn run_function(aws: &EcrStub, name: &str, tag: &str, digest: &str) {
    aws.cloud(|cloud| {
        cloud.functions.add(name, "$LATEST", &format!("{HOST}/app:{tag}"), &format!("{HOST}/app@{digest}"));
    });
}

impl Setup {
    fn new() -> Self {
        let (registry, other) = (EcrStub::start(), EcrStub::start());
        let digests = registry.with(|registry| {
            let mut app = repository("app");
            let digests = ["own", "theirs", "nobodys"].map(|tag| app.push(tag, &[tag]));
            digests.iter().for_each(|digest| app.age(digest, 30.0));
            registry.repositories.insert("app".to_owned(), app);
            digests
        });
        run_function(&registry, "mine", "own", &digests[0]);
        run_function(&other, "theirs", "theirs", &digests[1]);
        let (one, two) = (registry.clone(), other.clone());
        let address = serve(move |request, stream| {
            let is_other =
                request.header("authorization").is_some_and(|signed| signed.contains("Credential=AKIAOTHER"));
            let answer = if is_other { foreign(&two, &request) } else { own(&one, &request) };
            answer.write(stream)
        });
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("config"),
            "[profile registry]\nregion = eu-west-1\n[profile other]\nregion = eu-west-1\n[profile again]\nregion = eu-west-1\n[profile empty]\nregion = eu-west-1\n",
        )
        .unwrap();
        let keys = |name: &str, key: &str| {
            format!("[{name}]\naws_access_key_id = {key}\naws_secret_access_key = test\n")
        };
        let credentials =
            keys("registry", "AKIAREGISTRY") + &keys("other", "AKIAOTHER") + &keys("again", "AKIAREGISTRY");
        std::fs::write(folder.path().join("credentials"), credentials).unwrap();
        Self { registry, other, url: format!("http://{address}"), folder }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary("ecr-steward"));
        command
            .env_clear()
            .env("AWS_CONFIG_FILE", self.folder.path().join("config"))
            .env("AWS_SHARED_CREDENTIALS_FILE", self.folder.path().join("credentials"))
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::null())
            .args(arguments)
            .args(["--endpoint-url", &self.url]);
        command.output().unwrap()
    }
}

/// What the registry's account answers; its caller may assume the role of the other account.
fn own(aws: &EcrStub, request: &Request) -> Response {
    let body = String::from_utf8_lossy(&request.body);
    if body.contains("Action=AssumeRole&") {
        if !body.contains("usage-reader") {
            return xml(
                403,
                "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not authorized to perform: sts:AssumeRole</Message></Error></ErrorResponse>",
            );
        }
        return xml(
            200,
            &format!(
                "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><AssumedRoleUser>\
                 <AssumedRoleId>AROA:x</AssumedRoleId><Arn>{ROLE}</Arn></AssumedRoleUser><Credentials><AccessKeyId>AKIAOTHER</AccessKeyId>\
                 <SecretAccessKey>test</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration>\
                 </Credentials></AssumeRoleResult></AssumeRoleResponse>"
            ),
        );
    }
    aws.answer(request).unwrap()
}

fn foreign(aws: &EcrStub, request: &Request) -> Response {
    let mut answer = aws.answer(request).unwrap();
    if String::from_utf8_lossy(&request.body).contains("Action=GetCallerIdentity&") {
        let text = String::from_utf8(answer.body).unwrap().replace("123456789012", "210987654321");
        answer.body = text.into_bytes();
    }
    answer
}

fn xml(status: u16, body: &str) -> Response {
    let headers = vec![("Content-Type".to_owned(), "text/xml".to_owned())];
    Response { status, headers, body: body.as_bytes().to_vec() }
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn tags(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{}", stderr(output));
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let uris = list.as_array().unwrap().iter().map(|entry| entry["imageUri"].as_str().unwrap().to_owned());
    let mut tags: Vec<String> =
        uris.filter_map(|uri| Some(uri.split("app:").nth(1)?.split('@').next()?.to_owned())).collect();
    tags.sort();
    tags.dedup();
    tags
}

#[test]
fn several_profiles_and_roles_are_read_together_and_each_is_named() {
    let setup = Setup::new();
    assert_eq!(tags(&setup.run(&["in-use", "--profile", "registry"])), ["own"]);
    for arguments in [
        &["in-use", "--profile", "registry", "--profile", "other"][..],
        &["in-use", "--profile", "registry", "--assume-role", ROLE],
    ] {
        let output = setup.run(arguments);
        assert_eq!(tags(&output), ["own", "theirs"]);
        assert!(stderr(&output).contains("Read 210987654321 in eu-west-1 (--"), "{}", stderr(&output));
        let list = String::from_utf8(output.stdout).unwrap();
        assert!(list.contains(" in 210987654321/eu-west-1\""), "{list}");
    }
    let again = setup.run(&["in-use", "--profile", "registry", "--profile", "again"]);
    assert_eq!(tags(&again), ["own"]);
    assert!(
        stderr(&again).contains("--profile again is of an account and Region that are read already"),
        "{}",
        stderr(&again)
    );
}

#[test]
fn a_preview_keeps_what_another_account_runs() {
    let setup = Setup::new();
    let policy = setup.folder.path().join("policy.yaml");
    std::fs::write(&policy, "rules: [{ selection: any, maximumAgeLimit: 14 }]").unwrap();
    let preview = |more: &[&str]| -> usize {
        let arguments =
            ["preview", "--repository", "app", "--output", "json", "--profile", "registry", "--policy"];
        let output = setup.run(&[&arguments[..], &[policy.to_str().unwrap()], more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["previewResults"].as_array().unwrap().len()
    };
    assert_eq!(preview(&[]), 2);
    assert_eq!(preview(&["--profile", "other"]), 1);
    assert_eq!(preview(&["--assume-role", ROLE]), 1);
}

#[test]
fn one_that_cannot_be_read_is_a_gap_and_is_not_left_out() {
    let setup = Setup::new();
    let gap = |arguments: &[&str], expected: &[&str]| {
        let output = setup.run(arguments);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}");
        for part in expected {
            assert!(stderr(&output).contains(part), "{part}: {}", stderr(&output));
        }
        assert!(
            !stderr(&output).contains("add to `ignore`"),
            "the registry's file ignores its own: {}",
            stderr(&output)
        );
    };
    gap(
        &["in-use", "--profile", "registry", "--profile", "missing"],
        &["--profile missing: there is no profile `missing`"],
    );
    gap(
        &["in-use", "--profile", "registry", "--profile", "empty"],
        &["--profile empty: the profile empty has no credentials", "aws sso login --profile empty"],
    );
    let foreign = "arn:aws:iam::210987654321:role/other";
    gap(
        &["in-use", "--profile", "registry", "--assume-role", foreign],
        &["--assume-role arn:aws:iam::210987654321:role/other", "cannot be assumed", "allow sts:AssumeRole"],
    );
    setup.other.cloud(|cloud| cloud.eks_clusters = vec!["shop".to_owned()]);
    gap(
        &["in-use", "--profile", "registry", "--profile", "other"],
        &["210987654321/eu-west-1/eks/shop: no list tells", "usage/210987654321/eks/eu-west-1/shop.json"],
    );
    setup.other.cloud(|cloud| cloud.eks_clusters.clear());
    setup.other.fault_from("ListFunctions", Fault::Denied, 0);
    gap(
        &["in-use", "--profile", "registry", "--profile", "other"],
        &["210987654321/eu-west-1/lambda: ", "ListFunctions"],
    );
}

#[test]
fn commands_that_work_on_one_account_refuse_several_profiles() {
    let setup = Setup::new();
    for arguments in [&["images", "list", "app"][..], &["enforce", "--all"], &["doctor"]] {
        let output = setup.run(&[arguments, &["--profile", "registry", "--profile", "other"]].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains("--profile may be given once"), "{}", stderr(&output));
    }
    assert_eq!(setup.registry.calls().len(), 0);
}
