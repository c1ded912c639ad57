use super::*;
use crate::domain::enforcement::changes::ChangeEvent;
use crate::domain::enforcement::outcome::{Amount, ImageOutcome, ReportedBlocker};
use crate::domain::enforcement::plan::plan;
use crate::domain::enforcement::policy_set::PolicySet;
use crate::domain::enforcement::storage::Storage;
use crate::domain::image::listing::RepositoryName;
use crate::domain::image::{Image, ManifestKind, Relations};
use crate::domain::usage::reports::ListTime;

const DAY: i64 = 86_400_000_000;

fn now() -> Instant {
    Instant::parse("2027-03-10T03:00:00Z").unwrap()
}

fn days_ago(days: i64) -> Instant {
    Instant::from_micros(now().micros() - days * DAY).unwrap()
}

/// A look of yesterday at a repository without anything to do.
struct Case {
    candidate: Candidate<'static>,
    look: Look,
    outcome: Outcome,
    changes: Changes,
    references: HashSet<u64>,
    hash: &'static str,
}

impl Case {
    fn new() -> Self {
        let candidate = Candidate {
            repository_name: "app",
            created_at: Some(days_ago(100)),
            policy: "all",
            apply: Apply::Delete,
            is_protected: false,
            checks_native_policy: false,
            layer_reads: None,
        };
        let outcome = Outcome {
            repository_name: "app".to_owned(),
            policy: Some("all".to_owned()),
            apply: Some(Apply::Delete),
            status: Status::Done,
            ..Outcome::default()
        };
        let look = Look { at: days_ago(1), due_at: None, references: vec![3], shard: 0 };
        let changes = Changes::of_new_queue("q".to_owned(), days_ago(9));
        Self { candidate, look, outcome, changes, references: HashSet::from([3, 4]), hash: "h" }
    }

    fn decide(&self) -> Result<(), LookReason> {
        let Self { candidate, look, outcome, changes, references, hash } = self;
        let known = Known { policies_file_hash: "h", changes, references, now: now() };
        known.leaves_out(candidate, (look, outcome, hash))
    }
}

#[test]
fn a_repository_is_left_out_only_if_every_rule_allows_it() {
    assert_eq!(Case::new().decide(), Ok(()));
    let amount = Amount { image_total_count: 1, image_size_in_bytes: 1 };
    let storage = |unread_images, problem: Option<&str>| {
        let problem = problem.map(str::to_owned);
        Some(Storage { unread_images, problem, ..Storage::default() })
    };
    let changed = |case: &mut Case, at: Instant| {
        case.changes.add(ChangeEvent { repository_name: "app".to_owned(), at }, now());
    };
    type Change<'a> = &'a dyn Fn(&mut Case);
    let cases: [(LookReason, Change<'_>); 34] = [
        (LookReason::Protected, &|case| case.candidate.is_protected = true),
        (LookReason::Protected, &|case| case.candidate.apply = Apply::Attach),
        (LookReason::Protected, &|case| case.candidate.apply = Apply::Protect),
        (LookReason::NativePolicy, &|case| case.candidate.checks_native_policy = true),
        (LookReason::OtherPolicy, &|case| case.hash = "other"),
        (LookReason::OtherPolicy, &|case| case.hash = ""),
        (LookReason::OtherPolicy, &|case| case.candidate.policy = "other"),
        (LookReason::OtherPolicy, &|case| case.candidate.apply = Apply::Preview),
        (LookReason::OtherPolicy, &|case| case.candidate.repository_name = "other"),
        (LookReason::UnknownChanges, &|case| case.changes.forget(now())),
        (LookReason::Changed, &|case| changed(case, now())),
        (LookReason::Changed, &|case| {
            let at = days_ago(1).micros() - 299_000_000;
            changed(case, Instant::from_micros(at).unwrap());
        }),
        (LookReason::Created, &|case| case.candidate.created_at = Some(days_ago(0))),
        (LookReason::TooOld, &|case| case.look.at = days_ago(8)),
        (LookReason::TooOld, &|case| case.look.at = days_ago(6)),
        (LookReason::TooOld, &|case| case.look.at = days_ago(-1)),
        (LookReason::Due, &|case| case.look.due_at = Some(now())),
        (LookReason::Due, &|case| case.look.due_at = Some(days_ago(-1))),
        (LookReason::UseEnded, &|case| case.references = HashSet::from([4])),
        (LookReason::Layers, &|case| case.candidate.layer_reads = Some(1)),
        (LookReason::Layers, &|case| {
            case.candidate.layer_reads = Some(1);
            case.outcome.storage = storage(1, None);
        }),
        (LookReason::Layers, &|case| {
            case.candidate.layer_reads = Some(0);
            case.outcome.storage = storage(0, Some("denied"));
        }),
        (LookReason::Unsettled, &|case| case.outcome.status = Status::Failed),
        (LookReason::Unsettled, &|case| case.outcome.status = Status::Unfinished),
        (LookReason::Unsettled, &|case| case.outcome.error = Some("denied".to_owned())),
        (LookReason::Unsettled, &|case| {
            let (code, message) = ("usage-unknown".to_owned(), String::new());
            case.outcome.blockers.push(ReportedBlocker { code, message });
        }),
        (LookReason::Unsettled, &|case| case.outcome.expiring = amount),
        (LookReason::Unsettled, &|case| case.outcome.transitioning = amount),
        (LookReason::Unsettled, &|case| case.outcome.deleted = amount),
        (LookReason::Unsettled, &|case| case.outcome.failed = amount),
        (LookReason::Unsettled, &|case| case.outcome.drift.push("it has a policy".to_owned())),
        (LookReason::Unsettled, &|case| case.outcome.native_policy = Some("it takes images".to_owned())),
        (LookReason::Unsettled, &|case| case.outcome.results_not_shown = 1),
        (LookReason::Unsettled, &|case| case.outcome.unannounced_push = Some(now())),
    ];
    for (reason, change) in cases {
        let mut case = Case::new();
        change(&mut case);
        assert_eq!(case.decide(), Err(reason), "{:?} {:?}", case.look, case.outcome);
    }
}

#[test]
fn what_does_not_matter_leaves_it_out() {
    type Change<'a> = &'a dyn Fn(&mut Case);
    let cases: [Change<'_>; 6] = [
        &|case| case.look.due_at = Some(days_ago(-2)),
        &|case| case.look.references.clear(),
        &|case| case.candidate.created_at = None,
        &|case| case.look.at = Instant::from_micros(days_ago(6).micros() + 1).unwrap(),
        &|case| {
            let at = Instant::from_micros(days_ago(1).micros() - 300_000_000).unwrap();
            case.changes.add(ChangeEvent { repository_name: "app".to_owned(), at }, now());
            case.changes.add(ChangeEvent { repository_name: "other".to_owned(), at: now() }, now());
        },
        &|case| {
            case.candidate.layer_reads = Some(0);
            case.outcome.storage = Some(Storage { unread_images: 1, ..Storage::default() });
        },
    ];
    for (number, change) in cases.into_iter().enumerate() {
        let mut case = Case::new();
        change(&mut case);
        assert_eq!(case.decide(), Ok(()), "{number}");
    }
}

fn image(digest: &str, days: i64) -> Image {
    Image {
        digest: digest.into(),
        tags: Box::default(),
        pushed_at: days_ago(days),
        last_pulled_at: None,
        last_archived_at: None,
        last_activated_at: None,
        size_in_bytes: 1,
        status: ImageStatus::Active,
        kind: ManifestKind::Manifest,
    }
}

/// The look at a repository whose images are deleted after two weeks.
fn look(images: Vec<Image>, usage: &Usage, more: &str) -> Option<Look> {
    let text = format!(
        "policies: [{{ name: all, repositories: ['*'], apply: delete, rules: [{{ selection: any, maximumAgeLimit: 14 }}]{more} }}]"
    );
    let policy_set = PolicySet::parse(&text).unwrap();
    let entry = &policy_set.entries()[0];
    let images = RepositoryImages::new(images, &Relations::default());
    let name = RepositoryName { repository_name: Some("app".to_owned()), registry_id: None };
    let used = usage.of_repository(&name, &images);
    let plan = plan(entry, &images, &used, now());
    let (images, used, plan, read_at) = (&images, &used, &plan, now());
    PlannedRepository { entry, images, used, usage, plan, read_at, now: now() }.look(5)
}

fn usage(references: &[&str]) -> Usage {
    Usage::parse_recorded(&serde_json::to_string(references).unwrap()).unwrap()
}

#[test]
fn a_look_has_what_keeps_images_and_when_time_acts() {
    let none = Usage::default();
    let due = |images: Vec<Image>, more: &str| look(images, &none, more).map(|look| look.due_at);
    assert_eq!(due(vec![], ""), Some(None));
    assert_eq!(due(vec![image("sha256:a", 3), image("sha256:b", 5)], ""), Some(Some(days_ago(-9))));
    assert_eq!(due(vec![image("sha256:a", 15)], ""), None, "something is to be deleted");
    assert_eq!(due(vec![image("sha256:a", -1)], ""), None, "it is of the future");
    let restored = Image { status: ImageStatus::Activating, ..image("sha256:a", 1) };
    assert_eq!(due(vec![restored], ""), None, "it is on its way back");
    let unread = Image { kind: ManifestKind::Index, ..image("sha256:a", 1) };
    assert_eq!(due(vec![unread], ""), None, "what it lists is not known");
    // `keep` lets go by time, too.
    let pulled = Image { last_pulled_at: Some(days_ago(2)), ..image("sha256:a", 20) };
    assert_eq!(due(vec![pulled.clone()], ", keep: { pulledWithinDays: 3 }"), Some(Some(days_ago(-1))));
    assert_eq!(due(vec![pulled], ", keep: { newest: 1 }"), Some(None));
    // By reference.
    let images = vec![image("sha256:a", 20), image("sha256:b", 3)];
    let used = usage(&["app@sha256:a", "other:latest"]);
    let found = look(images.clone(), &used, "").unwrap();
    assert_eq!(found.references, [reference_hash(&used.used()[0].reference)]);
    assert_eq!(found.shard, 5);
    // A young image in use needs nothing.
    let used = usage(&["app@sha256:b"]);
    assert!(look(images[1..].to_vec(), &used, "").unwrap().references.is_empty());
    // What is in use since a list may not know of it lapses by itself.
    let written_at = days_ago(30);
    let list = ListTime { key: "usage/a.json".to_owned(), repositories: Vec::new(), written_at };
    let mut used = Usage::default();
    used.list_times.push(list);
    assert_eq!(look(images, &used, ""), None);
}

#[test]
fn a_push_without_an_event_is_found_unless_its_event_may_be_late() {
    let quiet = QuietTime::since(days_ago(2), now()).unwrap();
    let push = |minutes: i64| {
        let pushed_at = Instant::from_micros(now().micros() - minutes * 60_000_000).unwrap();
        let image = Image { pushed_at, ..image("sha256:a", 0) };
        quiet.unannounced_push(&RepositoryImages::new(vec![image], &Relations::default()))
    };
    assert!(push(61).is_some());
    assert!(push(59).is_none(), "its event may be late");
    assert!(push(2 * 24 * 60 - 6).is_some());
    assert!(push(2 * 24 * 60 - 4).is_none(), "the look before may have seen it");
    assert_eq!(QuietTime::since(now(), now()), None);
    assert!(QuietTime::since(days_ago(8), now()).is_some());
    assert_eq!(QuietTime::since(days_ago(9), now()), None, "its events are forgotten");
}

#[test]
fn what_is_used_again_is_what_a_look_would_have_found() {
    let case = Case::new();
    let results = vec![ImageOutcome {
        image_digest: "sha256:a".to_owned(),
        image_tags: Vec::new(),
        image_pushed_at: days_ago(20),
        image_size_in_bytes: 1,
        action: crate::domain::preview::model::ActionTaken::from(
            crate::domain::lifecycle::document::Action::Expire,
        ),
        applied_rule_priority: 1,
        reason: String::new(),
        outcome: crate::domain::enforcement::outcome::ImageResult::InUse,
        detail: None,
    }];
    let storage = Some(Storage::default());
    let outcome = Outcome { results, storage, ..case.outcome.clone() };
    let again = |is_enforcing, candidate: &Candidate<'_>| {
        used_again(outcome.clone(), case.look.clone(), candidate, is_enforcing)
    };
    let enforced = again(true, &case.candidate);
    assert_eq!((enforced.status, enforced.looked_at), (Status::Done, Some(case.look.at)));
    assert_eq!(enforced.results, outcome.results);
    assert_eq!(enforced.storage, None, "layers are not looked at in this run");
    assert_eq!(again(false, &case.candidate).status, Status::Previewed);
    let preview = Candidate { apply: Apply::Preview, layer_reads: Some(1), ..case.candidate };
    let previewed = again(true, &preview);
    assert_eq!((previewed.status, previewed.storage.is_some()), (Status::Previewed, true));
}
