//! Siblings of what once broke a promise: odd answers of AWS, odd lists, odd moments. By the real functions, on AWS in memory.

use std::time::Duration;

use serde_json::{Value, json};
use tests::cloud::{self, BUCKET, Cloud};
use tests::ecr_stub::{Fault, Registry, Repository};
use tests::site::{HOST, Site, UNLIMITED, policies_file, repository, set, use_by_task};
use tests::steward::{Steward, of};

type Happens = fn(&mut Registry, &mut Cloud);

fn app(registry: &mut Registry) -> &mut Repository {
    registry.repositories.get_mut("app").unwrap()
}

fn list(site: &Site, key: &str, references: &Value) {
    site.aws().cloud(|cloud| cloud.upload(&format!("{BUCKET}/{key}"), &references.to_string()));
}

/// The sources that a report does not know all of.
fn gaps(report: &Value) -> Vec<&str> {
    let gaps = report["gaps"].as_array().into_iter().flatten();
    gaps.map(|gap| gap["source"].as_str().unwrap()).collect()
}

fn policy_of_app(site: &Site, statements: &Value) {
    let text = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
    site.aws().with(|registry| app(registry).policy = Some(text));
}

/// The blockers of the repository, with their codes and messages.
fn blockers_of(report: &Value) -> String {
    of(report, "app")["blockers"].to_string()
}

/// F7: only that a cluster is deleted means that nothing runs in it.
#[test]
fn a_cluster_that_is_called_inactive_and_may_not_be_read_is_a_gap() {
    for operation in ["ListTasks", "ListServices"] {
        let site = Site::new(UNLIMITED);
        site.aws().cloud(|cloud| {
            let definition = cloud.ecs.register("web", &["other:1"]);
            cloud.ecs.deploy("inactive-users", "web", &definition, None);
        });
        let denied = "User: arn:aws:sts::123456789012:assumed-role/s is not authorized to perform: ecs:List on resource: \
                      arn:aws:ecs:eu-west-1:123456789012:cluster/inactive-users";
        site.aws().fault_from(operation, Fault::Error("AccessDeniedException", denied), 0);
        let report = site.steward.run("r", false);
        site.assert_untouched(operation);
        assert_eq!(gaps(&report), ["ecs"], "{report:#}");
    }
}

/// B13: `?` stands for one character in a policy.
#[test]
fn an_account_that_may_pull_by_any_wildcard_needs_a_list() {
    for action in ["ecr:BatchGetImag?", "ecr:?atchGet*", "ECR:batch*", "*", "ecr:GetDownloadUrl???Layer"] {
        let site = Site::new(UNLIMITED);
        let allow =
            json!({ "Effect": "Allow", "Principal": { "AWS": ["222222222222"] }, "Action": [action] });
        policy_of_app(&site, &allow);
        let report = site.steward.run("r", false);
        site.assert_untouched(action);
        assert!(blockers_of(&report).contains("account/222222222222"), "{action}: {report:#}");
        list(&site, "usage/222222222222/eks.json", &json!([]));
        site.steward.run("next", false);
        assert_eq!(site.left(), set([&site.app.young]), "{action}");
    }
}

/// B13: what is not excepted for certain is allowed.
#[test]
fn an_exception_by_a_wildcard_excepts_no_more_than_it_names() {
    let site = Site::new(UNLIMITED);
    let others = ["ecr:GetDownloadUrlForLaye?", "ecr:BatchGetImage??"];
    let allow = json!({ "Effect": "Allow", "Principal": { "AWS": "222222222222" }, "NotAction": others });
    policy_of_app(&site, &allow);
    let report = site.steward.run("r", false);
    assert!(blockers_of(&report).contains("account/222222222222"), "{report:#}");
}

/// B6: an image's id without its algorithm, and texts that no reference can be.
#[test]
fn what_names_no_image_for_certain_is_never_mistaken_for_a_repository() {
    let site = Site::new(UNLIMITED);
    let plain = |digest: &str| digest.strip_prefix("sha256:").unwrap().to_owned();
    let ids = json!([
        plain(&site.app.old[0]),
        format!("docker://{}", plain(&site.app.old[1])),
        site.app.old[2].to_uppercase(),
    ]);
    list(&site, "usage/eks.json", &ids);
    let report = site.steward.run("r", false);
    site.assert_untouched("ids without a repository");
    assert_eq!(gaps(&report), ["usage/eks.json"], "{report:#}");
    // They count where somebody says that the gap does not matter.
    let ignoring = "usage: { ignore: [{ source: usage/eks.json, reason: ids }] }\n";
    let text = format!("{}{ignoring}", policies_file(UNLIMITED));
    site.aws().cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), &text));
    let report = site.steward.run("ignored", false);
    let kept = site.app.old[..3].iter().chain([&site.app.young]);
    assert_eq!(site.left(), set(kept), "{report:#}");
    for invalid_object in
        ["app:ci-0;app:ci-1", "app:ci-0,", "app:{{ tag }}", "${APP}:1", "app:ci-0\\", "\"app\":1", "app:ci/0"]
    {
        let site = Site::new(UNLIMITED);
        list(&site, "usage/eks.json", &json!([invalid_object.replace(' ', "")]));
        let report = site.steward.run("r", false);
        site.assert_untouched(invalid_object);
        assert_eq!(gaps(&report), ["usage/eks.json"], "{invalid_object}: {report:#}");
    }
}

/// B2: what ECS lists as active or as running it has to tell of, daemons' too.
#[test]
fn a_daemon_that_ecs_does_not_describe_is_a_gap_until_it_does() {
    let lost: [Happens; 2] = [
        |_, cloud| {
            let definition = cloud.ecs.register_daemon("agent", &[&format!("{HOST}/app:ci-0")]);
            cloud.ecs.lost_definitions.insert(definition);
        },
        |_, cloud| {
            let digest = "sha256:".to_owned() + &"ab".repeat(32);
            let daemon = cloud.ecs.add_daemon("prod", "agent", &format!("{HOST}/app:ci-0"), &digest);
            cloud.ecs.indescribable.insert(format!("{daemon}/1"));
        },
    ];
    for lose in lost {
        let site = Site::new(UNLIMITED);
        site.aws().with(|registry| site.aws().cloud(|cloud| lose(registry, cloud)));
        let report = site.steward.run("r", false);
        site.assert_untouched("a daemon");
        assert_eq!(gaps(&report), ["ecs"], "{report:#}");
        site.aws().cloud(|cloud| {
            cloud.ecs.lost_definitions.clear();
            cloud.ecs.indescribable.clear();
        });
        let report = site.steward.run("next", false);
        assert_eq!(site.left(), set([&site.app.old[0], &site.app.young]), "{report:#}");
    }
}

/// A digest that is none is ignored: neither does it block every run, nor is it mistaken for what runs.
#[test]
fn a_digest_that_is_cut_off_or_empty_counts_as_unreported() {
    for digest in ["", "sha256:ab12"] {
        let site = Site::new(UNLIMITED);
        site.use_by_task("app:latest", Some(digest));
        let report = site.steward.run("r", false);
        assert_eq!(site.left(), site.app.all(), "any of them may run: {report:#}");
        assert_eq!(of(&report, "app")["status"], "DONE", "{report:#}");
        site.aws().cloud(|cloud| cloud.ecs.stop_tasks("prod"));
        site.steward.run("next", false);
        assert_eq!(site.left(), set([&site.app.young]));
    }
}

/// What was pulled is known, also where the container does not say what it is called.
#[test]
fn a_container_that_reports_only_its_digest_uses_it() {
    let site = Site::new(UNLIMITED);
    site.aws().cloud(|cloud| {
        let definition = cloud.ecs.register("web", &["other:1"]);
        let task = cloud.ecs.run_task("prod", &definition, Some(&site.app.old[3]));
        cloud.ecs.task_mut("prod", &task)["containers"][0].as_object_mut().unwrap().remove("image");
    });
    let report = site.steward.run("r", false);
    assert_eq!(site.left(), set([&site.app.old[3], &site.app.young]), "{report:#}");
}

/// B11 where deletions are replicated: an image of the copy is one of the source.
#[test]
fn a_task_that_runs_an_unknown_image_of_a_copy_keeps_the_images_of_the_source() {
    let site = Site::new(UNLIMITED);
    site.aws().cloud(|cloud| {
        cloud.replication =
            vec![json!({ "destinations": [{ "region": "us-east-1", "registryId": "222222222222" }],
            "repositoryFilters": [{ "filter": "ap", "filterType": "PREFIX_MATCH" }],
            "deleteReplication": { "enabled": true } })];
        let definition =
            cloud.ecs.register("web", &["222222222222.dkr.ecr.us-east-1.amazonaws.com/app:latest"]);
        cloud.ecs.run_task_without_digest("prod", &definition, 1.0);
    });
    list(&site, "usage/222222222222/us-east-1/eks.json", &json!([]));
    let report = site.steward.run("r", false);
    assert_eq!(site.left(), site.app.all(), "{report:#}");
}

/// B13: since 2025 the policy of the registry lets others pull as well.
#[test]
fn an_account_that_may_pull_by_the_policy_of_the_registry_needs_a_list() {
    let allow = |resource: &str| {
        json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "ecr:*",
            "Principal": { "AWS": "arn:aws:iam::222222222222:root" },
            "Resource": format!("arn:aws:ecr:eu-west-1:123456789012:repository/{resource}") }] })
        .to_string()
    };
    for (resource, is_about_app) in [("*", true), ("app", true), ("a?p", true), ("other/*", false)] {
        let site = Site::new(UNLIMITED);
        site.aws().cloud(|cloud| cloud.registry_policy = Some(allow(resource)));
        let report = site.steward.run("r", false);
        assert_eq!(
            blockers_of(&report).contains("account/222222222222"),
            is_about_app,
            "{resource}: {report:#}"
        );
        assert_eq!(site.left() == site.app.all(), is_about_app, "{resource}");
        list(&site, "usage/222222222222/eks.json", &json!([]));
        site.steward.run("next", false);
        assert_eq!(site.left(), set([&site.app.young]), "{resource}");
    }
    // That it cannot be read is a gap.
    let site = Site::new(UNLIMITED);
    site.aws().fault_from("GetRegistryPolicy", Fault::Denied, 0);
    let report = site.steward.run("r", false);
    site.assert_untouched("who may pull is not known");
    assert_eq!(gaps(&report), ["account/*"], "{report:#}");
    site.aws().heal();
    site.steward.run("next", false);
    assert_eq!(site.left(), set([&site.app.young]));
}

/// B14 in a repository that takes several calls to read.
#[test]
fn the_newest_images_that_somebody_deletes_of_a_large_repository_count_no_more() {
    let policies = "policies:
- { name: all, repositories: [app], rules: [{ selection: any, maximumNumberOfImages: 950 }], apply: delete,
    limits: { images: 1000, percent: 100, remaining: 1 } }
limits: { images: 1000, percent: 100 }
";
    let steward = Steward::with_policies_file(policies);
    steward.aws.with(|registry| {
        let mut filled = repository("app");
        for number in 0..1100_u32 {
            let digest = filled.push(&number.to_string(), &[&format!("ci-{number}")]);
            filled.age(&digest, f64::from(2000 - number));
        }
        registry.repositories.insert("app".to_owned(), filled);
    });
    steward.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/state/registry.json"), r#"{"images": 5000}"#));
    let by_hand: Happens = |registry, _| app(registry).images.truncate(1060);
    // After both pages that the plan is made of.
    steward.aws.fault("GetRepositoryPolicy", Fault::Then(by_hand), 1);
    let report = steward.run("r", false);
    assert_eq!(steward.digests("app").len(), 950, "{}", of(&report, "app")["deleted"]);
}

/// What was deleted last is looked at once more, by another invocation if there is no time left.
#[test]
fn what_comes_into_use_when_time_is_up_after_the_last_batch_is_put_back_by_the_next_invocation() {
    let site = Site::new(UNLIMITED);
    // Nothing but one batch.
    site.aws().with(|registry| {
        app(registry).images.retain(|image| !image.tags.contains("v1") && !image.tags.is_empty())
    });
    let taken = site.steward.take_inventory(&Steward::begin("r", false)).response();
    let key = site.steward.batches(&taken).remove(0);
    let start: Happens = |_, cloud| use_by_task(cloud, "app:ci-1", None);
    site.aws().fault("BatchDeleteImage", Fault::Then(start), 1);
    site.aws().fault_from("ListClusters", Fault::Hang, 1);
    let hasty = cloud::function(site.aws(), "lifecycle-enforce", Duration::from_secs(14));
    let task = hasty.invoke(Steward::task(&taken, &key).to_string()).response();
    assert!(!site.left().contains(&site.app.old[1]), "it has gone before: {task}");
    assert_eq!(task["isComplete"], false, "nobody has looked whether something came into use");
    site.aws().heal();
    let task = site.steward.invoke(&task).response();
    assert_eq!(task["isComplete"], true);
    let report = site.steward.report(&taken);
    assert_eq!(site.left(), set([&site.app.old[1], &site.app.young]), "{report:#}");
    assert_eq!(of(&report, "app")["putBack"]["imageTotalCount"], 1, "{report:#}");
    assert_eq!(of(&report, "app")["status"], "DONE", "{report:#}");
}

/// Putting back deletes nothing, and is done also when nothing may be deleted any more.
#[test]
fn what_a_killed_invocation_took_is_put_back_also_after_the_switch_is_off() {
    let mut site = Site::new(UNLIMITED);
    let taken = site.steward.take_inventory(&Steward::begin("r", false)).response();
    let key = site.steward.batches(&taken).remove(0);
    let start: Happens = |_, cloud| use_by_task(cloud, "app:ci-1", None);
    site.aws().fault("BatchDeleteImage", Fault::Then(start), 1);
    let hasty = cloud::function(site.aws(), "lifecycle-enforce", Duration::from_secs(14));
    for operation in ["ListClusters", "DescribeImages"] {
        site.aws().fault_from(operation, Fault::Hang, usize::from(operation == "DescribeImages") + 1);
    }
    let killed = hasty.invoke(Steward::task(&taken, &key).to_string());
    assert!(!site.left().contains(&site.app.old[1]), "it has gone before: {killed:?}");
    site.aws().heal();
    site.steward.switch(false);
    site.steward.work(&taken, &key);
    let report = site.steward.report(&taken);
    assert!(site.left().contains(&site.app.old[1]), "{report:#}");
}

/// What its message says unblocks a service that ECS does not deploy, so that it has no revisions.
#[test]
fn a_service_that_others_deploy_and_that_is_scaled_to_zero_is_known_again_by_one_task() {
    for controller in ["CODE_DEPLOY", "EXTERNAL"] {
        let site = Site::new(UNLIMITED);
        let definition = site.aws().cloud(|cloud| {
            let definition = cloud.ecs.register("web", &[&format!("{HOST}/app:latest")]);
            cloud.ecs.deploy("prod", "web", &definition, None);
            let service = cloud.ecs.service_mut("prod", "web").as_object_mut().unwrap();
            service.remove("currentServiceRevisions");
            service.remove("taskDefinition");
            service.insert("deployments".to_owned(), json!([]));
            service.insert("taskSets".to_owned(), json!([{ "taskDefinition": definition }]));
            service.insert("deploymentController".to_owned(), json!({ "type": controller }));
            definition
        });
        let report = site.steward.run("r", false);
        site.assert_untouched(controller);
        assert!(blockers_of(&report).contains("ecs/prod/web"), "{report:#}");
        assert!(blockers_of(&report).contains("start one of them"), "{report:#}");
        site.aws().cloud(|cloud| {
            cloud.ecs.run_service_task("prod", "web", &definition, Some(&site.app.old[2]));
        });
        site.steward.run("next", false);
        assert_eq!(site.left(), set([&site.app.old[2], &site.app.young]), "{controller}");
    }
}

fn at_a_terminal(steward: &Steward, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = std::process::Command::new(tests::binaries::binary("ecr-steward"))
        .args(["enforce", "--bucket", BUCKET, "--all", "--apply", "--yes", "--output", "json"])
        .args(arguments)
        .env_clear()
        .env("AWS_ENDPOINT_URL", steward.aws.url())
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .output()
        .unwrap();
    let output_text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output_text}")))
}

/// `count` repositories of one old and one young image.
fn row(policies: &str, count: usize) -> Steward {
    let steward = Steward::with_policies_file(policies);
    steward.aws.with(|registry| {
        for number in 0..count {
            let name = format!("r{number:02}");
            let mut filled = repository(&name);
            let old = filled.push(&format!("{name} old"), &["v1"]);
            filled.age(&old, 30.0);
            filled.push(&format!("{name} young"), &["latest"]);
            registry.repositories.insert(name, filled);
        }
    });
    steward
}

/// C5 at a terminal: a policies file that is withdrawn while it works.
#[test]
fn at_a_terminal_a_policies_file_that_is_changed_meanwhile_is_not_enforced_any_more() {
    let steward = row(&policies_file(UNLIMITED), 30);
    let withdraw: Happens = |_, cloud| {
        cloud.upload(&format!("{BUCKET}/policies.yaml"), "policies: []\n");
    };
    steward.aws.fault("BatchDeleteImage", Fault::Then(withdraw), 1);
    let (code, report) = at_a_terminal(&steward, &[]);
    assert_eq!(code, Some(1));
    assert_eq!(steward.digests("r00").len(), 1);
    assert_eq!(steward.digests("r29").len(), 2, "{report:#}");
    assert_eq!(of(&report, "r29")["blockers"][0]["code"], "policies-file-changed", "{report:#}");
}

/// C10 at a terminal.
#[test]
fn at_a_terminal_a_repository_that_cannot_be_read_fails_alone() {
    let policies = "policies:
- { name: all, repositories: ['*'], tags: { team: a }, rules: [{ selection: any, maximumAgeLimit: 14 }], apply: delete,
    limits: { images: 100, percent: 100, remaining: 1 } }
";
    let steward = row(policies, 3);
    steward.aws.with(|registry| {
        for repository in registry.repositories.values_mut() {
            repository.tags.insert("team".to_owned(), "a".to_owned());
        }
    });
    steward.aws.fault("ListTagsForResource", Fault::Denied, 1);
    let (code, report) = at_a_terminal(&steward, &[]);
    assert_eq!(code, Some(1));
    // Tags of several repositories are read at the same time: any of them may be the one.
    let names = ["r00", "r01", "r02"];
    let failed = names.map(|name| of(&report, name)["status"] == "FAILED");
    assert_eq!(failed.iter().filter(|is_failed| **is_failed).count(), 1, "{report:#}");
    let left = failed.map(|is_failed| if is_failed { 2 } else { 1 });
    assert_eq!(names.map(|name| steward.digests(name).len()), left, "{report:#}");
}

/// A run that could look at nothing has shown nobody what the policies file does.
#[test]
fn a_run_that_could_read_no_repository_is_no_preview() {
    let mut steward = row(&policies_file(UNLIMITED), 2);
    steward.approves = false;
    steward.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), &policies_file(UNLIMITED)));
    steward.aws.fault_from("DescribeImages", Fault::Denied, 0);
    let report = steward.run("blind", true);
    assert_eq!(report["totals"]["statuses"]["FAILED"], 2, "{report:#}");
    steward.aws.heal();
    let report = steward.run("nightly", false);
    assert_eq!(report["dryRunReason"], "not-previewed", "{report:#}");
    assert_eq!(steward.digests("r00").len(), 2);
    steward.run("next", false);
    assert_eq!(steward.digests("r00").len(), 1);
}

/// Nobody makes a batch done by saying that it is.
#[test]
fn a_task_that_begins_behind_the_end_of_its_batch_is_refused() {
    let site = Site::new(UNLIMITED);
    let taken = site.steward.take_inventory(&Steward::begin("r", false)).response();
    let key = site.steward.batches(&taken).remove(0);
    let mut task = Steward::task(&taken, &key);
    task["done"] = 2.into();
    let (error_type, message) = site.steward.invoke(&task).error();
    assert_eq!(error_type, "Refused", "{message}");
    let report = site.steward.report(&taken);
    assert_eq!(report["unfinishedBatches"], json!([key]), "{report:#}");
}

/// C11: also many different images, and many lists, stop no run.
#[test]
fn lists_that_name_very_many_images_are_a_gap_and_cost_no_memory() {
    let site = Site::new(UNLIMITED);
    let many = |from: u32, count: u32| {
        let names: Vec<String> = (from..from + count).map(|number| format!("\"{number:x}\"")).collect();
        format!("[{}]", names.join(","))
    };
    site.aws().cloud(|cloud| cloud.upload(&format!("{BUCKET}/usage/eks.json"), &many(0, 500_000)));
    let report = site.steward.run("one", false);
    site.assert_untouched("one list");
    assert_eq!(gaps(&report), ["usage/eks.json"], "{report:#}");
    let peak = site.steward.inventory().peak();
    assert!(peak < 100_000, "{peak} kB");
    site.aws().cloud(|cloud| {
        for number in 0..30 {
            let text = many(number * 40_000, 40_000);
            cloud.upload(&format!("{BUCKET}/usage/{number}.json"), &text);
        }
        cloud.upload(&format!("{BUCKET}/usage/eks.json"), "[]");
    });
    let report = site.steward.run("many", false);
    assert_eq!(site.left(), site.app.all(), "{report:#}");
    let peak = site.steward.inventory().peak();
    assert!(peak < 250_000, "{peak} kB");
    // With fewer it goes on.
    let site = Site::new(UNLIMITED);
    site.aws().cloud(|cloud| cloud.upload(&format!("{BUCKET}/usage/eks.json"), &many(0, 40_000)));
    let report = site.steward.run("fewer", false);
    assert_eq!(site.left(), set([&site.app.young]), "{report:#}");
}

/// B1: which of two revisions a task is of nobody tells.
#[test]
fn while_a_service_is_deployed_tasks_tell_nothing_of_a_revision_that_ecs_does_not_describe() {
    let site = Site::new(UNLIMITED);
    site.aws().cloud(|cloud| {
        let definition = cloud.ecs.register("web", &[&format!("{HOST}/app:latest")]);
        let before = cloud.ecs.deploy("prod", "web", &definition, Some(&site.app.old[0]));
        let after = cloud.ecs.deploy("prod", "web", &definition, Some(&site.app.old[1]));
        cloud.ecs.service_mut("prod", "web")["currentServiceRevisions"] =
            json!([{ "arn": before }, { "arn": after }]);
        cloud.ecs.indescribable.insert(before);
        cloud.ecs.run_service_task("prod", "web", &definition, Some(&site.app.old[1]));
    });
    let report = site.steward.run("r", false);
    site.assert_untouched("it may be rolled back");
    assert!(blockers_of(&report).contains("ecs/prod/web"), "{report:#}");
    // When it is done there is one revision.
    site.aws().cloud(|cloud| {
        let revisions = &mut cloud.ecs.service_mut("prod", "web")["currentServiceRevisions"];
        revisions.as_array_mut().unwrap().remove(0);
    });
    site.steward.run("next", false);
    assert_eq!(site.left(), set([&site.app.old[1], &site.app.young]));
}

/// B3: ECR refuses to delete what an index lists, and archives it.
#[test]
fn children_of_an_index_in_use_are_not_archived_whatever_is_remembered_of_it() {
    let archive = "policies:
- { name: all, repositories: [app], rules: [{ selection: any, maximumDaysSincePull: 14, action: archive }], apply: delete,
    limits: { images: 100, percent: 100, remaining: 1 } }
";
    let site = Site::new(UNLIMITED);
    site.aws().cloud(|cloud| {
        cloud.upload(&format!("{BUCKET}/policies.yaml"), archive);
        let lie = json!({ site.app.index.clone(): [] }).to_string();
        cloud.upload(&format!("{BUCKET}/cache/indexes/app.json"), &lie);
    });
    site.use_by_task("app:v1", None);
    let archived = || -> Vec<String> {
        let images = site.aws().with(|registry| app(registry).images.clone());
        images.into_iter().filter(|image| image.archived).map(|image| image.digest).collect()
    };
    let report = site.steward.run("r", false);
    for part in site.app.release() {
        assert!(!archived().contains(part), "{part}: {report:#}");
    }
    // The next run knows better.
    let report = site.steward.run("next", false);
    assert_eq!(set(&archived()), set(&site.app.old), "{report:#}");
}
