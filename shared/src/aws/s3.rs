//! Amazon S3, as far as building needs it: small objects read and written, and what the latest version of a large one is.

use aws_smithy_types::date_time::{DateTime, Format};

use super::error::{AwsError, Failure};
use super::signed::{Answered, Service, Unsigned};
use super::trouble::Trouble;
use crate::instant::Instant;

/// Objects in Amazon S3.
#[derive(Debug)]
pub struct S3 {
    service: Service,
}

/// An object's content, and what tells it from any other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The content.
    pub text: String,
    /// The `ETag`.
    pub etag: String,
}

/// What an object must be for a write to take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Only<'a> {
    /// There is none yet.
    IfAbsent,
    /// It is still this one.
    If(&'a str),
}

/// A version of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its id; `None` in a bucket that keeps no versions.
    pub id: Option<String>,
    /// When it was written.
    pub at: Option<Instant>,
}

impl S3 {
    pub(super) fn new(trouble: Trouble) -> Self {
        Self { service: Service::new("s3", "S3", trouble) }
    }

    /// An object; `None` when there is none.
    ///
    /// # Errors
    ///
    /// What S3 answers, and when it is larger than a megabyte or no text.
    pub async fn get(&self, bucket: &str, key: &str) -> Result<Option<Object>, AwsError> {
        let answered = self.request("GetObject", "GET", bucket, key, None, &[], None).await?;
        match answered {
            None => Ok(None),
            Some(answered) => {
                let etag = answered.header("etag").unwrap_or_default().to_owned();
                let text = String::from_utf8(answered.body).map_err(|_| {
                    AwsError::odd("GetObject", &format!("s3://{bucket}/{key} is no UTF-8 text"))
                })?;
                Ok(Some(Object { text, etag }))
            }
        }
    }

    /// Writes an object if it is as expected; `false` when it is not.
    ///
    /// # Errors
    ///
    /// What S3 answers.
    pub async fn put(&self, bucket: &str, key: &str, text: &str, only: Only<'_>) -> Result<bool, AwsError> {
        let condition = match only {
            Only::IfAbsent => ("if-none-match", "*"),
            Only::If(etag) => ("if-match", etag),
        };
        let headers = [condition, ("content-type", "application/json")];
        let answered = self.request("PutObject", "PUT", bucket, key, None, &headers, Some(text)).await?;
        // 409: somebody writes at the same time. 412: somebody has. None: somebody deleted it.
        Ok(answered.is_some_and(|answered| answered.status < 300))
    }

    /// A version of an object, by default the latest; `None` when there is none.
    ///
    /// # Errors
    ///
    /// What S3 answers.
    pub async fn version(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<Option<Version>, AwsError> {
        let answered = self.request("HeadObject", "HEAD", bucket, key, version, &[], None).await?;
        Ok(answered.map(|answered| Version {
            id: answered.header("x-amz-version-id").filter(|id| *id != "null").map(str::to_owned),
            at: answered
                .header("last-modified")
                .and_then(|text| DateTime::from_str(text, Format::HttpDate).ok())
                .and_then(|at| Instant::from_micros(at.secs().checked_mul(1_000_000)?)),
        }))
    }

    /// `None` when there is no such object.
    #[expect(clippy::too_many_arguments, reason = "one request, in its parts")]
    async fn request(
        &self,
        operation: &'static str,
        method: &str,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Result<Option<Answered>, AwsError> {
        let uri = self.uri(bucket, key, version);
        let request = Unsigned { operation, method, uri: &uri, headers, body: body.unwrap_or_default() };
        let answered = self.service.send(request, |answered| refusal(operation, bucket, key, answered));
        answered.await.map(|answered| (answered.status != 404).then_some(answered))
    }

    fn uri(&self, bucket: &str, key: &str, version: Option<&str>) -> String {
        let service = &self.service;
        let key = encoded(key, true);
        let mut uri = match &service.endpoint {
            Some(endpoint) => format!("{endpoint}/{bucket}/{key}"),
            // No certificate is for a name with dots.
            None if bucket.contains('.') => {
                format!("https://s3.{}.{}/{bucket}/{key}", service.region, service.suffix)
            }
            None => format!("https://{bucket}.s3.{}.{}/{key}", service.region, service.suffix),
        };
        if let Some(version) = version {
            uri += &format!("?versionId={}", encoded(version, false));
        }
        uri
    }
}

/// Why an answer is none; that there is no object is one, and that it is not as expected.
fn refusal(operation: &'static str, bucket: &str, key: &str, answered: &Answered) -> Option<AwsError> {
    let failure = match answered.status {
        200..=299 | 404 | 409 | 412 => return None,
        301 | 307 | 400 => Failure::Invalid,
        403 => Failure::Denied,
        429 | 503 => Failure::Throttled,
        500.. => Failure::Unavailable,
        _ => Failure::Unexpected,
    };
    let body = String::from_utf8_lossy(&answered.body);
    let inner = |name: &str| {
        let (_, rest) = body.split_once(&format!("<{name}>"))?;
        rest.split_once('<').map(|(text, _)| text.to_owned())
    };
    let told = inner("Message")
        .or_else(|| inner("Code"))
        .unwrap_or_else(|| format!("HTTP status {}", answered.status));
    Some(AwsError { failure, ..AwsError::odd(operation, &format!("s3://{bucket}/{key}: {told}")) })
}

/// A text in a URL; in a path slashes stay.
fn encoded(text: &str, is_path: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte.into()),
            b'/' if is_path => encoded.push('/'),
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_encoded_as_s3_signs_them() {
        assert_eq!(
            encoded("sources/team/a b+ü&?#'.zip", true),
            "sources/team/a%20b%2B%C3%BC%26%3F%23%27.zip"
        );
        assert_eq!(encoded("a/b=", false), "a%2Fb%3D");
    }
}
