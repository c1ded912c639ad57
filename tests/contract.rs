//! What `template.yaml` and `infra/openapi.yaml` say, against each other and against what the code does.

use std::collections::BTreeSet;

use serde_json::Value;
use shared::aws::resource_tags::{PROTECT_KEY, created_on_push};
use shared::domain::enforcement::in_use_protection::protected;
use shared::domain::enforcement::outcome::{ImageResult, Status};
use shared::domain::enforcement::run::Run;
use shared::domain::enforcement::suspension::Cause;
use shared::domain::lifecycle::{LifecyclePolicy, PolicySource};
use shared::domain::repository::{PolicyStatus, ProtectedPolicy, protection, read};
use shared::domain::text::instant::Instant;
use shared::report::run::{self, Builder};
use shared::workflows::enforcement::suspend::{self, Summary};
use tests::binaries::workspace;
use tests::template;

#[test]
fn the_description_and_the_template_have_the_same_routes() {
    let text = std::fs::read_to_string(workspace().join("infra/openapi.yaml")).unwrap();
    let description: Value = serde_saphyr::from_str(&text).unwrap();
    let mut described = std::collections::BTreeSet::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            // The gateway's way to say that the name has slashes.
            described.insert((method.to_uppercase(), path.replace("{name}", "{name+}")));
        }
    }
    assert_eq!(described, template::routes());
}

#[test]
fn what_is_done_by_naming_a_repository_in_the_body_can_be_done_by_a_path_and_be_switched_off() {
    let mut routes = template::conditional_routes("HasUnscopedRoutes");
    // Where there are no builds there is nothing of theirs to switch off.
    routes.extend(template::conditional_routes("HasUnscopedBuildRoutes"));
    let both = "HasUnscopedBuildRoutes: !And [!Condition HasBuilds, !Condition HasUnscopedRoutes]";
    assert!(std::fs::read_to_string(workspace().join("template.yaml")).unwrap().contains(both));
    let unscoped = [
        ("POST", "/builds"),
        ("POST", "/images/delete"),
        ("POST", "/images/restore"),
        ("POST", "/previews"),
        ("POST", "/repositories"),
    ];
    let as_pairs = |(method, path): (&str, &str)| (method.to_owned(), path.to_owned());
    assert_eq!(routes, unscoped.map(as_pairs).into());
    let all = template::routes();
    for path in ["/builds", "/deletions", "/restorations", "/previews", "/repositories"] {
        assert!(all.contains(&("POST".to_owned(), format!("{path}/{{name+}}"))), "{path}");
    }
    // What else there is names the repository in its path, or none.
    let others = all.difference(&routes).filter(|(_, path)| !path.ends_with("/{name+}"));
    assert_eq!(others.collect::<Vec<_>>(), [&as_pairs(("GET", "/repositories"))]);
}

#[test]
fn the_description_has_every_kind_of_problem_with_its_status() {
    let text = std::fs::read_to_string(workspace().join("infra/openapi.yaml")).unwrap();
    let description: Value = serde_saphyr::from_str(&text).unwrap();
    let statuses: Vec<&String> = description["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|item| item.as_object().unwrap().values())
        .filter_map(|operation| operation["responses"].as_object())
        .flat_map(|responses| responses.keys())
        .collect();
    for kind in shared::handlers::http::Kind::ALL {
        let status = kind.status().to_string();
        // A wrong method or path is no operation of the description.
        let is_general = matches!(kind.status(), 405) || kind.name() == "no-such-path";
        assert!(is_general || statuses.contains(&&status), "{}", kind.name());
    }
}

#[test]
fn the_description_has_every_status_of_a_lifecycle_policy() {
    let text = std::fs::read_to_string(workspace().join("infra/openapi.yaml")).unwrap();
    let description: Value = serde_saphyr::from_str(&text).unwrap();
    let statuses = [
        PolicyStatus::Active,
        PolicyStatus::Unprotected,
        PolicyStatus::Suspended { since: None, is_of_policies_file: false },
        PolicyStatus::PoliciesFile,
    ];
    let field = &description["components"]["schemas"]["Repository"]["properties"]["lifecyclePolicyStatus"];
    assert_eq!(field["enum"], serde_json::json!(statuses.each_ref().map(PolicyStatus::as_str)));
    for status in statuses {
        assert_eq!(status.reason().is_none(), status == PolicyStatus::Active, "{}", status.as_str());
    }
}

#[test]
fn repositories_created_by_a_push_have_the_default_policy_behind_the_protection_rule_and_are_found_by_runs() {
    let block = template::block("CreateOnPushTemplate");
    let folded: Vec<&str> = block
        .iter()
        .map(|line| line.trim())
        .skip_while(|line| *line != "LifecyclePolicy: >-")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .collect();
    // A template can be nothing but JSON behind it; what is left of the block are other properties.
    let end = folded.iter().position(|line| line.ends_with("]}")).unwrap();
    let policy = LifecyclePolicy::parse(&folded[..=end].join(" ")).unwrap();
    let default = PolicySource::parse("{}").unwrap().policy().unwrap().clone();
    assert_eq!(policy, protected(&default).unwrap());
    let spec = read::body("{}").unwrap().settings;
    assert_eq!(Some(&policy), spec.lifecycle_policy.as_ref().map(ProtectedPolicy::document));
    let value = |name: &str| {
        let mut lines = block.iter().map(|line| line.trim().trim_start_matches("- "));
        lines.find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap().to_owned()
    };
    assert_eq!(value("ImageTagMutability"), spec.tag_mutability.as_str());
    assert_eq!([value("ImageTagMutabilityExclusionFilterValue")][..], spec.tag_mutability.exclusions[..]);
    // No record says so: they bear the tag that asks runs for protection, and ECR tags only in the name of a role.
    let of_template = format!("!Sub \"{}\"", created_on_push("${AWS::StackName}"));
    assert_eq!((value("Key"), value("Value")), (PROTECT_KEY.to_owned(), of_template));
    let document = protection::created_on_push().unwrap().document().clone();
    assert_eq!(document, policy, "by its policy a run knows that it is as it was made");
    assert_eq!(value("CustomRoleArn"), "!GetAtt CreateOnPushRole.Arn");
    let actions = template::ecr_actions("CreateOnPushRole");
    assert_eq!(actions.into_iter().collect::<Vec<_>>(), ["CreateRepository", "TagResource"]);
}

#[test]
fn those_who_pull_are_allowed_a_pull_and_nothing_else() {
    let actions = template::ecr_actions("PullPolicy");
    let pull =
        ["BatchCheckLayerAvailability", "BatchGetImage", "GetAuthorizationToken", "GetDownloadUrlForLayer"];
    assert_eq!(actions.into_iter().collect::<Vec<_>>(), pull);
}

#[test]
fn an_object_of_the_journal_is_written_once() {
    let mut writers = 0;
    for resource in template::resources() {
        let block = template::block(&resource);
        for statement in template::statements(&block) {
            let text = statement.join("\n");
            if !text.contains("s3:PutObject") || !text.contains("${SourceBucket.Arn}/journal/") {
                continue;
            }
            writers += 1;
            assert_eq!(
                text.matches("${SourceBucket.Arn}/").count(),
                1,
                "{resource}: nothing but the journal: {text}"
            );
            let is_denied = text.contains("Effect: Deny");
            let condition = format!("\"Null\":\n s3:if-none-match: \"{is_denied}\"");
            let words: Vec<&str> = text.split_whitespace().collect();
            let expected: Vec<&str> = condition.split_whitespace().collect();
            assert!(words.windows(expected.len()).any(|part| part == expected), "{resource}: {text}");
        }
    }
    // Four functions, and everybody else.
    assert_eq!(writers, 5);
}

#[test]
fn no_role_reaches_all_objects_of_the_bucket() {
    for resource in template::resources().into_iter().filter(|resource| resource != "SourceBucketPolicy") {
        let text = template::block(&resource).join("\n");
        assert!(!text.contains("${SourceBucket.Arn}/*"), "{resource}");
    }
}

#[test]
fn versions_of_the_policies_file_outlive_the_journal() {
    let rules = template::block("SourceBucket").join("\n");
    let rules: Vec<&str> = rules.split("- Id: ").skip(1).collect();
    let of = |prefix: &str| -> Vec<&str> {
        let applies = |rule: &&&str| {
            let own = rule.lines().find_map(|line| line.trim().strip_prefix("Prefix: "));
            own.is_none_or(|own| prefix.starts_with(own))
        };
        rules.iter().filter(applies).copied().collect()
    };
    let days = |rules: &[&str], name: &str| -> Option<u32> {
        let all =
            rules.iter().flat_map(|rule| rule.lines()).filter_map(|line| line.trim().strip_prefix(name));
        all.map(|days| days.trim_start_matches(": ").parse().unwrap()).min()
    };
    let journal = of("journal/");
    let lasts = days(&journal, "ExpirationInDays").unwrap() + days(&journal, "NoncurrentDays").unwrap();
    let file = of("policies.yaml");
    assert_eq!(days(&file, "ExpirationInDays"), None);
    // A run goes on for a day with the version that it began with.
    assert!(days(&file, "NoncurrentDays").unwrap() > lasts);
    for prefix in [
        "sources/",
        "uploads/",
        "usage/",
        "cache/",
        "state/",
        "ledgers/",
        "outcomes/",
        "runs/",
        "reports/",
        "builds.yaml",
    ] {
        assert_eq!(days(&of(prefix), "NoncurrentDays"), Some(90), "{prefix}");
    }
}

/// The metrics of the project that the template's alarms and its dashboard show.
fn metrics_of_the_template() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for resource in template::resources() {
        let block = template::block(&resource);
        let value = |key: &str| {
            let start = format!("{key}: ");
            block.iter().find_map(|line| line.trim_start().strip_prefix(&start)).map(str::to_owned)
        };
        if value("Namespace").as_deref() == Some("ecr-steward") {
            found.extend(value("MetricName"));
        }
    }
    // In a list of the dashboard "." stands for what the line before has.
    let mut namespace = String::new();
    for line in template::block("LifecycleDashboard") {
        let words: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        if let [first, metric, _, ..] = words[..]
            && line.trim_start().starts_with('[')
        {
            if first != "." {
                first.clone_into(&mut namespace);
            }
            if namespace == "ecr-steward" {
                found.insert(metric.to_owned());
            }
        }
    }
    found
}

#[test]
fn alarms_and_the_dashboard_show_metrics_that_are_written() {
    let found = metrics_of_the_template();
    for metric in ["ImagesProtectedByUse", "RunsCompleted", "StaleProtection", "UnreadableUsageSources"] {
        assert!(found.contains(metric), "{metric}: {found:?}");
    }
    let now = Instant::from_micros(0).unwrap();
    let run = Run {
        run_id: "r".to_owned(),
        started_at: now,
        started_by: None,
        dry_run: false,
        protect_only: false,
        dry_run_reason: None,
        attempt: String::new(),
        policies_file_version: None,
        policies_file_hash: None,
        policies_file_problem: None,
    };
    let stale = Cause::StaleProtection { maximum_age_in_hours: 48 };
    let lines = [
        run::metrics(&Builder::new(run, now).finish(), "steward"),
        suspend::metrics(&Summary::default(), &stale, "steward", now),
    ];
    let written: BTreeSet<String> = lines.iter().flat_map(|line| names_of_metrics(line)).collect();
    assert!(found.is_subset(&written), "nothing writes these metrics: {:?}", found.difference(&written));
}

/// The names of the metrics in a line of CloudWatch's embedded metric format.
fn names_of_metrics(line: &str) -> Vec<String> {
    let line: Value = serde_json::from_str(line).unwrap();
    let metrics = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap();
    metrics.iter().map(|metric| metric["Name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn reports_of_earlier_versions_are_read_with_the_names_that_they_have() {
    let read = |name: &str| serde_json::from_value::<ImageResult>(name.into()).unwrap();
    assert_eq!(read("HELD_BACK"), ImageResult::Blocked);
    assert_eq!(serde_json::to_value(ImageResult::Blocked).unwrap(), "BLOCKED");
    let read = |name: &str| serde_json::from_value::<Status>(name.into()).unwrap();
    assert_eq!(
        [read("HELD"), read("REMAINING"), read("GONE")],
        [Status::Blocked, Status::Unfinished, Status::RepositoryDeleted]
    );
}

/// Words of this project's history that nobody else uses so.
const UNUSUAL_WORDS: [&str; 12] = [
    "book",
    "desk",
    "goes by",
    "held back",
    "image goes",
    "images that go",
    "is told with",
    "policy book",
    "recipe",
    "taken back",
    "ticket",
    "what goes",
];

#[test]
fn the_template_and_the_description_of_the_api_are_plain() {
    for file in [
        "template.yaml",
        "infra/usage-reporter.yaml",
        "infra/openapi.yaml",
        "infra/buildspec.yml",
        "infra/lifecycle.asl.json",
    ] {
        let text = std::fs::read_to_string(workspace().join(file)).unwrap().to_lowercase();
        assert!(text.len() > 1000);
        for word in UNUSUAL_WORDS {
            let is_there = text.match_indices(word).any(|(at, _)| {
                let is_letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
                !is_letter(text[..at].chars().next_back())
                    && !is_letter(text[at + word.len()..].chars().next())
            });
            assert!(!is_there, "{file} says {word:?}");
        }
    }
}
