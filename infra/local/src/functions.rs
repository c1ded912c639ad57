//! The functions as programs of this machine: built as the tests build them, so that nothing is compiled twice, and laid out as
//! `sam deploy` expects them. `sam build` builds those for AWS, for another processor and optimized.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::tools::{self, SAM};
use crate::{LocalError, Project, describe, run, say};

/// The function that [`release`] builds: the largest one.
const RELEASED: &str = "RepositoryApiFunction";
/// Its program.
const RELEASED_PROGRAM: &str = "repository-api";
/// Maximum size of a function's program as it is deployed, in bytes: a cold start reads all of it.
pub const MAX_BYTES: u64 = 8_000_000;

/// The architecture of this machine, for a parameter of `template.yaml`: the functions run as its processes.
#[must_use]
pub fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "Architecture=arm64" } else { "Architecture=x86_64" }
}

/// Builds programs of the workspace, with Cargo's own progress on standard error, and returns their paths by name. Reuses what
/// `cargo test --workspace` has compiled.
///
/// # Errors
///
/// If Cargo fails, or does not report the path of a program.
pub fn build(project: &Project, names: &[&str]) -> Result<BTreeMap<String, PathBuf>, LocalError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.args(["build", "--workspace", "--message-format=json-render-diagnostics"]);
    command.args(project.build_arguments());
    // There are no examples. But with them Cargo chooses the features of all dependencies as it does for tests; otherwise
    // some have fewer, and they and what depends on them would be compiled a second time.
    command.arg("--examples");
    for name in names {
        command.args(["--bin", name]);
    }
    let program = describe(&command);
    let output = outside_of_packages(&mut command)
        .current_dir(project.root())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(LocalError::io(&program))?;
    if !output.status.success() {
        return Err(LocalError::Failed {
            program,
            status: output.status,
            output: "what it said is above".to_owned(),
        });
    }
    let unexpected = |problem: String| LocalError::Unexpected { program: program.clone(), problem };
    let mut built = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Value =
            serde_json::from_str(line).map_err(|error| unexpected(format!("{error}: {line}")))?;
        if let (Some(name), Some(path)) = (message["target"]["name"].as_str(), message["executable"].as_str())
        {
            built.insert(name.to_owned(), PathBuf::from(path));
        }
    }
    match names.iter().find(|name| !built.contains_key(**name)) {
        Some(missing) => Err(unexpected(format!("it does not say where {missing} is"))),
        None => Ok(built),
    }
}

/// Removes from a command the variables that `cargo run`, `cargo test` and `cargo bench` set about the package: build scripts of
/// dependencies would rebuild because of them.
fn outside_of_packages(command: &mut Command) -> &mut Command {
    const OF_A_PACKAGE: [&str; 4] = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_", "CARGO_CRATE_"];
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| OF_A_PACKAGE.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(name);
        }
    }
    command
}

/// Builds the functions of `template.yaml` and lays them out for a deployment; gives the template to deploy.
///
/// # Errors
///
/// When the template is not as expected, the build fails or a file cannot be written.
pub fn lay_out(project: &Project) -> Result<PathBuf, LocalError> {
    let io = |what: &Path| LocalError::io(what.display().to_string());
    let source = project.root().join("template.yaml");
    let template = fs::read_to_string(&source).map_err(io(&source))?;
    let folder = project.root().join("target/local/build");
    let laid_out = led(&template, project.root(), &folder)
        .map_err(|problem| LocalError::Unexpected { program: source.display().to_string(), problem })?;
    let names: Vec<&str> = laid_out.functions.iter().map(String::as_str).collect();
    let built = build(project, &names)?;
    tools::remove(&folder)?;
    for (name, program) in built {
        let function = folder.join(name);
        fs::create_dir_all(&function).map_err(io(&function))?;
        // Without its symbols a function is half as large to deploy.
        run(Command::new("strip").arg("-o").arg(function.join("bootstrap")).arg(program))?;
    }
    let file = folder.join("template.yaml");
    fs::write(&file, laid_out.template).map_err(io(&file))?;
    Ok(file)
}

/// A template whose functions are folders.
struct LaidOut {
    /// The names of the functions' programs.
    functions: Vec<String>,
    /// The template.
    template: String,
}

/// Leads a template to the functions' programs, each in a folder of its name in `folder`, and to the other files below
/// `root`. Line by line, since CloudFormation's tags are not for every YAML parser.
fn led(template: &str, root: &Path, folder: &Path) -> Result<LaidOut, String> {
    let mut functions: Vec<String> = Vec::new();
    let mut lines: Vec<String> = Vec::new();
    let mut binary: Option<&str> = None;
    for (number, line) in (1..).zip(template.lines()) {
        let entry = line.trim();
        let indentation = line.len() - line.trim_start().len();
        let led_to = |key: &str, path: PathBuf| {
            // A string of JSON is one of YAML.
            format!("{:indentation$}{key}: {}", "", Value::from(path.to_string_lossy()))
        };
        lines.push(match entry.split_once(": ") {
            Some(("Binary", name)) => {
                if let Some(before) = binary.replace(name) {
                    return Err(format!("line {number}: there is no `CodeUri: .` for {before} before this"));
                }
                line.to_owned()
            }
            Some(("CodeUri", ".")) => {
                let name =
                    binary.take().ok_or_else(|| format!("line {number}: no `Binary:` comes before this"))?;
                functions.push(name.to_owned());
                led_to("CodeUri", folder.join(name))
            }
            Some((key @ "DefinitionUri", path)) => led_to(key, root.join(path)),
            _ => line.to_owned(),
        });
    }
    match binary {
        Some(name) => Err(format!("there is no `CodeUri: .` for {name}")),
        None if functions.is_empty() => Err("it has no function with a `Binary:`".to_owned()),
        None => Ok(LaidOut { functions, template: lines.join("\n") + "\n" }),
    }
}

/// Builds functions as `sam build` has them built for AWS, but for this machine's architecture and all at once, with Cargo's
/// own progress; gives the folder that has a folder of each, with its `bootstrap`.
///
/// # Errors
///
/// When a tool cannot be installed or the build fails.
pub fn build_for_aws(project: &Project, names: &[&str]) -> Result<PathBuf, LocalError> {
    let programs = tools::install(project, SAM)?;
    let mut command = Command::new("cargo");
    command.args(["lambda", "build", "--release"]);
    if cfg!(target_arch = "aarch64") {
        command.arg("--arm64");
    }
    for name in names {
        command.args(["--bin", name]);
    }
    let program = describe(&command);
    let status = outside_of_packages(&mut command)
        .current_dir(project.root())
        .env("PATH", tools::path_with(&programs))
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .map_err(LocalError::io(&program))?;
    if !status.success() {
        return Err(LocalError::Failed { program, status, output: "what it said is above".to_owned() });
    }
    Ok(project.root().join("target/lambda"))
}

/// Builds the largest function as for a deployment to AWS, with the SAM CLI, and checks the size of the result.
///
/// # Errors
///
/// If a tool cannot be installed, the build fails, there is no result, or it has more than [`MAX_BYTES`].
pub fn release(project: &Project) -> Result<(), LocalError> {
    say("building a function for AWS (minutes the first time)");
    // The SAM CLI does the same, but silently.
    build_for_aws(project, &[RELEASED_PROGRAM])?;
    let programs = tools::install(project, SAM)?;
    let folder = project.root().join("target/local/release");
    tools::remove(&folder)?;
    say(&format!("sam build {RELEASED}"));
    let mut command = Command::new(programs.join("sam"));
    command.args(["build", RELEASED, "--no-cached", "--build-dir"]).arg(&folder);
    command.args(["--parameter-overrides", architecture()]);
    run(outside_of_packages(&mut command)
        .current_dir(project.root())
        .env("PATH", tools::path_with(&programs))
        .env("SAM_CLI_TELEMETRY", "0")
        .env("AWS_DEFAULT_REGION", "eu-west-1"))?;
    within_size(RELEASED_PROGRAM, &folder.join(RELEASED).join("bootstrap")).map(drop)
}

/// Builds all functions as for a deployment to AWS, which takes a quarter of an hour, and checks that none is too large and that
/// [`release`] builds the largest one.
///
/// # Errors
///
/// If a tool cannot be installed, the build fails, a program has more than [`MAX_BYTES`], or another one than that of [`release`]
/// is the largest.
pub fn release_all(project: &Project) -> Result<(), LocalError> {
    let folder = project.root().join("functions");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).map_err(LocalError::io(folder.display().to_string()))? {
        let entry = entry.map_err(LocalError::io(folder.display().to_string()))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let built = build_for_aws(project, &names)?;
    let mut largest = ("", 0);
    for name in names {
        let bytes = within_size(name, &built.join(name).join("bootstrap"))?;
        if bytes > largest.1 {
            largest = (name, bytes);
        }
    }
    if largest.0 == RELEASED_PROGRAM {
        return Ok(());
    }
    let problem =
        format!("{} is the largest, and RELEASED_PROGRAM in functions.rs is {RELEASED_PROGRAM}", largest.0);
    Err(LocalError::Unexpected { program: "cargo lambda build".to_owned(), problem })
}

/// Builds benchmarks as functions are built for AWS, and runs them, one after another; each is given `--short` for its short form.
///
/// # Errors
///
/// If a tool cannot be installed, the build fails, or a benchmark misses a goal.
pub fn bench(project: &Project, names: &[String], is_short: bool) -> Result<(), LocalError> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let built = build_for_aws(project, &names)?;
    for name in names {
        let mut command = Command::new(built.join(name).join("bootstrap"));
        command.args(is_short.then_some("--short"));
        let program = describe(&command);
        let status = outside_of_packages(&mut command)
            .current_dir(project.root())
            .status()
            .map_err(LocalError::io(&program))?;
        if !status.success() {
            return Err(LocalError::Failed { program, status, output: "what it missed is above".to_owned() });
        }
    }
    Ok(())
}

/// The size of a program in bytes, unless it is too large to be deployed.
fn within_size(name: &str, bootstrap: &Path) -> Result<u64, LocalError> {
    let bytes = fs::metadata(bootstrap).map_err(LocalError::io(bootstrap.display().to_string()))?.len();
    say(&format!("{name}: {bytes} bytes of at most {MAX_BYTES}"));
    if bytes <= MAX_BYTES {
        return Ok(bytes);
    }
    let problem = format!("{name} has {bytes} bytes: more than {MAX_BYTES}");
    Err(LocalError::Unexpected { program: "cargo lambda build".to_owned(), problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_deployed_from_a_folder_of_its_own() {
        let project = Project::here();
        let template = fs::read_to_string(project.root().join("template.yaml")).unwrap();
        let laid_out = led(&template, Path::new("/checkout"), Path::new("/build")).unwrap();
        let mut folders: Vec<String> = fs::read_dir(project.root().join("functions"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let mut functions = laid_out.functions;
        // It has a template of its own, which takes its program from a bucket.
        folders.retain(|name| name != "usage-report");
        folders.sort();
        functions.sort();
        assert_eq!(functions, folders);
        for name in functions {
            assert!(laid_out.template.contains(&format!("      CodeUri: \"/build/{name}\"\n")), "{name}");
        }
        assert!(laid_out.template.contains("      DefinitionUri: \"/checkout/infra/lifecycle.asl.json\"\n"));
        assert!(!laid_out.template.contains("Uri: infra") && !laid_out.template.contains("CodeUri: .\n"));
    }

    #[test]
    fn a_function_that_is_too_large_is_not_deployed() {
        let file = tempfile();
        fs::write(&file, "").unwrap();
        let written = fs::OpenOptions::new().write(true).open(&file).unwrap();
        written.set_len(MAX_BYTES).unwrap();
        assert_eq!(within_size("one", &file).unwrap(), MAX_BYTES);
        written.set_len(MAX_BYTES + 1).unwrap();
        let error = within_size("one", &file).unwrap_err().to_string();
        fs::remove_file(&file).unwrap();
        assert!(error.contains("one has 8000001 bytes"), "{error}");
    }

    fn tempfile() -> PathBuf {
        std::env::temp_dir().join(format!("bootstrap-{}", std::process::id()))
    }

    #[test]
    fn a_function_that_says_nothing_of_its_program_is_refused() {
        let problem = led("Properties:\n  CodeUri: .\n", Path::new("/"), Path::new("/")).err();
        assert_eq!(problem.as_deref(), Some("line 2: no `Binary:` comes before this"));
    }
}
