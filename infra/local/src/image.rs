//! A small image on disk, as an OCI layout, for clients to push.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::LocalError;

/// Writes an image with `text` in a label into `folder`, and returns its digest.
///
/// # Errors
///
/// If the files cannot be written.
pub fn write(folder: &Path, text: &str) -> Result<String, LocalError> {
    let io = |what: &Path| LocalError::io(what.display().to_string());
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(io(&blobs))?;
    let blob = |content: &[u8], media_type: &str| -> Result<Value, LocalError> {
        let hex: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        let file = blobs.join(&hex);
        fs::write(&file, content).map_err(io(&file))?;
        Ok(json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": content.len() }))
    };
    // The end of an archive, and nothing before it.
    let layer = blob(&[0; 1024], "application/vnd.oci.image.layer.v1.tar")?;
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "config": { "Labels": { "text": text } },
        "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
    });
    let config = blob(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json")?;
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer] }).to_string();
    let manifest = blob(manifest.as_bytes(), MANIFEST)?;
    let digest = manifest["digest"].as_str().unwrap_or_default().to_owned();
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] }).to_string();
    for (name, content) in
        [("index.json", index.as_str()), ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)]
    {
        let file = folder.join(name);
        fs::write(&file, content).map_err(io(&file))?;
    }
    Ok(digest)
}
