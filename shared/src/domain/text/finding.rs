//! Findings: errors and warnings about a policy or another document, each with a stable code, a place and what to change.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A finding: an error or a warning about a document, or about a policy on the images of a repository.
///
/// Serializes as `{"code", "pointer", "message"}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Finding {
    /// The kind of finding; stable across releases.
    pub code: Code,
    /// RFC 6901 JSON pointer into the document as it was written; empty for the document as a whole.
    pub pointer: String,
    /// One sentence that says what is wrong and what to change.
    pub message: String,
}

impl Finding {
    /// A finding at `pointer`.
    pub fn new(code: Code, pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, pointer: pointer.into(), message: message.into() }
    }
}

impl Finding {
    /// The same finding without the line and column that its message begins with, for output that shows the place beside the
    /// message.
    #[must_use]
    pub fn without_place(&self) -> Self {
        let message = match crate::domain::text::locate::split_place(&self.message) {
            Some((_, rest)) if self.pointer.is_empty() => rest.to_owned(),
            _ => self.message.clone(),
        };
        Self { code: self.code, pointer: self.pointer.clone(), message }
    }
}

impl fmt::Display for Finding {
    /// `/json/pointer: code: message`; the whole document is written `/`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 200;
        if self.pointer.is_empty() {
            f.write_str("/")?;
        }
        // A key may hold anything, also a line break; a finding stays one line, and is no longer than can be read.
        let characters = self.pointer.chars();
        let (left, right) = match characters.clone().nth(SHOWN) {
            Some(_) => (SHOWN, "…"),
            None => (usize::MAX, ""),
        };
        for character in characters.take(left) {
            if character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                write!(f, "{character}")?;
            }
        }
        write!(f, "{right}: {}: {}", self.code, self.message)
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal,)+) => {
        /// The stable code of a [`Finding`], kebab-case where it is printed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[non_exhaustive]
        pub enum Code {
            $($(#[doc = $doc])+ #[serde(rename = $text)] $variant,)+
        }

        impl Code {
            /// Every code there is, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code as it is printed.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

codes! {
    // The text.
    /// The text is not JSON (or YAML, for the simple model).
    Syntax = "syntax",
    /// The text is something else than what is expected: an image listing, a template, a program.
    WrongDocument = "wrong-document",
    /// An ECR policy document written as YAML; ECR takes JSON only.
    NotJson = "not-json",
    /// A policy text longer than ECR's 30,720 characters.
    PolicyTooLong = "policy-too-long",
    /// A policy text shorter than ECR's 100 characters.
    PolicyTooShort = "policy-too-short",

    // The shape.
    /// A value of the wrong JSON type.
    WrongType = "wrong-type",
    /// A field that the document does not have.
    UnknownField = "unknown-field",
    /// The same key twice in one object.
    DuplicateKey = "duplicate-key",
    /// A null where a value is needed; ECR refuses nulls.
    NullValue = "null-value",
    /// A required field is not there.
    MissingField = "missing-field",
    /// A word that is none of the field's values.
    UnknownValue = "unknown-value",
    /// A number that is not a whole number, or too small or too large.
    NumberOutOfRange = "number-out-of-range",
    /// A list with nothing in it.
    EmptyList = "empty-list",
    /// A prefix or pattern with nothing in it.
    EmptyString = "empty-string",
    /// More than 50 rules.
    TooManyRules = "too-many-rules",

    // One rule.
    /// A tag pattern with more than four `*`.
    TooManyWildcards = "too-many-wildcards",
    /// `tagged` without a prefix or pattern list.
    TagListMissing = "tag-list-missing",
    /// A prefix or pattern list with a tag status other than `tagged`.
    TagListUnexpected = "tag-list-unexpected",
    /// Both a prefix list and a pattern list.
    TagListConflict = "tag-list-conflict",
    /// An age limit without `countUnit`.
    CountUnitMissing = "count-unit-missing",
    /// `countUnit` with a limit that counts images.
    CountUnitUnexpected = "count-unit-unexpected",
    /// `sinceImagePulled` with an action other than `transition`.
    PulledNeedsTransition = "pulled-needs-transition",
    /// `sinceImageTransitioned` with an action other than `expire`.
    TransitionedNeedsExpire = "transitioned-needs-expire",
    /// `sinceImageTransitioned` without `storageClass: archive`.
    TransitionedNeedsArchive = "transitioned-needs-archive",
    /// `storageClass: archive` with another count type than `sinceImageTransitioned`.
    ArchiveNeedsTransitioned = "archive-needs-transitioned",
    /// Expiring archived images earlier than the 90 days that ECR bills them for.
    ArchivedTooBriefly = "archived-too-briefly",
    /// `transition` without a target storage class.
    TargetMissing = "target-missing",
    /// A target storage class with `expire`.
    TargetUnexpected = "target-unexpected",

    // Rules against each other.
    /// Two rules of the same priority.
    DuplicatePriority = "duplicate-priority",
    /// Two `untagged` rules in one storage class.
    DuplicateUntaggedRule = "duplicate-untagged-rule",
    /// Two `any` rules in one storage class.
    DuplicateAnyRule = "duplicate-any-rule",
    /// Two rules of one storage class with the same set of prefixes or patterns.
    DuplicateTagList = "duplicate-tag-list",
    /// An `any` rule that is applied before another rule of its storage class.
    AnyRuleNotLast = "any-rule-not-last",

    // The simple model.
    /// A simple rule without a limit.
    LimitMissing = "limit-missing",
    /// A simple rule with more than one limit.
    LimitConflict = "limit-conflict",
    /// A simple rule without a selection.
    SelectionMissing = "selection-missing",
    /// A simple rule with both spellings of a selection.
    SelectionConflict = "selection-conflict",
    /// An action that does not go with the rule's limit.
    ActionConflict = "action-conflict",

    // A repository.
    /// A name that ECR does not take.
    InvalidName = "invalid-name",
    /// Names that should be the same and are not.
    NameConflict = "name-conflict",
    /// A KMS key with an encryption that uses none.
    KmsKeyUnexpected = "kms-key-unexpected",
    /// The alias of a KMS key. An alias can be moved to another key, so that it does not identify the key of a repository.
    KmsKeyAlias = "kms-key-alias",
    /// A tag key that belongs to AWS or to this stack.
    ReservedTag = "reserved-tag",
    /// Both a lifecycle policy and the text of one.
    LifecyclePolicyConflict = "lifecycle-policy-conflict",
    /// Both who may pull and the text of a repository policy.
    RepositoryPolicyConflict = "repository-policy-conflict",
    /// The text of a repository policy that is no policy.
    InvalidRepositoryPolicy = "invalid-repository-policy",
    /// Something else than the twelve digits of an account.
    InvalidAccountId = "invalid-account-id",
    /// Something else than the id of an organisation.
    InvalidOrganizationId = "invalid-organization-id",
    /// Neither the digest nor the tag of an image.
    InvalidImageId = "invalid-image-id",
    /// A rule that counts images by tags which protection tags match, in a policy that ECR enforces behind the protection rule.
    ProtectionTagsMatch = "protection-tags-match",
    /// A filter by which protection tags could be moved to other images.
    ProtectionTagsMovable = "protection-tags-movable",
    /// A policy in which there is nothing but the protection rule, where one that is wanted belongs.
    SuspendedPolicy = "suspended-policy",

    // A build.
    /// A path that leads out of the source, or is none.
    InvalidPath = "invalid-path",
    /// A template that makes no tag.
    InvalidTag = "invalid-tag",
    /// Several platforms for something that supports a single one.
    PlatformConflict = "platform-conflict",
    /// No source, or two.
    SourceConflict = "source-conflict",
    /// A secret that `builds.yaml` does not name for the repository.
    SecretNotNamed = "secret-not-named",

    // The policy against what is in the repository.
    /// A rule that identifies no image here.
    RuleMatchesNothing = "rule-matches-nothing",
    /// A rule all of whose images are identified by earlier rules.
    RuleNeverActs = "rule-never-acts",
    /// A rule that can never act, in any repository: earlier rules identify all images that it identifies.
    RuleUnreachable = "rule-unreachable",
    /// A list of prefixes or patterns that looks like "one of", and means "all of".
    ListMeansAll = "list-means-all",
    /// A prefix or pattern that no tag can match, in any repository.
    ListNeverMatches = "list-never-matches",
    /// An entry of policies.yaml that applies to no repository, since an earlier entry matches all of them.
    EntryUnreachable = "entry-unreachable",
    /// An entry of `usage.ignore` in policies.yaml whose last day is over.
    IgnoreExpired = "ignore-expired",
    /// An entry of policies.yaml that may leave a repository almost nothing, with limits that do not stop it.
    LeavesAlmostNothing = "leaves-almost-nothing",
    /// Every image expires.
    EverythingExpires = "everything-expires",
    /// Every tagged image expires.
    EveryTaggedImageExpires = "every-tagged-image-expires",
    /// Images expire that have tags which the rule does not name.
    OtherTagsExpire = "other-tags-expire",
    /// A limit falls between images of the same age, so that their digests decide which of them expires.
    TieDecidedByDigest = "tie-decided-by-digest",
    /// The policy selects other images if ECR counts referrers (signatures, SBOMs, attestations). Whether ECR counts them is not
    /// documented.
    ReferrersMayCount = "referrers-may-count",
    /// An image index whose children are not known, so that they are ranked like ordinary images.
    RelationsUnknown = "relations-unknown",
    /// The image listing ends with a token for more pages.
    ListingIncomplete = "listing-incomplete",
    /// An image that was pushed after the time that a preview is for.
    ImageFromFuture = "image-from-future",
    /// An image that a listing contains twice with different push times, as listings of one repository from two Regions do.
    PushTimesDiffer = "push-times-differ",
    /// A tag that a listing has on two images.
    TagOfTwoImages = "tag-of-two-images",
    /// An image that a listing has from before there was an Amazon ECR.
    PushedBeforeEcr = "pushed-before-ecr",
    /// A reference in use that names no image here.
    InUseNotFound = "in-use-not-found",
    /// An image in use that ECR takes, by the lifecycle policy of the repository.
    InUseExpires = "in-use-expires",
    /// An image that was to be deleted by hand, and is in use.
    ImageInUse = "image-in-use",
    /// A usage source that could not be read completely.
    UsageUnknown = "usage-unknown",
}

impl Code {
    /// Whether the finding is a warning: the document is valid, and probably does not mean what its author intended. All others
    /// are errors.
    #[must_use]
    pub const fn is_warning(self) -> bool {
        matches!(
            self,
            Self::RuleMatchesNothing
                | Self::RuleNeverActs
                | Self::RuleUnreachable
                | Self::ListMeansAll
                | Self::ListNeverMatches
                | Self::EntryUnreachable
                | Self::IgnoreExpired
                | Self::LeavesAlmostNothing
                | Self::EverythingExpires
                | Self::EveryTaggedImageExpires
                | Self::OtherTagsExpire
                | Self::TieDecidedByDigest
                | Self::ReferrersMayCount
                | Self::RelationsUnknown
                | Self::ListingIncomplete
                | Self::ImageFromFuture
                | Self::PushTimesDiffer
                | Self::TagOfTwoImages
                | Self::PushedBeforeEcr
                | Self::InUseNotFound
                | Self::InUseExpires
        )
    }
}

impl Code {
    /// Whether the finding is a matter of judgement: the document does what it says, and its author may want just that. `check` says so,
    /// and ends as if it was not there.
    #[must_use]
    pub const fn is_advice(self) -> bool {
        matches!(self, Self::LeavesAlmostNothing)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Appends `token` to a JSON pointer, escaped as RFC 6901 asks.
#[must_use]
pub fn join_pointer(base: &str, token: &str) -> String {
    let mut pointer = String::with_capacity(base.len() + 1 + token.len());
    pointer.push_str(base);
    pointer.push('/');
    for character in token.chars() {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
    pointer
}

/// Maximum number of findings in a sentence. Events and mails have a maximum size.
const FINDINGS_IN_A_SENTENCE: usize = 20;

/// The findings in one sentence, the first ones if there are very many.
#[must_use]
pub fn in_a_sentence(findings: &[Finding]) -> String {
    let shown = findings.iter().take(FINDINGS_IN_A_SENTENCE).map(ToString::to_string);
    let more = findings.len().saturating_sub(FINDINGS_IN_A_SENTENCE);
    let more = (more > 0).then(|| format!("and {more} more"));
    shown.chain(more).collect::<Vec<_>>().join("; ")
}

/// Formats a text from outside for a message: in backticks, on one line, of bounded length.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    shown = shown.replace("\\\"", "\"").replace("\\'", "'");
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// Formats a number from outside for a message: of bounded length.
pub(crate) fn shown_number(number: f64) -> String {
    if number.abs() < 1e16 { number.to_string() } else { format!("{number:e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_has_a_bounded_length() {
        assert_eq!(shown_number(2.5), "2.5");
        assert_eq!(shown_number(9_007_199_254_740_993.0), "9007199254740992");
        assert_eq!(shown_number(-1e300), "-1e300");
        let long = Finding::new(Code::UnknownField, format!("/{}", "9".repeat(5000)), "x").to_string();
        assert!(long.ends_with("999…: unknown-field: x") && long.chars().count() < 230, "{long}");
    }

    #[test]
    fn a_finding_is_one_line_whatever_the_document_holds() {
        let finding =
            Finding::new(Code::UnknownField, "/a\nb", format!("{} is unknown", quoted("a\n\u{1b}[31m")));
        assert_eq!(finding.to_string(), "/a\\nb: unknown-field: `a\\n\\u{1b}[31m` is unknown");
    }

    #[test]
    fn pointers_escape_slashes_and_tildes() {
        assert_eq!(join_pointer("/rules/0", "a/b~c"), "/rules/0/a~1b~0c");
    }

    #[test]
    fn codes_are_printed_as_they_are_serialized_and_no_two_are_the_same() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            assert_eq!(serde_json::to_string(code).unwrap(), format!("\"{code}\""));
            assert!(seen.insert(code.as_str()), "{code}");
            assert!(code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{code}");
        }
    }
}
