//! References in use as a list that somebody wrote: a JSON array of image references.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Usage, UsedImage};
use crate::domain::image::reference::{ImageReference, InvalidReference};

/// Why a list of references in use cannot be used. It is used whole or not at all: a reference that is not
/// understood could be the one that matters.
#[derive(Debug, thiserror::Error)]
pub enum InvalidUsage {
    /// The text is not the JSON that is expected.
    #[error(
        "not a list of images in use: {0}; write a JSON array of image references, or of \
         {{\"imageUri\": \"…\", \"usedBy\": [\"…\"]}}"
    )]
    Json(#[from] serde_json::Error),
    /// An entry is not an image reference.
    #[error("/{at}: {source}")]
    Reference {
        /// The entry's place in the array.
        at: usize,
        /// What is wrong with it.
        source: InvalidReference,
    },
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "an image reference, or an object with `imageUri`")]
pub(crate) enum Listed {
    Uri(String),
    Used(Used),
}

impl Listed {
    /// The reference, and who uses it.
    pub(crate) fn into_parts(self) -> (String, Vec<String>) {
        match self {
            Self::Uri(uri) => (uri, Vec::new()),
            Self::Used(Used { image_uri, used_by }) => (image_uri, used_by),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Used {
    image_uri: String,
    #[serde(default)]
    used_by: Vec<String>,
}

impl Serialize for UsedImage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Used { image_uri: self.reference.to_string(), used_by: self.used_by.clone() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for UsedImage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Used { image_uri, used_by } = Used::deserialize(deserializer)?;
        let reference = image_uri.parse().map_err(serde::de::Error::custom)?;
        Ok(Self { reference, used_by })
    }
}

impl Usage {
    /// Reads a JSON array of image references, each a string or `{"imageUri", "usedBy": […]}`.
    ///
    /// # Errors
    ///
    /// When any entry is not understood.
    pub fn parse(json: &str) -> Result<Self, InvalidUsage> {
        let listed: Vec<Listed> = serde_json::from_str(json)?;
        let mut used = Vec::with_capacity(listed.len());
        for (at, entry) in listed.into_iter().enumerate() {
            let (uri, used_by) = entry.into_parts();
            let reference: ImageReference =
                uri.parse().map_err(|source| InvalidUsage::Reference { at, source })?;
            used.push(UsedImage { reference, used_by });
        }
        Ok(Self::of(used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_objects_may_be_mixed() {
        let usage = Usage::parse(r#"["app:1", {"imageUri": "app:2", "usedBy": ["web", "job"]}]"#).unwrap();
        let shown: Vec<String> = usage.used().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["app:1", "app:2 by web and 1 more"]);
    }

    #[test]
    fn one_entry_that_is_not_understood_makes_the_list_unusable() {
        for (json, expected) in [
            (r#"["app:1", "not a reference"]"#, "/1: `not a reference` is not an image reference"),
            (r#"[{"imageURI": "app:1"}]"#, "not a list of images in use: an image reference, or an object"),
            ("{}", "not a list of images in use: invalid type: map"),
        ] {
            let error = Usage::parse(json).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
