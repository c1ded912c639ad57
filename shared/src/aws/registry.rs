//! What Amazon ECR tells of a registry as a whole. The SDK's client leaves out whether deletions are replicated.

use serde_json::json;

use super::Connection;
use super::error::AwsError;
use super::signed::Service;
use crate::domain::usage::replication::RegistryDescription;

/// What requests name the API by.
const TARGET: &str = "AmazonEC2ContainerRegistry_V20150921";

/// The registry of the account in one Region.
#[derive(Debug)]
pub struct Registry {
    service: Service,
}

impl Registry {
    pub(super) fn new(connection: &Connection) -> Self {
        Self { service: Service::new_at("ecr", "api.ecr", "ECR", connection) }
    }

    /// Whose registry it is, and where it replicates to.
    ///
    /// # Errors
    ///
    /// What ECR answers.
    pub async fn describe(&self) -> Result<RegistryDescription, AwsError> {
        self.service.call("DescribeRegistry", TARGET, &json!({})).await
    }
}
