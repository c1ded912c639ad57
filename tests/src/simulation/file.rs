//! Policies files, as the world's people write them.

use shared::domain::lifecycle::LifecyclePolicy;

use super::product;

/// One policy of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) name: &'static str,
    /// A prefix of the names of its repositories.
    pub(super) prefix: &'static str,
    /// Whether its repositories have the resource tag `hold: legal`.
    pub(super) is_for_held: bool,
    pub(super) apply: Apply,
    /// Rules in the simple model.
    pub(super) rules: String,
    pub(super) images: u64,
    pub(super) percent: u64,
    pub(super) remaining: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Apply {
    Preview,
    Attach,
    /// The policy is somebody else's.
    Protect,
    Delete,
}

/// `policies.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) policies: Vec<Policy>,
    /// `images` and `percent` of the whole registry in a day.
    pub(super) limits: (u64, u64),
    /// Somebody made a typing error.
    pub(super) is_broken: bool,
    /// It says that it is to be enforced without a preview before.
    pub(super) is_approved: bool,
}

impl Policy {
    pub(super) fn new(name: &'static str, prefix: &'static str, apply: Apply, rules: &str) -> Self {
        let rules = rules.to_owned();
        Self { name, prefix, is_for_held: false, apply, rules, images: 500, percent: 50, remaining: 1 }
    }

    pub(super) fn unlimited(self) -> Self {
        Self { images: 10_000, percent: 100, ..self }
    }

    pub(super) fn is_for(&self, repository: &str, is_held: bool) -> bool {
        repository.starts_with(self.prefix) && (is_held || !self.is_for_held)
    }

    pub(super) fn lifecycle_policy(&self) -> LifecyclePolicy {
        product::policy(&format!("rules: [{}]", self.rules)).expect("the world's rules are valid")
    }

    fn text(&self) -> String {
        let Self { name, prefix, rules, images, percent, remaining, .. } = self;
        let apply = match self.apply {
            Apply::Preview => "preview",
            Apply::Attach => "attach",
            Apply::Protect => "protect",
            Apply::Delete => "delete",
        };
        let rules = if self.apply == Apply::Protect { String::new() } else { format!(", rules: [{rules}]") };
        let tags = if self.is_for_held { ", tags: { hold: legal }" } else { "" };
        format!(
            "- {{ name: {name}, repositories: ['{prefix}*']{tags}, apply: {apply}{rules},\n    \
             limits: {{ images: {images}, percent: {percent}, remaining: {remaining} }} }}\n"
        )
    }
}

/// Untagged images go after a day, builds after the third.
pub(super) const TIDY: &str = "{selection: {tagPrefixList: [ci-]}, maximumNumberOfImages: 3}, {selection: untagged, maximumAgeLimit: 1}";
/// Everything expires that is older than a day.
pub(super) const GREEDY: &str = "{selection: any, maximumAgeLimit: 1}";

impl File {
    pub(super) fn new(policies: Vec<Policy>) -> Self {
        Self { policies, limits: (5000, 25), is_broken: false, is_approved: true }
    }

    /// What it is at first.
    pub(super) fn usual() -> Self {
        let hold = Policy { is_for_held: true, ..Policy::new("hold", "", Apply::Preview, TIDY) };
        let of = |name, prefix, apply| Policy::new(name, prefix, apply, TIDY);
        let pro = of("pro", "pro/", Apply::Protect);
        Self::new(vec![hold, of("del", "del/", Apply::Delete), of("att", "att/", Apply::Attach), pro])
    }

    pub(super) fn text(&self) -> String {
        let policies: String = self.policies.iter().map(Policy::text).collect();
        let (images, percent) = self.limits;
        let typo = if self.is_broken { "polices: []\n" } else { "" };
        let list =
            if policies.is_empty() { "policies: []\n".to_owned() } else { format!("policies:\n{policies}") };
        let text = format!("{list}limits: {{ images: {images}, percent: {percent} }}\n{typo}");
        match product::hash(&text).filter(|_| self.is_approved) {
            Some(hash) => format!("{text}approve: \"{hash}\"\n"),
            None => text,
        }
    }

    /// Whether another one means the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let Self { policies, limits, is_broken, is_approved: _ } = self;
        (policies, limits, is_broken) == (&other.policies, &other.limits, &other.is_broken)
    }

    /// The policy of a repository: the first that is for it.
    pub(super) fn policy_of(&self, repository: &str, is_held: bool) -> Option<&Policy> {
        self.policies.iter().find(|policy| policy.is_for(repository, is_held))
    }
}
