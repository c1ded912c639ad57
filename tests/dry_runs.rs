//! A dry run of a terminal, beside what the same command then does: the same images, totals, warnings and exit code, and no call that
//! changes something.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tests::cloud::BUCKET;
use tests::ecr_stub::{EcrStub, Fault, Repository};
use tests::site::{HOST, Images, fill, repository, use_by_task};
use tests::terminal::{self, signed_in};

/// Every kind of policy.
const POLICIES_FILE: &str = "
policies:
- { name: deleted, repositories: ['del/*'], apply: delete, limits: { percent: 100 }, keep: { tags: ['ci-3'] },
    rules: [{ selection: untagged, maximumAgeLimit: 3 }, { selection: any, maximumAgeLimit: 14 }] }
- { name: few, repositories: ['few/*'], apply: delete, limits: { images: 2, percent: 100 }, rules: [{ selection: any, maximumAgeLimit: 14 }] }
- { name: percent, repositories: ['percent/*'], apply: delete, limits: { percent: 5 }, rules: [{ selection: any, maximumAgeLimit: 14 }] }
- { name: remaining, repositories: ['remaining/*'], apply: delete, limits: { percent: 100, remaining: 3 },
    rules: [{ selection: any, maximumAgeLimit: 14 }] }
- { name: previewed, repositories: ['prev/*'], apply: preview, rules: [{ selection: any, maximumAgeLimit: 14 }] }
- { name: attached, repositories: ['att/*'], apply: attach, limits: { percent: 100 }, rules: [{ selection: any, maximumAgeLimit: 14 }] }
- { name: protected, repositories: ['prot/*'], apply: protect }
";

/// The operations that change something at AWS.
const WRITES: [&str; 9] = [
    "BatchDeleteImage",
    "DeleteLifecyclePolicy",
    "DeleteObject",
    "PutImage",
    "PutLifecyclePolicy",
    "PutObject",
    "StartLifecyclePolicyPreview",
    "TagResource",
    "UpdateImageStorageClass",
];

/// An account with a repository of every kind.
fn account() -> (EcrStub, BTreeMap<String, Images>) {
    let aws = terminal::account(POLICIES_FILE, |_, _| {});
    let mut all = BTreeMap::new();
    let own = json!({ "rules": [{ "rulePriority": 1, "selection": { "tagStatus": "any", "countType": "sinceImagePushed",
        "countUnit": "days", "countNumber": 20 }, "action": { "type": "expire" } }] });
    aws.with(|registry| {
        let mut add = |name: &str, change: &dyn Fn(&mut Repository, &Images)| {
            let mut made = repository(name);
            let images = fill(&mut made, name);
            change(&mut made, &images);
            registry.repositories.insert(name.to_owned(), made);
            all.insert(name.to_owned(), images);
        };
        for name in
            ["del/plain", "few/app", "percent/app", "remaining/app", "prev/app", "att/app", "prot/app"]
        {
            add(name, &|_, _| {});
        }
        for name in ["del/by-tag", "del/by-digest", "del/index-by-tag", "prev/used"] {
            add(name, &|_, _| {});
        }
        add("del/empty", &|made, _| made.images.clear());
        // Everything but the signature went: what it is about is not here.
        add("del/referrers", &|made, images| made.images.retain(|image| image.digest == images.signature));
        add("del/index", &|made, images| {
            let release = images.release().map(String::as_str);
            made.images.retain(|image| release.contains(&image.digest.as_str()));
        });
        add("del/own-policy", &|made, _| made.lifecycle_policy = Some(own.to_string()));
        add("prev/own-policy", &|made, _| made.lifecycle_policy = Some(own.to_string()));
        add("other/app", &|_, _| {});
    });
    aws.cloud(|cloud| {
        use_by_task(cloud, "del/by-tag:ci-1", None);
        let digest = &all["del/by-digest"].old[2];
        use_by_task(cloud, &format!("del/by-digest@{digest}"), Some(digest));
        use_by_task(cloud, "del/index-by-tag:v1", None);
        use_by_task(cloud, "prev/used:ci-1", None);
        use_by_task(cloud, "prev/own-policy:ci-1", None);
    });
    (aws, all)
}

fn enforce(aws: &EcrStub, arguments: &[&str]) -> Output {
    signed_in(aws).arg("enforce").args(arguments).output().unwrap()
}

#[track_caller]
fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The calls that would change something.
fn writes(aws: &EcrStub) -> Vec<String> {
    let calls = aws.calls().into_iter().filter(|call| WRITES.contains(&call.operation.as_str()));
    calls.map(|call| format!("{} {}", call.operation, call.request)).collect()
}

/// The images with this result, by repository.
fn images(report: &Value, result: &str) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for repository in report["repositories"].as_array().unwrap() {
        for image in repository["results"].as_array().into_iter().flatten() {
            if image["outcome"] == result {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                found.insert((text(&repository["repositoryName"]), text(&image["imageDigest"])));
            }
        }
    }
    found
}

/// The fields of each repository that do not depend on whether anything is done, in its order.
fn facts(report: &Value) -> Vec<Value> {
    const FIELDS: [&str; 11] = [
        "repositoryName",
        "policy",
        "error",
        "images",
        "expiring",
        "transitioning",
        "protectedByUse",
        "protectedByKeep",
        "drift",
        "findings",
        "nativePolicy",
    ];
    let repositories = report["repositories"].as_array().unwrap().iter();
    repositories.map(|one| FIELDS.iter().map(|field| one[*field].clone()).collect()).collect()
}

/// A dry run, which changes nothing, and the same command with --apply: what the dry run reports is what is done.
#[track_caller]
fn assert_does_what_it_reported(aws: &EcrStub, fault: impl Fn()) -> (Value, Value) {
    aws.forget_calls();
    let before = aws.snapshot();
    fault();
    let dry = enforce(aws, &["--all", "--output", "json"]);
    aws.heal();
    assert_eq!(writes(aws), [""; 0], "a dry run changes nothing");
    assert_eq!(aws.snapshot(), before);
    fault();
    let done = enforce(aws, &["--all", "--apply", "--yes", "--output", "json"]);
    aws.heal();
    let (planned, did) = (report(&dry), report(&done));
    let to_be_deleted: BTreeSet<_> = {
        let executed = |name: &str| {
            let one = planned["repositories"].as_array().unwrap().iter();
            one.filter(|one| one["repositoryName"] == name)
                .any(|one| one["apply"] == "delete" && one["status"] == "PREVIEWED")
        };
        images(&planned, "PLANNED").into_iter().filter(|(name, _)| executed(name)).collect()
    };
    assert_eq!(to_be_deleted, images(&did, "DELETED"));
    assert_eq!(facts(&planned), facts(&did));
    for result in ["IN_USE", "KEPT"] {
        assert_eq!(images(&planned, result), images(&did, result), "{result}");
    }
    let (expected, totals) = (&planned["totals"], &did["totals"]);
    let none = json!({ "imageTotalCount": 0, "imageSizeInBytes": 0 });
    let to_be_deleted = match &expected["toBeDeleted"] {
        Value::Null => &none,
        amount => amount,
    };
    assert_eq!(*to_be_deleted, totals["deleted"]);
    for field in [
        "repositories",
        "images",
        "countedImages",
        "expiring",
        "protectedByUse",
        "protectedByKeep",
        "blocked",
        "failed",
        "protectedRepositories",
        "suspendedPolicies",
        "nativePoliciesAtRisk",
        "needingAttention",
        "drifted",
        "onlyPreviewed",
    ] {
        assert_eq!(expected[field], totals[field], "{field}");
    }
    for field in ["unmatched", "gaps", "blockedBy", "users", "rules"] {
        assert_eq!(planned[field], did[field], "{field}");
    }
    assert_eq!(planned["status"], did["status"]);
    assert_eq!(dry.status.code(), done.status.code(), "{}{}", stderr(&dry), stderr(&done));
    assert_eq!(stderr(&dry), stderr(&done));
    (planned, did)
}

#[test]
fn a_run_does_what_its_dry_run_reported_in_repositories_of_every_kind() {
    let (aws, all) = account();
    let (dry, done) = assert_does_what_it_reported(&aws, || {});
    let deleted = images(&done, "DELETED");
    for name in ["del/plain", "del/by-tag", "del/by-digest", "del/index-by-tag", "del/own-policy"] {
        assert!(deleted.iter().any(|(repository, _)| repository == name), "{name}: {done:#}");
    }
    assert!(!deleted.iter().any(|(name, _)| !name.starts_with("del/")), "{deleted:?}");
    let repositories =
        dry["repositories"].as_array().unwrap().iter().filter(|one| one["status"] == "BLOCKED");
    let blocked: BTreeSet<&str> = repositories.map(|one| one["repositoryName"].as_str().unwrap()).collect();
    // Of the two whose everything is old nothing would be left.
    let limited = ["del/index", "del/referrers", "few/app", "percent/app", "remaining/app"];
    assert_eq!(blocked, BTreeSet::from(limited));
    let used = &all["del/by-digest"].old[2];
    aws.with(|registry| {
        assert!(registry.repositories["del/by-digest"].images.iter().any(|image| image.digest == *used))
    });
}

#[test]
fn a_repository_that_may_not_be_read_fails_alone_and_is_reported() {
    for operation in ["DescribeImages", "GetLifecyclePolicy", "GetRepositoryPolicy", "BatchGetImage"] {
        let (aws, _) = account();
        let (dry, _) = assert_does_what_it_reported(&aws, || {
            aws.fault_at(operation, "\"del/plain\"", Fault::Denied);
        });
        let one =
            dry["repositories"].as_array().unwrap().iter().find(|one| one["repositoryName"] == "del/plain");
        let status = one.unwrap()["status"].as_str().unwrap();
        assert!(["FAILED", "BLOCKED"].contains(&status), "{operation}: {one:#?}");
    }
}

#[test]
fn a_repository_that_is_deleted_meanwhile_is_reported_as_deleted() {
    let (aws, _) = account();
    let delete = |aws: &EcrStub| {
        let gone = Fault::Then(|registry, _| {
            registry.repositories.remove("del/plain");
        });
        aws.fault("DescribeRepositories", gone, 1);
    };
    delete(&aws);
    let dry = report(&enforce(&aws, &["--all", "--output", "json"]));
    let (again, _) = account();
    delete(&again);
    let done = report(&enforce(&again, &["--all", "--apply", "--yes", "--output", "json"]));
    for report in [&dry, &done] {
        assert_eq!(report["totals"]["statuses"]["REPOSITORY_DELETED"], 1, "{report:#}");
        assert_eq!(report["totals"]["statuses"]["FAILED"], Value::Null, "{report:#}");
    }
}

/// Whatever is asked of it next.
#[test]
fn a_repository_that_is_deleted_between_two_calls_about_it_is_reported_as_deleted() {
    let gone = || {
        Fault::Then(|registry, _| {
            registry.repositories.remove("del/plain");
        })
    };
    for operation in
        ["DescribeImages", "GetRepositoryPolicy", "GetLifecyclePolicy", "BatchGetImage", "BatchDeleteImage"]
    {
        let (aws, _) = account();
        aws.with(|registry| registry.repositories.retain(|name, _| name == "del/plain"));
        aws.fault(operation, gone(), 1);
        let done = report(&enforce(&aws, &["--all", "--apply", "--yes", "--output", "json"]));
        let statuses = &done["totals"]["statuses"];
        assert_eq!(statuses["FAILED"], Value::Null, "{operation}: {done:#}");
        assert_eq!(done["totals"]["failed"]["imageTotalCount"], 0, "{operation}: {done:#}");
        if operation != "BatchDeleteImage" {
            assert_eq!(statuses["REPOSITORY_DELETED"], 1, "{operation}: {done:#}");
        }
    }
}

/// As `--apply --all`, of which it is a part.
#[test]
fn a_saved_plan_is_executed_after_a_confirmation_or_with_yes() {
    let (aws, _) = account();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plan.json");
    let planned = save(&aws, &file);
    aws.forget_calls();
    let file = file.to_str().unwrap();
    let asked = enforce(&aws, &["--apply", "--plan", file]);
    assert_eq!(asked.status.code(), Some(2), "{}", stderr(&asked));
    let text = stderr(&asked);
    assert!(
        text.contains("Add --yes to confirm it") && text.contains(&format!("{planned} images")),
        "{text}"
    );
    assert_eq!(aws.count("BatchDeleteImage"), 0);
    let done = enforce(&aws, &["--apply", "--plan", file, "--yes"]);
    assert!(aws.count("BatchDeleteImage") > 0, "{}", stderr(&done));
}

#[test]
fn a_dry_run_that_is_throttled_says_the_same() {
    let (aws, _) = account();
    let quiet = report(&enforce(&aws, &["--all", "--output", "json"]));
    aws.limit(5.0, 5.0);
    let output = enforce(&aws, &["--all", "--output", "json"]);
    assert!(aws.throttled() > 0);
    assert_eq!(facts(&report(&output)), facts(&quiet));
    assert_eq!(report(&output)["totals"], quiet["totals"]);
}

#[test]
fn a_table_and_json_of_more_images_than_a_report_has_room_for_have_the_same_totals() {
    let policies = "policies: [{ name: all, repositories: ['*'], apply: delete, limits: { images: 100000, percent: 100 },
        rules: [{ selection: untagged, maximumAgeLimit: 20 }, { selection: any, maximumAgeLimit: 14 }] }]";
    let aws = EcrStub::start();
    aws.generate(11, 1100);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policies.yaml");
    std::fs::write(&file, policies).unwrap();
    let fast = |arguments: &[&str]| {
        let mut command = signed_in(&aws);
        command.env("ECR_REQUESTS_PER_SECOND", "10000").args(["enforce", "--all", "--policies"]).arg(&file);
        command.args(arguments).output().unwrap()
    };
    let json = report(&fast(&["--output", "json"]));
    let listed: usize = json["repositories"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["results"].as_array().map_or(0, Vec::len))
        .sum();
    assert_eq!(listed, 10_000, "as many as a report has room for");
    let images = &json["totals"]["toBeDeleted"];
    let (count, bytes) =
        (images["imageTotalCount"].as_u64().unwrap(), images["imageSizeInBytes"].as_u64().unwrap());
    let shown: u64 = json["repositories"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            one["results"].as_array().map_or(0, Vec::len) as u64
                + one["resultsNotShown"].as_u64().unwrap_or_default()
        })
        .sum();
    assert_eq!(shown, count);
    let by_rule: u64 = json["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["images"]["imageTotalCount"].as_u64().unwrap())
        .sum();
    assert_eq!(by_rule, 11_000, "of each repository the first thousand have their rule");
    let table = String::from_utf8(fast(&[]).stdout).unwrap();
    let line = format!(
        "{} of {} will be deleted ({})",
        shared::domain::text::quantity::grouped(count),
        shared::domain::text::quantity::count(11 * 1100, "image"),
        shared::domain::text::quantity::bytes(bytes)
    );
    let words = table.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(&line), "{line}: {words}");
}

/// Saves a plan of everything, and gives the number of its images.
fn save(aws: &EcrStub, file: &Path) -> usize {
    let output = enforce(aws, &["--all", "--save-plan", file.to_str().unwrap()]);
    assert_ne!(output.status.code(), Some(2), "{}", stderr(&output));
    let plan: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    plan["repositories"].as_array().unwrap().iter().map(|one| one["images"].as_array().unwrap().len()).sum()
}

#[test]
fn a_plan_of_image_indexes_is_executed_by_whoever_is_not_excluded_from_pull_times() {
    let (aws, all) = account();
    // Reading the manifest of an index is a pull, also the reading of this program.
    aws.with(|registry| registry.is_pull_excluded = false);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plan.json");
    let planned = save(&aws, &file);
    assert!(planned > 0);
    let output = enforce(&aws, &["--apply", "--yes", "--plan", file.to_str().unwrap()]);
    assert!(
        stderr(&output).contains(&format!("{planned} of the {planned} images of the plan are done")),
        "{}",
        stderr(&output)
    );
    let left = aws.with(|registry| registry.repositories["del/plain"].images.len());
    assert_eq!(left, 2, "the young one, and the one that the policy keeps: {:?}", all["del/plain"].index);
}

#[test]
fn a_plan_takes_no_image_that_came_into_use_was_tagged_or_was_pulled_since() {
    let (aws, all) = account();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plan.json");
    save(&aws, &file);
    let [used, tagged, pulled] = [0, 1, 2].map(|number| all["del/plain"].old[number].clone());
    aws.cloud(|cloud| use_by_task(cloud, &format!("del/plain@{used}"), None));
    aws.with(|registry| {
        let made = registry.repositories.get_mut("del/plain").unwrap();
        made.image_mut(&tagged).tags.insert("release".to_owned());
        made.image_mut(&pulled).last_pulled_at =
            Some(shared::domain::text::instant::Instant::now().micros() as f64 / 1e6);
        // A release is signed once more: the signature is in no plan.
        made.push_referrer("later", &all["del/plain"].index);
        // A new image of the same policy is old already.
        let late = made.push("late", &["late"]);
        made.age(&late, 40.0);
    });
    let output = enforce(&aws, &["--apply", "--yes", "--plan", file.to_str().unwrap(), "--output", "json"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let left: BTreeSet<String> = aws.with(|registry| {
        registry.repositories["del/plain"].images.iter().map(|image| image.digest.clone()).collect()
    });
    for digest in [&used, &tagged, &pulled, &all["del/plain"].young] {
        assert!(left.contains(digest), "{}", stderr(&output));
    }
    assert!(aws.with(|registry| {
        registry.repositories["del/plain"].images.iter().any(|image| image.tags.contains("late"))
    }));
}

#[test]
fn a_command_that_looks_into_another_registry_forgets_nothing_of_the_own_one() {
    let (aws, all) = account();
    let key = format!("{BUCKET}/cache/indexes/del/plain.json");
    let known = json!({ "sha256:archived": all["del/plain"].children }).to_string();
    aws.cloud(|cloud| cloud.upload(&key, &known));
    for arguments in [
        &["preview", "--repository", "del/plain", "--registry-id", "210987654321", "--bucket", BUCKET][..],
        &["preview", "--repository", "del/plain", "--bucket", BUCKET],
        &["explain", &format!("{HOST}/del/plain:v1"), "--bucket", BUCKET],
        &["snapshot", "--repository", "del/plain"],
    ] {
        aws.forget_calls();
        let output = signed_in(&aws).args(arguments).output().unwrap();
        assert_ne!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert_eq!(writes(&aws), [""; 0], "{arguments:?}");
    }
    assert_eq!(aws.cloud(|cloud| cloud.object_text(&key)).unwrap(), known);
}

#[test]
fn a_dry_run_says_what_the_limit_of_the_registry_leaves_for_another_day() {
    let (aws, _) = account();
    let policies = |limit: u32| {
        let text = format!("{POLICIES_FILE}limits: {{ images: {limit}, percent: 100 }}\n");
        aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), &text));
    };
    let arguments = ["--repository", "del/plain", "--output", "json"];
    let says_limit =
        |report: &Value| report["notices"].to_string().contains("that may be deleted in the registry today");
    // Five builds, and a release with all that belongs to it.
    policies(6);
    let output = enforce(&aws, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!says_limit(&report(&output)));
    policies(5);
    let dry = enforce(&aws, &arguments);
    assert_eq!(dry.status.code(), Some(1), "{}", stderr(&dry));
    assert!(says_limit(&report(&dry)), "{:#}", report(&dry)["notices"]);
    assert_eq!(writes(&aws), [""; 0], "nothing of it is reserved");
    let done = enforce(&aws, &[&arguments[..], &["--apply"]].concat());
    assert_eq!(done.status.code(), Some(1), "{}", stderr(&done));
    assert!(says_limit(&report(&done)), "{:#}", report(&done)["notices"]);
}

#[test]
fn a_run_does_what_its_dry_run_reported_in_more_repositories_than_are_planned_together() {
    let policies = "policies: [{ name: all, repositories: ['*'], apply: delete, limits: { percent: 100 },
        rules: [{ selection: untagged, maximumAgeLimit: 20 }, { selection: any, maximumAgeLimit: 30 }] }]
limits: { images: 100000, percent: 100 }\n";
    let aws = terminal::account(policies, |_, _| {});
    aws.generate(60, 50);
    aws.cloud(|cloud| {
        cloud.upload(&format!("{BUCKET}/state/registry.json"), "{\"images\": 100000}");
        use_by_task(cloud, "fleet/00027:ci-0010", None);
    });
    let (dry, done) = assert_does_what_it_reported(&aws, || {});
    assert_eq!(dry["totals"]["repositories"], 60);
    assert!(done["totals"]["deleted"]["imageTotalCount"].as_u64().unwrap() > 1000, "{:#}", done["totals"]);
    assert_eq!(done["totals"]["protectedByUse"]["imageTotalCount"], 1, "{:#}", done["totals"]);
}

#[test]
fn a_dry_run_and_a_preview_of_the_same_policy_find_the_same_images() {
    let (aws, _) = account();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.yaml");
    std::fs::write(&file, "rules: [{ selection: any, maximumAgeLimit: 14 }]").unwrap();
    let output = signed_in(&aws)
        .args(["preview", "--all", "--all-passes", "--output", "json", "--policy"])
        .arg(&file)
        .output()
        .unwrap();
    let previews: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let dry = report(&enforce(&aws, &["--all", "--output", "json"]));
    for name in ["few/app", "percent/app", "remaining/app", "prev/app", "prev/used", "prev/own-policy"] {
        let of = |all: &[Value]| all.iter().find(|one| one["repositoryName"] == name).cloned().unwrap();
        let (preview, outcome) = (of(&previews), of(dry["repositories"].as_array().unwrap()));
        let expiring = &preview["summary"]["expiringImageTotalCount"];
        assert_eq!(*expiring, outcome["expiring"]["imageTotalCount"], "{name}: {outcome:#}");
    }
}

/// Interrupts a command as Ctrl-C does, once it has made this call. Whatever is started by a shell in the background ignores SIGINT.
fn interrupt_at(aws: &EcrStub, operation: &str, arguments: &[&str]) {
    let mut command = signed_in(aws);
    command.arg("enforce").args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    aws.forget_calls();
    let mut started = command.spawn().unwrap();
    let started_at = std::time::Instant::now();
    // A call is written down once it is answered: the one before has been.
    while aws.count(operation) == 0 {
        assert!(started_at.elapsed() < Duration::from_secs(30), "{operation}");
        std::thread::sleep(Duration::from_millis(5));
    }
    let signalled = Command::new("kill").args(["-TERM", &started.id().to_string()]).status().unwrap();
    assert!(signalled.success());
    assert!(!started.wait().unwrap().success());
}

#[test]
fn an_interrupted_dry_run_has_changed_nothing_and_saved_no_plan() {
    let (aws, _) = account();
    let before = aws.snapshot();
    aws.fault_from("DescribeImages", Fault::Slow(Duration::from_secs(5)), 1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plan.json");
    interrupt_at(&aws, "DescribeImages", &["--all", "--save-plan", file.to_str().unwrap()]);
    std::thread::sleep(Duration::from_millis(500));
    assert!(!file.exists());
    assert_eq!(writes(&aws), [""; 0]);
    assert_eq!(aws.snapshot(), before);
}

#[test]
fn what_an_interrupted_run_deleted_is_in_the_journal() {
    let (aws, all) = account();
    aws.fault_from("BatchDeleteImage", Fault::Slow(Duration::from_millis(500)), 1);
    interrupt_at(&aws, "BatchDeleteImage", &["--all", "--apply", "--yes"]);
    std::thread::sleep(Duration::from_secs(1));
    let journal: String = aws.cloud(|cloud| {
        let keys = cloud.keys(BUCKET, "journal/");
        keys.iter().map(|key| cloud.object_text(&format!("{BUCKET}/{key}")).unwrap()).collect()
    });
    let mut gone = 0;
    for (name, images) in all.iter().filter(|(name, _)| name.starts_with("del/")) {
        // The account was made without most of these.
        if ["del/empty", "del/referrers", "del/index"].contains(&name.as_str()) {
            continue;
        }
        let left = aws.with(|registry| {
            let images = registry.repositories[name].images.iter();
            images.map(|image| image.digest.clone()).collect::<BTreeSet<_>>()
        });
        for digest in images.all().difference(&left) {
            assert!(journal.contains(digest.as_str()), "{name}: {digest}");
            gone += 1;
        }
    }
    assert!(gone > 0);
}
