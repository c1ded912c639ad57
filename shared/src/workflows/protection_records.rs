//! The records of repositories whose lifecycle policy ECR enforces, in the stack's bucket: see
//! [`crate::domain::enforcement::protection_record`].

use crate::aws::AwsError;
use crate::aws::s3::{Precondition, S3};
use crate::domain::enforcement::journal::{self, PolicyLine};
use crate::domain::enforcement::protection_record::{ProtectionRecord, RECORDS};

/// The records in a bucket.
#[derive(Debug, Clone, Copy)]
pub struct ProtectionRecords<'a> {
    /// Amazon S3.
    pub s3: &'a S3,
    /// The stack's bucket.
    pub bucket: &'a str,
}

/// The object under the key of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The record; `Err` says why it cannot be read.
    pub record: Result<ProtectionRecord, RecordProblem>,
    /// The object's `ETag`.
    pub etag: String,
}

/// Why a record cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordProblem {
    /// The object is not the JSON of a record.
    #[error("{0}")]
    Json(String),
    /// The record belongs to the registry of this account.
    #[error("it is of the registry {0}")]
    OtherRegistry(String),
    /// The record belongs to the repository with this name.
    #[error("it is of the repository {0}")]
    OtherRepository(String),
}

impl Found {
    /// The same; a record of another registry counts as unreadable.
    #[must_use]
    pub fn of_registry(self, registry_id: &str) -> Self {
        let record = self.record.and_then(|record| {
            if record.registry_id == registry_id {
                Ok(record)
            } else {
                Err(RecordProblem::OtherRegistry(record.registry_id))
            }
        });
        Self { record, ..self }
    }
}

impl<'a> ProtectionRecords<'a> {
    /// The records in a bucket; `None` where none is configured.
    #[must_use]
    pub fn in_bucket(s3: &'a S3, bucket: &'a str) -> Option<Self> {
        (!bucket.is_empty()).then_some(Self { s3, bucket })
    }

    /// The record of a repository; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If S3 cannot be asked.
    pub async fn find(&self, repository_name: &str) -> Result<Option<Found>, AwsError> {
        let found = self.s3.get(self.bucket, &ProtectionRecord::key(repository_name)).await?;
        Ok(found.map(|object| {
            let record = serde_json::from_str::<ProtectionRecord>(&object.text)
                .map_err(|error| RecordProblem::Json(error.to_string()))
                .and_then(|record| {
                    if record.repository_name == repository_name {
                        Ok(record)
                    } else {
                        Err(RecordProblem::OtherRepository(record.repository_name))
                    }
                });
            Found { record, etag: object.etag }
        }))
    }

    /// The sorted names of the repositories that have a record.
    ///
    /// # Errors
    ///
    /// If S3 cannot be asked.
    pub async fn names(&self) -> Result<Vec<String>, AwsError> {
        let listed = self.s3.list(self.bucket, RECORDS).await?;
        let names = listed.iter().filter_map(|object| ProtectionRecord::repository_of(&object.key));
        Ok(names.map(str::to_owned).collect())
    }

    /// Writes a record if the present one has this `ETag`, or if there is none; `false` if the precondition fails.
    ///
    /// # Errors
    ///
    /// If S3 refuses, or cannot be asked.
    pub async fn replace(&self, record: &ProtectionRecord, before: Option<&str>) -> Result<bool, AwsError> {
        let key = ProtectionRecord::key(&record.repository_name);
        let text = serde_json::to_string(record).map_err(|error| {
            AwsError::unexpected_response("PutObject", &format!("s3://{}/{key}: {error}", self.bucket))
        })?;
        self.s3
            .put(self.bucket, &key, &text, before.map_or(Precondition::IfNoneMatch, Precondition::IfMatch))
            .await
    }

    /// Writes a policy that is about to be replaced into the journal, and returns the key. What is there stays: the same policy was
    /// written by an earlier attempt of the same request.
    ///
    /// # Errors
    ///
    /// If S3 refuses, or cannot be asked: then the policy may not be replaced.
    pub async fn write_down(&self, line: &PolicyLine) -> Result<String, AwsError> {
        let folder = journal::folder(line.at, &line.run_id);
        let (key, content) = journal::policy_entry(&folder, line).map_err(|error| {
            AwsError::unexpected_response("PutObject", &format!("s3://{}/{folder}: {error}", self.bucket))
        })?;
        self.s3.put(self.bucket, &key, &content, Precondition::IfNoneMatch).await?;
        Ok(key)
    }

    /// Deletes the record of a repository that is deleted, or whose policy ECR no longer enforces.
    ///
    /// # Errors
    ///
    /// If S3 refuses, or cannot be asked.
    pub async fn forget(&self, repository_name: &str) -> Result<(), AwsError> {
        self.s3.delete(self.bucket, &ProtectionRecord::key(repository_name)).await
    }

    /// Deletes the record of a repository if it has this `ETag`; `false` if it has not.
    ///
    /// # Errors
    ///
    /// If S3 refuses, or cannot be asked.
    pub async fn forget_if(&self, repository_name: &str, etag: &str) -> Result<bool, AwsError> {
        self.s3.delete_if(self.bucket, &ProtectionRecord::key(repository_name), etag).await
    }
}
