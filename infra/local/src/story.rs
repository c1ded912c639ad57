//! The story that `cargo local demo` plays on the deployed stack. Every step is checked.

use crate::stack::Stack;
use crate::{LocalError, Project, say};

/// Plays the story.
///
/// # Errors
///
/// At the first step that comes out wrong.
pub fn play(project: &Project, stack: &Stack) -> Result<(), LocalError> {
    preview(project, stack)
}

/// A policy and images go to the preview function; an image in use stays, an old untagged one goes.
fn preview(project: &Project, stack: &Stack) -> Result<(), LocalError> {
    let step = "previewing a policy";
    let wrong = |problem: String| LocalError::Story { step: step.to_owned(), problem };
    let arn = stack
        .outputs
        .get("LifecyclePreviewFunctionArn")
        .ok_or_else(|| wrong("the stack has no output LifecyclePreviewFunctionArn".to_owned()))?;
    let event = project.root().join("tests/events/lifecycle-preview.json");
    let answer = stack.invoke(arn, &event, &project.run().join("answer.json"))?;
    let reasons = |list: &str| -> Vec<String> {
        let images = answer[list].as_array().cloned().unwrap_or_default();
        images.iter().map(|image| image["reason"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let (goes, stays) = (reasons("previewResults"), reasons("kept"));
    if answer["status"] != "COMPLETE" || goes.len() != 1 || stays.len() != 3 {
        return Err(wrong(format!("one image should go and three should stay; the answer is {answer}")));
    }
    if !stays.iter().any(|reason| reason.contains("in use")) {
        return Err(wrong(format!("an image in use should say so: {stays:?}")));
    }
    say(&format!("{step}: of {} images one goes", goes.len() + stays.len()));
    for reason in goes {
        say(&format!("  goes: {reason}"));
    }
    for reason in stays {
        say(&format!("  stays: {reason}"));
    }
    Ok(())
}
