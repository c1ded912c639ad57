//! The settings of a repository that is created for its first build.

use serde_json::json;

use super::tags::{CACHE_PREFIX, CONTENT_PREFIX};
use crate::domain::lifecycle::SimplePolicy;
use crate::domain::repository::{Settings, read};
use crate::domain::text::finding::Finding;

/// Days after which an unused build cache expires.
const CACHE_DAYS: u32 = 30;

/// The settings of a repository that is created for its first build.
///
/// Tags that name a source are immutable. Build caches expire, in addition to what the default policy of every repository removes
/// ([`SimplePolicy::default`]).
///
/// # Errors
///
/// None in practice: a unit test reads these settings. The findings would be those of the request that they are read from.
pub fn repository_defaults() -> Result<Settings, Vec<Finding>> {
    let caches = json!({
        "description": "remove caches of builds that nobody runs any more",
        "selection": { "tagPatternList": [format!("{CACHE_PREFIX}*")] },
        "maximumAgeLimit": CACHE_DAYS,
    });
    let default = SimplePolicy::default();
    let rules: Vec<_> = [caches].into_iter().chain(default.rules().iter().map(|rule| json!(rule))).collect();
    let request = json!({
        "imageTagMutability": "MUTABLE_WITH_EXCLUSION",
        "imageTagMutabilityExclusionFilters": [format!("{CONTENT_PREFIX}*")],
        "lifecyclePolicy": { "rules": rules },
    });
    read::body(&request.to_string()).map(|spec| spec.settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::repository::protection::created_on_push;

    #[test]
    fn repositories_of_builds_protect_what_names_a_source_and_forget_caches() {
        let settings = repository_defaults().unwrap();
        assert_eq!(
            settings.tag_mutability.exclusions,
            [format!("{CONTENT_PREFIX}*"), "ecr-steward-*".to_owned()]
        );
        assert_eq!(settings.tag_mutability.as_str(), "MUTABLE_WITH_EXCLUSION");
        let policy = settings.lifecycle_policy.unwrap();
        let text = policy.document().to_json();
        assert!(text.contains("ecr-steward-in-use-"), "{text}");
        let [caches, rest @ ..] = policy.policy().rules() else { panic!("{text}") };
        assert!(caches.to_string().contains(&format!("{CACHE_PREFIX}*")), "{caches}");
        let default = created_on_push().unwrap();
        let described = |rules: &[crate::domain::lifecycle::Rule]| -> Vec<String> {
            rules
                .iter()
                .map(|rule| format!("{:?} {:?} {:?}", rule.tags, rule.limit, rule.description))
                .collect()
        };
        assert_eq!(
            described(rest),
            described(default.policy().rules()),
            "the default policy is in one place"
        );
    }
}
