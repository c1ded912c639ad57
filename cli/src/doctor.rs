//! `ecr-steward doctor`: whether all is there that protection rests on, and what to do where it is not.

use std::collections::BTreeMap;
use std::io::Write;

use clap::{Args, ValueEnum};
use futures_util::stream::{self, StreamExt};
use serde::Serialize;
use shared::aws::sts::Caller;
use shared::aws::{AwsError, Connection, Failure as AwsFailure};
use shared::domain::enforcement::policy_set::{KEY, LISTS, PolicySet, Sources};
use shared::domain::image::deletion::ImageId;
use shared::domain::repository::{Existing, Name};
use shared::domain::text::instant::Instant;
use shared::domain::text::quantity::{age, count};
use shared::domain::usage::UnreadableSource;
use shared::domain::usage::reports::key_problem;
use shared::domain::usage::usage_snapshot::UsageSnapshot;
use shared::workflows::enforcement::{AwsClients, RunContext, RunError, read_usage};

use self::check::{Area, Check, goes_by_pulls, is_exempt, of_lists, of_replication, of_sources};
use crate::account::{self, Aws, Bucket, Place, STACK, TIMEOUT};
use crate::credentials::sign_in;
use crate::{Failure, Outcome, output, progress};

mod check;

/// Repositories whose policies are read at the same time.
const READ_CONCURRENCY: usize = 8;
/// The version of the form of the JSON.
const FORMAT_VERSION: u64 = 1;

/// Check everything that protection rests on, and say what to do
///
/// Looks at credentials, the Region, every permission that reading takes, the stack's bucket and its policies file, every source of
/// what is in use, the lists and how old they are, clusters of Amazon EKS and accounts that pull and do not report, replication, and
/// whether reading manifests counts as pulls. Only reads. Reads the policy of each repository: one call for each.
///
/// Exit code: 0 when all is well, 1 when there is something to do.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward doctor
  ecr-steward doctor --stack ecr-steward --output json | jq '.checks[] | select(.status == \"TO_DO\")'")]
pub(crate) struct Arguments {
    #[command(flatten)]
    bucket: Bucket,

    /// How to print.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Format {
    /// A table for a terminal.
    #[default]
    Table,
    /// JSON for programs.
    Json,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    format_version: u64,
    is_well: bool,
    checks: &'a [Check],
}

pub(crate) fn run(arguments: &Arguments, aws: &Aws) -> Result<Outcome, Failure> {
    aws.own_registry()?;
    let checks = account::runtime()?.block_on(examine(aws, &arguments.bucket.needed()));
    progress::clear();
    let is_well = checks.iter().all(Check::is_well);
    match arguments.output {
        Format::Json => output::value(&Report { format_version: FORMAT_VERSION, is_well, checks: &checks })?,
        Format::Table => print(&checks)?,
    }
    Ok(if is_well { Outcome::Success } else { Outcome::Different })
}

fn print(checks: &[Check]) -> Result<(), Failure> {
    /// Characters of the status and the area, in front of what was found.
    const LEAD: usize = 25;
    let mut out = output::text();
    for check in checks {
        let status = if check.is_well() { "ok" } else { "TO DO" };
        output::paragraph(&mut out, &format!("{status:7}{:18}", check.area.title()), &check.found, LEAD)?;
        if let Some(to_do) = &check.to_do {
            output::paragraph(&mut out, "", &format!("=> {to_do}"), LEAD)?;
        }
    }
    let to_do = checks.iter().filter(|check| !check.is_well()).count();
    match to_do {
        0 => writeln!(out, "\nAll is well.")?,
        some => {
            let things = count(some as u64, "thing");
            writeln!(out)?;
            output::paragraph(
                &mut out,
                "",
                &format!("{things} to do. What is not known blocks deletion."),
                0,
            )?;
        }
    }
    out.flush()?;
    Ok(())
}

/// Looks at everything, as far as it can be looked at.
async fn examine(aws: &Aws, place: &Place) -> Vec<Check> {
    let mut checks = Vec::new();
    progress::phase("signing in to AWS");
    let session = match sign_in(aws).await {
        Ok(session) => session,
        Err(error) => {
            checks.push(Check::to_do(
                Area::Credentials,
                "there is no way into an account",
                error.to_string(),
            ));
            return checks;
        }
    };
    let connection = &session.connection;
    let caller = match connection.sts().caller().await {
        Ok(caller) => caller,
        Err(error) => {
            let diagnosis = account::diagnosis(&error, connection, &session.origin).await;
            let to_do = diagnosis.map_or_else(|| error.to_string(), |problem| problem.to_string());
            checks.push(Check::to_do(Area::Credentials, "AWS does not say who calls", to_do));
            return checks;
        }
    };
    checks
        .push(Check::well(Area::Credentials, format!("{} of the account {}", caller.arn, caller.account_id)));
    checks.push(match account::region_like(connection.region()) {
        Some(known) => Check::to_do(
            Area::Region,
            format!(
                "{} (from {}) is none of the Regions that are known",
                connection.region(),
                session.origin
            ),
            format!("write {known}, if that is meant"),
        ),
        None => Check::well(Area::Region, format!("{} (from {})", connection.region(), session.origin)),
    });
    let bucket = bucket(connection, place, &mut checks).await;
    let clients = AwsClients::new(connection.clone(), bucket.unwrap_or_default());
    examine_account(&clients.clients(TIMEOUT), &caller, &mut checks).await;
    checks
}

/// The bucket of the stack.
async fn bucket(connection: &Connection, place: &Place, checks: &mut Vec<Check>) -> Option<String> {
    let stack = match place {
        Place::Bucket(bucket) => return Some(bucket.clone()),
        Place::Stack(stack) => stack.as_str(),
        Place::Nowhere => STACK,
    };
    let without = "without it there are no lists and no policies file, and nothing runs by itself";
    let found = match account::outputs(connection, stack).await {
        Ok(outputs) => account::output(&outputs, stack, "SourceBucketName").map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    match found {
        Ok(bucket) => Some(bucket),
        Err(Failure::Run(RunError::Aws(error))) => {
            checks.push(refused(Area::Bucket, &format!("the stack {stack} cannot be looked for"), &error));
            None
        }
        Err(failure) => {
            let to_do = format!("{failure} (`sam deploy`, --stack NAME, --bucket NAME)");
            checks.push(Check::to_do(
                Area::Bucket,
                format!("there is no bucket of a stack: {without}"),
                to_do,
            ));
            None
        }
    }
}

/// What was refused, and the permission that it takes.
fn refused(area: Area, what: &str, error: &AwsError) -> Check {
    let to_do = match error.failure {
        AwsFailure::Denied => format!("allow {}", account::action(error)),
        AwsFailure::Throttled | AwsFailure::Unavailable | AwsFailure::TimedOut => {
            "try again in a minute".to_owned()
        }
        AwsFailure::Unreachable => "look at the network, the Region and --endpoint-url".to_owned(),
        _ => "correct that, and look again".to_owned(),
    };
    Check::to_do(area, format!("{what}: {error}"), to_do)
}

async fn examine_account(clients: &RunContext<'_>, caller: &Caller, checks: &mut Vec<Check>) {
    let now = Instant::now();
    let repositories = permissions(clients, checks).await;
    let mut policy_set = None;
    if !clients.bucket.is_empty() {
        match clients.s3.list(clients.bucket, LISTS).await {
            Err(error) => checks.push(refused(Area::Bucket, clients.bucket, &error)),
            Ok(_) => checks
                .push(Check::well(Area::Bucket, format!("{}, whose objects may be listed", clients.bucket))),
        }
        policy_set = policies(clients, now, checks).await;
    }
    let sources = policy_set.as_ref().map(PolicySet::usage).cloned().unwrap_or_default();
    progress::phase("reading what is in use");
    let observed = async {
        let before = read_usage::before(clients).await?;
        read_usage::observe(clients, &sources, before, now).await
    };
    let snapshot = match observed.await {
        Ok(snapshot) => snapshot,
        Err(error) => {
            let to_do = "correct that: nothing is deleted before".to_owned();
            checks.push(Check::to_do(Area::Source, format!("what is in use cannot be read: {error}"), to_do));
            return;
        }
    };
    checks.extend(of_sources(&snapshot, now));
    lists(clients, &snapshot, now, checks).await;
    pullers(clients, &sources, &snapshot, (&repositories, caller), now, checks).await;
    checks.extend(of_replication(&snapshot, now));
    pull_times(clients, policy_set.as_ref(), caller, checks).await;
}

/// Tries every action on repositories that reading takes. Nothing is pulled: the image that is asked for does not exist.
async fn permissions(clients: &RunContext<'_>, checks: &mut Vec<Check>) -> Vec<Existing> {
    progress::phase("trying permissions");
    let repositories = match account::all(clients).await {
        Ok(repositories) => repositories,
        Err(error) => {
            checks.push(refused(Area::Permission, "repositories cannot be listed", &error));
            return Vec::new();
        }
    };
    let Some((repository, name)) =
        repositories.first().and_then(|first| Some((first, Name::parse(&first.name).ok()?)))
    else {
        let found = "ecr:DescribeRepositories; there is no repository to try others on".to_owned();
        checks.push(Check::well(Area::Permission, found));
        return repositories;
    };
    let none = [ImageId::Digest(format!("sha256:{}", "0".repeat(64)))];
    let ecr = clients.ecr;
    let (images, manifests, policy, access, tags) = tokio::join!(
        ecr.images_by_digest(&name, &none),
        ecr.manifests(&name, &none),
        ecr.lifecycle_policy(name.as_str()),
        ecr.repository_policy(name.as_str()),
        ecr.tags(&repository.arn)
    );
    let tried = [
        ("ecr:DescribeImages", images.err()),
        ("ecr:BatchGetImage", manifests.err()),
        ("ecr:GetLifecyclePolicy", policy.err()),
        ("ecr:GetRepositoryPolicy", access.err()),
        ("ecr:ListTagsForResource", tags.err()),
    ];
    let count = tried.len();
    let missing: Vec<Check> = tried
        .into_iter()
        .filter_map(|(action, error)| {
            // That there is no such image is said to those who may ask.
            let error = error.filter(|error| error.failure != AwsFailure::NotFound)?;
            let mut check = refused(Area::Permission, &format!("{action} on {}", repository.name), &error);
            if error.failure == AwsFailure::Denied {
                check.to_do = Some(format!("allow {action} on all repositories"));
            }
            Some(check)
        })
        .collect();
    if missing.is_empty() {
        let found = format!(
            "{} of Amazon ECR that reading takes, tried on {}",
            count_of_actions(count),
            repository.name
        );
        checks.push(Check::well(Area::Permission, found));
    }
    checks.extend(missing);
    repositories
}

fn count_of_actions(tried: usize) -> String {
    // And that they may be listed.
    count(tried as u64 + 1, "action")
}

/// Whether the policies file is there and valid, and how old.
async fn policies(clients: &RunContext<'_>, now: Instant, checks: &mut Vec<Check>) -> Option<PolicySet> {
    let object = match clients.s3.get(clients.bucket, KEY).await {
        Ok(Some(object)) => object,
        Ok(None) => {
            let to_do =
                format!("write one (`ecr-steward init`), and aws s3 cp {KEY} s3://{}/{KEY}", clients.bucket);
            checks.push(Check::to_do(
                Area::Policies,
                format!("there is no {KEY}: no policy is enforced"),
                to_do,
            ));
            return None;
        }
        Err(error) => {
            checks.push(refused(Area::Policies, KEY, &error));
            return None;
        }
    };
    let written = object.modified_at.map_or_else(String::new, |at| format!(", written {} ago", age(now, at)));
    match PolicySet::parse(&object.text) {
        Ok(policy_set) => {
            let policies = count_of_policies(policy_set.entries().len());
            checks.push(Check::well(Area::Policies, format!("{KEY} is valid: {policies}{written}")));
            Some(policy_set)
        }
        Err(findings) => {
            let problem = findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            let to_do = format!(
                "correct it (`ecr-steward check {KEY}`): until then nothing is enforced, and what ECR enforces is suspended"
            );
            checks.push(Check::to_do(Area::Policies, format!("{KEY} is invalid{written}: {problem}"), to_do));
            None
        }
    }
}

fn count_of_policies(number: usize) -> String {
    if number == 1 { "1 policy".to_owned() } else { format!("{number} policies") }
}

/// The lists that there are, and those that are missing.
async fn lists(clients: &RunContext<'_>, snapshot: &UsageSnapshot, now: Instant, checks: &mut Vec<Check>) {
    let mut found = BTreeMap::new();
    if !clients.bucket.is_empty() {
        // That they cannot be listed is told already: as the bucket's problem, and as a source's.
        if let Ok(listed) = clients.s3.list(clients.bucket, LISTS).await {
            let lists = listed.into_iter().filter(|object| !object.key.ends_with('/'));
            found = lists.map(|object| (object.key, object.modified_at)).collect();
        }
    }
    let found = found.into_iter().filter(|(key, _)| key_problem(key).is_none() || key.starts_with(LISTS));
    checks.extend(of_lists(found, snapshot, now));
}

/// Accounts that may pull, and that no list tells of.
async fn pullers(
    clients: &RunContext<'_>,
    sources: &Sources,
    snapshot: &UsageSnapshot,
    (repositories, caller): (&[Existing], &Caller),
    now: Instant,
    checks: &mut Vec<Check>,
) {
    progress::phase(format!("reading who may pull from {}", count_of_repositories(repositories.len())));
    let registry = caller.account_id.as_str();
    let reading = stream::iter(repositories).map(async |repository| {
        let Ok(name) = Name::parse(&repository.name) else { return Ok((Vec::new(), Vec::new())) };
        read_usage::unread_pullers(clients, sources, snapshot, &name, registry, now).await
    });
    let mut by_source: BTreeMap<String, Vec<UnreadableSource>> = BTreeMap::new();
    let mut reading = reading.buffered(READ_CONCURRENCY);
    while let Some(read) = reading.next().await {
        match read {
            Ok((gaps, _)) => {
                for gap in gaps {
                    by_source.entry(gap.source.clone()).or_default().push(gap);
                }
            }
            Err(error) => {
                let to_do = "look again".to_owned();
                checks.push(Check::to_do(
                    Area::Pullers,
                    format!("who may pull is not known: {error}"),
                    to_do,
                ));
                return;
            }
        }
    }
    if by_source.is_empty() {
        let found = format!(
            "of {}, none may be pulled from by an account that does not report",
            count_of_repositories(repositories.len())
        );
        checks.push(Check::well(Area::Pullers, found));
    }
    checks.extend(by_source.into_values().filter_map(|gaps| {
        let (first, others) = gaps.split_first()?;
        let mut check = Check::of_gap(Area::Pullers, first, now);
        if !others.is_empty() {
            check.found += &format!(" (and {} more)", count_of_repositories(others.len()));
        }
        Some(check)
    }));
}

fn count_of_repositories(number: usize) -> String {
    if number == 1 { "1 repository".to_owned() } else { format!("{number} repositories") }
}

/// Whether reading manifests counts as pulls for policies that go by pulls.
async fn pull_times(
    clients: &RunContext<'_>,
    policy_set: Option<&PolicySet>,
    caller: &Caller,
    checks: &mut Vec<Check>,
) {
    let by_pulls: Vec<&str> = policy_set.map(goes_by_pulls).unwrap_or_default();
    if by_pulls.is_empty() {
        checks.push(Check::well(Area::PullTimes, format!("no policy of {KEY} goes by pulls")));
        return;
    }
    match clients.registry.pull_time_update_exclusions().await {
        Err(error) => checks.push(refused(Area::PullTimes, "exclusions of pull times", &error)),
        Ok(exclusions) if is_exempt(&caller.arn, &exclusions) => {
            let found = format!("what {} reads does not count as pulls", caller.arn);
            checks.push(Check::well(Area::PullTimes, found));
        }
        Ok(_) => checks.push(Check::to_do(
            Area::PullTimes,
            format!("{} goes by pulls, and manifests that {} reads count as pulls", by_pulls.join(", "), caller.arn),
            "aws ecr register-pull-time-update-exclusion --principal-arn ARN-OF-THE-ROLE, also for the roles of the stack's functions".to_owned(),
        )),
    }
}
