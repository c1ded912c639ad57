//! The environment variables that the template sets.

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
    optional(name).ok_or(Unset(name))
}

/// A variable that may be empty or missing.
#[must_use]
pub fn optional(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether a switch is on: it is exactly `true`. Read it right before acting, since it may be changed at any time.
#[must_use]
pub fn is_on(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| value == "true")
}

/// The stack, for the functions that start and publish builds.
///
/// # Errors
///
/// If a variable is missing.
#[cfg(feature = "builds")]
pub fn build_stack() -> Result<crate::workflows::start_build::Stack, Unset> {
    use crate::domain::builds::start_build_input::Projects;

    Ok(crate::workflows::start_build::Stack {
        name: set("STACK_NAME")?,
        bucket: set("BUCKET")?,
        projects: Projects { amd64: set("PROJECT_AMD64")?, arm64: optional("PROJECT_ARM64") },
        published_function: set("PUBLISHED_FUNCTION")?,
        build_minutes: std::env::var("BUILD_TIMEOUT_IN_MINUTES")
            .ok()
            .and_then(|minutes| minutes.parse().ok()),
        other_sources: optional("OTHER_SOURCES"),
    })
}
