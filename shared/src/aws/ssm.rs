//! AWS Systems Manager: its Parameter Store.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Connection;
use super::error::{AwsError, Failure};
use super::pages::Pages;
use crate::aws::sigv4::Service;

/// The prefix of `X-Amz-Target`.
const TARGET: &str = "AmazonSSM";
/// The most parameters that are deleted in one call.
const BATCH: usize = 10;

/// The Parameter Store.
#[derive(Debug)]
pub struct Parameters {
    service: Service,
}

/// A parameter whose value is a secret.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SecretParameter {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    parameters: Vec<SecretParameter>,
    next_token: Option<String>,
}

impl Parameters {
    pub(super) fn new(connection: &Connection) -> Self {
        Self { service: Service::new("ssm", "SSM", connection) }
    }

    /// Sets a parameter.
    ///
    /// # Errors
    ///
    /// Any error of Systems Manager.
    pub async fn put(&self, name: &str, value: &str, description: &str) -> Result<(), AwsError> {
        self.set(name, value, description, "String").await?;
        tracing::info!(parameter = name, value, "set the parameter");
        Ok(())
    }

    /// Sets a parameter that is encrypted.
    ///
    /// # Errors
    ///
    /// Any error of Systems Manager.
    pub async fn put_secret(&self, name: &str, value: &str, description: &str) -> Result<(), AwsError> {
        self.set(name, value, description, "SecureString").await
    }

    async fn set(&self, name: &str, value: &str, description: &str, kind: &str) -> Result<(), AwsError> {
        let parameter = json!({
            "Name": name,
            "Value": value,
            "Description": description,
            "Type": kind,
            "Overwrite": true,
            // More than 4 KB take the advanced tier; nothing here is expected to.
            "Tier": "Intelligent-Tiering",
        });
        let _: Value = self.service.call("PutParameter", TARGET, &parameter).await?;
        Ok(())
    }

    /// The encrypted parameters below a path.
    ///
    /// # Errors
    ///
    /// Any error of Systems Manager.
    pub async fn secure_strings_by_path(&self, path: &str) -> Result<Vec<SecretParameter>, AwsError> {
        let mut parameters = Vec::new();
        let mut pages = Pages::new("GetParametersByPath");
        loop {
            let mut request = json!({ "Path": path, "WithDecryption": true });
            if let Some(token) = pages.token() {
                request["NextToken"] = token.into();
            }
            let page: Page = self.service.call("GetParametersByPath", TARGET, &request).await?;
            parameters.extend(page.parameters);
            if !pages.follow(page.next_token)? {
                return Ok(parameters);
            }
        }
    }

    /// Deletes parameters. Idempotent: a missing parameter is no error.
    ///
    /// # Errors
    ///
    /// Any error of Systems Manager.
    pub async fn delete(&self, names: &[String]) -> Result<(), AwsError> {
        for batch in names.chunks(BATCH) {
            let request = json!({ "Names": batch });
            match self.service.call::<Value>("DeleteParameters", TARGET, &request).await {
                Err(error) if error.failure != Failure::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}
