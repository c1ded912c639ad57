//! What is in use at one moment: from all sources, each complete or with the reason why it is not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::listed::InvalidUsage;
use super::{Gap, Usage, UsedImage};
use crate::instant::Instant;
use crate::policy_book::{LISTS, ListSource, MAXIMUM_AGE_IN_HOURS, Sources};
use crate::quantity::count;

/// Of so many users of an image the names are kept.
const USERS: usize = 10;
/// So far clocks may differ, in seconds.
pub const CLOCK_SECONDS: i64 = 300;

/// What is in use, and what was asked to know it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observation {
    /// What is in use, and what could not be read.
    pub usage: Usage,
    /// What never changes.
    pub known: Known,
}

/// The images of what never changes, once it is known: revisions of task definitions by their ARNs, versions of functions by
/// their ARNs and what tells their code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Known {
    /// The images of revisions of task definitions.
    pub task_definitions: BTreeMap<String, Vec<String>>,
    /// The images of versions of functions.
    pub functions: BTreeMap<String, Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    in_use: &'a [UsedImage],
    gaps: &'a [Gap],
    known: &'a Known,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read<'a> {
    #[serde(borrow)]
    in_use: &'a serde_json::value::RawValue,
    gaps: Vec<Gap>,
    #[serde(default)]
    known: Known,
}

impl Observation {
    /// As JSON, for another function of the run.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Self { usage, known } = self;
        let written = Written { in_use: &usage.used, gaps: &usage.gaps, known };
        // Strings and lists of strings can be written.
        serde_json::to_string(&written).unwrap_or_default()
    }

    /// Reads what [`Self::to_json`] wrote.
    ///
    /// # Errors
    ///
    /// When it is something else.
    pub fn parse(text: &str) -> Result<Self, InvalidUsage> {
        let read: Read<'_> = serde_json::from_str(text)?;
        let usage = Usage::parse(read.in_use.get())?;
        Ok(Self { usage: Usage { gaps: read.gaps, ..usage }, known: read.known })
    }
}

impl Usage {
    /// Everything that several sources say, each reference once.
    #[must_use]
    pub fn merged(sources: impl IntoIterator<Item = Self>) -> Self {
        let mut used: BTreeMap<String, UsedImage> = BTreeMap::new();
        let mut more: BTreeMap<String, u64> = BTreeMap::new();
        let mut gaps = Vec::new();
        for source in sources {
            gaps.extend(source.gaps);
            for image in source.used {
                let name = image.reference.to_string();
                let known = used
                    .entry(name.clone())
                    .or_insert_with(|| UsedImage { reference: image.reference.clone(), used_by: Vec::new() });
                for user in image.used_by {
                    if known.used_by.contains(&user) {
                        continue;
                    }
                    if known.used_by.len() < USERS {
                        known.used_by.push(user);
                    } else {
                        *more.entry(name.clone()).or_default() += 1;
                    }
                }
            }
        }
        for (name, number) in more {
            if let Some(image) = used.get_mut(&name) {
                image.used_by.push(format!("and {}", count(number, "other")));
            }
        }
        Self { used: used.into_values().collect(), gaps }
    }

    /// Nothing but the reason why nothing is known.
    #[must_use]
    pub fn unread(source: impl Into<String>, problem: impl Into<String>) -> Self {
        let gap = Gap { source: source.into(), repositories: Vec::new(), problem: problem.into() };
        Self { used: Vec::new(), gaps: vec![gap] }
    }
}

/// A list in the bucket: what it says, or why it could not be read; and when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundList {
    /// Its key.
    pub key: String,
    /// When it was written.
    pub modified_at: Option<Instant>,
    /// What it says, or why it could not be read.
    pub content: Result<String, String>,
}

/// What lists in the bucket say at `now`. Those that the book names have to be there; all have to be young and readable. What
/// an old list says still counts: it may be true, it is only not known to be everything.
#[must_use]
pub fn of_lists(sources: &Sources, found: &[FoundList], now: Instant) -> Usage {
    let mut all = Vec::new();
    for declared in &sources.lists {
        if !found.iter().any(|list| list.key == declared.key) {
            all.push(gap(&declared.key, Some(declared), "there is no such list".to_owned()));
        }
    }
    for list in found {
        let declared = sources.lists.iter().find(|declared| declared.key == list.key);
        let hours = declared.map_or(MAXIMUM_AGE_IN_HOURS, |declared| declared.maximum_age_in_hours);
        match list.content.as_deref().map(Usage::parse) {
            Ok(Ok(usage)) => all.push(usage),
            Ok(Err(error)) => all.push(gap(&list.key, declared, error.to_string())),
            Err(problem) => all.push(gap(&list.key, declared, problem.clone())),
        }
        if let Some(problem) = age_problem(list.modified_at, hours, now) {
            all.push(gap(&list.key, declared, problem));
        }
    }
    let mut usage = Usage::merged(all);
    // Who wrote a list need not say who uses what is in it.
    for image in &mut usage.used {
        if image.used_by.is_empty() {
            image.used_by.push(format!("a list below {LISTS}"));
        }
    }
    usage
}

fn gap(key: &str, declared: Option<&ListSource>, problem: String) -> Usage {
    let repositories = declared.map(|declared| declared.repositories.clone()).unwrap_or_default();
    Usage { used: Vec::new(), gaps: vec![Gap { source: key.to_owned(), repositories, problem }] }
}

/// Why a list of this age is not believed.
fn age_problem(modified_at: Option<Instant>, hours: u64, now: Instant) -> Option<String> {
    let Some(modified_at) = modified_at else {
        return Some("S3 does not say when it was written".to_owned());
    };
    let seconds = (now.micros() - modified_at.micros()) / 1_000_000;
    if seconds < -CLOCK_SECONDS {
        return Some(format!("it was written at {modified_at}, which is in the future"));
    }
    let most = i64::try_from(hours).unwrap_or(i64::MAX).saturating_mul(3600);
    (seconds > most)
        .then(|| format!("it was written at {modified_at}, and is of no use after {}", count(hours, "hour")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Instant {
        Instant::parse("2026-11-23T12:00:00Z").unwrap()
    }

    fn list(key: &str, hours_ago: i64, content: &str) -> FoundList {
        let modified_at = Instant::from_micros(now().micros() - hours_ago * 3_600_000_000);
        FoundList { key: key.to_owned(), modified_at, content: Ok(content.to_owned()) }
    }

    fn sources() -> Sources {
        let lists = vec![ListSource {
            key: "usage/shop.json".to_owned(),
            maximum_age_in_hours: 6,
            repositories: vec!["shop/*".to_owned()],
            cluster: None,
            account: None,
        }];
        Sources { lists, ..Sources::default() }
    }

    fn gaps(found: &[FoundList]) -> Vec<String> {
        of_lists(&sources(), found, now()).gaps.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_list_that_is_missing_old_unreadable_or_of_the_future_is_a_gap_in_its_scope() {
        let good = list("usage/shop.json", 6, r#"["shop/web:v1"]"#);
        assert_eq!(gaps(std::slice::from_ref(&good)), Vec::<String>::new());
        assert_eq!(gaps(&[]), ["usage/shop.json: there is no such list"]);
        let old = list("usage/shop.json", 7, r#"["shop/web:v1"]"#);
        let usage = of_lists(&sources(), &[old], now());
        assert_eq!(
            usage.gaps[0].to_string(),
            "usage/shop.json: it was written at 2026-11-23T05:00:00Z, and is of no use after 6 hours"
        );
        assert_eq!(usage.used.len(), 1, "what it says may still be true");
        assert_eq!(usage.gaps_of("shop/web").count(), 1);
        assert_eq!(usage.gaps_of("other").count(), 0);
        let future = list("usage/shop.json", -1, "[]");
        assert!(gaps(&[future])[0].ends_with("which is in the future"));
        let broken = FoundList { content: Err("denied".to_owned()), ..good.clone() };
        assert_eq!(gaps(&[broken]), ["usage/shop.json: denied"]);
        let nonsense = list("usage/shop.json", 1, "{}");
        assert!(gaps(&[nonsense])[0].starts_with("usage/shop.json: not a list of images in use"));
        // What nobody declared is about everything, and keeps a day.
        let other = list("usage/other.json", 25, "[]");
        let usage = of_lists(&sources(), &[good, other], now());
        assert_eq!(usage.gaps_of("anything").count(), 1);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let used = Usage::parse(r#"[{"imageUri": "a:1", "usedBy": ["x"]}, "b@sha256:aa"]"#).unwrap();
        let gap = Gap { source: "Amazon ECS".into(), repositories: vec![], problem: "denied".into() };
        let mut known = Known::default();
        known.task_definitions.insert("arn".into(), vec!["a:1".into()]);
        let observation = Observation { usage: Usage { gaps: vec![gap], ..used }, known };
        assert_eq!(Observation::parse(&observation.to_json()).unwrap(), observation);
    }

    #[test]
    fn many_users_of_an_image_are_counted() {
        let used =
            |number: u32| Usage::parse(&format!(r#"[{{"imageUri": "a:1", "usedBy": ["task/{number}"]}}]"#));
        let usage = Usage::merged((0..14).map(|number| used(number).unwrap()));
        assert_eq!(usage.used.len(), 1);
        assert_eq!(usage.used[0].used_by.last().unwrap(), "and 4 others");
        assert_eq!(usage.used[0].used_by.len(), 11);
    }
}
