//! What is written down before images are deleted: one line of JSON for each, with everything that it takes to know what
//! went, why, and who decided so.

use std::fmt::Write as _;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Run;
use crate::image::Image;
use crate::instant::Instant;
use crate::report::model::ActionTaken;

/// The keys of the journal begin so.
pub const PREFIX: &str = "journal/";

/// One image that is about to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line<'a> {
    /// The run.
    pub run_id: &'a str,
    /// When this is written.
    pub at: Instant,
    /// The registry.
    pub registry_id: &'a str,
    /// The repository.
    pub repository_name: &'a str,
    /// The image's digest.
    pub image_digest: &'a str,
    /// Its tags, which go with it.
    pub image_tags: Vec<&'a str>,
    /// When it was pushed.
    pub image_pushed_at: Instant,
    /// Its size in bytes.
    pub image_size_in_bytes: u64,
    /// Its manifest, as it was pushed; null if ECR did not give it.
    pub image_manifest: Option<&'a str>,
    /// What is about to happen.
    pub action: ActionTaken,
    /// The policy in the book.
    pub policy: &'a str,
    /// The version of the book.
    pub book_version: Option<&'a str>,
    /// The rule that takes it.
    pub applied_rule_priority: u64,
    /// Why it does.
    pub reason: String,
}

impl<'a> Line<'a> {
    /// The tags of an image.
    #[must_use]
    pub fn tags(image: &'a Image) -> Vec<&'a str> {
        image.tags.iter().map(|tag| &**tag).collect()
    }
}

/// The lines as an object: its key, which is the same for the same images of a run, and its content.
#[must_use]
pub fn entry(run: &Run, repository: &str, lines: &[Line<'_>]) -> (String, String) {
    let mut content = String::new();
    let mut digest = Sha256::new();
    for line in lines {
        digest.update(line.image_digest);
        // Strings and numbers can be written.
        content += &serde_json::to_string(line).unwrap_or_default();
        content.push('\n');
    }
    let name = digest.finalize().iter().take(8).fold(String::new(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    });
    (format!("{}{repository}/{name}.jsonl", prefix(run)), content)
}

/// The keys of what a run wrote down begin so.
#[must_use]
pub fn prefix(run: &Run) -> String {
    let day = run.started_at.to_string();
    let day = day.split('T').next().unwrap_or_default().replace('-', "/");
    format!("{PREFIX}{day}/{}/", run.run_id)
}
