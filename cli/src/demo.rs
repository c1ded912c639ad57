//! `ecr-steward demo`: a preview of a repository that is in the program, as a page in a browser.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use shared::domain::preview::example::Example;
use shared::domain::preview::preview_all;
use shared::report::html;

use crate::init::InitError;
use crate::preview::{self, Format};
use crate::{Failure, Outcome, output};

/// Show a preview of a repository of 379 images in a browser, without an account and without the network
///
/// The repository, its policy and what is in use of it are in this program. Writes the page into a file and opens it. To see the
/// same of a repository of yours, list its images with `aws ecr describe-images` and use `preview`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward demo")]
pub(crate) struct Arguments {
    /// Where to write the page; a file in the folder for temporary files unless given.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Only write the page, and say where it is.
    #[arg(long)]
    no_open: bool,

    /// Print the preview on standard output instead.
    #[arg(long, value_enum, value_name = "FORMAT", conflicts_with_all = ["file", "no_open"])]
    output: Option<Format>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let example = Example::read()
        .map_err(|error| Failure::Policy { file: "the demo".to_owned(), problem: error.to_string() })?;
    if let Some(format) = arguments.output {
        preview::print_all(format, example.question(), &example.listing)?;
        return Ok(Outcome::Success);
    }
    let page = html::render(&preview_all(example.question(), &example.listing));
    let path = match &arguments.file {
        Some(path) => {
            std::fs::write(path, page).map_err(|error| unwritten(path, error))?;
            path.clone()
        }
        None => write_new(&page).map_err(|error| unwritten(&std::env::temp_dir(), error))?,
    };
    let mut out = output::text();
    writeln!(out, "{}", path.display())?;
    out.flush()?;
    // Without a screen, the page is only written.
    if !arguments.no_open && io::stdout().is_terminal() && !open(&path) {
        let _ = writeln!(output::error(), "ecr-steward: no browser was found; open the page yourself");
    }
    Ok(Outcome::Success)
}

fn unwritten(path: &Path, error: io::Error) -> InitError {
    InitError::Unwritten { file: path.display().to_string(), error }
}

/// Writes a new file into the folder for temporary files, which other users may write to. Never follows a link of theirs.
fn write_new(page: &str) -> io::Result<PathBuf> {
    let folder = std::env::temp_dir();
    let process = std::process::id();
    for attempt in 0..100 {
        let path = folder.join(format!("ecr-steward-demo-{process}-{attempt}.html"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => {
                file.write_all(page.as_bytes())?;
                return Ok(path);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        "no name is free in the folder for temporary files; use --file",
    ))
}

/// Opens a page in the browser; whether one was started.
fn open(page: &Path) -> bool {
    let openers: &[&str] = if cfg!(target_os = "macos") {
        &["open"]
    } else if cfg!(windows) {
        &["explorer"]
    } else {
        &["xdg-open", "wslview", "gio"]
    };
    openers.iter().any(|opener| {
        let mut command = Command::new(opener);
        if *opener == "gio" {
            command.arg("open");
        }
        command.arg(page).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().is_ok()
    })
}
