//! Enforcing lifecycle policies: whether, what is done to a repository, and within which limits.
//!
//! | module | holds |
//! | --- | --- |
//! | [`policy_set`] | `policies.yaml`: which policy is for which repository, and how much it may delete |
//! | [`plan`] | what a policy does with the images of one repository in one run |
//! | [`action`] | what is done to a repository, as values |
//! | [`actor`] | who does it |
//! | [`by_hand`] | which images somebody asks to delete, and whether they may be deleted |
//! | [`in_use_protection`] | the protection rule and its tags, which keep ECR's own engine from what is in use |
//! | [`protect_tag`] | the resource tag by which a repository asks for that |
//! | [`protection_record`] | what is remembered of a repository whose policy ECR enforces |
//! | [`enforcement_switch`] | whether a run may delete, and whether each of its invocations still may |
//! | [`suspension`] | when attached policies may not act any more although no run looks at them |
//! | [`taken`] | how many images were deleted in the registry in a day |
//! | [`run`] | one run over a registry, and where it is kept in the stack's bucket |
//! | [`batch`] | repositories in batches of about the same work |
//! | [`outcome`] | what came of a repository |
//! | [`journal`] | what is written down before an image is deleted |

pub mod action;
pub mod actor;
pub mod batch;
pub mod by_hand;
pub mod enforcement_switch;
pub mod in_use_protection;
pub mod journal;
pub mod outcome;
pub mod plan;
pub mod policy_set;
pub mod protect_tag;
pub mod protection_record;
pub mod run;
pub mod saved_plan;
pub mod suggest;
pub mod suspension;
pub mod taken;
