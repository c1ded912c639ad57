//! Amazon ECR: one method for each thing that this project needs of it.

use std::collections::BTreeSet;
use std::ops::Deref;

use aws_sdk_ecr::Client;
use aws_sdk_ecr::config::interceptors::InterceptorContext;
use aws_sdk_ecr::config::retry::{ClassifyRetry, RetryAction, RetryPartition, TokenBucket};
use aws_sdk_ecr::operation::batch_get_image::BatchGetImageError;
use aws_sdk_ecr::operation::create_repository::CreateRepositoryError;
use aws_sdk_ecr::operation::describe_images::DescribeImagesError;
use aws_sdk_ecr::operation::describe_images::builders::DescribeImagesFluentBuilder;
use aws_sdk_ecr::operation::get_lifecycle_policy::GetLifecyclePolicyError;
use aws_sdk_ecr::operation::get_repository_policy::GetRepositoryPolicyError;
use aws_sdk_ecr::operation::put_image::PutImageError;
use aws_sdk_ecr::operation::update_image_storage_class::UpdateImageStorageClassError;
use aws_sdk_ecr::types::{
    DescribeImagesFilter, EncryptionConfiguration, EncryptionType as EcrEncryptionType, ImageDetail,
    ImageFailure, ImageIdentifier, ImageScanningConfiguration, ImageStatusFilter, ImageTagMutability,
    ImageTagMutabilityExclusionFilter, ImageTagMutabilityExclusionFilterType, LayerAvailability,
    ListImagesFilter, Repository, Tag, TargetStorageClass,
};
use aws_smithy_runtime_api::client::retries::classifiers::RetryClassifierPriority;

use self::image_page::ImagePageReader;
use super::error::{AwsError, Failure};
use super::pages::Pages;
use super::rate_limit::RateLimiter;
use super::{Connection, retries_at_once};
use crate::aws::retry_observer::RetryObserver;
use crate::domain::enforcement::in_use_protection::TakesNothing;
use crate::domain::image::deletion::{Deleted, ImageId, Refused};
use crate::domain::image::{Image, ImageStatus};
use crate::domain::repository::{
    Change, Encryption, EncryptionType, Existing, Name, Settings, TagMutability, Tags,
};
use crate::domain::text::instant::Instant;

mod image_page;

/// The largest page ECR gives; fewer pages are fewer calls.
const PAGE: i32 = 1000;
/// Maximum number of images in one call of ECR.
pub const BATCH: usize = 100;

/// ECR's code for an image that is not there.
pub const NOT_FOUND: &str = "ImageNotFound";

/// A password for container clients, with the user name `AWS`.
#[derive(Clone)]
pub struct RegistryPassword {
    /// The password.
    pub password: String,
    /// The host of the registry.
    pub host: String,
    /// The time at which the password expires.
    pub expires_at: Option<Instant>,
}

impl std::fmt::Debug for RegistryPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryPassword").field("host", &self.host).finish_non_exhaustive()
    }
}

/// A registry in Amazon ECR, for reading. A preview has nothing else, so that it cannot change anything.
#[derive(Debug, Clone)]
pub struct EcrRead {
    client: Client,
    limiter: RateLimiter,
    /// The configuration of a second client without a rate limit. It is rarely needed, and creating a client takes half as long
    /// as everything else before the first event.
    at_once: aws_sdk_ecr::config::Builder,
    retry_observer: RetryObserver,
    /// The account of the registry, if it is not the caller's own.
    registry_id: Option<String>,
}

/// A registry whose images can be protected: tags are added, lifecycle policies suspended. It cannot delete anything.
#[derive(Debug, Clone)]
pub struct EcrProtect {
    read: EcrRead,
}

/// A registry that can be changed. Only code that is built to change something has one.
#[derive(Debug, Clone)]
pub struct EcrWrite {
    protect: EcrProtect,
}

impl Deref for EcrProtect {
    type Target = EcrRead;

    fn deref(&self) -> &EcrRead {
        &self.read
    }
}

impl Deref for EcrWrite {
    type Target = EcrProtect;

    fn deref(&self) -> &EcrProtect {
        &self.protect
    }
}

/// A page of repositories.
#[derive(Debug, Clone, Default)]
pub struct RepositoryPage {
    /// The repositories, without their tags and policies.
    pub repositories: Vec<Existing>,
    /// The token for the next page.
    pub next_token: Option<String>,
}

/// The manifest of an image, as it was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The image's digest.
    pub digest: String,
    /// The tag of the request.
    pub tag: Option<String>,
    /// The manifest.
    pub text: String,
    /// The media type. Not every manifest contains it, and `PutImage` needs it then.
    pub media_type: Option<String>,
}

/// The answer of `BatchGetImage` for a batch of images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifests {
    /// The manifests that were given.
    pub found: Vec<Manifest>,
    /// The images whose manifests were not given, and why. `ImageNotFound` is one that is not there; every other code is one
    /// that is there and could not be read.
    pub failures: Vec<Refused>,
}

impl Manifests {
    /// The manifests, where every image that is there has to be read.
    ///
    /// # Errors
    ///
    /// When an image is there and its manifest was not given.
    pub fn complete(self) -> Result<Vec<Manifest>, AwsError> {
        match self.failures.iter().find(|failure| failure.failure_code != NOT_FOUND) {
            None => Ok(self.found),
            Some(failure) => {
                let id = &failure.image_id;
                let image = id.image_digest.as_deref().or(id.image_tag.as_deref()).unwrap_or("an image");
                let problem = format!("{image}: {}: {}", failure.failure_code, failure.failure_reason);
                Err(AwsError::unexpected_response("BatchGetImage", &problem))
            }
        }
    }
}

/// The images of a repository, from `DescribeImages`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DescribedImages {
    /// The images, in no order.
    pub images: Vec<Image>,
    /// Artifacts about other images: the artifact's digest and that of its subject.
    pub subjects: Vec<(String, String)>,
}

macro_rules! call {
    ($ecr:expr, $operation:literal, $request:expr) => {{
        $ecr.limiter.wait($operation).await;
        $request.send().await.map_err(|error| AwsError::new($operation, &error))
    }};
}

impl EcrRead {
    pub(super) fn new(connection: &Connection) -> Self {
        let mut config = aws_sdk_ecr::config::Builder::from(&connection.config)
            .interceptor(connection.retry_observer.clone())
            .retry_classifier(QuotaIsNoThrottling)
            // The limiter keeps the rate, and attempts end with the deadline.
            .retry_config(retries_at_once());
        config.set_endpoint_url(connection.transport.endpoint("ECR"));
        let partition = connection
            .transport
            .retry_partition()
            .map_or_else(|| "ecr".to_owned(), |world| format!("ecr-{world}"));
        let patient = RetryPartition::custom(partition).token_bucket(TokenBucket::unlimited()).build();
        let at_once = config.clone().retry_partition(RetryPartition::new("ecr-at-once"));
        let limiter = RateLimiter::new(connection.transport.requests_per_second());
        config = config.retry_partition(patient).interceptor(limiter.clone());
        Self {
            client: Client::from_conf(config.build()),
            limiter,
            at_once,
            retry_observer: connection.retry_observer.clone(),
            registry_id: connection.registry_id.clone(),
        }
    }

    fn at_once(&self) -> Self {
        let client = Client::from_conf(self.at_once.clone().build());
        Self { client, limiter: RateLimiter::unlimited(), ..self.clone() }
    }

    /// Shares the rate of calls with others: this many functions work at the same time, this one included.
    pub fn share_rate(&self, workers: u32) {
        self.limiter.share(workers);
    }

    /// The account of the registry, if it is not the caller's own.
    #[must_use]
    pub fn registry_id(&self) -> Option<&str> {
        self.registry_id.as_deref()
    }

    /// A password for docker and other clients, valid for twelve hours.
    ///
    /// # Errors
    ///
    /// Any error of ECR.
    pub async fn password(&self) -> Result<RegistryPassword, AwsError> {
        const OPERATION: &str = "GetAuthorizationToken";
        let answer = call!(self, "GetAuthorizationToken", self.client.get_authorization_token())?;
        let given = answer.authorization_data.unwrap_or_default().into_iter().next();
        let unreadable =
            || AwsError::unexpected_response(OPERATION, "the answer has no token that is readable");
        let given = given.ok_or_else(unreadable)?;
        let token = given.authorization_token.ok_or_else(unreadable)?;
        let decoded =
            aws_smithy_types::base64::decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let password =
            decoded.as_deref().and_then(|text| text.split_once(':')).map(|(_, password)| password.to_owned());
        let host = given.proxy_endpoint.unwrap_or_default();
        Ok(RegistryPassword {
            password: password.ok_or_else(unreadable)?,
            host: host
                .split_once("://")
                .map_or(host.as_str(), |(_, host)| host)
                .trim_end_matches('/')
                .to_owned(),
            expires_at: given.expires_at.and_then(instant),
        })
    }

    /// The observer of retryable errors.
    #[must_use]
    pub const fn retry_observer(&self) -> &RetryObserver {
        &self.retry_observer
    }

    /// A repository with its tags and policies; `None` when there is none of that name.
    ///
    /// # Errors
    ///
    /// Any error of ECR.
    pub async fn repository(&self, name: &Name) -> Result<Option<Existing>, AwsError> {
        let described = call!(
            self,
            "DescribeRepositories",
            self.client
                .describe_repositories()
                .set_registry_id(self.registry_id.clone())
                .repository_names(name.as_str())
        );
        let repository = match described {
            Ok(answer) => {
                let repositories =
                    answer.repositories.ok_or_else(|| absent("DescribeRepositories", "repositories"))?;
                repositories.into_iter().next()
            }
            Err(error) if error.failure == Failure::NotFound => None,
            Err(error) => return Err(error),
        };
        let Some(repository) = repository.map(existing) else { return Ok(None) };
        let details = tokio::try_join!(
            self.tags(&repository.arn),
            self.lifecycle_policy(name.as_str()),
            self.repository_policy(name.as_str()),
        );
        match details {
            Ok((tags, lifecycle_policy_text, policy_text)) => {
                Ok(Some(Existing { tags, lifecycle_policy_text, policy_text, ..repository }))
            }
            // Deleted between two calls.
            Err(error) if error.failure == Failure::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A page of the registry's repositories, `size` at most (1 to 1000).
    ///
    /// # Errors
    ///
    /// Any error of ECR.
    pub async fn repositories(
        &self,
        size: Option<u16>,
        token: Option<&str>,
    ) -> Result<RepositoryPage, AwsError> {
        let request = self
            .client
            .describe_repositories()
            .set_registry_id(self.registry_id.clone())
            .max_results(size.map_or(PAGE, i32::from))
            .set_next_token(token.map(str::to_owned));
        let answer = call!(self, "DescribeRepositories", request)?;
        let mut pages = Pages::new("DescribeRepositories").after(token.map(str::to_owned));
        pages.follow(answer.next_token)?;
        let repositories =
            answer.repositories.ok_or_else(|| absent("DescribeRepositories", "repositories"))?;
        Ok(RepositoryPage {
            repositories: repositories.into_iter().map(existing).collect(),
            next_token: pages.token().map(str::to_owned),
        })
    }

    /// Repositories by their names, 100 at most.
    ///
    /// # Errors
    ///
    /// Any error of ECR; [`Failure::NotFound`] if there is none of a name.
    pub async fn repositories_named(&self, names: &[Name]) -> Result<Vec<Existing>, AwsError> {
        let names = names.iter().map(|name| name.as_str().to_owned()).collect();
        let request = self
            .client
            .describe_repositories()
            .set_registry_id(self.registry_id.clone())
            .set_repository_names(Some(names));
        let answer = call!(self, "DescribeRepositories", request)?;
        let repositories =
            answer.repositories.ok_or_else(|| absent("DescribeRepositories", "repositories"))?;
        Ok(repositories.into_iter().map(existing).collect())
    }

    /// The tags of a repository, by its ARN.
    ///
    /// # Errors
    ///
    /// Any error of ECR.
    pub async fn tags(&self, arn: &str) -> Result<Tags, AwsError> {
        let answer =
            call!(self, "ListTagsForResource", self.client.list_tags_for_resource().resource_arn(arn))?;
        Ok(answer.tags.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value)).collect())
    }

    /// The lifecycle policy of a repository, as text; `None` when it has none.
    ///
    /// # Errors
    ///
    /// Any error of ECR.
    pub async fn lifecycle_policy(&self, name: &str) -> Result<Option<String>, AwsError> {
        self.limiter.wait("GetLifecyclePolicy").await;
        match self
            .client
            .get_lifecycle_policy()
            .set_registry_id(self.registry_id.clone())
            .repository_name(name)
            .send()
            .await
        {
            Ok(answer) => Ok(answer.lifecycle_policy_text),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(GetLifecyclePolicyError::is_lifecycle_policy_not_found_exception) =>
            {
                Ok(None)
            }
            Err(error) => Err(AwsError::new("GetLifecyclePolicy", &error)),
        }
    }

    /// The policy of a repository: who may do what with it, besides what roles of its account may; `None` when there is none.
    ///
    /// # Errors
    ///
    /// Any error of ECR.
    pub async fn repository_policy(&self, name: &str) -> Result<Option<String>, AwsError> {
        self.limiter.wait("GetRepositoryPolicy").await;
        match self
            .client
            .get_repository_policy()
            .set_registry_id(self.registry_id.clone())
            .repository_name(name)
            .send()
            .await
        {
            Ok(answer) => Ok(answer.policy_text),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(GetRepositoryPolicyError::is_repository_policy_not_found_exception) =>
            {
                Ok(None)
            }
            Err(error) => Err(AwsError::new("GetRepositoryPolicy", &error)),
        }
    }

    /// Whether a repository has an image, archived or not.
    ///
    /// # Errors
    ///
    /// Any error of ECR.
    pub async fn has_images(&self, name: &str) -> Result<bool, AwsError> {
        // Without this ECR leaves out what is archived.
        let all = ListImagesFilter::builder().image_status(ImageStatusFilter::Any).build();
        let mut pages = Pages::new("ListImages");
        loop {
            let request = self
                .client
                .list_images()
                .set_registry_id(self.registry_id.clone())
                .repository_name(name)
                .filter(all.clone())
                .max_results(1)
                .set_next_token(pages.token().map(str::to_owned));
            let answer = call!(self, "ListImages", request)?;
            // A page can be empty although there is another one.
            if !answer.image_ids.ok_or_else(|| absent("ListImages", "imageIds"))?.is_empty() {
                return Ok(true);
            }
            if !pages.follow(answer.next_token)? {
                return Ok(false);
            }
        }
    }

    /// The number of images in a repository, including archived ones.
    ///
    /// # Errors
    ///
    /// Any error of ECR.
    pub async fn count_images(&self, name: &str) -> Result<usize, AwsError> {
        // Without this ECR leaves out what is archived.
        let all = ListImagesFilter::builder().image_status(ImageStatusFilter::Any).build();
        let mut digests = BTreeSet::new();
        let mut pages = Pages::new("ListImages");
        loop {
            let request = self
                .client
                .list_images()
                .set_registry_id(self.registry_id.clone())
                .repository_name(name)
                .filter(all.clone())
                .max_results(PAGE)
                .set_next_token(pages.token().map(str::to_owned));
            let answer = call!(self, "ListImages", request)?;
            let ids = answer.image_ids.ok_or_else(|| absent("ListImages", "imageIds"))?;
            // One entry for each tag.
            digests.extend(ids.into_iter().filter_map(|id| id.image_digest));
            if !pages.follow(answer.next_token)? {
                return Ok(digests.len());
            }
        }
    }

    /// All images of a repository, the archived ones among them, by as few calls as there can be.
    ///
    /// # Errors
    ///
    /// Any error of ECR.
    pub async fn images(&self, name: &Name) -> Result<DescribedImages, AwsError> {
        let mut described = DescribedImages::default();
        let mut pages = Pages::new("DescribeImages");
        loop {
            let request = self.describe_images(name);
            let request = request.max_results(PAGE).set_next_token(pages.token().map(str::to_owned));
            if !pages.follow(self.describe(request, &mut described).await?)? {
                return Ok(described);
            }
        }
    }

    /// The images of a repository as ECR describes them, with its field names, page by page. Without what scans have found.
    ///
    /// # Errors
    ///
    /// Any error of ECR, or of `take`, which is given one image after another.
    pub async fn image_details<E: From<AwsError>>(
        &self,
        name: &Name,
        mut take: impl FnMut(serde_json::Value) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut pages = Pages::new("DescribeImages");
        loop {
            let request = self.describe_images(name);
            let request = request.max_results(PAGE).set_next_token(pages.token().map(str::to_owned));
            let answer = call!(self, "DescribeImages", request)?;
            for detail in answer.image_details.ok_or_else(|| absent("DescribeImages", "imageDetails"))? {
                take(as_described(detail))?;
            }
            if !pages.follow(answer.next_token)? {
                return Ok(());
            }
        }
    }

    /// The digest of the image that has a tag; `None` when none has. Reading its manifest would count as a pull.
    ///
    /// # Errors
    ///
    /// Any error of ECR; [`Failure::NotFound`] if there is no such repository.
    pub async fn digest_of(&self, name: &Name, tag: &str) -> Result<Option<String>, AwsError> {
        let found = self.image_of_tag(name, tag).await?;
        Ok(found.and_then(|(digest, status)| (status == ImageStatus::Active).then_some(digest)))
    }

    /// The digest and the status of the image that has a tag; `None` if no image of the repository has it, not even an archived one.
    ///
    /// # Errors
    ///
    /// Any error of ECR; [`Failure::NotFound`] if there is no such repository.
    pub async fn image_of_tag(
        &self,
        name: &Name,
        tag: &str,
    ) -> Result<Option<(String, ImageStatus)>, AwsError> {
        let id = identifier(&ImageId::Tag(tag.to_owned()));
        match self.describe_images(name).image_ids(id).send().await {
            Ok(answer) => {
                let details = answer.image_details.unwrap_or_default();
                Ok(details.into_iter().find_map(|detail| {
                    let status = detail.image_status.as_ref().map(aws_sdk_ecr::types::ImageStatus::as_str);
                    Some((detail.image_digest?, ImageStatus::of_name(status)))
                }))
            }
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(DescribeImagesError::is_image_not_found_exception) =>
            {
                Ok(None)
            }
            Err(error) => Err(AwsError::new("DescribeImages", &error)),
        }
    }

    /// The digest of the image that has a tag, also if it is archived or its manifest cannot be read; `None` if no image has the tag.
    /// Whoever is about to put a tag asks this: ECR moves it from the archived image, too.
    ///
    /// # Errors
    ///
    /// Any error of ECR.
    pub async fn holder_of(&self, name: &Name, tag: &str) -> Result<Option<String>, AwsError> {
        match self.images_by_digest(name, &[ImageId::Tag(tag.to_owned())]).await {
            Ok(images) => Ok(images.into_iter().next().map(|image| image.digest.to_string())),
            Err(error) if error.failure == Failure::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The status of the image of a digest; `None` when the repository does not have it, or there is none of that name.
    ///
    /// # Errors
    ///
    /// Any error of ECR.
    pub async fn image_status(&self, name: &Name, digest: &str) -> Result<Option<ImageStatus>, AwsError> {
        match self.images_by_digest(name, &[ImageId::Digest(digest.to_owned())]).await {
            Ok(images) => {
                Ok(images.into_iter().find(|image| &*image.digest == digest).map(|image| image.status))
            }
            Err(error) if error.failure == Failure::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Up to [`BATCH`] images by their digests or tags, as they are now.
    ///
    /// # Errors
    ///
    /// Any error of ECR; [`Failure::NotFound`] if one of them no longer exists.
    pub async fn images_by_digest(&self, name: &Name, ids: &[ImageId]) -> Result<Vec<Image>, AwsError> {
        let request = self.describe_images(name).set_image_ids(Some(ids.iter().map(identifier).collect()));
        let mut described = DescribedImages::default();
        self.describe(request, &mut described).await?;
        Ok(described.images)
    }

    /// A call that describes images of a repository, the archived ones among them.
    fn describe_images(&self, name: &Name) -> DescribeImagesFluentBuilder {
        // Without this ECR leaves out what is archived.
        let all = DescribeImagesFilter::builder().image_status(ImageStatusFilter::Any).build();
        let request = self.client.describe_images().set_registry_id(self.registry_id.clone());
        request.repository_name(name.as_str()).filter(all)
    }

    /// Adds the images that a call describes, and returns the token of the next page.
    async fn describe(
        &self,
        request: DescribeImagesFluentBuilder,
        described: &mut DescribedImages,
    ) -> Result<Option<String>, AwsError> {
        let reader = ImagePageReader::default();
        let request = request.customize().interceptor(reader.clone());
        let answer = call!(self, "DescribeImages", request)?;
        let page = reader
            .page()
            .map_err(|problem| AwsError::unexpected_response("DescribeImages", &problem.to_string()))?;
        match described.images.is_empty() {
            true => described.images = page.images,
            false => described.images.extend(page.images),
        }
        described.subjects.extend(page.subjects);
        Ok(answer.next_token)
    }

    /// The manifests of up to [`BATCH`] images.
    ///
    /// # Errors
    ///
    /// Any error of ECR to the call; what it answers for each image is in the result.
    pub async fn manifests(&self, name: &Name, ids: &[ImageId]) -> Result<Manifests, AwsError> {
        let request = self
            .client
            .batch_get_image()
            .set_registry_id(self.registry_id.clone())
            .repository_name(name.as_str())
            .set_image_ids(Some(ids.iter().map(identifier).collect()))
            .set_accepted_media_types(Some(crate::domain::image::MANIFEST_TYPES.map(str::to_owned).to_vec()));
        let answer = call!(self, "BatchGetImage", request)?;
        let found = answer.images.unwrap_or_default().into_iter().filter_map(|image| {
            let id = image.image_id?;
            Some(Manifest {
                digest: id.image_digest?,
                tag: id.image_tag,
                text: image.image_manifest?,
                media_type: image.image_manifest_media_type,
            })
        });
        Ok(Manifests { found: found.collect(), failures: refused(answer.failures) })
    }

    /// Those of up to [`BATCH`] blobs, configurations and layers, that ECR does not have for a repository.
    ///
    /// # Errors
    ///
    /// Any error of ECR.
    pub async fn missing_layers(&self, name: &Name, digests: &[String]) -> Result<Vec<String>, AwsError> {
        let request = self
            .client
            .batch_check_layer_availability()
            .set_registry_id(self.registry_id.clone())
            .repository_name(name.as_str())
            .set_layer_digests(Some(digests.to_vec()));
        let answer = call!(self, "BatchCheckLayerAvailability", request)?;
        let layers = answer.layers.unwrap_or_default().into_iter();
        let missing = layers.filter(|layer| layer.layer_availability == Some(LayerAvailability::Unavailable));
        Ok(missing.filter_map(|layer| layer.layer_digest).collect())
    }
}

impl EcrProtect {
    pub(super) const fn new(read: EcrRead) -> Self {
        Self { read }
    }

    fn client(&self) -> &Client {
        &self.read.client
    }

    /// Replaces the lifecycle policy of a repository by one by which nothing expires.
    ///
    /// # Errors
    ///
    /// Any error of ECR.
    pub async fn suspend_lifecycle_policy(
        &self,
        name: &Name,
        nothing: &TakesNothing,
    ) -> Result<(), AwsError> {
        put_lifecycle_policy(self, name, &nothing.to_json()).await?;
        tracing::info!(repository = %name, "suspended the lifecycle policy");
        Ok(())
    }

    /// Adds a tag to an image, or stores an index of existing images. Idempotent: a tag that the image has already is no error.
    ///
    /// # Errors
    ///
    /// Any error of ECR; [`Failure::AlreadyExists`] if the tag is another image's and cannot be moved.
    pub async fn put_image(
        &self,
        name: &Name,
        manifest: &str,
        media_type: Option<&str>,
        tag: &str,
    ) -> Result<Option<String>, AwsError> {
        let digest = self.put(name, manifest, media_type, None, Some(tag)).await?;
        tracing::info!(repository = %name, tag, "tagged the image");
        Ok(digest)
    }

    /// Adds a protection tag to an image. Idempotent: a tag that it has already is no error.
    ///
    /// # Errors
    ///
    /// Any error of ECR; [`Failure::AlreadyExists`] if the tag is another image's and cannot be moved. Also if the manifest is
    /// that of another image.
    pub async fn put_protection_tag(
        &self,
        name: &Name,
        manifest: &Manifest,
        tag: &str,
    ) -> Result<(), AwsError> {
        let Manifest { digest, text, media_type, .. } = manifest;
        self.put(name, text, media_type.as_deref(), Some(digest), Some(tag)).await?;
        tracing::info!(repository = %name, digest, tag, "protected the image");
        Ok(())
    }

    /// Stores the manifest of an image that was there before, whose layers still are; with a tag, or without. Gives whether that
    /// changed something: `false` for an image that is there as it is.
    ///
    /// # Errors
    ///
    /// Any error of ECR; [`Failure::AlreadyExists`] if the tag is another image's and cannot be moved.
    pub async fn put_back_image(
        &self,
        name: &Name,
        manifest: &str,
        media_type: Option<&str>,
        digest: &str,
        tag: Option<&str>,
    ) -> Result<bool, AwsError> {
        let put = self.put(name, manifest, media_type, Some(digest), tag).await?;
        tracing::info!(repository = %name, digest, tag, was_missing = put.is_some(), "put the image back");
        Ok(put.is_some())
    }

    /// Restores an image from the archive, which takes ECR up to 20 minutes.
    ///
    /// # Errors
    ///
    /// Any error of ECR.
    pub async fn restore(&self, name: &Name, digest: &str) -> Result<(), AwsError> {
        let request = self
            .client()
            .update_image_storage_class()
            .repository_name(name.as_str())
            .image_id(ImageIdentifier::builder().image_digest(digest).build())
            .target_storage_class(TargetStorageClass::Standard);
        call!(self, "UpdateImageStorageClass", request)?;
        tracing::info!(repository = %name, digest, "took the image back from the archive");
        Ok(())
    }

    async fn put(
        &self,
        name: &Name,
        manifest: &str,
        media_type: Option<&str>,
        digest: Option<&str>,
        tag: Option<&str>,
    ) -> Result<Option<String>, AwsError> {
        let request = self
            .client()
            .put_image()
            .repository_name(name.as_str())
            .image_manifest(manifest)
            .set_image_manifest_media_type(media_type.map(str::to_owned))
            .set_image_digest(digest.map(str::to_owned))
            .set_image_tag(tag.map(str::to_owned));
        self.limiter.wait("PutImage").await;
        match request.send().await {
            Ok(answer) => Ok(answer.image.and_then(|image| image.image_id).and_then(|id| id.image_digest)),
            Err(error)
                if error.as_service_error().is_some_and(PutImageError::is_image_already_exists_exception) =>
            {
                Ok(None)
            }
            Err(error) => Err(AwsError::new("PutImage", &error)),
        }
    }
}

impl EcrWrite {
    pub(super) const fn new(protect: EcrProtect) -> Self {
        Self { protect }
    }

    /// The same registry without a rate limit, for a few calls that must not wait.
    #[must_use]
    pub fn at_once(&self) -> Self {
        Self { protect: EcrProtect { read: self.protect.read.at_once() } }
    }

    /// Creates a repository with all settings but its policies, which are set afterwards.
    ///
    /// # Errors
    ///
    /// Any error of ECR.
    pub async fn create(&self, name: &Name, settings: &Settings, tags: &Tags) -> Result<Existing, AwsError> {
        let (mutability, filters) = mutability(&settings.tag_mutability);
        let encryption = EncryptionConfiguration::builder()
            .encryption_type(match settings.encryption.encryption_type {
                EncryptionType::Aes256 => EcrEncryptionType::Aes256,
                EncryptionType::Kms => EcrEncryptionType::Kms,
                EncryptionType::KmsDsse => EcrEncryptionType::KmsDsse,
            })
            .set_kms_key(settings.encryption.kms_key.clone())
            .build()
            .map_err(|error| unbuilt("CreateRepository", &error))?;
        let request = self
            .client()
            .create_repository()
            .repository_name(name.as_str())
            .set_tags((!tags.is_empty()).then(|| sdk_tags(tags)).transpose()?)
            .image_tag_mutability(mutability)
            .set_image_tag_mutability_exclusion_filters(filters)
            .image_scanning_configuration(scanning(settings.scan_on_push))
            .encryption_configuration(encryption);
        let answer = call!(self, "CreateRepository", request)?;
        let repository = answer.repository.ok_or_else(|| {
            AwsError::unexpected_response("CreateRepository", "there is no repository in it")
        })?;
        tracing::info!(repository = %name, "created the repository");
        Ok(Existing { tags: tags.clone(), ..existing(repository) })
    }

    /// Makes one change of a repository.
    ///
    /// # Errors
    ///
    /// Any error of ECR.
    pub async fn apply(&self, repository: &Existing, change: &Change) -> Result<(), AwsError> {
        let name = repository.name.as_str();
        let (client, arn) = (self.client(), repository.arn.as_str());
        match change {
            Change::Policy { to: Some(text), .. } => {
                call!(
                    self,
                    "SetRepositoryPolicy",
                    client.set_repository_policy().repository_name(name).policy_text(text)
                )?;
            }
            Change::Policy { to: None, .. } => gone_is_fine(call!(
                self,
                "DeleteRepositoryPolicy",
                client.delete_repository_policy().repository_name(name)
            ))?,
            Change::LifecyclePolicy { to: Some(text), .. } => {
                let request = client.put_lifecycle_policy().repository_name(name).lifecycle_policy_text(text);
                call!(self, "PutLifecyclePolicy", request)?;
            }
            Change::LifecyclePolicy { to: None, .. } => gone_is_fine(call!(
                self,
                "DeleteLifecyclePolicy",
                client.delete_lifecycle_policy().repository_name(name)
            ))?,
            Change::TagMutability { to, .. } => {
                let (mutability, filters) = mutability(to);
                let request = client
                    .put_image_tag_mutability()
                    .repository_name(name)
                    .image_tag_mutability(mutability)
                    .set_image_tag_mutability_exclusion_filters(filters);
                call!(self, "PutImageTagMutability", request)?;
            }
            Change::ScanOnPush { to, .. } => {
                let request = client
                    .put_image_scanning_configuration()
                    .repository_name(name)
                    .image_scanning_configuration(scanning(*to));
                call!(self, "PutImageScanningConfiguration", request)?;
            }
            Change::Tags { from, to } => {
                let removed: Vec<String> =
                    from.keys().filter(|key| !to.contains_key(*key)).cloned().collect();
                let tag = async || {
                    if to.is_empty() {
                        return Ok(());
                    }
                    let request = client.tag_resource().resource_arn(arn).set_tags(Some(sdk_tags(to)?));
                    call!(self, "TagResource", request).map(drop)
                };
                let untag = async || {
                    if removed.is_empty() {
                        return Ok(());
                    }
                    let request =
                        client.untag_resource().resource_arn(arn).set_tag_keys(Some(removed.clone()));
                    call!(self, "UntagResource", request).map(drop)
                };
                // A policy of IAM may go by a tag, so that none is missing for a moment, unless ECR has no room for all of them.
                if change.fits_beside(&repository.tags) {
                    tag().await?;
                    untag().await?;
                } else {
                    untag().await?;
                    tag().await?;
                }
            }
        }
        tracing::info!(repository = name, field = change.field(), "changed the repository");
        Ok(())
    }

    /// Deletes a repository; with its images only if `force`.
    ///
    /// # Errors
    ///
    /// Any error of ECR.
    pub async fn delete(&self, name: &str, force: bool) -> Result<(), AwsError> {
        call!(
            self,
            "DeleteRepository",
            self.client().delete_repository().repository_name(name).force(force)
        )?;
        tracing::info!(repository = name, force, "deleted the repository");
        Ok(())
    }

    /// Archives an image. Idempotent: an archived image is no error.
    ///
    /// # Errors
    ///
    /// Any error of ECR.
    pub async fn archive(&self, name: &Name, digest: &str) -> Result<(), AwsError> {
        let request = self
            .client()
            .update_image_storage_class()
            .repository_name(name.as_str())
            .image_id(ImageIdentifier::builder().image_digest(digest).build())
            .target_storage_class(TargetStorageClass::Archive);
        self.limiter.wait("UpdateImageStorageClass").await;
        if let Err(error) = request.send().await {
            // After a lost answer the call is made again, of an image that is there by then; ECR may refuse that.
            let is_refused = error.as_service_error().is_some_and(
                UpdateImageStorageClassError::is_image_storage_class_update_not_supported_exception,
            );
            let is_there = is_refused
                && self
                    .images_by_digest(name, &[ImageId::Digest(digest.to_owned())])
                    .await?
                    .iter()
                    .any(|image| image.status == ImageStatus::Archived);
            if !is_there {
                return Err(AwsError::new("UpdateImageStorageClass", &error));
            }
        }
        tracing::info!(repository = %name, digest, "archived the image");
        Ok(())
    }

    /// Sets the lifecycle policy of a repository.
    ///
    /// # Errors
    ///
    /// Any error of ECR.
    pub async fn put_lifecycle_policy(&self, name: &Name, text: &str) -> Result<(), AwsError> {
        put_lifecycle_policy(self, name, text).await?;
        tracing::info!(repository = %name, "attached the lifecycle policy");
        Ok(())
    }

    /// Deletes up to [`BATCH`] images, or tags of images.
    ///
    /// # Errors
    ///
    /// Any error of ECR to the call; what it answers for each image is in the result.
    pub async fn delete_images(
        &self,
        name: &Name,
        ids: &[ImageId],
    ) -> Result<(Vec<Deleted>, Vec<Refused>), AwsError> {
        let request = self
            .client()
            .batch_delete_image()
            .repository_name(name.as_str())
            .set_image_ids(Some(ids.iter().map(identifier).collect()));
        let answer = call!(self, "BatchDeleteImage", request)?;
        let deleted: Vec<Deleted> = answer
            .image_ids
            .unwrap_or_default()
            .into_iter()
            .map(|id| Deleted { image_digest: id.image_digest, image_tag: id.image_tag })
            .collect();
        let refused = refused(answer.failures);
        tracing::info!(repository = %name, deleted = deleted.len(), refused = refused.len(), "deleted images");
        Ok((deleted, refused))
    }
}

async fn put_lifecycle_policy(ecr: &EcrRead, name: &Name, text: &str) -> Result<(), AwsError> {
    let request =
        ecr.client.put_lifecycle_policy().repository_name(name.as_str()).lifecycle_policy_text(text);
    call!(ecr, "PutLifecyclePolicy", request)?;
    Ok(())
}

/// The failures of a batch as one error.
fn refused(failures: Option<Vec<ImageFailure>>) -> Vec<Refused> {
    let refused = failures.unwrap_or_default().into_iter().map(|failure| {
        let (image_digest, image_tag) =
            failure.image_id.map(|id| (id.image_digest, id.image_tag)).unwrap_or_default();
        Refused {
            image_id: Deleted { image_digest, image_tag },
            failure_code: failure.failure_code.map(|code| code.as_str().to_owned()).unwrap_or_default(),
            failure_reason: failure.failure_reason.unwrap_or_default(),
        }
    });
    refused.collect()
}

/// Keeps the SDK from waiting for a quota to pass: elsewhere in AWS this is the name of throttling, in ECR it is not.
#[derive(Debug)]
struct QuotaIsNoThrottling;

impl ClassifyRetry for QuotaIsNoThrottling {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let Some(Err(error)) = context.output_or_error() else { return RetryAction::NoActionIndicated };
        let Some(error) = error.as_operation_error() else { return RetryAction::NoActionIndicated };
        let is_quota = error
            .downcast_ref::<CreateRepositoryError>()
            .is_some_and(CreateRepositoryError::is_limit_exceeded_exception)
            || error.downcast_ref::<PutImageError>().is_some_and(PutImageError::is_limit_exceeded_exception)
            || error
                .downcast_ref::<BatchGetImageError>()
                .is_some_and(BatchGetImageError::is_limit_exceeded_exception);
        if is_quota { RetryAction::RetryForbidden } else { RetryAction::NoActionIndicated }
    }

    fn name(&self) -> &'static str {
        "QuotaIsNoThrottling"
    }

    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}

/// An image with the fields that ECR gave it.
fn as_described(detail: ImageDetail) -> serde_json::Value {
    use serde_json::Value;
    let time = |at: Option<aws_smithy_types::DateTime>| at.and_then(instant).map(|at| at.to_string().into());
    let text = |text: Option<String>| text.map(Value::from);
    let fields: [(&str, Option<Value>); 12] = [
        ("registryId", text(detail.registry_id)),
        ("repositoryName", text(detail.repository_name)),
        ("imageDigest", text(detail.image_digest)),
        ("imageTags", detail.image_tags.map(Value::from)),
        ("imageSizeInBytes", detail.image_size_in_bytes.map(Value::from)),
        ("imagePushedAt", time(detail.image_pushed_at)),
        ("imageManifestMediaType", text(detail.image_manifest_media_type)),
        ("artifactMediaType", text(detail.artifact_media_type)),
        ("lastRecordedPullTime", time(detail.last_recorded_pull_time)),
        ("subjectManifestDigest", text(detail.subject_manifest_digest)),
        ("imageStatus", detail.image_status.map(|status| status.as_str().into())),
        ("lastArchivedAt", time(detail.last_archived_at)),
    ];
    let activated = ("lastActivatedAt", time(detail.last_activated_at));
    let fields = fields.into_iter().chain([activated]);
    fields
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn instant(at: aws_smithy_types::DateTime) -> Option<Instant> {
    let micros = at.secs().checked_mul(1_000_000)?.checked_add(i64::from(at.subsec_nanos() / 1000))?;
    Instant::from_micros(micros)
}

/// Removing what is not there is done.
fn gone_is_fine<T>(answer: Result<T, AwsError>) -> Result<(), AwsError> {
    match answer {
        Err(error) if error.failure == Failure::NotFound => Ok(()),
        answer => answer.map(drop),
    }
}

fn mutability(
    wanted: &TagMutability,
) -> (ImageTagMutability, Option<Vec<ImageTagMutabilityExclusionFilter>>) {
    let filters = wanted.exclusions.iter().filter_map(|filter| {
        ImageTagMutabilityExclusionFilter::builder()
            .filter_type(ImageTagMutabilityExclusionFilterType::Wildcard)
            .filter(filter)
            .build()
            .ok()
    });
    let filters: Vec<_> = filters.collect();
    (ImageTagMutability::from(wanted.as_str()), (!filters.is_empty()).then_some(filters))
}

fn scanning(scan_on_push: bool) -> ImageScanningConfiguration {
    ImageScanningConfiguration::builder().scan_on_push(scan_on_push).build()
}

fn sdk_tags(tags: &Tags) -> Result<Vec<Tag>, AwsError> {
    tags.iter()
        .map(|(key, value)| {
            Tag::builder().key(key).value(value).build().map_err(|error| unbuilt("TagResource", &error))
        })
        .collect()
}

fn identifier(id: &ImageId) -> ImageIdentifier {
    let builder = ImageIdentifier::builder();
    match id {
        ImageId::Digest(digest) => builder.image_digest(digest),
        ImageId::Tag(tag) => builder.image_tag(tag),
    }
    .build()
}

fn existing(repository: Repository) -> Existing {
    let mutability = repository.image_tag_mutability;
    let encryption = repository.encryption_configuration;
    let encryption_type =
        encryption.as_ref().map(|encryption| encryption.encryption_type.as_str().to_owned());
    Existing {
        name: repository.repository_name.unwrap_or_default(),
        arn: repository.repository_arn.unwrap_or_default(),
        registry_id: repository.registry_id.unwrap_or_default(),
        uri: repository.repository_uri.unwrap_or_default(),
        created_at: repository.created_at.and_then(instant),
        tag_mutability: TagMutability {
            immutable: mutability.is_some_and(|mutability| mutability.as_str().starts_with("IMMUTABLE")),
            exclusions: repository
                .image_tag_mutability_exclusion_filters
                .unwrap_or_default()
                .into_iter()
                .map(|filter| filter.filter)
                .collect(),
        },
        scan_on_push: repository.image_scanning_configuration.is_some_and(|scanning| scanning.scan_on_push),
        encryption: Encryption {
            // A type that this version does not know is none that can be asked for either.
            encryption_type: EncryptionType::NAMES
                .into_iter()
                .find(|(name, _)| encryption_type.as_deref() == Some(name))
                .map(|(_, encryption_type)| encryption_type)
                .unwrap_or_default(),
            kms_key: encryption.and_then(|encryption| encryption.kms_key),
        },
        tags: Tags::new(),
        lifecycle_policy_text: None,
        policy_text: None,
    }
}

/// The error of an answer without the list that it is for: it is no empty list, and what is missing could be what matters.
fn absent(operation: &'static str, member: &str) -> AwsError {
    AwsError::unexpected_response(
        operation,
        &format!("the answer has no `{member}`; where a proxy is between, look at what it answers"),
    )
}

fn unbuilt(operation: &'static str, error: &dyn std::fmt::Display) -> AwsError {
    AwsError::unexpected_response(operation, &error.to_string())
}
