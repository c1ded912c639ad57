//! The threat model: each of its lines names the tests that show it.

use std::fs;

use tests::binaries::workspace;

/// The lines of the tables that say what somebody tries, with the cells of each.
fn threats(text: &str) -> Vec<Vec<&str>> {
    let mut threats = Vec::new();
    let mut has_tests = false;
    for line in text.lines() {
        let Some(cells) = line.strip_prefix("| ").and_then(|line| line.strip_suffix('|')) else {
            has_tests = false;
            continue;
        };
        let cells: Vec<&str> = cells.split('|').map(str::trim).collect();
        match cells.last() {
            Some(&"Tests") => has_tests = true,
            Some(rule) if rule.starts_with("---") => {}
            _ if has_tests => threats.push(cells),
            _ => {}
        }
    }
    threats
}

/// Whether there is such a test: `file::name`, or `path/to/file.rs::name`.
fn exists(test: &str) -> bool {
    let Some((file, name)) = test.split_once("::") else { return false };
    let path = if file.contains('/') { file.to_owned() } else { format!("tests/{file}.rs") };
    let Ok(code) = fs::read_to_string(workspace().join(path)) else { return false };
    let mut lines = code.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    let mut is_test = false;
    lines.any(|line| {
        let is_meant = line.split_once("fn ").is_some_and(|(_, rest)| rest.split('(').next() == Some(name));
        let found = is_test && is_meant;
        // Attributes may stand between.
        is_test = line.starts_with("#[test]") || is_test && line.starts_with("#[");
        found
    })
}

#[test]
fn every_line_of_the_threat_model_says_what_stops_it_and_names_tests_that_exist() {
    let text = fs::read_to_string(workspace().join("docs/threat-model.md")).unwrap();
    let threats = threats(&text);
    assert!(threats.len() > 40, "{}", threats.len());
    for threat in threats {
        let [tries, stops, _, tests] = &threat[..] else { panic!("not four cells: {threat:?}") };
        assert!(!tries.is_empty() && !stops.is_empty(), "{threat:?}");
        let named: Vec<&str> = tests.split(", ").map(|test| test.trim_matches('`')).collect();
        for test in named {
            assert!(exists(test), "{tries:?} names {test:?}, which is no test");
        }
    }
    assert!(!exists("threat_model::exists") && !exists("threat_model::no_such_test"));
}
