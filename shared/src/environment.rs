//! What the template sets in the environment of a function.

/// A variable that the template sets is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {0} is not set; template.yaml sets it")]
pub struct Unset(&'static str);

/// A variable that has to be set.
///
/// # Errors
///
/// When it is not.
pub fn set(name: &'static str) -> Result<String, Unset> {
    std::env::var(name).ok().filter(|value| !value.is_empty()).ok_or(Unset(name))
}

/// Whether a switch is on: it is set to `true`, and to nothing else. Read it when something is done, since it may be changed
/// at any time.
#[must_use]
pub fn is_on(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| value == "true")
}
