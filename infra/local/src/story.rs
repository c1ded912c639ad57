//! The story that `cargo local demo` plays on the deployed stack. Every step is checked.

use std::collections::BTreeSet;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde_json::{Value, json};
use shared::domain::preview::example::Example;
use shared::domain::preview::model::KeptImage;
use shared::domain::preview::preview_all;
use shared::domain::text::quantity::{bytes, count};
use shared::report::html;

use crate::stack::{Answer, Stack};
use crate::{LocalError, Project, image, say, tools};

mod builds;
mod fleet;
mod restore;
mod terminal;

/// Timeout of everything that the story waits for: a build of a few kilobytes, a run over sixty repositories.
const PATIENCE: Duration = Duration::from_secs(180);
/// The stack that declares a repository.
const STACK: &str = "shop";
/// The stack that declares one which cannot be.
const FAILING: &str = "shop-fails";

/// The length of the story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The part that takes two minutes.
    Short,
    /// All of it.
    All,
}

/// A part of the story that needs none of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Repositories over HTTP and in templates.
    Repositories,
    /// Images that are built.
    Builds,
    /// The command line with the stack.
    Terminal,
    /// What was deleted, put back.
    Restore,
    /// Runs over a fleet of repositories, and other accounts.
    Fleet,
    /// Other accounts that may pull.
    Reporters,
}

/// Rows of each rule that a first result shows.
const ROWS: usize = 2;

/// Shows a first result: the preview that `ecr-steward demo` shows, by the same code in this program, so that nobody waits for the
/// command line and the AWS SDK to be compiled.
///
/// # Errors
///
/// When the preview comes out wrong, or its page cannot be written.
pub fn first(project: &Project) -> Result<(), LocalError> {
    let step = Step::begin(
        "a preview of a repository of 379 images: what its policy expires, and what is kept since it is in use",
    );
    let wrong = |problem: &dyn std::fmt::Display| LocalError::Unexpected {
        program: "the preview of tests/fixtures/storefront".to_owned(),
        problem: problem.to_string(),
    };
    let example = Example::read().map_err(|error| wrong(&error))?;
    let reports = preview_all(example.question(), &example.listing);
    let report = reports.first().ok_or_else(|| wrong(&"it has no repository"))?;
    let shown = |applied: u64| {
        let of_rule =
            report.preview_results.iter().filter(move |image| image.applied_rule_priority == applied);
        of_rule.take(ROWS)
    };
    for rule in
        report.preview_results.iter().map(|image| image.applied_rule_priority).collect::<BTreeSet<_>>()
    {
        for image in shown(rule) {
            let tag = image.image_tags.first().map_or("untagged", String::as_str);
            say(&format!("  {tag}: {}", image.reason));
        }
        say("  …");
    }
    let is_spared = |image: &&KeptImage| image.reason.contains("but it is in use");
    let spared: Vec<&KeptImage> = report.kept.iter().filter(is_spared).collect();
    step.check(!spared.is_empty(), || format!("images in use should be kept: {:?}", report.summary))?;
    for image in spared {
        let tag = image.image_tags.first().map_or("untagged", String::as_str);
        say(&format!("  {tag}: {}", image.reason));
    }
    let summary = &report.summary;
    say(&format!(
        "  Expire: {}. To the archive: {}. Kept: {}.",
        amount(summary.expiring_image_total_count, summary.expiring_image_size_in_bytes),
        amount(summary.transitioning_image_total_count(), summary.transitioning_image_size_in_bytes),
        amount(summary.kept_image_total_count, summary.kept_image_size_in_bytes)
    ));
    let page = project.root().join("target/local/demo.html");
    fs::create_dir_all(project.root().join("target/local"))
        .map_err(LocalError::io(page.display().to_string()))?;
    fs::write(&page, html::render(&reports)).map_err(LocalError::io(page.display().to_string()))?;
    say(&format!("  the same as a page: {}", page.display()));
    Ok(())
}

/// Images and their bytes, for people.
fn amount(images: u64, size_in_bytes: u64) -> String {
    format!("{}, {}", count(images, "image"), bytes(size_in_bytes))
}

/// Plays the story. What another one may have left, that was broken off on the same local AWS, is removed before.
///
/// # Errors
///
/// At the first step that comes out wrong.
pub fn play(project: &Project, stack: &Stack, extent: Extent, begun_before: bool) -> Result<(), LocalError> {
    begin(project, stack, begun_before)?;
    if extent == Extent::All {
        over_http(project, stack)?;
        declared(project, stack)?;
    }
    builds::play(project, stack, extent)?;
    if extent == Extent::All {
        terminal::play(project, stack)?;
        restore::play(project, stack)?;
    }
    preview(project, stack)?;
    fleet::play(project, stack, extent)
}

/// Plays one part, for those who change it.
///
/// # Errors
///
/// At the first step that comes out wrong.
pub fn play_part(project: &Project, stack: &Stack, part: Part, begun_before: bool) -> Result<(), LocalError> {
    begin(project, stack, begun_before)?;
    match part {
        Part::Repositories => over_http(project, stack).and_then(|()| declared(project, stack)),
        Part::Builds => builds::play(project, stack, Extent::All),
        Part::Terminal => terminal::play(project, stack),
        Part::Restore => restore::play(project, stack),
        Part::Fleet => fleet::play(project, stack, Extent::All),
        Part::Reporters => fleet::play_reporters(project, stack),
    }
}

/// Removes what another story may have left.
fn begin(project: &Project, stack: &Stack, begun_before: bool) -> Result<(), LocalError> {
    tools::debian(&["curl"])?;
    if !begun_before {
        return builds::forget(project);
    }
    clear(stack)?;
    builds::clear(project, stack)?;
    fleet::clear(stack)?;
    terminal::clear(stack)?;
    restore::clear(stack)
}

/// Deletes the stack. The policies that it attached are suspended first, since nothing protects images in use any more.
///
/// # Errors
///
/// At the first step that fails.
pub fn delete(stack: &Stack) -> Result<(), LocalError> {
    const NAME: &str = "team/left";
    let step = Step::begin("the stack is deleted: ECR goes on with no policy that it attached");
    let spec = json!({ "repositoryName": NAME });
    let created = step.expect(stack.request("POST", "/repositories", Some(&spec))?, 201)?;
    step.check(created["repository"]["lifecyclePolicyStatus"] == "ACTIVE", || created.to_string())?;
    let policy = || -> Result<String, LocalError> {
        let answer = stack.aws(&["ecr", "get-lifecycle-policy", "--repository-name", NAME])?;
        Ok(answer["lifecyclePolicyText"].as_str().unwrap_or_default().to_owned())
    };
    let before = policy()?;
    step.check(!fleet::protection::is_suspended(&before), || before)?;
    let left = stack.delete_itself()?;
    step.check(left.is_none(), || format!("the stack should be gone, and is {left:?}"))?;
    let after = policy()?;
    step.check(fleet::protection::is_suspended(&after), || {
        format!("the policy of {NAME} should take nothing: {after}")
    })?;
    say(&format!("  the policy of {NAME}, which stays, was suspended before"));
    Ok(())
}

/// Removes what a story that was broken off has left.
fn clear(stack: &Stack) -> Result<(), LocalError> {
    for name in ["team/app", "team/left"] {
        stack.request("DELETE", &format!("/repositories/{name}?force=true&inUse=true"), None)?;
    }
    stack.delete(FAILING)?;
    stack.delete(STACK).map(drop)
}

/// One step of the story.
struct Step(&'static str);

impl Step {
    fn begin(what: &'static str) -> Self {
        say(what);
        Self(what)
    }

    /// Asserts a condition.
    fn check(&self, is_so: bool, otherwise: impl FnOnce() -> String) -> Result<(), LocalError> {
        if is_so { Ok(()) } else { Err(LocalError::Story { step: self.0.to_owned(), problem: otherwise() }) }
    }

    fn expect(&self, answer: Answer, status: u16) -> Result<Value, LocalError> {
        self.check(answer.status == status, || {
            format!("{status} was expected, and the answer is {answer:?}")
        })?;
        Ok(answer.body)
    }
}

/// Asks until there is something.
fn until<T>(
    step: &Step,
    what: &str,
    mut ask: impl FnMut() -> Result<Option<T>, LocalError>,
) -> Result<T, LocalError> {
    let started = Instant::now();
    loop {
        if let Some(found) = ask()? {
            return Ok(found);
        }
        step.check(started.elapsed() < PATIENCE, || {
            format!("{what} did not come within {} s", PATIENCE.as_secs())
        })?;
        sleep(Duration::from_millis(300));
    }
}

/// A repository by one call; an image pushed to it; the image and the repository deleted.
fn over_http(project: &Project, stack: &Stack) -> Result<(), LocalError> {
    const NAME: &str = "team/app";
    let step = Step::begin("a repository by one line: POST /repositories {\"repositoryName\": \"team/app\"}");
    let spec = json!({ "repositoryName": NAME });
    let created = step.expect(stack.request("POST", "/repositories", Some(&spec))?, 201)?;
    let again = step.expect(stack.request("POST", "/repositories", Some(&spec))?, 200)?;
    step.check(created["repository"] == again["repository"], || {
        format!("asked for twice it should be one repository: {created} and {again}")
    })?;
    let uri = created["repository"]["repositoryUri"].as_str().unwrap_or_default().to_owned();
    for command in ["login", "tag", "push"] {
        say(&format!("  {}", created["commands"][command].as_str().unwrap_or_default()));
    }
    let policy = stack.aws(&["ecr", "get-lifecycle-policy", "--repository-name", NAME])?;
    let policy = policy["lifecyclePolicyText"].as_str().unwrap_or_default().to_owned();
    step.check(policy.contains("remove untagged images"), || {
        format!("the default policy is missing: {policy}")
    })?;

    let step = Step::begin("an image pushed to it by skopeo, seen by the AWS CLI");
    let layout = project.run().join("image");
    let digest = image::write(&layout, "hello")?;
    stack.push(&layout, &format!("{uri}:1.0"), &project.run())?;
    let images = stack.aws(&["ecr", "describe-images", "--repository-name", NAME])?;
    step.check(
        images.pointer("/imageDetails/0/imageDigest") == Some(&json!(digest))
            && images.pointer("/imageDetails/0/imageTags/0") == Some(&json!("1.0")),
        || format!("{digest} was pushed as 1.0; ECR has {images}"),
    )?;
    say(&format!("  {uri}@{digest}"));

    let step = Step::begin("tags made immutable by PUT /repositories/team/app");
    let spec = json!({ "imageTagMutability": "IMMUTABLE" });
    let changed = step.expect(stack.request("PUT", "/repositories/team/app", Some(&spec))?, 200)?;
    let fields: Vec<&Value> =
        changed["changes"].as_array().into_iter().flatten().map(|change| &change["field"]).collect();
    step.check(fields == ["imageTagMutability"], || format!("only that should change: {changed}"))?;

    let step = Step::begin("a bad policy is told with every finding, and changes nothing");
    let spec =
        json!({ "lifecyclePolicy": { "rules": [{ "selection": "untagged" }, { "maximumAgeLimit": 0 }] } });
    let problem = step.expect(stack.request("PUT", "/repositories/team/app", Some(&spec))?, 400)?;
    let findings = problem["findings"].as_array().cloned().unwrap_or_default();
    step.check(findings.len() == 3, || format!("three findings were expected: {problem}"))?;
    for finding in findings {
        say(&format!(
            "  {}: {}",
            finding["pointer"].as_str().unwrap_or_default(),
            finding["message"].as_str().unwrap_or_default()
        ));
    }

    let step = Step::begin("a repository with images is not deleted by mistake");
    let problem = step.expect(stack.request("DELETE", "/repositories/team/app", None)?, 409)?;
    let detail = problem["detail"].as_str().unwrap_or_default();
    step.check(detail.contains("1 image"), || format!("the count is missing: {problem}"))?;
    say(&format!("  {detail}"));
    let ids = json!({ "repositoryName": NAME, "imageIds": [{ "imageDigest": digest }] });
    let deleted = step.expect(stack.request("POST", "/images/delete", Some(&ids))?, 200)?;
    step.check(deleted.pointer("/imageIds/0/imageDigest") == Some(&json!(digest)), || deleted.to_string())?;
    step.expect(stack.request("DELETE", "/repositories/team/app", None)?, 204)?;
    step.expect(stack.request("GET", "/repositories/team/app", None)?, 404).map(drop)
}

/// A repository declared in a template: created, updated in place, replaced, rolled back, deleted.
fn declared(project: &Project, stack: &Stack) -> Result<(), LocalError> {
    let template = project.root().join("infra/examples/repository.yaml");
    let repository = |name: &str| -> Result<Value, LocalError> {
        let answer = stack.aws(&["ecr", "describe-repositories", "--repository-names", name])?;
        Ok(answer.pointer("/repositories/0").cloned().unwrap_or_default())
    };
    let name_of = |stack_name: &str| -> Result<String, LocalError> {
        let outputs = stack.describe(stack_name)?.map(|described| described.outputs).unwrap_or_default();
        Ok(outputs.get("RepositoryName").cloned().unwrap_or_default())
    };

    let step = Step::begin("a repository declared in CloudFormation: infra/examples/repository.yaml");
    let deploy = |step: &Step, parameters: &[(&str, &str)], expected: &str| -> Result<(), LocalError> {
        let status = stack.deploy(&template, STACK, parameters)?;
        step.check(status == expected, || format!("the stack should be {expected}, and is {status}"))
    };
    deploy(&step, &[], "CREATE_COMPLETE")?;
    let first = name_of(STACK)?;
    let created = repository(&first)?;
    step.check(first.starts_with("shop-web-") && created["repositoryName"] == first, || {
        format!("the stack should have a repository named after it: {first}, {created}")
    })?;
    // All tags can be moved but those that keep images in use.
    step.check(created["imageTagMutability"] == "MUTABLE_WITH_EXCLUSION", || {
        format!("its tags should be mutable: {created}")
    })?;
    let policy = stack.aws(&["ecr", "get-lifecycle-policy", "--repository-name", &first])?;
    step.check(policy.to_string().contains("remove untagged images"), || {
        format!("it should have the default policy: {policy}")
    })?;
    let policy = stack.aws(&["ecr", "get-repository-policy", "--repository-name", &first])?;
    step.check(policy.to_string().contains("lambda.amazonaws.com"), || {
        format!("Lambda should be allowed to pull: {policy}")
    })?;
    let arn = created["repositoryArn"].as_str().unwrap_or_default();
    let tags = stack.aws(&["ecr", "list-tags-for-resource", "--resource-arn", arn])?;
    step.check(tags.to_string().contains(r#""Key":"team","Value":"shop""#), || format!("its tags: {tags}"))?;
    say(&format!("  {first}"));

    let step = Step::begin("updated in place: ImageTagMutability=IMMUTABLE");
    deploy(&step, &[("ImageTagMutability", "IMMUTABLE")], "UPDATE_COMPLETE")?;
    let updated = repository(&first)?;
    step.check(updated["imageTagMutability"] == "IMMUTABLE", || updated.to_string())?;
    step.check(updated["createdAt"] == created["createdAt"], || {
        "it should be the same repository".to_owned()
    })?;

    let step = Step::begin("replaced: RepositoryName=shop/web");
    let named = [("RepositoryName", "shop/web"), ("ImageTagMutability", "IMMUTABLE")];
    deploy(&step, &named, "UPDATE_COMPLETE")?;
    step.check(name_of(STACK)? == "shop/web", || "the stack should have the new repository".to_owned())?;
    let gone = stack.aws_fails(&["ecr", "describe-repositories", "--repository-names", &first])?;
    step.check(gone.contains("RepositoryNotFoundException"), || {
        format!("the old one should be gone: {gone}")
    })?;

    let step = Step::begin("rolled back: another encryption of the same name cannot be");
    let encrypted = [("RepositoryName", "shop/web"), ("EncryptionType", "KMS")];
    deploy(&step, &encrypted, "UPDATE_ROLLBACK_COMPLETE")?;
    let events = stack.aws(&["cloudformation", "describe-stack-events", "--stack-name", STACK])?;
    let reason = events["StackEvents"].as_array().into_iter().flatten().find_map(|event| {
        let reason = event["ResourceStatusReason"].as_str()?;
        reason.contains("encryption of shop/web").then(|| reason.to_owned())
    });
    step.check(reason.is_some(), || format!("the reason should be told: {events}"))?;
    say(&format!("  {}", reason.unwrap_or_default()));
    let after = repository("shop/web")?;
    step.check(after["imageTagMutability"] == "IMMUTABLE", || format!("it should be as before: {after}"))?;

    let step = Step::begin("a creation that fails leaves nothing: RepositoryName=Shop");
    let repositories = || stack.aws_lists(&["ecr", "describe-repositories"], "/repositories");
    let before = repositories()?;
    let status = stack.deploy(&template, FAILING, &[("RepositoryName", "Shop")])?;
    step.check(status == "ROLLBACK_COMPLETE", || {
        format!("the stack should be rolled back, and is {status}")
    })?;
    let all = repositories()?;
    step.check(all == before, || format!("there should be the same repositories: {before:?}, {all:?}"))?;
    stack.delete(FAILING)?;

    let step = Step::begin("deleted with its stack");
    let left = stack.delete(STACK)?;
    step.check(left.is_none(), || format!("the stack is {left:?}"))?;
    let gone = stack.aws_fails(&["ecr", "describe-repositories", "--repository-names", "shop/web"])?;
    step.check(gone.contains("RepositoryNotFoundException"), || format!("it should be gone: {gone}"))
}

/// The preview function with a policy and images: an image in use is kept, an old untagged one expires.
fn preview(project: &Project, stack: &Stack) -> Result<(), LocalError> {
    let step = Step::begin("previewing a policy");
    let arn = stack.output("LifecyclePreviewFunctionArn")?;
    let event = project.root().join("tests/events/lifecycle-preview.json");
    let answer = stack.invoke(arn, &event, &project.run().join("answer.json"))?;
    let reasons = |list: &str| -> Vec<String> {
        let images = answer[list].as_array().cloned().unwrap_or_default();
        images.iter().map(|image| image["reason"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let (goes, stays) = (reasons("previewResults"), reasons("kept"));
    step.check(answer["status"] == "COMPLETE" && goes.len() == 1 && stays.len() == 3, || {
        format!("one image should expire and three should be kept; the answer is {answer}")
    })?;
    step.check(stays.iter().any(|reason| reason.contains("in use")), || {
        format!("an image in use should say so: {stays:?}")
    })?;
    for reason in goes {
        say(&format!("  expires: {reason}"));
    }
    for reason in stays {
        say(&format!("  kept: {reason}"));
    }
    Ok(())
}
