//! What needs attention, by kind, since the advice is the same for all of a kind: for terminals, pages and mails.

use serde::{Deserialize, Serialize};

use crate::domain::enforcement::outcome::{Amount, ImageResult, Outcome, Status};
use crate::domain::text::instant::Instant;
use crate::domain::text::quantity::{bytes, count};

/// A kind of what needs attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The code of the kind; for blockers their code.
    pub code: &'static str,
    /// The heading.
    pub what: &'static str,
    /// The one thing to do about it.
    pub advice: &'static str,
}

const fn kind(code: &'static str, what: &'static str, advice: &'static str) -> Kind {
    Kind { code, what, advice }
}

/// The kind of all other concerns.
const OTHER: Kind = kind("other", "Blocked", "See what each of them says.");

/// The kinds, the worst first.
pub const KINDS: [Kind; 26] = [
    kind(
        "policy-not-suspended",
        "A policy could not be suspended",
        "ECR goes on deleting by it, whatever is in use. Take the policy off by hand, or give the stack the permission that is named.",
    ),
    kind(
        "failed",
        "Could not be worked on",
        "See what AWS answered; the next run tries again. What is missing may be a permission.",
    ),
    kind(
        "partial",
        "Images could not be deleted",
        "See what ECR answered for each image in the report's table of repositories; the next run tries again.",
    ),
    kind(
        "policy-not-protected",
        "The attached lifecycle policy is not protected",
        "Until its first rule is the protection rule, ECR deletes what is in use. Whoever owns the policy adds that rule.",
    ),
    kind(
        NATIVE_POLICY,
        "An own lifecycle policy would delete what is in use",
        "Write `apply: protect` or `apply: attach` for the repository in the policies file, or delete its lifecycle policy.",
    ),
    kind(
        "protection-tag-taken",
        "A protection tag is on another image",
        "Take the tag off that image. The next run puts it where it belongs.",
    ),
    kind(
        "policy-cannot-be-protected",
        "The policy cannot be enforced by ECR beside protection tags",
        "Write the rule as it is said here, or write `apply: delete` for the repository in the policies file.",
    ),
    kind(
        "policy-takes-protected",
        "By its policy ECR would delete protected images",
        "Correct the rule, or write `apply: delete` for the repository in the policies file.",
    ),
    kind(
        "remaining",
        "Not finished",
        "The time of the function was up. The next run goes on with what is left.",
    ),
    kind(
        USAGE_UNKNOWN,
        "What is in use is not known",
        "Repair the source that is named: a permission, an address, a list. Until then nothing is deleted from these repositories.",
    ),
    kind(
        "enforce-off",
        "The switch was turned off",
        "The parameter Enforce was not true any more when it would have been done. With Enforce=true the next run does it.",
    ),
    kind(
        "policies-file-changed",
        "The policies file was changed",
        "It is another one than when the run began. The next run uses what is there now.",
    ),
    kind(
        "policies-file-not-previewed",
        "The policies file was not previewed",
        "The next run previews it, and the one after that enforces it.",
    ),
    kind(
        "run-too-old",
        "The run is too old",
        "What was decided more than a day ago is not done any more. Start another run.",
    ),
    kind(
        "limit-registry",
        "More images would be deleted from the registry in a day than its limit allows",
        "The next days go on. If all of it may be deleted sooner, raise the limits at the top of the policies file.",
    ),
    kind(
        "reassigned",
        "Another policy is for the repository now",
        "Its tags were changed since the run began. The next run uses the tags as they are now.",
    ),
    kind(
        "limit-images",
        "More images would be deleted than the limit allows",
        "If this is meant, raise the limit images of the policy in the policies file. If not, correct the rule.",
    ),
    kind(
        "limit-percent",
        "More of the repository would be deleted than the limit allows",
        "If this is meant, raise the limit percent of the policy in the policies file. If not, correct the rule.",
    ),
    kind(
        "limit-remaining",
        "Fewer images would be left than the limit allows",
        "If this is meant, lower the limit remaining of the policy in the policies file. If not, correct the rule.",
    ),
    kind(
        "unread-manifest-lists",
        "Image indexes could not be read",
        "Look whether ECR gives these manifests (ecr:BatchGetImage); the next run reads them again. Until then nothing is deleted, \
         since the images that they list cannot be told from others.",
    ),
    kind(
        "clock",
        "A clock is wrong",
        "Images were pushed after the present. Find the clock that is wrong; as long as it is, rules by age decide wrongly.",
    ),
    kind(
        REPLICATED_TAGS,
        "Protection tags are replicated",
        "Look at the lifecycle policies of the registry that is named. If they do not count these tags, say so in the policies file.",
    ),
    kind(
        SIGNED_TAGS,
        "Protection tags are signed",
        "Leave the repository out of managed signing, or delete with this stack (apply: delete). If the jobs do not matter, say so in \
         the policies file.",
    ),
    kind(
        "policy-not-attached",
        "The policy that the repository was made with is gone",
        "Ask for the policy once more, or ask for none with `skip: true`.",
    ),
    kind(
        SUSPENDED,
        "The lifecycle policy is suspended",
        "ECR deletes nothing there meanwhile. With Enforce=true a run puts the policy back when what is said is mended.",
    ),
    OTHER,
];

/// The code of usage sources that could not be read completely.
pub const USAGE_UNKNOWN: &str = "usage-unknown";
/// The code of a repository's own lifecycle policy that would delete what is in use.
const NATIVE_POLICY: &str = "native-policy";
/// The code of protection tags that are pushed to another registry, too.
const REPLICATED_TAGS: &str = "protection-tags-replicated";
/// The code of protection tags that managed signing signs.
const SIGNED_TAGS: &str = "protection-tags-signed";
/// The code of a policy that is suspended for no other reason that needs attention.
const SUSPENDED: &str = "suspended";

/// Hours after which an unchanged notice is repeated.
const NOTICE_HOURS: i64 = 24;

/// The last notice about runs that only protect, of which there are many in a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// The time of the notice.
    pub at: Instant,
    /// Its concerns, without what changes from run to run.
    pub concerns: Vec<String>,
}

impl Notice {
    /// Whether people have to be notified of `concerns` at `now`: they have changed, or a day has passed.
    #[must_use]
    pub fn is_news(before: Option<&Self>, concerns: &[String], now: Instant) -> bool {
        let Some(before) = before else { return true };
        let hours = (now.micros() - before.at.micros()) / 3_600_000_000;
        // A notice of the future would never be repeated.
        before.concerns != concerns || !(0..NOTICE_HOURS).contains(&hours)
    }
}

/// A concern about one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concern {
    /// Its place among [`KINDS`].
    place: usize,
    /// The concern, as a sentence without its end.
    pub message: String,
}

impl Concern {
    fn new(code: &str, message: String) -> Self {
        let place = KINDS.iter().position(|kind| kind.code == code).unwrap_or(KINDS.len() - 1);
        Self { place, message }
    }

    /// Its place among [`KINDS`]: the worst are first.
    #[must_use]
    pub const fn rank(&self) -> usize {
        self.place
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        KINDS.get(self.place).copied().unwrap_or(OTHER)
    }
}

/// The concerns about a repository, each cause once.
#[must_use]
pub fn concerns(outcome: &Outcome) -> Vec<Concern> {
    let mut concerns = Vec::new();
    if !outcome.needs_attention() {
        return concerns;
    }
    if let Some(error) = &outcome.error {
        concerns.push(Concern::new("failed", error.clone()));
    }
    if !outcome.failed.is_zero() || outcome.status == Status::Partial {
        let detail = outcome.results.iter().find(|image| image.outcome == ImageResult::Failed);
        let detail = detail.and_then(|image| image.detail.as_deref());
        let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
        let Amount { image_total_count, image_size_in_bytes } = outcome.failed;
        let failed = format!("{}, {}", count(image_total_count, "image"), bytes(image_size_in_bytes));
        concerns.push(Concern::new("partial", format!("{failed}{detail}")));
    }
    if outcome.status == Status::Unfinished {
        let deleted = count(outcome.deleted.image_total_count, "image");
        concerns.push(Concern::new("remaining", format!("{deleted} deleted so far")));
    }
    // Blockers of a plan that is not to be executed need nobody's attention.
    let is_only_shown = matches!(outcome.status, Status::Previewed | Status::Unmatched);
    let blockers = outcome.blockers.iter().filter(|_| !is_only_shown);
    concerns.extend(blockers.map(|held| Concern::new(&held.code, held.message.clone())));
    // What suspended the policy in this run is said already.
    let suspended = outcome.attachment.as_ref().filter(|attached| attached.is_suspended_unintentionally());
    if let Some(attached) = suspended
        && concerns.is_empty()
    {
        let since = attached.suspended_at.map(|at| format!(" since {at}")).unwrap_or_default();
        let because = attached.suspended_because.as_deref().unwrap_or("the run had a reason to");
        concerns
            .push(Concern::new(SUSPENDED, format!("its lifecycle policy is suspended{since}: {because}")));
    }
    concerns.extend(outcome.native_policy.iter().map(|message| Concern::new(NATIVE_POLICY, message.clone())));
    let replicated = outcome.replicated_tags.iter();
    concerns.extend(replicated.map(|message| Concern::new(REPLICATED_TAGS, message.clone())));
    concerns.extend(outcome.signed_tags.iter().map(|message| Concern::new(SIGNED_TAGS, message.clone())));
    if concerns.is_empty() {
        concerns.push(Concern::new("other", "blocked".to_owned()));
    }
    concerns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::enforcement::plan::{Blocker, Reassignment};
    use crate::domain::text::finding::{Code, Finding};
    use crate::domain::text::instant::Instant;

    #[test]
    fn what_lasts_is_reported_once_a_day_and_what_is_new_at_once() {
        let at = |time: &str| Instant::parse(time).unwrap();
        let concerns = |concerns: &[&str]| concerns.iter().map(|&code| code.to_owned()).collect::<Vec<_>>();
        let lasting = concerns(&["app usage-unknown"]);
        let notice = Notice { at: at("2026-11-23T03:00:00Z"), concerns: lasting.clone() };
        assert!(Notice::is_news(None, &lasting, at("2026-11-23T03:00:00Z")));
        assert!(!Notice::is_news(Some(&notice), &lasting, at("2026-11-24T02:59:59Z")));
        assert!(Notice::is_news(Some(&notice), &lasting, at("2026-11-24T03:00:00Z")));
        assert!(Notice::is_news(Some(&notice), &lasting, at("2026-11-23T01:00:00Z")));
        let more = concerns(&["app usage-unknown", "web failed"]);
        assert!(Notice::is_news(Some(&notice), &more, at("2026-11-23T04:00:00Z")));
    }

    #[test]
    fn every_blocker_comes_with_the_one_thing_to_do() {
        let now = Instant::parse("2026-11-23T03:00:00Z").unwrap();
        let text = String::new;
        let tag = Blocker::ProtectionTagTaken { tag: text(), wanted_by: text(), held_by: text() };
        let finding = Finding::new(Code::RuleMatchesNothing, "/rules/2", "it matches nothing");
        for blocker in [
            Blocker::Images { planned: 1, limit: 1 },
            Blocker::Percent { planned: 1, total: 1, limit: 1 },
            Blocker::Remaining { left: 1, limit: 1 },
            Blocker::UnreadIndexes(1),
            Blocker::Clock { count: 1, now },
            Blocker::Registry { planned: 1, before: 1, limit: 1 },
            Blocker::Reassigned(Reassignment::Replaced),
            tag,
            Blocker::Unprotectable(finding),
            Blocker::TakesProtected(1),
            Blocker::Unprotected,
            Blocker::Usage(text()),
            Blocker::EnforceOff,
            Blocker::PoliciesFileChanged,
            Blocker::PoliciesFileNotPreviewed,
            Blocker::RunTooOld { started_at: now },
        ] {
            let concern = Concern::new(blocker.code(), blocker.to_string());
            assert_eq!(concern.kind().code, blocker.code(), "{blocker}");
        }
    }
}
