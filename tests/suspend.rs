//! Policies that ECR enforces stop by themselves: when nobody refreshes their protection any more, when the policies file is not
//! valid, when the stack is deleted. By the real function, on AWS in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use shared::domain::enforcement::in_use_protection::{TakesNothing, protected};
use shared::domain::enforcement::protection_record::{Mode, ProtectionRecord, Suspension};
use shared::domain::lifecycle::LifecyclePolicy;
use shared::domain::text::instant::Instant;
use tests::cloud::{self, BUCKET, Cloud};
use tests::ecr_stub::{ACCOUNT, EcrStub, Fault, Registry};
use tests::runtime_api::Function;
use tests::site::repository;
use tests::steward::PLENTY;
use tests::template;

/// A policy by which everything older than two weeks expires.
const POLICY: &str = r#"{"rules":[{"rulePriority":1,"selection":{"tagStatus":"any","countType":"sinceImagePushed","countUnit":"days","countNumber":14},"action":{"type":"expire"}}]}"#;

fn policy() -> LifecyclePolicy {
    LifecyclePolicy::parse(POLICY).unwrap()
}

/// The policy as this stack attaches it.
fn behind_protection() -> String {
    protected(&policy()).unwrap().to_json()
}

fn suspended() -> String {
    TakesNothing::new().unwrap().to_json()
}

fn hours_ago(hours: i64) -> Instant {
    Instant::from_micros(Instant::now().micros() - hours * 3_600_000_000).unwrap()
}

/// A record of protection that was refreshed this number of hours ago.
fn record(name: &str, mode: Mode, hours: i64) -> ProtectionRecord {
    ProtectionRecord {
        lifecycle_policy_text: (mode != Mode::Protect).then(|| policy().to_json()),
        expiring: vec!["sha256:1".to_owned()],
        ..ProtectionRecord::new(ACCOUNT, name, mode, hours_ago(hours), "nightly")
    }
}

fn path(name: &str) -> String {
    format!("{BUCKET}/{}", ProtectionRecord::key(name))
}

fn write(cloud: &mut Cloud, record: &ProtectionRecord) {
    cloud.upload(&path(&record.repository_name), &serde_json::to_string(record).unwrap());
}

fn add(registry: &mut Registry, name: &str, lifecycle_policy: Option<String>) {
    let mut repository = repository(name);
    repository.lifecycle_policy = lifecycle_policy;
    registry.repositories.insert(name.to_owned(), repository);
}

/// A registry with the stack's bucket, and the function.
struct Site {
    aws: EcrStub,
    function: Function,
}

impl Site {
    fn new() -> Self {
        Self::with_time(PLENTY)
    }

    /// One whose invocations have so much time.
    fn with_time(time: Duration) -> Self {
        let aws = EcrStub::start();
        let function = cloud::function(&aws, "lifecycle-suspend", time);
        Self { aws, function }
    }

    /// A repository whose policy this stack attached, with its record.
    fn attach(&self, name: &str, mode: Mode, hours: i64) {
        self.aws.with(|registry| add(registry, name, Some(behind_protection())));
        self.aws.cloud(|cloud| write(cloud, &record(name, mode, hours)));
    }

    fn policy(&self, name: &str) -> Option<String> {
        self.aws.with(|registry| registry.repositories[name].lifecycle_policy.clone())
    }

    fn is_suspended(&self, name: &str) -> bool {
        self.policy(name) == Some(suspended())
    }

    fn record(&self, name: &str) -> Option<ProtectionRecord> {
        let text = self.aws.cloud(|cloud| cloud.object_text(&path(name)))?;
        Some(serde_json::from_str(&text).unwrap())
    }

    fn reason(&self, name: &str) -> String {
        self.record(name).unwrap().suspended.unwrap().reason
    }

    /// What the schedule does every hour.
    fn hour(&self) -> Value {
        self.function.invoke("{}").response()
    }

    fn assert_unchanged(&self, name: &str, mode: Mode) {
        assert!(!self.is_suspended(name), "{name}");
        let record = self.record(name).unwrap();
        assert_eq!((record.mode, record.suspended), (mode, None), "{name}");
    }

    fn assert_nothing_written(&self) {
        for operation in ["PutObject", "DeleteObject", "PutLifecyclePolicy"] {
            assert_eq!(self.aws.count(operation), 0, "{operation}");
        }
    }
}

/// The numbers of a summary that are not zero.
fn counted(summary: &Value) -> BTreeMap<String, u64> {
    let numbers = summary.as_object().unwrap().iter();
    let numbers = numbers.filter_map(|(name, value)| Some((name.clone(), value.as_u64()?)));
    numbers.filter(|(_, number)| *number > 0).collect()
}

fn counts<const N: usize>(counts: [(&str, u64); N]) -> BTreeMap<String, u64> {
    counts.map(|(name, number)| (name.to_owned(), number)).into()
}

#[test]
fn a_policy_whose_protection_nobody_refreshes_is_suspended_and_its_record_says_why() {
    let site = Site::new();
    site.attach("attached", Mode::Attach, 49);
    site.attach("made/here", Mode::Provisioned, 49);
    let before = site.record("attached").unwrap();
    let summary = site.hour();
    assert_eq!(counted(&summary), counts([("records", 2), ("stale", 2), ("suspended", 2)]));
    assert_eq!(summary["isComplete"], true);
    for name in ["attached", "made/here"] {
        assert!(site.is_suspended(name), "{name}: {:?}", site.policy(name));
        let reason = site.reason(name);
        assert!(
            reason.contains(&before.refreshed_at.to_string()[..13]) && reason.contains("48 hours"),
            "{reason}"
        );
    }
    let after = site.record("attached").unwrap();
    let Some(Suspension { at, .. }) = after.suspended else { panic!("{after:?}") };
    assert!(at >= hours_ago(1));
    assert_eq!(after.lifecycle_policy_text, Some(policy().to_json()), "an enforcing run attaches it again");
    assert_eq!(
        (after.refreshed_at, after.expiring),
        (before.refreshed_at, vec![]),
        "nothing expires any more"
    );
    // The record comes first: it is there whenever the policy is suspended.
    let calls = site.aws.calls();
    let place = |operation: &str| calls.iter().position(|call| call.operation == operation).unwrap();
    assert!(place("PutObject") < place("PutLifecyclePolicy"));
}

#[test]
fn what_is_suspended_stays_so_and_is_not_reported_as_stale_again() {
    let site = Site::new();
    site.attach("app", Mode::Attach, 49);
    site.hour();
    let before = site.record("app");
    site.aws.forget_calls();
    assert_eq!(counted(&site.hour()), counts([("records", 1), ("alreadySuspended", 1)]));
    assert_eq!(site.record("app"), before);
    site.assert_nothing_written();
}

#[test]
fn a_policy_whose_protection_is_fresh_is_not_even_looked_at() {
    let site = Site::new();
    for mode in [Mode::Attach, Mode::Provisioned, Mode::Protect] {
        site.attach(&format!("{mode:?}").to_lowercase(), mode, 47);
    }
    assert_eq!(counted(&site.hour()), counts([("records", 3)]));
    site.assert_unchanged("attach", Mode::Attach);
    site.assert_nothing_written();
    assert_eq!(site.aws.count("GetLifecyclePolicy"), 0);
}

#[test]
fn how_old_protection_may_be_is_a_parameter_and_what_is_of_the_future_is_stale() {
    let mut site = Site::new();
    site.attach("app", Mode::Attach, 150);
    site.attach("future", Mode::Attach, -1);
    site.function =
        cloud::function_with(&site.aws, "lifecycle-suspend", PLENTY, &[("PROTECTION_HOURS", "192")]);
    assert_eq!(site.hour()["suspended"], 1);
    site.assert_unchanged("app", Mode::Attach);
    assert!(site.is_suspended("future"), "it would never become stale");
}

#[test]
fn a_policy_of_somebody_else_is_never_written_and_its_stale_protection_is_reported() {
    let site = Site::new();
    site.attach("terraform", Mode::Protect, 1000);
    let gone = record("gone", Mode::Protect, 1000);
    site.aws.cloud(|cloud| write(cloud, &gone));
    for _ in 0..2 {
        let summary = site.hour();
        assert_eq!((&summary["stale"], &summary["suspended"]), (&json!(1), &json!(0)), "as long as it is so");
    }
    site.assert_unchanged("terraform", Mode::Protect);
    assert_eq!(site.record("gone"), None);
    assert_eq!(site.aws.count("PutLifecyclePolicy") + site.aws.count("PutObject"), 0);
}

#[test]
fn a_policy_that_does_not_begin_with_the_protection_rule_is_not_ours_to_suspend() {
    let site = Site::new();
    for (name, policy) in [
        ("foreign", Some(POLICY.to_owned())),
        ("none", None),
        (
            "unreadable",
            Some(r#"{"rules":[{"rulePriority":1,"selection":{"tagStatus":"new kind"}}]}"#.to_owned()),
        ),
    ] {
        site.aws.with(|registry| add(registry, name, policy.clone()));
        site.aws.cloud(|cloud| write(cloud, &record(name, Mode::Attach, 1000)));
    }
    assert_eq!(counted(&site.hour()), counts([("records", 3)]));
    site.assert_nothing_written();
}

#[test]
fn a_repository_whose_record_cannot_be_read_counts_as_stale_and_its_policy_is_kept_in_a_new_one() {
    let site = Site::new();
    for text in
        ["{", r#"{"mode": "attach"}"#, &serde_json::to_string(&record("other", Mode::Attach, 1)).unwrap()]
    {
        site.aws.with(|registry| add(registry, "app", Some(behind_protection())));
        site.aws.cloud(|cloud| cloud.upload(&path("app"), text));
        assert_eq!(counted(&site.hour()), counts([("records", 1), ("stale", 1), ("suspended", 1)]), "{text}");
        assert!(site.is_suspended("app"));
        let record = site.record("app").unwrap();
        assert_eq!(record.lifecycle_policy_text, Some(policy().to_json()));
        assert!(record.suspended.unwrap().reason.contains("could not be read"));
        assert_eq!(counted(&site.hour()), counts([("records", 1), ("alreadySuspended", 1)]));
    }
    // Where no policy of this stack's acts there is nothing to suspend, but people are told.
    site.aws.cloud(|cloud| cloud.upload(&path("app"), "{"));
    for policy in [Some(POLICY.to_owned()), None, Some(suspended())] {
        site.aws.with(|registry| add(registry, "app", policy.clone()));
        site.aws.forget_calls();
        assert_eq!(counted(&site.hour()), counts([("records", 1), ("stale", 1)]), "{policy:?}");
        site.assert_nothing_written();
    }
}

/// What the creation template makes repositories with.
fn created_on_push() -> String {
    shared::domain::repository::protection::created_on_push().unwrap().document().to_json()
}

impl Site {
    /// A repository that ECR made on a push this number of hours ago, with such a value of the resource tag.
    fn push_makes(&self, name: &str, hours: i64, tag: &str) {
        self.aws.with(|registry| {
            add(registry, name, Some(created_on_push()));
            let made = registry.repositories.get_mut(name).unwrap();
            made.tags.insert("ecr-steward:protect".to_owned(), tag.to_owned());
            made.described["createdAt"] = (hours_ago(hours).micros() / 1_000_000).into();
        });
    }
}

#[test]
fn what_a_push_made_is_suspended_when_no_run_comes() {
    let site = Site::new();
    site.push_makes("old", 49, "create-on-push:steward");
    site.push_makes("new", 1, "create-on-push:steward");
    assert_eq!(counted(&site.hour()), counts([("adopted", 1), ("stale", 1), ("suspended", 1)]));
    assert!(site.is_suspended("old") && site.reason("old").contains("48 hours"), "{:?}", site.record("old"));
    let record = site.record("new").unwrap();
    assert_eq!((record.mode, record.suspended), (Mode::Provisioned, None));
    let default = LifecyclePolicy::parse(&record.lifecycle_policy_text.unwrap()).unwrap();
    assert_eq!(protected(&default).unwrap().to_json(), created_on_push(), "a run attaches it again");
    assert_eq!(site.policy("new"), Some(created_on_push()));
    assert_eq!(counted(&site.hour()), counts([("records", 2), ("alreadySuspended", 1)]));
}

#[test]
fn what_a_push_made_is_suspended_before_the_stack_is_deleted_also_if_no_run_has_seen_it() {
    let site = Site::new();
    site.push_makes("app", 0, "create-on-push:steward");
    let (_, answer) = request(&site, "Delete");
    assert_eq!(answer.unwrap()["Status"], "SUCCESS");
    assert!(site.is_suspended("app") && site.reason("app").contains("stack/steward/1 is deleted"));
}

#[test]
fn what_another_stack_or_somebody_else_made_is_not_this_stacks_to_suspend() {
    let site = Site::new();
    site.push_makes("of-another-stack", 1000, "create-on-push:steward-2");
    site.push_makes("asked-for", 1000, "true");
    site.push_makes("changed", 1000, "create-on-push:steward");
    site.aws.with(|registry| {
        registry.repositories.get_mut("changed").unwrap().lifecycle_policy = Some(behind_protection());
    });
    assert_eq!(counted(&site.hour()), counts([]));
    request(&site, "Delete");
    site.assert_nothing_written();
}

#[test]
fn what_has_a_record_is_suspended_also_where_nobody_may_ask_which_repositories_have_the_tag() {
    let site = Site::new();
    site.attach("app", Mode::Attach, 49);
    site.push_makes("pushed", 49, "create-on-push:steward");
    site.aws.fault_from("GetResources", Fault::Denied, 0);
    let (kind, message) = site.function.invoke("{}").error();
    assert!(site.is_suspended("app"));
    assert_eq!(kind, "AwsFailed");
    assert!(message.contains("made on a push") && message.contains("GetResources"), "{message}");
}

#[test]
fn a_policy_that_is_known_to_be_somebody_elses_is_not_suspended_although_its_record_cannot_be_read() {
    let site = Site::new();
    for name in ["by-tag", "by-file", "by-file-and-tags", "unknown"] {
        site.aws.with(|registry| add(registry, name, Some(behind_protection())));
        site.aws.cloud(|cloud| cloud.upload(&path(name), "{"));
    }
    site.aws.with(|registry| {
        let mut tag = |name: &str, key: &str, value: &str| {
            let tags = &mut registry.repositories.get_mut(name).unwrap().tags;
            tags.insert(key.to_owned(), value.to_owned());
        };
        tag("by-tag", "ecr-steward:protect", "true");
        tag("by-file-and-tags", "team", "infra");
    });
    let file = "policies:
- { name: theirs, repositories: [by-file], apply: protect }
- { name: tagged, repositories: ['*'], tags: { team: infra }, apply: protect }
";
    site.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), file));
    assert_eq!(counted(&site.hour()), counts([("records", 4), ("stale", 4), ("suspended", 1)]));
    for name in ["by-tag", "by-file", "by-file-and-tags"] {
        assert_eq!(site.policy(name), Some(behind_protection()), "{name}");
    }
    assert!(site.is_suspended("unknown"), "nobody says that it is somebody else's");
    // A file that is not valid says nothing.
    site.aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), "policies: [{}]"));
    site.hour();
    assert!(site.is_suspended("by-file") && !site.is_suspended("by-tag"));
}

#[test]
fn protection_that_never_was_right_is_reported_as_long_as_a_policy_acts_there() {
    let site = Site::new();
    for (name, policy) in
        [("acts", Some(behind_protection())), ("takes-nothing", Some(suspended())), ("none", None)]
    {
        site.aws.with(|registry| add(registry, name, policy.clone()));
        let record = ProtectionRecord::never_refreshed(ACCOUNT, name, Mode::Protect, "nobody looked");
        site.aws.cloud(|cloud| write(cloud, &record));
    }
    for _ in 0..2 {
        assert_eq!(counted(&site.hour()), counts([("records", 3), ("stale", 1)]));
    }
    site.assert_nothing_written();
}

#[test]
fn a_policy_that_somebody_attached_after_this_stack_took_its_own_away_is_left_alone() {
    let site = Site::new();
    site.aws.with(|registry| add(registry, "app", Some(behind_protection())));
    let suspension = Suspension { at: hours_ago(100), reason: "the file let go of it".to_owned() };
    let record = record("app", Mode::Attach, 100).suspended(suspension);
    site.aws.cloud(|cloud| write(cloud, &ProtectionRecord { withdrawn: true, ..record }));
    assert_eq!(counted(&site.hour()), counts([("records", 1)]));
    request(&site, "Delete");
    site.assert_nothing_written();
}

#[test]
fn an_object_that_is_no_record_of_a_repository_keeps_nobody_from_anything() {
    let site = Site::new();
    site.attach("app", Mode::Attach, 49);
    site.aws.cloud(|cloud| {
        cloud.upload(&format!("{BUCKET}/state/protection/README.json"), "{}");
        cloud.upload(&format!("{BUCKET}/state/protection/.json"), "{}");
        cloud.upload(&format!("{BUCKET}/state/protection/notes.txt"), "");
    });
    assert_eq!(site.hour()["suspended"], 1);
}

#[test]
fn the_record_of_a_repository_that_is_gone_is_forgotten_and_not_that_of_another_one_of_its_name() {
    let site = Site::new();
    site.aws.cloud(|cloud| write(cloud, &record("app", Mode::Attach, 49)));
    assert_eq!(counted(&site.hour()), counts([("records", 1), ("forgotten", 1)]));
    assert_eq!(site.record("app"), None);
    // It is made anew while it is looked for.
    site.aws.cloud(|cloud| write(cloud, &record("app", Mode::Provisioned, 49)));
    let make: fn(&mut Registry, &mut Cloud) = |registry, cloud| {
        write(cloud, &record("app", Mode::Provisioned, 0));
        add(registry, "app", Some(behind_protection()));
    };
    site.aws.fault("GetLifecyclePolicy", Fault::Then(make), 1);
    assert_eq!(counted(&site.hour()), counts([("records", 1)]));
    site.assert_unchanged("app", Mode::Provisioned);
    // It is deleted right before its policy is suspended.
    site.attach("app", Mode::Attach, 49);
    let delete: fn(&mut Registry, &mut Cloud) = |registry, _| {
        registry.repositories.remove("app");
    };
    site.aws.fault("PutObject", Fault::Then(delete), 1);
    let (first, second) = (site.hour(), site.hour());
    assert_eq!((&first["failed"], &site.record("app")), (&json!(0), &None), "{first} {second}");
}

#[test]
fn protection_that_is_refreshed_at_the_same_time_counts() {
    let site = Site::new();
    site.attach("app", Mode::Attach, 49);
    let refresh: fn(&mut Registry, &mut Cloud) = |_, cloud| write(cloud, &record("app", Mode::Attach, 0));
    site.aws.fault("GetLifecyclePolicy", Fault::Then(refresh), 1);
    assert_eq!(counted(&site.hour()), counts([("records", 1)]));
    site.assert_unchanged("app", Mode::Attach);
    assert_eq!(site.aws.count("PutLifecyclePolicy"), 0);
    // Whoever else writes it, as stale as it was, keeps nothing from being suspended.
    let rewrite: fn(&mut Registry, &mut Cloud) = |_, cloud| write(cloud, &record("app", Mode::Attach, 49));
    site.attach("app", Mode::Attach, 49);
    site.aws.fault("GetLifecyclePolicy", Fault::Then(rewrite), 1);
    assert_eq!(site.hour()["suspended"], 1);
    assert!(site.is_suspended("app"));
}

#[test]
fn a_refresh_that_began_before_the_suspension_does_not_hide_it() {
    let site = Site::new();
    site.attach("app", Mode::Attach, 49);
    let etag = |site: &Site| site.aws.cloud(|cloud| cloud.objects[&path("app")].last().unwrap().1.clone());
    let read_by_run = etag(&site);
    site.hour();
    assert_ne!(etag(&site), read_by_run, "its conditional write is refused, and it decides again");
    // Also where the record said so already and only the policy was not suspended.
    site.aws.with(|registry| add(registry, "app", Some(behind_protection())));
    let read_by_run = etag(&site);
    assert_eq!(site.hour()["suspended"], 1);
    assert_ne!(etag(&site), read_by_run);
    assert!(site.is_suspended("app"));
}

#[test]
fn one_repository_that_cannot_be_suspended_keeps_none_of_the_others_and_is_tried_again() {
    let site = Site::new();
    for name in ["one", "three", "two"] {
        site.attach(name, Mode::Attach, 49);
    }
    site.aws.fault("PutLifecyclePolicy", Fault::Denied, 1);
    let (kind, message) = site.function.invoke("{}").error();
    assert_eq!(kind, "AwsFailed");
    assert!(
        message.contains("1 policy could not be suspended") && message.contains("not authorized"),
        "{message}"
    );
    let suspended = ["one", "three", "two"].into_iter().filter(|name| site.is_suspended(name)).count();
    assert_eq!(suspended, 2);
    let summary = site.hour();
    assert_eq!(
        counted(&summary),
        counts([("records", 3), ("stale", 1), ("suspended", 1), ("alreadySuspended", 2)])
    );
}

#[test]
fn what_an_invocation_does_not_do_in_its_time_the_next_one_does() {
    let site = Site::with_time(Duration::from_secs(3));
    let names: Vec<String> = (0..40).map(|number| format!("app/{number:02}")).collect();
    for name in &names {
        site.attach(name, Mode::Attach, 49);
    }
    let left = |site: &Site| names.iter().filter(|name| !site.is_suspended(name)).count();
    // From some call on ECR does not answer.
    site.aws.fault_from("PutLifecyclePolicy", Fault::Hang, 10);
    let (kind, _) = site.function.invoke("{}").error();
    assert_eq!((kind.as_str(), left(&site)), ("OutOfTime", 30));
    site.aws.heal();
    site.aws.forget_calls();
    let summary = site.hour();
    assert_eq!((left(&site), &summary["suspended"]), (0, &json!(30)), "{summary}");
    // What was not done comes before what was.
    let calls = site.aws.calls();
    let first = calls.iter().find(|call| call.operation == "GetLifecyclePolicy").unwrap();
    let name = first.request["repositoryName"].as_str().unwrap();
    assert!(name >= "app/10", "{name}");
    // A process that is killed has written nothing that is in the way.
    for name in &names {
        site.attach(name, Mode::Attach, 49);
    }
    site.aws.fault_from("PutLifecyclePolicy", Fault::Hang, 7);
    let Site { aws, function } = site;
    function.hand("{}");
    while aws.count("PutLifecyclePolicy") < 10 {
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(function);
    aws.heal();
    let function = cloud::function(&aws, "lifecycle-suspend", PLENTY);
    let site = Site { aws, function };
    site.hour();
    assert_eq!(left(&site), 0);
}

#[test]
fn records_are_looked_at_over_all_pages_and_many_at_a_time() {
    let site = Site::new();
    site.aws.cloud(|cloud| cloud.list_page = 7);
    for number in 0..30 {
        site.attach(&format!("app/{number}"), Mode::Attach, 49);
    }
    site.aws.fault_from("PutLifecyclePolicy", Fault::Slow(Duration::from_millis(200)), 0);
    let began = std::time::Instant::now();
    assert_eq!(site.hour()["suspended"], 30);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[test]
fn a_policies_file_that_is_not_valid_suspends_what_it_attached_and_nothing_else() {
    let site = Site::new();
    for (name, mode) in [("file", Mode::Attach), ("api", Mode::Provisioned), ("terraform", Mode::Protect)] {
        site.attach(name, mode, 1);
    }
    let run = json!({ "runId": "r", "startedAt": hours_ago(0), "dryRun": false });
    let cause =
        json!({ "errorMessage": "policies.yaml: /policies/0: no name", "errorType": "InvalidPoliciesFile" });
    let event = json!({ "run": run, "reason": cause.to_string() });
    let summary = site.function.invoke(event.to_string()).response();
    assert_eq!((&summary["suspended"], &summary["records"]), (&json!(1), &json!(3)));
    assert!(site.is_suspended("file"));
    assert_eq!(site.reason("file"), "policies.yaml is not valid: policies.yaml: /policies/0: no name");
    site.assert_unchanged("api", Mode::Provisioned);
    site.assert_unchanged("terraform", Mode::Protect);
    // As it comes, if it is no error of a function.
    site.attach("file", Mode::Attach, 1);
    site.function.invoke(json!({ "run": run, "reason": "something else" }).to_string()).response();
    assert!(site.reason("file").ends_with("something else"));
}

/// A request of CloudFormation, and its answer, if there is one in time.
fn request(site: &Site, request_type: &str) -> (tests::runtime_api::Answer, Option<Value>) {
    let (url, answers) = cloud::callback_server();
    let mut event = json!({
        "RequestType": request_type, "ResponseURL": url, "RequestId": "request",
        "StackId": "arn:aws:cloudformation:eu-west-1:123456789012:stack/steward/1",
        "ResourceType": "Custom::SuspendOnDelete", "LogicalResourceId": "SuspendOnDelete",
        "ResourceProperties": { "ServiceToken": "arn" },
    });
    if request_type != "Create" {
        event["PhysicalResourceId"] = "suspend-on-delete".into();
    }
    let answer = site.function.invoke(event.to_string());
    (answer, answers.recv_timeout(Duration::from_millis(500)).ok())
}

#[test]
fn deleting_the_stack_suspends_all_its_policies_first_and_nothing_else_about_it_does() {
    let site = Site::new();
    for (name, mode) in [("file", Mode::Attach), ("api", Mode::Provisioned), ("terraform", Mode::Protect)] {
        site.attach(name, mode, 1);
    }
    for request_type in ["Create", "Update"] {
        let (_, answer) = request(&site, request_type);
        let answer = answer.unwrap();
        assert_eq!(
            (&answer["Status"], &answer["PhysicalResourceId"]),
            (&json!("SUCCESS"), &json!("suspend-on-delete"))
        );
        assert_eq!(site.aws.calls(), [], "{request_type}");
    }
    let (_, answer) = request(&site, "Delete");
    let answer = answer.unwrap();
    assert_eq!(
        (&answer["Status"], &answer["PhysicalResourceId"]),
        (&json!("SUCCESS"), &json!("suspend-on-delete"))
    );
    assert!(site.is_suspended("file") && site.is_suspended("api"));
    assert!(site.reason("api").contains("stack/steward/1 is deleted"), "{}", site.reason("api"));
    site.assert_unchanged("terraform", Mode::Protect);
}

#[test]
fn a_stack_is_not_deleted_before_its_policies_are_suspended() {
    let site = Site::with_time(Duration::from_secs(3));
    site.attach("app", Mode::Attach, 1);
    // Lambda hands the request over again if the function fails, and CloudFormation waits.
    site.aws.fault_from("PutLifecyclePolicy", Fault::Hang, 0);
    let (answered, answer) = request(&site, "Delete");
    assert_eq!(answered.error().0, "OutOfTime");
    assert_eq!(answer, None);
    site.aws.heal();
    // What no other attempt mends is said.
    site.aws.fault("PutLifecyclePolicy", Fault::Denied, 1);
    let answer = request(&site, "Delete").1.unwrap();
    assert_eq!(answer["Status"], "FAILED");
    let reason = answer["Reason"].as_str().unwrap();
    assert!(reason.contains("app: ") && reason.contains("retain this resource"), "{reason}");
    assert_eq!(request(&site, "Delete").1.unwrap()["Status"], "SUCCESS");
    assert!(site.is_suspended("app"));
}

#[test]
fn the_role_allows_what_the_function_does_and_nothing_else() {
    let site = Site::new();
    site.attach("app", Mode::Attach, 49);
    site.aws.cloud(|cloud| write(cloud, &record("gone", Mode::Attach, 49)));
    site.push_makes("pushed", 1, "create-on-push:steward");
    site.aws.with(|registry| add(registry, "unreadable", Some(behind_protection())));
    let file = "policies: [{ name: all, repositories: ['*'], tags: { a: b }, apply: protect }]";
    site.aws.cloud(|cloud| {
        cloud.upload(&path("unreadable"), "{");
        cloud.upload(&format!("{BUCKET}/policies.yaml"), file);
    });
    site.hour();
    request(&site, "Delete");
    let calls = site.aws.calls();
    let called: BTreeSet<String> = calls
        .iter()
        .map(|call| match call.operation.as_str() {
            "ListObjectsV2" => "s3:ListBucket".to_owned(),
            "GetResources" => "tag:GetResources".to_owned(),
            operation if operation.contains("Object") => format!("s3:{operation}"),
            operation => format!("ecr:{operation}"),
        })
        .collect();
    assert_eq!(called, template::actions("LifecycleSuspendFunction"));
    const RECORDS: &str = "state/protection/*";
    // What is suspended and is not what the record has is written down before.
    for (operation, action, keys) in [
        ("GetObject", "s3:GetObject", &[RECORDS, "journal/*", "policies.yaml"][..]),
        ("PutObject", "s3:PutObject", &[RECORDS, "journal/*"][..]),
        ("DeleteObject", "s3:DeleteObject", &[RECORDS][..]),
    ] {
        let allowed = template::keys("LifecycleSuspendFunction", action);
        assert!(allowed.contains(&RECORDS.to_owned()), "{action}: {allowed:?}");
        assert!(allowed.iter().all(|key| keys.contains(&key.as_str())), "{action}: {allowed:?}");
        for call in calls.iter().filter(|call| call.operation == operation) {
            let key = call.request["key"].as_str().unwrap();
            let is_allowed =
                |pattern: &&str| key.starts_with(&format!("{BUCKET}/{}", pattern.trim_end_matches('*')));
            assert!(keys.iter().any(is_allowed), "{action} {key}");
        }
    }
}

#[test]
fn the_switch_acts_when_runs_do_not_and_somebody_hears_of_it() {
    let schedule = template::block("LifecycleSuspendSchedule").join("\n");
    assert!(schedule.contains("rate(1 hour)") && schedule.contains("State: ENABLED"), "{schedule}");
    assert!(!schedule.contains("ScheduleState"), "{schedule}");
    let stale = template::block("StaleProtectionAlarm").join("\n");
    for part in ["MetricName: StaleProtection", "TreatMissingData: breaching", "AlarmActions"] {
        assert!(stale.contains(part), "{part}: {stale}");
    }
    let failed = template::block("SuspendFailedAlarm").join("\n");
    assert!(
        failed.contains("MetricName: Errors") && failed.contains("!Ref LifecycleSuspendFunction"),
        "{failed}"
    );
    let function = template::block("LifecycleSuspendFunction").join("\n");
    assert!(function.contains("ApplicationLogLevel: INFO"), "the metrics are log lines: {function}");
}

#[test]
fn what_could_attach_a_policy_again_is_deleted_before_the_policies_are_suspended() {
    let resource = template::block("SuspendOnDelete").join("\n");
    assert!(resource.contains("ServiceToken: !GetAtt LifecycleSuspendFunction.Arn"), "{resource}");
    for name in [
        "LifecycleStateMachine",
        "LifecycleEnforceFunction",
        "RepositoryApiFunction",
        "RepositoryResourceFunction",
        "ImageBuildFunction",
        "ImageResourceFunction",
    ] {
        let block = template::block(name);
        assert!(block.iter().any(|line| line.trim() == "DependsOn: SuspendOnDelete"), "{name}");
    }
}
