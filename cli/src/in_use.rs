//! `ecr-steward in-use`: everything in use in the account.

use std::io::Write;

use clap::Args;
use shared::aws::Failure as AwsFailure;
use shared::domain::enforcement::policy_set::{KEY, PolicySet, Sources, Stacks};
use shared::domain::text::instant::Instant;
use shared::domain::text::quantity::count;
use shared::domain::usage::Usage;
use shared::workflows::enforcement::report_usage::{Destination, Place, report_usage};
use shared::workflows::enforcement::{AwsClients, RunContext, read_usage};

use crate::account::{self, Aws, Bucket, TIMEOUT};
use crate::elsewhere::{Elsewhere, is_elsewhere};
use crate::list_address::{ListAddress, Writing};
use crate::{Failure, Outcome, output, progress};

/// Print every image in use in this account, and by what
///
/// Asks in one Region Amazon ECS (tasks, services with the digests that they pinned, the last revisions of task definitions,
/// managed daemons), AWS Lambda (all versions of functions), AWS Batch, EventBridge (rules, schedules, pipes), Step Functions,
/// CodeBuild, App Runner, SageMaker AI, Bedrock AgentCore, EMR Serverless and Inspector. With --bucket reads the lists that clusters and other accounts write for the
/// stack. Prints the JSON array that `preview --in-use` reads.
///
/// Every cluster of Amazon EKS needs a list, usage/eks/CLUSTER.json in the bucket, and every registry that deletions are
/// replicated to. A source that cannot be read is printed with the entry of policies.yaml that ignores it.
///
/// With --profile more than once, or --assume-role, reads what other accounts and Regions use, too, and names each.
///
/// With --kubernetes reads a cluster instead: pods, and whatever has a template of pods, also what a rollback starts again. It is
/// found as kubectl finds it, and in a pod by its service account.
///
/// With --write puts the list into the bucket of a registry's stack, as the reporter of an account and Region or a cluster does.
///
/// Exit code: 0, or 2 if a source could not be read completely; then nothing is printed but why, and a list that is written says so.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward in-use > in-use.json
  ecr-steward in-use --stack ecr-steward | jq --raw-output '.[].imageUri'
  ecr-steward in-use --profile registry --profile shop
  ecr-steward in-use --assume-role arn:aws:iam::210987654321:role/usage-reader
  ecr-steward in-use --kubernetes --context shop > in-use.json
  ecr-steward in-use --kubernetes --write s3://my-bucket/usage/eks/shop.json
  ecr-steward in-use --profile shop --write s3://my-bucket")]
pub(crate) struct Arguments {
    #[command(flatten)]
    bucket: Bucket,

    #[command(flatten)]
    elsewhere: Elsewhere,

    #[cfg(feature = "kubernetes")]
    #[command(flatten)]
    kubernetes: crate::kubernetes::Kubernetes,

    #[command(flatten)]
    writing: Writing,
}

pub(crate) fn run(arguments: &Arguments, aws: &Aws) -> Result<Outcome, Failure> {
    #[cfg(feature = "kubernetes")]
    if arguments.kubernetes.is_asked_for() {
        return crate::kubernetes::run(&arguments.kubernetes, &arguments.writing, aws);
    }
    if let Some(address) = &arguments.writing.write {
        return write(&arguments.writing, address, aws);
    }
    let usage = account::work_signed_in(aws, &arguments.bucket.if_named(), async |clients, session| {
        // An unreadable source is a gap. No network and credentials that AWS does not take concern every source: reported once, and
        // without the entries that ignore the sources.
        match clients.ecr.repositories(Some(1), None).await {
            Err(error) if matches!(error.failure, AwsFailure::Unreachable | AwsFailure::Credentials) => {
                Err(error.into())
            }
            _ => {
                let (own, sources) = observe(&clients).await?;
                arguments.elsewhere.add_to(own, aws, session, &sources).await
            }
        }
    })?;
    if !usage.gaps.is_empty() {
        let now = Instant::now();
        for gap in &usage.gaps {
            let (title, problem, entry) = (gap.title(), &gap.problem, gap.ignore_entry(now));
            let mut message = format!("ecr-steward: not known completely: {title}: {problem}");
            if !is_elsewhere(gap) {
                message += &format!(
                    "\n  Try again; if it stays so and does not matter, add to `ignore` below `usage` in {KEY}: {entry}"
                );
            }
            // What cannot be told to anybody is no reason to say something else.
            let _ = writeln!(output::error(), "{message}");
        }
        return Ok(Outcome::Unusable);
    }
    output::value(&usage.used())?;
    Ok(Outcome::Success)
}

/// Puts what this account uses in this Region into the bucket of a registry's stack, as the function that reports it does.
fn write(writing: &Writing, address: &ListAddress, aws: &Aws) -> Result<Outcome, Failure> {
    aws.one_profile()?;
    let mut sources = Sources::default();
    if writing.read_stacks {
        sources.stacks = Stacks::Everywhere;
    }
    if let Some(revisions) = writing.task_definition_revisions {
        sources.task_definition_revisions = revisions;
    }
    let reported = account::connected(aws, async |connection| {
        // Who may not write need not read.
        progress::phase("asking who writes");
        let (account, region) = (connection.sts().caller().await?.account_id, connection.region().to_owned());
        address.check_place(&account, &region)?;
        let program = concat!("ecr-steward ", env!("CARGO_PKG_VERSION")).to_owned();
        let destination = Destination {
            bucket: address.bucket.clone(),
            owner: None,
            region: writing.bucket_region.clone().unwrap_or_else(|| region.clone()),
        };
        progress::phase("reading what is in use, and writing the list");
        let clients = AwsClients::new(connection.clone(), String::new());
        let place = Place { account, region, program };
        Ok(report_usage(&clients, &sources, &destination, place, TIMEOUT).await?)
    })?;
    for gap in &reported.gaps {
        // What cannot be told to anybody is no reason to say something else.
        let _ =
            writeln!(output::error(), "ecr-steward: not known completely: {}: {}", gap.title(), gap.problem);
    }
    let is_whole = reported.gaps.is_empty();
    output::note(&format!(
        "Wrote s3://{}/{}: {} in use{}",
        reported.bucket,
        reported.key,
        count(reported.images_in_use as u64, "reference"),
        if is_whole { "" } else { ", and not everything: it blocks deletion until it is whole" },
    ));
    Ok(if is_whole { Outcome::Success } else { Outcome::Unusable })
}

/// What is in use, by the settings of the bucket's policies file if there is one.
pub(crate) async fn usage(clients: &RunContext<'_>) -> Result<Usage, Failure> {
    Ok(observe(clients).await?.0)
}

/// The same, with those settings.
pub(crate) async fn observe(clients: &RunContext<'_>) -> Result<(Usage, Sources), Failure> {
    progress::phase("reading what is in use");
    let mut policy_set = PolicySet::default();
    if !clients.bucket.is_empty()
        && let Some(object) = clients.s3.get(clients.bucket, KEY).await?
    {
        policy_set = PolicySet::parse(&object.text)
            .map_err(|findings| invalid_policies_file(KEY, &object.text, findings))?;
    }
    let sources = policy_set.usage().clone();
    Ok((by(clients, &sources).await?, sources))
}

/// What is in use, by the settings of a policies file.
pub(crate) async fn by(clients: &RunContext<'_>, sources: &Sources) -> Result<Usage, Failure> {
    progress::phase("reading what is in use");
    let before = read_usage::before(clients).await?;
    Ok(read_usage::observe(clients, sources, before, Instant::now()).await?.usage)
}

/// A policies file that nothing can be done by, with its findings as `check` prints them.
pub(crate) fn invalid_policies_file(
    file: &str,
    text: &str,
    findings: Vec<shared::domain::text::finding::Finding>,
) -> Failure {
    let number = count(findings.len() as u64, "finding");
    let lines = crate::check::lines(file, text, findings);
    Failure::Policy { file: file.to_owned(), problem: format!("is not valid, {number}:\n{lines}") }
}
