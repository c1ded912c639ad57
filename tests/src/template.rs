//! Parts of `template.yaml` that tests compare with the functions.

use std::collections::BTreeSet;

use crate::binaries::workspace;

/// The ECR actions that a function's role or a managed policy allows.
///
/// # Panics
///
/// When the template has no such resource.
pub fn ecr_actions(resource: &str) -> BTreeSet<String> {
    let actions = actions(resource);
    actions.iter().filter_map(|action| action.strip_prefix("ecr:")).map(str::to_owned).collect()
}

/// The default of a parameter.
///
/// # Panics
///
/// When the template has no such parameter, or it has no default.
pub fn default_of(parameter: &str) -> String {
    let lines = block(parameter);
    let default = lines.iter().find_map(|line| line.trim().strip_prefix("Default: "));
    default.unwrap_or_else(|| panic!("{parameter} has no default")).trim_matches('"').to_owned()
}

/// All actions that a function's role allows: `service:Action`.
///
/// # Panics
///
/// When the template has no such resource.
pub fn actions(resource: &str) -> BTreeSet<String> {
    let lines = block(resource);
    let actions = lines.iter().filter_map(|line| {
        let line = line.trim();
        let action = line.strip_prefix("- ").or_else(|| line.strip_prefix("Action: "))?;
        let (service, name) = action.split_once(':')?;
        let is_action =
            service.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
                && name.starts_with(|first: char| first.is_ascii_uppercase());
        is_action.then(|| action.to_owned())
    });
    actions.collect()
}

/// All actions that a function's role allows, with those of the policy for reading use if it has that.
///
/// # Panics
///
/// When the template has no such resource.
pub fn role(function: &str) -> BTreeSet<String> {
    let mut actions = actions(function);
    if block(function).iter().any(|line| line.trim() == "- !Ref ReadUsagePolicy") {
        actions.extend(self::actions("ReadUsagePolicy"));
    }
    actions
}

/// The keys in the stack's bucket for which a function's role, or the policy for reading use, allows an action; `*` matches
/// anything.
///
/// # Panics
///
/// If the template has no such resource.
pub fn keys(resource: &str, action: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut is_allowed = false;
    for line in block(resource) {
        if line.contains("Sid: ") {
            is_allowed = false;
        }
        is_allowed |= line.trim_end().ends_with(action);
        if let Some((_, key)) = line.split_once("${SourceBucket.Arn}/")
            && is_allowed
        {
            keys.push(key.trim_end_matches('"').to_owned());
        }
    }
    keys
}

/// Whether a pattern, in which `*` matches anything, matches a key.
pub fn is_match(pattern: &str, key: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == key,
        Some((before, rest)) => key.strip_prefix(before).is_some_and(|key| {
            (0..=key.len()).any(|at| key.is_char_boundary(at) && is_match(rest, &key[at..]))
        }),
    }
}

/// The lines of a resource.
///
/// # Panics
///
/// When the template has no such resource.
pub fn block(resource: &str) -> Vec<String> {
    block_of("template.yaml", resource)
}

/// The lines of a resource of another template.
///
/// # Panics
///
/// When the template has no such resource.
pub fn block_of(file: &str, resource: &str) -> Vec<String> {
    let text = std::fs::read_to_string(workspace().join(file)).unwrap();
    let (_, rest) = text.split_once(&format!("\n  {resource}:\n")).unwrap();
    let is_inside = |line: &&str| line.is_empty() || line.starts_with("   ");
    rest.lines().take_while(is_inside).map(str::to_owned).collect()
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

/// The routes of the HTTP API that are there on a condition: method and path.
///
/// # Panics
///
/// When there is no template.
pub fn conditional_routes(condition: &str) -> BTreeSet<(String, String)> {
    let text = std::fs::read_to_string(workspace().join("template.yaml")).unwrap();
    let condition = format!("    Condition: {condition}");
    let mut routes = BTreeSet::new();
    let mut is_conditional = false;
    for line in text.lines() {
        if line.starts_with("  ") && !line.starts_with("   ") {
            is_conditional = false;
        }
        is_conditional |= line == condition;
        if let Some((method, path)) =
            line.trim().strip_prefix("RouteKey: ").and_then(|key| key.split_once(' '))
            && is_conditional
        {
            routes.insert((method.to_owned(), path.to_owned()));
        }
    }
    routes
}

/// The names of all resources.
///
/// # Panics
///
/// When there is no template.
pub fn resources() -> Vec<String> {
    let text = std::fs::read_to_string(workspace().join("template.yaml")).unwrap();
    let (_, rest) = text.split_once("\nResources:\n").unwrap();
    let lines = rest.lines().take_while(|line| line.is_empty() || line.starts_with(' '));
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':'));
    names.filter(|name| !name.starts_with(' ')).map(str::to_owned).collect()
}

/// The statements of the policies in a resource, as lines: each begins with its `Sid`.
pub fn statements(block: &[String]) -> Vec<Vec<String>> {
    let mut statements: Vec<Vec<String>> = Vec::new();
    for line in block {
        if line.trim().starts_with("- Sid: ") {
            statements.push(Vec::new());
        }
        if let Some(statement) = statements.last_mut() {
            statement.push(line.clone());
        }
    }
    statements
}
