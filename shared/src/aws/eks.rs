//! Amazon EKS: reads which clusters exist. Only the clusters themselves know what they run.

use serde::Deserialize;

use super::Connection;
use super::error::AwsError;
use super::pages::Pages;
use crate::aws::sigv4::{Service, Unsigned, encoded, refused};

/// Amazon EKS in one Region.
#[derive(Debug)]
pub struct Eks {
    service: Service,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    clusters: Vec<String>,
    next_token: Option<String>,
}

impl Eks {
    pub(super) fn new(connection: &Connection) -> Self {
        Self { service: Service::new("eks", "EKS", connection) }
    }

    /// The names of all clusters, those of other providers that are connected to EKS among them.
    ///
    /// # Errors
    ///
    /// Any error of EKS.
    pub async fn clusters(&self) -> Result<Vec<String>, AwsError> {
        const OPERATION: &str = "ListClusters";
        let mut clusters = Vec::new();
        // As AWS's SDKs, which take an empty token for the end.
        let mut pages = Pages::ending_empty(OPERATION);
        loop {
            let mut path = "/clusters?include=all&maxResults=100".to_owned();
            if let Some(token) = pages.token() {
                path += &format!("&nextToken={}", encoded(token));
            }
            let request =
                Unsigned { operation: OPERATION, method: "GET", path: &path, headers: &[], body: "" };
            let answered = self.service.send(request, |answered| refused(OPERATION, answered)).await?;
            let page: Page = serde_json::from_slice(&answered.body).map_err(|error| {
                AwsError::unexpected_response(OPERATION, &format!("the answer is unreadable: {error}"))
            })?;
            clusters.extend(page.clusters);
            if !pages.follow(page.next_token)? {
                return Ok(clusters);
            }
        }
    }
}
