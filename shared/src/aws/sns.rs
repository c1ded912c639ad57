//! Amazon SNS.

use super::Connection;
use super::error::AwsError;
use crate::aws::sigv4::Service;

/// Maximum length of a subject in SNS, in characters.
const MAX_SUBJECT: usize = 99;

/// Topics in Amazon SNS.
#[derive(Debug)]
pub struct Sns {
    service: Service,
}

impl Sns {
    pub(super) fn new(connection: &Connection) -> Self {
        Self { service: Service::new("sns", "SNS", connection) }
    }

    /// Publishes a message for people. Characters of the subject that are not printable ASCII are left out, and so is what is too long.
    ///
    /// # Errors
    ///
    /// Any error of SNS.
    pub async fn publish(&self, topic: &str, subject: &str, message: &str) -> Result<(), AwsError> {
        const OPERATION: &str = "Publish";
        let subject: String =
            subject.chars().filter(|character| (' '..='~').contains(character)).take(MAX_SUBJECT).collect();
        let fields = [
            ("Action", OPERATION),
            ("Version", "2010-03-31"),
            ("TopicArn", topic),
            ("Subject", &subject),
            ("Message", message),
        ];
        self.service.query(OPERATION, &fields).await.map(drop)
    }
}
