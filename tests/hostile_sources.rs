//! The buildspec's own commands over sources that somebody made to break out: real bash and real git, a `docker` that notes
//! what it is given and does with git what buildx does, and worse.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use shared::domain::builds::build_context::BuildContext;
use shared::domain::builds::build_definition::BuildDefinition;
use shared::domain::builds::event::SourceUpdate;
use shared::domain::builds::start_build_input::{BUILDSPEC, Projects, start_build_inputs};
use shared::domain::builds::{Source, SourceOrder};
use shared::domain::repository::{Name, Registry};
use shared::domain::text::instant::Instant;

/// Every command is noted with its arguments and its environment. What a build would send to BuildKit is kept, and git is
/// run in it whatever the environment says of git.
const DOCKER: &str = r#"#!/usr/bin/env bash
noted=$(dirname -- "$(dirname -- "$0")")/noted
number=$(find "$noted" -name '*.arguments' | wc -l)
printf '%s\0' "$@" >"$noted/$number.arguments"
env -0 >"$noted/$number.environment"
case "$1 ${2-}" in
  'login '*) cat >"${DOCKER_CONFIG:-$HOME/.docker}/config.json" ;;
  'buildx build')
    for argument in "$@"; do
      case $argument in
        --metadata-file=*) metadata=${argument#*=} ;;
        --file=*) cat "${argument#*=}" >"$noted/dockerfile" ;;
      esac
    done
    context=${!#}
    cp -a "$context/." "$noted/context"
    if [ -f "$noted/../fail" ]; then
      cat "$noted/../fail"
      mv "$noted/../fail" "$noted/../failed"
      exit 1
    fi
    cd "$context" && { git show HEAD; git status; git rev-parse --show-toplevel; git remote get-url origin; } >&2
    echo '{"containerimage.digest": "sha256:1"}' >"$metadata"
    ;;
esac
"#;

/// The AWS CLI, which needs the credentials of the role.
const AWS: &str = r#"#!/usr/bin/env bash
[ -n "${AWS_CONTAINER_CREDENTIALS_RELATIVE_URI-}" ] || { echo "no credentials" >&2; exit 255; }
case "$1 $2" in
  'ecr get-login-password') echo registry-token ;;
  'ecr-public get-login-password') [ ! -f "$(dirname -- "$0")/no-ecr-public" ] && echo public-token ;;
  'ecr describe-images')
    echo "An error occurred (${DESCRIBE_ERROR:-ImageNotFoundException}) when calling the DescribeImages operation: no" >&2
    exit 254
    ;;
  *) exit 254 ;;
esac
"#;

#[derive(Deserialize)]
struct Buildspec {
    phases: BTreeMap<String, Phase>,
}

#[derive(Deserialize)]
struct Phase {
    commands: Vec<String>,
}

struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let host = Self { folder: tempfile::tempdir().unwrap() };
        for folder in ["bin", "noted", "source", "home/.docker", "tmp"] {
            fs::create_dir_all(host.path(folder)).unwrap();
        }
        for (name, program) in [("docker", DOCKER), ("aws", AWS)] {
            let file = host.path("bin").join(name);
            fs::write(&file, program).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(host.path("home/.docker/config.json"), "the host's token").unwrap();
        host
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.path("source").join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn link(&self, name: &str, to: impl AsRef<Path>) {
        symlink(to, self.path("source").join(name)).unwrap();
    }

    fn build(&self, definition: &BuildDefinition) -> Output {
        self.build_with(definition, &[])
    }

    /// Runs the phases as CodeBuild does: in one shell each, what is exported carried on.
    fn build_with(&self, definition: &BuildDefinition, more: &[(&str, &str)]) -> Output {
        let arrived = SourceUpdate {
            source: Source::S3 {
                bucket: "b".to_owned(),
                key: "k.zip".to_owned(),
                version_id: "v".to_owned(),
            },
            reference: None,
            arrival: SourceOrder::at(Instant::parse("2026-11-23T10:00:00Z").unwrap()),
        };
        let registry = Registry::of_arn("arn:aws:lambda:eu-west-1:123456789012:function:f").unwrap();
        let projects = Projects { amd64: "x".to_owned(), arm64: Some("a".to_owned()) };
        let order = start_build_inputs(
            definition,
            &BuildContext::new(definition, &arrived),
            &registry,
            &projects,
            "",
        )
        .unwrap()
        .remove(0);
        let buildspec: Buildspec = serde_saphyr::from_str(BUILDSPEC).unwrap();
        let commands = ["pre_build", "build"].map(|phase| buildspec.phases[phase].commands.join("\n"));
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        Command::new("bash")
            .args(["-c", &format!("{}\n{}", commands[0], commands[1])])
            .current_dir(self.path("source"))
            .env_clear()
            .envs(order.environment.iter().map(|variable| (&variable.name, &variable.value)))
            .env("PATH", path)
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("CODEBUILD_SRC_DIR", self.path("source"))
            .env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/secret")
            .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1/secret")
            .env("AWS_SESSION_TOKEN", "secret")
            .env("AWS_DEFAULT_REGION", "eu-west-1")
            .env("ECS_CONTAINER_METADATA_URI_V4", "http://169.254.170.2/v4/secret")
            .env("CODEBUILD_AGENT_ENDPOINT", "http://127.0.0.1:7831")
            .envs(more.iter().copied())
            .output()
            .unwrap()
    }

    /// The arguments and the environment of the one build that docker was asked for.
    fn built(&self) -> Option<(Vec<String>, BTreeMap<String, String>)> {
        let mut built = (0..)
            .map(|number| self.path(&format!("noted/{number}.arguments")))
            .take_while(|file| file.is_file())
            .map(|file| (split(&file), split(&file.with_extension("environment"))))
            .filter(|(arguments, _)| arguments.starts_with(&["buildx".to_owned(), "build".to_owned()]));
        let (arguments, environment) = built.next()?;
        let pairs = environment.iter().filter_map(|pair| pair.split_once('='));
        Some((arguments, pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }

    /// What docker was logged in to, in order.
    fn logins(&self) -> Vec<String> {
        let files = (0..).map(|number| self.path(&format!("noted/{number}.arguments")));
        let arguments = files.take_while(|file| file.is_file()).map(|file| split(&file));
        arguments
            .filter(|arguments| arguments[0] == "login")
            .map(|arguments| arguments[1..].join(" "))
            .collect()
    }

    fn is_pwned(&self) -> bool {
        self.path("pwned").exists()
    }
}

fn split(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

fn definition() -> BuildDefinition {
    BuildDefinition::of(Name::parse("app").unwrap())
}

fn in_context(context: &str) -> BuildDefinition {
    BuildDefinition { context: context.to_owned(), ..definition() }
}

#[track_caller]
fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}", output_text(output));
}

fn output_text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn git(folder: &Path, arguments: &[&str]) -> Output {
    Command::new("git")
        .args(["-c", "user.name=n", "-c", "user.email=e@e", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap()
}

/// Ways in which a repository makes git run a program as soon as somebody looks into it.
const TRAPS: [&str; 4] = ["uploadpack", "fsmonitor", "include", "pager-and-filter"];

/// Makes a folder a repository with a trap: whoever looks into it with git makes a file called `pwned`.
fn trap(folder: &Path, kind: &str, pwned: &Path) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("Dockerfile"), "FROM scratch\n").unwrap();
    fs::write(folder.join(".gitattributes"), "* filter=trap\n").unwrap();
    for arguments in [&["init", "-q"][..], &["add", "."], &["commit", "-q", "-m", "m"]] {
        let output = git(folder, arguments);
        assert!(output.status.success(), "{}", output_text(&output));
    }
    let program = folder.join(".git/trap");
    fs::write(&program, format!("#!/bin/sh\ntouch '{}'\nexit 1\n", pwned.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let program = program.display();
    let config = match kind {
        "uploadpack" => {
            // The commit is missing, and is fetched from the remote by its own program.
            let head = git(folder, &["rev-parse", "HEAD"]).stdout;
            let head = String::from_utf8(head).unwrap().trim().to_owned();
            let object = folder.join(".git/objects").join(&head[..2]).join(&head[2..]);
            fs::remove_file(object).unwrap();
            format!(
                "[extensions]\n\tpartialClone = origin\n[core]\n\trepositoryformatversion = 1\n\
                 [remote \"origin\"]\n\turl = .\n\tpromisor = true\n\tuploadpack = {program}\n"
            )
        }
        "fsmonitor" => format!("[core]\n\tfsmonitor = {program}\n"),
        "include" => {
            fs::write(folder.join(".git/more"), format!("[core]\n\tfsmonitor = {program}\n")).unwrap();
            "[include]\n\tpath = more\n".to_owned()
        }
        _ => {
            // Of the same size as in the index and of another time, so that git has to compare it, and filters it for that.
            let file = fs::File::options().write(true).open(folder.join("Dockerfile")).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
            format!("[filter \"trap\"]\n\tclean = {program}\n\trequired = true\n")
        }
    };
    let file = folder.join(".git/config");
    let before = fs::read_to_string(&file).unwrap();
    fs::write(&file, before + &config).unwrap();
}

#[test]
fn a_repository_in_a_source_runs_nothing_however_git_is_called() {
    for kind in TRAPS {
        let host = Host::new();
        let source = host.path("source");
        trap(&source, kind, &host.path("pwned"));
        trap(&source.join("deep/below"), kind, &host.path("pwned"));
        // That it is a trap.
        for command in [&["show", "HEAD"][..], &["status"]] {
            git(&source, command);
        }
        assert!(host.is_pwned(), "{kind}: this trap is none");
        fs::remove_file(host.path("pwned")).unwrap();
        for context in [".", "deep", "deep/below"] {
            let definition =
                BuildDefinition { dockerfile: Some("Dockerfile".to_owned()), ..in_context(context) };
            let output = host.build(&definition);
            succeeded(&output);
            assert!(!host.is_pwned(), "{kind} in {context}: {}", output_text(&output));
            let _ = fs::remove_dir_all(host.path("noted"));
            fs::create_dir_all(host.path("noted")).unwrap();
        }
    }
}

#[test]
fn nothing_of_git_reaches_docker_be_it_a_folder_a_file_or_a_link() {
    let host = Host::new();
    trap(&host.path("source/hidden"), "fsmonitor", &host.path("pwned"));
    fs::rename(host.path("source/hidden/.git"), host.path("source/hidden/repository")).unwrap();
    host.write("Dockerfile", "FROM scratch\n");
    // What makes a folder a repository of another place.
    host.write("a/.git", "gitdir: ../hidden/repository\n");
    host.write("b/c/file", "");
    host.link("b/c/.git", "../../hidden/repository");
    host.link(".git", "hidden/repository");
    let output = host.build(&definition());
    succeeded(&output);
    assert!(!host.is_pwned(), "{}", output_text(&output));
    let found =
        Command::new("find").arg(host.path("noted/context")).args(["-name", ".git"]).output().unwrap();
    assert_eq!(output_text(&found), "");
    assert!(host.path("noted/context/b/c/file").is_file());
    // A folder that is a repository without being called so is none to docker.
    let output = host.build(&BuildDefinition {
        dockerfile: Some("Dockerfile".to_owned()),
        ..in_context("hidden/repository")
    });
    succeeded(&output);
    assert!(!host.is_pwned(), "{}", output_text(&output));
    let (_, environment) = host_built(&host);
    assert_eq!(environment["GIT_DIR"], "/dev/null");
}

/// The last build.
fn host_built(host: &Host) -> (Vec<String>, BTreeMap<String, String>) {
    let last = (0..).take_while(|number| host.path(&format!("noted/{number}.arguments")).is_file()).last();
    let file = host.path(&format!("noted/{}.arguments", last.unwrap()));
    let pairs = split(&file.with_extension("environment"));
    let pairs = pairs.iter().filter_map(|pair| pair.split_once('='));
    (split(&file), pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

#[test]
fn a_context_that_leads_out_of_the_source_is_refused_before_docker_sees_it() {
    for (context, link, to) in [
        ("ctx", "ctx", "HOME/.docker"),
        ("ctx", "ctx", "/proc/self"),
        ("ctx", "ctx", "/"),
        ("ctx", "ctx", ".."),
        ("ctx/below", "ctx", "HOME"),
        ("ctx/.docker", "ctx", "../home"),
        // A folder beside the source whose name begins with the source's.
        ("ctx", "ctx", "../source-of-others"),
    ] {
        let host = Host::new();
        fs::create_dir_all(host.path("source-of-others")).unwrap();
        fs::create_dir_all(host.path("home/below")).unwrap();
        host.write("Dockerfile", "FROM scratch\nCOPY config.json /\n");
        host.link(link, to.replace("HOME", &host.path("home").display().to_string()));
        let definition = BuildDefinition { dockerfile: Some("Dockerfile".to_owned()), ..in_context(context) };
        let output = host.build(&definition);
        assert!(!output.status.success(), "{context} -> {to}");
        assert!(
            output_text(&output).contains("leads out of the source, by a link"),
            "{}",
            output_text(&output)
        );
        assert!(host.built().is_none(), "{context} -> {to}");
    }
    let host = Host::new();
    host.write("Dockerfile", "FROM scratch\n");
    let output =
        host.build(&BuildDefinition { dockerfile: Some("Dockerfile".to_owned()), ..in_context("none") });
    assert!(output_text(&output).contains("There is no none in the source."), "{}", output_text(&output));
    let output = host
        .build(&BuildDefinition { dockerfile: Some("Dockerfile".to_owned()), ..in_context("Dockerfile") });
    assert!(
        output_text(&output).contains("Dockerfile is no folder of the source."),
        "{}",
        output_text(&output)
    );
    assert!(host.built().is_none());
}

#[test]
fn a_dockerfile_that_leads_out_of_the_source_is_refused_before_docker_sees_it() {
    for (dockerfile, link, to) in [
        ("Dockerfile", "Dockerfile", "HOME/.docker/config.json"),
        ("Dockerfile", "Dockerfile", "/proc/self/environ"),
        ("Dockerfile", "Dockerfile", "../home/.docker/config.json"),
        ("there/config.json", "there", "../home/.docker"),
    ] {
        let host = Host::new();
        host.write("file", "");
        host.link(link, to.replace("HOME", &host.path("home").display().to_string()));
        let output = host.build(&BuildDefinition { dockerfile: Some(dockerfile.to_owned()), ..definition() });
        assert!(!output.status.success(), "{dockerfile} -> {to}");
        assert!(
            output_text(&output).contains("leads out of the source, by a link"),
            "{}",
            output_text(&output)
        );
        assert!(host.built().is_none(), "{dockerfile} -> {to}");
    }
    let host = Host::new();
    host.write("Dockerfile/file", "");
    assert!(output_text(&host.build(&definition())).contains("Dockerfile is no file of the source."));
    assert!(host.built().is_none());
}

#[test]
fn links_inside_of_the_source_lead_where_they_lead() {
    let host = Host::new();
    host.write("services/web/Dockerfile", "FROM scratch\n# the one\n");
    host.write("services/web/index.html", "web");
    host.link("current", "services/web");
    host.link("services/Dockerfile.web", "web/Dockerfile");
    let definition =
        BuildDefinition { dockerfile: Some("services/Dockerfile.web".to_owned()), ..in_context("current") };
    let output = host.build(&definition);
    succeeded(&output);
    let (arguments, _) = host.built().unwrap();
    let source = fs::canonicalize(host.path("source/services/web")).unwrap();
    assert_eq!(arguments.last().unwrap(), &source.display().to_string());
    assert!(arguments.contains(&format!("--file={}/Dockerfile", source.display())), "{arguments:?}");
    assert_eq!(fs::read_to_string(host.path("noted/dockerfile")).unwrap(), "FROM scratch\n# the one\n");
    assert!(host.path("noted/context/index.html").is_file());
}

#[test]
fn docker_gets_what_it_needs_and_no_credentials() {
    let host = Host::new();
    host.write("Dockerfile", "FROM scratch\n");
    let definition = BuildDefinition {
        build_args: [("A".to_owned(), "x y".to_owned()), ("B".to_owned(), String::new())].into(),
        secrets: [("npm".to_owned(), "stack/npm".to_owned())].into(),
        target: Some("web".to_owned()),
        ..definition()
    };
    let more = [("BUILD_SECRET_0", "s3cr$t"), ("BUILD_SECRET_1", "another's"), ("GITHUB_TOKEN", "secret")];
    let output = host.build_with(&definition, &more);
    succeeded(&output);
    let (arguments, environment) = host.built().unwrap();
    let source = fs::canonicalize(host.path("source")).unwrap();
    let source = source.display();
    let image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app";
    let (known, generated): (Vec<&String>, Vec<&String>) = arguments
        .iter()
        .partition(|argument| !argument.contains("--metadata-file=") && !argument.contains("src-"));
    assert_eq!(generated.len(), 2, "{generated:?}");
    let expected = [
        "buildx".to_owned(),
        "build".to_owned(),
        "--progress=plain".to_owned(),
        "--platform=linux/amd64".to_owned(),
        format!("--file={source}/Dockerfile"),
        "--label=org.opencontainers.image.revision=v".to_owned(),
        "--label=org.opencontainers.image.source=s3://b/k.zip?versionId=v".to_owned(),
        "--push".to_owned(),
        "--target=web".to_owned(),
        "--provenance=mode=min".to_owned(),
        "--sbom=true".to_owned(),
        format!(
            "--cache-to=type=registry,ref={image}:buildcache-amd64,mode=max,image-manifest=true,oci-mediatypes=true,\
             ignore-error=true"
        ),
        format!("--cache-from=type=registry,ref={image}:buildcache-amd64"),
        "--build-arg=A=x y".to_owned(),
        "--build-arg=B=".to_owned(),
        "--secret=id=npm,env=BUILD_SECRET_0".to_owned(),
        source.to_string(),
    ];
    assert_eq!(known, expected.iter().collect::<Vec<_>>());
    let names: Vec<&str> = environment.keys().map(String::as_str).collect();
    let own = ["PWD", "OLDPWD", "SHLVL", "_"];
    let names: Vec<&str> = names.into_iter().filter(|name| !own.contains(name)).collect();
    assert_eq!(
        names,
        [
            "BUILDX_GIT_CHECK_DIRTY",
            "BUILDX_GIT_INFO",
            "BUILDX_GIT_LABELS",
            "BUILD_SECRET_0",
            "DOCKER_CONFIG",
            "GIT_DIR",
            "HOME",
            "PATH",
            "TMPDIR",
        ]
    );
    assert_eq!(environment["BUILD_SECRET_0"], "s3cr$t");
    assert_eq!((&*environment["BUILDX_GIT_INFO"], &*environment["BUILDX_GIT_LABELS"]), ("false", "false"));
    assert_eq!(environment["PWD"], "/", "no program is started in a folder of the source");
    // What docker was logged in with is in a folder of its own, and gone.
    let config = Path::new(&environment["DOCKER_CONFIG"]);
    assert!(!config.starts_with(host.path("source")) && !config.starts_with(host.path("home")), "{config:?}");
    assert!(!config.exists(), "{config:?}");
}

#[test]
fn docker_hub_is_asked_last_and_by_who_is_known() {
    const OWN: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
    let mirrors = |host: &Host| fs::read_to_string(host.path("noted/mirrors")).unwrap();
    let host = |more: &[(&str, &str)], has_ecr_public: bool| {
        let host = Host::new();
        host.write("Dockerfile", "FROM scratch\n");
        let noting = DOCKER.replace(
            "cp -a",
            "cp \"$DOCKER_CONFIG/buildx/buildkitd.default.toml\" \"$noted/mirrors\"\n    cp -a",
        );
        fs::write(host.path("bin/docker"), noting).unwrap();
        if !has_ecr_public {
            fs::write(host.path("bin/no-ecr-public"), "").unwrap();
        }
        let output = host.build_with(&definition(), more);
        succeeded(&output);
        assert!(!output_text(&output).contains("hub-token"), "{}", output_text(&output));
        host
    };
    let own = format!("--username AWS --password-stdin {OWN}");
    let public = "--username AWS --password-stdin public.ecr.aws".to_owned();
    let plain = host(&[], true);
    assert_eq!(plain.logins(), [own.clone(), public.clone()]);
    assert_eq!(mirrors(&plain), "[registry.\"docker.io\"]\n  mirrors = [\"public.ecr.aws/docker\"]\n");
    // In China there is no ECR Public.
    assert_eq!(host(&[], false).logins(), std::slice::from_ref(&own));
    let known = [
        ("DOCKER_HUB_USERNAME", "us"),
        ("DOCKER_HUB_TOKEN", "hub-token"),
        ("DOCKER_HUB_PREFIX", "docker-hub"),
    ];
    let known = host(&known, true);
    assert_eq!(known.logins(), [own, public, "--username us --password-stdin".to_owned()]);
    let expected =
        format!("[registry.\"docker.io\"]\n  mirrors = [\"{OWN}/docker-hub\", \"public.ecr.aws/docker\"]\n");
    assert_eq!(mirrors(&known), expected);
    assert!(!host_built(&known).1.contains_key("DOCKER_HUB_TOKEN"));
}

#[test]
fn a_build_that_a_registry_turned_away_is_tried_once_more_and_no_other_one() {
    for (problem, is_tried) in [
        ("ERROR: toomanyrequests: You have reached your pull rate limit", true),
        ("failed to do request: Head \"https://…\": net/http: TLS handshake timeout", true),
        ("unexpected status from PUT request: 503 Service Unavailable", true),
        ("process \"/bin/sh -c make\" did not complete successfully: exit code: 2", false),
    ] {
        let host = Host::new();
        host.write("Dockerfile", "FROM scratch\n");
        let sleep = host.path("bin/sleep");
        fs::write(&sleep, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&sleep, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(host.path("fail"), format!("{problem}\n")).unwrap();
        let output = host.build(&definition());
        assert_eq!(output.status.success(), is_tried, "{problem}: {}", output_text(&output));
        assert!(output_text(&output).contains(problem), "{}", output_text(&output));
        assert_eq!(output_text(&output).contains("Once more"), is_tried, "{}", output_text(&output));
        // What the build said last is what the log ends with.
        let last = output_text(&output).trim_end().lines().last().map(str::to_owned);
        assert!(is_tried || last.as_deref() == Some(problem), "{last:?}");
    }
}

#[test]
fn what_cannot_be_looked_for_is_not_built() {
    let host = Host::new();
    host.write("Dockerfile", "FROM scratch\n");
    let output = host.build_with(&definition(), &[("DESCRIBE_ERROR", "AccessDeniedException")]);
    assert!(!output.status.success());
    assert!(output_text(&output).contains("AccessDeniedException"), "{}", output_text(&output));
    assert!(host.built().is_none());
}

#[test]
fn the_registry_token_is_readable_by_its_owner_only() {
    let host = Host::new();
    host.write("Dockerfile", "FROM scratch\n");
    // While docker builds.
    let docker = host.path("bin/docker");
    let noting = DOCKER.replace("cp -a", "stat --format=%a \"$DOCKER_CONFIG\" >\"$noted/mode\"\n    cp -a");
    fs::write(&docker, noting).unwrap();
    succeeded(&host.build(&definition()));
    assert_eq!(fs::read_to_string(host.path("noted/mode")).unwrap(), "700\n");
}

#[test]
fn arguments_that_choose_what_builds_are_refused_here_too() {
    for name in [
        "BUILDKIT_SYNTAX",
        "buildkit_syntax",
        "HTTP_PROXY",
        "https_proxy",
        "No_Proxy",
        "ALL_PROXY",
        "ftp_proxy",
    ] {
        let host = Host::new();
        host.write("Dockerfile", "FROM scratch\n");
        let definition = BuildDefinition {
            build_args: [(name.to_owned(), "evil/frontend".to_owned())].into(),
            ..definition()
        };
        let output = host.build(&definition);
        assert!(!output.status.success() && host.built().is_none(), "{name}");
        assert!(
            output_text(&output).contains(&format!("{name} is no argument of a Dockerfile")),
            "{}",
            output_text(&output)
        );
    }
}

#[test]
fn a_folder_that_macos_packed_is_built_and_a_folder_in_the_place_of_the_dockerfile_is_named() {
    let host = Host::new();
    host.write("web/Dockerfile", "FROM scratch\n");
    host.write("__MACOSX/web/._Dockerfile", "x");
    host.write(".DS_Store", "x");
    let output = host.build(&definition());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_to_string(host.path("noted/dockerfile")).unwrap(), "FROM scratch\n");

    let host = Host::new();
    host.write("Dockerfile/a\nb", "x");
    host.write("c", "x");
    let output = host.build(&definition());
    let log = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success() && log.contains("Dockerfile is no file of the source"), "{log}");
}
