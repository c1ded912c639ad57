//! Reads a requested repository from JSON: an API's body, with ECR's field names, or the properties of a CloudFormation resource,
//! with the names of `AWS::ECR::Repository` and every boolean and number as a string.

use super::access::MAX_POLICY_CHARACTERS;
use super::{
    Encryption, EncryptionType, Existing, MAX_FILTERS, MAX_TAGS, Movable, Name, ProtectedPolicy, PullAccess,
    RepositoryPolicy, Settings, TagMutability, Tags, ownership,
};
use crate::domain::enforcement::in_use_protection::OWN_TAGS_PATTERN;
use crate::domain::lifecycle::PolicySource;
use crate::domain::text::finding::{Code, Finding, join_pointer, quoted};
use crate::domain::text::reader::{Field, FieldCasing, Fields, Reader};
use crate::domain::text::syntax::{self, Node};

/// Maximum length of the name of a KMS key, in characters.
const MAX_KEY_CHARACTERS: usize = 2048;
/// Number of tags that mark an incomplete repository.
const MARK_TAGS: usize = 1;
/// Number of tags that name the CloudFormation resource of a repository.
const OWNERSHIP_TAGS: usize = 3;

/// A repository as an API's body asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositorySpec {
    /// Its name; left out where the path names it.
    pub name: Option<Name>,
    /// Its settings, defaults filled in.
    pub settings: Settings,
}

/// The settings of a repository that a request changes. What it does not name stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsPart {
    /// The name of the repository; left out where the path names it.
    pub name: Option<Name>,
    tag_mutability: Option<TagMutability>,
    scan_on_push: Option<bool>,
    encryption: Option<Encryption>,
    tags: Option<Tags>,
    lifecycle_policy: Option<Option<ProtectedPolicy>>,
    policy: Option<RepositoryPolicy>,
}

impl SettingsPart {
    /// Whether the lifecycle policy is to change. If not, nothing about it is looked at.
    #[must_use]
    pub const fn names_lifecycle_policy(&self) -> bool {
        self.lifecycle_policy.is_some()
    }

    /// The settings of a repository after the change: those that are named, and those that it has. Of its lifecycle policy only one
    /// that is named is among them.
    #[must_use]
    pub fn over(&self, existing: &Existing) -> Settings {
        let own_tags = || {
            let tags = existing.tags.iter().filter(|(key, _)| !ownership::is_reserved(key));
            tags.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        let own_policy =
            || existing.policy_text.clone().map_or(RepositoryPolicy::None, RepositoryPolicy::Literal);
        Settings {
            tag_mutability: self.tag_mutability.clone().unwrap_or_else(|| existing.tag_mutability.clone()),
            scan_on_push: self.scan_on_push.unwrap_or(existing.scan_on_push),
            encryption: self.encryption.clone().unwrap_or_else(|| existing.encryption.clone()),
            tags: self.tags.clone().unwrap_or_else(own_tags),
            lifecycle_policy: self.lifecycle_policy.clone().flatten(),
            policy: self.policy.clone().unwrap_or_else(own_policy),
        }
    }
}

/// A repository as a CloudFormation resource declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Properties {
    /// Its name and settings.
    pub spec: RepositorySpec,
    /// `AdoptExisting`: whether a repository that no resource made may become this resource's.
    pub adopt_existing: bool,
    /// `EmptyOnDelete`: whether images go with the repository.
    pub empty_on_delete: EmptyOnDelete,
    /// Whether they say what the repository policy is to be, even if that is none.
    pub names_policy: bool,
}

/// Whether a repository is deleted together with its images when its resource is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EmptyOnDelete {
    /// They keep it.
    #[default]
    No,
    /// They do, unless they are in use.
    Yes,
    /// They do, in use or not.
    InUse,
}

impl EmptyOnDelete {
    /// Parses the spelling of templates.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        match text {
            "false" => Some(Self::No),
            "true" => Some(Self::Yes),
            "inUse" => Some(Self::InUse),
            _ => None,
        }
    }
}

/// Reads an API's body.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn body(text: &str) -> Result<RepositorySpec, Vec<Finding>> {
    let node = syntax::parse_json(text).map_err(|finding| vec![finding])?;
    let mut specs = RepositorySpecs { reader: Reader::default(), spelling: FieldCasing::Api };
    let spec = specs.spec(&node, &[]).and_then(|(spec, _)| spec);
    specs.finish(spec)
}

/// Reads an API's body that names only what is to change.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn part(text: &str) -> Result<SettingsPart, Vec<Finding>> {
    let node = syntax::parse_json(text).map_err(|finding| vec![finding])?;
    let mut specs = RepositorySpecs { reader: Reader::default(), spelling: FieldCasing::Api };
    let part = specs.spec(&node, &[]).and_then(|(spec, fields)| {
        let (mutability, filters) = ("imageTagMutability", "imageTagMutabilityExclusionFilters");
        if fields.has(filters) && !fields.has(mutability) {
            let message = format!("`{filters}` are exceptions to `{mutability}`; write both");
            specs.reader.report(Code::MissingField, fields.at(filters), message);
        }
        let RepositorySpec { name, settings } = spec?;
        Some(SettingsPart {
            name,
            tag_mutability: fields.has(mutability).then_some(settings.tag_mutability),
            scan_on_push: fields.has("imageScanningConfiguration").then_some(settings.scan_on_push),
            encryption: fields.has("encryptionConfiguration").then_some(settings.encryption),
            tags: fields.has("tags").then_some(settings.tags),
            lifecycle_policy: (fields.has("lifecyclePolicy") || fields.has("lifecyclePolicyText"))
                .then_some(settings.lifecycle_policy),
            policy: (fields.has("pullAccess") || fields.has("repositoryPolicyText"))
                .then_some(settings.policy),
        })
    });
    specs.finish(part)
}

/// Reads the properties of a CloudFormation resource.
///
/// # Errors
///
/// Everything that is wrong with them.
pub fn properties(text: &str) -> Result<Properties, Vec<Finding>> {
    const OWN: [&str; 4] = ["ServiceToken", "ServiceTimeout", "AdoptExisting", "EmptyOnDelete"];
    let node = syntax::parse_json(text).map_err(|finding| vec![finding])?;
    let reader = Reader { quoted_scalars: true, ..Reader::default() };
    let mut specs = RepositorySpecs { reader, spelling: FieldCasing::CloudFormation };
    let properties = specs.spec(&node, &OWN).and_then(|(spec, fields)| {
        let adopt_existing = specs.reader.boolean(&fields, "AdoptExisting").optional()?;
        let empty_on_delete = specs.reader.boolean_or(&fields, "EmptyOnDelete", "inUse").optional()?;
        let empty_on_delete = match empty_on_delete {
            None | Some(Some(false)) => EmptyOnDelete::No,
            Some(Some(true)) => EmptyOnDelete::Yes,
            Some(None) => EmptyOnDelete::InUse,
        };
        let names_policy = fields.has("PullAccess") || fields.has("RepositoryPolicyText");
        let adopt_existing = adopt_existing.unwrap_or_default();
        Some(Properties { spec: spec?, adopt_existing, empty_on_delete, names_policy })
    });
    specs.finish(properties)
}

struct RepositorySpecs {
    reader: Reader,
    spelling: FieldCasing,
}

impl RepositorySpecs {
    fn finish<T>(self, read: Option<T>) -> Result<T, Vec<Finding>> {
        match (read, self.reader.findings.is_empty()) {
            (Some(read), true) => Ok(read),
            _ => Err(self.reader.findings),
        }
    }

    fn fields<'a>(
        &mut self,
        node: &'a Node,
        pointer: &str,
        known: &[&'static str],
        own: &[&str],
    ) -> Option<Fields<'a>> {
        let known: Vec<String> = known
            .iter()
            .map(|name| self.spelling.of(name))
            .chain(own.iter().map(|&name| name.to_owned()))
            .collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        self.reader.fields(node, pointer, &known)
    }

    fn spec<'a>(&mut self, node: &'a Node, own: &[&str]) -> Option<(Option<RepositorySpec>, Fields<'a>)> {
        let fields = self.fields(
            node,
            "",
            &[
                "repositoryName",
                "imageTagMutability",
                "imageTagMutabilityExclusionFilters",
                "imageScanningConfiguration",
                "encryptionConfiguration",
                "tags",
                "lifecyclePolicy",
                "lifecyclePolicyText",
                "pullAccess",
                "repositoryPolicyText",
            ],
            own,
        )?;
        // Each is read before any of them is given up on: all findings come at once.
        let name = self.name(&fields);
        let tag_mutability = self.tag_mutability(&fields);
        let scan_on_push = self.scan_on_push(&fields);
        let encryption = self.encryption(&fields);
        let tags = self.tags(&fields);
        let lifecycle_policy = self.lifecycle_policy(&fields);
        let policy = self.policy(&fields);
        let spec = || {
            let settings = Settings {
                tag_mutability: tag_mutability?,
                scan_on_push: scan_on_push?,
                encryption: encryption?,
                tags: tags?,
                lifecycle_policy: lifecycle_policy?,
                policy: policy?,
            };
            Some(RepositorySpec { name: name?, settings })
        };
        Some((spec(), fields))
    }

    fn name(&mut self, fields: &Fields<'_>) -> Option<Option<Name>> {
        let field = self.spelling.of("repositoryName");
        let Some(text) = self.reader.text(fields, &field).optional()? else { return Some(None) };
        match Name::parse_at(&text, fields.at(&field)) {
            Ok(name) => Some(Some(name)),
            Err(finding) => {
                self.reader.findings.push(finding);
                None
            }
        }
    }

    fn tag_mutability(&mut self, fields: &Fields<'_>) -> Option<TagMutability> {
        let field = self.spelling.of("imageTagMutability");
        let filters_field = self.spelling.of("imageTagMutabilityExclusionFilters");
        let words = [
            ("MUTABLE", (false, false)),
            ("IMMUTABLE", (true, false)),
            ("MUTABLE_WITH_EXCLUSION", (false, true)),
            ("IMMUTABLE_WITH_EXCLUSION", (true, true)),
        ];
        let word = self.reader.one_of(fields, &field, &words).optional();
        let filters = self.filters(fields, &filters_field);
        let (immutable, with_exclusion) = word?.unwrap_or_default();
        let exclusions = filters?;
        if with_exclusion && exclusions.is_empty() {
            let message =
                format!("this needs `{filters_field}`; add one, or write it without `_WITH_EXCLUSION`");
            self.reader.report(Code::MissingField, fields.at(&field), message);
            return None;
        }
        let (exclusions, pointers): (Vec<String>, Vec<String>) = exclusions.into_iter().unzip();
        let filters = exclusions.clone();
        match (TagMutability { immutable, exclusions }).protecting() {
            Ok(tag_mutability) => Some(tag_mutability),
            Err(Movable::TooManyFilters) => {
                let message = format!(
                    "there are {} filters, and this stack adds `{OWN_TAGS_PATTERN}`, so that nobody takes the tags from images in \
                     use by which it keeps them; write {} at most, or IMMUTABLE with filters for the tags that may be moved",
                    filters.len(),
                    MAX_FILTERS - 1
                );
                self.reader.report(Code::NumberOutOfRange, fields.at(&filters_field), message);
                None
            }
            Err(Movable::ByFilter(place)) => {
                let filter = filters.get(place).map_or("", String::as_str);
                let pointer = pointers.get(place).cloned().unwrap_or_else(|| fields.at(&filters_field));
                let message = format!(
                    "{} lets anybody move the tags by which this stack keeps images in use (`{OWN_TAGS_PATTERN}`); write a filter \
                     that matches none of them, as `dev-*`",
                    quoted(filter)
                );
                self.reader.report(Code::ProtectionTagsMovable, pointer, message);
                None
            }
        }
    }

    /// The filters, and where each is; a bare string is a filter of the only type there is.
    fn filters(&mut self, fields: &Fields<'_>, name: &str) -> Option<Vec<(String, String)>> {
        let Some(items) = self.reader.list(fields, name).optional()? else { return Some(Vec::new()) };
        let pointer = fields.at(name);
        let before = self.reader.findings.len();
        if items.is_empty() {
            self.reader.report(Code::EmptyList, &*pointer, format!("`{name}` is empty; name at least one"));
        }
        if items.len() > MAX_FILTERS {
            let message = format!("there are {} filters; ECR takes {MAX_FILTERS} at most", items.len());
            self.reader.report(Code::NumberOutOfRange, &*pointer, message);
        }
        let mut filters = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let at = format!("{pointer}/{index}");
            let (filter, at) = match item {
                Node::Text(text) => (text.clone(), at),
                item => {
                    let (kind, value) = (self.spelling.of("filterType"), self.spelling.of("filter"));
                    let Some(fields) = self.fields(item, &at, &["filterType", "filter"], &[]) else {
                        continue;
                    };
                    let _ = self.reader.one_of(&fields, &kind, &[("WILDCARD", ())]);
                    let filter = self.reader.text(&fields, &value);
                    self.reader.require(
                        &filter,
                        &fields,
                        &value,
                        "a tag, in which `*` stands for any characters",
                    );
                    let Field::Value(filter) = filter else { continue };
                    (filter, fields.at(&value))
                }
            };
            let is_known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '*' | '-');
            if filter.is_empty() || filter.len() > 128 || !filter.chars().all(is_known) {
                let message = format!(
                    "{} is no filter; write 1 to 128 letters, digits, `.`, `_`, `-` and `*`",
                    quoted(&filter)
                );
                self.reader.report(Code::UnknownValue, &*at, message);
            }
            filters.push((filter, at));
        }
        (self.reader.findings.len() == before).then_some(filters)
    }

    fn scan_on_push(&mut self, fields: &Fields<'_>) -> Option<bool> {
        let (field, inner) = (self.spelling.of("imageScanningConfiguration"), self.spelling.of("scanOnPush"));
        let Some(node) = self.reader.field(fields, &field).optional()? else { return Some(false) };
        let fields = self.fields(node, &fields.at(&field), &["scanOnPush"], &[])?;
        self.reader.boolean(&fields, &inner).optional().map(Option::unwrap_or_default)
    }

    fn encryption(&mut self, fields: &Fields<'_>) -> Option<Encryption> {
        let field = self.spelling.of("encryptionConfiguration");
        let Some(node) = self.reader.field(fields, &field).optional()? else {
            return Some(Encryption::default());
        };
        let fields = self.fields(node, &fields.at(&field), &["encryptionType", "kmsKey"], &[])?;
        let (type_field, key_field) = (self.spelling.of("encryptionType"), self.spelling.of("kmsKey"));
        let encryption_type = self.reader.one_of(&fields, &type_field, &EncryptionType::NAMES);
        self.reader.require(&encryption_type, &fields, &type_field, "AES256, KMS or KMS_DSSE");
        let key = self.reader.text(&fields, &key_field).optional();
        let (encryption_type, kms_key) = (encryption_type.value()?, key?);
        let problem = match &kms_key {
            Some(_) if encryption_type == EncryptionType::Aes256 => {
                Some((Code::KmsKeyUnexpected, "AES256 uses no KMS key; remove it, or write KMS".to_owned()))
            }
            Some(key) if key.trim().is_empty() => Some((
                Code::EmptyString,
                "the key is empty; leave it out for the key that AWS manages".to_owned(),
            )),
            Some(key) if key.chars().count() > MAX_KEY_CHARACTERS => Some((
                Code::NumberOutOfRange,
                format!("it has {} characters; ECR takes {MAX_KEY_CHARACTERS} at most", key.chars().count()),
            )),
            Some(key) if key.starts_with("alias/") || key.contains(":alias/") => Some((
                Code::KmsKeyAlias,
                format!(
                    "{} is an alias, which can point to another key tomorrow while the repository keeps its own; \
                     write the key's ARN or id",
                    quoted(key)
                ),
            )),
            _ => None,
        };
        if let Some((code, message)) = problem {
            self.reader.report(code, fields.at(&key_field), message);
            return None;
        }
        Some(Encryption { encryption_type, kms_key })
    }

    fn tags(&mut self, fields: &Fields<'_>) -> Option<Tags> {
        let field = self.spelling.of("tags");
        let Some(items) = self.reader.list(fields, &field).optional()? else { return Some(Tags::new()) };
        let pointer = fields.at(&field);
        let before = self.reader.findings.len();
        let mut tags = Tags::new();
        for (index, item) in items.iter().enumerate() {
            let at = format!("{pointer}/{index}");
            // ECR's API, unlike all its other fields, and CloudFormation spell these two alike.
            let Some(fields) = self.reader.fields(item, &at, &["Key", "Value"]) else { continue };
            let key = self.reader.text(&fields, "Key");
            self.reader.require(&key, &fields, "Key", "the tag's key");
            let value = self.reader.text(&fields, "Value").optional();
            let (Field::Value(key), Some(value)) = (key, value) else { continue };
            let value = value.unwrap_or_default();
            self.tag_text(&fields, "Key", &key, 1..=128);
            self.tag_text(&fields, "Value", &value, 0..=256);
            if ownership::is_reserved(&key) {
                let message = format!(
                    "{} is reserved: keys that begin with `aws:` are AWS's, with `{}` this stack's",
                    quoted(&key),
                    ownership::PREFIX
                );
                self.reader.report(Code::ReservedTag, fields.at("Key"), message);
            }
            if tags.insert(key.clone(), value).is_some() {
                let message = format!("{} is there more than once; keep one", quoted(&key));
                self.reader.report(Code::DuplicateKey, fields.at("Key"), message);
            }
        }
        let most = match self.spelling {
            FieldCasing::Api => MAX_TAGS - MARK_TAGS,
            FieldCasing::CloudFormation => MAX_TAGS - MARK_TAGS - OWNERSHIP_TAGS,
        };
        if tags.len() > most {
            let message = format!(
                "there are {} tags; {most} is the most, since ECR takes {MAX_TAGS} and this stack adds its own",
                tags.len()
            );
            self.reader.report(Code::NumberOutOfRange, pointer, message);
        }
        (self.reader.findings.len() == before).then_some(tags)
    }

    fn tag_text(
        &mut self,
        fields: &Fields<'_>,
        name: &str,
        text: &str,
        length: std::ops::RangeInclusive<usize>,
    ) {
        let is_known = |c: char| {
            c.is_alphanumeric() || c == ' ' || matches!(c, '_' | '.' | ':' | '/' | '=' | '+' | '-' | '@')
        };
        let characters = text.chars().count();
        if !length.contains(&characters) {
            let message =
                format!("it has {characters} characters; write {} to {}", length.start(), length.end());
            self.reader.report(Code::NumberOutOfRange, fields.at(name), message);
        } else if let Some(character) = text.chars().find(|&c| !is_known(c)) {
            let message = format!(
                "{} is not allowed in a tag; write letters, digits, spaces and `_ . : / = + - @`",
                quoted(&character.to_string())
            );
            self.reader.report(Code::UnknownValue, fields.at(name), message);
        }
    }

    fn lifecycle_policy(&mut self, fields: &Fields<'_>) -> Option<Option<ProtectedPolicy>> {
        let (object, text) = (self.spelling.of("lifecyclePolicy"), self.spelling.of("lifecyclePolicyText"));
        if fields.has(&object) && fields.has(&text) {
            let message = format!("there are both `{object}` and `{text}`; keep one");
            self.reader.report(Code::LifecyclePolicyConflict, fields.at(&text), message);
            return None;
        }
        if let Some(text) = self.reader.text(fields, &text).optional()? {
            return self.policy_source(&text, &fields.at(&self.spelling.of("lifecyclePolicyText")));
        }
        let Some(node) = self.reader.field(fields, &object).optional()? else {
            return self.policy_source("{}", "");
        };
        let pointer = fields.at(&object);
        match node {
            // The shape of `AWS::ECR::Repository`.
            Node::Object(entries)
                if self.spelling == FieldCasing::CloudFormation
                    && entries.iter().any(|(key, _)| key == "LifecyclePolicyText") =>
            {
                let fields = self.reader.fields(node, &pointer, &["LifecyclePolicyText", "RegistryId"])?;
                let text = self.reader.text(&fields, "LifecyclePolicyText").value()?;
                self.policy_source(&text, &fields.at("LifecyclePolicyText"))
            }
            Node::Object(_) => {
                let json = match self.spelling {
                    FieldCasing::Api => to_json(node),
                    FieldCasing::CloudFormation => to_json(&unquoted(node, "")),
                };
                self.policy_source(&json, &pointer)
            }
            other => {
                self.reader.wrong_type(other, &pointer, "a lifecycle policy, an object with `rules`,");
                None
            }
        }
    }

    /// A policy that can be attached behind the protection rule; `None` for one that is skipped.
    fn policy_source(&mut self, text: &str, pointer: &str) -> Option<Option<ProtectedPolicy>> {
        let read = PolicySource::parse_json(text)
            .and_then(|source| source.policy().map(ProtectedPolicy::new).transpose());
        match read {
            Ok(policy) => Some(policy),
            Err(mut findings) => {
                // A rule that is not complete is short, too, and the length of an object is none of anybody's.
                if findings.len() > 1 {
                    findings.retain(|finding| finding.code != Code::PolicyTooShort);
                }
                self.reader.findings.extend(findings.into_iter().map(|finding| {
                    let pointer = format!("{pointer}{}", finding.pointer);
                    Finding { pointer, ..finding }
                }));
                None
            }
        }
    }

    fn policy(&mut self, fields: &Fields<'_>) -> Option<RepositoryPolicy> {
        let (access, literal) = (self.spelling.of("pullAccess"), self.spelling.of("repositoryPolicyText"));
        if fields.has(&access) && fields.has(&literal) {
            let message = format!("there are both `{access}` and `{literal}`; keep one");
            self.reader.report(Code::RepositoryPolicyConflict, fields.at(&literal), message);
            return None;
        }
        if let Some(node) = self.reader.field(fields, &access).optional()? {
            return self.pull_access(node, &fields.at(&access)).map(RepositoryPolicy::Pull);
        }
        let Some(node) = self.reader.field(fields, &literal).optional()? else {
            return Some(RepositoryPolicy::None);
        };
        let text = match node {
            Node::Text(text) => text.clone(),
            Node::Object(_) => to_json(node),
            other => {
                self.reader.wrong_type(other, &fields.at(&literal), "a policy, as a string or an object,");
                return None;
            }
        };
        let has_statement = |policy: &Node| match policy {
            Node::Object(elements) => elements.iter().any(|(name, _)| name == "Statement"),
            _ => false,
        };
        let problem = match syntax::parse_json(&text) {
            Err(finding) => Some(finding.message),
            Ok(policy) if !has_statement(&policy) => {
                Some("it has no `Statement`; write an IAM policy".to_owned())
            }
            Ok(_) if text.chars().count() > MAX_POLICY_CHARACTERS => Some(format!(
                "it has {} characters; ECR takes {MAX_POLICY_CHARACTERS} at most",
                text.chars().count()
            )),
            Ok(_) => None,
        };
        match problem {
            None => Some(RepositoryPolicy::Literal(text)),
            Some(problem) => {
                self.reader.report(Code::InvalidRepositoryPolicy, fields.at(&literal), problem);
                None
            }
        }
    }

    fn pull_access(&mut self, node: &Node, pointer: &str) -> Option<PullAccess> {
        let fields = self.fields(node, pointer, &["accountIds", "organizationId", "lambda"], &[])?;
        let (ids, organization, lambda) =
            (self.spelling.of("accountIds"), self.spelling.of("organizationId"), self.spelling.of("lambda"));
        let before = self.reader.findings.len();
        let account_ids = self.reader.string_list(&fields, &ids).optional();
        for (index, id) in account_ids.iter().flatten().flatten().enumerate() {
            if id.len() != 12 || !id.bytes().all(|byte| byte.is_ascii_digit()) {
                let message = format!("{} is not an account id, which has twelve digits", quoted(id));
                self.reader.report(
                    Code::InvalidAccountId,
                    join_pointer(&fields.at(&ids), &index.to_string()),
                    message,
                );
            }
        }
        let organization_id = self.reader.text(&fields, &organization).optional();
        if let Some(Some(id)) = &organization_id {
            let is_id = id.strip_prefix("o-").is_some_and(|rest| {
                (10..=32).contains(&rest.len())
                    && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            });
            if !is_id {
                let message = format!(
                    "{} is not the id of an organisation, which is `o-` and 10 to 32 letters and digits",
                    quoted(id)
                );
                self.reader.report(Code::InvalidOrganizationId, fields.at(&organization), message);
            }
        }
        let lambda = self.reader.boolean(&fields, &lambda).optional();
        if self.reader.findings.len() > before {
            return None;
        }
        Some(PullAccess {
            account_ids: account_ids?.unwrap_or_default().into_iter().collect(),
            organization_id: organization_id?,
            lambda: lambda?.unwrap_or_default(),
        })
    }
}

/// The tree as JSON text again, with what a policy reader must see in it.
fn to_json(node: &Node) -> String {
    // Strings, numbers and booleans only: serialization has nothing to fail on.
    serde_json::to_string(node).unwrap_or_default()
}

/// A lifecycle policy with its numbers and booleans unquoted; CloudFormation sends all of them as strings.
fn unquoted(node: &Node, key: &str) -> Node {
    match node {
        Node::Text(text) => match key {
            "countNumber"
            | "rulePriority"
            | "maximumNumberOfImages"
            | "maximumAgeLimit"
            | "maximumDaysSincePull"
            | "maximumDaysInArchive" => match syntax::parse_json(text) {
                Ok(number @ (Node::Whole(_) | Node::Number(_))) => number,
                _ => node.clone(),
            },
            "skip" => match text.as_str() {
                "true" => Node::Bool(true),
                "false" => Node::Bool(false),
                _ => node.clone(),
            },
            _ => node.clone(),
        },
        Node::List(items) => Node::List(items.iter().map(|item| unquoted(item, key)).collect()),
        Node::Object(entries) => {
            Node::Object(entries.iter().map(|(key, value)| (key.clone(), unquoted(value, key))).collect())
        }
        Node::Null | Node::Bool(_) | Node::Whole(_) | Node::Number(_) => node.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::enforcement::in_use_protection::{TakesNothing, is_protected, protected};
    use crate::domain::lifecycle::LifecyclePolicy;

    fn findings(text: &str) -> String {
        let findings = body(text).unwrap_err();
        findings.iter().map(|finding| format!("{finding}\n")).collect()
    }

    #[test]
    fn a_name_is_enough() {
        let spec = body(r#"{"repositoryName": "team/app"}"#).unwrap();
        assert_eq!(spec.name.unwrap().as_str(), "team/app");
        let settings = spec.settings;
        assert_eq!(settings.tag_mutability.as_str(), "MUTABLE_WITH_EXCLUSION");
        assert_eq!(settings.tag_mutability.exclusions, ["ecr-steward-*"], "but for this stack's own tags");
        assert!(!settings.scan_on_push);
        assert_eq!(settings.encryption, Encryption::default());
        assert_eq!(settings.policy, RepositoryPolicy::None);
        let policy = settings.lifecycle_policy.unwrap();
        assert!(is_protected(policy.document()));
        assert_eq!(
            policy.policy().rules()[0].to_string(),
            "rule 1: expire untagged images beyond the youngest 1",
            "the default of awsx"
        );
    }

    #[test]
    fn everything_can_be_written_in_both_spellings() {
        let api = body(
            r#"{"repositoryName": "app", "imageTagMutability": "IMMUTABLE",
                "imageTagMutabilityExclusionFilters": ["latest", {"filterType": "WILDCARD", "filter": "dev-*"}],
                "imageScanningConfiguration": {"scanOnPush": true},
                "encryptionConfiguration": {"encryptionType": "KMS", "kmsKey": "arn:aws:kms:eu-west-1:1:key/k"},
                "tags": [{"Key": "team", "Value": "shop"}, {"Key": "flag"}],
                "lifecyclePolicy": {"rules": [{"selection": "untagged", "maximumAgeLimit": 7}]},
                "pullAccess": {"accountIds": ["111111111111"], "organizationId": "o-abcdefghij", "lambda": true}}"#,
        )
        .unwrap();
        let cloud_formation = properties(
            r#"{"ServiceToken": "arn:…", "ServiceTimeout": "60", "AdoptExisting": "true", "EmptyOnDelete": "false",
                "RepositoryName": "app", "ImageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
                "ImageTagMutabilityExclusionFilters": ["latest", {"ImageTagMutabilityExclusionFilterType": "WILDCARD",
                    "ImageTagMutabilityExclusionFilterValue": "dev-*"}],
                "ImageScanningConfiguration": {"ScanOnPush": "true"},
                "EncryptionConfiguration": {"EncryptionType": "KMS", "KmsKey": "arn:aws:kms:eu-west-1:1:key/k"},
                "Tags": [{"Key": "team", "Value": "shop"}, {"Key": "flag", "Value": ""}],
                "LifecyclePolicy": {"rules": [{"selection": "untagged", "maximumAgeLimit": "7"}]},
                "PullAccess": {"AccountIds": ["111111111111"], "OrganizationId": "o-abcdefghij", "Lambda": "true"}}"#,
        )
        .unwrap();
        assert_eq!(api, cloud_formation.spec);
        assert!(cloud_formation.adopt_existing && cloud_formation.empty_on_delete == EmptyOnDelete::No);
        assert_eq!(api.settings.tag_mutability.as_str(), "IMMUTABLE_WITH_EXCLUSION");
        let RepositoryPolicy::Pull(access) = api.settings.policy else { panic!() };
        assert!(access.lambda && access.account_ids.contains("111111111111"));
    }

    #[test]
    fn a_lifecycle_policy_comes_in_either_model_as_object_or_text_or_not_at_all() {
        let document = r#"{"rules": [{"rulePriority": 1, "selection": {"tagStatus": "untagged",
            "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 7}, "action": {"type": "expire"}}]}"#;
        let simple = r#"{"rules": [{"selection": "untagged", "maximumAgeLimit": 7}]}"#;
        let quoted_document = document.replace(": 1,", ": \"1\",").replace(": 7}", ": \"7\"}");
        let expected = LifecyclePolicy::parse(document).unwrap();
        let shown = protected(&expected).unwrap().to_json();
        let text = |text: &str| serde_json::to_string(text).unwrap();
        for policy in [
            body(&format!(r#"{{"lifecyclePolicy": {document}}}"#)).unwrap(),
            body(&format!(r#"{{"lifecyclePolicy": {simple}}}"#)).unwrap(),
            body(&format!(r#"{{"lifecyclePolicyText": {}}}"#, text(document))).unwrap(),
            body(&format!(r#"{{"lifecyclePolicyText": {}}}"#, text(simple))).unwrap(),
            properties(&format!(r#"{{"LifecyclePolicy": {quoted_document}}}"#)).unwrap().spec,
            properties(&format!(r#"{{"LifecyclePolicy": {{"LifecyclePolicyText": {}}}}}"#, text(document)))
                .unwrap()
                .spec,
            properties(&format!(r#"{{"LifecyclePolicyText": {}}}"#, text(simple))).unwrap().spec,
            // As ECR shows it once it is attached.
            body(&format!(r#"{{"lifecyclePolicyText": {}}}"#, text(&shown))).unwrap(),
        ] {
            let policy = policy.settings.lifecycle_policy.unwrap();
            assert_eq!(policy.policy(), &expected);
            assert_eq!(policy.document(), &protected(&expected).unwrap());
        }
        for none in [
            body(r#"{"lifecyclePolicy": {"skip": true}}"#).unwrap(),
            properties(r#"{"LifecyclePolicy": {"skip": "true"}}"#).unwrap().spec,
        ] {
            assert_eq!(none.settings.lifecycle_policy, None);
        }
    }

    #[test]
    fn everything_that_is_wrong_is_reported_at_once() {
        insta::assert_snapshot!(findings(
            r#"{"repositoryName": "Team/App", "imageTagMutabilty": "MUTABLE",
                "imageTagMutability": "SOMETIMES", "imageTagMutabilityExclusionFilters": ["a b", {"filterType": "REGEX"}, 7],
                "imageScanningConfiguration": {"scanOnPush": "true"},
                "encryptionConfiguration": {"encryptionType": "AES256", "kmsKey": "k"},
                "tags": [{"Key": "aws:x", "Value": "1"}, {"Key": "a", "Value": "ü\u0007"}, {"Key": "a"}, {"Value": "1"}, 5],
                "lifecyclePolicy": {"rules": [{"selection": "untagged"}]}, "lifecyclePolicyText": "{}",
                "pullAccess": {"accountIds": ["1234", 5], "organizationId": "r-1"}, "repositoryPolicyText": "{"}"#
        ));
        insta::assert_snapshot!(findings(
            r#"{"imageTagMutability": "MUTABLE_WITH_EXCLUSION",
                "encryptionConfiguration": {"encryptionType": "KMS", "kmsKey": "alias/mine"},
                "lifecyclePolicy": {"rules": [{"selection": "untagged"}, {"maximumAgeLimit": 0}]},
                "pullAccess": {"accountIds": ["1234"], "organizationId": "r-1", "lambda": null}}"#
        ));
        insta::assert_snapshot!(findings(
            r#"{"repositoryPolicyText": {"Version": "2012-10-17"}, "tags": {}}"#
        ));
        insta::assert_snapshot!(findings("[]"));
        insta::assert_snapshot!(findings("{"));
    }

    #[test]
    fn a_policy_that_ecr_cannot_enforce_beside_protection_tags_is_refused_where_it_is() {
        let rules: Vec<String> = (0..50)
            .map(|n| format!(r#"{{"selection": {{"tagPrefixList": ["p{n}-"]}}, "maximumAgeLimit": 1}}"#))
            .collect();
        let many = format!(r#"{{"lifecyclePolicy": {{"rules": [{}]}}}}"#, rules.join(", "));
        let nothing = serde_json::to_string(&TakesNothing::new().unwrap().to_json()).unwrap();
        insta::assert_snapshot!(
            [
                r#"{"lifecyclePolicy": {"rules": [{"selection": "untagged", "maximumAgeLimit": 1},
                    {"selection": {"tagPatternList": ["*"]}, "maximumNumberOfImages": 8},
                    {"selection": {"tagPrefixList": ["ecr-steward-in-use-"]}, "maximumAgeLimit": 8}]}}"#,
                &many,
                &format!(r#"{{"lifecyclePolicyText": {nothing}}}"#),
            ]
            .map(findings)
            .concat()
        );
    }

    #[test]
    fn filters_by_which_protection_tags_could_be_moved_are_refused_where_they_are() {
        insta::assert_snapshot!(
            [
                r#"{"imageTagMutability": "MUTABLE_WITH_EXCLUSION",
                    "imageTagMutabilityExclusionFilters": ["a", "b", "c", "d", "e"]}"#,
                r#"{"imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
                    "imageTagMutabilityExclusionFilters": ["dev-*", {"filterType": "WILDCARD", "filter": "ecr*"}]}"#,
                r#"{"imageTagMutability": "IMMUTABLE", "imageTagMutabilityExclusionFilters": ["*"]}"#,
            ]
            .map(findings)
            .concat()
        );
    }

    #[test]
    fn cloud_formation_gets_messages_in_its_own_spelling() {
        let findings = properties(
            r#"{"repositoryName": "app", "ImageScanningConfiguration": {"ScanOnPush": "yes"},
                "EmptyOnDelete": "maybe", "ImageTagMutabilityExclusionFilters": [{"Filter": "x"}]}"#,
        )
        .unwrap_err();
        let text: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
        insta::assert_snapshot!(text);
    }
}
