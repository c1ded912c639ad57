//! Renderings of previews and runs: as JSON, tables, pages and mails.

pub mod attention;
pub mod code_pages;
pub mod embedded_metrics;
#[cfg(feature = "html")]
pub mod html;
pub mod run;
#[cfg(feature = "schema")]
pub mod schema;
#[cfg(feature = "table")]
pub mod table;
