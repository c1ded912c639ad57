//! What previewing and enforcing cost beside other programs that read the same registry: `cargo local bench peers`, or with `--short`
//! a tenth of it in a minute.
//!
//! Everything runs in turns on the same stub, so that ratios say something on a busy machine, too; processor time is user and system
//! time of the whole program, memory its peak. Beside the programs of this project, built as they are deployed, there are
//!
//! - the least program with the same SDK (`src/bin/minimal.rs`), which describes all images and decides by age;
//! - a script with boto3, pages of 1,000 images and 16 threads;
//! - Cloud Custodian, with the policy that comes closest.
//!
//! The latter two are installed from PyPI, and left out where they cannot be. Fails where a goal is missed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use local::Project;
use local::functions::build_for_aws;
use local::tools::{self, PEERS};
use tests::cloud::{self, BUCKET};
use tests::ecr_stub::EcrStub;
use tests::runtime_api::Function;
use tests::steward::Steward;
use tests::template;

const PROGRAMS: [&str; 6] = [
    "ecr-steward",
    "lifecycle-enforce",
    "lifecycle-inventory",
    "lifecycle-preview",
    "lifecycle-report",
    "minimal",
];
/// More than any invocation takes.
const PLENTY: Duration = Duration::from_secs(900);
/// How often a program's memory is looked at.
const LOOK: Duration = Duration::from_millis(2);
/// No limit, where none is measured.
const UNLIMITED: f64 = 9000.0;

const POLICY: &str = r#"{"rules": [{"rulePriority": 1, "selection": {"tagStatus": "any", "countType": "sinceImagePushed",
    "countUnit": "days", "countNumber": 90}, "action": {"type": "expire"}}]}"#;
const POLICIES_FILE: &str =
    "policies: [{ name: all, repositories: ['*'], rules: [{ selection: any, maximumAgeLimit: 90 }],
    limits: { images: 1000000, percent: 100 } }]\n";
const CUSTODIAN: &str =
    "policies: [{ name: old, resource: aws.ecr-image, filters: [{ type: value, key: imagePushedAt,
    value_type: age, op: greater-than, value: 90 }] }]\n";
const BOTO: &str = r#"
import boto3, datetime
from concurrent.futures import ThreadPoolExecutor
ecr = boto3.client("ecr")
old = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=90)
names = [r["repositoryName"] for p in ecr.get_paginator("describe_repositories").paginate(PaginationConfig={"PageSize": 1000}) for r in p["repositories"]]
def count(name):
    pages = ecr.get_paginator("describe_images").paginate(repositoryName=name, PaginationConfig={"PageSize": 1000})
    return sum(image["imagePushedAt"] < old for page in pages for image in page["imageDetails"])
with ThreadPoolExecutor(16) as pool:
    print(sum(pool.map(count, names)))
"#;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    Preview,
    Enforce,
    Functions,
    Minimal,
    Boto,
    Custodian,
}

impl Tool {
    const fn title(self) -> &'static str {
        match self {
            Self::Preview => "`preview --all`",
            Self::Enforce => "`enforce --all` (dry)",
            Self::Functions => "the functions (dry)",
            Self::Minimal => "least program, same SDK",
            Self::Boto => "boto3, 16 threads",
            Self::Custodian => "Cloud Custodian",
        }
    }
}

/// What a program took.
#[derive(Debug, Clone, Copy, Default)]
struct Measured {
    /// Processor time in seconds.
    cpu: f64,
    /// Seconds from its start to its end.
    wall: f64,
    /// The most memory that it had, in kilobytes; of several functions the most that one had.
    kilobytes: u64,
    /// Calls that list repositories or images.
    calls: usize,
    /// Throttled calls.
    throttled: usize,
    /// Whether it failed.
    has_failed: bool,
}

struct Bench {
    aws: EcrStub,
    programs: PathBuf,
    /// The programs of the packages from PyPI, if they could be installed.
    peers: Option<PathBuf>,
    scratch: PathBuf,
    is_short: bool,
    runs: Mutex<usize>,
}

/// A goal, and whether it is met.
struct Goal {
    what: String,
    is: f64,
    goal: f64,
    digits: usize,
}

fn main() -> ExitCode {
    let project = Project::here();
    let programs = build_for_aws(&project, &PROGRAMS).unwrap();
    let peers = tools::install(&project, PEERS);
    if let Err(error) = &peers {
        println!("without boto3 and Cloud Custodian: {error}");
    }
    let scratch = std::env::temp_dir().join(format!("peers-{}", std::process::id()));
    fs::create_dir_all(&scratch).unwrap();
    for (name, text) in
        [("policy.json", POLICY), ("policies.yaml", POLICIES_FILE), ("custodian.yaml", CUSTODIAN)]
    {
        fs::write(scratch.join(name), text).unwrap();
    }
    let aws = EcrStub::start();
    aws.take_any_request();
    aws.only_count();
    aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/policies.yaml"), POLICIES_FILE));
    let is_short = std::env::args().any(|argument| argument == "--short");
    let bench = Bench { aws, programs, peers: peers.ok(), scratch, is_short, runs: Mutex::default() };
    let started = Instant::now();
    let mut goals = bench.peers();
    goals.extend(bench.latency());
    goals.extend(bench.references());
    goals.extend(bench.memory());
    goals.extend(bench.throttling());
    fs::remove_dir_all(&bench.scratch).unwrap();
    println!("\n| goal | is | at most | |\n| --- | --- | --- | --- |");
    let mut outcome = ExitCode::SUCCESS;
    for Goal { what, is, goal, digits } in &goals {
        let is_met = is <= goal;
        println!("| {what} | {is:.digits$} | {goal:.digits$} | {} |", if is_met { "" } else { "MISSED" });
        if !is_met {
            outcome = ExitCode::FAILURE;
        }
    }
    println!("\n{} s", started.elapsed().as_secs());
    outcome
}

impl Bench {
    /// The size of something in the long form, or in the short one.
    const fn size(&self, long: usize, short: usize) -> usize {
        if self.is_short { short } else { long }
    }

    /// A program with the environment of a terminal on this AWS, which limits itself to this rate.
    fn command(&self, program: &Path, rate: f64) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", &self.scratch)
            .env("AWS_ENDPOINT_URL", self.aws.url())
            .env("AWS_REGION", "eu-west-1")
            .env("AWS_DEFAULT_REGION", "eu-west-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("ECR_REQUESTS_PER_SECOND", rate.to_string())
            .current_dir(&self.scratch);
        command
    }

    /// Runs a tool over the registry as it is; `None` if it is not installed.
    fn run(&self, tool: Tool, rate: f64, more: &[&str]) -> Option<Measured> {
        let own = |name: &str| self.command(&self.programs.join(name).join("bootstrap"), rate);
        let peer = |name: &str| self.peers.as_ref().map(|folder| self.command(&folder.join(name), rate));
        let command = match tool {
            Tool::Functions => return Some(self.functions(rate)),
            Tool::Preview => {
                let mut command = own("ecr-steward");
                command.args(["preview", "--all", "--policy", "policy.json"]).args(more);
                command
            }
            Tool::Enforce => {
                let mut command = own("ecr-steward");
                command.args(["enforce", "--all", "--policies", "policies.yaml"]).args(more);
                command
            }
            Tool::Minimal => own("minimal"),
            Tool::Boto => {
                let mut command = peer("python")?;
                command.args(["-c", BOTO]);
                command
            }
            Tool::Custodian => {
                let mut command = peer("custodian")?;
                command.args(["run", "--dryrun", "--cache-period", "0", "-s", "custodian", "custodian.yaml"]);
                command
            }
        };
        Some(self.measure(tool, command))
    }

    /// The calls that list repositories or images, and how many of all were throttled, since a count of those.
    fn calls(&self, throttled_before: usize) -> (usize, usize) {
        let counts = self.aws.counts();
        let of = |operation: &str| counts.get(operation).copied().unwrap_or_default();
        (of("DescribeRepositories") + of("DescribeImages"), self.aws.throttled() - throttled_before)
    }

    fn measure(&self, tool: Tool, mut command: Command) -> Measured {
        self.aws.forget_counts();
        let throttled = self.aws.throttled();
        let errors = self.scratch.join("errors");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&errors).unwrap());
        let started = Instant::now();
        let pid = libc::pid_t::try_from(command.spawn().unwrap().id()).unwrap();
        let mut kilobytes = 0;
        let (status, usage) = loop {
            // What the system counts as the most memory begins with that of this program.
            kilobytes = kilobytes.max(peak(pid));
            if let Some(ended) = ended(pid) {
                break ended;
            }
            std::thread::sleep(LOOK);
        };
        let wall = started.elapsed().as_secs_f64();
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
        let cpu = seconds(usage.ru_utime) + seconds(usage.ru_stime);
        let (calls, throttled) = self.calls(throttled);
        // A dry run ends with 1 if something needs attention.
        let code = libc::WEXITSTATUS(status);
        let has_failed = !libc::WIFEXITED(status) || !(code == 0 || code == 1 && tool == Tool::Enforce);
        if has_failed {
            let text = fs::read_to_string(&errors).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            println!("{} failed: {}", tool.title(), lines[lines.len().saturating_sub(5)..].join("\n"));
        }
        Measured { cpu, wall, kilobytes, calls, throttled, has_failed }
    }

    /// A whole run of the functions, with the stack's own `MaxConcurrency` and as many workers as its inventory wants of it.
    fn functions(&self, rate: f64) -> Measured {
        let run = {
            let mut runs = self.runs.lock().unwrap();
            *runs += 1;
            format!("peers-{runs}")
        };
        let (rate, most) = (rate.to_string(), template::default_of("MaxConcurrency"));
        let environment = [("ECR_REQUESTS_PER_SECOND", rate.as_str()), ("MAX_CONCURRENCY", most.as_str())];
        let start = |aws: &EcrStub, name: &str| {
            cloud::function_at(aws, &self.programs.join(name).join("bootstrap"), PLENTY, &environment)
        };
        let steward = Steward::of(self.aws.clone(), start);
        self.aws.forget_counts();
        let throttled = self.aws.throttled();
        let started = Instant::now();
        let taken = steward.take_inventory(&Steward::begin(&run, true)).response();
        let count = taken["maxConcurrency"].as_u64().unwrap();
        let workers = (0..count).map(|_| start(&self.aws, "lifecycle-preview")).collect();
        let workers = steward.work_side_by_side(&taken, workers);
        let report = steward.report(&taken);
        let wall = started.elapsed().as_secs_f64();
        let cpu = steward.cpu() + workers.iter().map(Function::cpu).sum::<Duration>();
        let kilobytes = workers.iter().chain(steward.all()).map(Function::peak).max().unwrap_or_default();
        let (calls, throttled) = self.calls(throttled);
        let has_failed = report["status"] == "FAILED" || report["unfinishedBatches"] != serde_json::json!([]);
        if has_failed {
            println!("the functions failed: {}", report["error"]);
        }
        // The next run's bucket is as empty as this one's was: what a run remembers of another registry would mislead it.
        self.aws.cloud(|cloud| {
            for key in cloud.keys(BUCKET, "").into_iter().filter(|key| key != "policies.yaml") {
                cloud.delete(&format!("{BUCKET}/{key}"));
            }
        });
        Measured { cpu: cpu.as_secs_f64(), wall, kilobytes, calls, throttled, has_failed }
    }

    /// Tools beside each other, in turns; the medians of each that is installed.
    fn in_turns(
        &self,
        tools: &[Tool],
        rounds: usize,
        run: impl Fn(Tool) -> Option<Measured>,
    ) -> Vec<(Tool, Measured)> {
        let mut all: Vec<(Tool, Vec<Measured>)> = tools.iter().map(|tool| (*tool, Vec::new())).collect();
        for _ in 0..rounds {
            for (tool, measured) in &mut all {
                measured.extend(run(*tool));
            }
        }
        all.into_iter()
            .filter(|(_, measured)| !measured.is_empty())
            .map(|(tool, all)| (tool, middle(&all)))
            .collect()
    }

    /// All tools on registries of several shapes.
    fn peers(&self) -> Vec<Goal> {
        const LONG: [(usize, usize); 4] = [(50, 200), (50, 2000), (1, 100_000), (2000, 50)];
        const SHORT: [(usize, usize); 3] = [(50, 200), (1, 10_000), (200, 50)];
        const ALL: [Tool; 6] =
            [Tool::Preview, Tool::Enforce, Tool::Functions, Tool::Minimal, Tool::Boto, Tool::Custodian];
        // The registry that the goals name; a short run has a tenth of its images.
        let of_goals = (50, self.size(2000, 200));
        println!("\n| registry | program | CPU s | to the least | to Custodian | calls | MB |");
        println!("| --- | --- | --- | --- | --- | --- | --- |");
        let mut goals = Vec::new();
        for &(repositories, images) in if self.is_short { &SHORT[..] } else { &LONG[..] } {
            self.aws.list(repositories, images, Duration::ZERO);
            let measured = self.in_turns(&ALL, 3, |tool| self.run(tool, UNLIMITED, &[]));
            let cpu =
                |tool: Tool| measured.iter().find(|(of, _)| *of == tool).map(|(_, measured)| measured.cpu);
            if (repositories, images) == of_goals {
                let enforce = cpu(Tool::Enforce).unwrap_or(f64::NAN);
                let mut compare = |other: &str, tool: Tool, most: f64, digits: usize| {
                    let title = format!("`enforce` (dry), {repositories} × {images}, CPU to {other}");
                    goals.push(goal(&title, cpu(tool).map_or(f64::NAN, |cpu| enforce / cpu), most, digits));
                };
                compare("the least program", Tool::Minimal, 1.1, 2);
                if self.peers.is_some() {
                    compare("Cloud Custodian", Tool::Custodian, 1.0 / 40.0, 3);
                }
            }
            for (tool, one) in &measured {
                let to = |other: Tool| cpu(other).map_or_else(String::new, |other| ratio(one.cpu / other));
                println!(
                    "| {repositories} × {images} | {}{} | {:.3} | {} | {} | {} | {:.1} |",
                    tool.title(),
                    if one.has_failed { ": FAILED" } else { "" },
                    one.cpu,
                    to(Tool::Minimal),
                    to(Tool::Custodian),
                    one.calls,
                    one.kilobytes as f64 / 1024.0
                );
            }
        }
        goals
    }

    /// How long programs wait, where each call takes a tenth of a second.
    fn latency(&self) -> Vec<Goal> {
        self.aws.list(50, 200, Duration::from_millis(100));
        println!("\n| 51 calls of 100 ms, 100 a second | seconds |\n| --- | --- |");
        let tools = [Tool::Preview, Tool::Enforce, Tool::Minimal];
        let measured = self.in_turns(&tools, 3, |tool| self.run(tool, 100.0, &[]));
        for (tool, one) in &measured {
            println!("| {} | {:.2} |", tool.title(), one.wall);
        }
        let goals = measured.iter().filter(|(tool, _)| *tool != Tool::Minimal);
        goals
            .map(|(tool, one)| goal(&format!("{}, 51 calls of 100 ms, s", tool.title()), one.wall, 1.0, 2))
            .collect()
    }

    /// What many references in use cost.
    fn references(&self) -> Vec<Goal> {
        let (repositories, references) = (self.size(2000, 500), self.size(10_000, 2500));
        self.aws.list(repositories, 20, Duration::ZERO);
        let used: Vec<String> = (0..references)
            .map(|number| {
                format!(
                    "123456789012.dkr.ecr.eu-west-1.amazonaws.com/fleet/{:05}:build-{}",
                    number / 5,
                    number % 5
                )
            })
            .collect();
        fs::write(self.scratch.join("used.json"), serde_json::to_string(&used).unwrap()).unwrap();
        let mut none = Vec::new();
        let mut many = Vec::new();
        for _ in 0..3 {
            none.extend(self.run(Tool::Preview, UNLIMITED, &[]));
            many.extend(self.run(Tool::Preview, UNLIMITED, &["--in-use", "used.json"]));
        }
        let (none, many) = (middle(&none).cpu, middle(&many).cpu);
        println!("\n| `preview --all`, {repositories} × 20 | CPU s | ratio |\n| --- | --- | --- |");
        println!(
            "| no references in use | {none:.3} | 1 |\n| {references} references | {many:.3} | {:.2} |",
            many / none
        );
        vec![goal(
            &format!("`preview --all`, {references} references in use to none, CPU"),
            many / none,
            1.5,
            2,
        )]
    }

    /// The most memory on large registries.
    fn memory(&self) -> Vec<Goal> {
        const ALL: [Tool; 4] = [Tool::Preview, Tool::Enforce, Tool::Functions, Tool::Minimal];
        let mut goals = Vec::new();
        println!("\n| registry | program | MB | CPU s |\n| --- | --- | --- | --- |");
        for (repositories, images, most) in
            [(self.size(32_000, 3200), 20, 64.0), (1, self.size(300_000, 30_000), 128.0)]
        {
            self.aws.list(repositories, images, Duration::ZERO);
            for tool in ALL {
                let Some(one) = self.run(tool, UNLIMITED, &[]) else { continue };
                let megabytes = one.kilobytes as f64 / 1024.0;
                let (title, failed) = (tool.title(), if one.has_failed { ": FAILED" } else { "" });
                println!("| {repositories} × {images} | {title}{failed} | {megabytes:.1} | {:.2} |", one.cpu);
                if tool != Tool::Minimal {
                    goals.push(goal(&format!("{title}, {repositories} × {images}, MB"), megabytes, most, 1));
                }
            }
        }
        goals
    }

    /// What a limit of the registry costs.
    fn throttling(&self) -> Vec<Goal> {
        const ALL: [Tool; 4] = [Tool::Preview, Tool::Enforce, Tool::Functions, Tool::Minimal];
        println!(
            "\n| limit | program | calls | throttled | time to the ideal |\n| --- | --- | --- | --- | --- |"
        );
        let (mut share, mut time): (f64, f64) = (0.0, 0.0);
        let long = [(20.0, 400), (100.0, 400), (100.0, 2000)];
        for &(rate, repositories) in if self.is_short { &long[1..2] } else { &long[..] } {
            self.aws.list(repositories, 20, Duration::from_millis(5));
            let least = 1 + repositories.div_ceil(1000) - 1 + repositories;
            let ideal = (least as f64 - rate) / rate;
            for tool in ALL {
                self.aws.limit(rate, rate);
                // A stack or terminal that was not set to the registry's rate begins at 20.
                let Some(one) = self.run(tool, rate, &[]) else { continue };
                let throttled = one.throttled as f64 / one.calls.max(1) as f64;
                let failed = if one.has_failed { ": FAILED" } else { "" };
                println!(
                    "| {rate}/s | {}{failed} | {} | {:.1}% | {:.2} |",
                    tool.title(),
                    one.calls,
                    throttled * 100.0,
                    one.wall / ideal
                );
                if tool != Tool::Minimal {
                    share = share.max(throttled);
                    time = time.max(one.wall / ideal);
                }
            }
            self.aws.unlimited();
        }
        vec![
            goal("throttled calls, %", share * 100.0, 3.0, 1),
            goal("time under a limit to the ideal", time, 1.15, 2),
        ]
    }
}

fn goal(what: &str, is: f64, goal: f64, digits: usize) -> Goal {
    Goal { what: what.to_owned(), is, goal, digits }
}

/// A ratio as people write it: small ones as fractions.
fn ratio(ratio: f64) -> String {
    if ratio < 0.5 { format!("1/{:.1}", 1.0 / ratio) } else { format!("{ratio:.2}") }
}

/// The medians, each by itself.
fn middle(all: &[Measured]) -> Measured {
    let median = |value: &dyn Fn(&Measured) -> f64| {
        let mut values: Vec<f64> = all.iter().map(value).collect();
        values.sort_unstable_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Measured {
        cpu: median(&|one| one.cpu),
        wall: median(&|one| one.wall),
        kilobytes: median(&|one| one.kilobytes as f64) as u64,
        has_failed: all.iter().any(|one| one.has_failed),
        ..all[0]
    }
}

/// The most memory that a process has had, in kilobytes; 0 when it has ended.
fn peak(pid: libc::pid_t) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The status and the usage of a child that has ended.
fn ended(pid: libc::pid_t) -> Option<(libc::c_int, libc::rusage)> {
    let mut status = 0;
    // SAFETY: all bits zero are a value of this struct of numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to values of this function. Nobody else waits for the child.
    let found = unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage) };
    assert!(found >= 0, "{}", std::io::Error::last_os_error());
    (found == pid).then_some((status, usage))
}
