//! Amazon S3, as far as this project needs it: objects of some megabytes read, written and listed, and what the latest
//! version of a large one is.

use aws_smithy_types::date_time::{DateTime, Format};

use super::Connection;
use super::error::{AwsError, Failure};
use super::signed::{Answered, MAX_BYTES, Service, Unsigned};
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
    /// The id of its version; `None` in a bucket that keeps no versions.
    pub version: Option<String>,
    /// When it was written.
    pub modified_at: Option<Instant>,
    /// When S3 answered, by S3's own clock.
    pub answered_at: Option<Instant>,
}

/// An object, as a list has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: String,
    /// When it was written.
    pub modified_at: Option<Instant>,
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
    pub(super) fn new(connection: &Connection) -> Self {
        Self { service: Service::new("s3", "S3", connection) }
    }

    /// An object; `None` when there is none.
    ///
    /// # Errors
    ///
    /// What S3 answers, and when it is larger than 32 megabytes or no text.
    pub async fn get(&self, bucket: &str, key: &str) -> Result<Option<Object>, AwsError> {
        self.get_up_to(MAX_BYTES, bucket, key).await
    }

    /// An object of at most so many bytes; `None` when there is none. Of a larger one no more than that is read.
    ///
    /// # Errors
    ///
    /// What S3 answers, and when the object is larger or no text.
    pub async fn get_up_to(
        &self,
        max_bytes: usize,
        bucket: &str,
        key: &str,
    ) -> Result<Option<Object>, AwsError> {
        const OPERATION: &str = "GetObject";
        let uri = self.uri(bucket, key, None);
        let request = Unsigned { operation: OPERATION, method: "GET", uri: &uri, headers: &[], body: "" };
        let answered = self
            .service
            .send_up_to(max_bytes, request, |answered| refusal(OPERATION, bucket, key, answered))
            .await?;
        let answered = (answered.status != 404).then_some(answered);
        match answered {
            None => Ok(None),
            Some(answered) => {
                let etag = answered.header("etag").unwrap_or_default().to_owned();
                let version = version_id(&answered);
                let (modified_at, answered_at) = (time(&answered, "last-modified"), time(&answered, "date"));
                let text = String::from_utf8(answered.body).map_err(|_| {
                    AwsError::odd("GetObject", &format!("s3://{bucket}/{key} is no UTF-8 text"))
                })?;
                Ok(Some(Object { text, etag, version, modified_at, answered_at }))
            }
        }
    }

    /// The objects below a prefix, by ascending key.
    ///
    /// # Errors
    ///
    /// What S3 answers.
    pub async fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<Listed>, AwsError> {
        const OPERATION: &str = "ListObjectsV2";
        let mut objects = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut uri = self.uri(bucket, "", None);
            uri += &format!("?list-type=2&prefix={}", encoded(prefix, false));
            if let Some(token) = token.take() {
                uri += &format!("&continuation-token={}", encoded(&token, false));
            }
            let request = Unsigned { operation: OPERATION, method: "GET", uri: &uri, headers: &[], body: "" };
            let answered =
                self.service.send(request, |answered| refusal(OPERATION, bucket, prefix, answered));
            let answered = answered.await?;
            if answered.status >= 300 {
                let problem = format!("there is no bucket {bucket}");
                return Err(AwsError { failure: Failure::NotFound, ..AwsError::odd(OPERATION, &problem) });
            }
            let body = String::from_utf8_lossy(&answered.body);
            // What is cut off is no list of what is there.
            if !body.trim_end().ends_with("</ListBucketResult>") {
                return Err(AwsError::odd(OPERATION, "the answer is unreadable"));
            }
            for entry in body.split("<Contents>").skip(1) {
                // What cannot be read could be what matters.
                let Some(key) = element(entry, "Key") else {
                    return Err(AwsError::odd(
                        OPERATION,
                        &format!("a key in s3://{bucket}/{prefix} is unreadable"),
                    ));
                };
                let modified_at = element(entry, "LastModified").and_then(|at| Instant::parse(&at).ok());
                objects.push(Listed { key, modified_at });
            }
            match element(&body, "NextContinuationToken") {
                Some(next) => token = Some(next),
                None => return Ok(objects),
            }
        }
    }

    /// Writes an object, whatever is there.
    ///
    /// # Errors
    ///
    /// What S3 answers.
    pub async fn write(
        &self,
        bucket: &str,
        key: &str,
        text: &str,
        content_type: &str,
    ) -> Result<(), AwsError> {
        const OPERATION: &str = "PutObject";
        let headers = [("content-type", content_type)];
        let answered = self.request(OPERATION, "PUT", bucket, key, None, &headers, Some(text)).await?;
        if answered.is_some_and(|answered| answered.status < 300) {
            return Ok(());
        }
        Err(AwsError::odd(OPERATION, &format!("s3://{bucket}/{key} was not written")))
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

    /// Deletes an object; there may be none.
    ///
    /// # Errors
    ///
    /// What S3 answers.
    pub async fn delete(&self, bucket: &str, key: &str) -> Result<(), AwsError> {
        self.request("DeleteObject", "DELETE", bucket, key, None, &[], None).await.map(|_| ())
    }

    /// Deletes an object if it is still the one with this `ETag`; `false` when it is not. There may be none.
    ///
    /// # Errors
    ///
    /// What S3 answers.
    pub async fn delete_if(&self, bucket: &str, key: &str, etag: &str) -> Result<bool, AwsError> {
        let headers = [("if-match", etag)];
        let answered = self.request("DeleteObject", "DELETE", bucket, key, None, &headers, None).await?;
        // 409 and 412: somebody wrote it since. None: somebody deleted it.
        Ok(answered.is_none_or(|answered| answered.status < 300))
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
        Ok(answered
            .map(|answered| Version { id: version_id(&answered), at: time(&answered, "last-modified") }))
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

fn version_id(answered: &Answered) -> Option<String> {
    answered.header("x-amz-version-id").filter(|id| *id != "null").map(str::to_owned)
}

/// The time in a header field.
fn time(answered: &Answered, header: &str) -> Option<Instant> {
    let at = DateTime::from_str(answered.header(header)?, Format::HttpDate).ok()?;
    Instant::from_micros(at.secs().checked_mul(1_000_000)?)
}

/// The content of the first element of this name in a piece of XML, which has no other markup inside of it.
pub(super) fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (content, _) = rest.split_once('<')?;
    let mut text = String::with_capacity(content.len());
    let mut rest = content;
    while let Some((before, after)) = rest.split_once('&') {
        text.push_str(before);
        let (entity, after) = after.split_once(';')?;
        let number = entity.strip_prefix('#').map(|number| match number.strip_prefix('x') {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => number.parse(),
        });
        text.push(match (entity, number) {
            ("amp", _) => '&',
            ("lt", _) => '<',
            ("gt", _) => '>',
            ("quot", _) => '"',
            ("apos", _) => '\'',
            (_, number) => char::from_u32(number?.ok()?)?,
        });
        rest = after;
    }
    text.push_str(rest);
    Some(text)
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
    let told = element(&body, "Message")
        .or_else(|| element(&body, "Code"))
        .unwrap_or_else(|| format!("HTTP status {}", answered.status));
    Some(AwsError { failure, ..AwsError::odd(operation, &format!("s3://{bucket}/{key}: {told}")) })
}

/// A text in a URL; in a path slashes stay.
pub(super) fn encoded(text: &str, is_path: bool) -> String {
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
    fn keys_are_read_as_they_were_written() {
        let xml = "<Contents><Key>usage/a &amp; b&#x2f;&#45;.json</Key><Size>1</Size></Contents>";
        assert_eq!(element(xml, "Key").as_deref(), Some("usage/a & b/-.json"));
        assert_eq!(element(xml, "ETag"), None);
    }

    #[test]
    fn keys_are_encoded_as_s3_signs_them() {
        assert_eq!(
            encoded("sources/team/a b+ü&?#'.zip", true),
            "sources/team/a%20b%2B%C3%BC%26%3F%23%27.zip"
        );
        assert_eq!(encoded("a/b=", false), "a%2Fb%3D");
    }
}
