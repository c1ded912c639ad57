//! The project's own binaries, built as Cargo builds them for a user.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use local::Project;

/// The path of a binary of the workspace, by its name. The first call builds all of them, which takes no time if they are up to
/// date.
///
/// # Panics
///
/// If the build fails or there is no such binary.
pub fn binary(name: &str) -> &'static PathBuf {
    static BINARIES: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    let binaries = BINARIES.get_or_init(build);
    binaries.get(name).unwrap_or_else(|| panic!("no binary {name} among {:?}", binaries.keys()))
}

fn build() -> BTreeMap<String, PathBuf> {
    let functions = std::fs::read_dir(workspace().join("functions")).unwrap();
    let functions = functions.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = functions.chain(["ecr-steward".to_owned()]).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    local::functions::build(&Project::here(), &names).unwrap()
}

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file below `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}
