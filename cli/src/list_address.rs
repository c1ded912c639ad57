//! `ecr-steward in-use --write`: where a list of what is in use goes in the bucket of a registry's stack.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use shared::domain::enforcement::policy_set::LISTS;
use shared::domain::usage::reports::{is_account, is_region};

use crate::account::bucket_name;
use crate::complete;

/// Whether a list is written, and where.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Writing a list")]
pub(crate) struct Writing {
    /// Put the list into the bucket of a registry's stack instead of printing it, even one that is not complete: s3://BUCKET, where it
    /// becomes usage/ACCOUNT/REGION.json. With --kubernetes s3://BUCKET/usage/eks/CLUSTER.json, or from another account or Region
    /// s3://BUCKET/usage/ACCOUNT/eks/REGION/CLUSTER.json.
    #[arg(long, value_name = "URI", conflicts_with_all = ["bucket", "stack", "assume_role"], value_parser = ListAddress::parse)]
    pub(crate) write: Option<ListAddress>,

    /// The Region of that bucket, where it is another one than --region.
    #[arg(long, value_name = "REGION", requires = "write", add = complete::region(), value_parser = NonEmptyStringValueParser::new())]
    pub(crate) bucket_region: Option<String>,

    /// How many of the last revisions of each family of task definitions are in use, as `taskDefinitionRevisions` in the policies file
    /// of the registry says; without it 5.
    #[arg(long, value_name = "NUMBER", requires = "write", value_parser = clap::value_parser!(u64).range(1..=1000))]
    #[cfg_attr(feature = "kubernetes", arg(conflicts_with = "kubernetes"))]
    pub(crate) task_definition_revisions: Option<u64>,

    /// Read what templates and parameters of CloudFormation stacks name, too: where the policies file of the registry has `stacks`.
    #[arg(long, requires = "write")]
    #[cfg_attr(feature = "kubernetes", arg(conflicts_with = "kubernetes"))]
    pub(crate) read_stacks: bool,
}

/// Whose use a list tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The account and Region that are read.
    Here,
    /// An account in a Region.
    Place {
        /// The account.
        account: String,
        /// The Region.
        region: String,
    },
    /// A cluster of Amazon EKS.
    Cluster {
        /// Its name.
        cluster: String,
        /// Its account and Region, where the key names them.
        place: Option<(String, String)>,
    },
}

/// Where a list goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListAddress {
    pub(crate) bucket: String,
    /// The key of the list; empty where the address is a bucket alone.
    pub(crate) key: String,
    pub(crate) subject: Subject,
}

/// Why a list does not go to an address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddressError {
    #[error(
        "{key} is the list of an EKS cluster, and this would be one of an account: write s3://{bucket}, or add --kubernetes, which \
         releases have"
    )]
    OfCluster { bucket: String, key: String },
    #[cfg(feature = "kubernetes")]
    #[error(
        "the list of an EKS cluster goes to s3://{bucket}/{LISTS}eks/CLUSTER.json, or from another account or Region to \
         s3://{bucket}/{LISTS}ACCOUNT/eks/REGION/CLUSTER.json"
    )]
    OfAccount { bucket: String },
    #[error(
        "{key} is the list of another account or Region: the credentials are of {account}, and what is read is in {region}; write \
         s3://{bucket}, and set --region and --profile to what is to be read"
    )]
    Elsewhere { bucket: String, key: String, account: String, region: String },
}

impl ListAddress {
    /// Reads an address.
    fn parse(text: &str) -> Result<Self, String> {
        let form = || {
            format!(
                "write s3://BUCKET or s3://BUCKET/{LISTS}ACCOUNT/REGION.json; with --kubernetes s3://BUCKET/{LISTS}eks/CLUSTER.json, or \
                 s3://BUCKET/{LISTS}ACCOUNT/eks/REGION/CLUSTER.json from another account or Region"
            )
        };
        let rest = text.strip_prefix("s3://").ok_or_else(form)?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let bucket = bucket_name(bucket)?;
        let of = |subject| Ok(Self { bucket: bucket.clone(), key: key.to_owned(), subject });
        if key.is_empty() {
            return of(Subject::Here);
        }
        let name = key.strip_prefix(LISTS).and_then(|name| name.strip_suffix(".json")).ok_or_else(form)?;
        let parts: Vec<&str> = name.split('/').collect();
        let (cluster, place) = match parts[..] {
            ["eks", cluster] => (cluster, None),
            [account, "eks", region, cluster] if is_account(account) && is_region(region) => {
                (cluster, Some((account.to_owned(), region.to_owned())))
            }
            [account, region] if is_account(account) && is_region(region) => {
                return of(Subject::Place { account: account.to_owned(), region: region.to_owned() });
            }
            _ => return Err(form()),
        };
        // As Amazon EKS names clusters.
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if cluster.is_empty() || cluster.len() > 100 || !cluster.bytes().all(is_name) {
            return Err(format!("{cluster:?} is no name of a cluster of Amazon EKS; {}", form()));
        }
        of(Subject::Cluster { cluster: cluster.to_owned(), place })
    }

    /// Refuses what is not the list of this account and Region: nobody may tell of another one.
    pub(crate) fn check_place(&self, account: &str, region: &str) -> Result<(), AddressError> {
        let (bucket, key) = (self.bucket.clone(), self.key.clone());
        match &self.subject {
            Subject::Here => Ok(()),
            Subject::Place { account: of_account, region: of_region }
                if of_account == account && of_region == region =>
            {
                Ok(())
            }
            Subject::Place { .. } => Err(AddressError::Elsewhere {
                bucket,
                key,
                account: account.to_owned(),
                region: region.to_owned(),
            }),
            Subject::Cluster { .. } => Err(AddressError::OfCluster { bucket, key }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_written_where_the_stack_looks_for_it() {
        let of = |text: &str| {
            let address = ListAddress::parse(text).unwrap();
            (address.bucket, address.key, address.subject)
        };
        let bucket = "steward".to_owned();
        for text in ["s3://steward", "s3://steward/"] {
            assert_eq!(of(text), (bucket.clone(), String::new(), Subject::Here));
        }
        let (account, region) = ("210987654321".to_owned(), "eu-west-1".to_owned());
        let key = "usage/210987654321/eu-west-1.json".to_owned();
        let place = Subject::Place { account: account.clone(), region: region.clone() };
        assert_eq!(of(&format!("s3://steward/{key}")), (bucket.clone(), key, place));
        let cluster = |place| Subject::Cluster { cluster: "shop".to_owned(), place };
        let key = "usage/eks/shop.json".to_owned();
        assert_eq!(of(&format!("s3://steward/{key}")), (bucket.clone(), key, cluster(None)));
        let key = "usage/210987654321/eks/eu-west-1/shop.json".to_owned();
        assert_eq!(of(&format!("s3://steward/{key}")), (bucket, key, cluster(Some((account, region)))));
        for wrong in [
            "steward/usage/eks/shop.json",
            "s3://",
            "s3://steward/usage/shop.json",
            "s3://steward/usage/eks/shop",
            "s3://steward/usage/eks/a/b.json",
            "s3://steward/usage/eks/..json",
            "s3://steward/usage/eks/.json",
            "s3://steward/usage/21098765432/eu-west-1.json",
            "s3://steward/usage/210987654321/production.json",
            "s3://steward/usage/21098765432/eks/eu-west-1/shop.json",
            "s3://steward/usage/210987654321/eks//shop.json",
            "s3://steward/policies.yaml",
        ] {
            let problem = ListAddress::parse(wrong).unwrap_err();
            assert!(
                wrong == "s3://" || problem.contains("s3://BUCKET/usage/eks/CLUSTER.json"),
                "{wrong}: {problem}"
            );
        }
    }

    #[test]
    fn nobody_writes_the_list_of_another_account_or_region() {
        let check = |text: &str| {
            ListAddress::parse(text)
                .unwrap()
                .check_place("210987654321", "eu-west-1")
                .map_err(|error| error.to_string())
        };
        assert_eq!(check("s3://steward"), Ok(()));
        assert_eq!(check("s3://steward/usage/210987654321/eu-west-1.json"), Ok(()));
        for wrong in ["usage/333333333333/eu-west-1.json", "usage/210987654321/us-east-1.json"] {
            let problem = check(&format!("s3://steward/{wrong}")).unwrap_err();
            assert!(problem.contains("the credentials are of 210987654321"), "{problem}");
        }
        assert!(check("s3://steward/usage/eks/shop.json").unwrap_err().contains("--kubernetes"));
    }
}
