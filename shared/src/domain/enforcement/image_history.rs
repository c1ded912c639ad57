//! The history of one image: what runs intended, which the journal has, and its outcome. A line of the journal is written
//! before anything is deleted. By itself it does not say that something was.

use serde::Serialize;

use crate::domain::enforcement::journal::{Line, RestoreLine};
use crate::domain::enforcement::outcome::{ImageOutcome, ImageResult};
use crate::domain::image::ImageStatus;
use crate::domain::preview::model::ActionKind;
use crate::domain::text::instant::Instant;

/// Where an image is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Presence {
    /// The repository has it.
    InRepository,
    /// The repository has it in the archive.
    InArchive,
    /// The repository does not have it.
    Gone,
}

impl Presence {
    /// From what ECR says of the digest; `None` for an image that is not there.
    #[must_use]
    pub const fn of(status: Option<ImageStatus>) -> Self {
        match status {
            Some(ImageStatus::Archived) => Self::InArchive,
            Some(_) => Self::InRepository,
            None => Self::Gone,
        }
    }
}

/// One intention of the journal about an image, and its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// The line of the journal.
    #[serde(flatten)]
    pub line: Line,
    /// The result that the report of the run has; absent without a report, or one that lists this image.
    pub outcome: Option<ImageResult>,
    /// Why it is not as planned.
    pub outcome_detail: Option<String>,
    /// Where the image is now; absent if ECR was not asked, or did not answer.
    pub present: Option<Presence>,
    /// Who asked for the image to be restored after that, the last one first. Whether it came back is what `present` says.
    pub restored: Vec<RestoreLine>,
}

impl HistoryEntry {
    /// A line of the journal with the result of its image, by the run's report, and where the image is now.
    #[must_use]
    pub fn new(line: Line, result: Option<&ImageOutcome>, present: Option<Presence>) -> Self {
        Self {
            line,
            outcome: result.map(|result| result.outcome),
            outcome_detail: result.and_then(|result| result.detail.clone()),
            present,
            restored: Vec::new(),
        }
    }

    /// The same with the restorations of the image after it was removed, and before it was removed again at `until`.
    #[must_use]
    pub fn with_restorations(mut self, restorations: &[RestoreLine], until: Option<Instant>) -> Self {
        let of_image = restorations.iter().filter(|one| {
            one.image_digest == self.line.image_digest
                && one.repository_name == self.line.repository_name
                && one.at >= self.line.at
                && until.is_none_or(|until| one.at < until)
        });
        self.restored = of_image.cloned().collect();
        self.restored.sort_by_key(|one| std::cmp::Reverse(one.at));
        self
    }

    /// What was done, where something shows it; otherwise what was intended.
    #[must_use]
    pub fn headline(&self) -> &'static str {
        match (self.line.action.kind, self.outcome) {
            (_, Some(ImageResult::Deleted)) => "deleted",
            (_, Some(ImageResult::Archived)) => "archived",
            (ActionKind::Expire, Some(ImageResult::PutBack)) => "deleted and put back",
            (ActionKind::Transition, Some(ImageResult::PutBack)) => "archived and put back",
            (ActionKind::Expire, _) => "was to be deleted",
            (ActionKind::Transition, _) => "was to be archived",
        }
    }

    /// The outcome of the intention, where the headline does not say.
    #[must_use]
    pub fn sequel(&self) -> Option<String> {
        let because = self.outcome_detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
        let reported = match self.outcome {
            Some(ImageResult::Deleted | ImageResult::Archived | ImageResult::PutBack) => None,
            Some(ImageResult::Failed) => Some(format!("it could not be{because}")),
            Some(ImageResult::InUse | ImageResult::Kept | ImageResult::Blocked) => {
                Some(format!("it was kept{because}"))
            }
            Some(ImageResult::Planned) => Some(format!("that run did not come to it{because}")),
            Some(ImageResult::Unknown) => Some(format!("whether it was is not known{because}")),
            None => Some("no report says whether it was".to_owned()),
        };
        let place = match (self.present, self.outcome) {
            (Some(Presence::InRepository), _) => Some("the repository has it now"),
            (Some(Presence::InArchive), Some(ImageResult::Archived)) => None,
            (Some(Presence::InArchive), _) => Some("the repository has it in the archive now"),
            (Some(Presence::Gone), Some(ImageResult::Deleted)) => None,
            (Some(Presence::Gone), _) => Some("the repository does not have it now"),
            (None, Some(_)) => None,
            (None, None) => Some("whether the repository has it is not known"),
        };
        match (reported, place) {
            (None, None) => None,
            (Some(reported), None) => Some(reported),
            (None, Some(place)) => Some(place.to_owned()),
            (Some(reported), Some(place)) => Some(format!("{reported}; {place}")),
        }
    }

    /// Whether there is nothing to get back: the image is where it was.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.present == Some(Presence::InRepository)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::enforcement::actor::Actor;

    fn line() -> Line {
        let at = Instant::parse("2026-11-26T03:00:00Z").unwrap();
        Line::example(format!("sha256:{}", "a".repeat(64)), at)
    }

    fn result(outcome: ImageResult) -> ImageOutcome {
        let line = line();
        ImageOutcome {
            image_digest: line.image_digest,
            image_tags: line.image_tags,
            image_pushed_at: line.image_pushed_at,
            image_size_in_bytes: 1,
            action: line.action,
            applied_rule_priority: 1,
            reason: line.reason,
            outcome,
            detail: Some("because".to_owned()),
        }
    }

    #[test]
    fn an_image_is_called_deleted_only_where_something_shows_it() {
        let all = [
            ImageResult::Planned,
            ImageResult::Deleted,
            ImageResult::Archived,
            ImageResult::InUse,
            ImageResult::Kept,
            ImageResult::Blocked,
            ImageResult::Failed,
            ImageResult::Unknown,
            ImageResult::PutBack,
        ];
        let headline = |result: Option<&ImageOutcome>, present| {
            HistoryEntry::new(line(), result, present).headline().to_owned()
        };
        for outcome in all {
            let text = headline(Some(&result(outcome)), None);
            match outcome {
                ImageResult::Deleted => assert_eq!(text, "deleted"),
                ImageResult::Archived => assert_eq!(text, "archived"),
                ImageResult::PutBack => assert_eq!(text, "deleted and put back"),
                _ => assert_eq!(text, "was to be deleted", "{outcome:?}"),
            }
        }
        for present in [None, Some(Presence::Gone), Some(Presence::InRepository)] {
            assert_eq!(headline(None, present), "was to be deleted");
        }
    }

    #[test]
    fn a_restoration_belongs_to_the_last_removal_before_it() {
        let at = |hour: u32| Instant::parse(&format!("2026-11-26T{hour:02}:00:00Z")).unwrap();
        let restored = |hour, run_id: &str| RestoreLine {
            run_id: run_id.to_owned(),
            at: at(hour),
            registry_id: "123456789012".to_owned(),
            region: "eu-west-1".to_owned(),
            by: Actor::default(),
            repository_name: "app".to_owned(),
            image_digest: line().image_digest,
            image_tags: Vec::new(),
            removed_by_run_id: "r".to_owned(),
            restored_from: "journal/x".to_owned(),
        };
        let other = RestoreLine { repository_name: "web".to_owned(), ..restored(5, "other") };
        let all =
            [restored(2, "before"), restored(4, "first"), restored(5, "second"), restored(7, "later"), other];
        let entry = HistoryEntry::new(line(), None, None).with_restorations(&all, Some(at(6)));
        let names: Vec<&str> = entry.restored.iter().map(|one| one.run_id.as_str()).collect();
        assert_eq!(names, ["second", "first"]);
    }

    #[test]
    fn the_result_of_an_intention_is_reported_and_where_the_image_is() {
        let sequel = |outcome: Option<ImageResult>, present| {
            HistoryEntry::new(line(), outcome.map(result).as_ref(), present).sequel().unwrap_or_default()
        };
        let there = Some(Presence::InRepository);
        assert_eq!(sequel(Some(ImageResult::Deleted), Some(Presence::Gone)), "");
        assert_eq!(sequel(Some(ImageResult::Deleted), None), "");
        assert_eq!(sequel(Some(ImageResult::Deleted), there), "the repository has it now");
        assert_eq!(
            sequel(Some(ImageResult::Failed), there),
            "it could not be: because; the repository has it now"
        );
        assert_eq!(
            sequel(None, Some(Presence::Gone)),
            "no report says whether it was; the repository does not have it now"
        );
        assert_eq!(
            sequel(None, None),
            "no report says whether it was; whether the repository has it is not known"
        );
        assert!(HistoryEntry::new(line(), None, there).is_there());
        assert!(!HistoryEntry::new(line(), None, None).is_there());
    }
}
