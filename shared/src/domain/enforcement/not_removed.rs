//! Why an image that a run planned to remove is still there.

use super::outcome::ImageResult;
use super::plan::Blocker;
use super::saved_plan::Deviation;

/// Why an image that a run planned to delete or archive was not removed, or is not known to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRemoved {
    /// Something is uncertain in the repository, so that nothing more is removed in it.
    #[error("nothing more goes here in this run")]
    RepositoryBlocked,
    /// The repository was deleted meanwhile.
    #[error("the repository is not there any more")]
    RepositoryGone,
    /// The image was deleted meanwhile.
    #[error("ECR does not describe it any more since the plan was made")]
    NotDescribed,
    /// A tag was added, moved or removed.
    #[error("its tags have changed since the plan was made")]
    TagsChanged,
    /// The image was pulled.
    #[error("it was pulled since the plan was made")]
    Pulled,
    /// The image was deleted and pushed once more.
    #[error("it was pushed again since the plan was made")]
    PushedAgain,
    /// The image was archived or restored.
    #[error("its status has changed since the plan was made")]
    StatusChanged,
    /// The image came into use, for this reason.
    #[error("in use since the plan was made: {0}")]
    InUse(String),
    /// The policy keeps the image by now.
    #[error("the policy does not take it any more: the repository has changed since the plan was made")]
    NotTaken,
    /// The plan was made with other children of this image index.
    #[error(
        "it lists other images than were remembered of it, so that the plan was made of what is not true; the next run reads it \
         anew"
    )]
    ChildrenChanged,
    /// The plan was made with other children of the image index with this digest.
    #[error("{0}: {same}", same = Self::ChildrenChanged)]
    OtherChildrenChanged(String),
    /// ECR refused to delete the image, since an image index lists it by now. Its reason follows.
    #[error("it was listed since the plan was made: {0}")]
    Listed(String),
    /// The image belongs to the one with this digest, which is kept.
    #[error("{0}, which it belongs to, is still there")]
    HolderKept(String),
    /// A blocker keeps all images of the plan.
    #[error("{0}")]
    Blocked(Blocker),
    /// The saved plan does not approve the removal.
    #[error(transparent)]
    NotApproved(#[from] Deviation),
    /// The call failed in such a way that it may have had its effect.
    #[error("{0}")]
    OutcomeUnknown(String),
    /// The call failed.
    #[error("{0}")]
    CallFailed(String),
    /// ECR refused the removal.
    #[error("{code}: {reason}")]
    Refused {
        /// ECR's code.
        code: String,
        /// ECR's reason.
        reason: String,
    },
    /// ECR's answer does not contain the image.
    #[error("ECR does not say whether it is deleted")]
    NotAnswered,
}

impl NotRemoved {
    /// The result that the report gives for the image.
    #[must_use]
    pub const fn result(&self) -> ImageResult {
        match self {
            Self::InUse(_) => ImageResult::InUse,
            Self::OutcomeUnknown(_) => ImageResult::Unknown,
            Self::CallFailed(_) | Self::Refused { .. } | Self::NotAnswered => ImageResult::Failed,
            Self::RepositoryBlocked
            | Self::RepositoryGone
            | Self::NotDescribed
            | Self::TagsChanged
            | Self::Pulled
            | Self::PushedAgain
            | Self::StatusChanged
            | Self::NotTaken
            | Self::ChildrenChanged
            | Self::OtherChildrenChanged(_)
            | Self::Listed(_)
            | Self::HolderKept(_)
            | Self::Blocked(_)
            | Self::NotApproved(_) => ImageResult::Blocked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_why_an_image_was_not_removed_and_counts_only_refusals_as_failures() {
        let of = |reason: &NotRemoved| (reason.to_string(), reason.result());
        let in_use = NotRemoved::InUse("ECS task definition web:1".to_owned());
        let in_use_reason = "in use since the plan was made: ECS task definition web:1".to_owned();
        assert_eq!(of(&in_use), (in_use_reason, ImageResult::InUse));
        let index = NotRemoved::OtherChildrenChanged("sha256:a".to_owned());
        let index_reason = "sha256:a: it lists other images than were remembered of it, so that the plan was made of what is not \
                            true; the next run reads it anew";
        assert_eq!(of(&index), (index_reason.to_owned(), ImageResult::Blocked));
        let refused = NotRemoved::Refused { code: "Denied".to_owned(), reason: "no".to_owned() };
        assert_eq!(of(&refused), ("Denied: no".to_owned(), ImageResult::Failed));
        let pulled = "it was pulled since the plan was made".to_owned();
        assert_eq!(of(&NotRemoved::Pulled), (pulled, ImageResult::Blocked));
        let unknown = NotRemoved::OutcomeUnknown("no answer".to_owned());
        assert_eq!(of(&unknown), ("no answer".to_owned(), ImageResult::Unknown));
    }
}
