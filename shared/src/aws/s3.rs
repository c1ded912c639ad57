//! Amazon S3, as far as building needs it: small objects read and written, and what the latest version of a large one is.
//! Three requests, signed by the SDK's signer and sent by its HTTP client; its own client for S3 would be a quarter of a
//! function.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_http_client::Connector;
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use aws_smithy_types::date_time::{DateTime, Format};

use super::error::{AwsError, Failure};
use super::trouble::Trouble;
use super::{connector, variable};
use crate::instant::Instant;

/// The most bytes that are read of an object.
const MAX_BYTES: usize = 1024 * 1024;

/// Objects in Amazon S3.
#[derive(Debug)]
pub struct S3 {
    /// Made for the first request, which a cold start need not wait for.
    connector: OnceLock<Connector>,
    trouble: Trouble,
    region: String,
    suffix: &'static str,
    /// An endpoint that is not AWS's own: buckets are part of its paths.
    endpoint: Option<String>,
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

struct Answered {
    status: u16,
    etag: String,
    version_id: Option<String>,
    last_modified: Option<Instant>,
    body: Vec<u8>,
}

impl S3 {
    pub(super) fn new(trouble: Trouble, endpoint: Option<String>) -> Self {
        let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")).unwrap_or_default();
        let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        Self { connector: OnceLock::new(), trouble, region, suffix, endpoint }
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
                let text = String::from_utf8(answered.body).map_err(|_| {
                    AwsError::odd("GetObject", &format!("s3://{bucket}/{key} is no UTF-8 text"))
                })?;
                Ok(Some(Object { text, etag: answered.etag }))
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
            id: answered.version_id.filter(|id| id != "null"),
            at: answered.last_modified,
        }))
    }

    /// Sends a request until it is answered; the caller bounds the time. `None` when there is no such object.
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
        let mut pause = Duration::from_millis(200);
        loop {
            self.trouble.begin(operation);
            let answered = self.attempt(operation, method, &uri, headers, body.unwrap_or_default()).await;
            let error = match answered {
                Ok(answered) => match refusal(operation, bucket, key, &answered) {
                    None => {
                        self.trouble.end(operation, None);
                        return Ok((answered.status != 404).then_some(answered));
                    }
                    Some(error) => error,
                },
                Err(error) => error,
            };
            let is_passing = error.failure == Failure::Throttled || error.failure.leaves_doubt();
            self.trouble.end(operation, is_passing.then(|| error.clone()));
            if !is_passing {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(4));
        }
    }

    async fn attempt(
        &self,
        operation: &'static str,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answered, AwsError> {
        let unsigned = |problem: &dyn std::fmt::Display| AwsError {
            failure: Failure::Invalid,
            ..AwsError::odd(operation, &problem.to_string())
        };
        let mut request = HttpRequest::new(SdkBody::empty());
        request.set_method(method).map_err(|error| unsigned(&error))?;
        request.set_uri(uri).map_err(|error| unsigned(&error))?;
        for (name, value) in headers {
            request.headers_mut().insert((*name).to_owned(), (*value).to_owned());
        }
        let credentials = Credentials::new(
            variable("AWS_ACCESS_KEY_ID").unwrap_or_default(),
            variable("AWS_SECRET_ACCESS_KEY").unwrap_or_default(),
            variable("AWS_SESSION_TOKEN"),
            None,
            "environment",
        );
        // S3 signs paths as they are, and wants the body's sum in a header.
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let identity = credentials.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("s3")
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .map_err(|error| unsigned(&error))?;
        let signable =
            SignableRequest::new(method, uri, headers.iter().copied(), SignableBody::Bytes(body.as_bytes()))
                .map_err(|error| unsigned(&error))?;
        let (instructions, _) =
            sign(signable, &parameters.into()).map_err(|error| unsigned(&error))?.into_parts();
        for (name, value) in instructions.headers() {
            request.headers_mut().insert(name.to_owned(), value.to_owned());
        }
        if method == "PUT" {
            request.headers_mut().insert("content-length", body.len().to_string());
            *request.body_mut() = SdkBody::from(body);
        }
        let lost = |problem: String| AwsError {
            failure: Failure::Unreachable,
            ..AwsError::odd(operation, &problem)
        };
        let call = async {
            let answer = self.connector.get_or_init(connector).call(request).await.map_err(|error| {
                lost(std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string))
            })?;
            answered(answer).await.map_err(|error| lost(error.to_string()))
        };
        match tokio::time::timeout(super::ATTEMPT, call).await {
            Ok(answered) => {
                let answered = answered?;
                if answered.body.len() > MAX_BYTES {
                    let problem = format!("the object has more than {MAX_BYTES} bytes");
                    return Err(AwsError { failure: Failure::Invalid, ..AwsError::odd(operation, &problem) });
                }
                Ok(answered)
            }
            Err(_) => Err(AwsError { failure: Failure::TimedOut, ..AwsError::odd(operation, "") }),
        }
    }

    fn uri(&self, bucket: &str, key: &str, version: Option<&str>) -> String {
        let key = encoded(key, true);
        let mut uri = match &self.endpoint {
            Some(endpoint) => format!("{}/{bucket}/{key}", endpoint.trim_end_matches('/')),
            // No certificate is for a name with dots.
            None if bucket.contains('.') => {
                format!("https://s3.{}.{}/{bucket}/{key}", self.region, self.suffix)
            }
            None => format!("https://{bucket}.s3.{}.{}/{key}", self.region, self.suffix),
        };
        if let Some(version) = version {
            uri += &format!("?versionId={}", encoded(version, false));
        }
        uri
    }
}

async fn answered(answer: HttpResponse) -> Result<Answered, Box<dyn std::error::Error + Send + Sync>> {
    let status = answer.status().as_u16();
    let header = |name: &str| answer.headers().get(name).map(str::to_owned);
    let last_modified = header("last-modified")
        .and_then(|text| DateTime::from_str(&text, Format::HttpDate).ok())
        .and_then(|at| Instant::from_micros(at.secs().checked_mul(1_000_000)?));
    let (etag, version_id) = (header("etag").unwrap_or_default(), header("x-amz-version-id"));
    let body = ByteStream::new(answer.into_body()).collect().await?.to_vec();
    Ok(Answered { status, etag, version_id, last_modified, body })
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
