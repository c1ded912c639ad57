//! Who may pull, and the repository policy that allows it.
//!
//! Tasks and nodes of the repository's own account pull with the permissions of their role. A policy is needed for other
//! accounts, for an organization, and for AWS Lambda, which pulls as a service.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::Registry;

/// The actions of a client that pulls an image, besides `ecr:GetAuthorizationToken`, which is not a permission of a repository.
pub const PULL_ACTIONS: [&str; 3] =
    ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"];

/// The actions of AWS Lambda that pulls an image, from "Create a Lambda function using a container image" of its guide.
const LAMBDA_ACTIONS: [&str; 2] = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"];

/// The statement that AWS Lambda adds to the policy itself when a function of the same account is made of an image.
/// Without it such a function stops working when it has to be optimized again.
const LAMBDA_OWN_STATEMENT: &str = "LambdaECRImageRetrievalPolicy";

/// Maximum length of a repository policy, in characters.
pub const MAX_POLICY_CHARACTERS: usize = 10_240;

/// The requested repository policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RepositoryPolicy {
    /// No policy: roles of the own account only.
    #[default]
    None,
    /// A policy generated from who may pull.
    Pull(PullAccess),
    /// A policy as it was written.
    Literal(String),
}

/// A generated repository policy that is longer than ECR takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the repository policy for {accounts} accounts has {characters} characters, and ECR takes {MAX_POLICY_CHARACTERS} at most; name the \
     organisation instead, or fewer accounts"
)]
pub struct PolicyTooLong {
    accounts: usize,
    characters: usize,
}

/// Who may pull besides roles of the own account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PullAccess {
    /// Accounts, each of twelve digits.
    pub account_ids: BTreeSet<String>,
    /// An organisation, `o-…`.
    pub organization_id: Option<String>,
    /// Whether AWS Lambda may pull for functions of the own account, of the accounts and of the organization.
    pub lambda: bool,
}

impl RepositoryPolicy {
    /// The policy for a repository of `registry` that has the policy `existing`; `None` for no policy.
    ///
    /// A statement that AWS Lambda wrote itself is kept, unless the policy was given literally.
    #[must_use]
    pub fn text(&self, registry: &Registry, existing: Option<&str>) -> Option<String> {
        let mut statements = match self {
            Self::Literal(text) => return Some(text.clone()),
            Self::None => Vec::new(),
            Self::Pull(access) => access.statements(registry),
        };
        let existing: Option<Value> = existing.and_then(|text| serde_json::from_str(text).ok());
        let existing = existing.iter().flat_map(statements_of);
        statements.extend(existing.filter(|statement| is_of_lambda_itself(statement)).cloned());
        if statements.is_empty() {
            return None;
        }
        Some(json!({ "Version": "2012-10-17", "Statement": statements }).to_string())
    }

    /// Checks whether ECR takes the policy that is generated for a repository of `registry`.
    ///
    /// # Errors
    ///
    /// If it is too long.
    pub fn check_length(&self, registry: &Registry) -> Result<(), PolicyTooLong> {
        let Self::Pull(access) = self else { return Ok(()) };
        let characters = self.text(registry, None).map_or(0, |text| text.chars().count());
        if characters <= MAX_POLICY_CHARACTERS {
            return Ok(());
        }
        Err(PolicyTooLong { accounts: access.account_ids.len(), characters })
    }
}

impl PullAccess {
    /// Who may pull by a policy that was generated from it, for a repository of `registry`; `None` for any other policy. The statement
    /// that AWS Lambda wrote itself does not count.
    #[must_use]
    pub fn of_policy(text: &str, registry: &Registry) -> Option<Self> {
        let policy: Value = serde_json::from_str(text).ok()?;
        let mut access = Self::default();
        let mut is_lambdas_alone = true;
        for statement in statements_of(&policy) {
            if is_of_lambda_itself(statement) {
                continue;
            }
            is_lambdas_alone = false;
            let condition =
                |key: &str| statement["Condition"]["StringEquals"][key].as_str().map(str::to_owned);
            match statement["Sid"].as_str()? {
                "PullFromAccounts" => {
                    let accounts = match &statement["Principal"]["AWS"] {
                        Value::Array(accounts) => accounts.as_slice(),
                        one => std::slice::from_ref(one),
                    };
                    let accounts = accounts.iter().filter_map(|account| Some(account_of(account.as_str()?)));
                    access.account_ids.extend(accounts.map(str::to_owned));
                }
                "PullFromOrganization" => access.organization_id = condition("aws:PrincipalOrgID"),
                "PullByLambda" | "PullByLambdaOfOrganization" => access.lambda = true,
                _ => return None,
            }
        }
        if is_lambdas_alone {
            return Some(access);
        }
        let generated = RepositoryPolicy::Pull(access.clone()).text(registry, Some(text))?;
        is_same_policy(&generated, text).then_some(access)
    }

    fn statements(&self, registry: &Registry) -> Vec<Value> {
        let Registry { partition, region, account_id } = registry;
        let mut statements = Vec::new();
        if !self.account_ids.is_empty() {
            let accounts: Vec<String> =
                self.account_ids.iter().map(|id| format!("arn:{partition}:iam::{id}:root")).collect();
            statements.push(json!({
                "Sid": "PullFromAccounts", "Effect": "Allow", "Principal": { "AWS": accounts },
                "Action": PULL_ACTIONS,
            }));
        }
        if let Some(organization) = &self.organization_id {
            statements.push(json!({
                "Sid": "PullFromOrganization", "Effect": "Allow", "Principal": "*", "Action": PULL_ACTIONS,
                "Condition": { "StringEquals": { "aws:PrincipalOrgID": organization } },
            }));
        }
        if self.lambda {
            let accounts = self.account_ids.iter().chain([account_id]).collect::<BTreeSet<_>>();
            let functions: Vec<String> = accounts
                .into_iter()
                .map(|id| format!("arn:{partition}:lambda:{region}:{id}:function:*"))
                .collect();
            let service = json!({ "Service": "lambda.amazonaws.com" });
            statements.push(json!({
                "Sid": "PullByLambda", "Effect": "Allow", "Principal": service, "Action": LAMBDA_ACTIONS,
                "Condition": { "StringLike": { "aws:SourceArn": functions } },
            }));
            if let Some(organization) = &self.organization_id {
                statements.push(json!({
                    "Sid": "PullByLambdaOfOrganization", "Effect": "Allow", "Principal": service,
                    "Action": LAMBDA_ACTIONS,
                    "Condition": { "StringEquals": { "aws:SourceOrgID": organization } },
                }));
            }
        }
        statements
    }
}

/// The statements of a policy, which may be one alone.
fn statements_of(policy: &Value) -> &[Value] {
    match &policy["Statement"] {
        Value::Array(statements) => statements,
        one @ Value::Object(_) => std::slice::from_ref(one),
        _ => &[],
    }
}

/// Whether AWS Lambda wrote a statement: it has that name, and lets in nobody else. Anybody can write the name.
fn is_of_lambda_itself(statement: &Value) -> bool {
    let principal = &statement["Principal"];
    statement["Sid"] == LAMBDA_OWN_STATEMENT
        && principal.as_object().is_some_and(|kinds| kinds.len() == 1)
        && (principal["Service"] == "lambda.amazonaws.com"
            || principal["Service"] == json!(["lambda.amazonaws.com"]))
}

/// The account of a principal: its number, or the root of it by its ARN.
fn account_of(principal: &str) -> &str {
    let root = principal.strip_prefix("arn:").and_then(|rest| {
        let (_, account) = rest.split_once(":iam::")?;
        account.strip_suffix(":root")
    });
    root.unwrap_or(principal)
}

/// Whether two policies have equivalent statements, whatever their versions.
#[must_use]
pub fn is_same_statements(one: &str, other: &str) -> bool {
    let statements = |text: &str| {
        let policy: Option<Value> = serde_json::from_str(text).ok();
        policy.map(|policy| canonical(&json!(statements_of(&policy)), ""))
    };
    matches!((statements(one), statements(other)), (Some(one), Some(other)) if one == other)
}

/// Whether two policy texts are equivalent. Formatting, the order of lists, one value instead of a list of one, and an account's
/// number instead of its root's ARN make no difference, as in IAM.
#[must_use]
pub fn is_same_policy(one: &str, other: &str) -> bool {
    let canonical = |text: &str| serde_json::from_str::<Value>(text).ok().map(|value| canonical(&value, ""));
    match (canonical(one), canonical(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

fn canonical(value: &Value, key: &str) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(|item| canonical(item, key)).collect();
            items.sort_by_cached_key(Value::to_string);
            items.dedup();
            match items.len() {
                1 => items.swap_remove(0),
                _ => Value::Array(items),
            }
        }
        Value::Object(fields) => {
            // serde_json keeps the fields of an object in the order of their names.
            let fields: Map<String, Value> =
                fields.iter().map(|(key, value)| (key.clone(), canonical(value, key))).collect();
            Value::Object(fields)
        }
        Value::String(text) if key == "AWS" => Value::String(account_of(text).to_owned()),
        // IAM reads a boolean and a number of a condition as their text.
        Value::Bool(_) | Value::Number(_) => Value::String(value.to_string()),
        Value::String(_) | Value::Null => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> Registry {
        Registry::of_arn("arn:aws:lambda:eu-west-1:123456789012:function:f").unwrap()
    }

    #[test]
    fn a_policy_is_generated_from_who_may_pull() {
        let access = PullAccess {
            account_ids: ["222222222222".to_owned(), "111111111111".to_owned()].into(),
            organization_id: Some("o-abcdefghij".to_owned()),
            lambda: true,
        };
        let text = RepositoryPolicy::Pull(access).text(&registry(), None).unwrap();
        let policy: Value = serde_json::from_str(&text).unwrap();
        insta::assert_snapshot!(serde_json::to_string_pretty(&policy).unwrap());
    }

    #[test]
    fn nobody_else_to_pull_means_no_policy() {
        assert_eq!(RepositoryPolicy::None.text(&registry(), None), None);
        assert_eq!(RepositoryPolicy::Pull(PullAccess::default()).text(&registry(), None), None);
    }

    #[test]
    fn what_lambda_wrote_itself_stays_unless_the_policy_is_given_literally() {
        let existing = r#"{"Version": "2008-10-17", "Statement": [
            {"Sid": "Other", "Effect": "Allow", "Principal": "*", "Action": "ecr:*"},
            {"Sid": "LambdaECRImageRetrievalPolicy", "Effect": "Allow",
             "Principal": {"Service": "lambda.amazonaws.com"}, "Action": ["ecr:BatchGetImage"]}]}"#;
        let text = RepositoryPolicy::None.text(&registry(), Some(existing)).unwrap();
        assert!(text.contains("LambdaECRImageRetrievalPolicy") && !text.contains("Other"), "{text}");
        let literal = RepositoryPolicy::Literal("{}".to_owned());
        assert_eq!(literal.text(&registry(), Some(existing)).unwrap(), "{}");
    }

    #[test]
    fn a_statement_that_lambda_wrote_is_one_that_lets_in_lambda_alone() {
        let policy = |statement: &str| format!(r#"{{"Version": "2008-10-17", "Statement": {statement}}}"#);
        let statement = |principal: &str| {
            format!(
                r#"{{"Sid": "LambdaECRImageRetrievalPolicy", "Effect": "Allow", "Principal": {principal},
                    "Action": ["ecr:BatchGetImage"]}}"#
            )
        };
        let lambda = statement(r#"{"Service": "lambda.amazonaws.com"}"#);
        for (existing, is_kept) in [
            (policy(&lambda), true),
            (policy(&format!("[{lambda}]")), true),
            (policy(&statement(r#"{"Service": ["lambda.amazonaws.com"]}"#)), true),
            (policy(&statement(r#""*""#)), false),
            (policy(&statement(r#"{"AWS": "*"}"#)), false),
            (policy(&statement(r#"{"Service": "lambda.amazonaws.com", "AWS": "*"}"#)), false),
            (policy(&statement(r#"{"Service": ["lambda.amazonaws.com", "ec2.amazonaws.com"]}"#)), false),
        ] {
            let text = RepositoryPolicy::None.text(&registry(), Some(&existing));
            assert_eq!(text.is_some(), is_kept, "{existing}");
        }
    }

    #[test]
    fn who_may_pull_is_read_from_a_generated_policy_and_from_no_other() {
        let own = r#"{"Version":"2008-10-17","Statement":[{"Sid":"LambdaECRImageRetrievalPolicy","Effect":"Allow",
            "Principal":{"Service":"lambda.amazonaws.com"},"Action":["ecr:BatchGetImage"]}]}"#;
        for accounts in [&[][..], &["111111111111"], &["111111111111", "222222222222"]] {
            for (organization_id, lambda) in [
                (None, false),
                (None, true),
                (Some("o-abcdefghij".to_owned()), false),
                (Some("o-abcdefghij".to_owned()), true),
            ] {
                let access = PullAccess {
                    account_ids: accounts.iter().map(|&id| id.to_owned()).collect(),
                    organization_id,
                    lambda,
                };
                for existing in [None, Some(own)] {
                    let policy = RepositoryPolicy::Pull(access.clone());
                    let Some(text) = policy.text(&registry(), existing) else { continue };
                    assert_eq!(PullAccess::of_policy(&text, &registry()).as_ref(), Some(&access), "{text}");
                    // Somebody added an action.
                    let other = text.replacen("[\"ecr:", "[\"ecr:PutImage\",\"ecr:", 1);
                    if access != PullAccess::default() {
                        assert_eq!(PullAccess::of_policy(&other, &registry()), None, "{other}");
                    }
                }
            }
        }
        for text in [
            "{",
            r#"{"Statement":[{"Sid":"Partner","Effect":"Allow","Principal":"*","Action":"ecr:*"}]}"#,
            r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"ecr:*"}]}"#,
        ] {
            assert_eq!(PullAccess::of_policy(text, &registry()), None, "{text}");
        }
    }

    #[test]
    fn policies_are_compared_by_what_they_mean() {
        let policy = |principal: &str, action: &str| {
            format!(r#"{{"Statement": [{{"Effect":"Allow","Principal":{principal},"Action":{action}}}]}}"#)
        };
        let one = policy(r#"{"AWS": ["arn:aws:iam::111111111111:root"]}"#, r#"["ecr:A", "ecr:B"]"#);
        for (principal, action, same) in [
            (r#"{"AWS": "111111111111"}"#, r#"["ecr:B", "ecr:A", "ecr:A"]"#, true),
            (r#"{"AWS": "arn:aws:iam::111111111111:root"}"#, r#"["ecr:A", "ecr:B"]"#, true),
            (r#"{"AWS": "arn:aws:iam::111111111111:role/root"}"#, r#"["ecr:A", "ecr:B"]"#, false),
            (r#"{"AWS": "111111111112"}"#, r#"["ecr:A", "ecr:B"]"#, false),
            (r#"{"AWS": "111111111111"}"#, r#""ecr:A""#, false),
            (r#"{"Service": "111111111111"}"#, r#"["ecr:A", "ecr:B"]"#, false),
        ] {
            assert_eq!(is_same_policy(&one, &policy(principal, action)), same, "{principal} {action}");
        }
        assert!(!is_same_policy("{", &one));
    }
}
