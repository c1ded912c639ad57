//! What a run over a registry costs as it grows: calls to ECR, memory, and time for each repository. A hundred images in each,
//! image indexes and signatures among them. `cargo local bench sweep`; fails where calls or memory grow.
//!
//! Builds the functions as they are deployed, with the tools that `cargo local` installs.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use local::Project;
use local::functions::build_for_aws;
use shared::domain::enforcement::batch::checks_native_policy;
use tests::cloud::{self, BUCKET};
use tests::ecr_stub::EcrStub;
use tests::steward::Steward;

const FUNCTIONS: [&str; 4] =
    ["lifecycle-enforce", "lifecycle-inventory", "lifecycle-preview", "lifecycle-report"];
const SIZES: [usize; 3] = [100, 1000, 10_000];
const IMAGES: usize = 100;
const CLUSTERS: usize = 20;
/// Services of each cluster, with a task each.
const SERVICES: usize = 25;
/// Active revisions of task definitions, of a family for each service.
const REVISIONS: usize = 20;
const LAMBDA_FUNCTIONS: usize = 200;
/// Things of each source that is read as a whole: job definitions, rules, schedules and so on.
const THINGS: usize = 50;
/// More than any invocation takes.
const PLENTY: Duration = Duration::from_secs(600);

struct Measured {
    repositories: usize,
    began_at: shared::domain::text::instant::Instant,
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
        // Pages of a thousand repositories, a page of images each, and the manifests of each one's image indexes; and the lifecycle
        // policies that are looked at today.
        let looked_at = (0..one.repositories)
            .filter(|number| checks_native_policy(&format!("fleet/{number:05}"), one.began_at))
            .count();
        let fewest = one.repositories.div_ceil(1000) + 2 * one.repositories + looked_at;
        if one.calls != fewest {
            println!(
                "MISSED: {} calls for {} repositories, and {fewest} would do",
                one.calls, one.repositories
            );
            outcome = ExitCode::FAILURE;
        }
    }
    if looks(&folder) == ExitCode::FAILURE {
        outcome = ExitCode::FAILURE;
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

/// Calls to ECS and Lambda for each look at what is in use: the first of a run, the first again when what never changes is
/// remembered, and the one right before something goes. 20 clusters, 500 services, 10,000 task definition revisions.
fn looks(folder: &Path) -> ExitCode {
    let aws = EcrStub::start();
    aws.generate(1, IMAGES);
    let policies =
        "policies: [{ name: all, repositories: ['*'], rules: [{ selection: any, maximumAgeLimit: 14 }],
        apply: delete, limits: { images: 1000, percent: 100 } }]";
    aws.cloud(|cloud| {
        cloud.upload(&format!("{BUCKET}/policies.yaml"), policies);
        for cluster in 0..CLUSTERS {
            for service in 0..SERVICES {
                let (cluster, name) = (format!("cluster-{cluster}"), format!("service-{cluster}-{service}"));
                let image = format!("other/{name}:live");
                let digest = format!("sha256:{:064x}", cluster.len() + service);
                let revisions: Vec<String> =
                    (0..REVISIONS).map(|_| cloud.ecs.register(&name, &[&image])).collect();
                if let Some(last) = revisions.last() {
                    let deployed = cloud.ecs.deploy(&cluster, &name, last, Some(&digest));
                    cloud.ecs.run_service_task(&cluster, &deployed, last, Some(&digest));
                }
            }
        }
        for function in 0..LAMBDA_FUNCTIONS {
            let image = format!("other/function-{function}:live");
            let resolved = format!("other/function-{function}@sha256:{function:064x}");
            cloud.functions.add(&format!("function-{function}"), "$LATEST", &image, &resolved);
        }
        for thing in 0..THINGS {
            let (name, image) = (format!("thing-{thing}"), format!("other/thing-{thing}:live"));
            // One that is described anyway, so that the table above stays what it is about.
            let revision = "arn:aws:ecs:eu-west-1:123456789012:task-definition/service-0-0:20";
            let sources = &mut cloud.sources;
            sources.batch.register(&name, 1, &image);
            sources.rules.start_tasks("default", &name, "cluster-0", revision);
            sources.schedules.start_tasks("default", &name, "cluster-0", revision);
            sources.pipes.start_tasks(&name, "cluster-0", revision);
            sources.machines.start_tasks(&name, revision);
            sources.projects.projects.push((name.clone(), image.clone()));
            sources.app_runner.create(&name, &image, 1.0);
            sources.models.create(&name, &serde_json::json!({ "Image": image }));
        }
    });
    let start =
        |aws: &EcrStub, name: &str| cloud::function_at(aws, &folder.join(name).join("bootstrap"), PLENTY);
    let steward = Steward::of(aws, start);
    println!(
        "\n{:<44}{:>12}{:>12}{:>24}",
        "look at what is in use", "ECS calls", "Lambda calls", "of them once a run"
    );
    let count = |names: &[&str]| -> usize { names.iter().map(|name| steward.aws.count(name)).sum() };
    let once = [
        "ListTaskDefinitions",
        "ListServiceDeployments",
        "ListDaemons",
        "DescribeDaemon",
        "DescribeDaemonRevisions",
        "ListDaemonTaskDefinitions",
        "DescribeDaemonTaskDefinition",
    ];
    let anew = [
        "ListClusters",
        "DescribeClusters",
        "ListTasks",
        "DescribeTasks",
        "ListServices",
        "DescribeServices",
        "DescribeServiceRevisions",
        "DescribeTaskDefinition",
    ];
    let counted = |what: &str| {
        let (again, first) = (count(&anew), count(&once));
        let lambda = count(&["ListFunctions", "GetFunction"]);
        println!("{what:<44}{:>12}{lambda:>12}{first:>24}", again + first);
        again + first
    };
    for (what, run) in [("the first of the first run", "first"), ("the first of a later run", "second")] {
        steward.aws.forget_calls();
        steward.take_inventory(&Steward::begin(run, true)).response();
        counted(what);
    }
    let whole = |aws: &EcrStub| {
        let mut calls: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
        for operation in aws.operations().iter().filter(|operation| **operation != cloud::EKS_CLUSTERS) {
            if let Some((source, _)) = operation.split_once(':') {
                *calls.entry(source.to_owned()).or_default() += 1;
            }
        }
        calls
    };
    println!("calls of a later look for each source that is read as a whole, with {THINGS} things each:");
    for (source, calls) in whole(&steward.aws) {
        println!("{source:<44}{calls:>12}");
    }
    let taken = steward.take_inventory(&Steward::begin("enforcing", false)).response();
    steward.aws.forget_calls();
    for key in steward.batches(&taken) {
        steward.work(&taken, &key);
    }
    let batches = steward.aws.count("BatchDeleteImage");
    // One before the repository and one after it; the revisions of services are asked once in an invocation.
    let calls = counted(&format!("both around a repository of {batches} batches"));
    let again = whole(&steward.aws);
    if !again.is_empty() {
        println!("MISSED: what is read once a run was read again: {again:?}");
        return ExitCode::FAILURE;
    }
    let pages = |all: usize, page: usize| all.div_ceil(page);
    let of_cluster = 1 + pages(SERVICES, 100) + 1 + pages(SERVICES, 10);
    let look = 2 + CLUSTERS * of_cluster;
    let most = 2 * look + pages(CLUSTERS * SERVICES, 20);
    if calls > most {
        println!("MISSED: {calls} calls to ECS, and {most} would do");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
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
    let policies_file =
        "policies: [{ name: all, repositories: ['*'], rules: [{ selection: any, maximumAgeLimit: 14 }],
        limits: { images: 1000, percent: 100 } }]";
    aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), policies_file));
    let start =
        |aws: &EcrStub, name: &str| cloud::function_at(aws, &folder.join(name).join("bootstrap"), PLENTY);
    Steward::of(aws, start)
}

/// The first run over a registry, which changes nothing.
fn measure(folder: &Path, repositories: usize) -> Measured {
    let steward = steward(folder, repositories);
    let (begun, began_at) = (Instant::now(), shared::domain::text::instant::Instant::now());
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
        began_at,
        calls: of_ecr.iter().filter_map(|operation| counts.get(*operation)).sum(),
        kilobytes: steward.preview().peak(),
        microseconds: took.as_secs_f64() * 1e6,
    }
}
