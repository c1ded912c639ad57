//! `ecr-steward explain`: what happens to one image, and why.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use shared::domain::enforcement::policy_set::{KEY, PolicySet};
use shared::domain::image::listing::{ListedRepository, RepositoryName};
use shared::domain::image::reference::ImageReference;
use shared::domain::lifecycle::{Passes, PolicySource};
use shared::domain::preview::model::PreviewReport;
use shared::domain::preview::{Preview, Question};
use shared::domain::repository::Name;
use shared::domain::text::instant::Instant;
use shared::domain::text::printable::on_one_line;
use shared::domain::text::quantity::{age, bytes};
use shared::workflows::enforcement::RunContext;
use shared::workflows::enforcement::inventory::assign;
use shared::workflows::enforcement::repository_snapshot::RepositorySnapshot;

use crate::account::{self, AccountError, Aws, Bucket, Which, like};
use crate::compile::read_policy;
use crate::input::{self, MAX_POLICY_BYTES};
use crate::{Failure, Outcome, enforce, in_use, output};

/// Explain one image: which rule expires it or what keeps it, who uses it, when it expires
///
/// By the policy of policies.yaml if a bucket or a stack is named, else by the lifecycle policy of the repository; by that of a
/// policies file on disk with --policies, or by --policy.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward explain shop/web:ci-1207
  ecr-steward explain shop/web@sha256:9fdfcb80a9a3… --stack ecr-steward
  ecr-steward explain shop/web:ci-1207 --policies policies.yaml   # before anything is deployed
  ecr-steward explain shop/web:latest --policy new.yaml
  ecr-steward explain 123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop/web:v2 --output json")]
pub(crate) struct Arguments {
    /// The image: REPOSITORY:TAG or REPOSITORY@sha256:…, with the registry before it or without.
    #[arg(value_name = "IMAGE")]
    image: String,

    /// Another policy than the repository's own; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Another policies file than the bucket's policies.yaml; `-` is standard input.
    #[arg(long = "policies", value_name = "FILE", conflicts_with = "policy")]
    policies_file: Option<PathBuf>,

    #[command(flatten)]
    bucket: Bucket,

    /// How to print.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: output::Format,
}

/// Why an image is not explained.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    #[error("{0}")]
    Reference(String),
    #[error("there is no image {image} in {repository}{}", .similar.as_ref().map(|tag| format!("; did you mean {repository}:{tag}?")).unwrap_or_default())]
    Missing { image: String, repository: String, similar: Option<String> },
    #[error(
        "{image} is of the registry {registry}; sign in to that account and Region (--profile, --region)"
    )]
    Elsewhere { image: String, registry: String },
    #[error(
        "{image} is of the registry {registry}, which is not Amazon ECR; write {repository} without it for an image of this account"
    )]
    NotEcr { image: String, registry: String, repository: String },
}

/// The name of an image of the account.
pub(crate) struct Called {
    pub(crate) repository: Name,
    pub(crate) tag: Option<String>,
    pub(crate) digest: Option<String>,
    /// The account and the Region of the registry that it names, if it names one.
    pub(crate) registry: Option<(String, String)>,
}

impl Called {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = |problem: String| ImageError::Reference(problem);
        let reference = ImageReference::parse_exact(text).map_err(|error| wrong(error.to_string()))?;
        if reference.is_bare_digest() {
            return Err(wrong(format!("`{text}` names no repository; write REPOSITORY@{text}")).into());
        }
        let repository = Name::parse(&reference.repository).map_err(|error| {
            wrong(format!("`{}` is no name of a repository: {error}", reference.repository))
        })?;
        let named = reference.registry_id().zip(reference.region());
        let named = named.map(|(account, region)| (account.to_owned(), region.to_owned()));
        if let (None, Some(registry)) = (&named, &reference.registry) {
            let (image, registry) = (text.to_owned(), registry.clone());
            return Err(ImageError::NotEcr { image, registry, repository: reference.repository }.into());
        }
        Ok(Self { repository, tag: reference.tag, digest: reference.digest, registry: named })
    }

    /// The tag or the digest, as the image is called.
    pub(crate) fn short(&self) -> String {
        let tag = self.tag.clone().filter(|_| self.digest.is_none());
        tag.or_else(|| self.digest.clone()).unwrap_or_default()
    }

    pub(crate) fn is(&self, digest: &str, tags: &[String]) -> bool {
        match &self.digest {
            Some(wanted) => wanted == digest,
            None => self.tag.as_ref().is_some_and(|tag| tags.contains(tag)),
        }
    }
}

pub(crate) fn run(arguments: &Arguments, aws: &Aws) -> Result<Outcome, Failure> {
    let called = Called::parse(&arguments.image)?;
    let given = match (&arguments.policy, &arguments.policies_file) {
        (Some(path), _) => Given::Policy(read_policy(path)?),
        (None, Some(path)) => {
            let (file, text) = (input::name(path), input::read(path, MAX_POLICY_BYTES)?);
            Given::Policies(enforce::parse(&file, &text, true)?, file)
        }
        (None, None) => Given::Nothing,
    };
    let place = arguments.bucket.if_named();
    let explanation =
        account::work(aws, &place, async |clients, _| explain(&clients, arguments, &called, given).await)?;
    match arguments.output {
        output::Format::Json => output::value(&explanation)?,
        output::Format::Text => print(&explanation)?,
    }
    Ok(Outcome::Success)
}

/// What an image is explained by, as files on disk have it.
enum Given {
    Nothing,
    Policy(PolicySource),
    /// A policies file, and its name.
    Policies(PolicySet, String),
}

async fn explain(
    clients: &RunContext<'_>,
    arguments: &Arguments,
    called: &Called,
    given: Given,
) -> Result<Value, Failure> {
    let which = Which { repository: vec![called.repository.to_string()], all: false };
    let repositories = account::repositories(clients, &which).await?;
    let repository = repositories.into_iter().next().ok_or(AccountError::NothingNamed)?;
    if let Some((account, region)) = &called.registry
        && (*account != repository.registry_id || region != clients.region)
    {
        let registry = format!("{account} in {region}");
        return Err(ImageError::Elsewhere { image: arguments.image.clone(), registry }.into());
    }
    let (given, policy_set, file, usage) = match given {
        // What has to be known of use is what this file says.
        Given::Policies(policy_set, file) => {
            let usage = in_use::by(clients, policy_set.usage()).await?;
            (None, policy_set, file, usage)
        }
        Given::Policy(policy) => {
            (Some(policy), PolicySet::default(), KEY.to_owned(), in_use::usage(clients).await?)
        }
        Given::Nothing => {
            let usage = in_use::usage(clients).await?;
            (None, policies_of_bucket(clients).await?, KEY.to_owned(), usage)
        }
    };
    let entry = assign(clients, &policy_set, &repository.name, &repository.arn).await?;
    let own = match (&given, entry) {
        (None, None) => clients.ecr.lifecycle_policy(&repository.name).await?,
        _ => None,
    };
    let own =
        own.map(|text| PolicySource::parse_json(&text)).transpose().map_err(|findings| Failure::Policy {
            file: format!("the lifecycle policy of {}", repository.name),
            problem: findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        })?;
    let (policy, by) = match (&given, entry) {
        (Some(source), _) => (source.policy(), "--policy".to_owned()),
        (None, Some(entry)) => {
            (Some(&entry.policy), format!("{} of {file} (apply: {})", entry.name, entry.apply.name()))
        }
        (None, None) => (
            own.as_ref().and_then(PolicySource::policy),
            match own.is_some() {
                true => "the lifecycle policy of the repository, which ECR applies".to_owned(),
                false => "none".to_owned(),
            },
        ),
    };
    let snapshot = RepositorySnapshot::read(
        clients,
        called.repository.clone(),
        &repository.registry_id,
        &repository.arn,
    )
    .await?;
    let now = Instant::now();
    let name = RepositoryName {
        repository_name: Some(repository.name.clone()),
        registry_id: Some(repository.registry_id.clone()),
    };
    let decided = entry.map(|entry| snapshot.decide(entry, &usage, now).1);
    let used = snapshot.used(&usage);
    let images = snapshot.images.images();
    let place = (0..)
        .zip(images)
        .find(|(_, image)| {
            let tags: Vec<String> = image.tags.iter().map(ToString::to_string).collect();
            called.is(&image.digest, &tags)
        })
        .map(|(place, _)| place);
    let Some(place) = place else {
        let tags = images.iter().flat_map(|image| image.tags.iter()).map(|tag| &**tag);
        let similar = called.tag.as_deref().and_then(|tag| like(tag, tags)).map(str::to_owned);
        return Err(
            ImageError::Missing { image: called.short(), repository: repository.name, similar }.into()
        );
    };
    let Some(image) = images.get(place as usize).cloned() else {
        return Err(ImageError::Missing {
            image: called.short(),
            repository: repository.name,
            similar: None,
        }
        .into());
    };
    let used_by = used.reason(place).map(str::to_owned);
    let kept = decided.as_ref().and_then(|plan| plan.kept.get(&place).cloned());
    let is_going = decided
        .as_ref()
        .is_some_and(|plan| plan.deletions.contains(&place) || plan.archivals.contains(&place));
    let blockers: Vec<String> = match &decided {
        Some(plan) if is_going => plan.blockers.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    };
    let gaps: Vec<String> = usage.gaps_of(&repository.name).map(ToString::to_string).collect();
    let listed = ListedRepository { name, images: snapshot.images };
    let question = Question { policy, usage: &usage, now, passes: Passes::One };
    // What ECR applies itself knows nothing of use.
    let is_of_ecr = given.is_none() && entry.is_none() && own.is_some();
    let preview =
        if is_of_ecr { Preview::of_ecr(question, &listed) } else { Preview::new(question, &listed) };
    let report = preview.report();
    let mut explanation = verdict(&report, &image.digest);
    explanation["repositoryName"] = json!(repository.name);
    explanation["imageDigest"] = json!(image.digest);
    explanation["imageTags"] = json!(image.tags);
    explanation["imagePushedAt"] = json!(image.pushed_at);
    explanation["lastRecordedPullTime"] = json!(image.last_pulled_at);
    explanation["imageSizeInBytes"] = json!(image.size_in_bytes);
    explanation["policy"] = json!(by);
    explanation["usedBy"] = json!(used_by);
    explanation["keptByPolicy"] = json!(kept);
    explanation["blockedBy"] = json!(blockers);
    explanation["usageUnknown"] = json!(gaps);
    explanation["expiresInUse"] =
        json!(is_of_ecr && used.reason(place).is_some() && explanation["verdict"] != "KEPT");
    Ok(explanation)
}

/// The policies file of the bucket; no policies if there is no bucket, or no file in it.
async fn policies_of_bucket(clients: &RunContext<'_>) -> Result<PolicySet, Failure> {
    if clients.bucket.is_empty() {
        return Ok(PolicySet::default());
    }
    match clients.s3.get(clients.bucket, KEY).await? {
        Some(object) => PolicySet::parse(&object.text)
            .map_err(|findings| in_use::invalid_policies_file(KEY, &object.text, findings)),
        None => {
            output::note(&format!(
                "ecr-steward: warning: s3://{} has no {KEY}: this goes by the lifecycle policy of the repository itself",
                clients.bucket
            ));
            Ok(PolicySet::default())
        }
    }
}

/// What the rules do with an image, and when a rule by age will act on it.
fn verdict(report: &PreviewReport, digest: &str) -> Value {
    if let Some(result) = report.preview_results.iter().find(|result| result.image_digest == digest) {
        let verdict = if result.expires() { "EXPIRES" } else { "MOVES_TO_ARCHIVE" };
        return json!({ "verdict": verdict, "appliedRulePriority": result.applied_rule_priority, "reason": result.reason });
    }
    let kept = report.kept.iter().find(|kept| kept.image_digest == digest);
    json!({
        "verdict": "KEPT",
        "keptBy": kept.map(|kept| kept.kept_by.as_str()),
        "reason": kept.map_or("", |kept| kept.reason.as_str()),
        "expiresAt": kept.and_then(|kept| kept.expires_at),
        "transitionsAt": kept.and_then(|kept| kept.transitions_at),
    })
}

fn print(explanation: &Value) -> Result<(), Failure> {
    use std::io::Write as _;
    let text = |name: &str| explanation[name].as_str().map(str::to_owned);
    let at = |name: &str| text(name).and_then(|text| Instant::parse(&text).ok());
    let now = Instant::now();
    let mut out = output::text();
    let tags: Vec<&str> =
        explanation["imageTags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let tags = if tags.is_empty() { "untagged".to_owned() } else { tags.join(", ") };
    let mut line = |lead: &str, words: &str| output::paragraph(&mut out, lead, &on_one_line(words), 2);
    line(&format!("{}: ", text("repositoryName").unwrap_or_default()), &tags)?;
    let pushed = at("imagePushedAt").map(|pushed| age(now, pushed)).unwrap_or_default();
    let pulled = at("lastRecordedPullTime")
        .map_or_else(|| "never pulled".to_owned(), |pulled| format!("pulled {} ago", age(now, pulled)));
    let size = bytes(explanation["imageSizeInBytes"].as_u64().unwrap_or_default());
    line("", &text("imageDigest").unwrap_or_default())?;
    line("", &format!("{size}, pushed {pushed} ago, {pulled}"))?;
    line("Policy: ", &text("policy").unwrap_or_default())?;
    let reason = || text("reason").unwrap_or_default();
    match (text("verdict").as_deref(), text("keptByPolicy")) {
        (_, Some(kept)) => line("Kept: ", &kept)?,
        (Some("EXPIRES"), _) => line("Expires: ", &reason())?,
        (Some("MOVES_TO_ARCHIVE"), _) => line("Moves to the archive: ", &reason())?,
        _ => line("Kept: ", &reason())?,
    }
    if let Some(used_by) = text("usedBy") {
        line("In use: ", &used_by)?;
    }
    if explanation["expiresInUse"] == true {
        line(
            "Attention: ",
            "ECR takes it although it is in use. Write `apply: protect` or `apply: delete` for the repository, or delete its lifecycle \
             policy",
        )?;
    }
    for (name, label) in [("blockedBy", "Blocked: "), ("usageUnknown", "Unreadable usage source: ")] {
        for words in explanation[name].as_array().into_iter().flatten().filter_map(Value::as_str) {
            line(label, words)?;
        }
    }
    match (text("expiresAt"), text("transitionsAt")) {
        (Some(at), _) => line("Expires: ", &format!("{at}, if nothing changes"))?,
        (None, Some(at)) => line("Moves to the archive: ", &format!("{at}, if nothing changes"))?,
        (None, None) if text("verdict").as_deref() == Some("KEPT") => {
            line("Expires: ", "by no rule by age as things are")?;
        }
        (None, None) => {}
    }
    out.flush()?;
    Ok(())
}
