//! The checks of `ecr-steward doctor`, decided from what was read. Nothing here reads anything.

use std::collections::BTreeSet;

use serde::Serialize;
use shared::aws::Failure as AwsFailure;
use shared::domain::enforcement::policy_set::{KEY, LISTS, PolicySet};
use shared::domain::lifecycle::Limit;
use shared::domain::text::instant::Instant;
use shared::domain::text::quantity::age;
use shared::domain::usage::source::SourceStatus;
use shared::domain::usage::usage_snapshot::UsageSnapshot;
use shared::domain::usage::{SOURCES, UnreadableSource, eks, pull_access, replication, reports};

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Area {
    Credentials,
    Region,
    Permission,
    Bucket,
    Policies,
    Source,
    List,
    Cluster,
    Pullers,
    Replication,
    PullTimes,
}

impl Area {
    /// Its name for people.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Region => "Region",
            Self::Permission => "permissions",
            Self::Bucket => "bucket",
            Self::Policies => "policies file",
            Self::Source => "source of use",
            Self::List => "list",
            Self::Cluster => "EKS cluster",
            Self::Pullers => "who pulls",
            Self::Replication => "replication",
            Self::PullTimes => "pull times",
        }
    }
}

/// Whether something is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Status {
    Ok,
    ToDo,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Check {
    pub(super) area: Area,
    status: Status,
    /// What was found.
    pub(super) found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) to_do: Option<String>,
}

impl Check {
    pub(super) fn well(area: Area, found: impl Into<String>) -> Self {
        Self { area, status: Status::Ok, found: found.into(), to_do: None }
    }

    pub(super) fn to_do(area: Area, found: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self { area, status: Status::ToDo, found: found.into(), to_do: Some(to_do.into()) }
    }

    /// A source that could not be read, with the entry that ignores it. What to do else its problem says.
    pub(super) fn of_gap(area: Area, gap: &UnreadableSource, now: Instant) -> Self {
        let to_do = match (missing_action(gap), area) {
            (Some(action), _) => format!("allow {action}"),
            (None, Area::Cluster) if gap.source != eks::SOURCE.name => {
                "install the reporter in the cluster (infra/usage-reporter/kubernetes)".to_owned()
            }
            (None, Area::Pullers) => "have that account report (infra/usage-reporter.yaml)".to_owned(),
            (None, _) => "correct that".to_owned(),
        };
        let entry = gap.ignore_entry(now);
        Self::to_do(
            area,
            format!("{}: {}", gap.title(), gap.problem),
            format!("{to_do}; or, if it does not matter, add to `ignore` below `usage` in {KEY}: {entry}"),
        )
    }

    pub(super) fn is_well(&self) -> bool {
        self.status == Status::Ok
    }
}

/// The IAM action that a source was refused: its problem begins with the operation.
fn missing_action(gap: &UnreadableSource) -> Option<&'static str> {
    let (operation, problem) = gap.problem.split_once(": ")?;
    let is_refusal = problem.starts_with(&AwsFailure::Denied.to_string());
    let source = SOURCES.iter().filter(|source| source.is_of(gap));
    let other = SOURCES.iter().filter(|source| !source.is_of(gap));
    source.chain(other).find_map(|source| source.action(operation)).filter(|_| is_refusal)
}

/// The area of a gap.
fn area(gap: &UnreadableSource) -> Area {
    let is_of = |name: &str| {
        gap.source == name || gap.source.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'))
    };
    if gap.source.starts_with(LISTS) {
        Area::List
    } else if is_of(eks::SOURCE.name) {
        Area::Cluster
    } else if is_of(replication::SOURCE.name) {
        Area::Replication
    } else if ["account", "organization", "service"].iter().any(|name| is_of(name)) {
        Area::Pullers
    } else {
        Area::Source
    }
}

/// The sources of use that AWS tells, the clusters of EKS, and what is ignored.
pub(super) fn of_sources(snapshot: &UsageSnapshot, now: Instant) -> Vec<Check> {
    let usage = &snapshot.usage;
    let elsewhere = [eks::SOURCE.name, reports::LISTING, pull_access::SOURCE.name, replication::SOURCE.name];
    let mut checks = Vec::new();
    for source in usage.sources.iter().filter(|source| !elsewhere.contains(&source.source.as_str())) {
        match source.status {
            SourceStatus::Complete => {
                let found = format!("{}: complete, {} references in use", source.title, source.images_in_use);
                checks.push(Check::well(Area::Source, found));
            }
            SourceStatus::NotInRegion => {
                checks.push(Check::well(Area::Source, format!("{}: not in this Region", source.title)));
            }
            // Its gaps say why.
            SourceStatus::Incomplete => {}
        }
    }
    let unread: BTreeSet<&str> = usage.gaps.iter().map(|gap| gap.source.as_str()).collect();
    let of_area = |wanted: Area| usage.gaps.iter().filter(move |gap| area(gap) == wanted);
    checks.extend(of_area(Area::Source).map(|gap| Check::of_gap(Area::Source, gap, now)));
    let ignored: BTreeSet<&str> = usage.ignored.iter().map(|ignored| ignored.gap.source.as_str()).collect();
    for cluster in &snapshot.once.eks_clusters {
        let source = format!("{}/{cluster}", eks::SOURCE.name);
        if !unread.contains(source.as_str()) && !ignored.contains(source.as_str()) {
            checks.push(Check::well(Area::Cluster, format!("{cluster}: it reports")));
        }
    }
    if snapshot.once.eks_clusters.is_empty() && of_area(Area::Cluster).next().is_none() {
        checks.push(Check::well(Area::Cluster, "there is none in this account and Region"));
    }
    checks.extend(of_area(Area::Cluster).map(|gap| Check::of_gap(Area::Cluster, gap, now)));
    checks.extend(usage.ignored.iter().map(|ignored| {
        let until = ignored.until.map_or_else(String::new, |until| format!(", until {until}"));
        let found = format!("{}: ignored, since {}{until}", ignored.gap.source, ignored.reason);
        Check::well(area(&ignored.gap), found)
    }));
    checks
}

/// The lists that there are, with when each was written, and what is wrong with them and with those that are missing.
pub(super) fn of_lists(
    found: impl Iterator<Item = (String, Option<Instant>)>,
    snapshot: &UsageSnapshot,
    now: Instant,
) -> Vec<Check> {
    let gaps: Vec<&UnreadableSource> =
        snapshot.usage.gaps.iter().filter(|gap| area(gap) == Area::List).collect();
    let ignored = |key: &str| snapshot.usage.ignored.iter().any(|ignored| is_about(&ignored.gap.source, key));
    let mut checks: Vec<Check> = found
        .filter(|(key, _)| !gaps.iter().any(|gap| is_about(&gap.source, key)) && !ignored(key))
        .map(|(key, written)| {
            let written = written.map_or_else(String::new, |at| format!(", written {} ago", age(now, at)));
            Check::well(Area::List, format!("{key}: complete{written}"))
        })
        .collect();
    checks.extend(gaps.into_iter().map(|gap| Check::of_gap(Area::List, gap, now)));
    if checks.is_empty() {
        checks.push(Check::well(Area::List, "there is none"));
    }
    checks
}

/// Whether a source is that of a list, or one that it tells of: `usage/a.json/batch`.
fn is_about(source: &str, key: &str) -> bool {
    source.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Where deletions are replicated to.
pub(super) fn of_replication(snapshot: &UsageSnapshot, now: Instant) -> Vec<Check> {
    let gaps = snapshot.usage.gaps.iter().filter(|gap| area(gap) == Area::Replication);
    let checks: Vec<Check> = gaps.map(|gap| Check::of_gap(Area::Replication, gap, now)).collect();
    if !checks.is_empty() {
        return checks;
    }
    let found = match snapshot.usage.replicas.len() {
        0 => "no deletion is replicated".to_owned(),
        number => format!("every registry that deletions are replicated to reports: {number}"),
    };
    vec![Check::well(Area::Replication, found)]
}

/// The policies of a policies file that go by when images were pulled, by name.
pub(super) fn goes_by_pulls(policy_set: &PolicySet) -> Vec<&str> {
    let by_pulls = |limit: &Limit| matches!(limit, Limit::SinceImagePulled(_));
    policy_set
        .entries()
        .iter()
        .filter(|entry| {
            entry.keep.pulled_within_days.is_some()
                || entry.policy.rules().iter().any(|rule| by_pulls(&rule.limit))
        })
        .map(|entry| entry.name.as_str())
        .collect()
}

/// Whether a caller's reading of manifests does not count as a pull: its user or role is among those that are excluded. A session
/// names its role without the role's path.
pub(super) fn is_exempt(caller: &str, exclusions: &[String]) -> bool {
    let role = caller
        .split(':')
        .nth(5)
        .and_then(|resource| resource.strip_prefix("assumed-role/")?.split('/').next());
    let account = caller.split(':').nth(4);
    exclusions.iter().any(|excluded| {
        let resource = excluded.split(':').nth(5).unwrap_or_default();
        let is_its_role = role.is_some()
            && resource.starts_with("role/")
            && resource.rsplit('/').next() == role
            && excluded.split(':').nth(4) == account;
        excluded == caller || is_its_role
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_exempt_by_its_role_of_the_same_account_whatever_path_that_has() {
        let session = "arn:aws:sts::123456789012:assumed-role/steward/me";
        let exempt = |caller: &str, excluded: &str| is_exempt(caller, &[excluded.to_owned()]);
        assert!(exempt(session, "arn:aws:iam::123456789012:role/steward"));
        assert!(exempt(session, "arn:aws:iam::123456789012:role/team/steward"));
        assert!(!exempt(session, "arn:aws:iam::210987654321:role/steward"));
        assert!(!exempt(session, "arn:aws:iam::123456789012:role/other"));
        assert!(!exempt(session, "arn:aws:iam::123456789012:user/steward"));
        let user = "arn:aws:iam::123456789012:user/steward";
        assert!(exempt(user, user) && !exempt(user, "arn:aws:iam::123456789012:role/steward"));
    }

    #[test]
    fn policies_that_use_pull_times_are_found_by_their_rules_and_by_what_they_keep() {
        let policy_set = PolicySet::parse(
            "policies:
- { name: pushed, repositories: [a], rules: [{ selection: any, maximumAgeLimit: 14 }] }
- { name: pulled, repositories: [b], rules: [{ selection: any, maximumDaysSincePull: 180, action: archive }] }
- { name: kept, repositories: [c], keep: { pulledWithinDays: 30 }, rules: [{ selection: any, maximumAgeLimit: 14 }] }",
        )
        .unwrap();
        assert_eq!(goes_by_pulls(&policy_set), ["pulled", "kept"]);
    }

    #[test]
    fn each_gap_is_reported_in_its_place() {
        let gap = |source: &str| UnreadableSource {
            source: source.to_owned(),
            repositories: vec![],
            problem: String::new(),
        };
        for (source, expected) in [
            ("ecs/a/b", Area::Source),
            ("batch", Area::Source),
            ("eks", Area::Cluster),
            ("eks/shop", Area::Cluster),
            ("usage", Area::Source),
            ("usage/eks/shop.json", Area::List),
            ("account/*", Area::Pullers),
            ("organization/o-1", Area::Pullers),
            ("replication/123456789012/eu-west-1", Area::Replication),
        ] {
            assert_eq!(area(&gap(source)), expected, "{source}");
        }
    }
}
