//! Publishes the image of a build that ended: finds it, joins platforms, moves tags and the parameter, and announces the result.
//! Every step is idempotent.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::aws::codebuild::CodeBuild;
use crate::aws::ecr::{EcrWrite, Manifest};
use crate::aws::logs::Logs;
use crate::aws::response_url::Callback;
use crate::aws::s3::{Precondition, S3};
use crate::aws::ssm::Parameters;
use crate::aws::{AwsError, Failure};
use crate::domain::builds::build_context::{BuildContext, ContextDoubt};
use crate::domain::builds::build_outcome::{Build, BuildOutcome, ContextError, Status, last_words};
use crate::domain::builds::handover::Handover;
use crate::domain::builds::index::{self, Pushed, Unreadable};
use crate::domain::builds::outbound_event::{Failed, OutboundEvent, Published};
use crate::domain::builds::start_build_input::location;
use crate::domain::builds::tag_ownership::{self, Claim, PublishTarget, TagOwnership};
use crate::domain::builds::tags::NotMoved;
use crate::domain::builds::{Source, fingerprint};
use crate::domain::cloudformation::image;
use crate::domain::cloudformation::{Answer, Event, ResponseUrl};
use crate::domain::image::deletion::ImageId;
use crate::domain::repository::{Name, Registry};
use crate::domain::text::instant::Instant;
use crate::workflows::announce::EventPublisher;

/// Maximum number of attempts of a conditional write. Conflicts are rare: builds of one repository that end at the same time.
const MAX_CAS_ATTEMPTS: usize = 20;

/// The publisher of images, for one request.
#[derive(Debug, Clone, Copy)]
pub struct Publisher<'a> {
    /// The stack's name.
    pub stack_name: &'a str,
    /// The stack's bucket.
    pub bucket: &'a str,
    /// The registry of the repositories.
    pub registry: &'a Registry,
    /// Amazon ECR.
    pub ecr: &'a EcrWrite,
    /// AWS CodeBuild.
    pub codebuild: &'a CodeBuild,
    /// The publisher of events and mails.
    pub announcer: EventPublisher<'a>,
    /// Amazon S3.
    pub s3: &'a S3,
    /// Amazon CloudWatch Logs.
    pub logs: &'a Logs,
    /// The Parameter Store.
    pub parameters: &'a Parameters,
    /// The client for answers to CloudFormation.
    pub callback: &'a Callback,
    /// Whether answers may be sent to this machine, where an emulator waits.
    pub allow_loopback: bool,
}

/// Why the image of a build is not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A call failed.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The event is neither one of CodeBuild nor a handover of a function of the stack.
    #[error(
        "this is neither CodeBuild's `CodeBuild Build State Change` nor a build context of this stack: {0}"
    )]
    Event(EventProblem),
    /// A build context is not one of this stack. Nothing follows from it, and it needs attention.
    #[error("the build context of {0} is not trusted: {1}")]
    BuildContext(ContextOf, Doubt),
    /// The ownership of tags could not be written.
    #[error(
        "the owners of tags in s3://{0}/{1} are changed by others all the time; the event is tried again"
    )]
    TagOwnership(String, String),
    /// A manifest is none.
    #[error(transparent)]
    Manifest(#[from] Unreadable),
    /// CodeBuild does not know yet what its event says: its answers may be older.
    #[error(
        "CodeBuild says that the build {id} ended, and {answer} when it is asked; the event is tried again"
    )]
    NotConfirmed {
        /// The build.
        id: String,
        /// What CodeBuild answers.
        answer: &'static str,
    },
}

/// Why an event is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventProblem {
    /// The event has another form.
    #[error("{0}")]
    Form(String),
    /// The event has this `detail-type`.
    #[error("it is `{0}`")]
    DetailType(String),
}

/// The owner of a build context.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContextOf {
    /// The build with this id.
    #[error("{0}")]
    Build(String),
    /// An image that exists already, in the repository with this name.
    #[error("what is built already in {0}")]
    ExistingImage(Name),
}

/// Why a build context is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// CodeBuild fetched another source than the context names.
    #[error("its build context is for {source_of_context}, and it built {place} {version}")]
    OtherSource {
        /// The source according to the context.
        source_of_context: String,
        /// The location that CodeBuild fetched.
        place: String,
        /// The version that CodeBuild fetched.
        version: String,
    },
    /// The context contradicts itself.
    #[error(transparent)]
    Context(#[from] ContextDoubt),
}

/// Why a successful build has no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the build reports {digest}, which is not in {name} as {tag}; it may have been deleted meanwhile. Start the build again"
)]
struct NotPushed<'a> {
    /// The reported digest.
    digest: &'a str,
    /// The repository.
    name: &'a Name,
    /// The tag that the build pushes.
    tag: String,
}

/// The ownership of tags is not as this stack writes it.
#[derive(Debug, thiserror::Error)]
#[error(
    "s3://{bucket}/{key} is not what this stack writes about the owners of tags ({error}); restore an earlier version of it"
)]
struct InvalidTagOwnership<'a> {
    bucket: &'a str,
    key: &'a str,
    error: serde_json::Error,
}

/// Why an image does not get a tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "tags of {0} are immutable; exclude this one with imageTagMutabilityExclusionFilters, or leave it out of imageTags"
)]
struct ImmutableTags<'a>(&'a Name);

/// The message of a failed build for the stack that waits for it.
#[derive(Debug, thiserror::Error)]
#[error("the build {id} of {source_of_build} for {repository_name} ended as {}: {reason}. Its log: {log}{end}", .status.as_str())]
struct BuildFailed<'a> {
    id: &'a str,
    source_of_build: &'a Source,
    repository_name: &'a str,
    status: Status,
    reason: &'a str,
    log: &'a str,
    /// The end of the log, to continue the sentence.
    end: &'a str,
}

/// The result of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Outcome {
    /// The image is published.
    Published(Published),
    /// There is no image.
    Failed(Failed),
    /// The build was published before, or failed before.
    Known,
    /// The builds for other platforms have not ended.
    Waiting,
    /// The event has no consequences.
    Ignored {
        /// Why.
        reason: Ignored,
    },
}

/// Why an event has no consequences.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// The event is about a build that runs.
    #[error("the build has just begun")]
    JustStarted,
    /// This stack did not start the build.
    #[error(transparent)]
    Foreign(#[from] ContextError),
    /// The build context's repository has no valid name.
    #[error("its repository is none")]
    NoRepository,
}

impl Serialize for Ignored {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<Ignored> for Outcome {
    fn from(reason: Ignored) -> Self {
        Self::Ignored { reason }
    }
}

/// The fields of an event that tell its kind.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "detail-type")]
    detail_type: String,
    #[serde(borrow)]
    detail: &'a serde_json::value::RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct StateChange {
    build_id: String,
    build_status: String,
}

impl Publisher<'_> {
    /// Processes an event.
    ///
    /// # Errors
    ///
    /// If AWS cannot be asked; the event is delivered again.
    pub async fn serve(&self, event: &str, now: Instant) -> Result<Outcome, PublishError> {
        let unknown = |error: serde_json::Error| PublishError::Event(EventProblem::Form(error.to_string()));
        if let Ok(Handover { already_built }) = serde_json::from_str(event) {
            let outcome = self.built(&already_built, now).await?;
            tracing::info!(
                outcome = serde_json::to_string(&outcome).unwrap_or_default(),
                "published an image that existed already"
            );
            return Ok(outcome);
        }
        let envelope: Envelope<'_> = serde_json::from_str(event).map_err(unknown)?;
        let outcome = match envelope.detail_type.as_str() {
            "CodeBuild Build State Change" => {
                let change: StateChange = serde_json::from_str(envelope.detail.get()).map_err(unknown)?;
                if change.build_status == Status::InProgress.as_str() {
                    return Ok(Ignored::JustStarted.into());
                }
                // Events name builds by their ARN, and CodeBuild by what follows in it.
                let id = change.build_id.split_once(":build/").map_or(&*change.build_id, |(_, id)| id);
                self.ended(id, now).await?
            }
            other => return Err(PublishError::Event(EventProblem::DetailType(other.to_owned()))),
        };
        tracing::info!(outcome = serde_json::to_string(&outcome).unwrap_or_default(), "served the event");
        Ok(outcome)
    }

    /// A build ended.
    async fn ended(&self, id: &str, now: Instant) -> Result<Outcome, PublishError> {
        let not_confirmed = |answer| PublishError::NotConfirmed { id: id.to_owned(), answer };
        // The build is asked, not the event: it knows the digest, and how it stands by now.
        let Some(build) = self.codebuild.builds(&[id.to_owned()]).await?.into_iter().next() else {
            return Err(not_confirmed("does not know it"));
        };
        if let Ok((context, _)) = build.context()
            && let Some(reason) = self.doubt(&build, &context, now)
        {
            return Err(PublishError::BuildContext(ContextOf::Build(build.id), reason));
        }
        match build.ended() {
            BuildOutcome::InProgress => Err(not_confirmed("that it is in progress")),
            BuildOutcome::Foreign(error) => Ok(Ignored::from(error).into()),
            BuildOutcome::Failed { context, status, reason } => {
                self.failed(&build, &context, status, &reason).await
            }
            BuildOutcome::Pushed { context, platform, digest } => {
                let Ok(name) = Name::parse(&context.repository_name) else {
                    return Ok(Ignored::NoRepository.into());
                };
                let tags: Vec<ImageId> = context
                    .platforms
                    .iter()
                    .map(|&platform| ImageId::Tag(context.tag_for(platform)))
                    .collect();
                let mut found = self.manifests(&name, &tags).await?;
                let tag = context.tag_for(platform);
                let is_tagged =
                    |manifest: &Manifest| manifest.tag.as_deref() == Some(&*tag) && manifest.digest == digest;
                if !found.iter().any(is_tagged) {
                    // Where tags can be moved, another build of the same source may have it.
                    let pushed = self.manifests(&name, &[ImageId::Digest(digest.clone())]).await?;
                    if let Some(pushed) = pushed.into_iter().next() {
                        found.retain(|manifest| manifest.tag.as_deref() != Some(&*tag));
                        found.push(Manifest { tag: Some(tag.clone()), ..pushed });
                    }
                }
                let of = |platform| {
                    let tag = context.tag_for(platform);
                    found.iter().find(|manifest| manifest.tag.as_deref() == Some(&*tag))
                };
                if of(platform).is_none_or(|manifest| manifest.digest != digest) {
                    let reason = NotPushed { digest: &digest, name: &name, tag: context.tag_for(platform) }
                        .to_string();
                    return self.failed(&build, &context, Status::Succeeded, &reason).await;
                }
                let images: Option<Vec<Pushed>> = context
                    .platforms
                    .iter()
                    .map(|&platform| {
                        of(platform).map(|found| Pushed {
                            platform,
                            digest: found.digest.clone(),
                            manifest: found.text.clone(),
                        })
                    })
                    .collect();
                let Some(images) = images else { return Ok(Outcome::Waiting) };
                let image = match images.as_slice() {
                    [image] => (image.digest.clone(), image.manifest.clone()),
                    images => self.create_image_index(&name, &context, images).await?,
                };
                self.publish(&name, &context, &image.0, &image.1, Some(build.id), now).await
            }
        }
    }

    /// Why a build's context is not trusted; `None` if it is. It is in a variable that anybody can set who may start builds,
    /// while the source is what CodeBuild fetched.
    fn doubt(&self, build: &Build, context: &BuildContext, now: Instant) -> Option<Doubt> {
        let (kind, place) = location(&context.source, self.registry);
        let (built_kind, built_place, built_version) = &build.source;
        // An object may be named by its ARN.
        let built_place = match built_place.split_once(":::") {
            Some((arn, place)) if arn.starts_with("arn:") => place,
            _ => built_place.as_str(),
        };
        let is_same = kind == built_kind && place == built_place && context.source.version() == built_version;
        if !is_same {
            return Some(Doubt::OtherSource {
                source_of_context: context.source.to_string(),
                place: built_place.to_owned(),
                version: built_version.clone(),
            });
        }
        context.doubt(now).map(Doubt::from)
    }

    /// Stores the index of several images; the one that is there if it was joined before.
    async fn create_image_index(
        &self,
        name: &Name,
        context: &BuildContext,
        images: &[Pushed],
    ) -> Result<(String, String), PublishError> {
        let text = index::join(images)?;
        match self.ecr.put_image(name, &text, Some(index::MEDIA_TYPE), &context.image_tag).await {
            Ok(digest) => {
                let digest = digest.unwrap_or_else(|| {
                    let hex: String =
                        Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
                    format!("sha256:{hex}")
                });
                Ok((digest, text))
            }
            Err(error) if error.failure == Failure::AlreadyExists => {
                let found = self.image(name, context).await?;
                found.map(|found| (found.digest, found.text)).ok_or(PublishError::Aws(error))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn image(&self, name: &Name, context: &BuildContext) -> Result<Option<Manifest>, AwsError> {
        Ok(self.manifests(name, &[ImageId::Tag(context.image_tag.clone())]).await?.into_iter().next())
    }

    /// The manifests of those images that exist.
    async fn manifests(&self, name: &Name, ids: &[ImageId]) -> Result<Vec<Manifest>, AwsError> {
        match self.ecr.manifests(name, ids).await {
            Err(error) if error.failure == Failure::NotFound => Ok(Vec::new()),
            found => found?.complete(),
        }
    }

    /// Publishes an image that exists already for a new source.
    async fn built(&self, context: &BuildContext, now: Instant) -> Result<Outcome, PublishError> {
        let Ok(name) = Name::parse(&context.repository_name) else {
            return Ok(Ignored::NoRepository.into());
        };
        if let Some(reason) = context.doubt(now) {
            return Err(PublishError::BuildContext(ContextOf::ExistingImage(name), reason.into()));
        }
        match self.image(&name, context).await? {
            None => self.deleted_meanwhile(context).await,
            Some(found) => self.publish(&name, context, &found.digest, &found.text, None, now).await,
        }
    }

    /// The image was there when its source came, and is not any more: a policy or a person deleted it in between.
    async fn deleted_meanwhile(&self, context: &BuildContext) -> Result<Outcome, PublishError> {
        let record = format!("outcomes/{}.json", fingerprint(&[&context.key(), "deleted"], 32));
        if self.s3.get(self.bucket, &record).await?.is_some() {
            return Ok(Outcome::Known);
        }
        let reason = format!(
            "its image {} was deleted just when it was to be published; upload the source, push it, or ask for it again",
            context.image_tag
        );
        let failed = Failed::not_started(self.stack_name, &context.repository_name, &context.source, &reason);
        self.announce(OutboundEvent::Failed(failed.clone()), &record).await?;
        Ok(Outcome::Failed(failed))
    }

    async fn publish(
        &self,
        name: &Name,
        context: &BuildContext,
        digest: &str,
        manifest: &str,
        build_id: Option<String>,
        now: Instant,
    ) -> Result<Outcome, PublishError> {
        let image_uri = format!("{}/{name}@{digest}", self.registry.host());
        let record = format!("outcomes/{}.json", fingerprint(&[&context.key(), digest], 32));
        if self.s3.get(self.bucket, &record).await?.is_some() {
            // CloudFormation may have begun to wait since.
            self.respond_to_waiting_stacks(context, &Ok((image_uri, digest.to_owned()))).await?;
            return Ok(Outcome::Known);
        }
        let moved = self.move_tags(name, context, digest, manifest, now).await;
        // CloudFormation waits for the image, which is there, whatever becomes of tags.
        self.respond_to_waiting_stacks(context, &Ok((image_uri.clone(), digest.to_owned()))).await?;
        let (claim, not_moved) = moved?;
        let has_parameter = claim.taken.contains(&PublishTarget::Parameter);
        let moved = claim.taken.into_iter().filter_map(|place| match place {
            PublishTarget::Tag(tag) if !not_moved.iter().any(|not| not.image_tag == tag) => Some(tag),
            _ => None,
        });
        let published = Published {
            stack_name: self.stack_name.to_owned(),
            repository_name: name.to_string(),
            image_uri,
            image_digest: digest.to_owned(),
            image_tag: context.image_tag.clone(),
            image_tags: moved.collect(),
            image_tags_not_moved: not_moved,
            parameter_name: has_parameter.then(|| parameter(self.stack_name, name)).flatten(),
            source: context.source.clone(),
            build_id,
        };
        self.announce(OutboundEvent::Published(published.clone()), &record).await?;
        Ok(Outcome::Published(published))
    }

    /// Moves tags and the parameter, as far as nothing newer has them.
    async fn move_tags(
        &self,
        name: &Name,
        context: &BuildContext,
        digest: &str,
        manifest: &str,
        now: Instant,
    ) -> Result<(Claim, Vec<NotMoved>), PublishError> {
        let key = tag_ownership::key(name.as_str());
        let written_by_others = || PublishError::TagOwnership(self.bucket.to_owned(), key.clone());
        let mut claimed = None;
        for _ in 0..MAX_CAS_ATTEMPTS {
            let (mut ownership, etag) = self.ownership(&key).await?;
            let claim = ownership.claim(context, digest, now);
            if claim.taken.is_empty() {
                claimed = Some(claim);
                break;
            }
            let text = serde_json::to_string(&ownership).unwrap_or_default();
            let only = etag.as_deref().map_or(Precondition::IfNoneMatch, Precondition::IfMatch);
            if self.s3.put(self.bucket, &key, &text, only).await? {
                claimed = Some(claim);
                break;
            }
        }
        let claim = claimed.ok_or_else(written_by_others)?;
        let kept = |place: &PublishTarget, reason: &str| match place {
            PublishTarget::Tag(tag) => Some(NotMoved { image_tag: tag.clone(), reason: reason.to_owned() }),
            PublishTarget::Parameter => None,
        };
        let mut not_moved = context.image_tags_not_moved.clone();
        not_moved.extend(claim.kept.iter().filter_map(|(place, reason)| kept(place, reason)));
        let mut moved: Vec<(PublishTarget, String)> =
            claim.taken.iter().map(|place| (place.clone(), digest.to_owned())).collect();
        let mut texts = std::collections::BTreeMap::from([(digest.to_owned(), manifest.to_owned())]);
        let mut to_move = moved.clone();
        let own = digest;
        for _ in 0..MAX_CAS_ATTEMPTS {
            for (place, digest) in &to_move {
                if !texts.contains_key(digest) {
                    let found =
                        self.ecr.manifests(name, &[ImageId::Digest(digest.clone())]).await?.complete()?;
                    texts.extend(found.into_iter().map(|found| (found.digest, found.text)));
                }
                let Some(text) = texts.get(digest) else { continue };
                if let Some(not) = self.put(name, place, digest, text, own, context).await? {
                    not_moved.retain(|before| before.image_tag != not.image_tag);
                    not_moved.push(not);
                }
            }
            // Somebody with a newer source may have been faster between the owners and the tags.
            if moved.is_empty() {
                return Ok((claim, not_moved));
            }
            let (ownership, _) = self.ownership(&key).await?;
            to_move = moved
                .iter()
                .filter_map(|(place, was)| {
                    let now = ownership.digest(place)?;
                    (now != was).then(|| (place.clone(), now.to_owned()))
                })
                .collect();
            if to_move.is_empty() {
                return Ok((claim, not_moved));
            }
            for (place, digest) in &to_move {
                if let Some(entry) = moved.iter_mut().find(|(moved, _)| moved == place) {
                    entry.1.clone_from(digest);
                }
                not_moved.extend(kept(place, tag_ownership::NEWER));
            }
        }
        Err(written_by_others())
    }

    async fn ownership(&self, key: &str) -> Result<(TagOwnership, Option<String>), PublishError> {
        match self.s3.get(self.bucket, key).await? {
            None => Ok((TagOwnership::default(), None)),
            Some(object) => {
                let ownership = serde_json::from_str(&object.text).map_err(|error| {
                    let problem = InvalidTagOwnership { bucket: self.bucket, key, error }.to_string();
                    AwsError {
                        failure: Failure::Invalid,
                        ..AwsError::unexpected_response("GetObject", &problem)
                    }
                })?;
                Ok((ownership, Some(object.etag)))
            }
        }
    }

    /// Puts an image in a place; why not, if the repository does not let it. `own` is the image of the context.
    async fn put(
        &self,
        name: &Name,
        place: &PublishTarget,
        digest: &str,
        manifest: &str,
        own: &str,
        context: &BuildContext,
    ) -> Result<Option<NotMoved>, AwsError> {
        match place {
            PublishTarget::Tag(tag) => match self.ecr.put_image(name, manifest, None, tag).await {
                Ok(_) => Ok(None),
                Err(error) if error.failure == Failure::AlreadyExists => {
                    let reason = ImmutableTags(name).to_string();
                    Ok(Some(NotMoved { image_tag: tag.clone(), reason }))
                }
                Err(error) => Err(error),
            },
            PublishTarget::Parameter => {
                let Some(parameter) = parameter(self.stack_name, name) else {
                    tracing::warn!(repository = %name, "the name has too many parts for that of a parameter");
                    return Ok(None);
                };
                let uri = format!("{}/{name}@{digest}", self.registry.host());
                // Where a newer source was faster, its name is not known here.
                let source =
                    if digest == own { format!(", built from {}", context.source) } else { String::new() };
                let description = format!("The newest released image of {name}{source}");
                // AWS takes 1,024 characters.
                let description: String = description.chars().take(1024).collect();
                self.parameters.put(&parameter, &uri, &description).await?;
                Ok(None)
            }
        }
    }

    async fn failed(
        &self,
        build: &Build,
        context: &BuildContext,
        status: Status,
        reason: &str,
    ) -> Result<Outcome, PublishError> {
        let record = format!("outcomes/{}.json", fingerprint(&[&build.id], 32));
        if self.s3.get(self.bucket, &record).await?.is_some() {
            return Ok(Outcome::Known);
        }
        let log = build.log_link.clone().unwrap_or_default();
        let end = self.end_of_log(build).await;
        let message = BuildFailed {
            id: &build.id,
            source_of_build: &context.source,
            repository_name: &context.repository_name,
            status,
            reason,
            log: &log,
            end: &end,
        };
        let message = message.to_string();
        let reason = format!("{reason}{end}");
        let reason = reason.as_str();
        self.respond_to_waiting_stacks(context, &Err(message)).await?;
        let failed = Failed::of_build(self.stack_name, context, status, reason, &build.id, &log);
        self.announce(OutboundEvent::Failed(failed.clone()), &record).await?;
        Ok(Outcome::Failed(failed))
    }

    /// The end of a build's log, to continue a sentence; empty if it cannot be read, since the message has its URL.
    async fn end_of_log(&self, build: &Build) -> String {
        let Some((group, stream)) = &build.log else { return String::new() };
        match self.logs.end(group, stream).await {
            Ok(lines) => match last_words(&lines).as_slice() {
                [] => String::new(),
                words => format!(". Its log ends:\n{}", words.join("\n")),
            },
            Err(error) => {
                tracing::warn!(build = build.id, %error, "could not read the log of a failed build");
                String::new()
            }
        }
    }

    /// Announces the result, and then records that it did: at least once.
    async fn announce(&self, announcement: OutboundEvent, record: &str) -> Result<(), AwsError> {
        self.announcer.announce(&announcement).await?;
        let text = serde_json::to_string(&announcement).unwrap_or_default();
        self.s3.put(self.bucket, record, &text, Precondition::IfNoneMatch).await.map(drop)
    }

    /// Answers the requests of CloudFormation that wait for an image.
    async fn respond_to_waiting_stacks(
        &self,
        context: &BuildContext,
        image: &Result<(String, String), String>,
    ) -> Result<(), AwsError> {
        let path = image::waiting(self.stack_name, context);
        let waiting = self.parameters.secure_strings_by_path(&path).await?;
        let mut done = Vec::with_capacity(waiting.len());
        let mut late = None;
        for waiter in waiting {
            done.push(waiter.name);
            let Ok(event) = serde_json::from_str::<Event>(&waiter.value) else {
                tracing::error!(parameter = done.last(), "nobody can be answered with this");
                continue;
            };
            let answer = match image {
                Ok((uri, digest)) => {
                    Answer::success(&event, uri.clone(), image::attributes(context, uri, digest))
                }
                Err(reason) => Answer::failed(&event, image::physical_id(&event), reason.clone()),
            };
            let sent = match ResponseUrl::parse(&event.response_url, self.allow_loopback) {
                Ok(url) => {
                    let sent = tokio::time::timeout(CALLBACK_TIMEOUT, self.callback.send(&url, &answer));
                    match sent.await {
                        Ok(sent) => sent.map_err(|error| error.to_string()),
                        Err(_) => {
                            // The event comes again, and with it another attempt. Others do not wait for this one.
                            done.pop();
                            late = Some(AwsError {
                                failure: Failure::TimedOut,
                                ..AwsError::unexpected_response("answering CloudFormation", &event.stack_id)
                            });
                            continue;
                        }
                    }
                }
                Err(error) => Err(error.to_string()),
            };
            match sent {
                Ok(()) => tracing::info!(
                    stack = event.stack_id,
                    resource = event.logical_resource_id,
                    is_success = answer.is_success(),
                    "answered CloudFormation"
                ),
                // It has given up by now, or never was there.
                Err(error) => {
                    tracing::error!(stack = event.stack_id, error, "CloudFormation does not take the answer");
                }
            }
        }
        if !done.is_empty() {
            self.parameters.delete(&done).await?;
        }
        late.map_or(Ok(()), Err)
    }
}

/// Timeout of an answer to CloudFormation.
const CALLBACK_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// Maximum number of parts in the name of a parameter.
const MAX_PARAMETER_LEVELS: usize = 15;

/// The parameter that has the released image of a repository; `None` if the name of the repository has too many parts for one.
#[must_use]
pub fn parameter(stack_name: &str, name: &Name) -> Option<String> {
    let parameter = format!("/{stack_name}/images/{name}");
    (parameter.matches('/').count() <= MAX_PARAMETER_LEVELS).then_some(parameter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_without_consequences_is_answered_with_the_reason() {
        let json = |reason: Ignored| serde_json::to_value(Outcome::from(reason)).unwrap();
        assert_eq!(
            json(Ignored::NoRepository),
            serde_json::json!({ "outcome": "IGNORED", "reason": "its repository is none" })
        );
        let foreign = json(ContextError::Missing.into());
        assert_eq!(foreign["reason"], "it has no build context: this stack did not start it");
    }
}
