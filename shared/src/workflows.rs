//! What acts: several calls to AWS, in an order in which it is safe to stop anywhere.

#[cfg(feature = "builds")]
pub mod announce;
#[cfg(feature = "lifecycle")]
pub mod delete_images;
#[cfg(feature = "lifecycle")]
pub mod enforcement;
#[cfg(feature = "signed")]
pub mod protection_records;
