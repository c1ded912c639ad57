//! Which images the objects of a cluster name: JSON in, references out.
//!
//! A reference counts when it names a registry of Amazon ECR, or has a digest: a digest names the same image under every host. Tags
//! of other registries are left out, unless the host is said to stand before ECR.

use std::collections::BTreeMap;

use serde_json::Value;
use shared::domain::image::reference::ImageReference;
use shared::domain::text::instant::Instant;
use shared::domain::usage::kubernetes::name_of;
use shared::domain::usage::{UnknownImage, UsedImage};

/// Maximum number of users that are kept of an image.
const MAX_USERS: usize = 20;
/// Maximum number of different references that are kept. A list has room for fewer.
const MAX_REFERENCES: usize = 200_000;
/// Maximum number of containers that are kept whose image is not known.
const MAX_UNKNOWN_IMAGES: usize = 10_000;
/// Maximum number of problems of a kind that are told.
const MAX_PROBLEMS: usize = 100;
/// Maximum depth of an object that is looked at. Kubernetes' own have less than twenty levels.
const MAX_DEPTH: usize = 100;
/// Maximum length of a text that is looked at for references, in bytes.
const MAX_TEXT: usize = 100_000;

/// The images that objects name.
#[derive(Debug, Default)]
pub(crate) struct Images {
    /// References by how they are spelled, and who uses them.
    used: BTreeMap<String, (ImageReference, Vec<String>)>,
    /// Containers that run an image whose digest nobody tells.
    unknown: Vec<UnknownImage>,
    /// What could not be read as a reference although it has to be one.
    problems: Vec<String>,
}

/// Where a text stands, which says what to do when it is no reference.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A field of Kubernetes that holds a reference and nothing else.
    Image,
    /// Anywhere else: references may stand in it.
    Anywhere,
}

impl Images {
    /// Takes the images that an object names: of its containers, volumes and statuses, wherever in it a pod is described, and every
    /// other text in it that names an image in ECR. `hosts` are registries that stand before ECR.
    pub(crate) fn take(&mut self, kind: &str, object: &Value, hosts: &[String]) {
        let user = name_of(object, kind);
        let Value::Object(fields) = object else {
            self.problems.push(format!("{user}: it is no object"));
            return;
        };
        let mut walk = Walk { images: self, user: &user, hosts };
        // What metadata names was once, or is somebody's note: annotations repeat what was applied before.
        fields
            .iter()
            .filter(|(name, _)| name.as_str() != "metadata")
            .for_each(|(name, value)| walk.field(name, value, 0));
        walk.statuses(object);
    }

    /// Adds what others name.
    pub(crate) fn merge(&mut self, others: Self) {
        for (name, (reference, users)) in others.used {
            self.add(name, reference, &users);
        }
        self.unknown.extend(others.unknown);
        self.problems.extend(others.problems);
    }

    /// How many different references there are.
    pub(crate) fn len(&self) -> usize {
        self.used.len()
    }

    /// Why more images may be in use than are named.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = self.problems.clone();
        if self.used.len() >= MAX_REFERENCES {
            problems
                .push(format!("it names more than {MAX_REFERENCES} images, and the others were not read"));
        }
        if self.unknown.len() > MAX_UNKNOWN_IMAGES {
            problems.push(format!(
                "more than {MAX_UNKNOWN_IMAGES} containers run images whose digests their nodes do not tell"
            ));
        }
        problems
    }

    /// The images, each with who uses it, and those that run without being known.
    pub(crate) fn parts(&self) -> (Vec<UsedImage>, Vec<UnknownImage>) {
        let used = self
            .used
            .values()
            .map(|(reference, used_by)| UsedImage { reference: reference.clone(), used_by: used_by.clone() });
        (used.collect(), self.unknown.iter().take(MAX_UNKNOWN_IMAGES).cloned().collect())
    }

    fn add(&mut self, name: String, reference: ImageReference, users: &[String]) {
        if self.used.len() >= MAX_REFERENCES && !self.used.contains_key(&name) {
            return;
        }
        let (_, known) = self.used.entry(name).or_insert_with(|| (reference, Vec::new()));
        for user in users {
            if known.len() < MAX_USERS && !known.contains(user) {
                known.push(user.clone());
            }
        }
    }
}

/// A walk through one object.
struct Walk<'a> {
    images: &'a mut Images,
    user: &'a str,
    hosts: &'a [String],
}

impl Walk<'_> {
    fn field(&mut self, name: &str, value: &Value, depth: usize) {
        if depth > MAX_DEPTH {
            let problem = format!("{}: it has more than {MAX_DEPTH} levels", self.user);
            if !self.images.problems.contains(&problem) {
                self.images.problems.push(problem);
            }
            return;
        }
        match (name, value) {
            // Image volumes: {"name": …, "image": {"reference": …}}. Their statuses: {"image": {"imageRef": …}}.
            ("image" | "imageID" | "imageRef", Value::String(text)) => self.text(text, Place::Image),
            ("reference", Value::String(text)) if is_of_ecr(text) => self.text(text, Place::Image),
            (_, Value::String(text)) => self.text(text, Place::Anywhere),
            (_, Value::Array(items)) => items.iter().for_each(|item| self.field("", item, depth + 1)),
            (_, Value::Object(fields)) => {
                fields.iter().for_each(|(name, value)| self.field(name, value, depth + 1));
            }
            (_, Value::Null | Value::Bool(_) | Value::Number(_)) => {}
        }
    }

    fn text(&mut self, text: &str, place: Place) {
        if place == Place::Image {
            return match ImageReference::parse_exact(text) {
                // The id of an image, which is the digest of its configuration: `statuses` says what runs there.
                Ok(reference) if reference.is_bare_digest() => {}
                Ok(reference) if self.counts(&reference) => self.add(reference),
                Ok(_) => {}
                // What somebody else's field of this name holds, and an image that is set later, is nothing to miss.
                Err(_) if !is_of_ecr(text) => {}
                Err(error) => self.images.problems.push(format!("{}: {error}", self.user)),
            };
        }
        if !is_of_ecr(text) {
            return;
        }
        if text.len() > MAX_TEXT {
            let problem =
                format!("{}: a text of {} bytes names Amazon ECR, and was not read", self.user, text.len());
            self.images.problems.push(problem);
            return;
        }
        // The argument or variable of an operator, or a file in a field.
        let between = |c: char| {
            c.is_whitespace()
                || matches!(
                    c,
                    ',' | ';' | '=' | '"' | '\'' | '`' | '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>' | '|'
                )
        };
        for word in text.split(between).filter(|word| is_of_ecr(word)) {
            if let Ok(reference) = ImageReference::parse_exact(word)
                && reference.registry_id().is_some()
            {
                self.add(reference);
            }
        }
    }

    /// Whether a reference may name an image in ECR.
    fn counts(&self, reference: &ImageReference) -> bool {
        let host = reference.registry.as_deref();
        reference.digest.is_some()
            || reference.registry_id().is_some()
            || host.is_some_and(|host| {
                is_of_ecr(host) || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
            })
    }

    fn add(&mut self, reference: ImageReference) {
        self.images.add(reference.to_string(), reference, &[self.user.to_owned()]);
    }

    /// Looks for containers of a pod that run an image by a tag, and of which the node tells no digest. With containerd that is an
    /// image that was not pulled but imported. Its id is the digest of a configuration, which names no image in ECR. Other runtimes
    /// tell the name once more, or nothing.
    fn statuses(&mut self, pod: &Value) {
        for (statuses, containers) in [
            ("containerStatuses", "containers"),
            ("initContainerStatuses", "initContainers"),
            ("ephemeralContainerStatuses", "ephemeralContainers"),
        ] {
            let at = |part: &str, name: &str| {
                pod.get(part).and_then(|part| part.get(name)).and_then(Value::as_array).into_iter().flatten()
            };
            for status in at("status", statuses) {
                let text =
                    |pointer: &str| status.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
                let id = text("/imageID");
                let is_started = |state: &str| status.pointer(state).is_some_and(|state| !state.is_null());
                let has_digest = id
                    .parse::<ImageReference>()
                    .is_ok_and(|reference| reference.digest.is_some() && !reference.is_bare_digest());
                // Its digest is told, or nothing was started yet.
                if has_digest || (id.is_empty() && !is_started("/state/running")) {
                    continue;
                }
                let by_name =
                    |container: &&Value| container.get("name").and_then(Value::as_str) == Some(text("/name"));
                let in_spec =
                    at("spec", containers).find(by_name).and_then(|found| found.get("image")?.as_str());
                let reference = [text("/image"), in_spec.unwrap_or_default()]
                    .iter()
                    .filter_map(|text| ImageReference::parse_exact(text).ok())
                    .find(|reference| !reference.is_bare_digest());
                let Some(reference) =
                    reference.filter(|reference| reference.digest.is_none() && self.counts(reference))
                else {
                    continue;
                };
                let started = [text("/state/running/startedAt"), text("/state/terminated/startedAt")];
                let started_at = started.iter().find_map(|time| Instant::parse(time).ok());
                self.add(reference.clone());
                self.images.unknown.push(UnknownImage {
                    reference,
                    started_at,
                    used_by: format!("{}/{}", self.user, text("/name")),
                });
            }
        }
        if self.images.problems.len() > MAX_PROBLEMS {
            self.images.problems.truncate(MAX_PROBLEMS);
            self.images.problems.push("and others".to_owned());
        }
    }
}

/// Whether a text names a registry of ECR, well-formed or not: 123456789012.dkr.ecr.eu-west-1.amazonaws.com,
/// 123456789012.dkr-ecr.eu-west-1.on.aws and their variants.
fn is_of_ecr(text: &str) -> bool {
    let text = text.as_bytes();
    [b".dkr.ecr".as_slice(), b".dkr-ecr"]
        .iter()
        .any(|mark| text.windows(mark.len()).any(|window| window.eq_ignore_ascii_case(mark)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

    fn hex(letter: char) -> String {
        format!("sha256:{}", letter.to_string().repeat(64))
    }

    fn taken(objects: &[Value]) -> Images {
        let mut images = Images::default();
        objects.iter().for_each(|object| images.take("Pod", object, &["images.example.com".to_owned()]));
        images
    }

    fn names(objects: &[Value]) -> Vec<String> {
        taken(objects).used.into_keys().collect()
    }

    #[expect(clippy::needless_pass_by_value, reason = "tests make them where they hand them over")]
    fn pod(spec: Value, status: Value) -> Value {
        json!({ "metadata": { "namespace": "shop", "name": "web-1" }, "spec": spec, "status": status })
    }

    #[test]
    fn every_form_of_an_image_id_gives_the_digest_that_runs() {
        let digest = hex('a');
        for id in [
            format!("{ECR}/shop/web@{digest}"),
            format!("docker-pullable://{ECR}/shop/web@{digest}"),
            format!("docker://{ECR}/shop/web@{digest}"),
            format!("containerd://{ECR}/shop/web@{digest}"),
        ] {
            let pod = pod(
                json!({ "containers": [{ "name": "web", "image": format!("{ECR}/shop/web:v1") }] }),
                json!({ "containerStatuses": [{ "name": "web", "image": format!("{ECR}/shop/web:v1"), "imageID": id }] }),
            );
            let images = taken(&[pod]);
            assert_eq!(images.unknown, [], "{id}");
            let names: Vec<String> = images.used.into_keys().collect();
            assert_eq!(names, [format!("{ECR}/shop/web:v1"), format!("{ECR}/shop/web@{digest}")], "{id}");
        }
    }

    #[test]
    fn the_id_of_an_image_without_a_digest_keeps_what_was_there_when_the_container_started() {
        let status = |image: &str| {
            json!({ "containerStatuses": [{ "name": "web", "image": image, "imageID": hex('c'),
                "state": { "running": { "startedAt": "2026-11-01T00:00:00Z" } } }] })
        };
        let spec = json!({ "containers": [{ "name": "web", "image": format!("{ECR}/shop/web:v1") }] });
        for image in [format!("{ECR}/shop/web:v1"), hex('c')] {
            let images = taken(&[pod(spec.clone(), status(&image))]);
            assert_eq!(images.used.into_keys().collect::<Vec<_>>(), [format!("{ECR}/shop/web:v1")]);
            let [unknown] = images.unknown.as_slice() else { panic!("{:?}", images.unknown) };
            assert_eq!(unknown.reference.to_string(), format!("{ECR}/shop/web:v1"));
            assert_eq!(unknown.started_at, Instant::parse("2026-11-01T00:00:00Z").ok());
            assert_eq!(unknown.used_by, "Pod/shop/web-1/web");
        }
        // An image that its spec names by digest is known, and one of another registry is nobody's business.
        let known =
            json!({ "containers": [{ "name": "web", "image": format!("{ECR}/shop/web@{}", hex('b')) }] });
        assert_eq!(taken(&[pod(known, status(&hex('c')))]).unknown, []);
        let foreign = json!({ "containers": [{ "name": "web", "image": "nginx:1" }] });
        assert_eq!(taken(&[pod(foreign, status("docker.io/library/nginx:1"))]).unknown, []);
    }

    /// Some runtimes tell the name again, and some nothing, of what runs.
    #[test]
    fn a_container_that_runs_and_has_no_digest_in_its_status_may_run_any_image_of_then() {
        let spec = json!({ "containers": [{ "name": "web", "image": format!("{ECR}/shop/web:v1") }] });
        let status = |id: &str, state: Value| json!({ "containerStatuses": [{ "name": "web", "image": format!("{ECR}/shop/web:v1"), "imageID": id, "state": state }] });
        let running = json!({ "running": { "startedAt": "2026-11-01T00:00:00Z" } });
        let waiting = json!({ "waiting": { "reason": "ContainerCreating" } });
        for (id, state, is_unknown) in [
            (String::new(), running.clone(), true),
            (String::new(), waiting.clone(), false),
            (String::new(), Value::Null, false),
            (format!("{ECR}/shop/web:v1"), running.clone(), true),
            ("not an image".to_owned(), running.clone(), true),
            (format!("docker://{}", hex('c')), running.clone(), true),
            (format!("{ECR}/shop/web@{}", hex('c')), running, false),
        ] {
            let images = taken(&[pod(spec.clone(), status(&id, state))]);
            assert_eq!(images.unknown.len(), usize::from(is_unknown), "{id}: {:?}", images.unknown);
        }
    }

    #[test]
    fn all_containers_of_a_pod_and_its_image_volumes_count() {
        let of = |name: &str| json!([{ "name": name, "image": format!("{ECR}/{name}:1") }]);
        let digest = hex('d');
        let pod = pod(
            json!({ "containers": of("main"), "initContainers": of("init"), "ephemeralContainers": of("debug"),
                "volumes": [{ "name": "v", "image": { "reference": format!("{ECR}/data:1") } }] }),
            json!({ "initContainerStatuses": [{ "imageID": format!("{ECR}/init@{digest}") }],
                "ephemeralContainerStatuses": [{ "imageID": format!("{ECR}/debug@{digest}") }],
                "containerStatuses": [{ "imageID": "", "volumeMounts": [{ "volumeStatus": { "image": { "imageRef": format!("{ECR}/data@{digest}") } } }] }] }),
        );
        let names = names(&[pod]);
        for wanted in ["main:1", "init:1", "debug:1", "data:1"] {
            assert!(names.contains(&format!("{ECR}/{wanted}")), "{wanted}: {names:?}");
        }
        for wanted in ["init", "debug", "data"] {
            assert!(names.contains(&format!("{ECR}/{wanted}@{digest}")), "{wanted}: {names:?}");
        }
    }

    #[test]
    fn a_pod_that_is_described_anywhere_counts_and_so_does_an_argument_that_names_an_image() {
        let template =
            |image: &str| json!({ "spec": { "containers": [{ "image": format!("{ECR}/{image}") }] } });
        let objects = [
            json!({ "kind": "CronJob", "metadata": { "name": "a" }, "spec": { "jobTemplate": { "spec": { "template": template("a:1") } } } }),
            json!({ "kind": "ControllerRevision", "metadata": { "name": "b" }, "data": { "spec": { "template": template("b:1") } } }),
            json!({ "kind": "JobSet", "metadata": { "name": "c" }, "spec": { "replicatedJobs": [{ "template": { "spec": { "template": template("c:1") } } }] } }),
            json!({ "kind": "Deployment", "metadata": { "name": "d" }, "spec": { "template": { "spec": { "containers": [
                { "image": "quay.io/operator:1", "args": [format!("--sidecar={ECR}/d:1"), "--x"],
                  "env": [{ "name": "IMAGE", "value": format!("{ECR}/d:2") }] }] } } } }),
            json!({ "kind": "FlinkDeployment", "metadata": { "name": "e" }, "spec": { "image": format!("{ECR}/e:1") } }),
        ];
        assert_eq!(
            names(&objects),
            ["a:1", "b:1", "c:1", "d:1", "d:2", "e:1"].map(|name| format!("{ECR}/{name}"))
        );
    }

    #[test]
    fn references_into_every_partition_and_the_dual_stack_hosts_of_ecr_are_kept_and_others_by_digest_alone() {
        let images = |images: &[&str]| {
            let containers: Vec<Value> = images.iter().map(|image| json!({ "image": image })).collect();
            names(&[pod(json!({ "containers": containers }), Value::Null)])
        };
        let kept = [
            "123456789012.dkr-ecr.eu-west-1.on.aws/app:1",
            "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com/app:1",
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/app:1",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1",
            "images.example.com/app:1",
        ];
        assert_eq!(images(&kept), kept);
        assert_eq!(images(&["nginx:1", "app", "docker.io/library/nginx:1", "public.ecr.aws/x/y:1"]), [""; 0]);
        let mirrored = format!("mirror.example.com/app@{}", hex('a'));
        assert_eq!(
            images(&[&mirrored]),
            [mirrored.as_str()],
            "a digest names the same image under every host"
        );
    }

    #[test]
    fn hostile_texts_are_neither_believed_nor_lost() {
        let image = |image: &str| pod(json!({ "containers": [{ "image": image }] }), Value::Null);
        let broken =
            taken(&[image(&format!("{ECR}/app@sha256:12")), image("\u{1b}[2J"), image(""), image("a b")]);
        assert!(broken.used.is_empty());
        let [problem] = broken.problems.as_slice() else { panic!("{:?}", broken.problems) };
        assert!(problem.contains("Pod/shop/web-1") && problem.contains("cut off"), "{problem}");
        assert_eq!(taken(&[json!("a string"), json!(7)]).problems.len(), 2);
        let mut deep = json!(format!("{ECR}/app:1"));
        for _ in 0..2 * MAX_DEPTH {
            deep = json!([deep]);
        }
        assert_eq!(taken(&[json!({ "spec": deep })]).problems.len(), 1);
        let long = "x".repeat(MAX_TEXT) + ECR;
        assert_eq!(taken(&[json!({ "spec": { "text": long } })]).problems.len(), 1);
    }

    #[test]
    fn what_was_applied_once_and_notes_about_images_are_no_use() {
        let object = json!({ "metadata": { "name": "a", "annotations": { "last-applied": format!("{{\"image\":\"{ECR}/old:1\"}}") } } });
        assert_eq!(names(&[object]), [""; 0]);
    }
}
