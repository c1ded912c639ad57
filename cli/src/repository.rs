//! `ecr-steward repository`: repositories in a line, by the deployed stack.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Map, Value, json};
use shared::aws::Connection;
use shared::aws::http_api::path;
use shared::aws::pages::Pages;
use shared::domain::lifecycle::{LifecyclePolicy, PolicySource};
use shared::domain::repository::ownership::is_reserved;
use shared::domain::repository::{Name, PullAccess, Registry};
use shared::domain::text::printable::on_one_line;

use crate::account::{self, Aws, Stack};
use crate::api::Api;
use crate::compile::read_policy;
use crate::confirm::confirm;
use crate::input::{self, InputError, MAX_POLICY_BYTES};
use crate::{Failure, Outcome, complete, output};

/// Create, list, show, change and delete repositories, by the deployed stack
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward repository create shop/web
  ecr-steward repository list
  ecr-steward repository update shop/web --immutable
  ecr-steward repository delete shop/old")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(Create),
    List(List),
    Show(Show),
    Update(Update),
    Delete(Delete),
}

/// Create a repository, and print its URI: in a line what a stack of CloudFormation or Pulumi is for
///
/// One that exists as it is asked for is as good as a new one. Without a policy it keeps one untagged image; in-use protection comes
/// first in every policy.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward repository create shop/web
  ecr-steward repository create shop/web --immutable --scan-on-push --resource-tag team=shop
  ecr-steward repository create shop/web --lifecycle-policy policy.yaml
  docker push $(ecr-steward repository create shop/web):v1")]
struct Create {
    /// The repository.
    #[arg(value_name = "NAME", value_parser = name)]
    name: Name,

    #[command(flatten)]
    settings: Settings,

    #[command(flatten)]
    stack: Stack,
}

/// List the repositories
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward repository list
  ecr-steward repository list --output json | jq --raw-output '.[].repositoryUri'")]
struct List {
    #[command(flatten)]
    stack: Stack,

    /// How to print.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: output::Format,
}

/// Print a repository with its policies and tags
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward repository show shop/web
  ecr-steward repository show shop/web --output json | jq '.commands.push'")]
struct Show {
    /// The repository.
    #[arg(value_name = "NAME", value_parser = name, add = complete::repository())]
    name: Name,

    #[command(flatten)]
    stack: Stack,

    /// How to print.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: output::Format,
}

/// Change what differs from what is asked for, and print what was changed
///
/// What no option names stays as it is: other resource tags and other accounts that may pull too, and a lifecycle policy of somebody
/// else's. A file says all of it: what is not in the file gets its default.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("what").required(true).multiple(true).args(WHAT)),
    // Otherwise the line of the usage lists every option, of which one is needed.
    override_usage = "ecr-steward repository update [OPTIONS] <NAME>",
    after_help = "Examples:
  ecr-steward repository update shop/web --immutable
  ecr-steward repository update shop/web --resource-tag team=shop --pull-account 210987654321
  ecr-steward repository update shop/web --file repository.yaml"
)]
struct Update {
    /// The repository.
    #[arg(value_name = "NAME", value_parser = name, add = complete::repository())]
    name: Name,

    #[command(flatten)]
    settings: Settings,

    #[command(flatten)]
    stack: Stack,
}

/// Delete a repository
///
/// One that has images is kept unless --force deletes them with it. What is in use is kept all the same, and the repository with it:
/// --in-use says that you know. Every image is in the journal before, but ECR deletes the layers with the repository, so that `images
/// restore` cannot put them back: it says what was there, and how to copy it from a replica. Images that are deleted first, by `images
/// delete`, come back as long as ECR has their layers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward repository delete shop/old
  ecr-steward repository delete shop/old --force
  ecr-steward repository delete shop/old --force --yes   # in a script")]
struct Delete {
    /// The repository.
    #[arg(value_name = "NAME", value_parser = name, add = complete::repository())]
    name: Name,

    /// Delete its images with it.
    #[arg(long)]
    force: bool,

    /// Delete also what is in use, or may be.
    #[arg(long, requires = "force")]
    in_use: bool,

    /// Do not ask.
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    stack: Stack,
}

/// The options of [`Settings`].
const WHAT: [&str; 8] = [
    "file",
    "immutable",
    "scan_on_push",
    "lifecycle_policy",
    "no_lifecycle_policy",
    "kms_key",
    "resource_tag",
    "pull_account",
];

/// The settings of a repository.
#[derive(Debug, Args)]
struct Settings {
    /// All fields in YAML or JSON, as `POST /repositories` takes them; the options below go before. `-` is standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Tags cannot be moved to another image.
    #[arg(long)]
    immutable: bool,

    /// Images are scanned when they are pushed.
    #[arg(long)]
    scan_on_push: bool,

    /// The lifecycle policy: ECR's JSON document, or the simple model in YAML or JSON; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    lifecycle_policy: Option<PathBuf>,

    /// No lifecycle policy, not the default one either.
    #[arg(long, conflicts_with = "lifecycle_policy")]
    no_lifecycle_policy: bool,

    /// A key of AWS KMS that images are encrypted with, by its id or ARN; only of a new repository.
    #[arg(long, value_name = "KEY")]
    kms_key: Option<String>,

    /// A resource tag; may be given more than once.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    resource_tag: Vec<(String, String)>,

    /// Another account whose roles may pull; may be given more than once.
    #[arg(long, value_name = "ACCOUNT")]
    pull_account: Vec<String>,
}

pub(crate) fn name(text: &str) -> Result<Name, String> {
    Name::parse(text).map_err(|error| error.to_string())
}

/// A pair like `NAME=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

/// Why a repository is not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RepositoryError {
    #[error(
        "{name} has a repository policy of its own, which --pull-account would replace, and nothing was changed: `ecr-steward repository \
         show {name}` has it; write what it is to be into the field `repositoryPolicyText` or `pullAccess` of a --file"
    )]
    OwnPolicy { name: Name },
}

impl Settings {
    /// The body of a request that says all of a repository: the file, and the options before it.
    fn whole(&self) -> Result<Value, Failure> {
        let mut body = match &self.file {
            None => Map::new(),
            Some(path) => {
                let text = input::read(path, MAX_POLICY_BYTES)?;
                let content = |problem: String| InputError::Content { file: input::name(path), problem };
                // YAML has JSON in it.
                match serde_saphyr::from_str(&text).map_err(|error| content(error.to_string()))? {
                    Value::Object(fields) => fields,
                    _ => {
                        return Err(
                            content("write an object with the fields of a repository".to_owned()).into()
                        );
                    }
                }
            }
        };
        let options = self.options()?;
        if options.contains_key("imageTagMutability") {
            // For them the opposite would hold now.
            body.remove("imageTagMutabilityExclusionFilters");
        }
        for (one, other) in
            [("lifecyclePolicy", "lifecyclePolicyText"), ("repositoryPolicyText", "pullAccess")]
        {
            if options.contains_key(one) || options.contains_key(other) {
                body.remove(one);
                body.remove(other);
            }
        }
        body.extend(options);
        Ok(body.into())
    }

    /// The fields that options name.
    fn options(&self) -> Result<Map<String, Value>, Failure> {
        let mut body = Map::new();
        if self.immutable {
            body.insert("imageTagMutability".to_owned(), json!("IMMUTABLE"));
        }
        if self.scan_on_push {
            body.insert("imageScanningConfiguration".to_owned(), json!({ "scanOnPush": true }));
        }
        if let Some(key) = &self.kms_key {
            body.insert(
                "encryptionConfiguration".to_owned(),
                json!({ "encryptionType": "KMS", "kmsKey": key }),
            );
        }
        if !self.resource_tag.is_empty() {
            let tags: Vec<Value> = self.resource_tag.iter().map(|(key, value)| tag(key, value)).collect();
            body.insert("tags".to_owned(), tags.into());
        }
        if !self.pull_account.is_empty() {
            body.insert("pullAccess".to_owned(), json!({ "accountIds": self.pull_account }));
        }
        if self.no_lifecycle_policy {
            body.insert("lifecyclePolicy".to_owned(), json!({ "skip": true }));
        }
        if let Some(path) = &self.lifecycle_policy {
            let source = read_policy(path)?;
            match source.policy() {
                Some(policy) => body.insert("lifecyclePolicyText".to_owned(), json!(policy.to_json())),
                None => body.insert("lifecyclePolicy".to_owned(), json!({ "skip": true })),
            };
        }
        Ok(body)
    }

    /// Whether what is asked for adds to what the repository has.
    const fn adds(&self) -> bool {
        !self.resource_tag.is_empty() || !self.pull_account.is_empty()
    }

    /// The body of a request that changes only what options name, of a repository as the API shows it: its other tags and accounts
    /// stay.
    fn part(&self, name: &Name, repository: &Value) -> Result<Value, Failure> {
        let mut body = self.options()?;
        if !self.resource_tag.is_empty() {
            let before = repository["tags"].as_array().into_iter().flatten();
            let before = before.filter_map(|tag| Some((tag["Key"].as_str()?, tag["Value"].as_str()?)));
            let mut tags: BTreeMap<&str, &str> = before.filter(|(key, _)| !is_reserved(key)).collect();
            tags.extend(self.resource_tag.iter().map(|(key, value)| (key.as_str(), value.as_str())));
            let tags: Vec<Value> = tags.into_iter().map(|(key, value)| tag(key, value)).collect();
            body.insert("tags".to_owned(), tags.into());
        }
        if !self.pull_account.is_empty() {
            let mut access =
                pull_access(repository).ok_or_else(|| RepositoryError::OwnPolicy { name: name.clone() })?;
            access.account_ids.extend(self.pull_account.iter().cloned());
            let mut asked = json!({ "accountIds": access.account_ids, "lambda": access.lambda });
            if let Some(organization) = access.organization_id {
                asked["organizationId"] = organization.into();
            }
            body.insert("pullAccess".to_owned(), asked);
        }
        Ok(body.into())
    }
}

fn tag(key: &str, value: &str) -> Value {
    json!({ "Key": key, "Value": value })
}

/// Who may pull from a repository as the API shows it; `None` if its policy is one that somebody wrote.
fn pull_access(repository: &Value) -> Option<PullAccess> {
    let Some(policy) = repository["repositoryPolicyText"].as_str() else {
        return Some(PullAccess::default());
    };
    let registry = Registry::of_arn(repository["repositoryArn"].as_str()?).ok()?;
    PullAccess::of_policy(policy, &registry)
}

pub(crate) fn run(arguments: &Arguments, aws: &Aws) -> Result<Outcome, Failure> {
    match &arguments.command {
        Command::Create(create) => {
            let body = create.settings.whole()?;
            aws.own_registry()?;
            let made = account::connected(aws, async |connection| {
                let api = Api::of(connection, &create.stack.stack).await?;
                let path = path(&["repositories", create.name.as_str()]);
                api.ask("POST /repositories/{name}", &path, Some(&body)).await
            })?;
            let is_new = made.status == 201;
            output::note(&format!(
                "{} {}",
                create.name,
                if is_new { "is created" } else { "exists already, as asked for" }
            ));
            output::line(
                made.body.pointer("/repository/repositoryUri").and_then(Value::as_str).unwrap_or_default(),
            )?;
        }
        Command::List(list) => {
            let all = account::connected(aws, async |connection| all(connection, &list.stack.stack).await)?;
            match list.output {
                output::Format::Json => output::value(&all)?,
                output::Format::Text => {
                    let mut out = output::text();
                    for repository in &all {
                        writeln!(out, "{}", repository["repositoryName"].as_str().unwrap_or_default())?;
                    }
                    out.flush()?;
                }
            }
        }
        Command::Show(show) => {
            let shown = account::connected(aws, async |connection| {
                let api = Api::of(connection, &show.stack.stack).await?;
                api.ask("GET /repositories/{name}", &path(&["repositories", show.name.as_str()]), None).await
            })?;
            match show.output {
                output::Format::Json => output::value(&shown.body)?,
                output::Format::Text => print(&shown.body)?,
            }
        }
        Command::Update(update) => {
            aws.own_registry()?;
            let changed = account::connected(aws, async |connection| {
                let api = Api::of(connection, &update.stack.stack).await?;
                let path = path(&["repositories", update.name.as_str()]);
                if update.settings.file.is_some() {
                    let body = update.settings.whole()?;
                    return api.ask("PUT /repositories/{name}", &path, Some(&body)).await;
                }
                let shown = match update.settings.adds() {
                    true => api.ask("GET /repositories/{name}", &path, None).await?.body,
                    false => Value::Null,
                };
                let body = update.settings.part(&update.name, &shown["repository"])?;
                api.ask("PATCH /repositories/{name}", &path, Some(&body)).await
            })?;
            let changes = changed.body["changes"].as_array().cloned().unwrap_or_default();
            let mut out = output::text();
            for change in &changes {
                let value = |name: &str| match &change[name] {
                    Value::Null => "none".to_owned(),
                    Value::String(text) => on_one_line(&compact(text)).into_owned(),
                    other => other.to_string(),
                };
                writeln!(out, "{}: {} → {}", value("field"), value("from"), value("to"))?;
            }
            out.flush()?;
            if changes.is_empty() {
                output::note(&format!("{} is as asked for already", update.name));
            }
        }
        Command::Delete(delete) => {
            aws.own_registry()?;
            // A repository of this name that is made later has none of the layers.
            let with = if delete.force {
                " with all its images. The journal keeps their manifests, but ECR deletes their layers with the repository: only a replica \
                 or another build brings an image back. Where a way back may be needed, delete the images first (`ecr-steward images \
                 delete`), and the repository later"
            } else {
                ""
            };
            let what = format!("The repository {} will be deleted{with}", delete.name);
            confirm(&what, delete.name.as_str(), delete.yes)?;
            account::connected(aws, async |connection| {
                let api = Api::of(connection, &delete.stack.stack).await?;
                let query = match (delete.force, delete.in_use) {
                    (true, true) => "?force=true&inUse=true",
                    (true, false) => "?force=true",
                    (false, _) => "",
                };
                let path = format!("{}{query}", path(&["repositories", delete.name.as_str()]));
                api.ask("DELETE /repositories/{name}", &path, None).await
            })?;
            output::note(&format!("{} is deleted", delete.name));
        }
    }
    Ok(Outcome::Success)
}

/// JSON without the white space that is for people.
fn compact(json: &str) -> String {
    serde_json::from_str::<Value>(json).map_or_else(|_| json.to_owned(), |value| value.to_string())
}

/// Who may pull besides roles of the repository's own account, in words; a policy that somebody wrote as it is.
fn pullers(repository: &Value) -> String {
    let Some(PullAccess { account_ids, organization_id, lambda }) = pull_access(repository) else {
        return compact(repository["repositoryPolicyText"].as_str().unwrap_or_default());
    };
    let accounts = account_ids.into_iter().map(|id| format!("the account {id}"));
    let organization = organization_id.map(|id| format!("the organisation {id}"));
    let lambda = lambda.then(|| "AWS Lambda".to_owned());
    let all: Vec<String> = accounts.chain(organization).chain(lambda).collect();
    if all.is_empty() { "the own account only".to_owned() } else { all.join(", ") }
}

/// All repositories, as the API lists them.
async fn all(connection: &Connection, stack: &str) -> Result<Vec<Value>, Failure> {
    let api = Api::of(connection, stack).await?;
    let mut all = Vec::new();
    let mut query = "?maxResults=1000".to_owned();
    let mut pages = Pages::new("GET /repositories");
    loop {
        let page = api.ask("GET /repositories", &format!("/repositories{query}"), None).await?;
        all.extend(page.body["repositories"].as_array().cloned().unwrap_or_default());
        pages.follow(page.body["nextToken"].as_str().map(str::to_owned))?;
        let Some(token) = pages.token() else { return Ok(all) };
        query = format!("?maxResults=1000&nextToken={}", shared::aws::http_api::escaped(token));
    }
}

/// A repository for people: a line for each field, and its lifecycle policy rule by rule.
fn print(shown: &Value) -> Result<(), Failure> {
    let repository = &shown["repository"];
    let mut out = output::text();
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let lines = [
        ("URI", &repository["repositoryUri"]),
        ("Created", &repository["createdAt"]),
        ("Tags of images", &repository["imageTagMutability"]),
        ("Scan on push", &repository["imageScanningConfiguration"]["scanOnPush"]),
        ("Encryption", &repository["encryptionConfiguration"]["encryptionType"]),
    ];
    /// Characters of a label.
    const LABEL: usize = 16;
    let mut line = |label: &str, words: &str| {
        output::paragraph(&mut out, &format!("{label:LABEL$}"), &on_one_line(words), LABEL)
    };
    for (label, value) in lines {
        line(label, &text(value))?;
    }
    line("Pulled by", &pullers(repository))?;
    for tag in repository["tags"].as_array().into_iter().flatten() {
        line("Resource tag", &format!("{}={}", text(&tag["Key"]), text(&tag["Value"])))?;
    }
    let policy = repository["lifecyclePolicyText"].as_str();
    match policy.map(PolicySource::parse) {
        None => line("Lifecycle", "none")?,
        Some(Err(_)) => line("Lifecycle", &text(&repository["lifecyclePolicyText"]))?,
        Some(Ok(source)) => {
            for rule in source.policy().into_iter().flat_map(LifecyclePolicy::rules) {
                line("Lifecycle", &rule.to_string())?;
            }
        }
    }
    let status = &repository["lifecyclePolicyStatus"];
    if !status.is_null() {
        let reason = repository["lifecyclePolicyStatusReason"].as_str();
        line("", &reason.map_or_else(|| text(status), |reason| format!("{}: {reason}", text(status))))?;
    }
    let commands = shown["commands"].as_object();
    for (name, command) in commands.into_iter().flatten() {
        // It is copied, and stays in one piece.
        writeln!(out, "{:LABEL$}{}", format!("To {name}"), on_one_line(&text(command)))?;
    }
    out.flush()?;
    Ok(())
}
