//! The tools of the local AWS: those in Python have an environment each, since they pin dependencies of each other, and so has
//! what is in JavaScript; the others are Debian's.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::{LocalError, Project, run, say};

/// One environment: its name, and the packages in it.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// The name of its folder.
    pub name: &'static str,
    /// The packages in it, pinned.
    pub packages: &'static [&'static str],
}

/// The emulator: runs Lambda functions as processes, without Docker, and deploys SAM templates.
pub const EMULATOR: Tool = Tool { name: "emulator", packages: &["ministack[full]==1.5.33"] };
/// The AWS SAM CLI, and what it builds Rust functions with.
pub const SAM: Tool = Tool { name: "sam", packages: &["aws-sam-cli==1.170.0", "cargo-lambda==1.9.2"] };
/// The AWS CLI.
pub const AWS: Tool = Tool { name: "aws", packages: &["awscli==1.46.3"] };

/// Checks templates against good practice.
pub const CHECKOV: Tool = Tool { name: "checkov", packages: &["checkov==3.3.30"] };
/// Checks manifests against the schemas of Kubernetes, which are in the package.
pub const KUBERNETES: Tool = Tool { name: "kubernetes", packages: &["kubernetes-validate==1.37.0"] };

/// Programs that read a registry as this project does, for benchmarks beside them; boto3 comes with it.
pub const PEERS: Tool = Tool { name: "peers", packages: &["c7n==0.9.53"] };

/// Knows the actions and resources of IAM, and which of them give more than they say.
pub const IAM: Tool = Tool { name: "iam", packages: &["policy_sentry==0.15.2", "cloudsplaining==0.9.1"] };
/// An interpreter of the Amazon States Language, in JavaScript.
pub const STATES: Tool =
    Tool { name: "aws-local-stepfunctions", packages: &["aws-local-stepfunctions@3.0.0"] };
/// What programs for Pulumi are written with, and what checks their types.
pub const PULUMI: Tool =
    Tool { name: "pulumi", packages: &["@pulumi/aws@7.48.0", "@pulumi/pulumi@3.248.0", "typescript@5.9.3"] };
/// Drives a browser, which is Debian's Chromium, and finds in pages what keeps people from using them.
pub const BROWSER: Tool = Tool { name: "browser", packages: &["axe-core@4.14.1", "playwright-core@1.65.1"] };

/// Locked during an installation, since tests install concurrently.
static INSTALLING: Mutex<()> = Mutex::new(());

/// The folder of a tool's programs, installing the tool if it is not there or not the right one.
///
/// # Errors
///
/// When Python or the installation fails.
pub fn install(project: &Project, tool: Tool) -> Result<PathBuf, LocalError> {
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = project.tools().join(tool.name);
    let programs = folder.join("bin");
    // Written last, so that an incomplete installation is not used.
    let marker = folder.join("installed");
    let required = tool.packages.join("\n");
    if fs::read_to_string(&marker).is_ok_and(|installed| installed == required) {
        return Ok(programs);
    }
    say(&format!("installing {} (once)", tool.packages.join(" and ")));
    remove(&folder)?;
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    run(Command::new(programs.join("pip"))
        .args(["install", "--quiet", "--disable-pip-version-check"])
        .args(tool.packages))?;
    fs::write(&marker, required).map_err(LocalError::io(marker.display().to_string()))?;
    Ok(programs)
}

/// The folder of the modules of packages from npm, each `name@version`, installing them if they are not there or not the right ones.
/// Scripts of packages are not run.
///
/// # Errors
///
/// When there is no Node.js, or the installation fails.
pub fn install_from_npm(project: &Project, tool: Tool) -> Result<PathBuf, LocalError> {
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = project.tools().join(tool.name);
    let modules = folder.join("node_modules");
    // Written last, so that an incomplete installation is not used.
    let marker = folder.join("installed");
    let required = tool.packages.join("\n");
    if fs::read_to_string(&marker).is_ok_and(|installed| installed == required) {
        return Ok(modules);
    }
    say(&format!("installing {} (once)", tool.packages.join(" and ")));
    remove(&folder)?;
    fs::create_dir_all(&folder).map_err(LocalError::io(folder.display().to_string()))?;
    run(Command::new("npm")
        .args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--prefix"])
        .arg(&folder)
        .args(tool.packages))?;
    fs::write(&marker, required).map_err(LocalError::io(marker.display().to_string()))?;
    Ok(modules)
}

/// The programs that builds of images need: a builder, what the buildspec calls, what stands in for CodeCommit, and something to
/// run in an image.
pub const BUILD: [&str; 5] = ["buildah", "busybox-static", "git", "jq", "skopeo"];

/// Installs missing packages of Debian; each has a program of its own name.
///
/// # Errors
///
/// If one is missing and cannot be installed.
pub fn debian(packages: &[&str]) -> Result<(), LocalError> {
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let is_there = |package: &str| match package {
        // The other package has a program of the same name, which needs libraries that an empty image has not.
        "busybox-static" => Path::new("/usr/share/doc/busybox-static").is_dir(),
        program => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
        }
    };
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !is_there(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    say(&format!("installing {} with apt-get (once)", missing.join(" and ")));
    let is_root = run(Command::new("id").arg("-u"))?.stdout.trim_ascii() == b"0";
    let apt = |arguments: &[&str]| {
        let words = if is_root { &["apt-get"][..] } else { &["sudo", "apt-get"] };
        let (program, rest) = words.split_first().unwrap_or((&"apt-get", &[]));
        run(Command::new(program).args(rest).args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
            .map(drop)
    };
    apt(&["update", "-q"])?;
    apt(&[&["install", "-q", "-y", "--no-install-recommends"][..], &missing].concat())
}

/// Removes all tools.
///
/// # Errors
///
/// When their files cannot be removed.
pub fn uninstall(project: &Project) -> Result<(), LocalError> {
    remove(&project.tools())
}

/// Removes a folder, whether or not it is there.
pub(crate) fn remove(folder: &Path) -> Result<(), LocalError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(LocalError::io(folder.display().to_string())(error))
        }
        _ => Ok(()),
    }
}

/// `PATH` with a folder of programs in front.
pub(crate) fn path_with(programs: &Path) -> OsString {
    let mut path = OsString::from(programs);
    if let Some(rest) = std::env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    path
}
