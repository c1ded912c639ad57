//! What a run over a registry costs as it grows: calls to ECR, memory, and time for each repository. A hundred images in each,
//! manifest lists and signatures among them. `cargo bench -p tests --bench sweep`; fails where calls or memory grow.
//!
//! Builds the functions as they are deployed, with the tools that `cargo local` installs.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use local::Project;
use local::functions::build_for_aws;
use tests::cloud::{self, BUCKET};
use tests::ecr_stub::EcrStub;
use tests::steward::Steward;

const FUNCTIONS: [&str; 4] =
    ["lifecycle-enforce", "lifecycle-inventory", "lifecycle-preview", "lifecycle-report"];
const SIZES: [usize; 3] = [100, 1000, 10_000];
const IMAGES: usize = 100;
/// More than any invocation takes.
const PLENTY: Duration = Duration::from_secs(600);

struct Measured {
    repositories: usize,
    calls: usize,
    kilobytes: u64,
    microseconds: f64,
}

fn main() -> ExitCode {
    let folder = build_for_aws(&Project::here(), &FUNCTIONS).unwrap();
    println!(
        "{:>14}{:>12}{:>18}{:>16}{:>20}",
        "repositories", "images", "calls for each", "peak memory", "time for each"
    );
    let measured = SIZES.map(|repositories| {
        let measured = measure(&folder, repositories);
        println!(
            "{repositories:>14}{:>12}{:>18.3}{:>13} kB{:>17.0} us",
            repositories * IMAGES,
            measured.calls as f64 / repositories as f64,
            measured.kilobytes,
            measured.microseconds / repositories as f64,
        );
        measured
    });
    let mut outcome = ExitCode::SUCCESS;
    for one in &measured {
        // Pages of a thousand repositories, a page of images each, and the manifests of each one's manifest lists.
        let fewest = one.repositories.div_ceil(1000) + 2 * one.repositories;
        if one.calls != fewest {
            println!(
                "MISSED: {} calls for {} repositories, and {fewest} would do",
                one.calls, one.repositories
            );
            outcome = ExitCode::FAILURE;
        }
    }
    let [few, many] = [1000, 100_000].map(|repositories| inventory(&folder, repositories));
    println!("inventory of 1,000 repositories {few} kB, of 100,000 {many} kB");
    if many > few * 5 / 4 {
        println!("MISSED: the inventory's memory grows");
        outcome = ExitCode::FAILURE;
    }
    let [small, .., large] = &measured;
    if large.kilobytes > small.kilobytes * 5 / 4 {
        println!("MISSED: memory grows from {} kB to {} kB", small.kilobytes, large.kilobytes);
        outcome = ExitCode::FAILURE;
    }
    outcome
}

/// The peak of the inventory's memory, in kilobytes.
fn inventory(folder: &Path, repositories: usize) -> u64 {
    let steward = steward(folder, repositories);
    let taken = steward.take_inventory(&Steward::begin("inventory", true)).response();
    assert_eq!(taken["inventory"]["repositories"], repositories);
    steward.inventory().peak()
}

fn steward(folder: &Path, repositories: usize) -> Steward {
    let aws = EcrStub::start();
    aws.generate(repositories, IMAGES);
    aws.only_count();
    let book =
        "policies: [{ name: all, repositories: ['*'], rules: [{ selection: any, maximumAgeLimit: 14 }],
        limits: { images: 1000, percent: 100 } }]";
    aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), book));
    let start =
        |aws: &EcrStub, name: &str| cloud::function_at(aws, &folder.join(name).join("bootstrap"), PLENTY);
    Steward::of(aws, start)
}

/// The first run over a registry, which changes nothing.
fn measure(folder: &Path, repositories: usize) -> Measured {
    let steward = steward(folder, repositories);
    let begun = Instant::now();
    let report = steward.run("sweep", true);
    let took = begun.elapsed();
    assert_eq!(report["totals"]["images"]["imageTotalCount"], repositories * IMAGES);
    let attention = &report["repositories"][0];
    let unfinished = &report["unfinishedBatches"];
    assert_eq!(
        report["status"], "SUCCEEDED",
        "{unfinished}, {} {}",
        attention["status"], attention["obstacles"]
    );
    let of_ecr = ["DescribeRepositories", "DescribeImages", "BatchGetImage", "GetLifecyclePolicy"];
    let counts = steward.aws.counts();
    Measured {
        repositories,
        calls: of_ecr.iter().filter_map(|operation| counts.get(*operation)).sum(),
        kilobytes: steward.preview().peak(),
        microseconds: took.as_secs_f64() * 1e6,
    }
}
