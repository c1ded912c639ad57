//! CloudFormation's protocol for custom resources: the event, the answer, and the URLs that answers are sent to.
//!
//! The contract is "Custom resource request and response reference" of the CloudFormation user guide: an answer is at
//! most 4,096 bytes, is put to a URL that the event carries, and repeats what identifies the request.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::domain::repository::URL_SUFFIXES;
use crate::domain::text::finding::quoted;
use crate::domain::text::printable::{Notation, printable};

pub mod confirmation;
pub mod image;
pub mod repository;

/// Maximum size of an answer that CloudFormation accepts, in bytes.
pub const MAX_ANSWER_BYTES: usize = 4096;

/// The type of a request: create, update or delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum RequestType {
    /// Make it.
    Create,
    /// Make it as it is declared now.
    Update,
    /// Remove it.
    Delete,
}

/// A request of CloudFormation.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Event {
    /// The type of the request.
    pub request_type: RequestType,
    /// The presigned URL for the answer. Anybody who has it can answer once, so that it is a secret.
    #[serde(rename = "ResponseURL")]
    pub response_url: Secret,
    /// The ARN of the stack.
    pub stack_id: String,
    /// The identifier of the request.
    pub request_id: String,
    /// The resource's name in the template.
    pub logical_resource_id: String,
    /// The identifier of the resource; absent before it is created.
    #[serde(default)]
    pub physical_resource_id: Option<String>,
    /// The resource's properties; booleans and numbers are strings in them.
    #[serde(default)]
    pub resource_properties: Option<Box<RawValue>>,
    /// The properties before an update.
    #[serde(default)]
    pub old_resource_properties: Option<Box<RawValue>>,
}

/// A secret text, which is not logged.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl Secret {
    /// The text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Answer {
    status: Status,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    /// The identifier of the resource from now on. Another one than before means that the resource was replaced.
    pub physical_resource_id: String,
    stack_id: String,
    request_id: String,
    logical_resource_id: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    data: BTreeMap<&'static str, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    Success,
    Failed,
}

impl Answer {
    /// The request is done; `data` is what `Fn::GetAtt` gives.
    #[must_use]
    pub fn success(
        event: &Event,
        physical_resource_id: String,
        data: BTreeMap<&'static str, String>,
    ) -> Self {
        Self { data, ..Self::new(event, Status::Success, physical_resource_id, String::new()) }
    }

    /// The request is not done, for this reason.
    #[must_use]
    pub fn failed(event: &Event, physical_resource_id: String, reason: String) -> Self {
        // It is read in the events of the stack, in a terminal too.
        let shown = match printable(&reason, Notation::Text) {
            Cow::Owned(shown) => Some(shown),
            Cow::Borrowed(_) => None,
        };
        Self::new(event, Status::Failed, physical_resource_id, shown.unwrap_or(reason))
    }

    fn new(event: &Event, status: Status, physical_resource_id: String, reason: String) -> Self {
        Self {
            status,
            reason,
            physical_resource_id,
            stack_id: event.stack_id.clone(),
            request_id: event.request_id.clone(),
            logical_resource_id: event.logical_resource_id.clone(),
            data: BTreeMap::new(),
        }
    }

    /// Whether the request succeeded.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.status == Status::Success
    }

    /// Why it is not.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The answer as JSON, within the size that CloudFormation accepts. A longer reason is cut at its beginning, since the end
    /// says what to do.
    #[must_use]
    pub fn to_json(&self) -> String {
        let write =
            |reason: String| serde_json::to_string(&Self { reason, ..self.clone() }).unwrap_or_default();
        let whole = write(self.reason.clone());
        if whole.len() <= MAX_ANSWER_BYTES {
            return whole;
        }
        let bytes_around = write("…".to_owned()).len();
        // Characters that JSON escapes take more than their own bytes.
        let written = |c: char| match c {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            c if c.is_control() && c.is_ascii() => 6,
            c => c.len_utf8(),
        };
        let mut left = MAX_ANSWER_BYTES.saturating_sub(bytes_around);
        let start = self.reason.char_indices().rev().take_while(|(_, character)| {
            let fits = written(*character) <= left;
            left = left.saturating_sub(if fits { written(*character) } else { left });
            fits
        });
        let start = start.last().map_or(self.reason.len(), |(index, _)| index);
        write(format!("…{}", self.reason.get(start..).unwrap_or_default()))
    }
}

/// A URL to which an answer may be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct ResponseUrl(String);

/// Why an answer is not sent to a URL. The error does not contain the URL, which is a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the ResponseURL is not of Amazon S3 ({0}); CloudFormation's is `https://….s3.….amazonaws.com/…`, and the answer goes \
     nowhere else"
)]
pub struct ForeignUrl(String);

impl ResponseUrl {
    /// Checks a URL: `https` to an S3 host of AWS, or, only if `allow_loopback`, `http` to this machine.
    ///
    /// # Errors
    ///
    /// When it is another one.
    pub fn parse(url: &Secret, allow_loopback: bool) -> Result<Self, ForeignUrl> {
        let foreign = |problem: String| Err(ForeignUrl(problem));
        let text = url.reveal();
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return foreign("it has characters that no URL has".to_owned());
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return foreign("it has no scheme".to_owned());
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, _) = rest.split_at(end);
        if authority.contains('@') {
            return foreign("it has a user in it".to_owned());
        }
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        let host = host.to_ascii_lowercase();
        if allow_loopback && scheme == "http" && (host == "localhost" || host == "127.0.0.1") {
            return Ok(Self(text.to_owned()));
        }
        if scheme != "https" {
            return foreign(format!("its scheme is {}", quoted(scheme)));
        }
        if port.is_some_and(|port| port != "443") {
            return foreign(format!("its port is {}", quoted(port.unwrap_or_default())));
        }
        if !is_s3(&host) {
            return foreign(format!("its host is {}", quoted(&host)));
        }
        Ok(Self(text.to_owned()))
    }

    /// The URL.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// `bucket.s3.amazonaws.com`, `bucket.s3.region.amazonaws.com` and `bucket.s3-region.amazonaws.com`, in each partition.
fn is_s3(host: &str) -> bool {
    let name = URL_SUFFIXES.iter().find_map(|(_, suffix)| host.strip_suffix(suffix)?.strip_suffix('.'));
    let Some(name) = name else { return false };
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let mut labels = name.rsplit('.');
    let last = labels.next().unwrap_or_default();
    let service =
        if last == "s3" || last.starts_with("s3-") { last } else { labels.next().unwrap_or_default() };
    let is_service = service == "s3" || (service.starts_with("s3-") && service == last);
    let mut bucket = labels.peekable();
    is_service && bucket.peek().is_some() && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        serde_json::from_str(
            r#"{"RequestType": "Create", "ResponseURL": "https://b.s3.amazonaws.com/x?Signature=secret",
                "StackId": "arn:aws:cloudformation:eu-west-1:123456789012:stack/shop/1", "RequestId": "r",
                "ResourceType": "Custom::EcrRepository", "LogicalResourceId": "Web",
                "ResourceProperties": {"ServiceToken": "arn"}}"#,
        )
        .unwrap()
    }

    #[test]
    fn a_long_reason_keeps_its_end_and_the_answer_its_size() {
        for filler in ["x", "\"", "\n", "\u{1}", "ü", "😀", "\\u"] {
            for length in [10, 3900, 4096, 5000, 20_000] {
                let reason = format!("{}: write another name", filler.repeat(length));
                let answer = Answer::failed(&event(), "marker".to_owned(), reason.clone());
                let json = answer.to_json();
                assert!(json.len() <= MAX_ANSWER_BYTES, "{filler:?} {length}: {}", json.len());
                let read: serde_json::Value = serde_json::from_str(&json).unwrap();
                let kept = read["Reason"].as_str().unwrap();
                assert!(kept.ends_with(": write another name"), "{kept}");
                assert!(!kept.contains(crate::domain::text::printable::is_control), "{kept:?}");
                assert!(
                    kept == printable(&reason, Notation::Text)
                        || (kept.starts_with('…') && json.len() > MAX_ANSWER_BYTES - 12)
                );
                assert_eq!(read["Status"], "FAILED");
                assert_eq!(read["RequestId"], "r");
            }
        }
    }

    #[test]
    fn the_url_is_in_no_log() {
        assert!(!format!("{:?}", event()).contains("secret"));
    }

    #[test]
    fn answers_go_to_s3_only() {
        for url in [
            "https://cloudformation-custom-resource-response-useast1.s3.amazonaws.com/arn%3Aaws?X-Amz-Signature=1",
            "https://cloudformation-custom-resource-response-euwest1.s3-eu-west-1.amazonaws.com/a",
            "https://cloudformation-custom-resource-response-euwest1.s3.eu-west-1.amazonaws.com:443/a",
            "https://cloudformation-custom-resource-response-cnnorth1.s3.cn-north-1.amazonaws.com.cn/a",
        ] {
            assert!(ResponseUrl::parse(&Secret(url.to_owned()), false).is_ok(), "{url}");
        }
        for url in [
            "http://b.s3.amazonaws.com/a",
            "https://s3.amazonaws.com.evil.example/a",
            "https://evil.example/b.s3.amazonaws.com",
            "https://evil.example?b.s3.amazonaws.com",
            "https://evil.example#.s3.amazonaws.com",
            "https://b.s3.amazonaws.com@evil.example/",
            "https://evil.example\\.s3.amazonaws.com/",
            "https://ec2.eu-west-1.amazonaws.com/a",
            "https://s3.amazonaws.com/bucket/key",
            "https://evil.s3.elb.eu-west-1.amazonaws.com/",
            "https://notamazonaws.com/a",
            "https://b.s3.amazonaws.com:8443/a",
            "https://169.254.169.254/",
            "http://localhost:4566/a",
            "file:///etc/passwd",
            "b.s3.amazonaws.com",
            "",
        ] {
            assert!(ResponseUrl::parse(&Secret(url.to_owned()), false).is_err(), "{url}");
        }
        for url in ["http://localhost:4566/a", "http://127.0.0.1:1/a"] {
            assert!(ResponseUrl::parse(&Secret(url.to_owned()), true).is_ok(), "{url}");
        }
        for url in
            ["http://evil.example/", "http://localhost.evil.example/", "http://127.0.0.1@evil.example/"]
        {
            assert!(ResponseUrl::parse(&Secret(url.to_owned()), true).is_err(), "{url}");
        }
    }
}
