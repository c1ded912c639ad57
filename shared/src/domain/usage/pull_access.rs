//! Who may pull from a repository by its policy, besides its own account, and whose use of it is unknown.
//!
//! A policy is never read as giving less access than it gives: denials are ignored, and so are conditions that are not
//! understood.

use std::collections::BTreeSet;

use serde_json::Value;

use super::reports::{Reporter, is_account};
use super::source::{UsageSource, When};
use crate::domain::enforcement::policy_set::{LISTS, Sources};
use crate::domain::usage::UnreadableSource;

/// Other accounts that may pull.
pub const SOURCE: UsageSource = UsageSource {
    name: "account",
    title: "other accounts",
    service: None,
    actions: &["ecr:GetRegistryPolicy", "ecr:GetRepositoryPolicy"],
    blocks: true,
    when: When::BeforeEachDeletion,
    calls: "1 once a run, and 1 for each repository from which something is deleted",
};

/// The actions that pulling an image needs, in lower case. A client that has the manifest needs the layers only.
const PULL_ACTIONS: [&str; 2] = ["ecr:batchgetimage", "ecr:getdownloadurlforlayer"];
/// The service that pulls for functions.
const LAMBDA: &str = "lambda.amazonaws.com";
/// The statement that AWS Lambda writes itself, for functions of the repository's own account.
const LAMBDA_OWN_STATEMENT: &str = "LambdaECRImageRetrievalPolicy";

/// The principals that may pull.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pullers {
    /// Accounts.
    pub accounts: BTreeSet<String>,
    /// Organisations, `o-…`.
    pub organizations: BTreeSet<String>,
    /// Whether everybody may, or a principal that cannot be identified.
    pub anybody: bool,
    /// Services that pull on somebody's behalf, besides AWS Lambda for functions of the accounts.
    pub services: BTreeSet<String>,
}

/// Parses the policy of a repository, or of its registry. The account `own` is that of the repository, whose use is read from AWS
/// itself.
///
/// # Errors
///
/// If it is not a policy.
pub fn parse(policy: &str, own: &str, repository: &str) -> Result<Pullers, serde_json::Error> {
    let counts = |statement: &Value| lets_pull(statement) && is_about(statement, repository);
    let_in(policy, own, Written::ByEcr, counts)
}

/// The principals that a future policy of a repository gives access to, to pull or to do anything else. A statement that AWS
/// Lambda wrote itself into the policy `before` adds no principal.
///
/// # Errors
///
/// If it is not a policy.
pub fn everybody(policy: &str, before: Option<&str>, own: &str) -> Result<Pullers, serde_json::Error> {
    // Of what cannot be read nothing stays.
    let before: Option<Value> = before.and_then(|before| serde_json::from_str(before).ok());
    let stays = |statement: &Value| {
        let mut before = before.iter().flat_map(|policy| one_or_many(&policy["Statement"]));
        statement["Sid"] == LAMBDA_OWN_STATEMENT && before.any(|before| before == statement)
    };
    let_in(policy, own, Written::BySomebody, |statement| !stays(statement))
}

/// The author of a policy's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// ECR, which has it in force.
    ByEcr,
    /// Somebody who wants it to be in force.
    BySomebody,
}

fn let_in(
    policy: &str,
    own: &str,
    written: Written,
    counts: impl Fn(&Value) -> bool,
) -> Result<Pullers, serde_json::Error> {
    let policy: Value = serde_json::from_str(policy)?;
    let mut pullers = Pullers::default();
    for statement in one_or_many(&policy["Statement"]) {
        if statement["Effect"] != "Deny" && counts(statement) {
            pullers.add(statement, written);
        }
    }
    pullers.accounts.remove(own);
    Ok(pullers)
}

impl Pullers {
    /// The gaps of a repository that these principals may pull from, without those that lists cover.
    #[must_use]
    pub fn gaps(
        &self,
        repository: &str,
        own: &str,
        sources: &Sources,
        reporters: &[Reporter],
    ) -> Vec<UnreadableSource> {
        let gap = |source: String, problem: String| UnreadableSource {
            source,
            repositories: vec![repository.to_owned()],
            problem,
        };
        let is_listed = |account: &str| reporters.iter().any(|reporter| reporter.reports_account(account));
        let is_region_listed = |account: &str, region: &str| {
            reporters
                .iter()
                .any(|reporter| reporter.reports_account(account) && reporter.names_region(region))
        };
        let mut accounts: BTreeSet<&str> = self.accounts.iter().map(String::as_str).collect();
        let mut gaps = Vec::new();
        let is_open = self.anybody || !self.organizations.is_empty();
        let named = sources.accounts.iter().map(|named| named.account.as_str());
        accounts.extend(named.filter(|account| is_open && *account != own));
        for account in accounts {
            if !is_listed(account) {
                let problem = format!(
                    "the account {account} may pull from {repository}, and no list tells what it uses; deploy the usage reporter \
                     there (infra/usage-reporter.yaml), have it write {LISTS}{account}/<name>.json, or declare its list with \
                     `account: \"{account}\"`"
                );
                gaps.push(gap(format!("account/{account}"), problem));
                continue;
            }
            let regions = sources.accounts.iter().filter(|named| named.account == account);
            for region in regions.flat_map(|named| &named.regions) {
                if !is_region_listed(account, region) {
                    let problem = format!(
                        "the account {account} may pull from {repository}, and no list tells what it uses in {region}, which \
                         `usage.accounts` names; deploy the usage reporter there, which writes {LISTS}{account}/{region}.json"
                    );
                    gaps.push(gap(format!("account/{account}/{region}"), problem));
                }
            }
        }
        let name_them = "name the accounts that do in `usage.accounts` and have each write a list";
        if sources.accounts.is_empty() {
            if self.anybody {
                let problem = format!("everybody may pull from {repository}; {name_them}");
                gaps.push(gap("account/*".to_owned(), problem));
            }
            for organization in &self.organizations {
                let problem = format!(
                    "every account of the organisation {organization} may pull from {repository}; {name_them}"
                );
                gaps.push(gap(format!("organization/{organization}"), problem));
            }
        }
        for service in &self.services {
            let problem = format!(
                "the service {service} may pull from {repository}, and what it runs is not asked for; have that written to \
                 {LISTS}<name>.json, and ignore this source then"
            );
            gaps.push(gap(format!("service/{service}"), problem));
        }
        gaps
    }

    fn add(&mut self, statement: &Value, written: Written) {
        let narrowed = Narrowed::of(&statement["Condition"]);
        let principal = &statement["Principal"];
        // Everybody but some.
        if !statement["NotPrincipal"].is_null() || principal == "*" {
            return self.add_anybody(&narrowed);
        }
        let Value::Object(kinds) = principal else { return self.add_anybody(&narrowed) };
        for (kind, named) in kinds {
            for name in one_or_many(named) {
                match (kind.as_str(), name.as_str()) {
                    ("AWS", Some("*")) => self.add_anybody(&narrowed),
                    ("AWS", Some(name)) => match account_of(name) {
                        Some(account) => {
                            self.accounts.insert(account.to_owned());
                        }
                        // ECR replaces the ARN of a deleted role or user by its unique id, which nobody has any more. In a text
                        // that somebody wrote it is an existing one, of an unknown account.
                        None if is_unique_id(name) && written == Written::ByEcr => {}
                        None => self.add_anybody(&narrowed),
                    },
                    ("Service", Some(LAMBDA)) => {
                        let is_its_own =
                            statement["Sid"] == LAMBDA_OWN_STATEMENT && written == Written::ByEcr;
                        if !self.add_narrowed(&narrowed) && !is_its_own {
                            self.services.insert(LAMBDA.to_owned());
                        }
                    }
                    ("Service", Some(service)) => {
                        self.services.insert(service.to_owned());
                    }
                    _ => self.add_anybody(&narrowed),
                }
            }
        }
    }

    fn add_anybody(&mut self, narrowed: &Narrowed) {
        if !self.add_narrowed(narrowed) {
            self.anybody = true;
        }
    }

    /// Adds the principals that a condition names; `false` if it names none.
    fn add_narrowed(&mut self, narrowed: &Narrowed) -> bool {
        match narrowed {
            Narrowed::Accounts(accounts) => self.accounts.extend(accounts.iter().cloned()),
            Narrowed::Organizations(organizations) => {
                self.organizations.extend(organizations.iter().cloned());
            }
            Narrowed::No => return false,
        }
        true
    }
}

/// The principals that a condition narrows a statement to.
#[derive(Debug, PartialEq, Eq)]
enum Narrowed {
    /// Everybody, as far as is understood.
    No,
    Accounts(Vec<String>),
    Organizations(Vec<String>),
}

impl Narrowed {
    /// All parts of a condition have to be met; the narrowest that is understood counts.
    fn of(condition: &Value) -> Self {
        let mut narrowed = Self::No;
        for (operator, keys) in condition.as_object().into_iter().flatten() {
            let operator = operator.to_ascii_lowercase();
            let operator = operator.strip_prefix("foranyvalue:").unwrap_or(&operator);
            let is_understood = matches!(
                operator,
                "stringequals" | "stringlike" | "stringequalsignorecase" | "arnequals" | "arnlike"
            );
            for (key, values) in keys.as_object().into_iter().flatten().filter(|_| is_understood) {
                let values: Option<Vec<&str>> = one_or_many(values).map(Value::as_str).collect();
                let Some(values) = values.filter(|values| !values.is_empty()) else { continue };
                let all = |read: fn(&str) -> Option<&str>| -> Option<Vec<String>> {
                    values.iter().map(|value| read(value).map(str::to_owned)).collect()
                };
                let found = match key.to_ascii_lowercase().as_str() {
                    // The path of a role may have colons, which `*` stands for in a text as for all else.
                    "aws:principalarn" if operator == "stringlike" && values.iter().any(is_open_ended) => {
                        None
                    }
                    "aws:principalaccount" | "aws:sourceaccount" | "aws:principalarn" | "aws:sourcearn" => {
                        all(account_of).map(Self::Accounts)
                    }
                    "aws:principalorgid" | "aws:sourceorgid" => all(organization).map(Self::Organizations),
                    "aws:principalorgpaths" | "aws:sourceorgpaths" => {
                        all(|path| organization(path.split('/').next()?)).map(Self::Organizations)
                    }
                    _ => None,
                };
                match (&narrowed, found) {
                    (Self::Accounts(_), _) | (_, None) => {}
                    (_, Some(found)) => narrowed = found,
                }
            }
        }
        narrowed
    }
}

/// Whether a statement allows an action that pulling needs.
fn lets_pull(statement: &Value) -> bool {
    let names_pull = |actions: &Value, every: bool| {
        let is_named = |pull: &str| {
            one_or_many(actions).any(|action| {
                action.as_str().is_some_and(|action| matches_iam(&action.to_ascii_lowercase(), pull))
            })
        };
        if every {
            PULL_ACTIONS.iter().all(|pull| is_named(pull))
        } else {
            PULL_ACTIONS.iter().any(|pull| is_named(pull))
        }
    };
    match (&statement["Action"], &statement["NotAction"]) {
        (Value::Null, Value::Null) => false,
        (Value::Null, others) => !names_pull(others, true),
        (actions, _) => names_pull(actions, false),
    }
}

/// Whether a statement applies to the repository. Statements of a repository's policy have no resource.
fn is_about(statement: &Value, repository: &str) -> bool {
    let mut resources = one_or_many(&statement["Resource"]).peekable();
    let names = |resource: &Value| {
        let name = resource.as_str().and_then(|arn| arn.split_once(":repository/"));
        name.is_none_or(|(_, pattern)| matches_iam(pattern, repository))
    };
    resources.peek().is_none() || resources.any(names)
}

/// Whether a text matches a pattern of IAM, in which `*` stands for any characters and `?` for one.
fn matches_iam(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut from) = (0, 0);
    // Where the last `*` is, and how far what it stands for reaches.
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match (pattern.get(at), text.get(from)) {
            (Some(b'*'), _) => {
                star = Some((at, from));
                at += 1;
            }
            (Some(wanted), Some(found)) if *wanted == b'?' || wanted == found => {
                at += 1;
                from += 1;
            }
            _ => {
                let Some((place, reach)) = star else { return false };
                star = Some((place, reach + 1));
                (at, from) = (place + 1, reach + 1);
            }
        }
    }
    pattern.iter().skip(at).all(|rest| *rest == b'*')
}

/// A value, or all of a list.
fn one_or_many(value: &Value) -> impl Iterator<Item = &Value> {
    let (one, many) = match value {
        Value::Null => (None, None),
        Value::Array(many) => (None, Some(many)),
        one => (Some(one), None),
    };
    one.into_iter().chain(many.into_iter().flatten())
}

/// The account of a principal, or of an ARN.
fn account_of(name: &str) -> Option<&str> {
    if is_account(name) {
        return Some(name);
    }
    let mut parts = name.split(':');
    let account = (parts.next() == Some("arn")).then(|| parts.nth(3)).flatten()?;
    is_account(account).then_some(account)
}

/// Whether a pattern has a wildcard before the account of an ARN.
fn is_open_ended(pattern: &&str) -> bool {
    pattern.split(':').take(4).any(|part| part.contains(['*', '?']))
}

fn organization(text: &str) -> Option<&str> {
    (text.starts_with("o-") && !text.contains(['*', '?'])).then_some(text)
}

/// Whether a principal is the unique id that replaces a deleted role or user.
fn is_unique_id(name: &str) -> bool {
    name.len() > 15
        && name.starts_with('A')
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::enforcement::policy_set::PullingAccount;
    use serde_json::json;

    const OWN: &str = "123456789012";
    const PULL: &str = "ecr:BatchGetImage";

    fn read(statements: &Value) -> Pullers {
        parse(&json!({ "Version": "2012-10-17", "Statement": statements }).to_string(), OWN, "app").unwrap()
    }

    /// The gaps with these accounts in `usage.accounts`, each by its id or as `<id>/<region>`, and these lists.
    fn sources(pullers: &Pullers, accounts: &[&str], reporting: &[&str]) -> Vec<String> {
        let named = accounts.iter().map(|&named| match named.split_once('/') {
            Some((account, region)) => {
                PullingAccount { account: account.to_owned(), regions: vec![region.to_owned()] }
            }
            None => PullingAccount { account: named.to_owned(), regions: Vec::new() },
        });
        let sources = Sources { accounts: named.collect(), ..Sources::default() };
        let reporters: Vec<Reporter> = reporting
            .iter()
            .map(|&reporting| Reporter {
                key: format!("usage/{reporting}/a.json"),
                account: reporting.split('/').next().map(str::to_owned),
                region: None,
                cluster: None,
            })
            .collect();
        pullers.gaps("app", OWN, &sources, &reporters).into_iter().map(|gap| gap.source).collect()
    }

    fn allow(principal: &Value, condition: &Value) -> Value {
        json!({ "Effect": "Allow", "Principal": principal, "Action": PULL, "Condition": condition })
    }

    #[test]
    fn each_account_that_may_pull_needs_a_list() {
        let pullers = read(&json!([
            allow(&json!({ "AWS": ["arn:aws:iam::222222222222:root", "333333333333", OWN] }), &Value::Null),
            allow(&json!({ "AWS": "arn:aws:iam::444444444444:role/ci" }), &Value::Null),
            allow(&json!({ "AWS": "AROAEXAMPLEEXAMPLEEXA" }), &Value::Null),
        ]));
        assert_eq!(
            sources(&pullers, &[], &["333333333333"]),
            ["account/222222222222", "account/444444444444"]
        );
        assert!(sources(&pullers, &[], &["222222222222", "333333333333", "444444444444"]).is_empty());
    }

    #[test]
    fn an_account_that_pulls_in_several_regions_needs_a_list_of_each() {
        let pullers = read(&json!([allow(&json!({ "AWS": "222222222222" }), &Value::Null)]));
        let named = ["222222222222/eu-west-1", "222222222222/us-east-1"];
        assert_eq!(sources(&pullers, &named, &[]), ["account/222222222222"]);
        assert_eq!(
            sources(&pullers, &named, &["222222222222/eu-west-1"]),
            ["account/222222222222/us-east-1"]
        );
        assert!(sources(&pullers, &named, &named).is_empty());
        // An account that may not pull here has nothing to tell.
        assert!(sources(&read(&json!([])), &["333333333333/eu-west-1"], &[]).is_empty());
    }

    #[test]
    fn a_list_about_one_cluster_does_not_tell_what_its_account_uses() {
        let pullers = read(&json!([allow(&json!({ "AWS": "222222222222" }), &Value::Null)]));
        let cluster = Reporter {
            key: "usage/222222222222/eks/eu-west-1/web.json".to_owned(),
            account: Some("222222222222".to_owned()),
            region: Some("eu-west-1".to_owned()),
            cluster: Some("web".to_owned()),
        };
        let gaps = pullers.gaps("app", OWN, &Sources::default(), &[cluster]);
        assert_eq!(gaps[0].source, "account/222222222222");
    }

    #[test]
    fn an_organisation_or_everybody_asks_for_the_accounts_that_are_named() {
        let organization = json!({ "StringEquals": { "aws:PrincipalOrgID": "o-abcdefghij" } });
        let path = json!({ "ForAnyValue:StringLike": { "aws:PrincipalOrgPaths": ["o-abcdefghij/r-1/*"] } });
        for condition in [organization, path] {
            let pullers = read(&json!([allow(&json!("*"), &condition)]));
            assert_eq!(sources(&pullers, &[], &[]), ["organization/o-abcdefghij"]);
            assert_eq!(sources(&pullers, &["222222222222", OWN], &[]), ["account/222222222222"]);
            assert!(sources(&pullers, &["222222222222"], &["222222222222"]).is_empty());
        }
        for principal in
            [json!("*"), json!({ "AWS": "*" }), json!({ "Federated": "x" }), json!({ "AWS": "who" })]
        {
            let pullers = read(&json!(allow(&principal, &Value::Null)));
            assert_eq!(sources(&pullers, &[], &[]), ["account/*"], "{principal}");
            assert_eq!(sources(&pullers, &["222222222222"], &[]), ["account/222222222222"]);
        }
    }

    #[test]
    fn functions_of_the_own_account_ask_for_nothing_and_those_of_others_for_their_list() {
        let lambda = json!({ "Service": "lambda.amazonaws.com" });
        let of = |account: &str| json!({ "StringLike": { "aws:sourceArn": format!("arn:aws:lambda:eu-west-1:{account}:function:*") } });
        let pullers = read(&json!([
            allow(&lambda, &of(OWN)),
            { "Sid": LAMBDA_OWN_STATEMENT, "Effect": "Allow", "Principal": lambda, "Action": [PULL] },
        ]));
        assert_eq!(pullers, Pullers::default());
        let pullers = read(&json!([allow(&lambda, &of("222222222222"))]));
        assert_eq!(sources(&pullers, &[], &[]), ["account/222222222222"]);
        let pullers = read(&json!([allow(&lambda, &Value::Null)]));
        assert_eq!(sources(&pullers, &[], &[]), ["service/lambda.amazonaws.com"]);
        let pullers = read(&json!([allow(&json!({ "Service": "codebuild.amazonaws.com" }), &Value::Null)]));
        assert_eq!(sources(&pullers, &[], &[]), ["service/codebuild.amazonaws.com"]);
    }

    #[test]
    fn a_pattern_of_iam_has_two_wildcards() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("?", "", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("*ab", "aab", true),
            ("ab", "abc", false),
            ("ab**", "ab", true),
            ("a*?", "a", false),
        ] {
            assert_eq!(matches_iam(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_condition_that_is_not_understood_widens() {
        for condition in [
            json!({ "StringNotEquals": { "aws:PrincipalOrgID": "o-abcdefghij" } }),
            json!({ "StringEqualsIfExists": { "aws:PrincipalOrgID": "o-abcdefghij" } }),
            json!({ "IpAddress": { "aws:SourceIp": "10.0.0.0/8" } }),
            json!({ "StringLike": { "aws:PrincipalOrgID": "o-*" } }),
            json!({ "StringLike": { "aws:PrincipalArn": "arn:aws:iam::*:role/x" } }),
            json!({ "StringEquals": { "aws:PrincipalAccount": ["222222222222", "*"] } }),
        ] {
            let pullers = read(&json!([allow(&json!("*"), &condition)]));
            assert!(pullers.anybody, "{condition}");
        }
        let accounts = json!({ "StringEquals": { "aws:PrincipalOrgID": "o-a", "aws:PrincipalAccount": "222222222222" } });
        let pullers = read(&json!([allow(&json!("*"), &accounts)]));
        assert_eq!(sources(&pullers, &[], &[]), ["account/222222222222"]);
    }

    #[test]
    fn who_may_do_something_else_does_not_pull() {
        let statement = |effect: &str, name: &str, actions: Value| json!([{ "Effect": effect, "Principal": "*", name: actions }]);
        for (effect, name, actions, pulls) in [
            ("Allow", "Action", json!("ecr:DescribeImages"), false),
            ("Allow", "Action", json!(["ecr:PutImage", "ECR:batchget*"]), true),
            ("Allow", "Action", json!("*"), true),
            ("Allow", "NotAction", json!("ecr:PutImage"), true),
            ("Allow", "NotAction", json!("ecr:*"), false),
            ("Deny", "Action", json!("*"), false),
        ] {
            assert_eq!(read(&statement(effect, name, actions.clone())).anybody, pulls, "{name} {actions}");
        }
        assert!(parse("{", OWN, "app").is_err());
        assert_eq!(parse("{}", OWN, "app").unwrap(), Pullers::default());
    }
}
