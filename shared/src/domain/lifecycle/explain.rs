//! The reason for each image, in a sentence, made only for what is shown.

use std::fmt::Write as _;

use super::document::{Action, LifecyclePolicy, Limit, Rule};
use super::evaluate::{Evaluation, Verdict};
use crate::domain::image::{Image, ImageIndex, ImageStatus, RepositoryImages};
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity;

/// Characters of a digest's hexadecimal part where a digest is shortened, as the Docker client does.
const SHORT_DIGEST: usize = 12;

/// A digest in its short form: twelve hexadecimal characters.
#[must_use]
pub fn short_digest(digest: &str) -> &str {
    let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
    hex.char_indices().nth(SHORT_DIGEST).map_or(hex, |(end, _)| hex.get(..end).unwrap_or(hex))
}

/// When a rule by age will act on a kept image, if nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The time from which the rule acts on it.
    pub at: Instant,
    /// The action of the rule.
    pub action: Action,
}

/// Explains one evaluation.
#[derive(Debug, Clone, Copy)]
pub struct Explainer<'a> {
    /// The policy that was evaluated, if there was one.
    pub policy: Option<&'a LifecyclePolicy>,
    /// The images it was evaluated on.
    pub images: &'a RepositoryImages,
    /// The outcome.
    pub evaluation: &'a Evaluation,
    /// The time of the evaluation.
    pub now: Instant,
}

impl Explainer<'_> {
    fn image(&self, place: ImageIndex) -> Option<(&Image, Verdict)> {
        Some((self.images.images().get(place as usize)?, *self.evaluation.verdicts().get(place as usize)?))
    }

    fn rule(&self, place: u8) -> Option<&Rule> {
        self.policy?.rules().get(usize::from(place))
    }

    /// One sentence with the rule that acts on the image and why, or with what keeps the image. `used_by` names the user of an
    /// image in use.
    #[must_use]
    pub fn reason(&self, place: ImageIndex, used_by: Option<&str>) -> String {
        let Some((image, verdict)) = self.image(place) else {
            return String::new();
        };
        match verdict {
            Verdict::Marked { rule, rank, .. } | Verdict::HeldByRule { rule, rank } => {
                self.rule(rule).map(|rule| self.limit(image, rule, rank, verdict)).unwrap_or_default()
            }
            Verdict::Follows { rule, subject, .. } => {
                let deed = self.rule(rule).map(deed).unwrap_or_default();
                format!("About {}, which {deed}.", self.name(subject))
            }
            Verdict::HeldBySubject { subject } => {
                let subject_goes =
                    self.image(subject).is_some_and(|(_, verdict)| verdict.acting_rule().is_some());
                let outcome =
                    if subject_goes { "goes to the archive, where this one is already" } else { "stays" };
                format!("About {}, which {outcome}.", self.name(subject))
            }
            Verdict::HeldByIndex { index } => {
                format!("Referenced by the image index {}, which is in the repository.", self.name(index))
            }
            Verdict::HeldByUse { rule } => {
                let verb = self.rule(rule).map(|rule| verb(rule.action)).unwrap_or_default();
                let priority = self.rule(rule).map_or(0, |rule| rule.priority);
                format!(
                    "Rule {priority} would {verb} it, but it is in use: {}.",
                    used_by.unwrap_or("it is protected")
                )
            }
            Verdict::UnknownStatus => {
                "Its status is not known to this version; no rule acts on it.".to_owned()
            }
            Verdict::Restoring => "Being restored from the archive; no rule acts on it.".to_owned(),
            Verdict::NotIdentified if self.policy.is_none() => "There is no lifecycle policy.".to_owned(),
            Verdict::NotIdentified if image.status == ImageStatus::Archived => {
                "Archived, and no rule selects it there.".to_owned()
            }
            Verdict::NotIdentified if image.tags.is_empty() => {
                "Untagged, and no rule selects untagged images.".to_owned()
            }
            Verdict::NotIdentified => "No rule selects its tags.".to_owned(),
        }
    }

    /// The reason in a few words, for a narrow column. `used_by` names the user of an image in use.
    #[must_use]
    pub fn short_reason(&self, place: ImageIndex, used_by: Option<&str>) -> String {
        let digest = |place| short_digest(self.image(place).map_or("", |(image, _)| &image.digest));
        match self.image(place) {
            Some((_, Verdict::Marked { rule, rank, .. })) => match self.rule(rule).map(|rule| rule.limit) {
                Some(Limit::ImageCountMoreThan(keep)) => format!("rank {rank}, keeps {keep}"),
                Some(Limit::SinceImagePushed(days)) => format!("pushed > {days} d ago"),
                Some(Limit::SinceImagePulled(days)) => format!("no pull for {days} d"),
                Some(Limit::SinceImageTransitioned(days)) => format!("archived > {days} d"),
                None => String::new(),
            },
            Some((_, Verdict::Follows { subject, .. })) => format!("with {}", digest(subject)),
            Some((_, Verdict::HeldByIndex { index })) => format!("index {}", digest(index)),
            Some((_, Verdict::HeldBySubject { subject })) => format!("with {}", digest(subject)),
            Some((_, Verdict::HeldByUse { .. })) => {
                used_by.map_or_else(|| "in use".to_owned(), |user| format!("in use: {user}"))
            }
            Some((_, Verdict::HeldByRule { rule, rank })) => {
                let kept_by = self.kept_by(place);
                match (self.rule(rule).map(|rule| rule.limit), self.due(place)) {
                    (Some(Limit::ImageCountMoreThan(keep)), _) => {
                        format!("{kept_by}: rank {rank}, keeps {keep}")
                    }
                    (_, Some(due)) => {
                        let at = due.at.to_string();
                        let day = at.split_once('T').map_or(at.as_str(), |(day, _)| day);
                        format!("{kept_by}: until {day}")
                    }
                    _ => kept_by,
                }
            }
            _ => self.kept_by(place),
        }
    }

    /// What keeps an image: `rule 1`, `index sha256:…`, `subject sha256:…`, `in use`, `restoring`, `unknownStatus`, `archived` or
    /// `no rule`.
    #[must_use]
    pub fn kept_by(&self, place: ImageIndex) -> String {
        let digest = |place| self.image(place).map_or("", |(image, _)| &image.digest);
        match self.image(place) {
            Some((_, Verdict::HeldByRule { rule, .. })) => {
                format!("rule {}", self.rule(rule).map_or(0, |rule| rule.priority))
            }
            Some((_, Verdict::HeldByIndex { index })) => format!("index {}", digest(index)),
            Some((_, Verdict::HeldBySubject { subject })) => format!("subject {}", digest(subject)),
            Some((_, Verdict::HeldByUse { .. })) => "in use".to_owned(),
            Some((_, Verdict::Restoring)) => "restoring".to_owned(),
            Some((_, Verdict::UnknownStatus)) => "unknownStatus".to_owned(),
            Some((image, _)) if image.status == ImageStatus::Archived => "archived".to_owned(),
            _ => "no rule".to_owned(),
        }
    }

    /// When a rule by age acts on a kept image if nothing changes. The first rule that identifies the image, or its subject,
    /// decides.
    #[must_use]
    pub fn due(&self, place: ImageIndex) -> Option<Due> {
        let mut place = place;
        // An artifact about an artifact about … an image; a longer chain is no real one.
        for _ in 0..16 {
            match self.image(place)? {
                (image, Verdict::HeldByRule { rule, .. }) => {
                    let rule = self.rule(rule)?;
                    let (since, days) = match rule.limit {
                        Limit::ImageCountMoreThan(_) => return None,
                        Limit::SinceImagePushed(days) => (image.age_time(), days),
                        Limit::SinceImagePulled(days) => (image.pull_time(), days),
                        Limit::SinceImageTransitioned(days) => (image.last_archived_at?, days),
                    };
                    return Some(Due { at: since.plus_days(days)?, action: rule.action });
                }
                (_, Verdict::HeldBySubject { subject }) => place = subject,
                _ => return None,
            }
        }
        None
    }

    /// The sentence about a rule's limit and an image, which the rule marks or not.
    fn limit(&self, image: &Image, rule: &Rule, rank: u32, verdict: Verdict) -> String {
        let priority = rule.priority;
        let (what, since, days) = match rule.limit {
            Limit::ImageCountMoreThan(keep) => {
                let images = if keep == 1 {
                    "the youngest image".to_owned()
                } else {
                    format!("the {keep} youngest images")
                };
                let outcome = match (verdict, rule.action) {
                    (Verdict::Marked { .. }, Action::Expire) => ", so it expires",
                    (Verdict::Marked { .. }, Action::Transition) => ", so it is archived",
                    _ => "",
                };
                return format!("Rank {rank} by age; rule {priority} keeps {images}{outcome}.");
            }
            Limit::SinceImagePushed(days) if image.last_activated_at.is_some() => {
                ("Restored from the archive", image.age_time(), days)
            }
            Limit::SinceImagePushed(days) => ("Pushed", image.age_time(), days),
            Limit::SinceImagePulled(days) => {
                let what = match (image.last_pulled_at, image.last_activated_at) {
                    (pulled, Some(activated)) if pulled <= Some(activated) => {
                        "Not pulled since it was restored"
                    }
                    (None, _) => "Never pulled, pushed",
                    (Some(_), _) => "Last pulled",
                };
                (what, image.pull_time(), days)
            }
            Limit::SinceImageTransitioned(days) => match image.last_archived_at {
                Some(archived) => ("Archived", archived, days),
                None => {
                    return format!(
                        "Archived at a time that is not recorded, so rule {priority}, which counts days in the archive, \
                         leaves it."
                    );
                }
            },
        };
        let mut reason = format!("{what} {}; rule {priority} ", ago(self.now, since));
        let limit = quantity::count(days, "day");
        let _ = match (rule.limit, rule.action) {
            (Limit::SinceImagePulled(_), _) => {
                write!(reason, "archives images not pulled for more than {limit}")
            }
            (Limit::SinceImageTransitioned(_), _) => {
                write!(reason, "expires images archived for more than {limit}")
            }
            (_, Action::Expire) => write!(reason, "expires images older than {limit}"),
            (_, Action::Transition) => write!(reason, "archives images older than {limit}"),
        };
        if let (Verdict::HeldByRule { .. }, Some(at)) = (verdict, since.plus_days(days)) {
            let _ = write!(reason, ", this one after {at}");
        }
        reason.push('.');
        reason
    }

    /// An image as a sentence names it: its digest, and its first tag for people.
    fn name(&self, place: ImageIndex) -> String {
        match self.image(place) {
            Some((image, _)) => match image.tags.first() {
                Some(tag) => format!("{} ({tag})", image.digest),
                None => image.digest.to_string(),
            },
            None => String::new(),
        }
    }
}

const fn verb(action: Action) -> &'static str {
    match action {
        Action::Expire => "expire",
        Action::Transition => "archive",
    }
}

fn deed(rule: &Rule) -> String {
    format!("rule {} {}s", rule.priority, verb(rule.action))
}

/// "31 days ago", to the hour where a day would be too coarse.
fn ago(now: Instant, then: Instant) -> String {
    const MICROS_PER_HOUR: i64 = 3_600_000_000;
    match now.days_since(then) {
        ..0 => "in the future".to_owned(),
        0 => {
            let hours = (now.micros() - then.micros()) / MICROS_PER_HOUR;
            format!("{} ago", quantity::count(hours.unsigned_abs(), "hour"))
        }
        days => format!("{} ago", quantity::count(days.unsigned_abs(), "day")),
    }
}
