//! Has ECR apply a policy, behind the protection rule: images in use get a tag first, then the policy is attached, and what is not
//! in use any more loses its tag last. A policy that may not act is suspended before anything else.

use tokio::time::Instant as MonotonicInstant;

use super::outcome::{Attached, Held, Outcome, PolicyChange, Status};
use super::survey::Planned;
use super::work::Worker;
use super::{Access, Stop};
use crate::aws::AwsError;
use crate::domain::enforcement::action::Action;
use crate::domain::enforcement::enforcement_switch::DryRunReason;
use crate::image::RepositoryImages;
use crate::lifecycle::LifecyclePolicy;
use crate::lifecycle::diff::diff;
use crate::lifecycle::shield::{Attachment, TagChange, attachment, changes, shielded};
use crate::workflows::enforcement::execute::Executor;

impl Worker<'_> {
    /// Attaches the policy of a repository, or says what would be attached. The outcome has what was done, however it ends.
    pub(super) async fn attach(
        &self,
        planned: &Planned<'_>,
        outcome: &mut Outcome,
        read_at: MonotonicInstant,
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
        let now = match self.access {
            Access::Read => None,
            Access::Protect(_) | Access::Write(_) => Some(self.look(MonotonicInstant::now()).await?.0),
        };
        let usage = &now.as_deref().unwrap_or_else(|| self.at_first()).usage;
        let (_, plan) = planned.surveyed.decide(planned.entry, usage, planned.now);
        outcome.obstacles = plan.obstacles.iter().map(Held::from).collect();
        let may_act = outcome.obstacles.is_empty();
        // What a run may not enforce does not go on by itself; only a file that nobody has seen the effect of yet leaves what is
        // attached as it is.
        let is_new = self.run.dry_run_reason == Some(DryRunReason::NotPreviewed);
        let attachment = match self.access {
            Access::Protect(_) if may_act && is_new => Ok(Attachment::Unchanged),
            Access::Protect(_) => attachment(current.as_deref(), &wanted, false),
            Access::Read | Access::Write(_) => attachment(current.as_deref(), &wanted, may_act),
        };
        let attachment =
            attachment.map_err(|finding| AwsError::odd("PutLifecyclePolicy", &finding.message))?;
        if matches!(self.access, Access::Read) {
            if let Some(attached) = &mut outcome.attachment {
                attached.lifecycle_policy = match attachment {
                    Attachment::Unchanged => PolicyChange::Unchanged,
                    Attachment::Attach(_) => PolicyChange::ToBeAttached,
                    Attachment::Suspend(_) => PolicyChange::ToBeSuspended,
                };
            }
            planned.tell_plan(outcome);
            return Ok(());
        }
        // What the policy keeps by itself ECR does not know of either.
        let changes = changes(&planned.surveyed.images, &plan.held);
        // What is not known to be in use may be: its tag stays.
        let may_release = matches!(self.access, Access::Write(_));
        let is_known = may_release && usage.gaps_of(name.as_str()).next().is_none();
        let actions = actions(attachment, &planned.surveyed.images, changes, is_known);
        let mut executor = Executor::new(self, planned, outcome, read_at);
        if let Err(stop) = executor.execute(&actions).await {
            // An image in use may be without its tag: what is attached must not go on acting.
            if let Some(suspend) = suspend_if_acting(current.as_deref(), &wanted) {
                executor.execute(&[suspend]).await?;
            }
            return Err(stop);
        }
        planned.tell_plan(outcome);
        outcome.status = match self.access {
            _ if !may_act => Status::Held,
            Access::Write(_) => Status::Done,
            Access::Read | Access::Protect(_) => Status::Previewed,
        };
        Ok(())
    }
}

/// What suspends the policy that is attached, if it is one of this project's that acts.
fn suspend_if_acting(current: Option<&str>, wanted: &LifecyclePolicy) -> Option<Action> {
    match attachment(current, wanted, false) {
        Ok(Attachment::Suspend(nothing)) => Some(Action::Suspend(nothing)),
        Ok(Attachment::Unchanged | Attachment::Attach(_)) | Err(_) => None,
    }
}

/// What is done, in an order in which no image in use is ever without a tag that it needs while a policy acts.
fn actions(
    attachment: Attachment,
    images: &RepositoryImages,
    changes: Vec<TagChange>,
    is_known: bool,
) -> Vec<Action> {
    let digest = |place: u32| images.images().get(place as usize).map(|image| image.digest.to_string());
    let (mut before, mut additions, mut after, mut removals) = (None, Vec::new(), None, Vec::new());
    match attachment {
        Attachment::Unchanged => {}
        Attachment::Suspend(nothing) => before = Some(Action::Suspend(nothing)),
        Attachment::Attach(policy) => after = Some(Action::PutPolicy(policy)),
    }
    for change in changes {
        match change {
            TagChange::Add { image, tag } => {
                additions.extend(digest(image).map(|image_digest| Action::PutTag { image_digest, tag }));
            }
            TagChange::Remove { image, tag } if is_known => {
                removals.extend(digest(image).map(|image_digest| Action::RemoveTag { image_digest, tag }));
            }
            TagChange::Remove { .. } => {}
        }
    }
    before.into_iter().chain(additions).chain(after).chain(removals).collect()
}

/// How the attached policy differs from the wanted one.
fn drift(current: Option<&str>, wanted: &LifecyclePolicy) -> Vec<String> {
    match current.map(LifecyclePolicy::parse) {
        None => vec!["no lifecycle policy is attached".to_owned()],
        Some(Err(_)) => vec!["the attached lifecycle policy is unreadable".to_owned()],
        Some(Ok(current)) => diff(&current, wanted).iter().map(ToString::to_string).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Image, ImageStatus, ManifestKind, Relations};
    use crate::instant::Instant;
    use crate::lifecycle::PolicySource;
    use crate::lifecycle::shield::TakesNothing;

    fn images() -> RepositoryImages {
        let image = |digest: &str| Image {
            digest: digest.into(),
            tags: Box::default(),
            pushed_at: Instant::parse("2026-11-01T00:00:00Z").unwrap(),
            last_pulled_at: None,
            last_archived_at: None,
            last_activated_at: None,
            size_in_bytes: 1,
            status: ImageStatus::Active,
            kind: ManifestKind::Manifest,
        };
        RepositoryImages::new(vec![image("sha256:aa"), image("sha256:bb")], &Relations::default())
    }

    fn told(attachment: Attachment, is_known: bool) -> Vec<String> {
        let changes = vec![
            TagChange::Add { image: 0, tag: "in-use".to_owned() },
            TagChange::Remove { image: 1, tag: "old".to_owned() },
        ];
        let actions = actions(attachment, &images(), changes, is_known);
        actions.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn images_are_protected_before_a_policy_acts_and_released_after() {
        let policy = PolicySource::parse("rules: [{ selection: untagged, maximumAgeLimit: 9 }]");
        let policy = policy.unwrap().policy().unwrap().clone();
        assert_eq!(
            told(Attachment::Attach(policy), true),
            [
                "add the tag in-use to sha256:aa",
                "attach a lifecycle policy of 1 rule",
                "take the tag old off sha256:bb"
            ]
        );
    }

    #[test]
    fn a_policy_that_may_not_act_is_suspended_first_and_nothing_is_released_while_use_is_unknown() {
        assert_eq!(
            told(Attachment::Suspend(TakesNothing::new().unwrap()), false),
            [
                "suspend the lifecycle policy: attach one that takes nothing",
                "add the tag in-use to sha256:aa"
            ]
        );
        assert_eq!(told(Attachment::Unchanged, false), ["add the tag in-use to sha256:aa"]);
    }
}
