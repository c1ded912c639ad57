//! Managed signing: Amazon ECR has AWS Signer sign what is pushed, and protection tags are pushes.

use serde::{Deserialize, Serialize};

use super::UnreadableSource;
use super::replication::RepositoryFilter;

/// The source of a gap about protection tags that managed signing would sign, by which the policies file can ignore it.
const SIGNED_TAGS: &str = "protection-tags/signing";

/// The permission to read the rules of managed signing.
pub const ACTION: &str = "ecr:GetSigningConfiguration";

/// What is known of the managed signing of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ManagedSigning {
    /// The rules; without any, nothing is signed.
    Rules(Vec<SigningRule>),
    /// The rules could not be read: why.
    Unread(String),
}

impl Default for ManagedSigning {
    fn default() -> Self {
        Self::Rules(Vec::new())
    }
}

/// The managed signing of a registry, as `GetSigningConfiguration` answers it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SigningConfiguration {
    /// The rules.
    #[serde(default)]
    pub rules: Vec<SigningRule>,
}

/// A rule: which repositories have what is pushed to them signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SigningRule {
    /// The signing profile of AWS Signer.
    pub signing_profile_arn: String,
    /// Which repositories; without any, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repository_filters: Vec<RepositoryFilter>,
}

impl ManagedSigning {
    /// What the protection tags of a repository mean for managed signing: each is a push, for which ECR starts a signing job. As
    /// gaps, so that the policies file can say that it does not matter. What could not be read is one, too.
    #[must_use]
    pub fn tag_gaps(&self, repository: &str) -> Vec<UnreadableSource> {
        let gap = |repositories, problem| UnreadableSource {
            source: SIGNED_TAGS.to_owned(),
            repositories,
            problem,
        };
        let rules = match self {
            Self::Unread(problem) => {
                return vec![gap(
                    Vec::new(),
                    format!(
                        "whether managed signing signs its protection tags could not be read: {problem}. Allow {ACTION}, or say that \
                         it does not matter by an entry of `ignore` below `usage` in the policies file"
                    ),
                )];
            }
            Self::Rules(rules) => rules,
        };
        let gaps = rules.iter().map(|rule| {
            let profile = &rule.signing_profile_arn;
            let problem = format!(
                "managed signing starts a job of {profile} for each of its protection tags, since each is a push, and in the name of \
                 this stack's role, which may not sign: failed jobs and events, or one more signature of the same image where a policy \
                 of yours lets it. Leave the repository out of the filters of that rule, write `apply: delete`, or say that it does \
                 not matter by an entry of `ignore` below `usage` in the policies file"
            );
            gap(rule.repository_filters.iter().map(RepositoryFilter::pattern).collect(), problem)
        });
        gaps.filter(|gap| gap.is_about(repository)).take(1).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As ECR answers.
    fn signing(rules: &str) -> ManagedSigning {
        let configuration: SigningConfiguration =
            serde_json::from_str(&format!(r#"{{"rules": {rules}}}"#)).unwrap();
        ManagedSigning::Rules(configuration.rules)
    }

    const PROFILE: &str = "arn:aws:signer:eu-west-1:123456789012:/signing-profiles/ecr";

    #[test]
    fn protection_tags_are_signed_where_a_rule_is_about_the_repository() {
        let filtered = signing(&format!(
            r#"[{{"signingProfileArn": "{PROFILE}", "repositoryFilters": [
                {{"filter": "prod/*", "filterType": "WILDCARD_MATCH"}}]}}]"#
        ));
        let gaps = filtered.tag_gaps("prod/web");
        assert_eq!(gaps.len(), 1);
        assert!(gaps[0].problem.contains(PROFILE), "{gaps:?}");
        assert_eq!(filtered.tag_gaps("dev/web"), []);
    }

    #[test]
    fn a_rule_without_filters_signs_everything_and_is_reported_once() {
        let all = format!(r#"{{"signingProfileArn": "{PROFILE}"}}"#);
        assert_eq!(signing(&format!("[{all}, {all}]")).tag_gaps("dev/web").len(), 1);
        assert_eq!(ManagedSigning::default().tag_gaps("dev/web"), []);
    }

    #[test]
    fn what_could_not_be_read_is_reported_with_the_action_to_allow() {
        let unread = ManagedSigning::Unread("AccessDeniedException".to_owned());
        let gaps = unread.tag_gaps("dev/web");
        assert!(gaps[0].problem.contains("AccessDeniedException") && gaps[0].problem.contains(ACTION));
    }
}
