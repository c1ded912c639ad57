//! Writes the images of the fixture `storefront`.
fn main() {}
