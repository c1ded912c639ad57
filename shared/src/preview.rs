//! One preview: a policy, the images of a repository, what is in use and the time in; the report out.

use crate::image::listing::{ListedRepository, Listing};
use crate::image::{Image, ImageIndex, ImageStatus};
use crate::instant::Instant;
use crate::lifecycle::document::{Action, LifecyclePolicy, StorageClass};
use crate::lifecycle::evaluate::{Passes, Verdict, evaluate};
use crate::lifecycle::explain::Explainer;
use crate::lifecycle::finding::{Code, Finding};
use crate::lifecycle::lint::lint;
use crate::report::model::{
    ActionKind, ActionTaken, KeptImage, PreviewReport, PreviewResult, Status, Summary, TransitioningCount,
};
use crate::report::quantity;
use crate::usage::Usage;

pub mod request;

/// What a preview is asked with, beside the images.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The policy; `None` when there is to be none.
    pub policy: Option<&'a LifecyclePolicy>,
    /// Everything in use.
    pub usage: &'a Usage,
    /// The time for which to evaluate.
    pub now: Instant,
    /// One pass, as ECR's preview, or all.
    pub passes: Passes,
}

/// Previews every repository of a listing; for a listing without any image, one empty report.
#[must_use]
pub fn preview_all(question: Question<'_>, listing: &Listing) -> Vec<PreviewReport> {
    let empty = ListedRepository::default();
    let repositories = if listing.repositories.is_empty() {
        std::slice::from_ref(&empty)
    } else {
        &listing.repositories
    };
    let mut reports: Vec<PreviewReport> = repositories
        .iter()
        .map(|repository| preview(question, repository))
        .collect();
    if listing.incomplete {
        for report in &mut reports {
            report.findings.insert(
                0,
                Finding::new(
                    Code::ListingIncomplete,
                    "",
                    "the image listing ends with a token for more pages: images are missing, and counts are wrong",
                ),
            );
        }
    }
    reports
}

/// Previews one repository.
#[must_use]
pub fn preview(question: Question<'_>, repository: &ListedRepository) -> PreviewReport {
    let Question {
        policy,
        usage,
        now,
        passes,
    } = question;
    let images = &repository.images;
    let used = usage.of_repository(&repository.name, images);
    let evaluation = evaluate(policy, images, &used.images(), now, passes);
    let explainer = Explainer {
        policy,
        images,
        evaluation: &evaluation,
        now,
    };

    let mut acted: Vec<(u64, ImageIndex, &Image, Action, Option<u16>)> = Vec::new();
    let mut kept: Vec<(ImageIndex, &Image)> = Vec::new();
    for ((image, verdict), place) in images.images().iter().zip(evaluation.verdicts()).zip(0..) {
        match verdict.acting_rule().and_then(|rule| policy?.rules().get(rule)) {
            Some(rule) => acted.push((rule.priority, place, image, rule.action, verdict.pass())),
            None => kept.push((place, image)),
        }
    }
    acted.sort_by(|left, right| left.0.cmp(&right.0).then_with(|| oldest_first(left.2, right.2)));
    kept.sort_by(|left, right| oldest_first(left.1, right.1));

    let summary = summary(&acted.iter().map(|a| (a.2, a.3)).collect::<Vec<_>>(), &kept);
    let preview_results = acted
        .into_iter()
        .map(|(priority, place, image, action, pass)| PreviewResult {
            image_digest: image.digest.to_string(),
            image_tags: tags(image),
            image_pushed_at: image.pushed_at,
            image_size_in_bytes: image.size_in_bytes,
            action: ActionTaken::from(action),
            applied_rule_priority: priority,
            storage_class: match image.status {
                ImageStatus::Archived => StorageClass::Archive,
                _ => StorageClass::Standard,
            },
            reason: explainer.reason(place, None),
            pass: pass.filter(|_| passes == Passes::UntilStable),
            short_reason: explainer.short_reason(place),
        })
        .collect();
    let kept = kept
        .into_iter()
        .map(|(place, image)| {
            let due = explainer.due(place);
            let due_for = |action| due.filter(|due| due.action == action).map(|due| due.at);
            KeptImage {
                image_digest: image.digest.to_string(),
                image_tags: tags(image),
                image_pushed_at: image.pushed_at,
                image_size_in_bytes: image.size_in_bytes,
                held_by: explainer.held_by(place),
                reason: explainer.reason(place, used.reason(place)),
                expires_at: due_for(Action::Expire),
                transitions_at: due_for(Action::Transition),
            }
        })
        .collect();

    let mut findings = Vec::new();
    findings.extend(unknown_relations(repository, evaluation.verdicts()));
    findings.extend(used.not_found.iter().map(|reference| {
        Finding::new(
            Code::InUseNotFound,
            "",
            format!("{reference} is in use and not in the repository: it was deleted or retagged"),
        )
    }));
    if let Some(policy) = policy {
        findings.extend(lint(policy, images, &evaluation));
    }
    PreviewReport {
        registry_id: repository.name.registry_id.clone(),
        repository_name: repository.name.repository_name.clone(),
        lifecycle_policy_text: policy.map(LifecyclePolicy::to_json),
        evaluated_at: now,
        status: Status::Complete,
        preview_results,
        summary,
        kept,
        findings,
    }
}

/// Says so where only `DescribeImages` was read: children of indexes were taken for ordinary images.
fn unknown_relations(repository: &ListedRepository, verdicts: &[Verdict]) -> Option<Finding> {
    let gone = |place: &&ImageIndex| {
        verdicts
            .get(**place as usize)
            .is_some_and(|v| v.acting_rule().is_some())
    };
    let unread = repository.images.unread_indexes();
    let staying = unread.len() - unread.iter().filter(gone).count();
    (!unread.is_empty()).then(|| {
        Finding::new(
            Code::RelationsUnknown,
            "",
            format!(
                "the children of {} ({} of which stay) are not known, so they are ranked and expired like other images, \
                 which ECR does not do while their index is there; append the output of `aws ecr batch-get-image` for \
                 the indexes to the image listing",
                quantity::count(unread.len() as u64, "manifest list"),
                staying,
            ),
        )
    })
}

fn oldest_first(left: &Image, right: &Image) -> std::cmp::Ordering {
    left.age_time()
        .cmp(&right.age_time())
        .then_with(|| left.digest.cmp(&right.digest))
}

fn tags(image: &Image) -> Vec<String> {
    image.tags.iter().map(ToString::to_string).collect()
}

fn summary(acted: &[(&Image, Action)], kept: &[(ImageIndex, &Image)]) -> Summary {
    let total = |action| {
        acted
            .iter()
            .filter(|(_, taken)| *taken == action)
            .fold((0, 0_u64), |(count, size), (image, _)| {
                (count + 1, size.saturating_add(image.size_in_bytes))
            })
    };
    let (expiring, expiring_size) = total(Action::Expire);
    let (transitioning, transitioning_size) = total(Action::Transition);
    Summary {
        expiring_image_total_count: expiring,
        expiring_image_size_in_bytes: expiring_size,
        transitioning_image_total_counts: vec![TransitioningCount {
            target_storage_class: StorageClass::Archive,
            image_total_count: transitioning,
        }],
        transitioning_image_size_in_bytes: transitioning_size,
        kept_image_total_count: kept.len() as u64,
        kept_image_size_in_bytes: kept
            .iter()
            .fold(0, |size, (_, image)| size.saturating_add(image.size_in_bytes)),
    }
}

impl PreviewResult {
    /// Whether the image expires (and is not merely archived).
    #[must_use]
    pub fn expires(&self) -> bool {
        self.action.kind == ActionKind::Expire
    }
}
