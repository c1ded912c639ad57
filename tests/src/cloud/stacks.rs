//! AWS CloudFormation: stacks and the status of their resources.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::http::{Request, Response};

/// Stacks by their ARNs.
#[derive(Debug, Default)]
pub struct Stacks {
    stacks: BTreeMap<String, Stack>,
    /// The largest page of a list of stacks; none unless set.
    pub page: usize,
}

#[derive(Debug, Default)]
struct Stack {
    status: String,
    outputs: BTreeMap<String, String>,
    /// The template, and the parameters.
    template: Option<(String, Vec<(String, String)>)>,
    /// The resources by logical id: type, status, physical id.
    resources: BTreeMap<String, (String, String, Option<String>)>,
}

impl Stacks {
    /// Does what CloudFormation does before it sends an event.
    pub fn sends(&mut self, event: &Value) {
        let text = |name: &str| event[name].as_str().map(str::to_owned);
        let stack = self.stacks.entry(text("StackId").unwrap()).or_default();
        let kind = text("ResourceType").unwrap();
        let current = stack.resources.entry(text("LogicalResourceId").unwrap());
        let (_, status, id) = current.or_insert_with(|| (kind, String::new(), text("PhysicalResourceId")));
        let operation = text("RequestType").unwrap().to_uppercase();
        if operation == "DELETE" && *id != text("PhysicalResourceId") {
            stack.status = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS".to_owned();
            return;
        }
        stack.status = format!("{operation}_IN_PROGRESS");
        *status = stack.status.clone();
    }

    /// Does what CloudFormation does when an event is answered.
    pub fn is_answered(&mut self, event: &Value, answer: &Value) {
        let stack = self.stacks.get_mut(event["StackId"].as_str().unwrap()).unwrap();
        let (_, status, id) = stack.resources.get_mut(event["LogicalResourceId"].as_str().unwrap()).unwrap();
        let end = if answer["Status"] == "SUCCESS" { "COMPLETE" } else { "FAILED" };
        stack.status = stack.status.replace("IN_PROGRESS", end);
        *status = status.replace("IN_PROGRESS", end);
        if event["RequestType"] != "Delete" {
            *id = answer["PhysicalResourceId"].as_str().map(str::to_owned);
        }
    }

    /// Adds a stack with its outputs.
    pub fn deploy(&mut self, name: &str, outputs: &[(&str, &str)]) {
        let outputs = outputs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let stack = Stack { status: "CREATE_COMPLETE".to_owned(), outputs, ..Stack::default() };
        self.stacks.insert(name.to_owned(), stack);
    }

    /// Sets what a stack does, and what it does with a resource.
    pub fn set(&mut self, stack_id: &str, status: &str, resource: Option<(&str, &str)>) {
        let stack = self.stacks.entry(stack_id.to_owned()).or_default();
        stack.status = status.to_owned();
        match resource {
            Some((name, status)) => stack.resources.get_mut(name).unwrap().1 = status.to_owned(),
            None => stack.resources.clear(),
        }
    }

    /// Creates a stack of a template, and gives its ARN.
    pub fn create(&mut self, name: &str, template: &str, parameters: &[(&str, &str)]) -> String {
        let id = format!("arn:aws:cloudformation:eu-west-1:123456789012:stack/{name}/1");
        let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let template = Some((template.to_owned(), parameters.collect()));
        let stack = Stack { status: "CREATE_COMPLETE".to_owned(), template, ..Stack::default() };
        self.stacks.insert(id.clone(), stack);
        id
    }

    /// A page of all stacks.
    fn list(&self, token: Option<&String>) -> Response {
        let start: usize = token.map_or(0, |token| token.parse().unwrap());
        let size = if self.page == 0 { self.stacks.len() } else { self.page };
        let members = self.stacks.iter().skip(start).take(size).map(|(id, stack)| {
            let parameters = stack.template.iter().flat_map(|(_, parameters)| parameters);
            let parameters: String = parameters
                .map(|(name, value)| format!("<member><ParameterKey>{name}</ParameterKey><ParameterValue>{value}</ParameterValue></member>"))
                .collect();
            format!(
                "<member><StackName>x</StackName><StackId>{id}</StackId><CreationTime>2026-11-01T00:00:00Z</CreationTime>\
                 <StackStatus>{}</StackStatus><Parameters>{parameters}</Parameters></member>",
                stack.status
            )
        });
        let members: String = members.collect();
        let next = match start + size < self.stacks.len() {
            true => format!("<NextToken>{}</NextToken>", start + size),
            false => String::new(),
        };
        xml(&format!(
            "<DescribeStacksResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\"><DescribeStacksResult><Stacks>{members}\
             </Stacks>{next}</DescribeStacksResult></DescribeStacksResponse>"
        ))
    }

    pub(super) fn answer(&self, operation: &str, request: &Request) -> Response {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let fields: BTreeMap<&str, String> = body
            .split('&')
            .filter_map(|field| field.split_once('='))
            .map(|(name, value)| (name, super::decoded(value)))
            .collect();
        assert_eq!((&*fields["Action"], &*fields["Version"]), (operation, "2010-05-15"));
        if !fields.contains_key("StackName") {
            return self.list(fields.get("NextToken"));
        }
        let (id, resource) = (&fields["StackName"], fields.get("LogicalResourceId"));
        let Some(stack) = self.stacks.get(id) else {
            return invalid(&format!("Stack '{id}' does not exist"));
        };
        if operation == "GetTemplate" {
            let (template, _) = stack.template.as_ref().unwrap();
            let template = template.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
            return xml(&format!(
                "<GetTemplateResponse><GetTemplateResult><TemplateBody>{template}</TemplateBody></GetTemplateResult></GetTemplateResponse>"
            ));
        }
        let Some(name) = resource else {
            let outputs: String = stack
                .outputs
                .iter()
                .map(|(key, value)| {
                    format!("<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>")
                })
                .collect();
            return xml(&format!(
                "<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackId>{id}</StackId><StackStatus>{}</StackStatus>\
                 <Outputs>{outputs}</Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>",
                stack.status
            ));
        };
        let Some((kind, status, physical_id)) = stack.resources.get(name) else {
            return invalid(&format!("Resource {name} does not exist for stack {id}"));
        };
        let physical_id =
            physical_id.as_ref().map(|id| format!("<PhysicalResourceId>{id}</PhysicalResourceId>"));
        xml(&format!(
            "<DescribeStackResourceResponse><DescribeStackResourceResult><StackResourceDetail><StackId>{id}</StackId>\
             <ResourceStatus>{status}</ResourceStatus><LogicalResourceId>{name}</LogicalResourceId>{}<ResourceType>{kind}\
             </ResourceType></StackResourceDetail></DescribeStackResourceResult></DescribeStackResourceResponse>",
            physical_id.unwrap_or_default()
        ))
    }
}

fn xml(body: &str) -> Response {
    Response { status: 200, body: body.as_bytes().to_vec(), ..Response::default() }
}

fn invalid(message: &str) -> Response {
    let body = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>{message}</Message></Error></ErrorResponse>"
    );
    Response { status: 400, ..xml(&body) }
}
