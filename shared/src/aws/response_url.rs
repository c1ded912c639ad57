//! Puts the answer where CloudFormation waits for it.

use std::time::Duration;

use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;

use crate::aws::Transport;
use crate::domain::cloudformation::{Answer, ResponseUrl};

/// Why CloudFormation does not have the answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// The request cannot be written.
    #[error("the ResponseURL is not usable: {0}")]
    Url(String),
    /// There is no answer.
    #[error("CloudFormation's response URL cannot be reached: {0}")]
    Unreachable(String),
    /// S3 refuses the answer.
    #[error("CloudFormation's response URL answers with status {0}")]
    Refused(u16),
}

impl CallbackError {
    /// Whether another attempt may succeed.
    const fn is_transient(&self) -> bool {
        match self {
            Self::Url(_) => false,
            Self::Unreachable(_) => true,
            Self::Refused(status) => matches!(status, 408 | 429 | 500..),
        }
    }
}

/// Sends answers.
#[derive(Debug)]
pub struct Callback {
    transport: Transport,
}

impl Default for Callback {
    fn default() -> Self {
        Self { transport: Transport::from_env() }
    }
}

impl Callback {
    /// Sends an answer; tries again while that can help. The caller bounds the time.
    ///
    /// # Errors
    ///
    /// When it is refused for good.
    pub async fn send(&self, url: &ResponseUrl, answer: &Answer) -> Result<(), CallbackError> {
        let mut pause = Duration::from_millis(200);
        loop {
            match self.put(url, answer).await {
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, "could not answer CloudFormation yet");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
                result => return result,
            }
        }
    }

    async fn put(&self, url: &ResponseUrl, answer: &Answer) -> Result<(), CallbackError> {
        let body = answer.to_json();
        let unusable = |error: &dyn std::fmt::Display| CallbackError::Url(error.to_string());
        let mut request = HttpRequest::new(SdkBody::empty());
        request.set_method("PUT").map_err(|error| unusable(&error))?;
        request.set_uri(url.reveal()).map_err(|error| unusable(&error))?;
        // The URL is signed for a request without a content type.
        request.headers_mut().insert("content-type", "");
        request.headers_mut().insert("content-length", body.len().to_string());
        *request.body_mut() = SdkBody::from(body);
        let answer = self.transport.connector().call(request).await;
        let answer = answer.map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            CallbackError::Unreachable(cause.unwrap_or_else(|| error.to_string()))
        })?;
        match answer.status().as_u16() {
            200..300 => Ok(()),
            status => Err(CallbackError::Refused(status)),
        }
    }
}
