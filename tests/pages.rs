//! The pages in Debian's Chromium: opened, filtered, sorted, printed, on a phone, in the dark, without scripts, and looked through by
//! axe-core. This takes the feature `npm`, for what drives the browser.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use local::tools;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::domain::enforcement::outcome::{
    Amount, ImageOutcome, ImageResult, Outcome, ReportedBlocker, Status,
};
use shared::domain::enforcement::policy_set::Apply;
use shared::domain::enforcement::run::Run;
use shared::domain::image::listing::Listing;
use shared::domain::lifecycle::document::Action;
use shared::domain::lifecycle::{Passes, PolicySource};
use shared::domain::preview::model::{ActionTaken, PreviewReport};
use shared::domain::preview::{Question, preview_all};
use shared::domain::text::instant::Instant;
use shared::domain::usage::Usage;
use shared::report::html;
use shared::report::run::{Builder, RunReport};
use tests::binaries::workspace;

const NOW: &str = "2026-11-23T00:00:00Z";
/// All nodes of a page, texts among them.
const MOST_NODES: u64 = 2000;
/// Maximum size of a page in bytes for each image, where there are many.
const MOST_BYTES: u64 = 160;

/// What was seen of a page.
#[derive(Debug, Deserialize)]
struct Seen {
    file: String,
    messages: Vec<String>,
    requests: Vec<String>,
    violations: Vec<String>,
    nodes: u64,
    #[serde(rename = "filteredNodes", default)]
    filtered_nodes: u64,
    images: String,
    #[serde(default)]
    found: String,
    #[serde(default)]
    tags: Vec<String>,
    /// What the page's legend says of images: the key of the filter and the number.
    #[serde(default)]
    legend: Vec<(String, String)>,
    sheets: u64,
    /// Labels of the chart that are cut off, or lie over another one, on a screen or on a phone.
    crowded: Vec<String>,
    phone: i64,
    /// Tables that a phone shows a part of.
    cut: Vec<String>,
    /// By how much the picture differs from the one of the documentation, between 0 and 1; `None` if there is none.
    difference: Option<f64>,
    without: usize,
    #[serde(flatten)]
    times: Times,
    bare: Times,
}

/// Milliseconds.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Times {
    open: f64,
    sort: f64,
    first_key: f64,
    filter: f64,
}

/// Images of repositories that are all alike: builds, releases, pull requests, untagged ones, and one `latest` each; pushed in
/// this number of seconds.
fn listing(images: u64, repositories: u64, seconds: u64) -> Listing {
    let pushed = Instant::parse(NOW).unwrap().micros() / 1_000_000;
    let mut text = "{\"imageDetails\":[".to_owned();
    for number in 0..images {
        let repository = number % repositories;
        let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let tags = match random >> 61 {
            _ if number < repositories => r#""latest""#.to_owned(),
            0..=3 => format!(r#""ci-{number}""#),
            4 => format!(r#""v1.{}.{number}""#, number % 90),
            5 => format!(r#""pr-{number}","build-{number}""#),
            _ => String::new(),
        };
        let comma = if number > 0 { "," } else { "" };
        write!(
            text,
            r#"{comma}{{"repositoryName":"team-{}/service-{repository:04}","registryId":"123456789012","imageDigest":"sha256:{:064x}","imageTags":[{tags}],"imageSizeInBytes":{},"imagePushedAt":{}}}"#,
            repository % 40,
            (u128::from(random) << 64) | u128::from(number),
            random % 400_000_000 + 1_000_000,
            pushed - i64::try_from(random % seconds).unwrap(),
        )
        .unwrap();
    }
    text.push_str("]}");
    Listing::parse(&text).unwrap()
}

/// Seconds in which most images of these pages were pushed: two and a half years.
const YEARS: u64 = 77_000_000;

fn previews(images: u64, repositories: u64, seconds: u64) -> Vec<PreviewReport> {
    let policy = std::fs::read_to_string(workspace().join("tests/fixtures/storefront/policy.yaml")).unwrap();
    let policy = PolicySource::parse(&policy).unwrap();
    let now = Instant::parse(NOW).unwrap();
    let question = Question { policy: policy.policy(), usage: &Usage::default(), now, passes: Passes::One };
    preview_all(question, &listing(images, repositories, seconds))
}

/// A run over this number of repositories, some of which need attention, with ten images each.
fn run(repositories: u64) -> RunReport {
    let started_at = Instant::parse("2026-11-23T03:00:00Z").unwrap();
    let run = Run {
        policies_file_problem: None,
        run_id: "nightly-7f3a".to_owned(),
        started_at,
        started_by: Some("arn:aws:states:eu-west-1:123456789012:execution:steward:nightly-7f3a".to_owned()),
        dry_run: false,
        protect_only: false,
        dry_run_reason: None,
        attempt: String::new(),
        policies_file_version: Some("3HL4kqtJvjVBH40N".to_owned()),
        policies_file_hash: Some("0123456789abcdef".to_owned()),
    };
    let mut builder = Builder::new(run, started_at.plus_days(0).unwrap());
    for number in 0..repositories {
        let image = |place: u64| {
            let (outcome, reason) = match place {
                0 => (
                    ImageResult::InUse,
                    format!(
                        "Rule 2 would expire it, but it is in use: app:v1 by arn:aws:ecs:eu-west-1:123456789012:service/prod/web-{}.",
                        number % 12
                    ),
                ),
                _ => (
                    ImageResult::Deleted,
                    format!(
                        "Rank {} by age; rule 2 keeps the 40 youngest images, so it expires.",
                        41 + place
                    ),
                ),
            };
            ImageOutcome {
                image_digest: format!("sha256:{:064x}", number * 100 + place),
                image_tags: vec![if place == 0 {
                    "latest".to_owned()
                } else {
                    format!("ci-{}", number * 100 + place)
                }],
                image_pushed_at: started_at,
                image_size_in_bytes: 50_000_000 + place,
                action: ActionTaken::from(Action::Expire),
                applied_rule_priority: 2,
                reason,
                outcome,
                detail: None,
            }
        };
        let results: Vec<ImageOutcome> = (0..10).map(image).collect();
        let amount =
            |images: u64| Amount { image_total_count: images, image_size_in_bytes: images * 50_000_000 };
        let is_blocked = number % 10 == 9;
        let blocker = ReportedBlocker {
            code: "usage-unknown".to_owned(),
            message: "what is in use is not known completely: Amazon ECS: denied".to_owned(),
        };
        builder.take(Outcome {
            repository_name: format!("team-{}/service-{number:04}", number % 40),
            policy: Some(format!("policy-{}", number % 4)),
            apply: Some(Apply::Delete),
            status: if is_blocked { Status::Blocked } else { Status::Done },
            blockers: if is_blocked { vec![blocker] } else { Vec::new() },
            images: amount(60),
            counted_images: 60,
            expiring: amount(9),
            deleted: if is_blocked { Amount::default() } else { amount(9) },
            protected_by_use: amount(1),
            results: if is_blocked { Vec::new() } else { results },
            ..Outcome::default()
        });
    }
    let report = builder.report_mut();
    report.place.stack_name = "prod-eu".to_owned();
    report.place.registry_id = "123456789012".to_owned();
    report.place.region = "eu-west-1".to_owned();
    report.place.bucket = "prod-eu-sources".to_owned();
    let mut report = builder.finish();
    let before = serde_json::to_string(&report).unwrap();
    let other = Run { run_id: "nightly-8".to_owned(), ..report.run.clone() };
    report.earlier_runs = shared::report::run::earlier_runs(&before, &other).unwrap();
    report
}

/// The least page of the same data: it parses them, shows fifty rows, and sorts and filters.
fn bare(page: &str, images: &str) -> String {
    let (_, data) = page.split_once(r#"<script type="application/json""#).unwrap();
    let (data, _) = data.split_once("</script>").unwrap();
    format!(
        r#"<!DOCTYPE html><title>bare</title><table></table><script type="application/json"{data}</script><script>
const rows = ({images})(JSON.parse(document.getElementById('data').textContent));
const show = (some) => document.querySelector('table').replaceChildren(...some.slice(0, 50).map((row) => {{
  const line = document.createElement('tr');
  line.append(...row.map((cell) => {{ const made = document.createElement('td'); made.textContent = cell; return made; }}));
  return line;
}}));
const sortBySize = () => show([...rows].sort((one, other) => one[3] - other[3]));
const filterBy = (word) => show(rows.filter((row) => row.join(' ').toLowerCase().includes(word.trim())));
show(rows);
</script>"#
    )
}

/// A page to look at.
struct Page {
    name: String,
    text: String,
    /// An expression that gives its images as a list.
    images: &'static str,
    /// How many there are, and how many repositories.
    number: u64,
    repositories: u64,
    /// The picture of it in the documentation, and the height of its window.
    picture: Option<(&'static str, u32)>,
}

fn preview_page(reports: &[PreviewReport]) -> Page {
    let number = reports.iter().map(|report| (report.preview_results.len() + report.kept.len()) as u64).sum();
    let repositories = reports.len() as u64;
    Page {
        name: format!("preview-{number}-{repositories}"),
        text: html::render(reports),
        images: "(data) => data.repositories.flatMap((repository) => repository[3])",
        number,
        repositories,
        picture: None,
    }
}

/// The preview that README begins with.
fn storefront_page() -> Page {
    let file = |name: &str| {
        std::fs::read_to_string(workspace().join("tests/fixtures/storefront").join(name)).unwrap()
    };
    let policy = PolicySource::parse(&file("policy.yaml")).unwrap();
    let usage = Usage::parse(&file("in-use.json")).unwrap();
    let now = Instant::parse(NOW).unwrap();
    let question = Question { policy: policy.policy(), usage: &usage, now, passes: Passes::One };
    let page = preview_page(&preview_all(question, &Listing::parse(&file("images.json")).unwrap()));
    Page { name: "storefront".to_owned(), picture: Some(("preview.png", 1240)), ..page }
}

fn run_page(report: &RunReport) -> Page {
    let repositories = report.repositories.len() as u64;
    Page {
        name: format!("run-{repositories}"),
        text: html::run::render(report),
        images: "(data) => data.repositories.rows.flatMap((repository) => repository[3])",
        number: report.repositories.iter().map(|outcome| outcome.results.len() as u64).sum(),
        repositories,
        picture: None,
    }
}

/// Characters in the width of a picture.
const PICTURE_WIDTH: u32 = 1000;
/// Maximum number of bytes of a picture. Everybody who looks at README loads it.
const MAX_PICTURE_BYTES: u64 = 150_000;

/// Writes the pages to where people can look at them, and opens them.
fn look(folder: &Path, pages: &[Page]) -> Vec<Seen> {
    let project = local::Project::here();
    tools::debian(&["chromium", "pngquant"]).unwrap();
    let modules = tools::install_from_npm(&project, tools::BROWSER).unwrap();
    let wanted: Vec<Value> = pages
        .iter()
        .map(|page| {
            let file = |name: &str, text: &str| -> PathBuf {
                let path = folder.join(name);
                std::fs::write(&path, text).unwrap();
                path
            };
            json!({
                "file": file(&format!("{}.html", page.name), &page.text),
                "bare": file(&format!("{}-bare.html", page.name), &bare(&page.text, page.images)),
                "filter": "latest",
                "small": page.number <= 400,
                "picture": page.picture.map(|(name, height)| json!({
                    "path": folder.join(name), "known": workspace().join("docs").join(name), "size": { "width": PICTURE_WIDTH, "height": height },
                })),
            })
        })
        .collect();
    let mut node = Command::new("node")
        .arg(workspace().join("tests/pages.mjs"))
        .arg(modules)
        .arg("/usr/bin/chromium")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    node.stdin.take().unwrap().write_all(json!(wanted).to_string().as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Makes a picture small, and with `UPDATE_DOCS=1` the one of the documentation. Without it that has to show the same page, though
/// with the fonts and colours of another machine.
fn keep_picture(path: &Path, name: &str, difference: Option<f64>) {
    /// What other fonts and fewer colours make of a page.
    const MAX_DIFFERENCE: f64 = 0.04;
    let quantized = Command::new("pngquant")
        .args(["--force", "--strip", "--speed", "1", "32", "--output"])
        .args([path, path])
        .status()
        .unwrap();
    assert!(quantized.success());
    let bytes = std::fs::metadata(path).unwrap().len();
    assert!(bytes <= MAX_PICTURE_BYTES, "{name} has {bytes} bytes");
    let known = workspace().join("docs").join(name);
    println!("{name}: {bytes} bytes, and {difference:?} different from the picture of the documentation");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::copy(path, known).unwrap();
        return;
    }
    let bytes = std::fs::metadata(&known).map(|known| known.len()).unwrap_or_default();
    assert!(
        bytes <= MAX_PICTURE_BYTES && difference.is_some_and(|difference| difference <= MAX_DIFFERENCE),
        "docs/{name} shows another page ({difference:?}, {bytes} bytes): UPDATE_DOCS=1 cargo test --workspace --all-features --test pages \
         makes it anew"
    );
}

#[test]
fn pages_of_any_size_are_quick_and_complete_and_everybody_can_use_them() {
    let small = previews(400, 1, YEARS);
    let mut pages = vec![
        preview_page(&small),
        preview_page(&previews(20_000, 1, YEARS)),
        preview_page(&previews(100_000, 1, YEARS)),
        preview_page(&previews(9_000, 300, YEARS)),
        preview_page(&previews(10_000, 1000, YEARS)),
        run_page(&run(20)),
        run_page(&run(300)),
        run_page(&run(1000)),
        storefront_page(),
    ];
    pages[0].name = "preview-400".to_owned();
    pages[3].picture = Some(("preview-300.png", 1000));
    pages[6].picture = Some(("run-300.png", 1000));
    // Bars of hours, days, weeks, months and years have labels of other lengths.
    const HOUR: u64 = 3600;
    for hours in [9, 50, 130, 700, 24 * 50, 24 * 300, 24 * 900, 24 * 3000] {
        let page = preview_page(&previews(60, 1, hours * HOUR));
        pages.push(Page { name: format!("pushed-in-{hours}-hours"), ..page });
    }
    let folder = workspace().join("target/local/pages");
    std::fs::create_dir_all(&folder).unwrap();
    let seen = look(&folder, &pages);
    assert_eq!(seen.len(), pages.len());
    for (seen, page) in seen.iter().zip(&pages) {
        let Page { name, number, repositories, text, .. } = page;
        let ratio = |own: f64, bare: f64| own / bare.max(1.0);
        println!(
            "{name}: {} kB, {} nodes; times as those of a bare page: opening {:.1} ({:.0} ms), sorting {:.1} ({:.0} ms), the first key of \
             a filter {:.1} ({:.0} ms), the next {:.1} ({:.0} ms)",
            text.len() / 1000,
            seen.nodes,
            ratio(seen.times.open, seen.bare.open),
            seen.times.open,
            ratio(seen.times.sort, seen.bare.sort),
            seen.times.sort,
            ratio(seen.times.first_key, seen.bare.first_key),
            seen.times.first_key,
            ratio(seen.times.filter, seen.bare.filter),
            seen.times.filter,
        );
        assert!(seen.file.ends_with(&format!("{name}.html")));
        assert_eq!((&seen.messages, &seen.requests), (&Vec::new(), &Vec::new()), "{name} is quiet");
        assert!(seen.violations.is_empty(), "{name}: {:#?}", seen.violations);
        assert!(seen.nodes.max(seen.filtered_nodes) <= MOST_NODES, "{name}: {} nodes", seen.nodes);
        assert!(seen.crowded.is_empty(), "{name}: labels of the chart that are cut off: {:?}", seen.crowded);
        assert!(seen.phone <= 0, "{name} is {} pixels wider than a phone", seen.phone);
        assert!(seen.cut.is_empty(), "{name} has tables that a phone cuts off: {:?}", seen.cut);
        let most = u64::try_from(text.len()).unwrap() / number.max(&1);
        assert!(*number < 20_000 || most <= MOST_BYTES, "{name}: {most} bytes an image");
        let sheets = if *repositories > 300 { 2 } else { 1 };
        assert!(seen.sheets <= sheets, "{name} has its summary on {} sheets", seen.sheets);
        assert!(seen.without >= usize::try_from(*number).unwrap().min(500), "{name}: {} rows", seen.without);
        let all = format!("{} image", shared::domain::text::quantity::grouped(*number));
        assert!(seen.images.starts_with(&all), "{name}: {:?} and not {all:?}", seen.images);
        if let Some((picture, _)) = page.picture {
            keep_picture(&folder.join(picture), picture, seen.difference);
        }
        let latest = text.matches("\"latest\"").count();
        assert!(
            seen.found
                .starts_with(&format!("{} of ", shared::domain::text::quantity::grouped(latest as u64))),
            "{name}: {}",
            seen.found
        );
        assert!(
            latest > 0 && seen.tags.iter().all(|tags| tags.contains("latest")),
            "{name}: {:?}",
            seen.tags
        );
        assert!(*repositories == 1 || text.len() as u64 / number < 1000, "{name}");
    }
    let summary = &small[0].summary;
    for (key, expected) in [
        ("expire", summary.expiring_image_total_count),
        ("archive", summary.transitioning_image_total_count()),
        ("stay", summary.kept_image_total_count),
    ] {
        let shown = seen[0].legend.iter().find(|(shown, _)| shown == key).map(|(_, number)| number.as_str());
        assert_eq!(shown.unwrap_or("0"), shared::domain::text::quantity::grouped(expected), "{key}");
    }
    // Whatever keeps images adds up to what is kept.
    for seen in seen.iter().filter(|seen| !seen.legend.is_empty()) {
        let number = |number: &str| number.replace(',', "").parse::<u64>().unwrap();
        let of = |is_wanted: fn(&str) -> bool| -> u64 {
            seen.legend.iter().filter(|(key, _)| is_wanted(key)).map(|(_, shown)| number(shown)).sum()
        };
        assert_eq!(of(|key| key == "stay"), of(|key| key.starts_with("stay ")), "{}", seen.file);
        let all = seen.images.split(' ').next().map(number).unwrap();
        assert_eq!(of(|key| !key.starts_with("stay ")), all, "{}", seen.file);
    }
}
