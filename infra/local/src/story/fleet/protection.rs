//! The part of the story about what ECR itself deletes by lifecycle policies: what is in use is protected from it by tags, and what
//! is not certain suspends a policy. The emulator's ECR deletes nothing by itself; `fleet.py expire` does what ECR would.

use std::process::Command;

use super::{
    BTreeMap, BTreeSet, CLUSTER, ENFORCE, Fleet, HOST, LEAVER, LocalError, Port, Step, Value, date, family,
    function_name, is_attached, json, run, say, taken, until, used,
};
use crate::functions;

/// The prefix of protection tags.
const PROTECTION: &str = "ecr-steward-in-use-";
/// The stack that owns repositories with their lifecycle policies, and knows nothing of this one.
const OWNER: &str = "owner";
/// Its repository under `apply: protect`.
const IN_FILE: &str = "owned/web";
/// Its repository that asks for protection by a resource tag.
const TAGGED: &str = "tagged/api";
/// The repository whose protection becomes stale.
const STALE: &str = "fleet/03";
/// The list of use that comes late.
const LIST: &str = "usage/eks.json";
/// The input of a run that only protects.
const PROTECT: &str = r#"{"protectOnly": true}"#;

/// The lifecycle policies of the fleet, as ECR has them.
type Policies = BTreeMap<String, Option<String>>;

/// Whether a lifecycle policy is suspended: it has the protection rule, and no other.
pub(in super::super) fn is_suspended(text: &str) -> bool {
    let document: Value = serde_json::from_str(text).unwrap_or_default();
    document["rules"].as_array().is_some_and(|rules| {
        rules.len() == 1
            && rules[0]["selection"]["tagPrefixList"] == json!([PROTECTION])
            && rules[0]["selection"]["countType"] == "imageCountMoreThan"
            && rules[0]["selection"]["countNumber"].as_u64() >= Some(1_000_000)
    })
}

/// Removes the stack that owns repositories.
pub(super) fn clear(stack: &crate::stack::Stack) -> Result<(), LocalError> {
    stack.delete(OWNER).map(drop)
}

impl Port<'_> {
    pub(super) fn protected(&self, fleet: &Fleet) -> Result<(), LocalError> {
        self.somebody_elses_policy()?;
        self.late_list()?;
        self.dead_mans_switch()?;
        self.use_that_ends(fleet)
    }

    pub(super) fn policies(&self) -> Result<Policies, LocalError> {
        self.fleet("policies")
    }

    /// The tags of the images of a repository, by digest.
    fn tags(&self, repository: &str) -> Result<BTreeMap<String, BTreeSet<String>>, LocalError> {
        let listed =
            self.stack.aws_lists(&["ecr", "list-images", "--repository-name", repository], "/imageIds")?;
        let mut tags: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for id in listed {
            let of_image = tags.entry(id["imageDigest"].as_str().unwrap_or_default().to_owned()).or_default();
            of_image.extend(id["imageTag"].as_str().map(str::to_owned));
        }
        Ok(tags)
    }

    /// The images that have a protection tag.
    fn protected_images(&self, repository: &str) -> Result<BTreeSet<String>, LocalError> {
        let is_protected = |tags: &BTreeSet<String>| tags.iter().any(|tag| tag.starts_with(PROTECTION));
        let tags = self.tags(repository)?.into_iter();
        Ok(tags.filter(|(_, tags)| is_protected(tags)).map(|(digest, _)| digest).collect())
    }

    /// Lets ECR execute the attached policy, and returns what expired.
    fn expire(&self, repository: &str) -> Result<BTreeSet<String>, LocalError> {
        self.fleet_of("expire", &[repository])
    }

    /// A run that only protects, started as its schedule does.
    fn protecting_run(&self, step: &Step) -> Result<Value, LocalError> {
        let before = self.executions()?;
        let target = self.schedule_now("LifecycleProtectionSchedule")?;
        step.check(target["Input"] == PROTECT, || format!("its schedule should only protect: {target}"))?;
        let execution = self.started(step, "a run that only protects", &before)?;
        let report = self.report(step, &execution)?;
        step.check(report["dryRunReason"] == "protect-only", || report["notices"].to_string())?;
        Ok(report)
    }

    /// Repositories whose policy another stack owns.
    fn somebody_elses_policy(&self) -> Result<(), LocalError> {
        let step = Step::begin(
            "lifecycle policies that another CloudFormation stack owns, behind the rule that `ecr-steward protection-rule` prints",
        );
        let programs = functions::build(self.project, &["ecr-steward"])?;
        let printed =
            run(Command::new(&programs["ecr-steward"]).args(["protection-rule", "--output", "json"]))?;
        let mut policy: Value =
            serde_json::from_slice(&printed.stdout).map_err(|error| LocalError::Unexpected {
                program: "ecr-steward protection-rule".to_owned(),
                problem: error.to_string(),
            })?;
        step.check(is_suspended(&policy.to_string()), || format!("it should be one rule: {policy}"))?;
        let own = json!({
            "rulePriority": 2, "description": "the newest three", "action": { "type": "expire" },
            "selection": { "tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 3 },
        });
        if let Some(rules) = policy["rules"].as_array_mut() {
            rules.push(own);
        }
        let text = policy.to_string();
        let repository = |name: &str, tags: Value| {
            json!({ "Type": "AWS::ECR::Repository", "Properties": {
                "RepositoryName": name, "LifecyclePolicy": { "LifecyclePolicyText": text },
                "EmptyOnDelete": true, "Tags": tags,
            } })
        };
        let template = json!({ "Resources": {
            "InFile": repository(IN_FILE, json!([])),
            "Tagged": repository(TAGGED, json!([{ "Key": "ecr-steward:protect", "Value": "true" }])),
        } });
        let file = self.project.run().join("owner.json");
        std::fs::write(&file, template.to_string()).map_err(LocalError::io(file.display().to_string()))?;
        let status = self.stack.deploy(&file, OWNER, &[])?;
        step.check(status == "CREATE_COMPLETE", || format!("the stack should be there, and is {status}"))?;
        let text_of = |name: &str| -> Result<String, LocalError> {
            let answer = self.stack.aws(&["ecr", "get-lifecycle-policy", "--repository-name", name])?;
            Ok(answer["lifecyclePolicyText"].as_str().unwrap_or_default().to_owned())
        };
        let mut builds: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
        for name in [IN_FILE, TAGGED] {
            step.check(text_of(name)? == text, || format!("{name} should have the stack's policy"))?;
            builds.insert(name, self.fleet_of("builds", &[name])?);
        }
        let images =
            [format!("{HOST}/{IN_FILE}@{}", builds[IN_FILE]["build-1"]), format!("{HOST}/{TAGGED}:build-2")];
        let containers: Vec<Value> = (1..)
            .zip(images)
            .map(|(number, image)| json!({ "name": format!("owned-{number}"), "image": image, "memory": 16 }))
            .collect();
        let containers = Value::from(containers).to_string();
        let register = ["ecs", "register-task-definition", "--family", "owned", "--container-definitions"];
        self.stack.aws(&[&register[..], &[&containers]].concat())?;
        self.stack.aws(&["ecs", "run-task", "--cluster", CLUSTER, "--task-definition", "owned"])?;

        let step = Step::begin(
            "under `apply: protect`, or with the resource tag, what is in use gets a protection tag; the policy is not touched",
        );
        let report = self.protecting_run(&step)?;
        for (name, in_use, not_in_use) in [(IN_FILE, "build-1", "build-2"), (TAGGED, "build-2", "build-1")] {
            let of = |build: &str| BTreeSet::from([builds[name][build].clone()]);
            let tagged = self.protected_images(name)?;
            step.check(tagged == of(in_use), || {
                format!(
                    "{in_use} of {name} should be protected, and is {tagged:?}: {}",
                    outcome(&report, name)
                )
            })?;
            let record: Value = self.record(name)?;
            step.check(record["mode"] == "protect", || record.to_string())?;
            // The rule takes the two oldest of five.
            let gone = self.expire(name)?;
            step.check(gone == of(not_in_use), || {
                format!("ECR should take {not_in_use}, and took {gone:?}")
            })?;
            step.check(text_of(name)? == text, || format!("the policy of {name} was touched"))?;
            say(&format!("  {name}: ECR takes {not_in_use}, and not {in_use}, which runs"));
        }
        Ok(())
    }

    /// Checks that ECR enforces no policy of the policies file any more.
    pub(super) fn all_suspended(&self, step: &Step) -> Result<(), LocalError> {
        let policies = self.policies()?;
        let acting: Vec<&String> = policies
            .iter()
            .filter(|(name, text)| is_attached(name) && !text.as_deref().is_some_and(is_suspended))
            .map(|(name, _)| name)
            .collect();
        step.check(acting.is_empty(), || format!("these should be suspended: {acting:?}"))
    }

    /// The record of a repository that ECR enforces a policy in.
    fn record(&self, repository: &str) -> Result<Value, LocalError> {
        let key = record_key(repository);
        serde_json::from_str(&self.get(&key)?)
            .map_err(|error| LocalError::Unexpected { program: key, problem: error.to_string() })
    }

    /// Begins another day for the limits of the registry: what ECR is to take again counts again.
    pub(super) fn next_day(&self) -> Result<(), LocalError> {
        let counter = format!("s3://{}/state/taken/{}.json", self.bucket, date("+%Y-%m-%d")?);
        self.stack.aws(&["s3", "rm", "--quiet", &counter]).map(drop)
    }

    /// The next run that enforces puts back these policies.
    fn back(&self, step: &Step, before: &Policies) -> Result<(), LocalError> {
        self.report(step, &self.start(ENFORCE)?)?;
        let after = self.policies()?;
        let other: Vec<&String> = before.keys().filter(|name| before[*name] != after[*name]).collect();
        step.check(other.is_empty(), || format!("these should have the policy of before: {other:?}"))?;
        say("  the policies are attached again, letter by letter as before");
        Ok(())
    }

    fn late_list(&self) -> Result<(), LocalError> {
        let step = Step::begin(
            "a list of use that is late suspends what ECR enforces where it may be about, in the hourly run that only protects",
        );
        let before = self.policies()?;
        let attached: BTreeSet<&String> = before.keys().filter(|name| is_attached(name)).collect();
        let acts = |policies: &Policies, name: &String| {
            policies[name].as_deref().is_some_and(|text| !is_suspended(text))
        };
        step.check(attached.len() == 15 && attached.iter().all(|name| acts(&before, name)), || {
            format!("fifteen policies should be attached: {before:?}")
        })?;
        self.next_day()?;
        let list = self.get(LIST)?;
        let written = date_of("25 hours ago")?;
        self.put_with(LIST, &list, &["--metadata", &format!("last-modified={written}")])?;
        let report = self.protecting_run(&step)?;
        let after = self.policies()?;
        self.all_suspended(&step)?;
        step.check(report["gaps"].to_string().contains(LIST), || report["gaps"].to_string())?;
        let untouched =
            before.keys().filter(|name| !is_attached(name)).all(|name| before[name] == after[name]);
        step.check(untouched, || "policies of others were changed".to_owned())?;
        let gone = self.expire(STALE)?;
        step.check(gone.is_empty(), || format!("ECR should take nothing by them, and took {gone:?}"))?;
        let record = self.record(STALE)?;
        let reason = record["suspended"]["reason"].as_str().unwrap_or_default();
        step.check(reason.contains(LIST), || record.to_string())?;
        say(&format!("  15 policies are suspended, and ECR takes nothing: {reason}"));

        let step = Step::begin("the list is young again: the next run that enforces attaches them again");
        self.put(LIST, &list)?;
        self.back(&step, &before)?;
        let record = self.record(STALE)?;
        step.check(record["suspended"].is_null(), || record.to_string())
    }

    fn dead_mans_switch(&self) -> Result<(), LocalError> {
        let step =
            Step::begin("where runs have stopped for 49 hours, the dead man's switch suspends the policy");
        let before = self.policies()?;
        let mut record = self.record(STALE)?;
        record["refreshedAt"] = date_of("49 hours ago")?.into();
        self.put(&record_key(STALE), &record.to_string())?;
        let target = self.schedule_now("LifecycleSuspendSchedule")?;
        let function = target["Arn"].as_str().unwrap_or_default();
        step.check(function.contains("LifecycleSuspendFunction"), || target.to_string())?;
        let suspended = until(&step, "the suspension", || {
            let now = self.policies()?;
            Ok(now[STALE].as_deref().is_some_and(is_suspended).then_some(now))
        })?;
        let others: Vec<&String> =
            before.keys().filter(|name| *name != STALE && before[*name] != suspended[*name]).collect();
        step.check(others.is_empty(), || format!("these are not stale: {others:?}"))?;
        let record = self.record(STALE)?;
        let reason = record["suspended"]["reason"].as_str().unwrap_or_default();
        step.check(reason.contains("48 hours"), || record.to_string())?;
        let gone = self.expire(STALE)?;
        step.check(gone.is_empty(), || format!("ECR should take nothing, and took {gone:?}"))?;
        say(&format!("  {STALE}: {reason}"));

        let step = Step::begin("runs come again: the policy is back");
        self.back(&step, &before)
    }

    /// An image that is no longer in use keeps its protection tag, and is removed by a run, through the journal.
    fn use_that_ends(&self, fleet: &Fleet) -> Result<(), LocalError> {
        let step =
            Step::begin("ECR takes what the attached policy says, and nothing in use, which is as old");
        let images = &fleet[LEAVER];
        let digests = |names: BTreeSet<String>| -> BTreeSet<String> {
            names.iter().map(|name| images[name].clone()).collect()
        };
        let in_use = digests(family("v1").into());
        let gone = self.expire(LEAVER)?;
        step.check(gone == digests(taken().difference(&used(LEAVER)).cloned().collect()), || {
            format!("{LEAVER} lost {gone:?}, of which {:?} are in use", gone.intersection(&in_use))
        })?;
        say(&format!("  {} images of {LEAVER} are gone; v1, which a function runs, stays", gone.len()));

        let step = Step::begin(
            "the function is deleted: its image keeps the protection tag, and ECR does not take it",
        );
        self.stack.aws(&[
            "lambda",
            "delete-function",
            "--function-name",
            &function_name(super::number(LEAVER)),
        ])?;
        let gone = self.expire(LEAVER)?;
        step.check(gone.is_empty(), || format!("ECR should take nothing, and took {gone:?}"))?;
        // What an index lists needs no tag: ECR does not take it as long as the index is there.
        let tagged = self.protected_images(LEAVER)?;
        let tags = [&images["v1"], &images["v1/amd64"], &images["v1/signature"]];
        step.check(tags.iter().all(|image| tagged.contains(*image)), || {
            format!("{tags:?} should be tagged: {tagged:?}")
        })?;

        let step = Step::begin(
            "the next run deletes it, by the attached policy, within the limits and through the journal",
        );
        let report = self.report(&step, &self.start(ENFORCE)?)?;
        let there: BTreeSet<String> = self.tags(LEAVER)?.into_keys().collect();
        let left: Vec<&String> = in_use.intersection(&there).collect();
        step.check(left.is_empty(), || format!("{left:?} should be gone: {}", outcome(&report, LEAVER)))?;
        let written: BTreeSet<String> = self
            .removals(&report)?
            .iter()
            .filter(|line| line["repositoryName"] == LEAVER && line["imageManifest"].is_string())
            .filter_map(|line| line["imageDigest"].as_str().map(str::to_owned))
            .collect();
        step.check(written == in_use, || format!("{in_use:?} should be written down, and {written:?} are"))?;
        let kept = digests(images.keys().filter(|name| !taken().contains(*name)).cloned().collect());
        step.check(there == kept, || format!("{kept:?} should be left: {there:?}"))?;
        say(&format!(
            "  v1 with its platforms and its signature: {} images, each written down before",
            written.len()
        ));
        Ok(())
    }
}

fn record_key(repository: &str) -> String {
    format!("state/protection/{repository}.json")
}

/// A time of the past, in UTC.
fn date_of(when: &str) -> Result<String, LocalError> {
    let date = run(Command::new("date").args(["-u", "-d", when, "+%Y-%m-%dT%H:%M:%S.000Z"]))?;
    Ok(String::from_utf8_lossy(&date.stdout).trim().to_owned())
}

/// The outcome of a repository in a report.
pub(super) fn outcome(report: &Value, repository: &str) -> Value {
    let mut outcomes = report["repositories"].as_array().into_iter().flatten();
    outcomes.find(|outcome| outcome["repositoryName"] == repository).cloned().unwrap_or_default()
}
