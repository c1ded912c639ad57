//! A repository: the requested one, the existing one, and the difference. Independent of AWS calls and of where the request comes
//! from.
//!
//! | module | contains |
//! | --- | --- |
//! | [`read`] | reads the request from an API's JSON or from CloudFormation's properties |
//! | [`access`] | who may pull, and the repository policy that is generated from it |
//! | [`mod@difference`] | the changes from the existing repository to the requested one |
//! | [`protection`] | whether the lifecycle policy is attached behind the protection rule, or suspended |
//! | [`describe`] | the API's representation of a repository, with the commands to push and pull |
//! | [`ownership`] | which CloudFormation resource created a repository |
//! | [`permissions`] | which repositories templates may adopt, and with whom they may share |
//!
//! The names of fields and values are those of ECR's `CreateRepository`. The defaults are ECR's and awsx's: mutable tags (apart
//! from this project's own), no scan on push, AES256, and a lifecycle policy that keeps one untagged image.

use std::collections::{BTreeMap, BTreeSet};

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::domain::enforcement::in_use_protection::{IN_USE, OWN_TAGS, OWN_TAGS_PATTERN};
use crate::domain::text::instant::Instant;

pub mod access;
pub mod describe;
pub mod difference;
pub mod ownership;
pub mod permissions;
pub mod protection;
pub mod read;

pub use crate::domain::image::name::Name;
pub use access::{PullAccess, RepositoryPolicy};
pub use describe::Description;
pub use difference::{Change, Difference, difference, difference_besides_policy};
pub use protection::{PolicyPlan, PolicyStatus, ProtectedPolicy, Protection};

/// The most tags that a repository can have, besides those of AWS.
pub const MAX_TAGS: usize = 50;

/// Tags of the repository itself, by key.
pub type Tags = BTreeMap<String, String>;

/// The requested settings without the name. Every setting has a value, given or default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Which image tags may be moved.
    pub tag_mutability: TagMutability,
    /// Whether ECR scans each image when it is pushed. Registry-wide scanning takes precedence.
    pub scan_on_push: bool,
    /// The encryption of the layers; fixed when the repository is created.
    pub encryption: Encryption,
    /// The repository's tags.
    pub tags: Tags,
    /// The lifecycle policy; `None` for a repository without one, which the request has to ask for by `skip`.
    pub lifecycle_policy: Option<ProtectedPolicy>,
    /// Who may pull from other accounts and services.
    pub policy: RepositoryPolicy,
}

/// `imageTagMutability` with `imageTagMutabilityExclusionFilters`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TagMutability {
    /// Whether tags cannot be moved once they are pushed.
    pub immutable: bool,
    /// Patterns of tags that are exceptions; `*` matches any run of characters. ECR accepts at most [`MAX_FILTERS`].
    pub exclusions: Vec<String>,
}

/// Maximum number of filters of tag mutability that ECR accepts.
pub const MAX_FILTERS: usize = 5;

/// Why protection tags could be moved to other images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Movable {
    /// There is no room for the filter that keeps them.
    TooManyFilters,
    /// The filter at this index makes them movable although other tags are immutable.
    ByFilter(usize),
}

impl TagMutability {
    /// Adds this project's own tags to those that cannot be moved. Anybody who could move a protection tag could take it from an
    /// image in use.
    ///
    /// # Errors
    ///
    /// If the filters make that impossible.
    pub fn protecting(mut self) -> Result<Self, Movable> {
        if self.immutable {
            let movable = self.exclusions.iter().position(|filter| may_match_protection_tag(filter));
            return movable.map_or(Ok(self), |place| Err(Movable::ByFilter(place)));
        }
        // What ends with its only `*` matches all that begins as it does.
        let keeps = |filter: &String| {
            filter.split_once('*').is_some_and(|(start, rest)| rest.is_empty() && OWN_TAGS.starts_with(start))
        };
        if self.exclusions.iter().any(keeps) {
            return Ok(self);
        }
        if self.exclusions.len() >= MAX_FILTERS {
            return Err(Movable::TooManyFilters);
        }
        self.exclusions.push(OWN_TAGS_PATTERN.to_owned());
        Ok(self)
    }

    /// The value as ECR spells it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match (self.immutable, self.exclusions.is_empty()) {
            (false, true) => "MUTABLE",
            (true, true) => "IMMUTABLE",
            (false, false) => "MUTABLE_WITH_EXCLUSION",
            (true, false) => "IMMUTABLE_WITH_EXCLUSION",
        }
    }

    /// Whether both are equal; the order of filters does not count.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let set = |filters: &[String]| filters.iter().cloned().collect::<BTreeSet<_>>();
        self.immutable == other.immutable && set(&self.exclusions) == set(&other.exclusions)
    }
}

/// Whether a filter matches some protection tag: the prefix, 64 hexadecimal digits, and a number for a spare one.
fn may_match_protection_tag(filter: &str) -> bool {
    let filter: Vec<char> = filter.chars().collect();
    // The places of the filter that the beginning of some protection tag leads to.
    let past_wildcards = |places: BTreeSet<usize>| -> BTreeSet<usize> {
        let wildcards = |place: usize| filter.iter().skip(place).take_while(|&&c| c == '*').count();
        places.into_iter().flat_map(|place| place..=place + wildcards(place)).collect()
    };
    let step = |places: &BTreeSet<usize>, is_next: &dyn Fn(char) -> bool| {
        let next = places.iter().filter_map(|&place| match filter.get(place) {
            Some('*') => Some(place),
            Some(&c) if is_next(c) => Some(place + 1),
            _ => None,
        });
        past_wildcards(next.collect())
    };
    let ends = |places: &BTreeSet<usize>| places.contains(&filter.len());
    let mut places = past_wildcards(BTreeSet::from([0]));
    for expected in IN_USE.chars() {
        places = step(&places, &|c| c == expected);
    }
    for _ in 0..64 {
        places = step(&places, &|c| matches!(c, '0'..='9' | 'a'..='f'));
    }
    if ends(&places) {
        return true;
    }
    places = step(&places, &|c| c == '-');
    (0..4).any(|_| {
        places = step(&places, &|c| c.is_ascii_digit());
        ends(&places)
    })
}

impl Serialize for TagMutability {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let filters = ExclusionFilters(&self.exclusions);
        let mut value = serializer.serialize_struct("TagMutability", 2)?;
        value.serialize_field("imageTagMutability", self.as_str())?;
        if !self.exclusions.is_empty() {
            value.serialize_field("imageTagMutabilityExclusionFilters", &filters)?;
        }
        value.end()
    }
}

/// Filters as ECR's API writes them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExclusionFilters<'a>(pub(crate) &'a [String]);

impl Serialize for ExclusionFilters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Filter<'a> {
            filter_type: &'static str,
            filter: &'a str,
        }
        serializer.collect_seq(self.0.iter().map(|filter| Filter { filter_type: "WILDCARD", filter }))
    }
}

/// `encryptionConfiguration`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Encryption {
    /// The kind of encryption.
    pub encryption_type: EncryptionType,
    /// The ARN or the id of the KMS key. `None` for AES256; with KMS it means the key that AWS manages for ECR.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
}

/// `encryptionType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum EncryptionType {
    /// Keys of Amazon S3.
    #[default]
    #[serde(rename = "AES256")]
    Aes256,
    /// A key in AWS KMS.
    #[serde(rename = "KMS")]
    Kms,
    /// Two layers with a key in AWS KMS.
    #[serde(rename = "KMS_DSSE")]
    KmsDsse,
}

impl EncryptionType {
    /// Every type, by the name that ECR gives it.
    pub const NAMES: [(&'static str, Self); 3] =
        [("AES256", Self::Aes256), ("KMS", Self::Kms), ("KMS_DSSE", Self::KmsDsse)];

    /// The type as ECR spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aes256 => "AES256",
            Self::Kms => "KMS",
            Self::KmsDsse => "KMS_DSSE",
        }
    }
}

impl Encryption {
    /// Whether a repository with the encryption `existing` fulfils this request. ECR returns the ARN of the key that AWS manages,
    /// too, so that a request without a key is fulfilled by any key of the right type.
    #[must_use]
    pub fn is_met_by(&self, existing: &Self) -> bool {
        let id = |key: &str| key.rsplit('/').next().unwrap_or(key).to_owned();
        self.encryption_type == existing.encryption_type
            && match (&self.kms_key, &existing.kms_key) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(asked), Some(has)) => id(asked) == id(has),
            }
    }
}

/// An existing repository, with everything that a request can set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existing {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// The account of its registry.
    pub registry_id: String,
    /// The URI to push to and pull from, without a tag.
    pub uri: String,
    /// The time of its creation.
    pub created_at: Option<Instant>,
    /// Which image tags may be moved.
    pub tag_mutability: TagMutability,
    /// Whether ECR scans each image when it is pushed.
    pub scan_on_push: bool,
    /// The encryption of its layers.
    pub encryption: Encryption,
    /// Its tags.
    pub tags: Tags,
    /// Its lifecycle policy as ECR has it.
    pub lifecycle_policy_text: Option<String>,
    /// Its repository policy as ECR has it.
    pub policy_text: Option<String>,
}

/// A registry: partition, account and Region, of which ARNs and generated policies are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    /// `aws`, `aws-cn`, `aws-us-gov` ….
    pub partition: String,
    /// The region.
    pub region: String,
    /// The account.
    pub account_id: String,
}

/// The partitions and the suffixes of their host names, as the AWS SDK has them; a test compares both.
pub const URL_SUFFIXES: [(&str, &str); 8] = [
    ("aws", "amazonaws.com"),
    ("aws-cn", "amazonaws.com.cn"),
    ("aws-us-gov", "amazonaws.com"),
    ("aws-eusc", "amazonaws.eu"),
    ("aws-iso", "c2s.ic.gov"),
    ("aws-iso-b", "sc2s.sgov.gov"),
    ("aws-iso-e", "cloud.adc-e.uk"),
    ("aws-iso-f", "csp.hci.ic.gov"),
];

/// A text that should be an ARN with a region and an account in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not an ARN with a region and an account", crate::domain::text::finding::quoted(.0))]
pub struct NotAnArn(String);

impl Registry {
    /// The suffix of AWS's host names in this partition.
    #[must_use]
    pub fn url_suffix(&self) -> &'static str {
        let found = URL_SUFFIXES.iter().find(|(partition, _)| *partition == self.partition);
        found.map_or("amazonaws.com", |(_, suffix)| suffix)
    }

    /// The host that images are pushed to and pulled from.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.dkr.ecr.{}.{}", self.account_id, self.region, self.url_suffix())
    }

    /// The ARN of a repository.
    #[must_use]
    pub fn repository_arn(&self, name: &str) -> String {
        let Self { partition, region, account_id } = self;
        format!("arn:{partition}:ecr:{region}:{account_id}:repository/{name}")
    }

    /// The registry of the account and region that an ARN names.
    ///
    /// # Errors
    ///
    /// When it names none.
    pub fn of_arn(arn: &str) -> Result<Self, NotAnArn> {
        let mut parts = arn.split(':');
        match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("arn"), Some(partition), Some(_), Some(region), Some(account))
                if !region.is_empty() && !account.is_empty() =>
            {
                Ok(Self {
                    partition: partition.to_owned(),
                    region: region.to_owned(),
                    account_id: account.to_owned(),
                })
            }
            _ => Err(NotAnArn(arn.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutability(immutable: bool, filters: &[&str]) -> TagMutability {
        TagMutability { immutable, exclusions: filters.iter().map(|&filter| filter.to_owned()).collect() }
    }

    #[test]
    fn protection_tags_cannot_be_moved_wherever_other_tags_can() {
        for (before, after) in [
            (&[][..], &["ecr-steward-*"][..]),
            (&["v*"], &["v*", "ecr-steward-*"]),
            (&["ecr-steward-*"], &["ecr-steward-*"]),
            (&["v*", "ecr-*"], &["v*", "ecr-*"]),
            (&["*"], &["*"]),
            (
                &["*-in-use-*", "ecr-steward-in-use-*"],
                &["*-in-use-*", "ecr-steward-in-use-*", "ecr-steward-*"],
            ),
        ] {
            let protecting = mutability(false, before).protecting();
            assert_eq!(protecting, Ok(mutability(false, after)));
            assert_eq!(
                mutability(false, after).protecting(),
                Ok(mutability(false, after)),
                "it is so already"
            );
        }
        assert_eq!(mutability(false, &["a", "b", "c", "d", "e"]).protecting(), Err(Movable::TooManyFilters));
    }

    #[test]
    fn where_no_tags_can_be_moved_no_filter_lets_protection_tags_be() {
        for filter in
            ["*", "ecr*", "*a*", "ecr-steward-in-use-*", "*-in-*-*", "*0", "*-17", "*-in-use-*-2", "e**"]
        {
            let movable = mutability(true, &["latest", filter]).protecting();
            assert_eq!(movable, Err(Movable::ByFilter(1)), "{filter}");
        }
        for filter in [
            "latest",
            "dev-*",
            "*-dev",
            "*.sig",
            "ecr-steward-in-use-",
            "ecr-steward-in-use-*g*",
            "*A*",
            "v*",
            "*-x*",
        ] {
            let settings = mutability(true, &[filter]);
            assert_eq!(settings.clone().protecting(), Ok(settings), "{filter}");
        }
        assert_eq!(mutability(true, &[]).protecting(), Ok(mutability(true, &[])));
    }
}
