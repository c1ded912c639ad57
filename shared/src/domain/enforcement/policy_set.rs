//! The policies file, `policies.yaml` in the stack's bucket: the lifecycle policy of each repository, who enforces it, its
//! exceptions and its limits.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::enforcement::in_use_protection::TakesNothing;
use crate::domain::image::name::Name;
use crate::domain::image::reference::ImageReference;
use crate::domain::lifecycle::document::{Action, Limit, Rule, StorageClass, TagList, TagSelection};
use crate::domain::lifecycle::lint::why_no_tag;
use crate::domain::lifecycle::{LifecyclePolicy, PolicySource, matches_wildcard};
use crate::domain::text::finding::{Code, Finding, join_pointer, quoted};
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity::count;
use crate::domain::text::reader::{Fields, Reader};
use crate::domain::text::recognize::{self, Wanted};
use crate::domain::text::syntax::{self, Node};
use crate::domain::usage::ignore;
use crate::domain::usage::reports::{is_account, is_region};

/// The key of the file in the stack's bucket.
pub const KEY: &str = "policies.yaml";

/// The field that says in which repositories images of stacks are in use.
const STACKS: &str = "stacks";
const FILE_FIELDS: [&str; 4] = ["policies", "usage", "limits", "approve"];

/// The policies of a registry and the repositories that they apply to. By default there are none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicySet {
    entries: Vec<Entry>,
    usage: Sources,
    limits: RegistryLimits,
    approve: Option<String>,
    hash: String,
}

/// The settings of usage sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// Number of the last active revisions of each family of ECS task definitions that count as in use.
    pub task_definition_revisions: u64,
    /// In which repositories it is in use what templates and parameters of stacks of AWS CloudFormation name.
    pub stacks: Stacks,
    /// Lists in the stack's bucket that have to be there.
    pub lists: Vec<ListSource>,
    /// Usage sources that do not block deletions when they cannot be read.
    pub ignore: Vec<IgnoredSource>,
    /// The accounts that pull where a repository policy lets an organization or anybody pull, and the Regions in which accounts
    /// that may pull do.
    pub accounts: Vec<PullingAccount>,
}

/// The repositories in which images count as in use that stacks of AWS CloudFormation name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Stacks {
    /// None: stacks are not read.
    #[default]
    Unread,
    /// All repositories.
    Everywhere,
    /// Those that one of these matches, in which `*` stands for anything.
    Of(Vec<String>),
}

impl Stacks {
    /// Whether stacks are read.
    #[must_use]
    pub fn are_read(&self) -> bool {
        *self != Self::Unread
    }

    /// The repositories of a gap, if stacks cannot be read: patterns; without any, all of them.
    #[must_use]
    pub fn repositories(&self) -> Vec<String> {
        match self {
            Self::Of(patterns) => patterns.clone(),
            Self::Unread | Self::Everywhere => Vec::new(),
        }
    }

    /// Whether a reference counts that a stack names. One with a digest does: every repository may have that image.
    #[must_use]
    pub fn count(&self, reference: &ImageReference) -> bool {
        match self {
            Self::Unread => false,
            Self::Everywhere => true,
            Self::Of(patterns) => {
                let is_of = |pattern: &String| matches_wildcard(pattern, &reference.repository);
                reference.digest.is_some() || patterns.iter().any(is_of)
            }
        }
    }
}

/// An account that pulls, and has to report what it uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullingAccount {
    /// The account: twelve digits.
    pub account: String,
    /// The Regions in which it pulls, each of which needs a list; without any, one list of the account is enough.
    pub regions: Vec<String>,
}

impl Default for Sources {
    /// Five revisions, and no required lists.
    fn default() -> Self {
        Self {
            task_definition_revisions: 5,
            stacks: Stacks::Unread,
            lists: Vec::new(),
            ignore: Vec::new(),
            accounts: Vec::new(),
        }
    }
}

/// A usage source that does not block deletions when it cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct IgnoredSource {
    /// The source, as an unreadable one is called in reports: `eks/old`, `account/210987654321`.
    pub source: String,
    /// Why it may be ignored.
    pub reason: String,
    /// The last day, in UTC, on which it is ignored. `None` is without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Date>,
}

impl IgnoredSource {
    /// Whether it still applies.
    #[must_use]
    pub fn holds(&self, now: Instant) -> bool {
        let today = now.timestamp().to_zoned(jiff::tz::TimeZone::UTC).date();
        self.until.is_none_or(|until| today <= until)
    }
}

/// The limits of the whole registry in a day, in UTC, for deleted and archived images together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryLimits {
    /// The most images.
    pub images: u64,
    /// The most images, in percent of those that the last completed run counted; never under [`Self::LEAST`] images.
    pub percent: u64,
}

impl RegistryLimits {
    /// Minimum number of images of a limit in percent: a small registry has to shrink, too.
    pub const LEAST: u64 = 100;

    /// Maximum number of images removed in a day. `total` is the count of the last completed run, if any.
    #[must_use]
    pub fn images_a_day(self, total: Option<u64>) -> u64 {
        let share = u128::from(total.unwrap_or(0)) * u128::from(self.percent) / 100;
        self.images.min(u64::try_from(share).unwrap_or(u64::MAX).max(Self::LEAST))
    }
}

impl Default for RegistryLimits {
    /// 5,000 images, a quarter of the registry.
    fn default() -> Self {
        Self { images: 5000, percent: 25 }
    }
}

/// A list of references in use, in the stack's bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListSource {
    /// Its key, which begins with [`LISTS`].
    pub key: String,
    /// Maximum age of the list, in hours.
    pub maximum_age_in_hours: u64,
    /// Patterns of the repositories that the list covers; empty for all.
    pub repositories: Vec<String>,
    /// The cluster of Amazon EKS in this account and Region whose use it reports.
    pub cluster: Option<String>,
    /// The account whose use it reports.
    pub account: Option<String>,
}

/// Upper bound of `maximumAgeInHours`, 31 days: a list that may be older protects what ran once, and not what runs.
const OLDEST_LIST_IN_HOURS: u64 = 31 * 24;

/// The prefix of the keys of lists of references in use.
pub const LISTS: &str = "usage/";
/// Default maximum age of a list, in hours.
pub const MAXIMUM_AGE_IN_HOURS: u64 = 24;

/// A policy and the repositories that it applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name in reports.
    pub name: String,
    /// Patterns of its repositories; `*` matches anything.
    pub repositories: Vec<String>,
    /// The resource tags that its repositories have, all of these.
    pub tags: BTreeMap<String, String>,
    /// The policy. With `apply: protect`, where a run uses the attached policy, it is one by which nothing expires.
    pub policy: LifecyclePolicy,
    /// Who enforces it.
    pub apply: Apply,
    /// The images that it keeps, in addition to images in use.
    pub keep: Keep,
    /// Its limits in one run.
    pub limits: Limits,
}

/// Who enforces a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Apply {
    /// Nobody: the report shows what would be removed.
    #[default]
    Preview,
    /// ECR, while images in use have protection tags.
    Attach,
    /// This stack, image by image.
    Delete,
    /// ECR, by a policy of somebody else whose first rule is the protection rule. This stack maintains the protection tags, and
    /// deletes images that were protected once. It never writes the policy.
    Protect,
}

impl Apply {
    const NAMES: [(&'static str, Self); 4] = [
        ("preview", Self::Preview),
        ("attach", Self::Attach),
        ("delete", Self::Delete),
        ("protect", Self::Protect),
    ];

    /// The word in the policies file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preview => "preview",
            Self::Attach => "attach",
            Self::Delete => "delete",
            Self::Protect => "protect",
        }
    }

    /// Whether ECR's own engine deletes by a policy, so that images in use need protection tags.
    #[must_use]
    pub const fn is_by_ecr(self) -> bool {
        matches!(self, Self::Attach | Self::Protect)
    }
}

/// The images that are kept whatever the rules say. Images in use are always kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keep {
    /// Patterns of tags; `*` matches anything.
    pub tags: Vec<String>,
    /// Number of the youngest images.
    pub newest: u64,
    /// Images that were pulled within this number of days.
    pub pulled_within_days: Option<u64>,
}

/// The limits of a run in one repository. A plan that exceeds one of them is not executed at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of images removed from one repository in one run.
    pub images: u64,
    /// Maximum part of the repository's images, in percent.
    pub percent: u64,
    /// Minimum number of images that remain.
    pub remaining: u64,
}

impl Default for Limits {
    /// 500 images, half of the repository, one remaining image.
    fn default() -> Self {
        Self { images: 500, percent: 50, remaining: 1 }
    }
}

/// Fewer images than this are almost nothing: the image that runs, and one to go back to.
const ALMOST_NOTHING: u64 = 3;
/// The number of images of the repository by which limits are judged. In smaller ones few images are a large part.
const TYPICAL_REPOSITORY: u64 = 20;

impl Limits {
    /// The number of images that these limits leave at least in a repository of `total` images, whatever a policy says.
    #[must_use]
    fn least_left(self, total: u64) -> u64 {
        let share = u64::try_from(u128::from(total) * u128::from(self.percent) / 100).unwrap_or(total);
        let most = self.images.min(share).min(total.saturating_sub(self.remaining));
        total.saturating_sub(most)
    }
}

impl Entry {
    /// The finding about a rule that takes images of every kind, or all tagged ones, and may leave almost nothing of a repository, with
    /// limits and exceptions that let that through.
    fn leaves_almost_nothing(&self) -> Option<Finding> {
        let is_any_tag = |entry: &String| entry.bytes().all(|byte| byte == b'*');
        if self.apply == Apply::Protect || self.keep.tags.iter().any(is_any_tag) {
            return None;
        }
        let by_limits = self.limits.least_left(TYPICAL_REPOSITORY);
        let left_by = |limit: Limit| match limit {
            Limit::ImageCountMoreThan(keeps) => keeps,
            Limit::SinceImagePushed(_) | Limit::SinceImagePulled(_) | Limit::SinceImageTransitioned(_) => 0,
        };
        let is_for_all = |rule: &Rule| match &rule.tags {
            TagSelection::Any => true,
            // A `*` of a prefix stands for itself.
            TagSelection::Tagged(TagList::Patterns(patterns)) => patterns.iter().all(is_any_tag),
            TagSelection::Tagged(TagList::Prefixes(_)) | TagSelection::Untagged => false,
        };
        let of_storage = |rule: &Rule| rule.limit.storage_class() == StorageClass::Standard;
        let rules = self.policy.rules().iter().filter(|rule| is_for_all(rule) && of_storage(rule));
        let (rule, left) = rules
            .map(|rule| (rule, left_by(rule.limit).max(self.keep.newest).max(by_limits)))
            .min_by_key(|(_, left)| *left)
            .filter(|(_, left)| *left < ALMOST_NOTHING)?;
        let verb = if rule.action == Action::Expire { "deletes" } else { "archives" };
        let images = if rule.tags == TagSelection::Any { "every image" } else { "every tagged image" };
        let does = match rule.limit {
            Limit::ImageCountMoreThan(1) => format!("{verb} {images} but the youngest"),
            Limit::ImageCountMoreThan(keeps) => format!("{verb} {images} but the {keeps} youngest"),
            Limit::SinceImagePushed(days) => format!(
                "{verb} {images} that was pushed more than {} ago, also where nothing is pushed any more",
                count(days, "day")
            ),
            Limit::SinceImagePulled(days) | Limit::SinceImageTransitioned(days) => format!(
                "{verb} {images} that was not pulled for {}, also where nothing is pulled any more",
                count(days, "day")
            ),
        };
        let message = format!(
            "rule {} {does}, and the limits let it: with `percent: {}` and `remaining: {}` only {left} of {TYPICAL_REPOSITORY} images may be \
             left, besides those in use; if that is not meant, write `keep: {{ newest: {ALMOST_NOTHING} }}`, \
             `limits: {{ remaining: {ALMOST_NOTHING} }}` or a lower `percent` (without it: {})",
            rule.priority,
            self.limits.percent,
            self.limits.remaining,
            Limits::default().percent,
        );
        Some(Finding::new(Code::LeavesAlmostNothing, &*rule.pointer, message))
    }
}

/// The resource tags of a repository.
pub type ResourceTags = BTreeMap<String, String>;

/// The policy of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match<'a> {
    /// This one.
    Entry(&'a Entry),
    /// None: the repository is left alone.
    None,
    /// Unknown: its resource tags decide, and were not given.
    TagsNeeded,
}

impl PolicySet {
    /// Whether a text is intended as a policies file, valid or not: it has a list of policies.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        let Ok((node, _)) = syntax::parse_file(text, &FILE_FIELDS) else { return false };
        // Other tools have policies, too.
        matches!(&node, Node::Object(fields) if fields.iter().any(|(name, _)| name == "policies"))
            && recognize::node(&node, Wanted::Policy).is_none()
    }

    /// Reads a policies file in YAML or JSON.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Vec<Finding>> {
        let (node, _) = syntax::parse_file(text, &FILE_FIELDS).map_err(|finding| vec![finding])?;
        let mut reader = Reader::default();
        let mut policy_set = Self::default();
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        if matches!(node, Node::Null) {
            // Only comments, as of a file that is to be filled.
            let message = "there is nothing in it; write a list of `policies`, or `policies: []` as long as there are none";
            reader.report(Code::WrongType, String::new(), message.to_owned());
        } else if let Some(fields) = reader.fields(&node, "", &FILE_FIELDS) {
            policy_set.hash = content_hash(&node);
            policy_set.usage = sources(&mut reader, &fields);
            policy_set.limits = registry_limits(&mut reader, &fields);
            policy_set.approve = reader.text(&fields, "approve").value();
            if let Some(approve) = policy_set.approve.as_ref().filter(|approve| !is_hash(approve)) {
                let message = format!(
                    "{} is no hash of a policies file; write the {HASH_DIGITS} hexadecimal digits that `check` prints of this one, or \
                     leave `approve` out, so that a run previews the file before one enforces it",
                    quoted(approve)
                );
                reader.report(Code::UnknownValue, fields.at("approve"), message);
            }
            let items = reader.list(&fields, "policies");
            reader.require(&items, &fields, "policies", "a list of policies");
            for (index, item) in items.value().unwrap_or_default().iter().enumerate() {
                let at = format!("/policies/{index}");
                let Some(entry) = entry(&mut reader, item, &at) else { continue };
                if let Some(first) = names.insert(entry.name.clone(), index) {
                    let message = format!(
                        "{} is the name of /policies/{first} too; reports could not tell them apart",
                        quoted(&entry.name)
                    );
                    reader.report(Code::NameConflict, format!("{at}/name"), message);
                }
                policy_set.entries.push(entry);
            }
        }
        if reader.findings.is_empty() { Ok(policy_set) } else { Err(reader.findings) }
    }

    /// The same without policies: only the settings of usage sources and the limits of the registry.
    #[must_use]
    pub fn without_policies(self) -> Self {
        Self { entries: Vec::new(), ..self }
    }

    /// Entries that apply to no repository, since an earlier entry matches all of them: with any tags, or with tags that they
    /// require, too.
    #[must_use]
    pub fn unreachable(&self) -> Vec<Finding> {
        let covers = |wide: &Entry, narrow: &Entry| {
            wide.tags.iter().all(|(key, value)| narrow.tags.get(key) == Some(value))
                // A `*` of the narrow pattern can only be matched by a `*` of the wide one, which takes any run.
                && narrow.repositories.iter().all(|narrow| {
                    wide.repositories.iter().any(|wide| matches_wildcard(wide, narrow))
                })
        };
        let mut findings = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            let earlier = self.entries.iter().take(index).enumerate();
            let Some((at, covering)) = earlier.into_iter().find(|(_, other)| covers(other, entry)) else {
                continue;
            };
            let message = format!(
                "{} is for no repository: {} at /policies/{at} comes first and takes all that it is for; put the narrower \
                 one first",
                quoted(&entry.name),
                quoted(&covering.name),
            );
            findings.push(Finding::new(Code::EntryUnreachable, format!("/policies/{index}"), message));
        }
        findings
    }

    /// Entries that may leave almost nothing of a repository, while their limits do not stop that. What is in use stays in any case.
    #[must_use]
    pub fn leaving_almost_nothing(&self) -> Vec<Finding> {
        let findings = self.entries.iter().enumerate().filter_map(|(index, entry)| {
            let finding = entry.leaves_almost_nothing()?;
            Some(Finding { pointer: format!("/policies/{index}{}", finding.pointer), ..finding })
        });
        findings.collect()
    }

    /// The policies, in the order in which they are tried.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The settings of usage sources.
    #[must_use]
    pub const fn usage(&self) -> &Sources {
        &self.usage
    }

    /// The limits of the whole registry in a day.
    #[must_use]
    pub const fn limits(&self) -> RegistryLimits {
        self.limits
    }

    /// The hash of the file's meaning without `approve`, in 16 hexadecimal digits. Comments, spelling and the order of fields do
    /// not change it.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Whether the file approves itself, so that it is enforced without an earlier preview: `approve` is its own hash.
    #[must_use]
    pub fn is_approved(&self) -> bool {
        self.approve.as_deref() == Some(&*self.hash)
    }

    /// The finding about an `approve` that is the hash of another file, as that of this file before it was changed. It approves
    /// nothing: a run previews the file before one enforces it.
    #[must_use]
    pub fn unapproved(&self) -> Option<Finding> {
        let approve = self.approve.as_ref().filter(|_| !self.is_approved())?;
        let message = format!(
            "{} is not the hash of this file, which is {}; it approves nothing, and a run previews the file before one enforces it",
            quoted(approve),
            self.hash
        );
        Some(Finding::new(Code::UnknownValue, "/approve".to_owned(), message))
    }

    /// Entries of `usage.ignore` whose last day is over.
    #[must_use]
    pub fn expired_ignores(&self, now: Instant) -> Vec<Finding> {
        let ignored = self.usage.ignore.iter().enumerate().filter(|(_, ignored)| !ignored.holds(now));
        let findings = ignored.filter_map(|(index, ignored)| {
            let message = format!(
                "{} is no longer ignored: its last day, {}, is over, so that it blocks deletions whenever it cannot be read; write \
                 a later day if it still does not matter, or remove the entry",
                quoted(&ignored.source),
                ignored.until?,
            );
            Some(Finding::new(Code::IgnoreExpired, format!("/usage/ignore/{index}/until"), message))
        });
        findings.collect()
    }

    /// The policy of this name.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// The policy of a repository: the first that matches. Its resource tags take a call to AWS, so that they are only
    /// asked for where they decide.
    #[must_use]
    pub fn entry_for(&self, repository: &str, tags: Option<&ResourceTags>) -> Match<'_> {
        for entry in &self.entries {
            if !entry.repositories.iter().any(|pattern| matches_wildcard(pattern, repository)) {
                continue;
            }
            let has =
                |tags: &ResourceTags| entry.tags.iter().all(|(key, value)| tags.get(key) == Some(value));
            match tags {
                _ if entry.tags.is_empty() => return Match::Entry(entry),
                None => return Match::TagsNeeded,
                Some(tags) if has(tags) => return Match::Entry(entry),
                Some(_) => {}
            }
        }
        Match::None
    }
}

/// The number of digits of a hash: 8 bytes.
const HASH_DIGITS: usize = 16;

/// Whether a text can be the hash of a policies file.
fn is_hash(text: &str) -> bool {
    text.len() == HASH_DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn content_hash(node: &Node) -> String {
    let mut canonical = String::new();
    match node {
        Node::Object(fields) => {
            let content = fields.iter().filter(|(name, _)| name != "approve").cloned().collect();
            write_canonical(&Node::Object(content), &mut canonical);
        }
        node => write_canonical(node, &mut canonical),
    }
    let digest = Sha256::digest(canonical);
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The canonical form of a value: fields sorted by name, every value with its kind.
fn write_canonical(node: &Node, out: &mut String) {
    match node {
        Node::Null => out.push('n'),
        Node::Bool(value) => *out += if *value { "t" } else { "f" },
        Node::Whole(number) => *out += &format!("{number};"),
        Node::Number(number) => *out += &format!("{number:e};"),
        Node::Text(text) => *out += &format!("{}:{text}", text.len()),
        Node::List(items) => {
            out.push('[');
            items.iter().for_each(|item| write_canonical(item, out));
            out.push(']');
        }
        Node::Object(fields) => {
            let mut fields: Vec<&(String, Node)> = fields.iter().collect();
            fields.sort_by(|(one, _), (other, _)| one.cmp(other));
            out.push('{');
            for (name, value) in fields {
                *out += &format!("{}:{name}", name.len());
                write_canonical(value, out);
            }
            out.push('}');
        }
    }
}

fn registry_limits(reader: &mut Reader, fields: &Fields<'_>) -> RegistryLimits {
    let default = RegistryLimits::default();
    let Some(node) = reader.field(fields, "limits").value() else { return default };
    let Some(fields) = reader.fields(node, &fields.at("limits"), &["images", "percent"]) else {
        return default;
    };
    RegistryLimits {
        images: reader.positive_integer(&fields, "images").value().unwrap_or(default.images),
        percent: percent(reader, &fields).unwrap_or(default.percent),
    }
}

/// `percent`, which is 1 to 100.
fn percent(reader: &mut Reader, fields: &Fields<'_>) -> Option<u64> {
    let percent = reader.positive_integer(fields, "percent").value();
    if let Some(percent) = percent
        && percent > 100
    {
        let message = format!("`percent` is {percent}; write 1 to 100");
        reader.report(Code::NumberOutOfRange, fields.at("percent"), message);
    }
    percent
}

fn check_account(reader: &mut Reader, account: &str, pointer: &str) {
    if !is_account(account) {
        let message = format!("{} is no account; write its twelve digits in quotes", quoted(account));
        reader.report(Code::UnknownValue, pointer, message);
    }
}

/// The accounts that pull: each an id, or an object with the Regions.
fn accounts(reader: &mut Reader, fields: &Fields<'_>) -> Vec<PullingAccount> {
    let mut accounts: Vec<PullingAccount> = Vec::new();
    let pointer = fields.at("accounts");
    let named = reader.list(fields, "accounts").value();
    if named.is_some_and(<[Node]>::is_empty) {
        let message = "`accounts` is empty; name at least one".to_owned();
        reader.report(Code::EmptyList, pointer.clone(), message);
    }
    for (index, node) in named.unwrap_or_default().iter().enumerate() {
        let at = format!("{pointer}/{index}");
        let (account, at, regions) = match node {
            Node::Text(account) => (account.clone(), at, Vec::new()),
            Node::Object(_) => {
                let Some(fields) = reader.fields(node, &at, &["account", "regions"]) else { continue };
                let account = reader.text(&fields, "account");
                reader.require(&account, &fields, "account", "the twelve digits of the account, in quotes");
                let regions = reader.string_list(&fields, "regions").value().unwrap_or_default();
                for (index, region) in regions.iter().enumerate() {
                    if !is_region(region) {
                        let message = format!("{} is no Region; write it like eu-west-1", quoted(region));
                        reader.report(
                            Code::UnknownValue,
                            format!("{}/{index}", fields.at("regions")),
                            message,
                        );
                    }
                }
                let Some(account) = account.value() else { continue };
                (account, fields.at("account"), regions)
            }
            node => {
                reader.wrong_type(
                    node,
                    &at,
                    "the twelve digits of an account in quotes, or an object with `account`",
                );
                continue;
            }
        };
        check_account(reader, &account, &at);
        if accounts.iter().any(|named| named.account == account) {
            let message =
                format!("{} is there more than once; name all its Regions in one entry", quoted(&account));
            reader.report(Code::NameConflict, at, message);
        }
        accounts.push(PullingAccount { account, regions });
    }
    accounts
}

fn ignored(reader: &mut Reader, fields: &Fields<'_>) -> Vec<IgnoredSource> {
    let mut ignored = Vec::new();
    for (index, node) in reader.list(fields, "ignore").value().unwrap_or_default().iter().enumerate() {
        let at = format!("{}/{index}", fields.at("ignore"));
        let Some(fields) = reader.fields(node, &at, &["source", "reason", "until"]) else { continue };
        let source = reader.text(&fields, "source");
        reader.require(&source, &fields, "source", "the source, as the report calls it");
        let source = source.value();
        if let Some(problem) = source.as_deref().and_then(ignore::why_no_source) {
            reader.report(Code::UnknownValue, fields.at("source"), problem);
        }
        if let Some(first) =
            ignored.iter().position(|entry: &IgnoredSource| Some(&entry.source) == source.as_ref())
        {
            let ignore = "the source is ignored by";
            let message = format!(
                "{ignore} /usage/ignore/{first} already; keep one, since only the first of them is looked at"
            );
            reader.report(Code::NameConflict, fields.at("source"), message);
        }
        let reason = reader.text(&fields, "reason");
        reader.require(&reason, &fields, "reason", "why the source does not matter");
        let reason = reason.value();
        if reason.as_deref().is_some_and(|reason| reason.trim().is_empty()) {
            let message = "`reason` is empty; write why the source does not matter, which reports say";
            reader.report(Code::EmptyString, fields.at("reason"), message);
        }
        let until = match reader.text(&fields, "until").value() {
            None => None,
            Some(text) => match text.parse::<Date>() {
                Ok(date) => Some(date),
                Err(_) => {
                    let message = format!("{} is no date; write it as 2027-01-31", quoted(&text));
                    reader.report(Code::UnknownValue, fields.at("until"), message);
                    continue;
                }
            },
        };
        if let (Some(source), Some(reason)) = (source, reason) {
            ignored.push(IgnoredSource { source, reason, until });
        }
    }
    ignored
}

const FIELDS: [&str; 7] = ["name", "repositories", "tags", "rules", "apply", "keep", "limits"];

fn entry(reader: &mut Reader, node: &Node, pointer: &str) -> Option<Entry> {
    let fields = reader.fields(node, pointer, &FIELDS)?;
    let before = reader.findings.len();
    let name = reader.text(&fields, "name");
    reader.require(&name, &fields, "name", "a name for it, which reports call it by");
    let repositories = reader.string_list(&fields, "repositories");
    reader.require(&repositories, &fields, "repositories", "what the names of its repositories match");
    let repositories = repositories.value().unwrap_or_default();
    check_patterns(reader, &repositories, &fields.at("repositories"));
    let tags = resource_tags(reader, &fields);
    let apply = reader.one_of(&fields, "apply", &Apply::NAMES).value().unwrap_or_default();
    let policy = match apply {
        Apply::Protect => no_rules(reader, &fields),
        Apply::Preview | Apply::Attach | Apply::Delete => rules(reader, &fields),
    };
    let keep = keep(reader, &fields);
    let limits = limits(reader, &fields);
    if reader.findings.len() > before {
        return None;
    }
    Some(Entry { name: name.value()?, repositories, tags, policy: policy?, apply, keep, limits })
}

fn check_patterns(reader: &mut Reader, patterns: &[String], pointer: &str) {
    for (index, pattern) in patterns.iter().enumerate() {
        let is_pattern = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._/-*".contains(c);
        if !pattern.chars().all(is_pattern) {
            let message = format!(
                "{} matches no repository; names have lower-case letters, digits, `.`, `_`, `-` and `/`, and `*` stands \
                 for anything",
                quoted(pattern)
            );
            reader.report(Code::InvalidName, format!("{pointer}/{index}"), message);
            continue;
        }
        if let Some(why) = Name::why_never_matched(pattern) {
            let message = format!("{} matches no repository: {why}", quoted(pattern));
            reader.report(Code::InvalidName, format!("{pointer}/{index}"), message);
        }
    }
}

fn sources(reader: &mut Reader, fields: &Fields<'_>) -> Sources {
    let mut sources = Sources::default();
    let Some(node) = reader.field(fields, "usage").value() else { return sources };
    let known = ["taskDefinitionRevisions", STACKS, "lists", "ignore", "accounts"];
    let Some(fields) = reader.fields(node, &fields.at("usage"), &known) else { return sources };
    if let Some(revisions) = reader.positive_integer(&fields, "taskDefinitionRevisions").value() {
        sources.task_definition_revisions = revisions;
    }
    sources.stacks = stacks(reader, &fields);
    sources.ignore = ignored(reader, &fields);
    sources.accounts = accounts(reader, &fields);
    let lists = reader.list(&fields, "lists").value().unwrap_or_default();
    for (index, node) in lists.iter().enumerate() {
        let at = format!("{}/{index}", fields.at("lists"));
        let known = ["key", "maximumAgeInHours", "repositories", "cluster", "account"];
        let Some(fields) = reader.fields(node, &at, &known) else { continue };
        let key = reader.text(&fields, "key");
        reader.require(&key, &fields, "key", "the key of an object in the stack's bucket");
        let age = reader.positive_integer(&fields, "maximumAgeInHours").value();
        if let Some(hours) = age.filter(|hours| *hours > OLDEST_LIST_IN_HOURS) {
            let message = format!(
                "`maximumAgeInHours` is {hours}; write {OLDEST_LIST_IN_HOURS} or less: an older list does not say what runs now"
            );
            reader.report(Code::NumberOutOfRange, fields.at("maximumAgeInHours"), message);
        }
        let repositories = reader.string_list(&fields, "repositories").value().unwrap_or_default();
        check_patterns(reader, &repositories, &fields.at("repositories"));
        let Some(key) = key.value() else { continue };
        let is_part = |part: &str| {
            !["", ".", ".."].contains(&part) && !part.contains(|c: char| c.is_control() || "*?[]".contains(c))
        };
        if !key.starts_with(LISTS) || !key.ends_with(".json") || key == format!("{LISTS}.json") {
            let message = format!("{} is not where lists are; write {LISTS}<name>.json", quoted(&key));
            reader.report(Code::UnknownValue, fields.at("key"), message);
        } else if !key.split('/').all(is_part) {
            let message = format!(
                "{} is the key of no list: it is no pattern and no path; write the key of one object",
                quoted(&key)
            );
            reader.report(Code::UnknownValue, fields.at("key"), message);
        } else if sources.lists.iter().any(|list| list.key == key) {
            let message = format!("{} is there more than once; keep one", quoted(&key));
            reader.report(Code::NameConflict, fields.at("key"), message);
        }
        let maximum_age_in_hours = age.unwrap_or(MAXIMUM_AGE_IN_HOURS);
        let cluster = reader.text(&fields, "cluster").value();
        if let Some(cluster) = &cluster {
            let of_key =
                key.strip_prefix(LISTS).and_then(|key| key.strip_prefix("eks/")?.strip_suffix(".json"));
            if cluster.trim().is_empty() {
                let message = "`cluster` is empty; write the name of the cluster whose use the list tells";
                reader.report(Code::EmptyString, fields.at("cluster"), message);
            } else if let Some(of_key) = of_key.filter(|of_key| of_key != cluster) {
                let message = format!(
                    "{} is the list of the cluster {}, by its key, and cannot be that of {} too; each cluster has a list of its own",
                    quoted(&key),
                    quoted(of_key),
                    quoted(cluster)
                );
                reader.report(Code::UnknownValue, fields.at("cluster"), message);
            }
        }
        let account = reader.text(&fields, "account").value();
        if let Some(account) = &account {
            check_account(reader, account, &fields.at("account"));
        }
        sources.lists.push(ListSource { key, maximum_age_in_hours, repositories, cluster, account });
    }
    sources
}

/// The repositories for which stacks are read: all, some, or none.
fn stacks(reader: &mut Reader, fields: &Fields<'_>) -> Stacks {
    let pointer = fields.at(STACKS);
    match reader.field(fields, STACKS).value() {
        None | Some(Node::Bool(false)) => Stacks::Unread,
        Some(Node::Bool(true)) => Stacks::Everywhere,
        Some(Node::List(items)) if items.is_empty() => {
            let message = "`stacks` names no repository; write true for all of them, or leave it out";
            reader.report(Code::EmptyList, pointer, message);
            Stacks::Unread
        }
        Some(Node::List(_)) => match reader.string_list(fields, STACKS).value() {
            Some(patterns) => {
                check_patterns(reader, &patterns, &pointer);
                Stacks::Of(patterns)
            }
            None => Stacks::Unread,
        },
        Some(node) => {
            reader.wrong_type(node, &pointer, "true, false, or a list of repositories with `*` for anything");
            Stacks::Unread
        }
    }
}

fn resource_tags(reader: &mut Reader, fields: &Fields<'_>) -> ResourceTags {
    let mut tags = ResourceTags::new();
    let Some(node) = reader.field(fields, "tags").value() else { return tags };
    let pointer = fields.at("tags");
    let Node::Object(entries) = node else {
        reader.wrong_type(node, &pointer, "an object of tags and their values");
        return tags;
    };
    for (key, value) in entries {
        let at = join_pointer(&pointer, key);
        let Node::Text(text) = value else {
            reader.wrong_type(value, &at, "a string");
            continue;
        };
        if tags.insert(key.clone(), text.clone()).is_some() {
            reader.report(
                Code::DuplicateKey,
                at,
                format!("{} is there more than once; keep one", quoted(key)),
            );
        }
    }
    tags
}

/// The rules, as `lifecyclePolicy` has them elsewhere.
fn rules(reader: &mut Reader, fields: &Fields<'_>) -> Option<LifecyclePolicy> {
    let items = reader.list(fields, "rules");
    reader.require(&items, fields, "rules", "the rules of the policy, in the simple model");
    let items = items.value()?;
    match PolicySource::of_simple_rules(items) {
        Ok(policy) => Some(policy),
        Err(findings) => {
            reader.findings.extend(findings.into_iter().map(|finding| {
                let pointer = format!("{}{}", fields.pointer, finding.pointer);
                Finding { pointer, ..finding }
            }));
            None
        }
    }
}

/// With `apply: protect` the policy is somebody else's: a run uses the attached one.
fn no_rules(reader: &mut Reader, fields: &Fields<'_>) -> Option<LifecyclePolicy> {
    if reader.field(fields, "rules").value().is_some() {
        let message = "with `apply: protect` the rules are those of the attached lifecycle policy, which is never written; leave \
                       `rules` out, or write `apply: attach`";
        reader.report(Code::UnknownValue, fields.at("rules"), message);
    }
    TakesNothing::new().ok().map(|nothing| nothing.policy().clone())
}

fn keep(reader: &mut Reader, fields: &Fields<'_>) -> Keep {
    let mut keep = Keep::default();
    let Some(node) = reader.field(fields, "keep").value() else { return keep };
    let known = ["inUse", "tags", "newest", "pulledWithinDays"];
    let Some(fields) = reader.fields(node, &fields.at("keep"), &known) else { return keep };
    if reader.boolean(&fields, "inUse").value() == Some(false) {
        let message = "images in use are always kept; leave `inUse` out, or write true";
        reader.report(Code::UnknownValue, fields.at("inUse"), message);
    }
    keep.tags = reader.string_list(&fields, "tags").value().unwrap_or_default();
    // What matches no tag keeps nothing, and somebody relies on it.
    for (number, pattern) in keep.tags.iter().enumerate() {
        if let Some(problem) = why_no_tag(pattern, true) {
            let pointer = format!("{}/{number}", fields.at("tags"));
            reader.report(Code::UnknownValue, pointer, format!("{} {problem}", quoted(pattern)));
        }
    }
    keep.newest = reader.positive_integer(&fields, "newest").value().unwrap_or_default();
    keep.pulled_within_days = reader.positive_integer(&fields, "pulledWithinDays").value();
    keep
}

fn limits(reader: &mut Reader, fields: &Fields<'_>) -> Limits {
    let default = Limits::default();
    let Some(node) = reader.field(fields, "limits").value() else { return default };
    let known = ["images", "percent", "remaining"];
    let Some(fields) = reader.fields(node, &fields.at("limits"), &known) else { return default };
    let percent = percent(reader, &fields);
    Limits {
        images: reader.positive_integer(&fields, "images").value().unwrap_or(default.images),
        percent: percent.unwrap_or(default.percent),
        remaining: reader.positive_integer(&fields, "remaining").value().unwrap_or(default.remaining),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICIES_FILE: &str = r#"
policies:
  - name: payments
    repositories: ["prod/*"]
    tags: { team: payments, tier: "1" }
    rules: [{ selection: untagged, maximumAgeLimit: 14 }]
    apply: attach
  - name: production
    repositories: ["prod/*", "*/release"]
    rules:
      - { selection: untagged, maximumAgeLimit: 7 }
      - { selection: { tagPrefixList: [ci-] }, maximumNumberOfImages: 20 }
    apply: delete
    keep: { inUse: true, tags: [latest, "v*"], newest: 3, pulledWithinDays: 30 }
    limits: { images: 100, percent: 20, remaining: 5 }
  - name: the rest
    repositories: ["*"]
    rules: [{ selection: untagged, maximumNumberOfImages: 1 }]
"#;

    fn found<'a>(
        policy_set: &'a PolicySet,
        repository: &str,
        tags: Option<&[(&str, &str)]>,
    ) -> Option<&'a str> {
        let tags: Option<ResourceTags> =
            tags.map(|tags| tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
        match policy_set.entry_for(repository, tags.as_ref()) {
            Match::Entry(entry) => Some(&entry.name),
            Match::None => None,
            Match::TagsNeeded => Some("?"),
        }
    }

    #[test]
    fn a_file_of_comments_alone_is_an_error_with_what_to_write() {
        for text in ["# nothing yet\n", "---\n", "null"] {
            let findings = PolicySet::parse(text).unwrap_err();
            let [finding] = findings.as_slice() else { panic!("{findings:?}") };
            assert!(
                finding.to_string().contains("there is nothing in it; write a list of `policies`"),
                "{finding}"
            );
        }
        assert!(PolicySet::parse("policies: []").is_ok(), "as the finding says");
    }

    #[test]
    fn the_first_policy_that_matches_name_and_tags_is_the_one() {
        let policy_set = PolicySet::parse(POLICIES_FILE).unwrap();
        let both = [("team", "payments"), ("tier", "1"), ("other", "x")];
        assert_eq!(found(&policy_set, "prod/api", Some(&both)), Some("payments"));
        assert_eq!(found(&policy_set, "prod/api", Some(&both[..1])), Some("production"));
        assert_eq!(
            found(&policy_set, "prod/api", Some(&[("team", "payments"), ("tier", "2")])),
            Some("production")
        );
        assert_eq!(found(&policy_set, "a/b/release", Some(&[])), Some("production"));
        assert_eq!(found(&policy_set, "dev/api", Some(&both)), Some("the rest"));
        let nobody = PolicySet::parse("policies: []").unwrap();
        assert_eq!(found(&nobody, "prod/api", None), None);
    }

    #[test]
    fn tags_to_keep_that_no_tag_matches_are_refused() {
        for pattern in [
            "^ci-11$",
            "shop/web:ci-10",
            "ci-9 ",
            "ci-[78]",
            "v?",
            "re:.*",
            "!ci-*",
            "v1,v2",
            "-x",
            "sha256:abc",
        ] {
            let text = format!(
                "policies: [{{ name: a, repositories: ['*'], rules: [{{ selection: any, maximumAgeLimit: 1 }}], keep: {{ tags: [ok, {}] }} }}]",
                serde_json::json!(pattern)
            );
            let findings = PolicySet::parse(&text).unwrap_err();
            let found = findings.iter().find(|finding| finding.code == Code::UnknownValue).unwrap();
            assert_eq!(found.pointer, "/policies/0/keep/tags/1", "{pattern}");
        }
    }

    #[test]
    fn tags_are_asked_for_only_where_they_decide() {
        let policy_set = PolicySet::parse(POLICIES_FILE).unwrap();
        assert_eq!(found(&policy_set, "prod/api", None), Some("?"));
        assert_eq!(found(&policy_set, "dev/api", None), Some("the rest"));
        assert_eq!(found(&policy_set, "x/release", None), Some("production"));
    }

    #[test]
    fn defaults_are_careful() {
        let policy_set = PolicySet::parse(POLICIES_FILE).unwrap();
        let [payments, production, rest] = policy_set.entries() else { panic!("{policy_set:?}") };
        assert_eq!((rest.apply, &rest.keep), (Apply::Preview, &Keep::default()));
        assert_eq!(rest.limits, Limits { images: 500, percent: 50, remaining: 1 });
        assert_eq!((payments.apply, production.apply), (Apply::Attach, Apply::Delete));
        let kept = Keep {
            tags: vec!["latest".to_owned(), "v*".to_owned()],
            newest: 3,
            pulled_within_days: Some(30),
        };
        assert_eq!(production.keep, kept);
        assert_eq!(production.limits, Limits { images: 100, percent: 20, remaining: 5 });
        assert_eq!(production.policy.rules().len(), 2);
        let same =
            PolicySource::parse(r#"{"rules": [{"selection": "untagged", "maximumNumberOfImages": 1}]}"#);
        assert_eq!(same.unwrap().policy(), Some(&rest.policy));
    }

    #[test]
    fn a_file_is_known_by_what_it_means() {
        let hash = |text: &str| PolicySet::parse(text).unwrap().hash().to_owned();
        let one = "policies: []\nlimits: { images: 7, percent: 10 }\n";
        let same =
            "# the same\nlimits: {percent: 10, images: 7.0}\npolicies: []\napprove: \"0123456789abcdef\"\n";
        assert_eq!(hash(one), hash(same));
        assert_eq!(hash(one).len(), 16);
        assert_ne!(hash(one), hash("policies: []\nlimits: { images: 8, percent: 10 }\n"));
        let approved = format!("{one}approve: \"{}\"\n", hash(one));
        assert!(PolicySet::parse(&approved).unwrap().is_approved());
        assert!(!PolicySet::parse(one).unwrap().is_approved());
        assert!(!PolicySet::parse(same).unwrap().is_approved());
        let finding = PolicySet::parse(same).unwrap().unapproved().unwrap();
        assert_eq!(finding.pointer, "/approve");
        assert!(
            finding.message.contains(&format!("the hash of this file, which is {}", hash(one))),
            "{finding}"
        );
        assert_eq!(PolicySet::parse(&approved).unwrap().unapproved(), None);
        assert_eq!(PolicySet::parse(one).unwrap().unapproved(), None);
    }

    #[test]
    fn a_file_of_another_tool_is_no_policies_file() {
        let custodian = "policies:\n  - name: x\n    resource: aws.ecr\n    actions: []\n";
        assert!(!PolicySet::is_meant(custodian));
        let findings = PolicySource::parse(custodian).unwrap_err();
        assert!(findings[0].message.contains("Cloud Custodian"), "{findings:?}");
        let ecrm = "clusters: [{ name: x }]\nrepositories: [{ name_pattern: 'prod/*', keep_count: 5 }]\n";
        let findings = PolicySource::parse(ecrm).unwrap_err();
        assert!(findings[0].message.contains("ecrm"), "{findings:?}");
        assert!(PolicySet::is_meant("policies: [{ name: x }]\n"));
    }

    #[test]
    fn an_approval_that_cannot_be_a_hash_is_refused_at_its_place() {
        for approve in ["", "x", "true story", "0123456789ABCDEF", "0123456789abcde"] {
            let findings = PolicySet::parse(&format!("policies: []\napprove: \"{approve}\"\n")).unwrap_err();
            let places: Vec<&str> = findings.iter().map(|finding| finding.pointer.as_str()).collect();
            assert_eq!(places, ["/approve"], "{approve}");
        }
    }

    #[test]
    fn stacks_are_read_for_all_repositories_for_some_or_not_at_all() {
        let read = |stacks: &str| {
            let text = format!("policies: []\nusage: {{ stacks: {stacks} }}\n");
            PolicySet::parse(&text)
                .map(|policy_set| policy_set.usage().stacks.clone())
                .map_err(|findings| findings.into_iter().map(|finding| finding.pointer).collect::<Vec<_>>())
        };
        assert_eq!(read("false"), Ok(Stacks::Unread));
        assert_eq!(read("true"), Ok(Stacks::Everywhere));
        let cdk = Stacks::Of(vec!["cdk-*".to_owned()]);
        assert_eq!(read("['cdk-*']"), Ok(cdk.clone()));
        for (stacks, place) in
            [("[]", ""), ("yes please", ""), ("['CDK-*']", "/0"), ("[true]", "/0"), ("{ cdk: true }", "")]
        {
            assert_eq!(read(stacks), Err(vec![format!("/usage/stacks{place}")]), "{stacks}");
        }
        let counts = |stacks: &Stacks, reference: &str| stacks.count(&reference.parse().unwrap());
        let digest = format!("sha256:{}", "a".repeat(64));
        assert!(counts(&cdk, "cdk-assets:1") && !counts(&cdk, "web:1"));
        assert!(counts(&cdk, &format!("web@{digest}")), "the image may be in cdk-assets, too");
        assert!(counts(&Stacks::Everywhere, "web:1") && !counts(&Stacks::Unread, &format!("web@{digest}")));
    }

    #[test]
    fn an_ignored_source_is_one_that_a_report_can_name() {
        let findings = |ignore: &str| {
            let text = format!("policies: []\nusage: {{ ignore: [{ignore}] }}\n");
            let findings = PolicySet::parse(&text).err().unwrap_or_default();
            findings.into_iter().map(|finding| finding.pointer).collect::<Vec<_>>()
        };
        for source in [
            "ecs",
            "ecs/prod/web",
            "eks",
            "eks/blue",
            "usage",
            "usage/shop.json",
            "usage/210987654321/eu-west-1.json/ecs",
            "account/210987654321/eu-west-1",
            "eks/210987654321/eu-west-1/blue",
            "stacks",
            "account/210987654321",
            "account/*",
            "organization/o-abcdefghij",
            "service/codebuild.amazonaws.com",
            "replication/210987654321/eu-west-1",
            "protection-tags/210987654321/eu-west-1",
            "protection-tags/signing",
        ] {
            assert_eq!(findings(&format!("{{ source: \"{source}\", reason: gone }}")), [""; 0], "{source}");
        }
        for source in [
            "",
            "*",
            "ECS",
            "eks/*",
            "eks/",
            "ecs/prod",
            "nonsense/x",
            "nonsense",
            "usage/*.json",
            "usage/shop",
            "account/2109",
            "replication/eu-west-1",
            " ecs",
        ] {
            let found = findings(&format!("{{ source: \"{source}\", reason: gone }}"));
            assert_eq!(found, ["/usage/ignore/0/source"], "{source}");
        }
        assert_eq!(findings("{ source: ecs, reason: \" \" }"), ["/usage/ignore/0/reason"]);
        assert_eq!(
            findings("{ source: ecs, reason: a }, { source: ecs, reason: b }"),
            ["/usage/ignore/1/source"]
        );
    }

    #[test]
    fn a_list_that_cannot_be_meant_is_refused_at_its_place() {
        let findings = |list: &str| {
            let text = format!("policies: []\nusage: {{ lists: [{list}] }}\n");
            let findings = PolicySet::parse(&text).err().unwrap_or_default();
            findings.into_iter().map(|finding| finding.pointer).collect::<Vec<_>>()
        };
        for (list, place) in [
            ("{ key: usage/a.json, maximumAgeInHours: 745 }", "maximumAgeInHours"),
            ("{ key: usage/a.json, cluster: '' }", "cluster"),
            ("{ key: usage/eks/a.json, cluster: b }", "cluster"),
            ("{ key: 'usage/*.json' }", "key"),
            ("{ key: usage/../d.json }", "key"),
            ("{ key: usage//d.json }", "key"),
            ("{ key: usage/.json }", "key"),
        ] {
            assert_eq!(findings(list), [format!("/usage/lists/0/{place}")], "{list}");
        }
        for list in [
            "{ key: usage/a.json, maximumAgeInHours: 744 }",
            "{ key: usage/eks/a.json, cluster: a }",
            "{ key: usage/shop/b.json, cluster: c, account: '210987654321' }",
        ] {
            assert_eq!(findings(list), [""; 0], "{list}");
        }
    }

    #[test]
    fn the_limit_of_the_registry_is_the_smaller_one_and_never_nothing() {
        let limits = RegistryLimits::default();
        for (total, most) in [(Some(8000), 2000), (Some(1_000_000), 5000), (Some(12), 100), (None, 100)] {
            assert_eq!(limits.images_a_day(total), most, "{total:?}");
        }
        assert_eq!(RegistryLimits { images: 50, percent: 100 }.images_a_day(Some(1000)), 50);
    }

    #[test]
    fn an_entry_that_ignores_nothing_any_more_is_a_warning_from_the_day_after_its_last() {
        let text = "policies: []\nusage: { ignore: [{ source: eks/new, reason: x }, { source: eks/old, reason: gone, until: 2027-01-31 }] }\n";
        let policy_set = PolicySet::parse(text).unwrap();
        let at = |now| policy_set.expired_ignores(Instant::parse(now).unwrap());
        assert_eq!(at("2027-01-31T23:59:59Z"), []);
        let [finding] = at("2027-02-01T00:00:00Z").try_into().unwrap();
        assert_eq!((finding.pointer.as_str(), finding.code), ("/usage/ignore/1/until", Code::IgnoreExpired));
        assert!(finding.code.is_warning());
        assert!(
            finding.message.starts_with("`eks/old` is no longer ignored: its last day, 2027-01-31, is over")
        );
    }

    #[test]
    fn a_source_is_ignored_until_the_end_of_its_last_day() {
        let text = "policies: []\nusage: { ignore: [{ source: eks/old, reason: gone, until: 2027-01-01 }], accounts: ['210987654321'] }";
        let policy_set = PolicySet::parse(text).unwrap();
        let at = |time: &str| policy_set.usage().ignore[0].holds(Instant::parse(time).unwrap());
        assert!(at("2027-01-01T23:59:59Z"));
        assert!(!at("2027-01-02T00:00:00Z"));
    }

    #[test]
    fn an_account_that_pulls_is_named_by_its_id_or_with_its_regions() {
        let accounts = |text: &str| PolicySet::parse(&format!("policies: []\nusage: {{ accounts: {text} }}"));
        let named =
            accounts("['210987654321', { account: '321098765432', regions: [eu-west-1, us-east-1] }]")
                .unwrap();
        let expected = [("210987654321", &[][..]), ("321098765432", &["eu-west-1", "us-east-1"][..])];
        let named = named.usage().accounts.iter();
        let named: Vec<(&str, Vec<&str>)> = named
            .map(|named| (named.account.as_str(), named.regions.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(named, expected.map(|(account, regions)| (account, regions.to_vec())));
        for (wrong, place) in [
            ("['1234']", "/usage/accounts/0: "),
            ("[210987654321]", "/usage/accounts/0: "),
            ("[]", "/usage/accounts: "),
            ("[{ account: '1234' }]", "/usage/accounts/0/account: "),
            ("[{ account: '210987654321', regions: [ireland] }]", "/usage/accounts/0/regions/0: "),
            ("[{ account: '210987654321', region: eu-west-1 }]", "/usage/accounts/0/region: "),
            ("['210987654321', { account: '210987654321' }]", "/usage/accounts/1/account: "),
        ] {
            let findings = accounts(wrong).unwrap_err();
            assert!(findings[0].to_string().starts_with(place), "{wrong}: {findings:?}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_reported_at_its_place() {
        let findings = PolicySet::parse(
            r#"
policies:
  - name: one
    repositories: ["Prod/*"]
    rules: [{ selection: untagged }, { selection: any, maximumAgeLimit: 0 }]
    aply: delete
  - name: two
    repositories: []
    tags: { team: 7 }
    rules: []
    apply: destroy
    keep: { inUse: false, newest: 0 }
    limits: { percent: 120, image: 3 }
  - repositories: ["*"]
  - { name: four, repositories: ["*"], rules: [{ selection: any, maximumAgeLimit: 9 }] }
  - { name: four, repositories: ["x"], rules: [{ selection: any, maximumAgeLimit: 9 }] }
"#,
        )
        .unwrap_err();
        let output: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
        insta::assert_snapshot!(output);
        for text in ["- a", "policies: 7", "", "policies: [7]"] {
            assert!(PolicySet::parse(text).is_err(), "{text}");
        }
    }

    fn leaves_almost_nothing(rest: &str) -> Vec<String> {
        let text = format!("policies: [{{ name: all, repositories: ['*'], {rest} }}]");
        let findings = PolicySet::parse(&text).unwrap_or_else(|findings| panic!("{text}: {findings:?}"));
        let findings = findings.leaving_almost_nothing();
        assert!(findings.iter().all(|finding| finding.code == Code::LeavesAlmostNothing));
        findings.into_iter().map(|finding| finding.pointer).collect()
    }

    #[test]
    fn what_may_leave_almost_nothing_while_no_limit_stops_it_is_found_where_it_is() {
        const NO_LIMIT: &str = "apply: delete, limits: { percent: 100 }";
        for (rules, rule) in [
            ("{ selection: any, maximumNumberOfImages: 1 }", 0),
            ("{ selection: any, maximumNumberOfImages: 2 }", 0),
            ("{ selection: any, maximumAgeLimit: 365 }", 0),
            ("{ selection: any, maximumDaysSincePull: 90, action: archive }", 0),
            ("{ selection: { tagPatternList: ['*'] }, maximumNumberOfImages: 1 }", 0),
            ("{ selection: { tagPatternList: ['**', '*'] }, maximumAgeLimit: 30 }", 0),
            ("{ selection: untagged, maximumAgeLimit: 1 }, { selection: any, maximumNumberOfImages: 1 }", 1),
            (
                "{ selection: { tagPrefixList: [v] }, maximumNumberOfImages: 50 }, { selection: any, maximumAgeLimit: 9 }",
                1,
            ),
        ] {
            for apply in [NO_LIMIT, "apply: attach, limits: { percent: 90 }", "limits: { percent: 100 }"] {
                let found = leaves_almost_nothing(&format!("rules: [{rules}], {apply}"));
                assert_eq!(found, [format!("/policies/0/rules/{rule}")], "{rules} {apply}");
            }
            // Each of these stops it.
            for stopped in [
                "apply: delete",
                "apply: attach, limits: { percent: 85 }",
                "apply: delete, limits: { percent: 100, remaining: 3 }",
                "apply: delete, limits: { percent: 100, images: 17 }",
                "apply: delete, limits: { percent: 100 }, keep: { newest: 3 }",
                "apply: delete, limits: { percent: 100 }, keep: { tags: ['*'] }",
            ] {
                let found = leaves_almost_nothing(&format!("rules: [{rules}], {stopped}"));
                assert!(found.is_empty(), "{rules} {stopped}: {found:?}");
            }
        }
        // These leave what they do not name, or enough.
        for rules in [
            "{ selection: any, maximumNumberOfImages: 3 }",
            "{ selection: untagged, maximumNumberOfImages: 1 }",
            "{ selection: { tagPrefixList: [pr-] }, maximumAgeLimit: 7 }",
            "{ selection: { tagPatternList: ['*-dev'] }, maximumNumberOfImages: 1 }",
            "{ selection: { tagPrefixList: ['*'] }, maximumNumberOfImages: 1 }",
            "{ selection: any, maximumDaysInArchive: 90 }",
        ] {
            let found = leaves_almost_nothing(&format!("rules: [{rules}], {NO_LIMIT}"));
            assert!(found.is_empty(), "{rules}: {found:?}");
        }
        assert!(leaves_almost_nothing("apply: protect, limits: { percent: 100 }").is_empty());
    }

    #[test]
    fn what_limits_leave_of_a_repository_is_what_they_do_not_let_go() {
        let limits = |images, percent, remaining| Limits { images, percent, remaining };
        for (limits, total, left) in [
            (Limits::default(), 20, 10),
            (Limits::default(), 0, 0),
            (Limits::default(), 3, 2),
            (limits(10, 100, 1), 20, 10),
            (limits(1000, 100, 1), 20, 1),
            (limits(1000, 100, 30), 20, 20),
            (limits(1000, 90, 1), 20, 2),
            (limits(u64::MAX, 100, 1), u64::MAX, 1),
        ] {
            assert_eq!(limits.least_left(total), left, "{limits:?} {total}");
        }
    }
}
