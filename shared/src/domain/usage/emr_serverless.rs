//! Amazon EMR Serverless: the images of applications, and those that unfinished job runs and interactive sessions run.
//!
//! An application may be changed while its jobs run, so that a job may run an image that the application names no more. Jobs report
//! the digest that they run; sessions do not.

use serde::Deserialize;
use serde_json::Value;

use super::source::{ImageNotNamed, Reading, UsageSource, When};
use crate::domain::image::reference::ImageReference;
use crate::domain::text::instant::Instant;

/// Amazon EMR Serverless.
pub const SOURCE: UsageSource = UsageSource {
    name: "emr-serverless",
    title: "Amazon EMR Serverless",
    service: Some("emr-serverless"),
    actions: &[
        "emr-serverless:GetApplication",
        "emr-serverless:GetJobRun",
        "emr-serverless:ListApplications",
        "emr-serverless:ListJobRuns",
        "emr-serverless:ListSessions",
    ],
    blocks: true,
    when: When::OnceARun,
    calls: "1 for each 50 applications, 2 for each, 1 for each unfinished job run, and 1 for each 50 unfinished sessions",
};

/// The states of job runs that may start workers.
pub const UNFINISHED_JOB_RUNS: [&str; 6] =
    ["SUBMITTED", "PENDING", "SCHEDULED", "RUNNING", "CANCELLING", "QUEUED"];

/// The states of sessions that may start workers.
pub const UNFINISHED_SESSIONS: [&str; 6] =
    ["SUBMITTED", "STARTING", "STARTED", "IDLE", "BUSY", "TERMINATING"];

/// An image as EMR Serverless describes it.
struct Image<'a> {
    /// Its address, by tag or digest.
    uri: &'a str,
    /// The digest that the address was resolved to.
    digest: Option<&'a str>,
}

/// Whether an application in the answer of `ListApplications` may start workers again.
#[must_use]
pub fn is_there(summary: &Value) -> bool {
    summary["state"] != "TERMINATED"
}

/// The ID of an application or a job run in the answer of a list.
///
/// # Errors
///
/// If there is none.
pub fn id<'a>(operation: &'static str, summary: &'a Value) -> Result<&'a str, ImageNotNamed> {
    let user = || summary["arn"].as_str().unwrap_or("something without an ARN").to_owned();
    summary["id"].as_str().ok_or_else(|| ImageNotNamed { operation, user: user() })
}

/// Adds what an application uses, from the answer of `GetApplication`: the image that new jobs get, and the one that its tag was
/// resolved to when it was started.
///
/// # Errors
///
/// If the answer describes no application, or an image without its address.
pub fn add_application(answer: &Value, arn: &str, reading: &mut Reading) -> Result<(), ImageNotNamed> {
    let application = &answer["application"];
    for image in images("GetApplication", application, arn)? {
        reading.add(&[image.uri.to_owned()], arn);
        if let Some(digest) = image.digest {
            add_digest(&image, digest, arn, reading);
        }
    }
    Ok(())
}

/// Whether an application, in the answer of `GetApplication`, may have interactive sessions of an image.
#[must_use]
pub fn may_have_sessions(answer: &Value) -> bool {
    answer["application"]["interactiveConfiguration"]["sessionEnabled"] == true
}

/// Adds what a job run uses, from the answer of `GetJobRun`.
///
/// # Errors
///
/// If the answer describes no job run, or an image without its address.
pub fn add_job_run(answer: &Value, arn: &str, reading: &mut Reading) -> Result<(), ImageNotNamed> {
    let job_run = &answer["jobRun"];
    for image in images("GetJobRun", job_run, arn)? {
        match image.digest {
            Some(digest) => add_digest(&image, digest, arn, reading),
            None => reading.add_resolved_at(image.uri, arn, updated_at(job_run)),
        }
    }
    Ok(())
}

/// Adds what a session in the answer of `ListSessions` uses: an image that its application named when it was started.
///
/// # Errors
///
/// As [`add_application`], whose answer it takes.
pub fn add_session(application: &Value, session: &Value, reading: &mut Reading) -> Result<(), ImageNotNamed> {
    let arn = session["arn"].as_str().unwrap_or("a session without an ARN");
    for image in images("GetApplication", &application["application"], arn)? {
        reading.add_resolved_at(image.uri, arn, updated_at(session));
    }
    Ok(())
}

/// When a job run or a session was changed, which it was after its image was resolved; `None` if the time is not understood.
fn updated_at(described: &Value) -> Option<Instant> {
    Instant::deserialize(&described["updatedAt"]).ok()
}

/// The images of an application or a job run: that of all workers, and those of kinds of workers.
fn images<'a>(
    operation: &'static str,
    described: &'a Value,
    user: &str,
) -> Result<Vec<Image<'a>>, ImageNotNamed> {
    let not_named = || ImageNotNamed { operation, user: user.to_owned() };
    if !described.is_object() {
        return Err(not_named());
    }
    let of_workers =
        described["workerTypeSpecifications"].as_object().into_iter().flat_map(|kinds| kinds.values());
    let all = [described].into_iter().chain(of_workers).map(|one| &one["imageConfiguration"]);
    all.filter(|configuration| !configuration.is_null())
        .map(|configuration| {
            let uri = configuration["imageUri"].as_str().ok_or_else(not_named)?;
            Ok(Image { uri, digest: configuration["resolvedImageDigest"].as_str() })
        })
        .collect()
}

/// Adds an image by the digest that its address was resolved to.
fn add_digest(image: &Image<'_>, digest: &str, used_by: &str, reading: &mut Reading) {
    let repository = match ImageReference::parse_exact(image.uri) {
        Ok(reference) => ImageReference { tag: None, digest: None, ..reference }.to_string(),
        // Which is reported as what it is.
        Err(_) => image.uri.to_owned(),
    };
    reading.add(&[format!("{repository}@{digest}")], used_by);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn digest(letter: &str) -> String {
        format!("sha256:{}", letter.repeat(64))
    }

    fn used(reading: &Reading) -> Vec<String> {
        reading.used.iter().map(|one| one.reference.to_string()).collect()
    }

    #[test]
    fn an_application_uses_what_it_names_and_what_its_tags_meant_when_it_was_started() {
        let answer = json!({ "application": {
            "imageConfiguration": { "imageUri": "r.example/spark:1", "resolvedImageDigest": digest("a") },
            "workerTypeSpecifications": {
                "Driver": { "imageConfiguration": { "imageUri": "r.example/driver:1" } },
                "Executor": {} } } });
        let mut reading = Reading::default();
        add_application(&answer, "arn", &mut reading).unwrap();
        let expected = [
            "r.example/spark:1".to_owned(),
            format!("r.example/spark@{}", digest("a")),
            "r.example/driver:1".to_owned(),
        ];
        assert_eq!(used(&reading), expected);
        assert_eq!((reading.unknown.len(), reading.problems.len()), (0, 0));
        assert!(!may_have_sessions(&answer));
        let mut without = Reading::default();
        add_application(&json!({ "application": { "state": "STARTED" } }), "arn", &mut without).unwrap();
        assert_eq!(without, Reading::default());
        for answer in [json!({}), json!({ "application": { "imageConfiguration": {} } })] {
            assert!(add_application(&answer, "arn", &mut Reading::default()).is_err(), "{answer}");
        }
    }

    #[test]
    fn a_job_run_uses_the_digest_that_it_reports_and_otherwise_it_is_unknown() {
        let job = |configuration: Value| json!({ "jobRun": { "updatedAt": 1_790_000_000, "imageConfiguration": configuration } });
        let mut reading = Reading::default();
        let by_digest = json!({ "imageUri": "r.example/spark:1", "resolvedImageDigest": digest("b") });
        add_job_run(&job(by_digest), "arn", &mut reading).unwrap();
        assert_eq!(used(&reading), [format!("r.example/spark@{}", digest("b"))]);
        assert!(reading.unknown.is_empty());
        let mut reading = Reading::default();
        add_job_run(&job(json!({ "imageUri": "r.example/spark:1" })), "arn", &mut reading).unwrap();
        assert_eq!(reading.unknown[0].started_at, Instant::from_micros(1_790_000_000_000_000));
        let mut reading = Reading::default();
        let invalid = json!({ "imageUri": "r.example/spark:1", "resolvedImageDigest": "sha256:short" });
        add_job_run(&job(invalid), "arn", &mut reading).unwrap();
        assert_eq!(reading.problems.len(), 1, "{reading:?}");
    }

    #[test]
    fn of_a_session_it_is_unknown_what_its_applications_tag_meant() {
        let application = json!({ "application": { "interactiveConfiguration": { "sessionEnabled": true },
            "imageConfiguration": { "imageUri": "r.example/spark:1" } } });
        assert!(may_have_sessions(&application));
        let session = json!({ "arn": "session", "updatedAt": 1_790_000_000 });
        let mut reading = Reading::default();
        add_session(&application, &session, &mut reading).unwrap();
        assert_eq!((used(&reading), reading.unknown.len()), (vec!["r.example/spark:1".to_owned()], 1));
        assert_eq!(reading.unknown[0].used_by, "session");
    }
}
