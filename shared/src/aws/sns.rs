//! Amazon SNS.

use super::Connection;
use super::error::{AwsError, Failure};
use super::signed::{Answered, Service, Unsigned, encoded};
use super::xml::element;

/// The longest subject that SNS takes, in characters.
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

    /// Publishes a message for people. What of the subject is no printable ASCII, or is too much, is left out.
    ///
    /// # Errors
    ///
    /// What SNS answers.
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
        let body: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let body = body.join("&");
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let request =
            Unsigned { operation: OPERATION, method: "POST", path: "/", headers: &headers, body: &body };
        self.service.send(request, |answered| refused(OPERATION, answered)).await.map(drop)
    }
}

/// Why an answer in XML is none.
fn refused(operation: &'static str, answered: &Answered) -> Option<AwsError> {
    if answered.status < 300 {
        return None;
    }
    let body = String::from_utf8_lossy(&answered.body);
    let code = element(&body, "Code").unwrap_or_default();
    let failure = match (Failure::of_code(&code), answered.status) {
        (Failure::Unexpected, 403) => Failure::Denied,
        (Failure::Unexpected, 404) => Failure::NotFound,
        (Failure::Unexpected, 429) => Failure::Throttled,
        (Failure::Unexpected, 500..) => Failure::Unavailable,
        (failure, _) => failure,
    };
    let message =
        element(&body, "Message").unwrap_or_else(|| format!("HTTP status {} {code}", answered.status));
    Some(AwsError { failure, ..AwsError::odd(operation, &message) })
}
