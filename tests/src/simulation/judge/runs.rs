//! Remembers of each run and each invocation what it was asked to do, what it read, and when.

use std::collections::{BTreeMap, BTreeSet};

use tests::ecr_stub::Repository;

use crate::simulation::file::File;
use crate::simulation::world::{By, PROTECT_TAG, World};

/// One invocation of a function of a run.
#[derive(Debug, Clone)]
pub(in crate::simulation) struct Invocation {
    pub(in crate::simulation) run: String,
    pub(in crate::simulation) is_inventory: bool,
    pub(in crate::simulation) key: Option<String>,
    pub(in crate::simulation) began: i64,
    /// Whether `Enforce` was on when it began.
    pub(in crate::simulation) is_on: bool,
    /// What distinguishes it from any other.
    pub(in crate::simulation) id: String,
    /// The file in the bucket when it began.
    pub(in crate::simulation) file: File,
    /// When each source of use was looked at last, from its beginning.
    pub(in crate::simulation) looks: BTreeMap<&'static str, i64>,
    /// When each repository was read as a whole, and what was there.
    pub(in crate::simulation) surveys: BTreeMap<String, (i64, Repository)>,
    /// What was there when it was read first.
    pub(in crate::simulation) first: BTreeMap<String, (i64, Repository)>,
    /// When the tags were read that decide about the policy of each repository.
    pub(super) assigned: BTreeMap<String, i64>,
    /// When images of a repository were looked at once more.
    pub(super) described: BTreeMap<String, i64>,
    /// What was done in each repository, in their order.
    pub(super) effects: Vec<(String, i64)>,
    /// Policies that were attached, or suspended.
    pub(in crate::simulation) attachings: Vec<(String, i64)>,
    /// What was deleted or archived in a repository, and how many of it were archived.
    pub(in crate::simulation) gone: BTreeMap<String, (BTreeSet<String>, u64)>,
    /// Operations of which a call failed.
    pub(in crate::simulation) faulted: BTreeSet<String>,
    /// When the lifecycle policy of each repository was read.
    pub(in crate::simulation) policies: BTreeMap<String, i64>,
    /// The repositories of which it wrote that tags were refreshed.
    pub(in crate::simulation) refreshed: BTreeSet<String>,
}

impl Invocation {
    pub(in crate::simulation) fn new(
        world: &World,
        run: &str,
        is_inventory: bool,
        key: Option<&str>,
    ) -> Self {
        Self {
            run: run.to_owned(),
            is_inventory,
            key: key.map(str::to_owned),
            began: world.now(),
            is_on: world.is_enforcing,
            id: format!("request-{}", world.calls),
            file: world.file.clone(),
            looks: BTreeMap::new(),
            surveys: BTreeMap::new(),
            first: BTreeMap::new(),
            assigned: BTreeMap::new(),
            described: BTreeMap::new(),
            effects: Vec::new(),
            attachings: Vec::new(),
            gone: BTreeMap::new(),
            faulted: BTreeSet::new(),
            policies: BTreeMap::new(),
            refreshed: BTreeSet::new(),
        }
    }

    /// When a repository was read as a whole, or when the invocation began.
    pub(super) fn read_at(&self, name: &str) -> i64 {
        self.surveys.get(name).map_or(self.began, |(at, _)| *at)
    }

    /// When what uses an image in this way was looked at last.
    pub(super) fn look(&self, by: By) -> i64 {
        let source = match by {
            By::Task => "tasks",
            By::Pin | By::Rollback => "services",
            By::Function => "functions",
            By::Pod(_) => "lists",
        };
        self.looks.get(source).copied().unwrap_or(self.began)
    }
}

/// A run, as far as it is judged.
#[derive(Debug, Clone)]
pub(in crate::simulation) struct Judged {
    /// Whether somebody asked for a dry run.
    pub(in crate::simulation) is_dry: bool,
    pub(in crate::simulation) protects_only: bool,
    pub(in crate::simulation) began: i64,
    /// Whether no call failed.
    pub(in crate::simulation) is_fair: bool,
    /// Operations of which a call failed.
    pub(in crate::simulation) faulted: BTreeSet<String>,
    /// Whether no other run was at work meanwhile.
    pub(in crate::simulation) is_alone: bool,
    /// The repositories that asked for protection tags when it began.
    pub(in crate::simulation) asking: BTreeSet<String>,
    /// The file that its inventory read.
    pub(in crate::simulation) file: Option<File>,
    /// Which attempt of the inventory is at work, and which was complete.
    pub(super) attempt: usize,
    /// The attempts that wrote each batch.
    pub(super) writers: BTreeMap<String, usize>,
}

impl World {
    pub(in crate::simulation) fn begin_run(&mut self, run: &str, is_dry: bool, protects_only: bool) {
        let began = self.now();
        let judged = Judged {
            is_dry,
            protects_only,
            began,
            is_fair: true,
            faulted: BTreeSet::new(),
            is_alone: self.judge.running.is_empty(),
            asking: self.asking(),
            file: None,
            attempt: 0,
            writers: BTreeMap::new(),
        };
        for other in &self.judge.running {
            if let Some(other) = self.judge.runs.get_mut(other) {
                other.is_alone = false;
            }
        }
        self.judge.running.insert(run.to_owned());
        self.judge.runs.insert(run.to_owned(), judged);
        // A dry run that somebody asks for protects nothing.
        if !is_dry {
            self.judge.last_run = Some(began);
        }
    }

    pub(in crate::simulation) fn begin_attempt(&mut self, run: &str) {
        if let Some(run) = self.judge.runs.get_mut(run) {
            run.attempt += 1;
        }
    }

    /// A run has its report.
    pub(in crate::simulation) fn complete_run(&mut self, run: &str) {
        let file = self.judge.runs.get(run).and_then(|run| run.file.clone());
        self.judge.previewed.extend(file);
    }

    /// The repositories that ask for protection tags by a tag of their own.
    pub(super) fn asking(&self) -> BTreeSet<String> {
        let asks =
            |repository: &Repository| repository.tags.get(PROTECT_TAG).is_some_and(|value| value == "true");
        self.aws.with(|registry| {
            registry.repositories.iter().filter(|(_, one)| asks(one)).map(|(name, _)| name.clone()).collect()
        })
    }
}
