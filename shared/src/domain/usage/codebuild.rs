//! AWS CodeBuild: the image of each project's environment, in which its next build runs.

use serde_json::Value;

use super::source::{ImageNotNamed, Reading, UsageSource, When};

/// AWS CodeBuild.
pub const SOURCE: UsageSource = UsageSource {
    name: "codebuild",
    title: "AWS CodeBuild",
    service: Some("codebuild"),
    actions: &["codebuild:BatchGetProjects", "codebuild:ListProjects"],
    blocks: true,
    when: When::OnceARun,
    calls: "2 for each 100 projects",
};

/// Adds the image of a project in the answer of `BatchGetProjects`.
pub fn add_project(project: &Value, reading: &mut Reading) {
    let arn = project["arn"].as_str().or(project["name"].as_str()).unwrap_or("a project without a name");
    match project["environment"]["image"].as_str() {
        // Builds on macOS and Amazon EC2 may be on a machine image, which is none of a registry.
        Some("") => {}
        Some(image) if image.starts_with("ami-") => {}
        Some(image) => reading.add(&[image.to_owned()], arn),
        None => {
            let user = format!("the environment of {arn}");
            let problem = ImageNotNamed { operation: "BatchGetProjects", user };
            reading.problems.push(problem.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_project_uses_the_image_of_its_environment() {
        let mut reading = Reading::default();
        for image in ["aws/codebuild/standard:7.0", "1.dkr.ecr.r.amazonaws.com/builder@sha256:", "ami-1", ""]
        {
            add_project(&json!({ "arn": "arn:p", "environment": { "image": image } }), &mut reading);
        }
        assert_eq!(reading.used.len(), 1);
        assert_eq!(reading.used[0].to_string(), "aws/codebuild/standard:7.0 by arn:p");
        assert_eq!(reading.problems.len(), 1, "what is no reference is a gap: {:?}", reading.problems);
        add_project(&json!({ "name": "p", "environment": {} }), &mut reading);
        assert!(reading.problems[1].contains("environment of p"), "{:?}", reading.problems);
    }
}
