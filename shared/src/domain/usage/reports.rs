//! What the lists in the stack's bucket say together: the references, what is wrong with each list, which EKS clusters and
//! accounts they tell of, and how fresh that is.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ignore;
use super::list::{self, ListContent};
use super::list_memory::{ListMemory, Present};
use super::source::{SourceStatus, SourceSummary, UsageSource, When};
use super::usage_list::{ListHead, Writer};
use super::{SOURCES, UnknownImage, UnreadableSource, UsedImage, pull_access, replication, stacks};
use crate::domain::enforcement::policy_set::{LISTS, ListSource, MAXIMUM_AGE_IN_HOURS, Sources, Stacks};
use crate::domain::lifecycle::matches_wildcard;
use crate::domain::text::finding::quoted;
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity::count;
use crate::domain::usage::usage_snapshot::CLOCK_SECONDS;

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
/// Maximum number of containers whose image is not known, in all lists together.
const MAX_UNKNOWN_IMAGES: usize = 10_000;
/// Maximum number of gaps that all lists together tell of. What is more is one gap about all repositories.
const MAX_GAPS: usize = 1000;
/// Maximum number of sources of all lists together in the report. No decision depends on them.
const MAX_REPORTED_SOURCES: usize = 1000;
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
    /// The account and Region of the registry.
    pub own: Place<'a>,
    /// The present.
    pub now: Instant,
}

/// An account and a Region in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The account; empty where it is not known.
    pub account: &'a str,
    /// The Region; empty where it is not known.
    pub region: &'a str,
}

/// What all lists say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reports {
    /// The references, list by list.
    pub used: Vec<UsedImage>,
    /// What runs although it is not known which image it is.
    pub unknown: Vec<UnknownImage>,
    /// What is not known, ignored sources among it.
    pub gaps: Vec<UnreadableSource>,
    /// When lists were written that say what is in use lately.
    pub written: Vec<ListTime>,
    /// The lists that tell of something.
    pub reporters: Vec<Reporter>,
    /// The status of each list, and of each source in it.
    pub sources: Vec<SourceSummary>,
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
    /// The Region that it reports, as the list says; `None` for an array, which does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The EKS cluster, if the list reports that cluster only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
}

impl Reporter {
    /// Whether the list reports what an account uses, and not only one cluster of it.
    #[must_use]
    pub fn reports_account(&self, account: &str) -> bool {
        self.cluster.is_none() && self.account.as_deref() == Some(account)
    }

    /// Whether the list reports a Region of its account: it says so, or has a key with `…/eu-west-1/…` or `…/eu-west-1.json`.
    #[must_use]
    pub fn names_region(&self, region: &str) -> bool {
        self.region.as_deref() == Some(region)
            || self.key.split('/').any(|part| part.strip_suffix(".json").unwrap_or(part) == region)
    }
}

/// The account, Region and cluster that the key of a list names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct KeyParts<'a> {
    account: Option<&'a str>,
    region: Option<&'a str>,
    cluster: Option<&'a str>,
}

impl<'a> KeyParts<'a> {
    /// Reads `usage/<account>/<region>.json`, `usage/<account>/eks/<region>/<cluster>.json` and `usage/eks/<cluster>.json`; of any
    /// other key only the account is known.
    fn of(key: &'a str) -> Self {
        let parts = key.strip_prefix(LISTS).and_then(|key| key.strip_suffix(".json"));
        let parts: Vec<&str> = parts.unwrap_or_default().split('/').collect();
        let of = |account, region, cluster| Self { account, region, cluster };
        match parts[..] {
            [account, region] if is_account(account) && is_region(region) => {
                of(Some(account), Some(region), None)
            }
            [account, "eks", region, cluster] if is_account(account) => {
                of(Some(account), Some(region), Some(cluster))
            }
            ["eks", cluster] => of(None, None, Some(cluster)),
            _ => of(account_of_key(key), None, None),
        }
    }

    /// Whether it is where a reporter writes that reads all sources of an account and Region.
    const fn is_of_region(self) -> bool {
        self.region.is_some() && self.cluster.is_none()
    }
}

/// Whether a text has the form of a Region's name: `eu-west-1`.
#[must_use]
pub fn is_region(text: &str) -> bool {
    let mut parts: Vec<&str> = text.split('-').collect();
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_word = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    parts.pop().is_some_and(is_number) && parts.len() >= 2 && parts.iter().all(is_word)
}

/// Whether a reporter in another account and Region reads a source: what the registry itself is asked for it does not, and
/// stacks are read only where that was asked for.
#[must_use]
pub fn is_reported(source: &UsageSource) -> bool {
    let of_registry = [SOURCE.name, pull_access::SOURCE.name, replication::SOURCE.name, stacks::SOURCE.name];
    source.blocks && !of_registry.contains(&source.name)
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

/// A list, as far as it could be read.
struct ReadList<'a> {
    list: &'a FoundList,
    declared: Option<&'a ListSource>,
    key: KeyParts<'a>,
    head: Option<ListHead>,
    /// How many references it has.
    references: u64,
    /// What is wrong with it as a whole.
    problem: Option<String>,
}

impl<'a> ReadList<'a> {
    /// The account that it reports; `None` where neither the key nor the list says.
    fn account(&self) -> Option<&str> {
        let declared = self.declared.and_then(|list| list.account.as_deref());
        let claimed = || self.head.as_ref().map(|head| head.written_by.account.as_str());
        declared.or(self.key.account).or_else(claimed)
    }

    /// The Region that it reports, if that is known.
    fn region(&self) -> Option<&str> {
        let claimed = || self.head.as_ref().map(|head| head.written_by.region.as_str());
        self.key.region.or_else(claimed)
    }

    /// The EKS cluster, if it reports that cluster only.
    fn cluster(&self) -> Option<&str> {
        self.head.as_ref()?.cluster.as_deref()
    }

    /// When what it says was true: of what it says and what S3 says the earlier.
    fn true_at(&self) -> Option<Instant> {
        let claimed = self.head.as_ref().map(ListHead::oldest_reading);
        let times = [claimed, self.list.modified_at];
        self.list.modified_at.and(times.into_iter().flatten().min())
    }

    fn repositories(&self) -> Vec<String> {
        self.declared.map(|list| list.repositories.clone()).unwrap_or_default()
    }

    /// What is said of who wrote it, compared with where it was found: who may write where is all that is known for certain.
    fn place_problem(&self, own: Place<'_>) -> Option<String> {
        let head = self.head.as_ref()?;
        let declared = self.declared;
        let writer = &head.written_by;
        let differs = |what: &str, claimed: &str, expected: &str| {
            format!(
                "it says that it tells of {what} {}, and its key or its declaration says {expected}; have that reporter write \
                 where it belongs, and look who wrote this list",
                quoted(claimed)
            )
        };
        let accounts = [declared.and_then(|list| list.account.as_deref()), self.key.account];
        let mut accounts: Vec<&str> = accounts.into_iter().flatten().collect();
        if accounts.is_empty() {
            accounts.push(own.account);
        }
        if let Some(expected) = accounts.into_iter().find(|expected| *expected != writer.account) {
            let expected = if expected.is_empty() { "one that could not be read" } else { expected };
            return Some(differs("the account", &writer.account, expected));
        }
        let is_own_cluster = self.key.account.is_none() && self.key.cluster.is_some()
            || declared.is_some_and(|list| list.account.is_none() && list.cluster.is_some());
        let region = self.key.region.or_else(|| is_own_cluster.then_some(own.region));
        if let Some(expected) = region.filter(|expected| *expected != writer.region) {
            return Some(differs("the Region", &writer.region, expected));
        }
        let cluster = self.key.cluster.or_else(|| declared?.cluster.as_deref());
        match (cluster, head.cluster.as_deref()) {
            (Some(expected), Some(claimed)) if expected != claimed => {
                Some(differs("the cluster", claimed, expected))
            }
            (Some(expected), None) => {
                Some(format!("it is to tell of the EKS cluster {expected}, and has no `cluster`"))
            }
            _ => None,
        }
    }

    /// The gaps of the sources that it reports, or has to report.
    fn source_gaps(&self, wanted: &Stacks) -> Vec<UnreadableSource> {
        let Some(head) = &self.head else { return Vec::new() };
        let key = &self.list.key;
        let (account, region) = (&head.written_by.account, &head.written_by.region);
        let title = |name: &str| {
            let of = |source: &&UsageSource| {
                name.strip_prefix(source.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            SOURCES.iter().find(of).map_or_else(|| name.to_owned(), |source| source.title.to_owned())
        };
        // Where the list is not said to be about some repositories, those for which stacks are read are what a gap of stacks is about.
        let about = |source: &str| match self.repositories() {
            all if all.is_empty() && source == stacks::SOURCE.name => wanted.repositories(),
            some => some,
        };
        let unread = head.unread().into_iter().map(|gap| UnreadableSource {
            source: format!("{key}/{}", gap.source),
            problem: format!(
                "{} in the account {account}, {region}, was not read completely: {}; correct it there, and the next list is \
                 complete",
                title(&gap.source),
                gap.problem
            ),
            repositories: if gap.repositories.is_empty() { about(&gap.source) } else { gap.repositories },
        });
        let is_listed =
            |source: &&UsageSource| head.sources.iter().any(|report| report.source == source.name);
        let expected = SOURCES.iter().filter(|source| {
            let is_wanted = is_reported(source) || wanted.are_read() && source.name == stacks::SOURCE.name;
            self.key.is_of_region() && is_wanted
        });
        let missing = expected.filter(|source| !is_listed(source)).map(|source| UnreadableSource {
            source: format!("{key}/{}", source.name),
            problem: format!(
                "the list does not say what {} in the account {account}, {region}, uses; update the usage reporter there{}",
                source.title,
                if source.name == stacks::SOURCE.name { ", and set its parameter ReadStacks to true" } else { "" }
            ),
            repositories: about(source.name),
        });
        unread.chain(missing).collect()
    }

    /// The status of the list, and of each source in it, for the report.
    fn summaries(&self, problems: &[String]) -> Vec<SourceSummary> {
        let Some(read_at) = self.list.modified_at else { return Vec::new() };
        let of = |source: &str, title: &str, is_complete: bool, read_at, images_in_use| SourceSummary {
            source: source.to_owned(),
            title: title.to_owned(),
            status: if is_complete { SourceStatus::Complete } else { SourceStatus::Incomplete },
            read_at,
            images_in_use,
            list: Some(self.list.key.clone()),
            account: self.account().map(str::to_owned),
            region: self.region().map(str::to_owned),
        };
        let Some(head) = &self.head else {
            return vec![of(SOURCE.name, "list", problems.is_empty(), read_at, self.references)];
        };
        let unread = head.unread();
        let summaries = head.sources.iter().map(|report| {
            let known = SOURCES.iter().find(|source| source.name == report.source);
            let title = known.map_or(report.source.as_str(), |source| source.title);
            let is_about = |gap: &UnreadableSource| {
                gap.source
                    .strip_prefix(&report.source)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            let is_complete = problems.is_empty() && !unread.iter().any(is_about);
            let mut summary = of(&report.source, title, is_complete, report.read_at, report.images_in_use);
            if is_complete {
                summary.status = report.status;
            }
            summary
        });
        summaries.collect()
    }
}

/// The gaps of all lists. Whoever may write lists could write very many.
#[derive(Default)]
struct Gaps {
    kept: Vec<UnreadableSource>,
    total: usize,
}

impl Gaps {
    fn extend(&mut self, gaps: impl IntoIterator<Item = UnreadableSource>) {
        for gap in gaps {
            self.total += 1;
            if self.kept.len() < MAX_GAPS {
                self.kept.push(gap);
            }
        }
    }

    /// All of them, or the first with one about all repositories for the others.
    fn finish(mut self) -> Vec<UnreadableSource> {
        if self.total > MAX_GAPS {
            let problem = format!(
                "the lists report {} things that could not be read, and {MAX_GAPS} are listed here; correct these first",
                self.total
            );
            self.kept.push(UnreadableSource {
                source: LISTING.to_owned(),
                repositories: Vec::new(),
                problem,
            });
        }
        self.kept
    }
}

/// Puts together what the lists say.
///
/// Those that the policies file declares, those that were there before and those of EKS clusters have to be there; all have to
/// be young and readable. What a list says that is old or partly unreadable still counts: it may be true, it is only not known
/// to be everything.
///
/// A list only ever adds protection. What it says of itself is compared with its key, below which only its account may write, and
/// what does not agree is a gap.
#[must_use]
pub fn read(expected: Expected<'_>, found: &[FoundList]) -> Reports {
    let Expected { sources, memory, eks_clusters, own, now } = expected;
    let mut reports = Reports::default();
    // What is wrong with each list, in the order in which it is told.
    let mut problems: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut present = Vec::new();
    for declared in &sources.lists {
        if !found.iter().any(|list| list.key == declared.key) {
            problems.entry(&declared.key).or_default().push("there is no such list".to_owned());
        }
    }
    let mut gaps = Gaps::default();
    let mut lists = Vec::new();
    for list in found {
        let read = reports.take(list, declared(sources, &list.key), own);
        let hours = read.declared.map_or(MAXIMUM_AGE_IN_HOURS, |list| list.maximum_age_in_hours);
        let of_list = problems.entry(&list.key).or_default();
        // A list cannot say more than there was when S3 got it.
        let stored_at = list.modified_at.unwrap_or(now);
        of_list.extend(read.problem.clone());
        of_list.extend(read.head.as_ref().and_then(|head| head.problem(Some(stored_at))));
        of_list.extend(read.place_problem(own));
        of_list.extend(age_problem(list.modified_at, read.true_at(), hours, now));
        // What is no list nobody misses when it is renamed or deleted.
        if key_problem(&list.key).is_none() {
            let references = read.problem.is_none().then_some(read.references);
            present.push(Present { key: &list.key, references });
        }
        lists.push(read);
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
    for read in &lists {
        let list = read.list;
        let of_list = problems.get(list.key.as_str()).map_or(&[][..], Vec::as_slice);
        if key_problem(&list.key).is_some() {
            continue;
        }
        if reports.sources.len() < MAX_REPORTED_SOURCES {
            reports.sources.extend(read.summaries(of_list));
        }
        let is_ignored = ignore::entry_for(&sources.ignore, &list.key, now).is_some();
        // Who ignores what is wrong with a list does not say that it tells of anything.
        if !of_list.is_empty() && is_ignored {
            continue;
        }
        let hours = read.declared.map_or(MAXIMUM_AGE_IN_HOURS, |list| list.maximum_age_in_hours);
        if let Some(written_at) = read.true_at()
            && hours <= MAX_FRESH_HOURS
        {
            reports.written.push(ListTime {
                key: list.key.clone(),
                repositories: read.repositories(),
                written_at,
            });
        }
        let by_key = read.declared.and_then(|list| list.account.as_deref()).or(read.key.account);
        // What a list says of itself counts where nothing contradicts it.
        let head = read.head.as_ref().filter(|_| read.place_problem(own).is_none());
        reports.reporters.push(Reporter {
            key: list.key.clone(),
            account: by_key.map(str::to_owned),
            region: head.map(|head| head.written_by.region.clone()),
            cluster: read.cluster().map(str::to_owned),
        });
        gaps.extend(read.source_gaps(&sources.stacks));
    }
    reports.sources.truncate(MAX_REPORTED_SOURCES);
    for cluster in eks_clusters {
        if !reports.reporters.iter().any(|reporter| covers_cluster(sources, &reporter.key, cluster)) {
            gaps.extend([UnreadableSource {
                source: format!("eks/{cluster}"),
                repositories: Vec::new(),
                problem: format!(
                    "no list tells what the EKS cluster {cluster} runs; have it write {LISTS}eks/{cluster}.json, or declare \
                     its list with `cluster: {cluster}`"
                ),
            }]);
        }
    }
    let keys: BTreeSet<&str> = reports.reporters.iter().map(|reporter| reporter.key.as_str()).collect();
    for read in &lists {
        gaps.extend(other_clusters(sources, read, &keys, &reports.reporters, own));
    }
    gaps.extend(own_regions(sources, own, &reports.reporters));
    for (key, of_list) in problems {
        let repositories = declared(sources, key).map(|list| list.repositories.clone()).unwrap_or_default();
        gaps.extend(of_list.into_iter().map(|problem| UnreadableSource {
            source: key.to_owned(),
            repositories: repositories.clone(),
            problem,
        }));
    }
    reports.gaps = gaps.finish();
    reports
}

impl Reports {
    /// Takes in what a list names, as far as there is room.
    fn take<'a>(
        &mut self,
        list: &'a FoundList,
        declared: Option<&'a ListSource>,
        own: Place<'_>,
    ) -> ReadList<'a> {
        let mut read = ReadList {
            list,
            declared,
            key: KeyParts::of(&list.key),
            head: None,
            references: 0,
            problem: None,
        };
        let text = match &list.content {
            Ok(text) => text,
            Err(problem) => {
                read.problem = Some(problem.clone());
                return read;
            }
        };
        let ListContent { mut used, problem, mut head } = list::parse(text);
        let mut unknown =
            head.as_mut().map(|head| std::mem::take(&mut head.unknown_images)).unwrap_or_default();
        read.head = head;
        read.problem = problem;
        read.references = used.len() as u64;
        let too_many = |what: &str, most: usize| {
            format!(
                "all lists together name more than {most} {what}, and this one was not taken in; have them name those of this \
                 registry"
            )
        };
        if self.used.len() + used.len() > MAX_REFERENCES {
            read.problem.get_or_insert_with(|| too_many("images", MAX_REFERENCES));
            used.clear();
        }
        if self.unknown.len() + unknown.len() > MAX_UNKNOWN_IMAGES {
            read.problem
                .get_or_insert_with(|| too_many("containers whose image is not known", MAX_UNKNOWN_IMAGES));
            unknown.clear();
        }
        // Users of other accounts and Regions are told with these.
        let place = match (read.account(), read.region()) {
            (Some(account), Some(region)) if account != own.account || region != own.region => {
                Some((account.to_owned(), format!("{account}/{region}")))
            }
            (Some(account), None) if account != own.account => Some((account.to_owned(), account.to_owned())),
            _ => None,
        };
        let with_place = |user: &mut String| {
            if let Some((account, place)) = &place
                && !user.contains(account.as_str())
            {
                *user += &format!(" in {place}");
            }
        };
        for image in &mut used {
            // Who wrote a list need not say who uses what is in it.
            if image.used_by.is_empty() {
                image.used_by.push(format!("the list {}", list.key));
            }
            image.used_by.iter_mut().for_each(with_place);
        }
        unknown.iter_mut().for_each(|unknown| with_place(&mut unknown.used_by));
        self.used.extend(used);
        self.unknown.extend(unknown);
        read
    }
}

/// The gaps of EKS clusters in another account or Region that report nothing.
fn other_clusters<'a>(
    sources: &'a Sources,
    read: &'a ReadList<'_>,
    keys: &'a BTreeSet<&str>,
    reporters: &'a [Reporter],
    own: Place<'a>,
) -> impl Iterator<Item = UnreadableSource> {
    // The clusters here are asked for here.
    let is_elsewhere = move |head: &&ListHead| {
        head.written_by.account != own.account || head.written_by.region != own.region
    };
    let heads = read.head.iter().filter(is_elsewhere);
    let clusters =
        heads.flat_map(|head| head.eks_clusters.iter().map(move |cluster| (&head.written_by, cluster)));
    clusters.filter_map(move |(Writer { account, region, .. }, cluster)| {
        let is_declared = || {
            sources.lists.iter().filter(|list| list.cluster.as_ref() == Some(cluster)).any(|list| {
                reporters.iter().any(|reporter| {
                    reporter.key == list.key
                        && reporter.account.as_ref() == Some(account)
                        && reporter.region.as_ref().is_none_or(|of_list| of_list == region)
                })
            })
        };
        let key = format!("{LISTS}{account}/eks/{region}/{cluster}.json");
        (!keys.contains(key.as_str()) && !is_declared()).then(|| UnreadableSource {
            source: format!("eks/{account}/{region}/{cluster}"),
            repositories: read.repositories(),
            problem: format!(
                "no list tells what the EKS cluster {cluster} of the account {account} in {region} runs; have it write {key}"
            ),
        })
    })
}

/// The gaps of other Regions of the registry's own account, which may pull without being named in any policy: those that the
/// policies file says do, and that no list tells of.
fn own_regions(sources: &Sources, own: Place<'_>, reporters: &[Reporter]) -> Vec<UnreadableSource> {
    let named = sources.accounts.iter().filter(|named| named.account == own.account);
    let regions = named.flat_map(|named| &named.regions).filter(|region| *region != own.region);
    let is_listed = |region: &str| {
        let of_region =
            |reporter: &Reporter| reporter.reports_account(own.account) && reporter.names_region(region);
        reporters.iter().any(of_region)
    };
    let unlisted = regions.filter(|region| !is_listed(region));
    unlisted
        .map(|region| UnreadableSource {
            source: format!("account/{}/{region}", own.account),
            repositories: Vec::new(),
            problem: format!(
                "`usage.accounts` says that this account pulls in {region}, and no list tells what it uses there; deploy the usage \
                 reporter there, which writes {LISTS}{}/{region}.json",
                own.account
            ),
        })
        .collect()
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
fn age_problem(
    modified_at: Option<Instant>,
    true_at: Option<Instant>,
    hours: u64,
    now: Instant,
) -> Option<String> {
    let (Some(modified_at), Some(true_at)) = (modified_at, true_at) else {
        return Some("S3 does not say when it was written".to_owned());
    };
    if (now.micros() - modified_at.micros()) / 1_000_000 < -CLOCK_SECONDS {
        return Some(format!("it was written at {modified_at}, which is in the future"));
    }
    let seconds = (now.micros() - true_at.micros()) / 1_000_000;
    let most = i64::try_from(hours).unwrap_or(i64::MAX).saturating_mul(3600);
    (seconds > most)
        .then(|| format!("it was written at {true_at}, and is of no use after {}", count(hours, "hour")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::enforcement::policy_set::{IgnoredSource, PullingAccount};
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
        let own = Place { account: "123456789012", region: "eu-west-1" };
        read(Expected { sources, memory: &memory, eks_clusters: &eks_clusters, own, now: now() }, found)
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
    fn a_list_covers_an_account_by_its_key_or_by_declaration() {
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

    const OTHER: &str = "usage/210987654321/eu-west-1.json";

    /// A list of the second form, by an account in a Region, with all sources.
    fn list_by(account: &str, region: &str, change: impl Fn(&mut serde_json::Value)) -> String {
        let read_at = Instant::from_micros(now().micros() - 3_600_000_000).unwrap().to_string();
        let reported = SOURCES.iter().filter(|source| is_reported(source));
        let sources: Vec<serde_json::Value> = reported
            .map(|source| {
                serde_json::json!({ "source": source.name, "status": "COMPLETE", "readAt": read_at, "imagesInUse": 1 })
            })
            .collect();
        let mut list = serde_json::json!({
            "formatVersion": 2,
            "writtenAt": read_at,
            "writtenBy": { "account": account, "region": region, "program": "usage-report 0.1.0" },
            "sources": sources,
            "images": [{ "imageUri": "shop/web:v1", "usedBy": ["service/web"] }],
        });
        change(&mut list);
        list.to_string()
    }

    fn unchanged(_: &mut serde_json::Value) {}

    fn problems_of(key: &str, content: &str) -> Vec<String> {
        let reports = read_with(&Sources::default(), &[], &[list(key, 1, content)]);
        assert!(!reports.used.is_empty(), "what it names counts all the same");
        reports.gaps.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_list_of_another_account_reports_who_uses_what_there_and_how_it_was_read() {
        let found = [list(OTHER, 1, &list_by("210987654321", "eu-west-1", unchanged))];
        let reports = read_with(&Sources::default(), &[], &found);
        assert_eq!(reports.gaps, []);
        assert_eq!(reports.used[0].used_by, ["service/web in 210987654321/eu-west-1"]);
        assert!(
            reports.reporters[0].reports_account("210987654321")
                && reports.reporters[0].names_region("eu-west-1")
        );
        let ecs = &reports.sources[0];
        assert_eq!((&*ecs.source, &*ecs.title, ecs.status), ("ecs", "Amazon ECS", SourceStatus::Complete));
        assert_eq!(
            (ecs.account.as_deref(), ecs.region.as_deref()),
            (Some("210987654321"), Some("eu-west-1"))
        );
        let array =
            read_with(&Sources::default(), &[], &[list("usage/210987654321/x.json", 1, r#"["a:1"]"#)]);
        assert_eq!(array.used[0].used_by, ["the list usage/210987654321/x.json"]);
        assert_eq!(array.sources[0].account.as_deref(), Some("210987654321"));
    }

    #[test]
    fn a_list_of_one_account_is_not_believed_below_the_key_of_another() {
        for (key, account, region, expected) in [
            (OTHER, "333333333333", "eu-west-1", "it says that it tells of the account `333333333333`, and"),
            (OTHER, "210987654321", "us-east-1", "it says that it tells of the Region `us-east-1`, and"),
            ("usage/pods.json", "333333333333", "eu-west-1", "its key or its declaration says 123456789012"),
            ("usage/eks/web.json", "123456789012", "us-east-1", "its key or its declaration says eu-west-1"),
            ("usage/eks/web.json", "123456789012", "eu-west-1", "and has no `cluster`"),
        ] {
            let problems = problems_of(key, &list_by(account, region, unchanged));
            assert!(
                problems.iter().any(|problems| problems.starts_with(key) && problems.contains(expected)),
                "{problems:?}"
            );
        }
        let of_green = list_by("123456789012", "eu-west-1", |list| list["cluster"] = "green".into());
        assert!(problems_of("usage/eks/web.json", &of_green)[0].contains("the cluster `green`"));
        let of_web = list_by("123456789012", "eu-west-1", |list| list["cluster"] = "web".into());
        assert_eq!(problems_of("usage/eks/web.json", &of_web), [""; 0]);
        // Who says so does not speak for that account either.
        let forged = list("usage/pods.json", 1, &list_by("333333333333", "eu-west-1", unchanged));
        assert_eq!(read_with(&Sources::default(), &[], &[forged]).reporters[0].account, None);
    }

    #[test]
    fn what_a_reporter_could_not_read_is_a_gap_with_its_account_and_region() {
        let content = list_by("210987654321", "eu-west-1", |list| {
            list["gaps"] = serde_json::json!([
                { "source": "batch", "problem": "DescribeJobDefinitions: denied; allow batch:DescribeJobDefinitions" },
                { "source": "ecs/web/cart", "repositories": ["shop/*"], "problem": "no task tells" },
            ]);
        });
        let reports = read_with(&Sources::default(), &[], &[list(OTHER, 1, &content)]);
        let batch = &reports.gaps[0];
        assert_eq!(batch.source, "usage/210987654321/eu-west-1.json/batch");
        assert_eq!(
            batch.problem,
            "AWS Batch in the account 210987654321, eu-west-1, was not read completely: DescribeJobDefinitions: denied; allow \
             batch:DescribeJobDefinitions; correct it there, and the next list is complete"
        );
        assert!(
            batch.is_about("any") && !reports.gaps[1].is_about("any") && reports.gaps[1].is_about("shop/a")
        );
        let of = |name: &str| reports.sources.iter().find(|source| source.source == name).unwrap().status;
        assert_eq!([of("batch"), of("lambda")], [SourceStatus::Incomplete, SourceStatus::Complete]);
        assert_eq!(reports.reporters.len(), 1, "it tells of its account all the same");
    }

    #[test]
    fn a_reporter_that_does_not_know_a_source_is_out_of_date() {
        let content = list_by("210987654321", "eu-west-1", |list| {
            list["sources"].as_array_mut().unwrap().retain(|problems| problems["source"] != "lambda");
        });
        let problems = problems_of(OTHER, &content);
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].starts_with("usage/210987654321/eu-west-1.json/lambda: the list does not say"),
            "{problems:?}"
        );
        for (stacks, repositories) in [
            (Stacks::Everywhere, Vec::new()),
            (Stacks::Of(vec!["cdk-*".to_owned()]), vec!["cdk-*".to_owned()]),
        ] {
            let sources = Sources { stacks, ..Sources::default() };
            let found = [list(OTHER, 1, &list_by("210987654321", "eu-west-1", unchanged))];
            let gaps = read_with(&sources, &[], &found).gaps;
            assert!(
                gaps[0].source.ends_with("/stacks") && gaps[0].problem.contains("ReadStacks"),
                "{gaps:?}"
            );
            assert_eq!(gaps[0].repositories, repositories);
        }
        // A list under a name of its own may be about anything, and says of what.
        assert_eq!(problems_of("usage/210987654321/nomad.json", &content), [""; 0]);
    }

    #[test]
    fn a_list_is_as_old_as_what_it_reports_whenever_it_was_stored() {
        let old = |list: &mut serde_json::Value| list["sources"][0]["readAt"] = "2026-11-22T11:00:00Z".into();
        let problems = problems_of(OTHER, &list_by("210987654321", "eu-west-1", old));
        assert!(
            problems[0].contains("written at 2026-11-22T11:00:00Z, and is of no use after 24 hours"),
            "{problems:?}"
        );
        // It cannot tell of a time after it was stored.
        let late = |list: &mut serde_json::Value| list["writtenAt"] = "2026-11-23T11:50:00Z".into();
        let problems = problems_of(OTHER, &list_by("210987654321", "eu-west-1", late));
        assert!(problems[0].contains("which is in the future"), "{problems:?}");
        let reports = read_with(
            &Sources::default(),
            &[],
            &[list(OTHER, 0, &list_by("210987654321", "eu-west-1", unchanged))],
        );
        assert_eq!(
            reports.written[0].written_at.to_string(),
            "2026-11-23T11:00:00Z",
            "when its reading began"
        );
    }

    #[test]
    fn an_eks_cluster_of_another_account_needs_a_list_of_its_own() {
        let with_cluster = |list: &mut serde_json::Value| list["eksClusters"] = serde_json::json!(["web"]);
        let of_account = list(OTHER, 1, &list_by("210987654321", "eu-west-1", with_cluster));
        let gaps = |found: &[FoundList]| -> Vec<String> {
            read_with(&Sources::default(), &[], found).gaps.into_iter().map(|gap| gap.source).collect()
        };
        assert_eq!(gaps(std::slice::from_ref(&of_account)), ["eks/210987654321/eu-west-1/web"]);
        let of_cluster = list("usage/210987654321/eks/eu-west-1/web.json", 1, r#"["a:1"]"#);
        assert_eq!(gaps(&[of_account.clone(), of_cluster]), [""; 0]);
        let elsewhere = list("usage/210987654321/eks/us-east-1/web.json", 1, r#"["a:1"]"#);
        assert_eq!(gaps(&[of_account, elsewhere]), ["eks/210987654321/eu-west-1/web"]);
    }

    #[test]
    fn another_region_of_the_own_account_has_to_report_when_the_policies_file_says_that_it_pulls() {
        let named = |account: &str| Sources {
            accounts: vec![PullingAccount {
                account: account.to_owned(),
                regions: vec!["eu-west-1".to_owned(), "us-east-1".to_owned()],
            }],
            ..Sources::default()
        };
        let gaps = |sources: &Sources, found: &[FoundList]| -> Vec<String> {
            read_with(sources, &[], found).gaps.into_iter().map(|gap| gap.source).collect()
        };
        let own = named("123456789012");
        assert_eq!(gaps(&own, &[]), ["account/123456789012/us-east-1"]);
        let problems =
            list("usage/123456789012/us-east-1.json", 1, &list_by("123456789012", "us-east-1", unchanged));
        assert_eq!(gaps(&own, &[problems]), [""; 0]);
        assert_eq!(gaps(&named("210987654321"), &[]), [""; 0], "others are asked for where they may pull");
    }

    #[test]
    fn a_key_names_an_account_a_region_and_a_cluster() {
        let of = |key: &str| {
            let KeyParts { account, region, cluster } = KeyParts::of(key);
            [account, region, cluster].map(|part| part.unwrap_or("-").to_owned()).join(" ")
        };
        assert_eq!(of(OTHER), "210987654321 eu-west-1 -");
        assert_eq!(of("usage/210987654321/eks/eu-west-1/web.json"), "210987654321 eu-west-1 web");
        assert_eq!(of("usage/eks/web.json"), "- - web");
        assert_eq!(of("usage/210987654321/nomad.json"), "210987654321 - -");
        assert_eq!(of("usage/210987654321/eu-west-1/pods.json"), "210987654321 - -");
        assert_eq!(of("usage/pods.json"), "- - -");
        assert!(is_region("us-gov-west-1") && !is_region("eu-west") && !is_region("west-1"));
    }

    #[test]
    fn more_gaps_than_anybody_reads_become_one_about_everything() {
        let many = |list: &mut serde_json::Value| {
            let gap = |number: usize| serde_json::json!({ "source": format!("x/{number}"), "repositories": ["a"], "problem": "" });
            list["gaps"] = (0..400).map(gap).collect();
        };
        let found: Vec<FoundList> = ["eu-west-1", "eu-west-2", "eu-west-3"]
            .map(|region| {
                list(&format!("usage/210987654321/{region}.json"), 1, &list_by("210987654321", region, many))
            })
            .into();
        let gaps = read_with(&Sources::default(), &[], &found).gaps;
        assert_eq!(gaps.len(), MAX_GAPS + 1);
        let last = gaps.last().unwrap();
        assert!(last.is_about("anything") && last.problem.contains("1200 things"), "{last}");
    }
}
