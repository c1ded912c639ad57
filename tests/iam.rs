//! What checks the IAM policies of the templates finds what it is there for. It comes from PyPI, so that this takes the feature
//! `pypi`; `cargo local lint` runs it over the templates.

use std::path::Path;

use local::{Project, lint};

const TEMPLATE: &str = r#"AWSTemplateFormatVersion: "2010-09-09"
Resources:
  Role:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument: { Version: "2012-10-17", Statement: [] }
      Policies:
        - PolicyName: policy
          PolicyDocument:
            Version: "2012-10-17"
            Statement:
STATEMENT"#;

/// What is found in a role with one statement, which is written with the comments above it.
fn findings(statement: &str) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("role.yaml");
    let indented: Vec<String> = statement.lines().map(|line| format!("              {line}\n")).collect();
    std::fs::write(&file, TEMPLATE.replace("STATEMENT", &indented.concat())).unwrap();
    let project = Project::here();
    let expanded = lint::expand(&project, Path::new(&file), folder.path()).unwrap();
    lint::policies(&project, &file, &expanded).err().map(|error| error.to_string())
}

fn statement(comment: &str, action: &str, resource: &str) -> String {
    format!("{comment}\n- Sid: It\n  Effect: Allow\n  Action: {action}\n  Resource: \"{resource}\"")
}

#[test]
fn actions_that_do_not_exist_resources_that_do_not_fit_and_what_escalates_are_found_unless_justified() {
    let repository = "arn:aws:ecr:eu-west-1:123456789012:repository/shop/*";
    let any_repository = "arn:aws:ecr:eu-west-1:123456789012:repository/*";
    let reason = "# iam: resource-exposure ecr:SetRepositoryPolicy - it says who may pull";
    assert_eq!(findings(&statement("#", "ecr:DescribeImages", repository)), None);
    assert_eq!(findings(&statement(reason, "ecr:SetRepositoryPolicy", any_repository)), None);
    for (statement, finding) in [
        (statement("#", "ecr:DescribeImage", repository), "unknown-action ecr:DescribeImage"),
        (statement("#", "ecr:*", repository), "service-wildcard ecr:*"),
        (statement("#", "ecr:DescribeImages", "arn:aws:s3:::bucket/*"), "unfit-resource ecr:DescribeImages"),
        (statement("#", "s3:ListBucket", "arn:aws:s3:::bucket/*"), "unfit-resource s3:ListBucket"),
        (statement("#", "ecr:GetAuthorizationToken", repository), "unfit-resource ecr:GetAuthorizationToken"),
        (
            statement("#", "ecr:SetRepositoryPolicy", any_repository),
            "resource-exposure ecr:SetRepositoryPolicy",
        ),
        (
            statement("#", "iam:PassRole", "arn:aws:iam::123456789012:role/one"),
            "resource-exposure iam:PassRole",
        ),
        (
            statement("#", "iam:CreateAccessKey", "arn:aws:iam::123456789012:user/*"),
            "privilege-escalation iam:createaccesskey",
        ),
        (
            statement("#", "secretsmanager:GetSecretValue", "*"),
            "data-exfiltration secretsmanager:GetSecretValue",
        ),
        (
            format!(
                "{}\n  Condition: {{ StringEquals: {{ ecr:Colour: red }} }}",
                statement("#", "ecr:DescribeImages", repository)
            ),
            "unknown-condition ecr:DescribeImages",
        ),
        // What is justified has to be so, and by a reason.
        (statement(reason, "ecr:DescribeImages", repository), "any more"),
        (statement("# iam: it is fine", "ecr:DescribeImages", repository), "REASON"),
    ] {
        let found = findings(&statement).unwrap_or_default();
        assert!(found.contains(finding), "{statement}\nfinds {found:?} instead of {finding}");
    }
}
