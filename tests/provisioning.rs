//! Properties of what is asked for, what exists and the difference, over wishes that nobody thought of.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use shared::domain::enforcement::in_use_protection::{is_protected, takes_nothing};
use shared::domain::enforcement::protection_record::{Mode, ProtectionRecord, Suspension};
use shared::domain::lifecycle::LifecyclePolicy;
use shared::domain::repository::protection::RecordChange;
use shared::domain::repository::read::{self, RepositorySpec};
use shared::domain::repository::{
    Change, Difference, Existing, Protection, Registry, Tags, access, difference,
};
use shared::domain::text::instant::Instant;

fn registry() -> Registry {
    Registry::of_arn("arn:aws:lambda:eu-west-1:123456789012:function:f").unwrap()
}

/// A body of the API, from few enough values that two of them often have one in common.
fn body() -> impl Strategy<Value = Value> {
    let mutability =
        option::of((any::<bool>(), btree_set(prop::sample::select(vec!["latest", "dev-*"]), 0..3)));
    let encryption = option::of(prop::sample::select(vec![
        json!({ "encryptionType": "AES256" }),
        json!({ "encryptionType": "KMS" }),
        json!({ "encryptionType": "KMS_DSSE", "kmsKey": "arn:aws:kms:eu-west-1:123456789012:key/k" }),
    ]));
    let tags = option::of(btree_map(prop::sample::select(vec!["a", "b", "c"]), "[xy]{0,1}", 0..4));
    let policy = option::of(prop_oneof![
        Just(json!({ "skip": true })),
        Just(json!({})),
        vec((1_u64..4, any::<bool>()), 1..3).prop_map(|limits| {
            let rule = |(index, (number, counts)): (usize, (u64, bool))| {
                let limit = if counts { "maximumNumberOfImages" } else { "maximumAgeLimit" };
                json!({ "selection": { "tagPrefixList": [format!("p{index}")] }, limit: number })
            };
            json!({ "rules": limits.into_iter().enumerate().map(rule).collect::<Vec<_>>() })
        }),
    ]);
    let access = option::of((
        btree_set(prop::sample::select(vec!["111111111111", "222222222222"]), 0..3),
        any::<bool>(),
        any::<bool>(),
    ));
    (mutability, option::of(any::<bool>()), encryption, tags, policy, access).prop_map(
        |(mutability, scan, encryption, tags, policy, access)| {
            let mut body = Map::new();
            if let Some((immutable, filters)) = mutability {
                body.insert(
                    "imageTagMutability".into(),
                    (if immutable { "IMMUTABLE" } else { "MUTABLE" }).into(),
                );
                if !filters.is_empty() {
                    body.insert("imageTagMutabilityExclusionFilters".into(), json!(filters));
                }
            }
            if let Some(scan) = scan {
                body.insert("imageScanningConfiguration".into(), json!({ "scanOnPush": scan }));
            }
            body.extend(encryption.map(|encryption| ("encryptionConfiguration".to_owned(), encryption)));
            if let Some(tags) = tags {
                let tags: Vec<_> =
                    tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
                body.insert("tags".into(), json!(tags));
            }
            body.extend(policy.map(|policy| ("lifecyclePolicy".to_owned(), policy)));
            if let Some((accounts, organization, lambda)) = access {
                let mut access = json!({ "lambda": lambda });
                if !accounts.is_empty() {
                    access["accountIds"] = json!(accounts);
                }
                if organization {
                    access["organizationId"] = "o-abcdefghij".into();
                }
                body.insert("pullAccess".into(), access);
            }
            body.into()
        },
    )
}

/// The same wish as CloudFormation hands it over.
fn properties(body: &Value) -> Value {
    fn spelled(value: &Value, is_policy: bool) -> Value {
        match value {
            Value::Object(fields) => fields
                .iter()
                .map(|(key, value)| {
                    let mut characters = key.chars();
                    let first = characters.next().map(|first| first.to_ascii_uppercase()).into_iter();
                    let name = if is_policy { key.clone() } else { first.chain(characters).collect() };
                    (name, spelled(value, is_policy || key == "lifecyclePolicy"))
                })
                .collect::<Map<_, _>>()
                .into(),
            Value::Array(items) => items.iter().map(|item| spelled(item, is_policy)).collect(),
            Value::Bool(_) | Value::Number(_) => value.to_string().into(),
            Value::String(_) | Value::Null => value.clone(),
        }
    }
    spelled(body, false)
}

fn spec(body: &Value) -> RepositorySpec {
    read::body(&body.to_string()).unwrap_or_else(|findings| panic!("{body}: {findings:?}"))
}

/// A repository as it is after this wish, with tags of others on it.
fn made(body: &Value) -> Existing {
    let settings = spec(body).settings;
    let mut tags = settings.tags;
    tags.extend(Tags::from([
        ("aws:own".to_owned(), "1".to_owned()),
        ("ecr-steward:stack-id".to_owned(), "s".to_owned()),
    ]));
    Existing {
        name: "app".to_owned(),
        arn: "arn:aws:ecr:eu-west-1:123456789012:repository/app".to_owned(),
        registry_id: "123456789012".to_owned(),
        uri: "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app".to_owned(),
        created_at: Some(Instant::parse("2026-11-23T00:00:00Z").unwrap()),
        tag_mutability: settings.tag_mutability,
        scan_on_push: settings.scan_on_push,
        encryption: settings.encryption,
        tags,
        lifecycle_policy_text: settings.lifecycle_policy.map(|policy| policy.document().to_json_pretty()),
        policy_text: settings.policy.text(&registry(), None),
    }
}

fn now() -> Instant {
    Instant::parse("2026-11-23T00:00:00Z").unwrap()
}

fn recorded(existing: &Existing, mode: Mode, suspended: Option<Suspension>) -> Option<ProtectionRecord> {
    let refreshed_at = Instant::parse("2026-11-22T23:00:00Z").unwrap();
    Some(ProtectionRecord {
        lifecycle_policy_text: existing.lifecycle_policy_text.clone(),
        suspended,
        expiring: vec!["sha256:1".to_owned()],
        ..ProtectionRecord::new(&existing.registry_id, &existing.name, mode, refreshed_at, "run")
    })
}

fn known(record: Option<ProtectionRecord>, has_images: bool) -> Protection {
    Protection { record, is_new: false, has_images, now: now(), request_id: "request".to_owned() }
}

/// What is known of a repository whose tags a run has looked at.
fn refreshed(existing: &Existing) -> Protection {
    known(recorded(existing, Mode::Provisioned, None), true)
}

fn all(difference: Difference) -> Vec<Change> {
    difference.changes.into_iter().chain(difference.policy.change).collect()
}

/// What is attached, or known of the repository, before somebody asks for something.
fn protection() -> impl Strategy<Value = (Option<String>, Option<(Mode, bool)>, bool, bool)> {
    let bare = json!({ "rules": [{ "rulePriority": 7, "selection": { "tagStatus": "any",
        "countType": "imageCountMoreThan", "countNumber": 9 }, "action": { "type": "expire" } }] })
    .to_string();
    let suspended = shared::domain::enforcement::in_use_protection::TakesNothing::new().unwrap().to_json();
    let attached = prop::sample::select(vec![
        Attached::None,
        Attached::AsMade,
        Attached::Text(bare),
        Attached::Text(suspended),
        Attached::Text("{}".to_owned()),
    ]);
    let mode = prop::sample::select(vec![Mode::Attach, Mode::Provisioned, Mode::Protect]);
    (attached, option::of((mode, any::<bool>())), any::<bool>(), any::<bool>()).prop_map(
        |(attached, record, has_images, is_new)| {
            let text = match attached {
                Attached::None => None,
                Attached::AsMade => made(&json!({})).lifecycle_policy_text,
                Attached::Text(text) => Some(text),
            };
            (text, record, has_images, is_new)
        },
    )
}

#[derive(Debug, Clone)]
enum Attached {
    None,
    AsMade,
    Text(String),
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_repository_is_what_its_own_request_asks_for(body in body()) {
        let existing = made(&body);
        let difference = difference(&existing, &spec(&body).settings, &registry(), &refreshed(&existing));
        prop_assert!(difference.is_empty(), "{difference}");
        let bare = existing.lifecycle_policy_text.is_none();
        prop_assert_eq!(difference.policy.record, if bare { RecordChange::Forget } else { RecordChange::Keep });
    }

    #[test]
    fn the_changes_lead_to_what_is_asked_for_and_back(before in body(), after in body()) {
        let existing = made(&before);
        let wanted = spec(&after).settings;
        let steps = difference(&existing, &wanted, &registry(), &refreshed(&existing));
        prop_assert_eq!(steps.encryption.is_some(), !wanted.encryption.is_met_by(&existing.encryption));
        let mut changed = existing.clone();
        let steps = all(steps);
        for change in &steps {
            change.apply_to(&mut changed);
        }
        prop_assert!(all(difference(&changed, &wanted, &registry(), &refreshed(&changed))).is_empty());
        for change in steps.iter().rev() {
            change.reversed().apply_to(&mut changed);
        }
        prop_assert_eq!(changed, existing);
    }

    #[test]
    fn nothing_of_others_is_touched(before in body(), after in body()) {
        let existing = made(&before);
        let mut changed = existing.clone();
        for change in all(difference(&existing, &spec(&after).settings, &registry(), &refreshed(&existing))) {
            change.apply_to(&mut changed);
        }
        for key in ["aws:own", "ecr-steward:stack-id"] {
            prop_assert_eq!(changed.tags.get(key), existing.tags.get(key));
        }
    }

    #[test]
    fn the_policy_that_provisioning_puts_is_protected_and_acts_only_where_the_tags_are_right(
        after in body(),
        (text, record, has_images, is_new) in protection(),
    ) {
        let mut existing = made(&after);
        existing.lifecycle_policy_text = if is_new { None } else { text };
        let suspension = Suspension { at: now(), reason: "why".to_owned() };
        let record = record.and_then(|(mode, is_suspended)| {
            recorded(&existing, mode, is_suspended.then(|| suspension.clone()))
        });
        let known = Protection { is_new, ..known(record.clone(), has_images && !is_new) };
        let plan = difference(&existing, &spec(&after).settings, &registry(), &known).policy;
        let written = match &plan.record {
            RecordChange::Write(record) => Some(&**record),
            RecordChange::Keep => record.as_ref(),
            RecordChange::Forget => None,
        };
        let parse = |text: &String| LifecyclePolicy::parse(text).ok();
        let was_suspended = existing.lifecycle_policy_text.as_ref().and_then(parse).is_some_and(|p| takes_nothing(&p));
        if let Some(Change::LifecyclePolicy { to: Some(to), .. }) = &plan.change {
            let put = LifecyclePolicy::parse(to).unwrap();
            prop_assert!(is_protected(&put), "{to}");
            let written = written.expect("a record is there before the policy");
            prop_assert_eq!(written.mode, Mode::Provisioned);
            prop_assert_eq!(written.suspended.is_some(), takes_nothing(&put));
            if !takes_nothing(&put) {
                prop_assert!(!was_suspended, "a suspended policy is never lifted");
                prop_assert!(is_new || record.is_some() || !has_images, "nobody looked at what is in use");
            }
            let is_new_record = is_new || record.is_none();
            prop_assert_eq!(written.refreshed_at == now(), is_new_record, "asking refreshes no tags");
        }
        if record.as_ref().is_some_and(|record| record.mode == Mode::Attach) {
            prop_assert_eq!((&plan.change, &plan.record), (&None, &RecordChange::Keep), "the policies file wins");
        } else if spec(&after).settings.lifecycle_policy.is_none() {
            prop_assert_eq!(written, None);
            let mut changed = existing.clone();
            plan.change.iter().for_each(|change| change.apply_to(&mut changed));
            prop_assert_eq!(changed.lifecycle_policy_text, None);
        } else {
            // Whatever was there, what is attached in the end is protected.
            let mut changed = existing.clone();
            plan.change.iter().for_each(|change| change.apply_to(&mut changed));
            let attached = changed.lifecycle_policy_text.as_ref().and_then(parse).unwrap();
            prop_assert!(is_protected(&attached));
            let known = Protection { record: written.cloned(), is_new: false, ..known };
            let again = difference(&changed, &spec(&after).settings, &registry(), &known).policy;
            prop_assert_eq!((again.change, again.record), (None, RecordChange::Keep), "asking again changes nothing");
            prop_assert!(!again.is_different);
        }
    }

    #[test]
    fn both_spellings_say_the_same(body in body()) {
        let declared = read::properties(&properties(&body).to_string());
        let declared = declared.unwrap_or_else(|findings| panic!("{body}: {findings:?}"));
        prop_assert_eq!(declared.spec, spec(&body));
    }

    #[test]
    fn a_policy_is_itself_in_any_order(body in body(), turn in 0_usize..8) {
        if let Some(text) = spec(&body).settings.policy.text(&registry(), None) {
            let mut policy: Value = serde_json::from_str(&text).unwrap();
            for statement in policy["Statement"].as_array_mut().unwrap() {
                let actions = statement["Action"].as_array_mut().unwrap();
                let places = turn % actions.len();
                actions.rotate_left(places);
            }
            let statements = policy["Statement"].as_array_mut().unwrap();
            let places = turn % statements.len();
            statements.rotate_left(places);
            prop_assert!(access::is_same_policy(&text, &serde_json::to_string_pretty(&policy).unwrap()));
            policy["Statement"][0]["Effect"] = "Deny".into();
            prop_assert!(!access::is_same_policy(&text, &policy.to_string()));
        }
    }

    #[test]
    fn no_text_makes_the_readers_panic(text in "\\PC{0,200}", body in body()) {
        let _ = read::body(&text);
        let _ = read::properties(&text);
        let broken = body.to_string();
        let cut: String = broken.chars().take(text.len() % (broken.len() + 1)).collect();
        let _ = read::body(&cut);
    }
}
