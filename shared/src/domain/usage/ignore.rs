//! Usage sources that the policies file ignores.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::domain::enforcement::policy_set::IgnoredSource;
use crate::domain::text::finding::quoted;
use crate::domain::text::instant::Instant;
use crate::domain::usage::{SOURCES, UnreadableSource, reports};

/// Days for which a suggested entry ignores a source.
const SUGGESTED_DAYS: u64 = 90;

/// A gap that does not count, since the policies file ignores its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IgnoredSourceReason {
    /// The gap.
    #[serde(flatten)]
    pub gap: UnreadableSource,
    /// Why it is ignored.
    pub reason: String,
    /// The last day, in UTC, on which it is; `None` for always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Date>,
}

/// Why a text is the name of no source, if it is none. Names are compared whole, so that a pattern, another spelling, or a part of a
/// name would ignore nothing while its writer believes that it does.
#[must_use]
pub fn why_no_source(text: &str) -> Option<String> {
    let is_name = |part: &str| {
        !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c.is_control() || c == '*')
    };
    let is_place = |rest: &str| {
        rest.split_once('/').is_some_and(|(account, region)| reports::is_account(account) && is_name(region))
    };
    let is_source = match text.split_once('/') {
        None => SOURCES.iter().any(|source| source.name == text),
        Some(("account", account)) => account == "*" || reports::is_account(account) || is_place(account),
        Some(("ecs", rest)) => {
            rest.split_once('/').is_some_and(|(cluster, service)| is_name(cluster) && is_name(service))
        }
        Some(("protection-tags", rest)) => rest == "signing" || is_place(rest),
        Some(("replication", rest)) => is_place(rest),
        // A list that a reporter writes names the sources that it could not read.
        Some(("usage", rest)) => match rest.split_once(".json/") {
            Some((list, source)) => is_name(list) && why_no_source(source).is_none(),
            None => is_name(rest) && rest.ends_with(".json"),
        },
        Some(("eks" | "organization" | "service", rest)) => is_name(rest),
        Some(_) => false,
    };
    (!is_source).then(|| {
        let known: Vec<&str> =
            SOURCES.iter().map(|source| source.name).filter(|name| !["account", "replication"].contains(name)).collect();
        format!(
            "{} is the name of no source, and would ignore nothing; copy the entry that the report prints, or write one of {}, \
             eks/<cluster>, usage/<name>.json, account/<account>",
            quoted(text),
            known.join(", ")
        )
    })
}

/// The entry that ignores a source at `now`; an entry that has ended ignores nothing.
#[must_use]
pub fn entry_for<'a>(entries: &'a [IgnoredSource], source: &str, now: Instant) -> Option<&'a IgnoredSource> {
    entries.iter().find(|entry| entry.source == source && entry.holds(now))
}

/// Separates the gaps whose sources are ignored at `now`.
#[must_use]
pub fn split(
    gaps: Vec<UnreadableSource>,
    entries: &[IgnoredSource],
    now: Instant,
) -> (Vec<UnreadableSource>, Vec<IgnoredSourceReason>) {
    let mut left = Vec::new();
    let mut ignored = Vec::new();
    for gap in gaps {
        match entry_for(entries, &gap.source, now) {
            None => left.push(gap),
            Some(entry) => {
                ignored.push(IgnoredSourceReason { gap, reason: entry.reason.clone(), until: entry.until });
            }
        }
    }
    (left, ignored)
}

impl UnreadableSource {
    /// The source as people call it, where that differs from what the policies file calls it.
    #[must_use]
    pub fn title(&self) -> &str {
        let known =
            SOURCES.iter().find(|source| source.name == self.source && source.name != reports::LISTING);
        known.map_or(self.source.as_str(), |source| source.title)
    }

    /// The entry of `usage.ignore` in the policies file that ignores this gap for the next 90 days, for people to paste
    /// when they have found out that the source does not matter.
    #[must_use]
    pub fn ignore_entry(&self, now: Instant) -> String {
        let until = now.plus_days(SUGGESTED_DAYS).unwrap_or(now);
        let until = until.timestamp().to_zoned(jiff::tz::TimeZone::UTC).date();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._/*@-".contains(c);
        let source = if self.source.chars().all(is_plain) && !self.source.starts_with(['*', '@', '-']) {
            self.source.clone()
        } else {
            // A JSON string is a YAML string.
            serde_json::Value::from(self.source.as_str()).to_string()
        };
        format!("{{ source: {source}, reason: \"…\", until: {until} }}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(source: &str) -> UnreadableSource {
        UnreadableSource { source: source.to_owned(), repositories: Vec::new(), problem: "denied".to_owned() }
    }

    #[test]
    fn an_entry_ignores_its_source_through_its_last_day_and_nothing_else() {
        let entries = vec![IgnoredSource {
            source: "eks/old".to_owned(),
            reason: "shut down".to_owned(),
            until: Some(jiff::civil::date(2027, 2, 24)),
        }];
        let at = |time: &str| Instant::parse(time).unwrap();
        for (time, left) in [("2027-02-24T23:59:59Z", 1), ("2027-02-25T00:00:00Z", 2)] {
            let gaps = vec![gap("eks/old"), gap("eks/older")];
            let (gaps, ignored) = split(gaps, &entries, at(time));
            assert_eq!((gaps.len(), ignored.len()), (left, 2 - left), "{time}");
        }
    }

    #[test]
    fn a_gap_prints_the_entry_that_ignores_it() {
        let now = Instant::parse("2026-11-26T10:00:00Z").unwrap();
        assert_eq!(gap("eks/old").ignore_entry(now), "{ source: eks/old, reason: \"…\", until: 2027-02-24 }");
        assert_eq!(
            gap("usage/a, b: #1.json").ignore_entry(now),
            "{ source: \"usage/a, b: #1.json\", reason: \"…\", until: 2027-02-24 }"
        );
        assert!(gap("account/*").ignore_entry(now).starts_with("{ source: account/*,"));
    }
}
