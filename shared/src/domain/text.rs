//! Text formats that people and programs write, and the values in them.
//!
//! | module | contains |
//! | --- | --- |
//! | `syntax` | JSON and YAML as trees of values with their places |
//! | `plain_words` | parse errors of JSON and YAML in words for people |
//! | [`recognize`] | recognizes files of another kind than the expected one |
//! | [`locate`] | the line and column of a JSON pointer |
//! | `reader` | reads values field by field and reports every mistake at its place |
//! | [`finding`] | an error or warning about a document: code, place, message |
//! | [`mod@printable`] | escapes characters that would control a terminal |
//! | [`instant`] | points in time |
//! | [`quantity`] | sizes, ages and counts for people |

pub mod finding;
pub mod instant;
pub mod locate;
pub(crate) mod plain_words;
pub mod printable;
pub mod quantity;
pub(crate) mod reader;
pub mod recognize;
pub(crate) mod syntax;
