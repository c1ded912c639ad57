//! The part of the story about lifecycle policies: a fleet of repositories, previewed and enforced by a scheduled run, with
//! nothing in use deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Extent, Step, until};
use crate::stack::Stack;
use crate::tools::{self, AWS};
use crate::{LocalError, Project, run, say};

pub(super) mod protection;
mod reporters;

/// The policies: a quarter of the fleet is ECR's to apply, the rest this stack's. `<limits>` and `<ignore>` change.
const POLICIES_FILE: &str = r#"limits: <limits>
policies:
  - name: applied by ECR
    repositories: ["fleet/*"]
    tags: { steward: attach }
    rules: &rules
      - { selection: { tagPrefixList: [ci-] }, maximumNumberOfImages: 20 }
      - { selection: { tagPatternList: ["v*"] }, maximumNumberOfImages: 3 }
      - { selection: untagged, maximumAgeLimit: 14 }
    apply: attach
    limits: { images: 100, percent: 70, remaining: 10 }
  - name: applied by the stack
    repositories: ["fleet/*"]
    rules: *rules
    apply: delete
    limits: { images: 100, percent: 70, remaining: 10 }
  - name: one image, whatever it is called
    repositories: ["shop/*"]
    rules:
      - { selection: { tagPatternList: ["*"] }, maximumNumberOfImages: 1 }
      - { selection: untagged, maximumAgeLimit: 14 }
    apply: delete
  - name: somebody else's
    repositories: ["owned/*"]
    apply: protect
usage:
  lists:
    - { key: usage/eks.json, repositories: ["fleet/*"], cluster: shop }
  ignore: [<ignore>]
"#;
/// The registry's daily limit, at first.
const FEW: u64 = 1000;
/// The registry's daily limit afterwards: more than is removed.
const MANY: u64 = 5000;
/// Number of images of the fleet that are removed.
const GOING: usize = 2889;
/// The signatures in each repository of which ECR does not say whether it takes them: their releases stay.
const MAYBE: usize = 2;
/// The account of the local AWS.
const HOST: &str = "000000000000.dkr.ecr.eu-west-1.amazonaws.com";
const CLUSTER: &str = "fleet";
/// The clusters of Amazon EKS: one that reports its use, and one that does not.
const REPORTING: &str = "shop";
const SILENT: &str = "old";
/// The repository of a service that is scaled to zero, and its tag.
const SERVICE: &str = "shop/api";
const LIVE: &str = "live";
const FUNCTIONS: [u32; 4] = [2, 5, 8, 11];
/// The repositories of which one image each is in use by a job definition of AWS Batch, by the environment of a CodeBuild project,
/// and by a schedule that starts an old task definition revision.
const BY_BATCH: &str = "fleet/14";
const BY_CODEBUILD: &str = "fleet/17";
const BY_SCHEDULE: &str = "fleet/26";
/// The name of each of the three in AWS.
const NIGHTLY: &str = "fleet-nightly";
/// The repository where ECR enforces the policy, and the image of a function is deleted after the function.
const LEAVER: &str = "fleet/11";
/// The names of its schedules begin so. The emulator starts nothing for a second one of the same name.
const SCHEDULE: &str = "story-";
/// The input of a run that changes something.
const ENFORCE: &str = r#"{"dryRun": false}"#;

/// Digests by the names that images have here.
type Images = BTreeMap<String, String>;
/// The images of each repository.
type Fleet = BTreeMap<String, Images>;

/// Plays it.
pub(super) fn play(project: &Project, stack: &Stack, extent: Extent) -> Result<(), LocalError> {
    let port = Port { project, stack, bucket: stack.output("SourceBucketName")?.to_owned() };
    let fleet = port.fill()?;
    port.take_into_use(&fleet)?;
    port.name_elsewhere()?;
    let service = port.scale_to_zero()?;
    let entry = port.unknown_cluster(&fleet)?;
    port.ignored_cluster(&fleet, &entry)?;
    let gone = port.limited_run(&fleet)?;
    if extent == Extent::Short {
        return Ok(());
    }
    port.unpreviewed_policies_file(&entry)?;
    port.whole_run(&fleet, &service, gone)?;
    port.spared_by_ecr(&fleet)?;
    port.another_run()?;
    port.protected(&fleet)?;
    port.invalid_policies_file()?;
    port.reporters()
}

/// Plays the part about other accounts alone.
pub(super) fn play_reporters(project: &Project, stack: &Stack) -> Result<(), LocalError> {
    Port { project, stack, bucket: stack.output("SourceBucketName")?.to_owned() }.reporters()
}

/// Removes what a story that was broken off has left.
pub(super) fn clear(stack: &Stack) -> Result<(), LocalError> {
    let is_listed = |arguments: &[&str], pointer: &str, name: &str| -> Result<bool, LocalError> {
        let listed = stack.aws_lists(arguments, pointer)?;
        Ok(listed.iter().any(|one| one.as_str().is_some_and(|one| one.ends_with(name))))
    };
    let left = ["scheduler", "list-schedules", "--name-prefix", SCHEDULE];
    for schedule in stack.aws_lists(&left, "/Schedules")? {
        let name = schedule["Name"].as_str().unwrap_or_default();
        stack.aws(&["scheduler", "delete-schedule", "--name", name])?;
    }
    for function in FUNCTIONS {
        let name = function_name(function);
        if stack.aws(&["lambda", "get-function", "--function-name", &name]).is_ok() {
            stack.aws(&["lambda", "delete-function", "--function-name", &name])?;
        }
    }
    for cluster in [REPORTING, SILENT] {
        if is_listed(&["eks", "list-clusters"], "/clusters", cluster)? {
            stack.aws(&["eks", "delete-cluster", "--name", cluster])?;
        }
    }
    if is_listed(&["ecs", "list-clusters"], "/clusterArns", CLUSTER)? {
        let services = stack.aws_lists(&["ecs", "list-services", "--cluster", CLUSTER], "/serviceArns")?;
        for service in services.iter().filter_map(Value::as_str) {
            stack.aws(&["ecs", "delete-service", "--cluster", CLUSTER, "--service", service, "--force"])?;
        }
    }
    if is_listed(&["codebuild", "list-projects"], "/projects", NIGHTLY)? {
        stack.aws(&["codebuild", "delete-project", "--name", NIGHTLY])?;
    }
    if stack.aws(&["scheduler", "get-schedule", "--name", NIGHTLY]).is_ok() {
        stack.aws(&["scheduler", "delete-schedule", "--name", NIGHTLY])?;
    }
    protection::clear(stack)?;
    reporters::clear(stack)?;
    // The broken policies; what went today, what was previewed, and which lists there were.
    let bucket = stack.output("SourceBucketName")?;
    for folder in ["state", "usage"] {
        stack.aws(&["s3", "rm", "--quiet", "--recursive", &format!("s3://{bucket}/{folder}/")])?;
    }
    stack.aws(&["s3", "rm", "--quiet", &format!("s3://{bucket}/policies.yaml")]).map(drop)
}

/// The policies file with this daily limit, and these entries of ignored sources.
fn policies_file(images: u64, ignore: &str) -> String {
    let limits = format!("{{ images: {images}, percent: 100 }}");
    POLICIES_FILE.replace("<limits>", &limits).replace("<ignore>", ignore)
}

/// The present, in UTC.
fn date(format: &str) -> Result<String, LocalError> {
    let date = run(Command::new("date").args(["-u", format]))?;
    Ok(String::from_utf8_lossy(&date.stdout).trim().to_owned())
}

fn function_name(number: u32) -> String {
    format!("fleet-{number:02}")
}

fn number(repository: &str) -> u32 {
    repository.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// Whether ECR enforces the policy of a repository.
fn is_attached(repository: &str) -> bool {
    number(repository) % 4 == 3
}

/// What the policy would remove from every repository without use: all builds but the youngest 20, all releases but the youngest
/// three with what belongs to them, and images that were untagged for two weeks.
fn taken() -> BTreeSet<String> {
    let builds = (0..50).map(|build| format!("ci-{build:03}"));
    let releases = (1..=3).flat_map(|release| family(&format!("v{release}")));
    let orphans = [15, 20, 25, 30].iter().map(|days| format!("orphan-{days}"));
    builds.chain(releases).chain(orphans).collect()
}

/// A release with what belongs to it.
fn family(release: &str) -> [String; 4] {
    ["", "/amd64", "/arm64", "/signature"].map(|part| format!("{release}{part}"))
}

/// The images of a repository that are kept since they are in use.
fn used(repository: &str) -> BTreeSet<String> {
    let number = number(repository);
    let mut used = BTreeSet::new();
    match number % 3 {
        0 => drop(used.insert("ci-000".to_owned())),
        1 => drop(used.insert("ci-001".to_owned())),
        _ if FUNCTIONS.contains(&number) => used.extend(family("v1")),
        _ => {}
    }
    if number.is_multiple_of(5) {
        used.extend(family("v2"));
    }
    if [BY_BATCH, BY_CODEBUILD, BY_SCHEDULE].contains(&repository) {
        used.insert("ci-003".to_owned());
    }
    used
}

/// The digests of the images that are kept in a repository of the fleet.
fn kept(name: &str, images: &Images) -> BTreeSet<String> {
    let stays = |image: &str| is_attached(name) || !taken().contains(image) || used(name).contains(image);
    images.iter().filter(|(image, _)| stays(image)).map(|(_, digest)| digest.clone()).collect()
}

struct Port<'a> {
    project: &'a Project,
    stack: &'a Stack,
    bucket: String,
}

impl Port<'_> {
    fn fill(&self) -> Result<Fleet, LocalError> {
        let step =
            Step::begin("60 repositories with 6,000 images: builds, releases for two platforms, signatures");
        let fleet: Fleet = self.fleet("fill")?;
        let images: usize = fleet.values().map(BTreeMap::len).sum();
        step.check(fleet.len() == 60 && images == 6000, || format!("{} with {images}", fleet.len()))?;
        Ok(fleet)
    }

    fn take_into_use(&self, fleet: &Fleet) -> Result<(), LocalError> {
        let step = Step::begin(
            "some of them in use: by ECS by tag and by digest, by Lambda, by a cluster that reports",
        );
        let of = |remainder: u32| fleet.iter().filter(move |(name, _)| number(name) % 3 == remainder);
        let container = |name: &str, image: String| json!({ "name": name.replace('/', "-"), "image": image, "memory": 16 });
        let by_tag: Vec<Value> =
            of(0).map(|(name, _)| container(name, format!("{HOST}/{name}:ci-000"))).collect();
        let by_digest: Vec<Value> = of(1)
            .map(|(name, images)| container(name, format!("{HOST}/{name}@{}", images["ci-001"])))
            .collect();
        self.stack.aws(&["ecs", "create-cluster", "--cluster-name", CLUSTER])?;
        for (family, containers) in [("fleet-by-tag", by_tag), ("fleet-by-digest", by_digest)] {
            let containers = Value::from(containers).to_string();
            let register = ["ecs", "register-task-definition", "--family", family];
            self.stack.aws(&[&register[..], &["--container-definitions", &containers]].concat())?;
        }
        let service =
            ["--service-name", "by-tag", "--task-definition", "fleet-by-tag", "--desired-count", "1"];
        self.stack.aws(&[&["ecs", "create-service", "--cluster", CLUSTER][..], &service].concat())?;
        self.stack.aws(&["ecs", "run-task", "--cluster", CLUSTER, "--task-definition", "fleet-by-digest"])?;
        let role = "arn:aws:iam::000000000000:role/any";
        for function in FUNCTIONS {
            let repository = format!("fleet/{function:02}");
            let code = format!("ImageUri={HOST}/{repository}@{}", fleet[&repository]["v1/amd64"]);
            let name = function_name(function);
            let create = ["lambda", "create-function", "--function-name", &name, "--package-type", "Image"];
            self.stack.aws(&[&create[..], &["--code", &code, "--role", role]].concat())?;
        }
        let listed: Vec<Value> = fleet
            .keys()
            .filter(|name| number(name).is_multiple_of(5))
            .map(|name| json!({ "imageUri": format!("{HOST}/{name}:v2"), "usedBy": [format!("eks/shop/{name}")] }))
            .collect();
        step.check(listed.len() == 12, || format!("{listed:?}"))?;
        self.put("usage/eks.json", &Value::from(listed).to_string())?;
        for cluster in [REPORTING, SILENT] {
            let create = ["eks", "create-cluster", "--name", cluster, "--role-arn", role];
            self.stack
                .aws(&[&create[..], &["--resources-vpc-config", "subnetIds=subnet-1,subnet-2"]].concat())?;
        }
        Ok(())
    }

    /// What ECS does not run now, and other services start.
    fn name_elsewhere(&self) -> Result<(), LocalError> {
        let step = Step::begin(
            "and named elsewhere: by a job definition of AWS Batch, a CodeBuild project, a schedule of an old revision",
        );
        let role = "arn:aws:iam::000000000000:role/any";
        let image = |repository: &str| format!("{HOST}/{repository}:ci-003");
        let container = json!({ "image": image(BY_BATCH), "command": ["true"],
            "resourceRequirements": [{ "type": "VCPU", "value": "1" }, { "type": "MEMORY", "value": "16" }] });
        let register =
            ["batch", "register-job-definition", "--job-definition-name", NIGHTLY, "--type", "container"];
        self.stack.aws(&[&register[..], &["--container-properties", &container.to_string()]].concat())?;
        let environment = json!({ "type": "LINUX_CONTAINER", "computeType": "BUILD_GENERAL1_SMALL", "image": image(BY_CODEBUILD) });
        let create = ["codebuild", "create-project", "--name", NIGHTLY, "--service-role", role];
        let source =
            ["--source", "type=NO_SOURCE,buildspec=version: 0.2", "--artifacts", "type=NO_ARTIFACTS"];
        self.stack.aws(&[&create[..], &source, &["--environment", &environment.to_string()]].concat())?;
        // Six revisions: the first is none of the last five, which count by themselves.
        let mut revisions = Vec::new();
        for tag in ["ci-003", "ci-069", "ci-069", "ci-069", "ci-069", "ci-069"] {
            let image = format!("{HOST}/{BY_SCHEDULE}:{tag}");
            let container = json!([{ "name": "nightly", "image": image, "memory": 16 }]).to_string();
            let register =
                ["ecs", "register-task-definition", "--family", NIGHTLY, "--container-definitions"];
            let registered = self.stack.aws(&[&register[..], &[&container]].concat())?;
            let arn = registered.pointer("/taskDefinition/taskDefinitionArn").and_then(Value::as_str);
            revisions.push(arn.unwrap_or_default().to_owned());
        }
        let old = revisions.first().cloned().unwrap_or_default();
        step.check(old.contains(NIGHTLY), || format!("{revisions:?}"))?;
        let target = json!({ "Arn": format!("arn:aws:ecs:eu-west-1:000000000000:cluster/{CLUSTER}"), "RoleArn": role,
            "EcsParameters": { "TaskDefinitionArn": old } });
        let create = ["scheduler", "create-schedule", "--name", NIGHTLY, "--state", "DISABLED"];
        let when = ["--schedule-expression", "cron(0 3 * * ? *)", "--flexible-time-window", "Mode=OFF"];
        self.stack.aws(&[&create[..], &when, &["--target", &target.to_string()]].concat()).map(drop)
    }

    /// A service that runs no task, and whose tag has moved, is started by the digest that it has pinned.
    fn scale_to_zero(&self) -> Result<Images, LocalError> {
        let step = Step::begin("a service scaled to zero, whose tag moves to another image; all are signed");
        let mut images: Images = self.fleet("service")?;
        let container = json!([{ "name": "api", "image": format!("{HOST}/{SERVICE}:{LIVE}"), "memory": 16 }]);
        let container = container.to_string();
        let register = ["ecs", "register-task-definition", "--family", "api", "--container-definitions"];
        self.stack.aws(&[&register[..], &[&container]].concat())?;
        let create = ["ecs", "create-service", "--cluster", CLUSTER, "--service-name", "api"];
        self.stack.aws(&[&create[..], &["--task-definition", "api", "--desired-count", "1"]].concat())?;
        let update = ["ecs", "update-service", "--cluster", CLUSTER, "--service", "api"];
        self.stack.aws(&[&update[..], &["--desired-count", "0"]].concat())?;
        images.extend(self.fleet::<Images>("move")?);
        let tasks = ["ecs", "list-tasks", "--cluster", CLUSTER, "--service-name", "api"];
        step.check(self.stack.aws_lists(&tasks, "/taskArns")?.is_empty(), || "a task runs".to_owned())?;
        let describe = ["ecs", "describe-services", "--cluster", CLUSTER, "--services", "api"];
        let described = self.stack.aws(&describe)?;
        let revision = described.pointer("/services/0/currentServiceRevisions/0/arn").and_then(Value::as_str);
        let describe =
            ["ecs", "describe-service-revisions", "--service-revision-arns", revision.unwrap_or_default()];
        let described = self.stack.aws(&describe)?;
        let pinned = described.pointer("/serviceRevisions/0/containerImages/0/imageDigest");
        step.check(pinned == Some(&json!(images["running"])), || described.to_string())?;
        let moved = self.stack.aws(&[
            "ecr",
            "describe-images",
            "--repository-name",
            SERVICE,
            "--image-ids",
            &format!("imageTag={LIVE}"),
        ])?;
        let moved = moved.pointer("/imageDetails/0/imageDigest").cloned().unwrap_or_default();
        step.check(moved == images["next"], || moved.to_string())?;
        Ok(images)
    }

    fn put(&self, key: &str, text: &str) -> Result<(), LocalError> {
        self.put_with(key, text, &[])
    }

    fn put_with(&self, key: &str, text: &str, options: &[&str]) -> Result<(), LocalError> {
        let file = self.project.run().join(key.replace('/', "-"));
        fs::write(&file, text).map_err(LocalError::io(file.display().to_string()))?;
        let body = file.to_string_lossy();
        let put = ["s3api", "put-object", "--bucket", &self.bucket, "--key", key, "--body", &body];
        self.stack.aws(&[&put[..], options].concat()).map(drop)
    }

    /// Runs the program that knows the fleet.
    fn fleet<T: DeserializeOwned>(&self, what: &str) -> Result<T, LocalError> {
        self.fleet_of(what, &[])
    }

    fn fleet_of<T: DeserializeOwned>(&self, what: &str, of: &[&str]) -> Result<T, LocalError> {
        let python = tools::install(self.project, AWS)?.join("python");
        let script = self.project.root().join("infra/local/fleet.py");
        let now = date("+%Y-%m-%dT%H:%M:%SZ")?;
        let answer =
            run(Command::new(python).arg(script).args([&self.stack.endpoint(), what, &now]).args(of))?;
        serde_json::from_slice(&answer.stdout).map_err(|error| LocalError::Unexpected {
            program: "fleet.py".to_owned(),
            problem: error.to_string(),
        })
    }

    /// The digests in each repository of the fleet.
    fn there(&self) -> Result<BTreeMap<String, BTreeSet<String>>, LocalError> {
        self.fleet("list")
    }

    /// Starts a run by hand, and returns its execution.
    fn start(&self, input: &str) -> Result<String, LocalError> {
        let machine = self.stack.output("LifecycleStateMachineArn")?;
        let start = ["stepfunctions", "start-execution", "--state-machine-arn", machine, "--input", input];
        let started = self.stack.aws(&start)?;
        Ok(started["executionArn"].as_str().unwrap_or_default().to_owned())
    }

    /// The executions of the state machine.
    fn executions(&self) -> Result<Vec<Value>, LocalError> {
        let machine = self.stack.output("LifecycleStateMachineArn")?;
        self.stack
            .aws_lists(&["stepfunctions", "list-executions", "--state-machine-arn", machine], "/executions")
    }

    /// Waits for an execution that was not among these, and gives its ARN.
    fn started(&self, step: &Step, what: &str, before: &[Value]) -> Result<String, LocalError> {
        let arn = |execution: &Value| execution["executionArn"].as_str().unwrap_or_default().to_owned();
        let known: BTreeSet<String> = before.iter().map(arn).collect();
        until(step, what, || Ok(self.executions()?.iter().map(arn).find(|arn| !known.contains(arn))))
    }

    /// Uploads a policies file, and gives the execution that this starts.
    fn upload(&self, step: &Step, policies_file: &str) -> Result<String, LocalError> {
        let before = self.executions()?;
        self.put("policies.yaml", policies_file)?;
        let execution = self.started(step, "a run that the upload starts", &before)?;
        let describe = ["stepfunctions", "describe-execution", "--execution-arn", &execution];
        let described = self.stack.aws(&describe)?;
        step.check(described["input"] == r#"{"dryRun": true}"#, || described.to_string())?;
        Ok(execution)
    }

    /// An object of the bucket.
    fn get(&self, key: &str) -> Result<String, LocalError> {
        let file = self.project.run().join("object");
        let path = file.to_string_lossy();
        self.stack.aws(&["s3", "cp", "--quiet", &format!("s3://{}/{key}", self.bucket), &path])?;
        fs::read_to_string(&file).map_err(LocalError::io(file.display().to_string()))
    }

    /// The number of images that were removed from the registry today, as the runs count them.
    fn taken_today(&self) -> Result<Value, LocalError> {
        let key = format!("state/taken/{}.json", date("+%Y-%m-%d")?);
        serde_json::from_str(&self.get(&key)?)
            .map_err(|error| LocalError::Unexpected { program: key, problem: error.to_string() })
    }

    /// The page of a report.
    fn page(&self, report: &Value) -> Result<String, LocalError> {
        self.get(&format!("runs/{}/report.html", report["runId"].as_str().unwrap_or_default()))
    }

    /// Waits for an execution of the state machine to end, and describes it.
    fn ended(&self, step: &Step, execution: &str) -> Result<Value, LocalError> {
        let describe = ["stepfunctions", "describe-execution", "--execution-arn", execution];
        until(step, "the run to end", || {
            let described = self.stack.aws(&describe)?;
            Ok((described["status"] != "RUNNING").then_some(described))
        })
    }

    /// Waits for an execution of the state machine, and gives the report of its run.
    fn report(&self, step: &Step, execution: &str) -> Result<Value, LocalError> {
        let described = self.ended(step, execution)?;
        step.check(described["status"] == "SUCCEEDED", || format!("the run should succeed: {described}"))?;
        let output: Value =
            serde_json::from_str(described["output"].as_str().unwrap_or_default()).unwrap_or_default();
        let page = output["report"].as_str().unwrap_or_default().to_owned();
        let file = self.project.run().join("report.json");
        let path = file.to_string_lossy();
        let copy = ["s3", "cp", "--quiet", &page.replace(".html", ".json"), &path];
        self.stack.aws(&copy)?;
        let text = fs::read(&file).map_err(LocalError::io(file.display().to_string()))?;
        say(&format!("  {page}"));
        serde_json::from_slice(&text).map_err(|error| LocalError::Unexpected {
            program: "the report".to_owned(),
            problem: error.to_string(),
        })
    }

    /// The number of images that a report lists as removed: what the policies select without what is in use; in the service's
    /// repository an unused image and its signature. Where ECR enforces the policy, the signatures of two kept releases are
    /// included: ECR does not document whether its rules select them.
    fn expected(fleet: &Fleet) -> usize {
        let of_repository = |name: &String| {
            let by_ecr = if is_attached(name) { MAYBE } else { 0 };
            taken().difference(&used(name)).count() + by_ecr
        };
        fleet.keys().map(of_repository).sum::<usize>() + 2
    }

    /// A cluster of Amazon EKS that reports nothing blocks all deletions; the report says how to ignore it.
    fn unknown_cluster(&self, fleet: &Fleet) -> Result<String, LocalError> {
        let step = Step::begin(
            "policies.yaml uploaded: a dry run starts at once, and says what would be deleted and what is unknown",
        );
        let report = self.report(&step, &self.upload(&step, &policies_file(FEW, ""))?)?;
        let expected = Self::expected(fleet);
        step.check(report["totals"]["expiring"]["imageTotalCount"] == expected, || {
            format!("{expected} images would be deleted; the report has {}", report["totals"])
        })?;
        step.check(report["dryRun"] == true && report["dryRunReason"] == "requested", || report.to_string())?;
        step.check(report["gaps"].as_array().is_some_and(|gaps| gaps.len() == 1), || {
            report["gaps"].to_string()
        })?;
        let entry = report["ignoreEntries"][0].as_str().unwrap_or_default().to_owned();
        let is_first = |report: &Value| {
            let first = report["notices"][0].as_str().unwrap_or_default();
            first.contains(&format!("eks/{SILENT}")) && first.contains(&entry) && !entry.is_empty()
        };
        step.check(is_first(&report), || report["notices"].to_string())?;
        let page = self.page(&report)?;
        let (entry_at, table_at) = (page.find(&format!("source: eks/{SILENT}")), page.find("<table"));
        step.check(entry_at.is_some() && entry_at < table_at, || {
            format!("the page should say it first: {entry_at:?} of {}, {table_at:?}", page.len())
        })?;
        say(&format!("  {}", report["notices"][0].as_str().unwrap_or_default()));

        let step = Step::begin("as long as it is unknown what a cluster of EKS runs, nothing is deleted");
        let report = self.report(&step, &self.start(ENFORCE)?)?;
        let totals = &report["totals"];
        step.check(
            report["dryRun"] == false
                && totals["deleted"]["imageTotalCount"] == 0
                && totals["blocked"]["imageTotalCount"] == expected,
            || totals.to_string(),
        )?;
        step.check(is_first(&report) && report["status"] == "ATTENTION", || report["notices"].to_string())?;
        self.all_there(&step)?;
        Ok(entry)
    }

    fn all_there(&self, step: &Step) -> Result<(), LocalError> {
        let there = self.there()?;
        step.check(there.values().all(|images| images.len() == 100), || "images are gone".to_owned())
    }

    /// The entry that the report prints is sufficient to ignore the cluster.
    fn ignored_cluster(&self, fleet: &Fleet, entry: &str) -> Result<(), LocalError> {
        let step =
            Step::begin("the entry that the report prints, pasted into policies.yaml: it blocks nothing");
        let report = self.report(&step, &self.upload(&step, &policies_file(FEW, entry))?)?;
        step.check(report["totals"]["expiring"]["imageTotalCount"] == Self::expected(fleet), || {
            report["totals"].to_string()
        })?;
        let notice = report["notices"][0].as_str().unwrap_or_default();
        step.check(notice.contains(&format!("ignores eks/{SILENT} until")), || {
            report["notices"].to_string()
        })?;
        // What was suspended as long as it was unknown waits for a run that enforces; that alone is left to look at.
        let is_free = report["gaps"] == json!([]) && report["totals"]["blocked"]["imageTotalCount"] == 0;
        step.check(report["dryRun"] == true && is_free, || report["totals"].to_string())?;
        say(&format!("  {notice}"));
        self.all_there(&step)
    }

    /// A run that reaches the daily limit; returns the number of removed images.
    fn limited_run(&self, fleet: &Fleet) -> Result<usize, LocalError> {
        let step =
            Step::begin("a scheduled run enforces what was previewed, up to the registry's limit of the day");
        // Policies that repositories were made with came back before; what ECR takes by them was counted then.
        self.next_day()?;
        let before = self.executions()?;
        let target = self.schedule_now("LifecycleSchedule")?;
        step.check(target["Input"] == ENFORCE, || {
            format!("what the schedule starts is enforced if the stack is to enforce: {target}")
        })?;
        let execution = self.started(&step, "a scheduled run", &before)?;
        let report = self.report(&step, &execution)?;
        let there = self.there()?;
        let mut gone = 0;
        for (name, images) in fleet {
            let kept = kept(name, images);
            step.check(there[name].is_superset(&kept), || format!("{name} has lost too much"))?;
            gone += images.len() - there[name].len();
        }
        // The service's repository is among those of the run, sooner or later than the limit.
        let deleted = &report["totals"]["deleted"]["imageTotalCount"];
        let deleted = deleted.as_u64().and_then(|deleted| usize::try_from(deleted).ok()).unwrap_or_default();
        step.check((gone..=gone + 2).contains(&deleted), || {
            format!("{gone} are gone; {}", report["totals"])
        })?;
        // What is removed together with other images is not counted. What ECR expires behind the attached policies is, including
        // what it may expire alone.
        let stands_alone = |image: &&String| !image.contains('/');
        let of_stack = fleet.iter().flat_map(|(name, images)| {
            images.iter().filter(|(_, digest)| !there[name].contains(*digest)).map(|(image, _)| image)
        });
        let policies = self.policies()?;
        let of_ecr = policies.iter().filter(|(name, text)| is_attached(name) && text.is_some());
        let of_ecr: usize = of_ecr
            .map(|(name, _)| taken().difference(&used(name)).filter(stands_alone).count() + MAYBE)
            .sum();
        let counted = of_stack.filter(stands_alone).count() + of_ecr + usize::from(deleted > gone);
        let counted = counted as u64;
        let today = self.taken_today()?;
        step.check(today["images"] == FEW && counted == FEW && gone < GOING, || {
            format!("{today} were counted, {gone} are gone, and with what ECR takes {counted} count")
        })?;
        let notices: Vec<&str> =
            report["notices"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let limit = notices.iter().find(|notice| notice.starts_with("A limit of the registry blocks"));
        step.check(limit.is_some() && report["status"] == "ATTENTION", || format!("{notices:?}"))?;
        say(&format!("  {deleted} deleted, {of_ecr} for ECR to delete. {}", limit.unwrap_or(&"")));
        self.written_down(&report, deleted)?;
        Ok(deleted)
    }

    /// Has happen at once what one of the stack's own schedules is for, and gives its target.
    fn schedule_now(&self, part: &str) -> Result<Value, LocalError> {
        let schedules = self.stack.aws_lists(&["scheduler", "list-schedules"], "/Schedules")?;
        let own = schedules.iter().filter_map(|schedule| schedule["Name"].as_str());
        let own = own.into_iter().find(|name| name.contains(part)).unwrap_or_default();
        let own = self.stack.aws(&["scheduler", "get-schedule", "--name", own])?;
        let target = own["Target"].to_string();
        // One that is over is no trouble of the next ones, which have other names.
        let name = date(&format!("+{SCHEDULE}{part}-%s"))?;
        let at = date("+at(%Y-%m-%dT%H:%M:%S)")?;
        let create = ["scheduler", "create-schedule", "--name", &name, "--schedule-expression", &at];
        self.stack
            .aws(&[&create[..], &["--flexible-time-window", "Mode=OFF", "--target", &target]].concat())?;
        Ok(own["Target"].clone())
    }

    /// A policies file that no run has previewed is not enforced.
    fn unpreviewed_policies_file(&self, entry: &str) -> Result<(), LocalError> {
        let step = Step::begin(
            "a run that is to enforce a file which no run has previewed is a dry run, and says why",
        );
        let rules = self.stack.aws_lists(&["events", "list-rules"], "/Rules")?;
        let rule = rules.iter().filter_map(|rule| rule["Name"].as_str());
        let rule = rule.into_iter().find(|name| name.contains("PoliciesUploadedRule")).unwrap_or_default();
        let before = self.there()?;
        // Otherwise the upload would have it previewed.
        self.stack.aws(&["events", "disable-rule", "--name", rule])?;
        self.put("policies.yaml", &policies_file(MANY, entry))?;
        let report = self.report(&step, &self.start(ENFORCE)?)?;
        self.stack.aws(&["events", "enable-rule", "--name", rule])?;
        let notice = report["notices"][0].as_str().unwrap_or_default();
        step.check(report["dryRun"] == true && report["dryRunReason"] == "not-previewed", || {
            report["notices"].to_string()
        })?;
        let hash = report["policiesFileHash"].as_str().unwrap_or_default();
        step.check(notice.contains("no completed run had previewed") && notice.contains(hash), || {
            report["notices"].to_string()
        })?;
        step.check(report["totals"]["deleted"]["imageTotalCount"] == 0 && before == self.there()?, || {
            format!("images are gone: {}", report["totals"])
        })?;
        say(&format!("  {notice}"));
        Ok(())
    }

    /// A run that removes what the limit left over.
    fn whole_run(&self, fleet: &Fleet, service: &Images, before: usize) -> Result<(), LocalError> {
        let step =
            Step::begin("the next run enforces it: what the limit left is deleted, less what is in use");
        let report = self.report(&step, &self.start(ENFORCE)?)?;
        let there = self.there()?;
        let mut gone = 0;
        for (name, images) in fleet {
            let kept = kept(name, images);
            gone += images.len() - kept.len();
            step.check(there[name] == kept, || {
                let name_of = |digest: &&String| {
                    images.iter().find(|(_, other)| other == digest).map(|(image, _)| image.clone())
                };
                let missing: Vec<_> = kept.difference(&there[name]).map(|digest| name_of(&digest)).collect();
                let extra: Vec<_> = there[name].difference(&kept).map(|digest| name_of(&digest)).collect();
                format!("{name} should not have lost {missing:?}, and should have lost {extra:?}")
            })?;
        }
        let deleted = gone + 2 - before;
        step.check(gone == GOING && report["totals"]["deleted"]["imageTotalCount"] == deleted, || {
            format!("{gone} are gone, {before} before: {}", report["totals"])
        })?;
        say(&format!(
            "  {deleted} more deleted, {} protected (in use)",
            report["totals"]["protectedByUse"]["imageTotalCount"]
        ));
        self.written_down(&report, deleted)?;

        let step = Step::begin(
            "what a service pins stays though no task runs and no tag names it; so does its signature",
        );
        let listed = ["ecr", "list-images", "--repository-name", SERVICE];
        let listed = self.stack.aws_lists(&listed, "/imageIds")?;
        let left: BTreeSet<&str> = listed.iter().filter_map(|id| id["imageDigest"].as_str()).collect();
        let names = ["running", "running/signature", "next", "next/signature"];
        let expected: BTreeSet<&str> = names.iter().map(|name| service[*name].as_str()).collect();
        step.check(left == expected, || format!("{listed:?} of {service:?}"))?;
        let outcomes = report["repositories"].as_array().into_iter().flatten();
        let outcome = outcomes.into_iter().find(|outcome| outcome["repositoryName"] == SERVICE);
        let mut results = outcome.and_then(|outcome| outcome["results"].as_array()).into_iter().flatten();
        let answer = results.find(|image| image["imageDigest"] == service["running"]);
        let reason = answer.and_then(|answer| answer["reason"].as_str()).unwrap_or_default();
        let is_used = answer.is_some_and(|answer| answer["outcome"] == "IN_USE");
        step.check(is_used && reason.contains(&format!("service/{CLUSTER}/api")), || format!("{outcome:?}"))?;
        say(&format!("  {reason}"));
        Ok(())
    }

    /// Every deletion is in the journal.
    fn written_down(&self, report: &Value, gone: usize) -> Result<(), LocalError> {
        let step = Step::begin(
            "every deletion was written down before: manifest, tags, rule, reason, version of the policies file",
        );
        let lines = self.removals(report)?;
        step.check(lines.len() == gone, || format!("{gone} went, and {} are written down", lines.len()))?;
        let is_whole = |line: &Value| {
            ["imageManifest", "reason", "policy", "policiesFileVersion"]
                .iter()
                .all(|field| line[*field].is_string())
        };
        step.check(lines.iter().all(is_whole), || format!("{:?}", lines.first()))?;
        say(&format!("  {}", lines.first().and_then(|line| line["reason"].as_str()).unwrap_or_default()));
        Ok(())
    }

    /// The journal's lines of what a run deleted.
    fn removals(&self, report: &Value) -> Result<Vec<Value>, LocalError> {
        let folder = self.project.run().join("journal");
        tools::remove(&folder)?;
        let from = format!("s3://{}/journal/", self.bucket);
        let to = folder.to_string_lossy();
        self.stack.aws(&["s3", "cp", "--quiet", "--recursive", &from, &to])?;
        let run_id = report["runId"].as_str().unwrap_or_default();
        // Neither what ECR takes behind a policy, nor policies that were replaced.
        let removals = ["-rhF", "--include=*.jsonl", "--exclude=plan-*", run_id];
        let found = run(Command::new("grep").args(removals).arg(&folder))?;
        let lines: Vec<Value> = String::from_utf8_lossy(&found.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        Ok(lines)
    }

    /// What ECR itself would expire by the attached policies, as the preview evaluates them.
    fn spared_by_ecr(&self, fleet: &Fleet) -> Result<(), LocalError> {
        let step =
            Step::begin("where ECR applies the policy, it has rules and tags that spare what is in use");
        for (name, images) in fleet.iter().filter(|(name, _)| is_attached(name)) {
            let request = json!({ "repositoryName": name, "allPasses": true });
            let preview = step.expect(self.stack.request("POST", "/previews", Some(&request))?, 200)?;
            let digests = |list: &str| -> BTreeSet<String> {
                let images = preview[list].as_array().into_iter().flatten();
                images.filter_map(|image| image["imageDigest"].as_str()).map(str::to_owned).collect()
            };
            let expected: BTreeSet<String> =
                taken().difference(&used(name)).map(|image| images[image].clone()).collect();
            step.check(digests("previewResults") == expected, || format!("{name}: {preview}"))?;
            // It is the protection rule that holds them: ECR knows nothing of use.
            let held = preview["kept"].as_array().into_iter().flatten();
            let held = held.into_iter().filter(|image| image["keptBy"] == "in use").count();
            step.check(held == 0, || {
                format!("{name}: {held} images are protected by nothing but their use")
            })?;
            let is_tagged = preview["kept"].to_string().contains("ecr-steward-in-use-");
            step.check(is_tagged != used(name).is_empty(), || format!("{name}: {preview}"))?;
        }
        Ok(())
    }

    fn another_run(&self) -> Result<(), LocalError> {
        let step = Step::begin("another run finds nothing to do");
        let before = self.there()?;
        let report = self.report(&step, &self.start(ENFORCE)?)?;
        let totals = &report["totals"];
        step.check(
            totals["deleted"]["imageTotalCount"] == 0 && totals["tagsAdded"] == 0 && totals["drifted"] == 0,
            || totals.to_string(),
        )?;
        let after = self.there()?;
        step.check(before == after, || "images are gone".to_owned())
    }

    fn invalid_policies_file(&self) -> Result<(), LocalError> {
        let step = Step::begin(
            "a policies file with a mistake fails the run, which says where it is; what ECR enforces by it is suspended",
        );
        let before = self.there()?;
        let broken = "policies: [{ name: all, repositories: ['*'], apply: delet }]";
        let previewed = self.ended(&step, &self.upload(&step, broken)?)?;
        step.check(previewed["status"] == "FAILED", || previewed.to_string())?;
        let described = self.ended(&step, &self.start(ENFORCE)?)?;
        let cause = described["cause"].as_str().unwrap_or_default();
        step.check(described["status"] == "FAILED" && cause.contains("/policies/0/apply"), || {
            described.to_string()
        })?;
        say(&format!("  {cause}"));
        self.all_suspended(&step)?;
        step.check(before == self.there()?, || "images are gone".to_owned())
    }
}
