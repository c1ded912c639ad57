//! Making repositories as they are asked for: the decisions of [`crate::repository`] put into effect in ECR, one call
//! after the other, each taken back when a later one fails.

use std::fmt;

use crate::aws::deadline::TimeIsUp;
use crate::aws::ecr::EcrWrite;
use crate::aws::{AwsError, Deadline, Failure};
use crate::repository::{Change, Existing, Name, Registry, Settings, Tags, difference, ownership};

/// A registry to work on, for one request.
#[derive(Debug, Clone)]
pub struct Provisioner<'a> {
    /// ECR.
    pub ecr: &'a EcrWrite,
    /// Where the repositories are.
    pub registry: &'a Registry,
    /// When to stop.
    pub deadline: Deadline,
    /// What names this request and no other; a repository carries it until it is complete.
    pub request_id: &'a str,
}

/// Why a repository is not as asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}{left}")]
pub struct ProvisionError {
    /// The call that failed.
    pub cause: AwsError,
    /// What could not be taken back.
    pub left: Left,
}

/// What a failed request leaves behind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Left {
    /// Nothing: all is as it was.
    #[default]
    Nothing,
    /// A repository without its policies.
    Incomplete {
        /// Its name.
        name: String,
        /// Why it could not be deleted.
        because: String,
    },
    /// A change, or several.
    Changes {
        /// The fields.
        fields: Vec<&'static str>,
        /// Why they could not be changed back.
        because: String,
    },
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("; nothing was changed"),
            Self::Incomplete { name, because } => write!(
                f,
                "; the repository {name} was created, has not got its policies, and could not be deleted again \
                 ({because}): ask for it once more, or delete it"
            ),
            Self::Changes { fields, because } => write!(
                f,
                "; {} may be changed already and could not be changed back ({because}): ask for it once more",
                fields.join(", ")
            ),
        }
    }
}

impl From<AwsError> for ProvisionError {
    fn from(cause: AwsError) -> Self {
        Self { cause, left: Left::Nothing }
    }
}

/// What came of a wish to create a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Creation {
    /// It was created.
    Created(Existing),
    /// There is a complete repository of this name.
    Exists(Existing),
}

/// What came of a wish to delete a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It is deleted.
    Deleted,
    /// There is none of this name.
    Missing,
    /// It has so many images, and is still there.
    NotEmpty(usize),
}

impl Provisioner<'_> {
    /// Does one thing, or says why time ran out before it was done.
    async fn work<T>(&self, call: impl Future<Output = Result<T, AwsError>>) -> Result<T, AwsError> {
        match self.deadline.work(call).await {
            Ok(result) => result,
            Err(TimeIsUp) => Err(self.ecr.trouble().explain()),
        }
    }

    async fn order<T>(&self, call: impl Future<Output = Result<T, AwsError>>) -> Result<T, AwsError> {
        match self.deadline.order(call).await {
            Ok(result) => result,
            Err(TimeIsUp) => Err(self.ecr.trouble().explain()),
        }
    }

    /// A repository with its tags and policies.
    ///
    /// # Errors
    ///
    /// When ECR cannot be asked.
    pub async fn find(&self, name: &Name) -> Result<Option<Existing>, AwsError> {
        self.work(self.ecr.repository(name)).await
    }

    /// Creates a repository, with `own` tags besides those of its settings. What a request like this one left
    /// unfinished is finished.
    ///
    /// # Errors
    ///
    /// When ECR refuses, or time runs out. What was created is deleted again then.
    pub async fn create(
        &self,
        name: &Name,
        settings: &Settings,
        own: &Tags,
    ) -> Result<Creation, ProvisionError> {
        let mut tags = settings.tags.clone();
        tags.extend(own.clone());
        let mut marked = tags.clone();
        marked.extend(ownership::incomplete(self.request_id));
        let created = self.work(self.ecr.create(name, settings, &marked)).await;
        let repository = match created {
            Ok(repository) => repository,
            Err(error) if error.failure == Failure::AlreadyExists => {
                // A page that was read before a deletion, or a lost answer to our own call.
                let existing = match self.find(name).await {
                    Ok(Some(existing)) => existing,
                    Ok(None) => return Err(error.into()),
                    Err(error) => return Err(self.undo_creation(name, error).await),
                };
                if ownership::incomplete_since(&existing).is_none() {
                    return Ok(Creation::Exists(existing));
                }
                let mut rest = difference(&existing, settings, self.registry);
                let is_ours = ownership::incomplete_since(&existing) == Some(self.request_id);
                let only_policies = rest.encryption.is_none()
                    && rest
                        .changes
                        .iter()
                        .all(|c| matches!(c, Change::Policy { .. } | Change::LifecyclePolicy { .. }));
                // What another resource has begun is none of ours.
                if !only_policies || ownership::tags_of(&existing) != *own {
                    return Ok(Creation::Exists(existing));
                }
                let changes = std::mem::take(&mut rest.changes);
                return self.complete(name, existing, changes, is_ours).await;
            }
            Err(error) if error.leaves_doubt() => return Err(self.undo_creation(name, error).await),
            Err(error) => return Err(error.into()),
        };
        let changes = difference(&repository, settings, self.registry).changes;
        self.complete(name, repository, changes, true).await
    }

    /// Sets what a new repository lacks, and takes the mark off that says so.
    async fn complete(
        &self,
        name: &Name,
        mut repository: Existing,
        changes: Vec<Change>,
        is_ours: bool,
    ) -> Result<Creation, ProvisionError> {
        let unmark = Change::Tags { from: ownership::mark_of(&repository), to: Tags::new() };
        for change in changes.iter().chain([&unmark]) {
            if let Err(error) = self.work(self.ecr.apply(&repository, change)).await {
                if std::ptr::eq(change, &unmark) && error.leaves_doubt() {
                    // Without the mark it is complete, whatever became of the answer.
                    let ecr = self.ecr.at_once();
                    if let Ok(Some(complete)) = self.order(ecr.repository(name)).await
                        && ownership::incomplete_since(&complete).is_none()
                    {
                        return Ok(Creation::Created(complete));
                    }
                }
                return Err(if is_ours {
                    self.undo_creation(name, error).await
                } else {
                    let left = Left::Incomplete {
                        name: name.to_string(),
                        because: "another request began it".to_owned(),
                    };
                    ProvisionError { cause: error, left }
                });
            }
            change.apply_to(&mut repository);
        }
        Ok(Creation::Created(repository))
    }

    /// Deletes what this request created, which is known by its mark.
    async fn undo_creation(&self, name: &Name, cause: AwsError) -> ProvisionError {
        let ecr = self.ecr.at_once();
        let undo = async {
            let Some(existing) = ecr.repository(name).await? else { return Ok(()) };
            if ownership::incomplete_since(&existing) != Some(self.request_id) {
                return Ok(());
            }
            match ecr.delete(name.as_str(), false).await {
                Err(error) if error.failure == Failure::NotFound => Ok(()),
                answer => answer,
            }
        };
        let left = match self.order(undo).await {
            Ok(()) => Left::Nothing,
            Err(error) => Left::Incomplete { name: name.to_string(), because: error.to_string() },
        };
        tracing::warn!(repository = %name, error = %cause, ?left, "could not create the repository");
        ProvisionError { cause, left }
    }

    /// Makes the changes, and takes back those that were made when one fails.
    ///
    /// # Errors
    ///
    /// When ECR refuses one, or time runs out.
    pub async fn change(
        &self,
        mut repository: Existing,
        changes: &[Change],
    ) -> Result<Existing, ProvisionError> {
        let mark = ownership::mark_of(&repository);
        let unmark = (!mark.is_empty()).then(|| Change::Tags { from: mark, to: Tags::new() });
        let changes: Vec<&Change> = changes.iter().chain(&unmark).collect();
        for (index, change) in changes.iter().enumerate() {
            if let Err(error) = self.work(self.ecr.apply(&repository, change)).await {
                let made = changes.get(..index).unwrap_or_default();
                // Tags are two calls, of which one may have been done.
                let is_doubtful = error.leaves_doubt() || matches!(change, Change::Tags { .. });
                let doubtful = is_doubtful.then_some(*change);
                return Err(self.undo_changes(&repository, made, doubtful, error).await);
            }
            change.apply_to(&mut repository);
        }
        Ok(repository)
    }

    /// Takes back what was done, and then what may have been done: that is looked at first, since its call is the one
    /// that does not work.
    async fn undo_changes(
        &self,
        repository: &Existing,
        made: &[&Change],
        doubtful: Option<&Change>,
        cause: AwsError,
    ) -> ProvisionError {
        let mut fields: Vec<&'static str> =
            doubtful.iter().chain(made).map(|change| change.field()).collect();
        let ecr = self.ecr.at_once();
        let undo = async {
            for change in made.iter().rev() {
                ecr.apply(repository, &change.reversed()).await?;
                fields.pop();
            }
            if let Some(change) = doubtful {
                let now = match Name::parse(&repository.name) {
                    Ok(name) => ecr.repository(&name).await?,
                    Err(_) => None,
                };
                let has_begun = now.is_some_and(|now| {
                    let mut before = now.clone();
                    change.reversed().apply_to(&mut before);
                    before != now
                });
                if has_begun {
                    ecr.apply(repository, &change.reversed()).await?;
                }
                fields.pop();
            }
            Ok(())
        };
        let left = match self.order(undo).await {
            Ok(()) => Left::Nothing,
            Err(error) => Left::Changes { fields, because: error.to_string() },
        };
        tracing::warn!(repository = repository.name, error = %cause, ?left, "could not change the repository");
        ProvisionError { cause, left }
    }

    /// Deletes a repository without images.
    ///
    /// # Errors
    ///
    /// When ECR refuses, or time runs out.
    pub async fn delete(&self, name: &str) -> Result<Removal, AwsError> {
        match self.work(self.ecr.delete(name, false)).await {
            Ok(()) => Ok(Removal::Deleted),
            Err(error) if error.failure == Failure::NotFound => Ok(Removal::Missing),
            Err(error) if error.failure == Failure::NotEmpty => {
                self.work(self.ecr.count_images(name)).await.map(Removal::NotEmpty)
            }
            Err(error) => Err(error),
        }
    }
}
