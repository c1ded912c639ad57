//! `builds.yaml`: the build definition for each source. Without an entry, names decide: `sources/<repository>/….zip` of the
//! stack's bucket and the CodeCommit repository of the same name are built into `<repository>`.

use super::event::SourceUpdate;
use super::{DIRECTORIES, GitReference, SOURCES, Source, SourceOrder, UPLOADS, is_source_key};
use crate::domain::builds::build_definition::{
    self, BuildDefinition, IsPattern, TimeLimits, why_no_reference,
};
use crate::domain::builds::start_build_input::ROLE_PATH;
use crate::domain::image::name::InvalidName;
use crate::domain::lifecycle::matches_wildcard;
use crate::domain::repository::Name;
use crate::domain::text::finding::{Code, Finding, join_pointer, quoted};
use crate::domain::text::reader::{Field, FieldCasing, Fields, Reader};
use crate::domain::text::syntax::{self, Node};

/// The key of the file in the stack's bucket.
pub const KEY: &str = "builds.yaml";

const FILE_FIELDS: [&str; 1] = ["builds"];

/// The content of `builds.yaml`; empty by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuildConfig {
    entries: Vec<Entry>,
}

/// A build definition, and the sources that it applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    definition: BuildDefinition,
    from: From,
}

/// Why nothing is built of a source that arrived.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotBuilt {
    /// It is in another bucket than the stack's.
    #[error("{} is not the stack's bucket", quoted(.0))]
    ForeignBucket(String),
    /// Its key is not that of a zip archive.
    #[error("{} is no zip archive", quoted(.0))]
    NoArchive(String),
    /// A terminal sent it, and asks for its build.
    #[error("{} is built by the request of the terminal that sent it", quoted(.0))]
    Directory(String),
    /// The builds of its repository name other branches.
    #[error("no build of {KEY} takes the branch {}", quoted(.0))]
    Branch(String),
    /// The builds of its repository name other tags.
    #[error("no build of {KEY} takes the tag {}", quoted(.0))]
    Tag(String),
    /// The builds of its repository name branches or tags, and it has neither.
    #[error("no build of {KEY} takes it")]
    NoReference,
    /// Its key does not name a repository, and no build names it.
    #[error("{} is not named {SOURCES}<repository>/<anything>.zip, and no build of {KEY} takes it", quoted(.0))]
    Unnamed(String),
    /// It is named after what cannot be a repository, and no build names it.
    #[error("{} is no name for a repository ({problem}), and no build of {KEY} takes it", quoted(.name))]
    InvalidName {
        /// The name.
        name: String,
        /// The problem with it.
        problem: InvalidName,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum From {
    /// Every source that is named after the repository.
    Named,
    /// Objects of the stack's bucket whose keys match.
    Key(String),
    /// A CodeCommit repository, some of its branches and tags; none named are all.
    CodeCommit { repository_name: String, branches: Option<Vec<String>>, tags: Option<Vec<String>> },
}

/// A request to build a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRequest {
    /// How it is built.
    pub definition: BuildDefinition,
    /// What is built.
    pub source: RequestedSource,
    /// The casing of the fields in the request, for messages.
    pub(crate) spelling: FieldCasing,
    /// The time that CloudFormation waits, in seconds, if the request is one of CloudFormation's.
    pub service_timeout: Option<u64>,
}

/// The time that CloudFormation waits by default, in seconds, which is also its maximum.
const SERVICE_TIMEOUT_SECONDS: u64 = 3600;

/// A source as callers name it; an object may lack its version, which is its latest then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestedSource {
    /// An object; without a bucket in the stack's.
    S3 {
        /// The bucket.
        bucket: Option<String>,
        /// The key.
        key: String,
        /// The version.
        version_id: Option<String>,
    },
    /// A commit, and the branch that it is of.
    CodeCommit {
        /// The name of the CodeCommit repository.
        repository_name: String,
        /// The commit's full id.
        commit_id: String,
        /// The branch.
        branch: Option<String>,
    },
}

impl BuildConfig {
    /// Whether a text is intended as a `builds.yaml`, valid or not: it has a list of builds.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        let node = syntax::parse_file(text, &FILE_FIELDS).map(|(node, _)| node);
        matches!(node, Ok(Node::Object(fields)) if fields.iter().any(|(name, _)| name == "builds"))
    }

    /// The number of builds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no builds, so that the names of sources decide alone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Reads `builds.yaml`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Vec<Finding>> {
        let (node, _) = syntax::parse_file(text, &FILE_FIELDS).map_err(|finding| vec![finding])?;
        let mut reader = Reader::default();
        let mut config = Self::default();
        if let Some(fields) = reader.fields(&node, "", &FILE_FIELDS) {
            let items = reader.list(&fields, "builds");
            reader.require(&items, &fields, "builds", "a list of builds");
            for (index, item) in items.value().unwrap_or_default().iter().enumerate() {
                let at = format!("/builds/{index}");
                let Some(entry) = Self::entry(&mut reader, item, &at) else { continue };
                let is_same = |other: &Entry| {
                    other.from == entry.from
                        && other.definition.repository == entry.definition.repository
                        && other.definition.image_tags == entry.definition.image_tags
                };
                if config.entries.iter().any(is_same) {
                    let message = format!(
                        "another build before it has the same source, and gives the same tags in {} to its image: which image has \
                         them would depend on which build ends last; keep one, or name other `imageTags`",
                        entry.definition.repository
                    );
                    reader.report(Code::NameConflict, at.as_str(), message);
                }
                config.entries.push(entry);
            }
        }
        if reader.findings.is_empty() { Ok(config) } else { Err(reader.findings) }
    }

    fn entry(reader: &mut Reader, node: &Node, pointer: &str) -> Option<Entry> {
        let known: Vec<&str> = BuildDefinition::FIELDS.into_iter().chain(["source", "serviceRole"]).collect();
        let fields = reader.fields(node, pointer, &known)?;
        let service_role = reader.text(&fields, "serviceRole").value();
        if let Some(role) = &service_role
            && !is_role(role)
        {
            let message = format!(
                "{} is no name of a role; write what follows `role{ROLE_PATH}` in the ARN of a role with that path",
                quoted(role)
            );
            reader.report(Code::UnknownValue, fields.at("serviceRole"), message);
        }
        let definition = build_definition::read(reader, &fields, FieldCasing::Api);
        if let (Some(definition), None) = (&definition, &service_role) {
            for id in definition.secrets.iter().filter(|(_, value)| !value.contains('/')).map(|(id, _)| id) {
                let message = "this is no name of a secret that builds may read, which begins with the name of the stack, as \
                               `ecr-steward/npm`; with `serviceRole` it may be another one. If it is the secret itself, it is known \
                               now: replace it";
                reader.report(Code::UnknownValue, join_pointer(&fields.at("secrets"), id), message);
            }
        }
        let from = match reader.field(&fields, "source").value() {
            None => Some(From::Named),
            Some(node) => Self::from(reader, node, &fields.at("source")),
        };
        Some(Entry { definition: BuildDefinition { service_role, ..definition? }, from: from? })
    }

    fn from(reader: &mut Reader, node: &Node, pointer: &str) -> Option<From> {
        let fields = reader.fields(node, pointer, &["s3", "codeCommit"])?;
        match one_of(reader, &fields, ["s3", "codeCommit"])? {
            ("s3", node) => {
                let fields = reader.fields(node, &fields.at("s3"), &["key"])?;
                let key = reader.text(&fields, "key");
                reader.require(
                    &key,
                    &fields,
                    "key",
                    "a key in the stack's bucket, in which `*` stands for anything",
                );
                let key = key.value()?;
                if !is_archive(&key) && !key.ends_with('*') {
                    let message = format!("{} is no zip archive; only those start builds", quoted(&key));
                    reader.report(Code::UnknownValue, fields.at("key"), message);
                }
                if !is_source_key(&key) {
                    reader.report(Code::InvalidPath, fields.at("key"), not_a_source(&key));
                }
                Some(From::Key(key))
            }
            (name, node) => {
                let fields =
                    reader.fields(node, &fields.at(name), &["repositoryName", "branches", "tags"])?;
                let repository_name = reader.text(&fields, "repositoryName");
                reader.require(&repository_name, &fields, "repositoryName", "a CodeCommit repository");
                if let Field::Value(name) = &repository_name {
                    check_codecommit_name(reader, name, &fields.at("repositoryName"));
                }
                let branches = reader.string_list(&fields, "branches").optional();
                check_references(reader, &branches, &fields.at("branches"), "refs/heads/");
                let tags = reader.string_list(&fields, "tags").optional();
                check_references(reader, &tags, &fields.at("tags"), "refs/tags/");
                Some(From::CodeCommit {
                    repository_name: repository_name.value()?,
                    branches: branches?,
                    tags: tags?,
                })
            }
        }
    }

    /// The service role for builds of a repository: that of its first entry that names one.
    #[cfg_attr(not(feature = "builds"), expect(dead_code, reason = "only starting a build asks for it"))]
    pub(crate) fn service_role(&self, repository: &Name) -> Option<&str> {
        let mut definitions = self
            .entries
            .iter()
            .map(|entry| &entry.definition)
            .filter(|definition| definition.repository == *repository);
        definitions.find_map(|definition| definition.service_role.as_deref())
    }

    /// Findings about secrets in a requested build definition. Whoever requests a build also chooses what it does, and could so
    /// read every secret that builds may read. Only `builds.yaml` allows a repository's builds to read a secret.
    #[cfg_attr(not(feature = "builds"), expect(dead_code, reason = "only starting a build asks for it"))]
    pub(crate) fn refused_secrets(
        &self,
        definition: &BuildDefinition,
        spelling: FieldCasing,
    ) -> Vec<Finding> {
        let is_named = |value: &String| {
            let mut of_repository = self
                .entries
                .iter()
                .map(|entry| &entry.definition)
                .filter(|named| named.repository == definition.repository);
            of_repository.any(|named| named.secrets.values().any(|named| named == value))
        };
        let pointer = join_pointer("", &spelling.of("secrets"));
        let refused = definition.secrets.iter().filter(|(_, value)| !is_named(value));
        refused
            .map(|(id, value)| {
                let message = format!(
                    "no build of {} in {KEY} has the secret {}; only secrets that stand there are given to builds that are \
                     asked for",
                    definition.repository,
                    quoted(value)
                );
                Finding::new(Code::SecretNotNamed, join_pointer(&pointer, id), message)
            })
            .collect()
    }

    /// The build definitions for a source update of the stack with this bucket.
    ///
    /// # Errors
    ///
    /// If nothing is built.
    pub fn definitions(
        &self,
        arrived: &SourceUpdate,
        stack_bucket: &str,
    ) -> Result<Vec<BuildDefinition>, NotBuilt> {
        if let Source::S3 { bucket, key, .. } = &arrived.source {
            if bucket != stack_bucket {
                return Err(NotBuilt::ForeignBucket(bucket.clone()));
            }
            if !is_archive(key) {
                return Err(NotBuilt::NoArchive(key.clone()));
            }
            if key.starts_with(DIRECTORIES) {
                return Err(NotBuilt::Directory(key.clone()));
            }
        }
        let named = named(&arrived.source);
        let mut definitions = Vec::new();
        let mut filtered = false;
        for entry in &self.entries {
            match entry.from.accepts(arrived, named.as_ref().ok(), &entry.definition.repository) {
                Accepts::Yes => definitions.push(entry.definition.clone()),
                Accepts::NotThisReference => filtered = true,
                Accepts::No => {}
            }
        }
        match (definitions.is_empty(), filtered, named) {
            (false, _, _) => Ok(definitions),
            (true, true, _) => Err(match arrived.reference.clone() {
                Some(GitReference::Branch(name)) => NotBuilt::Branch(name),
                Some(GitReference::Tag(name)) => NotBuilt::Tag(name),
                None => NotBuilt::NoReference,
            }),
            (true, false, Ok(name)) => {
                Ok(vec![BuildDefinition { is_by_name: true, ..BuildDefinition::of(name) }])
            }
            (true, false, Err(reason)) => Err(reason),
        }
    }
}

enum Accepts {
    Yes,
    No,
    /// The entry is for this source, but not for this branch or tag.
    NotThisReference,
}

impl From {
    fn accepts(&self, arrived: &SourceUpdate, named: Option<&Name>, repository: &Name) -> Accepts {
        let yes = |is_so: bool| if is_so { Accepts::Yes } else { Accepts::No };
        match (self, &arrived.source) {
            (Self::Named, _) => yes(named == Some(repository)),
            (Self::Key(pattern), Source::S3 { key, .. }) => {
                yes(is_source_key(key) && matches_wildcard(pattern, key))
            }
            (
                Self::CodeCommit { repository_name, branches, tags },
                Source::CodeCommit { repository_name: pushed, .. },
            ) if repository_name == pushed => {
                let has = |patterns: &Option<Vec<String>>, other: &Option<Vec<String>>, name: &str| {
                    match (patterns, other) {
                        (Some(patterns), _) => patterns.iter().any(|pattern| matches_wildcard(pattern, name)),
                        // Who names branches only does not mean tags, and the other way round.
                        (None, Some(_)) => false,
                        (None, None) => true,
                    }
                };
                let accepts = match &arrived.reference {
                    Some(GitReference::Branch(name)) => has(branches, tags, name),
                    Some(GitReference::Tag(name)) => has(tags, branches, name),
                    None => true,
                };
                if accepts { Accepts::Yes } else { Accepts::NotThisReference }
            }
            _ => Accepts::No,
        }
    }
}

/// Whether a text is a valid name of a CodeCommit repository.
fn is_codecommit_name(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    (1..=100).contains(&text.len()) && text.chars().all(is_inner) && !text.ends_with(".git")
}

/// The finding about a text that is no name of a CodeCommit repository.
fn check_codecommit_name(reader: &mut Reader, name: &str, pointer: &str) {
    if !is_codecommit_name(name) {
        let message = format!(
            "{} is no repository of CodeCommit; write its name alone: letters, digits, `.`, `_` and `-`",
            quoted(name)
        );
        reader.report(Code::InvalidName, pointer, message);
    }
}

/// Findings about names of branches or tags that Git has none of.
fn check_references(
    reader: &mut Reader,
    patterns: &Option<Option<Vec<String>>>,
    pointer: &str,
    beginning: &str,
) {
    for (index, pattern) in patterns.iter().flatten().flatten().enumerate() {
        let Some(why) = why_no_reference(pattern, beginning, IsPattern::Yes) else { continue };
        let message = format!("{} matches nothing: {why}", quoted(pattern));
        reader.report(Code::InvalidName, format!("{pointer}/{index}"), message);
    }
}

/// Whether a text is the name of a role, with or without a part of its path.
fn is_role(text: &str) -> bool {
    let is_part = |part: &str| {
        let is_inner = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
        (1..=64).contains(&part.len()) && !matches!(part, "." | "..") && part.chars().all(is_inner)
    };
    text.split('/').all(is_part)
}

/// Why a key of the stack's bucket is not built.
fn not_a_source(key: &str) -> String {
    format!(
        "{} is not below `{SOURCES}` or `{UPLOADS}`, where the stack's bucket has sources; upload it there",
        quoted(key)
    )
}

/// Zip is the one kind of archive that CodeBuild unpacks.
fn is_archive(key: &str) -> bool {
    key.get(key.len().saturating_sub(4)..).is_some_and(|end| end.eq_ignore_ascii_case(".zip"))
}

/// The repository that a source is named after.
fn named(source: &Source) -> Result<Name, NotBuilt> {
    let name = match source {
        Source::CodeCommit { repository_name, .. } => repository_name.as_str(),
        Source::S3 { key, .. } => {
            let below = key.strip_prefix(SOURCES).and_then(|below| below.rsplit_once('/'));
            let Some((name, _)) = below else {
                return Err(NotBuilt::Unnamed(key.clone()));
            };
            name
        }
    };
    Name::parse(name).map_err(|problem| NotBuilt::InvalidName { name: name.to_owned(), problem })
}

/// The one of these fields that is there.
fn one_of<'a, const N: usize>(
    reader: &mut Reader,
    fields: &Fields<'a>,
    names: [&'static str; N],
) -> Option<(&'static str, &'a Node)> {
    let there: Vec<&'static str> = names.into_iter().filter(|name| fields.has(name)).collect();
    let [name] = there.as_slice() else {
        let message = format!("there must be exactly one of `{}`", names.join("` and `"));
        reader.report(Code::SourceConflict, fields.pointer.clone(), message);
        return None;
    };
    reader.field(fields, name).value().map(|node| (*name, node))
}

impl BuildRequest {
    /// Reads the body of `POST /builds`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Vec<Finding>> {
        Self::parse_for(None, text)
    }

    /// Reads the body of `POST /builds/{name}`, whose path names the repository.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn parse_for(repository_of_path: Option<Name>, text: &str) -> Result<Self, Vec<Finding>> {
        let reader = Reader { repository_of_path, ..Reader::default() };
        Self::read(text, reader, FieldCasing::Api, &[])
    }

    /// Reads the properties of `Custom::EcrImage`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn properties(text: &str) -> Result<Self, Vec<Finding>> {
        let reader = Reader { quoted_scalars: true, ..Reader::default() };
        Self::read(text, reader, FieldCasing::CloudFormation, &["ServiceToken", "ServiceTimeout"])
    }

    fn read(
        text: &str,
        mut reader: Reader,
        spelling: FieldCasing,
        own: &[&str],
    ) -> Result<Self, Vec<Finding>> {
        let node = syntax::parse_json(text).map_err(|finding| vec![finding])?;
        let names: Vec<String> =
            BuildDefinition::FIELDS.into_iter().chain(["source"]).map(|name| spelling.of(name)).collect();
        let known: Vec<&str> = names.iter().map(String::as_str).chain(own.iter().copied()).collect();
        let request = reader.fields(&node, "", &known).and_then(|fields| {
            let definition = build_definition::read(&mut reader, &fields, spelling);
            let name = spelling.of("source");
            let node = reader.field(&fields, &name);
            reader.require(&node, &fields, &name, "what to build");
            let at = fields.at(&name);
            let source = node.value().and_then(|node| Self::source(&mut reader, node, &at, spelling));
            if let (Some(definition), Some(source)) = (&definition, &source) {
                check_templates(&mut reader, definition, source, &fields.at(&spelling.of("imageTags")));
            }
            let service_timeout = match spelling {
                FieldCasing::Api => None,
                FieldCasing::CloudFormation => Some(service_timeout(&mut reader, &fields)?),
            };
            Some(Self { definition: definition?, source: source?, spelling, service_timeout })
        });
        match request {
            Some(request) if reader.findings.is_empty() => Ok(request),
            _ => Err(reader.findings),
        }
    }

    fn source(
        reader: &mut Reader,
        node: &Node,
        pointer: &str,
        spelling: FieldCasing,
    ) -> Option<RequestedSource> {
        let kinds = match spelling {
            FieldCasing::Api => ["s3", "codeCommit"],
            FieldCasing::CloudFormation => ["S3", "CodeCommit"],
        };
        let fields = reader.fields(node, pointer, &kinds)?;
        let (kind, node) = one_of(reader, &fields, kinds)?;
        let pointer = fields.at(kind);
        let names = |names: [&'static str; 3]| names.map(|name| spelling.of(name));
        if kind.eq_ignore_ascii_case("s3") {
            let [bucket, key_name, version] = names(["bucket", "key", "versionId"]);
            let fields = reader.fields(node, &pointer, &[&bucket, &key_name, &version])?;
            let bucket = filled(reader, &fields, &bucket);
            let version_id = filled(reader, &fields, &version);
            let text = filled(reader, &fields, &key_name);
            if !fields.has(&key_name) {
                let message = format!("`{key_name}` is missing; add the key of a zip archive");
                reader.report(Code::MissingField, pointer, message);
            }
            // Of another bucket `OtherSources` says what is a source.
            if let (Some(None), Some(Some(key))) = (&bucket, &text)
                && !is_source_key(key)
            {
                reader.report(Code::InvalidPath, fields.at(&key_name), not_a_source(key));
            }
            return Some(RequestedSource::S3 { bucket: bucket?, key: text??, version_id: version_id? });
        }
        let [name, commit, branch_name] = names(["repositoryName", "commitId", "branch"]);
        let fields = reader.fields(node, &pointer, &[&name, &commit, &branch_name])?;
        let repository_name = filled(reader, &fields, &name);
        let branch = filled(reader, &fields, &branch_name);
        let commit_id = filled(reader, &fields, &commit);
        for (field, hint) in [(&name, "a CodeCommit repository"), (&commit, "the full id of a commit")] {
            if !fields.has(field) {
                let message = format!("`{field}` is missing; add {hint}");
                reader.report(Code::MissingField, pointer.clone(), message);
            }
        }
        if let Some(Some(text)) = &repository_name {
            check_codecommit_name(reader, text, &fields.at(&name));
        }
        if let Some(Some(text)) = &branch
            && let Some(why) = why_no_reference(text, "refs/heads/", IsPattern::No)
        {
            let message = format!("{} is the name of no branch: {why}", quoted(text));
            reader.report(Code::InvalidName, fields.at(&branch_name), message);
        }
        if let Some(Some(commit_id)) = &commit_id {
            let is_full = commit_id.len() == 40 && commit_id.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !is_full {
                let message = format!(
                    "{} is not the full id of a commit; write its 40 digits (`git rev-parse HEAD`): a branch or a short \
                     id can be another commit tomorrow",
                    quoted(commit_id)
                );
                reader.report(Code::UnknownValue, fields.at(&commit), message);
            }
        }
        Some(RequestedSource::CodeCommit {
            repository_name: repository_name??,
            commit_id: commit_id??,
            branch: branch?,
        })
    }
}

/// Findings about templates that no tag can be made of for the requested source: it would be built, and have none.
fn check_templates(
    reader: &mut Reader,
    definition: &BuildDefinition,
    source: &RequestedSource,
    pointer: &str,
) {
    let has: &[&str] = match source {
        RequestedSource::S3 { .. } => &["version", "date"],
        RequestedSource::CodeCommit { branch: None, .. } => &["commit", "shortCommit", "version", "date"],
        RequestedSource::CodeCommit { branch: Some(_), .. } => {
            &["commit", "shortCommit", "branch", "version", "date"]
        }
    };
    for (index, template) in definition.image_tags.iter().flatten().enumerate() {
        let Some(lacking) = template.values().find(|value| !has.contains(value)) else { continue };
        let what = match source {
            RequestedSource::S3 { .. } => "an object in Amazon S3 has none",
            RequestedSource::CodeCommit { .. } if lacking == "branch" => {
                "the source names none; add its `branch`"
            }
            RequestedSource::CodeCommit { .. } => "a commit that is asked for has none",
        };
        let there = has.iter().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(", ");
        let message = format!("`{{{lacking}}}` makes no tag: {what}. Write {there}, or a tag as it is");
        reader.report(Code::InvalidTag, format!("{pointer}/{index}"), message);
    }
}

/// The time that CloudFormation waits, in seconds; it has to suffice for a build.
fn service_timeout(reader: &mut Reader, fields: &Fields<'_>) -> Option<u64> {
    const NAME: &str = "ServiceTimeout";
    let Some(node) = reader.field(fields, NAME).value() else { return Some(SERVICE_TIMEOUT_SECONDS) };
    let seconds = match node {
        Node::Text(text) => text.parse().ok(),
        Node::Whole(number) => Some(*number),
        _ => None,
    };
    match seconds {
        Some(seconds) if TimeLimits::within(seconds, None).is_some() => {
            Some(seconds.min(SERVICE_TIMEOUT_SECONDS))
        }
        _ => {
            let least = TimeLimits::LEAST_SERVICE_SECONDS;
            let message = format!(
                "no build fits into this time; write {least} to {SERVICE_TIMEOUT_SECONDS} seconds, or leave it out for the most"
            );
            reader.report(Code::NumberOutOfRange, fields.at(NAME), message);
            None
        }
    }
}

/// A text that is not empty, or nothing; the outer `None` is for one that is wrong.
fn filled(reader: &mut Reader, fields: &Fields<'_>, name: &str) -> Option<Option<String>> {
    let text = reader.text(fields, name).optional()?;
    if text.as_deref() == Some("") {
        reader.report(Code::EmptyString, fields.at(name), format!("`{name}` is empty; leave it out"));
        return None;
    }
    Some(text)
}

impl RequestedSource {
    /// The commit, if it is one: that is pinned as it is.
    #[must_use]
    pub fn commit(&self, arrival: SourceOrder) -> Option<SourceUpdate> {
        match self {
            Self::CodeCommit { repository_name, commit_id, branch } => Some(SourceUpdate {
                source: Source::CodeCommit {
                    repository_name: repository_name.clone(),
                    commit_id: commit_id.to_ascii_lowercase(),
                },
                reference: branch.clone().map(GitReference::Branch),
                arrival,
            }),
            Self::S3 { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::text::instant::Instant;

    fn arrived(source: Source, reference: Option<GitReference>) -> SourceUpdate {
        let arrival = SourceOrder::at(Instant::parse("2026-11-23T10:00:00Z").unwrap());
        SourceUpdate { source, reference, arrival }
    }

    fn upload(key: &str) -> SourceUpdate {
        let source = Source::S3 { bucket: "b".to_owned(), key: key.to_owned(), version_id: "v".to_owned() };
        arrived(source, None)
    }

    fn push(repository: &str, reference: GitReference) -> SourceUpdate {
        let source = Source::CodeCommit { repository_name: repository.to_owned(), commit_id: "c".repeat(40) };
        arrived(source, Some(reference))
    }

    fn branch(name: &str) -> GitReference {
        GitReference::Branch(name.to_owned())
    }

    fn repositories(config: &BuildConfig, arrived: &SourceUpdate) -> Result<Vec<String>, String> {
        let definitions = config.definitions(arrived, "b").map_err(|reason| reason.to_string())?;
        Ok(definitions.into_iter().map(|definition| definition.repository.to_string()).collect())
    }

    #[test]
    fn names_say_where_a_source_is_built_when_nothing_else_does() {
        let config = BuildConfig::default();
        assert_eq!(repositories(&config, &upload("sources/team/app/v1.zip")).unwrap(), ["team/app"]);
        assert_eq!(repositories(&config, &upload("sources/app/a/b/v1.ZIP")).unwrap(), ["app/a/b"]);
        assert_eq!(repositories(&config, &push("web", branch("x"))).unwrap(), ["web"]);
        for (key, reason) in [
            ("other/app/v1.zip", "`other/app/v1.zip` is not named sources/<repository>/<anything>.zip"),
            ("sources/v1.zip", "`sources/v1.zip` is not named"),
            ("sources/app/notes.txt", "`sources/app/notes.txt` is no zip archive"),
            ("sources/App/v1.zip", "`App` is no name for a repository"),
            ("sources/$(touch pwned)/v1.zip", "`$(touch pwned)` is no name for a repository"),
        ] {
            let output = repositories(&config, &upload(key)).unwrap_err();
            assert!(output.starts_with(reason), "{output}");
        }
        let elsewhere = config.definitions(&upload("sources/app/v1.zip"), "another").unwrap_err();
        assert_eq!(elsewhere.to_string(), "`b` is not the stack's bucket");
    }

    #[test]
    fn the_configuration_has_precedence_over_names_and_one_source_may_be_several_images() {
        let config = BuildConfig::parse(
            "builds:
  - repositoryName: shop/web
    source: { codeCommit: { repositoryName: shop, branches: [main, 'release/*'] } }
    context: services/web
  - repositoryName: shop/api
    source: { codeCommit: { repositoryName: shop, branches: [main], tags: ['v*'] } }
  - repositoryName: batch
    source: { s3: { key: 'uploads/batch-*.zip' } }
  - repositoryName: app
    profile: lambda
",
        )
        .unwrap();
        assert_eq!(repositories(&config, &push("shop", branch("main"))).unwrap(), ["shop/web", "shop/api"]);
        assert_eq!(repositories(&config, &push("shop", branch("release/2"))).unwrap(), ["shop/web"]);
        assert_eq!(
            repositories(&config, &push("shop", GitReference::Tag("v1".to_owned()))).unwrap(),
            ["shop/api"]
        );
        assert_eq!(
            repositories(&config, &push("shop", branch("feature"))).unwrap_err(),
            "no build of builds.yaml takes the branch `feature`"
        );
        assert_eq!(repositories(&config, &upload("uploads/batch-7.zip")).unwrap(), ["batch"]);
        let definitions = config.definitions(&upload("sources/app/x.zip"), "b").unwrap();
        assert_eq!(definitions.len(), 1);
        assert_eq!(definitions[0].profile, build_definition::Profile::Lambda);
        assert_eq!(repositories(&config, &upload("sources/other/x.zip")).unwrap(), ["other"]);
    }

    #[test]
    fn the_host_of_a_registry_is_no_part_of_the_name_of_a_repository() {
        let host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
        let findings =
            BuildConfig::parse(&format!("builds: [{{ repositoryName: {host}/shop/web }}]")).unwrap_err();
        assert_eq!(findings[0].pointer, "/builds/0/repositoryName");
        assert!(findings[0].message.ends_with("write shop/web"), "{findings:?}");
    }

    #[test]
    fn everything_wrong_with_a_configuration_or_a_request_is_reported_at_once() {
        let findings = |result: Result<(), Vec<Finding>>| -> String {
            result.unwrap_err().iter().map(|finding| format!("{finding}\n")).collect()
        };
        let mut output = String::new();
        output += &findings(
            BuildConfig::parse(
                "builds:
  - repositoryName: App
    source: { s3: { key: a.tar }, codeCommit: {} }
    context: ../up
    dockerfile: /etc/passwd
    target: '--flag'
    buildArgs: { 'A B': x, OK: 1, GOOD: '$(touch pwned)' }
    secrets: { npm: 'my secret', ok: 'ecr-steward/npm:token' }
    platforms: [linux/amd64, linux/arm64, windows]
    imageTags: ['{brnch}', latest, 'src-x']
    profile: lambda
    computeType: huge
    cashe: true
  - source: { s3: { key: a.tar } }
",
            )
            .map(drop),
        );
        for text in [
            r#"{"repositoryName": "app"}"#,
            r#"{"repositoryName": "app", "source": {}}"#,
            r#"{"repositoryName": "app", "source": {"s3": {"bucket": ""}}}"#,
            r#"{"repositoryName": "app", "source": {"codeCommit": {"repositoryName": "web", "commitId": "main"}}}"#,
            r#"{"repositoryName": "app", "source": {"codeCommit": {}}, "platforms": ["linux/amd64", "linux/arm64"], "profile": "lambda"}"#,
        ] {
            output += &format!("{text}\n{}", findings(BuildRequest::parse(text).map(drop)));
        }
        insta::assert_snapshot!(output);
    }

    #[test]
    fn properties_have_capitals_and_quoted_booleans() {
        let request = BuildRequest::properties(
            r#"{"ServiceToken": "arn", "RepositoryName": "app", "Cache": "false", "ImageTags": [], "BuildArgs": {"a": "b"},
                "Source": {"S3": {"Bucket": "b", "Key": "k.zip"}}}"#,
        )
        .unwrap();
        assert!(!request.definition.cache);
        assert_eq!(request.definition.image_tags, Some(Vec::new()));
        assert_eq!(request.definition.build_args["a"], "b");
        let source =
            RequestedSource::S3 { bucket: Some("b".to_owned()), key: "k.zip".to_owned(), version_id: None };
        assert_eq!(request.source, source);
    }
}
