//! What other accounts and Regions use is known by their lists: by the real function that reports, in an account of its own on AWS in
//! memory, and runs of the registry's functions, which read what it wrote.

use std::collections::BTreeSet;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use shared::domain::text::instant::Instant;
use tests::binaries::binary;
use tests::cloud::{self, BUCKET, Cloud};
use tests::ecr_stub::{EcrStub, Fault, Repository};
use tests::runtime_api::{Answer, Function};
use tests::steward::{PLENTY, Steward, of};
use tests::template;

const REGISTRY: &str = "123456789012";
const OTHER: &str = "210987654321";
const LIST: &str = "usage/210987654321/eu-west-1.json";
const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

/// Takes everything older than two weeks.
const POLICY: &str = "policies:
- { name: all, repositories: ['*'], rules: [{ selection: any, maximumAgeLimit: 14 }], apply: delete,
    limits: { images: 10000, percent: 100, remaining: 1 } }
";

/// A registry with the repositories `app`, from which another account may pull, and `own`, from which it may not; and that account.
/// Each repository has three old images, `ci-0` to `ci-2`, and a young one.
struct Accounts {
    steward: Steward,
    other: EcrStub,
    reporter: Function,
}

impl Accounts {
    fn new() -> Self {
        Self::reporting_to(REGISTRY)
    }

    /// The account that the reporter takes for the registry's.
    fn reporting_to(owner: &str) -> Self {
        let steward = Steward::with_policies_file(POLICY);
        steward.aws.with(|registry| {
            for name in ["app", "own"] {
                let described = json!({
                    "repositoryArn": format!("arn:aws:ecr:eu-west-1:{REGISTRY}:repository/{name}"),
                    "registryId": REGISTRY, "repositoryName": name, "repositoryUri": format!("{HOST}/{name}"),
                    "createdAt": 1.0, "imageTagMutability": "MUTABLE",
                });
                let mut repository = Repository { described, ..Repository::default() };
                for number in 0..3 {
                    let digest = repository.push(&format!("{name} {number}"), &[&format!("ci-{number}")]);
                    repository.age(&digest, 30.0);
                }
                let young = repository.push(&format!("{name} young"), &["latest"]);
                repository.age(&young, 1.0);
                registry.repositories.insert(name.to_owned(), repository);
            }
            let statement = json!([{ "Effect": "Allow", "Principal": { "AWS": format!("arn:aws:iam::{OTHER}:root") },
                "Action": "ecr:BatchGetImage" }]);
            let policy = json!({ "Version": "2012-10-17", "Statement": statement }).to_string();
            registry.repositories.get_mut("app").unwrap().policy = Some(policy);
        });
        let other = EcrStub::start();
        let reporter = cloud::function_with(
            &other,
            "usage-report",
            PLENTY,
            &[
                ("AWS_ENDPOINT_URL_S3", steward.aws.url().as_str()),
                ("AWS_ACCESS_KEY_ID", OTHER),
                ("REGISTRY_ACCOUNT", owner),
                ("REGISTRY_REGION", "eu-west-1"),
                ("TASK_DEFINITION_REVISIONS", "5"),
                ("READ_STACKS", "false"),
            ],
        );
        Self { steward, other, reporter }
    }

    /// The other account runs a task of the image with this tag.
    fn run_task(&self, tag: &str) {
        self.other.cloud(|cloud| {
            let definition = cloud.ecs.register("web", &[&format!("{HOST}/app:{tag}")]);
            cloud.ecs.run_task("prod", &definition, None);
        });
    }

    /// The other account reports.
    fn report(&self) -> Answer {
        self.reporter.invoke("{}".to_owned())
    }

    fn list(&self) -> Value {
        let text = self.cloud(|cloud| cloud.object_text(&format!("{BUCKET}/{LIST}"))).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn put(&self, key: &str, list: &Value) {
        self.cloud(|cloud| cloud.upload(&format!("{BUCKET}/{key}"), &list.to_string()));
    }

    fn cloud<T>(&self, change: impl FnOnce(&mut Cloud) -> T) -> T {
        self.steward.aws.cloud(change)
    }

    /// Adds to the policies file.
    fn say(&self, more: &str) {
        self.cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), &format!("{POLICY}{more}\n")));
    }

    fn run(&self) -> Value {
        self.steward.run(&format!("run-{}", self.cloud(|cloud| cloud.published.len())), false)
    }

    /// The tags that are left in a repository.
    fn left(&self, repository: &str) -> BTreeSet<String> {
        self.steward.aws.with(|registry| {
            let images = &registry.repositories[repository].images;
            images.iter().flat_map(|image| image.tags.iter().cloned()).collect()
        })
    }

    /// A run deletes nothing of `app`, since this source is not known; gives what it says of it.
    #[track_caller]
    fn assert_blocked(&self, source: &str) -> String {
        let report = self.run();
        assert_eq!(self.left("app"), tags(&["ci-0", "ci-1", "ci-2", "latest"]), "{report:#}");
        let blockers = of(&report, "app")["blockers"].as_array().unwrap();
        let messages = blockers.iter().map(|blocker| blocker["message"].as_str().unwrap());
        let message = messages.into_iter().find(|message| message.contains(&format!("{source}: ")));
        message.unwrap_or_else(|| panic!("{source}: {report:#}")).to_owned()
    }

    /// A run deletes all old images of `app` but these.
    #[track_caller]
    fn assert_kept(&self, kept: &[&str]) -> Value {
        let report = self.run();
        let mut expected = tags(kept);
        expected.insert("latest".to_owned());
        assert_eq!(self.left("app"), expected, "{report:#}");
        report
    }
}

fn tags(tags: &[&str]) -> BTreeSet<String> {
    tags.iter().map(|&tag| tag.to_owned()).collect()
}

/// A row of the report's table of sources.
fn row<'a>(report: &'a Value, account: &str, source: &str) -> &'a Value {
    let rows = report["usageSources"].as_array().unwrap();
    let found = rows.iter().find(|row| row["account"] == account && row["source"] == source);
    found.unwrap_or_else(|| panic!("{source} of {account}: {rows:#?}"))
}

#[test]
fn an_account_that_may_pull_and_does_not_report_blocks_its_repositories_until_it_does() {
    let site = Accounts::new();
    site.run_task("ci-0");
    let message = site.assert_blocked(&format!("account/{OTHER}"));
    assert!(message.contains("infra/usage-reporter.yaml"), "{message}");
    let report = site.cloud(|cloud| cloud.object_text(&format!("{BUCKET}/reports/latest.json"))).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let first = report["notices"][0].as_str().unwrap();
    let expected = format!("It is not known what uses images of app: account/{OTHER}: ");
    assert!(first.starts_with(&expected), "{first}");
    let mail = site.cloud(|cloud| cloud.published.last().cloned()).unwrap();
    let page = site.cloud(|cloud| cloud.object_text(&format!("{BUCKET}/reports/latest.html"))).unwrap();
    for text in [mail.1, page] {
        assert!(text.contains(&format!("account/{OTHER}")), "{text}");
    }
    assert_eq!(site.left("own"), tags(&["latest"]), "where it may not pull nothing is blocked");
    let answer = site.report().response();
    assert_eq!(answer, json!({ "bucket": BUCKET, "key": LIST, "imagesInUse": 1, "incompleteSources": [] }));
    let report = site.assert_kept(&["ci-0"]);
    let ecs = row(&report, OTHER, "ecs");
    assert_eq!(
        (&ecs["status"], &ecs["region"], &ecs["list"]),
        (&json!("COMPLETE"), &json!("eu-west-1"), &json!(LIST))
    );
    assert!(ecs["imagesInUse"].as_u64().unwrap() > 0, "{ecs:#}");
    assert_eq!(row(&report, OTHER, "batch")["status"], "COMPLETE");
}

#[test]
fn a_list_says_who_read_what_when_and_names_everything_that_runs_there() {
    let site = Accounts::new();
    let digest = format!("sha256:{}", "a".repeat(64));
    site.run_task("ci-0");
    site.other.cloud(|cloud| {
        let image = format!("{HOST}/app:ci-1");
        cloud.functions.add("thumbs", "$LATEST", &image, &format!("{HOST}/app@{digest}"));
        cloud.sources.batch.register("nightly", 1, &format!("{HOST}/app:ci-1"));
        cloud.eks_clusters = vec!["blue".to_owned()];
    });
    site.report().response();
    let list = site.list();
    assert_eq!(list["formatVersion"], 2);
    assert_eq!(list["writtenBy"]["account"], OTHER);
    assert_eq!(list["writtenBy"]["region"], "eu-west-1");
    let principal = list["writtenBy"]["principal"].as_str().unwrap();
    assert!(principal.starts_with(&format!("arn:aws:sts::{OTHER}:")), "{principal}");
    assert!(list["writtenBy"]["program"].as_str().unwrap().starts_with("usage-report "));
    assert_eq!(list["eksClusters"], json!(["blue"]));
    assert!(list.get("gaps").is_none(), "{list:#}");
    let named: Vec<&str> =
        list["images"].as_array().unwrap().iter().map(|image| image["imageUri"].as_str().unwrap()).collect();
    for image in ["app:ci-0", "app:ci-1", &format!("app@{digest}")] {
        assert!(named.iter().any(|uri| uri.ends_with(image)), "{image}: {named:?}");
    }
    // It asks nothing of a registry, and writes one object.
    let asked: BTreeSet<String> = site.other.operations().into_iter().collect();
    for operation in ["DescribeRegistry", "GetRegistryPolicy", "DescribeRepositories"] {
        assert!(!asked.contains(operation), "{asked:?}");
    }
    let of_registry: BTreeSet<String> = site.steward.aws.operations().into_iter().collect();
    assert_eq!(of_registry, ["PutObject".to_owned()].into());
    // The cluster there needs a list of its own.
    let message = site.assert_blocked(&format!("eks/{OTHER}/eu-west-1/blue"));
    assert!(message.contains("usage/210987654321/eks/eu-west-1/blue.json"), "{message}");
    site.put("usage/210987654321/eks/eu-west-1/blue.json", &json!([]));
    site.assert_kept(&["ci-0", "ci-1"]);
}

#[test]
fn a_task_whose_digest_is_unknown_there_keeps_what_it_may_have_pulled_here() {
    let site = Accounts::new();
    site.other.cloud(|cloud| {
        let definition = cloud.ecs.register("web", &[&format!("{HOST}/app:latest")]);
        cloud.ecs.run_task_without_digest("prod", &definition, 25.0);
    });
    site.report().response();
    assert_eq!(site.list()["unknownImages"].as_array().unwrap().len(), 1, "{:#}", site.list());
    site.assert_kept(&["ci-0", "ci-1", "ci-2"]);
}

#[test]
fn what_cannot_be_read_there_is_written_as_not_read_with_what_was_and_blocks_here() {
    let site = Accounts::new();
    site.run_task("ci-0");
    site.other.fault_from("batch:DescribeJobDefinitions", Fault::Denied, 0);
    let answer = site.report().response();
    assert_eq!(answer["incompleteSources"], json!(["batch"]));
    assert_eq!(site.list()["images"].as_array().unwrap().len(), 1, "what was read is in it");
    let source = format!("{LIST}/batch");
    let message = site.assert_blocked(&source);
    for part in [OTHER, "eu-west-1", "AWS Batch", "allow batch:DescribeJobDefinitions"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let report = site.run();
    assert_eq!(row(&report, OTHER, "batch")["status"], "INCOMPLETE");
    let entries = report["ignoreEntries"].as_array().unwrap();
    let entry = entries.iter().filter_map(Value::as_str).find(|entry| entry.contains(&source)).unwrap();
    // The entry that it prints lets the next run go on, and what it does know still counts.
    site.say(&format!("usage: {{ ignore: [{}] }}", entry.replace('…', "there is no Batch")));
    site.assert_kept(&["ci-0"]);
}

#[test]
fn every_source_that_fails_there_is_in_the_list_and_a_list_is_never_emptied_in_silence() {
    let site = Accounts::new();
    site.run_task("ci-0");
    site.report().response();
    site.other.fault_from("ListClusters", Fault::Denied, 0);
    site.other.fault_from("ListTaskDefinitions", Fault::Denied, 0);
    site.other.fault_from("ListFunctions", Fault::Denied, 0);
    site.other.fault_from(cloud::EKS_CLUSTERS, Fault::Denied, 0);
    let answer = site.report().response();
    assert_eq!(answer["imagesInUse"], 0);
    let incomplete: BTreeSet<&str> = answer["incompleteSources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|source| source.as_str().unwrap())
        .collect();
    assert!(["ecs", "lambda", "eks"].iter().all(|source| incomplete.contains(source)), "{incomplete:?}");
    site.assert_blocked(&format!("{LIST}/lambda"));
}

#[test]
fn a_list_is_written_into_a_bucket_of_its_registry_account_and_into_no_other() {
    let site = Accounts::reporting_to("999999999999");
    let Answer::Error(error) = site.report() else { panic!("nothing was written") };
    assert_eq!(error["errorType"], "AwsFailed");
    assert!(error["errorMessage"].as_str().unwrap().contains("no list was written"), "{error}");
    assert_eq!(site.cloud(|cloud| cloud.keys(BUCKET, "usage/")), [""; 0]);
}

#[test]
fn a_list_that_cannot_be_written_is_reported_and_the_last_one_stays() {
    let site = Accounts::new();
    site.run_task("ci-0");
    site.report().response();
    let before = site.list();
    site.steward.aws.fault_from("PutObject", Fault::Denied, 0);
    let Answer::Error(error) = site.report() else { panic!("it was written") };
    assert!(error["errorMessage"].as_str().unwrap().contains("the last one gets older"), "{error}");
    site.steward.aws.heal();
    assert_eq!(site.list(), before);
}

#[test]
fn a_list_that_nobody_writes_any_more_blocks_after_a_day() {
    let site = Accounts::new();
    site.run_task("ci-0");
    site.report().response();
    let mut list = site.list();
    // Whoever copies an old list makes it no younger.
    let old = Instant::from_micros(Instant::now().micros() - 25 * 3_600_000_000).unwrap().to_string();
    list["writtenAt"] = old.clone().into();
    site.put(LIST, &list);
    let message = site.assert_blocked(LIST);
    assert!(message.contains(&format!("written at {old}, and is of no use after 24 hours")), "{message}");
    site.report().response();
    site.cloud(|cloud| cloud.age(&format!("{BUCKET}/{LIST}"), 25.0));
    site.assert_blocked(LIST);
}

#[test]
fn a_hostile_list_blocks_and_removes_no_protection() {
    type Change = fn(&mut Value);
    let forged: Change = |list| list["writtenBy"]["account"] = "333333333333".into();
    let future: Change = |list| list["writtenAt"] = "2999-01-01T00:00:00Z".into();
    let unknown: Change = |list| list["moreImages"] = json!(["app:ci-1"]);
    let version: Change = |list| list["formatVersion"] = 3.into();
    let emptied: Change = |list| list["sources"] = json!([]);
    let broken: Change = |list| list["images"].as_array_mut().unwrap().push(json!("not a reference"));
    let huge: Change = |list| list["moreImages"] = "x".repeat(5_000_000).into();
    for (change, expected) in [
        (forged, "it says that it tells of the account `333333333333`"),
        (future, "which is in the future"),
        (unknown, "`moreImages` is no member"),
        (version, "its form has the version 3"),
        (emptied, "it does not say in `sources` what was read"),
        (broken, "1 of its 2 entries cannot be read"),
        (huge, "it has more than 4 MB and was not read"),
    ] {
        let site = Accounts::new();
        site.run_task("ci-0");
        site.report().response();
        let mut list = site.list();
        if expected.contains("`333333333333`") {
            list["writtenBy"].as_object_mut().unwrap().remove("principal");
        }
        change(&mut list);
        site.put(LIST, &list);
        let message = site.assert_blocked(LIST);
        assert!(message.contains(expected), "{message}");
        assert_eq!(
            site.left("own"),
            tags(&["ci-0", "ci-1", "ci-2", "latest"]),
            "it may be about any repository"
        );
    }
}

#[test]
fn a_list_of_the_first_form_still_covers_an_account() {
    let site = Accounts::new();
    site.put("usage/210987654321/anything.json", &json!(["app:ci-0"]));
    let report = site.assert_kept(&["ci-0"]);
    assert_eq!(row(&report, OTHER, "usage")["list"], "usage/210987654321/anything.json");
}

#[test]
fn each_region_that_the_policies_file_names_has_to_report() {
    let site = Accounts::new();
    site.run_task("ci-0");
    site.report().response();
    site.say(&format!("usage: {{ accounts: [{{ account: '{OTHER}', regions: [eu-west-1, us-east-1] }}] }}"));
    let message = site.assert_blocked(&format!("account/{OTHER}/us-east-1"));
    assert!(message.contains("usage/210987654321/us-east-1.json"), "{message}");
    let mut list = site.list();
    list["writtenBy"]["region"] = "us-east-1".into();
    site.put("usage/210987654321/us-east-1.json", &list);
    site.assert_kept(&["ci-0"]);
}

#[test]
fn the_role_of_a_reporter_may_read_use_and_put_one_object() {
    const READ: &str = "ReadUsagePolicy";
    const REPORTER: &str = "infra/usage-reporter.yaml";
    // What only the registry is asked it may not.
    let of_registry = ["Registry", "ManagedSigning", "WhoPullsFromAll", "WhoPulls", "ListsOfImages"];
    let statements = |file: &str| -> Vec<String> {
        let all = template::statements(&template::block_of(file, READ));
        let text = |statement: Vec<String>| {
            let lines = statement.iter().map(|line| line.trim()).filter(|line| !line.starts_with('#'));
            lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
        };
        all.into_iter().map(text).collect()
    };
    let expected: Vec<String> = statements("template.yaml")
        .into_iter()
        .filter(|statement| !of_registry.iter().any(|sid| statement.starts_with(&format!("- Sid: {sid}\n"))))
        .collect();
    assert_eq!(expected.len(), 5, "{expected:?}");
    assert_eq!(statements(REPORTER), expected);
    let role = template::block_of(REPORTER, "UsageReportRole").join("\n");
    assert_eq!(role.matches("s3:").count(), 3, "an action, an ARN and a condition: {role}");
    for part in [
        "Action: s3:PutObject",
        "/usage/${AWS::AccountId}/${AWS::Region}.json\"",
        "s3:ResourceAccount: !Ref RegistryAccount",
    ] {
        assert!(role.contains(part), "{part}: {role}");
    }
    let alarm = template::block_of(REPORTER, "UsageReportMissingAlarm").join("\n");
    for part in ["FILL(invocations, 0) - FILL(errors, 0)", "TreatMissingData: breaching", "AlarmActions"] {
        assert!(alarm.contains(part), "{part}: {alarm}");
    }
    let schedule = template::block_of(REPORTER, "UsageReportSchedule").join("\n");
    assert!(
        schedule.contains("!Ref ScheduleExpression") && schedule.contains("State: ENABLED"),
        "{schedule}"
    );
    let text = std::fs::read_to_string(tests::binaries::workspace().join(REPORTER)).unwrap();
    assert!(!text.contains("Transform:"), "StackSets with service-managed permissions take no macros");
}

#[test]
fn other_accounts_may_put_lists_below_their_own_number_and_nothing_else() {
    let policy = template::block("SourceBucketPolicy");
    let open: Vec<String> = template::statements(&policy)
        .into_iter()
        .map(|statement| statement.join("\n"))
        .filter(|statement| statement.contains("Effect: Allow"))
        .collect();
    assert_eq!(open.len(), 2, "{open:?}");
    for statement in &open {
        assert!(statement.contains("Action: s3:PutObject\n"), "{statement}");
        let resource = "Resource: !Sub \"${SourceBucket.Arn}/usage/${!aws:PrincipalAccount}/*.json\"";
        assert!(statement.contains(resource), "{statement}");
        assert_eq!(statement.matches("SourceBucket.Arn").count(), 1, "{statement}");
        // What the roles of the registry's own account may is said by their own policies.
        assert!(statement.contains("aws:PrincipalAccount: !Ref AWS::AccountId"), "{statement}");
    }
    assert!(open[0].contains("aws:PrincipalOrgID: !Ref ReporterOrganization"), "{}", open[0]);
    assert!(open[1].contains("AWS: !Split [\",\", !Ref ReporterAccounts]"), "{}", open[1]);
    let text = policy.join("\n");
    assert_eq!(
        text.matches("- HasReporterOrganization").count() + text.matches("- HasReporterAccounts").count(),
        2
    );
    assert!(text.contains("aws:SecureTransport: \"false\""), "only over TLS: {text}");
    let bucket = template::block("SourceBucket").join("\n");
    assert!(
        bucket.contains("ObjectOwnership: BucketOwnerEnforced"),
        "what others write is the registry's: {bucket}"
    );
}

/// `ecr-steward in-use --write` in the other account.
fn terminal(site: &Accounts, arguments: &[&str]) -> Output {
    Command::new(binary("ecr-steward"))
        .env_clear()
        .env("AWS_ENDPOINT_URL", site.other.url())
        .env("AWS_ENDPOINT_URL_S3", site.steward.aws.url())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_ACCESS_KEY_ID", OTHER)
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .stdin(Stdio::null())
        .args(["in-use", "--write"])
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn an_account_reports_from_a_terminal_as_its_reporter_does() {
    let site = Accounts::new();
    site.run_task("ci-0");
    site.assert_blocked(&format!("account/{OTHER}"));
    site.report().response();
    let of_function = site.list();
    let output = terminal(&site, &[&format!("s3://{BUCKET}")]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output.stdout.is_empty(), "{message}");
    assert!(message.contains(&format!("Wrote s3://{BUCKET}/{LIST}: 1 reference in use")), "{message}");
    let of_terminal = site.list();
    assert!(of_terminal["writtenBy"]["program"].as_str().unwrap().starts_with("ecr-steward "));
    let sources = |list: &Value| -> Vec<Value> {
        list["sources"].as_array().unwrap().iter().map(|source| source["source"].clone()).collect()
    };
    assert_eq!(sources(&of_terminal), sources(&of_function));
    for member in ["formatVersion", "images", "gaps"] {
        assert_eq!(of_terminal[member], of_function[member], "{member}");
    }
    // The same where the whole address is written.
    assert!(terminal(&site, &[&format!("s3://{BUCKET}/{LIST}")]).status.success());
    site.assert_kept(&["ci-0"]);
}

#[test]
fn a_terminal_writes_what_it_could_read_and_says_what_it_could_not() {
    let site = Accounts::new();
    site.run_task("ci-0");
    site.other.fault_from("batch:DescribeJobDefinitions", Fault::Denied, 0);
    let output = terminal(&site, &[&format!("s3://{BUCKET}")]);
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("not known completely: AWS Batch: "), "{message}");
    assert!(message.contains("it blocks deletion until it is whole"), "{message}");
    let message = site.assert_blocked(&format!("{LIST}/batch"));
    assert!(message.contains("allow batch:DescribeJobDefinitions"), "{message}");
}

#[test]
fn a_terminal_reads_stacks_for_a_registry_that_asks_for_them() {
    let site = Accounts::new();
    site.say("usage: { stacks: true }");
    terminal(&site, &[&format!("s3://{BUCKET}")]);
    site.assert_blocked(&format!("{LIST}/stacks"));
    assert!(terminal(&site, &[&format!("s3://{BUCKET}"), "--read-stacks"]).status.success());
    site.assert_kept(&[]);
}

#[test]
fn a_terminal_writes_no_list_of_another_account_region_or_cluster() {
    let site = Accounts::new();
    for (key, expected) in [
        ("usage/333333333333/eu-west-1.json", "the credentials are of 210987654321"),
        ("usage/210987654321/us-east-1.json", "what is read is in eu-west-1"),
        ("usage/eks/shop.json", "add --kubernetes"),
        ("policies.yaml", "write s3://BUCKET"),
    ] {
        let output = terminal(&site, &[&format!("s3://{BUCKET}/{key}")]);
        assert_eq!(output.status.code(), Some(2));
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.contains(expected), "{key}: {message}");
    }
    assert_eq!(site.cloud(|cloud| cloud.keys(BUCKET, "usage/")), [""; 0]);
    assert_eq!(site.other.count("ListClusters"), 0, "nothing is read for it");
}
