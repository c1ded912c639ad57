//! AWS CloudFormation: reads the images that stacks name.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt};

use super::error::{AwsError, Failure};
use super::json_api::{MAX_DESCRIPTIONS, MAX_PAGES, explained};
use super::pages::Pages;
use super::usage_sources::Look;
use super::xml::element;
use crate::aws::sigv4::Service;
use crate::domain::text::quantity::count;
use crate::domain::usage::source::Reading;
use crate::domain::usage::stacks::{SOURCE, Stack};

/// The version of the API.
const VERSION: (&str, &str) = ("Version", "2010-05-15");
/// Calls at the same time.
const READ_CONCURRENCY: usize = 4;

/// Reads the parameters and templates of all stacks that are not deleted.
pub(super) async fn read(look: Look<'_>) -> Reading {
    let cloudformation = Service::new("cloudformation", "CLOUDFORMATION", look.connection);
    let mut reading = Reading::default();
    let mut unknown = Vec::new();
    for stack in all(&cloudformation, &mut reading).await {
        reading.add(&stack.parameter_images(), &stack.id);
        match look.known(&SOURCE, &stack.key()) {
            Some(images) => reading.add_known(stack.key(), images, &stack.id),
            None if stack.has_template() => unknown.push(stack),
            None => {}
        }
    }
    if unknown.len() > MAX_DESCRIPTIONS {
        reading.problems.push(format!(
            "GetTemplate: {} would have to be read, and a run reads {MAX_DESCRIPTIONS}; those that name images are remembered, and \
             the next runs go on; otherwise ignore the source",
            count(unknown.len() as u64, "template")
        ));
        unknown.truncate(MAX_DESCRIPTIONS);
    }
    let mut templates = stream::iter(unknown)
        .map(|stack| {
            let cloudformation = &cloudformation;
            async move {
                let template = template(cloudformation, &stack.id).await;
                (stack, template)
            }
        })
        .buffered(READ_CONCURRENCY);
    while let Some((stack, template)) = templates.next().await {
        match template {
            Ok(Some(template)) => match stack.template_images(&template) {
                Ok(images) => reading.add_known(stack.key(), images, &stack.id),
                Err(error) => reading.problems.push(format!("{}: {error}", stack.id)),
            },
            // Deleted meanwhile it is none.
            Ok(None) => {}
            Err(error) => reading.problems.push(explained(&SOURCE, &error)),
        }
    }
    reading
}

async fn all(cloudformation: &Service, reading: &mut Reading) -> Vec<Stack> {
    const OPERATION: &str = "DescribeStacks";
    let mut all = Vec::new();
    // As AWS's SDKs, which take an empty token for the end.
    let mut pages = Pages::ending_empty(OPERATION);
    for _ in 0..MAX_PAGES {
        let mut fields = vec![("Action", OPERATION), VERSION];
        fields.extend(pages.token().map(|token| ("NextToken", token)));
        let answered = match cloudformation.query(OPERATION, &fields).await {
            Ok(answered) => answered,
            Err(error) => {
                reading.problems.push(explained(&SOURCE, &error));
                return all;
            }
        };
        let xml = String::from_utf8_lossy(&answered.body);
        match stacks(&xml) {
            Ok(stacks) => all.extend(stacks),
            Err(error) => {
                reading.problems.push(explained(&SOURCE, &error));
                return all;
            }
        }
        match pages.follow(element(&xml, "NextToken")) {
            Ok(true) => {}
            Ok(false) => return all,
            Err(error) => {
                reading.problems.push(explained(&SOURCE, &error));
                return all;
            }
        }
    }
    let number = count(MAX_PAGES as u64, "page");
    reading.problems.push(format!(
        "{OPERATION}: there are more than {number} of stacks, and the others were not read; ignore the source"
    ));
    all
}

/// The stacks of an answer. CloudFormation writes the name and the ARN of each before everything else.
fn stacks(xml: &str) -> Result<Vec<Stack>, AwsError> {
    let unreadable = |problem: &str| AwsError::unexpected_response("DescribeStacks", problem);
    if !xml.contains("<DescribeStacksResponse") || !xml.contains("</DescribeStacksResponse>") {
        return Err(unreadable("the answer is not all there"));
    }
    let stacks = xml.split("<StackId>").skip(1);
    stacks
        .map(|stack| {
            let stack = format!("<StackId>{stack}");
            let text = |name: &str| element(&stack, name);
            let status = text("StackStatus").ok_or_else(|| unreadable("a stack has no status"))?;
            let id = text("StackId").unwrap_or_default();
            let changed_at = text("LastUpdatedTime").or_else(|| text("CreationTime")).unwrap_or_default();
            let mut parameters = BTreeMap::new();
            for parameter in stack.split("<ParameterKey>").skip(1) {
                let parameter = format!("<ParameterKey>{parameter}");
                if let Some(name) = element(&parameter, "ParameterKey") {
                    // One whose value comes from Systems Manager has that besides.
                    let value = element(&parameter, "ResolvedValue")
                        .or_else(|| element(&parameter, "ParameterValue"));
                    parameters.insert(name, value.unwrap_or_default());
                }
            }
            Ok(Stack { id, status, changed_at, parameters })
        })
        .collect()
}

/// The template of a stack as CloudFormation processed it; `None` when the stack is deleted.
async fn template(cloudformation: &Service, stack: &str) -> Result<Option<String>, AwsError> {
    const OPERATION: &str = "GetTemplate";
    let fields = [("Action", OPERATION), VERSION, ("StackName", stack), ("TemplateStage", "Processed")];
    match cloudformation.query(OPERATION, &fields).await {
        Ok(answered) => {
            let xml = String::from_utf8_lossy(&answered.body);
            let body = element(&xml, "TemplateBody");
            body.map(Some)
                .ok_or_else(|| AwsError::unexpected_response(OPERATION, "the answer has no TemplateBody"))
        }
        Err(error) if error.failure == Failure::Invalid && error.message.contains("does not exist") => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
