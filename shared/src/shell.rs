//! The shell of every Lambda function.
//!
//! | module | contains |
//! | --- | --- |
//! | [`environment`] | the environment variables that the template sets |
//! | `custom_resource` | answering CloudFormation in time, with the feature `aws` |
//! | `function` | serving invocations, time left, errors, with the feature `function` |
//! | `log` | logs as JSON lines, with the feature `function` |

#[cfg(feature = "aws")]
pub mod custom_resource;
pub mod environment;
#[cfg(feature = "function")]
pub mod function;
#[cfg(feature = "function")]
pub mod log;
