//! What came of a run, as JSON: for the registry, for each policy, and for the repositories that there is something to tell
//! of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::enforcement::enforcement_switch::DryRunReason;
use crate::instant::Instant;
use crate::policy_book::IgnoredSource;
use crate::quantity::{bytes, count};
use crate::run::Run;
use crate::run::outcome::{Amount, Outcome, Status};
use crate::usage::Gap;

/// Of so many repositories a report tells singly; counts are of all.
pub const REPOSITORIES: usize = 2000;
/// Of so many images, over all repositories.
pub const IMAGES: usize = 10_000;
/// So many names of repositories that no policy is for, and of objects in the bucket.
pub const NAMES: usize = 1000;
/// What ECR takes for a gigabyte (2³⁰ bytes) a month, in US dollars; the same in the standard class and in the archive, below
/// 150 terabytes. (Amazon ECR pricing.)
pub const USD_PER_GIGABYTE_MONTH: f64 = 0.10;

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunReport {
    /// The run.
    #[serde(flatten)]
    pub run: Run,
    /// When this was written.
    pub ended_at: Instant,
    /// How it ended.
    pub status: RunStatus,
    /// Why there is no more to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether there is a policy book in the bucket.
    pub has_book: bool,
    /// Whether the run shows all that its policies file does, so that the next one may enforce the file.
    #[serde(default)]
    pub is_preview: bool,
    /// What people should know before anything else: why nothing was taken, what is unknown, what is ignored, what a limit of
    /// the registry blocks. One sentence or two each.
    #[serde(default)]
    pub notices: Vec<String>,
    /// Over all repositories.
    pub totals: Totals,
    /// For each policy of the book that is for some repository.
    pub policies: BTreeMap<String, Totals>,
    /// What could not be read of what is in use.
    pub gaps: Vec<Gap>,
    /// For each of these the entry of `usage.ignore` that says for 90 days that it does not matter.
    #[serde(default)]
    pub ignore_entries: Vec<String>,
    /// The sources of use that the policies file says do not matter.
    #[serde(default)]
    pub ignored: Vec<IgnoredSource>,
    /// Batches that were not worked on to their end.
    pub unfinished_batches: Vec<String>,
    /// What was written down before images were deleted, and no outcome tells of: a function was cut off. Whether those images
    /// are gone, the next run sees.
    pub untold_journal: Vec<String>,
    /// Repositories that there is something to tell of, those that somebody should look at first.
    pub repositories: Vec<Outcome>,
    /// Of how many more it is not told here.
    pub repositories_not_shown: u64,
    /// Repositories that no policy is for; the first of them.
    pub unmatched: Vec<String>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RunStatus {
    /// All was looked at and done.
    Succeeded,
    /// Something was held back, failed, or is not finished.
    Attention,
    /// There was no run.
    Failed,
}

/// What came of some repositories, added up. Sizes are sums over images that share layers: less is freed than they say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Totals {
    /// How many repositories.
    pub repositories: u64,
    /// How many ended how.
    pub statuses: BTreeMap<Status, u64>,
    /// All images.
    pub images: Amount,
    /// How many images count for limits in percent of the registry.
    pub counted_images: u64,
    /// What policies take, less what is in use and kept.
    pub expiring: Amount,
    /// What policies move to the archive.
    pub transitioning: Amount,
    /// What was deleted.
    pub deleted: Amount,
    /// What was moved to the archive.
    pub archived: Amount,
    /// What the rules would take, and its use keeps.
    pub held_by_use: Amount,
    /// What the rules would take, and policies keep all the same.
    pub held_by_keep: Amount,
    /// What came into use after it was deleted or archived, and was put back.
    pub put_back: Amount,
    /// What is not taken since a plan is past a limit, or something is not known.
    pub held_by_obstacles: Amount,
    /// What was to be deleted, and was not.
    pub failed: Amount,
    /// Protection tags that were added.
    pub tags_added: u64,
    /// Repositories that differ from the book.
    pub drifted: u64,
    /// What storing all images costs a month at most, in US dollars: images share layers.
    pub estimated_monthly_cost: f64,
    /// What is saved a month at most, in US dollars, by what was deleted, or would be.
    pub estimated_monthly_saving: f64,
}

impl Totals {
    /// One more repository.
    pub fn add(&mut self, outcome: &Outcome) {
        self.repositories += 1;
        *self.statuses.entry(outcome.status).or_default() += 1;
        self.images.extend(outcome.images);
        self.counted_images += outcome.counted_images;
        self.expiring.extend(outcome.expiring);
        self.transitioning.extend(outcome.transitioning);
        self.deleted.extend(outcome.deleted);
        self.archived.extend(outcome.archived);
        self.held_by_use.extend(outcome.held_by_use);
        self.held_by_keep.extend(outcome.held_by_keep);
        self.put_back.extend(outcome.put_back);
        self.failed.extend(outcome.failed);
        if !outcome.obstacles.is_empty() {
            self.held_by_obstacles.extend(outcome.expiring);
        }
        if let Some(attached) = &outcome.attachment {
            self.tags_added += attached.tags_added;
        }
        self.drifted += u64::from(!outcome.drift.is_empty());
        self.estimated_monthly_cost = monthly_cost(self.images);
        let gone = if self.deleted.is_zero() { self.expiring } else { self.deleted };
        self.estimated_monthly_saving = monthly_cost(gone);
    }

    /// How many repositories ended so.
    #[must_use]
    pub fn count(&self, status: Status) -> u64 {
        self.statuses.get(&status).copied().unwrap_or_default()
    }
}

/// What storing images costs a month at most, in US dollars.
#[must_use]
pub fn monthly_cost(amount: Amount) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "cents are shown")]
    let gigabytes = amount.image_size_in_bytes as f64 / 1_073_741_824.0;
    (gigabytes * USD_PER_GIGABYTE_MONTH * 100.0).round() / 100.0
}

/// Makes a report of outcomes as they come; holds no more than it shows.
#[derive(Debug)]
pub struct Builder {
    report: RunReport,
    images: usize,
}

impl Builder {
    /// A report of a run, without anything yet.
    #[must_use]
    pub fn new(run: Run, ended_at: Instant) -> Self {
        let report = RunReport {
            run,
            ended_at,
            status: RunStatus::Succeeded,
            error: None,
            has_book: true,
            is_preview: false,
            notices: Vec::new(),
            totals: Totals::default(),
            policies: BTreeMap::new(),
            gaps: Vec::new(),
            ignore_entries: Vec::new(),
            ignored: Vec::new(),
            unfinished_batches: Vec::new(),
            untold_journal: Vec::new(),
            repositories: Vec::new(),
            repositories_not_shown: 0,
            unmatched: Vec::new(),
        };
        Self { report, images: 0 }
    }

    /// One more repository.
    pub fn take(&mut self, mut outcome: Outcome) {
        let report = &mut self.report;
        if outcome.status == Status::Unmatched {
            report.totals.add(&outcome);
            if report.unmatched.len() < NAMES {
                report.unmatched.push(outcome.repository_name.clone());
            }
            if !outcome.has_something_to_tell() {
                return;
            }
        } else {
            report.totals.add(&outcome);
            report.policies.entry(outcome.policy.clone().unwrap_or_default()).or_default().add(&outcome);
        }
        if !outcome.has_something_to_tell() {
            return;
        }
        if report.repositories.len() >= REPOSITORIES && !outcome.needs_attention() {
            report.repositories_not_shown += 1;
            return;
        }
        let room = IMAGES.saturating_sub(self.images);
        let cut = outcome.results.len().saturating_sub(room);
        outcome.results.truncate(room);
        outcome.results_not_shown += cut as u64;
        self.images += outcome.results.len();
        report.repositories.push(outcome);
    }

    /// What else there is to tell, to be changed.
    pub const fn report_mut(&mut self) -> &mut RunReport {
        &mut self.report
    }

    /// The report.
    #[must_use]
    pub fn finish(self) -> RunReport {
        let mut report = self.report;
        let rank = |outcome: &Outcome| {
            let gone = outcome.deleted.image_size_in_bytes.max(outcome.expiring.image_size_in_bytes);
            (!outcome.needs_attention(), std::cmp::Reverse(gone))
        };
        report.repositories.sort_by(|one, two| {
            rank(one).cmp(&rank(two)).then_with(|| one.repository_name.cmp(&two.repository_name))
        });
        let extra = report.repositories.len().saturating_sub(REPOSITORIES);
        report.repositories.truncate(REPOSITORIES);
        report.repositories_not_shown += extra as u64;
        let is_well = report.gaps.is_empty()
            && report.unfinished_batches.is_empty()
            && report.untold_journal.is_empty()
            && report.repositories.iter().all(|outcome| outcome.native_policy.is_none())
            && [Status::Held, Status::Partial, Status::Failed, Status::Remaining]
                .iter()
                .all(|status| report.totals.count(*status) == 0);
        report.status = match (&report.error, is_well) {
            (Some(_), _) => RunStatus::Failed,
            (None, false) => RunStatus::Attention,
            (None, true) => RunStatus::Succeeded,
        };
        report.ignore_entries = report.gaps.iter().map(|gap| gap.ignore_entry(report.ended_at)).collect();
        report.notices = notices(&report);
        report
    }
}

impl Outcome {
    /// Whether there is more to tell than that all is as it should be.
    #[must_use]
    pub fn has_something_to_tell(&self) -> bool {
        let attached = self.attachment.as_ref();
        let is_attached = attached.is_some_and(|attached| *attached != Default::default());
        self.needs_attention()
            || is_attached
            || !(self.drift.is_empty() && self.findings.is_empty() && self.results.is_empty())
            || self.status == Status::Gone
    }
}

/// The code of the obstacle that is a limit of the whole registry.
const REGISTRY_LIMIT: &str = "limit-registry";

/// What people should know before anything else.
fn notices(report: &RunReport) -> Vec<String> {
    let gaps = report.gaps.iter().zip(&report.ignore_entries).map(|(gap, entry)| {
        let scope = match gap.repositories.as_slice() {
            [] => "all repositories".to_owned(),
            patterns => patterns.join(", "),
        };
        format!(
            "It is not known what uses images of {scope}: {gap}. Nothing goes from there until this is mended. If it does not \
             matter, add to `ignore` below `usage` in the policies file: `{entry}`."
        )
    });
    dry_run_notice(report).into_iter().chain(gaps).chain(other_notices(report)).collect()
}

/// Why nothing was taken, if nobody asked for that.
pub(super) fn dry_run_notice(report: &RunReport) -> Option<String> {
    let reason = report.run.dry_run_reason.filter(|reason| *reason != DryRunReason::Requested)?;
    let reason = reason.explain(report.run.book_hash.as_deref());
    report.error.is_none().then(|| format!("Nothing was deleted, archived or attached: {reason}."))
}

/// What is ignored, and what limits of the registry block.
pub(super) fn other_notices(report: &RunReport) -> Vec<String> {
    let mut notices = Vec::new();
    for IgnoredSource { source, reason, until } in &report.ignored {
        let until = until.map_or_else(|| "for good".to_owned(), |until| format!("until {until}"));
        notices.push(format!("The policies file ignores {source} {until}: {reason}."));
    }
    let blocked = report.repositories.iter().filter_map(|outcome| {
        let held = outcome.obstacles.iter().find(|held| held.code == REGISTRY_LIMIT)?;
        Some((outcome, held))
    });
    let (mut repositories, mut images, mut first) = (0_u64, 0_u64, None);
    for (outcome, held) in blocked {
        let count = |amount: Amount| amount.image_total_count;
        let planned = count(outcome.expiring) + count(outcome.transitioning);
        repositories += 1;
        images += planned.saturating_sub(count(outcome.deleted) + count(outcome.archived));
        first = first.or(Some((&outcome.repository_name, &held.message)));
    }
    if let Some((repository, message)) = first {
        let images = count(images, "image");
        let repositories = count(repositories, "repository").replace("repositorys", "repositories");
        notices.push(format!(
            "A limit of the registry blocks {images} in {repositories}. In {repository}: {message}."
        ));
    }
    notices
}

impl RunReport {
    /// Whether people are told of the run although they did not ask. Of one that only protects they are told when something needs
    /// attention: there are many in a day.
    #[must_use]
    pub fn is_worth_a_message(&self) -> bool {
        !self.run.protect_only || self.status != RunStatus::Succeeded
    }

    /// The report in one line, for the subject of a mail.
    #[must_use]
    pub fn headline(&self) -> String {
        let totals = &self.totals;
        let did = if self.run.dry_run {
            format!("{} would go", count(totals.expiring.image_total_count, "image"))
        } else {
            format!("{} deleted", count(totals.deleted.image_total_count, "image"))
        };
        match self.status {
            RunStatus::Succeeded | RunStatus::Attention if self.run.protect_only => {
                let tags = count(totals.tags_added, "tag");
                let what = format!("ECR: images in use got {tags} for their protection");
                let needs_attention = self.status == RunStatus::Attention;
                if needs_attention { format!("{what}, and something needs attention") } else { what }
            }
            RunStatus::Succeeded => format!("ECR: {did}"),
            RunStatus::Attention => format!("ECR: {did}, and something needs attention"),
            RunStatus::Failed => "ECR: the lifecycle run failed".to_owned(),
        }
    }

    /// The report in a few lines, for people who are told of every run. `address` is where all of it is.
    #[must_use]
    pub fn message(&self, address: &str) -> String {
        let totals = &self.totals;
        let amount = |amount: Amount| {
            format!("{} ({})", count(amount.image_total_count, "image"), bytes(amount.image_size_in_bytes))
        };
        const NOTICES: usize = 20;
        let mut lines = vec![format!("Run {} of {}", self.run.run_id, self.run.started_at)];
        lines.extend(self.run.started_by.as_ref().map(|by| format!("Started by {by}")));
        if self.run.dry_run && !self.run.only_protects() {
            lines.push("This was a dry run: nothing was changed.".to_owned());
        }
        if let Some(error) = &self.error {
            lines.push(format!("It failed: {error}"));
        }
        if !self.has_book && self.error.is_none() {
            lines.push(
                "There is no policies.yaml in the stack's bucket, so that no repository has a policy."
                    .to_owned(),
            );
        }
        for notice in self.notices.iter().take(NOTICES) {
            lines.extend([String::new(), notice.clone()]);
        }
        let more = self.notices.len().saturating_sub(NOTICES);
        if more > 0 {
            lines.extend([String::new(), format!("And {more} more like these: see the report.")]);
        }
        lines.push(String::new());
        let mut tell = |label: &str, told: String| lines.push(format!("{label:<26}{told}"));
        let unmatched = totals.count(Status::Unmatched);
        tell(
            "Repositories",
            format!("{}, {unmatched} of them under no policy", crate::quantity::grouped(totals.repositories)),
        );
        tell("Images", amount(totals.images));
        tell("Deleted", amount(totals.deleted));
        if !totals.archived.is_zero() {
            tell("Archived", amount(totals.archived));
        }
        tell("Taken by the policies", amount(totals.expiring));
        tell("Held, since in use", amount(totals.held_by_use));
        for (label, held) in [
            ("Held, since kept", totals.held_by_keep),
            ("Put back", totals.put_back),
            ("Held by limits", totals.held_by_obstacles),
            ("Failed", totals.failed),
        ] {
            if !held.is_zero() {
                tell(label, amount(held));
            }
        }
        if totals.drifted > 0 {
            tell(
                "Not as the book says",
                count(totals.drifted, "repository").replace("repositorys", "repositories"),
            );
        }
        let mut troubles: Vec<String> =
            self.unfinished_batches.iter().map(|batch| format!("not finished: {batch}")).collect();
        troubles.extend(self.untold_journal.iter().map(|key| format!("cut off while deleting: {key}")));
        for outcome in self.repositories.iter().filter(|outcome| outcome.needs_attention()) {
            let why =
                outcome.error.clone().or_else(|| outcome.obstacles.first().map(|held| held.message.clone()));
            troubles.push(format!("{}: {}", outcome.repository_name, why.unwrap_or_default()));
        }
        if !troubles.is_empty() {
            const SHOWN: usize = 12;
            lines.push(String::new());
            lines.push("Needs attention:".to_owned());
            let more = troubles.len().saturating_sub(SHOWN);
            lines.extend(troubles.into_iter().take(SHOWN).map(|trouble| format!("- {trouble}")));
            if more > 0 {
                lines.push(format!("- and {more} more"));
            }
        }
        lines.push(String::new());
        lines.push(format!("All of it: {address}"));
        lines.join("\n")
    }
}

/// The report's numbers as a line of CloudWatch's embedded metric format: written to a function's log it is metrics.
#[must_use]
pub fn metrics(report: &RunReport, stack: &str) -> String {
    const NAMESPACE: &str = "ecr-steward";
    let totals = &report.totals;
    let attention = [Status::Held, Status::Partial, Status::Failed, Status::Remaining];
    let attention: u64 = attention.iter().map(|status| totals.count(*status)).sum();
    let seconds = (report.ended_at.micros() - report.run.started_at.micros()) / 1_000_000;
    // What an alarm waits for: a run over the registry that came to its end, and protected what is to be protected.
    let is_whole = report.error.is_none() && report.unfinished_batches.is_empty();
    let is_over_registry = !report.run.protect_only;
    let has_protected = is_whole && is_over_registry && (!report.run.dry_run || report.run.only_protects());
    let values: [(&str, &str, u64); 16] = [
        ("Repositories", "Count", totals.repositories),
        ("RepositoriesUnmatched", "Count", totals.count(Status::Unmatched)),
        ("RepositoriesNeedingAttention", "Count", attention),
        ("RepositoriesDrifted", "Count", totals.drifted),
        ("Images", "Count", totals.images.image_total_count),
        ("ImageBytes", "Bytes", totals.images.image_size_in_bytes),
        ("ImagesExpiring", "Count", totals.expiring.image_total_count),
        ("ImagesDeleted", "Count", totals.deleted.image_total_count),
        ("ImageBytesDeleted", "Bytes", totals.deleted.image_size_in_bytes),
        ("ImagesHeldByUse", "Count", totals.held_by_use.image_total_count),
        ("ImagesHeldByObstacles", "Count", totals.held_by_obstacles.image_total_count),
        ("ImagesFailed", "Count", totals.failed.image_total_count),
        ("UsageGaps", "Count", report.gaps.len() as u64),
        ("RunsCompleted", "Count", u64::from(has_protected)),
        ("RunsFailed", "Count", u64::from(report.status == RunStatus::Failed)),
        ("RunSeconds", "Seconds", u64::try_from(seconds).unwrap_or_default()),
    ];
    let definitions: Vec<serde_json::Value> =
        values.iter().map(|(name, unit, _)| serde_json::json!({ "Name": name, "Unit": unit })).collect();
    let mut line = serde_json::json!({
        "_aws": {
            "Timestamp": report.ended_at.micros() / 1000,
            "CloudWatchMetrics": [
                { "Namespace": NAMESPACE, "Dimensions": [["StackName"]], "Metrics": definitions },
            ],
        },
        "StackName": stack,
        "runId": report.run.run_id,
    });
    for (name, _, value) in values {
        line[name] = value.into();
    }
    line.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::outcome::Held;

    fn amount(count: u64) -> Amount {
        Amount { image_total_count: count, image_size_in_bytes: count * 1_000_000_000 }
    }

    fn run() -> Run {
        let started_at = Instant::parse("2026-11-23T03:00:00Z").unwrap();
        Run {
            run_id: "nightly".to_owned(),
            started_at,
            started_by: Some("arn:aws:states:eu-west-1:123456789012:execution:steward:nightly".to_owned()),
            dry_run: false,
            protect_only: false,
            dry_run_reason: None,
            attempt: "a".to_owned(),
            book_version: Some("v7".to_owned()),
            book_hash: Some("0123456789abcdef".to_owned()),
        }
    }

    fn outcome(name: &str, status: Status) -> Outcome {
        Outcome {
            repository_name: name.to_owned(),
            policy: Some("all".to_owned()),
            status,
            images: amount(100),
            ..Outcome::default()
        }
    }

    fn report() -> RunReport {
        let mut builder = Builder::new(run(), Instant::parse("2026-11-23T03:00:42Z").unwrap());
        builder.take(Outcome {
            deleted: amount(30),
            expiring: amount(30),
            ..outcome("app/web", Status::Done)
        });
        let obstacle = Held {
            code: "limit-images".to_owned(),
            message: "90 would go, and the limit `images` is 50".to_owned(),
        };
        let held =
            Outcome { obstacles: vec![obstacle], expiring: amount(90), ..outcome("app/api", Status::Held) };
        builder.take(Outcome { held_by_use: amount(2), drift: vec!["rule 3".to_owned()], ..held });
        builder.take(outcome("quiet", Status::Done));
        builder.take(Outcome::failed("broken", "all", "DescribeImages: AWS could not answer".to_owned()));
        builder.take(Outcome {
            images: Amount::default(),
            policy: None,
            ..outcome("nobody", Status::Unmatched)
        });
        let gap = Gap { source: "Amazon ECS".to_owned(), repositories: vec![], problem: "denied".to_owned() };
        builder.report_mut().gaps.push(gap);
        builder.report_mut().ignored.push(IgnoredSource {
            source: "eks/old".to_owned(),
            reason: "no nodes any more".to_owned(),
            until: Some(jiff::civil::date(2027, 1, 1)),
        });
        builder.finish()
    }

    #[test]
    fn what_needs_attention_is_first_and_what_is_quiet_is_only_counted() {
        let report = report();
        let names: Vec<&str> =
            report.repositories.iter().map(|outcome| outcome.repository_name.as_str()).collect();
        assert_eq!(names, ["app/api", "broken"]);
        assert_eq!(report.totals.repositories, 5);
        assert_eq!(report.unmatched, ["nobody"]);
        assert_eq!(report.status, RunStatus::Attention);
        assert_eq!(report.policies["all"].repositories, 4);
        assert_eq!(report.totals.held_by_obstacles, amount(90));
    }

    #[test]
    fn people_are_told_in_a_few_lines() {
        let report = report();
        insta::assert_snapshot!(format!(
            "{}\n\n{}",
            report.headline(),
            report.message("s3://bucket/report.html")
        ));
        let failed = RunReport { error: Some("policies.yaml: /: syntax: no".to_owned()), ..report };
        let failed = RunReport { status: RunStatus::Failed, ..failed };
        assert_eq!(failed.headline(), "ECR: the lifecycle run failed");
        assert!(failed.message("s3://b/r").contains("It failed: policies.yaml: /: syntax: no"));
    }

    #[test]
    fn why_nothing_was_taken_is_said_before_anything_else() {
        let reason = Some(DryRunReason::NotPreviewed);
        let run = Run { dry_run: true, dry_run_reason: reason, ..run() };
        let mut builder = Builder::new(run, Instant::parse("2026-11-23T03:00:42Z").unwrap());
        let obstacle = Held {
            code: REGISTRY_LIMIT.to_owned(),
            message: "5,000 images went today, and the limit `images` is 5,000".to_owned(),
        };
        builder.take(Outcome {
            obstacles: vec![obstacle],
            expiring: amount(3),
            ..outcome("app", Status::Held)
        });
        let report = builder.finish();
        assert_eq!(report.notices.len(), 2);
        assert!(report.notices[0].contains("approve: \"0123456789abcdef\""), "{:?}", report.notices);
        assert_eq!(
            report.notices[1],
            "A limit of the registry blocks 3 images in 1 repository. In app: 5,000 images went today, and the limit \
             `images` is 5,000."
        );
        let message = report.message("s3://b/r");
        assert!(!message.contains("nothing was changed"), "it may have protected: {message}");
        let at = |part: &str| message.find(part).unwrap();
        assert!(at("Nothing was deleted") < at("Repositories"));
    }

    #[test]
    fn numbers_are_metrics() {
        let line: serde_json::Value = serde_json::from_str(&metrics(&report(), "steward")).unwrap();
        let names: Vec<&str> = line["_aws"]["CloudWatchMetrics"][0]["Metrics"]
            .as_array()
            .unwrap()
            .iter()
            .map(|metric| metric["Name"].as_str().unwrap())
            .collect();
        assert!(names.iter().all(|name| line[*name].is_u64()), "{line}");
        assert_eq!(line["ImagesDeleted"], 30);
        assert_eq!(line["RepositoriesNeedingAttention"], 2);
        assert_eq!(line["RunSeconds"], 42);
        assert_eq!(line["StackName"], "steward");
    }

    #[test]
    fn a_run_that_only_protects_is_no_run_over_the_registry_and_is_told_of_when_something_needs_attention() {
        let run = Run {
            dry_run: true,
            protect_only: true,
            dry_run_reason: Some(DryRunReason::ProtectOnly),
            ..run()
        };
        let end = Instant::parse("2026-11-23T03:00:42Z").unwrap();
        let mut builder = Builder::new(run.clone(), end);
        builder.take(outcome("app", Status::Done));
        let quiet = builder.finish();
        let completed = |report: &RunReport| {
            let line: serde_json::Value = serde_json::from_str(&metrics(report, "steward")).unwrap();
            line["RunsCompleted"].as_u64()
        };
        assert_eq!(completed(&quiet), Some(0));
        assert!(!quiet.is_worth_a_message());
        assert_eq!(quiet.headline(), "ECR: images in use got 0 tags for their protection");
        let over_registry = Run { protect_only: false, dry_run: false, dry_run_reason: None, ..run.clone() };
        let whole = Builder::new(over_registry, end).finish();
        assert_eq!(completed(&whole), Some(1));
        assert!(whole.is_worth_a_message());
        let mut builder = Builder::new(run, end);
        builder.take(outcome("app", Status::Held));
        let held = builder.finish();
        assert!(held.is_worth_a_message());
        assert!(held.headline().ends_with("and something needs attention"), "{}", held.headline());
    }

    #[test]
    fn a_gigabyte_month_costs_ten_cents() {
        let gigabytes = |number: u64| Amount { image_total_count: 1, image_size_in_bytes: number << 30 };
        assert!((monthly_cost(gigabytes(250)) - 25.0).abs() < 1e-9);
        assert!(monthly_cost(Amount::default()).abs() < 1e-9);
    }

    #[test]
    fn a_report_holds_no_more_than_it_shows() {
        let mut builder = Builder::new(run(), run().started_at);
        for number in 0..(REPOSITORIES + 50) {
            let name = format!("r{number:05}");
            builder.take(Outcome { drift: vec!["x".to_owned()], ..outcome(&name, Status::Done) });
        }
        builder.take(outcome("late", Status::Failed));
        let report = builder.finish();
        assert_eq!(report.repositories.len(), REPOSITORIES);
        assert_eq!(report.repositories[0].repository_name, "late");
        assert_eq!(report.repositories_not_shown, 51);
        assert_eq!(report.totals.repositories as usize, REPOSITORIES + 51);
    }
}
