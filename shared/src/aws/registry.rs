//! Amazon ECR: the description of a registry. The SDK's client leaves out whether deletions are replicated.

use serde::Deserialize;
use serde_json::json;

use super::Connection;
use super::error::{AwsError, Failure};
use super::pages::Pages;
use crate::aws::sigv4::Service;
use crate::domain::usage::replication::RegistryDescription;
use crate::domain::usage::signing::{ManagedSigning, SigningConfiguration};

/// The prefix of `X-Amz-Target`.
const TARGET: &str = "AmazonEC2ContainerRegistry_V20150921";

/// The registry of the account in one Region.
#[derive(Debug)]
pub struct Registry {
    service: Service,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RegistryPolicy {
    policy_text: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signing {
    signing_configuration: SigningConfiguration,
}

impl Registry {
    pub(super) fn new(connection: &Connection) -> Self {
        Self { service: Service::new("ecr", "ECR", connection) }
    }

    /// Whose registry it is, and where it replicates to.
    ///
    /// # Errors
    ///
    /// Any error of ECR.
    pub async fn describe(&self) -> Result<RegistryDescription, AwsError> {
        self.service.call("DescribeRegistry", TARGET, &json!({})).await
    }

    /// The policy of the registry: who may do what with all its repositories, besides what roles of its account may and what
    /// their own policies say; `None` when there is none.
    ///
    /// # Errors
    ///
    /// Any error of ECR.
    pub async fn policy(&self) -> Result<Option<String>, AwsError> {
        let answer: Result<RegistryPolicy, AwsError> =
            self.service.call("GetRegistryPolicy", TARGET, &json!({})).await;
        match answer {
            Ok(policy) => Ok(Some(policy.policy_text)),
            Err(error) if error.failure == Failure::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What managed signing signs; what could not be read, and why, where that is so. A partition whose ECR does not know the
    /// operation signs nothing.
    pub async fn signing(&self) -> ManagedSigning {
        let answer: Result<Signing, AwsError> =
            self.service.call("GetSigningConfiguration", TARGET, &json!({})).await;
        match answer {
            Ok(answer) => ManagedSigning::Rules(answer.signing_configuration.rules),
            Err(error) if error.failure == Failure::NotFound || error.is_unknown_operation() => {
                ManagedSigning::default()
            }
            Err(error) => ManagedSigning::Unread(error.to_string()),
        }
    }

    /// The users and roles whose pulls ECR does not record, by their ARNs: reading manifests is a pull.
    ///
    /// # Errors
    ///
    /// What ECR answers.
    pub async fn pull_time_update_exclusions(&self) -> Result<Vec<String>, AwsError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Page {
            #[serde(default)]
            pull_time_update_exclusions: Vec<String>,
            next_token: Option<String>,
        }
        let mut principals = Vec::new();
        let mut input = json!({});
        let mut pages = Pages::new("ListPullTimeUpdateExclusions");
        loop {
            let page: Page = self.service.call("ListPullTimeUpdateExclusions", TARGET, &input).await?;
            principals.extend(page.pull_time_update_exclusions);
            pages.follow(page.next_token)?;
            let Some(token) = pages.token() else { return Ok(principals) };
            input = json!({ "nextToken": token });
        }
    }
}
