//! AWS STS: the caller's identity.

use super::Connection;
use super::error::AwsError;
use super::xml::element;
use crate::aws::sigv4::Service;

/// AWS STS.
#[derive(Debug)]
pub struct Sts {
    service: Service,
}

/// The caller's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The account.
    pub account_id: String,
    /// The ARN of the user, or of the role's session.
    pub arn: String,
}

impl Sts {
    pub(super) fn new(connection: &Connection) -> Self {
        Self { service: Service::new("sts", "STS", connection) }
    }

    /// The caller's identity. No permission is needed, so that a refusal means invalid credentials.
    ///
    /// # Errors
    ///
    /// Any error of STS.
    pub async fn caller(&self) -> Result<Caller, AwsError> {
        const OPERATION: &str = "GetCallerIdentity";
        let fields = [("Action", OPERATION), ("Version", "2011-06-15")];
        let answered = self.service.query(OPERATION, &fields).await?;
        let xml = String::from_utf8_lossy(&answered.body);
        let required = |name: &str| {
            element(&xml, name)
                .ok_or_else(|| AwsError::unexpected_response(OPERATION, &format!("the answer has no {name}")))
        };
        Ok(Caller { account_id: required("Account")?, arn: required("Arn")? })
    }
}
