//! Which kinds of objects of a cluster may name images: what Kubernetes has itself, by its names, and what was added to the cluster,
//! by its schema.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::Value;

/// The kinds of Kubernetes itself that describe pods, by group and name. Every cluster has all of them. Replica sets and controller
/// revisions are what a rollback goes back to.
pub(crate) const BUILT_IN: [(&str, &str); 10] = [
    ("", "pods"),
    ("", "podtemplates"),
    ("", "replicationcontrollers"),
    ("apps", "controllerrevisions"),
    ("apps", "daemonsets"),
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("apps", "statefulsets"),
    ("batch", "cronjobs"),
    ("batch", "jobs"),
];

/// The groups of Kubernetes itself. Of these only [`BUILT_IN`] describes pods. Groups that end in `k8s.io` and are missing here are
/// those of extensions.
const OWN_GROUPS: [&str; 24] = [
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "custom.metrics.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "external.metrics.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "metrics.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "storage.k8s.io",
];

/// Maximum depth of a schema that is looked at. What is deeper may hold anything.
const MAX_DEPTH: usize = 60;

/// Whether a group is one of Kubernetes itself.
pub(crate) fn is_own_group(group: &str) -> bool {
    OWN_GROUPS.contains(&group)
}

/// A kind of objects, as the cluster lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kind {
    /// The group; empty for what was there before groups.
    pub(crate) group: String,
    /// The version in which it is read.
    pub(crate) version: String,
    /// The name in paths: `deployments`.
    pub(crate) resource: String,
    /// The name in objects: `Deployment`.
    pub(crate) kind: String,
}

impl Kind {
    /// The path of the list of all objects, in all namespaces.
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", version_path(&self.group, &self.version), self.resource)
    }

    /// The name, as kubectl takes it: `deployments.apps`, `pods`.
    pub(crate) fn name(&self) -> String {
        if self.group.is_empty() {
            self.resource.clone()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }

    /// Whether it is one of [`BUILT_IN`].
    pub(crate) fn is_built_in(&self) -> bool {
        BUILT_IN.contains(&(self.group.as_str(), self.resource.as_str()))
    }
}

/// The path of a version of a group.
pub(crate) fn version_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

/// A kind that does not matter, as somebody says: `rollouts.argoproj.io`, or `*.example.com` for all of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Without {
    resource: String,
    group: String,
}

impl Without {
    /// Reads a kind as kubectl names it, with its group.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some((resource, group)) =
            text.split_once('.').filter(|(resource, group)| !resource.is_empty() && !group.is_empty())
        else {
            return Err("write it as kubectl names it, as rollouts.argoproj.io, or *.argoproj.io for all kinds of a group".to_owned());
        };
        if is_own_group(group) {
            return Err(format!("{text} is of Kubernetes itself, which is always read"));
        }
        Ok(Self { resource: resource.to_owned(), group: group.to_owned() })
    }

    /// Whether a kind of a group does not matter; any of the group without one.
    pub(crate) fn is_about(&self, group: &str, resource: Option<&str>) -> bool {
        self.group == group && (self.resource == "*" || resource == Some(self.resource.as_str()))
    }
}

/// The groups that a cluster has, as `/apis` lists them.
#[derive(Debug, Deserialize)]
pub(crate) struct Groups {
    pub(crate) groups: Vec<Group>,
}

/// A group, and its versions.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Group {
    pub(crate) name: String,
    versions: Vec<Version>,
    preferred_version: Option<Version>,
}

#[derive(Debug, Deserialize)]
struct Version {
    version: String,
}

impl Group {
    /// The versions, the preferred one first: a kind is read in the first that has it.
    pub(crate) fn versions(&self) -> Vec<&str> {
        let preferred =
            self.preferred_version.iter().chain(&self.versions).map(|version| version.version.as_str());
        let mut versions: Vec<&str> = Vec::new();
        for version in preferred {
            if !versions.contains(&version) {
                versions.push(version);
            }
        }
        versions
    }
}

/// What a version of a group has, as `/apis/<group>/<version>` lists it.
#[derive(Debug, Deserialize)]
pub(crate) struct Resources {
    // Null where a version has nothing.
    #[serde(deserialize_with = "Option::deserialize")]
    resources: Option<Vec<Resource>>,
}

#[derive(Debug, Deserialize)]
struct Resource {
    name: String,
    kind: String,
    #[serde(default)]
    verbs: Vec<String>,
}

impl Resources {
    /// The kinds that can be listed.
    pub(crate) fn kinds(self, group: &str, version: &str) -> Vec<Kind> {
        // `deployments/scale` is a part of a deployment.
        let listed = self.resources.into_iter().flatten().filter(|resource| {
            !resource.name.contains('/') && resource.verbs.iter().any(|verb| verb == "list")
        });
        listed
            .map(|Resource { name, kind, .. }| Kind {
                group: group.to_owned(),
                version: version.to_owned(),
                resource: name,
                kind,
            })
            .collect()
    }
}

/// Whether objects of a kind may name images, by the OpenAPI document (version 3) of the version of its group. A kind that the
/// document does not describe may, and so may one that holds what its schema does not say.
pub(crate) fn may_name_images(document: &Value, kind: &Kind) -> bool {
    let Some(schemas) = document.pointer("/components/schemas").and_then(Value::as_object) else {
        return true;
    };
    let is_it = |schema: &&Value| {
        let kinds = schema.get("x-kubernetes-group-version-kind").and_then(Value::as_array);
        kinds.into_iter().flatten().any(|known| {
            let is = |name: &str, value: &str| known.get(name).and_then(Value::as_str) == Some(value);
            is("group", &kind.group) && is("version", &kind.version) && is("kind", &kind.kind)
        })
    };
    let Some(schema) = schemas.values().find(is_it) else { return true };
    let mut search = Search { document, seen: HashSet::new() };
    search.names_images(schema, 0)
}

/// The search for places of images in a schema.
struct Search<'a> {
    document: &'a Value,
    /// The schemas that were looked at: they refer to each other, and to themselves.
    seen: HashSet<&'a str>,
}

impl<'a> Search<'a> {
    fn names_images(&mut self, schema: &'a Value, depth: usize) -> bool {
        if depth > MAX_DEPTH {
            return true;
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            if target.ends_with(".ObjectMeta") || !self.seen.insert(target) {
                return false;
            }
            // A part of the document: `#/components/schemas/…`.
            return match target.strip_prefix('#').and_then(|pointer| self.document.pointer(pointer)) {
                Some(schema) => self.names_images(schema, depth + 1),
                None => true,
            };
        }
        let is_open = |name: &str| schema.get(name).and_then(Value::as_bool) == Some(true);
        if is_open("x-kubernetes-preserve-unknown-fields") || is_open("x-kubernetes-embedded-resource") {
            return true;
        }
        for name in ["allOf", "anyOf", "oneOf"] {
            let parts = schema.get(name).and_then(Value::as_array).into_iter().flatten();
            if parts.into_iter().any(|part| self.names_images(part, depth + 1)) {
                return true;
            }
        }
        if let Some(items) = schema.get("items")
            && self.names_images(items, depth + 1)
        {
            return true;
        }
        if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object())
            && self.names_images(values, depth + 1)
        {
            return true;
        }
        let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        properties.into_iter().any(|(name, property)| {
            // The container of a pod has one, and so have the resources of many operators.
            let is_image = name == "image" && property.get("type").and_then(Value::as_str) == Some("string");
            is_image || (name != "metadata" || depth > 0) && self.names_images(property, depth + 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind() -> Kind {
        Kind {
            group: "example.com".to_owned(),
            version: "v1".to_owned(),
            resource: "things".to_owned(),
            kind: "Thing".to_owned(),
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "tests make them where they hand them over")]
    fn document(spec: Value) -> Value {
        json!({ "components": { "schemas": {
            "com.example.v1.Thing": {
                "properties": { "metadata": { "x-kubernetes-preserve-unknown-fields": true }, "spec": spec },
                "x-kubernetes-group-version-kind": [{ "group": "example.com", "version": "v1", "kind": "Thing" }] },
            "com.example.v1.Template": { "properties": { "spec": { "properties": {
                "containers": { "type": "array", "items": { "properties": { "image": { "type": "string" } } } },
                "self": { "$ref": "#/components/schemas/com.example.v1.Template" } } } } } } } })
    }

    #[test]
    fn a_kind_is_read_where_its_schema_has_a_place_for_images_or_does_not_say() {
        let reads = |spec: Value| may_name_images(&document(spec), &kind());
        assert!(reads(
            json!({ "properties": { "template": { "$ref": "#/components/schemas/com.example.v1.Template" } } })
        ));
        assert!(reads(
            json!({ "properties": { "jobs": { "items": { "allOf": [{ "$ref": "#/components/schemas/com.example.v1.Template" }] } } } })
        ));
        assert!(reads(
            json!({ "properties": { "pools": { "additionalProperties": { "properties": { "image": { "type": "string" } } } } } })
        ));
        assert!(reads(json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })));
        assert!(reads(json!({ "$ref": "#/components/schemas/missing" })));
        assert!(!reads(
            json!({ "properties": { "replicas": { "type": "integer" }, "image": { "type": "integer" } } })
        ));
        assert!(!reads(json!({ "type": "object" })));
        assert!(may_name_images(&json!({}), &kind()));
        let other = Kind { kind: "Other".to_owned(), ..kind() };
        assert!(may_name_images(&document(json!({})), &other), "it is not described");
    }

    #[test]
    fn a_schema_without_end_may_hold_anything() {
        let mut spec = json!({ "properties": {} });
        for _ in 0..2 * MAX_DEPTH {
            spec = json!({ "items": spec });
        }
        assert!(may_name_images(&document(spec), &kind()));
    }

    #[test]
    fn a_kind_is_read_in_the_preferred_version_and_what_cannot_be_listed_is_left_out() {
        let group: Group = serde_json::from_value(json!({ "name": "example.com",
            "versions": [{ "version": "v1beta1" }, { "version": "v1" }], "preferredVersion": { "version": "v1" } }))
        .unwrap();
        assert_eq!(group.versions(), ["v1", "v1beta1"]);
        let resources: Resources = serde_json::from_value(json!({ "resources": [
            { "name": "things", "kind": "Thing", "verbs": ["get", "list"] },
            { "name": "things/status", "kind": "Thing", "verbs": ["get", "list"] },
            { "name": "reviews", "kind": "Review", "verbs": ["create"] } ] }))
        .unwrap();
        let kinds = resources.kinds("example.com", "v1");
        assert_eq!(kinds, [kind()]);
        assert_eq!(
            (kinds[0].path(), kinds[0].name()),
            ("/apis/example.com/v1/things".to_owned(), "things.example.com".to_owned())
        );
    }

    #[test]
    fn kinds_of_kubernetes_itself_are_always_read() {
        assert!(Without::parse("deployments.apps").is_err() && Without::parse("pods").is_err());
        let without = Without::parse("rollouts.argoproj.io").unwrap();
        assert!(without.is_about("argoproj.io", Some("rollouts")));
        assert!(
            !without.is_about("argoproj.io", Some("workflows")) && !without.is_about("argoproj.io", None)
        );
        assert!(Without::parse("*.argoproj.io").unwrap().is_about("argoproj.io", None));
    }
}
