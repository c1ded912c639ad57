//! JSON Schemas of the files that people write and of the JSON that programs read: for editors, and for readers of reports.
//!
//! The schema of a written document is generated from the types that are written. Files are read field by field, so that all
//! mistakes are reported at once: the types here describe them for schemas alone, and a test validates the same files with both.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

use crate::domain::enforcement::journal::{Line, PolicyLine, RestoreLine};
use crate::domain::preview::model::PreviewReport;
use crate::report::run::RunReport;

mod files;

use files::{BuildsFile, InUse, OneOrMore, PoliciesFile, Policy, RunLine, UsageListFile};

/// A schema, and what it is of.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// Its name.
    pub name: &'static str,
    /// The subject of the schema, in a few words.
    pub about: &'static str,
    generate: fn(Direction) -> Value,
    direction: Direction,
}

/// Whether a document is read or written. A field that may be left out of a read document may always be present in a written one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Read,
    Written,
}

/// All schemas, by name.
pub const ALL: [Schema; 12] = [
    Schema {
        name: "policy",
        about: "a lifecycle policy: the simple model, or ECR's document",
        generate: of::<Policy>,
        direction: Direction::Read,
    },
    Schema {
        name: "policies",
        about: "policies.yaml in the stack's bucket",
        generate: of::<PoliciesFile>,
        direction: Direction::Read,
    },
    Schema {
        name: "builds",
        about: "builds.yaml in the stack's bucket",
        generate: of::<BuildsFile>,
        direction: Direction::Read,
    },
    Schema {
        name: "in-use",
        about: "a list of images in use",
        generate: of::<Vec<InUse>>,
        direction: Direction::Read,
    },
    Schema {
        name: "usage-list",
        about: "a list of images in use that says who wrote it, and what was read completely",
        generate: of::<UsageListFile>,
        direction: Direction::Read,
    },
    Schema {
        name: "preview",
        about: "what `preview --output json` prints",
        generate: of::<OneOrMore>,
        direction: Direction::Written,
    },
    Schema {
        name: "preview-line",
        about: "a line of what `preview --output ndjson` prints: the preview of a repository",
        generate: of::<PreviewReport>,
        direction: Direction::Written,
    },
    Schema {
        name: "run",
        about: "the report of a run",
        generate: of::<RunReport>,
        direction: Direction::Written,
    },
    Schema {
        name: "run-line",
        about: "a line of what `enforce --output ndjson` prints: a repository, and in the last line the run without them",
        generate: of::<RunLine>,
        direction: Direction::Written,
    },
    Schema {
        name: "journal",
        about: "a line of the journal: an image that is about to go",
        generate: of::<Line>,
        direction: Direction::Written,
    },
    Schema {
        name: "journal-policy",
        about: "an object of the journal: a lifecycle policy that is about to be replaced",
        generate: of::<PolicyLine>,
        direction: Direction::Written,
    },
    Schema {
        name: "journal-restore",
        about: "a line of the journal: an image that is about to be restored",
        generate: of::<RestoreLine>,
        direction: Direction::Written,
    },
];

impl Schema {
    /// The schema, of JSON Schema's draft 2020-12.
    #[must_use]
    pub fn value(&self) -> Value {
        let mut schema = (self.generate)(self.direction);
        schema["title"] = format!("ecr-steward: {}", self.about).into();
        schema
    }
}

/// The schema of a name; `None` if there is none.
#[must_use]
pub fn named(name: &str) -> Option<Schema> {
    ALL.into_iter().find(|schema| schema.name == name)
}

fn of<T: JsonSchema>(direction: Direction) -> Value {
    let settings = SchemaSettings::draft2020_12();
    let settings = match direction {
        Direction::Read => settings.for_deserialize(),
        Direction::Written => settings.for_serialize(),
    };
    let mut schema = SchemaGenerator::new(settings).into_root_schema_for::<T>().to_value();
    if direction == Direction::Read {
        without_nulls(&mut schema);
    }
    schema
}

/// Removes null: an optional field is absent or has a value. ECR refuses nulls, and so do the files.
fn without_nulls(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        Value::Object(fields) => {
            let is_null = |value: &Value| value == "null" || value == &serde_json::json!({ "type": "null" });
            if let Some(Value::Array(types)) = fields.get_mut("type") {
                types.retain(|name| !is_null(name));
                if let [one] = types.as_slice() {
                    let one = one.clone();
                    fields.insert("type".to_owned(), one);
                }
            }
            if let Some(Value::Array(words)) = fields.get_mut("enum") {
                words.retain(|word| !word.is_null());
            }
            if let Some(Value::Array(choices)) = fields.get_mut("anyOf") {
                choices.retain(|choice| !is_null(choice));
                if let [Value::Object(one)] = choices.as_slice() {
                    let one = one.clone();
                    fields.remove("anyOf");
                    for (name, value) in one {
                        fields.entry(name).or_insert(value);
                    }
                }
            }
            if fields.get("default").is_some_and(Value::is_null) {
                fields.remove("default");
            }
            fields.values_mut().for_each(without_nulls);
        }
        _ => {}
    }
}
