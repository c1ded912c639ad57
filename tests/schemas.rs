//! JSON Schemas of files and reports: what the parsers take a schema takes, and what is of another shape both refuse.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jsonschema::Validator;
use serde_json::{Value, json};
use shared::domain::builds::build_config::BuildConfig;
use shared::domain::enforcement::policy_set::PolicySet;
use shared::domain::lifecycle::{Code, Finding, PolicySource};
use shared::domain::usage::Usage;
use shared::report::schema::{ALL, named};
use tests::binaries::{binary, fixture, workspace};

fn validator(name: &str) -> Validator {
    jsonschema::draft202012::new(&named(name).unwrap().value()).unwrap()
}

/// Findings that say that a document is of another shape, which a schema knows too. What entries demand of each other, and what
/// words mean, is beyond a schema.
const SHAPE: [Code; 20] = [
    Code::WrongType,
    Code::UnknownField,
    Code::NullValue,
    Code::MissingField,
    Code::UnknownValue,
    Code::NumberOutOfRange,
    Code::EmptyList,
    Code::EmptyString,
    Code::TooManyRules,
    Code::TagListMissing,
    Code::TagListUnexpected,
    Code::TagListConflict,
    Code::CountUnitMissing,
    Code::CountUnitUnexpected,
    Code::TargetMissing,
    Code::TargetUnexpected,
    Code::LimitMissing,
    Code::LimitConflict,
    Code::SelectionMissing,
    Code::SelectionConflict,
];

/// Compares what a parser and a schema say of a document; `true` if both said something about it.
fn agree(
    name: &str,
    validator: &Validator,
    document: &Value,
    read: Result<(), Vec<Finding>>,
    place: &str,
) -> bool {
    let taken = validator.is_valid(document);
    match read {
        Ok(()) => {
            let errors: Vec<String> =
                validator.iter_errors(document).map(|error| error.to_string()).collect();
            assert!(taken, "{place}: the schema {name} refuses what is valid: {errors:?}\n{document:#}");
            true
        }
        Err(findings) => {
            let of_shape = findings.iter().any(|finding| SHAPE.contains(&finding.code));
            // A word of a text is not a shape: the pattern of a host, the name of a role.
            let is_known = of_shape && findings.iter().all(|finding| SHAPE.contains(&finding.code));
            assert!(
                !(is_known && taken),
                "{place}: the schema {name} takes what is refused: {findings:?}\n{document:#}"
            );
            is_known
        }
    }
}

/// All documents below these folders, with their places.
fn documents(folders: &[&str]) -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if let Ok(text) = fs::read_to_string(&path) {
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    for folder in folders {
        walk(&workspace().join(folder), &mut found);
    }
    found
}

/// The documents of the documentation, which are of all three kinds.
fn blocks() -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    for (path, text) in
        documents(&["docs"]).into_iter().chain([(workspace().join("README.md"), String::new())])
    {
        let text = if text.is_empty() { fs::read_to_string(&path).unwrap() } else { text };
        let mut rest = text.as_str();
        while let Some((_, after)) = rest.split_once("```yaml\n") {
            let Some((block, after)) = after.split_once("\n```") else { break };
            blocks.push((path.display().to_string(), block.to_owned()));
            rest = after;
        }
    }
    blocks
}

fn value_of(text: &str) -> Option<Value> {
    let text = text.trim_start_matches('\u{feff}');
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_json::from_str(text).ok().or_else(|| serde_saphyr::from_str_with_options(text, options).ok())
}

#[test]
fn schemas_and_parsers_agree_about_every_file_there_is() {
    let (policy, policies, builds) = (validator("policy"), validator("policies"), validator("builds"));
    let mut counts = [0_usize; 3];
    let files = documents(&["infra/examples", "tests/fixtures/inputs/policies", "tests/fixtures/storefront"]);
    let texts = files.into_iter().map(|(path, text)| (path.display().to_string(), text)).chain(blocks());
    for (place, text) in texts {
        let Some(document @ Value::Object(_)) = value_of(&text) else { continue };
        if document.get("policies").is_some() {
            let read = PolicySet::parse(&text).map(|_| ());
            counts[0] += usize::from(agree("policies", &policies, &document, read, &place));
        } else if document.get("builds").is_some() {
            let read = BuildConfig::parse(&text).map(|_| ());
            counts[1] += usize::from(agree("builds", &builds, &document, read, &place));
        } else if document.get("rules").is_some()
            || document.get("lifecyclePolicy").is_some_and(Value::is_object)
        {
            let read = PolicySource::parse(&text).map(|_| ());
            counts[2] += usize::from(agree("policy", &policy, &document, read, &place));
        }
    }
    assert!(counts[0] > 5 && counts[1] > 2 && counts[2] > 20, "{counts:?}");
}

/// Changes of a document, one at a time: every field misspelled, left out, null, and of every other kind.
fn mutations(document: &Value) -> Vec<Value> {
    fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                    pointers(value, &at, found);
                    found.push(at);
                }
            }
            Value::Array(items) => {
                for (index, value) in items.iter().enumerate() {
                    let at = format!("{at}/{index}");
                    pointers(value, &at, found);
                    found.push(at);
                }
            }
            _ => {}
        }
    }
    let mut places = Vec::new();
    pointers(document, "", &mut places);
    let mut mutated = Vec::new();
    for place in places {
        let others = [
            json!(null),
            json!(true),
            json!(0),
            json!(1.5),
            json!(7),
            json!(-1),
            json!(""),
            json!("x y"),
            json!([]),
            json!({}),
            json!([""]),
            json!([7]),
            json!({ "x": 1 }),
        ];
        for other in others {
            let mut changed = document.clone();
            *changed.pointer_mut(&place).unwrap() = other;
            mutated.push(changed);
        }
        let (parent, name) = place.rsplit_once('/').unwrap();
        if let Some(Value::Object(fields)) = document.clone().pointer_mut(parent) {
            let name = name.replace("~1", "/").replace("~0", "~");
            let mut changed = document.clone();
            let value = fields.get(&name).cloned().unwrap();
            let fields = changed.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            fields.remove(&name);
            mutated.push(changed.clone());
            let fields = changed.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            fields.insert(format!("{name}x"), value);
            mutated.push(changed);
        }
    }
    mutated
}

#[test]
fn schemas_and_parsers_agree_about_every_small_mistake() {
    let simple = json!({ "rules": [
        { "description": "d", "selection": "untagged", "maximumAgeLimit": 14 },
        { "selection": { "tagPrefixList": ["ci-", "pr-"] }, "maximumNumberOfImages": 9, "action": "archive" },
        { "tagStatus": "tagged", "tagPatternList": ["v*"], "maximumDaysSincePull": 90, "action": "archive" },
        { "tagStatus": "any", "maximumDaysInArchive": 365 },
    ] });
    let document = json!({ "rules": [
        { "rulePriority": 1, "description": "d", "selection": { "tagStatus": "tagged", "tagPrefixList": ["ci-"],
            "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14 }, "action": { "type": "expire" } },
        { "rulePriority": 2, "selection": { "tagStatus": "untagged", "storageClass": "archive", "countType": "sinceImageTransitioned",
            "countUnit": "days", "countNumber": 100 }, "action": { "type": "expire" } },
        { "rulePriority": 3, "selection": { "tagStatus": "any", "countType": "sinceImagePulled", "countUnit": "days",
            "countNumber": 100 }, "action": { "type": "transition", "targetStorageClass": "archive" } },
    ] });
    let policies = json!({
        "policies": [
            { "name": "a", "repositories": ["prod/*"], "tags": { "team": "x" }, "rules": [{ "selection": "any", "maximumNumberOfImages": 9 }],
              "apply": "delete", "keep": { "inUse": true, "tags": ["latest"], "newest": 3, "pulledWithinDays": 30 },
              "limits": { "images": 5, "percent": 20, "remaining": 2 } },
            { "name": "b", "repositories": ["b"], "apply": "protect" },
        ],
        "usage": { "taskDefinitionRevisions": 5, "stacks": true, "accounts": ["210987654321"],
            "lists": [{ "key": "usage/a.json", "maximumAgeInHours": 6, "repositories": ["x/*"], "cluster": "c", "account": "210987654321" }],
            "ignore": [{ "source": "eks/old", "reason": "r", "until": "2027-01-01" }] },
        "limits": { "images": 100, "percent": 25 },
        "approve": "9f86d081884c7d65",
    });
    let builds = json!({ "builds": [
        { "repositoryName": "team/app", "context": ".", "dockerfile": "Dockerfile", "target": "runtime", "buildArgs": { "A": "1" },
          "secrets": { "npm": "stack/npm" }, "platforms": ["linux/arm64"], "imageTags": ["latest"], "defaultBranch": "main",
          "cache": true, "computeType": "BUILD_GENERAL1_SMALL", "profile": "ecs",
          "source": { "s3": { "key": "sources/app/*.zip" } } },
        { "repositoryName": "other", "source": { "codeCommit": { "repositoryName": "other", "branches": ["main"], "tags": ["v*"] } } },
    ] });
    let in_use =
        json!(["app:1", { "imageUri": "app:2", "usedBy": ["x"] }, format!("app@sha256:{}", "a".repeat(64))]);
    let mut compared = 0;
    for (name, document) in [
        ("policy", &simple),
        ("policy", &document),
        ("policies", &policies),
        ("builds", &builds),
        ("in-use", &in_use),
    ] {
        let validator = validator(name);
        for changed in [document.clone()].into_iter().chain(mutations(document)) {
            let text = changed.to_string();
            let read = match name {
                "policy" => PolicySource::parse(&text).map(|_| ()),
                "policies" => PolicySet::parse(&text).map(|_| ()),
                "builds" => BuildConfig::parse(&text).map(|_| ()),
                _ => Usage::parse(&text)
                    .map(|_| ())
                    .map_err(|error| vec![Finding::new(Code::WrongType, "", error.to_string())]),
            };
            compared += usize::from(agree(name, &validator, &changed, read, "a mutation"));
        }
    }
    assert!(compared > 500, "{compared}");
}

#[test]
fn what_is_printed_is_what_its_schema_says() {
    let policy = fixture("storefront/policy.yaml");
    let images = fixture("storefront/images.json");
    let output = Command::new(binary("ecr-steward"))
        .args(["preview", "--now", "2026-11-23", "--output", "json", "--all-passes", "--policy"])
        .arg(policy)
        .arg("--images")
        .arg(images)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let preview = validator("preview");
    let errors: Vec<String> = preview.iter_errors(&report).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    assert!(preview.is_valid(&json!([report])));
    assert!(!preview.is_valid(&json!({ "evaluatedAt": "now" })));
}

#[test]
fn the_schemas_in_the_documentation_are_those_that_the_program_prints() {
    let listed = Command::new(binary("ecr-steward")).arg("schema").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for schema in ALL {
        assert!(listed.contains(&format!("{:<16}{}", schema.name, schema.about)), "{listed}");
        let printed = Command::new(binary("ecr-steward")).args(["schema", schema.name]).output().unwrap();
        let file = workspace().join(format!("docs/schemas/{}.schema.json", schema.name));
        let kept = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            kept == String::from_utf8(printed.stdout).unwrap(),
            "ecr-steward schema {0} > docs/schemas/{0}.schema.json",
            schema.name
        );
        let value: Value = serde_json::from_str(&kept).unwrap();
        jsonschema::draft202012::meta::validate(&value).unwrap();
        assert!(value.get("description").or(value.get("title")).is_some(), "{}", schema.name);
    }
}
