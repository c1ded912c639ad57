//! Which services a Region lacks, by the public parameters of AWS Systems Manager.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::json;

use super::Connection;
use super::error::AwsError;
use crate::aws::sigv4::Service;

/// The prefix of `X-Amz-Target`.
const TARGET: &str = "AmazonSSM";
/// The path of the parameters.
const ROOT: &str = "/aws/service/global-infrastructure";
/// Maximum number of parameters of one call.
const BATCH: usize = 10;
/// A service that every Region has in which this runs: if the parameters do not have it, they do not know the Region.
const EVERYWHERE: &str = "ecr";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    parameters: Vec<Parameter>,
    #[serde(default)]
    invalid_parameters: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parameter {
    name: String,
}

/// Which of some services this Region lacks, by the names that the parameters have for them. A service that they do not know at
/// all is not lacking, nor is any in a Region that they do not know.
///
/// # Errors
///
/// Any error of Systems Manager.
pub(super) async fn lacking(
    connection: &Connection,
    services: &[&'static str],
) -> Result<BTreeSet<&'static str>, AwsError> {
    let ssm = Service::new("ssm", "SSM", connection);
    let region = connection.region();
    let of_aws = |service: &str| format!("{ROOT}/services/{service}");
    let of_region = |service: &str| format!("{ROOT}/regions/{region}/services/{service}");
    let mut names = vec![of_region(EVERYWHERE)];
    names.extend(services.iter().flat_map(|service| [of_aws(service), of_region(service)]));
    let mut there = BTreeSet::new();
    let mut missing = BTreeSet::new();
    for batch in names.chunks(BATCH) {
        let answer: Answer = ssm.call("GetParameters", TARGET, &json!({ "Names": batch })).await?;
        there.extend(answer.parameters.into_iter().map(|parameter| parameter.name));
        missing.extend(answer.invalid_parameters);
    }
    if !there.contains(&of_region(EVERYWHERE)) {
        return Ok(BTreeSet::new());
    }
    let is_lacking =
        |service: &&str| there.contains(&of_aws(service)) && missing.contains(&of_region(service));
    Ok(services.iter().copied().filter(is_lacking).collect())
}
