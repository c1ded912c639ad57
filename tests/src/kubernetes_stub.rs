//! The part of a cluster's API that reads, as Kubernetes documents it: discovery, schemas (OpenAPI 3), lists in pages with tokens that
//! expire, permissions by kind. It shares no code with what it tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use crate::http::{Request, Response, serve};

/// The token that the cluster takes.
pub const TOKEN: &str = "a-token-of-the-cluster";

/// A kind of objects.
#[derive(Debug, Clone)]
pub struct Kind {
    group: String,
    version: String,
    resource: String,
    kind: String,
    verbs: Vec<&'static str>,
    schema: Option<Value>,
    /// The objects, in the order in which the cluster lists them.
    pub objects: Vec<Value>,
}

/// What the cluster has, and how it behaves.
#[derive(Debug, Default)]
pub struct State {
    /// What it has, by name as kubectl knows it: `pods`, `deployments.apps`.
    pub kinds: BTreeMap<String, Kind>,
    /// Kinds that nobody may list.
    pub denied: BTreeSet<String>,
    /// Paths that fail, with this status, this number of times.
    pub failing: BTreeMap<String, (u16, usize)>,
    /// Paths that answer this, whatever is there.
    pub answers: BTreeMap<String, Value>,
    /// Kinds whose tokens expire, this number of times.
    pub expiring: BTreeMap<String, usize>,
    /// What was asked, in its order.
    pub asked: Vec<String>,
}

/// A cluster on a loopback port.
#[derive(Debug, Clone)]
pub struct KubernetesStub {
    url: String,
    state: Arc<Mutex<State>>,
}

impl KubernetesStub {
    /// A cluster with the kinds that every cluster has, and nothing in it.
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let cluster = Self { url: String::new(), state: Arc::clone(&state) };
        for (resource, kind) in [
            ("pods", "Pod"),
            ("podtemplates", "PodTemplate"),
            ("replicationcontrollers", "ReplicationController"),
            ("secrets", "Secret"),
            ("configmaps", "ConfigMap"),
            ("controllerrevisions.apps", "ControllerRevision"),
            ("daemonsets.apps", "DaemonSet"),
            ("deployments.apps", "Deployment"),
            ("replicasets.apps", "ReplicaSet"),
            ("statefulsets.apps", "StatefulSet"),
            ("cronjobs.batch", "CronJob"),
            ("jobs.batch", "Job"),
            ("ingresses.networking.k8s.io", "Ingress"),
        ] {
            cluster.define(resource, "v1", kind, None);
        }
        let address = serve(move |request, stream| {
            let mut state = state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let (status, body) = state.answer(&request);
            let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
            Response { status, headers, body: body.to_string().into_bytes() }.write(stream)
        });
        Self { url: format!("http://{address}"), ..cluster }
    }

    /// What the cluster has.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Adds a kind, by its name as kubectl knows it, with the schema of its objects if there is one.
    pub fn define(&self, name: &str, version: &str, kind: &str, schema: Option<Value>) {
        let (resource, group) = name.split_once('.').unwrap_or((name, ""));
        let kind = Kind {
            group: group.to_owned(),
            version: version.to_owned(),
            resource: resource.to_owned(),
            kind: kind.to_owned(),
            verbs: vec!["create", "delete", "get", "list", "watch"],
            schema,
            objects: Vec::new(),
        };
        self.state().kinds.insert(name.to_owned(), kind);
    }

    /// Adds an object of a kind, without its kind and version, as the API has it in lists.
    ///
    /// # Panics
    ///
    /// When there is no such kind.
    pub fn add(&self, kind: &str, namespace: &str, name: &str, mut object: Value) {
        object["metadata"] = json!({ "namespace": namespace, "name": name });
        self.state().kinds.get_mut(kind).unwrap().objects.push(object);
    }

    /// Writes a kubeconfig file with contexts `main`, the current one, whose user has a token, `program`, whose user has a program
    /// that prints it, and `stranger`, whose user has none.
    ///
    /// # Panics
    ///
    /// When the files cannot be written.
    pub fn kubeconfig(&self, folder: &Path) -> PathBuf {
        let program = folder.join("sign-in");
        let credential = json!({ "kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1beta1",
            "spec": {}, "status": { "token": TOKEN } });
        std::fs::write(
            &program,
            format!("#!/bin/sh\n[ \"$1\" = get-token ] && [ \"$NAME\" = shop ] && echo '{credential}'\n"),
        )
        .unwrap();
        let mut permissions = std::fs::metadata(&program).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
        std::fs::set_permissions(&program, permissions).unwrap();
        let cluster = json!({ "name": "stub", "cluster": { "server": self.url } });
        let context = |name: &str| json!({ "name": name, "context": { "cluster": "stub", "user": name } });
        let config = json!({ "apiVersion": "v1", "kind": "Config", "current-context": "main", "clusters": [cluster],
            "contexts": [context("main"), context("program"), context("stranger"), context("broken")],
            "users": [
                { "name": "main", "user": { "token": TOKEN } },
                { "name": "program", "user": { "exec": { "apiVersion": "client.authentication.k8s.io/v1beta1", "command": program,
                    "args": ["get-token"], "env": [{ "name": "NAME", "value": "shop" }], "interactiveMode": "Never" } } },
                { "name": "broken", "user": { "exec": { "apiVersion": "client.authentication.k8s.io/v1beta1", "command": "/bin/sh",
                    "args": ["-c", "echo a-secret; echo no session >&2; exit 3"], "interactiveMode": "Never" } } },
                { "name": "stranger", "user": {} } ] });
        let file = folder.join("kubeconfig");
        std::fs::write(&file, config.to_string()).unwrap();
        file
    }
}

/// A refusal, as the API says it.
fn status(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let body = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code });
    (code, body)
}

impl State {
    fn answer(&mut self, request: &Request) -> (u16, Value) {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        self.asked.push(format!("{} {}", request.method, request.target));
        if request.method != "GET" {
            return status(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
            );
        }
        if request.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
            return status(401, "Unauthorized", "Unauthorized");
        }
        if let Some((code, times)) = self.failing.get_mut(path)
            && *times > 0
        {
            *times -= 1;
            return status(
                *code,
                "InternalError",
                "an error on the server has prevented the request from succeeding",
            );
        }
        if let Some(answer) = self.answers.get(path) {
            return (200, answer.clone());
        }
        match path.trim_matches('/').split('/').collect::<Vec<_>>().as_slice() {
            ["apis"] => (200, self.groups()),
            ["api", "v1"] => (200, self.resources("", "v1")),
            ["apis", group, version] => (200, self.resources(group, version)),
            ["openapi", "v3"] => (200, self.schemas()),
            ["openapi", "v3", "apis", group, version] => (200, self.schema(group, version)),
            ["api", "v1", resource] => self.list("", resource, query),
            ["apis", group, _, resource] => self.list(group, resource, query),
            _ => status(404, "NotFound", "the server could not find the requested resource"),
        }
    }

    fn groups(&self) -> Value {
        let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for kind in self.kinds.values().filter(|kind| !kind.group.is_empty()) {
            versions.entry(&kind.group).or_default().insert(&kind.version);
        }
        let groups: Vec<Value> = versions
            .into_iter()
            .map(|(group, versions)| {
                let version = |version: &&str| json!({ "groupVersion": format!("{group}/{version}"), "version": version });
                let all: Vec<Value> = versions.iter().map(version).collect();
                json!({ "name": group, "versions": all, "preferredVersion": all[0] })
            })
            .collect();
        json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
    }

    fn resources(&self, group: &str, version: &str) -> Value {
        let of_version = self.kinds.values().filter(|kind| kind.group == group && kind.version == version);
        let resources: Vec<Value> = of_version
            .flat_map(|kind| {
                let resource = |name: &str| json!({ "name": name, "singularName": "", "namespaced": true, "kind": kind.kind, "verbs": kind.verbs });
                [resource(&kind.resource), resource(&format!("{}/status", kind.resource))]
            })
            .collect();
        json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{group}/{version}"), "resources": resources })
    }

    fn schemas(&self) -> Value {
        let of_schema = self.kinds.values().filter(|kind| kind.schema.is_some());
        let path = |kind: &Kind| format!("apis/{}/{}", kind.group, kind.version);
        let paths: BTreeMap<String, Value> = of_schema
            .map(|kind| {
                (
                    path(kind),
                    json!({ "serverRelativeURL": format!("/openapi/v3/{}?hash=1F2E%3D", path(kind)) }),
                )
            })
            .collect();
        json!({ "paths": paths })
    }

    fn schema(&self, group: &str, version: &str) -> Value {
        let of_version = self.kinds.values().filter(|kind| kind.group == group && kind.version == version);
        let schemas: BTreeMap<String, Value> = of_version
            .filter_map(|kind| {
                let mut schema = json!({ "type": "object", "properties": { "spec": kind.schema.as_ref()? } });
                schema["x-kubernetes-group-version-kind"] =
                    json!([{ "group": group, "version": version, "kind": kind.kind }]);
                Some((format!("com.example.{}", kind.kind), schema))
            })
            .collect();
        json!({ "openapi": "3.0.0", "components": { "schemas": schemas } })
    }

    fn list(&mut self, group: &str, resource: &str, query: &str) -> (u16, Value) {
        let name = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        let Some(kind) = self.kinds.get(&name) else {
            return status(404, "NotFound", "the server could not find the requested resource");
        };
        if self.denied.contains(&name) {
            let message = format!(
                "{name} is forbidden: User \"system:serviceaccount:ecr-steward:usage-report\" cannot list resource \"{resource}\" in API \
                 group \"{group}\" at the cluster scope"
            );
            return status(403, "Forbidden", &message);
        }
        let parameter = |name: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value)
        };
        let limit = parameter("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
        // The token has characters that a query must not have as they are.
        let token = parameter("continue").map(|token| token.replace("%2B", "+").replace("%3D", "="));
        let start: usize = match &token {
            None => 0,
            Some(token) => {
                if let Some(times) = self.expiring.get_mut(&name)
                    && *times > 0
                {
                    *times -= 1;
                    return status(
                        410,
                        "Expired",
                        "The provided continue parameter is too old to display a consistent list result.",
                    );
                }
                match token.strip_prefix("after+").and_then(|rest| rest.strip_suffix('=')).map(str::parse) {
                    Some(Ok(start)) => start,
                    _ => return status(400, "BadRequest", "continue key is not valid"),
                }
            }
        };
        let end = kind.objects.len().min(start.saturating_add(limit));
        let mut metadata = json!({ "resourceVersion": "4711" });
        if end < kind.objects.len() {
            metadata["continue"] = json!(format!("after+{end}="));
            metadata["remainingItemCount"] = json!(kind.objects.len() - end);
        }
        let body = json!({ "kind": format!("{}List", kind.kind), "apiVersion": kind.version, "metadata": metadata,
            "items": &kind.objects[start..end] });
        (200, body)
    }
}
