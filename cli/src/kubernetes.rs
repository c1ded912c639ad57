//! `ecr-steward in-use --kubernetes`: what a cluster runs, is about to run, or would run again after a rollback.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use shared::aws::Connection;
use shared::domain::text::instant::Instant;
use shared::domain::text::quantity::count;
use shared::domain::usage::source::SourceStatus;
use shared::domain::usage::usage_list::{ListHead, SourceReport, UsageList, Writer};
use shared::domain::usage::{UnreadableSource, UsedImage};

pub(crate) use self::cluster::ClusterError;
use self::cluster::{Cluster, ClusterReading};
use self::kinds::Without;
use crate::account::{self, Aws};
use crate::list_address::{AddressError, ListAddress, Subject, Writing};
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
#[derive(Debug)]
struct Target<'a> {
    address: &'a ListAddress,
    cluster: &'a str,
    /// The account and Region of the cluster, where the key names them.
    place: Option<&'a (String, String)>,
    /// The Region of the bucket, where it is named.
    bucket_region: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn of(writing: &'a Writing) -> Result<Option<Self>, AddressError> {
        let Some(address) = &writing.write else { return Ok(None) };
        match &address.subject {
            Subject::Cluster { cluster, place } => Ok(Some(Self {
                address,
                cluster,
                place: place.as_ref(),
                bucket_region: writing.bucket_region.as_deref(),
            })),
            Subject::Here | Subject::Place { .. } => {
                Err(AddressError::OfAccount { bucket: address.bucket.clone() })
            }
        }
    }
}

/// Reads a cluster, and prints or writes what it uses.
pub(crate) fn run(arguments: &Kubernetes, writing: &Writing, aws: &Aws) -> Result<Outcome, Failure> {
    aws.one_profile()?;
    let target = Target::of(writing)?;
    let reading = match &target {
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
    if let Some(Target { address, .. }) = &target {
        output::note(&format!(
            "Wrote s3://{}/{}: {} in use, {} read{}",
            address.bucket,
            address.key,
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
async fn writer(connection: &Connection, target: &Target<'_>) -> Result<Writer, Failure> {
    progress::phase("asking who writes");
    let caller = connection.sts().caller().await?;
    let (account, region) =
        target.place.cloned().unwrap_or_else(|| (caller.account_id.clone(), connection.region().to_owned()));
    let principal = (caller.account_id == account).then_some(caller.arn);
    Ok(Writer { account, region, principal, program: format!("ecr-steward {}", env!("CARGO_PKG_VERSION")) })
}

async fn write(
    connection: &Connection,
    target: &Target<'_>,
    writer: Writer,
    began_at: Instant,
    reading: &ClusterReading,
) -> Result<(), Failure> {
    let text = list(target, writer, began_at, reading).to_json().map_err(std::io::Error::from)?;
    let s3 = target.bucket_region.map_or_else(|| connection.s3(), |region| connection.s3_in(region));
    s3.write(&target.address.bucket, &target.address.key, &text, "application/json").await?;
    Ok(())
}

/// The list of a cluster: what each kind names, and what was not read.
fn list(target: &Target<'_>, writer: Writer, began_at: Instant, reading: &ClusterReading) -> UsageList {
    let mut head = ListHead::new(began_at, writer);
    head.cluster = Some(target.cluster.to_owned());
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
