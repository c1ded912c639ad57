//! The limits of what templates may do to repositories that their stacks do not own yet: the stack's parameters `AdoptPrefixes`
//! and `ShareWith`. Deploying a template needs no permission in ECR, so that these parameters bound it.

use std::collections::BTreeSet;

use super::Name;
use crate::domain::text::finding::quoted;
use crate::domain::text::syntax::Node;
use crate::domain::usage::pull_access::{self, Pullers};

/// The parameter of the stack that names the repositories that templates may adopt.
const ADOPT_PREFIXES: &str = "AdoptPrefixes";
/// The parameter of the stack that names who may be let in.
const SHARE_WITH: &str = "ShareWith";
/// In [`ADOPT_PREFIXES`]: every repository, as in `CreateOnPushPrefix`.
const ROOT: &str = "ROOT";

/// What templates may do. By default nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permissions {
    adopt_prefixes: Vec<String>,
    accounts: BTreeSet<String>,
    organizations: BTreeSet<String>,
    services: BTreeSet<String>,
}

/// A value of a parameter that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the parameter {parameter} has {}, which is no {expected}", quoted(.entry))]
pub struct InvalidPermission {
    parameter: &'static str,
    entry: String,
    expected: &'static str,
}

/// A request that the parameters do not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotPermitted {
    /// The repository is outside of the prefixes that may be adopted.
    #[error(
        "AdoptExisting may not take over {0}, and nothing was changed: the parameter AdoptPrefixes of ecr-steward's stack does not \
         name it. Whoever runs that stack can add {0}, or the part of it before a slash"
    )]
    Adoption(Name),
    /// The policy gives access to somebody that `ShareWith` does not name.
    #[error(
        "the repository policy may not let in {}, and nothing was changed: the parameter ShareWith of ecr-steward's stack does not \
         name them. Whoever runs that stack can add them: accounts, organisations (o-…), services (….amazonaws.com)",
        .0.join(", ")
    )]
    Sharing(Vec<String>),
    /// The repository policy is none.
    #[error("the repository policy cannot be read, and nothing was changed: {0}")]
    PolicyUnreadable(String),
}

impl Permissions {
    /// Reads the parameters, each a list with commas; empty for none.
    ///
    /// # Errors
    ///
    /// When a value is none.
    pub fn parse(adopt_prefixes: &str, share_with: &str) -> Result<Self, InvalidPermission> {
        let entries = |list: &str| -> Vec<String> {
            list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
        };
        let mut permissions = Self::default();
        for prefix in entries(adopt_prefixes) {
            let name = prefix.strip_suffix('/').unwrap_or(&prefix);
            if prefix != ROOT && Name::parse(name).is_err() {
                let expected = "beginning of a repository's name, up to a slash or its end";
                return Err(InvalidPermission { parameter: ADOPT_PREFIXES, entry: prefix, expected });
            }
            permissions.adopt_prefixes.push(prefix);
        }
        for entry in entries(share_with) {
            let is_account = entry.len() == 12 && entry.bytes().all(|byte| byte.is_ascii_digit());
            let set = match entry.as_str() {
                _ if is_account => &mut permissions.accounts,
                text if text.starts_with("o-") && !text.contains(['*', '?']) => {
                    &mut permissions.organizations
                }
                text if text.ends_with(".amazonaws.com") && !text.contains(['*', '?']) => {
                    &mut permissions.services
                }
                _ => {
                    let expected =
                        "account of twelve digits, organisation (o-…) or service (….amazonaws.com)";
                    return Err(InvalidPermission { parameter: SHARE_WITH, entry, expected });
                }
            };
            set.insert(entry);
        }
        Ok(permissions)
    }

    /// Checks whether a repository that no resource created may be adopted: one that a prefix names, or that is below it.
    ///
    /// # Errors
    ///
    /// If it may not be adopted.
    pub fn check_adoption(&self, name: &Name) -> Result<(), NotPermitted> {
        let covers = |prefix: &String| {
            let rest = name.as_str().strip_prefix(prefix.as_str());
            prefix == ROOT
                || rest.is_some_and(|rest| rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/'))
        };
        if self.adopt_prefixes.iter().any(covers) {
            return Ok(());
        }
        Err(NotPermitted::Adoption(name.clone()))
    }

    /// Checks that a repository policy gives access only to principals that `ShareWith` allows, whatever the actions. The
    /// repository's own account `own` is always allowed. `before` is the policy that it replaces, if any.
    ///
    /// # Errors
    ///
    /// If somebody else would get access, or the policy cannot be read.
    pub fn check_sharing(&self, policy: &str, before: Option<&str>, own: &str) -> Result<(), NotPermitted> {
        plain_policy(policy)?;
        let Pullers { accounts, organizations, anybody, services } =
            pull_access::everybody(policy, before, own)
                .map_err(|error| NotPermitted::PolicyUnreadable(error.to_string()))?;
        let everybody = anybody.then(|| "everybody, or somebody who cannot be told".to_owned());
        let others = [
            (accounts, &self.accounts, "the account"),
            (organizations, &self.organizations, "the organisation"),
            (services, &self.services, "the service"),
        ]
        .into_iter()
        .flat_map(|(asked, allowed, kind)| {
            let not_allowed = asked.into_iter().filter(|one| !allowed.contains(one));
            not_allowed.map(move |one| format!("{kind} {one}")).collect::<Vec<_>>()
        });
        let refused: Vec<String> = everybody.into_iter().chain(others).collect();
        if refused.is_empty() { Ok(()) } else { Err(NotPermitted::Sharing(refused)) }
    }
}

/// Checks that a policy has no name twice and only the names of IAM's policy language. With two values for one name, or a name in
/// other letters, ECR may apply something that is not checked here.
fn plain_policy(policy: &str) -> Result<(), NotPermitted> {
    const POLICY: [&str; 3] = ["Version", "Id", "Statement"];
    const STATEMENT: [&str; 9] = [
        "Sid",
        "Effect",
        "Principal",
        "NotPrincipal",
        "Action",
        "NotAction",
        "Resource",
        "NotResource",
        "Condition",
    ];
    let unreadable = |why: String| NotPermitted::PolicyUnreadable(why);
    let policy: Node = serde_json::from_str(policy).map_err(|error| unreadable(error.to_string()))?;
    if let Some(name) = twice(&policy) {
        return Err(unreadable(format!("{} is there twice in one object; keep one", quoted(name))));
    }
    let Node::Object(elements) = &policy else {
        return Err(unreadable(format!("it is {}; write an object", policy.kind())));
    };
    let statements = elements.iter().filter(|(name, _)| name == "Statement").flat_map(|(_, of)| match of {
        Node::List(many) => many.as_slice(),
        one => std::slice::from_ref(one),
    });
    let of_statements = statements.flat_map(|statement| match statement {
        Node::Object(elements) => elements.as_slice(),
        _ => &[],
    });
    let unknown = elements.iter().find(|(name, _)| !POLICY.contains(&name.as_str()));
    let mut of_statements = of_statements.filter(|(name, _)| !STATEMENT.contains(&name.as_str()));
    match unknown.or_else(|| of_statements.next()) {
        Some((name, _)) => Err(unreadable(format!("{} is no element of a policy", quoted(name)))),
        None => Ok(()),
    }
}

/// A name that occurs twice in an object, ignoring case: IAM ignores the case of condition keys.
fn twice(node: &Node) -> Option<&str> {
    match node {
        Node::Object(entries) => {
            let mut seen = BTreeSet::new();
            let repeated = entries.iter().find(|(name, _)| !seen.insert(name.to_ascii_lowercase()));
            repeated
                .map(|(name, _)| name.as_str())
                .or_else(|| entries.iter().find_map(|(_, value)| twice(value)))
        }
        Node::List(items) => items.iter().find_map(twice),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permissions(adopt: &str, share: &str) -> Permissions {
        Permissions::parse(adopt, share).unwrap()
    }

    #[test]
    fn a_prefix_covers_whole_parts_of_names() {
        let allowed = permissions("shop, team/web,tools/", "");
        for (name, expected) in [
            ("shop", true),
            ("shop/web", true),
            ("shopping", false),
            ("team/web", true),
            ("team/web/api", true),
            ("team/website", false),
            ("team", false),
            ("tools/a", true),
            ("tools", false),
            ("prod/shop", false),
        ] {
            assert_eq!(allowed.check_adoption(&Name::parse(name).unwrap()).is_ok(), expected, "{name}");
        }
        let web = Name::parse("prod/web").unwrap();
        assert!(permissions("ROOT", "").check_adoption(&web).is_ok());
        let refused = permissions("", "").check_adoption(&web).unwrap_err().to_string();
        assert!(refused.contains("take over prod/web") && refused.contains("AdoptPrefixes"), "{refused}");
    }

    #[test]
    fn values_that_are_none_are_refused_and_nothing_is_none() {
        assert_eq!(permissions("", " , "), Permissions::default());
        for (adopt, share) in [
            ("Shop", ""),
            ("*", ""),
            ("a//b", ""),
            ("/", ""),
            ("", "12345"),
            ("", "*"),
            ("", "o-*"),
            ("", "*.amazonaws.com"),
        ] {
            assert!(Permissions::parse(adopt, share).is_err(), "{adopt} {share}");
        }
    }

    #[test]
    fn nobody_is_let_in_who_is_not_named() {
        let own = "123456789012";
        let policy = |principal: &str, action: &str, condition: &str| {
            format!(
                r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Principal": {principal}, "Action": "{action}",
                    "Condition": {condition}}}]}}"#
            )
        };
        let account = r#"{"AWS": "arn:aws:iam::999999999999:root"}"#;
        let organization = r#"{"StringEquals": {"aws:PrincipalOrgID": "o-abcdefghij"}}"#;
        let own_functions =
            r#"{"StringLike": {"aws:SourceArn": "arn:aws:lambda:eu-west-1:123456789012:function:*"}}"#;
        let lambda = r#"{"Service": "lambda.amazonaws.com"}"#;
        for (principal, action, condition, needs) in [
            (r#"{"AWS": "123456789012"}"#, "ecr:*", "{}", ""),
            (r#"{"AWS": "arn:aws:iam::123456789012:role/ci"}"#, "ecr:PutImage", "{}", ""),
            (account, "ecr:BatchGetImage", "{}", "999999999999"),
            // Pushing is not pulling, and no less.
            (account, "ecr:PutImage", "{}", "999999999999"),
            (r#""*""#, "ecr:BatchGetImage", organization, "o-abcdefghij"),
            (lambda, "ecr:BatchGetImage", own_functions, ""),
            (lambda, "ecr:BatchGetImage", "{}", "lambda.amazonaws.com"),
            (
                r#"{"Service": "codebuild.amazonaws.com"}"#,
                "ecr:BatchGetImage",
                "{}",
                "codebuild.amazonaws.com",
            ),
        ] {
            let policy = policy(principal, action, condition);
            let nobody = permissions("", "").check_sharing(&policy, None, own);
            assert_eq!(nobody.is_ok(), needs.is_empty(), "{policy}");
            if !needs.is_empty() {
                let refused = nobody.unwrap_err().to_string();
                assert!(refused.contains(needs) && refused.contains("ShareWith"), "{refused}");
                assert!(
                    permissions("", "111111111111,o-other12345").check_sharing(&policy, None, own).is_err()
                );
            }
            assert_eq!(permissions("", needs).check_sharing(&policy, None, own), Ok(()), "{policy}");
        }
        // Nothing in the parameter names everybody.
        let anybody = policy(r#""*""#, "ecr:BatchGetImage", "{}");
        let all = permissions("", "999999999999,o-abcdefghij,lambda.amazonaws.com");
        assert!(all.check_sharing(&anybody, None, own).unwrap_err().to_string().contains("everybody"));
        assert!(all.check_sharing("{", None, own).is_err());
        let others = r#"{"Statement": {"Effect": "Allow", "NotPrincipal": {"AWS": "999999999999"}, "NotAction": "ecr:PutImage"}}"#;
        assert!(all.check_sharing(others, None, own).is_err());
    }
    const OWN: &str = "123456789012";

    /// Asserts that no value of the parameter allows the statement.
    #[track_caller]
    fn is_refused(statement: &str) {
        let all = permissions("", "222222222222,o-abcdefghij,codebuild.amazonaws.com");
        let policy = format!(r#"{{"Version": "2012-10-17", "Statement": [{statement}]}}"#);
        assert!(all.check_sharing(&policy, None, OWN).is_err(), "{policy}");
    }

    #[test]
    fn a_user_or_role_of_another_account_is_not_let_in_by_its_unique_id() {
        // ECR writes its ARN in the place of the id of one that there is.
        for id in ["AROAEXAMPLEEXAMPLEEXA", "AIDAEXAMPLEEXAMPLEEXA"] {
            is_refused(&format!(
                r#"{{"Effect": "Allow", "Principal": {{"AWS": "{id}"}}, "Action": "ecr:*"}}"#
            ));
        }
    }

    #[test]
    fn aws_lambda_is_not_let_in_by_the_name_of_its_statement() {
        let statement = r#"{"Sid": "LambdaECRImageRetrievalPolicy", "Effect": "Allow", "Action": "ecr:*",
                            "Principal": {"Service": "lambda.amazonaws.com"}}"#;
        is_refused(statement);
        // What AWS Lambda wrote itself stays when another statement changes.
        let before = format!(r#"{{"Version": "2012-10-17", "Statement": [{statement}]}}"#);
        let own = r#"{"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "ecr:*"}"#;
        let after = format!(r#"{{"Version": "2012-10-17", "Statement": [{own}, {statement}]}}"#);
        assert_eq!(permissions("", "").check_sharing(&after, Some(&before), OWN), Ok(()));
        let wider = before.replace(r#""ecr:*""#, r#""*""#);
        assert!(permissions("", "").check_sharing(&wider, Some(&before), OWN).is_err());
    }

    #[test]
    fn a_pattern_of_principals_that_begins_before_the_account_lets_in_whom_it_fits() {
        // Paths of roles may have colons: arn:aws:iam::999999999999:role/a:iam::123456789012:role/b.
        for pattern in ["arn:*:iam::123456789012:role/b", "arn:aws:iam:?:123456789012:*"] {
            is_refused(&format!(
                r#"{{"Effect": "Allow", "Principal": "*", "Action": "ecr:*",
                    "Condition": {{"StringLike": {{"aws:PrincipalArn": "{pattern}"}}}}}}"#
            ));
        }
        let own = r#"{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "ecr:*",
            "Condition": {"StringLike": {"aws:PrincipalArn": "arn:aws:iam::123456789012:role/*"}}}}"#;
        assert_eq!(permissions("", "").check_sharing(own, None, OWN), Ok(()));
    }

    #[test]
    fn what_a_policy_says_twice_or_under_other_names_lets_in_nobody() {
        let own = r#""Principal": {"AWS": "123456789012"}"#;
        let other = r#""Principal": {"AWS": "999999999999"}"#;
        let rest = r#""Effect": "Allow", "Action": "ecr:*""#;
        for statement in [
            format!("{{{other}, {own}, {rest}}}"),
            format!("{{{own}, {}, {rest}}}", other.replace('P', "p")),
            format!(r#"{{"Principal": {{"AWS": "999999999999", "AWS": "123456789012"}}, {rest}}}"#),
            format!("{{{own}, {rest}, \"Deny\": true}}"),
            format!(
                r#"{{"Principal": "*", {rest}, "Condition": {{"StringEquals": {{"AWS:PrincipalOrgID": "o-other12345",
                    "aws:PrincipalOrgID": "o-abcdefghij"}}}}}}"#
            ),
            format!(
                r#"{{"Principal": "*", {rest}, "Condition": {{"StringEquals": {{"aws:PrincipalOrgID": "o-other12345"}},
                    "StringEquals": {{"aws:PrincipalOrgID": "o-abcdefghij"}}}}}}"#
            ),
        ] {
            is_refused(&statement);
        }
        let statement = format!("{{{other}, {rest}}}");
        for policy in [
            format!(r#"{{"statement": [{statement}]}}"#),
            format!(r#"{{"Statement": [{statement}], "Statement": []}}"#),
            format!(r#"{{"Statement": [{statement}], "statement": []}}"#),
            format!(r#"[{{"Statement": [{statement}]}}]"#),
            format!(r#""{}""#, "Statement"),
            "null".to_owned(),
        ] {
            assert!(permissions("", "").check_sharing(&policy, None, OWN).is_err(), "{policy}");
        }
    }

    #[test]
    fn a_parameter_is_read_as_it_is_written_and_widens_nothing() {
        for (adopt, name, expected) in [
            ("  shop/web \n,", "shop/web", true),
            ("shop/web", "shop/webshop", false),
            ("shop/web", "shop", false),
            ("shop/web/", "shop/web", false),
            ("root", "shop/web", false),
            ("ROOT ", "shop/web", true),
        ] {
            let allowed = permissions(adopt, "").check_adoption(&Name::parse(name).unwrap());
            assert_eq!(allowed.is_ok(), expected, "{adopt:?} {name}");
        }
        for adopt in ["ROOT/", "shop/*", "shop web", "shop;team", "sh\u{f6}p", "/shop", "shop//", "\"shop\""]
        {
            assert!(Permissions::parse(adopt, "").is_err(), "{adopt:?}");
        }
        let arabic = "\u{661}".repeat(12);
        for share in ["arn:aws:iam::222222222222:root", "222222222222 333333333333", &arabic, "*", "o"] {
            assert!(Permissions::parse("", share).is_err(), "{share:?}");
        }
    }
}
