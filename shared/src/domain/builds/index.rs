//! Images of several platforms joined by an index, as `docker buildx imagetools create` does it.

use serde_json::{Value, json};

use super::Platform;

/// The media type of an index.
pub const MEDIA_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// The image that was pushed for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The platform.
    pub platform: Platform,
    /// The digest.
    pub digest: String,
    /// The manifest: of an image, or of an index of it and its attestations.
    pub manifest: String,
}

/// Why images cannot be joined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the manifest of {digest} is unreadable: {problem}")]
pub struct Unreadable {
    digest: String,
    problem: String,
}

/// The image index of the images. The same images give the same index. Images that are indexes already are flattened, so that
/// attestations remain with their subject.
///
/// # Errors
///
/// If a manifest is invalid.
pub fn join(images: &[Pushed]) -> Result<String, Unreadable> {
    let mut entries = Vec::new();
    for image in images {
        let unreadable = |problem: String| Unreadable { digest: image.digest.clone(), problem };
        let manifest: Value =
            serde_json::from_str(&image.manifest).map_err(|error| unreadable(error.to_string()))?;
        if let Some(inner) = manifest["manifests"].as_array() {
            entries.extend(inner.iter().cloned());
            continue;
        }
        let media_type =
            manifest["mediaType"].as_str().unwrap_or("application/vnd.oci.image.manifest.v1+json");
        if !manifest["config"].is_object() {
            return Err(unreadable("it has neither `manifests` nor a `config`".to_owned()));
        }
        entries.push(json!({
            "mediaType": media_type,
            "digest": image.digest,
            "size": image.manifest.len(),
            "platform": { "os": "linux", "architecture": image.platform.processor() },
        }));
    }
    Ok(json!({ "schemaVersion": 2, "mediaType": MEDIA_TYPE, "manifests": entries }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(platform: Platform, manifest: &str) -> Pushed {
        Pushed { platform, digest: format!("sha256:{}", platform.processor()), manifest: manifest.to_owned() }
    }

    #[test]
    fn images_are_named_with_their_platforms_and_sizes() {
        let manifest = r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{}}"#;
        let index = join(&[image(Platform::Amd64, manifest), image(Platform::Arm64, manifest)]).unwrap();
        let index: Value = serde_json::from_str(&index).unwrap();
        assert_eq!(index["mediaType"], MEDIA_TYPE);
        assert_eq!(index["manifests"][1]["size"], manifest.len());
        assert_eq!(index["manifests"][1]["digest"], "sha256:arm64");
        assert_eq!(index["manifests"][1]["platform"], json!({ "os": "linux", "architecture": "arm64" }));
        assert_eq!(
            index["manifests"][0]["mediaType"],
            "application/vnd.docker.distribution.manifest.v2+json"
        );
    }

    #[test]
    fn attestations_stay_with_their_images() {
        let inner = json!({ "schemaVersion": 2, "mediaType": MEDIA_TYPE, "manifests": [
            { "digest": "sha256:image", "platform": { "architecture": "amd64", "os": "linux" } },
            { "digest": "sha256:attestation", "annotations": { "vnd.docker.reference.digest": "sha256:image" } },
        ] });
        let plain = r#"{"schemaVersion":2,"config":{}}"#;
        let index =
            join(&[image(Platform::Amd64, &inner.to_string()), image(Platform::Arm64, plain)]).unwrap();
        let index: Value = serde_json::from_str(&index).unwrap();
        let digests: Vec<&Value> =
            index["manifests"].as_array().unwrap().iter().map(|entry| &entry["digest"]).collect();
        assert_eq!(digests, ["sha256:image", "sha256:attestation", "sha256:arm64"]);
        assert_eq!(index["manifests"][1]["annotations"]["vnd.docker.reference.digest"], "sha256:image");
    }

    #[test]
    fn what_is_no_manifest_is_not_joined() {
        for text in ["{}", "[]", "", r#"{"config": 1}"#] {
            assert!(join(&[image(Platform::Amd64, text)]).is_err(), "{text}");
        }
    }
}
