//! One preview: a policy, the images of a repository, what is in use and the time in; the report out.

use std::collections::HashSet;

use crate::domain::image::listing::{ListedRepository, Listing};
use crate::domain::image::{Image, ImageIndex, ImageStatus, RepositoryImages};
use crate::domain::lifecycle::document::{Action, LifecyclePolicy, StorageClass};
use crate::domain::lifecycle::evaluate::{Evaluation, Passes, Referrers, Verdict, evaluate, evaluate_with};
use crate::domain::lifecycle::explain::Explainer;
use crate::domain::lifecycle::lint::lint;
use crate::domain::preview::model::{
    ActionKind, ActionTaken, KeptImage, PreviewReport, PreviewResult, Status, Summary, TransitioningCount,
};
use crate::domain::text::finding::{Code, Finding};
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity;
use crate::domain::usage::Usage;

pub mod model;
pub mod request;

/// The input of a preview besides the images.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The policy; `None` when there is to be none.
    pub policy: Option<&'a LifecyclePolicy>,
    /// Everything in use.
    pub usage: &'a Usage,
    /// The time for which to evaluate.
    pub now: Instant,
    /// One pass, as ECR's preview, or all.
    pub passes: Passes,
}

/// Previews every repository of a listing; for a listing without any image, one empty report.
#[must_use]
pub fn preview_all(question: Question<'_>, listing: &Listing) -> Vec<PreviewReport> {
    let empty = ListedRepository::default();
    let repositories =
        if listing.repositories.is_empty() { std::slice::from_ref(&empty) } else { &listing.repositories };
    let mut reports: Vec<PreviewReport> =
        repositories.iter().map(|repository| preview(question, repository)).collect();
    if listing.incomplete {
        for report in &mut reports {
            report.findings.insert(
                0,
                Finding::new(
                    Code::ListingIncomplete,
                    "",
                    "the image listing ends with a token for more pages: images are missing, and counts are wrong",
                ),
            );
        }
    }
    reports
}

/// Previews one repository by the policy that ECR itself enforces there. ECR knows nothing of use, so that use keeps no image; images
/// in use that the policy takes are a finding.
#[must_use]
pub fn preview_of_ecr(question: Question<'_>, repository: &ListedRepository) -> PreviewReport {
    let none = Usage::default();
    let mut report = preview(Question { usage: &none, ..question }, repository);
    let images = &repository.images;
    let used = question.usage.of_repository(&repository.name, images);
    let going: HashSet<&str> =
        report.preview_results.iter().map(|result| result.image_digest.as_str()).collect();
    let mut taken: Vec<ImageIndex> = used.images().into_iter().collect();
    taken.sort_unstable();
    let mut taken = taken.into_iter().filter_map(|place| {
        let image = images.images().get(place as usize)?;
        going.contains(&*image.digest).then_some((place, image))
    });
    if let Some((place, first)) = taken.next() {
        let more = match taken.count() {
            0 => String::new(),
            count => format!(", and {} more", quantity::count(count as u64, "image")),
        };
        let reason = used.reason(place).unwrap_or("in use");
        let message = format!(
            "ECR takes {}{more} although it is in use ({reason}): a lifecycle policy of ECR knows nothing of use. Write `apply: protect` \
             or `apply: delete` for the repository, or delete this policy",
            first.digest
        );
        report.findings.insert(0, Finding::new(Code::InUseExpires, "", message));
    }
    report
}

/// Previews one repository.
#[must_use]
pub fn preview(question: Question<'_>, repository: &ListedRepository) -> PreviewReport {
    let Question { policy, usage, now, passes } = question;
    let images = &repository.images;
    let used = usage.of_repository(&repository.name, images);
    let evaluation = evaluate(policy, images, &used.images(), now, passes);
    let explainer = Explainer { policy, images, evaluation: &evaluation, now };

    let mut acted: Vec<(u64, ImageIndex, &Image, Action, Option<u16>)> = Vec::new();
    let mut kept: Vec<(ImageIndex, &Image)> = Vec::new();
    for ((image, verdict), place) in images.images().iter().zip(evaluation.verdicts()).zip(0..) {
        match verdict.acting_rule().and_then(|rule| policy?.rules().get(rule)) {
            Some(rule) => acted.push((rule.priority, place, image, rule.action, verdict.pass())),
            None => kept.push((place, image)),
        }
    }
    acted.sort_by(|left, right| left.0.cmp(&right.0).then_with(|| oldest_first(left.2, right.2)));
    kept.sort_by(|left, right| oldest_first(left.1, right.1));

    let summary = summary(&acted.iter().map(|a| (a.2, a.3)).collect::<Vec<_>>(), &kept);
    let preview_results = acted
        .into_iter()
        .map(|(priority, place, image, action, pass)| PreviewResult {
            image_digest: image.digest.to_string(),
            image_tags: tags(image),
            image_pushed_at: image.pushed_at,
            image_size_in_bytes: image.size_in_bytes,
            action: ActionTaken::from(action),
            applied_rule_priority: priority,
            storage_class: match image.status {
                ImageStatus::Archived => StorageClass::Archive,
                _ => StorageClass::Standard,
            },
            reason: explainer.reason(place, None),
            pass: pass.filter(|_| passes == Passes::UntilStable),
            short_reason: explainer.short_reason(place),
        })
        .collect();
    let kept = kept
        .into_iter()
        .map(|(place, image)| {
            let due = explainer.due(place);
            let due_for = |action| due.filter(|due| due.action == action).map(|due| due.at);
            KeptImage {
                image_digest: image.digest.to_string(),
                image_tags: tags(image),
                image_pushed_at: image.pushed_at,
                image_size_in_bytes: image.size_in_bytes,
                held_by: explainer.held_by(place),
                reason: explainer.reason(place, used.reason(place)),
                expires_at: due_for(Action::Expire),
                transitions_at: due_for(Action::Transition),
            }
        })
        .collect();

    let mut findings = Vec::new();
    findings.extend(unknown_relations(repository, evaluation.verdicts()));
    findings.extend(differing_push_times(images));
    findings.extend(from_the_future(images, now));
    findings.extend(used.not_found.iter().map(|reference| {
        Finding::new(
            Code::InUseNotFound,
            "",
            format!("{reference} is in use and not in the repository: it was deleted or retagged"),
        )
    }));
    if let Some(policy) = policy {
        if !images.subjects().is_empty() {
            let ranked = evaluate_with(Some(policy), images, &used.images(), now, passes, Referrers::Ranked);
            findings.extend(referrers_may_count(policy, &evaluation, &ranked));
        }
        findings.extend(lint(policy, images, &evaluation));
    }
    PreviewReport {
        registry_id: repository.name.registry_id.clone(),
        repository_name: repository.name.repository_name.clone(),
        lifecycle_policy_text: policy.map(LifecyclePolicy::to_json),
        evaluated_at: now,
        status: Status::Complete,
        preview_results,
        summary,
        kept,
        findings,
    }
}

/// A warning where the result depends on whether ECR ranks referrers.
fn referrers_may_count(
    policy: &LifecyclePolicy,
    follow: &Evaluation,
    ranked: &Evaluation,
) -> Option<Finding> {
    let action = |verdict: &Verdict| {
        verdict.acting_rule().and_then(|rule| policy.rules().get(rule)).map(|rule| rule.action)
    };
    let differ = follow.verdicts().iter().zip(ranked.verdicts()).any(|(one, two)| action(one) != action(two));
    let total = |evaluation: &Evaluation, wanted| {
        evaluation.verdicts().iter().filter(|verdict| action(verdict) == Some(wanted)).count() as u64
    };
    let numbers = |evaluation: &Evaluation| {
        let expiring = quantity::count(total(evaluation, Action::Expire), "image");
        match total(evaluation, Action::Transition) {
            0 => format!("expires {expiring}"),
            archived => format!("expires {expiring} and archives {archived}"),
        }
    };
    differ.then(|| {
        Finding::new(
            Code::ReferrersMayCount,
            "",
            format!(
                "the policy {} here, and {} if ECR counts artifacts with a subject (signatures, SBOMs, attestations) like \
                 other images: AWS writes that they only go with their subject, users report that they count; choose limits \
                 that are right either way",
                numbers(follow),
                numbers(ranked),
            ),
        )
    })
}

/// A warning where a listing contains an image twice with different push times, as listings of one repository from two Regions
/// do.
fn differing_push_times(images: &RepositoryImages) -> Option<Finding> {
    let places = images.push_times_differ();
    let example = images.images().get(*places.first()? as usize)?;
    Some(Finding::new(
        Code::PushTimesDiffer,
        "",
        format!(
            "the listing has {} more than once with different push times, for example {}: two Regions or accounts have a copy \
             each, and the later time counts here, so that less expires than there; preview the listing of each by itself",
            quantity::count(places.len() as u64, "image"),
            example.digest,
        ),
    ))
}

/// Maximum age difference, in microseconds, by which an image may be younger than the time of a preview: a day, since the time
/// may be given as a day, which is its beginning.
const MAX_YOUNGER_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

/// A warning where images are younger than the time of the preview.
fn from_the_future(images: &RepositoryImages, now: Instant) -> Option<Finding> {
    let is_future = |image: &&Image| image.pushed_at.micros() - now.micros() > MAX_YOUNGER_MICROS;
    let number = images.images().iter().filter(is_future).count();
    let youngest = images.images().iter().filter(is_future).max_by_key(|image| image.pushed_at)?;
    Some(Finding::new(
        Code::ImageFromFuture,
        "",
        format!(
            "{} pushed after {now}, the time that this is evaluated for, the last at {}: limits by age leave such images alone, \
             and counts take them for the youngest; is the time right?",
            match number {
                1 => "1 image was".to_owned(),
                number => format!("{} images were", quantity::grouped(number as u64)),
            },
            youngest.pushed_at,
        ),
    ))
}

/// A warning where only `DescribeImages` was read, so that children of indexes count as ordinary images.
fn unknown_relations(repository: &ListedRepository, verdicts: &[Verdict]) -> Option<Finding> {
    let gone =
        |place: &&ImageIndex| verdicts.get(**place as usize).is_some_and(|v| v.acting_rule().is_some());
    let unread = repository.images.unread_indexes();
    let staying = unread.len() - unread.iter().filter(gone).count();
    (!unread.is_empty()).then(|| {
        Finding::new(
            Code::RelationsUnknown,
            "",
            format!(
                "the children of {} ({} of which stay) are not known, so they are ranked and expired like other images, \
                 which ECR does not do while their index is there; append the output of `aws ecr batch-get-image` for \
                 the indexes to the image listing",
                quantity::count_of(unread.len() as u64, "image index", "image indexes"),
                staying,
            ),
        )
    })
}

fn oldest_first(left: &Image, right: &Image) -> std::cmp::Ordering {
    left.age_time().cmp(&right.age_time()).then_with(|| left.digest.cmp(&right.digest))
}

fn tags(image: &Image) -> Vec<String> {
    image.tags.iter().map(ToString::to_string).collect()
}

fn summary(acted: &[(&Image, Action)], kept: &[(ImageIndex, &Image)]) -> Summary {
    let total = |action| {
        acted.iter().filter(|(_, taken)| *taken == action).fold((0, 0_u64), |(count, size), (image, _)| {
            (count + 1, size.saturating_add(image.size_in_bytes))
        })
    };
    let (expiring, expiring_size) = total(Action::Expire);
    let (transitioning, transitioning_size) = total(Action::Transition);
    Summary {
        expiring_image_total_count: expiring,
        expiring_image_size_in_bytes: expiring_size,
        transitioning_image_total_counts: vec![TransitioningCount {
            target_storage_class: StorageClass::Archive,
            image_total_count: transitioning,
        }],
        transitioning_image_size_in_bytes: transitioning_size,
        kept_image_total_count: kept.len() as u64,
        kept_image_size_in_bytes: kept
            .iter()
            .fold(0, |size, (_, image)| size.saturating_add(image.size_in_bytes)),
    }
}

impl PreviewResult {
    /// Whether the image expires (and is not merely archived).
    #[must_use]
    pub fn expires(&self) -> bool {
        self.action.kind == ActionKind::Expire
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use serde_json::{Value, json};

    use super::*;
    use crate::domain::lifecycle::PolicySource;

    const NOW: &str = "2026-11-23T00:00:00Z";

    /// An image that was pushed this number of days (and a second) ago; `more` has other fields of `ImageDetail`.
    fn image(name: &str, tags: &[&str], days_ago: i64, more: &Value) -> Value {
        let mut detail = json!({
            "repositoryName": "app",
            "imageDigest": digest(name),
            "imageTags": tags,
            "imagePushedAt": day(days_ago),
            "imageSizeInBytes": 1_000_000,
            "imageManifestMediaType": "application/vnd.oci.image.manifest.v1+json",
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            detail[key] = value.clone();
        }
        detail
    }

    fn digest(name: &str) -> String {
        format!("sha256:{name:0>12}{}", "0".repeat(52))
    }

    fn day(days_ago: i64) -> i64 {
        Instant::parse(NOW).unwrap().micros() / 1_000_000 - days_ago * 86_400 - 1
    }

    fn index(name: &str, children: &[&str]) -> Value {
        let manifests: Vec<Value> = children.iter().map(|child| json!({ "digest": digest(child) })).collect();
        json!({
            "imageId": { "imageDigest": digest(name) },
            "imageManifest": json!({ "manifests": manifests }).to_string(),
        })
    }

    fn report(
        policy: &str,
        details: &[Value],
        manifests: &[Value],
        in_use: &str,
        passes: Passes,
    ) -> PreviewReport {
        let listing = json!({ "imageDetails": details, "images": manifests }).to_string();
        let source = PolicySource::parse(policy).unwrap();
        let usage = Usage::parse_recorded(in_use).unwrap();
        let question =
            Question { policy: source.policy(), usage: &usage, now: Instant::parse(NOW).unwrap(), passes };
        let mut reports = preview_all(question, &Listing::parse(&listing).unwrap());
        assert_eq!(reports.len(), 1);
        reports.remove(0)
    }

    /// A report as lines: what expires, what is kept, and the findings.
    fn lines(report: &PreviewReport) -> String {
        let mut lines = String::new();
        let name = |digest: &str| digest.trim_start_matches("sha256:").trim_start_matches('0').to_owned();
        for result in &report.preview_results {
            let verb = if result.expires() { "expire" } else { "archive" };
            let pass = result.pass.map(|pass| format!(" in pass {pass}")).unwrap_or_default();
            let _ = writeln!(
                lines,
                "{verb} {}{pass} by rule {}: {} [{}]",
                name(&result.image_digest),
                result.applied_rule_priority,
                result.reason,
                result.short_reason
            );
        }
        for image in &report.kept {
            let due = [("expires", image.expires_at), ("archives", image.transitions_at)]
                .into_iter()
                .filter_map(|(verb, at)| Some(format!(" ({verb} at {})", at?)))
                .collect::<String>();
            let _ = writeln!(
                lines,
                "keep {}, {}: {}{due}",
                name(&image.image_digest),
                image.held_by,
                image.reason
            );
        }
        for finding in &report.findings {
            let _ = writeln!(lines, "{finding}");
        }
        // Digests are of a few digits and zeros.
        lines.replace(&"0".repeat(52), "")
    }

    const POLICY: &str = "
rules:
- {selection: untagged, maximumAgeLimit: 14}
- {selection: {tagPrefixList: [ci-]}, maximumNumberOfImages: 2}
- {selection: {tagPrefixList: [v]}, maximumDaysSincePull: 90, action: archive}
- {selection: any, maximumDaysInArchive: 365}
";

    #[test]
    fn every_image_has_its_reason() {
        let index_type = json!({ "imageManifestMediaType": "application/vnd.oci.image.index.v1+json" });
        let subject = |name: &str| json!({ "subjectManifestDigest": digest(name) });
        let details = [
            image("a1", &[], 15, &Value::Null),
            image("a2", &[], 13, &Value::Null),
            image("c1", &["ci-1", "staging"], 9, &Value::Null),
            image("c2", &["ci-2"], 8, &Value::Null),
            image("c3", &["ci-3"], 7, &Value::Null),
            image("c4", &["ci-4"], 0, &Value::Null),
            image("d1", &["v1"], 400, &index_type),
            image("d2", &[], 400, &Value::Null),
            image("d3", &["sha256-d1.sig"], 400, &subject("d1")),
            image("d4", &[], 399, &subject("d3")),
            image("e1", &["v2"], 300, &json!({ "lastRecordedPullTime": day(20) })),
            image("e2", &["v3"], 300, &json!({ "lastRecordedPullTime": day(91) })),
            image("e3", &[], 299, &subject("e1")),
            image("f1", &["v0.1"], 900, &json!({ "imageStatus": "ARCHIVED", "lastArchivedAt": day(366) })),
            image("f2", &["v0.2"], 900, &json!({ "imageStatus": "ARCHIVED", "lastArchivedAt": day(300) })),
            image("f3", &["v0.3"], 900, &json!({ "imageStatus": "ARCHIVED" })),
            image("f4", &["v0.4"], 900, &json!({ "imageStatus": "ACTIVATING" })),
            image(
                "f5",
                &["v0.5"],
                900,
                &json!({ "lastActivatedAt": day(100), "lastRecordedPullTime": day(800) }),
            ),
            image("f6", &["v0.6"], 900, &json!({ "imageStatus": "FROZEN" })),
            image("fe", &["other"], 900, &Value::Null),
            image("ff", &[], -3, &Value::Null),
        ];
        let report = report(POLICY, &details, &[index("d1", &["d2", "dead"])], "[]", Passes::One);
        insta::assert_snapshot!(lines(&report), @"
        expire a1 by rule 1: Pushed 15 days ago; rule 1 expires images older than 14 days. [pushed > 14 d ago]
        expire c1 by rule 2: Rank 4 by age; rule 2 keeps the 2 youngest images, so it expires. [rank 4, keeps 2]
        expire c2 by rule 2: Rank 3 by age; rule 2 keeps the 2 youngest images, so it expires. [rank 3, keeps 2]
        archive d1 by rule 3: Never pulled, pushed 400 days ago; rule 3 archives images not pulled for more than 90 days. [no pull for 90 d]
        archive d3 by rule 3: About sha256:0000000000d1 (v1), which rule 3 archives. [with 0000000000d1]
        archive d4 by rule 3: About sha256:0000000000d3 (sha256-d1.sig), which rule 3 archives. [with 0000000000d3]
        archive e2 by rule 3: Last pulled 91 days ago; rule 3 archives images not pulled for more than 90 days. [no pull for 90 d]
        archive f5 by rule 3: Not pulled since it was restored 100 days ago; rule 3 archives images not pulled for more than 90 days. [no pull for 90 d]
        expire f1 by rule 4: Archived 366 days ago; rule 4 expires images archived for more than 365 days. [archived > 365 d]
        keep f2, rule 4: Archived 300 days ago; rule 4 expires images archived for more than 365 days, this one after 2027-01-26T23:59:59Z. (expires at 2027-01-26T23:59:59Z)
        keep f3, rule 4: Archived at a time that is not recorded, so rule 4, which counts days in the archive, leaves it.
        keep f4, restoring: Being restored from the archive; no rule acts on it.
        keep f6, unknownStatus: Its status is not known to this version; no rule acts on it.
        keep fe, no rule: No rule selects its tags.
        keep d2, index sha256:0000000000d1: Referenced by the image index sha256:0000000000d1 (v1), which is in the repository.
        keep e1, rule 3: Last pulled 20 days ago; rule 3 archives images not pulled for more than 90 days, this one after 2027-01-31T23:59:59Z. (archives at 2027-01-31T23:59:59Z)
        keep e3, subject sha256:0000000000e1: About sha256:0000000000e1 (v2), which stays. (archives at 2027-01-31T23:59:59Z)
        keep a2, rule 1: Pushed 13 days ago; rule 1 expires images older than 14 days, this one after 2026-11-23T23:59:59Z. (expires at 2026-11-23T23:59:59Z)
        keep c3, rule 2: Rank 2 by age; rule 2 keeps the 2 youngest images.
        keep c4, rule 2: Rank 1 by age; rule 2 keeps the 2 youngest images.
        keep ff, rule 1: Pushed in the future; rule 1 expires images older than 14 days, this one after 2026-12-09T23:59:59Z. (expires at 2026-12-09T23:59:59Z)
        /: image-from-future: 1 image was pushed after 2026-11-23T00:00:00Z, the time that this is evaluated for, the last at 2026-11-25T23:59:59Z: limits by age leave such images alone, and counts take them for the youngest; is the time right?
        /: referrers-may-count: the policy expires 4 images and archives 5 here, and expires 6 images and archives 4 if ECR counts artifacts with a subject (signatures, SBOMs, attestations) like other images: AWS writes that they only go with their subject, users report that they count; choose limits that are right either way
        /rules/1: other-tags-expire: rule 2 expires 1 image with tags that it does not name, for example `staging` on 0000000000c1: an image expires with all its tags
        ");
    }

    #[test]
    fn an_image_in_use_says_what_uses_it() {
        let index_type = json!({ "imageManifestMediaType": "application/vnd.oci.image.index.v1+json" });
        let details = [
            image("a1", &[], 15, &Value::Null),
            image("c1", &["ci-1"], 9, &Value::Null),
            image("c2", &["ci-2"], 8, &Value::Null),
            image("c3", &["ci-3"], 7, &Value::Null),
            image("d1", &["v1"], 400, &index_type),
            image("d2", &[], 400, &Value::Null),
        ];
        let in_use = json!([
            { "imageUri": format!("app@{}", digest("a1")) },
            { "imageUri": "app:ci-1", "usedBy": ["service/web", "service/job"] },
            { "imageUri": format!("app@{}", digest("d2")), "usedBy": ["service/web"] },
            "app:ci-9",
            "elsewhere:ci-9",
        ]);
        let report =
            report(POLICY, &details, &[index("d1", &["d2"])], &in_use.to_string(), Passes::UntilStable);
        insta::assert_snapshot!(lines(&report), @"
        keep d1, in use: Rule 3 would archive it, but it is in use: its child sha256:0000000000d2 is.
        keep d2, index sha256:0000000000d1: Referenced by the image index sha256:0000000000d1 (v1), which is in the repository.
        keep a1, in use: Rule 1 would expire it, but it is in use: app@sha256:0000000000a1.
        keep c1, in use: Rule 2 would expire it, but it is in use: app:ci-1 by service/web and 1 more.
        keep c2, rule 2: Rank 2 by age; rule 2 keeps the 2 youngest images.
        keep c3, rule 2: Rank 1 by age; rule 2 keeps the 2 youngest images.
        /: in-use-not-found: app:ci-9 is in use and not in the repository: it was deleted or retagged
        /rules/3: rule-matches-nothing: rule 4 matches nothing here: there is no such image in the archive storage class
        ");
    }

    #[test]
    fn a_later_pass_takes_what_a_manifest_list_leaves() {
        let index_type = json!({ "imageManifestMediaType": "application/vnd.oci.image.index.v1+json" });
        let details = [
            image("d1", &["ci-1"], 40, &index_type),
            image("d2", &[], 40, &index_type),
            image("d3", &[], 40, &Value::Null),
            image("d4", &[], 39, &json!({ "subjectManifestDigest": digest("d3") })),
            image("c1", &["ci-2"], 2, &Value::Null),
            image("c2", &["ci-3"], 1, &Value::Null),
        ];
        let manifests = [index("d1", &["d2"]), index("d2", &["d3"])];
        let once = report(POLICY, &details, &manifests, "[]", Passes::One);
        assert_eq!(once.summary.expiring_image_total_count, 1);
        let all = report(POLICY, &details, &manifests, "[]", Passes::UntilStable);
        insta::assert_snapshot!(lines(&all), @"
        expire d2 in pass 2 by rule 1: Pushed 40 days ago; rule 1 expires images older than 14 days. [pushed > 14 d ago]
        expire d3 in pass 3 by rule 1: Pushed 40 days ago; rule 1 expires images older than 14 days. [pushed > 14 d ago]
        expire d4 in pass 3 by rule 1: About sha256:0000000000d3, which rule 1 expires. [with 0000000000d3]
        expire d1 in pass 1 by rule 2: Rank 3 by age; rule 2 keeps the 2 youngest images, so it expires. [rank 3, keeps 2]
        keep c1, rule 2: Rank 2 by age; rule 2 keeps the 2 youngest images.
        keep c2, rule 2: Rank 1 by age; rule 2 keeps the 2 youngest images.
        /rules/2: rule-matches-nothing: rule 3 matches nothing here: no image has such tags in the standard storage class
        /rules/3: rule-matches-nothing: rule 4 matches nothing here: there is no such image in the archive storage class
        ");
    }

    #[test]
    fn children_take_no_place_in_a_count() {
        // Seen on a real repository: 26 images, two of them attestations under an index, and "any, keep 20" took 4.
        let index_type = json!({ "imageManifestMediaType": "application/vnd.oci.image.index.v1+json" });
        let mut details = vec![
            image("d1", &["v1"], 2, &index_type),
            image("d2", &[], 2, &Value::Null),
            image("d3", &[], 2, &Value::Null),
        ];
        details.extend((0..23).map(|number| image(&format!("e{number}"), &[], 3 + number, &Value::Null)));
        let policy = "rules: [{selection: any, maximumNumberOfImages: 20}]";
        let expiring = |manifests: &[Value]| {
            report(policy, &details, manifests, "[]", Passes::One).summary.expiring_image_total_count
        };
        assert_eq!(expiring(&[index("d1", &["d2", "d3"])]), 4);
        assert_eq!(expiring(&[]), 6, "without the manifest the children are ranked, and a finding says so");
    }

    #[test]
    fn what_stays_beside_an_archived_subject_says_why_in_every_pass() {
        let about = |more: &Value| {
            let mut fields = json!({ "subjectManifestDigest": digest("d1") });
            for (key, value) in more.as_object().unwrap() {
                fields[key] = value.clone();
            }
            fields
        };
        let details = [
            image("d1", &["v1"], 400, &Value::Null),
            image("d2", &[], 400, &about(&json!({ "imageStatus": "ARCHIVED", "lastArchivedAt": day(10) }))),
            image("d3", &[], 400, &about(&json!({ "imageStatus": "ACTIVATING" }))),
            image("d4", &[], 400, &about(&json!({}))),
        ];
        let mut once = report(POLICY, &details, &[], "[]", Passes::One);
        let all = report(POLICY, &details, &[], "[]", Passes::UntilStable);
        for result in &mut once.preview_results {
            result.pass = Some(1);
        }
        once.findings.clear();
        insta::assert_snapshot!(lines(&once), @"
        archive d1 in pass 1 by rule 3: Never pulled, pushed 400 days ago; rule 3 archives images not pulled for more than 90 days. [no pull for 90 d]
        archive d4 in pass 1 by rule 3: About sha256:0000000000d1 (v1), which rule 3 archives. [with 0000000000d1]
        keep d2, subject sha256:0000000000d1: About sha256:0000000000d1 (v1), which goes to the archive, where this one is already.
        keep d3, restoring: Being restored from the archive; no rule acts on it.
        ");
        assert_eq!(once.preview_results, all.preview_results);
        assert_eq!(once.kept, all.kept);

        // An artifact in use keeps its subject, and so everything about that.
        let in_use = json!([format!("app@{}", digest("d4"))]).to_string();
        let mut used = report(POLICY, &details, &[], &in_use, Passes::One);
        used.findings.clear();
        insta::assert_snapshot!(lines(&used), @"
        keep d1, in use: Rule 3 would archive it, but it is in use: its referrer sha256:0000000000d4 is.
        keep d2, subject sha256:0000000000d1: About sha256:0000000000d1 (v1), which stays.
        keep d3, subject sha256:0000000000d1: About sha256:0000000000d1 (v1), which stays.
        keep d4, subject sha256:0000000000d1: About sha256:0000000000d1 (v1), which stays.
        ");
    }

    #[test]
    fn a_policy_is_held_against_what_is_there() {
        let details = [
            image("a1", &["alpha-1"], 40, &Value::Null),
            image("b1", &["beta-1"], 40, &Value::Null),
            image("c1", &["ci-1", "prod"], 40, &Value::Null),
            image("c2", &["ci-2"], 40, &Value::Null),
        ];
        let policy = "
rules:
- {selection: {tagPrefixList: [alpha, beta]}, maximumAgeLimit: 30}
- {selection: {tagPrefixList: [c]}, maximumAgeLimit: 30}
- {selection: {tagPrefixList: [ci-]}, maximumAgeLimit: 90}
- {selection: {tagPatternList: ['*-2']}, maximumAgeLimit: 30}
- {selection: {tagPrefixList: [release-]}, maximumNumberOfImages: 3}
- {selection: untagged, maximumNumberOfImages: 3}
- {selection: any, maximumAgeLimit: 30}
";
        let report = report(policy, &details, &[], "[]", Passes::One);
        let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(findings.join("\n"), @"
        /: everything-expires: the policy expires every image that stands on its own, 4 images
        /rules/0: list-means-all: rule 1 wants a tag for each of `alpha`, `beta` on one image, and no image here has them all; 2 images have some of them: write a rule for each if any one is enough
        /rules/1: other-tags-expire: rule 2 expires 1 image with tags that it does not name, for example `prod` on 0000000000c1: an image expires with all its tags
        /rules/2: rule-unreachable: rule 3 never acts, in any repository: rule 2 comes first and identifies every image that this one does; give the narrower rule the lower priority number
        /rules/3: rule-never-acts: rule 4 never acts here: the image it matches is identified by rule 2 first
        /rules/4: rule-matches-nothing: rule 5 matches nothing here: no image has such tags in the standard storage class
        /rules/5: rule-matches-nothing: rule 6 matches nothing here: there is no such untagged image in the standard storage class
        ");
    }

    #[test]
    fn a_policy_that_expires_every_tagged_image_is_distinguished_from_one_that_expires_everything() {
        let tagged = [image("a1", &["v1"], 40, &Value::Null), image("a2", &["v2"], 40, &Value::Null)];
        let policy = "rules: [{selection: {tagPatternList: ['*']}, maximumAgeLimit: 30}]";
        let codes = |details: &[Value]| -> Vec<Code> {
            report(policy, details, &[], "[]", Passes::One).findings.into_iter().map(|f| f.code).collect()
        };
        assert_eq!(codes(&tagged), [Code::EverythingExpires]);
        let with_untagged = [&tagged[..], &[image("f0", &[], 40, &Value::Null)]].concat();
        assert_eq!(codes(&with_untagged), [Code::EveryTaggedImageExpires]);
        let with_young = [&with_untagged[..], &[image("f1", &["v3"], 4, &Value::Null)]].concat();
        assert_eq!(codes(&with_young), []);
        assert_eq!(codes(&[]), []);
    }

    #[test]
    fn a_limit_between_images_of_the_same_age_is_said_to_be_decided_by_digest() {
        let policy = "rules: [{selection: {tagPrefixList: [ci-]}, maximumNumberOfImages: 1}]";
        let pushed = |first: i64, second: i64| {
            let details =
                [image("a", &["ci-1"], first, &Value::Null), image("b", &["ci-2"], second, &Value::Null)];
            lines(&report(policy, &details, &[], "[]", Passes::One))
        };
        insta::assert_snapshot!(pushed(3, 3), @"
        expire a by rule 1: Rank 2 by age; rule 1 keeps the youngest image, so it expires. [rank 2, keeps 1]
        keep b, rule 1: Rank 1 by age; rule 1 keeps the youngest image.
        /rules/0: tie-decided-by-digest: rule 1 keeps 00000000000b and takes 00000000000a, which are of the same age: ECR does not say which of them goes, and here the digest that sorts first does
        ");
        assert!(!pushed(4, 3).contains("tie-decided-by-digest"));
    }

    #[test]
    fn unknown_children_and_missing_pages_are_said() {
        let index_type =
            json!({ "imageManifestMediaType": "application/vnd.docker.distribution.manifest.list.v2+json" });
        let details = [image("d1", &["v1"], 4, &index_type), image("d2", &[], 4, &Value::Null)];
        let findings = |manifests: &[Value]| report("{}", &details, manifests, "[]", Passes::One).findings;
        assert_eq!(findings(&[])[0].code, Code::RelationsUnknown);
        assert_eq!(findings(&[index("d1", &["d2"])]).iter().find(|f| f.code == Code::RelationsUnknown), None);

        let listing = json!({ "imageDetails": details, "nextToken": "more" }).to_string();
        let question = Question {
            policy: None,
            usage: &Usage::default(),
            now: Instant::parse(NOW).unwrap(),
            passes: Passes::One,
        };
        let reports = preview_all(question, &Listing::parse(&listing).unwrap());
        assert_eq!(reports[0].findings[0].code, Code::ListingIncomplete);
    }

    #[test]
    fn a_preview_says_so_where_it_matters_whether_signatures_are_ranked() {
        let mut details = Vec::new();
        for number in 1..=4 {
            let name = format!("a{number}");
            details.push(image(&name, &["v1"], 20 - number, &Value::Null));
            let about = json!({ "subjectManifestDigest": digest(&name) });
            details.push(image(&format!("b{number}"), &[], 9, &about));
        }
        let policy = |keep: u64| format!("rules: [{{selection: any, maximumNumberOfImages: {keep}}}]");
        let found = |policy: &str| {
            let findings = report(policy, &details, &[], "[]", Passes::One).findings;
            findings.into_iter().find(|finding| finding.code == Code::ReferrersMayCount)
        };
        insta::assert_snapshot!(found(&policy(3)).unwrap(), @"/: referrers-may-count: the policy expires 2 images here, and expires 8 images if ECR counts artifacts with a subject (signatures, SBOMs, attestations) like other images: AWS writes that they only go with their subject, users report that they count; choose limits that are right either way");
        assert_eq!(found(&policy(8)), None);
    }

    #[test]
    fn an_image_that_is_being_restored_takes_no_place_in_a_count() {
        let details = [
            image("a1", &["ci-1"], 5, &Value::Null),
            image("a2", &["ci-2"], 4, &json!({ "imageStatus": "ACTIVATING" })),
            image("a3", &["ci-3"], 3, &json!({ "imageStatus": "FROZEN" })),
            image("a4", &["ci-4"], 2, &Value::Null),
        ];
        let policy = "rules: [{selection: {tagPrefixList: [ci-]}, maximumNumberOfImages: 2}]";
        insta::assert_snapshot!(lines(&report(policy, &details, &[], "[]", Passes::One)), @"
        keep a1, rule 1: Rank 2 by age; rule 1 keeps the 2 youngest images.
        keep a2, restoring: Being restored from the archive; no rule acts on it.
        keep a3, unknownStatus: Its status is not known to this version; no rule acts on it.
        keep a4, rule 1: Rank 1 by age; rule 1 keeps the 2 youngest images.
        ");
    }
}
