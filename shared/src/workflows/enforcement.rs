//! Enforcing lifecycle policies.
//!
//! | module | does |
//! | --- | --- |
//! | [`execute`] | executes actions: checks, writes down, acts, tells |
//! | [`put_back`] | puts back what came into use after it was taken |
//! | [`registry_limit`] | reserves room for what goes, so that a bad policy stops |
//! | [`restore_policy`] | puts a lifecycle policy back that another one replaced |
//! | [`suspend`] | suspends attached policies that no run looks at any more |

pub mod execute;
pub mod put_back;
pub mod registry_limit;
pub mod restore_policy;
pub mod suspend;
