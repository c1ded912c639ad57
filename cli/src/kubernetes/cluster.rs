//! Calls a cluster's API: discovery, schemas, and lists page by page. Nothing is written there.
//!
//! What is not read completely is a problem of its kind, so that a list is never shorter and looks complete.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::client::AuthError;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Request;
use kube::core::params::ListParams;
use kube::{Client, Config, Error};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use shared::domain::text::instant::Instant;

use super::images::Images;
use super::kinds::{self, BUILT_IN, Group, Groups, Kind, Resources, Without};
use crate::progress;

/// Timeout of a connection to the API.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of an answer of the API. A page of large objects takes seconds.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Objects that are asked for at once. One of them is 1.5 MB at most, and most are 5 KB.
const PAGE_SIZE: u32 = 250;
/// Maximum number of pages of a kind.
const MAX_PAGES: usize = 4000;
/// How often a list is begun anew when its pages expire while it is read.
const MAX_RESTARTS: usize = 3;

/// Why nothing can be read of a cluster.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    /// The file that says how to reach clusters.
    #[error("{}: {problem}", file.display())]
    Kubeconfig { file: PathBuf, problem: String },
    /// No way to a cluster.
    #[error("no cluster is known: {0}; name a file with --kubeconfig, or set KUBECONFIG")]
    NoCluster(String),
    /// No way into a cluster.
    #[error("signing in to the cluster: {0}")]
    SignIn(String),
    /// A cluster that does not answer, or not as one.
    #[error("the cluster does not answer {path}: {problem}")]
    Unreadable { path: String, problem: String },
}

/// Why something of a cluster was not read.
#[derive(Debug)]
enum Failure {
    /// Its pages expired: 410 Gone.
    Expired,
    /// Any other refusal or failure: the status, where there was an answer, and what it says.
    Failed { status: Option<u16>, problem: String },
}

/// How a kind was read.
#[derive(Debug)]
pub(crate) struct KindReading {
    /// The kind, as kubectl names it.
    pub(crate) name: String,
    /// When reading it began.
    pub(crate) read_at: Instant,
    /// How many references to images its objects name.
    pub(crate) images: usize,
    /// What was not read, and what to do. None, and the kind was read completely.
    pub(crate) problems: Vec<String>,
}

/// What a cluster runs.
#[derive(Debug)]
pub(crate) struct ClusterReading {
    /// The images.
    pub(crate) images: Images,
    /// The kinds that may name images.
    pub(crate) kinds: Vec<KindReading>,
}

impl ClusterReading {
    /// What was not read, by kind.
    pub(crate) fn problems(&self) -> impl Iterator<Item = (&str, &str)> {
        self.kinds
            .iter()
            .flat_map(|kind| kind.problems.iter().map(|problem| (kind.name.as_str(), problem.as_str())))
    }
}

/// A connection to a cluster.
pub(crate) struct Cluster {
    client: Client,
}

impl Cluster {
    /// Connects as kubectl does: by a file, the one that KUBECONFIG names or ~/.kube/config; and in a pod by its service account.
    pub(crate) async fn connect(file: Option<&Path>, context: Option<&str>) -> Result<Self, ClusterError> {
        let options =
            KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
        let mut config = match file {
            Some(file) => {
                let invalid = |problem: String| ClusterError::Kubeconfig { file: file.to_owned(), problem };
                let kubeconfig = Kubeconfig::read_from(file).map_err(|error| invalid(causes(&error)))?;
                let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
                config.map_err(|error| invalid(causes(&error)))?
            }
            None if context.is_some() => {
                let config = Config::from_kubeconfig(&options).await;
                config.map_err(|error| ClusterError::NoCluster(causes(&error)))?
            }
            None => Config::infer().await.map_err(|error| ClusterError::NoCluster(causes(&error)))?,
        };
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        config.reset_reader_on_write = true;
        let client = Client::try_from(config).map_err(|error| ClusterError::SignIn(explained(&error)))?;
        Ok(Self { client })
    }

    /// Reads everything that names images. `without` says which kinds do not matter, `hosts` which registries stand before ECR.
    ///
    /// # Errors
    ///
    /// When the cluster does not say what it has.
    pub(crate) async fn read(
        &self,
        without: &[Without],
        hosts: &[String],
    ) -> Result<ClusterReading, ClusterError> {
        let (kinds, mut readings) = self.kinds(without).await?;
        let mut images = Images::default();
        for kind in kinds {
            progress::phase(format!("reading {} of the cluster", kind.name()));
            let read_at = Instant::now();
            let (found, failure) = self.images_of(&kind, hosts).await;
            let mut problems = found.problems();
            problems.extend(failure);
            readings.push(KindReading { name: kind.name(), read_at, images: found.len(), problems });
            images.merge(found);
        }
        Ok(ClusterReading { images, kinds: readings })
    }

    /// The kinds that may name images, and what is not known of them.
    async fn kinds(&self, without: &[Without]) -> Result<(Vec<Kind>, Vec<KindReading>), ClusterError> {
        progress::phase("asking the cluster what it has");
        let needed = |path: &str| {
            let path = path.to_owned();
            move |failure: Failure| ClusterError::Unreadable { path, problem: failure.text() }
        };
        let core: Resources = self.get("/api/v1").await.map_err(needed("/api/v1"))?;
        let groups: Groups = self.get("/apis").await.map_err(needed("/apis"))?;
        let mut kinds: Vec<Kind> = core.kinds("", "v1");
        let mut unread = Vec::new();
        for group in &groups.groups {
            let is_built_in = BUILT_IN.iter().any(|(known, _)| *known == group.name);
            let is_without = without.iter().any(|without| without.is_about(&group.name, None));
            if (is_built_in || !kinds::is_own_group(&group.name)) && !is_without {
                self.kinds_of_group(group, &mut kinds, &mut unread).await;
            }
        }
        for (group, resource) in BUILT_IN {
            if !kinds.iter().any(|kind| kind.group == group && kind.resource == resource) {
                let name = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
                unread.push(not_read(
                    name,
                    "the cluster does not say that it can be listed, as in every cluster it can be",
                ));
            }
        }
        let (built_in, others): (Vec<Kind>, Vec<Kind>) = kinds
            .into_iter()
            .filter(|kind| kind.is_built_in() || !kinds::is_own_group(&kind.group))
            .partition(Kind::is_built_in);
        let others: Vec<Kind> = others
            .into_iter()
            .filter(|kind| !without.iter().any(|without| without.is_about(&kind.group, Some(&kind.resource))))
            .collect();
        let mut all = built_in;
        all.extend(self.with_images(others).await);
        Ok((all, unread))
    }

    async fn kinds_of_group(&self, group: &Group, kinds: &mut Vec<Kind>, unread: &mut Vec<KindReading>) {
        let own = kinds.len();
        for version in group.versions() {
            let path = kinds::version_path(&group.name, version);
            match self.get::<Resources>(&path).await {
                Ok(resources) => {
                    for kind in resources.kinds(&group.name, version) {
                        let is_known = kinds.iter().skip(own).any(|known| known.resource == kind.resource);
                        if !is_known {
                            kinds.push(kind);
                        }
                    }
                }
                Err(failure) => {
                    let problem = format!(
                        "{path} does not say what there is: {}; repair what serves it, or say --without '*.{}' if it holds no images",
                        failure.text(),
                        group.name
                    );
                    unread.push(not_read(format!("{}/{version}", group.name), &problem));
                }
            }
        }
    }

    /// Those of the kinds that may name images, by their schemas. Where there is no schema, all may.
    async fn with_images(&self, kinds: Vec<Kind>) -> Vec<Kind> {
        #[derive(Deserialize)]
        struct Index {
            paths: BTreeMap<String, Document>,
        }
        #[derive(Deserialize)]
        struct Document {
            #[serde(rename = "serverRelativeURL")]
            server_relative_url: String,
        }
        if kinds.is_empty() {
            return kinds;
        }
        let Ok(index) = self.get::<Index>("/openapi/v3").await else { return kinds };
        let mut with_images = Vec::new();
        let mut document: Option<(String, Option<Value>)> = None;
        for kind in kinds {
            let path = kinds::version_path(&kind.group, &kind.version);
            if document.as_ref().is_none_or(|(read, _)| *read != path) {
                progress::phase(format!("reading the schema of {}", kind.group));
                let found = index.paths.get(path.trim_start_matches('/'));
                // A path and nothing else: never another host.
                let url = found
                    .map(|found| found.server_relative_url.as_str())
                    .filter(|url| url.starts_with("/openapi/"));
                let schema = match url {
                    Some(url) => self.get(url).await.ok(),
                    None => None,
                };
                document = Some((path, schema));
            }
            let schema = document.as_ref().and_then(|(_, schema)| schema.as_ref());
            if schema.is_none_or(|schema| kinds::may_name_images(schema, &kind)) {
                with_images.push(kind);
            }
        }
        with_images
    }

    /// The images of all objects of a kind, and why these are not all.
    async fn images_of(&self, kind: &Kind, hosts: &[String]) -> (Images, Option<String>) {
        let mut images = Images::default();
        for _ in 0..=MAX_RESTARTS {
            match self.read_pages(kind, hosts, &mut images).await {
                Ok(()) => return (images, None),
                // What was read already may be gone since, and counts all the same.
                Err(Failure::Expired) => {}
                Err(failure) => return (images, Some(advised(kind, &failure))),
            }
        }
        let problem = format!(
            "its pages expired {} times while they were read (410 Gone); try again when the cluster is less busy",
            MAX_RESTARTS + 1
        );
        (images, Some(problem))
    }

    async fn read_pages(&self, kind: &Kind, hosts: &[String], images: &mut Images) -> Result<(), Failure> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            metadata: PageMetadata,
            // Go writes an empty list as null. An answer without the field is no list, and must not pass for an empty one.
            #[serde(deserialize_with = "Option::deserialize")]
            items: Option<Vec<Value>>,
        }
        #[derive(Default, Deserialize)]
        struct PageMetadata {
            #[serde(default, rename = "continue")]
            token: Option<String>,
        }
        let invalid = |problem: &str| Failure::Failed { status: None, problem: problem.to_owned() };
        let mut parameters = ListParams { limit: Some(PAGE_SIZE), ..ListParams::default() };
        for _ in 0..MAX_PAGES {
            let page: Page = self.request(&kind.path(), &parameters).await?;
            let items = page.items.unwrap_or_default();
            items.iter().for_each(|item| images.take(&kind.kind, item, hosts));
            match page.metadata.token.filter(|token| !token.is_empty()) {
                None => return Ok(()),
                next if next == parameters.continue_token => {
                    return Err(invalid("the cluster gives the same page again and again"));
                }
                next => parameters.continue_token = next,
            }
        }
        Err(Failure::Failed {
            status: None,
            problem: format!("it has more than {MAX_PAGES} pages of {PAGE_SIZE} objects"),
        })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.request(path, &ListParams::default()).await
    }

    async fn request<T: DeserializeOwned>(&self, path: &str, parameters: &ListParams) -> Result<T, Failure> {
        let invalid = |problem: String| Failure::Failed { status: None, problem };
        // A path that has a query already is one that the cluster gave.
        let (path, query) = path.split_once('?').map_or((path, ""), |(path, query)| (path, query));
        let mut request = Request::new(path).list(parameters).map_err(|error| invalid(error.to_string()))?;
        if !query.is_empty() {
            let uri = format!("{path}?{query}").parse().map_err(|_| invalid(format!("{path} is no path")))?;
            *request.uri_mut() = uri;
        }
        let text = self.client.request_text(request).await.map_err(|error| match &error {
            Error::Api(status) if status.code == 410 || status.reason == "Expired" => Failure::Expired,
            Error::Api(status) => {
                Failure::Failed { status: Some(status.code), problem: status.message.clone() }
            }
            _ => invalid(explained(&error)),
        })?;
        serde_json::from_str(&text)
            .map_err(|error| invalid(format!("the answer is not what it should be: {error}")))
    }
}

impl Failure {
    fn text(&self) -> String {
        match self {
            Self::Expired => "410 Gone".to_owned(),
            Self::Failed { status: Some(status), problem } => format!("{status} {problem}"),
            Self::Failed { status: None, problem } => problem.clone(),
        }
    }
}

/// Why a kind was not read, and what to do.
fn advised(kind: &Kind, failure: &Failure) -> String {
    let text = failure.text();
    let Failure::Failed { status: Some(403), .. } = failure else { return text };
    let group = &kind.group;
    let rule = format!("apiGroups: [\"{group}\"], resources: [{}], verbs: [list]", kind.resource);
    if kind.is_built_in() {
        format!("{text}; add to the ClusterRole: {rule}")
    } else {
        format!(
            "{text}; add to the ClusterRole: {rule}; or say --without {} if it holds no images",
            kind.name()
        )
    }
}

fn not_read(name: String, problem: &str) -> KindReading {
    KindReading { name, read_at: Instant::now(), images: 0, problems: vec![problem.to_owned()] }
}

/// What went wrong on the way to a cluster. Of a program that signs in only its messages are repeated: it prints a token, and its
/// arguments and variables may have secrets.
fn explained(error: &Error) -> String {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(AuthError::AuthExecRun { cmd: _, out }) = error.downcast_ref::<AuthError>() {
            let messages = String::from_utf8_lossy(&out.stderr);
            return format!(
                "the program that the kubeconfig file names for it failed ({}): {}",
                out.status,
                messages.trim()
            );
        }
        cause = error.source();
    }
    causes(error)
}

/// An error with what it was caused by, as far as that is not in its message already.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
