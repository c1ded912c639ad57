//! In-use protection of a repository whose lifecycle policy ECR enforces: images in use get protection tags first, then the
//! policy is attached. If anything is uncertain, the policy is suspended before everything else.

use std::collections::HashSet;

use tokio::time::Instant as MonotonicInstant;

use super::{Access, RunError, WriteClient};
use crate::aws::AwsError;
use crate::aws::ecr::EcrProtect;
use crate::domain::enforcement::action::Action;
use crate::domain::enforcement::actor::Actor;
use crate::domain::enforcement::enforcement_switch::DryRunReason;
use crate::domain::enforcement::in_use_protection::{
    TakesNothing, is_protected, protected, takes_nothing, without_protection,
};
use crate::domain::enforcement::journal::{self, Line, PolicyLine};
use crate::domain::enforcement::outcome::{Attached, Outcome, PolicyChange, ReportedBlocker, Status};
use crate::domain::enforcement::plan::{Blocker, Plan, Reassignment};
use crate::domain::enforcement::protection_record::{Counted, Mode, ProtectionRecord, Suspension};
use crate::domain::image::{ImageIndex, RepositoryImages};
use crate::domain::lifecycle::LifecyclePolicy;
use crate::domain::lifecycle::diff::diff;
use crate::domain::lifecycle::document::Action as RuleAction;
use crate::domain::preview::model::ActionTaken;
use crate::domain::repository::Name;
use crate::domain::repository::protection::of_created_on_push;
use crate::domain::text::finding::Finding;
use crate::domain::text::instant::Instant;
use crate::workflows::enforcement::execute::Executor;
use crate::workflows::enforcement::process_batch::BatchProcessor;
use crate::workflows::enforcement::registry_limit;
use crate::workflows::enforcement::repository_snapshot::{
    Native, RepositoryPlan, RepositorySnapshot, Withdrawal,
};
use crate::workflows::enforcement::write_journal;
use crate::workflows::protection_records::{Found, ProtectionRecords};

/// Maximum number of attempts to write a record that others write at the same time.
const MAX_CAS_ATTEMPTS: u32 = 5;

/// Why protection cannot be refreshed, as far as no call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum ProtectProblem {
    /// A command line names no bucket for the records of protection.
    #[error("what ECR enforces is protected by the functions of a stack, which need its bucket; name it")]
    NoBucket,
    /// A preview holds no client that changes anything.
    #[error("a preview changes nothing")]
    Preview,
    /// This program would not accept the policy that suspended policies are replaced with.
    #[error("{}", .0.message)]
    EmptyPolicy(Finding),
    /// Conditional writes of the record conflicted too often.
    #[error("the record of its protection is written by others at the same time; the next run goes on")]
    RecordContended,
}

impl From<ProtectProblem> for RunError {
    fn from(problem: ProtectProblem) -> Self {
        Self::Aws(AwsError::unexpected_response("PutLifecyclePolicy", &problem.to_string()))
    }
}

/// Why a policy is suspended, where neither its plan nor the reason for a dry run says it.
#[derive(Debug, thiserror::Error)]
enum SuspensionReason<'a> {
    /// Refreshing its protection failed.
    #[error("protection could not be refreshed: {0}")]
    NotRefreshed(&'a RunError),
    /// No run could read all sources of use.
    #[error("no run was certain of what is in use")]
    UseNeverKnown,
    /// The stack's switch is off.
    #[error(
        "all is certain again, but no run attaches a policy as long as the stack's parameter Enforce is not true: deploy it with \
         Enforce=true, and the next run puts the policy back"
    )]
    SwitchedOff,
    /// The run is a dry run for an unknown reason.
    #[error("this run may not enforce")]
    MayNotEnforce,
}

/// Why a policy is replaced, for the journal.
#[derive(Debug, thiserror::Error)]
enum ReplacementReason<'a> {
    /// The policies file assigns the policy with this name.
    #[error("the policies file has ECR enforce the policy {0}")]
    Assigned(&'a str),
    /// The policy begins with the protection rule, but this stack did not attach it.
    #[error("it is not the one that this stack attached, and may not act for the time being")]
    NotOurs,
}

/// How the attached policy differs from the one that should be attached, as a whole.
#[derive(Debug, thiserror::Error)]
enum PolicyDrift<'a> {
    /// No policy is attached.
    #[error("no lifecycle policy is attached")]
    NotAttached,
    /// The attached policy is not one that this program knows.
    #[error("the attached lifecycle policy is unreadable")]
    Unreadable,
    /// No policy should be attached any more.
    #[error(
        "the lifecycle policy that this stack attached is suspended, since {reason}; delete what is left of it with \
         `aws ecr delete-lifecycle-policy --repository-name {name}`"
    )]
    Withdrawn {
        /// Why.
        reason: &'a str,
        /// The repository.
        name: &'a Name,
    },
}

/// What to do with the attached lifecycle policy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Attachment {
    /// No change.
    Unchanged,
    /// This one is attached in its place.
    Attach(LifecyclePolicy),
    /// The policy would act although that may be wrong. It is replaced by this one, by which nothing expires, until it may act
    /// again.
    Suspend(TakesNothing),
}

/// The facts that decide about the policy of a repository.
#[derive(Debug, Clone, Copy)]
struct Question<'a> {
    mode: Mode,
    /// The policy that is attached, as far as it can be read; what cannot be read is another one.
    current: Option<&'a LifecyclePolicy>,
    /// The policy that belongs there, behind the protection rule.
    wanted: &'a LifecyclePolicy,
    /// Whether everything is certain.
    may_act: bool,
    /// Whether this run may have ECR delete something.
    may_attach: bool,
    /// Whether the attached policy is kept if this run may not attach one.
    is_left_alone: bool,
}

impl Question<'_> {
    fn answer(self, nothing: TakesNothing) -> Attachment {
        let Question { mode, current, wanted, may_act, may_attach, is_left_alone } = self;
        let is_ours = current.is_some_and(is_protected);
        let acts = is_ours && !current.is_some_and(takes_nothing);
        let attach =
            if current == Some(wanted) { Attachment::Unchanged } else { Attachment::Attach(wanted.clone()) };
        match mode {
            // Never written.
            Mode::Protect => Attachment::Unchanged,
            _ if !may_act && acts => Attachment::Suspend(nothing),
            _ if !may_act => Attachment::Unchanged,
            // A policy that somebody else attached instead, or its removal, is intended.
            Mode::Provisioned if may_attach && is_ours => attach,
            Mode::Provisioned => Attachment::Unchanged,
            Mode::Attach if may_attach => attach,
            Mode::Attach if acts && !is_left_alone => Attachment::Suspend(nothing),
            Mode::Attach => Attachment::Unchanged,
        }
    }
}

/// The repository as it is when its protection is refreshed.
struct Now<'a> {
    native: &'a Native,
    /// The lifecycle policy text that ECR has.
    current_text: Option<String>,
    current: Option<LifecyclePolicy>,
    record: Option<Found>,
    plan: Plan,
    used_at: Instant,
    /// When the images that newly expire by ECR were counted for the registry's daily limit, and which ones.
    counted: Option<(Instant, Vec<String>)>,
}

impl Now<'_> {
    /// Whether a policy of this stack is attached by which something can expire.
    fn acts(&self) -> bool {
        self.native.mode != Mode::Protect && self.current.as_ref().is_some_and(is_acting)
    }

    /// Whether a policy of this stack is suspended.
    fn is_suspended(&self) -> bool {
        self.native.mode != Mode::Protect && self.current.as_ref().is_some_and(is_suspended)
    }

    /// The record that can be read.
    fn known(&self) -> Option<&ProtectionRecord> {
        self.record.as_ref().and_then(|found| found.record.as_ref().ok())
    }

    /// The digests of the images that ECR expires behind the policy.
    fn expiring(&self, images: &RepositoryImages) -> Vec<String> {
        let mut digests: Vec<String> = self
            .plan
            .by_ecr
            .iter()
            .filter_map(|&place| images.images().get(place as usize))
            .map(|image| image.digest.to_string())
            .collect();
        digests.sort_unstable();
        digests
    }

    /// Whether an image was counted today, also before a suspension.
    fn is_counted_today(&self, image: &str, now: Instant) -> bool {
        self.known().is_some_and(|record| record.is_counted_today(image, now))
    }

    /// The images that ECR expires behind the policy and that were not counted and journaled before.
    fn newly_expiring(&self, images: &RepositoryImages) -> HashSet<ImageIndex> {
        let before: HashSet<&str> = self
            .known()
            .map(|record| record.expiring.iter().map(String::as_str).collect())
            .unwrap_or_default();
        let digest = |place: ImageIndex| images.images().get(place as usize).map(|image| &*image.digest);
        self.plan
            .by_ecr
            .iter()
            .copied()
            .filter(|&place| digest(place).is_none_or(|digest| !before.contains(digest)))
            .collect()
    }
}

/// Whether a policy begins with the protection rule and has other rules.
fn is_acting(policy: &LifecyclePolicy) -> bool {
    is_protected(policy) && !takes_nothing(policy)
}

/// Whether a policy has nothing but the protection rule, by which nothing expires.
fn is_suspended(policy: &LifecyclePolicy) -> bool {
    is_protected(policy) && takes_nothing(policy)
}

impl<W: WriteClient> BatchProcessor<'_, W> {
    /// Refreshes the protection of a repository whose policy ECR enforces, or reports what would be done. The outcome has what
    /// was done, even after an error. After an error the attached policy is suspended.
    pub(super) async fn protect(
        &self,
        planned: &RepositoryPlan<'_>,
        native: &Native,
        outcome: &mut Outcome,
        read_at: MonotonicInstant,
    ) -> Result<(), RunError> {
        let done = self.refresh(planned, native, outcome, read_at).await;
        if let Err(error) = &done {
            let RepositorySnapshot { name, registry_id, .. } = &planned.snapshot;
            self.suspend_unrefreshed(name, registry_id, native.mode, error, outcome).await;
        }
        done
    }

    /// Suspends the policy of a repository whose protection could not be refreshed, if it is one of this stack's that acts.
    pub(super) async fn suspend_unrefreshed(
        &self,
        name: &Name,
        registry_id: &str,
        mode: Mode,
        why: &RunError,
        outcome: &mut Outcome,
    ) {
        // Where time is up, or a clock is wrong, nothing can be done now.
        let goes_on = matches!(why, RunError::Time(_) | RunError::Clock { .. });
        if !self.may_write() || goes_on {
            return;
        }
        // A policy of somebody else is never written.
        if mode == Mode::Protect {
            if let Err(error) = self.remember_unrefreshed(name.as_str(), registry_id).await {
                tracing::error!(repository = %name, error = %error, "could not write down that protection was never right");
            }
            return;
        }
        let reason = SuspensionReason::NotRefreshed(why).to_string();
        match self.suspend_attached(name, registry_id, mode, &reason, outcome).await {
            Ok(true) => {
                let attached = outcome.attachment.get_or_insert_with(Attached::default);
                attached.mode = Some(mode);
                attached.lifecycle_policy = PolicyChange::Suspended;
                attached.suspended_at = Some(self.clients.now());
                attached.suspended_because = Some(reason);
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(repository = %name, error = %error, "could not suspend the lifecycle policy");
                note(outcome, &[Blocker::NotSuspended(error.to_string())]);
            }
        }
    }

    /// Suspends what is attached, if it is a policy of this stack's that acts; gives whether it is.
    async fn suspend_attached(
        &self,
        name: &Name,
        registry_id: &str,
        mode: Mode,
        reason: &str,
        outcome: &mut Outcome,
    ) -> Result<bool, RunError> {
        let (ecr, Some(records)) = (self.protects()?, self.records()) else { return Ok(false) };
        let text = self.clients.call(self.clients.ecr.lifecycle_policy(name.as_str())).await?;
        let current = text.as_deref().and_then(|text| LifecyclePolicy::parse(text).ok());
        let Some(current) = current.filter(is_acting) else { return Ok(false) };
        let nothing = TakesNothing::new().map_err(ProtectProblem::EmptyPolicy)?;
        // Without its record the owner of the policy is unknown.
        let found = self.clients.call(records.find(name.as_str())).await;
        let known = found.as_ref().ok().and_then(Option::as_ref).and_then(|found| found.record.as_ref().ok());
        if known.is_some_and(|known| known.mode == Mode::Protect) {
            return Ok(false);
        }
        let text = text.unwrap_or_default();
        self.write_down_unknown((registry_id, name.as_str()), &text, &current, known, outcome).await?;
        self.clients.call(ecr.suspend_lifecycle_policy(name, &nothing)).await?;
        self.has_changed.set(true);
        let suspension = Suspension { at: self.clients.now(), reason: reason.to_owned() };
        let record = known.map(|known| known.suspended(suspension.clone()));
        let record =
            record.unwrap_or_else(|| self.unknown((registry_id, name.as_str()), mode, &current, suspension));
        let found = found?;
        let etag = found.as_ref().map(|found| found.etag.as_str());
        // A concurrent writer of the record uses the attached policy, too.
        self.clients.call(records.replace(&record, etag)).await?;
        self.stay_suspended(name, registry_id, Some(&record), outcome).await?;
        Ok(true)
    }

    /// Suspends the policy again if another process attached it before the record said that it is suspended. A process that
    /// attaches it later reads the record afterwards. What somebody else attached meanwhile is in the journal before it is replaced.
    async fn stay_suspended(
        &self,
        name: &Name,
        registry_id: &str,
        known: Option<&ProtectionRecord>,
        outcome: &mut Outcome,
    ) -> Result<(), RunError> {
        let Some(text) = self.clients.call(self.clients.ecr.lifecycle_policy(name.as_str())).await? else {
            return Ok(());
        };
        if let Some(current) = LifecyclePolicy::parse(&text).ok().filter(is_acting) {
            self.write_down_unknown((registry_id, name.as_str()), &text, &current, known, outcome).await?;
            let nothing = TakesNothing::new().map_err(ProtectProblem::EmptyPolicy)?;
            self.clients.call(self.protects()?.suspend_lifecycle_policy(name, &nothing)).await?;
        }
        Ok(())
    }

    /// The record of a repository without one, whose policy is suspended.
    fn unknown(
        &self,
        (registry_id, name): (&str, &str),
        mode: Mode,
        attached: &LifecyclePolicy,
        suspension: Suspension,
    ) -> ProtectionRecord {
        let (at, by) = (self.clients.now(), self.run.run_id.as_str());
        ProtectionRecord {
            lifecycle_policy_text: without_protection(attached).map(|policy| policy.to_json()),
            suspended: Some(suspension),
            ..ProtectionRecord::new(registry_id, name, mode, at, by)
        }
    }

    /// Records a repository whose protection was never complete, as far as is known, so that it counts as stale. Complete
    /// protection becomes stale by itself.
    async fn remember_unrefreshed(&self, name: &str, registry_id: &str) -> Result<(), RunError> {
        let Some(records) = self.records() else { return Ok(()) };
        let found = self.clients.call(records.find(name)).await?.map(|found| found.of_registry(registry_id));
        if found.as_ref().is_some_and(|found| found.record.is_ok()) {
            return Ok(());
        }
        let why = SuspensionReason::UseNeverKnown.to_string();
        let record = ProtectionRecord::never_refreshed(registry_id, name, Mode::Protect, &why);
        let etag = found.as_ref().map(|found| found.etag.as_str());
        // Who writes it at the same time knows more.
        self.clients.call(records.replace(&record, etag)).await?;
        Ok(())
    }

    async fn refresh(
        &self,
        planned: &RepositoryPlan<'_>,
        native: &Native,
        outcome: &mut Outcome,
        read_at: MonotonicInstant,
    ) -> Result<(), RunError> {
        outcome.attachment = Some(Attached { mode: Some(native.mode), ..Attached::default() });
        let name = planned.snapshot.name.as_str();
        let records = self.records();
        if self.may_write() && records.is_none() {
            return Err(ProtectProblem::NoBucket.into());
        }
        let record = match records {
            Some(records) => self.clients.call(records.find(name)).await?,
            None => None,
        };
        let record = record.map(|found| found.of_registry(&planned.snapshot.registry_id));
        let current_text = self.clients.call(self.clients.ecr.lifecycle_policy(name)).await?;
        let current = current_text.as_deref().and_then(|text| LifecyclePolicy::parse(text).ok());
        let mut native = native.clone();
        if let Some(withdrawal) = &native.withdrawn {
            return self
                .withdraw(
                    planned,
                    outcome,
                    (current_text.as_deref(), current.as_ref()),
                    record,
                    withdrawal,
                    native.mode,
                    read_at,
                )
                .await;
        }
        let wanted = protected(&native.entry.policy);
        if let Ok(wanted) = &wanted
            && native.mode != Mode::Protect
        {
            outcome.drift = drift(current_text.as_deref(), wanted);
        }
        // The policy that a repository was made with does not wait for a policies file.
        let may_attach = match native.mode {
            Mode::Attach | Mode::Protect => matches!(self.access, Access::Write(_)),
            Mode::Provisioned => self.lifts.is_some(),
        };
        // ECR does not enforce a policy that may not be attached yet.
        if native.mode != Mode::Protect
            && self.may_write()
            && !may_attach
            && let Some(acting) = current.as_ref().filter(|current| is_protected(current))
            && let Some(policy) = without_protection(acting)
        {
            native.entry.policy = policy;
        }
        let suspended_at = record.as_ref().and_then(|found| found.record.as_ref().ok()?.suspended.as_ref());
        let suspended_at = suspended_at.map(|suspended| suspended.at);
        let is_suspended = current.as_ref().is_some_and(is_suspended);
        let look = match self.access {
            Access::Read(_) => None,
            Access::Protect(_) | Access::Write(_) => {
                let look = self.look(read_at).await?;
                // Whoever suspended it after that look may know what it does not say. Who suspends writes the record last.
                let is_older = suspended_at.map_or(is_suspended, |at| at >= look.1);
                match may_attach && is_older {
                    true => Some(self.look(MonotonicInstant::now()).await?),
                    false => Some(look),
                }
            }
        };
        let usage =
            look.as_ref().map_or_else(|| &self.initial_usage().usage, |(observation, _)| &observation.usage);
        let (_, plan) = planned.snapshot.decide(&native.entry, usage, self.clients.now());
        let used_at = look.as_ref().map_or(planned.now, |(_, now)| *now);
        let mut now = Now { native: &native, current_text, current, record, plan, used_at, counted: None };
        self.check(&mut now);
        // Also where it is only attached by this run.
        let acts =
            now.acts() || (may_attach && native.mode == Mode::Attach) || (may_attach && now.is_suspended());
        if now.plan.blockers.is_empty() && acts && native.mode != Mode::Protect {
            self.reserve(planned, &mut now).await?;
        }
        note(outcome, &now.plan.blockers);
        outcome.expiring_by_ecr = planned.amount(&now.plan.by_ecr);
        let may_act = now.plan.blockers.is_empty();
        // An own policy that cannot be attached is an obstacle already.
        let nothing = TakesNothing::new().map_err(ProtectProblem::EmptyPolicy)?;
        let wanted = wanted.unwrap_or_else(|_| nothing.policy().clone());
        let question = Question {
            mode: native.mode,
            current: now.current.as_ref(),
            wanted: &wanted,
            may_act,
            // A dry run that was asked for says what a run that enforces would do.
            may_attach: may_attach || !self.may_write(),
            is_left_alone: self.is_left_alone(),
        };
        let attachment = question.answer(nothing);
        if !self.may_write() {
            if let Some(attached) = &mut outcome.attachment {
                attached.lifecycle_policy = match attachment {
                    Attachment::Unchanged => PolicyChange::Unchanged,
                    Attachment::Attach(_) => PolicyChange::ToBeAttached,
                    Attachment::Suspend(_) => PolicyChange::ToBeSuspended,
                };
            }
            self.record_policy_state(&now, outcome);
            return Ok(());
        }
        let meanwhile = self.refresh_protection(planned, &now, attachment, outcome, read_at).await?;
        note(outcome, meanwhile.as_slice());
        outcome.status = match self.access {
            _ if !may_act || meanwhile.is_some() => Status::Blocked,
            Access::Write(_) => Status::Done,
            Access::Read(_) | Access::Protect(_) => Status::Previewed,
        };
        Ok(())
    }

    /// Whether an attached policy continues to act though this run may not attach one: the run only protects, or the policies
    /// file is so new that its effect was not previewed.
    fn is_left_alone(&self) -> bool {
        let reason = self.run.dry_run_reason;
        self.is_on && matches!(reason, Some(DryRunReason::NotPreviewed | DryRunReason::ProtectOnly))
    }

    const fn may_write(&self) -> bool {
        !matches!(self.access, Access::Read(_))
    }

    fn protects(&self) -> Result<&EcrProtect, RunError> {
        self.access.protect().ok_or_else(|| ProtectProblem::Preview.into())
    }

    pub(super) fn records(&self) -> Option<ProtectionRecords<'_>> {
        let (s3, bucket) = (self.clients.s3, self.clients.bucket);
        self.clients.has_bucket().then_some(ProtectionRecords { s3, bucket })
    }

    /// Adds what makes an attached policy uncertain besides its plan.
    fn check(&self, now: &mut Now<'_>) {
        // For somebody else's policy it is only known whether it relies on the protection tags.
        let is_foreign = now.current_text.is_some() && !now.current.as_ref().is_some_and(is_protected);
        let governs = match now.native.mode {
            Mode::Protect | Mode::Provisioned => is_foreign,
            // It is replaced, or left alone.
            Mode::Attach => false,
        };
        if governs {
            now.plan.blockers.push(Blocker::Unprotected);
        }
        // Somebody deleted it: this stack does not go on with it, either.
        if now.native.mode == Mode::Provisioned && now.current_text.is_none() {
            now.plan.blockers.push(Blocker::NotAttached);
        }
        // The plan is of the policy that was attached when the repository was read.
        let attached = now.current.as_ref().and_then(without_protection);
        if now.native.mode == Mode::Protect
            && !governs
            && attached.is_some_and(|attached| attached != now.native.entry.policy)
        {
            now.plan.blockers.push(Blocker::Reassigned(Reassignment::Replaced));
        }
    }

    /// Reserves the registry's daily limit for what ECR expires, or checks it in a dry run.
    async fn reserve(&self, planned: &RepositoryPlan<'_>, now: &mut Now<'_>) -> Result<(), RunError> {
        let images = &planned.snapshot.images;
        let at = self.clients.now();
        let counted = now.plan.all_counted(images);
        let digest = |place: &ImageIndex| images.images().get(*place as usize).map(|image| &*image.digest);
        let newly = now.newly_expiring(images);
        let places = newly.intersection(&counted);
        let mut digests: Vec<String> = places.filter_map(digest).map(str::to_owned).collect();
        digests.retain(|digest| !now.is_counted_today(digest, at));
        let wanted = digests.len() as u64;
        if wanted == 0 || !self.clients.has_bucket() {
            return Ok(());
        }
        now.counted = Some((at, digests));
        let limits = self.policy_set.limits();
        let reserved = if self.may_write() {
            registry_limit::reserve_all(&self.clients, limits, wanted).await?
        } else {
            registry_limit::room(&self.clients, limits, wanted).await?
        };
        if reserved.granted < wanted {
            let (before, limit) = (reserved.before, reserved.limit);
            now.counted = None;
            now.plan.blockers.push(Blocker::Registry { planned: wanted, before, limit });
        }
        Ok(())
    }

    /// Does what is to be done, in an order in which no image in use is ever without a tag that it needs while a policy acts. Gives
    /// what others did meanwhile, so that this run leaves the policy to the next one.
    async fn refresh_protection(
        &self,
        planned: &RepositoryPlan<'_>,
        now: &Now<'_>,
        attachment: Attachment,
        outcome: &mut Outcome,
        read_at: MonotonicInstant,
    ) -> Result<Option<Blocker>, RunError> {
        let written_down = match (&attachment, &now.current) {
            (Attachment::Suspend(_), Some(current)) => {
                let place = (planned.snapshot.registry_id.as_str(), planned.snapshot.name.as_str());
                let text = now.current_text.as_deref().unwrap_or_default();
                self.write_down_unknown(place, text, current, now.known(), outcome).await
            }
            _ => Ok(()),
        };
        let mut executor = Executor::new(self, planned, outcome, read_at);
        executor.protects(&now.native.entry.policy);
        let suspended = match (&attachment, written_down) {
            (Attachment::Suspend(nothing), Ok(())) => {
                executor.execute(&[Action::Suspend(nothing.clone())]).await
            }
            (_, written_down) => written_down,
        };
        let tags = put_tags(planned, &now.plan);
        // What cannot be suspended needs its protection tags all the more.
        executor.execute(&tags).await?;
        suspended?;
        let (is_suspended, acts) = match &attachment {
            Attachment::Suspend(_) => (true, false),
            Attachment::Attach(_) => (false, true),
            Attachment::Unchanged => (now.is_suspended(), now.acts() || now.native.mode == Mode::Protect),
        };
        let may_act = now.plan.blockers.is_empty();
        let reason = is_suspended.then(|| self.why_suspended(now));
        // What is not suspended and not certain is not refreshed: it becomes stale.
        let is_refreshed = may_act && acts;
        if !is_suspended && !is_refreshed {
            if now.native.mode == Mode::Protect {
                let RepositorySnapshot { name, registry_id, .. } = &planned.snapshot;
                self.remember_unrefreshed(name.as_str(), registry_id).await?;
            }
            self.record_policy_state(now, outcome);
            return Ok(None);
        }
        if !is_suspended {
            self.write_down_plan(planned, now, outcome).await?;
        }
        if let Attachment::Attach(policy) = &attachment {
            self.write_down_policy(planned, now, policy, outcome).await?;
        }
        if let Some(meanwhile) = self.record(planned, now, reason, outcome).await? {
            return Ok(Some(meanwhile));
        }
        if matches!(attachment, Attachment::Suspend(_)) {
            let RepositorySnapshot { name, registry_id, .. } = &planned.snapshot;
            self.stay_suspended(name, registry_id, now.known(), outcome).await?;
        }
        if let Attachment::Attach(policy) = attachment {
            let mut executor = Executor::new(self, planned, outcome, read_at);
            executor.puts_policies_with(self.lifts);
            executor.execute(&[Action::PutPolicy(policy)]).await?;
            return self.check_again(planned, outcome, read_at).await;
        }
        Ok(None)
    }

    /// Looks whether others suspended the policy while it was put back, who may know what this run does not.
    async fn check_again(
        &self,
        planned: &RepositoryPlan<'_>,
        outcome: &mut Outcome,
        read_at: MonotonicInstant,
    ) -> Result<Option<Blocker>, RunError> {
        let Some(records) = self.records() else { return Ok(None) };
        // If this fails, what is attached is suspended.
        let found = self.clients.call(records.find(planned.snapshot.name.as_str())).await?;
        let record = found.as_ref().and_then(|found| found.record.as_ref().ok());
        let meanwhile = match record.map(|record| &record.suspended) {
            Some(None) => return Ok(None),
            Some(Some(suspended)) => Reassignment::Suspended(suspended.reason.clone()),
            None => Reassignment::Unrecorded,
        };
        let nothing = TakesNothing::new().map_err(ProtectProblem::EmptyPolicy)?;
        let mut executor = Executor::new(self, planned, outcome, read_at);
        executor.execute(&[Action::Suspend(nothing)]).await?;
        Ok(Some(Blocker::Reassigned(meanwhile)))
    }

    /// Why the policy is suspended, for people.
    fn why_suspended(&self, now: &Now<'_>) -> String {
        if let Some(blocker) = now.plan.blockers.first() {
            return blocker.to_string();
        }
        let before = now.known().and_then(|record| record.suspended.as_ref());
        if now.native.mode == Mode::Provisioned && !self.is_on {
            // The switch is all that keeps it, whatever was the reason before.
            return SuspensionReason::SwitchedOff.to_string();
        }
        match (before, self.run.dry_run_reason) {
            (Some(before), _) => before.reason.clone(),
            (None, Some(reason)) => reason.explain(self.run.policies_file_hash.as_deref()),
            (None, None) => SuspensionReason::MayNotEnforce.to_string(),
        }
    }

    /// Journals what ECR expires behind the policy, as far as it was not journaled before.
    async fn write_down_plan(
        &self,
        planned: &RepositoryPlan<'_>,
        now: &Now<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), RunError> {
        if now.native.mode == Mode::Protect {
            return Ok(());
        }
        let images = &planned.snapshot.images;
        let mut places: Vec<ImageIndex> = now.newly_expiring(images).into_iter().collect();
        if places.is_empty() {
            return Ok(());
        }
        places.sort_unstable();
        let protected = RepositoryPlan {
            plan: now.plan.clone(),
            entry: std::borrow::Cow::Borrowed(&now.native.entry),
            ..planned.clone()
        };
        let mut lines = Vec::with_capacity(places.len());
        for place in places {
            let Some(image) = images.images().get(place as usize) else { continue };
            let action = match protected.rule(place) {
                Some((_, action)) => action,
                None => ActionTaken::from(RuleAction::Expire),
            };
            lines.push(Line {
                run_id: self.run.run_id.clone(),
                at: self.clients.now(),
                registry_id: planned.snapshot.registry_id.clone(),
                region: self.clients.region.to_owned(),
                by: Actor::of_run(self.run.started_by.as_deref()),
                repository_name: planned.snapshot.name.as_str().to_owned(),
                image_digest: image.digest.to_string(),
                image_tags: image.tags.iter().map(ToString::to_string).collect(),
                image_pushed_at: image.pushed_at,
                image_size_in_bytes: image.size_in_bytes,
                image_manifest: None,
                image_manifest_media_type: None,
                action,
                policy: Some(now.native.entry.name.clone()),
                policies_file_version: self.run.policies_file_version.clone(),
                applied_rule_priority: protected.rule(place).map(|(priority, _)| priority),
                reason: protected.reason(place),
                usage_read_at: Some(now.used_at),
            });
        }
        let folder = journal::prefix(self.run);
        let key =
            write_journal::write_plan(&self.clients, &folder, planned.snapshot.name.as_str(), &lines).await?;
        outcome.add_journal_key(key);
        Ok(())
    }

    /// Journals somebody else's policy that is about to be replaced.
    async fn write_down_policy(
        &self,
        planned: &RepositoryPlan<'_>,
        now: &Now<'_>,
        policy: &LifecyclePolicy,
        outcome: &mut Outcome,
    ) -> Result<(), RunError> {
        let Some(text) = now.current_text.as_ref() else { return Ok(()) };
        // One that takes nothing is what this stack put there.
        if now.is_suspended() {
            return Ok(());
        }
        let reason = ReplacementReason::Assigned(&now.native.entry.name).to_string();
        let place = (planned.snapshot.registry_id.as_str(), planned.snapshot.name.as_str());
        let known = now.known();
        let is_own =
            now.current.as_ref().is_some_and(|current| known.is_some_and(|known| known.is_attached(current)))
                || (planned.is_created_on_push && of_created_on_push(text).is_some());
        self.journal_policy(place, (text, is_own), policy, &reason, outcome).await
    }

    /// Journals a policy that is about to be suspended and is not that of the record: it may be somebody else's policy that
    /// begins with the protection rule.
    async fn write_down_unknown(
        &self,
        place: (&str, &str),
        text: &str,
        current: &LifecyclePolicy,
        known: Option<&ProtectionRecord>,
        outcome: &mut Outcome,
    ) -> Result<(), RunError> {
        if known.is_some_and(|known| known.is_attached(current)) {
            return Ok(());
        }
        let nothing = TakesNothing::new().map_err(ProtectProblem::EmptyPolicy)?;
        let reason = ReplacementReason::NotOurs.to_string();
        self.journal_policy(place, (text, false), nothing.policy(), &reason, outcome).await
    }

    async fn journal_policy(
        &self,
        (registry_id, repository_name): (&str, &str),
        (text, was_attached_by_stack): (&str, bool),
        policy: &LifecyclePolicy,
        reason: &str,
        outcome: &mut Outcome,
    ) -> Result<(), RunError> {
        let line = PolicyLine {
            run_id: self.run.run_id.clone(),
            at: self.clients.now(),
            registry_id: registry_id.to_owned(),
            region: self.clients.region.to_owned(),
            by: Actor::of_run(self.run.started_by.as_deref()),
            repository_name: repository_name.to_owned(),
            lifecycle_policy_text: text.to_owned(),
            replaced_by: policy.to_json(),
            reason: reason.to_owned(),
            was_attached_by_stack,
        };
        let key = write_journal::write_policy(&self.clients, &journal::prefix(self.run), &line).await?;
        outcome.add_journal_key(key);
        Ok(())
    }

    /// Writes the record: refreshed, or suspended for a reason. If others did something meanwhile by which this run must not go on,
    /// it is not written, and that is what this gives.
    async fn record(
        &self,
        planned: &RepositoryPlan<'_>,
        now: &Now<'_>,
        reason: Option<String>,
        outcome: &mut Outcome,
    ) -> Result<Option<Blocker>, RunError> {
        let Some(records) = self.records() else { return Ok(None) };
        let name = planned.snapshot.name.as_str();
        // If not all requests for protection are known, the policy may be somebody else's, and the record is not changed.
        let is_protection_unknown = planned.is_protection_unknown || self.run.policies_file_problem.is_some();
        if now.native.mode == Mode::Protect
            && is_protection_unknown
            && now.known().is_some_and(|known| known.mode != Mode::Protect)
        {
            self.record_policy_state(now, outcome);
            return Ok(None);
        }
        let mut before = now.record.clone();
        for _ in 0..MAX_CAS_ATTEMPTS {
            let known = before.as_ref().and_then(|found| found.record.as_ref().ok());
            // Requests that were made meanwhile do not affect this run.
            let asked = known
                .filter(|known| known.mode == Mode::Provisioned)
                .map(|known| &known.lifecycle_policy_text);
            let went_by = now.known().map(|known| &known.lifecycle_policy_text);
            if now.native.mode == Mode::Provisioned && asked != went_by {
                return Ok(Some(Blocker::Reassigned(Reassignment::Requested)));
            }
            // Whoever suspended it meanwhile may know what this run does not.
            let before_this = now.known().and_then(|known| known.suspended.as_ref());
            if reason.is_none()
                && let Some(suspended) = known.and_then(|known| known.suspended.as_ref())
                && Some(suspended) != before_this
            {
                let reason = suspended.reason.clone();
                return Ok(Some(Blocker::Reassigned(Reassignment::Suspended(reason))));
            }
            let suspended = reason.as_ref().map(|reason| {
                let at = known.and_then(|known| known.suspended.as_ref()).map(|suspended| suspended.at);
                Suspension { at: at.unwrap_or_else(|| self.clients.now()), reason: reason.clone() }
            });
            let record = self.record_now(planned, now, known, suspended);
            let etag = before.as_ref().map(|found| found.etag.as_str());
            if self.clients.call(records.replace(&record, etag)).await? {
                self.record_protection(&record, outcome);
                self.has_changed.set(true);
                return Ok(None);
            }
            let found = self.clients.call(records.find(name)).await?;
            before = found.map(|found| found.of_registry(&planned.snapshot.registry_id));
        }
        Err(ProtectProblem::RecordContended.into())
    }

    /// The record as it is from now on; `known` is the one that is replaced.
    fn record_now(
        &self,
        planned: &RepositoryPlan<'_>,
        now: &Now<'_>,
        known: Option<&ProtectionRecord>,
        suspended: Option<Suspension>,
    ) -> ProtectionRecord {
        let RepositorySnapshot { name, registry_id, read_at, images, .. } = &planned.snapshot;
        let mode = now.native.mode;
        let of_known = known.and_then(|known| known.lifecycle_policy_text.clone());
        let current_usage = match (&suspended, known) {
            (Some(_), Some(known)) => {
                ProtectionRecord { refreshed_by: known.refreshed_by.clone(), ..known.clone() }
            }
            // What was pushed since the repository was read has no tag yet.
            _ => ProtectionRecord::new(
                registry_id,
                name.as_str(),
                mode,
                now.used_at.min(*read_at),
                &self.run.run_id,
            ),
        };
        let (at, more) = now.counted.clone().unwrap_or_else(|| (self.clients.now(), Vec::new()));
        ProtectionRecord {
            registry_id: registry_id.clone(),
            repository_name: name.as_str().to_owned(),
            mode,
            refreshed_at: current_usage.refreshed_at,
            refreshed_by: current_usage.refreshed_by,
            lifecycle_policy_text: match mode {
                Mode::Protect => None,
                // ECR made it on a push, and this is its first record.
                Mode::Provisioned if now.known().is_none() => {
                    planned.native.as_ref().map(|native| native.entry.policy.to_json())
                }
                Mode::Provisioned => now.known().and_then(|known| known.lifecycle_policy_text.clone()),
                Mode::Attach if matches!(self.access, Access::Write(_)) => {
                    Some(now.native.entry.policy.to_json())
                }
                // A policy that this run does not attach may be somebody else's.
                Mode::Attach => of_known.clone(),
            },
            expiring: match (&suspended, mode) {
                (None, Mode::Attach | Mode::Provisioned) => now.expiring(images),
                _ => Vec::new(),
            },
            counted: Counted::with(known.and_then(|known| known.counted.clone()), at, more),
            provisioned_policy_text: match mode {
                Mode::Attach => made_with(planned, now, known),
                Mode::Provisioned | Mode::Protect => None,
            },
            withdrawn: false,
            suspended,
        }
    }

    fn record_policy_state(&self, now: &Now<'_>, outcome: &mut Outcome) {
        if let Some(record) = now.known() {
            self.record_protection(record, outcome);
        }
    }

    /// Copies the record into the outcome.
    fn record_protection(&self, record: &ProtectionRecord, outcome: &mut Outcome) {
        let Some(attached) = &mut outcome.attachment else { return };
        attached.refreshed_at = record.known_refresh();
        attached.suspended_at = record.suspended.as_ref().map(|suspended| suspended.at);
        attached.suspended_because = record.suspended.as_ref().map(|suspended| suspended.reason.clone());
        // Without the switch nothing of the policies file acts, and whoever turned it off knows.
        attached.suspension_is_intended =
            record.suspended.is_some() && record.mode == Mode::Attach && !self.is_on;
    }

    /// Suspends a policy that this stack attached and that may not act any more, whatever expires by it.
    #[expect(clippy::too_many_arguments, reason = "one look at the repository, in its parts")]
    async fn withdraw(
        &self,
        planned: &RepositoryPlan<'_>,
        outcome: &mut Outcome,
        (current_text, current): (Option<&str>, Option<&LifecyclePolicy>),
        record: Option<Found>,
        withdrawal: &Withdrawal,
        mode: Mode,
        read_at: MonotonicInstant,
    ) -> Result<(), RunError> {
        let Withdrawal { reason, is_intended, is_final } = withdrawal;
        let reason = reason.to_string();
        let acts = current.is_some_and(is_acting);
        let known = record.as_ref().and_then(|found| found.record.as_ref().ok());
        let was_withdrawn = known.is_some_and(|known| known.withdrawn);
        // A policy that acts after this stack removed its own is somebody else's, whatever it begins with.
        let is_of_others = was_withdrawn && acts;
        let acts = acts && !is_of_others;
        if is_of_others || !current.is_some_and(is_protected) {
            // Somebody else's policy is there, or none.
            outcome.attachment = None;
        }
        if let Some(attached) = &mut outcome.attachment {
            let suspended = known.and_then(|known| known.suspended.as_ref());
            attached.suspended_at = suspended.map(|suspended| suspended.at);
            attached.suspended_because = Some(reason.clone());
            attached.suspension_is_intended = *is_intended;
            if *is_intended {
                let name = &planned.snapshot.name;
                let drift = PolicyDrift::Withdrawn { reason: &reason, name };
                outcome.drift.push(drift.to_string());
            }
        }
        if !self.may_write() {
            if acts && let Some(attached) = &mut outcome.attachment {
                attached.lifecycle_policy = PolicyChange::ToBeSuspended;
            }
            return Ok(());
        }
        let name = planned.snapshot.name.as_str();
        let Some(records) = self.records() else { return Ok(()) };
        let nothing = TakesNothing::new().map_err(ProtectProblem::EmptyPolicy)?;
        let place = (planned.snapshot.registry_id.as_str(), name);
        if let (true, Some(text), Some(current)) = (acts, current_text, current) {
            self.write_down_unknown(place, text, current, known, outcome).await?;
            let mut executor = Executor::new(self, planned, outcome, read_at);
            executor.execute(&[Action::Suspend(nothing.clone())]).await?;
            if let Some(attached) = &mut outcome.attachment {
                attached.suspended_at = Some(self.clients.now());
            }
        }
        // With `apply: protect` another policy may come in its place at any moment.
        let tags = put_tags(planned, &planned.plan);
        Executor::new(self, planned, outcome, read_at).execute(&tags).await?;
        let is_suspended = !is_of_others && (acts || current.is_some_and(is_suspended));
        let is_of_file = *is_final && known.is_some_and(|known| known.mode == Mode::Attach);
        // The policies file has it no more: the journal is where it can be found, and the record until it is there.
        let text = match current_text.filter(|_| acts && mode == Mode::Attach) {
            Some(text) => Some(text.to_owned()),
            None if is_of_file && is_suspended && !was_withdrawn => known.and_then(suspended_policy),
            None => None,
        };
        if let Some(text) = text {
            self.journal_policy(place, (&text, true), nothing.policy(), &reason, outcome).await?;
        }
        if !is_suspended {
            // Nothing is left of this stack's, and whoever wants a policy here may ask for one. Where only this run does not go on, the
            // next one has to know that the repository is protected.
            let is_kept = mode == Mode::Provisioned && !is_final;
            if let Some(found) = record.as_ref().filter(|_| !is_kept) {
                self.clients.call(records.forget_if(name, &found.etag)).await?;
            }
            return Ok(());
        }
        let is_known = known.is_some_and(|known| known.suspended.is_some());
        if was_withdrawn || (is_known && !is_of_file) {
            return Ok(());
        }
        let before = known.and_then(|known| known.suspended.as_ref()).map(|suspended| suspended.at);
        let at = before.filter(|_| !acts).unwrap_or_else(|| self.clients.now());
        let suspension = Suspension { at, reason: reason.clone() };
        if let Some(attached) = &mut outcome.attachment {
            attached.suspended_at = Some(at);
        }
        let record_now = match (known, current) {
            (Some(known), _) if is_of_file => {
                let back = known.back_to_provisioned(suspension.clone());
                back.unwrap_or_else(|| ProtectionRecord { withdrawn: true, ..known.suspended(suspension) })
            }
            (Some(known), _) => known.suspended(suspension),
            (None, Some(current)) => self.unknown(place, mode, current, suspension),
            (None, None) => return Ok(()),
        };
        let etag = record.as_ref().map(|found| found.etag.as_str());
        // A concurrent writer of the record uses the attached policy, too.
        self.clients.call(records.replace(&record_now, etag)).await?;
        if acts {
            let RepositorySnapshot { name, registry_id, .. } = &planned.snapshot;
            self.stay_suspended(name, registry_id, Some(&record_now), outcome).await?;
        }
        Ok(())
    }
}

/// The policy that a repository was made with which the policies file attaches another policy to, to come back one day.
fn made_with(
    planned: &RepositoryPlan<'_>,
    now: &Now<'_>,
    known: Option<&ProtectionRecord>,
) -> Option<String> {
    match known {
        Some(known) if known.mode == Mode::Provisioned => known.lifecycle_policy_text.clone(),
        Some(known) if known.mode == Mode::Attach => known.provisioned_policy_text.clone(),
        // No run has seen it yet.
        Some(_) | None if planned.is_created_on_push => {
            now.current_text.as_deref().and_then(of_created_on_push).map(|policy| policy.to_json())
        }
        Some(_) | None => None,
    }
}

/// The policy that a record remembers, behind the protection rule.
fn suspended_policy(record: &ProtectionRecord) -> Option<String> {
    let policy = LifecyclePolicy::parse(record.lifecycle_policy_text.as_deref()?);
    match policy.map(|policy| protected(&policy)) {
        Ok(Ok(policy)) => Some(policy.to_json()),
        // It never was attached as it is.
        Ok(Err(_)) | Err(_) => None,
    }
}

/// Adds blockers that keep the policy from acting, each once.
fn note(outcome: &mut Outcome, blockers: &[Blocker]) {
    for held in blockers.iter().map(ReportedBlocker::from) {
        if !outcome.blockers.contains(&held) {
            outcome.blockers.push(held);
        }
    }
}

/// The protection tags that a plan adds.
fn put_tags(planned: &RepositoryPlan<'_>, plan: &Plan) -> Vec<Action> {
    let images = planned.snapshot.images.images();
    let additions = plan.tagging.additions.iter();
    let tags = additions.filter_map(|(place, tag)| {
        let image_digest = images.get(*place as usize)?.digest.to_string();
        Some(Action::PutTag { image_digest, tag: tag.clone() })
    });
    tags.collect()
}

/// How the attached policy differs from the wanted one.
fn drift(current: Option<&str>, wanted: &LifecyclePolicy) -> Vec<String> {
    match current.map(LifecyclePolicy::parse) {
        None => vec![PolicyDrift::NotAttached.to_string()],
        Some(Err(_)) => vec![PolicyDrift::Unreadable.to_string()],
        Some(Ok(current)) => diff(&current, wanted).iter().map(ToString::to_string).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lifecycle::PolicySource;

    fn policy(rules: &str) -> LifecyclePolicy {
        PolicySource::parse(&format!("rules: [{rules}]")).unwrap().policy().unwrap().clone()
    }

    fn nothing() -> TakesNothing {
        TakesNothing::new().unwrap()
    }

    /// The decisions for: no policy, somebody else's, an older one of this stack, the wanted one, the suspended one.
    fn answers(mode: Mode, may_act: bool, may_attach: bool, is_left_alone: bool) -> [&'static str; 5] {
        let simple = policy("{ selection: untagged, maximumAgeLimit: 9 }");
        let older = protected(&policy("{ selection: untagged, maximumAgeLimit: 3 }")).unwrap();
        let wanted = protected(&simple).unwrap();
        let suspended = nothing().policy().clone();
        [None, Some(&simple), Some(&older), Some(&wanted), Some(&suspended)].map(|current| {
            let question = Question { mode, current, wanted: &wanted, may_act, may_attach, is_left_alone };
            match question.answer(nothing()) {
                Attachment::Unchanged => "-",
                Attachment::Attach(policy) => {
                    assert_eq!(policy, wanted);
                    "attach"
                }
                Attachment::Suspend(_) => "suspend",
            }
        })
    }

    #[test]
    fn an_enforcing_run_attaches_what_is_certain_and_suspends_what_is_not() {
        assert_eq!(answers(Mode::Attach, true, true, false), ["attach", "attach", "attach", "-", "attach"]);
        assert_eq!(answers(Mode::Attach, false, true, false), ["-", "-", "suspend", "suspend", "-"]);
    }

    #[test]
    fn a_run_that_may_not_enforce_suspends_what_the_policies_file_attached_and_lifts_nothing() {
        assert_eq!(answers(Mode::Attach, true, false, false), ["-", "-", "suspend", "suspend", "-"]);
        assert_eq!(answers(Mode::Attach, true, false, true), ["-"; 5]);
        assert_eq!(answers(Mode::Attach, false, false, true), ["-", "-", "suspend", "suspend", "-"]);
    }

    #[test]
    fn a_policy_that_a_repository_was_made_with_comes_back_and_nobody_elses_is_replaced() {
        assert_eq!(answers(Mode::Provisioned, true, true, false), ["-", "-", "attach", "-", "attach"]);
        assert_eq!(answers(Mode::Provisioned, true, false, false), ["-"; 5]);
        assert_eq!(answers(Mode::Provisioned, false, false, true), ["-", "-", "suspend", "suspend", "-"]);
    }

    #[test]
    fn somebody_elses_policy_is_never_written() {
        for (may_act, may_attach, is_left_alone) in
            [(true, true, true), (true, false, false), (false, true, false), (false, false, true)]
        {
            assert_eq!(answers(Mode::Protect, may_act, may_attach, is_left_alone), ["-"; 5]);
        }
    }
}
