//! Which CloudFormation resource created a repository, from tags on the repository.

use super::{Existing, Tags};

/// Prefix of tag keys that belong to this stack.
pub const PREFIX: &str = "ecr-steward:";
const STACK: &str = "ecr-steward:stack-id";
const RESOURCE: &str = "ecr-steward:logical-id";
const ADOPTED: &str = "ecr-steward:adopted";
const INCOMPLETE: &str = "ecr-steward:incomplete";

/// Whether a tag key is reserved: AWS's own, or this stack's.
#[must_use]
pub fn is_reserved(key: &str) -> bool {
    key.starts_with(PREFIX) || key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:"))
}

/// A CloudFormation resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The stack's ARN, which is unique also among stacks of one name.
    pub stack_id: String,
    /// The resource's name in the template.
    pub logical_id: String,
}

/// The relation of a repository to a CloudFormation resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// The resource created it.
    Created,
    /// The resource adopted it.
    Adopted,
    /// Another resource created or adopted it.
    Another,
    /// No resource did.
    Nobody,
}

impl Owner {
    /// The relation of the repository to this resource.
    #[must_use]
    pub fn of(&self, repository: &Existing) -> Ownership {
        let tags = &repository.tags;
        match (tags.get(STACK), tags.get(RESOURCE)) {
            (None, None) => Ownership::Nobody,
            (Some(stack), Some(resource)) if *stack == self.stack_id && *resource == self.logical_id => {
                if tags.contains_key(ADOPTED) {
                    Ownership::Adopted
                } else {
                    Ownership::Created
                }
            }
            _ => Ownership::Another,
        }
    }

    /// The tags that say so.
    #[must_use]
    pub fn tags(&self, adopted: bool) -> Tags {
        let mut tags = Tags::from([
            (STACK.to_owned(), self.stack_id.clone()),
            (RESOURCE.to_owned(), self.logical_id.clone()),
        ]);
        if adopted {
            tags.insert(ADOPTED.to_owned(), "true".to_owned());
        }
        tags
    }
}

/// The mark of a repository whose creation is not complete: the request that is at it.
#[must_use]
pub fn incomplete(request_id: &str) -> Tags {
    Tags::from([(INCOMPLETE.to_owned(), request_id.to_owned())])
}

/// The request that began a repository and did not complete it.
#[must_use]
pub fn incomplete_since(repository: &Existing) -> Option<&str> {
    repository.tags.get(INCOMPLETE).map(String::as_str)
}

/// The mark, if the repository has it.
#[must_use]
pub fn mark_of(repository: &Existing) -> Tags {
    repository
        .tags
        .get_key_value(INCOMPLETE)
        .map(|(key, value)| (key.clone(), value.clone()))
        .into_iter()
        .collect()
}

/// The resource that a repository belongs to, for a message.
#[must_use]
pub fn owner_of(repository: &Existing) -> Option<Owner> {
    let tag = |key: &str| repository.tags.get(key).cloned();
    Some(Owner { stack_id: tag(STACK)?, logical_id: tag(RESOURCE)? })
}

/// The tags of a repository that say whose it is.
#[must_use]
pub fn tags_of(repository: &Existing) -> Tags {
    let is_own = |key: &str| key.starts_with(PREFIX) && key != INCOMPLETE;
    repository.tags.iter().filter(|(key, _)| is_own(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
}
