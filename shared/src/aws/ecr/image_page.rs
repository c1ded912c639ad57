//! Reads what `DescribeImages` answers: up to a thousand images in a page, and hundreds of pages in a run. The SDK's reader takes
//! several times as many instructions, most of them for what is not used here. Requests, retries and errors remain the SDK's.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_ecr::config::{ConfigBag, Intercept, RuntimePlugin as _};
use aws_sdk_ecr::error::BoxError;
use aws_sdk_ecr::operation::describe_images::{DescribeImages, DescribeImagesError, DescribeImagesOutput};
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, Error, Output,
};
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::ser_de::{DeserializeResponse, SharedResponseDeserializer};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::domain::image::reference::is_exact_digest;
use crate::domain::image::{Image, ImageStatus, ManifestKind};
use crate::domain::text::finding::quoted;
use crate::domain::text::instant::Instant;
use crate::domain::text::plain_words;

/// A page of images.
#[derive(Debug, Default)]
pub(super) struct ImagePage {
    /// The images, in no order.
    pub(super) images: Vec<Image>,
    /// Artifacts about other images: the artifact's digest and that of its subject.
    pub(super) subjects: Vec<(String, String)>,
}

/// Why an answer is no page of images.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidPage {
    /// It has no list. That is no empty repository.
    #[error("the answer has no `imageDetails`; where a proxy is between, look at what it answers")]
    Absent,
    /// An image is incompletely described, and would be judged by what is missing.
    #[error("an image is not as ECR describes images: {0}")]
    Unreadable(String),
    /// Any other text would equal no digest that something runs.
    #[error("an image has no whole digest: {}", quoted(.0))]
    Digest(Box<str>),
}

/// The answer as it is on the wire (AWS JSON 1.1: times are epoch seconds). Fields that AWS adds in the future are passed over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    image_details: Option<Details>,
    next_token: Option<String>,
}

/// The list of a page. Each image is packed when it is read, so that no second list of all of them is in memory.
struct Details(Result<ImagePage, InvalidPage>);

impl<'de> Deserialize<'de> for Details {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Packing;

        impl<'de> Visitor<'de> for Packing {
            type Value = Result<ImagePage, InvalidPage>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut details: A) -> Result<Self::Value, A::Error> {
                let mut page = Ok(ImagePage::default());
                while let Some(detail) = details.next_element::<Detail<'de>>()? {
                    if let Ok(known) = &mut page
                        && let Err(problem) = known.add(detail)
                    {
                        page = Err(problem);
                    }
                }
                Ok(page)
            }
        }

        deserializer.deserialize_seq(Packing).map(Self)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'a> {
    image_digest: Box<str>,
    image_tags: Option<Box<[Box<str>]>>,
    image_size_in_bytes: Option<u64>,
    image_pushed_at: Instant,
    last_recorded_pull_time: Option<Instant>,
    last_archived_at: Option<Instant>,
    last_activated_at: Option<Instant>,
    #[serde(borrow)]
    image_manifest_media_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    image_status: Option<Cow<'a, str>>,
    subject_manifest_digest: Option<String>,
}

impl ImagePage {
    fn add(&mut self, detail: Detail<'_>) -> Result<(), InvalidPage> {
        if !is_exact_digest(&detail.image_digest) {
            return Err(InvalidPage::Digest(detail.image_digest));
        }
        if let Some(subject) = detail.subject_manifest_digest {
            self.subjects.push((detail.image_digest.to_string(), subject));
        }
        self.images.push(Image {
            digest: detail.image_digest,
            tags: detail.image_tags.unwrap_or_default(),
            pushed_at: detail.image_pushed_at,
            last_pulled_at: detail.last_recorded_pull_time,
            last_archived_at: detail.last_archived_at,
            last_activated_at: detail.last_activated_at,
            size_in_bytes: detail.image_size_in_bytes.unwrap_or(0),
            status: ImageStatus::of_name(detail.image_status.as_deref()),
            kind: detail
                .image_manifest_media_type
                .as_deref()
                .map_or(ManifestKind::Unknown, ManifestKind::of_media_type),
        });
        Ok(())
    }
}

/// Reads the page of one call in the SDK's place. For each call a new one.
#[derive(Debug, Clone, Default)]
pub(super) struct ImagePageReader(Arc<Mutex<Option<Result<ImagePage, InvalidPage>>>>);

impl ImagePageReader {
    /// The page, after the call has succeeded.
    ///
    /// # Errors
    ///
    /// When the answer is no page of images.
    pub(super) fn page(&self) -> Result<ImagePage, InvalidPage> {
        let read = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        read.unwrap_or(Err(InvalidPage::Absent))
    }

    /// Reads the body of a successful answer, and returns the token of the next page.
    fn read(&self, body: &[u8]) -> Result<Option<String>, serde_json::Error> {
        let (read, next_token) = match serde_json::from_slice::<Answer>(body) {
            Ok(Answer { image_details: Some(Details(page)), next_token }) => (page, next_token),
            Ok(Answer { image_details: None, next_token }) => (Err(InvalidPage::Absent), next_token),
            Err(error) if error.is_data() => {
                let (_, _, problem) = plain_words::json(&String::from_utf8_lossy(body), &error);
                (Err(InvalidPage::Unreadable(problem)), None)
            }
            Err(error) => return Err(error),
        };
        // A retry reads again.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(read);
        Ok(next_token)
    }
}

#[dyn_dispatch_hint]
impl Intercept for ImagePageReader {
    fn name(&self) -> &'static str {
        "ImagePageReader"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // What an interceptor stores comes before what the operation has stored.
        config.interceptor_state().store_put(SharedResponseDeserializer::new(self.clone()));
        Ok(())
    }
}

impl DeserializeResponse for ImagePageReader {
    fn deserialize_nonstreaming_with_config(
        &self,
        response: &HttpResponse,
        config: &ConfigBag,
    ) -> Result<Output, OrchestratorError<Error>> {
        if !response.status().is_success() {
            let operation = DescribeImages::new().config();
            return operation
                .as_ref()
                .and_then(|operation| operation.load::<SharedResponseDeserializer>())
                .ok_or_else(|| OrchestratorError::other("the SDK has no reader of errors of DescribeImages"))?
                .deserialize_nonstreaming_with_config(response, config);
        }
        match self.read(response.body().bytes().unwrap_or_default()) {
            Ok(next_token) => {
                Ok(Output::erase(DescribeImagesOutput::builder().set_next_token(next_token).build()))
            }
            Err(error) => {
                Err(OrchestratorError::operation(Error::erase(DescribeImagesError::unhandled(error))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<(ImagePage, Option<String>), String> {
        let reader = ImagePageReader::default();
        let token = reader.read(body.as_bytes()).map_err(|error| format!("no JSON: {error}"))?;
        reader.page().map(|page| (page, token)).map_err(|problem| problem.to_string())
    }

    fn digest(digit: char) -> String {
        format!("sha256:{}", digit.to_string().repeat(64))
    }

    fn body(fields: &str) -> String {
        format!(r#"{{"imageDetails":[{{"imageDigest":"{}",{fields}}}]}}"#, digest('a'))
    }

    #[test]
    fn all_that_ecr_says_of_an_image_is_read() {
        let (page, token) = read(&format!(
            r#"{{"nextToken":"more","imageDetails":[{{"registryId":"123456789012","repositoryName":"shop/web","imageDigest":"{}",
            "imageTags":["v1","latest"],"imageSizeInBytes":10000000000,"imagePushedAt":1.7092854005E9,
            "imageManifestMediaType":"application/vnd.oci.image.index.v1+json","lastRecordedPullTime":1709285400,
            "imageStatus":"ARCHIVED","lastArchivedAt":1709285401.0,"lastActivatedAt":null,"subjectManifestDigest":"{}",
            "imageScanFindingsSummary":{{"findingSeverityCounts":{{"HIGH":1}}}},"addedByAws":[{{}}]}}]}}"#,
            digest('a'),
            digest('b'),
        ))
        .unwrap();
        assert_eq!(token.as_deref(), Some("more"));
        assert_eq!(page.subjects, [(digest('a'), digest('b'))]);
        let [image] = &*page.images else { panic!("{page:?}") };
        assert_eq!(&*image.digest, digest('a'));
        assert_eq!(image.tags.iter().map(|tag| &**tag).collect::<Vec<_>>(), ["v1", "latest"]);
        assert_eq!(image.size_in_bytes, 10_000_000_000);
        assert_eq!(image.pushed_at.to_string(), "2024-03-01T09:30:00.5Z");
        assert_eq!(image.last_pulled_at.map(|at| at.to_string()).as_deref(), Some("2024-03-01T09:30:00Z"));
        assert_eq!(image.last_archived_at.map(|at| at.to_string()).as_deref(), Some("2024-03-01T09:30:01Z"));
        assert_eq!(image.last_activated_at, None);
        assert_eq!(image.status, ImageStatus::Archived);
        assert_eq!(image.kind, ManifestKind::Index);
    }

    #[test]
    fn an_answer_without_the_list_is_no_empty_repository() {
        assert_eq!(read(r#"{"imageDetails":[]}"#).unwrap().0.images, []);
        for none in ["{}", r#"{"imageDetails":null}"#] {
            assert!(read(none).unwrap_err().contains("no `imageDetails`"), "{none}");
        }
    }

    #[test]
    fn an_image_is_not_judged_by_what_is_missing_of_it() {
        for (body, says) in [
            (body(r#""imageTags":["a"]"#), "`imagePushedAt` is missing"),
            (body(r#""imagePushedAt":1,"imageTags":"a""#), "`a`"),
            (body(r#""imagePushedAt":1,"lastRecordedPullTime":1e300"#), "out of range"),
            (body(r#""imagePushedAt":1,"imageSizeInBytes":-1"#), "-1"),
            (r#"{"imageDetails":[{"imagePushedAt":1}]}"#.to_owned(), "`imageDigest` is missing"),
            (
                r#"{"imageDetails":[{"imagePushedAt":1,"imageDigest":"sha256:abc"}]}"#.to_owned(),
                "no whole digest: `sha256:abc`",
            ),
        ] {
            let problem = read(&body).unwrap_err();
            assert!(problem.contains(says), "{body}: {problem}");
        }
    }

    #[test]
    fn the_page_of_a_proxy_is_no_answer() {
        for body in ["", "<html>Sign in</html>", r#"{"imageDetails":[{"#] {
            assert!(read(body).unwrap_err().starts_with("no JSON"), "{body}");
        }
    }
}
