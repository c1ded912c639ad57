//! Whether and how policies are enforced.
//!
//! | module | holds |
//! | --- | --- |
//! | [`enforcement_switch`] | whether a run may delete, and whether each of its invocations still may |

pub mod enforcement_switch;
