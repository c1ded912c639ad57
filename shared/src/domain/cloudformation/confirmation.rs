//! Confirms that CloudFormation sent a request, from what CloudFormation says it is doing with the resource. Otherwise anybody
//! who may invoke the function could send a request in the name of any stack.

use super::{Event, RequestType};
use crate::domain::repository::Registry;
use crate::domain::text::finding::quoted;

/// CloudFormation's description of a resource of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackResource {
    /// The status of the resource, such as `CREATE_IN_PROGRESS`.
    pub status: String,
    /// The type in the template.
    pub resource_type: String,
    /// The identifier of the resource; absent before it is created.
    pub physical_id: Option<String>,
}

/// The conclusion from CloudFormation's description of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmation {
    /// CloudFormation is doing what the request says.
    Confirmed,
    /// The request is about an earlier resource of that name, so that the status of the stack decides.
    AskStack,
    /// CloudFormation is not doing that.
    Contradicted(Unconfirmed),
}

/// Why a request is rejected as forged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "AWS CloudFormation does not confirm this request, and nothing was changed: {0}. Requests are served while a stack operation \
     sends them; create, update or delete the stack"
)]
pub struct Unconfirmed(#[from] Contradiction);

/// How a request contradicts what CloudFormation knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// The stack's ARN is of another account or Region, or none.
    #[error("{} is not the ARN of a stack of this account and Region", quoted(.0))]
    OtherStack(String),
    /// The stack has no resource with the logical id of the request.
    #[error("the stack {stack_id} has no resource {logical_id}")]
    NoResource {
        /// The ARN of the stack.
        stack_id: String,
        /// The logical id.
        logical_id: String,
    },
    /// The resource is not a custom one.
    #[error("{logical_id} of {stack_id} is a resource of the type {resource_type}")]
    OtherType {
        /// The ARN of the stack.
        stack_id: String,
        /// The logical id.
        logical_id: String,
        /// The type of the resource.
        resource_type: String,
    },
    /// CloudFormation sends no such request in the status of the resource.
    #[error("the status of {logical_id} of {stack_id} is {status}, and the request is a {request_type:?}")]
    OtherStatus {
        /// The ARN of the stack.
        stack_id: String,
        /// The logical id.
        logical_id: String,
        /// The status of the resource.
        status: String,
        /// The type of the request.
        request_type: RequestType,
    },
    /// The request names an earlier resource, and the stack does not delete one in its status.
    #[error(
        "{} is not what {logical_id} of {stack_id} is, and the stack, whose status is {status}, deletes no earlier one",
        quoted(.physical_id)
    )]
    OldResource {
        /// The ARN of the stack.
        stack_id: String,
        /// The logical id.
        logical_id: String,
        /// The physical id of the request; empty for none.
        physical_id: String,
        /// The status of the stack.
        status: String,
    },
    /// CloudFormation does not know the stack.
    #[error("there is no stack {0}")]
    NoStack(String),
}

/// Statuses of a resource in which an update of it is sent; those of a rollback send one, too.
const UPDATING: [&str; 3] = ["UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS", "ROLLBACK_IN_PROGRESS"];

/// The statuses of a stack in which it deletes resources that were replaced, or that a rollback removes.
const REMOVING_OLD_RESOURCES: [&str; 5] = [
    "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
    "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
    "UPDATE_ROLLBACK_IN_PROGRESS",
    "ROLLBACK_IN_PROGRESS",
    "DELETE_IN_PROGRESS",
];

/// Checks that the stack of a request is one of this account and Region. CloudFormation invokes no functions of other Regions,
/// and this function cannot describe stacks of other accounts.
///
/// # Errors
///
/// If it is not.
pub fn check_stack(event: &Event, registry: &Registry) -> Result<(), Unconfirmed> {
    let Registry { partition, region, account_id } = registry;
    let own = format!("arn:{partition}:cloudformation:{region}:{account_id}:stack/");
    if event.stack_id.starts_with(&own) {
        return Ok(());
    }
    Err(Contradiction::OtherStack(event.stack_id.clone()).into())
}

/// The conclusion from the status of the request's resource.
#[must_use]
pub fn by_resource(event: &Event, resource: Option<&StackResource>) -> Confirmation {
    let Event { request_type, stack_id, logical_resource_id: logical_id, .. } = event;
    let (stack_id, logical_id) = (stack_id.clone(), logical_id.clone());
    let contradicted = |how: Contradiction| Confirmation::Contradicted(how.into());
    let Some(StackResource { status, resource_type, physical_id }) = resource else {
        return match request_type {
            RequestType::Delete => Confirmation::AskStack,
            RequestType::Create | RequestType::Update => {
                contradicted(Contradiction::NoResource { stack_id, logical_id })
            }
        };
    };
    if !resource_type.starts_with("Custom::") && resource_type != "AWS::CloudFormation::CustomResource" {
        let resource_type = resource_type.clone();
        return contradicted(Contradiction::OtherType { stack_id, logical_id, resource_type });
    }
    let is_confirmed = match request_type {
        RequestType::Create => status == "CREATE_IN_PROGRESS",
        RequestType::Update => UPDATING.contains(&status.as_str()),
        RequestType::Delete => {
            let is_current =
                physical_id.as_ref().is_none_or(|id| event.physical_resource_id.as_ref() == Some(id));
            if !is_current {
                return Confirmation::AskStack;
            }
            status == "DELETE_IN_PROGRESS"
        }
    };
    if is_confirmed {
        return Confirmation::Confirmed;
    }
    let (status, request_type) = (status.clone(), *request_type);
    contradicted(Contradiction::OtherStatus { stack_id, logical_id, status, request_type })
}

/// Checks that a stack of this status deletes resources that it no longer has, or has replaced.
///
/// # Errors
///
/// If it does not.
pub fn by_stack(event: &Event, status: Option<&str>) -> Result<(), Unconfirmed> {
    let Event { stack_id, logical_resource_id: logical_id, .. } = event;
    match status {
        Some(status) if REMOVING_OLD_RESOURCES.contains(&status) => Ok(()),
        Some(status) => {
            let (stack_id, logical_id) = (stack_id.clone(), logical_id.clone());
            let physical_id = event.physical_resource_id.clone().unwrap_or_default();
            let status = status.to_owned();
            Err(Contradiction::OldResource { stack_id, logical_id, physical_id, status }.into())
        }
        None => Err(Contradiction::NoStack(stack_id.clone()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: &str = "arn:aws:cloudformation:eu-west-1:123456789012:stack/shop/0a1b";

    fn event(request: &str, physical_id: Option<&str>) -> Event {
        let text = serde_json::json!({
            "RequestType": request, "ResponseURL": "https://b.s3.amazonaws.com/x", "StackId": STACK, "RequestId": "r",
            "LogicalResourceId": "Web", "PhysicalResourceId": physical_id,
        });
        serde_json::from_value(text).unwrap()
    }

    fn resource(status: &str, physical_id: Option<&str>) -> StackResource {
        StackResource {
            status: status.to_owned(),
            resource_type: "Custom::EcrRepository".to_owned(),
            physical_id: physical_id.map(str::to_owned),
        }
    }

    fn is_confirmed(request: &str, event_id: Option<&str>, status: &str, id: Option<&str>) -> bool {
        by_resource(&event(request, event_id), Some(&resource(status, id))) == Confirmation::Confirmed
    }

    #[test]
    fn a_request_is_confirmed_only_while_cloud_formation_does_the_same() {
        assert!(is_confirmed("Create", None, "CREATE_IN_PROGRESS", None));
        for status in ["UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS", "ROLLBACK_IN_PROGRESS"] {
            assert!(is_confirmed("Update", Some("app"), status, Some("app")), "{status}");
        }
        assert!(is_confirmed("Delete", Some("app"), "DELETE_IN_PROGRESS", Some("app")));
        assert!(is_confirmed("Delete", Some("app"), "DELETE_IN_PROGRESS", None), "it never answered");
        for status in
            ["CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE", "DELETE_FAILED", "UPDATE_IN_PROGRESS"]
        {
            assert!(!is_confirmed("Create", None, status, None), "{status}");
            assert!(!is_confirmed("Delete", Some("app"), status, Some("app")), "{status}");
        }
        for status in ["CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_IN_PROGRESS", "CREATE_IN_PROGRESS"] {
            assert!(!is_confirmed("Update", Some("app"), status, Some("app")), "{status}");
        }
    }

    #[test]
    fn a_resource_of_another_type_confirms_nothing() {
        let bucket = StackResource {
            resource_type: "AWS::S3::Bucket".to_owned(),
            ..resource("CREATE_IN_PROGRESS", None)
        };
        let Confirmation::Contradicted(why) = by_resource(&event("Create", None), Some(&bucket)) else {
            panic!()
        };
        assert!(why.to_string().contains("of the type AWS::S3::Bucket"), "{why}");
    }

    #[test]
    fn an_earlier_resource_is_deleted_only_while_the_stack_deletes_earlier_ones() {
        let delete = event("Delete", Some("old"));
        let current = resource("UPDATE_COMPLETE", Some("new"));
        assert_eq!(by_resource(&delete, Some(&current)), Confirmation::AskStack);
        assert_eq!(by_resource(&delete, None), Confirmation::AskStack);
        for status in REMOVING_OLD_RESOURCES {
            assert_eq!(by_stack(&delete, Some(status)), Ok(()), "{status}");
        }
        for status in [Some("UPDATE_COMPLETE"), Some("CREATE_IN_PROGRESS"), Some("UPDATE_IN_PROGRESS"), None]
        {
            assert!(by_stack(&delete, status).is_err(), "{status:?}");
        }
        for request in ["Create", "Update"] {
            assert!(matches!(by_resource(&event(request, Some("old")), None), Confirmation::Contradicted(_)));
        }
    }

    #[test]
    fn stacks_of_other_accounts_and_regions_are_not_asked_about() {
        let registry = |arn: &str| Registry::of_arn(arn).unwrap();
        let event = event("Create", None);
        let own = registry("arn:aws:lambda:eu-west-1:123456789012:function:f");
        assert_eq!(check_stack(&event, &own), Ok(()));
        for other in [
            "arn:aws:lambda:eu-west-2:123456789012:function:f",
            "arn:aws:lambda:eu-west-1:999999999999:function:f",
            "arn:aws-cn:lambda:eu-west-1:123456789012:function:f",
        ] {
            assert!(check_stack(&event, &registry(other)).is_err(), "{other}");
        }
    }
}
