use super::notices::REGISTRY_LIMIT;
use super::*;
use crate::domain::enforcement::outcome::ReportedBlocker;
use crate::domain::enforcement::protection_record::Mode;
use crate::domain::enforcement::storage::Storage;
use crate::domain::image::layers::LayerBytes;

fn amount(count: u64) -> Amount {
    Amount { image_total_count: count, image_size_in_bytes: count * 1_000_000_000 }
}

fn run() -> Run {
    let started_at = Instant::parse("2026-11-23T03:00:00Z").unwrap();
    Run {
        policies_file_problem: None,
        run_id: "nightly".to_owned(),
        started_at,
        started_by: Some("arn:aws:states:eu-west-1:123456789012:execution:steward:nightly".to_owned()),
        dry_run: false,
        protect_only: false,
        dry_run_reason: None,
        attempt: "a".to_owned(),
        policies_file_version: Some("v7".to_owned()),
        policies_file_hash: Some("0123456789abcdef".to_owned()),
    }
}

fn outcome(name: &str, status: Status) -> Outcome {
    Outcome {
        repository_name: name.to_owned(),
        policy: Some("all".to_owned()),
        status,
        images: amount(100),
        ..Outcome::default()
    }
}

fn report() -> RunReport {
    let mut builder = Builder::new(run(), Instant::parse("2026-11-23T03:00:42Z").unwrap());
    builder.take(Outcome { deleted: amount(30), expiring: amount(30), ..outcome("app/web", Status::Done) });
    let blocker = ReportedBlocker {
        code: "limit-images".to_owned(),
        message: "90 would be deleted, and the limit `images` is 50".to_owned(),
    };
    let held =
        Outcome { blockers: vec![blocker], expiring: amount(90), ..outcome("app/api", Status::Blocked) };
    builder.take(Outcome { protected_by_use: amount(2), drift: vec!["rule 3".to_owned()], ..held });
    builder.take(outcome("quiet", Status::Done));
    builder.take(Outcome::failed("broken", "all", "DescribeImages: AWS could not answer".to_owned()));
    builder.take(Outcome { images: Amount::default(), policy: None, ..outcome("nobody", Status::Unmatched) });
    let gap = UnreadableSource {
        source: "Amazon ECS".to_owned(),
        repositories: vec![],
        problem: "denied".to_owned(),
    };
    builder.report_mut().gaps.push(gap);
    builder.report_mut().ignored.push(IgnoredSource {
        source: "eks/old".to_owned(),
        reason: "no nodes any more".to_owned(),
        until: Some(jiff::civil::date(2027, 1, 1)),
    });
    builder.finish()
}

fn at(time: &str) -> Instant {
    Instant::parse(time).unwrap()
}

fn attached(mode: Mode, refreshed_at: Option<&str>) -> Attached {
    Attached { mode: Some(mode), refreshed_at: refreshed_at.map(at), ..Attached::default() }
}

fn suspended(mode: Mode, refreshed_at: &str, because: &str) -> Attached {
    Attached {
        suspended_at: Some(at("2026-11-21T03:00:09Z")),
        suspended_because: Some(because.to_owned()),
        ..attached(mode, Some(refreshed_at))
    }
}

/// Repositories whose policy ECR enforces, in every state, and two whose own policies are at risk.
pub(in crate::report) fn protection(run: Run) -> RunReport {
    let status = if run.dry_run { Status::Previewed } else { Status::Done };
    let mut builder = Builder::new(run, at("2026-11-23T03:00:42Z"));
    let mut take = |name: &str, status: Status, attached: Attached, more: Outcome| {
        builder.take(Outcome {
            repository_name: name.to_owned(),
            policy: Some("all".to_owned()),
            images: amount(100),
            status,
            attachment: Some(attached),
            ..more
        });
    };
    let fresh = Some("2026-11-23T03:00:20Z");
    let by_ecr = Outcome { expiring: amount(6), expiring_by_ecr: amount(6), ..Outcome::default() };
    take("calm", status, attached(Mode::Attach, fresh), by_ecr.clone());
    let tagged = Attached { tags_added: 3, ..attached(Mode::Provisioned, fresh) };
    take("tagged", status, tagged, Outcome::default());
    let because = "more than `limits` allow would be deleted";
    let lasting = suspended(Mode::Attach, "2026-11-21T03:00:09Z", because);
    take("stopped", status, lasting, by_ecr);
    let because = "policies.yaml does not say `apply: attach` for this repository any more";
    let meant = suspended(Mode::Attach, "2026-11-20T03:00:09Z", because);
    let meant = Attached { suspension_is_intended: true, ..meant };
    let left = "the lifecycle policy that this stack attached is suspended; delete what is left of it";
    let drift = vec![left.to_owned()];
    take("withdrawn", status, meant, Outcome { drift, ..Outcome::default() });
    let gap = ReportedBlocker {
        code: "usage-unknown".to_owned(),
        message: "what is in use is not known completely: Amazon ECS: denied".to_owned(),
    };
    let now = Attached {
        lifecycle_policy: PolicyChange::Suspended,
        suspended_at: Some(at("2026-11-23T03:00:10Z")),
        suspended_because: Some(gap.message.clone()),
        ..attached(Mode::Attach, Some("2026-11-22T03:00:10Z"))
    };
    take("uncertain", Status::Blocked, now, Outcome { blockers: vec![gap], ..Outcome::default() });
    let foreign = ReportedBlocker {
        code: "policy-not-protected".to_owned(),
        message: "the first rule of the attached lifecycle policy is not the protection rule".to_owned(),
    };
    let blockers = vec![foreign];
    take(
        "terraform",
        Status::Blocked,
        attached(Mode::Protect, None),
        Outcome { blockers, ..Outcome::default() },
    );
    let message = "its own lifecycle policy, by which ECR acts, would expire 3 images in use, such as sha256:5a (task web)";
    let native_policy = Some(message.to_owned());
    builder.take(Outcome { native_policy: native_policy.clone(), ..outcome("own", status) });
    builder.take(Outcome { native_policy, policy: None, ..outcome("own-without", Status::Unmatched) });
    builder.finish()
}

pub(in crate::report) fn protect_only() -> Run {
    let dry_run_reason = Some(DryRunReason::ProtectOnly);
    Run { dry_run: true, protect_only: true, dry_run_reason, ..run() }
}

#[test]
fn what_ecr_enforces_says_until_when_it_is_protected_and_what_is_suspended_comes_first() {
    let mut report = protection(run());
    let listed: Vec<(&str, &str)> =
        report.protection.iter().map(|one| (&*one.repository_name, one.state())).collect();
    assert_eq!(
        listed,
        [
            ("stopped", "suspended"),
            ("uncertain", "suspended now"),
            ("terraform", "not protected yet"),
            ("withdrawn", "suspended as wanted"),
            ("calm", "protected"),
            ("tagged", "protected"),
        ]
    );
    let calm = report.protection[4].clone();
    assert_eq!(calm.protected_until, Some(at("2026-11-25T03:00:20Z")));
    assert!(!calm.is_stale(report.ended_at) && calm.is_stale(at("2026-11-25T03:00:21Z")));
    report.set_protection_hours(24);
    assert_eq!(report.protection[4].protected_until, Some(at("2026-11-24T03:00:20Z")));
    let json = serde_json::to_value(&report).unwrap();
    let first = &json["protection"][0];
    assert_eq!(json["protectionHours"], 24);
    assert_eq!(first["mode"], "attach");
    assert_eq!(first["suspendedAt"], "2026-11-21T03:00:09Z");
    assert_eq!(first["protectedUntil"], "2026-11-22T03:00:09Z");
    assert_eq!(first["expiringByEcr"]["imageTotalCount"], 6);
    assert_eq!(serde_json::from_value::<RunReport>(json).unwrap(), report);
    // Where all is as it should be, that line is all there is.
    let names: Vec<&str> = report.repositories.iter().map(|one| &*one.repository_name).collect();
    assert!(!names.contains(&"calm"), "{names:?}");
}

#[test]
fn a_report_of_an_earlier_version_is_read() {
    let report = report();
    let mut earlier = serde_json::to_string(&report).unwrap();
    for (name, before) in [
        ("\"formatVersion\":2,", ""),
        ("\"protectedByUse\"", "\"heldByUse\""),
        ("\"protectedByKeep\"", "\"heldByKeep\""),
        ("\"blocked\"", "\"heldByObstacles\""),
        ("\"blockers\"", "\"obstacles\""),
        ("\"hasPoliciesFile\"", "\"hasBook\""),
        ("\"policiesFileHash\"", "\"bookHash\""),
        ("\"policiesFileVersion\"", "\"bookVersion\""),
        ("\"unreportedJournal\"", "\"untoldJournal\""),
        ("\"BLOCKED\"", "\"HELD\""),
    ] {
        assert!(earlier.contains(name), "{name}: {earlier}");
        earlier = earlier.replace(name, before);
    }
    let read: RunReport = serde_json::from_str(&earlier).unwrap();
    assert_eq!(read, RunReport { format_version: 1, ..report });
}

#[test]
fn a_policy_that_is_suspended_needs_attention_unless_that_is_wanted() {
    let report = protection(run());
    let listed: Vec<(&str, &str)> =
        report.concerns().into_iter().map(|(name, concern)| (name, concern.kind().code)).collect();
    assert_eq!(
        listed,
        [
            ("terraform", "policy-not-protected"),
            ("own", "native-policy"),
            ("own-without", "native-policy"),
            // What suspended it is said once.
            ("uncertain", "usage-unknown"),
            ("stopped", "suspended"),
        ]
    );
    assert_eq!(report.status, RunStatus::Attention);
    assert_eq!(report.totals.needing_attention, 5);
    assert_eq!(report.totals.suspended_policies, 3);
    assert_eq!(report.totals.expiring_by_ecr, amount(6), "what is suspended takes nothing");
    assert_eq!(report.unmatched, ["own-without"]);
    let withdrawn = report.repositories.iter().find(|one| one.repository_name == "withdrawn").unwrap();
    assert!(!withdrawn.needs_attention() && withdrawn.drift.len() == 1);
}

#[test]
fn a_policy_that_is_suspended_as_it_is_wanted_is_no_alarm() {
    let mut builder = Builder::new(run(), at("2026-11-23T03:00:42Z"));
    let meant =
        Attached { suspension_is_intended: true, ..suspended(Mode::Attach, "2026-11-20T03:00:09Z", "x") };
    builder.take(Outcome { attachment: Some(meant), ..outcome("app", Status::Done) });
    let report = builder.finish();
    assert_eq!(report.status, RunStatus::Succeeded);
    assert_eq!(report.repositories.len(), 1);
}

#[test]
fn the_notice_says_what_keeps_ecr_from_images_in_use() {
    let report = protection(run());
    let between = protection(protect_only());
    insta::assert_snapshot!(format!(
        "{}\n\n{}\n\n=====\n\n{}\n\n{}",
        report.headline(),
        report.message("s3://b/r"),
        between.headline(),
        between.message("s3://b/r")
    ));
    assert!(between.policies["all"].repositories > 0);
    assert!(between.repositories.iter().all(|one| one.results.is_empty()));
}

#[test]
fn the_subject_of_a_mail_is_no_longer_than_mail_allows_and_says_why_nothing_is_enforced() {
    for (reason, text) in [
        (DryRunReason::EnforceOff, "(Enforce is off)"),
        (DryRunReason::NotPreviewed, "(policies.yaml is new)"),
        (DryRunReason::NoPoliciesFile, "(there is no policies.yaml)"),
        (DryRunReason::ProtectOnly, "protect-only run"),
    ] {
        let protect_only = reason == DryRunReason::ProtectOnly;
        let report = protection(Run { dry_run: true, protect_only, dry_run_reason: Some(reason), ..run() });
        let headline = report.headline();
        assert!(headline.contains(text) && headline.len() <= 100, "{headline}");
    }
}

#[test]
fn what_needs_attention_is_first_and_what_is_quiet_is_only_counted() {
    let report = report();
    let names: Vec<&str> =
        report.repositories.iter().map(|outcome| outcome.repository_name.as_str()).collect();
    assert_eq!(names, ["app/api", "broken"]);
    assert_eq!(report.totals.repositories, 5);
    assert_eq!(report.unmatched, ["nobody"]);
    assert_eq!(report.status, RunStatus::Attention);
    assert_eq!(report.policies["all"].repositories, 4);
    assert_eq!(report.totals.blocked, amount(90));
}

#[test]
fn the_notice_has_a_few_lines() {
    let report = report();
    insta::assert_snapshot!(format!(
        "{}\n\n{}",
        report.headline(),
        report.message("s3://bucket/report.html")
    ));
    let failed = RunReport { error: Some("policies.yaml: /: syntax: no".to_owned()), ..report };
    let failed = RunReport { status: RunStatus::Failed, ..failed };
    assert_eq!(failed.headline(), "ECR: the lifecycle run failed");
    assert!(failed.message("s3://b/r").contains("It failed: policies.yaml: /: syntax: no"));
}

#[test]
fn an_account_that_may_pull_and_does_not_report_is_in_the_first_lines_with_its_repositories() {
    let mut builder = Builder::new(run(), Instant::parse("2026-11-23T03:00:42Z").unwrap());
    for number in 0..30 {
        let name = format!("app/{number}");
        let gap = UnreadableSource {
            source: "account/210987654321".to_owned(),
            repositories: vec![name.clone()],
            problem: "it may pull, and no list reports what it uses".to_owned(),
        };
        builder.take(Outcome { unread_pullers: vec![gap], ..outcome(&name, Status::Blocked) });
    }
    let report = builder.finish();
    assert_eq!((report.gaps.len(), report.gaps[0].repositories.len()), (1, 10));
    let first = &report.notices[0];
    assert!(first.starts_with("It is not known what uses images of app/0, app/1, "), "{first}");
    let entry = "`{ source: account/210987654321, reason: \"…\", until: 2027-02-21 }`";
    assert!(first.contains(entry), "{first}");
    assert_eq!(report.status, RunStatus::Attention);
}

#[test]
fn why_nothing_was_deleted_is_reported_before_anything_else() {
    let reason = Some(DryRunReason::NotPreviewed);
    let run = Run { dry_run: true, dry_run_reason: reason, ..run() };
    let mut builder = Builder::new(run, Instant::parse("2026-11-23T03:00:42Z").unwrap());
    let blocker = ReportedBlocker {
        code: REGISTRY_LIMIT.to_owned(),
        message: "5,000 images went today, and the limit `images` is 5,000".to_owned(),
    };
    builder.take(Outcome { blockers: vec![blocker], expiring: amount(3), ..outcome("app", Status::Blocked) });
    let report = builder.finish();
    assert_eq!(report.notices.len(), 2);
    assert!(report.notices[0].contains("approve: \"0123456789abcdef\""), "{:?}", report.notices);
    assert_eq!(
        report.notices[1],
        "A limit of the registry blocks 3 images in 1 repository. In app: 5,000 images went today, and the limit \
         `images` is 5,000."
    );
    let message = report.message("s3://b/r");
    assert!(!message.contains("nothing was changed"), "it may have protected: {message}");
    let at = |part: &str| message.find(part).unwrap();
    assert!(at("Nothing was deleted") < at("Repositories"));
}

#[test]
fn numbers_are_metrics() {
    let line: serde_json::Value = serde_json::from_str(&metrics(&report(), "steward")).unwrap();
    let names: Vec<&str> = line["_aws"]["CloudWatchMetrics"][0]["Metrics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|metric| metric["Name"].as_str().unwrap())
        .collect();
    assert!(names.iter().all(|name| line[*name].is_u64()), "{line}");
    assert_eq!(line["ImagesDeleted"], 30);
    assert_eq!(line["RepositoriesNeedingAttention"], 2);
    assert_eq!(line["RunSeconds"], 42);
    let line: serde_json::Value = serde_json::from_str(&metrics(&protection(run()), "steward")).unwrap();
    assert_eq!(line["ProtectedRepositories"], 6);
    assert_eq!(line["SuspendedPolicies"], 3);
    assert_eq!(line["NativePoliciesAtRisk"], 2);
    assert_eq!(line["RepositoriesNeedingAttention"], 5);
    assert_eq!(line["StackName"], "steward");
}

#[test]
fn a_run_that_only_protects_is_no_run_over_the_registry_and_is_reported_when_something_needs_attention() {
    let run =
        Run { dry_run: true, protect_only: true, dry_run_reason: Some(DryRunReason::ProtectOnly), ..run() };
    let end = Instant::parse("2026-11-23T03:00:42Z").unwrap();
    let mut builder = Builder::new(run.clone(), end);
    builder.take(outcome("app", Status::Done));
    let quiet = builder.finish();
    let completed = |report: &RunReport| {
        let line: serde_json::Value = serde_json::from_str(&metrics(report, "steward")).unwrap();
        line["RunsCompleted"].as_u64()
    };
    assert_eq!(completed(&quiet), Some(0));
    assert!(!quiet.is_worth_a_message());
    assert_eq!(quiet.headline(), "ECR: protect-only run, 0 tags added");
    let over_registry = Run { protect_only: false, dry_run: false, dry_run_reason: None, ..run.clone() };
    let whole = Builder::new(over_registry, end).finish();
    assert_eq!(completed(&whole), Some(1));
    assert!(whole.is_worth_a_message());
    let mut builder = Builder::new(run, end);
    builder.take(outcome("app", Status::Blocked));
    let held = builder.finish();
    assert!(held.is_worth_a_message());
    assert!(held.headline().ends_with("and something needs attention"), "{}", held.headline());
}

#[test]
fn figures_without_a_look_at_layers_are_called_upper_bounds() {
    let gigabytes = |number: u64| Amount { image_total_count: 1, image_size_in_bytes: number << 30 };
    let mut builder = Builder::new(Run { dry_run: true, ..run() }, run().started_at);
    builder.take(Outcome {
        images: gigabytes(250),
        expiring: gigabytes(50),
        ..outcome("app/web", Status::Previewed)
    });
    let report = builder.finish();
    let facts = cost_facts(&report);
    assert_eq!(facts[0], ("Storage", "at most 268 GB, at most $25.00 a month".to_owned()));
    assert_eq!(facts[1], ("Would free", "at most 54 GB, saves at most $5.00 a month".to_owned()));
    assert!(facts[2].1.starts_with("in 1 repository layers were not looked at"), "{facts:?}");
    assert!(report.totals.cost_is_upper_bound && report.totals.saving_is_upper_bound);
    assert!(report.message("s3://b/r").contains("at most $25.00 a month"));
}

fn stored(name: &str, unique: u64, freed: u64, tag: Option<&str>) -> Outcome {
    let exactly = |gigabytes: u64| LayerBytes { bytes: gigabytes << 30, is_upper_bound: false };
    let bytes = StorageBytes {
        standard: exactly(unique),
        expiring: exactly(freed),
        freed: exactly(freed),
        ..StorageBytes::default()
    };
    let storage = Some(Storage { bytes, ..Storage::default() });
    Outcome { storage, cost_tag: tag.map(str::to_owned), deleted: amount(1), ..outcome(name, Status::Done) }
}

#[test]
fn costs_by_tag_add_up_to_the_total() {
    let mut builder = Builder::new(run(), run().started_at);
    builder.take(stored("app/web", 30, 10, Some("payments")));
    builder.take(stored("app/api", 20, 0, Some("payments")));
    builder.take(stored("app/etl", 40, 0, Some("data")));
    builder.take(stored("app/old", 10, 5, None));
    let mut report = builder.finish();
    report.set_costs(Prices { standard: 0.2, archive: 0.1 }, "team");
    let rows: Vec<(&str, u64, f64)> =
        report.costs_by_tag.iter().map(|row| (row.name(), row.repositories, row.monthly_cost.usd)).collect();
    assert_eq!(rows, [("payments", 2, 10.0), ("data", 1, 8.0), ("without the tag", 1, 2.0)]);
    assert!((report.totals.estimated_monthly_cost - 20.0).abs() < 1e-9);
    assert!((report.totals.estimated_monthly_saving - 3.0).abs() < 1e-9);
    assert!(!report.totals.cost_is_upper_bound, "all layers are known");
    let mail = report.message("s3://b/r");
    assert!(mail.contains("107 GB, $20.00 a month") && mail.contains("16 GB, saves $3.00 a month"), "{mail}");
    assert!(mail.contains("team payments: 54 GB, $10.00 a month, in 2 repositories"), "{mail}");
    assert!(!mail.contains("at most"), "{mail}");
}

#[test]
fn a_cost_tag_that_cannot_be_read_is_in_the_mail() {
    let mut builder = Builder::new(run(), run().started_at);
    builder.take(stored("app/web", 30, 10, None));
    builder.report_mut().unread_cost_tags = Some("GetResources: denied".to_owned());
    let mut report = builder.finish();
    report.set_costs(Prices::default(), "team");
    assert_eq!(report.status, RunStatus::Succeeded, "nothing rests on it");
    let mail = report.message("s3://b/r");
    assert!(
        mail.contains("What repositories cost by their tag team is not known: GetResources: denied"),
        "{mail}"
    );
}

#[test]
fn a_report_holds_no_more_than_it_shows() {
    let mut builder = Builder::new(run(), run().started_at);
    for number in 0..(REPOSITORIES + 50) {
        let name = format!("r{number:05}");
        builder.take(Outcome { drift: vec!["x".to_owned()], ..outcome(&name, Status::Done) });
    }
    builder.take(outcome("late", Status::Failed));
    let report = builder.finish();
    assert_eq!(report.repositories.len(), REPOSITORIES);
    assert_eq!(report.repositories[0].repository_name, "late");
    assert_eq!(report.repositories_not_shown, 51);
    assert_eq!(report.totals.repositories as usize, REPOSITORIES + 51);
}

#[test]
fn only_what_a_report_shows_is_in_memory() {
    let all = 3 * REPOSITORIES;
    let mut builder = Builder::new(run(), run().started_at);
    for number in 0..all {
        let attached = Attached { mode: Some(Mode::Attach), ..Attached::default() };
        builder.take(Outcome {
            expiring: amount(number as u64),
            attachment: Some(attached),
            ..outcome(&format!("fleet/{number:05}"), Status::Blocked)
        });
        let report = builder.report_mut();
        assert!(report.repositories.len() < 2 * REPOSITORIES && report.protection.len() < 2 * REPOSITORIES);
    }
    let report = builder.finish();
    assert_eq!(report.totals.needing_attention, all as u64);
    assert_eq!(
        (report.repositories.len(), report.repositories_not_shown),
        (REPOSITORIES, 2 * REPOSITORIES as u64)
    );
    assert_eq!(
        (report.protection.len(), report.protection_not_shown),
        (REPOSITORIES, 2 * REPOSITORIES as u64)
    );
    let expiring: Vec<u64> =
        report.repositories.iter().map(|outcome| outcome.expiring.image_total_count).collect();
    let most: Vec<u64> = (0..all as u64).rev().take(REPOSITORIES).collect();
    assert_eq!(expiring, most, "those from which the most expires come first");
    assert_eq!(report.protection[0].repository_name, "fleet/00000");
}
