//! CloudWatch's embedded metric format: a line of JSON in a function's log that CloudWatch turns into metrics.

use serde_json::{Value, json};

use crate::domain::text::instant::Instant;

/// The namespace of all metrics of this project.
const NAMESPACE: &str = "ecr-steward";

/// The unit of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A number of something.
    Count,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

impl Unit {
    /// CloudWatch's name of the unit.
    const fn name(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Bytes => "Bytes",
            Self::Seconds => "Seconds",
        }
    }
}

/// The line with these metrics of a stack, each with its name and unit. CloudWatch keeps the properties, each with its name, for
/// searches in the log alone.
#[must_use]
pub fn line(
    stack: &str,
    at: Instant,
    metrics: &[(&'static str, Unit, u64)],
    properties: &[(&'static str, &str)],
) -> String {
    let definitions: Vec<Value> =
        metrics.iter().map(|(name, unit, _)| json!({ "Name": name, "Unit": unit.name() })).collect();
    let mut line = json!({
        "_aws": {
            "Timestamp": at.micros() / 1000,
            "CloudWatchMetrics": [
                { "Namespace": NAMESPACE, "Dimensions": [["StackName"]], "Metrics": definitions },
            ],
        },
        "StackName": stack,
    });
    for &(name, value) in properties {
        line[name] = value.into();
    }
    for &(name, _, value) in metrics {
        line[name] = value.into();
    }
    line.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_all_that_cloudwatch_asks_for() {
        let at = Instant::from_micros(1_700_000_000_123_456).unwrap();
        let metrics = [("Images", Unit::Count, 3), ("ImageBytes", Unit::Bytes, 1 << 53)];
        let line: Value = serde_json::from_str(&line("steward", at, &metrics, &[("runId", "r")])).unwrap();
        let expected = json!({
            "_aws": {
                "Timestamp": 1_700_000_000_123_u64,
                "CloudWatchMetrics": [{
                    "Namespace": "ecr-steward",
                    "Dimensions": [["StackName"]],
                    "Metrics": [{ "Name": "Images", "Unit": "Count" }, { "Name": "ImageBytes", "Unit": "Bytes" }],
                }],
            },
            "StackName": "steward",
            "runId": "r",
            "Images": 3,
            "ImageBytes": 9_007_199_254_740_992_u64,
        });
        assert_eq!(line, expected);
    }
}
