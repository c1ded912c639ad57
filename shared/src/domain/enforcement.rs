//! Enforcing lifecycle policies: whether a run may, its actions on a repository, and their limits.
//!
//! | module | contains |
//! | --- | --- |
//! | [`policy_set`] | `policies.yaml`: the policy for each repository, and its limits |
//! | [`plan`] | the effect of a policy on the images of one repository in one run |
//! | [`action`] | actions on a repository, as values |
//! | [`actor`] | who performs an action |
//! | [`by_hand`] | images that somebody asks to delete, and whether they may be deleted |
//! | [`in_use_protection`] | the protection rule and its tags, which keep ECR's own engine from images in use |
//! | [`protect_tag`] | the resource tag by which a repository asks for that protection |
//! | [`protection_record`] | the record of a repository whose policy ECR enforces |
//! | [`enforcement_switch`] | whether a run may delete, and whether each of its invocations still may |
//! | [`suspension`] | when attached policies are suspended although no run refreshes them |
//! | [`storage`] | what images take and cost, each layer counted once |
//! | [`suggest`] | a policies file, suggested from the images that are there |
//! | [`survey`] | what a registry has as long as there is no policies file |
//! | [`daily_removals`] | the number of images that were deleted from the registry in a day |
//! | [`run`] | a run over a registry, and its keys in the stack's bucket |
//! | [`batch`] | repositories in batches of similar size |
//! | [`changes`] | which repositories changed, from events |
//! | [`unchanged`] | which repositories a run need not look at again |
//! | [`not_removed`] | why an image that a run planned to remove is still there |
//! | [`outcome`] | the outcome of a repository |
//! | [`outcome_file`] | the object in which outcomes are kept |
//! | [`journal`] | the record that is written before an image is deleted |
//! | [`image_history`] | the intentions of the journal about one image, and what came of them |
//! | [`image_restore`] | restoring images from the journal: which, in which order, and what cannot come back |

pub mod action;
pub mod actor;
pub mod batch;
pub mod by_hand;
pub mod changes;
pub mod daily_removals;
pub mod enforcement_switch;
pub mod image_history;
pub mod image_restore;
pub mod in_use_protection;
pub mod journal;
pub mod not_removed;
pub mod outcome;
#[cfg(feature = "lifecycle")]
pub mod outcome_file;
pub mod plan;
pub mod policy_set;
pub mod protect_tag;
pub mod protection_record;
pub mod run;
pub mod saved_plan;
pub mod storage;
pub mod suggest;
pub mod survey;
pub mod suspension;
pub mod unchanged;
