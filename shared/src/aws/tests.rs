//! Calls over a connector that answers what a test wants: where they go, and what answers mean.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;

use super::s3::{Precondition, S3};
use super::usage_sources::{Look, READERS};
use super::{AccessKeys, AwsError, Clock, Connection, Failure, Transport};
use crate::domain::builds::outbound_event::{Failed, OutboundEvent};
use crate::domain::repository::{Name, Registry, URL_SUFFIXES};
use crate::domain::text::instant::Instant;

/// A body of several parts of a kilobyte, which counts those that were read, and may break then.
struct Parts {
    read: Arc<AtomicUsize>,
    left: usize,
    breaks: bool,
}

impl Parts {
    fn body(read: &Arc<AtomicUsize>, left: usize, breaks: bool) -> SdkBody {
        SdkBody::from_body_1_x(Self { read: Arc::clone(read), left, breaks })
    }
}

impl http_body::Body for Parts {
    type Data = bytes::Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        let Some(left) = self.left.checked_sub(1) else {
            let end = self.breaks.then(|| Err(std::io::ErrorKind::ConnectionReset.into()));
            return std::task::Poll::Ready(end);
        };
        self.left = left;
        self.read.fetch_add(1, Ordering::Relaxed);
        std::task::Poll::Ready(Some(Ok(http_body::Frame::data(bytes::Bytes::from_static(&[b'x'; 1024])))))
    }
}

#[derive(Debug)]
struct Asked {
    method: String,
    uri: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

type Answer = Result<HttpResponse, ConnectorError>;

/// Answers requests one after the other; those that are left over are denied.
#[derive(Debug, Clone, Default)]
struct Canned {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl HttpConnector for Canned {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.asked.lock().unwrap().push(Asked {
            method: request.method().to_owned(),
            uri: request.uri().to_owned(),
            headers: request.headers().iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
            body: request.body().bytes().map(<[u8]>::to_vec),
        });
        let answer = self.answers.lock().unwrap().pop_front();
        HttpConnectorFuture::ready(
            answer.unwrap_or_else(|| Ok(answer_of(403, &[], r#"{"__type":"AccessDenied"}"#))),
        )
    }
}

fn answer_of(status: u16, headers: &[(&str, &str)], body: impl Into<SdkBody>) -> HttpResponse {
    let mut answer = HttpResponse::new(status.try_into().unwrap(), body.into());
    for (name, value) in headers {
        answer.headers_mut().insert((*name).to_owned(), (*value).to_owned());
    }
    answer
}

fn refused(status: u16, code: &str) -> Answer {
    Ok(answer_of(status, &[], format!("<Error><Code>{code}</Code><Message>because</Message></Error>")))
}

impl Canned {
    fn transport(&self, region: &str) -> Transport {
        let keys = AccessKeys {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "secret".to_owned(),
            session_token: None,
        };
        let clock = Clock::of(|| Instant::parse("2026-11-26T00:00:00Z").unwrap());
        Transport::over(SharedHttpConnector::new(self.clone()), clock, keys, region, "http://unused")
    }

    fn hosts(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|asked| asked.uri.split('/').nth(2).unwrap().to_owned()).collect()
    }
}

/// Amazon S3 with these answers.
fn s3(answers: impl IntoIterator<Item = Answer>) -> (S3, Canned) {
    let canned = Canned::default();
    canned.answers.lock().unwrap().extend(answers);
    (Connection::over(canned.transport("eu-west-1").at_aws(false, false)).s3(), canned)
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(work)
}

fn announcement() -> OutboundEvent {
    let text = String::new;
    OutboundEvent::Failed(Failed {
        stack_name: text(),
        repository_name: text(),
        build_status: text(),
        reason: text(),
        source: text(),
        build_id: text(),
        log_link: text(),
    })
}

const ETAG: (&str, &str) = ("etag", "\"1\"");

#[test]
fn every_service_is_called_where_its_partition_has_it_fips_and_dual_stack_too() {
    let expected = include_str!("../../../tests/fixtures/endpoints.txt");
    let mut checked = 0;
    for line in expected.lines().filter(|line| !line.starts_with('#')) {
        let [service, region, fips, dual, host] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let canned = Canned::default();
        let transport = canned.transport(region).at_aws(fips == "fips", dual == "dual");
        let connection = Connection::over(transport);
        run(async {
            match service {
                "cloudformation" => drop(connection.cloudformation().stack_status("stack").await),
                "ecr" => drop(connection.registry().describe().await),
                "ecs" => drop(connection.ecs().clusters().await),
                "eks" => drop(connection.eks().clusters().await),
                "events" => drop(connection.events().announce(&announcement()).await),
                "lambda" => drop(connection.functions().invoke("function", "{}").await),
                "logs" => drop(connection.logs().end("group", "stream").await),
                "tagging" => drop(connection.resource_tags().protected_repositories("1", "steward").await),
                "sns" => drop(connection.sns().publish("topic", "subject", "message").await),
                "sqs" => drop(connection.sqs().send("queue", "message", 0).await),
                "ssm" => drop(connection.parameters().put("name", "value", "what").await),
                // A usage source, some of which make two calls.
                other => {
                    let (_, read) = READERS
                        .iter()
                        .find(|(source, _)| {
                            [source.name, source.service.unwrap_or_default()].contains(&other)
                        })
                        .expect(line);
                    let (ecs_clusters, known) = (&[][..], &BTreeMap::new());
                    drop(
                        read(Look { connection: &connection, ecs_clusters, known, reads_stacks: false })
                            .await,
                    );
                }
            }
        });
        let mut hosts = canned.hosts();
        hosts.dedup();
        assert_eq!(hosts, [host], "{line}");
        checked += 1;
    }
    assert_eq!(checked, 748);
}

#[test]
fn objects_are_where_their_partition_has_them() {
    for (region, fips, dual, bucket, host) in [
        ("eu-west-1", false, false, "bucket", "bucket.s3.eu-west-1.amazonaws.com"),
        ("us-east-1", false, false, "bucket", "bucket.s3.us-east-1.amazonaws.com"),
        // No certificate is for a name with dots.
        ("eu-west-1", false, false, "a.bucket", "s3.eu-west-1.amazonaws.com"),
        ("ca-central-1", true, false, "bucket", "bucket.s3-fips.ca-central-1.amazonaws.com"),
        ("eu-west-1", false, true, "bucket", "bucket.s3.dualstack.eu-west-1.amazonaws.com"),
        ("us-gov-west-1", true, true, "bucket", "bucket.s3-fips.dualstack.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", false, false, "bucket", "bucket.s3.cn-north-1.amazonaws.com.cn"),
        ("eusc-de-east-1", false, false, "bucket", "bucket.s3.eusc-de-east-1.amazonaws.eu"),
        ("us-iso-east-1", false, false, "bucket", "bucket.s3.us-iso-east-1.c2s.ic.gov"),
        ("us-isob-east-1", false, false, "bucket", "bucket.s3.us-isob-east-1.sc2s.sgov.gov"),
        ("eu-isoe-west-1", false, false, "bucket", "bucket.s3.eu-isoe-west-1.cloud.adc-e.uk"),
        ("us-isof-south-1", false, false, "bucket", "bucket.s3.us-isof-south-1.csp.hci.ic.gov"),
    ] {
        let canned = Canned::default();
        let s3 = Connection::over(canned.transport(region).at_aws(fips, dual)).s3();
        assert_eq!(run(s3.get(bucket, "key")).unwrap_err().failure, Failure::Denied);
        assert_eq!(canned.hosts(), [host], "{region}");
    }
    // Another endpoint has no names for buckets.
    let canned = Canned::default();
    let s3 = Connection::over(canned.transport("eu-west-1")).s3();
    assert!(run(s3.get("bucket", "a b/ü.json")).is_err());
    assert_eq!(canned.asked.lock().unwrap()[0].uri, "http://unused/bucket/a%20b/%C3%BC.json?x-id=GetObject");
}

#[test]
fn without_a_region_a_call_says_what_is_missing() {
    let canned = Canned::default();
    let connection = Connection::over(canned.transport("").at_aws(false, false));
    let error = run(connection.ecs().clusters()).unwrap_err();
    assert_eq!(error.failure, Failure::Invalid);
    assert!(error.message.contains("AWS_REGION"), "{error}");
    assert!(run(connection.s3().get("bucket", "key")).is_err());
    assert!(canned.hosts().is_empty());
}

#[test]
fn the_suffixes_of_partitions_are_those_of_the_aws_sdk() {
    let regions = [
        "eu-west-1",
        "cn-north-1",
        "us-gov-west-1",
        "eusc-de-east-1",
        "us-iso-east-1",
        "us-isob-east-1",
        "eu-isoe-west-1",
        "us-isof-south-1",
    ];
    for ((partition, _), region) in URL_SUFFIXES.iter().zip(regions) {
        let transport = Canned::default().transport(region);
        let arn = format!("arn:{partition}:ecr:{region}:123456789012:repository/app");
        let suffix = Registry::of_arn(&arn).unwrap().url_suffix();
        assert_eq!(transport.place().endpoint("ecs"), Ok(format!("https://ecs.{region}.{suffix}")));
    }
}

#[test]
fn a_write_has_its_condition_and_its_checksum_and_its_content_as_it_is() {
    let (s3, canned) = s3([
        Ok(answer_of(200, &[ETAG], SdkBody::empty())),
        Ok(answer_of(200, &[ETAG], SdkBody::empty())),
        Ok(answer_of(204, &[], SdkBody::empty())),
    ]);
    assert!(run(s3.put("bucket", "journal/1", "123456789", Precondition::IfNoneMatch)).unwrap());
    assert!(run(s3.put("bucket", "state", "123456789", Precondition::IfMatch("\"1\""))).unwrap());
    assert!(run(s3.delete_if("bucket", "state", "\"1\"")).unwrap());
    let asked = canned.asked.lock().unwrap();
    assert_eq!((asked[0].header("if-none-match"), asked[0].header("if-match")), (Some("*"), None));
    assert_eq!((asked[1].header("if-none-match"), asked[1].header("if-match")), (None, Some("\"1\"")));
    assert_eq!((asked[2].method.as_str(), asked[2].header("if-match")), ("DELETE", Some("\"1\"")));
    for asked in &asked[..2] {
        assert_eq!(asked.body.as_deref(), Some(&b"123456789"[..]));
        assert_eq!(asked.header("content-encoding"), None);
        assert_eq!(asked.header("content-type"), Some("application/json"));
        // CRC-32 of "123456789", the check value of that algorithm: cbf43926.
        assert_eq!(asked.header("x-amz-checksum-crc32"), Some("y/Q5Jg=="));
        let sha256 = "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225";
        assert_eq!(asked.header("x-amz-content-sha256"), Some(sha256));
    }
}

#[test]
fn what_somebody_else_wrote_is_distinguished_from_what_must_not_be_written() {
    for (status, code) in
        [(412, "PreconditionFailed"), (409, "ConditionalRequestConflict"), (404, "NoSuchKey")]
    {
        let (s3, canned) = s3([refused(status, code), refused(status, code)]);
        assert_eq!(run(s3.put("bucket", "key", "{}", Precondition::IfMatch("\"1\""))), Ok(false), "{code}");
        let gone = status == 404;
        assert_eq!(run(s3.delete_if("bucket", "key", "\"1\"")), Ok(gone), "{code}");
        assert_eq!(canned.hosts().len(), 2, "an answer is not asked for again");
    }
    for (status, code, failure) in [
        (403, "AccessDenied", Failure::Denied),
        (404, "NoSuchBucket", Failure::NotFound),
        (400, "InvalidRequest", Failure::Invalid),
        (400, "ExpiredToken", Failure::Credentials),
        (403, "RequestTimeTooSkewed", Failure::Credentials),
        (501, "NotImplemented", Failure::Unavailable),
    ] {
        let answers = || [refused(status, code)];
        for error in [
            run(s3(answers()).0.put("bucket", "key", "{}", Precondition::IfNoneMatch)).unwrap_err(),
            run(s3(answers()).0.write("bucket", "key", "{}", "text/plain")).unwrap_err(),
            run(s3(answers()).0.delete("bucket", "key")).unwrap_err(),
            run(s3(answers()).0.get("bucket", "key")).unwrap_err(),
            run(s3(answers()).0.list("bucket", "key")).unwrap_err(),
        ] {
            assert_eq!(
                (error.failure, error.message.as_str()),
                (failure, "s3://bucket/key: because"),
                "{code}"
            );
        }
    }
    // A write without a condition that does not happen is an error, whatever the reason.
    for status in [404, 409, 412] {
        assert!(run(s3([refused(status, "Conflict")]).0.write("bucket", "key", "{}", "text/plain")).is_err());
    }
}

#[test]
fn only_an_object_that_is_not_there_is_missing() {
    let (s3, _) = s3([refused(404, "NoSuchKey"), refused(404, "NoSuchVersion")]);
    assert_eq!(run(s3.get("bucket", "key")), Ok(None));
    assert_eq!(run(s3.get("bucket", "key")), Ok(None));
    // Answers to HEAD have no content.
    for (status, expected) in [(404, Ok(None)), (403, Err(Failure::Denied)), (400, Err(Failure::Invalid))] {
        let (s3, _) = self::s3([Ok(answer_of(status, &[], SdkBody::empty()))]);
        let found = run(s3.version("bucket", "key", Some("v1")));
        assert_eq!(found.map_err(|error| error.failure), expected);
    }
}

#[test]
fn a_bucket_of_another_region_is_reported_with_its_region() {
    let answer = answer_of(
        301,
        &[("x-amz-bucket-region", "us-west-2")],
        "<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>",
    );
    let error = run(s3([Ok(answer)]).0.get("bucket", "key")).unwrap_err();
    assert_eq!(error.failure, Failure::Invalid);
    assert!(error.message.contains("the bucket is in us-west-2, which is not eu-west-1"), "{error}");
}

#[test]
fn what_passes_is_tried_again_and_a_connection_that_breaks_within_an_object_too() {
    let broken = Parts::body(&Arc::default(), 2, true);
    let (s3, canned) = s3([
        refused(503, "SlowDown"),
        refused(500, "InternalError"),
        refused(400, "RequestTimeout"),
        Err(ConnectorError::io("reset".into())),
        Ok(answer_of(200, &[ETAG], broken)),
        Ok(answer_of(200, &[ETAG], "{}")),
    ]);
    assert_eq!(run(s3.get("bucket", "key")).unwrap().unwrap().text, "{}");
    assert_eq!(canned.hosts().len(), 6);
}

/// A call to AWS over a connection.
type Call = fn(Connection) -> Pin<Box<dyn Future<Output = Result<(), AwsError>>>>;

/// A body of which a byte comes every half second, for ever.
struct Dripping(Pin<Box<tokio::time::Sleep>>);

impl Dripping {
    const PAUSE: Duration = Duration::from_millis(500);

    fn answers(number: usize) -> impl Iterator<Item = Answer> {
        std::iter::repeat_with(|| {
            let body = SdkBody::from_body_1_x(Self(Box::pin(tokio::time::sleep(Self::PAUSE))));
            Ok(answer_of(200, &[ETAG], body))
        })
        .take(number)
    }
}

impl http_body::Body for Dripping {
    type Data = bytes::Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        std::task::ready!(self.0.as_mut().poll(context));
        self.0 = Box::pin(tokio::time::sleep(Self::PAUSE));
        std::task::Poll::Ready(Some(Ok(http_body::Frame::data(bytes::Bytes::from_static(b" ")))))
    }
}

#[test]
fn at_a_terminal_a_server_that_answers_a_byte_at_a_time_is_waited_for_three_minutes_and_no_longer() {
    // More than there is time for, so that a call ends by its timeout and by nothing else.
    let waited = |call: Call| {
        run(async {
            let canned = Canned::default();
            canned.answers.lock().unwrap().extend(Dripping::answers(200));
            let connection = Connection::over(canned.transport("eu-west-1").at_a_terminal());
            let started_at = tokio::time::Instant::now();
            let error = call(connection).await.unwrap_err();
            assert_eq!(error.failure, Failure::TimedOut, "{error}");
            assert!(canned.hosts().len() > 10, "several attempts: {:?}", canned.hosts());
            started_at.elapsed()
        })
    };
    let calls: [Call; 3] = [
        |connection| Box::pin(async move { connection.s3().get("bucket", "key").await.map(drop) }),
        |connection| {
            Box::pin(async move { connection.ecr_read().repositories(Some(1), None).await.map(drop) })
        },
        |connection| Box::pin(async move { connection.sts().caller().await.map(drop) }),
    ];
    for (place, call) in calls.into_iter().enumerate() {
        let waited = waited(call);
        // The last attempt that began in time may end behind it, after a pause.
        let range = Duration::from_secs(180)..Duration::from_secs(180 + 8 + 4);
        assert!(range.contains(&waited), "{place}: {waited:?}");
    }
}

#[test]
fn of_an_object_that_is_too_large_no_more_is_read_than_is_allowed() {
    let read = Arc::new(AtomicUsize::new(0));
    let body = Parts::body(&read, 1_000_000, false);
    let (s3, canned) = s3([Ok(answer_of(200, &[ETAG], body))]);
    let error = run(s3.get_up_to(10 * 1024, "bucket", "usage/list.json")).unwrap_err();
    assert_eq!(error.failure, Failure::Invalid);
    assert_eq!(error.message, "s3://bucket/usage/list.json: the answer has more than 10240 bytes");
    assert_eq!(read.load(Ordering::Relaxed), 11);
    assert_eq!(canned.hosts().len(), 1, "it will not be smaller");
    // The same without a limit of the caller's, also of what is no object.
    let read = Arc::new(AtomicUsize::new(0));
    let body = Parts::body(&read, 1_000_000, false);
    let (s3, _) = self::s3([Ok(answer_of(200, &[], body))]);
    assert_eq!(run(s3.list("bucket", "usage/")).unwrap_err().failure, Failure::Invalid);
    assert_eq!(read.load(Ordering::Relaxed), 32 * 1024 + 1);
}

#[test]
fn an_object_comes_with_its_times_its_version_and_its_checksum_compared() {
    let headers = [
        ETAG,
        ("last-modified", "Wed, 25 Nov 2026 10:00:00 GMT"),
        ("date", "Thu, 26 Nov 2026 01:02:03 GMT"),
        ("x-amz-version-id", "v7"),
    ];
    let right = [&headers[..], &[("x-amz-checksum-crc32", "y/Q5Jg==")]].concat();
    let wrong = [&headers[..], &[("x-amz-checksum-crc32", "AAAAAA==")]].concat();
    let unversioned = [ETAG, ("x-amz-version-id", "null")];
    let (s3, canned) = s3([
        Ok(answer_of(200, &right, "123456789")),
        Ok(answer_of(200, &wrong, "123456789")),
        Ok(answer_of(200, &unversioned, "123456789")),
        Ok(answer_of(200, &[], "123456789")),
        Ok(answer_of(200, &[ETAG], SdkBody::from(vec![0xff]))),
    ]);
    let object = run(s3.get("bucket", "key")).unwrap().unwrap();
    assert_eq!((object.text.as_str(), object.etag.as_str()), ("123456789", "\"1\""));
    assert_eq!(object.version.as_deref(), Some("v7"));
    assert_eq!(object.modified_at, Instant::parse("2026-11-25T10:00:00Z").ok());
    assert_eq!(object.answered_at, Instant::parse("2026-11-26T01:02:03Z").ok());
    assert_eq!(canned.asked.lock().unwrap()[0].header("x-amz-checksum-mode"), Some("ENABLED"));
    let error = run(s3.get("bucket", "key")).unwrap_err();
    assert!(error.message.contains("checksum"), "{error}");
    assert_eq!(run(s3.get("bucket", "key")).unwrap().unwrap().version, None);
    assert!(run(s3.get("bucket", "key")).unwrap_err().message.contains("ETag"));
    assert!(run(s3.get("bucket", "key")).unwrap_err().message.contains("UTF-8"));
}

#[test]
fn a_list_is_all_of_it_or_none() {
    const NEXT: &str =
        "<IsTruncated>true</IsTruncated><NextContinuationToken>n&amp;1</NextContinuationToken>";
    let list =
        |inside: &str| Ok(answer_of(200, &[], format!("<ListBucketResult>{inside}</ListBucketResult>")));
    let entry = "<Contents><Key>usage/a &amp; b&#x2f;.json</Key>\
        <LastModified>2026-11-25T10:00:00.000Z</LastModified></Contents>";
    let (s3, canned) = s3([list(&format!("{entry}{NEXT}")), list("<Contents><Key>z</Key></Contents>")]);
    let listed = run(s3.list("bucket", "usage/")).unwrap();
    let keys: Vec<&str> = listed.iter().map(|listed| listed.key.as_str()).collect();
    assert_eq!(keys, ["usage/a & b/.json", "z"]);
    assert_eq!(listed[0].modified_at, Instant::parse("2026-11-25T10:00:00Z").ok());
    assert!(canned.asked.lock().unwrap()[1].uri.contains("continuation-token=n%261"));

    let cut_off = answer_of(200, &[], format!("<ListBucketResult>{entry}<Contents><Key>us"));
    for (answer, problem) in [
        (Ok(cut_off), "unreadable"),
        (Ok(answer_of(200, &[], "")), "unreadable"),
        (list("<Contents><Size>1</Size></Contents>"), "unreadable"),
        (list("<IsTruncated>true</IsTruncated>"), "goes on"),
    ] {
        let error = run(self::s3([answer]).0.list("bucket", "usage/")).unwrap_err();
        assert!(error.message.contains(problem), "{error}");
    }
}

#[test]
fn when_time_is_up_between_two_attempts_the_error_of_s3_is_the_cause() {
    let canned = Canned::default();
    let down = (0..100).map(|_| refused(503, "SlowDown"));
    canned.answers.lock().unwrap().extend(down);
    let connection = Connection::over(canned.transport("eu-west-1"));
    let s3 = connection.s3();
    let time = Duration::from_secs(20);
    run(async { tokio::time::timeout(time, s3.get("bucket", "key")).await }).unwrap_err();
    let why = connection.retry_observer().timeout_cause();
    assert_eq!((why.failure, why.message.as_str()), (Failure::Throttled, "because"));
    // That there is nothing is an answer, and no trouble.
    canned.answers.lock().unwrap().clear();
    canned.answers.lock().unwrap().push_back(refused(404, "NoSuchKey"));
    connection.retry_observer().reset();
    assert_eq!(run(s3.get("bucket", "key")), Ok(None));
    assert!(connection.retry_observer().timeout_cause().message.contains("held back"));
}

#[test]
fn an_image_that_is_in_the_archive_already_is_archived_and_another_one_is_not() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let refused = || {
        let body = r#"{"__type":"ImageStorageClassUpdateNotSupportedException","message":"not supported"}"#;
        Ok(answer_of(400, &[], body))
    };
    let described = |status: &str| {
        let body = format!(
            r#"{{"imageDetails":[{{"repositoryName":"app","imageDigest":"{digest}","imageStatus":"{status}","imagePushedAt":1,
            "imageSizeInBytes":1}}]}}"#
        );
        Ok(answer_of(200, &[], body))
    };
    let canned = Canned::default();
    let ecr = Connection::over(canned.transport("eu-west-1")).ecr_write();
    let name = Name::parse("app").unwrap();
    canned.answers.lock().unwrap().extend([refused(), described("ARCHIVED")]);
    assert_eq!(run(ecr.archive(&name, &digest)), Ok(()));
    canned.answers.lock().unwrap().extend([refused(), described("ACTIVE")]);
    let error = run(ecr.archive(&name, &digest)).unwrap_err();
    assert!(error.message.contains("not supported"), "{error}");
}

#[test]
fn no_list_is_read_for_ever_or_ends_with_an_empty_token() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let image = format!(r#"{{"imageDigest":"{digest}","imagePushedAt":1}}"#);
    let name = Name::parse("app").unwrap();
    for tokens in [&["t", "t"][..], &["t", "u", "t"], &[""]] {
        let answers = |of_page: &dyn Fn(&str) -> String| {
            let canned = Canned::default();
            let pages = tokens.iter().map(|token| Ok(answer_of(200, &[], of_page(token))));
            canned.answers.lock().unwrap().extend(pages);
            (Connection::over(canned.transport("eu-west-1")), canned)
        };
        let page = |member: &'static str, inside: String| {
            move |token: &str| format!(r#"{{"{member}":[{inside}],"nextToken":"{token}"}}"#)
        };
        let stopped = |error: AwsError, operation: &str, canned: &Canned| {
            assert_eq!(error.operation, operation, "{error}");
            assert!(error.message.contains("token"), "{error}");
            assert_eq!(canned.asked.lock().unwrap().len(), tokens.len(), "{operation}");
        };
        let (connection, canned) = answers(&page("imageDetails", image.clone()));
        stopped(run(connection.ecr_read().images(&name)).unwrap_err(), "DescribeImages", &canned);
        let (connection, canned) = answers(&page("imageIds", String::new()));
        stopped(run(connection.ecr_read().has_images("app")).unwrap_err(), "ListImages", &canned);
        let (connection, canned) = answers(&page("imageIds", String::new()));
        stopped(run(connection.ecr_read().count_images("app")).unwrap_err(), "ListImages", &canned);
        let (connection, canned) = answers(&page("clusterArns", String::new()));
        stopped(run(connection.ecs().clusters()).unwrap_err(), "ListClusters", &canned);
        // AWS's SDKs take an empty token of these for the end.
        if tokens == [""] {
            continue;
        }
        let (connection, canned) = answers(&page("clusters", String::new()));
        stopped(run(connection.eks().clusters()).unwrap_err(), "ListClusters", &canned);
        let (connection, canned) = answers(&|token| format!(r#"{{"Functions":[],"NextMarker":"{token}"}}"#));
        stopped(run(connection.functions().image_versions()).unwrap_err(), "ListFunctions", &canned);
        let (connection, canned) =
            answers(&|token| format!(r#"{{"ResourceTagMappingList":[],"PaginationToken":"{token}"}}"#));
        let tagged = run(connection.resource_tags().protected_repositories("1", "steward"));
        stopped(tagged.unwrap_err(), "GetResources", &canned);
    }
    let canned = Canned::default();
    let ecr = Connection::over(canned.transport("eu-west-1")).ecr_read();
    let page = || Ok(answer_of(200, &[], r#"{"repositories":[],"nextToken":"t"}"#));
    canned.answers.lock().unwrap().extend([page(), page()]);
    assert_eq!(run(ecr.repositories(None, None)).unwrap().next_token.as_deref(), Some("t"));
    assert_eq!(run(ecr.repositories(None, Some("t"))).unwrap_err().operation, "DescribeRepositories");
}

#[test]
fn an_answer_without_its_list_is_no_empty_one_and_a_digest_that_is_cut_off_none() {
    let name = Name::parse("app").unwrap();
    let ecr = |body: &str| {
        let canned = Canned::default();
        canned.answers.lock().unwrap().push_back(Ok(answer_of(200, &[], body)));
        Connection::over(canned.transport("eu-west-1")).ecr_read()
    };
    let says = |error: AwsError, problem: &str| assert!(error.message.contains(problem), "{error}");
    says(run(ecr("{}").images(&name)).unwrap_err(), "the answer has no `imageDetails`");
    says(run(ecr("{}").has_images("app")).unwrap_err(), "the answer has no `imageIds`");
    says(run(ecr("{}").count_images("app")).unwrap_err(), "the answer has no `imageIds`");
    says(run(ecr("{}").repositories(None, None)).unwrap_err(), "the answer has no `repositories`");
    let named = run(ecr("{}").repositories_named(std::slice::from_ref(&name)));
    says(named.unwrap_err(), "the answer has no `repositories`");
    says(run(ecr("{}").repository(&name)).unwrap_err(), "the answer has no `repositories`");
    for digest in ["sha256:47e849b9dd1b".to_owned(), format!("SHA256:{}", "A".repeat(64))] {
        let body = format!(r#"{{"imageDetails":[{{"imageDigest":"{digest}","imagePushedAt":1}}]}}"#);
        says(run(ecr(&body).images(&name)).unwrap_err(), "an image has no whole digest");
    }
}
