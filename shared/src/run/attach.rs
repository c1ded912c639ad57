//! Has ECR apply a policy, behind the shield: images in use get a tag first, then the policy is attached, and what is not in
//! use any more loses its tag last.

use std::collections::{BTreeMap, HashMap};

use tokio::time::Instant as Moment;

use super::outcome::{Attached, Held, Outcome, PolicyChange, Status};
use super::survey::Planned;
use super::work::Worker;
use super::{Access, Stop};
use crate::aws::AwsError;
use crate::aws::ecr::{BATCH, EcrWrite};
use crate::image::deletion::ImageId;
use crate::lifecycle::LifecyclePolicy;
use crate::lifecycle::diff::diff;
use crate::lifecycle::shield::{Attachment, TagChange, attachment, changes, shielded};

impl Worker<'_> {
    /// Attaches the policy of a repository, or says what would be attached. The outcome has what was done, however it ends.
    pub(super) async fn attach(
        &self,
        planned: &Planned<'_>,
        outcome: &mut Outcome,
        begun: Moment,
    ) -> Result<(), Stop> {
        let name = &planned.surveyed.name;
        outcome.attachment = Some(Attached::default());
        let wanted = match shielded(&planned.entry.policy) {
            Ok(wanted) => wanted,
            Err(finding) => {
                outcome.findings.push(finding.clone());
                return Err(Stop::Aws(AwsError::odd("PutLifecyclePolicy", &finding.message)));
            }
        };
        let current = self.clients.call(self.clients.ecr.lifecycle_policy(name.as_str())).await?;
        outcome.drift = drift(current.as_deref(), &wanted);
        let ecr = match self.access {
            Access::Write(ecr) => Some(ecr),
            Access::Read | Access::Protect(_) => None,
        };
        let now = match ecr {
            None => None,
            Some(_) => Some(self.fresh(begun).await?),
        };
        let usage = &now.as_deref().unwrap_or_else(|| self.at_first()).usage;
        let (_, plan) = planned.surveyed.decide(planned.entry, usage, planned.now);
        outcome.obstacles = plan.obstacles.iter().map(Held::from).collect();
        let may_act = outcome.obstacles.is_empty();
        let attachment = attachment(current.as_deref(), &wanted, may_act)
            .map_err(|finding| AwsError::odd("PutLifecyclePolicy", &finding.message))?;
        // What the policy keeps by itself ECR does not know of either.
        let changes = changes(&planned.surveyed.images, &plan.held);
        let Some(ecr) = ecr else {
            if let Some(attached) = &mut outcome.attachment {
                attached.lifecycle_policy = match attachment {
                    Attachment::Unchanged => PolicyChange::Unchanged,
                    Attachment::Attach(_) => PolicyChange::ToBeAttached,
                    Attachment::Suspend(_) => PolicyChange::ToBeSuspended,
                };
            }
            planned.tell_plan(outcome);
            return Ok(());
        };
        // A policy that may not act does not while tags are changed.
        if let Attachment::Suspend(nothing) = &attachment {
            self.put_policy(ecr, planned, outcome, nothing.policy(), PolicyChange::Suspended).await?;
        }
        self.add_tags(ecr, planned, outcome, &changes).await?;
        if let Attachment::Attach(wanted) = &attachment {
            self.put_policy(ecr, planned, outcome, wanted, PolicyChange::Attached).await?;
        }
        // What is not known to be in use may be.
        if usage.gaps_of(name.as_str()).next().is_none() {
            self.remove_tags(ecr, planned, outcome, &changes).await?;
        }
        planned.tell_plan(outcome);
        outcome.status = if may_act { Status::Done } else { Status::Held };
        Ok(())
    }

    async fn put_policy(
        &self,
        ecr: &EcrWrite,
        planned: &Planned<'_>,
        outcome: &mut Outcome,
        policy: &LifecyclePolicy,
        change: PolicyChange,
    ) -> Result<(), Stop> {
        let name = &planned.surveyed.name;
        self.clients.call(ecr.put_lifecycle_policy(name, &policy.to_json())).await?;
        self.has_changed.set(true);
        if let Some(attached) = &mut outcome.attachment {
            attached.lifecycle_policy = change;
        }
        Ok(())
    }

    async fn add_tags(
        &self,
        ecr: &EcrWrite,
        planned: &Planned<'_>,
        outcome: &mut Outcome,
        changes: &[TagChange],
    ) -> Result<(), Stop> {
        let name = &planned.surveyed.name;
        let mut additions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for change in changes {
            if let TagChange::Add { image, tag } = change
                && let Some(image) = planned.surveyed.images.images().get(*image as usize)
            {
                additions.entry(&image.digest).or_default().push(tag);
            }
        }
        let ids: Vec<ImageId> =
            additions.keys().map(|digest| ImageId::Digest((*digest).to_owned())).collect();
        for batch in ids.chunks(BATCH) {
            let manifests = self.clients.call(self.clients.ecr.manifests(name, batch)).await?.found;
            let manifests: HashMap<&str, &str> =
                manifests.iter().map(|manifest| (&*manifest.digest, &*manifest.text)).collect();
            for id in batch {
                let ImageId::Digest(digest) = id else { continue };
                // Deleted meanwhile, or in the archive, where no rule of the shield's class looks.
                let Some(manifest) = manifests.get(digest.as_str()) else { continue };
                for tag in additions.get(digest.as_str()).into_iter().flatten() {
                    self.clients.call(ecr.put_image(name, manifest, None, tag)).await?;
                    self.has_changed.set(true);
                    if let Some(attached) = &mut outcome.attachment {
                        attached.tags_added += 1;
                    }
                }
            }
        }
        Ok(())
    }

    async fn remove_tags(
        &self,
        ecr: &EcrWrite,
        planned: &Planned<'_>,
        outcome: &mut Outcome,
        changes: &[TagChange],
    ) -> Result<(), Stop> {
        let name = &planned.surveyed.name;
        let removals: Vec<ImageId> = changes
            .iter()
            .filter_map(|change| match change {
                TagChange::Remove { tag, .. } => Some(ImageId::Tag(tag.clone())),
                TagChange::Add { .. } => None,
            })
            .collect();
        for batch in removals.chunks(BATCH) {
            let (deleted, refused) = self.clients.call(ecr.delete_images(name, batch)).await?;
            self.has_changed.set(true);
            if let Some(attached) = &mut outcome.attachment {
                attached.tags_removed += deleted.len() as u64;
            }
            // A tag that is not there is off.
            if let Some(refused) = refused.iter().find(|refused| refused.failure_code != "ImageNotFound") {
                let problem = format!("{}: {}", refused.failure_code, refused.failure_reason);
                return Err(Stop::Aws(AwsError::odd("BatchDeleteImage", &problem)));
            }
        }
        Ok(())
    }
}

/// How the attached policy differs from the wanted one.
fn drift(current: Option<&str>, wanted: &LifecyclePolicy) -> Vec<String> {
    match current.map(LifecyclePolicy::parse) {
        None => vec!["no lifecycle policy is attached".to_owned()],
        Some(Err(_)) => vec!["the attached lifecycle policy is unreadable".to_owned()],
        Some(Ok(current)) => diff(&current, wanted).iter().map(ToString::to_string).collect(),
    }
}
