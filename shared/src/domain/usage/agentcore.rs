//! Amazon Bedrock AgentCore: the images of agent runtimes and harnesses, as far as an endpoint leads to their versions.
//!
//! A version never changes, but AgentCore does not report the digest that it runs. If a version names its image by a tag, every
//! image that was in the repository when the version was last changed may be the one.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use super::source::{ImageNotNamed, Reading, UsageSource, When};
use crate::domain::text::instant::Instant;

/// Amazon Bedrock AgentCore.
pub const SOURCE: UsageSource = UsageSource {
    name: "bedrock-agentcore",
    title: "Amazon Bedrock AgentCore",
    service: Some("bedrock-agentcore"),
    actions: &[
        "bedrock-agentcore:GetAgentRuntime",
        "bedrock-agentcore:GetHarness",
        "bedrock-agentcore:ListAgentRuntimeEndpoints",
        "bedrock-agentcore:ListAgentRuntimes",
        "bedrock-agentcore:ListHarnessEndpoints",
        "bedrock-agentcore:ListHarnesses",
    ],
    blocks: true,
    when: When::OnceARun,
    calls: "1 for each 100 runtimes, 1 for each 100 harnesses, 1 for the endpoints of each, and 1 for each version that an \
            endpoint leads to",
};

/// A kind of what runs images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An agent runtime.
    Runtime,
    /// A harness, which has an agent runtime of its own.
    Harness,
}

impl Kind {
    /// The operation that lists all of a kind.
    #[must_use]
    pub const fn list(self) -> &'static str {
        match self {
            Self::Runtime => "ListAgentRuntimes",
            Self::Harness => "ListHarnesses",
        }
    }

    /// The operation that describes a version.
    #[must_use]
    pub const fn operation(self) -> &'static str {
        match self {
            Self::Runtime => "GetAgentRuntime",
            Self::Harness => "GetHarness",
        }
    }

    /// The name of the ID in the list of all.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Runtime => "agentRuntimeId",
            Self::Harness => "harnessId",
        }
    }

    /// The name of the ARN in the list of all.
    #[must_use]
    pub const fn arn(self) -> &'static str {
        match self {
            Self::Runtime => "agentRuntimeArn",
            Self::Harness => "arn",
        }
    }

    /// The name of the version in answers: the latest one in those about a runtime or a harness.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::Runtime => "agentRuntimeVersion",
            Self::Harness => "harnessVersion",
        }
    }
}

/// The versions that are invoked or will be: the latest one, and those that endpoints lead to or are being moved to.
///
/// # Errors
///
/// If the ID or the latest version is not named.
pub fn versions(kind: Kind, summary: &Value, endpoints: &[Value]) -> Result<BTreeSet<String>, ImageNotNamed> {
    let (Some(_), Some(latest)) = (summary[kind.id()].as_str(), summary[kind.version()].as_str()) else {
        let user = summary[kind.arn()].as_str().unwrap_or("something without an ARN").to_owned();
        return Err(ImageNotNamed { operation: kind.list(), user });
    };
    let of_endpoints =
        endpoints.iter().flat_map(|endpoint| [&endpoint["liveVersion"], &endpoint["targetVersion"]]);
    let of_endpoints = of_endpoints.filter_map(Value::as_str);
    Ok(of_endpoints.chain([latest]).map(str::to_owned).collect())
}

/// Adds what a version uses, from the answer of [`Kind::operation`]; nothing for a version of source code, and for a harness
/// without an image of its own.
///
/// # Errors
///
/// If what the version runs is not understood.
pub fn add_version(
    kind: Kind,
    answer: &Value,
    arn: &str,
    reading: &mut Reading,
) -> Result<(), ImageNotNamed> {
    let (artifact, changed_at) = match kind {
        Kind::Runtime => (&answer["agentRuntimeArtifact"], &answer["lastUpdatedAt"]),
        Kind::Harness => (&answer["harness"]["environmentArtifact"], &answer["harness"]["updatedAt"]),
    };
    let runs_no_image = match kind {
        Kind::Runtime => artifact["codeConfiguration"].is_object(),
        Kind::Harness => artifact.is_null() && answer["harness"].is_object(),
    };
    match artifact["containerConfiguration"]["containerUri"].as_str() {
        Some(image) => reading.add_resolved_at(image, arn, Instant::deserialize(changed_at).ok()),
        None if runs_no_image => {}
        None => return Err(ImageNotNamed { operation: kind.operation(), user: arn.to_owned() }),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_latest_version_and_those_of_endpoints_count() {
        let endpoints = [
            json!({ "name": "DEFAULT", "liveVersion": "9" }),
            json!({ "name": "prod", "liveVersion": "3", "targetVersion": "4" }),
        ];
        let all = versions(
            Kind::Runtime,
            &json!({ "agentRuntimeId": "a", "agentRuntimeVersion": "10" }),
            &endpoints,
        )
        .unwrap();
        assert_eq!(all.into_iter().collect::<Vec<_>>(), ["10", "3", "4", "9"]);
        let all = versions(Kind::Harness, &json!({ "harnessId": "h", "harnessVersion": "1" }), &[]).unwrap();
        assert_eq!(all.into_iter().collect::<Vec<_>>(), ["1"]);
        for unnamed in
            [json!({ "arn": "arn", "harnessVersion": "1" }), json!({ "arn": "arn", "harnessId": "h" })]
        {
            let problem = versions(Kind::Harness, &unnamed, &endpoints).unwrap_err();
            assert_eq!(problem.to_string(), "ListHarnesses: the answer does not say which image arn uses");
        }
    }

    #[test]
    fn a_version_names_an_image_or_source_code() {
        let read = |kind, answer: Value| {
            let mut reading = Reading::default();
            add_version(kind, &answer, "arn", &mut reading).map(|()| reading)
        };
        let container = |image: &str| json!({ "containerConfiguration": { "containerUri": image } });
        let time = "2026-11-01T00:00:00Z";
        let runtime = |artifact: Value| json!({ "agentRuntimeArtifact": artifact, "lastUpdatedAt": time });
        let harness =
            |artifact: Value| json!({ "harness": { "environmentArtifact": artifact, "updatedAt": time } });
        for (kind, answer) in
            [(Kind::Runtime, runtime(container("app:prod"))), (Kind::Harness, harness(container("app:prod")))]
        {
            let reading = read(kind, answer).unwrap();
            assert_eq!(reading.used.len(), 1);
            assert_eq!(
                reading.unknown[0].started_at,
                Some(Instant::parse(time).unwrap()),
                "the digest is not reported"
            );
        }
        let digest = format!("app@sha256:{}", "a".repeat(64));
        let reading = read(Kind::Runtime, runtime(container(&digest))).unwrap();
        assert_eq!((reading.used.len(), reading.unknown.len()), (1, 0));
        assert_eq!(read(Kind::Runtime, runtime(json!({ "codeConfiguration": {} }))), Ok(Reading::default()));
        assert_eq!(read(Kind::Harness, json!({ "harness": {} })), Ok(Reading::default()));
        for (kind, answer) in [
            (Kind::Runtime, json!({})),
            (Kind::Runtime, runtime(json!({ "containerConfiguration": {} }))),
            (Kind::Runtime, runtime(json!({ "another": {} }))),
            (Kind::Harness, json!({})),
            (Kind::Harness, harness(json!({ "another": {} }))),
        ] {
            let problem = read(kind, answer.clone()).unwrap_err();
            assert_eq!(problem.operation, kind.operation(), "{answer}");
        }
    }
}
