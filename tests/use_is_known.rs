//! What is in use is known, or it is known that it is not: by runs of the real functions, on AWS in memory.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::cloud::{BUCKET, Cloud, EKS_CLUSTERS};
use tests::ecr_stub::{EcrStub, Fault, Registry};
use tests::site::{HOST, repository};
use tests::steward::{Steward, of};

/// Takes everything older than two weeks.
const POLICY: &str = "policies:
- { name: all, repositories: ['*'], rules: [{ selection: any, maximumAgeLimit: 14 }], apply: delete,
    limits: { images: 10000, percent: 100, remaining: 1 } }
";

/// A repository `app` of three builds `ci-0` to `ci-2`, an untagged image, and a young one, `latest`.
struct Site {
    steward: Steward,
    old: Vec<String>,
    untagged: String,
    young: String,
}

impl Site {
    fn new() -> Self {
        let steward = Steward::with_policies_file(POLICY);
        let (old, untagged, young) = steward.aws.with(|registry| {
            let mut app = repository("app");
            let old: Vec<String> =
                (0..3).map(|number| app.push(&format!("old {number}"), &[&format!("ci-{number}")])).collect();
            let untagged = app.push("untagged", &[]);
            for digest in old.iter().chain([&untagged]) {
                app.age(digest, 30.0);
            }
            let young = app.push("young", &["latest"]);
            app.age(&young, 1.0);
            registry.repositories.insert("app".to_owned(), app);
            (old, untagged, young)
        });
        Self { steward, old, untagged, young }
    }

    fn aws(&self) -> &EcrStub {
        &self.steward.aws
    }

    fn cloud<T>(&self, change: impl FnOnce(&mut Cloud) -> T) -> T {
        self.aws().cloud(change)
    }

    /// Adds to the policies file.
    fn say(&self, more: &str) {
        self.cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), &format!("{POLICY}{more}\n")));
    }

    /// Puts a list of references in use.
    fn list(&self, key: &str, references: &[&str]) {
        let text = json!(references).to_string();
        self.cloud(|cloud| cloud.upload(&format!("{BUCKET}/{key}"), &text));
    }

    fn run(&self, id: &str) -> Value {
        self.steward.run(id, false)
    }

    fn left(&self) -> BTreeSet<String> {
        self.steward.digests("app")
    }

    fn all(&self) -> BTreeSet<String> {
        self.old.iter().chain([&self.untagged, &self.young]).cloned().collect()
    }

    /// These are left, and the young one.
    #[track_caller]
    fn assert_left(&self, images: &[&String], why: &Value) {
        let expected: BTreeSet<String> =
            images.iter().map(|&image| image.clone()).chain([self.young.clone()]).collect();
        assert_eq!(self.left(), expected, "{why:#}");
    }

    /// A run changes nothing, and reports this one source as not known. The entry that it prints lets the next one go
    /// on.
    #[track_caller]
    fn assert_gap(&self, source: &str) -> String {
        let report = self.run(&format!("gap-{}", self.cloud(|cloud| cloud.published.len())));
        assert_eq!(self.left(), self.all(), "{report:#}");
        let app = of(&report, "app");
        assert_eq!(app["status"], "BLOCKED", "{report:#}");
        let blockers = app["blockers"].as_array().unwrap();
        assert_eq!(blockers.len(), 1, "{app:#}");
        assert_eq!(blockers[0]["code"], "usage-unknown", "{app:#}");
        let message = blockers[0]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(&format!(": {source}: ")), "{message}");
        message
    }

    /// What the gap's message says was done: the next run deletes again.
    #[track_caller]
    fn assert_goes_on(&self, images: &[&String]) {
        let report = self.run("goes-on");
        assert_eq!(of(&report, "app")["status"], "DONE", "{report:#}");
        self.assert_left(images, &report);
    }

    fn ignore(&self, source: &str) {
        self.say(&format!("usage: {{ ignore: [{{ source: {source}, reason: gone, until: 2999-01-01 }}] }}"));
    }

    fn policy_of_app(&self, statements: &Value) {
        let text = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
        self.aws().with(|registry| registry.repositories.get_mut("app").unwrap().policy = Some(text));
    }
}

fn image(tag: &str) -> String {
    format!("{HOST}/app:{tag}")
}

/// B1: the digest that ECS has pinned is in no task and under no tag.
#[test]
fn a_service_that_is_scaled_to_zero_keeps_the_image_that_it_starts_again() {
    let site = Site::new();
    site.cloud(|cloud| {
        let definition = cloud.ecs.register("web", &[&image("latest")]);
        cloud.ecs.deploy("prod", "web", &definition, Some(&site.untagged));
    });
    let report = site.run("r");
    let revisions: Vec<usize> = site
        .aws()
        .calls()
        .iter()
        .filter(|call| call.operation == "DescribeServiceRevisions")
        .map(|call| call.request["serviceRevisionArns"].as_array().unwrap().len())
        .collect();
    assert_eq!(revisions, [1, 1], "in the inventory, and once more before something goes");
    site.assert_left(&[&site.untagged], &report);
}

/// B1: rolling back needs no new deployment of ours.
#[test]
fn a_service_keeps_the_image_that_it_was_deployed_with_before() {
    let site = Site::new();
    site.cloud(|cloud| {
        let definition = cloud.ecs.register("web", &[&image("latest")]);
        cloud.ecs.deploy("prod", "web", &definition, Some(&site.old[0]));
        cloud.ecs.deploy("prod", "web", &definition, Some(&site.old[1]));
        cloud.ecs.deploy("prod", "web", &definition, Some(&site.untagged));
        cloud.ecs.page = 1;
    });
    let report = site.run("r");
    site.assert_left(&[&site.old[1], &site.untagged], &report);
}

#[test]
fn more_services_than_ecs_describes_revisions_of_at_once_are_all_known() {
    let site = Site::new();
    site.cloud(|cloud| {
        let definition = cloud.ecs.register("web", &[&image("latest")]);
        for number in 0..45 {
            cloud.ecs.deploy("prod", &format!("web-{number}"), &definition, Some(&site.young));
        }
        cloud.ecs.deploy("prod", "zz", &definition, Some(&site.untagged));
    });
    let report = site.run("r");
    site.assert_left(&[&site.untagged], &report);
}

#[test]
fn what_ecs_does_not_report_of_a_service_revision_its_tasks_do() {
    let site = Site::new();
    site.cloud(|cloud| {
        let definition = cloud.ecs.register("web", &[&image("latest")]);
        let revision = cloud.ecs.deploy("prod", "web", &definition, Some(&site.untagged));
        cloud.ecs.indescribable.insert(revision);
    });
    let message = site.assert_gap("ecs/prod/web");
    assert!(message.contains("force-new-deployment"), "{message}");
    site.cloud(|cloud| {
        let definition = cloud.ecs.register("other", &["other:1"]);
        cloud.ecs.run_service_task("prod", "web", &definition, None);
        let definition = cloud.ecs.register("web", &[&image("latest")]);
        cloud.ecs.run_service_task("prod", "web", &definition, Some(&site.untagged));
    });
    site.assert_goes_on(&[&site.untagged]);
    // It is about the repositories that the service names by tag, and can be ignored.
    let site = Site::new();
    site.cloud(|cloud| {
        let definition = cloud.ecs.register("other", &["other:latest"]);
        let revision = cloud.ecs.deploy("prod", "other", &definition, None);
        cloud.ecs.indescribable.insert(revision);
    });
    site.assert_goes_on(&[]);
    let site = Site::new();
    site.cloud(|cloud| {
        let definition = cloud.ecs.register("web", &[&image("latest")]);
        let revision = cloud.ecs.deploy("prod", "web", &definition, None);
        cloud.ecs.indescribable.insert(revision);
    });
    site.assert_gap("ecs/prod/web");
    site.ignore("ecs/prod/web");
    site.assert_goes_on(&[]);
}

/// B2: what is listed as active, or needed, has images.
#[test]
fn a_task_definition_that_cannot_be_described_is_a_gap_and_is_asked_for_again() {
    let site = Site::new();
    let definition = site.cloud(|cloud| {
        let definition = cloud.ecs.register("web", &[&image("ci-0")]);
        cloud.ecs.lost_definitions.insert(definition.clone());
        definition
    });
    let message = site.assert_gap("ecs");
    assert!(message.contains(&definition), "{message}");
    site.cloud(|cloud| {
        let known = cloud.object_text(&format!("{BUCKET}/cache/usage.json")).unwrap_or_default();
        assert!(!known.contains(&definition), "{known}");
        cloud.ecs.lost_definitions.clear();
    });
    site.assert_goes_on(&[&site.old[0]]);
    let site = Site::new();
    site.cloud(|cloud| {
        let definition = cloud.ecs.register("web", &[&image("ci-0")]);
        cloud.ecs.add_service("prod", "web", &[&definition]);
        cloud.ecs.lost_definitions.insert(definition);
    });
    let report = site.run("r");
    assert_eq!(site.left(), site.all(), "{report:#}");
    let sources: Vec<&str> =
        report["gaps"].as_array().unwrap().iter().map(|gap| gap["source"].as_str().unwrap()).collect();
    assert!(sources.contains(&"ecs/prod/web"), "{sources:?}");
}

/// B3: who may write to the bucket cannot say that what runs is not in use.
#[test]
fn a_wrong_cache_frees_nothing_that_a_service_or_a_task_needs() {
    for wrong in [json!([]), json!([image("latest")])] {
        let site = Site::new();
        let cache = site.cloud(|cloud| {
            let by_service = cloud.ecs.register("web", &[&image("ci-0")]);
            cloud.ecs.deploy("prod", "web", &by_service, None);
            let by_task = cloud.ecs.register("job", &[&image("ci-1")]);
            cloud.ecs.run_task("prod", &by_task, None);
            let pinned = cloud.ecs.register("pin", &[&image("latest")]);
            let revision = cloud.ecs.deploy("prod", "pin", &pinned, Some(&site.untagged));
            let lie = json!([{ "image": image("latest"), "imageDigest": site.young }]);
            json!({ "taskDefinitions": { by_service: wrong, by_task: wrong }, "serviceRevisions": { revision: lie } })
        });
        site.cloud(|cloud| cloud.upload(&format!("{BUCKET}/cache/usage.json"), &cache.to_string()));
        let report = site.run("r");
        site.assert_left(&[&site.old[0], &site.old[1], &site.untagged], &report);
    }
}

/// B4: between two reports a cluster starts things.
#[test]
fn what_was_pushed_or_pulled_since_the_oldest_list_was_written_stays() {
    let site = Site::new();
    site.say("usage: { lists: [{ key: usage/eks.json, maximumAgeInHours: 48 }] }");
    site.list("usage/eks.json", &[]);
    site.list("usage/new.json", &[]);
    let now = site.aws().with(|registry| {
        let app = registry.repositories.get_mut("app").unwrap();
        let now = app.image_mut(&site.young).pushed_at + 86_400.0;
        // Pulled an hour ago; pulled within a day before the list was written; pulled long before that.
        app.image_mut(&site.old[0]).last_pulled_at = Some(now - 3600.0);
        app.image_mut(&site.old[1]).last_pulled_at = Some(now - 40.0 * 3600.0);
        app.image_mut(&site.old[2]).last_pulled_at = Some(now - 50.0 * 3600.0);
        now
    });
    assert!(now > 0.0);
    site.cloud(|cloud| cloud.age(&format!("{BUCKET}/usage/eks.json"), 20.0));
    let report = site.run("r");
    site.assert_left(&[&site.old[0], &site.old[1]], &report);
    // A list that may be older than two days says nothing of that.
    let site = Site::new();
    site.say("usage: { lists: [{ key: usage/slow.json, maximumAgeInHours: 100 }] }");
    site.list("usage/slow.json", &[]);
    site.cloud(|cloud| cloud.age(&format!("{BUCKET}/usage/slow.json"), 90.0));
    site.assert_goes_on(&[]);
}

/// B5: a mirror or a pull-through cache under another name.
#[test]
fn a_digest_that_is_seen_running_counts_whatever_it_is_called() {
    let site = Site::new();
    site.cloud(|cloud| {
        let definition = cloud.ecs.register("web", &["registry.example.com/ecr/app:ci-0"]);
        cloud.ecs.run_task("prod", &definition, Some(&site.untagged));
    });
    let elsewhere = format!(
        "999999999999.dkr.ecr.us-east-1.amazonaws.com/x@{}",
        site.old[1].to_uppercase().replace("SHA", "sha")
    );
    site.list("usage/others.json", &[&elsewhere]);
    let report = site.run("r");
    site.assert_left(&[&site.old[1], &site.untagged], &report);
}

/// B6: what names nothing.
#[test]
fn entries_that_name_nothing_make_their_source_a_gap() {
    for (entry, what) in [
        ("sha256:ab12", "is not an image reference"),
        ("app@sha256:ab12", "is cut off"),
        ("not a reference", "is not an image reference"),
    ] {
        let site = Site::new();
        site.list("usage/eks.json", &[entry, &image("ci-0")]);
        let message = site.assert_gap("usage/eks.json");
        assert!(message.contains(what) && message.contains("1 of its 2 entries"), "{message}");
        site.list("usage/eks.json", &[&image("ci-0")]);
        site.assert_goes_on(&[&site.old[0]]);
    }
    // A digest alone counts, and may be the id of something else.
    let site = Site::new();
    site.list("usage/eks.json", &[&site.untagged]);
    let message = site.assert_gap("usage/eks.json");
    assert!(message.contains("without a repository"), "{message}");
    site.ignore("usage/eks.json");
    site.assert_goes_on(&[&site.untagged]);
    // In a task definition and in a function too.
    let site = Site::new();
    site.cloud(|cloud| cloud.ecs.register("web", &["a b"]));
    site.assert_gap("ecs");
    site.ignore("ecs");
    site.assert_goes_on(&[]);
    let site = Site::new();
    site.cloud(|cloud| cloud.functions.add("job", "1", "app@sha256:12", &image("ci-0")));
    site.assert_gap("lambda");
    site.ignore("lambda");
    site.assert_goes_on(&[&site.old[0]]);
}

/// B9: by nobody declared, and missed all the same.
#[test]
fn a_list_that_disappears_or_shrinks_is_missed() {
    let site = Site::new();
    site.list("usage/eks.json", &["app:ci-0", "app:ci-1", "app:ci-2", "a:1", "b:1", "c:1", "d:1"]);
    site.run("first");
    site.cloud(|cloud| cloud.objects.remove(&format!("{BUCKET}/usage/eks.json")));
    let all = site.left();
    let report = site.run("second");
    assert_eq!(report["gaps"][0]["source"], "usage/eks.json", "{report:#}");
    assert!(report["gaps"][0]["problem"].as_str().unwrap().contains("is missing now"), "{report:#}");
    assert_eq!(site.left(), all);
    site.list("usage/eks.json", &[]);
    let report = site.run("third");
    assert!(
        report["gaps"][0]["problem"].as_str().unwrap().contains("it names 0 images now, and 7"),
        "{report:#}"
    );
    assert_eq!(site.left(), all);
    // After a day that is the new normal: as if the run that saw it first had been a day ago.
    let key = format!("{BUCKET}/state/lists.json");
    site.cloud(|cloud| {
        let mut memory: Value = serde_json::from_str(&cloud.object_text(&key).unwrap()).unwrap();
        let seen = &mut memory["lists"]["usage/eks.json"]["shrunkSince"];
        let since = shared::domain::text::instant::Instant::parse(seen.as_str().unwrap()).unwrap();
        let earlier =
            shared::domain::text::instant::Instant::from_micros(since.micros() - 86_400_000_000).unwrap();
        *seen = earlier.to_string().into();
        cloud.upload(&key, &memory.to_string());
    });
    site.assert_goes_on(&[]);
    // One that is gone for good can be ignored.
    let site = Site::new();
    site.list("usage/old.json", &["app:ci-0"]);
    site.run("first");
    site.cloud(|cloud| cloud.objects.remove(&format!("{BUCKET}/usage/old.json")));
    site.ignore("usage/old.json");
    let report = site.run("second");
    site.assert_left(&[], &report);
    assert_eq!(report["ignored"][0]["reason"], "gone", "the report repeats it: {report:#}");
}

#[test]
fn an_object_among_the_lists_that_is_none_by_its_name_is_a_gap() {
    for key in ["usage/eks.JSON", "usage/eks.json.gz"] {
        let site = Site::new();
        site.list(key, &["app:ci-0"]);
        site.list("usage/folder/", &[]);
        site.assert_gap(key);
        site.cloud(|cloud| cloud.objects.remove(&format!("{BUCKET}/{key}")));
        // Its message says to rename it; then it is read.
        site.list("usage/eks.json", &["app:ci-0"]);
        site.assert_goes_on(&[&site.old[0]]);
    }
}

/// B11: the digest is not told, and the tag may have moved.
#[test]
fn a_running_task_that_does_not_report_its_digest_keeps_what_it_may_have_pulled() {
    let site = Site::new();
    site.aws().with(|registry| {
        registry.repositories.get_mut("app").unwrap().age(&site.old[2], 20.0);
    });
    site.cloud(|cloud| {
        let definition = cloud.ecs.register("web", &[&image("latest")]);
        cloud.ecs.run_task_without_digest("prod", &definition, 25.0);
    });
    let report = site.run("r");
    site.assert_left(&[&site.old[0], &site.old[1], &site.untagged], &report);
    assert_eq!(of(&report, "app")["deleted"]["imageTotalCount"], 1);
    site.cloud(|cloud| cloud.ecs.stop_tasks("prod"));
    site.assert_goes_on(&[]);
}

/// B13: who may pull and tells nothing.
#[test]
fn an_account_that_may_pull_needs_a_list_that_covers_it() {
    let allow = |principal: Value, condition: Value| json!([{ "Effect": "Allow", "Principal": principal, "Action": "ecr:BatchGetImage", "Condition": condition }]);
    let site = Site::new();
    site.policy_of_app(&allow(json!({ "AWS": "arn:aws:iam::222222222222:root" }), json!({})));
    let message = site.assert_gap("account/222222222222");
    assert!(message.contains("usage/222222222222/<name>.json"), "{message}");
    site.list("usage/222222222222/eks.json", &["app:ci-0"]);
    site.assert_goes_on(&[&site.old[0]]);
    let site = Site::new();
    let organization = json!({ "StringEquals": { "aws:PrincipalOrgID": "o-abcdefghij" } });
    site.policy_of_app(&allow(json!("*"), organization));
    let message = site.assert_gap("organization/o-abcdefghij");
    assert!(message.contains("usage.accounts"), "{message}");
    site.say("usage: { accounts: ['222222222222'] }");
    site.assert_gap("account/222222222222");
    site.list("usage/222222222222/eks.json", &[]);
    site.assert_goes_on(&[]);
    let site = Site::new();
    site.policy_of_app(&allow(json!("*"), json!({})));
    site.assert_gap("account/*");
    site.ignore("account/*");
    site.assert_goes_on(&[]);
    let site = Site::new();
    site.policy_of_app(&allow(json!({ "Service": "codebuild.amazonaws.com" }), json!({})));
    site.assert_gap("service/codebuild.amazonaws.com");
    site.ignore("service/codebuild.amazonaws.com");
    site.assert_goes_on(&[]);
    // The functions of the own account are asked for.
    let site = Site::new();
    let own =
        json!({ "StringLike": { "aws:sourceArn": "arn:aws:lambda:eu-west-1:123456789012:function:*" } });
    site.policy_of_app(&allow(json!({ "Service": "lambda.amazonaws.com" }), own));
    site.assert_goes_on(&[]);
}

#[test]
fn a_repository_policy_that_cannot_be_read_is_a_gap() {
    let site = Site::new();
    site.aws().fault_from("GetRepositoryPolicy", Fault::Denied, 0);
    site.assert_gap("account/*");
    site.aws().heal();
    site.assert_goes_on(&[]);
}

/// B15: a pull that ECR has recorded today stands for later ones of the day.
#[test]
fn a_pull_within_a_day_before_the_oldest_list_counts_as_a_later_one() {
    let site = Site::new();
    site.list("usage/eks.json", &[]);
    let pulled = |hours: f64| {
        site.aws().with(|registry: &mut Registry| {
            let app = registry.repositories.get_mut("app").unwrap();
            let now = app.image_mut(&site.young).pushed_at + 86_400.0;
            app.image_mut(&site.untagged).last_pulled_at = Some(now - hours * 3600.0);
        });
    };
    pulled(23.0);
    let report = site.run("r");
    site.assert_left(&[&site.untagged], &report);
    pulled(25.0);
    site.assert_goes_on(&[]);
}

/// C11: who may write one list stops no run.
#[test]
fn a_list_that_is_too_large_is_a_gap_and_costs_no_memory() {
    let site = Site::new();
    let huge = format!("[{}\"a\"]", "\"a\",".repeat(7_500_000));
    site.cloud(|cloud| cloud.upload(&format!("{BUCKET}/usage/eks.json"), &huge));
    let message = site.assert_gap("usage/eks.json");
    assert!(message.contains("4 MB"), "{message}");
    let peak = site.steward.inventory().peak();
    assert!(peak < 100_000, "{peak} kB");
    // A large one that names one image a million times is read, and kept small.
    let many = format!("[{}\"app:ci-0\"]", "\"app:ci-0\",".repeat(350_000));
    site.cloud(|cloud| cloud.upload(&format!("{BUCKET}/usage/eks.json"), &many));
    site.assert_goes_on(&[&site.old[0]]);
    let peak = site.steward.inventory().peak();
    assert!(peak < 100_000, "{peak} kB");
}

#[test]
fn an_eks_cluster_without_a_young_list_is_a_gap() {
    let site = Site::new();
    site.cloud(|cloud| cloud.eks_clusters = vec!["web".to_owned(), "batch".to_owned()]);
    site.list("usage/eks/batch.json", &[]);
    let message = site.assert_gap("eks/web");
    assert!(message.contains("usage/eks/web.json"), "{message}");
    site.list("usage/eks/web.json", &["app:ci-0"]);
    site.assert_goes_on(&[&site.old[0]]);
    // Or it is declared, or it does not matter.
    let site = Site::new();
    site.cloud(|cloud| cloud.eks_clusters = vec!["web".to_owned()]);
    site.say("usage: { lists: [{ key: usage/pods.json, cluster: web }] }");
    site.list("usage/pods.json", &["app:ci-1"]);
    site.assert_goes_on(&[&site.old[1]]);
    let site = Site::new();
    site.cloud(|cloud| cloud.eks_clusters = vec!["web".to_owned()]);
    site.assert_gap("eks/web");
    site.ignore("eks/web");
    site.assert_goes_on(&[]);
    // A list that is old tells of nothing.
    let site = Site::new();
    site.cloud(|cloud| cloud.eks_clusters = vec!["web".to_owned()]);
    site.list("usage/eks/web.json", &["app:ci-0"]);
    site.cloud(|cloud| cloud.age(&format!("{BUCKET}/usage/eks/web.json"), 25.0));
    site.assert_gap("usage/eks/web.json");
    site.list("usage/eks/web.json", &["app:ci-0"]);
    site.assert_goes_on(&[&site.old[0]]);
}

#[test]
fn an_entry_that_ignores_a_source_ends_with_its_last_day() {
    let site = Site::new();
    site.cloud(|cloud| cloud.eks_clusters = vec!["old".to_owned()]);
    site.say("usage: { ignore: [{ source: eks/old, reason: gone, until: 2020-01-01 }] }");
    site.assert_gap("eks/old");
    site.say("usage: { ignore: [{ source: eks/old, reason: gone }] }");
    site.assert_goes_on(&[]);
}

#[test]
fn a_service_of_aws_that_does_not_answer_is_a_gap_that_passes_with_it() {
    for (operation, source) in [
        (EKS_CLUSTERS, "eks"),
        ("DescribeRegistry", "replication"),
        ("ListClusters", "ecs"),
        ("DescribeClusters", "ecs"),
        ("ListDaemons", "ecs"),
        ("ListDaemonTaskDefinitions", "ecs"),
        ("DescribeServiceRevisions", "ecs"),
        ("ListServiceDeployments", "ecs"),
        ("ListFunctions", "lambda"),
        ("ListObjectsV2", "usage"),
    ] {
        let site = Site::new();
        site.cloud(|cloud| {
            let definition = cloud.ecs.register("other", &["other:1"]);
            cloud.ecs.deploy("prod", "other", &definition, None);
        });
        site.list("usage/eks.json", &[]);
        // The inventory, but not what lists what the run itself has written.
        site.aws().fault(operation, Fault::Denied, 1);
        let taken = site.steward.take_inventory(&Steward::begin("r", false)).response();
        site.aws().heal();
        for key in site.steward.batches(&taken) {
            site.steward.work(&taken, &key);
        }
        let report = site.steward.report(&taken);
        assert_eq!(site.left(), site.all(), "{operation}: {report:#}");
        assert_eq!(report["gaps"].as_array().unwrap().len(), 1, "{operation}: {report:#}");
        assert_eq!(report["gaps"][0]["source"], source, "{operation}");
        site.assert_goes_on(&[]);
    }
}

#[test]
fn what_a_source_says_counts_although_it_does_not_say_everything() {
    let site = Site::new();
    site.cloud(|cloud| {
        let definition = cloud.ecs.register("web", &[&image("ci-0")]);
        cloud.ecs.run_task("prod", &definition, None);
        let definition = cloud.ecs.register("job", &[&image("ci-1")]);
        cloud.ecs.run_task("test", &definition, None);
    });
    site.say("usage: { ignore: [{ source: ecs, reason: only one cluster counts }] }");
    site.aws().fault_from("ListServices", Fault::Denied, 0);
    let report = site.run("r");
    site.assert_left(&[&site.old[0], &site.old[1]], &report);
}

#[test]
fn a_cluster_of_ecs_that_is_deleted_is_no_gap() {
    let site = Site::new();
    site.cloud(|cloud| {
        let definition = cloud.ecs.register("web", &["other:1"]);
        for cluster in ["prod", "old"] {
            cloud.ecs.run_task(cluster, &definition, None);
        }
        cloud.ecs.delete_cluster("old");
    });
    site.assert_goes_on(&[]);
    // Also when it is deleted between two calls.
    let site = Site::new();
    site.cloud(|cloud| {
        let definition = cloud.ecs.register("web", &["other:1"]);
        cloud.ecs.deploy("old", "web", &definition, None);
    });
    let delete: fn(&mut Registry, &mut Cloud) = |_, cloud| cloud.ecs.delete_cluster("old");
    site.aws().fault("DescribeClusters", Fault::Then(delete), 1);
    site.assert_goes_on(&[]);
}

#[test]
fn what_daemons_start_on_new_instances_stays() {
    let site = Site::new();
    site.cloud(|cloud| {
        cloud.ecs.register_daemon("agent", &[&image("ci-0")]);
        cloud.ecs.add_daemon("prod", "agent", &image("latest"), &site.untagged);
    });
    let report = site.run("r");
    site.assert_left(&[&site.old[0], &site.untagged], &report);
}

#[test]
fn where_deletions_are_replicated_what_runs_there_has_to_be_known() {
    let rule = |prefix: &str, enabled: bool| {
        json!({ "destinations": [{ "region": "us-east-1", "registryId": "222222222222" }],
            "repositoryFilters": [{ "filter": prefix, "filterType": "PREFIX_MATCH" }],
            "deleteReplication": { "enabled": enabled } })
    };
    let site = Site::new();
    site.cloud(|cloud| cloud.replication = vec![rule("ap", true)]);
    site.assert_gap("replication/222222222222/us-east-1");
    let there = "222222222222.dkr.ecr.us-east-1.amazonaws.com/app:ci-1";
    site.list("usage/222222222222/us-east-1/eks.json", &[there]);
    site.assert_goes_on(&[&site.old[1]]);
    for rule in [rule("ap", false), rule("other/", true)] {
        let site = Site::new();
        site.cloud(|cloud| cloud.replication = vec![rule]);
        site.assert_goes_on(&[]);
    }
    let site = Site::new();
    site.cloud(|cloud| cloud.replication = vec![rule("", true)]);
    site.assert_gap("replication/222222222222/us-east-1");
    site.ignore("replication/222222222222/us-east-1");
    site.assert_goes_on(&[]);
}

/// What is asked for the whole account is asked for once a run.
#[test]
fn a_look_right_before_a_deletion_repeats_no_call_about_the_whole_account() {
    let site = Site::new();
    site.cloud(|cloud| {
        let definition = cloud.ecs.register("web", &["other:1"]);
        cloud.ecs.deploy("prod", "web", &definition, None);
        cloud.functions.add("job", "1", &image("ci-0"), &image("ci-0"));
    });
    site.run("r");
    let once = [
        "ListTaskDefinitions",
        "ListServiceDeployments",
        "ListDaemons",
        "ListDaemonTaskDefinitions",
        "DescribeRegistry",
        EKS_CLUSTERS,
        "GetFunction",
    ];
    for operation in once {
        assert_eq!(site.aws().count(operation), 1, "{operation}");
    }
    // In the inventory, before something goes, and after it.
    for operation in ["ListTasks", "ListServices", "DescribeServices", "ListFunctions"] {
        assert_eq!(site.aws().count(operation), 3, "{operation}");
    }
    assert_eq!(site.aws().count("DescribeServiceRevisions"), 3, "what has no digest yet is asked for again");
}

/// A rule that starts a revision that nothing runs and that is deregistered keeps its images.
#[test]
fn a_revision_that_only_a_rule_or_a_state_machine_starts_keeps_its_image() {
    let site = Site::new();
    site.cloud(|cloud| {
        let other = cloud.ecs.register("other", &["other:1"]);
        cloud.ecs.run_task("prod", &other, None);
        let by_rule = cloud.ecs.register("nightly", &[&image("ci-0")]);
        let by_machine = cloud.ecs.register("flow", &[&image("ci-1")]);
        cloud.ecs.deregister(&by_rule);
        cloud.ecs.deregister(&by_machine);
        cloud.sources.rules.start_tasks("default", "nightly", "prod", &by_rule);
        cloud.sources.machines.start_tasks("flow", &by_machine);
    });
    let report = site.run("r");
    site.assert_left(&[&site.old[0], &site.old[1]], &report);
    let results = of(&report, "app")["results"].to_string();
    assert!(results.contains("rule/nightly") && results.contains("stateMachine:flow"), "{results}");
}

#[test]
fn what_is_read_as_a_whole_is_read_once_a_run_and_not_before_each_deletion() {
    let site = Site::new();
    site.cloud(|cloud| {
        cloud.sources.batch.register("job", 3, &image("ci-0"));
        cloud.sources.projects.projects.push(("build".to_owned(), image("ci-1")));
    });
    let report = site.run("r");
    site.assert_left(&[&site.old[0], &site.old[1]], &report);
    for operation in ["batch:DescribeJobDefinitions", "codebuild:ListProjects", "sagemaker:ListModels"] {
        assert_eq!(site.aws().count(operation), 1, "{operation}");
    }
}

#[test]
fn a_source_that_may_not_be_read_blocks_until_it_is_allowed_or_ignored() {
    let site = Site::new();
    site.aws().fault_from("sagemaker:ListModels", Fault::Denied, 0);
    let message = site.assert_gap("sagemaker");
    assert!(message.contains("allow sagemaker:ListModels"), "{message}");
    site.ignore("sagemaker");
    site.assert_goes_on(&[]);
    let site = Site::new();
    site.aws().fault_from("sagemaker:ListModels", Fault::Denied, 0);
    site.assert_gap("sagemaker");
    site.aws().heal();
    site.assert_goes_on(&[]);
}

#[test]
fn the_report_says_of_every_source_whether_it_was_read_completely_and_what_it_names() {
    let site = Site::new();
    site.cloud(|cloud| {
        cloud.lacking = vec!["apprunner".to_owned()];
        cloud.sources.batch.register("job", 1, &image("ci-0"));
        cloud.sources.batch.register("job", 2, &image("ci-1"));
        cloud.functions.add("f", "1", &image("ci-2"), &image("ci-2"));
    });
    site.aws().fault_from("pipes:ListPipes", Fault::Denied, 0);
    let report = site.run("r");
    let reported = |name: &str| {
        let sources = report["usageSources"].as_array().unwrap();
        let source = sources.iter().find(|source| source["source"] == name).unwrap();
        (source["status"].as_str().unwrap().to_owned(), source["imagesInUse"].as_u64().unwrap())
    };
    assert_eq!(reported("batch"), ("COMPLETE".to_owned(), 2));
    assert_eq!(reported("lambda"), ("COMPLETE".to_owned(), 1));
    assert_eq!(reported("pipes"), ("INCOMPLETE".to_owned(), 0));
    assert_eq!(reported("apprunner"), ("NOT_IN_REGION".to_owned(), 0));
    for name in ["ecs", "events", "scheduler", "states", "codebuild", "sagemaker", "usage"] {
        assert_eq!(reported(name).0, "COMPLETE", "{name}");
    }
}

/// What a rollback asks for, and repositories of CDK assets: where the policies file asks for it.
#[test]
fn what_stacks_name_stays_where_the_policies_file_asks_for_it() {
    let template = r#"{"Resources": {"F": {"Code": {"ImageUri":
        {"Fn::Sub": "${AWS::AccountId}.dkr.ecr.${AWS::Region}.${AWS::URLSuffix}/app:ci-0"}}}}}"#;
    let fill = |site: &Site| {
        site.cloud(|cloud| {
            cloud.stacks.create("cdk", template, &[]);
            cloud.stacks.create("service", "Parameters: {}", &[("Image", &image("ci-1"))]);
        });
    };
    let site = Site::new();
    fill(&site);
    site.assert_goes_on(&[]);
    assert_eq!(site.aws().count("DescribeStacks"), 0);
    let site = Site::new();
    fill(&site);
    site.say("usage: { stacks: true }");
    site.aws().fault_from("GetTemplate", Fault::Denied, 0);
    let message = site.assert_gap("stacks");
    assert!(message.contains("allow cloudformation:GetTemplate"), "{message}");
    site.aws().heal();
    site.assert_goes_on(&[&site.old[0], &site.old[1]]);
}

#[test]
fn stacks_are_read_for_the_repositories_that_the_policies_file_names_and_block_no_others() {
    let fill =
        |site: &Site| site.cloud(|cloud| cloud.stacks.create("service", "{}", &[("Image", &image("ci-1"))]));
    let site = Site::new();
    fill(&site);
    site.say("usage: { stacks: ['cdk-*'] }");
    site.aws().fault_from("DescribeStacks", Fault::Denied, 0);
    site.assert_goes_on(&[]);
    assert!(site.aws().count("DescribeStacks") > 0, "they are read all the same");
    let site = Site::new();
    fill(&site);
    site.say("usage: { stacks: ['cdk-*', 'ap*'] }");
    site.aws().fault_from("DescribeStacks", Fault::Denied, 0);
    site.assert_gap("stacks");
    site.aws().heal();
    site.assert_goes_on(&[&site.old[1]]);
}

#[test]
fn what_inspector_has_seen_in_use_stays_and_without_it_nothing_is_blocked() {
    let site = Site::new();
    site.cloud(|cloud| cloud.sources.inspector.images.push(("app".to_owned(), site.untagged.clone(), 1)));
    let report = site.run("r");
    site.assert_left(&[&site.untagged], &report);
    let site = Site::new();
    site.aws().fault_from("inspector2:ListCoverage", Fault::Denied, 0);
    site.assert_goes_on(&[]);
}

/// Neither among what ECS describes nor among what it says is missing.
#[test]
fn what_ecs_leaves_out_of_an_answer_is_not_unused() {
    for (operation, left_out) in [
        ("DescribeClusters", ":cluster/prod"),
        ("DescribeServices", ":service/prod/web"),
        ("DescribeTasks", ":task/prod/"),
    ] {
        let site = Site::new();
        site.cloud(|cloud| {
            let definition = cloud.ecs.register("web", &["other:1"]);
            cloud.ecs.deploy("prod", "web", &definition, Some(&site.untagged));
            cloud.ecs.deploy("prod", "api", &definition, None);
            cloud.ecs.run_task("prod", &definition, Some(&site.old[0]));
            cloud.ecs.run_task("test", &definition, Some(&site.old[1]));
        });
        site.aws().fault_from(operation, Fault::Silent(left_out), 0);
        let message = site.assert_gap("ecs");
        assert!(message.contains(operation), "{message}");
        site.aws().heal();
        site.assert_goes_on(&[&site.old[0], &site.old[1], &site.untagged]);
    }
}

/// Each task set was started when the tag named another image. Tasks do not tell of which set they are.
#[test]
fn of_several_task_sets_the_tasks_of_one_do_not_tell_what_another_starts() {
    for sets in [1, 2] {
        let site = Site::new();
        site.cloud(|cloud| {
            let definition = cloud.ecs.register("web", &[&image("latest")]);
            cloud.ecs.deploy("prod", "web", &definition, None);
            let service = cloud.ecs.service_mut("prod", "web");
            service["deploymentController"] = json!({ "type": "EXTERNAL" });
            service["currentServiceRevisions"] = json!([]);
            service["deployments"] = json!([]);
            service["taskSets"] = vec![json!({ "taskDefinition": definition }); sets].into();
            cloud.ecs.run_service_task("prod", "web", &definition, Some(&site.old[0]));
        });
        match sets {
            1 => site.assert_goes_on(&[&site.old[0]]),
            _ => drop(site.assert_gap("ecs/prod/web")),
        }
    }
}

/// Written with another program's idea of text, or by another's of a list.
#[test]
fn a_list_in_another_coding_is_read_or_is_a_gap_and_never_empty() {
    let reference = image("ci-0");
    let plain = format!("[\"{reference}\"]");
    for (coding, text) in [
        ("line ends of Windows", format!("[\r\n  \"{reference}\"\r\n]\r\n")),
        ("a byte order mark", format!("\u{feff}{plain}")),
        ("an entry twice", format!("[\"{reference}\", \"{reference}\"]")),
        ("the address of a page", format!("[\"https://{reference}\"]")),
        ("a runtime's prefix", format!("[\"docker://{reference}\"]")),
        ("capitals and a port", format!("[\"{}:443/app:ci-0\"]", HOST.to_uppercase())),
    ] {
        let site = Site::new();
        site.cloud(|cloud| cloud.upload(&format!("{BUCKET}/usage/list.json"), &text));
        let report = site.run("r");
        site.assert_left(&[&site.old[0]], &json!({ "coding": coding, "report": report }));
    }
    let utf16: String = plain.chars().flat_map(|letter| [letter, '\0']).collect();
    for (coding, text) in [
        ("UTF-16", utf16),
        ("lines", format!("{reference}\n")),
        ("lines of JSON", format!("\"{reference}\"\n\"{reference}\"\n")),
        ("YAML", format!("- {reference}\n")),
        ("null", "null".to_owned()),
        ("nothing", String::new()),
        ("a comma too many", format!("[\"{reference}\",]")),
        ("what gzip writes, as text", "\u{1f}\u{8b}\u{8}".to_owned()),
        ("an object of objects", json!({ "images": { "app": "ci-0" } }).to_string()),
    ] {
        let site = Site::new();
        site.cloud(|cloud| cloud.upload(&format!("{BUCKET}/usage/list.json"), &text));
        let report = site.run("r");
        assert_eq!(site.left(), site.all(), "{coding}: {report:#}");
        assert_eq!(report["gaps"][0]["source"], "usage/list.json", "{coding}: {report:#}");
    }
}

/// A schedule that has any operation of AWS called is asked for it; what it passes is a text.
#[test]
fn what_a_schedule_starts_by_any_operation_is_in_use() {
    let site = Site::new();
    site.cloud(|cloud| {
        let first = cloud.ecs.register("nightly", &[&format!("{HOST}/app@{}", site.untagged)]);
        for _ in 0..5 {
            cloud.ecs.register("nightly", &["other:1"]);
        }
        let operation = |name: &str, input: &Value| {
            json!({ "Arn": format!("arn:aws:scheduler:::aws-sdk:{name}"), "Input": input.to_string() })
        };
        let update = json!({ "Cluster": "prod", "Service": "web", "TaskDefinition": first });
        cloud.sources.schedules.add("default", "scale", &operation("ecs:updateService", &update));
        let process = json!({ "ProcessingJobName": "<aws.scheduler.execution-id>", "AppSpecification":
            { "ImageUri": image("ci-0") } });
        cloud.sources.schedules.add("default", "process", &operation("sagemaker:createProcessingJob", &process));
    });
    let report = site.run("r");
    site.assert_left(&[&site.old[0], &site.untagged], &report);
    // What is not understood may name anything.
    let site = Site::new();
    site.cloud(|cloud| {
        let target = json!({ "Arn": "arn:aws:scheduler:::aws-sdk:ecs:runTask", "Input": "{\"Count\": <n>}" });
        cloud.sources.schedules.add("default", "odd", &target);
    });
    site.assert_gap("scheduler");
}
