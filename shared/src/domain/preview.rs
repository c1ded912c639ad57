//! One preview: a policy, the images of a repository, what is in use and the time in; the report out.

use std::collections::HashMap;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use crate::domain::image::listing::{ListedRepository, Listing};
use crate::domain::image::{Image, ImageIndex, ImageStatus, RepositoryImages};
use crate::domain::lifecycle::document::{Action, LifecyclePolicy, StorageClass};
use crate::domain::lifecycle::evaluate::{Evaluation, Passes, Referrers, Verdict, evaluate, evaluate_with};
use crate::domain::lifecycle::explain::Explainer;
use crate::domain::lifecycle::lint::lint;
use crate::domain::preview::model::{
    ActionKind, ActionTaken, FORMAT_VERSION, KeptImage, PreviewReport, PreviewResult, Status, Summary,
    TransitioningCount,
};
use crate::domain::text::finding::{Code, Finding};
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity;
use crate::domain::usage::{Usage, UsedImages};

pub mod example;
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
    previews(question, listing, &ListedRepository::default()).map(|preview| preview.report()).collect()
}

/// Previews the repositories of a listing one after another; for a listing without any image, `empty`.
pub fn previews<'a>(
    question: Question<'a>,
    listing: &'a Listing,
    empty: &'a ListedRepository,
) -> impl ExactSizeIterator<Item = Preview<'a>> {
    let repositories =
        if listing.repositories.is_empty() { std::slice::from_ref(empty) } else { &listing.repositories };
    repositories.iter().map(move |repository| {
        let mut preview = Preview::new(question, repository);
        // What AWS itself would not say.
        let listed = tag_of_two_images(&repository.images).into_iter().chain(before_ecr(&repository.images));
        preview.findings.splice(0..0, listed);
        if listing.incomplete {
            preview.findings.insert(
                0,
                Finding::new(
                    Code::ListingIncomplete,
                    "",
                    "the image listing ends with a token for more pages: images are missing, and counts are wrong",
                ),
            );
        }
        preview
    })
}

/// Previews one repository.
#[must_use]
pub fn preview(question: Question<'_>, repository: &ListedRepository) -> PreviewReport {
    Preview::new(question, repository).report()
}

/// What a policy does with the images of one repository. The sentences about an image are made when they are asked for, so that
/// a repository of any size is printed in little memory. Serialized it is a [`PreviewReport`].
#[derive(Debug)]
pub struct Preview<'a> {
    policy: Option<&'a LifecyclePolicy>,
    repository: &'a ListedRepository,
    now: Instant,
    passes: Passes,
    used: UsedImages,
    evaluation: Evaluation,
    /// Images that are acted on, in ascending rule priority, then oldest first.
    acted: Vec<ImageIndex>,
    /// Images that are kept, oldest first.
    kept: Vec<ImageIndex>,
    summary: Summary,
    findings: Vec<Finding>,
}

/// The rule that acts on an image, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acting {
    /// `rulePriority` of the rule.
    pub priority: u64,
    /// What it does.
    pub action: Action,
    /// The pass in which it acts, from 1.
    pub pass: Option<u16>,
}

impl Acting {
    /// Whether the image expires (and is not merely archived).
    #[must_use]
    pub fn expires(self) -> bool {
        self.action == Action::Expire
    }
}

impl<'a> Preview<'a> {
    /// Previews one repository.
    #[must_use]
    pub fn new(question: Question<'a>, repository: &'a ListedRepository) -> Self {
        let used = question.usage.of_repository(&repository.name, &repository.images);
        Self::with_use(question, repository, used)
    }

    fn with_use(question: Question<'a>, repository: &'a ListedRepository, used: UsedImages) -> Self {
        let Question { policy, now, passes, .. } = question;
        let images = &repository.images;
        let evaluation = evaluate(policy, images, &used.images(), now, passes);
        let acting = |place: ImageIndex| acting(policy, &evaluation, place);
        let image = |place: ImageIndex| images.images().get(place as usize);

        let places = (0..).zip(images.images()).map(|(place, _)| place);
        let (mut acted, mut kept): (Vec<ImageIndex>, Vec<ImageIndex>) =
            places.partition(|&place| acting(place).is_some());
        let by_age = |&left: &ImageIndex, &right: &ImageIndex| match (image(left), image(right)) {
            (Some(left), Some(right)) => oldest_first(left, right),
            _ => left.cmp(&right),
        };
        let priority = |place: ImageIndex| acting(place).map(|acting| acting.priority);
        acted.sort_by(|left, right| priority(*left).cmp(&priority(*right)).then_with(|| by_age(left, right)));
        kept.sort_by(by_age);
        let summary = summary(
            acted.iter().filter_map(|&place| Some((image(place)?, acting(place)?.action))),
            kept.iter().filter_map(|&place| image(place)),
        );

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
                let ranked =
                    evaluate_with(Some(policy), images, &used.images(), now, passes, Referrers::Ranked);
                findings.extend(referrers_may_count(policy, &evaluation, &ranked));
            }
            findings.extend(lint(policy, images, &evaluation));
        }
        Self { policy, repository, now, passes, used, evaluation, acted, kept, summary, findings }
    }

    /// Previews one repository by the policy that ECR itself enforces there. ECR knows nothing of use, so that use keeps no image;
    /// images in use that the policy takes are a finding.
    #[must_use]
    pub fn of_ecr(question: Question<'a>, repository: &'a ListedRepository) -> Self {
        let mut preview = Self::with_use(question, repository, UsedImages::default());
        let images = &repository.images;
        let used = question.usage.of_repository(&repository.name, images);
        let mut taken: Vec<ImageIndex> = used.images().into_iter().collect();
        taken.sort_unstable();
        let mut taken = taken.into_iter().filter_map(|place| {
            let image = images.images().get(place as usize)?;
            acting(preview.policy, &preview.evaluation, place).is_some().then_some((place, image))
        });
        let first = taken.next();
        let others = taken.count();
        if let Some((place, first)) = first {
            let more = match others {
                0 => String::new(),
                count => format!(", and {} more", quantity::count(count as u64, "image")),
            };
            let reason = used.reason(place).unwrap_or("in use");
            let message = format!(
                "ECR takes {}{more} although it is in use ({reason}): a lifecycle policy of ECR knows nothing of use. Write `apply: protect` \
                 or `apply: delete` for the repository, or delete this policy",
                first.digest
            );
            preview.findings.insert(0, Finding::new(Code::InUseExpires, "", message));
        }
        preview
    }

    /// Adds findings that the images do not show.
    #[must_use]
    pub fn with_findings(mut self, findings: impl IntoIterator<Item = Finding>) -> Self {
        self.findings.extend(findings);
        self
    }

    /// The repository's name, or words that say that it is not known.
    #[must_use]
    pub fn title(&self) -> &str {
        model::title(self.repository.name.repository_name.as_deref())
    }

    /// The account whose registry the repository is in, when known.
    #[must_use]
    pub fn registry_id(&self) -> Option<&str> {
        self.repository.name.registry_id.as_deref()
    }

    /// The policy, if there is one.
    #[must_use]
    pub const fn policy(&self) -> Option<&LifecyclePolicy> {
        self.policy
    }

    /// The time for which the policy was evaluated.
    #[must_use]
    pub const fn evaluated_at(&self) -> Instant {
        self.now
    }

    /// The images, of which the other functions have the places.
    #[must_use]
    pub fn images(&self) -> &[Image] {
        self.repository.images.images()
    }

    /// Images that are acted on, in ascending rule priority, then oldest first.
    #[must_use]
    pub fn acted(&self) -> &[ImageIndex] {
        &self.acted
    }

    /// Images that are kept, oldest first.
    #[must_use]
    pub fn kept(&self) -> &[ImageIndex] {
        &self.kept
    }

    /// Totals.
    #[must_use]
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Findings about the policy and these images.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether any image is acted on.
    #[must_use]
    pub fn is_acting(&self) -> bool {
        !self.acted.is_empty()
    }

    /// Whether passes are distinguished.
    #[must_use]
    pub fn has_passes(&self) -> bool {
        self.passes == Passes::UntilStable && self.is_acting()
    }

    /// The rule that acts on an image, if one does.
    #[must_use]
    pub fn acting(&self, place: ImageIndex) -> Option<Acting> {
        acting(self.policy, &self.evaluation, place)
    }

    /// Why a rule acts on an image, or what keeps it, in a sentence.
    #[must_use]
    pub fn reason(&self, place: ImageIndex) -> String {
        self.explainer().reason(place, self.used.reason(place))
    }

    /// The same in a few words, for a narrow column.
    #[must_use]
    pub fn short_reason(&self, place: ImageIndex) -> String {
        self.explainer().short_reason(place, self.used.reason(place))
    }

    /// What keeps an image, as [`KeptImage::kept_by`].
    #[must_use]
    pub fn kept_by(&self, place: ImageIndex) -> String {
        self.explainer().kept_by(place)
    }

    fn explainer(&self) -> Explainer<'_> {
        Explainer {
            policy: self.policy,
            images: &self.repository.images,
            evaluation: &self.evaluation,
            now: self.now,
        }
    }

    /// The images that are acted on, each as it is asked for.
    pub fn results(&self) -> impl Iterator<Item = PreviewResult> + '_ {
        self.acted.iter().filter_map(|&place| {
            let (image, acting) = (self.images().get(place as usize)?, self.acting(place)?);
            Some(PreviewResult {
                image_digest: image.digest.to_string(),
                image_tags: tags(image),
                image_pushed_at: image.pushed_at,
                image_size_in_bytes: image.size_in_bytes,
                action: ActionTaken::from(acting.action),
                applied_rule_priority: acting.priority,
                storage_class: match image.status {
                    ImageStatus::Archived => StorageClass::Archive,
                    _ => StorageClass::Standard,
                },
                reason: self.explainer().reason(place, None),
                pass: acting.pass.filter(|_| self.passes == Passes::UntilStable),
            })
        })
    }

    /// The images that are kept, each as it is asked for.
    pub fn kept_images(&self) -> impl Iterator<Item = KeptImage> + '_ {
        self.kept.iter().filter_map(|&place| {
            let image = self.images().get(place as usize)?;
            let explainer = self.explainer();
            let due = explainer.due(place);
            let due_for = |action| due.filter(|due| due.action == action).map(|due| due.at);
            Some(KeptImage {
                image_digest: image.digest.to_string(),
                image_tags: tags(image),
                image_pushed_at: image.pushed_at,
                image_size_in_bytes: image.size_in_bytes,
                kept_by: explainer.kept_by(place),
                reason: explainer.reason(place, self.used.reason(place)),
                expires_at: due_for(Action::Expire),
                transitions_at: due_for(Action::Transition),
            })
        })
    }

    /// All of it as one value.
    #[must_use]
    pub fn report(&self) -> PreviewReport {
        PreviewReport {
            format_version: FORMAT_VERSION,
            registry_id: self.repository.name.registry_id.clone(),
            repository_name: self.repository.name.repository_name.clone(),
            lifecycle_policy_text: self.policy.map(LifecyclePolicy::to_json),
            evaluated_at: self.now,
            status: Status::Complete,
            preview_results: self.results().collect(),
            summary: self.summary.clone(),
            kept: self.kept_images().collect(),
            findings: self.findings.clone(),
        }
    }
}

impl Serialize for Preview<'_> {
    /// Writes a [`PreviewReport`], image by image.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// Images that are made while they are written.
        struct Lazily<F>(F);

        impl<T: Serialize, I: Iterator<Item = T>, F: Fn() -> I> Serialize for Lazily<F> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq((self.0)())
            }
        }

        let name = &self.repository.name;
        let mut report = serializer.serialize_struct("PreviewReport", 10)?;
        report.serialize_field("formatVersion", &FORMAT_VERSION)?;
        if let Some(registry_id) = &name.registry_id {
            report.serialize_field("registryId", registry_id)?;
        }
        if let Some(repository_name) = &name.repository_name {
            report.serialize_field("repositoryName", repository_name)?;
        }
        if let Some(policy) = self.policy {
            report.serialize_field("lifecyclePolicyText", &policy.to_json())?;
        }
        report.serialize_field("evaluatedAt", &self.now)?;
        report.serialize_field("status", &Status::Complete)?;
        report.serialize_field("previewResults", &Lazily(|| self.results()))?;
        report.serialize_field("summary", &self.summary)?;
        report.serialize_field("kept", &Lazily(|| self.kept_images()))?;
        report.serialize_field("findings", &self.findings)?;
        report.end()
    }
}

fn acting(policy: Option<&LifecyclePolicy>, evaluation: &Evaluation, place: ImageIndex) -> Option<Acting> {
    let verdict = evaluation.verdicts().get(place as usize)?;
    let rule = policy?.rules().get(verdict.acting_rule()?)?;
    Some(Acting { priority: rule.priority, action: rule.action, pass: verdict.pass() })
}

/// A warning where a listing has one tag on two images, which ECR's repositories do not: it is of several repositories or moments,
/// and an image whose tag was moved is judged by it.
fn tag_of_two_images(images: &RepositoryImages) -> Option<Finding> {
    let mut seen: HashMap<&str, ImageIndex> = HashMap::new();
    let mut tags = (0..)
        .zip(images.images())
        .flat_map(|(place, image)| image.tags.iter().map(move |tag| (&**tag, place)));
    let (tag, first, second) = tags.find_map(|(tag, place)| {
        let known = *seen.entry(tag).or_insert(place);
        (known != place).then_some((tag, known, place))
    })?;
    let digest = |place: ImageIndex| images.images().get(place as usize).map_or("", |image| &*image.digest);
    Some(Finding::new(
        Code::TagOfTwoImages,
        "",
        format!(
            "the listing has the tag {tag} on {} and on {}, and in a repository a tag is on one image: it was made while tags were \
             moved, or of several repositories; list the images again",
            digest(first),
            digest(second),
        ),
    ))
}

/// Amazon ECR began on 21 December 2015. This is the beginning of that day, in microseconds.
const ECR_BEGAN_MICROS: i64 = 1_450_656_000 * 1_000_000;

/// A warning where a listing has images from before there was an ECR, as tools write them that do not know the time: year 1 or 1970.
fn before_ecr(images: &RepositoryImages) -> Option<Finding> {
    let mut early = images.images().iter().filter(|image| image.pushed_at.micros() < ECR_BEGAN_MICROS);
    let first = early.next()?;
    let number = early.count() as u64 + 1;
    Some(Finding::new(
        Code::PushedBeforeEcr,
        "",
        format!(
            "{} pushed before there was an Amazon ECR, for example {} at {}: that is the zero of a program that does not know the \
             time, and by every limit by age such images are old; take `imagePushedAt` from `aws ecr describe-images`",
            if number == 1 {
                "1 image was".to_owned()
            } else {
                format!("{} images were", quantity::grouped(number))
            },
            first.digest,
            first.pushed_at,
        ),
    ))
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

fn summary<'a>(
    acted: impl Iterator<Item = (&'a Image, Action)>,
    kept: impl Iterator<Item = &'a Image>,
) -> Summary {
    let add =
        |(count, size): (u64, u64), image: &Image| (count + 1, size.saturating_add(image.size_in_bytes));
    let (mut expiring, mut transitioning) = ((0, 0), (0, 0));
    for (image, action) in acted {
        match action {
            Action::Expire => expiring = add(expiring, image),
            Action::Transition => transitioning = add(transitioning, image),
        }
    }
    let kept = kept.fold((0, 0), add);
    Summary {
        expiring_image_total_count: expiring.0,
        expiring_image_size_in_bytes: expiring.1,
        transitioning_image_total_counts: vec![TransitioningCount {
            target_storage_class: StorageClass::Archive,
            image_total_count: transitioning.0,
        }],
        transitioning_image_size_in_bytes: transitioning.1,
        kept_image_total_count: kept.0,
        kept_image_size_in_bytes: kept.1,
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
                "{verb} {}{pass} by rule {}: {}",
                name(&result.image_digest),
                result.applied_rule_priority,
                result.reason,
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
                image.kept_by,
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
        expire a1 by rule 1: Pushed 15 days ago; rule 1 expires images older than 14 days.
        expire c1 by rule 2: Rank 4 by age; rule 2 keeps the 2 youngest images, so it expires.
        expire c2 by rule 2: Rank 3 by age; rule 2 keeps the 2 youngest images, so it expires.
        archive d1 by rule 3: Never pulled, pushed 400 days ago; rule 3 archives images not pulled for more than 90 days.
        archive d3 by rule 3: About sha256:0000000000d1 (v1), which rule 3 archives.
        archive d4 by rule 3: About sha256:0000000000d3 (sha256-d1.sig), which rule 3 archives.
        archive e2 by rule 3: Last pulled 91 days ago; rule 3 archives images not pulled for more than 90 days.
        archive f5 by rule 3: Not pulled since it was restored 100 days ago; rule 3 archives images not pulled for more than 90 days.
        expire f1 by rule 4: Archived 366 days ago; rule 4 expires images archived for more than 365 days.
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
    fn a_later_pass_expires_what_an_image_index_leaves() {
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
        expire d2 in pass 2 by rule 1: Pushed 40 days ago; rule 1 expires images older than 14 days.
        expire d3 in pass 3 by rule 1: Pushed 40 days ago; rule 1 expires images older than 14 days.
        expire d4 in pass 3 by rule 1: About sha256:0000000000d3, which rule 1 expires.
        expire d1 in pass 1 by rule 2: Rank 3 by age; rule 2 keeps the 2 youngest images, so it expires.
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
        archive d1 in pass 1 by rule 3: Never pulled, pushed 400 days ago; rule 3 archives images not pulled for more than 90 days.
        archive d4 in pass 1 by rule 3: About sha256:0000000000d1 (v1), which rule 3 archives.
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
    fn a_policy_is_compared_with_what_is_there() {
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
    fn a_limit_between_images_of_the_same_age_is_reported_as_decided_by_digest() {
        let policy = "rules: [{selection: {tagPrefixList: [ci-]}, maximumNumberOfImages: 1}]";
        let pushed = |first: i64, second: i64| {
            let details =
                [image("a", &["ci-1"], first, &Value::Null), image("b", &["ci-2"], second, &Value::Null)];
            lines(&report(policy, &details, &[], "[]", Passes::One))
        };
        insta::assert_snapshot!(pushed(3, 3), @"
        expire a by rule 1: Rank 2 by age; rule 1 keeps the youngest image, so it expires.
        keep b, rule 1: Rank 1 by age; rule 1 keeps the youngest image.
        /rules/0: tie-decided-by-digest: rule 1 keeps 00000000000b and takes 00000000000a, which are of the same age: ECR does not say which of them goes, and here the digest that sorts first does
        ");
        assert!(!pushed(4, 3).contains("tie-decided-by-digest"));
    }

    #[test]
    fn unknown_children_and_missing_pages_are_reported() {
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
