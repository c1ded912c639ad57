//! Tests of the page of a run.

use super::super::tests::{data, elements, follows_its_policy, number_of};
use super::*;
use crate::domain::enforcement::enforcement_switch::DryRunReason;
use crate::domain::enforcement::outcome::{
    Attached, ImageOutcome, ImageResult, Outcome, PolicyChange, ReportedBlocker,
};
use crate::domain::enforcement::policy_set::Apply;
use crate::domain::enforcement::protection_record::Mode;
use crate::domain::enforcement::run::Run;
use crate::domain::lifecycle::document::Action;
use crate::domain::preview::model::ActionTaken;
use crate::domain::text::finding::{Code, Finding};
use crate::domain::text::instant::Instant;
use crate::domain::usage::UnreadableSource;
use crate::domain::usage::source::{SourceStatus, SourceSummary};
use crate::report::run::tests::{protect_only, protection};
use crate::report::run::{Builder, Place};

const MB: u64 = 1_000_000;

fn amount(count: u64, megabytes: u64) -> Amount {
    Amount { image_total_count: count, image_size_in_bytes: megabytes * MB }
}

fn run(dry_run: bool) -> Run {
    let started_at = Instant::parse("2026-11-23T03:00:00Z").unwrap();
    Run {
        policies_file_problem: None,
        run_id: "nightly-7f3a".to_owned(),
        started_at,
        started_by: Some("arn:aws:states:eu-west-1:123456789012:execution:steward:nightly-7f3a".to_owned()),
        dry_run,
        protect_only: false,
        dry_run_reason: dry_run.then_some(DryRunReason::Requested),
        attempt: String::new(),
        policies_file_version: Some("3HL4kqtJvjVBH40N".to_owned()),
        policies_file_hash: Some("0123456789abcdef".to_owned()),
    }
}

fn builder(run: Run) -> Builder {
    Builder::new(run, Instant::parse("2026-11-23T03:12:05Z").unwrap())
}

fn image(number: u64, tags: &[&str], outcome: ImageResult, detail: Option<&str>) -> ImageOutcome {
    ImageOutcome {
        image_digest: format!("sha256:{number:064x}"),
        image_tags: tags.iter().map(ToString::to_string).collect(),
        image_pushed_at: Instant::parse("2026-09-01T10:20:30Z").unwrap(),
        image_size_in_bytes: 52 * MB + number,
        action: ActionTaken::from(if outcome == ImageResult::Archived {
            Action::Transition
        } else {
            Action::Expire
        }),
        applied_rule_priority: 10,
        reason: "Rule 10 expires it: it was pushed 82 days ago, more than the limit of 30 days.".to_owned(),
        outcome,
        detail: detail.map(ToOwned::to_owned),
    }
}

fn outcome(name: &str, policy: &str, apply: Apply, status: Status) -> Outcome {
    Outcome {
        repository_name: name.to_owned(),
        policy: Some(policy.to_owned()),
        apply: Some(apply),
        status,
        images: amount(100, 5000),
        ..Outcome::default()
    }
}

fn held(code: &str, message: &str) -> ReportedBlocker {
    ReportedBlocker { code: code.to_owned(), message: message.to_owned() }
}

/// Every kind of content.
fn full() -> RunReport {
    let mut builder = builder(run(false));
    builder.take(Outcome {
        expiring: amount(31, 1612),
        deleted: amount(30, 1560),
        transitioning: amount(1, 52),
        archived: amount(1, 52),
        protected_by_use: amount(1, 52),
        protected_by_keep: amount(2, 104),
        journal: vec!["journal/2026/11/23/nightly-7f3a/shop/web/0123456789abcdef.jsonl".to_owned()],
        findings: vec![Finding::new(
            Code::RuleMatchesNothing,
            "/rules/2",
            "Rule 30 identifies no image here.",
        )],
        results: vec![
            image(1, &["ci-1", "ci-main"], ImageResult::Deleted, None),
            image(2, &["v1"], ImageResult::InUse, Some("in use since the plan was made: task web")),
            image(3, &[], ImageResult::Kept, None),
            image(4, &["old"], ImageResult::Archived, None),
            image(5, &[], ImageResult::Blocked, Some("it was pulled since the plan was made")),
        ],
        results_not_shown: 27,
        ..outcome("shop/web", "delete-ci", Apply::Delete, Status::Done)
    });
    builder.take(Outcome {
        expiring: amount(90, 4500),
        blockers: vec![
            held("limit-images", "90 would be deleted, and the limit `images` is 50"),
            held(
                "limit-percent",
                "90 of 100 images would be deleted, which is more than the limit `percent` of 50",
            ),
        ],
        results: vec![image(6, &["ci-9"], ImageResult::Planned, None)],
        ..outcome("shop/api", "delete-ci", Apply::Delete, Status::Blocked)
    });
    builder.take(Outcome {
        expiring: amount(4, 200),
        deleted: amount(2, 100),
        failed: amount(2, 100),
        journal: vec!["journal/2026/11/23/nightly-7f3a/shop/jobs/fedcba9876543210.jsonl".to_owned()],
        results: vec![
            image(7, &[], ImageResult::Failed, Some("KmsError: the key is disabled")),
            image(8, &[], ImageResult::Unknown, Some("AWS did not answer")),
        ],
        ..outcome("shop/jobs", "delete-ci", Apply::Delete, Status::Partial)
    });
    builder.take(Outcome {
        drift: vec!["no lifecycle policy is attached".to_owned()],
        attachment: Some(Attached {
            lifecycle_policy: PolicyChange::Attached,
            tags_added: 4,
            mode: Some(Mode::Attach),
            refreshed_at: Instant::parse("2026-11-23T03:10:00Z").ok(),
            ..Attached::default()
        }),
        expiring: amount(9, 450),
        protected_by_use: amount(3, 150),
        ..outcome("base/alpine", "attach-all", Apply::Attach, Status::Done)
    });
    builder.take(Outcome {
        blockers: vec![held("usage-unknown", "what is in use is not known completely: AWS Lambda: denied")],
        expiring: amount(1, 50),
        attachment: Some(Attached {
            lifecycle_policy: PolicyChange::Suspended,
            mode: Some(Mode::Attach),
            refreshed_at: Instant::parse("2026-11-22T03:10:00Z").ok(),
            suspended_at: Instant::parse("2026-11-23T03:10:00Z").ok(),
            suspended_because: Some("what is in use is not known completely: AWS Lambda: denied".to_owned()),
            ..Attached::default()
        }),
        ..outcome("base/jdk", "attach-all", Apply::Attach, Status::Blocked)
    });
    builder.take(outcome("base/slow", "attach-all", Apply::Attach, Status::Unfinished));
    builder.take(outcome("base/quiet", "attach-all", Apply::Attach, Status::Done));
    builder.take(Outcome::failed("broken", "attach-all", "DescribeImages: AWS could not answer".to_owned()));
    for name in ["sandbox/one", "sandbox/two"] {
        builder.take(Outcome {
            policy: None,
            apply: None,
            ..outcome(name, "", Apply::Preview, Status::Unmatched)
        });
    }
    let report = builder.report_mut();
    report.gaps = vec![
        UnreadableSource {
            source: "AWS Lambda".to_owned(),
            repositories: vec![],
            problem: "ListFunctions: denied".to_owned(),
        },
        UnreadableSource {
            source: "s3://bucket/usage/edge.json".to_owned(),
            repositories: vec!["edge/*".to_owned(), "iot/*".to_owned()],
            problem: "it is older than a day".to_owned(),
        },
    ];
    report.unfinished_batches = vec!["runs/nightly-7f3a/batches/0003.json".to_owned()];
    report.unreported_journal =
        vec!["journal/2026/11/23/nightly-7f3a/shop/cut/00ff00ff00ff00ff.jsonl".to_owned()];
    report.repositories_not_shown = 1;
    report.totals.statuses.insert(Status::Unmatched, 5);
    report.totals.repositories += 4;
    builder.finish()
}

/// The content between the stylesheet and the script, a tag at the beginning of each line.
fn content(page: &str) -> String {
    let body = page.split_once("<body>").unwrap().1;
    let body = body.split_once("<script").unwrap().0;
    body.replace("><", ">\n<")
}

/// The words of a piece of markup.
fn words(markup: &str) -> String {
    let mut words = String::new();
    let mut is_tag = false;
    for character in markup.chars() {
        match character {
            '<' => {
                is_tag = true;
                words.push(' ');
            }
            '>' => is_tag = false,
            character if !is_tag => words.push(character),
            _ => {}
        }
    }
    let words = words.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text after `start`, up to `end`.
fn between<'a>(page: &'a str, start: &str, end: &str) -> &'a str {
    let after = page.split_once(start).expect(start).1;
    after.split_once(end).expect(end).0
}

#[test]
fn a_report_with_everything() {
    let page = render(&full());
    if std::env::var_os("RUN_REPORT").is_some() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
        std::fs::write(folder.join("run-report.html"), &page).unwrap();
        std::fs::write(folder.join("run-report-large.html"), render(&large())).unwrap();
    }
    elements(&page);
    insta::assert_snapshot!(content(&page));
}

/// The rows of a table of the data, each as the texts of its cells.
fn rows(page: &str, title: &str) -> Vec<String> {
    let data = data(page);
    let tables = data["tables"].as_array().unwrap();
    let table = tables.iter().find(|table| table["title"] == title).expect(title);
    table["rows"].as_array().unwrap().iter().map(line).collect()
}

/// The texts of the cells of a row.
fn line(row: &serde_json::Value) -> String {
    let cell = |cell: &serde_json::Value| match cell.as_array() {
        Some(parts) => {
            let small = parts.get(2).and_then(|small| small.as_str()).unwrap_or_default();
            format!("{} {small}", parts[0].as_str().unwrap_or_default()).trim().to_owned()
        }
        None => cell.as_str().unwrap_or_default().to_owned(),
    };
    row.as_array().unwrap().iter().map(cell).collect::<Vec<_>>().join(" | ")
}

/// The repositories of the data, by name: the texts of the cells, and the details.
fn repository(page: &str, name: &str) -> (String, String) {
    let data = data(page);
    let rows = data["repositories"]["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row[0][0] == name).expect(name);
    let details = row[2].as_array().unwrap().iter().flat_map(|detail| {
        let lines = detail[1].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned());
        std::iter::once(detail[0].as_str().unwrap().to_owned()).chain(lines)
    });
    (line(&row[0]), details.collect::<Vec<_>>().join("\n"))
}

#[test]
fn what_keeps_ecr_from_what_is_in_use_has_a_table() {
    let report = protection(run(false));
    let page = render(&report);
    let between_runs = render(&protection(protect_only()));
    elements(&page);
    elements(&between_runs);
    insta::assert_snapshot!(rows(&page, "Policies that ECR enforces").join("\n"));
    let (_, details) = repository(&page, &report.protection[0].repository_name);
    assert!(details.contains("Protection from ECR's own engine\nPolicy: "), "{details}");
}

#[test]
fn a_run_that_only_protects_has_a_short_page() {
    let page = render(&protection(protect_only()));
    insta::assert_snapshot!(words(&content(&page)));
}

#[test]
fn a_run_that_failed() {
    let mut builder = builder(Run { policies_file_version: None, ..run(false) });
    builder.report_mut().error =
        Some("policies.yaml: /policies/0: missing-field: `rules` is missing".to_owned());
    builder.report_mut().has_policies_file = false;
    let page = render(&builder.finish());
    elements(&page);
    assert!(!page.contains("Nothing needs attention"));
    assert!(!page.contains("There is no policies file."), "whether there is one nobody has seen");
    insta::assert_snapshot!(words(&content(&page)));
}

#[test]
fn an_empty_registry_without_a_policies_file() {
    let mut builder = builder(Run { policies_file_version: None, ..run(true) });
    builder.report_mut().has_policies_file = false;
    let page = render(&builder.finish());
    elements(&page);
    insta::assert_snapshot!(words(&content(&page)));
}

#[test]
fn nothing_from_outside_becomes_markup() {
    const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror='a'>&";
    let mut report = full();
    let honest = elements(&render(&report));
    report.run.run_id = HOSTILE.to_owned();
    report.run.policies_file_version = Some(HOSTILE.to_owned());
    report.run.started_by = Some(HOSTILE.to_owned());
    report.error = Some(HOSTILE.to_owned());
    report.unmatched = vec![HOSTILE.to_owned(); report.unmatched.len()];
    report.policies = report.policies.into_iter().map(|(name, totals)| (name + HOSTILE, totals)).collect();
    for gap in &mut report.gaps {
        gap.source = HOSTILE.to_owned();
        gap.problem = HOSTILE.to_owned();
        gap.repositories.iter_mut().for_each(|pattern| *pattern = HOSTILE.to_owned());
    }
    for key in report.unfinished_batches.iter_mut().chain(&mut report.unreported_journal) {
        *key = HOSTILE.to_owned();
    }
    for repository in &mut report.protection {
        repository.repository_name = HOSTILE.to_owned();
        repository.policy = Some(HOSTILE.to_owned());
        let because = &mut repository.attached.suspended_because;
        *because = because.take().map(|_| HOSTILE.to_owned());
    }
    for outcome in &mut report.repositories {
        outcome.repository_name = HOSTILE.to_owned();
        outcome.native_policy = outcome.native_policy.take().map(|_| HOSTILE.to_owned());
        if let Some(attached) = &mut outcome.attachment {
            attached.suspended_because = attached.suspended_because.take().map(|_| HOSTILE.to_owned());
        }
        outcome.policy = outcome.policy.take().map(|policy| policy + HOSTILE);
        outcome.error = outcome.error.take().map(|_| HOSTILE.to_owned());
        outcome.blockers.iter_mut().for_each(|held| held.message = HOSTILE.to_owned());
        outcome.drift.iter_mut().chain(&mut outcome.journal).for_each(|line| *line = HOSTILE.to_owned());
        for finding in &mut outcome.findings {
            finding.pointer = HOSTILE.to_owned();
            finding.message = HOSTILE.to_owned();
        }
        for image in &mut outcome.results {
            image.image_digest = format!("sha256:{HOSTILE}");
            image.image_tags.iter_mut().for_each(|tag| *tag = HOSTILE.to_owned());
            image.reason = HOSTILE.to_owned();
            image.detail = image.detail.take().map(|_| HOSTILE.to_owned());
        }
    }
    let page = render(&report);
    let hostile = elements(&page);
    assert!(page.contains("&quot;'&gt;&lt;script&gt;alert(1)&lt;/script&gt;"));
    for name in ["script", "img", "noscript", "table"] {
        assert_eq!(number_of(&hostile, name), number_of(&honest, name), "{name}");
    }
}

#[test]
fn the_page_loads_nothing() {
    let page = render(&full());
    for forbidden in
        ["http://", "https://", "src=", "<link", "@import", "innerHTML", "<base", "fetch(", "import("]
    {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.contains(r#"http-equiv="Content-Security-Policy" content="default-src 'none'; "#));
    assert!(page.contains("<svg class=\"fill expire\" width=\""), "bars are drawn");
    follows_its_policy(&page);
}

#[test]
fn every_number_is_on_the_page() {
    let page = render(&full());
    let lead = words(between(&page, "<p class=\"lead\">", "</p>"));
    assert_eq!(
        lead,
        "32 images, 1.7 GB deleted of 900 images, 45 GB in 14 repositories; 4 images, 202 MB would expire and are in use; 5 \
         repositories need attention."
    );
    let picture = between(&page, "<figure class=\"registry\">", "</figure>");
    let parts: Vec<String> = picture.split("</li>").map(words).filter(|part| !part.is_empty()).collect();
    assert_eq!(
        parts,
        [
            "900 images, 45 GB in 14 repositories Deleted 32 images, 1.7 GB",
            "Expired, and not deleted by this run 10 images, 502 MB",
            "Archived 1 image, 52 MB",
            "Protected (in use) 4 images, 202 MB",
            "Protected (kept) 2 images, 104 MB",
            "Blocked by limits or unknown use 91 images, 4.5 GB",
            "Failed 2 images, 100 MB",
            "Kept: no rule selects them 758 images, 38 GB",
        ]
    );
    assert_eq!(
        rows(&page, "Policies")[1],
        "delete-ci | 3 | 300 | 15 GB | 125 6.3 GB | 32 1.7 GB | 1 52 MB | 2 104 MB | 90 4.5 GB | 2 100 MB | at most $0.15"
    );
    let (row, details) = repository(&page, "shop/web");
    assert_eq!(
        row,
        "shop/web | delete-ci delete | Done | 100 | 5.0 GB | 31 1.6 GB | 30 1.6 GB | 1 52 MB | 0"
    );
    assert!(details.contains("27 more images not shown."), "{details}");
    let (row, details) = repository(&page, "base/alpine");
    assert_eq!(row, "base/alpine | attach-all attach | Done | 100 | 5.0 GB | 9 450 MB | 0 | 3 150 MB | 0");
    assert!(details.contains("attached, 4 tags added\n"), "{details}");
    let text = words(&page);
    for expected in [
        "Repositories 3 done, 1 not finished, 2 blocked, 1 partly done, 1 failed, 5 no policy",
        " GB, at most $4.19 a month",
        " GB, saves at most $0.15 a month",
        "Images newly protected 4 tags",
        "Not as the policies file says 1 repository",
        "1 repository and 27 images are not shown.",
        " 3 more are not listed.",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn what_amounts_consist_of_adds_up_to_them() {
    let page = render(&full());
    let parts = between(&page, "<div class=\"parts\">", "</div>");
    let lists: Vec<String> = parts.split("</section>").map(words).filter(|list| !list.is_empty()).collect();
    assert_eq!(
        lists,
        [
            "Deleted by rule 32 images, 1.7 GB delete-ci: rule 10 1 image, 52 MB others, and what the report does not list 31 images, \
             1.6 GB",
            "Protected by whom 4 images, 202 MB task web 1 image, 52 MB others, and what the report does not list 3 images, 150 MB",
            "Blocked by what 91 images, 4.5 GB More images would be deleted than the limit allows 90 images, 4.5 GB What is in use is \
             not known 1 image, 50 MB",
        ]
    );
}

#[test]
fn the_runs_before_are_on_the_page_with_a_link_to_the_last() {
    let mut last = full();
    last.run.run_id = "nightly-0000".to_owned();
    let mut report = full();
    report.place.region = "eu-west-1".to_owned();
    report.place.bucket = "prod-eu-sources".to_owned();
    let text = serde_json::to_string(&last).unwrap();
    report.earlier_runs = crate::report::run::earlier_runs(&text, &report.run).unwrap();
    assert_eq!(report.earlier_runs.len(), 1);
    let page = render(&report);
    elements(&page);
    let table = words(between(&page, "<table class=\"figures trend\">", "</table>"));
    assert!(table.contains("this one Needs attention 900 45 GB 6.8 GB 1.7 GB 5"), "{table}");
    assert!(page.contains(
        "?region=eu-west-1&amp;prefix=runs/nightly-0000/report.html\" rel=\"noreferrer\">The run before</a>"
    ));
    // Another attempt of the same run does not see itself before it.
    let again =
        crate::report::run::earlier_runs(&serde_json::to_string(&report).unwrap(), &report.run).unwrap();
    assert_eq!(again, report.earlier_runs);
}

#[test]
fn the_title_says_where_the_run_was_what_it_did_and_when() {
    let mut report = full();
    report.place = Place {
        stack_name: "prod-eu".to_owned(),
        registry_id: "123456789012".to_owned(),
        region: "eu-west-1".to_owned(),
        bucket: "prod-eu-sources".to_owned(),
    };
    let page = render(&report);
    let title = "prod-eu · 123456789012 · eu-west-1 · enforced 23 Nov 2026 03:00";
    assert!(
        page.contains(&format!("<title>{title}</title>")) && page.contains(&format!("<h1>{title} ")),
        "{title}"
    );
    assert!(!page.contains("&lt;bucket&gt;"));
    assert!(page.contains("s3://prod-eu-sources/journal/2026/11/23/nightly-7f3a/"));
    report.run.dry_run = true;
    assert!(report.title().ends_with("previewed 23 Nov 2026 03:00"), "{}", report.title());
}

#[test]
fn the_largest_repositories_are_listed_the_largest_first() {
    let mut builder = builder(run(false));
    for number in 0..30_u64 {
        let mut one = outcome(&format!("app-{number:02}"), "all", Apply::Delete, Status::Done);
        one.images.image_size_in_bytes = (number * 7 % 30 + 1) * MB;
        builder.take(one);
    }
    let report = builder.finish();
    let sizes: Vec<u64> = report.largest.iter().map(|one| one.images.image_size_in_bytes / MB).collect();
    assert_eq!(sizes, (21..=30).rev().collect::<Vec<_>>());
    assert!(rows(&render(&report), "Largest repositories")[0].contains("30 MB"));
}

#[test]
fn what_is_nothing_is_left_out() {
    let mut builder = builder(run(false));
    builder.take(outcome("quiet", "all", Apply::Delete, Status::Done));
    let page = render(&builder.finish());
    let facts = words(between(&page, "<h1>", "<noscript>"));
    for absent in ["Failed", "Archived", "kept", "Tags", "Blocked", "in use"] {
        assert!(!facts.contains(absent), "{absent}: {facts}");
    }
    assert!(page.contains("Nothing needs attention."));
    assert!(
        words(&page).contains("1 repository with a policy, where all is as it should be, is only counted.")
    );
    assert!(data(&page)["repositories"]["rows"].as_array().unwrap().is_empty());
}

#[test]
fn what_needs_attention_says_what_to_do() {
    let page = render(&full());
    let list = between(&page, "<h2 id=\"attention\">", "<div class=\"parts\">");
    let text = words(list);
    for expected in [
        "Usage sources could not be read : 2 ListFunctions: denied AWS Lambda, for all repositories; to ignore it: { source: ",
        "it is older than a day s3://bucket/usage/edge.json, for edge/*, iot/*; to ignore it: ",
        "shop/api : 90 would be deleted, and the limit `images` is 50 If this is meant, raise the limit images of the policy in the \
         policies file. If not, correct the rule.",
        "raise the limit percent of the policy in the policies file.",
        "Images could not be deleted : 1 repository",
        "shop/jobs : 2 images, 100 MB: KmsError: the key is disabled",
        "broken : DescribeImages: AWS could not answer",
        "Batches are not finished : 1 batch",
        "journal/2026/11/23/nightly-7f3a/shop/cut/00ff00ff00ff00ff.jsonl",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    // Each cause leads to its repositories.
    let data = data(&page);
    let place = between(list, "data-cause=\"", "\"");
    let first = &data["causes"][place.parse::<usize>().unwrap()][0];
    let row = &data["repositories"]["rows"][usize::try_from(first.as_u64().unwrap()).unwrap()];
    assert_eq!(row[0][0], "broken");
}

#[test]
fn a_cause_is_listed_once_with_its_repositories() {
    let mut builder = builder(run(false));
    for number in 0..1234 {
        builder.take(Outcome::failed(&format!("r{number:04}"), "all", "denied".to_owned()));
    }
    let page = render(&builder.finish());
    let list = words(between(&page, "<h2 id=\"attention\">", "<noscript>"));
    assert_eq!(list.matches("denied").count(), 1, "{list}");
    assert!(
        list.contains(
            "Could not be worked on : 1,234 repositories, failed r0000, r0001, r0002 and 1,231 more: denied"
        ),
        "{list}"
    );
    assert_eq!(data(&page)["causes"][0].as_array().unwrap().len(), 1234);
    assert!(elements(&page.replace(between(&page, "<noscript>", "</noscript>"), "")).len() < 200);
}

#[test]
fn the_journal_is_found_from_the_page() {
    let page = render(&full());
    assert!(
        words(&page)
            .contains("aws s3 cp --recursive 's3://<bucket>/journal/2026/11/23/nightly-7f3a/' journal/")
    );
    let (_, details) = repository(&page, "shop/web");
    assert!(
        details.contains("\njournal/2026/11/23/nightly-7f3a/shop/web/0123456789abcdef.jsonl"),
        "{details}"
    );
    let dry = render(&builder(run(true)).finish());
    assert!(dry.contains("writes no journal") && !dry.contains("aws s3 cp"));
}

#[test]
fn dry_runs_say_what_would_be_deleted() {
    let mut builder = builder(run(true));
    let expiring = amount(12, 600);
    builder.take(Outcome { expiring, ..outcome("app", "all", Apply::Delete, Status::Previewed) });
    let page = words(&content(&render(&builder.finish())));
    assert!(
        page.contains("12 images, 600 MB would be deleted of 100 images, 5.0 GB in 1 repository."),
        "{page}"
    );
    assert!(page.contains("Dry run yes, nothing was changed"));
    assert!(page.contains("Would free at most 600 MB, saves at most $0.06 a month"));
}

#[test]
fn the_parts_of_the_picture_add_up_to_all_images() {
    let totals = Totals {
        images: amount(100, 1000),
        expiring: amount(50, 500),
        blocked: amount(20, 200),
        protected_by_use: amount(5, 50),
        ..Totals::default()
    };
    for totals in [Totals { deleted: amount(10, 100), ..totals.clone() }, totals] {
        let sum = shares(&totals).iter().fold(Amount::default(), |mut sum, (_, _, part)| {
            sum.extend(*part);
            sum
        });
        assert_eq!(sum, totals.images);
    }
    assert!(shares(&Totals::default()).is_empty());
}

/// A report of the maximum size.
fn large() -> RunReport {
    let mut builder = builder(run(false));
    for number in 0..2500_u64 {
        let results = (0..5).map(|image| {
            self::image(number * 5 + image, &["ci-20260901-abcdef0"], ImageResult::Deleted, None)
        });
        builder.take(Outcome {
            expiring: amount(5, 260),
            deleted: amount(5, 260),
            journal: vec![format!(
                "journal/2026/11/23/nightly-7f3a/team-{number:04}/service/0123456789abcdef.jsonl"
            )],
            results: results.collect(),
            ..outcome(&format!("team-{number:04}/service"), "delete-ci", Apply::Delete, Status::Done)
        });
    }
    builder.finish()
}

#[test]
fn the_largest_report_is_a_page_that_browsers_show() {
    let report = large();
    let started = std::time::Instant::now();
    let page = render(&report);
    let data = data(&page);
    let repositories = data["repositories"]["rows"].as_array().unwrap();
    let images = repositories.iter().map(|repository| repository[3].as_array().unwrap().len());
    assert_eq!((repositories.len(), images.sum::<usize>()), (2000, 10_000));
    assert!(page.len() < 3_000_000, "{} bytes", page.len());
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    assert!(words(&page).contains("500 repositories are not shown. All repositories"));
}

#[test]
fn every_usage_source_is_listed_with_when_it_was_read_and_whether_completely() {
    let mut report = full();
    assert!(!render(&report).contains("where it was read"), "nothing where nothing was read");
    let source = |name: &str, status| SourceSummary {
        source: name.to_owned(),
        title: format!("Title of {name}"),
        status,
        read_at: Instant::parse("2026-11-23T01:02:03Z").unwrap(),
        images_in_use: 1234,
        list: None,
        account: None,
        region: None,
    };
    let reported = SourceSummary {
        list: Some("usage/210987654321/us-east-1.json".to_owned()),
        account: Some("210987654321".to_owned()),
        region: Some("us-east-1".to_owned()),
        read_at: Instant::from_micros(report.run.started_at.micros() - 5_400_000_000).unwrap(),
        ..source("ecs", SourceStatus::Complete)
    };
    report.usage_sources = vec![
        reported,
        source("batch", SourceStatus::Complete),
        source("pipes", SourceStatus::Incomplete),
        source("apprunner", SourceStatus::NotInRegion),
    ];
    let page = render(&report);
    let words = words(&page);
    for text in [
        "Title of batch",
        "complete",
        "1,234",
        "Title of pipes",
        "Title of apprunner",
        "not in this Region",
        "usage/210987654321/us-east-1.json",
        "210987654321 us-east-1 complete",
        "1 h",
    ] {
        assert!(words.contains(text), "{text}: {words}");
    }
    assert!(page.contains("<strong>incomplete</strong>"));
    elements(&page);
}
