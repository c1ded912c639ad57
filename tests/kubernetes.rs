//! `ecr-steward in-use --kubernetes` on a cluster that answers as the Kubernetes API is documented.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tests::binaries::binary;
use tests::cloud::BUCKET;
use tests::ecr_stub::EcrStub;
use tests::kubernetes_stub::KubernetesStub;

const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

/// A cluster, and a folder with the file that says how to reach it.
struct Setup {
    cluster: KubernetesStub,
    folder: TempDir,
}

impl Setup {
    fn new() -> Self {
        let setup = Self { cluster: KubernetesStub::start(), folder: tempfile::tempdir().unwrap() };
        setup.cluster.kubeconfig(setup.folder.path());
        setup
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// The program with nothing in its environment: no account.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("ecr-steward"));
        command.env_clear().env("AWS_EC2_METADATA_DISABLED", "true").stdin(Stdio::null());
        command.args(["in-use", "--kubernetes", "--kubeconfig"]).arg(self.kubeconfig()).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The same for somebody who is signed in.
    fn write(&self, aws: &EcrStub, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        command
            .env("AWS_ENDPOINT_URL", aws.url())
            .env("AWS_REGION", "eu-west-1")
            .env("AWS_ACCESS_KEY_ID", "AKIATEST")
            .env("AWS_SECRET_ACCESS_KEY", "test");
        command.output().unwrap()
    }

    /// The images of a list that is complete.
    #[track_caller]
    fn images(&self, arguments: &[&str]) -> Vec<String> {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        uris(&serde_json::from_slice(&output.stdout).unwrap())
    }
}

fn uris(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|entry| entry["imageUri"].as_str().unwrap().to_owned()).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn digest(letter: char) -> String {
    format!("sha256:{}", letter.to_string().repeat(64))
}

/// A template of a pod, or a pod's spec with a status.
fn template(image: &str) -> Value {
    json!({ "spec": { "containers": [{ "name": "main", "image": format!("{ECR}/{image}") }] } })
}

fn pod(image: &str, id: &str) -> Value {
    json!({ "spec": template(image)["spec"],
        "status": { "containerStatuses": [{ "name": "main", "image": format!("{ECR}/{image}"), "imageID": id }] } })
}

/// A shop: what runs, what waits, and what a rollback starts again.
fn shop() -> Setup {
    let setup = Setup::new();
    let cluster = &setup.cluster;
    cluster.add("pods", "shop", "web-1", pod("web:v2", &format!("{ECR}/web@{}", digest('a'))));
    cluster.add(
        "deployments.apps",
        "shop",
        "web",
        json!({ "spec": { "replicas": 0, "template": template("web:v2") } }),
    );
    cluster.add(
        "replicasets.apps",
        "shop",
        "web-old",
        json!({ "spec": { "replicas": 0, "template": template("web:v1") } }),
    );
    cluster.add(
        "controllerrevisions.apps",
        "shop",
        "db-1",
        json!({ "data": { "spec": { "template": template("db:v1") } }, "revision": 1 }),
    );
    cluster.add(
        "jobs.batch",
        "shop",
        "migrate",
        json!({ "spec": { "suspend": true, "template": template("job:v1") } }),
    );
    cluster.add(
        "cronjobs.batch",
        "shop",
        "nightly",
        json!({ "spec": { "jobTemplate": { "spec": { "template": template("cron:v1") } } } }),
    );
    // Added to the cluster: one with a template, one whose schema says nothing, and one that can hold no image.
    let with_template = json!({ "properties": { "template": { "properties": { "spec": { "properties": { "containers": {
        "type": "array", "items": { "properties": { "image": { "type": "string" } } } } } } } } } });
    cluster.define("rollouts.argoproj.io", "v1alpha1", "Rollout", Some(with_template));
    cluster.add(
        "rollouts.argoproj.io",
        "shop",
        "cart",
        json!({ "spec": { "template": template("cart:v1") } }),
    );
    let open = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    cluster.define("services.serving.knative.dev", "v1", "Service", Some(open));
    cluster.add(
        "services.serving.knative.dev",
        "shop",
        "hello",
        json!({ "spec": { "template": template("hello:v1") } }),
    );
    let closed = json!({ "properties": { "dnsNames": { "type": "array", "items": { "type": "string" } } } });
    cluster.define("certificates.cert-manager.io", "v1", "Certificate", Some(closed));
    setup
}

#[test]
fn everything_that_describes_pods_is_found_by_discovery_and_nothing_else_is_read() {
    let setup = shop();
    let images = setup.images(&[]);
    let expected = ["cart:v1", "cron:v1", "db:v1", "hello:v1", "job:v1", "web:v1", "web:v2"]
        .map(|image| format!("{ECR}/{image}"));
    for image in &expected {
        assert!(images.contains(image), "{image}: {images:?}");
    }
    assert!(images.contains(&format!("{ECR}/web@{}", digest('a'))));
    assert_eq!(images.len(), expected.len() + 1);
    let asked = setup.cluster.state().asked.clone();
    assert!(asked.iter().all(|request| request.starts_with("GET /")), "{asked:?}");
    for kind in ["secrets", "configmaps", "certificates?", "ingresses", "/status"] {
        assert!(!asked.iter().any(|request| request.contains(kind)), "{kind}: {asked:?}");
    }
}

#[test]
fn a_thousand_pods_come_in_pages_and_every_one_counts() {
    let setup = Setup::new();
    for number in 0..1000 {
        setup.cluster.add(
            "pods",
            "shop",
            &format!("web-{number}"),
            pod(&format!("web:{number}"), &format!("{ECR}/web@sha256:{number:064x}")),
        );
    }
    assert_eq!(setup.images(&[]).len(), 2000);
    let pages = setup.cluster.state().asked.iter().filter(|request| request.contains("/api/v1/pods")).count();
    assert_eq!(pages, 4);
}

#[test]
fn a_list_whose_pages_expire_is_read_anew_and_given_up_when_that_continues() {
    let setup = Setup::new();
    for number in 0..600 {
        setup.cluster.add("pods", "shop", &format!("web-{number}"), pod(&format!("web:{number}"), ""));
    }
    setup.cluster.state().expiring.insert("pods".to_owned(), 2);
    assert_eq!(setup.images(&[]).len(), 600);
    setup.cluster.state().expiring.insert("pods".to_owned(), 1000);
    let output = setup.run(&[]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    assert!(stderr(&output).contains("pods: its pages expired 4 times"), "{}", stderr(&output));
}

#[test]
fn a_kind_that_may_not_be_read_makes_the_list_incomplete_and_says_what_to_allow() {
    let setup = shop();
    setup.cluster.state().denied.extend(["jobs.batch".to_owned(), "rollouts.argoproj.io".to_owned()]);
    let output = setup.run(&[]);
    assert_eq!(
        (output.status.code(), output.stdout.len()),
        (Some(2), 0),
        "a shorter list must not look complete"
    );
    let message = stderr(&output);
    assert!(
        message.contains("jobs.batch: 403 ")
            && message.contains("apiGroups: [\"batch\"], resources: [jobs], verbs: [list]"),
        "{message}"
    );
    assert!(message.contains("or say --without rollouts.argoproj.io if it holds no images"), "{message}");
    // What does not matter is said to be so, kind by kind; Kubernetes' own always matter.
    setup.cluster.state().denied.remove("jobs.batch");
    assert!(
        !setup.images(&["--without", "rollouts.argoproj.io"]).iter().any(|image| image.ends_with("/cart:v1"))
    );
    let refused = setup.run(&["--without", "jobs.batch"]);
    assert!(
        stderr(&refused).contains("is of Kubernetes itself, which is always read"),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn what_cannot_be_discovered_is_not_mistaken_for_empty() {
    for (path, expected) in [
        (
            "/apis/argoproj.io/v1alpha1",
            "argoproj.io/v1alpha1: /apis/argoproj.io/v1alpha1 does not say what there is",
        ),
        ("/apis/apps/v1", "deployments.apps: the cluster does not say that it can be listed"),
        ("/apis", "the cluster does not answer /apis"),
        ("/api/v1", "the cluster does not answer /api/v1"),
        ("/api/v1/pods", "pods: 500"),
    ] {
        let setup = shop();
        setup.cluster.state().failing.insert(path.to_owned(), (500, 100));
        let output = setup.run(&[]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{path}");
        assert!(stderr(&output).contains(expected), "{path}: {}", stderr(&output));
    }
    // Answers that are no lists.
    for answer in [json!({}), json!({ "kind": "Status" }), json!([]), json!({ "items": 7 })] {
        let setup = shop();
        setup.cluster.state().answers.insert("/api/v1/pods".to_owned(), answer.clone());
        let output = setup.run(&[]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{answer}");
        assert!(stderr(&output).contains("pods: the answer is not what it should be"), "{}", stderr(&output));
    }
    let again = json!({ "items": [], "metadata": { "continue": "x" } });
    let setup = shop();
    setup.cluster.state().answers.insert("/api/v1/pods".to_owned(), again);
    assert!(stderr(&setup.run(&[])).contains("the same page again and again"));
}

#[test]
fn a_kind_without_a_schema_is_read_and_so_are_all_when_there_are_no_schemas() {
    let setup = shop();
    setup.cluster.define("things.example.com", "v1", "Thing", None);
    setup.cluster.add("things.example.com", "shop", "t", json!({ "anything": template("thing:v1") }));
    assert!(setup.images(&[]).contains(&format!("{ECR}/thing:v1")));
    setup.cluster.state().failing.insert("/openapi/v3".to_owned(), (500, 100));
    assert!(setup.images(&[]).contains(&format!("{ECR}/cart:v1")));
    assert!(setup.cluster.state().asked.iter().any(|request| request.contains("/certificates?")));
}

#[test]
fn a_short_overload_of_the_cluster_is_waited_out() {
    let setup = shop();
    setup.cluster.state().failing.insert("/api/v1/pods".to_owned(), (429, 2));
    setup.cluster.state().failing.insert("/apis/apps/v1/deployments".to_owned(), (503, 1));
    assert_eq!(setup.images(&[]).len(), 8);
}

#[test]
fn contexts_and_programs_that_sign_in_work_as_with_kubectl_and_their_secrets_stay_theirs() {
    let setup = shop();
    assert_eq!(setup.images(&["--context", "program"]).len(), 8);
    let mut by_variable = Command::new(binary("ecr-steward"));
    by_variable.env_clear().env("KUBECONFIG", setup.kubeconfig()).args(["in-use", "--kubernetes"]);
    assert!(by_variable.output().unwrap().status.success());
    let cases = [("stranger", "401 Unauthorized"), ("broken", "no session"), ("missing", "missing")];
    for (context, expected) in cases {
        let output = setup.run(&["--context", context]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{context}");
        let message = stderr(&output);
        assert!(message.contains(expected) && !message.contains("a-secret"), "{context}: {message}");
    }
    let nowhere =
        Command::new(binary("ecr-steward")).env_clear().args(["in-use", "--kubernetes"]).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(stderr(&nowhere).contains("no cluster is known"), "{}", stderr(&nowhere));
}

#[test]
fn what_a_cluster_says_does_not_reach_the_terminal_as_commands() {
    let setup = shop();
    setup.cluster.add("pods", "shop\u{1b}[2J", "evil\u{1b}]0;x\u{7}", pod("web@sha256:12", ""));
    let output = setup.run(&[]);
    assert_eq!(output.status.code(), Some(2));
    let message = stderr(&output);
    assert!(
        message.contains("cut off") && !message.contains('\u{1b}') && !message.contains('\u{7}'),
        "{message:?}"
    );
}

#[test]
fn the_list_of_a_cluster_says_who_wrote_it_what_was_read_and_what_was_not() {
    let setup = shop();
    let aws = EcrStub::start();
    let address = format!("s3://{BUCKET}/usage/eks/shop.json");
    let output = setup.write(&aws, &["--write", &address]);
    assert!(output.status.success() && output.stdout.is_empty(), "{}", stderr(&output));
    let list = |key: &str| -> Value {
        let text = aws.cloud(|cloud| cloud.object_text(&format!("{BUCKET}/{key}"))).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let whole = list("usage/eks/shop.json");
    assert_eq!((&whole["formatVersion"], &whole["cluster"]), (&json!(2), &json!("shop")));
    assert_eq!(
        (&whole["writtenBy"]["account"], &whole["writtenBy"]["region"]),
        (&json!("123456789012"), &json!("eu-west-1"))
    );
    assert_eq!(whole["gaps"], Value::Null);
    assert_eq!(whole["images"].as_array().unwrap().len(), 8);
    let sources = whole["sources"].as_array().unwrap();
    assert!(sources.iter().any(|source| source["source"] == "kubernetes/rollouts.argoproj.io" && source["imagesInUse"] == 1), "{sources:?}");

    // From another account and Region; and not everything: what is known is written, with what is not.
    setup.cluster.state().denied.insert("jobs.batch".to_owned());
    let unknown = json!({ "spec": template("side:v1")["spec"], "status": { "containerStatuses": [{ "name": "main", "image": format!("{ECR}/side:v1"),
        "imageID": digest('c'), "state": { "running": { "startedAt": "2026-11-01T00:00:00Z" } } }] } });
    setup.cluster.add("pods", "shop", "side-1", unknown);
    let key = "usage/210987654321/eks/us-east-1/shop.json";
    let output = setup.write(&aws, &["--write", &format!("s3://{BUCKET}/{key}")]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("kubernetes/jobs.batch: 403"), "{}", stderr(&output));
    let partial = list(key);
    let writer = &partial["writtenBy"];
    assert_eq!(
        (&writer["account"], &writer["region"], &writer["principal"]),
        (&json!("210987654321"), &json!("us-east-1"), &Value::Null)
    );
    assert_eq!(partial["gaps"][0]["source"], "kubernetes/jobs.batch");
    assert!(partial["sources"].as_array().unwrap().iter().any(|source| source["status"] == "INCOMPLETE"));
    assert_eq!(partial["unknownImages"][0]["usedBy"], "Pod/shop/side-1/main");
    // A list that says where else it goes is not written anywhere.
    let refused = setup.write(&aws, &["--write", &format!("s3://{BUCKET}/policies.yaml")]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(aws.cloud(|cloud| cloud.object_text(&format!("{BUCKET}/policies.yaml"))).is_none());
}

#[test]
fn a_cluster_that_cannot_be_read_leaves_the_last_list_to_grow_old() {
    let setup = shop();
    let aws = EcrStub::start();
    let address = format!("s3://{BUCKET}/usage/eks/shop.json");
    let output = setup.write(&aws, &["--context", "stranger", "--write", &address]);
    assert_eq!(output.status.code(), Some(2));
    assert!(aws.cloud(|cloud| cloud.object_text(&format!("{BUCKET}/usage/eks/shop.json"))).is_none());
}
