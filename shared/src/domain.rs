//! Decisions: pure, without AWS, clock, environment or async.
//!
//! | module | holds |
//! | --- | --- |
//! | [`text`] | reading documents, and what is wrong with them; times and quantities as people write them |
//! | [`image`] | the images of a repository, how they relate, their names and URIs |
//! | [`lifecycle`] | lifecycle policies: the document, the simple model, evaluation, explanations |
//! | [`usage`] | which images are in use, from each source, and which sources could not be read |
//! | [`enforcement`] | which policy is for which repository, what a run does to it, and within which limits |
//! | [`preview`] | the preview of a policy over the images of a repository |
//! | [`repository`] | a repository as it is asked for and as it exists, and the difference |
//! | [`builds`] | which builds an event asks for, what each is told, what follows when it ends |
//! | [`cloudformation`] | CloudFormation's protocol for custom resources |

pub mod builds;
pub mod cloudformation;
pub mod enforcement;
pub mod image;
pub mod lifecycle;
pub mod preview;
pub mod repository;
pub mod text;
pub mod usage;
