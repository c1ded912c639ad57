//! The part of the story after an incident: a run at a terminal deletes a signed release for two platforms, `ecr-steward images restore`
//! brings it back, and a real client pulls the same digests.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Step;
use crate::stack::Stack;
use crate::{LocalError, Project, functions, image, say, tools};

/// The repository of this part.
const REPOSITORY: &str = "team/restored";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Keeps the newest image alone.
const POLICIES_FILE: &str = "policies:
  - name: the newest
    repositories: [team/restored]
    rules: [{ selection: any, maximumNumberOfImages: 1 }]
    apply: delete
    limits: { images: 100, percent: 100, remaining: 1 }
";

/// Plays it.
pub(super) fn play(project: &Project, stack: &Stack) -> Result<(), LocalError> {
    let built = functions::build(project, &["ecr-steward"])?;
    let program = built.get("ecr-steward").cloned().unwrap_or_default();
    let bucket = stack.output("SourceBucketName")?.to_owned();
    let incident = Incident { project, stack, program, bucket };
    let (uri, release) = incident.release()?;
    incident.delete(&release)?;
    incident.restore(&uri, &release)
}

/// Removes what a story that was broken off has left.
pub(super) fn clear(stack: &Stack) -> Result<(), LocalError> {
    stack.request("DELETE", &format!("/repositories/{REPOSITORY}?force=true&inUse=true"), None).map(drop)
}

struct Incident<'a> {
    project: &'a Project,
    stack: &'a Stack,
    program: PathBuf,
    bucket: String,
}

/// The digests of a release: the index comes first, the signature last.
struct Release(Vec<String>);

impl Incident<'_> {
    fn steward(&self, arguments: &[&str]) -> Result<Output, LocalError> {
        let mut command = Command::new(&self.program);
        self.stack.lead(&mut command).args(arguments).args(["--bucket", &self.bucket]).stdin(Stdio::null());
        command.output().map_err(LocalError::io(format!("ecr-steward {}", arguments.join(" "))))
    }

    /// Puts a manifest whose layers are there, and gives its digest.
    fn put(&self, manifest: &Value, tag: Option<&str>) -> Result<String, LocalError> {
        let text = manifest.to_string();
        let media_type = manifest["mediaType"].as_str().unwrap_or_default();
        let put = ["ecr", "put-image", "--repository-name", REPOSITORY, "--image-manifest", &text];
        let named = tag.map(|tag| ["--image-tag", tag]);
        let arguments = [
            &put[..],
            &["--image-manifest-media-type", media_type],
            named.as_ref().map_or(&[], |named| &named[..]),
        ];
        self.stack.aws(&arguments.concat())?;
        let hex: String = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("sha256:{hex}"))
    }

    /// The digests that ECR has.
    fn there(&self) -> Result<BTreeSet<String>, LocalError> {
        let list = ["ecr", "list-images", "--repository-name", REPOSITORY];
        let listed = self.stack.aws_lists(&list, "/imageIds")?;
        Ok(listed.iter().filter_map(|id| id["imageDigest"].as_str()).map(str::to_owned).collect())
    }

    fn release(&self) -> Result<(String, Release), LocalError> {
        let step = Step::begin("a release for two platforms, signed, and an image after it");
        let spec = json!({ "repositoryName": REPOSITORY, "lifecyclePolicy": { "skip": true } });
        let created = step.expect(self.stack.request("POST", "/repositories", Some(&spec))?, 201)?;
        let uri = created["repository"]["repositoryUri"].as_str().unwrap_or_default().to_owned();
        let mut children = Vec::new();
        let mut entries = Vec::new();
        for architecture in ["amd64", "arm64"] {
            let layout = self.project.run().join("restored").join(architecture);
            tools::remove(&layout)?;
            let digest = image::write(&layout, &format!("restored {architecture}"))?;
            let named = format!("{uri}:{architecture}");
            self.stack.push(&layout, &named, &self.project.run())?;
            let file = layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
            let size = fs::metadata(&file).map_err(LocalError::io(file.display().to_string()))?.len();
            let platform = json!({ "os": "linux", "architecture": architecture });
            entries
                .push(json!({ "mediaType": MANIFEST, "digest": digest, "size": size, "platform": platform }));
            children.push(digest);
        }
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
        let index_digest = self.put(&index, Some("v1"))?;
        // A signature is an image about another one; its layer may be any.
        let get =
            ["ecr", "batch-get-image", "--repository-name", REPOSITORY, "--image-ids", "imageTag=amd64"];
        let got = self.stack.aws(&get)?;
        let text = got.pointer("/images/0/imageManifest").and_then(Value::as_str).unwrap_or_default();
        let mut signature: Value = serde_json::from_str(text).unwrap_or_default();
        signature["artifactType"] = "application/vnd.dev.cosign.simplesigning.v1+json".into();
        signature["subject"] =
            json!({ "mediaType": INDEX, "digest": index_digest, "size": index.to_string().len() });
        let signature = self.put(&signature, None)?;
        let layout = self.project.run().join("restored/next");
        tools::remove(&layout)?;
        image::write(&layout, "restored next")?;
        // Times are of whole seconds, and the policy keeps the newest image.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        self.stack.push(&layout, &format!("{uri}:v2"), &self.project.run())?;
        let release = Release([vec![index_digest], children, vec![signature]].concat());
        let there = self.there()?;
        step.check(release.0.iter().all(|digest| there.contains(digest)), || format!("{there:?}"))?;
        say(&format!("  {uri}@{}", release.0.first().map_or("", String::as_str)));
        Ok((uri, release))
    }

    fn delete(&self, release: &Release) -> Result<(), LocalError> {
        let step = Step::begin("a run at a terminal by a bad policy: the release is gone");
        let file = self.project.run().join("restored-policies.yaml");
        fs::write(&file, POLICIES_FILE).map_err(LocalError::io(file.display().to_string()))?;
        let policies = file.to_string_lossy();
        let mut last = String::new();
        // An index goes in an earlier run than what only it kept, unless one run does it all.
        for _ in 0..3 {
            let output = self.steward(&[
                "enforce",
                "--policies",
                &policies,
                "--repository",
                REPOSITORY,
                "--apply",
                "--yes",
            ])?;
            let there = self.there()?;
            if release.0.iter().all(|digest| !there.contains(digest)) {
                return Ok(());
            }
            step.check(output.status.code().is_some_and(|code| code < 2), || format!("{output:?}"))?;
            last = String::from_utf8_lossy(&output.stdout).into_owned();
        }
        step.check(false, || format!("the run should have deleted the release: {last}"))
    }

    fn restore(&self, uri: &str, release: &Release) -> Result<(), LocalError> {
        let step = Step::begin(
            "ecr-steward images restore team/restored:v1: what would come back, and then it is back",
        );
        let image = format!("{REPOSITORY}:v1");
        let dry = self.steward(&["images", "restore", &image])?;
        let there = self.there()?;
        step.check(dry.status.success() && there.len() == 1, || format!("{there:?}: {dry:?}"))?;
        let applied = self.steward(&["images", "restore", &image, "--apply"])?;
        step.check(applied.status.success(), || format!("{applied:?}"))?;
        let there = self.there()?;
        step.check(release.0.iter().all(|digest| there.contains(digest)), || {
            format!("{there:?}: {applied:?}")
        })?;
        for line in String::from_utf8_lossy(&applied.stdout).lines() {
            say(&format!("  {line}"));
        }

        let step = Step::begin("a real client pulls the release for both platforms, with the same digests");
        let folder = self.project.run().join("restored-pulled");
        tools::remove(&folder)?;
        self.stack.pull_all(&format!("{uri}:v1"), &folder, &self.project.run())?;
        let digest = |file: &str| -> Result<String, LocalError> {
            let file = folder.join(file);
            let text = fs::read(&file).map_err(LocalError::io(file.display().to_string()))?;
            Ok(Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect())
        };
        let pulled = digest("manifest.json")?;
        let index = release.0.first().map_or("", |digest| digest.trim_start_matches("sha256:"));
        step.check(pulled == index, || format!("{pulled} was pulled, and {index} deleted"))?;
        for child in release.0.iter().skip(1).take(2) {
            let hex = child.trim_start_matches("sha256:");
            step.check(digest(&format!("{hex}.manifest.json"))? == hex, || format!("{hex} was not pulled"))?;
        }
        let history = self.steward(&["history", &image])?;
        let history = String::from_utf8_lossy(&history.stdout).into_owned();
        step.check(history.contains("restored on "), || history.clone())?;
        let gone = self.stack.request(
            "DELETE",
            &format!("/repositories/{REPOSITORY}?force=true&inUse=true"),
            None,
        )?;
        step.expect(gone, 204).map(drop)
    }
}
