//! Enforcing lifecycle policies: whether, what is done to a repository, and within which limits.
//!
//! | module | holds |
//! | --- | --- |
//! | [`action`] | what is done to a repository, as values |
//! | [`actor`] | who does it |
//! | [`by_hand`] | what somebody names to be deleted, and whether it may go |
//! | [`in_use_protection`] | the protection rule and its tags, which keep ECR's own engine from what is in use |
//! | [`protect_tag`] | the resource tag by which a repository asks for that |
//! | [`protection_record`] | what is remembered of a repository whose policy ECR enforces |
//! | [`enforcement_switch`] | whether a run may delete, and whether each of its invocations still may |
//! | [`suspension`] | when attached policies may not act any more although no run looks at them |
//! | [`taken`] | how many images went from the registry in a day |

pub mod action;
pub mod actor;
pub mod by_hand;
pub mod enforcement_switch;
pub mod in_use_protection;
pub mod protect_tag;
pub mod protection_record;
pub mod suspension;
pub mod taken;
