//! Documents that people and programs write, and values as they spell them.
//!
//! | module | holds |
//! | --- | --- |
//! | `syntax` | JSON and YAML as values with their places |
//! | `plain_words` | what is wrong with a text that is not JSON or YAML, in words for people |
//! | [`recognize`] | what a text is that is not what was asked for |
//! | [`locate`] | the line and column of a JSON pointer |
//! | `reader` | values read field by field, every mistake reported at its place |
//! | [`finding`] | what is wrong with a document, or worth knowing about it: code, place, message |
//! | [`mod@printable`] | text that a terminal shows and does not obey |
//! | [`instant`] | points in time |
//! | [`quantity`] | sizes, ages and counts as people read them |

pub mod finding;
pub mod instant;
pub mod locate;
pub(crate) mod plain_words;
pub mod printable;
pub mod quantity;
pub(crate) mod reader;
pub mod recognize;
pub(crate) mod syntax;
