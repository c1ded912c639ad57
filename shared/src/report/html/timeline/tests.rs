//! Tests of the chart.

use super::*;
use crate::domain::image::listing::Listing;
use crate::domain::lifecycle::evaluate::Passes;
use crate::domain::preview::{Question, preview_all};
use crate::domain::usage::Usage;

const NOW: &str = "2026-11-23T00:00:00Z";

fn at(text: &str) -> Instant {
    Instant::parse(text).unwrap()
}

fn report(pushes: &[String], now: &str) -> PreviewReport {
    let images: Vec<serde_json::Value> = pushes
        .iter()
        .zip(0..)
        .map(|(pushed, number)| serde_json::json!({"imageDigest": format!("sha256:{number:064x}"), "imagePushedAt": pushed}))
        .collect();
    let question = Question { policy: None, usage: &Usage::default(), now: at(now), passes: Passes::One };
    let listing = Listing::parse(&serde_json::json!({ "imageDetails": images }).to_string()).unwrap();
    preview_all(question, &listing).remove(0)
}

fn timeline(pushes: &[&str]) -> Timeline {
    let pushes: Vec<String> = pushes.iter().map(|&push| push.to_owned()).collect();
    Timeline::of(&report(&pushes, NOW)).unwrap()
}

#[test]
fn every_image_is_in_a_bar_whatever_the_range() {
    let start = at("2024-02-28T23:59:59.999999Z");
    for (hours, expected) in [
        (0, Step::Hours(1)),
        (50, Step::Hours(1)),
        (150, Step::Hours(3)),
        (330, Step::Hours(6)),
        (50 * 24, Step::Days(1)),
        (100 * 24, Step::Days(2)),
        (365 * 24, Step::Weeks(1)),
        (800 * 24, Step::Weeks(2)),
        (1500 * 24, Step::Months(1)),
        (10 * 366 * 24, Step::Months(3)),
        (50 * 366 * 24, Step::Years(1)),
        (7900 * 365 * 24, Step::Years(500)),
    ] {
        let pushes: Vec<String> = (0..97)
            .map(|part| {
                Instant::from_micros(start.micros() + hours * MICROS_PER_HOUR / 96 * part)
                    .unwrap()
                    .to_string()
            })
            .collect();
        let timeline = Timeline::of(&report(&pushes, "2024-02-28T23:59:59.999999Z")).unwrap();
        assert_eq!(timeline.step, expected, "{hours} hours");
        assert_eq!(timeline.bins.iter().map(|bin| bin.total()).sum::<u64>(), 97, "{hours} hours");
        let bins = i64::try_from(timeline.bins.len()).unwrap();
        assert!((FEWEST_BINS..=MOST_BINS).contains(&bins), "{hours} hours: {bins} bins");
    }
}

#[test]
fn the_ends_of_the_calendar_fit() {
    let timeline = timeline(&["-009999-01-03T00:00:00Z", "9999-12-30T00:00:00Z"]);
    assert_eq!(timeline.bins.iter().map(|bin| bin.total()).sum::<u64>(), 2);
    assert!(timeline.bins.len() <= 60);
    for end in ["-009999-01-03T00:00:00Z", "9999-12-30T00:00:00Z"] {
        chart(&report(&[end.to_owned()], NOW), 1);
    }
}

#[test]
fn images_of_one_moment_are_one_bar_in_the_middle() {
    let timeline = timeline(&["2020-05-01T10:20:00Z", "2020-05-01T10:20:00Z"]);
    assert_eq!(timeline.bins.len(), 15);
    assert_eq!(timeline.bins[7].stay, 2);
    assert_eq!(timeline.span(7), "2020-05-01 10:00 to 11:00");
    assert_eq!(timeline.now, None);
    assert_eq!(
        timeline.description(),
        "2 images, pushed from 2020-05-01 10:00 to 11:00 to 2020-05-01 10:00 to 11:00, in 1 bar. Most, 2020-05-01 \
         10:00 to 11:00: 2 images (2 stay)."
    );
}

#[test]
fn without_images_there_is_no_chart() {
    assert!(Timeline::of(&report(&[], NOW)).is_none());
    assert!(chart(&report(&[], NOW), 1).into_string().is_empty());
}

#[test]
fn bars_count_what_becomes_of_their_images() {
    let mut report = report(&["2026-11-01T00:00:00Z".to_owned(), "2026-11-22T00:00:00Z".to_owned()], NOW);
    let json = serde_json::json!({
        "imageDigest": "sha256:1", "imageTags": [], "imagePushedAt": "2026-11-01T23:00:00Z", "imageSizeInBytes": 1,
        "action": {"type": "EXPIRE"}, "appliedRulePriority": 1, "storageClass": "STANDARD", "reason": ""
    });
    report.preview_results.push(serde_json::from_value(json.clone()).unwrap());
    let mut archived = json;
    archived["action"] = serde_json::json!({"type": "TRANSITION", "targetStorageClass": "ARCHIVE"});
    report.preview_results.push(serde_json::from_value(archived).unwrap());
    let timeline = Timeline::of(&report).unwrap();
    assert_eq!(timeline.step, Step::Days(1));
    assert_eq!(timeline.bins[0], Bin { expire: 1, archive: 1, stay: 1 });
    assert_eq!(words(timeline.bins[0]), "3 images (1 expire, 1 archived, 1 stay)");
    assert_eq!(timeline.bins[21], Bin { stay: 1, ..Bin::default() });
    assert_eq!(timeline.now, Some(22), "the evaluation is near, so it is in the chart");
    let svg = chart(&report, 1).into_string();
    assert!(svg.contains("<title>2026-11-01: 3 images (1 expire, 1 archived, 1 stay)</title>"), "{svg}");
}

#[test]
fn the_evaluation_is_in_the_chart_only_where_that_costs_little_room() {
    let (from, to) = (at("2026-01-01T00:00:00Z"), at("2026-01-09T00:00:00Z"));
    for (now, expected) in [
        ("2026-01-05T00:00:00Z", (from, to)),
        ("2026-01-11T00:00:00Z", (from, at("2026-01-11T00:00:00Z"))),
        ("2026-01-11T00:00:01Z", (from, to)),
        ("2025-12-30T00:00:00Z", (at("2025-12-30T00:00:00Z"), to)),
        ("2020-01-01T00:00:00Z", (from, to)),
    ] {
        assert_eq!(with_now(from, to, at(now)), expected, "{now}");
    }
}

#[test]
fn bins_begin_where_people_expect_it() {
    for (step, time, label, span) in [
        (Step::Hours(3), "2026-03-01T23:59:59Z", "03-01 21:00", "2026-03-01 21:00 to 24:00"),
        (Step::Days(1), "1969-12-31T23:59:59Z", "1969-12-31", "1969-12-31"),
        (Step::Days(2), "1970-01-02T12:00:00Z", "1970-01-01", "1970-01-01 to 1970-01-02"),
        (Step::Weeks(1), "2026-11-22T23:59:59Z", "2026-11-16", "2026-11-16 to 2026-11-22"),
        (Step::Weeks(1), "2026-11-23T00:00:00Z", "2026-11-23", "2026-11-23 to 2026-11-29"),
        (Step::Months(1), "2024-02-29T12:00:00Z", "2024-02", "2024-02"),
        (Step::Months(3), "2026-12-31T23:59:59Z", "2026-10", "2026-10 to 2026-12"),
        (Step::Years(1), "2026-12-31T23:59:59Z", "2026", "2026"),
        (Step::Years(5), "2026-12-31T23:59:59Z", "2025", "2025 to 2029"),
    ] {
        let bin = step.bin_of(at(time));
        assert_eq!(step.label(bin), label, "{time}");
        assert_eq!(step.span(bin), span, "{time}");
    }
}

#[test]
fn lines_are_at_round_numbers() {
    for (highest, expected) in
        [(1, 1), (5, 1), (6, 2), (11, 5), (32, 10), (1000, 200), (1001, 500), (5_000_001, 2_000_000)]
    {
        assert_eq!(spacing(highest), expected, "{highest}");
    }
}

#[test]
fn bars_are_inside_of_the_chart() {
    let pushes: Vec<String> = (1..=28).map(|day| format!("2026-10-{day:02}T00:00:00Z")).collect();
    let svg = chart(&report(&pushes, NOW), 1).into_string();
    let mut bars = 0;
    for rect in svg.split("<rect class=\"stay\" ").skip(1) {
        let value = |name: &str| {
            let (_, after) = rect.split_once(&format!("{name}=\"")).unwrap();
            after.split(['"', '%']).next().unwrap().parse::<f64>().unwrap()
        };
        assert!(value("x") + value("width") <= 100.0 && value("width") > 0.5, "{rect}");
        let (y, height) = (value(" y"), value(" height"));
        assert!(y >= pixels(ABOVE) && height >= LOWEST, "{rect}");
        assert!((y + height - pixels(ABOVE + HEIGHT)).abs() < 0.02, "{rect}");
        bars += 1;
    }
    assert_eq!(bars, 28);
}
