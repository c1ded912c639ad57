//! What the page, the JSON, the table and the mail of one run say is the same.

use proptest::prelude::*;
use shared::domain::enforcement::outcome::{Amount, Outcome, ReportedBlocker, Status};
use shared::domain::enforcement::policy_set::Apply;
use shared::domain::enforcement::run::Run;
use shared::domain::enforcement::storage::{MonthlyCost, Prices, Storage, StorageBytes};
use shared::domain::image::layers::LayerBytes;
use shared::domain::text::instant::Instant;
use shared::domain::text::quantity::{bytes, count, dollars, grouped};
use shared::report::run::{Builder, RunReport};
use shared::report::{html, table};

/// A repository: images by their result, none of them twice.
fn outcome(dry_run: bool) -> impl Strategy<Value = Outcome> {
    let part = || {
        (0..5000_u64, 0..9_000_000_u64).prop_map(|(images, each)| Amount {
            image_total_count: images,
            image_size_in_bytes: images * each,
        })
    };
    let layers = proptest::option::of((0..=100_u64, any::<bool>()));
    let tag = proptest::option::of(proptest::sample::select(vec!["payments", "data", "web"]));
    (proptest::array::uniform6(part()), 0..3_u8, any::<bool>(), layers, tag).prop_map(
        move |(parts, kind, is_blocked, layers, tag)| {
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
            let images = sum(&[gone, later, used, kept, failed, stays]);
            let expiring = sum(&[gone, later, failed]);
            let storage = layers.map(|(percent, is_upper_bound)| {
                let of = |amount: Amount| LayerBytes {
                    bytes: amount.image_size_in_bytes / 100 * percent,
                    is_upper_bound,
                };
                let bytes = StorageBytes {
                    standard: of(images),
                    expiring: of(expiring),
                    freed: of(deleted),
                    ..StorageBytes::default()
                };
                Storage { bytes, ..Storage::default() }
            });
            Outcome {
                storage,
                cost_tag: tag.map(str::to_owned),
                policy: Some("all".to_owned()),
                apply: Some(apply),
                status: match (is_blocked, dry_run) {
                    (true, _) => Status::Blocked,
                    (_, true) => Status::Previewed,
                    _ => Status::Done,
                },
                blockers: if is_blocked { vec![blocker] } else { Vec::new() },
                images,
                expiring,
                deleted,
                failed,
                protected_by_use: used,
                protected_by_keep: kept,
                ..Outcome::default()
            }
        },
    )
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
            let mut report = builder.finish();
            report.set_costs(Prices { standard: 90.0, archive: 50.0 }, "team");
            report
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

        // Costs are the same, and upper bounds are called so.
        let bounded = |is_upper_bound: bool, text: String| {
            if is_upper_bound { format!("at most {text}") } else { text }
        };
        let size = |layers: LayerBytes| bounded(layers.is_upper_bound, bytes(layers.bytes));
        let money = |cost: MonthlyCost| bounded(cost.is_upper_bound, dollars(cost.usd));
        let stored = totals.storage.total();
        if stored.bytes > 0 {
            let costs = format!("{}, {} a month", size(stored), money(totals.monthly_cost()));
            let freed = if will { totals.storage.expiring } else { totals.storage.freed };
            let saves = MonthlyCost {
                usd: (freed.bytes as f64 / f64::from(1_u32 << 30) * 90.0 * 100.0).round() / 100.0,
                is_upper_bound: freed.is_upper_bound,
            };
            let freed = format!("{}, saves {} a month", size(freed), money(saves));
            for fact in [&costs, &freed] {
                for rendered in [&text, &mail, &table] {
                    prop_assert!(rendered.contains(fact), "{} in {}", fact, rendered);
                }
            }
        }
        for row in &report.costs_by_tag {
            let line = format!("team {}: {}, {} a month", row.name(), size(row.storage.total()), money(row.monthly_cost));
            prop_assert!(mail.contains(&line) && table.contains(&line), "{} in {}", line, mail);
        }
        let by_tag: u64 = report.costs_by_tag.iter().map(|row| row.storage.total().bytes).sum();
        prop_assert!(report.costs_by_tag.is_empty() || by_tag == stored.bytes, "{} of {}", by_tag, stored.bytes);

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
