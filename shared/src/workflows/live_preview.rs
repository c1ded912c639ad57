//! A preview of a repository as it is: its images and its own policy read from ECR, what is in use from everywhere.

use crate::domain::enforcement::policy_set::{self, PolicySet, Sources};
use crate::domain::image::listing::{ListedRepository, RepositoryName};
use crate::domain::lifecycle::PolicySource;
use crate::domain::preview::model::PreviewReport;
use crate::domain::preview::request::Live;
use crate::domain::preview::{Preview, Question};
use crate::domain::text::finding::{Code, Finding};
use crate::domain::text::instant::Instant;
use crate::domain::usage::{UnreadableSource, Usage};
use crate::workflows::enforcement::repository_snapshot::RepositorySnapshot;
use crate::workflows::enforcement::{RunContext, RunError, read_usage};

/// Why a live preview failed.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// A call failed, or time is up.
    #[error(transparent)]
    RunError(#[from] RunError),
    /// The policy of the repository is one that this version does not understand.
    #[error("the lifecycle policy of {repository} is not understood: {}", .findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Policy {
        /// The repository.
        repository: String,
        /// Findings about the request.
        findings: Vec<Finding>,
    },
}

/// A usage source of a repository that is previewed was not read.
#[derive(Debug, thiserror::Error)]
#[error("what is in use is not known completely, and more may be than is said here: {0}")]
struct MoreMayBeInUse<'a>(&'a UnreadableSource);

/// The policies file, which says what counts as use, is invalid.
#[derive(Debug, thiserror::Error)]
#[error("policies.yaml is not valid, and what it says of use is not looked at: {0}")]
struct SettingsUnknown(String);

/// A repository as it was read once, to be previewed by one policy or by several.
#[derive(Debug)]
pub struct ReadRepository {
    listed: ListedRepository,
    /// Its own policy; read only for a request that brings none.
    own: Option<PolicySource>,
}

impl ReadRepository {
    /// Reads the repository of a request.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or its own policy is not understood.
    pub async fn read(clients: &RunContext<'_>, registry_id: &str, live: &Live) -> Result<Self, LiveError> {
        let name = &live.repository_name;
        let own = async {
            match &live.policy {
                Some(_) => Ok(None),
                None => clients.call(clients.ecr.lifecycle_policy(name.as_str())).await,
            }
        };
        let (snapshot, own) =
            tokio::try_join!(RepositorySnapshot::read(clients, name.clone(), registry_id, ""), own)?;
        let own = own.map(|text| {
            PolicySource::parse_json(&text)
                .map_err(|findings| LiveError::Policy { repository: name.as_str().to_owned(), findings })
        });
        let name = RepositoryName {
            repository_name: Some(snapshot.name.as_str().to_owned()),
            registry_id: Some(snapshot.registry_id),
        };
        Ok(Self { listed: ListedRepository { name, images: snapshot.images }, own: own.transpose()? })
    }

    /// The answer to a request, given everything that is in use, including the images of the request. A caller with many
    /// repositories prepares `usage` once. An unreadable usage source is a finding.
    #[must_use]
    pub fn preview<'a>(&'a self, live: &'a Live, usage: &'a Usage, now: Instant) -> Preview<'a> {
        let source = live.policy.as_ref().or(self.own.as_ref());
        let question = Question {
            policy: source.and_then(PolicySource::policy),
            usage,
            now: live.evaluated_at.unwrap_or(now),
            passes: live.passes,
        };
        // Its own policy is what ECR does, whatever is in use.
        let preview = match (&live.policy, &self.own) {
            (None, Some(_)) => Preview::of_ecr(question, &self.listed),
            _ => Preview::new(question, &self.listed),
        };
        let gaps = usage.gaps_of(live.repository_name.as_str());
        preview.with_findings(
            gaps.map(|gap| Finding::new(Code::UsageUnknown, "", MoreMayBeInUse(gap).to_string())),
        )
    }
}

/// The settings of `policies.yaml` by which use is read. Of an invalid file nothing is known but that.
async fn sources(clients: &RunContext<'_>) -> Result<(Sources, Option<Finding>), RunError> {
    let found = match clients.has_bucket() {
        true => clients.call(clients.s3.get(clients.bucket, policy_set::KEY)).await?,
        false => None,
    };
    let Some(object) = found else { return Ok((Sources::default(), None)) };
    Ok(match PolicySet::parse(&object.text) {
        Ok(policy_set) => (policy_set.usage().clone(), None),
        Err(findings) => {
            let first = findings.first().map(ToString::to_string).unwrap_or_default();
            let finding = Finding::new(Code::UsageUnknown, "", SettingsUnknown(first).to_string());
            (Sources::default(), Some(finding))
        }
    })
}

/// Reads use as the policies file in the bucket says, and answers a request.
///
/// # Errors
///
/// If the repository or the bucket cannot be read. An unreadable usage source is a finding, and so is an invalid policies file.
pub async fn look_and_answer(
    clients: &RunContext<'_>,
    registry_id: &str,
    live: &Live,
    now: Instant,
) -> Result<PreviewReport, LiveError> {
    let (sources, invalid) = sources(clients).await?;
    let before = read_usage::before(clients).await?;
    let observation = read_usage::observe(clients, &sources, before, now).await?;
    let name = &live.repository_name;
    let pullers = read_usage::unread_pullers(clients, &sources, &observation, name, registry_id, now);
    let (gaps, _) = pullers.await?;
    let mut usage = Usage::merged([live.usage.clone(), observation.usage]);
    usage.gaps.extend(gaps);
    let read = ReadRepository::read(clients, registry_id, live).await?;
    Ok(read.preview(live, &usage, now).with_findings(invalid).report())
}
