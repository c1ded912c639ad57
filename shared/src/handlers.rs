//! Requests from outside and their answers. Handlers read a request, call a workflow, and answer.
//!
//! | module | holds |
//! | --- | --- |
//! | [`http`] | the HTTP API |
//! | `cloudformation` | the custom resources |

#[cfg(feature = "lifecycle")]
pub mod cloudformation;
pub mod http;
