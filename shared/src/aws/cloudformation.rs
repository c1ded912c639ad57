//! AWS CloudFormation: describes stacks and resources, to confirm requests.

use std::collections::BTreeMap;

use super::Connection;
use super::error::{AwsError, Failure};
use super::xml::element;
use crate::aws::sigv4::{Answered, Service};
use crate::domain::cloudformation::confirmation::StackResource;

/// The version of the API.
const VERSION: (&str, &str) = ("Version", "2010-05-15");

/// AWS CloudFormation.
#[derive(Debug)]
pub struct CloudFormation {
    service: Service,
}

impl CloudFormation {
    pub(super) fn new(connection: &Connection) -> Self {
        Self { service: Service::new("cloudformation", "CLOUDFORMATION", connection) }
    }

    /// A resource of a stack by its name in the template. `None` when there is no such stack, or it has no such resource.
    ///
    /// # Errors
    ///
    /// Any error of CloudFormation.
    pub async fn resource(
        &self,
        stack_id: &str,
        logical_id: &str,
    ) -> Result<Option<StackResource>, AwsError> {
        const OPERATION: &str = "DescribeStackResource";
        let fields =
            [("Action", OPERATION), VERSION, ("StackName", stack_id), ("LogicalResourceId", logical_id)];
        let Some(xml) = self.describe(OPERATION, &fields).await? else { return Ok(None) };
        Ok(Some(StackResource {
            status: required(OPERATION, &xml, "ResourceStatus")?,
            resource_type: required(OPERATION, &xml, "ResourceType")?,
            physical_id: element(&xml, "PhysicalResourceId").filter(|id| !id.is_empty()),
        }))
    }

    /// The status of a stack, as `UPDATE_COMPLETE`. `None` when there is no such stack.
    ///
    /// # Errors
    ///
    /// Any error of CloudFormation.
    pub async fn stack_status(&self, stack_id: &str) -> Result<Option<String>, AwsError> {
        const OPERATION: &str = "DescribeStacks";
        let fields = [("Action", OPERATION), VERSION, ("StackName", stack_id)];
        let Some(xml) = self.describe(OPERATION, &fields).await? else { return Ok(None) };
        required(OPERATION, &xml, "StackStatus").map(Some)
    }

    /// The outputs of a stack by name. `None` if there is no such stack.
    ///
    /// # Errors
    ///
    /// Any error of CloudFormation.
    pub async fn outputs(&self, stack_id: &str) -> Result<Option<BTreeMap<String, String>>, AwsError> {
        const OPERATION: &str = "DescribeStacks";
        let fields = [("Action", OPERATION), VERSION, ("StackName", stack_id)];
        let Some(xml) = self.describe(OPERATION, &fields).await? else { return Ok(None) };
        // Each has its name, its value, and more; in an order that is not promised.
        let outputs = xml.split_once("<Outputs>").and_then(|(_, rest)| rest.split_once("</Outputs>"));
        let members = outputs.map(|(outputs, _)| outputs).unwrap_or_default().split("</member>");
        Ok(Some(
            members
                .filter_map(|member| Some((element(member, "OutputKey")?, element(member, "OutputValue")?)))
                .collect(),
        ))
    }

    async fn describe(
        &self,
        operation: &'static str,
        fields: &[(&str, &str)],
    ) -> Result<Option<String>, AwsError> {
        match self.service.query(operation, fields).await {
            Ok(Answered { body, .. }) => Ok(Some(String::from_utf8_lossy(&body).into_owned())),
            // CloudFormation has one code for values that are not valid and for what does not exist.
            Err(error) if error.failure == Failure::Invalid && error.message.contains("does not exist") => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn required(operation: &'static str, xml: &str, name: &str) -> Result<String, AwsError> {
    element(xml, name)
        .ok_or_else(|| AwsError::unexpected_response(operation, &format!("the answer has no {name}")))
}
