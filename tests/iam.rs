//! What checks the IAM policies of the templates finds what it is there for. It comes from PyPI, so that this takes the feature
//! `pypi`; `cargo local lint` runs it over the templates.

use local::{Project, lint};

const ROLE: &str = r#"  RoleNUMBER:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument: { Version: "2012-10-17", Statement: [] }
      Policies:
        - PolicyName: policy
          PolicyDocument:
            Version: "2012-10-17"
            Statement:
STATEMENT"#;

/// What is found in roles with one statement each, which is written with the comments above it.
fn findings(statements: &[String]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("roles.yaml");
    let mut template = "AWSTemplateFormatVersion: \"2010-09-09\"\nResources:\n".to_owned();
    for (number, statement) in statements.iter().enumerate() {
        let indented: Vec<String> = statement.lines().map(|line| format!("              {line}\n")).collect();
        template += &ROLE.replace("NUMBER", &number.to_string()).replace("STATEMENT", &indented.concat());
    }
    std::fs::write(&file, template).unwrap();
    let project = Project::here();
    let expanded = lint::expand(&project, &file, folder.path()).unwrap();
    lint::policies(&project, &file, &expanded).err().map(|error| error.to_string()).unwrap_or_default()
}

fn statement(comment: &str, action: &str, resource: &str) -> String {
    format!("{comment}\n- Sid: It\n  Effect: Allow\n  Action: {action}\n  Resource: \"{resource}\"")
}

#[test]
fn actions_that_do_not_exist_resources_that_do_not_fit_and_what_escalates_are_found_unless_justified() {
    let repository = "arn:aws:ecr:eu-west-1:123456789012:repository/shop/*";
    let any_repository = "arn:aws:ecr:eu-west-1:123456789012:repository/*";
    let user = "arn:aws:iam::123456789012:user/*";
    let reason = "# iam: resource-exposure ecr:SetRepositoryPolicy - it says who may pull";
    let fine = [
        statement("#", "ecr:DescribeImages", repository),
        statement(reason, "ecr:SetRepositoryPolicy", any_repository),
        statement("#", "s3:GetObject", "arn:aws:s3:::bucket/a/*"),
        statement("#", "s3:ListBucket", "arn:aws:s3:::bucket"),
    ];
    assert_eq!(findings(&fine), "");
    let cases = [
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
        (statement("#", "iam:CreateAccessKey", user), "privilege-escalation iam:createaccesskey"),
        (
            statement("#", "secretsmanager:GetSecretValue", "*"),
            "data-exfiltration secretsmanager:GetSecretValue",
        ),
        (
            statement("#", "ecr:DescribeImages", repository)
                + "\n  Condition: { StringEquals: { ecr:Colour: red } }",
            "unknown-condition ecr:DescribeImages",
        ),
    ];
    let statements = cases.clone().map(|(statement, _)| statement);
    let found = findings(&statements);
    for (number, (statement, finding)) in cases.iter().enumerate() {
        let finding = format!("Role{number} It: {finding}:");
        assert!(found.contains(&finding), "{statement}\nis not found as {finding} in\n{found}");
    }
    // What is justified has to be so, and by a reason.
    let stale = findings(&[statement(reason, "ecr:DescribeImages", repository)]);
    assert!(stale.contains("nothing finds resource-exposure ecr:setrepositorypolicy"), "{stale}");
    let unreasoned = findings(&[statement("# iam: it is fine", "ecr:DescribeImages", repository)]);
    assert!(unreasoned.contains("no `# iam: CODE ACTION, … - REASON`"), "{unreasoned}");
}
