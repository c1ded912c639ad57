//! Any bytes: a policy text, a zero byte, images. Reads, validates, compiles, evaluates, explains and renders.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use shared::domain::image::listing::{ListedRepository, Listing, RepositoryName};
use shared::domain::image::{Image, ImageStatus, ManifestKind, Relations, RepositoryImages};
use shared::domain::lifecycle::{LifecyclePolicy, Passes, PolicySource, evaluate, validate};
use shared::domain::preview::{Preview, Question};
use shared::domain::text::instant::Instant;
use shared::domain::usage::Usage;
use shared::report::{html, table};

/// Bytes that make one image.
const IMAGE: usize = 8;
/// So that one run stays short.
const MAX_IMAGES: usize = 64;
const TAGS: [&str; 8] = ["latest", "v1", "v1.2", "v2-rc", "ci-7", "prod-a", "beta", "a*b"];

fuzz_target!(|data: &[u8]| {
    let (text, rest) = match data.iter().position(|byte| *byte == 0) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &[][..]),
    };
    let Ok(text) = std::str::from_utf8(text) else { return };

    let _ = Listing::parse(text);
    let _ = Usage::parse(text);
    let _ = text.parse::<shared::domain::image::reference::ImageReference>();

    let parsed = LifecyclePolicy::parse(text);
    assert_eq!(validate(text).is_empty(), parsed.is_ok(), "validation and parsing disagree");
    for finding in parsed.err().unwrap_or_default() {
        assert_eq!(finding.to_string().lines().count(), 1);
    }
    let source = match PolicySource::parse(text) {
        Ok(source) => source,
        Err(findings) => {
            assert!(!findings.is_empty(), "refused without a reason");
            assert!(findings.iter().all(|finding| finding.to_string().lines().count() == 1));
            return;
        }
    };
    if let Some(policy) = source.policy() {
        let json = policy.to_json();
        assert_eq!(LifecyclePolicy::parse(&json).as_ref(), Ok(policy), "written and read again");
        assert_eq!(LifecyclePolicy::parse(&policy.to_json_pretty()).as_ref(), Ok(policy));
        if let Ok(simple) = policy.decompile() {
            assert_eq!(simple.compile().as_ref(), Ok(&Some(policy.clone())), "decompiled and compiled again");
        }
    }

    let images = images(rest);
    let now = Instant::parse("2026-11-23T00:00:00Z").unwrap();
    let in_use: HashSet<u32> = (0..images.images().len() as u32).filter(|place| place % 7 == 3).collect();
    for passes in [Passes::One, Passes::UntilStable] {
        let evaluation = evaluate(source.policy(), &images, &in_use, now, passes);
        for place in &in_use {
            assert_eq!(evaluation.verdicts()[*place as usize].acting_rule(), None, "an image in use goes");
        }
    }
    let repository = ListedRepository { name: RepositoryName::default(), images };
    let question =
        Question { policy: source.policy(), usage: &Usage::default(), now, passes: Passes::UntilStable };
    let preview = Preview::new(question, &repository);
    let report = preview.report();
    assert_eq!(
        report.preview_results.len() + report.kept.len(),
        repository.images.images().len(),
        "every image is in the report once"
    );
    let _ = table::render(&preview, table::View::default(), table::Style { width: 80, color: true });
    let _ = html::render(&[report]);
});

/// Images from bytes: few times, so that ties happen, and relations among them.
fn images(bytes: &[u8]) -> RepositoryImages {
    let digest = |number: usize| format!("sha256:{number:064x}");
    let mut relations = Relations::default();
    let mut images = Vec::new();
    for (number, seed) in bytes.chunks_exact(IMAGE).take(MAX_IMAGES).enumerate() {
        let day = |byte: u8| Instant::from_micros(1_795_000_000_000_000 - i64::from(byte) * 43_200_000_000);
        let some_day = |byte: u8| if byte < 128 { None } else { day(byte) };
        images.push(Image {
            digest: digest(number).into(),
            tags: TAGS
                .iter()
                .enumerate()
                .filter(|(bit, _)| seed[0] & seed[7] & (1 << bit) != 0)
                .map(|(_, tag)| (*tag).into())
                .collect(),
            pushed_at: day(seed[1]).unwrap(),
            last_pulled_at: some_day(seed[2]),
            last_archived_at: some_day(seed[3]),
            last_activated_at: some_day(seed[4]),
            size_in_bytes: u64::from(seed[5]) << seed[5].min(63),
            status: match seed[6] & 7 {
                0 => ImageStatus::Archived,
                1 => ImageStatus::Activating,
                2 => ImageStatus::Unknown,
                _ => ImageStatus::Active,
            },
            kind: if seed[6] & 8 != 0 { ManifestKind::Index } else { ManifestKind::Manifest },
        });
        match seed[6] >> 5 {
            0 => relations
                .index(&digest(number), [seed[2], seed[3]].map(|other| digest(usize::from(other % 64)))),
            1 => relations.refer(&digest(number), &digest(usize::from(seed[5] % 64))),
            _ => {}
        }
    }
    RepositoryImages::new(images, &relations)
}
