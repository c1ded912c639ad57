//! Requests from outside and their answers. Handlers parse a request, call a workflow, and answer.
//!
//! | module | contains |
//! | --- | --- |
//! | [`http`] | the HTTP API |
//! | `cloudformation` | the custom resources |

#[cfg(feature = "lifecycle")]
pub mod cloudformation;
pub mod http;
