//! The function repository-api as a real process, with ECR in memory.

use std::time::Duration;

use serde_json::{Value, json};
use shared::domain::enforcement::in_use_protection::{TakesNothing, protected};
use shared::domain::lifecycle::{LifecyclePolicy, PolicySource};
use tests::cloud::{self, BUCKET};
use tests::ecr_stub::{EcrStub, Fault, KEY, OPERATIONS, Repository};
use tests::gateway::{self, Answer};
use tests::runtime_api::Function;

/// Time for an event: enough for every retry that helps.
const PLENTY: Duration = Duration::from_secs(29);
/// Time for an event that cannot be done anyway.
const LITTLE: Duration = Duration::from_millis(2500);

struct Api {
    ecr: EcrStub,
    function: Function,
}

impl Api {
    fn start(time: Duration) -> Self {
        let ecr = EcrStub::start();
        // A registry in which a day's limit is no matter here.
        ecr.cloud(|cloud| cloud.upload(&format!("{BUCKET}/state/registry.json"), r#"{"images":1000000}"#));
        let function = cloud::function(&ecr, "repository-api", time);
        Self { ecr, function }
    }

    fn ask(&self, method: &str, target: &str, body: &Value) -> Answer {
        gateway::ask(&self.function, method, target, body)
    }

    fn create(&self, spec: &Value) -> Answer {
        self.ask("POST", "/repositories", spec)
    }

    fn repository(&self, name: &str) -> Repository {
        self.ecr.with(|registry| registry.repositories[name].clone())
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Repository)) {
        self.ecr.with(|registry| change(registry.repositories.get_mut(name).unwrap()));
    }

    /// What is remembered of the protection of a repository.
    fn record(&self, name: &str) -> Option<Value> {
        let text = self.ecr.cloud(|cloud| cloud.object_text(&record_path(name)));
        text.map(|text| serde_json::from_str(&text).unwrap())
    }

    fn put_record(&self, name: &str, record: &Value) {
        self.ecr.cloud(|cloud| cloud.upload(&record_path(name), &record.to_string()));
    }

    /// A run, or the dead man's switch, suspends the policy of a repository.
    fn suspend(&self, name: &str) {
        let mut record = self.record(name).unwrap();
        record["suspended"] = json!({ "at": SUSPENDED_AT, "reason": "a list is late" });
        self.put_record(name, &record);
        self.change(name, |repository| repository.lifecycle_policy = Some(nothing()));
    }

    /// Makes a repository with images in it, and forgets the calls that it took.
    fn with_images(self, push: impl FnOnce(&mut Repository)) -> Self {
        assert_eq!(self.create(&json!({ "repositoryName": "app" })).status, 201);
        self.ecr.with(|registry| push(registry.repositories.get_mut("app").unwrap()));
        self.ecr.forget_calls();
        self
    }
}

const SUSPENDED_AT: &str = "2026-11-20T03:00:00Z";

fn record_path(name: &str) -> String {
    format!("{BUCKET}/state/protection/{name}.json")
}

fn filters(filters: &[&str]) -> Value {
    filters.iter().map(|filter| json!({ "filterType": "WILDCARD", "filter": filter })).collect()
}

/// What is attached while a policy is suspended.
fn nothing() -> String {
    TakesNothing::new().unwrap().to_json()
}

/// A policy in the simple model.
fn policy_of(simple: &Value) -> LifecyclePolicy {
    PolicySource::parse_json(&simple.to_string()).unwrap().policy().unwrap().clone()
}

fn policy(text: &Value) -> LifecyclePolicy {
    LifecyclePolicy::parse(text.as_str().unwrap()).unwrap()
}

/// The same as it is attached.
fn attached(simple: &Value) -> String {
    protected(&policy_of(simple)).unwrap().to_json()
}

fn older_than(days: u64) -> Value {
    json!({ "rules": [{ "selection": "any", "maximumAgeLimit": days }] })
}

#[test]
fn a_repository_that_the_path_names_is_made_and_its_images_deleted_and_no_other_spelling_of_the_path_is_accepted()
 {
    let api = Api::start(PLENTY).with_images(|app| {
        let image = app.push("image", &["old"]);
        app.age(&image, 30.0);
    });
    let made = api.ask("POST", "/repositories/team/app", &json!({ "imageTagMutability": "IMMUTABLE" }));
    assert_eq!(
        (made.status, &made.headers["location"]),
        (201, &json!("/repositories/team/app")),
        "{}",
        made.body
    );
    let other = json!({ "repositoryName": "team/app", "imageIds": [{ "imageTag": "old" }] });
    api.ask("POST", "/deletions/app", &other).problem(400, "invalid-request");
    let ids = json!({ "imageIds": [{ "imageTag": "old" }] });
    for path in ["/deletions/app/", "/deletions//app", "/deletions/team/../app", "/deletions/app%2f"] {
        api.ask("POST", path, &ids).problem(404, "no-such-path");
    }
    for path in
        ["/repositories/app/", "/repositories/team/%2e%2e/app", "/repositories/app%00", "/repositories//app"]
    {
        api.ask("DELETE", path, &Value::Null).problem(404, "no-such-path");
    }
    assert_eq!(api.repository("app").images.len(), 1);
    let deleted = api.ask("POST", "/deletions/app", &ids);
    assert_eq!((deleted.status, api.repository("app").images.len()), (200, 0), "{}", deleted.body);
}

#[test]
fn a_repository_takes_a_name_and_three_calls_and_is_recorded_before_its_policy_is_put() {
    let api = Api::start(PLENTY);
    let created = api.create(&json!({ "repositoryName": "team/app" }));
    assert_eq!(created.status, 201, "{}", created.body);
    assert_eq!(created.headers["location"], "/repositories/team/app");
    assert_eq!(
        api.ecr.operations(),
        ["CreateRepository", "PutObject", "PutLifecyclePolicy", "UntagResource"]
    );
    let repository = &created.body["repository"];
    let uri = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app";
    assert_eq!(repository["repositoryUri"], uri);
    assert_eq!(created.body["commands"]["push"], format!("docker push {uri}:TAG"));
    let found = api.ask("GET", created.headers["location"].as_str().unwrap(), &Value::Null);
    assert_eq!(found.body, created.body);
    let made = api.repository("team/app");
    assert!(made.lifecycle_policy.as_ref().unwrap().contains("remove untagged images"));
    assert!(made.tags.is_empty() && made.policy.is_none());
    // All tags can be moved but those that protect.
    assert_eq!(made.described["imageTagMutability"], "MUTABLE_WITH_EXCLUSION");
    assert_eq!(made.described["imageTagMutabilityExclusionFilters"], filters(&["ecr-steward-*"]));
    assert_eq!(repository["lifecyclePolicyStatus"], "ACTIVE");
    let record = api.record("team/app").unwrap();
    assert_eq!(
        (&record["mode"], &record["registryId"], &record["suspended"]),
        (&json!("provisioned"), &json!("123456789012"), &Value::Null)
    );
    assert_eq!(policy(&record["lifecyclePolicyText"]), policy_of(&json!({})));
    assert_eq!(made.lifecycle_policy, Some(attached(&json!({}))));
    assert_eq!(made.described["encryptionConfiguration"]["encryptionType"], "AES256");
}

#[test]
fn the_same_request_again_is_the_same_repository_untouched() {
    let api = Api::start(PLENTY);
    let spec = json!({
        "repositoryName": "app", "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
        "imageTagMutabilityExclusionFilters": [{ "filterType": "WILDCARD", "filter": "latest" }],
        "imageScanningConfiguration": { "scanOnPush": true },
        "encryptionConfiguration": { "encryptionType": "KMS", "kmsKey": KEY },
        "tags": [{ "Key": "team", "Value": "shop" }],
        "lifecyclePolicy": { "rules": [{ "selection": "any", "maximumNumberOfImages": 30 }] },
        "pullAccess": { "accountIds": ["111111111111"], "lambda": true },
    });
    let created = api.create(&spec);
    assert_eq!(created.status, 201, "{}", created.body);
    let before = api.ecr.snapshot();
    assert_eq!(before["app"].tags.len(), 1);
    let again = api.create(&spec);
    assert_eq!(again.status, 200, "{}", again.body);
    let text = |answer: &Answer, field: &str| -> Value {
        serde_json::from_str(answer.body["repository"][field].as_str().unwrap()).unwrap()
    };
    assert_eq!(text(&again, "repositoryPolicyText"), text(&created, "repositoryPolicyText"));
    for field in ["repositoryUri", "tags", "lifecyclePolicyText", "imageTagMutabilityExclusionFilters"] {
        assert_eq!(again.body["repository"][field], created.body["repository"][field], "{field}");
    }
    assert_eq!(api.ecr.snapshot(), before);
}

#[test]
fn a_repository_that_exists_otherwise_is_reported_and_left() {
    let api = Api::start(PLENTY);
    api.create(&json!({ "repositoryName": "app", "tags": [{ "Key": "a", "Value": "1" }] }));
    let before = api.ecr.snapshot();
    let other = json!({
        "repositoryName": "app", "imageTagMutability": "IMMUTABLE", "lifecyclePolicy": { "skip": true },
        "encryptionConfiguration": { "encryptionType": "KMS" },
    });
    let detail = api.create(&other).problem(409, "repository-exists");
    for part in [
        "encrypted with AES256",
        "lifecycle policy",
        "MUTABLE_WITH_EXCLUSION and not IMMUTABLE",
        "1 tag differ",
    ] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    assert_eq!(api.ecr.snapshot(), before);
}

#[test]
fn an_update_changes_what_differs_and_says_so() {
    let api = Api::start(PLENTY);
    api.create(&json!({ "repositoryName": "app", "tags": [{ "Key": "a", "Value": "1" }, { "Key": "b", "Value": "2" }] }));
    api.ecr.forget_calls();
    let spec = json!({
        "imageScanningConfiguration": { "scanOnPush": true },
        "tags": [{ "Key": "b", "Value": "3" }, { "Key": "c", "Value": "4" }],
    });
    let updated = api.ask("PUT", "/repositories/app", &spec);
    assert_eq!(updated.status, 200, "{}", updated.body);
    let changes = updated.body["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 2);
    assert_eq!(
        changes[0],
        json!({
            "field": "imageScanningConfiguration", "from": { "scanOnPush": false }, "to": { "scanOnPush": true },
        })
    );
    assert_eq!(changes[1]["from"], json!([{ "Key": "a", "Value": "1" }, { "Key": "b", "Value": "2" }]));
    let mut operations = api.ecr.operations();
    operations.retain(|name| {
        !name.starts_with("Get") && !name.starts_with("List") && !name.starts_with("Describe")
    });
    assert_eq!(operations, ["PutImageScanningConfiguration", "TagResource", "UntagResource"]);
    let tags = api.repository("app").tags;
    assert_eq!(tags.into_iter().collect::<Vec<_>>(), [("b".into(), "3".into()), ("c".into(), "4".into())]);

    api.ecr.forget_calls();
    let again = api.ask("PUT", "/repositories/app", &spec);
    assert_eq!(again.body["changes"], json!([]));
    assert!(!api.ecr.operations().iter().any(|name| name.starts_with("Put") || name.starts_with("Tag")));
    let shown = api.ask("GET", "/repositories/app", &Value::Null);
    assert_eq!(shown.body["repository"], again.body["repository"]);
}

#[test]
fn policies_are_put_and_deleted() {
    let api = Api::start(PLENTY);
    api.create(&json!({ "repositoryName": "app", "pullAccess": { "organizationId": "o-abcdefghij" } }));
    assert!(api.repository("app").policy.unwrap().contains("aws:PrincipalOrgID"));
    let none = json!({ "lifecyclePolicy": { "skip": true } });
    assert_eq!(api.ask("PUT", "/repositories/app", &none).status, 200);
    let bare = api.repository("app");
    assert_eq!((bare.lifecycle_policy, bare.policy), (None, None));
    let literal = json!({ "repositoryPolicyText": { "Version": "2012-10-17", "Statement": [] } });
    assert_eq!(api.ask("PUT", "/repositories/app", &literal).status, 200);
    assert!(api.repository("app").lifecycle_policy.unwrap().contains("remove untagged images"));
    assert!(api.repository("app").policy.is_some());
}

#[test]
fn a_policy_that_is_not_wanted_is_deleted_and_its_record_after_it() {
    let api = Api::start(PLENTY);
    let none = json!({ "repositoryName": "app", "lifecyclePolicy": { "skip": true } });
    assert_eq!(api.create(&none).status, 201);
    let made = api.repository("app");
    assert_eq!((made.lifecycle_policy, api.record("app")), (None, None));
    assert_eq!(made.described["imageTagMutability"], "MUTABLE_WITH_EXCLUSION", "another policy may come");
    assert_eq!(
        api.ask("PUT", "/repositories/app", &json!({})).body["repository"]["lifecyclePolicyStatus"],
        "ACTIVE"
    );
    assert!(api.record("app").is_some());
    api.ecr.forget_calls();
    let gone = api.ask("PUT", "/repositories/app", &json!({ "lifecyclePolicy": { "skip": true } }));
    assert_eq!(gone.body["repository"]["lifecyclePolicyStatus"], Value::Null, "{}", gone.body);
    assert_eq!(api.record("app"), None);
    let operations: Vec<String> = api
        .ecr
        .calls()
        .into_iter()
        .map(|call| call.operation)
        .filter(|name| name.starts_with("Delete"))
        .collect();
    assert_eq!(operations, ["DeleteLifecyclePolicy", "DeleteObject"]);
    // A policy that is suspended goes, too: none takes nothing, either.
    api.ask("PUT", "/repositories/app", &json!({}));
    api.suspend("app");
    api.ask("PUT", "/repositories/app", &json!({ "lifecyclePolicy": { "skip": true } }));
    assert_eq!((api.repository("app").lifecycle_policy, api.record("app")), (None, None));
}

#[test]
fn what_is_remembered_of_a_repository_is_deleted_with_it() {
    let api = Api::start(PLENTY);
    for (target, force) in [("/repositories/app", false), ("/repositories/app?force=true", true)] {
        api.create(&json!({ "repositoryName": "app" }));
        if force {
            api.change("app", |app| drop(app.push("image", &[])));
        }
        assert!(api.record("app").is_some());
        assert_eq!(api.ask("DELETE", target, &Value::Null).status, 204);
        assert_eq!(api.record("app"), None, "{target}");
    }
    // Deleted in the console, suspended before: the next repository of this name is another one.
    api.create(&json!({ "repositoryName": "app" }));
    api.suspend("app");
    api.ecr.with(|registry| registry.repositories.clear());
    let again = api.create(&json!({ "repositoryName": "app" }));
    assert_eq!((again.status, &again.body["repository"]["lifecyclePolicyStatus"]), (201, &json!("ACTIVE")));
    assert_eq!(api.record("app").unwrap()["suspended"], Value::Null);
    api.ecr.with(|registry| registry.repositories.clear());
    api.create(&json!({ "repositoryName": "app", "lifecyclePolicy": { "skip": true } }));
    assert_eq!(api.record("app"), None);
}

#[test]
fn a_policy_of_an_earlier_version_gets_the_protection_rule() {
    let api = Api::start(PLENTY);
    let spec = json!({ "repositoryName": "app", "lifecyclePolicy": older_than(9) });
    let bare = policy_of(&older_than(9)).to_json();
    let before = |has_images: bool| {
        api.ecr.with(|registry| registry.repositories.clear());
        api.create(&spec);
        api.ecr.cloud(|cloud| cloud.delete(&record_path("app")));
        api.change("app", |app| {
            app.lifecycle_policy = Some(bare.clone());
            app.described["imageTagMutability"] = "MUTABLE".into();
            app.described.as_object_mut().unwrap().remove("imageTagMutabilityExclusionFilters");
            if has_images {
                app.push("image", &[]);
            }
        });
        let shown = api.ask("GET", "/repositories/app", &Value::Null);
        assert_eq!(shown.body["repository"]["lifecyclePolicyStatus"], "UNPROTECTED");
        let detail = api.create(&spec).problem(409, "repository-exists");
        assert!(detail.contains("protection rule") && detail.contains("is MUTABLE and not"), "{detail}");
    };
    before(false);
    let updated = api.ask("PUT", "/repositories/app", &spec);
    let fields: Vec<&Value> =
        updated.body["changes"].as_array().unwrap().iter().map(|change| &change["field"]).collect();
    assert_eq!(fields, ["imageTagMutability", "lifecyclePolicyText"]);
    assert_eq!(updated.body["repository"]["lifecyclePolicyStatus"], "ACTIVE");
    let made = api.repository("app");
    assert_eq!(made.lifecycle_policy, Some(attached(&older_than(9))));
    assert_eq!(made.described["imageTagMutabilityExclusionFilters"], filters(&["ecr-steward-*"]));
    assert_eq!(api.ask("PUT", "/repositories/app", &spec).body["changes"], json!([]));

    // Images that run may be among those that are there, and no run has tagged them: the policy waits for one.
    before(true);
    let updated = api.ask("PUT", "/repositories/app", &spec);
    assert_eq!(updated.body["repository"]["lifecyclePolicyStatus"], "SUSPENDED", "{}", updated.body);
    let reason = updated.body["repository"]["lifecyclePolicyStatusReason"].as_str().unwrap();
    assert!(
        reason.contains("no protection tags yet") && reason.contains("with Enforce=true the next run"),
        "{reason}"
    );
    assert_eq!(api.repository("app").lifecycle_policy, Some(nothing()));
    let record = api.record("app").unwrap();
    assert_eq!(policy(&record["lifecyclePolicyText"]), policy_of(&older_than(9)));
    assert!(record["suspended"]["reason"].as_str().unwrap().contains("no protection tags yet"));
    let again = api.ask("PUT", "/repositories/app", &spec);
    assert_eq!(again.body["changes"], json!([]));
    assert_eq!(again.body["repository"], updated.body["repository"]);
    assert_eq!(api.create(&spec).body["repository"], updated.body["repository"]);
}

#[test]
fn a_suspended_policy_is_never_lifted_and_the_one_that_is_asked_for_is_kept_for_the_next_run() {
    let api = Api::start(PLENTY);
    api.create(&json!({ "repositoryName": "app", "lifecyclePolicy": older_than(9) }));
    api.suspend("app");
    let refreshed_at = api.record("app").unwrap()["refreshedAt"].clone();
    let shown = api.ask("GET", "/repositories/app", &Value::Null);
    assert_eq!(shown.body["repository"]["lifecyclePolicyStatus"], "SUSPENDED");
    let reason = shown.body["repository"]["lifecyclePolicyStatusReason"].as_str().unwrap().to_owned();
    assert!(reason.contains("a list is late") && reason.contains(SUSPENDED_AT), "{reason}");
    assert_eq!(shown.body["repository"]["lifecyclePolicyText"], nothing(), "as ECR has it");
    api.ecr.forget_calls();

    let detail = api.create(&json!({ "repositoryName": "app", "lifecyclePolicy": older_than(5) }));
    let detail = detail.problem(409, "repository-exists");
    assert!(detail.contains("its suspended lifecycle policy is another"), "{detail}");
    let same = api.create(&json!({ "repositoryName": "app", "lifecyclePolicy": older_than(9) }));
    assert_eq!((same.status, &same.body), (200, &shown.body));

    let updated = api.ask("PUT", "/repositories/app", &json!({ "lifecyclePolicy": older_than(5) }));
    assert_eq!(updated.status, 200, "{}", updated.body);
    assert_eq!(updated.body["repository"], shown.body["repository"]);
    assert_eq!(api.ecr.count("PutLifecyclePolicy"), 0);
    let record = api.record("app").unwrap();
    assert_eq!(policy(&record["lifecyclePolicyText"]), policy_of(&older_than(5)));
    assert_eq!(
        (&record["suspended"]["reason"], &record["refreshedAt"]),
        (&json!("a list is late"), &refreshed_at)
    );
    // What is shown is not what can be asked for: the policy would be lost.
    let text = updated.body["repository"]["lifecyclePolicyText"].clone();
    let back = api.ask("PUT", "/repositories/app", &json!({ "lifecyclePolicyText": text }));
    back.problem(400, "invalid-request");
    assert_eq!(back.body["findings"][0]["code"], "suspended-policy");
    // Whoever suspends writes the record first, and may be broken off after it: that is finished.
    api.change("app", |app| app.lifecycle_policy = Some(attached(&older_than(9))));
    api.ask("PUT", "/repositories/app", &json!({ "lifecyclePolicy": older_than(5) }));
    assert_eq!(api.repository("app").lifecycle_policy, Some(nothing()));
}

#[test]
fn a_policy_that_is_suspended_while_another_is_put_is_suspended() {
    let api = Api::start(PLENTY);
    api.create(&json!({ "repositoryName": "app", "lifecyclePolicy": older_than(9) }));
    api.ecr.fault(
        "PutLifecyclePolicy",
        Fault::Then(|registry, cloud| {
            let path = record_path("app");
            let mut record: Value = serde_json::from_str(&cloud.object_text(&path).unwrap()).unwrap();
            record["suspended"] = json!({ "at": SUSPENDED_AT, "reason": "a list is late" });
            cloud.upload(&path, &record.to_string());
            registry.repositories.get_mut("app").unwrap().lifecycle_policy = Some(attached(&older_than(5)));
        }),
        1,
    );
    let updated = api.ask("PUT", "/repositories/app", &json!({ "lifecyclePolicy": older_than(5) }));
    assert_eq!(updated.body["repository"]["lifecyclePolicyStatus"], "SUSPENDED", "{}", updated.body);
    assert_eq!(api.repository("app").lifecycle_policy, Some(nothing()));
    assert_eq!(policy(&api.record("app").unwrap()["lifecyclePolicyText"]), policy_of(&older_than(5)));
}

#[test]
fn asking_for_another_policy_does_not_make_old_tags_young() {
    let api = Api::start(PLENTY);
    api.create(&json!({ "repositoryName": "app", "lifecyclePolicy": older_than(9) }));
    api.change("app", |app| drop(app.push("image", &[])));
    let mut record = api.record("app").unwrap();
    record["refreshedAt"] = "2026-11-20T03:00:00Z".into();
    record["refreshedBy"] = "run".into();
    api.put_record("app", &record);
    let updated = api.ask("PUT", "/repositories/app", &json!({ "lifecyclePolicy": older_than(5) }));
    assert_eq!(updated.body["repository"]["lifecyclePolicyStatus"], "ACTIVE");
    assert_eq!(api.repository("app").lifecycle_policy, Some(attached(&older_than(5))));
    record["lifecyclePolicyText"] = policy_of(&older_than(5)).to_json().into();
    assert_eq!(api.record("app"), Some(record));
}

#[test]
fn a_policy_of_the_policies_file_stays_whatever_is_asked_for() {
    let api = Api::start(PLENTY);
    api.create(&json!({ "repositoryName": "app", "lifecyclePolicy": older_than(9) }));
    let mut record = api.record("app").unwrap();
    record["mode"] = "attach".into();
    api.put_record("app", &record);
    for spec in [older_than(5), json!({ "skip": true }), json!({})] {
        let spec = json!({ "lifecyclePolicy": spec, "imageScanningConfiguration": { "scanOnPush": true } });
        let updated = api.ask("PUT", "/repositories/app", &spec);
        assert_eq!(updated.body["repository"]["lifecyclePolicyStatus"], "POLICIES_FILE", "{}", updated.body);
        let reason = updated.body["repository"]["lifecyclePolicyStatusReason"].as_str().unwrap();
        assert!(reason.contains("change policies.yaml"), "{reason}");
        let made = api.repository("app");
        assert_eq!(made.lifecycle_policy, Some(attached(&older_than(9))));
        assert_eq!(made.described["imageScanningConfiguration"]["scanOnPush"], true);
        assert_eq!(api.record("app").as_ref(), Some(&record));
    }
}

#[test]
fn without_a_record_no_policy_is_put_and_nothing_is_changed() {
    let api = Api::start(LITTLE);
    api.create(&json!({ "repositoryName": "app", "lifecyclePolicy": older_than(9) }));
    let (before, record) = (api.ecr.snapshot(), api.record("app"));
    let spec = json!({ "lifecyclePolicy": older_than(5), "imageTagMutability": "IMMUTABLE" });
    let new = json!({ "repositoryName": "new" });
    for operation in ["GetObject", "PutObject"] {
        api.ecr.fault_from(operation, Fault::Denied, 0);
        api.create(&new).problem(500, "not-permitted");
        api.ask("PUT", "/repositories/app", &spec).problem(500, "not-permitted");
        api.ecr.heal();
        assert_eq!((api.ecr.snapshot(), api.record("app")), (before.clone(), record.clone()), "{operation}");
    }
    assert_eq!(api.record("new"), None);
    api.put_record("app", &json!("broken"));
    let detail = api.ask("PUT", "/repositories/app", &spec).problem(503, "state-unreadable");
    assert!(detail.contains("state/protection/app.json cannot be read"), "{detail}");
    assert_eq!(api.ecr.snapshot(), before);

    let function = cloud::function_with(&api.ecr, "repository-api", LITTLE, &[("BUCKET", "")]);
    let api = Api { function, ..api };
    api.create(&new).problem(503, "no-bucket");
    api.ask("PUT", "/repositories/app", &spec).problem(503, "no-bucket");
    assert_eq!(api.ecr.snapshot(), before);
    let none = json!({ "repositoryName": "new", "lifecyclePolicy": { "skip": true } });
    assert_eq!(api.create(&none).status, 201, "no policy needs no protection");
}

#[test]
fn a_policy_that_could_not_be_put_leaves_record_and_policy_as_they_were() {
    let api = Api::start(LITTLE);
    api.create(&json!({ "repositoryName": "app", "lifecyclePolicy": older_than(9) }));
    let (before, record) = (api.ecr.snapshot(), api.record("app"));
    let spec =
        json!({ "lifecyclePolicy": older_than(5), "imageScanningConfiguration": { "scanOnPush": true } });
    for (fault, status, kind) in [
        (Fault::Denied, 500, "not-permitted"),
        (Fault::AfterEffect(Box::new(Fault::Denied)), 500, "not-permitted"),
        (Fault::Hang, 504, "aws-timed-out"),
    ] {
        // One that has its effect may be taken back.
        match fault {
            Fault::AfterEffect(_) => api.ecr.fault("PutLifecyclePolicy", fault.clone(), 1),
            _ => api.ecr.fault_from("PutLifecyclePolicy", fault.clone(), 0),
        }
        let detail = api.ask("PUT", "/repositories/app", &spec).problem(status, kind);
        assert!(detail.contains("nothing was changed"), "{detail}");
        api.ecr.heal();
        assert_eq!((api.ecr.snapshot(), api.record("app")), (before.clone(), record.clone()), "{fault:?}");
    }
    // A policy without the protection rule is not attached again, and what is suspended stays so.
    let bare = policy_of(&older_than(9)).to_json();
    api.change("app", |app| app.lifecycle_policy = Some(bare));
    api.ecr.fault("PutLifecyclePolicy", Fault::AfterEffect(Box::new(Fault::Denied)), 1);
    let detail = api.ask("PUT", "/repositories/app", &spec).problem(500, "not-permitted");
    assert!(
        detail.contains("does not begin with the protection rule, and is not attached again"),
        "{detail}"
    );
    assert_eq!(api.repository("app").lifecycle_policy, Some(attached(&older_than(5))));
    assert_eq!(policy(&api.record("app").unwrap()["lifecyclePolicyText"]), policy_of(&older_than(5)));
    api.change("app", |app| drop(app.push("image", &[])));
    api.ecr.cloud(|cloud| cloud.delete(&record_path("app")));
    api.ecr.fault("PutLifecyclePolicy", Fault::AfterEffect(Box::new(Fault::Denied)), 1);
    let detail = api.ask("PUT", "/repositories/app", &spec).problem(500, "not-permitted");
    assert!(detail.contains("the policy is suspended, and stays so"), "{detail}");
    assert_eq!(api.repository("app").lifecycle_policy, Some(nothing()));
    assert!(api.record("app").unwrap()["suspended"].is_object());
}

#[test]
fn a_rule_that_conflicts_with_protection_is_refused_where_it_is_and_nothing_is_changed() {
    let api = Api::start(PLENTY);
    api.create(&json!({ "repositoryName": "app" }));
    api.ecr.forget_calls();
    let spec = json!({ "lifecyclePolicy": { "rules": [{ "selection": "untagged", "maximumAgeLimit": 1 },
        { "selection": { "tagPatternList": ["*"] }, "maximumNumberOfImages": 8 }] } });
    let refused = api.ask("PUT", "/repositories/app", &spec);
    refused.problem(400, "invalid-request");
    let finding = &refused.body["findings"][0];
    assert_eq!(
        (&finding["code"], &finding["pointer"]),
        (&json!("protection-tags-match"), &json!("/lifecyclePolicy/rules/1/selection"))
    );
    assert!(api.ecr.calls().is_empty());
}

#[test]
fn protection_tags_cannot_be_moved_whatever_else_can() {
    let api = Api::start(PLENTY);
    let mut spec = json!({ "repositoryName": "app", "imageTagMutability": "MUTABLE_WITH_EXCLUSION",
        "imageTagMutabilityExclusionFilters": ["v*"] });
    assert_eq!(api.create(&spec).status, 201);
    let described = |filter: &[&str]| {
        assert_eq!(api.repository("app").described["imageTagMutabilityExclusionFilters"], filters(filter));
    };
    described(&["v*", "ecr-steward-*"]);
    assert_eq!(api.create(&spec).status, 200, "the same again");
    spec["imageTagMutability"] = "IMMUTABLE_WITH_EXCLUSION".into();
    assert_eq!(api.ask("PUT", "/repositories/app", &spec).status, 200);
    described(&["v*"]);
    spec["imageTagMutabilityExclusionFilters"] = json!(["v*", "*"]);
    let refused = api.ask("PUT", "/repositories/app", &spec);
    refused.problem(400, "invalid-request");
    assert_eq!(refused.body["findings"][0]["pointer"], "/imageTagMutabilityExclusionFilters/1");
}

#[test]
fn the_statement_that_lambda_wrote_itself_stays() {
    let api = Api::start(PLENTY);
    api.create(&json!({ "repositoryName": "app" }));
    let own = json!({ "Version": "2008-10-17", "Statement": [{
        "Sid": "LambdaECRImageRetrievalPolicy", "Effect": "Allow", "Principal": { "Service": "lambda.amazonaws.com" },
        "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
    }] });
    api.ecr.with(|registry| registry.repositories.get_mut("app").unwrap().policy = Some(own.to_string()));
    let spec = json!({ "pullAccess": { "accountIds": ["111111111111"] } });
    assert_eq!(api.ask("PUT", "/repositories/app", &spec).status, 200);
    let policy = api.repository("app").policy.unwrap();
    assert!(policy.contains("LambdaECRImageRetrievalPolicy") && policy.contains("111111111111"), "{policy}");
}

#[test]
fn what_ecr_refuses_leaves_nothing_behind() {
    let api = Api::start(PLENTY);
    api.create(&json!({ "repositoryName": "app", "tags": [{ "Key": "a", "Value": "1" }] }));
    let before = api.ecr.snapshot();
    let key = json!({ "encryptionType": "KMS", "kmsKey": "99999999-0000-0000-0000-000000000000" });
    let detail = api.create(&json!({ "repositoryName": "new", "encryptionConfiguration": key }));
    let detail = detail.problem(400, "kms-key-unusable");
    assert!(detail.contains("does not exist") && detail.contains("write the ARN or id"), "{detail}");

    // ECR looks at principals only when the policy is set, which is after the creation.
    let access = json!({ "accountIds": ["999999999999"] });
    let refused = api.create(&json!({ "repositoryName": "new", "pullAccess": access }));
    let detail = refused.problem(400, "refused");
    assert!(detail.contains("Principal not found") && detail.contains("nothing was changed"), "{detail}");
    api.ask(
        "PUT",
        "/repositories/app",
        &json!({ "pullAccess": access, "lifecyclePolicy": { "skip": true } }),
    )
    .problem(400, "refused");
    let encryption = json!({ "encryptionConfiguration": { "encryptionType": "KMS" } });
    let detail = api.ask("PUT", "/repositories/app", &encryption).problem(409, "encryption-fixed");
    assert!(detail.contains("encrypted with AES256 and not with KMS"), "{detail}");

    api.ecr.with(|registry| registry.quota = 1);
    api.create(&json!({ "repositoryName": "new" })).problem(409, "limit-exceeded");
    assert_eq!(api.ecr.snapshot(), before);
}

#[test]
fn what_is_not_there_is_not_found() {
    let api = Api::start(PLENTY);
    for (method, target, body) in [
        ("GET", "/repositories/app", Value::Null),
        ("PUT", "/repositories/app", json!({})),
        ("DELETE", "/repositories/app", Value::Null),
        ("POST", "/images/delete", json!({ "repositoryName": "app", "imageIds": [{ "imageTag": "a" }] })),
    ] {
        let detail = api.ask(method, target, &body).problem(404, "repository-not-found");
        assert!(detail.contains("there is no repository app"), "{method} {target}: {detail}");
    }
}

#[test]
fn bad_requests_make_no_call_at_all() {
    let api = Api::start(PLENTY);
    for (method, target, body) in [
        ("POST", "/repositories", json!({ "repositoryName": "App" })),
        ("POST", "/repositories", json!({ "repositoryName": "app", "imageTagMutabilty": "MUTABLE" })),
        (
            "POST",
            "/repositories",
            json!({ "repositoryName": "app", "lifecyclePolicy": { "rules": [{ "selection": "any" }, { "maximumAgeLimit": 0 }] } }),
        ),
        ("POST", "/repositories", Value::Null),
        ("PUT", "/repositories/app", json!([])),
        ("DELETE", "/repositories/app?force=1", Value::Null),
        ("POST", "/images/delete", json!({ "repositoryName": "app", "imageIds": [] })),
        ("POST", "/images/restore", json!({ "repositoryName": "app" })),
        ("POST", "/images/restore", json!({ "repositoryName": "app", "runId": "a/b" })),
        ("POST", "/restorations/app?dryRun=1", json!({ "since": "2026-11-26T00:00:00Z" })),
    ] {
        let answer = api.ask(method, target, &body);
        answer.problem(400, "invalid-request");
        if target == "/repositories" && body["lifecyclePolicy"].is_object() {
            assert_eq!(answer.body["findings"].as_array().unwrap().len(), 3, "each finding: {}", answer.body);
        }
    }
    assert!(api.ecr.calls().is_empty());
}

#[test]
fn a_body_with_more_mistakes_than_an_answer_has_room_for_gets_an_answer_that_lambda_carries() {
    let api = Api::start(PLENTY);
    let rules: Vec<Value> =
        (0..60_000).map(|number| json!({ "selection": format!("odd-{number}") })).collect();
    let fields: serde_json::Map<String, Value> =
        (0..200_000).map(|number| (format!("field-{number}"), json!(1))).collect();
    let tags: Vec<Value> = (0..100_000).map(|_| json!({ "Key": "aws:x" })).collect();
    let long = "x".repeat(4_000_000);
    for (method, target, body) in [
        ("POST", "/repositories", json!({ "repositoryName": "app", "lifecyclePolicy": { "rules": rules } })),
        ("PUT", "/repositories/app", Value::Object(fields)),
        ("PATCH", "/repositories/app", json!({ "tags": tags })),
        ("POST", "/repositories/app", json!({ (long.as_str()): 1 })),
        ("POST", "/repositories", json!({ "repositoryName": &long })),
        ("POST", "/deletions/app", json!({ "imageIds": [{ (long.as_str()): 1 }] })),
        ("POST", "/restorations/app", json!({ "runId": &long })),
    ] {
        let refused = api.ask(method, target, &body);
        let detail = refused.problem(400, "invalid-request");
        let findings = refused.body["findings"].as_array().unwrap().len();
        assert!((1..=100).contains(&findings), "{method} {target}: {findings}");
        // Lambda carries 6 MB, and a person reads less.
        let bytes = refused.body.to_string().len();
        assert!(bytes < 200_000, "{method} {target}: {bytes} bytes");
        assert_eq!(findings == 100, detail.contains(" more"), "{detail}");
    }
    assert!(api.ecr.calls().is_empty());
}

#[test]
fn a_policy_of_somebody_else_is_in_the_journal_before_another_one_replaces_it() {
    let api = Api::start(PLENTY);
    let terraform = policy_of(&older_than(30)).to_json();
    let replaced = |api: &Api| -> Vec<Value> {
        let keys = api.ecr.cloud(|cloud| cloud.keys(BUCKET, "journal/"));
        let texts =
            keys.iter().map(|key| api.ecr.cloud(|cloud| cloud.object_text(&format!("{BUCKET}/{key}"))));
        texts.map(|text| serde_json::from_str(&text.unwrap()).unwrap()).collect()
    };
    for (number, spec) in [
        json!({ "lifecyclePolicy": older_than(5) }),
        json!({}),
        json!({ "lifecyclePolicy": { "skip": true } }),
    ]
    .iter()
    .enumerate()
    {
        api.ecr.with(|registry| registry.repositories.clear());
        api.create(&json!({ "repositoryName": "app", "lifecyclePolicy": { "skip": true } }));
        api.change("app", |app| {
            app.push("image", &["latest"]);
            app.lifecycle_policy = Some(terraform.clone());
        });
        // What cannot be written down is not replaced.
        let before = api.ecr.snapshot();
        api.ecr.fault_at("PutObject", "journal/", Fault::Denied);
        let detail = api.ask("PUT", "/repositories/app", spec).problem(500, "not-permitted");
        assert!(detail.contains("nothing was changed"), "{detail}");
        api.ecr.heal();
        assert_eq!((api.ecr.snapshot(), api.record("app")), (before, None), "{spec}");

        api.ecr.forget_calls();
        assert_eq!(api.ask("PUT", "/repositories/app", spec).status, 200);
        let lines = replaced(&api);
        assert_eq!(lines.len(), number + 1, "{spec}");
        let line = lines.iter().max_by_key(|line| line["at"].as_str().map(str::to_owned)).unwrap();
        assert_eq!(
            (&line["repositoryName"], &line["lifecyclePolicyText"], &line["by"]["principal"]),
            (&json!("app"), &json!(terraform), &json!(gateway::CALLER)),
            "{line}"
        );
        let replaced_by = api.repository("app").lifecycle_policy.unwrap_or_default();
        assert_eq!(line["replacedBy"], replaced_by);
        let is_journal = |call: &tests::ecr_stub::Call| {
            call.operation == "PutObject" && call.request["key"].as_str().unwrap().contains("journal/")
        };
        let calls = api.ecr.calls();
        let written = calls.iter().position(is_journal).unwrap();
        let changed = calls.iter().position(|call| {
            call.operation.ends_with("LifecyclePolicy") && !call.operation.starts_with("Get")
        });
        assert!(changed.is_some_and(|changed| written < changed), "{calls:?}");
    }
    // What this stack attached itself is in its record.
    let count = replaced(&api).len();
    api.create(&json!({ "repositoryName": "own", "lifecyclePolicy": older_than(9) }));
    api.ask("PUT", "/repositories/own", &json!({ "lifecyclePolicy": older_than(5) }));
    assert_eq!(replaced(&api).len(), count);
}

#[test]
fn more_accounts_than_a_policy_has_room_for_are_refused_where_they_are_before_anything_is_made() {
    let api = Api::start(PLENTY);
    let access = |accounts: u64, lambda: bool| {
        let ids: Vec<String> =
            (0..accounts).map(|number| format!("{:012}", 100_000_000_000 + number)).collect();
        json!({ "repositoryName": "app", "pullAccess": { "accountIds": ids, "lambda": lambda } })
    };
    for (spec, method, target) in
        [(access(400, false), "POST", "/repositories"), (access(150, true), "PUT", "/repositories/app")]
    {
        let refused = api.ask(method, target, &spec);
        let detail = refused.problem(400, "invalid-request");
        assert!(detail.contains("name the organisation instead"), "{detail}");
        assert_eq!(refused.body["findings"][0]["pointer"], "/pullAccess/accountIds");
    }
    assert!(api.ecr.calls().is_empty());
    assert_eq!(api.create(&access(300, false)).status, 201, "as many as there is room for");
}

#[test]
fn tags_are_replaced_also_where_there_is_no_room_for_the_old_ones_beside_the_new_ones() {
    let api = Api::start(PLENTY);
    let tags = |letter: char| -> Vec<Value> {
        (0..49).map(|number| json!({ "Key": format!("{letter}{number}"), "Value": "" })).collect()
    };
    api.create(&json!({ "repositoryName": "app", "tags": tags('a') }));
    let before = api.ecr.snapshot();
    // What fails on the way is taken back.
    api.ecr.fault("TagResource", Fault::Denied, 1);
    api.ask("PUT", "/repositories/app", &json!({ "tags": tags('b') })).problem(500, "not-permitted");
    assert_eq!(api.ecr.snapshot(), before);
    let updated = api.ask("PUT", "/repositories/app", &json!({ "tags": tags('b') }));
    assert_eq!(updated.status, 200, "{}", updated.body);
    let tags = api.repository("app").tags;
    assert!(tags.len() == 49 && tags.keys().all(|key| key.starts_with('b')), "{tags:?}");
}

#[test]
fn the_uri_of_a_repository_is_not_made_a_name_and_one_that_has_such_a_name_can_be_managed() {
    let api = Api::start(PLENTY);
    let uri = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app";
    let refused = api.create(&json!({ "repositoryName": uri }));
    let detail = refused.problem(400, "invalid-request");
    assert!(detail.contains("begins with the host of a registry; write `team/app`"), "{detail}");
    assert_eq!(refused.body["findings"][0]["pointer"], "/repositoryName");
    let path = format!("/repositories/{uri}");
    let detail = api.ask("POST", &path, &json!({})).problem(400, "invalid-request");
    assert!(detail.contains("write `team/app`"), "{detail}");
    assert!(api.ecr.calls().is_empty());
    // Somebody made it with another tool.
    api.create(&json!({ "repositoryName": "team/app" }));
    api.ecr.with(|registry| {
        let mut app = registry.repositories.remove("team/app").unwrap();
        app.described["repositoryName"] = uri.into();
        app.described["repositoryArn"] =
            format!("arn:aws:ecr:eu-west-1:123456789012:repository/{uri}").into();
        registry.repositories.insert(uri.to_owned(), app);
    });
    assert_eq!(api.ask("GET", &path, &Value::Null).status, 200);
    assert_eq!(api.ask("PATCH", &path, &json!({ "imageTagMutability": "IMMUTABLE" })).status, 200);
    assert_eq!(api.ask("DELETE", &path, &Value::Null).status, 204);
}

#[test]
fn a_repository_policy_that_is_no_policy_is_refused_in_plain_words() {
    let api = Api::start(PLENTY);
    for (text, expected) in [
        ("not json", "not JSON: `not` is no value"),
        ("", "not JSON: the text ends"),
        ("[]", "it has no `Statement`"),
        ("{\"Statement\": [}", "not JSON: `}`"),
    ] {
        let refused = api.create(&json!({ "repositoryName": "app", "repositoryPolicyText": text }));
        let detail = refused.problem(400, "invalid-request");
        assert!(detail.starts_with("/repositoryPolicyText: ") && detail.contains(expected), "{detail}");
    }
    assert!(api.ecr.calls().is_empty());
}

#[test]
fn names_of_keys_that_ecr_does_not_take_are_refused_where_they_are() {
    let api = Api::start(PLENTY);
    for key in [" ".to_owned(), "k".repeat(2049), "alias/mine".to_owned()] {
        let encryption = json!({ "encryptionType": "KMS", "kmsKey": key });
        let refused = api.create(&json!({ "repositoryName": "app", "encryptionConfiguration": encryption }));
        refused.problem(400, "invalid-request");
        assert_eq!(refused.body["findings"][0]["pointer"], "/encryptionConfiguration/kmsKey");
    }
    assert!(api.ecr.calls().is_empty());
}

#[test]
fn transient_errors_are_waited_out() {
    for fault in [Fault::Throttled, Fault::ServerError, Fault::Unavailable, Fault::Cut] {
        let api = Api::start(PLENTY);
        for operation in ["CreateRepository", "PutLifecyclePolicy", "UntagResource"] {
            api.ecr.fault(operation, fault.clone(), 2);
        }
        let created = api.create(&json!({ "repositoryName": "app" }));
        assert_eq!(created.status, 201, "{fault:?}: {}", created.body);
        let made = api.repository("app");
        assert!(made.tags.is_empty() && made.lifecycle_policy.is_some(), "{fault:?}");
    }
}

#[test]
fn a_lost_answer_to_the_creation_is_no_conflict() {
    let api = Api::start(PLENTY);
    api.ecr.fault("CreateRepository", Fault::AfterEffect(Box::new(Fault::Cut)), 1);
    let spec = json!({ "repositoryName": "app", "pullAccess": { "lambda": true } });
    let created = api.create(&spec);
    assert_eq!(created.status, 201, "{}", created.body);
    let made = api.repository("app");
    assert!(made.tags.is_empty() && made.lifecycle_policy.is_some() && made.policy.is_some());
}

#[test]
fn a_creation_that_was_killed_is_completed_by_the_next_request() {
    let api = Api::start(PLENTY);
    let spec = json!({ "repositoryName": "app", "tags": [{ "Key": "a", "Value": "1" }] });
    api.create(&spec);
    api.ecr.with(|registry| {
        let repository = registry.repositories.get_mut("app").unwrap();
        repository.lifecycle_policy = None;
        repository.tags.insert("ecr-steward:incomplete".to_owned(), "another-request".to_owned());
    });
    let completed = api.create(&spec);
    assert_eq!(completed.status, 201, "{}", completed.body);
    let made = api.repository("app");
    assert!(made.lifecycle_policy.is_some() && made.tags.len() == 1, "{made:?}");
}

#[test]
fn a_repository_is_deleted_also_where_the_answer_to_the_deletion_was_lost() {
    let api = Api::start(PLENTY);
    for (target, has_images) in [
        ("/repositories/app", false),
        ("/repositories/app?force=true", false),
        ("/repositories/app?force=true", true),
    ] {
        api.create(&json!({ "repositoryName": "app" }));
        if has_images {
            api.change("app", |app| drop(app.push("image", &["latest"])));
        }
        api.ecr.fault("DeleteRepository", Fault::AfterEffect(Box::new(Fault::Cut)), 1);
        let deleted = api.ask("DELETE", target, &Value::Null);
        assert_eq!((deleted.status, api.record("app")), (204, None), "{target}: {}", deleted.body);
        assert!(api.ecr.snapshot().is_empty());
        api.ask("DELETE", target, &Value::Null).problem(404, "repository-not-found");
    }
}

#[test]
fn images_are_deleted_also_where_the_answer_to_the_deletion_was_lost() {
    let mut image = String::new();
    let mut tagged = String::new();
    let api = Api::start(PLENTY).with_images(|app| {
        image = app.push("image", &["v1"]);
        tagged = app.push("other", &["v2", "latest"]);
    });
    api.ecr.fault("BatchDeleteImage", Fault::AfterEffect(Box::new(Fault::Cut)), 1);
    let ids = json!({ "imageIds": [{ "imageDigest": image }, { "imageTag": "v2" }] });
    let answer = api.ask("POST", "/deletions/app", &ids);
    assert_eq!((answer.status, &answer.body["failures"]), (200, &json!([])), "{}", answer.body);
    assert_eq!(
        answer.body["imageIds"],
        json!([{ "imageDigest": image }, { "imageDigest": tagged, "imageTag": "v2" }])
    );
    let left: Vec<Vec<String>> =
        api.repository("app").images.into_iter().map(|image| image.tags.into_iter().collect()).collect();
    assert_eq!(left, [["latest"]]);
    // Asked for again, they are not there.
    let again = api.ask("POST", "/deletions/app", &ids);
    let codes: Vec<&Value> =
        again.body["failures"].as_array().unwrap().iter().map(|failure| &failure["failureCode"]).collect();
    assert_eq!((again.status, codes), (200, vec![&json!("ImageNotFound"); 2]));
}

/// Every call of every route fails in one way, which has to be a problem in time and change nothing.
fn lasting(fault: &Fault, status: u16, kind: &str) {
    let api = Api::start(LITTLE);
    api.create(&json!({ "repositoryName": "app" }));
    let before = api.ecr.snapshot();
    for (operation, method, target, body) in [
        ("CreateRepository", "POST", "/repositories", json!({ "repositoryName": "new" })),
        ("PutLifecyclePolicy", "POST", "/repositories", json!({ "repositoryName": "new" })),
        ("DescribeRepositories", "GET", "/repositories/app", Value::Null),
        (
            "PutImageTagMutability",
            "PUT",
            "/repositories/app",
            json!({
                "imageTagMutability": "IMMUTABLE", "pullAccess": { "lambda": true }, "lifecyclePolicy": { "skip": true },
            }),
        ),
        ("DeleteRepository", "DELETE", "/repositories/app", Value::Null),
    ] {
        api.ecr.fault_from(operation, fault.clone(), 0);
        let answer = api.ask(method, target, &body);
        let detail = answer.problem(status, kind);
        assert!(detail.contains(operation) || detail.contains("held back"), "{operation}: {detail}");
        if kind == "throttled" {
            assert_eq!(answer.headers["retry-after"], "30");
        }
        api.ecr.heal();
        // What no answer came to may still have had its effect: ECR is asked, and it is taken back.
        assert_eq!(api.ecr.snapshot(), before, "{fault:?} {operation}: {detail}");
    }
}

#[test]
fn throttled_until_the_deadline_is_a_problem_and_changes_nothing() {
    lasting(&Fault::Throttled, 503, "throttled");
}

#[test]
fn errors_of_ecr_until_the_deadline_are_a_problem_and_change_nothing() {
    lasting(&Fault::ServerError, 502, "aws-unavailable");
}

#[test]
fn pages_instead_of_answers_are_a_problem_and_change_nothing() {
    lasting(&Fault::Unavailable, 502, "aws-unavailable");
}

#[test]
fn no_answer_is_a_problem_in_time_and_changes_nothing() {
    lasting(&Fault::Hang, 504, "aws-timed-out");
}

#[test]
fn a_missing_permission_is_a_problem_and_changes_nothing() {
    lasting(&Fault::Denied, 500, "not-permitted");
}

#[test]
fn effects_without_an_answer_are_rolled_back() {
    let api = Api::start(LITTLE);
    api.create(&json!({ "repositoryName": "app" }));
    let before = api.ecr.snapshot();
    let spec = json!({ "repositoryName": "new", "tags": [{ "Key": "a", "Value": "1" }] });
    for operation in ["CreateRepository", "PutLifecyclePolicy"] {
        api.ecr.fault_from(operation, Fault::AfterEffect(Box::new(Fault::ServerError)), 0);
        api.create(&spec).problem(502, "aws-unavailable");
        api.ecr.heal();
        assert_eq!(api.ecr.snapshot(), before, "{operation}");
    }
    // Throttled first, so that this is what the problem tells; the attempt after it has its effect and no answer.
    api.ecr.fault("CreateRepository", Fault::Throttled, 1);
    api.ecr.fault_from("CreateRepository", Fault::AfterEffect(Box::new(Fault::Hang)), 0);
    let detail = api.create(&spec).problem(503, "throttled");
    api.ecr.heal();
    assert_eq!(api.ecr.snapshot(), before, "{detail}");
    // The last call: with its effect the repository is what was asked for.
    api.ecr.fault_from("UntagResource", Fault::AfterEffect(Box::new(Fault::ServerError)), 0);
    let created = api.create(&spec);
    assert_eq!(created.status, 201, "{}", created.body);
    assert_eq!(api.repository("new").tags.len(), 1);
    api.ecr.heal();
    let before = api.ecr.snapshot();
    api.ecr.fault_from("TagResource", Fault::AfterEffect(Box::new(Fault::Hang)), 0);
    let spec = json!({ "tags": [{ "Key": "a", "Value": "2" }], "imageTagMutability": "IMMUTABLE" });
    api.ask("PUT", "/repositories/app", &spec).problem(504, "aws-timed-out");
    assert_eq!(api.ecr.snapshot(), before);
}

#[test]
fn what_cannot_be_rolled_back_is_reported() {
    let api = Api::start(LITTLE);
    api.ecr.fault_from("PutLifecyclePolicy", Fault::Denied, 0);
    api.ecr.fault_from("DeleteRepository", Fault::Denied, 0);
    let detail = api.create(&json!({ "repositoryName": "app" })).problem(500, "not-permitted");
    assert!(
        detail.contains("could not be deleted again") && detail.contains("ask for it once more"),
        "{detail}"
    );
    api.ecr.heal();
    let completed = api.create(&json!({ "repositoryName": "app" }));
    assert_eq!(completed.status, 201, "{}", completed.body);
    assert!(api.repository("app").tags.is_empty());
}

#[test]
fn a_repository_with_images_is_deleted_only_by_force() {
    let api = Api::start(PLENTY).with_images(|app| {
        for number in 0..1200 {
            app.push(&number.to_string(), &[]);
        }
        app.push("tagged", &["a", "b"]);
        app.images[0].archived = true;
    });
    let before = api.ecr.snapshot();
    let detail = api.ask("DELETE", "/repositories/app", &Value::Null).problem(409, "repository-not-empty");
    assert!(detail.contains("1,201 images") || detail.contains("1201 images"), "{detail}");
    assert_eq!(api.ecr.snapshot(), before);
    assert_eq!(api.ask("DELETE", "/repositories/app?force=true", &Value::Null).status, 204);
    assert!(api.ecr.snapshot().is_empty());
}

#[test]
fn images_are_deleted_by_hundreds_and_indexes_before_their_children() {
    let mut ids = Vec::new();
    let api = Api::start(PLENTY).with_images(|app| {
        for number in 0..120 {
            let children = ["amd64", "arm64"].map(|platform| app.push(&format!("{platform}-{number}"), &[]));
            let index = app.push_index(&children.each_ref().map(String::as_str), &[&format!("v{number}")]);
            // The worst order there is.
            ids.extend(children.map(|digest| json!({ "imageDigest": digest })));
            ids.push(if number % 2 == 0 {
                json!({ "imageDigest": index })
            } else {
                json!({ "imageTag": format!("v{number}") })
            });
        }
        app.push("stays", &["stays"]);
    });
    let answer = api.ask("POST", "/images/delete", &json!({ "repositoryName": "app", "imageIds": ids }));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body["failures"], json!([]));
    assert_eq!(answer.body["imageIds"].as_array().unwrap().len(), 360);
    assert_eq!(api.repository("app").images.len(), 1);
    // 360 manifests to know what is an index; 120 indexes in two calls, 240 children in three.
    assert_eq!(api.ecr.count("BatchGetImage"), 4);
    assert_eq!(api.ecr.count("BatchDeleteImage"), 5);
}

#[test]
fn each_image_has_its_outcome() {
    let mut digests = Vec::new();
    let api = Api::start(PLENTY).with_images(|app| {
        let child = app.push("child", &[]);
        app.push_index(&[&child], &["index"]);
        digests = vec![child, app.push("broken", &["broken"]), app.push("two", &["one", "two"])];
    });
    api.ecr.fault_from("BatchDeleteImage", Fault::ForImages("broken"), 0);
    let missing = format!("sha256:{}", "0".repeat(64));
    let ids = json!([
        { "imageDigest": digests[0] }, { "imageTag": "broken" }, { "imageTag": "one" }, { "imageDigest": missing },
    ]);
    let answer = api.ask("POST", "/images/delete", &json!({ "repositoryName": "app", "imageIds": ids }));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["imageIds"], json!([{ "imageDigest": digests[2], "imageTag": "one" }]));
    let failures: Vec<(&Value, &Value)> = answer.body["failures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|failure| (&failure["imageId"], &failure["failureCode"]))
        .collect();
    assert_eq!(
        failures,
        [
            (&ids[0], &json!("ImageReferencedByManifestList")),
            (&ids[1], &json!("KmsError")),
            (&ids[3], &json!("ImageNotFound")),
        ]
    );
    assert!(
        api.repository("app").images.iter().any(|image| image.tags.contains("two")),
        "it has another tag"
    );
}

#[test]
fn images_that_were_not_got_to_are_reported() {
    let mut ids = Vec::new();
    let api = Api::start(LITTLE).with_images(|app| {
        ids = (0..250).map(|number| json!({ "imageDigest": app.push(&number.to_string(), &[]) })).collect();
    });
    api.ecr.fault_from("BatchDeleteImage", Fault::Throttled, 1);
    let answer = api.ask("POST", "/images/delete", &json!({ "repositoryName": "app", "imageIds": ids }));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["imageIds"].as_array().unwrap().len(), 100);
    let failures = answer.body["failures"].as_array().unwrap();
    assert_eq!(failures.len(), 150);
    assert!(failures.iter().all(|failure| failure["failureCode"] == "NotAttempted"), "{}", failures[0]);
    assert!(failures[0]["failureReason"].as_str().unwrap().contains("throttles"), "{}", failures[0]);
    assert_eq!(api.repository("app").images.len(), 150);

    // Another function, which is not held back by what was throttled.
    let mut ids = Vec::new();
    let api = Api::start(LITTLE).with_images(|app| {
        ids = (0..150).map(|number| json!({ "imageDigest": app.push(&number.to_string(), &[]) })).collect();
    });
    api.ecr.fault_from("BatchDeleteImage", Fault::Hang, 0);
    let answer = api.ask("POST", "/images/delete", &json!({ "repositoryName": "app", "imageIds": ids }));
    let codes: Vec<&Value> =
        answer.body["failures"].as_array().unwrap().iter().map(|failure| &failure["failureCode"]).collect();
    assert_eq!(codes.iter().filter(|code| **code == "OutcomeUnknown").count(), 100, "{}", answer.body);
    assert_eq!(codes.iter().filter(|code| **code == "NotAttempted").count(), 50);
}

#[test]
fn repositories_are_listed_page_by_page() {
    let api = Api::start(PLENTY);
    for number in 0..5 {
        api.create(&json!({ "repositoryName": format!("team/app-{number}") }));
    }
    let mut names = Vec::new();
    let mut target = "/repositories?maxResults=2".to_owned();
    let mut pages = 0;
    loop {
        let page = api.ask("GET", &target, &Value::Null);
        assert_eq!(page.status, 200, "{}", page.body);
        pages += 1;
        let repositories = page.body["repositories"].as_array().unwrap();
        names.extend(repositories.iter().map(|r| r["repositoryName"].as_str().unwrap().to_owned()));
        match page.body["nextToken"].as_str() {
            Some(token) => target = format!("/repositories?maxResults=2&nextToken={token}"),
            None => break,
        }
    }
    assert_eq!(pages, 3);
    assert_eq!(names, (0..5).map(|number| format!("team/app-{number}")).collect::<Vec<_>>());
    api.ask("GET", "/repositories?nextToken=stale", &Value::Null).problem(400, "refused");
}

#[test]
fn the_role_allows_what_the_function_does_and_nothing_else() {
    let api = Api::start(PLENTY);
    let everything = json!({
        "repositoryName": "app", "pullAccess": { "lambda": true }, "imageTagMutability": "IMMUTABLE",
        "imageScanningConfiguration": { "scanOnPush": true }, "tags": [{ "Key": "a", "Value": "1" }],
    });
    let nothing = json!({ "lifecyclePolicy": { "skip": true } });
    assert_eq!(api.create(&json!({ "repositoryName": "app" })).status, 201);
    for spec in [&everything, &nothing, &everything] {
        assert_eq!(api.ask("PUT", "/repositories/app", spec).status, 200);
    }
    for spec in [&nothing, &everything] {
        assert_eq!(api.ask("PATCH", "/repositories/app", spec).status, 200);
    }
    assert_eq!(api.ask("GET", "/repositories", &Value::Null).status, 200);
    // What has images and no record is looked into before a policy is put.
    api.ecr.cloud(|cloud| cloud.delete(&record_path("app")));
    assert_eq!(api.ask("PUT", "/repositories/app", &everything).status, 200);
    let ids = api.ecr.with(|registry| {
        let app = registry.repositories.get_mut("app").unwrap();
        ["one", "two", "three"].map(|content| json!({ "imageDigest": app.push(content, &[]) }))
    });
    api.ask("DELETE", "/repositories/app", &Value::Null).problem(409, "repository-not-empty");
    let named = json!({ "repositoryName": "app", "imageIds": ids });
    let deleted = api.ask("POST", "/images/delete", &named);
    assert_eq!(deleted.body["failures"], json!([]));
    // Two come back by their manifests, and one from the archive.
    api.ecr.with(|registry| {
        let app = registry.repositories.get_mut("app").unwrap();
        let one = app.push("one", &[]);
        app.image_mut(&one).archived = true;
    });
    let restored = api.ask("POST", "/images/restore", &named);
    assert_eq!(restored.body["failures"], json!([]), "{}", restored.body);
    let deleted = api.ask("POST", "/images/delete", &named);
    assert_eq!(deleted.body["failures"], json!([]));
    assert_eq!(api.ask("DELETE", "/repositories/app", &Value::Null).status, 204);
    let done: std::collections::BTreeSet<String> = api
        .ecr
        .calls()
        .into_iter()
        .map(|call| call.operation)
        .filter(|operation| OPERATIONS.contains(&operation.as_str()))
        .collect();
    assert_eq!(done, tests::template::ecr_actions("RepositoryApiFunction"));
}

#[test]
fn the_sample_event_creates_a_repository() {
    let api = Api::start(PLENTY);
    let event =
        std::fs::read_to_string(tests::binaries::workspace().join("tests/events/repository-api.json"))
            .unwrap();
    let answer = api.function.invoke(event).response();
    assert_eq!(answer["statusCode"], 201, "{answer}");
    assert!(api.repository("team/app").lifecycle_policy.is_some());
}

#[test]
fn a_patch_changes_what_it_names_and_everything_else_stays_as_it_is() {
    let api = Api::start(PLENTY);
    let partner = json!({ "Version": "2012-10-17", "Statement": [{ "Sid": "Partner", "Effect": "Allow",
        "Principal": { "AWS": "arn:aws:iam::222222222222:root" }, "Action": "ecr:BatchGetImage" }] });
    api.create(
        &json!({ "repositoryName": "app", "repositoryPolicyText": partner, "lifecyclePolicy": older_than(9),
        "tags": [{ "Key": "team", "Value": "shop" }] }),
    );
    api.change("app", |app| {
        // As CloudFormation and other tools leave a repository: what no request can ask for.
        app.tags.insert("aws:cloudformation:stack-name".to_owned(), "shop".to_owned());
        app.tags.insert("ecr-steward:stack-id".to_owned(), "stack".to_owned());
        app.described["imageTagMutability"] = "MUTABLE".into();
        app.described.as_object_mut().unwrap().remove("imageTagMutabilityExclusionFilters");
        app.push("image", &["latest"]);
    });
    let before = api.repository("app");
    let scanned = json!({ "imageScanningConfiguration": { "scanOnPush": true } });
    let changed = api.ask("PATCH", "/repositories/app", &scanned);
    assert_eq!(changed.status, 200, "{}", changed.body);
    let changes = changed.body["changes"].as_array().unwrap();
    assert_eq!(
        changes.iter().map(|change| &change["field"]).collect::<Vec<_>>(),
        ["imageScanningConfiguration"]
    );
    let mut expected = before.clone();
    expected.described["imageScanningConfiguration"] = json!({ "scanOnPush": true });
    assert_eq!(api.repository("app"), expected);
    assert_eq!(changed.body["repository"]["lifecyclePolicyStatus"], "ACTIVE");
    // Again, and with nothing in it: nothing is written.
    api.ecr.forget_calls();
    for body in [&scanned, &json!({}), &json!({ "repositoryName": "app" })] {
        let again = api.ask("PATCH", "/repositories/app", body);
        assert_eq!((again.status, &again.body["changes"]), (200, &json!([])), "{}", again.body);
    }
    let is_read = |name: &String| ["Get", "List", "Describe"].iter().any(|verb| name.starts_with(verb));
    assert!(api.ecr.operations().iter().all(is_read), "{:?}", api.ecr.operations());
    // Tags are all tags, but for those that are not to be asked for.
    api.ask("PATCH", "/repositories/app", &json!({ "tags": [{ "Key": "cost", "Value": "1" }] }));
    let tags: Vec<String> = api.repository("app").tags.into_keys().collect();
    assert_eq!(tags, ["aws:cloudformation:stack-name", "cost", "ecr-steward:stack-id"]);
    let closed = api.ask("PATCH", "/repositories/app", &json!({ "pullAccess": {} }));
    assert_eq!((closed.status, api.repository("app").policy), (200, None));
    let policy = api.ask("PATCH", "/repositories/app", &json!({ "lifecyclePolicy": older_than(5) }));
    assert_eq!(policy.body["repository"]["lifecyclePolicyStatus"], "ACTIVE", "{}", policy.body);
    assert_eq!(api.repository("app").lifecycle_policy, Some(attached(&older_than(5))));
}

#[test]
fn a_patch_leaves_a_lifecycle_policy_that_it_does_not_name_whosever_it_is() {
    let api = Api::start(PLENTY);
    let terraform = policy_of(&older_than(30)).to_json();
    let conflicting = policy_of(&json!({ "rules": [
        { "selection": { "tagPatternList": ["*"] }, "maximumNumberOfImages": 8 }] }))
    .to_json();
    for (policy, status) in
        [(&terraform, "UNPROTECTED"), (&conflicting, "UNPROTECTED"), (&nothing(), "SUSPENDED")]
    {
        api.ecr.with(|registry| registry.repositories.clear());
        api.create(&json!({ "repositoryName": "app", "lifecyclePolicy": { "skip": true } }));
        api.change("app", |app| {
            app.push("image", &["latest"]);
            app.lifecycle_policy = Some(policy.clone());
        });
        let changed = api.ask("PATCH", "/repositories/app", &json!({ "imageTagMutability": "IMMUTABLE" }));
        assert_eq!(changed.status, 200, "{}", changed.body);
        assert_eq!(changed.body["repository"]["lifecyclePolicyStatus"], status);
        let made = api.repository("app");
        assert_eq!(
            (made.described["imageTagMutability"].as_str(), made.lifecycle_policy.as_ref()),
            (Some("IMMUTABLE"), Some(policy))
        );
        assert_eq!(api.record("app"), None);
    }
}

#[test]
fn a_patch_that_is_wrong_changes_nothing_and_says_where_it_is_wrong() {
    let api = Api::start(PLENTY);
    api.create(&json!({ "repositoryName": "app", "imageTagMutability": "IMMUTABLE" }));
    let before = api.ecr.snapshot();
    for (body, pointer) in [
        (json!({ "imageTagMutabilityExclusionFilters": ["dev-*"] }), "/imageTagMutabilityExclusionFilters"),
        (json!({ "imageTagMutability": null }), "/imageTagMutability"),
        (json!({ "repositoryName": "other" }), "/repositoryName"),
        (json!({ "tags": [{ "Key": "ecr-steward:protect", "Value": "" }] }), "/tags/0/Key"),
        (json!({ "scanOnPush": true }), "/scanOnPush"),
        (json!({ "lifecyclePolicy": { "rules": [] } }), "/lifecyclePolicy/rules"),
    ] {
        let refused = api.ask("PATCH", "/repositories/app", &body);
        refused.problem(400, "invalid-request");
        assert_eq!(refused.body["findings"][0]["pointer"], pointer, "{}", refused.body);
    }
    api.ask("PATCH", "/repositories/app", &Value::Null).problem(400, "invalid-request");
    api.ask("PATCH", "/repositories", &json!({})).problem(405, "method-not-allowed");
    api.ask("PATCH", "/repositories/none", &json!({})).problem(404, "repository-not-found");
    let key = json!({ "encryptionConfiguration": { "encryptionType": "KMS" } });
    api.ask("PATCH", "/repositories/app", &key).problem(409, "encryption-fixed");
    assert_eq!(api.ecr.snapshot(), before);
}

#[test]
fn a_patch_does_not_complete_a_repository_whose_creation_was_killed() {
    let api = Api::start(PLENTY);
    let spec = json!({ "repositoryName": "app", "pullAccess": { "lambda": true } });
    api.create(&spec);
    api.change("app", |app| {
        app.lifecycle_policy = None;
        app.policy = None;
        app.tags.insert("ecr-steward:incomplete".to_owned(), "another-request".to_owned());
    });
    let changed = api.ask("PATCH", "/repositories/app", &json!({ "tags": [{ "Key": "a", "Value": "1" }] }));
    assert_eq!(changed.status, 200, "{}", changed.body);
    assert!(api.repository("app").tags.contains_key("ecr-steward:incomplete"));
    assert_eq!(api.ask("PUT", "/repositories/app", &spec).status, 200);
    let made = api.repository("app");
    assert!(made.tags.is_empty() && made.policy.is_some() && made.lifecycle_policy.is_some(), "{made:?}");
}
