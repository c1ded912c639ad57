//! A ticket whose image exists already, handed to the function that alone moves tags. It is the payload of an invocation,
//! which takes `lambda:InvokeFunction` on that function: on a bus everybody who may write to it could hand over tickets.

use serde::{Deserialize, Serialize};

use crate::domain::builds::build_context::BuildContext;

/// The payload of the invocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handover {
    /// What the image was built for; it takes the places that this names.
    pub already_built: BuildContext,
}
