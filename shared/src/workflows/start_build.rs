//! Starts builds: for source updates, and for requests. The decisions are [`crate::domain::builds`]'s.

use serde::Serialize;

use crate::aws::codebuild::CodeBuild;
use crate::aws::ecr::EcrWrite;
use crate::aws::lambda::Lambda;
use crate::aws::s3::S3;
use crate::aws::sqs::Sqs;
use crate::aws::{AwsError, Deadline, Failure};
use crate::domain::builds::build_config::{self, BuildConfig, BuildRequest, RequestedSource};
use crate::domain::builds::build_context::{BuildContext, is_future};
use crate::domain::builds::build_definition::{BuildDefinition, TimeLimits};
use crate::domain::builds::build_outcome::{Build, Status};
use crate::domain::builds::event::{self, InvalidEvent, ParsedEvent, SourceUpdate, Unwrapped};
use crate::domain::builds::handover::Handover;
use crate::domain::builds::outbound_event::{Failed, OutboundEvent};
use crate::domain::builds::repository_defaults::repository_defaults;
use crate::domain::builds::start_build_input::{NoProject, Projects, start_build_inputs};
use crate::domain::builds::{BUILT_FROM, Platform, SOURCES, Source, SourceOrder, is_source_key};
use crate::domain::image::ImageStatus;
use crate::domain::lifecycle::matches_wildcard;
use crate::domain::repository::{Name, Registry, Settings, Tags};
use crate::domain::text::finding::{Finding, in_a_sentence, quoted};
use crate::domain::text::instant::Instant;
use crate::workflows::announce::EventPublisher;
use crate::workflows::protection_records::ProtectionRecords;
use crate::workflows::provision::{Creation, ProvisionError, Provisioner};

/// Time to live of an idempotency token in CodeBuild, less a minute for clock skew, in seconds.
const IDEMPOTENCY_TOKEN_TTL: i64 = 4 * 60;

/// The resources of the stack that builds need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// Its name.
    pub name: String,
    /// Its bucket.
    pub bucket: String,
    /// Its CodeBuild projects.
    pub projects: Projects,
    /// The function that moves tags.
    pub published_function: String,
    /// The timeout of builds in the projects, in minutes.
    pub build_minutes: Option<i32>,
    /// The objects of other buckets that may be built, as `arn:aws:s3:::bucket/prefix*`.
    pub other_sources: Option<String>,
}

impl Stack {
    /// Whether an object is a source: in the stack's own bucket by its prefix, in others by `OtherSources`.
    fn has_source(&self, bucket: &str, key: &str) -> bool {
        if bucket == self.bucket {
            return is_source_key(key);
        }
        let pattern = self.other_sources.as_deref().and_then(|pattern| pattern.split_once(":::"));
        pattern.is_some_and(|(_, pattern)| matches_wildcard(pattern, &format!("{bucket}/{key}")))
    }
}

/// The starter of builds, for one request.
#[derive(Debug, Clone, Copy)]
pub struct BuildStarter<'a> {
    /// The stack.
    pub stack: &'a Stack,
    /// The registry of the repositories.
    pub registry: &'a Registry,
    /// Amazon ECR.
    pub ecr: &'a EcrWrite,
    /// AWS CodeBuild.
    pub codebuild: &'a CodeBuild,
    /// AWS Lambda.
    pub functions: &'a Lambda,
    /// Amazon S3.
    pub s3: &'a S3,
    /// The deadline.
    pub deadline: Deadline,
    /// The unique id of the request.
    pub request_id: &'a str,
}

/// Starts builds for events, and announces those that do not start.
#[derive(Debug, Clone, Copy)]
pub struct Dispatcher<'a> {
    /// The starter of builds.
    pub starter: BuildStarter<'a>,
    /// The publisher of events and mails.
    pub announcer: EventPublisher<'a>,
    /// Amazon SQS.
    pub sqs: &'a Sqs,
    /// The queue of events whose builds wait until the account may build more.
    pub waiting_queue: &'a str,
}

/// Delay of an event that arrives while the account runs as many builds as it may, in seconds.
const WAIT_SECONDS: u16 = 600;

/// Why a build is not started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// A call failed.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The repository is missing, and could not be made.
    #[error("the repository could not be created: {0}")]
    Provision(#[from] ProvisionError),
    /// There is nothing to build.
    #[error("there is no object s3://{bucket}/{key}{}; upload it first, and let the stack read the bucket", match .version { Some(version) => format!(" with the version {}", quoted(version)), None => String::new() })]
    NoSource {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// The requested version.
        version: Option<String>,
    },
    /// The object is not where sources are.
    #[error(
        "s3://{bucket}/{key} is no source: those are below `sources/` and `uploads/` of the stack's bucket, and where the stack's \
         parameter OtherSources says"
    )]
    NotASource {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
    /// The repository was not created for the source, and `builds.yaml` has no entry for it.
    #[error(
        "the repository {repository} was not made by a build of the CodeCommit repository {source_name}: a name alone does not say \
         that one may be pushed to by whoever may push to the other. Name both in {key} if it is so",
        key = build_config::KEY
    )]
    NotByName {
        /// The repository.
        repository: Name,
        /// The CodeCommit repository.
        source_name: String,
    },
    /// The request uses secrets that `builds.yaml` does not allow.
    #[error("the request is not valid: {}", in_a_sentence(.0))]
    Secrets(Vec<Finding>),
    /// The stack builds for other platforms only.
    #[error("{repository} cannot be built: {problem}")]
    NoProject {
        /// The repository.
        repository: Name,
        /// The missing platform.
        problem: NoProject,
    },
    /// The image of the source is in the archive, where nothing can pull it. Its tag does not move, so that no other image can have
    /// it.
    #[error(
        "the image of this source is {repository}:{image_tag}, which {}; then ask for it, upload it or push it again",
        where_it_is(.repository, .image_tag, *.status)
    )]
    Archived {
        /// The repository.
        repository: Name,
        /// The content tag.
        image_tag: String,
        /// The status: archived, or on its way back.
        status: ImageStatus,
    },
    /// The source could be another one by the time it is built.
    #[error("the bucket {} keeps no versions, so that a source in it cannot be pinned; turn its versioning on", quoted(.0))]
    NotVersioned(String),
    /// `builds.yaml` is not valid.
    #[error("s3://{bucket}/{key} is not valid: {}", in_a_sentence(.findings))]
    BuildConfig {
        /// The bucket.
        bucket: String,
        /// The key.
        key: &'static str,
        /// Everything that is wrong with it.
        findings: Vec<Finding>,
    },
}

/// Why an event is not served.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The event is not one of the known kinds.
    #[error(transparent)]
    Event(#[from] InvalidEvent),
    /// The request is invalid.
    #[error("the request is not valid: {}", in_a_sentence(.0))]
    Request(Vec<Finding>),
    /// A build could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// The trigger of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// An event about a source update, with its age in seconds; it may be delivered again.
    Event(i64),
    /// A request.
    Request,
}

/// A source that was asked for, pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// The source.
    pub source: SourceUpdate,
    /// Why it cannot be built any more, if it cannot. The image that was built of it may be there all the same.
    pub is_gone: Option<StartError>,
}

impl From<SourceUpdate> for Pinned {
    fn from(source: SourceUpdate) -> Self {
        Self { source, is_gone: None }
    }
}

/// What there is of an image before its build.
enum Found {
    /// The image of this digest.
    Image(String),
    /// A repository without it.
    Repository,
    /// Not even the repository.
    Nothing,
}

/// The result of starting a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartOutcome {
    /// The image is there.
    AlreadyBuilt {
        /// The context.
        context: BuildContext,
        /// Its digest.
        digest: String,
    },
    /// Builds are running, one for each platform.
    Started {
        /// The context.
        context: BuildContext,
        /// The builds.
        builds: Vec<(Platform, Build)>,
    },
}

/// The result of an event.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct EventResult {
    /// The images that are built or being built.
    pub images: Vec<Image>,
    /// Sources that are not built, and why.
    pub ignored: Vec<Skipped>,
}

/// An image that is built or being built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// The repository.
    pub repository_name: String,
    /// The content tag.
    pub image_tag: String,
    /// `repository-uri:tag`, for `docker run` once it is built.
    pub image_uri: String,
    /// `BUILT` or `BUILDING`.
    pub status: &'static str,
    /// The digest, if it is built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    /// The source.
    pub source: Source,
    /// The builds.
    pub builds: Vec<BuildId>,
}

/// A build of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildId {
    /// CodeBuild's id.
    pub build_id: String,
    /// The platform.
    pub platform: Platform,
    /// The status.
    pub build_status: Status,
}

/// Something that is not built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Why.
    pub reason: String,
}

impl StartOutcome {
    /// The image for the answer.
    #[must_use]
    pub fn image(self, registry: &Registry) -> Image {
        let (context, status, image_digest, builds) = match self {
            Self::AlreadyBuilt { context, digest } => (context, "BUILT", Some(digest), Vec::new()),
            Self::Started { context, builds } => (context, "BUILDING", None, builds),
        };
        let builds = builds.into_iter().map(|(platform, build)| BuildId {
            build_id: build.id,
            platform,
            build_status: build.status,
        });
        Image {
            image_uri: format!("{}/{}:{}", registry.host(), context.repository_name, context.image_tag),
            repository_name: context.repository_name,
            image_tag: context.image_tag,
            status,
            image_digest,
            source: context.source,
            builds: builds.collect(),
        }
    }
}

impl Dispatcher<'_> {
    /// Starts the builds for an event.
    ///
    /// # Errors
    ///
    /// If the event is invalid, or AWS cannot be asked; the event is delivered again.
    pub async fn serve(&self, event: &str, now: Instant) -> Result<EventResult, EventError> {
        let mut summary = EventResult::default();
        match event::unwrap(event) {
            // Whatever fails now stays in its queue, and comes again.
            Some(Unwrapped { events, has_waited }) => {
                for event in events {
                    self.serve_one(&event, now, has_waited, &mut summary).await?;
                }
            }
            None => self.serve_one(event, now, false, &mut summary).await?,
        }
        Ok(summary)
    }

    async fn serve_one(
        &self,
        event: &str,
        now: Instant,
        has_waited: bool,
        summary: &mut EventResult,
    ) -> Result<(), EventError> {
        let Some(parsed) = event::read(event)? else {
            if !is_request(event) {
                return Err(InvalidEvent::Unknown.into());
            }
            let request = BuildRequest::parse(event).map_err(EventError::Request)?;
            let started = self.starter.build(&request, now).await?;
            summary.images.push(started.image(self.starter.registry));
            return Ok(());
        };
        let mut config = None;
        for parsed in parsed {
            let arrived = match parsed {
                ParsedEvent::Update(arrived) => arrived,
                ParsedEvent::Skip(reason) => {
                    summary.ignore(&reason);
                    continue;
                }
                ParsedEvent::BuildEnded => {
                    // CodeBuild is asked about it there, so that nothing of the event itself is trusted.
                    let function = &self.starter.stack.published_function;
                    self.starter.functions.invoke(function, event).await.map_err(StartError::from)?;
                    summary.ignore(&format_args!("a build ended, which {function} has been given"));
                    continue;
                }
            };
            if config.is_none() {
                config = Some(self.starter.config().await);
            }
            let config = match &config {
                Some(Ok(config)) => config,
                Some(Err(error @ StartError::BuildConfig { .. })) => {
                    self.announce_not_started("", &arrived.source, &error.to_string()).await?;
                    summary.ignore(&error);
                    continue;
                }
                Some(Err(error)) => return Err(error.clone().into()),
                None => continue,
            };
            if is_future(&arrived.arrival, now) {
                summary.ignore(&format_args!(
                    "{} came at {}, which is in the future",
                    arrived.source, arrived.arrival.at
                ));
                continue;
            }
            let definitions = match config.definitions(&arrived, &self.starter.stack.bucket) {
                Ok(definitions) => definitions,
                Err(reason) => {
                    // Whoever uploads there means it to be built.
                    let is_meant = matches!(&arrived.source, Source::S3 { bucket, key, .. }
                        if *bucket == self.starter.stack.bucket && key.starts_with(SOURCES));
                    if is_meant {
                        self.announce_not_started("", &arrived.source, &reason.to_string()).await?;
                    }
                    summary.ignore(&reason);
                    continue;
                }
            };
            let age = (now.micros() - arrived.arrival.at.micros()).div_euclid(1_000_000);
            for definition in definitions {
                let context = BuildContext::new(&definition, &arrived);
                match self.starter.begin(&definition, context, Trigger::Event(age), None).await {
                    Ok(started) => summary.images.push(started.image(self.starter.registry)),
                    Err(
                        error @ (StartError::NotByName { .. }
                        | StartError::NoProject { .. }
                        | StartError::Archived { .. }),
                    ) => {
                        let name = definition.repository.as_str();
                        self.announce_not_started(name, &arrived.source, &error.to_string()).await?;
                        summary.ignore(&error);
                    }
                    // Another attempt would be refused too.
                    Err(StartError::Aws(error)) if error.failure == Failure::Invalid => {
                        let name = definition.repository.as_str();
                        self.announce_not_started(name, &arrived.source, &error.to_string()).await?;
                        summary.ignore(&error);
                    }
                    // New accounts build little at once. Lambda would try twice more, within minutes.
                    Err(StartError::Aws(error)) if error.failure == Failure::LimitExceeded && !has_waited => {
                        self.sqs
                            .send(self.waiting_queue, event, WAIT_SECONDS)
                            .await
                            .map_err(StartError::from)?;
                        summary.ignore(&format_args!(
                            "{error}; it is tried again in {} minutes",
                            WAIT_SECONDS / 60
                        ));
                        return Ok(());
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Announces that no image will be built.
    async fn announce_not_started(
        &self,
        repository: &str,
        source: &Source,
        reason: &str,
    ) -> Result<(), StartError> {
        tracing::warn!(repository, %source, reason, "did not start a build");
        let failed = Failed::not_started(&self.starter.stack.name, repository, source, reason);
        Ok(self.announcer.announce(&OutboundEvent::Failed(failed)).await?)
    }
}

impl BuildStarter<'_> {
    /// Starts the builds for a request.
    ///
    /// # Errors
    ///
    /// If there is nothing to build, or AWS cannot be asked.
    pub async fn build(&self, request: &BuildRequest, now: Instant) -> Result<StartOutcome, StartError> {
        let definition = self.granted(request).await?;
        let Pinned { source, is_gone } = self.pin(&request.source, now).await?;
        // Whoever asks for a source now means it, also if a newer one was built since.
        let arrived = SourceUpdate { arrival: SourceOrder::at(now), ..source };
        self.begin(&definition, BuildContext::new(&definition, &arrived), Trigger::Request, is_gone).await
    }

    /// The build definition of a request, with the role of `builds.yaml`, and only with secrets that it allows.
    ///
    /// # Errors
    ///
    /// If the request uses secrets that `builds.yaml` does not allow, or that file cannot be read.
    pub async fn granted(&self, request: &BuildRequest) -> Result<BuildDefinition, StartError> {
        let config = self.config().await?;
        let refused = config.refused_secrets(&request.definition, request.spelling);
        if !refused.is_empty() {
            return Err(StartError::Secrets(refused));
        }
        let limits = |seconds| TimeLimits::within(seconds, self.stack.build_minutes);
        Ok(BuildDefinition {
            service_role: config.service_role(&request.definition.repository).map(str::to_owned),
            time_limits: request.service_timeout.and_then(limits),
            ..request.definition.clone()
        })
    }

    /// The source as it is now.
    ///
    /// # Errors
    ///
    /// When there is none, or it cannot be pinned.
    pub async fn pin(&self, request: &RequestedSource, now: Instant) -> Result<Pinned, StartError> {
        if let Some(arrived) = request.commit(SourceOrder::at(now)) {
            return Ok(arrived.into());
        }
        let RequestedSource::S3 { bucket, key, version_id } = request else {
            return Err(AwsError::unexpected_response(
                "HeadObject",
                "the source is neither a commit nor an object",
            )
            .into());
        };
        let bucket = bucket.as_deref().unwrap_or(&self.stack.bucket);
        if !self.stack.has_source(bucket, key) {
            return Err(StartError::NotASource { bucket: bucket.to_owned(), key: key.clone() });
        }
        let found = self.s3.version(bucket, key, version_id.as_deref()).await?;
        let pinned = |version_id, at| SourceUpdate {
            source: Source::S3 { bucket: bucket.to_owned(), key: key.clone(), version_id },
            reference: None,
            arrival: SourceOrder::at(at),
        };
        let Some(found) = found else {
            let is_gone = StartError::NoSource {
                bucket: bucket.to_owned(),
                key: key.clone(),
                version: version_id.clone(),
            };
            // Versions that others replaced are deleted one day, and a stack goes back to one all the same. When it came is not known
            // any more, so that it is older than everything.
            let (Some(version_id), Some(at)) = (version_id.clone(), Instant::from_micros(0)) else {
                return Err(is_gone);
            };
            return Ok(Pinned { source: pinned(version_id, at), is_gone: Some(is_gone) });
        };
        let version_id = found.id.ok_or_else(|| StartError::NotVersioned(bucket.to_owned()))?;
        Ok(pinned(version_id, found.at.unwrap_or(now)).into())
    }

    /// Starts the builds that neither exist nor run; none of a source that is gone.
    ///
    /// # Errors
    ///
    /// If AWS cannot be asked, or refuses; `is_gone` where the image is not there either.
    pub async fn begin(
        &self,
        definition: &BuildDefinition,
        context: BuildContext,
        because: Trigger,
        is_gone: Option<StartError>,
    ) -> Result<StartOutcome, StartError> {
        let no_project =
            |problem| StartError::NoProject { repository: definition.repository.clone(), problem };
        let projects = &self.stack.projects;
        let ordered =
            start_build_inputs(definition, &context, self.registry, projects, "").map_err(no_project)?;
        if definition.is_by_name {
            self.check_name(&definition.repository, &context.source).await?;
        }
        let found = self.find_image(&definition.repository, &context.image_tag).await?;
        if let Found::Image(digest) = found {
            tracing::info!(repository = context.repository_name, digest, "the image is built already");
            // Which tags move to it, image-published decides, as for every other image.
            let handover = serde_json::to_string(&Handover { already_built: context.clone() })
                .map_err(|error| AwsError::unexpected_response("Invoke", &error.to_string()))?;
            self.functions.invoke(&self.stack.published_function, &handover).await?;
            return Ok(StartOutcome::AlreadyBuilt { context, digest });
        }
        if let Some(is_gone) = is_gone {
            return Err(is_gone);
        }
        if matches!(found, Found::Nothing) {
            self.create_repository(definition, &context, because).await?;
        }
        let idempotency_expired = match because {
            Trigger::Event(age) => age > IDEMPOTENCY_TOKEN_TTL,
            Trigger::Request => true,
        };
        let mut builds = Vec::new();
        for order in ordered {
            let running = if idempotency_expired {
                self.find_in_progress_build(&order.project, &context, order.platform).await?
            } else {
                None
            };
            let build = match running {
                Some(build) => build,
                None => self.codebuild.start(&order).await?,
            };
            // The same order a moment ago, and it came to nothing; whoever asks again means it.
            let build = if because == Trigger::Request && build.status != Status::InProgress {
                let again =
                    start_build_inputs(definition, &context, self.registry, projects, self.request_id);
                let again = again.map_err(no_project)?;
                match again.iter().find(|again| again.platform == order.platform) {
                    Some(again) => self.codebuild.start(again).await?,
                    None => build,
                }
            } else {
                build
            };
            builds.push((order.platform, build));
        }
        Ok(StartOutcome::Started { context, builds })
    }

    /// Whether a source may be built into the repository of its name. Uploads may: IAM controls who may write below
    /// `sources/<repository>/`. Anybody who may create CodeCommit repositories chooses their names, so that those are built only
    /// into repositories that their own builds created.
    async fn check_name(&self, name: &Name, source: &Source) -> Result<(), StartError> {
        let Source::CodeCommit { repository_name, .. } = source else { return Ok(()) };
        let Registry { partition, region, account_id, .. } = self.registry;
        let arn = format!("arn:{partition}:ecr:{region}:{account_id}:repository/{name}");
        let tags = match self.ecr.tags(&arn).await {
            Err(error) if error.failure == Failure::NotFound => return Ok(()),
            tags => tags?,
        };
        if tags.get(BUILT_FROM) == Some(&source.origin()) {
            return Ok(());
        }
        Err(StartError::NotByName { repository: name.clone(), source_name: repository_name.clone() })
    }

    /// What there is of the image with a content tag.
    async fn find_image(&self, name: &Name, image_tag: &str) -> Result<Found, StartError> {
        match self.ecr.image_of_tag(name, image_tag).await {
            Ok(None) => Ok(Found::Repository),
            Ok(Some((digest, ImageStatus::Active))) => Ok(Found::Image(digest)),
            Ok(Some((_, status))) => Err(StartError::Archived {
                repository: name.clone(),
                image_tag: image_tag.to_owned(),
                status,
            }),
            Err(error) if error.failure == Failure::NotFound => Ok(Found::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates the repository of a first build.
    async fn create_repository(
        &self,
        definition: &BuildDefinition,
        context: &BuildContext,
        because: Trigger,
    ) -> Result<(), StartError> {
        let name = &definition.repository;
        let provisioner = Provisioner {
            ecr: self.ecr,
            registry: self.registry,
            records: Some(ProtectionRecords { s3: self.s3, bucket: &self.stack.bucket }),
            deadline: self.deadline,
            request_id: self.request_id,
            requester: None,
        };
        let made_by = Tags::from([(BUILT_FROM.to_owned(), context.source.origin())]);
        match provisioner.create(name, &settings()?, &made_by).await? {
            // Somebody made one of that name since it was looked for.
            Creation::Exists(_) if definition.is_by_name => self.check_name(name, &context.source).await,
            Creation::Exists(_) => Ok(()),
            Creation::Created(_) => {
                tracing::info!(repository = %name, ?because, "made the repository for its first build");
                Ok(())
            }
        }
    }

    /// A running build that makes the image of the context, and moves all its tags.
    async fn find_in_progress_build(
        &self,
        project: &str,
        context: &BuildContext,
        platform: Platform,
    ) -> Result<Option<Build>, AwsError> {
        let builds = self.codebuild.newest(project).await?;
        let is_same =
            |build: &Build| build.context().is_ok_and(|(other, of)| other.covers(context) && of == platform);
        Ok(builds.into_iter().find(|build| build.status == Status::InProgress && is_same(build)))
    }

    async fn config(&self) -> Result<BuildConfig, StartError> {
        let bucket = &self.stack.bucket;
        match self.s3.get(bucket, build_config::KEY).await? {
            None => Ok(BuildConfig::default()),
            Some(object) => BuildConfig::parse(&object.text).map_err(|findings| StartError::BuildConfig {
                bucket: bucket.clone(),
                key: build_config::KEY,
                findings,
            }),
        }
    }
}

impl EventResult {
    fn ignore(&mut self, reason: &dyn std::fmt::Display) {
        let reason = reason.to_string();
        tracing::info!(reason, "nothing to build");
        self.ignored.push(Skipped { reason });
    }
}

/// Whether a direct invocation is intended as a request to build, valid or not.
fn is_request(event: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(event).is_ok_and(|event| {
        event.get("repositoryName").is_some() || event.get("source").is_some_and(serde_json::Value::is_object)
    })
}

/// Where an image is that is not active, and how it comes back.
fn where_it_is(repository: &Name, image_tag: &str, status: ImageStatus) -> String {
    match status {
        ImageStatus::Activating => "is on its way out of the archive: wait until it is there".to_owned(),
        _ => format!(
            "is in the archive and cannot be pulled: take it out with `ecr-steward images restore {repository}:{image_tag} \
             --apply` or `aws ecr update-image-storage-class --repository-name {repository} --image-id imageTag={image_tag} \
             --target-storage-class STANDARD`"
        ),
    }
}

fn settings() -> Result<Settings, AwsError> {
    repository_defaults().map_err(|findings| {
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        AwsError::unexpected_response("CreateRepository", &findings.join("; "))
    })
}
