//! The parameters of CodeBuild's `StartBuild`: one build for each platform, with everything from outside in environment variables
//! of its own.

use super::tags::CACHE_PREFIX;
use super::{GitReference, Platform, Source, fingerprint};
use crate::domain::builds::build_context::{BuildContext, PLATFORM, VARIABLE};
use crate::domain::builds::build_definition::{BuildDefinition, TimeLimits};
use crate::domain::repository::Registry;

/// The buildspec of every build. It is sent with each request, so that its version matches that of the function that starts the
/// build.
pub const BUILDSPEC: &str = include_str!("../../../../infra/buildspec.yml");

/// The IAM path of the roles that builds may have besides the stack's own; the functions may pass no others.
pub const ROLE_PATH: &str = "/ecr-steward/builds/";

/// The CodeBuild projects of the stack, one for each processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projects {
    /// The project for `linux/amd64`.
    pub amd64: String,
    /// The project for `linux/arm64`; `None` if the stack does not build for it.
    pub arm64: Option<String>,
}

impl Projects {
    /// The project that builds for a platform.
    ///
    /// # Errors
    ///
    /// When the stack has none.
    pub fn project(&self, platform: Platform) -> Result<&str, NoProject> {
        match platform {
            Platform::Amd64 => Ok(&self.amd64),
            Platform::Arm64 => self.arm64.as_deref().ok_or(NoProject(platform)),
        }
    }
}

/// The stack does not build for a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this stack does not build for {}: AWS CodeBuild is not known to have such machines in its Region, or the stack's parameter \
     Builds says so. Leave that platform out of `platforms`, or set Builds to `both` if CodeBuild has them", .0.as_str()
)]
pub struct NoProject(pub Platform);

/// A variable of a build's environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value, or where AWS Secrets Manager has it.
    pub value: String,
    /// Whether it is the latter.
    pub is_secret: bool,
}

/// The parameters of `StartBuild`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartBuildInput {
    /// The project.
    pub project: String,
    /// The platform.
    pub platform: Platform,
    /// The idempotency token. The same input has the same token, so that CodeBuild starts one build for repeated requests.
    pub token: String,
    /// The kind of source, in CodeBuild's words.
    pub source_type: &'static str,
    /// The location of the source.
    pub source_location: String,
    /// The version or commit.
    pub source_version: String,
    /// The size of the machine; by default the project's.
    pub compute_type: Option<&'static str>,
    /// The ARN of the role; by default the project's.
    pub service_role: Option<String>,
    /// The timeouts; by default those of the project.
    pub time_limits: Option<TimeLimits>,
    /// The environment.
    pub environment: Vec<Variable>,
}

/// The builds for a context. Another `attempt` is another build, even with otherwise equal input.
///
/// # Errors
///
/// If the stack does not build for one of the platforms.
pub fn start_build_inputs(
    definition: &BuildDefinition,
    context: &BuildContext,
    registry: &Registry,
    projects: &Projects,
    attempt: &str,
) -> Result<Vec<StartBuildInput>, NoProject> {
    context
        .platforms
        .iter()
        .map(|&platform| {
            let (source_type, source_location) = location(&context.source, registry);
            let mut order = StartBuildInput {
                project: projects.project(platform)?.to_owned(),
                platform,
                token: String::new(),
                source_type,
                source_location,
                source_version: context.source.version().to_owned(),
                compute_type: definition.compute_type,
                service_role: definition.service_role.as_ref().map(|name| {
                    format!("arn:{}:iam::{}:role{ROLE_PATH}{name}", registry.partition, registry.account_id)
                }),
                time_limits: definition.time_limits,
                environment: environment(definition, context, registry, platform),
            };
            order.token = token(&order, attempt);
            Ok(order)
        })
        .collect()
}

/// The kind of a source and where it is, in CodeBuild's words.
#[must_use]
pub fn location(source: &Source, registry: &Registry) -> (&'static str, String) {
    match source {
        Source::S3 { bucket, key, .. } => ("S3", format!("{bucket}/{key}")),
        Source::CodeCommit { repository_name, .. } => {
            let (region, suffix) = (&registry.region, registry.url_suffix());
            ("CODECOMMIT", format!("https://git-codecommit.{region}.{suffix}/v1/repos/{repository_name}"))
        }
    }
}

fn token(order: &StartBuildInput, attempt: &str) -> String {
    let mut parts = vec![
        attempt,
        &order.project,
        order.source_type,
        &order.source_location,
        &order.source_version,
        order.compute_type.unwrap_or_default(),
        BUILDSPEC,
        order.service_role.as_deref().unwrap_or_default(),
    ];
    let limits = order.time_limits.map(|limits| format!("{limits:?}")).unwrap_or_default();
    parts.push(&limits);
    for variable in &order.environment {
        parts.extend([variable.name.as_str(), variable.value.as_str()]);
    }
    fingerprint(&parts, 64)
}

/// The tag under which a build's layers are cached for the next one, and the tags whose layers it reads. Released sources share a
/// cache that everybody reads. A branch has its own: otherwise anybody who may push branches could put layers into a release. A
/// git tag is built once, and writes no cache.
fn caches(definition: &BuildDefinition, context: &BuildContext, platform: Platform) -> (String, String) {
    if !definition.cache {
        return (String::new(), String::new());
    }
    let released = format!("{CACHE_PREFIX}{}", platform.processor());
    match &context.reference {
        Some(GitReference::Branch(name)) if !context.is_released => {
            let own = format!("{released}-{}", fingerprint(&[name], 16));
            let from = format!("{own} {released}");
            (own, from)
        }
        Some(GitReference::Tag(_)) if !context.is_released => (String::new(), released),
        _ => (released.clone(), released),
    }
}

fn environment(
    definition: &BuildDefinition,
    context: &BuildContext,
    registry: &Registry,
    platform: Platform,
) -> Vec<Variable> {
    let dockerfile = definition.dockerfile.clone().unwrap_or_else(|| match definition.context.as_str() {
        "." => "Dockerfile".to_owned(),
        context => format!("{}/Dockerfile", context.trim_end_matches('/')),
    });
    let (cache_tag, cache_from) = caches(definition, context, platform);
    let attestations = if definition.profile.has_attestations() { "true" } else { "false" };
    let mut variables: Vec<Variable> = [
        ("REGISTRY", registry.host()),
        ("REPOSITORY", context.repository_name.clone()),
        ("IMAGE_TAG", context.tag_for(platform)),
        (PLATFORM, platform.as_str().to_owned()),
        ("CONTEXT", definition.context.clone()),
        ("DOCKERFILE", dockerfile),
        ("TARGET", definition.target.clone().unwrap_or_default()),
        ("CACHE_TAG", cache_tag),
        ("CACHE_FROM", cache_from),
        ("ATTESTATIONS", attestations.to_owned()),
        ("SOURCE", context.source.to_string()),
        ("REVISION", context.source.version().to_owned()),
        (VARIABLE, context.to_json()),
    ]
    .into_iter()
    .map(|(name, value)| Variable { name: name.to_owned(), value, is_secret: false })
    .collect();
    for (kind, values, is_secret) in
        [("ARG", &definition.build_args, false), ("SECRET", &definition.secrets, true)]
    {
        // Names are words, so that spaces separate them in a list. Values are arbitrary.
        let mut names = Vec::new();
        for (index, (name, value)) in values.iter().enumerate() {
            names.push(format!("{name}=BUILD_{kind}_{index}"));
            let value = value.clone();
            variables.push(Variable { name: format!("BUILD_{kind}_{index}"), value, is_secret });
        }
        let value = names.join(" ");
        variables.push(Variable { name: format!("BUILD_{kind}S"), value, is_secret: false });
    }
    // A variable without a value says nothing.
    variables.retain(|variable| !variable.value.is_empty());
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::builds::SourceOrder;
    use crate::domain::builds::event::SourceUpdate;
    use crate::domain::repository::Name;
    use crate::domain::text::instant::Instant;

    fn ordered(definition: &BuildDefinition, attempt: &str) -> Vec<StartBuildInput> {
        let arrived = SourceUpdate {
            source: Source::S3 {
                bucket: "b".to_owned(),
                key: "sources/app/a.zip".to_owned(),
                version_id: "v1".to_owned(),
            },
            reference: None,
            arrival: SourceOrder::at(Instant::parse("2026-11-23T10:00:00Z").unwrap()),
        };
        let registry = Registry::of_arn("arn:aws-cn:lambda:cn-north-1:123456789012:function:f").unwrap();
        let projects = Projects { amd64: "x".to_owned(), arm64: Some("a".to_owned()) };
        start_build_inputs(
            definition,
            &BuildContext::new(definition, &arrived),
            &registry,
            &projects,
            attempt,
        )
        .unwrap()
    }

    #[test]
    fn an_order_says_all_that_a_build_needs() {
        let definition = BuildDefinition {
            build_args: [("A".to_owned(), "\"; touch pwned".to_owned()), ("B".to_owned(), String::new())]
                .into(),
            secrets: [("npm".to_owned(), "stack/npm:token".to_owned())].into(),
            context: "web/".to_owned(),
            ..BuildDefinition::of(Name::parse("app").unwrap())
        };
        let start_build_inputs: Vec<StartBuildInput> = ordered(&definition, "")
            .into_iter()
            .map(|order| StartBuildInput { token: String::new(), ..order })
            .collect();
        insta::assert_debug_snapshot!(start_build_inputs);
    }

    #[test]
    fn every_platform_is_a_build_of_its_own() {
        let platforms = vec![Platform::Amd64, Platform::Arm64];
        let start_build_inputs =
            ordered(&BuildDefinition { platforms, ..BuildDefinition::of(Name::parse("app").unwrap()) }, "");
        let of = |order: &StartBuildInput, name: &str| {
            let variable = order.environment.iter().find(|variable| variable.name == name);
            variable.map(|variable| variable.value.clone()).unwrap()
        };
        assert_eq!(
            start_build_inputs.iter().map(|order| order.project.as_str()).collect::<Vec<_>>(),
            ["x", "a"]
        );
        assert!(of(&start_build_inputs[0], "IMAGE_TAG").ends_with("-amd64"));
        assert!(of(&start_build_inputs[1], "IMAGE_TAG").ends_with("-arm64"));
        assert_eq!(of(&start_build_inputs[1], "CACHE_TAG"), "buildcache-arm64");
        assert_ne!(start_build_inputs[0].token, start_build_inputs[1].token);
    }

    #[test]
    fn a_branch_reads_the_cache_of_what_is_released_and_writes_one_of_its_own() {
        let definition = BuildDefinition::of(Name::parse("app").unwrap());
        let caches = |reference: Option<GitReference>, is_released: bool| {
            let arrived = SourceUpdate {
                source: Source::CodeCommit { repository_name: "app".to_owned(), commit_id: "c".repeat(40) },
                reference,
                arrival: SourceOrder::at(Instant::parse("2026-11-23T10:00:00Z").unwrap()),
            };
            let context = BuildContext::new(&definition, &arrived);
            assert_eq!(context.is_released, is_released);
            caches(&definition, &context, Platform::Amd64)
        };
        let branch = |name: &str| Some(GitReference::Branch(name.to_owned()));
        let released = ("buildcache-amd64".to_owned(), "buildcache-amd64".to_owned());
        assert_eq!(caches(branch("main"), true), released);
        assert_eq!(caches(None, true), released);
        let (written, read) = caches(branch("feature"), false);
        assert!(written.starts_with("buildcache-amd64-") && written.len() == 33, "{written}");
        assert_eq!(read, format!("{written} buildcache-amd64"));
        // Also where both would be one tag.
        assert_ne!(caches(branch("a/b"), false).0, caches(branch("a-b"), false).0);
        let tag = caches(Some(GitReference::Tag("v1".to_owned())), false);
        assert_eq!(tag, (String::new(), "buildcache-amd64".to_owned()));
    }

    #[test]
    fn the_token_is_the_same_for_the_same_order_only() {
        let definition = BuildDefinition::of(Name::parse("app").unwrap());
        let token =
            |definition: &BuildDefinition, attempt: &str| ordered(definition, attempt)[0].token.clone();
        assert_eq!(token(&definition, ""), token(&definition, ""));
        assert_ne!(token(&definition, ""), token(&definition, "again"));
        assert_ne!(
            token(&definition, ""),
            token(&BuildDefinition { cache: false, ..definition.clone() }, "")
        );
        let large = BuildDefinition { compute_type: Some("BUILD_GENERAL1_LARGE"), ..definition.clone() };
        assert_ne!(token(&definition, ""), token(&large, ""));
    }
}
