//! Several calls to AWS, in an order in which it is safe to stop anywhere.
//!
//! | module | does |
//! | --- | --- |
//! | `enforcement` | previews and enforces lifecycle policies over a registry |
//! | `confirm_request` | has CloudFormation confirm that it sent a request |
//! | `delete_images` | deletes images that somebody names |
//! | `live_preview` | previews a policy over a repository as it is now |
//! | `provision` | makes repositories as they are asked for, and rolls back when that fails |
//! | `protection_records` | keeps what is remembered of repositories whose policy ECR enforces |
//! | `start_build` | starts builds for source that arrives and for requests |
//! | `build_for_stack` | starts the build that a CloudFormation stack waits for |
//! | `publish_image` | moves tags and tells others when a build ends |
//! | `announce` | sends the events that others read |

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
