//! Where else there is something about a run: the consoles of AWS, for people who are signed in. A page asks nobody for anything
//! by itself.

use std::fmt::Write;

use crate::report::run::{Place, RunReport};

/// A link, and its text.
pub(super) struct Link {
    pub(super) text: &'static str,
    pub(super) address: String,
}

/// The links that the report knows enough for.
pub(super) fn links(report: &RunReport) -> Vec<Link> {
    let Place { stack_name, region, bucket, registry_id: _ } = &report.place;
    let mut links = Vec::new();
    let Some(console) = console(region) else { return links };
    let object = |text, kind: &str, key: &str| {
        let (bucket, key) = (encoded(bucket), encoded(key));
        Link { text, address: format!("{console}/s3/{kind}/{bucket}?region={region}&prefix={key}") }
    };
    if !bucket.is_empty() {
        if let Some(before) = report.earlier_runs.first() {
            links.push(object("The run before", "object", &format!("runs/{}/report.html", before.run_id)));
        }
        if report.has_policies_file && report.error.is_none() {
            links.push(object("Policies file of the run", "object", &report.run.policies_file_key()));
        }
        if !report.run.dry_run {
            let prefix = crate::domain::enforcement::journal::prefix(&report.run);
            links.push(object("Journal", "buckets", &prefix));
        }
    }
    if !stack_name.is_empty() {
        let stack = encoded(stack_name);
        let address =
            format!("{console}/cloudwatch/home?region={region}#dashboards/dashboard/{stack}-lifecycle");
        links.push(Link { text: "Dashboard", address });
    }
    if let Some(execution) = report.run.started_by.as_deref().filter(|by| by.contains(":execution:")) {
        let execution = encoded(execution);
        let address = format!("{console}/states/home?region={region}#/v2/executions/details/{execution}");
        links.push(Link { text: "Execution", address });
    }
    links
}

/// The address of the console of a Region, by its partition; none for what is no Region.
fn console(region: &str) -> Option<String> {
    let is_region = !region.is_empty()
        && region.chars().all(|character| {
            character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-'
        });
    let domain = match region {
        _ if region.starts_with("cn-") => "amazonaws.cn",
        _ if region.starts_with("us-gov-") => "amazonaws-us-gov.com",
        _ => "aws.amazon.com",
    };
    is_region.then(|| format!("https://{region}.console.{domain}"))
}

/// A text as a part of an address.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            // Writing to a string does not fail.
            _ => _ = write!(encoded, "%{byte:02X}"),
        }
    }
    encoded
}
