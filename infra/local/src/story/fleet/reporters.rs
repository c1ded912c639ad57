//! The part of the story about other accounts: one may pull and does not report, which blocks its repositories; then it reports, by
//! `infra/usage-reporter.yaml`, deployed in an account of its own on the same local AWS.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::protection::outcome;
use super::{ENFORCE, HOST, Images, Port, Step, until};
use crate::stack::{REPORTER, Stack};
use crate::{LocalError, functions, run, say};

/// The repository that the other account may pull from.
const REPOSITORY: &str = "partner/app";
/// What it has, the youngest last. The policy keeps that one, and the account runs the first.
const TAGS: [&str; 5] = ["build-1", "build-2", "build-3", "build-4", "build-5"];
/// The stack of the reporter, the bucket with its code and its program.
const STACK: &str = "usage-reporter";
const CODE: &str = "usage-reporter-code";
const PROGRAM: &str = "usage-report";
/// The list that it writes.
const LIST: &str = "usage/210987654321/eu-west-1.json";
const CLUSTER: &str = "partner";
/// Keeps the youngest image. Clusters that another part of the story leaves do not matter here.
const POLICIES_FILE: &str = r#"policies:
  - name: what a partner pulls
    repositories: ["partner/*"]
    rules: [{ selection: any, maximumNumberOfImages: 1 }]
    apply: delete
    limits: { images: 10, percent: 100, remaining: 1 }
usage:
  ignore:
    - { source: eks/shop, reason: the clusters are another part of the story }
    - { source: eks/old, reason: the clusters are another part of the story }
"#;

/// Removes what it has made, or what is left of one that was broken off.
pub(super) fn clear(stack: &Stack) -> Result<(), LocalError> {
    let as_reporter = |arguments: &[&str]| stack.aws_as(REPORTER, arguments);
    if as_reporter(&["cloudformation", "describe-stacks", "--stack-name", STACK]).is_ok() {
        as_reporter(&["cloudformation", "delete-stack", "--stack-name", STACK])?;
    }
    if as_reporter(&["s3api", "head-bucket", "--bucket", CODE]).is_ok() {
        as_reporter(&["s3", "rm", "--quiet", "--recursive", &format!("s3://{CODE}/")])?;
        as_reporter(&["s3api", "delete-bucket", "--bucket", CODE])?;
    }
    let tasks = as_reporter(&["ecs", "list-tasks", "--cluster", CLUSTER]).unwrap_or_default();
    for task in tasks["taskArns"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        as_reporter(&["ecs", "stop-task", "--cluster", CLUSTER, "--task", task])?;
    }
    let repositories = stack.aws_lists(&["ecr", "describe-repositories"], "/repositories")?;
    if repositories.iter().any(|repository| repository["repositoryName"] == REPOSITORY) {
        stack.aws(&["ecr", "delete-repository", "--force", "--repository-name", REPOSITORY])?;
    }
    let bucket = stack.output("SourceBucketName")?;
    for folder in ["state", "usage"] {
        stack.aws(&["s3", "rm", "--quiet", "--recursive", &format!("s3://{bucket}/{folder}/")])?;
    }
    stack.aws(&["s3", "rm", "--quiet", &format!("s3://{bucket}/policies.yaml")]).map(drop)
}

impl Port<'_> {
    /// Plays it.
    pub(super) fn reporters(&self) -> Result<(), LocalError> {
        // What is left of the parts before: lists that count for this one too, and how much went today.
        clear(self.stack)?;
        let images = self.repository_of_partner()?;
        self.silent_account()?;
        self.deploy_reporter()?;
        self.only_its_own()?;
        self.account_reports(&images)?;
        clear(self.stack)
    }

    fn repository_of_partner(&self) -> Result<Images, LocalError> {
        let step = Step::begin("a repository of five old images, from which another account may pull");
        self.stack.aws(&["ecr", "create-repository", "--repository-name", REPOSITORY])?;
        // Images of today are in use until a list is written after them, whoever may pull.
        let images: Images = self.fleet_of("builds", &[REPOSITORY])?;
        let policy = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow",
            "Principal": { "AWS": format!("arn:aws:iam::{REPORTER}:root") },
            "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"] }] })
        .to_string();
        let set = ["ecr", "set-repository-policy", "--repository-name", REPOSITORY, "--policy-text", &policy];
        self.stack.aws(&set)?;
        let there = self.tags_of_partner()?;
        step.check(there == TAGS, || format!("{TAGS:?} were pushed, and {there:?} are there"))?;
        Ok(images)
    }

    /// An account that may pull and reports nothing.
    fn silent_account(&self) -> Result<(), LocalError> {
        let step = Step::begin("as long as that account does not report, nothing of it is deleted");
        self.report(&step, &self.upload(&step, POLICIES_FILE)?)?;
        let report = self.report(&step, &self.start(ENFORCE)?)?;
        let there = self.tags_of_partner()?;
        step.check(there == TAGS, || format!("{there:?} are left: {report}"))?;
        let of_partner = outcome(&report, REPOSITORY);
        step.check(of_partner["status"] == "BLOCKED", || of_partner.to_string())?;
        let first = report["notices"][0].as_str().unwrap_or_default();
        step.check(first.contains(&format!("account/{REPORTER}")) && first.contains(REPOSITORY), || {
            format!("the first line of the report should say so: {}", report["notices"])
        })?;
        say(&format!("  {first}"));
        Ok(())
    }

    /// What the account uses, and what reports it.
    fn deploy_reporter(&self) -> Result<(), LocalError> {
        let step = Step::begin("infra/usage-reporter.yaml deployed in that account, which runs build-1");
        let as_reporter = |arguments: &[&str]| self.stack.aws_as(REPORTER, arguments);
        let container =
            json!([{ "name": "app", "image": format!("{HOST}/{REPOSITORY}:{}", TAGS[0]), "memory": 16 }])
                .to_string();
        as_reporter(&["ecs", "create-cluster", "--cluster-name", CLUSTER])?;
        let register = ["ecs", "register-task-definition", "--family", "partner", "--container-definitions"];
        as_reporter(&[&register[..], &[&container]].concat())?;
        as_reporter(&["ecs", "run-task", "--cluster", CLUSTER, "--task-definition", "partner"])?;
        let architecture = functions::architecture().trim_start_matches("Architecture=");
        let key = format!("{PROGRAM}-{architecture}.zip");
        let zip = self.reporter_zip()?;
        let region = ["--create-bucket-configuration", "LocationConstraint=eu-west-1"];
        as_reporter(&[&["s3api", "create-bucket", "--bucket", CODE][..], &region].concat())?;
        as_reporter(&["s3", "cp", "--quiet", &zip, &format!("s3://{CODE}/{key}")])?;
        let template = format!("file://{}", self.project.root().join("infra/usage-reporter.yaml").display());
        let parameter = |name: &str, value: &str| format!("ParameterKey={name},ParameterValue={value}");
        let parameters = [
            parameter("RegistryBucket", &self.bucket),
            parameter("RegistryAccount", "000000000000"),
            parameter("RegistryRegion", "eu-west-1"),
            parameter("CodeBucket", CODE),
            parameter("Architecture", architecture),
        ];
        let parameters: Vec<&str> = parameters.iter().map(String::as_str).collect();
        let create = ["cloudformation", "create-stack", "--stack-name", STACK, "--template-body", &template];
        let roles = ["--capabilities", "CAPABILITY_IAM", "--parameters"];
        as_reporter(&[&create[..], &roles, &parameters].concat())?;
        let status = until(&step, "the stack of the reporter", || {
            let described = as_reporter(&["cloudformation", "describe-stacks", "--stack-name", STACK])?;
            let status =
                described.pointer("/Stacks/0/StackStatus").and_then(Value::as_str).unwrap_or_default();
            Ok((!status.ends_with("_IN_PROGRESS")).then(|| status.to_owned()))
        })?;
        step.check(status == "CREATE_COMPLETE", || format!("the stack is {status}"))
    }

    /// The bucket's policy lets the account put lists below its own number, and nothing else.
    fn only_its_own(&self) -> Result<(), LocalError> {
        let step = Step::begin("it may put lists below its own number, and do nothing else in the bucket");
        let file = self.project.run().join("forged.json");
        fs::write(&file, "[]").map_err(LocalError::io(file.display().to_string()))?;
        let body = file.to_string_lossy();
        let put = |key: &str, account: &str| {
            let put = ["s3api", "put-object", "--bucket", &self.bucket, "--key", key, "--body", &body];
            self.stack.aws_as(account, &put)
        };
        let refused = [
            put("usage/000000000000/eu-west-1.json", REPORTER),
            put("usage/eks/shop.json", REPORTER),
            put("policies.yaml", REPORTER),
            put(LIST, "333333333333"),
            self.stack.aws_as(REPORTER, &["s3api", "list-objects-v2", "--bucket", &self.bucket]),
        ];
        for answer in refused {
            let is_denied =
                matches!(&answer, Err(LocalError::Failed { output, .. }) if output.contains("AccessDenied"));
            step.check(is_denied, || format!("it should be refused: {answer:?}"))?;
        }
        Ok(())
    }

    /// The account reports: the next run keeps what it runs, and deletes the rest.
    fn account_reports(&self, images: &Images) -> Result<(), LocalError> {
        let step = Step::begin("it reports: what it runs stays, and what nothing uses is deleted");
        let as_reporter = |arguments: &[&str]| self.stack.aws_as(REPORTER, arguments);
        let described = as_reporter(&["cloudformation", "describe-stacks", "--stack-name", STACK])?;
        let outputs =
            described.pointer("/Stacks/0/Outputs").and_then(Value::as_array).cloned().unwrap_or_default();
        let function = outputs.iter().find(|output| output["OutputKey"] == "UsageReportFunctionName");
        let function = function.and_then(|output| output["OutputValue"].as_str()).unwrap_or_default();
        let answer = self.project.run().join("reported.json");
        let file = answer.to_string_lossy();
        let invoked =
            as_reporter(&["lambda", "invoke", "--function-name", function, "--payload", "{}", &file])?;
        let text = fs::read_to_string(&answer).map_err(LocalError::io(file.clone()))?;
        step.check(invoked["FunctionError"].is_null(), || text.clone())?;
        let reported: Value = serde_json::from_str(&text).unwrap_or_default();
        step.check(reported["key"] == LIST && reported["incompleteSources"] == json!([]), || text.clone())?;
        let report = self.report(&step, &self.start(ENFORCE)?)?;
        let there = self.tags_of_partner()?;
        step.check(there == [TAGS[0], TAGS[4]], || format!("{there:?} are left: {report}"))?;
        let of_partner = outcome(&report, REPOSITORY);
        let results = of_partner["results"].as_array().into_iter().flatten();
        let run_there = results.into_iter().find(|image| image["imageDigest"] == images[TAGS[0]].as_str());
        let reason = run_there.and_then(|image| image["reason"].as_str()).unwrap_or_default();
        let is_used = run_there.is_some_and(|image| image["outcome"] == "IN_USE");
        step.check(is_used && reason.contains(REPORTER), || of_partner.to_string())?;
        say(&format!("  {}: {reason}", TAGS[0]));
        let rows = report["usageSources"].as_array().cloned().unwrap_or_default();
        let is_ecs = |row: &&Value| row["account"] == REPORTER && row["source"] == "ecs";
        let ecs = rows.iter().find(is_ecs).cloned().unwrap_or_default();
        step.check(ecs["status"] == "COMPLETE" && ecs["region"] == "eu-west-1", || format!("{rows:?}"))?;
        say(&format!("  {LIST}: {}, {} references", ecs["status"], ecs["imagesInUse"]));
        Ok(())
    }

    /// The tags that there are.
    fn tags_of_partner(&self) -> Result<Vec<String>, LocalError> {
        let list = ["ecr", "describe-images", "--repository-name", REPOSITORY];
        let images = self.stack.aws_lists(&list, "/imageDetails")?;
        let tags = images.iter().flat_map(|image| image["imageTags"].as_array().into_iter().flatten());
        let mut tags: Vec<String> = tags.filter_map(Value::as_str).map(str::to_owned).collect();
        tags.sort();
        Ok(tags)
    }

    /// The program of the function, as AWS Lambda takes it.
    fn reporter_zip(&self) -> Result<String, LocalError> {
        let built = functions::build(self.project, &[PROGRAM])?;
        let missing =
            || LocalError::Unexpected { program: PROGRAM.to_owned(), problem: "it was not built".to_owned() };
        let folder = self.project.run();
        let (bootstrap, zip) = (folder.join("bootstrap"), folder.join("usage-report.zip"));
        run(Command::new("strip").arg("-o").arg(&bootstrap).arg(built.get(PROGRAM).ok_or_else(missing)?))?;
        let package = self.project.root().join("infra/release/package.py");
        run(Command::new("python3").arg(package).arg("zip").arg(&bootstrap).arg(&zip))?;
        Ok(zip.to_string_lossy().into_owned())
    }
}
