//! How the program comes to people: the demo in it, the action, the hook, the wheel, releases and the example for Pulumi.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tests::binaries::{binary, fixture, workspace};

fn read(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap()
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap()
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_demo_shows_a_preview_from_the_program_alone() {
    let folder = tempfile::tempdir().unwrap();
    let alone = |arguments: &[&str]| {
        Command::new(binary("ecr-steward"))
            .arg("demo")
            .args(arguments)
            .current_dir(folder.path())
            // Nothing of this machine: no credentials, no home, no browser.
            .env_clear()
            .env("TMPDIR", folder.path())
            .output()
            .unwrap()
    };
    let path = printed(&alone(&[]));
    let page = fs::read_to_string(path.trim()).unwrap();
    assert!(Path::new(path.trim()).starts_with(folder.path()), "{path}");
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("storefront/web"), "{}", &page[..200]);
    let second = printed(&alone(&[]));
    assert_ne!(path, second, "no page is written over");

    let file = folder.path().join("page.html");
    printed(&alone(&["--file", file.to_str().unwrap(), "--no-open"]));
    assert_eq!(fs::read_to_string(file).unwrap(), page);
    assert!(printed(&alone(&["--output", "table"])).contains("3 in use"));
    let report: Value = serde_json::from_str(&printed(&alone(&["--output", "json"]))).unwrap();
    let report = if report.is_array() { report[0].clone() } else { report };
    assert_eq!(report["repositoryName"], "storefront/web");
}

/// Runs the script of the action with a `pipx` that has the program already.
fn act(files: &str, folder: &Path) -> Output {
    let action = yaml("infra/action/action.yml");
    let step = &action["runs"]["steps"][0];
    assert_eq!(step["shell"], "bash");
    let script = step["run"].as_str().unwrap();
    assert!(!script.contains("${{"), "what is in an expression would be code");
    let pipx = folder.join("pipx");
    fs::write(
        &pipx,
        format!(
            "#!/bin/sh\n[ \"$1 $2\" = 'run --spec' ] && [ \"$3\" = 'ecr-steward==0.1.0' ] && [ \"$4\" = ecr-steward ] || exit 9\n\
             shift 4\nexec '{}' \"$@\"\n",
            binary("ecr-steward").display()
        ),
    )
    .unwrap();
    Command::new("chmod").arg("+x").arg(&pipx).status().unwrap();
    let path = std::env::var("PATH").unwrap();
    Command::new("bash")
        .args(["-c", script])
        .current_dir(fixture("inputs/policies"))
        .env("PATH", format!("{}:{path}", folder.display()))
        .env("FILES", files)
        .env("VERSION", action["inputs"]["version"]["default"].as_str().unwrap())
        .output()
        .unwrap()
}

#[test]
fn the_action_marks_lines_and_runs_no_names_of_files() {
    let folder = tempfile::tempdir().unwrap();
    let output = act("warning-prefix-*.yaml read-tabs.json", folder.path());
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let output_text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output_text.starts_with("::warning file=warning-prefix-with-a-star.yaml,line=2,col="),
        "{output_text}"
    );
    let output = act("read-*.json", folder.path());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let output = act("nothing-*.json", folder.path());
    assert_eq!(output.status.code(), Some(2));
    let pwned = folder.path().join("pwned");
    act(&format!("read-tabs.json; touch {0} $(touch {0})", pwned.display()), folder.path());
    assert!(!pwned.exists());
    let version =
        yaml("infra/action/action.yml")["inputs"]["version"]["default"].as_str().unwrap().to_owned();
    assert!(
        read("Cargo.toml").contains(&format!("version = \"{version}\"")),
        "the action's version is that of the program"
    );
}

#[test]
fn the_hook_checks_the_files_that_are_policies() {
    let hooks = yaml(".pre-commit-hooks.yaml");
    let hook = &hooks[0];
    let mut words = hook["entry"].as_str().unwrap().split(' ');
    assert_eq!(words.next(), Some("ecr-steward"));
    let help = Command::new(binary("ecr-steward")).args(words).arg("--help").output().unwrap();
    assert!(help.status.success());
    let pattern = regex::Regex::new(hook["files"].as_str().unwrap()).unwrap();
    for (file, expected) in [
        ("policies.yaml", true),
        ("infra/builds.yml", true),
        ("ecr/lifecycle-policy.json", true),
        ("lifecycle/README.md", false),
        ("package.json", false),
    ] {
        assert_eq!(pattern.is_match(file), expected, "{file}");
    }
}

#[test]
fn a_release_is_packaged_by_a_script_that_tests_itself() {
    let tested = Command::new("python3")
        .arg(workspace().join("infra/release/package.py"))
        .arg("test")
        .output()
        .unwrap();
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));
    let parsed =
        Command::new("bash").arg("-n").arg(workspace().join("infra/release/release.sh")).status().unwrap();
    assert!(parsed.success());
    let workflow = yaml(".github/workflows/release.yml");
    let runs: Vec<&str> = workflow["jobs"]["release"]["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|step| step["run"].as_str())
        .collect();
    assert!(
        runs.contains(&"infra/release/release.sh") && runs.contains(&"infra/release/release.sh test"),
        "{runs:?}"
    );
    let script = read("infra/release/release.sh");
    let metadata = read("cli/Cargo.toml");
    for target in ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"] {
        assert!(script.contains(target) && metadata.contains(target), "{target}");
    }
    assert!(read("cli/pyproject.toml").contains("bindings = \"bin\""));
    assert!(metadata.contains("name = \"ecr-steward\"\npath = \"src/main.rs\""));
}

/// Asks the release script where the project is published, in a folder with this `Cargo.toml`.
fn published(manifest: &str, address: &str) -> (Result<String, String>, String) {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("infra/release/release.sh");
    fs::create_dir_all(script.parent().unwrap()).unwrap();
    fs::write(&script, read("infra/release/release.sh")).unwrap();
    fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
    let output = Command::new("bash")
        .arg(&script)
        .arg("repository")
        .env("SOURCE_DATE_EPOCH", "0")
        .env("REPOSITORY_URL", address)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim_end().to_owned();
    let result = match output.status.success() {
        true => Ok(text(output.stdout)),
        false => Err(text(output.stderr)),
    };
    (result, fs::read_to_string(folder.path().join("Cargo.toml")).unwrap())
}

#[test]
fn a_release_knows_where_it_is_published_and_is_not_made_without_that() {
    const ADDRESS: &str = "https://git.example/team/ecr-steward";
    let manifest = read("Cargo.toml");
    assert!(manifest.contains("\nrepository = \"\"\n"), "nobody has published it, and no host is made up");
    let filled = manifest.replace("\nrepository = \"\"\n", &format!("\nrepository = \"{ADDRESS}\"\n"));
    let (result, unchanged) = published(&manifest, "");
    let message = result.unwrap_err();
    assert!(message.contains("set REPOSITORY_URL=https://HOST/OWNER/ecr-steward"), "{message}");
    assert_eq!(unchanged, manifest);
    assert_eq!(published(&manifest, ADDRESS), (Ok(ADDRESS.to_owned()), filled.clone()));
    assert_eq!(published(&manifest, &format!("{ADDRESS}/")).1, filled);
    assert_eq!(published(&filled, ""), (Ok(ADDRESS.to_owned()), filled.clone()));
    for wrong in [
        "http://git.example/team/ecr-steward",
        "git.example",
        "https://git.example/a\"b",
        "https://git.example",
    ] {
        let (result, unchanged) = published(&manifest, wrong);
        assert!(result.unwrap_err().contains("is not the address of a repository"), "{wrong}");
        assert_eq!(unchanged, manifest);
    }
    let (result, _) = published(&filled, "https://git.example/other/ecr-steward");
    assert!(result.unwrap_err().contains("correct the one or the other"));
    // `{ repo }` of cargo-binstall is the package's.
    assert!(read("cli/Cargo.toml").contains("repository.workspace = true"));
}

#[test]
fn the_documented_hook_is_the_one_that_the_project_has() {
    let hooks = yaml(".pre-commit-hooks.yaml");
    let page = read("docs/json-schemas.md");
    for field in ["id", "name", "entry", "language", "files"] {
        let line = format!("{field}: {}\n", hooks[0][field].as_str().unwrap());
        assert!(page.contains(&line), "{line}");
    }
    assert!(!page.contains("OWNER"), "every address there works as it stands");
}

/// The crates that a build of the workspace is made of, each with its features.
fn crates(features: &[&str]) -> std::collections::BTreeMap<String, String> {
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .args([
            "tree",
            "--offline",
            "--locked",
            "--workspace",
            "--edges",
            "normal,build,dev",
            "--prefix",
            "none",
        ])
        .args(["--format", "{p}|{f}"])
        .args(features)
        .current_dir(workspace())
        .output()
        .unwrap();
    let text = printed(&output);
    let lines = text.lines().filter_map(|line| line.trim_end_matches(" (*)").split_once('|'));
    let of_others = lines.filter(|(name, _)| !name.contains('/'));
    of_others.map(|(name, features)| (name.to_owned(), features.to_owned())).collect()
}

#[test]
fn the_short_demo_compiles_no_client_of_kubernetes_and_nothing_that_tests_compile_otherwise() {
    let short = crates(local::Project::here().for_short_demo().build_arguments());
    let all = crates(local::Project::here().build_arguments());
    assert!(all.keys().any(|name| name.starts_with("kube-client ")), "{all:?}");
    // Tests are built with all features, and so is what they build, by the same profile.
    assert_eq!(short, all);
    let fresh = crates(&[]);
    let kubernetes = |name: &&String| name.starts_with("kube") || name.starts_with("k8s-openapi");
    assert_eq!(fresh.keys().find(kubernetes), None);
    for (name, features) in &fresh {
        let with_all = all.get(name);
        assert_eq!(
            with_all,
            Some(features),
            "{name} would be compiled twice: tests/Cargo.toml has the features of kube"
        );
    }
}

/// What the compiler says of the example's program.
#[cfg(feature = "npm")]
fn type_errors(folder: &Path, program: &str) -> Option<String> {
    fs::write(folder.join("index.ts"), program).unwrap();
    let output = Command::new("node")
        .arg(folder.join("../node_modules/typescript/bin/tsc"))
        .args(["--noEmit", "--project"])
        .arg(folder)
        .output()
        .unwrap();
    let messages = String::from_utf8(output.stdout).unwrap();
    (!output.status.success()).then_some(messages)
}

#[test]
#[cfg(feature = "npm")]
fn the_example_for_pulumi_has_the_types_of_pulumi() {
    let modules = local::tools::install_from_npm(&local::Project::here(), local::tools::PULUMI).unwrap();
    // Beside the modules, where the compiler looks for them.
    let folder = tempfile::tempdir_in(modules.parent().unwrap()).unwrap();
    for file in ["steward.ts", "tsconfig.json"] {
        fs::write(folder.path().join(file), read(&format!("infra/examples/pulumi/{file}"))).unwrap();
    }
    let program = read("infra/examples/pulumi/index.ts");
    assert_eq!(type_errors(folder.path(), &program), None);
    let wrong = program.replace("maximumAgeLimit: 14", "maximumAge: 14");
    let messages = type_errors(folder.path(), &wrong).expect("a field that rules do not have");
    assert!(messages.contains("'maximumAge' does not exist"), "{messages}");
    let declared = read("infra/examples/pulumi/package.json");
    let declared: Value = serde_json::from_str(&declared).unwrap();
    for package in local::tools::PULUMI.packages {
        let (name, version) = package.rsplit_once('@').unwrap();
        let wanted =
            ["dependencies", "devDependencies"].iter().find_map(|kind| declared[kind][name].as_str());
        let major = |version: &str| version.trim_start_matches('^').split('.').next().unwrap().to_owned();
        assert_eq!(
            wanted.map(major),
            Some(major(version)),
            "{name}: the example takes the version that is checked"
        );
    }
}

#[test]
fn the_example_for_pulumi_declares_what_the_stack_has() {
    let source = read("infra/examples/pulumi/steward.ts");
    let template = read("template.yaml");
    for export in ["RepositoryResourceFunctionArn", "ImageResourceFunctionArn", "SourceBucketName"] {
        assert!(source.contains(export), "{export}");
        assert!(template.contains(&format!("${{AWS::StackName}}-{export}")), "{export}");
    }
    // What the components send is read by the resources; every property once, as it would be sent.
    let repository = serde_json::json!({
        "ServiceToken": "arn", "RepositoryName": "web", "EmptyOnDelete": "true", "ImageTagMutability": "IMMUTABLE",
        "LifecyclePolicyText": "{\"rules\":[{\"selection\":\"untagged\",\"maximumAgeLimit\":14}]}",
        "Tags": [{ "Key": "team", "Value": "shop" }],
    });
    let image = serde_json::json!({
        "ServiceToken": "arn", "ServiceTimeout": "3600", "RepositoryName": "web", "Dockerfile": "Dockerfile", "Target": "runtime",
        "Platforms": ["linux/arm64"], "BuildArgs": { "A": "1" }, "Source": { "S3": { "Key": "uploads/web.zip", "VersionId": "v" } },
    });
    for name in repository.as_object().unwrap().keys().chain(image.as_object().unwrap().keys()) {
        let small = format!("{}{}", name[..1].to_lowercase(), &name[1..]);
        assert!(source.contains(name.as_str()) || source.contains(&format!("{small}: args.")), "{name}");
    }
    shared::domain::repository::read::properties(&repository.to_string()).unwrap();
    shared::domain::builds::build_config::BuildRequest::properties(&image.to_string()).unwrap();
}
