//! `Custom::EcrImage`: an image that is built from a pinned source. A build takes longer than an invocation, so that the request
//! is stored, and answered when the build ends.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Event, RequestType};
use crate::domain::builds::build_config::BuildRequest;
use crate::domain::builds::build_context::BuildContext;
use crate::domain::builds::build_definition::BuildDefinition;
use crate::domain::builds::event::SourceUpdate;
use crate::domain::builds::fingerprint;
use crate::domain::text::finding::Finding;

/// The plan for a request of CloudFormation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// There shall be an image of this.
    Build(Box<BuildRequest>),
    /// Nothing is done. Images outlive the resources that requested them, since something may run them.
    Leave,
}

/// Plans a request.
///
/// # Errors
///
/// Everything that is wrong with the properties.
pub fn plan(event: &Event) -> Result<Plan, Vec<Finding>> {
    if event.request_type == RequestType::Delete {
        return Ok(Plan::Leave);
    }
    let text = event.resource_properties.as_ref().map_or("{}", |properties| properties.get());
    let mut request = BuildRequest::properties(text)?;
    // A stack is rolled back too; tags move only if it says so.
    request.definition.image_tags.get_or_insert_default();
    Ok(Plan::Build(Box::new(request)))
}

/// The context of a build for a stack. Nothing moves unless the template names tags, not even the parameter of the repository: a stack
/// has its image by its digest, is rolled back, and may be one of many.
#[must_use]
pub fn context(definition: &BuildDefinition, source: &SourceUpdate) -> BuildContext {
    let context = BuildContext::new(definition, source);
    BuildContext { is_released: context.is_released && !context.image_tags.is_empty(), ..context }
}

/// The physical id of the resource when there is no image: the previous one, or an id that cannot be an image's.
#[must_use]
pub fn physical_id(event: &Event) -> String {
    event.physical_resource_id.clone().unwrap_or_else(|| super::repository::marker(event))
}

/// The attributes for `Fn::GetAtt`.
#[must_use]
pub fn attributes(context: &BuildContext, uri: &str, digest: &str) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("ImageUri", uri.to_owned()),
        ("ImageDigest", digest.to_owned()),
        ("ImageTag", context.image_tag.clone()),
        ("RepositoryName", context.repository_name.clone()),
    ])
}

/// The path of the parameters with the requests that wait for the image of a context.
#[must_use]
pub fn waiting(stack_name: &str, context: &BuildContext) -> String {
    // The name of a repository may have more parts than that of a parameter.
    let repository = fingerprint(&[&context.repository_name], 32);
    format!("/{stack_name}/waiting/{repository}/{}", context.image_tag)
}

/// The parameter in which a request waits: its name and value. The same request has the same name.
#[must_use]
pub fn put_aside(stack_name: &str, context: &BuildContext, event: &Event) -> (String, String) {
    let id = fingerprint(&[&event.stack_id, &event.request_id, &event.logical_resource_id], 32);
    let request = match event.request_type {
        RequestType::Create => "Create",
        RequestType::Update => "Update",
        RequestType::Delete => "Delete",
    };
    let value = json!({
        "RequestType": request,
        "ResponseURL": event.response_url.reveal(),
        "StackId": event.stack_id,
        "RequestId": event.request_id,
        "LogicalResourceId": event.logical_resource_id,
        "PhysicalResourceId": event.physical_resource_id,
    });
    (format!("{}/{id}", waiting(stack_name, context)), value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(request: &str, properties: &str) -> Event {
        let text = format!(
            r#"{{"RequestType": "{request}", "ResponseURL": "https://b.s3.amazonaws.com/x?secret", "StackId": "arn:stack",
                "RequestId": "r", "LogicalResourceId": "Web", "ResourceProperties": {properties}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn deleting_never_touches_an_image_whatever_the_properties_say() {
        for properties in ["{}", r#"{"RepositoryName": []}"#, "null"] {
            assert_eq!(plan(&event("Delete", properties)).unwrap(), Plan::Leave);
        }
    }

    #[test]
    fn no_tag_moves_unless_the_template_says_so() {
        let tags = |more: &str| {
            let properties = format!(
                r#"{{"ServiceToken": "t", "RepositoryName": "app", "Source": {{"S3": {{"Key": "uploads/a.zip"}}}}{more}}}"#
            );
            match plan(&event("Create", &properties)).unwrap() {
                Plan::Build(request) => request.definition.image_tags.unwrap().len(),
                Plan::Leave => panic!(),
            }
        };
        assert_eq!((tags(""), tags(r#", "ImageTags": ["latest"]"#)), (0, 1));
    }

    #[test]
    fn a_request_that_is_put_aside_can_be_answered_later() {
        let event = event("Create", "{}");
        let context: BuildContext = serde_json::from_str(
            r#"{"repositoryName": "app", "imageTag": "src-1", "definition": "d", "platforms": [], "imageTags": [], "isReleased": true,
                "source": {"s3": {"bucket": "b", "key": "k", "versionId": "v"}}, "arrival": {"at": "2026-11-23T00:00:00Z"}}"#,
        )
        .unwrap();
        let (name, value) = put_aside("stack", &context, &event);
        assert!(name.starts_with(&format!("{}/", waiting("stack", &context))), "{name}");
        assert!(name.contains("/src-1/"), "{name}");
        // The same tag in another repository is another image.
        let other = BuildContext { repository_name: "other".to_owned(), ..context };
        assert!(!name.starts_with(&waiting("stack", &other)));
        let again: Event = serde_json::from_str(&value).unwrap();
        assert_eq!(again.response_url, event.response_url);
        assert_eq!((again.stack_id, again.request_id), (event.stack_id, event.request_id));
        assert_eq!(physical_id(&serde_json::from_str(&value).unwrap()), "NotCreated:Web");
    }
}
