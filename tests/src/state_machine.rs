//! The state machine of runs, and what its executions are started with.

use serde_json::{Value, json};

use crate::binaries::workspace;

/// The first state of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// A requested dry run, which changes nothing.
    Dry,
    /// A run that enforces where it may, or a dry run, by its flag.
    AsAsked,
    /// A run that only protects.
    Protecting,
}

impl Begins {
    /// The state of the machine.
    pub const fn state(self) -> &'static str {
        match self {
            Self::Dry => "BeginDry",
            Self::AsAsked => "Begin",
            Self::Protecting => "BeginProtecting",
        }
    }
}

/// `infra/lifecycle.asl.json`.
///
/// # Panics
///
/// When it is no JSON.
pub fn definition() -> Value {
    serde_json::from_str(&std::fs::read_to_string(workspace().join("infra/lifecycle.asl.json")).unwrap())
        .unwrap()
}

/// Inputs of executions, those of the schedules among them, and what each begins.
pub fn inputs() -> Vec<(Value, Begins)> {
    vec![
        (json!({}), Begins::Dry),
        (json!({ "dryRun": "false" }), Begins::Dry),
        (json!({ "dryRun": null }), Begins::Dry),
        (json!({ "dryRun": false }), Begins::AsAsked),
        (json!({ "dryRun": true }), Begins::Dry),
        (json!({ "protectOnly": true }), Begins::Protecting),
        (json!({ "protectOnly": true, "dryRun": false }), Begins::Protecting),
        (json!({ "protectOnly": true, "dryRun": true }), Begins::Dry),
        (json!({ "protectOnly": true, "dryRun": "true" }), Begins::Protecting),
        (json!({ "protectOnly": false }), Begins::Dry),
        (json!({ "protectOnly": false, "dryRun": false }), Begins::AsAsked),
        (json!({ "protectOnly": "true", "dryRun": false }), Begins::Dry),
        (json!({ "protectOnly": null, "dryRun": false }), Begins::Dry),
    ]
}
