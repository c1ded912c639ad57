//! The domain of ecr-steward: everything it decides, free of I/O, and at one edge of it the calls to AWS.
//!
//! Data flows one way: an event or a command line becomes a typed request, a decision is made here, its effects
//! happen at the edge, and a report says what happened.
//!
//! - [`domain`]: whether and how policies are enforced, and what is known of use.
//! - [`instant`]: points in time; [`environment`]: what the template sets for a function.
//! - [`finding`]: what is wrong with a document, or worth knowing about it: code, place, message.
//! - [`image`]: the images of a repository and how they relate; [`image::listing`] reads what AWS prints,
//!   [`image::deletion`] tells in which order they can be deleted.
//! - [`lifecycle`]: policies: the document, the simple model, evaluation, explanations, findings.
//! - [`plan`]: what such a policy takes from a repository in one run.
//! - [`policy_book`]: which policy is for which repository, and what it may take.
//! - [`mod@reference`]: image URIs, as tasks and pods spell them.
//! - [`usage`]: which images of a repository are in use.
//! - [`preview`]: policy, images, usage and time in; the report out. The command line and the Lambda functions are
//!   thin around it.
//! - [`mod@printable`]: text that a terminal shows and does not obey.
//! - [`quantity`]: sizes, ages and counts as people read them.
//! - [`report`]: what a preview says, as JSON, table and page.
//! - [`run`]: one run over a registry: batches, outcomes, what is written down; and with the feature `lifecycle` all that acts.
//! - [`repository`]: a repository as it is asked for and as it exists, and the difference.
//! - [`build`]: which builds an event asks for, what each is told, what follows when it ends.
//! - [`api`]: the HTTP API: requests, answers, problems.
//! - [`custom_resource`]: CloudFormation's protocol for custom resources, and the resource that is a repository.
//!
//! - [`domain`]: what else is decided: the actions of enforcement, who acts, what may go in a day.
//!
//! With the feature `aws` there is also what acts:
//!
//! - `aws`: calls to AWS; nothing else makes any.
//! - `workflows`: several calls in an order that is safe to break off.
//! - `provision`: repositories made as they are asked for, and put back when that fails.
//!
//! With the feature `builds`:
//!
//! - `start`: builds started for what arrives and for what is asked for.
//! - `publish`: what follows when a build ends.
//!
//! And with the feature `function` what a Lambda function needs before its first event: `log`.

pub mod api;
#[cfg(feature = "aws")]
pub mod aws;
pub mod build;
pub mod custom_resource;
pub mod domain;
pub mod environment;
pub mod finding;
pub mod image;
pub mod instant;
pub mod lifecycle;
#[cfg(feature = "function")]
pub mod log;
pub mod plan;
pub mod policy_book;
pub mod preview;
pub mod printable;
#[cfg(feature = "signed")]
pub mod provision;
#[cfg(feature = "builds")]
pub mod publish;
pub mod quantity;
mod reader;
pub mod reference;
pub mod report;
pub mod repository;
pub mod run;
#[cfg(feature = "builds")]
pub mod start;
mod syntax;
pub mod usage;
#[cfg(feature = "aws")]
pub mod workflows;
