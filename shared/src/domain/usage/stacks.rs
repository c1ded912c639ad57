//! What stacks of AWS CloudFormation use: the images of Amazon ECR that their templates and parameters name. A rollback asks for
//! them, whether or not anything runs them now. Read where the policies file asks for it (`usage.stacks`).
//!
//! Templates are looked through as text, JSON or YAML, after pseudo parameters and parameters of the stack are put into them, and texts
//! that they join (`Fn::Join`, as the CDK writes images) are looked through once more. What a template computes from its resources, its
//! mappings and its conditions is not known.

use std::collections::BTreeMap;

use serde_json::Value;

use super::source::{UsageSource, When};
use crate::domain::image::reference::ImageReference;

/// Stacks of AWS CloudFormation.
pub const SOURCE: UsageSource = UsageSource {
    name: "stacks",
    title: "CloudFormation stacks",
    service: None,
    actions: &["cloudformation:DescribeStacks", "cloudformation:GetTemplate"],
    blocks: true,
    when: When::OnceARun,
    calls: "1 for each page of stacks, and 1 for each stack that is not known",
};

/// A stack in the answer of `DescribeStacks`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stack {
    /// Its ARN.
    pub id: String,
    /// What it does or did last: `UPDATE_COMPLETE`.
    pub status: String,
    /// When it was updated last, or created.
    pub changed_at: String,
    /// The values of its parameters by their names.
    pub parameters: BTreeMap<String, String>,
}

/// What in the text of a template begins the host of a registry after its account; the second for IPv6 as well.
const HOSTS: [&str; 2] = [".dkr.ecr", ".dkr-ecr"];

/// What stands for a value that is not known: it ends a reference, which has none of these characters.
const UNKNOWN: &str = "${}";

/// The version of how images are looked for. What another one found in a template may not be all that it names.
const READING: u32 = 2;

impl Stack {
    /// Whether there is a template: a stack that was only made for a change set has none.
    #[must_use]
    pub fn has_template(&self) -> bool {
        self.status != "REVIEW_IN_PROGRESS"
    }

    /// What names its present template for good.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{} {} {READING}", self.id, self.changed_at)
    }

    /// The images that the values of its parameters name.
    #[must_use]
    pub fn parameter_images(&self) -> Vec<String> {
        self.parameters.values().flat_map(|value| images(value)).collect()
    }

    /// The images that its template names.
    ///
    /// # Errors
    ///
    /// When it may join names of images, and is not readable.
    pub fn template_images(&self, template: &str) -> Result<Vec<String>, UnreadableTemplate> {
        let mut images = images(&self.resolved(template));
        // Without both it joins no image, and need not be read as a tree.
        if ["Join", "Sub"].iter().any(|function| template.contains(function)) && template.contains(".dkr") {
            let tree = Tree::parse(template)?;
            for joined in self.joined(&tree) {
                images.extend(self::images(&self.resolved(&joined)));
            }
        }
        images.sort();
        images.dedup();
        Ok(images)
    }

    /// The value of a pseudo parameter or of a parameter of the stack.
    fn value_of(&self, name: &str) -> Option<&str> {
        let of_arn = |place: usize| self.id.split(':').nth(place).unwrap_or_default();
        match name {
            "AWS::AccountId" => Some(of_arn(4)),
            "AWS::Region" => Some(of_arn(3)),
            "AWS::Partition" => Some(of_arn(1)),
            "AWS::URLSuffix" => {
                Some(if of_arn(1) == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" })
            }
            name => self.parameters.get(name).map(String::as_str),
        }
    }

    /// A template with the values of `${…}` that are known.
    fn resolved(&self, template: &str) -> String {
        let mut resolved = String::with_capacity(template.len());
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("${") {
            resolved.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                resolved.push_str("${");
                rest = after;
                continue;
            };
            match self.value_of(name) {
                Some(value) => resolved.push_str(value),
                // It ends a reference, which has none of these characters.
                None => resolved.push_str(&format!("${{{name}}}")),
            }
            rest = after;
        }
        resolved.push_str(rest);
        resolved
    }
}

/// Why a template is not read completely.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a template that names Amazon ECR and joins texts is neither JSON nor YAML that can be read: {0}")]
pub struct UnreadableTemplate(String);

/// A template as a tree, and whether it is YAML, in which `!Ref Name` and `Name` are read as the same text.
#[derive(Debug)]
struct Tree {
    root: Value,
    is_yaml: bool,
}

impl Tree {
    fn parse(template: &str) -> Result<Self, UnreadableTemplate> {
        if let Ok(root) = serde_json::from_str(template) {
            return Ok(Self { root, is_yaml: false });
        }
        let options = serde_saphyr::options! {
            duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
            with_snippet: false,
        };
        let root = serde_saphyr::from_str_with_options(template, options);
        root.map(|root| Self { root, is_yaml: true }).map_err(|error| UnreadableTemplate(error.to_string()))
    }
}

impl Stack {
    /// The texts that a template joins or substitutes, with what is known put into them.
    fn joined(&self, tree: &Tree) -> Vec<String> {
        let (mut joined, mut left) = (Vec::new(), vec![&tree.root]);
        while let Some(value) = left.pop() {
            match value {
                Value::Array(items) => left.extend(items),
                Value::Object(fields) => left.extend(fields.values()),
                _ => continue,
            }
            if is_function(value, tree.is_yaml) {
                joined.push(self.text_of(value, tree.is_yaml));
            }
        }
        joined
    }

    /// A value as the text that CloudFormation makes of it; [`UNKNOWN`] where it follows from what is not known.
    fn text_of(&self, value: &Value, is_yaml: bool) -> String {
        let unknown = || UNKNOWN.to_owned();
        match value {
            Value::String(text) if is_yaml => self.value_of(text).unwrap_or(text).to_owned(),
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Array(items) => match items.as_slice() {
                [Value::String(delimiter), Value::Array(items)] => {
                    let texts: Vec<String> = items.iter().map(|item| self.text_of(item, is_yaml)).collect();
                    texts.join(delimiter)
                }
                [Value::String(text), Value::Object(values)] => {
                    values.iter().fold(text.clone(), |text, (name, value)| {
                        text.replace(&format!("${{{name}}}"), &self.text_of(value, is_yaml))
                    })
                }
                _ => unknown(),
            },
            Value::Object(fields) => match fields.iter().next() {
                Some((name, Value::String(of))) if name == "Ref" => {
                    self.value_of(of).map_or_else(unknown, str::to_owned)
                }
                Some((name, Value::String(text))) if name == "Fn::Sub" => text.clone(),
                Some((name, value)) if name == "Fn::Sub" || name == "Fn::Join" => {
                    self.text_of(value, is_yaml)
                }
                _ => unknown(),
            },
            Value::Null | Value::Bool(_) => unknown(),
        }
    }
}

/// Whether a value is a function that makes a text of others.
fn is_function(value: &Value, is_yaml: bool) -> bool {
    match value {
        Value::Object(fields) => fields.contains_key("Fn::Join") || fields.contains_key("Fn::Sub"),
        Value::Array(items) => {
            is_yaml && matches!(items.as_slice(), [Value::String(_), Value::Array(_) | Value::Object(_)])
        }
        _ => false,
    }
}

/// The images of Amazon ECR that a text names, with an account's number before the host's name.
fn images(text: &str) -> Vec<String> {
    const ACCOUNT: usize = 12;
    let is_of_reference = |c: char| c.is_ascii_alphanumeric() || "._/:@-".contains(c);
    let mut images = Vec::new();
    for (at, _) in HOSTS.iter().flat_map(|host| text.match_indices(host)) {
        let Some(rest) = at.checked_sub(ACCOUNT).and_then(|start| text.get(start..)) else { continue };
        let (named, after) = rest.split_at(rest.find(|c| !is_of_reference(c)).unwrap_or(rest.len()));
        // Of a name that goes on with something unknown neither the repository nor the tag is known.
        if after.starts_with("${") {
            continue;
        }
        // A tag may end with a point, and a sentence does.
        let without_end = named.trim_end_matches(['.', ':', '/', '-', '@']);
        for named in [named, without_end] {
            let reference = ImageReference::parse_exact(named);
            if reference.is_ok_and(|reference| reference.registry_id().is_some())
                && images.last().is_none_or(|last| last != named)
            {
                images.push(named.to_owned());
            }
        }
    }
    images
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stack() -> Stack {
        let parameters =
            [("Tag", "v7"), ("Image", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/web:v6"), ("Size", "2")];
        Stack {
            id: "arn:aws:cloudformation:eu-west-1:123456789012:stack/shop/1".to_owned(),
            status: "UPDATE_COMPLETE".to_owned(),
            changed_at: "2026-11-01T00:00:00Z".to_owned(),
            parameters: parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        }
    }

    #[test]
    fn a_stack_names_images_in_its_template_and_in_its_parameters() {
        const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
        let digest = format!("sha256:{}", "a".repeat(64));
        let template = format!(
            r#"{{"A": {{"Fn::Sub": "${{AWS::AccountId}}.dkr.ecr.${{AWS::Region}}.${{AWS::URLSuffix}}/cdk-assets-${{AWS::AccountId}}:0a1b"}},
            "B": "{HOST}/app@{digest}", "C": {{"Fn::Sub": "{HOST}/app:${{Tag}}"}}, "D": {{"Fn::Sub": "{HOST}/${{Repository}}:1"}},
            "E": "see {HOST}/app:1.2.", "F": "€€{HOST}"}}"#
        );
        let cdk = format!("{HOST}/cdk-assets-123456789012:0a1b");
        let named = |template: &str| stack().template_images(template).unwrap();
        let ends = [format!("{HOST}/app:1.2"), format!("{HOST}/app:1.2.")];
        let expected = [&ends[0], &ends[1], &format!("{HOST}/app:v7"), &format!("{HOST}/app@{digest}"), &cdk];
        assert_eq!(named(&template).iter().collect::<Vec<_>>(), expected);
        assert_eq!(named(&format!("Image: !Sub {HOST}/app:${{Tag}}\n")), [format!("{HOST}/app:v7")]);
        let dual_stack = "123456789012.dkr-ecr.eu-west-1.on.aws/app:v1";
        assert_eq!(named(&format!("Image: {dual_stack}\n")), [dual_stack]);
        assert_eq!(stack().parameter_images(), [format!("{HOST}/web:v6")]);
        for text in
            ["", "${", "${AWS::AccountId", ".dkr.ecr", "€.dkr.ecr.x/y:1", "${A}.dkr.ecr.r.amazonaws.com/a:1"]
        {
            assert_eq!(named(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn texts_that_a_template_joins_are_images_as_well() {
        const ACCOUNT_HOST: &str = "123456789012.dkr.ecr.eu-west-1.";
        let named = |template: &str| stack().template_images(template).unwrap();
        let image = |rest: &str| format!("{ACCOUNT_HOST}amazonaws.com/{rest}");
        // As the CDK writes an image of a repository that it imports.
        let cdk = json!({ "Image": { "Fn::Join": ["", [ACCOUNT_HOST, { "Ref": "AWS::URLSuffix" }, "/shop/web:v1"]] } });
        assert_eq!(named(&cdk.to_string()), [image("shop/web:v1")]);
        let all = json!({ "Fn::Join": ["/", [
            { "Fn::Join": [".", [{ "Ref": "AWS::AccountId" }, "dkr", "ecr", { "Ref": "AWS::Region" }, { "Ref": "AWS::URLSuffix" }]] },
            { "Fn::Sub": ["app:${T}", { "T": { "Ref": "Tag" } }] }]] });
        // The host is only there when it is joined.
        let with_host = json!({ "A": all, "B": ".dkr.ecr" });
        assert_eq!(named(&with_host.to_string()), [image("app:v7")]);
        for unknown in [
            json!({ "Fn::Join": ["", [ACCOUNT_HOST, { "Ref": "AWS::URLSuffix" }, "/", { "Ref": "Repository" }, ":v1"]] }),
            json!({ "Fn::Join": ["", [ACCOUNT_HOST, { "Ref": "AWS::URLSuffix" }, "/app:", { "Fn::GetAtt": ["A", "B"] }]] }),
            json!({ "Fn::Join": ["", [{ "Fn::ImportValue": "x" }, ".dkr.ecr.eu-west-1.amazonaws.com/app:v1"]] }),
            json!({ "Fn::Join": [".dkr.ecr", 7] }),
        ] {
            assert_eq!(named(&unknown.to_string()), [""; 0], "{unknown}");
        }
        let yaml = "Image: !Join\n  - ''\n  - - !Ref AWS::AccountId\n    - .dkr.ecr.\n    - !Ref AWS::Region\n    - '.amazonaws.com/app:'\n    - !Ref Tag\n";
        assert_eq!(named(yaml), [image("app:v7")]);
        assert_eq!(
            named(
                "Image: !Sub ['${Host}/app:${Tag}', { Host: !Sub '${AWS::AccountId}.dkr.ecr.eu-west-1.amazonaws.com' }]\n"
            ),
            [image("app:v7")]
        );
        // Whatever cannot be read as a tree may join something.
        let broken = "Image: !Join ['', [123456789012.dkr.ecr.eu-west-1., !Ref AWS::URLSuffix\n";
        assert!(stack().template_images(broken).is_err());
        assert_eq!(named("Joined: [unclosed"), [""; 0], "it names no registry");
    }
}
