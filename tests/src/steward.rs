//! A run over a registry, driven as the state machine drives it: the real functions, on AWS in memory.

use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cloud::{self, BUCKET};
use crate::ecr_stub::EcrStub;
use crate::runtime_api::{Answer, Function};

/// More time than any invocation takes.
pub const PLENTY: Duration = Duration::from_secs(120);

/// The ARNs of executions of the state machine begin so.
pub const EXECUTIONS: &str = "arn:aws:states:eu-west-1:123456789012:execution:steward-lifecycle:";

/// The functions of a run.
pub struct Steward {
    /// AWS.
    pub aws: EcrStub,
    inventory: Function,
    preview: Function,
    enforce: Function,
    report: Function,
    /// Whether the policies file approves itself before a run that enforces it, so that no preview is needed.
    pub approves: bool,
}

impl Steward {
    /// The functions on an AWS.
    pub fn on(aws: EcrStub) -> Self {
        Self::of(aws, |aws, name| cloud::function(aws, name, PLENTY))
    }

    /// The functions on an AWS, started so.
    pub fn of(aws: EcrStub, start: impl Fn(&EcrStub, &str) -> Function) -> Self {
        let function = |name: &str| start(&aws, name);
        Self {
            inventory: function("lifecycle-inventory"),
            preview: function("lifecycle-preview"),
            enforce: function("lifecycle-enforce"),
            report: function("lifecycle-report"),
            aws,
            approves: true,
        }
    }

    /// On an empty AWS, with this policies file.
    pub fn with_policies_file(policies_file: &str) -> Self {
        let aws = EcrStub::start();
        aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), &approved(policies_file)));
        Self::on(aws)
    }

    /// Sets the stack's parameter `Enforce`: the functions that read it are replaced.
    pub fn switch(&mut self, is_on: bool) {
        let environment = [("ENFORCE", if is_on { "true" } else { "false" })];
        let function = |name: &str| cloud::function_with(&self.aws, name, PLENTY, &environment);
        self.inventory = function("lifecycle-inventory");
        self.enforce = function("lifecycle-enforce");
    }

    /// The input of the first function of a run.
    pub fn begin(run_id: &str, dry_run: bool) -> Value {
        let now = shared::domain::text::instant::Instant::now().to_string();
        let execution = format!("{EXECUTIONS}{run_id}");
        json!({
            "run": { "runId": run_id, "startedAt": now, "startedBy": execution, "dryRun": dry_run },
            "inventory": {}
        })
    }

    /// A whole run, and its report.
    ///
    /// # Panics
    ///
    /// When a function fails.
    pub fn run(&self, run_id: &str, dry_run: bool) -> Value {
        let input = Self::begin(run_id, dry_run);
        let taken = self.take_inventory(&input).response();
        for key in self.batches(&taken) {
            self.work(&taken, &key);
        }
        self.report(&taken)
    }

    /// The function that takes the inventory.
    pub const fn inventory(&self) -> &Function {
        &self.inventory
    }

    /// The function that previews.
    pub const fn preview(&self) -> &Function {
        &self.preview
    }

    /// The function that enforces.
    pub const fn enforce(&self) -> &Function {
        &self.enforce
    }

    /// The functions, one of each.
    pub fn all(&self) -> [&Function; 4] {
        [&self.inventory, &self.preview, &self.enforce, &self.report]
    }

    /// The processor time that they have had.
    pub fn cpu(&self) -> Duration {
        self.all().into_iter().map(Function::cpu).sum()
    }

    /// The function that makes the report.
    pub const fn report_function(&self) -> &Function {
        &self.report
    }

    /// The inventory, to its end.
    pub fn take_inventory(&self, input: &Value) -> Answer {
        if self.approves && input["run"]["dryRun"] == false {
            self.approve();
        }
        let mut state = input.clone();
        loop {
            match self.inventory.invoke(state.to_string()) {
                Answer::Response(answer) if answer["isComplete"] == true => return Answer::Response(answer),
                Answer::Response(answer) => state = answer,
                error @ Answer::Error(_) => return error,
            }
        }
    }

    /// Makes the policies file in the bucket approve itself.
    fn approve(&self) {
        let path = format!("{BUCKET}/policies.yaml");
        self.aws.cloud(|cloud| {
            let Some(text) = cloud.object_text(&path) else { return };
            let approved = approved(&text);
            if approved != text {
                cloud.upload(&path, &approved);
            }
        });
    }

    /// The keys of the batches, as the state machine's map reads them.
    ///
    /// # Panics
    ///
    /// When there is no list of them.
    pub fn batches(&self, taken: &Value) -> Vec<String> {
        let path = format!("{BUCKET}/{}", taken["batchesKey"].as_str().unwrap());
        let list: Value =
            serde_json::from_str(&self.aws.cloud(|cloud| cloud.object_text(&path)).unwrap()).unwrap();
        list.as_array().unwrap().iter().map(|batch| batch["key"].as_str().unwrap().to_owned()).collect()
    }

    /// Processes one batch to its end; returns the number of invocations.
    ///
    /// # Panics
    ///
    /// If the function fails.
    pub fn work(&self, taken: &Value, key: &str) -> usize {
        let mut task = Self::task(taken, key);
        let mut invocations = 0;
        while task["isComplete"] == false {
            task = self.invoke(&task).response();
            invocations += 1;
        }
        invocations
    }

    /// Processes all batches in their order, with these functions side by side as the state machine's map has them. Returns the functions.
    ///
    /// # Panics
    ///
    /// If a function fails.
    pub fn work_side_by_side(&self, taken: &Value, functions: Vec<Function>) -> Vec<Function> {
        let batches = Mutex::new(self.batches(taken).into_iter());
        let work = |function: Function| {
            loop {
                let Some(key) = batches.lock().unwrap().next() else { return function };
                let mut task = Self::task(taken, &key);
                while task["isComplete"] == false {
                    task = function.invoke(task.to_string()).response();
                }
            }
        };
        std::thread::scope(|scope| {
            let started: Vec<_> =
                functions.into_iter().map(|function| scope.spawn(|| work(function))).collect();
            started.into_iter().map(|function| function.join().unwrap()).collect()
        })
    }

    /// The input of a batch's function.
    pub fn task(taken: &Value, key: &str) -> Value {
        json!({ "run": taken["run"], "key": key, "done": 0, "isComplete": false })
    }

    /// One invocation for a batch, of the function that its key names.
    pub fn invoke(&self, task: &Value) -> Answer {
        let is_preview = task["key"].as_str().unwrap().contains("/preview/");
        let function = if is_preview { &self.preview } else { &self.enforce };
        function.invoke(task.to_string())
    }

    /// The report of a run, as it is in the bucket.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn report(&self, taken: &Value) -> Value {
        let answer = self.report.invoke(taken.to_string()).response();
        let key = format!("{BUCKET}/runs/{}/report.json", answer["run"]["runId"].as_str().unwrap());
        let text = self.aws.cloud(|cloud| cloud.object_text(&key)).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// The digests in a repository.
    ///
    /// # Panics
    ///
    /// When there is no such repository.
    pub fn digests(&self, repository: &str) -> std::collections::BTreeSet<String> {
        let images = |registry: &mut crate::ecr_stub::Registry| {
            registry.repositories[repository].images.iter().map(|image| image.digest.clone()).collect()
        };
        self.aws.with(images)
    }
}

/// The same policies file, approving itself; an invalid one is unchanged.
pub fn approved(policies_file: &str) -> String {
    match shared::domain::enforcement::policy_set::PolicySet::parse(policies_file) {
        Ok(parsed) if !parsed.is_approved() => {
            format!("{}\napprove: \"{}\"\n", policies_file.trim_end(), parsed.hash())
        }
        _ => policies_file.to_owned(),
    }
}

/// The codes of what blocks a repository, from its outcome in a report.
///
/// # Panics
///
/// If a blocker has no code.
pub fn codes(outcome: &Value) -> Vec<&str> {
    outcome["blockers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|blocker| blocker["code"].as_str().unwrap())
        .collect()
}

/// The outcome of a repository in a report.
///
/// # Panics
///
/// If there is none.
pub fn of<'a>(report: &'a Value, repository: &str) -> &'a Value {
    let all = report["repositories"].as_array().unwrap();
    all.iter().find(|one| one["repositoryName"] == repository).unwrap_or_else(|| panic!("{report:#}"))
}
