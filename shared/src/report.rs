//! What a preview says: renderings as a table and as a page.

pub mod attention;
#[cfg(feature = "html")]
pub mod html;
pub mod run;
#[cfg(feature = "schema")]
pub mod schema;
#[cfg(feature = "table")]
pub mod table;
