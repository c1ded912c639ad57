//! Whose certificates a connection trusts.

use aws_smithy_http_client::tls::{TlsContext, TrustStore};

use super::{is_on, variable};

/// The roots of Amazon Trust Services, under which all endpoints of the `aws` partition are; from
/// <https://www.amazontrust.com/repository/>. The first of them expires at the end of 2037.
const AMAZON_ROOTS: &[u8] = include_bytes!("amazon-roots.pem");

/// The trusted root certificates: Amazon's own five for AWS itself, instead of all certificates of the system, which take
/// milliseconds to read. The system's are used for partitions with other roots, for FIPS endpoints, and wherever the environment
/// names certificates, as behind a proxy that inspects connections.
pub(crate) fn context(region: &str) -> TlsContext {
    let is_set = |name: &str| variable(name).is_some();
    if is_set("SSL_CERT_FILE")
        || is_set("SSL_CERT_DIR")
        || is_on("AWS_USE_FIPS_ENDPOINT")
        || !is_commercial(region)
    {
        return TlsContext::default();
    }
    let store = TrustStore::empty().with_pem_certificate(AMAZON_ROOTS);
    TlsContext::builder().with_trust_store(store).build().unwrap_or_default()
}

/// Whether a Region is in the partition `aws`, by the beginning of its name.
fn is_commercial(region: &str) -> bool {
    const PREFIXES: [&str; 9] = ["us-", "eu-", "ap-", "ca-", "sa-", "me-", "af-", "il-", "mx-"];
    PREFIXES.iter().any(|prefix| region.starts_with(prefix))
        && !["us-gov-", "us-iso", "eu-isoe-"].iter().any(|prefix| region.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_partition_that_amazon_signs_for_has_its_roots_alone() {
        for region in
            ["us-east-1", "eu-west-1", "eu-central-2", "ap-southeast-5", "il-central-1", "mx-central-1"]
        {
            assert!(is_commercial(region), "{region}");
        }
        for region in [
            "us-gov-west-1",
            "us-iso-east-1",
            "us-isob-east-1",
            "cn-north-1",
            "eusc-de-east-1",
            "eu-isoe-west-1",
            "",
        ] {
            assert!(!is_commercial(region), "{region}");
        }
    }

    #[test]
    fn the_roots_are_readable() {
        // Panics where one is not.
        let store = TrustStore::empty().with_pem_certificate(AMAZON_ROOTS);
        let context = TlsContext::builder().with_trust_store(store).build().unwrap();
        let builder =
            aws_smithy_http_client::Builder::new().tls_provider(super::super::TLS).tls_context(context);
        let _ = builder.build_https();
        assert_eq!(String::from_utf8_lossy(AMAZON_ROOTS).matches("BEGIN CERTIFICATE").count(), 5);
    }
}
