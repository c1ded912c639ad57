//! The part of the HTTP API that previews: `POST /previews`, `POST /previews/{name}`.

use super::{Kind, Problem, Rejection, Request, name_of_path, parameters, text, written};
use crate::domain::lifecycle::PolicySource;
use crate::domain::preview::request::{self, Asked, InvalidRequest};
use crate::domain::text::instant::Instant;

/// Parses a request.
///
/// # Errors
///
/// The problem to answer with; nothing was done.
pub fn route(request: Request<'_>, now: Instant) -> Result<Asked, Problem> {
    let path = written(request.path)?;
    let name = path.strip_prefix("/previews/");
    if name.is_none() && path != "/previews" {
        return Err(Rejection::NoSuchPath { path, there_are: "/previews and /previews/{name}" }.into());
    }
    if request.method != "POST" {
        return Err(Rejection::Method { method: request.method, path, allowed: &["POST"] }.into());
    }
    let [] = parameters(request, [])?;
    let name = name.map(name_of_path).transpose()?;
    request::read(text(request)?, name.as_ref(), now, PolicySource::parse_json).map_err(Problem::from)
}

impl From<InvalidRequest> for Problem {
    fn from(error: InvalidRequest) -> Self {
        match error {
            InvalidRequest::InvalidPolicy(findings) => Self::invalid(findings),
            error => Self::new(Kind::InvalidRequest, error.to_string()),
        }
    }
}

/// Executes a request.
#[cfg(feature = "lifecycle")]
pub async fn serve(
    asked: Asked,
    clients: &crate::workflows::enforcement::RunContext<'_>,
    registry_id: &str,
    now: Instant,
) -> super::Response {
    use super::Response;
    use crate::workflows::live_preview;
    match asked {
        Asked::Answered(reports) => match reports.as_slice() {
            [report] => Response::json(200, report),
            reports => Response::json(200, &reports),
        },
        Asked::Live(request) => {
            match live_preview::look_and_answer(clients, registry_id, &request, now).await {
                Ok(report) => Response::json(200, &report),
                Err(error) => {
                    tracing::warn!(%error, repository = %request.repository_name, "did not preview");
                    Problem::from(error).into()
                }
            }
        }
    }
}

#[cfg(feature = "lifecycle")]
impl From<crate::workflows::live_preview::LiveError> for Problem {
    fn from(error: crate::workflows::live_preview::LiveError) -> Self {
        use crate::workflows::enforcement::RunError;
        use crate::workflows::live_preview::LiveError;
        match error {
            LiveError::RunError(RunError::Aws(error) | RunError::Time(error)) => error.into(),
            LiveError::RunError(error) => Self::new(Kind::Internal, error.to_string()),
            error @ LiveError::Policy { .. } => Self::new(Kind::Internal, error.to_string()),
        }
    }
}
