//! The usage sources that are read as a whole, by one function each in the file of its service.
//!
//! [`crate::domain::usage::SOURCES`] has these and those that are read in parts, by `workflows/enforcement/read_usage.rs`.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use futures_util::future::join_all;

use super::{
    Connection, Failure, agentcore, apprunner, batch, codebuild_projects, emr_serverless, event_rules,
    inspector, pipes, region_services, sagemaker, scheduler, stacks, step_functions,
};
use crate::domain::usage;
use crate::domain::usage::source::{Reading, UsageSource};

/// The input for reading a usage source.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// The connection to AWS.
    pub connection: &'a Connection,
    /// The ARNs of the clusters of Amazon ECS that are not deleted.
    pub ecs_clusters: &'a [String],
    /// The cached images of what never changes, by the names of the sources.
    pub known: &'a BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// Whether stacks of AWS CloudFormation are read, which the policies file has to ask for.
    pub reads_stacks: bool,
}

/// A reading that is under way.
pub type Pending<'a> = Pin<Box<dyn Future<Output = Reading> + Send + 'a>>;

/// A function that reads a source.
pub type Reader = for<'a> fn(Look<'a>) -> Pending<'a>;

/// Every source that is read as a whole, and what reads it.
pub static READERS: [(UsageSource, Reader); 12] = [
    (usage::batch::SOURCE, |look| Box::pin(batch::read(look))),
    (usage::events::SOURCE, |look| Box::pin(event_rules::read(look))),
    (usage::scheduler::SOURCE, |look| Box::pin(scheduler::read(look))),
    (usage::pipes::SOURCE, |look| Box::pin(pipes::read(look))),
    (usage::states::SOURCE, |look| Box::pin(step_functions::read(look))),
    (usage::codebuild::SOURCE, |look| Box::pin(codebuild_projects::read(look))),
    (usage::apprunner::SOURCE, |look| Box::pin(apprunner::read(look))),
    (usage::sagemaker::SOURCE, |look| Box::pin(sagemaker::read(look))),
    (usage::agentcore::SOURCE, |look| Box::pin(agentcore::read(look))),
    (usage::emr_serverless::SOURCE, |look| Box::pin(emr_serverless::read(look))),
    (usage::stacks::SOURCE, |look| Box::pin(stacks::read(look))),
    (usage::inspector::SOURCE, |look| Box::pin(inspector::read(look))),
];

/// The sources of [`READERS`] that are read: stacks only if the policies file asks for them.
pub fn asked_for(reads_stacks: bool) -> impl Iterator<Item = &'static (UsageSource, Reader)> {
    READERS.iter().filter(move |(source, _)| reads_stacks || *source != usage::stacks::SOURCE)
}

impl<'a> Look<'a> {
    /// The images of something of a source that never changes, if they are known.
    pub(super) fn known(self, source: &UsageSource, name: &str) -> Option<Vec<String>> {
        self.known.get(source.name)?.get(name).cloned()
    }

    /// Reads all of [`READERS`] concurrently. `None` for a source whose service AWS does not have in this Region.
    ///
    /// Only Systems Manager says that a Region lacks a service. If that fails, all sources are read.
    pub async fn read_all(self) -> Vec<(UsageSource, Option<Reading>)> {
        let services: Vec<&'static str> = READERS.iter().filter_map(|(source, _)| source.service).collect();
        let lacking = region_services::lacking(self.connection, &services).await;
        let lacks = |source: &UsageSource| {
            let service = source
                .service
                .filter(|service| lacking.as_ref().is_ok_and(|lacking| lacking.contains(service)));
            service.is_some()
        };
        let reading = asked_for(self.reads_stacks).map(|(source, read)| async {
            if lacks(source) {
                return (*source, None);
            }
            let mut reading = read(self).await;
            if let (Err(error), Some(_)) = (&lacking, source.service) {
                let advice = if error.failure == Failure::Denied { "; allow ssm:GetParameters" } else { "" };
                for problem in &mut reading.problems {
                    *problem +=
                        &format!("; whether the Region has the service is not known: {error}{advice}");
                }
            }
            (*source, Some(reading))
        });
        join_all(reading).await
    }
}
