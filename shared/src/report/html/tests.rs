//! Tests of the page.

use super::*;
use crate::domain::image::listing::Listing;
use crate::domain::lifecycle::document::StorageClass;
use crate::domain::lifecycle::evaluate::Passes;
use crate::domain::preview::model::{ActionKind, ActionTaken, KeptImage, PreviewResult};
use crate::domain::preview::{Question, preview_all};
use crate::domain::text::finding::Code;
use crate::domain::text::instant::Instant;
use crate::domain::usage::Usage;

const POLICY: &str = r#"{"rules": [
    {"rulePriority": 1, "description": "<i>CI</i> & \"more\"", "selection": {"tagStatus": "tagged",
     "tagPrefixList": ["ci-"], "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 30},
     "action": {"type": "expire"}},
    {"rulePriority": 7, "selection": {"tagStatus": "tagged", "tagPatternList": ["nothing*"],
     "countType": "imageCountMoreThan", "countNumber": 3}, "action": {"type": "expire"}}]}"#;

/// An image that was pushed `days` days before the evaluation.
fn image(number: u32, days: u32, tags: &[&str]) -> serde_json::Value {
    let now = Instant::parse("2026-11-23T00:00:00Z").unwrap();
    serde_json::json!({
        "repositoryName": "team/app", "registryId": "123456789012",
        "imageDigest": format!("sha256:{number:064x}"), "imageTags": tags,
        "imageSizeInBytes": 1000 + number, "imagePushedAt": now.micros() / 1_000_000 - i64::from(days) * 86_400,
    })
}

fn reports(policy: Option<&str>, images: &[serde_json::Value]) -> Vec<PreviewReport> {
    let policy = policy.map(|text| LifecyclePolicy::parse(text).unwrap());
    let listing = Listing::parse(&serde_json::json!({ "imageDetails": images }).to_string()).unwrap();
    let question = Question {
        policy: policy.as_ref(),
        usage: &Usage::default(),
        now: Instant::parse("2026-11-23T00:00:00Z").unwrap(),
        passes: Passes::One,
    };
    preview_all(question, &listing)
}

/// The names of all elements, having checked that they nest, that no identifier is there twice, and that what refers
/// to an identifier finds it.
pub(super) fn elements(page: &str) -> Vec<String> {
    const VOID: [&str; 3] = ["meta", "input", "!DOCTYPE"];
    let (mut open, mut seen) = (Vec::new(), Vec::new());
    let (mut ids, mut references) = (std::collections::BTreeSet::new(), Vec::new());
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let mut quoted = false;
        let end = rest
            .find(|character| {
                quoted ^= character == '"';
                character == '>' && !quoted
            })
            .expect("a tag ends");
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "before {:?}", rest.get(..80));
            continue;
        }
        let name = tag.split(' ').next().unwrap_or_default();
        seen.push(name.to_owned());
        for (attribute, value) in attributes(tag) {
            match attribute {
                "id" => assert!(ids.insert(value), "{value} is there twice"),
                "for" => references.push(value),
                "aria-labelledby" => references.extend(value.split(' ')),
                "href" => references.push(value.strip_prefix('#').expect("links stay in the page")),
                "fill" => references.push(value.strip_prefix("url(#").unwrap().strip_suffix(')').unwrap()),
                _ => {}
            }
        }
        if !VOID.contains(&name) {
            open.push(name);
        }
        if matches!(name, "script" | "style") {
            let end = rest.find(&format!("</{name}>")).expect("it ends");
            rest = &rest[end..];
        }
    }
    assert!(open.is_empty(), "{open:?}");
    for reference in references {
        assert!(ids.contains(reference), "nothing is called {reference}");
    }
    seen
}

fn attributes(tag: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut parts = tag.split('"');
    std::iter::from_fn(move || {
        let name = parts.next()?.trim_end_matches('=');
        Some((name.rsplit(' ').next()?, parts.next()?))
    })
}

pub(super) fn number_of(elements: &[String], name: &str) -> usize {
    elements.iter().filter(|element| *element == name).count()
}

#[test]
fn pages_nest_whatever_there_is_in_them() {
    elements(&render(&[]));
    elements(&render(&reports(None, &[])));
    elements(&render(&reports(Some(POLICY), &[])));
    let page = render(&reports(Some(POLICY), &[image(1, 3, &["ci-1"])]));
    let bars = page.matches("<svg class=\"fill ").count();
    assert_eq!(number_of(&elements(&page), "svg") - bars, 2, "the chart and its patterns");
    let tags: Vec<String> = (0..20).map(|tag| format!("ci-{tag}")).collect();
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    let mut several = reports(Some(POLICY), &[image(1, 300, &tags), image(2, 30, &[])]);
    several.extend(reports(None, &[image(3, 0, &["v1"])]));
    let several = elements(&render(&several));
    assert_eq!(number_of(&several, "section"), 3, "the overview and two repositories");
}

#[test]
fn nothing_from_outside_becomes_markup() {
    const HOSTILE: &str = "</script><script>alert(1)</script><img src=x onerror='a'>\"&";
    let mut reports = reports(Some(POLICY), &[image(1, 300, &["ci-1"]), image(2, 3, &["v1"])]);
    let honest = elements(&render(&reports));
    let report = &mut reports[0];
    report.registry_id = Some(HOSTILE.to_owned());
    report.repository_name = Some(HOSTILE.to_owned());
    let result = &mut report.preview_results[0];
    result.image_tags = vec![HOSTILE.to_owned()];
    result.image_digest = format!("sha256:{HOSTILE}");
    result.reason = HOSTILE.to_owned();
    let kept = &mut report.kept[0];
    kept.image_tags = vec![HOSTILE.to_owned()];
    kept.held_by = HOSTILE.to_owned();
    kept.reason = HOSTILE.to_owned();
    for finding in &mut report.findings {
        finding.pointer = HOSTILE.to_owned();
        finding.message = HOSTILE.to_owned();
    }
    let page = render(&reports);
    assert!(page.contains("&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(page.contains("&lt;i&gt;CI&lt;/i&gt; &amp; &quot;more&quot;"), "the description");
    let hostile = elements(&page);
    for name in ["script", "img", "i"] {
        assert_eq!(number_of(&hostile, name), number_of(&honest, name), "{name}");
    }
}

#[test]
fn a_policy_that_is_none_is_shown_as_it_is() {
    let mut reports = reports(Some(POLICY), &[image(1, 300, &["ci-1"])]);
    reports[0].lifecycle_policy_text = Some("{\"rules\": <b>".to_owned());
    let page = render(&reports);
    elements(&page);
    assert!(page.contains("<code>{&quot;rules&quot;: &lt;b&gt;</code>"));
    assert!(page.contains("<span class=\"rule\">rule 1</span>"), "as the results name it");
}

#[test]
fn the_page_loads_nothing() {
    let page = render(&reports(Some(POLICY), &[image(1, 300, &["ci-1"]), image(2, 3, &["v1"])]));
    for forbidden in
        ["http://", "https://", "src=", "<link", "@import", "innerHTML", "<base", "fetch(", "import("]
    {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.split("url(").skip(1).all(|after| after.starts_with('#')));
    assert!(page.contains(r#"http-equiv="Content-Security-Policy" content="default-src 'none'; "#));
}

/// Asserts that the policy of a page allows its own style and script, and no others.
#[track_caller]
pub(super) fn follows_its_policy(page: &str) {
    use sha2::Digest;
    let (_, policy) = page.split_once(r#"http-equiv="Content-Security-Policy" content=""#).unwrap();
    let (policy, _) = policy.split_once('"').unwrap();
    assert!(!policy.contains("unsafe"), "{policy}");
    for (element, directive) in [("style", "style-src"), ("script", "script-src")] {
        let (_, content) = page.split_once(&format!("<{element}>")).unwrap();
        let (content, rest) = content.split_once(&format!("</{element}>")).unwrap();
        assert!(!rest.contains(&format!("<{element}")), "there is one");
        let hash = STANDARD.encode(Sha256::digest(content));
        assert!(policy.split("; ").any(|part| part == format!("{directive} 'sha256-{hash}'")), "{policy}");
    }
    // Neither lets in what is in attributes.
    for tag in page.split('<').filter_map(|tag| tag.split_once('>')).map(|(tag, _)| tag) {
        for (name, _) in attributes(tag) {
            assert!(name != "style" && !name.starts_with("on"), "{tag}");
        }
    }
}

#[test]
fn only_the_style_and_the_script_of_the_page_are_followed() {
    let images = [image(1, 300, &["ci-1"]), image(2, 3, &["v1"])];
    let page = render(&reports(Some(POLICY), &images));
    assert!(page.contains("<svg class=\"fill expire\" width=\""), "bars are drawn");
    follows_its_policy(&page);
    follows_its_policy(&render(&[]));
}

#[test]
fn style_and_script_cannot_end_early() {
    assert!(!STYLE.contains("</"));
    assert!(!SCRIPT.contains("</") && !SCRIPT.contains("<!--"));
}

#[test]
fn the_same_reports_give_the_same_page() {
    let images: Vec<_> = (0..50).map(|n| image(n, n * 7, &["ci-1"])).collect();
    assert_eq!(render(&reports(Some(POLICY), &images)), render(&reports(Some(POLICY), &images)));
}

#[test]
fn rules_that_act_on_nothing_have_a_row() {
    let page = render(&reports(Some(POLICY), &[image(1, 300, &["ci-1"])]));
    let row = page.split("<tr").find(|row| row.contains("rule 7: expire images tagged nothing*"));
    assert!(row.unwrap().contains("<td class=\"number\">0</td><td class=\"number\">0 B</td>"));
}

#[test]
fn a_repository_without_a_policy_says_so() {
    let page = render(&reports(None, &[image(1, 300, &[])]));
    assert!(page.contains("No lifecycle policy."));
    assert!(!page.contains("Size by rule"));
    assert!(!render(&reports(Some(POLICY), &[])).contains("No lifecycle policy."));
}

#[test]
fn the_table_is_cut_with_notice_and_has_what_goes_first() {
    let mut reports = reports(Some(POLICY), &[image(1, 300, &["ci-1"])]);
    let report = &mut reports[0];
    let kept = |number: usize| KeptImage {
        image_digest: format!("sha256:{number:064x}"),
        image_tags: Vec::new(),
        image_pushed_at: report.evaluated_at,
        image_size_in_bytes: 1,
        held_by: "rule 1".to_owned(),
        reason: "It is young.".to_owned(),
        expires_at: None,
        transitions_at: None,
    };
    report.kept = (10..10 + images::MOST_ROWS - 1).map(kept).collect();
    let whole = render(&reports);
    assert_eq!(whole.matches("<tr data-group").count(), images::MOST_ROWS);
    assert!(!whole.contains("left out"));

    let more = reports[0].kept[..1234].to_vec();
    reports[0].kept.extend(more);
    let cut = render(&reports);
    assert_eq!(cut.matches("<tr data-group").count(), images::MOST_ROWS);
    assert!(cut.contains("<strong>1,234 images left out.</strong> The table has the first 5,000 of 6,234"));
    assert!(cut.contains("the JSON output has all of them"));
    let first = cut.split("<tr data-group=\"").nth(1).unwrap();
    assert!(first.starts_with("goes rule 1\""), "{first}");
}

#[test]
fn rows_say_what_happens_when_and_by_what() {
    let mut reports = reports(Some(POLICY), &[image(1, 300, &["ci-1"]), image(2, 25, &["ci-2"])]);
    let report = &mut reports[0];
    let archived = PreviewResult {
        action: ActionTaken {
            kind: ActionKind::Transition,
            target_storage_class: Some(StorageClass::Archive),
        },
        pass: Some(2),
        ..report.preview_results[0].clone()
    };
    report.preview_results.push(archived);
    report.findings.push(Finding::new(Code::ListingIncomplete, "/rules/0", "A message."));
    let page = render(&reports);
    let rows: Vec<&str> = page.split("<tr data-group").skip(1).collect();
    assert!(rows[0].contains("expire</span></td><td class=\"by\">rule 1</td>"), "{}", rows[0]);
    assert!(
        rows[1].contains("archive</span></td><td class=\"by\">rule 1, <span class=\"muted\">pass 2</span>")
    );
    assert!(rows[2].contains("kept</span> <span class=\"muted\">expires <time"), "{}", rows[2]);
    assert!(rows[2].contains(">2026-11-28</time>, <span class=\"far\">in 5 d</span>"), "{}", rows[2]);
    assert!(page.contains(
        "<code class=\"code\">listing-incomplete</code> at <code>/rules/0</code></p><p>A message."
    ));
}
