//! Decisions: pure, without AWS, clock, environment or async.
//!
//! | module | contains |
//! | --- | --- |
//! | [`text`] | parsing documents, findings about them, times and quantities as people write them |
//! | [`image`] | the images of a repository, their relations, names and URIs |
//! | [`lifecycle`] | lifecycle policies: the document, the simple model, evaluation, explanations |
//! | [`usage`] | images in use, from each source, and unreadable sources |
//! | [`enforcement`] | the policy for each repository, the actions of a run, and their limits |
//! | [`preview`] | the preview of a policy on the images of a repository |
//! | [`repository`] | the requested repository, the existing one, and the difference |
//! | [`builds`] | the builds for an event, the input of a build, and the consequences of its end |
//! | [`cloudformation`] | CloudFormation's protocol for custom resources |
//! | [`call_rate`] | how many calls are made in a second |

pub mod builds;
pub mod call_rate;
pub mod cloudformation;
pub mod enforcement;
pub mod image;
pub mod lifecycle;
pub mod preview;
pub mod repository;
pub mod text;
pub mod usage;
