//! AWS Lambda: the images of all versions of functions, including `$LATEST`. Aliases name versions, all of which are listed.

use serde::Deserialize;

use super::source::{UsageSource, When};
use crate::domain::image::reference::ImageReference;

/// AWS Lambda.
pub const SOURCE: UsageSource = UsageSource {
    name: "lambda",
    title: "AWS Lambda",
    service: None,
    actions: &["lambda:GetFunction", "lambda:ListFunctions"],
    blocks: true,
    when: When::BeforeEachDeletion,
    calls: "1 for each 50 versions of functions, and 1 for each that is not known",
};

/// A version of a function, from `ListFunctions`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FunctionVersion {
    /// The function's name.
    pub function_name: String,
    /// The ARN, with the version.
    pub function_arn: String,
    /// The version: a number, or `$LATEST`.
    pub version: String,
    /// `Image` or `Zip`.
    package_type: Option<String>,
    /// A hash of the code.
    #[serde(default)]
    code_sha256: String,
    /// An identifier that changes with every update.
    #[serde(default)]
    revision_id: String,
}

/// The code of a version, from `GetFunction`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FunctionCode {
    /// The image, as it was named.
    pub image_uri: Option<String>,
    /// The image by its digest, which is what runs.
    pub resolved_image_uri: Option<String>,
}

impl FunctionVersion {
    /// The image that runs, as far as the version reports it: for an image, Lambda uses its digest as the hash of the code.
    #[must_use]
    pub fn digest(&self) -> Option<ImageReference> {
        let reference = ImageReference::parse_exact(&format!("sha256:{}", self.code_sha256)).ok()?;
        self.is_image().then_some(reference)
    }

    /// Whether its code is an image.
    #[must_use]
    pub fn is_image(&self) -> bool {
        self.package_type.as_deref() == Some("Image")
    }

    /// The cache key of its code, which changes with the code.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{} {} {}", self.function_arn, self.code_sha256, self.revision_id)
    }
}

impl FunctionCode {
    /// The images: the one that runs, and the one that its name means now. None for a function whose code is no image.
    #[must_use]
    pub fn images(self) -> Vec<String> {
        let mut images: Vec<String> =
            [self.resolved_image_uri, self.image_uri].into_iter().flatten().collect();
        images.dedup();
        images
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::usage::references;

    #[test]
    fn a_function_uses_what_runs_and_what_its_tag_means_now() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let code: FunctionCode = serde_json::from_str(
            r#"{"RepositoryType": "ECR", "ImageUri": "1.dkr.ecr.r.amazonaws.com/f:prod",
                "ResolvedImageUri": "1.dkr.ecr.r.amazonaws.com/f@DIGEST"}"#
                .replace("DIGEST", &digest)
                .as_str(),
        )
        .unwrap();
        let images = code.images();
        let (used, problems) = references(&images, "arn:f:3");
        assert!(problems.is_empty());
        let shown: Vec<String> = used.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                format!("1.dkr.ecr.r.amazonaws.com/f@{digest} by arn:f:3"),
                "1.dkr.ecr.r.amazonaws.com/f:prod by arn:f:3".to_owned()
            ]
        );
    }

    #[test]
    fn only_images_count_and_a_change_is_known() {
        let read = |json: &str| -> FunctionVersion { serde_json::from_str(json).unwrap() };
        let zip =
            read(r#"{"FunctionName": "z", "FunctionArn": "a:z:1", "Version": "1", "PackageType": "Zip"}"#);
        assert!(!zip.is_image());
        let one = read(
            r#"{"FunctionName": "f", "FunctionArn": "a:f:$LATEST", "Version": "$LATEST", "PackageType": "Image",
                "CodeSha256": "aa", "RevisionId": "1"}"#,
        );
        assert!(one.is_image());
        assert_ne!(one.key(), FunctionVersion { revision_id: "2".to_owned(), ..one.clone() }.key());
    }
}
