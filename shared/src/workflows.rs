//! Workflows: several calls to AWS in an order that is safe to interrupt.
//!
//! | module | does |
//! | --- | --- |
//! | `enforcement` | previews and enforces lifecycle policies over a registry |
//! | `confirm_request` | has CloudFormation confirm that it sent a request |
//! | `delete_images` | deletes images by hand |
//! | `live_preview` | previews a policy on a repository as it is now |
//! | `provision` | creates and changes repositories, and rolls back failed requests |
//! | `protection_records` | stores the records of repositories whose policy ECR enforces |
//! | `start_build` | starts builds for source updates and for requests |
//! | `build_for_stack` | starts the build that a CloudFormation stack waits for |
//! | `publish_image` | moves tags and publishes events when a build ends |
//! | `announce` | publishes the events of builds |

#[cfg(feature = "builds")]
pub mod announce;
#[cfg(feature = "builds")]
pub mod build_for_stack;
#[cfg(feature = "lifecycle")]
pub mod confirm_request;
#[cfg(feature = "lifecycle")]
pub mod delete_images;
#[cfg(feature = "lifecycle")]
pub mod enforcement;
#[cfg(feature = "lifecycle")]
pub mod live_preview;
#[cfg(feature = "signed")]
pub mod protection_records;
#[cfg(feature = "signed")]
pub mod provision;
#[cfg(feature = "builds")]
pub mod publish_image;
#[cfg(feature = "builds")]
pub mod start_build;
