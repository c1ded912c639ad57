//! Lambda function: a policy and images in, the preview out.
//!
//! The request and the answer are those of [`shared::preview::request`]; this file only carries them.

use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde_json::value::{RawValue, to_raw_value};
use shared::instant::Instant;
use shared::lifecycle::PolicySource;
use shared::preview::request::{self, InvalidRequest};
use shared::report::model::PreviewReport;

/// The most bytes that Lambda takes as the answer to a synchronous invocation.
const MAX_ANSWER_BYTES: usize = 6 * 1024 * 1024;

/// Why there is no answer; becomes `errorType` and `errorMessage`.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Request(#[from] InvalidRequest),
    #[error(
        "the answer has {0} bytes, and Lambda carries at most {MAX_ANSWER_BYTES}; preview fewer images at a time, or \
         use the command line"
    )]
    AnswerTooLarge(usize),
    #[error("the answer could not be written: {0}")]
    Answer(#[from] serde_json::Error),
}

impl From<Failure> for Diagnostic {
    fn from(failure: Failure) -> Self {
        let error_type = match &failure {
            Failure::Request(request) => request.kind(),
            Failure::AnswerTooLarge(_) => "AnswerTooLarge",
            Failure::Answer(_) => "Internal",
        };
        Self { error_type: error_type.to_owned(), error_message: failure.to_string() }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::log::as_json();
    lambda_runtime::run(service_fn(|event: LambdaEvent<Box<RawValue>>| async move { answer(&event.payload) }))
        .await
}

fn answer(request: &RawValue) -> Result<Box<RawValue>, Failure> {
    let reports = request::answer(request.get(), Instant::now(), PolicySource::parse)
        .inspect_err(|error| tracing::warn!(error = %error, "refused a request"))?;
    let answer = match reports.as_slice() {
        [report] => to_raw_value(report),
        reports => to_raw_value(reports),
    }?;
    if answer.get().len() > MAX_ANSWER_BYTES {
        return Err(Failure::AnswerTooLarge(answer.get().len()));
    }
    for PreviewReport { repository_name, summary, .. } in &reports {
        tracing::info!(
            repository = repository_name.as_deref().unwrap_or_default(),
            expiring = summary.expiring_image_total_count,
            transitioning = summary.transitioning_image_total_count(),
            kept = summary.kept_image_total_count,
            "previewed a repository"
        );
    }
    Ok(answer)
}
