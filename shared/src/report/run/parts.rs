//! What amounts of a report consist of: by which rule images expire, who uses those that are protected, what blocks others.
//!
//! They are added up from the images that outcomes list, the first thousand or so of a repository: what is beyond them is the rest
//! of the total.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::{Amount, Apply, ImageResult, Outcome, Status};
use crate::domain::preview::model::ActionKind;

/// Parts that a report lists of an amount; the smaller ones are the rest of the total.
pub const PARTS: usize = 20;

/// A part of an amount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// Its cause: a rule with the name of its policy, a user of images, the code of a blocker.
    pub name: String,
    /// The images.
    pub images: Amount,
}

/// Amounts by `rulePriority` of a policy.
type ByRule = BTreeMap<u64, Amount>;

/// Adds parts up.
#[derive(Debug, Default)]
pub(super) struct Sums(HashMap<String, Amount>);

impl Sums {
    fn add(&mut self, name: String, images: Amount) {
        self.0.entry(name).or_default().extend(images);
    }

    /// The largest parts, the largest first.
    pub(super) fn largest(self) -> Vec<Part> {
        let mut parts: Vec<Part> = self.0.into_iter().map(|(name, images)| Part { name, images }).collect();
        let rank =
            |part: &Part| std::cmp::Reverse((part.images.image_size_in_bytes, part.images.image_total_count));
        parts.sort_by(|one, two| rank(one).cmp(&rank(two)).then_with(|| one.name.cmp(&two.name)));
        parts.truncate(PARTS);
        parts
    }
}

/// The parts of all outcomes.
#[derive(Debug, Default)]
pub(super) struct AllParts {
    /// What was deleted, by its rule.
    pub(super) deleted: Sums,
    /// What is to be deleted, by its rule.
    pub(super) planned: Sums,
    /// What is protected since it is in use, by its user.
    pub(super) users: Sums,
    /// What is blocked, by the first of the blockers.
    pub(super) blockers: Sums,
}

impl AllParts {
    /// Adds an outcome.
    pub(super) fn take(&mut self, outcome: &Outcome) {
        let policy = outcome.policy.as_deref().unwrap_or_default();
        // As the total of what is to be deleted.
        let is_to_be_deleted = outcome.apply == Some(Apply::Delete)
            && outcome.status == Status::Previewed
            && outcome.blockers.is_empty();
        let (mut deleted, mut planned): (ByRule, ByRule) = Default::default();
        for image in &outcome.results {
            let one = Amount { image_total_count: 1, image_size_in_bytes: image.image_size_in_bytes };
            match image.outcome {
                ImageResult::Deleted => deleted.entry(image.applied_rule_priority).or_default().extend(one),
                ImageResult::Planned if is_to_be_deleted && image.action.kind == ActionKind::Expire => {
                    planned.entry(image.applied_rule_priority).or_default().extend(one);
                }
                ImageResult::InUse => {
                    let detail = image.detail.as_deref();
                    self.users.add(user(detail.unwrap_or(&image.reason)), one);
                }
                _ => {}
            }
        }
        if is_to_be_deleted {
            for (rule, images) in &outcome.undescribed.expiring {
                planned.entry(*rule).or_default().extend(*images);
            }
        }
        for (sums, by_rule) in [(&mut self.deleted, deleted), (&mut self.planned, planned)] {
            for (rule, images) in by_rule {
                sums.add(format!("{policy}: rule {rule}"), images);
            }
        }
        if let Some(blocker) = outcome.blockers.first()
            && !outcome.expiring.is_zero()
        {
            self.blockers.add(blocker.code.clone(), outcome.expiring);
        }
    }
}

/// Who uses an image, from the sentence that says why it is kept: an ARN in short, or as a list of use names it.
fn user(reason: &str) -> String {
    let used = reason.split_once("in use").and_then(|(_, used)| used.split_once(": "));
    let used = used.map_or(reason, |(_, used)| used).trim_end_matches('.');
    let user = match used.rsplit_once(" by ") {
        Some((_, user)) => user,
        None if used.starts_with("its ") => return "what belongs to images in use".to_owned(),
        // An image, of which a list says nothing else.
        None if used.contains(['@', ':']) => return "users without a name".to_owned(),
        None => used,
    };
    let user = user.split(" and ").next().unwrap_or(user);
    let (user, place) = user.split_once(" in ").map_or((user, ""), |(user, place)| (user, place));
    let name = in_short(user);
    if place.is_empty() { name } else { format!("{name} in {place}") }
}

/// `arn:aws:ecs:eu-west-1:123456789012:service/prod/web` is `ECS service prod/web`.
fn in_short(user: &str) -> String {
    let mut parts = user.splitn(6, ':');
    let (Some("arn"), _, Some(service), _, _, Some(resource)) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return user.to_owned();
    };
    let (kind, name) = resource.split_once(['/', ':']).unwrap_or(("", resource));
    let service = match service {
        "lambda" => "Lambda",
        "apprunner" => "App Runner",
        "batch" => "Batch",
        "bedrock-agentcore" => "AgentCore",
        "codebuild" => "CodeBuild",
        "emr-serverless" => "EMR Serverless",
        "sagemaker" => "SageMaker",
        other => return format!("{} {kind} {name}", other.to_uppercase()),
    };
    // A version of a function is the function.
    let name = if kind == "function" { name.split(':').next().unwrap_or(name) } else { name };
    format!("{service} {kind} {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_the_name_that_people_know_them_by() {
        for (reason, expected) in [
            (
                "Rule 5 would expire it, but it is in use: shop/web:v1 by arn:aws:ecs:eu-west-1:1:service/prod/web.",
                "ECS service prod/web",
            ),
            (
                "in use: shop/web@sha256:ab by arn:aws:lambda:eu-west-1:1:function:invoices:7 and 2 more",
                "Lambda function invoices",
            ),
            ("in use: shop/web:v1 by deployment/backoffice/web", "deployment/backoffice/web"),
            (
                "in use: a:b by service/web in 210987654321/eu-west-1.",
                "service/web in 210987654321/eu-west-1",
            ),
            (
                "Rule 5 would expire it, but it is in use: its child sha256:ab is.",
                "what belongs to images in use",
            ),
            ("Rule 5 would expire it, but it is in use: shop/web@sha256:ab.", "users without a name"),
            ("in use since the plan was made: task web", "task web"),
        ] {
            assert_eq!(user(reason), expected, "{reason}");
        }
    }
}
