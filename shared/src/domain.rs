//! What is decided: pure, without AWS, clock, environment or async.
//!
//! | module | holds |
//! | --- | --- |
//! | [`enforcement`] | what is done to a repository, who does it, and how much may go |
//! | [`usage`] | what is known of use, from each source, and what is not |

pub mod enforcement;
pub mod usage;
