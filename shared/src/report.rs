//! What a preview says: the [`model`] that is printed as JSON, and its renderings as a table and as a page.

pub mod attention;
#[cfg(feature = "html")]
pub mod html;
pub mod model;
pub mod run;
#[cfg(feature = "table")]
pub mod table;
