//! The templates against what CloudFormation and AWS's good practice ask for, and the manifests against Kubernetes' schemas.

use std::path::PathBuf;
use std::process::Command;

use crate::tools::{self, CHECKOV, KUBERNETES, SAM};
use crate::{LocalError, Project, run, say};

/// The regions whose resource specifications the templates have to meet.
const REGIONS: &str = "us-east-1,eu-west-1,ap-southeast-1";

/// Lints `template.yaml`, and the templates and manifests of `infra/examples`.
///
/// # Errors
///
/// When a linter cannot be installed, or finds something.
pub fn lint(project: &Project) -> Result<(), LocalError> {
    let sam = tools::install(project, SAM)?;
    let checkov = tools::install(project, CHECKOV)?;
    let kubernetes = tools::install(project, KUBERNETES)?;
    let at_root = |program: PathBuf| {
        let mut command = Command::new(program);
        command
            .current_dir(project.root())
            .env("SAM_CLI_TELEMETRY", "0")
            .env("AWS_DEFAULT_REGION", "eu-west-1");
        command
    };
    say("sam validate --lint");
    run(at_root(sam.join("sam")).args(["validate", "--lint"]))?;
    say("cfn-lint");
    run(at_root(sam.join("cfn-lint")).args([
        "--regions",
        REGIONS,
        "--",
        "template.yaml",
        "infra/examples/*.yaml",
    ]))?;
    say("checkov");
    run(at_root(checkov.join("checkov"))
        .args([
            "--file",
            "template.yaml",
            "infra/examples/repository.yaml",
            "infra/examples/image.yaml",
            "infra/examples/build-role.yaml",
        ])
        .args(["--framework", "cloudformation", "--compact", "--quiet", "--skip-download"]))?;
    say("kubernetes-validate");
    run(at_root(kubernetes.join("kubernetes-validate")).args([
        "--strict",
        "infra/examples/eks/deployment.yaml",
        "infra/examples/eks/service.yaml",
        "infra/examples/eks-usage/cronjob.yaml",
    ]))
    .map(drop)
}
