//! Logs of a Lambda function.

use std::io;

use tracing::level_filters::LevelFilter;

use crate::domain::text::printable::{Notation, Printer};

/// Logs as JSON lines from now on, at the level that Lambda's logging configuration asks for.
pub fn as_json() {
    let level = std::env::var("AWS_LAMBDA_LOG_LEVEL").ok().and_then(|level| level.parse().ok());
    tracing_subscriber::fmt()
        .json()
        // JSON leaves in what people's terminals obey.
        .with_writer(|| Printer::new(io::stdout(), Notation::Json))
        .with_max_level(level.unwrap_or(LevelFilter::INFO))
        .with_current_span(false)
        .with_target(false)
        .with_ansi(false)
        .init();
}
