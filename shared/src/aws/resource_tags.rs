//! The Resource Groups Tagging API: which repositories bear a resource tag, without asking for the tags of each.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::Connection;
use super::error::AwsError;
use super::pages::Pages;
use crate::aws::sigv4::Service;
pub use crate::domain::enforcement::protect_tag::{PROTECT_KEY, PROTECT_VALUE, TaggedBy, created_on_push};
use crate::domain::repository::Registry;

/// The prefix of `X-Amz-Target`.
const TARGET: &str = "ResourceGroupsTaggingAPI_20170126";
/// The name of the operation.
const OPERATION: &str = "GetResources";
/// The largest page that the API gives.
const PAGE_SIZE: u8 = 100;

/// The resource tags of one account in one Region.
#[derive(Debug)]
pub struct ResourceTags {
    service: Service,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    pagination_token: Option<String>,
    resource_tag_mapping_list: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(rename = "ResourceARN")]
    arn: String,
    #[serde(default, rename = "Tags")]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: String,
}

impl ResourceTags {
    pub(super) fn new(connection: &Connection) -> Self {
        Self { service: Service::new("tagging", "RESOURCE_GROUPS_TAGGING_API", connection) }
    }

    /// The repositories of an account in this Region that ask for protection by their resource tag, and who added it. Those of
    /// other stacks' templates are left out.
    ///
    /// # Errors
    ///
    /// Any error of the API; also a resource in the answer that is not a repository, since it is unknown which one is meant.
    pub async fn protected_repositories(
        &self,
        account_id: &str,
        stack: &str,
    ) -> Result<BTreeMap<String, TaggedBy>, AwsError> {
        let of_template = created_on_push(stack);
        let filter = json!({ "Key": PROTECT_KEY, "Values": [PROTECT_VALUE, &of_template] });
        let tagged = self.repositories_with(account_id, &filter).await?;
        let by = |tags: Vec<Tag>| {
            let is_of_template = |tag: &Tag| tag.key == PROTECT_KEY && tag.value == of_template;
            // In doubt the policy is the owner's, and never written.
            if tags.iter().any(is_of_template) { TaggedBy::Template } else { TaggedBy::Owner }
        };
        Ok(tagged.into_iter().map(|(name, tags)| (name, by(tags))).collect())
    }

    /// The value of a resource tag of each repository of an account in this Region that has the tag.
    ///
    /// # Errors
    ///
    /// Like [`Self::protected_repositories`].
    pub async fn values(&self, account_id: &str, key: &str) -> Result<BTreeMap<String, String>, AwsError> {
        let tagged = self.repositories_with(account_id, &json!({ "Key": key })).await?;
        let value = |tags: Vec<Tag>| tags.into_iter().find(|tag| tag.key == key).map(|tag| tag.value);
        Ok(tagged.into_iter().filter_map(|(name, tags)| Some((name, value(tags)?))).collect())
    }

    /// The repositories of an account in this Region whose tags pass a filter, with their tags.
    async fn repositories_with(
        &self,
        account_id: &str,
        filter: &serde_json::Value,
    ) -> Result<BTreeMap<String, Vec<Tag>>, AwsError> {
        let mut names = BTreeMap::new();
        // A page may be empty and yet be followed by others: the last one has no token, or an empty one.
        let mut pages = Pages::ending_empty(OPERATION);
        loop {
            let request = json!({
                "ResourceTypeFilters": ["ecr:repository"],
                "TagFilters": [filter],
                "ResourcesPerPage": PAGE_SIZE,
                "PaginationToken": pages.token().unwrap_or_default(),
            });
            let page: Page = self.service.call(OPERATION, TARGET, &request).await?;
            for Resource { arn, tags } in page.resource_tag_mapping_list {
                let (registry, name) = repository_of(&arn).ok_or_else(|| {
                    AwsError::unexpected_response(
                        OPERATION,
                        &format!("{arn:?} in the answer is not the ARN of a repository"),
                    )
                })?;
                // The API returns resources of the caller's account and Region. Repositories of another registry are not
                // protected by this stack.
                if registry.account_id == account_id && registry.region == self.service.region {
                    names.insert(name.to_owned(), tags);
                }
            }
            if !pages.follow(page.pagination_token)? {
                return Ok(names);
            }
        }
    }
}

/// The registry and the name of a repository, by its ARN: `arn:partition:ecr:region:account:repository/name`.
fn repository_of(arn: &str) -> Option<(Registry, &str)> {
    let (of_registry, name) = arn.split_once(":repository/")?;
    let registry = Registry::of_arn(of_registry).ok()?;
    (of_registry.split(':').nth(2) == Some("ecr") && !name.is_empty()).then_some((registry, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_recognized_by_its_arn() {
        let (registry, name) =
            repository_of("arn:aws-cn:ecr:cn-north-1:123456789012:repository/team/app").unwrap();
        assert_eq!((registry.region.as_str(), registry.account_id.as_str()), ("cn-north-1", "123456789012"));
        assert_eq!(name, "team/app");
        for arn in [
            "arn:aws:ecr:eu-west-1:123456789012:repository/",
            "arn:aws:ecr::123456789012:repository/app",
            "arn:aws:s3:eu-west-1:123456789012:repository/app",
            "arn:aws:ecr:eu-west-1:123456789012:pull-through-cache-rule/app",
            "app",
        ] {
            assert!(repository_of(arn).is_none(), "{arn}");
        }
    }
}
