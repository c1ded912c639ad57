//! What a run may do: only what the policies file, the switch `Enforce` and the run's own age allow in the moment in which it is
//! done, and only with what its own inventory wrote down. By the real functions, on AWS in memory.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use shared::domain::enforcement::outcome_file;
use shared::domain::enforcement::policy_set::PolicySet;
use tests::cloud::{self, BUCKET, Cloud};
use tests::ecr_stub::{EcrStub, Fault, Registry};
use tests::site::{HOST, repository};
use tests::state_machine::{self, Begins};
use tests::steward::{EXECUTIONS, PLENTY, Steward, of};
use tests::template;

const POLICIES: &str = "policies.yaml";

/// A policies file that takes everything older than two weeks from all repositories.
fn policies(apply: &str) -> String {
    format!(
        "policies:
- name: all
  repositories: ['*']
  rules: [{{ selection: any, maximumAgeLimit: 14 }}]
  apply: {apply}
  limits: {{ images: 10000, percent: 100, remaining: 1 }}
"
    )
}

fn hash(text: &str) -> String {
    PolicySet::parse(text).unwrap().hash().to_owned()
}

fn add(aws: &EcrStub, name: &str) -> BTreeSet<String> {
    aws.with(|registry| {
        let mut repository = repository(name);
        for number in 0..4 {
            let digest = repository.push(&format!("{name} {number}"), &[&format!("ci-{number}")]);
            repository.age(&digest, 30.0);
        }
        repository.push(&format!("{name} young"), &["latest"]);
        let all = repository.images.iter().map(|image| image.digest.clone()).collect();
        registry.repositories.insert(name.to_owned(), repository);
        all
    })
}

/// A repository `app` with four old images and a young one, whose policies file nobody has previewed or approved.
struct Site {
    steward: Steward,
    all: BTreeSet<String>,
}

impl Site {
    fn new(text: &str) -> Self {
        let mut steward = Steward::on(EcrStub::start());
        steward.approves = false;
        let all = add(&steward.aws, "app");
        let site = Self { steward, all };
        site.upload(POLICIES, text);
        site
    }

    /// One whose file approves itself.
    fn approved(apply: &str) -> Self {
        let mut site = Self::new(&policies(apply));
        site.steward.approves = true;
        site
    }

    fn upload(&self, key: &str, text: &str) {
        self.steward.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/{key}"), text));
    }

    fn text(&self, key: &str) -> Option<String> {
        self.steward.aws.cloud(|cloud| cloud.object_text(&format!("{BUCKET}/{key}")))
    }

    fn keys(&self, prefix: &str) -> Vec<String> {
        self.steward.aws.cloud(|cloud| cloud.keys(BUCKET, prefix))
    }

    fn left(&self) -> usize {
        self.steward.digests("app").len()
    }

    fn assert_untouched(&self, why: &str) {
        assert_eq!(self.steward.digests("app"), self.all, "{why}");
        for operation in ["BatchDeleteImage", "PutImage", "PutLifecyclePolicy", "UpdateImageStorageClass"] {
            assert_eq!(self.steward.aws.count(operation), 0, "{why}: {operation}");
        }
    }

    fn assert_enforced(&self, report: &Value) {
        assert_eq!(self.left(), 1, "{report:#}");
        assert_eq!(report["dryRun"], false, "{report:#}");
    }

    /// The inventory of a run that is to enforce.
    fn taken(&self) -> Value {
        self.steward.take_inventory(&Steward::begin("r", false)).response()
    }

    /// Works on the batches of a run, which are to enforce, and expects the repository to be blocked for this reason.
    fn assert_held(&self, taken: &Value, code: &str) {
        let keys = self.steward.batches(taken);
        assert!(keys.iter().all(|key| key.contains("/enforce/")), "{keys:?}");
        for key in keys {
            self.steward.work(taken, &key);
        }
        let report = self.steward.report(taken);
        self.assert_untouched(code);
        let app = of(&report, "app");
        assert_eq!(app["status"], "BLOCKED", "{report:#}");
        assert_eq!(app["blockers"][0]["code"], code, "{report:#}");
        assert_eq!(report["status"], "ATTENTION", "{report:#}");
    }

    /// Expects the function that enforces to refuse a task.
    fn assert_refused(&self, task: &Value, part: &str) {
        let (error_type, message) = self.steward.enforce().invoke(task.to_string()).error();
        assert_eq!(error_type, "Refused", "{message}");
        assert!(message.contains(part), "{message}");
        self.assert_untouched(part);
    }
}

#[test]
fn a_new_policies_file_is_previewed_by_one_run_and_enforced_by_the_next() {
    let site = Site::new(&policies("delete"));
    let report = site.steward.run("first", false);
    site.assert_untouched("nobody has seen what the file does");
    assert_eq!(report["dryRun"], true, "{report:#}");
    assert_eq!(report["dryRunReason"], "not-previewed");
    assert_eq!(report["totals"]["expiring"]["imageTotalCount"], 4);
    let first = report["notices"][0].as_str().unwrap();
    assert!(
        first.starts_with("Nothing was deleted, archived or attached: no completed run had previewed"),
        "{first}"
    );
    assert!(first.contains(&format!("approve: \"{}\"", hash(&policies("delete")))), "{first}");
    let report = site.steward.run("second", false);
    site.assert_enforced(&report);
    assert_eq!(report["notices"], json!([]), "{report:#}");
}

#[test]
fn an_upload_of_the_policies_file_is_previewed_at_once() {
    let rule = template::block("PoliciesUploadedRule").join("\n");
    for part in [
        "source: [aws.s3]",
        "detail-type: [Object Created]",
        "key: [policies.yaml]",
        "Input: '{\"dryRun\": true}'",
    ] {
        assert!(rule.contains(part), "{part}: {rule}");
    }
    // Whatever else S3 says of it, the run that the rule starts is the preview.
    let site = Site::new(&policies("delete"));
    let report = site.steward.run("upload", true);
    site.assert_untouched("a dry run");
    assert_eq!(report["dryRunReason"], "requested");
    site.assert_enforced(&site.steward.run("nightly", false));
}

#[test]
fn a_file_that_approves_itself_is_enforced_at_once_and_one_that_approves_another_is_not() {
    let text = policies("delete");
    let site = Site::new(&format!("{text}approve: \"{}\"\n", hash(&policies("preview"))));
    site.steward.run("other", false);
    site.assert_untouched("another file is approved");
    let site = Site::new(&format!("{text}approve: \"{}\"\n", hash(&text)));
    site.assert_enforced(&site.steward.run("own", false));
}

#[test]
fn a_file_that_is_changed_is_previewed_again_and_one_that_is_changed_back_is_not() {
    let (old, new) =
        (policies("delete"), policies("delete").replace("maximumAgeLimit: 14", "maximumAgeLimit: 7"));
    let site = Site::new(&old);
    site.steward.run("preview", true);
    site.upload(POLICIES, &new);
    let report = site.steward.run("changed", false);
    site.assert_untouched("another file");
    assert_eq!(report["dryRunReason"], "not-previewed");
    // A comment is no other file.
    site.upload(POLICIES, &format!("# as it was\n{old}"));
    site.assert_enforced(&site.steward.run("back", false));
}

#[test]
fn a_file_that_is_not_valid_changes_nothing_and_is_no_preview() {
    let site = Site::new(&policies("delet"));
    let input = Steward::begin("r", false);
    let (error_type, message) = site.steward.take_inventory(&input).error();
    assert_eq!(error_type, "InvalidPoliciesFile");
    let mut caught = input;
    caught["error"] = json!({ "Error": error_type, "Cause": message });
    let report = site.steward.report(&caught);
    assert_eq!(report["status"], "FAILED");
    assert_eq!(site.keys("state/"), [""; 0]);
    site.upload(POLICIES, &policies("delete"));
    site.steward.run("corrected", false);
    site.assert_untouched("the corrected file is a new one");
}

#[test]
fn a_run_that_failed_or_was_interrupted_is_no_preview() {
    let site = Site::new(&policies("delete"));
    // Its batch was never worked on.
    let taken = site.steward.take_inventory(&Steward::begin("interrupted", true)).response();
    let report = site.steward.report(&taken);
    assert_eq!(report["unfinishedBatches"].as_array().unwrap().len(), 1);
    // All was worked on, and then the state machine says that something failed.
    let mut taken = site.steward.take_inventory(&Steward::begin("failed", true)).response();
    for key in site.steward.batches(&taken) {
        site.steward.work(&taken, &key);
    }
    taken["error"] = json!({ "Error": "States.ExceedToleratedFailureThreshold", "Cause": "" });
    assert_eq!(site.steward.report(&taken)["status"], "FAILED");
    assert_eq!(site.keys("state/"), ["state/policies.yaml"]);
    let report = site.steward.run("third", false);
    site.assert_untouched("nobody has seen all that the file does");
    assert_eq!(report["dryRunReason"], "not-previewed");
    let registry: Value = serde_json::from_str(&site.text("state/registry.json").unwrap()).unwrap();
    assert_eq!(registry["images"], 5, "limits in percent go by what a completed run counted");
    assert_eq!(
        site.keys("state/previewed/"),
        [format!("state/previewed/{}.json", hash(&policies("delete")))]
    );
}

#[test]
fn without_the_switch_no_run_deletes_anything_whoever_starts_it() {
    for apply in ["delete", "attach"] {
        let mut site = Site::approved(apply);
        site.steward.switch(false);
        let report = site.steward.run("by-hand", false);
        assert_eq!(site.steward.digests("app"), site.all);
        let policy = site.steward.aws.with(|registry| registry.repositories["app"].lifecycle_policy.clone());
        assert_eq!(policy, None);
        assert_eq!(report["dryRunReason"], "enforce-off", "{report:#}");
        assert!(report["notices"][0].as_str().unwrap().contains("Enforce"), "{report:#}");
        // With it the next one does.
        site.steward.switch(true);
        assert_eq!(site.steward.run("next", false)["dryRun"], false);
        if apply == "delete" {
            assert_eq!(site.left(), 1);
        }
    }
}

#[test]
fn a_dry_run_that_nobody_asked_for_still_passes_attached_policies_to_the_function_that_protects() {
    let mut site = Site::approved("attach");
    site.steward.switch(false);
    let keys = site.steward.batches(&site.taken());
    assert!(keys.len() == 1 && keys[0].contains("/enforce/"), "{keys:?}");
    let asked = site.steward.take_inventory(&Steward::begin("asked", true)).response();
    let keys = site.steward.batches(&asked);
    assert!(
        keys.len() == 1 && keys[0].contains("/preview/"),
        "one that was asked for changes nothing: {keys:?}"
    );
}

#[test]
fn the_switch_is_looked_at_when_something_is_done_and_not_when_the_run_began() {
    let mut site = Site::approved("delete");
    let taken = site.taken();
    assert_eq!(taken["run"]["dryRun"], false);
    site.steward.switch(false);
    site.assert_held(&taken, "enforce-off");
}

#[test]
fn a_policies_file_that_is_changed_or_removed_during_a_run_blocks_it() {
    let changes: [fn(&mut Cloud); 3] = [
        |cloud| {
            cloud.upload(&format!("{BUCKET}/{POLICIES}"), "policies: []\n");
        },
        |cloud| {
            cloud.upload(&format!("{BUCKET}/{POLICIES}"), "policies: [\n");
        },
        |cloud| {
            cloud.objects.remove(&format!("{BUCKET}/{POLICIES}"));
        },
    ];
    for change in changes {
        let site = Site::approved("delete");
        let taken = site.taken();
        site.steward.aws.cloud(change);
        site.assert_held(&taken, "policies-file-changed");
    }
    // An approval that is withdrawn.
    let site = Site::approved("delete");
    let taken = site.taken();
    site.upload(POLICIES, &policies("delete"));
    site.assert_held(&taken, "policies-file-not-previewed");
}

#[test]
fn a_run_that_began_more_than_a_day_ago_deletes_nothing_any_more() {
    let input_of_run_since = |hours: i64| {
        let now = shared::domain::text::instant::Instant::now().micros();
        let at = shared::domain::text::instant::Instant::from_micros(now - hours * 3_600_000_000).unwrap();
        let mut input = Steward::begin("r", false);
        input["run"]["startedAt"] = at.to_string().into();
        input
    };
    for hours in [25, -2] {
        let site = Site::approved("delete");
        let taken = site.steward.take_inventory(&input_of_run_since(hours)).response();
        site.assert_held(&taken, "run-too-old");
    }
    // What a task says of its age is not believed alone: its list of batches has an age, too.
    let site = Site::approved("delete");
    let taken = site.taken();
    let list = format!("{BUCKET}/{}", taken["batchesKey"].as_str().unwrap());
    site.steward.aws.cloud(|cloud| cloud.age(&list, 25.0));
    site.assert_held(&taken, "run-too-old");
    let site = Site::approved("delete");
    let taken = site.steward.take_inventory(&input_of_run_since(23)).response();
    for key in site.steward.batches(&taken) {
        site.steward.work(&taken, &key);
    }
    assert_eq!(site.left(), 1);
}

#[test]
fn what_an_inventory_wrote_that_was_killed_is_never_worked_on() {
    let mut site = Site::approved("delete");
    site.upload(POLICIES, &format!("{}approve: \"{}\"\n", policies("delete"), hash(&policies("delete"))));
    let input = Steward::begin("r", false);
    // Everything is written but the list of batches.
    site.steward.aws.fault_from("PutObject", Fault::Hang, 4);
    {
        let doomed = cloud::function(&site.steward.aws, "lifecycle-inventory", PLENTY);
        doomed.hand(input.to_string());
        while !site.keys("runs/").iter().any(|key| key.contains("/enforce/")) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    site.steward.aws.heal();
    let stale: Vec<String> = site.keys("runs/").into_iter().filter(|key| key.contains("/enforce/")).collect();
    assert_eq!(stale.len(), 1);
    // The mistake is corrected, and Step Functions tries again with the same input.
    site.upload(POLICIES, &policies("preview"));
    site.steward.approves = false;
    let taken = site.steward.take_inventory(&input).response();
    let keys = site.steward.batches(&taken);
    assert!(keys.len() == 1 && keys[0].contains("/preview/"), "{keys:?}");
    site.steward.work(&taken, &keys[0]);
    let report = site.steward.report(&taken);
    assert_eq!(report["unfinishedBatches"], json!([]), "{report:#}");
    assert_eq!(report["totals"]["repositories"], 1, "{report:#}");
    // Nor by who hands it over by hand.
    let mut task = Steward::task(&taken, &stale[0]);
    task["run"]["dryRun"] = false.into();
    task["run"].as_object_mut().unwrap().remove("dryRunReason");
    site.assert_refused(&task, "it is not in the list of the run's batches");
    task["run"]["attempt"] = stale[0].split('/').nth(3).unwrap().into();
    let (_, message) = site.steward.enforce().invoke(task.to_string()).error();
    assert!(message.contains("there is no such object"), "a killed inventory has no list: {message}");
    site.assert_untouched("a killed inventory");
}

#[test]
fn an_inventory_of_several_invocations_is_one_and_uses_one_policies_file() {
    let aws = EcrStub::start();
    aws.generate(2500, 1);
    aws.only_count();
    aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/{POLICIES}"), &policies("preview")));
    // Time for one page each.
    let hasty = cloud::function(&aws, "lifecycle-inventory", Duration::from_secs(14));
    let mut state = Steward::begin("r", true);
    let mut attempts = BTreeSet::new();
    loop {
        state = hasty.invoke(state.to_string()).response();
        attempts.insert(state["run"]["attempt"].as_str().unwrap().to_owned());
        if state["isComplete"] == true {
            break;
        }
        aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/{POLICIES}"), "policies: []\n"));
    }
    assert_eq!(attempts.len(), 3);
    let steward = Steward::on(aws);
    let keys = steward.batches(&state);
    // A hundred each, and those of the last invocation divided so that their number fits four workers.
    assert_eq!(keys.len(), 28, "{keys:?}");
    for key in &keys {
        steward.work(&state, key);
    }
    let report = steward.report(&state);
    assert_eq!(report["totals"]["repositories"], 2500, "{report:#}");
    assert_eq!(report["totals"]["statuses"]["PREVIEWED"], 2500);
    assert_eq!(report["policiesFileHash"], hash(&policies("preview")));
}

#[test]
fn the_function_that_enforces_refuses_dry_runs_and_whatever_is_no_batch_of_the_run() {
    let site = Site::approved("delete");
    let dry = site.steward.take_inventory(&Steward::begin("dry", true)).response();
    let preview = site.steward.batches(&dry).remove(0);
    site.assert_refused(&Steward::task(&dry, &preview), "the run is a dry run");
    site.assert_refused(&Steward::task(&dry, &preview.replace("preview", "enforce")), "the run is a dry run");
    let taken = site.taken();
    let key = site.steward.batches(&taken).remove(0);
    let batch = site.text(&key).unwrap();
    for foreign in [
        "sources/x/batch.json".to_owned(),
        key.replace("/r/", "/other/"),
        key.replace("000001", "000002"),
        preview.clone(),
    ] {
        site.upload(&foreign, &batch);
        site.assert_refused(&Steward::task(&taken, &foreign), "batch");
    }
    let mut no_attempt = Steward::task(&taken, &key);
    no_attempt["run"].as_object_mut().unwrap().remove("attempt");
    site.assert_refused(&no_attempt, "no inventory");
    // The other way round, what is to be enforced is not only previewed.
    let (error_type, _) = site.steward.preview().invoke(Steward::task(&taken, &key).to_string()).error();
    assert_eq!(error_type, "Refused");
    site.steward.work(&taken, &key);
    assert_eq!(site.left(), 1, "its own batch it works on");
}

#[test]
fn a_batch_of_another_registry_or_of_none_is_refused() {
    for registry in ["", "999999999999"] {
        let site = Site::approved("delete");
        let taken = site.taken();
        let key = site.steward.batches(&taken).remove(0);
        let mut batch: Value = serde_json::from_str(&site.text(&key).unwrap()).unwrap();
        assert_eq!(batch["registryId"], "123456789012");
        batch["registryId"] = registry.into();
        site.upload(&key, &batch.to_string());
        site.assert_refused(&Steward::task(&taken, &key), "account 123456789012");
    }
}

#[test]
fn a_report_has_the_bytes_that_the_run_wrote_and_what_an_earlier_version_wrote_is_reported() {
    let site = Site::approved("delete");
    let steward = &site.steward;
    let taken = steward.take_inventory(&Steward::begin("run", false)).response();
    for key in steward.batches(&taken) {
        steward.work(&taken, &key);
    }
    let report = steward.report(&taken);
    let stored = |prefix: &str| -> usize {
        let bytes = |key: &String| {
            steward.aws.cloud(|cloud| cloud.object_bytes(&format!("{BUCKET}/{key}"))).unwrap().len()
        };
        site.keys(prefix).iter().map(bytes).sum()
    };
    assert_eq!(
        report["written"],
        json!({ "outcomes": stored("runs/run/outcomes/"), "journal": stored("journal/") })
    );
    assert!(report["written"]["journal"].as_u64().unwrap() > 0);
    assert_eq!(of(&report, "app")["deleted"]["imageTotalCount"], 4);
    // Earlier versions wrote lines as they are.
    for key in site.keys("runs/run/outcomes/") {
        let path = format!("{BUCKET}/{key}");
        let content = steward.aws.cloud(|cloud| cloud.object_bytes(&path)).unwrap();
        let plain = key.strip_suffix(".gz").unwrap();
        let outcomes = outcome_file::read(&key, &content).unwrap();
        let lines: Vec<String> =
            outcomes.iter().map(|outcome| serde_json::to_string(outcome).unwrap()).collect();
        steward.aws.cloud(|cloud| cloud.delete(&path));
        site.upload(plain, &lines.join("\n"));
    }
    let again = steward.report(&taken);
    assert_eq!(again["repositories"], report["repositories"]);
    assert_eq!((&again["status"], &again["unfinishedBatches"]), (&report["status"], &json!([])));
}

#[test]
fn the_table_of_athena_has_the_names_of_outcomes() {
    use shared::domain::enforcement::outcome::{Outcome, ReportedBlocker};
    use tests::workload::{Builds, outcomes};

    fn names(value: &Value, found: &mut BTreeSet<String>) {
        for inner in value.as_array().into_iter().flatten() {
            names(inner, found);
        }
        for (name, inner) in value.as_object().into_iter().flatten() {
            found.insert(name.to_lowercase());
            names(inner, found);
        }
    }
    let mut all = outcomes(Builds::Numbered);
    let (first, blocker) = (&mut all[0], ReportedBlocker { code: "c".to_owned(), message: "m".to_owned() });
    first.results[0].detail = Some("detail".to_owned());
    first.results[1].reason = "another".to_owned();
    *first = Outcome { error: Some("error".to_owned()), blockers: vec![blocker], ..first.clone() };
    let mut known = BTreeSet::new();
    for line in outcome_file::text(all.clone()).unwrap().lines() {
        names(&serde_json::from_str(line).unwrap(), &mut known);
    }
    let sql =
        std::fs::read_to_string(tests::binaries::workspace().join("infra/examples/outcomes.sql")).unwrap();
    let (table, _) = sql.split_once("PARTITIONED BY").unwrap();
    let columns: Vec<&str> = table.split('`').skip(1).step_by(2).collect();
    assert!(columns.len() > 20, "{columns:?}");
    for column in columns {
        assert!(known.contains(column), "{column}");
    }
}

#[cfg(feature = "debian")]
#[test]
fn jq_prints_the_results_of_outcomes_in_full() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use tests::workload::{Builds, outcomes};

    local::tools::debian(&["jq"]).unwrap();
    let program = tests::binaries::workspace().join("infra/examples/outcomes.jq");
    let (mut numbered, random) = (outcomes(Builds::Numbered), outcomes(Builds::Random));
    // What is counted on from image to image, and what is not in columns.
    for (rank, image) in (95..).zip(&mut numbered[0].results) {
        image.image_tags = vec![format!("ci-{rank:04}")];
        image.reason = format!("Rank {rank} by age; rule 1 keeps the 90 youngest images, so it expires.");
    }
    numbered[1].results[0].image_tags.push("a#b".to_owned());
    let all: Vec<_> = numbered.into_iter().take(3).chain(random.into_iter().take(3)).collect();
    let lines = outcome_file::text(all.clone()).unwrap();
    let mut jq = Command::new("jq")
        .args(["--compact-output", "--from-file"])
        .arg(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    jq.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = jq.wait_with_output().unwrap();
    assert!(output.status.success());
    let printed: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let results =
        all.iter().flat_map(|outcome| outcome.results.iter().map(|image| (&outcome.repository_name, image)));
    let expected: Vec<Value> = results
        .map(|(name, image)| {
            let mut line = serde_json::to_value(image).unwrap();
            line["repositoryName"] = name.as_str().into();
            line
        })
        .collect();
    assert_eq!(printed, expected);
}

#[test]
fn a_repository_that_cannot_be_read_fails_alone() {
    let text = policies("delete").replace("['*']", "['*']\n  tags: { team: shop }");
    let mut site = Site::new(&text);
    site.steward.approves = true;
    add(&site.steward.aws, "bpp");
    let tag = |registry: &mut Registry| {
        for repository in registry.repositories.values_mut() {
            repository.tags.insert("team".to_owned(), "shop".to_owned());
        }
    };
    site.steward.aws.with(tag);
    site.steward.aws.fault("ListTagsForResource", Fault::Denied, 1);
    let report = site.steward.run("r", false);
    let failed: Vec<&Value> = report["repositories"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|repository| repository["status"] == "FAILED")
        .collect();
    assert_eq!(failed.len(), 1, "{report:#}");
    let problem = failed[0]["error"].as_str().unwrap();
    assert!(problem.starts_with("which policy is for it is not known: ListTagsForResource"), "{problem}");
    assert_eq!(report["status"], "ATTENTION");
    assert_eq!(report["totals"]["deleted"]["imageTotalCount"], 4, "the other one is worked on");
    assert_eq!(report["totals"]["repositories"], 2);
    site.steward.run("s", false);
    assert_eq!((site.left(), site.steward.digests("bpp").len()), (1, 1));
}

#[test]
fn each_function_reads_and_writes_only_what_its_role_names() {
    let site = Site::approved("delete");
    site.upload("usage/eks.json", "[]");
    // An index, whose children are remembered; and something of which is learned what it runs.
    site.steward.aws.with(|registry| {
        let app = registry.repositories.get_mut("app").unwrap();
        let child = app.push("child", &[]);
        app.push_index(&[&child], &["v1"]);
    });
    site.steward.aws.cloud(|cloud| {
        let definition = cloud.ecs.register("web", &[&format!("{HOST}/app:latest")]);
        cloud.ecs.run_task("prod", &definition, None);
    });
    let check = |function: &str| {
        for call in site.steward.aws.calls() {
            let action = match call.operation.as_str() {
                "GetObject" | "HeadObject" => "s3:GetObject",
                "PutObject" => "s3:PutObject",
                _ => continue,
            };
            let path = call.request["key"].as_str().unwrap();
            let key = path.strip_prefix(&format!("{BUCKET}/")).unwrap();
            let mut allowed = template::keys(function, action);
            if action == "s3:GetObject" && function != "LifecycleReportFunction" {
                allowed.extend(template::keys("ReadUsagePolicy", action));
            }
            let is_allowed = allowed.iter().any(|pattern| template::is_match(pattern, key));
            assert!(is_allowed, "{function}: {action} {key}: {allowed:?}");
        }
        site.steward.aws.forget_calls();
    };
    for (run, dry_run) in [("dry", true), ("enforced", false)] {
        let taken = site.steward.take_inventory(&Steward::begin(run, dry_run)).response();
        check("LifecycleInventoryFunction");
        for key in site.steward.batches(&taken) {
            site.steward.work(&taken, &key);
        }
        check(if dry_run { "LifecyclePreviewFunction" } else { "LifecycleEnforceFunction" });
        site.steward.report(&taken);
        check("LifecycleReportFunction");
    }
    assert!(site.keys("state/taken/").len() == 1 && site.keys("journal/").len() == 1, "all of it was done");
}

#[test]
fn the_report_says_who_started_the_run() {
    let site = Site::approved("preview");
    let report = site.steward.run("r", true);
    let execution = format!("{EXECUTIONS}r");
    assert_eq!(report["startedBy"], execution);
    let mails = site.steward.aws.cloud(|cloud| cloud.published.clone());
    assert!(mails[0].1.contains(&format!("Started by {execution}")), "{mails:?}");
    assert!(site.text("reports/latest.html").unwrap().contains(&execution));
}

#[test]
fn a_report_has_the_runs_before_it_and_does_without_them() {
    let site = Site::approved("preview");
    let first = site.steward.run("first", true);
    assert_eq!(first["earlierRuns"], Value::Null);
    let second = site.steward.run("second", true);
    let before = &second["earlierRuns"][0];
    assert_eq!((&before["runId"], &before["images"]), (&first["runId"], &first["totals"]["images"]));
    let third = site.steward.run("third", true);
    let before: Vec<&Value> =
        third["earlierRuns"].as_array().unwrap().iter().map(|run| &run["runId"]).collect();
    assert_eq!(before, [&second["runId"], &first["runId"]]);
    let page = site.text("reports/latest.html").unwrap();
    assert!(page.contains("The last runs") && page.contains("title=\"first\""), "{}", page.len());

    site.upload("reports/latest.json", "no report");
    let fourth = site.steward.run("fourth", true);
    assert_eq!((&fourth["earlierRuns"], &fourth["status"]), (&Value::Null, &third["status"]));
}

#[test]
fn the_report_says_first_what_is_unknown_and_how_to_ignore_it_and_what_is_ignored() {
    let sources = "usage:
  lists: [{ key: usage/shop.json, repositories: ['shop/*'] }]
  ignore:
  - { source: eks/old, reason: no nodes any more, until: 2999-01-01 }
  - { source: eks/older, reason: gone, until: 2020-01-01 }
";
    let site = Site::new(&format!("{}{sources}", policies("delete")));
    let report = site.steward.run("r", true);
    let notices: Vec<&str> =
        report["notices"].as_array().unwrap().iter().map(|notice| notice.as_str().unwrap()).collect();
    assert_eq!(notices.len(), 2, "what is not ignored any more is not told: {notices:?}");
    assert!(
        notices[0].starts_with("It is not known what uses images of shop/*: usage/shop.json"),
        "{notices:?}"
    );
    let entry = report["ignoreEntries"][0].as_str().unwrap();
    assert!(entry.starts_with("{ source: usage/shop.json, reason: \"…\", until: "), "{entry}");
    assert!(notices[0].contains(entry), "{notices:?}");
    assert_eq!(notices[1], "The policies file ignores eks/old until 2999-01-01: no nodes any more.");
    let mails = site.steward.aws.cloud(|cloud| cloud.published.clone());
    assert!(notices.iter().all(|notice| mails[0].1.contains(notice)), "{mails:?}");
    let page = site.text("reports/latest.html").unwrap();
    assert!(page.contains(&entry.replace('"', "&quot;")), "{page}");
    assert!(page.find("shop/*").unwrap() < page.find("<noscript>").unwrap(), "before the tables");
}

#[test]
fn runs_that_fail_time_out_are_aborted_or_do_not_come_raise_an_alarm() {
    for (alarm, metric) in [
        ("LifecycleRunFailedAlarm", "ExecutionsFailed"),
        ("LifecycleRunTimedOutAlarm", "ExecutionsTimedOut"),
        ("LifecycleRunAbortedAlarm", "ExecutionsAborted"),
        ("LifecycleRunMissingAlarm", "RunsCompleted"),
    ] {
        let alarm = template::block(alarm).join("\n");
        assert!(alarm.contains(&format!("MetricName: {metric}\n")), "{alarm}");
        assert!(alarm.contains("AlarmActions"), "{alarm}");
    }
    // Where nothing is told there was no run.
    let missing = template::block("LifecycleRunMissingAlarm").join("\n");
    assert!(
        missing.contains("TreatMissingData: breaching") && missing.contains("LessThanThreshold"),
        "{missing}"
    );
    // What the alarms go by is written whatever the level of the logs is.
    let report = template::block("LifecycleReportFunction").join("\n");
    assert!(report.contains("ApplicationLogLevel: INFO"), "{report}");
}

#[test]
fn no_function_that_reads_manifests_pulls_by_it() {
    let text = std::fs::read_to_string(tests::binaries::workspace().join("template.yaml")).unwrap();
    let mut readers = 0;
    let resources = text.split("\n    Type: AWS::Serverless::Function\n");
    let names = resources.map(|before| before.lines().next_back().unwrap().trim().trim_end_matches(':'));
    // The last piece is what follows the last function.
    let names: Vec<&str> = names.collect();
    for function in &names[..names.len() - 1] {
        if template::ecr_actions(function).contains("BatchGetImage") {
            readers += 1;
            let excluded = format!("PrincipalArn: !GetAtt {function}Role.Arn\n");
            assert!(text.contains(&excluded), "{function}: policies and people go by pulls");
        }
    }
    assert_eq!(readers, 5, "{names:?}");
}

/// The state that a choice continues with; like Step Functions it fails where a path is compared that is not there.
fn choose(choice: &Value, input: &Value) -> String {
    fn holds(rule: &Value, input: &Value) -> bool {
        if let Some(rules) = rule["And"].as_array() {
            return rules.iter().all(|rule| holds(rule, input));
        }
        if rule["Not"].is_object() {
            return !holds(&rule["Not"], input);
        }
        let path = rule["Variable"].as_str().unwrap().trim_start_matches('$').replace('.', "/");
        let found = input.pointer(&path);
        if let Some(wanted) = rule["IsPresent"].as_bool() {
            return found.is_some() == wanted;
        }
        let value = found.unwrap_or_else(|| panic!("{path} is compared, and is not there: {input}"));
        match (&rule["IsBoolean"], &rule["BooleanEquals"]) {
            (Value::Bool(wanted), _) => value.is_boolean() == *wanted,
            (_, Value::Bool(wanted)) => value == wanted,
            _ => panic!("an operator that is not known here: {rule}"),
        }
    }
    let rules = choice["Choices"].as_array().unwrap();
    let rule = rules.iter().find(|rule| holds(rule, input));
    rule.map_or(&choice["Default"], |rule| &rule["Next"]).as_str().unwrap().to_owned()
}

#[test]
fn the_input_of_the_state_machine_enforces_only_if_it_asks_for_that_and_for_nothing_else() {
    let machine = state_machine::definition();
    let states = &machine["States"];
    let choice = &states[machine["StartAt"].as_str().unwrap()];
    for (input, begins) in state_machine::inputs() {
        let next = choose(choice, &input);
        assert_eq!(next, begins.state(), "{input}");
        let run = &states[next]["Parameters"]["run"];
        let (dry_run, protect_only) = match begins {
            Begins::Dry => (json!({ "dryRun": true }), false),
            Begins::AsAsked => (json!({ "dryRun.$": "$.dryRun" }), false),
            Begins::Protecting => (json!({ "dryRun": false }), true),
        };
        for (name, value) in dry_run.as_object().unwrap() {
            assert_eq!(run[name], *value, "{input}");
        }
        assert_eq!(run["protectOnly"] == true, protect_only, "{input}");
    }
    let schedule = template::block("LifecycleProtectionSchedule").join("\n");
    for part in
        ["Input: '{\"protectOnly\": true}'", "State: !Ref ScheduleState", "Condition: ProtectsBetweenRuns"]
    {
        assert!(schedule.contains(part), "{part}: {schedule}");
    }
}

#[test]
fn a_policies_file_that_is_not_valid_suspends_what_it_attached_and_the_run_fails_all_the_same() {
    let machine = state_machine::definition();
    let states = &machine["States"];
    let catch = &states["Inventory"]["Catch"];
    // A function of an earlier version, which an update of the stack replaces later, calls it by another name.
    assert_eq!(catch[0]["ErrorEquals"], json!(["InvalidPoliciesFile", "InvalidPolicyBook"]));
    assert_eq!(catch[1], json!({ "ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Report" }));
    let choice = &states[catch[0]["Next"].as_str().unwrap()];
    let asked = choose(choice, &json!({ "run": { "dryRun": true } }));
    assert_eq!(asked, "Report", "a dry run that was asked for changes nothing");
    let suspend = &states[choose(choice, &json!({ "run": { "dryRun": false, "protectOnly": true } }))];
    assert_eq!(suspend["Parameters"]["FunctionName"], "${SuspendFunctionArn}");
    assert_eq!(suspend["Parameters"]["Payload"], json!({ "run.$": "$.run", "reason.$": "$.error.Cause" }));
    // What the inventory failed with stays, whether or not this succeeds: the report tells it.
    assert_eq!(suspend["ResultPath"], Value::Null);
    assert_eq!(suspend["Catch"][0]["Next"], suspend["Next"]);
    assert_ne!(suspend["Catch"][0]["ResultPath"], "$.error");
    // Then the run goes on without the file, once.
    let goes_on = &states[suspend["Next"].as_str().unwrap()];
    assert_eq!(
        (&goes_on["InputPath"], &goes_on["ResultPath"], &goes_on["Next"]),
        (&json!("$.error.Cause"), &json!("$.run.policiesFileProblem"), &json!("Inventory"))
    );
    let again = json!({ "run": { "dryRun": false, "policiesFileProblem": "/: no" } });
    assert_eq!(choose(choice, &again), "Report");
}

#[test]
fn a_run_that_only_protects_finds_repositories_by_their_tag_and_is_reported_only_when_something_needs_attention()
 {
    let site = Site::new(&policies("delete"));
    site.steward.aws.with(|registry| {
        for number in 0..25 {
            let name = format!("service/{number:02}");
            let mut repository = tests::site::repository(&name);
            repository.push(&name, &["v1"]);
            let value = if number == 3 { "TRUE" } else { "true" };
            if [3, 4, 24].contains(&number) {
                repository.tags.insert("ecr-steward:protect".to_owned(), value.to_owned());
                repository.lifecycle_policy = Some(
                    shared::domain::enforcement::in_use_protection::TakesNothing::new().unwrap().to_json(),
                );
            }
            registry.repositories.insert(name, repository);
        }
    });
    let mut input = Steward::begin("hourly", false);
    input["run"]["protectOnly"] = true.into();
    let taken = site.steward.take_inventory(&input).response();
    assert_eq!(taken["run"]["dryRunReason"], "protect-only");
    assert_eq!(taken["run"]["protectOnly"], true, "the batches are told as well");
    let keys = site.steward.batches(&taken);
    assert!(keys.iter().all(|key| key.contains("/enforce/")), "{keys:?}");
    let names: BTreeSet<String> = keys
        .iter()
        .flat_map(|key| {
            let batch: Value = serde_json::from_str(&site.text(key).unwrap()).unwrap();
            let names = batch["repositories"].as_array().unwrap().iter();
            names.map(|one| one["repositoryName"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(names, ["service/04", "service/24"].map(str::to_owned).into());
    for key in &keys {
        site.steward.work(&taken, key);
    }
    let report = site.steward.report(&taken);
    assert_eq!((&report["status"], &report["isPreview"]), (&json!("SUCCEEDED"), &json!(false)), "{report:#}");
    assert_eq!(site.steward.aws.cloud(|cloud| cloud.published.clone()), [], "once an hour is too often");
    assert_eq!(site.keys("state/previewed/"), [""; 0], "it shows nothing of what the file does");
    assert_eq!(site.keys("state/registry.json"), [""; 0], "it has counted a part of the registry");
    assert_eq!(site.keys("reports/"), ["reports/latest-protection.html", "reports/latest-protection.json"]);
    assert_eq!(site.left(), site.all.len());
    // Another one, in which something is not known.
    site.steward.aws.cloud(|cloud| cloud.eks_clusters = vec!["prod".to_owned()]);
    input["run"]["runId"] = "next".into();
    let taken = site.steward.take_inventory(&input).response();
    for key in site.steward.batches(&taken) {
        site.steward.work(&taken, &key);
    }
    assert_eq!(site.steward.report(&taken)["status"], "ATTENTION");
    assert_eq!(site.steward.aws.cloud(|cloud| cloud.published.len()), 1);
}

#[test]
fn the_state_machine_runs_dry_without_a_flag_ends_within_a_day_and_maps_over_the_list_of_batches() {
    let machine = state_machine::definition();
    assert_eq!(machine["TimeoutSeconds"], 86_400);
    let states = &machine["States"];
    // A path that is not there may be asked for nothing else before.
    let choice = &states[machine["StartAt"].as_str().unwrap()];
    assert_eq!(choice["Choices"][0]["And"][0], json!({ "Variable": "$.dryRun", "IsPresent": true }));
    assert_eq!(states[choice["Default"].as_str().unwrap()]["Parameters"]["run"]["dryRun"], true);
    let reader = &states["Batches"]["ItemReader"];
    assert!(reader["Resource"].as_str().unwrap().ends_with("s3:getObject"));
    assert_eq!(reader["Parameters"]["Key.$"], "$.batchesKey");
    let work = &states["Batches"]["ItemProcessor"]["States"]["WhichWork"];
    assert_eq!(work["Choices"][1]["StringMatches"], "*/batches/*/preview/*");
    // The schedule asks to enforce in any case: whether it happens is decided when it happens.
    let schedule = template::block("LifecycleSchedule").join("\n");
    assert!(schedule.contains("Input: '{\"dryRun\": false}'"), "{schedule}");
}
