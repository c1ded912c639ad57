//! Tests of the page.

use super::*;
use crate::domain::image::listing::Listing;
use crate::domain::lifecycle::document::{LifecyclePolicy, StorageClass};
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
        assert!(!tag.contains('\n'), "{tag}");
        seen.push(name.to_owned());
        for (attribute, value) in attributes(tag) {
            match attribute {
                "id" => assert!(ids.insert(value), "{value} is there twice"),
                "for" => references.push(value),
                "aria-labelledby" => references.extend(value.split(' ')),
                // A link is followed by people only.
                "href" => assert!(value.starts_with("https://"), "{value}"),
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

/// The data of a page.
pub(super) fn data(page: &str) -> serde_json::Value {
    let (_, after) = page.split_once(r#"<script type="application/json" id="data">"#).expect("an island");
    serde_json::from_str(after.split_once("</script>").expect("it ends").0).unwrap()
}

#[test]
fn pages_nest_whatever_there_is_in_them() {
    elements(&render(&[]));
    elements(&render(&reports(None, &[])));
    elements(&render(&reports(Some(POLICY), &[])));
    elements(&render(&reports(Some(POLICY), &[image(1, 3, &["ci-1"])])));
    let tags: Vec<String> = (0..20).map(|tag| format!("ci-{tag}")).collect();
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    let mut several = reports(Some(POLICY), &[image(1, 300, &tags), image(2, 30, &[])]);
    several.extend(reports(None, &[image(3, 0, &["v1"])]));
    elements(&render(&several));
    assert_eq!(data(&render(&several))["repositories"].as_array().unwrap().len(), 2);
}

#[test]
fn nothing_from_outside_becomes_markup() {
    const HOSTILE: &str =
        "</script></noscript><script>alert(1)</script><img src=x onerror='a'>\"&\u{2028}\u{202e}";
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
    kept.kept_by = HOSTILE.to_owned();
    kept.reason = HOSTILE.to_owned();
    for finding in &mut report.findings {
        finding.pointer = HOSTILE.to_owned();
        finding.message = HOSTILE.to_owned();
    }
    let page = render(&reports);
    assert!(page.contains("&lt;/script&gt;&lt;/noscript&gt;&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(page.contains("&lt;i&gt;CI&lt;/i&gt; &amp; &quot;more&quot;"), "the description");
    let hostile = elements(&page);
    for name in ["script", "img", "noscript"] {
        assert_eq!(number_of(&hostile, name), number_of(&honest, name), "{name}");
    }
    let image = &data(&page)["repositories"][0][3][0];
    assert_eq!(image[1], HOSTILE, "and it is what it was");
}

#[test]
fn a_policy_that_is_none_is_shown_as_it_is() {
    let mut reports = reports(Some(POLICY), &[image(1, 300, &["ci-1"])]);
    reports[0].lifecycle_policy_text = Some("{\"rules\": <b>".to_owned());
    let page = render(&reports);
    elements(&page);
    let policy = &data(&page)["policies"][0];
    assert_eq!(policy["text"], "{\"rules\": <b>");
    assert_eq!(policy["rules"][0][1], "rule 1", "as the results name it");
}

#[test]
fn the_page_loads_nothing() {
    let page = render(&reports(Some(POLICY), &[image(1, 300, &["ci-1"]), image(2, 3, &["v1"])]));
    for forbidden in
        ["http://", "https://", "src=", "<link", "@import", "innerHTML", "<base", "fetch(", "import(", "url("]
    {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
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
    follows_its_policy(&render(&reports(Some(POLICY), &images)));
    follows_its_policy(&render(&[]));
}

#[test]
fn style_and_scripts_cannot_end_early() {
    assert!(!STYLE.contains("</"));
    for script in [PREVIEW_SCRIPT, RUN_SCRIPT] {
        assert!(!script.contains("</") && !script.contains("<!--"));
        for maker in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
        {
            assert!(!script.contains(maker), "{maker}");
        }
    }
}

#[test]
fn the_same_reports_give_the_same_page() {
    let images: Vec<_> = (0..50).map(|n| image(n, n * 7, &["ci-1"])).collect();
    assert_eq!(render(&reports(Some(POLICY), &images)), render(&reports(Some(POLICY), &images)));
}

#[test]
fn without_scripts_are_the_totals_all_rules_and_the_first_images() {
    let images: Vec<_> = (0..700).map(|n| image(n, n, &["ci-1"])).collect();
    let page = render(&reports(Some(POLICY), &images));
    let (_, inside) = page.split_once("<noscript>").unwrap();
    let (inside, _) = inside.split_once("</noscript>").unwrap();
    assert!(inside.contains(r#"<th scope="row">Expire</th><td class="number">669</td>"#), "{inside}");
    let row = inside.split("<tr").find(|row| row.contains("rule 7: expire images tagged nothing*"));
    assert!(row.unwrap().contains(r#"<td class="number">0</td><td class="number">0 B</td>"#));
    assert_eq!(inside.matches("<code class=\"digest\"").count(), preview::ROWS_WITHOUT_SCRIPTS);
    assert!(inside.contains("The first 500 of 700."));
    assert!(
        page.contains("<strong>669</strong> of 700 images expire, <strong>31</strong> are kept"),
        "{page}"
    );
}

#[test]
fn a_repository_without_a_policy_says_so() {
    let page = render(&reports(None, &[image(1, 300, &[])]));
    assert!(page.contains("No lifecycle policy."));
    assert!(!render(&reports(Some(POLICY), &[])).contains("No lifecycle policy."));
}

#[test]
fn every_image_is_in_the_page_at_a_hundred_and_sixty_bytes_each() {
    let images: Vec<_> =
        (0..20_000).map(|n| image(n, n % 400, &[&format!("ci-{n}"), &format!("v1.{n}")])).collect();
    let reports = reports(Some(POLICY), &images);
    let page = render(&reports);
    assert_eq!(data(&page)["repositories"][0][3].as_array().unwrap().len(), 20_000);
    let without = render(&self::reports(Some(POLICY), &images[..501]));
    let each = (page.len() - without.len()) / (20_000 - 501);
    assert!(each <= 160, "{each} bytes");
}

#[test]
fn images_say_what_happens_when_and_by_what() {
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
    let kept =
        KeptImage { kept_by: "index sha256:ab".to_owned(), expires_at: None, ..report.kept[0].clone() };
    report.kept.push(kept);
    report.findings.push(Finding::new(Code::ListingIncomplete, "/rules/0", "A message."));
    let page = render(&reports);
    let data = data(&page);
    let groups = data["groups"].as_array().unwrap();
    let images = data["repositories"][0][3].as_array().unwrap();
    let group = |place: usize| &groups[usize::try_from(images[place][4].as_u64().unwrap()).unwrap()];
    assert_eq!(group(0), &serde_json::json!(["expire", "rule 1"]));
    assert_eq!(group(1), &serde_json::json!(["archive", "rule 1"]));
    assert_eq!(images[1][7], 2, "the pass");
    assert_eq!(group(2), &serde_json::json!(["stay", "rule 1"]));
    assert_eq!((&images[2][2], &images[2][6]), (&(-25 * 86_400).into(), &(5 * 86_400).into()), "pushed, due");
    assert_eq!(group(3), &serde_json::json!(["stay", "index"]));
    assert!(page.contains(
        "<code class=\"code\">listing-incomplete</code> at <code>/rules/0</code></p><p>A message."
    ));
}

#[test]
fn a_finding_of_many_repositories_is_listed_once() {
    let images = [image(1, 300, &["ci-1"])];
    let mut all = Vec::new();
    for number in 0..30 {
        let mut reports = reports(Some(POLICY), &images);
        reports[0].repository_name = Some(format!("app-{number:02}"));
        all.append(&mut reports);
    }
    let page = render(&all);
    assert_eq!(page.matches("<code class=\"code\">rule-matches-nothing").count(), 1);
    assert!(page.contains("In app-00, app-01"), "{page}");
    assert!(page.contains(" and 20 more"));
}
