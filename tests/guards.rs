//! Each thing that stands between an image and its end stands there by itself: of everything that can keep an image there is one
//! image that nothing else keeps. By runs of the real functions, on AWS in memory.

use std::time::Duration;

use serde_json::{Value, json};
use shared::domain::enforcement::daily_removals::DailyRemovals;
use shared::domain::enforcement::in_use_protection::{protected, takes_nothing};
use shared::domain::lifecycle::{LifecyclePolicy, PolicySource};
use shared::domain::text::instant::Instant;
use tests::cloud::{BUCKET, Cloud, EKS_CLUSTERS};
use tests::ecr_stub::{Fault, Registry, Repository};
use tests::runtime_api::Answer;
use tests::site::{HOST, UNLIMITED, other, policies_file, repository};
use tests::steward::{Steward, of};

/// Enforced by ECR, within no limits of the policy.
const ATTACH: &str = ", apply: attach, limits: { images: 10000, percent: 100, remaining: 1 }";

/// An image that one thing uses.
struct Used {
    /// Its digest.
    digest: String,
    /// Its name by tag, which no other image has.
    name: String,
}

/// How a run reads it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Read {
    /// Once.
    Once,
    /// And again, right before a deletion.
    Anew,
}

/// Something that uses an image, and nothing else does.
type Source = (&'static str, Read, fn(&mut Cloud, &Used));

fn register(cloud: &mut Cloud, family: &str, image: &str) -> String {
    cloud.ecs.register(family, &[image])
}

/// A task definition of the image, by its digest, which is not among the last of its family.
fn superseded(cloud: &mut Cloud, family: &str, used: &Used) -> String {
    let definition = register(cloud, family, &format!("{HOST}/app@{}", used.digest));
    for _ in 0..20 {
        register(cloud, family, "other:1");
    }
    definition
}

/// A service of an image that is not here, of whose pinned digests ECS does not tell.
fn service_without_digests(cloud: &mut Cloud, name: &str, definition: &str) {
    let revision = cloud.ecs.deploy("prod", name, definition, None);
    cloud.ecs.indescribable.insert(revision);
}

const SOURCES: [Source; 15] = [
    ("what a task has pulled, whatever its name", Read::Anew, |cloud, used| {
        let definition = register(cloud, "pulled", "other:1");
        cloud.ecs.run_task("prod", &definition, Some(&used.digest));
    }),
    ("the image of a task that was pulled by its name", Read::Anew, |cloud, used| {
        let definition = register(cloud, "named", "other:1");
        let task = cloud.ecs.run_task("prod", &definition, None);
        cloud.ecs.task_mut("prod", &task)["containers"] = json!([{ "image": used.name }]);
    }),
    ("the definition of a task that does not tell its containers yet", Read::Anew, |cloud, used| {
        let definition = superseded(cloud, "starting", used);
        let task = cloud.ecs.run_task("prod", &definition, None);
        cloud.ecs.task_mut("prod", &task)["containers"] = json!([]);
    }),
    ("the definition of a service", Read::Anew, |cloud, used| {
        let definition = superseded(cloud, "service", used);
        service_without_digests(cloud, "service", &definition);
    }),
    ("what a service still runs of its last deployment", Read::Anew, |cloud, used| {
        let definition = superseded(cloud, "deployments", used);
        let newest = register(cloud, "deployments", "other:1");
        service_without_digests(cloud, "deployments", &newest);
        cloud.ecs.service_mut("prod", "deployments")["deployments"] =
            json!([{ "taskDefinition": newest }, { "taskDefinition": definition }]);
    }),
    ("a task set of a service", Read::Anew, |cloud, used| {
        let definition = superseded(cloud, "sets", used);
        let newest = register(cloud, "sets", "other:1");
        service_without_digests(cloud, "sets", &newest);
        let service = cloud.ecs.service_mut("prod", "sets");
        service["deploymentController"] = json!({ "type": "EXTERNAL" });
        service["taskSets"] = json!([{ "taskDefinition": definition }]);
    }),
    ("what a service has pinned", Read::Anew, |cloud, used| {
        let definition = register(cloud, "pinned", "other:1");
        cloud.ecs.deploy("prod", "pinned", &definition, Some(&used.digest));
    }),
    ("what a service was deployed with before", Read::Once, |cloud, used| {
        let definition = register(cloud, "before", "other:1");
        cloud.ecs.deploy("prod", "before", &definition, Some(&used.digest));
        cloud.ecs.deploy("prod", "before", &definition, Some(&other('e')["other@".len()..]));
    }),
    ("what a daemon has pinned", Read::Once, |cloud, used| {
        cloud.ecs.add_daemon("prod", "agent", "other:1", &used.digest);
    }),
    ("the last revision of a daemon's task definition", Read::Once, |cloud, used| {
        cloud.ecs.register_daemon("agent", &[&used.name]);
    }),
    ("the last revision of a task definition", Read::Once, |cloud, used| {
        register(cloud, "last", &used.name);
    }),
    ("a version of a function", Read::Anew, |cloud, used| {
        cloud.functions.add("job", "3", &used.name, "other:1");
    }),
    ("what a version of a function runs", Read::Anew, |cloud, used| {
        cloud.functions.add("run", "3", "other:1", &format!("{HOST}/app@{}", used.digest));
    }),
    ("a list", Read::Anew, |cloud, used| {
        cloud.upload(&format!("{BUCKET}/usage/eks.json"), &json!([used.name]).to_string());
    }),
    ("what runs where deletions are replicated", Read::Once, |cloud, used| {
        cloud.replication = vec![json!({
            "destinations": [{ "region": "us-east-1", "registryId": "222222222222" }],
            "repositoryFilters": [{ "filter": "app", "filterType": "PREFIX_MATCH" }],
            "deleteReplication": { "enabled": true },
        })];
        let there = used.name.replace(HOST, "222222222222.dkr.ecr.us-east-1.amazonaws.com");
        let key = format!("{BUCKET}/usage/222222222222/us-east-1/pods.json");
        cloud.upload(&key, &json!([there]).to_string());
    }),
];

/// A repository of an old image for each source, one that nothing uses, and a young one.
struct Site {
    steward: Steward,
    used: Vec<Used>,
    unused: String,
}

impl Site {
    fn new(more: &str) -> Self {
        let steward = Steward::with_policies_file(&policies_file(more));
        let (used, unused) = steward.aws.with(|registry| {
            let mut app = repository("app");
            let used = (0..SOURCES.len())
                .map(|number| {
                    let tag = format!("only-{number}");
                    let digest = app.push(&format!("image {number}"), &[&tag]);
                    Used { digest, name: format!("{HOST}/app:{tag}") }
                })
                .collect::<Vec<Used>>();
            let unused = app.push("unused", &["unused"]);
            for digest in used.iter().map(|used| &used.digest).chain([&unused]) {
                app.age(digest, 30.0);
            }
            app.push("young", &["latest"]);
            registry.repositories.insert("app".to_owned(), app);
            (used, unused)
        });
        Self { steward, used, unused }
    }

    /// Everything that these sources use is in use from now on.
    fn use_by(&self, is_wanted: impl Fn(Read) -> bool) {
        self.steward.aws.cloud(|cloud| {
            for ((_, read, start), used) in SOURCES.iter().zip(&self.used) {
                if is_wanted(*read) {
                    start(cloud, used);
                }
            }
        });
    }

    fn left(&self, digest: &str) -> bool {
        self.steward.digests("app").contains(digest)
    }

    /// The inventory, what happens then, and the rest of the run.
    fn run_around(&self, run_id: &str, happens: impl FnOnce()) -> Value {
        let taken = self.steward.take_inventory(&Steward::begin(run_id, false)).response();
        happens();
        for key in self.steward.batches(&taken) {
            self.steward.work(&taken, &key);
        }
        self.steward.report(&taken)
    }

    fn app<T>(&self, look: impl FnOnce(&mut Repository) -> T) -> T {
        self.steward.aws.with(|registry| look(app(registry)))
    }

    /// How many rules the attached policy has.
    fn rules(&self) -> usize {
        let text = self.app(|app| app.lifecycle_policy.clone().unwrap());
        serde_json::from_str::<Value>(&text).unwrap()["rules"].as_array().unwrap().len()
    }
}

fn app(registry: &mut Registry) -> &mut Repository {
    registry.repositories.get_mut("app").unwrap()
}

/// The result of an image in a report.
fn result<'a>(report: &'a Value, digest: &str) -> Option<&'a str> {
    let results = of(report, "app")["results"].as_array()?;
    results.iter().find(|image| image["imageDigest"] == digest)?["outcome"].as_str()
}

fn codes(report: &Value) -> Vec<&str> {
    let blockers = of(report, "app")["blockers"].as_array().into_iter().flatten();
    blockers.map(|blocker| blocker["code"].as_str().unwrap()).collect()
}

#[test]
fn a_preview_knows_of_everything_that_uses_an_image() {
    let site = Site::new(UNLIMITED);
    site.use_by(|_| true);
    let report = site.steward.run("r", true);
    assert_eq!(codes(&report), Vec::<&str>::new(), "{report:#}");
    assert_eq!(result(&report, &site.unused), Some("PLANNED"), "{report:#}");
    for ((source, ..), used) in SOURCES.iter().zip(&site.used) {
        assert_eq!(result(&report, &used.digest), Some("IN_USE"), "{source}: {report:#}");
    }
}

#[test]
fn a_run_keeps_everything_that_something_uses() {
    let site = Site::new(UNLIMITED);
    site.use_by(|_| true);
    let report = site.steward.run("r", false);
    assert!(!site.left(&site.unused), "{report:#}");
    for ((source, ..), used) in SOURCES.iter().zip(&site.used) {
        assert!(site.left(&used.digest), "{source}: {report:#}");
    }
}

#[test]
fn what_comes_into_use_after_the_inventory_stays_whatever_uses_it() {
    let site = Site::new(UNLIMITED);
    site.use_by(|read| read == Read::Once);
    let report = site.run_around("r", || site.use_by(|read| read == Read::Anew));
    assert!(!site.left(&site.unused), "{report:#}");
    for ((source, ..), used) in SOURCES.iter().zip(&site.used) {
        assert!(site.left(&used.digest), "{source}: {report:#}");
    }
}

#[test]
fn where_ecr_enforces_the_policy_everything_that_something_uses_is_protected() {
    let site = Site::new(ATTACH);
    site.use_by(|_| true);
    let report = site.steward.run("r", false);
    assert_eq!(codes(&report), Vec::<&str>::new(), "{report:#}");
    assert!(site.rules() > 1, "{report:#}");
    for ((source, ..), used) in SOURCES.iter().zip(&site.used) {
        let tags = site.app(|app| app.image_mut(&used.digest).tags.clone());
        assert!(tags.iter().any(|tag| tag.starts_with("ecr-steward-in-use-")), "{source}: {tags:?}");
    }
}

/// What a service is deployed with while a run is under way, and what it had before that.
#[test]
fn what_a_service_had_when_the_run_began_stays_though_another_is_deployed_meanwhile() {
    let site = Site::new(UNLIMITED);
    let deploy = |used: &Used| {
        site.steward.aws.cloud(|cloud| {
            let definition = register(cloud, "web", "other:1");
            cloud.ecs.deploy("prod", "web", &definition, Some(&used.digest));
        });
    };
    // Nothing else has told of it: what was deployed first was never planned.
    deploy(&site.used[0]);
    let report = site.run_around("r", || deploy(&site.used[1]));
    assert!(!site.left(&site.unused), "{report:#}");
    assert!(site.left(&site.used[0].digest) && site.left(&site.used[1].digest), "{report:#}");
    // Where ECR enforces the policy, only the look right before counts.
    let site = Site::new(ATTACH);
    let deploy = |used: &Used| {
        site.steward.aws.cloud(|cloud| {
            let definition = register(cloud, "web", "other:1");
            cloud.ecs.deploy("prod", "web", &definition, Some(&used.digest));
        });
    };
    deploy(&site.used[0]);
    let report = site.run_around("r", || deploy(&site.used[1]));
    for used in &site.used[..2] {
        let tags = site.app(|app| app.image_mut(&used.digest).tags.clone());
        assert!(tags.iter().any(|tag| tag.starts_with("ecr-steward-in-use-")), "{tags:?} {report:#}");
    }
}

/// A deployment that is not over yet, or failed, is of an image that ECS keeps starting.
#[test]
fn what_is_being_deployed_to_a_service_stays() {
    for status in ["IN_PROGRESS", "ROLLBACK_IN_PROGRESS", "STOPPED"] {
        let site = Site::new(UNLIMITED);
        site.steward.aws.cloud(|cloud| {
            let definition = register(cloud, "web", "other:1");
            let now = cloud.ecs.deploy("prod", "web", &definition, Some(&site.used[0].digest));
            cloud.ecs.deploy("prod", "web", &definition, Some(&site.used[1].digest));
            cloud.ecs.set_deployment_status("prod", "web", status);
            cloud.ecs.service_mut("prod", "web")["currentServiceRevisions"] = json!([{ "arn": now }]);
        });
        let report = site.steward.run("r", false);
        assert!(!site.left(&site.unused), "{report:#}");
        assert!(site.left(&site.used[0].digest) && site.left(&site.used[1].digest), "{status}: {report:#}");
    }
}

/// The cache says that a version of a function has another image than it runs.
#[test]
fn a_wrong_cache_deletes_no_image_of_a_function() {
    let site = Site::new(UNLIMITED);
    let used = &site.used[0];
    let hex = &used.digest["sha256:".len()..];
    let key = format!("arn:aws:lambda:eu-west-1:123456789012:function:job:3 {hex} 0");
    let lie = json!({ "functions": { key: ["other:1"] } });
    site.steward.aws.cloud(|cloud| {
        cloud.functions.add("job", "3", &used.name, hex);
        cloud.upload(&format!("{BUCKET}/cache/usage.json"), &lie.to_string());
    });
    let report = site.steward.run("r", false);
    assert_eq!(site.steward.aws.count("GetFunction"), 0, "the cache is believed");
    assert!(site.left(&used.digest) && !site.left(&site.unused), "{report:#}");
}

/// What is in use, of images that are not here.
fn others(cloud: &mut Cloud) {
    let used = Used { digest: other('a')["other@".len()..].to_owned(), name: "other:2".to_owned() };
    for (_, _, start) in SOURCES {
        start(cloud, &used);
    }
    cloud.replication.clear();
}

/// What is asked, and the source of the gap where it is not answered.
const CALLS: [(&str, &str); 20] = [
    ("ListClusters", "ecs"),
    ("DescribeClusters", "ecs"),
    ("ListTasks", "ecs"),
    ("DescribeTasks", "ecs"),
    ("ListServices", "ecs"),
    ("DescribeServices", "ecs"),
    ("DescribeServiceRevisions", "ecs"),
    ("ListServiceDeployments", "ecs"),
    ("ListTaskDefinitions", "ecs"),
    ("DescribeTaskDefinition", "ecs"),
    ("ListDaemons", "ecs"),
    ("DescribeDaemon", "ecs"),
    ("DescribeDaemonRevisions", "ecs"),
    ("ListDaemonTaskDefinitions", "ecs"),
    ("DescribeDaemonTaskDefinition", "ecs"),
    ("ListFunctions", "lambda"),
    ("GetFunction", "lambda"),
    (EKS_CLUSTERS, "eks"),
    ("DescribeRegistry", "replication"),
    ("GetRegistryPolicy", "account/*"),
];

fn sources(report: &Value) -> Vec<&str> {
    let gaps = report["gaps"].as_array().into_iter().flatten();
    gaps.map(|gap| gap["source"].as_str().unwrap()).collect()
}

/// Also where only one call of many is refused for good, as by a missing permission.
#[test]
fn whatever_call_about_use_is_refused_nothing_is_deleted() {
    for (operation, source) in CALLS {
        let site = Site::new(UNLIMITED);
        site.steward.aws.cloud(others);
        site.steward.aws.fault_from(operation, Fault::Denied, 0);
        let report = site.steward.run("r", false);
        assert!(site.left(&site.unused), "{operation}: {report:#}");
        assert!(codes(&report).contains(&"usage-unknown"), "{operation}: {report:#}");
        let of_all = ["GetRegistryPolicy"].contains(&operation) || sources(&report).contains(&source);
        assert!(of_all, "{operation}: {report:#}");
        site.steward.aws.heal();
        let report = site.steward.run("again", false);
        assert!(!site.left(&site.unused), "{operation}: {report:#}");
    }
}

/// What the inventory could read, a look right before a deletion cannot.
#[test]
fn whatever_call_about_use_is_refused_after_the_inventory_nothing_is_deleted() {
    for operation in [
        "ListClusters",
        "DescribeClusters",
        "ListTasks",
        "DescribeTasks",
        "ListServices",
        "DescribeServices",
        "DescribeServiceRevisions",
        "ListFunctions",
    ] {
        let site = Site::new(UNLIMITED);
        site.steward.aws.cloud(others);
        let deny = || site.steward.aws.fault_from(operation, Fault::Denied, 0);
        let report = site.run_around("r", deny);
        assert!(site.left(&site.unused), "{operation}: {report:#}");
        assert!(codes(&report).contains(&"usage-unknown"), "{operation}: {report:#}");
    }
    let site = Site::new(UNLIMITED);
    site.steward.aws.cloud(others);
    let list = format!("{BUCKET}/usage/eks.json");
    let remove = || site.steward.aws.cloud(|cloud| _ = cloud.objects.remove(&list));
    let report = site.run_around("r", remove);
    assert!(site.left(&site.unused) && codes(&report).contains(&"usage-unknown"), "{report:#}");
}

/// Something that makes use unclear, and what says so.
type Unclear = (&'static str, &'static str, fn(&Steward));

/// Something after which it is not known what is in use.
type Failing = (&'static str, fn(&Steward));

const FAULTS: [Failing; 11] = [
    ("tasks cannot be listed", |steward| steward.aws.fault_from("ListTasks", Fault::Denied, 0)),
    ("daemons cannot be listed", |steward| steward.aws.fault_from("ListDaemons", Fault::Denied, 0)),
    ("functions cannot be listed", |steward| steward.aws.fault_from("ListFunctions", Fault::Denied, 0)),
    ("clusters of EKS cannot be listed", |steward| steward.aws.fault_from(EKS_CLUSTERS, Fault::Denied, 0)),
    ("the registry cannot be described", |steward| {
        steward.aws.fault_from("DescribeRegistry", Fault::Denied, 0);
    }),
    ("it is not known who may pull", |steward| {
        steward.aws.fault_from("GetRepositoryPolicy", Fault::Denied, 0);
    }),
    ("a list is missing", |steward| {
        steward.aws.cloud(|cloud| cloud.objects.remove(&format!("{BUCKET}/usage/eks.json")));
    }),
    ("a list has shrunk", |steward| {
        steward.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/usage/long.json"), "[]"));
    }),
    ("no list tells of a cluster of EKS", |steward| {
        steward.aws.cloud(|cloud| cloud.eks_clusters = vec!["web".to_owned()]);
    }),
    ("nothing tells of where deletions are replicated", |steward| {
        steward.aws.cloud(|cloud| {
            cloud.replication =
                vec![json!({ "destinations": [{ "region": "eu-north-1", "registryId": "333333333333" }],
                "deleteReplication": { "enabled": true } })];
        });
    }),
    ("everybody may pull", |steward| {
        let policy = json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Principal": "*", "Action": "ecr:BatchGetImage" }] });
        steward.aws.cloud(|cloud| cloud.registry_policy = Some(policy.to_string()));
    }),
];

fn heal(steward: &Steward) {
    steward.aws.heal();
    steward.aws.cloud(|cloud| {
        cloud.upload(&format!("{BUCKET}/usage/eks.json"), "[\"other:1\"]");
        cloud.upload(&format!("{BUCKET}/usage/long.json"), "[\"a:1\", \"a:2\", \"a:3\", \"a:4\"]");
        cloud.eks_clusters.clear();
        cloud.replication.clear();
        cloud.registry_policy = None;
        // A day later: what is attached anew counts anew.
        let counter = format!("{BUCKET}/{}", DailyRemovals::key(Instant::now()));
        cloud.objects.remove(&counter);
    });
}

#[test]
fn whatever_is_not_known_of_use_suspends_the_attached_policy_and_what_is_known_puts_it_back() {
    let site = Site::new(ATTACH);
    site.steward.aws.cloud(others);
    heal(&site.steward);
    let report = site.steward.run("first", false);
    assert!(site.rules() > 1, "{report:#}");
    for (number, (fault, cause)) in FAULTS.iter().enumerate() {
        cause(&site.steward);
        let report = site.steward.run(&format!("trouble-{number}"), false);
        assert_eq!(site.rules(), 1, "{fault}: {report:#}");
        assert!(codes(&report).contains(&"usage-unknown"), "{fault}: {report:#}");
        heal(&site.steward);
        let report = site.steward.run(&format!("healed-{number}"), false);
        assert!(site.rules() > 1, "{fault}: {report:#}");
    }
}

#[test]
fn whatever_is_not_known_of_use_blocks_deletion_and_a_preview_says_so() {
    for (fault, cause) in FAULTS {
        let site = Site::new(UNLIMITED);
        site.steward.aws.cloud(others);
        heal(&site.steward);
        // Which lists there are is remembered.
        site.steward.run("first", true);
        cause(&site.steward);
        for (run_id, dry_run) in [("preview", true), ("second", false)] {
            let report = site.steward.run(run_id, dry_run);
            assert!(site.left(&site.unused), "{fault}: {report:#}");
            assert!(codes(&report).contains(&"usage-unknown"), "{fault}: {run_id}: {report:#}");
        }
    }
}

/// Where ECR enforces the policy, what may be in use without anybody saying so is protected too.
#[test]
fn what_may_be_in_use_unknown_is_protected_where_ecr_enforces_the_policy() {
    let is_protected = |steward: &Steward, digest: &str| {
        let tags = steward.aws.with(|registry| app(registry).image_mut(digest).tags.clone());
        tags.iter().any(|tag| tag.starts_with("ecr-steward-in-use-"))
    };
    // A task that does not tell what it pulled.
    let site = Site::new(ATTACH);
    site.steward.aws.cloud(|cloud| {
        let definition = register(cloud, "web", &format!("{HOST}/app:latest"));
        cloud.ecs.run_task_without_digest("prod", &definition, 2.0);
    });
    let report = site.steward.run("r", false);
    assert!(is_protected(&site.steward, &site.unused), "{report:#}");
    // A pull that the list may not know of.
    let site = Site::new(ATTACH);
    let pulled = &site.used[0].digest;
    site.steward.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/usage/eks.json"), "[]"));
    let now = tests::clock::micros() as f64 / 1e6;
    site.app(|app| app.image_mut(pulled).last_pulled_at = Some(now - 3600.0));
    let report = site.steward.run("r", false);
    assert!(is_protected(&site.steward, pulled), "{report:#}");
    assert!(!is_protected(&site.steward, &site.unused), "{report:#}");
}

/// It comes into use between the inventory and the look, so that no reference says it.
#[test]
fn what_may_be_in_use_unknown_since_the_inventory_stays() {
    let site = Site::new(UNLIMITED);
    let report = site.run_around("r", || {
        site.steward.aws.cloud(|cloud| {
            let definition = register(cloud, "web", &format!("{HOST}/app:latest"));
            cloud.ecs.run_task_without_digest("prod", &definition, 2.0);
        });
    });
    assert!(site.left(&site.unused), "{report:#}");
    // A list that is new tells that it does not know of what was pulled after it.
    let site = Site::new(UNLIMITED);
    let now = tests::clock::micros() as f64 / 1e6;
    site.app(|app| app.image_mut(&site.used[0].digest).last_pulled_at = Some(now - 3600.0));
    let write =
        || site.steward.aws.cloud(|cloud| _ = cloud.upload(&format!("{BUCKET}/usage/eks.json"), "[]"));
    let report = site.run_around("r", write);
    assert!(site.left(&site.used[0].digest) && !site.left(&site.unused), "{report:#}");
}

/// A preview reports it as well.
#[test]
fn a_preview_knows_what_may_be_in_use_unknown() {
    let site = Site::new(UNLIMITED);
    site.steward.aws.cloud(|cloud| {
        let definition = register(cloud, "web", &format!("{HOST}/app:latest"));
        cloud.ecs.run_task_without_digest("prod", &definition, 2.0);
    });
    let report = site.steward.run("r", true);
    assert_eq!(result(&report, &site.unused), Some("IN_USE"), "{report:#}");
    let site = Site::new(UNLIMITED);
    let now = tests::clock::micros() as f64 / 1e6;
    site.app(|app| app.image_mut(&site.used[0].digest).last_pulled_at = Some(now - 3600.0));
    site.steward.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/usage/eks.json"), "[]"));
    let report = site.steward.run("r", true);
    assert_eq!(result(&report, &site.used[0].digest), Some("IN_USE"), "{report:#}");
    assert_eq!(result(&report, &site.unused), Some("PLANNED"), "{report:#}");
}

/// A list that is missing would not be missed.
#[test]
fn without_knowing_which_lists_there_were_there_is_no_run() {
    let site = Site::new(UNLIMITED);
    site.steward.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/state/lists.json"), "nonsense"));
    let answer = site.steward.take_inventory(&Steward::begin("r", false));
    assert!(
        matches!(&answer, Answer::Error(error) if error.to_string().contains("state/lists.json")),
        "{answer:?}"
    );
}

/// What is read, and is no answer.
#[test]
fn answers_about_use_that_cannot_be_read_block_deletion() {
    let invalid_object: [Unclear; 10] = [
        ("a daemon's definition that cannot be described", "ecs", |steward| {
            steward.aws.cloud(|cloud| {
                let definition = cloud.ecs.register_daemon("agent", &["other:1"]);
                cloud.ecs.lost_definitions.insert(definition);
            });
        }),
        ("a daemon's definition that names nothing", "ecs", |steward| {
            steward.aws.cloud(|cloud| cloud.ecs.register_daemon("agent", &["a b"]));
        }),
        ("a daemon's pinned image that names nothing", "ecs", |steward| {
            steward.aws.cloud(|cloud| cloud.ecs.add_daemon("prod", "agent", "a b", "sha256:12"));
        }),
        ("a task of an image that names nothing", "ecs", |steward| {
            steward.aws.cloud(|cloud| {
                let definition = register(cloud, "web", "other:1");
                let task = cloud.ecs.run_task("prod", &definition, None);
                cloud.ecs.task_mut("prod", &task)["containers"] = json!([{ "image": "a b" }]);
            });
        }),
        ("a service's pinned image that names nothing", "ecs", |steward| {
            steward.aws.cloud(|cloud| {
                let definition = register(cloud, "web", "a b");
                cloud.ecs.deploy("prod", "web", &definition, None);
                for _ in 0..20 {
                    register(cloud, "web", "other:1");
                }
            });
        }),
        ("a function without an image", "lambda", |steward| {
            steward.aws.cloud(|cloud| cloud.functions.add_without_image("job", "3"));
        }),
        ("lists beyond number", "usage", |steward| {
            steward.aws.cloud(|cloud| {
                for number in 0..1001 {
                    cloud.upload(&format!("{BUCKET}/usage/{number}.json"), "[]");
                }
            });
        }),
        ("lists that are too long together", "usage/4.json", |steward| {
            steward.aws.cloud(|cloud| {
                let long = format!("[\"other:1\"{}]", " ".repeat(4_000_000));
                for number in 0..5 {
                    cloud.upload(&format!("{BUCKET}/usage/{number}.json"), &long);
                }
            });
        }),
        ("lists that name too many images together", "usage/2.json", |steward| {
            steward.aws.cloud(|cloud| {
                for list in 0..3 {
                    let images: Vec<String> =
                        (0..40_000).map(|number| format!("other:{list}-{number}")).collect();
                    cloud.upload(&format!("{BUCKET}/usage/{list}.json"), &json!(images).to_string());
                }
            });
        }),
        ("a repository policy that is none", "account/*", |steward| {
            steward.aws.with(|registry| app(registry).policy = Some("{".to_owned()));
        }),
    ];
    for (what, source, cause) in invalid_object {
        let site = Site::new(UNLIMITED);
        cause(&site.steward);
        let report = site.steward.run("r", false);
        assert!(site.left(&site.unused), "{what}: {report:#}");
        let reported = of(&report, "app")["blockers"].to_string();
        assert!(reported.contains(&format!("{source}: ")), "{what}: {reported}");
    }
}

/// A repository under ECR's own engine, and what this stack remembers of it.
struct Native {
    site: tests::site::Site,
}

fn policy(rules: &str) -> LifecyclePolicy {
    PolicySource::parse(&format!("rules: [{rules}]")).unwrap().policy().unwrap().clone()
}

const OLD: &str = "{ selection: any, maximumAgeLimit: 14 }";
const RELEASES: &str = "{ selection: { tagPrefixList: [v] }, maximumAgeLimit: 14 }";
const NONE: &str = "{ selection: { tagPrefixList: [no-such-] }, maximumAgeLimit: 14 }";

impl Native {
    /// A repository of this number of images, of which the policy keeps the newest three.
    fn of_large_repository(images: u16) -> Self {
        let native = Self::of_file(
            "policies:
- { name: all, repositories: [app], rules: [{ selection: any, maximumNumberOfImages: 3 }], apply: delete,
    limits: { images: 10000, percent: 100, remaining: 1 } }
",
        );
        native.site.aws().with(|registry| {
            let mut large = repository("app");
            for number in 0..images {
                let digest = large.push(&format!("large {number}"), &[&format!("large-{number}")]);
                large.age(&digest, 100.0 - f64::from(number) / 100.0);
            }
            registry.repositories.insert("app".to_owned(), large);
        });
        let count = json!({ "images": 100_000 }).to_string();
        native.site.aws().cloud(|cloud| cloud.upload(&format!("{BUCKET}/state/registry.json"), &count));
        native
    }

    /// One of which the policies file says this.
    fn of_file(policies: &str) -> Self {
        let site = tests::site::Site::new("");
        let native = Self { site };
        native.say(policies);
        native
    }

    /// One whose policy the policies file has attached.
    fn attaching(rules: &str) -> Self {
        Self::of_file(&attaching(rules))
    }

    /// One that was made over the HTTP API with a policy.
    fn made_with(policies: &str, rules: &str) -> Self {
        let native = Self::of_file(policies);
        native.attach(Some(&protected(&policy(rules)).unwrap().to_json()));
        native.remember(&record("provisioned", rules).to_string());
        native
    }

    fn say(&self, policies: &str) {
        self.site.aws().cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), policies));
    }

    fn attach(&self, policy: Option<&str>) {
        self.site.aws().with(|registry| app(registry).lifecycle_policy = policy.map(str::to_owned));
    }

    fn remember(&self, record: &str) {
        let key = format!("{BUCKET}/state/protection/app.json");
        self.site.aws().cloud(|cloud| cloud.upload(&key, record));
    }

    fn record(&self) -> Value {
        let key = format!("{BUCKET}/state/protection/app.json");
        serde_json::from_str(&self.site.aws().cloud(|cloud| cloud.object_text(&key)).unwrap()).unwrap()
    }

    fn is_suspended(&self) -> bool {
        let text = self.site.aws().with(|registry| app(registry).lifecycle_policy.clone().unwrap());
        takes_nothing(&LifecyclePolicy::parse(&text).unwrap())
    }

    fn is_protected(&self, digest: &str) -> bool {
        let tags = self.site.aws().with(|registry| app(registry).image_mut(digest).tags.clone());
        tags.iter().any(|tag| tag.starts_with("ecr-steward-in-use-"))
    }

    fn run(&self, run_id: &str) -> Value {
        self.site.steward.run(run_id, false)
    }

    /// The inventory, what happens then, and the rest of the run.
    fn run_around(&self, run_id: &str, happens: impl FnOnce()) -> Value {
        let steward = &self.site.steward;
        let taken = steward.take_inventory(&Steward::begin(run_id, false)).response();
        happens();
        for key in steward.batches(&taken) {
            steward.work(&taken, &key);
        }
        steward.report(&taken)
    }

    /// This number of images was deleted from the registry today.
    fn count(&self, images: u64) {
        let key = format!("{BUCKET}/{}", DailyRemovals::key(Instant::now()));
        self.site.aws().cloud(|cloud| cloud.upload(&key, &json!({ "images": images }).to_string()));
    }

    /// How many went.
    fn counted(&self) -> u64 {
        let key = format!("{BUCKET}/{}", DailyRemovals::key(Instant::now()));
        let text = self.site.aws().cloud(|cloud| cloud.object_text(&key).unwrap());
        serde_json::from_str::<Value>(&text).unwrap()["images"].as_u64().unwrap()
    }

    /// The lines of the plans in the journal.
    fn planned(&self) -> Vec<Value> {
        self.site.aws().cloud(|cloud| {
            let mut keys = cloud.keys(BUCKET, "journal/");
            keys.retain(|key| key.contains("/plan-"));
            let texts: Vec<String> =
                keys.iter().map(|key| cloud.object_text(&format!("{BUCKET}/{key}")).unwrap()).collect();
            texts
                .iter()
                .flat_map(|text| text.lines())
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        })
    }

    /// The place of the first call of an operation.
    fn place(&self, operation: &str) -> Option<usize> {
        self.site.aws().calls().iter().position(|call| call.operation == operation)
    }
}

fn attaching(rules: &str) -> String {
    format!("policies:\n- {{ name: all, repositories: ['*'], rules: [{rules}]{ATTACH} }}\n")
}

fn record(mode: &str, rules: &str) -> Value {
    json!({
        "registryId": "123456789012", "repositoryName": "app", "mode": mode,
        "refreshedAt": Instant::now().to_string(), "refreshedBy": "request",
        "lifecyclePolicyText": policy(rules).to_json(),
    })
}

#[test]
fn what_is_not_certain_is_suspended_before_anything_is_tagged() {
    let native = Native::attaching(OLD);
    native.run("first");
    assert!(!native.is_suspended());
    native.site.use_by_task("app:ci-0", None);
    native.site.aws().fault_from("ListFunctions", Fault::Denied, 0);
    native.site.aws().forget_calls();
    let report = native.run("second");
    assert!(native.is_suspended() && native.is_protected(&native.site.app.old[0]), "{report:#}");
    let (suspended, tagged) = (native.place("PutLifecyclePolicy"), native.place("PutImage"));
    assert!(suspended.is_some() && suspended < tagged, "{suspended:?} {tagged:?}");
}

/// Then the tags are all that keeps it.
#[test]
fn what_is_in_use_is_protected_also_where_the_policy_cannot_be_suspended_and_the_report_says_so() {
    let native = Native::attaching(OLD);
    native.run("first");
    native.site.use_by_task("app:ci-0", None);
    native.site.aws().fault_from("ListFunctions", Fault::Denied, 0);
    native.site.aws().fault_from("PutLifecyclePolicy", Fault::Denied, 0);
    let report = native.run("second");
    assert!(!native.is_suspended(), "{report:#}");
    assert!(native.is_protected(&native.site.app.old[0]), "{report:#}");
    assert_eq!(of(&report, "app")["status"], "FAILED", "{report:#}");
}

/// The dead man's switch counts from when the images were read: what was pushed after that has no tag yet.
#[test]
fn protection_is_as_old_as_the_look_at_the_images() {
    let native = Native::attaching(OLD);
    native.site.aws().fault("GetLifecyclePolicy", Fault::Slow(Duration::from_secs(1)), 1);
    native.run("r");
    let refreshed = Instant::parse(native.record()["refreshedAt"].as_str().unwrap()).unwrap();
    let used = Instant::parse(native.planned()[0]["usageReadAt"].as_str().unwrap()).unwrap();
    assert!(refreshed.micros() + 900_000 < used.micros(), "{refreshed} {used}");
}

/// Counted once is counted for as long as the policy acts, and for the day: what a suspended one left is counted again when it acts
/// again on another day, which has a limit of its own.
#[test]
fn what_a_policy_that_was_suspended_expires_is_counted_once_a_day() {
    let native = Native::attaching(OLD);
    native.run("first");
    let once = native.counted();
    assert!(once > 0);
    native.run("second");
    assert_eq!(native.counted(), once);
    native.site.aws().fault_from("ListFunctions", Fault::Denied, 0);
    native.run("third");
    native.site.aws().heal();
    let report = native.run("fourth");
    assert!(!native.is_suspended(), "{report:#}");
    assert_eq!(native.counted(), once, "it comes back on the same day");
    // It was counted yesterday.
    native.site.aws().fault_from("ListFunctions", Fault::Denied, 0);
    native.run("fifth");
    let mut record = native.record();
    assert_eq!(record["counted"]["imageDigests"].as_array().unwrap().len() as u64, once, "{record:#}");
    record["counted"]["day"] = "2026-01-01".into();
    native.remember(&record.to_string());
    native.site.aws().heal();
    native.run("sixth");
    assert!(!native.is_suspended());
    assert_eq!(native.counted(), 2 * once);
}

#[test]
fn past_the_limit_of_a_day_a_suspended_policy_stays_suspended() {
    let native = Native::made_with("policies: []\n", RELEASES);
    native.site.aws().fault_from("ListFunctions", Fault::Denied, 0);
    native.run("first");
    assert!(native.is_suspended());
    native.site.aws().heal();
    native.count(100);
    let report = native.run("second");
    assert!(native.is_suspended(), "{report:#}");
    assert_eq!(codes(&report), ["limit-registry"], "{report:#}");
    native.count(0);
    native.run("third");
    assert!(!native.is_suspended());
}

/// ECR enforces the policy that is attached, and not what a file says that nobody has seen the effect of.
#[test]
fn while_a_file_is_not_previewed_the_attached_policy_is_what_has_to_be_certain() {
    let limited = |rules: &str| {
        format!(
            "policies:\n- {{ name: all, repositories: ['*'], rules: [{rules}], apply: attach, \
             limits: {{ images: 12, percent: 100, remaining: 1 }} }}\n"
        )
    };
    let mut native = Native::of_file(&limited(OLD));
    native.run("first");
    assert!(!native.is_suspended());
    native.site.steward.approves = false;
    native.say(&limited(NONE));
    native.site.aws().with(|registry| {
        for number in 0..10 {
            let digest = app(registry).push(&format!("more {number}"), &[&format!("more-{number}")]);
            app(registry).age(&digest, 40.0);
        }
    });
    let report = native.run("second");
    assert!(native.is_suspended(), "{report:#}");
    assert!(codes(&report).contains(&"limit-images"), "{report:#}");
}

/// By this policy one of the two that nothing uses stays: ECR does not count the one in use, whose protection tag is a tag.
#[test]
fn what_was_never_protected_is_left_to_ecr() {
    let native = Native::of_file("policies: []\n");
    let digests: Vec<String> = native.site.aws().with(|registry| {
        let mut only = repository("only");
        let push = |number: u8| {
            let digest = only.push(&format!("only {number}"), &[]);
            only.age(&digest, 40.0 - f64::from(number));
            digest
        };
        let digests = (0..3).map(push).collect();
        only.push("young", &["latest"]);
        registry.repositories.insert("only".to_owned(), only);
        digests
    });
    native.say(
        "policies:
- { name: only, repositories: [only], rules: [{ selection: untagged, maximumNumberOfImages: 1 }], apply: attach,
    limits: { images: 100, percent: 100, remaining: 1 } }
",
    );
    native.site.use_by_task("only:latest", Some(&digests[2]));
    let report = native.run("r");
    assert_eq!(of(&report, "only")["status"], "DONE", "{report:#}");
    assert_eq!(native.site.aws().count("BatchDeleteImage"), 0, "{report:#}");
    assert_eq!(native.site.steward.digests("only").len(), 4);
    let planned: Vec<Value> =
        native.planned().into_iter().map(|mut line| line["imageDigest"].take()).collect();
    assert_eq!(planned, [json!(digests[0])], "{report:#}");
}

/// What this stack deletes where ECR enforces the policy is only what ECR leaves for good.
#[test]
fn where_ecr_enforces_the_policy_this_stack_deletes_only_what_was_protected_once() {
    let native = Native::attaching(OLD);
    native.site.use_by_task("app:ci-0", None);
    native.run("first");
    assert!(native.is_protected(&native.site.app.old[0]));
    native.site.aws().cloud(|cloud| cloud.ecs.stop_all());
    let report = native.run("second");
    let mut left = native.site.app.all();
    left.remove(&native.site.app.old[0]);
    assert_eq!(native.site.left(), left, "{report:#}");
}

/// ECR acts by itself: tomorrow an image is old enough.
#[test]
fn a_policy_that_expires_nothing_yet_is_suspended_all_the_same_where_something_is_not_known() {
    let fault: [Unclear; 3] = [
        ("use", "usage-unknown", |steward| steward.aws.fault_from("ListFunctions", Fault::Denied, 0)),
        ("an index", "unread-manifest-lists", |steward| {
            steward.aws.with(|registry| {
                let child = app(registry).push("child", &[]);
                app(registry).push_index_with_a_key_twice(&[&child], &["odd"]);
            });
        }),
        ("the time", "clock", |steward| {
            steward.aws.with(|registry| {
                let early = app(registry).push("early", &["early"]);
                app(registry).age(&early, -10.0);
            });
        }),
    ];
    for (what, code, cause) in fault {
        let native = Native::attaching(NONE);
        native.run("first");
        assert!(!native.is_suspended());
        cause(&native.site.steward);
        let report = native.run("second");
        assert!(native.is_suspended(), "{what}: {report:#}");
        let reported = codes(&report);
        assert!(
            !reported.is_empty() && reported.iter().all(|reported| *reported == code),
            "{what}: {report:#}"
        );
    }
}

/// ECR takes a signature with the image that it is about, whether it counts it or not.
#[test]
fn the_plan_behind_a_policy_has_the_signatures_that_expire_with_their_images() {
    let native = Native::attaching(RELEASES);
    let report = native.run("r");
    let planned = native.planned();
    let has = |digest: &String| planned.iter().any(|line| line["imageDigest"] == json!(digest));
    assert!(has(&native.site.app.index) && has(&native.site.app.signature), "{report:#}");
}

/// Where a repository cannot be read its images get no tags.
#[test]
fn an_attached_policy_is_suspended_when_the_repository_cannot_be_read() {
    let native = Native::attaching(OLD);
    native.run("first");
    native.site.aws().fault_from("DescribeImages", Fault::Denied, 0);
    let report = native.run("second");
    assert!(native.is_suspended(), "{report:#}");
    assert_eq!(of(&report, "app")["status"], "FAILED", "{report:#}");
    // A policy of somebody else's is never written.
    let native = Native::of_file("policies:\n- { name: all, repositories: ['*'], apply: protect }\n");
    let text = protected(&policy(OLD)).unwrap().to_json();
    native.attach(Some(&text));
    native.site.aws().fault_from("DescribeImages", Fault::Denied, 0);
    for (run_id, record) in [("r", record("protect", OLD).to_string()), ("s", "nonsense".to_owned())] {
        native.remember(&record);
        let report = native.run(run_id);
        assert_eq!(of(&report, "app")["status"], "FAILED", "{report:#}");
        assert_eq!(native.site.aws().count("PutLifecyclePolicy"), 0, "{record}: {report:#}");
    }
}

/// The tags of the repository decide which policy is for it.
#[test]
fn an_attached_policy_is_suspended_when_it_is_not_known_whether_it_is_for_the_repository() {
    let native = Native::of_file(&format!(
        "policies:\n- {{ name: all, repositories: ['*'], tags: {{ team: web }}, rules: [{OLD}]{ATTACH} }}\n"
    ));
    native.site.aws().with(|registry| {
        app(registry).tags.insert("team".to_owned(), "web".to_owned());
    });
    native.run("first");
    assert!(!native.is_suspended());
    let report =
        native.run_around("second", || native.site.aws().fault_from("ListTagsForResource", Fault::Denied, 0));
    assert!(native.is_suspended(), "{report:#}");
}

/// What this stack attached and remembers nothing of that it can go by.
#[test]
fn an_attached_policy_whose_record_cannot_be_used_is_suspended() {
    let mut of_others = record("provisioned", OLD);
    of_others["registryId"] = "999999999999".into();
    let mut without_policy = record("provisioned", OLD);
    without_policy["lifecyclePolicyText"] = Value::Null;
    let mut of_nonsense = record("provisioned", OLD);
    of_nonsense["lifecyclePolicyText"] = "nonsense".into();
    for record in
        ["nonsense".to_owned(), of_others.to_string(), without_policy.to_string(), of_nonsense.to_string()]
    {
        let native = Native::made_with("policies: []\n", OLD);
        native.remember(&record);
        let report = native.run("r");
        assert!(native.is_suspended(), "{record}: {report:#}");
    }
}

/// The file says nothing of it, and its images are in use all the same.
#[test]
fn without_a_policies_file_what_runs_is_asked_for_where_ecr_enforces_a_policy() {
    let native = Native::made_with("policies: []\n", OLD);
    let old = &native.site.app.old;
    native.site.aws().cloud(|cloud| {
        cloud.ecs.register_daemon("agent", &[&format!("{HOST}/app:ci-0")]);
        cloud.ecs.register("last", &[&format!("{HOST}/app:ci-1")]);
    });
    let report = native.run("r");
    assert!(native.is_protected(&old[0]) && native.is_protected(&old[1]), "{report:#}");
}

/// The policy of somebody else's is replaced while the run is under way.
#[test]
fn a_policy_of_somebody_elses_that_changes_during_the_run_is_not_followed() {
    let native = Native::of_file("policies:\n- { name: all, repositories: ['*'], apply: protect }\n");
    let text = protected(&policy(NONE)).unwrap().to_json();
    native.attach(Some(&text));
    let replace: fn(&mut Registry, &mut Cloud) = |registry, _| {
        app(registry).lifecycle_policy = Some(protected(&policy(OLD)).unwrap().to_json());
    };
    native.site.aws().fault("DescribeImages", Fault::Then(replace), 1);
    let report = native.run("r");
    assert_eq!(codes(&report), ["reassigned"], "{report:#}");
    assert_eq!(of(&report, "app")["status"], "BLOCKED", "{report:#}");
}

/// Who may write to the bucket cannot put another file below a run.
#[test]
fn a_run_whose_policies_are_not_those_that_it_began_with_deletes_nothing() {
    let site = Site::new(UNLIMITED);
    let taken = site.steward.take_inventory(&Steward::begin("r", false)).response();
    site.steward.aws.cloud(|cloud| {
        let mut keys = cloud.keys(BUCKET, "runs/r/");
        keys.retain(|key| key.ends_with("/policies.yaml"));
        assert_eq!(keys.len(), 1);
        let wider = policies_file(UNLIMITED).replace("maximumAgeLimit: 14", "maximumAgeLimit: 1");
        cloud.upload(&format!("{BUCKET}/{}", keys[0]), &wider);
    });
    for key in site.steward.batches(&taken) {
        let answer = site.steward.invoke(&Steward::task(&taken, &key));
        assert!(matches!(&answer, Answer::Error(error) if error.to_string().contains("hash")), "{answer:?}");
    }
    assert!(site.left(&site.unused));
}

/// Whoever asks for another policy while a run is under way gets that one, by the next run.
#[test]
fn a_policy_that_is_asked_for_during_a_run_is_not_overwritten_by_it() {
    let native = Native::made_with("policies: []\n", RELEASES);
    let ask: fn(&mut Registry, &mut Cloud) = |_, cloud| {
        let key = format!("{BUCKET}/state/protection/app.json");
        cloud.upload(&key, &record("provisioned", NONE).to_string());
    };
    native.site.aws().fault("GetLifecyclePolicy", Fault::Then(ask), 1);
    let report = native.run("first");
    assert_eq!(codes(&report), ["reassigned"], "{report:#}");
    let asked = json!(policy(NONE).to_json());
    assert_eq!(native.record()["lifecyclePolicyText"], asked, "{report:#}");
    native.run("second");
    let text = native.site.aws().with(|registry| app(registry).lifecycle_policy.clone().unwrap());
    assert_eq!(text, protected(&policy(NONE)).unwrap().to_json());
}

/// No rule but one looks into the archive; where one does, an image there is as good as any other.
#[test]
fn an_archived_image_in_use_that_cannot_be_protected_suspends_a_policy_that_looks_into_the_archive() {
    for (rules, is_suspended) in [("{ selection: any, maximumDaysInArchive: 90 }", true), (NONE, false)] {
        let native = Native::attaching(rules);
        native.run("first");
        assert!(!native.is_suspended());
        let digest: &'static str = native.site.app.old[0].clone().leak();
        native.site.aws().with(|registry| {
            let image = app(registry).image_mut(digest);
            image.archived = true;
            image.last_archived_at = Some(image.pushed_at);
        });
        native.site.use_by_task("app:latest", Some(digest));
        native.site.aws().fault_from("BatchGetImage", Fault::ForImages(digest), 0);
        let report = native.run("second");
        assert_eq!(native.is_suspended(), is_suspended, "{rules}: {report:#}");
    }
}

/// What it lists cannot be read from the archive.
#[test]
fn an_index_whose_children_could_not_be_written_down_is_not_archived() {
    let policies = "policies:
- { name: all, repositories: [app], rules: [{ selection: any, maximumDaysSincePull: 14, action: archive }], apply: delete,
    limits: { images: 10000, percent: 100, remaining: 1 } }
";
    for (is_refused, is_archived) in [(true, false), (false, true)] {
        let native = Native::of_file(policies);
        if is_refused {
            native.site.aws().fault_at("PutObject", "cache/indexes", Fault::Denied);
        }
        let report = native.run("r");
        let index = native.site.app.index.clone();
        let archived = native.site.aws().with(|registry| app(registry).image_mut(&index).archived);
        assert_eq!(archived, is_archived, "{report:#}");
    }
}

/// Also in a repository that is too large to be read again before each batch.
#[test]
fn in_a_large_repository_too_the_newest_of_those_that_are_there_stay() {
    let native = Native::of_large_repository(1003);
    let by_hand: fn(&mut Registry, &mut Cloud) = |registry, _| {
        let images = &mut app(registry).images;
        images.sort_by(|one, two| one.pushed_at.total_cmp(&two.pushed_at));
        images.truncate(1000);
    };
    // After the repository was read, of which the plan is made.
    native.site.aws().fault("GetRepositoryPolicy", Fault::Then(by_hand), 1);
    let report = native.run("r");
    assert_eq!(native.site.left().len(), 3, "{report:#}");
}

/// Deleted by hand and pushed once more: it is a new image of the same digest and tags.
#[test]
fn an_image_that_is_pushed_again_after_the_plan_stays_also_in_a_large_repository() {
    let native = Native::of_large_repository(1003);
    let push: fn(&mut Registry, &mut Cloud) = |registry, _| {
        let now = tests::clock::micros() as f64 / 1e6;
        let image = app(registry).images.iter_mut().find(|image| image.tags.contains("large-0"));
        image.unwrap().pushed_at = now;
    };
    native.site.aws().fault("GetRepositoryPolicy", Fault::Then(push), 1);
    let report = native.run("r");
    let tags = native.site.aws().with(|registry| {
        app(registry).images.iter().flat_map(|image| image.tags.clone()).collect::<Vec<String>>()
    });
    assert!(tags.contains(&"large-0".to_owned()), "{tags:?} {report:#}");
    assert_eq!(tags.len(), 4);
}

/// Something comes into use while the images of a large repository go, which takes more than a minute.
#[test]
fn while_many_images_are_deleted_what_is_in_use_and_what_is_in_the_repository_is_looked_at_again() {
    let native = Native::of_large_repository(1903);
    // Nineteen calls, a minute and more.
    let comes_into_use: fn(&mut Registry, &mut Cloud) = |_, cloud| {
        for number in [0, 1899] {
            let definition = register(cloud, "web", &format!("{HOST}/app:large-{number}"));
            cloud.ecs.run_task("prod", &definition, None);
        }
    };
    native.site.aws().fault("BatchDeleteImage", Fault::Then(comes_into_use), 1);
    native.site.aws().fault_from("BatchDeleteImage", Fault::Slow(Duration::from_secs(4)), 1);
    let report = native.run("r");
    let calls = native.site.aws().calls();
    let deleted = |tag: &str| {
        let digest = native.site.aws().with(|registry| {
            let image = app(registry).images.iter().find(|image| image.tags.contains(tag));
            image.map(|image| image.digest.clone())
        });
        let deletions = calls.iter().filter(|call| call.operation == "BatchDeleteImage");
        digest
            .is_none_or(|digest| deletions.into_iter().any(|call| call.request.to_string().contains(&digest)))
    };
    let last = ["large-0", "large-1899"].into_iter().filter(|tag| !deleted(tag)).count();
    assert!(last > 0, "what goes last is still there when use is looked at again: {report:#}");
    // The whole, and not only the images of a batch.
    let is_whole = |request: &Value| request["imageIds"].is_null() && request["nextToken"].is_null();
    let whole = calls.iter().filter(|call| call.operation == "DescribeImages" && is_whole(&call.request));
    assert!(whole.count() >= 2, "{report:#}");
}

/// What runs before a deletion may take long: use is read again right before it.
#[test]
fn what_comes_into_use_while_a_batch_is_prepared_for_long_stays() {
    let site = Site::new(UNLIMITED);
    let start: fn(&mut Registry, &mut Cloud) = |_, cloud| {
        let definition = register(cloud, "late", &format!("{HOST}/app:unused"));
        cloud.ecs.run_task("prod", &definition, None);
    };
    let aws = &site.steward.aws;
    aws.fault("BatchGetImage", Fault::Then(start), 1);
    // The counter of the day, the journal, and once more both.
    for path in ["state/taken", "journal/"] {
        aws.fault_at("PutObject", path, Fault::Slow(Duration::from_millis(7500)));
    }
    aws.fault_at("GetObject", "state/taken", Fault::Slow(Duration::from_millis(7500)));
    let report = site.steward.run("r", false);
    assert!(site.left(&site.unused), "{report:#}");
    assert_eq!(site.steward.aws.count("BatchDeleteImage"), site.used.len().div_ceil(100), "{report:#}");
    assert_eq!(report["totals"]["putBack"]["imageTotalCount"], 0, "{report:#}");
}

/// AWS throttles the deletion itself.
#[test]
fn what_comes_into_use_while_its_deletion_is_throttled_stays() {
    let site = Site::new(UNLIMITED);
    let aws = site.steward.aws.clone();
    aws.fault_from("BatchDeleteImage", Fault::Throttled, 0);
    let healing = std::thread::spawn(move || {
        while aws.count("BatchDeleteImage") == 0 {
            std::thread::sleep(Duration::from_millis(50));
        }
        aws.cloud(|cloud| {
            let definition = register(cloud, "late", &format!("{HOST}/app:unused"));
            cloud.ecs.run_task("prod", &definition, None);
        });
        std::thread::sleep(Duration::from_secs(23));
        aws.heal();
    });
    let report = site.steward.run("r", false);
    healing.join().unwrap();
    assert!(site.left(&site.unused), "{report:#}");
    assert!(!site.left(&site.used[0].digest), "the others go: {report:#}");
    assert_eq!(report["totals"]["putBack"]["imageTotalCount"], 0, "{report:#}");
}

/// Who cannot say what is in use in its time says that, and does not wait until it is killed.
#[test]
fn sources_of_use_that_never_answer_end_an_invocation_in_its_time() {
    let site = Site::new(UNLIMITED);
    let inventory = tests::cloud::function(&site.steward.aws, "lifecycle-inventory", Duration::from_secs(6));
    for operation in ["ListClusters", "ListFunctions", "DescribeRegistry"] {
        site.steward.aws.fault_from(operation, Fault::Hang, 0);
        let input = Steward::begin(operation, false).to_string();
        let began = std::time::Instant::now();
        let (error_type, message) = inventory.invoke(input).error();
        assert_eq!(error_type, "OutOfTime", "{operation}: {message}");
        assert!(began.elapsed() < Duration::from_secs(6), "{operation}");
        heal(&site.steward);
    }
}
