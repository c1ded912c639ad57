//! `ecr-steward build`: a directory becomes an image, by the deployed stack, with its log as it comes.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use shared::aws::http_api::path;
use shared::aws::logs::{Logs, Position};
use shared::aws::{Connection, Failure as AwsFailure};
use shared::domain::builds::DIRECTORIES;
use shared::domain::builds::start_build_input::BUILDSPEC;
use shared::domain::repository::Name;
use shared::domain::text::printable::on_one_line;
use shared::domain::text::quantity::bytes;
use shared::workflows::enforcement::RunError;

use crate::account::{self, Aws, Stack};
use crate::api::Api;
use crate::pack::pack;
use crate::repository::{name, pair};
use crate::{Failure, Outcome, complete, output, progress};

/// Interval between two reads of a build and its log.
const PAUSE: Duration = Duration::from_millis(1200);
/// Maximum delay of CloudWatch Logs for the last lines of a build that is over.
const LOG_DELAY: Duration = Duration::from_secs(8);
/// Timeout for the image after its builds, while several platforms are joined.
const JOIN_TIMEOUT: Duration = Duration::from_secs(120);

/// Timeout for the tags after the image.
const TAG_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum time without an answer of the stack while a build is followed.
const SILENCE: Duration = Duration::from_secs(120);

/// Build an image of a directory with a Dockerfile, and print its URI by digest
///
/// Packs the directory without what .dockerignore names, uploads it to the stack's bucket, has the stack build it, and prints the
/// build's log on standard error as it comes. The same directory built in the same way is the same image, and is not built again.
/// The repository is made if there is none.
///
/// Exit code: 0, 1 if the build fails, 2 if it could not be started.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward build ./app --repository shop/web
  ecr-steward build ./app --repository shop/web --tag latest --platform linux/amd64,linux/arm64
  ecr-steward build . --repository shop/web --dockerfile deploy/Dockerfile --build-arg VERSION=2
  IMAGE=$(ecr-steward build ./app --repository shop/web)   # its log is on standard error")]
pub(crate) struct Arguments {
    /// The directory: the build context.
    #[arg(value_name = "DIRECTORY", default_value = ".")]
    directory: PathBuf,

    /// The repository that the image is pushed to.
    #[arg(long, value_name = "NAME", value_parser = name, add = complete::repository())]
    repository: Name,

    /// A tag that moves to the image; may be given more than once. Without it none but the one that never moves.
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,

    /// The platforms, as linux/amd64,linux/arm64: each is built by its own processor, and they are joined.
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    platform: Vec<String>,

    /// A value for an ARG of the Dockerfile; everybody can read it in the image. A name alone takes the variable of that name.
    #[arg(long, value_name = "NAME=VALUE", value_parser = argument)]
    build_arg: Vec<(String, String)>,

    /// The Dockerfile, from the directory.
    #[arg(long, value_name = "FILE", default_value = "Dockerfile")]
    dockerfile: String,

    /// The stage to build; the last one without it.
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,

    /// For `RUN --mount=type=secret,id=ID`: where AWS Secrets Manager has it. Only secrets that builds.yaml has for the repository.
    #[arg(long, value_name = "ID=SECRET", value_parser = pair)]
    secret: Vec<(String, String)>,

    /// Neither take layers of the build before, nor keep any for the next one.
    #[arg(long)]
    no_cache: bool,

    #[command(flatten)]
    stack: Stack,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error("the stack's API answers what is no build: {0}")]
    Answer(Value),
    #[error(
        "the builds are done, and the image {0} is not in the repository yet; look at the events of the stack, or at \
         `ecr-steward images list`"
    )]
    NotJoined(String),
}

fn argument(text: &str) -> Result<(String, String), String> {
    match pair(text) {
        Ok(pair) => Ok(pair),
        Err(_) if text.is_empty() || text.starts_with('=') => Err("write it as NAME=VALUE".to_owned()),
        Err(_) => match std::env::var(text) {
            Ok(value) => Ok((text.to_owned(), value)),
            Err(_) => Err(format!("there is no variable {text}; write it as {text}=VALUE")),
        },
    }
}

pub(crate) fn run(arguments: &Arguments, aws: &Aws) -> Result<Outcome, Failure> {
    aws.own_registry()?;
    progress::phase("packing");
    let packed = pack(&arguments.directory, &arguments.dockerfile)?;
    for path in &packed.left_out {
        output::note(&format!("ecr-steward: warning: {} is no file, and left out", path.display()));
    }
    output::note(&format!("Packed {} files, {}", packed.files, bytes(packed.archive.len() as u64)));
    let sha256 = Sha256::digest(&packed.archive);
    let hash: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    account::connected(aws, async |connection| {
        let api = Api::of(connection, &arguments.stack.stack).await?;
        let key = format!("{DIRECTORIES}{}/{hash}.zip", arguments.repository);
        let version = upload(connection, &api.bucket, &key, packed.archive, &sha256).await?;
        let started = api
            .ask(
                "POST /builds/{name}",
                &path(&["builds", arguments.repository.as_str()]),
                Some(&spec(arguments, &packed.dockerfile, &key, version.as_deref())),
            )
            .await?
            .body;
        let answer = || BuildError::Answer(started.clone());
        let uri = started["imageUri"].as_str().ok_or_else(answer)?;
        let (image, tag) = uri.rsplit_once(':').ok_or_else(answer)?;
        if let Some(digest) = started["imageDigest"].as_str() {
            output::note("The image is there already");
            wait_for_tags(connection, arguments, digest).await?;
            output::line(&format!("{image}@{digest}"))?;
            return Ok(Outcome::Success);
        }
        let mut builds = Vec::new();
        for build in started["builds"].as_array().ok_or_else(answer)? {
            builds.push(Build::new(build).ok_or_else(answer)?);
        }
        if !follow(connection, &api, &mut builds).await? {
            return Ok(Outcome::Different);
        }
        let digest = digest(connection, &arguments.repository, tag).await?;
        let digest = digest.ok_or_else(|| BuildError::NotJoined(uri.to_owned()))?;
        wait_for_tags(connection, arguments, &digest).await?;
        output::line(&format!("{image}@{digest}"))?;
        Ok(Outcome::Success)
    })
}

/// Sends the archive, unless it is there: the version of an object is a part of what a build is known by.
async fn upload(
    connection: &Connection,
    bucket: &str,
    key: &str,
    archive: Vec<u8>,
    sha256: &[u8],
) -> Result<Option<String>, Failure> {
    progress::phase(format!("uploading {}", bytes(archive.len() as u64)));
    let s3 = connection.s3();
    match s3.version_with(bucket, key, sha256).await {
        Ok(Some(there)) => return Ok(there.id),
        Ok(None) => {}
        // S3 says that something is not there only to those who may list.
        Err(error) if error.failure == AwsFailure::Denied => {}
        Err(error) => return Err(error.into()),
    }
    Ok(s3.upload_with_sha256(bucket, key, archive, sha256, "application/zip").await?)
}

/// The request for a build.
fn spec(arguments: &Arguments, dockerfile: &str, key: &str, version: Option<&str>) -> Value {
    let mut source = json!({ "key": key });
    if let Some(version) = version {
        source["versionId"] = json!(version);
    }
    let mut spec =
        json!({ "source": { "s3": source }, "dockerfile": dockerfile, "imageTags": arguments.tag });
    let pairs = |pairs: &[(String, String)]| -> Value {
        pairs.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<Map<_, _>>().into()
    };
    if !arguments.platform.is_empty() {
        spec["platforms"] = json!(arguments.platform);
    }
    if !arguments.build_arg.is_empty() {
        spec["buildArgs"] = pairs(&arguments.build_arg);
    }
    if !arguments.secret.is_empty() {
        spec["secrets"] = pairs(&arguments.secret);
    }
    if let Some(target) = &arguments.target {
        spec["target"] = json!(target);
    }
    if arguments.no_cache {
        spec["cache"] = json!(false);
    }
    spec
}

/// A build that is followed.
struct Build {
    id: String,
    platform: String,
    log: Option<(String, String)>,
    position: Position,
    progress: LogProgress,
    state: Value,
    ended: Option<Instant>,
    is_read: bool,
}

impl Build {
    fn new(started: &Value) -> Option<Self> {
        Some(Self {
            id: started["buildId"].as_str()?.to_owned(),
            platform: started["platform"].as_str()?.to_owned(),
            log: None,
            position: Position::default(),
            progress: LogProgress::default(),
            state: Value::Null,
            ended: None,
            is_read: false,
        })
    }

    fn status(&self) -> &str {
        self.state["buildStatus"].as_str().unwrap_or_default()
    }

    /// Reads new lines of the log, and returns whether there were any.
    async fn read(&mut self, logs: &Logs, prefix: &str) -> Result<bool, Failure> {
        let Some((group, stream)) = &self.log else { return Ok(false) };
        let read = logs.after(group, stream, self.position.clone()).await;
        let (lines, position) = match read {
            Ok(read) => read,
            // It comes with the first line.
            Err(error) if error.failure == AwsFailure::NotFound => return Ok(false),
            // What is not read now, the next reading has.
            Err(error) if error.failure.is_transient() && self.ended.is_none() => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        self.position = position;
        for line in &lines {
            if let Some(line) = self.progress.line(line) {
                output::note(&format!("{prefix}{line}"));
            }
        }
        Ok(!lines.is_empty())
    }
}

/// Whether the stack may answer a little later.
fn may_pass(failure: &Failure) -> bool {
    match failure {
        Failure::Api(problem) => problem.status >= 500,
        Failure::Run(RunError::Aws(error)) => error.failure.is_transient(),
        _ => false,
    }
}

/// Prints the logs of builds until all are over; returns whether all succeeded.
async fn follow(connection: &Connection, api: &Api, builds: &mut [Build]) -> Result<bool, Failure> {
    let logs = connection.logs();
    let several = builds.len() > 1;
    let mut answered = Instant::now();
    loop {
        for build in builds.iter_mut().filter(|build| !build.is_read) {
            if build.ended.is_none() {
                match api.ask("GET /builds/{id}", &path(&["builds", &build.id]), None).await {
                    Ok(answer) => (build.state, answered) = (answer.body, Instant::now()),
                    // The build goes on, whether it can be looked at or not.
                    Err(failure) if may_pass(&failure) && answered.elapsed() < SILENCE => continue,
                    Err(failure) => return Err(failure),
                }
                let text = |name: &str| build.state[name].as_str().map(str::to_owned);
                build.log =
                    build.log.take().or_else(|| Some((text("logGroupName")?, text("logStreamName")?)));
                let phase = build.state["currentPhase"].as_str().unwrap_or_default().to_lowercase();
                progress::phase(format!("building for {}: {}", build.platform, phase.replace('_', " ")));
                if build.status() != "IN_PROGRESS" {
                    build.ended = Some(Instant::now());
                }
            }
            let prefix = if several { format!("{}: ", build.platform) } else { String::new() };
            let has_new = build.read(&logs, &prefix).await?;
            // The last lines come a little later than the end.
            let waited = build.ended.is_some_and(|ended| ended.elapsed() > LOG_DELAY);
            build.is_read = build.ended.is_some()
                && !has_new
                && (waited || build.progress.is_complete || build.log.is_none());
        }
        if builds.iter().all(|build| build.is_read) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    progress::clear();
    let mut is_well = true;
    for build in builds.iter().filter(|build| build.status() != "SUCCEEDED") {
        is_well = false;
        let reason =
            build.state["reason"].as_str().map_or_else(|| build.status().to_lowercase(), str::to_owned);
        let reason = build.progress.error.as_ref().map_or(reason, Clone::clone);
        let step = build.progress.step.as_ref().map(|step| format!(" at {step}")).unwrap_or_default();
        output::note(&format!("ecr-steward: the build for {} failed{step}: {reason}", build.platform));
        if let Some(link) = build.state["logLink"].as_str() {
            output::note(&format!("  Its log: {link}"));
        }
    }
    Ok(is_well)
}

/// The digest of the image with the content tag, as soon as it exists.
async fn digest(connection: &Connection, repository: &Name, tag: &str) -> Result<Option<String>, Failure> {
    progress::phase("waiting for the image");
    let (ecr, started) = (connection.ecr_read(), Instant::now());
    loop {
        if let Some(digest) = ecr.digest_of(repository, tag).await? {
            return Ok(Some(digest));
        }
        if started.elapsed() > JOIN_TIMEOUT {
            return Ok(None);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until the tags are at the image, which the stack moves after it is there; a tag that does not move is noted.
async fn wait_for_tags(connection: &Connection, arguments: &Arguments, digest: &str) -> Result<(), Failure> {
    let (ecr, started) = (connection.ecr_read(), Instant::now());
    // What the stack makes of a template, it knows.
    for tag in arguments.tag.iter().filter(|tag| !tag.contains('{')) {
        progress::phase(format!("waiting for the tag {tag}"));
        while ecr.digest_of(&arguments.repository, tag).await?.as_deref() != Some(digest) {
            if started.elapsed() > TAG_TIMEOUT {
                progress::clear();
                output::note(&format!(
                    "ecr-steward: warning: the tag {tag} has not moved to the image: a newer source has it, tags of {} are \
                     immutable, or it takes longer; the stack's event `Image Published` says which",
                    arguments.repository
                ));
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    progress::clear();
    Ok(())
}

/// Filters a log for people, and remembers the cause of a failure.
#[derive(Debug, Default)]
struct LogProgress {
    /// The step of the Dockerfile that failed, or the last one that began.
    step: Option<String>,
    /// The builder's own words about what failed.
    error: Option<String>,
    /// Whether the log is at its end.
    is_complete: bool,
    /// The steps that began, by the numbers of BuildKit.
    steps: BTreeMap<String, String>,
    is_script: bool,
}

impl LogProgress {
    /// A line for people; `None` for CodeBuild's own lines, which repeat the whole script.
    fn line(&mut self, line: &str) -> Option<String> {
        let line = line.trim_end_matches(['\n', '\r']);
        if let Some((_, text)) = line.strip_prefix("[Container] ").and_then(|rest| rest.split_once(' ')) {
            self.is_script = text.contains("Running command");
            self.is_complete |= text.contains("Phase complete: POST_BUILD")
                || text.contains("Phase complete: UPLOAD_ARTIFACTS");
            return None;
        }
        if self.is_script && script().contains(line.trim()) {
            return None;
        }
        self.is_script = false;
        // What the script says last.
        self.is_complete |= line.starts_with("Pushed ") || line.starts_with("The image is there already: ");
        // BuildKit: ` > [2/3] RUN make:` below the failed one; `#7 [2/3] RUN make` when it begins, `#7 ERROR: …` when it fails.
        if let Some(step) = line.strip_prefix(" > [") {
            self.step = Some(format!("[{}", step.trim_end_matches(':')));
        } else if let Some((number, rest)) = line.strip_prefix('#').and_then(|rest| rest.split_once(' ')) {
            if rest.starts_with('[') {
                self.steps.insert(number.to_owned(), rest.to_owned());
            } else if let Some(error) = rest.strip_prefix("ERROR: ") {
                self.error = Some(error.to_owned());
                self.step = self.steps.get(number).cloned().or(self.step.take());
            }
        } else if let Some(error) = line.strip_prefix("ERROR: ") {
            self.error = Some(error.to_owned());
        } else if line.starts_with("STEP ") {
            // buildah
            self.step = Some(line.to_owned());
        } else if let Some(error) = line.strip_prefix("Error: ").or_else(|| line.strip_prefix("error: ")) {
            self.error = Some(error.to_owned());
        }
        Some(on_one_line(line).into_owned())
    }
}

/// The lines of the script that CodeBuild runs, which it writes into the log before it runs them.
fn script() -> &'static HashSet<&'static str> {
    static LINES: std::sync::OnceLock<HashSet<&'static str>> = std::sync::OnceLock::new();
    LINES.get_or_init(|| BUILDSPEC.lines().map(str::trim).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_log_people_see_the_build_and_the_failed_step_is_found() {
        let log = "[Container] 2026/11/26 12:00:00 Running command set -euo pipefail\ncd /\nset -f\n\
                   [Container] 2026/11/26 12:00:01 Phase complete: PRE_BUILD State: SUCCEEDED\n\
                   #7 [2/3] RUN make\n#7 0.2 make: nothing\n#7 ERROR: process \"/bin/sh -c make\" did not complete successfully: exit code: 2\n\
                   ------\n > [2/3] RUN make:\n------\nERROR: failed to build: failed to solve: exit code: 2\n\
                   [Container] 2026/11/26 12:00:09 Phase complete: POST_BUILD State: SUCCEEDED\n";
        let mut progress = LogProgress::default();
        let lines: Vec<String> = log.lines().filter_map(|line| progress.line(line)).collect();
        assert_eq!(lines.first().map(String::as_str), Some("#7 [2/3] RUN make"));
        assert_eq!(lines.len(), 7, "{lines:?}");
        assert_eq!(progress.step.as_deref(), Some("[2/3] RUN make"));
        assert_eq!(progress.error.as_deref(), Some("failed to build: failed to solve: exit code: 2"));
        assert!(progress.is_complete);

        let mut progress = LogProgress::default();
        for line in [
            "STEP 1/2: FROM scratch",
            "STEP 2/2: RUN false",
            "Error: building at STEP \"RUN false\": exit status 1",
        ] {
            assert!(progress.line(line).is_some());
        }
        assert_eq!(progress.step.as_deref(), Some("STEP 2/2: RUN false"));
        assert_eq!(progress.error.as_deref(), Some("building at STEP \"RUN false\": exit status 1"));
    }
}
