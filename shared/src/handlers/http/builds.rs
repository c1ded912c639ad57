//! The part of the HTTP API that builds: `POST /builds`, `POST /builds/{name}`, `GET /builds/{id}`.

use serde::Serialize;

use super::{Problem, Rejection, Request, Response, name_of_path, parameters, text, written};
use crate::domain::builds::Platform;
use crate::domain::builds::build_config::BuildRequest;
use crate::domain::builds::build_outcome::{Build, Status};
use crate::domain::repository::Registry;
use crate::domain::text::instant::Instant;

/// The parsed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// `POST /builds` and `POST /builds/{name}`.
    Start(Box<BuildRequest>),
    /// `GET /builds/{id}`.
    Get(String),
}

/// Parses a request.
///
/// # Errors
///
/// The problem to answer with; nothing was done.
pub fn route(request: Request<'_>) -> Result<Call, Problem> {
    let path = written(request.path)?;
    let not_allowed = |allowed| Rejection::Method { method: request.method, path, allowed };
    let start = |name| {
        let [] = parameters(request, [])?;
        let request = BuildRequest::parse_for(name, text(request)?).map_err(Problem::invalid)?;
        Ok(Call::Start(Box::new(request)))
    };
    if path == "/builds" {
        if request.method != "POST" {
            return Err(not_allowed(&["POST"]).into());
        }
        return start(None);
    }
    let Some(id) = path.strip_prefix("/builds/") else {
        let there_are = "/builds, /builds/{name} and /builds/{buildId}";
        return Err(Rejection::NoSuchPath { path, there_are }.into());
    };
    match request.method {
        "GET" => {}
        "POST" => return start(Some(name_of_path(id)?)),
        _ => return Err(not_allowed(&["GET", "POST"]).into()),
    }
    let [] = parameters(request, [])?;
    let is_id = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':');
    if id.is_empty() || id.len() > 300 || !id.contains(':') || !id.chars().all(is_id) {
        return Err(Rejection::BuildId(id).into());
    }
    Ok(Call::Get(id.to_owned()))
}

/// The answer of `GET /builds/{id}`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Described<'a> {
    build_id: &'a str,
    build_arn: &'a str,
    build_status: Status,
    current_phase: &'a str,
    repository_name: &'a str,
    image_tag: &'a str,
    image_uri: String,
    platform: Platform,
    source: &'a crate::domain::builds::Source,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_digest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_link: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_group_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_stream_name: Option<&'a str>,
}

/// Describes a build of this stack. A build of another stack is not found.
#[must_use]
pub fn describe(build: &Build, registry: &Registry) -> Option<Response> {
    use crate::domain::builds::build_outcome::BuildOutcome;
    let (context, platform) = build.context().ok()?;
    let (digest, reason) = match build.ended() {
        BuildOutcome::Pushed { digest, .. } => (Some(digest), None),
        BuildOutcome::Failed { reason, .. } => (None, Some(reason)),
        BuildOutcome::InProgress | BuildOutcome::Foreign(_) => (None, None),
    };
    let described = Described {
        build_id: &build.id,
        build_arn: &build.arn,
        build_status: build.status,
        current_phase: &build.phase,
        repository_name: &context.repository_name,
        image_tag: &context.image_tag,
        image_uri: format!("{}/{}:{}", registry.host(), context.repository_name, context.image_tag),
        platform,
        source: &context.source,
        image_digest: digest.as_deref(),
        reason,
        start_time: build.started_at,
        end_time: build.ended_at,
        log_link: build.log_link.as_deref(),
        log_group_name: build.log.as_ref().map(|(group, _)| group.as_str()),
        log_stream_name: build.log.as_ref().map(|(_, stream)| stream.as_str()),
    };
    Some(Response::json(200, &described))
}

#[cfg(feature = "builds")]
impl From<crate::workflows::start_build::StartError> for Problem {
    fn from(error: crate::workflows::start_build::StartError) -> Self {
        use super::Kind;
        use crate::workflows::start_build::StartError;
        match error {
            StartError::Aws(error) => error.into(),
            StartError::Provision(error) => error.into(),
            StartError::Secrets(findings) => Self::invalid(findings),
            StartError::NoSource { .. }
            | StartError::NotByName { .. }
            | StartError::NoProject { .. }
            | StartError::NotASource { .. }
            | StartError::Archived { .. }
            | StartError::NotVersioned(_) => Self::new(Kind::SourceUnusable, error.to_string()),
            StartError::BuildConfig { .. } => Self::new(Kind::Internal, error.to_string()),
        }
    }
}

/// Executes a request.
#[cfg(feature = "builds")]
pub async fn serve(
    call: Call,
    starter: &crate::workflows::start_build::BuildStarter<'_>,
    now: Instant,
) -> Response {
    match call {
        Call::Start(request) => match starter.build(&request, now).await {
            Ok(started) => {
                let image = started.image(starter.registry);
                let status = if image.image_digest.is_some() { 200 } else { 202 };
                Response::json(status, &image)
            }
            Err(error) => {
                tracing::warn!(%error, "did not start a build");
                Problem::from(error).into()
            }
        },
        Call::Get(id) => {
            let missing = || Problem::from(Rejection::NoBuild(&id)).into();
            match starter.codebuild.builds(std::slice::from_ref(&id)).await {
                Ok(builds) => {
                    builds.first().and_then(|build| describe(build, starter.registry)).unwrap_or_else(missing)
                }
                Err(error) => Problem::from(error).into(),
            }
        }
    }
}
