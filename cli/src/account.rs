//! The AWS account that commands read and change: whose credentials, which Region, which stack, which repositories; and what to do
//! when one of them is not what it should be.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use shared::aws::pages::Pages;
use shared::aws::{AwsError, Connection, Failure as AwsFailure};
use shared::domain::enforcement::actor::Actor;
use shared::domain::lifecycle::matches_wildcard;
use shared::domain::repository::{Existing, Name};
use shared::workflows::enforcement::{AwsClients, RunContext, RunError};
use shared::workflows::live_preview::LiveError;

use crate::credentials::{Origin, Session, sign_in};
use crate::{Failure, complete, progress};

/// Timeout of one command.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(12 * 3600);
/// Timeout of the question who calls, when a call was refused.
pub(crate) const WHO_TIMEOUT: Duration = Duration::from_secs(10);
/// The default name of the stack.
pub(crate) const STACK: &str = "ecr-steward";

/// Why a command has no account to work on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountError {
    #[error(
        "there are no credentials: sign in (`aws sso login`, `aws configure`), set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
         name a profile with --profile{}", listed(.others)
    )]
    NoCredentials { others: Vec<String> },
    #[error(
        "the profile {profile} has no credentials: sign in (`aws sso login --profile {profile}`, `aws configure --profile {profile}`), \
         or name another one with --profile{}", listed(.others)
    )]
    NoProfileCredentials { profile: String, others: Vec<String> },
    #[error(
        "the profile {profile} has the `source_profile` {base}, which is not in the files of the AWS CLI (~/.aws/config, \
         ~/.aws/credentials)"
    )]
    NoSourceProfile { profile: String, base: String },
    #[error(
        "the profiles {} are each other's `source_profile`, and none has credentials: give one of them keys or a sign-in", .chain.join(", ")
    )]
    CircularProfiles { chain: Vec<String> },
    #[error("there are no credentials: {0}")]
    Credentials(String),
    #[error("the profile {profile} is not signed in: aws sso login --profile {profile}")]
    SsoLogin { profile: String },
    #[error("the profile {profile} is not signed in: aws login --profile {profile}")]
    AwsLogin { profile: String },
    #[error(
        "the program of `credential_process` of the profile {profile} gave no credentials: {program}: {problem}"
    )]
    Program { profile: String, program: String, problem: String },
    #[error(
        "the role of the profile {profile} asks for a second factor (`mfa_serial`), which only the AWS CLI asks for; hand its \
         credentials over: eval \"$(aws configure export-credentials --profile {profile} --format env)\""
    )]
    SecondFactor { profile: String },
    #[error("there is no profile `{name}` in the files of the AWS CLI (~/.aws/config, ~/.aws/credentials){}", listed(.known))]
    NoProfile { name: String, known: Vec<String> },
    #[error("--profile may be given once; `in-use` and `preview` take several, whose use they read together")]
    SeveralProfiles,
    #[error(
        "the role {role} cannot be assumed: {problem}; allow sts:AssumeRole on it, and have it trust who calls"
    )]
    Role { role: String, problem: String },
    #[error("the files of the AWS CLI are unreadable: {0}")]
    Profiles(String),
    #[error(
        "there is no Region: add --region, set AWS_REGION, or write it down with `aws configure set region`"
    )]
    Region,
    #[error("`{name}` (from {origin}) is no name of a Region; write one as eu-west-1")]
    NoRegionName { name: String, origin: Origin },
    #[error("no runtime: {0}")]
    Runtime(io::Error),
    #[error("{name} is no name of a repository: {}", Name::meant(name).map_or_else(|| problem.clone(), |meant| format!("write {meant}")))]
    Name { name: String, problem: String },
    #[error("there is no repository {name} in the registry of {region}{}", meant(.similar.as_ref()))]
    Missing { name: String, region: String, similar: Option<String> },
    #[error(
        "no repository of {region} is named like `{pattern}`; `ecr-steward images list '*'` has their names"
    )]
    NoMatch { pattern: String, region: String },
    #[error("name the repositories: --repository NAME (with * for any characters), or --all")]
    NothingNamed,
    #[error("there is no repository in the registry of {region}")]
    EmptyRegistry { region: String },
    /// A host that does not answer.
    #[error(
        "{operation}: {cause}, in the Region {region} (from {origin}): AWS cannot be reached there{hint}"
    )]
    Unreachable { operation: String, cause: String, region: String, origin: Origin, hint: String },
    /// A host that answers, and too slowly.
    #[error(
        "{operation}: {cause}, in the Region {region} (from {origin}); try again, and look at the network (proxy, VPN), \
         --endpoint-url and the state of AWS in that Region"
    )]
    Slow { operation: String, cause: String, region: String, origin: Origin },
    /// AWS knows the caller, who may not do this.
    #[error("{caller} is not allowed to do {action} in {region}{}: ask for that permission\n  {message}", on(.message))]
    Denied { caller: String, action: String, region: String, message: String },
    /// Requests are signed with a time that AWS does not take.
    #[error("the clock of this computer is wrong: AWS does not take its time: {message}\n  Set the clock")]
    Clock { message: String },
    /// AWS does not know the caller.
    #[error(
        "AWS does not take these credentials: {message}\n  Sign in again (`aws sso login`), or name another profile with --profile"
    )]
    NotSignedIn { message: String },
    #[error(
        "there is no bucket {bucket}; leave out --bucket and name the stack with --stack, whose bucket is then found"
    )]
    NoBucket { bucket: String },
    #[error(
        "there is no stack {name} in {region}: deploy it, or name another one with --stack; a command that has --bucket needs only the \
         bucket"
    )]
    NoStack { name: String, region: String },
    #[error("the stack {stack} has no output {output}: it is another stack, or of an older version")]
    NoOutput { stack: String, output: String },
    #[error(
        "--registry-id names another account's registry, which can only be looked at; sign in to that account to change something"
    )]
    ForeignRegistry,
}

fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!("; there are {}", names.join(", ")),
    }
}

fn meant(name: Option<&String>) -> String {
    name.map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

/// The resource of a refusal. AWS's message often contains it already, and then there is nothing to add.
fn on(message: &str) -> String {
    let resource =
        message.split_once("on resource: ").map(|(_, rest)| rest.split(' ').next().unwrap_or(rest));
    resource.map_or_else(String::new, |resource| format!(" on {resource}"))
}

/// Which account, Region and registry, said as with the AWS CLI.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "AWS")]
pub(crate) struct Aws {
    /// The Region; without it AWS_REGION, AWS_DEFAULT_REGION, or the profile's.
    #[arg(long, global = true, hide_short_help = true, value_name = "REGION", add = complete::region(), value_parser = NonEmptyStringValueParser::new())]
    pub(crate) region: Option<String>,

    /// A profile of the AWS CLI's files; takes precedence over keys in the environment.
    #[arg(long, global = true, hide_short_help = true, value_name = "NAME", add = complete::profile(), value_parser = NonEmptyStringValueParser::new())]
    pub(crate) profile: Vec<String>,

    /// The address of all services instead of AWS's own, as of an emulator.
    #[arg(long, global = true, hide_short_help = true, value_name = "URL", value_parser = url)]
    pub(crate) endpoint_url: Option<String>,

    /// The registry of another account, to be looked at.
    #[arg(long, global = true, hide_short_help = true, value_name = "ACCOUNT", value_parser = account_id)]
    pub(crate) registry_id: Option<String>,
}

impl Aws {
    /// Refuses another account's registry, where something may be changed.
    pub(crate) fn own_registry(&self) -> Result<(), Failure> {
        if self.registry_id.is_none() {
            return Ok(());
        }
        // Signing in tells the own account's.
        connected(self, async |connection| match connection.ecr_read().registry_id() {
            Some(_) => Err(AccountError::ForeignRegistry.into()),
            None => Ok(()),
        })
    }

    /// Refuses several profiles, where one account is worked on.
    pub(crate) fn one_profile(&self) -> Result<(), AccountError> {
        if self.profile.len() > 1 { Err(AccountError::SeveralProfiles) } else { Ok(()) }
    }

    /// The same for another profile, whose registry is its own.
    pub(crate) fn of_profile(&self, profile: &str) -> Self {
        Self { profile: vec![profile.to_owned()], registry_id: None, ..self.clone() }
    }
}

fn url(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match host {
        Some(host) if !host.is_empty() => Ok(text.to_owned()),
        _ => Err("write it with its protocol, as http://127.0.0.1:4566".to_owned()),
    }
}

fn account_id(text: &str) -> Result<String, String> {
    let is_id = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_id { Ok(text.to_owned()) } else { Err("an account has an id of 12 digits".to_owned()) }
}

/// The name of a bucket, also as `s3://NAME`.
pub(crate) fn bucket_name(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("s3://").unwrap_or(text).trim_end_matches('/');
    if name.is_empty() {
        return Err("name a bucket".to_owned());
    }
    let is_name = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'));
    match name.split_once('/') {
        Some((bucket, _)) => Err(format!("name the bucket alone: {bucket}")),
        None if is_name => Ok(name.to_owned()),
        None => Err("buckets have lower-case letters, digits, `-` and `.`".to_owned()),
    }
}

/// The deployed stack.
#[derive(Debug, Clone, Args)]
pub(crate) struct Stack {
    /// The name of the deployed stack.
    #[arg(long, value_name = "NAME", env = "ECR_STEWARD_STACK", default_value = STACK, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) stack: String,
}

/// The stack's bucket, by its own name or the stack's.
#[derive(Debug, Clone, Args)]
pub(crate) struct Bucket {
    /// The stack's bucket, where policies.yaml, lists of images in use, reports and the journal are.
    #[arg(long, value_name = "NAME", env = "ECR_STEWARD_BUCKET", value_parser = bucket_name)]
    pub(crate) bucket: Option<String>,

    /// The deployed stack, whose bucket is found; `ecr-steward` where a bucket is needed and none is named.
    #[arg(long, value_name = "NAME", env = "ECR_STEWARD_STACK", conflicts_with = "bucket", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) stack: Option<String>,
}

/// Where a command finds the stack's bucket.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// It needs none.
    Nowhere,
    Bucket(String),
    Stack(String),
}

impl Bucket {
    /// The bucket if one is named, or its stack.
    pub(crate) fn if_named(&self) -> Place {
        match (&self.bucket, &self.stack) {
            (Some(bucket), _) => Place::Bucket(bucket.clone()),
            (None, Some(stack)) => Place::Stack(stack.clone()),
            (None, None) => Place::Nowhere,
        }
    }

    /// The bucket that is named, or that of the stack with the usual name.
    pub(crate) fn needed(&self) -> Place {
        match self.if_named() {
            Place::Nowhere => Place::Stack(STACK.to_owned()),
            place => place,
        }
    }
}

/// Which repositories.
#[derive(Debug, Default, Args)]
#[group(required = false, multiple = false)]
pub(crate) struct Which {
    /// A repository of the account; may be given more than once, and have `*` for any characters.
    #[arg(long, value_name = "NAME", add = complete::repository())]
    pub(crate) repository: Vec<String>,

    /// All repositories of the account.
    #[arg(long)]
    pub(crate) all: bool,
}

impl Which {
    /// Whether the repositories are whatever the registry has: `--all`, or a pattern like `*` and `*/*`, which names no part of a name.
    pub(crate) fn is_of_any_name(&self) -> bool {
        let names_nothing =
            |pattern: &String| pattern.contains('*') && !pattern.chars().any(char::is_alphanumeric);
        self.all || self.repository.iter().any(names_nothing)
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.all && self.repository.is_empty()
    }
}

/// What work runs on: one thread.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, AccountError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AccountError::Runtime)
}

/// Does work over a connection, on one thread.
pub(crate) fn connected<T>(
    aws: &Aws,
    work: impl AsyncFnOnce(&Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    signed_in(aws, async |session| work(&session.connection).await)
}

/// The same for work that signs in elsewhere, too.
fn signed_in<T>(aws: &Aws, work: impl AsyncFnOnce(&Session) -> Result<T, Failure>) -> Result<T, Failure> {
    let done = runtime()?.block_on(async {
        progress::phase("signing in to AWS");
        let session = sign_in(aws).await?;
        match work(&session).await {
            Ok(done) => Ok(done),
            Err(failure) => Err(explained(failure, &session.connection, &session.origin).await),
        }
    });
    progress::clear();
    done
}

/// Does work in the account with the bucket that a command works with.
pub(crate) fn work<T>(
    aws: &Aws,
    place: &Place,
    work: impl AsyncFnOnce(RunContext<'_>, &Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    work_signed_in(aws, place, async |clients, session| work(clients, &session.connection).await)
}

/// The same for work that signs in elsewhere, too.
pub(crate) fn work_signed_in<T>(
    aws: &Aws,
    place: &Place,
    work: impl AsyncFnOnce(RunContext<'_>, &Session) -> Result<T, Failure>,
) -> Result<T, Failure> {
    signed_in(aws, async |session| {
        let connection = &session.connection;
        let bucket = match place {
            Place::Nowhere => String::new(),
            Place::Bucket(bucket) => bucket.clone(),
            Place::Stack(stack) => {
                let outputs = outputs(connection, stack).await?;
                output(&outputs, stack, "SourceBucketName")?
            }
        };
        progress::phase("reading from AWS");
        let clients = AwsClients::new(connection.clone(), bucket);
        // Who only looks changes nothing, not even what is remembered in the bucket.
        let clients = clients.clients(TIMEOUT);
        work(RunContext { writes_caches: false, is_pull_excluded: false, ..clients }, session).await
    })
}

/// The outputs of a stack.
pub(crate) async fn outputs(
    connection: &Connection,
    stack: &str,
) -> Result<BTreeMap<String, String>, Failure> {
    progress::phase(format!("looking for the stack {stack}"));
    let outputs = connection.cloudformation().outputs(stack).await?;
    let missing = || AccountError::NoStack { name: stack.to_owned(), region: connection.region().to_owned() };
    Ok(outputs.ok_or_else(missing)?)
}

/// One of the outputs of a stack.
pub(crate) fn output(
    outputs: &BTreeMap<String, String>,
    stack: &str,
    name: &str,
) -> Result<String, AccountError> {
    outputs
        .get(name)
        .cloned()
        .ok_or_else(|| AccountError::NoOutput { stack: stack.to_owned(), output: name.to_owned() })
}

/// Explains a failure to the person at the terminal: host, Region, caller, missing permission.
async fn explained(failure: Failure, connection: &Connection, origin: &Origin) -> Failure {
    let error = match &failure {
        Failure::Run(RunError::Aws(error) | RunError::Time(error))
        | Failure::Live(LiveError::RunError(RunError::Aws(error) | RunError::Time(error))) => error,
        _ => return failure,
    };
    match diagnosis(error, connection, origin).await {
        Some(diagnosis) => diagnosis.into(),
        None => failure,
    }
}

/// Explains the failure of one call; `None` if there is nothing to add.
pub(crate) async fn diagnosis(
    error: &AwsError,
    connection: &Connection,
    origin: &Origin,
) -> Option<AccountError> {
    let region = connection.region().to_owned();
    match error.failure {
        AwsFailure::Unreachable => {
            let hint = match region_like(&region) {
                Some(known) => format!("; did you mean {known}?"),
                None => "; look at the network, the Region and --endpoint-url".to_owned(),
            };
            Some(AccountError::Unreachable {
                operation: error.operation.to_string(),
                cause: error.message.clone(),
                region,
                origin: origin.clone(),
                hint,
            })
        }
        AwsFailure::TimedOut => Some(AccountError::Slow {
            operation: error.operation.to_string(),
            cause: connection.last_unanswered().unwrap_or_else(|| error.failure.to_string()),
            region,
            origin: origin.clone(),
        }),
        AwsFailure::Credentials => Some(not_signed_in(&error.message)),
        AwsFailure::Denied => {
            progress::phase("asking who calls");
            // Everybody may ask this: a refusal means that the credentials are none.
            let answered = tokio::time::timeout(WHO_TIMEOUT, connection.sts().caller()).await;
            match answered {
                Ok(Err(refused))
                    if matches!(refused.failure, AwsFailure::Denied | AwsFailure::Credentials) =>
                {
                    let message = if refused.message.is_empty() { &error.message } else { &refused.message };
                    Some(not_signed_in(message))
                }
                answered => {
                    let caller = answered
                        .ok()
                        .and_then(Result::ok)
                        .map_or_else(|| "this caller".to_owned(), |who| who.arn);
                    Some(AccountError::Denied {
                        caller,
                        action: action(error),
                        region,
                        message: error.to_string(),
                    })
                }
            }
        }
        AwsFailure::NotFound if error.message.contains("bucket does not exist") => {
            let bucket = error.message.strip_prefix("s3://").and_then(|rest| rest.split(['/', ':']).next());
            Some(AccountError::NoBucket { bucket: bucket.unwrap_or_default().to_owned() })
        }
        _ => None,
    }
}

/// Why AWS does not take the credentials: a signature has a time, so that a wrong clock is told from credentials that are none.
fn not_signed_in(message: &str) -> AccountError {
    let is_clock = ["Signature not yet current", "Signature expired", "request time and the current time"];
    let message = message.to_owned();
    match is_clock.iter().any(|words| message.contains(words)) {
        true => AccountError::Clock { message },
        false => AccountError::NotSignedIn { message },
    }
}

/// The IAM action of a refused call: from AWS's message, or from the name of the operation.
pub(crate) fn action(error: &AwsError) -> String {
    let message = error.message.split_once("not authorized to perform: ").map(|(_, rest)| rest);
    if let Some(action) =
        message.and_then(|rest| rest.split([' ', ',']).next()).filter(|action| action.contains(':'))
    {
        return action.to_owned();
    }
    match &*error.operation {
        "ListObjectsV2" => "s3:ListBucket".to_owned(),
        "HeadObject" => "s3:GetObject".to_owned(),
        operation @ ("GetObject" | "PutObject" | "DeleteObject") => format!("s3:{operation}"),
        operation @ ("ListFunctions" | "GetFunction" | "ListVersionsByFunction" | "ListAliases") => {
            format!("lambda:{operation}")
        }
        operation @ "DescribeStacks" => format!("cloudformation:{operation}"),
        operation @ "GetLogEvents" => format!("logs:{operation}"),
        operation @ "GetResources" => format!("tag:{operation}"),
        operation if operation.contains(' ') => "execute-api:Invoke".to_owned(),
        operation if ["Cluster", "Service", "Task", "Daemon"].iter().any(|part| operation.contains(part)) => {
            format!("ecs:{operation}")
        }
        operation => format!("ecr:{operation}"),
    }
}

/// The Regions that are known, to suggest the one that a mistyped name resembles. Other Regions work as well.
pub(crate) const REGIONS: [&str; 38] = [
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-west-1",
    "us-west-2",
];

/// The Region that a name is probably meant to be, if there is none of that name.
pub(crate) fn region_like(name: &str) -> Option<&'static str> {
    if REGIONS.contains(&name) {
        return None;
    }
    like(name, REGIONS)
}

/// Which of these names one is probably meant to be.
pub(crate) fn like<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distances = known.into_iter().map(|known| (strsim::damerau_levenshtein(name, known), known));
    distances.min().filter(|(distance, _)| *distance <= 2.max(name.len() / 5)).map(|(_, known)| known)
}

/// The user of this terminal, as far as the system knows.
pub(crate) fn actor() -> Actor {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let of_kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = of_kernel().or_else(|| variable("HOSTNAME")).or_else(|| variable("COMPUTERNAME"));
    Actor {
        user: variable("USER").or_else(|| variable("USERNAME")),
        host: host.map(|host| host.trim().to_owned()).filter(|host| !host.is_empty()),
        ..Actor::default()
    }
}

/// The repositories that are named, or all of them; at least one.
pub(crate) async fn repositories(clients: &RunContext<'_>, which: &Which) -> Result<Vec<Existing>, Failure> {
    let region = || clients.region.to_owned();
    if which.is_empty() {
        return Err(AccountError::NothingNamed.into());
    }
    progress::phase("listing repositories");
    let has_patterns = which.repository.iter().any(|name| name.contains('*'));
    let all = if which.all || has_patterns { all(clients).await? } else { Vec::new() };
    if which.all {
        return match all.is_empty() {
            true => Err(AccountError::EmptyRegistry { region: region() }.into()),
            false => Ok(all),
        };
    }
    let mut found: Vec<Existing> = Vec::new();
    for text in &which.repository {
        let matching = if text.contains('*') {
            let matching: Vec<Existing> =
                all.iter().filter(|repository| matches_wildcard(text, &repository.name)).cloned().collect();
            if matching.is_empty() {
                return Err(AccountError::NoMatch { pattern: text.clone(), region: region() }.into());
            }
            matching
        } else {
            let name = Name::parse(text)
                .map_err(|error| AccountError::Name { name: text.clone(), problem: error.to_string() })?;
            match clients.ecr.repositories_named(std::slice::from_ref(&name)).await {
                Ok(repositories) if !repositories.iter().any(|found| found.name == name.as_str()) => {
                    return Err(missing(clients, text).await.into());
                }
                Ok(repositories) => repositories,
                Err(error) if error.failure == AwsFailure::NotFound => {
                    return Err(missing(clients, text).await.into());
                }
                Err(error) => return Err(error.into()),
            }
        };
        for repository in matching {
            if !found.iter().any(|known| known.name == repository.name) {
                found.push(repository);
            }
        }
    }
    Ok(found)
}

/// All repositories of the registry.
pub(crate) async fn all(clients: &RunContext<'_>) -> Result<Vec<Existing>, AwsError> {
    let mut all = Vec::new();
    let mut pages = Pages::new("DescribeRepositories");
    loop {
        let page = clients.ecr.repositories(None, pages.token()).await?;
        all.extend(page.repositories);
        progress::phase(format!("listing repositories: {}", all.len()));
        if !pages.follow(page.next_token)? {
            return Ok(all);
        }
    }
}

/// The error for a missing repository, with the name that is probably meant.
async fn missing(clients: &RunContext<'_>, name: &str) -> AccountError {
    let region = clients.region.to_owned();
    // Without permission to list, the error says only that there is none.
    let known = clients.ecr.repositories(None, None).await.map(|page| page.repositories).unwrap_or_default();
    let similar = like(name, known.iter().map(|repository| repository.name.as_str())).map(str::to_owned);
    let similar = similar.or_else(|| Name::meant(name).map(|meant| meant.to_string()));
    AccountError::Missing { name: name.to_owned(), region, similar }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_region_is_distinguished_from_one_that_is_unreachable() {
        assert_eq!(region_like("eu-wset-1"), Some("eu-west-1"));
        assert_eq!(region_like("eu-west-1"), None);
        assert_eq!(region_like("mars-north-7"), None);
    }

    #[test]
    fn a_bucket_may_be_named_as_its_address() {
        assert_eq!(bucket_name("s3://steward-1/").as_deref(), Ok("steward-1"));
        assert_eq!(
            bucket_name("s3://steward-1/policies.yaml"),
            Err("name the bucket alone: steward-1".to_owned())
        );
        assert!(bucket_name("").is_err() && bucket_name("Steward").is_err());
    }

    #[test]
    fn a_wrong_clock_is_not_mistaken_for_missing_credentials() {
        let skewed = "Signature not yet current: 20261126T200000Z is still later than 20261126T180500Z (20261126T180000Z + 5 min.)";
        assert!(not_signed_in(skewed).to_string().contains("Set the clock"));
        assert!(
            not_signed_in("The security token included in the request is expired")
                .to_string()
                .contains("Sign in again")
        );
    }

    #[test]
    fn a_refusal_names_the_action_of_iam() {
        let error = |operation: &'static str, message: &str| AwsError {
            operation: operation.into(),
            failure: AwsFailure::Denied,
            message: message.to_owned(),
            in_flight: false,
        };
        let message = "User: arn:aws:iam::1:user/ana is not authorized to perform: ecr:DescribeImages on resource: arn:x because";
        assert_eq!(action(&error("DescribeImages", message)), "ecr:DescribeImages");
        assert_eq!(action(&error("ListObjectsV2", "Access Denied")), "s3:ListBucket");
        assert_eq!(action(&error("DescribeTasks", "")), "ecs:DescribeTasks");
        assert_eq!(action(&error("POST /repositories", "Forbidden")), "execute-api:Invoke");
        assert_eq!(on(message), " on arn:x");
    }
}
