//! What `kubectl get … --output json` prints, as a list of images in use: the containers of pods, and of whatever has a template
//! of pods, with the images that pods were really started with.

use serde_json::Value;

/// The images that a cluster's objects name, each with the object that names it; or why that is not all of them. `None` for a
/// value that is no object of Kubernetes.
pub(crate) fn images(value: &Value) -> Option<Result<Vec<(String, String)>, String>> {
    let kind = value.get("kind").and_then(Value::as_str)?;
    value.get("apiVersion").and_then(Value::as_str)?;
    let mut found = Vec::new();
    match value.get("items").and_then(Value::as_array) {
        Some(items) => {
            let token = value.pointer("/metadata/continue").and_then(Value::as_str).unwrap_or_default();
            if !token.is_empty() {
                return Some(Err("it is one page of what the cluster has, and ends with a token for more; list all objects \
                                 with kubectl, which follows the pages"
                    .to_owned()));
            }
            // The API itself leaves the kind of each item out.
            let kind = kind.strip_suffix("List").filter(|kind| !kind.is_empty()).unwrap_or("object");
            items.iter().for_each(|item| take(item, kind, &mut found));
        }
        None => take(value, kind, &mut found),
    }
    Some(Ok(found))
}

fn take(object: &Value, kind: &str, found: &mut Vec<(String, String)>) {
    walk(object, &name_of(object, kind), found);
}

/// The name of an object among all of a cluster: `KIND/NAMESPACE/NAME`, or `KIND/NAME` outside namespaces. `kind` is for objects that do
/// not say it, as those in the API's lists.
#[must_use]
pub fn name_of(object: &Value, kind: &str) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let kind = text("/kind").unwrap_or(kind);
    let name = text("/metadata/name").unwrap_or("?");
    match text("/metadata/namespace") {
        Some(namespace) => format!("{kind}/{namespace}/{name}"),
        None => format!("{kind}/{name}"),
    }
}

/// Takes images wherever a template of pods stands: in a deployment, in the job of a cron job, in the revision of a stateful set,
/// in the resources of others.
fn walk(value: &Value, user: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, user, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                let pointer = match name.as_str() {
                    "containers" | "initContainers" | "ephemeralContainers" => "/image",
                    "containerStatuses" | "initContainerStatuses" | "ephemeralContainerStatuses" => {
                        "/imageID"
                    }
                    "volumes" => "/image/reference",
                    _ => {
                        walk(value, user, found);
                        continue;
                    }
                };
                let images =
                    value.as_array().into_iter().flatten().filter_map(|item| item.pointer(pointer)?.as_str());
                found.extend(
                    images.filter(|image| !image.is_empty()).map(|image| (image.to_owned(), user.to_owned())),
                );
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_runs_waits_or_is_rolled_back_to_is_named_with_who_names_it() {
        let of = |image: &str| json!({ "spec": { "containers": [{ "image": image }] } });
        let metadata = |name: &str| json!({ "namespace": "shop", "name": name });
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
            { "kind": "Deployment", "metadata": metadata("web"), "spec": { "template": of("app:1") } },
            { "kind": "CronJob", "metadata": metadata("job"), "spec": { "jobTemplate": { "spec": { "template": of("app:2") } } } },
            { "kind": "ControllerRevision", "metadata": metadata("old"), "data": { "spec": { "template": of("app:3") } } },
            { "kind": "Pod", "metadata": metadata("web-1"),
              "spec": { "containers": [{ "image": "app:1" }], "initContainers": [{ "image": "app:4" }],
                        "ephemeralContainers": [{ "image": "app:5" }],
                        "volumes": [{ "image": { "reference": "app:6" } }, { "emptyDir": {} }] },
              "status": { "containerStatuses": [{ "image": "app:1", "imageID": "app@sha256:aa" }, { "imageID": "" }] } },
        ] });
        let found = images(&list).unwrap().unwrap();
        let names: Vec<&str> = found.iter().map(|(image, _)| image.as_str()).collect();
        for wanted in ["app:1", "app:2", "app:3", "app:4", "app:5", "app:6", "app@sha256:aa"] {
            assert!(names.contains(&wanted), "{wanted}: {names:?}");
        }
        assert!(found.contains(&("app:2".to_owned(), "CronJob/shop/job".to_owned())));
        // As the API itself answers.
        let raw = json!({ "apiVersion": "v1", "kind": "PodList", "items": [{ "metadata": metadata("p"), "spec": { "containers": [{ "image": "a" }] } }] });
        assert_eq!(images(&raw).unwrap().unwrap(), [("a".to_owned(), "Pod/shop/p".to_owned())]);
    }

    #[test]
    fn one_page_of_several_is_not_everything() {
        let page =
            json!({ "apiVersion": "v1", "kind": "PodList", "metadata": { "continue": "x" }, "items": [] });
        assert!(images(&page).unwrap().is_err());
        assert!(images(&json!({ "kind": "x" })).is_none());
        assert!(images(&json!([])).is_none());
    }
}
