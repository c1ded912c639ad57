//! The build context: everything that has to be known when a build ends, in a variable of the build.

use serde::{Deserialize, Serialize};

use super::event::SourceUpdate;
use super::tags::{CONTENT_PREFIX, NotMoved, Template, reserved_prefix};
use super::{GitReference, Platform, Source, SourceOrder, fingerprint};
use crate::domain::builds::build_definition::BuildDefinition;
use crate::domain::text::finding::quoted;
use crate::domain::text::instant::Instant;

/// The environment variable of a build that contains its context.
pub const VARIABLE: &str = "TICKET";
/// The variable that has the platform.
pub const PLATFORM: &str = "PLATFORM";

/// The purpose of a build: source, image, tags and platforms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildContext {
    /// The repository of the image.
    pub repository_name: String,
    /// The content tag `src-…`, which identifies source and build definition together and never moves.
    pub image_tag: String,
    /// The fingerprint of the build definition.
    #[serde(default)]
    pub definition: String,
    /// The platforms; there is one build for each.
    pub platforms: Vec<Platform>,
    /// The tags that move to the image, if nothing newer has them.
    pub image_tags: Vec<String>,
    /// The tags that templates make of this source and that are not for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_tags_not_moved: Vec<NotMoved>,
    /// Whether the repository's parameter points to the image after the build.
    pub is_released: bool,
    /// The source.
    pub source: Source,
    /// The branch or tag of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<GitReference>,
    /// The position of the source among others.
    pub arrival: SourceOrder,
}

/// Why a build context is not trusted, whatever it is the context of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContextDoubt {
    /// The content tag is that of another source, definition or repository.
    #[error("{} is not the tag of {source_of_context} in {repository_name}", quoted(.image_tag))]
    OtherTag {
        /// The content tag of the context.
        image_tag: String,
        /// The source of the context.
        source_of_context: Source,
        /// The repository of the context.
        repository_name: String,
    },
    /// The context moves this tag, which is not for builds.
    #[error("{} is reserved", quoted(.0))]
    ReservedTag(String),
    /// The source claims to have arrived at this time.
    #[error("its source came at {0}, which is in the future")]
    Future(Instant),
}

/// The default tags: the name of the branch or tag, and `latest` for what is released.
const DEFAULT_TAGS: [&str; 3] = ["latest", "{branch}", "{tag}"];

impl BuildContext {
    /// The context for building a source by a definition.
    #[must_use]
    pub fn new(definition: &BuildDefinition, arrived: &SourceUpdate) -> Self {
        let SourceUpdate { source, reference, arrival } = arrived;
        let is_released = match (reference, &definition.default_branch) {
            (None, _) => true,
            (Some(GitReference::Branch(name)), Some(default)) => name == default,
            (Some(GitReference::Branch(name)), None) => name == "main" || name == "master",
            (Some(GitReference::Tag(_)), _) => false,
        };
        let default: Vec<Template>;
        let templates = match &definition.image_tags {
            Some(templates) => templates,
            None => {
                default = DEFAULT_TAGS.iter().filter_map(|text| Template::parse(text).ok()).collect();
                &default
            }
        };
        let render = |template: &Template| template.render(source, reference.as_ref(), arrival);
        let fixed: Vec<String> =
            templates.iter().filter(|template| template.is_fixed()).filter_map(render).collect();
        let mut image_tags = Vec::new();
        let mut image_tags_not_moved: Vec<NotMoved> = Vec::new();
        // Whoever may push a branch or a tag chooses its name, and may not choose more by that.
        for tag in templates.iter().filter(|template| !template.is_fixed()).filter_map(render) {
            let reason = if let Some(prefix) = reserved_prefix(&tag) {
                format!("tags that begin with {} are reserved", quoted(prefix))
            } else if !is_released && fixed.contains(&tag) {
                "imageTags names this tag for what is released, and this source is not".to_owned()
            } else {
                image_tags.push(tag);
                continue;
            };
            if image_tags_not_moved.iter().all(|not| not.image_tag != tag) {
                image_tags_not_moved.push(NotMoved { image_tag: tag, reason });
            }
        }
        if is_released {
            image_tags.extend(fixed);
        } else if definition.image_tags.is_some() {
            // Whoever names a tag hears why it stays where it is; `latest` by default is for nobody's branch.
            let reason =
                "only what is released gets this tag: what comes without a branch, or of the default branch";
            let is_new = |tag: &String| image_tags_not_moved.iter().all(|not| not.image_tag != *tag);
            let fixed: Vec<String> = fixed.into_iter().filter(is_new).collect();
            let not_moved =
                fixed.into_iter().map(|image_tag| NotMoved { image_tag, reason: reason.to_owned() });
            image_tags_not_moved.extend(not_moved);
        }
        image_tags.sort_unstable();
        image_tags.dedup();
        let fingerprint = definition_fingerprint(definition);
        Self {
            repository_name: definition.repository.to_string(),
            image_tag: content_tag(definition.repository.as_str(), source, &fingerprint),
            definition: fingerprint,
            platforms: definition.platforms.clone(),
            image_tags,
            image_tags_not_moved,
            is_released,
            source: source.clone(),
            reference: reference.clone(),
            // S3 reports the same time with and without milliseconds.
            arrival: SourceOrder {
                at: Instant::from_micros(arrival.at.micros().div_euclid(1_000_000) * 1_000_000)
                    .unwrap_or(arrival.at),
                ..arrival.clone()
            },
        }
    }

    /// Why a context is not trusted, wherever it comes from; `None` if it is. Otherwise anybody who can pass one could give tags
    /// to any image, or block later images.
    #[must_use]
    pub fn doubt(&self, now: Instant) -> Option<ContextDoubt> {
        let Self { repository_name, source, definition, image_tag, .. } = self;
        if *image_tag != content_tag(repository_name, source, definition) {
            return Some(ContextDoubt::OtherTag {
                image_tag: image_tag.clone(),
                source_of_context: source.clone(),
                repository_name: repository_name.clone(),
            });
        }
        if let Some(tag) = self.image_tags.iter().find(|tag| reserved_prefix(tag).is_some()) {
            return Some(ContextDoubt::ReservedTag(tag.clone()));
        }
        is_future(&self.arrival, now).then_some(ContextDoubt::Future(self.arrival.at))
    }

    /// The tag that the build for one platform pushes.
    #[must_use]
    pub fn tag_for(&self, platform: Platform) -> String {
        match self.platforms.as_slice() {
            [_] => self.image_tag.clone(),
            _ => format!("{}-{}", self.image_tag, platform.processor()),
        }
    }

    /// The key of what is published by this build: source, definition, and every place that the image is for. One commit may be
    /// pushed as a branch and as a tag within a second, and an image that is there may be asked for with another tag.
    #[must_use]
    pub fn key(&self) -> String {
        let at = self.arrival.at.to_string();
        // Tags have no spaces.
        let tags = self.image_tags.join(" ");
        let is_released = if self.is_released { "released" } else { "" };
        let source = self.source.version();
        fingerprint(&[&self.repository_name, &self.image_tag, source, &at, &tags, is_released], 32)
    }

    /// Whether a build of this context makes the image of another one, and moves everything to it that the other would.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.repository_name == other.repository_name
            && self.image_tag == other.image_tag
            && (self.is_released || !other.is_released)
            && other.image_tags.iter().all(|tag| self.image_tags.contains(tag))
    }

    /// The context as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Whether a source claims to be of the future, by more than the maximum clock skew. No other source would ever be newer.
#[must_use]
pub fn is_future(arrival: &SourceOrder, now: Instant) -> bool {
    arrival.at.micros() > now.micros().saturating_add(MAX_CLOCK_SKEW_SECONDS * 1_000_000)
}

/// Maximum clock skew, in seconds. AWS rejects signatures after the same time.
const MAX_CLOCK_SKEW_SECONDS: i64 = 300;

/// The content tag: the same for the same files that are built in the same way into the same repository, and for nothing else.
#[must_use]
pub fn content_tag(repository_name: &str, source: &Source, definition: &str) -> String {
    format!("{CONTENT_PREFIX}{}", fingerprint(&[repository_name, &source.to_string(), definition], 40))
}

/// A fingerprint of everything in a definition that affects the image. Moving tags, the size of the machine and the cache are not
/// included.
fn definition_fingerprint(definition: &BuildDefinition) -> String {
    let platforms: Vec<&str> = definition.platforms.iter().map(|platform| platform.as_str()).collect();
    let platforms = platforms.join(",");
    let attestations = definition.profile.has_attestations().to_string();
    let mut parts = vec![
        definition.context.as_str(),
        definition.dockerfile.as_deref().unwrap_or_default(),
        definition.target.as_deref().unwrap_or_default(),
        &platforms,
        &attestations,
    ];
    for (kind, values) in [("arg", &definition.build_args), ("secret", &definition.secrets)] {
        parts.extend(values.iter().flat_map(|(name, value)| [kind, name.as_str(), value.as_str()]));
    }
    fingerprint(&parts, 40)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::repository::Name;

    fn definition() -> BuildDefinition {
        BuildDefinition::of(Name::parse("app").unwrap())
    }

    fn arrived(reference: Option<GitReference>) -> SourceUpdate {
        SourceUpdate {
            source: Source::CodeCommit { repository_name: "app".to_owned(), commit_id: "c".repeat(40) },
            reference,
            arrival: SourceOrder::at(Instant::parse("2026-11-23T10:00:00.123Z").unwrap()),
        }
    }

    fn branch(name: &str) -> Option<GitReference> {
        Some(GitReference::Branch(name.to_owned()))
    }

    #[test]
    fn only_what_is_released_is_the_latest() {
        let tags = |definition: &BuildDefinition, reference| {
            let context = BuildContext::new(definition, &arrived(reference));
            (context.image_tags.join(" "), context.is_released)
        };
        assert_eq!(tags(&definition(), branch("main")), ("latest main".to_owned(), true));
        assert_eq!(tags(&definition(), branch("feature/x")), ("feature-x".to_owned(), false));
        assert_eq!(tags(&definition(), None), ("latest".to_owned(), true));
        let tag = Some(GitReference::Tag("v1".to_owned()));
        assert_eq!(tags(&definition(), tag), ("v1".to_owned(), false));
        let trunk = BuildDefinition { default_branch: Some("trunk".to_owned()), ..definition() };
        assert_eq!(tags(&trunk, branch("main")), ("main".to_owned(), false));
        assert_eq!(tags(&trunk, branch("trunk")), ("latest trunk".to_owned(), true));
        let none = BuildDefinition { image_tags: Some(Vec::new()), ..definition() };
        assert_eq!(tags(&none, branch("main")), (String::new(), true));
    }

    #[test]
    fn no_name_of_a_branch_or_a_tag_takes_a_tag_that_is_not_for_it() {
        let in_use = format!("ecr-steward-in-use-{}", "0".repeat(64));
        let signature = format!("sha256-{}.sig", "0".repeat(64));
        let taken = [
            "latest",
            "/latest",
            "src-0",
            ".-src-x",
            "buildcache-amd64",
            "ecr-steward-x",
            &in_use,
            &signature,
        ];
        for name in taken {
            for reference in [GitReference::Branch(name.to_owned()), GitReference::Tag(name.to_owned())] {
                let context = BuildContext::new(&definition(), &arrived(Some(reference.clone())));
                assert_eq!(context.image_tags, [""; 0], "{reference:?}");
                let [not] = context.image_tags_not_moved.as_slice() else {
                    panic!("{reference:?}: {context:?}")
                };
                assert_eq!(not.image_tag, name.trim_start_matches(['/', '.', '-']));
            }
        }
        // Also where a template makes it of several parts, and whatever the definition calls its own.
        let tags = |tags: &[&str], reference| {
            let image_tags = tags.iter().map(|text| Template::parse(text).unwrap()).collect();
            BuildContext::new(
                &BuildDefinition { image_tags: Some(image_tags), ..definition() },
                &arrived(reference),
            )
            .image_tags
        };
        assert_eq!(tags(&["src{branch}"], branch("-1")), [""; 0]);
        assert_eq!(tags(&["stable", "{branch}"], branch("stable")), [""; 0]);
        assert_eq!(tags(&["stable", "{branch}-x"], branch("stable")), ["stable-x"]);
        // A tag that is named and does not move says why, unless nobody named it.
        let named = [Template::parse("stable").unwrap(), Template::parse("{branch}").unwrap()].to_vec();
        let named = BuildDefinition { image_tags: Some(named), ..definition() };
        let not_moved = BuildContext::new(&named, &arrived(branch("x"))).image_tags_not_moved;
        assert_eq!(not_moved.len(), 1, "{not_moved:?}");
        assert!(
            not_moved[0].image_tag == "stable" && not_moved[0].reason.contains("only what is released"),
            "{not_moved:?}"
        );
        assert_eq!(BuildContext::new(&definition(), &arrived(branch("x"))).image_tags_not_moved, []);
        // The default branch may be called as it likes.
        assert_eq!(tags(&["main", "{branch}"], branch("main")), ["main"]);
        let latest = BuildDefinition { default_branch: Some("latest".to_owned()), ..definition() };
        assert_eq!(BuildContext::new(&latest, &arrived(branch("latest"))).image_tags, ["latest"]);
    }

    #[test]
    fn the_content_tag_changes_with_what_is_built_and_with_nothing_else() {
        let tag = |definition: &BuildDefinition| BuildContext::new(definition, &arrived(None)).image_tag;
        let first = tag(&definition());
        assert!(first.starts_with("src-") && first.len() == 44, "{first}");
        let same = BuildDefinition {
            cache: false,
            compute_type: Some("BUILD_GENERAL1_LARGE"),
            image_tags: Some(Vec::new()),
            profile: crate::domain::builds::build_definition::Profile::Eks,
            ..definition()
        };
        assert_eq!(first, tag(&same));
        assert_eq!(first, BuildContext::new(&definition(), &arrived(branch("main"))).image_tag);
        let mut seen = std::collections::BTreeSet::from([first]);
        for other in [
            BuildDefinition::of(Name::parse("other").unwrap()),
            BuildDefinition { context: "web".to_owned(), ..definition() },
            BuildDefinition { dockerfile: Some("web".to_owned()), ..definition() },
            BuildDefinition { target: Some("web".to_owned()), ..definition() },
            BuildDefinition { build_args: [("a".to_owned(), "b".to_owned())].into(), ..definition() },
            BuildDefinition { build_args: [("ab".to_owned(), String::new())].into(), ..definition() },
            BuildDefinition { secrets: [("a".to_owned(), "b".to_owned())].into(), ..definition() },
            BuildDefinition { platforms: vec![Platform::Arm64], ..definition() },
            BuildDefinition { platforms: vec![Platform::Amd64, Platform::Arm64], ..definition() },
            BuildDefinition {
                profile: crate::domain::builds::build_definition::Profile::Lambda,
                ..definition()
            },
        ] {
            assert!(seen.insert(tag(&other)), "{other:?}");
        }
    }

    #[test]
    fn a_build_context_is_trusted_as_it_was_written_and_not_otherwise() {
        let now = Instant::parse("2026-11-23T10:00:00Z").unwrap();
        let context = BuildContext::new(&definition(), &arrived(branch("main")));
        assert_eq!(context.doubt(now), None);
        let other = Source::CodeCommit { repository_name: "app".to_owned(), commit_id: "d".repeat(40) };
        let later = Instant::parse("2999-01-01T00:00:00Z").unwrap();
        let in_use = format!("ecr-steward-in-use-{}", "0".repeat(64));
        for (changed, reason) in [
            (BuildContext { repository_name: "prod/web".to_owned(), ..context.clone() }, "is not the tag of"),
            (BuildContext { source: other, ..context.clone() }, "is not the tag of"),
            (BuildContext { image_tag: "src-1".to_owned(), ..context.clone() }, "is not the tag of"),
            (BuildContext { image_tag: "latest".to_owned(), ..context.clone() }, "is not the tag of"),
            (BuildContext { definition: String::new(), ..context.clone() }, "is not the tag of"),
            (BuildContext { image_tags: vec![in_use], ..context.clone() }, "is reserved"),
            (BuildContext { arrival: SourceOrder::at(later), ..context.clone() }, "is in the future"),
        ] {
            let doubt = changed.doubt(now).unwrap();
            assert!(doubt.to_string().contains(reason), "{doubt}");
        }
    }

    #[test]
    fn a_build_context_survives_its_journey() {
        let context = BuildContext::new(&definition(), &arrived(branch("main")));
        assert_eq!(serde_json::from_str::<BuildContext>(&context.to_json()).unwrap(), context);
    }
}
