//! Amazon ECS: clusters, services, tasks and task definitions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// The operations that are known here.
pub(super) const OPERATIONS: [&str; 15] = [
    "ListClusters",
    "DescribeClusters",
    "ListTasks",
    "DescribeTasks",
    "ListServices",
    "DescribeServices",
    "DescribeServiceRevisions",
    "ListServiceDeployments",
    "ListTaskDefinitions",
    "DescribeTaskDefinition",
    "ListDaemons",
    "DescribeDaemon",
    "DescribeDaemonRevisions",
    "ListDaemonTaskDefinitions",
    "DescribeDaemonTaskDefinition",
];

/// The state of Amazon ECS.
#[derive(Debug, Default)]
pub struct Ecs {
    /// Tasks by cluster and ARN.
    tasks: BTreeMap<String, BTreeMap<String, Value>>,
    /// Services by cluster and ARN.
    services: BTreeMap<String, BTreeMap<String, Value>>,
    /// The images of task definitions by ARN, in the order in which they were registered.
    definitions: Vec<(String, Vec<String>)>,
    /// The answers of `DescribeServiceRevisions`, by ARN.
    revisions: BTreeMap<String, Value>,
    /// The deployments of services, by the services' ARNs, the oldest first.
    deployments: BTreeMap<String, Vec<Value>>,
    /// Daemons by ARN: their cluster, and their revision as `DescribeDaemonRevisions` answers.
    daemons: BTreeMap<String, (String, Value)>,
    /// The images of daemon task definitions by ARN.
    daemon_definitions: Vec<(String, Vec<String>)>,
    /// Clusters that are deleted and still listed.
    pub deleted_clusters: BTreeSet<String>,
    /// Service revisions that cannot be described, being from before 25 October 2024.
    pub indescribable: BTreeSet<String>,
    /// Task definitions that cannot be described though they are listed.
    pub lost_definitions: BTreeSet<String>,
    /// Task definitions that are deregistered.
    inactive: BTreeSet<String>,
    /// The largest page, for lists that have several.
    pub page: usize,
}

type Answered = Result<Value, (&'static str, String)>;

/// The present, in seconds since 1970.
#[expect(clippy::cast_precision_loss, reason = "a time of this century has 51 bits of microseconds")]
fn now() -> f64 {
    crate::clock::micros() as f64 / 1e6
}

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

    /// Deregisters a task definition: it is not listed any more, and can still be described.
    pub fn deregister(&mut self, definition: &str) {
        self.inactive.insert(definition.to_owned());
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
        let mut described = json!({ "taskArn": task, "taskDefinitionArn": definition, "lastStatus": status,
            "desiredStatus": "RUNNING", "containers": containers });
        if digest.is_some() {
            described["startedAt"] = now().into();
        }
        tasks.insert(task.clone(), described);
        task
    }

    /// Starts a task whose agent does not report the pulled digest, `days` days ago.
    ///
    /// # Panics
    ///
    /// If there is no such task definition.
    pub fn run_task_without_digest(&mut self, cluster: &str, definition: &str, days: f64) -> String {
        let task = self.run_task(cluster, definition, None);
        let described =
            self.tasks.get_mut(&arn(&format!("cluster/{cluster}"))).unwrap().get_mut(&task).unwrap();
        described["lastStatus"] = "RUNNING".into();
        described["startedAt"] = (now() - days * 86_400.0).into();
        task
    }

    /// A task as `DescribeTasks` answers it, to be changed.
    ///
    /// # Panics
    ///
    /// When there is no such task.
    pub fn task_mut(&mut self, cluster: &str, task: &str) -> &mut Value {
        self.tasks.get_mut(&arn(&format!("cluster/{cluster}"))).unwrap().get_mut(task).unwrap()
    }

    /// A service as `DescribeServices` answers it, to be changed.
    ///
    /// # Panics
    ///
    /// When there is no such service.
    pub fn service_mut(&mut self, cluster: &str, name: &str) -> &mut Value {
        let service = arn(&format!("service/{cluster}/{name}"));
        self.services.get_mut(&arn(&format!("cluster/{cluster}"))).unwrap().get_mut(&service).unwrap()
    }

    /// Starts a task of a service.
    ///
    /// # Panics
    ///
    /// When there is no such task definition.
    pub fn run_service_task(
        &mut self,
        cluster: &str,
        service: &str,
        definition: &str,
        digest: Option<&str>,
    ) -> String {
        let task = self.run_task(cluster, definition, digest);
        let described =
            self.tasks.get_mut(&arn(&format!("cluster/{cluster}"))).unwrap().get_mut(&task).unwrap();
        described["group"] = format!("service:{service}").into();
        task
    }

    /// Ends all tasks of a cluster, as a service does that is scaled to zero.
    pub fn stop_tasks(&mut self, cluster: &str) {
        self.tasks.entry(arn(&format!("cluster/{cluster}"))).or_default().clear();
    }

    /// Creates a service that deploys the first of these task definitions, and still runs the others. What their tags mean
    /// ECS has not found out.
    pub fn add_service(&mut self, cluster: &str, name: &str, definitions: &[&str]) -> String {
        for definition in definitions.iter().rev() {
            self.deploy(cluster, name, definition, None);
        }
        let service = arn(&format!("service/{cluster}/{name}"));
        let deployments: Vec<Value> =
            definitions.iter().map(|definition| json!({ "taskDefinition": definition })).collect();
        let cluster = arn(&format!("cluster/{cluster}"));
        self.services.get_mut(&cluster).unwrap().get_mut(&service).unwrap()["deployments"] =
            deployments.into();
        service
    }

    /// Deploys a task definition to a service, which is created if there is none. The digest is what the tag of its first
    /// container means then; all later tasks start by it. Gives the service revision.
    ///
    /// # Panics
    ///
    /// When there is no such task definition.
    pub fn deploy(&mut self, cluster: &str, name: &str, definition: &str, digest: Option<&str>) -> String {
        let service = arn(&format!("service/{cluster}/{name}"));
        let images = &self.definitions.iter().find(|(arn, _)| arn == definition).unwrap().1;
        let mut pinned: Vec<Value> =
            images.iter().map(|image| json!({ "containerName": "app", "image": image })).collect();
        if let Some(digest) = digest {
            pinned[0]["imageDigest"] = digest.into();
        }
        let revision = arn(&format!("service-revision/{cluster}/{name}/{}", 1000 + self.revisions.len()));
        let cluster_arn = arn(&format!("cluster/{cluster}"));
        let described = json!({ "serviceRevisionArn": revision, "serviceArn": service, "clusterArn": cluster_arn,
            "taskDefinition": definition, "containerImages": pinned });
        self.revisions.insert(revision.clone(), described);
        let history = self.deployments.entry(service.clone()).or_default();
        let created = 1_790_000_000.0 + history.len() as f64;
        history.push(
            json!({ "serviceDeploymentArn": format!("{service}/{}", history.len()), "serviceArn": service,
            "clusterArn": cluster_arn, "createdAt": created, "targetServiceRevisionArn": revision,
            "status": "SUCCESSFUL" }),
        );
        let described = json!({ "serviceArn": service, "serviceName": name, "clusterArn": cluster_arn,
            "taskDefinition": definition, "deploymentController": { "type": "ECS" },
            "deployments": [{ "taskDefinition": definition }],
            "currentServiceRevisions": [{ "arn": revision, "requestedTaskCount": 0 }] });
        self.services.entry(cluster_arn).or_default().insert(service, described);
        revision
    }

    /// Sets the status of a service's last deployment.
    ///
    /// # Panics
    ///
    /// If there is no such service.
    pub fn set_deployment_status(&mut self, cluster: &str, name: &str, status: &str) {
        let service = arn(&format!("service/{cluster}/{name}"));
        self.deployments.get_mut(&service).unwrap().last_mut().unwrap()["status"] = status.into();
    }

    /// Registers the next revision of a family of daemon task definitions.
    pub fn register_daemon(&mut self, family: &str, images: &[&str]) -> String {
        let arn = arn(&format!("daemon-task-definition/{family}:{}", self.daemon_definitions.len() + 1));
        self.daemon_definitions.push((arn.clone(), images.iter().map(|&image| image.to_owned()).collect()));
        arn
    }

    /// Creates a daemon, whose image has this digest pinned.
    pub fn add_daemon(&mut self, cluster: &str, name: &str, image: &str, digest: &str) -> String {
        let daemon = arn(&format!("daemon/{cluster}/{name}"));
        let cluster = arn(&format!("cluster/{cluster}"));
        let revision = json!({ "daemonRevisionArn": format!("{daemon}/1"), "clusterArn": cluster,
            "daemonArn": daemon, "daemonTaskDefinitionArn": arn("daemon-task-definition/none:1"),
            "containerImages": [{ "containerName": "app", "image": image, "imageDigest": digest }] });
        self.services.entry(cluster.clone()).or_default();
        self.daemons.insert(daemon.clone(), (cluster, revision));
        daemon
    }

    /// A cluster is deleted with all that is in it. ECS lists it for a while.
    pub fn delete_cluster(&mut self, cluster: &str) {
        let cluster = arn(&format!("cluster/{cluster}"));
        self.tasks.remove(&cluster);
        self.services.remove(&cluster);
        self.deleted_clusters.insert(cluster);
    }

    /// Stops everything, and deregisters all task definitions.
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
        if self.deleted_clusters.contains(cluster) {
            return Err(("ClusterNotFoundException", "The referenced cluster was inactive.".to_owned()));
        }
        // What a field names, of what there is.
        let named = |field: &str, member: &str, most: usize, find: &dyn Fn(&str) -> Option<Value>| {
            let arns = arns(field);
            assert!(!arns.is_empty() && arns.len() <= most, "{operation} takes {most}");
            let missing = arns.iter().filter(|arn| find(arn).is_none());
            let failures: Vec<Value> =
                missing.map(|arn| json!({ "arn": arn, "reason": "MISSING" })).collect();
            let found: Vec<Value> = arns.iter().filter_map(|arn| find(arn)).collect();
            Ok(json!({ member: found, "failures": failures }))
        };
        match operation {
            "DescribeClusters" => named("clusters", "clusters", 100, &|arn| {
                let is_deleted = self.deleted_clusters.contains(arn);
                let is_there = self.tasks.contains_key(arn) || self.services.contains_key(arn);
                let status = if is_deleted { "INACTIVE" } else { "ACTIVE" };
                (is_there || is_deleted).then(|| json!({ "clusterArn": arn, "status": status }))
            }),
            "DescribeServiceRevisions" => named("serviceRevisionArns", "serviceRevisions", 20, &|arn| {
                if self.indescribable.contains(arn) { None } else { self.revisions.get(arn).cloned() }
            }),
            "ListServiceDeployments" => {
                let service = asked["service"].as_str().unwrap_or_default();
                let all = self.deployments.get(service);
                let all = all.ok_or(("ServiceNotFoundException", "Service not found.".to_owned()))?.clone();
                self.page(asked, "serviceDeployments", &all)
            }
            "ListDaemons" => {
                let wanted = asked["clusterArn"].as_str().unwrap_or_default();
                if self.deleted_clusters.contains(wanted) {
                    return Err(("ClusterNotFoundException", "Cluster not found.".to_owned()));
                }
                let of_cluster = self.daemons.iter().filter(|(_, (cluster, _))| cluster == wanted);
                let all: Vec<Value> =
                    of_cluster.map(|(arn, _)| json!({ "daemonArn": arn, "status": "ACTIVE" })).collect();
                self.page(asked, "daemonSummariesList", &all)
            }
            "DescribeDaemon" => {
                let daemon = asked["daemonArn"].as_str().unwrap_or_default();
                let (_, revision) = self
                    .daemons
                    .get(daemon)
                    .ok_or(("DaemonNotFoundException", "The daemon was not found.".to_owned()))?;
                let revision = &revision["daemonRevisionArn"];
                Ok(json!({ "daemon": { "daemonArn": daemon, "currentRevisions": [{ "arn": revision }] } }))
            }
            "DescribeDaemonRevisions" => named("daemonRevisionArns", "daemonRevisions", 20, &|arn| {
                if self.indescribable.contains(arn) {
                    return None;
                }
                let mut revisions = self.daemons.values().map(|(_, revision)| revision);
                revisions.find(|revision| revision["daemonRevisionArn"] == arn).cloned()
            }),
            "ListDaemonTaskDefinitions" => {
                let all: Vec<Value> = self
                    .daemon_definitions
                    .iter()
                    .map(|(arn, _)| json!({ "arn": arn, "status": "ACTIVE" }))
                    .collect();
                self.page(asked, "daemonTaskDefinitions", &all)
            }
            "DescribeDaemonTaskDefinition" => {
                let arn = asked["daemonTaskDefinition"].as_str().unwrap_or_default();
                let found = self.daemon_definitions.iter().find(|(known, _)| known == arn);
                let found = found.filter(|_| !self.lost_definitions.contains(arn));
                let (arn, images) = found
                    .ok_or(("ClientException", "Unable to describe daemon task definition.".to_owned()))?;
                let containers: Vec<Value> =
                    images.iter().map(|image| json!({ "name": "app", "image": image })).collect();
                Ok(json!({ "daemonTaskDefinition":
                    { "daemonTaskDefinitionArn": arn, "containerDefinitions": containers } }))
            }
            "ListClusters" => {
                let mut clusters: Vec<String> = self
                    .tasks
                    .keys()
                    .chain(self.services.keys())
                    .chain(&self.deleted_clusters)
                    .cloned()
                    .collect();
                clusters.sort();
                clusters.dedup();
                self.page(asked, "clusterArns", &clusters)
            }
            "ListTasks" => self.page(asked, "taskArns", &listed(&self.tasks)),
            "ListServices" => self.page(asked, "serviceArns", &listed(&self.services)),
            "DescribeTasks" => described(&self.tasks, "tasks", 100),
            "DescribeServices" => described(&self.services, "services", 10),
            "ListTaskDefinitions" => {
                let arns = self.definitions.iter().map(|(arn, _)| arn.clone());
                let arns: Vec<String> = arns.filter(|arn| !self.inactive.contains(arn)).collect();
                self.page(asked, "taskDefinitionArns", &arns)
            }
            _ => {
                let arn = asked["taskDefinition"].as_str().unwrap_or_default();
                let found = self.definitions.iter().find(|(known, _)| known == arn);
                let found = found.filter(|_| !self.lost_definitions.contains(arn));
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

    fn page<T: serde::Serialize>(&self, asked: &Value, field: &str, all: &[T]) -> Answered {
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
