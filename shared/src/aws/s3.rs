//! Amazon S3 by its SDK, as far as this project needs it: objects of some megabytes read, written and listed, and what the
//! latest version of a large one is. Conditions, checksums and endpoints are the SDK's; what an answer means is decided here.
//!
//! Checksums: bodies are in memory, for which the SDK sends the CRC-32 as a header and the content as it is (trailers and
//! `aws-chunked` are for streams), and S3 refuses what was changed on the way. What is read is compared with the checksum that
//! S3 stored. So both are left as the SDK has them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
};
use aws_sdk_s3::config::retry::{RetryPartition, TokenBucket};
use aws_sdk_s3::config::{ConfigBag, Intercept, Region, RuntimeComponents, StalledStreamProtectionConfig};
use aws_sdk_s3::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::ChecksumMode;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::base64;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use aws_smithy_types::date_time::{DateTime, Format};

use super::error::{AwsError, Failure};
use super::pages::Pages;
use super::{Connection, retries_at_once};
use crate::domain::text::instant::Instant;

/// Maximum size of an answer, in bytes, where a call has no lower one.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// The operation that reads an object.
const READ: &str = "GetObject";

/// Objects in Amazon S3. The SDK's futures are large, and are boxed.
#[derive(Debug)]
pub struct S3 {
    client: Client,
    region: String,
}

/// An object's content, and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The content.
    pub text: String,
    /// The `ETag`.
    pub etag: String,
    /// The id of its version; `None` in a bucket that keeps no versions.
    pub version: Option<String>,
    /// The time of writing.
    pub modified_at: Option<Instant>,
    /// The time of the answer, by S3's own clock.
    pub answered_at: Option<Instant>,
}

/// An object, as a list has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: String,
    /// The time of writing.
    pub modified_at: Option<Instant>,
    /// Its size in bytes; `None` if the list does not have it.
    pub bytes: Option<u64>,
}

/// The precondition of a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition<'a> {
    /// There is none yet.
    IfNoneMatch,
    /// The object has this ETag (`If-Match`).
    IfMatch(&'a str),
}

/// A version of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its id; `None` in a bucket that keeps no versions.
    pub id: Option<String>,
    /// The time of writing.
    pub at: Option<Instant>,
}

impl S3 {
    pub(super) fn new(connection: &Connection) -> Self {
        Self::of_region(connection, connection.region())
    }

    /// For buckets of a Region, which are reached there and nowhere else.
    pub(super) fn of_region(connection: &Connection, region: &str) -> Self {
        let transport = &connection.transport;
        let endpoint = transport.endpoint("S3");
        let partition =
            transport.retry_partition().map_or_else(|| "s3".to_owned(), |world| format!("s3-{world}"));
        let mut config = aws_sdk_s3::config::Builder::from(&connection.config)
            .interceptor(connection.retry_observer.clone())
            // S3 has no rate for an account that calls would have to be limited to, and attempts end with the deadline.
            .retry_config(retries_at_once())
            .retry_partition(RetryPartition::custom(partition).token_bucket(TokenBucket::unlimited()).build())
            // Answers are read within an attempt, which has its time.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .disable_s3_express_session_auth(true)
            .disable_multi_region_access_points(true)
            // Another endpoint, such as an emulator's, has no host names for buckets.
            .force_path_style(endpoint.is_some());
        config.set_endpoint_url(endpoint);
        if region != connection.region() {
            config = config.region(Region::new(region.to_owned()));
        }
        if let Some(client) = connection.config.http_client() {
            config = config.http_client(http_client_fn(move |settings, components| {
                SharedHttpConnector::new(ReadWhole(client.http_connector(settings, components)))
            }));
        }
        Self { client: Client::from_conf(config.build()), region: region.to_owned() }
    }

    /// An object; `None` when there is none.
    ///
    /// # Errors
    ///
    /// Any error of S3; also when it is larger than 32 megabytes or no text.
    pub async fn get(&self, bucket: &str, key: &str) -> Result<Option<Object>, AwsError> {
        self.get_up_to(MAX_BYTES, bucket, key).await
    }

    /// An object of at most this number of bytes; `None` if there is none. Of a larger one no more than that is read.
    ///
    /// # Errors
    ///
    /// Any error of S3; also if the object is larger, or not text.
    pub async fn get_up_to(
        &self,
        max_bytes: usize,
        bucket: &str,
        key: &str,
    ) -> Result<Option<Object>, AwsError> {
        let Some((object, content)) = self.read(max_bytes, bucket, key).await? else { return Ok(None) };
        let text = String::from_utf8(content).map_err(|_| {
            AwsError::unexpected_response(READ, &format!("s3://{bucket}/{key}: the object is no UTF-8 text"))
        })?;
        Ok(Some(Object { text, ..object }))
    }

    /// The content of an object, which may be no text; `None` if there is none.
    ///
    /// # Errors
    ///
    /// Any error of S3; also if it is larger than 32 megabytes.
    pub async fn get_bytes(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, AwsError> {
        Ok(self.read(MAX_BYTES, bucket, key).await?.map(|(_, content)| content))
    }

    /// An object, without its text, and its content.
    async fn read(
        &self,
        max_bytes: usize,
        bucket: &str,
        key: &str,
    ) -> Result<Option<(Object, Vec<u8>)>, AwsError> {
        let date = DateOfAnswer::default();
        let request = self.client.get_object().bucket(bucket).key(key).customize();
        let request = request.interceptor(AtMost(max_bytes)).interceptor(date.clone());
        let answered = Box::pin(request.send()).await;
        let answered = match answered {
            Ok(answered) => answered,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(self.refusal(READ, bucket, key, &error)),
        };
        let unexpected_response = |problem: &dyn fmt::Display| {
            AwsError::unexpected_response(READ, &format!("s3://{bucket}/{key}: {problem}"))
        };
        let modified_at = answered.last_modified.as_ref().and_then(instant);
        let version = version_id(answered.version_id);
        let etag = answered.e_tag.ok_or_else(|| unexpected_response(&"S3 gives no ETag for the object"))?;
        // It is in memory already; what can go wrong is its checksum.
        let content = answered
            .body
            .collect()
            .await
            .map_err(|error| unexpected_response(&aws_sdk_s3::error::DisplayErrorContext(error)))?;
        let object = Object { text: String::new(), etag, version, modified_at, answered_at: date.instant() };
        Ok(Some((object, content.to_vec())))
    }

    /// The objects below a prefix, by ascending key.
    ///
    /// # Errors
    ///
    /// Any error of S3, a list that is cut off, and one in which a key cannot be read: what is missing could be what matters.
    pub async fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<Listed>, AwsError> {
        const OPERATION: &str = "ListObjectsV2";
        let unexpected_response = |problem: &str| {
            AwsError::unexpected_response(OPERATION, &format!("s3://{bucket}/{prefix}: {problem}"))
        };
        let mut objects = Vec::new();
        let mut pages = Pages::new(OPERATION);
        loop {
            let request = self.client.list_objects_v2().bucket(bucket).prefix(prefix);
            let token = pages.token().map(str::to_owned);
            let request = request.set_continuation_token(token).customize().interceptor(WholeList);
            let page = Box::pin(request.send())
                .await
                .map_err(|error| self.refusal(OPERATION, bucket, prefix, &error))?;
            for entry in page.contents.unwrap_or_default() {
                let key = entry.key.ok_or_else(|| unexpected_response("a key of the list is unreadable"))?;
                let modified_at = entry.last_modified.as_ref().and_then(instant);
                let bytes = entry.size.and_then(|size| u64::try_from(size).ok());
                objects.push(Listed { key, modified_at, bytes });
            }
            if pages.follow(page.next_continuation_token)? {
                continue;
            }
            if page.is_truncated == Some(true) {
                return Err(unexpected_response("the list goes on, and S3 does not say how to read on"));
            }
            return Ok(objects);
        }
    }

    /// Writes an object, replacing any existing one.
    ///
    /// # Errors
    ///
    /// Any error of S3.
    pub async fn write(
        &self,
        bucket: &str,
        key: &str,
        text: &str,
        content_type: &str,
    ) -> Result<(), AwsError> {
        let request = self.client.put_object().bucket(bucket).key(key).content_type(content_type);
        match Box::pin(request.body(ByteStream::from(text.as_bytes().to_vec())).send()).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.refusal("PutObject", bucket, key, &error)),
        }
    }

    /// Writes a JSON object into the bucket of another account, whatever is there. A bucket of that name that is not this account's is
    /// refused, so that nobody gets what was meant for another.
    ///
    /// # Errors
    ///
    /// What S3 answers.
    pub async fn write_to_account(
        &self,
        owner: &str,
        bucket: &str,
        key: &str,
        text: &str,
    ) -> Result<(), AwsError> {
        let request = self.client.put_object().bucket(bucket).key(key).content_type("application/json");
        let request = request.expected_bucket_owner(owner).body(ByteStream::from(text.as_bytes().to_vec()));
        match Box::pin(request.send()).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.refusal("PutObject", bucket, key, &error)),
        }
    }

    /// Uploads a file, replacing any existing object; returns the id of its version, in a bucket with versions.
    ///
    /// # Errors
    ///
    /// Any error of S3.
    pub async fn upload(
        &self,
        bucket: &str,
        key: &str,
        content: Vec<u8>,
        content_type: &str,
    ) -> Result<Option<String>, AwsError> {
        self.put_file(bucket, key, content, None, content_type).await
    }

    /// Uploads a file with its SHA-256, which S3 compares with the content and stores.
    ///
    /// # Errors
    ///
    /// Any error of S3.
    pub async fn upload_with_sha256(
        &self,
        bucket: &str,
        key: &str,
        content: Vec<u8>,
        sha256: &[u8],
        content_type: &str,
    ) -> Result<Option<String>, AwsError> {
        self.put_file(bucket, key, content, Some(base64::encode(sha256)), content_type).await
    }

    async fn put_file(
        &self,
        bucket: &str,
        key: &str,
        content: Vec<u8>,
        sha256: Option<String>,
        content_type: &str,
    ) -> Result<Option<String>, AwsError> {
        let request = self.client.put_object().bucket(bucket).key(key).content_type(content_type);
        let request = request.set_checksum_sha256(sha256);
        match Box::pin(request.body(ByteStream::from(content)).send()).await {
            Ok(answered) => Ok(version_id(answered.version_id)),
            Err(error) => Err(self.refusal("PutObject", bucket, key, &error)),
        }
    }

    /// Writes an object if it is as expected; `false` when it is not.
    ///
    /// # Errors
    ///
    /// Any error of S3.
    pub async fn put(
        &self,
        bucket: &str,
        key: &str,
        text: &str,
        only: Precondition<'_>,
    ) -> Result<bool, AwsError> {
        let request = self.client.put_object().bucket(bucket).key(key).content_type("application/json");
        let request = match only {
            Precondition::IfNoneMatch => request.if_none_match("*"),
            Precondition::IfMatch(etag) => request.if_match(etag),
        };
        match Box::pin(request.body(ByteStream::from(text.as_bytes().to_vec())).send()).await {
            Ok(_) => Ok(true),
            // 404: the object was deleted meanwhile.
            Err(error) if is_other(&error) || is_missing(&error) => Ok(false),
            Err(error) => Err(self.refusal("PutObject", bucket, key, &error)),
        }
    }

    /// Deletes an object; there may be none.
    ///
    /// # Errors
    ///
    /// Any error of S3.
    pub async fn delete(&self, bucket: &str, key: &str) -> Result<(), AwsError> {
        match Box::pin(self.client.delete_object().bucket(bucket).key(key).send()).await {
            Ok(_) => Ok(()),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(self.refusal("DeleteObject", bucket, key, &error)),
        }
    }

    /// Deletes an object if it is still the one with this `ETag`; `false` when it is not. There may be none.
    ///
    /// # Errors
    ///
    /// Any error of S3.
    pub async fn delete_if(&self, bucket: &str, key: &str, etag: &str) -> Result<bool, AwsError> {
        match Box::pin(self.client.delete_object().bucket(bucket).key(key).if_match(etag).send()).await {
            Ok(_) => Ok(true),
            // Somebody deleted it.
            Err(error) if is_missing(&error) => Ok(true),
            // Somebody wrote it since.
            Err(error) if is_other(&error) => Ok(false),
            Err(error) => Err(self.refusal("DeleteObject", bucket, key, &error)),
        }
    }

    /// The latest version of an object, if S3 says that its content has this SHA-256; `None` for another one, or none. A key that names
    /// what it should have proves nothing: others may write there, too.
    ///
    /// # Errors
    ///
    /// Any error of S3.
    pub async fn version_with(
        &self,
        bucket: &str,
        key: &str,
        sha256: &[u8],
    ) -> Result<Option<Version>, AwsError> {
        let request = self.client.head_object().bucket(bucket).key(key).checksum_mode(ChecksumMode::Enabled);
        match Box::pin(request.send()).await {
            Ok(found) if found.checksum_sha256.as_deref() == Some(&base64::encode(sha256)) => {
                Ok(Some(Version {
                    at: found.last_modified.as_ref().and_then(instant),
                    id: version_id(found.version_id),
                }))
            }
            Ok(_) => Ok(None),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(self.refusal("HeadObject", bucket, key, &error)),
        }
    }

    /// A version of an object, by default the latest; `None` when there is none.
    ///
    /// # Errors
    ///
    /// Any error of S3.
    pub async fn version(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<Option<Version>, AwsError> {
        let request = self.client.head_object().bucket(bucket).key(key);
        match Box::pin(request.set_version_id(version.map(str::to_owned)).send()).await {
            Ok(found) => Ok(Some(Version {
                at: found.last_modified.as_ref().and_then(instant),
                id: version_id(found.version_id),
            })),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(self.refusal("HeadObject", bucket, key, &error)),
        }
    }

    /// Why a call failed, and of which object.
    fn refusal<E>(
        &self,
        operation: &'static str,
        bucket: &str,
        key: &str,
        error: &SdkError<E, HttpResponse>,
    ) -> AwsError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let parsed = match (error, error.raw_response()) {
            (SdkError::ServiceError(service), Some(answered)) => {
                let metadata = service.err();
                let status = answered.status().as_u16();
                let message = metadata.message().or(metadata.code()).map(str::to_owned);
                let message = message.unwrap_or_else(|| format!("HTTP status {status}"));
                let region = answered.headers().get("x-amz-bucket-region");
                let elsewhere = region.filter(|region| *region != self.region && status != 403);
                let message = match elsewhere {
                    Some(region) => {
                        format!("{message} (the bucket is in {region}, which is not {})", self.region)
                    }
                    None => message,
                };
                AwsError {
                    failure: Failure::of_s3(status, metadata.code()),
                    ..AwsError::unexpected_response(operation, &message)
                }
            }
            // It has its status, so that it is no trouble of the connection's.
            (SdkError::ResponseError(_), _) => {
                let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
                AwsError::unexpected_response(operation, &format!("the answer is unreadable: {cause}"))
            }
            _ => match too_large(error) {
                Some(problem) => AwsError {
                    failure: Failure::Invalid,
                    ..AwsError::unexpected_response(operation, &problem)
                },
                None => AwsError::new(operation, error),
            },
        };
        let message = match parsed.message.as_str() {
            "" => format!("s3://{bucket}/{key}"),
            message => format!("s3://{bucket}/{key}: {message}"),
        };
        AwsError { message, ..parsed }
    }
}

/// Whether S3 says that the object, or its version, does not exist. A missing bucket is another error, as far as S3 says so: not
/// in answers to `HeadObject`.
fn is_missing<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    status(error) == Some(404) && code(error) != Some("NoSuchBucket")
}

/// Whether a precondition failed: 412, or 409 during a concurrent write (`ConditionalRequestConflict`).
fn is_other<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    matches!(status(error), Some(409 | 412))
}

fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    match error {
        SdkError::ServiceError(service) => Some(service.raw().status().as_u16()),
        _ => None,
    }
}

fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

/// The error for an answer that is too large, if that is why a call failed.
fn too_large<E>(error: &SdkError<E, HttpResponse>) -> Option<String> {
    let SdkError::DispatchFailure(failure) = error else { return None };
    let source = std::error::Error::source(failure.as_connector_error()?)?;
    source.downcast_ref::<TooLarge>().map(ToString::to_string)
}

fn version_id(id: Option<String>) -> Option<String> {
    id.filter(|id| id != "null")
}

fn instant(at: &DateTime) -> Option<Instant> {
    Instant::from_micros(at.secs().checked_mul(1_000_000)?)
}

/// Maximum size of the answer to a request, in bytes.
#[derive(Debug, Clone, Copy)]
struct AtMost(usize);

#[dyn_dispatch_hint]
impl Intercept for AtMost {
    fn name(&self) -> &'static str {
        "AtMost"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        context.request_mut().add_extension(*self);
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the answer has more than {0} bytes")]
struct TooLarge(usize);

/// Reads answers to their end before the SDK sees them. Reading is then part of the attempt: it has the attempt's timeout, a
/// connection that breaks is retried, and reading stops at the maximum size.
#[derive(Debug)]
struct ReadWhole(SharedHttpConnector);

impl HttpConnector for ReadWhole {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let AtMost(max_bytes) = request.extension().copied().unwrap_or(AtMost(MAX_BYTES));
        let answer = self.0.call(request);
        HttpConnectorFuture::new(async move {
            let mut answer = answer.await?;
            let mut rest = ByteStream::new(std::mem::replace(answer.body_mut(), SdkBody::taken()));
            let mut body = Vec::new();
            while let Some(part) = rest.next().await {
                body.extend_from_slice(&part.map_err(|error| ConnectorError::io(error.into()))?);
                if body.len() > max_bytes {
                    return Err(ConnectorError::user(TooLarge(max_bytes).into()));
                }
            }
            *answer.body_mut() = SdkBody::from(body);
            Ok(answer)
        })
    }
}

/// Keeps what time it was when S3 answered, by S3's own clock.
#[derive(Debug, Clone, Default)]
struct DateOfAnswer(Arc<Mutex<Option<Instant>>>);

impl DateOfAnswer {
    fn instant(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[dyn_dispatch_hint]
impl Intercept for DateOfAnswer {
    fn name(&self) -> &'static str {
        "DateOfAnswer"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let at = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at.as_ref().and_then(instant);
        Ok(())
    }
}

/// Refuses a truncated list, which the SDK would accept.
#[derive(Debug)]
struct WholeList;

#[dyn_dispatch_hint]
impl Intercept for WholeList {
    fn name(&self) -> &'static str {
        "WholeList"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response();
        let body = answer.body().bytes().unwrap_or_default();
        match !answer.status().is_success() || body.trim_ascii_end().ends_with(b"</ListBucketResult>") {
            true => Ok(()),
            false => Err("the list is cut off".into()),
        }
    }
}
