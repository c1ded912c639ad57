//! Starts the build that CloudFormation asks for, and answers at once only what needs no build.

use crate::aws::AwsError;
use crate::aws::ssm::Parameters;
use crate::domain::builds::build_context::BuildContext;
use crate::domain::cloudformation::image::{self, Plan};
use crate::domain::cloudformation::{Answer, Event};
use crate::domain::text::finding::Finding;
use crate::domain::text::instant::Instant;
use crate::workflows::start_build::{BuildStarter, Pinned, StartError, StartOutcome, Trigger};

/// Why there will be no image.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("the properties are not valid: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Properties(Vec<Finding>),
    #[error("{0}")]
    Start(#[from] StartError),
}

impl From<AwsError> for Failed {
    fn from(error: AwsError) -> Self {
        Self::Start(error.into())
    }
}

/// Serves a request; `None` if it is answered when the build ends.
pub async fn serve(
    event: &Event,
    starter: &BuildStarter<'_>,
    parameters: &Parameters,
    now: Instant,
) -> Option<Answer> {
    match act(event, starter, parameters, now).await {
        Ok(answer) => answer,
        Err(failed) => {
            let reason = failed.to_string();
            tracing::warn!(
                stack = event.stack_id,
                resource = event.logical_resource_id,
                reason,
                "did not start a build for CloudFormation"
            );
            Some(Answer::failed(event, image::physical_id(event), reason))
        }
    }
}

async fn act(
    event: &Event,
    starter: &BuildStarter<'_>,
    parameters: &Parameters,
    now: Instant,
) -> Result<Option<Answer>, Failed> {
    let request = match image::plan(event).map_err(Failed::Properties)? {
        Plan::Build(request) => request,
        Plan::Leave => return Ok(Some(Answer::success(event, image::physical_id(event), [].into()))),
    };
    let definition = starter.granted(&request).await?;
    let Pinned { source, is_gone } = starter.pin(&request.source, now).await?;
    let context = image::context(&definition, &source);
    let built = |context: &BuildContext, digest: &str| {
        let uri = format!("{}/{}@{digest}", starter.registry.host(), context.repository_name);
        let attributes = image::attributes(context, &uri, digest);
        Answer::success(event, uri, attributes)
    };
    // Before the build begins: it may end before this function does.
    let (name, value) = image::put_aside(&starter.stack.name, &context, event);
    parameters.put_secret(&name, &value, "Who waits for an image").await?;
    let started = starter.begin(&definition, context, Trigger::Request, is_gone).await;
    let answer = match started {
        Ok(StartOutcome::AlreadyBuilt { context, digest }) => Ok(Some(built(&context, &digest))),
        Ok(StartOutcome::Started { context, builds }) => {
            let ids: Vec<&str> = builds.iter().map(|(_, build)| build.id.as_str()).collect();
            tracing::info!(
                stack = event.stack_id,
                resource = event.logical_resource_id,
                image_tag = context.image_tag,
                builds = ids.join(" "),
                "CloudFormation waits for the image"
            );
            return Ok(None);
        }
        Err(error) => Err(Failed::Start(error)),
    };
    // Nobody waits any more. What is left of the request is answered once more when another build of the image ends.
    if let Err(error) = parameters.delete(&[name]).await {
        tracing::warn!(%error, "could not forget the request of CloudFormation");
    }
    answer
}
