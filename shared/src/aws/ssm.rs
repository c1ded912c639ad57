//! AWS Systems Manager: its Parameter Store.

use aws_config::SdkConfig;
use aws_sdk_ssm::Client;
use aws_sdk_ssm::types::{ParameterTier, ParameterType};

use super::error::{AwsError, Failure};
use super::trouble::Trouble;

/// The most parameters that are deleted in one call.
const BATCH: usize = 10;

/// Parameters.
#[derive(Debug, Clone)]
pub struct Parameters {
    client: Client,
}

/// A parameter whose value is a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretParameter {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl Parameters {
    pub(super) fn new(config: &SdkConfig, trouble: Trouble, endpoint: Option<String>) -> Self {
        let mut config = aws_sdk_ssm::config::Builder::from(config).interceptor(trouble);
        config.set_endpoint_url(endpoint);
        Self { client: Client::from_conf(config.build()) }
    }

    /// Sets a parameter.
    ///
    /// # Errors
    ///
    /// What Systems Manager answers.
    pub async fn put(&self, name: &str, value: &str, description: &str) -> Result<(), AwsError> {
        self.set(name, value, description, ParameterType::String).await?;
        tracing::info!(parameter = name, value, "set the parameter");
        Ok(())
    }

    /// Sets a parameter that is encrypted.
    ///
    /// # Errors
    ///
    /// What Systems Manager answers.
    pub async fn put_secret(&self, name: &str, value: &str, description: &str) -> Result<(), AwsError> {
        self.set(name, value, description, ParameterType::SecureString).await
    }

    async fn set(
        &self,
        name: &str,
        value: &str,
        description: &str,
        kind: ParameterType,
    ) -> Result<(), AwsError> {
        let request = self
            .client
            .put_parameter()
            .name(name)
            .value(value)
            .description(description)
            .r#type(kind)
            .overwrite(true)
            // More than 4 KB take the advanced tier; nothing here is expected to.
            .tier(ParameterTier::IntelligentTiering);
        request.send().await.map(drop).map_err(|error| AwsError::new("PutParameter", &error))
    }

    /// The encrypted parameters below a path.
    ///
    /// # Errors
    ///
    /// What Systems Manager answers.
    pub async fn secrets_below(&self, path: &str) -> Result<Vec<SecretParameter>, AwsError> {
        let mut parameters = Vec::new();
        let mut token = None;
        loop {
            let request = self
                .client
                .get_parameters_by_path()
                .path(path)
                .with_decryption(true)
                .set_next_token(token.take());
            let answer =
                request.send().await.map_err(|error| AwsError::new("GetParametersByPath", &error))?;
            let page = answer.parameters.unwrap_or_default().into_iter();
            parameters.extend(
                page.filter_map(|found| Some(SecretParameter { name: found.name?, value: found.value? })),
            );
            match answer.next_token {
                Some(next) => token = Some(next),
                None => return Ok(parameters),
            }
        }
    }

    /// Deletes parameters; those that do not exist are no trouble.
    ///
    /// # Errors
    ///
    /// What Systems Manager answers.
    pub async fn delete(&self, names: &[String]) -> Result<(), AwsError> {
        for batch in names.chunks(BATCH) {
            let request = self.client.delete_parameters().set_names(Some(batch.to_vec()));
            match request.send().await.map_err(|error| AwsError::new("DeleteParameters", &error)) {
                Err(error) if error.failure != Failure::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}
