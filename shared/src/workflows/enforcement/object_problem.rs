//! What can be wrong with an object in the stack's bucket, and what to do.

use crate::domain::enforcement::outcome_file::InvalidOutcomes;
use crate::domain::text::finding::Finding;
use crate::domain::usage::listed::InvalidUsage;

/// Why an object in the stack's bucket cannot be used, read or written. Every message completes a sentence that begins with the
/// object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectProblem {
    /// The object has to exist.
    #[error("there is no such object; the run that it is of may be forgotten")]
    Missing,
    /// The object is not the JSON that it has to be, or its value cannot be written as JSON.
    #[error("{0}")]
    Json(String),
    /// The outcomes cannot be read or written.
    #[error("{0}")]
    Outcomes(InvalidOutcomes),
    /// The images in use are not as a run writes them.
    #[error("{0}")]
    Usage(String),
    /// The policies file is invalid.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    PoliciesFile(Vec<Finding>),
    /// The policies file is not the one that the run began with.
    #[error("its hash is {hash}, and the run's is {run_hash}")]
    OtherPoliciesFile {
        /// The hash of the file.
        hash: String,
        /// The hash of the file that the run began with; empty if there was none.
        run_hash: String,
    },
    /// The policies file does not contain the policy with this name, which the inventory found.
    #[error("it has no policy {0} any more")]
    PolicyGone(String),
    /// A batch names a repository that cannot exist.
    #[error("{repository_name}: {problem}")]
    RepositoryName {
        /// The name.
        repository_name: String,
        /// The problem with it.
        problem: String,
    },
    /// The run has no list of batches, and no error says why.
    #[error("there is no list of the run's batches")]
    NoBatchList,
    /// The list of images in use of another registry's account cannot be written.
    #[error("the list cannot be written: {0}")]
    ListNotWritten(String),
    /// The memory of earlier lists is invalid.
    #[error("{0}; delete it, and the lists that are there are remembered anew")]
    ListMemory(String),
    /// The use that the last completed run read is invalid.
    #[error("{0}; the next completed run writes it anew, and without it use is read from the beginning")]
    LastUse(String),
    /// The daily counter of deleted images is invalid.
    #[error("it is not the counter of images that went today: {0}; delete it if you know them")]
    NotCounter(String),
    /// The registry's number of images is invalid.
    #[error("it is not what a run counted: {0}; the next completed run writes it anew")]
    NotCounted(String),
    /// Conditional writes of the counter conflicted too often.
    #[error("too many others write it at the same time; the next run goes on")]
    CounterContended,
    /// Conditional writes of a protection record conflicted too often.
    #[error("others write it at the same time; another attempt follows within an hour")]
    RecordContended,
    /// The journal could not be written, so that its subject does not happen.
    #[error("it could not be written down, and {0}")]
    NotJournaled(Journaled),
    /// The object of the journal does not describe a replaced policy.
    #[error("it is not a replaced policy: {0}")]
    NotReplacedPolicy(String),
    /// The object of the journal describes the policy of the repository with this name.
    #[error("it is of the repository {0}")]
    OtherRepository(String),
}

impl From<serde_json::Error> for ObjectProblem {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error.to_string())
    }
}

impl From<InvalidOutcomes> for ObjectProblem {
    fn from(error: InvalidOutcomes) -> Self {
        Self::Outcomes(error)
    }
}

impl From<InvalidUsage> for ObjectProblem {
    fn from(error: InvalidUsage) -> Self {
        Self::Usage(error.to_string())
    }
}

/// What the journal has to record before it happens. The message says what does not happen otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Journaled {
    /// The deletion or archival of images by this stack.
    #[error("nothing is deleted that is not")]
    Removals,
    /// The expiration of images by ECR, behind a policy that is going to be attached.
    #[error("no policy is attached that takes what is not")]
    Expirations,
    /// The replacement of a lifecycle policy.
    #[error("no policy is replaced that is not")]
    ReplacedPolicy,
    /// The restoration of images.
    #[error("nothing is restored that is not")]
    Restores,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_cannot_be_used_says_what_is_wrong_and_what_to_do() {
        let not_journaled = ObjectProblem::NotJournaled(Journaled::Removals);
        assert_eq!(
            not_journaled.to_string(),
            "it could not be written down, and nothing is deleted that is not"
        );
        let other = ObjectProblem::OtherPoliciesFile { hash: "a".to_owned(), run_hash: "b".to_owned() };
        assert_eq!(other.to_string(), "its hash is a, and the run's is b");
        let memory = ObjectProblem::ListMemory("EOF while parsing a value".to_owned());
        assert!(
            memory.to_string().ends_with("; delete it, and the lists that are there are remembered anew")
        );
    }
}
