//! `ecr-steward in-use --kubernetes`: what a cluster runs, is about to run, or would run again after a rollback.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use shared::aws::Connection;
use shared::domain::enforcement::policy_set::LISTS;
use shared::domain::text::instant::Instant;
use shared::domain::text::quantity::count;
use shared::domain::usage::reports::is_account;
use shared::domain::usage::source::SourceStatus;
use shared::domain::usage::usage_list::{ListHead, SourceReport, UsageList, Writer};
use shared::domain::usage::{UnreadableSource, UsedImage};

pub(crate) use self::cluster::ClusterError;
use self::cluster::{Cluster, ClusterReading};
use self::kinds::Without;
use crate::account::{self, Aws, bucket_name};
use crate::{Failure, Outcome, output, progress};

mod cluster;
mod images;
mod kinds;

/// The source that lists and messages name; its parts are kinds.
const SOURCE: &str = "kubernetes";

/// Which cluster is read, and where its list goes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Kubernetes")]
pub(crate) struct Kubernetes {
    /// Read a Kubernetes cluster instead of this account: the one of kubectl, or in a pod its own.
    #[arg(long, conflicts_with_all = ["bucket", "stack", "assume_role"])]
    kubernetes: bool,

    /// The context of the kubeconfig file; without it the current one.
    #[arg(long, value_name = "NAME", requires = "kubernetes", value_parser = NonEmptyStringValueParser::new())]
    context: Option<String>,

    /// The kubeconfig file; without it those of KUBECONFIG, or ~/.kube/config.
    #[arg(long, value_name = "FILE", requires = "kubernetes")]
    kubeconfig: Option<PathBuf>,

    /// Put the list into the bucket of the registry's stack instead of printing it: s3://BUCKET/usage/eks/CLUSTER.json, or from another
    /// account or Region s3://BUCKET/usage/ACCOUNT/eks/REGION/CLUSTER.json. --region is the bucket's.
    #[arg(long, value_name = "URI", requires = "kubernetes", value_parser = target)]
    write: Option<Target>,

    /// A kind that was added to the cluster and holds no images: it is not read. As kubectl names it, such as rollouts.argoproj.io, or
    /// *.argoproj.io for all of a group; may be given more than once.
    #[arg(long, value_name = "KIND", requires = "kubernetes", value_parser = Without::parse)]
    without: Vec<Without>,

    /// A registry that stands before Amazon ECR, such as images.example.com: its tags count too; may be given more than once.
    #[arg(long, value_name = "HOST", requires = "kubernetes", value_parser = NonEmptyStringValueParser::new())]
    registry_host: Vec<String>,
}

impl Kubernetes {
    /// Whether a cluster is to be read.
    pub(crate) const fn is_asked_for(&self) -> bool {
        self.kubernetes
    }
}

/// Where the list of a cluster goes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    bucket: String,
    key: String,
    cluster: String,
    /// The account and Region of the cluster, where the key names them.
    place: Option<(String, String)>,
}

/// Reads the address of a cluster's list.
fn target(text: &str) -> Result<Target, String> {
    let form = || {
        format!(
            "write s3://BUCKET/{LISTS}eks/CLUSTER.json, or s3://BUCKET/{LISTS}ACCOUNT/eks/REGION/CLUSTER.json from another account or Region"
        )
    };
    let (bucket, key) = text.strip_prefix("s3://").and_then(|rest| rest.split_once('/')).ok_or_else(form)?;
    let bucket = bucket_name(bucket)?;
    let parts: Vec<&str> = key
        .strip_prefix(LISTS)
        .and_then(|name| name.strip_suffix(".json"))
        .map(|name| name.split('/').collect())
        .unwrap_or_default();
    let is_region = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let (cluster, place) = match parts.as_slice() {
        ["eks", cluster] => (*cluster, None),
        [account, "eks", region, cluster]
            if is_account(account) && !region.is_empty() && is_region(region) =>
        {
            (*cluster, Some(((*account).to_owned(), (*region).to_owned())))
        }
        _ => return Err(form()),
    };
    // As Amazon EKS names clusters.
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if cluster.is_empty() || cluster.len() > 100 || !cluster.bytes().all(is_name) {
        return Err(format!("{cluster:?} is no name of a cluster of Amazon EKS; {}", form()));
    }
    Ok(Target { bucket, key: key.to_owned(), cluster: cluster.to_owned(), place })
}

/// Reads a cluster, and prints or writes what it uses.
pub(crate) fn run(arguments: &Kubernetes, aws: &Aws) -> Result<Outcome, Failure> {
    aws.one_profile()?;
    let reading = match &arguments.write {
        None => {
            let reading = account::runtime()?.block_on(read(arguments));
            progress::clear();
            let reading = reading?;
            let problems = tell(&reading);
            let (used, unknown) = reading.images.parts();
            for image in &unknown {
                let _ = writeln!(
                    output::error(),
                    "ecr-steward: not known completely: {} runs {}, and its node does not tell the digest: the image was imported, not \
                     pulled; have it pulled, or write the list into the bucket, which tells that",
                    image.used_by,
                    image.reference
                );
            }
            if problems > 0 || !unknown.is_empty() {
                return Ok(Outcome::Unusable);
            }
            return print(&used);
        }
        // Who may not write need not read.
        Some(target) => account::connected(aws, async |connection| {
            let writer = writer(connection, target).await?;
            let began_at = Instant::now();
            let reading = read(arguments).await?;
            progress::phase("writing the list");
            write(connection, target, writer, began_at, &reading).await?;
            Ok(reading)
        })?,
    };
    let problems = tell(&reading);
    if let Some(target) = &arguments.write {
        output::note(&format!(
            "Wrote s3://{}/{}: {} in use, {} read{}",
            target.bucket,
            target.key,
            count(reading.images.len() as u64, "reference"),
            count(reading.kinds.len() as u64, "kind"),
            if problems > 0 { ", and not everything: it blocks deletion until it is whole" } else { "" },
        ));
    }
    Ok(if problems > 0 { Outcome::Unusable } else { Outcome::Success })
}

async fn read(arguments: &Kubernetes) -> Result<ClusterReading, ClusterError> {
    progress::phase("connecting to the cluster");
    let cluster = Cluster::connect(arguments.kubeconfig.as_deref(), arguments.context.as_deref()).await?;
    cluster.read(&arguments.without, &arguments.registry_host).await
}

/// Says what was not read; gives how much that is.
fn tell(reading: &ClusterReading) -> usize {
    let problems = reading.problems().map(|(kind, problem)| {
        // What cannot be told to anybody is no reason to say something else.
        let _ = writeln!(output::error(), "ecr-steward: not known completely: {SOURCE}/{kind}: {problem}");
    });
    problems.count()
}

fn print(used: &[UsedImage]) -> Result<Outcome, Failure> {
    output::value(&used)?;
    Ok(Outcome::Success)
}

/// Who writes: of the cluster's account, and by name if that is the caller's too.
async fn writer(connection: &Connection, target: &Target) -> Result<Writer, Failure> {
    progress::phase("asking who writes");
    let caller = connection.sts().caller().await?;
    let (account, region) =
        target.place.clone().unwrap_or_else(|| (caller.account_id.clone(), connection.region().to_owned()));
    let principal = (caller.account_id == account).then_some(caller.arn);
    Ok(Writer { account, region, principal, program: format!("ecr-steward {}", env!("CARGO_PKG_VERSION")) })
}

async fn write(
    connection: &Connection,
    target: &Target,
    writer: Writer,
    began_at: Instant,
    reading: &ClusterReading,
) -> Result<(), Failure> {
    let text = list(target, writer, began_at, reading).to_json().map_err(std::io::Error::from)?;
    connection.s3().write(&target.bucket, &target.key, &text, "application/json").await?;
    Ok(())
}

/// The list of a cluster: what each kind names, and what was not read.
fn list(target: &Target, writer: Writer, began_at: Instant, reading: &ClusterReading) -> UsageList {
    let mut head = ListHead::new(began_at, writer);
    head.cluster = Some(target.cluster.clone());
    for kind in &reading.kinds {
        let is_complete = kind.problems.is_empty();
        head.sources.push(SourceReport {
            source: format!("{SOURCE}/{}", kind.name),
            status: if is_complete { SourceStatus::Complete } else { SourceStatus::Incomplete },
            read_at: kind.read_at,
            images_in_use: kind.images as u64,
        });
    }
    head.gaps = reading
        .problems()
        .map(|(source, problem)| UnreadableSource {
            source: format!("{SOURCE}/{source}"),
            repositories: Vec::new(),
            problem: problem.to_owned(),
        })
        .collect();
    let (images, unknown) = reading.images.parts();
    head.unknown_images = unknown;
    UsageList { head, images }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_goes_where_the_stack_looks_for_it() {
        let of =
            |text: &str| target(text).map(|target| (target.bucket, target.key, target.cluster, target.place));
        let (bucket, key) = ("steward".to_owned(), "usage/eks/shop.json".to_owned());
        assert_eq!(
            of("s3://steward/usage/eks/shop.json"),
            Ok((bucket.clone(), key, "shop".to_owned(), None))
        );
        let key = "usage/210987654321/eks/eu-west-1/shop.json".to_owned();
        let place = Some(("210987654321".to_owned(), "eu-west-1".to_owned()));
        assert_eq!(of(&format!("s3://steward/{key}")), Ok((bucket, key, "shop".to_owned(), place)));
        for wrong in [
            "steward/usage/eks/shop.json",
            "s3://steward",
            "s3://steward/usage/shop.json",
            "s3://steward/usage/eks/shop",
            "s3://steward/usage/eks/a/b.json",
            "s3://steward/usage/eks/..json",
            "s3://steward/usage/eks/.json",
            "s3://steward/usage/21098765432/eks/eu-west-1/shop.json",
            "s3://steward/usage/210987654321/eks//shop.json",
            "s3://steward/policies.yaml",
        ] {
            let problem = target(wrong).unwrap_err();
            assert!(problem.contains("s3://BUCKET/usage/eks/CLUSTER.json"), "{wrong}: {problem}");
        }
    }
}
