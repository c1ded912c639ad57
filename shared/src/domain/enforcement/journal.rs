//! The journal, which is written before images are deleted or archived: one line of JSON for each, with what was deleted, why, by
//! whose decision, and what is needed to restore it.
//!
//! | object | contains |
//! | --- | --- |
//! | `<hash>.jsonl` | images that are about to be deleted or archived: [`Line`]s |
//! | `plan-<hash>.jsonl` | images that ECR is going to expire behind an attached policy: [`Line`]s, which do not say that an image was deleted |
//! | `policy-<hash>.json` | a lifecycle policy that is about to be replaced: a [`PolicyLine`] |
//! | `restore-<hash>.jsonl` | images that are about to be restored from this journal: [`RestoreLine`]s |

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::enforcement::actor::Actor;
use crate::domain::enforcement::run::Run;
use crate::domain::preview::model::ActionTaken;
use crate::domain::text::instant::Instant;

/// Key prefix of the journal.
pub const PREFIX: &str = "journal/";
/// Prefix of the file name of a plan. No hash begins with it.
const PLAN: &str = "plan-";
/// Prefix of the file name of a replaced policy. No hash begins with it.
const POLICY: &str = "policy-";
/// Prefix of the file name of restored images. No hash begins with it.
const RESTORE: &str = "restore-";

/// Maximum number of bytes of the manifests in one object. A manifest is JSON, which at most doubles in a string of JSON, and an object
/// of 32 MB is read.
const MAX_MANIFEST_BYTES: usize = 12 * 1024 * 1024;

/// An image that is about to be deleted or archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// The run, or the request that named the image.
    pub run_id: String,
    /// The time of writing.
    pub at: Instant,
    /// The registry: the account.
    pub registry_id: String,
    /// The Region.
    #[serde(default)]
    pub region: String,
    /// The actor that decided.
    #[serde(default)]
    pub by: Actor,
    /// The repository.
    pub repository_name: String,
    /// The image's digest.
    pub image_digest: String,
    /// Its tags, which go with it.
    pub image_tags: Vec<String>,
    /// The push time.
    pub image_pushed_at: Instant,
    /// Its size in bytes.
    pub image_size_in_bytes: u64,
    /// Its manifest, as it was pushed; null if ECR did not give it.
    pub image_manifest: Option<String>,
    /// The media type of the manifest.
    #[serde(default)]
    pub image_manifest_media_type: Option<String>,
    /// The action that follows.
    pub action: ActionTaken,
    /// The policy in the policies file; absent for an image that somebody named.
    pub policy: Option<String>,
    /// The version of the policies file.
    #[serde(alias = "bookVersion")]
    pub policies_file_version: Option<String>,
    /// The rule that selects it.
    pub applied_rule_priority: Option<u64>,
    /// Why it is deleted or archived.
    pub reason: String,
    /// The time at which the use was read that the decision rests on.
    #[serde(default)]
    pub usage_read_at: Option<Instant>,
}

/// A lifecycle policy that is about to be replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PolicyLine {
    /// The run, the request, or the command that puts a policy back.
    pub run_id: String,
    /// The time of writing.
    pub at: Instant,
    /// The registry: the account.
    pub registry_id: String,
    /// The Region.
    pub region: String,
    /// The actor that decided.
    pub by: Actor,
    /// The repository.
    pub repository_name: String,
    /// The policy that is replaced, as ECR gave it.
    pub lifecycle_policy_text: String,
    /// The policy that replaces it; empty if none does.
    pub replaced_by: String,
    /// Why it is replaced.
    pub reason: String,
    /// Whether this stack had attached it, so that nobody else owns it.
    #[serde(default)]
    pub was_attached_by_stack: bool,
}

/// An image that is about to be restored from the journal, as somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RestoreLine {
    /// The request or the command that restores it.
    pub run_id: String,
    /// The time of writing.
    pub at: Instant,
    /// The registry: the account.
    pub registry_id: String,
    /// The Region.
    pub region: String,
    /// The actor that decided.
    pub by: Actor,
    /// The repository.
    pub repository_name: String,
    /// The image's digest.
    pub image_digest: String,
    /// The tags that are put on it.
    pub image_tags: Vec<String>,
    /// The run, or the request, that deleted or archived it.
    pub removed_by_run_id: String,
    /// The object of the journal that has its manifest.
    pub restored_from: String,
}

/// Lines, in as many parts as there have to be objects of them that can be read again: a manifest may have up to 4 MB, and whoever may
/// push decides about that.
pub fn readable_parts(lines: &[Line]) -> impl Iterator<Item = &[Line]> {
    let mut rest = lines;
    std::iter::from_fn(move || {
        let mut bytes: usize = 0;
        let fitting = rest.iter().take_while(|line| {
            bytes = bytes.saturating_add(line.image_manifest.as_ref().map_or(0, String::len));
            bytes <= MAX_MANIFEST_BYTES
        });
        let number = fitting.count().max(1);
        let (part, others) = rest.split_at_checked(number)?;
        rest = others;
        Some(part)
    })
}

/// Lines as an object: its key, and its content. The same images, as they are, have the same key in the same run, so that writing
/// them down is idempotent.
///
/// # Errors
///
/// When a line cannot be written, which no content of it should bring about.
pub fn entry(folder: &str, repository: &str, lines: &[Line]) -> Result<(String, String), serde_json::Error> {
    let (name, content) = lines_entry(lines)?;
    Ok((format!("{folder}{repository}/{name}.jsonl"), content))
}

/// The object of a plan, as [`entry`] writes images that are about to be deleted.
///
/// # Errors
///
/// As [`entry`].
pub fn plan_entry(
    folder: &str,
    repository: &str,
    lines: &[Line],
) -> Result<(String, String), serde_json::Error> {
    let (name, content) = lines_entry(lines)?;
    Ok((format!("{folder}{repository}/{PLAN}{name}.jsonl"), content))
}

/// Images that are about to be restored as an object: its key, and its content. The same images with the same tags have the same
/// key below the same folder, so that writing it down is idempotent.
///
/// # Errors
///
/// As [`entry`].
pub fn restore_entry(
    folder: &str,
    repository: &str,
    lines: &[RestoreLine],
) -> Result<(String, String), serde_json::Error> {
    let (name, content) =
        named_lines(lines, |line| format!("{} {}\n", line.image_digest, line.image_tags.join(" ")))?;
    Ok((format!("{folder}{repository}/{RESTORE}{name}.jsonl"), content))
}

/// A replaced policy as an object: its key, and its content. The same policy that is replaced by the same one has the same key in
/// the same run, so that writing it down is idempotent.
///
/// # Errors
///
/// When it cannot be written, which no content of it should bring about.
pub fn policy_entry(folder: &str, line: &PolicyLine) -> Result<(String, String), serde_json::Error> {
    let mut digest = Sha256::new();
    for text in [&line.lifecycle_policy_text, &line.replaced_by] {
        digest.update(text);
        // No JSON has it.
        digest.update([0]);
    }
    let content = serde_json::to_string(line)?;
    Ok((format!("{folder}{}/{POLICY}{}.json", line.repository_name, hash(digest)), content))
}

/// The hash of lines, and their text.
fn lines_entry(lines: &[Line]) -> Result<(String, String), serde_json::Error> {
    named_lines(lines, |line| {
        format!("{}{}{:?}\n", line.image_digest, line.image_tags.join(" "), line.action.kind)
    })
}

/// The hash of what lines are about, and their text.
fn named_lines<T: Serialize>(
    lines: &[T],
    subject: impl Fn(&T) -> String,
) -> Result<(String, String), serde_json::Error> {
    let mut content = String::new();
    let mut digest = Sha256::new();
    for line in lines {
        digest.update(subject(line));
        content += &serde_json::to_string(line)?;
        content.push('\n');
    }
    Ok((hash(digest), content))
}

fn hash(digest: Sha256) -> String {
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether an object of the journal is about images that this project is about to delete or archive: not a plan, not a replaced
/// policy, and not about images that are restored.
#[must_use]
pub fn is_removals(key: &str) -> bool {
    let name = file_name(key);
    [PLAN, POLICY, RESTORE].iter().all(|other| !name.starts_with(other))
}

/// Whether an object of the journal is about images that were restored from it.
#[must_use]
pub fn is_restores(key: &str) -> bool {
    file_name(key).starts_with(RESTORE)
}

/// The repository of an object of the journal, by its key; none for a key that is not one of the journal's.
#[must_use]
pub fn repository_of(key: &str) -> Option<&str> {
    // journal/Y/M/D/<run>/<repository>/<name>
    let rest = key.strip_prefix(PREFIX)?.splitn(5, '/').nth(4)?;
    rest.rsplit_once('/').map(|(repository, _)| repository)
}

/// The repository of a replaced policy, by the object's key; none for any other object.
#[must_use]
pub fn repository_of_policy(key: &str) -> Option<&str> {
    let is_policy = file_name(key).starts_with(POLICY) && key.ends_with(".json");
    if is_policy { repository_of(key) } else { None }
}

/// The run, or the command, that wrote an object of the journal, by the object's key.
#[must_use]
pub fn run_of(key: &str) -> Option<&str> {
    key.strip_prefix(PREFIX)?.split('/').nth(3)
}

fn file_name(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}

/// Key prefix of what a run journaled.
#[must_use]
pub fn prefix(run: &Run) -> String {
    folder(run.started_at, &run.run_id)
}

/// Key prefix of what a run journaled, from its start and its name.
#[must_use]
pub fn folder(at: Instant, id: &str) -> String {
    format!("{}{id}/", day(at))
}

/// The prefix of the journal's keys of a day, in UTC. A run's day is that of its start.
#[must_use]
pub fn day(at: Instant) -> String {
    let day = at.to_string();
    let day = day.split('T').next().unwrap_or_default().replace('-', "/");
    format!("{PREFIX}{day}/")
}

#[cfg(test)]
impl Line {
    /// An image of the repository `app` that is deleted when it is pushed.
    pub(crate) fn example(image_digest: String, at: Instant) -> Self {
        Self {
            run_id: "r".to_owned(),
            at,
            registry_id: "123456789012".to_owned(),
            region: "eu-west-1".to_owned(),
            by: Actor::default(),
            repository_name: "app".to_owned(),
            image_digest,
            image_tags: Vec::new(),
            image_pushed_at: at,
            image_size_in_bytes: 1,
            image_manifest: None,
            image_manifest_media_type: None,
            action: ActionTaken::from(crate::domain::lifecycle::document::Action::Expire),
            policy: None,
            policies_file_version: None,
            applied_rule_priority: None,
            reason: "old".to_owned(),
            usage_read_at: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: &str = "journal/2026/11/26/r/";

    fn at(time: &str) -> Instant {
        Instant::parse(time).unwrap()
    }

    fn line(letter: char) -> Line {
        let image_digest = format!("sha256:{}", letter.to_string().repeat(64));
        Line {
            repository_name: "team/app".to_owned(),
            image_tags: vec!["v1".to_owned()],
            policy: Some("all".to_owned()),
            applied_rule_priority: Some(1),
            ..Line::example(image_digest, at("2026-11-26T03:00:00Z"))
        }
    }

    fn restore(letter: char) -> RestoreLine {
        let Line { run_id, at, registry_id, region, by, repository_name, image_digest, image_tags, .. } =
            line(letter);
        let restored_from = format!("{FOLDER}team/app/0123456789abcdef.jsonl");
        RestoreLine {
            run_id: "restore-1".to_owned(),
            at,
            registry_id,
            region,
            by,
            repository_name,
            image_digest,
            image_tags,
            removed_by_run_id: run_id,
            restored_from,
        }
    }

    fn policy(text: &str, replaced_by: &str) -> PolicyLine {
        PolicyLine {
            run_id: "r".to_owned(),
            at: at("2026-11-26T03:00:00Z"),
            registry_id: "123456789012".to_owned(),
            region: "eu-west-1".to_owned(),
            by: Actor::principal("arn:aws:iam::123456789012:role/ops"),
            repository_name: "team/app".to_owned(),
            lifecycle_policy_text: text.to_owned(),
            replaced_by: replaced_by.to_owned(),
            reason: "policies.yaml says so".to_owned(),
            was_attached_by_stack: false,
        }
    }

    #[test]
    fn plans_policies_and_restores_are_no_removals() {
        let (removals, _) = entry(FOLDER, "team/app", &[line('a')]).unwrap();
        let (plan, _) = plan_entry(FOLDER, "team/app", &[line('a')]).unwrap();
        let (replaced, _) = policy_entry(FOLDER, &policy("{}", "[]")).unwrap();
        let (restored, _) = restore_entry(FOLDER, "team/app", &[restore('a')]).unwrap();
        let all = [&removals, &plan, &replaced, &restored];
        assert_eq!(all.map(|key| is_removals(key)), [true, false, false, false]);
        assert_eq!(all.map(|key| is_restores(key)), [false, false, false, true]);
        assert_eq!(all.map(|key| repository_of(key)), [Some("team/app"); 4]);
        assert!(removals.starts_with("journal/2026/11/26/r/team/app/") && removals.ends_with(".jsonl"));
        let name = removals.rsplit('/').next().unwrap();
        assert_eq!(plan, format!("journal/2026/11/26/r/team/app/plan-{name}"));
        assert!(is_removals("journal/2026/11/26/plan-1/policy-app/plan-b/0123456789abcdef.jsonl"));
    }

    #[test]
    fn a_replaced_policy_says_of_which_repository_and_run_it_is() {
        let (key, content) = policy_entry(FOLDER, &policy("{}", "[]")).unwrap();
        assert_eq!(repository_of_policy(&key), Some("team/app"));
        assert_eq!(run_of(&key), Some("r"));
        assert_eq!(serde_json::from_str::<PolicyLine>(&content).unwrap(), policy("{}", "[]"));
        let (plan, _) = plan_entry(FOLDER, "team/app", &[line('a')]).unwrap();
        assert_eq!(repository_of_policy(&plan), None);
        assert_eq!(repository_of_policy("journal/2026/11/26/r/policy-0123456789abcdef.json"), None);
        assert!(content.contains(r#""lifecyclePolicyText":"{}","replacedBy":"[]""#), "{content}");
    }

    #[test]
    fn the_same_is_written_down_once_and_different_things_beside_each_other() {
        let key = |line: &PolicyLine| policy_entry(FOLDER, line).unwrap().0;
        let again = PolicyLine { at: at("2026-11-26T03:10:00Z"), ..policy("a", "b") };
        assert_eq!(key(&again), key(&policy("a", "b")));
        assert_ne!(key(&policy("b", "a")), key(&policy("a", "b")));
        assert_ne!(key(&policy("ab", "")), key(&policy("a", "b")));
        let plan = |lines: &[Line]| plan_entry(FOLDER, "team/app", lines).unwrap().0;
        assert_eq!(plan(&[Line { at: again.at, ..line('a') }]), plan(&[line('a')]));
        assert_ne!(plan(&[line('b')]), plan(&[line('a')]));
    }

    #[test]
    fn what_is_written_down_can_be_read_again_however_large_manifests_are() {
        let large = |letter| Line { image_manifest: Some("\"".repeat(4 * 1024 * 1024)), ..line(letter) };
        let lines: Vec<Line> = ('a'..='f').map(large).chain([line('0'), line('1')]).collect();
        let parts: Vec<&[Line]> = readable_parts(&lines).collect();
        assert_eq!(parts.concat(), lines);
        for part in &parts {
            assert!(entry(FOLDER, "team/app", part).unwrap().1.len() < 32 * 1024 * 1024);
        }
        assert_eq!(parts.len(), 2);
        assert_eq!(readable_parts(&lines[..0]).count(), 0);
        let larger =
            [Line { image_manifest: Some("x".repeat(MAX_MANIFEST_BYTES + 1)), ..line('a') }, line('b')];
        assert_eq!(readable_parts(&larger).map(<[Line]>::len).collect::<Vec<_>>(), [1, 1]);
    }

    #[test]
    fn a_day_has_what_was_started_on_it() {
        assert_eq!(day(at("2026-11-26T23:59:59Z")), "journal/2026/11/26/");
        assert_eq!(folder(at("2026-11-26T23:59:59Z"), "r"), FOLDER);
    }
}
