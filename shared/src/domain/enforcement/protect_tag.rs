//! The resource tag by which a repository asks for the protection of its images in use.

/// The resource tag of a repository whose lifecycle policy is somebody else's and whose images in use are to be protected: with
/// the value [`PROTECT_VALUE`].
pub const PROTECT_KEY: &str = "ecr-steward:protect";
/// The value of [`PROTECT_KEY`] that asks for protection. Any other one does not, but for that of [`created_on_push`].
pub const PROTECT_VALUE: &str = "true";

/// The value of [`PROTECT_KEY`] of a repository that ECR made on a push, by the creation template of a stack: it asks for
/// protection, too, and the policy that the repository was made with is that stack's. Another stack takes no notice of it.
#[must_use]
pub fn created_on_push(stack: &str) -> String {
    format!("create-on-push:{stack}")
}

/// Who gave a repository the policy that is to be protected, by the value of [`PROTECT_KEY`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaggedBy {
    /// Somebody who asks for protection: the policy is theirs.
    Owner,
    /// The stack's template for repositories that ECR makes on a push: the policy that they are made with is the stack's.
    Template,
}
