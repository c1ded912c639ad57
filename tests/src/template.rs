//! What `template.yaml` says, as far as tests hold the functions to it.

use std::collections::BTreeSet;

use crate::binaries::workspace;

/// The ECR actions that the role of a function allows.
///
/// # Panics
///
/// When the template has no such function.
pub fn ecr_actions(function: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(workspace().join("template.yaml")).unwrap();
    let (_, rest) = text.split_once(&format!("\n  {function}:\n")).unwrap();
    // Up to the next resource.
    let block =
        rest.lines().take_while(|line| !line.starts_with("  ") || line.starts_with("   ") || line.is_empty());
    block.filter_map(|line| line.trim().strip_prefix("- ecr:")).map(str::to_owned).collect()
}

/// The routes of the HTTP API: method and path.
///
/// # Panics
///
/// When there is no template.
pub fn routes() -> BTreeSet<(String, String)> {
    let text = std::fs::read_to_string(workspace().join("template.yaml")).unwrap();
    let keys = text.lines().filter_map(|line| line.trim().strip_prefix("RouteKey: "));
    keys.filter_map(|key| key.split_once(' ')).map(|(m, p)| (m.to_owned(), p.to_owned())).collect()
}
