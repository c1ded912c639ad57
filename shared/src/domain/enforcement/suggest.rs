//! Suggests a policies file from the images of repositories: rules for frequent kinds of tags, and what they would free.
//!
//! The suggestions are cautious: `apply: preview`; untagged images after a month; and builds, by tags with a counter, after three
//! months, except for the newest and those that were pulled recently. Tags that look like releases are never suggested to expire.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::domain::enforcement::policy_set::PolicySet;
use crate::domain::image::RepositoryImages;
use crate::domain::text::finding::Finding;
use crate::domain::text::quantity::{bytes, grouped};

/// Days after which an untagged image expires.
const UNTAGGED_DAYS: u32 = 30;
/// Days after which a build expires.
const BUILD_DAYS: u32 = 90;
/// Minimum number of images with tags of one kind in a repository for a rule to be suggested.
const MANY: usize = 20;
/// Number of the newest images that are kept.
const NEWEST: u32 = 10;
/// Images that were pulled within this number of days are kept.
const PULLED_DAYS: u32 = 30;
/// Maximum number of rules in a policy.
const MAX_RULES: usize = 8;
/// Prefixes of release tags, which are never suggested to expire.
const RELEASES: [&str; 8] = ["v", "release", "rel", "stable", "prod", "production", "latest", "version"];

/// A policy that is suggested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// Its name.
    pub name: String,
    /// Patterns of its repositories.
    pub repositories: Vec<String>,
    /// The prefixes of the tags of builds, each for a rule; the rule for what nothing names comes last.
    pub builds: Vec<String>,
}

/// What a rule would free, in all repositories of its policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Freed {
    /// The number of images.
    pub images: u64,
    /// Their sizes, added up.
    pub bytes: u64,
}

/// The prefixes of tags with a counter in a repository, each with its number of images.
#[must_use]
pub fn families(images: &RepositoryImages) -> BTreeMap<String, usize> {
    let mut families: BTreeMap<String, usize> = BTreeMap::new();
    for image in images.images() {
        let of_image: BTreeSet<&str> = image.tags.iter().filter_map(|tag| family(tag)).collect();
        for family in of_image {
            *families.entry(family.to_owned()).or_default() += 1;
        }
    }
    families.retain(|_, images| *images >= MANY);
    families
}

/// The prefix of a tag with a counter: `ci-` of `ci-1207-bba1f99`; `None` for `latest`, and for what looks like a release.
fn family(tag: &str) -> Option<&str> {
    let mut start = 0;
    for (at, separator) in tag.match_indices(['-', '_']) {
        let part = tag.get(start..at)?;
        // `1.2.3-rc1`, `v2-arm64`: what begins with a number is a version.
        if part.bytes().any(|byte| byte.is_ascii_digit()) {
            break;
        }
        start = at + separator.len();
    }
    let (prefix, rest) = (tag.get(..start)?, tag.get(start..)?);
    let first = rest.split(['-', '_', '.']).next().unwrap_or_default();
    let is_number = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit());
    let is_hash = first.len() >= 7 && first.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_release = RELEASES
        .iter()
        .any(|release| prefix.split(['-', '_']).any(|part| part.eq_ignore_ascii_case(release)));
    ((is_number || is_hash) && !prefix.is_empty() && !is_release && !rest.contains('.')).then_some(prefix)
}

/// Suggests policies: one for the repositories of each folder that have the same kinds of builds, and one for all others.
#[must_use]
pub fn suggest(repositories: &BTreeMap<String, BTreeMap<String, usize>>) -> Vec<Suggestion> {
    let mut folders: BTreeMap<String, BTreeMap<&str, usize>> = BTreeMap::new();
    for (name, families) in repositories.iter().filter(|(_, families)| !families.is_empty()) {
        let folder = name.split_once('/').map_or_else(|| name.clone(), |(folder, _)| format!("{folder}/*"));
        let all = folders.entry(folder).or_default();
        for (family, images) in families {
            *all.entry(family).or_default() += images;
        }
    }
    let mut by_builds: BTreeMap<Vec<String>, Vec<String>> = BTreeMap::new();
    for (folder, families) in folders {
        let mut families: Vec<(&str, usize)> = families.into_iter().collect();
        families.sort_by_key(|(_, images)| std::cmp::Reverse(*images));
        families.truncate(MAX_RULES);
        let mut builds: Vec<String> = families.into_iter().map(|(family, _)| family.to_owned()).collect();
        builds.sort();
        by_builds.entry(builds).or_default().push(folder);
    }
    let mut suggestions: Vec<Suggestion> = by_builds
        .into_iter()
        .map(|(builds, repositories)| {
            let of: Vec<&str> = builds.iter().map(|prefix| prefix.trim_end_matches(['-', '_'])).collect();
            Suggestion { name: format!("builds ({})", of.join(", ")), repositories, builds }
        })
        .collect();
    suggestions.push(Suggestion {
        name: "everything else".to_owned(),
        repositories: vec!["*".to_owned()],
        builds: Vec::new(),
    });
    suggestions
}

/// The policies file, with what each rule would take where that is known: by the policy's name, and the number of its rule.
#[must_use]
pub fn to_yaml(suggestions: &[Suggestion], freed: Option<&BTreeMap<(String, u64), Freed>>) -> String {
    let mut out = String::from(
        "# Suggested by `ecr-steward suggest` from the tags that are there. Nothing is deleted by it: `apply: preview`. Read what\n\
         # would expire by each rule, correct it, and say `apply: delete` where you agree. What is in use is kept whatever a rule says.\n\
         policies:\n",
    );
    for suggestion in suggestions {
        let list = |texts: &[String]| {
            let texts: Vec<String> = texts.iter().map(|text| serde_json::json!(text).to_string()).collect();
            format!("[{}]", texts.join(", "))
        };
        let _ = write!(
            out,
            "  - name: {}\n    repositories: {}\n    apply: preview\n    keep: {{ newest: {NEWEST}, pulledWithinDays: {PULLED_DAYS} }}\n    rules:\n",
            serde_json::json!(suggestion.name),
            list(&suggestion.repositories)
        );
        let builds = suggestion.builds.iter().map(|prefix| {
            format!(
                "{{ selection: {{ tagPrefixList: {} }}, maximumAgeLimit: {BUILD_DAYS} }}",
                list(std::slice::from_ref(prefix))
            )
        });
        let untagged = format!("{{ selection: untagged, maximumAgeLimit: {UNTAGGED_DAYS} }}");
        for (number, rule) in (1..).zip(builds.chain([untagged])) {
            let description =
                freed.map(|freed| freed.get(&(suggestion.name.clone(), number)).copied().unwrap_or_default());
            let description = match description {
                None => String::new(),
                Some(Freed { images: 0, .. }) => "   # expires nothing now".to_owned(),
                Some(Freed { images, bytes: size }) => {
                    format!("   # expires {} images now, {} at most", grouped(images), bytes(size))
                }
            };
            let _ = writeln!(out, "      - {rule}{description}");
        }
    }
    out
}

/// The suggestions as a run reads them.
///
/// # Errors
///
/// What is wrong with them, which should be nothing.
pub fn policy_set(suggestions: &[Suggestion]) -> Result<PolicySet, Vec<Finding>> {
    PolicySet::parse(&to_yaml(suggestions, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_are_distinguished_from_releases_by_their_tags() {
        for (tag, prefix) in [
            ("ci-1207-bba1f99", Some("ci-")),
            ("build_42", Some("build_")),
            ("sha-9fdfcb80a9a3", Some("sha-")),
            ("pr-17", Some("pr-")),
            ("feature-login-3", Some("feature-login-")),
            ("latest", None),
            ("v1.2.3", None),
            ("1.2.3-rc1", None),
            ("v-12", None),
            ("release-2026", None),
            ("prod-17", None),
            ("main", None),
            ("ci-1.2", None),
            ("9fdfcb80a9a3", None),
        ] {
            assert_eq!(family(tag), prefix, "{tag}");
        }
    }

    #[test]
    fn what_is_suggested_is_a_policies_file_by_which_nothing_is_deleted() {
        let repositories: BTreeMap<String, BTreeMap<String, usize>> = [
            ("shop/web", vec![("ci-", 40)]),
            ("shop/api", vec![("ci-", 30)]),
            ("base", vec![]),
            ("tools", vec![("pr-", 25), ("sha-", 99)]),
        ]
        .into_iter()
        .map(|(name, families)| {
            (
                name.to_owned(),
                families.into_iter().map(|(family, images)| (family.to_owned(), images)).collect(),
            )
        })
        .collect();
        let suggestions = suggest(&repositories);
        let freed =
            BTreeMap::from([(("builds (ci)".to_owned(), 1), Freed { images: 1200, bytes: 3_000_000_000 })]);
        insta::assert_snapshot!(to_yaml(&suggestions, Some(&freed)), @r#"
        # Suggested by `ecr-steward suggest` from the tags that are there. Nothing is deleted by it: `apply: preview`. Read what
        # would expire by each rule, correct it, and say `apply: delete` where you agree. What is in use is kept whatever a rule says.
        policies:
          - name: "builds (ci)"
            repositories: ["shop/*"]
            apply: preview
            keep: { newest: 10, pulledWithinDays: 30 }
            rules:
              - { selection: { tagPrefixList: ["ci-"] }, maximumAgeLimit: 90 }   # expires 1,200 images now, 3.0 GB at most
              - { selection: untagged, maximumAgeLimit: 30 }   # expires nothing now
          - name: "builds (pr, sha)"
            repositories: ["tools"]
            apply: preview
            keep: { newest: 10, pulledWithinDays: 30 }
            rules:
              - { selection: { tagPrefixList: ["pr-"] }, maximumAgeLimit: 90 }   # expires nothing now
              - { selection: { tagPrefixList: ["sha-"] }, maximumAgeLimit: 90 }   # expires nothing now
              - { selection: untagged, maximumAgeLimit: 30 }   # expires nothing now
          - name: "everything else"
            repositories: ["*"]
            apply: preview
            keep: { newest: 10, pulledWithinDays: 30 }
            rules:
              - { selection: untagged, maximumAgeLimit: 30 }   # expires nothing now
        "#);
        let set = policy_set(&suggestions).unwrap();
        assert!(
            set.entries()
                .iter()
                .all(|entry| entry.apply == crate::domain::enforcement::policy_set::Apply::Preview)
        );
    }
}
