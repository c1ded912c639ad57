//! What is decided, without AWS, clock, environment or waiting.

pub mod enforcement;
pub mod usage;
