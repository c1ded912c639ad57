//! AWS CodeBuild.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use aws_config::SdkConfig;
use aws_sdk_codebuild::types::{
    BuildPhaseType, ComputeType, EnvironmentVariable, EnvironmentVariableType, SourceType, StatusType,
};
use aws_sdk_codebuild::{Client, Config};

use super::error::AwsError;
use crate::aws::retry_observer::RetryObserver;
use crate::domain::builds::build_outcome::{Build, Status};
use crate::domain::builds::start_build_input::{BUILDSPEC, StartBuildInput};
use crate::domain::text::instant::Instant;

/// Maximum number of builds in one call of CodeBuild.
const BATCH: usize = 100;

/// Builds in AWS CodeBuild.
#[derive(Debug)]
pub struct CodeBuild {
    config: Config,
    /// The client, created for the first call, since many events of a function are not about builds.
    client: OnceLock<Client>,
}

impl CodeBuild {
    pub(super) fn new(config: &SdkConfig, retry_observer: RetryObserver, endpoint: Option<String>) -> Self {
        let mut config = aws_sdk_codebuild::config::Builder::from(config).interceptor(retry_observer);
        config.set_endpoint_url(endpoint);
        Self { config: config.build(), client: OnceLock::new() }
    }

    fn client(&self) -> &Client {
        self.client.get_or_init(|| Client::from_conf(self.config.clone()))
    }

    /// Starts a build. Idempotent for five minutes: the same input starts no second build.
    ///
    /// # Errors
    ///
    /// Any error of CodeBuild.
    pub async fn start(&self, order: &StartBuildInput) -> Result<Build, AwsError> {
        let variables = order.environment.iter().map(|variable| {
            let kind = match variable.is_secret {
                true => EnvironmentVariableType::SecretsManager,
                false => EnvironmentVariableType::Plaintext,
            };
            EnvironmentVariable::builder().name(&variable.name).value(&variable.value).r#type(kind).build()
        });
        let variables: Result<Vec<_>, _> = variables.collect();
        let variables =
            variables.map_err(|error| AwsError::unexpected_response("StartBuild", &error.to_string()))?;
        let request = self
            .client()
            .start_build()
            .project_name(&order.project)
            .idempotency_token(&order.token)
            .buildspec_override(BUILDSPEC)
            .source_type_override(SourceType::from(order.source_type))
            .source_location_override(&order.source_location)
            .source_version(&order.source_version)
            .set_service_role_override(order.service_role.clone())
            .set_timeout_in_minutes_override(order.time_limits.map(|limits| limits.build_minutes))
            .set_queued_timeout_in_minutes_override(order.time_limits.map(|limits| limits.queued_minutes))
            .set_compute_type_override(order.compute_type.map(ComputeType::from))
            .set_environment_variables_override(Some(variables));
        let answer = request.send().await.map_err(|error| AwsError::new("StartBuild", &error))?;
        let build = answer.build_value.and_then(build);
        let build = build
            .ok_or_else(|| AwsError::unexpected_response("StartBuild", "there is no build in the answer"))?;
        tracing::info!(build = build.id, platform = order.platform.as_str(), "started a build");
        Ok(build)
    }

    /// The builds of these ids; those that do not exist are left out.
    ///
    /// # Errors
    ///
    /// Any error of CodeBuild.
    pub async fn builds(&self, ids: &[String]) -> Result<Vec<Build>, AwsError> {
        let mut builds = Vec::with_capacity(ids.len());
        for batch in ids.chunks(BATCH) {
            let request = self.client().batch_get_builds().set_ids(Some(batch.to_vec()));
            let answer = request.send().await.map_err(|error| AwsError::new("BatchGetBuilds", &error))?;
            builds.extend(answer.builds.unwrap_or_default().into_iter().filter_map(build));
        }
        Ok(builds)
    }

    /// The newest builds of a project, as many as CodeBuild lists at once.
    ///
    /// # Errors
    ///
    /// Any error of CodeBuild.
    pub async fn newest(&self, project: &str) -> Result<Vec<Build>, AwsError> {
        // The newest come first without a sort order, and a project of more than a hundred builds refuses one.
        let request = self.client().list_builds_for_project().project_name(project);
        let answer = request.send().await.map_err(|error| AwsError::new("ListBuildsForProject", &error))?;
        self.builds(&answer.ids.unwrap_or_default()).await
    }
}

/// CodeBuild's message about a phase, on one line and without the failed command, which is a long part of the buildspec and
/// always the same.
fn without_command(message: &str) -> String {
    let reason = message
        .strip_prefix("Error while executing command: ")
        .and_then(|rest| rest.rsplit_once("Reason: "))
        .map_or(message, |(_, reason)| reason);
    reason.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn build(build: aws_sdk_codebuild::types::Build) -> Option<Build> {
    let instant =
        |at: aws_sdk_codebuild::primitives::DateTime| Instant::from_micros(at.secs().checked_mul(1_000_000)?);
    let status = match build.build_status {
        Some(StatusType::Succeeded) => Status::Succeeded,
        Some(StatusType::Fault) => Status::Fault,
        Some(StatusType::TimedOut) => Status::TimedOut,
        Some(StatusType::Stopped) => Status::Stopped,
        Some(StatusType::Failed) => Status::Failed,
        // It is asked again when it ends, whatever it is called until then.
        _ => Status::InProgress,
    };
    let failed = build.phases.unwrap_or_default().into_iter().find(|phase| {
        let status = phase.phase_status.as_ref();
        status.is_some_and(|status| !matches!(status, StatusType::Succeeded | StatusType::InProgress))
    });
    let never_ran = failed.as_ref().is_some_and(|phase| phase.phase_type == Some(BuildPhaseType::Queued));
    let failure = failed.map(|phase| {
        let name = phase.phase_type.map(|kind| kind.as_str().to_owned()).unwrap_or_default();
        let messages = phase.contexts.unwrap_or_default().into_iter().filter_map(|context| context.message);
        let messages: Vec<String> =
            messages.map(|message| without_command(&message)).filter(|message| !message.is_empty()).collect();
        match messages.join("; ").as_str() {
            "" => format!("the phase {name} failed"),
            message => format!("the phase {name} failed: {message}"),
        }
    });
    let variables = build.environment.and_then(|environment| environment.environment_variables);
    let environment: BTreeMap<String, String> = variables
        .unwrap_or_default()
        .into_iter()
        .filter(|variable| {
            variable.r#type.as_ref().is_none_or(|kind| *kind == EnvironmentVariableType::Plaintext)
        })
        .map(|variable| (variable.name, variable.value))
        .collect();
    let source = build.source;
    let exported = build.exported_environment_variables.unwrap_or_default();
    Some(Build {
        id: build.id?,
        arn: build.arn.unwrap_or_default(),
        status,
        source: (
            source.as_ref().map(|source| source.r#type.as_str().to_owned()).unwrap_or_default(),
            source.and_then(|source| source.location).unwrap_or_default(),
            build.source_version.unwrap_or_default(),
        ),
        phase: build.current_phase.unwrap_or_default(),
        started_at: build.start_time.and_then(instant),
        ended_at: build.end_time.and_then(instant),
        failure,
        never_ran,
        environment,
        exported: exported
            .into_iter()
            .filter_map(|variable| Some((variable.name?, variable.value?)))
            .collect(),
        log: build.logs.as_ref().and_then(|logs| Some((logs.group_name.clone()?, logs.stream_name.clone()?))),
        log_link: build.logs.and_then(|logs| logs.deep_link),
    })
}
