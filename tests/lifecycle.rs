//! Runs over a registry by the real functions, on AWS in memory: what is deleted, what is not, and why.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tests::cloud::{self, BUCKET, Cloud, TAGGED_RESOURCES};
use tests::ecr_stub::{EcrStub, Fault, Registry};
use tests::runtime_api::Answer;
use tests::site::{HOST, Images, Site, UNLIMITED, fill, other, policies_file, repository, set, use_by_task};
use tests::steward::{PLENTY, Steward, of};

#[test]
fn a_run_deletes_what_the_policy_expires_and_the_next_run_nothing() {
    let site = Site::new(UNLIMITED);
    let report = site.steward.run("first", false);
    assert_eq!(site.left(), set([&site.app.young]), "{report:#}");
    assert_eq!(report["status"], "SUCCEEDED", "{report:#}");
    assert_eq!(report["totals"]["deleted"]["imageTotalCount"], 10);
    assert_eq!(of(&report, "app")["status"], "DONE");
    site.aws().forget_calls();
    let report = site.steward.run("second", false);
    assert_eq!(report["status"], "SUCCEEDED", "{report:#}");
    assert_eq!(report["totals"]["deleted"]["imageTotalCount"], 0);
    assert_eq!(site.aws().count("BatchDeleteImage"), 0);
    // A page of repositories and a page of images: what is there cannot be known by fewer calls.
    let of_ecr = ["DescribeRepositories", "DescribeImages", "BatchGetImage", "GetLifecyclePolicy"];
    assert_eq!(of_ecr.map(|operation| site.aws().count(operation)), [1, 1, 0, 0]);
}

#[test]
fn indexes_are_deleted_before_what_they_list_and_nothing_before_it_is_written_down() {
    let site = Site::new(UNLIMITED);
    site.steward.run("first", false);
    let mut written: Vec<Value> = Vec::new();
    let mut gone: Vec<String> = Vec::new();
    for call in site.aws().calls() {
        match call.operation.as_str() {
            "PutObject" if call.request["key"].as_str().unwrap().contains("/journal/") => {
                let lines = call.request["body"].as_str().unwrap().lines();
                written.extend(lines.map(|line| serde_json::from_str::<Value>(line).unwrap()));
            }
            "BatchDeleteImage" => {
                for id in call.request["imageIds"].as_array().unwrap() {
                    let digest = id["imageDigest"].as_str().unwrap().to_owned();
                    let line = written.iter().find(|line| line["imageDigest"] == digest.as_str());
                    assert!(line.is_some(), "{digest} is not written down before it is deleted");
                    gone.push(digest);
                }
            }
            _ => {}
        }
    }
    let at = |digest: &String| gone.iter().position(|other| other == digest).unwrap();
    let app = &site.app;
    assert!(app.children.iter().all(|child| at(&app.index) < at(child)), "{gone:?}");
    assert!(at(&app.index) < at(&app.signature));
    let line = written.iter().find(|line| line["imageDigest"] == app.index.as_str()).unwrap();
    assert_eq!(line["imageTags"], json!(["v1"]));
    assert!(line["imageManifest"].as_str().unwrap().contains(&app.children[0]));
    assert_eq!(line["policy"], "all");
    assert_eq!(line["policiesFileVersion"], "v1");
    assert_eq!(line["appliedRulePriority"], 1);
    assert_eq!(line["runId"], "first");
    assert_eq!(line["action"]["type"], "EXPIRE");
    assert!(line["reason"].as_str().unwrap().starts_with("Pushed 30 days ago"), "{line}");
}

#[test]
fn what_a_task_uses_by_tag_stays() {
    let site = Site::new(UNLIMITED);
    site.use_by_task("app:ci-0", None);
    let report = site.steward.run("r", false);
    assert_eq!(site.left(), set([&site.app.old[0], &site.app.young]));
    let app = of(&report, "app");
    assert_eq!(app["protectedByUse"]["imageTotalCount"], 1);
    let in_use =
        app["results"].as_array().unwrap().iter().find(|image| image["outcome"] == "IN_USE").unwrap();
    assert!(in_use["reason"].as_str().unwrap().contains("task/prod/"), "{in_use}");
}

#[test]
fn what_a_task_runs_by_digest_stays_though_its_tag_has_moved() {
    let site = Site::new(UNLIMITED);
    site.use_by_task("app:latest", Some(&site.app.old[3]));
    site.steward.run("r", false);
    assert_eq!(site.left(), set([&site.app.old[3], &site.app.young]));
}

#[test]
fn a_child_in_use_keeps_its_list_and_all_that_belongs_to_it() {
    let site = Site::new(UNLIMITED);
    site.use_by_task(&format!("app@{}", site.app.children[1]), None);
    site.steward.run("r", false);
    let kept: Vec<&String> = site.app.release().into_iter().chain([&site.app.young]).collect();
    assert_eq!(site.left(), set(kept));
}

#[test]
fn a_list_in_use_keeps_its_children() {
    let site = Site::new(UNLIMITED);
    let in_use = json!([format!("{HOST}/app@{}", site.app.index)]);
    site.aws().cloud(|cloud| cloud.upload(&format!("{BUCKET}/usage/eks.json"), &in_use.to_string()));
    site.steward.run("r", false);
    let kept: Vec<&String> = site.app.release().into_iter().chain([&site.app.young]).collect();
    assert_eq!(site.left(), set(kept));
}

#[test]
fn what_services_deploy_and_the_next_tasks_may_be_stays() {
    let site = Site::new(UNLIMITED);
    site.aws().cloud(|cloud| {
        let image = |number: usize| format!("{HOST}/app:ci-{number}");
        // Six revisions, of which the last five count; the service still runs the first.
        let revisions: Vec<String> =
            (0..6).map(|number| cloud.ecs.register("web", &[&image(number)])).collect();
        cloud.ecs.add_service("prod", "web", &[&revisions[5], &revisions[0]]);
        cloud.ecs.page = 2;
    });
    site.steward.run("r", false);
    let kept: Vec<&String> = site.app.old.iter().chain([&site.app.young]).collect();
    assert_eq!(site.left(), set(kept));
    // Without the service only the last five revisions.
    let site = Site::new(UNLIMITED);
    site.aws().cloud(|cloud| {
        for number in 0..6 {
            cloud.ecs.register("web", &[&format!("{HOST}/app:ci-{number}")]);
        }
    });
    site.steward.run("r", false);
    let kept: Vec<&String> = site.app.old[1..].iter().chain([&site.app.young]).collect();
    assert_eq!(site.left(), set(kept));
}

#[test]
fn what_functions_run_stays_old_versions_too() {
    let site = Site::new(UNLIMITED);
    site.aws().cloud(|cloud| {
        let resolved = |digest: &str| format!("{HOST}/app@{digest}");
        cloud.functions.add_zip("other");
        cloud.functions.add("job", "$LATEST", &format!("{HOST}/app:latest"), &resolved(&site.app.old[1]));
        cloud.functions.add("job", "1", &format!("{HOST}/app:latest"), &resolved(&site.app.old[2]));
        cloud.functions.add("job", "2", &format!("{HOST}/app:ci-4"), &resolved(&site.app.old[4]));
        cloud.functions.page = 2;
    });
    site.steward.run("r", false);
    let app = &site.app;
    assert_eq!(site.left(), set([&app.old[1], &app.old[2], &app.old[4], &app.young]));
}

#[test]
fn what_is_used_between_plan_and_deletion_stays() {
    let site = Site::new(UNLIMITED);
    let start: fn(&mut Registry, &mut Cloud) = |_, cloud| use_by_task(cloud, "app:ci-2", None);
    // It starts as soon as the repository is read, which the plan is made of.
    site.aws().fault("DescribeImages", Fault::Then(start), 1);
    let report = site.steward.run("r", false);
    assert_eq!(site.left(), set([&site.app.old[2], &site.app.young]));
    assert_eq!(of(&report, "app")["protectedByUse"]["imageTotalCount"], 1, "{report:#}");
}

#[test]
fn what_is_tagged_or_pulled_between_plan_and_deletion_stays() {
    let site = Site::new(UNLIMITED);
    let touch: fn(&mut Registry, &mut Cloud) = |registry, _| {
        let images = &mut registry.repositories.get_mut("app").unwrap().images;
        let named = |tag: &str| images.iter().position(|image| image.tags.contains(tag)).unwrap();
        let (tagged, pulled) = (named("ci-1"), named("ci-2"));
        images[tagged].tags.insert("production".to_owned());
        images[pulled].last_pulled_at = Some(1_900_000_000.0);
    };
    site.aws().fault("DescribeImages", Fault::Then(touch), 1);
    let report = site.steward.run("r", false);
    assert_eq!(site.left(), set([&site.app.old[1], &site.app.old[2], &site.app.young]), "{report:#}");
    let mut details: Vec<&str> = of(&report, "app")["results"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|image| image["outcome"] == "BLOCKED")
        .map(|image| image["detail"].as_str().unwrap())
        .collect();
    details.sort_unstable();
    assert_eq!(
        details,
        ["it was pulled since the plan was made", "its tags have changed since the plan was made"]
    );
}

#[test]
fn where_a_source_of_use_is_down_nothing_is_deleted() {
    for operation in [
        "ListClusters",
        "ListTasks",
        "DescribeTasks",
        "ListServices",
        "DescribeServices",
        "ListTaskDefinitions",
        "DescribeTaskDefinition",
        "ListFunctions",
        "GetFunction",
        "ListObjectsV2",
    ] {
        let site = Site::new(UNLIMITED);
        site.aws().cloud(|cloud| {
            let definition = cloud.ecs.register("other", &["other:1"]);
            cloud.ecs.run_task("prod", &definition, None);
            cloud.ecs.add_service("prod", "other", &[&definition]);
            cloud.functions.add("job", "1", "other:2", &other('a'));
        });
        // What only lists what is in use; other lists are of the run.
        let input = Steward::begin("r", false);
        site.aws().fault(operation, Fault::Denied, 1);
        let taken = site.steward.take_inventory(&input).response();
        site.aws().heal();
        for key in site.steward.batches(&taken) {
            site.steward.work(&taken, &key);
        }
        let report = site.steward.report(&taken);
        site.assert_untouched(operation);
        assert_eq!(report["status"], "ATTENTION", "{operation}: {report:#}");
        assert_eq!(report["gaps"].as_array().unwrap().len(), 1, "{operation}: {report:#}");
        assert_eq!(of(&report, "app")["status"], "BLOCKED");
        assert_eq!(of(&report, "app")["blockers"][0]["code"], "usage-unknown");
    }
}

#[test]
fn a_source_that_is_down_when_it_is_asked_again_blocks_deletion_too() {
    let site = Site::new(UNLIMITED);
    site.aws().fault_from("ListFunctions", Fault::Denied, 1);
    let report = site.steward.run("r", false);
    site.assert_untouched("down when asked again");
    assert_eq!(of(&report, "app")["blockers"][0]["code"], "usage-unknown", "{report:#}");
}

#[test]
fn a_list_that_is_old_missing_or_unreadable_blocks_deletion_in_its_scope() {
    let upload = |site: &Site, content: &str, hours: f64| {
        site.aws().cloud(|cloud| {
            let path = format!("{BUCKET}/usage/eks.json");
            cloud.upload(&path, content);
            cloud.age(&path, hours);
        });
    };
    // A day is young enough, unless the policies file says otherwise.
    let site = Site::new(UNLIMITED);
    upload(&site, "[]", 23.0);
    site.steward.run("r", false);
    assert_eq!(site.left(), set([&site.app.young]));
    let site = Site::new(UNLIMITED);
    upload(&site, "[]", 25.0);
    site.steward.run("r", false);
    site.assert_untouched("too old");
    let site = Site::new(UNLIMITED);
    upload(&site, r#"["not a reference"]"#, 1.0);
    site.steward.run("r", false);
    site.assert_untouched("unreadable");
    let site = Site::new(UNLIMITED);
    upload(&site, "[]", -2.0);
    site.steward.run("r", false);
    site.assert_untouched("of the future");
    // What the policies file names has to be there, for the repositories that it is about.
    for (scope, is_held) in [("[app]", true), ("['other/*']", false)] {
        let list = format!("usage: {{ lists: [{{ key: usage/shop.json, repositories: {scope} }}] }}\n");
        let site = Site::new(UNLIMITED);
        site.aws().cloud(|cloud| {
            cloud.upload(&format!("{BUCKET}/policies.yaml"), &format!("{}{list}", policies_file(UNLIMITED)))
        });
        let report = site.steward.run("r", false);
        if is_held {
            site.assert_untouched("missing");
        } else {
            assert_eq!(site.left(), set([&site.app.young]), "{report:#}");
        }
        assert_eq!(report["status"], "ATTENTION", "a list is missing: {report:#}");
    }
}

#[test]
fn a_plan_past_a_limit_is_not_executed_at_all() {
    for (limits, code) in [
        ("images: 6, percent: 100, remaining: 1", "limit-images"),
        ("images: 100, percent: 87, remaining: 1", "limit-percent"),
        ("images: 100, percent: 100, remaining: 2", "limit-remaining"),
    ] {
        let site = Site::new(&format!(", apply: delete, limits: {{ {limits} }}"));
        let report = site.steward.run("r", false);
        site.assert_untouched(code);
        let app = of(&report, "app");
        assert_eq!(app["status"], "BLOCKED", "{report:#}");
        assert_eq!(app["blockers"].as_array().unwrap().len(), 1, "{app:#}");
        assert_eq!(app["blockers"][0]["code"], code);
        assert_eq!(report["totals"]["blocked"]["imageTotalCount"], 10);
    }
}

#[test]
fn a_policy_that_would_empty_a_repository_is_blocked_without_a_setting() {
    let site = Site::new(", apply: delete");
    site.aws().with(|registry| registry.repositories.get_mut("app").unwrap().age(&site.app.young, 99.0));
    let report = site.steward.run("r", false);
    site.assert_untouched("emptied");
    let codes: Vec<&Value> =
        of(&report, "app")["blockers"].as_array().unwrap().iter().map(|blocker| &blocker["code"]).collect();
    assert_eq!(codes, ["limit-percent", "limit-remaining"]);
}

#[test]
fn an_invalid_policies_file_is_none_and_the_report_says_everything() {
    let site = Site::new(", apply: delet, limits: { percent: 200 }");
    let input = Steward::begin("r", false);
    let (error_type, message) = site.steward.take_inventory(&input).error();
    assert_eq!(error_type, "InvalidPoliciesFile");
    for part in ["policies.yaml: ", "/policies/0/apply", "/policies/0/limits/percent"] {
        assert!(message.contains(part), "{message}");
    }
    site.assert_untouched("an invalid book");
    // What Step Functions hands to the report when it has caught that.
    let cause = json!({ "errorType": error_type, "errorMessage": message }).to_string();
    let mut caught = input;
    caught["error"] = json!({ "Error": error_type, "Cause": cause });
    let report = site.steward.report(&caught);
    assert_eq!(report["status"], "FAILED");
    assert_eq!(report["error"], format!("InvalidPoliciesFile: {message}"));
    let mails = site.aws().cloud(|cloud| cloud.published.clone());
    assert_eq!(mails[0].0, "ECR: the lifecycle run failed");
    assert!(mails[0].1.contains("/policies/0/apply"), "{mails:?}");
}

#[test]
fn a_clock_that_is_far_off_deletes_nothing() {
    for seconds in [-86_400, 3600, 86_400 * 365] {
        let site = Site::new(UNLIMITED);
        let taken = site.steward.take_inventory(&Steward::begin("r", false)).response();
        site.aws().cloud(|cloud| cloud.clock_offset = seconds);
        for key in site.steward.batches(&taken) {
            let (error_type, message) = site.steward.invoke(&Steward::task(&taken, &key)).error();
            assert_eq!(error_type, "WrongClock");
            assert!(message.contains("a clock is wrong"), "{message}");
        }
        site.assert_untouched("the clock at the batch");
        let (error_type, _) = site.steward.take_inventory(&Steward::begin("s", false)).error();
        assert_eq!(error_type, "WrongClock");
    }
    // Images of the future say the same.
    let site = Site::new(UNLIMITED);
    site.aws().with(|registry| registry.repositories.get_mut("app").unwrap().age(&site.app.young, -1.0));
    let report = site.steward.run("r", false);
    site.assert_untouched("an image of the future");
    assert_eq!(of(&report, "app")["blockers"][0]["code"], "clock", "{report:#}");
}

#[test]
fn a_dry_run_and_a_policy_that_is_only_previewed_change_nothing() {
    for (more, dry_run) in [(UNLIMITED, true), ("", false), (", apply: attach", true)] {
        let site = Site::new(more);
        let report = site.steward.run("r", dry_run);
        site.assert_untouched(more);
        assert_eq!(report["totals"]["expiring"]["imageTotalCount"], 10, "{report:#}");
        let app = of(&report, "app");
        let planned = app["results"].as_array().unwrap().iter().filter(|image| image["outcome"] == "PLANNED");
        assert_eq!(planned.count(), 10, "{app:#}");
    }
}

#[test]
fn where_manifest_lists_cannot_be_read_nothing_is_deleted() {
    let site = Site::new(UNLIMITED);
    site.aws().fault_from("BatchGetImage", Fault::Denied, 0);
    let report = site.steward.run("r", false);
    site.assert_untouched("denied");
    assert_eq!(of(&report, "app")["status"], "FAILED");
    let error = of(&report, "app")["error"].as_str().unwrap();
    assert!(error.starts_with("BatchGetImage: the role that calls is not allowed"), "{error}");
}

#[test]
fn an_index_that_is_not_understood_blocks_deletion_and_is_read_again() {
    let site = Site::new(UNLIMITED);
    let index = site.aws().with(|registry| {
        let app = registry.repositories.get_mut("app").unwrap();
        let children = site.app.children.each_ref().map(String::as_str);
        app.push_index_with_a_key_twice(&children, &["odd"])
    });
    for run in ["first", "second"] {
        site.aws().forget_calls();
        let report = site.steward.run(run, false);
        assert_eq!(site.left(), set(site.app.all().iter().chain([&index])), "{run}");
        let app = of(&report, "app");
        assert_eq!(app["status"], "BLOCKED", "{report:#}");
        assert_eq!(app["blockers"][0]["code"], "unread-manifest-lists", "{app:#}");
        assert_eq!(site.aws().count("BatchGetImage"), 1, "it is not taken for one without children");
    }
}

#[test]
fn a_signature_by_tag_is_kept_with_what_runs_and_deleted_with_its_image() {
    let site = Site::new(UNLIMITED);
    let [kept, gone] = [&site.app.index, &site.app.old[0]].map(|subject| {
        let tag = format!("{}.sig", subject.replace(':', "-"));
        site.aws().with(|registry| {
            let app = registry.repositories.get_mut("app").unwrap();
            let signature = app.push(&format!("signature of {subject}"), &[&tag]);
            app.age(&signature, 30.0);
            signature
        })
    });
    site.use_by_task("app:v1", None);
    let report = site.steward.run("r", false);
    let left: Vec<&String> = site.app.release().into_iter().chain([&site.app.young, &kept]).collect();
    assert_eq!(site.left(), set(left), "{report:#}");
    let calls = site.aws().calls();
    let step_of = |digest: &str| {
        calls.iter().position(|call| {
            call.operation == "BatchDeleteImage" && call.request.to_string().contains(digest)
        })
    };
    assert!(step_of(&site.app.old[0]).is_some() && step_of(&site.app.old[0]) < step_of(&gone));
}

#[test]
fn what_ecr_refuses_is_reported_image_by_image_and_keeps_what_belongs_to_it() {
    let site = Site::new(UNLIMITED);
    let index: &'static str = site.app.index.clone().leak();
    site.aws().fault_from("BatchDeleteImage", Fault::ForImages(index), 0);
    let report = site.steward.run("r", false);
    let kept: Vec<&String> = site.app.release().into_iter().chain([&site.app.young]).collect();
    assert_eq!(site.left(), set(kept), "the signature and the children stay with their index");
    let app = of(&report, "app");
    assert_eq!(app["status"], "PARTIAL");
    let failed: Vec<&Value> =
        app["results"].as_array().unwrap().iter().filter(|image| image["outcome"] == "FAILED").collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["detail"], "KmsError: the key is disabled");
    // ECR was not asked for what would have been refused.
    let asked = site.aws().calls().into_iter().filter(|call| call.operation == "BatchDeleteImage");
    let asked: String = asked.map(|call| call.request.to_string()).collect();
    assert!(!asked.contains(&site.app.signature) && !asked.contains(&site.app.children[0]));
    site.aws().heal();
    site.steward.run("s", false);
    assert_eq!(site.left(), set([&site.app.young]), "the next run completes it");
}

#[test]
fn transient_errors_of_aws_change_nothing_about_the_outcome() {
    let operations = [
        "DescribeRepositories",
        "DescribeImages",
        "BatchGetImage",
        "BatchDeleteImage",
        "GetLifecyclePolicy",
        "GetObject",
        "PutObject",
        "ListObjectsV2",
        "ListTasks",
        "DescribeTaskDefinition",
        "ListFunctions",
    ];
    let faults = [
        Fault::Throttled,
        Fault::ServerError,
        Fault::Unavailable,
        Fault::Cut,
        Fault::AfterEffect(Box::new(Fault::ServerError)),
        Fault::AfterEffect(Box::new(Fault::Cut)),
        Fault::Slow(Duration::from_millis(300)),
    ];
    for fault in faults {
        let site = Site::new(UNLIMITED);
        site.use_by_task("app:ci-0", None);
        for operation in operations {
            site.aws().fault(operation, fault.clone(), 1);
        }
        let report = site.steward.run("r", false);
        assert_eq!(site.left(), set([&site.app.old[0], &site.app.young]), "{fault:?}: {report:#}");
        // What was deleted by a call whose answer was lost is found gone, and is no failure.
        assert_eq!(report["totals"]["failed"]["imageTotalCount"], 0, "{fault:?}: {report:#}");
        assert_eq!(report["status"], "SUCCEEDED", "{fault:?}: {report:#}");
    }
}

#[test]
fn calls_that_are_never_answered_are_made_again() {
    let site = Site::new(UNLIMITED);
    site.use_by_task("app:ci-0", None);
    for operation in ["DescribeImages", "ListTasks", "BatchDeleteImage"] {
        site.aws().fault(operation, Fault::Hang, 1);
    }
    let report = site.steward.run("r", false);
    assert_eq!(site.left(), set([&site.app.old[0], &site.app.young]), "{report:#}");
    assert_eq!(report["status"], "SUCCEEDED", "{report:#}");
}

#[test]
fn a_function_that_is_killed_leaves_the_rest_to_the_next_run() {
    let site = Site::new(UNLIMITED);
    site.use_by_task("app:ci-0", None);
    let taken = site.steward.take_inventory(&Steward::begin("first", false)).response();
    let key = site.steward.batches(&taken).remove(0);
    // The second deletion is never answered, and the function is killed while it waits.
    site.aws().fault_from("BatchDeleteImage", Fault::Hang, 1);
    {
        let doomed = cloud::function(site.aws(), "lifecycle-enforce", PLENTY);
        doomed.hand(Steward::task(&taken, &key).to_string());
        while site.aws().count("BatchDeleteImage") < 1 || !is_waiting(&site) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    site.aws().heal();
    let before = site.left();
    assert!(before.len() > 2 && before.len() < 11, "some of it went: {}", before.len());
    let report = site.steward.report(&taken);
    assert_eq!(report["status"], "ATTENTION");
    assert_eq!(report["unfinishedBatches"], json!([key]));
    assert!(!report["unreportedJournal"].as_array().unwrap().is_empty(), "{report:#}");
    let report = site.steward.run("second", false);
    assert_eq!(site.left(), set([&site.app.old[0], &site.app.young]), "{report:#}");
    assert_eq!(report["status"], "SUCCEEDED");
}

/// Whether what is about to be deleted second is written down.
fn is_waiting(site: &Site) -> bool {
    site.aws().cloud(|cloud| cloud.keys(BUCKET, "journal/").len()) >= 2
}

#[test]
fn what_time_does_not_suffice_for_another_invocation_does() {
    let names: Vec<String> = (0..12).map(|number| format!("app/{number:02}")).collect();
    let aws = EcrStub::start();
    aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), &policies_file(UNLIMITED)));
    let young: Vec<String> = aws.with(|registry| {
        let filled = names.iter().map(|name| {
            let mut repository = repository(name);
            let images = fill(&mut repository, name);
            registry.repositories.insert(name.clone(), repository);
            images.young
        });
        filled.collect()
    });
    let steward = Steward::on(aws);
    let taken = steward.take_inventory(&Steward::begin("r", false)).response();
    let key = steward.batches(&taken).remove(0);
    // Each deletion takes its time, and an invocation has little of it.
    steward.aws.fault_from("BatchDeleteImage", Fault::Slow(Duration::from_millis(700)), 0);
    let hasty = cloud::function(&steward.aws, "lifecycle-enforce", Duration::from_secs(18));
    let mut task = Steward::task(&taken, &key);
    let mut invocations = 0;
    while task["isComplete"] == false {
        let before = task["done"].as_u64().unwrap();
        task = hasty.invoke(task.to_string()).response();
        assert!(task["done"].as_u64().unwrap() >= before);
        invocations += 1;
        assert!(invocations < 12, "{task}");
    }
    assert!(invocations > 1);
    for (name, young) in names.iter().zip(&young) {
        assert_eq!(steward.digests(name), set([young]), "{name}");
    }
    let report = steward.report(&taken);
    assert_eq!(report["status"], "SUCCEEDED", "{report:#}");
    assert_eq!(
        report["totals"]["deleted"]["imageTotalCount"], 120,
        "what several invocations did is added up"
    );
    assert_eq!(report["totals"]["repositories"], 12);
}

/// A policies file with several policies, by names and resource tags.
#[test]
fn the_first_policy_that_matches_is_the_one_and_others_are_left_alone() {
    let steward = Steward::with_policies_file(
        "policies:
- { name: payments, repositories: ['prod/*'], tags: { team: payments }, rules: [{ selection: any, maximumAgeLimit: 400 }], apply: delete }
- { name: production, repositories: ['prod/*'], rules: [{ selection: any, maximumAgeLimit: 14 }], apply: delete,
    limits: { images: 100, percent: 100, remaining: 1 } }
",
    );
    let images: Vec<Images> = ["prod/pay", "prod/web", "dev/web"]
        .iter()
        .map(|name| {
            steward.aws.with(|registry| {
                let mut repository = repository(name);
                let images = fill(&mut repository, name);
                if *name == "prod/pay" {
                    repository.tags.insert("team".to_owned(), "payments".to_owned());
                }
                registry.repositories.insert((*name).to_owned(), repository);
                images
            })
        })
        .collect();
    let report = steward.run("r", false);
    assert_eq!(steward.digests("prod/pay"), images[0].all());
    assert_eq!(steward.digests("prod/web"), set([&images[1].young]));
    assert_eq!(steward.digests("dev/web"), images[2].all());
    assert_eq!(report["unmatched"], json!(["dev/web"]));
    assert_eq!(report["policies"]["production"]["deleted"]["imageTotalCount"], 10);
    // Tags are asked for where they decide, and once more before something goes.
    assert_eq!(steward.aws.count("ListTagsForResource"), 3);
}

#[test]
fn without_a_policies_file_no_repository_has_a_policy_and_the_report_says_so() {
    let aws = EcrStub::start();
    aws.with(|registry| registry.repositories.insert("app".to_owned(), repository("app")));
    let steward = Steward::on(aws);
    let report = steward.run("r", false);
    assert_eq!(report["hasPoliciesFile"], false);
    assert_eq!(report["unmatched"], json!(["app"]));
    assert_eq!(report["status"], "SUCCEEDED");
    let mails = steward.aws.cloud(|cloud| cloud.published.clone());
    assert!(mails[0].1.contains("There is no policies.yaml"), "{mails:?}");
}

mod attached {
    use super::*;
    use shared::domain::image::listing::Listing;
    use shared::domain::lifecycle::{LifecyclePolicy, Passes, evaluate};
    use shared::domain::text::instant::Instant;

    const ATTACH: &str = ", apply: attach, limits: { images: 10000, percent: 100, remaining: 1 }";

    /// What ECR makes of the repository by itself.
    trait ByEcr {
        fn policy(&self) -> Option<String>;
        fn tags(&self, digest: &str) -> Vec<String>;
        fn taken_by_ecr(&self) -> BTreeSet<String>;
    }

    impl ByEcr for Site {
        fn policy(&self) -> Option<String> {
            self.aws().with(|registry| registry.repositories["app"].lifecycle_policy.clone())
        }

        fn tags(&self, digest: &str) -> Vec<String> {
            self.aws().with(|registry| {
                let images = &registry.repositories["app"].images;
                let image = images.iter().find(|image| image.digest == digest).unwrap();
                image.tags.iter().cloned().collect()
            })
        }

        /// What ECR would take by the attached policy, by itself.
        fn taken_by_ecr(&self) -> BTreeSet<String> {
            let (details, manifests): (Vec<Value>, Vec<Value>) = self.aws().with(|registry| {
                let images = &registry.repositories["app"].images;
                let details = images.iter().map(|image| {
                    json!({ "imageDigest": image.digest, "imageTags": image.tags, "imagePushedAt": image.pushed_at,
                        "imageManifestMediaType": image.media_type, "subjectManifestDigest": image.subject })
                });
                let manifests = images.iter().filter(|image| image.media_type.contains("index")).map(
                    |image| json!({ "imageId": { "imageDigest": image.digest }, "imageManifest": image.manifest }),
                );
                (details.collect(), manifests.collect())
            });
            let listing = json!({ "imageDetails": details, "images": manifests }).to_string();
            let images = Listing::parse(&listing).unwrap().repositories.remove(0).images;
            let policy = LifecyclePolicy::parse(&self.policy().unwrap()).unwrap();
            let none = std::collections::HashSet::new();
            let evaluation = evaluate(Some(&policy), &images, &none, Instant::now(), Passes::UntilStable);
            images
                .images()
                .iter()
                .zip(evaluation.verdicts())
                .filter(|(_, verdict)| verdict.acting_rule().is_some())
                .map(|(image, _)| image.digest.to_string())
                .collect()
        }
    }

    #[test]
    fn ecr_expires_what_the_policy_expires_but_nothing_in_use() {
        let site = Site::new(ATTACH);
        site.use_by_task("app:ci-0", None);
        site.use_by_task("app:v1", Some(&site.app.children[0].clone()));
        let report = site.steward.run("r", false);
        assert_eq!(report["status"], "SUCCEEDED", "{report:#}");
        assert_eq!(site.aws().count("BatchDeleteImage"), 0);
        let expected: BTreeSet<String> = site.app.old[1..].iter().cloned().collect();
        assert_eq!(site.taken_by_ecr(), expected);
        let hex = |digest: &str| digest.trim_start_matches("sha256:").to_owned();
        assert!(
            site.tags(&site.app.old[0]).contains(&format!("ecr-steward-in-use-{}", hex(&site.app.old[0])))
        );
        assert_eq!(of(&report, "app")["attachment"]["lifecyclePolicy"], "ATTACHED");
        assert_eq!(of(&report, "app")["drift"], json!(["no lifecycle policy is attached"]));
        // The next run finds everything as it should be.
        site.aws().forget_calls();
        let report = site.steward.run("s", false);
        for operation in ["PutImage", "PutLifecyclePolicy", "BatchDeleteImage", "BatchGetImage"] {
            assert_eq!(site.aws().count(operation), 0, "{operation}: {report:#}");
        }
    }

    #[test]
    fn what_once_ran_is_deleted_by_this_stack_and_never_expired_by_ecr() {
        let site = Site::new(ATTACH);
        site.use_by_task("app:ci-0", None);
        // Untagged, and run by its digest.
        let lone = site.aws().with(|registry| {
            let app = registry.repositories.get_mut("app").unwrap();
            let lone = app.push("lone", &[]);
            app.age(&lone, 40.0);
            lone
        });
        site.use_by_task("app:other", Some(&lone));
        site.steward.run("r", false);
        assert_eq!(site.tags(&lone).len(), 1);
        assert!(!site.taken_by_ecr().contains(&lone));
        site.aws().cloud(|cloud| cloud.ecs.stop_all());
        assert!(!site.taken_by_ecr().contains(&lone), "ECR goes by its tag");
        // A dry run tells of it, and a run that may enforce takes it with what it has to say of it.
        let report = site.steward.run("dry", true);
        assert!(site.left().contains(&lone), "{report:#}");
        let report = site.steward.run("s", false);
        assert!(!site.left().contains(&lone) && !site.left().contains(&site.app.old[0]), "{report:#}");
        assert_eq!(of(&report, "app")["status"], "DONE", "{report:#}");
        let journal: String = site.aws().cloud(|cloud| {
            let keys = cloud.keys(BUCKET, "journal/");
            keys.iter().filter_map(|key| cloud.object_text(&format!("{BUCKET}/{key}"))).collect()
        });
        assert!(journal.contains(&lone) && journal.contains(&site.app.old[0]), "{journal}");
        assert_eq!(of(&report, "app")["deleted"]["imageTotalCount"], 2, "{report:#}");
    }

    #[test]
    fn tags_that_cannot_be_moved_block_nothing() {
        let site = Site::new(ATTACH);
        site.aws().with(|registry| {
            registry.repositories.get_mut("app").unwrap().described["imageTagMutability"] =
                "IMMUTABLE".into();
        });
        site.use_by_task("app:ci-0", None);
        for run in ["r", "s"] {
            let report = site.steward.run(run, false);
            assert_eq!(report["status"], "SUCCEEDED", "{report:#}");
        }
        assert!(!site.taken_by_ecr().contains(&site.app.old[0]));
    }

    #[test]
    fn where_use_is_unknown_or_a_limit_is_passed_the_policy_rests() {
        let site = Site::new(ATTACH);
        site.use_by_task("app:ci-0", None);
        site.aws().fault_from("ListTasks", Fault::Denied, 0);
        let report = site.steward.run("r", false);
        assert_eq!(site.policy(), None, "nothing is attached");
        assert_eq!(of(&report, "app")["status"], "BLOCKED");
        site.aws().heal();
        site.steward.run("s", false);
        assert!(!site.taken_by_ecr().is_empty());
        site.aws().fault_from("ListTasks", Fault::Denied, 0);
        let tags = site.tags(&site.app.old[0]);
        let report = site.steward.run("t", false);
        assert_eq!(of(&report, "app")["attachment"]["lifecyclePolicy"], "SUSPENDED", "{report:#}");
        assert_eq!(site.taken_by_ecr(), BTreeSet::new());
        assert_eq!(site.tags(&site.app.old[0]), tags, "what may be in use keeps its tag");
        site.aws().heal();
        site.steward.run("u", false);
        assert!(!site.taken_by_ecr().is_empty(), "it acts again");
        let narrow = policies_file(", apply: attach, limits: { images: 3, percent: 100, remaining: 1 }");
        site.aws().cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), &narrow));
        let report = site.steward.run("v", false);
        assert_eq!(of(&report, "app")["blockers"][0]["code"], "limit-images");
        assert_eq!(site.taken_by_ecr(), BTreeSet::new());
    }
}

#[test]
fn the_roles_allow_what_the_functions_do_and_nothing_else() {
    const QUEUE: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/changes";
    let aws = tests::ecr_stub::EcrStub::start();
    let file = tests::steward::approved(
        "policies:
- { name: attached, repositories: ['attached'], rules: [{ selection: any, maximumAgeLimit: 14 }], apply: attach,
    limits: { images: 100, percent: 100, remaining: 1 } }
- { name: archived, repositories: ['archived'], tags: { a: b }, apply: delete,
    rules: [{ selection: untagged, maximumAgeLimit: 14 }, { selection: { tagPrefixList: [ci-] }, maximumDaysSincePull: 7, action: archive }],
    limits: { images: 100, percent: 100, remaining: 1 } }
usage: { stacks: true }
",
    );
    aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), &file));
    let steward = Steward::of(aws, |aws, name| {
        tests::cloud::function_with(aws, name, tests::steward::PLENTY, &[("QUEUE_URL", QUEUE)])
    });
    steward.aws.cloud(|cloud| cloud.queues.send_event(QUEUE, "archived", "PUSH", tests::clock::micros()));
    steward.aws.with(|registry| {
        for name in ["attached", "archived"] {
            let mut repository = repository(name);
            fill(&mut repository, name);
            let orphan = repository.push("orphan", &[]);
            repository.age(&orphan, 60.0);
            repository.tags.insert("a".to_owned(), "b".to_owned());
            registry.repositories.insert(name.to_owned(), repository);
        }
        registry.repositories.insert("forgotten".to_owned(), repository("forgotten"));
    });
    steward.aws.cloud(|cloud| {
        use_by_task(cloud, "attached:ci-0", None);
        let definition = cloud.ecs.register("web", &["attached:ci-1"]);
        cloud.ecs.add_service("prod", "web", &[&definition]);
        cloud.functions.add("job", "1", "attached:ci-1", &other('c'));
        cloud.ecs.register_daemon("agent", &["agent:1"]);
        cloud.ecs.add_daemon("prod", "agent", "agent:1", &other('d'));
        let nightly = cloud.ecs.register("nightly", &["nightly:1"]);
        let sources = &mut cloud.sources;
        sources.rules.start_tasks("default", "nightly", "prod", &nightly);
        sources.schedules.start_tasks("default", "nightly", "prod", &nightly);
        sources.pipes.start_tasks("nightly", "prod", &nightly);
        sources.machines.start_tasks("nightly", &nightly);
        sources.projects.projects.push(("build".to_owned(), "builder:1".to_owned()));
        sources.app_runner.create("web", "web:1", 1.0);
        sources.agentcore.update_runtime("agent", Some("agent:2"), 1.0);
        sources.agentcore.update_harness("harness", Some("agent:3"), 1.0);
        sources.emr_serverless.create("spark", "spark:1", None);
        sources.emr_serverless.start_session("spark", "notebook");
        sources.emr_serverless.run_job("spark", "job", "RUNNING", "spark:1", None);
        let package = sources.models.package("group", "packed:1");
        sources.models.create("model", &json!({ "ModelPackageName": package }));
        sources.models.deploy("endpoint", "served:1", "served:1");
        cloud.stacks.create("stack", "{}", &[]);
        cloud.upload(&format!("{BUCKET}/usage/eks.json"), "[]");
        // Its policy was attached once, and nobody has one for it any more.
        let record = json!({ "registryId": "123456789012", "repositoryName": "forgotten", "mode": "attach",
            "refreshedAt": "2026-11-20T03:00:00Z", "refreshedBy": "run" });
        cloud.upload(&format!("{BUCKET}/state/protection/forgotten.json"), &record.to_string());
    });
    // Reading use is one policy for all that have to know it: each part of it is for one of them at least.
    let mut of_use = tests::template::actions("ReadUsagePolicy");
    // Objects of its own every function reads.
    of_use.remove("s3:GetObject");
    let mut used = BTreeSet::new();
    let mut check = |called: BTreeSet<String>, function: &str| {
        let own: BTreeSet<String> = called.difference(&of_use).cloned().collect();
        assert_eq!(own, tests::template::actions(function), "{function}");
        assert!(called.is_subset(&tests::template::role(function)), "{function}: {called:?}");
        used.extend(called.intersection(&of_use).cloned());
    };
    let called = |steward: &Steward, is_of_role: fn(&str) -> bool| -> BTreeSet<String> {
        let calls = steward.aws.calls();
        steward.aws.forget_calls();
        let actions = calls.iter().map(|call| match call.operation.as_str() {
            operation if operation.contains("Object") => match operation {
                "ListObjectsV2" => "s3:ListBucket".to_owned(),
                operation => format!("s3:{operation}"),
            },
            "Publish" => "sns:Publish".to_owned(),
            "ReceiveMessage" => "sqs:ReceiveMessage".to_owned(),
            "DeleteMessageBatch" => "sqs:DeleteMessage".to_owned(),
            "GetParameters" => "ssm:GetParameters".to_owned(),
            operation @ ("DescribeStacks" | "GetTemplate") => format!("cloudformation:{operation}"),
            TAGGED_RESOURCES => "tag:GetResources".to_owned(),
            operation @ ("ListFunctions" | "GetFunction") => format!("lambda:{operation}"),
            operation if operation.contains(':') => operation.to_owned(),
            operation
                if ["Task", "Service", "Cluster", "Daemon"].iter().any(|part| operation.contains(part)) =>
            {
                format!("ecs:{operation}")
            }
            operation => format!("ecr:{operation}"),
        });
        actions.filter(|action| is_of_role(action)).collect()
    };
    let taken = steward.take_inventory(&Steward::begin("r", false)).response();
    check(called(&steward, |_| true), "LifecycleInventoryFunction");
    // What is new since is asked for.
    steward.aws.cloud(|cloud| {
        let definition = cloud.ecs.register("web", &["other:1"]);
        cloud.ecs.run_task("prod", &definition, None);
        cloud.functions.add("job", "2", "other:2", &other('a'));
    });
    for key in steward.batches(&taken) {
        steward.work(&taken, &key);
    }
    check(called(&steward, |_| true), "LifecycleEnforceFunction");
    steward.report(&taken);
    check(called(&steward, |_| true), "LifecycleReportFunction");
    let taken = steward.take_inventory(&Steward::begin("s", true)).response();
    called(&steward, |_| true);
    for key in steward.batches(&taken) {
        assert!(key.contains("/preview/"));
        steward.work(&taken, &key);
    }
    steward.aws.cloud(|cloud| {
        cloud.ecs.register("web", &["other:2"]);
        cloud.functions.add("job", "3", "other:3", &other('b'));
    });
    let preview = cloud::function(&steward.aws, "lifecycle-preview", PLENTY);
    let answer = preview.invoke(json!({ "repositoryName": "attached" }).to_string());
    assert!(matches!(answer, Answer::Response(_)), "{answer:?}");
    // Manifests are read where nobody read them before.
    steward.aws.with(|registry| {
        let attached = registry.repositories.get_mut("attached").unwrap();
        let child = attached.push("child", &[]);
        attached.push_index(&[&child], &["v9"]);
    });
    preview.invoke(json!({ "repositoryName": "attached" }).to_string()).response();
    check(called(&steward, |_| true), "LifecyclePreviewFunction");
    assert_eq!(used, of_use);
}

#[test]
fn the_sample_events_are_what_the_functions_accept() {
    let sample = |name: &str| -> Value {
        let path = tests::binaries::workspace().join(format!("tests/events/lifecycle-{name}.json"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    let site = Site::new(", apply: delete, limits: { percent: 95 }");
    let taken = site.steward.take_inventory(&sample("inventory")).response();
    let batches = site.steward.batches(&taken);
    let attempt = taken["run"]["attempt"].as_str().unwrap();
    assert_eq!(batches, [format!("runs/by-hand/batches/{attempt}/preview/000001.json")]);
    // Of a dry run there is nothing to enforce.
    let (error_type, message) = site.steward.invoke(&sample("enforce")).error();
    assert_eq!(error_type, "InvalidObject");
    assert!(
        message.contains(
            "runs/by-hand/batches/7a9c1e52-0d3b-4f6a-9a57-2b0c6de1f384.json: there is no such object"
        ),
        "{message}"
    );
    site.steward.work(&taken, &batches[0]);
    // Which attempt it was nobody knows before.
    let mut event = sample("report");
    event["run"]["attempt"] = attempt.into();
    event["inventory"]["attempts"] = json!([attempt]);
    let report = site.steward.report(&event);
    assert_eq!(report["totals"]["expiring"]["imageTotalCount"], 10, "{report:#}");
}

/// Calls of ECR by operation.
type Counts = std::collections::BTreeMap<String, usize>;

/// A run over a registry that was made for it: calls, the peak of memory of the enforcing function, and the report.
fn sweep(repositories: usize, images: usize, dry_run: bool) -> (Counts, u64, Value) {
    let aws = EcrStub::start();
    aws.generate(repositories, images);
    aws.only_count();
    let more = ", apply: delete, limits: { images: 10000, percent: 100, remaining: 1 }";
    aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), &policies_file(more)));
    let steward = Steward::on(aws);
    let report = steward.run("sweep", dry_run);
    let function = if dry_run { steward.preview() } else { steward.enforce() };
    (steward.aws.counts(), function.peak(), report)
}

#[test]
fn calls_and_memory_stay_flat_however_many_repositories_there_are() {
    let (_, small, _) = sweep(100, 50, true);
    let (counts, large, report) = sweep(1500, 50, true);
    assert_eq!(report["totals"]["images"]["imageTotalCount"], 75_000);
    // As few as there can be: pages of 1000, and manifests for image indexes only.
    assert_eq!(counts["DescribeRepositories"], 2);
    assert_eq!(counts["DescribeImages"], 1500);
    assert_eq!(counts["BatchGetImage"], 1500);
    assert!(large < small * 5 / 4 + 4096, "{small} kB for 100 repositories, {large} kB for 1,500");
}

#[test]
fn calls_are_the_fewest_that_there_can_be() {
    // Three pages of images each; fifty image indexes, which are read once and never again.
    let aws = EcrStub::start();
    aws.generate(5, 2500);
    aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), &policies_file("")));
    let steward = Steward::on(aws);
    for (run, manifests) in [("first", 5), ("second", 0)] {
        steward.aws.forget_calls();
        steward.run(run, false);
        let counts = ["DescribeRepositories", "DescribeImages", "BatchGetImage", "GetResources"]
            .map(|operation| steward.aws.count(operation));
        assert_eq!(counts, [1, 15, manifests, 1], "{run}");
        assert_eq!(
            steward.aws.count("GetLifecyclePolicy"),
            0,
            "{run}: nothing is in use that one could take"
        );
    }
}

#[test]
fn throttling_costs_few_calls_and_no_repository() {
    let aws = EcrStub::start();
    aws.generate(50, 50);
    aws.limit(20.0, 20.0);
    aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/state/registry.json"), r#"{"images": 10000}"#));
    let more = ", apply: delete, limits: { images: 10000, percent: 100, remaining: 1 }";
    aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), &policies_file(more)));
    let paced = [("ECR_REQUESTS_PER_SECOND", "20"), ("MAX_CONCURRENCY", "1")];
    let steward = Steward::of(aws, |aws, name| cloud::function_with(aws, name, PLENTY, &paced));
    let report = steward.run("r", false);
    assert_eq!(report["status"], "SUCCEEDED", "{report:#}");
    assert!(report["totals"]["deleted"]["imageTotalCount"].as_u64().unwrap() > 500);
    let calls: Vec<_> = steward.aws.calls();
    let of_ecr = calls.iter().filter(|call| tests::ecr_stub::OPERATIONS.contains(&call.operation.as_str()));
    let (throttled, all) = (steward.aws.throttled(), of_ecr.count());
    assert!(throttled * 33 <= all, "{throttled} of {all} calls were throttled");
}

#[test]
fn functions_side_by_side_share_the_rate_of_calls() {
    // One more than a batch has: with the stack's defaults there are two functions for them.
    const REPOSITORIES: usize = 101;
    let aws = EcrStub::start();
    aws.list(REPOSITORIES, 5, Duration::from_millis(5));
    aws.limit(20.0, 20.0);
    aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), &policies_file("")));
    let defaults = ["EcrRequestsPerSecond", "MaxConcurrency"].map(tests::template::default_of);
    let paced = [("ECR_REQUESTS_PER_SECOND", &*defaults[0]), ("MAX_CONCURRENCY", &*defaults[1])];
    let start = |aws: &EcrStub, name: &str| cloud::function_with(aws, name, PLENTY, &paced);
    let steward = Steward::of(aws, start);
    let taken = steward.take_inventory(&Steward::begin("r", true)).response();
    let functions: Vec<_> = (0..taken["maxConcurrency"].as_u64().unwrap())
        .map(|_| start(&steward.aws, "lifecycle-preview"))
        .collect();
    assert_eq!(functions.len(), 2);
    steward.work_side_by_side(&taken, functions);
    let throttled = steward.aws.throttled();
    assert!(throttled * 33 <= REPOSITORIES, "{throttled} of {REPOSITORIES} calls were throttled");
    assert_eq!(steward.report(&taken)["status"], "SUCCEEDED");
}

/// The functions of a stack on a registry that is only listed, with this rate and this `MaxConcurrency`.
fn steward_with_rate(repositories: usize, images: usize, policies: &str, rate: &str, most: &str) -> Steward {
    let aws = EcrStub::start();
    aws.list(repositories, images, Duration::ZERO);
    aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), policies));
    let paced = [("ECR_REQUESTS_PER_SECOND", rate), ("MAX_CONCURRENCY", most)];
    Steward::of(aws, |aws, name| cloud::function_with(aws, name, PLENTY, &paced))
}

#[test]
fn batches_are_divided_by_the_number_that_a_run_works_on_and_that_fits_the_rate() {
    let taken = |dry_run: bool, rate: &str, most: &str| {
        let steward = steward_with_rate(500, 0, &policies_file(UNLIMITED), rate, most);
        let taken = steward.take_inventory(&Steward::begin("r", dry_run)).response();
        (taken["maxConcurrency"].as_u64().unwrap(), steward.batches(&taken).len())
    };
    // Two read all that there is to read in a second, and have three batches each.
    assert_eq!(taken(true, "20", "8"), (2, 6));
    // Those that delete make a call a second, at least.
    assert_eq!(taken(false, "3", "100"), (3, 6));
    assert_eq!(taken(false, "20", "100"), (5, 5));
}

#[test]
fn a_preview_by_request_has_the_whole_rate_after_a_run_that_shared_it() {
    let steward = steward_with_rate(1, 12_000, &policies_file(""), "20", "1");
    let taken = steward.take_inventory(&Steward::begin("r", true)).response();
    let list = format!("{BUCKET}/{}", taken["batchesKey"].as_str().unwrap());
    steward.aws.cloud(|cloud| {
        let shared = cloud.object_text(&list).unwrap().replace("\"workers\":1", "\"workers\":10");
        assert!(shared.contains("\"workers\":10"));
        cloud.upload(&list, &shared);
    });
    let [key] = steward.batches(&taken).try_into().unwrap();
    steward.work(&taken, &key);
    let asked = json!({ "repositoryName": "fleet/00000", "lifecyclePolicy": { "rules": [
        { "selection": "any", "maximumNumberOfImages": 100_000 }] } });
    let started_at = std::time::Instant::now();
    let report = steward.preview().invoke(asked.to_string()).response();
    let took = started_at.elapsed();
    assert_eq!(report["summary"]["keptImageTotalCount"], 12_000, "{report:#}");
    // Twelve calls, of which a tenth of the rate would make two in a second.
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn a_list_of_batches_of_an_earlier_version_is_worked_on_at_the_whole_rate() {
    let steward = steward_with_rate(1, 1_000, &policies_file(""), "20", "1");
    let taken = steward.take_inventory(&Steward::begin("r", true)).response();
    let list = format!("{BUCKET}/{}", taken["batchesKey"].as_str().unwrap());
    for workers in ["", ",\"workers\":0"] {
        steward.aws.cloud(|cloud| {
            let text = cloud.object_text(&list).unwrap();
            let (before, _) = text.split_once(",\"workers\"").unwrap_or((text.trim_end_matches("}]"), ""));
            cloud.upload(&list, &format!("{before}{workers}}}]"));
        });
        let [key] = steward.batches(&taken).try_into().unwrap();
        assert_eq!(steward.work(&taken, &key), 1, "{workers}");
    }
}

/// A repository of three images of one base, two of which expire: `team` has it.
fn with_layers(aws: &EcrStub, name: &str, images: usize) -> Vec<String> {
    aws.with(|registry| {
        let mut made = repository(name);
        made.tags.insert("team".to_owned(), "payments".to_owned());
        let digests: Vec<String> = (0..images)
            .map(|number| {
                let (own, tag) = (format!("{name} {number}"), format!("v{number}"));
                made.push_layers(&[("base", 1000), (&own, 100)], &[&tag])
            })
            .collect();
        for digest in digests.iter().skip(1) {
            made.age(digest, 30.0);
        }
        registry.repositories.insert(name.to_owned(), made);
        digests
    })
}

/// The functions of a run that may make this many calls to read layers.
fn steward_that_counts_layers(aws: EcrStub, calls: &str, more: &str) -> Steward {
    aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), &policies_file(more)));
    let environment = [("LAYER_READS", calls), ("COST_TAG", "team"), ("STORAGE_PRICE", "1000000")];
    Steward::of(aws, |aws, name| cloud::function_with(aws, name, PLENTY, &environment))
}

#[test]
fn a_report_counts_each_layer_once_and_says_what_a_deletion_frees() {
    let aws = EcrStub::start();
    with_layers(&aws, "app", 3);
    let steward = steward_that_counts_layers(aws, "5", UNLIMITED);
    let exactly = |bytes: u64| json!({ "bytes": bytes, "isUpperBound": false });
    let preview = steward.run("preview", true);
    let storage = &preview["totals"]["storage"];
    // A base, and of each image a layer of its own and a configuration of one byte.
    assert_eq!(storage["standard"], exactly(1000 + 3 * 101), "{preview:#}");
    assert_eq!(preview["totals"]["images"]["imageSizeInBytes"], 3 * 1101, "the sum of sizes");
    assert_eq!((&storage["expiring"], &storage["freed"]), (&exactly(2 * 101), &exactly(0)));
    assert_eq!(steward.aws.count("BatchGetImage"), 1);
    let tag = &preview["costsByTag"][0];
    assert_eq!((&tag["value"], &tag["standard"]), (&json!("payments"), &exactly(1303)), "{preview:#}");
    assert_eq!(tag["monthlyCost"], json!({ "usd": 1.21, "isUpperBound": false }), "{preview:#}");

    let report = steward.run("run", false);
    assert_eq!(report["status"], "SUCCEEDED", "{report:#}");
    assert_eq!(report["totals"]["storage"]["freed"], exactly(2 * 101), "{report:#}");
    assert_eq!(of(&report, "app")["storage"]["freed"], exactly(2 * 101));

    steward.aws.forget_calls();
    let next = steward.run("next", true);
    assert_eq!(next["totals"]["storage"]["standard"], exactly(1000 + 101), "what went is forgotten");
    assert_eq!(steward.aws.count("BatchGetImage"), 0, "manifests do not change, and are read once");
}

#[test]
fn the_largest_repositories_are_read_first_and_the_others_are_upper_bounds() {
    let aws = EcrStub::start();
    for (name, images) in [("a-small", 2), ("b-large", 150), ("c-small", 3)] {
        with_layers(&aws, name, images);
    }
    let steward = steward_that_counts_layers(aws, "1", "");
    let bounds = |run: &str| {
        let report = steward.run(run, true);
        let bounds = ["a-small", "b-large", "c-small"]
            .map(|name| of(&report, name)["storage"]["standard"]["isUpperBound"] == true);
        (bounds, report)
    };
    // No run knows how large they are: one call for each, in the order of their names.
    let (first, report) = bounds("first");
    assert_eq!(first, [false, true, true], "{report:#}");
    assert_eq!(of(&report, "b-large")["storage"]["unreadImages"], 150);
    assert_eq!(report["totals"]["costIsUpperBound"], true);
    assert_eq!(report["totals"]["upperBounds"], 2);
    let (second, report) = bounds("second");
    assert_eq!(second, [false, true, true], "{report:#}");
    assert_eq!(of(&report, "b-large")["storage"]["unreadImages"], 50, "a call reads a hundred");
    assert_eq!(bounds("third").0, [false, false, true]);
    let (fourth, report) = bounds("fourth");
    assert_eq!(fourth, [false, false, false], "{report:#}");
    assert_eq!(report["totals"]["costIsUpperBound"], false);
    assert_eq!(steward.aws.count("BatchGetImage"), 4);
}

#[test]
fn layers_and_tags_that_cannot_be_read_are_in_the_report_and_fail_no_run() {
    for (operation, path) in [
        ("GetObject", "cache/layers"),
        ("PutObject", "cache/layers"),
        ("GetObject", "cache/storage"),
        ("PutObject", "cache/storage"),
        ("BatchGetImage", ""),
        (TAGGED_RESOURCES, ""),
    ] {
        let aws = EcrStub::start();
        with_layers(&aws, "app", 3);
        aws.fault_at(operation, path, Fault::Denied);
        // The other look at resource tags needs attention.
        let steward = steward_that_counts_layers(aws, "5", UNLIMITED);
        let report = steward.run("preview", true);
        let what = format!("{operation} {path}: {report:#}");
        assert!(report["error"].is_null(), "{what}");
        assert_eq!(of(&report, "app")["expiring"]["imageTotalCount"], 2, "{what}");
        let stored = &report["totals"]["storage"]["standard"];
        match (operation, path) {
            (TAGGED_RESOURCES, _) => {
                assert!(report["unreadCostTags"].as_str().unwrap().contains("GetResources"), "{what}");
            }
            ("GetObject", "cache/layers") | ("BatchGetImage", _) => {
                assert_eq!(*stored, json!({ "bytes": 3303, "isUpperBound": true }), "{what}");
                assert!(report["storageProblem"].as_str().unwrap().starts_with("app: "), "{what}");
                assert_eq!(report["status"], "SUCCEEDED", "{what}");
            }
            _ => {
                assert_eq!(*stored, json!({ "bytes": 1303, "isUpperBound": false }), "{what}");
                assert_eq!(report["status"], "SUCCEEDED", "{what}");
            }
        }
    }
}

#[test]
fn a_run_that_only_protects_and_a_stack_without_a_budget_read_no_layers() {
    let aws = EcrStub::start();
    with_layers(&aws, "app", 3);
    let steward = steward_that_counts_layers(aws, "5", ", apply: attach");
    let mut input = Steward::begin("hourly", false);
    input["run"]["protectOnly"] = true.into();
    let taken = steward.take_inventory(&input).response();
    for key in steward.batches(&taken) {
        steward.work(&taken, &key);
    }
    steward.report(&taken);
    assert_eq!(steward.aws.count("BatchGetImage"), 0);
    let none = steward_that_counts_layers(steward.aws, "0", "");
    let report = none.run("run", true);
    assert_eq!(none.aws.count("BatchGetImage"), 0);
    let stored = &report["totals"]["storage"]["standard"];
    assert_eq!(*stored, json!({ "bytes": 3303, "isUpperBound": true }), "{report:#}");
}
