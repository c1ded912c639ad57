//! What is looked at right before images are deleted, how many may be, and what comes back: by the real functions, on AWS in memory.

use serde_json::{Value, json};
use shared::domain::enforcement::batch::checks_native_policy;
use shared::domain::enforcement::journal::is_removals;
use shared::domain::text::instant::Instant;
use tests::cloud::{BUCKET, Cloud};
use tests::ecr_stub::{EcrStub, Fault, Registry, Repository};
use tests::site::{HOST, Site, UNLIMITED, fill, policies_file, repository, set, use_by_task};
use tests::steward::{Steward, codes, of};

type Happens = fn(&mut Registry, &mut Cloud);

/// Repositories of some old builds and a young one each.
fn fleet(policies: &str, names: &[&str], builds: usize) -> Steward {
    let steward = Steward::with_policies_file(policies);
    steward.aws.with(|registry| {
        for name in names {
            let mut filled = repository(name);
            for number in 0..builds {
                let digest = filled.push(&format!("{name} {number}"), &[&format!("ci-{number}")]);
                filled.age(&digest, 30.0);
            }
            filled.push(&format!("{name} young"), &["latest"]);
            registry.repositories.insert((*name).to_owned(), filled);
        }
    });
    steward
}

fn counted(steward: &Steward, images: u64) {
    let text = json!({ "images": images }).to_string();
    steward.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/state/registry.json"), &text));
}

fn lines(steward: &Steward) -> Vec<Value> {
    steward.aws.cloud(|cloud| {
        let mut keys = cloud.keys(BUCKET, "journal/");
        keys.retain(|key| is_removals(key));
        let texts = keys.iter().map(|key| cloud.object_text(&format!("{BUCKET}/{key}")).unwrap());
        let texts: Vec<String> = texts.collect();
        texts.iter().flat_map(|text| text.lines()).map(|line| serde_json::from_str(line).unwrap()).collect()
    })
}

fn app(registry: &mut Registry) -> &mut Repository {
    registry.repositories.get_mut("app").unwrap()
}

#[test]
fn a_task_that_starts_while_one_repository_is_worked_on_saves_its_image_in_the_next() {
    let steward = fleet(&policies_file(UNLIMITED), &["app", "bpp"], 4);
    let start: Happens = |_, cloud| use_by_task(cloud, "bpp:ci-1", None);
    steward.aws.fault("BatchDeleteImage", Fault::Then(start), 1);
    let report = steward.run("r", false);
    assert_eq!(of(&report, "app")["deleted"]["imageTotalCount"], 4, "{report:#}");
    assert_eq!(of(&report, "bpp")["deleted"]["imageTotalCount"], 3);
    // It never went: nothing had to be put back.
    assert_eq!(of(&report, "bpp")["putBack"], Value::Null);
    let kept = steward
        .aws
        .with(|registry| registry.repositories["bpp"].images.iter().any(|image| image.tags.contains("ci-1")));
    assert!(kept, "what runs is gone: {report:#}");
}

#[test]
fn an_image_that_comes_into_use_right_after_it_went_is_put_back_with_its_tags() {
    let site = Site::new(UNLIMITED);
    let start: Happens = |_, cloud| use_by_task(cloud, "app:ci-1", None);
    site.aws().fault("BatchDeleteImage", Fault::Then(start), 1);
    let report = site.steward.run("r", false);
    assert_eq!(site.left(), set([&site.app.old[1], &site.app.young]), "{report:#}");
    let tags = site.aws().with(|registry| app(registry).image_mut(&site.app.old[1]).tags.clone());
    assert_eq!(tags, ["ci-1".to_owned()].into());
    let outcome = of(&report, "app");
    assert_eq!(outcome["putBack"]["imageTotalCount"], 1);
    assert_eq!(outcome["deleted"]["imageTotalCount"], 9);
    let reported = outcome["results"].as_array().unwrap().iter().find(|image| image["outcome"] == "PUT_BACK");
    let reported = reported.unwrap();
    assert_eq!(reported["imageDigest"], site.app.old[1].as_str());
    assert!(reported["detail"].as_str().unwrap().contains("task/prod/"), "{reported}");
}

#[test]
fn a_release_that_comes_into_use_right_after_it_went_is_put_back_whole() {
    let site = Site::new(UNLIMITED);
    let start: Happens = |_, cloud| use_by_task(cloud, "app:v1", None);
    // The last batch: index, then children and signature.
    site.aws().fault_from("BatchDeleteImage", Fault::Then(start), 0);
    let report = site.steward.run("r", false);
    let kept: Vec<&String> = site.app.release().into_iter().chain([&site.app.young]).collect();
    assert_eq!(site.left(), set(kept), "{report:#}");
}

#[test]
fn a_tag_that_names_another_image_by_now_is_not_moved_from_it() {
    let site = Site::new(UNLIMITED);
    let start: Happens = |registry, cloud| {
        let image = registry.repositories["app"].images.iter().find(|image| image.tags.contains("latest"));
        let young = image.unwrap().digest.clone();
        app(registry).image_mut(&young).tags.insert("ci-1".to_owned());
        // The list comes with the deletion: what it names has just gone.
        let list = cloud.object_text(&format!("{BUCKET}/later.json")).unwrap();
        cloud.upload(&format!("{BUCKET}/usage/eks.json"), &list);
    };
    site.aws().fault("BatchDeleteImage", Fault::Then(start), 1);
    let digest = site.app.old[1].clone();
    let uses = json!([format!("{HOST}/app@{digest}")]).to_string();
    site.aws().cloud(|cloud| cloud.upload(&format!("{BUCKET}/later.json"), &uses));
    let report = site.steward.run("r", false);
    let holder = site.aws().with(|registry| {
        let images = &app(registry).images;
        images.iter().find(|image| image.tags.contains("ci-1")).map(|image| image.digest.clone())
    });
    assert_eq!(holder.as_deref(), Some(site.app.young.as_str()), "{report:#}");
    assert_eq!(site.left(), set([&site.app.old[1], &site.app.young]), "it is back, without that tag");
}

#[test]
fn what_a_killed_invocation_took_is_put_back_by_the_next_one() {
    let site = Site::new(UNLIMITED);
    let taken = site.steward.take_inventory(&Steward::begin("r", false)).response();
    let key = site.steward.batches(&taken).remove(0);
    let start: Happens = |_, cloud| use_by_task(cloud, "app:ci-1", None);
    // The images go, something starts, and everything afterwards fails, until the time of the function is up.
    site.aws().fault("BatchDeleteImage", Fault::Then(start), 1);
    let hasty = tests::cloud::function(site.aws(), "lifecycle-enforce", std::time::Duration::from_secs(14));
    for operation in ["ListClusters", "DescribeImages"] {
        site.aws().fault_from(operation, Fault::Hang, usize::from(operation == "DescribeImages") + 1);
    }
    let killed = hasty.invoke(Steward::task(&taken, &key).to_string());
    assert!(!site.left().contains(&site.app.old[1]), "it has gone before: {killed:?}");
    site.aws().heal();
    site.steward.work(&taken, &key);
    let report = site.steward.report(&taken);
    assert!(site.left().contains(&site.app.old[1]), "{report:#}");
}

#[test]
fn images_that_somebody_deletes_between_plan_and_batch_count_no_more() {
    let policies = "policies:
- { name: all, repositories: [app], rules: [{ selection: any, maximumNumberOfImages: 3 }], apply: delete,
    limits: { images: 100, percent: 100, remaining: 1 } }
";
    let steward = fleet(policies, &["app"], 9);
    let by_hand: Happens = |registry, _| {
        let repository = app(registry);
        repository.images.sort_by(|one, two| one.pushed_at.total_cmp(&two.pushed_at));
        let three = repository.images.len() - 3;
        repository.images.truncate(three);
    };
    // As soon as the repository was read, of which the plan is made.
    steward.aws.fault("DescribeImages", Fault::Then(by_hand), 1);
    let report = steward.run("r", false);
    assert_eq!(steward.digests("app").len(), 3, "the newest three of those that are there stay: {report:#}");
}

#[test]
fn a_repository_that_is_put_under_another_policy_after_the_inventory_is_left_alone() {
    let policies = "policies:
- { name: held, repositories: ['*'], tags: { hold: legal }, rules: [{ selection: any, maximumAgeLimit: 4000 }] }
- { name: all, repositories: ['*'], rules: [{ selection: any, maximumAgeLimit: 14 }], apply: delete,
    limits: { images: 100, percent: 100, remaining: 1 } }
";
    let steward = fleet(policies, &["app"], 4);
    let taken = steward.take_inventory(&Steward::begin("r", false)).response();
    steward.aws.with(|registry| app(registry).tags.insert("hold".to_owned(), "legal".to_owned()));
    for key in steward.batches(&taken) {
        steward.work(&taken, &key);
    }
    let report = steward.report(&taken);
    assert_eq!(steward.digests("app").len(), 5, "{report:#}");
    assert_eq!(codes(of(&report, "app")), ["reassigned"]);
    // The next run goes by what it is now.
    let report = steward.run("next", false);
    assert_eq!(report["policies"]["held"]["repositories"], 1, "{report:#}");
    assert_eq!((report["status"].as_str(), steward.digests("app").len()), (Some("SUCCEEDED"), 5));
}

#[test]
fn the_limit_of_the_registry_blocks_a_run_and_the_next_day_continues() {
    let policies = format!("{}limits: {{ images: 7, percent: 100 }}\n", policies_file(UNLIMITED));
    let steward = fleet(&policies, &["app", "bpp", "cpp"], 4);
    counted(&steward, 1000);
    let report = steward.run("r", false);
    let left = |steward: &Steward| -> usize {
        ["app", "bpp", "cpp"].iter().map(|name| steward.digests(name).len()).sum()
    };
    assert_eq!(left(&steward), 15 - 7, "{report:#}");
    assert_eq!(report["totals"]["deleted"]["imageTotalCount"], 7);
    assert_eq!(codes(of(&report, "bpp")), ["limit-registry"], "{report:#}");
    assert_eq!(report["status"], "ATTENTION");
    // Another run of the same day gets no more.
    steward.run("again", false);
    assert_eq!(left(&steward), 15 - 7);
    // What counts is the day: without its counter it is another one.
    steward.aws.cloud(|cloud| cloud.objects.retain(|path, _| !path.contains("/state/taken/")));
    let report = steward.run("tomorrow", false);
    assert_eq!(left(&steward), 3, "{report:#}");
}

/// As at a terminal.
#[test]
fn a_dry_run_of_the_stack_says_what_the_limit_of_the_day_leaves_for_another() {
    let policies = format!("{}limits: {{ images: 7, percent: 100 }}\n", policies_file(UNLIMITED));
    let steward = fleet(&policies, &["app", "bpp", "cpp"], 4);
    counted(&steward, 1000);
    let notice = |report: &Value| {
        let notices = report["notices"].as_array().unwrap();
        let mut of_limit =
            notices.iter().filter_map(Value::as_str).filter(|one| one.contains("in the registry today"));
        of_limit.next().map(str::to_owned)
    };
    let report = steward.run("dry", true);
    let text = notice(&report).unwrap_or_else(|| panic!("{report:#}"));
    assert!(text.starts_with("12 images would be deleted, and of the 7"), "{text}");
    let pages =
        steward.aws.cloud(|cloud| cloud.object_text(&format!("{BUCKET}/reports/latest.html")).unwrap());
    assert!(pages.contains("12 images would be deleted, and of the 7"));
    assert_eq!(steward.aws.cloud(|cloud| cloud.keys(BUCKET, "state/taken/")), [""; 0], "nothing is reserved");
    // What fits needs no word.
    let roomy = format!("{}limits: {{ images: 12, percent: 100 }}\n", policies_file(UNLIMITED));
    let steward = fleet(&roomy, &["app", "bpp", "cpp"], 4);
    counted(&steward, 1000);
    assert_eq!(notice(&steward.run("dry", true)), None);
    // A counter that cannot be read is no reason for no report.
    let day = shared::domain::enforcement::daily_removals::DailyRemovals::key(
        shared::domain::text::instant::Instant::now(),
    );
    steward.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/{day}"), "nonsense"));
    let report = steward.run("unread", true);
    let notices = report["notices"].to_string();
    assert!(notices.contains("What may be deleted in the registry today is not known"), "{notices}");
}

#[test]
fn a_quarter_of_the_registry_is_deleted_in_a_day_and_no_more() {
    let steward = fleet(&policies_file(UNLIMITED), &["app", "bpp", "cpp"], 60);
    counted(&steward, 480);
    let report = steward.run("r", false);
    // 25% of 480.
    assert_eq!(report["totals"]["deleted"]["imageTotalCount"], 120, "{report:#}");
    let counter = steward.aws.cloud(|cloud| {
        let keys = cloud.keys(BUCKET, "state/taken/");
        cloud.object_text(&format!("{BUCKET}/{}", keys[0])).unwrap()
    });
    assert_eq!(counter, r#"{"images":120}"#);
}

#[test]
fn two_runs_at_once_share_the_limit_of_the_registry() {
    let policies = format!("{}limits: {{ images: 6, percent: 100 }}\n", policies_file(UNLIMITED));
    let steward = fleet(&policies, &["app", "bpp"], 4);
    counted(&steward, 1000);
    // Another run reserves between reading the counter and writing it.
    let other: Happens = |_, cloud| {
        let day = shared::domain::enforcement::daily_removals::DailyRemovals::key(
            shared::domain::text::instant::Instant::now(),
        );
        cloud.upload(&format!("{BUCKET}/{day}"), r#"{"images": 3}"#);
    };
    // Also before the counter is there.
    steward.aws.fault("ListTagsForResource", Fault::Then(other), 1);
    steward.aws.fault("BatchGetImage", Fault::Then(other), 1);
    let report = steward.run("r", false);
    assert_eq!(report["totals"]["deleted"]["imageTotalCount"], 3, "{report:#}");
}

#[test]
fn archiving_is_limited_and_written_down_like_deletion() {
    let policies = "policies:
- { name: all, repositories: [app], rules: [{ selection: any, maximumDaysSincePull: 14, action: archive }], apply: delete,
    limits: { images: 100, percent: 100, remaining: 1 } }
limits: { images: 3, percent: 100 }
";
    let steward = fleet(policies, &["app"], 6);
    counted(&steward, 1000);
    let report = steward.run("r", false);
    let archived =
        steward.aws.with(|registry| app(registry).images.iter().filter(|image| image.archived).count());
    assert_eq!(archived, 3, "{report:#}");
    assert_eq!(codes(of(&report, "app")), ["limit-registry"]);
    let lines = lines(&steward);
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|line| line["action"]["type"] == "TRANSITION"), "{lines:?}");
}

#[test]
fn the_journal_says_who_what_where_and_by_which_look() {
    let site = Site::new(UNLIMITED);
    site.steward.run("nightly", false);
    let lines = lines(&site.steward);
    assert_eq!(lines.len(), 10);
    for line in &lines {
        assert_eq!(line["registryId"], "123456789012");
        assert_eq!(line["region"], "eu-west-1");
        assert!(line["by"]["execution"].as_str().unwrap().ends_with(":nightly"), "{line}");
        assert!(line["usageReadAt"].as_str().unwrap() <= line["at"].as_str().unwrap(), "{line}");
        assert!(line["imageManifestMediaType"].as_str().unwrap().starts_with("application/vnd."), "{line}");
    }
}

#[test]
fn a_remembered_index_without_its_children_is_not_believed() {
    let site = Site::new(UNLIMITED);
    // Somebody may write what is remembered: that the release lists nothing.
    let cache = json!({ site.app.index.clone(): [] }).to_string();
    site.aws().cloud(|cloud| cloud.upload(&format!("{BUCKET}/cache/indexes/app.json"), &cache));
    site.use_by_task(&format!("app@{}", site.app.children[0]), None);
    let report = site.steward.run("r", false);
    for part in site.app.release() {
        assert!(site.left().contains(part), "{part} is gone: {report:#}");
    }
}

#[test]
fn what_an_index_leaves_behind_is_not_counted_again() {
    // Half of what can be pulled goes, with many children.
    let steward = Steward::with_policies_file(&policies_file(
        ", apply: delete, limits: { images: 1, percent: 50, remaining: 1 }",
    ));
    steward.aws.with(|registry| {
        let mut filled = repository("app");
        let children: Vec<String> =
            (0..6).map(|number| filled.push(&format!("child {number}"), &[])).collect();
        let children: Vec<&str> = children.iter().map(String::as_str).collect();
        let index = filled.push_index(&children, &["v1"]);
        filled.push("young", &["latest"]);
        for digest in children.iter().copied().chain([index.as_str()]) {
            filled.age(digest, 30.0);
        }
        registry.repositories.insert("app".to_owned(), filled);
    });
    let report = steward.run("r", false);
    assert_eq!(steward.digests("app").len(), 1, "{report:#}");
    // The same where a run was broken off after the index.
    let site = Site::new(", apply: delete, limits: { images: 100, percent: 90, remaining: 1 }");
    site.steward.run("dry", true);
    site.aws().with(|registry| app(registry).images.retain(|image| !image.tags.contains("v1")));
    let report = site.steward.run("r", false);
    assert!(!site.left().contains(&site.app.children[0]), "{report:#}");
}

#[test]
fn calls_to_ecr_are_two_a_repository_one_after_and_six_more_where_something_is_deleted() {
    let policies = "policies:
- { name: payments, repositories: ['app/3'], tags: { team: payments }, rules: [{ selection: any, maximumAgeLimit: 14 }] }
- { name: all, repositories: ['app/*'], rules: [{ selection: { tagPrefixList: [ci-] }, maximumAgeLimit: 14 }], apply: delete,
    limits: { images: 1000, percent: 100, remaining: 1 } }
";
    let of_ecr = |steward: &Steward| -> usize {
        let calls = steward.aws.calls();
        let of_ecr =
            calls.iter().filter(|call| tests::ecr_stub::OPERATIONS.contains(&call.operation.as_str()));
        // Pages of repositories, where deletions are replicated to, and managed signing are read once a run.
        let once = ["DescribeRepositories", "DescribeRegistry", "GetResources", "GetSigningConfiguration"];
        of_ecr.filter(|call| !once.contains(&&*call.operation)).count()
    };
    // Own lifecycle policies are read where something is in use, or would be deleted: here in the third run.
    let steward = Steward::with_policies_file(&policies.replace("14", "4000"));
    steward.aws.with(|registry| {
        for number in 0..10 {
            let name = format!("app/{number}");
            let mut filled = repository(&name);
            fill(&mut filled, &name);
            registry.repositories.insert(name, filled);
        }
    });
    steward.run("first", false);
    // The first policy has the inventory ask for the tags of one.
    assert_eq!(of_ecr(&steward), 20 + 1, "images, and the manifests of indexes");
    steward.aws.forget_calls();
    steward.run("second", false);
    assert_eq!(of_ecr(&steward), 10 + 1, "images");
    steward.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), policies));
    steward.aws.forget_calls();
    let report = steward.run("third", false);
    assert_eq!(report["totals"]["deleted"]["imageTotalCount"], 60, "{report:#}");
    assert_eq!(steward.aws.count("BatchDeleteImage"), 10, "a batch each");
    assert_eq!(of_ecr(&steward), 10 + 1 + 10 * 5 + 1, "only of one the tags decide");
}

#[test]
fn an_attached_policy_is_suspended_when_an_image_in_use_cannot_be_tagged() {
    let attach = ", apply: attach, limits: { images: 10000, percent: 100, remaining: 1 }";
    for operation in ["PutImage", "BatchGetImage"] {
        let site = Site::new(attach);
        site.steward.run("first", false);
        let rules = |site: &Site| {
            let text = site.aws().with(|registry| app(registry).lifecycle_policy.clone().unwrap());
            serde_json::from_str::<Value>(&text).unwrap()["rules"].as_array().unwrap().len()
        };
        assert!(rules(&site) > 1, "it is attached");
        site.use_by_task("app:ci-0", None);
        site.aws().fault_from(operation, Fault::Denied, 0);
        let report = site.steward.run("second", false);
        assert_eq!(of(&report, "app")["status"], "FAILED", "{operation}: {report:#}");
        assert_eq!(rules(&site), 1, "{operation}: what takes nothing is attached: {report:#}");
        // When it can be tagged again the policy acts again.
        site.aws().heal();
        site.steward.run("third", false);
        assert!(rules(&site) > 1, "{operation}");
    }
}

#[test]
fn an_attached_policy_is_suspended_when_enforcing_is_switched_off() {
    let mut site = Site::new(", apply: attach, limits: { images: 10000, percent: 100, remaining: 1 }");
    site.steward.run("first", false);
    site.use_by_task("app:ci-0", None);
    site.steward.switch(false);
    let report = site.steward.run("second", false);
    let (policy, tags) = site.aws().with(|registry| {
        let repository = app(registry);
        (repository.lifecycle_policy.clone().unwrap(), repository.image_mut(&site.app.old[0]).tags.clone())
    });
    let rules = serde_json::from_str::<Value>(&policy).unwrap()["rules"].as_array().unwrap().len();
    assert_eq!(rules, 1, "{report:#}");
    assert!(
        tags.iter().any(|tag| tag.starts_with("ecr-steward-in-use-")),
        "what runs is protected: {tags:?}"
    );
}

#[test]
fn a_list_that_only_runs_without_policies_have_seen_is_missed_too() {
    let site = Site::new(UNLIMITED);
    let file = site.aws().cloud(|cloud| cloud.object_text(&format!("{BUCKET}/policies.yaml")).unwrap());
    site.aws().cloud(|cloud| {
        cloud.upload(&format!("{BUCKET}/policies.yaml"), "policies: []\n");
        cloud.upload(&format!("{BUCKET}/usage/blue.json"), "[]");
    });
    site.steward.run("without", false);
    site.aws().cloud(|cloud| {
        cloud.objects.remove(&format!("{BUCKET}/usage/blue.json"));
        cloud.upload(&format!("{BUCKET}/policies.yaml"), &file);
    });
    let report = site.steward.run("with", false);
    site.assert_untouched("a list is missing");
    assert_eq!(report["gaps"][0]["source"], "usage/blue.json", "{report:#}");
}

/// Replaces the policies file by one that approves itself.
fn change_policies_file(steward: &Steward, more: &str) {
    let text = tests::steward::approved(&policies_file(more));
    steward.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), &text));
}

const ATTACH: &str = ", apply: attach, limits: { images: 10000, percent: 100, remaining: 1 }";

#[test]
fn the_report_says_until_when_an_attached_policy_is_protected_and_what_ecr_expires_by_it() {
    let site = Site::new(ATTACH);
    site.use_by_task("app:ci-0", None);
    let would = site.steward.run("dry", true);
    assert_eq!(would["protection"][0]["lifecyclePolicy"], "TO_BE_ATTACHED", "{would:#}");
    let report = site.steward.run("r", false);
    let reported = &report["protection"][0];
    assert_eq!(
        (&reported["mode"], &reported["lifecyclePolicy"]),
        (&json!("attach"), &json!("ATTACHED")),
        "{report:#}"
    );
    let at = |name: &str| Instant::parse(reported[name].as_str().unwrap()).unwrap().micros();
    assert_eq!(at("protectedUntil") - at("refreshedAt"), 48 * 3_600_000_000);
    assert_eq!(report["protectionHours"], 48);
    assert_eq!(reported["expiringByEcr"], report["totals"]["expiringByEcr"]);
    let planned = of(&report, "app")["results"].as_array().unwrap();
    let planned: Vec<&Value> = planned.iter().filter(|image| image["outcome"] == "PLANNED").collect();
    assert_eq!(json!(planned.len()), reported["expiringByEcr"]["imageTotalCount"], "{report:#}");
    assert!(
        planned.iter().all(|image| image["detail"].as_str().unwrap().starts_with("ECR does it within a day"))
    );
    // A calm day after: the policy is as it was, and so it is told.
    let report = site.steward.run("next", false);
    assert_eq!(report["protection"][0]["lifecyclePolicy"], "UNCHANGED", "{report:#}");
    assert_eq!(report["totals"]["protectedRepositories"], 1);
    let would = site.steward.run("dry again", true);
    assert_eq!(would["protection"][0]["lifecyclePolicy"], "UNCHANGED", "{would:#}");
    assert_eq!(would["status"], "SUCCEEDED");
}

#[test]
fn a_policy_that_the_policies_file_does_not_attach_any_more_is_suspended_reported_and_no_alarm() {
    let site = Site::new(ATTACH);
    site.steward.run("first", false);
    change_policies_file(&site.steward, "");
    let would = site.steward.run("dry", true);
    assert_eq!(would["protection"][0]["lifecyclePolicy"], "TO_BE_SUSPENDED", "{would:#}");
    let report = site.steward.run("second", false);
    assert_eq!(report["status"], "SUCCEEDED", "{report:#}");
    let reported = &report["protection"][0];
    assert_eq!(reported["lifecyclePolicy"], "SUSPENDED", "{report:#}");
    assert_eq!(reported["suspensionIsIntended"], true, "{report:#}");
    assert!(reported["suspendedAt"].is_string(), "{report:#}");
    let drift = of(&report, "app")["drift"].to_string();
    assert!(drift.contains("aws ecr delete-lifecycle-policy --repository-name app"), "{drift}");
    // As long as something of it is left, and then it is none of this stack's any more.
    let report = site.steward.run("third", false);
    assert_eq!(report["status"], "SUCCEEDED", "{report:#}");
    assert_eq!(report["protection"][0]["suspensionIsIntended"], true, "{report:#}");
    assert_eq!(of(&report, "app")["drift"].to_string(), drift);
    site.steward.aws.with(|registry| registry.repositories.get_mut("app").unwrap().lifecycle_policy = None);
    let report = site.steward.run("fourth", false);
    assert_eq!((&report["status"], &report["protection"]), (&json!("SUCCEEDED"), &Value::Null), "{report:#}");
    let report = site.steward.run("fifth", false);
    assert_eq!((&report["status"], &report["protection"]), (&json!("SUCCEEDED"), &Value::Null), "{report:#}");
}

#[test]
fn a_policy_that_is_suspended_since_the_switch_is_off_is_no_alarm() {
    let mut site = Site::new(ATTACH);
    site.steward.run("first", false);
    site.steward.switch(false);
    for run in ["second", "third"] {
        let report = site.steward.run(run, false);
        assert_eq!(report["status"], "SUCCEEDED", "{run}: {report:#}");
        assert_eq!(report["totals"]["suspendedPolicies"], 1, "{run}: {report:#}");
    }
}

#[test]
fn an_own_lifecycle_policy_that_would_expire_what_runs_needs_attention() {
    let now = Instant::now();
    let name = (0..)
        .map(|number| format!("own/{number}"))
        .find(|name| checks_native_policy(name, now, None))
        .unwrap();
    let steward = Steward::with_policies_file(&policies_file(UNLIMITED).replace("['*']", "[other]"));
    steward.aws.with(|registry| {
        let mut filled = repository(&name);
        fill(&mut filled, &name);
        filled.lifecycle_policy = Some(
            r#"{"rules": [{"rulePriority": 1, "selection": {"tagStatus": "any", "countType": "sinceImagePushed",
                "countUnit": "days", "countNumber": 14}, "action": {"type": "expire"}}]}"#
                .to_owned(),
        );
        registry.repositories.insert(name.clone(), filled);
    });
    let calm = steward.run("calm", false);
    assert_eq!(calm["status"], "SUCCEEDED", "nothing runs: {calm:#}");
    steward.aws.cloud(|cloud| use_by_task(cloud, &format!("{name}:ci-0"), None));
    let report = steward.run("r", false);
    assert_eq!(report["status"], "ATTENTION", "{report:#}");
    assert_eq!(report["totals"]["nativePoliciesAtRisk"], 1);
    let reported = of(&report, &name)["nativePolicy"].as_str().unwrap();
    assert!(reported.contains("would expire 1 image in use"), "{reported}");
    let mail = steward.aws.cloud(|cloud| cloud.published.last().map(|mail| format!("{mail:?}")).unwrap());
    assert!(mail.contains("would expire 1 image in use") && mail.contains("apply: protect"), "{mail}");
}

/// A registry of two repositories, and no policies file.
fn without_policies_file() -> Steward {
    let aws = EcrStub::start();
    aws.with(|registry| {
        for name in ["shop/web", "shop/api"] {
            let mut filled = repository(name);
            fill(&mut filled, name);
            for number in 0..25 {
                let digest = filled.push(&format!("{name} build {number}"), &[&format!("build-{number}")]);
                filled.age(&digest, 120.0);
            }
            let orphan = filled.push(&format!("{name} orphan"), &[]);
            filled.age(&orphan, 40.0);
            registry.repositories.insert(name.to_owned(), filled);
        }
    });
    Steward::on(aws)
}

#[test]
fn without_a_policies_file_the_report_shows_what_one_could_free() {
    let steward = without_policies_file();
    steward.aws.with(|registry| {
        let web = registry.repositories.get_mut("shop/web").unwrap();
        web.lifecycle_policy = Some(
            r#"{"rules": [{"rulePriority": 1, "selection": {"tagStatus": "untagged", "countType": "sinceImagePushed",
                "countUnit": "days", "countNumber": 14}, "action": {"type": "expire"}}]}"#
                .to_owned(),
        );
        for image in &mut web.images {
            if image.tags.contains("v1") {
                image.last_pulled_at = Some(1.0);
            }
        }
    });
    steward.aws.cloud(|cloud| use_by_task(cloud, "shop/web:build-0", None));
    let report = steward.run("r", true);
    assert_eq!(report["status"], "SUCCEEDED", "{report:#}");
    let survey = &report["survey"];
    assert_eq!(survey["repositories"], 2, "{report:#}");
    assert_eq!(survey["withoutLifecyclePolicy"], 1, "{survey:#}");
    // The orphan of each; the children of the release are listed, and its signature is about it.
    assert_eq!(survey["untagged"]["imageTotalCount"], 2, "{survey:#}");
    // Of each all but the youngest; of one the release was pulled, its children and its signature with it, and a build runs.
    assert_eq!(survey["neverPulled"]["imageTotalCount"], 2 * 36 - 5, "{survey:#}");
    // 25 builds and the orphan of each, without the ten newest images and what runs.
    let freed = survey["suggested"]["imageTotalCount"].as_u64().unwrap();
    assert!((40..52).contains(&freed), "{survey:#}");
    assert_eq!(survey["tagsInUse"], 1, "{survey:#}");
    assert_eq!(report["totals"]["images"]["imageTotalCount"], 74, "{report:#}");
    assert_eq!(report["largest"].as_array().map(Vec::len), Some(2));
    assert_eq!(steward.aws.count("BatchDeleteImage") + steward.aws.count("PutLifecyclePolicy"), 0);
    let mail = steward.aws.cloud(|cloud| cloud.published.last().map(|mail| format!("{mail:?}")).unwrap());
    assert!(mail.contains("No lifecycle policy") && mail.contains("ecr-steward suggest"), "{mail}");
}

#[test]
fn without_a_policies_file_an_own_policy_that_would_expire_what_runs_needs_attention() {
    let steward = without_policies_file();
    steward.aws.with(|registry| {
        registry.repositories.get_mut("shop/web").unwrap().lifecycle_policy = Some(
            r#"{"rules": [{"rulePriority": 1, "selection": {"tagStatus": "any", "countType": "sinceImagePushed",
                "countUnit": "days", "countNumber": 14}, "action": {"type": "expire"}}]}"#
                .to_owned(),
        );
    });
    steward.aws.cloud(|cloud| use_by_task(cloud, "shop/web:build-0", None));
    let report = steward.run("r", true);
    assert_eq!(report["status"], "ATTENTION", "{report:#}");
    let reported = of(&report, "shop/web")["nativePolicy"].as_str().unwrap();
    assert!(reported.contains("would expire 1 image in use"), "{reported}");
}
