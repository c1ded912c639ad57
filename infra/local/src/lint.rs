//! The templates against what CloudFormation and AWS's good practice ask for, their IAM policies against what AWS knows of actions
//! and resources, and the manifests against Kubernetes' schemas.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::tools::{self, CHECKOV, IAM, KUBERNETES, SAM};
use crate::{LocalError, Project, run, say};

/// The templates, and whether each has IAM policies.
const TEMPLATES: [(&str, bool); 6] = [
    ("template.yaml", true),
    ("infra/usage-reporter.yaml", true),
    ("infra/examples/build-role.yaml", true),
    ("infra/examples/ecs-service.yaml", true),
    ("infra/examples/image.yaml", false),
    ("infra/examples/repository.yaml", false),
];

/// The manifests for Kubernetes.
pub const MANIFESTS: [&str; 3] = [
    "infra/examples/eks/deployment.yaml",
    "infra/examples/eks/service.yaml",
    "infra/usage-reporter/kubernetes/usage-report.yaml",
];

/// Lints `template.yaml`, `infra/usage-reporter.yaml`, and the templates and manifests of `infra/examples`.
///
/// # Errors
///
/// When a linter cannot be installed, or finds something.
pub fn lint(project: &Project) -> Result<(), LocalError> {
    let sam = tools::install(project, SAM)?;
    say("sam validate --lint");
    run(at_root(project, sam.join("sam")).args(["validate", "--lint"]))?;
    let folder = project.root().join("target/local/expanded");
    fs::create_dir_all(&folder).map_err(LocalError::io(folder.display().to_string()))?;
    let mut expanded = Vec::new();
    for (template, _) in TEMPLATES {
        expanded.push(expand(project, Path::new(template), &folder)?);
    }
    regions(project, &expanded)?;
    say("policy_sentry and cloudsplaining");
    for ((template, _), expanded) in
        TEMPLATES.iter().zip(&expanded).filter(|((_, has_policies), _)| *has_policies)
    {
        policies(project, Path::new(template), expanded)?;
    }
    let checkov = tools::install(project, CHECKOV)?;
    say("checkov");
    run(at_root(project, checkov.join("checkov"))
        .args([
            "--file",
            "template.yaml",
            "infra/usage-reporter.yaml",
            "infra/examples/repository.yaml",
            "infra/examples/image.yaml",
            "infra/examples/build-role.yaml",
        ])
        .args(["--framework", "cloudformation", "--compact", "--quiet", "--skip-download"]))?;
    say("kubernetes-validate");
    manifests(project, &MANIFESTS.map(Path::new))
}

/// Checks manifests against the schemas of Kubernetes.
///
/// # Errors
///
/// When the tool cannot be installed, or finds something.
pub fn manifests(project: &Project, files: &[&Path]) -> Result<(), LocalError> {
    let kubernetes = tools::install(project, KUBERNETES)?;
    run(at_root(project, kubernetes.join("kubernetes-validate")).arg("--strict").args(files)).map(drop)
}

/// Writes what SAM makes of a template into a folder; gives the file.
///
/// # Errors
///
/// When SAM cannot be installed or does not understand the template.
pub fn expand(project: &Project, template: &Path, folder: &Path) -> Result<PathBuf, LocalError> {
    let sam = tools::install(project, SAM)?;
    let name = template.file_name().unwrap_or(template.as_os_str());
    let file = folder.join(name).with_extension("json");
    let made = run(at_root(project, sam.join("python")).arg("infra/local/expand.py").arg(template))?;
    fs::write(&file, made.stdout).map_err(LocalError::io(file.display().to_string()))?;
    Ok(file)
}

/// Checks the IAM policies of a template that [`expand`] made: that actions and condition keys exist, that resources match them,
/// and that wide permissions are justified beside the statement. `infra/local/iam.py` has the rules.
///
/// # Errors
///
/// If a tool cannot be installed, and with all findings that no comment justifies.
pub fn policies(project: &Project, template: &Path, expanded: &Path) -> Result<(), LocalError> {
    let iam = tools::install(project, IAM)?;
    run(at_root(project, iam.join("python")).arg("infra/local/iam.py").arg(template).arg(expanded)).map(drop)
}

/// Regions that have the same types of resources, with the same schemas.
#[derive(Debug, Deserialize)]
struct Group {
    regions: Vec<String>,
    /// Resource types of the templates that the Regions lack.
    missing: Vec<String>,
}

/// Lints the templates for every Region that has AWS Lambda: for one of each group in which cfn-lint finds the same.
fn regions(project: &Project, expanded: &[PathBuf]) -> Result<(), LocalError> {
    let sam = tools::install(project, SAM)?;
    let unexpected = |problem: String| LocalError::Unexpected { program: "cfn-lint".to_owned(), problem };
    let groups = run(at_root(project, sam.join("python")).arg("infra/local/regions.py").args(expanded))?;
    let groups: Vec<Group> =
        serde_json::from_slice(&groups.stdout).map_err(|error| unexpected(error.to_string()))?;
    for Group { regions, missing } in groups {
        let [region, ..] = &regions[..] else { continue };
        say(&format!("cfn-lint for {region}, as for {} Regions", regions.len()));
        if !missing.is_empty() {
            let problem = "there is no such type, and no condition leaves it out";
            return Err(unexpected(format!("in {}: {problem}: {}", regions.join(", "), missing.join(", "))));
        }
        run(at_root(project, sam.join("cfn-lint"))
            .args(["--regions", region, "--"])
            .args(TEMPLATES.map(|(template, _)| template)))?;
    }
    Ok(())
}

fn at_root(project: &Project, program: PathBuf) -> Command {
    let mut command = Command::new(program);
    command.current_dir(project.root()).env("SAM_CLI_TELEMETRY", "0").env("AWS_DEFAULT_REGION", "eu-west-1");
    command
}
