//! What a run over a registry costs as it grows: calls to ECR, memory, and time for each repository. A hundred images in each,
//! image indexes and signatures among them; and the calls that reading what is in use takes, source by source. `cargo local bench
//! sweep`; fails where calls or memory grow.
//!
//! Builds the functions as they are deployed, with the tools that `cargo local` installs. As `sweep calls` it only counts the
//! calls of reading what is in use, by the functions as the tests build them: those calls are the same. As `sweep changed` it only
//! counts those of a run over what has changed, by these functions, too.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use local::Project;
use local::functions::build_for_aws;
use shared::domain::enforcement::batch::checks_native_policy;
use tests::cloud::{self, BUCKET};
use tests::ecr_stub::EcrStub;
use tests::runtime_api::Function;
use tests::steward::Steward;

const FUNCTIONS: [&str; 5] =
    ["lifecycle-enforce", "lifecycle-inventory", "lifecycle-preview", "lifecycle-report", REPORTER];
/// The function that reports what its own account uses.
const REPORTER: &str = "usage-report";
/// The operations of Amazon ECR that a run makes.
const ECR: [&str; 4] = ["DescribeRepositories", "DescribeImages", "BatchGetImage", "GetLifecyclePolicy"];
/// The queue with the events of Amazon ECR.
const QUEUE: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/changes";
const SIZES: [usize; 3] = [100, 1000, 10_000];
const IMAGES: usize = 100;
/// The last revisions of each family that count as in use, as the stack has it by default.
const LAST_REVISIONS: usize = 5;
/// Things of each source that is read as a whole: job definitions, rules, schedules and so on.
const THINGS: usize = 50;
/// Sources that start tasks: rules, schedules, pipes and state machines.
const STARTERS: usize = 4;
/// More than any invocation takes.
const PLENTY: Duration = Duration::from_secs(600);

/// What an account runs on Amazon ECS and AWS Lambda.
struct Account {
    clusters: usize,
    /// Services of each cluster, with a task each.
    services: usize,
    /// Active revisions of task definitions, of a family for each service.
    revisions: usize,
    functions: usize,
}

/// 500 services, 10,000 revisions.
const USUAL: Account = Account { clusters: 20, services: 25, revisions: 20, functions: 200 };
/// 200 services, 20,000 revisions.
const LARGE: Account = Account { clusters: 10, services: 20, revisions: 100, functions: 3000 };

/// Operations of Amazon ECS that are called once a run.
const ECS_ONCE: [&str; 7] = [
    "ListTaskDefinitions",
    "ListServiceDeployments",
    "ListDaemons",
    "DescribeDaemon",
    "DescribeDaemonRevisions",
    "ListDaemonTaskDefinitions",
    "DescribeDaemonTaskDefinition",
];
/// Operations of Amazon ECS that are called right before a deletion, too.
const ECS_ANEW: [&str; 8] = [
    "ListClusters",
    "DescribeClusters",
    "ListTasks",
    "DescribeTasks",
    "ListServices",
    "DescribeServices",
    "DescribeServiceRevisions",
    "DescribeTaskDefinition",
];
const LAMBDA: [&str; 2] = ["ListFunctions", "GetFunction"];

/// Starts a function, with environment variables of its own.
type Start<'a> = &'a dyn Fn(&EcrStub, &str, &[(&str, &str)]) -> Function;

impl Account {
    /// How many calls to Amazon ECS a look right before a deletion makes, without service revisions.
    const fn look(&self) -> usize {
        let of_cluster = 1 + pages(self.services, 100) + 1 + pages(self.services, 10);
        2 + self.clusters * of_cluster
    }

    /// How many calls to Amazon ECS a run takes in addition, when what never changes is known.
    const fn once(&self) -> usize {
        // Deployments of each service, revisions of all families, daemons of each cluster and their task definitions.
        let services = self.clusters * self.services;
        services + pages(services * self.revisions, 100) + self.clusters + 1
    }

    /// How many more calls to Amazon ECS it takes when nothing is known: the last task definitions, the revisions of services, and the
    /// task definition that each source names that starts tasks.
    const fn unknown(&self) -> usize {
        let services = self.clusters * self.services;
        services * LAST_REVISIONS + pages(services, 20) + STARTERS
    }
}

const fn pages(all: usize, page: usize) -> usize {
    all.div_ceil(page)
}

struct Measured {
    repositories: usize,
    calls: usize,
    kilobytes: u64,
    microseconds: f64,
}

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "changed") {
        let start: Start<'_> = &|aws, name, environment| cloud::function_with(aws, name, PLENTY, environment);
        let changed = [4000, 10_000].map(|repositories| changed(start, repositories));
        return if changed.iter().all(Option::is_some) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if std::env::args().any(|argument| argument == "calls") {
        return calls(&|aws, name, environment| cloud::function_with(aws, name, PLENTY, environment));
    }
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
        // Pages of a thousand repositories, a page of images each, and the manifests of each one's image indexes. Where nothing is in
        // use and nothing goes, no lifecycle policy is looked at.
        let fewest = one.repositories.div_ceil(1000) + 2 * one.repositories;
        if one.calls != fewest {
            println!(
                "MISSED: {} calls for {} repositories, and {fewest} would do",
                one.calls, one.repositories
            );
            outcome = ExitCode::FAILURE;
        }
    }
    let counted = calls(&|aws, name, environment| {
        cloud::function_at(aws, &folder.join(name).join("bootstrap"), PLENTY, environment)
    });
    if counted == ExitCode::FAILURE {
        outcome = ExitCode::FAILURE;
    }
    let start: Start<'_> = &|aws, name, environment| {
        cloud::function_at(aws, &folder.join(name).join("bootstrap"), PLENTY, environment)
    };
    let [few, many] = [4000, 10_000].map(|repositories| changed(start, repositories));
    if few.is_none() || many.is_none() || many > few.map(|kilobytes| kilobytes * 5 / 4) {
        println!("MISSED: a run over what has changed: inventories of {few:?} and {many:?} kB");
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

/// What reading what is in use takes, in two accounts.
fn calls(start: Start<'_>) -> ExitCode {
    let outcomes = [looks(start), sources(start)];
    if outcomes.contains(&ExitCode::FAILURE) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// A registry with one repository and such an account, whose images are others.
fn filled(account: &Account) -> EcrStub {
    let aws = EcrStub::start();
    aws.generate(1, IMAGES);
    let policies =
        "policies: [{ name: all, repositories: ['*'], rules: [{ selection: any, maximumAgeLimit: 14 }],
        apply: delete, limits: { images: 1000, percent: 100 } }]";
    aws.cloud(|cloud| {
        cloud.upload(&format!("{BUCKET}/policies.yaml"), policies);
        for cluster in 0..account.clusters {
            for service in 0..account.services {
                let (cluster, name) = (format!("cluster-{cluster}"), format!("service-{cluster}-{service}"));
                let image = format!("other/{name}:live");
                let digest = format!("sha256:{:064x}", cluster.len() + service);
                let revisions: Vec<String> =
                    (0..account.revisions).map(|_| cloud.ecs.register(&name, &[&image])).collect();
                if let Some(last) = revisions.last() {
                    let deployed = cloud.ecs.deploy(&cluster, &name, last, Some(&digest));
                    cloud.ecs.run_service_task(&cluster, &deployed, last, Some(&digest));
                }
            }
        }
        for function in 0..account.functions {
            let image = format!("other/function-{function}:live");
            let resolved = format!("other/function-{function}@sha256:{function:064x}");
            cloud.functions.add(&format!("function-{function}"), "$LATEST", &image, &resolved);
        }
        for thing in 0..THINGS {
            let (name, image) = (format!("thing-{thing}"), format!("other/thing-{thing}:live"));
            // One that is described anyway, so that the table above stays what it is about.
            let last = account.revisions;
            let revision = format!("arn:aws:ecs:eu-west-1:123456789012:task-definition/service-0-0:{last}");
            let sources = &mut cloud.sources;
            sources.batch.register(&name, 1, &image);
            sources.rules.start_tasks("default", &name, "cluster-0", &revision);
            sources.schedules.start_tasks("default", &name, "cluster-0", &revision);
            sources.pipes.start_tasks(&name, "cluster-0", &revision);
            sources.machines.start_tasks(&name, &revision);
            sources.projects.projects.push((name.clone(), image.clone()));
            sources.app_runner.create(&name, &image, 1.0);
            sources.agentcore.update_runtime(&name, Some(&image), 1.0);
            sources.emr_serverless.create(&name, &image, None);
            sources.models.create(&name, &serde_json::json!({ "Image": image }));
        }
    });
    aws
}

/// Calls to ECS and Lambda for each look at what is in use: the first of a run, the first again when what never changes is
/// remembered, and the one right before something goes. 20 clusters, 500 services, 10,000 task definition revisions.
fn looks(start: Start<'_>) -> ExitCode {
    let steward = Steward::of(filled(&USUAL), |aws, name| start(aws, name, &[]));
    println!(
        "\n{:<44}{:>12}{:>12}{:>24}",
        "look at what is in use", "ECS calls", "Lambda calls", "of them once a run"
    );
    let count = |names: &[&str]| -> usize { names.iter().map(|name| steward.aws.count(name)).sum() };
    let counted = |what: &str| {
        let (again, first) = (count(&ECS_ANEW), count(&ECS_ONCE));
        let lambda = count(&LAMBDA);
        println!("{what:<44}{:>12}{lambda:>12}{first:>24}", again + first);
        again + first
    };
    for (what, run) in [("the first of the first run", "first"), ("the first of a later run", "second")] {
        steward.aws.forget_calls();
        steward.take_inventory(&Steward::begin(run, true)).response();
        counted(what);
    }
    let taken = steward.take_inventory(&Steward::begin("enforcing", false)).response();
    steward.aws.forget_calls();
    for key in steward.batches(&taken) {
        steward.work(&taken, &key);
    }
    let batches = steward.aws.count("BatchDeleteImage");
    // One before the repository and one after it; the revisions of services are asked once in an invocation.
    let calls = counted(&format!("both around a repository of {batches} batches"));
    let most = 2 * USUAL.look() + pages(USUAL.clusters * USUAL.services, 20);
    if calls > most {
        println!("MISSED: {calls} calls to ECS, and {most} would do");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The successful calls for each usage source, by its name.
fn by_source(aws: &EcrStub) -> BTreeMap<String, usize> {
    let mut calls: BTreeMap<String, usize> = BTreeMap::new();
    for operation in aws.operations() {
        let source = match operation.as_str() {
            of_ecs if ECS_ONCE.contains(&of_ecs) || ECS_ANEW.contains(&of_ecs) => "ecs",
            of_lambda if LAMBDA.contains(&of_lambda) => "lambda",
            "GetParameters" => "services of the Region",
            other => match other.split_once(':') {
                Some((source, _)) => source,
                None => continue,
            },
        };
        *calls.entry(source.to_owned()).or_default() += 1;
    }
    calls
}

/// Calls for each source: of the first and a later run when it begins, of a run around a repository with a deletion, and of
/// the function that reports what its account uses. 10 clusters, 200 services, 20,000 task definition revisions, 3,000 functions.
fn sources(start: Start<'_>) -> ExitCode {
    let steward = Steward::of(filled(&LARGE), |aws, name| start(aws, name, &[]));
    let calls_of_inventory = |run: &str| {
        steward.aws.forget_calls();
        steward.take_inventory(&Steward::begin(run, true)).response();
        by_source(&steward.aws)
    };
    let (first, later) = (calls_of_inventory("first"), calls_of_inventory("second"));
    let taken = steward.take_inventory(&Steward::begin("enforcing", false)).response();
    steward.aws.forget_calls();
    for key in steward.batches(&taken) {
        steward.work(&taken, &key);
    }
    let again = by_source(&steward.aws);
    let revisions = LAST_REVISIONS.to_string();
    let registry = [("REGISTRY_ACCOUNT", "123456789012"), ("REGISTRY_REGION", "eu-west-1")];
    let reads = [("TASK_DEFINITION_REVISIONS", revisions.as_str()), ("READ_STACKS", "false")];
    let reporter = start(&steward.aws, REPORTER, &[registry, reads].concat());
    steward.aws.forget_calls();
    let reported = reporter.invoke("{}".to_owned()).response();
    assert_eq!(reported["incompleteSources"], serde_json::json!([]));
    let reported = by_source(&steward.aws);
    println!(
        "\n{:<24}{:>12}{:>12}{:>26}{:>18}",
        "calls for each source", "first run", "later run", "around one repository", "reporter, each"
    );
    let tables = [&first, &later, &again, &reported];
    let names: std::collections::BTreeSet<&String> = tables.iter().flat_map(|calls| calls.keys()).collect();
    let of = |calls: &BTreeMap<String, usize>, name: &str| calls.get(name).copied().unwrap_or_default();
    for name in names {
        let [first, later, again, reported] = tables.map(|calls| of(calls, name));
        println!("{name:<24}{first:>12}{later:>12}{again:>26}{reported:>18}");
    }
    let (functions, services) = (pages(LARGE.functions, 50), LARGE.clusters * LARGE.services);
    let begins = LARGE.look() + LARGE.once();
    let mut missed = Vec::new();
    let mut at_most = |what: &str, calls: &BTreeMap<String, usize>, name: &str, most: usize| {
        let calls = of(calls, name);
        if calls > most {
            missed.push(format!("{what} takes {calls} calls for {name}, and {most} would do"));
        }
    };
    // What never changes is asked for once; the reporter, which reads no bucket, asks each time.
    at_most("the first run", &first, "ecs", begins + LARGE.unknown());
    at_most("the first run", &first, "lambda", functions + LARGE.functions);
    at_most("a later run", &later, "ecs", begins);
    at_most("a later run", &later, "lambda", functions);
    at_most("a repository", &again, "ecs", 2 * LARGE.look() + pages(services, 20));
    at_most("a repository", &again, "lambda", 2 * functions);
    at_most("the reporter", &reported, "ecs", begins + LARGE.unknown());
    at_most("the reporter", &reported, "lambda", functions + LARGE.functions);
    // A page, and what is in it: a target of each rule, a description of each of the others, and
    // of App Runner's, AgentCore's and EMR Serverless's also what is in it.
    for name in later.keys().filter(|name| !["ecs", "lambda"].contains(&name.as_str())) {
        at_most("a later run", &later, name, 2 * THINGS + LARGE.clusters + 10);
    }
    for name in again.keys().filter(|name| !["ecs", "lambda"].contains(&name.as_str())) {
        at_most("a repository", &again, name, 0);
    }
    for missed in &missed {
        println!("MISSED: {missed}");
    }
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The second run over a registry of which a tenth changed since the first, where a run looks only at what may have changed: the peak
/// of the inventory's memory in kilobytes; `None` if it made more calls than there have to be.
fn changed(start: Start<'_>, repositories: usize) -> Option<u64> {
    let steward = steward_with(start, repositories, 1000, &[("QUEUE_URL", QUEUE)]);
    steward.run("first", true);
    let is_changed = |number: usize| number.is_multiple_of(10);
    let now = shared::domain::text::instant::Instant::now();
    steward.aws.cloud(|cloud| {
        for number in (0..repositories).filter(|number| is_changed(*number)) {
            cloud.queues.send_event(QUEUE, &format!("fleet/{number:05}"), "PUSH", now.micros());
        }
    });
    let before = steward.aws.counts();
    let report = steward.run("second", true);
    let after = steward.aws.counts();
    let count = |operation: &str| {
        let of = |counts: &BTreeMap<String, usize>| counts.get(operation).copied().unwrap_or_default();
        of(&after) - of(&before)
    };
    assert_eq!(report["totals"]["images"]["imageTotalCount"], repositories * IMAGES);
    assert_eq!(report["status"], "SUCCEEDED", "{}", report["notices"]);
    // The check of own lifecycle policies, on the day of each repository: the images if they are not looked at anyway. As none is in
    // use, the policy is not.
    let checked = (0..repositories)
        .filter(|number| checks_native_policy(&format!("fleet/{number:05}"), now, Some(now)));
    let checks = checked.filter(|number| !is_changed(*number)).count();
    let calls: usize = ECR.iter().map(|operation| count(operation)).sum();
    let (receive, delete) = (count("ReceiveMessage"), count("DeleteMessageBatch"));
    let (get, put) = (count("GetObject"), count("PutObject"));
    let (inventory, reporter) = (steward.inventory().peak(), steward.report_function().peak());
    println!(
        "a tenth of {repositories} repositories changed: {} calls to ECR and {checks} for today's checks of own policies, SQS {receive} \
         ReceiveMessage and {delete} DeleteMessageBatch, S3 {get} GetObject and {put} PutObject; inventory {inventory} kB, report \
         {reporter} kB",
        calls - checks
    );
    let most = repositories.div_ceil(1000) + repositories / 10 + repositories / 100;
    (calls - checks <= most).then_some(inventory)
}

/// The peak of the inventory's memory, in kilobytes.
fn inventory(folder: &Path, repositories: usize) -> u64 {
    let steward = steward(folder, repositories);
    let taken = steward.take_inventory(&Steward::begin("inventory", true)).response();
    assert_eq!(taken["inventory"]["repositories"], repositories);
    steward.inventory().peak()
}

fn steward(folder: &Path, repositories: usize) -> Steward {
    let start: Start<'_> = &|aws, name, environment| {
        cloud::function_at(aws, &folder.join(name).join("bootstrap"), PLENTY, environment)
    };
    steward_with(start, repositories, 14, &[])
}

/// Functions over a registry, under a policy by which images of this age in days are deleted.
fn steward_with(start: Start<'_>, repositories: usize, days: u32, environment: &[(&str, &str)]) -> Steward {
    let aws = EcrStub::start();
    aws.generate(repositories, IMAGES);
    aws.only_count();
    let policies_file = format!(
        "policies: [{{ name: all, repositories: ['*'], rules: [{{ selection: any, maximumAgeLimit: {days} }}],
        limits: {{ images: 1000, percent: 100 }} }}]"
    );
    aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), &policies_file));
    Steward::of(aws, |aws, name| start(aws, name, environment))
}

/// The first run over a registry, which changes nothing.
fn measure(folder: &Path, repositories: usize) -> Measured {
    let steward = steward(folder, repositories);
    let started = Instant::now();
    let report = steward.run("sweep", true);
    let took = started.elapsed();
    assert_eq!(report["totals"]["images"]["imageTotalCount"], repositories * IMAGES);
    let attention = &report["repositories"][0];
    let unfinished = &report["unfinishedBatches"];
    assert_eq!(
        report["status"], "SUCCEEDED",
        "{unfinished}, {} {}",
        attention["status"], attention["blockers"]
    );
    let counts = steward.aws.counts();
    Measured {
        repositories,
        calls: ECR.iter().filter_map(|operation| counts.get(*operation)).sum(),
        kilobytes: steward.preview().peak(),
        microseconds: took.as_secs_f64() * 1e6,
    }
}
