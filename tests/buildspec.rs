//! The buildspec's own commands, run in bash with the environment that a request makes of it: images built by buildah and
//! pushed to a registry on loopback. Takes the emulator from PyPI, and so the feature `pypi`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use local::Project;
use local::codebuild::{Builder, Job, Ran, Variable};
use local::emulator::Emulator;
use local::registry::Proxy;
use local::tools::{self, AWS};
use serde_json::Value;
use shared::domain::builds::build_context::BuildContext;
use shared::domain::builds::build_definition::BuildDefinition;
use shared::domain::builds::event::SourceUpdate;
use shared::domain::builds::start_build_input::{BUILDSPEC, Projects, start_build_inputs};
use shared::domain::builds::{Source, SourceOrder};
use shared::domain::repository::{Name, Registry};
use shared::domain::text::instant::Instant;

const HOST: &str = "000000000000.dkr.ecr.eu-west-1.amazonaws.com";

struct Workshop {
    folder: tempfile::TempDir,
    project: Project,
    emulator: Emulator,
    runs: AtomicUsize,
}

impl Workshop {
    fn open() -> Self {
        tools::debian(&tools::BUILD).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let project = Project::here().running_in(folder.path().join("run"));
        let emulator = Emulator::up(&project).unwrap();
        let workshop = Self { folder, project, emulator, runs: AtomicUsize::new(0) };
        workshop.aws(&["ecr", "create-repository", "--repository-name", "team/app"]);
        workshop
    }

    fn aws(&self, arguments: &[&str]) -> Value {
        let aws = tools::install(&self.project, AWS).unwrap().join("aws");
        let output = self.emulator.lead(Command::new(aws).args(arguments)).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// Runs a build of these files, some variables set otherwise; gives its result, its log and its folder.
    fn run(
        &self,
        definition: &BuildDefinition,
        files: &[(&str, &str)],
        otherwise: &[(&str, &str)],
    ) -> (Ran, String, PathBuf) {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.path().join(format!("build-{number}"));
        for (name, content) in files {
            let file = folder.join("src").join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, content).unwrap();
        }
        fs::create_dir_all(folder.join("src")).unwrap();
        if files.iter().any(|(_, content)| content.contains("busybox")) {
            fs::copy("/bin/busybox", folder.join("src/busybox")).unwrap();
        }
        let arrived = SourceUpdate {
            source: Source::S3 {
                bucket: "b".to_owned(),
                key: "k.zip".to_owned(),
                version_id: format!("v{number}"),
            },
            reference: None,
            arrival: SourceOrder::at(Instant::parse("2026-11-23T10:00:00Z").unwrap()),
        };
        let registry = Registry::of_arn("arn:aws:lambda:eu-west-1:000000000000:function:f").unwrap();
        let projects = Projects { amd64: "x".to_owned(), arm64: Some("a".to_owned()) };
        let context = BuildContext::new(definition, &arrived);
        let order = start_build_inputs(definition, &context, &registry, &projects, "").unwrap().remove(0);
        let mut variables: Vec<Variable> = order
            .environment
            .iter()
            .map(|variable| Variable::plain(&variable.name, &variable.value))
            .filter(|variable| otherwise.iter().all(|(name, _)| variable.name != *name))
            .collect();
        variables.extend(otherwise.iter().map(|(name, value)| Variable::plain(name, value)));
        let job = Job {
            build_id: format!("test:{number}"),
            buildspec: BUILDSPEC.to_owned(),
            source_type: "NO_SOURCE".to_owned(),
            environment_variables: variables,
            ..Job::default()
        };
        let mut log = Vec::new();
        let ran = Builder::new(&self.project, &self.emulator).run(&job, &folder, &mut log).unwrap();
        (ran, String::from_utf8_lossy(&log).into_owned(), folder)
    }

    /// The configuration of an image, pulled by its digest as a user would.
    fn pull(&self, digest: &str) -> Value {
        let policy = self.folder.path().join("policy.json");
        fs::write(&policy, r#"{"default": [{"type": "insecureAcceptAnything"}]}"#).unwrap();
        let target = self.folder.path().join("pulled");
        let _ = fs::remove_dir_all(&target);
        let proxy = Proxy::start(self.emulator.port).unwrap();
        let output = Command::new("skopeo")
            .arg("--policy")
            .arg(&policy)
            .args(["copy", "--quiet", "--src-tls-verify=false", "--src-creds", "AWS:token"])
            .arg(format!("docker://{HOST}/team/app@{digest}"))
            .arg(format!("dir:{}", target.display()))
            .env("HTTP_PROXY", proxy.url())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let manifest = fs::read(target.join("manifest.json")).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let config = manifest["config"]["digest"].as_str().unwrap().trim_start_matches("sha256:");
        serde_json::from_slice(&fs::read(target.join(config)).unwrap()).unwrap()
    }

    fn digest_of(&self, tag: &str) -> Option<String> {
        let answer = self.aws(&[
            "ecr",
            "batch-get-image",
            "--repository-name",
            "team/app",
            "--image-ids",
            &format!("imageTag={tag}"),
        ]);
        answer.pointer("/images/0/imageId/imageDigest").and_then(Value::as_str).map(str::to_owned)
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        let _ = Emulator::down(&self.project);
    }
}

fn definition() -> BuildDefinition {
    BuildDefinition::of(Name::parse("team/app").unwrap())
}

#[track_caller]
fn digest(ran: &Ran, log: &str) -> String {
    assert!(ran.succeeded(), "{ran:?}\n{log}");
    ran.exported.get("IMAGE_DIGEST").cloned().unwrap_or_else(|| panic!("no digest: {log}"))
}

/// Whether something made a file of this name below a folder.
fn is_pwned(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().flatten().any(|entry| {
        entry.file_name() == "pwned" || (entry.file_type().unwrap().is_dir() && is_pwned(&entry.path()))
    })
}

#[test]
fn what_is_built_can_be_pulled_by_the_reported_digest() {
    let workshop = Workshop::open();
    let dockerfile = "FROM scratch AS base
COPY busybox /bin/busybox
FROM base AS runtime
ARG GREETING=none
RUN --mount=type=secret,id=npm [\"/bin/busybox\", \"sh\", \"-c\", \"test $(wc -c < /run/secrets/npm) = 9\"]
LABEL greeting=\"${GREETING}\"
FROM base AS other
RUN [\"/bin/busybox\", \"false\"]
";
    let definition = BuildDefinition {
        target: Some("runtime".to_owned()),
        dockerfile: Some("docker/Dockerfile.web".to_owned()),
        build_args: [("GREETING".to_owned(), "hello $(touch pwned) world".to_owned())].into(),
        secrets: [("npm".to_owned(), "stack/npm".to_owned())].into(),
        ..definition()
    };
    // What CodeBuild puts in the place of the reference.
    let secret = [("BUILD_SECRET_0", "s3cr$t \"x")];
    let (ran, log, folder) = workshop.run(&definition, &[("docker/Dockerfile.web", dockerfile)], &secret);
    let built = digest(&ran, &log);
    let config = workshop.pull(&built);
    assert_eq!(config["config"]["Labels"]["greeting"], "hello $(touch pwned) world");
    assert_eq!(config["config"]["Labels"]["org.opencontainers.image.revision"], "v0");
    assert!(!is_pwned(&folder) && !log.contains("s3cr$t"), "{log}");
    assert!(!config.to_string().contains("s3cr$t"));

    // The same once more is the same image, and builds nothing.
    let tag = log
        .split("Pushed ")
        .nth(1)
        .map(|_| workshop.aws(&["ecr", "describe-images", "--repository-name", "team/app"]));
    let tag = tag.unwrap().pointer("/imageDetails/0/imageTags/0").and_then(Value::as_str).unwrap().to_owned();
    assert_eq!(workshop.digest_of(&tag).unwrap(), built);
    let again = [("BUILD_SECRET_0", "other"), ("IMAGE_TAG", tag.as_str())];
    let (ran, log, _) = workshop.run(&definition, &[("docker/Dockerfile.web", "FROM nothing")], &again);
    assert_eq!(digest(&ran, &log), built);
    assert!(log.contains("The image is there already"), "{log}");

    // What fails stops the build, and tells no digest.
    let failing = BuildDefinition { target: Some("other".to_owned()), ..definition.clone() };
    let (ran, log, _) = workshop.run(&failing, &[("docker/Dockerfile.web", dockerfile)], &secret);
    assert_eq!(ran.phases.last().map(|phase| (phase.name.as_str(), phase.succeeded)), Some(("BUILD", false)));
    assert!(ran.exported.is_empty(), "{log}");
    let (ran, _, _) = workshop.run(&definition, &[], &[("REGISTRY", "127.0.0.1:1")]);
    assert_eq!(
        ran.phases.last().map(|phase| (phase.name.as_str(), phase.succeeded)),
        Some(("PRE_BUILD", false))
    );
}

/// Values that would do something if they were ever evaluated.
const HOSTILE: [&str; 8] = [
    "\"; touch pwned; echo \"",
    "$(touch pwned)",
    "`touch pwned`",
    "a\ntouch pwned\n",
    "--push=false",
    "'; touch pwned #",
    "a[$(touch pwned)]",
    "* && touch pwned",
];

#[test]
fn hostile_values_are_values_and_nothing_else() {
    let workshop = Workshop::open();
    let dockerfile = "FROM scratch\nARG A\nCOPY marker /\nLABEL a=\"${A}\"\n";
    for hostile in HOSTILE {
        // Where any text is allowed, it is what was asked for: also a folder of that name, and a file in it.
        let definition = BuildDefinition {
            context: hostile.to_owned(),
            dockerfile: Some(format!("{hostile}/{hostile}")),
            build_args: [("A".to_owned(), hostile.to_owned())].into(),
            ..definition()
        };
        let (marker, file) = (format!("{hostile}/marker"), format!("{hostile}/{hostile}"));
        let files = [(marker.as_str(), "x"), (file.as_str(), dockerfile)];
        let more = [("SOURCE", hostile), ("REVISION", hostile)];
        let (ran, log, folder) = workshop.run(&definition, &files, &more);
        assert!(!is_pwned(&folder), "{hostile}: {log}");
        if ran.succeeded() {
            let config = workshop.pull(&digest(&ran, &log));
            assert_eq!(config["config"]["Labels"]["org.opencontainers.image.revision"], hostile);
        } else {
            assert!(ran.exported.is_empty(), "{log}");
        }
    }
    // Where it is not, the build fails. None of these can even be asked for.
    for hostile in ["\"; $(touch pwned) --push=false", "A=a[$(touch pwned)]"] {
        for name in
            ["TARGET", "BUILD_ARGS", "BUILD_SECRETS", "CACHE_TAG", "PLATFORM", "IMAGE_TAG", "REPOSITORY"]
        {
            let files = [("Dockerfile", "FROM scratch\nCOPY busybox /\n")];
            let (ran, log, folder) = workshop.run(&definition(), &files, &[(name, hostile)]);
            assert!(!is_pwned(&folder), "{name}={hostile}: {log}");
            // The emulator does not cache, so that the tag of a cache is nowhere looked at.
            assert!(!ran.succeeded() || name == "CACHE_TAG", "{name}={hostile}: {log}");
        }
    }
}

#[test]
fn a_source_in_one_folder_is_built_from_it_and_a_dockerfile_elsewhere_is_reported() {
    let workshop = Workshop::open();
    let dockerfile = "FROM scratch\nCOPY marker /\n";
    let files = [("README.md", "x"), ("web/Dockerfile", dockerfile)];
    let (ran, log, _) = workshop.run(&definition(), &files, &[]);
    assert!(!ran.succeeded(), "{log}");
    assert!(log.contains("There is web/Dockerfile; name it as the dockerfile"), "{log}");
    // As GitHub packs a branch.
    let files = [("shop-web-main/Dockerfile", dockerfile), ("shop-web-main/marker", "x")];
    let (ran, log, _) = workshop.run(&definition(), &files, &[]);
    digest(&ran, &log);
    assert!(log.contains("All of the source is in the folder shop-web-main"), "{log}");
}
