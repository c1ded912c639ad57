//! Looks at each call of the project that had its effect, and has judged what it changed.

use std::collections::BTreeSet;

use serde_json::Value;
use shared::domain::enforcement::outcome_file;
use tests::cloud::BUCKET;
use tests::ecr_stub::Repository;
use tests::http::{Request, Response};

use super::limits::is_part;
use super::{How, Invocation};
use crate::simulation::protection::RECORDS;
use crate::simulation::world::{LISTS, World, short};

pub(in crate::simulation) type Before = Option<(String, Repository)>;

impl World {
    /// The repository as it is before a call that may change it.
    pub(in crate::simulation) fn before(&self, operation: &str, asked: &Value) -> Before {
        let changes = ["BatchDeleteImage", "UpdateImageStorageClass", "PutImage", "PutLifecyclePolicy"];
        let name = asked["repositoryName"].as_str()?;
        changes.contains(&operation).then(|| (name.to_owned(), self.repository(name)))
    }

    /// Looks at a call that had its effect.
    pub(in crate::simulation) fn look_after(
        &mut self,
        operation: &str,
        request: &Request,
        asked: &Value,
        response: &Response,
        mut before: Before,
    ) {
        let now = self.now();
        if response.status >= 300 {
            // There is none: that is known, too.
            if let (Some(invocation), "GetLifecyclePolicy") = (&mut self.invocation, operation) {
                let name = asked["repositoryName"].as_str().unwrap_or_default();
                invocation.policies.insert(name.to_owned(), now);
            }
            return;
        }
        let name = asked["repositoryName"].as_str().unwrap_or_default().to_owned();
        let Some(mut invocation) = self.invocation.take() else { return };
        let is_first_page = asked["nextToken"].is_null() && !request.target.contains("Marker=");
        match operation {
            // Without clusters there is nothing to list in them.
            "ListClusters" if is_first_page => {
                invocation.looks.insert("tasks", now);
                invocation.looks.insert("services", now);
            }
            "ListTasks" if is_first_page => drop(invocation.looks.insert("tasks", now)),
            "ListServices" if is_first_page => drop(invocation.looks.insert("services", now)),
            "ListFunctions" if is_first_page => drop(invocation.looks.insert("functions", now)),
            "ListObjectsV2" if request.target.contains("prefix=usage") => {
                invocation.looks.insert("lists", now);
            }
            "DescribeImages" if asked["imageIds"].is_null() && is_first_page => {
                let repository = self.repository(&name);
                let parts = repository.images.iter().filter(|image| is_part(&repository, image));
                self.judge.parts.extend(parts.map(|image| image.digest.clone()));
                invocation.first.entry(name.clone()).or_insert_with(|| (now, repository.clone()));
                invocation.surveys.insert(name.clone(), (now, repository));
            }
            "GetLifecyclePolicy" => {
                invocation.policies.insert(name.clone(), now);
            }
            "ListTagsForResource" => {
                let arn = asked["resourceArn"].as_str().unwrap_or_default();
                let name = arn.split_once(":repository/").map_or("", |(_, name)| name);
                invocation.assigned.insert(name.to_owned(), now);
            }
            "DescribeImages" if !asked["imageIds"].is_null() => {
                invocation.described.insert(name.clone(), now);
            }
            "GetObject" if invocation.is_inventory && request.target.ends_with("/policies.yaml") => {
                let is_original = request.target.matches('/').count() == 2;
                if let Some(run) = self.judge.runs.get_mut(&invocation.run)
                    && is_original
                {
                    run.file = Some(self.file.clone());
                }
            }
            "PutObject" => self.note(&mut invocation, request),
            "PutLifecyclePolicy" => {
                if let Some((_, before)) = &before {
                    self.note_policy(&mut invocation, &name, asked, before);
                }
                before = None;
            }
            "PutImage" => {
                if let Some((_, before)) = &before {
                    self.note_tag(&invocation, &name, asked, before);
                }
            }
            "DeleteLifecyclePolicy" => {
                self.break_promise("attach", &format!("{name}: this project removes a lifecycle policy"));
            }
            "BatchDeleteImage" if asked.to_string().contains("imageTag") => {
                self.break_promise("A4", &format!("{name}: this project takes a tag off"));
            }
            _ => {}
        }
        self.invocation = Some(invocation);
        if let Some((name, before)) = before {
            self.judge_effect(&name, &before);
        }
    }

    /// Looks at an object that was written.
    fn note(&mut self, invocation: &mut Invocation, request: &Request) {
        let key = request.target.trim_start_matches('/').trim_start_matches(BUCKET).trim_start_matches('/');
        let text = String::from_utf8_lossy(&request.body);
        let lines = || text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let word = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let file_name = key.rsplit('/').next().unwrap_or_default();
        if key.starts_with("journal/") && file_name.starts_with("policy-") {
            lines().for_each(|line| self.note_replaced(&line));
        } else if key.starts_with("journal/") && file_name.starts_with("plan-") {
            for line in lines() {
                let (name, digest) = (word(&line, "repositoryName"), word(&line, "imageDigest"));
                self.say(&format!("{}: ECR is to take {name}@{}", invocation.run, short(&digest)));
                if self.judge.plan(name.clone(), digest.clone()) {
                    self.count(invocation, &name, &self.repository(&name), &BTreeSet::from([digest]));
                }
            }
        } else if key.starts_with("journal/") {
            for line in lines() {
                self.judge.journal.insert((word(&line, "repositoryName"), word(&line, "imageDigest")));
            }
        } else if key == "state/lists.json" {
            for (cluster, list) in LISTS.iter().enumerate() {
                let listed = self.aws.cloud(|cloud| cloud.object_text(&format!("{BUCKET}/{list}")));
                if listed.is_some() {
                    self.judge.known.insert(cluster);
                }
                if listed.is_some_and(|listed| listed.len() > "[]".len()) {
                    self.judge.remembered.insert(cluster, self.now());
                }
            }
        } else if let Some(name) = key.strip_prefix(RECORDS).and_then(|key| key.strip_suffix(".json")) {
            self.note_record(invocation, name, &text);
        } else if key.contains("/batches/") {
            if let Some(run) = self.judge.runs.get_mut(&invocation.run) {
                run.writers.insert(key.to_owned(), run.attempt);
            }
        } else if key.contains("/outcomes/") && !key.contains("/unmatched/") {
            for outcome in outcome_file::read(key, &request.body).unwrap() {
                let line = serde_json::to_value(outcome).unwrap();
                let status = word(&line, "status");
                self.judge_outcome(invocation, &line);
                self.judge_left_out(invocation, key, &line);
                if std::env::var("SIMULATION_IMAGES").is_ok() {
                    for image in line["results"].as_array().into_iter().flatten() {
                        self.say(&format!("  {image}"));
                    }
                }
                let detail =
                    line["blockers"][0]["message"].as_str().or(line["error"].as_str()).unwrap_or_default();
                self.say(&format!(
                    "{}: {} is {status} {detail}",
                    invocation.run,
                    word(&line, "repositoryName")
                ));
            }
        }
    }

    /// What was deleted from a repository, and what was archived in it.
    fn difference(&self, name: &str, before: &Repository) -> (BTreeSet<String>, BTreeSet<String>) {
        let after = self.repository(name);
        let find = |digest: &str| after.images.iter().find(|image| image.digest == digest);
        let gone = before.images.iter().filter(|image| find(&image.digest).is_none());
        let archived = before
            .images
            .iter()
            .filter(|image| !image.archived && find(&image.digest).is_some_and(|image| image.archived));
        (gone.map(|i| i.digest.clone()).collect(), archived.map(|i| i.digest.clone()).collect())
    }

    fn judge_effect(&mut self, name: &str, before: &Repository) {
        let (gone, archived) = self.difference(name, before);
        let all: BTreeSet<String> = gone.union(&archived).cloned().collect();
        let now = self.now();
        let run = self.invocation.as_ref().map(|invocation| invocation.run.clone()).unwrap_or_default();
        for digest in &all {
            let image = before.images.iter().find(|image| image.digest == *digest);
            let tags = image.map_or_else(String::new, |image| {
                let tags: Vec<String> = image.tags.iter().map(|tag| shortened(tag)).collect();
                if tags.is_empty() { "untagged".to_owned() } else { tags.join(", ") }
            });
            let what = if archived.contains(digest) { "archived" } else { "deleted" };
            self.say(&format!("{run}: {what} {name}@{} ({tags})", short(digest)));
        }
        self.judge.taken += all.len() as u64;
        if !all.is_empty() {
            self.judge_rules(name, before, &all, &archived);
            self.judge_use(name, before, &all, How::Taken);
        }
        if let Some(invocation) = &mut self.invocation {
            invocation.effects.push((name.to_owned(), now));
        }
    }
}

pub(in crate::simulation) fn shortened(tag: &str) -> String {
    match tag.rsplit_once('-') {
        Some((prefix, hex)) if hex.len() == 64 => format!("{prefix}-{}…", &hex[..8]),
        _ => tag.to_owned(),
    }
}
