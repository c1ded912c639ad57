//! Reports what an account uses in a Region, as a list in the bucket of a registry elsewhere.
//!
//! A list is written whatever could be read: what could not is in it as not read, so that nobody takes it for unused.

use std::time::Duration;

use serde::Serialize;

use super::object_problem::ObjectProblem;
use super::{AwsClients, RunError, read_usage};
use crate::domain::enforcement::policy_set::{LISTS, Sources};
use crate::domain::usage::UnreadableSource;
use crate::domain::usage::source::SourceStatus;
use crate::domain::usage::usage_list::Writer;

/// The time that is kept to write the list when reading takes all there is.
const TIME_TO_WRITE: Duration = Duration::from_secs(20);

/// Where lists are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The bucket.
    pub bucket: String,
    /// The account whose bucket it has to be; `None` for any.
    pub owner: Option<String>,
    /// The Region of the bucket.
    pub region: String,
}

/// Whose use is reported, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The account.
    pub account: String,
    /// The Region.
    pub region: String,
    /// The program and its version.
    pub program: String,
}

/// What was reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reported {
    /// The bucket.
    pub bucket: String,
    /// The key of the list.
    pub key: String,
    /// How many references to images it has.
    pub images_in_use: usize,
    /// The sources that could not be read completely.
    pub incomplete_sources: Vec<String>,
    /// Why they could not.
    #[serde(skip)]
    pub gaps: Vec<UnreadableSource>,
}

/// Reads what is in use and writes the list, within so much time.
///
/// # Errors
///
/// When no list could be written: not all sources answered in time, or Amazon S3 refuses it.
pub async fn report_usage(
    clients: &AwsClients,
    sources: &Sources,
    destination: &Destination,
    place: Place,
    left: Duration,
) -> Result<Reported, RunError> {
    let connection = clients.connection();
    let reading = clients.clients(left.saturating_sub(TIME_TO_WRITE.min(left / 2)));
    let writing = clients.clients(left);
    let Place { account, region, program } = place;
    // Who reads is for people: the account is that of the key, below which nobody else may write.
    let principal = match reading.call(connection.sts().caller()).await {
        Ok(caller) => Some(caller.arn),
        Err(error) => {
            tracing::warn!(%error, "the list does not say who read it");
            None
        }
    };
    let key = format!("{LISTS}{account}/{region}.json");
    let writer = Writer { account, region, principal, program };
    let list = read_usage::report(&reading, sources, writer, reading.now()).await?;
    let text = list.to_json().map_err(|error| RunError::Object {
        bucket: destination.bucket.clone(),
        key: key.clone(),
        problem: ObjectProblem::ListNotWritten(error.to_string()),
    })?;
    let Destination { bucket, owner, region } = destination;
    let s3 = connection.s3_in(region);
    let written = async {
        match owner {
            Some(owner) => s3.write_to_account(owner, bucket, &key, &text).await,
            None => s3.write(bucket, &key, &text, "application/json").await,
        }
    };
    writing.call(written).await?;
    let incomplete = list.head.sources.iter().filter(|source| source.status == SourceStatus::Incomplete);
    let reported = Reported {
        bucket: bucket.clone(),
        key,
        images_in_use: list.images.len(),
        incomplete_sources: incomplete.map(|source| source.source.clone()).collect(),
        gaps: list.head.gaps.clone(),
    };
    tracing::info!(
        key = reported.key,
        images = reported.images_in_use,
        incomplete = reported.incomplete_sources.join(", "),
        "reported what is in use"
    );
    Ok(reported)
}
