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
        let existing = existing.as_ref().and_then(|policy| policy.get("Statement")?.as_array());
        statements.extend(
            existing
                .into_iter()
                .flatten()
                .filter(|statement| statement["Sid"] == LAMBDA_OWN_STATEMENT)
                .cloned(),
        );
        if statements.is_empty() {
            return None;
        }
        Some(json!({ "Version": "2012-10-17", "Statement": statements }).to_string())
    }
}

impl PullAccess {
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
        Value::String(text) if key == "AWS" => {
            let root = text.strip_prefix("arn:").and_then(|rest| {
                let (_, account) = rest.split_once(":iam::")?;
                account.strip_suffix(":root")
            });
            Value::String(root.unwrap_or(text).to_owned())
        }
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
