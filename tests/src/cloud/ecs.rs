//! Amazon ECS, as far as it tells what runs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The operations that are known here.
pub(super) const OPERATIONS: [&str; 7] = [
    "ListClusters",
    "ListTasks",
    "DescribeTasks",
    "ListServices",
    "DescribeServices",
    "ListTaskDefinitions",
    "DescribeTaskDefinition",
];

/// What runs.
#[derive(Debug, Default)]
pub struct Ecs {
    /// Tasks by cluster and ARN.
    tasks: BTreeMap<String, BTreeMap<String, Value>>,
    /// Services by cluster and ARN.
    services: BTreeMap<String, BTreeMap<String, Value>>,
    /// The images of task definitions by ARN, in the order in which they were registered.
    definitions: Vec<(String, Vec<String>)>,
    /// The largest page, for lists that have several.
    pub page: usize,
}

type Answered = Result<Value, (&'static str, String)>;

fn arn(rest: &str) -> String {
    format!("arn:aws:ecs:eu-west-1:123456789012:{rest}")
}

impl Ecs {
    /// Registers the next revision of a family.
    pub fn register(&mut self, family: &str, images: &[&str]) -> String {
        let prefix = arn(&format!("task-definition/{family}:"));
        let revision = 1 + self.definitions.iter().filter(|(arn, _)| arn.starts_with(&prefix)).count();
        let arn = format!("{prefix}{revision}");
        self.definitions.push((arn.clone(), images.iter().map(|&image| image.to_owned()).collect()));
        arn
    }

    /// Starts a task. The digest is that of what its first container pulled.
    ///
    /// # Panics
    ///
    /// When there is no such task definition.
    pub fn run_task(&mut self, cluster: &str, definition: &str, digest: Option<&str>) -> String {
        let images = &self.definitions.iter().find(|(arn, _)| arn == definition).unwrap().1;
        let mut containers: Vec<Value> = images.iter().map(|image| json!({ "image": image })).collect();
        if let Some(digest) = digest {
            containers[0]["imageDigest"] = digest.into();
        }
        let tasks = self.tasks.entry(arn(&format!("cluster/{cluster}"))).or_default();
        let task = arn(&format!("task/{cluster}/{:032x}", tasks.len() + 1));
        let status = if digest.is_some() { "RUNNING" } else { "PENDING" };
        let described = json!({ "taskArn": task, "taskDefinitionArn": definition, "lastStatus": status,
            "desiredStatus": "RUNNING", "containers": containers });
        tasks.insert(task.clone(), described);
        task
    }

    /// Creates a service that deploys the first of these task definitions, and still runs the others.
    pub fn add_service(&mut self, cluster: &str, name: &str, definitions: &[&str]) -> String {
        let service = arn(&format!("service/{cluster}/{name}"));
        let deployments: Vec<Value> =
            definitions.iter().map(|definition| json!({ "taskDefinition": definition })).collect();
        let described = json!({ "serviceArn": service, "serviceName": name, "taskDefinition": definitions[0],
            "deployments": deployments });
        let services = self.services.entry(arn(&format!("cluster/{cluster}"))).or_default();
        services.insert(service.clone(), described);
        service
    }

    /// Nothing runs any more, and no task definition is active.
    pub fn stop_all(&mut self) {
        *self = Self { page: self.page, ..Self::default() };
    }

    pub(super) fn act(&self, operation: &str, asked: &Value) -> Answered {
        let cluster = asked["cluster"].as_str().unwrap_or_default();
        let arns = |field: &str| -> Vec<String> {
            let arns = asked[field].as_array().into_iter().flatten();
            arns.map(|arn| arn.as_str().unwrap().to_owned()).collect()
        };
        let described = |all: &BTreeMap<String, BTreeMap<String, Value>>, field: &str, most: usize| {
            let arns = arns(field);
            assert!(arns.len() <= most, "{operation} takes {most}");
            let of_cluster = all.get(cluster);
            let found = |arn: &String| of_cluster.and_then(|all| all.get(arn));
            let failures: Vec<Value> = arns
                .iter()
                .filter(|arn| found(arn).is_none())
                .map(|arn| json!({ "arn": arn, "reason": "MISSING" }))
                .collect();
            let found: Vec<&Value> = arns.iter().filter_map(found).collect();
            Ok(json!({ field: found, "failures": failures }))
        };
        let listed = |all: &BTreeMap<String, BTreeMap<String, Value>>| -> Vec<String> {
            all.get(cluster).into_iter().flat_map(BTreeMap::keys).cloned().collect()
        };
        match operation {
            "ListClusters" => {
                let mut clusters: Vec<String> =
                    self.tasks.keys().chain(self.services.keys()).cloned().collect();
                clusters.sort();
                clusters.dedup();
                self.page(asked, "clusterArns", &clusters)
            }
            "ListTasks" => self.page(asked, "taskArns", &listed(&self.tasks)),
            "ListServices" => self.page(asked, "serviceArns", &listed(&self.services)),
            "DescribeTasks" => described(&self.tasks, "tasks", 100),
            "DescribeServices" => described(&self.services, "services", 10),
            "ListTaskDefinitions" => {
                let arns: Vec<String> = self.definitions.iter().map(|(arn, _)| arn.clone()).collect();
                self.page(asked, "taskDefinitionArns", &arns)
            }
            _ => {
                let arn = asked["taskDefinition"].as_str().unwrap_or_default();
                let found = self.definitions.iter().find(|(known, _)| known == arn);
                let (arn, images) =
                    found.ok_or(("ClientException", "Unable to describe task definition.".to_owned()))?;
                let containers: Vec<Value> =
                    images.iter().map(|image| json!({ "name": "app", "image": image })).collect();
                Ok(
                    json!({ "taskDefinition": { "taskDefinitionArn": arn, "containerDefinitions": containers } }),
                )
            }
        }
    }

    fn page(&self, asked: &Value, field: &str, all: &[String]) -> Answered {
        let most = asked["maxResults"].as_u64().unwrap_or(100).min(100) as usize;
        let size = if self.page == 0 { most } else { most.min(self.page) };
        let start: usize = asked["nextToken"].as_str().map_or(0, |token| token.parse().unwrap());
        let end = all.len().min(start + size);
        let mut answer = json!({ field: all[start..end] });
        if end < all.len() {
            answer["nextToken"] = end.to_string().into();
        }
        Ok(answer)
    }
}
