//! How an image is built: the part of the source, arguments, platforms, secrets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Platform;
use super::tags::Template;
use crate::domain::repository::Name;
use crate::domain::text::finding::{Code, Finding, quoted};
use crate::domain::text::reader::{FieldCasing, Fields, Reader};
use crate::domain::text::syntax::Node;

/// How an image is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildDefinition {
    /// The repository of the image.
    pub repository: Name,
    /// The folder of the source that is the build context; `.` is all of it.
    pub context: String,
    /// The Dockerfile, from the source's top folder; by default the `Dockerfile` of the context.
    pub dockerfile: Option<String>,
    /// The stage to build; by default the last.
    pub target: Option<String>,
    /// Values for the Dockerfile's `ARG`s.
    pub build_args: BTreeMap<String, String>,
    /// Secrets for `RUN --mount=type=secret,id=…`: where AWS Secrets Manager has each, never its value.
    pub secrets: BTreeMap<String, String>,
    /// The platforms; several are joined in an image index.
    pub platforms: Vec<Platform>,
    /// The tags besides the one that names the source.
    pub image_tags: Option<Vec<Template>>,
    /// The branch whose images are released; by default `main` and `master` are.
    pub default_branch: Option<String>,
    /// Whether layers are cached in the repository for the next build.
    pub cache: bool,
    /// The size of the machine, in CodeBuild's words; by default the project's.
    pub compute_type: Option<&'static str>,
    /// The runtime that the image is for.
    pub profile: Profile,
    /// The role of the build, by its name below [`crate::domain::builds::start_build_input::ROLE_PATH`]; by default the stack's.
    pub service_role: Option<String>,
    /// The timeouts of the build; by default those of the project.
    pub time_limits: Option<TimeLimits>,
    /// Whether only the name of the source decides about the repository.
    pub is_by_name: bool,
}

/// The runtime of an image, which decides about its attestations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// AWS Lambda, which accepts no image index: one platform, no provenance, no SBOM.
    Lambda,
    /// Amazon ECS: provenance and SBOM are attached.
    #[default]
    Ecs,
    /// Amazon EKS: provenance and SBOM are attached.
    Eks,
}

impl Profile {
    const NAMES: [(&'static str, Self); 3] =
        [("lambda", Self::Lambda), ("ecs", Self::Ecs), ("eks", Self::Eks)];

    /// Whether provenance and an SBOM are attached.
    #[must_use]
    pub const fn has_attestations(self) -> bool {
        !matches!(self, Self::Lambda)
    }
}

/// Timeouts of a build, in minutes: waiting for a machine, and running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLimits {
    /// In the queue.
    pub queued_minutes: i32,
    /// At work.
    pub build_minutes: i32,
}

impl TimeLimits {
    /// Minimum of both timeouts in CodeBuild, in minutes.
    const LEAST: i32 = 5;
    /// Minutes reserved for starting the build and for answering CloudFormation.
    const AROUND: i32 = 5;
    /// The least `ServiceTimeout` in which a build fits, in seconds.
    pub const LEAST_SERVICE_SECONDS: u64 = 60 * (2 * Self::LEAST + Self::AROUND) as u64;

    /// The timeouts of a build that CloudFormation waits for: the build fails, and CloudFormation is answered, before
    /// CloudFormation gives up. `None` if there is no time for a build.
    #[must_use]
    pub fn within(service_timeout_seconds: u64, project_minutes: Option<i32>) -> Option<Self> {
        let minutes = i32::try_from(service_timeout_seconds / 60).ok()? - Self::AROUND;
        let queued_minutes = (minutes / 6).max(Self::LEAST);
        let left = minutes - queued_minutes;
        let build_minutes = project_minutes.map_or(left, |most| left.min(most));
        (build_minutes >= Self::LEAST).then_some(Self { queued_minutes, build_minutes })
    }
}

/// The sizes of CodeBuild's machines that both processors have.
const COMPUTE_TYPES: [(&str, &str); 5] = [
    ("BUILD_GENERAL1_SMALL", "BUILD_GENERAL1_SMALL"),
    ("BUILD_GENERAL1_MEDIUM", "BUILD_GENERAL1_MEDIUM"),
    ("BUILD_GENERAL1_LARGE", "BUILD_GENERAL1_LARGE"),
    ("BUILD_GENERAL1_XLARGE", "BUILD_GENERAL1_XLARGE"),
    ("BUILD_GENERAL1_2XLARGE", "BUILD_GENERAL1_2XLARGE"),
];

/// The most build arguments, the most secrets, and the most tags.
const MAX_VALUES: usize = 50;

impl BuildDefinition {
    /// The default definition for a repository.
    #[must_use]
    pub fn of(repository: Name) -> Self {
        Self {
            repository,
            context: ".".to_owned(),
            dockerfile: None,
            target: None,
            build_args: BTreeMap::new(),
            secrets: BTreeMap::new(),
            platforms: vec![Platform::Amd64],
            image_tags: None,
            default_branch: None,
            cache: true,
            compute_type: None,
            profile: Profile::default(),
            service_role: None,
            time_limits: None,
            is_by_name: false,
        }
    }

    /// The names of a definition's fields.
    pub(crate) const FIELDS: [&'static str; 12] = [
        "repositoryName",
        "context",
        "dockerfile",
        "target",
        "buildArgs",
        "secrets",
        "platforms",
        "imageTags",
        "defaultBranch",
        "cache",
        "computeType",
        "profile",
    ];
}

/// Reads a definition from an object that may have other fields. Reads all fields before it gives up, so that all findings come
/// at once.
pub(crate) fn read(
    reader: &mut Reader,
    fields: &Fields<'_>,
    spelling: FieldCasing,
) -> Option<BuildDefinition> {
    let name = |name: &'static str| spelling.of(name);
    let before = reader.findings.len();
    let hint = "the repository that the image goes to";
    let repository = reader.repository(fields, &name("repositoryName"), hint);
    let context = path(reader, fields, &name("context"));
    let dockerfile = path(reader, fields, &name("dockerfile"));
    let target = reader.text(fields, &name("target")).value();
    if let Some(target) = &target
        && !is_word(target)
    {
        let message = format!(
            "{} is no name of a stage; write letters, digits, `_`, `.` and `-`, a letter first",
            quoted(target)
        );
        reader.report(Code::UnknownValue, fields.at(&name("target")), message);
    }
    let build_args = values(reader, fields, &name("buildArgs"), &|key, value| {
        let is_name = is_word(key) && !key.contains(['.', '-']);
        if !is_name {
            return Some(format!(
                "{} is no name of an ARG; write letters, digits and `_`, and no digit first",
                quoted(key)
            ));
        }
        if let Some(variable) = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
            return Some(format!(
                "{} is given to the build as it stands here, and nothing replaces it by the value of {}; write the value, or a \
                 secret",
                quoted(value),
                quoted(variable)
            ));
        }
        changes_the_builder(key).then(|| {
            format!(
                "{} is for BuildKit and not for the Dockerfile: it would change what builds, or where it pulls from; leave \
                 it out",
                quoted(key)
            )
        })
    });
    let secrets = values(reader, fields, &name("secrets"), &|key, value| {
        if !is_word(key) {
            return Some(format!(
                "{} is no id of a secret; write letters, digits, `_`, `.` and `-`, a letter first",
                quoted(key)
            ));
        }
        if value.starts_with("arn:") && !value.contains(":secretsmanager:") {
            return Some(format!(
                "{} is not of AWS Secrets Manager, which is where builds read secrets; put it there, and write its name",
                quoted(value)
            ));
        }
        let is_reference = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-:".contains(c);
        (value.is_empty() || !value.chars().all(is_reference)).then(|| {
            "this is no reference to a secret; write the name or the ARN that AWS Secrets Manager has for it, and after \
             a colon the key in it, if it is JSON. The secret itself does not belong here"
                .to_owned()
        })
    });
    let platforms = platforms(reader, fields, &name("platforms"));
    let image_tags = templates(reader, fields, &name("imageTags"));
    let default_branch = reader.text(fields, &name("defaultBranch")).value();
    if let Some(branch) = &default_branch
        && let Some(why) = why_no_reference(branch, "refs/heads/", IsPattern::No)
    {
        let message = format!("{} is the name of no branch: {why}", quoted(branch));
        reader.report(Code::InvalidName, fields.at(&name("defaultBranch")), message);
    }
    let cache = reader.boolean(fields, &name("cache")).value();
    let compute_type = reader.one_of(fields, &name("computeType"), &COMPUTE_TYPES).value();
    let profile = reader.one_of(fields, &name("profile"), &Profile::NAMES).value().unwrap_or_default();
    if let (Profile::Lambda, Some([_, _, ..])) = (profile, platforms.as_deref()) {
        let message = "Lambda takes no image for several platforms; name one";
        reader.report(Code::PlatformConflict, fields.at(&name("platforms")), message);
    }
    if reader.findings.len() > before {
        return None;
    }
    let default = BuildDefinition::of(repository?);
    Some(BuildDefinition {
        context: context.unwrap_or(default.context),
        dockerfile,
        target,
        build_args,
        secrets,
        platforms: platforms.unwrap_or(default.platforms),
        image_tags,
        default_branch,
        cache: cache.unwrap_or(default.cache),
        compute_type,
        profile,
        service_role: None,
        time_limits: None,
        is_by_name: false,
        repository: default.repository,
    })
}

/// Whether `*` in the name of a branch or a tag stands for anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IsPattern {
    /// It does.
    Yes,
    /// It is a character that no name has.
    No,
}

/// Why Git has no branch or tag of this name (git-check-ref-format); `None` if it may have one. Events name them without
/// `beginning`.
pub(crate) fn why_no_reference(name: &str, beginning: &str, is_pattern: IsPattern) -> Option<String> {
    let is_wrong = |c: char| {
        "~^:?[\\".contains(c)
            || c.is_whitespace()
            || c.is_control()
            || (c == '*' && is_pattern == IsPattern::No)
    };
    if let Some(name) = name.strip_prefix(beginning) {
        return Some(format!("events name it without `{beginning}`; write {}", quoted(name)));
    }
    if name.starts_with("refs/") || name.starts_with("origin/") {
        return Some("write the name alone".to_owned());
    }
    if let Some(character) = name.chars().find(|c| is_wrong(*c)) {
        let character = quoted(&character.to_string());
        return Some(match is_pattern {
            IsPattern::Yes => format!("no name in Git has {character}; `*` stands for anything"),
            IsPattern::No => format!("no name in Git has {character}; write the whole name of one"),
        });
    }
    let is_impossible = name.is_empty()
        || name.contains("..")
        || name.contains("//")
        || name.contains("@{")
        || name.starts_with('/')
        || name.ends_with(['/', '.']);
    is_impossible.then(|| "no name in Git is so".to_owned())
}

/// Whether a build argument changes BuildKit itself: `BUILDKIT_SYNTAX` replaces the Dockerfile's frontend by any image, and
/// proxies see and answer a build's requests. BuildKit knows the proxies in upper and lower case.
fn changes_the_builder(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    name.starts_with("BUILDKIT_") || PROXIES.contains(&name.as_str())
}

/// The proxy arguments that every build accepts.
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// A letter or `_`, then letters, digits, `_`, `.` and `-`.
fn is_word(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.len() <= 128
        && text.chars().all(is_inner)
}

/// A path inside of the source.
fn path(reader: &mut Reader, fields: &Fields<'_>, name: &str) -> Option<String> {
    let text = reader.text(fields, name).value()?;
    let problem = if text.is_empty() {
        Some("it is empty; leave it out for the default")
    } else if text.chars().any(char::is_control) {
        Some("it has control characters in it")
    } else if text.contains('\\') {
        Some("it has a backslash; write `/` between folders, and begin in the source")
    } else if text.starts_with('/') {
        Some("it begins at the machine's top folder; write it from the source's")
    } else if text.split('/').any(|part| part == "..") {
        Some("it leads out of the source; write it without `..`")
    } else {
        None
    };
    if let Some(problem) = problem {
        let message = format!("{} is no path in the source: {problem}", quoted(&text));
        reader.report(Code::InvalidPath, fields.at(name), message);
        return None;
    }
    Some(text)
}

/// Reads an object of strings, and checks each value.
fn values(
    reader: &mut Reader,
    fields: &Fields<'_>,
    name: &str,
    problem: &dyn Fn(&str, &str) -> Option<String>,
) -> BTreeMap<String, String> {
    let mut read = BTreeMap::new();
    let Some(node) = reader.field(fields, name).value() else { return read };
    let pointer = fields.at(name);
    let Node::Object(entries) = node else {
        reader.wrong_type(node, &pointer, "an object of strings");
        return read;
    };
    if entries.len() > MAX_VALUES {
        let message = format!("there are {}; {MAX_VALUES} is the most", entries.len());
        reader.report(Code::NumberOutOfRange, pointer.as_str(), message);
    }
    for (key, value) in entries {
        let at = crate::domain::text::finding::join_pointer(&pointer, key);
        let Node::Text(text) = value else {
            reader.wrong_type(value, &at, "a string");
            continue;
        };
        if let Some(message) = problem(key, text) {
            reader.report(Code::UnknownValue, at, message);
        } else if text.contains('\0') {
            reader.report(Code::UnknownValue, at, "it has a NUL in it, which no program can be given");
        } else if read.insert(key.clone(), text.clone()).is_some() {
            reader.report(
                Code::DuplicateKey,
                at,
                format!("{} is there more than once; keep one", quoted(key)),
            );
        }
    }
    read
}

fn platforms(reader: &mut Reader, fields: &Fields<'_>, name: &str) -> Option<Vec<Platform>> {
    let texts = reader.string_list(fields, name).value()?;
    let mut platforms = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match Platform::NAMES.into_iter().find(|(known, _)| known == text) {
            Some((_, platform)) => platforms.push(platform),
            None => reader.report(
                Code::UnknownValue,
                format!("{}/{index}", fields.at(name)),
                format!("{} is no platform here; write `linux/amd64` or `linux/arm64`", quoted(text)),
            ),
        }
    }
    platforms.sort_unstable();
    platforms.dedup();
    Some(platforms)
}

/// Templates of tags; an empty list is none at all.
fn templates(reader: &mut Reader, fields: &Fields<'_>, name: &str) -> Option<Vec<Template>> {
    let items = reader.list(fields, name).value()?;
    if items.len() > MAX_VALUES {
        let message = format!("there are {}; {MAX_VALUES} is the most", items.len());
        reader.report(Code::NumberOutOfRange, fields.at(name), message);
    }
    let mut templates = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let at = format!("{}/{index}", fields.at(name));
        let Node::Text(text) = item else {
            reader.wrong_type(item, &at, "a string");
            continue;
        };
        match Template::parse(text) {
            Ok(template) => templates.push(template),
            Err(problem) => {
                let message = format!("{} is no template of a tag: {problem}", quoted(text));
                reader.findings.push(Finding::new(Code::InvalidTag, at, message));
            }
        }
    }
    Some(templates)
}
