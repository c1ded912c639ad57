//! The part of the story about lifecycle policies: a fleet of repositories, previewed and enforced by a scheduled run, with
//! nothing in use deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Step, until};
use crate::stack::Stack;
use crate::tools::{self, AWS};
use crate::{LocalError, Project, run, say};

/// The policies of the fleet: a quarter of it is ECR's to apply, the rest this stack's.
const BOOK: &str = r#"policies:
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
usage:
  lists:
    - { key: usage/eks.json, repositories: ["fleet/*"] }
"#;
/// The account of the local AWS.
const HOST: &str = "000000000000.dkr.ecr.eu-west-1.amazonaws.com";
const CLUSTER: &str = "fleet";
const FUNCTIONS: [u32; 3] = [2, 5, 8];
const SCHEDULE: &str = "story";
/// The input of a run that changes something.
const ENFORCE: &str = r#"{"dryRun": false}"#;

/// Digests by repository and by the names that images have here.
type Fleet = BTreeMap<String, BTreeMap<String, String>>;

/// Plays it.
pub(super) fn play(project: &Project, stack: &Stack) -> Result<(), LocalError> {
    let port = Port { project, stack, bucket: stack.output("SourceBucketName")?.to_owned() };
    let fleet = port.fill()?;
    port.take_into_use(&fleet)?;
    port.dry_run(&fleet)?;
    port.scheduled_run(&fleet)?;
    port.another_run()?;
    port.broken_book()
}

/// Removes what a story that was broken off has left.
pub(super) fn clear(stack: &Stack) -> Result<(), LocalError> {
    if !stack.aws_lists(&["scheduler", "list-schedules", "--name-prefix", SCHEDULE], "/Schedules")?.is_empty()
    {
        stack.aws(&["scheduler", "delete-schedule", "--name", SCHEDULE])?;
    }
    for function in FUNCTIONS {
        let name = function_name(function);
        if stack.aws(&["lambda", "get-function", "--function-name", &name]).is_ok() {
            stack.aws(&["lambda", "delete-function", "--function-name", &name])?;
        }
    }
    Ok(())
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

/// Whether ECR applies the policy of a repository.
fn is_attached(repository: &str) -> bool {
    number(repository) % 4 == 3
}

/// What the policy takes from every repository, if nothing were in use: all builds but the youngest 20, all releases but the
/// youngest three with what belongs to them, and what nothing has named for two weeks.
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

/// What is kept of a repository since it is in use.
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
    used
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
        let fleet: Fleet = self.fleet(&date("+%Y-%m-%dT%H:%M:%SZ")?)?;
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
        self.put("policies.yaml", BOOK)
    }

    fn put(&self, key: &str, text: &str) -> Result<(), LocalError> {
        let file = self.project.run().join(key.replace('/', "-"));
        fs::write(&file, text).map_err(LocalError::io(file.display().to_string()))?;
        let body = file.to_string_lossy();
        self.stack
            .aws(&["s3api", "put-object", "--bucket", &self.bucket, "--key", key, "--body", &body])
            .map(drop)
    }

    /// Runs the program that knows the fleet.
    fn fleet<T: DeserializeOwned>(&self, what: &str) -> Result<T, LocalError> {
        let python = tools::install(self.project, AWS)?.join("python");
        let script = self.project.root().join("infra/local/fleet.py");
        let told = run(Command::new(python).arg(script).arg(self.stack.endpoint()).arg(what))?;
        serde_json::from_slice(&told.stdout).map_err(|error| LocalError::Unexpected {
            program: "fleet.py".to_owned(),
            problem: error.to_string(),
        })
    }

    /// The digests in each repository of the fleet.
    fn there(&self) -> Result<BTreeMap<String, BTreeSet<String>>, LocalError> {
        self.fleet("list")
    }

    /// Starts a run by hand, and gives its execution.
    fn start(&self, input: &str) -> Result<String, LocalError> {
        let machine = self.stack.output("LifecycleStateMachineArn")?;
        let start = ["stepfunctions", "start-execution", "--state-machine-arn", machine, "--input", input];
        let started = self.stack.aws(&start)?;
        Ok(started["executionArn"].as_str().unwrap_or_default().to_owned())
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

    fn dry_run(&self, fleet: &Fleet) -> Result<(), LocalError> {
        let step = Step::begin("a dry run tells what would go, and changes nothing");
        let report = self.report(&step, &self.start("{}")?)?;
        let expected: usize = fleet.keys().map(|name| taken().difference(&used(name)).count()).sum();
        step.check(report["totals"]["expiring"]["imageTotalCount"] == expected, || {
            format!("{expected} images would go; the report has {}", report["totals"])
        })?;
        step.check(report["dryRun"] == true && report["status"] == "SUCCEEDED", || report.to_string())?;
        let there = self.there()?;
        step.check(there.values().all(|images| images.len() == 100), || "images are gone".to_owned())
    }

    fn scheduled_run(&self, fleet: &Fleet) -> Result<(), LocalError> {
        let step = Step::begin("a scheduled run deletes what the policies take, less what is in use");
        let schedules = self.stack.aws_lists(&["scheduler", "list-schedules"], "/Schedules")?;
        let own = schedules.iter().filter_map(|schedule| schedule["Name"].as_str());
        let own = own.into_iter().find(|name| name.contains("LifecycleSchedule")).unwrap_or_default();
        let own = self.stack.aws(&["scheduler", "get-schedule", "--name", own])?;
        step.check(own["Target"]["Input"] == ENFORCE, || {
            format!("what the schedule starts is enforced if the stack is to enforce: {own}")
        })?;
        // The same target as the stack's own schedule, at once.
        let target = own["Target"].clone();
        let machine = self.stack.output("LifecycleStateMachineArn")?;
        let list = ["stepfunctions", "list-executions", "--state-machine-arn", machine];
        let before = self.stack.aws_lists(&list, "/executions")?.len();
        let at = date("+at(%Y-%m-%dT%H:%M:%S)")?;
        let target = target.to_string();
        let create = ["scheduler", "create-schedule", "--name", SCHEDULE, "--schedule-expression", &at];
        self.stack
            .aws(&[&create[..], &["--flexible-time-window", "Mode=OFF", "--target", &target]].concat())?;
        let execution = until(&step, "a scheduled run", || {
            let mut executions = self.stack.aws_lists(&list, "/executions")?;
            let is_new = executions.len() > before;
            executions.sort_by_key(|execution| execution["startDate"].to_string());
            let latest = executions.pop().unwrap_or_default();
            Ok(is_new.then(|| latest["executionArn"].as_str().unwrap_or_default().to_owned()))
        })?;
        self.stack.aws(&["scheduler", "delete-schedule", "--name", SCHEDULE])?;
        let report = self.report(&step, &execution)?;
        let there = self.there()?;
        let mut gone = 0;
        for (name, images) in fleet {
            let kept: BTreeSet<String> = images
                .iter()
                .filter(|(image, _)| {
                    is_attached(name) || !taken().contains(*image) || used(name).contains(*image)
                })
                .map(|(_, digest)| digest.clone())
                .collect();
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
        step.check(report["totals"]["deleted"]["imageTotalCount"] == gone, || report["totals"].to_string())?;
        say(&format!(
            "  {gone} deleted, {} held since in use",
            report["totals"]["heldByUse"]["imageTotalCount"]
        ));
        self.written_down(&report, gone)?;
        self.spared_by_ecr(fleet)
    }

    /// Every deletion is in the journal.
    fn written_down(&self, report: &Value, gone: usize) -> Result<(), LocalError> {
        let step = Step::begin(
            "every deletion was written down before: manifest, tags, rule, reason, version of the book",
        );
        let folder = self.project.run().join("journal");
        tools::remove(&folder)?;
        let from = format!("s3://{}/journal/", self.bucket);
        let to = folder.to_string_lossy();
        self.stack.aws(&["s3", "cp", "--quiet", "--recursive", &from, &to])?;
        let run_id = report["runId"].as_str().unwrap_or_default();
        let found = run(Command::new("grep").args(["-rhF", run_id]).arg(&folder))?;
        let lines: Vec<Value> = String::from_utf8_lossy(&found.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        step.check(lines.len() == gone, || format!("{gone} went, and {} are written down", lines.len()))?;
        let is_whole = |line: &Value| {
            ["imageManifest", "reason", "policy", "bookVersion"].iter().all(|field| line[*field].is_string())
        };
        step.check(lines.iter().all(is_whole), || format!("{:?}", lines.first()))?;
        say(&format!("  {}", lines.first().and_then(|line| line["reason"].as_str()).unwrap_or_default()));
        Ok(())
    }

    /// What ECR itself would take by the policies that were attached, as the preview evaluates them.
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
            // It is the shield that holds them: ECR knows nothing of use.
            let held = preview["kept"].as_array().into_iter().flatten();
            let held = held.into_iter().filter(|image| image["heldBy"] == "in use").count();
            step.check(held == 0, || format!("{name}: {held} images are held by nothing but their use"))?;
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

    fn broken_book(&self) -> Result<(), LocalError> {
        let step = Step::begin(
            "a policy book with a mistake fails the run, which says where it is, and changes nothing",
        );
        let before = self.there()?;
        self.put("policies.yaml", "policies: [{ name: all, repositories: ['*'], apply: delet }]")?;
        let described = self.ended(&step, &self.start(ENFORCE)?)?;
        let cause = described["cause"].as_str().unwrap_or_default();
        step.check(described["status"] == "FAILED" && cause.contains("/policies/0/apply"), || {
            described.to_string()
        })?;
        say(&format!("  {cause}"));
        step.check(before == self.there()?, || "images are gone".to_owned())
    }
}
