//! What is known of use, from each source, and what is not known.
//!
//! | module | holds |
//! | --- | --- |
//! | [`ignore`] | which sources the policies file says do not matter |

pub mod ignore;
