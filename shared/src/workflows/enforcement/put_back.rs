//! Restores images that came into use after they were deleted or archived. Between reading use and a deletion there is always
//! some time, and a task that starts then pulls its image later. The manifest and the tags are in the journal, and ECR keeps
//! layers for a while.

use std::collections::HashMap;

use crate::aws::ecr::EcrProtect;
use crate::aws::{AwsError, Failure};
use crate::domain::enforcement::action::Action;
use crate::domain::enforcement::journal::Line;
use crate::domain::enforcement::outcome::PutBack;
use crate::domain::image::listing::RepositoryName;
use crate::domain::image::{Image, ImageIndex, ManifestKind, Relations, RepositoryImages, deletion};
use crate::domain::preview::model::ActionKind;
use crate::domain::repository::Name;
use crate::domain::usage::Usage;
use crate::workflows::enforcement::{RunContext, RunError};

/// An image that was removed, or may have been.
#[derive(Debug, Clone)]
pub struct Removed {
    /// Its repository.
    pub repository: Name,
    /// Its line of the journal.
    pub line: Line,
}

impl Removed {
    fn is_archived(&self) -> bool {
        self.line.action.kind == ActionKind::Transition
    }

    fn image(&self) -> Image {
        let Line { image_digest, image_tags, image_pushed_at, image_size_in_bytes, .. } = &self.line;
        let media_type = self.line.image_manifest_media_type.as_deref();
        Image {
            digest: image_digest.as_str().into(),
            tags: image_tags.iter().map(|tag| tag.as_str().into()).collect(),
            pushed_at: *image_pushed_at,
            last_pulled_at: None,
            last_archived_at: None,
            last_activated_at: None,
            size_in_bytes: *image_size_in_bytes,
            status: crate::domain::image::ImageStatus::Active,
            kind: media_type.map_or(ManifestKind::Unknown, ManifestKind::of_media_type),
        }
    }
}

/// The removed images that are in use, with everything that belongs to them, in the order in which they can be restored: the
/// reverse of the removal.
#[must_use]
pub fn in_use_again(removed: &[Removed], usage: &Usage) -> Vec<(usize, Action)> {
    let mut of_repositories: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, image) in removed.iter().enumerate() {
        of_repositories.entry(image.repository.as_str()).or_default().push(at);
    }
    let mut again = Vec::new();
    for (repository, places) in of_repositories {
        let mut relations = Relations::default();
        let mut images = Vec::with_capacity(places.len());
        for removed in places.iter().filter_map(|&at| removed.get(at)) {
            let line = &removed.line;
            if let Some(manifest) = &line.image_manifest {
                if let Ok(children) = deletion::children(manifest) {
                    relations.index(&line.image_digest, children);
                }
                if let Some(subject) = deletion::subject(manifest) {
                    relations.refer(&line.image_digest, &subject);
                }
            }
            images.push(removed.image());
        }
        let registry_id =
            places.first().and_then(|&at| removed.get(at)).map(|one| one.line.registry_id.clone());
        let images = RepositoryImages::new(images, &relations);
        let name = RepositoryName { repository_name: Some(repository.to_owned()), registry_id };
        let used = usage.of_repository(&name, &images);
        for (place, image) in (0..).zip(images.images()) {
            let place: ImageIndex = place;
            let Some(reason) = used.reason(place) else { continue };
            let of_image = places
                .iter()
                .copied()
                .filter(|&at| removed.get(at).is_some_and(|one| *one.line.image_digest == *image.digest));
            again.extend(of_image.map(|at| {
                let action = Action::PutBack {
                    image_digest: image.digest.to_string(),
                    image_tags: image.tags.iter().map(ToString::to_string).collect(),
                    reason: reason.to_owned(),
                };
                (at, action)
            }));
        }
    }
    again.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    again
}

/// Puts one image back; none if it was there all along, which may be where a function was killed before it deleted it.
///
/// # Errors
///
/// When time is up. That it could not be put back is in the result.
pub async fn execute(
    clients: &RunContext<'_>,
    ecr: &EcrProtect,
    removed: &Removed,
    reason: &str,
) -> Result<Option<PutBack>, RunError> {
    let problem = match put_back(clients, ecr, removed).await {
        Ok(Done::Unchanged) => return Ok(None),
        Ok(Done::Back) => None,
        Err(NotPutBack::Failed(error @ RunError::Time(_))) => return Err(error),
        Err(error) => Some(error.to_string()),
    };
    let line = &removed.line;
    match &problem {
        None => tracing::warn!(
            repository = line.repository_name,
            digest = line.image_digest,
            reason,
            "put back an image that came into use after it was taken"
        ),
        Some(problem) => tracing::error!(
            repository = line.repository_name,
            digest = line.image_digest,
            reason,
            problem,
            "an image came into use after it was taken and could not be put back"
        ),
    }
    Ok(Some(PutBack {
        repository_name: line.repository_name.clone(),
        line: line.clone(),
        was_archived: removed.is_archived(),
        reason: reason.to_owned(),
        problem,
    }))
}

/// The result of restoring an image.
enum Done {
    Unchanged,
    Back,
}

/// Why an image cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum NotPutBack {
    /// The journal has no manifest of it.
    #[error("ECR did not give its manifest when it was deleted; push it again")]
    NoManifest,
    /// A call failed.
    #[error(transparent)]
    Failed(#[from] RunError),
}

async fn put_back(clients: &RunContext<'_>, ecr: &EcrProtect, removed: &Removed) -> Result<Done, NotPutBack> {
    let (name, line) = (&removed.repository, &removed.line);
    let digest = line.image_digest.as_str();
    if removed.is_archived() {
        return match clients.call(ecr.restore(name, digest)).await {
            Ok(()) => Ok(Done::Back),
            // It was written down, and was not archived after all.
            Err(RunError::Aws(AwsError { failure: Failure::Invalid, .. })) => Ok(Done::Unchanged),
            Err(error) => Err(error.into()),
        };
    }
    let Some(manifest) = &line.image_manifest else { return Err(NotPutBack::NoManifest) };
    let media_type = line.image_manifest_media_type.as_deref();
    let mut is_changed = clients.call(ecr.put_back_image(name, manifest, media_type, digest, None)).await?;
    for tag in &line.image_tags {
        // A tag that names another image by now is that one's.
        if clients.call(ecr.holder_of(name, tag)).await?.is_some() {
            continue;
        }
        match clients.call(ecr.put_back_image(name, manifest, media_type, digest, Some(tag))).await {
            Ok(was_missing) => is_changed |= was_missing,
            Err(RunError::Aws(AwsError { failure: Failure::AlreadyExists, .. })) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(if is_changed { Done::Back } else { Done::Unchanged })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::text::instant::Instant;

    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

    fn digest(letter: char) -> String {
        format!("sha256:{}", letter.to_string().repeat(64))
    }

    fn removed(letter: char, tags: &[&str], manifest: &serde_json::Value) -> Removed {
        let at = Instant::parse("2026-11-26T03:00:00Z").unwrap();
        let line = Line {
            image_tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            image_pushed_at: Instant::parse("2026-10-01T00:00:00Z").unwrap(),
            image_manifest: Some(manifest.to_string()),
            image_manifest_media_type: manifest["mediaType"].as_str().map(str::to_owned),
            policy: Some("all".to_owned()),
            applied_rule_priority: Some(1),
            usage_read_at: Some(at),
            ..Line::example(digest(letter), at)
        };
        Removed { repository: Name::parse("app").unwrap(), line }
    }

    /// A release in the order of its deletion: the index, its child, its signature; and an image before it.
    fn all() -> Vec<Removed> {
        let image = serde_json::json!({ "mediaType": MANIFEST, "layers": [] });
        let index = serde_json::json!({ "mediaType": INDEX, "manifests": [{ "digest": digest('b') }] });
        let signature = serde_json::json!({ "mediaType": MANIFEST, "subject": { "digest": digest('a') } });
        vec![
            removed('d', &["ci-1"], &image),
            removed('a', &["v1"], &index),
            removed('b', &[], &image),
            removed('c', &[], &signature),
        ]
    }

    fn again(list: &str) -> Vec<String> {
        let usage = Usage::parse(list).unwrap();
        let actions = in_use_again(&all(), &usage);
        actions.iter().map(|(_, action)| action.to_string().replace(&"0".repeat(9), "")).collect()
    }

    #[test]
    fn what_is_in_use_again_comes_back_whole_and_children_before_their_index() {
        let back = again(r#"[{"imageUri": "app:v1", "usedBy": ["task/1"]}]"#);
        let order: Vec<&str> = back.iter().map(|action| &action[17..18]).collect();
        assert_eq!(order, ["c", "b", "a"], "{back:?}");
        assert!(back[2].contains("(v1): it is in use: app:v1 by task/1"), "{back:?}");
        let child = format!(r#"["app@{}"]"#, digest('b'));
        assert_eq!(again(&child).len(), 3, "its index and what belongs to that");
    }

    #[test]
    fn what_nobody_uses_stays_where_it_is() {
        assert_eq!(again(r#"["app:ci-2", "other:v1"]"#), Vec::<String>::new());
        assert_eq!(again(r#"["app:ci-1"]"#).len(), 1);
    }
}
