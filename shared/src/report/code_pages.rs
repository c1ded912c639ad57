//! Where the documentation explains a code: its page on the web, if the project has one, and the command that prints it.

/// The command that explains codes without the network.
pub const COMMAND: &str = "ecr-steward explain-code";

/// The address of the project's repository, from `repository` in the workspace's `Cargo.toml`; empty where the project is published
/// nowhere, and then no page is linked.
pub const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// Maximum number of codes in one command line.
const MAX_CODES: usize = 8;

/// The address of a code's section, in the documentation of this version; `None` without a repository.
#[must_use]
pub fn page(repository: &str, code: &str) -> Option<String> {
    let repository = repository.trim_end_matches('/');
    let version = env!("CARGO_PKG_VERSION");
    (!repository.is_empty()).then(|| format!("{repository}/blob/v{version}/docs/errors.md#{code}"))
}

/// The command that explains these codes, each once; `None` if there are none.
#[must_use]
pub fn hint<'a>(codes: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut distinct: Vec<&str> = Vec::new();
    for code in codes {
        if !distinct.contains(&code) {
            distinct.push(code);
        }
    }
    distinct.truncate(MAX_CODES);
    (!distinct.is_empty()).then(|| format!("Why, and what to do: {COMMAND} {}", distinct.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_leads_to_the_page_of_its_version_and_nowhere_if_the_project_has_no_address() {
        let page_of = page("https://git.example/steward/", "limit-percent").unwrap();
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            page_of,
            format!("https://git.example/steward/blob/v{version}/docs/errors.md#limit-percent")
        );
        assert_eq!(page("", "limit-percent"), None);
    }

    #[test]
    fn one_command_line_explains_all_codes_of_a_report() {
        let hint = hint(["failed", "limit-percent", "failed"]).unwrap();
        assert_eq!(hint, "Why, and what to do: ecr-steward explain-code failed limit-percent");
        assert_eq!(super::hint([]), None);
    }
}
