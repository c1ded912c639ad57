//! `ecr-steward schema`: JSON Schemas of files and reports.

use std::io::{self, Write};

use clap::Args;
use clap::builder::PossibleValuesParser;
use shared::report::schema::{self, ALL};

use crate::{Failure, Outcome, output};

/// Print the JSON Schema of a file that people write, or of what programs read
///
/// Editors check and complete policies.yaml and builds.yaml by it: put a line at the top of the file,
/// `# yaml-language-server: $schema=policies.schema.json`, and print the schema beside it. A schema knows the shape of a file;
/// `check` knows everything that is wrong with it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward schema
  ecr-steward schema policies > policies.schema.json")]
pub(crate) struct Arguments {
    /// Which schema; without it all are listed.
    #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(ALL.iter().map(|schema| schema.name)))]
    name: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    match arguments.name.as_deref().and_then(schema::named) {
        Some(schema) => {
            let mut out = output::json();
            serde_json::to_writer_pretty(&mut out, &schema.value()).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
            out.flush()?;
        }
        None => {
            let mut out = output::text();
            for schema in ALL {
                output::paragraph(&mut out, &format!("{:<16}", schema.name), schema.about, 16)?;
            }
            out.flush()?;
        }
    }
    Ok(Outcome::Success)
}
