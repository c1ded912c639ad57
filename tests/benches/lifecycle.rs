//! How long reading, packing and evaluating take, and what they allocate: `cargo bench -p tests --bench lifecycle`.

use std::collections::HashSet;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use shared::domain::image::listing::Listing;
use shared::domain::image::{Relations, RepositoryImages};
use shared::domain::lifecycle::{LifecyclePolicy, Passes, evaluate};
use shared::domain::preview::{Question, preview_all};
use shared::domain::text::instant::Instant;
use shared::domain::usage::Usage;
use tests::workload::{NOW, images, page, policy};

#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

const IMAGES: [usize; 3] = [1_000, 10_000, 100_000];

/// The deciding alone: sort, match, rank, for images in no order.
#[divan::bench(consts = [1, 10, 50], args = IMAGES)]
fn evaluate_rules<const RULES: usize>(bencher: Bencher<'_, '_>, count: usize) {
    let policy = policy(RULES);
    let repository = RepositoryImages::new(images(count), &Relations::default());
    let in_use = HashSet::new();
    let now = Instant::parse(NOW).unwrap();
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        evaluate(Some(black_box(&policy)), black_box(&repository), &in_use, now, Passes::One)
    });
}

/// The measure to compare with: sorting the same times with the standard library, and nothing else.
#[divan::bench(args = IMAGES)]
fn baseline_sort(bencher: Bencher<'_, '_>, count: usize) {
    let times: Vec<(i64, u32)> =
        images(count).iter().map(|image| image.pushed_at.micros()).zip(0..).collect();
    bencher
        .counter(ItemsCount::new(count))
        .with_inputs(|| times.clone())
        .bench_local_refs(|times| times.sort_unstable());
}

/// From listed images to a repository: finds duplicates and resolves relations.
#[divan::bench(args = IMAGES)]
fn pack(bencher: Bencher<'_, '_>, count: usize) {
    bencher
        .counter(ItemsCount::new(count))
        .with_inputs(|| images(count))
        .bench_local_values(|images| RepositoryImages::new(images, &Relations::default()));
}

/// From the text that `aws ecr describe-images` prints to a repository.
#[divan::bench(args = IMAGES)]
fn parse_describe_images(bencher: Bencher<'_, '_>, count: usize) {
    let text = page(count);
    bencher
        .counter(BytesCount::of_str(&text))
        .counter(ItemsCount::new(count))
        .bench_local(|| Listing::parse(black_box(&text)));
}

/// The measure to compare with: the same text as untyped JSON values.
#[divan::bench(args = IMAGES)]
fn baseline_json_value(bencher: Bencher<'_, '_>, count: usize) {
    let text = page(count);
    bencher
        .counter(BytesCount::of_str(&text))
        .counter(ItemsCount::new(count))
        .bench_local(|| serde_json::from_str::<serde_json::Value>(black_box(&text)));
}

/// Everything between the files and the printing: evaluation, a sentence for every image, findings.
#[divan::bench(args = IMAGES)]
fn preview_with_reasons(bencher: Bencher<'_, '_>, count: usize) {
    let policy = policy(10);
    let listing = Listing::parse(&page(count)).unwrap();
    let usage = Usage::default();
    let now = Instant::parse(NOW).unwrap();
    let question = Question { policy: Some(&policy), usage: &usage, now, passes: Passes::One };
    bencher
        .counter(ItemsCount::new(count))
        .bench_local(|| preview_all(black_box(question), black_box(&listing)));
}

/// A policy text of 50 rules, read and validated.
#[divan::bench]
fn parse_policy_of_50_rules(bencher: Bencher<'_, '_>) {
    let text = policy(50).to_json();
    bencher.bench_local(|| LifecyclePolicy::parse(black_box(&text)));
}
