//! The actor of a change, for reports and the journal.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The actor of a change, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Actor {
    /// The ARN of the requesting principal: the caller of the HTTP API, the stack of a custom resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// The ARN of the execution of the state machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution: Option<String>,
    /// The user of the terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The host of the terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

impl Actor {
    /// An actor that is a principal.
    #[must_use]
    pub fn principal(arn: impl Into<String>) -> Self {
        Self { principal: Some(arn.into()), ..Self::default() }
    }

    /// The actor that started a run: an execution by its ARN, or a user at a terminal.
    #[must_use]
    pub fn of_run(started_by: Option<&str>) -> Self {
        match started_by {
            Some(arn) if arn.starts_with("arn:") && arn.contains(":execution:") => {
                Self { execution: Some(arn.to_owned()), ..Self::default() }
            }
            Some(arn) if arn.starts_with("arn:") => Self::principal(arn),
            Some(text) => {
                let (person, principal) = match text.split_once(" as arn:") {
                    Some((person, arn)) => (person, Some(format!("arn:{arn}"))),
                    None => (text, None),
                };
                let (user, host) = person.split_once(" at ").unwrap_or((person, ""));
                let host = (!host.is_empty()).then(|| host.to_owned());
                Self { user: Some(user.to_owned()), host, principal, ..Self::default() }
            }
            None => Self::default(),
        }
    }

    /// Whether the actor is unknown.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(execution) = &self.execution {
            return f.write_str(execution);
        }
        let person = match (&self.user, &self.host) {
            (Some(user), Some(host)) => Some(format!("{user} at {host}")),
            (user, host) => user.clone().or_else(|| host.clone()),
        };
        match (person, &self.principal) {
            (Some(person), Some(principal)) => write!(f, "{person} as {principal}"),
            (Some(person), None) => f.write_str(&person),
            (None, Some(principal)) => f.write_str(principal),
            (None, None) => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_is_called_by_what_finds_it() {
        let terminal = Actor { user: Some("ana".into()), host: Some("laptop".into()), ..Actor::default() };
        assert_eq!(terminal.to_string(), "ana at laptop");
        let role = Actor::principal("arn:aws:sts::1:assumed-role/ops/ana");
        assert_eq!(role.to_string(), "arn:aws:sts::1:assumed-role/ops/ana");
        assert_eq!(Actor::of_run(Some("ana at laptop")), terminal);
        let signed_in = Actor { principal: role.principal.clone(), ..terminal.clone() };
        assert_eq!(signed_in.to_string(), "ana at laptop as arn:aws:sts::1:assumed-role/ops/ana");
        assert_eq!(Actor::of_run(Some(&signed_in.to_string())), signed_in);
        let execution = "arn:aws:states:eu-west-1:1:execution:m:r";
        assert_eq!(Actor::of_run(Some(execution)).execution.as_deref(), Some(execution));
        assert!(Actor::default().is_unknown());
        assert_eq!(serde_json::to_string(&Actor::default()).unwrap(), "{}");
    }
}
