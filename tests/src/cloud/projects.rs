//! AWS CodeBuild: projects and their images.

use serde_json::{Value, json};

use super::Answered;
use super::sources::{Source, list};

/// Projects.
#[derive(Debug, Default)]
pub struct Projects {
    /// Names and images.
    pub projects: Vec<(String, String)>,
    /// Names that are listed, of projects that are deleted meanwhile.
    pub deleted: Vec<String>,
}

impl Source for Projects {
    fn act(&self, operation: &str, asked: &Value) -> Option<Answered> {
        match operation {
            "ListProjects" => {
                let names = self.projects.iter().map(|(name, _)| name).chain(&self.deleted);
                let names: Vec<Value> = names.map(|name| name.as_str().into()).collect();
                Some(Ok(list("projects", &names, "nextToken", 100)))
            }
            "BatchGetProjects" => {
                let names = asked["names"].as_array().unwrap();
                let found = self.projects.iter().filter(|(name, _)| names.contains(&name.as_str().into()));
                let found = found.map(|(name, image)| {
                    let arn = format!("arn:aws:codebuild:eu-west-1:123456789012:project/{name}");
                    json!({ "name": name, "arn": arn, "environment": { "image": image } })
                });
                let missing = names.iter().filter(|name| self.deleted.iter().any(|gone| *name == gone));
                Some(Ok(json!({ "projects": found.collect::<Vec<_>>(),
                    "projectsNotFound": missing.collect::<Vec<_>>() })))
            }
            _ => None,
        }
    }
}
