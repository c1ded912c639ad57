//! The function repository-resource as a real process: CloudFormation's events in, answers put to a response URL, with
//! ECR in memory.

use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use shared::domain::enforcement::in_use_protection::{is_protected, takes_nothing};
use shared::domain::lifecycle::LifecyclePolicy;
use tests::binaries::binary;
use tests::cloud::BUCKET;
use tests::ecr_stub::{EcrStub, Fault, KEY, OPERATIONS, Repository};
use tests::http::{self, Request, Response};
use tests::runtime_api::{Answer, Function};

const PLENTY: Duration = Duration::from_secs(60);
const LITTLE: Duration = Duration::from_secs(5);
const STACK: &str = "arn:aws:cloudformation:eu-west-1:123456789012:stack/shop/0a1b2c3d";

/// CloudFormation, the function and ECR.
struct CloudFormation {
    ecr: EcrStub,
    function: Function,
    answers: Receiver<Request>,
    /// What the response URL answers, one after the other; 200 after them.
    statuses: Arc<Mutex<Vec<u16>>>,
    url: String,
}

impl CloudFormation {
    fn start(time: Duration) -> Self {
        let allowed = [("ADOPT_PREFIXES", "app"), ("SHARE_WITH", "999999999999")];
        Self::start_with(time, &[&[("ALLOW_LOOPBACK_RESPONSE_URL", "true")], &allowed[..]].concat())
    }

    fn start_with(time: Duration, more: &[(&str, &str)]) -> Self {
        let ecr = EcrStub::start();
        let url = ecr.url();
        let environment = [&[("AWS_ENDPOINT_URL", url.as_str())], more].concat();
        let function = Function::start_with(binary("repository-resource"), &environment, time);
        let (sender, answers) = mpsc::channel();
        let sender = Mutex::new(sender);
        let statuses = Arc::new(Mutex::new(Vec::<u16>::new()));
        let next = Arc::clone(&statuses);
        let address = http::serve(move |request, stream| {
            let status = next.lock().unwrap().pop().unwrap_or(200);
            let _ = sender.lock().unwrap().send(request);
            Response { status, ..Response::default() }.write(stream)
        });
        Self {
            ecr,
            function,
            answers,
            statuses,
            url: format!("http://{address}/answer?X-Amz-Signature=secret"),
        }
    }

    fn event(&self, request: &str, physical_id: Option<&str>, properties: &Value, old: &Value) -> Value {
        let mut properties = properties.clone();
        properties["ServiceToken"] = "arn:aws:lambda:eu-west-1:123456789012:function:resource".into();
        let mut event = json!({
            "RequestType": request, "ResponseURL": self.url, "StackId": STACK, "RequestId": "request",
            "ResourceType": "Custom::EcrRepository", "LogicalResourceId": "Web", "ResourceProperties": properties,
        });
        if let Some(id) = physical_id {
            event["PhysicalResourceId"] = id.into();
        }
        if request == "Update" {
            event["OldResourceProperties"] = old.clone();
        }
        event
    }

    /// Sends an event as CloudFormation does, and takes the one answer that comes.
    fn send(&self, event: &Value) -> Value {
        self.ecr.cloud(|cloud| cloud.stacks.sends(event));
        let answer = self.make_up(event);
        self.ecr.cloud(|cloud| cloud.stacks.is_answered(event, &answer));
        answer
    }

    /// Sends an event that CloudFormation knows nothing of, and takes the one answer that comes.
    fn make_up(&self, event: &Value) -> Value {
        self.function.invoke(event.to_string()).response();
        let request = self.answers.recv_timeout(Duration::from_secs(1)).expect("there should be an answer");
        assert!(self.answers.try_recv().is_err(), "there should be one answer");
        assert_eq!((request.method.as_str(), request.header("content-type")), ("PUT", Some("")));
        assert!(request.target.ends_with("/answer?X-Amz-Signature=secret"), "{}", request.target);
        assert!(request.body.len() <= 4096);
        let answer: Value = serde_json::from_slice(&request.body).unwrap();
        for field in ["StackId", "RequestId", "LogicalResourceId"] {
            assert_eq!(answer[field], event[field], "{field}");
        }
        answer
    }

    fn create(&self, properties: &Value) -> Value {
        self.send(&self.event("Create", None, properties, &Value::Null))
    }

    fn update(&self, id: &str, properties: &Value, old: &Value) -> Value {
        self.send(&self.event("Update", Some(id), properties, old))
    }

    fn delete(&self, id: &str, properties: &Value) -> Value {
        self.send(&self.event("Delete", Some(id), properties, &Value::Null))
    }

    fn repository(&self, name: &str) -> Repository {
        self.ecr.with(|registry| registry.repositories[name].clone())
    }

    /// What is remembered of the protection of a repository.
    fn record(&self, name: &str) -> Option<Value> {
        let path = format!("{BUCKET}/state/protection/{name}.json");
        let text = self.ecr.cloud(|cloud| cloud.object_text(&path));
        text.map(|text| serde_json::from_str(&text).unwrap())
    }

    fn names(&self) -> Vec<String> {
        self.ecr.with(|registry| registry.repositories.keys().cloned().collect())
    }

    /// A repository that nobody declared.
    fn by_hand(&self, name: &str) {
        let other = self.event("Create", None, &json!({ "RepositoryName": name }), &Value::Null);
        self.send(&other);
        self.ecr.with(|registry| registry.repositories.get_mut(name).unwrap().tags.clear());
    }
}

#[track_caller]
fn succeeded(answer: &Value) -> String {
    assert_eq!(answer["Status"], "SUCCESS", "{answer}");
    answer["PhysicalResourceId"].as_str().unwrap().to_owned()
}

#[track_caller]
fn failed(answer: &Value, part: &str) -> String {
    assert_eq!(answer["Status"], "FAILED", "{answer}");
    assert!(answer["Reason"].as_str().unwrap().contains(part), "{answer}");
    answer["PhysicalResourceId"].as_str().unwrap().to_owned()
}

/// The whole reason of a failure.
#[track_caller]
fn failed_with(answer: &Value, part: &str) -> String {
    failed(answer, part);
    answer["Reason"].as_str().unwrap().to_owned()
}

#[test]
fn a_repository_needs_no_properties() {
    let cfn = CloudFormation::start(PLENTY);
    let answer = cfn.create(&json!({}));
    let name = succeeded(&answer);
    assert!(name.starts_with("shop-web-"), "{name}");
    let uri = format!("123456789012.dkr.ecr.eu-west-1.amazonaws.com/{name}");
    assert_eq!(answer["Data"]["RepositoryUri"], uri);
    assert_eq!(answer["Data"]["RegistryId"], "123456789012");
    assert!(answer["Data"]["RepositoryArn"].as_str().unwrap().ends_with(&name));
    let made = cfn.repository(&name);
    let policy = LifecyclePolicy::parse(&made.lifecycle_policy.unwrap()).unwrap();
    assert!(is_protected(&policy) && policy.to_json().contains("remove untagged images"));
    let data = &answer["Data"];
    assert_eq!(
        (&data["LifecyclePolicyStatus"], &data["LifecyclePolicyStatusReason"]),
        (&json!("ACTIVE"), &json!(""))
    );
    assert_eq!(cfn.record(&name).unwrap()["mode"], "provisioned");
    assert_eq!(made.described["imageTagMutabilityExclusionFilters"][0]["filter"], "ecr-steward-*");
    assert_eq!(made.tags.keys().collect::<Vec<_>>(), ["ecr-steward:logical-id", "ecr-steward:stack-id"]);
    assert_eq!(succeeded(&cfn.delete(&name, &json!({}))), name);
    assert!(cfn.names().is_empty() && cfn.record(&name).is_none());
}

#[test]
fn events_that_come_twice_do_no_harm() {
    let cfn = CloudFormation::start(PLENTY);
    let properties = json!({ "RepositoryName": "app", "Tags": [{ "Key": "a", "Value": "1" }] });
    let first = cfn.create(&properties);
    let before = cfn.ecr.snapshot();
    assert_eq!(cfn.create(&properties), first);
    assert_eq!(cfn.ecr.snapshot(), before);

    let renamed = json!({ "RepositoryName": "other" });
    assert_eq!(succeeded(&cfn.update("app", &renamed, &properties)), "other");
    let before = cfn.ecr.snapshot();
    assert_eq!(succeeded(&cfn.update("app", &renamed, &properties)), "other");
    assert_eq!(cfn.ecr.snapshot(), before);

    for _ in 0..2 {
        assert_eq!(succeeded(&cfn.delete("app", &properties)), "app");
    }
    assert_eq!(cfn.names(), ["other"]);
}

#[test]
fn strings_are_read_as_booleans_and_numbers() {
    let cfn = CloudFormation::start(PLENTY);
    let properties = json!({
        "RepositoryName": "app", "ImageScanningConfiguration": { "ScanOnPush": "true" }, "EmptyOnDelete": "true",
        "LifecyclePolicy": { "rules": [{ "selection": "untagged", "maximumAgeLimit": "7" }] }, "ServiceTimeout": "60",
    });
    succeeded(&cfn.create(&properties));
    let made = cfn.repository("app");
    assert_eq!(made.described["imageScanningConfiguration"]["scanOnPush"], true);
    assert!(made.lifecycle_policy.unwrap().contains(r#""countNumber":7"#));
}

#[test]
fn an_update_in_place_keeps_the_repository() {
    let cfn = CloudFormation::start(PLENTY);
    let old = json!({ "RepositoryName": "app" });
    succeeded(&cfn.create(&old));
    let new = json!({ "RepositoryName": "app", "ImageTagMutability": "IMMUTABLE", "PullAccess": { "Lambda": "true" } });
    assert_eq!(succeeded(&cfn.update("app", &new, &old)), "app");
    let made = cfn.repository("app");
    assert_eq!(made.described["imageTagMutability"], "IMMUTABLE");
    assert!(made.policy.is_some());
    // And back, as a rollback does.
    assert_eq!(succeeded(&cfn.update("app", &old, &new)), "app");
    let made = cfn.repository("app");
    assert_eq!(
        (made.described["imageTagMutability"].as_str(), made.policy),
        (Some("MUTABLE_WITH_EXCLUSION"), None)
    );
}

#[test]
fn a_replacement_is_made_rolled_back_and_made_again() {
    let cfn = CloudFormation::start(PLENTY);
    let old = json!({});
    let first = succeeded(&cfn.create(&old));
    let new = json!({ "EncryptionConfiguration": { "EncryptionType": "KMS", "KmsKey": KEY } });
    let second = succeeded(&cfn.update(&first, &new, &old));
    assert_ne!(first, second);
    assert_eq!(cfn.names().len(), 2, "the old one is there until CloudFormation deletes it");
    // Something else failed: back to the first, and the second goes.
    assert_eq!(succeeded(&cfn.update(&second, &old, &new)), first);
    succeeded(&cfn.delete(&second, &new));
    assert_eq!(cfn.names(), std::slice::from_ref(&first));
    // Forward again, and the first goes.
    assert_eq!(succeeded(&cfn.update(&first, &new, &old)), second);
    succeeded(&cfn.delete(&first, &old));
    assert_eq!(cfn.names(), [second]);
}

#[test]
fn an_update_that_fails_keeps_the_id_and_the_repository() {
    let cfn = CloudFormation::start(PLENTY);
    let old = json!({ "RepositoryName": "app" });
    succeeded(&cfn.create(&old));
    cfn.by_hand("taken");
    let before = cfn.ecr.snapshot();
    let kms = json!({ "RepositoryName": "app", "EncryptionConfiguration": { "EncryptionType": "KMS" } });
    for (new, reason) in [
        (json!({ "RepositoryName": "App" }), "is no name for a repository"),
        (json!({ "RepositoryName": "app", "Colour": "red" }), "/Colour: unknown-field"),
        (json!({ "RepositoryName": "taken" }), "this resource did not create"),
        (kms, "the encryption of app cannot be changed"),
        (
            json!({ "RepositoryName": "app", "ImageTagMutability": "IMMUTABLE",
                    "PullAccess": { "AccountIds": ["999999999999"] } }),
            "Principal not found",
        ),
    ] {
        assert_eq!(failed(&cfn.update("app", &new, &old), reason), "app");
        assert_eq!(cfn.ecr.snapshot(), before, "{new}");
        // The rollback, with the properties in the other order.
        assert_eq!(succeeded(&cfn.update("app", &old, &new)), "app");
        assert_eq!(cfn.ecr.snapshot(), before, "{new}");
    }
}

#[test]
fn a_failed_creation_leaves_nothing_and_deletes_nothing() {
    let cfn = CloudFormation::start(PLENTY);
    cfn.by_hand("taken");
    let before = cfn.ecr.snapshot();
    for (properties, reason) in [
        (json!({ "RepositoryName": "a b" }), "is no name for a repository"),
        (json!({ "RepositoryName": "taken" }), "set AdoptExisting to true"),
        (
            json!({ "LifecyclePolicy": { "rules": [{ "selection": "untagged" }, { "maximumAgeLimit": "0" }] } }),
            "/LifecyclePolicy/rules/1/maximumAgeLimit",
        ),
        (
            json!({ "EncryptionConfiguration": { "EncryptionType": "KMS", "KmsKey": "99999999-0000-0000-0000-000000000000" } }),
            "enabled symmetric key",
        ),
        (json!({ "PullAccess": { "AccountIds": ["999999999999"] } }), "Principal not found"),
    ] {
        let marker = failed(&cfn.create(&properties), reason);
        assert_eq!(cfn.ecr.snapshot(), before, "{properties}");
        assert_eq!(succeeded(&cfn.delete(&marker, &properties)), marker);
        assert_eq!(cfn.ecr.snapshot(), before, "{properties}");
    }
}

#[test]
fn a_long_reason_fits_and_keeps_its_end() {
    let cfn = CloudFormation::start(PLENTY);
    let rules: Vec<Value> = (0..50).map(|number| json!({ "selection": format!("odd-{number}") })).collect();
    let answer = cfn.create(&json!({ "LifecyclePolicy": { "rules": rules } }));
    let reason = answer["Reason"].as_str().unwrap();
    assert!(reason.starts_with('…') && reason.contains("/LifecyclePolicy/rules/49"), "{reason}");
}

#[test]
fn only_what_the_resource_created_is_deleted() {
    let cfn = CloudFormation::start(PLENTY);
    cfn.by_hand("by-hand");
    let mut other = cfn.event("Create", None, &json!({ "RepositoryName": "others" }), &Value::Null);
    other["LogicalResourceId"] = "Other".into();
    succeeded(&cfn.send(&other));
    let before = cfn.ecr.snapshot();
    for name in ["by-hand", "others", "not-there"] {
        assert_eq!(succeeded(&cfn.delete(name, &json!({ "EmptyOnDelete": "true" }))), name);
    }
    assert_eq!(cfn.ecr.snapshot(), before);
}

#[test]
fn a_repository_is_adopted_when_asked_for_and_released_instead_of_deleted() {
    let cfn = CloudFormation::start(PLENTY);
    cfn.by_hand("app");
    cfn.ecr.with(|registry| registry.repositories.get_mut("app").unwrap().push("image", &["latest"]));
    let properties =
        json!({ "RepositoryName": "app", "AdoptExisting": "true", "ImageTagMutability": "IMMUTABLE" });
    assert_eq!(succeeded(&cfn.create(&properties)), "app");
    assert_eq!(cfn.repository("app").described["imageTagMutability"], "IMMUTABLE");
    let mut other = cfn.event("Create", None, &properties, &Value::Null);
    other["LogicalResourceId"] = "Other".into();
    failed(&cfn.send(&other), "belongs to Web of arn:aws:cloudformation");
    succeeded(&cfn.delete("app", &json!({ "RepositoryName": "app", "EmptyOnDelete": "true" })));
    let released = cfn.repository("app");
    assert!(released.tags.is_empty() && released.images.len() == 1, "{released:?}");
}

/// A policy that lets another account pull.
const PARTNER: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"Partner","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::222222222222:root"},"Action":"ecr:BatchGetImage"}]}"#;

#[test]
fn who_may_pull_from_an_adopted_repository_is_not_shut_out_by_a_template_that_says_nothing_of_it() {
    let cfn = CloudFormation::start(PLENTY);
    cfn.by_hand("app");
    let set = |policy: Option<&str>| {
        cfn.ecr.with(|registry| {
            registry.repositories.get_mut("app").unwrap().policy = policy.map(str::to_owned);
        });
    };
    set(Some(PARTNER));
    let before = cfn.ecr.snapshot();
    let silent = json!({ "RepositoryName": "app", "AdoptExisting": "true" });
    failed(
        &cfn.create(&silent),
        "app has a repository policy, and the properties do not say what is to become of it",
    );
    assert_eq!(cfn.ecr.snapshot(), before);
    // What AWS Lambda wrote itself stays in any case.
    let lambda = r#"{"Version":"2008-10-17","Statement":[{"Sid":"LambdaECRImageRetrievalPolicy","Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":["ecr:BatchGetImage","ecr:GetDownloadUrlForLayer"]}]}"#;
    set(Some(lambda));
    assert_eq!(succeeded(&cfn.create(&silent)), "app");
    assert!(cfn.repository("app").policy.unwrap().contains("LambdaECRImageRetrievalPolicy"));
    succeeded(&cfn.delete("app", &silent));
    // Said once, it is done.
    set(Some(PARTNER));
    let mut closed = silent.clone();
    closed["PullAccess"] = json!({});
    assert_eq!(succeeded(&cfn.create(&closed)), "app");
    assert_eq!(cfn.repository("app").policy, None);
}

#[test]
fn the_lifecycle_policy_of_an_adopted_repository_is_in_the_journal_with_the_stack_that_replaced_it() {
    let cfn = CloudFormation::start(PLENTY);
    cfn.by_hand("app");
    let terraform = r#"{"rules":[{"rulePriority":10,"selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":30},"action":{"type":"expire"}}]}"#;
    cfn.ecr.cloud(|cloud| cloud.delete(&format!("{BUCKET}/state/protection/app.json")));
    cfn.ecr.with(|registry| {
        registry.repositories.get_mut("app").unwrap().lifecycle_policy = Some(terraform.to_owned());
    });
    succeeded(&cfn.create(&json!({ "RepositoryName": "app", "AdoptExisting": "true" })));
    let keys = cfn.ecr.cloud(|cloud| cloud.keys(BUCKET, "journal/"));
    let [key] = &keys[..] else { panic!("{keys:?}") };
    let line = cfn.ecr.cloud(|cloud| cloud.object_text(&format!("{BUCKET}/{key}"))).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["lifecyclePolicyText"], &line["by"]["principal"]), (&json!(terraform), &json!(STACK)));
    assert!(line["runId"].as_str().unwrap().starts_with("stack-"), "{line}");
}

#[test]
fn what_another_resource_left_behind_is_reported_with_the_way_to_take_it_over() {
    let cfn = CloudFormation::start(PLENTY);
    let properties = json!({ "RepositoryName": "app", "AdoptExisting": "true" });
    succeeded(&cfn.create(&properties));
    let mut other = cfn.event("Create", None, &properties, &Value::Null);
    other["StackId"] = STACK.replace("0a1b2c3d", "ffffffff").into();
    let reason = failed_with(&cfn.send(&other), "belongs to Web of arn:aws:cloudformation");
    let tags = ["ecr-steward:stack-id", "ecr-steward:logical-id"];
    assert!(tags.iter().all(|tag| reason.contains(tag)) && reason.contains("untag-resource"), "{reason}");
    // As it says.
    cfn.ecr.with(|registry| {
        let app = registry.repositories.get_mut("app").unwrap();
        app.tags.retain(|key, _| !tags.contains(&key.as_str()));
    });
    assert_eq!(succeeded(&cfn.send(&other)), "app");
}

#[test]
fn more_accounts_than_a_policy_has_room_for_fail_where_they_are() {
    let cfn = CloudFormation::start(PLENTY);
    let ids: Vec<String> = (0..400).map(|number| format!("{:012}", 100_000_000_000_u64 + number)).collect();
    let properties = json!({ "RepositoryName": "app", "PullAccess": { "AccountIds": ids } });
    failed(&cfn.create(&properties), "/PullAccess/AccountIds: invalid-repository-policy");
    assert!(cfn.names().is_empty());
}

#[test]
fn the_policy_of_an_adopted_repository_with_images_waits_for_a_run_to_protect_them() {
    let cfn = CloudFormation::start(PLENTY);
    cfn.by_hand("app");
    cfn.ecr.cloud(|cloud| cloud.delete(&format!("{BUCKET}/state/protection/app.json")));
    cfn.ecr.with(|registry| {
        let app = registry.repositories.get_mut("app").unwrap();
        app.push("image", &["latest"]);
        app.lifecycle_policy = None;
    });
    let properties = json!({ "RepositoryName": "app", "AdoptExisting": "true",
        "LifecyclePolicy": { "rules": [{ "selection": "any", "maximumAgeLimit": "9" }] } });
    let answer = cfn.create(&properties);
    assert_eq!(succeeded(&answer), "app");
    assert_eq!(answer["Data"]["LifecyclePolicyStatus"], "SUSPENDED", "{answer}");
    let reason = answer["Data"]["LifecyclePolicyStatusReason"].as_str().unwrap();
    assert!(reason.contains("no protection tags yet"), "{reason}");
    let attached = LifecyclePolicy::parse(&cfn.repository("app").lifecycle_policy.unwrap()).unwrap();
    assert!(is_protected(&attached) && takes_nothing(&attached));
    let record = cfn.record("app").unwrap();
    assert!(record["lifecyclePolicyText"].as_str().unwrap().contains(r#""countNumber":9"#), "{record}");
    // The same again, as a later update of the stack.
    let before = cfn.ecr.snapshot();
    succeeded(&cfn.update("app", &properties, &json!({})));
    assert_eq!((cfn.ecr.snapshot(), cfn.record("app")), (before, Some(record)));
}

#[test]
fn a_policy_that_cannot_be_enforced_beside_protection_tags_fails_where_it_is() {
    let cfn = CloudFormation::start(PLENTY);
    let old = json!({ "RepositoryName": "app" });
    succeeded(&cfn.create(&old));
    let before = cfn.ecr.snapshot();
    let new = json!({ "RepositoryName": "app", "LifecyclePolicy": { "rules": [
        { "selection": { "tagPatternList": ["*"] }, "maximumNumberOfImages": "8" }] } });
    let reason = "/LifecyclePolicy/rules/0/selection: protection-tags-match";
    assert_eq!(failed(&cfn.update("app", &new, &old), reason), "app");
    assert_eq!(cfn.ecr.snapshot(), before);
}

#[test]
fn images_are_deleted_with_a_repository_only_when_asked_for() {
    let cfn = CloudFormation::start(PLENTY);
    succeeded(&cfn.create(&json!({ "RepositoryName": "app" })));
    cfn.ecr.with(|registry| registry.repositories.get_mut("app").unwrap().push("image", &["latest"]));
    let before = cfn.ecr.snapshot();
    failed(&cfn.delete("app", &json!({ "RepositoryName": "app" })), "app has 1 image");
    assert_eq!(cfn.ecr.snapshot(), before);
    succeeded(&cfn.delete("app", &json!({ "RepositoryName": "app", "EmptyOnDelete": "true" })));
    assert!(cfn.names().is_empty());
}

#[test]
fn a_repository_that_was_deleted_by_hand_is_made_again() {
    let cfn = CloudFormation::start(PLENTY);
    let properties = json!({ "RepositoryName": "app" });
    succeeded(&cfn.create(&properties));
    cfn.ecr.with(|registry| registry.repositories.clear());
    let new = json!({ "RepositoryName": "app", "ImageTagMutability": "IMMUTABLE" });
    assert_eq!(succeeded(&cfn.update("app", &new, &properties)), "app");
    assert_eq!(cfn.repository("app").described["imageTagMutability"], "IMMUTABLE");
}

#[test]
fn there_is_an_answer_before_the_deadline_whatever_ecr_does() {
    for fault in [Fault::Throttled, Fault::ServerError, Fault::Unavailable, Fault::Hang, Fault::Denied] {
        let cfn = CloudFormation::start(LITTLE);
        for operation in ["CreateRepository", "PutLifecyclePolicy"] {
            cfn.ecr.fault_from(operation, fault.clone(), 0);
            let marker = failed(&cfn.create(&json!({ "RepositoryName": "app" })), operation);
            cfn.ecr.heal();
            assert!(cfn.names().is_empty(), "{fault:?} {operation}");
            succeeded(&cfn.delete(&marker, &json!({})));
        }
    }
}

#[test]
fn what_a_failed_creation_leaves_behind_is_deleted_by_the_rollback() {
    let cfn = CloudFormation::start(LITTLE);
    for operation in ["PutLifecyclePolicy", "DeleteRepository"] {
        cfn.ecr.fault_from(operation, Fault::Denied, 0);
    }
    let id = failed(&cfn.create(&json!({ "RepositoryName": "app" })), "could not be deleted again");
    assert_eq!(id, "app");
    cfn.ecr.heal();
    succeeded(&cfn.delete(&id, &json!({ "RepositoryName": "app" })));
    assert!(cfn.names().is_empty());
}

#[test]
fn transient_errors_are_waited_out() {
    let cfn = CloudFormation::start(PLENTY);
    for operation in ["CreateRepository", "PutLifecyclePolicy"] {
        cfn.ecr.fault(operation, Fault::Throttled, 2);
    }
    succeeded(&cfn.create(&json!({ "RepositoryName": "app" })));
}

#[test]
fn an_answer_that_does_not_get_through_is_sent_again() {
    let cfn = CloudFormation::start(PLENTY);
    *cfn.statuses.lock().unwrap() = vec![503, 500];
    let event = cfn.event("Create", None, &json!({ "RepositoryName": "app" }), &Value::Null);
    cfn.function.invoke(event.to_string()).response();
    assert_eq!(cfn.answers.try_iter().count(), 3);

    // For good: Lambda is told, and delivers the event again.
    *cfn.statuses.lock().unwrap() = vec![403];
    let (kind, message) = cfn.function.invoke(event.to_string()).error();
    assert_eq!(kind, "NotAnswered");
    assert!(message.contains("403") && !message.contains("secret"), "{message}");
}

#[test]
fn answers_go_nowhere_but_to_s3() {
    let cfn = CloudFormation::start_with(PLENTY, &[]);
    let event = cfn.event("Create", None, &json!({ "RepositoryName": "app" }), &Value::Null);
    let (kind, message) = cfn.function.invoke(event.to_string()).error();
    assert_eq!(kind, "ForeignResponseUrl");
    assert!(message.contains("not of Amazon S3") && !message.contains("secret"), "{message}");
    assert!(cfn.names().is_empty() && cfn.answers.try_recv().is_err());
}

/// The stack's own resource `Web` with the repository `app`, which is full, and nothing going on.
fn settled() -> CloudFormation {
    let cfn = CloudFormation::start(PLENTY);
    succeeded(&cfn.create(&json!({ "RepositoryName": "app" })));
    cfn.ecr.with(|registry| registry.repositories.get_mut("app").unwrap().push("image", &["latest"]));
    cfn
}

#[test]
fn an_event_that_cloud_formation_did_not_send_changes_nothing() {
    let cfn = settled();
    cfn.by_hand("app-by-hand");
    let before = cfn.ecr.snapshot();
    let taken = json!({ "RepositoryName": "app-by-hand", "AdoptExisting": "true" });
    let made_up = [
        cfn.event("Delete", Some("app"), &json!({ "EmptyOnDelete": "inUse" }), &Value::Null),
        cfn.event("Update", Some("app"), &json!({ "LifecyclePolicy": { "skip": "true" } }), &json!({})),
        cfn.event("Create", None, &taken, &Value::Null),
    ];
    for event in &made_up {
        let id = failed(&cfn.make_up(event), "AWS CloudFormation does not confirm this request");
        assert_eq!(cfn.ecr.snapshot(), before, "{event}");
        if event["RequestType"] != "Create" {
            assert_eq!(id, "app");
        }
    }
    // In the name of a stack that there is not, of another account's, and of a resource that is not in the stack.
    for (field, value) in [
        ("StackId", "arn:aws:cloudformation:eu-west-1:123456789012:stack/none/0"),
        ("StackId", "arn:aws:cloudformation:eu-west-1:999999999999:stack/shop/0"),
        ("LogicalResourceId", "None"),
    ] {
        let mut other = cfn.event("Create", None, &taken, &Value::Null);
        other[field] = value.into();
        failed(&cfn.make_up(&other), "AWS CloudFormation does not confirm this request");
        assert_eq!(cfn.ecr.snapshot(), before, "{other}");
    }
}

#[test]
fn what_is_left_of_an_earlier_resource_is_deleted_only_while_its_stack_cleans_up() {
    let cfn = settled();
    succeeded(&cfn.update("app", &json!({ "RepositoryName": "other" }), &json!({ "RepositoryName": "app" })));
    let event = cfn.event("Delete", Some("app"), &json!({ "EmptyOnDelete": "true" }), &Value::Null);
    let before = cfn.ecr.snapshot();
    failed(&cfn.make_up(&event), "deletes no earlier one");
    assert_eq!(cfn.ecr.snapshot(), before);
    // A stack that rolls back has the resource no more.
    cfn.ecr.cloud(|cloud| cloud.stacks.set(STACK, "UPDATE_ROLLBACK_IN_PROGRESS", None));
    succeeded(&cfn.make_up(&event));
    assert_eq!(cfn.names(), ["other"]);
}

#[test]
fn what_cloud_formation_answers_a_little_later_is_waited_for() {
    let cfn = settled();
    cfn.ecr.cloud(|cloud| cloud.stacks.set(STACK, "UPDATE_IN_PROGRESS", Some(("Web", "UPDATE_COMPLETE"))));
    cfn.ecr.fault(
        "DescribeStackResource",
        Fault::Then(|_, cloud| {
            cloud.stacks.set(STACK, "UPDATE_IN_PROGRESS", Some(("Web", "UPDATE_IN_PROGRESS")))
        }),
        1,
    );
    let new = json!({ "RepositoryName": "app", "ImageTagMutability": "IMMUTABLE" });
    succeeded(&cfn.make_up(&cfn.event("Update", Some("app"), &new, &json!({}))));
    assert_eq!(cfn.ecr.count("DescribeStackResource"), 3);
}

#[test]
fn without_cloud_formations_word_nothing_is_done_and_the_answer_says_what_to_allow() {
    let cfn = settled();
    let before = cfn.ecr.snapshot();
    cfn.ecr.fault_from("DescribeStackResource", Fault::Denied, 0);
    let properties = json!({ "RepositoryName": "app", "EmptyOnDelete": "true" });
    failed(&cfn.delete("app", &properties), "allow cloudformation:DescribeStackResource");
    failed(&cfn.update("app", &json!({ "RepositoryName": "other" }), &properties), "DescribeStackResource");
    assert_eq!(cfn.ecr.snapshot(), before);
}

#[test]
fn only_repositories_that_the_parameter_names_are_adopted() {
    let cfn = CloudFormation::start(PLENTY);
    cfn.by_hand("prod");
    cfn.ecr.with(|registry| registry.repositories.get_mut("prod").unwrap().push("image", &["latest"]));
    let before = cfn.ecr.snapshot();
    let properties = json!({ "RepositoryName": "prod", "AdoptExisting": "true",
        "LifecyclePolicy": { "rules": [{ "selection": "any", "maximumNumberOfImages": "1" }] } });
    let reason = "AdoptExisting may not take over prod, and nothing was changed: the parameter AdoptPrefixes";
    failed(&cfn.create(&properties), reason);
    assert_eq!(cfn.ecr.snapshot(), before);
}

#[test]
fn repositories_are_shared_only_with_those_that_the_parameter_names() {
    let cfn = CloudFormation::start(PLENTY);
    succeeded(&cfn.create(&json!({ "RepositoryName": "app" })));
    let before = cfn.ecr.snapshot();
    let pull = |access: Value| json!({ "RepositoryName": "app", "PullAccess": access });
    let literal = json!({ "RepositoryName": "app", "RepositoryPolicyText": { "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": "*", "Action": "ecr:PutImage" }] } });
    for (properties, whom) in [
        (pull(json!({ "AccountIds": ["666666666666"] })), "the account 666666666666"),
        (pull(json!({ "OrganizationId": "o-abcdefghij" })), "the organisation o-abcdefghij"),
        (literal, "everybody"),
    ] {
        let reason = failed_with(&cfn.update("app", &properties, &json!({ "RepositoryName": "app" })), whom);
        assert!(reason.contains("the parameter ShareWith"), "{reason}");
        assert_eq!(cfn.ecr.snapshot(), before, "{properties}");
        let mut other = properties;
        other["RepositoryName"] = "new".into();
        let mut created = cfn.event("Create", None, &other, &Value::Null);
        created["LogicalResourceId"] = "New".into();
        failed(&cfn.send(&created), "the parameter ShareWith");
        assert_eq!(cfn.ecr.snapshot(), before, "{other}");
    }
    // Functions of the own account are nobody else.
    succeeded(&cfn.update("app", &pull(json!({ "Lambda": "true" })), &json!({ "RepositoryName": "app" })));
}

#[test]
fn what_was_shared_before_the_parameter_was_there_stays_and_rolls_back() {
    let before_it = CloudFormation::start(PLENTY);
    let shared = json!({ "RepositoryName": "app", "RepositoryPolicyText": { "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": { "AWS": "123456789012" }, "Action": "ecr:BatchGetImage" }] } });
    succeeded(&before_it.create(&shared));
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"888888888888"},"Action":"ecr:BatchGetImage"}]}"#;
    before_it.ecr.with(|registry| {
        registry.repositories.get_mut("app").unwrap().policy = Some(policy.to_owned());
    });
    let mut same = json!({ "RepositoryName": "app" });
    same["RepositoryPolicyText"] = serde_json::from_str(policy).unwrap();
    same["ImageTagMutability"] = "IMMUTABLE".into();
    succeeded(&before_it.update("app", &same, &shared));
}

#[test]
fn an_event_that_is_none_of_cloud_formations_is_an_error() {
    let cfn = CloudFormation::start(PLENTY);
    let Answer::Error(error) = cfn.function.invoke(r#"{"hello": "world"}"#) else { panic!() };
    assert_eq!(error["errorType"], "InvalidEvent");
}

#[test]
fn the_role_allows_what_the_function_does_and_nothing_else() {
    let cfn = CloudFormation::start(PLENTY);
    let everything = json!({
        "RepositoryName": "app", "PullAccess": { "Lambda": "true" }, "ImageTagMutability": "IMMUTABLE",
        "ImageScanningConfiguration": { "ScanOnPush": "true" }, "Tags": [{ "Key": "a", "Value": "1" }],
    });
    let nothing = json!({ "RepositoryName": "app", "LifecyclePolicy": { "skip": "true" } });
    succeeded(&cfn.create(&json!({ "RepositoryName": "app" })));
    for (new, old) in [(&everything, &nothing), (&nothing, &everything), (&everything, &nothing)] {
        succeeded(&cfn.update("app", new, old));
    }
    cfn.ecr.with(|registry| registry.repositories.get_mut("app").unwrap().push("image", &[]));
    failed(&cfn.delete("app", &everything), "1 image");
    let mut emptied = everything.clone();
    emptied["EmptyOnDelete"] = "true".into();
    succeeded(&cfn.delete("app", &emptied));
    let done: std::collections::BTreeSet<String> = cfn
        .ecr
        .calls()
        .into_iter()
        .map(|call| call.operation)
        .filter(|operation| OPERATIONS.contains(&operation.as_str()))
        .collect();
    assert_eq!(done, tests::template::ecr_actions("RepositoryResourceFunction"));
    // Which of the two is asked for when, other tests tell.
    let actions = tests::template::actions("RepositoryResourceFunction");
    let asked = actions.iter().filter(|action| action.starts_with("cloudformation:"));
    assert!(asked.eq(["cloudformation:DescribeStackResource", "cloudformation:DescribeStacks"]));
}

#[test]
fn the_sample_event_creates_a_repository() {
    let cfn = CloudFormation::start(PLENTY);
    let event =
        std::fs::read_to_string(tests::binaries::workspace().join("tests/events/repository-resource.json"));
    let mut event: Value = serde_json::from_str(&event.unwrap()).unwrap();
    event["ResponseURL"] = cfn.url.clone().into();
    assert_eq!(succeeded(&cfn.send(&event)), "shop/web");
    assert_eq!(cfn.repository("shop/web").described["imageScanningConfiguration"]["scanOnPush"], true);
}
