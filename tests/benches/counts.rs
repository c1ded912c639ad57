//! What evaluating costs in numbers that are the same on every run: instructions (counted by callgrind) and bytes.
//! Fails where a goal is missed: `cargo local bench counts`. Needs valgrind.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashSet;
use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};

use shared::domain::enforcement::outcome_file;
use shared::domain::image::listing::Listing;
use shared::domain::image::{Image, Relations, RepositoryImages};
use shared::domain::lifecycle::{Passes, evaluate};
use shared::domain::text::instant::Instant;
use tests::workload::{Builds, NOW, images, least_bytes, outcomes, page, policy};

/// Counts the bytes that are allocated at present and at most.
struct Counting;

static PRESENT: AtomicU64 = AtomicU64::new(0);
static PEAK: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is handed to the system's allocator unchanged; the counters touch no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let present = PRESENT.fetch_add(layout.size() as u64, Ordering::Relaxed) + layout.size() as u64;
        PEAK.fetch_max(present, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        PRESENT.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the block comes from `alloc` above, with this layout.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, work, rules, count, rounds] = arguments.as_slice() {
        let number = |text: &String| text.parse().unwrap();
        perform(work, number(rules), number(count), number(rounds));
        return ExitCode::SUCCESS;
    }

    let mut goals = Goals { missed: 0 };
    println!("{:<66}{:>10}{:>10}", "", "is", "goal");
    let ten = instructions("evaluate", 10, 20_000);
    goals.at_most("instructions an image, 10 rules, 20,000 images", ten, 600.0);
    let fifty = instructions("evaluate", 50, 20_000);
    goals.at_most("50 rules to 10 rules, instructions", fifty / ten, 2.0);
    let large = instructions("evaluate", 10, 100_000);
    goals.at_most("an image of 100,000 to one of 20,000, instructions", large / ten, 1.25);
    let parsing = instructions("parse", 10, 20_000);
    let value = instructions("value", 10, 20_000);
    goals.at_most("parsing a listing to parsing untyped JSON, instructions", parsing / value, 0.75);
    goals.at_most("bytes an image keeps beyond digest and tags, evaluation included", bytes(), 80.0);
    let (bytes, _) = outcome_bytes(Builds::Numbered);
    goals.at_most("bytes of outcomes for each planned image, numbered builds", bytes, 40.0);
    let (bytes, least) = outcome_bytes(Builds::Random);
    goals.at_most("bytes of outcomes for each planned image, random tags and sizes", bytes, 48.0);
    goals.at_most("the same, to what is random in it", bytes / least, 1.15);
    goals.outcome()
}

/// Bytes that outcomes take in the bucket for each planned image, and the least that they could take.
fn outcome_bytes(builds: Builds) -> (f64, f64) {
    let outcomes = outcomes(builds);
    let written = outcome_file::write(outcomes.clone()).unwrap();
    assert!(outcome_file::read("outcomes.jsonl.gz", &written).unwrap() == outcomes);
    let planned: usize = outcomes.iter().map(|outcome| outcome.results.len()).sum();
    let of_each = u32::try_from(planned / outcomes.len()).unwrap();
    (written.len() as f64 / planned as f64, least_bytes(builds, of_each))
}

struct Goals {
    missed: u32,
}

impl Goals {
    fn at_most(&mut self, what: &str, is: f64, goal: f64) {
        let verdict = if is <= goal { "" } else { "  MISSED" };
        println!("{what:<66}{is:>10.2}{goal:>10.2}{verdict}");
        self.missed += u32::from(is > goal);
    }

    fn outcome(&self) -> ExitCode {
        if self.missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Does one kind of work `rounds` times; the preparation is the same for any number of rounds.
fn perform(work: &str, rules: usize, count: usize, rounds: usize) {
    let policy = policy(rules);
    let now = Instant::parse(NOW).unwrap();
    let in_use = HashSet::new();
    if work == "evaluate" {
        let repository = RepositoryImages::new(images(count), &Relations::default());
        for _ in 0..rounds {
            black_box(evaluate(Some(&policy), black_box(&repository), &in_use, now, Passes::One));
        }
        return;
    }
    let text = page(count);
    for _ in 0..rounds {
        match work {
            "parse" => drop(black_box(Listing::parse(black_box(&text)))),
            _ => drop(black_box(serde_json::from_str::<serde_json::Value>(black_box(&text)))),
        }
    }
}

/// Instructions for an image: two rounds less one round.
fn instructions(work: &str, rules: usize, count: usize) -> f64 {
    let counted = |rounds: usize| -> f64 {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(std::env::current_exe().unwrap())
            .args([work, &rules.to_string(), &count.to_string(), &rounds.to_string()])
            .output()
            .expect("valgrind is not there; install it with `apt-get install valgrind`");
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{log}");
        let collected = log.lines().find_map(|line| line.split_once("Collected : ")).expect("a count").1;
        collected.trim().parse().unwrap()
    };
    (counted(2) - counted(1)) / count as f64
}

/// Bytes that one more image takes at the height of an evaluation, less its digest and its tags.
fn bytes() -> f64 {
    const FEW: usize = 50_000;
    const MANY: usize = 100_000;
    (peak(MANY) - peak(FEW)) / (MANY - FEW) as f64
}

fn peak(count: usize) -> f64 {
    let policy = policy(10);
    let now = Instant::parse(NOW).unwrap();
    let in_use = HashSet::new();
    let before = PRESENT.load(Ordering::Relaxed);
    let repository = RepositoryImages::new(images(count), &Relations::default());
    PEAK.store(PRESENT.load(Ordering::Relaxed), Ordering::Relaxed);
    black_box(evaluate(Some(&policy), &repository, &in_use, now, Passes::One));
    let peak = PEAK.load(Ordering::Relaxed) - before;
    let named: usize = repository.images().iter().map(digest_and_tags).sum();
    peak as f64 - named as f64
}

fn digest_and_tags(image: &Image) -> usize {
    let tags: usize = image.tags.iter().map(|tag| size_of_val(tag) + tag.len()).sum();
    size_of_val(&image.digest) + image.digest.len() + size_of_val(&image.tags) + tags
}
