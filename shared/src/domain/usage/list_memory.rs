//! Which lists of references in use there were, and how long they were: a list that disappears, or that suddenly names far
//! fewer images, tells more likely of a reporter that is broken than of use that ended.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::text::instant::Instant;
use crate::domain::text::quantity::count;
use crate::domain::usage::usage_snapshot::CLOCK_SECONDS;

/// The key of the memory in the stack's bucket. Only the inventory of a run writes it.
pub const KEY: &str = "state/lists.json";
/// Days for which lengths are remembered.
const DAYS: u64 = 7;
/// A list that has less than the largest of the week divided by this has shrunk.
const SHRUNK_BY: u64 = 3;
/// Seconds after which the length of a list that has shrunk is the new normal.
const NEW_NORMAL_SECONDS: i64 = 24 * 3600;

/// The lists that there were.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListMemory {
    /// What is known of each list, by its key.
    lists: BTreeMap<String, Remembered>,
}

/// What is known of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Remembered {
    /// When it was there last.
    seen_at: Instant,
    /// The largest length of each day, the newest last.
    largest: Vec<Length>,
    /// Since when it is short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shrunk_since: Option<Instant>,
}

/// How many references a list had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Length {
    at: Instant,
    references: u64,
}

/// A list that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Present<'a> {
    /// Its key.
    pub key: &'a str,
    /// How many references it has; `None` where they could not be read completely.
    pub references: Option<u64>,
}

/// What is wrong with a list, given what is remembered of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspicion {
    /// The key of the list.
    pub key: String,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl ListMemory {
    /// Compares the lists that are there at `now` with those that were, and gives what is to be remembered from now on.
    #[must_use]
    pub fn compare<'a>(
        &self,
        present: impl IntoIterator<Item = Present<'a>>,
        now: Instant,
    ) -> (Self, Vec<Suspicion>) {
        let mut next = self.clone();
        let mut suspicions = Vec::new();
        let mut is_present: Vec<&str> = Vec::new();
        for list in present {
            is_present.push(list.key);
            let remembered = next.lists.entry(list.key.to_owned()).or_insert_with(|| Remembered {
                seen_at: now,
                largest: Vec::new(),
                shrunk_since: None,
            });
            remembered.seen_at = now;
            if let Some(references) = list.references
                && let Some(problem) = remembered.observe(references, now)
            {
                suspicions.push(Suspicion { key: list.key.to_owned(), problem });
            }
        }
        for (key, remembered) in &self.lists {
            if !is_present.contains(&key.as_str()) {
                let problem = format!(
                    "it was there at {} and is missing now; have it written again, or ignore it if what it told of is gone",
                    remembered.seen_at
                );
                suspicions.push(Suspicion { key: key.clone(), problem });
            }
        }
        (next, suspicions)
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }
}

impl Remembered {
    /// Takes in a length, and says what is wrong with it.
    fn observe(&mut self, references: u64, now: Instant) -> Option<String> {
        let week_ago = now.micros_days_before(DAYS);
        self.largest.retain(|length| length.at.micros() >= week_ago);
        let largest = self.largest.iter().map(|length| length.references).max().unwrap_or(0);
        let is_short = references.saturating_mul(SHRUNK_BY) < largest;
        if is_short {
            let since = *self.shrunk_since.get_or_insert(now);
            let seconds = (now.micros() - since.micros()) / 1_000_000;
            if seconds + CLOCK_SECONDS < NEW_NORMAL_SECONDS {
                return Some(format!(
                    "it names {} now, and {largest} within the last week; if that is right, it is believed 24 hours after \
                     {since}, else have the whole list written again",
                    count(references, "image")
                ));
            }
            self.largest.clear();
        }
        self.shrunk_since = None;
        match self.largest.last_mut() {
            Some(last) if now.days_since(last.at) < 1 => {
                last.references = last.references.max(references);
            }
            _ => self.largest.push(Length { at: now, references }),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Instant {
        let start = Instant::parse("2026-11-23T03:00:00Z").unwrap();
        Instant::from_micros(start.micros() + hours * 3_600_000_000).unwrap()
    }

    /// The problems after each observation of one list: hours, and its number of references.
    fn suspicions_of(observations: &[(i64, Option<u64>)]) -> Vec<Vec<String>> {
        let mut memory = ListMemory::default();
        let mut suspicions_of = Vec::new();
        for &(hours, references) in observations {
            let present = references
                .map(|references| Present { key: "usage/eks/web.json", references: Some(references) });
            let (next, suspicions) = memory.compare(present, at(hours));
            // It is written down in between.
            memory = serde_json::from_str(&serde_json::to_string(&next).unwrap()).unwrap();
            suspicions_of.push(suspicions.into_iter().map(|suspicion| suspicion.problem).collect());
        }
        suspicions_of
    }

    #[test]
    fn a_list_that_was_there_is_missed_until_it_is_back() {
        let suspicions_of =
            suspicions_of(&[(0, Some(9)), (24, None), (240, None), (264, Some(9)), (288, Some(9))]);
        assert!(suspicions_of[0].is_empty());
        assert!(
            suspicions_of[1][0].starts_with("it was there at 2026-11-23T03:00:00Z and is missing now"),
            "{suspicions_of:?}"
        );
        assert_eq!(suspicions_of[2], suspicions_of[1], "also after a long time");
        assert!(suspicions_of[3].is_empty() && suspicions_of[4].is_empty());
    }

    #[test]
    fn a_list_that_shrinks_is_believed_after_a_day() {
        let suspicions_of = suspicions_of(&[
            (0, Some(9)),
            (24, Some(2)),
            (36, Some(2)),
            (48, Some(2)),
            (72, Some(2)),
            (96, Some(0)),
        ]);
        assert!(
            suspicions_of[1][0].starts_with("it names 2 images now, and 9 within the last week"),
            "{suspicions_of:?}"
        );
        assert_eq!(suspicions_of[2].len(), 1);
        assert!(suspicions_of[3].is_empty() && suspicions_of[4].is_empty(), "{suspicions_of:?}");
        assert_eq!(suspicions_of[5].len(), 1, "it is measured by the new normal");
    }

    #[test]
    fn a_third_is_enough_and_what_was_never_longer_is_short_by_right() {
        assert!(suspicions_of(&[(0, Some(9)), (24, Some(3))]).iter().all(Vec::is_empty));
        assert!(suspicions_of(&[(0, Some(0)), (24, Some(0))]).iter().all(Vec::is_empty));
        // What was large more than a week ago does not count any more.
        let slowly = suspicions_of(&[(0, Some(90)), (24 * 4, Some(40)), (24 * 8, Some(14))]);
        assert!(slowly.iter().all(Vec::is_empty), "{slowly:?}");
    }

    #[test]
    fn a_list_that_recovers_is_no_longer_short() {
        let suspicions_of =
            suspicions_of(&[(0, Some(9)), (12, Some(0)), (24, Some(9)), (44, Some(0)), (50, Some(0))]);
        assert_eq!(suspicions_of.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1, 0, 1, 1]);
    }

    #[test]
    fn a_list_that_cannot_be_read_is_there_and_says_nothing_of_its_length() {
        let memory = ListMemory::default();
        let read = |references| [Present { key: "usage/a.json", references }];
        let (memory, _) = memory.compare(read(Some(9)), at(0));
        let (memory, suspicions) = memory.compare(read(None), at(1));
        assert_eq!(suspicions, []);
        let (_, suspicions) = memory.compare(read(Some(1)), at(2));
        assert_eq!(suspicions.len(), 1);
    }
}
