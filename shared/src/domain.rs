//! What is decided: pure, without AWS, clock, environment or async.

pub mod enforcement;
