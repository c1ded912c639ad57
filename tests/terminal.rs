//! The command line against AWS, as a person meets it who does something wrong, or has signed in otherwise than by keys.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tests::binaries::{binary, workspace};
use tests::cloud::{BUCKET, NO_BUCKET};
use tests::ecr_stub::{EcrStub, Fault, Image};
use tests::http;
use tests::site::HOST;
use tests::terminal::{self, bare, signed_in};

const POLICIES_FILE: &str =
    "policies: [{ name: all, repositories: ['*'], apply: delete, limits: { percent: 90 },
    rules: [{ selection: any, maximumAgeLimit: 14 }] }]";

/// An account whose repositories have four old images and a young one.
fn account() -> EcrStub {
    terminal::account(POLICIES_FILE, |name, repository| {
        for number in 0..4 {
            let digest = repository.push(&format!("{name}{number}"), &[&format!("ci-{number}")]);
            repository.age(&digest, 30.0);
        }
        repository.push(&format!("{name} young"), &["latest"]);
    })
}

fn run(aws: &EcrStub, arguments: &[&str]) -> Output {
    signed_in(aws).args(arguments).output().unwrap()
}

#[track_caller]
fn succeed(output: Output) -> String {
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    stdout(&output)
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The message of a wrong use: at once, on standard error alone, in one line or two.
#[track_caller]
fn refusal(command: &mut Command) -> String {
    let started = Instant::now();
    let output = command.output().unwrap();
    let took = started.elapsed();
    assert_eq!(output.status.code(), Some(2), "{}{}", stdout(&output), stderr(&output));
    assert_eq!(stdout(&output), "");
    assert!(took < Duration::from_secs(12), "{took:?}");
    let output = stderr(&output);
    assert!((1..=2).contains(&output.lines().count()), "{output}");
    assert!(!output.contains("Error {") && !output.contains("Kind:"), "no structures of a library: {output}");
    output
}

#[test]
fn a_host_that_cannot_be_reached_is_reported_at_once_with_the_region_and_what_it_may_be() {
    let aws = account();
    let mut typo = signed_in(&aws);
    typo.env_remove("AWS_ENDPOINT_URL").env("AWS_REGION", "eu-wset-1").args(["snapshot", "--all"]);
    let output = refusal(&mut typo);
    let expected =
        "in the Region eu-wset-1 (from AWS_REGION): AWS cannot be reached there; did you mean eu-west-1?\n";
    assert!(
        output.starts_with("ecr-steward: DescribeRepositories: api.ecr.eu-wset-1.")
            && output.ends_with(expected),
        "{output}"
    );

    let mut default = signed_in(&aws);
    default.env_remove("AWS_ENDPOINT_URL").env("AWS_REGION", "").env("AWS_DEFAULT_REGION", "eu-wset-1");
    let output = refusal(default.args(["snapshot", "--all"]));
    assert!(output.contains("in the Region eu-wset-1 (from AWS_DEFAULT_REGION)"), "{output}");

    // Nobody listens there any more.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    for arguments in [&["snapshot", "--all"][..], &["preview", "--all"], &["in-use"], &["enforce", "--all"]] {
        let output =
            refusal(signed_in(&aws).args(arguments).args(["--endpoint-url", &url, "--region", "eu-west-1"]));
        let output = output.replace(&port.to_string(), "PORT");
        let (_, output) = output.split_once("127.0.0.1").unwrap();
        assert_eq!(
            output,
            ":PORT: Connection refused (os error 111), in the Region eu-west-1 (from --region): AWS cannot be reached there; look at \
             the network, the Region and --endpoint-url\n"
        );
    }
}

#[test]
fn a_host_that_accepts_connections_and_answers_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let started = Instant::now();
    let output = signed_in(&account()).args(["snapshot", "--all", "--endpoint-url", &url]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("there was no answer in time"), "{}", stderr(&output));
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

#[test]
fn a_host_that_answers_a_byte_at_a_time_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            std::thread::spawn(move || {
                let _ = connection.read(&mut [0; 4096]);
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: 5000\r\n\r\n";
                let mut sent = connection.write_all(head.as_bytes());
                while sent.is_ok() {
                    std::thread::sleep(Duration::from_millis(500));
                    sent = connection.write_all(b" ");
                }
            });
        }
    });
    let started = Instant::now();
    let url = format!("http://{host}");
    let output = signed_in(&account()).args(["snapshot", "--all", "--endpoint-url", &url]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = stderr(&output);
    assert!(
        message.contains(&format!("{host}: the answer came too slowly to be whole in time")),
        "{message}"
    );
    assert!(message.contains("look at the network"), "{message}");
    assert!(started.elapsed() < Duration::from_secs(40), "{:?}", started.elapsed());
}

#[test]
fn a_host_that_is_none_of_aws_is_called_so() {
    for (status, body) in
        [(200, "<html>Sign in</html>"), (404, "<html>Not found</html>"), (405, ""), (501, "")]
    {
        let host = http::serve(move |_, stream| {
            let headers = vec![("content-type".to_owned(), "text/html".to_owned())];
            http::Response { status, headers, body: body.as_bytes().to_vec() }.write(stream)
        });
        let url = format!("http://{host}");
        let output = refusal(signed_in(&account()).args(["snapshot", "--all", "--endpoint-url", &url]));
        let expected = format!("(HTTP status {status}) is none of AWS");
        assert!(output.contains(&expected) && output.contains("--endpoint-url"), "{output}");
    }
}

#[test]
fn throttling_is_waited_out() {
    let aws = account();
    aws.fault("DescribeRepositories", Fault::Throttled, 3);
    let output = signed_in(&aws).args(["snapshot", "--all"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(aws.count("DescribeRepositories"), 4);
}

#[test]
fn what_is_missing_to_sign_in_is_reported_with_the_way_to_it() {
    let (aws, home) = (account(), tempfile::tempdir().unwrap());
    let path = |name: &str| home.path().join(name);
    fs::write(
        path("config"),
        "[profile ops]\nregion = eu-west-1\n[profile dev]\nregion = eu-north-1\nrole_arn = arn:aws:iam::111122223333:role/dev\n\
         source_profile = base\n[profile one]\nrole_arn = arn:aws:iam::111122223333:role/one\nsource_profile = two\n[profile two]\n\
         role_arn = arn:aws:iam::111122223333:role/two\nsource_profile = one\n",
    )
    .unwrap();
    fs::write(path("broken"), "[profile ops]\nregion = eu-west-1\n[profile dev\n").unwrap();
    let with_files = |command: &mut Command| {
        command.env("AWS_CONFIG_FILE", path("config")).env("AWS_SHARED_CREDENTIALS_FILE", path("none"));
    };
    let mut lines = String::new();
    let mut tell = |command: &mut Command, with: bool| {
        if with {
            with_files(command);
        }
        lines += &refusal(command);
    };
    tell(bare(&aws).args(["in-use"]), false);
    tell(bare(&aws).args(["in-use"]), true);
    tell(bare(&aws).args(["in-use", "--profile", "nope"]), true);
    tell(bare(&aws).args(["in-use"]).env("AWS_PROFILE", "nope"), true);
    tell(bare(&aws).args(["in-use"]).env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b"), false);
    tell(signed_in(&aws).args(["in-use", "--region", "EU West"]), false);
    let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
    tell(bare(&aws).args(["in-use"]).env("AWS_REGION", "").envs(keys), false);
    for profile in ["ops", "dev", "two"] {
        tell(bare(&aws).args(["in-use", "--profile", profile]), true);
    }
    let mut broken = bare(&aws);
    broken.args(["in-use", "--profile", "ops"]).env("AWS_CONFIG_FILE", path("broken"));
    lines += &refusal(&mut broken).replace(&*home.path().to_string_lossy(), "");
    insta::assert_snapshot!(lines, @"
    ecr-steward: there are no credentials: sign in (`aws sso login`, `aws configure`), set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile with --profile
    ecr-steward: there are no credentials: sign in (`aws sso login`, `aws configure`), set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile with --profile; there are dev, one, ops, two
    ecr-steward: there is no profile `nope` in the files of the AWS CLI (~/.aws/config, ~/.aws/credentials); there are dev, one, ops, two
    ecr-steward: there is no profile `nope` in the files of the AWS CLI (~/.aws/config, ~/.aws/credentials); there are dev, one, ops, two
    ecr-steward: there is no Region: add --region, set AWS_REGION, or write it down with `aws configure set region`
    ecr-steward: `EU West` (from --region) is no name of a Region; write one as eu-west-1
    ecr-steward: there is no Region: add --region, set AWS_REGION, or write it down with `aws configure set region`
    ecr-steward: the profile ops has no credentials: sign in (`aws sso login --profile ops`, `aws configure --profile ops`), or name another one with --profile; there are dev, one, two
    ecr-steward: the profile dev has the `source_profile` base, which is not in the files of the AWS CLI (~/.aws/config, ~/.aws/credentials)
    ecr-steward: the profiles two, one, two are each other's `source_profile`, and none has credentials: give one of them keys or a sign-in
    ecr-steward: the files of the AWS CLI are unreadable: error parsing /broken on line 3: Profile definition must end with ']'
    ");
    assert_eq!(aws.calls().len(), 0);
}

#[test]
fn a_denied_call_says_who_made_it_and_what_to_ask_for() {
    let mut lines = String::new();
    for (operation, arguments) in [
        ("DescribeRepositories", &["snapshot", "--all"][..]),
        ("DescribeImages", &["snapshot", "--repository", "team/app"]),
        ("GetObject", &["enforce", "--all"]),
        ("DescribeStacks", &["enforce", "--all"]),
    ] {
        let aws = account();
        aws.fault_from(operation, Fault::Denied, 0);
        lines += &refusal(signed_in(&aws).args(arguments));
    }
    let aws = account();
    aws.fault_from("DescribeRepositories", Fault::Denied, 0);
    aws.fault_from("GetCallerIdentity", Fault::Denied, 0);
    lines += &refusal(signed_in(&aws).args(["snapshot", "--all"]));
    insta::assert_snapshot!(lines, @"
    ecr-steward: arn:aws:iam::123456789012:user/ana is not allowed to do ecr:DescribeRepositories in eu-west-1: ask for that permission
      DescribeRepositories: the role that calls is not allowed to do this: User: arn:aws:sts::123456789012:assumed-role/stub is not authorized
    ecr-steward: arn:aws:iam::123456789012:user/ana is not allowed to do ecr:DescribeImages in eu-west-1: ask for that permission
      DescribeImages: the role that calls is not allowed to do this: User: arn:aws:sts::123456789012:assumed-role/stub is not authorized
    ecr-steward: arn:aws:iam::123456789012:user/ana is not allowed to do s3:GetObject in eu-west-1: ask for that permission
      GetObject: the role that calls is not allowed to do this: s3://stack-sources/policies.yaml: AccessDenied of the stub
    ecr-steward: arn:aws:iam::123456789012:user/ana is not allowed to do cloudformation:DescribeStacks in eu-west-1: ask for that permission
      DescribeStacks: the role that calls is not allowed to do this: HTTP status 403 
    ecr-steward: AWS does not take these credentials: HTTP status 403 
      Sign in again (`aws sso login`), or name another profile with --profile
    ");
}

#[test]
fn expired_credentials_are_one_problem_and_no_reason_to_ignore_a_source() {
    let aws = account();
    let expired = "The security token included in the request is expired";
    for operation in ["DescribeRepositories", "ListClusters", "ListFunctions", "DescribeRegistry"] {
        aws.fault_from(operation, Fault::Error("ExpiredTokenException", expired), 0);
    }
    for arguments in [&["in-use"][..], &["in-use", "--stack", "ecr-steward"], &["explain", "team/app:latest"]]
    {
        let output = refusal(signed_in(&aws).args(arguments));
        assert_eq!(
            output,
            format!(
                "ecr-steward: AWS does not take these credentials: {expired}\n  Sign in again (`aws sso login`), or name another profile \
                 with --profile\n"
            ),
            "{arguments:?}"
        );
    }
}

#[test]
fn every_wrong_use_is_answered_at_once_by_a_line_to_act_on() {
    let (aws, folder) = (account(), tempfile::tempdir().unwrap());
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("policy.yaml", "rules: [{ selection: untagged, maximumAgeLimit: 14 }]\n");
    write("book.yaml", POLICIES_FILE);
    let listing = signed_in(&aws).args(["snapshot", "--repository", "team/app"]).output().unwrap();
    fs::write(folder.path().join("images.json"), listing.stdout).unwrap();
    let mut lines = String::new();
    for arguments in [
        "preview",
        "preview --policy policy.yaml",
        "preview --images images.json",
        "preview --policy images.json --images policy.yaml",
        "preview --policy book.yaml --all",
        "enforce --policies policy.yaml --all",
        "enforce --policies book.yaml",
        "enforce",
        "enforce --all --stack nothing",
        &format!("enforce --all --bucket {NO_BUCKET}"),
        "enforce --all --bucket empty",
        "enforce --all --apply --registry-id 210987654321",
        "snapshot",
        "snapshot --repository team/*x",
        "snapshot --repository team/ap",
        "snapshot --repository Team",
        "policy restore team/app --registry-id 210987654321",
    ] {
        let mut command = signed_in(&aws);
        command.current_dir(folder.path()).args(arguments.split(' '));
        lines += &format!("$ ecr-steward {arguments}\n{}", refusal(&mut command));
    }
    insta::assert_snapshot!(lines, @"
    $ ecr-steward preview
    ecr-steward: name what to preview: --repository NAME or --all for repositories of the account (with their own policies, or --policy FILE), or --policy FILE with --images FILE for images that were listed before
    $ ecr-steward preview --policy policy.yaml
    ecr-steward: name the images, too: --images FILE of a listing, or --repository NAME or --all for those of the account
    $ ecr-steward preview --images images.json
    ecr-steward: name the policy, too: --policy FILE
    $ ecr-steward preview --policy images.json --images policy.yaml
    ecr-steward: images.json: is a listing of images, not a policy: were --policy and --images swapped?
    $ ecr-steward preview --policy book.yaml --all
    ecr-steward: book.yaml: is a policies file, not a policy: `enforce --policies`, `explain --policies` and `check` read it; a policy is one of those that its entries have
    $ ecr-steward enforce --policies policy.yaml --all
    ecr-steward: policy.yaml: is a lifecycle policy, not a policies file: write it as an entry of `policies`, with a `name` and `repositories`, or look at it with `preview --policy`
    $ ecr-steward enforce --policies book.yaml
    ecr-steward: name the repositories: --repository NAME (with * for any characters), or --all
    $ ecr-steward enforce
    ecr-steward: name the repositories: --repository NAME (with * for any characters), or --all
    $ ecr-steward enforce --all --stack nothing
    ecr-steward: there is no stack nothing in eu-west-1: deploy it, or name another one with --stack; a command that has --bucket needs only the bucket
    $ ecr-steward enforce --all --bucket no-such-bucket
    ecr-steward: there is no bucket no-such-bucket; leave out --bucket and name the stack with --stack, whose bucket is then found
    $ ecr-steward enforce --all --bucket empty
    ecr-steward: s3://empty/policies.yaml: there is no such object; put the policies file there, or name one with --policies
    $ ecr-steward enforce --all --apply --registry-id 210987654321
    ecr-steward: --registry-id names another account's registry, which can only be looked at; sign in to that account to change something
    $ ecr-steward snapshot
    ecr-steward: name the repositories: --repository NAME (with * for any characters), or --all
    $ ecr-steward snapshot --repository team/*x
    ecr-steward: no repository of eu-west-1 is named like `team/*x`; `ecr-steward images list '*'` has their names
    $ ecr-steward snapshot --repository team/ap
    ecr-steward: there is no repository team/ap in the registry of eu-west-1; did you mean team/app?
    $ ecr-steward snapshot --repository Team
    ecr-steward: Team is no name of a repository: it has `T`; write lower-case letters, digits, `-`, `_`, `.` and `/` only
    $ ecr-steward policy restore team/app --registry-id 210987654321
    ecr-steward: --registry-id names another account's registry, which can only be looked at; sign in to that account to change something
    ");
    let empty = EcrStub::start();
    let output = refusal(signed_in(&empty).args(["snapshot", "--all"]));
    assert_eq!(output, "ecr-steward: there is no repository in the registry of eu-west-1\n");
}

#[test]
fn options_of_aws_stand_anywhere_and_are_refused_by_what_is_wrong_with_them() {
    let aws = account();
    for arguments in [
        "--endpoint-url 127.0.0.1",
        "--registry-id 12",
        "--bucket s3://a/policies.yaml",
        "--bucket Not_A_Bucket",
    ] {
        let mut command = signed_in(&aws);
        let output = command.args(["in-use"]).args(arguments.split(' ')).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        assert!(stderr(&output).starts_with("error: invalid value"), "{}", stderr(&output));
    }
    let mut command = bare(&aws);
    command.env_remove("AWS_ENDPOINT_URL").env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b");
    let output =
        command.args(["--region", "eu-north-1", "--endpoint-url", &aws.url(), "in-use"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_bucket_is_found_by_its_address_and_by_the_stack() {
    let aws = account();
    for arguments in [&["--bucket", &format!("s3://{BUCKET}/")][..], &["--stack", "ecr-steward"], &[]] {
        let output = signed_in(&aws).args(["enforce", "--all"]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stdout(&output).contains("8 of 10 images will be deleted"), "{}", stdout(&output));
    }
}

#[test]
fn a_policies_file_from_disk_is_previewed_over_a_registry_before_anything_is_deployed() {
    let (aws, folder) = (account(), tempfile::tempdir().unwrap());
    let file = folder.path().join("policies.yaml");
    fs::write(&file, POLICIES_FILE).unwrap();
    aws.cloud(|cloud| cloud.stacks = Default::default());
    let mut command = signed_in(&aws);
    let output = command.args(["enforce", "--all", "--policies"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let table = stdout(&output);
    assert!(table.contains("8 of 10 images will be deleted"), "{table}");
    let end = "Each image with its reason: --output html, or json.\nAdd --apply to do it. It writes a journal into the stack's bucket first: deploy\n  \
               the stack, or name a bucket with --bucket.\n";
    assert!(table.ends_with(end), "{table}");
    assert!(
        aws.operations()
            .iter()
            .all(|operation| !operation.contains("Object") && operation != "DescribeStacks")
    );
    let output = refusal(signed_in(&aws).args(["enforce", "--all", "--apply", "--policies"]).arg(&file));
    assert!(output.starts_with("ecr-steward: there is no stack ecr-steward in eu-west-1"), "{output}");
}

#[test]
fn repositories_are_named_by_patterns_as_in_the_policies_file() {
    let output = signed_in(&account()).args(["snapshot", "--repository", "*/a*"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let snapshot: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(snapshot["imageDetails"][0]["repositoryName"], "team/app");
}

#[test]
fn another_accounts_registry_is_looked_at_by_its_id() {
    let aws = account();
    let output =
        signed_in(&aws).args(["preview", "--all", "--registry-id", "210987654321"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("what runs in the account 210987654321 is not known from here"));
    for call in aws.calls() {
        if ["DescribeRepositories", "DescribeImages", "GetLifecyclePolicy"].contains(&&*call.operation) {
            assert_eq!(call.request["registryId"], "210987654321", "{}", call.operation);
        }
    }
}

#[test]
fn credentials_come_from_profiles_and_programs_as_with_the_aws_cli() {
    let (aws, home) = (account(), tempfile::tempdir().unwrap());
    let path = |name: &str| home.path().join(name);
    fs::write(
        path("program.sh"),
        "#!/bin/sh\necho '{\"Version\":1,\"AccessKeyId\":\"AKIAPROGRAM\",\"SecretAccessKey\":\"s\"}'\n",
    )
    .unwrap();
    let program = format!("/bin/sh {}", path("program.sh").display());
    fs::write(
        path("config"),
        format!("[default]\nregion = eu-west-1\n[profile ops]\nregion = eu-north-1\ncredential_process = {program}\n"),
    )
    .unwrap();
    fs::write(path("credentials"), "[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key = s\n")
        .unwrap();
    let run = |more: &dyn Fn(&mut Command)| {
        let mut command = bare(&aws);
        command
            .env("AWS_CONFIG_FILE", path("config"))
            .env("AWS_SHARED_CREDENTIALS_FILE", path("credentials"));
        more(command.args(["snapshot", "--repository", "team/app"]));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        aws.with(|registry| registry.signed_by.clone())
    };
    assert_eq!(run(&|_| {}).as_deref(), Some("AKIADEFAULT/eu-west-1"));
    assert_eq!(
        run(&|command| _ = command.env("AWS_PROFILE", "ops")).as_deref(),
        Some("AKIAPROGRAM/eu-north-1")
    );
    // A profile that is named goes before keys in the environment; a Region that is named before the profile's.
    let named = run(&|command| {
        command.env("AWS_ACCESS_KEY_ID", "AKIAENV").env("AWS_SECRET_ACCESS_KEY", "s");
        command.args(["--profile", "ops", "--region", "eu-central-1"]);
    });
    assert_eq!(named.as_deref(), Some("AKIAPROGRAM/eu-central-1"));
}

#[test]
fn a_session_of_aws_login_signs_in_as_with_the_aws_cli() {
    let (aws, home) = (account(), tempfile::tempdir().unwrap());
    let session = "arn:aws:iam::123456789012:user/ana";
    let config = home.path().join("config");
    fs::write(&config, format!("[profile work]\nregion = eu-west-1\nlogin_session = {session}\n")).unwrap();
    let snapshot = || {
        let mut command = bare(&aws);
        command.env("AWS_CONFIG_FILE", &config).env("AWS_LOGIN_CACHE_DIRECTORY", home.path()).args([
            "snapshot",
            "--repository",
            "team/app",
            "--profile",
            "work",
        ]);
        command
    };
    assert_eq!(
        refusal(&mut snapshot()),
        "ecr-steward: the profile work is not signed in: aws login --profile work\n"
    );
    let token = json!({
        "accessToken": { "accessKeyId": "AKIALOGIN", "secretAccessKey": "s", "sessionToken": "t",
            "accountId": "123456789012", "expiresAt": "2099-01-01T00:00:00Z" },
        "tokenType": "aws_sigv4", "refreshToken": "r", "clientId": "arn:aws:signin:::devtools/same-device", "dpopKey": "k",
    });
    let name: String = Sha256::digest(session).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(home.path().join(format!("{name}.json")), token.to_string()).unwrap();
    succeed(snapshot().output().unwrap());
    assert_eq!(aws.with(|registry| registry.signed_by.clone()).as_deref(), Some("AKIALOGIN/eu-west-1"));
}

#[test]
fn endpoints_of_profiles_are_those_of_all_calls() {
    let (aws, home) = (account(), tempfile::tempdir().unwrap());
    let (config, keys) = (home.path().join("config"), "aws_access_key_id = A\naws_secret_access_key = s");
    let url = aws.url();
    let text = format!(
        "[profile whole]\nregion = eu-west-1\nendpoint_url = {url}\n{keys}\n\
         [profile parts]\nregion = eu-west-1\nservices = local\n{keys}\n\
         [profile other]\nregion = eu-west-1\nendpoint_url = http://127.0.0.1:1\n{keys}\n\
         [services local]\necr =\n  endpoint_url = {url}\n"
    );
    fs::write(&config, text).unwrap();
    let steward = |arguments: &[&str]| {
        let mut command = bare(&aws);
        command.env("AWS_CONFIG_FILE", &config).env_remove("AWS_ENDPOINT_URL").args(arguments);
        command
    };
    // Amazon ECR by a client of the SDK; CloudFormation, Amazon ECS and the others without one.
    succeed(steward(&["enforce", "--all", "--profile", "whole"]).output().unwrap());
    succeed(steward(&["images", "list", "team/app", "--profile", "parts"]).output().unwrap());
    // The environment goes before the files.
    let mut named = steward(&["images", "list", "team/app", "--profile", "other"]);
    succeed(named.env("AWS_ENDPOINT_URL_ECR", &url).output().unwrap());
    let elsewhere = refusal(&mut steward(&["images", "list", "team/app", "--profile", "other"]));
    assert!(elsewhere.contains("127.0.0.1:1: Connection refused"), "{elsewhere}");
}

#[test]
fn images_are_listed_as_ecr_describes_them() {
    let aws = account();
    let docker: &'static str = "application/vnd.docker.distribution.manifest.v2+json";
    aws.with(|registry| {
        let repository = registry.repositories.get_mut("team/app").unwrap();
        repository.images.iter_mut().for_each(|image| image.media_type = docker);
    });
    let array = succeed(run(&aws, &["images", "list", "team/app", "--output", "json"]));
    let array: Vec<Value> = serde_json::from_str(&array).unwrap();
    assert_eq!(array.len(), 5);
    assert!(array.iter().all(|image| image["imageManifestMediaType"] == docker), "{array:?}");
    assert!(
        aws.operations().iter().all(|operation| operation != "BatchGetImage"),
        "a manifest that is read is pulled"
    );
    let lines = succeed(run(&aws, &["images", "list", "team/app", "--output", "ndjson"]));
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, array);
    let oldest = succeed(run(&aws, &["images", "list", "team/*", "--output", "ndjson", "--sort", "tag"]));
    let tags: Vec<Value> = oldest
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["imageTags"][0].clone())
        .collect();
    let of_one = ["ci-0", "ci-1", "ci-2", "ci-3", "latest"];
    assert_eq!(tags, [of_one, of_one].concat());
    let table = succeed(run(&aws, &["images", "list", "team/app", "--sort", "tag"]));
    let tags: Vec<&str> = table.lines().skip(2).filter_map(|line| line.split_whitespace().last()).collect();
    assert_eq!(tags, of_one);
}

#[test]
fn a_run_is_printed_as_lines_of_its_repositories_and_of_itself() {
    let aws = account();
    let report: Value =
        serde_json::from_str(&succeed(run(&aws, &["enforce", "--all", "--output", "json"]))).unwrap();
    let lines = succeed(run(&aws, &["enforce", "--all", "--output", "ndjson"]));
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [repositories @ .., last] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(Value::from(repositories), report["repositories"]);
    assert_eq!(last["repositories"], json!([]));
    assert_eq!(last["totals"], report["totals"]);
    let schema = shared::report::schema::named("run-line").unwrap().value();
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    assert!(lines.iter().all(|line| schema.is_valid(line)));
}

#[test]
fn a_run_shows_the_repositories_that_are_asked_for_in_the_order_that_is() {
    let aws = account();
    aws.with(|registry| {
        // Of the one two expire, of the other one four.
        let app = registry.repositories.get_mut("team/app").unwrap();
        let is_kept = |image: &&Image| ["ci-0", "ci-1"].iter().any(|tag| image.tags.contains(*tag));
        let kept: Vec<String> = app.images.iter().filter(is_kept).map(|image| image.digest.clone()).collect();
        kept.iter().for_each(|digest| app.age(digest, 1.0));
    });
    let shown = |arguments: &[&str]| {
        let table = succeed(run(&aws, &[&["enforce", "--all"], arguments].concat()));
        let rows = table.lines().filter_map(|line| line.split_whitespace().next());
        rows.filter(|word| word.starts_with("team/")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(shown(&["--sort", "repository"]), ["team/app", "team/web"]);
    assert_eq!(shown(&["--sort", "images"]), ["team/web", "team/app"]);
    assert_eq!(shown(&["--sort", "size", "--show", "expires"]).len(), 2);
    assert_eq!(shown(&["--show", "attention"]), [""; 0]);
}

/// Lines that are longer than a terminal is wide, but for what somebody copies: one word, as a digest, an address or a name, and a
/// command.
fn too_long(text: &str, width: usize) -> Vec<&str> {
    let is_copied = |line: &str| !line.contains(' ') || line.starts_with("ecr-steward ");
    let is_long = |line: &&str| line.chars().count() > width && !is_copied(line.trim());
    text.lines().filter(is_long).collect()
}

#[test]
fn no_table_is_wider_than_the_terminal() {
    let aws = account();
    aws.with(|registry| {
        let name = "platform/payments-and-invoices/reconciliation-of-accounts-worker";
        let mut repository = tests::site::repository(name);
        let tags = ["release-2026-11-23-with-a-long-name", "latest-of-the-main-branch", "v1.20.300-rc.1"];
        let first = repository.push("first", &tags);
        let children = ["amd64", "arm64"].map(|platform| repository.push(platform, &[]));
        let index = repository.push_index(&children.each_ref().map(String::as_str), &["v1"]);
        for digest in children.iter().chain([&first, &index]) {
            repository.age(digest, 1300.0);
        }
        repository.push("second", &["next"]);
        registry.repositories.insert(name.to_owned(), repository);
    });
    aws.cloud(|cloud| {
        let definition = cloud.ecs.register("web", &[&format!("{HOST}/team/app:ci-3")]);
        cloud.ecs.run_task("production", &definition, None);
    });
    succeed(run(&aws, &["enforce", "--repository", "team/web", "--apply"]));
    let first_run = succeed(run(&aws, &["runs", "list"]));
    let run_id = first_run.lines().nth(1).and_then(|line| line.split(' ').next()).unwrap().to_owned();
    let deleted = aws
        .cloud(|cloud| cloud.keys(BUCKET, "journal/"))
        .into_iter()
        .find(|key| key.contains("/team/web/"))
        .unwrap();
    let line = aws.cloud(|cloud| cloud.object_text(&format!("{BUCKET}/{deleted}")).unwrap());
    let line: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    let deleted = format!("team/web@{}", line["imageDigest"].as_str().unwrap());
    aws.cloud(|cloud| cloud.eks_clusters.push("a-cluster-of-the-shop".to_owned()));
    for arguments in [
        &["preview", "--all"][..],
        &["preview", "--all", "--show", "all"],
        &["preview", "--all", "--summary"],
        &["enforce", "--all"],
        &["images", "list", "*"],
        &["images", "restore", &deleted],
        &["runs", "list"],
        &["runs", "show", &run_id],
        &["history", &deleted],
        &["explain", "team/app:ci-1"],
        &["explain", "team/app:ci-3", "--bucket", BUCKET],
        &["doctor"],
        &["explain-code"],
        &["explain-code", "limit-percent"],
        &["schema"],
    ] {
        for width in [20, 40, 50, 60, 61, 62, 80, 100, 140, 200] {
            let output = signed_in(&aws).env("COLUMNS", width.to_string()).args(arguments).output().unwrap();
            assert!(output.status.code().is_some_and(|code| code < 2), "{arguments:?}: {}", stderr(&output));
            let text = stdout(&output);
            assert!(!text.is_empty() || arguments[0] == "schema", "{arguments:?}");
            // Narrower than this commands still work, and words run over the edge.
            let width = width.max(40);
            let long = too_long(&text, width);
            assert!(long.is_empty(), "{arguments:?} at {width}: {long:#?}\n{text}");
        }
    }
    // What a pipe reads has a line for each run, and sentences in one piece.
    let piped = succeed(run(&aws, &["runs", "list"]));
    assert_eq!(piped.lines().count(), 2, "{piped}");
}

#[test]
fn runs_are_listed_by_their_start_and_not_by_when_their_reports_were_written() {
    let aws = account();
    succeed(run(&aws, &["enforce", "--repository", "team/app", "--apply"]));
    let report = aws.cloud(|cloud| {
        let key = cloud.keys(BUCKET, "runs/").into_iter().find(|key| key.ends_with("/report.json")).unwrap();
        let path = format!("{BUCKET}/{key}");
        let report = cloud.object_text(&path).unwrap();
        cloud.delete(&path);
        report
    });
    let mut report: Value = serde_json::from_str(&report).unwrap();
    // As in a bucket that was copied: all are of today, and written in any order. There are more than are read at once.
    let days = [7, 19, 2, 11, 20, 1, 15, 4, 9, 3, 17, 5, 12, 6, 18, 8, 16, 10, 14, 13];
    for (place, day) in days.iter().enumerate() {
        let id = format!("nightly-{place:02}");
        report["runId"] = json!(id);
        report["startedAt"] = json!(format!("2026-10-{day:02}T03:00:00Z"));
        aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/runs/{id}/report.json"), &report.to_string()));
    }
    let listed = |last: &str| -> Vec<String> {
        let list = succeed(run(&aws, &["runs", "list", "--last", last]));
        list.lines().skip(1).map(|line| line.split_whitespace().nth(1).unwrap().to_owned()).collect()
    };
    assert_eq!(listed("3"), ["2026-10-20", "2026-10-19", "2026-10-18"]);
    let all = listed("100");
    assert_eq!(all.len(), days.len());
    assert!(all.is_sorted_by(|one, other| one > other), "{all:?}");
}

#[test]
fn a_name_of_the_policies_file_that_no_repository_has_is_a_warning() {
    let (aws, folder) = (account(), tempfile::tempdir().unwrap());
    let file = folder.path().join("policies.yaml");
    let text = POLICIES_FILE.replace("['*']", "['team/*', team/wbe, 'shop/*']");
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let output = run(&aws, &["enforce", "--all", "--policies", file]);
    assert_eq!(
        stderr(&output),
        "ecr-steward: warning: all: no repository of the registry is named like team/wbe; did you mean team/web?\n\
         ecr-steward: warning: all: no repository of the registry is named like shop/*\n"
    );
    // Of some repositories it says nothing about the others.
    assert_eq!(stderr(&run(&aws, &["enforce", "--repository", "team/app", "--policies", file])), "");
}

#[test]
fn an_invalid_policies_file_is_refused_with_its_lines() {
    let (aws, folder) = (account(), tempfile::tempdir().unwrap());
    fs::write(
        folder.path().join("policies.yaml"),
        "policies:\n  - name: all\n    repositorys: ['*']\n    rules: 3\n",
    )
    .unwrap();
    let output = signed_in(&aws)
        .current_dir(folder.path())
        .args(["enforce", "--all", "--policies", "policies.yaml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(text.starts_with("ecr-steward: policies.yaml: is not valid, "), "{text}");
    let check = Command::new(binary("ecr-steward"))
        .current_dir(folder.path())
        .args(["check", "policies.yaml"])
        .output()
        .unwrap();
    let lines = stdout(&check);
    assert!(lines.contains("policies.yaml:3:5: "), "{lines}");
    assert_eq!(text.split_once('\n').unwrap().1, lines);
}

#[test]
fn a_cut_off_line_of_the_journal_does_not_end_the_history() {
    let aws = account();
    succeed(run(&aws, &["enforce", "--repository", "team/app", "--apply"]));
    let (key, whole) = aws.cloud(|cloud| {
        let key = cloud.keys(BUCKET, "journal/").into_iter().find(|key| key.contains("/team/app/")).unwrap();
        let whole = cloud.object_text(&format!("{BUCKET}/{key}")).unwrap();
        (key, whole)
    });
    let cut = &whole[..whole.trim_end().len() - 20];
    aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/{key}"), cut));
    let output = run(&aws, &["history", "team/app:ci-0"]);
    let number = whole.lines().count();
    assert!(
        stderr(&output).starts_with(&format!(
            "ecr-steward: warning: s3://{BUCKET}/{key}: line {number} of the journal is left out: the text ends"
        )),
        "{}",
        stderr(&output)
    );
    let found = ["ci-0", "ci-1", "ci-2", "ci-3"]
        .iter()
        .filter(|tag| run(&aws, &["history", &format!("team/app:{tag}")]).status.success())
        .count();
    assert_eq!(found, number - 1);
}

#[test]
fn an_image_is_explained_by_a_policies_file_on_disk_before_anything_is_deployed() {
    let (aws, folder) = (account(), tempfile::tempdir().unwrap());
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let policies = write("policies.yaml", POLICIES_FILE);
    aws.cloud(|cloud| cloud.stacks = Default::default());
    let explain = |image: &str| succeed(run(&aws, &["explain", image, "--policies", &policies]));
    let old = explain("team/app:ci-0");
    assert!(old.contains(&format!("Policy: all of {policies} (apply: delete)")), "{old}");
    assert!(old.contains("Expires: ") && !old.contains("Kept: "), "{old}");
    assert!(explain("team/app:latest").contains("Kept: "));

    // What the file says of use counts, as in `enforce --policies`.
    let missing = POLICIES_FILE.to_owned() + "\nusage: { lists: [{ key: usage/none.json }] }\n";
    let policies = write("with-list.yaml", &missing);
    let output = run(&aws, &["explain", "team/app:ci-0", "--policies", &policies]);
    assert!(stdout(&output).contains("Blocked: "), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("usage/none.json"), "{}", stdout(&output));

    let policy = write("policy.yaml", "rules: [{ selection: untagged, maximumAgeLimit: 14 }]\n");
    let output = refusal(signed_in(&aws).args(["explain", "team/app:ci-0", "--policies", &policy]));
    assert!(output.contains("is a lifecycle policy, not a policies file"), "{output}");
    assert_eq!(aws.count("BatchDeleteImage"), 0);
}

#[test]
fn an_explanation_says_that_the_bucket_has_no_policies_file() {
    let aws = account();
    let output = run(&aws, &["explain", "team/app:latest", "--bucket", "empty"]);
    assert!(
        stderr(&output).contains(
            "warning: s3://empty has no policies.yaml: this goes by the lifecycle policy of the repository"
        ),
        "{}",
        stderr(&output)
    );
}

/// The program on a terminal of ten lines and a hundred columns; what it shows, and its exit code.
fn on_a_terminal(folder: &Path, arguments: &str, environment: &[(&str, &str)]) -> (String, Option<i32>) {
    let program = binary("ecr-steward").display();
    let mut command = Command::new("script");
    command
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("TERM", "xterm")
        .envs(environment.iter().copied())
        .args(["-qec", &format!("stty rows 10 cols 100; {program} {arguments}"), "/dev/null"])
        .stdin(Stdio::null());
    let output = command.output().unwrap();
    (stdout(&output).replace("\r\n", "\n"), output.status.code())
}

#[test]
fn what_is_longer_than_the_screen_is_shown_by_the_pager() {
    let folder = tempfile::tempdir().unwrap();
    let wrong: Vec<String> = (0..20).map(|number| format!("wrong{number}: 1")).collect();
    fs::write(folder.path().join("long.yaml"), format!("rules: []\n{}\n", wrong.join("\n"))).unwrap();
    fs::write(folder.path().join("short.yaml"), "rules: []\nwrong: 1\n").unwrap();
    let mark = [("ECR_STEWARD_PAGER", "sed s/^/PAGED:/")];
    // What it says on standard error is not of the pager.
    let (paged, code) = on_a_terminal(folder.path(), "check long.yaml 2>/dev/null", &mark);
    assert_eq!(code, Some(1));
    assert!(paged.lines().count() > 20 && paged.lines().all(|line| line.starts_with("PAGED:")), "{paged}");
    let plain = paged.replace("PAGED:", "");
    // What fits, what is asked for, and terminals that cannot.
    let (short, code) = on_a_terminal(folder.path(), "check short.yaml", &mark);
    assert!(code == Some(1) && short.contains("wrong") && !short.contains("PAGED"), "{short}");
    for (more, environment) in [
        (" --no-pager", vec![mark[0]]),
        ("", vec![mark[0], ("TERM", "dumb")]),
        ("", vec![("PAGER", "no-such-program")]),
        ("", vec![("PAGER", "cat")]),
    ] {
        let (shown, code) =
            on_a_terminal(folder.path(), &format!("check long.yaml{more} 2>/dev/null"), &environment);
        assert_eq!((shown.as_str(), code), (plain.as_str(), Some(1)), "{environment:?}");
    }
    // git's variable is second, and who leaves the pager changes no exit code.
    let (first, code) =
        on_a_terminal(folder.path(), "check long.yaml 2>/dev/null", &[("PAGER", "head -n 1")]);
    assert_eq!((first.as_str(), code), (plain.split_inclusive('\n').next().unwrap(), Some(1)));
    // What is no terminal has no pager.
    let piped = Command::new(binary("ecr-steward"))
        .current_dir(folder.path())
        .args(["check", "long.yaml"])
        .envs(mark)
        .output()
        .unwrap();
    assert_eq!(stdout(&piped), plain);
}

#[test]
fn a_terminal_without_escapes_is_sent_none() {
    let (aws, folder) = (account(), tempfile::tempdir().unwrap());
    let url = aws.url();
    let environment = [
        ("TERM", "dumb"),
        ("AWS_ENDPOINT_URL", &*url),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "A"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
    ];
    aws.fault("DescribeImages", Fault::Slow(Duration::from_millis(500)), 1);
    let (shown, code) = on_a_terminal(folder.path(), "enforce --all --bucket steward-1", &environment);
    assert!(shown.contains("will be deleted") || code == Some(2), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}

#[test]
fn progress_says_that_aws_throttles() {
    let (aws, folder) = (account(), tempfile::tempdir().unwrap());
    let url = aws.url();
    let environment = [
        ("AWS_ENDPOINT_URL", &*url),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "A"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
    ];
    aws.fault("DescribeRepositories", Fault::Throttled, 3);
    let (shown, code) = on_a_terminal(folder.path(), "images list team/app", &environment);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains(", AWS throttles the calls"), "{shown:?}");
}

#[test]
fn exit_codes_hold_when_output_is_closed_and_when_the_disk_is_full() {
    let aws = account();
    aws.fault_from("ListFunctions", Fault::Denied, 0);
    let closed = |arguments: &[&str]| {
        let mut child =
            signed_in(&aws).args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        drop(child.stdout.take());
        child.wait().unwrap().code()
    };
    assert_eq!(closed(&["enforce", "--all"]), Some(1), "something needs attention, whoever reads it");
    assert_eq!(closed(&["preview", "--repository", "team/app"]), Some(0));
    assert_eq!(closed(&["--help"]), Some(0));
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert_eq!(closed(&["completions", shell]), Some(0), "{shell}");
    }
    assert!(Path::new("/dev/full").exists());
    for arguments in [
        &["completions", "bash"][..],
        &["--help"],
        &["--version"],
        &["protection-rule"],
        &["enforce", "--all"],
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = signed_in(&aws).args(arguments).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(
            stderr(&output),
            "ecr-steward: standard output: No space left on device (os error 28)\n",
            "{arguments:?}"
        );
    }
}

/// What people ask.
mod questions {
    use super::*;

    #[test]
    fn an_image_is_explained_by_its_rule_its_users_and_when_it_expires() {
        let aws = account_with_a_task_and_a_policy_by_age(60);
        // By its own policy it goes in a month; by policies.yaml now.
        let own = succeed(run(&aws, &["explain", "team/app:ci-1"]));
        assert!(
            own.contains("Policy: the lifecycle policy of the repository, which ECR applies\nKept: "),
            "{own}"
        );
        assert!(own.contains("Expires: 2") && own.contains("if nothing changes"), "{own}");
        let policies_file =
            succeed(run(&aws, &["explain", &format!("{HOST}/team/app:ci-1"), "--stack", "ecr-steward"]));
        assert!(
            policies_file.contains(
                "Policy: all of policies.yaml (apply: delete)\nExpires: Pushed 30 days ago; rule 1"
            ),
            "{policies_file}"
        );
        let used = succeed(run(&aws, &["explain", "team/app:ci-0", "--bucket", BUCKET]));
        assert!(
            used.contains("\nKept: ") && used.contains("\nIn use: ") && used.contains("task/prod/"),
            "{used}"
        );
        let json: Value = serde_json::from_str(&succeed(run(
            &aws,
            &["explain", "team/app:ci-1", "--bucket", BUCKET, "--output", "json"],
        )))
        .unwrap();
        assert_eq!(
            (json["verdict"].as_str(), json["appliedRulePriority"].as_u64()),
            (Some("EXPIRES"), Some(1))
        );
        for (image, expected) in [
            (
                "team/app:ci-11",
                "ecr-steward: there is no image ci-11 in team/app; did you mean team/app:ci-1?\n",
            ),
            (
                "team/ap:ci-1",
                "ecr-steward: there is no repository team/ap in the registry of eu-west-1; did you mean team/app?\n",
            ),
            (
                "210987654321.dkr.ecr.eu-west-1.amazonaws.com/team/app:ci-1",
                "ecr-steward: 210987654321.dkr.ecr.eu-west-1.amazonaws.com/team/app:ci-1 is of the registry 210987654321 in eu-west-1; \
                 sign in to that account and Region (--profile, --region)\n",
            ),
        ] {
            assert_eq!(refusal(signed_in(&aws).args(["explain", image])), expected);
        }
    }

    /// The account with a task that runs an image of 30 days, whose repository has a policy of its own: images older than this
    /// number of days expire.
    fn account_with_a_task_and_a_policy_by_age(days: u32) -> EcrStub {
        let aws = account();
        aws.with(|registry| {
            let policy = json!({ "rules": [{ "rulePriority": 1, "selection": { "tagStatus": "any",
                "countType": "sinceImagePushed", "countUnit": "days", "countNumber": days }, "action": { "type": "expire" } }] });
            registry.repositories.get_mut("team/app").unwrap().lifecycle_policy = Some(policy.to_string());
        });
        aws.cloud(|cloud| {
            let definition = cloud.ecs.register("web", &[&format!("{HOST}/team/app:ci-0")]);
            cloud.ecs.run_task("prod", &definition, None);
        });
        aws
    }

    #[test]
    fn what_ecr_expires_of_the_images_in_use_is_reported_by_preview_and_explain() {
        let aws = account_with_a_task_and_a_policy_by_age(20);
        let explained = succeed(run(&aws, &["explain", "team/app:ci-0"]));
        assert!(
            explained.contains("\nExpires: Pushed 30 days ago") && explained.contains("\nIn use: "),
            "{explained}"
        );
        assert!(explained.contains("\nAttention: ECR takes it although it is in use"), "{explained}");
        let preview: Value = serde_json::from_str(&succeed(run(
            &aws,
            &["preview", "--repository", "team/app", "--output", "json"],
        )))
        .unwrap();
        let report = preview.as_array().map_or(&preview, |reports| &reports[0]);
        assert_eq!(report["summary"]["expiringImageTotalCount"], 4, "{report:#}");
        assert_eq!(report["findings"][0]["code"], "in-use-expires", "{report:#}");
        // By a policy that this program would enforce, use keeps it.
        let policy = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
        fs::write(policy.path(), "rules: [{ selection: any, maximumAgeLimit: 20 }]").unwrap();
        let path = policy.path().to_str().unwrap();
        let explained = succeed(run(&aws, &["explain", "team/app:ci-0", "--policy", path]));
        assert!(explained.contains("\nKept: ") && !explained.contains("Attention"), "{explained}");
    }

    #[test]
    fn a_dry_run_in_a_terminal_says_that_ecr_acts_beside_it() {
        let aws = account_with_a_task_and_a_policy_by_age(20);
        let output = run(&aws, &["enforce", "--repository", "team/app"]);
        let printed = format!("{}{}", stdout(&output), stderr(&output));
        let printed = printed.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(printed.contains("lifecycle policy of its own"), "{printed}");
        assert!(printed.contains("would expire 1 image in use"), "{printed}");
    }

    #[test]
    fn a_dry_run_asks_for_a_lifecycle_policy_only_where_it_matters() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policies.yaml");
        let asked = |aws: &EcrStub, apply: &str| {
            let policies = format!(
                "policies: [{{ name: all, repositories: ['*'], apply: {apply}, rules: [{{ selection: any, maximumAgeLimit: 14 }}],
                limits: {{ images: 100, percent: 100 }} }}]"
            );
            fs::write(&file, policies).unwrap();
            aws.forget_calls();
            run(aws, &["enforce", "--all", "--policies", file.to_str().unwrap()]);
            let calls = aws.calls().into_iter().filter(|call| call.operation == "GetLifecyclePolicy");
            let mut names: Vec<String> =
                calls.map(|call| call.request["repositoryName"].as_str().unwrap().to_owned()).collect();
            names.sort();
            names
        };
        // ECR acts beside what deletes; beside a preview it may take what is in use.
        assert_eq!(asked(&account(), "preview"), [""; 0]);
        assert_eq!(asked(&account(), "delete"), ["team/app", "team/web"]);
        assert_eq!(asked(&account_with_a_task_and_a_policy_by_age(20), "preview"), ["team/app"]);
    }

    #[test]
    fn what_was_done_is_found_by_run_and_by_image() {
        let aws = account();
        assert_eq!(stderr(&run(&aws, &["runs", "list"])), "There is no run yet\n");
        let digest = aws.with(|registry| {
            let images = &registry.repositories["team/app"].images;
            images.iter().find(|image| image.tags.contains("ci-1")).unwrap().digest.clone()
        });
        succeed(run(&aws, &["enforce", "--repository", "team/app", "--apply"]));
        let list = succeed(run(&aws, &["runs", "list"]));
        let line = list.lines().nth(1).unwrap();
        assert!(
            line.starts_with("terminal-") && line.contains(" done ") && line.ends_with("user/ana"),
            "{list}"
        );
        let id = line.split(' ').next().unwrap();
        let shown = succeed(run(&aws, &["runs", "show", id]));
        assert!(shown.contains("4 of 5 images deleted"), "{shown}");
        let output = refusal(signed_in(&aws).args(["runs", "show", "nothing"]));
        assert!(output.contains("`ecr-steward runs list` has those that there are"), "{output}");

        let history = succeed(run(&aws, &["history", "team/app:ci-1"]));
        assert!(history.starts_with(&format!("{digest} deleted on 2")), "{history}");
        for part in [
            "user/ana\n",
            "by rule 1 of all in policies.yaml",
            "Pushed 30 days ago",
            "by what was in use at 2",
            &format!("ecr-steward images restore team/app@{digest} --apply"),
        ] {
            assert!(history.contains(part), "{part}: {history}");
        }
        let json: Value = serde_json::from_str(&succeed(run(
            &aws,
            &["history", &format!("team/app@{digest}"), "--output", "json"],
        )))
        .unwrap();
        assert!(json[0]["imageManifest"].as_str().unwrap().contains("schemaVersion"));
        assert_eq!((&json[0]["outcome"], &json[0]["present"]), (&json!("DELETED"), &json!("GONE")));
        let nothing = run(&aws, &["history", "team/app:latest"]);
        assert_eq!(nothing.status.code(), Some(1));
        assert_eq!(stderr(&nothing), "The journal of the last 90 days has no image latest of team/app\n");
    }

    #[test]
    fn the_history_does_not_say_deleted_of_an_image_that_nobody_deleted() {
        let aws = account();
        aws.fault_from("BatchDeleteImage", Fault::Denied, 0);
        let output = run(&aws, &["enforce", "--repository", "team/app", "--apply"]);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        aws.heal();
        let history = succeed(run(&aws, &["history", "team/app:ci-1"]));
        assert!(history.contains(" was to be deleted on 2"), "{history}");
        assert!(history.contains("; the repository has it now"), "{history}");
        assert!(!history.contains(" deleted on") || history.contains("to be deleted on"), "{history}");
        assert!(!history.contains("To get it back"), "{history}");
        let list = succeed(run(&aws, &["runs", "list"]));
        let line: Vec<&str> = list.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(line[3..6], ["problems", "4", "0"], "planned and deleted: {list}");
        let elsewhere = run(&aws, &["history", "ghcr.io/team/app:ci-1"]);
        assert!(
            stderr(&elsewhere).contains("is not Amazon ECR; write team/app without it"),
            "{}",
            stderr(&elsewhere)
        );
    }

    #[test]
    fn a_repository_that_cannot_be_read_is_named_and_the_others_are_shown() {
        for arguments in [
            &["preview", "--all"][..],
            &["suggest", "--all"],
            &["snapshot", "--all"],
            &["images", "list", "*"],
            &["images", "list", "*", "--output", "json"],
        ] {
            let aws = account();
            aws.fault("DescribeImages", Fault::Denied, 1);
            let output = run(&aws, arguments);
            let (out, errors) = (stdout(&output), stderr(&output));
            assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
            let is_app = errors.contains("ecr-steward: team/app is left out: DescribeImages: ");
            let is_web = errors.contains("ecr-steward: team/web is left out: DescribeImages: ");
            assert!(is_app != is_web, "{arguments:?}: {errors}");
            assert!(
                errors.ends_with("ecr-steward: 1 of 2 repositories is left out\n"),
                "{arguments:?}: {errors}"
            );
            // A suggestion is about patterns of names.
            if arguments[0] != "suggest" {
                assert!(
                    out.contains("team/app") == is_web && out.contains("team/web") == is_app,
                    "{arguments:?}: {out}"
                );
            }
        }
        let aws = account();
        aws.fault("DescribeImages", Fault::Denied, 1);
        assert!(
            refusal(signed_in(&aws).args(["images", "list", "team/app"])).contains("ask for that permission")
        );
    }

    #[test]
    fn the_own_account_is_no_other_one() {
        let aws = account();
        let own = ["--repository", "team/app", "--registry-id", "123456789012"];
        let output = run(&aws, &[&["preview"][..], &own].concat());
        assert!(
            output.status.success() && !stderr(&output).contains("is not known from here"),
            "{}",
            stderr(&output)
        );
        succeed(run(&aws, &[&["enforce"][..], &own].concat()));
        let other = ["enforce", "--repository", "team/app", "--registry-id", "210987654321"];
        assert!(refusal(signed_in(&aws).args(other)).contains("another account's registry"));
        let output = run(&aws, &["enforce", "--repository", "team/app", "--save-plan", "-"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(
            stderr(&output).contains("standard output has the report; name a file"),
            "{}",
            stderr(&output)
        );
    }

    #[test]
    fn a_policies_file_begins_with_a_template_or_with_what_is_there() {
        let (aws, folder) = (account(), tempfile::tempdir().unwrap());
        let here =
            |arguments: &[&str]| signed_in(&aws).current_dir(folder.path()).args(arguments).output().unwrap();
        succeed(here(&["init"]));
        succeed(here(&["check", "policies.yaml"]));
        assert!(
            stdout(&here(&["enforce", "--policies", "policies.yaml", "--all"]))
                .contains("0 of 10 images will be deleted")
        );
        let again = here(&["init"]);
        assert_eq!(again.status.code(), Some(2));
        assert!(
            stderr(&again).starts_with("ecr-steward: policies.yaml: is there already, and left as it is")
        );

        aws.with(|registry| {
            let app = registry.repositories.get_mut("team/app").unwrap();
            for number in 0..30 {
                let digest = app.push(&format!("build {number}"), &[&format!("build-{number}")]);
                app.age(&digest, 100.0);
            }
        });
        let suggested = succeed(here(&["suggest", "--all"]));
        assert!(
            suggested.contains("tagPrefixList: [\"build-\"]") && suggested.contains("# expires "),
            "{suggested}"
        );
        assert!(!suggested.contains("ci-"), "four are not many: {suggested}");
        fs::write(folder.path().join("suggested.yaml"), &suggested).unwrap();
        succeed(here(&["check", "suggested.yaml"]));
        let shown = stdout(&here(&["enforce", "--policies", "suggested.yaml", "--all"]));
        let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(shown.contains("expire under policies that only preview (apply: preview)"), "{shown}");
        assert!(shown.contains("There is nothing that --apply would do."), "{shown}");
    }

    #[test]
    fn a_change_of_a_policy_fails_ci_when_more_images_expire_than_it_may() {
        let (aws, folder) = (account(), tempfile::tempdir().unwrap());
        let policy = |name: &str, days: u32| {
            let text = format!("rules: [{{ selection: any, maximumAgeLimit: {days} }}]\n");
            fs::write(folder.path().join(name), text).unwrap();
        };
        policy("old.yaml", 40);
        policy("new.yaml", 20);
        let images = run(&aws, &["snapshot", "--repository", "team/app"]);
        fs::write(folder.path().join("images.json"), images.stdout).unwrap();
        let against = |arguments: &[&str]| {
            let mut command = signed_in(&aws);
            command.current_dir(folder.path()).args([
                "preview",
                "--policy",
                "new.yaml",
                "--against",
                "old.yaml",
            ]);
            command.args(arguments).output().unwrap()
        };
        let output = against(&["--images", "images.json"]);
        assert_eq!(output.status.code(), Some(1));
        let output = stderr(&output);
        assert!(
            output.starts_with("4 images (") && output.contains("\n  team/app: ci-0: Pushed 30 days ago"),
            "{output}"
        );
        assert_eq!(against(&["--images", "images.json", "--allow", "4"]).status.code(), Some(0));
        assert_eq!(against(&["--all", "--allow", "7"]).status.code(), Some(1), "eight in two repositories");
        assert_eq!(against(&["--all", "--allow", "8"]).status.code(), Some(0));
        let mut command = signed_in(&aws);
        let same = command.current_dir(folder.path()).args([
            "preview",
            "--policy",
            "old.yaml",
            "--against",
            "new.yaml",
            "--all",
        ]);
        assert_eq!(same.output().unwrap().status.code(), Some(0), "what goes less is no harm");
    }
}

/// A plan is saved, read, and executed: that or less.
mod plans {
    use super::*;
    use tests::ecr_stub::Registry;

    /// Saves a plan of everything.
    fn saved(aws: &EcrStub, folder: &Path) -> String {
        let file = folder.join("plan.json").to_str().unwrap().to_owned();
        let output = signed_in(aws).args(["enforce", "--all", "--save-plan", &file]).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stderr(&output).contains("8 images of 2 repositories, until "), "{}", stderr(&output));
        assert_eq!(aws.count("BatchDeleteImage"), 0);
        file
    }

    fn apply(aws: &EcrStub, file: &str) -> Output {
        signed_in(aws).args(["enforce", "--apply", "--yes", "--plan", file]).output().unwrap()
    }

    fn tags(aws: &EcrStub, repository: &str) -> Vec<String> {
        let tags = |registry: &mut Registry| {
            let images = registry.repositories[repository].images.iter();
            images.flat_map(|image| image.tags.iter().cloned()).collect::<Vec<_>>()
        };
        let mut tags = aws.with(tags);
        tags.sort();
        tags
    }

    #[test]
    fn a_saved_plan_is_executed_as_it_was_saved() {
        let (aws, folder) = (account(), tempfile::tempdir().unwrap());
        let file = saved(&aws, folder.path());
        // What grew old since is for another plan.
        aws.with(|registry| {
            let app = registry.repositories.get_mut("team/app").unwrap();
            let digest = app.push("late", &["late"]);
            app.age(&digest, 20.0);
        });
        let output = apply(&aws, &file);
        assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
        assert!(stderr(&output).contains("8 of the 8 images of the plan are done"), "{}", stderr(&output));
        assert_eq!(tags(&aws, "team/app"), ["late", "latest"]);
        assert_eq!(tags(&aws, "team/web"), ["latest"]);
        let kept = aws.cloud(|cloud| cloud.keys(BUCKET, "runs/terminal-"));
        assert!(
            kept.iter().any(|key| key.ends_with("/report.html")),
            "its report is where others are: {kept:?}"
        );
        let lines: Vec<String> = aws.cloud(|cloud| {
            let keys = cloud.keys(BUCKET, "journal/");
            keys.iter().map(|key| cloud.object_text(&format!("{BUCKET}/{key}")).unwrap()).collect()
        });
        assert!(
            lines.concat().contains("\"principal\":\"arn:aws:iam::123456789012:user/ana\""),
            "who: {lines:?}"
        );
    }

    #[test]
    fn of_a_saved_plan_less_is_done_when_something_has_changed_and_it_says_what_and_why() {
        let (aws, folder) = (account(), tempfile::tempdir().unwrap());
        let file = saved(&aws, folder.path());
        aws.with(|registry| {
            let now = shared::domain::text::instant::Instant::now().micros() as f64 / 1e6;
            let digest = |registry: &Registry, tag: &str| {
                let images = &registry.repositories["team/app"].images;
                images.iter().find(|image| image.tags.contains(tag)).unwrap().digest.clone()
            };
            let (moved, pulled) = (digest(registry, "ci-0"), digest(registry, "ci-1"));
            let app = registry.repositories.get_mut("team/app").unwrap();
            // A tag is moved to an old image.
            app.image_mut(&moved).tags.insert("stable".to_owned());
            app.image_mut(&pulled).last_pulled_at = Some(now);
            // One was deleted by somebody.
            registry
                .repositories
                .get_mut("team/web")
                .unwrap()
                .images
                .retain(|image| !image.tags.contains("ci-3"));
        });
        aws.cloud(|cloud| {
            // A service starts.
            let definition = cloud.ecs.register("web", &[&format!("{HOST}/team/app:ci-2")]);
            cloud.ecs.run_task("prod", &definition, None);
        });
        let output = apply(&aws, &file);
        assert_eq!(output.status.code(), Some(1), "{}{}", stdout(&output), stderr(&output));
        assert_eq!(tags(&aws, "team/app"), ["ci-0", "ci-1", "ci-2", "latest", "stable"]);
        assert_eq!(tags(&aws, "team/web"), ["latest"]);
        let output = stderr(&output);
        for line in [
            "4 of the 8 images of the plan are done\nWhat is in use has changed since the plan was saved\n",
            "  team/app: ci-0 is kept: its tags have changed since the plan was saved, from ci-0 to ci-0, stable\n",
            "  team/app: ci-1 is kept: it was pulled at 2",
            "  team/app: ci-2 is kept: it is in use: ",
            "  team/web: ci-3 is kept: it is not there any more\n",
        ] {
            assert!(output.contains(line), "{line}: {output}");
        }
    }

    #[test]
    fn a_plan_by_another_policies_file_is_not_executed() {
        let (aws, folder) = (account(), tempfile::tempdir().unwrap());
        let file = saved(&aws, folder.path());
        aws.cloud(|cloud| {
            cloud.upload(&format!("{BUCKET}/policies.yaml"), &POLICIES_FILE.replace("14", "15"))
        });
        let output = refusal(signed_in(&aws).args(["enforce", "--apply", "--plan", &file]));
        assert!(
            output.contains("plan.json: the policies file was changed since the plan was saved (hash "),
            "{output}"
        );
        assert_eq!(aws.count("BatchDeleteImage"), 0);
    }

    #[test]
    fn a_repository_that_is_gone_or_under_another_policy_is_left_alone() {
        let (aws, folder) = (account(), tempfile::tempdir().unwrap());
        let file = saved(&aws, folder.path());
        aws.with(|registry| registry.repositories.remove("team/web"));
        let output = apply(&aws, &file);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains("team/web: ci-0 is kept: the repository is not there any more"),
            "{}",
            stderr(&output)
        );
        assert_eq!(tags(&aws, "team/app"), ["latest"]);
    }

    #[test]
    fn a_plan_deletes_nothing_that_the_policies_file_would_not_delete() {
        let (aws, folder) = (account(), tempfile::tempdir().unwrap());
        let file = saved(&aws, folder.path());
        let mut plan: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let young = aws.with(|registry| {
            let images = &registry.repositories["team/app"].images;
            images.iter().find(|image| image.tags.contains("latest")).unwrap().digest.clone()
        });
        let image = &mut plan["repositories"][0]["images"][0];
        image["imageDigest"] = young.into();
        image["imageTags"] = json!(["latest"]);
        fs::write(&file, plan.to_string()).unwrap();
        let output = apply(&aws, &file);
        let output = stderr(&output);
        assert!(output.contains("latest is kept: the policy does not take it any more"), "{output}");
        assert_eq!(
            tags(&aws, "team/app").len(),
            2,
            "the young one, and the one that the plan does not name any more"
        );
        let mut plan = plan.clone();
        plan["savedAt"] = "2026-01-01T00:00:00Z".into();
        fs::write(&file, plan.to_string()).unwrap();
        let output = refusal(signed_in(&aws).args(["enforce", "--apply", "--plan", &file]));
        assert!(output.contains("was for execution until 2026-01-02T00:00:00Z"), "{output}");
        fs::write(&file, POLICIES_FILE).unwrap();
        let output = refusal(signed_in(&aws).args(["enforce", "--apply", "--plan", &file]));
        assert!(output.contains("is no plan that `enforce --save-plan` saved"), "{output}");
    }

    #[test]
    fn a_whole_registry_is_not_enforced_by_mistake() {
        let aws = account();
        let output = refusal(signed_in(&aws).args(["enforce", "--all", "--apply"]));
        assert_eq!(
            output,
            "ecr-steward: nothing was done, since nobody can be asked here: The policies will be enforced in all 2 repositories of \
             123456789012 in eu-west-1; `ecr-steward images restore` brings back only what ECR still has the layers of. Add --yes to \
             confirm it\n"
        );
        // A pattern of any name is the whole registry, too.
        for pattern in ["*", "**", "*/*"] {
            let same = refusal(signed_in(&aws).args(["enforce", "--repository", pattern, "--apply"]));
            assert_eq!(same, output, "{pattern}");
        }
        assert_eq!(aws.count("BatchDeleteImage"), 0);
        // Somebody at a terminal types it.
        let typed = |word: &str| {
            let script = format!("{} enforce --all --apply", binary("ecr-steward").display());
            let mut command = Command::new("python3");
            let program = "import os,pty,sys,time\npid,fd=pty.fork()\n\
                if pid==0: os.execvp('sh',['sh','-c',sys.argv[1]])\n\
                out=b''\n\
                while b'to go on' not in out:\n  out+=os.read(fd,4096)\n\
                os.write(fd,sys.argv[2].encode()+b'\\n')\n\
                try:\n  while True:\n    part=os.read(fd,4096)\n    if not part: break\n    out+=part\n\
                except OSError: pass\n\
                sys.stdout.write(out.decode(errors='replace'))\n\
                sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid,0)[1]))";
            command
                .args(["-c", program, &script, word])
                .env_clear()
                .env("PATH", "/usr/bin:/bin")
                .env("TERM", "xterm");
            command.env("AWS_ENDPOINT_URL", aws.url()).env("AWS_REGION", "eu-west-1");
            command
                .env("AWS_ACCESS_KEY_ID", "AKIATEST")
                .env("AWS_SECRET_ACCESS_KEY", "test")
                .output()
                .unwrap()
        };
        let output = typed("yes");
        assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
        assert!(stdout(&output).contains("nothing was done: it was not confirmed"), "{}", stdout(&output));
        assert_eq!(aws.count("BatchDeleteImage"), 0);
        let output = typed("enforce");
        assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
        assert!(aws.count("BatchDeleteImage") > 0);
    }
}

/// The deployed stack on an AWS in memory: the real functions behind its API.
mod deployed {
    use std::collections::HashMap;
    use std::io::{BufRead, BufReader, Cursor, Read};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use tests::cloud::function;
    use tests::gateway;

    const TIME: Duration = Duration::from_secs(29);

    fn deployed() -> EcrStub {
        let aws = account();
        let api = gateway::serve(vec![
            ("/builds", function(&aws, "image-build", TIME)),
            ("/", function(&aws, "repository-api", TIME)),
        ]);
        let outputs = [("SourceBucketName", BUCKET), ("ApiEndpoint", &format!("http://{api}"))];
        aws.cloud(|cloud| cloud.stacks.deploy("ecr-steward", &outputs));
        aws
    }

    #[test]
    fn a_repository_is_a_line() {
        let (aws, folder) = (deployed(), tempfile::tempdir().unwrap());
        let uri = succeed(run(&aws, &["repository", "create", "shop/web"]));
        assert_eq!(uri, format!("{HOST}/shop/web\n"));
        let again = run(&aws, &["repository", "create", "shop/web"]);
        assert_eq!(
            (stdout(&again), stderr(&again)),
            (uri, "shop/web exists already, as asked for\n".to_owned())
        );
        let names = succeed(run(&aws, &["repository", "list"]));
        assert_eq!(names, "shop/web\nteam/app\nteam/web\n");
        let shown = succeed(run(&aws, &["repository", "show", "shop/web"]));
        assert!(shown.contains("To push") && shown.contains("rule 2: expire untagged images"), "{shown}");

        let policy = folder.path().join("policy.yaml");
        fs::write(&policy, "rules: [{ selection: untagged, maximumAgeLimit: 3 }]\n").unwrap();
        let policy = policy.to_str().unwrap();
        succeed(run(
            &aws,
            &["repository", "update", "shop/web", "--scan-on-push", "--resource-tag", "team=shop"],
        ));
        let changed = succeed(run(
            &aws,
            &["repository", "update", "shop/web", "--immutable", "--lifecycle-policy", policy],
        ));
        let fields: Vec<&str> = changed.lines().filter_map(|line| line.split(':').next()).collect();
        assert_eq!(fields, ["imageTagMutability", "lifecyclePolicyText"], "nothing else: {changed}");
        let shown: Value = serde_json::from_str(&succeed(run(
            &aws,
            &["repository", "show", "shop/web", "--output", "json"],
        )))
        .unwrap();
        let repository = &shown["repository"];
        assert_eq!(repository["imageTagMutability"], "IMMUTABLE");
        assert_eq!(repository["imageScanningConfiguration"]["scanOnPush"], true, "what nobody named stays");
        assert_eq!(repository["tags"], json!([{ "Key": "team", "Value": "shop" }]));
        let nothing = run(&aws, &["repository", "update", "shop/web", "--immutable"]);
        assert_eq!(
            (stdout(&nothing), stderr(&nothing)),
            (String::new(), "shop/web is as asked for already\n".to_owned())
        );

        let unasked = refusal(signed_in(&aws).args(["repository", "delete", "shop/web"]));
        assert_eq!(
            unasked,
            "ecr-steward: nothing was done, since nobody can be asked here: The repository shop/web will be deleted. Add --yes to \
             confirm it\n"
        );
        succeed(run(&aws, &["repository", "delete", "shop/web", "--yes"]));
        let output = refusal(signed_in(&aws).args(["repository", "show", "shop/web"]));
        assert!(output.contains("there is no repository shop/web in this registry"), "{output}");
        let output = refusal(signed_in(&aws).args(["repository", "delete", "team/app", "--yes"]));
        assert!(output.contains("team/app has 5 images, and is still there"), "{output}");
    }

    /// What `repository update` prints and says, one after the other.
    fn update(aws: &EcrStub, options: &[&str]) -> (String, String) {
        let output = run(aws, &[&["repository", "update", "shop/web"], options].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        (stdout(&output), stderr(&output))
    }

    #[test]
    fn an_option_changes_what_it_names_and_what_no_option_names_stays() {
        let aws = deployed();
        let create = ["--resource-tag", "a=1", "--resource-tag", "b=2", "--pull-account", "111111111111"];
        succeed(run(&aws, &[&["repository", "create", "shop/web"], &create[..]].concat()));
        let web = || aws.with(|registry| registry.repositories["shop/web"].clone());
        // Another tag and another account, beside those that are there.
        let (changed, _) = update(&aws, &["--resource-tag", "c=3", "--resource-tag", "a=0"]);
        assert!(changed.starts_with("tags: "), "{changed}");
        let tags: Vec<String> = web().tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(tags, ["a=0", "b=2", "c=3"]);
        let (changed, _) = update(&aws, &["--pull-account", "222222222222"]);
        assert_eq!(changed.lines().count(), 1, "one line a change: {changed}");
        let policy = web().policy.unwrap();
        assert!(policy.contains("111111111111") && policy.contains("222222222222"), "{policy}");
        let shown = succeed(run(&aws, &["repository", "show", "shop/web"]));
        assert!(
            shown.contains("Pulled by       the account 111111111111, the account 222222222222"),
            "{shown}"
        );

        // As AWS CloudFormation, Terraform and the dead man's switch leave it.
        let terraform = r#"{"rules":[{"rulePriority":10,"selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":30},"action":{"type":"expire"}}]}"#;
        let suspended =
            shared::domain::enforcement::in_use_protection::TakesNothing::new().unwrap().to_json();
        for policy in [terraform, &suspended] {
            aws.with(|registry| {
                let web = registry.repositories.get_mut("shop/web").unwrap();
                web.tags.insert("aws:cloudformation:stack-name".to_owned(), "shop".to_owned());
                web.lifecycle_policy = Some(policy.to_owned());
            });
            let before = web();
            let (changed, _) = update(&aws, &["--scan-on-push"]);
            assert!(changed.starts_with("imageScanningConfiguration: "), "{changed}");
            let mut expected = before.clone();
            expected.described["imageScanningConfiguration"] = json!({ "scanOnPush": true });
            assert_eq!(web(), expected);
            aws.with(|registry| *registry.repositories.get_mut("shop/web").unwrap() = before);
        }
        let shown = succeed(run(&aws, &["repository", "show", "shop/web"]));
        assert!(shown.contains("SUSPENDED: the policy is suspended"), "and why: {shown}");
        update(&aws, &["--resource-tag", "d=4"]);
        assert_eq!(web().tags.len(), 5, "{:?}", web().tags);

        // A policy that somebody wrote is not written over by an account.
        let own = r#"{"Statement":[{"Sid":"Partner","Effect":"Allow","Principal":"*","Action":"ecr:BatchGetImage"}]}"#;
        aws.with(|registry| registry.repositories.get_mut("shop/web").unwrap().policy = Some(own.to_owned()));
        let refused = refusal(signed_in(&aws).args([
            "repository",
            "update",
            "shop/web",
            "--pull-account",
            "333333333333",
        ]));
        assert!(refused.contains("a repository policy of its own"), "{refused}");
        assert_eq!(web().policy.as_deref(), Some(own));
        let shown = succeed(run(&aws, &["repository", "show", "shop/web"]));
        assert!(shown.contains(r#"Pulled by       {"Statement":[{"Action":"ecr:BatchGetImage""#), "{shown}");
        let nothing = run(&aws, &["repository", "update", "shop/web"]);
        assert_eq!(nothing.status.code(), Some(2), "it does not say what to change");
    }

    #[test]
    fn a_file_says_all_of_a_repository_and_options_go_before_it() {
        let (aws, folder) = (deployed(), tempfile::tempdir().unwrap());
        succeed(run(&aws, &["repository", "create", "shop/web", "--resource-tag", "a=1"]));
        let file = folder.path().join("repository.yaml");
        fs::write(
            &file,
            "imageTagMutability: IMMUTABLE\nimageTagMutabilityExclusionFilters: [dev-*]\nlifecyclePolicy: { skip: true }\n",
        )
        .unwrap();
        update(&aws, &["--file", file.to_str().unwrap(), "--scan-on-push"]);
        let web = aws.with(|registry| registry.repositories["shop/web"].clone());
        assert!(web.tags.is_empty() && web.lifecycle_policy.is_none(), "{web:?}");
        assert_eq!(web.described["imageTagMutabilityExclusionFilters"][0]["filter"], "dev-*");
        assert_eq!(web.described["imageScanningConfiguration"]["scanOnPush"], true);
    }

    #[test]
    fn a_repository_that_is_deleted_by_force_takes_the_layers_of_its_images_along_as_the_question_says() {
        let aws = deployed();
        let asked = refusal(signed_in(&aws).args(["repository", "delete", "team/app", "--force"]));
        assert!(
            asked.contains(
                "The journal keeps their manifests, but ECR deletes their layers with the repository"
            ) && asked.contains("delete the images first (`ecr-steward images delete`)"),
            "{asked}"
        );
        succeed(run(&aws, &["repository", "delete", "team/app", "--force", "--yes"]));
        let journal = aws.cloud(|cloud| cloud.keys(BUCKET, "journal/"));
        assert!(journal.iter().any(|key| key.contains("/team/app/")), "{journal:?}");
        let gone = run(&aws, &["images", "restore", "team/app:latest"]);
        assert!(
            stdout(&gone).contains("latest (sha256:") && gone.status.code() == Some(1),
            "{}",
            stdout(&gone)
        );
        // Another repository of this name has none of the layers.
        succeed(run(&aws, &["repository", "create", "team/app"]));
        for apply in [&[][..], &["--apply"]] {
            let output = run(&aws, &[&["images", "restore", "team/app:latest"], apply].concat());
            assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
            assert!(stdout(&output).contains("does not come back: ECR does not have"), "{}", stdout(&output));
        }
        // Where the repository stays, they come back.
        succeed(run(&aws, &["images", "delete", "team/web", "ci-1", "--yes"]));
        succeed(run(&aws, &["images", "restore", "team/web:ci-1", "--apply"]));
    }

    #[test]
    fn a_policy_of_somebody_else_that_a_command_replaced_is_put_back_by_another_one() {
        let (aws, folder) = (deployed(), tempfile::tempdir().unwrap());
        let terraform = r#"{"rules":[{"rulePriority":10,"selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":30},"action":{"type":"expire"}}]}"#;
        let app = || aws.with(|registry| registry.repositories["team/app"].clone());
        aws.with(|registry| {
            registry.repositories.get_mut("team/app").unwrap().lifecycle_policy = Some(terraform.to_owned());
        });
        let policy = folder.path().join("policy.yaml");
        fs::write(&policy, "rules: [{ selection: untagged, maximumAgeLimit: 3 }]\n").unwrap();
        succeed(run(
            &aws,
            &["repository", "update", "team/app", "--lifecycle-policy", policy.to_str().unwrap()],
        ));
        assert_ne!(app().lifecycle_policy.as_deref(), Some(terraform));
        succeed(run(&aws, &["policy", "restore", "team/app", "--stack", "ecr-steward", "--apply"]));
        assert_eq!(app().lifecycle_policy.as_deref(), Some(terraform));
    }

    #[test]
    fn what_the_api_refuses_is_reported_with_the_commands_of_a_terminal() {
        let aws = deployed();
        succeed(run(&aws, &["repository", "create", "shop/web", "--scan-on-push"]));
        let refused = refusal(signed_in(&aws).args(["repository", "create", "shop/web"]));
        assert!(
            refused.contains("`ecr-steward repository update shop/web` changes what its options name")
                && !refused.contains("PUT"),
            "{refused}"
        );
        let refused = refusal(signed_in(&aws).args(["repository", "show", "shop/none"]));
        assert!(
            refused.contains("`ecr-steward repository create` creates one") && !refused.contains("POST"),
            "{refused}"
        );
    }

    #[test]
    fn images_are_listed_and_those_in_use_are_not_deleted() {
        let aws = deployed();
        aws.cloud(|cloud| {
            let definition = cloud.ecs.register("web", &[&format!("{HOST}/team/app:ci-0")]);
            cloud.ecs.run_task("prod", &definition, None);
        });
        let table = succeed(run(&aws, &["images", "list", "team/*"]));
        assert!(table.contains("team/app: 5 images") && table.contains("team/web: 5 images"), "{table}");
        let first = table.lines().nth(2).unwrap();
        assert!(first.ends_with("active     latest"), "the newest first: {table}");
        let json: Value =
            serde_json::from_str(&succeed(run(&aws, &["images", "list", "team/app", "--output", "json"])))
                .unwrap();
        assert_eq!(json.as_array().unwrap().len(), 5);

        let output = run(&aws, &["images", "delete", "team/app", "ci-0", "ci-1", "--yes"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(
            stderr(&output).contains("in use") && stderr(&output).contains("task/prod/"),
            "{}",
            stderr(&output)
        );
        let text = stderr(&output);
        assert!(
            text.contains("add `--in-use`") && !text.contains("inUse=true"),
            "an option of this program: {text}"
        );
        assert_eq!(aws.with(|registry| registry.repositories["team/app"].images.len()), 5);
        let output = run(&aws, &["images", "delete", "team/app", "ci-1", "nothing", "--yes"]);
        assert_eq!(output.status.code(), Some(1), "one of them is not there");
        let output = stdout(&output);
        assert!(output.starts_with("deleted ci-1 sha256:") && output.contains("kept nothing: "), "{output}");
        assert_eq!(aws.with(|registry| registry.repositories["team/app"].images.len()), 4);
        let journal = aws.cloud(|cloud| cloud.keys(BUCKET, "journal/"));
        assert!(!journal.is_empty(), "written down before");
        let unasked = refusal(signed_in(&aws).args(["images", "delete", "team/app", "ci-2"]));
        assert!(unasked.contains("Add --yes"), "{unasked}");
        // Other commands take an image by one word.
        let output = run(&aws, &["images", "delete", "team/app:ci-2", "ci-3", "--yes"]);
        assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
        let apart = "write the repository and the image apart: team/app ci-2";
        assert!(stderr(&output).contains(apart), "{}", stderr(&output));
        assert_eq!(aws.with(|registry| registry.repositories["team/app"].images.len()), 4);
    }

    /// A source with a program, a link, what is ignored, and nothing of git's.
    fn source() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("Dockerfile", "FROM scratch\nCOPY run.sh /\n");
        write("run.sh", "#!/bin/sh\n");
        write(".dockerignore", "secret\n");
        write("secret", "s");
        fs::create_dir(folder.path().join(".git")).unwrap();
        write(".git/config", "");
        fs::set_permissions(folder.path().join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("run.sh", folder.path().join("start")).unwrap();
        folder
    }

    fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = ask() {
                return found;
            }
            assert!(started.elapsed() < Duration::from_secs(30), "it did not come");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn log(aws: &EcrStub, id: &str, line: &str) {
        let stream = id.rsplit(':').next().unwrap().to_owned();
        aws.cloud(|cloud| {
            let build = cloud.builds.iter_mut().find(|build| build["id"] == id).unwrap();
            build["logs"] = json!({ "groupName": "/aws/codebuild/steward", "streamName": stream });
            *cloud.logs.entry(stream).or_default() += &format!("{line}\n");
        });
    }

    #[test]
    fn a_directory_becomes_an_image_with_its_log_as_it_comes() {
        let (aws, source) = (deployed(), source());
        let mut command = signed_in(&aws);
        command.arg("build").arg(source.path()).args([
            "--repository",
            "shop/web",
            "--tag",
            "v1",
            "--build-arg",
            "VERSION=2",
        ]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(output.next().unwrap().starts_with("Packed 4 files, "));
        let id = until(|| {
            aws.cloud(|cloud| cloud.builds.first().map(|build| build["id"].as_str().unwrap().to_owned()))
        });
        log(&aws, &id, "[Container] 2026/11/26 12:00:00 Running command set -euo pipefail");
        log(&aws, &id, "cd /");
        log(&aws, &id, "#7 [2/2] COPY run.sh /");
        // It is there before the build is over.
        assert_eq!(output.next().unwrap(), "#7 [2/2] COPY run.sh /");
        log(&aws, &id, "#7 DONE 0.1s");
        assert_eq!(output.next().unwrap(), "#7 DONE 0.1s");
        let tag = aws.cloud(|cloud| cloud.variable(0, "IMAGE_TAG")).unwrap();
        let digest = aws
            .with(|registry| registry.repositories.get_mut("shop/web").unwrap().push("built", &[&tag, "v1"]));
        log(&aws, &id, "[Container] 2026/11/26 12:00:09 Phase complete: POST_BUILD State: SUCCEEDED");
        aws.cloud(|cloud| cloud.end(&id, "SUCCEEDED", Some(&digest)));
        let mut printed = String::new();
        child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        assert_eq!(printed, format!("{HOST}/shop/web@{digest}\n"));
        assert_eq!(child.wait().unwrap().code(), Some(0));

        let uploads: HashMap<String, Vec<u8>> =
            aws.cloud(|cloud| cloud.archives.clone()).into_iter().collect();
        let [(path, archive)] = &uploads.iter().collect::<Vec<_>>()[..] else {
            panic!("{:?}", uploads.keys())
        };
        // Where no upload starts a build by itself, and a role of its own reads it.
        assert!(path.starts_with(&format!("{BUCKET}/uploads/ecr-steward-build/shop/web/")), "{path}");
        let role = fs::read_to_string(workspace().join("infra/examples/build-role.yaml")).unwrap();
        assert!(role.contains("/uploads/ecr-steward-build/${RepositoryPrefix}*"), "{role}");
        assert!(archive.starts_with(b"PK"));
        let list = Command::new("python3")
            .args(["-c", "import sys,zipfile,io\nfor i in sorted(zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read())).infolist(), key=lambda i: i.filename): print(oct(i.external_attr >> 16), i.filename)"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .and_then(|mut child| {
                std::io::copy(&mut Cursor::new(archive), &mut child.stdin.take().unwrap())?;
                child.wait_with_output()
            })
            .unwrap();
        assert_eq!(
            stdout(&list),
            "0o100644 .dockerignore\n0o100644 Dockerfile\n0o100755 run.sh\n0o120777 start\n"
        );

        // The tag moves after the image is there, as image-published does it; the command waits for it.
        let mut command = signed_in(&aws);
        command.arg("build").arg(source.path()).args([
            "--repository",
            "shop/web",
            "--build-arg",
            "VERSION=2",
        ]);
        let mut child =
            command.args(["--tag", "v2"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until(|| (aws.cloud(|cloud| cloud.invoked.len()) == 1).then_some(()));
        std::thread::sleep(Duration::from_secs(2));
        assert!(child.try_wait().unwrap().is_none(), "the tag is not there yet");
        aws.with(|registry| {
            registry.repositories.get_mut("shop/web").unwrap().image_mut(&digest).tags.insert("v2".to_owned())
        });
        let output = child.wait_with_output().unwrap();
        assert_eq!(stdout(&output), format!("{HOST}/shop/web@{digest}\n"));
        assert!(!stderr(&output).contains("warning"), "{}", stderr(&output));

        // The same directory again is the same image.
        let mut command = signed_in(&aws);
        command.arg("build").arg(source.path()).args([
            "--repository",
            "shop/web",
            "--tag",
            "v1",
            "--build-arg",
            "VERSION=2",
        ]);
        let again = command.output().unwrap();
        assert_eq!(stdout(&again), format!("{HOST}/shop/web@{digest}\n"), "{}", stderr(&again));
        assert!(stderr(&again).contains("The image is there already"));
        assert_eq!(aws.cloud(|cloud| cloud.builds.len()), 1);
        assert_eq!(aws.count("PutObject"), 2, "the archive, and no second time: {:?}", aws.operations());
    }

    /// Builds a directory whose image is made as soon as its build is there.
    fn build(aws: &EcrStub, arguments: &[&str]) -> std::process::Output {
        let before = aws.cloud(|cloud| cloud.builds.len());
        let child =
            signed_in(aws).arg("build").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.unwrap();
        until(|| (aws.cloud(|cloud| cloud.builds.len()) > before).then_some(()));
        let (id, tag) = aws.cloud(|cloud| {
            let id = cloud.builds[before]["id"].as_str().unwrap().to_owned();
            (id, cloud.variable(before, "IMAGE_TAG").unwrap())
        });
        let digest = aws.with(|registry| {
            registry.repositories.get_mut("shop/web").unwrap().push(&format!("built {before}"), &[&tag])
        });
        log(aws, &id, "Pushed it");
        aws.cloud(|cloud| cloud.end(&id, "SUCCEEDED", Some(&digest)));
        child.wait_with_output().unwrap()
    }

    #[test]
    fn an_archive_that_somebody_else_put_under_its_key_is_not_built() {
        let (aws, source) = (deployed(), source());
        let directory = source.path().to_str().unwrap();
        let arguments = [directory, "--repository", "shop/web"];
        succeed(build(&aws, &arguments));
        let key = aws.cloud(|cloud| cloud.archives.keys().next().unwrap().clone());
        // Whoever may write below the folder of all builds knows the key from the source.
        aws.cloud(|cloud| cloud.upload(&key, "a planted archive"));
        succeed(build(&aws, &arguments));
        let versions: Vec<Value> =
            aws.cloud(|cloud| cloud.builds.iter().map(|build| build["sourceVersion"].clone()).collect());
        assert_eq!(versions, ["v1", "v3"], "v2 is the planted one");
    }

    #[test]
    fn an_archive_is_sent_by_those_who_may_read_and_put_and_not_list() {
        let (aws, source) = (deployed(), source());
        // S3 answers so about what is not there, to those who may not list.
        aws.fault("HeadObject", Fault::Denied, 1);
        let output = build(&aws, &[source.path().to_str().unwrap(), "--repository", "shop/web"]);
        assert!(succeed(output).starts_with(&format!("{HOST}/shop/web@sha256:")));
    }

    #[test]
    fn a_build_is_followed_although_the_stack_cannot_always_be_asked() {
        let (aws, source) = (deployed(), source());
        let child = signed_in(&aws)
            .args(["build", source.path().to_str().unwrap(), "--repository", "shop/web"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        until(|| (!aws.cloud(|cloud| cloud.builds.is_empty())).then_some(()));
        // The function answers 500 to each of these, and CloudWatch nothing.
        aws.fault("BatchGetBuilds", Fault::Denied, 2);
        aws.fault("GetLogEvents", Fault::ServerError, 2);
        std::thread::sleep(Duration::from_secs(4));
        let (id, tag) = aws.cloud(|cloud| {
            (cloud.builds[0]["id"].as_str().unwrap().to_owned(), cloud.variable(0, "IMAGE_TAG").unwrap())
        });
        let digest =
            aws.with(|registry| registry.repositories.get_mut("shop/web").unwrap().push("built", &[&tag]));
        log(&aws, &id, "Pushed it");
        aws.cloud(|cloud| cloud.end(&id, "SUCCEEDED", Some(&digest)));
        assert_eq!(succeed(child.wait_with_output().unwrap()), format!("{HOST}/shop/web@{digest}\n"));
    }

    #[test]
    fn a_dockerfile_is_found_however_its_path_is_written_and_is_sent_whatever_is_ignored() {
        let (aws, source) = (deployed(), source());
        let directory = source.path().to_str().unwrap();
        let write = |name: &str, text: &str| fs::write(source.path().join(name), text).unwrap();
        write(".dockerignore", "Dockerfile\ndeploy\n");
        fs::create_dir(source.path().join("deploy")).unwrap();
        write("deploy/Dockerfile", "FROM scratch\n");
        let absolute = format!("{directory}/deploy/Dockerfile");
        for (index, (named, path)) in [
            ("./Dockerfile", "Dockerfile"),
            ("./deploy/../deploy//Dockerfile", "deploy/Dockerfile"),
            (absolute.as_str(), "deploy/Dockerfile"),
        ]
        .into_iter()
        .enumerate()
        {
            write("run.sh", &format!("# {index}"));
            succeed(build(&aws, &[directory, "--repository", "shop/web", "--dockerfile", named]));
            assert_eq!(aws.cloud(|cloud| cloud.variable(index, "DOCKERFILE")).as_deref(), Some(path));
            let key =
                aws.cloud(|cloud| cloud.builds[index]["source"]["location"].as_str().unwrap().to_owned());
            let archive = aws.cloud(|cloud| cloud.archives[&key].clone());
            let is_in = archive.windows(path.len()).any(|window| window == path.as_bytes());
            assert!(is_in, "{named} is not in the archive");
        }
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("Dockerfile"), "FROM scratch\n").unwrap();
        aws.forget_calls();
        for elsewhere in [other.path().join("Dockerfile").display().to_string(), {
            let name = other.path().file_name().unwrap().to_str().unwrap().to_owned();
            format!("../{name}/Dockerfile")
        }] {
            let output = refusal(signed_in(&aws).args([
                "build",
                directory,
                "--repository",
                "shop/web",
                "--dockerfile",
                &elsewhere,
            ]));
            assert!(output.contains("which is all that is sent: write its path from there"), "{output}");
        }
        assert!(aws.calls().is_empty(), "{:?}", aws.operations());
    }

    #[test]
    fn a_build_that_fails_ends_with_the_step_and_exit_code_1() {
        let (aws, source) = (deployed(), source());
        let mut command = signed_in(&aws);
        command.arg("build").arg(source.path()).args(["--repository", "shop/web"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let id = until(|| {
            aws.cloud(|cloud| cloud.builds.first().map(|build| build["id"].as_str().unwrap().to_owned()))
        });
        for line in [
            "#7 [2/2] RUN make",
            "#7 ERROR: process \"/bin/sh -c make\" did not complete successfully: exit code: 2",
        ] {
            log(&aws, &id, line);
        }
        log(&aws, &id, "[Container] 2026/11/26 12:00:09 Phase complete: POST_BUILD State: SUCCEEDED");
        aws.cloud(|cloud| cloud.end(&id, "FAILED", None));
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), stdout(&output)), (Some(1), String::new()));
        let output = stderr(&output);
        let expected = "ecr-steward: the build for linux/amd64 failed at [2/2] RUN make: process \"/bin/sh -c make\" did not complete \
                        successfully: exit code: 2\n  Its log: https://console.aws.amazon.com/logs/";
        assert!(output.contains(expected), "{output}");
    }

    #[test]
    fn what_cannot_be_built_is_reported_before_anything_is_sent() {
        let (aws, source) = (deployed(), source());
        let directory = source.path().to_str().unwrap();
        let build = |more: &[&str]| {
            let arguments = [&["build", directory, "--repository", "shop/web"][..], more].concat();
            let output = refusal(signed_in(&aws).args(arguments)).replace(directory, "DIRECTORY");
            output
                .lines()
                .filter(|line| !line.starts_with("Packed "))
                .map(|line| format!("{line}\n"))
                .collect::<String>()
        };
        let missing =
            "ecr-steward: DIRECTORY: there is no Containerfile in it; name another one with --dockerfile\n";
        assert_eq!(build(&["--dockerfile", "Containerfile"]), missing);
        assert_eq!(aws.calls().len(), 0);
        let output = build(&["--platform", "linux/mips"]);
        assert!(output.starts_with("ecr-steward: The request is not valid: /platforms/0: "), "{output}");
        let output = build(&["--secret", "npm=ecr-steward/npm"]);
        assert!(output.contains("builds.yaml"), "{output}");
        assert_eq!(aws.cloud(|cloud| cloud.builds.len()), 0);
    }

    #[test]
    fn passwords_are_passed_to_docker_podman_and_helm_and_are_in_no_arguments() {
        let (aws, folder) = (account(), tempfile::tempdir().unwrap());
        for program in ["docker", "podman", "helm"] {
            let path = folder.path().join(program);
            let script = format!(
                "#!/bin/sh\necho \"{program} $*\" >>{0}/told\ncat >>{0}/password\n",
                folder.path().display()
            );
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let login = |arguments: &[&str]| {
            let mut command = signed_in(&aws);
            command.env("PATH", &path).arg("login").args(arguments).output().unwrap()
        };
        let output = login(&[]);
        assert!(
            stderr(&output).starts_with(&format!("docker is signed in to {HOST}, until ")),
            "{}",
            stderr(&output)
        );
        succeed(login(&["podman", "helm", "--registry-id", "210987654321"]));
        let calls = fs::read_to_string(folder.path().join("told")).unwrap();
        let other = HOST.replace("123456789012", "210987654321");
        assert_eq!(
            calls,
            format!(
                "docker login --username AWS --password-stdin {HOST}\npodman login --username AWS --password-stdin {other}\n\
                 helm registry login --username AWS --password-stdin {other}\n"
            )
        );
        assert_eq!(fs::read_to_string(folder.path().join("password")).unwrap(), "secret".repeat(3));
        assert!(!format!("{output:?}").contains("secret"));
        fs::write(folder.path().join("docker"), "#!/bin/sh\necho denied >&2\nexit 3\n").unwrap();
        let output = login(&["docker"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(
            stderr(&output).starts_with("denied\necr-steward: docker did not sign in to"),
            "{}",
            stderr(&output)
        );
        let output = signed_in(&aws).env("PATH", "/nowhere").arg("login").output().unwrap();
        assert!(stderr(&output).starts_with("ecr-steward: neither docker nor podman nor helm is installed"));
    }
}
