//! What the lists in the stack's bucket say together: the references, what is wrong with each list, which EKS clusters and
//! accounts they tell of, and how fresh that is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ignore;
use super::list;
use super::list_memory::{ListMemory, Present};
use super::source::{UsageSource, When};
use crate::domain::enforcement::policy_set::{LISTS, ListSource, MAXIMUM_AGE_IN_HOURS, Sources};
use crate::domain::lifecycle::matches_wildcard;
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity::count;
use crate::domain::usage::usage_snapshot::CLOCK_SECONDS;
use crate::domain::usage::{UnreadableSource, UsedImage};

/// Lists in the stack's bucket.
pub const SOURCE: UsageSource = UsageSource {
    name: LISTING,
    title: "lists in the bucket",
    service: None,
    actions: &["s3:GetObject", "s3:ListBucket"],
    blocks: true,
    when: When::BeforeEachDeletion,
    calls: "1 for each 1,000 lists, and 1 for each list",
};

/// The source of the gap of a bucket whose lists could not be listed.
pub const LISTING: &str = "usage";
/// Maximum number of references of all lists together.
const MAX_REFERENCES: usize = 100_000;
/// Maximum age, in hours, of lists that report recent pushes and pulls.
const MAX_FRESH_HOURS: u64 = 48;
/// Interval, in microseconds, in which ECR records a pull at least once: a recorded pull may represent later ones.
const PULL_RECORD_MICROS: i64 = 24 * 3_600_000_000;

/// An object where lists are: what it says, or why it could not be read; and when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundList {
    /// Its key.
    pub key: String,
    /// When it was written.
    pub modified_at: Option<Instant>,
    /// What it says, or why it could not be read.
    pub content: Result<String, String>,
}

/// What lists are compared with.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// What the policies file says of use.
    pub sources: &'a Sources,
    /// Which lists there were.
    pub memory: &'a ListMemory,
    /// The EKS clusters of the account and Region, each of which needs a list.
    pub eks_clusters: &'a [String],
    /// The present.
    pub now: Instant,
}

/// What all lists say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reports {
    /// The references, list by list.
    pub used: Vec<UsedImage>,
    /// What is not known, ignored sources among it.
    pub gaps: Vec<UnreadableSource>,
    /// When lists were written that say what is in use lately.
    pub written: Vec<ListTime>,
    /// The lists that tell of something.
    pub reporters: Vec<Reporter>,
    /// What is to be remembered of the lists for the next run.
    pub memory: ListMemory,
}

/// When a list was written. What was pushed since, and what was pulled about then, it cannot know to be unused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListTime {
    /// The key of the list.
    pub key: String,
    /// What the names of the repositories match that it is about; without any, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
    /// When it was written.
    pub written_at: Instant,
}

impl ListTime {
    /// Whether the list is about the repository.
    #[must_use]
    pub fn is_about(&self, repository: &str) -> bool {
        self.repositories.is_empty()
            || self.repositories.iter().any(|pattern| matches_wildcard(pattern, repository))
    }

    /// Whether an image was pushed since the list was written, or pulled so that the list may not know of it. ECR records
    /// pulls once a day.
    #[must_use]
    pub fn is_before(&self, pushed_at: Instant, last_pulled_at: Option<Instant>) -> bool {
        let written = self.written_at.micros();
        pushed_at.micros() > written
            || last_pulled_at
                .is_some_and(|pulled| pulled.micros() > written.saturating_sub(PULL_RECORD_MICROS))
    }
}

/// An existing list, by its subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reporter {
    /// Its key.
    pub key: String,
    /// The account that it reports, from its key or the policies file; `None` for this stack's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

impl Reporter {
    /// Whether the list reports a Region of its account: `…/eu-west-1/…` or `…/eu-west-1.json`.
    #[must_use]
    pub fn names_region(&self, region: &str) -> bool {
        self.key.split('/').any(|part| part.strip_suffix(".json").unwrap_or(part) == region)
    }
}

/// The account that a list reports, from its key: `usage/<12 digits>/…`.
#[must_use]
pub fn account_of_key(key: &str) -> Option<&str> {
    let (account, _) = key.strip_prefix(LISTS)?.split_once('/')?;
    is_account(account).then_some(account)
}

/// Whether a text is the number of an account.
#[must_use]
pub fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Why an object where lists are is none, by its key; `None` for a list, and for the markers that consoles make of folders.
#[must_use]
pub fn key_problem(key: &str) -> Option<&'static str> {
    (!key.ends_with(".json") && !key.ends_with('/'))
        .then_some("its name does not end with .json, so that it is not read; rename or delete it")
}

/// Puts together what the lists say.
///
/// Those that the policies file declares, those that were there before and those of EKS clusters have to be there; all have to
/// be young and readable. What a list says that is old or partly unreadable still counts: it may be true, it is only not known
/// to be everything.
#[must_use]
pub fn read(expected: Expected<'_>, found: &[FoundList]) -> Reports {
    let Expected { sources, memory, eks_clusters, now } = expected;
    let mut reports = Reports::default();
    // What is wrong with each list, in the order in which it is told.
    let mut problems: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut present = Vec::new();
    for declared in &sources.lists {
        if !found.iter().any(|list| list.key == declared.key) {
            problems.entry(&declared.key).or_default().push("there is no such list".to_owned());
        }
    }
    for list in found {
        let hours =
            declared(sources, &list.key).map_or(MAXIMUM_AGE_IN_HOURS, |list| list.maximum_age_in_hours);
        let mut references = None;
        let mut problem = None;
        match &list.content {
            Err(error) => problem = Some(error.clone()),
            Ok(text) => {
                let mut content = list::parse(text);
                if content.problem.is_none() {
                    references = Some(content.used.len() as u64);
                }
                problem = problem.or(content.problem);
                if reports.used.len() + content.used.len() > MAX_REFERENCES {
                    problem.get_or_insert_with(|| {
                        format!(
                            "all lists together name more than {MAX_REFERENCES} images, and this one was not taken in; have \
                             them name those of this registry"
                        )
                    });
                    content.used.clear();
                }
                reports.used.extend(content.used.into_iter().map(|mut used| {
                    // Who wrote a list need not say who uses what is in it.
                    if used.used_by.is_empty() {
                        used.used_by.push(format!("the list {}", list.key));
                    }
                    used
                }));
            }
        }
        let of_list = problems.entry(&list.key).or_default();
        of_list.extend(problem);
        of_list.extend(age_problem(list.modified_at, hours, now));
        // What is no list nobody misses when it is renamed or deleted.
        if key_problem(&list.key).is_none() {
            present.push(Present { key: &list.key, references });
        }
    }
    let (remembered, suspicions) = memory.compare(present, now);
    reports.memory = remembered;
    for suspicion in &suspicions {
        let of_list = problems.entry(&suspicion.key).or_default();
        // That a declared list is not there is told once.
        if of_list.is_empty() {
            of_list.push(suspicion.problem.clone());
        }
    }
    for list in found {
        let has_problem = problems.get(list.key.as_str()).is_some_and(|of_list| !of_list.is_empty());
        let is_ignored = ignore::entry_for(&sources.ignore, &list.key, now).is_some();
        // Who ignores what is wrong with a list does not say that it tells of anything.
        if (has_problem && is_ignored) || key_problem(&list.key).is_some() {
            continue;
        }
        let declared = declared(sources, &list.key);
        let hours = declared.map_or(MAXIMUM_AGE_IN_HOURS, |list| list.maximum_age_in_hours);
        if let Some(written_at) = list.modified_at
            && hours <= MAX_FRESH_HOURS
        {
            let repositories = declared.map(|list| list.repositories.clone()).unwrap_or_default();
            reports.written.push(ListTime { key: list.key.clone(), repositories, written_at });
        }
        let account = declared.and_then(|list| list.account.as_deref()).or_else(|| account_of_key(&list.key));
        reports.reporters.push(Reporter { key: list.key.clone(), account: account.map(str::to_owned) });
    }
    for cluster in eks_clusters {
        if !reports.reporters.iter().any(|reporter| covers_cluster(sources, &reporter.key, cluster)) {
            reports.gaps.push(UnreadableSource {
                source: format!("eks/{cluster}"),
                repositories: Vec::new(),
                problem: format!(
                    "no list tells what the EKS cluster {cluster} runs; have it write {LISTS}eks/{cluster}.json, or declare \
                     its list with `cluster: {cluster}`"
                ),
            });
        }
    }
    for (key, of_list) in problems {
        let repositories = declared(sources, key).map(|list| list.repositories.clone()).unwrap_or_default();
        reports.gaps.extend(of_list.into_iter().map(|problem| UnreadableSource {
            source: key.to_owned(),
            repositories: repositories.clone(),
            problem,
        }));
    }
    reports
}

fn declared<'a>(sources: &'a Sources, key: &str) -> Option<&'a ListSource> {
    sources.lists.iter().find(|declared| declared.key == key)
}

fn covers_cluster(sources: &Sources, key: &str, cluster: &str) -> bool {
    let by_key = key.strip_prefix(LISTS).and_then(|key| key.strip_prefix("eks/")?.strip_suffix(".json"));
    by_key == Some(cluster)
        || declared(sources, key).is_some_and(|list| list.cluster.as_deref() == Some(cluster))
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
    use crate::domain::enforcement::policy_set::IgnoredSource;
    use crate::domain::usage::Usage;

    fn now() -> Instant {
        Instant::parse("2026-11-23T12:00:00Z").unwrap()
    }

    fn list(key: &str, hours_ago: i64, content: &str) -> FoundList {
        let modified_at = Instant::from_micros(now().micros() - hours_ago * 3_600_000_000);
        FoundList { key: key.to_owned(), modified_at, content: Ok(content.to_owned()) }
    }

    fn declaring(key: &str, hours: u64, repositories: &[&str]) -> ListSource {
        ListSource {
            key: key.to_owned(),
            maximum_age_in_hours: hours,
            repositories: repositories.iter().map(|&pattern| pattern.to_owned()).collect(),
            cluster: None,
            account: None,
        }
    }

    fn sources() -> Sources {
        Sources { lists: vec![declaring("usage/shop.json", 6, &["shop/*"])], ..Sources::default() }
    }

    fn read_with(sources: &Sources, clusters: &[&str], found: &[FoundList]) -> Reports {
        let eks_clusters: Vec<String> = clusters.iter().map(|&cluster| cluster.to_owned()).collect();
        let memory = ListMemory::default();
        read(Expected { sources, memory: &memory, eks_clusters: &eks_clusters, now: now() }, found)
    }

    fn of_lists(found: &[FoundList]) -> Usage {
        Usage::of_reports(read_with(&sources(), &[], found))
    }

    fn gaps(found: &[FoundList]) -> Vec<String> {
        of_lists(found).gaps.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_list_that_is_missing_old_unreadable_or_of_the_future_is_a_gap_in_its_scope() {
        let good = list("usage/shop.json", 6, r#"["shop/web:v1"]"#);
        assert_eq!(gaps(std::slice::from_ref(&good)), Vec::<String>::new());
        assert_eq!(gaps(&[]), ["usage/shop.json: there is no such list"]);
        let old = list("usage/shop.json", 7, r#"["shop/web:v1"]"#);
        let usage = of_lists(&[old]);
        assert_eq!(
            usage.gaps[0].to_string(),
            "usage/shop.json: it was written at 2026-11-23T05:00:00Z, and is of no use after 6 hours"
        );
        assert_eq!(usage.used().len(), 1, "what it says may still be true");
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
        let usage = of_lists(&[good, other]);
        assert_eq!(usage.gaps_of("anything").count(), 1);
    }

    #[test]
    fn an_eks_cluster_needs_a_list_by_its_key_or_by_declaration() {
        let mut sources = Sources::default();
        let stale = |sources: &Sources, found: &[FoundList]| -> Vec<String> {
            read_with(sources, &["web"], found).gaps.into_iter().map(|gap| gap.source).collect()
        };
        assert_eq!(stale(&sources, &[]), ["eks/web"]);
        assert!(stale(&sources, &[list("usage/eks/web.json", 1, "[]")]).is_empty());
        // Another one of that name is not this cluster.
        assert_eq!(stale(&sources, &[list("usage/222222222222/eks/web.json", 1, "[]")]), ["eks/web"]);
        let other = list("usage/pods.json", 1, "[]");
        assert_eq!(stale(&sources, std::slice::from_ref(&other)), ["eks/web"]);
        let declared =
            ListSource { cluster: Some("web".to_owned()), ..declaring("usage/pods.json", 24, &[]) };
        sources.lists = vec![declared];
        assert!(stale(&sources, &[other]).is_empty());
        // One that is old is told once; ignored, the cluster is without a list again.
        let old = [list("usage/pods.json", 30, "[]")];
        assert_eq!(stale(&sources, &old), ["usage/pods.json"]);
        sources.ignore =
            vec![IgnoredSource { source: "usage/pods.json".to_owned(), reason: "x".to_owned(), until: None }];
        assert_eq!(stale(&sources, &old), ["eks/web", "usage/pods.json"]);
    }

    #[test]
    fn what_was_pushed_or_pulled_about_when_a_list_was_written_it_does_not_know() {
        let at = |hours_ago: i64| Instant::from_micros(now().micros() - hours_ago * 3_600_000_000).unwrap();
        let slow = declaring("usage/slow.json", 49, &[]);
        let sources = Sources { lists: vec![slow], ..sources() };
        let found = [list("usage/shop.json", 6, "[]"), list("usage/slow.json", 40, "[]")];
        let reports = read_with(&sources, &[], &found);
        assert_eq!(reports.written.len(), 1, "one that may be older than two days does not count");
        let time = &reports.written[0];
        assert!(time.is_before(at(5), None) && !time.is_before(at(7), None));
        assert!(time.is_before(at(99), Some(at(29))) && !time.is_before(at(99), Some(at(31))));
    }

    #[test]
    fn a_list_tells_of_an_account_by_its_key_or_by_declaration() {
        let declared =
            ListSource { account: Some("333333333333".to_owned()), ..declaring("usage/b.json", 24, &[]) };
        let sources = Sources { lists: vec![declared], ..Sources::default() };
        let found = [
            "usage/222222222222/eks/eu-west-1/web.json",
            "usage/b.json",
            "usage/2222/x.json",
            "usage/c.json",
        ]
        .map(|key| list(key, 1, "[]"));
        let reports = read_with(&sources, &[], &found);
        let accounts: Vec<Option<&str>> =
            reports.reporters.iter().map(|reporter| reporter.account.as_deref()).collect();
        assert_eq!(accounts, [Some("222222222222"), Some("333333333333"), None, None]);
        assert!(reports.reporters[0].names_region("eu-west-1"));
        assert!(!reports.reporters[0].names_region("eu-west"));
    }

    #[test]
    fn what_is_no_list_by_its_name_is_a_problem_but_for_folders() {
        assert!(key_problem("usage/eks.json.gz").is_some() && key_problem("usage/eks.JSON").is_some());
        assert_eq!(key_problem("usage/eks.json").or(key_problem("usage/eks/")), None);
        let found = FoundList { content: Err("no list".to_owned()), ..list("usage/eks.JSON", 1, "") };
        let reports = read_with(&Sources::default(), &[], &[found]);
        assert_eq!((reports.gaps.len(), reports.reporters.len()), (1, 0));
        assert!(reports.memory.is_empty(), "nobody misses it when it is deleted, as its problem says");
    }
}
