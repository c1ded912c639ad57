//! Actions on a repository, as values: a preview prints them, and one interpreter executes them. An image is named by its digest,
//! so that an action means the same after the repository is read again.

use std::fmt;

use crate::domain::enforcement::in_use_protection::TakesNothing;
use crate::domain::lifecycle::LifecyclePolicy;

/// One thing that is done to a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// An image is deleted, with all its tags.
    Delete(Removal),
    /// An image is moved to the archive, from where it cannot be pulled.
    Archive(Removal),
    /// An image gets another tag.
    PutTag {
        /// The image's digest.
        image_digest: String,
        /// The tag.
        tag: String,
    },
    /// A lifecycle policy is attached, which ECR applies from then on.
    PutPolicy(LifecyclePolicy),
    /// Attaches the protection rule alone, by which nothing expires, instead of a policy that would act.
    Suspend(TakesNothing),
    /// Restores an image that came into use after it was deleted or archived.
    PutBack {
        /// The image's digest.
        image_digest: String,
        /// The tags that it had.
        image_tags: Vec<String>,
        /// The user of the image.
        reason: String,
    },
}

/// An image that is deleted or archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The image's digest.
    pub image_digest: String,
    /// Its tags when this was decided.
    pub image_tags: Vec<String>,
    /// `rulePriority` of the rule that selects it.
    pub applied_rule_priority: u64,
    /// Why the rule selects it, in a sentence.
    pub reason: String,
    /// Whether limits count it: it is independent, and not a child or referrer of another image.
    pub is_counted: bool,
    /// The step of the deletion. All images of a step are deleted before those of the next: an image index before its children, a
    /// subject before its referrers.
    pub step: usize,
}

/// Actions that are executed together: removals of one step and kind by up to `size`, every other action alone.
pub fn batches(actions: &[Action], size: usize) -> impl Iterator<Item = &[Action]> {
    let mut rest = actions;
    std::iter::from_fn(move || {
        let first = rest.first()?;
        let together = rest.iter().take(size).take_while(|other| goes_with(first, other)).count().max(1);
        let (batch, after) = rest.split_at(together);
        rest = after;
        Some(batch)
    })
}

fn goes_with(one: &Action, other: &Action) -> bool {
    match (one, other) {
        (Action::Delete(one), Action::Delete(other)) => one.step == other.step,
        (Action::Archive(one), Action::Archive(other)) => one.step == other.step,
        (Action::PutTag { .. }, Action::PutTag { .. }) => true,
        _ => false,
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delete(removal) => write!(f, "delete {removal}"),
            Self::Archive(removal) => write!(f, "archive {removal}"),
            Self::PutTag { image_digest, tag } => write!(f, "add the tag {tag} to {image_digest}"),
            Self::PutPolicy(policy) => {
                write!(
                    f,
                    "attach a lifecycle policy of {}",
                    crate::domain::text::quantity::count(policy.rules().len() as u64, "rule")
                )
            }
            Self::Suspend(_) => {
                f.write_str("suspend the lifecycle policy: attach one by which nothing expires")
            }
            Self::PutBack { image_digest, image_tags, reason } => {
                write!(f, "put back {}: it is in use: {reason}", named(image_digest, image_tags))
            }
        }
    }
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let image = named(&self.image_digest, &self.image_tags);
        write!(f, "{image} (rule {}): {}", self.applied_rule_priority, self.reason)
    }
}

fn named(digest: &str, tags: &[String]) -> String {
    match tags {
        [] => digest.to_owned(),
        tags => format!("{digest} ({})", tags.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removal(digest: &str, step: usize) -> Removal {
        Removal {
            image_digest: digest.to_owned(),
            image_tags: vec!["v1".to_owned(), "latest".to_owned()],
            applied_rule_priority: 2,
            reason: "Pushed 30 days ago; the limit is 14 days.".to_owned(),
            is_counted: true,
            step,
        }
    }

    fn put_tag(tag: &str) -> Action {
        Action::PutTag { image_digest: "sha256:aa".to_owned(), tag: tag.to_owned() }
    }

    #[test]
    fn an_action_reads_as_a_sentence() {
        let suspend = Action::Suspend(TakesNothing::new().unwrap());
        let put_back = Action::PutBack {
            image_digest: "sha256:aa".to_owned(),
            image_tags: Vec::new(),
            reason: "app@sha256:aa by task/1".to_owned(),
        };
        let described: Vec<String> =
            [Action::Delete(removal("sha256:aa", 0)), put_tag("keep"), suspend, put_back]
                .iter()
                .map(ToString::to_string)
                .collect();
        assert_eq!(
            described,
            [
                "delete sha256:aa (v1, latest) (rule 2): Pushed 30 days ago; the limit is 14 days.",
                "add the tag keep to sha256:aa",
                "suspend the lifecycle policy: attach one by which nothing expires",
                "put back sha256:aa: it is in use: app@sha256:aa by task/1",
            ]
        );
    }

    #[test]
    fn removals_are_batched_within_a_step_and_up_to_a_size() {
        let mut actions: Vec<Action> = (0..5).map(|n| Action::Delete(removal(&n.to_string(), 0))).collect();
        actions.push(Action::Delete(removal("child", 1)));
        actions.push(Action::Archive(removal("old", 0)));
        actions.extend([put_tag("a"), put_tag("b")]);
        actions.push(Action::Suspend(TakesNothing::new().unwrap()));
        let sizes: Vec<usize> = batches(&actions, 3).map(<[Action]>::len).collect();
        assert_eq!(sizes, [3, 2, 1, 1, 2, 1]);
        assert_eq!(batches(&actions, 3).flatten().cloned().collect::<Vec<_>>(), actions);
    }
}
