//! Each thing that stands between an image and its end stands there by itself: of everything that can keep an image there is one
//! image that nothing else keeps. By runs of the real functions, on AWS in memory.

use serde_json::{Value, json};
use shared::domain::enforcement::taken::Taken;
use shared::instant::Instant;
use tests::cloud::{BUCKET, Cloud, EKS_CLUSTERS};
use tests::ecr_stub::{Fault, Registry, Repository};
use tests::runtime_api::Answer;
use tests::site::{HOST, UNLIMITED, book, other, repository};
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
    /// And again, right before something goes.
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
fn untold_service(cloud: &mut Cloud, name: &str, definition: &str) {
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
        untold_service(cloud, "service", &definition);
    }),
    ("what a service still runs of its last deployment", Read::Anew, |cloud, used| {
        let definition = superseded(cloud, "deployments", used);
        let newest = register(cloud, "deployments", "other:1");
        untold_service(cloud, "deployments", &newest);
        cloud.ecs.service_mut("prod", "deployments")["deployments"] =
            json!([{ "taskDefinition": newest }, { "taskDefinition": definition }]);
    }),
    ("a task set of a service", Read::Anew, |cloud, used| {
        let definition = superseded(cloud, "sets", used);
        let newest = register(cloud, "sets", "other:1");
        untold_service(cloud, "sets", &newest);
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
        let steward = Steward::with_book(&book(more));
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
        self.steward.tell(&taken)
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

/// What a report tells of an image.
fn fate<'a>(report: &'a Value, digest: &str) -> Option<&'a str> {
    let results = of(report, "app")["results"].as_array()?;
    results.iter().find(|image| image["imageDigest"] == digest)?["outcome"].as_str()
}

fn codes(report: &Value) -> Vec<&str> {
    let obstacles = of(report, "app")["obstacles"].as_array().into_iter().flatten();
    obstacles.map(|held| held["code"].as_str().unwrap()).collect()
}

#[test]
fn a_preview_knows_of_everything_that_uses_an_image() {
    let site = Site::new(UNLIMITED);
    site.use_by(|_| true);
    let report = site.steward.run("r", true);
    assert_eq!(codes(&report), Vec::<&str>::new(), "{report:#}");
    assert_eq!(fate(&report, &site.unused), Some("PLANNED"), "{report:#}");
    for ((source, ..), used) in SOURCES.iter().zip(&site.used) {
        assert_eq!(fate(&report, &used.digest), Some("IN_USE"), "{source}: {report:#}");
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

/// A deployment that is not over yet, or failed, is of an image that ECS goes on starting.
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
fn a_wrong_cache_takes_no_functions_image_away() {
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
fn whatever_call_about_use_is_refused_nothing_goes() {
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

/// What the inventory was told, a look right before something goes is not.
#[test]
fn whatever_call_about_use_is_refused_after_the_inventory_nothing_goes() {
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

/// Something after which it is not known what is in use.
type Trouble = (&'static str, fn(&Steward));

const TROUBLES: [Trouble; 11] = [
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
        let counter = format!("{BUCKET}/{}", Taken::key(Instant::now()));
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
    for (number, (trouble, cause)) in TROUBLES.iter().enumerate() {
        cause(&site.steward);
        let report = site.steward.run(&format!("trouble-{number}"), false);
        assert_eq!(site.rules(), 1, "{trouble}: {report:#}");
        assert!(codes(&report).contains(&"usage-unknown"), "{trouble}: {report:#}");
        heal(&site.steward);
        let report = site.steward.run(&format!("healed-{number}"), false);
        assert!(site.rules() > 1, "{trouble}: {report:#}");
    }
}

#[test]
fn whatever_is_not_known_of_use_blocks_deletion_and_a_preview_says_so() {
    for (trouble, cause) in TROUBLES {
        let site = Site::new(UNLIMITED);
        site.steward.aws.cloud(others);
        heal(&site.steward);
        // Which lists there are is remembered.
        site.steward.run("first", true);
        cause(&site.steward);
        for (run_id, dry_run) in [("preview", true), ("second", false)] {
            let report = site.steward.run(run_id, dry_run);
            assert!(site.left(&site.unused), "{trouble}: {report:#}");
            assert!(codes(&report).contains(&"usage-unknown"), "{trouble}: {run_id}: {report:#}");
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
        cloud.ecs.run_untold_task("prod", &definition, 2.0);
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
            cloud.ecs.run_untold_task("prod", &definition, 2.0);
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

/// A preview tells of it as well.
#[test]
fn a_preview_knows_what_may_be_in_use_unknown() {
    let site = Site::new(UNLIMITED);
    site.steward.aws.cloud(|cloud| {
        let definition = register(cloud, "web", &format!("{HOST}/app:latest"));
        cloud.ecs.run_untold_task("prod", &definition, 2.0);
    });
    let report = site.steward.run("r", true);
    assert_eq!(fate(&report, &site.unused), Some("IN_USE"), "{report:#}");
    let site = Site::new(UNLIMITED);
    let now = tests::clock::micros() as f64 / 1e6;
    site.app(|app| app.image_mut(&site.used[0].digest).last_pulled_at = Some(now - 3600.0));
    site.steward.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/usage/eks.json"), "[]"));
    let report = site.steward.run("r", true);
    assert_eq!(fate(&report, &site.used[0].digest), Some("IN_USE"), "{report:#}");
    assert_eq!(fate(&report, &site.unused), Some("PLANNED"), "{report:#}");
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
    type Odd = (&'static str, &'static str, fn(&Steward));
    let odd: [Odd; 10] = [
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
        ("lists that name too many images together", "usage/1.json", |steward| {
            steward.aws.cloud(|cloud| {
                for list in 0..2 {
                    let images: Vec<String> =
                        (0..60_000).map(|number| format!("other:{list}-{number}")).collect();
                    cloud.upload(&format!("{BUCKET}/usage/{list}.json"), &json!(images).to_string());
                }
            });
        }),
        ("a repository policy that is none", "account/*", |steward| {
            steward.aws.with(|registry| app(registry).policy = Some("{".to_owned()));
        }),
    ];
    for (what, source, cause) in odd {
        let site = Site::new(UNLIMITED);
        cause(&site.steward);
        let report = site.steward.run("r", false);
        assert!(site.left(&site.unused), "{what}: {report:#}");
        let told = of(&report, "app")["obstacles"].to_string();
        assert!(told.contains(&format!("{source}: ")), "{what}: {told}");
    }
}
