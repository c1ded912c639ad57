//! What is known of use, from each source, and what is not known.
//!
//! | module | holds |
//! | --- | --- |
//! | [`ignore`] | which sources the policies file says do not matter |
//! | [`list`] | one list of references in use, read entry by entry |
//! | [`list_memory`] | which lists there were, so that one that disappears or shrinks is noticed |
//! | [`reports`] | what all lists together say, and which accounts and clusters they tell of |
//! | [`pull_access`] | who may pull from a repository by its policy |
//! | [`replication`] | where deletions are replicated to |

pub mod ignore;
pub mod list;
pub mod list_memory;
pub mod pull_access;
pub mod replication;
pub mod reports;
