//! Replication of images and deletions: what is deleted here may be deleted in the registry where it runs.

use serde::{Deserialize, Serialize};

use super::reports::Reporter;
use super::source::{UsageSource, When};
use crate::domain::enforcement::policy_set::LISTS;
use crate::domain::image::reference::ImageReference;
use crate::domain::lifecycle::matches_wildcard;
use crate::domain::usage::UnreadableSource;

/// The registries that deletions are replicated to.
pub const SOURCE: UsageSource = UsageSource {
    name: "replication",
    title: "replication",
    service: None,
    actions: &["ecr:DescribeRegistry"],
    blocks: true,
    when: When::OnceARun,
    calls: "1",
};

/// The answer of `DescribeRegistry`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryDescription {
    /// The account whose registry it is.
    pub registry_id: String,
    /// Its replication rules.
    #[serde(default)]
    pub replication_configuration: ReplicationConfiguration,
}

/// The rules of replication.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationConfiguration {
    /// The rules.
    #[serde(default)]
    pub rules: Vec<ReplicationRule>,
}

/// A rule: which repositories are replicated where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationRule {
    /// The registries that images are copied to.
    #[serde(default)]
    pub destinations: Vec<Destination>,
    /// Which repositories; without any, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repository_filters: Vec<RepositoryFilter>,
    /// Whether deletions are replicated, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_replication: Option<DeleteReplication>,
}

/// A registry that images are copied to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// The Region.
    pub region: String,
    /// The account.
    pub registry_id: String,
}

/// A filter of the repositories that a rule applies to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryFilter {
    /// The text.
    pub filter: String,
    /// The kind of comparison: `PREFIX_MATCH`, or for managed signing `WILDCARD_MATCH`.
    pub filter_type: String,
}

/// The replication of deletions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteReplication {
    /// Whether deletions are replicated.
    pub enabled: bool,
}

impl RepositoryFilter {
    /// The filter as a pattern of names; in doubt it applies to all.
    pub(super) fn pattern(&self) -> String {
        match self.filter_type.as_str() {
            "WILDCARD_MATCH" => self.filter.clone(),
            "PREFIX_MATCH" => format!("{}*", self.filter),
            _ => "*".to_owned(),
        }
    }
}

impl ReplicationRule {
    fn replicates_deletions(&self) -> bool {
        self.delete_replication.is_some_and(|delete| delete.enabled)
    }

    /// Patterns of the repositories that the rule applies to; empty for all.
    fn patterns(&self) -> Vec<String> {
        self.repository_filters.iter().map(RepositoryFilter::pattern).collect()
    }
}

/// The prefix of the source of a gap about protection tags in another registry. The account and the Region follow.
const REPLICATED_TAGS: &str = "protection-tags";

/// The registries to which the protection tags of a repository are replicated, since each is a push. They are gaps, so that the
/// policies file can ignore a registry.
#[must_use]
pub fn tag_gaps(registry: &RegistryDescription, repository: &str) -> Vec<UnreadableSource> {
    let mut gaps: Vec<UnreadableSource> = Vec::new();
    for rule in &registry.replication_configuration.rules {
        for Destination { region, registry_id } in &rule.destinations {
            let problem = format!(
                "its protection tags are replicated to the registry of the account {registry_id} in {region}, since each is a push: a \
                 lifecycle policy there that counts images by a pattern that these tags match, such as \"*\", takes others instead. \
                 Look at the policies there; if they do not, or {region} is protected by a stack of its own, say so by an entry of \
                 `ignore` below `usage` in the policies file"
            );
            let source = format!("{REPLICATED_TAGS}/{registry_id}/{region}");
            let gap = UnreadableSource { source, repositories: rule.patterns(), problem };
            let is_listed = gaps.iter().any(|unlisted| unlisted.source == gap.source);
            if gap.is_about(repository) && !is_listed {
                gaps.push(gap);
            }
        }
    }
    gaps
}

/// The registries to which a repository is replicated, each once.
#[must_use]
pub fn destinations(registry: &RegistryDescription, repository: &str) -> Vec<Destination> {
    let rules = registry.replication_configuration.rules.iter();
    let covering = rules.filter(|rule| {
        let patterns = rule.patterns();
        patterns.is_empty() || patterns.iter().any(|pattern| matches_wildcard(pattern, repository))
    });
    let mut destinations: Vec<Destination> = covering.flat_map(|rule| rule.destinations.clone()).collect();
    destinations.sort();
    destinations.dedup();
    destinations
}

/// A registry where an image disappears when it is deleted here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replica {
    /// The registry.
    #[serde(flatten)]
    pub destination: Destination,
    /// Patterns of the repositories whose deletions are replicated there; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
}

impl Replica {
    /// Whether a reference names an image of this replica of the repository, so that its source has to be kept.
    #[must_use]
    pub fn is_named_by(&self, reference: &ImageReference, repository: &str) -> bool {
        reference.repository == repository
            && reference.registry_id() == Some(&self.destination.registry_id)
            && reference.region() == Some(&self.destination.region)
            && self.as_gap(String::new(), String::new()).is_about(repository)
    }

    fn as_gap(&self, source: String, problem: String) -> UnreadableSource {
        UnreadableSource { source, repositories: self.repositories.clone(), problem }
    }
}

/// The registries that deletions are replicated to.
#[must_use]
pub fn replicas(registry: &RegistryDescription) -> Vec<Replica> {
    let rules = registry.replication_configuration.rules.iter().filter(|rule| rule.replicates_deletions());
    rules
        .flat_map(|rule| {
            let repositories = rule.patterns();
            rule.destinations.iter().map(move |destination| Replica {
                destination: destination.clone(),
                repositories: repositories.clone(),
            })
        })
        .collect()
}

/// The gaps of replicas that no list covers. A list of another account is enough; a list of the own account has to cover the
/// Region.
#[must_use]
pub fn gaps(replicas: &[Replica], own: &str, reporters: &[Reporter]) -> Vec<UnreadableSource> {
    let is_listed = |destination: &Destination| {
        reporters.iter().any(|reporter| {
            reporter.reports_account(&destination.registry_id)
                && (destination.registry_id != own || reporter.names_region(&destination.region))
        })
    };
    let unlisted_replicas = replicas.iter().filter(|replica| !is_listed(&replica.destination));
    unlisted_replicas
        .map(|replica| {
            let Destination { region, registry_id } = &replica.destination;
            let problem = format!(
                "what is deleted here is deleted in the registry of the account {registry_id} in {region} too, and no list \
                 tells what runs there; have it written to {LISTS}{registry_id}/{region}/<name>.json, or do not replicate \
                 deletions"
            );
            replica.as_gap(format!("replication/{registry_id}/{region}"), problem)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "123456789012";

    /// As ECR answers.
    fn registry() -> RegistryDescription {
        serde_json::from_str(
            r#"{"registryId": "123456789012", "replicationConfiguration": {"rules": [
                {"destinations": [{"region": "us-east-1", "registryId": "123456789012"},
                                  {"region": "us-east-1", "registryId": "222222222222"}],
                 "repositoryFilters": [{"filter": "prod/", "filterType": "PREFIX_MATCH"}],
                 "deleteReplication": {"enabled": true}},
                {"destinations": [{"region": "ap-south-1", "registryId": "123456789012"}],
                 "deleteReplication": {"enabled": false}},
                {"destinations": [{"region": "eu-north-1", "registryId": "123456789012"}]}]}}"#,
        )
        .unwrap()
    }

    fn unlisted(keys: &[(&str, &str)]) -> Vec<String> {
        let reporters: Vec<Reporter> = keys
            .iter()
            .map(|(key, account)| Reporter {
                key: (*key).to_owned(),
                account: Some((*account).to_owned()),
                region: None,
                cluster: None,
            })
            .collect();
        gaps(&replicas(&registry()), OWN, &reporters).into_iter().map(|gap| gap.source).collect()
    }

    #[test]
    fn where_deletions_are_replicated_the_destination_has_to_report() {
        let all = ["replication/123456789012/us-east-1", "replication/222222222222/us-east-1"];
        assert_eq!(unlisted(&[]), all);
        assert_eq!(unlisted(&[("usage/222222222222/eks.json", "222222222222")]), all[..1]);
        // A list of the own account that is not about the Region is about this one.
        assert_eq!(unlisted(&[("usage/123456789012/eks.json", OWN)]), all);
        assert_eq!(unlisted(&[("usage/123456789012/us-east-1/eks.json", OWN)]), all[1..]);
        assert_eq!(unlisted(&[("usage/123456789012/eks/us-east-1/web.json", OWN)]), all[1..]);
        let gap = &gaps(&replicas(&registry()), OWN, &[])[0];
        assert!(gap.is_about("prod/web") && !gap.is_about("dev/web"));
    }

    #[test]
    fn a_reference_to_the_copy_is_one_to_the_source() {
        let replicas = replicas(&registry());
        let names = |reference: &str, repository: &str| {
            let reference = reference.parse().unwrap();
            replicas.iter().any(|replica| replica.is_named_by(&reference, repository))
        };
        assert!(names("222222222222.dkr.ecr.us-east-1.amazonaws.com/prod/web:v1", "prod/web"));
        assert!(!names("222222222222.dkr.ecr.eu-west-1.amazonaws.com/prod/web:v1", "prod/web"));
        assert!(!names("333333333333.dkr.ecr.us-east-1.amazonaws.com/prod/web:v1", "prod/web"));
        assert!(!names("222222222222.dkr.ecr.us-east-1.amazonaws.com/dev/web:v1", "dev/web"));
    }

    #[test]
    fn protection_tags_are_replicated_wherever_images_are() {
        let sources = |repository: &str| {
            let gaps = tag_gaps(&registry(), repository).into_iter();
            gaps.map(|gap| gap.source).collect::<Vec<_>>()
        };
        let all = ["protection-tags/123456789012/ap-south-1", "protection-tags/123456789012/eu-north-1"];
        assert_eq!(sources("dev/web"), all);
        assert_eq!(sources("prod/web").len(), 4);
        assert!(tag_gaps(&RegistryDescription::default(), "prod/web").is_empty());
    }

    #[test]
    fn a_filter_of_another_kind_is_about_everything() {
        let filter = RepositoryFilter { filter: "x".to_owned(), filter_type: "SUFFIX".to_owned() };
        assert_eq!(filter.pattern(), "*");
    }
}
