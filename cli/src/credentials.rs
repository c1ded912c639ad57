//! Credentials and Region, from the SDK's own chain, so that profiles, single sign-on, roles, containers and instances work as
//! with the AWS CLI, and are refreshed during a command of hours.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::imds;
use aws_config::meta::region::ProvideRegion;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider, ProfileSet, load};
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_runtime::env_config::EnvConfigValue;
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_types::os_shim_internal::{Env, Fs};
use shared::aws::{ConfiguredEndpoints, Connection, Transport, http_client};
use tokio::sync::Mutex;

use crate::account::{AccountError, Aws, WHO_TIMEOUT};

/// Time before the expiry of credentials at which they are refreshed.
const MARGIN: Duration = Duration::from_secs(300);
/// The metadata service of an instance is next door, or not there.
const IMDS: Duration = Duration::from_secs(1);

/// The variables that name the Region, the first before the second.
const REGION_VARIABLES: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

/// What CloudTrail calls the sessions of roles that are assumed here.
const SESSION_NAME: &str = "ecr-steward";

/// The origin of the Region, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Option,
    /// A variable of the environment, by its name.
    Variable(&'static str),
    Profile,
    Instance,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Option => "--region",
            Self::Variable(name) => name,
            Self::Profile => "the profile",
            Self::Instance => "the instance",
        })
    }
}

/// A signed-in user: credentials and a Region.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connection: Connection,
    pub(crate) origin: Origin,
    credentials: SharedCredentialsProvider,
    endpoints: ConfiguredEndpoints,
}

/// Keeps what the chain found: asking it may start a program, or ask a server.
#[derive(Debug)]
struct Kept {
    chain: SharedCredentialsProvider,
    found: Mutex<Option<Credentials>>,
}

impl Kept {
    async fn current(&self) -> Result<Credentials, CredentialsError> {
        let mut found = self.found.lock().await;
        let left = |credentials: &Credentials| match credentials.expiry() {
            Some(expiry) => expiry.duration_since(SystemTime::now()).unwrap_or_default(),
            None => Duration::MAX,
        };
        if let Some(kept) = found.as_ref()
            && left(kept) > MARGIN
        {
            return Ok(kept.clone());
        }
        match self.chain.provide_credentials().await {
            Ok(credentials) => Ok(found.insert(credentials).clone()),
            // What there is holds a little longer.
            Err(error) => match found.as_ref() {
                Some(kept) if !left(kept).is_zero() => Ok(kept.clone()),
                _ => Err(error),
            },
        }
    }
}

impl ProvideCredentials for Kept {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.current())
    }
}

/// Signs in: finds a Region, and credentials that are there now.
pub(crate) async fn sign_in(aws: &Aws) -> Result<Session, AccountError> {
    let environment = ProviderConfig::without_region();
    let profiles = profiles(aws).await?;
    let mut region = aws.region.clone().map(|region| (Region::new(region), Origin::Option));
    if region.is_none() {
        // A variable that is empty says nothing, as with the AWS CLI.
        region = REGION_VARIABLES.into_iter().find_map(|name| {
            let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
            Some((Region::new(value), Origin::Variable(name)))
        });
    }
    if region.is_none() {
        let mut provider = ProfileFileRegionProvider::builder().configure(&environment);
        if let Some(profile) = aws.profile.first() {
            provider = provider.profile_name(profile);
        }
        region = provider.build().region().await.map(|region| (region, Origin::Profile));
    }
    let name = region.as_ref().map(|(region, _)| region.to_string()).unwrap_or_default();
    let config = environment
        .with_http_client(http_client(&name))
        .with_region(region.as_ref().map(|(region, _)| region.clone()));
    let metadata = imds::Client::builder()
        .configure(&config)
        .max_attempts(1)
        .connect_timeout(IMDS)
        .read_timeout(IMDS)
        .build();
    let chain = match aws.profile.first() {
        // A named profile takes precedence over keys in the environment, as with the AWS CLI.
        Some(profile) => SharedCredentialsProvider::new(
            ProfileFileCredentialsProvider::builder().configure(&config).profile_name(profile).build(),
        ),
        None => {
            // Roles are assumed somewhere; without a Region, where the AWS CLI does.
            let somewhere =
                region.as_ref().map_or(Region::from_static("us-east-1"), |(region, _)| region.clone());
            let chain = DefaultCredentialsChain::builder().configure(config.clone()).region(somewhere);
            SharedCredentialsProvider::new(chain.imds_client(metadata.clone()).build().await)
        }
    };
    let kept = Kept { chain, found: Mutex::default() };
    kept.current().await.map_err(|error| refused(&error, &profiles))?;
    let region = match region {
        Some(found) => Some(found),
        None => {
            let instance = imds::region::ImdsRegionProvider::builder();
            let found = instance.configure(&config).imds_client(metadata).build().region().await;
            found.map(|region| (region, Origin::Instance))
        }
    };
    let (region, origin) = region.ok_or(AccountError::Region)?;
    if !region.as_ref().bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    {
        return Err(AccountError::NoRegionName { name: region.to_string(), origin });
    }
    let credentials = SharedCredentialsProvider::new(kept);
    let transport = Transport::of_terminal(region.as_ref(), aws.endpoint_url.as_deref(), credentials.clone());
    let endpoints = profiles.endpoints();
    let connection = Connection::over(transport.with_endpoints(endpoints.clone()));
    let mut registry_id = aws.registry_id.clone();
    // The registry of the own account needs no name; with one it would be taken for another account's.
    if let Some(named) = &aws.registry_id
        && let Ok(Ok(caller)) = tokio::time::timeout(WHO_TIMEOUT, connection.sts().caller()).await
        && caller.account_id == *named
    {
        registry_id = None;
    }
    let connection = connection.of_registry(registry_id);
    Ok(Session { connection, origin, credentials, endpoints })
}

/// Assumes a role with the credentials of somebody who has signed in, in the same Region.
pub(crate) async fn assume(session: &Session, aws: &Aws, role: &str) -> Result<Session, AccountError> {
    let region = session.connection.region();
    let mut config = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .http_client(http_client(region))
        .credentials_provider(session.credentials.clone());
    if let Some(url) = &aws.endpoint_url {
        config = config.endpoint_url(url);
    }
    let chain = AssumeRoleProvider::builder(role)
        .session_name(SESSION_NAME)
        .configure(&config.load().await)
        .build()
        .await;
    let kept = Kept { chain: SharedCredentialsProvider::new(chain), found: Mutex::default() };
    kept.current().await.map_err(|error| {
        let problem = root(&error).to_string();
        AccountError::Role { role: role.to_owned(), problem }
    })?;
    let credentials = SharedCredentialsProvider::new(kept);
    let transport = Transport::of_terminal(region, aws.endpoint_url.as_deref(), credentials.clone());
    let endpoints = session.endpoints.clone();
    let connection = Connection::over(transport.with_endpoints(endpoints.clone()));
    Ok(Session { connection, origin: session.origin.clone(), credentials, endpoints })
}

/// What an error was caused by in the first place.
fn root<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

/// The profiles of the AWS CLI's files.
pub(crate) struct Profiles {
    /// Their names, in ascending order.
    pub(crate) known: Vec<String>,
    /// The one that is used.
    used: String,
    /// Whether somebody named it.
    is_named: bool,
    set: ProfileSet,
}

impl Profiles {
    /// The endpoints of services as the AWS CLI finds them: in the environment, then in the `services` of the profile, then in the
    /// profile itself; none where they are to be ignored.
    fn endpoints(&self) -> ConfiguredEndpoints {
        let (set, environment) = (self.set.clone(), Env::real());
        let ignored = EnvConfigValue::new()
            .env("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
            .profile("ignore_configured_endpoint_urls")
            .load(&environment, Some(&set))
            .is_some_and(|(value, _)| value.eq_ignore_ascii_case("true"));
        ConfiguredEndpoints::new(move |service| {
            let value =
                EnvConfigValue::new().env("AWS_ENDPOINT_URL").profile("endpoint_url").service_id(service);
            let (url, _) = value.load(&environment, Some(&set)).filter(|_| !ignored)?;
            Some(url.into_owned()).filter(|url| !url.is_empty())
        })
    }
}

/// The profiles of the AWS CLI's files, and whether the requested one is among them.
pub(crate) async fn profiles(aws: &Aws) -> Result<Profiles, AccountError> {
    let named = aws.profile.first().cloned().map(Cow::Owned);
    let read = load(&Fs::real(), &Env::real(), &EnvConfigFiles::default(), named).await;
    // Which file it is and which line stands behind the error.
    let profiles: ProfileSet = read.map_err(|error| {
        let lines = root(&error).to_string();
        AccountError::Profiles(lines.split_whitespace().collect::<Vec<_>>().join(" "))
    })?;
    let mut known: Vec<String> = profiles.profiles().map(str::to_owned).collect();
    known.sort();
    let asked = aws
        .profile
        .first()
        .cloned()
        .or_else(|| std::env::var("AWS_PROFILE").ok().filter(|name| !name.is_empty()));
    match asked {
        Some(name) if !known.contains(&name) => Err(AccountError::NoProfile { name, known }),
        answered => {
            let is_named = answered.is_some();
            let used = answered.unwrap_or_else(|| "default".to_owned());
            Ok(Profiles { known, used, is_named, set: profiles })
        }
    }
}

fn refused(error: &CredentialsError, profiles: &Profiles) -> AccountError {
    let cause = root(error);
    // The last who is asked is the metadata service of an instance, which is there on others, too, and has nothing to give.
    let is_of_instance = cause.to_string().contains("IMDS");
    let setting = |profile: &str, name: &str| profiles.set.get_profile(profile)?.get(name).map(str::to_owned);
    let is_known = |profile: &str| profiles.set.get_profile(profile).is_some();
    let explained = || explained(&profiles.used, &cause.to_string(), setting, is_known);
    let others = || profiles.known.iter().filter(|name| **name != profiles.used).cloned().collect();
    match error {
        _ if is_of_instance && !profiles.is_named => {
            AccountError::NoCredentials { others: profiles.known.clone() }
        }
        CredentialsError::CredentialsNotLoaded(_) if !profiles.is_named => {
            AccountError::NoCredentials { others: others() }
        }
        _ if is_of_instance || matches!(error, CredentialsError::CredentialsNotLoaded(_)) => {
            let profile = profiles.used.clone();
            explained().unwrap_or_else(|| AccountError::NoProfileCredentials { profile, others: others() })
        }
        _ => explained().unwrap_or_else(|| AccountError::Credentials(cause.to_string())),
    }
}

/// What the settings of a profile say about why there are no credentials. The SDK's own words are those of the last thing that
/// failed: a file that is not there, a feature that is not built in, an exit code. `setting` gives a setting of a profile.
fn explained(
    used: &str,
    cause: &str,
    setting: impl Fn(&str, &str) -> Option<String>,
    is_known: impl Fn(&str) -> bool,
) -> Option<AccountError> {
    // The profiles that name each other by `source_profile`.
    let mut chain = vec![used.to_owned()];
    let mut profile = used.to_owned();
    loop {
        let has = |name: &str| setting(&profile, name).is_some();
        if has("role_arn") && has("mfa_serial") {
            return Some(AccountError::SecondFactor { profile });
        }
        if has("sso_session") || has("sso_start_url") {
            return Some(AccountError::SsoLogin { profile });
        }
        if has("login_session") {
            return Some(AccountError::AwsLogin { profile });
        }
        if let Some(command) = setting(&profile, "credential_process") {
            // Its arguments may be secret.
            let program = command.split_whitespace().next().unwrap_or_default().to_owned();
            let problem = cause.trim().trim_end_matches("Stderr:").trim_end_matches([' ', '.']).to_owned();
            return Some(AccountError::Program { profile, program, problem });
        }
        let source = setting(&profile, "source_profile")?;
        if !is_known(&source) {
            return Some(AccountError::NoSourceProfile { profile, base: source });
        }
        // A profile with keys may be its own source.
        if has("aws_access_key_id") {
            return None;
        }
        let is_circular = chain.contains(&source);
        chain.push(source.clone());
        if is_circular {
            return Some(AccountError::CircularProfiles { chain });
        }
        profile = source;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_that_are_missing_are_explained_by_their_profile() {
        let explanation = |settings: &[(&str, &str, &str)], cause: &str| {
            let setting = |profile: &str, name: &str| {
                let found = settings.iter().find(|(of, key, _)| (*of, *key) == (profile, name));
                found.map(|(_, _, value)| (*value).to_owned())
            };
            let is_known =
                |profile: &str| profile == "work" || settings.iter().any(|(of, _, _)| *of == profile);
            explained("work", cause, setting, is_known).map(|error| error.to_string()).unwrap_or_default()
        };
        let missing = "No such file or directory (os error 2)";
        assert_eq!(
            explanation(&[("work", "sso_start_url", "https://x.awsapps.com/start")], missing),
            "the profile work is not signed in: aws sso login --profile work"
        );
        let through =
            [("work", "source_profile", "base"), ("work", "role_arn", "arn"), ("base", "sso_session", "x")];
        assert_eq!(
            explanation(&through, missing),
            "the profile base is not signed in: aws sso login --profile base"
        );
        assert_eq!(
            explanation(&[("work", "login_session", "arn")], missing),
            "the profile work is not signed in: aws login --profile work"
        );
        let second =
            [("work", "role_arn", "arn"), ("work", "mfa_serial", "arn"), ("work", "source_profile", "base")];
        assert!(explanation(&second, "ProfileFile provider could not be built").contains("second factor"));
        let program = explanation(
            &[("work", "credential_process", "/opt/login --secret x")],
            "exit status: 1. Stderr: ",
        );
        assert!(program.ends_with("/opt/login: exit status: 1"), "{program}");
        assert_eq!(explanation(&[("work", "region", "eu-west-1")], missing), "");
        assert_eq!(
            explanation(&[("work", "source_profile", "work")], missing),
            "the profiles work, work are each other's `source_profile`, and none has credentials: give one of them keys or a sign-in"
        );
        let circle = [("work", "source_profile", "base"), ("base", "source_profile", "work")];
        assert!(explanation(&circle, missing).starts_with("the profiles work, base, work are each other's"));
        assert_eq!(
            explanation(&[("work", "source_profile", "gone"), ("work", "role_arn", "arn")], missing),
            "the profile work has the `source_profile` gone, which is not in the files of the AWS CLI (~/.aws/config, ~/.aws/credentials)"
        );
        let own = [("work", "source_profile", "work"), ("work", "aws_access_key_id", "key")];
        assert_eq!(explanation(&own, missing), "");
    }
}
