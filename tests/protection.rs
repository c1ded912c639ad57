//! What ECR itself takes behind a policy that this stack attached, or that is somebody else's, and what it never takes: by the real
//! functions on AWS in memory. ECR's engine is a plain evaluator that knows nothing of use.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shared::domain::enforcement::batch::checks_native_policy;
use shared::domain::enforcement::daily_removals::DailyRemovals;
use shared::domain::enforcement::in_use_protection::{TakesNothing, protected};
use shared::domain::lifecycle::{LifecyclePolicy, PolicySource};
use shared::domain::text::instant::Instant;
use tests::cloud::{BUCKET, Cloud};
use tests::ecr_engine;
use tests::ecr_stub::{EcrStub, Fault, Registry, Repository};
use tests::site::{HOST, Site, UNLIMITED, fill, policies_file, repository, set, use_by_task};
use tests::steward::{Steward, codes, of};

type Happens = fn(&mut Registry, &mut Cloud);

/// ECR takes everything older than two weeks, whatever part of the repository that is.
const ATTACH: &str = ", apply: attach, limits: { images: 10000, percent: 100, remaining: 1 }";
/// Of the builds the four newest stay: ECR takes `ci-0` and `ci-1`.
const FOUR_BUILDS: &str = "{ selection: { tagPrefixList: [ci-] }, maximumNumberOfImages: 4 }";
/// Everything older than two weeks.
const TWO_WEEKS: &str = "{ selection: any, maximumAgeLimit: 14 }";
/// The file protects, and the policy is somebody else's.
const PROTECT: &str = "policies:
- { name: all, repositories: ['*'], apply: protect, limits: { images: 10000, percent: 100, remaining: 1 } }
";
/// The file knows no repository.
const OF_OTHERS: &str = "policies:
- { name: others, repositories: ['others/*'], rules: [{ selection: any, maximumAgeLimit: 14 }], apply: delete }
";

/// What happens in the registry of a site.
trait Protected {
    fn say(&self, policies: &str);
    fn policy(&self) -> Option<String>;
    fn attach_by_hand(&self, policy: Option<&str>);
    fn tags(&self, digest: &str) -> BTreeSet<String>;
    fn taken_by_ecr(&self) -> BTreeSet<String>;
    fn is_suspended(&self) -> bool;
    fn acts(&self) -> bool;
    fn record(&self) -> Option<Value>;
    fn remember(&self, record: &Value);
    fn journal(&self, is_wanted: fn(&str) -> bool) -> Vec<Value>;
    fn protect_only(&self, run_id: &str) -> Value;
    fn puts_of_policies(&self) -> usize;
    fn end_use(&self);
    fn lone(&self, content: &str, tags: &[&str]) -> String;
}

/// What the dead man's switch answers.
fn suspend(site: &Site, event: &str) -> Value {
    let function = tests::cloud::function(site.aws(), "lifecycle-suspend", tests::steward::PLENTY);
    function.invoke(event).response()
}

fn app(registry: &mut Registry) -> &mut Repository {
    registry.repositories.get_mut("app").unwrap()
}

impl Protected for Site {
    fn say(&self, policies: &str) {
        self.aws().cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), policies));
    }

    fn policy(&self) -> Option<String> {
        self.aws().with(|registry| app(registry).lifecycle_policy.clone())
    }

    fn attach_by_hand(&self, policy: Option<&str>) {
        self.aws().with(|registry| app(registry).lifecycle_policy = policy.map(str::to_owned));
    }

    fn tags(&self, digest: &str) -> BTreeSet<String> {
        self.aws().with(|registry| app(registry).image_mut(digest).tags.clone())
    }

    fn taken_by_ecr(&self) -> BTreeSet<String> {
        ecr_engine::takes(self.aws(), "app")
    }

    /// Whether the attached policy is the protection rule and nothing else.
    fn is_suspended(&self) -> bool {
        let Some(policy) = self.policy() else { return false };
        let policy: Value = serde_json::from_str(&policy).unwrap();
        let rules = policy["rules"].as_array().unwrap();
        rules.len() == 1 && rules[0]["selection"]["tagPrefixList"] == json!(["ecr-steward-in-use-"])
    }

    fn acts(&self) -> bool {
        self.policy().is_some() && !self.is_suspended()
    }

    fn record(&self) -> Option<Value> {
        let text =
            self.aws().cloud(|cloud| cloud.object_text(&format!("{BUCKET}/state/protection/app.json")));
        text.map(|text| serde_json::from_str(&text).unwrap())
    }

    fn remember(&self, record: &Value) {
        self.aws()
            .cloud(|cloud| cloud.upload(&format!("{BUCKET}/state/protection/app.json"), &record.to_string()));
    }

    /// The lines of the journal in objects whose names are wanted.
    fn journal(&self, is_wanted: fn(&str) -> bool) -> Vec<Value> {
        self.aws().cloud(|cloud| {
            let mut keys = cloud.keys(BUCKET, "journal/");
            keys.retain(|key| is_wanted(key.rsplit('/').next().unwrap()));
            let texts: Vec<String> =
                keys.iter().map(|key| cloud.object_text(&format!("{BUCKET}/{key}")).unwrap()).collect();
            texts
                .iter()
                .flat_map(|text| text.lines())
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        })
    }

    fn protect_only(&self, run_id: &str) -> Value {
        protect_only(&self.steward, run_id)
    }

    fn puts_of_policies(&self) -> usize {
        self.aws().count("PutLifecyclePolicy")
    }

    fn end_use(&self) {
        self.aws().cloud(|cloud| cloud.ecs.stop_all());
    }

    /// One more image, forty days old.
    fn lone(&self, content: &str, tags: &[&str]) -> String {
        self.aws().with(|registry| {
            let digest = app(registry).push(content, tags);
            app(registry).age(&digest, 40.0);
            digest
        })
    }
}

/// A run that only protects, as the hourly schedule starts it.
fn protect_only(steward: &Steward, run_id: &str) -> Value {
    let mut input = Steward::begin(run_id, false);
    input["run"]["protectOnly"] = true.into();
    let taken = steward.take_inventory(&input).response();
    for key in steward.batches(&taken) {
        assert!(key.contains("/enforce/"), "{key}");
        steward.work(&taken, &key);
    }
    steward.report(&taken)
}

fn is_removal(name: &str) -> bool {
    !is_plan(name) && !is_policy(name)
}

fn is_plan(name: &str) -> bool {
    name.starts_with("plan-")
}

fn is_policy(name: &str) -> bool {
    name.starts_with("policy-")
}

/// A site whose policies file is this one.
fn site(policies: &str) -> Site {
    let site = Site::new("");
    site.say(policies);
    // No two builds are of one moment.
    site.aws().with(|registry| {
        for (number, digest) in (0_u8..).zip(&site.app.old) {
            app(registry).age(digest, 40.0 - f64::from(number));
        }
    });
    site
}

/// A policies file that has these rules attached.
fn attaching(rules: &str) -> String {
    format!("policies:\n- {{ name: all, repositories: ['*'], rules: [{rules}]{ATTACH} }}\n")
}

/// A policy as ECR has it.
fn native(rules: &str) -> LifecyclePolicy {
    PolicySource::parse(&format!("rules: [{rules}]")).unwrap().policy().unwrap().clone()
}

/// The same behind the protection rule.
fn behind(rules: &str) -> String {
    protected(&native(rules)).unwrap().to_json()
}

/// What a repository is remembered with that was made over the HTTP API with such a policy.
fn made_with(rules: &str) -> Value {
    json!({
        "registryId": "123456789012", "repositoryName": "app", "mode": "provisioned",
        "refreshedAt": Instant::now().to_string(), "refreshedBy": "request",
        "lifecyclePolicyText": native(rules).to_json(),
    })
}

/// A repository that was made over the HTTP API with such a policy, of which the policies file says this.
fn provisioned(policies: &str, rules: &str) -> Site {
    let site = site(policies);
    site.remember(&made_with(rules));
    site.attach_by_hand(Some(&behind(rules)));
    site
}

fn protection_tag(digest: &str) -> String {
    format!("ecr-steward-in-use-{}", digest.trim_start_matches("sha256:"))
}

/// The place of the first call of an operation with something in it.
fn call(aws: &EcrStub, operation: &str, text: &str) -> Option<usize> {
    aws.calls().iter().position(|call| {
        call.operation == operation && call.status == 200 && call.request.to_string().contains(text)
    })
}

fn counted_today(site: &Site) -> u64 {
    let key = format!("{BUCKET}/{}", DailyRemovals::key(Instant::now()));
    let text = site.aws().cloud(|cloud| cloud.object_text(&key));
    text.map_or(0, |text| serde_json::from_str::<Value>(&text).unwrap()["images"].as_u64().unwrap())
}

/// A1: the rollback target, after each deployment of a moving tag.
#[test]
fn an_image_that_ran_until_this_minute_is_not_expired_by_ecr_and_is_deleted_within_limits_and_by_the_journal()
{
    let site = Site::new(ATTACH);
    let lone = site.lone("lone", &[]);
    site.use_by_task("app:latest", Some(&lone));
    site.steward.run("r", false);
    assert!(site.acts());
    site.end_use();
    assert!(!site.taken_by_ecr().contains(&lone));
    ecr_engine::act(site.aws(), "app");
    assert!(site.left().contains(&lone));
    // Its going counts against the limits of the policy.
    let narrow = policies_file(", apply: attach, limits: { images: 10000, percent: 40, remaining: 1 }");
    site.say(&narrow);
    let report = site.steward.run("s", false);
    assert_eq!(codes(of(&report, "app")), ["limit-percent"], "{report:#}");
    assert!(site.left().contains(&lone) && site.is_suspended());
    site.say(&policies_file(ATTACH));
    let report = site.steward.run("t", false);
    assert!(!site.left().contains(&lone), "{report:#}");
    let lines = site.journal(is_removal);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!((lines[0]["imageDigest"].as_str(), lines[0]["policy"].as_str()), (Some(&*lone), Some("all")));
    let (written, deleted) =
        (call(site.aws(), "PutObject", &lone), call(site.aws(), "BatchDeleteImage", &lone));
    assert!(written.is_some() && written < deleted);
}

/// A1: what no rule takes stays, whether it ran or not.
#[test]
fn what_ran_once_and_no_rule_expires_is_kept() {
    let site = site(&attaching(FOUR_BUILDS));
    let lone = site.lone("lone", &[]);
    site.use_by_task("app:latest", Some(&lone));
    site.steward.run("r", false);
    site.end_use();
    for run in ["s", "t"] {
        ecr_engine::act(site.aws(), "app");
        site.steward.run(run, false);
        assert!(site.left().contains(&lone));
    }
}

/// A2: whatever ECR says of the tag.
#[test]
fn where_a_protection_tag_cannot_be_put_the_policy_is_suspended() {
    for error in [
        "InvalidParameterException",
        "ImageTagAlreadyExistsException",
        "LimitExceededException",
        "KmsException",
        "ImageDigestDoesNotMatchException",
        "ReferencedImagesNotFoundException",
        "AccessDeniedException",
    ] {
        let site = Site::new(ATTACH);
        site.steward.run("r", false);
        assert!(site.taken_by_ecr().contains(&site.app.old[1]), "{error}");
        site.use_by_task("app:ci-1", None);
        site.aws().fault_from("PutImage", Fault::Error(error, "it is so"), 0);
        let report = site.steward.run("s", false);
        assert!(site.is_suspended(), "{error}: {report:#}");
        assert_eq!(site.taken_by_ecr(), BTreeSet::new());
        assert!(
            matches!(of(&report, "app")["status"].as_str(), Some("FAILED" | "BLOCKED")),
            "{error}: {report:#}"
        );
        let why = site.record().unwrap()["suspended"]["reason"].to_string();
        assert!(why.contains("PutImage"), "{error}: {why}");
        // When it can be put again the policy acts again.
        site.aws().heal();
        let report = site.steward.run("t", false);
        assert!(site.acts(), "{error}: {report:#}");
        assert!(!site.taken_by_ecr().contains(&site.app.old[1]));
    }
}

/// A2: the field is optional in OCI.
#[test]
fn an_image_whose_manifest_does_not_name_its_media_type_is_protected() {
    let site = Site::new(ATTACH);
    let digest = site.lone("bare", &["bare"]);
    let bare = site.aws().with(|registry| {
        let image = app(registry).image_mut(&digest);
        image.manifest =
            image.manifest.replace(r#""mediaType":"application/vnd.oci.image.manifest.v1+json","#, "");
        image.digest = sha256(&image.manifest);
        image.digest.clone()
    });
    site.use_by_task("app:bare", Some(&bare));
    let report = site.steward.run("r", false);
    assert_eq!(report["status"], "SUCCEEDED", "{report:#}");
    assert!(site.tags(&bare).contains(&protection_tag(&bare)));
}

fn sha256(text: &str) -> String {
    use sha2::{Digest, Sha256};
    let hex: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// A3: also where ECR says nothing of an image at all.
#[test]
fn where_ecr_does_not_give_the_manifest_of_what_is_in_use_the_policy_is_suspended() {
    for way in [Fault::ForImages as fn(&'static str) -> Fault, Fault::Silent] {
        let site = Site::new(ATTACH);
        site.steward.run("r", false);
        site.use_by_task("app:ci-1", None);
        let digest: &'static str = site.app.old[1].clone().leak();
        site.aws().fault_from("BatchGetImage", way(digest), 0);
        let report = site.steward.run("s", false);
        assert!(site.is_suspended(), "{report:#}");
        assert_eq!(of(&report, "app")["status"], "FAILED", "{report:#}");
        assert!(of(&report, "app")["error"].as_str().unwrap().contains(digest), "{report:#}");
    }
}

/// A3: what is gone needs no protection.
#[test]
fn an_image_in_use_that_somebody_deletes_meanwhile_suspends_nothing() {
    let site = Site::new(ATTACH);
    site.steward.run("r", false);
    site.use_by_task("app:ci-1", None);
    let delete: Happens = |registry, _| {
        app(registry).images.retain(|image| !image.tags.contains("ci-1"));
    };
    site.aws().fault("ListTasks", Fault::Then(delete), 3);
    let report = site.steward.run("s", false);
    assert!(site.acts(), "{report:#}");
}

/// A3: one image that cannot be protected is no reason to leave the others without.
#[test]
fn where_one_image_cannot_be_protected_all_others_are() {
    for way in [Fault::ForImages as fn(&'static str) -> Fault, Fault::Silent] {
        let site = site(PROTECT);
        site.attach_by_hand(Some(&behind(TWO_WEEKS)));
        for number in 0..6 {
            site.use_by_task(&format!("app:ci-{number}"), None);
        }
        let mut sorted = site.app.old.clone();
        sorted.sort();
        let first: &'static str = sorted[0].clone().leak();
        site.aws().fault_from("BatchGetImage", way(first), 0);
        let report = site.steward.run("r", false);
        assert_eq!(of(&report, "app")["status"], "FAILED", "{report:#}");
        for digest in &sorted[1..] {
            assert!(site.tags(digest).contains(&protection_tag(digest)), "{digest}: {report:#}");
        }
    }
    // One that has all the tags that an image can have.
    let site = site(PROTECT);
    site.attach_by_hand(Some(&behind(TWO_WEEKS)));
    let mut sorted = site.app.old.clone();
    sorted.sort();
    for number in 0..6 {
        site.use_by_task(&format!("app:ci-{number}"), None);
    }
    site.aws().with(|registry| {
        let tags = &mut app(registry).image_mut(&sorted[0]).tags;
        tags.extend((tags.len()..1000).map(|number| format!("x{number}")));
    });
    let report = site.steward.run("r", false);
    assert_eq!(of(&report, "app")["status"], "FAILED", "{report:#}");
    for digest in &sorted[1..] {
        assert!(site.tags(digest).contains(&protection_tag(digest)), "{digest}: {report:#}");
    }
}

/// A4
#[test]
fn no_tag_is_ever_removed() {
    let site = Site::new(ATTACH);
    let lone = site.lone("lone", &[]);
    site.use_by_task("app:latest", Some(&lone));
    site.use_by_task("app:ci-0", None);
    site.steward.run("r", false);
    let before = [&lone, &site.app.old[0]].map(|digest| site.tags(digest));
    site.end_use();
    // The policy takes them no more, so that nothing is to be deleted.
    site.say(&attaching(FOUR_BUILDS));
    site.use_by_task("app:ci-1", None);
    site.use_by_task("app:ci-0", None);
    site.aws().fault_from("BatchGetImage", Fault::ForImages("sha256"), 0);
    site.steward.run("s", false);
    site.aws().heal();
    site.steward.run("t", false);
    site.protect_only("u");
    assert_eq!([&lone, &site.app.old[0]].map(|digest| site.tags(digest)), before);
    assert_eq!(site.aws().count("BatchDeleteImage"), 0);
}

/// A5
#[test]
fn a_tag_that_moves_between_look_and_act_deletes_no_image() {
    let site = Site::new(ATTACH);
    site.use_by_task("app:ci-0", Some(&site.app.old[0].clone()));
    site.steward.run("r", false);
    site.end_use();
    let moved: Happens = |registry, cloud| {
        let images = &mut app(registry).images;
        for image in images.iter_mut() {
            image.tags.remove("ci-0");
            if image.tags.contains("latest") {
                image.tags.insert("ci-0".to_owned());
            }
        }
        let gone = cloud.object_text(&format!("{BUCKET}/later.json")).unwrap();
        cloud.upload(&format!("{BUCKET}/usage/eks.json"), &gone);
    };
    let uses = json!([format!("{HOST}/app@{}", site.app.old[0])]).to_string();
    site.aws().cloud(|cloud| cloud.upload(&format!("{BUCKET}/later.json"), &uses));
    site.aws().fault("DescribeImages", Fault::Then(moved), 1);
    let report = site.steward.run("s", false);
    assert!(site.left().contains(&site.app.old[0]), "{report:#}");
    assert_eq!(site.tags(&site.app.old[0]), [protection_tag(&site.app.old[0])].into());
    assert!(!site.taken_by_ecr().contains(&site.app.old[0]));
}

/// A6: with protection tags untagged images are tagged ones.
#[test]
fn the_plan_is_of_the_images_as_they_will_be_tagged() {
    let rules =
        "{ selection: untagged, maximumNumberOfImages: 2 }, { selection: any, maximumNumberOfImages: 9 }";
    let site = site(&attaching(rules));
    let lone: Vec<String> = (0..5).map(|number| site.lone(&format!("lone {number}"), &[])).collect();
    for digest in &lone[1..4] {
        site.use_by_task("app:x", Some(digest));
    }
    let report = site.steward.run("r", false);
    let app = of(&report, "app");
    assert_eq!(app["attachment"]["lifecyclePolicy"], "ATTACHED", "{report:#}");
    let taken = site.taken_by_ecr();
    assert!(taken.is_disjoint(&set(&lone[1..4])));
    let reported: BTreeSet<String> = app["results"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|image| image["outcome"] == "PLANNED")
        .map(|image| image["imageDigest"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(reported, taken, "{app:#}");
    let planned: BTreeSet<String> =
        site.journal(is_plan).iter().map(|line| line["imageDigest"].as_str().unwrap().to_owned()).collect();
    assert_eq!(planned, taken, "it is written down");
}

/// A6: a rule that would count protection tags.
#[test]
fn a_rule_that_counts_protection_tags_is_refused_with_the_rewrite_and_suspends_what_is_attached() {
    let rules = "{ selection: { tagPatternList: ['*'] }, maximumNumberOfImages: 3 }";
    let never = site(&attaching(rules));
    let report = never.steward.run("r", false);
    let app = of(&report, "app");
    assert_eq!(codes(app), ["policy-cannot-be-protected"], "{report:#}");
    let message = app["blockers"][0]["message"].as_str().unwrap();
    assert!(message.contains("tagPatternList: [\"v*\"]") && message.contains("selection: any"), "{message}");
    assert_eq!(never.policy(), None);
    let before = Site::new(ATTACH);
    before.steward.run("r", false);
    assert!(before.acts());
    before.say(&attaching(rules));
    let report = before.steward.run("s", false);
    assert!(before.is_suspended(), "{report:#}");
    assert_eq!(codes(of(&report, "app")), ["policy-cannot-be-protected"]);
}

/// A7
#[test]
fn an_hourly_run_that_only_protects_closes_the_window_between_two_runs() {
    let site = Site::new(ATTACH);
    site.steward.run("r", false);
    let (before, policy) = (site.record().unwrap(), site.policy());
    site.use_by_task("app:ci-0", None);
    assert!(site.taken_by_ecr().contains(&site.app.old[0]), "that is the window");
    let report = site.protect_only("hourly");
    assert!(!site.taken_by_ecr().contains(&site.app.old[0]), "{report:#}");
    assert_eq!(site.policy(), policy, "it goes on acting");
    let after = site.record().unwrap();
    assert!(after["refreshedAt"].as_str() > before["refreshedAt"].as_str());
    assert_eq!(after["refreshedBy"], "hourly");
    assert_eq!(report["status"], "SUCCEEDED", "{report:#}");
}

/// A8: the switch.
#[test]
fn enforce_off_suspends_and_enforce_on_puts_back() {
    let mut site = Site::new(ATTACH);
    site.steward.run("r", false);
    site.steward.switch(false);
    let report = site.steward.run("s", false);
    assert!(site.is_suspended(), "{report:#}");
    assert_eq!(report["dryRunReason"], "enforce-off");
    assert!(site.record().unwrap()["suspended"]["reason"].as_str().unwrap().contains("Enforce"));
    site.protect_only("hourly");
    assert!(site.is_suspended());
    site.steward.switch(true);
    site.protect_only("hourly again");
    assert!(site.is_suspended(), "what only protects lifts nothing");
    let report = site.steward.run("t", false);
    assert!(site.acts(), "{report:#}");
    assert_eq!(site.record().unwrap().get("suspended"), None);
}

/// A8: the switch, between two hourly runs.
#[test]
fn enforce_off_suspends_by_a_run_that_only_protects_too() {
    let mut site = Site::new(ATTACH);
    site.steward.run("r", false);
    site.steward.switch(false);
    let report = site.protect_only("hourly");
    assert!(site.is_suspended(), "{report:#}");
}

/// A8: the policies file.
#[test]
fn what_the_policies_file_does_not_have_attached_any_more_is_suspended() {
    for policies in
        [policies_file(""), policies_file(UNLIMITED), OF_OTHERS.to_owned(), "policies: []\n".to_owned()]
    {
        for only_protects in [false, true] {
            let site = Site::new(ATTACH);
            site.steward.run("r", false);
            assert!(site.acts());
            site.say(&policies);
            let report = match only_protects {
                true => site.protect_only("s"),
                false => site.steward.run("s", false),
            };
            assert!(site.is_suspended(), "{policies}: {report:#}");
            let why = of(&report, "app")["attachment"]["suspendedBecause"].as_str().unwrap();
            assert!(why.contains("policies.yaml does not say `apply: attach`"), "{why}");
            assert_eq!(site.journal(is_policy)[0]["lifecyclePolicyText"], behind(TWO_WEEKS));
            // And again: nothing lifts it.
            site.aws().forget_calls();
            site.steward.run("t", false);
            assert!(site.is_suspended());
            assert_eq!(site.puts_of_policies(), 0);
        }
    }
    // It is gone.
    let site = Site::new(ATTACH);
    site.steward.run("r", false);
    site.aws().cloud(|cloud| cloud.objects.remove(&format!("{BUCKET}/policies.yaml")));
    let report = site.steward.run("s", false);
    assert!(site.is_suspended(), "{report:#}");
}

/// The policy is this stack's until somebody replaces it, whatever the file says now.
#[test]
fn an_attached_policy_is_suspended_where_an_unreadable_repository_comes_under_protect() {
    for is_replaced in [false, true] {
        let site = Site::new(ATTACH);
        site.steward.run("r", false);
        assert!(site.acts());
        site.say(PROTECT);
        if is_replaced {
            site.attach_by_hand(Some(&behind(FOUR_BUILDS)));
        }
        let before = site.policy();
        site.aws().fault_from("DescribeImages", Fault::Denied, 0);
        let report = site.steward.run("s", false);
        assert_eq!(of(&report, "app")["status"], "FAILED", "{report:#}");
        assert_eq!(site.is_suspended(), !is_replaced, "{report:#}");
        if is_replaced {
            assert_eq!(site.policy(), before, "what is somebody else's is never written");
        }
    }
}

/// A8: a file of which nobody has seen the effect.
#[test]
fn a_file_that_was_not_previewed_leaves_what_is_attached_as_it_is_while_that_is_certain() {
    let mut site = Site::new(ATTACH);
    site.steward.run("r", false);
    let policy = site.policy();
    site.steward.approves = false;
    site.say(&attaching(FOUR_BUILDS));
    site.use_by_task("app:ci-3", None);
    let report = site.steward.run("s", false);
    assert_eq!(report["dryRunReason"], "not-previewed", "{report:#}");
    assert_eq!(site.policy(), policy);
    assert!(site.tags(&site.app.old[3]).contains(&protection_tag(&site.app.old[3])));
    site.steward.run("t", false);
    assert!(site.policy() != policy && site.acts(), "then it is");
    // And not while it is not.
    site.say(&attaching(TWO_WEEKS).replace("14", "15"));
    site.aws().fault_from("ListClusters", Fault::Denied, 0);
    let report = site.steward.run("u", false);
    assert_eq!(report["dryRunReason"], "not-previewed", "{report:#}");
    assert!(site.is_suspended());
}

/// A8: by a resource tag, during the run.
#[test]
fn a_repository_that_comes_under_another_policy_during_the_run_is_suspended() {
    let policies = format!(
        "policies:
- {{ name: held, repositories: ['*'], tags: {{ hold: legal }}, rules: [{{ selection: any, maximumAgeLimit: 4000 }}] }}
- {{ name: all, repositories: ['*'], rules: [{TWO_WEEKS}]{ATTACH} }}
"
    );
    let site = site(&policies);
    site.steward.run("r", false);
    assert!(site.acts());
    let taken = site.steward.take_inventory(&Steward::begin("s", false)).response();
    site.aws().with(|registry| app(registry).tags.insert("hold".to_owned(), "legal".to_owned()));
    for key in site.steward.batches(&taken) {
        site.steward.work(&taken, &key);
    }
    let report = site.steward.report(&taken);
    assert!(site.is_suspended(), "{report:#}");
    assert_eq!(codes(of(&report, "app")), ["reassigned"]);
}

/// Also where somebody else's policy is in its place.
#[test]
fn a_repository_whose_tags_change_during_the_run_stays_protected_if_it_was_made_with_a_policy() {
    let policies = "policies:
- { name: held, repositories: ['*'], tags: { hold: legal }, rules: [{ selection: any, maximumAgeLimit: 4000 }] }
";
    let site = provisioned(policies, FOUR_BUILDS);
    site.attach_by_hand(Some(&native(TWO_WEEKS).to_json()));
    let taken = site.steward.take_inventory(&Steward::begin("r", false)).response();
    site.aws().with(|registry| app(registry).tags.insert("hold".to_owned(), "legal".to_owned()));
    for key in site.steward.batches(&taken) {
        site.steward.work(&taken, &key);
    }
    let report = site.steward.report(&taken);
    assert_eq!(codes(of(&report, "app")), ["reassigned"], "{report:#}");
    // Whoever puts the protection rule first relies on the tags.
    site.attach_by_hand(Some(&behind(FOUR_BUILDS)));
    site.use_by_task("app:ci-0", None);
    let report = site.protect_only("hourly");
    assert_eq!(site.taken_by_ecr(), set([&site.app.old[1]]), "{report:#}");
}

/// A8: the policies file, during the run.
#[test]
fn a_policies_file_that_changes_during_the_run_attaches_nothing_and_suspends() {
    for policies in ["policies: []\n", "policies: {", ""] {
        let site = Site::new(ATTACH);
        site.steward.run("r", false);
        let taken = site.steward.take_inventory(&Steward::begin("s", false)).response();
        site.aws().cloud(|cloud| {
            let path = format!("{BUCKET}/policies.yaml");
            match policies {
                "" => drop(cloud.objects.remove(&path)),
                policies => drop(cloud.upload(&path, policies)),
            }
        });
        for key in site.steward.batches(&taken) {
            site.steward.work(&taken, &key);
        }
        assert!(site.is_suspended(), "{policies}");
    }
}

/// A9 a
#[test]
fn a_tag_of_an_earlier_version_on_any_image_expires_nothing() {
    let site = Site::new(ATTACH);
    site.aws().with(|registry| {
        app(registry).image_mut(&site.app.young).tags.insert("ecr-steward-released-x".to_owned());
        app(registry).age(&site.app.young, 3.0);
    });
    site.steward.run("r", false);
    assert!(site.acts() && !site.taken_by_ecr().contains(&site.app.young));
    // Also where nothing is taken at all.
    site.aws().fault_from("ListClusters", Fault::Denied, 0);
    site.steward.run("s", false);
    assert!(site.is_suspended());
    assert_eq!(site.taken_by_ecr(), BTreeSet::new());
}

/// A9 b and c: an image that is not in use has the tag of one that is, by a push or by a branch of that name.
#[test]
fn a_wanted_tag_that_another_image_has_suspends_as_long_as_it_is_so() {
    for mutability in ["MUTABLE", "IMMUTABLE"] {
        let site = Site::new(ATTACH);
        let victim = site.app.old[0].clone();
        site.steward.run("r", false);
        assert!(site.acts());
        site.use_by_task("app:ci-0", Some(&victim));
        site.aws().with(|registry| {
            app(registry).described["imageTagMutability"] = mutability.into();
            for image in &mut app(registry).images {
                image.tags.remove(&protection_tag(&victim));
            }
            app(registry).image_mut(&site.app.old[5]).tags.insert(protection_tag(&victim));
        });
        for run in ["s", "t"] {
            let report = site.steward.run(run, false);
            assert!(site.is_suspended(), "{mutability}: {report:#}");
            assert_eq!(codes(of(&report, "app")), ["protection-tag-taken"], "{report:#}");
            assert_eq!(of(&report, "app")["status"], "BLOCKED");
            let message = of(&report, "app")["blockers"][0]["message"].as_str().unwrap();
            assert!(
                message.contains(&site.app.old[5]) && message.contains("batch-delete-image"),
                "{message}"
            );
        }
        // Meanwhile it has a tag of its own that protects.
        site.attach_by_hand(Some(&behind(TWO_WEEKS)));
        assert!(!site.taken_by_ecr().contains(&victim));
        site.aws().with(|registry| {
            app(registry).image_mut(&site.app.old[5]).tags.remove(&protection_tag(&victim));
        });
        let report = site.steward.run("u", false);
        assert!(site.acts() && !site.taken_by_ecr().contains(&victim), "{mutability}: {report:#}");
    }
}

/// A10
#[test]
fn a_terminal_without_a_bucket_attaches_nothing() {
    let site = Site::new(ATTACH);
    let in_use = json!([format!("{HOST}/app:ci-0")]).to_string();
    site.aws().cloud(|cloud| cloud.upload(&format!("{BUCKET}/usage/eks.json"), &in_use));
    let path = std::env::temp_dir().join(format!("protection-{}.yaml", std::process::id()));
    std::fs::write(&path, policies_file(ATTACH)).unwrap();
    for bucket in [&["--bucket", ""][..], &[]] {
        let output = std::process::Command::new(tests::binaries::binary("ecr-steward"))
            .args(["enforce", "--all", "--apply", "--yes", "--output", "json", "--policies"])
            .arg(&path)
            .args(bucket)
            .env_clear()
            .env("AWS_ENDPOINT_URL", site.aws().url())
            .env("AWS_REGION", "eu-west-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("ECR_STEWARD_BUCKET", "")
            .output()
            .unwrap();
        let output_text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output_text.contains("bucket"), "{output_text}");
        assert_eq!(site.policy(), None);
    }
    std::fs::remove_file(&path).unwrap();
}

/// A11
#[test]
fn a_policy_of_somebody_elses_that_is_replaced_is_written_down_before() {
    let site = Site::new(ATTACH);
    let theirs = native("{ selection: untagged, maximumAgeLimit: 90 }").to_json();
    site.attach_by_hand(Some(&theirs));
    // What cannot be written down is not replaced.
    site.aws().fault_at("PutObject", "/policy-", Fault::Denied);
    let report = site.steward.run("q", false);
    assert_eq!(site.policy().as_deref(), Some(&*theirs), "{report:#}");
    assert_eq!(of(&report, "app")["status"], "FAILED", "{report:#}");
    site.aws().heal();
    site.aws().forget_calls();
    let report = site.steward.run("r", false);
    assert!(site.acts() && site.policy().as_deref() != Some(&*theirs), "{report:#}");
    let lines = site.journal(is_policy);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["lifecyclePolicyText"], theirs.as_str());
    assert_eq!(lines[0]["replacedBy"].as_str(), site.policy().as_deref());
    assert_eq!((lines[0]["repositoryName"].as_str(), lines[0]["runId"].as_str()), (Some("app"), Some("r")));
    let journal = call(site.aws(), "PutObject", "/policy-");
    assert!(journal.is_some() && journal < call(site.aws(), "PutLifecyclePolicy", "app"));
    assert!(of(&report, "app")["journal"].to_string().contains("/policy-"), "{report:#}");
}

/// B17: the default policy, beside an image that runs by its digest while its tag moves on.
#[test]
fn the_policy_that_a_repository_was_made_with_expires_nothing_in_use() {
    let site = provisioned("policies: []\n", "{ selection: untagged, maximumNumberOfImages: 1 }");
    let lone: Vec<String> = (0..3).map(|number| site.lone(&format!("lone {number}"), &[])).collect();
    site.use_by_task("app:latest", Some(&lone[0]));
    let report = site.steward.run("r", false);
    assert_eq!(of(&report, "app")["status"], "DONE", "{report:#}");
    let taken = site.taken_by_ecr();
    assert!(!taken.contains(&lone[0]) && taken.contains(&lone[1]), "{taken:?}");
    site.end_use();
    assert!(!site.taken_by_ecr().contains(&lone[0]));
    // One untagged image is kept, and this is not the youngest: it leaves by this stack.
    let report = site.steward.run("s", false);
    assert!(!site.left().contains(&lone[0]), "{report:#}");
    assert_eq!(site.journal(is_removal).len(), 1);
}

/// `protect`: a policy of somebody else's is never written.
#[test]
fn under_protect_tags_are_put_and_no_policy_is_ever_written() {
    let site = site(PROTECT);
    let policy = behind(TWO_WEEKS);
    site.attach_by_hand(Some(&policy));
    site.use_by_task("app:ci-0", None);
    let report = site.steward.run("r", false);
    assert_eq!(of(&report, "app")["status"], "DONE", "{report:#}");
    assert!(!site.taken_by_ecr().contains(&site.app.old[0]));
    assert_eq!(site.record().unwrap()["mode"], "protect");
    // Whatever happens.
    site.use_by_task("app:ci-1", None);
    for (operation, fault) in [
        ("ListClusters", Fault::Denied),
        ("PutImage", Fault::Denied),
        ("BatchGetImage", Fault::ForImages("sha256")),
        ("PutObject", Fault::Denied),
        ("DescribeImages", Fault::Denied),
    ] {
        let taken = site.steward.take_inventory(&Steward::begin("s", false)).response();
        site.aws().fault_from(operation, fault, 0);
        for key in site.steward.batches(&taken) {
            // It fails, or says what failed.
            drop(site.steward.invoke(&Steward::task(&taken, &key)));
        }
        site.aws().heal();
    }
    site.say("policies: []\n");
    site.steward.run("t", false);
    assert_eq!(site.puts_of_policies(), 0);
    assert_eq!(site.policy(), Some(policy));
}

#[test]
fn under_protect_what_ran_once_leaves_by_this_stack_within_limits_and_by_the_journal() {
    let site = site(PROTECT);
    site.attach_by_hand(Some(&behind(FOUR_BUILDS)));
    site.use_by_task("app:ci-0", None);
    site.steward.run("r", false);
    site.end_use();
    assert_eq!(site.taken_by_ecr(), set([&site.app.old[1]]));
    let narrow = PROTECT.replace("images: 10000", "images: 1");
    site.say(&narrow);
    let report = site.steward.run("s", false);
    assert_eq!(codes(of(&report, "app")), ["limit-images"], "{report:#}");
    assert!(site.left().contains(&site.app.old[0]));
    site.say(PROTECT);
    let report = site.protect_only("hourly");
    assert!(site.left().contains(&site.app.old[0]), "{report:#}");
    let report = site.steward.run("t", false);
    // What ECR takes itself is left to it.
    assert_eq!(site.left(), &site.app.all() - &set([&site.app.old[0]]), "{report:#}");
    assert_eq!(site.journal(is_removal)[0]["imageDigest"], site.app.old[0].as_str());
}

#[test]
fn under_protect_a_policy_without_the_protection_rule_needs_attention_and_nothing_is_deleted() {
    let site = site(PROTECT);
    let once = site.lone("once", &["ecr-steward-in-use-00"]);
    for policy in [native(TWO_WEEKS).to_json(), "{\"rules\": 1}".to_owned()] {
        site.attach_by_hand(Some(&policy));
        site.use_by_task("app:ci-0", None);
        let report = site.steward.run("r", false);
        let app = of(&report, "app");
        assert_eq!(
            (app["status"].as_str(), codes(app)),
            (Some("BLOCKED"), vec!["policy-not-protected"]),
            "{report:#}"
        );
        assert_eq!(report["status"], "ATTENTION");
        assert!(site.left().contains(&once));
        assert_eq!(site.policy(), Some(policy), "nor is it written");
        assert!(site.tags(&site.app.old[0]).contains(&protection_tag(&site.app.old[0])));
        assert_eq!(site.aws().count("BatchDeleteImage"), 0);
        let record = site.record().expect("so that somebody hears of it");
        assert_eq!(record["refreshedAt"], "1970-01-01T00:00:00Z", "it never was right: {record}");
        assert!(of(&report, "app")["attachment"].get("refreshedAt").is_none(), "{report:#}");
        let hour = suspend(&site, "{}");
        assert_eq!((&hour["stale"], &hour["suspended"]), (&json!(1), &json!(0)), "{hour}");
    }
}

#[test]
fn under_protect_no_policy_at_all_is_fine() {
    let site = site(PROTECT);
    site.lone("once", &["ecr-steward-in-use-00"]);
    site.use_by_task("app:ci-0", None);
    let before = site.left();
    let report = site.steward.run("r", false);
    assert_eq!(of(&report, "app")["status"], "DONE", "{report:#}");
    assert_eq!(report["status"], "SUCCEEDED");
    assert_eq!((site.left(), site.policy()), (before, None));
    assert!(site.tags(&site.app.old[0]).contains(&protection_tag(&site.app.old[0])));
}

fn ask_by_tag(site: &Site) {
    site.aws()
        .with(|registry| app(registry).tags.insert("ecr-steward:protect".to_owned(), "true".to_owned()));
}

#[test]
fn a_repository_that_asks_by_its_resource_tag_is_protected_whatever_the_file_says_of_it() {
    for policies in
        ["policies: []\n".to_owned(), OF_OTHERS.to_owned(), policies_file(""), policies_file(UNLIMITED)]
    {
        let site = site(&policies);
        ask_by_tag(&site);
        let policy = behind(FOUR_BUILDS);
        site.attach_by_hand(Some(&policy));
        site.use_by_task("app:ci-0", None);
        let report = site.steward.run("r", false);
        assert!(!site.taken_by_ecr().contains(&site.app.old[0]), "{policies}: {report:#}");
        assert_eq!(site.record().unwrap()["mode"], "protect");
        assert_eq!(site.policy(), Some(policy));
        let left = match policies == policies_file(UNLIMITED) {
            true => set([&site.app.old[0], &site.app.young]),
            false => site.app.all(),
        };
        assert_eq!(site.left(), left, "{policies}: {report:#}");
        assert_eq!(report["status"], "SUCCEEDED", "{policies}: {report:#}");
        // Without a file for it the rules of its own policy are those of what ran once.
        if policies.contains("all") {
            continue;
        }
        site.end_use();
        let report = site.steward.run("s", false);
        assert_eq!(site.left(), &site.app.all() - &set([&site.app.old[0]]), "{report:#}");
    }
    // Also where there is no file.
    let site = Site::new("");
    site.aws().cloud(|cloud| cloud.objects.remove(&format!("{BUCKET}/policies.yaml")));
    ask_by_tag(&site);
    site.attach_by_hand(Some(&behind(FOUR_BUILDS)));
    site.use_by_task("app:ci-0", None);
    site.steward.run("r", false);
    assert!(!site.taken_by_ecr().contains(&site.app.old[0]));
}

/// What services go back to is read once a run, for those that are known then.
#[test]
fn what_a_service_rolls_back_to_is_protected_though_services_could_not_be_listed_when_the_run_began() {
    let deploy = |site: &Site, digest: &str| {
        site.aws().cloud(|cloud| {
            let definition = cloud.ecs.register("web", &[&format!("{HOST}/app:latest")]);
            cloud.ecs.deploy("prod", "web", &definition, Some(digest));
        });
    };
    let site_with_fault = |operation: &'static str| {
        let site = provisioned(OF_OTHERS, FOUR_BUILDS);
        deploy(&site, &site.app.old[0]);
        deploy(&site, &site.app.young);
        site.aws().fault(operation, Fault::Denied, 1);
        site
    };
    // The look before the policy may act lists them, and asks for what is missing.
    let site = site_with_fault("ListServices");
    let report = site.protect_only("r");
    assert_eq!(site.taken_by_ecr(), set([&site.app.old[1]]), "{report:#}");
    // What daemons and rules start was not read where there was no cluster: this run goes by none of it.
    let site = site_with_fault("ListClusters");
    let report = site.protect_only("r");
    assert!(site.is_suspended(), "{report:#}");
    // A service that is new since the run began has a history, too.
    let site = provisioned(OF_OTHERS, FOUR_BUILDS);
    let taken = site.steward.take_inventory(&Steward::begin("r", false)).response();
    deploy(&site, &site.app.old[0]);
    deploy(&site, &site.app.young);
    for key in site.steward.batches(&taken) {
        site.steward.work(&taken, &key);
    }
    assert_eq!(site.taken_by_ecr(), set([&site.app.old[1]]));
}

#[test]
fn a_policy_that_a_repository_was_made_with_is_suspended_when_uncertain_and_put_back_when_certain() {
    for policies in ["policies: []\n".to_owned(), OF_OTHERS.to_owned(), policies_file("")] {
        let site = provisioned(&policies, FOUR_BUILDS);
        site.use_by_task("app:ci-0", None);
        let report = site.steward.run("r", false);
        assert_eq!(site.taken_by_ecr(), set([&site.app.old[1]]), "{policies}: {report:#}");
        assert_eq!(site.puts_of_policies(), 0, "it is as it should be");
        site.aws().fault_from("ListClusters", Fault::Denied, 0);
        let report = site.steward.run("s", false);
        assert!(site.is_suspended(), "{policies}: {report:#}");
        let record = site.record().unwrap();
        assert_eq!(record["lifecyclePolicyText"], made_with(FOUR_BUILDS)["lifecyclePolicyText"]);
        assert!(record["suspended"]["reason"].as_str().unwrap().contains("what is in use is not known"));
        site.aws().heal();
        // It does not wait for a run over the registry.
        let report = site.protect_only("hourly");
        assert_eq!(site.policy(), Some(behind(FOUR_BUILDS)), "{policies}: {report:#}");
        assert_eq!(site.record().unwrap()["mode"], "provisioned");
        assert_eq!(site.taken_by_ecr(), set([&site.app.old[1]]));
    }
    // Nor for a policies file.
    let site = provisioned(OF_OTHERS, FOUR_BUILDS);
    site.aws().cloud(|cloud| cloud.objects.remove(&format!("{BUCKET}/policies.yaml")));
    site.use_by_task("app:ci-0", None);
    site.aws().fault_from("ListClusters", Fault::Denied, 0);
    site.steward.run("r", false);
    assert!(site.is_suspended());
    site.aws().heal();
    let report = site.steward.run("s", false);
    assert!(site.acts(), "{report:#}");
    assert_eq!(site.taken_by_ecr(), set([&site.app.old[1]]));
}

#[test]
fn enforce_off_neither_suspends_nor_lifts_a_policy_that_a_repository_was_made_with() {
    let mut site = provisioned(OF_OTHERS, FOUR_BUILDS);
    site.steward.switch(false);
    let report = site.steward.run("r", false);
    assert_eq!(report["dryRunReason"], "enforce-off");
    assert!(site.acts(), "{report:#}");
    site.aws().fault_from("ListClusters", Fault::Denied, 0);
    site.protect_only("s");
    assert!(site.is_suspended());
    site.aws().heal();
    let report = site.steward.run("t", false);
    assert!(site.is_suspended());
    // What kept it is mended, and what keeps it now is said, with what to do about it.
    let why = of(&report, "app")["attachment"]["suspendedBecause"].as_str().unwrap();
    assert!(why.contains("all is certain again") && why.contains("deploy it with Enforce=true"), "{why}");
    site.steward.switch(true);
    site.protect_only("u");
    assert!(site.acts());
}

/// A repository that ECR made on a push, by the creation template of this stack.
fn created_on_push(policies: &str) -> Site {
    let site = site(policies);
    site.attach_by_hand(Some(&template_policy()));
    site.aws().with(|registry| {
        let tags = &mut app(registry).tags;
        tags.insert("ecr-steward:protect".to_owned(), "create-on-push:steward".to_owned());
    });
    site
}

fn template_policy() -> String {
    shared::domain::repository::protection::created_on_push().unwrap().document().to_json()
}

#[test]
fn the_policy_that_a_push_made_a_repository_with_is_this_stacks_to_suspend_and_to_put_back() {
    for policies in ["policies: []\n".to_owned(), OF_OTHERS.to_owned(), policies_file("")] {
        let site = created_on_push(&policies);
        let once = site.lone("once", &[]);
        site.use_by_task("app:latest", Some(&once));
        let report = site.protect_only("hourly");
        assert!(!site.taken_by_ecr().contains(&once), "{policies}: {report:#}");
        let record = site.record().unwrap();
        assert_eq!(record["mode"], "provisioned", "{policies}: {report:#}");
        assert_eq!((site.policy(), site.puts_of_policies()), (Some(template_policy()), 0));
        site.aws().fault_from("ListClusters", Fault::Denied, 0);
        let report = site.steward.run("r", false);
        assert!(site.is_suspended(), "{policies}: {report:#}");
        site.aws().heal();
        let report = site.protect_only("next hour");
        assert_eq!(site.policy(), Some(template_policy()), "{policies}: {report:#}");
    }
    // Also where it was uncertain from the first hour, or cannot even be read.
    for operation in ["ListClusters", "DescribeImages", "PutImage"] {
        let site = created_on_push(OF_OTHERS);
        site.use_by_task("app:ci-0", None);
        site.aws().fault_from(operation, Fault::Denied, 0);
        let report = site.protect_only("hourly");
        assert!(site.is_suspended(), "{operation}: {report:#}");
        site.aws().heal();
        let report = site.protect_only("next hour");
        assert_eq!(site.policy(), Some(template_policy()), "{operation}: {report:#}");
    }
}

#[test]
fn the_policy_that_somebody_put_in_a_repository_that_a_push_made_is_theirs() {
    let site = created_on_push(OF_OTHERS);
    let theirs = behind(FOUR_BUILDS);
    site.attach_by_hand(Some(&theirs));
    site.use_by_task("app:ci-0", None);
    site.protect_only("hourly");
    assert_eq!(site.record().unwrap()["mode"], "protect");
    site.aws().fault_from("ListClusters", Fault::Denied, 0);
    let report = site.steward.run("r", false);
    assert_eq!((site.policy(), site.puts_of_policies()), (Some(theirs), 0), "{report:#}");
}

#[test]
fn under_protect_what_never_was_certain_counts_as_stale_until_it_is() {
    for operation in ["ListClusters", "DescribeImages", "PutImage", "BatchGetImage"] {
        let site = site_under_protect();
        site.use_by_task("app:ci-0", None);
        site.aws().fault_from(operation, Fault::Denied, 0);
        let report = site.steward.run("r", false);
        assert_eq!(suspend(&site, "{}")["stale"], 1, "{operation}: {report:#}");
        site.aws().heal();
        let report = site.steward.run("s", false);
        assert_eq!(suspend(&site, "{}")["stale"], 0, "{operation}: {report:#}");
        assert_eq!(site.puts_of_policies(), 0);
    }
}

#[test]
fn where_nobody_may_ask_for_resource_tags_everything_that_is_known_is_protected_and_the_report_says_so() {
    let denied = |site: &Site| site.aws().fault_from("GetResources", Fault::Denied, 0);
    // The file's policy.
    let site = Site::new(ATTACH);
    denied(&site);
    site.use_by_task("app:ci-0", None);
    let report = site.steward.run("r", false);
    assert!(site.acts() && !site.taken_by_ecr().contains(&site.app.old[0]), "{report:#}");
    assert_eq!(report["status"], "ATTENTION");
    let notices = report["notices"].as_array().unwrap();
    let about_tags: Vec<&Value> =
        notices.iter().filter(|notice| notice.as_str().unwrap().contains("tag:GetResources")).collect();
    assert_eq!(about_tags.len(), 1, "told once: {report:#}");
    // The policy that the repository was made with.
    let site = provisioned(OF_OTHERS, FOUR_BUILDS);
    denied(&site);
    site.use_by_task("app:ci-0", None);
    let report = site.protect_only("s");
    assert_eq!(site.taken_by_ecr(), set([&site.app.old[1]]), "{report:#}");
    site.aws().fault_from("ListClusters", Fault::Denied, 0);
    site.protect_only("t");
    assert!(site.is_suspended());
    // What is remembered of a policy that somebody replaced meanwhile stays: it may be of this stack's after all.
    let site = provisioned(OF_OTHERS, FOUR_BUILDS);
    denied(&site);
    let before = site.record();
    site.attach_by_hand(Some(&behind(TWO_WEEKS)));
    site.use_by_task("app:ci-0", None);
    let report = site.protect_only("v");
    assert!(!site.taken_by_ecr().contains(&site.app.old[0]), "{report:#}");
    assert_eq!((site.policy(), site.puts_of_policies()), (Some(behind(TWO_WEEKS)), 0));
    assert_eq!(site.record(), before);
    // Somebody's who asked for protection before.
    let site = site_under_protect();
    ask_by_tag(&site);
    site.say(OF_OTHERS);
    site.steward.run("r", false);
    denied(&site);
    site.use_by_task("app:ci-0", None);
    let report = site.protect_only("u");
    assert!(!site.taken_by_ecr().contains(&site.app.old[0]), "{report:#}");
    assert_eq!((site.record().unwrap()["mode"].as_str(), site.puts_of_policies()), (Some("protect"), 0));
}

/// A run of the state machine with a file that is not valid.
fn run_without_file(site: &Site, run_id: &str) -> Value {
    let mut input = Steward::begin(run_id, false);
    let (error_type, message) = site.steward.take_inventory(&input).error();
    assert_eq!(error_type, "InvalidPoliciesFile");
    let cause = json!({ "errorType": error_type, "errorMessage": message }).to_string();
    suspend(site, &json!({ "run": input["run"], "reason": cause }).to_string());
    input["run"]["policiesFileProblem"] = cause.into();
    let taken = site.steward.take_inventory(&input).response();
    for key in site.steward.batches(&taken) {
        site.steward.work(&taken, &key);
    }
    site.steward.report(&taken)
}

#[test]
fn a_policies_file_that_is_not_valid_keeps_no_protection_from_being_refreshed_that_does_not_come_of_it() {
    const BROKEN: &str = "policies: [{ name: all }]\n";
    let site = provisioned(OF_OTHERS, FOUR_BUILDS);
    site.steward.run("r", false);
    site.say(BROKEN);
    site.use_by_task("app:ci-0", None);
    let report = run_without_file(&site, "s");
    assert_eq!(site.taken_by_ecr(), set([&site.app.old[1]]), "{report:#}");
    assert_eq!(report["status"], "FAILED");
    assert!(
        report["error"].as_str().unwrap().starts_with("InvalidPoliciesFile: policies.yaml: "),
        "{report:#}"
    );
    assert_eq!(site.record().unwrap()["refreshedBy"], "s");
    // Uncertain is uncertain.
    site.aws().fault_from("ListClusters", Fault::Denied, 0);
    run_without_file(&site, "t");
    assert!(site.is_suspended());
    // Nothing is put back by a run that knows no file: the file may go before it.
    site.aws().heal();
    run_without_file(&site, "u");
    assert!(site.is_suspended());
    site.say(OF_OTHERS);
    site.protect_only("v");
    assert!(site.acts());
    // Somebody else's, of which only the file said that it is to be protected.
    let site = site_under_protect();
    site.steward.run("r", false);
    site.say(BROKEN);
    site.use_by_task("app:ci-0", None);
    let report = run_without_file(&site, "s");
    assert!(!site.taken_by_ecr().contains(&site.app.old[0]), "{report:#}");
    assert_eq!((site.record().unwrap()["refreshedBy"].as_str(), site.puts_of_policies()), (Some("s"), 0));
    // What the file attached is suspended, and is remembered for when it is valid again.
    let site = Site::new(ATTACH);
    site.steward.run("r", false);
    site.say(BROKEN);
    for run in ["s", "t"] {
        run_without_file(&site, run);
        assert!(site.is_suspended());
        assert_eq!(site.record().unwrap()["mode"], "attach");
    }
    site.say(&policies_file(ATTACH));
    site.steward.run("u", false);
    assert!(site.acts());
}

/// Which lists there have to be only a valid file says: the last one that was.
#[test]
fn what_the_last_valid_policies_file_says_of_use_holds_while_the_present_one_is_not_valid() {
    let declares = |list: &str| format!("{OF_OTHERS}usage: {{ lists: [{{ key: usage/{list}.json }}] }}\n");
    let site = provisioned(&declares("eks"), FOUR_BUILDS);
    site.aws().cloud(|cloud| cloud.upload(&format!("{BUCKET}/usage/eks.json"), "[]"));
    site.steward.run("r", false);
    assert!(site.acts());
    site.say("policies: [\n");
    run_without_file(&site, "s");
    assert!(site.acts());
    site.aws().cloud(|cloud| cloud.objects.remove(&format!("{BUCKET}/usage/eks.json")));
    run_without_file(&site, "t");
    assert!(site.is_suspended());
    // Without one nobody knows.
    let site = provisioned("policies: [\n", FOUR_BUILDS);
    site.use_by_task("app:ci-0", None);
    let report = run_without_file(&site, "r");
    assert!(site.is_suspended(), "{report:#}");
    assert!(site.tags(&site.app.old[0]).contains(&protection_tag(&site.app.old[0])));
}

#[test]
fn the_policy_that_a_repository_was_made_with_comes_back_when_the_file_no_longer_names_it() {
    let of_api = provisioned(&policies_file(ATTACH), FOUR_BUILDS);
    let of_push = created_on_push(&policies_file(ATTACH));
    for (site, made_with) in [(of_api, behind(FOUR_BUILDS)), (of_push, template_policy())] {
        for run in ["r", "s"] {
            site.steward.run(run, false);
            assert_eq!(site.policy(), Some(behind(TWO_WEEKS)));
        }
        site.say(OF_OTHERS);
        let report = site.steward.run("t", false);
        assert!(site.is_suspended(), "{report:#}");
        let report = site.protect_only("next hour");
        assert_eq!(site.policy(), Some(made_with), "{report:#}");
        assert_eq!(site.record().unwrap()["mode"], "provisioned");
    }
}

#[test]
fn a_policy_that_the_file_no_longer_names_is_reported_until_nothing_of_it_is_left() {
    let site = Site::new(ATTACH);
    site.steward.run("r", false);
    site.say(OF_OTHERS);
    for run in ["s", "t", "u"] {
        let report = site.steward.run(run, false);
        let drift = of(&report, "app")["drift"][0].as_str().unwrap().to_owned();
        assert!(drift.contains("aws ecr delete-lifecycle-policy --repository-name app"), "{drift}");
    }
    assert_eq!(site.journal(is_policy).len(), 1, "it is written down once");
    // Whatever comes then is not this stack's.
    let theirs = behind(TWO_WEEKS);
    site.attach_by_hand(Some(&theirs));
    site.aws().forget_calls();
    let report = site.steward.run("v", false);
    assert_eq!((site.policy(), site.puts_of_policies()), (Some(theirs), 0), "{report:#}");
    assert_eq!(site.record(), None);
}

#[test]
fn where_the_file_only_previews_what_ran_once_leaves_by_the_policy_that_ecr_enforces() {
    let by_tag = site(&policies_file(", apply: preview"));
    by_tag.attach_by_hand(Some(&behind(FOUR_BUILDS)));
    ask_by_tag(&by_tag);
    let made_here = provisioned(&policies_file(", apply: preview"), FOUR_BUILDS);
    for site in [by_tag, made_here] {
        site.use_by_task("app:ci-0", None);
        site.steward.run("r", false);
        site.end_use();
        let before = site.left();
        site.protect_only("hourly");
        assert_eq!(site.left(), before, "a run that only protects deletes nothing");
        let report = site.steward.run("s", false);
        assert_eq!(site.left(), &site.app.all() - &set([&site.app.old[0]]), "{report:#}");
        let lines = site.journal(is_removal);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0]["imageDigest"], *site.app.old[0]);
        assert_eq!(report["status"], "SUCCEEDED", "{report:#}");
    }
}

/// A policy there that counts by `*` would take others.
#[test]
fn where_protection_tags_are_replicated_to_is_reported_until_it_is_ignored() {
    let replicates = |site: &Site| {
        let rule = json!({ "destinations": [{ "region": "eu-north-1", "registryId": "123456789012" }] });
        site.aws().cloud(|cloud| cloud.replication.push(rule));
    };
    for site in [Site::new(ATTACH), site_under_protect(), provisioned(OF_OTHERS, FOUR_BUILDS)] {
        replicates(&site);
        site.use_by_task("app:ci-0", None);
        let report = site.steward.run("r", false);
        assert_eq!(report["status"], "ATTENTION", "{report:#}");
        let reported = of(&report, "app")["replicatedTags"][0].as_str().unwrap().to_owned();
        assert!(
            reported.contains("eu-north-1") && reported.contains("protection-tags/123456789012/eu-north-1"),
            "{reported}"
        );
        let file = site.aws().cloud(|cloud| cloud.object_text(&format!("{BUCKET}/policies.yaml"))).unwrap();
        let file = file.split("approve:").next().unwrap().to_owned();
        let ignore = "{ source: protection-tags/123456789012/eu-north-1, reason: \"no policies there\" }";
        site.say(&format!("{file}\nusage: {{ ignore: [{ignore}] }}\n"));
        let report = site.steward.run("s", false);
        assert_eq!(report["status"], "SUCCEEDED", "{report:#}");
    }
    let site = Site::new(UNLIMITED);
    replicates(&site);
    let report = site.steward.run("r", false);
    assert_eq!(report["status"], "SUCCEEDED", "no tags, nothing to tell: {report:#}");
}

/// Each is a push, for which a job of AWS Signer starts in the name of a role that may not sign.
#[test]
fn that_protection_tags_would_be_signed_is_reported_until_it_is_ignored() {
    let profile = "arn:aws:signer:eu-west-1:123456789012:/signing-profiles/ecr";
    let signs = |site: &Site, filter: &str| {
        let filter = json!({ "filter": filter, "filterType": "WILDCARD_MATCH" });
        let rule = json!({ "signingProfileArn": profile, "repositoryFilters": [filter] });
        site.aws().cloud(|cloud| cloud.signing = vec![rule]);
    };
    for site in [Site::new(ATTACH), site_under_protect(), provisioned(OF_OTHERS, FOUR_BUILDS)] {
        site.use_by_task("app:ci-0", None);
        signs(&site, "other/*");
        let report = site.steward.run("others", false);
        assert_eq!(report["status"], "SUCCEEDED", "{report:#}");
        signs(&site, "ap*");
        let report = site.steward.run("signed", false);
        assert_eq!(report["status"], "ATTENTION", "{report:#}");
        let message = of(&report, "app")["signedTags"][0].as_str().unwrap().to_owned();
        assert!(message.contains(profile) && message.contains("protection-tags/signing"), "{message}");
        let file = site.aws().cloud(|cloud| cloud.object_text(&format!("{BUCKET}/policies.yaml"))).unwrap();
        let file = file.split("approve:").next().unwrap().to_owned();
        let ignore = "{ source: protection-tags/signing, reason: \"the jobs do not matter\" }";
        site.say(&format!("{file}\nusage: {{ ignore: [{ignore}] }}\n"));
        let report = site.steward.run("ignored", false);
        assert_eq!(report["status"], "SUCCEEDED", "{report:#}");
    }
}

/// Not knowing it blocks nothing, since no decision depends on it.
#[test]
fn managed_signing_that_cannot_be_read_needs_attention_and_blocks_nothing() {
    let site = Site::new(ATTACH);
    site.aws().fault_from("GetSigningConfiguration", Fault::Denied, 0);
    site.use_by_task("app:ci-0", None);
    let report = site.steward.run("r", false);
    assert_eq!(report["status"], "ATTENTION", "{report:#}");
    let message = of(&report, "app")["signedTags"][0].as_str().unwrap();
    assert!(message.contains("ecr:GetSigningConfiguration"), "{message}");
    assert_eq!(of(&report, "app")["blockers"], json!(null), "{report:#}");
    // Where no tags are set, it is nobody's business.
    let site = Site::new(UNLIMITED);
    site.aws().fault_from("GetSigningConfiguration", Fault::Denied, 0);
    assert_eq!(site.steward.run("r", false)["status"], "SUCCEEDED");
}

fn mails(site: &Site) -> usize {
    site.aws().count("Publish")
}

#[test]
fn a_lasting_concern_of_the_hourly_run_is_mailed_once_a_day_and_a_new_one_at_once() {
    let site = Site::new(ATTACH);
    site.steward.run("r", false);
    site.aws().forget_calls();
    site.aws().fault_from("ListClusters", Fault::Denied, 0);
    for hour in ["1", "2", "3"] {
        let report = site.protect_only(hour);
        assert_eq!(report["status"], "ATTENTION");
        assert_eq!(mails(&site), 1, "{hour}");
    }
    // Something else.
    site.aws().fault_from("ListFunctions", Fault::Denied, 0);
    site.protect_only("4");
    assert_eq!(mails(&site), 2);
    // A day passes.
    site.aws().cloud(|cloud| {
        let path = format!("{BUCKET}/state/told.json");
        let mut reported: Value = serde_json::from_str(&cloud.object_text(&path).unwrap()).unwrap();
        let at = Instant::now().micros() - 86_400_000_000;
        reported["at"] = Instant::from_micros(at).unwrap().to_string().into();
        cloud.upload(&path, &reported.to_string());
    });
    site.protect_only("5");
    assert_eq!(mails(&site), 3);
    // When all was well in between it is new.
    site.aws().heal();
    site.say(&policies_file(ATTACH));
    site.steward.run("s", false);
    let before = mails(&site);
    site.protect_only("6");
    assert_eq!(mails(&site), before);
    site.aws().fault_from("ListClusters", Fault::Denied, 0);
    site.aws().fault_from("ListFunctions", Fault::Denied, 0);
    site.protect_only("7");
    assert_eq!(mails(&site), before + 1);
    // Runs over the registry are told of whenever they come.
    site.steward.run("t", false);
    assert_eq!(mails(&site), before + 2);
}

#[test]
fn a_policy_of_somebody_elses_in_place_of_the_one_that_a_repository_was_made_with_is_left_alone() {
    let site = provisioned(OF_OTHERS, FOUR_BUILDS);
    let once = site.lone("once", &["ci-x", "ecr-steward-in-use-00"]);
    let theirs = native(TWO_WEEKS).to_json();
    site.attach_by_hand(Some(&theirs));
    let report = site.steward.run("r", false);
    assert_eq!(codes(of(&report, "app")), ["policy-not-protected"], "{report:#}");
    assert_eq!(report["status"], "ATTENTION");
    assert_eq!(site.policy(), Some(theirs));
    assert!(site.left().contains(&once));
}

/// Somebody took the policy away: this stack does not go on with it.
#[test]
fn nothing_is_deleted_by_a_policy_that_a_repository_was_made_with_and_has_no_more() {
    let site = provisioned(OF_OTHERS, FOUR_BUILDS);
    let once = site.lone("once", &["ci-x", "ecr-steward-in-use-00"]);
    site.attach_by_hand(None);
    site.use_by_task("app:ci-3", None);
    let report = site.steward.run("r", false);
    assert!(site.left().contains(&once), "{report:#}");
    assert_eq!(site.policy(), None);
    assert!(site.tags(&site.app.old[3]).contains(&protection_tag(&site.app.old[3])), "it may come back");
}

#[test]
fn the_policies_file_has_precedence_over_the_policy_that_a_repository_was_made_with() {
    for policies in [policies_file(UNLIMITED), PROTECT.to_owned()] {
        let site = provisioned(&policies, FOUR_BUILDS);
        site.use_by_task("app:ci-0", None);
        let report = site.steward.run("r", false);
        assert!(site.is_suspended(), "{policies}: {report:#}");
        let why = site.record().unwrap()["suspended"]["reason"].as_str().unwrap().to_owned();
        assert!(why.contains("goes before the policy that it was made with"), "{why}");
        // What was said of it is not forgotten.
        site.say(OF_OTHERS);
        site.steward.run("s", false);
        assert_eq!(site.policy(), Some(behind(FOUR_BUILDS)));
    }
    let site = provisioned(&policies_file(ATTACH), FOUR_BUILDS);
    site.steward.run("r", false);
    assert_eq!(site.policy(), Some(behind(TWO_WEEKS)));
}

#[test]
fn a_run_that_only_protects_deletes_and_attaches_nothing() {
    // Nothing is attached yet, and something that ran once would go.
    let site = Site::new(ATTACH);
    let once = site.lone("once", &["ecr-steward-in-use-00"]);
    site.use_by_task("app:ci-0", None);
    let report = site.protect_only("hourly");
    assert_eq!(site.policy(), None, "{report:#}");
    assert!(site.left().contains(&once));
    assert!(site.tags(&site.app.old[0]).contains(&protection_tag(&site.app.old[0])));
    // What is not protected is not looked at.
    let site = Site::new(UNLIMITED);
    site.protect_only("hourly");
    site.assert_untouched("it is not protected");
    assert_eq!(site.aws().count("DescribeImages"), 0);
    assert_eq!(site.aws().count("ListTasks"), 0, "nor is what is in use");
}

#[test]
fn a_run_that_only_protects_suspends_what_is_not_certain() {
    let site = Site::new(ATTACH);
    site.steward.run("r", false);
    site.aws().fault_from("ListClusters", Fault::Denied, 0);
    let report = site.protect_only("hourly");
    assert!(site.is_suspended(), "{report:#}");
    assert_eq!(report["status"], "ATTENTION", "{report:#}");
}

#[test]
fn a_run_that_only_protects_ignores_whether_the_file_was_previewed() {
    let mut site = Site::new(ATTACH);
    site.steward.run("r", false);
    let policy = site.policy();
    site.steward.approves = false;
    site.say(&attaching(FOUR_BUILDS));
    let report = site.protect_only("hourly");
    assert_eq!(site.policy(), policy, "{report:#}");
    // It is no preview either.
    let report = site.steward.run("s", false);
    assert_eq!(report["dryRunReason"], "not-previewed", "{report:#}");
}

/// Limits of the registry.
fn limited(images: u64) -> String {
    format!("{}limits: {{ images: {images}, percent: 100 }}\n", attaching(FOUR_BUILDS))
}

#[test]
fn a_plan_past_the_limit_of_a_day_is_not_attached_and_suspends_what_is() {
    let site = site(&limited(1));
    let report = site.steward.run("r", false);
    assert_eq!(codes(of(&report, "app")), ["limit-registry"], "{report:#}");
    assert_eq!((site.policy(), counted_today(&site)), (None, 0));
    site.say(&limited(2));
    let report = site.steward.run("s", false);
    assert!(site.acts(), "{report:#}");
    assert_eq!(counted_today(&site), 2);
    // One more build, and one more goes: there is no room for it today.
    site.aws().with(|registry| app(registry).push("ci-6", &["ci-6"]));
    let report = site.protect_only("hourly");
    assert!(site.is_suspended(), "{report:#}");
    assert_eq!(codes(of(&report, "app")), ["limit-registry"]);
}

#[test]
fn what_ecr_expires_is_counted_once_and_written_down_once() {
    let site = site(&attaching(FOUR_BUILDS));
    site.steward.run("r", false);
    assert_eq!(counted_today(&site), 2);
    for run in ["s", "t"] {
        site.steward.run(run, false);
        site.protect_only(&format!("{run} hourly"));
    }
    assert_eq!(counted_today(&site), 2);
    let lines = site.journal(is_plan);
    assert_eq!(lines.len(), 2, "{lines:?}");
    let expiring: BTreeSet<String> =
        serde_json::from_value(site.record().unwrap()["expiring"].clone()).unwrap();
    assert_eq!(expiring, set(&site.app.old[..2]));
    ecr_engine::act(site.aws(), "app");
    site.aws().with(|registry| app(registry).push("ci-6", &["ci-6"]));
    site.steward.run("u", false);
    assert_eq!((counted_today(&site), site.journal(is_plan).len()), (3, 3));
}

#[test]
fn a_plan_is_written_down_before_the_policy_is_put_and_without_that_it_is_not_put() {
    for path in ["/plan-", "/state/protection/"] {
        let site = site(&attaching(FOUR_BUILDS));
        site.aws().fault_at("PutObject", path, Fault::Denied);
        let report = site.steward.run("r", false);
        assert_eq!(site.policy(), None, "{path}: {report:#}");
        assert_eq!(of(&report, "app")["status"], "FAILED");
        site.aws().heal();
        site.aws().forget_calls();
        let report = site.steward.run("s", false);
        assert!(site.acts(), "{report:#}");
        let put = call(site.aws(), "PutLifecyclePolicy", "app");
        for path in ["/plan-", "state/protection/app.json"] {
            let written = call(site.aws(), "PutObject", path);
            assert!(written.is_some() && written < put, "{path}");
        }
    }
}

/// An attached policy takes something new each day.
#[test]
fn where_what_an_attached_policy_newly_expires_cannot_be_written_down_it_is_suspended() {
    for path in ["/plan-", "/state/protection/", "/state/taken/"] {
        let site = site(&attaching(FOUR_BUILDS));
        site.steward.run("r", false);
        site.aws().with(|registry| app(registry).push("ci-6", &["ci-6"]));
        site.aws().fault_at("PutObject", path, Fault::Denied);
        let report = site.steward.run("s", false);
        assert!(site.is_suspended(), "{path}: {report:#}");
        assert_eq!(of(&report, "app")["status"], "FAILED");
        site.aws().heal();
        let report = site.steward.run("t", false);
        assert!(site.acts(), "{path}: {report:#}");
    }
}

#[test]
fn of_two_who_write_the_record_neither_overwrites_the_other() {
    let site = site(&attaching(FOUR_BUILDS));
    site.steward.run("r", false);
    // Another run writes while this one works.
    let other: Happens = |_, cloud| {
        let path = format!("{BUCKET}/state/protection/app.json");
        let text = cloud.object_text(&path).unwrap();
        let mut record: Value = serde_json::from_str(&text).unwrap();
        record["refreshedBy"] = "other".into();
        cloud.upload(&path, &record.to_string());
    };
    site.aws().forget_calls();
    site.aws().fault("DescribeImages", Fault::Then(|_, _| {}), 1);
    site.aws().fault("GetLifecyclePolicy", Fault::Then(other), 1);
    let report = site.steward.run("s", false);
    assert_eq!(of(&report, "app")["status"], "DONE", "{report:#}");
    let puts = site.aws().calls().into_iter().filter(|call| {
        call.operation == "PutObject" && call.request["key"].as_str().unwrap().contains("state/protection")
    });
    let statuses: Vec<u16> = puts.map(|call| call.status).collect();
    assert_eq!(statuses, [412, 200]);
    assert_eq!(site.record().unwrap()["refreshedBy"], "s");
}

/// Who suspended it meanwhile knows more.
#[test]
fn a_policy_that_somebody_else_suspends_during_the_run_is_not_lifted_by_it() {
    let site = site(&attaching(FOUR_BUILDS));
    site.steward.run("r", false);
    site.aws().fault_from("ListClusters", Fault::Denied, 0);
    site.steward.run("s", false);
    assert!(site.is_suspended());
    site.aws().heal();
    // While the next one is about to lift it another one finds a new reason.
    let other: Happens = |_, cloud| {
        let path = format!("{BUCKET}/state/protection/app.json");
        let mut record: Value = serde_json::from_str(&cloud.object_text(&path).unwrap()).unwrap();
        let at = Instant::from_micros(Instant::now().micros() + 60_000_000).unwrap();
        record["suspended"] = json!({ "at": at.to_string(), "reason": "another one" });
        cloud.upload(&path, &record.to_string());
    };
    site.aws().fault("GetLifecyclePolicy", Fault::Then(other), 1);
    let report = site.steward.run("t", false);
    assert!(site.is_suspended(), "{report:#}");
    assert_eq!(site.record().unwrap()["suspended"]["reason"], "another one");
    let report = site.steward.run("u", false);
    assert!(site.is_suspended() || site.acts(), "{report:#}");
}

/// It writes the record last: what it saw that this run did not is not written down yet.
#[test]
fn a_policy_that_another_run_suspends_meanwhile_comes_back_only_after_another_look_at_use() {
    let site = site(&attaching(FOUR_BUILDS));
    site.aws().with(|registry| {
        let mut before = repository("aaa");
        fill(&mut before, "aaa");
        registry.repositories.insert("aaa".to_owned(), before);
    });
    site.steward.run("r", false);
    let ci_0 = site.app.old[0].clone();
    let other: Happens = |registry, cloud| {
        let before = cloud.object_text(&format!("{BUCKET}/state/protection/aaa.json"));
        let has_looked = before.is_some_and(|record| record.contains("\"s\""));
        let once = format!("{BUCKET}/once");
        if has_looked && cloud.object_text(&once).is_none() {
            cloud.upload(&once, "");
            app(registry).lifecycle_policy = Some(TakesNothing::new().unwrap().to_json());
            use_by_task(cloud, "app:ci-0", None);
        }
    };
    site.aws().fault_at("GetObject", "/state/protection/app.json", Fault::Then(other));
    let report = site.steward.run("s", false);
    assert!(site.aws().cloud(|cloud| cloud.object_text(&format!("{BUCKET}/once"))).is_some(), "{report:#}");
    let is_protected = site.tags(&ci_0).iter().any(|tag| tag.starts_with("ecr-steward-in-use-"));
    assert!(is_protected, "{report:#}");
    assert!(!site.taken_by_ecr().contains(&ci_0), "{report:#}");
}

#[test]
fn a_suspension_that_another_run_undoes_before_it_is_written_down_is_done_again() {
    let site = site(&attaching(FOUR_BUILDS));
    site.steward.run("r", false);
    site.aws().fault_from("ListClusters", Fault::Denied, 0);
    let other: Happens = |registry, _| app(registry).lifecycle_policy = Some(behind(FOUR_BUILDS));
    site.aws().fault("PutLifecyclePolicy", Fault::Then(other), 1);
    let report = site.steward.run("s", false);
    assert!(site.is_suspended(), "{report:#}");
    assert!(site.record().unwrap()["suspended"].is_object(), "{report:#}");
}

/// A name of a repository that is looked at today.
fn of_today(prefix: &str) -> String {
    let now = Instant::now();
    (0..)
        .map(|number| format!("{prefix}/{number}"))
        .find(|name| checks_native_policy(name, now, None))
        .unwrap()
}

#[test]
fn a_policy_of_a_repositorys_own_that_expires_what_is_in_use_needs_attention() {
    let (matched, unmatched) = (of_today("matched"), of_today("unmatched"));
    let policies = format!(
        "policies:\n- {{ name: matched, repositories: ['matched/*'], rules: [{TWO_WEEKS}]{UNLIMITED} }}\n"
    );
    let steward = Steward::with_policies_file(&policies);
    steward.aws.with(|registry| {
        for name in [&matched, &unmatched] {
            let mut filled = repository(name);
            fill(&mut filled, name);
            filled.lifecycle_policy = Some(native(TWO_WEEKS).to_json());
            registry.repositories.insert(name.clone(), filled);
        }
    });
    steward.aws.cloud(|cloud| {
        for name in [&matched, &unmatched] {
            use_by_task(cloud, &format!("{name}:ci-2"), None);
        }
    });
    // A gap hides nothing of what is known.
    for is_complete in [false, true] {
        steward.aws.heal();
        if !is_complete {
            steward.aws.fault_from("ListFunctions", Fault::Denied, 0);
        }
        let report = steward.run(&format!("r{is_complete}"), false);
        for name in [&matched, &unmatched] {
            let reported =
                of(&report, name)["nativePolicy"].as_str().unwrap_or_else(|| panic!("{name}: {report:#}"));
            assert!(reported.contains("1 image in use") && reported.contains("task/prod/"), "{reported}");
        }
        assert_eq!(report["status"], "ATTENTION");
    }
    // Where the policy takes nothing of that there is nothing to say, nor where it is protected.
    steward.aws.with(|registry| {
        for name in [&matched, &unmatched] {
            let repository = registry.repositories.get_mut(name.as_str()).unwrap();
            repository.tags.insert("ecr-steward:protect".to_owned(), "true".to_owned());
            repository.lifecycle_policy = Some(behind(FOUR_BUILDS));
        }
    });
    let report = steward.run("s", false);
    for name in [&matched, &unmatched] {
        assert_eq!(of(&report, name)["nativePolicy"], Value::Null, "{report:#}");
    }
}

/// What Terraform has put in place of ours begins with the protection rule, too.
#[test]
fn a_policy_that_came_in_place_of_an_attached_one_is_not_suspended_once_it_is_asked_to_be_left_alone() {
    for by_tag in [false, true] {
        let site = Site::new(ATTACH);
        site.steward.run("r", false);
        site.aws().forget_calls();
        let theirs = behind(FOUR_BUILDS);
        site.attach_by_hand(Some(&theirs));
        site.use_by_task("app:ci-0", None);
        if by_tag {
            ask_by_tag(&site);
            site.say(OF_OTHERS);
        } else {
            site.say(PROTECT);
        }
        for run in ["s", "t"] {
            site.protect_only(&format!("{run} hourly"));
            let report = site.steward.run(run, false);
            assert_eq!(of(&report, "app")["status"], "DONE", "{report:#}");
            assert_eq!(site.policy().as_ref(), Some(&theirs), "{report:#}");
        }
        assert_eq!(site.puts_of_policies(), 0);
        assert!(!site.taken_by_ecr().contains(&site.app.old[0]));
        assert_eq!(site.record().unwrap()["mode"], "protect");
    }
}

#[test]
fn what_is_attached_is_suspended_when_the_file_says_protect_and_what_comes_then_is_left_alone() {
    let site = Site::new(ATTACH);
    site.steward.run("r", false);
    site.say(PROTECT);
    site.use_by_task("app:ci-0", None);
    let report = site.steward.run("s", false);
    assert!(site.is_suspended(), "{report:#}");
    // It may come at any moment.
    site.attach_by_hand(Some(&behind(TWO_WEEKS)));
    assert!(!site.taken_by_ecr().contains(&site.app.old[0]), "it has its tag already");
    site.aws().forget_calls();
    let report = site.steward.run("t", false);
    assert_eq!(site.puts_of_policies(), 0, "{report:#}");
    assert_eq!(site.policy(), Some(behind(TWO_WEEKS)));
}

/// As earlier versions attached it.
fn of_an_earlier_version(rules: &str) -> String {
    let mut policy: Value = serde_json::from_str(&behind(rules)).unwrap();
    let all = policy["rules"].as_array_mut().unwrap();
    let mut released = all[0].clone();
    released["selection"] = json!({ "tagStatus": "tagged", "tagPrefixList": ["ecr-steward-released-"],
        "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 1 });
    all.insert(1, released);
    for (priority, rule) in (1..).zip(all) {
        rule["rulePriority"] = priority.into();
    }
    policy.to_string()
}

/// Its second rule takes what no rule of the policies file does.
#[test]
fn a_policy_that_an_earlier_version_attached_stops_acting() {
    let never = "{ selection: any, maximumAgeLimit: 3000 }";
    let upgraded = |policies: &str| {
        let site = site(policies);
        site.attach_by_hand(Some(&of_an_earlier_version(never)));
        site.aws().with(|registry| {
            app(registry).image_mut(&site.app.old[0]).tags.insert("ecr-steward-released-0".to_owned());
        });
        assert_eq!(site.taken_by_ecr(), set([&site.app.old[0]]));
        site
    };
    // Whatever the first run is.
    let site = upgraded(&attaching(never));
    site.steward.run("r", false);
    assert!(site.acts() && site.taken_by_ecr().is_empty());
    let site = upgraded(&attaching(never));
    site.protect_only("r");
    assert_eq!(site.taken_by_ecr(), BTreeSet::new(), "by one that only protects");
    let mut site = upgraded(&attaching(never));
    site.steward.approves = false;
    let report = site.steward.run("r", false);
    assert_eq!(report["dryRunReason"], "not-previewed", "{report:#}");
    assert_eq!(site.taken_by_ecr(), BTreeSet::new(), "by one of which nobody has seen the effect");
    let mut site = upgraded(&attaching(never));
    site.steward.switch(false);
    site.steward.run("r", false);
    assert_eq!(site.taken_by_ecr(), BTreeSet::new(), "with the switch off");
    let site = upgraded(OF_OTHERS);
    site.remember(&made_with(never));
    let mut site = site;
    site.steward.switch(false);
    site.steward.run("r", false);
    assert_eq!(site.taken_by_ecr(), BTreeSet::new(), "where a repository was made with a policy");
    // Somebody else's is told of.
    let site = upgraded(PROTECT);
    let report = site.steward.run("r", false);
    assert_eq!(codes(of(&report, "app")), ["policy-cannot-be-protected"], "{report:#}");
}

/// What comes between the look at the repository and the look at what is in use.
#[test]
fn an_image_that_is_pushed_and_run_while_protection_is_refreshed_is_not_mistaken_for_protected() {
    let site = site(&attaching(FOUR_BUILDS));
    site.steward.run("r", false);
    let push: Happens = |registry, cloud| {
        let digest = app(registry).push("ci-6", &["ci-6"]);
        use_by_task(cloud, "app:ci-6", Some(&digest));
    };
    site.aws().fault("DescribeImages", Fault::Then(push), 1);
    site.steward.run("s", false);
    let pushed = site.aws().with(|registry| {
        app(registry).images.iter().find(|image| image.tags.contains("ci-6")).unwrap().pushed_at
    });
    let refreshed = site.record().unwrap()["refreshedAt"].as_str().unwrap().to_owned();
    #[expect(clippy::cast_possible_truncation, reason = "microseconds of this century")]
    let pushed = Instant::from_micros((pushed * 1e6) as i64).unwrap();
    assert!(Instant::parse(&refreshed).unwrap() < pushed, "{refreshed}, {pushed}");
    site.protect_only("t");
    let digest = site.aws().with(|registry| {
        app(registry).images.iter().find(|image| image.tags.contains("ci-6")).unwrap().digest.clone()
    });
    assert!(site.tags(&digest).contains(&protection_tag(&digest)));
}

#[test]
fn where_a_repository_cannot_be_read_what_this_stack_attached_is_suspended() {
    for operation in ["DescribeImages", "BatchGetImage"] {
        for policies in [policies_file(ATTACH), OF_OTHERS.to_owned()] {
            let is_attached = policies != OF_OTHERS;
            let site = match is_attached {
                true => site(&policies),
                false => provisioned(&policies, FOUR_BUILDS),
            };
            site.steward.run("r", false);
            assert!(site.acts());
            // An index that nobody has read yet.
            site.aws().with(|registry| {
                let child = app(registry).push("child", &[]);
                app(registry).push_index(&[&child], &["v9"]);
            });
            site.aws().fault_from(operation, Fault::Denied, 0);
            let report = site.protect_only("hourly");
            assert!(site.is_suspended(), "{operation} {policies}: {report:#}");
            assert_eq!(of(&report, "app")["status"], "FAILED");
            assert!(
                of(&report, "app")["attachment"]["suspendedBecause"].as_str().unwrap().contains(operation)
            );
            site.aws().heal();
            let report = site.steward.run("s", false);
            assert!(site.acts(), "{operation} {policies}: {report:#}");
        }
    }
}

#[test]
fn where_nobody_knows_which_policy_is_for_a_repository_what_is_attached_is_suspended() {
    let policies = format!(
        "policies:
- {{ name: held, repositories: ['*'], tags: {{ hold: legal }}, rules: [{{ selection: any, maximumAgeLimit: 4000 }}] }}
- {{ name: all, repositories: ['*'], rules: [{TWO_WEEKS}]{ATTACH} }}
"
    );
    let site = site(&policies);
    site.steward.run("r", false);
    let taken = site.steward.take_inventory(&Steward::begin("s", false)).response();
    site.aws().fault_from("ListTagsForResource", Fault::Denied, 0);
    for key in site.steward.batches(&taken) {
        site.steward.work(&taken, &key);
    }
    let report = site.steward.report(&taken);
    assert!(site.is_suspended(), "{report:#}");
    assert_eq!(of(&report, "app")["status"], "FAILED");
    // Also where it is not known from the beginning.
    site.aws().heal();
    site.steward.run("t", false);
    assert!(site.acts());
    site.aws().fault_from("ListTagsForResource", Fault::Denied, 0);
    let report = site.protect_only("hourly");
    assert!(site.is_suspended(), "{report:#}");
    assert_eq!(of(&report, "app")["status"], "FAILED");
    assert!(of(&report, "app")["error"].as_str().unwrap().contains("which policy is for it is not known"));
    // What is somebody else's is protected.
    site.aws().heal();
    ask_by_tag(&site);
    site.attach_by_hand(Some(&behind(FOUR_BUILDS)));
    site.aws().cloud(|cloud| cloud.delete(&format!("{BUCKET}/state/protection/app.json")));
    site.use_by_task("app:ci-0", None);
    site.aws().fault_from("ListTagsForResource", Fault::Denied, 0);
    let report = site.steward.run("u", false);
    assert!(!site.taken_by_ecr().contains(&site.app.old[0]), "{report:#}");
    assert_eq!(
        (site.policy(), of(&report, "app")["status"].as_str()),
        (Some(behind(FOUR_BUILDS)), Some("FAILED"))
    );
}

#[test]
fn what_cannot_be_suspended_is_protected_all_the_same_and_reported() {
    let site = Site::new(ATTACH);
    site.steward.run("r", false);
    site.use_by_task("app:ci-0", None);
    site.aws().fault_from("ListFunctions", Fault::Denied, 0);
    site.aws().fault_from("PutLifecyclePolicy", Fault::Denied, 0);
    let report = site.steward.run("s", false);
    let app = of(&report, "app");
    assert!(!site.taken_by_ecr().contains(&site.app.old[0]), "{report:#}");
    assert_eq!(app["status"], "FAILED", "{report:#}");
    assert!(codes(app).contains(&"policy-not-suspended"), "{report:#}");
    let before = site.record().unwrap();
    assert_eq!(before["refreshedBy"], "r", "it becomes stale");
}

#[test]
fn a_record_that_cannot_be_read_or_is_of_another_registry_has_nothing_act() {
    let other = |key: &str, value: &str| {
        let mut record = made_with(TWO_WEEKS);
        record[key] = value.into();
        record
    };
    for record in [other("registryId", "999999999999"), other("repositoryName", "bpp"), json!({ "mode": 1 })]
    {
        let site = provisioned(OF_OTHERS, FOUR_BUILDS);
        site.remember(&record);
        let once = site.lone("once", &["ci-x", "ecr-steward-in-use-00"]);
        let report = site.steward.run("r", false);
        assert!(site.is_suspended(), "{record}: {report:#}");
        assert!(site.left().contains(&once));
        // With the file's policy it is written anew.
        let site = Site::new(ATTACH);
        site.steward.run("r", false);
        site.remember(&record);
        let report = site.steward.run("s", false);
        assert!(site.acts(), "{record}: {report:#}");
        assert_eq!((site.record().unwrap()["mode"].as_str(), counted_today(&site)), (Some("attach"), 14));
        // What is somebody else's is not written.
        let site = site_under_protect();
        site.remember(&record);
        site.steward.run("r", false);
        assert_eq!(site.puts_of_policies(), 0);
        assert_eq!(site.record().unwrap()["mode"], "protect");
    }
}

fn site_under_protect() -> Site {
    let site = site(PROTECT);
    site.attach_by_hand(Some(&behind(FOUR_BUILDS)));
    site
}

#[test]
fn a_repository_that_nobody_asks_to_protect_any_more_is_forgotten() {
    let site = site_under_protect();
    site.steward.run("r", false);
    assert_eq!(site.record().unwrap()["mode"], "protect");
    site.say(OF_OTHERS);
    site.protect_only("hourly");
    assert_eq!((site.record(), site.policy()), (None, Some(behind(FOUR_BUILDS))));
}

#[test]
fn nothing_is_deleted_by_a_policy_of_somebody_elses_that_was_replaced_meanwhile() {
    let site = site_under_protect();
    site.use_by_task("app:ci-0", None);
    site.steward.run("r", false);
    site.end_use();
    let replace: Happens = |registry, _| {
        app(registry).lifecycle_policy = Some(behind("{ selection: any, maximumAgeLimit: 3000 }"));
    };
    site.aws().fault("DescribeImages", Fault::Then(replace), 1);
    let report = site.steward.run("s", false);
    assert!(site.left().contains(&site.app.old[0]), "{report:#}");
    assert_eq!(of(&report, "app")["status"], "BLOCKED");
    let report = site.steward.run("t", false);
    assert_eq!(report["status"], "SUCCEEDED", "{report:#}");
}

#[test]
fn a_release_stays_whole_while_it_runs_and_leaves_whole_by_this_stack() {
    let site = Site::new(ATTACH);
    site.use_by_task(&format!("app@{}", site.app.children[1]), None);
    site.steward.run("r", false);
    let release = set(site.app.release());
    assert!(site.taken_by_ecr().is_disjoint(&release));
    ecr_engine::act(site.aws(), "app");
    site.end_use();
    assert!(site.taken_by_ecr().is_disjoint(&release));
    let report = site.steward.run("s", false);
    assert_eq!(site.left(), set([&site.app.young]), "{report:#}");
    let written: BTreeSet<String> = site
        .journal(is_removal)
        .iter()
        .map(|line| line["imageDigest"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(written, release);
}

#[test]
fn what_ran_once_counts_against_the_limit_of_the_registry_too() {
    let site = site(&limited(3));
    site.use_by_task("app:ci-0", None);
    let second = site.lone("ci-a", &["ci-a"]);
    site.use_by_task("app:ci-a", None);
    site.steward.run("r", false);
    assert_eq!((site.taken_by_ecr(), counted_today(&site)), (set([&site.app.old[1]]), 1));
    site.end_use();
    site.say(&limited(2));
    let report = site.steward.run("s", false);
    let gone = &(&site.app.all() | &set([&second])) - &site.left();
    assert_eq!((gone.len(), counted_today(&site)), (1, 2), "{report:#}");
    assert!(codes(of(&report, "app")).contains(&"limit-registry"), "{report:#}");
}

/// ECR does not give the manifest of what is in the archive.
#[test]
fn an_archived_image_in_use_holds_up_nothing_where_no_rule_looks_into_the_archive() {
    let site = Site::new(ATTACH);
    site.use_by_task("app:ci-0", None);
    site.aws().with(|registry| app(registry).image_mut(&site.app.old[0]).archived = true);
    let report = site.steward.run("r", false);
    assert!(site.acts(), "{report:#}");
    assert!(!site.taken_by_ecr().contains(&site.app.old[0]));
    let archive = format!("{TWO_WEEKS}, {{ selection: any, maximumDaysInArchive: 90 }}");
    site.say(&attaching(&archive));
    let report = site.steward.run("s", false);
    assert!(site.is_suspended(), "{report:#}");
    assert!(of(&report, "app")["error"].as_str().unwrap().contains("ImageInaccessible"), "{report:#}");
}

/// A8: as the state machine continues when the inventory fails.
#[test]
fn a_policies_file_that_is_not_valid_suspends_what_it_attached() {
    let site = Site::new(ATTACH);
    site.steward.run("r", false);
    site.say("policies: [{ name: all }]\n");
    let input = Steward::begin("s", false);
    let (error_type, message) = site.steward.take_inventory(&input).error();
    assert_eq!(error_type, "InvalidPoliciesFile");
    let cause = json!({ "errorType": error_type, "errorMessage": message }).to_string();
    let suspend = tests::cloud::function(site.aws(), "lifecycle-suspend", tests::steward::PLENTY);
    suspend.invoke(json!({ "run": input["run"], "reason": cause }).to_string()).response();
    assert!(site.is_suspended());
    // And it is attached again when the file is valid.
    site.say(&policies_file(ATTACH));
    site.steward.run("t", false);
    assert!(site.acts());
}

/// Nothing of what is protected depends on how many policies there are in the file.
#[test]
fn of_two_runs_at_once_neither_removes_the_protection_of_the_other() {
    let site = Site::new(ATTACH);
    site.steward.run("r", false);
    site.use_by_task("app:ci-0", None);
    let nightly = site.steward.take_inventory(&Steward::begin("nightly", false)).response();
    let batches = site.steward.batches(&nightly);
    site.end_use();
    site.use_by_task("app:ci-1", None);
    site.protect_only("hourly");
    site.end_use();
    site.use_by_task("app:ci-2", None);
    for key in &batches {
        site.steward.work(&nightly, key);
    }
    let taken = site.taken_by_ecr();
    assert!(taken.is_disjoint(&set([&site.app.old[1], &site.app.old[2]])), "{taken:?}");
    assert!(site.left().contains(&site.app.old[2]));
}
