//! What the page, the JSON, the table and the mail of one run say is the same.

use proptest::prelude::*;
use shared::domain::enforcement::outcome::{Amount, Outcome, ReportedBlocker, Status};
use shared::domain::enforcement::policy_set::Apply;
use shared::domain::enforcement::run::Run;
use shared::domain::text::instant::Instant;
use shared::domain::text::quantity::{bytes, count, grouped};
use shared::report::run::{Builder, RunReport};
use shared::report::{html, table};

/// A repository: images by what becomes of them, none of them twice.
fn outcome(dry_run: bool) -> impl Strategy<Value = Outcome> {
    let part = || {
        (0..5000_u64, 0..9_000_000_u64).prop_map(|(images, each)| Amount {
            image_total_count: images,
            image_size_in_bytes: images * each,
        })
    };
    (proptest::array::uniform6(part()), 0..3_u8, any::<bool>()).prop_map(move |(parts, kind, is_blocked)| {
        let [gone, later, used, kept, failed, stays] = parts;
        let none = Amount::default();
        let apply = [Apply::Delete, Apply::Preview, Apply::Attach][usize::from(kind)];
        let deletes = apply == Apply::Delete && !is_blocked;
        let (deleted, failed) = if deletes && !dry_run { (gone, failed) } else { (none, none) };
        let later = if deletes && dry_run { none } else { later };
        let sum = |parts: &[Amount]| {
            parts.iter().fold(none, |mut sum, part| {
                sum.extend(*part);
                sum
            })
        };
        let blocker = ReportedBlocker { code: "limit-images".to_owned(), message: "too many".to_owned() };
        Outcome {
            policy: Some("all".to_owned()),
            apply: Some(apply),
            status: match (is_blocked, dry_run) {
                (true, _) => Status::Blocked,
                (_, true) => Status::Previewed,
                _ => Status::Done,
            },
            blockers: if is_blocked { vec![blocker] } else { Vec::new() },
            images: sum(&[gone, later, used, kept, failed, stays]),
            expiring: sum(&[gone, later, failed]),
            deleted,
            failed,
            protected_by_use: used,
            protected_by_keep: kept,
            ..Outcome::default()
        }
    })
}

fn report() -> impl Strategy<Value = RunReport> {
    any::<bool>()
        .prop_flat_map(|dry_run| (Just(dry_run), proptest::collection::vec(outcome(dry_run), 1..12)))
        .prop_map(|(dry_run, outcomes)| {
            let started_at = Instant::parse("2026-11-23T03:00:00Z").unwrap();
            let run = Run {
                policies_file_problem: None,
                run_id: "r".to_owned(),
                started_at,
                started_by: None,
                dry_run,
                protect_only: false,
                dry_run_reason: None,
                attempt: String::new(),
                policies_file_version: None,
                policies_file_hash: None,
            };
            let mut builder = Builder::new(run, started_at);
            for (number, outcome) in outcomes.into_iter().enumerate() {
                builder.take(Outcome { repository_name: format!("app-{number}"), ..outcome });
            }
            builder.finish()
        })
}

/// The words of a page.
fn words(page: &str) -> String {
    let (body, _) = page.split_once("<noscript>").unwrap();
    let (_, body) = body.split_once("<body>").unwrap();
    body.split('<').map(|piece| piece.split_once('>').map_or(piece, |(_, text)| text)).collect()
}

/// The number of images of each part of the page's picture.
fn picture(page: &str) -> Vec<(String, u64)> {
    let Some((_, legend)) = page.split_once("<figure class=\"registry\">") else { return Vec::new() };
    let (legend, _) = legend.split_once("</figure>").unwrap();
    legend
        .split("<li>")
        .skip(1)
        .map(|part| {
            let (_, part) = part.split_once("</span>").unwrap();
            let (label, rest) = part.split_once(" <span class=\"muted\">").unwrap();
            let number = rest.split(' ').next().unwrap().replace(',', "").parse().unwrap();
            (label.to_owned(), number)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn page_json_table_and_mail_of_a_run_have_the_same_totals(report in report()) {
        let page = html::run::render(&report);
        let json: RunReport = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        prop_assert_eq!(&json, &report);
        let totals = &json.totals;
        let style = table::Style { width: 500, color: false };
        let table = table::run::render(&report, table::run::View::default(), style);
        let mail = report.message("s3://bucket/report.html");
        let (gone, will) = match report.run.dry_run {
            true => (totals.to_be_deleted, true),
            false => (totals.deleted, false),
        };
        let both = |amount: Amount| format!("{}, {}", count(amount.image_total_count, "image"), bytes(amount.image_size_in_bytes));
        let in_mail = |amount: Amount| format!("{} ({})", count(amount.image_total_count, "image"), bytes(amount.image_size_in_bytes));

        let text = words(&page);
        if gone.is_zero() && !will {
            prop_assert!(text.contains("Nothing was deleted of "), "{}", text);
        } else {
            let expected = format!("{} {}deleted of {}", both(gone), if will { "would be " } else { "" }, both(totals.images));
            prop_assert!(text.contains(&expected), "{} in {}", expected, text);
        }
        let expected = format!(
            "{} of {} {}deleted ({})",
            grouped(gone.image_total_count),
            count(totals.images.image_total_count, "image"),
            if will { "will be " } else { "" },
            bytes(gone.image_size_in_bytes)
        );
        prop_assert!(table.contains(&expected), "{} in {}", expected, table);
        let rows = [
            ("Images", totals.images),
            (if will { "Would be deleted" } else { "Deleted" }, gone),
            ("Protected (in use)", totals.protected_by_use),
        ];
        for (label, amount) in rows {
            prop_assert!(mail.contains(&format!("{label:<26}{}", in_mail(amount))), "{} in {}", label, mail);
        }
        let used = totals.protected_by_use;
        prop_assert!(table.contains(&format!("{} protected (in use)", grouped(used.image_total_count))), "{}", table);

        // The parts of the picture are the totals, and together all images.
        let picture = picture(&page);
        if !picture.is_empty() {
            let of = |name: &str| picture.iter().find(|(label, _)| label == name).map_or(0, |(_, number)| *number);
            prop_assert_eq!(of(if gone.is_zero() || !will { "Deleted" } else { "To be deleted" }), gone.image_total_count);
            prop_assert_eq!(of("Protected (in use)"), used.image_total_count);
            prop_assert_eq!(of("Protected (kept)"), totals.protected_by_keep.image_total_count);
            prop_assert_eq!(of("Blocked by limits or unknown use"), totals.blocked.image_total_count);
            prop_assert_eq!(of("Failed"), totals.failed.image_total_count);
            let sum: u64 = picture.iter().map(|(_, number)| number).sum();
            prop_assert_eq!(sum, totals.images.image_total_count);
        }
        // What is blocked has its reasons.
        let blocked: u64 = report.blocked_by.iter().map(|part| part.images.image_total_count).sum();
        prop_assert_eq!(blocked, totals.blocked.image_total_count);
    }
}
