//! The local AWS: installs an emulator and the ordinary AWS tools into `target/local`, starts the emulator on a free loopback
//! port, and builds and deploys `template.yaml` with them.
//!
//! | module | contains |
//! | --- | --- |
//! | [`tools`] | the Python tools, pinned, each in an environment of its own |
//! | [`emulator`] | the emulator's process |
//! | [`codebuild`] | builds, which the emulator passes on |
//! | [`functions`] | the functions, built for this machine |
//! | [`image`] | an image on disk, to push |
//! | [`lint`] | checks of the templates |
//! | [`registry`] | the registry under its host name in AWS |
//! | [`stack`] | deploying the stack, calling what it has deployed |
//! | [`story`] | the end-to-end test of `cargo local demo` |
//!
//! Everything but the installed tools is in `target/local/run`, which `down` removes.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

pub mod codebuild;
pub mod emulator;
pub mod functions;
pub mod image;
pub mod lint;
pub mod registry;
pub mod stack;
pub mod story;
pub mod tools;

/// An error of the local AWS.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// A file or a process could not be handled.
    #[error("{what}: {source}")]
    Io {
        /// The action or the file that failed.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A program failed.
    #[error("`{program}` failed ({status}); the end of what it said:\n{output}")]
    Failed {
        /// The program and its arguments.
        program: String,
        /// The exit status.
        status: ExitStatus,
        /// The last lines of its output.
        output: String,
    },
    /// The emulator did not start.
    #[error("the emulator does not answer on port {port}; the end of {}:\n{output}", .log.display())]
    NotReady {
        /// Its port.
        port: u16,
        /// Its log.
        log: PathBuf,
        /// The last lines of the log.
        output: String,
    },
    /// A program printed something else than expected.
    #[error("`{program}` printed something unexpected: {problem}")]
    Unexpected {
        /// The program.
        program: String,
        /// The problem with it.
        problem: String,
    },
    /// A step of the story failed.
    #[error("{step}: {problem}")]
    Story {
        /// The step.
        step: String,
        /// The actual and the expected result.
        problem: String,
    },
}

impl LocalError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// The checkout, and where the local AWS keeps its things in it.
#[derive(Debug, Clone)]
pub struct Project {
    root: PathBuf,
    run: PathBuf,
    /// Whether its programs are built with all features.
    has_all_features: bool,
}

impl Project {
    /// The checkout that this program was built from.
    #[must_use]
    pub fn here() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = root.canonicalize().unwrap_or(root);
        Self { run: root.join("target/local/run"), root, has_all_features: true }
    }

    /// The same checkout, whose programs are built as quickly as can be: not optimized, and without the features that the short demo does
    /// not show. If this program was built with all features, as tests are, so are those, since they are compiled already.
    #[must_use]
    pub fn for_short_demo(self) -> Self {
        Self { has_all_features: cfg!(feature = "all-programs"), ..self }
    }

    /// The features and the profile that programs are built with, as arguments of Cargo.
    #[must_use]
    pub const fn build_arguments(&self) -> &'static [&'static str] {
        if self.has_all_features { &["--all-features"] } else { &["--profile", "demo"] }
    }

    /// The same checkout with an emulator of its own, whose files are in `folder`.
    #[must_use]
    pub fn running_in(self, folder: PathBuf) -> Self {
        Self { run: folder, ..self }
    }

    /// The checkout's top folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Installed tools.
    #[must_use]
    pub fn tools(&self) -> PathBuf {
        self.root.join("target/local/tools")
    }

    /// The folder of the running emulator's files.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.run.clone()
    }
}

/// Reports progress on standard error.
pub fn say(what: &str) {
    use std::io::Write as _;
    let _ = writeln!(anstream::stderr(), "local: {what}");
}

/// Runs a program to its end and captures its output, which is only shown if it fails.
pub(crate) fn run(command: &mut Command) -> Result<Output, LocalError> {
    let program = describe(command);
    let output = command.stdin(Stdio::null()).output().map_err(LocalError::io(&program))?;
    if output.status.success() {
        return Ok(output);
    }
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    Err(LocalError::Failed { program, status: output.status, output: tail(&String::from_utf8_lossy(&text)) })
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The last lines of a text.
pub(crate) fn tail(text: &str) -> String {
    const LINES: usize = 20;
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n")
}
