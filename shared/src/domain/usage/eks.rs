//! Amazon EKS as a usage source: which clusters there are. What they run their lists say.

use super::source::{UsageSource, When};

/// Amazon EKS.
pub const SOURCE: UsageSource = UsageSource {
    name: "eks",
    title: "Amazon EKS",
    service: None,
    actions: &["eks:ListClusters"],
    blocks: true,
    when: When::OnceARun,
    calls: "1 for each 100 clusters",
};
