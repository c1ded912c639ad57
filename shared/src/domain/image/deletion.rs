//! Deleting images by hand: the request, and the order in which ECR accepts the deletions.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::image::reference::is_sha256;
use crate::domain::repository::Name;
use crate::domain::text::finding::{Code, Finding, join_pointer, quoted};
use crate::domain::text::reader::{Field, Reader};
use crate::domain::text::syntax;

/// The most images in one request: ten calls of ECR's hundred.
pub const MAX_IMAGES: usize = 1000;

/// The name of an image to delete: its digest, or one of its tags.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImageId {
    /// The image itself, with all its tags.
    Digest(String),
    /// One tag. The image is deleted with its last tag.
    Tag(String),
}

/// An image that ECR deleted: its digest and the removed tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Deleted {
    /// The digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    /// The tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_tag: Option<String>,
}

impl From<&ImageId> for Deleted {
    fn from(id: &ImageId) -> Self {
        match id {
            ImageId::Digest(digest) => Self { image_digest: Some(digest.clone()), image_tag: None },
            ImageId::Tag(tag) => Self { image_digest: None, image_tag: Some(tag.clone()) },
        }
    }
}

/// An image that was not deleted, and the reason, in the terms of ECR's `ImageFailure`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// The image.
    pub image_id: Deleted,
    /// ECR's code, or `NotAttempted` or `OutcomeUnknown`.
    pub failure_code: String,
    /// A sentence.
    pub failure_reason: String,
}

/// A request to delete images of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletionRequest {
    /// The repository.
    pub repository_name: Name,
    /// The images, each once, in the order they were named.
    pub image_ids: Vec<ImageId>,
}

#[derive(Deserialize)]
struct Index<'a> {
    #[serde(borrow)]
    manifests: Vec<Child<'a>>,
}

#[derive(Deserialize)]
struct Child<'a> {
    #[serde(borrow)]
    digest: std::borrow::Cow<'a, str>,
}

impl DeletionRequest {
    /// Reads a request: `{"repositoryName": …, "imageIds": [{"imageDigest": …} or {"imageTag": …}, …]}`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Vec<Finding>> {
        Self::parse_for(None, text)
    }

    /// Reads the same where the path of the request may name the repository.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn parse_for(repository_of_path: Option<Name>, text: &str) -> Result<Self, Vec<Finding>> {
        Reader::parse_body(repository_of_path, text, Self::read)
    }

    fn read(node: &syntax::Node, reader: &mut Reader) -> Option<Self> {
        let fields = reader.fields(node, "", &["repositoryName", "imageIds"])?;
        let repository_name = reader.repository(&fields, "repositoryName", "the name of a repository");
        let items = reader.list(&fields, "imageIds");
        reader.require(
            &items,
            &fields,
            "imageIds",
            "a list of `{\"imageDigest\": …}` and `{\"imageTag\": …}`",
        );
        let image_ids = image_ids(items.value()?, reader)?;
        Some(Self { repository_name: repository_name?, image_ids })
    }
}

/// The images of `imageIds`, each once, in their order.
pub(crate) fn image_ids(items: &[syntax::Node], reader: &mut Reader) -> Option<Vec<ImageId>> {
    if items.is_empty() || items.len() > MAX_IMAGES {
        let message = format!("there are {} images; name 1 to {MAX_IMAGES}", items.len());
        reader.report(Code::NumberOutOfRange, "/imageIds", message);
        return None;
    }
    let mut seen = BTreeSet::new();
    let mut image_ids = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let at = join_pointer("/imageIds", &index.to_string());
        let Some(fields) = reader.fields(item, &at, &["imageDigest", "imageTag"]) else { continue };
        let id = match (reader.text(&fields, "imageDigest"), reader.text(&fields, "imageTag")) {
            (Field::Value(digest), Field::Missing) => ImageId::Digest(digest),
            (Field::Missing, Field::Value(tag)) => ImageId::Tag(tag),
            (Field::Invalid, _) | (_, Field::Invalid) => continue,
            _ => {
                let message = "write either `imageDigest`, for the image, or `imageTag`, for the tag";
                reader.report(Code::InvalidImageId, at, message);
                continue;
            }
        };
        if let Some((field, problem)) = id.problem() {
            reader.report(Code::InvalidImageId, fields.at(field), problem);
        } else if seen.insert(id.clone()) {
            image_ids.push(id);
        }
    }
    Some(image_ids)
}

impl ImageId {
    fn problem(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Digest(digest) => (!is_sha256(digest)).then(|| {
                let problem = "is no digest, which is `sha256:` and 64 hexadecimal digits in lower case";
                ("imageDigest", format!("{} {problem}", quoted(digest)))
            }),
            Self::Tag(tag) => {
                let is_tag = (1..=128).contains(&tag.len())
                    && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
                    && !tag.starts_with(['.', '-']);
                (!is_tag).then(|| {
                    let problem = "is no tag, which is 1 to 128 letters, digits, `_`, `.` and `-` and does not begin \
                                   with `.` or `-`";
                    ("imageTag", format!("{} {problem}", quoted(tag)))
                })
            }
        }
    }
}

/// The manifest of an image index that cannot be read: what it lists is not known.
#[derive(Debug, thiserror::Error)]
#[error("it is no image index that can be read: {0}")]
pub struct UnreadIndex(#[from] serde_json::Error);

/// The digests that the manifest of an image index lists.
///
/// # Errors
///
/// When it is no manifest of an index: not JSON, without `manifests`, with a null or the same key twice where it matters. Such
/// an index is not one without children.
pub fn children(manifest: &str) -> Result<Vec<String>, UnreadIndex> {
    let index: Index<'_> = serde_json::from_str(manifest)?;
    Ok(index.manifests.into_iter().map(|child| child.digest.into_owned()).collect())
}

/// The digests of the blobs that a manifest needs in its repository: its configuration and its layers. Layers that registries do
/// not store (foreign ones) are left out, and so is everything of a text that is no manifest.
#[must_use]
pub fn layers(manifest: &str) -> Vec<String> {
    #[derive(Deserialize)]
    struct Manifest {
        config: Option<Blob>,
        #[serde(default)]
        layers: Vec<Blob>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Blob {
        digest: String,
        #[serde(default)]
        media_type: String,
    }
    let Ok(Manifest { config, layers }) = serde_json::from_str(manifest) else { return Vec::new() };
    let is_foreign =
        |blob: &Blob| blob.media_type.contains("foreign") || blob.media_type.contains("nondistributable");
    let mut digests = Vec::new();
    for blob in config.into_iter().chain(layers).filter(|blob| !is_foreign(blob)) {
        if !digests.contains(&blob.digest) {
            digests.push(blob.digest);
        }
    }
    digests
}

/// The digest of a manifest's `subject`; `None` for an ordinary image.
#[must_use]
pub fn subject(manifest: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Referrer {
        subject: Option<Subject>,
    }
    #[derive(Deserialize)]
    struct Subject {
        digest: String,
    }
    // Anything that is not a manifest has no subject.
    let referrer: Referrer = serde_json::from_str(manifest).ok()?;
    referrer.subject.map(|subject| subject.digest)
}

/// The images in the order in which ECR accepts their deletion. ECR refuses to delete what an index still lists, so that an index
/// is deleted in an earlier call than its children. Each batch is one call of at most `size` images.
///
/// `digests` are those of tags, `children` those of indexes, as far as they are known.
#[must_use]
pub fn in_order(
    ids: &[ImageId],
    digests: &BTreeMap<String, String>,
    children: &BTreeMap<String, Vec<String>>,
    size: usize,
) -> Vec<Vec<ImageId>> {
    let digest_of = |id: &ImageId| match id {
        ImageId::Digest(digest) => Some(digest.clone()),
        ImageId::Tag(tag) => digests.get(tag).cloned(),
    };
    // How many indexes of the request stand above each digest. The digest of an index depends on those of its
    // children, so that there are no cycles; the bound is for answers that are not true.
    let mut level: BTreeMap<String, usize> =
        ids.iter().filter_map(digest_of).map(|digest| (digest, 0)).collect();
    for _ in 0..ids.len() {
        let mut changed = false;
        for (parent, below) in children {
            let Some(&above) = level.get(parent) else { continue };
            for child in below {
                if let Some(own) = level.get_mut(child)
                    && *own <= above
                    && above < ids.len()
                {
                    *own = above + 1;
                    changed = true;
                }
            }
        }
        if !changed {
            break;
        }
    }
    let mut levels: BTreeMap<usize, Vec<ImageId>> = BTreeMap::new();
    for id in ids {
        let level = digest_of(id).and_then(|digest| level.get(&digest).copied()).unwrap_or_default();
        levels.entry(level).or_default().push(id.clone());
    }
    levels
        .into_values()
        .flat_map(|ids| ids.chunks(size).map(<[ImageId]>::to_vec).collect::<Vec<_>>())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> ImageId {
        ImageId::Digest(text.to_owned())
    }

    #[test]
    fn an_index_is_deleted_before_its_children_and_theirs() {
        let children = BTreeMap::from([
            ("top".to_owned(), vec!["middle".to_owned(), "leaf".to_owned()]),
            ("middle".to_owned(), vec!["leaf".to_owned(), "elsewhere".to_owned()]),
        ]);
        let digests = BTreeMap::from([("v1".to_owned(), "middle".to_owned())]);
        let ids = [digest("leaf"), ImageId::Tag("v1".to_owned()), digest("single"), digest("top")];
        let batches = in_order(&ids, &digests, &children, 100);
        assert_eq!(
            batches,
            [
                vec![digest("single"), digest("top")],
                vec![ImageId::Tag("v1".to_owned())],
                vec![digest("leaf")]
            ]
        );
    }

    #[test]
    fn batches_are_as_large_as_they_may_be_and_lose_nothing() {
        let ids: Vec<ImageId> = (0..250).map(|number| digest(&number.to_string())).collect();
        let batches = in_order(&ids, &BTreeMap::new(), &BTreeMap::new(), 100);
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 50]);
        assert_eq!(batches.concat(), ids);
    }

    #[test]
    fn relations_that_cannot_be_end_nevertheless() {
        let children =
            BTreeMap::from([("a".to_owned(), vec!["b".to_owned()]), ("b".to_owned(), vec!["a".to_owned()])]);
        let batches = in_order(&[digest("a"), digest("b")], &BTreeMap::new(), &children, 100);
        assert_eq!(batches.concat().len(), 2);
    }

    #[test]
    fn everything_that_is_wrong_with_a_request_is_reported_at_once() {
        let findings = DeletionRequest::parse(
            r#"{"repositoryName": "App", "imageIds": [{}, {"imageDigest": "sha256:12"}, {"imageTag": "-x"},
                {"imageTag": "a", "imageDigest": "b"}, {"imageTag": 5}, "latest"], "force": true}"#,
        )
        .unwrap_err();
        insta::assert_snapshot!(findings.iter().map(|finding| format!("{finding}\n")).collect::<String>());
        for (text, message) in [
            (r#"{"repositoryName": "app"}"#, "`imageIds` is missing"),
            (r#"{"repositoryName": "app", "imageIds": []}"#, "there are 0 images; name 1 to 1000"),
            (r#"{"imageIds": [{"imageTag": "a"}]}"#, "`repositoryName` is missing"),
        ] {
            let findings = DeletionRequest::parse(text).unwrap_err();
            assert!(findings[0].message.contains(message), "{findings:?}");
        }
    }

    #[test]
    fn an_image_named_twice_is_deleted_once() {
        let request = DeletionRequest::parse(
            r#"{"repositoryName": "app", "imageIds": [{"imageTag": "a"}, {"imageTag": "b"}, {"imageTag": "a"}]}"#,
        )
        .unwrap();
        assert_eq!(request.image_ids, [ImageId::Tag("a".to_owned()), ImageId::Tag("b".to_owned())]);
    }

    #[test]
    fn a_manifest_needs_its_configuration_and_the_layers_that_registries_store() {
        let manifest = r#"{"config": {"digest": "sha256:c", "mediaType": "application/vnd.oci.image.config.v1+json"}, "layers": [
            {"digest": "sha256:a", "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"}, {"digest": "sha256:a"},
            {"digest": "sha256:f", "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}]}"#;
        assert_eq!(layers(manifest), ["sha256:c", "sha256:a"]);
        assert_eq!(layers(r#"{"manifests": []}"#), Vec::<String>::new());
    }

    #[test]
    fn an_index_that_cannot_be_read_is_not_one_without_children() {
        assert_eq!(children(r#"{"manifests": [{"digest": "sha256:a", "size": 1}]}"#).unwrap(), ["sha256:a"]);
        assert_eq!(children(r#"{"manifests": []}"#).unwrap(), Vec::<String>::new());
        for unread in [
            "",
            "{}",
            r#"{"layers": []}"#,
            r#"{"manifests": null}"#,
            r#"{"manifests": [null]}"#,
            r#"{"manifests": [{"size": 1}]}"#,
            r#"{"manifests": [{"digest": null}]}"#,
            r#"{"manifests": [], "manifests": [{"digest": "sha256:a"}]}"#,
            r#"{"manifests": [{"digest": "sha256:a", "digest": "sha256:b"}]}"#,
        ] {
            assert!(children(unread).is_err(), "{unread}");
        }
    }
}
