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

impl Place<'_> {
    /// The endpoint of a service, by what the name of its host begins with: `https://ecs.eu-west-1.amazonaws.com`.
    ///
    /// # Errors
    ///
    /// When no Region is set, or its name is none; and when its partition has no such endpoints.
    pub(super) fn endpoint(self, service: &str) -> Result<String, String> {
        if service == "ecr" {
            return self.of_ecr();
        }
        let Self { region, use_fips, use_dual_stack } = self;
        // ECR's own rules have no exceptions without FIPS, so that its host name has the partition's suffix.
        let url = Self { use_fips: false, ..self }.of_ecr()?;
        let (_, suffix) = url.split_once(&format!(".{region}.")).ok_or_else(|| {
            format!("the AWS SDK places Amazon ECR of {region} at {url}, which tells no suffix")
        })?;
        let is_government = region.starts_with("us-gov-");
        let host = match (service, use_fips, use_dual_stack) {
            ("sagemaker", false, _) => "api.sagemaker".to_owned(),
            ("sagemaker", true, false) if suffix == "amazonaws.com" => "api-fips.sagemaker".to_owned(),
            ("sagemaker", true, _) => "api.sagemaker-fips".to_owned(),
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

    fn of_ecr(self) -> Result<String, String> {
        let Self { region, use_fips, use_dual_stack } = self;
        if region.is_empty() {
            return Err("no Region is set: AWS_REGION says which".to_owned());
        }
        let parameters =
            Params::builder().region(region).use_fips(use_fips).use_dual_stack(use_dual_stack).build();
        let parameters = parameters.map_err(|error| error.to_string())?;
        let resolver = DefaultResolver::new();
        let resolved = pin!(resolver.resolve_endpoint(&parameters));
        // Rules are evaluated at once: nothing is waited for.
        match resolved.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(endpoint)) => Ok(endpoint.url().to_owned()),
            Poll::Ready(Err(error)) => Err(format!("there is no endpoint in {region}: {error}")),
            Poll::Pending => Err(format!("the endpoint in {region} is not known yet")),
        }
    }
}
