//! The request for a preview, in JSON: with a policy and images, so that nothing is read from AWS, or with the name of a
//! repository, which is read.
//!
//! ```json
//! { "lifecyclePolicyText": "…", "imageDetails": [ … ], "images": [ … ],
//!   "inUse": [ … ], "evaluatedAt": "2026-11-23T00:00:00Z", "allPasses": false }
//!
//! { "repositoryName": "team/app" }
//! ```

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Question, preview_all};
use crate::domain::image::listing::{
    ImageDetail, ImageManifest, InvalidListing, Listing, Page, RepositoryName, Text, UnreadableJson,
};
use crate::domain::image::name::InvalidName;
use crate::domain::lifecycle::evaluate::Passes;
use crate::domain::lifecycle::source::PolicySource;
use crate::domain::preview::model::PreviewReport;
use crate::domain::repository::Name;
use crate::domain::text::finding::{Code, Finding};
use crate::domain::text::instant::Instant;
use crate::domain::text::reader::OTHER_NAME;
use crate::domain::text::syntax::without_mark;
use crate::domain::usage::Usage;
use crate::domain::usage::listed::InvalidUsage;

/// Why a request is invalid. Nothing was evaluated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRequest {
    /// The request is not the JSON that is expected.
    #[error("the request is unreadable: {0}")]
    Unreadable(#[from] UnreadableJson),
    /// There is no policy, or there are two.
    #[error(
        "the request needs exactly one of `lifecyclePolicyText` (a text) and `lifecyclePolicy` (an object), either in \
         ECR's document or in the simple model"
    )]
    Policy,
    /// There are no images.
    #[error(
        "the request has no `imageDetails`; add what DescribeImages answers (an empty list for no images), or \
         `repositoryName` for a repository as it is"
    )]
    Images,
    /// The name is not valid for a repository.
    #[error("repositoryName: {0}")]
    Name(#[from] InvalidName),
    /// The repository is another one than the path of the request names.
    #[error("repositoryName: {OTHER_NAME}")]
    OtherName,
    /// The policy is not valid.
    #[error("the lifecycle policy is not valid: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    InvalidPolicy(Vec<Finding>),
    /// The manifest of an index is not one.
    #[error("{0}")]
    Listing(#[from] InvalidListing),
    /// The references in use cannot be read.
    #[error("inUse: {0}")]
    InUse(#[from] InvalidUsage),
}

impl InvalidRequest {
    /// A name for the kind of error, as Lambda's `errorType`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::InvalidPolicy(_) => "InvalidLifecyclePolicy",
            _ => "InvalidRequest",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Request<'a> {
    repository_name: Option<String>,
    registry_id: Option<String>,
    lifecycle_policy_text: Option<String>,
    #[serde(borrow)]
    lifecycle_policy: Option<&'a RawValue>,
    #[serde(borrow)]
    image_details: Option<Vec<ImageDetail<'a>>>,
    #[serde(borrow)]
    images: Option<Vec<ImageManifest<'a>>>,
    #[serde(borrow)]
    next_token: Option<Text<'a>>,
    #[serde(borrow)]
    in_use: Option<&'a RawValue>,
    evaluated_at: Option<Instant>,
    #[serde(default)]
    all_passes: bool,
}

/// The subject of a preview: the images of the request, or a repository.
#[derive(Debug, Clone)]
pub enum Asked {
    /// These previews, one for each repository in the request.
    Answered(Vec<PreviewReport>),
    /// A preview of a repository as it is.
    Live(Box<Live>),
}

/// A preview of a repository as it is.
#[derive(Debug, Clone)]
pub struct Live {
    /// The repository.
    pub repository_name: Name,
    /// The policy; that of the repository without it.
    pub policy: Option<PolicySource>,
    /// Images in use, in addition to those that are found.
    pub usage: Usage,
    /// The time for which to evaluate, if it is not the present.
    pub evaluated_at: Option<Instant>,
    /// One pass, as ECR's preview, or all.
    pub passes: Passes,
}

/// Reads a request, and answers it if all is in it. `repository_of_path` is the repository that the path of the request names,
/// if it names one; `now` is the time to evaluate for where the request does not say; `parse` reads the policy, and decides in
/// which languages it may be.
///
/// # Errors
///
/// What is wrong with the request, and where.
pub fn read(
    request: &str,
    repository_of_path: Option<&Name>,
    now: Instant,
    parse: impl FnOnce(&str) -> Result<PolicySource, Vec<Finding>>,
) -> Result<Asked, InvalidRequest> {
    let request = without_mark(request);
    let mut request: Request<'_> = serde_json::from_str(request)
        .map_err(|error| UnreadableJson::explain::<Request<'_>>(request, request, &error))?;
    if let Some(of_path) = repository_of_path {
        let named = request.repository_name.get_or_insert_with(|| of_path.to_string());
        if named != of_path.as_str() {
            return Err(InvalidRequest::OtherName);
        }
    }
    let is_live = request.image_details.is_none() && request.images.is_none();
    let policy = match (&request.lifecycle_policy_text, request.lifecycle_policy) {
        (Some(text), None) => Some((text.as_str(), "/lifecyclePolicyText")),
        (None, Some(object)) => Some((object.get(), "/lifecyclePolicy")),
        (None, None) if is_live && request.repository_name.is_some() => None,
        _ => return Err(InvalidRequest::Policy),
    };
    let source = policy.map(|(text, field)| {
        parse(text).map_err(|mut findings| {
            // A rule that is not complete is short, too.
            if findings.len() > 1 {
                findings.retain(|finding| finding.code != Code::PolicyTooShort);
            }
            // Where they are in the request.
            let in_request =
                |finding: Finding| Finding { pointer: format!("{field}{}", finding.pointer), ..finding };
            InvalidRequest::InvalidPolicy(findings.into_iter().map(in_request).collect())
        })
    });
    let source = source.transpose()?;
    let usage = request.in_use.map_or_else(|| Ok(Usage::default()), |in_use| Usage::parse(in_use.get()))?;
    let passes = if request.all_passes { Passes::UntilStable } else { Passes::One };
    match (&request.repository_name, source) {
        (Some(name), policy) if is_live => {
            let repository_name = Name::parse(name)?;
            let evaluated_at = request.evaluated_at;
            Ok(Asked::Live(Box::new(Live { repository_name, policy, usage, evaluated_at, passes })))
        }
        (_, Some(source)) if request.image_details.is_some() => {
            let name =
                RepositoryName { repository_name: request.repository_name, registry_id: request.registry_id };
            let page = Page {
                details: request.image_details,
                manifests: request.images,
                next_token: request.next_token,
            };
            let listing = Listing::of_page(name, page)?;
            let now = request.evaluated_at.unwrap_or(now);
            let question = Question { policy: source.policy(), usage: &usage, now, passes };
            Ok(Asked::Answered(preview_all(question, &listing)))
        }
        _ => Err(InvalidRequest::Images),
    }
}
