//! The domain of ecr-steward: everything it decides, free of I/O.
//!
//! Data flows one way: an event or a command line becomes a typed request, a decision is made here, its effects
//! happen at the edge, and a report says what happened.
//!
//! - [`instant`]: points in time.
//! - [`image`]: the images of a repository and how they relate; [`image::listing`] reads what AWS prints.
//! - [`lifecycle`]: policies: the document, the simple model, evaluation, explanations, findings.
//! - [`mod@reference`]: image URIs, as tasks and pods spell them.
//! - [`usage`]: which images of a repository are in use.
//! - [`preview`]: policy, images, usage and time in; the report out. The command line and the Lambda functions are
//!   thin around it.
//! - [`quantity`]: sizes, ages and counts as people read them.
//! - [`report`]: what a preview says, as JSON, table and page.

pub mod image;
pub mod instant;
pub mod lifecycle;
pub mod preview;
pub mod quantity;
pub mod reference;
pub mod report;
pub mod usage;
