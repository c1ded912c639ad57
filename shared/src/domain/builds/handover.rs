//! The handover of a build context whose image exists already, to the function that alone moves tags. It is the payload of an
//! invocation, which needs `lambda:InvokeFunction` on that function. On an event bus everybody who may write to it could hand
//! over contexts.

use serde::{Deserialize, Serialize};

use crate::domain::builds::build_context::BuildContext;

/// The payload of the invocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handover {
    /// The context of the image, which gets its tags.
    pub already_built: BuildContext,
}
