//! What the end-to-end tests share.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this crate is for tests only"
)]

pub mod document;
pub mod reference;
pub mod strategy;
