//! The endpoints of services that are called without a client of the SDK: from the SDK's own data about partitions, and a few
//! exceptions of the services' endpoint rules.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use aws_sdk_ecr::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};

/// The Region's partition and the kind of its endpoints.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// The Region.
    pub(super) region: &'a str,
    /// Whether FIPS endpoints are requested (`AWS_USE_FIPS_ENDPOINT`).
    pub(super) use_fips: bool,
    /// Whether dual-stack endpoints are requested (`AWS_USE_DUALSTACK_ENDPOINT`).
    pub(super) use_dual_stack: bool,
}

/// Why the endpoint of a service is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoEndpoint {
    /// There is no Region.
    #[error("no Region is set: AWS_REGION says which")]
    NoRegion,
    /// The partition has no such endpoints, or the Region's name is none.
    #[error("there is no endpoint in {region}: {problem}")]
    Unresolved {
        /// The Region.
        region: String,
        /// What the SDK's rules say.
        problem: String,
    },
    /// The SDK waits for something before it knows.
    #[error("the endpoint in {0} is not known yet")]
    Pending(String),
    /// The SDK's endpoint of ECR has no suffix of a partition.
    #[error("the AWS SDK places Amazon ECR of {region} at {url}, which has no suffix after the Region")]
    NoSuffix {
        /// The Region.
        region: String,
        /// The endpoint.
        url: String,
    },
}

impl Place<'_> {
    /// The endpoint of a service, by what the name of its host begins with: `https://ecs.eu-west-1.amazonaws.com`.
    ///
    /// # Errors
    ///
    /// When no Region is set, or its name is none; and when its partition has no such endpoints.
    pub(super) fn endpoint(self, service: &str) -> Result<String, NoEndpoint> {
        if service == "ecr" {
            return self.of_ecr();
        }
        let Self { region, use_fips, use_dual_stack } = self;
        // ECR's own rules have no exceptions without FIPS, so that its host name has the partition's suffix.
        let url = Self { use_fips: false, ..self }.of_ecr()?;
        let (_, suffix) = url
            .split_once(&format!(".{region}."))
            .ok_or_else(|| NoEndpoint::NoSuffix { region: region.to_owned(), url: url.clone() })?;
        let is_government = region.starts_with("us-gov-");
        let host = match (service, use_fips, use_dual_stack) {
            ("sagemaker", false, _) => "api.sagemaker".to_owned(),
            ("sagemaker", true, false) if suffix == "amazonaws.com" => "api-fips.sagemaker".to_owned(),
            ("sagemaker", true, _) => "api.sagemaker-fips".to_owned(),
            // Signed for by another name.
            ("bedrock-agentcore", false, _) => "bedrock-agentcore-control".to_owned(),
            ("bedrock-agentcore", true, _) => "bedrock-agentcore-control-fips".to_owned(),
            // Of GovCloud's some have a name of their own.
            ("states", _, true) if is_government => "states-fips".to_owned(),
            ("states", true, false) if region == "us-gov-west-1" => service.to_owned(),
            (_, false, _) => service.to_owned(),
            // All of GovCloud's are validated, and have no other name.
            ("batch" | "cloudformation" | "eks" | "events" | "logs" | "sns" | "sqs" | "ssm", true, false)
                if is_government =>
            {
                service.to_owned()
            }
            ("events", true, true) if is_government => service.to_owned(),
            ("batch" | "eks", true, false) if suffix == "amazonaws.com" => format!("fips.{service}"),
            (_, true, _) => format!("{service}-fips"),
        };
        Ok(format!("https://{host}.{region}.{suffix}"))
    }

    fn of_ecr(self) -> Result<String, NoEndpoint> {
        let Self { region, use_fips, use_dual_stack } = self;
        if region.is_empty() {
            return Err(NoEndpoint::NoRegion);
        }
        let parameters =
            Params::builder().region(region).use_fips(use_fips).use_dual_stack(use_dual_stack).build();
        let unresolved = |problem: String| NoEndpoint::Unresolved { region: region.to_owned(), problem };
        let parameters = parameters.map_err(|error| unresolved(error.to_string()))?;
        let resolver = DefaultResolver::new();
        let resolved = pin!(resolver.resolve_endpoint(&parameters));
        // Rules are evaluated at once: nothing is waited for.
        match resolved.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(endpoint)) => Ok(endpoint.url().to_owned()),
            Poll::Ready(Err(error)) => Err(unresolved(error.to_string())),
            Poll::Pending => Err(NoEndpoint::Pending(region.to_owned())),
        }
    }
}
