//! Types for the schemas of files: what [`PolicySource`](crate::domain::lifecycle::PolicySource),
//! [`PolicySet`](crate::domain::enforcement::policy_set::PolicySet),
//! [`BuildConfig`](crate::domain::builds::build_config::BuildConfig) and [`Usage`](crate::domain::usage::Usage) read.

#![expect(dead_code, reason = "only their schemas are used")]

use std::collections::BTreeMap;

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use crate::domain::builds::build_definition::Profile;
use crate::domain::enforcement::outcome::Outcome;
use crate::domain::enforcement::policy_set::Apply;
use crate::domain::preview::model::PreviewReport;
use crate::domain::text::instant::Instant;
use crate::domain::usage::UnreadableSource;
use crate::domain::usage::usage_list::{SourceReport, Writer};
use crate::report::run::RunReport;

/// One report of a preview, or one for each of several repositories.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum OneOrMore {
    One(Box<PreviewReport>),
    Several(Vec<PreviewReport>),
}

/// What a run did in one repository, or the run itself without its repositories.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum RunLine {
    Repository(Box<Outcome>),
    Run(Box<RunReport>),
}

/// A lifecycle policy: the simple model, or ECR's document.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Policy {
    Wrapped(Wrapped),
    Simple(Simple),
    Document(Document),
}

/// A simple policy under the name that it has in a request.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Wrapped {
    /// The policy.
    lifecycle_policy: Simple,
}

/// A policy in the simple model, awsx's.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Simple {
    /// Whether there is to be no lifecycle policy at all.
    #[schemars(default)]
    skip: bool,
    /// The rules, applied in this order, an `any` rule behind all others. Left out, untagged images beyond the youngest one expire.
    #[schemars(default, length(max = 50))]
    rules: Vec<SimpleRule>,
}

/// A rule: which images, one limit, and what happens to those past it.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("allOf" = [
    { "oneOf": [
        { "required": ["maximumNumberOfImages"] },
        { "required": ["maximumAgeLimit"] },
        { "required": ["maximumDaysSincePull"], "properties": { "action": { "const": "archive" } } },
        { "required": ["maximumDaysInArchive"], "properties": { "action": { "const": "expire" } } },
    ] },
    { "oneOf": [
        { "required": ["selection"], "properties": { "tagStatus": false, "tagPrefixList": false, "tagPatternList": false } },
        { "required": ["tagStatus"], "properties": { "selection": false, "tagStatus": { "enum": ["untagged", "any"] },
            "tagPrefixList": false, "tagPatternList": false } },
        { "required": ["tagStatus", "tagPrefixList"], "properties": { "selection": false, "tagStatus": { "const": "tagged" },
            "tagPatternList": false } },
        { "required": ["tagStatus", "tagPatternList"], "properties": { "selection": false, "tagStatus": { "const": "tagged" },
            "tagPrefixList": false } },
    ] },
    { "anyOf": [
        { "not": { "required": ["maximumDaysSincePull"] } },
        { "required": ["action"] },
    ] },
]))]
pub(super) struct SimpleRule {
    /// A text for people.
    description: Option<String>,
    /// The images that the rule selects.
    selection: Option<Selection>,
    /// The same as ECR's document says it, with a list beside it.
    tag_status: Option<TagStatus>,
    /// Beginnings of tags; an image needs one for each.
    tag_prefix_list: Option<Texts>,
    /// Patterns of tags, in which `*` matches anything; an image needs a tag for each.
    tag_pattern_list: Option<Texts>,
    /// All images but this number of the youngest are past the limit.
    #[schemars(range(min = 1))]
    maximum_number_of_images: Option<u64>,
    /// Images that were pushed more than this number of days ago are past the limit.
    #[schemars(range(min = 1))]
    maximum_age_limit: Option<u64>,
    /// Images that were not pulled for more than this number of days are past the limit; they are archived.
    #[schemars(range(min = 1))]
    maximum_days_since_pull: Option<u64>,
    /// Images that were archived more than this number of days ago are past the limit.
    #[schemars(range(min = 90))]
    maximum_days_in_archive: Option<u64>,
    /// The action on images past the limit; they expire by default.
    action: Option<SimpleAction>,
}

/// `untagged`, `any`, or tags.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Selection {
    Word(SelectionWord),
    Prefixes(Prefixes),
    Patterns(Patterns),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum SelectionWord {
    /// Images without any tag.
    Untagged,
    /// Every image.
    Any,
}

/// Images with a tag for each of these beginnings.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Prefixes {
    /// Beginnings of tags.
    tag_prefix_list: Texts,
}

/// Images with a tag for each of these patterns.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Patterns {
    /// Patterns of tags, in which `*` matches anything.
    tag_pattern_list: Texts,
}

/// One text or more, none of them empty.
#[derive(JsonSchema)]
pub(super) struct Texts(#[schemars(length(min = 1), inner(length(min = 1)))] Vec<String>);

/// One pattern of tags or more.
#[derive(JsonSchema)]
pub(super) struct TagPatterns(
    #[schemars(length(min = 1), inner(regex(pattern = "^[A-Za-z0-9_*][A-Za-z0-9_.*-]*$")))] Vec<String>,
);

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum TagStatus {
    /// Images with the tags of the list.
    Tagged,
    /// Images without any tag.
    Untagged,
    /// Every image.
    Any,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum SimpleAction {
    /// The image is deleted.
    Expire,
    /// The image moves to the archive.
    Archive,
}

/// ECR's lifecycle policy document.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document {
    /// The rules; the one with the lowest priority number is applied first.
    #[schemars(length(min = 1, max = 50))]
    rules: Vec<Rule>,
}

/// A rule of ECR's document.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Rule {
    /// The place of the rule; no two have the same.
    #[schemars(range(min = 1))]
    rule_priority: u64,
    /// A text for people.
    description: Option<String>,
    /// Which images, and the limit.
    selection: DocumentSelection,
    /// The action on images past the limit.
    action: DocumentAction,
}

/// The images that a rule selects, and its limit.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("allOf" = [
    { "oneOf": [
        { "properties": { "tagStatus": { "enum": ["untagged", "any"] }, "tagPrefixList": false, "tagPatternList": false } },
        { "required": ["tagPrefixList"], "properties": { "tagStatus": { "const": "tagged" }, "tagPatternList": false } },
        { "required": ["tagPatternList"], "properties": { "tagStatus": { "const": "tagged" }, "tagPrefixList": false } },
    ] },
    { "oneOf": [
        { "properties": { "countType": { "const": "imageCountMoreThan" }, "countUnit": false, "storageClass": { "const": "standard" } } },
        { "required": ["countUnit"], "properties": { "countType": { "enum": ["sinceImagePushed", "sinceImagePulled"] },
            "storageClass": { "const": "standard" } } },
        { "required": ["countUnit", "storageClass"], "properties": { "countType": { "const": "sinceImageTransitioned" },
            "storageClass": { "const": "archive" }, "countNumber": { "minimum": 90 } } },
    ] },
]))]
pub(super) struct DocumentSelection {
    /// Whether images have tags.
    tag_status: TagStatus,
    /// Beginnings of tags; an image needs one for each.
    tag_prefix_list: Option<Texts>,
    /// Patterns of tags, in which `*` matches anything; an image needs a tag for each.
    tag_pattern_list: Option<Texts>,
    /// The storage class of the images.
    storage_class: Option<DocumentClass>,
    /// The kind of the limit.
    count_type: CountType,
    /// The unit of ages.
    count_unit: Option<CountUnit>,
    /// The number of images or days.
    #[schemars(range(min = 1))]
    count_number: u64,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum DocumentClass {
    /// The class from which images are pulled.
    Standard,
    /// The archive.
    Archive,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
pub(super) enum CountType {
    /// All images but this number of the youngest.
    ImageCountMoreThan,
    /// Images that were pushed this number of days ago.
    SinceImagePushed,
    /// Images that were last pulled this number of days ago.
    SinceImagePulled,
    /// Images that were archived this number of days ago.
    SinceImageTransitioned,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum CountUnit {
    /// The only unit that there is.
    Days,
}

/// The action on images.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "properties": { "type": { "const": "expire" }, "targetStorageClass": false } },
    { "required": ["targetStorageClass"], "properties": { "type": { "const": "transition" } } },
]))]
pub(super) struct DocumentAction {
    /// Whether images are deleted, or move.
    r#type: DocumentActionType,
    /// The storage class that images move to.
    target_storage_class: Option<TargetClass>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum DocumentActionType {
    /// They are deleted.
    Expire,
    /// They move to another storage class.
    Transition,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum TargetClass {
    /// The archive.
    Archive,
}

/// policies.yaml: which lifecycle policy is for which repository.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PoliciesFile {
    /// The policies; the first that matches a repository is the one.
    policies: Vec<Entry>,
    /// The settings of usage sources.
    usage: Option<UsageSources>,
    /// The limits of the whole registry in a day.
    limits: Option<RegistryLimits>,
    /// The hash of this file, as `ecr-steward check` prints it: it is enforced without a preview before.
    #[schemars(regex(pattern = "^[0-9a-f]{16}$"))]
    approve: Option<String>,
}

/// A policy, and the repositories that it is for.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("if" = { "required": ["apply"], "properties": { "apply": { "const": "protect" } } },
    "then" = { "properties": { "rules": false } }, "else" = { "required": ["rules"] }))]
pub(super) struct Entry {
    /// The unique name in reports.
    name: String,
    /// Patterns of its repositories; `*` matches anything.
    repositories: RepositoryPatterns,
    /// The resource tags that its repositories have, all of these.
    tags: Option<BTreeMap<String, String>>,
    /// The rules, in the simple model.
    #[schemars(length(min = 1, max = 50))]
    rules: Option<Vec<SimpleRule>>,
    /// Who enforces it; nobody by default.
    apply: Option<Apply>,
    /// The images that are kept whatever the rules say.
    keep: Option<Keep>,
    /// The limits in one run.
    limits: Option<Limits>,
}

/// Patterns of repositories' names.
#[derive(JsonSchema)]
pub(super) struct RepositoryPatterns(
    #[schemars(length(min = 1), inner(length(min = 1), regex(pattern = "^[a-z0-9*][a-z0-9._/*-]*$")))]
    Vec<String>,
);

/// The images that are kept whatever the rules say. Images in use are always kept.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Keep {
    /// Always true.
    #[schemars(extend("const" = true))]
    in_use: Option<bool>,
    /// Images with a tag that matches one of these.
    tags: Option<TagPatterns>,
    /// Number of the youngest images.
    #[schemars(range(min = 1))]
    newest: Option<u64>,
    /// Images that were pulled within this number of days.
    #[schemars(range(min = 1))]
    pulled_within_days: Option<u64>,
}

/// The limits for one repository in one run. A plan that exceeds one of them is not executed at all.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Limits {
    /// The most images; 500 by default.
    #[schemars(range(min = 1))]
    images: Option<u64>,
    /// The most, in percent of the repository's images; 50 by default.
    #[schemars(range(min = 1, max = 100))]
    percent: Option<u64>,
    /// The fewest images that are left; 1 by default.
    #[schemars(range(min = 1))]
    remaining: Option<u64>,
}

/// The limits of the whole registry in a day.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RegistryLimits {
    /// The most images; 5,000 by default.
    #[schemars(range(min = 1))]
    images: Option<u64>,
    /// The most, in percent of the registry's images; 25 by default.
    #[schemars(range(min = 1, max = 100))]
    percent: Option<u64>,
}

/// The settings of usage sources.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UsageSources {
    /// Number of the last active revisions of each family of task definitions that count as in use; 5 by default.
    #[schemars(range(min = 1))]
    task_definition_revisions: Option<u64>,
    /// Whether what templates and parameters of stacks of AWS CloudFormation name is in use, or in which repositories; no by default.
    stacks: Option<Stacks>,
    /// Lists in the stack's bucket that have to be there.
    lists: Option<Vec<ListSource>>,
    /// Sources that do not matter, each with a reason.
    ignore: Option<Vec<Ignored>>,
    /// The accounts that pull where an organization or anybody may, and the Regions in which accounts that may pull do.
    accounts: Option<Accounts>,
}

/// The repositories in which images of stacks are in use: all or none, or those that patterns match.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Stacks {
    Everywhere(bool),
    Of(RepositoryPatterns),
}

/// Accounts that pull, and have to report what they use.
#[derive(JsonSchema)]
pub(super) struct Accounts(#[schemars(length(min = 1))] Vec<PullingAccount>);

/// An account that pulls: its twelve digits, alone or with its Regions.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum PullingAccount {
    Account(AccountId),
    Regions(AccountRegions),
}

/// The twelve digits of an account.
#[derive(JsonSchema)]
pub(super) struct AccountId(#[schemars(regex(pattern = "^[0-9]{12}$"))] String);

/// An account, and the Regions in which it pulls.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AccountRegions {
    /// The account.
    account: AccountId,
    /// The Regions, each of which needs a list; without any, one list of the account is enough.
    regions: Option<Regions>,
}

/// Regions.
#[derive(JsonSchema)]
pub(super) struct Regions(
    #[schemars(length(min = 1), inner(regex(pattern = "^[a-z]+(-[a-z]+)+-[0-9]+$")))] Vec<String>,
);

/// A list of images in use that has to be there.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ListSource {
    /// Its key in the stack's bucket.
    #[schemars(regex(pattern = "^usage/[^*?]*\\.json$"))]
    key: String,
    /// Maximum age in hours; 24 by default.
    #[schemars(range(min = 1, max = 744))]
    maximum_age_in_hours: Option<u64>,
    /// Patterns of the repositories that it covers; all by default.
    repositories: Option<RepositoryPatterns>,
    /// The cluster of Amazon EKS whose use it reports.
    #[schemars(length(min = 1))]
    cluster: Option<String>,
    /// The account whose use it reports.
    #[schemars(regex(pattern = "^[0-9]{12}$"))]
    account: Option<String>,
}

/// A source that does not matter.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Ignored {
    /// The source, as reports call it.
    #[schemars(regex(pattern = "^[a-z][^ *]*$"))]
    source: String,
    /// Why it does not matter.
    #[schemars(regex(pattern = "[^ ]"))]
    reason: String,
    /// The last day on which it does not matter, like 2027-01-31; always by default.
    #[schemars(regex(pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), extend("format" = "date"))]
    until: Option<String>,
}

/// builds.yaml: the build definition for each source.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BuildsFile {
    /// The builds.
    builds: Vec<Build>,
}

/// How an image is built, and of what.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("if" = { "required": ["profile"], "properties": { "profile": { "const": "lambda" } } },
    "then" = { "properties": { "platforms": { "maxItems": 1 } } }))]
pub(super) struct Build {
    /// The repository of the image.
    #[schemars(length(min = 2, max = 256), regex(pattern = "^[a-z0-9]([a-z0-9._/-]*[a-z0-9])?$"))]
    repository_name: String,
    /// The folder of the source that is the build context; all of it by default.
    #[schemars(length(min = 1), regex(pattern = "^[^/]"))]
    context: Option<String>,
    /// The Dockerfile, from the source's top folder; that of the context by default.
    #[schemars(length(min = 1), regex(pattern = "^[^/]"))]
    dockerfile: Option<String>,
    /// The stage to build; the last by default.
    #[schemars(length(min = 1), regex(pattern = "^[A-Za-z_][A-Za-z0-9_.-]*$"))]
    target: Option<String>,
    /// Values for the Dockerfile's `ARG`s.
    build_args: Option<BTreeMap<String, String>>,
    /// Secrets for `RUN --mount=type=secret,id=…`: where AWS Secrets Manager has each.
    secrets: Option<BTreeMap<String, SecretReference>>,
    /// The platforms; linux/amd64 by default.
    #[schemars(length(min = 1))]
    platforms: Option<Vec<Platform>>,
    /// The tags besides the one that names the source.
    image_tags: Option<Vec<String>>,
    /// The branch whose images are released.
    default_branch: Option<String>,
    /// Whether layers are kept for the next build; they are by default.
    cache: Option<bool>,
    /// The size of the machine.
    compute_type: Option<ComputeType>,
    /// The runtime of the image; ecs by default.
    profile: Option<Profile>,
    /// The source; by default the one that is named after the repository.
    source: Option<BuildSource>,
    /// The role of the build.
    service_role: Option<String>,
}

/// The name or ARN of a secret, and behind a colon the key in it if it is JSON.
#[derive(JsonSchema)]
pub(super) struct SecretReference(#[schemars(regex(pattern = "^[A-Za-z0-9/_+=.@:-]+$"))] String);

#[derive(JsonSchema)]
pub(super) enum Platform {
    /// 64-bit processors of Intel and AMD.
    #[schemars(rename = "linux/amd64")]
    Amd64,
    /// 64-bit processors of Arm, as AWS Graviton.
    #[schemars(rename = "linux/arm64")]
    Arm64,
}

#[derive(JsonSchema)]
pub(super) enum ComputeType {
    #[schemars(rename = "BUILD_GENERAL1_SMALL")]
    Small,
    #[schemars(rename = "BUILD_GENERAL1_MEDIUM")]
    Medium,
    #[schemars(rename = "BUILD_GENERAL1_LARGE")]
    Large,
    #[schemars(rename = "BUILD_GENERAL1_XLARGE")]
    Xlarge,
    #[schemars(rename = "BUILD_GENERAL1_2XLARGE")]
    Xxlarge,
}

/// The source: objects of the stack's bucket, or a CodeCommit repository.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum BuildSource {
    S3(S3Source),
    CodeCommit(CodeCommitSource),
}

/// Objects of the stack's bucket.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct S3Source {
    /// Which objects.
    s3: S3Keys,
}

/// Keys of the stack's bucket.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct S3Keys {
    /// The key of a zip archive, in which `*` matches anything.
    #[schemars(regex(pattern = "^(sources|uploads)/.*(\\.[zZ][iI][pP]|\\*)$"))]
    key: String,
}

/// A CodeCommit repository.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CodeCommitSource {
    /// Which repository, and what of it.
    code_commit: CodeCommit,
}

/// A CodeCommit repository, and some of its branches and tags.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CodeCommit {
    /// Its name.
    #[schemars(length(min = 1, max = 100), regex(pattern = "^[A-Za-z0-9._-]+$"))]
    repository_name: String,
    /// Patterns of branches, in which `*` matches anything.
    branches: Option<GitNames>,
    /// Patterns of tags, in which `*` matches anything.
    tags: Option<GitNames>,
}

/// Names of branches or tags, without `refs/heads/` and `refs/tags/`.
#[derive(JsonSchema)]
pub(super) struct GitNames(
    #[schemars(
        length(min = 1),
        inner(length(min = 1), regex(pattern = r"^(?!refs/|origin/|/)[^~^:?\[\\\s]+$"))
    )]
    Vec<String>,
);

/// An entry of a list of images in use: an image, or a list of them, as `jq -s` gathers lists.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum InUse {
    Image(UsedImage),
    Several(Vec<UsedImage>),
}

/// A list of images in use that says who wrote it, and what was read completely.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UsageListFile {
    /// The version of this form: 2.
    #[schemars(range(min = 2, max = 2))]
    format_version: u64,
    /// When its reading began. What is pushed later it cannot know.
    written_at: Instant,
    /// Who wrote it.
    written_by: Writer,
    /// The EKS cluster that it reports; none for a list of an account and Region.
    cluster: Option<String>,
    /// The EKS clusters that the account has in the Region. Each needs a list of its own.
    #[schemars(default)]
    eks_clusters: Vec<String>,
    /// What was read, and whether completely.
    #[schemars(length(min = 1))]
    sources: Vec<SourceReport>,
    /// What could not be read, and what to do. A source with a gap is not complete, whatever its status says.
    #[schemars(default)]
    gaps: Vec<UnreadableSource>,
    /// What runs although it is not known which image it is.
    #[schemars(default)]
    unknown_images: Vec<UnknownImage>,
    /// The images in use.
    images: Vec<UsedImage>,
}

/// A container of whose image only the tag is known. Every image of the repository that was there when it started is in use.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
pub(super) struct UnknownImage {
    /// The reference by which the image was pulled.
    reference: Reference,
    /// When it was started; none when that is not known either.
    started_at: Option<Instant>,
    /// What runs it.
    used_by: String,
}

/// An image in use: its reference, alone or with who uses it.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum UsedImage {
    Reference(Reference),
    Object(Used),
}

/// An image in use, and by what.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Used {
    /// The reference.
    image_uri: Reference,
    /// The user of the image.
    #[schemars(default)]
    used_by: Vec<String>,
}

/// A reference to an image: `repository:tag` or `repository@sha256:…`, behind a registry or not, or a digest alone.
pub(super) struct Reference;

impl JsonSchema for Reference {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Reference".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> schemars::Schema {
        let value: Value = json!({
            "description": "A reference to an image: `repository:tag` or `repository@sha256:…`, behind a registry or not, or a digest alone.",
            "type": "string",
            "minLength": 1,
            // Of what has a digest, the digest has all of its digits.
            "pattern": r"^[^\s@]+(@(sha256:[0-9a-fA-F]{64}|sha384:[0-9a-fA-F]{96}|sha512:[0-9a-fA-F]{128}))?$",
            "not": { "pattern": r"^(arn:|[sS][hH][aA]256:(?![0-9a-fA-F]{64}$))" },
        });
        schemars::Schema::try_from(value).unwrap_or_default()
    }
}
