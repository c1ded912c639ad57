//! The state machine in a second interpreter of the Amazon States Language, which shares nothing with the emulator's: the package
//! `aws-local-stepfunctions` from npm, so that this takes the feature `npm`, and Node.js.

use std::io::Write;
use std::process::{Command, Stdio};

use local::tools;
use serde::Deserialize;
use serde_json::{Value, json};
use tests::binaries::workspace;
use tests::state_machine::{Begins, inputs};

/// What became of an execution.
#[derive(Debug, Deserialize)]
struct Happened {
    path: Vec<String>,
    /// The states of each item of the map.
    maps: Vec<Vec<String>>,
    calls: Vec<Call>,
    output: Option<Value>,
    failed: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Call {
    state: String,
    input: Value,
}

impl Happened {
    /// What a function was called with, each time.
    fn payloads(&self, state: &str) -> Vec<&Value> {
        let calls = self.calls.iter().filter(|call| call.state == state);
        calls.map(|call| &call.input["Payload"]).collect()
    }

    fn path(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }
}

fn run(scenarios: &[Value]) -> Vec<Happened> {
    let modules = tools::install_from_npm(&local::Project::here(), tools::STATES).unwrap();
    let mut node = Command::new("node")
        .arg(workspace().join("tests/state_machine.mjs"))
        .arg(workspace().join("infra/lifecycle.asl.json"))
        .arg(modules)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    node.stdin.take().unwrap().write_all(json!(scenarios).to_string().as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success());
    let happened: Vec<Happened> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(happened.len(), scenarios.len());
    happened
}

/// What the inventory answers with this number of batches.
fn inventory(batches: usize, is_complete: bool) -> Value {
    json!({
        "run": { "runId": "run", "dryRun": false }, "isComplete": is_complete, "inventory": { "batches": batches },
        "bucket": "bucket", "batchesKey": "runs/run/batches/a.json", "resultsPrefix": "runs/run/results",
        "maxConcurrency": 4, "toleratedFailurePercentage": 10,
    })
}

fn failure(error: &str) -> Value {
    json!({ "Error": error, "Cause": format!("why {error}") })
}

const COUNT: [&str; 2] = ["Inventory", "IsInventoryComplete"];
const END: [&str; 3] = ["Report", "HasFailed", "Done"];

#[test]
fn every_input_takes_the_same_path_in_a_second_interpreter() {
    let succeeds = json!({ "Inventory": [inventory(0, true)], "Report": [{ "status": "SUCCEEDED" }] });
    let scenarios: Vec<Value> =
        inputs().iter().map(|(input, _)| json!({ "input": input, "answers": succeeds })).collect();
    for ((input, begins), happened) in inputs().iter().zip(run(&scenarios)) {
        let path = [&["IsDryRunSaid", begins.state()][..], &COUNT, &END].concat();
        assert_eq!(happened.path(), path, "{input}");
        assert_eq!(happened.output, Some(json!({ "status": "SUCCEEDED" })), "{input}");
        let inputs_of_inventory = happened.payloads("Inventory");
        let run = &inputs_of_inventory[0]["run"];
        assert_eq!(
            run["dryRun"],
            *begins != Begins::Protecting && input["dryRun"] != false || *begins == Begins::Dry,
            "{input}"
        );
        assert_eq!(run["protectOnly"] == true, *begins == Begins::Protecting, "{input}");
        assert_eq!(run["runId"], "run", "{input}");
        assert_eq!(inputs_of_inventory[0]["inventory"], json!({}), "{input}");
    }
}

#[test]
fn batches_are_worked_on_until_they_are_complete_by_the_function_that_their_list_names() {
    let keys = ["runs/run/batches/a/preview/000001.json", "runs/run/batches/a/enforce/000001.json"];
    let part = |key: &str, done: u64, is_complete: bool| json!({ "run": { "runId": "run" }, "key": key, "done": done, "isComplete": is_complete });
    let happened = run(&[json!({
        "input": { "dryRun": false },
        "items": keys.map(|key| json!({ "key": key })),
        "answers": {
            "Inventory": [inventory(1, false), inventory(2, true)],
            "Preview": [part(keys[0], 1, true)],
            "Enforce": [part(keys[1], 1, false), part(keys[1], 2, true)],
            "Report": [{ "status": "ATTENTION" }],
        },
    })]);
    let happened = &happened[0];
    assert_eq!(
        happened.path(),
        [&["IsDryRunSaid", "Begin"], &COUNT[..], &COUNT, &["Batches"], &END].concat()
    );
    assert_eq!(happened.maps[0], ["WhichWork", "Preview", "WhichWork", "BatchDone"]);
    assert_eq!(happened.maps[1], ["WhichWork", "Enforce", "WhichWork", "Enforce", "WhichWork", "BatchDone"]);
    let enforced = happened.payloads("Enforce");
    let first =
        json!({ "run": { "runId": "run", "dryRun": false }, "key": keys[1], "done": 0, "isComplete": false });
    assert_eq!((enforced[0], &enforced[1]["done"]), (&first, &json!(1)));
    assert_eq!(happened.output, Some(json!({ "status": "ATTENTION" })));
}

#[test]
fn what_fails_is_retried_or_reported_and_a_report_of_failures_fails_the_run() {
    let reported = json!([{ "status": "FAILED", "error": "why it failed" }]);
    let of = |input: Value, inventory: Value| {
        json!({ "input": input, "items": [{ "key": "runs/run/batches/a/enforce/1.json" }],
            "answers": { "Inventory": inventory, "Enforce": [failure("Broken")], "Report": reported } })
    };
    let enforces = json!({ "dryRun": false });
    let scenarios = [
        of(enforces.clone(), json!([failure("InvalidPoliciesFile")])),
        of(json!({}), json!([failure("InvalidPoliciesFile")])),
        of(
            enforces.clone(),
            json!([failure("OutOfTime"), failure("Lambda.TooManyRequestsException"), inventory(0, true)]),
        ),
        of(enforces.clone(), json!([failure("AwsFailed")])),
        of(enforces.clone(), json!([failure("Broken")])),
        of(enforces.clone(), json!([inventory(1, true)])),
        of(enforces, json!([failure("InvalidPoliciesFile"), inventory(0, true)])),
    ];
    let tell = ["Report", "HasFailed", "Failed"];
    let begin = ["IsDryRunSaid", "Begin"];
    let without_file = ["Inventory", "MaySuspend", "Suspend", "GoOnWithoutFile"];
    let expected: [(Vec<&str>, usize, &str); 7] = [
        // It goes on without the file once, and not for ever.
        ([&begin[..], &without_file, &["Inventory", "MaySuspend"], &tell].concat(), 2, "InvalidPoliciesFile"),
        // A dry run that was asked for changes nothing.
        (
            [&["IsDryRunSaid", "BeginDry"], &["Inventory", "MaySuspend"][..], &tell].concat(),
            1,
            "InvalidPoliciesFile",
        ),
        ([&begin[..], &COUNT, &tell].concat(), 3, ""),
        ([&begin[..], &["Inventory"], &tell].concat(), 5, "AwsFailed"),
        ([&begin[..], &["Inventory"], &tell].concat(), 1, "Broken"),
        ([&begin[..], &COUNT, &["Batches"], &tell].concat(), 1, "Broken"),
        ([&begin[..], &without_file, &COUNT, &tell].concat(), 2, ""),
    ];
    for (happened, (path, attempts, error)) in run(&scenarios).iter().zip(expected) {
        assert_eq!(happened.path(), path);
        assert_eq!(happened.payloads("Inventory").len(), attempts, "{path:?}");
        let report = happened.payloads("Report");
        assert_eq!(report[0]["error"]["Error"].as_str().unwrap_or_default(), error, "{path:?}");
        let failed = happened.failed.as_ref().unwrap();
        assert_eq!(failed["cause"], "RunFailed", "{path:?}");
        assert!(failed["message"].as_str().unwrap().contains("why it failed"), "{path:?}");
        if path.contains(&"Suspend") {
            let suspend = happened.payloads("Suspend");
            assert_eq!(suspend[0]["reason"], "why InvalidPoliciesFile");
            assert_eq!(suspend[0]["run"]["dryRun"], false);
            let again = happened.payloads("Inventory")[1];
            assert_eq!(again["run"]["policiesFileProblem"], "why InvalidPoliciesFile", "{path:?}");
        }
    }
}
